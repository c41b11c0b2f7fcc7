/* udp(7) and ip(7): sockets that are not a ready-made pair, and what only datagrams have. */
#include <netinet/udp.h>

#include "ask.h"

#define THEME "udp"

static const int families[] = { AF_INET, AF_INET6 };

static int made(int family)
{
	return (int)OK(socket(family, SOCK_DGRAM, 0));
}

static int bound(int family)
{
	int fd = made(family);
	OK(bind_local(fd, family, 0));
	return fd;
}

static int connected_to(int family, int port)
{
	int fd = made(family);
	OK(connect_local(fd, family, port));
	return fd;
}

static long send_to(int fd, int family, int port, const char *words)
{
	struct sockaddr_storage address;
	socklen_t length = local(family, port, &address);
	return sendto(fd, words, strlen(words), 0, (struct sockaddr *)&address, length);
}

static int unused_port(int family)
{
	int fd = bound(family), port = port_at(fd);
	OK(close(fd));
	return port;
}

QUESTION(new_socket, ALONE)
{
	for (int i = 0; i < 2; i++) {
		int fd = made(families[i]);
		struct sockaddr_storage address;
		socklen_t length = sizeof address;
		say("poll %s", bits(fd));
		ask("send", send(fd, "x", 1, 0));
		ask("recv", take(fd, 1, MSG_DONTWAIT));
		ask("getpeername", getpeername(fd, (struct sockaddr *)&address, &length));
		ask("listen", listen(fd, 1));
		ask("accept", accept(fd, NULL, NULL));
		ask("shutdown", shutdown(fd, SHUT_RDWR));
	}
}

QUESTION(unconnected_talks, ALONE)
{
	for (int i = 0; i < 2; i++) {
		int a = bound(families[i]), b = made(families[i]);
		ask("sendto", send_to(b, families[i], port_at(a), "words"));
		say("port taken %d", port_at(b) != 0);
		say("poll %s, queue %d", bits(a), queued(a));
		struct sockaddr_storage address;
		socklen_t length = sizeof address;
		char in[8];
		ask("recvfrom", recvfrom(a, in, 8, 0, (struct sockaddr *)&address, &length));
		say("from %s", address_text(&address, length, port_at(b)));
	}
}

QUESTION(connected_talks, ALONE)
{
	for (int i = 0; i < 2; i++) {
		int a = bound(families[i]), b = connected_to(families[i], port_at(a));
		ask("send", send(b, "words", 5, 0));
		ask("write", write(b, "more", 4));
		ask_bytes("recv", a, 8, 0);
		ask_bytes("recv", a, 8, 0);
		ask("elsewhere", send_to(b, families[i], unused_port(families[i]), "x"));
		ask("connect again", connect_local(b, families[i], port_at(a)));
	}
}

QUESTION(connected_refused, ALONE)
{
	for (int i = 0; i < 2; i++) {
		int fd = connected_to(families[i], unused_port(families[i]));
		ask("send", send(fd, "x", 1, 0));
		say("poll %s", bits(fd));
		ask("send", send(fd, "x", 1, 0));
		bits(fd);
		ask("recv", take(fd, 1, MSG_DONTWAIT));
		ask("recv", take(fd, 1, MSG_DONTWAIT));
		ask("send", send(fd, "x", 1, 0));
		bits(fd);
		say("error %s", pending(fd));
		say("poll %s", bits(fd));
	}
}

QUESTION(unconnected_is_never_refused, ALONE)
{
	int fd = bound(AF_INET), port = unused_port(AF_INET);
	ask("sendto", send_to(fd, AF_INET, port, "x"));
	say("poll %s", bits(fd));
	ask("sendto", send_to(fd, AF_INET, port, "x"));
}

