/*
 * packets [-k pair | path | abstract | datagram] [-n messages] [-r rounds] [-t limit_ms] [-s seed] [-x] [-w]
 *
 * Two processes exchange numbered messages of random sizes (also of no size) over SOCK_SEQPACKET, or over a pair of
 * SOCK_DGRAM sockets, both ways at once, and check every byte; some bring a descriptor, which is the file that belongs to
 * them. With -x one of them is killed in the middle: what the other has received then is a whole beginning of what was
 * sent, and it sees the end within the limit (1000 ms). With -w there are no descriptors, with which a connection leaves
 * the ring.
 */
#include "stress.h"

enum { MOST_BYTES = 150000, HEADER = 16, EVERY_FD = 61 };

struct header {
	uint32_t number, length;
	uint64_t checksum;
};

static struct shared {
	volatile uint32_t sent[2], received[2];
} *shared;

static uint32_t *by_ring; /* ends that have sent something by the ring, in all the rounds */
static uint32_t messages = 400;
static int type = SOCK_SEQPACKET, limit_ms = 1000;
static bool kills, without_descriptors;
static uint64_t round_seed;
static uint8_t out[MOST_BYTES], in[MOST_BYTES + 1];

static uint64_t seed_of(int sender)
{
	return mix(round_seed + (uint64_t)sender);
}

/* Some of a few bytes, some large, and now and then none: its place alone says which one that is. */
static size_t length_of(int sender, uint32_t number)
{
	uint64_t x = mix(seed_of(sender) ^ number);
	if (x % 29 == 0)
		return 0;
	return HEADER + (x >> 32) % ((MOST_BYTES - HEADER) >> (x >> 8) % 16);
}

static bool has_descriptor(int sender, uint32_t number)
{
	return !without_descriptors && mix(seed_of(sender) + number) % EVERY_FD == 0;
}

static uint64_t checksum(const uint8_t *bytes, size_t length)
{
	uint64_t sum = length;
	for (size_t i = 0; i + 8 <= length; i += 8) {
		uint64_t word;
		memcpy(&word, bytes + i, 8);
		sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
	}
	return sum;
}

static int file_of(uint32_t number)
{
	int fd = (int)MUST(memfd_create("message", MFD_CLOEXEC));
	if (write(fd, &number, sizeof number) != sizeof number)
		die("the file");
	return fd;
}

static bool is_end(void)
{
	return errno == EPIPE || errno == ECONNRESET || errno == ECONNREFUSED || errno == ENOTCONN;
}

/* 1 sent, 0 no room, -1 the end. */
static int send_one(int fd, int me, uint32_t number)
{
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	size_t length = length_of(me, number);
	struct iovec v = { out, length };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	int beside = -1;
	if (length > 0) {
		stream_fill(out + HEADER, seed_of(me) ^ number, 0, length - HEADER);
		struct header h = { number, (uint32_t)length, checksum(out + HEADER, length - HEADER) };
		memcpy(out, &h, sizeof h);
	}
	if (has_descriptor(me, number)) {
		beside = file_of(number);
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		control.header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), &beside, sizeof beside);
	}
	ssize_t n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	int error = errno;
	if (beside >= 0)
		close(beside);
	errno = error;
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0 && is_end())
		return -1;
	if (MUST(n) != (ssize_t)length)
		die("message %u: %zd of %zu bytes sent", number, n, length);
	return 1;
}

static void check(int sender, uint32_t number, const struct msghdr *m, size_t n)
{
	size_t length = length_of(sender, number);
	struct header h = { 0 };
	if (n != length || (m->msg_flags & ~MSG_CMSG_CLOEXEC) != 0)
		die("message %u: %zu bytes instead of %zu, flags %#x", number, n, length, m->msg_flags);
	if (length > 0) {
		memcpy(&h, in, sizeof h);
		if (h.number != number || h.length != length || h.checksum != checksum(in + HEADER, length - HEADER) ||
		    stream_differs(in + HEADER, seed_of(sender) ^ number, 0, length - HEADER) >= 0)
			die("message %u is not what was sent (it says %u of %u bytes)", number, h.number, h.length);
	}
	const struct cmsghdr *beside = CMSG_FIRSTHDR(m);
	if ((beside != NULL) != has_descriptor(sender, number))
		die("message %u %s a descriptor", number, beside != NULL ? "has" : "is without");
	if (beside != NULL) {
		int fd;
		uint32_t inside = 0;
		memcpy(&fd, CMSG_DATA(beside), sizeof fd);
		if (pread(fd, &inside, sizeof inside, 0) != sizeof inside || inside != number)
			die("message %u has the descriptor of %u", number, inside);
		close(fd);
	}
}

/* 1 received, 0 nothing there, -1 the end. An empty message and the end look the same, but for their place. */
static int receive_one(int fd, int me, uint32_t number)
{
	char control[CMSG_SPACE(4 * sizeof(int))];
	struct iovec v = { in, sizeof in };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && errno == ECONNRESET) {
		if (!kills)
			die("a reset at message %u", number);
		return 0; /* before what is still in the queue */
	}
	if (n < 0 && errno == EAGAIN)
		return 0;
	MUST(n);
	if (n == 0 && (number == messages || length_of(!me, number) > 0)) {
		if (!kills)
			die("the end at message %u", number);
		return -1;
	}
	if (kills && n == 0 && shared->sent[!me] <= number)
		return -1;
	check(!me, number, &m, (size_t)n);
	return 1;
}

