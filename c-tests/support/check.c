/* Checks: each says what the expression was, what it gave and what errno held. */
#include "support.h"
#include "internal.h"

static bool in_forked_child;
static const char *last_file = "?";
static int last_line;

void checks_are_in_child(void)
{
	in_forked_child = true;
}

void last_check(const char **file, int *line)
{
	*file = last_file;
	*line = last_line;
}

__attribute__((format(printf, 3, 4), noreturn)) static void failed(const char *file, int line,
								   const char *format, ...)
{
	char text[600];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "# %s%s:%d: %s\n", in_forked_child ? "in child: " : "", file, line,
		text);
	if (in_forked_child)
		_exit(99);
	_fail(file, line);
	abort();
}

static void here(const char *file, int line)
{
	last_file = file;
	last_line = line;
}

long long check_ok(const char *file, int line, const char *text, long long value)
{
	int error = errno;
	here(file, line);
	if (value < 0)
		failed(file, line, "%s = %lld (%s), expected success", text, value,
		       strerrorname_np(error));
	errno = error;
	return value;
}

void check_err(const char *file, int line, const char *text, long long value, int expected)
{
	int error = errno;
	here(file, line);
	if (value >= 0)
		failed(file, line, "%s = %lld, expected %s", text, value, strerrorname_np(expected));
	if (error != expected)
		failed(file, line, "%s = %lld (%s), expected %s", text, value,
		       strerrorname_np(error), strerrorname_np(expected));
}

void check_eq(const char *file, int line, const char *text, long long actual, long long expected)
{
	int error = errno;
	here(file, line);
	if (actual != expected)
		failed(file, line, "%s = %lld (0x%llx)%s%s, expected %lld (0x%llx)", text, actual,
		       actual, actual < 0 ? " errno " : "",
		       actual < 0 ? strerrorname_np(error) : "", expected, expected);
}

void check_true(const char *file, int line, const char *text, bool holds)
{
	here(file, line);
	if (!holds)
		failed(file, line, "%s does not hold", text);
}

void check_same(const char *file, int line, const char *text, const void *a, const void *b,
		size_t length)
{
	here(file, line);
	const unsigned char *x = a, *y = b;
	for (size_t i = 0; i < length; i++)
		if (x[i] != y[i])
			failed(file, line, "%s: byte %zu of %zu is 0x%02x, expected 0x%02x", text, i,
			       length, x[i], y[i]);
}
