/* send(2), sendto, sendmsg, sendmmsg, write, writev on a connection: flags, lengths, wrong arguments. */
#include "ask.h"

#include <linux/errqueue.h>

#define THEME "send"

static char zeros[1 << 16];

static struct msghdr message_of(struct iovec *v, size_t count)
{
	return (struct msghdr){ .msg_iov = v, .msg_iovlen = count };
}

QUESTION(nothing, STATES & STREAMS)
{
	ask("send", send(c->fd, "", 0, 0));
	ask("send null", send(c->fd, NULL, 0, 0));
	ask("write", write(c->fd, "", 0));
	ask("write null", write(c->fd, NULL, 0));
	ask("sendto", sendto(c->fd, "", 0, 0, NULL, 0));
	ask("writev of nothing", writev(c->fd, NULL, 0));
	struct iovec v = { NULL, 0 };
	ask("writev of an empty one", writev(c->fd, &v, 1));
	struct msghdr m = message_of(NULL, 0);
	ask("sendmsg", sendmsg(c->fd, &m, 0));
	say("there %s", there_bits(c));
	exchange(c, 1);
}

QUESTION(wrong_pointer, STATES & STREAMS)
{
	ask("null", send(c->fd, NULL, 5, MSG_NOSIGNAL));
	ask("wild", send(c->fd, WILD, 5, MSG_NOSIGNAL));
	ask("write null", write(c->fd, NULL, 5));
	ask("write wild", write(c->fd, WILD, 5));
	ask("sendto wild", sendto(c->fd, WILD, 5, 0, NULL, 0));
	ask("wild of no length", send(c->fd, WILD, 0, 0));
	say("there %s", there_bits(c));
	exchange(c, 2);
}

QUESTION(wrong_vector, STATES)
{
	struct iovec wild = { WILD, 5 }, null = { NULL, 5 }, negative = { zeros, (size_t)-1 };
	struct iovec long_sum[2] = { { zeros, SSIZE_MAX }, { zeros, SSIZE_MAX } };
	ask("wild base", writev(c->fd, &wild, 1));
	ask("null base", writev(c->fd, &null, 1));
	ask("negative length", writev(c->fd, &negative, 1));
	ask("sum too long", writev(c->fd, long_sum, 2));
	ask("negative count", writev(c->fd, &wild, -1));
	ask("count of IOV_MAX + 1", writev(c->fd, &wild, IOV_MAX + 1));
	struct msghdr m = message_of(&wild, 1);
	ask("sendmsg wild base", sendmsg(c->fd, &m, 0));
	m = message_of(&negative, 1);
	ask("sendmsg negative length", sendmsg(c->fd, &m, 0));
	m = message_of(&wild, IOV_MAX + 1);
	ask("sendmsg IOV_MAX + 1", sendmsg(c->fd, &m, 0));
	say("there %s", there_bits(c));
	exchange(c, 2);
}

QUESTION(wild_structures, STATES)
{
	struct msghdr m = message_of(WILD, 1);
	ask("sendmsg", sendmsg(c->fd, WILD, 0));
	ask("sendmsg null", sendmsg(c->fd, NULL, 0));
	ask("sendmsg wild vector", sendmsg(c->fd, &m, 0));
	ask("writev", writev(c->fd, WILD, 1));
	ask("writev null", writev(c->fd, NULL, 1));
	ask("sendmmsg", sendmmsg(c->fd, WILD, 1, 0));
	struct mmsghdr first = { m, 0 };
	ask("sendmmsg wild vector", sendmmsg(c->fd, &first, 1, 0));
	exchange(c, 2);
}

QUESTION(second_part_is_wild, STATES)
{
	struct iovec v[2] = { { "good", 4 }, { WILD, 4 } };
	ask("writev", writev(c->fd, v, 2));
	say_there(c);
	struct msghdr m = message_of(v, 2);
	ask("sendmsg", sendmsg(c->fd, &m, MSG_NOSIGNAL));
	say_there(c);
}

QUESTION(vector_of_the_longest, STATES)
{
	static struct iovec v[IOV_MAX];
	for (int i = 0; i < IOV_MAX; i++)
		v[i] = (struct iovec){ "ab", i % 3 == 0 ? 0 : 2 };
	v[6].iov_base = NULL;
	ask("writev", writev(c->fd, v, IOV_MAX));
	say("there %d", there_arrived(c, 1364));
}

