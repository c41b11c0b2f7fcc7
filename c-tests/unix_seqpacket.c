/* unix(7): connections of SOCK_SEQPACKET: lengths, room, what is ready, and the end. What they share with datagrams is
 * in message.c, what travels beside the bytes and other processes in unix_seqpacket_processes.c. */
#include <linux/sockios.h>
#include <sys/sendfile.h>
#include <sys/un.h>

#include "support.h"

#define ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP)
#define NONE_IS_THERE(fd) ERR(recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT), EAGAIN)

static int queued(int fd)
{
	int n = -1;
	OK(ioctl(fd, FIONREAD, &n));
	return n;
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t size = sizeof value;
	OK(getsockopt(fd, SOL_SOCKET, name, &value, &size));
	return value;
}

/* ---- lengths ------------------------------------------------------------------------------- */

static void nothing_to_receive_into(struct conn *c)
{
	char in[8];
	struct iovec none = { in, 0 };
	struct msghdr m = { 0 };
	struct mmsghdr mm = { .msg_hdr = { .msg_iov = &none, .msg_iovlen = 1 } };
	/* recv takes a message all the same, or waits for one; */
	ERR(recv(c->fd, in, 0, MSG_DONTWAIT), EAGAIN);
	ERR(recvmsg(c->fd, &m, MSG_DONTWAIT), EAGAIN);
	for (int i = 0; i < 3; i++)
		EQ(peer_send(c, "abc", 3, 0), 3);
	EQ(recv(c->fd, in, 0, 0), 0);
	EQ(queued(c->fd), 6);
	EQ(recvmsg(c->fd, &m, 0), 0);
	EQ(m.msg_flags, MSG_TRUNC);
	EQ(recvmmsg(c->fd, &mm, 1, 0, NULL), 1);
	EQ(mm.msg_len, 0);
	NONE_IS_THERE(c->fd);
	/* read never asks the socket. */
	EQ(read(c->fd, in, 0), 0);
	EQ(peer_send(c, "abc", 3, 0), 3);
	EQ(read(c->fd, in, 0), 0);
	EQ(readv(c->fd, &none, 1), 0);
	EQ(readv(c->fd, NULL, 0), 0);
	EQ(read(c->fd, in, 8), 3);
}

static void nothing_to_send(struct conn *c)
{
	char in[8];
	struct iovec none = { in, 0 };
	struct msghdr m = { 0 };
	EQ(send(c->fd, "", 0, 0), 0);
	EQ(send(c->fd, NULL, 0, 0), 0);
	EQ(write(c->fd, "", 0), 0);
	EQ(sendmsg(c->fd, &m, 0), 0);
	EQ(writev(c->fd, &none, 1), 0); /* alone sends nothing */
	EQ(writev(c->fd, NULL, 0), 0);
	EQ(send(c->fd, "end", 3, 0), 3);
	EQ(peer_poll(c, POLLIN, 1000), POLLIN);
	EQ(peer_fionread(c), 3);
	for (int i = 0; i < 4; i++)
		EQ(peer_recv(c, in, 8, 0), 0);
	EQ(peer_recv(c, in, 8, 0), 3);
	ERR(peer_recv(c, in, 8, MSG_DONTWAIT), EAGAIN);
}

static void an_empty_message_is_one(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "", 0, 0), 0);
	EQ(poll_one(c->fd, ALL, 1000), POLLIN | POLLOUT);
	EQ(queued(c->fd), 0);
	EQ(recv(c->fd, in, 8, MSG_PEEK), 0);
	EQ(read(c->fd, in, 8), 0);
	NONE_IS_THERE(c->fd);
	peer_send_later(c, 30, "", 0, 0);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(peer_join(c), 0);
	exchange(c, 2);
}

