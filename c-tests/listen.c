/* listen(2), and the queue of connections not yet accepted. */
#include "support.h"

static void binds_by_itself(struct conn *c)
{
	(void)c;
	int fd = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(listen(fd, 4));
	struct sockaddr_storage addr;
	socklen_t length = sizeof addr;
	OK(getsockname(fd, (struct sockaddr *)&addr, &length));
	TRUE(port_of(&addr) != 0);
	length = loopback(AF_INET, port_of(&addr), &addr);
	int a = tcp_connect(INET, &addr, length), b = (int)OK(accept(fd, NULL, NULL));
	warm_up_fds(a, b);
}

static void says_so(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length, size = sizeof(int);
	int fd = tcp_listener(INET, 4, &addr, &length), value = 0;
	OK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size));
	EQ(value, 1);
	struct tcp_info info;
	size = sizeof info;
	OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	EQ(info.tcpi_state, TCP_LISTEN);
	OK(listen(fd, 9));
	OK(listen(fd, 0));
	OK(listen(fd, -1));
}

static void refusals(struct conn *c)
{
	int udp = (int)OK(socket(AF_INET, SOCK_DGRAM, 0));
	ERR(listen(udp, 4), EOPNOTSUPP);
	ERR(listen(c->fd, 4), EINVAL);
	exchange(c, 4);
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 4, &addr, &length);
	char byte = 0;
	ERR(connect(fd, (struct sockaddr *)&addr, length), EISCONN);
	ERR(recv(fd, &byte, 1, 0), ENOTCONN);
	ERR(read(fd, &byte, 1), ENOTCONN);
	ERR(send(fd, &byte, 1, MSG_NOSIGNAL), EPIPE);
	length = sizeof addr;
	ERR(getpeername(fd, (struct sockaddr *)&addr, &length), ENOTCONN);
	exchange(c, 4);
}

static void data_before_accept(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 8, &addr, &length);
	EQ(poll_one(fd, POLLIN | POLLOUT, 0), 0);
	int a = tcp_connect(INET, &addr, length);
	char big[5000], in[5000];
	pattern_fill(big, 0, sizeof big);
	EQ(send(a, big, sizeof big, 0), sizeof big);
	EQ(poll_until(fd, POLLIN | POLLOUT, POLLIN), POLLIN);
	int b = (int)OK(accept(fd, NULL, NULL));
	EQ(poll_one(fd, POLLIN, 0), 0);
	EQ(recv_all(b, in, sizeof in), sizeof in);
	EQ(pattern_differs(in, 0, sizeof in), -1);
	warm_up_fds(a, b);
	warm_up_fds(b, a);
}

static void gone_before_accept(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 8, &addr, &length);
	int a = tcp_connect(INET, &addr, length);
	char in[16];
	EQ(send(a, "last words", 10, 0), 10);
	OK(close(a));
	int b = (int)OK(accept(fd, NULL, NULL));
	EQ(recv_all(b, in, 16), 10);
	SAME(in, "last words", 10);
	EQ(recv(b, in, 16, 0), 0);
	OK(close(b));
	/* And the next one, with nothing said, is a connection of its own. */
	a = tcp_connect(INET, &addr, length);
	b = (int)OK(accept(fd, NULL, NULL));
	warm_up_fds(a, b);
}

static void reset_before_accept(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 8, &addr, &length);
	close_with_reset(tcp_connect(INET, &addr, length));
	int b = (int)OK(accept(fd, NULL, NULL));
	char in[16];
	ERR(recv(b, in, 16, 0), ECONNRESET);
	OK(close(b));
	int a = tcp_connect(INET, &addr, length);
	b = (int)OK(accept(fd, NULL, NULL));
	warm_up_fds(a, b);
}

static void closing_resets_the_waiting(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 8, &addr, &length);
	int a = tcp_connect(INET, &addr, length);
	char byte = 0;
	EQ(send(a, "hello", 5, 0), 5);
	OK(close(fd));
	ERR(recv(a, &byte, 1, 0), ECONNRESET);
	ERR(send(a, &byte, 1, MSG_NOSIGNAL), EPIPE);
	int next = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect(next, (struct sockaddr *)&addr, length), ECONNREFUSED);
}

static void shutdown_listener(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 8, &addr, &length);
	int a = tcp_connect(INET, &addr, length), b = (int)OK(accept(fd, NULL, NULL));
	warm_up_fds(a, b);
	OK(shutdown(fd, SHUT_RD));
	ERR(accept(fd, NULL, NULL), EINVAL);
	int next = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect(next, (struct sockaddr *)&addr, length), ECONNREFUSED);
	warm_up_fds(a, b);
	/* It may listen again, at another port since the first was the kernel's choice. */
	OK(listen(fd, 8));
	length = sizeof addr;
	OK(getsockname(fd, (struct sockaddr *)&addr, &length));
	int a2 = tcp_connect(INET, &addr, length), b2 = (int)OK(accept(fd, NULL, NULL));
	warm_up_fds(a2, b2);
}

static void full_queue(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 0, &addr, &length);
	int clients[6], connected = 0;
	for (int i = 0; i < 6; i++) {
		clients[i] = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
		int r = connect(clients[i], (struct sockaddr *)&addr, length);
		if (r < 0)
			ERR(r, EINPROGRESS);
	}
	sleep_ms(50);
	for (int i = 0; i < 6; i++)
		connected += (poll_one(clients[i], POLLOUT, 0) & POLLOUT) != 0;
	/* A backlog of 0 holds one; the others stay in the middle of connecting. */
	EQ(connected, 1);
	for (int i = 0; i < 6; i++) {
		if (!(poll_one(clients[i], POLLOUT, 0) & POLLOUT))
			continue;
		int b = (int)OK(accept(fd, NULL, NULL));
		set_nonblock(clients[i], false);
		warm_up_fds(clients[i], b);
	}
}

static void many_waiting(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 64, &addr, &length);
	int clients[50];
	for (int i = 0; i < 50; i++) {
		clients[i] = tcp_connect(INET, &addr, length);
		EQ(send(clients[i], &i, sizeof i, 0), sizeof i);
	}
	for (int i = 0; i < 50; i++) {
		int b = (int)OK(accept(fd, NULL, NULL)), said = -1;
		EQ(recv_all(b, &said, sizeof said), sizeof said);
		EQ(said, i); /* first come, first served */
		warm_up_fds(clients[i], b);
		OK(close(b));
	}
}

static const struct test tests[] = {
	TEST(binds_by_itself, ALONE),	  TEST(says_so, ALONE),
	TEST(refusals, EACH),		  TEST(data_before_accept, ALONE),
	TEST(gone_before_accept, ALONE),  TEST(reset_before_accept, ALONE),
	TEST(shutdown_listener, ALONE),	  TEST(closing_resets_the_waiting, ALONE),
	TEST(full_queue, ALONE),	  TEST(many_waiting, ALONE),
};
MAIN(tests)
