/* getsockopt(2) and setsockopt(2): every option of every level, one question for each. */
#include <linux/filter.h>
#include <linux/tls.h>

#include "ask.h"

#define THEME "option"

struct option_row {
	const char *name;
	int level, option;
	int good; /* a value to set */
};

#define SOCKET(name, good) { #name, SOL_SOCKET, name, good }
#define TCP(name, good) { #name, IPPROTO_TCP, name, good }
#define IP(name, good) { #name, IPPROTO_IP, name, good }
#define IPV6(name, good) { #name, IPPROTO_IPV6, name, good }

static const struct option_row rows[] = {
	SOCKET(SO_DEBUG, 1),
	SOCKET(SO_REUSEADDR, 1),
	SOCKET(SO_TYPE, 1),
	SOCKET(SO_ERROR, 1),
	SOCKET(SO_DONTROUTE, 1),
	SOCKET(SO_BROADCAST, 1),
	SOCKET(SO_SNDBUF, 30000),
	SOCKET(SO_RCVBUF, 30000),
	SOCKET(SO_SNDBUFFORCE, 30000),
	SOCKET(SO_RCVBUFFORCE, 30000),
	SOCKET(SO_KEEPALIVE, 1),
	SOCKET(SO_OOBINLINE, 1),
	SOCKET(SO_NO_CHECK, 1),
	SOCKET(SO_PRIORITY, 3),
	SOCKET(SO_BSDCOMPAT, 1),
	SOCKET(SO_REUSEPORT, 1),
	SOCKET(SO_PASSCRED, 1),
	SOCKET(SO_PASSSEC, 1),
	SOCKET(SO_RCVLOWAT, 1),
	SOCKET(SO_SNDLOWAT, 1),
	SOCKET(SO_TIMESTAMP, 1),
	SOCKET(SO_TIMESTAMPNS, 1),
	SOCKET(SO_TIMESTAMPING, 0),
	SOCKET(SO_ACCEPTCONN, 1),
	SOCKET(SO_PROTOCOL, 6),
	SOCKET(SO_DOMAIN, 2),
	SOCKET(SO_RXQ_OVFL, 1),
	SOCKET(SO_WIFI_STATUS, 1),
	SOCKET(SO_PEEK_OFF, 1),
	SOCKET(SO_NOFCS, 1),
	SOCKET(SO_LOCK_FILTER, 1),
	SOCKET(SO_SELECT_ERR_QUEUE, 1),
	SOCKET(SO_BUSY_POLL, 10),
	SOCKET(SO_PREFER_BUSY_POLL, 1),
	SOCKET(SO_INCOMING_NAPI_ID, 1),
	SOCKET(SO_ZEROCOPY, 1),
	SOCKET(SO_MARK, 5),
	SOCKET(SO_DETACH_FILTER, 1),
	TCP(TCP_NODELAY, 1),
	TCP(TCP_MAXSEG, 1000),
	TCP(TCP_CORK, 1),
	TCP(TCP_KEEPIDLE, 100),
	TCP(TCP_KEEPINTVL, 20),
	TCP(TCP_KEEPCNT, 5),
	TCP(TCP_SYNCNT, 3),
	TCP(TCP_LINGER2, 10),
	TCP(TCP_DEFER_ACCEPT, 1),
	TCP(TCP_WINDOW_CLAMP, 20000),
	TCP(TCP_QUICKACK, 1),
	TCP(TCP_THIN_LINEAR_TIMEOUTS, 1),
	TCP(TCP_THIN_DUPACK, 1),
	TCP(TCP_USER_TIMEOUT, 5000),
	TCP(TCP_REPAIR, 0),
	TCP(TCP_FASTOPEN, 5),
	TCP(TCP_FASTOPEN_CONNECT, 1),
	TCP(TCP_FASTOPEN_NO_COOKIE, 1),
	TCP(TCP_TIMESTAMP, 1),
	TCP(TCP_NOTSENT_LOWAT, 20000),
	TCP(TCP_SAVE_SYN, 1),
	TCP(TCP_INQ, 1),
	IP(IP_TOS, 0x10),
	IP(IP_TTL, 10),
	IP(IP_HDRINCL, 1),
	IP(IP_RECVOPTS, 1),
	IP(IP_RETOPTS, 1),
	IP(IP_PKTINFO, 1),
	IP(IP_MTU_DISCOVER, IP_PMTUDISC_DO),
	IP(IP_RECVERR, 1),
	IP(IP_RECVTTL, 1),
	IP(IP_RECVTOS, 1),
	IP(IP_MTU, 1000),
	IP(IP_FREEBIND, 1),
	IP(IP_TRANSPARENT, 1),
	IP(IP_MINTTL, 2),
	IP(IP_MULTICAST_TTL, 2),
	IP(IP_MULTICAST_LOOP, 0),
	IP(IP_BIND_ADDRESS_NO_PORT, 1),
	IPV6(IPV6_V6ONLY, 1),
	IPV6(IPV6_UNICAST_HOPS, 10),
	IPV6(IPV6_MULTICAST_HOPS, 3),
	IPV6(IPV6_MULTICAST_LOOP, 0),
	IPV6(IPV6_TCLASS, 0x20),
	IPV6(IPV6_RECVPKTINFO, 1),
	IPV6(IPV6_RECVHOPLIMIT, 1),
	IPV6(IPV6_RECVTCLASS, 1),
	IPV6(IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO),
	IPV6(IPV6_RECVERR, 1),
	IPV6(IPV6_DONTFRAG, 1),
	IPV6(IPV6_ADDRFORM, AF_INET),
	IPV6(IPV6_AUTOFLOWLABEL, 1),
	{ "level_unknown", 9999, 1, 1 },
	{ "level_negative", -1, 1, 1 },
	{ "SO_unknown", SOL_SOCKET, 9999, 1 },
	{ "TCP_unknown", IPPROTO_TCP, 9999, 1 },
	{ "IP_unknown", IPPROTO_IP, 9999, 1 },
	{ "udp_level", IPPROTO_UDP, 1, 1 },
};

