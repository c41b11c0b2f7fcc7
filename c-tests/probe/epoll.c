/* epoll(7): edges and levels, one-shots, nesting, duplicates, and what the calls refuse. */
#include "ask.h"

#define THEME "epoll"

#define EDGES (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)

static int control(int ep, int op, int fd, unsigned events)
{
	struct epoll_event e = { events, { .u64 = (uint64_t)fd } };
	return epoll_ctl(ep, op, fd, &e);
}

static void add(int ep, int fd, unsigned events)
{
	OK(control(ep, EPOLL_CTL_ADD, fd, events));
}

/* All that is reported until there is nothing more for a while, in the order of waiting. */
static void say_events(const char *label, int ep)
{
	char all[200] = "";
	struct epoll_event e[8];
	int n, rounds = 0;
	while (rounds++ < 4 && (n = epoll_wait(ep, e, 8, 20)) > 0)
		for (int i = 0; i < n; i++) {
			strcat(all, " ");
			strcat(all, epoll_bits(e[i].events));
		}
	say("%s:%s%s", label, all, all[0] == 0 ? " none" : "");
}

QUESTION(level, STATES & STREAMS)
{
	int ep = instance();
	add(ep, c->fd, EPOLLIN | EPOLLRDHUP);
	say_once("idle", ep);
	there_sends(c, "words");
	say_once("bytes", ep);
	say_once("again", ep);
	ask_bytes("recv", c->fd, 2, 0);
	say_once("some left", ep);
	ask_bytes("recv", c->fd, 8, 0);
	say_once("none left", ep);
	OK(peer_shutdown(c, SHUT_WR));
	bits(c->fd);
	say_once("end", ep);
	OK(shutdown(c->fd, SHUT_WR));
	bits(c->fd);
	say_once("both ends", ep);
}

QUESTION(edge, STATES)
{
	int ep = instance();
	add(ep, c->fd, EDGES);
	say_events("at first", ep);
	there_sends(c, "one");
	say_events("bytes", ep);
	there_sends(c, "two");
	say_events("more bytes", ep);
	ask_bytes("recv", c->fd, 2, 0);
	say_events("some read", ep);
	ask_bytes("recv", c->fd, 10, 0);
	say_events("all read", ep);
	there_sends(c, "three");
	say_events("bytes", ep);
	OK(peer_shutdown(c, SHUT_WR));
	bits(c->fd);
	say_events("end", ep);
	OK(shutdown(c->fd, SHUT_WR));
	bits(c->fd);
	say_events("both ends", ep);
}

QUESTION(edge_in_only, STATES)
{
	int ep = instance();
	add(ep, c->fd, EPOLLIN | EPOLLET);
	say_events("at first", ep);
	there_sends(c, "one");
	say_events("bytes", ep);
	ask_bytes("recv", c->fd, 10, 0);
	say_events("read", ep);
	ask("send", send(c->fd, "mine", 4, 0));
	say_events("sent", ep);
	char in[8];
	ask("there", peer_recv_all(c, in, 4));
	say_events("it was read there", ep);
}

QUESTION(edge_added_when_ready, STATES)
{
	int ep = instance();
	there_sends(c, "one");
	add(ep, c->fd, EPOLLIN | EPOLLET);
	say_events("added", ep);
	OK(control(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLET));
	say_events("modified", ep);
	OK(control(ep, EPOLL_CTL_MOD, c->fd, EPOLLOUT | EPOLLET));
	say_events("modified to out", ep);
	OK(control(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT));
	say_once("modified to level", ep);
}

QUESTION(edge_room, STATES & STREAMS)
{
	int ep = instance();
	add(ep, c->fd, EPOLLOUT | EPOLLET);
	say_events("at first", ep);
	size_t n = fill(c->fd);
	while (epoll_wait(ep, &(struct epoll_event){ 0 }, 1, 0) > 0)
		;
	ask("there", peer_verify(c, 0, n) == (long)n);
	say_once("drained", ep);
}

QUESTION(edge_reset, STATES & STREAMS)
{
	int ep = instance();
	add(ep, c->fd, EDGES);
	say_events("at first", ep);
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	bits(c->fd);
	say_events("reset", ep);
	ask("recv", take(c->fd, 1, 0));
	say_events("taken", ep);
}

QUESTION(edge_urgent, STATES & STREAMS)
{
	int ep = instance();
	add(ep, c->fd, EPOLLIN | EPOLLPRI | EPOLLET);
	ask("there", peer_send(c, "u", 1, MSG_OOB));
	poll_one(c->fd, POLLPRI, 1000);
	say_once("urgent", ep);
	ask_bytes("recv", c->fd, 1, MSG_OOB);
	say_events("taken", ep);
}

QUESTION(one_shot, STATES)
{
	int ep = instance();
	add(ep, c->fd, EPOLLIN | EPOLLONESHOT);
	there_sends(c, "one");
	say_events("bytes", ep);
	there_sends(c, "two");
	say_events("more", ep);
	OK(control(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLONESHOT));
	say_events("armed again", ep);
	OK(peer_close(c));
	bits(c->fd);
	say_events("closed there", ep);
	OK(control(ep, EPOLL_CTL_MOD, c->fd, 0));
	say_events("armed for nothing", ep);
}

