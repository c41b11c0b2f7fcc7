/* Words for answers, and the sets of calls that many questions begin with. */
#include <sys/mman.h>
#include <sys/un.h>

#include "ask.h"

/* A few of the texts made below live at the same time, as arguments of one say(). */
static char *text(void)
{
	static char texts[16][256];
	static int next;
	char *it = texts[next++ % 16];
	it[0] = 0;
	return it;
}

const char *error_name(int error)
{
	if (error == 0)
		return "0";
	if (error == EAGAIN)
		return "EAGAIN";
	const char *name = strerrorname_np(error);
	return name != NULL ? name : "unnamed error";
}

const char *result(long value)
{
	if (value < 0)
		return error_name(errno);
	char *it = text();
	sprintf(it, "%ld", value);
	return it;
}

void ask(const char *what, long value)
{
	say("%s %s", what, result(value));
}

struct bit {
	unsigned value;
	const char *name;
};

static const char *bit_names(const struct bit *bit, unsigned value)
{
	char *it = text();
	for (; bit->name != NULL; bit++)
		if (value & bit->value) {
			if (it[0] != 0)
				strcat(it, "|");
			strcat(it, bit->name);
			value &= ~bit->value;
		}
	if (value != 0)
		sprintf(it + strlen(it), "|0x%x", value);
	return it[0] != 0 ? it : "none";
}

const char *poll_bits(int revents)
{
	static const struct bit names[] = {
		{ POLLIN, "IN" }, { POLLPRI, "PRI" }, { POLLOUT, "OUT" }, { POLLRDHUP, "RDHUP" },
		{ POLLERR, "ERR" }, { POLLHUP, "HUP" }, { POLLNVAL, "NVAL" }, { POLLRDNORM, "RDNORM" },
		{ POLLRDBAND, "RDBAND" }, { POLLWRNORM, "WRNORM" }, { POLLWRBAND, "WRBAND" }, { 0, NULL },
	};
	return bit_names(names, (unsigned)revents & 0xffff);
}

const char *epoll_bits(unsigned events)
{
	static const struct bit names[] = {
		{ EPOLLIN, "IN" }, { EPOLLPRI, "PRI" }, { EPOLLOUT, "OUT" }, { EPOLLRDHUP, "RDHUP" },
		{ EPOLLERR, "ERR" }, { EPOLLHUP, "HUP" }, { EPOLLRDNORM, "RDNORM" },
		{ EPOLLRDBAND, "RDBAND" }, { EPOLLWRNORM, "WRNORM" }, { EPOLLWRBAND, "WRBAND" },
		{ EPOLLMSG, "MSG" }, { 0, NULL },
	};
	return bit_names(names, events);
}

const char *state_name(int tcp_state)
{
	static const char *const names[] = { "none", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1",
					     "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
					     "LISTEN", "CLOSING" };
	return tcp_state >= 0 && tcp_state < 12 ? names[tcp_state] : "no state";
}

/* ---- values that need a moment ------------------------------------------------------------ */

/* Looks until it has seen the same three times in a row, a millisecond apart. */
static long settled(long (*look)(int *fd, long a, long b), int fd, long a)
{
	long last = look(&fd, a, 0);
	for (int same = 0, looks = 0; same < 3 && looks < 500; looks++) {
		sleep_ms(1);
		long now = look(&fd, a, 0);
		same = now == last ? same + 1 : 0;
		last = now;
	}
	return last;
}

static long look_poll(int *fd, long events, long unused)
{
	(void)unused;
	return poll_one(*fd, (int)events, 0);
}

