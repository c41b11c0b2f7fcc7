/* listen(2) and accept(2): the queue, what the new socket has from the old one, and what it has not. */
#include "ask.h"

#define THEME "accept"

struct server {
	int fd, port, family;
};

static struct server listening(int family, int backlog)
{
	struct server s = { .family = family };
	s.fd = (int)OK(socket(family, SOCK_STREAM, 0));
	OK(bind_local(s.fd, family, 0));
	OK(listen(s.fd, backlog));
	s.port = port_at(s.fd);
	return s;
}

static int client_of(const struct server *s)
{
	int fd = (int)OK(socket(s->family, SOCK_STREAM, 0));
	OK(connect_local(fd, s->family, s->port));
	return fd;
}

static const char *made(long fd)
{
	return fd < 0 ? result(fd) : "made";
}

QUESTION(listen_says, ALONE)
{
	int fd = tcp4();
	say("before %s, %s, %s", bits(fd), state(fd), option(fd, SOL_SOCKET, SO_ACCEPTCONN));
	ask("listen", listen(fd, 5));
	say("after %s, %s, %s", bits(fd), state(fd), option(fd, SOL_SOCKET, SO_ACCEPTCONN));
	ask("again with another backlog", listen(fd, 0));
	ask("and a negative one", listen(fd, -1));
	struct server s = listening(AF_INET6, 0);
	client_of(&s);
	say("with a client %s, %s", bits(s.fd), state(s.fd));
}

QUESTION(listen_on_connection, STATES)
{
	ask("listen", listen(c->fd, 5));
	ask("accept", accept(c->fd, NULL, NULL));
	say_both("still", c);
	exchange(c, 2);
}

QUESTION(listen_on_others, ALONE)
{
	int pair[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ask("udp", listen(socket(AF_INET, SOCK_DGRAM, 0), 1));
	ask("unbound unix", listen(socket(AF_UNIX, SOCK_STREAM, 0), 1));
	ask("connected unix", listen(pair[0], 1));
	ask("accept on udp", accept(socket(AF_INET, SOCK_DGRAM, 0), NULL, NULL));
	ask("accept on unix", accept(pair[0], NULL, NULL));
}

QUESTION(accept_on_unbound, ALONE)
{
	ask("accept", accept(tcp4(), NULL, NULL));
	int fd = tcp4();
	OK(bind_local(fd, AF_INET, 0));
	ask("accept bound", accept(fd, NULL, NULL));
}

QUESTION(nothing_to_accept, ALONE)
{
	struct server s = listening(AF_INET, 1);
	set_nonblock(s.fd, true);
	ask("nonblocking", accept(s.fd, NULL, NULL));
	set_nonblock(s.fd, false);
	set_timeout(s.fd, SO_RCVTIMEO, 60);
	ask("with a timeout", accept(s.fd, NULL, NULL));
}

QUESTION(accept4_flags, ALONE)
{
	struct server s = listening(AF_INET, 10);
	int flags[] = { 0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK };
	for (int i = 0; i < 4; i++) {
		client_of(&s);
		int fd = (int)OK(accept4(s.fd, NULL, NULL, flags[i]));
		say("cloexec %lld nonblock %d", OK(fcntl(fd, F_GETFD)), is_nonblock(fd));
	}
	ask("unknown flag", accept4(s.fd, NULL, NULL, 1));
	ask("all flags", accept4(s.fd, NULL, NULL, -1));
	ask("socket type", accept4(s.fd, NULL, NULL, SOCK_STREAM));
}

QUESTION(flags_of_listener_are_not_inherited, ALONE)
{
	struct server s = listening(AF_INET, 10);
	OK(fcntl(s.fd, F_SETFD, FD_CLOEXEC));
	client_of(&s);
	OK(poll_until(s.fd, POLLIN, POLLIN));
	OK(fcntl(s.fd, F_SETFL, O_NONBLOCK | O_ASYNC | O_APPEND));
	OK(fcntl(s.fd, F_SETOWN, getpid()));
	int fd = accept(s.fd, NULL, NULL);
	long flags = OK(fcntl(fd, F_GETFL));
	say("nonblock %d async %d append %d", !!(flags & O_NONBLOCK), !!(flags & O_ASYNC),
	    !!(flags & O_APPEND));
	say("cloexec %lld", OK(fcntl(fd, F_GETFD)));
	ask("owner", fcntl(fd, F_GETOWN));
}

QUESTION(options_are_inherited, ALONE)
{
	static const struct {
		const char *name;
		int level, option, value;
	} options[] = {
		{ "keepalive", SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ "reuseaddr", SOL_SOCKET, SO_REUSEADDR, 1 },
		{ "oobinline", SOL_SOCKET, SO_OOBINLINE, 1 },
		{ "dontroute", SOL_SOCKET, SO_DONTROUTE, 1 },
		{ "priority", SOL_SOCKET, SO_PRIORITY, 4 },
		{ "rcvbuf", SOL_SOCKET, SO_RCVBUF, 40000 },
		{ "sndbuf", SOL_SOCKET, SO_SNDBUF, 50000 },
		{ "rcvlowat", SOL_SOCKET, SO_RCVLOWAT, 2 },
		{ "nodelay", IPPROTO_TCP, TCP_NODELAY, 1 },
		{ "cork", IPPROTO_TCP, TCP_CORK, 1 },
		{ "keepidle", IPPROTO_TCP, TCP_KEEPIDLE, 77 },
		{ "keepcnt", IPPROTO_TCP, TCP_KEEPCNT, 3 },
		{ "user timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 999 },
		{ "defer", IPPROTO_TCP, TCP_DEFER_ACCEPT, 0 },
		{ "tos", IPPROTO_IP, IP_TOS, 0x10 },
		{ "ttl", IPPROTO_IP, IP_TTL, 9 },
	};
	struct server s = listening(AF_INET, 10);
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		OK(set_option(s.fd, options[i].level, options[i].option, options[i].value));
	client_of(&s);
	int fd = (int)OK(accept(s.fd, NULL, NULL));
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		say("%s %s", options[i].name, option(fd, options[i].level, options[i].option));
}

QUESTION(timeouts_and_linger_are_inherited, ALONE)
{
	struct server s = listening(AF_INET, 10);
	struct linger linger = { 1, 3 };
	set_timeout(s.fd, SO_RCVTIMEO, 60);
	set_timeout(s.fd, SO_SNDTIMEO, 60);
	OK(setsockopt(s.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
	client_of(&s);
	int fd = (int)OK(accept(s.fd, NULL, NULL));
	struct timeval time;
	socklen_t size = sizeof time;
	OK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, &size));
	say("receive %d ms", (int)(time.tv_usec / 1000));
	size = sizeof linger;
	OK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size));
	say("linger %d %d", linger.l_onoff, linger.l_linger);
	ask("recv", take(fd, 1, 0));
}

