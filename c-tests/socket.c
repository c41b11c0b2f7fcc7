/* socket(2), socketpair(2): kinds, flags, and what an unconnected socket answers. */
#include "support.h"

static int option(int fd, int name)
{
	int value = -1;
	socklen_t size = sizeof value;
	OK(getsockopt(fd, SOL_SOCKET, name, &value, &size));
	EQ(size, sizeof value);
	return value;
}

static void kinds(struct conn *c)
{
	(void)c;
	static const struct { int af, type, protocol, says; } kinds[] = {
		{ AF_INET, SOCK_STREAM, 0, IPPROTO_TCP },
		{ AF_INET, SOCK_STREAM, IPPROTO_TCP, IPPROTO_TCP },
		{ AF_INET6, SOCK_STREAM, 0, IPPROTO_TCP },
		{ AF_INET, SOCK_DGRAM, 0, IPPROTO_UDP },
		{ AF_INET6, SOCK_DGRAM, IPPROTO_UDP, IPPROTO_UDP },
		{ AF_UNIX, SOCK_STREAM, 0, 0 },
		{ AF_UNIX, SOCK_DGRAM, 0, 0 },
		{ AF_UNIX, SOCK_SEQPACKET, 0, 0 },
	};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		int fd = (int)OK(socket(kinds[i].af, kinds[i].type, kinds[i].protocol));
		EQ(option(fd, SO_DOMAIN), kinds[i].af);
		EQ(option(fd, SO_TYPE), kinds[i].type);
		EQ(option(fd, SO_PROTOCOL), kinds[i].says);
		EQ(option(fd, SO_ACCEPTCONN), 0);
		EQ(option(fd, SO_ERROR), 0);
		OK(close(fd));
	}
}

