/* poll(2), ppoll, select(2), pselect: the bits of each state, and what the calls refuse. */
#include <sys/resource.h>

#include "ask.h"

#define THEME "poll"

static int every_bit(int fd)
{
	return poll_one(fd, POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND | POLLWRNORM |
			POLLWRBAND | POLLMSG, 0);
}

/* "R", "W", "X" for the sets that have it. */
static void say_select(const char *label, int fd)
{
	fd_set r, w, x;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	FD_SET(fd, &x);
	struct timeval no_time = { 0, 0 };
	int n = select(fd + 1, &r, &w, &x, &no_time);
	if (n < 0)
		ask(label, n);
	else
		say("%s %d %s%s%s", label, n, FD_ISSET(fd, &r) ? "R" : "", FD_ISSET(fd, &w) ? "W" : "",
		    FD_ISSET(fd, &x) ? "X" : "");
}

static void say_bits(const char *label, int fd)
{
	bits(fd); /* waits until they stay */
	say("%s %s", label, poll_bits(every_bit(fd)));
	say_select("select", fd);
}

QUESTION(new_socket, ALONE)
{
	say_bits("v4", tcp4());
	say_bits("v6", tcp6());
	int fd = tcp4();
	OK(bind_local(fd, AF_INET, 0));
	say_bits("bound", fd);
}

QUESTION(listener, ALONE)
{
	int fd = tcp4();
	OK(listen(fd, 5));
	say_bits("idle", fd);
	int client = tcp4();
	OK(connect_local(client, AF_INET, port_at(fd)));
	say_bits("with one", fd);
	OK(accept(fd, NULL, NULL));
	say_bits("accepted", fd);
}

QUESTION(refused, ALONE)
{
	int fd = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	connect_local(fd, AF_INET, closed_port(AF_INET));
	say_bits("before", fd);
	pending(fd);
	say_bits("error taken", fd);
}

QUESTION(connection_idle, STATES)
{
	say_bits("idle", c->fd);
	say("there %s", there_bits(c));
}

QUESTION(connection_with_bytes, STATES & STREAMS)
{
	EQ(peer_send(c, "words", 5, 0), 5);
	arrived(c->fd, 5);
	say_bits("bytes", c->fd);
	ask_bytes("recv", c->fd, 2, 0);
	say_bits("some left", c->fd);
	ask_bytes("recv", c->fd, 3, 0);
	say_bits("none left", c->fd);
}

QUESTION(connection_full, STATES & STREAMS)
{
	fill(c->fd);
	say_bits("full", c->fd);
	EQ(peer_send(c, "words", 5, 0), 5);
	arrived(c->fd, 5);
	say_bits("with bytes", c->fd);
	OK(peer_shutdown(c, SHUT_WR));
	say_bits("at the end", c->fd);
}

QUESTION(connection_full_then_drained, STATES & STREAMS)
{
	size_t n = fill(c->fd);
	ask("there", peer_verify(c, 0, n) == (long)n);
	say_bits("drained", c->fd);
}

QUESTION(connection_full_then_little_drained, STATES & STREAMS)
{
	fill(c->fd);
	char in[100];
	ask("there", peer_recv_all(c, in, 100));
	say_bits("a hundred bytes taken", c->fd); /* no room worth a wake-up yet */
}

QUESTION(after_each_shutdown, STATES)
{
	OK(shutdown(c->fd, SHUT_WR));
	say_bits("write half", c->fd);
	OK(peer_shutdown(c, SHUT_WR));
	say_bits("theirs too", c->fd);
	ask("shutdown", shutdown(c->fd, SHUT_RD));
	say_bits("read half", c->fd);
}

QUESTION(read_half_only, STATES)
{
	OK(shutdown(c->fd, SHUT_RD));
	say_bits("read half", c->fd);
	say("there %s", there_bits(c));
}

