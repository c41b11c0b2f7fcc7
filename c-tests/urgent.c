/* Urgent data: MSG_OOB, SO_OOBINLINE, SIOCATMARK, POLLPRI, select's third set, SIGURG. */
#include "support.h"

static int at_mark(int fd)
{
	int value = -1;
	OK(ioctl(fd, SIOCATMARK, &value));
	return value;
}

static void out_of_line(struct conn *c)
{
	char in[32];
	for (int i = 0; i < 5; i++) {
		EQ(peer_send(c, "before", 6, 0), 6);
		EQ(peer_send(c, "!", 1, MSG_OOB), 1);
		EQ(peer_send(c, "after", 5, 0), 5);
		poll_until(c->fd, POLLPRI | POLLIN, POLLPRI | POLLIN);
		EQ(recv(c->fd, in, 4, MSG_OOB | MSG_PEEK), 1);
		EQ(in[0], '!');
		EQ(recv(c->fd, in, 4, MSG_OOB), 1);
		EQ(in[0], '!');
		ERR(recv(c->fd, in, 4, MSG_OOB), EINVAL);
		EQ(at_mark(c->fd), 0);
		/* A read stops at the mark. */
		EQ(recv(c->fd, in, 32, 0), 6);
		SAME(in, "before", 6);
		EQ(at_mark(c->fd), 1);
		EQ(recv_all(c->fd, in, 5), 5);
		SAME(in, "after", 5);
		EQ(at_mark(c->fd), 0);
	}
	exchange(c, 3);
}

static void in_line(struct conn *c)
{
	char in[32];
	int on = 1;
	OK(setsockopt(c->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
	for (int i = 0; i < 5; i++) {
		EQ(peer_send(c, "before", 6, 0), 6);
		EQ(peer_send(c, "!", 1, MSG_OOB), 1);
		EQ(peer_send(c, "after", 5, 0), 5);
		poll_until(c->fd, POLLPRI, POLLPRI);
		ERR(recv(c->fd, in, 4, MSG_OOB), EINVAL);
		EQ(recv(c->fd, in, 32, 0), 6);
		EQ(at_mark(c->fd), 1);
		EQ(recv_all(c->fd, in, 6), 6);
		SAME(in, "!after", 6);
	}
	exchange(c, 3);
}

static void last_of_several_bytes(struct conn *c)
{
	char in[32];
	EQ(peer_send(c, "abc", 3, MSG_OOB), 3);
	poll_until(c->fd, POLLPRI, POLLPRI);
	EQ(recv(c->fd, in, 4, MSG_OOB), 1);
	EQ(in[0], 'c');
	EQ(recv_all(c->fd, in, 2), 2);
	SAME(in, "ab", 2);
	exchange(c, 3);
}

static void nothing_urgent(struct conn *c)
{
	char in[4];
	ERR(recv(c->fd, in, 1, MSG_OOB), EINVAL);
	EQ(at_mark(c->fd), 0);
	exchange(c, 2);
	ERR(recv(c->fd, in, 1, MSG_OOB), EINVAL);
}

static void never_taken(struct conn *c)
{
	/* An urgent byte that nobody asks for is passed over by ordinary reads. */
	char in[32];
	EQ(peer_send(c, "ab", 2, 0), 2);
	EQ(peer_send(c, "!", 1, MSG_OOB), 1);
	EQ(peer_send(c, "cd", 2, 0), 2);
	EQ(recv_all(c->fd, in, 4), 4);
	SAME(in, "abcd", 4);
	ERR(recv(c->fd, in, 4, MSG_DONTWAIT), EAGAIN);
	exchange(c, 3);
}

static void both_ways(struct conn *c)
{
	char in[8];
	for (int i = 0; i < 10; i++) {
		EQ(send(c->fd, "x", 1, MSG_OOB), 1);
		EQ(peer_send(c, "y", 1, MSG_OOB), 1);
		poll_until(c->fd, POLLPRI, POLLPRI);
		EQ(recv(c->fd, in, 1, MSG_OOB), 1);
		EQ(in[0], 'y');
		EQ(peer_poll(c, POLLPRI, 5000), POLLPRI);
		EQ(peer_recv(c, in, 1, MSG_OOB), 1);
		EQ(in[0], 'x');
		exchange(c, 1);
	}
}

static void seen_by_select(struct conn *c)
{
	char in[8];
	for (int i = 0; i < 3; i++) {
		peer_send_later(c, 40, "!", 1, MSG_OOB);
		fd_set urgent;
		FD_ZERO(&urgent);
		FD_SET(c->fd, &urgent);
		struct timeval t = { 5, 0 };
		EQ(select(c->fd + 1, NULL, NULL, &urgent, &t), 1);
		TRUE(FD_ISSET(c->fd, &urgent));
		EQ(peer_join(c), 1);
		EQ(recv(c->fd, in, 1, MSG_OOB), 1);
		exchange(c, 1);
	}
}

static void seen_by_epoll(struct conn *c)
{
	char in[8];
	int e = (int)OK(epoll_create1(0));
	struct epoll_event event = { EPOLLPRI, { .u64 = 5 } }, got;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event));
	for (int i = 0; i < 3; i++) {
		EQ(peer_send(c, "plain", 5, 0), 5);
		EQ(recv_all(c->fd, in, 5), 5);
		EQ(epoll_wait(e, &got, 1, 0), 0);
		peer_send_later(c, 40, "!", 1, MSG_OOB);
		EQ(epoll_wait(e, &got, 1, 5000), 1);
		EQ(got.events, EPOLLPRI);
		EQ(peer_join(c), 1);
		EQ(recv(c->fd, in, 1, MSG_OOB), 1);
		exchange(c, 1);
	}
}

static volatile sig_atomic_t urgent_signals;

static void on_urgent(int signal)
{
	(void)signal;
	urgent_signals++;
}

static void signals(struct conn *c)
{
	char in[4];
	urgent_signals = 0;
	struct sigaction action = { .sa_handler = on_urgent, .sa_flags = SA_RESTART };
	OK(sigaction(SIGURG, &action, NULL));
	OK(fcntl(c->fd, F_SETOWN, getpid()));
	EQ(peer_send(c, "!", 1, MSG_OOB), 1);
	for (int64_t end = now_ms() + 5000; urgent_signals == 0 && now_ms() < end;)
		sleep_ms(1);
	TRUE(urgent_signals > 0);
	EQ(recv(c->fd, in, 1, MSG_OOB), 1);
	exchange(c, 2);
}

static const struct test tests[] = {
	TEST(out_of_line, EVERY),	TEST(in_line, EACH),
	TEST(last_of_several_bytes, EACH), TEST(nothing_urgent, EACH),
	TEST(never_taken, EACH),	TEST(both_ways, EACH),
	TEST(seen_by_select, EACH),	TEST(seen_by_epoll, EACH),
	TEST(signals, EACH),
};
MAIN(tests)
