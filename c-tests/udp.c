/* udp(7), ip(7), ipv6(7): datagrams. */
#include <net/if.h>
#include <netinet/udp.h>

#include "udp.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

/* ---- a pair ------------------------------------------------------------------------------------------ */

#define UDP_EACH (V_UDP_FRESH_ONE | V_UDP_WARM_ONE | V_UDP_WARM_TWO | V_UDP_WARM_TWO_INET6)
#define UDP_ONE (V_UDP_FRESH_ONE | V_UDP_WARM_ONE)

static void truncation(struct conn *c)
{
	char in[4];
	struct iovec v = { in, 3 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	for (int i = 0; i < 5; i++)
		EQ(peer_send(c, "words", 5, 0), 5);
	poll_until(c->fd, POLLIN, POLLIN);
	EQ(recv(c->fd, in, 3, 0), 3);
	EQ(recv(c->fd, in, 3, MSG_TRUNC), 5);
	EQ(recv(c->fd, in, 3, MSG_PEEK | MSG_TRUNC), 5);
	EQ(recv(c->fd, in, 3, MSG_PEEK), 3);
	EQ(recvmsg(c->fd, &m, 0), 3);
	EQ(m.msg_flags, MSG_TRUNC);
	EQ(recvmsg(c->fd, &m, MSG_TRUNC), 5);
	EQ(m.msg_flags, MSG_TRUNC);
	EQ(recv(c->fd, NULL, 0, 0), 0); /* takes it all the same */
	NONE_IS_THERE(c->fd);
}

static void peeks_from_an_offset(struct conn *c)
{
	char in[8];
	OK(set(c->fd, SOL_SOCKET, SO_PEEK_OFF, 0)); /* 0 is where peeks begin, and is on */
	for (int i = 0; i < 3; i++) {
		EQ(peer_send(c, "words", 5, 0), 5);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(recv(c->fd, in, 2, MSG_PEEK), 2);
		SAME(in, "wo", 2);
		EQ(recv(c->fd, in, 2, MSG_PEEK), 2);
		SAME(in, "rd", 2);
		EQ(recv(c->fd, in, sizeof in, 0), 5);
		OK(set(c->fd, SOL_SOCKET, SO_PEEK_OFF, 0));
	}
	OK(set(c->fd, SOL_SOCKET, SO_PEEK_OFF, -1));
}

static void empty_datagrams(struct conn *c)
{
	int n = -1;
	char in[4];
	EQ(peer_send(c, "", 0, 0), 0);
	EQ(peer_send(c, "full", 4, 0), 4);
	EQ(peer_send(c, "", 0, 0), 0);
	poll_until(c->fd, POLLIN, POLLIN);
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 0); /* of the first one alone */
	EQ(recv(c->fd, in, 4, 0), 0);
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 4);
	EQ(recv(c->fd, in, 4, 0), 4);
	EQ(poll_one(c->fd, POLLIN, 1000), POLLIN);
	EQ(recv(c->fd, in, 4, 0), 0);
	NONE_IS_THERE(c->fd);
}

static void fionread_is_of_the_first(struct conn *c)
{
	int n;
	EQ(peer_send(c, "three", 5, 0), 5);
	EQ(peer_send(c, "more", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLIN);
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 5);
	NEXT_IS(c->fd, "three");
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 4);
	NEXT_IS(c->fd, "more");
	OK(ioctl(c->fd, FIONREAD, &n));
	EQ(n, 0);
}

static void each_size(struct conn *c)
{
	static char out[65507], in[65536];
	static const int sizes[] = { 0, 1, 100, 1472, 1473, 4096, 9000, 16384, 32768, 65000, 65507 };
	pattern_fill(out, 0, sizeof out);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		EQ(send(c->fd, out, (size_t)sizes[i], 0), sizes[i]);
		EQ(peer_recv(c, in, sizeof in, 0), sizes[i]);
		SAME(in, out, (size_t)sizes[i]);
	}
	static char big[65536];
	ERR(send(c->fd, big, sizeof big, 0), EMSGSIZE);
}

static void many_at_once(struct conn *c)
{
	enum { COUNT = 20 };
	char out[COUNT][8], in[COUNT][8];
	struct iovec vo[COUNT], vi[COUNT];
	struct mmsghdr mo[COUNT] = { 0 }, mi[COUNT] = { 0 };
	for (int i = 0; i < COUNT; i++) {
		sprintf(out[i], "m%02d", i);
		vo[i] = (struct iovec){ out[i], (size_t)(i % 4) };
		vi[i] = (struct iovec){ in[i], 2 };
		mo[i].msg_hdr = (struct msghdr){ .msg_iov = &vo[i], .msg_iovlen = 1 };
		mi[i].msg_hdr = (struct msghdr){ .msg_iov = &vi[i], .msg_iovlen = 1 };
	}
	EQ(sendmmsg(c->fd, mo, COUNT, 0), COUNT);
	for (int i = 0; i < COUNT; i++) {
		EQ(mo[i].msg_len, i % 4);
		EQ(peer_recv(c, in[0], 8, 0), i % 4);
		SAME(in[0], out[i], (size_t)(i % 4));
	}
	for (int i = 0; i < COUNT; i++)
		EQ(peer_send(c, out[i], 3, 0), 3);
	for (int i = 0, n; i < COUNT; i += n) {
		n = (int)OK(recvmmsg(c->fd, mi + i, (unsigned)(COUNT - i), MSG_WAITFORONE, NULL));
		TRUE(n > 0);
	}
	for (int i = 0; i < COUNT; i++) {
		EQ(mi[i].msg_len, 2);
		EQ(mi[i].msg_hdr.msg_flags & MSG_TRUNC, MSG_TRUNC);
		SAME(in[i], out[i], 2);
	}
	ERR(recvmmsg(c->fd, mi, COUNT, MSG_DONTWAIT, NULL), EAGAIN);
}

