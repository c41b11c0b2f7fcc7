/* ip(7), ipv6(7), socket(7), cmsg(3): what comes and goes beside datagrams. */
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "udp.h"

#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74
#endif
#define TIMESTAMP_NEW 63
#define TIMESTAMPNS_NEW 64

/* ---- what was told ----------------------------------------------------------------------------------- */

enum { MOST = 512, LO = 1 };

/* A message with its control data; those of `pieces` are told in this order. */
struct told {
	struct msghdr m;
	char in[64], control[MOST];
	struct iovec v;
	int pieces;
	struct cmsghdr *piece[16];
};

static void prepare(struct told *t, size_t room)
{
	memset(t, 0, sizeof *t);
	memset(t->control, 0xee, sizeof t->control);
	t->v = (struct iovec){ t->in, sizeof t->in };
	t->m = (struct msghdr){ .msg_iov = &t->v, .msg_iovlen = 1, .msg_control = t->control, .msg_controllen = room };
}

static void split(struct told *t)
{
	t->pieces = 0;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&t->m); h != NULL; h = CMSG_NXTHDR(&t->m, h))
		t->piece[t->pieces++] = h;
}

static void receive(int fd, struct told *t, int flags)
{
	prepare(t, MOST);
	poll_until(fd, POLLIN, POLLIN);
	OK(recvmsg(fd, &t->m, flags | MSG_DONTWAIT));
	EQ(t->m.msg_flags, 0);
	split(t);
}

/* The next datagram's pieces, which the library has brought by the ring. */
static void receive_by_ring(int fd, struct told *t)
{
	long before = ring_received();
	receive(fd, t, 0);
	if (before != -1)
		EQ(ring_received(), before + 1);
}

static void piece_is(struct told *t, int i, int level, int type, const void *data, size_t length)
{
	TRUE(i < t->pieces);
	EQ(t->piece[i]->cmsg_level, level);
	EQ(t->piece[i]->cmsg_type, type);
	EQ(t->piece[i]->cmsg_len, CMSG_LEN(length));
	SAME(CMSG_DATA(t->piece[i]), data, length);
}

static void int_is(struct told *t, int i, int level, int type, int value)
{
	piece_is(t, i, level, type, &value, sizeof value);
}

static void byte_is(struct told *t, int i, int level, int type, unsigned char value)
{
	piece_is(t, i, level, type, &value, sizeof value);
}

static struct in_addr v4(const char *host)
{
	struct in_addr address;
	EQ(inet_pton(AF_INET, host, &address), 1);
	return address;
}

static struct in6_addr v6(const char *host)
{
	struct in6_addr address;
	EQ(inet_pton(AF_INET6, host, &address), 1);
	return address;
}

static void came_to_v4(struct told *t, int i, const char *host, int interface, const char *source)
{
	struct in_pktinfo info = { interface, v4(source), v4(host) };
	piece_is(t, i, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
}

static void came_to_v6(struct told *t, int i, const char *host, int interface)
{
	struct in6_pktinfo info = { v6(host), (unsigned)interface };
	piece_is(t, i, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
}

static void name_was_v4(struct told *t, int i, const char *host, int fd)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port(fd)), .sin_addr = v4(host) };
	piece_is(t, i, IPPROTO_IP, IP_ORIGDSTADDR, &name, sizeof name);
}

static void name_was_v6(struct told *t, int i, const char *host, int fd)
{
	struct sockaddr_in6 name = { .sin6_family = AF_INET6, .sin6_port = htons(port(fd)), .sin6_addr = v6(host) };
	piece_is(t, i, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, &name, sizeof name);
}

static void ask_for_v4(int fd, int on)
{
	OK(set(fd, IPPROTO_IP, IP_RECVTOS, on));
	OK(set(fd, IPPROTO_IP, IP_RECVTTL, on));
	OK(set(fd, IPPROTO_IP, IP_PKTINFO, on));
	OK(set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, on));
}

static void ask_for_v6(int fd, int on)
{
	OK(set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, on));
	OK(set(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, on));
	OK(set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, on));
	OK(set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, on));
}

/* A bound socket that has been received from: with a mailbox, under the library. */
static int receiver_at(int family, const char *host)
{
	int fd = bound_at(family, host, 0);
	OK(set(fd, SOL_SOCKET, SO_REUSEADDR, 0));
	NONE_IS_THERE(fd);
	return fd;
}

static long send_to_host(int fd, int family, const char *host, uint16_t to, const struct msghdr *beside)
{
	struct sockaddr_storage addr;
	socklen_t length = loopback(family, to, &addr);
	void *in = family == AF_INET ? (void *)&((struct sockaddr_in *)&addr)->sin_addr
				     : (void *)&((struct sockaddr_in6 *)&addr)->sin6_addr;
	EQ(inet_pton(family, host, in), 1);
	struct iovec v = { "word", 4 };
	struct msghdr m = { .msg_name = &addr, .msg_namelen = length, .msg_iov = &v, .msg_iovlen = 1 };
	if (beside != NULL) {
		m.msg_control = beside->msg_control;
		m.msg_controllen = beside->msg_controllen;
	}
	return sendmsg(fd, &m, 0);
}

/* ---- each family ------------------------------------------------------------------------------------- */

