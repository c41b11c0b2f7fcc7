/* Much data, one way and both, driven in every way there is. */
#include "support.h"

static void one_way(struct conn *c)
{
	size_t size = 16 << 20;
	char *bytes = malloc(size);
	pattern_fill(bytes, 0, size);
	peer_verify_later(c, 0, 0, size);
	EQ(send_all(c->fd, bytes, size), size);
	EQ(peer_join(c), size);
	peer_produce_later(c, 0, 9, size);
	EQ(recv_all(c->fd, bytes, size), size);
	EQ(pattern_differs(bytes, 9, size), -1);
	EQ(peer_join(c), size);
	free(bytes);
	exchange(c, 3);
}

/* One thread, both ends of it non-blocking: sends and receives as poll allows. */
static void both_ways_in_one_thread(struct conn *c)
{
	size_t size = 8 << 20;
	char chunk[30000];
	(void)c;
	int pair[2];
	tcp_pair(INET, pair);
	if (c->variant->warm)
		warm_up_fds(pair[0], pair[1]);
	size_t out[2] = { 0, 0 }, in[2] = { 0, 0 };
	set_nonblock(pair[0], true);
	set_nonblock(pair[1], true);
	unsigned dice = 1;
	while (in[0] < size || in[1] < size) {
		struct pollfd p[2];
		for (int i = 0; i < 2; i++)
			p[i] = (struct pollfd){ .fd = pair[i],
						.events = (short)((in[i] < size ? POLLIN : 0) |
								  (out[i] < size ? POLLOUT : 0)) };
		TRUE(OK(poll(p, 2, 10000)) > 0);
		for (int i = 0; i < 2; i++) {
			dice = dice * 1103515245 + 12345;
			size_t part = 1 + (dice >> 8) % sizeof chunk;
			if (p[i].revents & POLLOUT && out[i] < size) {
				if (part > size - out[i])
					part = size - out[i];
				pattern_fill(chunk, out[i], part);
				ssize_t n = send(pair[i], chunk, part, 0);
				if (n > 0)
					out[i] += (size_t)n;
				else
					ERR(n, EAGAIN);
			}
			if (p[i].revents & POLLIN) {
				ssize_t n = recv(pair[i], chunk, part, 0);
				if (n > 0) {
					EQ(pattern_differs(chunk, in[i], (size_t)n), -1);
					in[i] += (size_t)n;
				} else {
					ERR(n, EAGAIN);
				}
			}
		}
	}
	char byte;
	ERR(recv(pair[0], &byte, 1, 0), EAGAIN);
	ERR(recv(pair[1], &byte, 1, 0), EAGAIN);
}

static void fill_drain_compare(struct conn *c)
{
	/* Again and again to the brim and to the last byte, at odd sizes. */
	for (int round = 0; round < 8; round++) {
		size_t total = fill_until_full(c->fd);
		EQ(peer_verify(c, 0, total), total);
		exchange(c, 1 + round);
	}
}

static void every_size(struct conn *c)
{
	static char out[20000], in[20000];
	pattern_fill(out, 0, sizeof out);
	for (size_t size = 1; size < sizeof out; size += 1 + size / 7) {
		EQ(send(c->fd, out, size, 0), size);
		EQ(peer_recv_all(c, in, size), size);
		SAME(in, out, size);
	}
}

/* Everything there is to read now; edge-triggered readers must. */
static void take_all(int fd, size_t *in)
{
	static char chunk[50000];
	ssize_t n;
	while ((n = recv(fd, chunk, sizeof chunk, 0)) > 0) {
		EQ(pattern_differs(chunk, *in, (size_t)n), -1);
		*in += (size_t)n;
	}
	ERR(n, EAGAIN);
}

static void edge_driven(struct conn *c)
{
	/* Nothing but edges says when to go on: one that is missed is a hang. */
	size_t size = 8 << 20, out = 0, in = 0;
	static char chunk[50000];
	int e = (int)OK(epoll_create1(0));
	struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLET, { .u64 = 1 } }, got;
	set_nonblock(c->fd, true);
	OK(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event));
	peer_verify_later(c, 0, 0, size);
	while (out < size) {
		EQ(epoll_wait(e, &got, 1, 10000), 1);
		if (!(got.events & EPOLLOUT))
			continue;
		ssize_t n = 0;
		while (out < size) {
			size_t part = size - out < sizeof chunk ? size - out : sizeof chunk;
			pattern_fill(chunk, out, part);
			if ((n = send(c->fd, chunk, part, 0)) < 0)
				break;
			out += (size_t)n;
		}
		if (n < 0)
			ERR(n, EAGAIN);
	}
	EQ(peer_join(c), size);
	peer_produce_later(c, 0, 0, size);
	while (in < size) {
		EQ(epoll_wait(e, &got, 1, 10000), 1);
		take_all(c->fd, &in);
	}
	EQ(peer_join(c), size);
}

static void ping_pong(struct conn *c)
{
	peer_nonblock(c, false);
	exchange(c, 500);
}

static void answer_larger_than_question(struct conn *c)
{
	char in[100000];
	for (int i = 0; i < 30; i++) {
		EQ(send(c->fd, "GET /", 5, 0), 5);
		char question[5];
		EQ(peer_recv_all(c, question, 5), 5);
		peer_produce_later(c, 0, (uint64_t)i, sizeof in);
		EQ(recv_all(c->fd, in, sizeof in), sizeof in);
		EQ(pattern_differs(in, (uint64_t)i, sizeof in), -1);
		EQ(peer_join(c), sizeof in);
	}
}

static const struct test tests[] = {
	TEST(one_way, EVERY),
	TEST(both_ways_in_one_thread, ONE),
	TEST(fill_drain_compare, EACH),
	TEST(every_size, EACH),
	TEST(edge_driven, EVERY),
	TEST(ping_pong, EVERY),
	TEST(answer_larger_than_question, EACH),
};
MAIN(tests)
