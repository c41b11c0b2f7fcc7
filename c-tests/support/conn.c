/*
 * A connection under test. The other end is either a descriptor of this process or belongs to a
 * forked process that does what it is told over a pipe; a test reads the same for both.
 */
#include <dlfcn.h>
#include <sys/un.h>

#include "internal.h"

static const struct variant variants[V_COUNT] = {
	{ "fresh-one", .family = INET },
	{ "warm-one", INET, .warm = true },
	{ "fresh-two", INET, .two = true },
	{ "warm-two", INET, .warm = true, .two = true },
	{ "warm-two-accepted", INET, .warm = true, .two = true, .accepted = true },
	{ "warm-one-inet6", INET6, .warm = true },
	{ "warm-two-inet6", INET6, .warm = true, .two = true },
	{ "warm-two-mapped-client", MAPPED_CLIENT, .warm = true, .two = true },
	{ "warm-two-mapped-server", MAPPED_SERVER, .warm = true, .two = true },
	{ "warm-two-nonblocking", INET, .warm = true, .two = true, .nonblocking = true },
	{ "fresh-one-unix", UNIX, .pair = true },
	{ "warm-one-unix", UNIX, .warm = true },
	{ "fresh-two-unix", UNIX, .two = true },
	{ "warm-two-unix", UNIX, .warm = true, .two = true, .path = true },
	{ "warm-two-unix-accepted", UNIX, .warm = true, .two = true, .accepted = true },
	{ "warm-two-unix-pair", UNIX, .warm = true, .two = true, .pair = true },
	{ "warm-then-two-unix-pair", UNIX, .early = true, .two = true, .pair = true },
	{ "fresh-one-udp", .family = INET, .type = SOCK_DGRAM },
	{ "warm-one-udp", INET, SOCK_DGRAM, .warm = true },
	{ "warm-two-udp", INET, SOCK_DGRAM, .warm = true, .two = true },
	{ "warm-two-udp-inet6", INET6, SOCK_DGRAM, .warm = true, .two = true },
	{ "warm-one-seqpacket", UNIX, SOCK_SEQPACKET, .warm = true, .pair = true },
	{ "warm-two-seqpacket", UNIX, SOCK_SEQPACKET, .warm = true, .two = true, .path = true },
	{ "warm-one-unix-datagram", UNIX, SOCK_DGRAM, .warm = true, .pair = true },
	{ "warm-two-unix-datagram", UNIX, SOCK_DGRAM, .warm = true, .two = true },
	{ "fresh-one-seqpacket", .family = UNIX, .type = SOCK_SEQPACKET },
	{ "fresh-two-seqpacket", UNIX, SOCK_SEQPACKET, .two = true },
	{ "warm-two-seqpacket-accepted", UNIX, SOCK_SEQPACKET, .warm = true, .two = true, .accepted = true },
	{ "warm-two-seqpacket-pair", UNIX, SOCK_SEQPACKET, .warm = true, .two = true, .pair = true },
	{ "warm-then-two-seqpacket-pair", UNIX, SOCK_SEQPACKET, .early = true, .two = true, .pair = true },
	{ "fresh-one-unix-datagram-pair", UNIX, SOCK_DGRAM, .pair = true },
	{ "warm-two-unix-datagram-pair", UNIX, SOCK_DGRAM, .warm = true, .two = true, .pair = true },
};

const struct variant *variant_of(unsigned bit)
{
	return &variants[__builtin_ctz(bit)];
}

/* ---- addresses ------------------------------------------------------------------------- */

socklen_t loopback(int af, uint16_t port, struct sockaddr_storage *addr)
{
	memset(addr, 0, sizeof *addr);
	if (af == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)addr;
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof *in;
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)addr;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	in6->sin6_addr = in6addr_loopback;
	return sizeof *in6;
}

uint16_t port_of(const struct sockaddr_storage *addr)
{
	return ntohs(addr->ss_family == AF_INET ? ((const struct sockaddr_in *)addr)->sin_port
						: ((const struct sockaddr_in6 *)addr)->sin6_port);
}

