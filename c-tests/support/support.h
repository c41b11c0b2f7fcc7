/*
 * What every test here stands on: checks that name what they saw, a connection whose other
 * end lives in this process or in a forked one, and a clock that turns a hang into a failure
 * with a name.
 *
 * The kernel is the specification. Nothing here knows which of the two is under test, except
 * warm_up(), which asks the library (when it is there) whether its ring was really used.
 */
#ifndef SUPPORT_H
#define SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- checks ---------------------------------------------------------------------------- */
/* In a test they fail the test; in a forked child they end the child with status 99. */

/* The call must not return a negative value; gives the value back. */
#define OK(call) check_ok(__FILE__, __LINE__, #call, (long long)(call))
/* The call must fail with this errno. */
#define ERR(call, error) check_err(__FILE__, __LINE__, #call, (long long)(call), (error))
/* Two integers are equal. */
#define EQ(actual, expected) \
	check_eq(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))
#define TRUE(condition) check_true(__FILE__, __LINE__, #condition, !!(condition))
#define SAME(a, b, length) check_same(__FILE__, __LINE__, #a, (a), (b), (length))

long long check_ok(const char *file, int line, const char *text, long long value);
void check_err(const char *file, int line, const char *text, long long value, int error);
void check_eq(const char *file, int line, const char *text, long long actual, long long expected);
void check_true(const char *file, int line, const char *text, bool holds);
void check_same(const char *file, int line, const char *text, const void *a, const void *b,
		size_t length);

/* ---- connections ----------------------------------------------------------------------- */

enum family { INET, INET6, MAPPED_CLIENT, MAPPED_SERVER, UNIX };

struct variant {
	const char *name;
	enum family family;
	int type;	  /* SOCK_STREAM when 0 */
	bool warm;	  /* a few exchanges before the test looks */
	bool two;	  /* the other end lives in a forked process */
	bool accepted;	  /* our end is the one accept() returned */
	bool nonblocking; /* connected and accepted without blocking */
	bool pair;	  /* of socketpair(), made before the fork */
	bool early;	  /* warmed up before the fork */
	bool path;	  /* its listener has a file */
};

#define V_FRESH_ONE (1u << 0)
#define V_WARM_ONE (1u << 1)
#define V_FRESH_TWO (1u << 2)
#define V_WARM_TWO (1u << 3)
#define V_WARM_SERVER (1u << 4)
#define V_WARM_ONE_INET6 (1u << 5)
#define V_WARM_TWO_INET6 (1u << 6)
#define V_MAPPED_CLIENT (1u << 7)
#define V_MAPPED_SERVER (1u << 8)
#define V_NONBLOCKING (1u << 9)
#define V_UNIX_FRESH_ONE (1u << 10)
#define V_UNIX_WARM_ONE (1u << 11)
#define V_UNIX_FRESH_TWO (1u << 12)
#define V_UNIX_WARM_TWO (1u << 13)
#define V_UNIX_WARM_SERVER (1u << 14)
#define V_UNIX_PAIR_WARM_TWO (1u << 15)
#define V_UNIX_PAIR_EARLY (1u << 16)
#define V_UDP_FRESH_ONE (1u << 17)
#define V_UDP_WARM_ONE (1u << 18)
#define V_UDP_WARM_TWO (1u << 19)
#define V_UDP_WARM_TWO_INET6 (1u << 20)
#define V_SEQPACKET_WARM_ONE (1u << 21)
#define V_SEQPACKET_WARM_TWO (1u << 22)
#define V_DATAGRAM_WARM_ONE (1u << 23)
#define V_DATAGRAM_WARM_TWO (1u << 24)
#define V_SEQPACKET_FRESH_ONE (1u << 25)
#define V_SEQPACKET_FRESH_TWO (1u << 26)
#define V_SEQPACKET_WARM_SERVER (1u << 27)
#define V_SEQPACKET_PAIR_WARM_TWO (1u << 28)
#define V_SEQPACKET_PAIR_EARLY (1u << 29)
#define V_DATAGRAM_FRESH_ONE (1u << 30)
#define V_DATAGRAM_PAIR_WARM_TWO (1u << 31)
#define V_COUNT 32

