/*
 * A program that gets its sockets from whoever starts it, built twice: statically, so that it knows of no library,
 * and dynamically.
 *
 *     echo stream FD [BYTES]     sends back what comes, until the end or that many bytes
 *     echo records FD COUNT      the same for so many datagrams, each to whoever sent it
 *     echo relay FROM TO         carries a stream from one to the other, and its end
 *     echo send FD COUNT         sends so many datagrams: their numbers, as text
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[65536];

static int put(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, data, length);
		if (n < 0)
			return -1;
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

static int carry(int from, int to, long left)
{
	while (left > 0) {
		ssize_t n = read(from, buffer, left < (long)sizeof buffer ? (size_t)left : sizeof buffer);
		if (n <= 0)
			return n < 0;
		if (put(to, buffer, (size_t)n) < 0)
			return 2;
		left -= n;
	}
	return 0;
}

static int records(int fd, long count)
{
	for (long i = 0; i < count; i++) {
		struct sockaddr_storage from;
		socklen_t length = sizeof from;
		ssize_t n = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
		if (n < 0)
			return 1;
		if (sendto(fd, buffer, (size_t)n, 0, length > 0 ? (struct sockaddr *)&from : NULL, length) != n)
			return 2;
	}
	return 0;
}

static int numbers(int fd, long count)
{
	for (long i = 0; i < count; i++) {
		int n = snprintf(buffer, sizeof buffer, "%ld", i);
		if (send(fd, buffer, (size_t)n, 0) != n)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 64;
	int fd = atoi(argv[2]);
	long third = argc > 3 ? atol(argv[3]) : -1;
	if (strcmp(argv[1], "stream") == 0)
		return carry(fd, fd, third >= 0 ? third : 1L << 60);
	if (strcmp(argv[1], "records") == 0)
		return records(fd, third);
	if (strcmp(argv[1], "send") == 0)
		return numbers(fd, third);
	if (strcmp(argv[1], "relay") == 0) {
		int result = carry(fd, (int)third, 1L << 60);
		shutdown((int)third, SHUT_WR);
		return result;
	}
	return 64;
}
