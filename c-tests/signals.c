/* Signals that arrive while a call waits: EINTR or not, as signal(7) has it. */
#include "support.h"

static void read_interrupted(struct conn *c)
{
	char in[8];
	signals_start(30, 0);
	ERR(read(c->fd, in, 8), EINTR);
	ERR(recv(c->fd, in, 8, 0), EINTR);
	ERR(recv(c->fd, in, 8, MSG_PEEK), EINTR);
	ERR(recv(c->fd, in, 8, MSG_WAITALL), EINTR);
	struct iovec v = { in, 8 };
	ERR(readv(c->fd, &v, 1), EINTR);
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ERR(recvmsg(c->fd, &m, 0), EINTR);
	signals_stop();
	TRUE(signals_seen() >= 6);
	exchange(c, 3);
}

static void read_restarted(struct conn *c)
{
	char in[8];
	signals_start(20, SA_RESTART);
	for (int i = 0; i < 3; i++) {
		int before = signals_seen();
		peer_send_later(c, 150, "late", 4, 0);
		EQ(i & 1 ? read(c->fd, in, 8) : recv(c->fd, in, 8, 0), 4);
		TRUE(signals_seen() > before);
		SAME(in, "late", 4);
		signals_stop();
		EQ(peer_join(c), 4);
		signals_start(20, SA_RESTART);
	}
	signals_stop();
	exchange(c, 3);
}

static void read_with_a_timeout_is_never_restarted(struct conn *c)
{
	char in[8];
	set_timeout(c->fd, SO_RCVTIMEO, 5000);
	signals_start(30, SA_RESTART);
	ERR(recv(c->fd, in, 8, 0), EINTR);
	signals_stop();
	exchange(c, 2);
}

static void waitall_interrupted_gives_what_it_has(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "abc", 3, 0), 3);
	poll_until(c->fd, POLLIN, POLLIN);
	signals_start(40, 0);
	EQ(recv(c->fd, in, 8, MSG_WAITALL), 3);
	signals_stop();
	exchange(c, 2);
}

static void write_interrupted(struct conn *c)
{
	size_t total = fill_until_full(c->fd);
	signals_start(30, 0);
	char byte = pattern_at(total);
	static char more[8 << 20];
	pattern_fill(more, total, sizeof more);
	ssize_t n = write(c->fd, more, sizeof more);
	if (n > 0) { /* a little room was left after all */
		total += (size_t)n;
		byte = pattern_at(total);
		n = write(c->fd, &byte, 1);
	}
	ERR(n, EINTR);
	ERR(send(c->fd, &byte, 1, 0), EINTR);
	signals_stop();
	EQ(peer_verify(c, 0, total), total);
	exchange(c, 2);
}

static void write_restarted(struct conn *c)
{
	size_t total = fill_until_full(c->fd), size = 1 << 20;
	char *more = malloc(size);
	pattern_fill(more, total, size);
	peer_verify_later(c, 150, 0, total + 1);
	signals_start(20, SA_RESTART);
	EQ(write(c->fd, more, 1), 1);
	signals_stop();
	EQ(peer_join(c), total + 1);
	free(more);
	exchange(c, 2);
}

static void poll_is_never_restarted(struct conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	fd_set r;
	int e = (int)OK(epoll_create1(0));
	struct epoll_event event = { EPOLLIN, { .u64 = 1 } }, got;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event));
	for (int restart = 0; restart < 2; restart++) {
		signals_start(30, restart ? SA_RESTART : 0);
		ERR(poll(&p, 1, 5000), EINTR);
		ERR(poll(&p, 1, -1), EINTR);
		ERR(ppoll(&p, 1, NULL, NULL), EINTR);
		FD_ZERO(&r);
		FD_SET(c->fd, &r);
		ERR(select(c->fd + 1, &r, NULL, NULL, NULL), EINTR);
		FD_SET(c->fd, &r);
		ERR(pselect(c->fd + 1, &r, NULL, NULL, NULL, NULL), EINTR);
		ERR(epoll_wait(e, &got, 1, 5000), EINTR);
		ERR(epoll_wait(e, &got, 1, -1), EINTR);
		ERR(epoll_pwait(e, &got, 1, -1, NULL), EINTR);
		ERR(epoll_pwait2(e, &got, 1, NULL, NULL), EINTR);
		signals_stop();
	}
	exchange(c, 2);
}

