/* unix(7): descriptors and credentials that travel within a stream, and streams that change hands. */
#include <sys/un.h>

#include "support.h"

/* ---- messages with something beside the bytes ------------------------------------------------ */

static long send_beside(int via, const char *words, const int *fds, int count)
{
	char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct iovec v = { (void *)words, strlen(words) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){ CMSG_LEN((size_t)count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(h), fds, (size_t)count * sizeof(int));
	return sendmsg(via, &m, MSG_NOSIGNAL);
}

struct arrival {
	long length;
	int flags, fds[16], count; /* of the descriptors */
	struct ucred from;	   /* pid 0 when there was none */
	char bytes[100];
};

static struct arrival receive(int fd, size_t length, size_t room, int flags)
{
	struct arrival a = { .count = 0 };
	char control[512] = { 0 };
	struct iovec v = { a.bytes, length };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room };
	a.length = recvmsg(fd, &m, flags);
	a.flags = m.msg_flags;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); a.length >= 0 && h != NULL; h = CMSG_NXTHDR(&m, h)) {
		EQ(h->cmsg_level, SOL_SOCKET);
		if (h->cmsg_type == SCM_RIGHTS) {
			a.count = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(a.fds, CMSG_DATA(h), (size_t)a.count * sizeof(int));
		} else {
			EQ(h->cmsg_type, SCM_CREDENTIALS);
			memcpy(&a.from, CMSG_DATA(h), sizeof a.from);
		}
	}
	return a;
}

#define PLENTY CMSG_SPACE(16 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))

/* A pipe with one letter in it: whoever has the descriptor can read the letter. */
static int letter(char which)
{
	int ends[2];
	OK(pipe(ends));
	EQ(write(ends[1], &which, 1), 1);
	OK(close(ends[1]));
	return ends[0];
}

static void is_letter(int fd, char which)
{
	char in = 0;
	EQ(read(fd, &in, 1), 1);
	EQ(in, which);
	OK(close(fd));
}

/* Sends `count` letters beside the bytes "m", from where the other end is. */
static long send_letters(int *fd, long first, long count)
{
	int fds[16] = { 0 };
	for (int i = 0; i < count; i++)
		fds[i] = letter((char)(first + i));
	long n = send_beside(*fd, "m", fds, (int)count);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	return n;
}

static void a_descriptor_in_its_place(struct conn *c)
{
	for (int round = 0; round < 12; round++) {
		EQ(peer_send_all(c, "before", 6), 6);
		EQ(peer_call(c, send_letters, 'a', 1), 1);
		EQ(peer_send_all(c, "after", 5), 5);
		/* A read ends behind the byte that brought a descriptor. */
		struct arrival a = receive(c->fd, 100, PLENTY, 0);
		EQ(a.length, 7);
		SAME(a.bytes, "beforem", 7);
		EQ(a.count, 1);
		is_letter(a.fds[0], 'a');
		a = receive(c->fd, 100, PLENTY, 0);
		EQ(a.length, 5);
		SAME(a.bytes, "after", 5);
		EQ(a.count, 0);
		exchange(c, 1);
	}
}

static void read_exactly_up_to_it(struct conn *c)
{
	EQ(peer_send_all(c, "before", 6), 6);
	EQ(peer_call(c, send_letters, 'a', 1), 1);
	struct arrival a = receive(c->fd, 6, PLENTY, 0);
	EQ(a.length, 6);
	EQ(a.count, 0);
	a = receive(c->fd, 6, PLENTY, 0);
	EQ(a.length, 1);
	EQ(a.count, 1);
	is_letter(a.fds[0], 'a');
	exchange(c, 3);
}

static void our_end_sends_them_too(struct conn *c)
{
	int fd = letter('x');
	char in[8];
	exchange(c, 2);
	EQ(send_all(c->fd, "before", 6), 6);
	EQ(send_beside(c->fd, "m", &fd, 1), 1);
	EQ(send_all(c->fd, "z", 1), 1);
	OK(close(fd));
	/* A plain recv closes what came beside, and stops there as well. */
	EQ(peer_recv(c, in, 8, 0), 7);
	SAME(in, "beforem", 7);
	EQ(peer_recv(c, in, 8, 0), 1);
	exchange(c, 12);
}

static void several_in_one_message(struct conn *c)
{
	EQ(peer_call(c, send_letters, 'a', 10), 1);
	struct arrival a = receive(c->fd, 100, PLENTY, MSG_CMSG_CLOEXEC);
	EQ(a.count, 10);
	for (int i = 0; i < 10; i++) {
		EQ(OK(fcntl(a.fds[i], F_GETFD)) & FD_CLOEXEC, FD_CLOEXEC);
		is_letter(a.fds[i], (char)('a' + i));
	}
	/* Two messages are never joined. */
	EQ(peer_call(c, send_letters, 'p', 1), 1);
	EQ(peer_call(c, send_letters, 'q', 1), 1);
	for (char which = 'p'; which <= 'q'; which++) {
		a = receive(c->fd, 100, PLENTY, 0);
		EQ(a.length, 1);
		EQ(a.count, 1);
		is_letter(a.fds[0], which);
	}
}

