/* bind(2): which addresses may be taken, and by how many. */
#include <net/if.h>

#include "ask.h"

#define THEME "bind"

static int bind_to(int fd, int family, const char *host, int port)
{
	struct sockaddr_storage address;
	socklen_t length = local(family, port, &address);
	struct sockaddr_in *in = (struct sockaddr_in *)&address;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
	EQ(inet_pton(family, host, family == AF_INET ? (void *)&in->sin_addr : (void *)&in6->sin6_addr), 1);
	return bind(fd, (struct sockaddr *)&address, length);
}

static void say_name(int fd, int port)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	OK(getsockname(fd, (struct sockaddr *)&address, &length));
	say("%s", address_text(&address, length, port));
}

QUESTION(port_zero, ALONE)
{
	int fd = tcp4();
	ask("bind", bind_local(fd, AF_INET, 0));
	say_name(fd, 0);
	int other = tcp6();
	ask("bind", bind_local(other, AF_INET6, 0));
	say_name(other, 0);
}

QUESTION(named_port, ALONE)
{
	int port = closed_port(AF_INET), fd = tcp4();
	ask("bind", bind_local(fd, AF_INET, port));
	say_name(fd, port);
	say("poll %s, %s", bits(fd), state(fd));
}

QUESTION(twice, ALONE)
{
	int fd = tcp4();
	OK(bind_local(fd, AF_INET, 0));
	ask("same port", bind_local(fd, AF_INET, port_at(fd)));
	ask("other port", bind_local(fd, AF_INET, 0));
}

QUESTION(connected, STATES)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN));
	ask("bind", bind_local(c->fd, family, 0));
	exchange(c, 2);
}

QUESTION(after_connect_lost, ALONE)
{
	int fd = tcp4();
	ask("connect", connect_local(fd, AF_INET, closed_port(AF_INET)));
	ask("bind", bind_local(fd, AF_INET, 0));
	say_name(fd, 0);
}

QUESTION(listening, ALONE)
{
	int fd = tcp4();
	OK(listen(fd, 1));
	ask("bind", bind_local(fd, AF_INET, 0));
	say_name(fd, 0);
}

QUESTION(in_use_by_bound, ALONE)
{
	int a = tcp4(), b = tcp4();
	OK(bind_local(a, AF_INET, 0));
	ask("bind", bind_local(b, AF_INET, port_at(a)));
	OK(close(a));
}

QUESTION(in_use_by_listener, ALONE)
{
	int a = tcp4(), b = tcp4();
	OK(bind_local(a, AF_INET, 0));
	OK(listen(a, 1));
	ask("bind", bind_local(b, AF_INET, port_at(a)));
	int port = port_at(a);
	OK(close(a));
	ask("once it is closed", bind_local(b, AF_INET, port));
}

QUESTION(in_use_by_connection, STATES)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN)), port = port_at(c->fd);
	int b = (int)OK(socket(family, SOCK_STREAM, 0));
	ask("plain", bind_local(b, family, port));
	OK(set_option(b, SOL_SOCKET, SO_REUSEADDR, 1));
	ask("reusing", bind_local(b, family, port));
}

QUESTION(while_in_time_wait, IN_ONE)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN)), port = port_at(c->fd);
	OK(close(c->fd));
	OK(close(c->peer_fd));
	int b = (int)OK(socket(family, SOCK_STREAM, 0));
	ask("plain", bind_local(b, family, port));
	OK(set_option(b, SOL_SOCKET, SO_REUSEADDR, 1));
	ask("reusing", bind_local(b, family, port));
}

