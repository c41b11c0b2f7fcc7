/* accept(2), accept4(2). */
#include "support.h"

struct at { struct sockaddr_storage addr; socklen_t length; int fd; };

static struct at listening(enum family family)
{
	struct at at;
	at.fd = tcp_listener(family, 16, &at.addr, &at.length);
	return at;
}

static void peer_address(struct conn *c)
{
	(void)c;
	for (enum family family = INET; family <= MAPPED_SERVER; family++) {
		struct at at = listening(family);
		struct sockaddr_storage seen, mine;
		socklen_t seen_size = sizeof seen, mine_size = sizeof mine;
		memset(&seen, 0xaa, sizeof seen);
		int a = tcp_connect(family, &at.addr, at.length);
		int b = (int)OK(accept(at.fd, (struct sockaddr *)&seen, &seen_size));
		OK(getsockname(a, (struct sockaddr *)&mine, &mine_size));
		bool six = family == INET6 || family == MAPPED_SERVER;
		EQ(seen.ss_family, six ? AF_INET6 : AF_INET);
		EQ(seen_size, six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
		EQ(port_of(&seen), port_of(&mine));
		if (family == MAPPED_SERVER)
			TRUE(IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&seen)->sin6_addr));
		warm_up_fds(a, b);
	}
}

static void short_address(struct conn *c)
{
	(void)c;
	struct at at = listening(INET);
	unsigned char room[32];
	memset(room, 0xaa, sizeof room);
	socklen_t size = 4;
	int a = tcp_connect(INET, &at.addr, at.length);
	int b = (int)OK(accept(at.fd, (struct sockaddr *)room, &size));
	EQ(size, sizeof(struct sockaddr_in)); /* what it would have been */
	EQ(room[3] == 0xaa, 0);
	EQ(room[4], 0xaa);
	warm_up_fds(a, b);
	/* A NULL address ignores the length; a NULL length with an address is a fault. */
	a = tcp_connect(INET, &at.addr, at.length);
	size = 99;
	b = (int)OK(accept(at.fd, NULL, &size));
	EQ(size, 99);
	warm_up_fds(a, b);
	size = (socklen_t)-1;
	tcp_connect(INET, &at.addr, at.length);
	ERR(accept(at.fd, (struct sockaddr *)room, &size), EINVAL);
}

static void flags(struct conn *c)
{
	(void)c;
	struct at at = listening(INET);
	static const int flags[] = { 0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC };
	set_nonblock(at.fd, true); /* which is not inherited */
	for (int i = 0; i < 4; i++) {
		int a = tcp_connect(INET, &at.addr, at.length);
		TRUE(poll_one(at.fd, POLLIN, 5000) & POLLIN);
		int b = (int)OK(accept4(at.fd, NULL, NULL, flags[i]));
		EQ(is_nonblock(b), (flags[i] & SOCK_NONBLOCK) != 0);
		EQ(fcntl(b, F_GETFD), flags[i] & SOCK_CLOEXEC ? FD_CLOEXEC : 0);
		warm_up_fds(a, b);
		char byte;
		ERR(recv(b, &byte, 1, MSG_DONTWAIT), EAGAIN);
	}
	ERR(accept4(at.fd, NULL, NULL, 0x40000000), EINVAL);
}

static void nonblocking(struct conn *c)
{
	(void)c;
	struct at at = listening(INET);
	set_nonblock(at.fd, true);
	ERR(accept(at.fd, NULL, NULL), EAGAIN);
	int a = tcp_connect(INET, &at.addr, at.length);
	TRUE(poll_one(at.fd, POLLIN, 5000) & POLLIN);
	int b = (int)OK(accept(at.fd, NULL, NULL));
	EQ(is_nonblock(b), 0);
	ERR(accept(at.fd, NULL, NULL), EAGAIN);
	warm_up_fds(a, b);
}

static void connect_and_talk(void *argument)
{
	struct at *at = argument;
	sleep_ms(100);
	int fd = tcp_connect(INET, &at->addr, at->length);
	char in[4];
	for (int i = 0; i < 10; i++) {
		EQ(send_all(fd, "ping", 4), 4);
		EQ(recv_all(fd, in, 4), 4);
	}
	EQ(recv(fd, in, 1, 0), 0);
}

static void blocking(struct conn *c)
{
	(void)c;
	struct at at = listening(INET);
	pid_t child = fork_child(connect_and_talk, &at);
	int b = (int)OK(accept(at.fd, NULL, NULL));
	char in[4];
	for (int i = 0; i < 10; i++) {
		EQ(recv_all(b, in, 4), 4);
		EQ(send_all(b, "pong", 4), 4);
	}
	OK(close(b));
	join_child(child);
}

static void timeout(struct conn *c)
{
	(void)c;
	struct at at = listening(INET);
	set_timeout(at.fd, SO_RCVTIMEO, 50);
	ERR(accept(at.fd, NULL, NULL), EAGAIN);
	int a = tcp_connect(INET, &at.addr, at.length), b = (int)OK(accept(at.fd, NULL, NULL));
	warm_up_fds(a, b);
}

static void on_a_connection(struct conn *c)
{
	ERR(accept(c->fd, NULL, NULL), EINVAL);
	exchange(c, 3);
}

static void inherits_options(struct conn *c)
{
	(void)c;
	struct at at = listening(INET);
	int on = 1, value = 0;
	socklen_t size = sizeof value;
	OK(setsockopt(at.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
	OK(setsockopt(at.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
	set_timeout(at.fd, SO_RCVTIMEO, 70);
	int a = tcp_connect(INET, &at.addr, at.length), b = (int)OK(accept(at.fd, NULL, NULL));
	OK(getsockopt(b, IPPROTO_TCP, TCP_NODELAY, &value, &size));
	EQ(value, 1);
	OK(getsockopt(b, SOL_SOCKET, SO_KEEPALIVE, &value, &size));
	EQ(value, 1);
	warm_up_fds(a, b);
	char byte;
	ERR(recv(b, &byte, 1, 0), EAGAIN); /* the timeout too */
}

static void *accept_in_thread(void *argument)
{
	return (void *)(intptr_t)accept(*(int *)argument, NULL, NULL);
}

static void two_waiting_threads(struct conn *c)
{
	(void)c;
	struct at at = listening(INET);
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, accept_in_thread, &at.fd);
	sleep_ms(50);
	int a[2], b[2];
	for (int i = 0; i < 2; i++)
		a[i] = tcp_connect(INET, &at.addr, at.length);
	for (int i = 0; i < 2; i++) {
		void *result;
		pthread_join(threads[i], &result);
		b[i] = (int)OK((intptr_t)result);
	}
	/* Which thread got which is theirs to say: pair them by port. */
	for (int i = 0; i < 2; i++) {
		struct sockaddr_storage mine, theirs;
		socklen_t length = sizeof mine;
		OK(getsockname(a[i], (struct sockaddr *)&mine, &length));
		length = sizeof theirs;
		OK(getpeername(b[0], (struct sockaddr *)&theirs, &length));
		warm_up_fds(a[i], port_of(&mine) == port_of(&theirs) ? b[0] : b[1]);
	}
}

static const struct test tests[] = {
	TEST(peer_address, ALONE),	TEST(short_address, ALONE),
	TEST(flags, ALONE),		TEST(nonblocking, ALONE),
	TEST(blocking, ALONE),		TEST(timeout, ALONE),
	TEST(on_a_connection, EACH),	TEST(inherits_options, ALONE),
	TEST(two_waiting_threads, ALONE),
};
MAIN(tests)