static void each_call_takes_one(struct conn *c)
{
	char in[8];
	struct iovec v[2] = { { in, 2 }, { in + 2, 3 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
	EQ(peer_send(c, "abcdefg", 7, 0), 7);
	EQ(peer_send(c, "hi", 2, 0), 2);
	EQ(peer_send(c, "jklmnop", 7, 0), 7);
	EQ(peer_send(c, "qr", 2, 0), 2);
	EQ(queued(c->fd), 18);
	EQ(readv(c->fd, v, 2), 5);
	SAME(in, "abcde", 5);
	EQ(read(c->fd, in, 8), 2);
	SAME(in, "hi", 2);
	EQ(recvmsg(c->fd, &m, MSG_TRUNC), 7);
	EQ(m.msg_flags, MSG_TRUNC);
	SAME(in, "jklmn", 5);
	EQ(recvmsg(c->fd, &m, 0), 2);
	EQ(m.msg_flags, 0);
	EQ(queued(c->fd), 0);
	/* A low-water mark changes nothing. */
	int four = 4;
	OK(setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &four, sizeof four));
	EQ(peer_send(c, "st", 2, 0), 2);
	EQ(recv(c->fd, in, 8, MSG_WAITALL), 2);
}

static void peeks(struct conn *c)
{
	char in[3][8];
	struct iovec v[3];
	struct mmsghdr m[3] = { 0 };
	for (int i = 0; i < 3; i++) {
		v[i] = (struct iovec){ in[i], 8 };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &v[i], .msg_iovlen = 1 };
	}
	EQ(peer_send(c, "first", 5, 0), 5);
	EQ(peer_send(c, "second", 6, 0), 6);
	EQ(recv(c->fd, in[0], 2, MSG_PEEK), 2);
	EQ(recv(c->fd, in[0], 2, MSG_PEEK | MSG_TRUNC), 5);
	EQ(queued(c->fd), 11);
	/* Each of them sees the first message. */
	EQ(recvmmsg(c->fd, m, 3, MSG_PEEK | MSG_DONTWAIT, NULL), 3);
	for (int i = 0; i < 3; i++) {
		EQ(m[i].msg_len, 5);
		SAME(in[i], "first", 5);
	}
	EQ(recvmmsg(c->fd, m, 3, MSG_DONTWAIT, NULL), 2);
	EQ(m[0].msg_len, 5);
	EQ(m[1].msg_len, 6);
	SAME(in[1], "second", 6);
}

static void flags_that_mean_nothing(struct conn *c)
{
	static const int sent[] = { MSG_EOR, MSG_MORE, MSG_DONTROUTE, MSG_CONFIRM, MSG_TRUNC, MSG_PEEK, MSG_WAITALL, MSG_CTRUNC };
	static const int received[] = { MSG_EOR, MSG_WAITALL, MSG_ERRQUEUE, MSG_CTRUNC, MSG_NOSIGNAL };
	char in[8];
	for (size_t i = 0; i < sizeof sent / sizeof sent[0]; i++) {
		struct iovec v = { in, 8 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
		EQ(peer_send(c, "abc", 3, sent[i]), 3);
		EQ(recvmsg(c->fd, &m, i < 5 ? received[i] : 0), 3);
		EQ(m.msg_flags, 0); /* the end of a record is not told */
	}
	ERR(send(c->fd, "abc", 3, MSG_OOB), EOPNOTSUPP);
	ERR(recv(c->fd, in, 3, MSG_OOB), EOPNOTSUPP);
	int n;
	ERR(ioctl(c->fd, SIOCATMARK, &n), EOPNOTSUPP);
	EQ(poll_one(c->fd, ALL, 0), POLLOUT);
	ERR(peer_recv(c, in, 8, MSG_DONTWAIT), EAGAIN);
}

static void addresses_that_are_none(struct conn *c)
{
	char in[8] = { 0 };
	/* A page of memory that nobody has; what was to go there is lost. */
	EQ(peer_send(c, "abc", 3, 0), 3);
	EQ(peer_send(c, "defg", 4, 0), 4);
	ERR(recv(c->fd, (void *)16, 8, 0), EFAULT);
	EQ(recv(c->fd, in, 8, 0), 4);
	struct iovec v[2] = { { in, 2 }, { (void *)16, 8 } };
	EQ(peer_send(c, "abcdef", 6, 0), 6);
	ERR(readv(c->fd, v, 2), EFAULT);
	NONE_IS_THERE(c->fd);
	ERR(send(c->fd, (void *)16, 8, 0), EFAULT);
	ERR(writev(c->fd, v, 2), EFAULT);
	ERR(peer_recv(c, in, 8, MSG_DONTWAIT), EAGAIN);
	exchange(c, 2);
}

static long receive_pattern(int *fd, long length, long offset)
{
	char *in = malloc((size_t)length + 1);
	long n = recv(*fd, in, (size_t)length + 1, 0);
	if (n >= 0 && pattern_differs(in, (uint64_t)offset, (size_t)n) >= 0)
		n = -2;
	free(in);
	return n;
}

static void the_largest_message(struct conn *c)
{
	static const int buffers[] = { 0, 1, 10000, 65536 };
	for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
		if (buffers[i] != 0)
			OK(setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &buffers[i], sizeof buffers[i]));
		long most = option(c->fd, SO_SNDBUF) - 32;
		char *out = malloc((size_t)most + 1);
		pattern_fill(out, (uint64_t)most, (size_t)most + 1);
		ERR(send(c->fd, out, (size_t)most + 1, 0), EMSGSIZE);
		EQ(send(c->fd, out, (size_t)most, 0), most);
		/* Nothing else has room beside it. */
		EQ(poll_one(c->fd, POLLOUT, 0), 0);
		ERR(send(c->fd, "x", 1, MSG_DONTWAIT), EAGAIN);
		ERR(send(c->fd, out, (size_t)most + 1, MSG_DONTWAIT), EMSGSIZE);
		EQ(peer_call(c, receive_pattern, most, most), most);
		EQ(poll_until(c->fd, POLLOUT, POLLOUT), POLLOUT);
		EQ(option(c->fd, SO_ERROR), 0);
		free(out);
	}
	exchange(c, 2);
}

