/* epoll(7). */
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "support.h"

static int watch(int e, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { events, { .u64 = data } };
	return (int)OK(epoll_ctl(e, EPOLL_CTL_ADD, fd, &event));
}

static void rearm(int e, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { events, { .u64 = data } };
	OK(epoll_ctl(e, EPOLL_CTL_MOD, fd, &event));
}

/* What the one watched descriptor reports, or 0. */
static uint32_t next(int e, int ms)
{
	struct epoll_event got[4];
	int n = (int)OK(epoll_wait(e, got, 4, ms));
	TRUE(n <= 1);
	return n ? got[0].events : 0;
}

static void level(struct conn *c)
{
	char in[8];
	int e = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	watch(e, c->fd, EPOLLIN, 1);
	for (int i = 0; i < 10; i++) {
		EQ(next(e, 0), 0);
		EQ(peer_send(c, "abcd", 4, 0), 4);
		EQ(next(e, 5000), EPOLLIN);
		EQ(next(e, 0), EPOLLIN);
		EQ(recv(c->fd, in, 2, 0), 2);
		EQ(next(e, 0), EPOLLIN);
		EQ(recv(c->fd, in, 2, 0), 2);
		EQ(next(e, 0), 0);
	}
	rearm(e, c->fd, EPOLLIN | EPOLLOUT, 1);
	EQ(next(e, 0), EPOLLOUT);
	EQ(next(e, 0), EPOLLOUT);
}

static void waits(struct conn *c)
{
	char in[8];
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN, 1);
	EQ(next(e, 30), 0);
	for (int i = 0; i < 4; i++) {
		peer_send_later(c, 40, "late", 4, 0);
		EQ(next(e, i & 1 ? 10000 : -1), EPOLLIN);
		EQ(peer_join(c), 4);
		EQ(recv_all(c->fd, in, 4), 4);
	}
}

static void edge(struct conn *c)
{
	char in[16];
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN | EPOLLET, 1);
	EQ(next(e, 0), 0);
	for (int i = 0; i < 10; i++) {
		EQ(peer_send(c, "abcd", 4, 0), 4);
		EQ(next(e, 5000), EPOLLIN);
		EQ(next(e, 0), 0);
		/* Reading a part is no new edge; another arrival is one, though not empty. */
		EQ(recv(c->fd, in, 1, 0), 1);
		EQ(next(e, 0), 0);
		EQ(peer_send(c, "ef", 2, 0), 2);
		EQ(next(e, 5000), EPOLLIN);
		EQ(next(e, 0), 0);
		EQ(recv_all(c->fd, in, 5), 5);
		EQ(next(e, 0), 0);
	}
}

static void edge_without_reading(struct conn *c)
{
	char in[64];
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN | EPOLLET, 1);
	for (int i = 0; i < 20; i++) {
		EQ(peer_send(c, "ab", 2, 0), 2);
		EQ(next(e, 5000), EPOLLIN);
		EQ(next(e, 0), 0);
	}
	EQ(recv_all(c->fd, in, 40), 40);
}

static void edge_for_each_arrival_while_asleep(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN | EPOLLET, 1);
	for (int i = 0; i < 5; i++) {
		peer_send_later(c, 30, "ab", 2, 0);
		EQ(next(e, 5000), EPOLLIN);
		EQ(peer_join(c), 2);
		EQ(next(e, 0), 0);
	}
}

static void edge_waiting_at_registration(struct conn *c)
{
	char in[8];
	int e = (int)OK(epoll_create1(0));
	EQ(peer_send(c, "abcd", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLIN);
	watch(e, c->fd, EPOLLIN | EPOLLOUT | EPOLLET, 1);
	EQ(next(e, 0), EPOLLIN | EPOLLOUT);
	EQ(next(e, 0), 0);
	/* MOD looks again. */
	rearm(e, c->fd, EPOLLIN | EPOLLET, 1);
	EQ(next(e, 0), EPOLLIN);
	EQ(next(e, 0), 0);
	EQ(recv(c->fd, in, 8, 0), 4);
	rearm(e, c->fd, EPOLLIN | EPOLLET, 1);
	EQ(next(e, 0), 0);
}

static void edge_reports_all_that_holds(struct conn *c)
{
	char in[8];
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1);
	EQ(next(e, 0), EPOLLOUT);
	EQ(next(e, 0), 0);
	EQ(peer_send(c, "abcd", 4, 0), 4);
	EQ(next(e, 5000), EPOLLIN | EPOLLOUT);
	EQ(next(e, 0), 0);
	EQ(recv(c->fd, in, 8, 0), 4);
	OK(peer_shutdown(c, SHUT_WR));
	EQ(next(e, 5000), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	EQ(next(e, 0), 0);
}

static void edge_of_room(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLOUT | EPOLLET, 1);
	EQ(next(e, 0), EPOLLOUT);
	for (int i = 0; i < 4; i++) {
		size_t total = fill_until_full(c->fd);
		while (next(e, 0) != 0)
			;
		EQ(next(e, 30), 0);
		peer_verify_later(c, 40, 0, total);
		EQ(next(e, 10000), EPOLLOUT);
		EQ(peer_join(c), total);
		while (next(e, 0) != 0)
			;
		/* Writing without running full gives no edges of room. */
		exchange(c, 2);
	}
}

static void once(struct conn *c)
{
	char in[16];
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN | EPOLLONESHOT, 1);
	for (int i = 0; i < 5; i++) {
		EQ(peer_send(c, "ab", 2, 0), 2);
		EQ(next(e, 5000), EPOLLIN);
		EQ(next(e, 0), 0);
		EQ(peer_send(c, "cd", 2, 0), 2);
		EQ(next(e, 30), 0);
		rearm(e, c->fd, EPOLLIN | EPOLLONESHOT, 1);
		EQ(next(e, 5000), EPOLLIN);
		EQ(recv_all(c->fd, in, 4), 4);
		EQ(next(e, 0), 0);
		rearm(e, c->fd, EPOLLIN | EPOLLONESHOT, 1);
		EQ(next(e, 0), 0);
	}
	/* Once spent, not even the end is told. */
	EQ(peer_send(c, "ab", 2, 0), 2);
	EQ(next(e, 5000), EPOLLIN);
	OK(peer_close(c));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	EQ(next(e, 0), 0);
	rearm(e, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, 1);
	EQ(next(e, 0), EPOLLIN | EPOLLRDHUP);
}