#define ALONE 0u /* the test makes its own sockets; its argument is NULL */
#define WARM (V_WARM_ONE | V_WARM_TWO | V_WARM_SERVER)
#define ONE (V_FRESH_ONE | V_WARM_ONE)
#define TWO (V_FRESH_TWO | V_WARM_TWO | V_WARM_SERVER)
#define EACH (ONE | TWO)
#define EVERY ((1u << 10) - 1) /* of TCP */

#define UNIX_ONE (V_UNIX_FRESH_ONE | V_UNIX_WARM_ONE)
#define UNIX_TWO (V_UNIX_FRESH_TWO | V_UNIX_WARM_TWO | V_UNIX_WARM_SERVER | V_UNIX_PAIR_WARM_TWO | V_UNIX_PAIR_EARLY)
#define UNIX_EACH (UNIX_ONE | UNIX_TWO)
#define SEQPACKET_ONE (V_SEQPACKET_FRESH_ONE | V_SEQPACKET_WARM_ONE)
#define SEQPACKET_TWO (V_SEQPACKET_FRESH_TWO | V_SEQPACKET_WARM_TWO | V_SEQPACKET_WARM_SERVER | V_SEQPACKET_PAIR_WARM_TWO | \
		       V_SEQPACKET_PAIR_EARLY)
#define SEQPACKET_EACH (SEQPACKET_ONE | SEQPACKET_TWO)
#define DATAGRAM_PAIRS (V_DATAGRAM_FRESH_ONE | V_DATAGRAM_WARM_ONE | V_DATAGRAM_PAIR_WARM_TWO) /* of socketpair() */
#define RECORD_ONE (V_UDP_FRESH_ONE | V_UDP_WARM_ONE | SEQPACKET_ONE | V_DATAGRAM_FRESH_ONE | V_DATAGRAM_WARM_ONE)
#define RECORD_TWO (V_UDP_WARM_TWO | V_UDP_WARM_TWO_INET6 | SEQPACKET_TWO | V_DATAGRAM_WARM_TWO | V_DATAGRAM_PAIR_WARM_TWO)
#define RECORD_EACH (RECORD_ONE | RECORD_TWO) /* one send, one receive */

struct conn {
	int fd;			 /* our end */
	const struct variant *variant;
	int peer_fd;		 /* the other end, when it is in this process; else -1 */
	pid_t peer_pid;		 /* the process that has it, or 0 */
	int to_peer, from_peer;	 /* its command pipes */
	struct async *async;	 /* a command under way */
	uint64_t sent, received; /* of the pattern, by exchange() */
};

/* Opens a connection as the variant says. The peer's process is forked before connecting. */
struct conn *conn_open(const struct variant *variant);
struct conn *conn_open_again(const struct conn *like);
const struct variant *variant_of(unsigned bit);
/* Closes what is left on both ends and lets the peer's process go. */
void conn_end(struct conn *c);

/* `rounds` of small requests and answers. */
void exchange(struct conn *c, int rounds);
/* Ten rounds, after which the library, when it is there, must be using its ring. */
void warm_up(struct conn *c);
/* The same between two descriptors of this process. */
void warm_up_fds(int a, int b);

/* Both ends in this process, blocking. */
void tcp_pair(enum family family, int pair[2]);
/* A listening socket on loopback with a port of the kernel's choice; fills the address to
 * connect to. */
int tcp_listener(enum family family, int backlog, struct sockaddr_storage *addr, socklen_t *length);
int tcp_connect(enum family family, const struct sockaddr_storage *addr, socklen_t length);
socklen_t loopback(int af, uint16_t port, struct sockaddr_storage *addr);
uint16_t port_of(const struct sockaddr_storage *addr);

