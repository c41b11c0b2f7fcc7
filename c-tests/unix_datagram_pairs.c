/* unix(7): pairs of SOCK_DGRAM sockets that socketpair(2) has made: they know of no end, and each may be connected
 * elsewhere. What they share with SOCK_SEQPACKET is in message.c. */
#include <sys/un.h>

#include "support.h"

#define ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP)
#define NONE_IS_THERE(fd) ERR(recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT), EAGAIN)

static int made(void)
{
	return (int)OK(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

static socklen_t autobind(int fd, struct sockaddr_un *un)
{
	socklen_t length = sizeof *un;
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	OK(bind(fd, (struct sockaddr *)un, sizeof un->sun_family));
	OK(getsockname(fd, (struct sockaddr *)un, &length));
	return length;
}

static long connect_elsewhere(int fd, int *other)
{
	struct sockaddr_un un;
	*other = made();
	socklen_t length = autobind(*other, &un);
	return connect(fd, (struct sockaddr *)&un, length);
}

static long disconnect(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	struct sockaddr away = { .sa_family = AF_UNSPEC };
	return connect(*fd, &away, sizeof away);
}

static int pending(int fd)
{
	int value = -1;
	socklen_t size = sizeof value;
	OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size));
	return value;
}

static int fill(int fd)
{
	static char out[1000];
	int n = 0;
	while (send(fd, out, sizeof out, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof out)
		n++;
	EQ(errno, EAGAIN);
	return n;
}

/* ---- the other end closes ---------------------------------------------------------------------- */

static void nobody_is_told_of_the_end(struct conn *c)
{
	char in[8];
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET }, got;
	int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	EQ(peer_send(c, "last", 4, 0), 4);
	EQ(send(c->fd, "unread", 6, 0), 6);
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	while (epoll_wait(ep, &got, 1, 20) == 1)
		;
	OK(peer_close(c));
	while (epoll_wait(ep, &got, 1, 20) == 1)
		EQ(got.events & ~(EPOLLIN | EPOLLOUT), 0); /* what was unread there is freed */
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT);
	EQ(recv(c->fd, in, 8, 0), 4);
	NONE_IS_THERE(c->fd);
	set_timeout(c->fd, SO_RCVTIMEO, 30);
	ERR(recv(c->fd, in, 8, 0), EAGAIN);
	EQ(poll_one(c->fd, ALL, 0), POLLOUT);
	EQ(pending(c->fd), 0);
}

static void a_send_finds_out(struct conn *c)
{
	static char big[1 << 20];
	char in[8];
	struct sockaddr_un un;
	socklen_t length = sizeof un;
	EQ(peer_send(c, "last", 4, 0), 4);
	OK(peer_close(c));
	EQ(recv(c->fd, in, 8, MSG_PEEK), 4);
	ERR(send(c->fd, big, sizeof big, 0), EMSGSIZE);
	OK(getpeername(c->fd, (struct sockaddr *)&un, &length));
	count_sigpipe();
	ERR(send(c->fd, "", 0, 0), ECONNREFUSED);
	/* It is connected no more, and what was in its queue is thrown away. */
	ERR(send(c->fd, "x", 1, 0), ENOTCONN);
	ERR(write(c->fd, "x", 1), ENOTCONN);
	ERR(getpeername(c->fd, (struct sockaddr *)&un, &length), ENOTCONN);
	EQ(sigpipes_seen(), 0);
	NONE_IS_THERE(c->fd);
	EQ(poll_one(c->fd, ALL, 0), POLLOUT);
	/* And may be connected to another. */
	int other;
	OK(connect_elsewhere(c->fd, &other));
	EQ(send(c->fd, "hello", 5, 0), 5);
	EQ(recv(other, in, 8, 0), 5);
}

static void a_full_one_is_refused(struct conn *c)
{
	fill(c->fd);
	EQ(poll_one(c->fd, ALL, 0), 0);
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLOUT), POLLOUT);
	ERR(send(c->fd, "x", 1, MSG_DONTWAIT), ECONNREFUSED);
}

static void a_sender_that_waits(struct conn *c)
{
	fill(c->fd);
	peer_close_later(c, 50);
	ERR(send(c->fd, "x", 1, 0), ECONNREFUSED);
	OK(peer_join(c));
	ERR(send(c->fd, "x", 1, 0), ENOTCONN);
}

static void the_peer_is_killed(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "last", 4, 0), 4);
	EQ(send(c->fd, "unread", 6, 0), 6);
	peer_kill(c);
	EQ(recv(c->fd, in, 8, 0), 4);
	NONE_IS_THERE(c->fd);
	EQ(poll_one(c->fd, ALL, 0), POLLOUT);
	ERR(send(c->fd, "x", 1, 0), ECONNREFUSED);
	ERR(send(c->fd, "x", 1, 0), ENOTCONN);
}

/* ---- halves ------------------------------------------------------------------------------------------ */