QUESTION(length_beyond_the_buffer, STATES)
{
	/* The kernel copies as far as there is memory. */
	set_nonblock(c->fd, true);
	ssize_t n = send(c->fd, zeros, (size_t)SSIZE_MAX + 1, MSG_NOSIGNAL);
	say("more than SSIZE_MAX %s", n < 0 ? result(n) : n > 0 ? "some" : "none");
}

QUESTION(address_given, STATES)
{
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN));
	struct sockaddr_storage address;
	socklen_t length = local(family, closed_port(family), &address);
	struct sockaddr *a = (struct sockaddr *)&address;
	ask("elsewhere", sendto(c->fd, "one", 3, 0, a, length));
	ask("short address", sendto(c->fd, "two", 3, 0, a, 3));
	ask("wild address", sendto(c->fd, "three", 5, 0, WILD, length));
	ask("length too long", sendto(c->fd, "four", 4, 0, a, 1000));
	ask("length negative", sendto(c->fd, "five", 4, 0, a, (socklen_t)-1));
	struct iovec v = { "six", 3 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_name = a, .msg_namelen = length };
	ask("sendmsg", sendmsg(c->fd, &m, 0));
	m.msg_name = WILD;
	ask("sendmsg wild name", sendmsg(c->fd, &m, 0));
	m.msg_name = a;
	m.msg_namelen = 1000;
	ask("sendmsg long name", sendmsg(c->fd, &m, 0));
	m.msg_name = NULL;
	ask("sendmsg null name", sendmsg(c->fd, &m, 0));
	there_arrived(c, 15);
	say_there(c);
}

QUESTION(each_flag, STATES)
{
	static const struct {
		const char *name;
		int flag;
	} flags[] = {
		{ "DONTWAIT", MSG_DONTWAIT }, { "NOSIGNAL", MSG_NOSIGNAL }, { "EOR", MSG_EOR },
		{ "CONFIRM", MSG_CONFIRM }, { "DONTROUTE", MSG_DONTROUTE }, { "PEEK", MSG_PEEK },
		{ "WAITALL", MSG_WAITALL }, { "TRUNC", MSG_TRUNC }, { "CTRUNC", MSG_CTRUNC },
		{ "ERRQUEUE", MSG_ERRQUEUE }, { "PROXY", MSG_PROXY }, { "FIN", MSG_FIN },
		{ "SYN", MSG_SYN }, { "RST", MSG_RST }, { "CMSG_CLOEXEC", MSG_CMSG_CLOEXEC },
		{ "ZEROCOPY without the option", MSG_ZEROCOPY }, { "FASTOPEN", MSG_FASTOPEN },
		{ "BATCH", 0x40000 }, { "unknown", 0x800000 }, { "more", MSG_MORE }, { "none", 0 },
	};
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
		ask(flags[i].name, send(c->fd, "x", 1, flags[i].flag));
	say("there %d", there_arrived(c, 20));
}

QUESTION(more, STATES)
{
	ask("more", send(c->fd, "first ", 6, MSG_MORE));
	ask("more", send(c->fd, "second", 6, MSG_MORE));
	ask("none", send(c->fd, "!", 1, 0));
	say("there %d", there_arrived(c, 13));
	say_there(c);
}

QUESTION(more_then_shutdown, STATES)
{
	ask("more", send(c->fd, "held", 4, MSG_MORE));
	ask("shutdown", shutdown(c->fd, SHUT_WR));
	say("there %d", there_arrived(c, 4));
	say_there(c);
	say_there(c);
}

QUESTION(more_then_close, STATES)
{
	ask("more", send(c->fd, "held", 4, MSG_MORE));
	ask("close", close(c->fd));
	say("there %d", there_arrived(c, 4));
	say_there(c);
	say_there(c);
}

