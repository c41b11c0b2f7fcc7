/* Xerox NS: names, datagrams, and circuits of bytes and of packets. There is AF_NS in a private net alone: elsewhere the
 * kernel refuses it, and each test is skipped. */
#include "../include/landline.h"
#include "support.h"

static const int circuits[] = { SOCK_STREAM, SOCK_SEQPACKET };
#define EACH_CIRCUIT(kind) for (int i_ = 0, kind; i_ < 2 && (kind = circuits[i_], true); i_++)

static int ns_socket(int kind)
{
	int fd = socket(AF_NS, kind, 0);
	if (getenv("LANDLINE_NET") == NULL) {
		ERR(fd, EAFNOSUPPORT);
		skip();
	}
	return (int)OK(fd);
}

static struct sockaddr_ns name_of(int fd)
{
	struct sockaddr_ns name;
	socklen_t length = sizeof name;
	OK(getsockname(fd, (struct sockaddr *)&name, &length));
	EQ(length, sizeof name);
	EQ(name.sns_family, AF_NS);
	return name;
}

static long bind_to(int fd, struct sockaddr_ns name)
{
	return bind(fd, (struct sockaddr *)&name, sizeof name);
}

static long connect_to(int fd, struct sockaddr_ns name)
{
	return connect(fd, (struct sockaddr *)&name, sizeof name);
}

static struct sockaddr_ns any(uint16_t port)
{
	struct sockaddr_ns name = { .sns_family = AF_NS };
	name.sns_addr.x_port = htons(port);
	return name;
}

static bool has_host(struct sockaddr_ns name)
{
	static const uint8_t none[6];
	return memcmp(name.sns_addr.x_host.c_host, none, 6) != 0;
}

static int listener(int kind, struct sockaddr_ns *name)
{
	int fd = ns_socket(kind);
	OK(bind_to(fd, any(0)));
	OK(listen(fd, 5));
	*name = name_of(fd);
	return fd;
}

static void pair(int kind, int ends[2])
{
	struct sockaddr_ns to;
	int fd = listener(kind, &to);
	ends[0] = ns_socket(kind);
	OK(connect_to(ends[0], to));
	ends[1] = (int)OK(accept(fd, NULL, NULL));
	OK(close(fd));
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t size = sizeof value;
	OK(getsockopt(fd, SOL_SOCKET, name, &value, &size));
	return value;
}

static void kinds(struct conn *c)
{
	(void)c;
	EQ(sizeof(struct sockaddr_ns), 16);
	EQ(AF_NS, PF_NS);
	static const int all[][2] = { { SOCK_DGRAM, 0 }, { SOCK_STREAM, NSPROTO_SPP }, { SOCK_SEQPACKET, NSPROTO_SPP } };
	for (int i = 0; i < 3; i++) {
		int fd = ns_socket(all[i][0] | SOCK_CLOEXEC | SOCK_NONBLOCK);
		EQ(option(fd, SO_DOMAIN), AF_NS);
		EQ(option(fd, SO_TYPE), all[i][0]);
		EQ(option(fd, SO_PROTOCOL), all[i][1]);
		EQ(option(fd, SO_ERROR), 0);
		EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
		EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
		ERR(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), ENOPROTOOPT);
		ERR(getsockopt(fd, IPPROTO_IP, IP_TTL, &(int){ 1 }, &(socklen_t){ sizeof(int) }), ENOPROTOOPT);
		OK(close(fd));
	}
	OK(close((int)OK(socket(AF_NS, SOCK_SEQPACKET, NSPROTO_SPP))));
	ERR(socket(AF_NS, SOCK_STREAM, NSPROTO_PE), EPROTONOSUPPORT);
	ERR(socket(AF_NS, SOCK_DGRAM, NSPROTO_SPP), EPROTONOSUPPORT);
	ERR(socket(AF_NS, SOCK_RAW, 0), ESOCKTNOSUPPORT);
	int ends[2];
	TRUE(socketpair(AF_NS, SOCK_STREAM, 0, ends) == -1);
}

