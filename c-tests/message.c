/* unix(7): sockets that keep the boundaries of messages: SOCK_SEQPACKET and AF_UNIX SOCK_DGRAM. */
#include <sys/un.h>

#include "support.h"

#define PACKET_EACH SEQPACKET_EACH
#define DATAGRAM_EACH (DATAGRAM_PAIRS | V_DATAGRAM_WARM_TWO)
#define BOTH (PACKET_EACH | DATAGRAM_EACH)
#define ALL (POLLIN | POLLOUT | POLLRDHUP)

static bool is_packet(struct conn *c)
{
	return c->variant->type == SOCK_SEQPACKET;
}

#define NONE_IS_THERE(fd) ERR(recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT), EAGAIN)

static int autobound(int type)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = (int)OK(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
	OK(bind(fd, (struct sockaddr *)&un, sizeof un.sun_family));
	return fd;
}

static socklen_t name_of(int fd, struct sockaddr_un *un)
{
	socklen_t length = sizeof *un;
	OK(getsockname(fd, (struct sockaddr *)un, &length));
	return length;
}

static long send_to_fd(int fd, int other, const char *words, int flags)
{
	struct sockaddr_un un;
	socklen_t length = name_of(other, &un);
	return sendto(fd, words, strlen(words), flags, (struct sockaddr *)&un, length);
}

/* ---- boundaries ---------------------------------------------------------------------------------- */

static void each_message_alone(struct conn *c)
{
	char in[16];
	EQ(peer_send(c, "one", 3, 0), 3);
	EQ(peer_send(c, "three", 5, 0), 5);
	EQ(recv(c->fd, in, 16, 0), 3);
	SAME(in, "one", 3);
	EQ(recv(c->fd, in, 16, MSG_PEEK), 5);
	EQ(recv(c->fd, in, 16, MSG_WAITALL), 5);
	SAME(in, "three", 5);
	struct iovec v[2] = { { "ab", 2 }, { "cd", 2 } };
	EQ(writev(c->fd, v, 2), 4);
	EQ(peer_recv(c, in, 16, 0), 4);
	SAME(in, "abcd", 4);
	NONE_IS_THERE(c->fd);
}

static void truncation(struct conn *c)
{
	char in[4];
	struct iovec v = { in, 3 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	for (int i = 0; i < 4; i++)
		EQ(peer_send(c, "words", 5, 0), 5);
	EQ(recv(c->fd, in, 3, 0), 3);
	EQ(recv(c->fd, in, 3, MSG_PEEK | MSG_TRUNC), 5);
	EQ(recv(c->fd, in, 3, MSG_TRUNC), 5);
	EQ(recvmsg(c->fd, &m, 0), 3);
	EQ(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
	EQ(recv(c->fd, NULL, 0, 0), 0); /* takes it all the same */
	NONE_IS_THERE(c->fd);
}

/* The flag is taken, and lost: only the boundary itself arrives. */
static void end_of_record(struct conn *c)
{
	char in[8];
	struct iovec v = { in, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	for (int i = 0; i < 2; i++)
		EQ(peer_send(c, "one", 3, i == 0 ? MSG_EOR : 0), 3);
	for (int i = 0; i < 2; i++) {
		EQ(recvmsg(c->fd, &m, 0), 3);
		EQ(m.msg_flags & MSG_EOR, 0);
	}
}

static void empty_messages(struct conn *c)
{
	char in[4];
	EQ(peer_send(c, "", 0, 0), 0);
	EQ(peer_send(c, "full", 4, 0), 4);
	EQ(poll_one(c->fd, POLLIN, 1000), POLLIN);
	EQ(recv(c->fd, in, 4, 0), 0);
	EQ(recv(c->fd, in, 4, 0), 4);
	NONE_IS_THERE(c->fd);
}

static void fionread(struct conn *c)
{
	int n = -1;
	char in[8];
	EQ(peer_send(c, "three", 5, 0), 5);
	EQ(peer_send(c, "more", 4, 0), 4);
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, is_packet(c) ? 9 : 5); /* of all, or of the first */
	EQ(recv(c->fd, in, 8, 0), 5);
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 4);
}

static void each_size(struct conn *c)
{
	static const int sizes[] = { 1, 100, 4095, 4096, 4097, 16384, 32768, 65536, 100000, 150000 };
	char *out = malloc(150000), *in = malloc(150001);
	pattern_fill(out, 0, 150000);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		EQ(send(c->fd, out, (size_t)sizes[i], 0), sizes[i]);
		EQ(peer_recv(c, in, 150001, 0), sizes[i]);
		SAME(in, out, (size_t)sizes[i]);
	}
	free(out);
	free(in);
	char *big = calloc(1, 8 << 20);
	ERR(send(c->fd, big, 8 << 20, 0), EMSGSIZE);
	free(big);
}

