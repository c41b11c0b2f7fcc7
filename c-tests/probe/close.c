/*
 * shutdown(2), close(2), resets: what both ends see after each step (RFC 9293, 3.6), and what
 * reading and writing give.
 */
#include "ask.h"

#define THEME "close"

static void here_close(struct conn *c)
{
	ask("close", close(c->fd));
	c->fd = -1;
}

/* Everything there is to know about our end. */
static void say_here(const char *label, struct conn *c)
{
	say_end(label, c->fd);
	say("queue %d", queued(c->fd));
}

QUESTION(write_half, STATES)
{
	here_send(c);
	ask("shutdown", shutdown(c->fd, SHUT_WR));
	say_both("then", c);
	here_send(c);
	say_there(c);
	say_there(c);
	there_send(c);
	say("queue %d", arrived(c->fd, 6));
	here_recv(c);
	here_recv(c);
	say_both("at last", c);
}

QUESTION(read_half, STATES)
{
	ask("shutdown", shutdown(c->fd, SHUT_RD));
	say_both("then", c);
	here_recv(c);
	ask("blocking recv", take(c->fd, 8, 0));
	there_send(c);
	say("queue %d", arrived(c->fd, 6));
	here_recv(c);
	here_recv(c);
	here_send(c);
	say("there %s", there_bits(c));
	say_there(c);
	say_both("at last", c);
}

QUESTION(read_half_with_bytes_there, STATES)
{
	there_send(c);
	say("queue %d", arrived(c->fd, 6));
	ask("shutdown", shutdown(c->fd, SHUT_RD));
	say_here("poll", c);
	here_recv(c);
	here_recv(c);
}

QUESTION(both_halves_at_once, STATES)
{
	ask("shutdown", shutdown(c->fd, SHUT_RDWR));
	say_both("then", c);
	here_recv(c);
	here_send(c);
	say_there(c);
	ask("there shutdown", peer_shutdown(c, SHUT_WR));
	say_both("at last", c);
	say_there(c);
	here_recv(c);
	ask("shutdown again", shutdown(c->fd, SHUT_WR));
	ask("there shutdown again", peer_shutdown(c, SHUT_RDWR));
}

QUESTION(both_halves_then_the_other_sends, STATES)
{
	ask("shutdown", shutdown(c->fd, SHUT_RDWR));
	there_send(c);
	say_both("then", c);
	there_send(c);
	say_there_end("there", c);
	here_recv(c);
	here_recv(c);
	say_end("here", c->fd);
}

QUESTION(read_then_write_half, STATES)
{
	ask("read half", shutdown(c->fd, SHUT_RD));
	ask("write half", shutdown(c->fd, SHUT_WR));
	say_both("then", c);
	ask("there shutdown", peer_shutdown(c, SHUT_RD));
	say_both("then", c);
	ask("there shutdown", peer_shutdown(c, SHUT_WR));
	say_both("at last", c);
}

QUESTION(write_halves_in_turn, STATES)
{
	ask("there shutdown", peer_shutdown(c, SHUT_WR));
	say_both("then", c);
	here_recv(c);
	here_send(c);
	say("there %s", there_bits(c));
	ask("shutdown", shutdown(c->fd, SHUT_WR));
	say_both("then", c);
	say_there(c);
	say_there(c);
	here_send(c);
	there_send(c);
	say_peer_name(c);
	ask("shutdown", shutdown(c->fd, SHUT_RD));
	say_here("here", c);
	say_there_end("there", c);
}

QUESTION(write_half_twice, STATES)
{
	ask("first", shutdown(c->fd, SHUT_WR));
	ask("second", shutdown(c->fd, SHUT_WR));
	ask("there", peer_shutdown(c, SHUT_WR));
	ask("third", shutdown(c->fd, SHUT_WR));
	ask("read half", shutdown(c->fd, SHUT_RD));
	ask("both", shutdown(c->fd, SHUT_RDWR));
}

QUESTION(peer_closes, STATES)
{
	ask("there close", peer_close(c));
	say_here("poll", c);
	say_peer_name(c);
	here_recv(c);
	here_recv(c);
	here_send(c);
	say_here("after a send", c);
	here_recv(c);
	here_send(c);
	say_peer_name(c);
	ask("shutdown", shutdown(c->fd, SHUT_WR));
}

QUESTION(peer_closes_with_bytes_under_way, STATES & STREAMS)
{
	there_send(c);
	ask("there close", peer_close(c));
	say("queue %d", arrived(c->fd, 6));
	say_here("poll", c);
	ask_bytes("recv", c->fd, 3, 0);
	say_here("poll", c);
	ask_bytes("recv", c->fd, 9, 0);
	ask_bytes("recv", c->fd, 9, 0);
	say_here("poll", c);
}

