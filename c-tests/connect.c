/* connect(2): blocking, non-blocking, refused, to itself. */
#include "support.h"

struct at { struct sockaddr_storage addr; socklen_t length; int fd; };

static struct at listening(void)
{
	struct at at;
	at.fd = tcp_listener(INET, 16, &at.addr, &at.length);
	return at;
}

static int stream(int flags)
{
	return (int)OK(socket(AF_INET, SOCK_STREAM | flags, 0));
}

static int so_error(int fd)
{
	int error = -1;
	socklen_t size = sizeof error;
	OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
	return error;
}

static int reach(int fd, struct at *at)
{
	return connect(fd, (struct sockaddr *)&at->addr, at->length);
}

static void blocking(struct conn *c)
{
	(void)c;
	struct at at = listening();
	int a = stream(0);
	OK(reach(a, &at));
	ERR(reach(a, &at), EISCONN);
	EQ(poll_one(a, POLLIN | POLLOUT, 0), POLLOUT);
	EQ(so_error(a), 0);
	warm_up_fds(a, (int)OK(accept(at.fd, NULL, NULL)));
	ERR(reach(a, &at), EISCONN);
}

static void nonblocking(struct conn *c)
{
	(void)c;
	struct at at = listening();
	int a = stream(SOCK_NONBLOCK);
	ERR(reach(a, &at), EINPROGRESS);
	EQ(poll_one(a, POLLIN | POLLOUT, 5000), POLLOUT);
	EQ(so_error(a), 0);
	OK(reach(a, &at)); /* the second tells the outcome */
	ERR(reach(a, &at), EISCONN);
	int b = (int)OK(accept(at.fd, NULL, NULL));
	warm_up_fds(a, b);
	char byte;
	ERR(recv(a, &byte, 1, 0), EAGAIN);
}

static void nonblocking_without_asking(struct conn *c)
{
	(void)c;
	/* Some programs never look at SO_ERROR and just write when poll says so. */
	struct at at = listening();
	int a = stream(SOCK_NONBLOCK);
	ERR(reach(a, &at), EINPROGRESS);
	EQ(poll_one(a, POLLOUT, 5000), POLLOUT);
	EQ(send(a, "hello", 5, 0), 5);
	int b = (int)OK(accept(at.fd, NULL, NULL));
	char in[5];
	EQ(recv_all(b, in, 5), 5);
	warm_up_fds(a, b);
}

static void flag_dropped_while_connecting(struct conn *c)
{
	(void)c;
	struct at at = listening();
	int a = stream(SOCK_NONBLOCK);
	ERR(reach(a, &at), EINPROGRESS);
	set_nonblock(a, false);
	EQ(send(a, "hello", 5, 0), 5); /* waits for the connection first, if it must */
	int b = (int)OK(accept(at.fd, NULL, NULL));
	char in[5];
	EQ(recv_all(b, in, 5), 5);
	warm_up_fds(a, b);
}

static void refused(struct conn *c)
{
	(void)c;
	struct at at = listening();
	OK(close(at.fd));
	int a = stream(0);
	ERR(reach(a, &at), ECONNREFUSED);
	EQ(so_error(a), 0);
	ERR(reach(a, &at), ECONNREFUSED);
	/* The same socket may try again and succeed. */
	struct at other = listening();
	OK(reach(a, &other));
	warm_up_fds(a, (int)OK(accept(other.fd, NULL, NULL)));
}

static void refused_nonblocking(struct conn *c)
{
	(void)c;
	struct at at = listening();
	OK(close(at.fd));
	int a = stream(SOCK_NONBLOCK);
	int r = reach(a, &at);
	if (errno != ECONNREFUSED)
		ERR(r, EINPROGRESS);
	TRUE(poll_one(a, POLLIN | POLLOUT, 5000) ==
	     (POLLIN | POLLOUT | POLLERR | POLLHUP));
	EQ(so_error(a), ECONNREFUSED);
	EQ(so_error(a), 0);
	EQ(poll_one(a, POLLIN | POLLOUT | POLLRDHUP, 0), POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
	char byte;
	EQ(recv(a, &byte, 1, 0), 0);
	ERR(send(a, &byte, 1, MSG_NOSIGNAL), EPIPE);
}

static void refused_nonblocking_epoll(struct conn *c)
{
	(void)c;
	struct at at = listening();
	OK(close(at.fd));
	int a = stream(SOCK_NONBLOCK), e = (int)OK(epoll_create1(0));
	struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLET, { .u64 = 7 } }, got;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, a, &event));
	/* Not yet connected: writable and hung up. */
	EQ(epoll_wait(e, &got, 1, 0), 1);
	EQ(got.events, EPOLLOUT | EPOLLHUP);
	reach(a, &at);
	EQ(epoll_wait(e, &got, 1, 5000), 1);
	EQ(got.events, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP);
	EQ(so_error(a), ECONNREFUSED);
}