static void pieces_of_v4(struct conn *c)
{
	(void)c;
	struct told t;
	int a = receiver_at(AF_INET, "0.0.0.0"), b = bound(AF_INET), d = made(AF_INET);
	ask_for_v4(a, 1);
	OK(set(b, IPPROTO_IP, IP_TTL, 33));
	OK(set(b, IPPROTO_IP, IP_TOS, 0x13)); /* with the bits of ECN */
	OK(connect_to_fd(b, a));
	for (int i = 0; i < 40; i++) {
		EQ(send(b, "word", 4, 0), 4);
		receive_by_ring(a, &t);
		EQ(t.pieces, 4);
		came_to_v4(&t, 0, "127.0.0.1", LO, "127.0.0.1");
		int_is(&t, 1, IPPROTO_IP, IP_TTL, 33);
		byte_is(&t, 2, IPPROTO_IP, IP_TOS, 0x13);
		name_was_v4(&t, 3, "127.0.0.1", a);
	}
	OK(bind(d, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET }, sizeof(struct sockaddr_in)));
	EQ(send_to_host(d, AF_INET, "127.0.0.5", port(a), NULL), 4);
	receive_by_ring(a, &t);
	EQ(t.pieces, 4);
	came_to_v4(&t, 0, "127.0.0.5", LO, "127.0.0.5");
	int_is(&t, 1, IPPROTO_IP, IP_TTL, 64);
	byte_is(&t, 2, IPPROTO_IP, IP_TOS, 0);
	name_was_v4(&t, 3, "127.0.0.5", a);
	ask_for_v4(a, 0);
	EQ(send(b, "word", 4, 0), 4);
	receive_by_ring(a, &t);
	EQ(t.m.msg_controllen, 0);
}

static void pieces_of_v6(struct conn *c)
{
	(void)c;
	struct told t;
	int a = receiver_at(AF_INET6, "::1"), b = bound(AF_INET6);
	ask_for_v6(a, 1);
	ask_for_v4(a, 1); /* which is nothing here */
	for (int i = 0; i < 40; i++) {
		EQ(send_to_host(b, AF_INET6, "::1", port(a), NULL), 4);
		receive_by_ring(a, &t);
		EQ(t.pieces, 4);
		came_to_v6(&t, 0, "::1", LO);
		int_is(&t, 1, IPPROTO_IPV6, IPV6_HOPLIMIT, i % 2 ? 0 : 64);
		int_is(&t, 2, IPPROTO_IPV6, IPV6_TCLASS, i % 2 ? 0xab : 0);
		name_was_v6(&t, 3, "::1", a);
		OK(set(b, IPPROTO_IPV6, IPV6_UNICAST_HOPS, i % 2 ? -1 : 0));
		OK(set(b, IPPROTO_IPV6, IPV6_TCLASS, i % 2 ? -1 : 0xab));
	}
}

static void pieces_of_v4_on_v6(struct conn *c)
{
	(void)c;
	struct told t;
	int a = receiver_at(AF_INET6, "::"), b = bound(AF_INET), d = bound_at(AF_INET6, "::", 0);
	ask_for_v6(a, 1);
	EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
	receive_by_ring(a, &t);
	EQ(t.pieces, 1); /* the rest is of IPv6 */
	came_to_v6(&t, 0, "::ffff:127.0.0.1", LO);
	ask_for_v4(a, 1);
	OK(set(d, IPPROTO_IP, IP_TTL, 9));
	OK(set(d, IPPROTO_IP, IP_TOS, 8));
	OK(set(d, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 11));
	OK(set(d, IPPROTO_IPV6, IPV6_TCLASS, 12));
	EQ(send_to_host(d, AF_INET6, "::ffff:127.0.0.1", port(a), NULL), 4);
	receive_by_ring(a, &t);
	EQ(t.pieces, 5);
	came_to_v6(&t, 0, "::ffff:127.0.0.1", LO);
	came_to_v4(&t, 1, "127.0.0.1", LO, "127.0.0.1");
	int_is(&t, 2, IPPROTO_IP, IP_TTL, 9);
	byte_is(&t, 3, IPPROTO_IP, IP_TOS, 8);
	name_was_v4(&t, 4, "127.0.0.1", a);
	EQ(send_to_host(d, AF_INET6, "::1", port(a), NULL), 4);
	receive_by_ring(a, &t);
	EQ(t.pieces, 4);
	int_is(&t, 1, IPPROTO_IPV6, IPV6_HOPLIMIT, 11);
	int_is(&t, 2, IPPROTO_IPV6, IPV6_TCLASS, 12);
}

/* What is asked for later is told of what has come already, but for what nobody has looked up. */
static void asked_for_afterwards(struct conn *c)
{
	(void)c;
	struct told t;
	int a = receiver_at(AF_INET6, "::"), b = bound(AF_INET), d = bound(AF_INET6);
	OK(set(b, IPPROTO_IP, IP_TTL, 33));
	OK(set(b, IPPROTO_IP, IP_TOS, 4));
	EQ(send_to_host(b, AF_INET, "127.0.0.9", port(a), NULL), 4);
	EQ(send_to_host(d, AF_INET6, "::1", port(a), NULL), 4);
	ask_for_v4(a, 1);
	ask_for_v6(a, 1);
	OK(set(a, SOL_SOCKET, SO_RXQ_OVFL, 1));
	receive_by_ring(a, &t);
	EQ(t.pieces, 5);
	came_to_v6(&t, 0, "::ffff:127.0.0.9", 0);
	came_to_v4(&t, 1, "127.0.0.9", 0, "0.0.0.0");
	int_is(&t, 2, IPPROTO_IP, IP_TTL, 33);
	byte_is(&t, 3, IPPROTO_IP, IP_TOS, 4);
	receive_by_ring(a, &t);
	EQ(t.pieces, 4);
	came_to_v6(&t, 0, "::1", LO);
	/* And what is asked for no more is not told. */
	EQ(send_to_host(b, AF_INET, "127.0.0.9", port(a), NULL), 4);
	ask_for_v4(a, 0);
	receive_by_ring(a, &t);
	EQ(t.pieces, 1);
	came_to_v6(&t, 0, "::ffff:127.0.0.9", LO);
}