/* ---- room ------------------------------------------------------------------------------------- */

static int fill(int fd, size_t length)
{
	static char out[100000];
	int n = 0;
	for (;; n++) {
		memcpy(out, &n, sizeof n);
		if (send(fd, out, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
	}
	EQ(errno, EAGAIN);
	return n;
}

static long take(int *fd, long count, long first)
{
	static _Thread_local char in[100000];
	for (long i = 0; i < count; i++) {
		int n = -1;
		if (recv(*fd, in, sizeof in, 0) < 0)
			return i;
		memcpy(&n, in, sizeof n);
		if (n != first + i)
			return -1000 - i;
	}
	return count;
}

static void room_for_each_size(struct conn *c)
{
	static const size_t sizes[] = { 4, 256, 1000, 4096, 16000, 65536 };
	int n;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		int count = fill(c->fd, sizes[i]);
		TRUE(count >= 3);
		EQ(poll_one(c->fd, ALL, 0), 0);
		OK(ioctl(c->fd, SIOCOUTQ, &n));
		TRUE(n > 0);
		EQ(peer_call(c, take, count, 0), count);
		poll_until(c->fd, POLLOUT, POLLOUT);
		OK(ioctl(c->fd, SIOCOUTQ, &n));
		EQ(n, 0);
	}
	/* Empty ones take room as well. */
	for (n = 0; n < 100000 && send(c->fd, "", 0, MSG_DONTWAIT) == 0; n++)
		;
	TRUE(n < 100000);
	EQ(errno, EAGAIN);
}

static void the_buffer_may_change(struct conn *c)
{
	int small = 5000, large = 1000000;
	OK(setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
	int few = fill(c->fd, 1000);
	TRUE(few >= 2);
	OK(setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof large));
	EQ(send(c->fd, &few, sizeof few, MSG_DONTWAIT), sizeof few);
	EQ(peer_call(c, take, few + 1, 0), few + 1);
	OK(setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
	EQ(fill(c->fd, 1000), few);
	/* That of the receiver is nobody's concern. */
	OK(peer_setsockopt(c, SOL_SOCKET, SO_RCVBUF, &(int){ 1 }, sizeof(int)));
	EQ(peer_call(c, take, few, 0), few);
	EQ(fill(c->fd, 1000), few);
}

static void waiting_for_room(struct conn *c)
{
	int count = fill(c->fd, 4);
	set_timeout(c->fd, SO_SNDTIMEO, 50);
	int64_t began = now_ms();
	ERR(send(c->fd, "x", 1, 0), EAGAIN);
	TRUE(now_ms() - began >= 40);
	set_timeout(c->fd, SO_SNDTIMEO, 0);
	signals_start(20, 0);
	ERR(send(c->fd, "x", 1, 0), EINTR);
	signals_stop();
	signals_start(20, SA_RESTART);
	peer_call_later(c, 100, take, count + 1, 0);
	EQ(send(c->fd, &count, sizeof count, 0), sizeof count);
	signals_stop();
	TRUE(signals_seen() > 0);
	EQ(peer_join(c), count + 1);
}

static void some_of_many(struct conn *c)
{
	enum { COUNT = 6 };
	static char big[600000];
	struct iovec v[COUNT];
	struct mmsghdr m[COUNT] = { 0 };
	for (int i = 0; i < COUNT; i++) {
		v[i] = (struct iovec){ big, i == 2 ? sizeof big : 10 };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &v[i], .msg_iovlen = 1 };
	}
	EQ(sendmmsg(c->fd, m, COUNT, 0), 2);
	EQ(m[0].msg_len, 10);
	EQ(m[1].msg_len, 10);
	ERR(sendmmsg(c->fd, m + 2, COUNT - 2, 0), EMSGSIZE);
	EQ(option(c->fd, SO_ERROR), 0);
	EQ(peer_recv(c, big, 100, 0), 10);
	EQ(peer_recv(c, big, 100, 0), 10);
	for (int i = 0; i < COUNT; i++)
		v[i].iov_len = 60000;
	int n = (int)OK(sendmmsg(c->fd, m, COUNT, MSG_DONTWAIT));
	TRUE(n > 0 && n < COUNT);
	ERR(sendmmsg(c->fd, m, COUNT, MSG_DONTWAIT), EAGAIN);
	for (int i = 0; i < n; i++)
		EQ(peer_recv(c, big, sizeof big, 0), 60000);
	ERR(peer_recv(c, big, 1, MSG_DONTWAIT), EAGAIN);
}

/* ---- what is ready ---------------------------------------------------------------------------- */

static void each_way_to_wait(struct conn *c)
{
	char in[8];
	struct epoll_event e = { .events = EPOLLIN }, got;
	int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	for (int i = 0; i < 16; i++) {
		EQ(poll_one(c->fd, POLLIN, 0), 0);
		size_t length = i % 5 == 4 ? 0 : 4;
		peer_send_later(c, i % 4 == 3 ? 0 : 20, "data", length, 0);
		if (i % 4 == 0) {
			EQ(poll_one(c->fd, POLLIN, 5000), POLLIN);
		} else if (i % 4 == 1) {
			fd_set in_set, out_set;
			FD_ZERO(&in_set);
			FD_ZERO(&out_set);
			FD_SET(c->fd, &in_set);
			EQ(select(c->fd + 1, &in_set, NULL, NULL, &(struct timeval){ 5, 0 }), 1);
			FD_SET(c->fd, &out_set);
			EQ(select(c->fd + 1, &in_set, &out_set, NULL, &(struct timeval){ 5, 0 }), 2);
		} else if (i % 4 == 2) {
			EQ(epoll_wait(ep, &got, 1, 5000), 1);
			EQ(got.events, EPOLLIN);
		}
		EQ(recv(c->fd, in, 8, 0), length);
		EQ(peer_join(c), length);
		EQ(epoll_wait(ep, &got, 1, 0), 0);
	}
}

static void level_and_edges(struct conn *c)
{
	char in[8];
	struct epoll_event level = { .events = EPOLLIN }, edge = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET }, got;
	int lt = (int)OK(epoll_create1(EPOLL_CLOEXEC)), et = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	OK(epoll_ctl(lt, EPOLL_CTL_ADD, c->fd, &level));
	OK(epoll_ctl(et, EPOLL_CTL_ADD, c->fd, &edge));
	for (int round = 0; round < 3; round++) {
		/* An edge for each message, also for an empty one; none for what is left or cut off. */
		for (size_t i = 0; i < 4; i++) {
			EQ(peer_send(c, "abc", i == 2 ? 0 : 3, 0), i == 2 ? 0 : 3);
			EQ(epoll_wait(et, &got, 1, 2000), 1);
			EQ(got.events, EPOLLIN);
			EQ(epoll_wait(et, &got, 1, 0), 0);
		}
		EQ(recv(c->fd, in, 8, MSG_PEEK), 3);
		for (int i = 0; i < 4; i++) {
			EQ(epoll_wait(lt, &got, 1, 0), 1);
			EQ(recv(c->fd, in, i == 0 ? 1 : 8, 0), i == 2 ? 0 : i == 0 ? 1 : 3);
			EQ(epoll_wait(et, &got, 1, 0), 0);
		}
		EQ(epoll_wait(lt, &got, 1, 0), 0);
		exchange(c, 8);
		while (epoll_wait(et, &got, 1, 0) == 1)
			;
	}
	OK(peer_shutdown(c, SHUT_WR));
	EQ(epoll_wait(et, &got, 1, 2000), 1);
	EQ(got.events, EPOLLIN | EPOLLRDHUP);
	OK(peer_close(c));
	EQ(epoll_wait(et, &got, 1, 2000), 1);
	EQ(got.events, EPOLLIN | EPOLLRDHUP | EPOLLHUP);
	EQ(epoll_wait(et, &got, 1, 20), 0);
}

