/*
 * Asks every question, each in a process of its own, and prints the answers.
 *
 *     probe [-l] [-s part/parts] [theme.question/state ...]
 *
 * -l lists the questions; -s asks only every parts-th, beginning with number `part`.
 */
#include <fnmatch.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "../support/internal.h"
#include "ask.h"

#define MOST_QUESTIONS 2000
#define PATIENCE_MS 10000

static const struct question *questions[MOST_QUESTIONS];
static int count;
static const struct question *current;

/* Shared with the process that answers, so that a crash does not lose what was said. */
static struct answer {
	char text[8000];
	size_t length;
	long ring_bytes;
} *answer;

void enlist(const struct question *question)
{
	if (count < MOST_QUESTIONS)
		questions[count++] = question;
}

const struct question *asked(void)
{
	return current;
}

void say(const char *format, ...)
{
	int error = errno;
	size_t room = sizeof answer->text - answer->length;
	int n = snprintf(answer->text + answer->length, room, answer->length > 0 ? "; " : "");
	va_list arguments;
	va_start(arguments, format);
	n += vsnprintf(answer->text + answer->length + n, room - (size_t)n, format, arguments);
	va_end(arguments);
	answer->length += (size_t)n < room ? (size_t)n : room - 1;
	errno = error;
}

static int in_order(const void *a, const void *b)
{
	const struct question *x = *(const struct question *const *)a;
	const struct question *y = *(const struct question *const *)b;
	int themes = strcmp(x->theme, y->theme);
	if (themes != 0)
		return themes;
	return x->line != y->line ? x->line - y->line : strcmp(x->name, y->name);
}

static void answer_it(const struct variant *variant)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	checks_are_in_child();
	struct conn *c = variant != NULL ? conn_open(variant) : NULL;
	current->body(c);
	long ring = ring_bytes();
	if (ring > 0)
		answer->ring_bytes += ring;
	_exit(0);
}

/* Whoever the question left behind goes with it. */
static void clear_away(pid_t pid)
{
	kill(-pid, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

static void put_question(const struct variant *variant)
{
	answer->length = 0;
	answer->text[0] = 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		answer_it(variant);
	setpgid(pid, pid);
	struct pollfd ended = { .fd = pidfd_open(pid, 0), .events = POLLIN };
	int status = 0;
	if (poll(&ended, 1, PATIENCE_MS) == 0)
		say("hung");
	else if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		say("died of SIG%s", sigabbrev_np(WTERMSIG(status)));
	else if (status != 0)
		say("a check failed");
	close(ended.fd);
	clear_away(pid);
	for (char *p = answer->text; *p != 0; p++)
		if (*p == '\n')
			*p = ' ';
	printf("%s.%s%s%s: %s\n", current->theme, current->name, variant ? "/" : "",
	       variant ? variant->name : "", answer->text);
}

static bool wanted(char **patterns, const char *name)
{
	for (char **p = patterns; *p != NULL; p++)
		if (fnmatch(*p, name, 0) == 0)
			return true;
	return *patterns == NULL;
}

int main(int argc, char **argv)
{
	int part = 0, parts = 1, option;
	bool list = false;
	while ((option = getopt(argc, argv, "ls:")) != -1)
		if (option == 'l')
			list = true;
		else if (option != 's' || sscanf(optarg, "%d/%d", &part, &parts) != 2 || parts < 1)
			return 2;
	char **patterns = argv + optind;
	int turn = 0;
	answer = mmap(NULL, sizeof *answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (answer == MAP_FAILED)
		return 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	setvbuf(stdout, NULL, _IOLBF, 0);
	qsort(questions, (size_t)count, sizeof questions[0], in_order);
	for (int i = 0; i < count; i++) {
		current = questions[i];
		for (unsigned v = 0; v < V_COUNT; v++) {
			const struct variant *variant = NULL;
			if (current->states != ALONE && !(current->states & (1u << v)))
				continue;
			if (current->states != ALONE)
				variant = variant_of(1u << v);
			else if (v > 0)
				break;
			char name[160];
			snprintf(name, sizeof name, "%s.%s%s%s", current->theme, current->name,
				 variant ? "/" : "", variant ? variant->name : "");
			if (!wanted(patterns, name) || turn++ % parts != part)
				continue;
			if (list)
				puts(name);
			else
				put_question(variant);
		}
	}
	if (!list)
		printf("# %d questions, the ring was %sused\n", count,
		       answer->ring_bytes > 0 ? "" : "not ");
	return 0;
}
