/* connect(2): to nobody, twice, without waiting, and away again. */
#include "ask.h"

#define THEME "connect"

static int listener_at(int family, int *port)
{
	int fd = (int)OK(socket(family, SOCK_STREAM, 0));
	OK(bind_local(fd, family, 0));
	OK(listen(fd, 20));
	*port = port_at(fd);
	return fd;
}

static int nonblocking(int family)
{
	return (int)OK(socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

static int connect_raw(int fd, const void *address, socklen_t length)
{
	return connect(fd, address, length);
}

static int disconnect(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	return connect_raw(fd, &none, sizeof none);
}

static void say_names(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	OK(getsockname(fd, (struct sockaddr *)&address, &length));
	say("name %s", address_text(&address, length, 0));
	length = sizeof address;
	ask("getpeername", getpeername(fd, (struct sockaddr *)&address, &length));
}

static void refused(int family)
{
	int fd = (int)OK(socket(family, SOCK_STREAM, 0)), port = closed_port(family);
	ask("connect", connect_local(fd, family, port));
	say_end("poll", fd);
	say_names(fd);
	ask("send", send(fd, "x", 1, MSG_NOSIGNAL));
	ask("recv", take(fd, 1, 0));
	ask("again", connect_local(fd, family, port));
	int listener = listener_at(family, &port);
	ask("to a listener", connect_local(fd, family, port));
	say("accept %d", accept(listener, NULL, NULL) >= 0);
}

QUESTION(refused, ALONE)
{
	refused(AF_INET);
}

QUESTION(refused6, ALONE)
{
	refused(AF_INET6);
}

QUESTION(refused_without_waiting, ALONE)
{
	int fd = nonblocking(AF_INET), port = closed_port(AF_INET);
	ask("connect", connect_local(fd, AF_INET, port));
	say("poll %s, %s", bits(fd), state(fd));
	say("error %s", pending(fd));
	say("then %s", pending(fd));
	say("poll %s", bits(fd));
	ask("connect", connect_local(fd, AF_INET, port));
	ask("connect", connect_local(fd, AF_INET, port));
	ask("send", send(fd, "x", 1, MSG_NOSIGNAL));
	ask("recv", take(fd, 1, 0));
	ask("recv", take(fd, 1, 0));
}

QUESTION(without_waiting, ALONE)
{
	int port, listener = listener_at(AF_INET, &port), fd = nonblocking(AF_INET);
	ask("connect", connect_local(fd, AF_INET, port));
	say("poll %s, %s", bits(fd), state(fd));
	ask("connect", connect_local(fd, AF_INET, port));
	ask("connect", connect_local(fd, AF_INET, port));
	say("error %s", pending(fd));
	ask("recv", take(fd, 1, 0));
	int served = (int)OK(accept(listener, NULL, NULL));
	ask("send", send(fd, "hello", 5, 0));
	ask_bytes("there", served, 10, 0);
}

QUESTION(connected_already, STATES & STREAMS)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN)), port;
	struct sockaddr_storage peer;
	socklen_t length = sizeof peer;
	OK(getpeername(c->fd, (struct sockaddr *)&peer, &length));
	ask("same", connect_raw(c->fd, &peer, length));
	listener_at(family, &port);
	ask("other", connect_local(c->fd, family, port));
	set_nonblock(c->fd, true);
	ask("nonblocking", connect_local(c->fd, family, port));
	set_nonblock(c->fd, false);
	exchange(c, 2);
}

QUESTION(after_peer_closed, STATES)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN)), port;
	listener_at(family, &port);
	OK(peer_close(c));
	say("poll %s", bits(c->fd));
	ask("connect", connect_local(c->fd, family, port));
}

QUESTION(after_shutdown, STATES)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN)), port;
	listener_at(family, &port);
	OK(shutdown(c->fd, SHUT_RDWR));
	ask("connect", connect_local(c->fd, family, port));
	OK(peer_close(c));
	say("state %s", state(c->fd));
	ask("once both have closed", connect_local(c->fd, family, port));
}

QUESTION(disconnect, STATES)
{
	ask("connect", disconnect(c->fd));
	say_end("poll", c->fd);
	say_names(c->fd);
	ask("send", send(c->fd, "x", 1, MSG_NOSIGNAL));
	ask("recv", take(c->fd, 1, MSG_DONTWAIT));
	say("there %s, %s", there_bits(c), there_state(c));
	ask("there recv", peer_recv(c, &(char){ 0 }, 1, MSG_DONTWAIT));
	ask("there recv", peer_recv(c, &(char){ 0 }, 1, MSG_DONTWAIT));
}

