/* fork(2), execve(2), posix_spawn(3), popen(3): who holds a connection, and until when. */
#include <spawn.h>

#include "ask.h"

#define THEME "process"

extern char **environ;

/* A child that ends when told to, so that nothing depends on who is faster. */
struct held {
	pid_t pid;
	int gate;
};

static struct held child_that(void (*first)(int fd), int fd, void (*later)(int fd))
{
	int gate[2], ready[2];
	OK(pipe(gate));
	OK(pipe(ready));
	pid_t pid = (pid_t)OK(fork());
	if (pid == 0) {
		char wait;
		close(gate[1]);
		if (first != NULL)
			first(fd);
		close(ready[1]);
		if (read(gate[0], &wait, 1) == 0 && later != NULL)
			later(fd);
		_exit(3);
	}
	close(ready[1]);
	close(gate[0]);
	char none;
	EQ(read(ready[0], &none, 1), 0);
	close(ready[0]);
	return (struct held){ pid, gate[1] };
}

static const char *let_go(struct held child)
{
	close(child.gate);
	return fate(child.pid);
}

static void close_it(int fd)
{
	close(fd);
}

static void shut_it_down(int fd)
{
	shutdown(fd, SHUT_WR);
}

static void send_words(int fd)
{
	send(fd, "from the child", 14, MSG_NOSIGNAL);
}

static void receive_some(int fd)
{
	char in[8];
	recv(fd, in, 3, 0);
}

static void make_nonblocking(int fd)
{
	set_nonblock(fd, true);
}