static void data_bit_for_bit(struct conn *c)
{
	static const uint64_t values[] = { 0, 1, UINT64_MAX, 0x8000000000000000u,
					   0x00000000ffffffffu, 0xffffffff00000000u,
					   0x0123456789abcdefu, 0x7fffffffffffffffu };
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLOUT, 99);
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		struct epoll_event got;
		rearm(e, c->fd, EPOLLOUT, values[i]);
		EQ(epoll_wait(e, &got, 1, 1000), 1);
		EQ(got.data.u64, values[i]);
		OK(epoll_ctl(e, EPOLL_CTL_DEL, c->fd, NULL));
		watch(e, c->fd, EPOLLIN, values[i]);
		char in[4];
		EQ(peer_send(c, "x", 1, 0), 1);
		EQ(epoll_wait(e, &got, 1, 5000), 1);
		EQ(got.data.u64, values[i]);
		EQ(got.events, EPOLLIN);
		EQ(recv(c->fd, in, 4, 0), 1);
	}
}

static void nested(struct conn *c)
{
	char in[8];
	int inner = (int)OK(epoll_create1(0)), outer = (int)OK(epoll_create1(0));
	watch(inner, c->fd, EPOLLIN, 1);
	watch(outer, inner, EPOLLIN, 2);
	struct epoll_event got;
	for (int i = 0; i < 5; i++) {
		EQ(epoll_wait(outer, &got, 1, 0), 0);
		EQ(poll_one(inner, POLLIN, 0), 0);
		peer_send_later(c, 40, "late", 4, 0);
		EQ(epoll_wait(outer, &got, 1, 5000), 1);
		EQ(got.data.u64, 2);
		EQ(got.events, EPOLLIN);
		EQ(poll_one(inner, POLLIN, 0), POLLIN);
		EQ(next(inner, 0), EPOLLIN);
		EQ(peer_join(c), 4);
		EQ(recv_all(c->fd, in, 4), 4);
	}
	peer_send_later(c, 40, "late", 4, 0);
	EQ(poll_one(inner, POLLIN, 5000), POLLIN); /* an epoll descriptor in poll */
	EQ(peer_join(c), 4);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(inner, &r);
	EQ(select(inner + 1, &r, NULL, NULL, NULL), 1);
	EQ(recv_all(c->fd, in, 4), 4);
}

static void nested_loops_refused(struct conn *c)
{
	(void)c;
	int a = (int)OK(epoll_create1(0)), b = (int)OK(epoll_create1(0));
	struct epoll_event event = { EPOLLIN, { .u64 = 0 } };
	ERR(epoll_ctl(a, EPOLL_CTL_ADD, a, &event), EINVAL);
	OK(epoll_ctl(a, EPOLL_CTL_ADD, b, &event));
	ERR(epoll_ctl(b, EPOLL_CTL_ADD, a, &event), ELOOP);
}

static void refusals(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	struct epoll_event event = { EPOLLIN, { .u64 = 0 } }, got;
	ERR(epoll_create(0), EINVAL);
	ERR(epoll_create1(77), EINVAL);
	ERR(epoll_ctl(e, EPOLL_CTL_MOD, c->fd, &event), ENOENT);
	ERR(epoll_ctl(e, EPOLL_CTL_DEL, c->fd, NULL), ENOENT);
	OK(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event));
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event), EEXIST);
	ERR(epoll_ctl(e, 77, c->fd, &event), EINVAL);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, 900, &event), EBADF);
	ERR(epoll_ctl(900, EPOLL_CTL_ADD, c->fd, &event), EBADF);
	ERR(epoll_ctl(c->fd, EPOLL_CTL_ADD, e, &event), EINVAL);
	ERR(epoll_ctl(e, EPOLL_CTL_MOD, c->fd, NULL), EFAULT);
	int file = (int)OK(open("/proc/self/exe", O_RDONLY));
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, file, &event), EPERM);
	ERR(epoll_wait(e, &got, 0, 0), EINVAL);
	ERR(epoll_wait(e, &got, -1, 0), EINVAL);
	ERR(epoll_wait(c->fd, &got, 1, 0), EINVAL);
	ERR(epoll_wait(900, &got, 1, 0), EBADF);
	EQ(epoll_wait(e, &got, 1, 0), 0);
	OK(epoll_ctl(e, EPOLL_CTL_DEL, c->fd, NULL));
	exchange(c, 2);
}

static void removed_is_silent(struct conn *c)
{
	char in[8];
	int e = (int)OK(epoll_create1(0));
	for (int i = 0; i < 5; i++) {
		watch(e, c->fd, EPOLLIN, 1);
		EQ(peer_send(c, "ab", 2, 0), 2);
		EQ(next(e, 5000), EPOLLIN);
		OK(epoll_ctl(e, EPOLL_CTL_DEL, c->fd, NULL));
		EQ(next(e, 0), 0);
		EQ(peer_send(c, "ab", 2, 0), 2);
		EQ(next(e, 20), 0);
		EQ(recv_all(c->fd, in, 4), 4);
	}
}

static void no_events_asked(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, 0, 1);
	EQ(peer_send(c, "ab", 2, 0), 2);
	poll_until(c->fd, POLLIN, POLLIN);
	EQ(next(e, 0), 0);
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	EQ(next(e, 5000), EPOLLERR | EPOLLHUP); /* these two come unasked */
}

static void closing_unregisters(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	struct conn *other = conn_open_again(c);
	watch(e, other->fd, EPOLLIN | EPOLLOUT, 7);
	EQ(next(e, 0), EPOLLOUT);
	int number = other->fd;
	OK(close(other->fd));
	other->fd = -1;
	EQ(next(e, 0), 0);
	/* The same number again is another descriptor. */
	OK(dup2(c->fd, number));
	EQ(next(e, 0), 0);
	watch(e, number, EPOLLOUT, 8);
	EQ(next(e, 0), EPOLLOUT);
	OK(close(number));
	conn_end(other);
	exchange(c, 2);
}