QUESTION(cork, STATES & STREAMS)
{
	ask("cork", set_option(c->fd, IPPROTO_TCP, TCP_CORK, 1));
	ask("send", send(c->fd, "held ", 5, 0));
	ask("send", write(c->fd, "back", 4));
	ask("uncork", set_option(c->fd, IPPROTO_TCP, TCP_CORK, 0));
	say("there %d", there_arrived(c, 9));
	say_there(c);
	exchange(c, 2);
}

QUESTION(cork_lets_go_by_itself, STATES)
{
	ask("cork", set_option(c->fd, IPPROTO_TCP, TCP_CORK, 1));
	ask("send", send(c->fd, "held", 4, 0));
	say("there %d", there_arrived(c, 4)); /* tcp(7): after 200 ms at most */
}

QUESTION(full, STATES & STREAMS)
{
	set_nonblock(c->fd, true);
	fill(c->fd);
	ask("send", send(c->fd, "x", 1, 0));
	ask("write", write(c->fd, "x", 1));
	struct iovec v = { "x", 1 };
	ask("writev", writev(c->fd, &v, 1));
	struct msghdr m = message_of(&v, 1);
	ask("sendmsg", sendmsg(c->fd, &m, 0));
	ask("nothing", send(c->fd, "", 0, 0));
	ask("wild", send(c->fd, WILD, 1, 0));
	say("poll %s; there %s", bits(c->fd), there_bits(c));
	int n = 0;
	ask("TIOCOUTQ", ioctl(c->fd, TIOCOUTQ, &n));
	say("some %d, %s", n > 0, state(c->fd));
}

QUESTION(full_with_a_timeout, STATES & STREAMS)
{
	fill(c->fd);
	set_timeout(c->fd, SO_SNDTIMEO, 60);
	int64_t before = now_ms();
	ask("send", send(c->fd, "x", 1, 0));
	int64_t took = now_ms() - before;
	say("in time %d", took >= 55 && took < 2000);
	ask("dontwait", send(c->fd, "x", 1, MSG_DONTWAIT));
}

QUESTION(partly_with_a_timeout, STATES)
{
	set_timeout(c->fd, SO_SNDTIMEO, 100);
	size_t length = 64 << 20;
	char *much = calloc(1, length);
	ssize_t n = send(c->fd, much, length, 0);
	say("part %d", n > 0 && n < (ssize_t)length);
}

QUESTION(large_and_taken_slowly, STATES & STREAMS)
{
	peer_verify_later(c, 50, 0, 3000000);
	char *much = malloc(3000000);
	pattern_fill(much, 0, 3000000);
	ask("send", send(c->fd, much, 3000000, 0));
	ask("there", peer_join(c));
}