/* What may differ from one connection to the next has its value left out. */
static bool value_varies(const struct option_row *row)
{
	return row->level == IPPROTO_TCP &&
	       (row->option == TCP_QUICKACK || row->option == TCP_TIMESTAMP ||
		row->option == TCP_WINDOW_CLAMP);
}

static void say_value(const char *label, int fd, const struct option_row *row)
{
	const char *value = option(fd, row->level, row->option);
	say("%s %s", label, value_varies(row) && value[0] != 'E' ? "a value" : value);
}

static void ask_option(int fd)
{
	const struct option_row *row = asked()->about;
	int value = row->good;
	say_value("by default", fd, row);
	ask("set", set_option(fd, row->level, row->option, value));
	say_value("then", fd, row);
	ask("short", setsockopt(fd, row->level, row->option, &value, 1));
	ask("no length", setsockopt(fd, row->level, row->option, &value, 0));
	ask("null", setsockopt(fd, row->level, row->option, NULL, sizeof value));
	ask("wild", setsockopt(fd, row->level, row->option, WILD, sizeof value));
	ask("negative", set_option(fd, row->level, row->option, -1));
	ask("huge", set_option(fd, row->level, row->option, INT_MAX));
	say_value("at last", fd, row);
}

static void ask_connection(struct conn *c)
{
	ask_option(c->fd);
	exchange(c, 2);
	say("still talks");
}

static void ask_new(struct conn *c)
{
	(void)c;
	const struct option_row *row = asked()->about;
	ask_option(row->level == IPPROTO_IPV6 ? tcp6() : tcp4());
}

static void ask_listener(struct conn *c)
{
	(void)c;
	const struct option_row *row = asked()->about;
	int fd = row->level == IPPROTO_IPV6 ? tcp6() : tcp4();
	OK(listen(fd, 5));
	ask_option(fd);
}