int tcp_listener(enum family family, int backlog, struct sockaddr_storage *addr, socklen_t *length)
{
	int af = family == INET6 || family == MAPPED_SERVER ? AF_INET6 : AF_INET;
	int fd = (int)OK(socket(af, SOCK_STREAM | SOCK_CLOEXEC, 0));
	*length = loopback(af, 0, addr);
	if (family == MAPPED_SERVER) {
		int off = 0;
		OK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off));
		((struct sockaddr_in6 *)addr)->sin6_addr = in6addr_any;
	}
	OK(bind(fd, (struct sockaddr *)addr, *length));
	OK(listen(fd, backlog));
	*length = sizeof *addr;
	OK(getsockname(fd, (struct sockaddr *)addr, length));
	if (family == MAPPED_SERVER)
		*length = loopback(AF_INET, port_of(addr), addr);
	if (family == MAPPED_CLIENT) {
		*length = loopback(AF_INET6, port_of(addr), addr);
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &((struct sockaddr_in6 *)addr)->sin6_addr);
	}
	return fd;
}

static int type_of(const struct variant *v)
{
	return v->type != 0 ? v->type : SOCK_STREAM;
}

/* Its name is an abstract one of the kernel's choice, or a file in a new folder. */
static int unix_listener(const struct variant *v, struct sockaddr_storage *addr, socklen_t *length)
{
	int fd = (int)OK(socket(AF_UNIX, type_of(v) | SOCK_CLOEXEC, 0));
	struct sockaddr_un *un = (struct sockaddr_un *)addr;
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*length = sizeof un->sun_family;
	if (v->path) {
		char folder[] = "/tmp/c-tests-XXXXXX";
		TRUE(mkdtemp(folder) != NULL);
		snprintf(un->sun_path, sizeof un->sun_path, "%s/s", folder);
		*length = sizeof *un;
	}
	OK(bind(fd, (struct sockaddr *)addr, *length));
	OK(listen(fd, 16));
	*length = sizeof *addr;
	OK(getsockname(fd, (struct sockaddr *)addr, length));
	return fd;
}

/* Removes the file, if it has one, and its folder. */
static void remove_name(struct sockaddr_storage *addr)
{
	struct sockaddr_un *un = (struct sockaddr_un *)addr;
	if (un->sun_family != AF_UNIX || un->sun_path[0] != '/')
		return;
	OK(unlink(un->sun_path));
	*strrchr(un->sun_path, '/') = 0;
	OK(rmdir(un->sun_path));
}

static int listener_for(const struct variant *v, struct sockaddr_storage *addr, socklen_t *length)
{
	return v->family == UNIX ? unix_listener(v, addr, length) : tcp_listener(v->family, 16, addr, length);
}

static int connect_to(const struct sockaddr_storage *addr, socklen_t length, int type, bool nonblocking)
{
	int fd = (int)OK(socket(addr->ss_family, type | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0));
	int r = connect(fd, (const struct sockaddr *)addr, length);
	if (!nonblocking) {
		OK(r);
		return fd;
	}
	if (r < 0) {
		ERR(r, EINPROGRESS);
		TRUE(poll_one(fd, POLLOUT, 5000) & POLLOUT);
	}
	int error = -1;
	socklen_t size = sizeof error;
	OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
	EQ(error, 0);
	set_nonblock(fd, false);
	return fd;
}

int tcp_connect(enum family family, const struct sockaddr_storage *addr, socklen_t length)
{
	(void)family;
	return connect_to(addr, length, SOCK_STREAM, false);
}

static int accept_one(int listener, bool nonblocking)
{
	if (nonblocking) {
		set_nonblock(listener, true);
		TRUE(poll_one(listener, POLLIN, 5000) & POLLIN);
	}
	int fd = (int)OK(accept4(listener, NULL, NULL,
				 SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0)));
	if (nonblocking)
		set_nonblock(fd, false);
	return fd;
}