static void a_duplicate_keeps_it_registered(struct conn *c)
{
	/* Registered is the open file, under the number it had. */
	int e = (int)OK(epoll_create1(0));
	int copy = (int)OK(dup(c->fd));
	watch(e, copy, EPOLLIN, 7);
	OK(close(copy));
	EQ(peer_send(c, "ab", 2, 0), 2);
	struct epoll_event got;
	EQ(epoll_wait(e, &got, 1, 5000), 1);
	EQ(got.data.u64, 7);
	char in[4];
	EQ(recv(c->fd, in, 4, 0), 2);
	exchange(c, 2);
}

static void a_duplicate_registered_too(struct conn *c)
{
	int e = (int)OK(epoll_create1(0)), copy = (int)OK(dup(c->fd));
	struct epoll_event got[4];
	watch(e, c->fd, EPOLLIN, 1);
	watch(e, copy, EPOLLIN, 2);
	EQ(peer_send(c, "ab", 2, 0), 2);
	poll_until(c->fd, POLLIN, POLLIN);
	EQ(epoll_wait(e, got, 4, 1000), 2);
	EQ(got[0].data.u64 + got[1].data.u64, 3);
}

static void two_epolls_one_socket(struct conn *c)
{
	char in[8];
	int a = (int)OK(epoll_create1(0)), b = (int)OK(epoll_create1(0));
	watch(a, c->fd, EPOLLIN, 1);
	watch(b, c->fd, EPOLLIN | EPOLLET, 2);
	for (int i = 0; i < 5; i++) {
		EQ(peer_send(c, "ab", 2, 0), 2);
		EQ(next(a, 5000), EPOLLIN);
		EQ(next(b, 5000), EPOLLIN);
		EQ(next(b, 0), 0);
		EQ(next(a, 0), EPOLLIN);
		EQ(recv_all(c->fd, in, 2), 2);
		EQ(next(a, 0), 0);
	}
}

static void mixed_set(struct conn *c)
{
	int e = (int)OK(epoll_create1(0)), pipes[2], event = (int)OK(eventfd(0, EFD_NONBLOCK));
	int timer = (int)OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	OK(pipe(pipes));
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, 4, &addr, &length);
	watch(e, c->fd, EPOLLIN, 1);
	watch(e, pipes[0], EPOLLIN, 2);
	watch(e, event, EPOLLIN, 4);
	watch(e, timer, EPOLLIN, 8);
	watch(e, listener, EPOLLIN, 16);
	for (int i = 0; i < 4; i++) {
		struct epoll_event got[8];
		struct itimerspec soon = { { 0, 0 }, { 0, 20000000 } };
		uint64_t one = 1, sum = 0;
		char in[8];
		EQ(next(e, 0), 0);
		OK(timerfd_settime(timer, 0, &soon, NULL));
		EQ(epoll_wait(e, got, 8, 5000), 1);
		EQ(got[0].data.u64, 8);
		peer_send_later(c, 30, "sock", 4, 0);
		OK(read(timer, &one, 8));
		EQ(epoll_wait(e, got, 8, 5000), 1);
		EQ(got[0].data.u64, 1);
		EQ(peer_join(c), 4);
		one = 1;
		EQ(write(pipes[1], "pipe", 4), 4);
		EQ(write(event, &one, 8), 8);
		int a = tcp_connect(INET, &addr, length);
		poll_one(listener, POLLIN, 5000);
		int n = (int)OK(epoll_wait(e, got, 8, 5000));
		EQ(n, 4);
		for (int j = 0; j < n; j++) {
			EQ(got[j].events, EPOLLIN);
			sum += got[j].data.u64;
		}
		EQ(sum, 1 + 2 + 4 + 16);
		int b = (int)OK(accept(listener, NULL, NULL));
		warm_up_fds(a, b);
		OK(close(a));
		OK(close(b));
		EQ(read(pipes[0], in, 8), 4);
		EQ(read(event, &one, 8), 8);
		EQ(recv(c->fd, in, 8, 0), 4);
	}
}

static void fair_with_one_event(struct conn *c)
{
	/* One at a time, and each in its turn: nobody starves. */
	enum { N = 9 };
	(void)c;
	int e = (int)OK(epoll_create1(0)), a[N], b[N], seen[N] = { 0 }, pipes[2];
	for (int i = 0; i < N - 1; i++) {
		int pair[2];
		tcp_pair(INET, pair);
		a[i] = pair[0], b[i] = pair[1];
		if (i & 1)
			warm_up_fds(a[i], b[i]);
		watch(e, a[i], EPOLLIN, (uint64_t)i);
		EQ(send(b[i], "x", 1, 0), 1);
		poll_until(a[i], POLLIN, POLLIN);
	}
	OK(pipe(pipes));
	EQ(write(pipes[1], "x", 1), 1);
	watch(e, pipes[0], EPOLLIN, N - 1);
	for (int i = 0; i < 5 * N; i++) {
		struct epoll_event got;
		EQ(epoll_wait(e, &got, 1, 1000), 1);
		TRUE(got.data.u64 < N);
		seen[got.data.u64]++;
	}
	/* Linux gives each exactly five; what matters is that none goes without. */
	for (int i = 0; i < N; i++)
		TRUE(seen[i] >= 3);
}

static void many_connections(struct conn *c)
{
	enum { N = 100 };
	static int a[N], b[N];
	(void)c;
	int e = (int)OK(epoll_create1(0));
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, N, &addr, &length);
	for (int i = 0; i < N; i++) {
		a[i] = tcp_connect(INET, &addr, length);
		b[i] = (int)OK(accept(listener, NULL, NULL));
		watch(e, a[i], EPOLLIN | EPOLLRDHUP | EPOLLET, (uint64_t)i);
	}
	struct epoll_event got[N];
	for (int round = 0; round < 20; round++) {
		bool want[N] = { false };
		int wanted = 0;
		for (int i = round % 3; i < N; i += 3 + round % 5) {
			EQ(send(b[i], "question", 8, 0), 8);
			poll_until(a[i], POLLIN, POLLIN);
			want[i] = true;
			wanted++;
		}
		while (wanted > 0) {
			int n = (int)OK(epoll_wait(e, got, N, 5000));
			TRUE(n > 0);
			for (int j = 0; j < n; j++) {
				int i = (int)got[j].data.u64;
				char in[8];
				TRUE(want[i]);
				EQ(recv(a[i], in, 8, 0), 8);
				EQ(send(a[i], in, 8, 0), 8);
				EQ(recv_all(b[i], in, 8), 8);
				want[i] = false;
				wanted--;
			}
		}
		EQ(epoll_wait(e, got, N, 0), 0);
	}
}

