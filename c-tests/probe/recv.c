/* recv(2), recvfrom, recvmsg, recvmmsg, read, readv on a connection. */
#include "ask.h"

#define THEME "recv"

static struct msghdr message_of(struct iovec *v, size_t count)
{
	return (struct msghdr){ .msg_iov = v, .msg_iovlen = count };
}

QUESTION(nothing_there, STATES & STREAMS)
{
	char in[8];
	struct iovec v = { in, 8 };
	struct msghdr m = message_of(&v, 1);
	ask("DONTWAIT", recv(c->fd, in, 8, MSG_DONTWAIT));
	ask("DONTWAIT PEEK", recv(c->fd, in, 8, MSG_DONTWAIT | MSG_PEEK));
	ask("DONTWAIT WAITALL", recv(c->fd, in, 8, MSG_DONTWAIT | MSG_WAITALL));
	ask("DONTWAIT TRUNC", recv(c->fd, in, 8, MSG_DONTWAIT | MSG_TRUNC));
	ask("recvmsg", recvmsg(c->fd, &m, MSG_DONTWAIT));
	ask("OOB", recv(c->fd, in, 1, MSG_OOB));
	set_nonblock(c->fd, true);
	ask("recv", recv(c->fd, in, 8, 0));
	ask("read", read(c->fd, in, 8));
	ask("readv", readv(c->fd, &v, 1));
	ask("recvfrom", recvfrom(c->fd, in, 8, 0, NULL, NULL));
}

QUESTION(no_room, STATES & STREAMS)
{
	struct iovec v = { NULL, 0 };
	struct msghdr m = message_of(&v, 1);
	ask("read", read(c->fd, NULL, 0));
	ask("readv", readv(c->fd, &v, 1));
	ask("recv dontwait", recv(c->fd, NULL, 0, MSG_DONTWAIT));
	ask("recvmsg dontwait", recvmsg(c->fd, &m, MSG_DONTWAIT));
	there_sends(c, "words");
	ask("recv", recv(c->fd, NULL, 0, 0));
	ask("recv peek", recv(c->fd, NULL, 0, MSG_PEEK));
	ask("read", read(c->fd, NULL, 0));
	ask("readv of nothing", readv(c->fd, NULL, 0));
	ask("recvmsg of nothing", recvmsg(c->fd, &(struct msghdr){ 0 }, MSG_DONTWAIT));
	ask_bytes("recv", c->fd, 8, 0);
}

QUESTION(no_room_at_the_end, STATES & STREAMS)
{
	OK(peer_shutdown(c, SHUT_WR));
	say("poll %s", bits(c->fd));
	ask("recv", recv(c->fd, NULL, 0, 0));
	ask("read", read(c->fd, NULL, 0));
}

QUESTION(wrong_pointer, STATES & STREAMS)
{
	ask("nothing there, wild", recv(c->fd, WILD, 4, MSG_DONTWAIT));
	there_sends(c, "words");
	ask("null", recv(c->fd, NULL, 4, 0));
	ask("wild", recv(c->fd, WILD, 4, 0));
	ask("read null", read(c->fd, NULL, 4));
	ask("read wild", read(c->fd, WILD, 4));
	ask("peek wild", recv(c->fd, WILD, 4, MSG_PEEK));
	ask("queue", queued(c->fd));
	ask_bytes("recv", c->fd, 8, 0);
}

QUESTION(wrong_vector, STATES & STREAMS)
{
	char in[8];
	there_sends(c, "words");
	struct iovec wild = { WILD, 4 }, negative = { in, (size_t)-1 };
	struct iovec too_long[2] = { { in, SSIZE_MAX }, { in, SSIZE_MAX } };
	ask("wild base", readv(c->fd, &wild, 1));
	ask("negative length", readv(c->fd, &negative, 1));
	ask("sum too long", readv(c->fd, too_long, 2));
	ask("negative count", readv(c->fd, &wild, -1));
	ask("IOV_MAX + 1", readv(c->fd, &wild, IOV_MAX + 1));
	struct msghdr m = message_of(&wild, 1);
	ask("recvmsg wild base", recvmsg(c->fd, &m, 0));
	m = message_of(&wild, IOV_MAX + 1);
	ask("recvmsg IOV_MAX + 1", recvmsg(c->fd, &m, 0));
	ask_bytes("recv", c->fd, 8, 0);
}

