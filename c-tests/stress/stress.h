/* Shared by the stress programs: a stream that can be checked at any offset, dice, and the end. */
#ifndef STRESS_H
#define STRESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

__attribute__((format(printf, 1, 2), noreturn, unused)) static void die(const char *format, ...)
{
	int error = errno;
	char text[400];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "[%d] %s (errno %s)\n", getpid(), text, strerrorname_np(error));
	_exit(1);
}

#define MUST(call) must(#call, __LINE__, (long)(call))
__attribute__((unused)) static long must(const char *text, int line, long value)
{
	if (value < 0)
		die("line %d: %s", line, text);
	return value;
}

static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* The bytes of stream `seed` from `offset` on. */
__attribute__((unused)) static void stream_fill(uint8_t *to, uint64_t seed, uint64_t offset, size_t length)
{
	size_t i = 0;
	while (i < length) {
		uint64_t word = mix(seed ^ (offset + i) >> 3);
		unsigned skip = (unsigned)((offset + i) & 7);
		size_t part = 8 - skip < length - i ? 8 - skip : length - i;
		memcpy(to + i, (uint8_t *)&word + skip, part);
		i += part;
	}
}

/* Index of the first wrong byte, or -1. */
__attribute__((unused)) static ssize_t stream_differs(const uint8_t *from, uint64_t seed, uint64_t offset,
						      size_t length)
{
	size_t i = 0;
	while (i < length) {
		uint64_t word = mix(seed ^ (offset + i) >> 3);
		unsigned skip = (unsigned)((offset + i) & 7);
		size_t part = 8 - skip < length - i ? 8 - skip : length - i;
		if (memcmp(from + i, (uint8_t *)&word + skip, part) != 0)
			return (ssize_t)i;
		i += part;
	}
	return -1;
}

static __thread uint64_t dice_state = 1;
__attribute__((unused)) static uint64_t dice(uint64_t below)
{
	dice_state = mix(dice_state);
	return dice_state % below;
}

/* A length: often small, sometimes large. */
__attribute__((unused)) static size_t dice_length(size_t most)
{
	size_t limit = (size_t)1 << (1 + dice(18));
	size_t n = 1 + dice(limit);
	return n < most ? n : most;
}

__attribute__((unused)) static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

__attribute__((unused)) static void sleep_us(unsigned us)
{
	struct timespec t = { us / 1000000, (long)(us % 1000000) * 1000 };
	nanosleep(&t, NULL);
}

__attribute__((unused)) static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	return addr;
}

__attribute__((unused)) static int listener_at(uint16_t *port)
{
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), on = 1;
	struct sockaddr_in addr = loopback(*port);
	socklen_t length = sizeof addr;
	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	MUST(bind(fd, (struct sockaddr *)&addr, length));
	MUST(listen(fd, 128));
	MUST(getsockname(fd, (struct sockaddr *)&addr, &length));
	*port = ntohs(addr.sin_port);
	return fd;
}

/* An AF_UNIX address that nobody else has: abstract, or a file's (which is removed first). */
__attribute__((unused)) static socklen_t unix_address(struct sockaddr_un *addr, bool path, uint64_t number)
{
	memset(addr, 0, sizeof *addr);
	addr->sun_family = AF_UNIX;
	int n = snprintf(addr->sun_path + !path, sizeof addr->sun_path - 1, "%s/landline-stress-%d-%llu",
			 path ? "/tmp" : "", getpid(), (unsigned long long)number);
	if (path)
		unlink(addr->sun_path);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
}

__attribute__((unused)) static int unix_listener_of(int type, const struct sockaddr_un *addr, socklen_t length)
{
	int fd = (int)MUST(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
	MUST(bind(fd, (const struct sockaddr *)addr, length));
	MUST(listen(fd, 128));
	return fd;
}

__attribute__((unused)) static int unix_listener(const struct sockaddr_un *addr, socklen_t length)
{
	return unix_listener_of(SOCK_STREAM, addr, length);
}

/* A UDP socket on loopback. */
__attribute__((unused)) static int udp_at(uint16_t *port)
{
	int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	struct sockaddr_in addr = loopback(*port);
	socklen_t length = sizeof addr;
	MUST(bind(fd, (struct sockaddr *)&addr, length));
	MUST(getsockname(fd, (struct sockaddr *)&addr, &length));
	*port = ntohs(addr.sin_port);
	return fd;
}

/* Bytes this process sent through the library's ring; -1 without the library. */
__attribute__((unused)) static long ring_tx_bytes(void)
{
	int (*stats)(void *, size_t);
	*(void **)&stats = dlsym(RTLD_DEFAULT, "landline_stats");
	uint64_t fields[11] = { 0 };
	if (stats == NULL)
		return -1;
	return stats(fields, sizeof fields) < 0 ? -2 : (long)fields[0];
}

__attribute__((unused)) static bool ring_expected(void)
{
	const char *expected = getenv("C_TESTS_EXPECT_RING");
	return expected != NULL && expected[0] == '1';
}

/* As recv with MSG_WAITALL, by plain calls: that flag has tests of its own. */
__attribute__((unused)) static ssize_t receive_whole(int fd, void *data, size_t length)
{
	size_t done = 0;
	while (done < length) {
		ssize_t n = recv(fd, (char *)data + done, length - done, 0);
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

__attribute__((unused)) static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(ioctl(fd, SIOCGIFFLAGS, &request));
	request.ifr_flags |= IFF_UP | IFF_RUNNING;
	MUST(ioctl(fd, SIOCSIFFLAGS, &request));
	close(fd);
}

#endif
