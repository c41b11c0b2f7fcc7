/* epoll(7) instances in poll, select and in each other. */
#include "ask.h"

#define THEME "nested"

static int add(int ep, int fd, unsigned events)
{
	struct epoll_event e = { events, { .fd = fd } };
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

QUESTION(polled, STATES)
{
	int ep = instance();
	OK(add(ep, c->fd, EPOLLIN));
	say("idle %s", bits(ep));
	there_sends(c, "words");
	say("bytes %s", bits(ep));
	ask_bytes("recv", c->fd, 8, 0);
	say("read %s", bits(ep));
}

QUESTION(polled_and_woken, STATES)
{
	int ep = instance();
	OK(add(ep, c->fd, EPOLLIN));
	peer_send_later(c, 40, "words", 5, 0);
	say("poll %s", poll_bits(poll_one(ep, POLLIN, 3000)));
	peer_join(c);
	ask_bytes("recv", c->fd, 8, 0);
	peer_send_later(c, 40, "words", 5, 0);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(ep, &set);
	ask("select", select(ep + 1, &set, NULL, NULL, &(struct timeval){ 3, 0 }));
	peer_join(c);
}

QUESTION(two_levels, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN));
	OK(add(outer, inner, EPOLLIN));
	say_once("idle", outer);
	there_sends(c, "words");
	say_once("outer", outer);
	say_once("outer again", outer);
	say_once("inner", inner);
	ask_bytes("recv", c->fd, 8, 0);
	say_once("outer, read", outer);
}

QUESTION(woken_through_two_levels, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN));
	OK(add(outer, inner, EPOLLIN));
	peer_send_later(c, 40, "words", 5, 0);
	struct epoll_event e;
	ask("wait", epoll_wait(outer, &e, 1, 3000));
	peer_join(c);
}

QUESTION(woken_through_three_levels, STATES)
{
	int a = instance(), b = instance(), d = instance();
	OK(add(a, c->fd, EPOLLIN | EPOLLET));
	OK(add(b, a, EPOLLIN));
	OK(add(d, b, EPOLLIN | EPOLLET));
	peer_send_later(c, 40, "words", 5, 0);
	struct epoll_event e;
	ask("wait", epoll_wait(d, &e, 1, 3000));
	peer_join(c);
	say_once("middle", b);
	say_once("inner", a);
}

QUESTION(edge_on_the_outer, STATES & STREAMS)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN));
	OK(add(outer, inner, EPOLLIN | EPOLLET));
	there_sends(c, "words");
	say_once("first", outer);
	say_once("again", outer);
	there_sends(c, "words");
	say_once("more bytes", outer);
	say_once("again", outer);
	say_once("inner", inner);
	say_once("outer after inner", outer);
	ask_bytes("recv", c->fd, 100, 0);
	say_once("read", outer);
	there_sends(c, "words");
	say_once("once more", outer);
}

QUESTION(edge_on_both, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN | EPOLLET));
	OK(add(outer, inner, EPOLLIN | EPOLLET));
	there_sends(c, "words");
	say_once("outer", outer);
	say_once("inner", inner);
	say_once("inner again", inner);
	there_sends(c, "words");
	say_once("outer", outer);
	say_once("inner", inner);
}

QUESTION(edge_on_the_inner, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN | EPOLLET));
	OK(add(outer, inner, EPOLLIN));
	there_sends(c, "words");
	say_once("outer", outer);
	say_once("outer again", outer);
	say_once("inner", inner);
	say_once("outer after inner", outer);
}

QUESTION(one_shot_on_the_outer, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN));
	OK(add(outer, inner, EPOLLIN | EPOLLONESHOT));
	there_sends(c, "words");
	say_once("first", outer);
	say_once("again", outer);
	there_sends(c, "words");
	say_once("more bytes", outer);
	struct epoll_event e = { EPOLLIN | EPOLLONESHOT, { 0 } };
	OK(epoll_ctl(outer, EPOLL_CTL_MOD, inner, &e));
	say_once("armed again", outer);
	say_once("again", outer);
}

