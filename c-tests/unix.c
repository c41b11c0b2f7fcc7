/* unix(7): streams between AF_UNIX sockets: names, the end of a connection, and what every stream can do. */
#include <sys/sendfile.h>
#include <sys/un.h>

#include "support.h"

#define ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP)

/* ---- names --------------------------------------------------------------------------------- */

static socklen_t path_in(const char *folder, const char *name, struct sockaddr_un *un)
{
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(un->sun_path, sizeof un->sun_path, "%s/%s", folder, name);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
}

static int bound(const struct sockaddr_un *un, socklen_t length)
{
	int fd = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(fd, (const struct sockaddr *)un, length));
	return fd;
}

static void listener_with_a_path(struct conn *c)
{
	(void)c;
	char folder[] = "/tmp/c-tests-XXXXXX";
	struct sockaddr_un un, seen;
	TRUE(mkdtemp(folder) != NULL);
	socklen_t length = path_in(folder, "s", &un), seen_length = sizeof seen;
	mode_t mask = umask(027);
	int listener = bound(&un, length);
	umask(mask);
	OK(listen(listener, 5));
	struct stat s;
	OK(stat(un.sun_path, &s));
	TRUE(S_ISSOCK(s.st_mode));
	EQ(s.st_mode & 0777, 0750);
	int client = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(connect(client, (struct sockaddr *)&un, sizeof un)); /* zeros after the name do not matter */
	memset(&seen, 0xee, sizeof seen);
	int served = (int)OK(accept(listener, (struct sockaddr *)&seen, &seen_length));
	EQ(seen_length, sizeof(sa_family_t)); /* unnamed */
	EQ(seen.sun_family, AF_UNIX);
	int named[] = { listener, served };
	for (int i = 0; i < 2; i++) {
		seen_length = sizeof seen;
		OK(getsockname(named[i], (struct sockaddr *)&seen, &seen_length));
		EQ(seen_length, length);
		EQ(strcmp(seen.sun_path, un.sun_path), 0);
	}
	warm_up_fds(client, served);
	seen_length = sizeof seen;
	OK(getpeername(client, (struct sockaddr *)&seen, &seen_length));
	EQ(seen_length, length);
	EQ(strcmp(seen.sun_path, un.sun_path), 0);
	seen_length = sizeof seen;
	OK(getpeername(served, (struct sockaddr *)&seen, &seen_length));
	EQ(seen_length, sizeof(sa_family_t));
	/* The name may go; the connection stays, and keeps it. */
	OK(unlink(un.sun_path));
	OK(close(listener));
	warm_up_fds(client, served);
	seen_length = sizeof seen;
	OK(getpeername(client, (struct sockaddr *)&seen, &seen_length));
	EQ(seen_length, length);
	OK(rmdir(folder));
}

static void path_outlives_its_socket(struct conn *c)
{
	(void)c;
	char folder[] = "/tmp/c-tests-XXXXXX";
	struct sockaddr_un un;
	TRUE(mkdtemp(folder) != NULL);
	socklen_t length = path_in(folder, "s", &un);
	int fd = bound(&un, length), other = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect(other, (struct sockaddr *)&un, length), ECONNREFUSED);
	OK(listen(fd, 5));
	OK(close(fd));
	ERR(connect(other, (struct sockaddr *)&un, length), ECONNREFUSED);
	ERR(bind(other, (struct sockaddr *)&un, length), EADDRINUSE);
	OK(unlink(un.sun_path));
	ERR(connect(other, (struct sockaddr *)&un, length), ENOENT);
	OK(bind(other, (struct sockaddr *)&un, length));
	OK(unlink(un.sun_path));
	ERR(bind(other, (struct sockaddr *)&un, length), EINVAL); /* it has a name */
	OK(rmdir(folder));
}