/* What the other end does. Each returns what the call returned there, with its errno. */
/* Doorbells this process has rung; -1 without the library. */
long doorbells(void);
/* Messages this process has received through the ring; -1 without the library. */
long ring_received(void);
long peer_send(struct conn *c, const void *data, size_t length, int flags);
long peer_send_all(struct conn *c, const void *data, size_t length);
long peer_recv(struct conn *c, void *data, size_t length, int flags);
long peer_recv_all(struct conn *c, void *data, size_t length);
long peer_shutdown(struct conn *c, int how);
long peer_close(struct conn *c);
/* Its revents, 0 when the time was up. */
long peer_poll(struct conn *c, int events, int timeout_ms);
long peer_setsockopt(struct conn *c, int level, int name, const void *value, socklen_t length);
long peer_getsockopt_int(struct conn *c, int level, int name);
long peer_fionread(struct conn *c);
long peer_nonblock(struct conn *c, bool on);
/* Sends `length` bytes of the pattern from `offset` on. */
long peer_produce(struct conn *c, uint64_t offset, size_t length);
/* Receives that many and compares; EBADMSG if one differs, EPIPE at an early end. */
long peer_verify(struct conn *c, uint64_t offset, size_t length);
/* Anything else: the function is called where the other end is, with its descriptor. */
typedef long (*peer_function)(int *fd, long a, long b);
long peer_call(struct conn *c, peer_function function, long a, long b);
/* The same, begun and left to run after `delay_ms`; one at a time. */
void peer_call_later(struct conn *c, int delay_ms, peer_function function, long a, long b);
void peer_send_later(struct conn *c, int delay_ms, const void *data, size_t length, int flags);
void peer_shutdown_later(struct conn *c, int delay_ms, int how);
void peer_close_later(struct conn *c, int delay_ms);
void peer_produce_later(struct conn *c, int delay_ms, uint64_t offset, size_t length);
void peer_verify_later(struct conn *c, int delay_ms, uint64_t offset, size_t length);
/* Waits for that one and returns its result. */
long peer_join(struct conn *c);
/* SIGKILL; only where the other end is another process. */
void peer_kill(struct conn *c);
void close_with_reset(int fd);

/* ---- bytes ----------------------------------------------------------------------------- */

uint8_t pattern_at(uint64_t offset);
void pattern_fill(void *data, uint64_t offset, size_t length);
/* Index of the first byte that differs, or -1. */
ssize_t pattern_differs(const void *data, uint64_t offset, size_t length);
ssize_t send_all(int fd, const void *data, size_t length);
/* Up to `length`, less only at the end of the stream. */
ssize_t recv_all(int fd, void *data, size_t length);
/* Writes the pattern to a non-blocking descriptor until EAGAIN; returns how many. */
size_t fill_until_full(int fd);

/* ---- processes, time, signals ---------------------------------------------------------- */

/* Forks; the child runs `body` and exits with 0, or 99 when a check fails in it. */
pid_t fork_child(void (*body)(void *), void *argument);
void join_child(pid_t pid);
/* Runs `body` in a child and waits: for tests that change limits or die. */
void in_child(void (*body)(void *), void *argument);
/* Starts helpers/echo.c, or the static build of it, with these arguments (NULL is the last); every descriptor
 * stays open in it that does not close on exec, and `fd` too. */
pid_t start_echo(bool statically, int fd, ...);
void set_nonblock(int fd, bool on);
bool is_nonblock(int fd);
void set_timeout(int fd, int name, int ms);
void sleep_ms(int ms);
int64_t now_ms(void);
/* One-shot poll of one descriptor: its revents, or 0. */
int poll_one(int fd, int events, int timeout_ms);
/* Polls until revents has all of `wanted` (the network may need a moment), then returns them.
 * Fails the test when that never happens. */
int poll_until(int fd, int events, int wanted);
/* SIGUSR1 every `period_ms` to this thread, counted, until signals_stop(). */
void signals_start(int period_ms, int sa_flags);
void signals_stop(void);
int signals_seen(void);
/* Counts SIGPIPE instead of dying. */
void count_sigpipe(void);
int sigpipes_seen(void);

/* ---- the list of tests ----------------------------------------------------------------- */

struct test {
	const char *name;
	void (*body)(struct conn *);
	unsigned variants;
};
#define TEST(function, variants) { #function, function, variants }
/* The first argument, if any, is a pattern (with * and ?) of the tests to run; -l lists. */
int run_list(int argc, char **argv, const struct test *tests, size_t count);
#define MAIN(tests) \
	int main(int argc, char **argv) \
	{ \
		return run_list(argc, argv, tests, sizeof(tests) / sizeof((tests)[0])); \
	}

#endif
