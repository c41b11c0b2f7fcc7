/* send(2), sendto(2), sendmsg(2), sendmmsg(2). */
#include "support.h"

static void plain(struct conn *c)
{
	char in[16];
	for (int i = 0; i < 10; i++) {
		EQ(send(c->fd, "hello", 5, 0), 5);
		EQ(sendto(c->fd, "world", 5, 0, NULL, 0), 5);
		EQ(peer_recv_all(c, in, 10), 10);
		SAME(in, "helloworld", 10);
	}
	EQ(send(c->fd, "", 0, 0), 0);
	EQ(send(c->fd, NULL, 0, 0), 0);
}

static void address_is_ignored(struct conn *c)
{
	/* On a connected stream the address given to sendto does not matter. */
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 9, &addr);
	char in[16];
	EQ(sendto(c->fd, "hello", 5, 0, (struct sockaddr *)&addr, length), 5);
	struct iovec v = { "there", 5 };
	struct msghdr m = { .msg_name = &addr, .msg_namelen = length, .msg_iov = &v,
			    .msg_iovlen = 1 };
	EQ(sendmsg(c->fd, &m, 0), 5);
	EQ(peer_recv_all(c, in, 10), 10);
	SAME(in, "hellothere", 10);
}

static void gathered(struct conn *c)
{
	char in[64];
	for (int i = 0; i < 10; i++) {
		struct iovec v[4] = { { "a", 1 }, { NULL, 0 }, { "bcd", 3 }, { "efghij", 6 } };
		struct msghdr m = { .msg_iov = v, .msg_iovlen = 4 };
		EQ(sendmsg(c->fd, &m, MSG_NOSIGNAL), 10);
		EQ(peer_recv_all(c, in, 10), 10);
		SAME(in, "abcdefghij", 10);
	}
	struct msghdr none = { 0 };
	EQ(sendmsg(c->fd, &none, 0), 0);
	exchange(c, 2);
}

static void several_messages(struct conn *c)
{
	char in[64];
	for (int i = 0; i < 5; i++) {
		struct iovec v[3] = { { "one", 3 }, { "two", 3 }, { "three", 5 } };
		struct mmsghdr m[3] = { 0 };
		for (int j = 0; j < 3; j++) {
			m[j].msg_hdr.msg_iov = &v[j];
			m[j].msg_hdr.msg_iovlen = 1;
		}
		EQ(sendmmsg(c->fd, m, 3, 0), 3);
		EQ(m[0].msg_len, 3);
		EQ(m[1].msg_len, 3);
		EQ(m[2].msg_len, 5);
		EQ(peer_recv_all(c, in, 11), 11);
		SAME(in, "onetwothree", 11);
	}
	EQ(sendmmsg(c->fd, NULL, 0, 0), 0);
}

static void dontwait(struct conn *c)
{
	/* On a blocking descriptor, whose flag stays as it is. */
	size_t total = fill_until_full(c->fd);
	EQ(is_nonblock(c->fd), 0);
	/* On a busy machine the kernel may find a little more room later. */
	uint8_t byte = pattern_at(total);
	while (send(c->fd, &byte, 1, MSG_DONTWAIT) == 1)
		byte = pattern_at(++total);
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ERR(send(c->fd, &byte, 1, MSG_DONTWAIT), EAGAIN);
	ERR(sendmsg(c->fd, &m, MSG_DONTWAIT), EAGAIN);
	struct mmsghdr mm = { .msg_hdr = m };
	ERR(sendmmsg(c->fd, &mm, 1, MSG_DONTWAIT), EAGAIN);
	EQ(peer_verify(c, 0, total), total);
	exchange(c, 3);
}

static void more(struct conn *c)
{
	char in[64];
	for (int i = 0; i < 10; i++) {
		EQ(send(c->fd, "head", 4, MSG_MORE), 4);
		EQ(send(c->fd, "tail", 4, 0), 4);
		EQ(peer_recv_all(c, in, 8), 8);
		SAME(in, "headtail", 8);
	}
	/* And without an end it is sent all the same, in its own time. */
	EQ(send(c->fd, "alone", 5, MSG_MORE), 5);
	EQ(peer_recv_all(c, in, 5), 5);
}

static void nosignal(struct conn *c)
{
	count_sigpipe();
	OK(shutdown(c->fd, SHUT_WR));
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ERR(sendmsg(c->fd, &m, MSG_NOSIGNAL), EPIPE);
	EQ(sigpipes_seen(), 0);
	ERR(send(c->fd, "x", 1, 0), EPIPE);
	EQ(sigpipes_seen(), 1);
	ERR(sendmsg(c->fd, &m, 0), EPIPE);
	EQ(sigpipes_seen(), 2);
}

static void bad_arguments(struct conn *c)
{
	ERR(send(c->fd, (void *)16, 4, 0), EFAULT);
	ERR(sendmsg(c->fd, NULL, 0), EFAULT);
	struct msghdr m = { .msg_iov = NULL, .msg_iovlen = 1 };
	ERR(sendmsg(c->fd, &m, 0), EFAULT);
	m.msg_iovlen = IOV_MAX + 1;
	ERR(sendmsg(c->fd, &m, 0), EMSGSIZE);
	exchange(c, 3);
}

static void unknown_control_message(struct conn *c)
{
	/* Rights and credentials mean nothing to TCP, and are passed over. */
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec v = { "data", 4 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof control };
	control.h.cmsg_level = SOL_SOCKET;
	control.h.cmsg_type = SCM_RIGHTS;
	control.h.cmsg_len = CMSG_LEN(sizeof(int));
	char in[4];
	EQ(sendmsg(c->fd, &m, 0), 4);
	EQ(peer_recv_all(c, in, 4), 4);
	exchange(c, 3);
}

static void larger_than_any_buffer(struct conn *c)
{
	size_t size = 20 << 20;
	char *big = malloc(size);
	pattern_fill(big, 3, size);
	peer_verify_later(c, 0, 3, size);
	struct iovec v[3] = { { big, 5 << 20 }, { big + (5 << 20), 1 },
			      { big + (5 << 20) + 1, size - (5 << 20) - 1 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 3 };
	EQ(sendmsg(c->fd, &m, 0), size);
	EQ(peer_join(c), size);
	free(big);
}

static const struct test tests[] = {
	TEST(plain, EVERY),	    TEST(address_is_ignored, EACH),
	TEST(gathered, EVERY),	    TEST(several_messages, EACH),
	TEST(dontwait, EACH),	    TEST(more, EACH),
	TEST(nosignal, EACH),	    TEST(bad_arguments, EACH),
	TEST(unknown_control_message, EACH),
	TEST(larger_than_any_buffer, EACH),
};
MAIN(tests)