static long look_state(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	struct tcp_info info = { 0 };
	socklen_t size = sizeof info;
	return getsockopt(*fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ? -1 : info.tcpi_state;
}

static long look_queue(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	int n = 0;
	return ioctl(*fd, FIONREAD, &n) < 0 ? -1 : n;
}

static long settled_poll(int *fd, long events, long unused)
{
	(void)unused;
	return settled(look_poll, *fd, events);
}

/* An acknowledgement may be delayed (RFC 1122, 4.2.3.2), and with it the next state. */
static long settled_state(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	long now = settled(look_state, *fd, 0);
	for (int looks = 0; looks < 300; looks++, now = look_state(fd, 0, 0)) {
		if (now != TCP_FIN_WAIT1 && now != TCP_CLOSING && now != TCP_LAST_ACK)
			break;
		sleep_ms(1);
	}
	return now;
}

const char *bits(int fd)
{
	return poll_bits((int)settled(look_poll, fd, ALL_EVENTS));
}

const char *there_bits(struct conn *c)
{
	return poll_bits((int)peer_call(c, settled_poll, ALL_EVENTS, 0));
}

const char *state(int fd)
{
	return state_name((int)settled_state(&fd, 0, 0));
}

const char *there_state(struct conn *c)
{
	return state_name((int)peer_call(c, settled_state, 0, 0));
}

int queued(int fd)
{
	return (int)settled(look_queue, fd, 0);
}

void say_both(const char *label, struct conn *c)
{
	const char *here = bits(c->fd);
	const char *here_state = state(c->fd);
	const char *there = there_bits(c);
	say("%s: here %s %s, there %s %s", label, here, here_state, there, there_state(c));
}

static const char *error_of(long value)
{
	return value < 0 ? result(value) : error_name((int)value);
}

static long take_error(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	int error = -1;
	socklen_t size = sizeof error;
	return getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -1 : error;
}

const char *pending(int fd)
{
	return error_of(take_error(&fd, 0, 0));
}

const char *there_pending(struct conn *c)
{
	return error_of(peer_call(c, take_error, 0, 0));
}

void say_end(const char *label, int fd)
{
	const char *before = bits(fd), *tcp = state(fd);
	say("%s %s, %s, error %s", label, before, tcp, pending(fd));
}

void say_there_end(const char *label, struct conn *c)
{
	const char *before = there_bits(c), *tcp = there_state(c);
	say("%s %s, %s, error %s", label, before, tcp, there_pending(c));
}

int arrived(int fd, int wanted_bytes)
{
	int n = 0;
	for (int64_t end = now_ms() + 2000; now_ms() < end; sleep_ms(1))
		if (ioctl(fd, FIONREAD, &n) < 0 || n >= wanted_bytes)
			break;
	return n;
}

struct waiting {
	long (*call)(int fd);
	int fd;
	long answer;
	int error;
	volatile bool done;
};

static void *wait_for_it(void *argument)
{
	struct waiting *w = argument;
	w->answer = w->call(w->fd);
	w->error = errno;
	__atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

bool waits(long (*call)(int fd), int fd, long *answer)
{
	struct waiting *w = calloc(1, sizeof *w);
	w->call = call;
	w->fd = fd;
	pthread_t thread;
	EQ(pthread_create(&thread, NULL, wait_for_it, w), 0);
	for (int64_t end = now_ms() + 500; now_ms() < end; sleep_ms(1))
		if (__atomic_load_n(&w->done, __ATOMIC_SEQ_CST)) {
			pthread_join(thread, NULL);
			*answer = w->answer;
			errno = w->error;
			return false;
		}
	return true;
}

/* ---- bytes -------------------------------------------------------------------------------- */

static char taken[1 << 20];

ssize_t take(int fd, size_t length, int flags)
{
	return recv(fd, taken, length < sizeof taken ? length : sizeof taken, flags);
}

void ask_bytes(const char *what, int fd, size_t length, int flags)
{
	ssize_t n = take(fd, length, flags);
	if (n > 0 && n < 60)
		say("%s %zd '%.*s'", what, n, (int)n, taken);
	else
		ask(what, n);
}

void there_sends(struct conn *c, const char *words)
{
	int before = queued(c->fd);
	EQ(peer_send_all(c, words, strlen(words)), strlen(words));
	arrived(c->fd, (before > 0 ? before : 0) + (int)strlen(words));
}

static long look_arrived(int *fd, long wanted, long unused)
{
	(void)unused;
	return arrived(*fd, (int)wanted);
}

int there_arrived(struct conn *c, int wanted)
{
	return (int)peer_call(c, look_arrived, wanted, 0);
}

void say_there(struct conn *c)
{
	long n = peer_recv(c, taken, 100, MSG_DONTWAIT);
	if (n > 0)
		say("there %ld '%.*s'", n, (int)n, taken);
	else
		ask("there", n);
}

void here_recv(struct conn *c)
{
	ask_bytes("recv", c->fd, 100, MSG_DONTWAIT);
}

void here_send(struct conn *c)
{
	ask("send", send(c->fd, "mine", 4, MSG_NOSIGNAL));
}

void there_send(struct conn *c)
{
	ask("there send", peer_send(c, "theirs", 6, 0));
}

/* Acknowledgements that come late make room once more. */
size_t fill(int fd)
{
	size_t total = fill_until_full(fd);
	for (int quiet = 0; quiet < 10; quiet++) {
		char byte = (char)pattern_at(total);
		for (; send(fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1; quiet = 0)
			byte = (char)pattern_at(++total);
		sleep_ms(20);
	}
	return total;
}

/* How much fits before it waits is no question. */
void send_until_it_fails(int fd)
{
	long n;
	do
		n = send(fd, taken, sizeof taken, MSG_NOSIGNAL);
	while (n > 0);
	ask("send", n);
}

void say_peer_name(struct conn *c)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	ask("getpeername", getpeername(c->fd, (struct sockaddr *)&address, &length));
}

/* ---- options ------------------------------------------------------------------------------ */

const char *option(int fd, int level, int name)
{
	int value = 0;
	socklen_t size = sizeof value;
	long r = getsockopt(fd, level, name, &value, &size);
	if (r < 0)
		return result(r);
	char *it = text();
	sprintf(it, size == sizeof value ? "%d" : "%d, %u bytes", value, size);
	return it;
}

long set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

/* ---- sockets and addresses ------------------------------------------------------------------ */

int tcp4(void)
{
	return (int)OK(socket(AF_INET, SOCK_STREAM, 0));
}

int tcp6(void)
{
	return (int)OK(socket(AF_INET6, SOCK_STREAM, 0));
}

socklen_t local(int family, int port, struct sockaddr_storage *address)
{
	if (family != AF_UNIX)
		return loopback(family, (uint16_t)port, address);
	struct sockaddr_un *un = (struct sockaddr_un *)address;
	memset(un, 0, sizeof *un);
	un->sun_family = AF_UNIX;
	if (port == 0)
		return sizeof un->sun_family;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)sprintf(un->sun_path + 1, "%05x", port));
}