static void signal_mask(struct conn *c)
{
	sigset_t block, before;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, &before));
	signals_start(1000000, 0);
	signals_stop();
	int e = (int)OK(epoll_create1(0));
	struct epoll_event got;
	watch(e, c->fd, EPOLLIN, 1);
	OK(raise(SIGUSR1));
	ERR(epoll_pwait(e, &got, 1, 5000, &before), EINTR);
	EQ(signals_seen(), 1);
	EQ(epoll_pwait(e, &got, 1, 20, &before), 0);
	OK(raise(SIGUSR1));
	EQ(epoll_pwait(e, &got, 1, 20, NULL), 0);
	EQ(signals_seen(), 1);
	peer_send_later(c, 40, "x", 1, 0);
	EQ(epoll_pwait(e, &got, 1, -1, &block), 1);
	EQ(peer_join(c), 1);
	OK(sigprocmask(SIG_SETMASK, &before, NULL));
	EQ(signals_seen(), 2);
}

static void fine_timeout(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	struct epoll_event got;
	watch(e, c->fd, EPOLLIN, 1);
	struct timespec t = { 0, 20000000 };
	EQ(epoll_pwait2(e, &got, 1, &t, NULL), 0);
	t = (struct timespec){ 0, 0 };
	EQ(epoll_pwait2(e, &got, 1, &t, NULL), 0);
	t = (struct timespec){ 0, -1 };
	ERR(epoll_pwait2(e, &got, 1, &t, NULL), EINVAL);
	peer_send_later(c, 40, "x", 1, 0);
	EQ(epoll_pwait2(e, &got, 1, NULL, NULL), 1);
	EQ(got.events, EPOLLIN);
	EQ(peer_join(c), 1);
}

struct shared { struct conn *c; int e; };

static void wait_in_child(void *argument)
{
	struct shared *s = argument;
	struct epoll_event got;
	char in[8];
	for (int i = 0; i < 3; i++) {
		EQ(epoll_wait(s->e, &got, 1, 10000), 1);
		EQ(got.data.u64, 77);
		EQ(recv(s->c->fd, in, 8, 0), 4);
		EQ(send(s->c->fd, "seen", 4, 0), 4);
	}
}

static void across_fork(struct conn *c)
{
	struct shared s = { c, (int)OK(epoll_create1(0)) };
	watch(s.e, c->fd, EPOLLIN, 77);
	pid_t child = fork_child(wait_in_child, &s);
	char in[8];
	for (int i = 0; i < 3; i++) {
		sleep_ms(20);
		EQ(peer_send(c, "work", 4, 0), 4);
		EQ(peer_recv_all(c, in, 4), 4);
	}
	join_child(child);
	/* The descriptor still serves its maker. */
	EQ(peer_send(c, "mine", 4, 0), 4);
	EQ(next(s.e, 5000), EPOLLIN);
	EQ(recv(c->fd, in, 8, 0), 4);
}

static void registered_by_a_child(void *argument)
{
	struct shared *s = argument;
	watch(s->e, s->c->fd, EPOLLIN, 55);
}

static void registration_is_shared(struct conn *c)
{
	struct shared s = { c, (int)OK(epoll_create1(0)) };
	in_child(registered_by_a_child, &s);
	EQ(peer_send(c, "mine", 4, 0), 4);
	struct epoll_event got;
	EQ(epoll_wait(s.e, &got, 1, 5000), 1);
	EQ(got.data.u64, 55);
}

struct exclusive { int e; int fd; int got; };

static void *exclusive_waiter(void *argument)
{
	struct exclusive *x = argument;
	struct epoll_event got;
	x->got = epoll_wait(x->e, &got, 1, 5000);
	char in[4];
	if (x->got == 1 && recv(x->fd, in, 4, MSG_DONTWAIT) == 1)
		x->got = 100;
	return NULL;
}

static void exclusive(struct conn *c)
{
	/* At least one is woken, and exactly one gets the byte. */
	struct exclusive x[3];
	pthread_t threads[3];
	for (int i = 0; i < 3; i++) {
		x[i] = (struct exclusive){ (int)OK(epoll_create1(0)), c->fd, 0 };
		watch(x[i].e, c->fd, EPOLLIN | EPOLLEXCLUSIVE, 1);
		pthread_create(&threads[i], NULL, exclusive_waiter, &x[i]);
	}
	struct epoll_event event = { EPOLLIN | EPOLLEXCLUSIVE, { .u64 = 1 } };
	ERR(epoll_ctl(x[0].e, EPOLL_CTL_MOD, c->fd, &event), EINVAL);
	sleep_ms(50);
	for (int i = 0; i < 3; i++) {
		EQ(peer_send(c, "x", 1, 0), 1);
		sleep_ms(30);
	}
	int served = 0;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		served += x[i].got == 100;
	}
	TRUE(served >= 1);
	int e = (int)OK(epoll_create1(0));
	event.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event), EINVAL);
}

static void *add_later(void *argument)
{
	struct shared *s = argument;
	sleep_ms(60);
	struct epoll_event event = { EPOLLIN, { .u64 = 3 } };
	return (void *)(intptr_t)epoll_ctl(s->e, EPOLL_CTL_ADD, s->c->fd, &event);
}

static void added_while_another_waits(struct conn *c)
{
	struct shared s = { c, (int)OK(epoll_create1(0)) };
	int pipes[2];
	OK(pipe(pipes));
	watch(s.e, pipes[0], EPOLLIN, 9);
	EQ(peer_send(c, "x", 1, 0), 1);
	poll_until(c->fd, POLLIN, POLLIN);
	pthread_t thread;
	pthread_create(&thread, NULL, add_later, &s);
	struct epoll_event got;
	EQ(epoll_wait(s.e, &got, 1, 10000), 1);
	EQ(got.data.u64, 3);
	pthread_join(thread, NULL);
}