QUESTION(address_cut_short, ALONE)
{
	struct server s = listening(AF_INET, 10), six = listening(AF_INET6, 10);
	socklen_t sizes[] = { 0, 1, 4, 16, 28, 100 };
	for (int i = 0; i < 6; i++) {
		unsigned char bytes[128];
		memset(bytes, 0xee, sizeof bytes);
		client_of(&s);
		socklen_t length = sizes[i];
		OK(accept(s.fd, (struct sockaddr *)bytes, &length));
		say("%u bytes, next untouched %d", length, bytes[sizes[i]] == 0xee);
		client_of(&six);
		length = sizes[i];
		OK(accept(six.fd, (struct sockaddr *)bytes, &length));
		say("v6 %u", length);
	}
}

QUESTION(address_pointers, ALONE)
{
	struct server s = listening(AF_INET, 10);
	set_nonblock(s.fd, true);
	struct sockaddr_storage address;
	socklen_t length = sizeof address, negative = (socklen_t)-5;
	struct sockaddr *a = (struct sockaddr *)&address;
	ask("nothing there, wild", accept(s.fd, WILD, &length));
	client_of(&s);
	ask("wild", accept(s.fd, WILD, &length));
	client_of(&s);
	ask("length wild", accept(s.fd, a, WILD));
	client_of(&s);
	ask("length null", accept(s.fd, a, NULL));
	client_of(&s);
	ask("length negative", accept(s.fd, a, &negative));
	client_of(&s);
	say("address null %s", made(accept(s.fd, NULL, &length)));
	int left = 0;
	while (accept(s.fd, NULL, NULL) >= 0)
		left++;
	say("left in the queue %d", left);
}

