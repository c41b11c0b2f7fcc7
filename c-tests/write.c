/* write(2), writev(2), and full buffers. */
#include "support.h"

static void arrives(struct conn *c)
{
	char in[32];
	for (int i = 0; i < 20; i++) {
		EQ(write(c->fd, "twelve bytes", 12), 12);
		EQ(peer_recv_all(c, in, 12), 12);
		SAME(in, "twelve bytes", 12);
	}
}

static void nothing_given(struct conn *c)
{
	char in[8];
	EQ(write(c->fd, "", 0), 0);
	EQ(write(c->fd, NULL, 0), 0);
	EQ(writev(c->fd, NULL, 0), 0);
	EQ(write(c->fd, "abcd", 4), 4);
	EQ(peer_recv_all(c, in, 4), 4);
	peer_nonblock(c, true);
	ERR(peer_recv(c, in, 4, 0), EAGAIN);
}

static void vectors(struct conn *c)
{
	char out[5000], in[5000];
	pattern_fill(out, 0, sizeof out);
	for (int i = 0; i < 4; i++) {
		struct iovec v[6] = { { NULL, 0 }, { out, 1 }, { out + 1, 999 }, { out, 0 },
				      { out + 1000, 3000 }, { out + 4000, 1000 } };
		EQ(writev(c->fd, v, 6), sizeof out);
		EQ(peer_recv_all(c, in, sizeof out), sizeof out);
		EQ(pattern_differs(in, 0, sizeof in), -1);
	}
	/* As many as there may be. */
	static struct iovec many[IOV_MAX];
	for (int i = 0; i < IOV_MAX; i++)
		many[i] = (struct iovec){ out + i, 1 };
	EQ(writev(c->fd, many, IOV_MAX), IOV_MAX);
	EQ(peer_verify(c, 0, IOV_MAX), IOV_MAX);
}

static void bad_arguments(struct conn *c)
{
	char byte = 'x';
	struct iovec v[2] = { { &byte, 1 }, { &byte, (size_t)-1 } };
	ERR(writev(c->fd, v, 2), EINVAL);
	ERR(writev(c->fd, v, -1), EINVAL);
	ERR(writev(c->fd, v, IOV_MAX + 1), EINVAL);
	ERR(pwrite(c->fd, &byte, 1, 0), ESPIPE);
	exchange(c, 3);
}

static void fault(struct conn *c)
{
	ERR(write(c->fd, (void *)16, 4), EFAULT);
	exchange(c, 3);
}

static void fill_then_drain(struct conn *c)
{
	for (int round = 0; round < 3; round++) {
		size_t total = fill_until_full(c->fd);
		TRUE(total > 10000);
		EQ(poll_one(c->fd, POLLOUT, 0), 0);
		EQ(peer_verify(c, 0, total), total);
		poll_until(c->fd, POLLOUT, POLLOUT);
	}
	exchange(c, 5);
}

static void fill_both_ways_then_drain(struct conn *c)
{
	size_t total = fill_until_full(c->fd);
	/* The other way is not affected. */
	for (int i = 0; i < 5; i++) {
		char in[8];
		EQ(peer_send(c, "sideways", 8, 0), 8);
		EQ(recv_all(c->fd, in, 8), 8);
		SAME(in, "sideways", 8);
	}
	EQ(peer_verify(c, 0, total), total);
	exchange(c, 5);
}

static void partial_when_nearly_full(struct conn *c)
{
	set_nonblock(c->fd, true);
	size_t size = 32 << 20;
	char *big = malloc(size);
	pattern_fill(big, 0, size);
	ssize_t n = OK(write(c->fd, big, size));
	TRUE(n > 0 && (size_t)n < size);
	EQ(peer_verify(c, 0, (size_t)n), n);
	free(big);
	set_nonblock(c->fd, false);
	exchange(c, 3);
}

static void blocks_until_there_is_room(struct conn *c)
{
	size_t total = fill_until_full(c->fd), size = 4 << 20;
	char *big = malloc(size);
	pattern_fill(big, total, size);
	peer_verify_later(c, 50, 0, total + size);
	EQ(write(c->fd, big, size), size); /* all of it: it blocks */
	EQ(peer_join(c), total + size);
	free(big);
	exchange(c, 3);
}

static void never_read_times_out(struct conn *c)
{
	fill_until_full(c->fd);
	set_timeout(c->fd, SO_SNDTIMEO, 60);
	char byte[1] = { 'x' };
	static char more[8 << 20];
	ERR(write(c->fd, more, sizeof more) >= 0 ? write(c->fd, more, sizeof more) : -1, EAGAIN);
	ERR(write(c->fd, byte, 1), EAGAIN);
	EQ(poll_one(c->fd, POLLOUT, 0), 0);
}

static void after_the_peer_closed(struct conn *c)
{
	count_sigpipe();
	OK(peer_close(c));
	poll_until(c->fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	char byte;
	EQ(read(c->fd, &byte, 1), 0);
	/* The first goes out and meets a reset; the next knows. */
	EQ(write(c->fd, "x", 1), 1);
	poll_until(c->fd, POLLHUP, POLLHUP);
	EQ(sigpipes_seen(), 0);
	ERR(write(c->fd, "x", 1), EPIPE);
	EQ(sigpipes_seen(), 1);
	struct iovec v = { &byte, 1 };
	ERR(writev(c->fd, &v, 1), EPIPE);
	EQ(sigpipes_seen(), 2);
	EQ(read(c->fd, &byte, 1), 0);
}

static void nothing_to_a_closed_peer(struct conn *c)
{
	OK(peer_close(c));
	poll_until(c->fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	EQ(write(c->fd, "", 0), 0);
	char byte;
	EQ(read(c->fd, &byte, 1), 0);
}

static void die_of_sigpipe(void *argument)
{
	struct conn *c = argument;
	signal(SIGPIPE, SIG_DFL);
	for (int i = 0; i < 1000; i++) {
		write(c->fd, "x", 1);
		sleep_ms(1);
	}
}

static void sigpipe_kills(struct conn *c)
{
	OK(peer_close(c));
	pid_t child = fork_child(die_of_sigpipe, c);
	int status = 0;
	OK(waitpid(child, &status, 0));
	TRUE(WIFSIGNALED(status));
	EQ(WTERMSIG(status), SIGPIPE);
}

static void one_byte_at_a_time(struct conn *c)
{
	char in[2000];
	for (int i = 0; i < 2000; i++) {
		uint8_t byte = pattern_at((uint64_t)i);
		EQ(write(c->fd, &byte, 1), 1);
	}
	EQ(peer_recv_all(c, in, 2000), 2000);
	EQ(pattern_differs(in, 0, 2000), -1);
}

static const struct test tests[] = {
	TEST(arrives, EVERY),
	TEST(nothing_given, EACH),
	TEST(vectors, EACH),
	TEST(bad_arguments, EACH),
	TEST(fault, EACH),
	TEST(fill_then_drain, EVERY),
	TEST(fill_both_ways_then_drain, EACH),
	TEST(partial_when_nearly_full, EACH),
	TEST(blocks_until_there_is_room, EACH),
	TEST(never_read_times_out, EACH),
	TEST(after_the_peer_closed, EVERY),
	TEST(nothing_to_a_closed_peer, EACH),
	TEST(sigpipe_kills, EACH),
	TEST(one_byte_at_a_time, EACH),
};
MAIN(tests)