static void names(struct conn *c)
{
	(void)c;
	static const int all[] = { SOCK_DGRAM, SOCK_STREAM, SOCK_SEQPACKET };
	for (int i = 0; i < 3; i++) {
		int fd = ns_socket(all[i]), other = ns_socket(all[i]);
		struct sockaddr_ns name = name_of(fd);
		EQ(name.sns_addr.x_port, 0);
		TRUE(!has_host(name));
		ERR(bind(fd, (struct sockaddr *)&name, sizeof name - 1), EINVAL);
		ERR(bind(fd, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET }, sizeof name), EAFNOSUPPORT);
		OK(bind_to(fd, any(0)));
		name = name_of(fd);
		TRUE(name.sns_addr.x_port != 0);
		TRUE(!has_host(name));
		ERR(bind_to(fd, any(0)), EINVAL);
		ERR(bind_to(other, name), EADDRINUSE);
		struct sockaddr_ns elsewhere = any(0);
		elsewhere.sns_addr.x_host.c_host[0] = 0xaa;
		ERR(bind_to(other, elsewhere), EADDRNOTAVAIL);
		elsewhere = any(0);
		elsewhere.sns_addr.x_net.c_net[0] = 0x77;
		ERR(bind_to(other, elsewhere), EADDRNOTAVAIL);
		ERR(getpeername(fd, (struct sockaddr *)&elsewhere, &(socklen_t){ sizeof elsewhere }), ENOTCONN);
		/* Its ports are not those of TCP and UDP. */
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = name.sns_addr.x_port };
		for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++)
			OK(bind((int)OK(socket(AF_INET, type, 0)), (struct sockaddr *)&in, sizeof in));
		/* As much of a name as there is room for. */
		struct sockaddr_ns part = { .sns_family = 0xffff };
		part.sns_addr.x_port = 0x1234;
		socklen_t length = 2;
		OK(getsockname(fd, (struct sockaddr *)&part, &length));
		EQ(length, sizeof name);
		EQ(part.sns_family, AF_NS);
		EQ(part.sns_addr.x_port, 0x1234);
	}
}

static void refusals(struct conn *c)
{
	(void)c;
	EACH_CIRCUIT (kind) {
		int fd = ns_socket(kind);
		ERR(listen(ns_socket(SOCK_DGRAM), 1), EOPNOTSUPP);
		ERR(accept(fd, NULL, NULL), EINVAL);
		ERR(connect_to(fd, any(9)), ECONNREFUSED);
		struct sockaddr_ns to = any(9);
		to.sns_addr.x_host.c_host[0] = 0xaa;
		ERR(connect_to(fd, to), EHOSTUNREACH);
		to.sns_addr.x_net.c_net[0] = 0x77;
		ERR(connect_to(fd, to), ENETUNREACH);
		ERR(recv(fd, &to, 1, 0), ENOTCONN);
		ERR(send(fd, "x", 1, MSG_NOSIGNAL), kind == SOCK_STREAM ? EPIPE : ENOTCONN);
		ERR(shutdown(fd, SHUT_WR), ENOTCONN);
		/* Those that listen for the other kind are not found. */
		int other = listener(kind == SOCK_STREAM ? SOCK_SEQPACKET : SOCK_STREAM, &to);
		ERR(connect_to(fd, to), ECONNREFUSED);
		OK(close(other));
	}
}

static void circuit(struct conn *c)
{
	(void)c;
	EACH_CIRCUIT (kind) {
		struct sockaddr_ns to, from, name;
		int l = listener(kind, &to), a = ns_socket(kind);
		EQ(option(l, SO_ACCEPTCONN), 1);
		OK(connect_to(a, to));
		EQ(poll_one(l, POLLIN, 1000), POLLIN);
		socklen_t length = sizeof from;
		int b = (int)OK(accept4(l, (struct sockaddr *)&from, &length, SOCK_CLOEXEC));
		EQ(length, sizeof from);
		EQ(option(b, SO_TYPE), kind);
		name = name_of(a);
		TRUE(has_host(name));
		SAME(&name, &from, sizeof name);
		OK(getpeername(b, (struct sockaddr *)&from, &length));
		SAME(&name, &from, sizeof name);
		name = name_of(b);
		OK(getpeername(a, (struct sockaddr *)&from, &length));
		SAME(&name, &from, sizeof name);
		EQ(name.sns_addr.x_port, to.sns_addr.x_port);
		char in[100];
		for (int i = 0; i < 100; i++) {
			EQ(send(a, "request", 7, 0), 7);
			EQ(recv(b, in, sizeof in, 0), 7);
			EQ(write(b, "answer", 6), 6);
			EQ(read(a, in, sizeof in), 6);
			SAME(in, "answer", 6);
		}
		EQ(send(a, "last", 4, 0), 4);
		OK(shutdown(a, SHUT_WR));
		EQ(recv(b, in, sizeof in, 0), 4);
		EQ(recv(b, in, sizeof in, 0), 0);
		EQ(send(b, "after", 5, 0), 5);
		EQ(recv(a, in, sizeof in, 0), 5);
		ERR(send(a, "x", 1, MSG_NOSIGNAL), EPIPE);
		OK(close(b));
		EQ(recv(a, in, sizeof in, 0), 0);
		ERR(connect_to(a, to), EISCONN);
		OK(close(a));
		/* The same again, by the name of the host. */
		name.sns_addr.x_port = to.sns_addr.x_port;
		a = ns_socket(kind);
		OK(connect_to(a, name));
		b = (int)OK(accept(l, NULL, NULL));
		EQ(send(b, "", 0, 0), 0);
		EQ(send(b, "x", 1, 0), 1);
		if (kind == SOCK_SEQPACKET)
			EQ(recv(a, in, sizeof in, 0), 0);
		EQ(recv(a, in, sizeof in, 0), 1);
		OK(close(a));
		OK(close(b));
		OK(close(l));
	}
}