static void a_renamed_path_is_the_same_socket(struct conn *c)
{
	(void)c;
	char folder[] = "/tmp/c-tests-XXXXXX";
	struct sockaddr_un un, moved;
	TRUE(mkdtemp(folder) != NULL);
	socklen_t length = path_in(folder, "s", &un), moved_length = path_in(folder, "moved", &moved);
	int listener = bound(&un, length), client = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(listen(listener, 5));
	OK(rename(un.sun_path, moved.sun_path));
	int second = bound(&un, length);
	OK(listen(second, 5));
	OK(connect(client, (struct sockaddr *)&moved, moved_length));
	EQ(poll_one(second, POLLIN, 0), 0);
	int served = (int)OK(accept(listener, NULL, NULL));
	warm_up_fds(client, served);
	OK(unlink(un.sun_path));
	OK(unlink(moved.sun_path));
	OK(rmdir(folder));
}

static void a_relative_path(struct conn *c)
{
	(void)c;
	char folder[] = "/tmp/c-tests-XXXXXX";
	TRUE(mkdtemp(folder) != NULL);
	int here = (int)OK(open(".", O_RDONLY | O_DIRECTORY));
	OK(chdir(folder));
	struct sockaddr_un un = { AF_UNIX, "s" }, seen;
	socklen_t length = sizeof seen;
	int listener = bound(&un, sizeof un), client = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(listen(listener, 5));
	OK(connect(client, (struct sockaddr *)&un, sizeof un));
	int served = (int)OK(accept(listener, NULL, NULL));
	OK(getpeername(client, (struct sockaddr *)&seen, &length));
	EQ(length, sizeof(sa_family_t) + 2);
	warm_up_fds(client, served);
	OK(unlink("s"));
	OK(fchdir(here));
	OK(rmdir(folder));
}

static void abstract_names_may_hold_anything(struct conn *c)
{
	(void)c;
	struct sockaddr_un un = { .sun_family = AF_UNIX }, seen;
	int n = sprintf(un.sun_path + 1, "c-tests %d", getpid());
	un.sun_path[n + 1] = 0; /* a zero within it */
	un.sun_path[n + 2] = 'x';
	socklen_t length = (socklen_t)(sizeof(sa_family_t) + (size_t)n + 3), shorter = length - 1, got = sizeof seen;
	int listener = bound(&un, length), client = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(listen(listener, 5));
	ERR(connect(client, (struct sockaddr *)&un, shorter), ECONNREFUSED);
	ERR(connect(client, (struct sockaddr *)&un, length + 1), ECONNREFUSED);
	OK(connect(client, (struct sockaddr *)&un, length));
	int served = (int)OK(accept(listener, NULL, NULL));
	OK(getpeername(client, (struct sockaddr *)&seen, &got));
	EQ(got, length);
	SAME(&seen, &un, length);
	warm_up_fds(client, served);
	OK(close(listener)); /* and the name with it */
	OK(bind((int)OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&un, shorter));
}

static void names_of_the_kernels_choice(struct conn *c)
{
	(void)c;
	struct sockaddr_un un = { .sun_family = AF_UNIX }, seen;
	socklen_t length = sizeof seen;
	int fd = bound(&un, sizeof(sa_family_t));
	OK(getsockname(fd, (struct sockaddr *)&seen, &length));
	EQ(length, sizeof(sa_family_t) + 6);
	EQ(seen.sun_path[0], 0);
	for (int i = 1; i < 6; i++)
		TRUE(strchr("0123456789abcdef", seen.sun_path[i]) != NULL);
	/* SO_PASSCRED names the socket that connects. */
	OK(listen(fd, 5));
	int client = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0)), on = 1;
	OK(setsockopt(client, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	OK(connect(client, (struct sockaddr *)&seen, length));
	length = sizeof un;
	OK(accept(fd, (struct sockaddr *)&un, &length));
	EQ(length, sizeof(sa_family_t) + 6);
}

static void address_of_the_sender(struct conn *c)
{
	(void)c;
	struct sockaddr_un un = { .sun_family = AF_UNIX }, at, seen;
	socklen_t length = sizeof at, at_length = sizeof at;
	int listener = bound(&un, sizeof(sa_family_t)), client = bound(&un, sizeof(sa_family_t));
	OK(listen(listener, 5));
	OK(getsockname(listener, (struct sockaddr *)&at, &length));
	OK(connect(client, (struct sockaddr *)&at, length));
	int served = (int)OK(accept(listener, NULL, NULL));
	for (int warm = 0; warm < 2; warm++) {
		char in[8];
		OK(getsockname(client, (struct sockaddr *)&at, &at_length));
		length = sizeof seen;
		EQ(send(client, "words", 5, 0), 5);
		EQ(recvfrom(served, in, 8, 0, (struct sockaddr *)&seen, &length), 5);
		EQ(length, at_length);
		SAME(&seen, &at, length);
		ERR(sendto(client, "x", 1, 0, (struct sockaddr *)&at, at_length), EISCONN);
		warm_up_fds(client, served);
	}
}

static void connect_as_nobody(void *argument)
{
	struct sockaddr_un *un = argument;
	OK(setgid(65534));
	OK(setuid(65534));
	int fd = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect(fd, (struct sockaddr *)un, sizeof *un), EACCES);
	struct sockaddr_un forbidden = *un;
	strcat(forbidden.sun_path, "-new");
	ERR(bind(fd, (struct sockaddr *)&forbidden, sizeof forbidden), EACCES);
}

