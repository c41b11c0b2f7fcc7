/* select(2), pselect(2). */
#include "support.h"

static int look(int fd, bool *r, bool *w, bool *x, int ms)
{
	fd_set rs, ws, xs;
	FD_ZERO(&rs);
	FD_ZERO(&ws);
	FD_ZERO(&xs);
	if (r)
		FD_SET(fd, &rs);
	if (w)
		FD_SET(fd, &ws);
	if (x)
		FD_SET(fd, &xs);
	struct timeval t = { ms / 1000, (ms % 1000) * 1000 };
	int n = select(fd + 1, r ? &rs : NULL, w ? &ws : NULL, x ? &xs : NULL, ms < 0 ? NULL : &t);
	if (r)
		*r = FD_ISSET(fd, &rs);
	if (w)
		*w = FD_ISSET(fd, &ws);
	if (x)
		*x = FD_ISSET(fd, &xs);
	return n;
}

static void levels(struct conn *c)
{
	bool r, w, x;
	char in[8];
	for (int i = 0; i < 10; i++) {
		EQ(look(c->fd, &r, &w, &x, 0), 1);
		EQ(r, 0);
		EQ(w, 1);
		EQ(x, 0);
		EQ(peer_send(c, "abcd", 4, 0), 4);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(look(c->fd, &r, &w, &x, 0), 2);
		EQ(r, 1);
		EQ(w, 1);
		EQ(x, 0);
		EQ(recv(c->fd, in, 8, 0), 4);
		EQ(look(c->fd, &r, NULL, NULL, 0), 0);
	}
}

static void waits(struct conn *c)
{
	bool r;
	char in[8];
	EQ(look(c->fd, &r, NULL, NULL, 30), 0);
	EQ(r, 0);
	for (int i = 0; i < 3; i++) {
		peer_send_later(c, 40, "late", 4, 0);
		EQ(look(c->fd, &r, NULL, NULL, i & 1 ? -1 : 5000), 1);
		EQ(r, 1);
		EQ(peer_join(c), 4);
		EQ(recv_all(c->fd, in, 4), 4);
	}
}

static void waits_for_room(struct conn *c)
{
	bool w;
	size_t total = fill_until_full(c->fd);
	EQ(look(c->fd, NULL, &w, NULL, 20), 0);
	peer_verify_later(c, 40, 0, total);
	EQ(look(c->fd, NULL, &w, NULL, 10000), 1);
	EQ(w, 1);
	EQ(peer_join(c), total);
}

static void the_end_is_readable(struct conn *c)
{
	bool r, w, x;
	OK(peer_close(c));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	EQ(look(c->fd, &r, &w, &x, 0), 2);
	EQ(r, 1);
	EQ(w, 1);
	EQ(x, 0);
}

static void a_reset_is_both(struct conn *c)
{
	bool r, w, x;
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	poll_until(c->fd, POLLHUP, POLLHUP);
	EQ(look(c->fd, &r, &w, &x, 0), 2);
	EQ(r, 1);
	EQ(w, 1);
	EQ(x, 0);
}

static void remaining_time(struct conn *c)
{
	/* Linux writes back what is left. */
	fd_set r;
	FD_ZERO(&r);
	FD_SET(c->fd, &r);
	struct timeval t = { 10, 0 };
	peer_send_later(c, 50, "x", 1, 0);
	EQ(select(c->fd + 1, &r, NULL, NULL, &t), 1);
	TRUE(t.tv_sec < 10);
	EQ(peer_join(c), 1);
	char in[4];
	EQ(recv(c->fd, in, 4, 0), 1);
	FD_ZERO(&r);
	FD_SET(c->fd, &r);
	t = (struct timeval){ 0, 20000 };
	EQ(select(c->fd + 1, &r, NULL, NULL, &t), 0);
	EQ(t.tv_sec, 0);
	EQ(t.tv_usec, 0);
}