static void the_write_half(struct conn *c)
{
	char in[8];
	OK(shutdown(c->fd, SHUT_WR));
	count_sigpipe();
	ERR(send(c->fd, "x", 1, 0), EPIPE);
	EQ(sigpipes_seen(), 0);
	EQ(poll_one(c->fd, ALL, 0), POLLOUT);
	EQ(peer_poll(c, ALL, 50), POLLOUT);
	ERR(peer_recv(c, in, 8, MSG_DONTWAIT), EAGAIN);
	EQ(peer_send(c, "goes", 4, 0), 4);
	EQ(recv(c->fd, in, 8, 0), 4);
}

static void the_read_half(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "there", 5, 0), 5);
	OK(shutdown(c->fd, SHUT_RD));
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP);
	EQ(peer_poll(c, ALL, 50), POLLOUT);
	ERR(peer_send(c, "x", 1, 0), EPIPE);
	EQ(recv(c->fd, in, 8, 0), 5);
	EQ(recv(c->fd, in, 8, 0), 0);
	NONE_IS_THERE(c->fd); /* a call that does not wait never sees the end */
	EQ(send(c->fd, "goes", 4, 0), 4);
	EQ(peer_recv(c, in, 8, 0), 4);
	OK(shutdown(c->fd, SHUT_WR));
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQ(peer_poll(c, ALL, 50), POLLOUT);
}

/* Room is looked at before the receiver is. */
static void the_read_half_of_a_full_one(struct conn *c)
{
	fill(c->fd);
	OK(peer_shutdown(c, SHUT_RD));
	ERR(send(c->fd, "x", 1, MSG_DONTWAIT), EAGAIN);
	EQ(poll_one(c->fd, ALL, 0), 0);
}

/* ---- connected elsewhere --------------------------------------------------------------------------------- */

static void an_end_that_disconnects(struct conn *c)
{
	char in[8];
	OK(disconnect(&c->fd, 0, 0));
	ERR(send(c->fd, "x", 1, 0), ENOTCONN);
	/* The other end is still connected to it. */
	EQ(peer_send(c, "more", 4, 0), 4);
	EQ(recv(c->fd, in, 8, 0), 4);
}

static void an_end_that_disconnects_unread(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "lost", 4, 0), 4);
	EQ(send(c->fd, "kept", 4, 0), 4);
	OK(disconnect(&c->fd, 0, 0));
	NONE_IS_THERE(c->fd);
	ERR(peer_recv(c, in, 8, 0), ECONNRESET); /* once, and before what is in its queue */
	EQ(peer_recv(c, in, 8, 0), 4);
	EQ(peer_send(c, "more", 4, 0), 4);
	EQ(recv(c->fd, in, 8, 0), 4);
}

static void the_other_end_disconnects(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "kept", 4, 0), 4);
	EQ(send(c->fd, "lost", 4, 0), 4);
	OK(peer_call(c, disconnect, 0, 0));
	EQ(poll_until(c->fd, ALL, POLLERR), POLLIN | POLLOUT | POLLERR);
	ERR(send(c->fd, "x", 1, 0), ECONNRESET);
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT);
	EQ(recv(c->fd, in, 8, 0), 4);
	EQ(send(c->fd, "more", 4, 0), 4);
	EQ(peer_recv(c, in, 8, 0), 4);
	ERR(peer_send(c, "x", 1, 0), ENOTCONN);
}

static void an_end_that_connects_elsewhere(struct conn *c)
{
	char in[8];
	int other;
	EQ(peer_send(c, "lost", 4, 0), 4);
	EQ(send(c->fd, "kept", 4, 0), 4);
	OK(connect_elsewhere(c->fd, &other));
	NONE_IS_THERE(c->fd);
	ERR(peer_recv(c, in, 8, 0), ECONNRESET);
	EQ(peer_recv(c, in, 8, 0), 4);
	ERR(peer_send(c, "x", 1, 0), EPERM); /* we listen to another now */
	EQ(send(c->fd, "hello", 5, 0), 5);
	EQ(recv(other, in, 8, 0), 5);
	NONE_IS_THERE(c->fd);
}

static void a_third_socket(struct conn *c)
{
	struct sockaddr_un un;
	char in[8];
	int third = made(), other = made();
	socklen_t length = autobind(c->fd, &un), got;
	ERR(sendto(third, "x", 1, 0, (struct sockaddr *)&un, length), EPERM);
	ERR(connect(third, (struct sockaddr *)&un, length), EPERM);
	/* The end itself may send to others, and still talks to its peer, with its name. */
	struct sockaddr_un at, seen;
	socklen_t at_length = autobind(other, &at);
	EQ(sendto(c->fd, "aside", 5, 0, (struct sockaddr *)&at, at_length), 5);
	got = sizeof seen;
	EQ(recvfrom(other, in, 8, 0, (struct sockaddr *)&seen, &got), 5);
	EQ(got, length);
	SAME(&seen, &un, length);
	exchange(c, 12);
	/* An answer is not let in. */
	ERR(sendto(other, "x", 1, 0, (struct sockaddr *)&un, length), EPERM);
	OK(disconnect(&c->fd, 0, 0));
	EQ(sendto(third, "now", 3, 0, (struct sockaddr *)&un, length), 3);
	EQ(recv(c->fd, in, 8, 0), 3);
}