QUESTION(peer_closes_and_we_wrote_first, STATES)
{
	there_send(c);
	ask("there close", peer_close(c));
	say("queue %d", arrived(c->fd, 6));
	here_send(c);
	say_end("after a send", c->fd);
	say("queue %d", queued(c->fd));
	here_recv(c);
	here_recv(c);
	here_send(c);
}

QUESTION(peer_closes_without_reading, STATES)
{
	here_send(c);
	there_send(c);
	say("there %s", there_bits(c));
	say("queue %d", arrived(c->fd, 6));
	ask("there close", peer_close(c)); /* RFC 2525, 2.17: a reset, for bytes were lost */
	say("poll %s, %s, queue %d", bits(c->fd), state(c->fd), queued(c->fd));
	here_recv(c);
	here_recv(c);
	here_recv(c);
	here_send(c);
	say_peer_name(c);
}

QUESTION(shutdown_wakes_our_own_reader, IN_ONE)
{
	struct conn ours = *c;
	ours.peer_fd = c->fd; /* the same end, from another thread */
	peer_shutdown_later(&ours, 50, SHUT_RD);
	ask("recv", take(c->fd, 8, 0));
	ask("shutdown", peer_join(&ours));
}

QUESTION(shutdown_wakes_our_own_writer, IN_ONE)
{
	struct conn ours = *c;
	ours.peer_fd = c->fd;
	peer_shutdown_later(&ours, 50, SHUT_WR);
	send_until_it_fails(c->fd);
	ask("shutdown", peer_join(&ours));
}

QUESTION(close_wakes_their_reader, STATES & STREAMS)
{
	peer_verify_later(c, 0, 0, 100);
	sleep_ms(40);
	here_close(c);
	ask("there", peer_join(c)); /* EPIPE is how it reports an early end */
}

QUESTION(linger_values, STATES)
{
	struct linger l = { -1, -1 };
	socklen_t size = sizeof l;
	OK(getsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, &size));
	say("by default %d %d, %u bytes", l.l_onoff, l.l_linger, size);
	l = (struct linger){ 7, 3 };
	ask("set", setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	OK(getsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, &size));
	say("then %d %d", l.l_onoff, l.l_linger);
	l = (struct linger){ 1, -1 };
	ask("negative", setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	OK(getsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, &size));
	say("then %d, as given %d", l.l_onoff, l.l_linger == -1);
	ask("short", setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, 4));
	ask("wild", setsockopt(c->fd, SOL_SOCKET, SO_LINGER, WILD, sizeof l));
}

QUESTION(close_with_linger_waits_for_the_other_end, STATES)
{
	struct linger l = { 1, 5 };
	ask("set", setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	here_send(c);
	int64_t before = now_ms();
	here_close(c);
	say("soon %d", now_ms() - before < 2000);
	say_there(c);
	say_there(c);
}

QUESTION(close_of_a_duplicate, STATES)
{
	int twin = (int)OK(dup(c->fd));
	here_close(c);
	say("there %s, %s", there_bits(c), there_state(c));
	c->fd = twin;
	exchange(c, 3);
	here_close(c);
	say("there %s, %s", there_bits(c), there_state(c));
	say_there(c);
}

QUESTION(shutdown_of_a_duplicate, STATES)
{
	int twin = (int)OK(dup(c->fd));
	ask("shutdown", shutdown(twin, SHUT_WR));
	here_send(c);
	say_both("then", c);
}

QUESTION(bad_how, STATES)
{
	ask("3", shutdown(c->fd, 3));
	ask("-1", shutdown(c->fd, -1));
	ask("INT_MAX", shutdown(c->fd, INT_MAX));
	exchange(c, 2);
}

QUESTION(shutdown_of_unconnected, ALONE)
{
	int fd = tcp4();
	ask("new", shutdown(fd, SHUT_RDWR));
	say_end("poll", fd);
	ask("bad how", shutdown(fd, 9));
	OK(bind_local(fd, AF_INET, 0));
	ask("bound", shutdown(fd, SHUT_WR));
	ask("refused", connect_local(fd, AF_INET, closed_port(AF_INET)));
	ask("shutdown", shutdown(fd, SHUT_WR));
	int listener = tcp4();
	OK(listen(listener, 1));
	ask("connect", connect_local(fd, AF_INET, port_at(listener)));
	ask("send", send(fd, "x", 1, MSG_NOSIGNAL));
}

QUESTION(close_twice, STATES)
{
	ask("first", close(c->fd));
	ask("second", close(c->fd));
	c->fd = -1;
}