__attribute__((constructor)) static void enlist_options(void)
{
	enum { COUNT = sizeof rows / sizeof rows[0] };
	static struct question questions[3 * COUNT];
	static char names[2 * COUNT][60];
	for (int i = 0; i < COUNT; i++) {
		const struct option_row *row = &rows[i];
		struct question *q = &questions[3 * i];
		snprintf(names[2 * i], sizeof names[0], "%s_new", row->name);
		snprintf(names[2 * i + 1], sizeof names[0], "%s_listening", row->name);
		unsigned states = row->level == IPPROTO_IPV6 ? V_WARM_ONE_INET6 | V_WARM_TWO_INET6
							     : V_FRESH_ONE | V_WARM_TWO;
		q[0] = (struct question){ THEME, names[2 * i], i, ALONE, ask_new, row };
		q[1] = (struct question){ THEME, names[2 * i + 1], i, ALONE, ask_listener, row };
		q[2] = (struct question){ THEME, row->name, i, states, ask_connection, row };
		for (int j = 0; j < 3; j++)
			enlist(&q[j]);
	}
}

/* ---- options that are more than a number --------------------------------------------------- */

QUESTION(lengths_of_get, STATES)
{
	unsigned char bytes[32];
	socklen_t sizes[] = { 0, 1, 2, 3, 4, 5, 8, 32, (socklen_t)-1 };
	for (int i = 0; i < 9; i++) {
		memset(bytes, 0xee, sizeof bytes);
		socklen_t size = sizes[i];
		ask("type", getsockopt(c->fd, SOL_SOCKET, SO_TYPE, bytes, &size));
		say("%d bytes", (int)size);
		size = sizes[i];
		ask("nodelay", getsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, bytes, &size));
		say("%d bytes", (int)size);
	}
}

QUESTION(pointers_of_get, STATES)
{
	int value;
	socklen_t size = sizeof value;
	ask("null", getsockopt(c->fd, SOL_SOCKET, SO_TYPE, NULL, &size));
	ask("wild", getsockopt(c->fd, SOL_SOCKET, SO_TYPE, WILD, &size));
	ask("length null", getsockopt(c->fd, SOL_SOCKET, SO_TYPE, &value, NULL));
	ask("length wild", getsockopt(c->fd, SOL_SOCKET, SO_TYPE, &value, WILD));
	ask("error wild", getsockopt(c->fd, SOL_SOCKET, SO_ERROR, WILD, &size));
	ask("info wild", getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, WILD, &size));
	ask("tcp length wild", getsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &value, WILD));
}

QUESTION(buffers_by_default, STATES)
{
	say("rcvbuf positive %d", atoi(option(c->fd, SOL_SOCKET, SO_RCVBUF)) > 0);
	say("sndbuf positive %d", atoi(option(c->fd, SOL_SOCKET, SO_SNDBUF)) > 0);
	OK(set_option(c->fd, SOL_SOCKET, SO_RCVBUF, 10000));
	OK(set_option(c->fd, SOL_SOCKET, SO_SNDBUF, 10000));
	say("doubled %s", option(c->fd, SOL_SOCKET, SO_RCVBUF));
	say("doubled %s", option(c->fd, SOL_SOCKET, SO_SNDBUF));
	OK(set_option(c->fd, SOL_SOCKET, SO_RCVBUF, 1));
	OK(set_option(c->fd, SOL_SOCKET, SO_SNDBUF, 1));
	say("smallest %s", option(c->fd, SOL_SOCKET, SO_RCVBUF));
	say("smallest %s", option(c->fd, SOL_SOCKET, SO_SNDBUF));
	exchange(c, 3);
	say("talks");
}

