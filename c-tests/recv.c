/* recv(2), recvfrom(2), recvmsg(2), recvmmsg(2). */
#include "support.h"

/* The peer's bytes, all of them arrived here. */
static void given(struct conn *c, const char *text)
{
	size_t length = strlen(text);
	EQ(peer_send(c, text, length, 0), length);
	int waiting = 0;
	for (int64_t end = now_ms() + 5000; waiting < (int)length && now_ms() < end;)
		OK(ioctl(c->fd, FIONREAD, &waiting));
	EQ(waiting, length);
}

static void plain(struct conn *c)
{
	char in[16];
	for (int i = 0; i < 10; i++) {
		given(c, "hello");
		EQ(recv(c->fd, in, 2, 0), 2);
		EQ(recv(c->fd, in + 2, 14, 0), 3);
		SAME(in, "hello", 5);
	}
}

static void peek(struct conn *c)
{
	char in[16];
	for (int i = 0; i < 5; i++) {
		given(c, "abcdef");
		EQ(recv(c->fd, in, 16, MSG_PEEK), 6);
		SAME(in, "abcdef", 6);
		EQ(recv(c->fd, in, 2, MSG_PEEK), 2);
		SAME(in, "ab", 2);
		EQ(recv(c->fd, in, 2, 0), 2);
		SAME(in, "ab", 2);
		EQ(recv(c->fd, in, 16, MSG_PEEK | MSG_DONTWAIT), 4);
		SAME(in, "cdef", 4);
		EQ(recv(c->fd, in, 16, 0), 4);
		SAME(in, "cdef", 4);
		ERR(recv(c->fd, in, 16, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
	}
}

static void peek_blocks(struct conn *c)
{
	char in[16];
	peer_send_later(c, 40, "late", 4, 0);
	EQ(recv(c->fd, in, 16, MSG_PEEK), 4);
	EQ(peer_join(c), 4);
	EQ(recv(c->fd, in, 16, 0), 4);
}

static void peek_all(struct conn *c)
{
	char in[16];
	EQ(peer_send(c, "abc", 3, 0), 3);
	peer_send_later(c, 60, "def", 3, 0);
	EQ(recv(c->fd, in, 6, MSG_PEEK | MSG_WAITALL), 6);
	SAME(in, "abcdef", 6);
	EQ(peer_join(c), 3);
	EQ(recv(c->fd, in, 16, 0), 6);
	SAME(in, "abcdef", 6);
}

static void waitall(struct conn *c)
{
	char in[4000];
	for (int i = 0; i < 3; i++) {
		EQ(peer_send(c, "0123", 4, 0), 4);
		peer_produce_later(c, 40, 4, 3996);
		EQ(recv(c->fd, in, 4000, MSG_WAITALL), 4000);
		SAME(in, "0123", 4);
		EQ(pattern_differs(in + 4, 4, 3996), -1);
		EQ(peer_join(c), 3996);
	}
}

static void waitall_larger_than_any_buffer(struct conn *c)
{
	size_t size = 12 << 20;
	char *in = malloc(size);
	peer_produce_later(c, 0, 0, size);
	EQ(recv(c->fd, in, size, MSG_WAITALL), size);
	EQ(pattern_differs(in, 0, size), -1);
	EQ(peer_join(c), size);
	free(in);
}

static void waitall_ends_short(struct conn *c)
{
	char in[16];
	EQ(peer_send(c, "abc", 3, 0), 3);
	peer_shutdown_later(c, 50, SHUT_WR);
	EQ(recv(c->fd, in, 16, MSG_WAITALL), 3);
	OK(peer_join(c));
	EQ(recv(c->fd, in, 16, MSG_WAITALL), 0);
}

static void waitall_does_not_wait(struct conn *c)
{
	char in[16];
	given(c, "abc");
	EQ(recv(c->fd, in, 16, MSG_WAITALL | MSG_DONTWAIT), 3);
	given(c, "abc");
	set_nonblock(c->fd, true);
	EQ(recv(c->fd, in, 16, MSG_WAITALL), 3);
	ERR(recv(c->fd, in, 16, MSG_WAITALL), EAGAIN);
	set_nonblock(c->fd, false);
	given(c, "abc");
	set_timeout(c->fd, SO_RCVTIMEO, 50);
	EQ(recv(c->fd, in, 16, MSG_WAITALL), 3);
	ERR(recv(c->fd, in, 16, MSG_WAITALL), EAGAIN);
}

static void dontwait(struct conn *c)
{
	char in[16];
	for (int i = 0; i < 5; i++) {
		ERR(recv(c->fd, in, 16, MSG_DONTWAIT), EAGAIN);
		EQ(is_nonblock(c->fd), 0);
		given(c, "abc");
		EQ(recv(c->fd, in, 16, MSG_DONTWAIT), 3);
	}
}

static void truncation(struct conn *c)
{
	/* With MSG_TRUNC a stream's bytes are counted and dropped, not copied. */
	char in[16];
	for (int i = 0; i < 5; i++) {
		given(c, "abcdefgh");
		memset(in, '.', sizeof in);
		EQ(recv(c->fd, in, 3, MSG_TRUNC), 3);
		SAME(in, "...", 3);
		EQ(recv(c->fd, NULL, 2, MSG_TRUNC), 2);
		EQ(recv(c->fd, in, 16, 0), 3);
		SAME(in, "fgh", 3);
	}
}

static void nothing_asked(struct conn *c)
{
	char in[16];
	given(c, "abc");
	EQ(recv(c->fd, in, 0, 0), 0);
	EQ(recv(c->fd, NULL, 0, 0), 0);
	EQ(recv(c->fd, in, 0, MSG_PEEK), 0);
	EQ(recv(c->fd, in, 16, 0), 3);
}

static void nothing_asked_of_nothing(struct conn *c)
{
	char in[16];
	/* Unlike read(2), recv(2) of no bytes waits until there is one. */
	ERR(recv(c->fd, in, 0, MSG_DONTWAIT), EAGAIN);
	EQ(read(c->fd, in, 0), 0);
	peer_send_later(c, 40, "late", 4, 0);
	EQ(recv(c->fd, in, 0, 0), 0);
	EQ(peer_join(c), 4);
	EQ(recv_all(c->fd, in, 4), 4);
	exchange(c, 2);
}

static void from(struct conn *c)
{
	char in[16];
	struct sockaddr_storage addr;
	given(c, "abcdef");
	socklen_t length = sizeof addr;
	memset(&addr, 0xaa, sizeof addr);
	EQ(recvfrom(c->fd, in, 2, 0, NULL, NULL), 2);
	/* A stream has no address to give: the length becomes zero, the room is untouched. */
	EQ(recvfrom(c->fd, in, 2, 0, (struct sockaddr *)&addr, &length), 2);
	EQ(length, 0);
	EQ(((unsigned char *)&addr)[0], 0xaa);
	length = 7;
	EQ(recvfrom(c->fd, in, 2, 0, NULL, &length), 2);
	EQ(length, 7);
}

static void message(struct conn *c)
{
	char a[3], b[30], control[64];
	struct sockaddr_storage addr;
	for (int i = 0; i < 5; i++) {
		given(c, "abcdefgh");
		struct iovec v[3] = { { a, 3 }, { NULL, 0 }, { b, 30 } };
		struct msghdr m = { .msg_name = &addr, .msg_namelen = sizeof addr, .msg_iov = v,
				    .msg_iovlen = 3, .msg_control = control,
				    .msg_controllen = sizeof control, .msg_flags = -1 };
		EQ(recvmsg(c->fd, &m, 0), 8);
		EQ(m.msg_namelen, 0);
		EQ(m.msg_controllen, 0);
		EQ(m.msg_flags, 0);
		EQ(m.msg_iovlen, 3);
		SAME(a, "abc", 3);
		SAME(b, "defgh", 5);
	}
}

static void message_flags(struct conn *c)
{
	char in[16];
	struct iovec v = { in, 16 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	given(c, "abc");
	EQ(recvmsg(c->fd, &m, MSG_PEEK), 3);
	EQ(recvmsg(c->fd, &m, MSG_DONTWAIT), 3);
	ERR(recvmsg(c->fd, &m, MSG_DONTWAIT), EAGAIN);
	peer_send_later(c, 30, "0123456789abcdef", 16, 0);
	EQ(recvmsg(c->fd, &m, MSG_WAITALL), 16);
	EQ(peer_join(c), 16);
	struct msghdr none = { 0 };
	ERR(recvmsg(c->fd, &none, MSG_DONTWAIT), EAGAIN);
	ERR(recvmsg(c->fd, NULL, 0), EFAULT);
}

static void several_messages(struct conn *c)
{
	char in[3][4];
	struct iovec v[3];
	struct mmsghdr m[3] = { 0 };
	for (int j = 0; j < 3; j++) {
		v[j] = (struct iovec){ in[j], 4 };
		m[j].msg_hdr.msg_iov = &v[j];
		m[j].msg_hdr.msg_iovlen = 1;
	}
	given(c, "abcdefghi");
	EQ(recvmmsg(c->fd, m, 3, 0, NULL), 3);
	EQ(m[0].msg_len, 4);
	EQ(m[1].msg_len, 4);
	EQ(m[2].msg_len, 1);
	SAME(in[0], "abcd", 4);
	SAME(in[2], "i", 1);
	given(c, "abcde");
	EQ(recvmmsg(c->fd, m, 3, MSG_WAITFORONE, NULL), 2);
	EQ(m[1].msg_len, 1);
	ERR(recvmmsg(c->fd, m, 3, MSG_DONTWAIT, NULL), EAGAIN);
	given(c, "abcde");
	EQ(recvmmsg(c->fd, m, 3, MSG_DONTWAIT, NULL), 2);
	exchange(c, 2);
}

static void after_the_end(struct conn *c)
{
	char in[16];
	given(c, "abc");
	OK(peer_close(c));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	EQ(recv(c->fd, in, 16, MSG_PEEK), 3);
	EQ(recv(c->fd, in, 16, MSG_DONTWAIT), 3);
	EQ(recv(c->fd, in, 16, MSG_DONTWAIT), 0);
	EQ(recv(c->fd, in, 16, MSG_PEEK), 0);
	EQ(recv(c->fd, in, 16, MSG_WAITALL), 0);
	EQ(recv(c->fd, in, 0, 0), 0);
}

static void receive_timeout(struct conn *c)
{
	char in[4];
	set_timeout(c->fd, SO_RCVTIMEO, 50);
	for (int i = 0; i < 3; i++) {
		ERR(recv(c->fd, in, 4, 0), EAGAIN);
		given(c, "abc");
		EQ(recv(c->fd, in, 4, 0), 3);
	}
	set_timeout(c->fd, SO_RCVTIMEO, 0);
	peer_send_later(c, 150, "late", 4, 0);
	EQ(recv(c->fd, in, 4, 0), 4);
	EQ(peer_join(c), 4);
}

static void lowat(struct conn *c)
{
	int four = 4;
	char in[16];
	OK(setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &four, sizeof four));
	given(c, "ab");
	EQ(poll_one(c->fd, POLLIN, 0), 0);
	set_timeout(c->fd, SO_RCVTIMEO, 60);
	EQ(recv(c->fd, in, 16, 0), 2); /* waits for four, until its time is up */
	set_timeout(c->fd, SO_RCVTIMEO, 0);
	peer_send_later(c, 40, "abcd", 4, 0);
	EQ(recv(c->fd, in, 16, 0), 4);
	EQ(peer_join(c), 4);
	given(c, "abcdef");
	EQ(poll_one(c->fd, POLLIN, 1000), POLLIN);
	EQ(recv(c->fd, in, 16, 0), 6);
	given(c, "ab");
	EQ(recv(c->fd, in, 16, MSG_DONTWAIT), 2); /* what there is */
}

static void bad_arguments(struct conn *c)
{
	char in[16];
	struct iovec v = { in, 16 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = IOV_MAX + 1 };
	given(c, "abc");
	ERR(recvmsg(c->fd, &m, 0), EMSGSIZE);
	ERR(recv(c->fd, (void *)16, 3, 0), EFAULT);
	ERR(recv(c->fd, in, 3, MSG_ERRQUEUE), EAGAIN);
	EQ(recv(c->fd, in, 16, 0), 3);
}

static void a_dead_peer_is_seen_without_waiting(struct conn *c)
{
	char in[4];
	ERR(recv(c->fd, in, 4, MSG_DONTWAIT), EAGAIN);
	peer_kill(c);
	long n = -1;
	for (int i = 0; i < 400 && n < 0; i++) {
		sleep_ms(5);
		n = recv(c->fd, in, 4, MSG_DONTWAIT);
	}
	EQ(n, 0);
}

static const struct test tests[] = {
	TEST(plain, EVERY),
	TEST(peek, EVERY),
	TEST(peek_blocks, EACH),
	TEST(peek_all, EACH),
	TEST(waitall, EVERY),
	TEST(waitall_larger_than_any_buffer, EACH),
	TEST(waitall_ends_short, EACH),
	TEST(waitall_does_not_wait, EACH),
	TEST(dontwait, EVERY),
	TEST(truncation, EACH),
	TEST(nothing_asked, EACH),
	TEST(nothing_asked_of_nothing, EACH),
	TEST(from, EACH),
	TEST(message, EVERY),
	TEST(message_flags, EACH),
	TEST(several_messages, EACH),
	TEST(after_the_end, EVERY),
	TEST(receive_timeout, EVERY),
	TEST(lowat, EACH),
	TEST(bad_arguments, EACH),
	TEST(a_dead_peer_is_seen_without_waiting, TWO),
};
MAIN(tests)
