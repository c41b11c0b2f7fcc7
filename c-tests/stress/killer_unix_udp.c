/*
 * killer_unix_udp [-n rounds] [-t limit_ms] [-s seed] [-k unix | seqpacket | udp]
 *
 * As killer, over AF_UNIX (socketpair, path, abstract name) and UDP. Over AF_UNIX the survivor must see the end of
 * the stream, or of the SOCK_SEQPACKET connection, within the limit (1000 ms). Over UDP the clients are connected and must be refused after the server's
 * death, and the server must go on answering one client after the death of another. What takes the place of the
 * dead, at the same address, must be able to talk.
 */
#include "stress.h"

enum { PAIR, PATH, ABSTRACT };
enum { ECHO, CLIENT_STREAMS, SERVER_STREAMS, WITH_DESCRIPTORS };

struct shared {
	volatile int mode, dead, bound, established[2], sends_after[2];
	volatile uint16_t port;
	volatile uint64_t answers[3];
};

static struct shared *shared;
static char room[1 << 16];
static int pair[2], listener = -1, type = SOCK_STREAM;
static struct sockaddr_un name;
static socklen_t name_length;

static void seen(void)
{
	_exit(0);
}

static bool is_end(void)
{
	return errno == EPIPE || errno == ECONNRESET;
}

static void put(int fd, size_t length)
{
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec v = { room, length };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	if (shared->mode == WITH_DESCRIPTORS && dice(50) == 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		control.header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	}
	while (v.iov_len > 0) {
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
		if (n < 0 && is_end())
			seen();
		v.iov_len -= (size_t)MUST(n);
		m.msg_controllen = 0;
	}
}

static void get(int fd, size_t length)
{
	while (length > 0) {
		ssize_t n = recv(fd, room, length, 0);
		if (n == 0 || (n < 0 && is_end()))
			seen();
		length -= (size_t)MUST(n);
	}
}

static void talk(int fd, bool server)
{
	shared->established[server] = 1;
	for (;;) {
		size_t length = 1 + (shared->mode == ECHO || dice(2) ? dice(64) : dice(sizeof room));
		if (shared->mode == CLIENT_STREAMS || shared->mode == SERVER_STREAMS) {
			if (server == (shared->mode == SERVER_STREAMS))
				put(fd, length);
			else
				get(fd, length);
			continue;
		}
		/* Each sends first what the other waits for; the lengths are the same only where they are fixed. */
		length = 48;
		if (!server)
			put(fd, length);
		get(fd, length);
		if (server)
			put(fd, length);
	}
}

static void unix_server(void)
{
	if (listener < 0)
		close(pair[0]);
	talk(listener < 0 ? pair[1] : (int)MUST(accept(listener, NULL, NULL)), true);
}

static void unix_client(void)
{
	int fd = pair[0];
	if (listener < 0) {
		close(pair[1]);
	} else {
		close(listener);
		fd = (int)MUST(socket(AF_UNIX, type, 0));
		if (connect(fd, (struct sockaddr *)&name, name_length) < 0) {
			if (errno == ECONNREFUSED || errno == ECONNRESET)
				seen();
			die("connect");
		}
	}
	talk(fd, false);
}

static void udp_server(void)
{
	uint16_t port = shared->port;
	int fd = udp_at(&port);
	struct sockaddr_in from;
	shared->port = port;
	shared->bound = 1;
	for (;;) {
		socklen_t length = sizeof from;
		ssize_t n = recvfrom(fd, room, sizeof room, 0, (struct sockaddr *)&from, &length);
		MUST(n);
		if (n == 1)
			continue;
		MUST(sendto(fd, room, (size_t)n, 0, (struct sockaddr *)&from, length));
	}
}

/* Number 2 comes after a death, and is not to be refused. */
static void udp_client(int number)
{
	uint16_t own = 0;
	int fd = udp_at(&own);
	struct sockaddr_in to = loopback(shared->port);
	struct timeval t = { 0, 20000 };
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
	for (;;) {
		bool wants_answer = shared->mode == ECHO || dice(8) == 0, after = number < 2 && shared->dead;
		ssize_t n = send(fd, room, wants_answer ? 2 + dice(5000) : 1, 0);
		if (n >= 0 && wants_answer)
			n = recv(fd, room, sizeof room, 0);
		if (n < 0 && errno == ECONNREFUSED) {
			if (number == 2)
				die("refused by one that lives");
			seen();
		}
		if (n < 0 && errno != EAGAIN)
			die("udp client");
		if (n >= 0 && wants_answer)
			shared->answers[number]++;
		if (after && wants_answer)
			shared->sends_after[number]++;
	}
}

static void udp_client_0(void)
{
	udp_client(0);
}

static void udp_client_1(void)
{
	udp_client(1);
}

static void udp_client_2(void)
{
	udp_client(2);
}

static pid_t start(void (*body)(void))
{
	pid_t pid = (pid_t)MUST(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dice_state = mix(dice_state + (uint64_t)getpid());
		alarm(30);
		body();
		_exit(1);
	}
	return pid;
}

static void end(pid_t pid)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static int64_t slowest;
static int limit_ms = 1000, most_sends;