QUESTION(client_closed_before, ALONE)
{
	struct server s = listening(AF_INET, 10);
	int client = client_of(&s);
	EQ(send(client, "early", 5, 0), 5);
	OK(close(client));
	say("listener %s", bits(s.fd));
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	int fd = accept(s.fd, (struct sockaddr *)&address, &length);
	say("%s, %s", made(fd), address_text(&address, length, 0));
	say("poll %s, %s", bits(fd), state(fd));
	ask_bytes("recv", fd, 10, 0);
	ask_bytes("recv", fd, 10, 0);
	ask("getpeername", getpeername(fd, (struct sockaddr *)&address, &length));
}

QUESTION(client_reset_before, ALONE)
{
	struct server s = listening(AF_INET, 10);
	int client = client_of(&s);
	EQ(send(client, "early", 5, 0), 5);
	close_with_reset(client);
	say("listener %s", bits(s.fd));
	int fd = accept(s.fd, NULL, NULL);
	say("%s", made(fd));
	say("poll %s, %s", bits(fd), state(fd));
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	ask("getpeername", getpeername(fd, (struct sockaddr *)&address, &length));
	ask_bytes("recv", fd, 10, 0);
	ask_bytes("recv", fd, 10, 0);
}

QUESTION(client_spoke_before, ALONE)
{
	struct server s = listening(AF_INET6, 10);
	int client = client_of(&s);
	EQ(send(client, "early", 5, 0), 5);
	OK(shutdown(client, SHUT_WR));
	int fd = (int)OK(accept(s.fd, NULL, NULL));
	say("queue %d, poll %s, %s", arrived(fd, 5), bits(fd), state(fd));
	ask_bytes("recv", fd, 10, 0);
	ask_bytes("recv", fd, 10, 0);
	ask("send", send(fd, "late", 4, 0));
	ask_bytes("client", client, 10, 0);
}

QUESTION(order_is_that_of_connecting, ALONE)
{
	struct server s = listening(AF_INET, 10);
	int clients[5], same = 0;
	for (int i = 0; i < 5; i++)
		clients[i] = client_of(&s);
	for (int i = 0; i < 5; i++) {
		struct sockaddr_storage address;
		socklen_t length = sizeof address;
		OK(accept(s.fd, (struct sockaddr *)&address, &length));
		same += port_of(&address) == port_at(clients[i]);
	}
	say("in order %d", same);
}

QUESTION(backlog_full, ALONE)
{
	struct server s = listening(AF_INET, 1);
	int connected = 0, last = -1;
	for (; connected < 5; connected++) {
		last = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
		int r = connect_local(last, AF_INET, s.port);
		if (r < 0 && poll_one(last, POLLOUT, 100) == 0)
			break;
	}
	say("connected at once %d", connected);
	say("the next %s, %s", bits(last), state(last));
	ask("its send", send(last, "x", 1, MSG_NOSIGNAL));
	ask("its connect", connect_local(last, AF_INET, s.port));
	while (connected-- > 0)
		OK(accept(s.fd, NULL, NULL));
	say("once there is room %s", poll_bits(poll_one(last, POLLOUT, 4000)));
}

QUESTION(backlog_full_send_timeout, ALONE)
{
	struct server s = listening(AF_INET, 0);
	client_of(&s);
	int fd = tcp4();
	set_timeout(fd, SO_SNDTIMEO, 100);
	ask("connect", connect_local(fd, AF_INET, s.port));
	ask("again", connect_local(fd, AF_INET, s.port));
	say_end("poll", fd);
}

QUESTION(listener_shut_down, ALONE)
{
	struct server s = listening(AF_INET, 10);
	client_of(&s);
	ask("write half", shutdown(s.fd, SHUT_WR));
	say("poll %s, %s", bits(s.fd), state(s.fd));
	ask("read half", shutdown(s.fd, SHUT_RD));
	say("poll %s, %s", bits(s.fd), state(s.fd));
	ask("accept", accept(s.fd, NULL, NULL));
	say("listening %s", option(s.fd, SOL_SOCKET, SO_ACCEPTCONN));
	ask("connect", connect_local(tcp4(), AF_INET, s.port));
	ask("listen again", listen(s.fd, 5));
	ask("connect", connect_local(tcp4(), AF_INET, port_at(s.fd)));
	say("accept %s", made(accept(s.fd, NULL, NULL)));
}

