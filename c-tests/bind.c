/* bind(2). */
#include "support.h"

static int stream(int af)
{
	return (int)OK(socket(af, SOCK_STREAM, 0));
}

static void port_of_the_kernels_choice(struct conn *c)
{
	(void)c;
	for (int i = 0; i < 2; i++) {
		int af = i ? AF_INET6 : AF_INET, fd = stream(af);
		struct sockaddr_storage addr;
		socklen_t length = loopback(af, 0, &addr);
		OK(bind(fd, (struct sockaddr *)&addr, length));
		length = sizeof addr;
		OK(getsockname(fd, (struct sockaddr *)&addr, &length));
		EQ(length, i ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
		EQ(addr.ss_family, af);
		TRUE(port_of(&addr) != 0);
	}
}

static void address_in_use(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	tcp_listener(INET, 4, &addr, &length);
	int fd = stream(AF_INET);
	ERR(bind(fd, (struct sockaddr *)&addr, length), EADDRINUSE);
	int on = 1;
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	ERR(bind(fd, (struct sockaddr *)&addr, length), EADDRINUSE);
	/* The same port at another address is free. */
	((struct sockaddr_in *)&addr)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	OK(bind(fd, (struct sockaddr *)&addr, length));
}

static void reuse_after_close(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, 4, &addr, &length), on = 1;
	int a = tcp_connect(INET, &addr, length), b = (int)OK(accept(listener, NULL, NULL));
	warm_up_fds(a, b);
	OK(close(listener));
	/* A connection still has the port: only SO_REUSEADDR on both gets it. */
	int fd = stream(AF_INET);
	ERR(bind(fd, (struct sockaddr *)&addr, length), EADDRINUSE);
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	OK(setsockopt(b, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	OK(bind(fd, (struct sockaddr *)&addr, length));
	OK(listen(fd, 4));
	int a2 = tcp_connect(INET, &addr, length), b2 = (int)OK(accept(fd, NULL, NULL));
	warm_up_fds(a2, b2);
	warm_up_fds(a, b);
}

static void reuse_port(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 0, &addr);
	int fds[3], on = 1;
	for (int i = 0; i < 3; i++) {
		fds[i] = stream(AF_INET);
		OK(setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
		OK(bind(fds[i], (struct sockaddr *)&addr, length));
		OK(getsockname(fds[i], (struct sockaddr *)&addr, &length));
		OK(listen(fds[i], 16));
	}
	struct pollfd p[3];
	for (int i = 0; i < 3; i++)
		p[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	for (int i = 0; i < 12; i++) {
		int a = tcp_connect(INET, &addr, length);
		EQ(poll(p, 3, 5000), 1);
		for (int j = 0; j < 3; j++)
			if (p[j].revents) {
				int b = (int)OK(accept(fds[j], NULL, NULL));
				warm_up_fds(a, b);
				OK(close(b));
			}
		OK(close(a));
	}
}

static void refusals(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 0, &addr);
	int fd = stream(AF_INET);
	ERR(bind(fd, (struct sockaddr *)&addr, 4), EINVAL);
	ERR(bind(fd, (struct sockaddr *)&addr, sizeof addr + 1000), EINVAL);
	ERR(bind(fd, NULL, length), EFAULT);
	addr.ss_family = 77;
	ERR(bind(fd, (struct sockaddr *)&addr, length), EAFNOSUPPORT);
	length = loopback(AF_INET, 0, &addr);
	((struct sockaddr_in *)&addr)->sin_addr.s_addr = htonl(0x08080808);
	ERR(bind(fd, (struct sockaddr *)&addr, length), EADDRNOTAVAIL);
	length = loopback(AF_INET6, 0, &addr);
	ERR(bind(fd, (struct sockaddr *)&addr, length), EAFNOSUPPORT);
	length = loopback(AF_INET, 0, &addr);
	OK(bind(fd, (struct sockaddr *)&addr, length));
	ERR(bind(fd, (struct sockaddr *)&addr, length), EINVAL);
	ERR(bind(stream(AF_INET6), (struct sockaddr *)&addr, length), EINVAL);
}

static void bound_client(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr, mine, seen;
	socklen_t length;
	int listener = tcp_listener(INET, 4, &addr, &length);
	int a = stream(AF_INET);
	loopback(AF_INET, 0, &mine);
	((struct sockaddr_in *)&mine)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 5);
	OK(bind(a, (struct sockaddr *)&mine, sizeof(struct sockaddr_in)));
	OK(connect(a, (struct sockaddr *)&addr, length));
	socklen_t size = sizeof seen;
	int b = (int)OK(accept(listener, (struct sockaddr *)&seen, &size));
	EQ(size, sizeof(struct sockaddr_in));
	EQ(((struct sockaddr_in *)&seen)->sin_addr.s_addr, htonl(INADDR_LOOPBACK + 5));
	OK(getsockname(a, (struct sockaddr *)&mine, &size));
	EQ(port_of(&seen), port_of(&mine));
	warm_up_fds(a, b);
}

static void any_address(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr, seen;
	socklen_t length = loopback(AF_INET, 0, &addr);
	((struct sockaddr_in *)&addr)->sin_addr.s_addr = INADDR_ANY;
	int listener = stream(AF_INET);
	OK(bind(listener, (struct sockaddr *)&addr, length));
	OK(listen(listener, 4));
	OK(getsockname(listener, (struct sockaddr *)&addr, &length));
	EQ(((struct sockaddr_in *)&addr)->sin_addr.s_addr, INADDR_ANY);
	for (uint32_t host = 1; host < 4; host++) {
		struct sockaddr_in to = *(struct sockaddr_in *)&addr;
		to.sin_addr.s_addr = htonl(0x7f000000 + host);
		int a = stream(AF_INET);
		OK(connect(a, (struct sockaddr *)&to, sizeof to));
		int b = (int)OK(accept(listener, NULL, NULL));
		socklen_t size = sizeof seen;
		OK(getsockname(b, (struct sockaddr *)&seen, &size));
		EQ(((struct sockaddr_in *)&seen)->sin_addr.s_addr, to.sin_addr.s_addr);
		warm_up_fds(a, b);
	}
	/* Connecting to the wildcard address means this host. */
	int a = stream(AF_INET);
	OK(connect(a, (struct sockaddr *)&addr, length));
	int b = (int)OK(accept(listener, NULL, NULL));
	warm_up_fds(a, b);
}

static void v6only(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr, v4;
	/* A port at which no earlier connection over IPv4 is in TIME_WAIT. */
	int listener = stream(AF_INET6), probe = stream(AF_INET), on = 1;
	socklen_t length = loopback(AF_INET, 0, &v4);
	OK(bind(probe, (struct sockaddr *)&v4, length));
	OK(getsockname(probe, (struct sockaddr *)&v4, &length));
	close(probe);
	length = loopback(AF_INET6, port_of(&v4), &addr);
	((struct sockaddr_in6 *)&addr)->sin6_addr = in6addr_any;
	OK(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
	OK(bind(listener, (struct sockaddr *)&addr, length));
	OK(listen(listener, 4));
	OK(getsockname(listener, (struct sockaddr *)&addr, &length));
	socklen_t short_length = loopback(AF_INET, port_of(&addr), &v4);
	ERR(connect(stream(AF_INET), (struct sockaddr *)&v4, short_length), ECONNREFUSED);
	/* The same port may be taken for IPv4, and then they are two. */
	int other = stream(AF_INET);
	OK(bind(other, (struct sockaddr *)&v4, short_length));
	OK(listen(other, 4));
	int a = tcp_connect(INET, &v4, short_length), b = (int)OK(accept(other, NULL, NULL));
	warm_up_fds(a, b);
	loopback(AF_INET6, port_of(&addr), &addr);
	int a6 = tcp_connect(INET6, &addr, length), b6 = (int)OK(accept(listener, NULL, NULL));
	warm_up_fds(a6, b6);
	warm_up_fds(a, b);
}

static const struct test tests[] = {
	TEST(port_of_the_kernels_choice, ALONE), TEST(address_in_use, ALONE),
	TEST(reuse_after_close, ALONE),		 TEST(reuse_port, ALONE),
	TEST(refusals, ALONE),			 TEST(bound_client, ALONE),
	TEST(any_address, ALONE),		 TEST(v6only, ALONE),
};
MAIN(tests)
