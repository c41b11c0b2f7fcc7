/* fork(2), exec(3), and connections with several holders. */
#include <spawn.h>

#include "support.h"

extern char **environ;

static void child_talks(void *argument)
{
	struct conn *c = argument;
	char in[8];
	for (int i = 0; i < 20; i++) {
		EQ(recv_all(c->fd, in, 4), 4);
		SAME(in, "ping", 4);
		EQ(send_all(c->fd, "pong", 4), 4);
	}
}

static void talk_to_child(struct conn *c)
{
	char in[8];
	for (int i = 0; i < 20; i++) {
		EQ(peer_send_all(c, "ping", 4), 4);
		EQ(peer_recv_all(c, in, 4), 4);
		SAME(in, "pong", 4);
	}
}

static void child_inherits(struct conn *c)
{
	pid_t child = fork_child(child_talks, c);
	talk_to_child(c);
	join_child(child);
	/* The child has gone and we still hold it. */
	EQ(peer_poll(c, POLLIN, 30), 0);
	exchange(c, 5);
}

static void parent_closes_child_goes_on(struct conn *c)
{
	pid_t child = fork_child(child_talks, c);
	OK(close(c->fd));
	c->fd = -1;
	talk_to_child(c);
	join_child(child);
	char in[4];
	EQ(peer_recv(c, in, 4, 0), 0); /* now the last holder has gone */
}

static void linger_a_while(void *argument)
{
	struct conn *c = argument;
	sleep_ms(150);
	EQ(send_all(c->fd, "still here", 10), 10);
}