QUESTION(connected_filters_the_source, ALONE)
{
	for (int i = 0; i < 2; i++) {
		int a = bound(families[i]), b = bound(families[i]), other = bound(families[i]);
		OK(connect_local(a, families[i], port_at(b)));
		send_to(other, families[i], port_at(a), "other");
		say("poll %s", bits(a));
		send_to(b, families[i], port_at(a), "peer");
		ask_bytes("recv", a, 8, MSG_DONTWAIT);
		ask_bytes("recv", a, 8, MSG_DONTWAIT);
	}
}

QUESTION(disconnects, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	ask("connect", connect(b, &none, sizeof none));
	ask("getpeername", getpeername(b, (struct sockaddr *)&address, &length));
	length = sizeof address;
	OK(getsockname(b, (struct sockaddr *)&address, &length));
	say("%s", address_text(&address, length, 0));
	ask("send", send(b, "x", 1, 0));
	ask("sendto", send_to(b, AF_INET, port_at(a), "x"));
}

QUESTION(truncation, ALONE)
{
	for (int i = 0; i < 2; i++) {
		int a = bound(families[i]), b = connected_to(families[i], port_at(a));
		char in[3];
		struct iovec v = { in, 3 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
		for (int j = 0; j < 4; j++)
			EQ(send(b, "words", 5, 0), 5);
		ask("recv", recv(a, in, 3, 0));
		ask("trunc", recv(a, in, 3, MSG_TRUNC));
		ask("peek", recv(a, in, 3, MSG_PEEK | MSG_TRUNC));
		ask("recvmsg", recvmsg(a, &m, 0));
		say("flags %#x", m.msg_flags);
		ask("none", recv(a, NULL, 0, MSG_TRUNC));
		ask("empty", recv(a, in, 3, MSG_DONTWAIT));
	}
}

QUESTION(nothing_is_a_datagram, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	ask("send", send(b, "", 0, 0));
	say("poll %s, queue %d", bits(a), queued(a));
	ask("recv", take(a, 8, MSG_DONTWAIT));
	ask("write", write(b, "", 0));
	say("poll %s", bits(a));
	ask("read", read(a, &a, 0));
}

QUESTION(too_long, ALONE)
{
	static char big[70000];
	for (int i = 0; i < 2; i++) {
		int a = bound(families[i]), b = connected_to(families[i], port_at(a));
		OK(set_option(a, SOL_SOCKET, SO_RCVBUF, 1 << 20));
		ask("70000", send(b, big, 70000, 0));
		ask("65535", send(b, big, 65535, 0));
		ask("65507", send(b, big, 65507, 0));
		ask("recv", take(a, 70000, 0));
		ask("65508", send(b, big, 65508, MSG_DONTWAIT));
	}
}

QUESTION(wrong_arguments, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	ask("send null", send(b, NULL, 5, 0));
	ask("send wild", send(b, WILD, 5, 0));
	EQ(send(b, "words", 5, 0), 5);
	ask("recv wild", recv(a, WILD, 5, 0));
	ask("again", recv(a, WILD, 5, MSG_DONTWAIT));
	ask("OOB", send(b, "x", 1, MSG_OOB));
	ask("recv OOB", recv(a, &a, 1, MSG_OOB | MSG_DONTWAIT));
	ask("port 0", send_to(made(AF_INET), AF_INET, 0, "x"));
	struct sockaddr_storage address;
	local(AF_INET, 1, &address);
	ask("short address", sendto(made(AF_INET), "x", 1, 0, (struct sockaddr *)&address, 4));
	ask("null address", sendto(made(AF_INET), "x", 1, 0, NULL, 16));
	ask("v6 address", send_to(made(AF_INET), AF_INET6, 1, "x"));
}

QUESTION(peek_and_queue, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	EQ(send(b, "one", 3, 0), 3);
	EQ(send(b, "second", 6, 0), 6);
	say("queue %d", queued(a));
	ask_bytes("peek", a, 8, MSG_PEEK);
	ask_bytes("recv all", a, 8, MSG_WAITALL);
	say("queue %d", queued(a));
	ask_bytes("recv", a, 8, 0);
	say("queue %d", queued(a));
}

QUESTION(many_at_once, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	char in[3][8] = { { 0 } };
	struct iovec out[3] = { { "one", 3 }, { "two", 3 }, { "three", 5 } }, v[3];
	struct mmsghdr m[3] = { 0 };
	for (int i = 0; i < 3; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &out[i], .msg_iovlen = 1 };
	ask("sendmmsg", sendmmsg(b, m, 3, 0));
	for (int i = 0; i < 3; i++) {
		v[i] = (struct iovec){ in[i], 4 };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &v[i], .msg_iovlen = 1 };
	}
	ask("recvmmsg", recvmmsg(a, m, 3, 0, NULL));
	say("%u %u %u, flags %#x", m[0].msg_len, m[1].msg_len, m[2].msg_len, m[2].msg_hdr.msg_flags);
	ask("no more", recvmmsg(a, m, 3, MSG_DONTWAIT, NULL));
}