static void talk(int fd, int me)
{
	uint32_t sent = 0, received = 0;
	bool may_send = true;
	dice_state = mix(round_seed + 77 + (uint64_t)me);
	while (sent < messages || received < messages || kills) {
		short events = POLLIN | (may_send && sent < messages ? POLLOUT : 0);
		struct pollfd p = { .fd = fd, .events = events };
		MUST(poll(&p, 1, -1));
		for (uint64_t burst = dice(20); p.revents & POLLOUT && may_send && sent < messages; burst--) {
			shared->sent[me] = sent + 1; /* before, for one that is killed behind the call */
			int r = send_one(fd, me, sent);
			if (r < 0 && !kills)
				die("the end when message %u is sent", sent);
			may_send = r >= 0;
			sent += r > 0;
			if (r <= 0 || burst == 0)
				break;
		}
		for (uint64_t burst = dice(20); p.revents & (POLLIN | POLLHUP | POLLERR); burst--) {
			int r = receive_one(fd, me, received);
			if (r < 0)
				_exit(0);
			received += r > 0;
			shared->received[me] = received;
			if (r == 0 || burst == 0 || received == messages)
				break;
		}
	}
	if (ring_tx_bytes() > 0)
		__atomic_add_fetch(by_ring, 1, __ATOMIC_SEQ_CST);
	/* Nobody closes with anything unread. */
	while (shared->received[!me] < messages)
		sleep_us(50);
	_exit(0);
}

static pid_t start(const int *ends, int listener, const struct sockaddr_un *name, socklen_t length, int me)
{
	pid_t pid = (pid_t)MUST(fork());
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(20);
	int fd = ends[me];
	if (listener < 0) {
		close(ends[!me]);
	} else if (me == 0) {
		fd = (int)MUST(accept(listener, NULL, NULL));
		close(listener);
	} else {
		close(listener);
		fd = (int)MUST(socket(AF_UNIX, type, 0));
		if (connect(fd, (const struct sockaddr *)name, length) < 0) {
			if (kills && (errno == ECONNREFUSED || errno == ECONNRESET))
				_exit(0);
			die("connect");
		}
	}
	talk(fd, me);
	return 0;
}

static int64_t slowest;

/* Whether that one ends with 0 in time. */
static bool ends_well(pid_t pid, int which, int limit)
{
	int status;
	for (int64_t began = now_ms(); waitpid(pid, &status, WNOHANG) != pid; sleep_us(200))
		if (now_ms() - began > limit) {
			fprintf(stderr, "process %d is still there after %d ms; sent %u and %u, received %u and %u\n", which, limit,
				shared->sent[0], shared->sent[1], shared->received[0], shared->received[1]);
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			return false;
		} else if (now_ms() - began > slowest) {
			slowest = now_ms() - began;
		}
	if (status != 0)
		fprintf(stderr, "process %d ended with status 0x%x\n", which, status);
	return status == 0;
}

static bool run_round(const char *kind, int round)
{
	struct sockaddr_un name;
	socklen_t length = 0;
	int ends[2] = { -1, -1 }, listener = -1;
	bool path = strcmp(kind, "path") == 0;
	memset((void *)shared, 0, sizeof *shared);
	if (path || strcmp(kind, "abstract") == 0) {
		length = unix_address(&name, path, (uint64_t)round % 2);
		listener = unix_listener_of(type, &name, length);
	} else {
		MUST(socketpair(AF_UNIX, type, 0, ends));
	}
	pid_t pids[2];
	for (int i = 0; i < 2; i++)
		pids[i] = start(ends, listener, &name, length, i);
	if (listener >= 0) {
		close(listener);
	} else {
		close(ends[0]);
		close(ends[1]);
	}
	bool fine = true;
	if (kills) {
		uint32_t enough = (uint32_t)dice(messages);
		int victim = (int)dice(2);
		for (int64_t began = now_ms(); shared->received[victim] < (enough > 0 ? enough : 1) && now_ms() - began < 5000;)
			sleep_us(20);
		sleep_us((unsigned)dice(300));
		kill(pids[victim], SIGKILL);
		waitpid(pids[victim], NULL, 0);
		fine = ends_well(pids[!victim], !victim, limit_ms);
		if (shared->received[!victim] > shared->sent[victim])
			die("%u received of %u", shared->received[!victim], shared->sent[victim]);
	} else {
		for (int i = 0; i < 2; i++)
			fine &= ends_well(pids[i], i, 15000);
	}
	if (path)
		unlink(name.sun_path);
	return fine;
}

int main(int argc, char **argv)
{
	int rounds = 30, option, failures = 0;
	uint64_t seed = 1;
	const char *kind = "pair";
	while ((option = getopt(argc, argv, "k:n:r:t:s:xw")) != -1)
		switch (option) {
		case 'k': kind = optarg; break;
		case 'n': messages = (uint32_t)atoi(optarg); break;
		case 'r': rounds = atoi(optarg); break;
		case 't': limit_ms = atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'x': kills = true; break;
		case 'w': without_descriptors = true; break;
		default: return 2;
		}
	if (strcmp(kind, "datagram") == 0)
		type = SOCK_DGRAM;
	if (messages == 0 || (kills && type == SOCK_DGRAM))
		return 2; /* a datagram socket does not learn of a death while it only receives */
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	by_ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int round = 0;
	for (; round < rounds && failures < 3; round++) {
		round_seed = mix(seed * 1000 + (uint64_t)round);
		dice_state = round_seed;
		if (!run_round(kind, round)) {
			fprintf(stderr, "round %d of seed %llu failed\n", round, (unsigned long long)seed);
			failures++;
		}
	}
	/* Where both are busy all the time there may be no moment for the switch. */
	if (without_descriptors && !kills && ring_expected() && *by_ring < (uint32_t)round) {
		fprintf(stderr, "only %u of %d ends sent by the ring\n", *by_ring, 2 * round);
		failures++;
	}
	printf("%d rounds of %u messages each way, %d failures, slowest end %lld ms\n", round, messages, failures, (long long)slowest);
	return failures != 0;
}