QUESTION(disconnect_with_bytes_under_way, STATES)
{
	char in[8];
	ask("send", send(c->fd, "mine", 4, 0));
	ask("there send", peer_send(c, "theirs", 6, 0));
	say("queue %d", arrived(c->fd, 6));
	ask("connect", disconnect(c->fd));
	say("queue %d, poll %s", queued(c->fd), bits(c->fd));
	ask("recv", take(c->fd, 8, MSG_DONTWAIT));
	ask("there recv", peer_recv(c, in, 4, 0));
}

QUESTION(disconnect_then_connect, STATES & OF_TCP)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN)), port;
	int listener = listener_at(family, &port);
	OK(disconnect(c->fd));
	ask("connect", connect_local(c->fd, family, port));
	int served = (int)OK(accept(listener, NULL, NULL));
	for (int i = 0; i < 10; i++) {
		char in[8];
		EQ(send_all(c->fd, "ping", 4), 4);
		EQ(recv_all(served, in, 4), 4);
		EQ(send_all(served, "pong", 4), 4);
		EQ(recv_all(c->fd, in, 4), 4);
	}
	say("talks, %s, %s", bits(c->fd), state(c->fd));
	OK(close(served));
	ask_bytes("recv", c->fd, 8, 0);
	say("there %s", there_bits(c));
}

QUESTION(disconnect_then_listen, IN_ONE & OF_TCP)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN));
	OK(disconnect(c->fd));
	ask("listen", listen(c->fd, 1));
	int client = (int)OK(socket(family, SOCK_STREAM, 0));
	ask("connect", connect_local(client, family, port_at(c->fd)));
	say("accept %d", accept(c->fd, NULL, NULL) >= 0);
}

QUESTION(disconnect_others, ALONE)
{
	int port, listener = listener_at(AF_INET, &port);
	ask("unconnected", disconnect(tcp4()));
	ask("listener", disconnect(listener));
	say("still listening %s", option(listener, SOL_SOCKET, SO_ACCEPTCONN));
	int pair[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ask("unix stream", disconnect(pair[0]));
}

QUESTION(to_itself, ALONE)
{
	int fd = tcp4(), port = closed_port(AF_INET);
	OK(bind_local(fd, AF_INET, port));
	ask("connect", connect_local(fd, AF_INET, port));
	say("poll %s, %s", bits(fd), state(fd));
	for (int i = 0; i < 5; i++) {
		ask("send", send(fd, "hello", 5, MSG_NOSIGNAL));
		ask_bytes("recv", fd, 10, 0);
	}
	say("poll %s, queue %d", bits(fd), queued(fd));
	ask("shutdown", shutdown(fd, SHUT_WR));
	say("poll %s, %s", bits(fd), state(fd));
	ask("recv", take(fd, 1, MSG_DONTWAIT));
}

QUESTION(both_at_once, ALONE)
{
	int a = nonblocking(AF_INET), b = nonblocking(AF_INET);
	OK(bind_local(a, AF_INET, 0));
	OK(bind_local(b, AF_INET, 0));
	ask("a to b", connect_local(a, AF_INET, port_at(b)));
	ask("b to a", connect_local(b, AF_INET, port_at(a)));
	say_end("a", a);
	say_end("b", b);
}

QUESTION(bad_family, ALONE)
{
	struct sockaddr_storage address;
	socklen_t length = local(AF_INET6, 1, &address);
	ask("v6 address, v4 socket", connect_raw(tcp4(), &address, length));
	length = local(AF_INET, closed_port(AF_INET), &address);
	ask("v4 address, v6 socket", connect_raw(tcp6(), &address, length));
	address.ss_family = AF_UNIX;
	ask("unix address, v4 socket", connect_raw(tcp4(), &address, length));
	ask("unix address, v6 socket", connect_raw(tcp6(), &address, sizeof address));
}

QUESTION(bad_length, ALONE)
{
	struct sockaddr_storage address;
	local(AF_INET, closed_port(AF_INET), &address);
	int sizes[] = { 0, 1, 2, 15, 16, 128, 129, -1 };
	for (int i = 0; i < 8; i++)
		ask("v4", connect_raw(tcp4(), &address, (socklen_t)sizes[i]));
	local(AF_INET6, closed_port(AF_INET6), &address);
	int sizes6[] = { 2, 16, 23, 24, 28, 128 };
	for (int i = 0; i < 6; i++)
		ask("v6", connect_raw(tcp6(), &address, (socklen_t)sizes6[i]));
}

QUESTION(bad_pointer, ALONE)
{
	ask("null", connect_raw(tcp4(), NULL, 16));
	ask("wild", connect_raw(tcp4(), WILD, 16));
	ask("null of no length", connect_raw(tcp4(), NULL, 0));
}

QUESTION(bad_pointer_when_connected, STATES)
{
	ask("null", connect_raw(c->fd, NULL, 16));
	ask("wild", connect_raw(c->fd, WILD, 16));
	ask("no length", connect_raw(c->fd, NULL, 0));
	exchange(c, 2);
}

static void connect_to_host(const char *host, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	EQ(inet_pton(AF_INET, host, &address.sin_addr), 1);
	int fd = nonblocking(AF_INET);
	say("%s %s", host, result(connect_raw(fd, &address, sizeof address)));
	say_end("poll", fd);
}

QUESTION(far_addresses, ALONE)
{
	connect_to_host("192.0.2.1", 9);
	connect_to_host("224.0.0.1", 9);
	connect_to_host("255.255.255.255", 9);
	connect_to_host("127.0.0.1", 0);
}

QUESTION(any_means_this_machine, ALONE)
{
	int port, listener = listener_at(AF_INET, &port), fd = tcp4();
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	ask("connect", connect_raw(fd, &any, sizeof any));
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	OK(getpeername(fd, (struct sockaddr *)&address, &length));
	say("peer %s", address_text(&address, length, port));
	OK(accept(listener, NULL, NULL));
	int six = listener_at(AF_INET6, &port), fd6 = tcp6();
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	ask("v6", connect_raw(fd6, &any6, sizeof any6));
	length = sizeof address;
	OK(getpeername(fd6, (struct sockaddr *)&address, &length));
	say("peer %s", address_text(&address, length, port));
	OK(accept(six, NULL, NULL));
}

QUESTION(from_any_other_loopback_address, ALONE)
{
	int port, listener = listener_at(AF_INET, &port), fd = tcp4();
	struct sockaddr_in away = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000507) };
	OK(bind(fd, (struct sockaddr *)&away, sizeof away));
	ask("connect", connect_local(fd, AF_INET, port));
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	int served = (int)OK(accept(listener, (struct sockaddr *)&address, &length));
	say("from %s", address_text(&address, length, port_at(fd)));
	warm_up_fds(fd, served);
	say("poll %s", bits(fd));
}