static void accept_and_connect(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, 0, &addr, &length);
	signals_start(30, 0);
	ERR(accept(listener, NULL, NULL), EINTR);
	ERR(accept4(listener, NULL, NULL, SOCK_CLOEXEC), EINTR);
	signals_stop();
	int a = tcp_connect(INET, &addr, length), b = (int)OK(accept(listener, NULL, NULL));
	warm_up_fds(a, b);
}

static int handler_fd;
static volatile sig_atomic_t handler_wrote;

static void writes_in_handler(int signal)
{
	(void)signal;
	int error = errno;
	if (write(handler_fd, "s", 1) == 1)
		handler_wrote++;
	errno = error;
}

static void handler_writes_to_the_same_socket(struct conn *c)
{
	/* The handler strikes anywhere, also inside the library, and must not deadlock. */
	struct sigaction action = { .sa_handler = writes_in_handler, .sa_flags = SA_RESTART };
	OK(sigaction(SIGVTALRM, &action, NULL));
	handler_fd = c->fd;
	handler_wrote = 0;
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	OK(setitimer(ITIMER_VIRTUAL, &often, NULL));
	long mine = 0, letters = 0, signals = 0;
	char in[4096];
	for (int64_t end = now_ms() + 400; now_ms() < end;) {
		for (int i = 0; i < 50; i++) {
			ssize_t n = send(c->fd, "mmmm", 4, MSG_DONTWAIT);
			if (n > 0)
				mine += n;
		}
		long n;
		while ((n = peer_recv(c, in, sizeof in, MSG_DONTWAIT)) > 0)
			for (long i = 0; i < n; i++) {
				letters += in[i] == 'm';
				signals += in[i] == 's';
			}
	}
	OK(setitimer(ITIMER_VIRTUAL, &never, NULL));
	OK(shutdown(c->fd, SHUT_WR));
	long n;
	while ((n = peer_recv(c, in, sizeof in, 0)) > 0)
		for (long i = 0; i < n; i++) {
			letters += in[i] == 'm';
			signals += in[i] == 's';
		}
	EQ(n, 0);
	EQ(letters + signals, mine + handler_wrote); /* none lost, none twice */
	EQ(signals, handler_wrote);
	EQ(letters, mine);
}

static void errno_survives(struct conn *c)
{
	/* A call that succeeds leaves errno as it was. */
	char in[8];
	for (int i = 0; i < 5; i++) {
		errno = EDOM;
		EQ(send(c->fd, "abcd", 4, 0), 4);
		EQ(errno, EDOM);
		EQ(peer_recv_all(c, in, 4), 4);
		EQ(peer_send(c, "abcd", 4, 0), 4);
		errno = EDOM;
		EQ(recv(c->fd, in, 4, MSG_WAITALL), 4);
		EQ(errno, EDOM);
		struct pollfd p = { .fd = c->fd, .events = POLLIN | POLLOUT };
		EQ(poll(&p, 1, 0), 1);
		EQ(errno, EDOM);
	}
}

static const struct test tests[] = {
	TEST(read_interrupted, EVERY),
	TEST(read_restarted, EVERY),
	TEST(read_with_a_timeout_is_never_restarted, EACH),
	TEST(waitall_interrupted_gives_what_it_has, EACH),
	TEST(write_interrupted, EACH),
	TEST(write_restarted, EACH),
	TEST(poll_is_never_restarted, EACH),
	TEST(accept_and_connect, ALONE),
	TEST(handler_writes_to_the_same_socket, EACH),
	TEST(errno_survives, EACH),
};
MAIN(tests)
