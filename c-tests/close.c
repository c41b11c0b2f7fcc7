/* close(2): how a connection ends, as the other end sees it. */
#include "support.h"

#define ALL (POLLIN | POLLOUT | POLLRDHUP)

static void clean(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "bye", 3, 0), 3);
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
	EQ(recv_all(c->fd, in, 8), 3);
	SAME(in, "bye", 3);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP);
	OK(close(c->fd));
	ERR(recv(c->fd, in, 8, 0), EBADF);
	ERR(close(c->fd), EBADF);
	c->fd = -1;
}

static void unread_data_resets(struct conn *c)
{
	char in[8];
	EQ(send(c->fd, "never read", 10, 0), 10);
	EQ(peer_poll(c, POLLIN, 5000), POLLIN);
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	ERR(recv(c->fd, in, 8, 0), ECONNRESET); /* told once */
	EQ(recv(c->fd, in, 8, 0), 0);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
}

static void unread_data_resets_a_writer(struct conn *c)
{
	EQ(send(c->fd, "never read", 10, 0), 10);
	EQ(peer_poll(c, POLLIN, 5000), POLLIN);
	OK(peer_close(c));
	poll_until(c->fd, POLLHUP, POLLHUP);
	count_sigpipe();
	ERR(write(c->fd, "x", 1), ECONNRESET); /* the pending error first */
	EQ(sigpipes_seen(), 0);
	ERR(write(c->fd, "x", 1), EPIPE);
	EQ(sigpipes_seen(), 1);
}

static void reset_discards_what_was_on_its_way(struct conn *c)
{
	/* The peer has written to us and not read: its close resets, and we read the reset. */
	char in[8];
	EQ(send(c->fd, "never read", 10, 0), 10);
	EQ(peer_poll(c, POLLIN, 5000), POLLIN);
	OK(peer_close(c));
	poll_until(c->fd, POLLERR, POLLERR);
	int error = 0;
	socklen_t size = sizeof error;
	OK(getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size));
	EQ(error, ECONNRESET);
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQ(recv(c->fd, in, 8, 0), 0);
}

static void linger_zero_resets(struct conn *c)
{
	char in[8];
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	ERR(recv(c->fd, in, 8, 0), ECONNRESET);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

static void linger_waits_and_delivers(struct conn *c)
{
	struct linger five = { 1, 5 };
	OK(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &five, sizeof five));
	EQ(send(c->fd, "goodbye", 7, 0), 7);
	OK(close(c->fd));
	c->fd = -1;
	char in[8];
	EQ(peer_recv_all(c, in, 8), 7);
	SAME(in, "goodbye", 7);
	EQ(peer_recv(c, in, 8, 0), 0);
}

static void data_survives_close(struct conn *c)
{
	size_t total = fill_until_full(c->fd);
	OK(close(c->fd));
	c->fd = -1;
	EQ(peer_verify(c, 0, total), total);
	char in[8];
	EQ(peer_recv(c, in, 8, 0), 0);
}

static void writes_after_the_peer_closed(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "bye", 3, 0), 3);
	OK(peer_close(c));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	EQ(send(c->fd, "x", 1, MSG_NOSIGNAL), 1);
	poll_until(c->fd, POLLHUP, POLLHUP);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	/* What it said before is still here. */
	EQ(recv_all(c->fd, in, 3), 3);
	SAME(in, "bye", 3);
}