QUESTION(wild_structures, STATES)
{
	there_sends(c, "words");
	struct msghdr m = message_of(WILD, 1);
	ask("recvmsg", recvmsg(c->fd, WILD, 0));
	ask("recvmsg null", recvmsg(c->fd, NULL, 0));
	ask("recvmsg wild vector", recvmsg(c->fd, &m, 0));
	ask("readv", readv(c->fd, WILD, 1));
	ask("readv null", readv(c->fd, NULL, 1));
	ask("recvmmsg", recvmmsg(c->fd, WILD, 1, MSG_DONTWAIT, NULL));
	ask_bytes("recv", c->fd, 8, 0);
}

QUESTION(read_only_buffer, STATES & STREAMS)
{
	there_sends(c, "words");
	ask("recv", recv(c->fd, (char *)(uintptr_t)"constant", 4, 0));
	ask("read", read(c->fd, (char *)(uintptr_t)"constant", 4));
	ask_bytes("recv", c->fd, 8, 0);
}

QUESTION(recvfrom_wild_length, STATES)
{
	char in[8];
	struct sockaddr_storage name;
	there_sends(c, "words");
	ask("recvfrom", recvfrom(c->fd, in, 1, 0, (struct sockaddr *)&name, WILD));
	say("queue %d", queued(c->fd));
}

QUESTION(second_part_is_wild, STATES & STREAMS)
{
	char in[4] = { 0 };
	there_sends(c, "goodwords");
	struct iovec v[2] = { { in, 4 }, { WILD, 4 } };
	ask("readv", readv(c->fd, v, 2));
	say("'%.4s', queue %d", in, queued(c->fd));
	struct msghdr m = message_of(v, 2);
	ask("recvmsg", recvmsg(c->fd, &m, 0));
	say("'%.4s', queue %d", in, queued(c->fd));
}

QUESTION(length_beyond_the_buffer, STATES)
{
	static char in[64]; /* where the stack is decides what the kernel thinks of its end */
	there_sends(c, "words");
	ask("more than SSIZE_MAX", recv(c->fd, in, (size_t)SSIZE_MAX + 1, 0));
	there_sends(c, "words");
	ask("read SSIZE_MAX", read(c->fd, in, SSIZE_MAX));
	there_sends(c, "words");
	ask("read SIZE_MAX", read(c->fd, in, SIZE_MAX));
	ask("recv INT_MAX", recv(c->fd, in, INT_MAX, MSG_DONTWAIT));
	say("'%s'", in);
}

QUESTION(vector_with_empty_parts, STATES)
{
	char a[4] = { 0 }, b[8] = { 0 };
	there_sends(c, "one two");
	struct iovec v[4] = { { NULL, 0 }, { a, 3 }, { WILD, 0 }, { b, 8 } };
	ask("readv", readv(c->fd, v, 4));
	say("'%s' '%s'", a, b);
}

QUESTION(peek, STATES)
{
	there_sends(c, "words");
	ask_bytes("peek", c->fd, 3, MSG_PEEK);
	ask_bytes("peek", c->fd, 10, MSG_PEEK);
	say("queue %d, poll %s", queued(c->fd), bits(c->fd));
	ask_bytes("recv", c->fd, 3, 0);
	ask_bytes("peek", c->fd, 10, MSG_PEEK | MSG_DONTWAIT);
	there_sends(c, "more");
	ask_bytes("peek", c->fd, 10, MSG_PEEK);
	ask_bytes("recv", c->fd, 10, 0);
	ask_bytes("peek", c->fd, 10, MSG_PEEK | MSG_DONTWAIT);
}

QUESTION(peek_at_the_end, STATES & STREAMS)
{
	there_sends(c, "words");
	OK(peer_shutdown(c, SHUT_WR));
	ask_bytes("peek", c->fd, 10, MSG_PEEK);
	ask_bytes("peek all", c->fd, 10, MSG_PEEK | MSG_WAITALL);
	ask_bytes("recv", c->fd, 10, 0);
	ask_bytes("peek", c->fd, 10, MSG_PEEK);
	ask_bytes("recv", c->fd, 10, 0);
}