QUESTION(unconnected, ALONE)
{
	struct sockaddr_storage address;
	socklen_t length = local(AF_INET, closed_port(AF_INET), &address);
	int fd = tcp4();
	struct msghdr m = { 0 };
	ask("send", send(fd, "x", 1, MSG_NOSIGNAL));
	ask("send nothing", send(fd, "", 0, MSG_NOSIGNAL));
	ask("sendto", sendto(fd, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&address, length));
	ask("sendmsg", sendmsg(fd, &m, MSG_NOSIGNAL));
	ask("send null", send(fd, NULL, 5, MSG_NOSIGNAL));
	ask("OOB", send(fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
	count_sigpipe();
	ask("write", write(fd, "x", 1));
	say("SIGPIPE %d", sigpipes_seen());
	ask("v6", send(tcp6(), "x", 1, MSG_NOSIGNAL));
}

QUESTION(control_messages, STATES)
{
	struct iovec v = { "x", 1 };
	char control[64] = { 0 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *h = (struct cmsghdr *)control;
	m.msg_controllen = CMSG_LEN(sizeof(int));
	h->cmsg_len = CMSG_LEN(sizeof(int));
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	ask("rights", sendmsg(c->fd, &m, 0));
	h->cmsg_type = SO_MARK;
	ask("mark", sendmsg(c->fd, &m, 0));
	h->cmsg_type = 999;
	ask("unknown", sendmsg(c->fd, &m, 0));
	h->cmsg_level = IPPROTO_IP;
	h->cmsg_type = IP_TTL;
	ask("ip", sendmsg(c->fd, &m, 0));
	h->cmsg_len = 3;
	ask("too short", sendmsg(c->fd, &m, 0));
	m.msg_control = WILD;
	ask("wild", sendmsg(c->fd, &m, 0));
	m.msg_controllen = (size_t)INT_MAX + 1;
	ask("far too long", sendmsg(c->fd, &m, 0));
	m.msg_control = NULL;
	m.msg_controllen = 0;
	m.msg_flags = -1;
	ask("msg_flags set", sendmsg(c->fd, &m, 0));
	say("there %d", there_arrived(c, 3));
}

QUESTION(many_messages, STATES)
{
	struct iovec v[3] = { { "one ", 4 }, { "two ", 4 }, { "three", 5 } };
	struct mmsghdr m[3] = { { { 0 }, 77 }, { { 0 }, 77 }, { { 0 }, 77 } };
	for (int i = 0; i < 3; i++)
		m[i].msg_hdr = message_of(&v[i], 1);
	ask("sendmmsg", sendmmsg(c->fd, m, 3, 0));
	say("lengths %u %u %u", m[0].msg_len, m[1].msg_len, m[2].msg_len);
	say("there %d", there_arrived(c, 13));
	say_there(c);
	v[1].iov_base = WILD;
	ask("second wild", sendmmsg(c->fd, m, 3, 0));
	ask("none", sendmmsg(c->fd, m, 0, 0));
}

QUESTION(many_messages_into_a_closed_one, STATES)
{
	struct iovec v = { "x", 1 };
	struct mmsghdr m[2] = { { message_of(&v, 1), 0 }, { message_of(&v, 1), 0 } };
	OK(shutdown(c->fd, SHUT_WR));
	count_sigpipe();
	ask("sendmmsg", sendmmsg(c->fd, m, 2, 0));
	say("SIGPIPE %d", sigpipes_seen());
	ask("nosignal", sendmmsg(c->fd, m, 2, MSG_NOSIGNAL));
	say("SIGPIPE %d", sigpipes_seen());
}

QUESTION(positioned, STATES)
{
	struct iovec v = { "x", 1 };
	ask("pwrite", pwrite(c->fd, "x", 1, 0));
	ask("pwritev", pwritev(c->fd, &v, 1, 0));
	ask("pwritev2 at 0", pwritev2(c->fd, &v, 1, 0, 0));
	ask("pwritev2 at -1", pwritev2(c->fd, &v, 1, -1, 0));
	ask("pwritev2 nowait", pwritev2(c->fd, &v, 1, -1, RWF_NOWAIT));
	ask("pwritev2 append", pwritev2(c->fd, &v, 1, -1, RWF_APPEND));
	ask("pwritev2 unknown", pwritev2(c->fd, &v, 1, -1, 0x4000000));
	say("there %d", there_arrived(c, 2));
}

QUESTION(error_queue, STATES)
{
	char in[8];
	struct iovec v = { in, 8 };
	struct msghdr m = message_of(&v, 1);
	ask("recv", recv(c->fd, in, 8, MSG_ERRQUEUE | MSG_DONTWAIT));
	ask("recvmsg", recvmsg(c->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT));
	ask("there send", peer_send(c, "x", 1, 0));
	say("queue %d", arrived(c->fd, 1));
	ask("recv", recv(c->fd, in, 8, MSG_ERRQUEUE | MSG_DONTWAIT));
	ask("recv", recv(c->fd, in, 8, MSG_DONTWAIT));
}

QUESTION(zero_copy, STATES)
{
	ask("option", set_option(c->fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	ask("send", send(c->fd, zeros, 20000, MSG_ZEROCOPY));
	say("there %d", there_arrived(c, 20000));
	char control[256];
	struct msghdr m = { .msg_control = control, .msg_controllen = sizeof control };
	say("poll %s", poll_bits(poll_one(c->fd, 0, 2000)));
	ssize_t n = recvmsg(c->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
	ask("recvmsg", n);
	struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&m);
	if (h != NULL) {
		say("flags %#x, level %d type %d", m.msg_flags, h->cmsg_level, h->cmsg_type);
		struct sock_extended_err e;
		memcpy(&e, CMSG_DATA(h), sizeof e);
		say("errno %u origin %u from %u to %u", e.ee_errno, e.ee_origin, e.ee_info, e.ee_data);
	}
}