int bind_local(int fd, int family, int port)
{
	struct sockaddr_storage address;
	socklen_t length = local(family, port, &address);
	return bind(fd, (struct sockaddr *)&address, length);
}

int connect_local(int fd, int family, int port)
{
	struct sockaddr_storage address;
	socklen_t length = local(family, port, &address);
	return connect(fd, (struct sockaddr *)&address, length);
}

/* 0 too for a name that the kernel did not choose. */
static int port_in(const struct sockaddr_storage *address, socklen_t length)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)address;
	if (address->ss_family != AF_UNIX)
		return port_of(address);
	char digits[6] = { 0 };
	if (length != sizeof un->sun_family + 6 || un->sun_path[0] != 0)
		return 0;
	memcpy(digits, un->sun_path + 1, 5);
	return (int)strtol(digits, NULL, 16);
}

int port_at(int fd)
{
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof address;
	OK(getsockname(fd, (struct sockaddr *)&address, &length));
	return port_in(&address, length);
}

int closed_port(int family)
{
	int fd = (int)OK(socket(family, SOCK_STREAM, 0));
	OK(bind_local(fd, family, 0));
	int port = port_at(fd);
	OK(close(fd));
	return port;
}

const char *address_text(const struct sockaddr_storage *address, socklen_t length, int same_port)
{
	char *it = text();
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_in *in = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_un *un = (const struct sockaddr_un *)address;
	if (address->ss_family == AF_INET)
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
	else if (address->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
	else if (address->ss_family == AF_UNIX)
		strcpy(host, length <= sizeof(sa_family_t) ? "unnamed" : un->sun_path[0] == 0 ? "abstract" : "path");
	else
		strcpy(host, address->ss_family == AF_UNSPEC ? "unspecified" : "another family");
	int port = port_in(address, length);
	sprintf(it, "%s port %s, %u bytes", host,
		port == 0 ? "0" : port == same_port ? "same" : "ephemeral", length);
	return it;
}

int text_file(const char *words)
{
	int fd = (int)OK(memfd_create("text", 0));
	EQ(write(fd, words, strlen(words)), strlen(words));
	EQ(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

pid_t fork_quietly(void (*body)(int argument), int argument)
{
	pid_t pid = (pid_t)OK(fork());
	if (pid == 0) {
		body(argument);
		_exit(0);
	}
	return pid;
}

const char *fate(pid_t child)
{
	int status = 0;
	char *it = text();
	if (waitpid(child, &status, 0) != child)
		return error_name(errno);
	if (WIFSIGNALED(status))
		sprintf(it, "SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		sprintf(it, "status %d", WEXITSTATUS(status));
	return it;
}

int instance(void)
{
	return (int)OK(epoll_create1(EPOLL_CLOEXEC));
}

void say_once(const char *label, int ep)
{
	struct epoll_event e = { 0 };
	int n = epoll_wait(ep, &e, 1, 30);
	if (n == 1)
		say("%s %s", label, epoll_bits(e.events));
	else
		ask(label, n);
}