static void many_at_once(struct conn *c)
{
	enum { COUNT = 8 };
	char out[COUNT][8], in[COUNT][8];
	struct iovec vo[COUNT], vi[COUNT];
	struct mmsghdr mo[COUNT] = { 0 }, mi[COUNT] = { 0 };
	for (int i = 0; i < COUNT; i++) {
		sprintf(out[i], "m%02d", i);
		vo[i] = (struct iovec){ out[i], (size_t)(i % 3 + 1) };
		vi[i] = (struct iovec){ in[i], 2 };
		mo[i].msg_hdr = (struct msghdr){ .msg_iov = &vo[i], .msg_iovlen = 1 };
		mi[i].msg_hdr = (struct msghdr){ .msg_iov = &vi[i], .msg_iovlen = 1 };
	}
	EQ(sendmmsg(c->fd, mo, COUNT, 0), COUNT);
	for (int i = 0; i < COUNT; i++) {
		EQ(mo[i].msg_len, i % 3 + 1);
		EQ(peer_recv(c, in[0], 8, 0), i % 3 + 1);
		SAME(in[0], out[i], (size_t)(i % 3 + 1));
	}
	for (int i = 0; i < COUNT; i++)
		EQ(peer_send(c, out[i], 3, 0), 3);
	EQ(recvmmsg(c->fd, mi, COUNT, MSG_WAITFORONE, NULL), COUNT);
	for (int i = 0; i < COUNT; i++) {
		EQ(mi[i].msg_len, 2);
		EQ(mi[i].msg_hdr.msg_flags & MSG_TRUNC, MSG_TRUNC);
		SAME(in[i], out[i], 2);
	}
	ERR(recvmmsg(c->fd, mi, COUNT, MSG_DONTWAIT, NULL), EAGAIN);
}

/* ---- back pressure ----------------------------------------------------------------------------------- */

static int fill_with_numbers(int fd)
{
	int n = 0;
	for (; send(fd, &n, sizeof n, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof n; n++)
		;
	EQ(errno, EAGAIN);
	return n;
}

static long take_number(int *fd, long expected, long unused)
{
	(void)unused;
	int n = -1;
	return recv(*fd, &n, sizeof n, 0) == sizeof n && n == expected;
}

/* All of them, in order: between two sockets that are connected to each other no length of a queue counts, and a
 * sender that waits for buffer space sleeps until three quarters of it are free. To take one may not wake it. */
static long take_numbers(int *fd, long from, long to)
{
	for (long n = from; n < to; n++)
		if (take_number(fd, n, 0) != 1)
			return n;
	return to;
}

static void a_full_one(struct conn *c)
{
	int count = fill_with_numbers(c->fd), n = 0;
	TRUE(count > 0);
	EQ(poll_one(c->fd, POLLOUT, 20), 0);
	EQ(peer_call(c, take_numbers, 0, count), count);
	TRUE(poll_one(c->fd, POLLOUT, 2000) & POLLOUT);
	exchange(c, 2);
	/* A sender that waits goes on when there is room again. */
	count = fill_with_numbers(c->fd);
	peer_call_later(c, 50, take_numbers, 0, count + 1);
	EQ(send(c->fd, &count, sizeof count, 0), sizeof count);
	EQ(peer_join(c), count + 1);
	set_timeout(c->fd, SO_SNDTIMEO, 30);
	fill_with_numbers(c->fd);
	ERR(send(c->fd, &n, sizeof n, 0), EAGAIN);
}

static void edges_of_room(struct conn *c)
{
	int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC)), count = fill_with_numbers(c->fd);
	struct epoll_event e = { .events = EPOLLOUT | EPOLLET }, got;
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	EQ(epoll_wait(ep, &got, 1, 20), 0);
	EQ(peer_call(c, take_numbers, 0, count), count);
	EQ(epoll_wait(ep, &got, 1, 2000), 1);
	TRUE(got.events & EPOLLOUT);
}