static void packets(struct conn *c)
{
	(void)c;
	int ends[2];
	char in[20];
	pair(SOCK_SEQPACKET, ends);
	EQ(send(ends[0], "one", 3, 0), 3);
	EQ(send(ends[0], "three", 5, 0), 5);
	EQ(send(ends[0], "seven", 5, 0), 5);
	EQ(recv(ends[1], in, sizeof in, MSG_PEEK), 3);
	EQ(recv(ends[1], in, sizeof in, 0), 3);
	EQ(recv(ends[1], in, 2, 0), 2);
	SAME(in, "th", 2);
	struct iovec v = { in, 2 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	EQ(recvmsg(ends[1], &m, 0), 2);
	EQ(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
	ERR(recv(ends[1], in, sizeof in, MSG_DONTWAIT), EAGAIN);
	set_timeout(ends[1], SO_RCVTIMEO, 20);
	ERR(recv(ends[1], in, sizeof in, 0), EAGAIN);
	/* What the other end has left unread resets. */
	EQ(send(ends[0], "x", 1, 0), 1);
	OK(close(ends[1]));
	ERR(recv(ends[0], in, sizeof in, 0), ECONNRESET);
}

static void datagrams(struct conn *c)
{
	(void)c;
	int a = ns_socket(SOCK_DGRAM), b = ns_socket(SOCK_DGRAM);
	OK(bind_to(a, any(0)));
	struct sockaddr_ns to = name_of(a), from, mine;
	char in[20];
	EQ(sendto(b, "hello", 5, 0, (struct sockaddr *)&to, sizeof to), 5);
	socklen_t length = sizeof from;
	EQ(recvfrom(a, in, sizeof in, 0, (struct sockaddr *)&from, &length), 5);
	EQ(length, sizeof from);
	mine = name_of(b);
	EQ(from.sns_addr.x_port, mine.sns_addr.x_port);
	TRUE(has_host(from));
	EQ(sendto(a, "back", 4, 0, (struct sockaddr *)&from, sizeof from), 4);
	struct iovec v = { in, sizeof in };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1 };
	EQ(recvmsg(b, &m, 0), 4);
	EQ(m.msg_namelen, sizeof from);
	EQ(from.sns_addr.x_port, to.sns_addr.x_port);
	OK(connect_to(b, from));
	OK(getpeername(b, (struct sockaddr *)&mine, &length));
	SAME(&mine, &from, sizeof from);
	EQ(send(b, "", 0, 0), 0);
	EQ(recv(a, in, sizeof in, 0), 0);
	ERR(recv(a, in, sizeof in, MSG_DONTWAIT), EAGAIN);
	OK(close(a));
	EQ(send(b, "nobody", 6, 0), 6);
	ERR(recv(b, in, sizeof in, 0), ECONNREFUSED);
	to.sns_addr.x_net.c_net[0] = 0x77;
	ERR(sendto(ns_socket(SOCK_DGRAM), "x", 1, 0, (struct sockaddr *)&to, sizeof to), ENETUNREACH);
}

static void event_loops(struct conn *c)
{
	(void)c;
	EACH_CIRCUIT (kind) {
		struct sockaddr_ns to;
		int l = listener(kind, &to), a = ns_socket(kind | SOCK_NONBLOCK), ep = (int)OK(epoll_create1(0));
		set_nonblock(l, true);
		ERR(accept(l, NULL, NULL), EAGAIN);
		struct epoll_event e = { .events = EPOLLIN, .data.fd = l };
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, l, &e));
		EQ(epoll_wait(ep, &e, 1, 0), 0);
		ERR(connect_to(a, to), EINPROGRESS);
		EQ(epoll_wait(ep, &e, 1, 1000), 1);
		EQ(e.data.fd, l);
		EQ(poll_one(a, POLLOUT, 1000), POLLOUT);
		EQ(option(a, SO_ERROR), 0);
		int b = (int)OK(accept(l, NULL, NULL));
		e = (struct epoll_event){ .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = b };
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, b, &e));
		EQ(epoll_wait(ep, &e, 1, 0), 0);
		char in[8];
		for (int i = 0; i < 20; i++) {
			EQ(send(a, "x", 1, 0), 1);
			EQ(epoll_wait(ep, &e, 1, 1000), 1);
			EQ(e.data.fd, b);
			EQ(recv(b, in, sizeof in, 0), 1);
			EQ(epoll_wait(ep, &e, 1, 0), 0);
		}
		OK(close(a));
		EQ(epoll_wait(ep, &e, 1, 1000), 1);
		EQ(e.events & EPOLLRDHUP, EPOLLRDHUP);
		EQ(recv(b, in, sizeof in, 0), 0);
		OK(close(b));
	}
	int a = ns_socket(SOCK_DGRAM), b = ns_socket(SOCK_DGRAM);
	OK(bind_to(a, any(0)));
	OK(connect_to(b, name_of(a)));
	EQ(poll_one(a, POLLIN | POLLOUT, 0), POLLOUT);
	EQ(send(b, "x", 1, 0), 1);
	EQ(poll_one(a, POLLIN | POLLOUT, 1000), POLLIN | POLLOUT);
}