static void refused_once_the_peer_closed(struct conn *c)
{
	for (int i = 0; i < 100; i++) { /* it took many before */
		char in[8];
		EQ(send(c->fd, "words", 5, 0), 5);
		EQ(peer_recv(c, in, 8, 0), 5);
	}
	OK(peer_close(c));
	EQ(send(c->fd, "lost", 4, 0), 4);
	TRUE(poll_until(c->fd, POLLIN | POLLOUT, POLLERR) & POLLERR);
	ERR(send(c->fd, "x", 1, 0), ECONNREFUSED);
	EQ(send(c->fd, "lost", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLERR);
	ERR(recv(c->fd, &(char){ 0 }, 1, 0), ECONNREFUSED);
	EQ(send(c->fd, "lost", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLERR);
	int error = 0;
	socklen_t size = sizeof error;
	OK(getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size));
	EQ(error, ECONNREFUSED);
	OK(getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size));
	EQ(error, 0);
	NONE_IS_THERE(c->fd);
}

static void refused_once_the_peer_was_killed(struct conn *c)
{
	peer_kill(c);
	EQ(send(c->fd, "lost", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLERR);
	ERR(recv(c->fd, &(char){ 0 }, 1, 0), ECONNREFUSED);
}

static void what_came_outlives_the_sender(struct conn *c)
{
	EQ(peer_send(c, "first", 5, 0), 5);
	EQ(peer_send(c, "second", 6, 0), 6);
	OK(peer_close(c));
	NEXT_IS(c->fd, "first");
	NEXT_IS(c->fd, "second");
	NONE_IS_THERE(c->fd);
	EQ(poll_one(c->fd, POLLIN | POLLRDHUP, 0), 0); /* no end: there is no connection */
}

static void times_and_signals(struct conn *c)
{
	char in[8];
	set_timeout(c->fd, SO_RCVTIMEO, 30);
	ERR(recv(c->fd, in, 8, 0), EAGAIN);
	set_timeout(c->fd, SO_RCVTIMEO, 0);
	signals_start(10, 0);
	ERR(recv(c->fd, in, 8, 0), EINTR);
	signals_stop();
	signals_start(10, SA_RESTART);
	peer_send_later(c, 60, "late", 4, 0);
	EQ(recv(c->fd, in, 8, 0), 4);
	EQ(peer_join(c), 4);
	signals_stop();
	peer_send_later(c, 30, "w", 1, 0);
	EQ(recv(c->fd, in, 8, MSG_WAITALL), 1); /* one datagram is all */
	EQ(peer_join(c), 1);
}

static void each_way_to_wait(struct conn *c)
{
	struct epoll_event e = { .events = EPOLLIN }, got;
	int level = (int)OK(epoll_create1(EPOLL_CLOEXEC)), edge = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	int once = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	OK(epoll_ctl(level, EPOLL_CTL_ADD, c->fd, &e));
	e.events = EPOLLIN | EPOLLET;
	OK(epoll_ctl(edge, EPOLL_CTL_ADD, c->fd, &e));
	e.events = EPOLLIN | EPOLLONESHOT;
	OK(epoll_ctl(once, EPOLL_CTL_ADD, c->fd, &e));
	for (int i = 0; i < 4; i++) {
		EQ(poll_one(c->fd, POLLIN | POLLOUT, 0), POLLOUT);
		EQ(epoll_wait(level, &got, 1, 0), 0);
		peer_send_later(c, 20, "one", 3, 0);
		fd_set in;
		FD_ZERO(&in);
		FD_SET(c->fd, &in);
		if (i % 2)
			EQ(select(c->fd + 1, &in, NULL, NULL, &(struct timeval){ 5, 0 }), 1);
		else
			EQ(epoll_wait(level, &got, 1, 5000), 1);
		EQ(peer_join(c), 3);
		EQ(epoll_wait(edge, &got, 1, 1000), 1);
		EQ(epoll_wait(edge, &got, 1, 10), 0);
		EQ(epoll_wait(once, &got, 1, i == 0 ? 1000 : 0), i == 0);
		EQ(peer_send(c, "two", 3, 0), 3); /* a new edge, while one is still there */
		EQ(epoll_wait(edge, &got, 1, 1000), 1);
		NEXT_IS(c->fd, "one");
		EQ(epoll_wait(level, &got, 1, 0), 1);
		NEXT_IS(c->fd, "two");
	}
	EQ(peer_send(c, "last", 4, 0), 4);
	poll_until(c->fd, POLLIN, POLLIN);
	OK(epoll_ctl(once, EPOLL_CTL_MOD, c->fd, &e));
	EQ(epoll_wait(once, &got, 1, 1000), 1);
}

static void halves(struct conn *c)
{
	char in[8];
	OK(shutdown(c->fd, SHUT_WR));
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(peer_send(c, "still", 5, 0), 5);
	NEXT_IS(c->fd, "still");
	OK(shutdown(c->fd, SHUT_RD));
	EQ(recv(c->fd, in, 8, 0), 0);
	TRUE(poll_one(c->fd, POLLIN | POLLRDHUP, 0) & POLLIN);
}

static void a_gather_is_one_datagram(struct conn *c)
{
	char in[16];
	struct iovec v[3] = { { "one", 3 }, { NULL, 0 }, { "two", 3 } };
	EQ(writev(c->fd, v, 3), 6);
	EQ(peer_recv(c, in, 16, 0), 6);
	SAME(in, "onetwo", 6);
	EQ(peer_send(c, "abcdef", 6, 0), 6);
	struct iovec w[2] = { { in, 2 }, { in + 8, 8 } };
	EQ(readv(c->fd, w, 2), 6);
	SAME(in, "ab", 2);
	SAME(in + 8, "cdef", 4);
}

static void corked(struct conn *c)
{
	char in[16];
	EQ(send(c->fd, "a", 1, MSG_MORE), 1);
	EQ(send(c->fd, "b", 1, MSG_MORE), 1);
	ERR(peer_recv(c, in, 16, MSG_DONTWAIT), EAGAIN);
	EQ(send(c->fd, "c", 1, 0), 1);
	EQ(peer_recv(c, in, 16, 0), 3);
	SAME(in, "abc", 3);
	OK(set(c->fd, IPPROTO_UDP, UDP_CORK, 1));
	EQ(send(c->fd, "d", 1, 0), 1);
	EQ(write(c->fd, "e", 1), 1);
	ERR(peer_recv(c, in, 16, MSG_DONTWAIT), EAGAIN);
	OK(set(c->fd, IPPROTO_UDP, UDP_CORK, 0));
	EQ(peer_recv(c, in, 16, 0), 2);
	SAME(in, "de", 2);
	EQ(send(c->fd, "f", 1, 0), 1);
	EQ(peer_recv(c, in, 16, 0), 1);
}

static void segmented(struct conn *c)
{
	char in[2000], out[2500];
	pattern_fill(out, 0, sizeof out);
	if (set(c->fd, IPPROTO_UDP, UDP_SEGMENT, 1000) < 0)
		skip();
	EQ(send(c->fd, out, sizeof out, 0), sizeof out);
	EQ(peer_recv(c, in, sizeof in, 0), 1000);
	EQ(pattern_differs(in, 0, 1000), -1);
	EQ(peer_recv(c, in, sizeof in, 0), 1000);
	EQ(pattern_differs(in, 1000, 1000), -1);
	EQ(peer_recv(c, in, sizeof in, 0), 500);
	EQ(pattern_differs(in, 2000, 500), -1);
	OK(set(c->fd, IPPROTO_UDP, UDP_SEGMENT, 0));
	/* And for one call alone. */
	char control[CMSG_SPACE(sizeof(uint16_t))] = { 0 };
	struct iovec v = { out, 25 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){ CMSG_LEN(sizeof(uint16_t)), IPPROTO_UDP, UDP_SEGMENT };
	memcpy(CMSG_DATA(h), &(uint16_t){ 10 }, sizeof(uint16_t));
	EQ(sendmsg(c->fd, &m, 0), 25);
	EQ(peer_recv(c, in, sizeof in, 0), 10);
	EQ(peer_recv(c, in, sizeof in, 0), 10);
	EQ(peer_recv(c, in, sizeof in, 0), 5);
	EQ(send(c->fd, out, 25, 0), 25);
	EQ(peer_recv(c, in, sizeof in, 0), 25);
}

static void wrong_pointers(struct conn *c)
{
	void *wild = (void *)0x10;
	char in[8];
	ERR(send(c->fd, wild, 5, 0), EFAULT);
	ERR(recv(c->fd, wild, 5, MSG_DONTWAIT), EAGAIN);
	EQ(peer_send(c, "words", 5, 0), 5);
	poll_until(c->fd, POLLIN, POLLIN);
	ERR(recv(c->fd, wild, 5, 0), EFAULT);
	NONE_IS_THERE(c->fd); /* it was lost */
	exchange(c, 2);
	ERR(recvfrom(c->fd, in, 8, MSG_DONTWAIT, wild, wild), EAGAIN);
}

static long close_it(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	return shutdown(*fd, SHUT_RDWR);
}

static void shutdown_wakes_a_reader(struct conn *c)
{
	char in[4];
	struct conn swapped = *c;
	swapped.peer_fd = c->fd;
	peer_call_later(&swapped, 50, close_it, 0, 0);
	EQ(recv(c->fd, in, 4, 0), 0);
	OK(peer_join(&swapped));
}

static void lent_to_a_program(struct conn *c)
{
	char number[16], in[16];
	sprintf(number, "%d", c->fd);
	for (int statically = 0; statically < 2; statically++) {
		EQ(peer_send(c, "queued", 6, 0), 6); /* before the program is there */
		pid_t child = start_echo(statically, c->fd, "records", number, "21", NULL);
		EQ(peer_recv(c, in, 16, 0), 6);
		SAME(in, "queued", 6);
		for (int i = 0; i < 20; i++) {
			char out[16];
			int n = sprintf(out, "round %d", i);
			EQ(peer_send(c, out, (size_t)n, 0), n);
			EQ(peer_recv(c, in, 16, 0), n);
			SAME(in, out, (size_t)n);
		}
		join_child(child);
		exchange(c, 12);
	}
}

static void a_program_sends(struct conn *c)
{
	char number[16], in[16], out[16];
	sprintf(number, "%d", c->fd);
	for (int statically = 0; statically < 2; statically++) {
		EQ(send(c->fd, "first", 5, 0), 5);
		join_child(start_echo(statically, c->fd, "send", number, "30", NULL));
		EQ(send(c->fd, "last", 4, 0), 4);
		EQ(peer_recv(c, in, 16, 0), 5);
		for (int i = 0; i < 30; i++) {
			int n = sprintf(out, "%d", i);
			EQ(peer_recv(c, in, 16, 0), n);
			SAME(in, out, (size_t)n);
		}
		EQ(peer_recv(c, in, 16, 0), 4);
		SAME(in, "last", 4);
	}
}

/* ---- who gets what ----------------------------------------------------------------------------------- */

static void source_of_a_connected_socket(struct conn *c)
{
	(void)c;
	int families[] = { AF_INET, AF_INET6 };
	for (int i = 0; i < 2; i++) {
		int a = bound(families[i]), peer = bound(families[i]), other = bound(families[i]);
		EQ(send_to_fd(other, a, "before"), 6);
		OK(connect_to_fd(a, peer));
		NEXT_IS(a, "before"); /* it was there already */
		for (int round = 0; round < 12; round++) {
			EQ(send_to_fd(other, a, "other"), 5);
			EQ(send_to_fd(peer, a, "peer"), 4);
			NEXT_IS(a, "peer");
			NONE_IS_THERE(a);
			EQ(send(a, "answer", 6, 0), 6);
			NEXT_IS(peer, "answer");
		}
		OK(close(a));
		OK(close(peer));
		OK(close(other));
	}
}

static void a_refusal_of_what_a_connected_socket_does_not_take(struct conn *c)
{
	(void)c;
	int a = bound(AF_INET), peer = bound(AF_INET), other = bound(AF_INET);
	OK(connect_to_fd(a, peer));
	OK(connect_to_fd(other, a));
	EQ(send(other, "x", 1, 0), 1); /* nobody takes it there: that is as if nobody were bound */
	poll_until(other, POLLIN, POLLERR);
	ERR(recv(other, &(char){ 0 }, 1, 0), ECONNREFUSED);
}

static void the_exact_address_comes_first(struct conn *c)
{
	(void)c;
	int any = bound_at(AF_INET, "0.0.0.0", 0), sender = made(AF_INET);
	for (int round = 0; round < 12; round++) {
		EQ(send_to_port(sender, AF_INET, port(any), "any", 3), 3);
		NEXT_IS(any, "any");
	}
	int exact = bound_at(AF_INET, "127.0.0.1", port(any));
	for (int round = 0; round < 12; round++) {
		EQ(send_to_port(sender, AF_INET, port(any), "exact", 5), 5);
		NEXT_IS(exact, "exact");
	}
	NONE_IS_THERE(any);
	OK(close(exact));
	EQ(send_to_port(sender, AF_INET, port(any), "any", 3), 3);
	NEXT_IS(any, "any");
}

static void a_connected_socket_comes_first(struct conn *c)
{
	(void)c;
	int unconnected = bound(AF_INET), sender = bound(AF_INET), other = bound(AF_INET);
	int connected = bound_at(AF_INET, "127.0.0.1", port(unconnected));
	OK(connect_to_fd(connected, sender));
	for (int round = 0; round < 12; round++) {
		EQ(send_to_fd(sender, unconnected, "mine"), 4);
		EQ(send_to_fd(other, unconnected, "others"), 6);
		NEXT_IS(connected, "mine");
		NEXT_IS(unconnected, "others");
	}
	NONE_IS_THERE(connected);
	NONE_IS_THERE(unconnected);
}

static void mapped_addresses(struct conn *c)
{
	(void)c;
	int six = bound_at(AF_INET6, "::", 0), four = bound(AF_INET);
	struct sockaddr_storage from;
	socklen_t length = sizeof from;
	char in[8];
	for (int round = 0; round < 12; round++) {
		EQ(send_to_port(four, AF_INET, port(six), "words", 5), 5);
		length = sizeof from;
		EQ(recvfrom(six, in, 8, 0, (struct sockaddr *)&from, &length), 5);
		EQ(length, sizeof(struct sockaddr_in6));
		TRUE(IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&from)->sin6_addr));
		EQ(port_of(&from), port(four));
		EQ(sendto(six, "back", 4, 0, (struct sockaddr *)&from, length), 4);
		length = sizeof from;
		EQ(recvfrom(four, in, 8, 0, (struct sockaddr *)&from, &length), 4);
		EQ(from.ss_family, AF_INET);
		EQ(port_of(&from), port(six));
	}
	OK(connect_to_fd(four, bound_at(AF_INET, "127.0.0.1", 0)));
	ERR(send_to_port(four, AF_INET6, port(six), "x", 1), EAFNOSUPPORT);
}