static void epoll_before_connecting(struct conn *c)
{
	(void)c;
	struct at at = listening();
	int a = stream(SOCK_NONBLOCK), e = (int)OK(epoll_create1(0));
	ERR(reach(a, &at), EINPROGRESS);
	struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLET, { .u64 = 7 } }, got;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, a, &event));
	EQ(epoll_wait(e, &got, 1, 5000), 1);
	EQ(got.events, EPOLLOUT);
	int b = (int)OK(accept(at.fd, NULL, NULL));
	for (int i = 0; i < 8; i++) {
		char in[8];
		EQ(send(b, "12345678", 8, 0), 8);
		EQ(epoll_wait(e, &got, 1, 5000), 1);
		TRUE(got.events & EPOLLIN);
		EQ(recv(a, in, 8, 0), 8);
		EQ(send(a, "12345678", 8, 0), 8);
		EQ(recv(b, in, 8, 0), 8);
	}
	warm_up_fds(a, b);
}

static void refusals(struct conn *c)
{
	(void)c;
	struct at at = listening();
	int a = stream(0);
	ERR(connect(a, (struct sockaddr *)&at.addr, 3), EINVAL);
	ERR(connect(a, NULL, at.length), EFAULT);
	struct sockaddr_storage odd = at.addr;
	odd.ss_family = 77;
	ERR(connect(a, (struct sockaddr *)&odd, at.length), EAFNOSUPPORT);
	OK(reach(a, &at));
	warm_up_fds(a, (int)OK(accept(at.fd, NULL, NULL)));
}

static void unspecified_family_disconnects(struct conn *c)
{
	struct sockaddr_storage none = { .ss_family = AF_UNSPEC };
	OK(connect(c->fd, (struct sockaddr *)&none, sizeof(struct sockaddr_in)));
	char byte = 0;
	ERR(recv(c->fd, &byte, 1, 0), ECONNRESET);
	ERR(recv(c->fd, &byte, 1, 0), ENOTCONN);
	ERR(send(c->fd, &byte, 1, MSG_NOSIGNAL), EPIPE);
	ERR(peer_recv(c, &byte, 1, 0), ECONNRESET);
	/* And the socket is good for another connection. */
	struct at at = listening();
	OK(reach(c->fd, &at));
	int b = (int)OK(accept(at.fd, NULL, NULL));
	for (int i = 0; i < 8; i++) {
		char in[4];
		EQ(send_all(c->fd, "ping", 4), 4);
		EQ(recv_all(b, in, 4), 4);
		EQ(send_all(b, "pong", 4), 4);
		EQ(recv_all(c->fd, in, 4), 4);
		SAME(in, "pong", 4);
	}
}

static void to_itself(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 0, &addr);
	int fd = stream(0);
	OK(bind(fd, (struct sockaddr *)&addr, length));
	OK(getsockname(fd, (struct sockaddr *)&addr, &length));
	OK(connect(fd, (struct sockaddr *)&addr, length));
	char in[8];
	for (int i = 0; i < 20; i++) {
		EQ(send(fd, "myself", 6, 0), 6);
		EQ(poll_until(fd, POLLIN | POLLOUT, POLLIN), POLLIN | POLLOUT);
		EQ(recv_all(fd, in, 6), 6);
		SAME(in, "myself", 6);
	}
	ERR(recv(fd, in, 6, MSG_DONTWAIT), EAGAIN);
	EQ(send(fd, "end", 3, 0), 3);
	OK(shutdown(fd, SHUT_WR));
	EQ(recv_all(fd, in, 8), 3);
	EQ(recv(fd, in, 8, 0), 0);
}

