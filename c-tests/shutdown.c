/* shutdown(2): each half, each end, and what poll, read and write say afterwards. */
#include "support.h"

#define ALL (POLLIN | POLLOUT | POLLRDHUP)

static void write_half(struct conn *c)
{
	char in[8];
	count_sigpipe();
	EQ(send(c->fd, "last", 4, 0), 4);
	OK(shutdown(c->fd, SHUT_WR));
	EQ(poll_one(c->fd, ALL, 0), POLLOUT);
	ERR(write(c->fd, "x", 1), EPIPE);
	EQ(sigpipes_seen(), 1);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(sigpipes_seen(), 1);
	EQ(peer_recv_all(c, in, 8), 4);
	EQ(peer_poll(c, ALL, 1000), POLLIN | POLLOUT | POLLRDHUP);
	EQ(peer_recv(c, in, 8, 0), 0);
	EQ(peer_recv(c, in, 8, 0), 0);
	/* The other half goes on, for as long as anybody likes. */
	for (int i = 0; i < 20; i++) {
		EQ(peer_send(c, "onward", 6, 0), 6);
		EQ(recv_all(c->fd, in, 6), 6);
		SAME(in, "onward", 6);
	}
	peer_send_later(c, 40, "late", 4, 0);
	EQ(recv_all(c->fd, in, 4), 4);
	EQ(peer_join(c), 4);
	OK(peer_shutdown(c, SHUT_WR));
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQ(peer_poll(c, ALL, 1000), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

static void write_half_of_the_peer(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "last", 4, 0), 4);
	OK(peer_shutdown(c, SHUT_WR));
	EQ(poll_until(c->fd, ALL, POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
	EQ(poll_one(c->fd, POLLIN, 0), POLLIN); /* POLLRDHUP only when asked for, POLLHUP never */
	EQ(poll_one(c->fd, 0, 0), 0);
	EQ(recv_all(c->fd, in, 8), 4);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP);
	for (int i = 0; i < 20; i++) {
		EQ(send(c->fd, "onward", 6, 0), 6);
		EQ(peer_recv_all(c, in, 6), 6);
	}
	/* A peer that sleeps in its read is still woken. */
	peer_verify_later(c, 0, 0, 1000);
	sleep_ms(50);
	char out[1000];
	pattern_fill(out, 0, sizeof out);
	EQ(send_all(c->fd, out, sizeof out), sizeof out);
	EQ(peer_join(c), 1000);
	OK(shutdown(c->fd, SHUT_WR));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

static void read_half(struct conn *c)
{
	char in[8];
	OK(shutdown(c->fd, SHUT_RD));
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(recv(c->fd, in, 8, MSG_DONTWAIT), 0);
	/* The peer does not know, and what it sends can still be read. */
	EQ(peer_poll(c, ALL, 0), POLLOUT);
	EQ(peer_send(c, "still", 5, 0), 5);
	for (int64_t end = now_ms() + 5000; now_ms() < end;) {
		int waiting = 0;
		OK(ioctl(c->fd, FIONREAD, &waiting));
		if (waiting == 5)
			break;
	}
	EQ(recv(c->fd, in, 8, 0), 5);
	EQ(recv(c->fd, in, 8, 0), 0);
	for (int i = 0; i < 10; i++) {
		EQ(send(c->fd, "onward", 6, 0), 6);
		EQ(peer_recv_all(c, in, 6), 6);
	}
}

static void both(struct conn *c)
{
	char in[8];
	count_sigpipe();
	EQ(send(c->fd, "last", 4, 0), 4);
	OK(shutdown(c->fd, SHUT_RDWR));
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQ(recv(c->fd, in, 8, 0), 0);
	ERR(write(c->fd, "x", 1), EPIPE);
	EQ(sigpipes_seen(), 1);
	EQ(peer_recv_all(c, in, 8), 4);
	EQ(peer_poll(c, ALL, 1000), POLLIN | POLLOUT | POLLRDHUP);
	OK(peer_close(c));
}

static void twice(struct conn *c)
{
	OK(shutdown(c->fd, SHUT_WR));
	OK(shutdown(c->fd, SHUT_WR));
	OK(shutdown(c->fd, SHUT_RD));
	OK(shutdown(c->fd, SHUT_RDWR));
	OK(peer_shutdown(c, SHUT_RDWR));
	poll_until(c->fd, POLLHUP, POLLHUP);
	/* Both directions have ended, so there is no connection left to shut. */
	ERR(peer_shutdown(c, SHUT_RDWR), ENOTCONN);
}

static void wrong_how(struct conn *c)
{
	ERR(shutdown(c->fd, 3), EINVAL);
	ERR(shutdown(c->fd, -1), EINVAL);
	exchange(c, 3);
}

static void wakes_the_peers_read(struct conn *c)
{
	char in[8];
	for (int how = SHUT_WR; how <= SHUT_RDWR; how++) {
		struct conn *d = conn_open_again(c);
		peer_shutdown_later(d, 60, how);
		EQ(recv(d->fd, in, 8, 0), 0);
		OK(peer_join(d));
		conn_end(d);
	}
	peer_shutdown_later(c, 60, SHUT_WR);
	EQ(poll_one(c->fd, POLLIN, 5000), POLLIN);
	OK(peer_join(c));
}

struct later { int fd, how; };

static void *shut_later(void *argument)
{
	struct later *later = argument;
	sleep_ms(60);
	return (void *)(intptr_t)shutdown(later->fd, later->how);
}

static void wakes_our_own_read(struct conn *c)
{
	char in[8];
	for (int how = SHUT_RD; how <= SHUT_RDWR; how += 2) {
		struct conn *d = conn_open_again(c);
		struct later later = { d->fd, how };
		pthread_t thread;
		pthread_create(&thread, NULL, shut_later, &later);
		EQ(recv(d->fd, in, 8, 0), 0);
		pthread_join(thread, NULL);
		conn_end(d);
	}
	struct later later = { c->fd, SHUT_RDWR };
	pthread_t thread;
	pthread_create(&thread, NULL, shut_later, &later);
	TRUE(poll_one(c->fd, POLLIN, 5000) & POLLHUP);
	pthread_join(thread, NULL);
}

static void wakes_our_own_write(struct conn *c)
{
	fill_until_full(c->fd);
	struct later later = { c->fd, SHUT_WR };
	pthread_t thread;
	pthread_create(&thread, NULL, shut_later, &later);
	static char more[8 << 20];
	ssize_t n;
	while ((n = send(c->fd, more, sizeof more, MSG_NOSIGNAL)) > 0)
		;
	ERR(n, EPIPE);
	pthread_join(thread, NULL);
}

static void data_then_end(struct conn *c)
{
	/* Everything written before the shutdown arrives before the end. */
	size_t size = 3 << 20;
	peer_verify_later(c, 0, 0, size);
	char *big = malloc(size);
	pattern_fill(big, 0, size);
	EQ(send_all(c->fd, big, size), size);
	OK(shutdown(c->fd, SHUT_WR));
	EQ(peer_join(c), size);
	EQ(peer_recv(c, big, 8, 0), 0);
	/* And the answer may be as long. */
	peer_produce_later(c, 0, 0, size);
	EQ(recv_all(c->fd, big, size), size);
	EQ(pattern_differs(big, 0, size), -1);
	EQ(peer_join(c), size);
	OK(peer_close(c));
	EQ(recv(c->fd, big, 8, 0), 0);
	free(big);
}

static void full_then_shutdown(struct conn *c)
{
	size_t total = fill_until_full(c->fd);
	OK(shutdown(c->fd, SHUT_WR));
	EQ(peer_verify(c, 0, total), total);
	char in[4];
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void through_a_duplicate(struct conn *c)
{
	char in[8];
	int copy = (int)OK(dup(c->fd));
	OK(shutdown(copy, SHUT_WR));
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(peer_recv(c, in, 8, 0), 0);
	EQ(peer_send(c, "back", 4, 0), 4);
	EQ(recv_all(c->fd, in, 4), 4);
}

static void answers_in_pieces(void *argument)
{
	static char piece[8192];
	char in[4096];
	int fd = (int)OK(accept(*(int *)argument, NULL, NULL));
	while (OK(recv(fd, in, sizeof in, 0)) > 0)
		;
	for (int i = 0; i < 10; i++) {
		poll_until(fd, POLLOUT, POLLOUT);
		EQ(send_all(fd, piece, sizeof piece), sizeof piece);
		sleep_ms(2);
	}
	close(fd);
}

static void before_it_was_accepted(struct conn *c)
{
	(void)c;
	static char bytes[100000];
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, 4, &addr, &length);
	for (int i = 0; i < 10; i++) {
		int fd = tcp_connect(INET, &addr, length);
		EQ(send_all(fd, bytes, 35000), 35000);
		OK(shutdown(fd, SHUT_WR));
		pid_t child = fork_child(answers_in_pieces, &listener);
		EQ(recv_all(fd, bytes, sizeof bytes), 10 * 8192);
		join_child(child);
		close(fd);
	}
}

static const struct test tests[] = {
	TEST(write_half, EVERY),	 TEST(write_half_of_the_peer, EVERY),
	TEST(read_half, EACH),		 TEST(both, EVERY),
	TEST(twice, EACH),		 TEST(wrong_how, EACH),
	TEST(wakes_the_peers_read, EACH), TEST(wakes_our_own_read, EACH),
	TEST(wakes_our_own_write, EACH), TEST(data_then_end, EACH),
	TEST(full_then_shutdown, EACH),	 TEST(through_a_duplicate, EACH),
	TEST(before_it_was_accepted, ALONE),
};
MAIN(tests)