static void a_peek_gives_them_as_well(struct conn *c)
{
	EQ(peer_call(c, send_letters, 'a', 1), 1);
	struct arrival a = receive(c->fd, 100, PLENTY, MSG_PEEK), b = receive(c->fd, 100, PLENTY, 0);
	EQ(a.count, 1);
	EQ(b.count, 1);
	TRUE(a.fds[0] != b.fds[0]);
	OK(close(b.fds[0]));
	is_letter(a.fds[0], 'a');
}

static void too_little_room(struct conn *c)
{
	EQ(peer_call(c, send_letters, 'a', 3), 1);
	struct arrival a = receive(c->fd, 100, CMSG_LEN(sizeof(int)), 0);
	EQ(a.count, 1);
	TRUE(a.flags & MSG_CTRUNC);
	is_letter(a.fds[0], 'a');
	EQ(peer_call(c, send_letters, 'a', 1), 1);
	a = receive(c->fd, 100, 0, 0);
	EQ(a.length, 1);
	EQ(a.count, 0);
	TRUE(a.flags & MSG_CTRUNC);
	exchange(c, 3);
}

static void descriptors_that_are_none(struct conn *c)
{
	int closed = 900, many[16];
	char in[4];
	ERR(send_beside(c->fd, "m", &closed, 1), EBADF);
	for (int i = 0; i < 16; i++)
		many[i] = c->fd;
	EQ(send_beside(c->fd, "m", many, 16), 1);
	EQ(peer_recv(c, in, 4, 0), 1);
	/* Beside nothing they do not travel, in a stream. */
	EQ(send_beside(c->fd, "", many, 1), 0);
	exchange(c, 3);
}

/* ---- credentials ------------------------------------------------------------------------------ */

static pid_t pid_there(struct conn *c)
{
	return c->peer_pid > 0 ? c->peer_pid : getpid();
}

static void credentials_beside_the_bytes(struct conn *c)
{
	int on = 1, off = 0;
	for (int round = 0; round < 2; round++) {
		OK(setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
		EQ(peer_send_all(c, "words", 5), 5);
		struct arrival a = receive(c->fd, 100, PLENTY, 0);
		EQ(a.length, 5);
		EQ(a.from.pid, pid_there(c));
		EQ(a.from.uid, geteuid());
		OK(setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &off, sizeof off));
		EQ(peer_send_all(c, "words", 5), 5);
		a = receive(c->fd, 100, PLENTY, 0);
		EQ(a.length, 5);
		EQ(a.from.pid, 0);
		exchange(c, 10);
	}
}

