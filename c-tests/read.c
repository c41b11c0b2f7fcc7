/* read(2), readv(2), preadv and friends on a connection. */
#include <sys/mman.h>

#include "support.h"

static void what_was_sent(struct conn *c)
{
	char in[32];
	for (int i = 0; i < 20; i++) {
		EQ(peer_send(c, "twelve bytes", 12, 0), 12);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(read(c->fd, in, sizeof in), 12);
		SAME(in, "twelve bytes", 12);
	}
}

static void in_pieces(struct conn *c)
{
	char out[1000], in[1000];
	for (int round = 0; round < 5; round++) {
		pattern_fill(out, 0, sizeof out);
		EQ(peer_send_all(c, out, sizeof out), sizeof out);
		size_t at = 0;
		for (size_t part = 1; at < sizeof out; part = part * 2 + 1) {
			ssize_t n = OK(read(c->fd, in, part));
			TRUE(n > 0 && (size_t)n <= part);
			EQ(pattern_differs(in, at, (size_t)n), -1);
			at += (size_t)n;
		}
		EQ(at, sizeof out);
	}
}

static void merges_messages(struct conn *c)
{
	char in[64];
	EQ(peer_send(c, "one", 3, 0), 3);
	EQ(peer_send(c, "two", 3, 0), 3);
	EQ(peer_send(c, "three", 5, 0), 5);
	int waiting = 0;
	for (int64_t end = now_ms() + 5000; waiting < 11 && now_ms() < end;)
		OK(ioctl(c->fd, FIONREAD, &waiting));
	EQ(read(c->fd, in, sizeof in), 11);
	SAME(in, "onetwothree", 11);
}

static void nothing_asked(struct conn *c)
{
	char in[4];
	/* Zero bytes of a stream: at once, and without a byte taken. */
	EQ(read(c->fd, in, 0), 0);
	EQ(peer_send(c, "abcd", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLIN);
	EQ(read(c->fd, in, 0), 0);
	EQ(readv(c->fd, NULL, 0), 0);
	struct iovec empty[2] = { { in, 0 }, { NULL, 0 } };
	EQ(readv(c->fd, empty, 2), 0);
	EQ(read(c->fd, in, 4), 4);
	SAME(in, "abcd", 4);
}

static void would_block(struct conn *c)
{
	char in[4];
	set_nonblock(c->fd, true);
	for (int i = 0; i < 3; i++) {
		ERR(read(c->fd, in, 4), EAGAIN);
		struct iovec v = { in, 4 };
		ERR(readv(c->fd, &v, 1), EAGAIN);
		EQ(peer_send(c, "abcd", 4, 0), 4);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(read(c->fd, in, 4), 4);
	}
}

static void blocks_until_data(struct conn *c)
{
	char in[8];
	for (int i = 0; i < 4; i++) {
		peer_send_later(c, 30, "late", 4, 0);
		EQ(read(c->fd, in, sizeof in), 4);
		SAME(in, "late", 4);
		EQ(peer_join(c), 4);
	}
}

static void vectors(struct conn *c)
{
	char out[100], a[7], b[1], d[60];
	pattern_fill(out, 0, sizeof out);
	for (int i = 0; i < 4; i++) {
		struct iovec v[5] = { { a, 7 }, { NULL, 0 }, { b, 1 }, { d, 0 }, { d, 60 } };
		EQ(peer_send(c, out, 30, 0), 30);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(readv(c->fd, v, 5), 30);
		EQ(pattern_differs(a, 0, 7), -1);
		EQ(pattern_differs(b, 7, 1), -1);
		EQ(pattern_differs(d, 8, 22), -1);
	}
}

static void bad_arguments(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "abcd", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLIN);
	struct iovec v[2] = { { in, 1 }, { in, (size_t)-1 } };
	ERR(readv(c->fd, v, 2), EINVAL);
	ERR(readv(c->fd, v, -1), EINVAL);
	ERR(readv(c->fd, v, IOV_MAX + 1), EINVAL);
	ERR(readv(c->fd, NULL, 1), EFAULT);
	ERR(lseek(c->fd, 0, SEEK_SET), ESPIPE);
	ERR(pread(c->fd, in, 1, 0), ESPIPE);
	/* Nothing was lost on the way. */
	EQ(read(c->fd, in, 8), 4);
	SAME(in, "abcd", 4);
}

static void fault(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "abcd", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLIN);
	ERR(read(c->fd, (void *)16, 4), EFAULT);
	EQ(read(c->fd, in, 8), 4);
	SAME(in, "abcd", 4);
}

static void large(struct conn *c)
{
	size_t size = 8 << 20;
	char *in = malloc(size);
	peer_produce_later(c, 0, 5, size);
	size_t at = 0;
	while (at < size) {
		ssize_t n = OK(read(c->fd, in + at, size - at));
		TRUE(n > 0);
		at += (size_t)n;
	}
	EQ(pattern_differs(in, 5, size), -1);
	EQ(peer_join(c), size);
	free(in);
	exchange(c, 3);
}

static void end_of_stream_again_and_again(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "end", 3, 0), 3);
	OK(peer_close(c));
	EQ(recv_all(c->fd, in, 8), 3);
	for (int i = 0; i < 5; i++)
		EQ(read(c->fd, in, 8), 0);
}

static void with_stdio(struct conn *c)
{
	FILE *stream = fdopen(dup(c->fd), "r+");
	TRUE(stream != NULL);
	char line[64];
	for (int i = 0; i < 10; i++) {
		EQ(peer_send(c, "a line of text\n", 15, 0), 15);
		TRUE(fgets(line, sizeof line, stream) != NULL);
		EQ(strcmp(line, "a line of text\n"), 0);
		TRUE(fputs("its answer\n", stream) >= 0);
		EQ(fflush(stream), 0);
		EQ(peer_recv_all(c, line, 11), 11);
		SAME(line, "its answer\n", 11);
		OK(dprintf(c->fd, "%s %d\n", "number", i));
		EQ(peer_recv_all(c, line, 9), 9);
		SAME(line, "number ", 7);
	}
	EQ(fclose(stream), 0);
	exchange(c, 3);
}

static const struct test tests[] = {
	TEST(what_was_sent, EVERY), TEST(in_pieces, EACH),
	TEST(merges_messages, EACH), TEST(nothing_asked, EACH),
	TEST(would_block, EVERY),   TEST(blocks_until_data, EVERY),
	TEST(vectors, EACH),	    TEST(bad_arguments, EACH),
	TEST(fault, EACH),	    TEST(large, EACH),
	TEST(end_of_stream_again_and_again, EVERY),
	TEST(with_stdio, EACH),
};
MAIN(tests)
