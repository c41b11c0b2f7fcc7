/* What the tests of UDP make their sockets with. */
#ifndef SUPPORT_UDP_H
#define SUPPORT_UDP_H

#include "support.h"

__attribute__((unused)) static int made(int family)
{
	return (int)OK(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

__attribute__((unused)) static int bound_at(int family, const char *host, uint16_t port)
{
	struct sockaddr_storage addr;
	socklen_t length = loopback(family, port, &addr);
	void *in = family == AF_INET ? (void *)&((struct sockaddr_in *)&addr)->sin_addr
				     : (void *)&((struct sockaddr_in6 *)&addr)->sin6_addr;
	EQ(inet_pton(family, host, in), 1);
	int fd = made(family), on = 1;
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	OK(bind(fd, (struct sockaddr *)&addr, length));
	return fd;
}

__attribute__((unused)) static int bound(int family)
{
	return bound_at(family, family == AF_INET ? "127.0.0.1" : "::1", 0);
}

__attribute__((unused)) static socklen_t name_of(int fd, struct sockaddr_storage *addr)
{
	socklen_t length = sizeof *addr;
	OK(getsockname(fd, (struct sockaddr *)addr, &length));
	return length;
}

__attribute__((unused)) static uint16_t port(int fd)
{
	struct sockaddr_storage addr;
	name_of(fd, &addr);
	return port_of(&addr);
}

__attribute__((unused)) static long connect_to_fd(int fd, int other)
{
	struct sockaddr_storage addr;
	socklen_t length = name_of(other, &addr);
	return connect(fd, (struct sockaddr *)&addr, length);
}

__attribute__((unused)) static long send_to_port(int fd, int family, uint16_t to, const void *data, size_t length)
{
	struct sockaddr_storage addr;
	socklen_t size = loopback(family, to, &addr);
	return sendto(fd, data, length, 0, (struct sockaddr *)&addr, size);
}

__attribute__((unused)) static long send_to_fd(int fd, int other, const char *words)
{
	struct sockaddr_storage addr;
	socklen_t length = name_of(other, &addr);
	return sendto(fd, words, strlen(words), 0, (struct sockaddr *)&addr, length);
}

/* The next datagram is this one. */
#define NEXT_IS(fd, words) \
	do { \
		char next[100] = { 0 }; \
		poll_until(fd, POLLIN, POLLIN); \
		EQ(recv(fd, next, sizeof next - 1, MSG_DONTWAIT), strlen(words)); \
		SAME(next, words, strlen(words)); \
	} while (0)
#define NONE_IS_THERE(fd) ERR(recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT), EAGAIN)

__attribute__((unused)) static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

#endif