static void the_same_peer_again(struct conn *c)
{
	char in[8];
	int pair[2];
	struct sockaddr_un un;
	(void)c;
	OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair));
	socklen_t length = autobind(pair[1], &un);
	for (int i = 0; i < 3; i++) {
		EQ(send(pair[1], "kept", 4, 0), 4);
		OK(connect(pair[0], (struct sockaddr *)&un, length));
		EQ(recv(pair[0], in, 8, MSG_DONTWAIT), 4);
		EQ(sendto(pair[0], "named", 5, 0, (struct sockaddr *)&un, length), 5);
		EQ(recv(pair[1], in, 8, MSG_DONTWAIT), 5);
		warm_up_fds(pair[0], pair[1]);
	}
}

static void addresses_are_looked_at(struct conn *c)
{
	struct sockaddr_un none = { AF_UNIX, "/nonexistent" };
	struct sockaddr_in other = { .sin_family = AF_INET };
	char in[8];
	ERR(sendto(c->fd, "x", 1, 0, (struct sockaddr *)&none, sizeof none), ENOENT);
	ERR(sendto(c->fd, "x", 1, 0, (struct sockaddr *)&none, 1), EINVAL);
	ERR(sendto(c->fd, "x", 1, 0, (struct sockaddr *)&other, sizeof other), EINVAL);
	ERR(peer_recv(c, in, 8, MSG_DONTWAIT), EAGAIN);
	ERR(listen(c->fd, 1), EOPNOTSUPP);
	ERR(accept(c->fd, NULL, NULL), EOPNOTSUPP);
	ERR(send(c->fd, "x", 1, MSG_OOB), EOPNOTSUPP);
	exchange(c, 2);
}

static void sends_a_descriptor(int fd)
{
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof fd)]; } control = { 0 };
	struct iovec v = { "a", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	control.header = (struct cmsghdr){ CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	EQ(sendmsg(fd, &m, 0), 1);
}

/* One datagram comes by the kernel, another beside it: both are told by a level, with one received each time. */
static void two_ways_to_one(struct conn *c)
{
	(void)c;
	struct sockaddr_un un;
	char in[8];
	int receiver = made(), senders[2] = { made(), made() }, ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	socklen_t length = autobind(receiver, &un);
	for (int i = 0; i < 2; i++)
		OK(connect(senders[i], (struct sockaddr *)&un, length));
	for (int i = 0; i < 8; i++) {
		EQ(send(senders[i % 2], "warm", 4, 0), 4);
		EQ(recv(receiver, in, 8, 0), 4);
	}
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, receiver, &(struct epoll_event){ .events = EPOLLIN }));
	for (int round = 0; round < 5; round++) {
		struct epoll_event event;
		sends_a_descriptor(senders[0]);
		EQ(send(senders[1], "b", 1, 0), 1);
		for (int i = 0; i < 2; i++) {
			EQ(epoll_wait(ep, &event, 1, 1000), 1);
			EQ(recv(receiver, in, 8, MSG_DONTWAIT), 1);
		}
		EQ(epoll_wait(ep, &event, 1, 0), 0);
	}
	close(ep);
	close(receiver);
	close(senders[0]);
	close(senders[1]);
}

static const struct test tests[] = {
	TEST(nobody_is_told_of_the_end, DATAGRAM_PAIRS),
	TEST(a_send_finds_out, DATAGRAM_PAIRS),
	TEST(a_full_one_is_refused, DATAGRAM_PAIRS),
	TEST(a_sender_that_waits, DATAGRAM_PAIRS),
	TEST(the_peer_is_killed, V_DATAGRAM_PAIR_WARM_TWO),
	TEST(the_write_half, DATAGRAM_PAIRS),
	TEST(the_read_half, DATAGRAM_PAIRS),
	TEST(the_read_half_of_a_full_one, DATAGRAM_PAIRS),
	TEST(an_end_that_disconnects, DATAGRAM_PAIRS),
	TEST(an_end_that_disconnects_unread, DATAGRAM_PAIRS),
	TEST(the_other_end_disconnects, DATAGRAM_PAIRS),
	TEST(an_end_that_connects_elsewhere, DATAGRAM_PAIRS),
	TEST(a_third_socket, DATAGRAM_PAIRS),
	TEST(two_ways_to_one, ALONE),
	TEST(the_same_peer_again, ALONE),
	TEST(addresses_are_looked_at, DATAGRAM_PAIRS),
};
MAIN(tests)
