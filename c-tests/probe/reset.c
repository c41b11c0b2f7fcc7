/* Connections that end badly: resets (RFC 9293, 3.10.7), dead peers, and SIGPIPE. */
#include "ask.h"

#define THEME "reset"

/* Everything there is to know about our end. */
static void say_here(const char *label, struct conn *c)
{
	say_end(label, c->fd);
	say("queue %d", queued(c->fd));
}

QUESTION(reset_by_linger, STATES)
{
	struct linger now = { 1, 0 };
	ask("there linger", peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	ask("there close", peer_close(c));
	say("poll %s, %s, queue %d", bits(c->fd), state(c->fd), queued(c->fd));
	say_peer_name(c);
	here_recv(c);
	here_recv(c);
	here_send(c);
	say_here("poll", c);
}

QUESTION(reset_by_linger_with_bytes_under_way, STATES)
{
	struct linger now = { 1, 0 };
	there_send(c);
	say("queue %d", arrived(c->fd, 6));
	ask("there linger", peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	ask("there close", peer_close(c));
	say("poll %s, %s, queue %d", bits(c->fd), state(c->fd), queued(c->fd));
	here_recv(c);
	here_recv(c);
}

QUESTION(reset_then_error_option, STATES)
{
	struct linger now = { 1, 0 };
	ask("there linger", peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	ask("there close", peer_close(c));
	say_here("first", c);
	say_here("second", c);
	here_recv(c);
	here_send(c);
	say_here("third", c);
}

QUESTION(reset_then_send, STATES)
{
	struct linger now = { 1, 0 };
	ask("there linger", peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	ask("there close", peer_close(c));
	bits(c->fd);
	count_sigpipe();
	ask("write", write(c->fd, "x", 1));
	say("SIGPIPE %d", sigpipes_seen());
	ask("write", write(c->fd, "x", 1));
	say("SIGPIPE %d", sigpipes_seen());
	here_recv(c);
}

QUESTION(reset_while_we_had_shut_down, STATES)
{
	struct linger now = { 1, 0 };
	ask("shutdown", shutdown(c->fd, SHUT_WR));
	ask("there linger", peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	ask("there close", peer_close(c));
	say("poll %s, %s", bits(c->fd), state(c->fd));
	here_recv(c);
	here_recv(c);
	here_send(c);
}

QUESTION(reset_then_shutdown, STATES)
{
	struct linger now = { 1, 0 };
	ask("there linger", peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	ask("there close", peer_close(c));
	bits(c->fd);
	ask("write half", shutdown(c->fd, SHUT_WR));
	ask("read half", shutdown(c->fd, SHUT_RD));
	say_here("poll", c);
}

QUESTION(reset_wakes_a_reader, STATES & STREAMS)
{
	struct linger now = { 1, 0 };
	ask("there linger", peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	peer_close_later(c, 50);
	ask("recv", take(c->fd, 8, 0));
	ask("there close", peer_join(c));
}

QUESTION(reset_wakes_a_writer, STATES)
{
	struct linger now = { 1, 0 };
	ask("there linger", peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	peer_close_later(c, 50);
	send_until_it_fails(c->fd);
	ask("there close", peer_join(c));
	ask("send", send(c->fd, "x", 1, MSG_NOSIGNAL));
}

QUESTION(peer_killed, IN_TWO)
{
	peer_kill(c);
	say_here("poll", c);
	here_recv(c);
	here_send(c);
	say_here("poll", c);
	here_recv(c);
	here_send(c);
}

QUESTION(peer_killed_without_reading, IN_TWO)
{
	here_send(c);
	there_send(c);
	say("there %s", there_bits(c));
	arrived(c->fd, 6);
	peer_kill(c);
	say("poll %s, %s", bits(c->fd), state(c->fd));
	here_recv(c);
	here_recv(c);
	here_send(c);
}

QUESTION(peer_killed_while_full, IN_TWO & STREAMS)
{
	fill(c->fd);
	peer_kill(c);
	say("poll %s, %s", bits(c->fd), state(c->fd));
	here_send(c);
	here_send(c);
	here_recv(c);
}

QUESTION(sigpipe_by_default, IN_TWO)
{
	ask("there close", peer_close(c));
	bits(c->fd);
	pid_t child = OK(fork());
	if (child == 0) {
		send(c->fd, "x", 1, 0);
		sleep_ms(20);
		send(c->fd, "x", 1, 0);
		_exit(0);
	}
	say("%s", fate(child));
}

static long write_it(int fd)
{
	return write(fd, "x", 1);
}

static long writev_it(int fd)
{
	struct iovec v = { "x", 1 };
	return writev(fd, &v, 1);
}

static long sendmsg_it(int fd)
{
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	return sendmsg(fd, &m, 0);
}

static long send_it(int fd)
{
	return send(fd, "x", 1, 0);
}

static long send_quietly(int fd)
{
	return send(fd, "x", 1, MSG_NOSIGNAL);
}

static long send_nothing(int fd)
{
	return send(fd, "", 0, 0);
}

static long write_nothing(int fd)
{
	return write(fd, "", 0);
}

QUESTION(sigpipe_by_call, STATES)
{
	static const struct {
		const char *name;
		long (*call)(int fd);
	} calls[] = {
		{ "write", write_it }, { "writev", writev_it }, { "sendmsg", sendmsg_it },
		{ "send", send_it }, { "send quietly", send_quietly },
		{ "send nothing", send_nothing }, { "write nothing", write_nothing },
	};
	OK(shutdown(c->fd, SHUT_WR));
	count_sigpipe();
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		int before = sigpipes_seen();
		ask(calls[i].name, calls[i].call(c->fd));
		say("SIGPIPE %d", sigpipes_seen() - before);
	}
}

QUESTION(sigpipe_blocked, STATES)
{
	sigset_t set, waiting;
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	OK(shutdown(c->fd, SHUT_WR));
	ask("write", write(c->fd, "x", 1));
	OK(sigpending(&waiting));
	say("pending %d", sigismember(&waiting, SIGPIPE));
	siginfo_t info;
	struct timespec no_time = { 0, 0 };
	say("taken %d", sigtimedwait(&set, &info, &no_time) == SIGPIPE);
	say("sent by us %d", info.si_pid == getpid());
}