static void permissions_of_the_path(struct conn *c)
{
	(void)c;
	if (geteuid() != 0)
		skip();
	char folder[] = "/tmp/c-tests-XXXXXX";
	struct sockaddr_un un;
	TRUE(mkdtemp(folder) != NULL);
	OK(chmod(folder, 0755));
	int listener = bound(&un, path_in(folder, "s", &un));
	OK(listen(listener, 5));
	OK(chmod(un.sun_path, 0600));
	in_child(connect_as_nobody, &un);
	EQ(poll_one(listener, POLLIN, 0), 0);
	OK(unlink(un.sun_path));
	OK(rmdir(folder));
}

/* ---- the end of a connection ------------------------------------------------------------------ */

static void the_peer_closes(struct conn *c)
{
	char in[8];
	EQ(peer_send_all(c, "last", 4), 4);
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	count_sigpipe();
	ERR(send(c->fd, "x", 1, 0), EPIPE); /* at once, unlike TCP */
	EQ(sigpipes_seen(), 1);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(sigpipes_seen(), 1);
	EQ(recv(c->fd, in, 8, 0), 4);
	SAME(in, "last", 4);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(recv(c->fd, in, 8, 0), 0);
}

static void the_peer_closes_unread(struct conn *c)
{
	char in[8];
	EQ(peer_send_all(c, "last", 4), 4);
	EQ(send_all(c->fd, "unread", 6), 6);
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	EQ(recv(c->fd, in, 8, 0), 4); /* what came before the end is still there */
	ERR(recv(c->fd, in, 8, 0), ECONNRESET);
	EQ(recv(c->fd, in, 8, 0), 0);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

static void the_error_can_be_asked_for(struct conn *c)
{
	int error = -1;
	socklen_t size = sizeof error;
	EQ(send_all(c->fd, "unread", 6), 6);
	OK(peer_close(c));
	poll_until(c->fd, ALL, POLLERR);
	OK(getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size));
	EQ(error, ECONNRESET);
	EQ(recv(c->fd, &error, 4, 0), 0);
}

static void linger_changes_nothing(struct conn *c)
{
	char in[4];
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	EQ(peer_send_all(c, "last", 4), 4);
	OK(peer_close(c));
	EQ(recv_all(c->fd, in, 4), 4);
	EQ(recv(c->fd, in, 4, 0), 0);
}