static void no_end_while_any_holder_lives(struct conn *c)
{
	pid_t child = fork_child(linger_a_while, c);
	OK(close(c->fd));
	c->fd = -1;
	EQ(peer_poll(c, POLLIN, 40), 0);
	char in[16];
	EQ(peer_recv_all(c, in, 10), 10);
	join_child(child);
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void closes_its_copy(void *argument)
{
	OK(close(((struct conn *)argument)->fd));
}

static void childs_close_is_its_own(struct conn *c)
{
	in_child(closes_its_copy, c);
	EQ(peer_poll(c, POLLIN, 30), 0);
	exchange(c, 5);
}

static void exits_at_once(void *argument)
{
	(void)argument;
}

static void many_children(struct conn *c)
{
	for (int i = 0; i < 10; i++) {
		in_child(i & 1 ? exits_at_once : closes_its_copy, c);
		exchange(c, 1);
	}
}


static void grandchild_goes_on(struct conn *c)
{
	fflush(NULL);
	pid_t child = (pid_t)OK(fork());
	if (child == 0) {
		/* The grandchild must outlive its parent, so no death signal here. */
		alarm(25);
		if (fork() == 0) {
			alarm(25);
			child_talks(c);
			_exit(0);
		}
		_exit(0);
	}
	join_child(child);
	OK(close(c->fd));
	c->fd = -1;
	talk_to_child(c);
	char in[4];
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void shuts_down(void *argument)
{
	OK(shutdown(((struct conn *)argument)->fd, SHUT_WR));
}

static void shutdown_is_for_all(struct conn *c)
{
	in_child(shuts_down, c);
	ERR(send(c->fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	char in[4];
	EQ(peer_recv(c, in, 4, 0), 0);
	EQ(peer_send(c, "back", 4, 0), 4);
	EQ(recv_all(c->fd, in, 4), 4);
}

static void reads_three(void *argument)
{
	char in[4];
	EQ(recv_all(((struct conn *)argument)->fd, in, 3), 3);
	SAME(in, "abc", 3);
}

static void one_stream_for_all(struct conn *c)
{
	char in[8];
	EQ(peer_send(c, "abcdef", 6, 0), 6);
	in_child(reads_three, c);
	EQ(recv_all(c->fd, in, 3), 3);
	SAME(in, "def", 3);
	exchange(c, 3);
}

static void writes_many(void *argument)
{
	struct conn *c = argument;
	char message[16];
	memset(message, 'c', sizeof message);
	for (int i = 0; i < 500; i++)
		EQ(send(c->fd, message, sizeof message, 0), sizeof message);
}

static void both_write(struct conn *c)
{
	/* Two processes write small messages into one socket: each arrives whole. */
	pid_t child = fork_child(writes_many, c);
	char message[16], in[16];
	memset(message, 'p', sizeof message);
	for (int i = 0; i < 500; i++)
		EQ(send(c->fd, message, sizeof message, 0), sizeof message);
	int parents = 0;
	for (int i = 0; i < 1000; i++) {
		EQ(peer_recv_all(c, in, sizeof in), sizeof in);
		for (int j = 1; j < 16; j++)
			EQ(in[j], in[0]);
		parents += in[0] == 'p';
	}
	EQ(parents, 500);
	join_child(child);
	exchange(c, 2);
}

struct pair { int a, b; };

static void child_has_the_other_end(void *argument)
{
	struct pair *p = argument;
	char in[8];
	OK(close(p->a));
	for (int i = 0; i < 20; i++) {
		EQ(recv_all(p->b, in, 4), 4);
		EQ(send_all(p->b, in, 4), 4);
	}
	EQ(recv(p->b, in, 4, 0), 0);
}

static void forked_after_connecting(struct conn *c)
{
	/* Both ends made here, then parted: as a pair made for a worker. */
	(void)c;
	for (int warm = 0; warm < 2; warm++) {
		int pair[2];
		char in[8];
		tcp_pair(INET, pair);
		if (warm)
			warm_up_fds(pair[0], pair[1]);
		struct pair p = { pair[0], pair[1] };
		pid_t child = fork_child(child_has_the_other_end, &p);
		OK(close(p.b));
		for (int i = 0; i < 20; i++) {
			EQ(send_all(p.a, "ping", 4), 4);
			EQ(recv_all(p.a, in, 4), 4);
		}
		OK(close(p.a));
		join_child(child);
	}
}

struct pool { int listener; struct sockaddr_storage addr; socklen_t length; };

static void pool_worker(void *argument)
{
	struct pool *pool = argument;
	for (;;) {
		int fd = (int)OK(accept(pool->listener, NULL, NULL));
		char in[64];
		ssize_t n;
		while ((n = recv(fd, in, sizeof in, 0)) > 0) {
			if (memcmp(in, "stop", 4) == 0)
				return;
			EQ(send_all(fd, in, (size_t)n), n);
		}
		OK(close(fd));
	}
}

static void preforked_workers(struct conn *c)
{
	(void)c;
	struct pool pool;
	pool.listener = tcp_listener(INET, 32, &pool.addr, &pool.length);
	pid_t workers[3];
	for (int i = 0; i < 3; i++)
		workers[i] = fork_child(pool_worker, &pool);
	for (int i = 0; i < 60; i++) {
		int fd = tcp_connect(INET, &pool.addr, pool.length), in;
		for (int j = 0; j < 6; j++) {
			EQ(send_all(fd, &i, sizeof i), sizeof i);
			EQ(recv_all(fd, &in, sizeof in), sizeof in);
			EQ(in, i);
		}
		OK(close(fd));
	}
	for (int i = 0; i < 3; i++)
		EQ(send_all(tcp_connect(INET, &pool.addr, pool.length), "stop", 4), 4);
	for (int i = 0; i < 3; i++)
		join_child(workers[i]);
}

static void executed_program_talks(struct conn *c)
{
	/* cat never saw the socket made: it has it as its standard streams. */
	fflush(NULL);
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, c->fd, 0);
	posix_spawn_file_actions_adddup2(&actions, c->fd, 1);
	char *argv[] = { "cat", NULL };
	pid_t child;
	EQ(posix_spawnp(&child, "cat", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	OK(close(c->fd));
	c->fd = -1;
	char out[3000], in[3000];
	pattern_fill(out, 0, sizeof out);
	for (int i = 0; i < 10; i++) {
		EQ(peer_send_all(c, out, sizeof out), sizeof out);
		EQ(peer_recv_all(c, in, sizeof in), sizeof in);
		SAME(in, out, sizeof in);
	}
	OK(peer_shutdown(c, SHUT_WR));
	EQ(peer_recv(c, in, 4, 0), 0);
	join_child(child);
}

static void passed_by_message(struct conn *c)
{
	/* SCM_RIGHTS to a child that has no other way to it. */
	int unix_pair[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_pair));
	int fd = c->fd;
	fflush(NULL);
	pid_t child = (pid_t)OK(fork());
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } control;
	char byte = 'f';
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof control };
	if (child == 0) {
		alarm(25);
		close(fd);
		if (recvmsg(unix_pair[1], &m, 0) != 1)
			_exit(98);
		struct conn mine = *c;
		memcpy(&mine.fd, CMSG_DATA(&control.h), sizeof(int));
		child_talks(&mine);
		_exit(0);
	}
	memset(&control, 0, sizeof control);
	control.h.cmsg_level = SOL_SOCKET;
	control.h.cmsg_type = SCM_RIGHTS;
	control.h.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.h), &fd, sizeof(int));
	EQ(sendmsg(unix_pair[0], &m, 0), 1);
	talk_to_child(c);
	join_child(child);
	exchange(c, 3);
}

static const struct test tests[] = {
	TEST(child_inherits, EVERY),
	TEST(parent_closes_child_goes_on, EVERY),
	TEST(no_end_while_any_holder_lives, EACH),
	TEST(childs_close_is_its_own, EACH),
	TEST(many_children, EACH),
	TEST(grandchild_goes_on, TWO),
	TEST(shutdown_is_for_all, EACH),
	TEST(one_stream_for_all, EACH),
	TEST(both_write, EACH),
	TEST(forked_after_connecting, ALONE),
	TEST(preforked_workers, ALONE),
	TEST(executed_program_talks, TWO),
	TEST(passed_by_message, EACH),
};
MAIN(tests)
