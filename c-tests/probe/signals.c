/* signal(7): interrupted calls, and pthread_cancel(3). */
#include <sys/sendfile.h>

#include "ask.h"

#define THEME "signal"

#define PERIOD_MS 25

/* ---- each blocking call, interrupted ------------------------------------------------------- */

static long call_read(int fd)
{
	char in[8];
	return read(fd, in, 8);
}

static long call_readv(int fd)
{
	char in[8];
	struct iovec v = { in, 8 };
	return readv(fd, &v, 1);
}

static long call_recv(int fd)
{
	return take(fd, 8, 0);
}

static long call_recv_peek(int fd)
{
	return take(fd, 8, MSG_PEEK);
}

static long call_recv_all(int fd)
{
	return take(fd, 8, MSG_WAITALL);
}

static long call_recvfrom(int fd)
{
	char in[8];
	return recvfrom(fd, in, 8, 0, NULL, NULL);
}

static long call_recvmsg(int fd)
{
	char in[8];
	struct iovec v = { in, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	return recvmsg(fd, &m, 0);
}

static long call_recvmmsg(int fd)
{
	char in[8];
	struct iovec v = { in, 8 };
	struct mmsghdr m = { { .msg_iov = &v, .msg_iovlen = 1 }, 0 };
	return recvmmsg(fd, &m, 1, 0, NULL);
}

static long call_splice(int fd)
{
	int ends[2];
	OK(pipe(ends));
	return splice(fd, NULL, ends[1], NULL, 8, 0);
}

static long call_poll(int fd)
{
	return poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 3000);
}

static long call_ppoll(int fd)
{
	return ppoll(&(struct pollfd){ fd, POLLIN, 0 }, 1, &(struct timespec){ 3, 0 }, NULL);
}

static long call_select(int fd)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(fd, &set);
	return select(fd + 1, &set, NULL, NULL, &(struct timeval){ 3, 0 });
}

static long call_pselect(int fd)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(fd, &set);
	return pselect(fd + 1, &set, NULL, NULL, &(struct timespec){ 3, 0 }, NULL);
}

static int instance_with(int fd)
{
	int ep = (int)OK(epoll_create1(0));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){ EPOLLIN, { .fd = fd } }));
	return ep;
}

static long call_epoll_wait(int fd)
{
	return epoll_wait(instance_with(fd), &(struct epoll_event){ 0 }, 1, 3000);
}

static long call_epoll_pwait2(int fd)
{
	return epoll_pwait2(instance_with(fd), &(struct epoll_event){ 0 }, 1, &(struct timespec){ 3, 0 }, NULL);
}

/* These are called on a full connection. */
static long call_send(int fd)
{
	return send(fd, "x", 1, 0);
}

static long call_write(int fd)
{
	return write(fd, "x", 1);
}

static long call_sendmsg(int fd)
{
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	return sendmsg(fd, &m, 0);
}

static long call_sendfile(int fd)
{
	off_t from = 0;
	return sendfile(fd, text_file("words"), &from, 5);
}

static long call_poll_out(int fd)
{
	return poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, 3000);
}

struct blocking_call {
	const char *name;
	long (*call)(int fd);
	bool writes, never_restarted;
};

static const struct blocking_call blocking_calls[] = {
	{ "read", call_read, false, false },
	{ "readv", call_readv, false, false },
	{ "recv", call_recv, false, false },
	{ "recv_peek", call_recv_peek, false, false },
	{ "recv_all", call_recv_all, false, false }, /* a signal ends it with what it has */
	{ "recvfrom", call_recvfrom, false, false },
	{ "recvmsg", call_recvmsg, false, false },
	{ "recvmmsg", call_recvmmsg, false, false },
	{ "splice", call_splice, false, false },
	{ "send", call_send, true, false },
	{ "write", call_write, true, false },
	{ "sendmsg", call_sendmsg, true, false },
	{ "sendfile", call_sendfile, true, false },
	{ "poll", call_poll, false, true },
	{ "ppoll", call_ppoll, false, true },
	{ "select", call_select, false, true },
	{ "pselect", call_pselect, false, true },
	{ "epoll_wait", call_epoll_wait, false, true },
	{ "epoll_pwait2", call_epoll_pwait2, false, true },
	{ "poll_out", call_poll_out, true, true },
};

/* The kernel may find a little more room in a full socket: only what waits is asked. */
static long until_it_waits(const struct blocking_call *b, int fd)
{
	long n;
	do
		n = b->call(fd);
	while (n > 0 && b->writes);
	return n;
}

static void ask_interrupted(struct conn *c)
{
	const struct blocking_call *b = asked()->about;
	if (b->writes)
		fill(c->fd);
	signals_start(PERIOD_MS, 0);
	ask("interrupted", until_it_waits(b, c->fd));
	signals_stop();
	signals_start(PERIOD_MS, SA_RESTART);
	set_timeout(c->fd, b->writes ? SO_SNDTIMEO : SO_RCVTIMEO, 3000);
	ask("with SA_RESTART and a timeout", until_it_waits(b, c->fd));
	signals_stop();
	set_timeout(c->fd, b->writes ? SO_SNDTIMEO : SO_RCVTIMEO, 0);
	if (b->writes)
		return;
	signals_start(PERIOD_MS, SA_RESTART);
	int before = signals_seen();
	peer_send_later(c, 120, "late", 4, 0);
	long n = b->call(c->fd);
	say("with SA_RESTART %s", b->never_restarted || n >= 0 ? result(n) : "is interrupted");
	say("signals %d", signals_seen() > before);
	signals_stop();
	peer_join(c);
}

