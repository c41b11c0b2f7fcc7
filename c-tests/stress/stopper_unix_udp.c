/*
 * stopper_unix_udp [-n rounds] [-t limit_ms] [-s seed] [-q]
 *
 * One of several processes that talk over UDP and AF_UNIX is stopped (SIGSTOP) at a random moment. A sender that is
 * stopped must not keep other senders and their receiver from talking, nor a receiver from closing its socket, a
 * receiver that is stopped not those who send to it, and whoever is at the other end of a stopped one's stream must get
 * on without it; with -q the streams are SOCK_SEQPACKET pairs. Within the limit (3000 ms) all of them have done some more; once it goes on, so does everything.
 */
#include "stress.h"

enum { RECEIVER, SENDER_1, SENDER_2, WRITER, READER, PAIRS, CLOSER, FLOODER, PROCESSES };
static const char *const names[] = { "receiver", "sender", "other sender", "writer", "reader", "maker of pairs", "one that closes",
				     "one that floods" };

static volatile uint64_t *beats;
static volatile uint16_t *flooded;
static uint16_t port;
static int receiver, pair[2], type = SOCK_STREAM;
static char room[1 << 16];

/* Answers all that end in 1. */
static void receives(void)
{
	for (;;) {
		struct sockaddr_in from;
		socklen_t length = sizeof from;
		ssize_t n = MUST(recvfrom(receiver, room, sizeof room, 0, (struct sockaddr *)&from, &length));
		if (n > 0 && room[n - 1] == 1)
			MUST(sendto(receiver, room, 8, MSG_DONTWAIT, (struct sockaddr *)&from, sizeof from));
		beats[RECEIVER]++;
	}
}

/* One beat an answer where the receiver runs, one a send where it is stopped. */
static void sends(int who)
{
	uint16_t own = 0;
	int fd = udp_at(&own);
	struct sockaddr_in to = loopback(port);
	MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
	for (;;) {
		size_t length = 1 + dice(dice(2) ? 100 : 30000);
		room[length - 1] = dice(4) == 0;
		struct pollfd p = { .fd = fd, .events = POLLIN };
		MUST(send(fd, room, length, 0));
		if (room[length - 1] && MUST(poll(&p, 1, 20)) > 0)
			MUST(recv(fd, room, sizeof room, 0));
		room[length - 1] = 0;
		beats[who]++;
	}
}

static void sends_1(void)
{
	close(receiver);
	sends(SENDER_1);
}

static void sends_2(void)
{
	close(receiver);
	sends(SENDER_2);
}

static void streams(int who)
{
	int fd = pair[who == READER];
	close(pair[who != READER]);
	for (;;) {
		ssize_t n = who == WRITER ? send(fd, room, 1 + dice(sizeof room), MSG_DONTWAIT | MSG_NOSIGNAL) :
					    recv(fd, room, 1 + dice(sizeof room), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			die("the stream ended");
		struct pollfd p = { .fd = fd, .events = who == WRITER ? POLLOUT : POLLIN };
		if (n < 0)
			MUST(poll(&p, 1, 5));
		beats[who]++;
	}
}

static void writes(void)
{
	streams(WRITER);
}

static void reads(void)
{
	streams(READER);
}

/* Makes, uses and closes pairs and datagram sockets: little but what others must wait for. */
static void makes_pairs(void)
{
	for (;;) {
		int fds[2];
		uint16_t own = 0;
		MUST(socketpair(AF_UNIX, type, 0, fds));
		for (int i = 0; i < 8; i++) {
			MUST(send(fds[i % 2], "word", 4, 0));
			if (receive_whole(fds[1 - i % 2], room, 4) != 4)
				die("no word");
		}
		close(fds[0]);
		close(fds[1]);
		int fd = udp_at(&own);
		struct sockaddr_in to = loopback(own);
		MUST(sendto(fd, "word", 4, 0, (struct sockaddr *)&to, sizeof to));
		MUST(recv(fd, room, 4, 0));
		close(fd);
		beats[PAIRS]++;
	}
}

/* Opens a socket, hears a little of the one that floods it, and closes it. */
static void closes(void)
{
	for (;;) {
		uint16_t own = 0;
		int fd = udp_at(&own);
		*flooded = own;
		for (int64_t end = now_ms() + 3; now_ms() < end;)
			recv(fd, room, sizeof room, MSG_DONTWAIT);
		close(fd);
		beats[CLOSER]++;
	}
}

/* Is hardly ever stopped elsewhere than in the middle of a large datagram. */
static void floods(void)
{
	uint16_t own = 0;
	int fd = udp_at(&own);
	for (;;) {
		struct sockaddr_in to = loopback(*flooded);
		sendto(fd, room, 60000, 0, (struct sockaddr *)&to, sizeof to);
		beats[FLOODER]++;
	}
}

static pid_t start(void (*body)(void), uint64_t seed)
{
	pid_t pid = (pid_t)MUST(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dice_state = seed;
		body();
	}
	return pid;
}

int main(int argc, char **argv)
{
	int rounds = 100, limit_ms = 3000, option, failures = 0;
	uint64_t seed = 1;
	while ((option = getopt(argc, argv, "n:t:s:q")) != -1)
		switch (option) {
		case 'n': rounds = atoi(optarg); break;
		case 't': limit_ms = atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'q': type = SOCK_SEQPACKET; break;
		default: return 2;
		}
	dice_state = seed;
	beats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	flooded = (volatile uint16_t *)&beats[PROCESSES];
	*flooded = 9;
	receiver = udp_at(&port);
	MUST(socketpair(AF_UNIX, type, 0, pair));
	void (*const bodies[])(void) = { receives, sends_1, sends_2, writes, reads, makes_pairs, closes, floods };
	pid_t pids[PROCESSES];
	for (int i = 0; i < PROCESSES; i++)
		pids[i] = start(bodies[i], mix(seed + (uint64_t)i));
	close(receiver);
	close(pair[0]);
	close(pair[1]);
	int64_t worst = 0;
	for (int round = 0; round < rounds && failures == 0; round++) {
		int victim = (int)dice(PROCESSES);
		sleep_us(500 + (unsigned)dice(5000));
		for (int step = 0; step < 2; step++) {
			MUST(kill(pids[victim], step == 0 ? SIGSTOP : SIGCONT));
			sleep_us(300);
			int64_t began = now_ms();
			uint64_t before[PROCESSES];
			memcpy(before, (void *)beats, sizeof before);
			for (int i = 0; i < PROCESSES; i++) {
				while ((i != victim || step == 1) && beats[i] < before[i] + 3 && failures == 0) {
					int status;
					if (waitpid(pids[i], &status, WNOHANG) == pids[i]) {
						fprintf(stderr, "round %d: the %s ended with status 0x%x\n", round, names[i], status);
						pids[i] = 0;
						failures++;
					} else if (now_ms() - began > limit_ms) {
						fprintf(stderr, "round %d (seed %llu): the %s is stuck while the %s %s\n", round,
							(unsigned long long)seed, names[i], names[victim],
							step == 0 ? "is stopped" : "goes on again");
						failures++;
					}
					sleep_us(100);
				}
			}
			if (now_ms() - began > worst)
				worst = now_ms() - began;
		}
	}
	for (int i = 0; i < PROCESSES; i++)
		if (pids[i] > 0) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
	printf("%d rounds, the slowest %d ms\n", rounds, (int)worst);
	return failures != 0;
}
