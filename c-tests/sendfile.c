/* sendfile(2), splice(2), tee(2) and connections. */
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "support.h"

static int pattern_file(size_t length)
{
	int fd = (int)OK(memfd_create("pattern", MFD_CLOEXEC));
	char *bytes = malloc(length);
	pattern_fill(bytes, 0, length);
	EQ(write(fd, bytes, length), length);
	free(bytes);
	OK(lseek(fd, 0, SEEK_SET));
	return fd;
}

static void file_to_connection(struct conn *c)
{
	size_t size = 300000;
	int file = pattern_file(size);
	for (int i = 0; i < 3; i++) {
		OK(lseek(file, 0, SEEK_SET));
		peer_verify_later(c, 0, 0, size);
		size_t done = 0;
		while (done < size)
			done += (size_t)OK(sendfile(c->fd, file, NULL, size - done));
		EQ(lseek(file, 0, SEEK_CUR), size);
		EQ(sendfile(c->fd, file, NULL, 10), 0); /* at the end of the file */
		EQ(peer_join(c), size);
		exchange(c, 1);
	}
}

static void with_an_offset(struct conn *c)
{
	int file = pattern_file(10000);
	off_t at = 1234;
	EQ(sendfile(c->fd, file, &at, 500), 500);
	EQ(at, 1734);
	EQ(lseek(file, 0, SEEK_CUR), 0);
	EQ(peer_verify(c, 1234, 500), 500);
	at = 9990;
	EQ(sendfile(c->fd, file, &at, 500), 10);
	EQ(at, 10000);
	EQ(peer_verify(c, 9990, 10), 10);
	at = -1;
	ERR(sendfile(c->fd, file, &at, 5), EINVAL);
	ERR(sendfile(c->fd, 900, NULL, 5), EBADF);
	ERR(sendfile(900, file, NULL, 5), EBADF);
	exchange(c, 2);
}

static void keeps_order_with_writes(struct conn *c)
{
	int file = pattern_file(1000);
	char in[1008];
	for (int i = 0; i < 5; i++) {
		OK(lseek(file, 0, SEEK_SET));
		EQ(send(c->fd, "head", 4, MSG_MORE), 4);
		EQ(sendfile(c->fd, file, NULL, 1000), 1000);
		EQ(write(c->fd, "tail", 4), 4);
		EQ(peer_recv_all(c, in, 1008), 1008);
		SAME(in, "head", 4);
		EQ(pattern_differs(in + 4, 0, 1000), -1);
		SAME(in + 1004, "tail", 4);
	}
}

static void nonblocking_sendfile(struct conn *c)
{
	size_t size = 32 << 20, done = 0;
	int file = pattern_file(size);
	set_nonblock(c->fd, true);
	ssize_t n;
	while (done < size && (n = sendfile(c->fd, file, NULL, size - done)) > 0)
		done += (size_t)n;
	TRUE(done < size);
	ERR(sendfile(c->fd, file, NULL, size - done), EAGAIN);
	EQ(lseek(file, 0, SEEK_CUR), done);
	EQ(peer_verify(c, 0, done), done);
	set_nonblock(c->fd, false);
	exchange(c, 2);
}

static void sendfile_after_the_peer_closed(struct conn *c)
{
	int file = pattern_file(1000);
	count_sigpipe();
	OK(shutdown(c->fd, SHUT_WR));
	ERR(sendfile(c->fd, file, NULL, 10), EPIPE);
	EQ(sigpipes_seen(), 1);
}

static void connection_to_pipe(struct conn *c)
{
	int pipes[2];
	char in[64];
	OK(pipe(pipes));
	for (int i = 0; i < 10; i++) {
		EQ(peer_send(c, "through a pipe", 14, 0), 14);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(splice(c->fd, NULL, pipes[1], NULL, 4, 0), 4);
		EQ(splice(c->fd, NULL, pipes[1], NULL, 64, SPLICE_F_MOVE), 10);
		EQ(read(pipes[0], in, 64), 14);
		SAME(in, "through a pipe", 14);
		/* The flag speaks of the pipe; whether to wait for the socket is the socket's. */
		set_nonblock(c->fd, true);
		ERR(splice(c->fd, NULL, pipes[1], NULL, 64, 0), EAGAIN);
		set_nonblock(c->fd, false);
	}
	exchange(c, 2);
	OK(peer_close(c));
	EQ(splice(c->fd, NULL, pipes[1], NULL, 64, 0), 0);
}

static void pipe_to_connection(struct conn *c)
{
	int pipes[2];
	char in[64];
	OK(pipe(pipes));
	for (int i = 0; i < 10; i++) {
		EQ(write(pipes[1], "through a pipe", 14), 14);
		EQ(splice(pipes[0], NULL, c->fd, NULL, 7, SPLICE_F_MORE), 7);
		EQ(splice(pipes[0], NULL, c->fd, NULL, 64, 0), 7);
		EQ(peer_recv_all(c, in, 14), 14);
		SAME(in, "through a pipe", 14);
	}
	ERR(splice(pipes[0], NULL, c->fd, NULL, 64, SPLICE_F_NONBLOCK), EAGAIN);
	exchange(c, 2);
	OK(close(pipes[1]));
	EQ(splice(pipes[0], NULL, c->fd, NULL, 64, 0), 0);
}

