/* unix(7): names, descriptors, credentials, and the three types side by side. */
#include <sys/un.h>

#include "ask.h"

#define THEME "unix"

static int made(int type)
{
	return (int)OK(socket(AF_UNIX, type, 0));
}

static void pair_of(int type, int pair[2])
{
	OK(socketpair(AF_UNIX, type, 0, pair));
}

/* A name without a file; each question has a process of its own to name it after. */
static socklen_t abstract(const char *name, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(address->sun_path + 1, 60, "probe-%d-%s", getpid(), name);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int bind_abstract(int fd, const char *name)
{
	struct sockaddr_un address;
	socklen_t length = abstract(name, &address);
	return bind(fd, (struct sockaddr *)&address, length);
}

static int connect_abstract(int fd, const char *name)
{
	struct sockaddr_un address;
	socklen_t length = abstract(name, &address);
	return connect(fd, (struct sockaddr *)&address, length);
}

static int listening(int type, const char *name, int backlog)
{
	int fd = made(type);
	OK(bind_abstract(fd, name));
	OK(listen(fd, backlog));
	return fd;
}

static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
static const char *const type_names[] = { "stream", "datagram", "seqpacket" };

QUESTION(connect_nowhere, ALONE)
{
	struct sockaddr_un path = { AF_UNIX, "/nonexistent/socket" };
	for (int i = 0; i < 3; i++) {
		ask(type_names[i], connect_abstract(made(types[i]), "none"));
		ask("path", connect(made(types[i]), (struct sockaddr *)&path, sizeof path));
	}
	strcpy(path.sun_path, "/dev/null");
	ask("no socket", connect(made(SOCK_STREAM), (struct sockaddr *)&path, sizeof path));
	path.sun_path[0] = 0;
	ask("empty", connect(made(SOCK_STREAM), (struct sockaddr *)&path, 2));
	ask("other family", connect_local(made(SOCK_STREAM), AF_INET, 1));
}

QUESTION(connect_wrong_type, ALONE)
{
	int stream = listening(SOCK_STREAM, "stream", 5);
	ask("datagram to stream", connect_abstract(made(SOCK_DGRAM), "stream"));
	ask("seqpacket to stream", connect_abstract(made(SOCK_SEQPACKET), "stream"));
	int datagram = made(SOCK_DGRAM);
	OK(bind_abstract(datagram, "datagram"));
	ask("stream to datagram", connect_abstract(made(SOCK_STREAM), "datagram"));
	int quiet = made(SOCK_STREAM);
	OK(bind_abstract(quiet, "quiet"));
	ask("not listening", connect_abstract(made(SOCK_STREAM), "quiet"));
	OK(close(stream));
	ask("closed", connect_abstract(made(SOCK_STREAM), "stream"));
}

QUESTION(connect_and_accept, ALONE)
{
	int listener = listening(SOCK_STREAM, "name", 5), client = made(SOCK_STREAM);
	say("listener %s", bits(listener));
	ask("connect", connect_abstract(client, "name"));
	say("listener %s", bits(listener));
	struct sockaddr_un address;
	socklen_t length = sizeof address;
	int served = (int)OK(accept(listener, (struct sockaddr *)&address, &length));
	say("from %u bytes, family %d", length, address.sun_family);
	length = sizeof address;
	OK(getpeername(client, (struct sockaddr *)&address, &length));
	say("peer named %d", length > 8 && address.sun_path[0] == 0);
	length = sizeof address;
	OK(getsockname(served, (struct sockaddr *)&address, &length));
	say("ours named %d", length > 8);
	ask("connect again", connect_abstract(client, "name"));
	ask("send", send(client, "words", 5, 0));
	ask_bytes("recv", served, 8, 0);
}

QUESTION(backlog_full, ALONE)
{
	listening(SOCK_STREAM, "name", 0);
	ask("first", connect_abstract(made(SOCK_STREAM), "name"));
	ask("second", connect_abstract(made(SOCK_STREAM | SOCK_NONBLOCK), "name"));
	int fd = made(SOCK_STREAM);
	set_timeout(fd, SO_SNDTIMEO, 50);
	ask("with a timeout", connect_abstract(fd, "name"));
	say("poll %s", bits(fd));
}

QUESTION(bind_in_use, ALONE)
{
	int fd = made(SOCK_STREAM);
	ask("bind", bind_abstract(fd, "name"));
	ask("in use", bind_abstract(made(SOCK_DGRAM), "name"));
	ask("twice", bind_abstract(fd, "other"));
	OK(close(fd));
	ask("once closed", bind_abstract(made(SOCK_STREAM), "name"));
}

QUESTION(bind_path, ALONE)
{
	char folder[] = "/tmp/probe-XXXXXX";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof address.sun_path, "%s/s", mkdtemp(folder));
	int fd = made(SOCK_STREAM);
	ask("bind", bind(fd, (struct sockaddr *)&address, sizeof address));
	struct stat s;
	ask("stat", stat(address.sun_path, &s));
	say("socket %d", S_ISSOCK(s.st_mode));
	ask("open", open(address.sun_path, O_RDWR));
	OK(listen(fd, 5));
	ask("connect", connect(made(SOCK_STREAM), (struct sockaddr *)&address, sizeof address));
	OK(close(fd));
	ask("still there", stat(address.sun_path, &s));
	ask("connect", connect(made(SOCK_STREAM), (struct sockaddr *)&address, sizeof address));
	ask("bind again", bind(made(SOCK_STREAM), (struct sockaddr *)&address, sizeof address));
	OK(unlink(address.sun_path));
	ask("unlinked", bind(made(SOCK_STREAM), (struct sockaddr *)&address, sizeof address));
	OK(unlink(address.sun_path));
	OK(rmdir(folder));
}

