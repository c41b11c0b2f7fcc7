/* Bytes that can be told apart by their place in the stream. */
#include "support.h"

uint8_t pattern_at(uint64_t offset)
{
	uint64_t x = offset >> 3;
	x = (x + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
	x ^= x >> 29;
	return (uint8_t)(x >> (8 * (offset & 7)));
}

void pattern_fill(void *data, uint64_t offset, size_t length)
{
	uint8_t *bytes = data;
	for (size_t i = 0; i < length; i++)
		bytes[i] = pattern_at(offset + i);
}

ssize_t pattern_differs(const void *data, uint64_t offset, size_t length)
{
	const uint8_t *bytes = data;
	for (size_t i = 0; i < length; i++)
		if (bytes[i] != pattern_at(offset + i))
			return (ssize_t)i;
	return -1;
}

ssize_t send_all(int fd, const void *data, size_t length)
{
	size_t done = 0;
	while (done < length) {
		ssize_t n = send(fd, (const char *)data + done, length - done, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return -1;
			poll_one(fd, POLLOUT, -1);
			continue;
		}
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t recv_all(int fd, void *data, size_t length)
{
	size_t done = 0;
	while (done < length) {
		ssize_t n = recv(fd, (char *)data + done, length - done, 0);
		if (n == 0)
			break;
		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return -1;
			poll_one(fd, POLLIN, -1);
			continue;
		}
		done += (size_t)n;
	}
	return (ssize_t)done;
}

size_t fill_until_full(int fd)
{
	static char chunk[10007];
	size_t total = 0;
	/* The kernel may take a little more once what it has is acknowledged. */
	for (int quiet = 0; quiet < 3;) {
		pattern_fill(chunk, total, sizeof chunk);
		ssize_t n = send(fd, chunk, sizeof chunk, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			total += (size_t)n;
			quiet = 0;
			TRUE(total < (64u << 20));
			continue;
		}
		ERR(n, EAGAIN);
		quiet++;
		sleep_ms(20);
	}
	return total;
}