static void halves(struct conn *c)
{
	char in[8];
	OK(shutdown(c->fd, SHUT_WR));
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(peer_recv(c, in, 8, 0), 0);
	EQ(peer_poll(c, ALL, 1000), POLLIN | POLLOUT | POLLRDHUP);
	EQ(peer_send_all(c, "more", 4), 4);
	EQ(recv_all(c->fd, in, 4), 4);
	EQ(poll_one(c->fd, ALL, 0), POLLOUT);
	OK(peer_shutdown(c, SHUT_WR));
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

static void the_read_half(struct conn *c)
{
	char in[8];
	EQ(peer_send_all(c, "there", 5), 5);
	OK(shutdown(c->fd, SHUT_RD));
	/* The other end may not send any more, and this one reads what is there, then the end. */
	ERR(peer_send(c, "x", 1, 0), EPIPE);
	EQ(recv(c->fd, in, 8, 0), 5);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(send_all(c->fd, "goes", 4), 4);
	EQ(peer_recv_all(c, in, 4), 4);
}

static void the_peer_is_killed(struct conn *c)
{
	char in[8];
	EQ(peer_send_all(c, "last", 4), 4);
	peer_kill(c);
	poll_until(c->fd, ALL, POLLHUP);
	EQ(recv(c->fd, in, 8, 0), 4);
	EQ(recv(c->fd, in, 8, 0), 0);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
}

static void the_peer_is_killed_unread(struct conn *c)
{
	char in[8];
	EQ(send_all(c->fd, "unread", 6), 6);
	peer_kill(c);
	poll_until(c->fd, ALL, POLLHUP);
	ERR(recv(c->fd, in, 8, 0), ECONNRESET);
	EQ(recv(c->fd, in, 8, 0), 0);
}

static void the_end_wakes_a_reader(struct conn *c)
{
	char in[4];
	peer_close_later(c, 50);
	EQ(recv(c->fd, in, 4, 0), 0);
	OK(peer_join(c));
}

static void the_end_wakes_a_writer(struct conn *c)
{
	fill_until_full(c->fd);
	peer_close_later(c, 50);
	long n;
	do
		n = send(c->fd, "more", 4, MSG_NOSIGNAL);
	while (n > 0);
	ERR(n, ECONNRESET); /* the peer had not read all: a call that waits takes the error, */
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE); /* any later one finds a closed pipe */
	OK(peer_join(c));
}

/* ---- waiting ------------------------------------------------------------------------------------- */

static void each_way_to_wait(struct conn *c)
{
	char in[4];
	struct epoll_event e = { .events = EPOLLIN }, got;
	int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	for (int i = 0; i < 12; i++) {
		EQ(poll_one(c->fd, POLLIN, 0), 0);
		peer_send_later(c, i % 4 == 3 ? 0 : 20, "data", 4, 0);
		if (i % 3 == 0) {
			EQ(poll_one(c->fd, POLLIN, 5000), POLLIN);
		} else if (i % 3 == 1) {
			fd_set set;
			FD_ZERO(&set);
			FD_SET(c->fd, &set);
			EQ(select(c->fd + 1, &set, NULL, NULL, &(struct timeval){ 5, 0 }), 1);
			TRUE(FD_ISSET(c->fd, &set));
		} else {
			EQ(epoll_wait(ep, &got, 1, 5000), 1);
			EQ(got.events, EPOLLIN);
		}
		EQ(peer_join(c), 4);
		EQ(recv(c->fd, in, 4, MSG_DONTWAIT), 4);
		ERR(recv(c->fd, in, 4, MSG_DONTWAIT), EAGAIN);
	}
}

static void edges_of_a_full_socket(struct conn *c)
{
	struct epoll_event e = { .events = EPOLLOUT | EPOLLET }, got;
	int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	set_nonblock(c->fd, true);
	uint64_t sent = fill_until_full(c->fd);
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	EQ(epoll_wait(ep, &got, 1, 20), 0);
	uint64_t checked = 0;
	for (int round = 0; round < 4; round++) {
		peer_verify_later(c, 0, checked, sent - checked);
		EQ(epoll_wait(ep, &got, 1, 5000), 1);
		EQ(peer_join(c), sent - checked);
		checked = sent;
		/* Room again; the pattern goes on where it was. */
		char chunk[4096];
		ssize_t n;
		do {
			pattern_fill(chunk, sent, sizeof chunk);
			n = send(c->fd, chunk, sizeof chunk, MSG_NOSIGNAL);
			sent += n > 0 ? (uint64_t)n : 0;
		} while (n > 0);
		ERR(n, EAGAIN);
		TRUE(sent > checked);
		while (epoll_wait(ep, &got, 1, 0) == 1) /* edges of the reading so far */
			;
	}
	EQ(peer_verify(c, checked, sent - checked), sent - checked);
}

