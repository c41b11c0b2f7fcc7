/*
 * The calls that a fortified program makes. Built with -O2 -D_FORTIFY_SOURCE=2, and with lengths
 * the compiler cannot know, so that __read_chk, __recv_chk, __recvfrom_chk, __poll_chk,
 * __ppoll_chk and __fdelt_chk are what is really called.
 */
#include "support.h"

#if !defined(_FORTIFY_SOURCE) || _FORTIFY_SOURCE < 2
#error "this one is about fortified calls"
#endif

/* The compiler must not know it. */
static size_t unknown(size_t value)
{
	static volatile size_t hidden;
	hidden = value;
	return hidden;
}

static void checked_read(struct conn *c)
{
	char in[32];
	for (int i = 0; i < 10; i++) {
		EQ(peer_send(c, "twelve bytes", 12, 0), 12);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(read(c->fd, in, unknown(5)), 5);
		EQ(read(c->fd, in + 5, unknown(27)), 7);
		SAME(in, "twelve bytes", 12);
	}
	set_nonblock(c->fd, true);
	ERR(read(c->fd, in, unknown(5)), EAGAIN);
}

static void checked_recv(struct conn *c)
{
	char in[32];
	for (int i = 0; i < 10; i++) {
		EQ(peer_send(c, "twelve bytes", 12, 0), 12);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(recv(c->fd, in, unknown(32), MSG_PEEK), 12);
		EQ(recv(c->fd, in, unknown(5), 0), 5);
		EQ(recv(c->fd, in + 5, unknown(7), MSG_WAITALL), 7);
		SAME(in, "twelve bytes", 12);
		ERR(recv(c->fd, in, unknown(5), MSG_DONTWAIT), EAGAIN);
	}
}

static void checked_recvfrom(struct conn *c)
{
	char in[32];
	struct sockaddr_storage addr;
	for (int i = 0; i < 10; i++) {
		socklen_t length = sizeof addr;
		EQ(peer_send(c, "twelve bytes", 12, 0), 12);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(recvfrom(c->fd, in, unknown(5), 0, NULL, NULL), 5);
		EQ(recvfrom(c->fd, in + 5, unknown(27), 0, (struct sockaddr *)&addr, &length), 7);
		SAME(in, "twelve bytes", 12);
		EQ(length, 0);
	}
}

static void checked_poll(struct conn *c)
{
	struct pollfd p[2] = { { .fd = c->fd, .events = POLLIN }, { .fd = -1 } };
	char in[8];
	for (int i = 0; i < 5; i++) {
		EQ(poll(p, unknown(2), 0), 0);
		peer_send_later(c, 30, "late", 4, 0);
		EQ(poll(p, unknown(2), 5000), 1);
		EQ(p[0].revents, POLLIN);
		EQ(peer_join(c), 4);
		EQ(read(c->fd, in, unknown(8)), 4);
		struct timespec t = { 0, 1000000 };
		EQ(ppoll(p, unknown(1), &t, NULL), 0);
		peer_send_later(c, 30, "late", 4, 0);
		EQ(ppoll(p, unknown(2), NULL, NULL), 1);
		EQ(peer_join(c), 4);
		EQ(recv(c->fd, in, unknown(8), 0), 4);
	}
}

static void checked_select(struct conn *c)
{
	char in[8];
	for (int i = 0; i < 5; i++) {
		fd_set r;
		FD_ZERO(&r);
		FD_SET((int)unknown((size_t)c->fd), &r);
		peer_send_later(c, 30, "late", 4, 0);
		EQ(select(c->fd + 1, &r, NULL, NULL, NULL), 1);
		TRUE(FD_ISSET((int)unknown((size_t)c->fd), &r));
		EQ(peer_join(c), 4);
		EQ(recv(c->fd, in, unknown(8), 0), 4);
	}
}

static void blocks_until_data(struct conn *c)
{
	char in[8];
	for (int i = 0; i < 3; i++) {
		peer_send_later(c, 40, "late", 4, 0);
		EQ(read(c->fd, in, unknown(8)), 4);
		EQ(peer_join(c), 4);
		peer_send_later(c, 40, "late", 4, 0);
		EQ(recv(c->fd, in, unknown(8), 0), 4);
		EQ(peer_join(c), 4);
	}
}

static void checked_printing(struct conn *c)
{
	char in[16];
	for (int i = 0; i < 5; i++) {
		OK(dprintf(c->fd, "%s-%04d\n", "line", (int)unknown((size_t)i)));
		EQ(peer_recv_all(c, in, 10), 10);
		SAME(in, "line-000", 8);
	}
}

static const struct test tests[] = {
	TEST(checked_read, EACH),    TEST(checked_recv, EACH),
	TEST(checked_recvfrom, EACH), TEST(checked_poll, EACH),
	TEST(checked_select, EACH),  TEST(blocks_until_data, EACH),
	TEST(checked_printing, EACH),
};
MAIN(tests)