struct sending {
	int kind;
	struct sockaddr_ns to;
};

#define MUCH (4u << 20)
#define PIECE 1000u

static void send_much(void *argument)
{
	struct sending *s = argument;
	int fd = ns_socket(s->kind);
	OK(connect_to(fd, s->to));
	char out[PIECE];
	for (uint64_t at = 0; at < MUCH; at += PIECE) {
		pattern_fill(out, at, PIECE);
		EQ(send_all(fd, out, PIECE), PIECE);
	}
	OK(shutdown(fd, SHUT_WR));
	EQ(recv(fd, out, 3, 0), 2);
	OK(close(fd));
}

static void two_processes(struct conn *c)
{
	(void)c;
	EACH_CIRCUIT (kind) {
		struct sending s = { .kind = kind };
		int l = listener(kind, &s.to);
		pid_t child = fork_child(send_much, &s);
		int fd = (int)OK(accept(l, NULL, NULL));
		char in[PIECE * 2];
		uint64_t at = 0;
		for (ssize_t n; (n = OK(recv(fd, in, sizeof in, 0))) > 0; at += (uint64_t)n) {
			EQ(pattern_differs(in, at, (size_t)n), -1);
			if (kind == SOCK_SEQPACKET)
				EQ(n, PIECE);
		}
		TRUE(at >= MUCH);
		EQ(send(fd, "ok", 2, 0), 2);
		join_child(child);
		EQ(recv(fd, in, sizeof in, 0), 0);
		OK(close(fd));
		OK(close(l));
	}
}

static void the_other_end_dies(struct conn *c)
{
	(void)c;
	EACH_CIRCUIT (kind) {
		struct sockaddr_ns to;
		int l = listener(kind, &to);
		pid_t child = (pid_t)OK(fork());
		if (child == 0) {
			int fd = ns_socket(kind);
			connect_to(fd, to);
			send(fd, "alive", 5, 0);
			pause();
		}
		int fd = (int)OK(accept(l, NULL, NULL));
		char in[8];
		EQ(recv(fd, in, sizeof in, 0), 5);
		OK(kill(child, SIGKILL));
		EQ(recv(fd, in, sizeof in, 0), 0);
		OK(waitpid(child, NULL, 0));
		OK(close(fd));
		OK(close(l));
	}
}

static const struct test tests[] = {
	TEST(kinds, ALONE),    TEST(names, ALONE),	   TEST(refusals, ALONE),
	TEST(circuit, ALONE),  TEST(packets, ALONE),	   TEST(datagrams, ALONE),
	TEST(event_loops, ALONE), TEST(two_processes, ALONE), TEST(the_other_end_dies, ALONE),
};
MAIN(tests)