static void two_into_one_slow_receiver(struct conn *c)
{
	(void)c;
	enum { COUNT = 500 };
	int to = autobound(SOCK_DGRAM), senders[2] = { autobound(SOCK_DGRAM), autobound(SOCK_DGRAM) }, next[2] = { 0 };
	int sent[2] = { 0 };
	struct sockaddr_un un;
	socklen_t length = name_of(to, &un);
	for (int i = 0; i < 2; i++) {
		OK(connect(senders[i], (struct sockaddr *)&un, length));
		set_nonblock(senders[i], true);
	}
	while (next[0] < COUNT || next[1] < COUNT) {
		for (int i = 0; i < 2; i++)
			for (;;) {
				int words[2] = { i, sent[i] };
				if (sent[i] == COUNT || send(senders[i], words, sizeof words, 0) < 0)
					break;
				sent[i]++;
			}
		int words[2];
		EQ(recv(to, words, sizeof words, MSG_DONTWAIT), sizeof words);
		EQ(words[1], next[words[0]]);
		next[words[0]]++;
	}
	NONE_IS_THERE(to);
}

/* ---- the end -------------------------------------------------------------------------------------------- */

static void the_peer_closes(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "last", 4, 0), 4);
	OK(peer_close(c));
	if (is_packet(c)) {
		EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
		EQ(recv(c->fd, in, 8, 0), 4);
		EQ(recv(c->fd, in, 8, 0), 0);
		EQ(recv(c->fd, in, 8, 0), 0);
		ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
		count_sigpipe();
		ERR(send(c->fd, "x", 1, 0), EPIPE);
		EQ(sigpipes_seen(), 0); /* that is for streams alone */
	} else {
		EQ(recv(c->fd, in, 8, 0), 4);
		count_sigpipe();
		ERR(send(c->fd, "x", 1, 0), ECONNREFUSED);
		ERR(send(c->fd, "x", 1, 0), ENOTCONN); /* that has disconnected it */
		EQ(sigpipes_seen(), 0);
		NONE_IS_THERE(c->fd);
	}
}

static void the_peer_closes_unread(struct conn *c)
{
	char in[8];
	EQ(send(c->fd, "unread", 6, 0), 6);
	OK(peer_close(c));
	if (is_packet(c)) {
		TRUE(poll_until(c->fd, ALL, POLLHUP) & POLLERR);
		ERR(recv(c->fd, in, 8, 0), ECONNRESET);
		EQ(recv(c->fd, in, 8, 0), 0);
	} else {
		NONE_IS_THERE(c->fd);
		ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), ECONNREFUSED);
	}
}

static void the_peer_is_killed(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "last", 4, 0), 4);
	peer_kill(c);
	EQ(recv(c->fd, in, 8, 0), 4);
	if (is_packet(c))
		EQ(recv(c->fd, in, 8, 0), 0);
	else
		ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), ECONNREFUSED);
}

static void halves(struct conn *c)
{
	char in[8];
	OK(shutdown(c->fd, SHUT_WR));
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(peer_send(c, "back", 4, 0), 4);
	EQ(recv(c->fd, in, 8, 0), 4);
	if (is_packet(c)) {
		EQ(peer_recv(c, in, 8, 0), 0);
		OK(peer_shutdown(c, SHUT_WR));
		EQ(recv(c->fd, in, 8, 0), 0);
	} else {
		ERR(peer_recv(c, in, 8, MSG_DONTWAIT), EAGAIN); /* it is not told */
		OK(shutdown(c->fd, SHUT_RD));
		EQ(recv(c->fd, in, 8, 0), 0);
		ERR(peer_send(c, "x", 1, 0), EPIPE);
	}
}

static void waking(struct conn *c)
{
	char in[8];
	peer_send_later(c, 50, "late", 4, 0);
	EQ(recv(c->fd, in, 8, 0), 4);
	EQ(peer_join(c), 4);
	peer_send_later(c, 30, "late", 4, 0);
	EQ(poll_one(c->fd, POLLIN, 5000), POLLIN);
	EQ(peer_join(c), 4);
	EQ(recv(c->fd, in, 8, 0), 4);
	set_timeout(c->fd, SO_RCVTIMEO, 30);
	ERR(recv(c->fd, in, 8, 0), EAGAIN);
	set_timeout(c->fd, SO_RCVTIMEO, 0);
	signals_start(10, 0);
	ERR(recv(c->fd, in, 8, 0), EINTR);
	signals_stop();
	if (is_packet(c)) {
		peer_close_later(c, 50);
		EQ(recv(c->fd, in, 8, 0), 0);
		OK(peer_join(c));
	}
}

/* ---- names -------------------------------------------------------------------------------------------- */