static void many_in_turn(struct conn *c)
{
	(void)c;
	struct at at = listening();
	for (int i = 0; i < 300; i++) {
		int a = stream(0), in = -1;
		OK(reach(a, &at));
		int b = (int)OK(accept(at.fd, NULL, NULL));
		for (int j = 0; j < 3; j++) {
			EQ(send(a, &i, sizeof i, 0), sizeof i);
			EQ(recv_all(b, &in, sizeof in), sizeof in);
			EQ(in, i);
			EQ(send(b, &i, sizeof i, 0), sizeof i);
			EQ(recv_all(a, &in, sizeof in), sizeof in);
			EQ(in, i);
		}
		OK(close(i & 1 ? a : b));
		EQ(recv(i & 1 ? b : a, &in, sizeof in, 0), 0);
		OK(close(i & 1 ? b : a));
	}
}

static void same_port_again(struct conn *c)
{
	(void)c;
	/* The same four addresses, reset and opened again at once: nothing of the old may show. */
	struct at at = listening();
	struct sockaddr_storage mine;
	socklen_t length = loopback(AF_INET, 0, &mine);
	int on = 1;
	for (int i = 0; i < 40; i++) {
		int a = stream(0), in = -1;
		OK(setsockopt(a, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
		OK(bind(a, (struct sockaddr *)&mine, length));
		OK(getsockname(a, (struct sockaddr *)&mine, &length));
		OK(reach(a, &at));
		int b = (int)OK(accept(at.fd, NULL, NULL));
		for (int j = 0; j < 3; j++) {
			EQ(send(a, &i, sizeof i, 0), sizeof i);
			EQ(recv_all(b, &in, sizeof in), sizeof in);
			EQ(in, i);
			EQ(send(b, &i, sizeof i, 0), sizeof i);
			EQ(recv_all(a, &in, sizeof in), sizeof in);
			EQ(in, i);
		}
		EQ(send(a, "unread", 6, 0), 6);
		EQ(send(b, "unread", 6, 0), 6);
		close_with_reset(a);
		close(b);
	}
}

struct echo { struct at at; int count; };

static void echo_server(void *argument)
{
	struct echo *echo = argument;
	for (int i = 0; i < echo->count; i++) {
		int fd = (int)OK(accept(echo->at.fd, NULL, NULL));
		char in[64];
		ssize_t n;
		while ((n = recv(fd, in, sizeof in, 0)) > 0)
			EQ(send_all(fd, in, (size_t)n), n);
		EQ(n, 0);
		OK(close(fd));
	}
}

static void many_to_another_process(struct conn *c)
{
	(void)c;
	struct echo echo = { listening(), 200 };
	pid_t child = fork_child(echo_server, &echo);
	for (int i = 0; i < echo.count; i++) {
		int a = stream(i & 1 ? SOCK_NONBLOCK : 0);
		int r = reach(a, &echo.at);
		if (r < 0) {
			ERR(r, EINPROGRESS);
			EQ(poll_one(a, POLLOUT, 5000), POLLOUT);
			EQ(so_error(a), 0);
		}
		for (int j = 0; j < 4; j++) {
			int out = i * 1000 + j, in = -1;
			EQ(send_all(a, &out, sizeof out), sizeof out);
			EQ(recv_all(a, &in, sizeof in), sizeof in);
			EQ(in, out);
		}
		OK(close(a));
	}
	join_child(child);
}

static const struct test tests[] = {
	TEST(blocking, ALONE),
	TEST(nonblocking, ALONE),
	TEST(nonblocking_without_asking, ALONE),
	TEST(flag_dropped_while_connecting, ALONE),
	TEST(refused, ALONE),
	TEST(refused_nonblocking, ALONE),
	TEST(refused_nonblocking_epoll, ALONE),
	TEST(epoll_before_connecting, ALONE),
	TEST(refusals, ALONE),
	TEST(unspecified_family_disconnects, EACH),
	TEST(to_itself, ALONE),
	TEST(many_in_turn, ALONE),
	TEST(same_port_again, ALONE),
	TEST(many_to_another_process, ALONE),
};
MAIN(tests)
