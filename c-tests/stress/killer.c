/*
 * killer [-n rounds] [-t limit_ms] [-s seed]
 *
 * A server and a client talk; one of them is killed by SIGKILL at a random moment: while it writes,
 * reads, connects or accepts. The other must see the end of the connection within the limit (1000 ms).
 */
#include "stress.h"

enum { STARTING, WAITING, CONNECTED };

struct shared { volatile int port, server_state, mode; };

static struct shared *shared;

/* The end has been seen. */
static void seen(void)
{
	_exit(0);
}

static void put(int fd, const void *data, size_t length)
{
	const char *at = data;
	while (length > 0) {
		ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			seen();
		at += MUST(n);
		length -= (size_t)n;
	}
}

/* False at a clean end of the stream. */
static bool get(int fd, void *data, size_t length)
{
	char *at = data;
	while (length > 0) {
		ssize_t n = recv(fd, at, length, 0);
		if (n < 0 && errno == ECONNRESET)
			seen();
		if (MUST(n) == 0)
			return false;
		at += n;
		length -= (size_t)n;
	}
	return true;
}

static char room[1 << 16];

static void server(void)
{
	uint16_t port = 0;
	int listener = listener_at(&port);
	shared->port = port;
	for (;;) {
		shared->server_state = WAITING;
		struct pollfd p = { .fd = listener, .events = POLLIN };
		MUST(poll(&p, 1, -1));
		shared->server_state = CONNECTED;
		int fd = (int)MUST(accept(listener, NULL, NULL));
		bool bye = false;
		if (shared->mode == 2)
			for (;;)
				put(fd, room, 1 + dice(sizeof room));
		uint32_t length;
		while (get(fd, &length, sizeof length)) {
			if (length == 0) {
				bye = true;
				continue;
			}
			if (length > sizeof room)
				die("a length that nobody sent");
			if (!get(fd, room, length))
				seen();
			if (shared->mode == 0)
				put(fd, room, length);
		}
		if (!bye)
			seen();
		close(fd);
	}
}

static void client(void)
{
	for (;;) {
		int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
		struct sockaddr_in addr = loopback((uint16_t)shared->port);
		if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
			if (errno == ECONNREFUSED || errno == ECONNRESET)
				seen();
			die("connect");
		}
		if (shared->mode == 2)
			while (get(fd, room, 1 + dice(sizeof room)))
				;
		uint64_t messages = dice(4) ? 1 + dice(20) : 100000;
		for (uint64_t i = 0; i < messages; i++) {
			uint32_t length = (uint32_t)(1 + dice(dice(2) ? 64 : sizeof room));
			put(fd, &length, sizeof length);
			put(fd, room, length);
			if (shared->mode == 0 && !get(fd, room, length))
				seen();
		}
		uint32_t bye = 0;
		put(fd, &bye, sizeof bye);
		if (shutdown(fd, SHUT_WR) < 0)
			seen();
		if (get(fd, room, 1))
			die("a byte that nobody sent");
		close(fd);
	}
}

static pid_t start(void (*body)(void), uint64_t seed)
{
	pid_t pid = (pid_t)MUST(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dice_state = seed;
		alarm(30);
		body();
		_exit(1);
	}
	return pid;
}

int main(int argc, char **argv)
{
	int rounds = 300, limit_ms = 1000, option;
	uint64_t seed = 1;
	while ((option = getopt(argc, argv, "n:t:s:")) != -1)
		switch (option) {
		case 'n':
			rounds = atoi(optarg);
			break;
		case 't':
			limit_ms = atoi(optarg);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static const char *const modes[] = { "echo", "client streams", "server streams" };
	int64_t slowest = 0;
	int failures = 0;
	for (int round = 0; round < rounds; round++) {
		dice_state = mix(seed * 100000 + (uint64_t)round);
		memset((void *)shared, 0, sizeof *shared);
		shared->mode = (int)dice(3);
		pid_t one = start(server, dice(UINT64_MAX));
		while (shared->port == 0)
			sleep_us(50);
		pid_t two = start(client, dice(UINT64_MAX));
		sleep_us((unsigned)dice(dice(3) ? 20000 : 2000));
		bool kill_server = dice(2);
		pid_t victim = kill_server ? one : two, survivor = kill_server ? two : one;
		MUST(kill(victim, SIGKILL));
		int64_t began = now_ms(), waiting_since = 0, took;
		MUST(waitpid(victim, NULL, 0));
		int status = 0;
		bool fine = false;
		for (;;) {
			pid_t got = waitpid(survivor, &status, WNOHANG);
			took = now_ms() - began;
			if (got == survivor) {
				fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
				break;
			}
			if (took > limit_ms)
				break;
			/* A server with no connection has no end to see. */
			if (kill_server || shared->server_state != WAITING)
				waiting_since = 0;
			else if (waiting_since == 0)
				waiting_since = now_ms();
			else if (now_ms() - waiting_since > 30) {
				fine = true;
				took = 0;
				break;
			}
			sleep_us(200);
		}
		if (!fine) {
			failures++;
			fprintf(stderr, "round %d (seed %llu, %s, killed the %s): the survivor %s 0x%x after %lld ms\n",
				round, (unsigned long long)seed, modes[shared->mode],
				kill_server ? "server" : "client",
				took > limit_ms ? "has seen nothing, status" : "ended with status", status,
				(long long)took);
		}
		if (took > slowest)
			slowest = took;
		kill(survivor, SIGKILL);
		waitpid(survivor, NULL, 0);
	}
	printf("%d rounds, %d failures, slowest end seen after %lld ms\n", rounds, failures, (long long)slowest);
	return failures != 0;
}