static void *wait_in_it(void *argument)
{
	struct conn *c = argument;
	const struct blocking_call *b = asked()->about;
	until_it_waits(b, c->fd);
	return NULL;
}

static void ask_cancelled(struct conn *c)
{
	const struct blocking_call *b = asked()->about;
	if (b->writes)
		fill(c->fd);
	pthread_t thread;
	void *end = NULL;
	EQ(pthread_create(&thread, NULL, wait_in_it, c), 0);
	sleep_ms(60);
	say("cancel %d", pthread_cancel(thread));
	struct timespec soon;
	OK(clock_gettime(CLOCK_REALTIME, &soon));
	soon.tv_sec++;
	if (pthread_timedjoin_np(thread, &end, &soon) != 0) {
		say("is no cancellation point");
		return;
	}
	say("%s", end == PTHREAD_CANCELED ? "cancelled" : "ended");
	say("poll %s", bits(c->fd));
	if (!b->writes) {
		exchange(c, 3);
		say("talks");
	}
}

__attribute__((constructor)) static void enlist_calls(void)
{
	enum { COUNT = sizeof blocking_calls / sizeof blocking_calls[0] };
	static struct question questions[2 * COUNT];
	static char names[COUNT][40];
	for (int i = 0; i < COUNT; i++) {
		const struct blocking_call *b = &blocking_calls[i];
		snprintf(names[i], sizeof names[i], "cancel_%s", b->name);
		unsigned states = b->writes ? STATES & STREAMS : STATES; /* UDP is never full */
		questions[2 * i] = (struct question){ THEME, b->name, i, states, ask_interrupted, b };
		questions[2 * i + 1] = (struct question){ THEME, names[i], i, states, ask_cancelled, b };
		enlist(&questions[2 * i]);
		enlist(&questions[2 * i + 1]);
	}
}

/* ---- calls that make connections ------------------------------------------------------------ */

QUESTION(accept_interrupted, ALONE)
{
	int fd = tcp4();
	OK(listen(fd, 5));
	signals_start(PERIOD_MS, 0);
	ask("accept", accept(fd, NULL, NULL));
	signals_stop();
	signals_start(PERIOD_MS, SA_RESTART);
	set_timeout(fd, SO_RCVTIMEO, 3000);
	ask("with SA_RESTART and a timeout", accept(fd, NULL, NULL));
	signals_stop();
}

QUESTION(connect_interrupted, ALONE)
{
	int full = tcp4(), fd = tcp4();
	OK(listen(full, 0));
	OK(connect_local(tcp4(), AF_INET, port_at(full)));
	signals_start(PERIOD_MS, 0);
	ask("connect", connect_local(fd, AF_INET, port_at(full)));
	signals_stop();
	say("poll %s, %s", bits(fd), state(fd));
	set_nonblock(fd, true);
	ask("again", connect_local(fd, AF_INET, port_at(full)));
}

QUESTION(partial_receive_then_signal, STATES)
{
	EQ(peer_send(c, "abc", 3, 0), 3);
	arrived(c->fd, 3);
	signals_start(PERIOD_MS, 0);
	ask_bytes("recv all", c->fd, 8, MSG_WAITALL);
	ask_bytes("recv", c->fd, 8, 0);
	signals_stop();
}

QUESTION(partial_send_then_signal, STATES)
{
	signals_start(60, 0);
	char *much = calloc(1, 64 << 20);
	ssize_t n = send(c->fd, much, 64 << 20, 0);
	signals_stop();
	say("part %d", n > 0 && n < 64 << 20);
}

QUESTION(alarm_ends_a_wait, STATES)
{
	struct sigaction action;
	struct itimerval time = { { 0, 0 }, { 0, 40000 } };
	signals_start(1000000, 0);
	OK(sigaction(SIGUSR1, NULL, &action));
	OK(sigaction(SIGALRM, &action, NULL)); /* the same counting handler, without SA_RESTART */
	OK(setitimer(ITIMER_REAL, &time, NULL));
	ask("recv", take(c->fd, 8, 0));
	say("signals %d", signals_seen());
	signals_stop();
}

QUESTION(ignored_signal_does_not_interrupt, STATES)
{
	signals_start(PERIOD_MS, 0);
	signal(SIGUSR1, SIG_IGN);
	peer_send_later(c, 100, "late", 4, 0);
	ask_bytes("recv", c->fd, 8, 0);
	signals_stop();
	peer_join(c);
}

QUESTION(blocked_signal_does_not_interrupt, STATES)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	signals_start(PERIOD_MS, 0);
	peer_send_later(c, 100, "late", 4, 0);
	ask_bytes("recv", c->fd, 8, 0);
	say("signals %d", signals_seen());
	signals_stop();
	peer_join(c);
}