static void refusals(struct conn *c)
{
	(void)c;
	ERR(socket(AF_INET, 77, 0), EINVAL);
	ERR(socket(12345, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
	ERR(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
	ERR(socket(AF_INET, SOCK_STREAM, -1), EINVAL);
	ERR(socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
	int pair[2];
	ERR(socketpair(AF_INET, SOCK_STREAM, 0, pair), EOPNOTSUPP);
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, NULL), EFAULT);
}

static void flags(struct conn *c)
{
	(void)c;
	int fd = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
	EQ(fcntl(fd, F_GETFD), 0);
	OK(close(fd));
	fd = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	EQ(fcntl(fd, F_GETFL), O_RDWR);
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	OK(close(fd));
}

static void lowest_number(struct conn *c)
{
	(void)c;
	int fds[4];
	for (int i = 0; i < 4; i++)
		fds[i] = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	for (int i = 1; i < 4; i++)
		EQ(fds[i], fds[i - 1] + 1);
	OK(close(fds[1]));
	OK(close(fds[2]));
	EQ(socket(AF_INET6, SOCK_STREAM, 0), fds[1]);
	EQ(dup(fds[0]), fds[2]);
}

static void is_a_socket(struct conn *c)
{
	(void)c;
	struct stat s;
	int fd = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(fstat(fd, &s));
	TRUE(S_ISSOCK(s.st_mode));
	ERR(lseek(fd, 0, SEEK_CUR), ESPIPE);
	char link[64], target[64] = { 0 };
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	OK(readlink(link, target, sizeof target - 1));
	TRUE(strncmp(target, "socket:[", 8) == 0);
}

static void unconnected(struct conn *c)
{
	(void)c;
	int fd = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	char byte = 'x';
	struct sockaddr_storage addr;
	socklen_t length = sizeof addr;
	count_sigpipe();
	ERR(read(fd, &byte, 1), ENOTCONN);
	ERR(recv(fd, &byte, 1, 0), ENOTCONN);
	ERR(recv(fd, &byte, 1, MSG_DONTWAIT), ENOTCONN);
	ERR(write(fd, &byte, 1), EPIPE);
	EQ(sigpipes_seen(), 1);
	ERR(send(fd, &byte, 1, MSG_NOSIGNAL), EPIPE);
	EQ(sigpipes_seen(), 1);
	ERR(getpeername(fd, (struct sockaddr *)&addr, &length), ENOTCONN);
	ERR(accept(fd, NULL, NULL), EINVAL);
	EQ(poll_one(fd, POLLIN | POLLOUT | POLLRDHUP, 0), POLLOUT | POLLHUP);
	/* The shutdown fails, and is remembered all the same. */
	ERR(shutdown(fd, SHUT_RDWR), ENOTCONN);
	EQ(poll_one(fd, POLLIN | POLLOUT | POLLRDHUP, 0), POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
}

static void bad_descriptors(struct conn *c)
{
	(void)c;
	char byte = 0;
	struct sockaddr_storage addr;
	socklen_t length = sizeof addr;
	static const int bad[] = { -1, 900, 1 << 20, INT_MAX };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int fd = bad[i];
		ERR(bind(fd, (struct sockaddr *)&addr, length), EBADF);
		ERR(listen(fd, 1), EBADF);
		ERR(accept(fd, NULL, NULL), EBADF);
		ERR(accept4(fd, NULL, NULL, SOCK_CLOEXEC), EBADF);
		ERR(connect(fd, (struct sockaddr *)&addr, length), EBADF);
		ERR(send(fd, &byte, 1, 0), EBADF);
		ERR(recv(fd, &byte, 1, 0), EBADF);
		ERR(read(fd, &byte, 1), EBADF);
		ERR(write(fd, &byte, 1), EBADF);
		ERR(shutdown(fd, SHUT_WR), EBADF);
		ERR(getsockname(fd, (struct sockaddr *)&addr, &length), EBADF);
		ERR(getpeername(fd, (struct sockaddr *)&addr, &length), EBADF);
		ERR(close(fd), EBADF);
		ERR(dup(fd), EBADF);
		ERR(fcntl(fd, F_GETFL), EBADF);
	}
}

static void not_sockets(struct conn *c)
{
	(void)c;
	int fd = (int)OK(open("/dev/null", O_RDWR));
	char byte = 0;
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 1, &addr);
	ERR(bind(fd, (struct sockaddr *)&addr, length), ENOTSOCK);
	ERR(listen(fd, 1), ENOTSOCK);
	ERR(accept(fd, NULL, NULL), ENOTSOCK);
	ERR(connect(fd, (struct sockaddr *)&addr, length), ENOTSOCK);
	ERR(send(fd, &byte, 1, 0), ENOTSOCK);
	ERR(recv(fd, &byte, 1, 0), ENOTSOCK);
	ERR(shutdown(fd, SHUT_WR), ENOTSOCK);
	ERR(getsockname(fd, (struct sockaddr *)&addr, &length), ENOTSOCK);
	EQ(write(fd, &byte, 1), 1);
	EQ(read(fd, &byte, 1), 0);
}

static void unix_pair(struct conn *c)
{
	(void)c;
	int pair[2];
	char in[8];
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	EQ(fcntl(pair[0], F_GETFD), FD_CLOEXEC);
	for (int i = 0; i < 8; i++) {
		EQ(write(pair[0], "abc", 3), 3);
		EQ(read(pair[1], in, sizeof in), 3);
		EQ(write(pair[1], "de", 2), 2);
		EQ(read(pair[0], in, sizeof in), 2);
	}
	OK(close(pair[0]));
	EQ(read(pair[1], in, sizeof in), 0);
}

static void datagrams_still_work(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 0, &addr);
	int a = (int)OK(socket(AF_INET, SOCK_DGRAM, 0)), b = (int)OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(a, (struct sockaddr *)&addr, length));
	OK(getsockname(a, (struct sockaddr *)&addr, &length));
	OK(connect(b, (struct sockaddr *)&addr, length));
	char in[8];
	EQ(send(b, "one", 3, 0), 3);
	EQ(send(b, "", 0, 0), 0);
	EQ(write(b, "three", 5), 5);
	EQ(recv(a, in, sizeof in, 0), 3);
	EQ(recv(a, in, sizeof in, 0), 0);
	EQ(read(a, in, 2), 2);
	ERR(recv(a, in, sizeof in, MSG_DONTWAIT), EAGAIN);
}

static const struct test tests[] = {
	TEST(kinds, ALONE),	      TEST(refusals, ALONE),
	TEST(flags, ALONE),	      TEST(lowest_number, ALONE),
	TEST(is_a_socket, ALONE),     TEST(unconnected, ALONE),
	TEST(bad_descriptors, ALONE), TEST(not_sockets, ALONE),
	TEST(unix_pair, ALONE),	      TEST(datagrams_still_work, ALONE),
};
MAIN(tests)