static void credentials_with_a_descriptor(struct conn *c)
{
	int on = 1;
	OK(setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	exchange(c, 10);
	EQ(peer_call(c, send_letters, 'a', 2), 1);
	struct arrival a = receive(c->fd, 100, PLENTY, 0);
	EQ(a.from.pid, pid_there(c));
	EQ(a.count, 2);
	is_letter(a.fds[0], 'a');
	is_letter(a.fds[1], 'b');
}

static long send_credentials(int *fd, long pid, long unused)
{
	(void)unused;
	char control[CMSG_SPACE(sizeof(struct ucred))] = { 0 };
	struct iovec v = { "m", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){ CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS };
	struct ucred claimed = { pid > 0 ? (pid_t)pid : getpid(), geteuid(), getegid() };
	memcpy(CMSG_DATA(h), &claimed, sizeof claimed);
	return sendmsg(*fd, &m, MSG_NOSIGNAL);
}

static void credentials_that_are_claimed(struct conn *c)
{
	int on = 1;
	OK(setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	EQ(peer_call(c, send_credentials, 0, 0), 1);
	struct arrival a = receive(c->fd, 100, PLENTY, 0);
	EQ(a.from.pid, pid_there(c));
	if (geteuid() == 0) { /* with CAP_SYS_ADMIN any process that exists */
		EQ(peer_call(c, send_credentials, 1, 0), 1);
		a = receive(c->fd, 100, PLENTY, 0);
		EQ(a.from.pid, 1);
	}
	ERR(peer_call(c, send_credentials, 0x3ffffff, 0), ESRCH);
}

static long peer_of(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	struct ucred peer;
	socklen_t size = sizeof peer;
	return getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ? -1 : peer.pid;
}

static void credentials_of_the_peer(struct conn *c)
{
	/* A pair was made by this process, whoever has its ends; else they are of listen() and connect(). */
	pid_t there = c->variant->pair ? getpid() : pid_there(c);
	EQ(peer_of(&c->fd, 0, 0), there);
	EQ(peer_call(c, peer_of, 0, 0), getpid());
	exchange(c, 10);
	EQ(peer_of(&c->fd, 0, 0), there);
}

/* ---- an end of a pair goes to a stranger ------------------------------------------------------------- */

/* Takes an end of another pair from the connection, and answers on it until the stream there ends. */
static long take_and_answer(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	char in[64];
	struct arrival a = receive(*fd, 1, PLENTY, 0);
	if (a.count != 1)
		return -1;
	ssize_t n;
	long total = 0;
	while ((n = recv(a.fds[0], in, sizeof in, 0)) > 0) {
		if (send_all(a.fds[0], in, (size_t)n) != n)
			return -2;
		total += n;
	}
	close(a.fds[0]);
	return total;
}

static void pass_an_end(struct conn *c, bool warm, bool queued)
{
	int pair[2];
	char in[16];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	if (warm)
		warm_up_fds(pair[0], pair[1]);
	if (queued)
		EQ(send_all(pair[0], "queued", 6), 6);
	peer_call_later(c, 0, take_and_answer, 0, 0);
	EQ(send_beside(c->fd, "m", &pair[1], 1), 1);
	OK(close(pair[1]));
	if (queued) {
		EQ(recv_all(pair[0], in, 6), 6);
		SAME(in, "queued", 6);
	}
	for (int i = 0; i < 20; i++) {
		char out[16];
		sprintf(out, "round %07d", i);
		EQ(send_all(pair[0], out, 13), 13);
		EQ(recv_all(pair[0], in, 13), 13);
		SAME(in, out, 13);
	}
	OK(shutdown(pair[0], SHUT_WR));
	EQ(recv(pair[0], in, 16, 0), 0);
	EQ(peer_join(c), 20 * 13 + (queued ? 6 : 0));
	OK(close(pair[0]));
	exchange(c, 2);
}

static void fresh_end_to_a_stranger(struct conn *c)
{
	pass_an_end(c, false, false);
	pass_an_end(c, false, true);
}

static void warm_end_to_a_stranger(struct conn *c)
{
	pass_an_end(c, true, false);
	pass_an_end(c, true, true);
}

static void an_end_under_way_is_still_open(struct conn *c)
{
	int pair[2];
	char in[8];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	warm_up_fds(pair[0], pair[1]);
	EQ(send_beside(c->fd, "m", &pair[1], 1), 1);
	OK(close(pair[1]));
	EQ(poll_one(pair[0], POLLIN | POLLRDHUP, 30), 0);
	EQ(send_all(pair[0], "early", 5), 5);
	EQ(peer_recv(c, in, 8, 0), 1); /* a plain recv closes it */
	poll_until(pair[0], POLLIN, POLLHUP);
	ERR(recv(pair[0], in, 8, 0), ECONNRESET);
	EQ(recv(pair[0], in, 8, 0), 0);
	OK(close(pair[0]));
}

static void an_end_travels_through_itself(struct conn *c)
{
	(void)c;
	int pair[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	warm_up_fds(pair[0], pair[1]);
	EQ(send_beside(pair[0], "m", &pair[0], 1), 1);
	OK(close(pair[0]));
	struct arrival a = receive(pair[1], 8, PLENTY, 0);
	EQ(a.count, 1);
	warm_up_fds(a.fds[0], pair[1]);
	EQ(send_all(a.fds[0], "words", 5), 5);
	OK(close(a.fds[0]));
	char in[8];
	EQ(recv(pair[1], in, 8, 0), 5);
	EQ(recv(pair[1], in, 8, 0), 0);
}

static const struct test tests[] = {
	TEST(a_descriptor_in_its_place, UNIX_EACH),
	TEST(read_exactly_up_to_it, UNIX_EACH),
	TEST(our_end_sends_them_too, UNIX_EACH),
	TEST(several_in_one_message, UNIX_EACH),
	TEST(a_peek_gives_them_as_well, UNIX_EACH),
	TEST(too_little_room, UNIX_EACH),
	TEST(descriptors_that_are_none, UNIX_EACH),
	TEST(credentials_beside_the_bytes, UNIX_EACH),
	TEST(credentials_with_a_descriptor, UNIX_EACH),
	TEST(credentials_that_are_claimed, UNIX_EACH),
	TEST(credentials_of_the_peer, UNIX_EACH),
	TEST(fresh_end_to_a_stranger, UNIX_EACH),
	TEST(warm_end_to_a_stranger, UNIX_EACH),
	TEST(an_end_under_way_is_still_open, UNIX_EACH),
	TEST(an_end_travels_through_itself, ALONE),
};
MAIN(tests)