QUESTION(peer_half_closed, STATES & STREAMS)
{
	OK(peer_shutdown(c, SHUT_WR));
	say_bits("end", c->fd);
	ask("recv", take(c->fd, 1, 0));
	say_bits("end read", c->fd);
}

QUESTION(reset, STATES & STREAMS)
{
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	say_bits("reset", c->fd);
	ask("recv", take(c->fd, 1, 0));
	say_bits("error taken", c->fd);
}

QUESTION(urgent, STATES & STREAMS)
{
	ask("there", peer_send(c, "u", 1, MSG_OOB));
	poll_one(c->fd, POLLPRI, 1000);
	say_bits("urgent", c->fd);
	ask_bytes("recv", c->fd, 1, MSG_OOB);
	say_bits("taken", c->fd);
	ask("there", peer_send(c, "n", 1, 0));
	poll_one(c->fd, POLLIN, 1000);
	say_bits("normal after it", c->fd);
	ask_bytes("recv", c->fd, 5, 0);
	say_bits("read", c->fd);
}

QUESTION(urgent_inline, STATES & STREAMS)
{
	OK(set_option(c->fd, SOL_SOCKET, SO_OOBINLINE, 1));
	ask("there", peer_send(c, "u", 1, MSG_OOB));
	poll_one(c->fd, POLLPRI, 1000);
	say_bits("urgent", c->fd);
	ask("at mark", sockatmark(c->fd));
	ask_bytes("recv", c->fd, 1, 0);
	say_bits("taken", c->fd);
}

QUESTION(one_event_at_a_time, STATES)
{
	int events[] = { 0, POLLIN, POLLOUT, POLLRDHUP, POLLPRI, POLLHUP | POLLERR | POLLNVAL };
	EQ(peer_send(c, "words", 5, 0), 5);
	arrived(c->fd, 5);
	OK(peer_shutdown(c, SHUT_WR));
	bits(c->fd);
	for (int i = 0; i < 6; i++)
		say("%s: %s", poll_bits(events[i]), poll_bits(poll_one(c->fd, events[i], 0)));
	OK(peer_close(c));
	OK(shutdown(c->fd, SHUT_WR));
	bits(c->fd);
	for (int i = 0; i < 6; i++)
		say("%s: %s", poll_bits(events[i]), poll_bits(poll_one(c->fd, events[i], 0)));
}

QUESTION(negative_and_closed_descriptors, STATES)
{
	int closed = tcp4();
	OK(close(closed));
	struct pollfd p[4] = {
		{ -1, POLLIN | POLLOUT, 77 }, { closed, POLLIN, 77 }, { c->fd, POLLOUT, 77 },
		{ -c->fd, POLLOUT, 77 },
	};
	ask("poll", poll(p, 4, 0));
	for (int i = 0; i < 4; i++)
		say("%s", poll_bits(p[i].revents));
	ask("waits not", poll(p, 2, -1));
}

QUESTION(same_descriptor_twice, STATES)
{
	struct pollfd p[3] = { { c->fd, POLLOUT, 0 }, { c->fd, POLLIN, 0 }, { c->fd, POLLIN | POLLOUT, 0 } };
	ask("poll", poll(p, 3, 0));
	EQ(peer_send(c, "words", 5, 0), 5);
	arrived(c->fd, 5);
	ask("poll", poll(p, 3, 1000));
	for (int i = 0; i < 3; i++)
		say("%s", poll_bits(p[i].revents));
}

QUESTION(mixed_descriptors, STATES)
{
	int ends[2], pair[2];
	OK(pipe(ends));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	EQ(write(ends[1], "x", 1), 1);
	struct pollfd p[5] = {
		{ ends[0], POLLIN, 0 }, { c->fd, POLLIN, 0 }, { pair[0], POLLIN | POLLOUT, 0 },
		{ text_file("words"), POLLIN | POLLOUT, 0 }, { tcp4(), POLLIN, 0 },
	};
	ask("poll", poll(p, 5, 100));
	for (int i = 0; i < 5; i++)
		say("%s", poll_bits(p[i].revents));
}

