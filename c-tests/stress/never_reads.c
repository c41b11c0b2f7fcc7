/*
 * never_reads [-c connections]
 *
 * One process accepts and never reads; the other writes all it can on each connection. What the two and
 * the library's files take must stay within what the kernel's own buffers may take, and come back.
 */
#include <dirent.h>

#include "stress.h"

static long resident_kib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f == NULL || fscanf(f, "%*d %ld", &pages) != 1)
		pages = 0;
	if (f != NULL)
		fclose(f);
	return pages * 4;
}

/* Allocated blocks of the files in $LANDLINE_DIR. */
static long arena_kib(void)
{
	const char *folder = getenv("LANDLINE_DIR");
	DIR *directory = folder ? opendir(folder) : NULL;
	struct dirent *entry;
	long total = 0;
	while (directory != NULL && (entry = readdir(directory)) != NULL) {
		struct stat s;
		if (fstatat(dirfd(directory), entry->d_name, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(s.st_mode))
			total += s.st_blocks / 2;
	}
	if (directory != NULL)
		closedir(directory);
	return total;
}

int main(int argc, char **argv)
{
	int count = 32, option;
	while ((option = getopt(argc, argv, "c:")) != -1)
		if (option == 'c')
			count = atoi(optarg);
		else
			return 2;
	alarm(120);
	uint16_t port = 0;
	int listener = listener_at(&port), *fds = calloc((size_t)count, sizeof *fds);
	pid_t child = (pid_t)MUST(fork());
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < count; i++) {
			int fd = (int)MUST(accept(listener, NULL, NULL));
			char word[4];
			for (int j = 0; j < 8; j++) {
				if (receive_whole(fd, word, 4) != 4)
					die("no word");
				MUST(send(fd, word, 4, 0));
			}
		}
		pause();
		_exit(0);
	}
	close(listener);
	struct sockaddr_in addr = loopback(port);
	for (int i = 0; i < count; i++) {
		fds[i] = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
		MUST(connect(fds[i], (struct sockaddr *)&addr, sizeof addr));
		char word[4] = "word";
		for (int j = 0; j < 8; j++) {
			MUST(send(fds[i], word, 4, 0));
			if (receive_whole(fds[i], word, 4) != 4)
				die("no word");
		}
	}
	long before = resident_kib(), arena_before = arena_kib();
	static char room[65536];
	uint64_t total = 0;
	for (int round = 0; round < 40; round++)
		for (int i = 0; i < count; i++) {
			ssize_t n;
			while ((n = send(fds[i], room, sizeof room, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
				total += (uint64_t)n;
			if (errno != EAGAIN)
				die("send");
			struct pollfd p = { .fd = fds[i], .events = POLLOUT };
			if (round > 30)
				poll(&p, 1, 1);
		}
	long peak = resident_kib() - before, arena_peak = arena_kib() - arena_before;
	/* Linux itself lets a connection hold tcp_wmem[2] and tcp_rmem[2]: 4 and 6 MiB, and more lately. */
	uint64_t bound = (uint64_t)count * (48u << 20);
	if (total > bound || (uint64_t)peak * 1024 > bound || (uint64_t)arena_peak * 1024 > bound)
		die("not bounded: %llu bytes taken, %ld KiB resident, %ld KiB of files",
		    (unsigned long long)total, peak, arena_peak);
	/* A writer that blocks is released by its timeout. */
	struct timeval t = { 0, 200000 };
	MUST(setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
	ssize_t n;
	while ((n = send(fds[0], room, sizeof room, MSG_NOSIGNAL)) > 0)
		;
	if (errno != EAGAIN)
		die("a blocking write to who never reads");
	for (int i = 0; i < count; i++)
		close(fds[i]);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	/* A new connection gives the library its chance to notice the death. */
	port = 0;
	listener = listener_at(&port);
	addr = loopback(port);
	int a = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(a, (struct sockaddr *)&addr, sizeof addr));
	int b = (int)MUST(accept(listener, NULL, NULL));
	close(a);
	close(b);
	long left = arena_kib() - arena_before;
	printf("%d connections took %llu KiB in all; files grew by %ld KiB, of which %ld KiB are left\n", count,
	       (unsigned long long)total / 1024, arena_peak, left);
	if (arena_peak > 4096 && left > arena_peak / 2)
		die("the memory of closed connections has not come back");
	return 0;
}
