/*
 * corrupt [-d seconds] [-s seed]
 *
 * While two processes talk, a third scribbles random bytes over the allocated pages of every file in
 * $LANDLINE_DIR. The two may get any error; they may not die of a signal, nor stay in a call for more
 * than ten seconds. Afterwards a new pair must be able to talk.
 */
#include <dirent.h>

#include "stress.h"

struct shared { volatile int port; volatile uint64_t beats[2], good[2], errors[2], scribbles; };

static struct shared *shared;

static bool ready(int fd, short events, int who)
{
	struct pollfd p = { .fd = fd, .events = events };
	shared->beats[who]++;
	int n = poll(&p, 1, 30);
	shared->beats[who]++;
	return n > 0 && (p.revents & events);
}

/* One connection's life: sends and receives at random until something is wrong or it is old. */
static void talk(int fd, int who, int turns)
{
	static char room[1 << 16];
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
	for (int i = 0; i < turns; i++) {
		ssize_t n;
		if (dice(2)) {
			if (!ready(fd, POLLOUT, who))
				break;
			n = send(fd, room, 1 + dice(sizeof room), MSG_NOSIGNAL);
		} else {
			if (!ready(fd, POLLIN, who) && dice(4) == 0)
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

static void server(void)
{
	uint16_t port = 0;
	int listener = listener_at(&port);
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
	for (;;) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		shared->beats[1]++;
		if (fd < 0)
			continue;
		struct sockaddr_in addr = loopback((uint16_t)shared->port);
		int r = connect(fd, (struct sockaddr *)&addr, sizeof addr);
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

static bool fresh_pair_talks(void)
{
	for (int attempt = 0; attempt < 20; attempt++) {
		uint16_t port = 0;
		int pid = (int)MUST(fork());
		if (pid == 0) {
			alarm(10);
			int listener = listener_at(&port);
			struct sockaddr_in addr = loopback(port);
			pid_t other = fork();
			if (other == 0) {
				alarm(10);
				int fd = socket(AF_INET, SOCK_STREAM, 0);
				uint32_t word;
				if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
					_exit(1);
				for (uint32_t i = 0; i < 100; i++)
					if (send(fd, &i, 4, MSG_NOSIGNAL) != 4 ||
					    receive_whole(fd, &word, 4) != 4 || word != i)
						_exit(1);
				_exit(0);
			}
			int fd = accept(listener, NULL, NULL), status = 1;
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
	uint64_t seed = 1;
	while ((option = getopt(argc, argv, "d:s:")) != -1)
		switch (option) {
		case 'd':
			seconds = atoi(optarg);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
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
	if (!fresh_pair_talks()) {
		fprintf(stderr, "afterwards, twenty new pairs in turn could not talk\n");
		failures++;
	}
	printf("%llu scribbles; %llu and %llu calls that moved bytes, %llu and %llu errors; %d failures\n",
	       (unsigned long long)shared->scribbles, (unsigned long long)shared->good[0],
	       (unsigned long long)shared->good[1], (unsigned long long)shared->errors[0],
	       (unsigned long long)shared->errors[1], failures);
	return failures != 0;
}