QUESTION(shut_down, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	OK(connect_local(a, AF_INET, port_at(b)));
	ask("write half", shutdown(b, SHUT_WR));
	say("poll %s", bits(b));
	ask("send", send(b, "x", 1, MSG_NOSIGNAL));
	ask("read half", shutdown(b, SHUT_RD));
	say("poll %s", bits(b));
	ask("recv", take(b, 1, 0));
	EQ(send(a, "words", 5, 0), 5);
	say("poll %s", bits(b));
	ask("recv", take(b, 8, 0));
}

QUESTION(reuseport, ALONE)
{
	int a = made(AF_INET), b = made(AF_INET);
	ask("set", set_option(a, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(bind_local(a, AF_INET, 0));
	ask("without", bind_local(b, AF_INET, port_at(a)));
	OK(set_option(b, SOL_SOCKET, SO_REUSEPORT, 1));
	ask("with", bind_local(b, AF_INET, port_at(a)));
}

QUESTION(reuseaddr_last_one_gets_it, ALONE)
{
	int a = made(AF_INET), b = made(AF_INET);
	OK(set_option(a, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(set_option(b, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind_local(a, AF_INET, 0));
	ask("bind", bind_local(b, AF_INET, port_at(a)));
	send_to(made(AF_INET), AF_INET, port_at(a), "x");
	say("first %s, second %s", bits(a), bits(b));
}

static void say_control(int fd)
{
	char in[8], control[200];
	struct iovec v = { in, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 200 };
	ask("recvmsg", recvmsg(fd, &m, 0));
	say("control %zu", m.msg_controllen);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h != NULL; h = CMSG_NXTHDR(&m, h))
		say("level %d type %d, %zu bytes", h->cmsg_level, h->cmsg_type, h->cmsg_len);
}

QUESTION(control_of_v4, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	OK(set_option(a, IPPROTO_IP, IP_PKTINFO, 1));
	OK(set_option(a, IPPROTO_IP, IP_RECVTTL, 1));
	OK(set_option(a, IPPROTO_IP, IP_RECVTOS, 1));
	OK(set_option(b, IPPROTO_IP, IP_TOS, 0x10));
	EQ(send(b, "words", 5, 0), 5);
	say_control(a);
}

QUESTION(control_of_v6, ALONE)
{
	int a = bound(AF_INET6), b = connected_to(AF_INET6, port_at(a));
	OK(set_option(a, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	OK(set_option(a, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
	OK(set_option(a, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
	EQ(send(b, "words", 5, 0), 5);
	say_control(a);
}

QUESTION(timestamps, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	OK(set_option(a, SOL_SOCKET, SO_TIMESTAMP, 1));
	EQ(send(b, "words", 5, 0), 5);
	say_control(a);
	EQ(send(b, "words", 5, 0), 5);
	OK(set_option(a, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	say_control(a);
}

QUESTION(broadcast, ALONE)
{
	struct sockaddr_in all = { .sin_family = AF_INET, .sin_port = htons(9),
				   .sin_addr.s_addr = htonl(INADDR_BROADCAST) };
	int fd = made(AF_INET);
	ask("not allowed", connect(fd, (struct sockaddr *)&all, sizeof all));
	inet_pton(AF_INET, "127.255.255.255", &all.sin_addr);
	ask("of loopback", sendto(fd, "x", 1, 0, (struct sockaddr *)&all, sizeof all));
	OK(set_option(fd, SOL_SOCKET, SO_BROADCAST, 1));
	ask("allowed", sendto(fd, "x", 1, 0, (struct sockaddr *)&all, sizeof all));
}

QUESTION(multicast, ALONE)
{
	int a = made(AF_INET), b = made(AF_INET);
	struct ip_mreq group = { 0 };
	struct in_addr loopback_address = { htonl(INADDR_LOOPBACK) };
	inet_pton(AF_INET, "239.1.2.3", &group.imr_multiaddr);
	group.imr_interface = loopback_address;
	OK(bind(a, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET }, sizeof(struct sockaddr_in)));
	ask("join", setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	ask("join again", setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	ask("interface", setsockopt(b, IPPROTO_IP, IP_MULTICAST_IF, &loopback_address, sizeof loopback_address));
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port_at(a)),
				  .sin_addr = group.imr_multiaddr };
	ask("sendto", sendto(b, "words", 5, 0, (struct sockaddr *)&to, sizeof to));
	ask_bytes("recv", a, 8, MSG_DONTWAIT);
	ask("loop off", set_option(b, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
	ask("leave", setsockopt(a, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
	ask("leave again", setsockopt(a, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
}

QUESTION(mapped, ALONE)
{
	int four = bound(AF_INET), six = made(AF_INET6);
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port_at(four)) };
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr);
	ask("sendto", sendto(six, "words", 5, 0, (struct sockaddr *)&to, sizeof to));
	ask_bytes("recv", four, 8, MSG_DONTWAIT);
	ask("back", send_to(four, AF_INET, port_at(six), "back"));
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	char in[8];
	ask("recvfrom", recvfrom(six, in, 8, MSG_DONTWAIT, (struct sockaddr *)&address, &length));
	say("from %s", address_text(&address, length, port_at(four)));
}

QUESTION(segmentation, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	ask("set", set_option(b, IPPROTO_UDP, UDP_SEGMENT, 4));
	ask("send", send(b, "abcdefghij", 10, 0));
	for (int i = 0; i < 4; i++)
		ask_bytes("recv", a, 20, MSG_DONTWAIT);
}

QUESTION(cork, ALONE)
{
	int a = bound(AF_INET), b = connected_to(AF_INET, port_at(a));
	ask("more", send(b, "one ", 4, MSG_MORE));
	say("queue %d", queued(a));
	ask("rest", send(b, "datagram", 8, 0));
	ask_bytes("recv", a, 20, MSG_DONTWAIT);
}

QUESTION(error_queue, ALONE)
{
	int fd = made(AF_INET), port = unused_port(AF_INET);
	OK(set_option(fd, IPPROTO_IP, IP_RECVERR, 1));
	ask("sendto", send_to(fd, AF_INET, port, "words"));
	say("poll %s", bits(fd));
	char in[8], control[200];
	struct iovec v = { in, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 200 };
	ask("recvmsg", recvmsg(fd, &m, MSG_ERRQUEUE));
	say("flags %#x", m.msg_flags);
	say_end("then", fd);
}

QUESTION(waits, ALONE)
{
	int fd = bound(AF_INET);
	set_timeout(fd, SO_RCVTIMEO, 50);
	ask("recv", take(fd, 1, 0));
	set_timeout(fd, SO_RCVTIMEO, 0);
	signals_start(30, 0);
	ask("interrupted", take(fd, 1, 0));
	signals_stop();
}