QUESTION(peek_offset, STATES & STREAMS)
{
	there_sends(c, "abcdefgh");
	say("offset %s", option(c->fd, SOL_SOCKET, SO_PEEK_OFF));
	ask("set", set_option(c->fd, SOL_SOCKET, SO_PEEK_OFF, 2));
	ask_bytes("peek", c->fd, 2, MSG_PEEK);
	say("offset %s", option(c->fd, SOL_SOCKET, SO_PEEK_OFF));
	ask_bytes("peek", c->fd, 2, MSG_PEEK);
	ask_bytes("recv", c->fd, 3, 0);
	say("offset %s", option(c->fd, SOL_SOCKET, SO_PEEK_OFF));
	ask_bytes("peek", c->fd, 2, MSG_PEEK);
	ask("off", set_option(c->fd, SOL_SOCKET, SO_PEEK_OFF, -1));
	ask_bytes("peek", c->fd, 2, MSG_PEEK);
}

QUESTION(trunc_throws_away, STATES & STREAMS)
{
	char in[8] = "unread";
	there_sends(c, "words");
	ask("trunc", recv(c->fd, in, 3, MSG_TRUNC));
	say("buffer '%s', queue %d", in, queued(c->fd));
	ask("trunc null", recv(c->fd, NULL, 1, MSG_TRUNC));
	ask("peek trunc", recv(c->fd, in, 8, MSG_PEEK | MSG_TRUNC));
	say("buffer '%s', queue %d", in, queued(c->fd));
	ask_bytes("recv", c->fd, 8, 0);
}

QUESTION(waitall, STATES)
{
	there_sends(c, "one ");
	peer_send_later(c, 40, "two ", 4, 0);
	ask_bytes("recv", c->fd, 8, MSG_WAITALL);
	ask("there", peer_join(c));
	there_sends(c, "three");
	ask_bytes("with dontwait", c->fd, 8, MSG_WAITALL | MSG_DONTWAIT);
}

QUESTION(waitall_with_a_timeout, STATES)
{
	there_sends(c, "one");
	set_timeout(c->fd, SO_RCVTIMEO, 60);
	ask_bytes("recv", c->fd, 8, MSG_WAITALL);
	ask_bytes("recv", c->fd, 8, MSG_WAITALL);
}

QUESTION(waitall_until_the_end, STATES & STREAMS)
{
	there_sends(c, "one");
	peer_shutdown_later(c, 40, SHUT_WR);
	ask_bytes("recv", c->fd, 8, MSG_WAITALL);
	ask("there", peer_join(c));
	ask_bytes("recv", c->fd, 8, MSG_WAITALL);
}

QUESTION(waitall_peek, STATES)
{
	there_sends(c, "one ");
	peer_send_later(c, 40, "two ", 4, 0);
	ask_bytes("peek", c->fd, 8, MSG_WAITALL | MSG_PEEK);
	ask("there", peer_join(c));
	ask_bytes("recv", c->fd, 8, MSG_WAITALL);
}

QUESTION(waitall_over_parts, STATES)
{
	char a[4] = { 0 }, b[4] = { 0 };
	struct iovec v[2] = { { a, 3 }, { b, 3 } };
	struct msghdr m = message_of(v, 2);
	there_sends(c, "wor");
	peer_send_later(c, 40, "ds!", 3, 0);
	ask("recvmsg", recvmsg(c->fd, &m, MSG_WAITALL));
	say("'%s' '%s' flags %#x", a, b, m.msg_flags);
	peer_join(c);
}

QUESTION(timeout, STATES)
{
	set_timeout(c->fd, SO_RCVTIMEO, 60);
	int64_t before = now_ms();
	ask("recv", take(c->fd, 8, 0));
	ask("read", read(c->fd, &before, 0));
	int64_t took = now_ms() - before;
	say("in time %d", took >= 55 && took < 2000);
	there_sends(c, "words");
	ask_bytes("recv", c->fd, 8, 0);
	peer_send_later(c, 20, "late", 4, 0);
	set_timeout(c->fd, SO_RCVTIMEO, 3000);
	ask_bytes("recv", c->fd, 8, 0);
	peer_join(c);
	set_timeout(c->fd, SO_RCVTIMEO, 0);
	ask("dontwait", take(c->fd, 8, MSG_DONTWAIT));
}