QUESTION(bind_itself, ALONE)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t length = sizeof(sa_family_t);
	int fd = made(SOCK_DGRAM);
	ask("autobind", bind(fd, (struct sockaddr *)&address, length));
	length = sizeof address;
	OK(getsockname(fd, (struct sockaddr *)&address, &length));
	say("%u bytes, abstract %d", length, address.sun_path[0] == 0);
	length = sizeof address;
	OK(getsockname(made(SOCK_STREAM), (struct sockaddr *)&address, &length));
	say("unbound %u bytes", length);
}

QUESTION(bind_lengths, ALONE)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	ask("too long", bind(made(SOCK_STREAM), (struct sockaddr *)&address, sizeof address + 1));
	ask("too short", bind(made(SOCK_STREAM), (struct sockaddr *)&address, 1));
	memset(address.sun_path, 'x', sizeof address.sun_path);
	ask("no end", bind(made(SOCK_STREAM), (struct sockaddr *)&address, 2));
	address.sun_path[0] = 0;
	ask("longest abstract", bind(made(SOCK_STREAM), (struct sockaddr *)&address, sizeof address));
	socklen_t length = 4;
	ask("cut short", getsockname(made(SOCK_STREAM), (struct sockaddr *)&address, &length));
	say("%u", length);
}

QUESTION(pair_talks, ALONE)
{
	for (int i = 0; i < 3; i++) {
		int pair[2];
		pair_of(types[i], pair);
		say("%s %s", type_names[i], bits(pair[0]));
		ask("send", send(pair[0], "one", 3, 0));
		ask("send", send(pair[0], "two", 3, 0));
		say("%s, queue %d", bits(pair[1]), queued(pair[1]));
		ask_bytes("recv", pair[1], 2, 0);
		ask_bytes("recv", pair[1], 8, 0);
		ask_bytes("recv", pair[1], 8, MSG_DONTWAIT);
		say("send nothing %s", result(send(pair[0], "", 0, 0)));
		say("%s", bits(pair[1]));
		ask_bytes("recv", pair[1], 8, MSG_DONTWAIT);
	}
}