QUESTION(timeouts, STATES)
{
	int names[] = { SO_RCVTIMEO, SO_SNDTIMEO };
	for (int i = 0; i < 2; i++) {
		struct timeval t = { 7, 7 };
		socklen_t size = sizeof t;
		ask("get", getsockopt(c->fd, SOL_SOCKET, names[i], &t, &size));
		say("by default %ld %ld, %u bytes", (long)t.tv_sec, (long)t.tv_usec, size);
		t = (struct timeval){ 1, 500000 };
		ask("set", setsockopt(c->fd, SOL_SOCKET, names[i], &t, sizeof t));
		OK(getsockopt(c->fd, SOL_SOCKET, names[i], &t, &size));
		say("then %ld %ld", (long)t.tv_sec, (long)t.tv_usec);
		t = (struct timeval){ 0, 1000000 };
		ask("microseconds too big", setsockopt(c->fd, SOL_SOCKET, names[i], &t, sizeof t));
		t = (struct timeval){ 0, -1 };
		ask("microseconds negative", setsockopt(c->fd, SOL_SOCKET, names[i], &t, sizeof t));
		t = (struct timeval){ -5, 0 };
		ask("negative", setsockopt(c->fd, SOL_SOCKET, names[i], &t, sizeof t));
		OK(getsockopt(c->fd, SOL_SOCKET, names[i], &t, &size));
		say("then %ld %ld", (long)t.tv_sec, (long)t.tv_usec);
		ask("short", setsockopt(c->fd, SOL_SOCKET, names[i], &t, sizeof t - 1));
		ask("wild", setsockopt(c->fd, SOL_SOCKET, names[i], WILD, sizeof t));
	}
	ask("recv", take(c->fd, 1, MSG_DONTWAIT));
}

QUESTION(congestion_control, STATES & OF_TCP)
{
	char name[32] = "";
	socklen_t size = sizeof name;
	ask("get", getsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, name, &size));
	say("%d bytes, named %d", (int)size, name[0] != 0);
	ask("reno", setsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	size = sizeof name;
	OK(getsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, name, &size));
	say("'%s'", name);
	ask("unknown", setsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6));
	ask("empty", setsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, "", 0));
	exchange(c, 2);
}

QUESTION(upper_layer, STATES)
{
	char name[32] = "";
	socklen_t size = sizeof name;
	ask("get", getsockopt(c->fd, IPPROTO_TCP, TCP_ULP, name, &size));
	say("%d bytes", (int)size);
	ask("unknown", setsockopt(c->fd, IPPROTO_TCP, TCP_ULP, "nosuch", 6));
	exchange(c, 2);
}

QUESTION(tcp_info_lengths, STATES)
{
	unsigned char info[512];
	socklen_t sizes[] = { 0, 1, 8, 104 };
	for (int i = 0; i < 4; i++) {
		socklen_t size = sizes[i];
		memset(info, 0xee, sizeof info);
		ask("info", getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, info, &size));
		say("%d bytes, state %d, next untouched %d", (int)size, sizes[i] > 0 ? info[0] : -1,
		    info[sizes[i]] == 0xee);
	}
	ask("set", setsockopt(c->fd, IPPROTO_TCP, TCP_INFO, info, 8));
}

QUESTION(tcp_info_counts_bytes, STATES & OF_TCP)
{
	struct tcp_info info;
	socklen_t size = sizeof info;
	exchange(c, 4);
	OK(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	say("retransmits %d, sent mss positive %d", info.tcpi_retransmits, info.tcpi_snd_mss > 0);
	say("unacked %u, lost %u", info.tcpi_unacked, info.tcpi_lost);
}

QUESTION(cookie, STATES)
{
	uint64_t cookie = 0, again = 0;
	socklen_t size = sizeof cookie;
	ask("get", getsockopt(c->fd, SOL_SOCKET, SO_COOKIE, &cookie, &size));
	say("%d bytes, some %d", (int)size, cookie != 0);
	OK(getsockopt(c->fd, SOL_SOCKET, SO_COOKIE, &again, &size));
	say("same %d", cookie == again);
	size = 4;
	ask("short", getsockopt(c->fd, SOL_SOCKET, SO_COOKIE, &cookie, &size));
	ask("set", setsockopt(c->fd, SOL_SOCKET, SO_COOKIE, &cookie, 8));
}

QUESTION(peer_credentials, STATES)
{
	struct ucred peer = { 7, 7, 7 };
	socklen_t size = sizeof peer;
	ask("get", getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size));
	const char *whose = peer.pid == getpid() ? "our" : peer.pid == c->peer_pid ? "the peer's" : peer.pid == 0 ? "no" : "another";
	say("%s process, %d %d, %d bytes", whose, (int)peer.uid, (int)peer.gid, (int)size);
	char label[64];
	size = sizeof label;
	ask("label", getsockopt(c->fd, SOL_SOCKET, SO_PEERSEC, label, &size));
}

