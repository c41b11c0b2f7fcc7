/* dup(2), dup2(2), dup3(2), F_DUPFD: several numbers, one socket. */
#include "support.h"

static void talks(struct conn *c, int fd)
{
	char in[8];
	for (int i = 0; i < 5; i++) {
		EQ(send(fd, "there", 5, 0), 5);
		EQ(peer_recv_all(c, in, 5), 5);
		EQ(peer_send(c, "back", 4, 0), 4);
		EQ(recv_all(fd, in, 4), 4);
		SAME(in, "back", 4);
	}
}

static void lives_until_the_last(struct conn *c)
{
	int copy = (int)OK(dup(c->fd));
	talks(c, copy);
	talks(c, c->fd);
	OK(close(c->fd));
	c->fd = copy;
	EQ(peer_poll(c, POLLIN, 50), 0); /* no end yet */
	talks(c, copy);
	OK(close(copy));
	c->fd = -1;
	char in[4];
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void onto_a_number(struct conn *c)
{
	int null = (int)OK(open("/dev/null", O_RDWR));
	EQ(dup2(c->fd, null), null);
	talks(c, null);
	EQ(dup2(c->fd, c->fd), c->fd);
	talks(c, c->fd);
	EQ(dup2(c->fd, 200), 200);
	talks(c, 200);
	OK(close(c->fd));
	c->fd = 200;
	OK(close(null));
	talks(c, 200);
	ERR(dup2(c->fd, -1), EBADF);
	ERR(dup2(999, 201), EBADF);
	ERR(dup3(c->fd, c->fd, 0), EINVAL);
	ERR(dup3(c->fd, 201, 1), EINVAL);
}

static void over_a_connection(struct conn *c)
{
	/* dup2 onto the only descriptor of a connection closes that connection. */
	struct conn *other = conn_open_again(c);
	EQ(dup2(c->fd, other->fd), other->fd);
	char in[4];
	EQ(peer_recv(other, in, 4, 0), 0);
	talks(c, other->fd);
	talks(c, c->fd);
	int null = (int)OK(open("/dev/null", O_RDWR));
	EQ(dup2(null, c->fd), c->fd);
	EQ(write(c->fd, "away", 4), 4);
	EQ(read(c->fd, in, 4), 0);
	talks(c, other->fd);
	OK(dup2(null, other->fd));
	EQ(peer_recv(c, in, 4, 0), 0);
	conn_end(other);
}

static void close_on_exec(struct conn *c)
{
	int fd = (int)OK(dup3(c->fd, 150, O_CLOEXEC));
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	talks(c, fd);
	fd = (int)OK(fcntl(c->fd, F_DUPFD, 160));
	TRUE(fd >= 160);
	EQ(fcntl(fd, F_GETFD), 0);
	talks(c, fd);
	fd = (int)OK(fcntl(c->fd, F_DUPFD_CLOEXEC, 170));
	TRUE(fd >= 170);
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	talks(c, fd);
}

static void one_set_of_flags(struct conn *c)
{
	int copy = (int)OK(dup(c->fd));
	char in[4];
	set_nonblock(copy, true);
	EQ(is_nonblock(c->fd), 1);
	ERR(recv(c->fd, in, 4, 0), EAGAIN);
	ERR(recv(copy, in, 4, 0), EAGAIN);
	int off = 0;
	OK(ioctl(c->fd, FIONBIO, &off));
	EQ(is_nonblock(copy), 0);
	peer_send_later(c, 40, "late", 4, 0);
	EQ(recv(copy, in, 4, 0), 4);
	EQ(peer_join(c), 4);
	OK(close(copy));
	talks(c, c->fd);
}

static void one_stream(struct conn *c)
{
	int copy = (int)OK(dup(c->fd));
	char in[16];
	EQ(peer_send(c, "abcdef", 6, 0), 6);
	EQ(recv_all(c->fd, in, 2), 2);
	EQ(recv_all(copy, in + 2, 2), 2);
	EQ(recv_all(c->fd, in + 4, 2), 2);
	SAME(in, "abcdef", 6);
	EQ(send(c->fd, "uvw", 3, 0), 3);
	EQ(send(copy, "xyz", 3, 0), 3);
	EQ(peer_recv_all(c, in, 6), 6);
	SAME(in, "uvwxyz", 6);
}

static void standard_streams(struct conn *c)
{
	/* As inetd does: the connection becomes a program's standard input and output. */
	fflush(NULL);
	pid_t child = (pid_t)OK(fork());
	if (child == 0) {
		dup2(c->fd, 0);
		dup2(c->fd, 1);
		close(c->fd);
		execlp("sh", "sh", "-c", "read line; echo \"you said $line\"; cat", (char *)NULL);
		_exit(127);
	}
	char in[64];
	OK(close(c->fd));
	c->fd = -1;
	EQ(peer_send(c, "hello\n", 6, 0), 6);
	EQ(peer_recv_all(c, in, 15), 15);
	SAME(in, "you said hello\n", 15);
	for (int i = 0; i < 10; i++) {
		EQ(peer_send(c, "meow\n", 5, 0), 5);
		EQ(peer_recv_all(c, in, 5), 5);
		SAME(in, "meow\n", 5);
	}
	OK(peer_shutdown(c, SHUT_WR));
	join_child(child);
	EQ(peer_recv(c, in, 4, 0), 0);
}

static const struct test tests[] = {
	TEST(lives_until_the_last, EVERY), TEST(onto_a_number, EACH),
	TEST(over_a_connection, EACH),	   TEST(close_on_exec, EACH),
	TEST(one_set_of_flags, EACH),	   TEST(one_stream, EACH),
	TEST(standard_streams, EACH),
};
MAIN(tests)