static void *mod_later(void *argument)
{
	struct shared *s = argument;
	sleep_ms(60);
	struct epoll_event event = { EPOLLOUT, { .u64 = 4 } };
	return (void *)(intptr_t)epoll_ctl(s->e, EPOLL_CTL_MOD, s->c->fd, &event);
}

static void changed_while_another_waits(struct conn *c)
{
	struct shared s = { c, (int)OK(epoll_create1(0)) };
	watch(s.e, c->fd, EPOLLIN, 3);
	pthread_t thread;
	pthread_create(&thread, NULL, mod_later, &s);
	struct epoll_event got;
	EQ(epoll_wait(s.e, &got, 1, 10000), 1);
	EQ(got.data.u64, 4);
	EQ(got.events, EPOLLOUT);
	pthread_join(thread, NULL);
}

/* Answers four bytes at a time until the end. */
static void *answer(void *argument)
{
	struct shared *s = argument;
	char in[4];
	for (;;) {
		struct epoll_event got;
		if (OK(epoll_wait(s->e, &got, 1, 10000)) != 1 || recv_all(s->c->fd, in, 4) != 4)
			return NULL;
		EQ(send_all(s->c->fd, in, 4), 4);
	}
}

/* The first socket of an instance comes while another thread sleeps in it, and stays quiet for a while. */
static void first_added_while_another_waits(struct conn *c)
{
	char in[4];
	struct shared s = { c, (int)OK(epoll_create1(0)) };
	pthread_t thread;
	pthread_create(&thread, NULL, answer, &s);
	sleep_ms(50);
	watch(s.e, c->fd, EPOLLIN, 1);
	sleep_ms(50);
	for (int i = 0; i < 3; i++) {
		EQ(peer_send(c, "ping", 4, 0), 4);
		EQ(peer_poll(c, POLLIN, 5000), POLLIN);
		EQ(peer_recv_all(c, in, 4), 4);
		sleep_ms(30);
	}
	OK(peer_shutdown(c, SHUT_WR));
	pthread_join(thread, NULL);
}

static void close_all(void *argument)
{
	struct shared *s = argument;
	close(s->c->fd);
	close(s->e);
}

/* What a child does with its copies is no matter of the parent's, who waits for a quiet socket. */
static void a_child_closes_its_copies(struct conn *c)
{
	char in[4];
	struct shared s = { c, (int)OK(epoll_create1(0)) };
	watch(s.e, c->fd, EPOLLIN, 1);
	for (int i = 0; i < 30; i++)
		EQ(next(s.e, 1), 0);
	in_child(close_all, &s);
	peer_send_later(c, 60, "late", 4, 0);
	EQ(next(s.e, 5000), EPOLLIN);
	EQ(peer_join(c), 4);
	EQ(recv_all(c->fd, in, 4), 4);
}

static void *delete_and_add_later(void *argument)
{
	struct shared *s = argument;
	sleep_ms(60);
	OK(epoll_ctl(s->e, EPOLL_CTL_DEL, s->c->fd, NULL));
	sleep_ms(20);
	return (void *)(intptr_t)watch(s->e, s->c->fd, EPOLLOUT, 5);
}

static void deleted_and_added_while_another_waits(struct conn *c)
{
	struct shared s = { c, (int)OK(epoll_create1(0)) };
	watch(s.e, c->fd, EPOLLIN, 3);
	pthread_t thread;
	pthread_create(&thread, NULL, delete_and_add_later, &s);
	struct epoll_event got;
	EQ(epoll_wait(s.e, &got, 1, 10000), 1);
	EQ(got.data.u64, 5);
	EQ(got.events, EPOLLOUT);
	pthread_join(thread, NULL);
}

static void deleted_and_added_again(struct conn *c)
{
	char in[8];
	struct epoll_event got, event = { EPOLLIN, { .u64 = 9 } };
	int e = (int)OK(epoll_create1(0));
	for (int i = 0; i < 10; i++) {
		watch(e, c->fd, i & 1 ? EPOLLIN | EPOLLET : EPOLLIN, 100 + i);
		ERR(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event), EEXIST);
		EQ(peer_send(c, "abcd", 4, 0), 4);
		EQ(epoll_wait(e, &got, 1, 5000), 1);
		EQ(got.data.u64, 100 + i);
		OK(epoll_ctl(e, EPOLL_CTL_DEL, c->fd, NULL));
		ERR(epoll_ctl(e, EPOLL_CTL_DEL, c->fd, NULL), ENOENT);
		ERR(epoll_ctl(e, EPOLL_CTL_MOD, c->fd, &event), ENOENT);
		EQ(next(e, 0), 0);
		/* What is there already is told to the new registration, edge-triggered or not. */
		watch(e, c->fd, i & 2 ? EPOLLIN | EPOLLET : EPOLLIN, 200 + i);
		EQ(epoll_wait(e, &got, 1, 5000), 1);
		EQ(got.data.u64, 200 + i);
		EQ(recv_all(c->fd, in, 4), 4);
		EQ(next(e, 0), 0);
		OK(epoll_ctl(e, EPOLL_CTL_DEL, c->fd, NULL));
	}
	peer_send_later(c, 40, "late", 4, 0);
	EQ(next(e, 100), 0);
	EQ(peer_join(c), 4);
}

/* The end of the connection comes while nothing is registered, and a wait has passed since. */
static void deleted_before_the_end(struct conn *c)
{
	int e = (int)OK(epoll_create1(0)), other = (int)OK(eventfd(1, 0));
	watch(e, c->fd, EPOLLIN, 1);
	EQ(next(e, 0), 0);
	OK(epoll_ctl(e, EPOLL_CTL_DEL, c->fd, NULL));
	peer_kill(c);
	watch(e, other, EPOLLIN, 2);
	for (int i = 0; i < 20; i++) {
		EQ(next(e, 1000), EPOLLIN);
		sleep_ms(5);
	}
	OK(epoll_ctl(e, EPOLL_CTL_DEL, other, NULL));
	watch(e, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, 3);
	EQ(next(e, 5000), EPOLLIN | EPOLLRDHUP);
}