static void edges_of_what_comes(struct conn *c)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET }, got;
	int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	char in[8];
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	EQ(epoll_wait(ep, &got, 1, 0), 0);
	for (int i = 0; i < 3; i++) {
		EQ(peer_send_all(c, "data", 4), 4);
		EQ(epoll_wait(ep, &got, 1, 5000), 1);
		EQ(got.events, EPOLLIN);
		EQ(epoll_wait(ep, &got, 1, 20), 0);
		EQ(recv(c->fd, in, 2, 0), 2); /* a rest stays: no new edge */
		EQ(epoll_wait(ep, &got, 1, 20), 0);
		EQ(recv(c->fd, in, 2, 0), 2);
	}
	OK(peer_close(c));
	EQ(epoll_wait(ep, &got, 1, 5000), 1);
	EQ(got.events, EPOLLIN | EPOLLRDHUP | EPOLLHUP);
}

static void timeouts(struct conn *c)
{
	char in[8];
	set_timeout(c->fd, SO_RCVTIMEO, 30);
	ERR(recv(c->fd, in, 8, 0), EAGAIN);
	EQ(peer_send_all(c, "part", 4), 4);
	EQ(recv(c->fd, in, 8, MSG_WAITALL), 4);
	set_timeout(c->fd, SO_SNDTIMEO, 30);
	fill_until_full(c->fd);
	set_nonblock(c->fd, false);
	long n;
	do
		n = send(c->fd, "more", 4, MSG_NOSIGNAL);
	while (n > 0);
	ERR(n, EAGAIN);
}

static void signals_that_restart_and_not(struct conn *c)
{
	char in[4];
	signals_start(10, 0);
	ERR(recv(c->fd, in, 4, 0), EINTR);
	signals_stop();
	signals_start(10, SA_RESTART);
	peer_send_later(c, 100, "data", 4, 0);
	EQ(recv(c->fd, in, 4, 0), 4);
	EQ(peer_join(c), 4);
	TRUE(signals_seen() > 0);
	peer_send_later(c, 0, "da", 2, 0);
	EQ(peer_join(c), 2);
	EQ(recv(c->fd, in, 4, MSG_WAITALL), 2); /* interrupted with something in hand */
	signals_stop();
}

/* ---- bytes ---------------------------------------------------------------------------------------- */

static void flags_of_recv(struct conn *c)
{
	char in[16];
	int n = -1;
	EQ(peer_send_all(c, "abcdefgh", 8), 8);
	EQ(poll_until(c->fd, POLLIN, POLLIN), POLLIN);
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 8);
	EQ(recv(c->fd, in, 4, MSG_PEEK), 4);
	SAME(in, "abcd", 4);
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 8);
	EQ(recv(c->fd, in, 4, 0), 4);
	SAME(in, "abcd", 4);
	peer_send_later(c, 50, "ijkl", 4, 0);
	EQ(recv(c->fd, in, 8, MSG_WAITALL), 8);
	SAME(in, "efghijkl", 8);
	EQ(peer_join(c), 4);
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 0);
	/* Two writes come out in one read. */
	EQ(peer_send_all(c, "one", 3), 3);
	EQ(peer_send_all(c, "two", 3), 3);
	EQ(recv(c->fd, in, 16, 0), 6);
	SAME(in, "onetwo", 6);
	EQ(peer_send(c, "", 0, 0), 0); /* nothing at all, in a stream */
	ERR(recv(c->fd, in, 16, MSG_DONTWAIT), EAGAIN);
}

static void low_water_mark(struct conn *c)
{
	char in[8];
	int four = 4;
	OK(setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &four, sizeof four));
	EQ(peer_send_all(c, "ab", 2), 2);
	EQ(poll_until(c->fd, POLLIN, POLLIN), POLLIN); /* poll does not know of it */
	peer_send_later(c, 50, "cd", 2, 0);
	EQ(recv(c->fd, in, 8, 0), 4); /* and recv does */
	SAME(in, "abcd", 4);
	EQ(peer_join(c), 2);
}