QUESTION(pair_truncates, ALONE)
{
	for (int i = 1; i < 3; i++) {
		int pair[2];
		char in[3];
		struct iovec v = { in, 3 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
		pair_of(types[i], pair);
		EQ(send(pair[0], "words", 5, MSG_EOR), 5);
		ask("peek", recv(pair[1], in, 3, MSG_PEEK | MSG_TRUNC));
		ask("recvmsg", recvmsg(pair[1], &m, 0));
		say("trunc %d, eor %d", !!(m.msg_flags & MSG_TRUNC), !!(m.msg_flags & MSG_EOR));
		ask("rest", recv(pair[1], in, 3, MSG_DONTWAIT));
	}
}

QUESTION(pair_half_closes, ALONE)
{
	for (int i = 0; i < 3; i++) {
		int pair[2];
		pair_of(types[i], pair);
		ask(type_names[i], shutdown(pair[0], SHUT_WR));
		say("%s, %s", bits(pair[0]), bits(pair[1]));
		ask("recv", take(pair[1], 8, MSG_DONTWAIT));
		ask("send", send(pair[0], "x", 1, MSG_NOSIGNAL));
		ask("send back", send(pair[1], "x", 1, MSG_NOSIGNAL));
		ask("read half", shutdown(pair[0], SHUT_RD));
		say("%s, %s", bits(pair[0]), bits(pair[1]));
		ask("send back", send(pair[1], "x", 1, MSG_NOSIGNAL));
	}
}

QUESTION(pair_closed, ALONE)
{
	for (int i = 0; i < 3; i++) {
		int pair[2];
		pair_of(types[i], pair);
		EQ(send(pair[1], "words", 5, 0), 5);
		ask(type_names[i], close(pair[1]));
		say("%s", bits(pair[0]));
		ask_bytes("recv", pair[0], 8, MSG_DONTWAIT);
		ask_bytes("recv", pair[0], 8, MSG_DONTWAIT);
		ask("send", send(pair[0], "x", 1, MSG_NOSIGNAL));
		say("error %s", pending(pair[0]));
	}
}

QUESTION(pair_closed_unread, ALONE)
{
	for (int i = 0; i < 3; i++) {
		int pair[2];
		pair_of(types[i], pair);
		EQ(send(pair[0], "words", 5, 0), 5);
		OK(close(pair[1]));
		say("%s %s", type_names[i], bits(pair[0]));
		ask("recv", take(pair[0], 8, MSG_DONTWAIT));
		ask("recv", take(pair[0], 8, MSG_DONTWAIT));
	}
}

QUESTION(back_pressure, ALONE)
{
	for (int i = 0; i < 3; i++) {
		int pair[2];
		char chunk[1000] = { 0 };
		pair_of(types[i] | SOCK_NONBLOCK, pair);
		while (send(pair[0], chunk, sizeof chunk, 0) > 0)
			;
		ask(type_names[i], send(pair[0], chunk, sizeof chunk, 0));
		say("%s", bits(pair[0]));
		while (recv(pair[1], chunk, sizeof chunk, 0) > 0)
			;
		say("%s", bits(pair[0]));
		ask("too long", send(pair[0], calloc(1, 1 << 24), 1 << 24, 0) > 0 ? 1 : -1);
	}
}

QUESTION(unconnected, ALONE)
{
	for (int i = 0; i < 3; i++) {
		int fd = made(types[i] | SOCK_NONBLOCK);
		struct sockaddr_un address;
		socklen_t length = abstract("none", &address);
		ask(type_names[i], send(fd, "x", 1, MSG_NOSIGNAL));
		ask("recv", take(fd, 1, 0));
		ask("sendto", sendto(fd, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&address, length));
		ask("getpeername", getpeername(fd, (struct sockaddr *)&address, &length));
		ask("shutdown", shutdown(fd, SHUT_WR));
		ask("OOB", send(fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
	}
}

QUESTION(urgent_byte, ALONE)
{
	int pair[2];
	pair_of(SOCK_STREAM, pair);
	ask("send", send(pair[0], "u", 1, MSG_OOB));
	say("%s", bits(pair[1]));
	ask_bytes("recv", pair[1], 1, MSG_OOB);
}

/* ---- descriptors and credentials ----------------------------------------------------------------- */

static long send_descriptors(int via, const int *fds, int n)
{
	char control[CMSG_SPACE(10 * sizeof(int))] = { 0 };
	struct iovec v = { "d", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = CMSG_SPACE((size_t)n * sizeof(int)) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){ CMSG_LEN((size_t)n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(h), fds, (size_t)n * sizeof(int));
	return sendmsg(via, &m, 0);
}

static int receive_descriptor(int via, size_t room, int flags)
{
	char in[8], control[CMSG_SPACE(10 * sizeof(int))] = { 0 };
	struct iovec v = { in, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room };
	ask("recvmsg", recvmsg(via, &m, flags));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	say("flags %#x, control %zu", m.msg_flags, m.msg_controllen);
	int fd = -1;
	if (h != NULL && h->cmsg_len >= CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
	return fd;
}

QUESTION(rights, ALONE)
{
	int pair[2], fds[2] = { text_file("words"), STDERR_FILENO };
	char in[8] = { 0 };
	pair_of(SOCK_STREAM, pair);
	ask("sendmsg", send_descriptors(pair[0], fds, 1));
	OK(close(fds[0]));
	int fd = receive_descriptor(pair[1], 64, MSG_CMSG_CLOEXEC);
	ask("read", read(fd, in, 5));
	say("'%s', cloexec %lld", in, OK(fcntl(fd, F_GETFD)));
	fds[0] = 900;
	ask("closed", send_descriptors(pair[0], fds, 1));
	fds[0] = pair[0];
	ask("two", send_descriptors(pair[0], fds, 2));
	say("room for one %d", receive_descriptor(pair[1], CMSG_LEN(sizeof(int)), 0) >= 0);
	ask("no room", send_descriptors(pair[0], fds, 1));
	say("none %d", receive_descriptor(pair[1], 0, 0) < 0);
}

QUESTION(rights_of_a_connection, STATES)
{
	int pair[2];
	pair_of(SOCK_STREAM, pair);
	ask("sendmsg", send_descriptors(pair[0], &c->fd, 1));
	int fd = receive_descriptor(pair[1], 64, 0);
	OK(close(c->fd));
	c->fd = fd;
	exchange(c, 5);
	say("talks, %s, %s", bits(c->fd), state(c->fd));
	OK(close(fd));
	c->fd = -1;
	say("there %s", there_bits(c));
}

QUESTION(rights_never_received, STATES)
{
	int pair[2];
	pair_of(SOCK_STREAM, pair);
	ask("sendmsg", send_descriptors(pair[0], &c->fd, 1));
	OK(close(c->fd));
	c->fd = -1;
	say("under way %s", there_bits(c));
	OK(close(pair[0]));
	OK(close(pair[1]));
	say("thrown away %s", there_bits(c));
}

QUESTION(credentials, ALONE)
{
	int pair[2], on = 1;
	struct ucred peer;
	socklen_t size = sizeof peer;
	pair_of(SOCK_STREAM, pair);
	ask("peer", getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &size));
	say("us %d", peer.pid == getpid() && peer.uid == geteuid());
	ask("pass", setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	EQ(send(pair[0], "x", 1, 0), 1);
	char in[8], control[100];
	struct iovec v = { in, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 100 };
	ask("recvmsg", recvmsg(pair[1], &m, 0));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	say("credentials %d", h != NULL && h->cmsg_type == SCM_CREDENTIALS);
	memcpy(&peer, CMSG_DATA(h), sizeof peer);
	say("us %d", peer.pid == getpid());
}

QUESTION(options, ALONE)
{
	int pair[2];
	pair_of(SOCK_STREAM, pair);
	int names[] = { SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN, SO_ERROR, SO_KEEPALIVE, SO_PASSCRED,
			SO_RCVLOWAT };
	for (int i = 0; i < 8; i++)
		say("%s", option(pair[0], SOL_SOCKET, names[i]));
	ask("rcvlowat", set_option(pair[0], SOL_SOCKET, SO_RCVLOWAT, 3));
	ask("sndbuf", set_option(pair[0], SOL_SOCKET, SO_SNDBUF, 5000));
	say("%s", option(pair[0], SOL_SOCKET, SO_SNDBUF));
	int n;
	ask("TIOCOUTQ", ioctl(pair[0], TIOCOUTQ, &n));
	ask("SIOCATMARK", ioctl(pair[0], SIOCATMARK, &n));
}

QUESTION(datagram_from_named, ALONE)
{
	int to = made(SOCK_DGRAM), from = made(SOCK_DGRAM), nameless = made(SOCK_DGRAM);
	OK(bind_abstract(to, "to"));
	OK(bind_abstract(from, "from"));
	struct sockaddr_un address;
	socklen_t length = abstract("to", &address);
	ask("sendto", sendto(from, "one", 3, 0, (struct sockaddr *)&address, length));
	ask("sendto", sendto(nameless, "two", 3, 0, (struct sockaddr *)&address, length));
	char in[8];
	length = sizeof address;
	ask("recvfrom", recvfrom(to, in, 8, 0, (struct sockaddr *)&address, &length));
	say("named %d", length > 8);
	length = sizeof address;
	ask("recvfrom", recvfrom(to, in, 8, 0, (struct sockaddr *)&address, &length));
	say("%u bytes", length);
	ask("connect", connect_abstract(to, "from"));
	length = abstract("to", &address);
	ask("filtered", sendto(nameless, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, length));
	OK(close(from));
	ask("peer gone", send(to, "x", 1, 0));
	say("%s", bits(to));
}

QUESTION(timeouts, ALONE)
{
	int pair[2];
	pair_of(SOCK_STREAM, pair);
	set_timeout(pair[0], SO_RCVTIMEO, 50);
	ask("recv", take(pair[0], 1, 0));
	signals_start(30, 0);
	ask("interrupted", take(pair[1], 1, 0));
	signals_stop();
}