QUESTION(listener_shut_down_resets_the_queue, ALONE)
{
	struct server s = listening(AF_INET, 10);
	int client = client_of(&s);
	OK(shutdown(s.fd, SHUT_RDWR));
	say("client %s, %s", bits(client), state(client));
	ask("recv", take(client, 1, 0));
}

static long accept_it(int fd)
{
	return accept(fd, NULL, NULL);
}

static void *shut_down_soon(void *fd)
{
	sleep_ms(60);
	shutdown(*(int *)fd, SHUT_RDWR);
	return NULL;
}

QUESTION(listener_shut_down_wakes_accept, ALONE)
{
	struct server s = listening(AF_INET, 10);
	pthread_t thread;
	EQ(pthread_create(&thread, NULL, shut_down_soon, &s.fd), 0);
	long answer;
	if (waits(accept_it, s.fd, &answer))
		say("accept waits");
	else
		ask("accept", answer);
}

QUESTION(listener_closed_resets_the_queue, ALONE)
{
	struct server s = listening(AF_INET, 10);
	int idle = client_of(&s), spoke = client_of(&s);
	EQ(send(spoke, "x", 1, 0), 1);
	OK(close(s.fd));
	say("idle %s, %s", bits(idle), state(idle));
	say("spoke %s, %s", bits(spoke), state(spoke));
	ask("recv", take(idle, 1, 0));
	ask("recv", take(spoke, 1, 0));
	ask("send", send(idle, "x", 1, MSG_NOSIGNAL));
	ask("connect", connect_local(tcp4(), AF_INET, s.port));
}

QUESTION(listener_closed_leaves_the_accepted, STATES)
{
	exchange(c, 3); /* their listener has been closed */
	say_both("still", c);
}

QUESTION(listener_duplicated, ALONE)
{
	struct server s = listening(AF_INET, 10);
	int twin = (int)OK(dup(s.fd));
	OK(close(s.fd));
	ask("connect", connect_local(tcp4(), AF_INET, s.port));
	say("poll %s", bits(twin));
	say("accept %s", made(accept(twin, NULL, NULL)));
}

QUESTION(listener_options_after, ALONE)
{
	struct server s = listening(AF_INET, 10);
	ask("connect", connect_local(s.fd, AF_INET, s.port));
	ask("send", send(s.fd, "x", 1, MSG_NOSIGNAL));
	ask("recv", take(s.fd, 1, 0));
	ask("read", read(s.fd, &s, 1));
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	ask("getpeername", getpeername(s.fd, (struct sockaddr *)&address, &length));
	int n;
	ask("FIONREAD", ioctl(s.fd, FIONREAD, &n));
	ask("TIOCOUTQ", ioctl(s.fd, TIOCOUTQ, &n));
	ask("sockatmark", sockatmark(s.fd));
	say("error %s", pending(s.fd));
}

QUESTION(accepted_in_a_child, ALONE)
{
	struct server s = listening(AF_INET, 10);
	pid_t child = OK(fork());
	if (child == 0) {
		int fd = accept(s.fd, NULL, NULL);
		char in[8];
		for (int i = 0; i < 10; i++)
			if (recv_all(fd, in, 4) != 4 || send_all(fd, "pong", 4) != 4)
				_exit(1);
		_exit(7);
	}
	OK(close(s.fd));
	int fd = tcp4();
	OK(connect_local(fd, AF_INET, s.port));
	char in[8] = { 0 };
	for (int i = 0; i < 10; i++) {
		send_all(fd, "ping", 4);
		recv_all(fd, in, 4);
	}
	say("'%s', %s", in, fate(child));
	say("poll %s", bits(fd));
}

QUESTION(defer_accept, ALONE)
{
	struct server s = listening(AF_INET, 10);
	OK(set_option(s.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5));
	int client = client_of(&s);
	say("client %s, %s; listener %s", bits(client), state(client), bits(s.fd));
	EQ(send(client, "hello", 5, 0), 5);
	say("listener %s", poll_bits(poll_one(s.fd, POLLIN, 1000)));
	int fd = (int)OK(accept(s.fd, NULL, NULL));
	say("queue %d", arrived(fd, 5));
	ask_bytes("recv", fd, 10, 0);
	EQ(send(fd, "answer", 6, 0), 6);
	ask_bytes("client", client, 10, 0);
}