QUESTION(no_events_asked, STATES)
{
	int ep = instance();
	add(ep, c->fd, 0);
	there_sends(c, "one");
	say_once("bytes", ep);
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	bits(c->fd);
	say_once("reset", ep);
}

QUESTION(end_asked_for_and_not, STATES)
{
	int with = instance(), without = instance();
	add(with, c->fd, EPOLLRDHUP);
	add(without, c->fd, EPOLLIN);
	OK(peer_shutdown(c, SHUT_WR));
	bits(c->fd);
	say_once("asked", with);
	say_once("not asked", without);
}

QUESTION(states_of_others, ALONE)
{
	int ep = instance(), fd = tcp4();
	add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	say_once("new", ep);
	OK(listen(fd, 5));
	say_once("listening", ep);
	OK(connect_local(tcp4(), AF_INET, port_at(fd)));
	bits(fd);
	say_once("with a client", ep);
	OK(close(fd));
	say_once("closed", ep);
}

QUESTION(connecting, ALONE)
{
	int ep = instance(), listener = tcp4();
	OK(listen(listener, 5));
	int fd = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	add(ep, fd, EDGES);
	say_events("new", ep);
	ask("connect", connect_local(fd, AF_INET, port_at(listener)));
	say_events("connected", ep);
	int refused = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	ask("connect", connect_local(refused, AF_INET, closed_port(AF_INET)));
	add(ep, refused, EDGES);
	say_events("refused", ep);
	say("error %s", pending(refused));
	say_events("error taken", ep);
}

QUESTION(listener_edges, ALONE)
{
	int ep = instance(), listener = tcp4();
	OK(listen(listener, 5));
	add(ep, listener, EPOLLIN | EPOLLET);
	say_events("idle", ep);
	for (int i = 0; i < 3; i++) {
		OK(connect_local(tcp4(), AF_INET, port_at(listener)));
		say_events("a client", ep);
	}
	OK(accept(listener, NULL, NULL));
	say_events("one accepted", ep);
}

QUESTION(control_errors, STATES)
{
	int ep = instance(), other = tcp4();
	add(ep, c->fd, EPOLLIN);
	ask("add twice", control(ep, EPOLL_CTL_ADD, c->fd, EPOLLOUT));
	ask("modify what is not there", control(ep, EPOLL_CTL_MOD, other, EPOLLIN));
	ask("delete what is not there", control(ep, EPOLL_CTL_DEL, other, 0));
	ask("delete without event", epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL));
	ask("delete again", epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL));
	ask("add with null", epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, NULL));
	ask("add with wild", epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, WILD));
	ask("unknown", control(ep, 77, c->fd, EPOLLIN));
	ask("to itself", control(ep, EPOLL_CTL_ADD, ep, EPOLLIN));
	ask("to a socket", control(c->fd, EPOLL_CTL_ADD, other, EPOLLIN));
	ask("closed", control(ep, EPOLL_CTL_ADD, 900, EPOLLIN));
	ask("closed instance", control(900, EPOLL_CTL_ADD, c->fd, EPOLLIN));
	ask("file", control(ep, EPOLL_CTL_ADD, text_file("words"), EPOLLIN));
	int closed = tcp4();
	OK(close(closed));
	ask("delete closed", control(ep, EPOLL_CTL_DEL, closed, 0));
}

QUESTION(exclusive, STATES)
{
	int ep = instance(), other = instance();
	ask("add", control(ep, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLEXCLUSIVE));
	ask("modify", control(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN));
	ask("modify exclusive", control(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLEXCLUSIVE));
	ask("with one-shot", control(other, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLONESHOT | EPOLLEXCLUSIVE));
	ask("with rdhup", control(other, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLEXCLUSIVE));
	ask("of an instance", control(other, EPOLL_CTL_ADD, ep, EPOLLIN | EPOLLEXCLUSIVE));
	ask("with edge", control(other, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE));
	there_sends(c, "words");
	say_once("bytes", ep);
	say_once("bytes", other);
	ask("delete", epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL));
}

QUESTION(wait_errors, STATES)
{
	int ep = instance();
	struct epoll_event e[2];
	add(ep, c->fd, EPOLLOUT);
	ask("none wanted", epoll_wait(ep, e, 0, 0));
	ask("negative", epoll_wait(ep, e, -1, 0));
	ask("far too many", epoll_wait(ep, e, INT_MAX, 0));
	ask("closed", epoll_wait(900, e, 1, 0));
	ask("socket", epoll_wait(c->fd, e, 1, 0));
	ask("file", epoll_wait(text_file("words"), e, 1, 0));
	struct timespec bad = { 0, 1000000000 }, none = { 0, 0 };
	ask("pwait2 bad time", epoll_pwait2(ep, e, 1, &bad, NULL));
	ask("pwait2", epoll_pwait2(ep, e, 2, &none, NULL));
	ask("pwait2 none wanted", epoll_pwait2(ep, e, 0, &none, NULL));
}

