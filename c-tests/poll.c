/* poll(2), ppoll(2). */
#include <sys/eventfd.h>

#include "support.h"

#define ALL (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

static void levels(struct conn *c)
{
	char in[16];
	for (int i = 0; i < 10; i++) {
		EQ(poll_one(c->fd, ALL, 0), POLLOUT);
		EQ(poll_one(c->fd, POLLIN, 0), 0);
		EQ(peer_send(c, "abcd", 4, 0), 4);
		EQ(poll_until(c->fd, ALL, POLLIN), POLLIN | POLLOUT);
		EQ(poll_one(c->fd, POLLIN, -1), POLLIN);
		EQ(recv(c->fd, in, 2, 0), 2);
		EQ(poll_one(c->fd, POLLIN, 0), POLLIN);
		EQ(recv(c->fd, in, 2, 0), 2);
		EQ(poll_one(c->fd, POLLIN, 0), 0);
	}
}

static void waits(struct conn *c)
{
	char in[16];
	EQ(poll_one(c->fd, POLLIN, 30), 0);
	for (int i = 0; i < 4; i++) {
		peer_send_later(c, 40, "late", 4, 0);
		EQ(poll_one(c->fd, POLLIN, i & 1 ? 10000 : -1), POLLIN);
		EQ(peer_join(c), 4);
		EQ(recv_all(c->fd, in, 4), 4);
	}
}

static void waits_for_room(struct conn *c)
{
	for (int i = 0; i < 3; i++) {
		size_t total = fill_until_full(c->fd);
		EQ(poll_one(c->fd, ALL, 0), 0);
		EQ(poll_one(c->fd, POLLOUT, 30), 0);
		peer_verify_later(c, 40, 0, total);
		EQ(poll_one(c->fd, POLLOUT, 10000), POLLOUT);
		EQ(peer_join(c), total);
		poll_until(c->fd, ALL, POLLOUT);
	}
}

static void mixed_set(struct conn *c)
{
	int pipes[2], event = (int)OK(eventfd(0, 0));
	OK(pipe(pipes));
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, 4, &addr, &length);
	struct pollfd p[6] = {
		{ .fd = pipes[0], .events = POLLIN }, { .fd = c->fd, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },	      { .fd = event, .events = POLLIN },
		{ .fd = listener, .events = POLLIN }, { .fd = 900, .events = POLLIN },
	};
	char in[16];
	uint64_t one = 1;
	EQ(poll(p, 6, -1), 1); /* a closed descriptor does not wait */
	EQ(p[5].revents, POLLNVAL);
	EQ(p[2].revents, 0);
	for (int i = 0; i < 3; i++) {
		EQ(poll(p, 5, 0), 0);
		peer_send_later(c, 40, "late", 4, 0);
		EQ(poll(p, 5, 5000), 1);
		EQ(p[1].revents, POLLIN);
		EQ(peer_join(c), 4);
		EQ(write(pipes[1], "pipe", 4), 4);
		EQ(write(event, &one, 8), 8);
		int a = tcp_connect(INET, &addr, length);
		poll_one(listener, POLLIN, 5000);
		EQ(poll(p, 5, 5000), 4);
		EQ(p[0].revents, POLLIN);
		EQ(p[1].revents, POLLIN);
		EQ(p[2].revents, 0);
		EQ(p[3].revents, POLLIN);
		EQ(p[4].revents, POLLIN);
		EQ(recv(c->fd, in, 16, 0), 4);
		EQ(read(pipes[0], in, 16), 4);
		EQ(read(event, &one, 8), 8);
		int b = (int)OK(accept(listener, NULL, NULL));
		one = 1;
		warm_up_fds(a, b);
		OK(close(a));
		OK(close(b));
	}
}

static void *write_pipe_later(void *argument)
{
	sleep_ms(60);
	return (void *)(intptr_t)write(*(int *)argument, "x", 1);
}

static void woken_by_the_other_kind(struct conn *c)
{
	int pipes[2];
	OK(pipe(pipes));
	struct pollfd p[2] = { { .fd = c->fd, .events = POLLIN },
			       { .fd = pipes[0], .events = POLLIN } };
	pthread_t thread;
	pthread_create(&thread, NULL, write_pipe_later, &pipes[1]);
	EQ(poll(p, 2, 5000), 1);
	EQ(p[0].revents, 0);
	EQ(p[1].revents, POLLIN);
	pthread_join(thread, NULL);
	exchange(c, 3);
}

static void one_descriptor_twice(struct conn *c)
{
	struct pollfd p[3] = { { .fd = c->fd, .events = POLLIN },
			       { .fd = c->fd, .events = POLLOUT },
			       { .fd = c->fd, .events = POLLIN | POLLOUT } };
	EQ(poll(p, 3, 0), 2);
	EQ(peer_send(c, "x", 1, 0), 1);
	poll_until(c->fd, POLLIN, POLLIN);
	EQ(poll(p, 3, 0), 3);
	EQ(p[0].revents, POLLIN);
	EQ(p[1].revents, POLLOUT);
	EQ(p[2].revents, POLLIN | POLLOUT);
}

