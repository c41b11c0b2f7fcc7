/* socket(2): which sockets there are, what they are when new, and what else their calls refuse. */
#include <linux/netlink.h>
#include <sys/resource.h>

#include "ask.h"

#define THEME "socket"

struct kind {
	const char *name;
	int family, type, protocol;
};

static const struct kind kinds[] = {
	{ "tcp", AF_INET, SOCK_STREAM, 0 },
	{ "tcp_by_protocol", AF_INET, SOCK_STREAM, IPPROTO_TCP },
	{ "tcp6", AF_INET6, SOCK_STREAM, 0 },
	{ "mptcp", AF_INET, SOCK_STREAM, 262 },
	{ "sctp", AF_INET, SOCK_STREAM, IPPROTO_SCTP },
	{ "udp", AF_INET, SOCK_DGRAM, 0 },
	{ "udp6", AF_INET6, SOCK_DGRAM, IPPROTO_UDP },
	{ "udplite", AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE },
	{ "raw_without_protocol", AF_INET, SOCK_RAW, 0 },
	{ "raw_icmp", AF_INET, SOCK_RAW, IPPROTO_ICMP },
	{ "raw_tcp", AF_INET, SOCK_RAW, IPPROTO_TCP },
	{ "stream_of_udp", AF_INET, SOCK_STREAM, IPPROTO_UDP },
	{ "datagrams_of_tcp", AF_INET, SOCK_DGRAM, IPPROTO_TCP },
	{ "seqpacket_of_inet", AF_INET, SOCK_SEQPACKET, 0 },
	{ "rdm_of_inet", AF_INET, SOCK_RDM, 0 },
	{ "unix_stream", AF_UNIX, SOCK_STREAM, 0 },
	{ "unix_datagram", AF_UNIX, SOCK_DGRAM, 0 },
	{ "unix_seqpacket", AF_UNIX, SOCK_SEQPACKET, 0 },
	{ "unix_raw", AF_UNIX, SOCK_RAW, 0 },
	{ "unix_with_tcp", AF_UNIX, SOCK_STREAM, IPPROTO_TCP },
	{ "unix_with_protocol_one", AF_UNIX, SOCK_STREAM, PF_UNIX },
	{ "netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE },
	{ "packet_datagram", AF_PACKET, SOCK_DGRAM, 0 },
	{ "family_unspecified", AF_UNSPEC, SOCK_STREAM, 0 },
	{ "family_negative", -1, SOCK_STREAM, 0 },
	{ "family_far_off", 9999, SOCK_STREAM, 0 },
	{ "type_zero", AF_INET, 0, 0 },
	{ "type_negative", AF_INET, -1, 0 },
	{ "type_ten", AF_INET, 10, 0 },
	{ "type_with_unknown_flag", AF_INET, SOCK_STREAM | 0x100, 0 },
	{ "protocol_negative", AF_INET, SOCK_STREAM, -1 },
	{ "protocol_300", AF_INET, SOCK_STREAM, 300 },
};

static void create(struct conn *c)
{
	(void)c;
	const struct kind *kind = asked()->about;
	int fd = socket(kind->family, kind->type, kind->protocol);
	say("%s", fd < 0 ? result(fd) : "made");
	if (fd < 0)
		return;
	say("domain %s", option(fd, SOL_SOCKET, SO_DOMAIN));
	say("type %s", option(fd, SOL_SOCKET, SO_TYPE));
	say("protocol %s", option(fd, SOL_SOCKET, SO_PROTOCOL));
	say("listening %s", option(fd, SOL_SOCKET, SO_ACCEPTCONN));
	say("poll %s", bits(fd));
}

__attribute__((constructor)) static void enlist_kinds(void)
{
	static struct question questions[sizeof kinds / sizeof kinds[0]];
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		questions[i] = (struct question){ THEME, kinds[i].name, __LINE__, ALONE, create,
						  &kinds[i] };
		enlist(&questions[i]);
	}
}

QUESTION(flags_of_new, ALONE)
{
	int flags[] = { 0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK };
	for (int i = 0; i < 4; i++) {
		int fd = (int)OK(socket(AF_INET, SOCK_STREAM | flags[i], 0));
		say("cloexec %lld nonblock %d", OK(fcntl(fd, F_GETFD)) & FD_CLOEXEC, is_nonblock(fd));
		say("access mode %lld", OK(fcntl(fd, F_GETFL)) & O_ACCMODE);
	}
}

QUESTION(lowest_free_descriptor, ALONE)
{
	int a = tcp4(), b = tcp4(), d = tcp4();
	say("second is next %d, third is next %d", b == a + 1, d == b + 1);
	OK(close(b));
	say("freed one is reused %d", tcp4() == b);
	int pair[2];
	OK(close(a));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	say("pair takes freed one %d and next %d", pair[0] == a, pair[1] == d + 1);
}

