/*
 * Turns the list of tests into cmocka's, one entry for each variant, and gives each a clock.
 * A test that hangs ends the program, with the test's name in a line of the same form that
 * cmocka prints; the runner then goes on with the tests after it.
 */
#include <fnmatch.h>
#include <sys/syscall.h>

#include "internal.h"

struct entry {
	const struct test *test;
	const struct variant *variant; /* NULL for a test that stands alone */
	char name[128];
};

static struct entry *current;

static void on_hang(int signal)
{
	(void)signal;
	char text[400];
	const char *file;
	int line;
	last_check(&file, &line);
	int n = snprintf(text, sizeof text,
			 "not ok 0 - %s\n# hung for %d s; the last check that held: %s:%d\n",
			 current->name, hang_seconds(), file, line);
	syscall(SYS_write, STDOUT_FILENO, text, (size_t)n);
	syscall(SYS_exit_group, 124);
}

static int set_up(void **state)
{
	current = *state;
	signal(SIGALRM, on_hang);
	signal(SIGPIPE, SIG_DFL);
	alarm((unsigned)hang_seconds());
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	signals_stop();
	close_descriptors(NULL, 0);
	signal(SIGPIPE, SIG_DFL);
	/* A peer's process leaves when its pipe closes; nothing may outlive its test. */
	pid_t pid;
	for (int64_t end = now_ms() + 2000; (pid = waitpid(-1, NULL, WNOHANG)) >= 0;)
		if (pid == 0) {
			if (now_ms() > end)
				break;
			sleep_ms(1);
		}
	alarm(0);
	return 0;
}

static bool has_ipv6(void)
{
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET6, 0, &addr);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool has = fd >= 0 && bind(fd, (struct sockaddr *)&addr, length) == 0;
	close(fd);
	return has;
}

static void run_entry(void **state)
{
	struct entry *entry = *state;
	if (entry->variant == NULL) {
		entry->test->body(NULL);
		return;
	}
	if (entry->variant->family != INET && entry->variant->family != UNIX && !has_ipv6())
		skip();
	struct conn *c = conn_open(entry->variant);
	entry->test->body(c);
	conn_end(c);
}

int run_list(int argc, char **argv, const struct test *tests, size_t count)
{
	const char *pattern = argc > 1 ? argv[1] : "*";
	bool list = strcmp(pattern, "-l") == 0;
	struct entry *entries = calloc(count * V_COUNT, sizeof *entries);
	struct CMUnitTest *cases = calloc(count * V_COUNT, sizeof *cases);
	size_t total = 0;
	for (size_t i = 0; i < count; i++)
		for (unsigned v = 0; v < V_COUNT; v++) {
			if (tests[i].variants == ALONE ? v != 0 : !(tests[i].variants & (1u << v)))
				continue;
			struct entry *entry = &entries[total];
			entry->test = &tests[i];
			entry->variant = tests[i].variants == ALONE ? NULL : variant_of(1u << v);
			snprintf(entry->name, sizeof entry->name, "%s%s%s", tests[i].name,
				 entry->variant ? "/" : "", entry->variant ? entry->variant->name : "");
			if (list)
				puts(entry->name);
			if (list || fnmatch(pattern, entry->name, 0) != 0)
				continue;
			cases[total] = (struct CMUnitTest){ entry->name, run_entry, set_up, tear_down,
							    entry };
			total++;
		}
	if (list)
		return 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	return _cmocka_run_group_tests(argv[0], cases, total, NULL, NULL);
}