static void set_nodelay(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

static void talk(int fd)
{
	for (int i = 0; i < 10; i++) {
		char in[8];
		if (recv_all(fd, in, 4) != 4 || send_all(fd, "pong", 4) != 4)
			_exit(1);
	}
}

static void talk_with(struct conn *c)
{
	char in[8] = { 0 };
	for (int i = 0; i < 10; i++) {
		EQ(peer_send_all(c, "ping", 4), 4);
		EQ(peer_recv_all(c, in, 4), 4);
	}
	say("'%s'", in);
}

QUESTION(child_closes_its_copy, STATES)
{
	struct held child = child_that(close_it, c->fd, NULL);
	say_both("closed in the child", c);
	say("%s", let_go(child));
	say_both("child gone", c);
	exchange(c, 3);
}

QUESTION(parent_closes_its_copy, STATES)
{
	struct held child = child_that(NULL, c->fd, send_words);
	OK(close(c->fd));
	say("closed %s, %s", there_bits(c), there_state(c));
	say("%s", let_go(child));
	say("child gone %s", there_bits(c));
	say_there(c);
	say_there(c);
}

QUESTION(child_holds_and_is_killed, STATES)
{
	struct held child = child_that(NULL, c->fd, NULL);
	OK(close(c->fd));
	OK(kill(child.pid, SIGKILL));
	say("%s", fate(child.pid));
	say("there %s", there_bits(c));
	say_there(c);
}

QUESTION(child_shuts_down_for_all, STATES)
{
	struct held child = child_that(shut_it_down, c->fd, NULL);
	ask("send", send(c->fd, "x", 1, MSG_NOSIGNAL));
	say_both("shut down in the child", c);
	let_go(child);
	say_there(c);
}

QUESTION(child_shares_flags_and_options, STATES)
{
	struct held child = child_that(make_nonblocking, c->fd, NULL);
	say("nonblocking %d", is_nonblock(c->fd));
	ask("recv", take(c->fd, 1, 0));
	let_go(child);
	child = child_that(set_nodelay, c->fd, NULL);
	say("nodelay %s", option(c->fd, IPPROTO_TCP, TCP_NODELAY));
	let_go(child);
}

QUESTION(child_and_parent_share_the_stream, STATES & STREAMS)
{
	there_sends(c, "abcdef");
	struct held child = child_that(receive_some, c->fd, NULL);
	ask_bytes("recv", c->fd, 10, 0);
	let_go(child);
	child = child_that(send_words, c->fd, NULL);
	ask("send", send(c->fd, ", then the parent", 17, 0));
	there_arrived(c, 31);
	say_there(c);
	let_go(child);
}

QUESTION(child_talks, STATES)
{
	struct held child = child_that(NULL, c->fd, talk);
	close(child.gate);
	talk_with(c);
	say("%s", fate(child.pid));
	exchange(c, 3);
	say_both("both talked", c);
}

QUESTION(grandchild_talks, STATES)
{
	pid_t child = (pid_t)OK(fork());
	if (child == 0) {
		pid_t grandchild = fork();
		if (grandchild == 0) {
			talk(c->fd);
			_exit(0);
		}
		close(c->fd);
		int status = 1;
		waitpid(grandchild, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	OK(close(c->fd));
	talk_with(c);
	say("%s", fate(child));
	say("there %s", there_bits(c));
}

QUESTION(parent_ends_grandchild_holds, STATES & STREAMS)
{
	int gate[2];
	OK(pipe(gate));
	pid_t child = (pid_t)OK(fork());
	if (child == 0) {
		if (fork() == 0) {
			char wait;
			close(gate[1]);
			_exit(read(gate[0], &wait, 1) == 0 ? (send_words(c->fd), 0) : 1);
		}
		_exit(0);
	}
	say("%s", fate(child));
	OK(close(c->fd));
	say("held %s", there_bits(c));
	OK(close(gate[1]));
	char in[20] = { 0 };
	ask("there", peer_recv_all(c, in, 20));
	say("'%s'", in);
}

QUESTION(connect_in_child, STATES)
{
	/* Many generations of one socket number, all with the same listener. */
	int family = atoi(option(c->fd, SOL_SOCKET, SO_DOMAIN));
	int listener = (int)OK(socket(family, SOCK_STREAM, 0));
	OK(bind_local(listener, family, 0));
	OK(listen(listener, 5));
	int port = port_at(listener);
	pid_t child = (pid_t)OK(fork());
	if (child == 0) {
		int fd = socket(family, SOCK_STREAM, 0);
		if (connect_local(fd, family, port) < 0)
			_exit(1);
		talk(fd);
		_exit(0);
	}
	int fd = (int)OK(accept(listener, NULL, NULL));
	char in[8] = { 0 };
	for (int i = 0; i < 10; i++) {
		send_all(fd, "ping", 4);
		recv_all(fd, in, 4);
	}
	say("'%s', %s", in, fate(child));
	say("end %s", bits(fd));
	exchange(c, 3);
}

/* ---- exec ------------------------------------------------------------------------------------- */

/* A shell that uses the descriptor as its standard input and output. */
static char *const cat_argv[] = { "sh", "-c", "read line; echo \"got $line\"", NULL };

static void become_shell(int fd)
{
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	execv("/bin/sh", cat_argv);
	_exit(127);
}

static void say_answer(struct conn *c)
{
	char in[40] = { 0 };
	EQ(peer_send_all(c, "words\n", 6), 6);
	long n = peer_recv_all(c, in, 10);
	say("there %ld '%.9s'", n, in);
}

QUESTION(exec_as_standard_streams, STATES & STREAMS)
{
	pid_t child = (pid_t)OK(fork());
	if (child == 0)
		become_shell(c->fd);
	say_answer(c);
	say("%s", fate(child));
	exchange(c, 3);
	say("still talks");
}

QUESTION(exec_and_parent_closes, STATES & STREAMS)
{
	pid_t child = (pid_t)OK(fork());
	if (child == 0)
		become_shell(c->fd);
	OK(close(c->fd));
	say_answer(c);
	say("%s", fate(child));
	say("there %s", there_bits(c));
}

QUESTION(vfork_and_exec, STATES & STREAMS)
{
	int fd = c->fd;
	pid_t child = vfork();
	if (child == 0) {
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		execv("/bin/sh", cat_argv);
		_exit(127);
	}
	say_answer(c);
	say("%s", fate(child));
	exchange(c, 3);
	say("still talks");
}

QUESTION(spawn, STATES & STREAMS)
{
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, c->fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, c->fd, STDOUT_FILENO);
	pid_t child;
	say("spawn %d", posix_spawn(&child, "/bin/sh", &actions, NULL, cat_argv, environ));
	say_answer(c);
	say("%s", fate(child));
	exchange(c, 3);
	say("still talks");
}

/* What a new program sees of descriptor `fd`: "open" or "closed". */
static const char *in_a_new_program(int fd)
{
	static char answer[20];
	char command[100];
	memset(answer, 0, sizeof answer);
	snprintf(command, sizeof command, "test -e /proc/self/fd/%d && echo open || echo closed", fd);
	FILE *p = popen(command, "r");
	if (fgets(answer, sizeof answer, p) != NULL)
		answer[strcspn(answer, "\n")] = 0;
	pclose(p);
	return answer;
}

QUESTION(exec_inherits, STATES)
{
	OK(fcntl(c->fd, F_SETFD, 0));
	say("without the flag %s", in_a_new_program(c->fd));
	OK(fcntl(c->fd, F_SETFD, FD_CLOEXEC));
	say("with it %s", in_a_new_program(c->fd));
	int twin = (int)OK(dup(c->fd));
	say("duplicate %s", in_a_new_program(twin));
	exchange(c, 3);
}

QUESTION(exec_closes_the_last, STATES)
{
	int in[2], out[2];
	char echo = 0;
	OK(fcntl(c->fd, F_SETFD, FD_CLOEXEC));
	OK(pipe(in));
	OK(pipe(out));
	pid_t pid = (pid_t)OK(fork());
	if (pid == 0) {
		close(in[1]);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl("/bin/cat", "cat", NULL);
		_exit(127);
	}
	OK(close(c->fd));
	EQ(write(in[1], "x", 1), 1);
	EQ(read(out[0], &echo, 1), 1); /* the new program runs, without the connection */
	say("there %s", there_bits(c));
	say_there(c);
	OK(close(in[1]));
	say("%s", fate(pid));
}

QUESTION(popen_while_connected, STATES)
{
	FILE *p = popen("echo words", "r");
	char line[20] = "";
	say("'%.5s'", fgets(line, sizeof line, p));
	say("pclose %d", pclose(p));
	exchange(c, 3);
	say("system %d", system("exit 3") >> 8);
	exchange(c, 3);
	say_both("then", c);
}

/* ---- ends -------------------------------------------------------------------------------------- */

static struct conn *connection;

static void leave(int how)
{
	there_sends(connection, "unread");
	if (how == 0)
		exit(0);
	if (how == 1)
		_exit(0);
	if (how == 2)
		abort();
	raise(SIGKILL);
}

QUESTION(process_ends_unread, IN_ONE & STREAMS)
{
	/* Both ends are in the child, which reports nothing: who else holds one sees the end. */
	connection = c;
	const char *const names[] = { "exit", "_exit", "abort", "killed" };
	for (int how = 0; how < 4; how++) {
		pid_t child = (pid_t)OK(fork());
		if (child == 0) {
			close(STDOUT_FILENO);
			leave(how);
		}
		say("%s %s", names[how], fate(child));
	}
	say_both("all gone", c);
	say("queue %d", queued(c->fd));
}

static void *close_in_thread(void *argument)
{
	struct conn *c = argument;
	sleep_ms(30);
	close(c->fd);
	return NULL;
}

QUESTION(thread_closes, STATES)
{
	pthread_t thread;
	EQ(pthread_create(&thread, NULL, close_in_thread, c), 0);
	pthread_join(thread, NULL);
	ask("send", send(c->fd, "x", 1, MSG_NOSIGNAL));
	say("there %s", there_bits(c));
}

QUESTION(epoll_instance_inherited, STATES)
{
	int ep = (int)OK(epoll_create1(0));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){ EPOLLIN, { .u32 = 7 } }));
	there_sends(c, "words");
	pid_t child = (pid_t)OK(fork());
	if (child == 0) {
		struct epoll_event e = { 0 };
		_exit(epoll_wait(ep, &e, 1, 1000) * 10 + (int)e.data.u32);
	}
	say("%s", fate(child));
	struct epoll_event e;
	ask("wait", epoll_wait(ep, &e, 1, 1000));
	ask_bytes("recv", c->fd, 8, 0);
	ask("wait", epoll_wait(ep, &e, 1, 30));
}