QUESTION(descriptors_used_up, ALONE)
{
	struct rlimit few;
	int first = tcp4();
	OK(close(first));
	OK(getrlimit(RLIMIT_NOFILE, &few));
	few.rlim_cur = (rlim_t)first + 1;
	OK(setrlimit(RLIMIT_NOFILE, &few));
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	say("last %s", fd == first ? "made" : result(fd));
	ask("one more", socket(AF_INET, SOCK_STREAM, 0));
	ask("dup", dup(fd));
	ask("dup2 beyond", dup2(fd, first + 1));
	int pair[2];
	ask("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ask("epoll_create1", epoll_create1(0));
	ask("close", close(fd));
	ask("socketpair with room for one", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

QUESTION(socketpair_of_inet, ALONE)
{
	int pair[2] = { -7, -7 };
	ask("stream", socketpair(AF_INET, SOCK_STREAM, 0, pair));
	ask("datagrams", socketpair(AF_INET6, SOCK_DGRAM, 0, pair));
	say("array untouched %d", pair[0] == -7 && pair[1] == -7);
}

QUESTION(socketpair_bad_arguments, ALONE)
{
	int pair[2];
	ask("null", socketpair(AF_UNIX, SOCK_STREAM, 0, NULL));
	ask("wild", socketpair(AF_UNIX, SOCK_STREAM, 0, WILD));
	ask("protocol", socketpair(AF_UNIX, SOCK_STREAM, 77, pair));
	ask("type", socketpair(AF_UNIX, 0, 0, pair));
	ask("family", socketpair(-1, SOCK_STREAM, 0, pair));
	ask("descriptors lost", dup(STDIN_FILENO) - 3);
}

QUESTION(socketpair_flags, ALONE)
{
	int pair[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
	for (int i = 0; i < 2; i++)
		say("cloexec %lld nonblock %d", OK(fcntl(pair[i], F_GETFD)), is_nonblock(pair[i]));
}

/* ---- calls on what is no socket --------------------------------------------------------------- */

static void each_call_on(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = local(AF_INET, 9, &address);
	struct sockaddr *a = (struct sockaddr *)&address;
	struct msghdr message = { 0 };
	struct mmsghdr messages = { 0 };
	int value = 1;
	socklen_t size = sizeof value;
	ask("bind", bind(fd, a, length));
	ask("listen", listen(fd, 1));
	ask("accept", accept(fd, NULL, NULL));
	ask("accept4", accept4(fd, NULL, NULL, SOCK_CLOEXEC));
	ask("connect", connect(fd, a, length));
	ask("getsockname", getsockname(fd, a, &length));
	ask("getpeername", getpeername(fd, a, &length));
	ask("send", send(fd, "x", 1, MSG_NOSIGNAL));
	ask("sendto", sendto(fd, "x", 1, MSG_NOSIGNAL, a, length));
	ask("sendmsg", sendmsg(fd, &message, MSG_NOSIGNAL));
	ask("sendmmsg", sendmmsg(fd, &messages, 1, MSG_NOSIGNAL));
	ask("recv", take(fd, 1, MSG_DONTWAIT));
	ask("recvmsg", recvmsg(fd, &message, MSG_DONTWAIT));
	ask("recvmmsg", recvmmsg(fd, &messages, 1, MSG_DONTWAIT, NULL));
	ask("shutdown", shutdown(fd, SHUT_RD));
	ask("getsockopt", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size));
	ask("setsockopt", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, size));
	ask("sockatmark", sockatmark(fd));
}

QUESTION(calls_on_closed_descriptor, ALONE)
{
	int fd = tcp4();
	OK(close(fd));
	each_call_on(fd);
	ask("read", read(fd, &fd, 1));
	ask("write", write(fd, "x", 1));
	ask("close", close(fd));
	ask("F_GETFL", fcntl(fd, F_GETFL));
	say("poll %s", bits(fd));
}

QUESTION(calls_on_closed_connection, IN_ONE)
{
	OK(close(c->fd));
	each_call_on(c->fd);
	ask("read", read(c->fd, &c, 1));
	ask("write", write(c->fd, "x", 1));
	ask("close", close(c->fd));
	say("poll %s", bits(c->fd));
}

QUESTION(calls_on_descriptor_minus_one, ALONE)
{
	each_call_on(-1);
}

QUESTION(calls_on_file, ALONE)
{
	each_call_on(text_file("words"));
}

QUESTION(calls_on_pipe, ALONE)
{
	int ends[2];
	OK(pipe(ends));
	each_call_on(ends[1]);
}

QUESTION(calls_on_epoll_instance, ALONE)
{
	each_call_on((int)OK(epoll_create1(0)));
}

QUESTION(calls_on_path_only_descriptor, ALONE)
{
	int fd = (int)OK(open("/", O_PATH));
	each_call_on(fd);
	ask("read", read(fd, &fd, 1));
}

QUESTION(file_takes_the_number_of_a_closed_connection, IN_ONE)
{
	OK(close(c->fd));
	int fd = text_file("words");
	while (fd < c->fd)
		fd = dup(fd);
	say("same number %d", fd == c->fd);
	char in[8] = { 0 };
	ask("read", read(c->fd, in, 5));
	say("'%s'", in);
	ask("recv", recv(c->fd, in, 5, 0));
	ask("write", write(c->fd, "x", 1));
	say("poll %s", bits(c->fd));
	say("there %s", there_bits(c));
}

QUESTION(new_socket_takes_the_number_of_a_closed_connection, IN_ONE & STREAMS)
{
	OK(close(c->fd));
	int fd = tcp4();
	while (fd < c->fd)
		fd = tcp4();
	say("same number %d", fd == c->fd);
	ask("send", send(fd, "x", 1, MSG_NOSIGNAL));
	ask("recv", take(fd, 1, 0));
	say("poll %s, %s", bits(fd), state(fd));
	ask_bytes("there", c->peer_fd, 8, 0);
}

/* ---- addresses --------------------------------------------------------------------------------- */

QUESTION(name_of_unbound, ALONE)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	ask("inet", getsockname(tcp4(), (struct sockaddr *)&address, &length));
	say("%s", address_text(&address, length, 0));
	length = sizeof address;
	ask("inet6", getsockname(tcp6(), (struct sockaddr *)&address, &length));
	say("%s", address_text(&address, length, 0));
}

QUESTION(peer_name_of_unconnected, ALONE)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	ask("inet", getpeername(tcp4(), (struct sockaddr *)&address, &length));
	ask("inet6", getpeername(tcp6(), (struct sockaddr *)&address, &length));
	say("length untouched %d", length == sizeof address);
}