QUESTION(reuseaddr_both_bound, ALONE)
{
	int a = tcp4(), b = tcp4();
	OK(set_option(a, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(set_option(b, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind_local(a, AF_INET, 0));
	ask("bind", bind_local(b, AF_INET, port_at(a)));
	ask("listen", listen(a, 1));
	ask("listen of the other", listen(b, 1));
}

QUESTION(reuseaddr_against_listener, ALONE)
{
	int a = tcp4(), b = tcp4();
	OK(set_option(a, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(set_option(b, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind_local(a, AF_INET, 0));
	OK(listen(a, 1));
	ask("bind", bind_local(b, AF_INET, port_at(a)));
}

QUESTION(reuseaddr_of_one_only, ALONE)
{
	int a = tcp4(), b = tcp4();
	OK(set_option(b, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind_local(a, AF_INET, 0));
	ask("bind", bind_local(b, AF_INET, port_at(a)));
}

QUESTION(reuseport, ALONE)
{
	int a = tcp4(), b = tcp4(), d = tcp4();
	OK(set_option(a, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(set_option(b, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(bind_local(a, AF_INET, 0));
	OK(listen(a, 1));
	ask("with it", bind_local(b, AF_INET, port_at(a)));
	ask("listen", listen(b, 1));
	ask("without", bind_local(d, AF_INET, port_at(a)));
}

QUESTION(reuseport_set_too_late, ALONE)
{
	int a = tcp4(), b = tcp4();
	OK(bind_local(a, AF_INET, 0));
	ask("set", set_option(a, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(set_option(b, SOL_SOCKET, SO_REUSEPORT, 1));
	ask("bind", bind_local(b, AF_INET, port_at(a)));
}

QUESTION(reuseport_shares_connections, ALONE)
{
	int a = tcp4(), b = tcp4();
	OK(set_option(a, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(set_option(b, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(bind_local(a, AF_INET, 0));
	OK(listen(a, 100));
	OK(bind_local(b, AF_INET, port_at(a)));
	OK(listen(b, 100));
	set_nonblock(a, true);
	set_nonblock(b, true);
	for (int i = 0; i < 40; i++)
		OK(connect_local(tcp4(), AF_INET, port_at(a)));
	int at_a = 0, at_b = 0;
	while (accept(a, NULL, NULL) >= 0)
		at_a++;
	while (accept(b, NULL, NULL) >= 0)
		at_b++;
	say("all accepted %d, both had some %d", at_a + at_b == 40, at_a > 0 && at_b > 0);
}

QUESTION(any_then_specific, ALONE)
{
	int a = tcp4(), b = tcp4(), d = tcp4();
	OK(bind_to(a, AF_INET, "0.0.0.0", 0));
	ask("specific", bind_local(b, AF_INET, port_at(a)));
	ask("another loopback address", bind_to(d, AF_INET, "127.0.0.2", port_at(a)));
}

QUESTION(specific_then_any, ALONE)
{
	int a = tcp4(), b = tcp4();
	OK(bind_local(a, AF_INET, 0));
	OK(listen(a, 1));
	ask("any", bind_to(b, AF_INET, "0.0.0.0", port_at(a)));
	ask("another loopback address", bind_to(b, AF_INET, "127.0.0.2", port_at(a)));
	say_name(b, port_at(a));
}

QUESTION(any_shows_as_any, ALONE)
{
	int fd = tcp4();
	OK(bind_to(fd, AF_INET, "0.0.0.0", 0));
	say_name(fd, 0);
	OK(listen(fd, 1));
	int client = tcp4();
	ask("connect", connect_local(client, AF_INET, port_at(fd)));
	int served = (int)OK(accept(fd, NULL, NULL));
	say_name(served, port_at(fd));
}

QUESTION(dual_stack, ALONE)
{
	int six = tcp6(), four = tcp4();
	say("v6only %s", option(six, IPPROTO_IPV6, IPV6_V6ONLY));
	OK(bind_to(six, AF_INET6, "::", 0));
	ask("v4 any", bind_to(four, AF_INET, "0.0.0.0", port_at(six)));
	ask("v4 loopback", bind_local(four, AF_INET, port_at(six)));
	OK(listen(six, 1));
	int client = tcp4();
	ask("v4 connect", connect_local(client, AF_INET, port_at(six)));
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	int served = (int)OK(accept(six, (struct sockaddr *)&address, &length));
	say("from %s", address_text(&address, length, port_at(client)));
	say_name(served, port_at(six));
}

QUESTION(v6only, ALONE)
{
	int six = tcp6(), four = tcp4(), client = tcp4();
	OK(set_option(six, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	OK(bind_to(six, AF_INET6, "::", 0));
	OK(listen(six, 1));
	ask("v4 connect", connect_local(client, AF_INET, port_at(six)));
	ask("v4 bind", bind_local(four, AF_INET, port_at(six)));
	ask("v6only once bound", set_option(six, IPPROTO_IPV6, IPV6_V6ONLY, 0));
}

QUESTION(mapped_address, ALONE)
{
	int six = tcp6(), only = tcp6(), four = tcp4();
	ask("mapped", bind_to(six, AF_INET6, "::ffff:127.0.0.1", 0));
	say_name(six, 0);
	OK(set_option(only, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	ask("mapped with v6only", bind_to(only, AF_INET6, "::ffff:127.0.0.1", 0));
	ask("the same in v4", bind_local(four, AF_INET, port_at(six)));
	ask("v6 loopback, same port", bind_local(tcp6(), AF_INET6, port_at(six)));
}

QUESTION(v4_and_v6_loopback_on_one_port, ALONE)
{
	int four = tcp4(), six = tcp6();
	OK(bind_local(four, AF_INET, 0));
	ask("v6", bind_local(six, AF_INET6, port_at(four)));
	ask("listen v4", listen(four, 1));
	ask("listen v6", listen(six, 1));
}

QUESTION(not_local, ALONE)
{
	ask("v4", bind_to(tcp4(), AF_INET, "192.0.2.1", 0));
	ask("v6", bind_to(tcp6(), AF_INET6, "2001:db8::1", 0));
	ask("multicast", bind_to(tcp4(), AF_INET, "224.0.0.1", 0));
	ask("broadcast", bind_to(tcp4(), AF_INET, "255.255.255.255", 0));
	ask("link local without scope", bind_to(tcp6(), AF_INET6, "fe80::1", 0));
	int fd = tcp4();
	OK(set_option(fd, IPPROTO_IP, IP_FREEBIND, 1));
	ask("freebind", bind_to(fd, AF_INET, "192.0.2.1", 0));
	say_name(fd, 0);
}

QUESTION(bad_length, ALONE)
{
	struct sockaddr_storage address;
	socklen_t length = local(AF_INET, 0, &address);
	struct sockaddr *a = (struct sockaddr *)&address;
	ask("0", bind(tcp4(), a, 0));
	ask("2", bind(tcp4(), a, 2));
	ask("15", bind(tcp4(), a, length - 1));
	ask("128", bind(tcp4(), a, sizeof address));
	ask("129", bind(tcp4(), a, sizeof address + 1));
	ask("negative", bind(tcp4(), a, (socklen_t)-1));
	local(AF_INET6, 0, &address);
	ask("v6 16", bind(tcp6(), a, 16));
	ask("v6 24", bind(tcp6(), a, 24));
	ask("v6 27", bind(tcp6(), a, 27));
}

QUESTION(bad_family, ALONE)
{
	struct sockaddr_storage address;
	socklen_t length = local(AF_INET, 0, &address);
	struct sockaddr *a = (struct sockaddr *)&address;
	ask("v4 address, v6 socket", bind(tcp6(), a, length));
	ask("v4 address, v6 socket, long", bind(tcp6(), a, sizeof address));
	a->sa_family = AF_UNSPEC;
	ask("unspecified loopback", bind(tcp4(), a, length));
	((struct sockaddr_in *)a)->sin_addr.s_addr = 0;
	ask("unspecified any", bind(tcp4(), a, length));
	a->sa_family = AF_UNIX;
	ask("unix", bind(tcp4(), a, length));
	ask("v6 address, v4 socket", bind_local(tcp4(), AF_INET6, 0));
}

QUESTION(bad_pointer, ALONE)
{
	ask("null", bind(tcp4(), NULL, 16));
	ask("wild", bind(tcp4(), WILD, 16));
	ask("null of no length", bind(tcp4(), NULL, 0));
}

QUESTION(low_port, ALONE)
{
	ask("as root or not", bind_local(tcp4(), AF_INET, 1));
	int fd = tcp4();
	if (geteuid() == 0)
		OK(setresuid(65534, 65534, 65534));
	int port = atoi("1023");
	ask("as nobody", bind_local(fd, AF_INET, port));
}

QUESTION(scope_of_loopback, ALONE)
{
	struct sockaddr_storage address;
	socklen_t length = local(AF_INET6, 0, &address);
	((struct sockaddr_in6 *)&address)->sin6_scope_id = if_nametoindex("lo");
	ask("lo", bind(tcp6(), (struct sockaddr *)&address, length));
	((struct sockaddr_in6 *)&address)->sin6_scope_id = 9999;
	ask("no such", bind(tcp6(), (struct sockaddr *)&address, length));
}

QUESTION(then_connect_keeps_the_port, ALONE)
{
	int server = tcp4(), client = tcp4();
	OK(bind_local(server, AF_INET, 0));
	OK(listen(server, 1));
	OK(bind_to(client, AF_INET, "127.0.0.9", 0));
	int port = port_at(client);
	ask("connect", connect_local(client, AF_INET, port_at(server)));
	say_name(client, port);
}

QUESTION(bind_address_no_port, ALONE)
{
	int server = tcp4(), client = tcp4();
	OK(bind_local(server, AF_INET, 0));
	OK(listen(server, 1));
	ask("set", set_option(client, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
	ask("bind", bind_local(client, AF_INET, 0));
	say_name(client, 0);
	ask("connect", connect_local(client, AF_INET, port_at(server)));
	say_name(client, 0);
}
