/*
 * A question is a function that makes some calls and says what they answered. Nothing is
 * expected: the answers of the plain kernel are compared with those under the library.
 *
 * A question about a connection is asked in several states (support.h has their names), each
 * time in a process of its own: a crash or a hang is one bad answer. Answers hold nothing that
 * may differ between two runs: no numbers of ports, processes or descriptors, and no times.
 */
#ifndef ASK_H
#define ASK_H

#include "../support/support.h"

struct question {
	const char *theme, *name;
	int line;
	unsigned states; /* ALONE, or those of the connection that it is given */
	void (*body)(struct conn *c);
	const void *about; /* a row of a table of questions; see asked() */
};

void enlist(const struct question *question);
/* The question that is being asked. */
const struct question *asked(void);

/* Each file names its THEME. */
#define QUESTION(named, in_states) \
	static void ask_##named(struct conn *c); \
	__attribute__((constructor)) static void enlist_##named(void) \
	{ \
		static const struct question it = { THEME, #named, __LINE__, in_states, \
						    ask_##named, NULL }; \
		enlist(&it); \
	} \
	static void ask_##named(struct conn *c __attribute__((unused)))

/* One process or two, before and after both directions left the kernel's path, all families. */
#define STATES (IN_ONE | IN_TWO)
#define IN_TWO (TWO | V_WARM_TWO_INET6 | UNIX_TWO | RECORD_TWO)
#define IN_ONE (ONE | V_WARM_ONE_INET6 | UNIX_ONE | RECORD_ONE)
/* STATES & OF_TCP for what makes no sense elsewhere, STATES & STREAMS for what makes none in records. */
#define OF_TCP EVERY
#define STREAMS (EVERY | UNIX_EACH)

#define ALL_EVENTS (POLLIN | POLLPRI | POLLOUT | POLLRDHUP)
#define WILD ((void *)0x10) /* no memory is there */

/* Adds a piece to the answer. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
/* "what 12", or "what EPIPE" for a negative result and its errno. */
void ask(const char *what, long result);

/* The same without the words: a number, or the name of errno. Good for the next sixteen. */
const char *result(long value);
const char *error_name(int error);
const char *poll_bits(int revents);
const char *epoll_bits(unsigned events);
const char *state_name(int tcp_state);

/* What poll says of all events once it says the same for some time. */
const char *bits(int fd);
const char *there_bits(struct conn *c);
/* The state in TCP_INFO, once it stays. */
const char *state(int fd);
const char *there_state(struct conn *c);
/* SO_ERROR, which taking it clears. */
const char *pending(int fd);
const char *there_pending(struct conn *c);
/* "label bits, state, error", in this order, since SO_ERROR changes the bits. */
void say_end(const char *label, int fd);
int queued(int fd); /* FIONREAD once it stays, or -1 */
/* "label: poll bits, state" of both ends. */
void say_both(const char *label, struct conn *c);
/* The same of the other end. */
void say_there_end(const char *label, struct conn *c);
/* Waits for bytes; then FIONREAD says how many there are, at least `wanted`. */
int arrived(int fd, int wanted);

/* Receives into a buffer of its own, without waiting for more than `flags` let it. */
ssize_t take(int fd, size_t length, int flags);
/* take()s and says the bytes: "what 4 'abcd'". */
void ask_bytes(const char *what, int fd, size_t length, int flags);
/* A system call that must not hold the probe up: the answer is "waits" after half a second. */
bool waits(long (*call)(int fd), int fd, long *answer);

/* The shortest traffic. there_sends() waits until it is here. */
void there_sends(struct conn *c, const char *words);
int there_arrived(struct conn *c, int wanted);
void say_there(struct conn *c); /* what the other end has received */
void here_recv(struct conn *c);
void here_send(struct conn *c);
void there_send(struct conn *c);
void send_until_it_fails(int fd);
/* Sends the pattern until there is no room, and none is found for a while; returns how much. */
size_t fill(int fd);
void say_peer_name(struct conn *c);

/* A new epoll instance, and what one wait on it reports now. */
int instance(void);
void say_once(const char *label, int ep);

/* An option's int value, or the name of errno. */
const char *option(int fd, int level, int name);
long set_option(int fd, int level, int name, int value);

int tcp4(void);
int tcp6(void);
/* 127.0.0.1 or ::1 with this port; the length that goes with it. The port of an AF_UNIX socket is the number
 * that the kernel names it with (autobind, unix(7)). */
socklen_t local(int family, int port, struct sockaddr_storage *address);
int bind_local(int fd, int family, int port);
int connect_local(int fd, int family, int port);
/* The port a socket is bound to. */
int port_at(int fd);
/* A port nobody listens at. */
int closed_port(int family);
/* "127.0.0.1", "::1", "abstract", ..., with "port 0", "port same" or "port ephemeral". */
const char *address_text(const struct sockaddr_storage *address, socklen_t length, int same_port);
/* A file in memory with some text in it. */
int text_file(const char *text);
/* Forks; the child runs body and leaves. Ends with the question. */
pid_t fork_quietly(void (*body)(int argument), int argument);
/* "status 3", "SIGPIPE", ... */
const char *fate(pid_t child);

#endif