static void datagrams_by_name(struct conn *c)
{
	(void)c;
	int a = autobound(SOCK_DGRAM), b = autobound(SOCK_DGRAM), nameless = (int)OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	struct sockaddr_un from, un;
	socklen_t length, expected = name_of(b, &un);
	char in[8];
	for (int i = 0; i < 12; i++) {
		EQ(send_to_fd(b, a, "named", 0), 5);
		length = sizeof from;
		EQ(recvfrom(a, in, 8, 0, (struct sockaddr *)&from, &length), 5);
		EQ(length, expected);
		SAME(&from, &un, length);
		EQ(sendto(a, "back", 4, 0, (struct sockaddr *)&from, length), 4);
		EQ(recv(b, in, 8, 0), 4);
		EQ(send_to_fd(nameless, a, "nobody", 0), 6);
		length = sizeof from;
		EQ(recvfrom(a, in, 8, 0, (struct sockaddr *)&from, &length), 6);
		EQ(length, 0);
	}
	ERR(send(nameless, "x", 1, 0), ENOTCONN);
	OK(close(b));
	ERR(sendto(a, "x", 1, 0, (struct sockaddr *)&un, expected), ECONNREFUSED);
}

static void datagrams_to_a_path(struct conn *c)
{
	(void)c;
	char folder[] = "/tmp/c-tests-XXXXXX", in[8];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	TRUE(mkdtemp(folder) != NULL);
	snprintf(un.sun_path, sizeof un.sun_path, "%s/s", folder);
	int to = (int)OK(socket(AF_UNIX, SOCK_DGRAM, 0)), from = (int)OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(bind(to, (struct sockaddr *)&un, sizeof un));
	for (int i = 0; i < 12; i++) {
		EQ(sendto(from, "words", 5, 0, (struct sockaddr *)&un, sizeof un), 5);
		EQ(recv(to, in, 8, 0), 5);
	}
	int stream = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0)), packet = (int)OK(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	ERR(connect(stream, (struct sockaddr *)&un, sizeof un), EPROTOTYPE);
	ERR(connect(packet, (struct sockaddr *)&un, sizeof un), EPROTOTYPE);
	EQ(sendto(from, "left", 4, 0, (struct sockaddr *)&un, sizeof un), 4);
	OK(unlink(un.sun_path));
	ERR(sendto(from, "x", 1, 0, (struct sockaddr *)&un, sizeof un), ENOENT);
	EQ(recv(to, in, 8, 0), 4);
	OK(rmdir(folder));
}

static void a_connected_datagram_socket_filters(struct conn *c)
{
	(void)c;
	int a = autobound(SOCK_DGRAM), peer = autobound(SOCK_DGRAM), other = autobound(SOCK_DGRAM);
	struct sockaddr_un un;
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	char in[8];
	EQ(send_to_fd(other, a, "early", 0), 5);
	socklen_t length = name_of(peer, &un);
	OK(connect(a, (struct sockaddr *)&un, length));
	EQ(recv(a, in, 8, 0), 5);
	ERR(send_to_fd(other, a, "x", 0), EPERM);
	for (int i = 0; i < 12; i++) {
		EQ(send_to_fd(peer, a, "peer", 0), 4);
		EQ(recv(a, in, 8, 0), 4);
		EQ(send(a, "back", 4, 0), 4);
		EQ(recv(peer, in, 8, 0), 4);
	}
	EQ(send_to_fd(a, other, "aside", 0), 5); /* it may send elsewhere all the same */
	EQ(recv(other, in, 8, 0), 5);
	OK(connect(a, &none, sizeof none));
	EQ(send_to_fd(other, a, "again", 0), 5);
	EQ(recv(a, in, 8, 0), 5);
	ERR(send(a, "x", 1, 0), ENOTCONN);
}

