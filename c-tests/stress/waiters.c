/*
 * waiters [-k udp|pair|tcp|seqpacket|datagram] [-n rounds] [-f] [-t limit_ms] [-s seed]
 *
 * Two threads, or with -f two processes, wait for what comes to one socket, each in a way of its own: one for ever, and
 * takes all there is; the other takes one message a round and goes off. A message that one of them is woken for, and
 * the other takes, must not leave the next one lying: all are taken within the limit (3000 ms). Every pair of ways.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "stress.h"

enum way { RECEIVES, POLLS, EPOLLS, EPOLLS_FOR_EDGES, SPINS, WAYS };
static const char *const names[WAYS] = { "receives", "polls", "epolls", "epolls for edges", "spins" };

struct shared {
	_Atomic uint32_t taken;
	_Atomic bool is_over; /* this round, for one that spins */
	sem_t go;
};

static struct shared *shared;
static int from, to;
static enum way forever, once;
static bool forks;

static int epoll_of(uint32_t events)
{
	int e = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { .events = events };
	MUST(epoll_ctl(e, EPOLL_CTL_ADD, from, &event));
	return e;
}

/* One message, if there is one by the end of the wait. */
static bool take(enum way way, int epoll)
{
	char byte;
	struct pollfd p = { .fd = from, .events = POLLIN };
	struct epoll_event event;
	int ready = 1;
	if (way == POLLS)
		ready = poll(&p, 1, -1);
	if (way == EPOLLS || way == EPOLLS_FOR_EDGES)
		ready = epoll_wait(epoll, &event, 1, -1);
	/* Who is stopped for a moment, or frozen, gets EINTR without any handler (signal(7)). */
	if (ready != 1 && errno != EINTR)
		die("%s: a wait without a limit gave %d", names[way], ready);
	ssize_t n = recv(from, &byte, 1, way == RECEIVES ? 0 : MSG_DONTWAIT);
	if (n == 1)
		atomic_fetch_add(&shared->taken, 1);
	else if (n >= 0 || errno != EAGAIN)
		die("recv gave %zd", n);
	return n == 1;
}

static void *waits_forever(void *unused)
{
	int epoll = epoll_of(EPOLLIN | (forever == EPOLLS_FOR_EDGES ? EPOLLET : 0));
	for (;;)
		if (take(forever, epoll) && forever != RECEIVES)
			while (take(SPINS, epoll))
				;
	return unused;
}

static void *takes_one(void *unused)
{
	int epoll = epoll_of(EPOLLIN);
	for (;;) {
		while (sem_wait(&shared->go) < 0)
			;
		while (!take(once, epoll) && !(once == SPINS && shared->is_over))
			;
	}
	return unused;
}

static void start(void *(*body)(void *))
{
	pthread_t thread;
	if (forks) {
		if (MUST(fork()) == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			body(NULL);
		}
	} else if (pthread_create(&thread, NULL, body, NULL) != 0)
		die("no thread");
}

static void connect_all(const char *kind)
{
	uint16_t port = 0;
	struct sockaddr_in addr;
	int fds[2];
	char byte;
	if (strcmp(kind, "udp") == 0) {
		from = udp_at(&port);
		addr = loopback(port);
		port = 0;
		to = udp_at(&port);
		MUST(connect(to, (struct sockaddr *)&addr, sizeof addr));
		recv(from, &byte, 1, MSG_DONTWAIT);
		return;
	}
	if (strcmp(kind, "tcp") != 0) {
		int type = strcmp(kind, "seqpacket") == 0 ? SOCK_SEQPACKET :
			   strcmp(kind, "datagram") == 0 ? SOCK_DGRAM : SOCK_STREAM;
		MUST(socketpair(AF_UNIX, type, 0, fds));
		from = fds[0], to = fds[1];
	} else {
		int listener = listener_at(&port);
		addr = loopback(port);
		to = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
		MUST(connect(to, (struct sockaddr *)&addr, sizeof addr));
		from = (int)MUST(accept(listener, NULL, NULL));
	}
	for (int i = 0; i < 20; i++) {
		int a = i % 2 ? from : to, b = i % 2 ? to : from;
		MUST(send(a, "x", 1, 0));
		if (receive_whole(b, &byte, 1) != 1)
			die("no answer");
	}
}

static void wait_until_taken(uint32_t count, int round, int limit_ms)
{
	int64_t began = now_ms();
	while (shared->taken < count) {
		if (now_ms() - began > limit_ms)
			die("one %s, one %s once: in round %d %u of %u messages are left lying", names[forever], names[once], round,
			    count - shared->taken, count);
		sleep_us(20);
	}
}

static void run(const char *kind, int rounds, int limit_ms)
{
	connect_all(kind);
	if (MUST(sem_init(&shared->go, 1, 0)) < 0)
		die("no semaphore");
	start(waits_forever);
	start(takes_one);
	sleep_us(5000);
	uint32_t sent = 0;
	for (int round = 0; round < rounds; round++) {
		shared->is_over = false;
		sem_post(&shared->go);
		sleep_us((unsigned)dice(100));
		for (int i = 0; i < 2; i++) {
			MUST(send(to, "x", 1, 0));
			sent++;
			if (i == 1 || dice(2))
				wait_until_taken(sent, round, limit_ms);
			else
				for (uint64_t spins = dice(10000); spins > 0; spins--)
					__asm__ volatile("");
			shared->is_over = true;
			if (dice(2))
				sleep_us((unsigned)dice(100));
		}
	}
	if (ring_expected() && ring_tx_bytes() <= 0)
		die("the ring was not used");
	_exit(0);
}

int main(int argc, char **argv)
{
	const char *kind = "udp";
	int rounds = 200, limit_ms = 3000, option, status;
	uint64_t seed = 1;
	while ((option = getopt(argc, argv, "k:n:ft:s:")) != -1)
		switch (option) {
		case 'k': kind = optarg; break;
		case 'n': rounds = atoi(optarg); break;
		case 'f': forks = true; break;
		case 't': limit_ms = atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 10); break;
		default: return 2;
		}
	int pairs = 0;
	for (forever = 0; forever < SPINS; forever++)
		for (once = 0; once < WAYS; once++, pairs++) {
			shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
			if (shared == MAP_FAILED)
				die("mmap");
			pid_t pid = (pid_t)MUST(fork());
			if (pid == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				dice_state = mix(seed + (uint64_t)pairs);
				run(kind, rounds, limit_ms);
			}
			MUST(waitpid(pid, &status, 0));
			if (status != 0)
				die("status 0x%x", status);
			munmap(shared, sizeof *shared);
		}
	printf("%d pairs of ways, %d rounds each\n", pairs, rounds);
	return 0;
}