static void add_and_delete(void *argument)
{
	struct shared *s = argument;
	watch(s->e, s->c->fd, EPOLLIN, 7);
	OK(epoll_ctl(s->e, EPOLL_CTL_DEL, s->c->fd, NULL));
}

/* What one process deletes from an instance that two have is gone for both. */
static void deleted_before_a_fork(struct conn *c)
{
	char in[8];
	struct shared s = { c, (int)OK(epoll_create1(0)) };
	for (int i = 0; i < 2; i++) {
		watch(s.e, c->fd, EPOLLIN, 2);
		OK(epoll_ctl(s.e, EPOLL_CTL_DEL, c->fd, NULL));
		in_child(i ? close_all : add_and_delete, &s);
		EQ(peer_send(c, "abcd", 4, 0), 4);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(next(s.e, 50), 0);
		watch(s.e, c->fd, EPOLLIN, 3);
		EQ(next(s.e, 5000), EPOLLIN);
		EQ(recv_all(c->fd, in, 4), 4);
		OK(epoll_ctl(s.e, EPOLL_CTL_DEL, c->fd, NULL));
	}
}

static void the_end(struct conn *c)
{
	char in[8];
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN, 1);
	EQ(peer_send(c, "bye", 3, 0), 3);
	OK(peer_close(c));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	EQ(next(e, 0), EPOLLIN);
	EQ(recv_all(c->fd, in, 8), 3);
	EQ(next(e, 0), EPOLLIN);
	rearm(e, c->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, 1);
	EQ(next(e, 0), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	OK(shutdown(c->fd, SHUT_WR));
	poll_until(c->fd, POLLHUP, POLLHUP);
	EQ(next(e, 0), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
}

static void a_reset(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN | EPOLLET, 1);
	EQ(next(e, 0), 0);
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	EQ(next(e, 5000), EPOLLIN | EPOLLERR | EPOLLHUP);
}

static void registered_before_accepting(struct conn *c)
{
	(void)c;
	/* A listener, edge-triggered: an edge for each connection that arrives. */
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, 16, &addr, &length), e = (int)OK(epoll_create1(0));
	set_nonblock(listener, true);
	watch(e, listener, EPOLLIN | EPOLLET, 1);
	int a[3];
	for (int i = 0; i < 3; i++) {
		a[i] = tcp_connect(INET, &addr, length);
		EQ(next(e, 5000), EPOLLIN);
		EQ(next(e, 0), 0);
	}
	for (int i = 0; i < 3; i++)
		warm_up_fds(a[i], (int)OK(accept(listener, NULL, NULL)));
	ERR(accept(listener, NULL, NULL), EAGAIN);
}

static void idle_wait_uses_no_processor(struct conn *c)
{
	int e = (int)OK(epoll_create1(0));
	watch(e, c->fd, EPOLLIN, 1);
	struct timespec before, after;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	for (int i = 0; i < 2; i++)
		EQ(next(e, 300), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
	TRUE(ms < 100);
}

/* What is no TCP socket is the kernel's affair, also in an instance within an instance. */
static void others_are_the_kernels(struct conn *c)
{
	int inner = (int)OK(epoll_create1(0)), outer = (int)OK(epoll_create1(0)), s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	watch(inner, s[0], EPOLLIN, 1);
	watch(outer, inner, EPOLLIN | EPOLLRDNORM | EPOLLET, 2);
	if (c != NULL)
		watch(outer, c->fd, EPOLLIN, 3);
	struct epoll_event got[4];
	char byte;
	EQ(write(s[1], "a", 1), 1);
	EQ(epoll_wait(outer, got, 4, 0), 1);
	EQ(got[0].events, EPOLLIN | EPOLLRDNORM);
	EQ(got[0].data.u64, 2);
	EQ(epoll_wait(outer, got, 4, 0), 0); /* no second edge */
	for (int i = 0; i < 3; i++)
		EQ(poll_one(inner, POLLIN, 0), POLLIN);
	EQ(read(s[0], &byte, 1), 1);
	EQ(epoll_wait(inner, got, 4, 0), 0); /* polling has kept nothing back */
	EQ(write(s[1], "a", 1), 1);
	EQ(poll_one(inner, POLLIN, 0), POLLIN);
	OK(epoll_ctl(inner, EPOLL_CTL_DEL, s[0], NULL));
	EQ(epoll_wait(inner, got, 4, 0), 0);
	/* A number that is closed while a duplicate lives, as epoll(7) has it. */
	watch(inner, s[0], EPOLLIN, 4);
	int d = (int)OK(dup(s[0]));
	close(s[0]);
	EQ(epoll_wait(inner, got, 4, 0), 1);
	EQ(got[0].data.u64, 4);
	close(d);
	EQ(epoll_wait(inner, got, 4, 0), 0);
	close(s[1]);
	close(inner);
	close(outer);
}

/* A program's data may be anything, also what the library could take for its own. */
static void data_like_the_librarys_own(struct conn *c)
{
	int e = (int)OK(epoll_create1(0)), p[2];
	struct epoll_event got[4];
	OK(pipe(p));
	watch(e, c->fd, EPOLLIN, 1);
	watch(e, p[0], EPOLLIN, 2);
	EQ(write(p[1], "x", 1), 1);
	for (uint64_t i = 0; i < 4; i++) {
		struct epoll_event wanted = { .events = EPOLLIN, .data.u64 = 0xa11d1e0000000000 + i };
		OK(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &wanted));
		EQ(epoll_wait(e, got, 4, 0), 1);
		EQ(got[0].data.u64, wanted.data.u64);
	}
	OK(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL));
	ERR(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &(struct epoll_event){ .events = EPOLLIN, .data.u64 = 0xa11d1e0000000000 }), ENOENT);
	watch(e, p[0], EPOLLIN, 0xa11d1e0000000000);
	EQ(epoll_wait(e, got, 4, 0), 1);
	EQ(got[0].data.u64, 0xa11d1e0000000000);
	for (int i = 0; i < 2; i++)
		close(p[i]);
	close(e);
}