/* Whether the process ends by itself, with 0. */
static bool ends(pid_t pid, const char *what)
{
	int status;
	int64_t began = now_ms(), took;
	while (waitpid(pid, &status, WNOHANG) != pid) {
		took = now_ms() - began;
		if (took > limit_ms) {
			fprintf(stderr, "%s has seen nothing after %lld ms\n", what, (long long)took);
			end(pid);
			return false;
		}
		sleep_us(200);
	}
	took = now_ms() - began;
	if (took > slowest)
		slowest = took;
	if (status != 0)
		fprintf(stderr, "%s ended with status 0x%x\n", what, status);
	return status == 0;
}

static bool goes_on(int number, const char *what)
{
	uint64_t before = shared->answers[number];
	for (int64_t began = now_ms(); shared->answers[number] < before + 5; sleep_us(200))
		if (now_ms() - began > limit_ms) {
			fprintf(stderr, "%s gets no answers\n", what);
			return false;
		}
	return true;
}

static bool unix_round(int round)
{
	int kind = (int)dice(3);
	shared->mode = (int)dice(4);
	listener = -1;
	if (kind == PAIR) {
		MUST(socketpair(AF_UNIX, type, 0, pair));
	} else {
		name_length = unix_address(&name, kind == PATH, (uint64_t)round % 2);
		listener = unix_listener_of(type, &name, name_length);
	}
	pid_t server = start(unix_server), client = start(unix_client);
	if (kind == PAIR) {
		close(pair[0]);
		close(pair[1]);
	} else {
		close(listener);
	}
	for (int64_t began = now_ms(); !(shared->established[0] && shared->established[1]); sleep_us(50))
		if (now_ms() - began > limit_ms) {
			fprintf(stderr, "round %d: no connection\n", round);
			end(server);
			end(client);
			return false;
		}
	sleep_us((unsigned)dice(dice(3) ? 20000 : 500));
	bool kills_server = dice(2);
	end(kills_server ? server : client);
	static const char *const kinds[] = { "pair", "path", "abstract" };
	static const char *const modes[] = { "echo", "client streams", "server streams", "with descriptors" };
	char what[100];
	snprintf(what, sizeof what, "round %d: the %s (%s, %s)", round, kills_server ? "client" : "server", kinds[kind],
		 modes[shared->mode]);
	bool fine = ends(kills_server ? client : server, what);
	if (kind == PATH)
		unlink(name.sun_path);
	return fine;
}

static bool udp_round(int round)
{
	shared->mode = dice(2) ? ECHO : CLIENT_STREAMS;
	pid_t server = start(udp_server);
	while (!shared->bound)
		sleep_us(50);
	pid_t clients[3] = { start(udp_client_0), start(udp_client_1), 0 };
	sleep_us((unsigned)dice(dice(3) ? 20000 : 2000));
	char what[100];
	bool fine = true;
	if (dice(2)) {
		end(server);
		shared->dead = 1;
		for (int i = 0; i < 2; i++) {
			snprintf(what, sizeof what, "round %d (%s): client %d of the dead server", round,
				 shared->mode == ECHO ? "echo" : "streams", i);
			fine &= ends(clients[i], what);
			clients[i] = 0;
			if (shared->sends_after[i] > most_sends)
				most_sends = shared->sends_after[i];
			if (shared->sends_after[i] > 5) {
				fprintf(stderr, "%s sent %d more\n", what, shared->sends_after[i]);
				fine = false;
			}
		}
		shared->bound = 0;
		server = start(udp_server);
		for (int64_t began = now_ms(); !shared->bound && now_ms() - began < limit_ms;)
			sleep_us(50);
		clients[2] = start(udp_client_2);
		snprintf(what, sizeof what, "round %d: a client of the new server", round);
	} else {
		end(clients[0]);
		clients[0] = 0;
		snprintf(what, sizeof what, "round %d: the other client", round);
		fine &= goes_on(1, what);
		clients[2] = start(udp_client_2);
		snprintf(what, sizeof what, "round %d: a new client", round);
	}
	fine &= goes_on(2, what);
	for (int i = 0; i < 3; i++)
		end(clients[i]);
	end(server);
	return fine;
}

int main(int argc, char **argv)
{
	int rounds = 100, option, failures = 0;
	uint64_t seed = 1;
	const char *only = "";
	while ((option = getopt(argc, argv, "n:t:s:k:")) != -1)
		switch (option) {
		case 'n': rounds = atoi(optarg); break;
		case 't': limit_ms = atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'k': only = optarg; break;
		default: return 2;
		}
	if (strcmp(only, "seqpacket") == 0)
		type = SOCK_SEQPACKET;
	signal(SIGPIPE, SIG_IGN);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int round = 0; round < rounds && failures < 5; round++) {
		dice_state = mix(seed * 100000 + (uint64_t)round);
		memset((void *)shared, 0, sizeof *shared);
		bool is_udp = *only ? strcmp(only, "udp") == 0 : round % 2;
		if (!(is_udp ? udp_round(round) : unix_round(round)))
			failures++;
	}
	printf("%d rounds, %d failures, slowest end seen after %lld ms and %d sends\n", rounds, failures,
	       (long long)slowest, most_sends);
	return failures != 0;
}