static void another_peer_and_none(struct conn *c)
{
	(void)c;
	int a = made(AF_INET), first = bound(AF_INET), second = bound(AF_INET);
	struct sockaddr_storage addr;
	socklen_t length = sizeof addr;
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	ERR(send(a, "x", 1, 0), EDESTADDRREQ);
	OK(connect_to_fd(a, first));
	for (int i = 0; i < 12; i++) {
		EQ(send(a, "one", 3, 0), 3);
		NEXT_IS(first, "one");
	}
	EQ(send_to_fd(a, second, "by the way"), 10);
	NEXT_IS(second, "by the way");
	uint16_t mine = port(a);
	OK(connect_to_fd(a, second));
	EQ(port(a), mine);
	EQ(send(a, "two", 3, 0), 3);
	NEXT_IS(second, "two");
	OK(connect(a, &none, sizeof none));
	EQ(port(a), 0); /* it had not been bound by bind() */
	ERR(send(a, "x", 1, 0), EDESTADDRREQ);
	TRUE(port(a) != 0); /* even the send that fails gives it one */
	ERR(getpeername(a, (struct sockaddr *)&addr, &length), ENOTCONN);
	EQ(send_to_fd(a, first, "three"), 5);
	NEXT_IS(first, "three");
	EQ(recv(first, &addr, 1, MSG_DONTWAIT), -1);
	/* A port that the kernel chose goes, even if bind() asked for it; one that bind() named stays. */
	int b = bound(AF_INET);
	mine = port(b);
	OK(connect_to_fd(b, first));
	OK(connect(b, &none, sizeof none));
	EQ(port(b), 0);
	OK(close(b));
	b = bound_at(AF_INET, "127.0.0.1", mine);
	OK(connect_to_fd(b, first));
	OK(connect(b, &none, sizeof none));
	EQ(port(b), mine);
	EQ(send_to_fd(second, b, "anyone"), 6);
	NEXT_IS(b, "anyone");
}