static void one_shot(struct conn *c)
{
	char in[4];
	struct epoll_event e = { .events = EPOLLIN | EPOLLONESHOT }, got;
	int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	for (int i = 0; i < 3; i++) {
		EQ(peer_send(c, "a", 1, 0), 1);
		EQ(peer_send(c, "b", 1, 0), 1);
		EQ(epoll_wait(ep, &got, 1, 2000), 1);
		EQ(epoll_wait(ep, &got, 1, 0), 0);
		EQ(recv(c->fd, in, 4, 0), 1);
		OK(epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e));
		EQ(epoll_wait(ep, &got, 1, 2000), 1); /* the second is still there */
		EQ(recv(c->fd, in, 4, 0), 1);
		OK(epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e));
		EQ(epoll_wait(ep, &got, 1, 0), 0);
	}
}

static void edges_of_room(struct conn *c)
{
	struct epoll_event e = { .events = EPOLLOUT | EPOLLET }, got;
	int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC)), count = fill(c->fd, 1000);
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	EQ(epoll_wait(ep, &got, 1, 20), 0);
	for (int round = 0; round < 3; round++) {
		EQ(peer_call(c, take, count, 0), count);
		EQ(epoll_wait(ep, &got, 1, 2000), 1);
		EQ(got.events, EPOLLOUT);
		while (epoll_wait(ep, &got, 1, 0) == 1)
			;
		count = fill(c->fd, 1000);
		EQ(epoll_wait(ep, &got, 1, 20), 0);
	}
}