/* Between processes, connected, whatever way the first went. */
static long mark(int *fd, long hops, long class)
{
	struct sockaddr_storage addr;
	name_of(*fd, &addr);
	bool is_v4 = addr.ss_family == AF_INET;
	OK(set(*fd, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_TTL : IPV6_UNICAST_HOPS, (int)hops));
	return set(*fd, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_TOS : IPV6_TCLASS, (int)class);
}

static void between_connected_sockets(struct conn *c)
{
	struct told t;
	struct sockaddr_storage addr;
	name_of(c->fd, &addr);
	if (addr.ss_family == AF_INET)
		ask_for_v4(c->fd, 1);
	else
		ask_for_v6(c->fd, 1);
	for (int i = 0; i < 40; i++) {
		OK(peer_call(c, mark, 10 + i, 4 * i));
		EQ(peer_send(c, "word", 4, 0), 4);
		if (i < 20)
			receive(c->fd, &t, 0);
		else
			receive_by_ring(c->fd, &t);
		EQ(t.pieces, 4);
		if (addr.ss_family == AF_INET) {
			came_to_v4(&t, 0, "127.0.0.1", LO, "127.0.0.1");
			int_is(&t, 1, IPPROTO_IP, IP_TTL, 10 + i);
			byte_is(&t, 2, IPPROTO_IP, IP_TOS, (unsigned char)(4 * i));
		} else {
			came_to_v6(&t, 0, "::1", LO);
			int_is(&t, 1, IPPROTO_IPV6, IPV6_HOPLIMIT, 10 + i);
			int_is(&t, 2, IPPROTO_IPV6, IPV6_TCLASS, 4 * i);
		}
	}
}

/* An address of the host's that is not loopback's, which only a network namespace of our own may be given. */
static void another_address(struct conn *c)
{
	(void)c;
	if (getenv("C_TESTS_OWN_NETWORK") == NULL)
		skip();
	struct told t;
	struct ifreq request = { .ifr_name = "lo:7" };
	*(struct sockaddr_in *)&request.ifr_addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = v4("192.0.2.77") };
	int b = made(AF_INET);
	OK(ioctl(b, SIOCSIFADDR, &request));
	int a = receiver_at(AF_INET, "192.0.2.77");
	OK(bind(b, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = v4("192.0.2.77") },
		sizeof(struct sockaddr_in)));
	ask_for_v4(a, 1);
	for (int i = 0; i < 40; i++) {
		EQ(send_to_host(b, AF_INET, "192.0.2.77", port(a), NULL), 4);
		receive_by_ring(a, &t);
		EQ(t.pieces, 4);
		came_to_v4(&t, 0, "192.0.2.77", LO, "192.0.2.77");
		name_was_v4(&t, 3, "192.0.2.77", a);
	}
}

/* What belongs to an interface is told with that. */
static void link_local_addresses(struct conn *c)
{
	(void)c;
	if (getenv("C_TESTS_OWN_NETWORK") == NULL)
		skip();
	struct told t;
	struct sockaddr_in6 from, at = { .sin6_family = AF_INET6, .sin6_addr = v6("fe80::77"), .sin6_scope_id = LO };
	struct {
		struct in6_addr address;
		uint32_t prefix;
		int interface;
	} request = { at.sin6_addr, 64, LO };
	int a = made(AF_INET6), b = made(AF_INET6);
	if (ioctl(a, SIOCSIFADDR, &request) < 0)
		EQ(errno, EEXIST);
	for (int i = 0; i < 100 && bind(a, (struct sockaddr *)&at, sizeof at) < 0; i++) {
		EQ(errno, EADDRNOTAVAIL); /* yet */
		sleep_ms(20);
	}
	OK(bind(b, (struct sockaddr *)&at, sizeof at));
	NONE_IS_THERE(a);
	ask_for_v6(a, 1);
	for (int i = 0; i < 20; i++) {
		OK(connect_to_fd(b, a));
		EQ(send(b, "word", 4, 0), 4);
		prepare(&t, MOST);
		t.m.msg_name = &from;
		t.m.msg_namelen = sizeof from;
		poll_until(a, POLLIN, POLLIN);
		EQ(recvmsg(a, &t.m, 0), 4);
		split(&t);
		EQ(from.sin6_scope_id, LO);
		came_to_v6(&t, 0, "fe80::77", LO);
	}
}

#ifdef __x86_64__
/* A system call that nobody sees but the kernel. */
static long unseen(long number, long a, long b, long c, void *d, long e)
{
	register void *r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}
#endif