QUESTION(wait_wild_events, STATES)
{
	int ep = instance();
	add(ep, c->fd, EPOLLOUT);
	ask("wild", epoll_wait(ep, WILD, 1, 0));
	ask("null", epoll_wait(ep, NULL, 1, 0));
	say_once("still", ep);
	ask("pwait2 wild time", epoll_pwait2(ep, &(struct epoll_event){ 0 }, 1, WILD, NULL));
}

QUESTION(create_errors, ALONE)
{
	ask("size 0", epoll_create(0));
	ask("size -1", epoll_create(-1));
	ask("flags", epoll_create1(1));
	int plain = (int)OK(epoll_create(1)), cloexec = instance();
	say("cloexec %lld %lld", OK(fcntl(plain, F_GETFD)), OK(fcntl(cloexec, F_GETFD)));
}

QUESTION(user_data, STATES)
{
	int ep = instance();
	struct epoll_event e = { EPOLLOUT, { .u64 = 0x1122334455667788u } };
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	e.data.u64 = 0;
	OK(epoll_wait(ep, &e, 1, 100));
	say("%llx", (unsigned long long)e.data.u64);
	e = (struct epoll_event){ EPOLLOUT, { .ptr = NULL } };
	OK(epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e));
	e.data.u64 = 1;
	OK(epoll_wait(ep, &e, 1, 100));
	say("%llx", (unsigned long long)e.data.u64);
}

QUESTION(duplicate_registered, STATES)
{
	int ep = instance(), twin = (int)OK(dup(c->fd));
	add(ep, c->fd, EPOLLIN);
	ask("twin", control(ep, EPOLL_CTL_ADD, twin, EPOLLIN | EPOLLOUT));
	there_sends(c, "words");
	struct epoll_event e[4];
	int n = epoll_wait(ep, e, 4, 100);
	ask("wait", n);
	OK(close(twin));
	ask("twin closed", epoll_wait(ep, e, 4, 100)); /* epoll(7): the file is still open */
	ask("delete by number", epoll_ctl(ep, EPOLL_CTL_DEL, twin, NULL));
}

QUESTION(original_closed, STATES)
{
	int ep = instance(), twin = (int)OK(dup(c->fd));
	add(ep, c->fd, EPOLLIN);
	OK(close(c->fd));
	c->fd = twin;
	there_sends(c, "words");
	say_once("duplicate holds it", ep);
	OK(close(twin));
	c->fd = -1;
	say_once("all closed", ep);
}

QUESTION(number_reused, STATES)
{
	int ep = instance(), old = c->fd;
	add(ep, old, EPOLLIN | EPOLLOUT);
	OK(close(old));
	c->fd = -1;
	say_once("closed", ep);
	int fd = (int)OK(dup2(tcp4(), old));
	ask("add", control(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT));
	say_once("new", ep);
}

QUESTION(dup2_over, STATES)
{
	int ep = instance(), old = c->fd;
	add(ep, old, EPOLLOUT);
	say_once("before", ep);
	OK(dup2(tcp4(), old));
	say_once("after", ep);
	say("there %s", there_bits(c));
}

QUESTION(more_ready_than_wanted, IN_ONE)
{
	int ep = instance(), seen[4] = { 0 };
	int fds[4] = { c->fd, c->peer_fd, dup(c->fd), dup(c->peer_fd) };
	for (int i = 0; i < 4; i++) {
		struct epoll_event e = { EPOLLOUT, { .u32 = (uint32_t)i } };
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &e));
	}
	for (int i = 0; i < 8; i++) {
		struct epoll_event e;
		EQ(epoll_wait(ep, &e, 1, 100), 1);
		seen[e.data.u32]++;
	}
	say("each twice %d", seen[0] == 2 && seen[1] == 2 && seen[2] == 2 && seen[3] == 2);
}

QUESTION(time_is_kept, STATES)
{
	int ep = instance();
	struct epoll_event e;
	add(ep, c->fd, EPOLLIN);
	int64_t before = now_ms();
	ask("wait", epoll_wait(ep, &e, 1, 60));
	say("60 ms %d", now_ms() - before >= 59 && now_ms() - before < 1500);
	struct timespec time = { 0, 60000000 };
	before = now_ms();
	ask("pwait2", epoll_pwait2(ep, &e, 1, &time, NULL));
	say("60 ms %d", now_ms() - before >= 59 && now_ms() - before < 1500);
	peer_send_later(c, 40, "words", 5, 0);
	ask("for ever", epoll_wait(ep, &e, 1, -1));
	say("%s", epoll_bits(e.events));
	peer_join(c);
}

QUESTION(mask, STATES)
{
	int ep = instance();
	struct epoll_event e;
	sigset_t set, before;
	signals_start(1000000, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, &before));
	add(ep, c->fd, EPOLLIN);
	raise(SIGUSR1);
	ask("without", epoll_pwait(ep, &e, 1, 30, NULL));
	say("signals %d", signals_seen());
	ask("with", epoll_pwait(ep, &e, 1, 30, &before));
	say("signals %d", signals_seen());
}