QUESTION(bind_to_device, STATES)
{
	char name[16] = "?";
	socklen_t size = sizeof name;
	ask("get", getsockopt(c->fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size));
	say("'%s', %d bytes", name, (int)size);
	ask("lo", setsockopt(c->fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	size = sizeof name;
	OK(getsockopt(c->fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size));
	say("'%s', %d bytes", name, (int)size);
	size = 2;
	ask("short", getsockopt(c->fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size));
	ask("unknown", setsockopt(c->fd, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8));
	ask("none", setsockopt(c->fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
	exchange(c, 2);
}

QUESTION(incoming_cpu, STATES)
{
	say("a number %d", atoi(option(c->fd, SOL_SOCKET, SO_INCOMING_CPU)) >= -1);
	ask("set", set_option(c->fd, SOL_SOCKET, SO_INCOMING_CPU, 0));
	exchange(c, 2);
}

QUESTION(filter, STATES)
{
	struct sock_filter all[] = { BPF_STMT(BPF_RET | BPF_K, 0xffffffff) };
	struct sock_fprog program = { 1, all }, empty = { 0, all };
	ask("attach", setsockopt(c->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	ask("empty", setsockopt(c->fd, SOL_SOCKET, SO_ATTACH_FILTER, &empty, sizeof empty));
	ask("short", setsockopt(c->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, 4));
	exchange(c, 3);
	ask("detach", set_option(c->fd, SOL_SOCKET, SO_DETACH_FILTER, 0));
	ask("detach again", set_option(c->fd, SOL_SOCKET, SO_DETACH_FILTER, 0));
	exchange(c, 3);
}

QUESTION(original_destination, STATES)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof address;
	ask("SO_ORIGINAL_DST", getsockopt(c->fd, IPPROTO_IP, 80, &address, &size));
}

QUESTION(timestamps_received, STATES)
{
	ask("set", set_option(c->fd, SOL_SOCKET, SO_TIMESTAMP, 1));
	sleep_ms(50); /* the kernel turns its clock on in the background */
	EQ(peer_send(c, "words", 5, 0), 5);
	arrived(c->fd, 5);
	char in[8], control[128];
	struct iovec v = { in, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 128 };
	ask("recvmsg", recvmsg(c->fd, &m, 0));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	say("controllen %zu, type %d", m.msg_controllen, h != NULL ? h->cmsg_type : -1);
}

QUESTION(bytes_in_queue_received, STATES)
{
	ask("set", set_option(c->fd, IPPROTO_TCP, TCP_INQ, 1));
	EQ(peer_send(c, "words", 5, 0), 5);
	arrived(c->fd, 5);
	char in[8], control[128];
	struct iovec v = { in, 2 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 128 };
	ask("recvmsg", recvmsg(c->fd, &m, 0));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	int left = -1;
	if (h != NULL)
		memcpy(&left, CMSG_DATA(h), sizeof left);
	say("controllen %zu, left %d", m.msg_controllen, left);
}

QUESTION(options_of_others, ALONE)
{
	int pair[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ask("tcp option of unix", set_option(pair[0], IPPROTO_TCP, TCP_NODELAY, 1));
	int udp = (int)OK(socket(AF_INET, SOCK_DGRAM, 0));
	ask("tcp option of udp", set_option(udp, IPPROTO_TCP, TCP_NODELAY, 1));
	ask("v6 option of v4", set_option(tcp4(), IPPROTO_IPV6, IPV6_V6ONLY, 1));
	ask("v4 option of v6", set_option(tcp6(), IPPROTO_IP, IP_TTL, 9));
	ask("get v6 option of v4", getsockopt(tcp4(), IPPROTO_IPV6, IPV6_V6ONLY, &udp, &(socklen_t){ 4 }));
}

QUESTION(v6_address_form_of_mapped, V_MAPPED_CLIENT)
{
	ask("to v4", set_option(c->fd, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET));
	say("domain %s", option(c->fd, SOL_SOCKET, SO_DOMAIN));
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	OK(getsockname(c->fd, (struct sockaddr *)&address, &length));
	say("%s", address_text(&address, length, 0));
	exchange(c, 3);
	say("talks");
}
