/* Children, time and signals. */
#include <dirent.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "internal.h"

int hang_seconds(void)
{
	const char *given = getenv("C_TESTS_HANG_SECONDS");
	int seconds = given == NULL ? 0 : atoi(given);
	return seconds > 0 ? seconds : 20;
}

void become_child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	checks_are_in_child();
	signal(SIGALRM, SIG_DFL);
	alarm((unsigned)hang_seconds() + 5);
}

static bool is_among(int fd, const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] == fd)
			return true;
	return false;
}

void close_descriptors(const int *keep, size_t kept)
{
	DIR *directory = opendir("/proc/self/fd");
	if (directory == NULL)
		return;
	struct dirent *entry;
	int victims[512];
	size_t count = 0;
	while ((entry = readdir(directory)) != NULL && count < 512) {
		int fd = atoi(entry->d_name);
		if (fd <= STDERR_FILENO || is_among(fd, keep, kept) || fd == dirfd(directory))
			continue;
		char link[64], target[256];
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, target, sizeof target - 1);
		if (n < 0)
			continue;
		target[n] = 0;
		/* What a library keeps open for itself is not ours to close. */
		if (strncmp(target, "/dev/shm", 8) == 0 || strncmp(target, "/memfd:", 7) == 0)
			continue;
		victims[count++] = fd;
	}
	closedir(directory);
	for (size_t i = 0; i < count; i++)
		close(victims[i]);
}

pid_t fork_child(void (*body)(void *), void *argument)
{
	fflush(NULL);
	pid_t pid = fork();
	OK(pid);
	if (pid == 0) {
		become_child();
		body(argument);
		_exit(0);
	}
	return pid;
}

void join_child(pid_t pid)
{
	int status = 0;
	pid_t got;
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	EQ(got, pid);
	if (WIFSIGNALED(status))
		EQ(WTERMSIG(status), 0);
	EQ(WEXITSTATUS(status), 0);
}

void in_child(void (*body)(void *), void *argument)
{
	join_child(fork_child(body, argument));
}

pid_t start_echo(bool statically, int fd, ...)
{
	char path[PATH_MAX], *argv[8] = { "echo" };
	ssize_t n = OK(readlink("/proc/self/exe", path, sizeof path - 40));
	path[n] = 0;
	sprintf(strrchr(path, '/'), "/helpers/echo%s", statically ? "-static" : "");
	va_list arguments;
	va_start(arguments, fd);
	for (int i = 1; i < 7 && (argv[i] = va_arg(arguments, char *)) != NULL; i++)
		;
	va_end(arguments);
	fflush(NULL);
	pid_t pid = (pid_t)OK(fork());
	if (pid == 0) {
		become_child();
		OK(fcntl(fd, F_SETFD, 0));
		execv(path, argv);
		_exit(98);
	}
	return pid;
}

void set_nonblock(int fd, bool on)
{
	int flags = (int)OK(fcntl(fd, F_GETFL));
	OK(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

bool is_nonblock(int fd)
{
	return (OK(fcntl(fd, F_GETFL)) & O_NONBLOCK) != 0;
}

void set_timeout(int fd, int name, int ms)
{
	struct timeval t = { ms / 1000, (ms % 1000) * 1000 };
	OK(setsockopt(fd, SOL_SOCKET, name, &t, sizeof t));
}

void sleep_ms(int ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000L };
	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int poll_one(int fd, int events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = (short)events };
	int n;
	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	OK(n);
	return n == 0 ? 0 : p.revents;
}

int poll_until(int fd, int events, int wanted)
{
	int seen = 0;
	for (int64_t end = now_ms() + 5000; now_ms() < end; sleep_ms(1)) {
		seen = poll_one(fd, events, 0);
		if ((seen & wanted) == wanted)
			return seen;
	}
	EQ(seen, wanted);
	return seen;
}

static volatile sig_atomic_t usr1_seen, pipe_seen;
static timer_t timer;
static bool timer_runs;

static void on_usr1(int signal)
{
	(void)signal;
	usr1_seen++;
}

static void on_pipe(int signal)
{
	(void)signal;
	pipe_seen++;
}

void signals_start(int period_ms, int sa_flags)
{
	struct sigaction action = { .sa_handler = on_usr1, .sa_flags = sa_flags };
	OK(sigaction(SIGUSR1, &action, NULL));
	usr1_seen = 0;
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	struct timespec period = { period_ms / 1000, (period_ms % 1000) * 1000000L };
	struct itimerspec times = { period, period };
	OK(timer_settime(timer, 0, &times, NULL));
	timer_runs = true;
}

void signals_stop(void)
{
	if (timer_runs)
		timer_delete(timer);
	timer_runs = false;
}

int signals_seen(void)
{
	return usr1_seen;
}

void count_sigpipe(void)
{
	struct sigaction action = { .sa_handler = on_pipe };
	OK(sigaction(SIGPIPE, &action, NULL));
	pipe_seen = 0;
}

int sigpipes_seen(void)
{
	return pipe_seen;
}