static void reuseport_group(struct conn *c)
{
	(void)c;
	enum { MEMBERS = 4, SENDERS = 16, EACH_SENDS = 25 };
	int members[MEMBERS], seen[SENDERS][EACH_SENDS] = { { 0 } };
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 0, &addr);
	for (int i = 0; i < MEMBERS; i++) {
		members[i] = made(AF_INET);
		OK(set(members[i], SOL_SOCKET, SO_REUSEPORT, 1));
		OK(bind(members[i], (struct sockaddr *)&addr, length));
		length = name_of(members[i], &addr);
	}
	for (int s = 0; s < SENDERS; s++) {
		int fd = made(AF_INET);
		for (int i = 0; i < EACH_SENDS; i++) {
			int words[2] = { s, i };
			EQ(sendto(fd, words, sizeof words, 0, (struct sockaddr *)&addr, length), sizeof words);
		}
		OK(close(fd));
	}
	int total = 0, owner[SENDERS];
	memset(owner, -1, sizeof owner);
	for (int64_t end = now_ms() + 3000; total < SENDERS * EACH_SENDS && now_ms() < end;)
		for (int m = 0; m < MEMBERS; m++) {
			int words[2];
			if (recv(members[m], words, sizeof words, MSG_DONTWAIT) != sizeof words)
				continue;
			EQ(seen[words[0]][words[1]]++, 0);
			if (owner[words[0]] < 0)
				owner[words[0]] = m;
			EQ(owner[words[0]], m); /* a sender's hash leads to one member */
			total++;
		}
	EQ(total, SENDERS * EACH_SENDS);
}