QUESTION(low_water_mark, STATES)
{
	ask("set", set_option(c->fd, SOL_SOCKET, SO_RCVLOWAT, 5));
	there_sends(c, "abc");
	say("poll %s, queue %d", bits(c->fd), queued(c->fd));
	set_timeout(c->fd, SO_RCVTIMEO, 60);
	ask_bytes("recv", c->fd, 8, 0);
	there_sends(c, "defghij");
	say("poll %s", bits(c->fd));
	ask_bytes("recv", c->fd, 2, 0);
	ask_bytes("recv", c->fd, 8, 0);
	there_sends(c, "k");
	ask_bytes("dontwait", c->fd, 8, MSG_DONTWAIT);
	OK(peer_shutdown(c, SHUT_WR));
	say("poll %s", bits(c->fd));
}

QUESTION(message_fields, STATES & STREAMS)
{
	char in[8], control[64];
	struct sockaddr_storage name;
	struct iovec v = { in, 3 };
	struct msghdr m = { &name, sizeof name, &v, 1, control, sizeof control, 0x7fff };
	memset(&name, 0xee, sizeof name);
	there_sends(c, "words");
	ask("recvmsg", recvmsg(c->fd, &m, 0));
	say("namelen %u, controllen %zu, flags %#x", m.msg_namelen, m.msg_controllen, m.msg_flags);
	say("name untouched %d, iov untouched %d", name.ss_family == 0xeeee,
	    v.iov_len == 3 && v.iov_base == in);
	ask("cloexec", recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC | MSG_PEEK));
	say("namelen %u, controllen %zu, flags %#x", m.msg_namelen, m.msg_controllen, m.msg_flags);
	m.msg_name = WILD;
	m.msg_namelen = 16;
	ask("wild name", recvmsg(c->fd, &m, MSG_PEEK));
	m.msg_namelen = (socklen_t)-1;
	ask("negative name length", recvmsg(c->fd, &m, MSG_PEEK));
	m.msg_name = NULL;
	m.msg_control = WILD;
	m.msg_controllen = 50;
	ask("wild control", recvmsg(c->fd, &m, MSG_PEEK));
	say("controllen %zu", m.msg_controllen);
}

QUESTION(recvfrom_address, STATES & STREAMS)
{
	char in[8];
	struct sockaddr_storage name;
	memset(&name, 0xee, sizeof name);
	socklen_t length = sizeof name;
	there_sends(c, "words");
	ask("recvfrom", recvfrom(c->fd, in, 2, 0, (struct sockaddr *)&name, &length));
	say("length %u, untouched %d", length, name.ss_family == 0xeeee);
	ask("length null", recvfrom(c->fd, in, 1, 0, (struct sockaddr *)&name, NULL));
	say("queue %d", queued(c->fd));
	ask("wild", recvfrom(c->fd, in, 1, 0, WILD, &length));
	say("queue %d", queued(c->fd));
}

QUESTION(each_flag, STATES)
{
	static const struct {
		const char *name;
		int flag;
	} flags[] = {
		{ "DONTROUTE", MSG_DONTROUTE }, { "EOR", MSG_EOR }, { "NOSIGNAL", MSG_NOSIGNAL },
		{ "MORE", MSG_MORE }, { "CTRUNC", MSG_CTRUNC }, { "CONFIRM", MSG_CONFIRM },
		{ "FIN", MSG_FIN }, { "SYN", MSG_SYN }, { "RST", MSG_RST },
		{ "WAITFORONE", MSG_WAITFORONE }, { "CMSG_CLOEXEC", MSG_CMSG_CLOEXEC },
		{ "FASTOPEN", MSG_FASTOPEN }, { "unknown", 0x800000 }, { "ZEROCOPY", MSG_ZEROCOPY },
		{ "ERRQUEUE", MSG_ERRQUEUE }, { "OOB", MSG_OOB },
	};
	there_sends(c, "abcdefghijklmnop");
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
		ask_bytes(flags[i].name, c->fd, 1, flags[i].flag | MSG_DONTWAIT);
}

