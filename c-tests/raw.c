/* raw(7) and icmp(7): raw sockets and those of ping, and the errors that datagrams meet (IP_RECVERR of ip(7)). */
#include <time.h>

#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

#include "support.h"

#ifndef ICMP_FILTER
#define ICMP_FILTER 1
#endif
#define SOL_RAW 255

struct echo {
	uint8_t type, code;
	uint16_t checksum, id, sequence;
	char data[8];
};

static uint16_t checksum(const void *bytes, size_t length)
{
	uint32_t sum = 0;
	const uint8_t *at = bytes;
	for (; length > 1; at += 2, length -= 2)
		sum += (uint32_t)at[0] << 8 | at[1];
	if (length)
		sum += (uint32_t)at[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static int special(int af, int type, int protocol)
{
	int fd = socket(af, type, protocol);
	if (fd < 0 && (errno == EPERM || errno == EACCES || errno == EAFNOSUPPORT)) {
		TRUE(getenv("LANDLINE_NET") == NULL);
		skip();
	}
	OK(fd);
	set_timeout(fd, SO_RCVTIMEO, 1000);
	return fd;
}

/* Without privilege as with: whose groups may is for each network namespace to say. */
static int ping(int af)
{
	int range = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY);
	if (range >= 0 && getenv("LANDLINE_NET") == NULL)
		write(range, "0 2147483647", 12);
	close(range);
	return special(af, SOCK_DGRAM, af == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static long send_to(int fd, int af, const void *data, size_t length, uint16_t port)
{
	struct sockaddr_storage to;
	socklen_t n = loopback(af, port, &to);
	return sendto(fd, data, length, 0, (struct sockaddr *)&to, n);
}

static struct echo request(int af, uint16_t id, uint16_t sequence)
{
	struct echo e = { .type = af == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST, .id = htons(id), .sequence = htons(sequence) };
	memcpy(e.data, "abcdefg", 8);
	if (af == AF_INET)
		e.checksum = checksum(&e, sizeof e);
	return e;
}

static void set(int fd, int level, int name, int value)
{
	OK(setsockopt(fd, level, name, &value, sizeof value));
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof value;
	OK(getsockopt(fd, level, name, &value, &size));
	return value;
}

static void kinds(struct conn *c)
{
	(void)c;
	int fd = special(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	EQ(option(fd, SOL_SOCKET, SO_TYPE), SOCK_RAW);
	EQ(option(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_ICMP);
	EQ(option(fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
	struct sockaddr_storage name;
	socklen_t length = sizeof name;
	OK(getsockname(fd, (struct sockaddr *)&name, &length));
	EQ(port_of(&name), IPPROTO_ICMP);
	ERR(socket(AF_INET, SOCK_RAW, 0), EPROTONOSUPPORT);
	ERR(socket(AF_INET, SOCK_RAW, -1), EINVAL);
	ERR(send(fd, "x", 1, 0), EDESTADDRREQ);
	ERR(getpeername(fd, (struct sockaddr *)&name, &length), ENOTCONN);
	ERR(recv(fd, &name, 1, MSG_DONTWAIT), EAGAIN);
	EQ(poll_one(fd, POLLIN | POLLOUT, 0), POLLOUT);
	ERR(listen(fd, 1), EOPNOTSUPP);
	ping(AF_INET);
	ERR(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6), EPROTONOSUPPORT);
	ERR(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMP), EPROTONOSUPPORT);
}

/* A raw socket on loopback sees what it sends, and then the answer of the host. */
static void raw_echo(struct conn *c)
{
	(void)c;
	int fd = special(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	struct echo e = request(AF_INET, 4711, 3);
	EQ(send_to(fd, AF_INET, &e, sizeof e, 0), sizeof e);
	for (int i = 0; i < 2; i++) {
		struct { struct iphdr ip; struct echo echo; char more[8]; } in;
		struct sockaddr_in from;
		socklen_t length = sizeof from;
		EQ(recvfrom(fd, &in, sizeof in, 0, (struct sockaddr *)&from, &length), sizeof in.ip + sizeof e);
		EQ(from.sin_port, 0);
		EQ(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
		EQ(in.ip.version, 4);
		EQ(in.ip.ihl, 5);
		EQ(ntohs(in.ip.tot_len), sizeof in.ip + sizeof e);
		EQ(in.ip.ttl, 64);
		EQ(in.ip.protocol, IPPROTO_ICMP);
		EQ(in.ip.saddr, htonl(INADDR_LOOPBACK));
		EQ(in.ip.daddr, htonl(INADDR_LOOPBACK));
		EQ(ntohs(in.ip.frag_off), i == 0 ? IP_DF : 0);
		EQ(checksum(&in.ip, sizeof in.ip), 0);
		EQ(checksum(&in.echo, sizeof in.echo), 0);
		EQ(in.echo.type, i == 0 ? ICMP_ECHO : ICMP_ECHOREPLY);
		EQ(ntohs(in.echo.id), 4711);
		EQ(ntohs(in.echo.sequence), 3);
		SAME(in.echo.data, "abcdefg", 8);
	}
	/* One with a wrong checksum nobody answers; one that does not want requests sees none. */
	set(fd, SOL_RAW, ICMP_FILTER, 1 << ICMP_ECHO);
	EQ(option(fd, SOL_RAW, ICMP_FILTER), 1 << ICMP_ECHO);
	char in[200];
	EQ(send_to(fd, AF_INET, &e, sizeof e, 0), sizeof e);
	EQ(recv(fd, in, sizeof in, 0), sizeof(struct iphdr) + sizeof e);
	EQ(((struct echo *)(in + sizeof(struct iphdr)))->type, ICMP_ECHOREPLY);
	ERR(recv(fd, in, sizeof in, MSG_DONTWAIT), EAGAIN);
}

static void raw_echo_v6(struct conn *c)
{
	(void)c;
	int fd = special(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	struct icmp6_filter filter, told;
	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
	OK(setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter));
	OK(getsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &told, &(socklen_t){ sizeof told }));
	SAME(&told, &filter, sizeof filter);
	struct echo e = request(AF_INET6, 4711, 3), in;
	EQ(send_to(fd, AF_INET6, &e, sizeof e, 0), sizeof e);
	EQ(recv(fd, &in, sizeof in, 0), sizeof e);
	EQ(in.type, ICMP6_ECHO_REPLY);
	EQ(ntohs(in.id), 4711);
	TRUE(in.checksum != 0);
	ERR(recv(fd, &in, sizeof in, MSG_DONTWAIT), EAGAIN);
}

static void pings(int af)
{
	int a = ping(af), b = ping(af);
	struct sockaddr_storage name;
	socklen_t length = loopback(af, 0, &name);
	set(a, SOL_SOCKET, SO_TIMESTAMP, 1);
	set(a, af == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, af == AF_INET ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
	struct echo e = request(af, 1, 7), in;
	EQ(send_to(a, af, &e, sizeof e, 1234), sizeof e);
	EQ(send_to(b, af, &e, sizeof e, 0), sizeof e);
	OK(getsockname(a, (struct sockaddr *)&name, &length));
	uint16_t id = port_of(&name);
	TRUE(id != 0);
	char control[200];
	struct iovec v = { &in, sizeof in };
	struct msghdr m = { .msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	EQ(recvmsg(a, &m, 0), sizeof e);
	EQ(port_of(&name), 0);
	/* Whatever the program had written there. */
	EQ(ntohs(in.id), id);
	EQ(ntohs(in.sequence), 7);
	EQ(in.type, af == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
	SAME(in.data, "abcdefg", 8);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	EQ(h->cmsg_type, SO_TIMESTAMP);
	struct timeval came, now;
	memcpy(&came, CMSG_DATA(h), sizeof came);
	gettimeofday(&now, NULL);
	TRUE(now.tv_sec - came.tv_sec < 2 && now.tv_sec >= came.tv_sec);
	h = CMSG_NXTHDR(&m, h);
	EQ(h->cmsg_type, af == AF_INET ? IP_TTL : IPV6_HOPLIMIT);
	EQ(*(int *)CMSG_DATA(h), 64);
	ERR(recv(a, &in, sizeof in, MSG_DONTWAIT), EAGAIN);
	EQ(recv(b, &in, sizeof in, 0), sizeof e);
	TRUE(ntohs(in.id) != id);
	/* Nothing else than echo requests leaves. */
	ERR(send_to(a, af, &e, 7, 0), EINVAL);
	e.type = af == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
	ERR(send_to(a, af, &e, sizeof e, 0), EINVAL);
	e.type = af == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	ERR(send(a, &e, sizeof e, 0), EDESTADDRREQ);
}

static void ping_v4(struct conn *c)
{
	(void)c;
	pings(AF_INET);
}

static void ping_v6(struct conn *c)
{
	(void)c;
	pings(AF_INET6);
}

static void ping_is_bound(struct conn *c)
{
	(void)c;
	int a = ping(AF_INET), b = ping(AF_INET);
	struct sockaddr_storage name;
	socklen_t length = loopback(AF_INET, 4712, &name);
	OK(bind(a, (struct sockaddr *)&name, length));
	/* They share numbers unless they ask not to. */
	EQ(option(b, SOL_SOCKET, SO_REUSEADDR), 1);
	set(b, SOL_SOCKET, SO_REUSEADDR, 0);
	ERR(bind(b, (struct sockaddr *)&name, length), EADDRINUSE);
	set(b, SOL_SOCKET, SO_REUSEADDR, 1);
	OK(bind(b, (struct sockaddr *)&name, length));
	OK(close(b));
	ERR(bind(a, (struct sockaddr *)&name, length), EINVAL);
	length = loopback(AF_INET, 0, &name);
	OK(connect(a, (struct sockaddr *)&name, length));
	struct echo e = request(AF_INET, 1, 1), in;
	EQ(send(a, &e, sizeof e, 0), sizeof e);
	EQ(poll_one(a, POLLIN, 1000), POLLIN);
	EQ(read(a, &in, sizeof in), sizeof in);
	EQ(ntohs(in.id), 4712);
}

/* The error queue of a datagram socket that meets nobody. */
static void nobody_there(int af)
{
	struct sockaddr_storage name, from;
	socklen_t length = loopback(af, 0, &name);
	int gone = (int)OK(socket(af, SOCK_DGRAM, 0)), fd = (int)OK(socket(af, SOCK_DGRAM, 0));
	OK(bind(gone, (struct sockaddr *)&name, length));
	OK(getsockname(gone, (struct sockaddr *)&name, &length));
	OK(close(gone));
	bool v4 = af == AF_INET;
	set(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
	set(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
	char in[100], control[200];
	struct iovec v = { in, sizeof in };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ERR(recvmsg(fd, &m, MSG_ERRQUEUE), EAGAIN);
	for (int i = 0; i < 2; i++) {
		EQ(sendto(fd, "is there anybody", 16, 0, (struct sockaddr *)&name, length), 16);
		EQ(poll_one(fd, POLLIN, 1000), POLLERR);
		/* Told once to any call; the queue keeps it. */
		ERR(sendto(fd, "x", 1, 0, (struct sockaddr *)&name, length), ECONNREFUSED);
		ERR(recv(fd, in, sizeof in, MSG_DONTWAIT), EAGAIN);
		EQ(poll_one(fd, POLLIN, 0), POLLERR);
		m.msg_controllen = sizeof control;
		m.msg_namelen = sizeof from;
		EQ(recvmsg(fd, &m, MSG_ERRQUEUE), 16);
		SAME(in, "is there anybody", 16);
		EQ(m.msg_flags, MSG_ERRQUEUE);
		EQ(m.msg_namelen, length);
		EQ(port_of(&from), port_of(&name));
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		EQ(h->cmsg_type, v4 ? IP_TTL : IPV6_HOPLIMIT);
		EQ(*(int *)CMSG_DATA(h), 64);
		h = CMSG_NXTHDR(&m, h);
		EQ(h->cmsg_level, v4 ? IPPROTO_IP : IPPROTO_IPV6);
		EQ(h->cmsg_type, v4 ? IP_RECVERR : IPV6_RECVERR);
		struct sock_extended_err *e = (struct sock_extended_err *)CMSG_DATA(h);
		EQ(h->cmsg_len, CMSG_LEN(sizeof *e + length));
		EQ(e->ee_errno, ECONNREFUSED);
		EQ(e->ee_origin, v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6);
		EQ(e->ee_type, v4 ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH);
		EQ(e->ee_code, v4 ? ICMP_PORT_UNREACH : ICMP6_DST_UNREACH_NOPORT);
		EQ(SO_EE_OFFENDER(e)->sa_family, af);
		EQ(poll_one(fd, POLLIN, 0), 0);
		ERR(recvmsg(fd, &m, MSG_ERRQUEUE), EAGAIN);
	}
	/* Several are told one after the other. */
	for (int i = 0; i < 3; i++) {
		EQ(sendto(fd, "x", 1, 0, (struct sockaddr *)&name, length), 1);
		EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	}
	for (int i = 0; i < 3; i++) {
		EQ(recv(fd, in, sizeof in, MSG_ERRQUEUE), 1);
		EQ(option(fd, SOL_SOCKET, SO_ERROR), i < 2 ? ECONNREFUSED : 0);
	}
	ERR(recv(fd, in, sizeof in, MSG_ERRQUEUE), EAGAIN);
}

static void nobody_there_v4(struct conn *c)
{
	(void)c;
	nobody_there(AF_INET);
}

static void nobody_there_v6(struct conn *c)
{
	(void)c;
	nobody_there(AF_INET6);
}

static void raw_sees_errors(struct conn *c)
{
	(void)c;
	int raw = special(AF_INET, SOCK_RAW, IPPROTO_ICMP), fd = (int)OK(socket(AF_INET, SOCK_DGRAM, 0));
	set(fd, IPPROTO_IP, IP_TTL, 9);
	EQ(send_to(fd, AF_INET, "probe", 5, 4713), 5);
	struct {
		struct iphdr ip;
		struct icmphdr icmp;
		struct iphdr about;
		struct udphdr udp;
		char data[50];
	} in;
	EQ(recv(raw, &in, sizeof in, 0), offsetof(typeof(in), data) + 5);
	EQ(in.icmp.type, ICMP_DEST_UNREACH);
	EQ(in.icmp.code, ICMP_PORT_UNREACH);
	EQ(checksum(&in.icmp, offsetof(typeof(in), data) + 5 - sizeof in.ip), 0);
	EQ(in.ip.tos, 0xc0);
	EQ(in.about.protocol, IPPROTO_UDP);
	EQ(in.about.ttl, 9);
	EQ(ntohs(in.udp.dest), 4713);
	EQ(ntohs(in.udp.len), 13);
	SAME(in.data, "probe", 5);
	/* Who is not connected is not told. */
	ERR(recv(fd, &in, sizeof in, MSG_DONTWAIT), EAGAIN);
}

static void other_protocols(struct conn *c)
{
	(void)c;
	int a = special(AF_INET, SOCK_RAW, 200), b = special(AF_INET, SOCK_RAW, 200), other = special(AF_INET, SOCK_RAW, 201);
	char in[200];
	set(a, IPPROTO_IP, IP_TTL, 7);
	set(a, IPPROTO_IP, IP_TOS, 0x20);
	EQ(send_to(a, AF_INET, "data", 4, 0), 4);
	for (int i = 0; i < 2; i++) {
		EQ(recv(i ? a : b, in, sizeof in, 0), 24);
		struct iphdr *ip = (struct iphdr *)in;
		EQ(ip->ttl, 7);
		EQ(ip->tos, 0x20);
		EQ(ip->protocol, 200);
		SAME(in + 20, "data", 4);
	}
	ERR(recv(other, in, sizeof in, MSG_DONTWAIT), EAGAIN);
	/* Those that are bound or connected to others do not receive it. */
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1) };
	OK(bind(b, (struct sockaddr *)&to, sizeof to));
	OK(connect(a, (struct sockaddr *)&to, sizeof to));
	ERR(bind(a, (struct sockaddr *)&to, sizeof to), EINVAL);
	int sender = special(AF_INET, SOCK_RAW, 200);
	EQ(send_to(sender, AF_INET, "x", 1, 0), 1);
	EQ(recv(sender, in, sizeof in, 0), 21);
	ERR(recv(a, in, sizeof in, MSG_DONTWAIT), EAGAIN);
	ERR(recv(b, in, sizeof in, MSG_DONTWAIT), EAGAIN);
	EQ(send(a, "y", 1, 0), 1);
	EQ(recv(b, in, sizeof in, 0), 21);
}

static void own_headers(struct conn *c)
{
	(void)c;
	int to = special(AF_INET, SOCK_RAW, 202);
	for (int i = 0; i < 2; i++) {
		int from = special(AF_INET, SOCK_RAW, i ? IPPROTO_RAW : 203);
		EQ(option(from, IPPROTO_IP, IP_HDRINCL), i);
		if (i == 0)
			set(from, IPPROTO_IP, IP_HDRINCL, 1);
		struct { struct iphdr ip; char data[4]; } out = { .data = "data" }, in;
		out.ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 3, .tos = 0x10, .protocol = 202, .id = htons(99), .daddr = htonl(INADDR_LOOPBACK) };
		EQ(send_to(from, AF_INET, &out, sizeof out, 0), sizeof out);
		EQ(recv(to, &in, sizeof in, 0), sizeof in);
		EQ(in.ip.ttl, 3);
		EQ(in.ip.tos, 0x10);
		EQ(ntohs(in.ip.id), 99);
		EQ(in.ip.saddr, htonl(INADDR_LOOPBACK));
		EQ(ntohs(in.ip.tot_len), sizeof in);
		EQ(checksum(&in.ip, sizeof in.ip), 0);
		SAME(in.data, "data", 4);
		out.ip.saddr = htonl(0x01020304);
		EQ(send_to(from, AF_INET, &out, sizeof out, 0), sizeof out);
		EQ(recv(to, &in, sizeof in, 0), sizeof in);
		EQ(in.ip.saddr, htonl(0x01020304));
		ERR(send_to(from, AF_INET, &out, 4, 0), EINVAL);
		ERR(recv(from, &in, sizeof in, MSG_DONTWAIT), EAGAIN);
		OK(close(from));
	}
}

static void echo_elsewhere(void *argument)
{
	int fd = *(int *)argument;
	char in[100];
	EQ(recv(fd, in, sizeof in, 0), 24);
	SAME(in + 20, "wake", 4);
}

static void another_process_waits(struct conn *c)
{
	(void)c;
	int a = special(AF_INET, SOCK_RAW, 204), b = special(AF_INET, SOCK_RAW, 205);
	pid_t child = fork_child(echo_elsewhere, &a);
	sleep_ms(30);
	struct { struct iphdr ip; char data[4]; } out = { .data = "wake" };
	out.ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 3, .protocol = 204, .daddr = htonl(INADDR_LOOPBACK) };
	set(b, IPPROTO_IP, IP_HDRINCL, 1);
	EQ(send_to(b, AF_INET, &out, sizeof out, 0), sizeof out);
	join_child(child);
}

static const struct test tests[] = {
	TEST(kinds, ALONE),	      TEST(raw_echo, ALONE),	    TEST(raw_echo_v6, ALONE),
	TEST(ping_v4, ALONE),	      TEST(ping_v6, ALONE),	    TEST(ping_is_bound, ALONE),
	TEST(nobody_there_v4, ALONE), TEST(nobody_there_v6, ALONE), TEST(raw_sees_errors, ALONE),
	TEST(other_protocols, ALONE), TEST(own_headers, ALONE),	    TEST(another_process_waits, ALONE),
};
MAIN(tests)
