/*
 * sharers [-n records] [-r rounds] [-t threads] [-p processes] [-w receivers] [-s seed] [-q]
 *
 * Both ends of an AF_UNIX stream (-q: of a SOCK_SEQPACKET pair) are shared: -t threads (4) and -p processes (1) send numbered records of eight bytes,
 * and -w threads (3) receive them, each in its own way. Now and then one passes a descriptor, which takes the stream from
 * the ring back to the kernel while the others are in the middle of a send or a receive. Each record comes once, each
 * descriptor with one, to a receiver in the order of its sender, and at the end every receiver sees the end.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "stress.h"

enum { MOST_SENDERS = 16, MOST_RECEIVERS = 8, MOST_AT_ONCE = 64, FDS = 3 };

struct record {
	uint32_t sender, number;
};

static uint32_t records = 300, threads = 4, processes = 1, receivers = 3;
static uint64_t seed = 1, round_seed;
static int ends[2], type = SOCK_STREAM;
static _Atomic uint32_t received, passed;
static _Atomic uint8_t *seen;

static void send_with_descriptor(struct record *r)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec v = { r, sizeof *r };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(h), &ends[1], sizeof(int));
	if (MUST(sendmsg(ends[1], &m, 0)) != sizeof *r)
		die("a short send");
}

static void *sends(void *argument)
{
	uint32_t me = (uint32_t)(uintptr_t)argument;
	dice_state = mix(round_seed + me);
	for (uint32_t i = 0; i < records; i++) {
		struct record r = { me, i };
		/* The first sender alone, so that the stream is on the ring for a while. */
		if (me == 0 && i >= records / 2 && (i - records / 2) % (records / 6 + 1) == 0 && (i - records / 2) / (records / 6 + 1) < FDS)
			send_with_descriptor(&r);
		else if (MUST(send(ends[1], &r, sizeof r, 0)) != sizeof r)
			die("a short send");
		if (dice(16) == 0)
			sleep_us((unsigned)dice(60));
	}
	return NULL;
}

static void check(const struct record *r, int64_t *last)
{
	if (r->sender >= threads + processes || r->number >= records)
		die("a record that nobody sent: %u of sender %u", r->number, r->sender);
	if (atomic_exchange(&seen[r->sender * records + r->number], 1))
		die("%u of sender %u came twice", r->number, r->sender);
	if (r->number <= last[r->sender])
		die("%u of sender %u came after %d", r->number, r->sender, (int)last[r->sender]);
	last[r->sender] = r->number;
	atomic_fetch_add(&received, 1);
}

/* One polls, one asks how much there is and tries, one blocks; and so on. */
static void *receives(void *argument)
{
	int me = (int)(uintptr_t)argument, queued;
	int64_t last[MOST_SENDERS];
	memset(last, -1, sizeof last);
	dice_state = mix(round_seed + 100 + (uint64_t)me);
	for (;;) {
		struct record in[MOST_AT_ONCE];
		char control[256];
		struct iovec v = { in, sizeof *in * (1 + dice(MOST_AT_ONCE)) };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		struct pollfd p = { .fd = ends[0], .events = POLLIN };
		if (me % 3 == 0)
			poll(&p, 1, -1);
		if (me % 3 == 1)
			MUST(ioctl(ends[0], FIONREAD, &queued));
		ssize_t n = recvmsg(ends[0], &m, me % 3 == 2 ? 0 : MSG_DONTWAIT);
		if (n == 0)
			return NULL;
		if (n < 0 && errno != EAGAIN)
			die("recvmsg");
		if (n > 0 && n % (ssize_t)sizeof *in != 0)
			die("%zd bytes, which are no records", n);
		for (struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL; h != NULL; h = CMSG_NXTHDR(&m, h)) {
			int fd;
			memcpy(&fd, CMSG_DATA(h), sizeof fd);
			close(fd);
			atomic_fetch_add(&passed, 1);
		}
		for (ssize_t i = 0; i < n / (ssize_t)sizeof *in; i++)
			check(&in[i], last);
	}
}

static pthread_t start(void *(*body)(void *), uint32_t number)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, body, (void *)(uintptr_t)number) != 0)
		die("no thread");
	return thread;
}

static void warm_up(void)
{
	char byte;
	for (int i = 0; i < 20; i++) {
		MUST(send(ends[i % 2], "x", 1, 0));
		if (receive_whole(ends[1 - i % 2], &byte, 1) != 1)
			die("no answer");
	}
}

static void run_round(void)
{
	pthread_t sending[MOST_SENDERS], receiving[MOST_RECEIVERS];
	pid_t children[MOST_SENDERS];
	int status;
	received = passed = 0;
	memset((void *)seen, 0, (threads + processes) * records);
	MUST(socketpair(AF_UNIX, type, 0, ends));
	if (dice(2))
		warm_up();
	for (uint32_t i = 0; i < processes; i++) {
		children[i] = (pid_t)MUST(fork());
		if (children[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(ends[0]);
			sends((void *)(uintptr_t)(threads + i));
			_exit(0);
		}
	}
	for (uint32_t i = 0; i < receivers; i++)
		receiving[i] = start(receives, i);
	for (uint32_t i = 0; i < threads; i++)
		sending[i] = start(sends, i);
	for (uint32_t i = 0; i < threads; i++)
		pthread_join(sending[i], NULL);
	for (uint32_t i = 0; i < processes; i++) {
		MUST(waitpid(children[i], &status, 0));
		if (status != 0)
			die("a sender ended with status 0x%x", status);
	}
	MUST(shutdown(ends[1], SHUT_WR));
	for (uint32_t i = 0; i < receivers; i++)
		pthread_join(receiving[i], NULL);
	if (received != (threads + processes) * records || passed != FDS)
		die("%u of %u records came, and %u of %u descriptors", received, (threads + processes) * records, passed, FDS);
	close(ends[0]);
	close(ends[1]);
}

static void stuck(int signal)
{
	(void)signal;
	dprintf(STDERR_FILENO, "[%d] hangs; %u of %u received, seed %llu\n", getpid(), received, (threads + processes) * records,
		(unsigned long long)round_seed);
	_exit(1);
}

int main(int argc, char **argv)
{
	int rounds = 50, option;
	while ((option = getopt(argc, argv, "n:r:t:p:w:s:q")) != -1)
		switch (option) {
		case 'n': records = (uint32_t)atoi(optarg); break;
		case 'r': rounds = atoi(optarg); break;
		case 't': threads = (uint32_t)atoi(optarg); break;
		case 'p': processes = (uint32_t)atoi(optarg); break;
		case 'w': receivers = (uint32_t)atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'q': type = SOCK_SEQPACKET; break;
		default: return 2;
		}
	if (threads == 0 || threads + processes > MOST_SENDERS || receivers == 0 || receivers > MOST_RECEIVERS || records < 20)
		return 2;
	seen = calloc(threads + processes, records);
	signal(SIGALRM, stuck);
	for (int round = 0; round < rounds; round++) {
		round_seed = mix(seed * 1000 + (uint64_t)round);
		dice_state = round_seed;
		alarm(20);
		run_round();
	}
	if (ring_expected() && ring_tx_bytes() <= 0)
		die("the ring was not used");
	printf("%d rounds of %u records by %u senders\n", rounds, (threads + processes) * records, threads + processes);
	return 0;
}