QUESTION(wrong_arguments, STATES)
{
	struct pollfd p = { c->fd, POLLIN, 0 };
	ask("wild", poll(WILD, 1, 0));
	ask("null", poll(NULL, 1, 0));
	ask("null of none", poll(NULL, 0, 0));
	ask("too many", poll(&p, (nfds_t)-1, 0));
	struct timespec bad = { 0, 1000000000 }, negative = { -1, 0 }, none = { 0, 0 };
	ask("bad time", ppoll(&p, 1, &bad, NULL));
	ask("negative time", ppoll(&p, 1, &negative, NULL));
	ask("wild time", ppoll(&p, 1, WILD, NULL));
	ask("wild mask", ppoll(&p, 1, &none, WILD));
	ask("timeout below -1", poll(&(struct pollfd){ c->fd, POLLOUT, 0 }, 1, -7));
}

QUESTION(more_than_the_limit, STATES)
{
	struct pollfd many[64];
	for (int i = 0; i < 64; i++)
		many[i] = (struct pollfd){ c->fd, POLLOUT, 0 };
	struct rlimit few;
	OK(getrlimit(RLIMIT_NOFILE, &few));
	few.rlim_cur = 63;
	ask("64", poll(many, 64, 0));
	OK(setrlimit(RLIMIT_NOFILE, &few));
	ask("64 of 63 allowed", poll(many, 64, 0));
}

QUESTION(time_is_kept, STATES)
{
	int64_t before = now_ms();
	ask("poll", poll(&(struct pollfd){ c->fd, POLLIN, 0 }, 1, 60));
	say("60 ms %d", now_ms() - before >= 59 && now_ms() - before < 1500);
	before = now_ms();
	struct timespec time = { 0, 60000000 };
	ask("ppoll", ppoll(&(struct pollfd){ c->fd, POLLIN, 0 }, 1, &time, NULL));
	say("60 ms %d, time untouched %d", now_ms() - before >= 59 && now_ms() - before < 1500,
	    time.tv_nsec == 60000000);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(c->fd, &set);
	struct timeval left = { 0, 60000 };
	ask("select", select(c->fd + 1, &set, NULL, NULL, &left));
	say("time left %d, set %d", left.tv_usec > 0, FD_ISSET(c->fd, &set));
	FD_SET(c->fd, &set);
	left = (struct timeval){ 5, 0 };
	ask("select to write", select(c->fd + 1, NULL, &set, NULL, &left));
	say("time left %d", left.tv_sec == 4 || left.tv_sec == 5);
}

QUESTION(woken_by_bytes, STATES)
{
	peer_send_later(c, 40, "words", 5, 0);
	say("poll %s", poll_bits(poll_one(c->fd, ALL_EVENTS & ~POLLOUT, 3000)));
	peer_join(c);
	ask_bytes("recv", c->fd, 8, 0);
	peer_send_later(c, 40, "words", 5, 0);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(c->fd, &set);
	ask("select", select(c->fd + 1, &set, NULL, NULL, NULL));
	peer_join(c);
}

QUESTION(woken_by_end, STATES & STREAMS)
{
	peer_shutdown_later(c, 40, SHUT_WR);
	say("poll %s", poll_bits(poll_one(c->fd, POLLRDHUP, 3000)));
	peer_join(c);
	peer_close_later(c, 40);
	say("poll for nothing %s", poll_bits(poll_one(c->fd, 0, 100)));
	peer_join(c);
}

QUESTION(woken_by_room, STATES & STREAMS)
{
	size_t n = fill(c->fd);
	peer_verify_later(c, 40, 0, n);
	say("poll %s", poll_bits(poll_one(c->fd, POLLOUT, 3000)));
	ask("there", peer_join(c) == (long)n);
}