QUESTION(names_of_connection, STATES)
{
	struct sockaddr_storage mine, theirs;
	socklen_t length = sizeof mine;
	ask("getsockname", getsockname(c->fd, (struct sockaddr *)&mine, &length));
	say("%s", address_text(&mine, length, 0));
	length = sizeof theirs;
	ask("getpeername", getpeername(c->fd, (struct sockaddr *)&theirs, &length));
	say("%s", address_text(&theirs, length, port_of(&mine)));
}

QUESTION(names_cut_short, STATES)
{
	unsigned char bytes[64];
	socklen_t sizes[] = { 0, 1, 2, 4, 15, 64 };
	for (int i = 0; i < 6; i++) {
		memset(bytes, 0xee, sizeof bytes);
		socklen_t length = sizes[i];
		ask("name", getsockname(c->fd, (struct sockaddr *)bytes, &length));
		say("%u bytes, next untouched %d", length, bytes[sizes[i] & 63] == 0xee);
		length = sizes[i];
		ask("peer", getpeername(c->fd, (struct sockaddr *)bytes, &length));
		say("%u bytes", length);
	}
}

QUESTION(names_bad_pointers, STATES)
{
	struct sockaddr_storage a;
	socklen_t length = sizeof a, negative = (socklen_t)-1;
	struct sockaddr *address = (struct sockaddr *)&a;
	ask("name null", getsockname(c->fd, NULL, &length));
	ask("name wild", getsockname(c->fd, WILD, &length));
	ask("name length null", getsockname(c->fd, address, NULL));
	ask("name length wild", getsockname(c->fd, address, WILD));
	ask("name length negative", getsockname(c->fd, address, &negative));
	ask("peer null", getpeername(c->fd, NULL, &length));
	ask("peer wild", getpeername(c->fd, WILD, &length));
	ask("peer length null", getpeername(c->fd, address, NULL));
	ask("peer length negative", getpeername(c->fd, address, &negative));
}

QUESTION(kind_of_connection, STATES)
{
	say("domain %s", option(c->fd, SOL_SOCKET, SO_DOMAIN));
	say("type %s", option(c->fd, SOL_SOCKET, SO_TYPE));
	say("protocol %s", option(c->fd, SOL_SOCKET, SO_PROTOCOL));
	say("listening %s", option(c->fd, SOL_SOCKET, SO_ACCEPTCONN));
	say("error %s", option(c->fd, SOL_SOCKET, SO_ERROR));
	say_both("open", c);
}