static void a_duplicate(struct conn *c)
{
	char in[4];
	int twin = (int)OK(dup(c->fd));
	OK(close(c->fd));
	c->fd = twin;
	exchange(c, 12);
	int third = (int)OK(dup(c->fd));
	EQ(send(third, "more", 4, 0), 4);
	EQ(peer_recv_all(c, in, 4), 4);
	OK(shutdown(third, SHUT_WR));
	EQ(peer_recv(c, in, 4, 0), 0);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
}

static int pattern_file(size_t length)
{
	char name[] = "/tmp/c-tests-XXXXXX";
	int fd = (int)OK(mkstemp(name));
	OK(unlink(name));
	char *bytes = malloc(length);
	pattern_fill(bytes, 0, length);
	EQ(write(fd, bytes, length), length);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	free(bytes);
	return fd;
}

static void sendfile_into_it(struct conn *c)
{
	enum { LENGTH = 1 << 20 };
	int file = pattern_file(LENGTH);
	off_t from = 0;
	peer_verify_later(c, 0, 0, LENGTH);
	while (from < LENGTH)
		TRUE(OK(sendfile(c->fd, file, &from, (size_t)(LENGTH - from))) > 0);
	EQ(peer_join(c), LENGTH);
}

static void splice_through_it(struct conn *c)
{
	enum { LENGTH = 256 << 10 };
	int file = pattern_file(LENGTH), through[2];
	OK(pipe(through));
	peer_verify_later(c, 0, 0, LENGTH);
	for (long left = LENGTH; left > 0;) {
		long n = OK(splice(file, NULL, through[1], NULL, 16384, 0));
		for (left -= n; n > 0;)
			n -= OK(splice(through[0], NULL, c->fd, NULL, (size_t)n, 0));
	}
	EQ(peer_join(c), LENGTH);
	peer_produce_later(c, 0, 0, LENGTH);
	for (uint64_t done = 0; done < LENGTH;) {
		char in[16384];
		long n = OK(splice(c->fd, NULL, through[1], NULL, sizeof in, 0));
		TRUE(n > 0);
		EQ(read(through[0], in, sizeof in), n);
		EQ(pattern_differs(in, done, (size_t)n), -1);
		done += (uint64_t)n;
	}
	EQ(peer_join(c), LENGTH);
}

/* ---- long streams ---------------------------------------------------------------------------------- */

#define LONG_STREAM (16L << 20)

/* Sends and checks the pattern in both directions at once, by poll and calls that do not wait. */
static long both_ways(int *fd, long length, long unused)
{
	(void)unused;
	static _Thread_local char out[30000], in[50000];
	uint64_t sent = 0, received = 0, total = (uint64_t)length;
	set_nonblock(*fd, true);
	while (sent < total || received < total) {
		size_t part = total - sent < sizeof out ? (size_t)(total - sent) : sizeof out;
		pattern_fill(out, sent, part);
		ssize_t n = part > 0 ? send(*fd, out, part, MSG_NOSIGNAL) : 0;
		if (n < 0 && errno != EAGAIN)
			return -1;
		sent += n > 0 ? (uint64_t)n : 0;
		n = received < total ? recv(*fd, in, sizeof in, 0) : 0;
		if (n < 0 && errno != EAGAIN)
			return -2;
		if (n > 0 && pattern_differs(in, received, (size_t)n) >= 0)
			return -3;
		received += n > 0 ? (uint64_t)n : 0;
		int events = (sent < total ? POLLOUT : 0) | (received < total ? POLLIN : 0);
		if (events != 0 && poll_one(*fd, events, 5000) == 0)
			return -4;
	}
	set_nonblock(*fd, false);
	return (long)received;
}