void tcp_pair(enum family family, int pair[2])
{
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(family, 16, &addr, &length);
	pair[0] = tcp_connect(family, &addr, length);
	pair[1] = (int)OK(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	OK(close(listener));
}

void close_with_reset(int fd)
{
	struct linger now = { 1, 0 };
	OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(close(fd));
}

/* ---- what the other end does ----------------------------------------------------------- */

enum op {
	OP_SEND,
	OP_SEND_ALL,
	OP_RECV,
	OP_RECV_ALL,
	OP_SHUTDOWN,
	OP_CLOSE,
	OP_POLL,
	OP_SETSOCKOPT,
	OP_GETSOCKOPT,
	OP_FIONREAD,
	OP_NONBLOCK,
	OP_PRODUCE,
	OP_VERIFY,
	OP_RING_BYTES,
	OP_CALL,
};

struct request {
	int op, delay_ms;
	uint64_t a, b;
	size_t length; /* of the bytes that follow */
};

struct reply {
	long result;
	int error;
	size_t length;
};

struct async {
	int *fd;
	struct request request;
	void *bytes;
	struct reply reply;
	pthread_t thread;
};

/* A counter of this process (struct landline_stats); -1 without the library. */
static long counter(size_t number)
{
	typedef int (*stats_function)(void *, size_t);
	stats_function stats;
	*(void **)&stats = dlsym(RTLD_DEFAULT, "landline_stats");
	if (stats == NULL)
		return -1;
	uint64_t fields[12] = { 0 };
	if (stats(fields, sizeof fields) < 0)
		return -2;
	return (long)fields[number];
}

/* Bytes this process has sent through the ring; -1 without the library. */
long ring_bytes(void)
{
	return counter(0);
}

/* Messages this process has received through the ring; -1 without the library. */
long ring_received(void)
{
	return counter(3);
}

/* Doorbells this process has rung; -1 without the library. */
long doorbells(void)
{
	return counter(8);
}

static long produce(int fd, uint64_t offset, size_t length)
{
	char chunk[16384];
	size_t done = 0;
	while (done < length) {
		size_t part = length - done < sizeof chunk ? length - done : sizeof chunk;
		pattern_fill(chunk, offset + done, part);
		ssize_t n = send_all(fd, chunk, part);
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return (long)done;
}

static long verify(int fd, uint64_t offset, size_t length)
{
	char chunk[16384];
	size_t done = 0;
	while (done < length) {
		size_t part = length - done < sizeof chunk ? length - done : sizeof chunk;
		ssize_t n = recv_all(fd, chunk, part);
		if (n < 0)
			return -1;
		if (pattern_differs(chunk, offset + done, (size_t)n) >= 0) {
			errno = EBADMSG;
			return -1;
		}
		done += (size_t)n;
		if ((size_t)n < part) {
			errno = EPIPE;
			return -1;
		}
	}
	return (long)done;
}

static void execute(int *fd, const struct request *r, const void *in, struct reply *reply, void **out)
{
	long result = -1;
	int value;
	peer_function called;
	socklen_t size = sizeof value;
	*out = NULL;
	if (r->delay_ms > 0)
		sleep_ms(r->delay_ms);
	errno = 0;
	switch ((enum op)r->op) {
	case OP_SEND:
		result = send(*fd, in, r->length, (int)r->a | MSG_NOSIGNAL);
		break;
	case OP_SEND_ALL:
		result = send_all(*fd, in, r->length);
		break;
	case OP_RECV:
		*out = malloc(r->a + 1);
		result = recv(*fd, *out, r->a, (int)r->b);
		break;
	case OP_RECV_ALL:
		*out = malloc(r->a + 1);
		result = recv_all(*fd, *out, r->a);
		break;
	case OP_SHUTDOWN:
		result = shutdown(*fd, (int)r->a);
		break;
	case OP_CLOSE:
		result = close(*fd);
		*fd = -1;
		break;
	case OP_POLL:
		result = poll_one(*fd, (int)r->a, (int)r->b);
		break;
	case OP_SETSOCKOPT:
		result = setsockopt(*fd, (int)r->a, (int)r->b, in, (socklen_t)r->length);
		break;
	case OP_GETSOCKOPT:
		result = getsockopt(*fd, (int)r->a, (int)r->b, &value, &size);
		if (result == 0)
			result = value;
		break;
	case OP_FIONREAD:
		result = ioctl(*fd, FIONREAD, &value);
		if (result == 0)
			result = value;
		break;
	case OP_NONBLOCK:
		set_nonblock(*fd, r->a != 0);
		result = 0;
		break;
	case OP_PRODUCE:
		result = produce(*fd, r->a, r->b);
		break;
	case OP_VERIFY:
		result = verify(*fd, r->a, r->b);
		break;
	case OP_RING_BYTES:
		result = ring_bytes();
		break;
	case OP_CALL:
		if (r->length == sizeof called) {
			memcpy(&called, in, sizeof called);
			result = called(fd, (long)r->a, (long)r->b);
		}
		break;
	}
	reply->error = errno;
	reply->result = result;
	reply->length = *out != NULL && result > 0 ? (size_t)result : 0;
}

/* ---- the pipe between -------------------------------------------------------------------- */

static bool put(int fd, const void *data, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, data, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data = (const char *)data + n;
		length -= (size_t)n;
	}
	return true;
}

static bool get(int fd, void *data, size_t length)
{
	while (length > 0) {
		ssize_t n = read(fd, data, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data = (char *)data + n;
		length -= (size_t)n;
	}
	return true;
}

static void serve(int fd, int commands, int answers)
{
	struct request request;
	struct reply reply;
	while (get(commands, &request, sizeof request)) {
		void *in = NULL, *out = NULL;
		if (request.length > 0) {
			in = malloc(request.length);
			if (!get(commands, in, request.length))
				break;
		}
		execute(&fd, &request, in, &reply, &out);
		if (!put(answers, &reply, sizeof reply) || !put(answers, out, reply.length))
			break;
		free(in);
		free(out);
	}
	_exit(0);
}

static void begin(struct conn *c, const struct request *request, const void *in)
{
	TRUE(put(c->to_peer, request, sizeof *request));
	TRUE(put(c->to_peer, in, request->length));
}

static long finish(struct conn *c, void *out)
{
	struct reply reply;
	if (!get(c->from_peer, &reply, sizeof reply)) {
		int status = 0;
		waitpid(c->peer_pid, &status, 0);
		c->peer_pid = 0;
		print_error("# the peer's process is gone, wait status 0x%x\n", (unsigned)status);
		fail();
	}
	if (reply.length > 0) {
		void *bytes = malloc(reply.length);
		TRUE(get(c->from_peer, bytes, reply.length));
		if (out != NULL)
			memcpy(out, bytes, reply.length);
		free(bytes);
	}
	errno = reply.error;
	return reply.result;
}

static long call(struct conn *c, enum op op, uint64_t a, uint64_t b, const void *in, size_t length,
		 void *out)
{
	struct request request = { (int)op, 0, a, b, length };
	TRUE(c->async == NULL);
	if (c->to_peer >= 0) {
		begin(c, &request, in);
		return finish(c, out);
	}
	struct reply reply;
	void *bytes;
	execute(&c->peer_fd, &request, in, &reply, &bytes);
	if (out != NULL && reply.length > 0)
		memcpy(out, bytes, reply.length);
	free(bytes);
	errno = reply.error;
	return reply.result;
}

static void *async_body(void *argument)
{
	struct async *async = argument;
	void *out;
	execute(async->fd, &async->request, async->bytes, &async->reply, &out);
	free(out);
	return NULL;
}

static void call_later(struct conn *c, int delay_ms, enum op op, uint64_t a, uint64_t b,
		       const void *in, size_t length)
{
	TRUE(c->async == NULL);
	struct async *async = calloc(1, sizeof *async);
	async->request = (struct request){ (int)op, delay_ms, a, b, length };
	async->fd = &c->peer_fd;
	async->bytes = malloc(length + 1);
	memcpy(async->bytes, in, length);
	c->async = async;
	if (c->to_peer >= 0)
		begin(c, &async->request, async->bytes);
	else
		EQ(pthread_create(&async->thread, NULL, async_body, async), 0);
}

long peer_join(struct conn *c)
{
	struct async *async = c->async;
	TRUE(async != NULL);
	c->async = NULL;
	long result;
	int error;
	if (c->to_peer >= 0) {
		result = finish(c, NULL);
		error = errno;
	} else {
		pthread_join(async->thread, NULL);
		result = async->reply.result;
		error = async->reply.error;
	}
	free(async->bytes);
	free(async);
	errno = error;
	return result;
}

/* ---- opening and closing ----------------------------------------------------------------- */

static void peer_process(const struct variant *v, int commands, int answers,
			 const struct sockaddr_storage *addr, socklen_t length)
{
	int fd;
	if (v->accepted) {
		fd = connect_to(addr, length, type_of(v), v->nonblocking);
	} else {
		struct sockaddr_storage mine;
		int listener = listener_for(v, &mine, &length);
		put(answers, &mine, sizeof mine);
		put(answers, &length, sizeof length);
		fd = accept_one(listener, v->nonblocking);
		remove_name(&mine);
		OK(close(listener));
	}
	char ready = 'r';
	put(answers, &ready, 1);
	serve(fd, commands, answers);
}

/* Forks the process that will have the other end; true in that process. */
static bool begin_peer(struct conn *c, int *commands, int *answers)
{
	int down[2], up[2];
	OK(pipe2(down, O_CLOEXEC));
	OK(pipe2(up, O_CLOEXEC));
	fflush(NULL);
	c->peer_pid = (pid_t)OK(fork());
	if (c->peer_pid == 0) {
		*commands = down[0];
		*answers = up[1];
		close_descriptors((int[]){ down[0], up[1], c->peer_fd }, 3);
		become_child();
		return true;
	}
	OK(close(down[0]));
	OK(close(up[1]));
	c->to_peer = down[1];
	c->from_peer = up[0];
	return false;
}

/* Both ends exist before the process that will have the other one. */
static void open_pair(struct conn *c)
{
	const struct variant *v = c->variant;
	int pair[2], commands, answers;
	OK(socketpair(AF_UNIX, type_of(v) | SOCK_CLOEXEC, 0, pair));
	c->fd = pair[0];
	c->peer_fd = pair[1];
	if (v->early)
		warm_up(c);
	if (!v->two)
		return;
	if (begin_peer(c, &commands, &answers))
		serve(c->peer_fd, commands, answers);
	OK(close(c->peer_fd));
	c->peer_fd = -1;
	/* An answer says that it has closed its copy of our end. */
	call(c, OP_RING_BYTES, 0, 0, NULL, 0, NULL);
}

/* A datagram socket with a name of the kernel's choice. */
static int named(const struct variant *v, struct sockaddr_storage *addr, socklen_t *length)
{
	int fd = (int)OK(socket(v->family == INET ? AF_INET : v->family == INET6 ? AF_INET6 : AF_UNIX,
				SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (v->family == UNIX) {
		addr->ss_family = AF_UNIX;
		*length = sizeof addr->ss_family;
	} else {
		*length = loopback(v->family == INET ? AF_INET : AF_INET6, 0, addr);
	}
	OK(bind(fd, (struct sockaddr *)addr, *length));
	*length = sizeof *addr;
	OK(getsockname(fd, (struct sockaddr *)addr, length));
	return fd;
}

/* Two datagram sockets, each connected to the other. */
static void open_datagrams(struct conn *c)
{
	const struct variant *v = c->variant;
	struct sockaddr_storage here, there;
	socklen_t here_length, there_length;
	int commands, answers;
	c->fd = named(v, &here, &here_length);
	if (!v->two) {
		c->peer_fd = named(v, &there, &there_length);
		OK(connect(c->peer_fd, (struct sockaddr *)&here, here_length));
	} else {
		if (begin_peer(c, &commands, &answers)) {
			int fd = named(v, &there, &there_length);
			OK(connect(fd, (struct sockaddr *)&here, here_length));
			put(answers, &there, sizeof there);
			put(answers, &there_length, sizeof there_length);
			serve(fd, commands, answers);
		}
		TRUE(get(c->from_peer, &there, sizeof there));
		TRUE(get(c->from_peer, &there_length, sizeof there_length));
	}
	OK(connect(c->fd, (struct sockaddr *)&there, there_length));
}

static void open_by_listener(struct conn *c)
{
	const struct variant *v = c->variant;
	struct sockaddr_storage addr;
	socklen_t length = 0;
	int listener = -1, commands, answers;
	if (!v->two || v->accepted)
		listener = listener_for(v, &addr, &length);
	if (!v->two) {
		c->fd = connect_to(&addr, length, type_of(v), v->nonblocking);
		c->peer_fd = accept_one(listener, v->nonblocking);
	} else {
		if (begin_peer(c, &commands, &answers))
			peer_process(v, commands, answers, &addr, length);
		if (v->accepted) {
			c->fd = accept_one(listener, v->nonblocking);
		} else {
			TRUE(get(c->from_peer, &addr, sizeof addr));
			TRUE(get(c->from_peer, &length, sizeof length));
			c->fd = connect_to(&addr, length, type_of(v), v->nonblocking);
		}
		char ready = 0;
		TRUE(get(c->from_peer, &ready, 1));
	}
	if (listener >= 0) {
		remove_name(&addr);
		OK(close(listener));
	}
}

struct conn *conn_open(const struct variant *v)
{
	struct conn *c = calloc(1, sizeof *c);
	c->variant = v;
	c->fd = c->peer_fd = c->to_peer = c->from_peer = -1;
	if (v->pair)
		open_pair(c);
	else if (v->type == SOCK_DGRAM)
		open_datagrams(c);
	else
		open_by_listener(c);
	if (v->warm)
		warm_up(c);
	return c;
}

struct conn *conn_open_again(const struct conn *like)
{
	return conn_open(like->variant);
}

void conn_end(struct conn *c)
{
	if (c->async != NULL)
		peer_join(c);
	if (c->fd >= 0)
		close(c->fd);
	if (c->peer_fd >= 0)
		close(c->peer_fd);
	if (c->to_peer >= 0)
		close(c->to_peer);
	if (c->from_peer >= 0)
		close(c->from_peer);
	if (c->peer_pid > 0)
		join_child(c->peer_pid);
	free(c);
}

/* ---- exchanges --------------------------------------------------------------------------- */

void exchange(struct conn *c, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		char out[64], in[64];
		size_t length = 8 + (size_t)i % 50;
		pattern_fill(out, c->sent, length);
		c->sent += length;
		EQ(send_all(c->fd, out, length), length);
		EQ(peer_recv_all(c, in, length), length);
		SAME(in, out, length);
		pattern_fill(out, c->received, length);
		c->received += length;
		EQ(peer_send_all(c, out, length), length);
		EQ(recv_all(c->fd, in, length), length);
		SAME(in, out, length);
	}
}

/* More than the library lets pass before it moves a connection to its ring. */
#define WARM_ROUNDS 10

/* The library says it carried something, or it is not there and was not expected. */
static void ring_was_used(const char *where, long before, long after)
{
	const char *expected = getenv("C_TESTS_EXPECT_RING");
	if (expected == NULL || expected[0] != '1')
		return;
	if (before < 0 || after <= before) {
		print_error("# warm_up: the ring was not used by %s (ring_tx_bytes %ld, then %ld)\n",
			    where, before, after);
		fail();
	}
}

void warm_up(struct conn *c)
{
	long mine = ring_bytes();
	long theirs = call(c, OP_RING_BYTES, 0, 0, NULL, 0, NULL);
	exchange(c, WARM_ROUNDS);
	ring_was_used("this process", mine, ring_bytes());
	ring_was_used("the peer's process", theirs, call(c, OP_RING_BYTES, 0, 0, NULL, 0, NULL));
}

void warm_up_fds(int a, int b)
{
	long before = ring_bytes();
	for (int i = 0; i < WARM_ROUNDS; i++) {
		char in[32];
		EQ(send_all(a, "a question", 10), 10);
		EQ(recv_all(b, in, 10), 10);
		SAME(in, "a question", 10);
		EQ(send_all(b, "the answer", 10), 10);
		EQ(recv_all(a, in, 10), 10);
		SAME(in, "the answer", 10);
	}
	ring_was_used("this process", before, ring_bytes());
}

long peer_send(struct conn *c, const void *data, size_t length, int flags)
{
	return call(c, OP_SEND, (uint64_t)flags, 0, data, length, NULL);
}

long peer_send_all(struct conn *c, const void *data, size_t length)
{
	return call(c, OP_SEND_ALL, 0, 0, data, length, NULL);
}

long peer_recv(struct conn *c, void *data, size_t length, int flags)
{
	return call(c, OP_RECV, length, (uint64_t)flags, NULL, 0, data);
}

long peer_recv_all(struct conn *c, void *data, size_t length)
{
	return call(c, OP_RECV_ALL, length, 0, NULL, 0, data);
}

long peer_shutdown(struct conn *c, int how)
{
	return call(c, OP_SHUTDOWN, (uint64_t)how, 0, NULL, 0, NULL);
}

long peer_close(struct conn *c)
{
	return call(c, OP_CLOSE, 0, 0, NULL, 0, NULL);
}

long peer_poll(struct conn *c, int events, int timeout_ms)
{
	return call(c, OP_POLL, (uint64_t)events, (uint64_t)timeout_ms, NULL, 0, NULL);
}

long peer_setsockopt(struct conn *c, int level, int name, const void *value, socklen_t length)
{
	return call(c, OP_SETSOCKOPT, (uint64_t)level, (uint64_t)name, value, length, NULL);
}

long peer_getsockopt_int(struct conn *c, int level, int name)
{
	return call(c, OP_GETSOCKOPT, (uint64_t)level, (uint64_t)name, NULL, 0, NULL);
}

long peer_fionread(struct conn *c)
{
	return call(c, OP_FIONREAD, 0, 0, NULL, 0, NULL);
}

long peer_nonblock(struct conn *c, bool on)
{
	return call(c, OP_NONBLOCK, on, 0, NULL, 0, NULL);
}

long peer_produce(struct conn *c, uint64_t offset, size_t length)
{
	return call(c, OP_PRODUCE, offset, length, NULL, 0, NULL);
}

long peer_verify(struct conn *c, uint64_t offset, size_t length)
{
	return call(c, OP_VERIFY, offset, length, NULL, 0, NULL);
}

long peer_call(struct conn *c, peer_function function, long a, long b)
{
	return call(c, OP_CALL, (uint64_t)a, (uint64_t)b, &function, sizeof function, NULL);
}

void peer_call_later(struct conn *c, int delay_ms, peer_function function, long a, long b)
{
	call_later(c, delay_ms, OP_CALL, (uint64_t)a, (uint64_t)b, &function, sizeof function);
}

void peer_send_later(struct conn *c, int delay_ms, const void *data, size_t length, int flags)
{
	call_later(c, delay_ms, OP_SEND, (uint64_t)flags, 0, data, length);
}

void peer_shutdown_later(struct conn *c, int delay_ms, int how)
{
	call_later(c, delay_ms, OP_SHUTDOWN, (uint64_t)how, 0, "", 0);
}

void peer_close_later(struct conn *c, int delay_ms)
{
	call_later(c, delay_ms, OP_CLOSE, 0, 0, "", 0);
}

void peer_produce_later(struct conn *c, int delay_ms, uint64_t offset, size_t length)
{
	call_later(c, delay_ms, OP_PRODUCE, offset, length, "", 0);
}

void peer_verify_later(struct conn *c, int delay_ms, uint64_t offset, size_t length)
{
	call_later(c, delay_ms, OP_VERIFY, offset, length, "", 0);
}

void peer_kill(struct conn *c)
{
	TRUE(c->peer_pid > 0);
	OK(kill(c->peer_pid, SIGKILL));
	OK(waitpid(c->peer_pid, NULL, 0));
	c->peer_pid = 0;
}