/* ---- the end ------------------------------------------------------------------------------------ */

static void the_peer_closes(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "one", 3, 0), 3);
	EQ(peer_send(c, "", 0, 0), 0);
	EQ(peer_send(c, "two", 3, 0), 3);
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	count_sigpipe();
	ERR(send(c->fd, "x", 1, 0), EPIPE);
	ERR(write(c->fd, "x", 1), EPIPE);
	ERR(send(c->fd, "", 0, 0), EPIPE);
	EQ(sigpipes_seen(), 0); /* the signal is for streams alone */
	ERR(send(c->fd, malloc(1 << 20), 1 << 20, 0), EMSGSIZE);
	EQ(recv(c->fd, in, 8, 0), 3);
	EQ(recv(c->fd, in, 8, 0), 0); /* the empty one */
	EQ(queued(c->fd), 3);
	EQ(recv(c->fd, in, 8, 0), 3);
	EQ(recv(c->fd, in, 8, 0), 0);
	struct mmsghdr m[2] = { 0 };
	EQ(recvmmsg(c->fd, m, 2, 0, NULL), 2); /* the end is taken for messages */
	struct sockaddr_un un;
	socklen_t length = sizeof un;
	OK(getpeername(c->fd, (struct sockaddr *)&un, &length));
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

static void the_peer_closes_unread(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "last", 4, 0), 4);
	EQ(send(c->fd, "unread", 6, 0), 6);
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	ERR(recv(c->fd, in, 8, 0), ECONNRESET); /* before the data, unlike a stream */
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQ(recv(c->fd, in, 8, 0), 4);
	EQ(recv(c->fd, in, 8, 0), 0);
	ERR(send(c->fd, "x", 1, 0), EPIPE);
}