QUESTION(one_shot_on_the_inner, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN | EPOLLONESHOT));
	OK(add(outer, inner, EPOLLIN));
	there_sends(c, "words");
	say_once("outer", outer);
	say_once("inner", inner);
	say_once("outer", outer);
	there_sends(c, "words");
	say_once("outer", outer);
}

QUESTION(added_to_inner_later, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(outer, inner, EPOLLIN));
	there_sends(c, "words");
	say_once("empty", outer);
	OK(add(inner, c->fd, EPOLLIN));
	say_once("added", outer);
	OK(epoll_ctl(inner, EPOLL_CTL_DEL, c->fd, NULL));
	say_once("deleted", outer);
}

QUESTION(inner_closed, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN));
	OK(add(outer, inner, EPOLLIN));
	there_sends(c, "words");
	say_once("before", outer);
	OK(close(inner));
	say_once("closed", outer);
	ask("delete", epoll_ctl(outer, EPOLL_CTL_DEL, inner, NULL));
}

QUESTION(socket_in_both, STATES)
{
	int inner = instance(), outer = instance();
	OK(add(inner, c->fd, EPOLLIN));
	OK(add(outer, inner, EPOLLIN));
	OK(add(outer, c->fd, EPOLLIN));
	there_sends(c, "words");
	struct epoll_event e[4];
	ask("wait", epoll_wait(outer, e, 4, 100));
	ask_bytes("recv", c->fd, 8, 0);
	ask("wait", epoll_wait(outer, e, 4, 20));
}

QUESTION(loops, ALONE)
{
	int a = instance(), b = instance(), d = instance();
	ask("b in a", add(a, b, EPOLLIN));
	ask("a in b", add(b, a, EPOLLIN));
	ask("d in b", add(b, d, EPOLLIN));
	ask("a in d", add(d, a, EPOLLIN));
}

QUESTION(too_deep, ALONE)
{
	int last = instance();
	for (int i = 1; i < 8; i++) {
		int next = instance();
		int r = add(next, last, EPOLLIN);
		say("%d %s", i, result(r));
		last = next;
	}
}

QUESTION(two_instances_one_socket, STATES)
{
	int a = instance(), b = instance();
	OK(add(a, c->fd, EPOLLIN | EPOLLET));
	OK(add(b, c->fd, EPOLLIN | EPOLLET));
	there_sends(c, "words");
	say_once("a", a);
	say_once("b", b);
	there_sends(c, "words");
	say_once("b", b);
	say_once("a", a);
	say_once("a again", a);
}

QUESTION(both_ends_in_one_instance, IN_ONE)
{
	int ep = instance();
	OK(add(ep, c->fd, EPOLLIN));
	OK(add(ep, c->peer_fd, EPOLLIN));
	ask("send", send(c->fd, "ping", 4, 0));
	struct epoll_event e;
	ask("wait", epoll_wait(ep, &e, 1, 1000));
	say("the other end %d", e.data.fd == c->peer_fd);
	ask_bytes("recv", c->peer_fd, 8, 0);
	ask("send", send(c->peer_fd, "pong", 4, 0));
	ask("wait", epoll_wait(ep, &e, 1, 1000));
	say("our end %d", e.data.fd == c->fd);
}

QUESTION(duplicated_instance, STATES)
{
	int ep = instance(), twin = (int)OK(dup(ep));
	OK(add(ep, c->fd, EPOLLIN));
	there_sends(c, "words");
	say_once("twin", twin);
	OK(close(ep));
	say_once("original closed", twin);
	OK(epoll_ctl(twin, EPOLL_CTL_DEL, c->fd, NULL));
	say_once("deleted through it", twin);
	ask("add through it", add(twin, c->fd, EPOLLIN));
	say_once("added through it", twin);
}
