/*
 * corrupt [-d seconds] [-s seed] [-k tcp | pair | path | abstract | udp | packets]
 *
 * While two processes talk, a third scribbles random bytes over the allocated pages of every file in
 * $LANDLINE_DIR. The two may get any error; they may not die of a signal, nor stay in a call for more
 * than ten seconds. Afterwards a new pair must be able to talk.
 */
#include <dirent.h>

#include "stress.h"

enum kind { TCP, PAIR, PATH, ABSTRACT, UDP, PACKETS };
static const char *const kinds[] = { "tcp", "pair", "path", "abstract", "udp", "packets" };
static enum kind kind;
static int type = SOCK_STREAM; /* of a pair */
static struct sockaddr_un name;
static socklen_t name_length;

struct shared { volatile int port; volatile uint64_t beats[2], good[2], errors[2], scribbles; };

static struct shared *shared;

static bool ready(int fd, short events, int who)
{
	struct pollfd p = { .fd = fd, .events = events };
	shared->beats[who]++;
	int n = poll(&p, 1, kind == TCP ? 30 : 2);
	shared->beats[who]++;
	return n > 0 && (p.revents & events);
}

/* A descriptor with the next byte. */
static ssize_t pass(int fd)
{
	char byte = 'x';
	union { struct cmsghdr header; char room[CMSG_SPACE(sizeof fd)]; } control = { 0 };
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	control.header = (struct cmsghdr){ CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* One connection's life: sends and receives at random until something is wrong or it is old. */
static void talk(int fd, int who, int turns)
{
	static char room[1 << 16];
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
	for (int i = 0; i < turns; i++) {
		ssize_t n;
		if (dice(2)) {
			if (!ready(fd, POLLOUT, who)) {
				if (kind == TCP || dice(50) == 0)
					break;
				continue;
			}
			n = kind != TCP && dice(1000) == 0 ? pass(fd) : send(fd, room, 1 + dice(sizeof room), MSG_NOSIGNAL);
		} else {
			if (!ready(fd, POLLIN, who) && dice(kind == TCP ? 4 : 50) == 0)
				break;
			n = recv(fd, room, 1 + dice(sizeof room), 0);
			if (n == 0)
				break;
		}
		shared->beats[who]++;
		if (n > 0)
			shared->good[who]++;
		else if (errno != EAGAIN) {
			shared->errors[who]++;
			break;
		}
	}
	shared->beats[who]++;
	close(fd);
	shared->beats[who]++;
}

/* Both at one pair, which was made before the fork, and then made anew in the same process. */
static void pairs(int who)
{
	for (;;) {
		int fds[2];
		if (socketpair(AF_UNIX, type, 0, fds) < 0)
			continue;
		pid_t child = fork();
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			dice_state = mix(dice_state + (uint64_t)getpid());
			close(fds[0]);
			talk(fds[1], who, 3000);
			_exit(0);
		}
		close(fds[1]);
		talk(fds[0], who, 4000);
		int status;
		int64_t limit = now_ms() + 10000;
		shared->beats[who]++;
		while (child > 0 && waitpid(child, &status, WNOHANG) == 0 && now_ms() < limit)
			sleep_us(100);
		if (now_ms() >= limit || (child > 0 && status != 0)) {
			fprintf(stderr, "the other end of the pair: status 0x%x%s\n", status, now_ms() >= limit ? ", hangs" : "");
			_exit(1);
		}
		dice_state++;
	}
}

/* A new socket after some thousand datagrams, the server's at the same port. */
static void udp(int who)
{
	static char room[1 << 16];
	for (;;) {
		uint16_t port = who == 0 ? (uint16_t)shared->port : 0;
		struct sockaddr_in to, from = { 0 }, own = loopback(port);
		socklen_t length = sizeof own;
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0) {
			close(fd);
			shared->beats[who]++;
			continue;
		}
		if (who == 0 && getsockname(fd, (struct sockaddr *)&own, &length) == 0)
			shared->port = ntohs(own.sin_port);
		to = loopback((uint16_t)shared->port);
		if (who == 1 && dice(2))
			connect(fd, (struct sockaddr *)&to, sizeof to);
		for (int i = 0; i < 3000; i++) {
			ssize_t n;
			if (who == 1) {
				n = sendto(fd, room, dice(dice(2) ? 100 : 60000), 0, (struct sockaddr *)&to, sizeof to);
				shared->beats[who]++;
				shared->good[who] += n > 0;
				shared->errors[who] += n < 0;
			}
			if (!ready(fd, POLLIN, who) || (who == 1 && dice(2)))
				continue;
			length = sizeof from;
			n = recvfrom(fd, room, sizeof room, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
			shared->beats[who]++;
			shared->good[who] += n > 0;
			shared->errors[who] += n < 0;
			if (who == 0 && n >= 0 && dice(2))
				sendto(fd, room, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&from, sizeof from);
			shared->beats[who]++;
		}
		close(fd);
		shared->beats[who]++;
	}
}

static void server(void)
{
	if (kind == UDP)
		udp(0);
	if (kind == PAIR) {
		shared->port = 1;
		pairs(0);
	}
	uint16_t port = 1;
	int listener = kind == TCP ? (port = 0, listener_at(&port)) : unix_listener(&name, name_length);
	MUST(fcntl(listener, F_SETFL, O_NONBLOCK));
	shared->port = port;
	for (;;) {
		if (!ready(listener, POLLIN, 0))
			continue;
		int fd = accept(listener, NULL, NULL);
		if (fd >= 0)
			talk(fd, 0, 4000);
	}
}

static void client(void)
{
	if (kind == UDP)
		udp(1);
	if (kind == PAIR)
		pairs(1);
	for (;;) {
		int fd = socket(kind == TCP ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
		shared->beats[1]++;
		if (fd < 0)
			continue;
		struct sockaddr_in addr = loopback((uint16_t)shared->port);
		int r = kind == TCP ? connect(fd, (struct sockaddr *)&addr, sizeof addr) :
				      connect(fd, (struct sockaddr *)&name, name_length);
		shared->beats[1]++;
		if (r == 0)
			talk(fd, 1, 3000);
		else
			close(fd);
	}
}

/* One word for each: a scribbled page, at random, of those that exist. */
static void scribble(void)
{
	const char *folder = getenv("LANDLINE_DIR");
	for (;;) {
		DIR *directory = folder ? opendir(folder) : NULL;
		struct dirent *entry;
		while (directory != NULL && (entry = readdir(directory)) != NULL) {
			char path[4096];
			snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
			struct stat s;
			int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
			if (fd < 0)
				continue;
			if (fstat(fd, &s) < 0 || !S_ISREG(s.st_mode) || s.st_size == 0) {
				close(fd);
				continue;
			}
			for (int i = 0; i < 64; i++) {
				off_t at = lseek(fd, (off_t)dice((uint64_t)s.st_size), SEEK_DATA);
				if (at < 0 || dice(3) == 0)
					at = lseek(fd, (off_t)dice(1 << 20), SEEK_DATA);
				if (at < 0)
					continue;
				at += (off_t)dice(4096);
				char bytes[64];
				size_t length = 1 + dice(dice(2) ? 8 : sizeof bytes);
				for (size_t j = 0; j < length; j++)
					bytes[j] = (char)(dice(4) ? dice(256) : dice(2) ? 0 : 255);
				if (at + (off_t)length <= s.st_size && pwrite(fd, bytes, length, at) > 0)
					shared->scribbles++;
			}
			close(fd);
		}
		if (directory != NULL)
			closedir(directory);
		sleep_us(2000);
	}
}

static pid_t start(void (*body)(void), uint64_t seed)
{
	pid_t pid = (pid_t)MUST(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dice_state = seed;
		body();
		_exit(1);
	}
	return pid;
}

static bool fresh_datagrams(void)
{
	uint16_t ports[2] = { 0, 0 };
	int a = udp_at(&ports[0]), b = udp_at(&ports[1]);
	struct sockaddr_in to[2] = { loopback(ports[0]), loopback(ports[1]) };
	if (connect(a, (struct sockaddr *)&to[1], sizeof to[1]) < 0 || connect(b, (struct sockaddr *)&to[0], sizeof to[0]) < 0)
		return false;
	for (uint32_t i = 0, word; i < 100; i++)
		if (send(a, &i, 4, 0) != 4 || recv(b, &word, 4, 0) != 4 || word != i || send(b, &i, 4, 0) != 4 ||
		    recv(a, &word, 4, 0) != 4 || word != i)
			return false;
	return true;
}

static bool fresh_pair_talks(void)
{
	for (int attempt = 0; attempt < 20; attempt++) {
		uint16_t port = 0;
		int pid = (int)MUST(fork());
		if (pid == 0) {
			alarm(10);
			if (kind == UDP)
				_exit(!fresh_datagrams());
			int pair[2], listener = -1;
			if (kind == PAIR)
				MUST(socketpair(AF_UNIX, type, 0, pair));
			else if (kind == TCP)
				listener = listener_at(&port);
			else {
				name_length = unix_address(&name, kind == PATH, (uint64_t)attempt);
				listener = unix_listener(&name, name_length);
			}
			struct sockaddr_in addr = loopback(port);
			pid_t other = fork();
			if (other == 0) {
				alarm(10);
				int fd = kind == PAIR ? pair[0] : socket(kind == TCP ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
				uint32_t word;
				if (kind == PAIR)
					close(pair[1]);
				else if ((kind == TCP ? connect(fd, (struct sockaddr *)&addr, sizeof addr) :
							connect(fd, (struct sockaddr *)&name, name_length)) < 0)
					_exit(1);
				for (uint32_t i = 0; i < 100; i++)
					if (send(fd, &i, 4, MSG_NOSIGNAL) != 4 ||
					    receive_whole(fd, &word, 4) != 4 || word != i)
						_exit(1);
				_exit(0);
			}
			if (kind == PAIR)
				close(pair[0]);
			int fd = kind == PAIR ? pair[1] : accept(listener, NULL, NULL), status = 1;
			uint32_t word;
			while (fd >= 0 && receive_whole(fd, &word, 4) == 4)
				if (send(fd, &word, 4, MSG_NOSIGNAL) != 4)
					break;
			waitpid(other, &status, 0);
			_exit(status != 0);
		}
		int status = 1;
		waitpid(pid, &status, 0);
		if (status == 0)
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	int seconds = 5, option, failures = 0;
	bool recovers = true;
	uint64_t seed = 1;
	while ((option = getopt(argc, argv, "d:s:k:n")) != -1)
		switch (option) {
		case 'n': /* a private net has no other way than its arena */
			recovers = false;
			break;
		case 'd':
			seconds = atoi(optarg);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'k':
			while (kind < PACKETS && strcmp(kinds[kind], optarg) != 0)
				kind++;
			if (kind == PACKETS) {
				type = SOCK_SEQPACKET;
				kind = PAIR;
			}
			break;
		default:
			return 2;
		}
	name_length = unix_address(&name, kind == PATH, seed);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static const char *const names[] = { "server", "client" };
	pid_t pids[2];
	pids[0] = start(server, mix(seed));
	while (shared->port == 0)
		sleep_us(100);
	pids[1] = start(client, mix(seed + 1));
	sleep_us(200000);
	pid_t scribbler = start(scribble, mix(seed + 2));
	uint64_t last[2] = { 0, 0 };
	int64_t end = now_ms() + seconds * 1000, moved[2] = { now_ms(), now_ms() };
	while (now_ms() < end && failures == 0) {
		sleep_us(20000);
		for (int i = 0; i < 2; i++) {
			int status;
			if (waitpid(pids[i], &status, WNOHANG) == pids[i]) {
				fprintf(stderr, "the %s ended, wait status 0x%x (signal %d)\n", names[i], status,
					WIFSIGNALED(status) ? WTERMSIG(status) : 0);
				pids[i] = -1;
				failures++;
				break;
			}
			if (shared->beats[i] != last[i]) {
				last[i] = shared->beats[i];
				moved[i] = now_ms();
			} else if (now_ms() - moved[i] > 10000) {
				fprintf(stderr, "the %s has been in one call for ten seconds\n", names[i]);
				failures++;
			}
		}
	}
	if (kind == PATH)
		unlink(name.sun_path);
	kill(scribbler, SIGKILL);
	waitpid(scribbler, NULL, 0);
	for (int i = 0; i < 2; i++) {
		int status = 0;
		if (pids[i] < 0)
			continue;
		kill(pids[i], SIGTERM);
		int64_t limit = now_ms() + 10000;
		pid_t got;
		while ((got = waitpid(pids[i], &status, WNOHANG)) == 0 && now_ms() < limit)
			sleep_us(1000);
		if (got == 0) {
			fprintf(stderr, "the %s does not end when asked\n", names[i]);
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
			failures++;
		} else if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM) {
			fprintf(stderr, "the %s ended with wait status 0x%x\n", names[i], status);
			failures++;
		}
	}
	if (recovers && !fresh_pair_talks()) {
		fprintf(stderr, "afterwards, twenty new pairs in turn could not talk\n");
		failures++;
	}
	printf("%llu scribbles; %llu and %llu calls that moved bytes, %llu and %llu errors; %d failures\n",
	       (unsigned long long)shared->scribbles, (unsigned long long)shared->good[0],
	       (unsigned long long)shared->good[1], (unsigned long long)shared->errors[0],
	       (unsigned long long)shared->errors[1], failures);
	return failures != 0;
}