/* ---- what comes beside ------------------------------------------------------------------------------- */

static struct cmsghdr *receive_with(int fd, struct msghdr *m, void *control, size_t room, int level, int type)
{
	static char in[100];
	static struct iovec v;
	v = (struct iovec){ in, sizeof in };
	*m = (struct msghdr){ .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room };
	poll_until(fd, POLLIN, POLLIN);
	OK(recvmsg(fd, m, 0));
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h != NULL; h = CMSG_NXTHDR(m, h))
		if (h->cmsg_level == level && h->cmsg_type == type)
			return h;
	return NULL;
}

static void the_address_it_came_to(struct conn *c)
{
	(void)c;
	char control[512];
	struct msghdr m;
	int a = bound_at(AF_INET, "0.0.0.0", 0), b = made(AF_INET);
	for (int round = 0; round < 3; round++) {
		EQ(send_to_port(b, AF_INET, port(a), "x", 1), 1);
		EQ(receive_with(a, &m, control, sizeof control, IPPROTO_IP, IP_PKTINFO) == NULL, 1);
		OK(set(a, IPPROTO_IP, IP_PKTINFO, 1));
		EQ(send_to_port(b, AF_INET, port(a), "x", 1), 1);
		struct cmsghdr *h = receive_with(a, &m, control, sizeof control, IPPROTO_IP, IP_PKTINFO);
		TRUE(h != NULL);
		struct in_pktinfo info;
		memcpy(&info, CMSG_DATA(h), sizeof info);
		EQ(ntohl(info.ipi_addr.s_addr), INADDR_LOOPBACK);
		EQ(ntohl(info.ipi_spec_dst.s_addr), INADDR_LOOPBACK);
		EQ(info.ipi_ifindex, if_nametoindex("lo"));
		EQ(send_to_port(b, AF_INET, port(a), "x", 1), 1);
		receive_with(a, &m, control, 10, IPPROTO_IP, IP_PKTINFO);
		TRUE(m.msg_flags & MSG_CTRUNC);
		OK(set(a, IPPROTO_IP, IP_PKTINFO, 0));
		for (int i = 0; i < 12; i++) {
			EQ(send_to_port(b, AF_INET, port(a), "warm", 4), 4);
			NEXT_IS(a, "warm");
		}
	}
	int six = bound_at(AF_INET6, "::1", 0), other = made(AF_INET6);
	OK(set(six, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	EQ(send_to_port(other, AF_INET6, port(six), "x", 1), 1);
	struct cmsghdr *h = receive_with(six, &m, control, sizeof control, IPPROTO_IPV6, IPV6_PKTINFO);
	TRUE(h != NULL);
	SAME(CMSG_DATA(h), &in6addr_loopback, sizeof in6addr_loopback);
}

static void hops_times_and_losses(struct conn *c)
{
	(void)c;
	char control[512];
	struct msghdr m;
	struct cmsghdr *h;
	int a = bound(AF_INET), b = made(AF_INET), value;
	for (int round = 0; round < 2; round++) {
		OK(set(a, IPPROTO_IP, IP_RECVTTL, 1));
		OK(set(b, IPPROTO_IP, IP_TTL, 33));
		EQ(send_to_port(b, AF_INET, port(a), "x", 1), 1);
		h = receive_with(a, &m, control, sizeof control, IPPROTO_IP, IP_TTL);
		TRUE(h != NULL);
		memcpy(&value, CMSG_DATA(h), sizeof value);
		EQ(value, 33);
		OK(set(a, IPPROTO_IP, IP_RECVTOS, 1));
		OK(set(b, IPPROTO_IP, IP_TOS, 0x10));
		EQ(send_to_port(b, AF_INET, port(a), "x", 1), 1);
		h = receive_with(a, &m, control, sizeof control, IPPROTO_IP, IP_TOS);
		TRUE(h != NULL);
		EQ(*CMSG_DATA(h), 0x10);
		OK(set(a, SOL_SOCKET, SO_TIMESTAMP, 1));
		EQ(send_to_port(b, AF_INET, port(a), "x", 1), 1);
		h = receive_with(a, &m, control, sizeof control, SOL_SOCKET, SCM_TIMESTAMP);
		TRUE(h != NULL);
		struct timeval then, now;
		memcpy(&then, CMSG_DATA(h), sizeof then);
		gettimeofday(&now, NULL);
		TRUE(then.tv_sec > now.tv_sec - 100 && then.tv_sec <= now.tv_sec);
		OK(set(a, SOL_SOCKET, SO_TIMESTAMP, 0));
		OK(set(a, IPPROTO_IP, IP_RECVTTL, 0));
		OK(set(a, IPPROTO_IP, IP_RECVTOS, 0));
		EQ(send_to_port(b, AF_INET, port(a), "x", 1), 1);
		receive_with(a, &m, control, sizeof control, IPPROTO_IP, IP_TTL);
		EQ(m.msg_controllen, 0);
		for (int i = 0; i < 12; i++) {
			EQ(send_to_port(b, AF_INET, port(a), "warm", 4), 4);
			NEXT_IS(a, "warm");
		}
	}
	/* What did not fit is counted, and told with what came. */
	OK(set(a, SOL_SOCKET, SO_RXQ_OVFL, 1));
	OK(set(a, SOL_SOCKET, SO_RCVBUF, 2304));
	char big[1000] = { 0 };
	for (int i = 0; i < 50; i++)
		EQ(send_to_port(b, AF_INET, port(a), big, sizeof big), sizeof big);
	while (recv(a, big, sizeof big, MSG_DONTWAIT) > 0)
		;
	EQ(send_to_port(b, AF_INET, port(a), "x", 1), 1);
	h = receive_with(a, &m, control, sizeof control, SOL_SOCKET, SO_RXQ_OVFL);
	TRUE(h != NULL);
	memcpy(&value, CMSG_DATA(h), sizeof value);
	TRUE(value > 0 && value < 50);
}

/* ---- groups and broadcast ------------------------------------------------------------------------------ */

/* Only in a network namespace of its own has loopback a way for them. */
static bool in_own_network(void)
{
	return getenv("C_TESTS_OWN_NETWORK") != NULL;
}

static void multicast(struct conn *c)
{
	(void)c;
	if (!in_own_network())
		skip();
	int members[2], sender = made(AF_INET);
	struct sockaddr_in group = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xefff0102) };
	struct ip_mreqn join = { .imr_multiaddr = group.sin_addr, .imr_ifindex = (int)if_nametoindex("lo") };
	for (int i = 0; i < 2; i++) {
		members[i] = bound_at(AF_INET, "0.0.0.0", ntohs(group.sin_port));
		group.sin_port = htons(port(members[i]));
		OK(setsockopt(members[i], IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
	}
	OK(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &join, sizeof join));
	for (int i = 0; i < 12; i++) {
		EQ(sendto(sender, "to all", 6, 0, (struct sockaddr *)&group, sizeof group), 6);
		NEXT_IS(members[0], "to all");
		NEXT_IS(members[1], "to all");
	}
	OK(setsockopt(members[1], IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof join));
	OK(set(members[1], IPPROTO_IP, IP_MULTICAST_ALL, 0));
	EQ(sendto(sender, "to one", 6, 0, (struct sockaddr *)&group, sizeof group), 6);
	NEXT_IS(members[0], "to one");
	NONE_IS_THERE(members[1]);
	OK(set(sender, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
	EQ(sendto(sender, "to none", 7, 0, (struct sockaddr *)&group, sizeof group), 7);
}

static void broadcast(struct conn *c)
{
	(void)c;
	if (!in_own_network())
		skip();
	int receivers[2] = { bound_at(AF_INET, "0.0.0.0", 0) }, sender = made(AF_INET);
	receivers[1] = bound_at(AF_INET, "0.0.0.0", port(receivers[0]));
	struct sockaddr_in all = { .sin_family = AF_INET, .sin_port = htons(port(receivers[0])),
				   .sin_addr.s_addr = htonl(0x7fffffff) };
	ERR(sendto(sender, "x", 1, 0, (struct sockaddr *)&all, sizeof all), EACCES);
	OK(set(sender, SOL_SOCKET, SO_BROADCAST, 1));
	for (int i = 0; i < 12; i++) {
		EQ(sendto(sender, "to all", 6, 0, (struct sockaddr *)&all, sizeof all), 6);
		NEXT_IS(receivers[0], "to all");
		NEXT_IS(receivers[1], "to all");
	}
}

/* ---- many senders, many receivers --------------------------------------------------------------------- */

enum { SENDERS = 4, SENDS = 2000 };

struct word {
	int sender, number;
};

static void many_sends(void *argument)
{
	struct word *w = argument;
	int fd = made(AF_INET), sender = w->sender;
	struct sockaddr_storage addr;
	loopback(AF_INET, (uint16_t)w->number, &addr);
	OK(connect(fd, (struct sockaddr *)&addr, sizeof(struct sockaddr_in)));
	for (int i = 0; i < SENDS; i++) {
		struct word out = { sender, i };
		EQ(send(fd, &out, sizeof out, 0), sizeof out);
		char go;
		if (i % 20 == 19) /* so that nothing overflows */
			EQ(recv(fd, &go, 1, 0), 1);
	}
}

static void many_senders_to_one(struct conn *c)
{
	(void)c;
	int fd = bound(AF_INET), next[SENDERS] = { 0 };
	pid_t children[SENDERS];
	for (int i = 0; i < SENDERS; i++) {
		struct word w = { i, port(fd) };
		children[i] = fork_child(many_sends, &w);
	}
	for (int total = 0; total < SENDERS * SENDS; total++) {
		struct word in;
		struct sockaddr_storage from;
		socklen_t length = sizeof from;
		EQ(recvfrom(fd, &in, sizeof in, 0, (struct sockaddr *)&from, &length), sizeof in);
		EQ(in.number, next[in.sender]);
		next[in.sender]++;
		if (in.number % 20 == 19)
			EQ(sendto(fd, "g", 1, 0, (struct sockaddr *)&from, length), 1);
	}
	for (int i = 0; i < SENDERS; i++)
		join_child(children[i]);
	NONE_IS_THERE(fd);
}

struct shared_receiver {
	int fd, report;
};

static void receive_and_report(void *argument)
{
	struct shared_receiver *s = argument;
	int in;
	while (recv(s->fd, &in, sizeof in, 0) == sizeof in && in >= 0)
		EQ(write(s->report, &in, sizeof in), sizeof in);
}

static void a_receiver_that_processes_share(struct conn *c)
{
	(void)c;
	enum { COUNT = 600, SHARERS = 3 };
	int report[2], fd = bound(AF_INET), sender = made(AF_INET), number, seen[COUNT] = { 0 };
	pid_t children[SHARERS];
	OK(pipe(report));
	OK(connect_to_fd(sender, fd));
	for (number = 0; number < 20; number++) /* some are there before the others are */
		EQ(send(sender, &number, sizeof number, 0), sizeof number);
	struct shared_receiver s = { fd, report[1] };
	for (int i = 0; i < SHARERS; i++)
		children[i] = fork_child(receive_and_report, &s);
	for (int got = 0; got < COUNT; got++) {
		int which;
		if (number < COUNT) {
			EQ(send(sender, &number, sizeof number, 0), sizeof number);
			number++;
		}
		EQ(read(report[0], &which, sizeof which), sizeof which);
		TRUE(which >= 0 && which < COUNT);
		EQ(seen[which]++, 0);
	}
	for (int i = 0, stop = -1; i < SHARERS; i++)
		EQ(send(sender, &stop, sizeof stop, 0), sizeof stop);
	for (int i = 0; i < SHARERS; i++)
		join_child(children[i]);
	NONE_IS_THERE(fd);
}

static void queued_before_the_first_read(struct conn *c)
{
	(void)c;
	int fd = bound(AF_INET), sender = made(AF_INET);
	char words[16];
	OK(connect_to_fd(sender, fd));
	for (int i = 0; i < 40; i++) {
		int n = sprintf(words, "%d", i);
		EQ(send(sender, words, (size_t)n, 0), n);
		if (i >= 20) {
			sprintf(words, "%d", i - 20);
			NEXT_IS(fd, words);
		}
	}
	for (int i = 20; i < 40; i++) {
		sprintf(words, "%d", i);
		NEXT_IS(fd, words);
	}
	NONE_IS_THERE(fd);
}

static void *only_waits(void *gate)
{
	char c;
	(void)!read(*(int *)gate, &c, 1);
	return NULL;
}

/* Without a name, and with another thread in the process that might give it one. */
static void a_receive_without_a_name_times_out(struct conn *c)
{
	(void)c;
	int gate[2], fd = made(AF_INET);
	char in[4];
	pthread_t thread;
	OK(pipe(gate));
	EQ(pthread_create(&thread, NULL, only_waits, &gate[0]), 0);
	set_timeout(fd, SO_RCVTIMEO, 200);
	ERR(recv(fd, in, sizeof in, 0), EAGAIN);
	OK(close(gate[1]));
	EQ(pthread_join(thread, NULL), 0);
}

static void to_oneself(struct conn *c)
{
	(void)c;
	int fd = bound(AF_INET);
	OK(connect_to_fd(fd, fd));
	for (int i = 0; i < 12; i++) {
		EQ(send(fd, "echo", 4, 0), 4);
		NEXT_IS(fd, "echo");
	}
	NONE_IS_THERE(fd);
}

static const struct test tests[] = {
	TEST(truncation, UDP_EACH),
	TEST(peeks_from_an_offset, UDP_EACH),
	TEST(empty_datagrams, UDP_EACH),
	TEST(fionread_is_of_the_first, UDP_EACH),
	TEST(each_size, UDP_EACH),
	TEST(many_at_once, UDP_EACH),
	TEST(refused_once_the_peer_closed, UDP_EACH),
	TEST(refused_once_the_peer_was_killed, V_UDP_WARM_TWO | V_UDP_WARM_TWO_INET6),
	TEST(what_came_outlives_the_sender, UDP_EACH),
	TEST(times_and_signals, UDP_EACH),
	TEST(each_way_to_wait, UDP_EACH),
	TEST(halves, UDP_EACH),
	TEST(a_gather_is_one_datagram, UDP_EACH),
	TEST(corked, UDP_EACH),
	TEST(segmented, UDP_EACH),
	TEST(wrong_pointers, UDP_EACH),
	TEST(shutdown_wakes_a_reader, UDP_ONE),
	TEST(lent_to_a_program, UDP_EACH),
	TEST(a_program_sends, UDP_EACH),
	TEST(source_of_a_connected_socket, ALONE),
	TEST(a_refusal_of_what_a_connected_socket_does_not_take, ALONE),
	TEST(the_exact_address_comes_first, ALONE),
	TEST(a_connected_socket_comes_first, ALONE),
	TEST(mapped_addresses, ALONE),
	TEST(another_peer_and_none, ALONE),
	TEST(reuseport_group, ALONE),
	TEST(the_address_it_came_to, ALONE),
	TEST(hops_times_and_losses, ALONE),
	TEST(multicast, ALONE),
	TEST(broadcast, ALONE),
	TEST(many_senders_to_one, ALONE),
	TEST(a_receiver_that_processes_share, ALONE),
	TEST(queued_before_the_first_read, ALONE),
	TEST(to_oneself, ALONE),
	TEST(a_receive_without_a_name_times_out, ALONE),
};
MAIN(tests)