static void packets_by_connect(struct conn *c)
{
	(void)c;
	int listener = autobound(SOCK_SEQPACKET), client = (int)OK(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	struct sockaddr_un un;
	socklen_t length = name_of(listener, &un);
	char in[8];
	ERR(connect(client, (struct sockaddr *)&un, length), ECONNREFUSED);
	ERR(send(client, "x", 1, MSG_NOSIGNAL), ENOTCONN);
	OK(listen(listener, 3));
	OK(connect(client, (struct sockaddr *)&un, length));
	EQ(send(client, "early", 5, 0), 5); /* before it is accepted */
	int served = (int)OK(accept(listener, NULL, NULL));
	EQ(recv(served, in, 8, 0), 5);
	for (int i = 0; i < 12; i++) {
		EQ(send(client, "ask", 3, 0), 3);
		EQ(send(client, "more", 4, 0), 4);
		EQ(recv(served, in, 8, 0), 3);
		EQ(recv(served, in, 8, 0), 4);
		EQ(send(served, "answer", 6, 0), 6);
		EQ(recv(client, in, 8, 0), 6);
	}
	EQ(sendto(client, "x", 1, 0, (struct sockaddr *)&un, length), 1); /* an address does not matter */
	EQ(recv(served, in, 8, 0), 1);
}

/* ---- what comes beside, and other processes ---------------------------------------------------------------- */

static long send_pipe(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	int ends[2];
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec v = { "m", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	OK(pipe(ends));
	EQ(write(ends[1], "letter", 6), 6);
	*h = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(h), &ends[0], sizeof(int));
	long n = sendmsg(*fd, &m, MSG_NOSIGNAL);
	close(ends[0]);
	close(ends[1]);
	return n;
}

static void descriptors_in_their_place(struct conn *c)
{
	char in[8], control[64];
	for (int i = 0; i < 3; i++) {
		struct iovec v = { in, 8 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64 };
		EQ(peer_send(c, "before", 6, 0), 6);
		EQ(peer_call(c, send_pipe, 0, 0), 1);
		EQ(peer_send(c, "after", 5, 0), 5);
		EQ(recvmsg(c->fd, &m, 0), 6);
		EQ(m.msg_controllen, 0);
		m.msg_controllen = 64;
		EQ(recvmsg(c->fd, &m, 0), 1);
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		TRUE(h != NULL);
		int fd;
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
		EQ(read(fd, in, 8), 6);
		SAME(in, "letter", 6);
		OK(close(fd));
		m.msg_controllen = 64;
		EQ(recvmsg(c->fd, &m, 0), 5);
		EQ(m.msg_controllen, 0);
		exchange(c, 10);
	}
}

static void credentials(struct conn *c)
{
	int on = 1;
	char in[8], control[64];
	struct iovec v = { in, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64 };
	OK(setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	EQ(peer_send(c, "words", 5, 0), 5);
	EQ(recvmsg(c->fd, &m, 0), 5);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	TRUE(h != NULL && h->cmsg_type == SCM_CREDENTIALS);
	struct ucred from;
	memcpy(&from, CMSG_DATA(h), sizeof from);
	EQ(from.pid, c->peer_pid > 0 ? c->peer_pid : getpid());
}

static void lent_to_a_program(struct conn *c)
{
	char number[16], in[16], out[16];
	sprintf(number, "%d", c->fd);
	for (int statically = 0; statically < 2; statically++) {
		EQ(peer_send(c, "queued", 6, 0), 6);
		pid_t child = start_echo(statically, c->fd, "records", number, "21", NULL);
		EQ(peer_recv(c, in, 16, 0), 6);
		for (int i = 0; i < 20; i++) {
			int n = sprintf(out, "round %d", i);
			EQ(peer_send(c, out, (size_t)n, 0), n);
			EQ(peer_recv(c, in, 16, 0), n);
			SAME(in, out, (size_t)n);
		}
		join_child(child);
		exchange(c, 12);
	}
}

static void take_half(void *argument)
{
	struct conn *c = argument;
	char in[4];
	EQ(recv(c->fd, in, 4, 0), 1);
	EQ(send(c->fd, in, 1, 0), 1);
}

static void a_child_shares_it(struct conn *c)
{
	char in[4];
	EQ(peer_send(c, "a", 1, 0), 1);
	EQ(peer_send(c, "b", 1, 0), 1);
	join_child(fork_child(take_half, c));
	take_half(c);
	EQ(peer_recv(c, in, 4, 0), 1);
	EQ(in[0], 'a');
	EQ(peer_recv(c, in, 4, 0), 1);
	EQ(in[0], 'b');
	exchange(c, 3);
}

static const struct test tests[] = {
	TEST(each_message_alone, BOTH),
	TEST(truncation, BOTH),
	TEST(end_of_record, BOTH),
	TEST(empty_messages, DATAGRAM_EACH),
	TEST(fionread, BOTH),
	TEST(each_size, BOTH),
	TEST(many_at_once, BOTH),
	TEST(a_full_one, BOTH),
	TEST(edges_of_room, BOTH),
	TEST(two_into_one_slow_receiver, ALONE),
	TEST(the_peer_closes, BOTH),
	TEST(the_peer_closes_unread, BOTH),
	TEST(the_peer_is_killed, SEQPACKET_TWO | V_DATAGRAM_WARM_TWO | V_DATAGRAM_PAIR_WARM_TWO),
	TEST(halves, BOTH),
	TEST(waking, BOTH),
	TEST(datagrams_by_name, ALONE),
	TEST(datagrams_to_a_path, ALONE),
	TEST(a_connected_datagram_socket_filters, ALONE),
	TEST(packets_by_connect, ALONE),
	TEST(descriptors_in_their_place, BOTH),
	TEST(credentials, BOTH),
	TEST(lent_to_a_program, BOTH),
	TEST(a_child_shares_it, BOTH),
};
MAIN(tests)