/* The options of a socket that came from elsewhere. */
static void options_that_were_set_before(struct conn *c)
{
	(void)c;
#ifdef __x86_64__
	struct told t;
	int both[2], one = 1, hops = 44, class = 0x1c;
	OK(close(made(AF_INET)));
	for (int i = 0; i < 2; i++) {
		both[i] = (int)unseen(SYS_socket, AF_INET, SOCK_DGRAM, 0, NULL, 0);
		EQ(unseen(SYS_setsockopt, both[i], IPPROTO_IP, IP_PKTINFO, &one, sizeof one), 0);
		EQ(unseen(SYS_setsockopt, both[i], IPPROTO_IP, IP_RECVTTL, &one, sizeof one), 0);
		EQ(unseen(SYS_setsockopt, both[i], IPPROTO_IP, IP_RECVTOS, &one, sizeof one), 0);
		EQ(unseen(SYS_setsockopt, both[i], IPPROTO_IP, IP_TTL, &hops, sizeof hops), 0);
		EQ(unseen(SYS_setsockopt, both[i], IPPROTO_IP, IP_TOS, &class, sizeof class), 0);
		struct sockaddr_in any = { .sin_family = AF_INET };
		OK(bind(both[i], (struct sockaddr *)&any, sizeof any));
	}
	NONE_IS_THERE(both[0]);
	for (int i = 0; i < 40; i++) {
		EQ(send_to_host(both[1], AF_INET, "127.0.0.1", port(both[0]), NULL), 4);
		receive_by_ring(both[0], &t);
		EQ(t.pieces, 3);
		came_to_v4(&t, 0, "127.0.0.1", LO, "127.0.0.1");
		int_is(&t, 1, IPPROTO_IP, IP_TTL, 44);
		byte_is(&t, 2, IPPROTO_IP, IP_TOS, 0x1c);
	}
#else
	skip();
#endif
}

/* ---- room -------------------------------------------------------------------------------------------- */

/* As put_cmsg of Linux: how much there is of a room, what of it is written, and whether something was cut off. */
static void each_room(struct conn *c)
{
	(void)c;
	static const size_t lengths[] = { sizeof(struct timeval), sizeof(struct in_pktinfo), sizeof(int), 1,
					  sizeof(struct sockaddr_in) };
	struct told whole, t;
	int a = receiver_at(AF_INET, "127.0.0.1"), b = bound(AF_INET);
	ask_for_v4(a, 1);
	OK(set(a, SOL_SOCKET, SO_TIMESTAMP, 1));
	OK(connect_to_fd(b, a));
	EQ(send(b, "word", 4, 0), 4);
	receive_by_ring(a, &whole);
	EQ(whole.pieces, 5);
	for (size_t room = 0; room <= 160; room++) {
		EQ(send(b, "word", 4, 0), 4);
		prepare(&t, room);
		poll_until(a, POLLIN, POLLIN);
		EQ(recvmsg(a, &t.m, 0), 4);
		size_t used = 0;
		int flags = 0;
		for (int i = 0; i < 5; i++) {
			size_t left = room - used, length = CMSG_LEN(lengths[i]);
			if (left < length)
				flags = MSG_CTRUNC;
			if (left < sizeof(struct cmsghdr))
				continue;
			struct cmsghdr *h = (struct cmsghdr *)(t.control + used);
			EQ(h->cmsg_len, left < length ? left : length);
			EQ(h->cmsg_type, whole.piece[i]->cmsg_type);
			if (i > 0)
				SAME(CMSG_DATA(h), CMSG_DATA(whole.piece[i]), h->cmsg_len - sizeof *h);
			used += left < CMSG_SPACE(lengths[i]) ? left : CMSG_SPACE(lengths[i]);
		}
		EQ(t.m.msg_controllen, used);
		EQ(t.m.msg_flags, flags);
		EQ((unsigned char)t.control[room], 0xee);
	}
	/* No room at all is told as well, and what cannot be written is left out. */
	for (int i = 0; i < 3; i++) {
		EQ(send(b, "word", 4, 0), 4);
		prepare(&t, i == 2 ? 0 : 100);
		t.m.msg_control = i == 0 ? NULL : i == 1 ? (void *)4096 : t.control;
		poll_until(a, POLLIN, POLLIN);
		EQ(recvmsg(a, &t.m, 0), 4);
		EQ(t.m.msg_flags, i == 1 ? 0 : MSG_CTRUNC);
		EQ(t.m.msg_controllen, 0);
	}
	/* Beside a datagram that is cut off itself. */
	EQ(send(b, "word", 4, 0), 4);
	prepare(&t, 20);
	t.v.iov_len = 2;
	poll_until(a, POLLIN, POLLIN);
	EQ(recvmsg(a, &t.m, MSG_TRUNC | MSG_CMSG_CLOEXEC), 4);
	EQ(t.m.msg_flags, MSG_TRUNC | MSG_CTRUNC | MSG_CMSG_CLOEXEC);
}

static void peeked(struct conn *c)
{
	(void)c;
	struct told t, again;
	int a = receiver_at(AF_INET, "127.0.0.1"), b = bound(AF_INET);
	OK(set(b, IPPROTO_IP, IP_TTL, 77));
	for (int i = 0; i < 3; i++) {
		ask_for_v4(a, 0);
		OK(set(a, SOL_SOCKET, SO_TIMESTAMPNS, i == 1));
		EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
		ask_for_v4(a, 1);
		OK(set(a, SOL_SOCKET, SO_TIMESTAMPNS, i > 0));
		receive(a, &t, MSG_PEEK);
		EQ(t.pieces, i > 0 ? 5 : 4);
		int_is(&t, i > 0 ? 2 : 1, IPPROTO_IP, IP_TTL, 77);
		sleep_ms(5);
		receive_by_ring(a, &again);
		EQ(again.m.msg_controllen, t.m.msg_controllen);
		SAME(again.control, t.control, t.m.msg_controllen);
	}
}