QUESTION(woken_by_own_shutdown, IN_ONE)
{
	struct conn ours = *c;
	ours.peer_fd = c->fd;
	peer_shutdown_later(&ours, 40, SHUT_RDWR);
	say("poll %s", poll_bits(poll_one(c->fd, POLLIN, 3000)));
	peer_join(&ours);
}

QUESTION(select_wrong_arguments, STATES)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(c->fd, &set);
	struct timeval no_time = { 0, 0 }, negative = { -1, 0 }, big = { 0, 2000000 };
	ask("negative count", select(-1, &set, NULL, NULL, &no_time));
	ask("count beyond", select(1 << 20, NULL, &set, NULL, &no_time));
	ask("count too small", select(c->fd, NULL, &set, NULL, &no_time));
	FD_SET(c->fd, &set);
	ask("negative time", select(c->fd + 1, NULL, &set, NULL, &negative));
	ask("big microseconds", select(c->fd + 1, NULL, &set, NULL, &big));
	FD_SET(c->fd, &set);
	ask("wild time", select(c->fd + 1, NULL, &set, NULL, WILD));
	ask("nothing", select(0, NULL, NULL, NULL, &no_time));
	int closed = tcp4();
	OK(close(closed));
	FD_ZERO(&set);
	FD_SET(closed, &set);
	ask("closed", select(closed + 1, &set, NULL, NULL, &no_time));
	struct timespec bad = { 0, 1000000000 };
	FD_ZERO(&set);
	FD_SET(c->fd, &set);
	ask("pselect bad time", pselect(c->fd + 1, NULL, &set, NULL, &bad, NULL));
	ask("pselect wild time", pselect(c->fd + 1, NULL, &set, NULL, WILD, NULL));
}

QUESTION(select_wild_set, STATES)
{
	struct timeval no_time = { 0, 0 };
	ask("wild", select(c->fd + 1, WILD, NULL, NULL, &no_time));
}

QUESTION(select_unread_sets_after_error, STATES)
{
	fd_set r, w;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(c->fd, &r);
	FD_SET(c->fd, &w);
	int closed = tcp4();
	OK(close(closed));
	FD_SET(closed, &r);
	struct timeval no_time = { 0, 0 };
	ask("select", select(closed + 1, &r, &w, NULL, &no_time));
	say("sets untouched %d %d", FD_ISSET(c->fd, &r), FD_ISSET(closed, &r));
}

QUESTION(select_beyond_the_table, STATES)
{
	fd_set r;
	FD_ZERO(&r);
	FD_SET(1000, &r); /* no process of few files has a table that long */
	struct timeval no_time = { 0, 0 };
	ask("select", select(1001, &r, NULL, NULL, &no_time));
}

static void block_usr1(sigset_t *before)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, before));
}

QUESTION(masks, STATES)
{
	signals_start(1000000, 0);
	sigset_t before;
	block_usr1(&before);
	raise(SIGUSR1);
	struct timespec time = { 0, 50000000 };
	ask("ppoll without mask", ppoll(&(struct pollfd){ c->fd, POLLIN, 0 }, 1, &time, NULL));
	say("signals %d", signals_seen());
	ask("ppoll with mask", ppoll(&(struct pollfd){ c->fd, POLLIN, 0 }, 1, &time, &before));
	say("signals %d", signals_seen());
	raise(SIGUSR1);
	ask("ready", ppoll(&(struct pollfd){ c->fd, POLLOUT, 0 }, 1, &time, &before));
	say("signals %d", signals_seen());
	fd_set set;
	FD_ZERO(&set);
	FD_SET(c->fd, &set);
	raise(SIGUSR1);
	ask("pselect with mask", pselect(c->fd + 1, &set, NULL, NULL, &time, &before));
	say("signals %d", signals_seen());
	sigset_t now;
	OK(sigprocmask(SIG_BLOCK, NULL, &now));
	say("blocked again %d", sigismember(&now, SIGUSR1));
}
