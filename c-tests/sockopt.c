/* getsockopt(2), setsockopt(2). */
#include "support.h"

static int get(int fd, int level, int name)
{
	int value = -12345;
	socklen_t size = sizeof value;
	OK(getsockopt(fd, level, name, &value, &size));
	EQ(size, sizeof value);
	return value;
}

static void set(int fd, int level, int name, int value)
{
	OK(setsockopt(fd, level, name, &value, sizeof value));
}

static void what_it_is(struct conn *c)
{
	EQ(get(c->fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	EQ(get(c->fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	int af = c->variant->family == INET6 || c->variant->family == MAPPED_CLIENT ? AF_INET6
										   : AF_INET;
	EQ(get(c->fd, SOL_SOCKET, SO_DOMAIN), af);
	EQ(get(c->fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
	EQ(get(c->fd, SOL_SOCKET, SO_ERROR), 0);
	EQ(get(c->fd, SOL_SOCKET, SO_RCVLOWAT), 1);
	EQ(get(c->fd, SOL_SOCKET, SO_SNDLOWAT), 1);
}

static void switches(struct conn *c)
{
	static const struct { int level, name; } all[] = {
		{ IPPROTO_TCP, TCP_NODELAY },	 { IPPROTO_TCP, TCP_CORK },
		{ SOL_SOCKET, SO_KEEPALIVE },	 { SOL_SOCKET, SO_REUSEADDR },
		{ SOL_SOCKET, SO_OOBINLINE },	 { SOL_SOCKET, SO_BROADCAST },
		{ SOL_SOCKET, SO_DONTROUTE },	 { IPPROTO_TCP, TCP_QUICKACK },
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		set(c->fd, all[i].level, all[i].name, 1);
		EQ(get(c->fd, all[i].level, all[i].name), 1);
		exchange(c, 1);
		set(c->fd, all[i].level, all[i].name, 0);
		EQ(get(c->fd, all[i].level, all[i].name), 0);
		exchange(c, 1);
	}
}

static void numbers(struct conn *c)
{
	static const struct { int level, name, value; } all[] = {
		{ SOL_SOCKET, SO_PRIORITY, 3 },	    { IPPROTO_TCP, TCP_KEEPIDLE, 33 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 7 },  { IPPROTO_TCP, TCP_KEEPCNT, 4 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 5000 }, { IPPROTO_TCP, TCP_LINGER2, 9 },
		{ SOL_SOCKET, SO_RCVLOWAT, 5 },
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		set(c->fd, all[i].level, all[i].name, all[i].value);
		EQ(get(c->fd, all[i].level, all[i].name), all[i].value);
	}
	set(c->fd, SOL_SOCKET, SO_RCVLOWAT, 1);
	exchange(c, 2);
	struct linger l = { 1, 12 }, seen = { 0, 0 };
	socklen_t size = sizeof seen;
	OK(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	OK(getsockopt(c->fd, SOL_SOCKET, SO_LINGER, &seen, &size));
	EQ(seen.l_onoff, 1);
	EQ(seen.l_linger, 12);
}

static void timeouts(struct conn *c)
{
	for (int i = 0; i < 2; i++) {
		int name = i ? SO_SNDTIMEO : SO_RCVTIMEO;
		struct timeval t = { 3, 500000 }, seen = { -1, -1 };
		socklen_t size = sizeof seen;
		OK(setsockopt(c->fd, SOL_SOCKET, name, &t, sizeof t));
		OK(getsockopt(c->fd, SOL_SOCKET, name, &seen, &size));
		EQ(seen.tv_sec, 3);
		EQ(seen.tv_usec, 500000);
		t.tv_usec = 1000000;
		ERR(setsockopt(c->fd, SOL_SOCKET, name, &t, sizeof t), EDOM);
		ERR(setsockopt(c->fd, SOL_SOCKET, name, &t, 4), EINVAL);
	}
	exchange(c, 2);
}

static void shared_by_duplicates(struct conn *c)
{
	int copy = (int)OK(dup(c->fd));
	char byte;
	set_timeout(copy, SO_RCVTIMEO, 40);
	ERR(recv(c->fd, &byte, 1, 0), EAGAIN);
	set_timeout(c->fd, SO_RCVTIMEO, 0);
	peer_send_later(c, 120, "x", 1, 0);
	EQ(recv(copy, &byte, 1, 0), 1);
	EQ(peer_join(c), 1);
}

static void buffer_sizes(struct conn *c)
{
	for (int i = 0; i < 2; i++) {
		int name = i ? SO_SNDBUF : SO_RCVBUF;
		int before = get(c->fd, SOL_SOCKET, name);
		TRUE(before > 0);
		set(c->fd, SOL_SOCKET, name, 50000);
		EQ(get(c->fd, SOL_SOCKET, name), 100000); /* the kernel doubles it */
		set(c->fd, SOL_SOCKET, name, 1);
		TRUE(get(c->fd, SOL_SOCKET, name) > 1);
		exchange(c, 2);
	}
}

static void small_send_buffer(struct conn *c)
{
	/* A program that asks for little gets little: the writer stops well before a megabyte. */
	set(c->fd, SOL_SOCKET, SO_SNDBUF, 8192);
	int small = 8192;
	OK(peer_setsockopt(c, SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
	size_t total = fill_until_full(c->fd);
	TRUE(total < (1 << 20));
	EQ(peer_verify(c, 0, total), total);
	exchange(c, 3);
}

static void pending_error_is_told_once(struct conn *c)
{
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	poll_until(c->fd, POLLERR, POLLERR);
	EQ(get(c->fd, SOL_SOCKET, SO_ERROR), ECONNRESET);
	EQ(get(c->fd, SOL_SOCKET, SO_ERROR), 0);
}

static void state(struct conn *c)
{
	struct tcp_info info;
	socklen_t size = sizeof info;
	memset(&info, 0, sizeof info);
	OK(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	EQ(info.tcpi_state, TCP_ESTABLISHED);
	TRUE(info.tcpi_snd_mss > 0);
	size = 1;
	OK(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	EQ(size, 1);
	EQ(info.tcpi_state, TCP_ESTABLISHED);
	size = sizeof info;
	OK(peer_shutdown(c, SHUT_WR));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	OK(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	EQ(info.tcpi_state, TCP_CLOSE_WAIT);
	char byte;
	EQ(recv(c->fd, &byte, 1, 0), 0);
	EQ(send(c->fd, "x", 1, 0), 1);
	EQ(peer_recv(c, &byte, 1, 0), 1);
	OK(shutdown(c->fd, SHUT_WR));
	poll_until(c->fd, POLLHUP, POLLHUP);
	for (int64_t end = now_ms() + 5000; now_ms() < end; sleep_ms(1)) {
		OK(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size));
		if (info.tcpi_state == TCP_CLOSE)
			break;
	}
	EQ(info.tcpi_state, TCP_CLOSE);
}

static void own_shutdown_state(struct conn *c)
{
	struct tcp_info info;
	socklen_t size = sizeof info;
	OK(shutdown(c->fd, SHUT_WR));
	for (int64_t end = now_ms() + 5000; now_ms() < end; sleep_ms(1)) {
		OK(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size));
		if (info.tcpi_state == TCP_FIN_WAIT2)
			break;
	}
	EQ(info.tcpi_state, TCP_FIN_WAIT2);
}

static void cork(struct conn *c)
{
	char in[16];
	for (int i = 0; i < 4; i++) {
		set(c->fd, IPPROTO_TCP, TCP_CORK, 1);
		EQ(send(c->fd, "head", 4, 0), 4);
		EQ(send(c->fd, "body", 4, 0), 4);
		set(c->fd, IPPROTO_TCP, TCP_CORK, 0);
		EQ(peer_recv_all(c, in, 8), 8);
		SAME(in, "headbody", 8);
	}
}

static void refusals(struct conn *c)
{
	int value = 0;
	socklen_t size = sizeof value;
	ERR(getsockopt(c->fd, SOL_SOCKET, 9999, &value, &size), ENOPROTOOPT);
	ERR(setsockopt(c->fd, SOL_SOCKET, 9999, &value, size), ENOPROTOOPT);
	ERR(getsockopt(c->fd, IPPROTO_TCP, 9999, &value, &size), ENOPROTOOPT);
	ERR(setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &value, 2), EINVAL);
	ERR(setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, NULL, size), EFAULT);
	ERR(setsockopt(c->fd, SOL_SOCKET, SO_TYPE, &value, size), ENOPROTOOPT);
	ERR(getsockopt(c->fd, SOL_SOCKET, SO_TYPE, &value, NULL), EFAULT);
	size = (socklen_t)-1;
	ERR(getsockopt(c->fd, SOL_SOCKET, SO_TYPE, &value, &size), EINVAL);
	size = 1;
	unsigned char small[4] = { 0xaa, 0xaa, 0xaa, 0xaa };
	OK(getsockopt(c->fd, SOL_SOCKET, SO_TYPE, small, &size));
	EQ(size, 1);
	EQ(small[1], 0xaa);
	exchange(c, 2);
}

static const struct test tests[] = {
	TEST(what_it_is, EVERY),	TEST(switches, EACH),
	TEST(numbers, EACH),		TEST(timeouts, EACH),
	TEST(shared_by_duplicates, EACH), TEST(buffer_sizes, EACH),
	TEST(small_send_buffer, EACH),	TEST(pending_error_is_told_once, EACH),
	TEST(state, EVERY),		TEST(own_shutdown_state, EACH),
	TEST(cork, EACH),		TEST(refusals, EACH),
};
MAIN(tests)