static void many_with_pieces(struct conn *c)
{
	(void)c;
	enum { COUNT = 12 };
	struct told t[COUNT];
	struct mmsghdr in[COUNT] = { 0 };
	int a = receiver_at(AF_INET, "127.0.0.1"), b = bound(AF_INET);
	ask_for_v4(a, 1);
	for (int i = 0; i < COUNT; i++) {
		OK(set(b, IPPROTO_IP, IP_TTL, i + 1));
		EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
		prepare(&t[i], i == 5 ? 40 : MOST);
		in[i].msg_hdr = t[i].m;
	}
	long before = ring_received();
	for (int i = 0; i < COUNT; i += (int)OK(recvmmsg(a, in + i, (unsigned)(COUNT - i), MSG_WAITFORONE, NULL)))
		;
	if (before != -1)
		EQ(ring_received(), before + COUNT);
	for (int i = 0; i < COUNT; i++) {
		EQ(in[i].msg_len, 4);
		t[i].m = in[i].msg_hdr;
		split(&t[i]);
		EQ(t[i].m.msg_flags, i == 5 ? MSG_CTRUNC : 0);
		EQ(t[i].pieces, i == 5 ? 1 : 4);
		if (i != 5)
			int_is(&t[i], 1, IPPROTO_IP, IP_TTL, i + 1);
	}
}

/* ---- times and losses -------------------------------------------------------------------------------- */