/* Each of these takes the error, which comes once. */
static void who_takes_the_error(struct conn *c)
{
	static char big[1 << 20];
	for (int i = 0; i < 7; i++) {
		struct conn *d = i == 0 ? c : conn_open_again(c);
		char in[8];
		struct mmsghdr m = { 0 };
		EQ(send(d->fd, "unread", 6, 0), 6);
		OK(peer_close(d));
		poll_until(d->fd, ALL, POLLERR);
		EQ(read(d->fd, in, 0), 0); /* does not look */
		if (i == 0)
			ERR(send(d->fd, "x", 1, 0), ECONNRESET);
		if (i == 1)
			ERR(send(d->fd, big, sizeof big, 0), ECONNRESET);
		if (i == 2)
			EQ(option(d->fd, SO_ERROR), ECONNRESET);
		if (i == 3)
			ERR(recv(d->fd, in, 8, MSG_PEEK), ECONNRESET);
		if (i == 4)
			ERR(recv(d->fd, in, 0, 0), ECONNRESET);
		if (i == 5)
			ERR(recvmmsg(d->fd, &m, 1, 0, NULL), ECONNRESET);
		if (i == 6)
			ERR(read(d->fd, in, 8), ECONNRESET);
		EQ(option(d->fd, SO_ERROR), 0);
		ERR(send(d->fd, "x", 1, 0), EPIPE);
		EQ(recv(d->fd, in, 8, 0), 0);
		if (d != c)
			conn_end(d);
	}
}

static void what_counts_as_unread(struct conn *c)
{
	char in[8];
	/* One that was cut short is read, and so is a single empty one: two of them are not. */
	EQ(send(c->fd, "unread", 6, 0), 6);
	EQ(peer_recv(c, in, 2, 0), 2);
	OK(peer_close(c));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	for (int empty = 1; empty <= 2; empty++) {
		struct conn *d = conn_open_again(c);
		for (int i = 0; i < empty; i++)
			EQ(send(d->fd, "", 0, 0), 0);
		OK(peer_close(d));
		EQ(poll_until(d->fd, ALL, POLLHUP) & POLLERR, empty == 2 ? POLLERR : 0);
		conn_end(d);
	}
}

static void the_end_wakes(struct conn *c)
{
	char in[8];
	peer_shutdown_later(c, 50, SHUT_WR);
	EQ(recv(c->fd, in, 8, 0), 0);
	OK(peer_join(c));
	fill(c->fd, 1000);
	peer_close_later(c, 50);
	ERR(send(c->fd, "x", 1, 0), ECONNRESET);
	OK(peer_join(c));
	struct conn *d = conn_open_again(c);
	EQ(send(d->fd, "unread", 6, 0), 6);
	peer_close_later(d, 50);
	ERR(recv(d->fd, in, 8, 0), ECONNRESET);
	EQ(recv(d->fd, in, 8, 0), 0);
	conn_end(d);
	d = conn_open_again(c);
	fill(d->fd, 1000);
	peer_shutdown_later(d, 50, SHUT_RD);
	ERR(send(d->fd, "x", 1, 0), EPIPE);
	OK(peer_join(d));
	conn_end(d);
}

static void halves(struct conn *c)
{
	char in[8];
	OK(shutdown(c->fd, SHUT_WR));
	EQ(poll_one(c->fd, ALL, 0), POLLOUT);
	EQ(peer_poll(c, ALL, 1000), POLLIN | POLLOUT | POLLRDHUP);
	EQ(peer_recv(c, in, 8, 0), 0);
	EQ(peer_send(c, "more", 4, 0), 4);
	EQ(recv(c->fd, in, 8, 0), 4);
	OK(shutdown(c->fd, SHUT_WR));
	ERR(shutdown(c->fd, 7), EINVAL);
	OK(peer_shutdown(c, SHUT_WR));
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

static void the_read_half(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "there", 5, 0), 5);
	OK(shutdown(c->fd, SHUT_RD));
	EQ(poll_one(c->fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP);
	EQ(peer_poll(c, ALL, 1000), POLLOUT);
	ERR(peer_send(c, "x", 1, 0), EPIPE);
	EQ(recv(c->fd, in, 8, 0), 5);
	EQ(recv(c->fd, in, 8, MSG_DONTWAIT), 0);
	EQ(send(c->fd, "goes", 4, 0), 4);
	EQ(peer_recv(c, in, 8, 0), 4);
}