QUESTION(many_messages, STATES & STREAMS)
{
	char in[3][4] = { { 0 } };
	struct iovec v[3];
	struct mmsghdr m[3] = { 0 };
	for (int i = 0; i < 3; i++) {
		v[i] = (struct iovec){ in[i], 3 };
		m[i].msg_hdr = message_of(&v[i], 1);
	}
	ask("nothing there", recvmmsg(c->fd, m, 3, MSG_DONTWAIT, NULL));
	there_sends(c, "abcdefgh");
	ask("recvmmsg", recvmmsg(c->fd, m, 3, 0, NULL));
	say("%u %u %u '%s' '%s' '%s'", m[0].msg_len, m[1].msg_len, m[2].msg_len, in[0], in[1], in[2]);
	there_sends(c, "ijkl");
	ask("wait for one", recvmmsg(c->fd, m, 3, MSG_WAITFORONE, NULL));
	there_sends(c, "m");
	ask("no message", recvmmsg(c->fd, m, 0, 0, NULL));
	ask("queue", queued(c->fd));
}

QUESTION(many_messages_in_a_time, STATES)
{
	char in[4];
	struct iovec v = { in, 4 };
	struct mmsghdr m[3] = { { message_of(&v, 1), 9 }, { message_of(&v, 1), 9 }, { message_of(&v, 1), 9 } };
	struct timespec over = { 0, 1 }, bad = { 0, 2000000000 };
	there_sends(c, "m");
	ask("time is over", recvmmsg(c->fd, m, 3, 0, &over));
	there_sends(c, "n");
	ask("bad time", recvmmsg(c->fd, m, 3, 0, &bad));
	ask("wild time", recvmmsg(c->fd, m, 3, 0, WILD));
}

QUESTION(many_messages_at_the_end, STATES & STREAMS)
{
	char in[4];
	struct iovec v = { in, 4 };
	struct mmsghdr m[3] = { { message_of(&v, 1), 9 }, { message_of(&v, 1), 9 }, { message_of(&v, 1), 9 } };
	there_sends(c, "abc");
	OK(peer_shutdown(c, SHUT_WR));
	bits(c->fd);
	ask("recvmmsg", recvmmsg(c->fd, m, 3, 0, NULL));
	say("%u %u %u", m[0].msg_len, m[1].msg_len, m[2].msg_len);
}

QUESTION(positioned, STATES & STREAMS)
{
	char in[8];
	struct iovec v = { in, 2 };
	there_sends(c, "abcdef");
	ask("pread", pread(c->fd, in, 2, 0));
	ask("preadv", preadv(c->fd, &v, 1, 0));
	ask("preadv2 at 0", preadv2(c->fd, &v, 1, 0, 0));
	ask("preadv2 at -1", preadv2(c->fd, &v, 1, -1, 0));
	ask("preadv2 nowait", preadv2(c->fd, &v, 1, -1, RWF_NOWAIT));
	ask("preadv2 high priority", preadv2(c->fd, &v, 1, -1, RWF_HIPRI));
	ask("preadv2 nowait, nothing there", preadv2(c->fd, &v, 1, -1, RWF_NOWAIT));
	ask("preadv2 unknown", preadv2(c->fd, &v, 1, -1, 0x4000000));
}

QUESTION(unconnected, ALONE)
{
	char in[8];
	int fd = tcp4();
	ask("recv", recv(fd, in, 8, 0));
	ask("peek", recv(fd, in, 8, MSG_PEEK));
	ask("nothing", recv(fd, in, 0, 0));
	ask("read nothing", read(fd, in, 0));
	ask("null", recv(fd, NULL, 8, 0));
	ask("OOB", recv(fd, in, 1, MSG_OOB));
	ask("errqueue", recv(fd, in, 1, MSG_ERRQUEUE));
	ask("v6", read(tcp6(), in, 8));
}

QUESTION(write_only_and_read_only_duplicates, STATES)
{
	/* A socket has no file to open again. */
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", c->fd);
	ask("open", open(path, O_RDONLY));
	ask("open write", open(path, O_WRONLY));
}

QUESTION(large, STATES & STREAMS)
{
	peer_produce_later(c, 0, 0, 2000000);
	static char in[2000000];
	ask("recv", recv(c->fd, in, sizeof in, MSG_WAITALL));
	ask("differs", pattern_differs(in, 0, sizeof in) + 1);
	ask("there", peer_join(c));
	say("poll %s, queue %d", bits(c->fd), queued(c->fd));
}