static int64_t realtime_ns(void)
{
	struct timespec now;
	OK(clock_gettime(CLOCK_REALTIME, &now));
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t told_ns(struct told *t, int i, int type)
{
	int64_t words[2];
	TRUE(i < t->pieces);
	EQ(t->piece[i]->cmsg_level, SOL_SOCKET);
	EQ(t->piece[i]->cmsg_type, type);
	EQ(t->piece[i]->cmsg_len, CMSG_LEN(sizeof words));
	memcpy(words, CMSG_DATA(t->piece[i]), sizeof words);
	bool micro = type == SO_TIMESTAMP || type == TIMESTAMP_NEW;
	TRUE(words[1] >= 0 && words[1] < (micro ? 1000000 : 1000000000));
	return words[0] * 1000000000LL + words[1] * (micro ? 1000 : 1);
}

static void times(struct conn *c)
{
	(void)c;
	static const int kinds[] = { SO_TIMESTAMP, SO_TIMESTAMPNS, TIMESTAMP_NEW, TIMESTAMPNS_NEW, SO_TIMESTAMPNS, SO_TIMESTAMP };
	struct told t;
	int a = receiver_at(AF_INET, "127.0.0.1"), b = bound(AF_INET);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		OK(set(a, SOL_SOCKET, kinds[i], 1)); /* instead of the one before */
		OK(set(a, IPPROTO_IP, IP_RECVTTL, 1));
		sleep_ms(30);			     /* until the kernel looks at the clock */
		for (int n = 0; n < 8; n++) {
			int64_t before = realtime_ns();
			EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
			int64_t after = realtime_ns();
			sleep_ms(n == 0 ? 20 : 0); /* when it came is told, not when it was received */
			receive_by_ring(a, &t);
			EQ(t.pieces, 2);
			int64_t told = told_ns(&t, 0, kinds[i]);
			TRUE(told >= before / 1000 * 1000 && told <= after);
			int_is(&t, 1, IPPROTO_IP, IP_TTL, 64);
		}
	}
	/* Asked for when it has come already: some time until now. */
	OK(set(a, SOL_SOCKET, SO_TIMESTAMP, 0));
	int64_t before = realtime_ns();
	EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
	OK(set(a, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	receive_by_ring(a, &t);
	int64_t told = told_ns(&t, 0, SO_TIMESTAMPNS);
	TRUE(told >= before && told <= realtime_ns());
	OK(set(a, SOL_SOCKET, TIMESTAMP_NEW, 0)); /* any of them ends all */
	EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
	receive_by_ring(a, &t);
	EQ(t.pieces, 1);
}

static int lost(struct told *t)
{
	int value = 0;
	if (t->pieces > 0) {
		EQ(t->pieces, 1);
		EQ(t->piece[0]->cmsg_level, SOL_SOCKET);
		EQ(t->piece[0]->cmsg_type, SO_RXQ_OVFL);
		EQ(t->piece[0]->cmsg_len, CMSG_LEN(sizeof value));
		memcpy(&value, CMSG_DATA(t->piece[0]), sizeof value);
	}
	return value;
}

static void losses(struct conn *c)
{
	(void)c;
	enum { SENDS = 60 };
	struct told t;
	static char big[1000];
	int a = receiver_at(AF_INET, "127.0.0.1"), b = bound(AF_INET), got = 0, total;
	OK(set(a, SOL_SOCKET, SO_RCVBUF, 2304));
	OK(connect_to_fd(b, a));
	EQ(send(b, "word", 4, 0), 4);
	OK(set(a, SOL_SOCKET, SO_RXQ_OVFL, 1));
	receive_by_ring(a, &t);
	EQ(lost(&t), 0);
	for (int i = 0; i < SENDS; i++)
		EQ(send(b, big, sizeof big, 0), sizeof big);
	for (; poll_one(a, POLLIN, 50) == POLLIN; got++) {
		prepare(&t, MOST);
		OK(recvmsg(a, &t.m, MSG_DONTWAIT));
		split(&t);
		EQ(lost(&t), 0); /* these came before anything was lost */
	}
	TRUE(got > 0 && got < SENDS);
	for (int i = 0; i < 3; i++) {
		EQ(send(b, "word", 4, 0), 4);
		receive_by_ring(a, &t);
		EQ(lost(&t), SENDS - got); /* in all, again and again */
	}
	total = SENDS - got;
	EQ(send(b, "word", 4, 0), 4);
	OK(set(a, SOL_SOCKET, SO_RXQ_OVFL, 0));
	receive_by_ring(a, &t);
	EQ(t.pieces, 0);
	EQ(send(b, "word", 4, 0), 4);
	OK(set(a, SOL_SOCKET, SO_RXQ_OVFL, 1));
	receive_by_ring(a, &t);
	EQ(t.pieces, 0); /* it was not counted when it came */
	EQ(send(b, "word", 4, 0), 4);
	receive_by_ring(a, &t);
	EQ(lost(&t), total);
}

/* What was lost before the first receive counts. */
static void losses_from_the_beginning(struct conn *c)
{
	(void)c;
	enum { SENDS = 60 };
	struct told t;
	char in[8];
	int a = bound(AF_INET), b = bound(AF_INET), got = 0;
	OK(set(a, SOL_SOCKET, SO_RCVBUF, 2304));
	OK(connect_to_fd(b, a));
	for (int i = 0; i < SENDS; i++)
		EQ(send(b, "word", 4, 0), 4);
	while (poll_one(a, POLLIN, 50) == POLLIN && recv(a, in, sizeof in, MSG_DONTWAIT) == 4)
		got++;
	OK(set(a, SOL_SOCKET, SO_RXQ_OVFL, 1));
	EQ(send(b, "word", 4, 0), 4);
	receive_by_ring(a, &t);
	EQ(lost(&t), SENDS - got);
}

/* ---- what one send says ------------------------------------------------------------------------------ */

struct beside {
	struct msghdr m;
	char control[MOST];
};

static void add(struct beside *s, int level, int type, const void *data, size_t length)
{
	size_t used = s->m.msg_controllen;
	struct cmsghdr *h = (struct cmsghdr *)(s->control + used);
	*h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(length), .cmsg_level = level, .cmsg_type = type };
	memcpy(CMSG_DATA(h), data, length);
	s->m.msg_control = s->control;
	s->m.msg_controllen = used + CMSG_SPACE(length);
}

static struct beside *one(int level, int type, const void *data, size_t length)
{
	static struct beside s;
	memset(&s, 0, sizeof s);
	add(&s, level, type, data, length);
	return &s;
}

static struct beside *one_int(int level, int type, int value)
{
	return one(level, type, &value, sizeof value);
}

static void marks_of_one_send_v4(struct conn *c)
{
	(void)c;
	struct told t;
	struct beside s = { 0 };
	int a = receiver_at(AF_INET, "127.0.0.1"), b = bound(AF_INET), hops = 5, class = 7;
	unsigned char byte = 0xfe;
	ask_for_v4(a, 1);
	OK(set(b, IPPROTO_IP, IP_TOS, 0x20));
	add(&s, IPPROTO_IP, IP_TTL, &hops, sizeof hops);
	add(&s, IPPROTO_IP, IP_TOS, &class, sizeof class);
	for (int i = 0; i < 20; i++) {
		EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), &s.m), 4);
		receive_by_ring(a, &t);
		int_is(&t, 1, IPPROTO_IP, IP_TTL, 5);
		byte_is(&t, 2, IPPROTO_IP, IP_TOS, 7);
		EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), &one(IPPROTO_IP, IP_TOS, &byte, 1)->m), 4);
		receive_by_ring(a, &t);
		int_is(&t, 1, IPPROTO_IP, IP_TTL, 64);
		byte_is(&t, 2, IPPROTO_IP, IP_TOS, 0xfe);
		EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
		receive_by_ring(a, &t);
		int_is(&t, 1, IPPROTO_IP, IP_TTL, 64);
		byte_is(&t, 2, IPPROTO_IP, IP_TOS, 0x20);
	}
	/* The last of two counts; what is too short for another is not looked at. */
	hops = 250;
	add(&s, IPPROTO_IP, IP_TTL, &hops, sizeof hops);
	s.m.msg_controllen += 15;
	EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), &s.m), 4);
	receive_by_ring(a, &t);
	int_is(&t, 1, IPPROTO_IP, IP_TTL, 250);
	/* The same by a connected socket. */
	OK(connect_to_fd(b, a));
	struct iovec v = { "word", 4 };
	s.m.msg_iov = &v;
	s.m.msg_iovlen = 1;
	EQ(sendmsg(b, &s.m, 0), 4);
	receive_by_ring(a, &t);
	int_is(&t, 1, IPPROTO_IP, IP_TTL, 250);
}

static void marks_of_one_send_v6(struct conn *c)
{
	(void)c;
	struct told t;
	int a = receiver_at(AF_INET6, "::1"), b = bound(AF_INET6);
	ask_for_v6(a, 1);
	OK(set(b, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 44));
	OK(set(b, IPPROTO_IPV6, IPV6_TCLASS, 0x55));
	for (int value = -1; value < 256; value += 51 + (value < 0)) {
		EQ(send_to_host(b, AF_INET6, "::1", port(a), &one_int(IPPROTO_IPV6, IPV6_HOPLIMIT, value)->m), 4);
		receive_by_ring(a, &t);
		int_is(&t, 1, IPPROTO_IPV6, IPV6_HOPLIMIT, value < 0 ? 44 : value);
		int_is(&t, 2, IPPROTO_IPV6, IPV6_TCLASS, 0x55);
		EQ(send_to_host(b, AF_INET6, "::1", port(a), &one_int(IPPROTO_IPV6, IPV6_TCLASS, value)->m), 4);
		if (value < 0) { /* the socket's, or 255: that depends on the kernel */
			receive(a, &t, 0);
			continue;
		}
		receive_by_ring(a, &t);
		int_is(&t, 1, IPPROTO_IPV6, IPV6_HOPLIMIT, 44);
		int_is(&t, 2, IPPROTO_IPV6, IPV6_TCLASS, value);
	}
}