static void long_stream_without_blocking(struct conn *c)
{
	peer_call_later(c, 0, both_ways, LONG_STREAM, 0);
	EQ(both_ways(&c->fd, LONG_STREAM, 0), LONG_STREAM);
	EQ(peer_join(c), LONG_STREAM);
}

static void check_stream(struct conn *c, long length)
{
	static char in[100000];
	for (uint64_t done = 0; done < (uint64_t)length;) {
		size_t part = (uint64_t)length - done < sizeof in ? (size_t)((uint64_t)length - done) : sizeof in;
		ssize_t n = OK(recv(c->fd, in, part, 0));
		TRUE(n > 0);
		EQ(pattern_differs(in, done, (size_t)n), -1);
		done += (uint64_t)n;
	}
}

static void long_stream_blocking(struct conn *c)
{
	peer_produce_later(c, 0, 0, LONG_STREAM);
	check_stream(c, LONG_STREAM);
	EQ(peer_join(c), LONG_STREAM);
	peer_verify_later(c, 0, 0, LONG_STREAM);
	char *bytes = malloc(LONG_STREAM);
	pattern_fill(bytes, 0, LONG_STREAM);
	EQ(send(c->fd, bytes, LONG_STREAM, 0), LONG_STREAM); /* all of it in one call */
	EQ(peer_join(c), LONG_STREAM);
	free(bytes);
}

struct writer {
	int fd;
	long result;
};

static void *write_pattern(void *argument)
{
	struct writer *w = argument;
	char *bytes = malloc(LONG_STREAM / 4);
	pattern_fill(bytes, 0, LONG_STREAM / 4);
	w->result = send_all(w->fd, bytes, LONG_STREAM / 4);
	free(bytes);
	return NULL;
}

static void one_thread_reads_another_writes(struct conn *c)
{
	struct writer w = { c->fd, 0 };
	pthread_t thread;
	peer_call_later(c, 0, both_ways, LONG_STREAM / 4, 0);
	EQ(pthread_create(&thread, NULL, write_pattern, &w), 0);
	check_stream(c, LONG_STREAM / 4);
	pthread_join(thread, NULL);
	EQ(w.result, LONG_STREAM / 4);
	EQ(peer_join(c), LONG_STREAM / 4);
}

static const struct test tests[] = {
	TEST(listener_with_a_path, ALONE),
	TEST(path_outlives_its_socket, ALONE),
	TEST(a_renamed_path_is_the_same_socket, ALONE),
	TEST(a_relative_path, ALONE),
	TEST(abstract_names_may_hold_anything, ALONE),
	TEST(names_of_the_kernels_choice, ALONE),
	TEST(address_of_the_sender, ALONE),
	TEST(permissions_of_the_path, ALONE),
	TEST(the_peer_closes, UNIX_EACH),
	TEST(the_peer_closes_unread, UNIX_EACH),
	TEST(the_error_can_be_asked_for, UNIX_EACH),
	TEST(linger_changes_nothing, UNIX_EACH),
	TEST(halves, UNIX_EACH),
	TEST(the_read_half, UNIX_EACH),
	TEST(the_peer_is_killed, UNIX_TWO),
	TEST(the_peer_is_killed_unread, UNIX_TWO),
	TEST(the_end_wakes_a_reader, UNIX_EACH),
	TEST(the_end_wakes_a_writer, UNIX_EACH),
	TEST(each_way_to_wait, UNIX_EACH),
	TEST(edges_of_a_full_socket, UNIX_EACH),
	TEST(edges_of_what_comes, UNIX_EACH),
	TEST(timeouts, UNIX_EACH),
	TEST(signals_that_restart_and_not, UNIX_EACH),
	TEST(flags_of_recv, UNIX_EACH),
	TEST(low_water_mark, UNIX_EACH),
	TEST(a_duplicate, UNIX_EACH),
	TEST(sendfile_into_it, UNIX_EACH),
	TEST(splice_through_it, UNIX_EACH),
	TEST(long_stream_without_blocking, UNIX_EACH),
	TEST(long_stream_blocking, UNIX_EACH),
	TEST(one_thread_reads_another_writes, UNIX_EACH),
};
MAIN(tests)