static void mixed_set(struct conn *c)
{
	int pipes[2];
	char in[8];
	OK(pipe(pipes));
	int top = (c->fd > pipes[1] ? c->fd : pipes[1]) + 1;
	for (int i = 0; i < 5; i++) {
		fd_set r, w;
		FD_ZERO(&r);
		FD_ZERO(&w);
		FD_SET(c->fd, &r);
		FD_SET(pipes[0], &r);
		FD_SET(pipes[1], &w);
		struct timeval t = { 5, 0 };
		EQ(select(top, &r, &w, NULL, &t), 1);
		TRUE(FD_ISSET(pipes[1], &w));
		TRUE(!FD_ISSET(c->fd, &r));
		EQ(write(pipes[1], "pipe", 4), 4);
		EQ(peer_send(c, "sock", 4, 0), 4);
		poll_until(c->fd, POLLIN, POLLIN);
		FD_SET(c->fd, &r);
		FD_SET(pipes[0], &r);
		EQ(select(top, &r, NULL, NULL, NULL), 2);
		EQ(read(pipes[0], in, 8), 4);
		EQ(recv(c->fd, in, 8, 0), 4);
	}
}

static void with_signal_mask(struct conn *c)
{
	sigset_t block, before;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, &before));
	signals_start(1000000, 0);
	signals_stop();
	fd_set r;
	FD_ZERO(&r);
	FD_SET(c->fd, &r);
	struct timespec t = { 5, 0 };
	OK(raise(SIGUSR1));
	ERR(pselect(c->fd + 1, &r, NULL, NULL, &t, &before), EINTR);
	EQ(signals_seen(), 1);
	EQ(t.tv_sec, 5); /* pselect leaves its timeout alone */
	peer_send_later(c, 40, "x", 1, 0);
	FD_SET(c->fd, &r);
	EQ(pselect(c->fd + 1, &r, NULL, NULL, NULL, NULL), 1);
	EQ(peer_join(c), 1);
	OK(sigprocmask(SIG_SETMASK, &before, NULL));
}

static void refusals(struct conn *c)
{
	fd_set r;
	FD_ZERO(&r);
	FD_SET(50, &r);
	struct timeval t = { 0, 0 };
	ERR(select(51, &r, NULL, NULL, &t), EBADF);
	EQ(select(50, &r, NULL, NULL, &t), 0);
	ERR(select(-1, NULL, NULL, NULL, &t), EINVAL);
	t.tv_sec = -1;
	ERR(select(0, NULL, NULL, NULL, &t), EINVAL);
	t = (struct timeval){ 0, 20000 };
	EQ(select(0, NULL, NULL, NULL, &t), 0);
	exchange(c, 2);
}

static void high_descriptor(struct conn *c)
{
	bool r;
	char in[4];
	int high = (int)OK(dup2(c->fd, FD_SETSIZE - 1));
	EQ(peer_send(c, "x", 1, 0), 1);
	EQ(look(high, &r, NULL, NULL, 5000), 1);
	EQ(r, 1);
	EQ(recv(high, in, 4, 0), 1);
}

/* Only as much of a set is read and written as the process's table has descriptors. */
static void no_more_than_the_table(struct conn *c)
{
	static struct { fd_set set; char behind[8192]; } room;
	memset(&room, 0x5a, sizeof room);
	FD_ZERO(&room.set);
	FD_SET(c->fd, &room.set);
	EQ(select(8 * (int)sizeof room, NULL, &room.set, NULL, NULL), 1);
	for (size_t i = 4096; i < sizeof room.behind; i++)
		EQ(room.behind[i], 0x5a);
}

static const struct test tests[] = {
	TEST(no_more_than_the_table, EACH),
	TEST(levels, EVERY),	      TEST(waits, EVERY),
	TEST(waits_for_room, EACH),   TEST(the_end_is_readable, EACH),
	TEST(a_reset_is_both, EACH),  TEST(remaining_time, EACH),
	TEST(mixed_set, EACH),	      TEST(with_signal_mask, EACH),
	TEST(refusals, EACH),	      TEST(high_descriptor, EACH),
};
MAIN(tests)