/* First come, first told; what was told level-triggered goes behind. */
static void order_of_arrival(struct conn *unused)
{
	(void)unused;
	int e = (int)OK(epoll_create1(0)), pairs[5][2];
	for (int i = 0; i < 5; i++) {
		int on = 1;
		tcp_pair(INET, pairs[i]);
		OK(setsockopt(pairs[i][1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
		warm_up_fds(pairs[i][0], pairs[i][1]);
		watch(e, pairs[i][0], EPOLLIN, (uint64_t)i);
	}
	struct epoll_event got[8];
	EQ(epoll_wait(e, got, 8, 0), 0);
	static const int order[] = { 3, 1, 4, 0 };
	for (int i = 0; i < 4; i++)
		EQ(send(pairs[order[i]][1], "x", 1, 0), 1);
	for (int round = 0; round < 2; round++) {
		EQ(epoll_wait(e, got, 8, 1000), 4);
		for (int i = 0; i < 4; i++)
			EQ(got[i].data.u64, order[i]);
	}
	EQ(send(pairs[2][1], "x", 1, 0), 1);
	EQ(send(pairs[4][1], "x", 1, 0), 1);
	EQ(epoll_wait(e, got, 8, 1000), 5);
	EQ(got[0].data.u64, 3);
	EQ(got[4].data.u64, 2);
	close(e);
	for (int i = 0; i < 5; i++) {
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
}

static int cross[2];

static void *adds_the_other(void *argument)
{
	int mine = argument != NULL;
	struct epoll_event e = { .events = EPOLLIN };
	for (int i = 0; i < 2000; i++)
		if (epoll_ctl(cross[mine], EPOLL_CTL_ADD, cross[!mine], &e) == 0)
			OK(epoll_ctl(cross[mine], EPOLL_CTL_DEL, cross[!mine], NULL));
	return NULL;
}

/* Only one of them can succeed at a time: the kernel refuses loops. */
static void two_that_add_one_another(struct conn *unused)
{
	(void)unused;
	pthread_t other;
	cross[0] = (int)OK(epoll_create1(0));
	cross[1] = (int)OK(epoll_create1(0));
	pthread_create(&other, NULL, adds_the_other, cross);
	adds_the_other(NULL);
	pthread_join(other, NULL);
	close(cross[0]);
	close(cross[1]);
}

static void inner_gets_its_first_socket(struct conn *c)
{
	int inner = (int)OK(epoll_create1(0)), outer = (int)OK(epoll_create1(0)), p[2];
	struct epoll_event got[4];
	OK(pipe(p));
	watch(inner, p[0], EPOLLIN, 1);
	watch(outer, inner, EPOLLIN | EPOLLONESHOT, 2);
	EQ(write(p[1], "x", 1), 1);
	EQ(epoll_wait(outer, got, 4, 0), 1);
	watch(inner, c->fd, EPOLLIN, 3);
	EQ(epoll_wait(outer, got, 4, 0), 0); /* it has fired, whatever comes in below */
	/* By a duplicate that is then closed. */
	int d = (int)OK(dup(inner)), another = (int)OK(epoll_create1(0));
	watch(another, d, EPOLLIN, 4);
	close(d);
	EQ(epoll_wait(another, got, 4, 0), 1);
	EQ(got[0].data.u64, 4);
	for (int i = 0; i < 2; i++)
		close(p[i]);
	close(inner);
	close(outer);
	close(another);
}

static void holds_its_copies(void *argument)
{
	char byte;
	OK(read(*(int *)argument, &byte, 1));
}

/* The kernel reports a file as long as any process has it. */
static void closed_here_but_not_there(struct conn *unused)
{
	(void)unused;
	struct sockaddr_storage addr;
	socklen_t length;
	int l = tcp_listener(INET, 4, &addr, &length), e = (int)OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	watch(e, l, EPOLLIN, 5);
	pid_t child = fork_child(holds_its_copies, &p[0]);
	close(l);
	int s = tcp_connect(INET, &addr, length);
	struct epoll_event got;
	EQ(epoll_wait(e, &got, 1, 2000), 1);
	EQ(got.data.u64, 5);
	EQ(write(p[1], "x", 1), 1);
	join_child(child);
	EQ(epoll_wait(e, &got, 1, 0), 0);
	close(s);
	close(e);
}

/* An inner instance with a connection and a pipe: looking takes nothing away, and nothing is told that is not there. */
static void inner_with_both(struct conn *c)
{
	int inner = (int)OK(epoll_create1(0)), outer = (int)OK(epoll_create1(0)), p[2];
	struct epoll_event got[4];
	char in[4];
	OK(pipe(p));
	watch(inner, c->fd, EPOLLIN, 1);
	watch(inner, p[0], EPOLLIN, 2);
	watch(outer, inner, EPOLLIN, 3);
	for (int i = 0; i < 3; i++) {
		EQ(epoll_wait(outer, got, 4, 0), 0);
		EQ(poll_one(inner, POLLIN, 0), 0);
		EQ(write(p[1], "x", 1), 1);
		EQ(epoll_wait(outer, got, 4, 1000), 1);
		EQ(epoll_wait(inner, got, 4, 0), 1);
		EQ(got[0].data.u64, 2);
		EQ(epoll_wait(outer, got, 4, 0), 1); /* the byte is still there */
		EQ(poll_one(inner, POLLIN, 0), POLLIN);
		EQ(read(p[0], in, 1), 1);
		EQ(poll_one(inner, POLLIN, 0), 0);
		EQ(epoll_wait(inner, got, 4, 0), 0);
		EQ(peer_send(c, "y", 1, 0), 1);
		EQ(epoll_wait(outer, got, 4, 1000), 1);
		EQ(epoll_wait(inner, got, 4, 0), 1);
		EQ(got[0].data.u64, 1);
		EQ(recv(c->fd, in, 4, 0), 1);
	}
	EQ(write(p[1], "x", 1), 1);
	EQ(poll_one(inner, POLLIN, 0), POLLIN);
	OK(epoll_ctl(inner, EPOLL_CTL_DEL, p[0], NULL));
	EQ(epoll_wait(inner, got, 4, 0), 0);
	for (int i = 0; i < 2; i++)
		close(p[i]);
	close(inner);
	close(outer);
}

/* The instance is used by a duplicate that is closed then. */
static void by_a_closed_duplicate(struct conn *c)
{
	int e = (int)OK(epoll_create1(0)), p[2];
	struct epoll_event got[4];
	OK(pipe(p));
	watch(e, c->fd, EPOLLIN, 1);
	int d = (int)OK(dup(e));
	watch(d, p[0], EPOLLIN, 2);
	EQ(epoll_wait(d, got, 4, 0), 0);
	close(d);
	EQ(write(p[1], "x", 1), 1);
	EQ(poll_one(e, POLLIN, 1000), POLLIN);
	EQ(epoll_wait(e, got, 4, 1000), 1);
	EQ(got[0].data.u64, 2);
	for (int i = 0; i < 2; i++)
		close(p[i]);
	close(e);
}

/* A mask changes nothing about who is told. */
static void masked_wait_starves_nobody(struct conn *c)
{
	int e = (int)OK(epoll_create1(0)), p[2], told = 0;
	struct epoll_event got;
	sigset_t mask;
	sigemptyset(&mask);
	OK(pipe(p));
	watch(e, c->fd, EPOLLIN, 1);
	watch(e, p[0], EPOLLIN, 2);
	EQ(write(p[1], "x", 1), 1);
	EQ(peer_send(c, "y", 1, 0), 1);
	poll_until(c->fd, POLLIN, POLLIN);
	for (int i = 0; i < 100; i++) {
		EQ(epoll_pwait(e, &got, 1, 1000, &mask), 1);
		told |= 1 << got.data.u64;
	}
	EQ(told, 6);
	char in[2];
	EQ(recv(c->fd, in, 2, 0), 1);
	for (int i = 0; i < 2; i++)
		close(p[i]);
	close(e);
}

/* ---- edges in a hurry ---- */

/* Reads `length` bytes as event loops do: until EAGAIN, then the next edge. */
static long read_by_edges(int fd, int e, char *to, size_t length)
{
	while (length > 0) {
		ssize_t n = read(fd, to, length);
		if (n > 0) {
			to += n;
			length -= (size_t)n;
			continue;
		}
		if (n == 0 || errno != EAGAIN)
			return -1;
		struct epoll_event got = { 0 };
		bool first = true;
		do {
			int count = epoll_wait(e, &got, 1, first ? 0 : 5000);
			if (count < 0 || (count == 0 && !first))
				return errno = ETIMEDOUT, -1;
			first = false;
		} while (!(got.events & EPOLLIN));
	}
	return 0;
}

/* Answers each of `rounds` messages of 64 bytes, or with `begins` sends them and takes the answers. */
static long talk_by_edges(int *fd, long rounds, long begins)
{
	char message[64] = { 0 };
	int e = (int)OK(epoll_create1(0));
	struct epoll_event wanted = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	set_nonblock(*fd, true);
	OK(epoll_ctl(e, EPOLL_CTL_ADD, *fd, &wanted));
	long ret = 0;
	for (long i = 0; i < rounds && ret == 0; i++) {
		if (begins && write(*fd, message, sizeof message) != sizeof message)
			ret = -1;
		if (ret == 0)
			ret = read_by_edges(*fd, e, message, sizeof message);
		if (ret == 0 && !begins && write(*fd, message, sizeof message) != sizeof message)
			ret = -1;
	}
	close(e);
	set_nonblock(*fd, false);
	return ret;
}

static void no_edge_is_lost(struct conn *c)
{
	peer_call_later(c, 0, talk_by_edges, 20000, false);
	EQ(talk_by_edges(&c->fd, 20000, true), 0);
	EQ(peer_join(c), 0);
	exchange(c, 2);
}

static const struct test tests[] = {
	TEST(data_like_the_librarys_own, EACH),
	TEST(inner_with_both, EACH),
	TEST(by_a_closed_duplicate, EACH),
	TEST(masked_wait_starves_nobody, EACH),
	TEST(two_that_add_one_another, ALONE),
	TEST(inner_gets_its_first_socket, EACH),
	TEST(closed_here_but_not_there, ALONE),
	TEST(others_are_the_kernels, ALONE | EACH),
	TEST(order_of_arrival, ALONE),
	TEST(no_edge_is_lost, TWO),
	TEST(level, EVERY),
	TEST(waits, EVERY),
	TEST(edge, EVERY),
	TEST(edge_without_reading, EACH),
	TEST(edge_for_each_arrival_while_asleep, EACH),
	TEST(edge_waiting_at_registration, EACH),
	TEST(edge_reports_all_that_holds, EACH),
	TEST(edge_of_room, EACH),
	TEST(once, EACH),
	TEST(data_bit_for_bit, EACH),
	TEST(nested, EACH),
	TEST(nested_loops_refused, ALONE),
	TEST(refusals, EACH),
	TEST(removed_is_silent, EACH),
	TEST(no_events_asked, EACH),
	TEST(closing_unregisters, EACH),
	TEST(a_duplicate_keeps_it_registered, EACH),
	TEST(a_duplicate_registered_too, EACH),
	TEST(two_epolls_one_socket, EACH),
	TEST(mixed_set, EACH),
	TEST(fair_with_one_event, ALONE),
	TEST(many_connections, ALONE),
	TEST(signal_mask, EACH),
	TEST(fine_timeout, EACH),
	TEST(across_fork, EACH),
	TEST(registration_is_shared, EACH),
	TEST(exclusive, EACH),
	TEST(added_while_another_waits, EACH),
	TEST(changed_while_another_waits, EACH),
	TEST(first_added_while_another_waits, EACH),
	TEST(a_child_closes_its_copies, EACH),
	TEST(deleted_and_added_while_another_waits, EACH),
	TEST(deleted_and_added_again, EVERY),
	TEST(deleted_before_the_end, TWO),
	TEST(deleted_before_a_fork, EACH),
	TEST(the_end, EVERY),
	TEST(a_reset, EACH),
	TEST(registered_before_accepting, ALONE),
	TEST(idle_wait_uses_no_processor, EACH),
};
MAIN(tests)