QUESTION(v6only_to_mapped, ALONE)
{
	int port, six = tcp6();
	listener_at(AF_INET, &port);
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
	ask("mapped", connect_raw(six, &mapped, sizeof mapped));
	six = tcp6();
	OK(set_option(six, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	ask("v6only", connect_raw(six, &mapped, sizeof mapped));
}

QUESTION(in_progress_everything, ALONE)
{
	int port, full = tcp4();
	OK(bind_local(full, AF_INET, 0));
	OK(listen(full, 0));
	port = port_at(full);
	OK(connect_local(tcp4(), AF_INET, port));
	int fd = nonblocking(AF_INET);
	ask("connect", connect_local(fd, AF_INET, port));
	say_end("poll", fd);
	ask("connect", connect_local(fd, AF_INET, port));
	ask("send", send(fd, "x", 1, MSG_NOSIGNAL));
	ask("recv", take(fd, 1, 0));
	say_names(fd);
	ask("listen", listen(fd, 1));
	ask("bind", bind_local(fd, AF_INET, 0));
	ask("shutdown", shutdown(fd, SHUT_WR));
	say("poll %s, %s", bits(fd), state(fd));
	ask("send", send(fd, "x", 1, MSG_NOSIGNAL));
}

QUESTION(in_progress_abandoned, ALONE)
{
	int full = tcp4();
	OK(bind_local(full, AF_INET, 0));
	OK(listen(full, 0));
	OK(connect_local(tcp4(), AF_INET, port_at(full)));
	int fd = nonblocking(AF_INET);
	ask("connect", connect_local(fd, AF_INET, port_at(full)));
	ask("disconnect", disconnect(fd));
	say_end("poll", fd);
	int port;
	listener_at(AF_INET, &port);
	ask("elsewhere", connect_local(fd, AF_INET, port));
	say("poll %s, %s", bits(fd), state(fd));
}

QUESTION(fast_open_client, ALONE)
{
	int port, listener = listener_at(AF_INET, &port), fd = tcp4();
	ask("listener queue", set_option(listener, IPPROTO_TCP, TCP_FASTOPEN, 5));
	ask("TCP_FASTOPEN_CONNECT", set_option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
	ask("connect", connect_local(fd, AF_INET, port));
	ask("send", send(fd, "hello", 5, 0));
	int served = (int)OK(accept(listener, NULL, NULL));
	ask_bytes("there", served, 10, 0);
	ask("answer", send(served, "answer", 6, 0));
	ask_bytes("here", fd, 10, 0);
}

QUESTION(fast_open_sendto, ALONE)
{
	int port, listener = listener_at(AF_INET, &port), fd = tcp4();
	struct sockaddr_storage address;
	socklen_t length = local(AF_INET, port, &address);
	ask("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&address, length));
	int served = (int)OK(accept(listener, NULL, NULL));
	ask_bytes("there", served, 10, 0);
	ask("again", sendto(fd, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&address, length));
	ask("answer", send(served, "answer", 6, 0));
	ask_bytes("here", fd, 10, 0);
}