static void several_connections(struct conn *c)
{
	enum { N = 12 };
	int a[N], b[N];
	struct pollfd p[N];
	(void)c;
	for (int i = 0; i < N; i++) {
		int pair[2];
		tcp_pair(i & 1 ? INET6 : INET, pair);
		a[i] = pair[0], b[i] = pair[1];
		if (i % 3)
			warm_up_fds(a[i], b[i]);
		p[i] = (struct pollfd){ .fd = a[i], .events = POLLIN };
	}
	for (int round = 0; round < 40; round++) {
		int one = round * 7 % N, two = (round * 5 + 3) % N, want = one == two ? 1 : 2;
		char in[4];
		EQ(send(b[one], "x", 1, 0), 1);
		poll_until(a[one], POLLIN, POLLIN);
		if (want == 2) {
			EQ(send(b[two], "y", 1, 0), 1);
			poll_until(a[two], POLLIN, POLLIN);
		}
		EQ(poll(p, N, 1000), want);
		for (int i = 0; i < N; i++) {
			EQ(p[i].revents, i == one || i == two ? POLLIN : 0);
			if (p[i].revents)
				EQ(recv(a[i], in, 4, 0), 1);
		}
	}
}

static void with_signal_mask(struct conn *c)
{
	/* SIGUSR1 is blocked except during the wait. */
	sigset_t block, before;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, &before));
	signals_start(1000000, 0);
	signals_stop();
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	struct timespec t = { 5, 0 };
	OK(raise(SIGUSR1));
	EQ(signals_seen(), 0);
	ERR(ppoll(&p, 1, &t, &before), EINTR);
	EQ(signals_seen(), 1);
	t = (struct timespec){ 0, 30000000 };
	EQ(ppoll(&p, 1, &t, &before), 0);
	peer_send_later(c, 40, "x", 1, 0);
	EQ(ppoll(&p, 1, NULL, NULL), 1);
	EQ(p.revents, POLLIN);
	EQ(peer_join(c), 1);
	OK(sigprocmask(SIG_SETMASK, &before, NULL));
	t.tv_nsec = -1;
	ERR(ppoll(&p, 1, &t, NULL), EINVAL);
}

static void ready_beats_a_pending_signal(struct conn *c)
{
	sigset_t block, before;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, &before));
	signals_start(1000000, 0);
	signals_stop();
	EQ(peer_send(c, "x", 1, 0), 1);
	poll_until(c->fd, POLLIN, POLLIN);
	OK(raise(SIGUSR1));
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	EQ(ppoll(&p, 1, NULL, &before), 1);
	OK(sigprocmask(SIG_SETMASK, &before, NULL));
	EQ(signals_seen(), 1);
}

static void refusals(struct conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	EQ(poll(NULL, 0, 0), 0);
	EQ(poll(NULL, 0, 20), 0);
	ERR(poll(NULL, 1, 0), EFAULT);
	ERR(poll(&p, 1u << 24, 0), EINVAL);
	exchange(c, 2);
}

static void *poll_in_thread(void *argument)
{
	return (void *)(intptr_t)poll_one(*(int *)argument, POLLIN, 10000);
}

static void two_threads(struct conn *c)
{
	/* Both wait, and readiness is told to both. */
	pthread_t threads[2];
	for (int round = 0; round < 3; round++) {
		char in[4];
		for (int i = 0; i < 2; i++)
			pthread_create(&threads[i], NULL, poll_in_thread, &c->fd);
		sleep_ms(40);
		EQ(peer_send(c, "x", 1, 0), 1);
		for (int i = 0; i < 2; i++) {
			void *result;
			pthread_join(threads[i], &result);
			EQ((intptr_t)result, POLLIN);
		}
		EQ(recv(c->fd, in, 4, 0), 1);
	}
}

/* The other end's FIN is behind bytes that nobody reads: its death shows all the same. */
static void death_behind_unread_bytes(struct conn *c)
{
	char in[4];
	EQ(peer_send(c, "hello", 5, 0), 5);
	EQ(recv(c->fd, in, 1, 0), 1);
	EQ(send(c->fd, "abcd", 4, 0), 4);
	set_nonblock(c->fd, true);
	fill_until_full(c->fd);
	peer_kill(c);
	EQ(poll_until(c->fd, POLLOUT, POLLERR), POLLOUT | POLLERR | POLLHUP);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), ECONNRESET);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
}

static const struct test tests[] = {
	TEST(death_behind_unread_bytes, TWO),
	TEST(levels, EVERY),		  TEST(waits, EVERY),
	TEST(waits_for_room, EACH),	  TEST(mixed_set, EACH),
	TEST(woken_by_the_other_kind, EACH), TEST(one_descriptor_twice, EACH),
	TEST(several_connections, ALONE), TEST(with_signal_mask, EACH),
	TEST(ready_beats_a_pending_signal, EACH), TEST(refusals, EACH),
	TEST(two_threads, EACH),
};
MAIN(tests)