static void many_with_marks(struct conn *c)
{
	(void)c;
	enum { COUNT = 12 };
	struct told t;
	struct beside s[COUNT];
	struct mmsghdr out[COUNT] = { 0 };
	struct iovec v = { "word", 4 };
	int a = receiver_at(AF_INET, "127.0.0.1"), b = bound(AF_INET);
	ask_for_v4(a, 1);
	OK(connect_to_fd(b, a));
	for (int i = 0; i < COUNT; i++) {
		s[i] = *one_int(IPPROTO_IP, IP_TTL, i == 9 ? 256 : i + 1);
		s[i].m.msg_control = s[i].control;
		s[i].m.msg_iov = &v;
		s[i].m.msg_iovlen = 1;
		out[i].msg_hdr = s[i].m;
	}
	EQ(sendmmsg(b, out, COUNT, 0), 9);
	for (int i = 0; i < 9; i++) {
		receive_by_ring(a, &t);
		int_is(&t, 1, IPPROTO_IP, IP_TTL, i + 1);
	}
	NONE_IS_THERE(a);
}

static void source_address_of_one_send(struct conn *c)
{
	(void)c;
	struct told t;
	struct sockaddr_storage from;
	int a = receiver_at(AF_INET, "0.0.0.0"), b = receiver_at(AF_INET, "0.0.0.0");
	static const char *const sources[] = { "127.0.0.1", "127.0.0.3", "0.0.0.0" };
	ask_for_v4(a, 1);
	for (int i = 0; i < 12; i++) {
		struct in_pktinfo info = { i % 2 ? LO : 0, v4(sources[i % 3]), v4("127.0.0.77") };
		EQ(send_to_host(b, AF_INET, "127.0.0.8", port(a), &one(IPPROTO_IP, IP_PKTINFO, &info, sizeof info)->m), 4);
		prepare(&t, MOST);
		t.m.msg_name = &from;
		t.m.msg_namelen = sizeof from;
		poll_until(a, POLLIN, POLLIN);
		long before = ring_received();
		EQ(recvmsg(a, &t.m, 0), 4);
		split(&t);
		if (before != -1 && i % 3 != 1)
			EQ(ring_received(), before + 1);
		EQ(((struct sockaddr_in *)&from)->sin_addr.s_addr, v4(i % 3 == 1 ? "127.0.0.3" : "127.0.0.1").s_addr);
		EQ(port_of(&from), port(b));
		came_to_v4(&t, 0, "127.0.0.8", LO, "127.0.0.8");
	}
	/* No address is what the route says, whatever the socket is bound to. */
	int bound_to_another = bound_at(AF_INET, "127.0.0.5", 0);
	for (int i = 0; i < 2; i++) {
		struct in_pktinfo info = { LO, v4("0.0.0.0"), v4("0.0.0.0") };
		struct beside *s = one(IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
		EQ(send_to_host(bound_to_another, AF_INET, "127.0.0.1", port(a), i == 0 ? NULL : &s->m), 4);
		prepare(&t, MOST);
		t.m.msg_name = &from;
		t.m.msg_namelen = sizeof from;
		poll_until(a, POLLIN, POLLIN);
		EQ(recvmsg(a, &t.m, 0), 4);
		EQ(((struct sockaddr_in *)&from)->sin_addr.s_addr, v4(i == 0 ? "127.0.0.5" : "127.0.0.1").s_addr);
	}
	int six = receiver_at(AF_INET6, "::1"), seven = bound_at(AF_INET6, "::", 0);
	ask_for_v6(six, 1);
	for (int i = 0; i < 4; i++) {
		struct in6_pktinfo info = { v6(i % 2 ? "::1" : "::"), i / 2 ? LO : 0 };
		EQ(send_to_host(seven, AF_INET6, "::1", port(six), &one(IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info)->m), 4);
		receive_by_ring(six, &t);
		came_to_v6(&t, 0, "::1", LO);
	}
	struct in6_pktinfo nobodys = { v6("2001:db8::1"), 0 };
	ERR(send_to_host(seven, AF_INET6, "::1", port(six), &one(IPPROTO_IPV6, IPV6_PKTINFO, &nobodys, sizeof nobodys)->m), EINVAL);
	struct in6_pktinfo nowhere = { v6("::1"), 4000 };
	ERR(send_to_host(seven, AF_INET6, "::1", port(six), &one(IPPROTO_IPV6, IPV6_PKTINFO, &nowhere, sizeof nowhere)->m), ENODEV);
	NONE_IS_THERE(six);
}

#define REFUSED_V4(beside) ERR(send_to_host(b, AF_INET, "127.0.0.1", port(a), &(beside)->m), EINVAL)
#define REFUSED_V6(beside) ERR(send_to_host(e, AF_INET6, "::1", port(d), &(beside)->m), EINVAL)

static void wrong_values(struct conn *c)
{
	(void)c;
	struct told t;
	struct beside s;
	int a = receiver_at(AF_INET, "127.0.0.1"), b = bound(AF_INET);
	int d = receiver_at(AF_INET6, "::1"), e = bound(AF_INET6);
	long words[2] = { 1, 1 };
	ask_for_v4(a, 1);
	ask_for_v6(d, 1);
	for (int i = 0; i < 3; i++) {
		REFUSED_V4(one_int(IPPROTO_IP, IP_TTL, 0));
		REFUSED_V4(one_int(IPPROTO_IP, IP_TTL, -1));
		REFUSED_V4(one_int(IPPROTO_IP, IP_TTL, 256));
		REFUSED_V4(one(IPPROTO_IP, IP_TTL, words, 1));
		REFUSED_V4(one(IPPROTO_IP, IP_TTL, words, 8));
		REFUSED_V4(one_int(IPPROTO_IP, IP_TOS, -1));
		REFUSED_V4(one_int(IPPROTO_IP, IP_TOS, 256));
		REFUSED_V4(one(IPPROTO_IP, IP_TOS, words, 2));
		REFUSED_V4(one(IPPROTO_IP, IP_PKTINFO, words, 8));
		REFUSED_V4(one_int(IPPROTO_IP, IP_RECVTTL, 1));
		REFUSED_V6(one_int(IPPROTO_IPV6, IPV6_HOPLIMIT, -2));
		REFUSED_V6(one_int(IPPROTO_IPV6, IPV6_HOPLIMIT, 256));
		REFUSED_V6(one(IPPROTO_IPV6, IPV6_HOPLIMIT, words, 1));
		REFUSED_V6(one_int(IPPROTO_IPV6, IPV6_TCLASS, -2));
		REFUSED_V6(one_int(IPPROTO_IPV6, IPV6_TCLASS, 256));
		REFUSED_V6(one(IPPROTO_IPV6, IPV6_TCLASS, words, 8));
		REFUSED_V6(one(IPPROTO_IPV6, IPV6_PKTINFO, words, 16));
		/* Lengths that cannot be. */
		s = *one_int(IPPROTO_IP, IP_TTL, 5);
		s.m.msg_control = s.control;
		((struct cmsghdr *)s.control)->cmsg_len = 15;
		REFUSED_V4(&s);
		((struct cmsghdr *)s.control)->cmsg_len = 25;
		REFUSED_V4(&s);
		((struct cmsghdr *)s.control)->cmsg_len = ~0UL;
		REFUSED_V4(&s);
		s.m.msg_control = (void *)4096;
		ERR(send_to_host(b, AF_INET, "127.0.0.1", port(a), &s.m), EFAULT);
	}
	ERR(set(b, IPPROTO_IP, IP_TTL, 0), EINVAL);
	ERR(set(b, IPPROTO_IP, IP_TTL, 256), EINVAL);
	ERR(set(e, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256), EINVAL);
	ERR(set(e, IPPROTO_IPV6, IPV6_TCLASS, 256), EINVAL);
	NONE_IS_THERE(a);
	NONE_IS_THERE(d);
	/* What is of the other family is not looked at. */
	EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), &one_int(IPPROTO_IPV6, IPV6_HOPLIMIT, 5)->m), 4);
	receive(a, &t, 0);
	int_is(&t, 1, IPPROTO_IP, IP_TTL, 64);
	EQ(send_to_host(e, AF_INET6, "::1", port(d), &one_int(IPPROTO_IP, IP_TTL, 5)->m), 4);
	receive(d, &t, 0);
	int_is(&t, 1, IPPROTO_IPV6, IPV6_HOPLIMIT, 64);
	/* -1 is the host's own again. */
	OK(set(b, IPPROTO_IP, IP_TTL, 3));
	OK(set(b, IPPROTO_IP, IP_TTL, -1));
	EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
	receive_by_ring(a, &t);
	int_is(&t, 1, IPPROTO_IP, IP_TTL, 64);
	unsigned char byte = 0x44;
	OK(setsockopt(b, IPPROTO_IP, IP_TOS, &byte, 1));
	EQ(send_to_host(b, AF_INET, "127.0.0.1", port(a), NULL), 4);
	receive_by_ring(a, &t);
	byte_is(&t, 2, IPPROTO_IP, IP_TOS, 0x44);
}

static const struct test tests[] = {
	TEST(pieces_of_v4, ALONE),
	TEST(pieces_of_v6, ALONE),
	TEST(pieces_of_v4_on_v6, ALONE),
	TEST(asked_for_afterwards, ALONE),
	TEST(between_connected_sockets, V_UDP_FRESH_ONE | V_UDP_WARM_ONE | V_UDP_WARM_TWO | V_UDP_WARM_TWO_INET6),
	TEST(another_address, ALONE),
	TEST(link_local_addresses, ALONE),
	TEST(options_that_were_set_before, ALONE),
	TEST(each_room, ALONE),
	TEST(peeked, ALONE),
	TEST(many_with_pieces, ALONE),
	TEST(times, ALONE),
	TEST(losses, ALONE),
	TEST(losses_from_the_beginning, ALONE),
	TEST(marks_of_one_send_v4, ALONE),
	TEST(marks_of_one_send_v6, ALONE),
	TEST(many_with_marks, ALONE),
	TEST(source_address_of_one_send, ALONE),
	TEST(wrong_values, ALONE),
};
MAIN(tests)