static void both_halves_with_something_unread(struct conn *c)
{
	char in[8];
	EQ(send(c->fd, "unread", 6, 0), 6);
	OK(peer_shutdown(c, SHUT_RDWR));
	EQ(poll_until(c->fd, ALL, POLLHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(peer_recv(c, in, 8, 0), 6);
	EQ(peer_recv(c, in, 8, 0), 0);
	ERR(peer_send(c, "x", 1, 0), EPIPE);
}

static void the_peer_is_killed(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "last", 4, 0), 4);
	EQ(send(c->fd, "unread", 6, 0), 6);
	peer_kill(c);
	poll_until(c->fd, ALL, POLLHUP);
	ERR(recv(c->fd, in, 8, 0), ECONNRESET);
	EQ(recv(c->fd, in, 8, 0), 4);
	EQ(recv(c->fd, in, 8, 0), 0);
	ERR(send(c->fd, "x", 1, 0), EPIPE);
}

static void time_and_signals(struct conn *c)
{
	char in[8];
	set_timeout(c->fd, SO_RCVTIMEO, 50);
	int64_t began = now_ms();
	ERR(recv(c->fd, in, 8, 0), EAGAIN);
	TRUE(now_ms() - began >= 40);
	set_timeout(c->fd, SO_RCVTIMEO, 0);
	signals_start(20, 0);
	ERR(recv(c->fd, in, 8, 0), EINTR);
	ERR(read(c->fd, in, 8), EINTR);
	signals_stop();
	signals_start(20, SA_RESTART);
	peer_send_later(c, 100, "late", 4, 0);
	EQ(recv(c->fd, in, 8, 0), 4);
	signals_stop();
	TRUE(signals_seen() > 0);
	EQ(peer_join(c), 4);
}

static const struct test tests[] = {
	TEST(nothing_to_receive_into, SEQPACKET_EACH),
	TEST(nothing_to_send, SEQPACKET_EACH),
	TEST(an_empty_message_is_one, SEQPACKET_EACH),
	TEST(each_call_takes_one, SEQPACKET_EACH),
	TEST(peeks, SEQPACKET_EACH),
	TEST(flags_that_mean_nothing, SEQPACKET_EACH),
	TEST(addresses_that_are_none, SEQPACKET_EACH),
	TEST(the_largest_message, SEQPACKET_EACH),
	TEST(room_for_each_size, SEQPACKET_EACH),
	TEST(the_buffer_may_change, SEQPACKET_EACH),
	TEST(waiting_for_room, SEQPACKET_EACH),
	TEST(some_of_many, SEQPACKET_EACH),
	TEST(each_way_to_wait, SEQPACKET_EACH),
	TEST(level_and_edges, SEQPACKET_EACH),
	TEST(one_shot, SEQPACKET_EACH),
	TEST(edges_of_room, SEQPACKET_EACH),
	TEST(the_peer_closes, SEQPACKET_EACH),
	TEST(the_peer_closes_unread, SEQPACKET_EACH),
	TEST(who_takes_the_error, SEQPACKET_EACH),
	TEST(what_counts_as_unread, SEQPACKET_EACH),
	TEST(the_end_wakes, SEQPACKET_EACH),
	TEST(halves, SEQPACKET_EACH),
	TEST(the_read_half, SEQPACKET_EACH),
	TEST(both_halves_with_something_unread, SEQPACKET_EACH),
	TEST(the_peer_is_killed, SEQPACKET_TWO),
	TEST(time_and_signals, SEQPACKET_EACH),
};
MAIN(tests)