static void killed_peer(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "bye", 3, 0), 3);
	peer_kill(c);
	EQ(poll_until(c->fd, ALL, POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
	EQ(recv_all(c->fd, in, 8), 3);
	EQ(recv(c->fd, in, 8, 0), 0);
}

static void killed_peer_with_unread_data(struct conn *c)
{
	char in[8];
	EQ(send(c->fd, "never read", 10, 0), 10);
	EQ(peer_poll(c, POLLIN, 5000), POLLIN);
	peer_kill(c);
	poll_until(c->fd, POLLHUP, POLLHUP);
	ERR(recv(c->fd, in, 8, 0), ECONNRESET);
	EQ(recv(c->fd, in, 8, 0), 0);
}

static void killed_peer_wakes_a_writer(struct conn *c)
{
	fill_until_full(c->fd);
	pid_t victim = c->peer_pid;
	fflush(NULL);
	pid_t killer = (pid_t)OK(fork());
	if (killer == 0) {
		sleep_ms(80);
		kill(victim, SIGKILL);
		_exit(0);
	}
	static char more[8 << 20];
	ssize_t n;
	while ((n = send(c->fd, more, sizeof more, MSG_NOSIGNAL)) > 0)
		;
	ERR(n, ECONNRESET);
	join_child(killer);
	OK(waitpid(victim, NULL, 0));
	c->peer_pid = 0;
}

static void close_wakes_the_peers_read(struct conn *c)
{
	char in[8];
	peer_close_later(c, 60);
	EQ(recv(c->fd, in, 8, 0), 0);
	OK(peer_join(c));
}

static void close_wakes_the_peers_epoll(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	struct epoll_event event = { EPOLLIN | EPOLLRDHUP | EPOLLET, { .u64 = 1 } }, got;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event));
	EQ(epoll_wait(e, &got, 1, 0), 0);
	peer_close_later(c, 60);
	EQ(epoll_wait(e, &got, 1, 5000), 1);
	EQ(got.events, EPOLLIN | EPOLLRDHUP);
	OK(peer_join(c));
}

static void descriptor_number_is_free_again(struct conn *c)
{
	OK(peer_close(c));
	int fd = c->fd;
	OK(close(fd));
	c->fd = -1;
	/* Whatever comes to live there has nothing of the old one. */
	int pipes[2];
	OK(pipe(pipes));
	int one = pipes[0] == fd ? pipes[1] : fd;
	if (pipes[0] != fd && pipes[1] != fd)
		one = (int)OK(dup2(pipes[1], fd));
	char in[8];
	int other = one == pipes[1] || one == fd ? pipes[0] : pipes[1];
	if (other == fd)
		one = pipes[1];
	EQ(write(one, "pipe", 4), 4);
	EQ(read(other, in, 8), 4);
	struct stat s;
	OK(fstat(fd, &s));
	TRUE(S_ISFIFO(s.st_mode));
	ERR(send(one, "x", 1, 0), ENOTSOCK);
}

static void many_open_at_once(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 200, &addr, &length), a[120], b[120];
	for (int i = 0; i < 120; i++) {
		a[i] = tcp_connect(INET, &addr, length);
		b[i] = (int)OK(accept(fd, NULL, NULL));
	}
	for (int i = 0; i < 120; i++)
		warm_up_fds(a[i], b[119 - (119 - i)]);
	for (int i = 0; i < 120; i += 2) {
		char in[4];
		OK(close(a[i]));
		EQ(recv(b[i], in, 4, 0), 0);
		warm_up_fds(a[i + 1], b[i + 1]);
	}
}

static const struct test tests[] = {
	TEST(clean, EVERY),
	TEST(unread_data_resets, EVERY),
	TEST(unread_data_resets_a_writer, EACH),
	TEST(reset_discards_what_was_on_its_way, EACH),
	TEST(linger_zero_resets, EVERY),
	TEST(linger_waits_and_delivers, EACH),
	TEST(data_survives_close, EACH),
	TEST(writes_after_the_peer_closed, EACH),
	TEST(killed_peer, TWO),
	TEST(killed_peer_with_unread_data, TWO),
	TEST(killed_peer_wakes_a_writer, TWO),
	TEST(close_wakes_the_peers_read, EVERY),
	TEST(close_wakes_the_peers_epoll, EACH),
	TEST(descriptor_number_is_free_again, EACH),
	TEST(many_open_at_once, ALONE),
};
MAIN(tests)