static void between_two_connections(struct conn *c)
{
	/* As a proxy does it: in by one, through a pipe, out by the other. */
	struct conn *d = conn_open_again(c);
	int pipes[2];
	OK(pipe(pipes));
	size_t size = 1 << 20, moved = 0;
	peer_produce_later(c, 0, 0, size);
	peer_verify_later(d, 0, 0, size);
	while (moved < size) {
		ssize_t n = OK(splice(c->fd, NULL, pipes[1], NULL, 65536, SPLICE_F_MOVE));
		TRUE(n > 0);
		for (ssize_t out = 0; out < n;)
			out += OK(splice(pipes[0], NULL, d->fd, NULL, (size_t)(n - out), SPLICE_F_MOVE));
		moved += (size_t)n;
	}
	EQ(peer_join(c), size);
	EQ(peer_join(d), size);
	exchange(c, 2);
	exchange(d, 2);
	conn_end(d);
}

static void splice_waits(struct conn *c)
{
	int pipes[2];
	char in[8];
	OK(pipe(pipes));
	for (int i = 0; i < 3; i++) {
		peer_send_later(c, 40, "late", 4, 0);
		EQ(splice(c->fd, NULL, pipes[1], NULL, 64, 0), 4);
		EQ(peer_join(c), 4);
		EQ(read(pipes[0], in, 8), 4);
		SAME(in, "late", 4);
	}
}

static void splice_refusals(struct conn *c)
{
	int pipes[2];
	OK(pipe(pipes));
	loff_t at = 0;
	ERR(splice(c->fd, &at, pipes[1], NULL, 4, 0), EINVAL);
	ERR(splice(c->fd, NULL, pipes[1], &at, 4, 0), ESPIPE);
	ERR(splice(pipes[0], NULL, c->fd, &at, 4, 0), EINVAL);
	ERR(splice(c->fd, NULL, c->fd, NULL, 4, 0), EINVAL);
	EQ(splice(c->fd, NULL, pipes[1], NULL, 0, 0), 0);
	exchange(c, 2);
}

static void copy_of_connection_to_file(struct conn *c)
{
	/* sendfile from a socket is not a thing Linux does. */
	int file = (int)OK(memfd_create("out", 0));
	EQ(peer_send(c, "abcd", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLIN);
	ERR(sendfile(file, c->fd, NULL, 4), EINVAL);
	char in[4];
	EQ(recv_all(c->fd, in, 4), 4);
}

static void more_than_the_pipe_holds(struct conn *c)
{
	static char in[300000];
	int pipes[2];
	size_t done = 0;
	OK(pipe(pipes));
	peer_produce_later(c, 0, 0, sizeof in);
	while (done < sizeof in) {
		size_t n = (size_t)OK(splice(c->fd, NULL, pipes[1], NULL, sizeof in - done, 0));
		TRUE(n > 0);
		for (size_t got = 0; got < n;)
			got += (size_t)OK(read(pipes[0], in + done + got, n - got));
		done += n;
	}
	EQ(pattern_differs(in, 0, sizeof in), -1);
	EQ(peer_join(c), sizeof in);
	close(pipes[0]);
	close(pipes[1]);
}

static void at_the_end_of_the_file(struct conn *c)
{
	int file = pattern_file(10), none[2];
	off_t at = 10;
	OK(peer_close(c));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	for (int i = 0; i < 3; i++)
		EQ(sendfile(c->fd, file, &at, 100), 0);
	OK(pipe(none));
	ERR(sendfile(c->fd, none[0], NULL, 10), EINVAL);
	ERR(sendfile(c->fd, -1, NULL, 10), EBADF);
	close(none[0]);
	close(none[1]);
	close(file);
}

/* A file of /proc says that it has no bytes. */
static void from_proc(struct conn *c)
{
	char whole[512], in[512];
	int file = (int)OK(open("/proc/version", O_RDONLY));
	ssize_t n = OK(read(file, whole, sizeof whole));
	OK(lseek(file, 0, SEEK_SET));
	EQ(sendfile(c->fd, file, NULL, sizeof whole), n);
	EQ(peer_recv_all(c, in, (size_t)n), n);
	SAME(in, whole, (size_t)n);
	close(file);
}

static const struct test tests[] = {
	TEST(from_proc, EACH),
	TEST(file_to_connection, EVERY),
	TEST(with_an_offset, EACH),
	TEST(keeps_order_with_writes, EACH),
	TEST(nonblocking_sendfile, EACH),
	TEST(sendfile_after_the_peer_closed, EACH),
	TEST(connection_to_pipe, EVERY),
	TEST(pipe_to_connection, EVERY),
	TEST(between_two_connections, EACH),
	TEST(splice_waits, EACH),
	TEST(splice_refusals, EACH),
	TEST(copy_of_connection_to_file, EACH),
	TEST(more_than_the_pipe_holds, EACH),
	TEST(at_the_end_of_the_file, EACH),
};
MAIN(tests)
