/* AF_UNIX streams over fork(2) and exec(3), with programs that know of a library and programs that do not. */
#include "support.h"

struct checker {
	int fd;
	uint64_t length;
	long result;
};

static void *check_in_thread(void *argument)
{
	struct checker *k = argument;
	char in[8192];
	uint64_t done = 0;
	while (done < k->length) {
		size_t part = k->length - done < sizeof in ? (size_t)(k->length - done) : sizeof in;
		ssize_t n = recv(k->fd, in, part, 0);
		if (n <= 0 || pattern_differs(in, done, (size_t)n) >= 0) {
			k->result = n <= 0 ? -1 : -2;
			return NULL;
		}
		done += (uint64_t)n;
	}
	k->result = (long)done;
	return NULL;
}

/* Sends the pattern and checks that it all comes back, from another descriptor if there is one. */
static void sent_and_returned(int to, int from, uint64_t skip, uint64_t length)
{
	struct checker k = { from, length, 0 };
	pthread_t thread;
	char out[5000];
	EQ(pthread_create(&thread, NULL, check_in_thread, &k), 0);
	for (uint64_t done = skip; done < length;) {
		size_t part = length - done < sizeof out ? (size_t)(length - done) : sizeof out;
		pattern_fill(out, done, part);
		EQ(send_all(to, out, part), part);
		done += part;
	}
	pthread_join(thread, NULL);
	EQ(k.result, length);
}

static long echoed(int *fd, long length, long unused)
{
	(void)unused;
	sent_and_returned(*fd, *fd, 0, (uint64_t)length);
	return length;
}

#define SOME (1 << 20)
#define SOME_TEXT "1048576"

static const char *number(int n)
{
	static char texts[4][16];
	static int next;
	char *it = texts[next++ % 4];
	sprintf(it, "%d", n);
	return it;
}

/* ---- fork ------------------------------------------------------------------------------------------ */

static void answer_twenty(void *argument)
{
	struct conn *c = argument;
	char in[8];
	for (int i = 0; i < 20; i++) {
		EQ(recv_all(c->fd, in, 4), 4);
		SAME(in, "ping", 4);
		EQ(send_all(c->fd, "pong", 4), 4);
	}
}

static void ask_twenty(struct conn *c)
{
	char in[8];
	for (int i = 0; i < 20; i++) {
		EQ(peer_send_all(c, "ping", 4), 4);
		EQ(peer_recv_all(c, in, 4), 4);
		SAME(in, "pong", 4);
	}
}

static void a_child_talks(struct conn *c)
{
	pid_t child = fork_child(answer_twenty, c);
	ask_twenty(c);
	join_child(child);
	EQ(peer_poll(c, POLLIN, 20), 0); /* we still hold it */
	exchange(c, 12);
}

static void the_child_is_the_last_holder(struct conn *c)
{
	char in[4];
	pid_t child = fork_child(answer_twenty, c);
	OK(close(c->fd));
	c->fd = -1;
	ask_twenty(c);
	join_child(child);
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void wait_for_death(void *argument)
{
	(void)argument;
	pause();
}

static void a_child_keeps_the_end_open(struct conn *c)
{
	char in[4];
	pid_t child = fork_child(wait_for_death, c);
	OK(close(c->fd));
	c->fd = -1;
	EQ(peer_poll(c, POLLIN | POLLRDHUP, 50), 0);
	EQ(peer_send(c, "into", 4, 0), 4);
	OK(kill(child, SIGKILL));
	OK(waitpid(child, NULL, 0));
	TRUE(peer_poll(c, POLLRDHUP, 5000) & POLLHUP);
	ERR(peer_recv(c, in, 4, 0), ECONNRESET); /* "into" was never read */
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void keep_and_answer(void *argument)
{
	int *pair = argument;
	char in[8];
	OK(close(pair[0]));
	for (int i = 0; i < 30; i++) {
		EQ(recv_all(pair[1], in, 4), 4);
		EQ(send_all(pair[1], in, 4), 4);
	}
}

static void pair_before_a_fork(bool warm, bool queued)
{
	int pair[2];
	char in[8];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	if (warm)
		warm_up_fds(pair[0], pair[1]);
	if (queued)
		EQ(send_all(pair[0], "q001q002", 8), 8);
	pid_t child = fork_child(keep_and_answer, pair);
	OK(close(pair[1]));
	if (queued) {
		EQ(recv_all(pair[0], in, 8), 8);
		SAME(in, "q001q002", 8);
	}
	for (int i = queued ? 2 : 0; i < 30; i++) {
		char out[8];
		sprintf(out, "r%03d", i);
		EQ(send_all(pair[0], out, 4), 4);
		EQ(recv_all(pair[0], in, 4), 4);
		SAME(in, out, 4);
	}
	join_child(child);
	EQ(recv(pair[0], in, 8, 0), 0);
	OK(close(pair[0]));
}

static void a_pair_and_a_fork(struct conn *c)
{
	(void)c;
	for (int i = 0; i < 4; i++)
		pair_before_a_fork(i & 1, i & 2);
}

/* ---- exec -------------------------------------------------------------------------------------------- */

/* Our end goes to a program; the peer sends, and gets it all back. */
static void our_end_to_a_program(struct conn *c, bool statically)
{
	char in[4];
	pid_t child = start_echo(statically, c->fd, "stream", number(c->fd), NULL);
	OK(close(c->fd));
	c->fd = -1;
	EQ(peer_call(c, echoed, SOME, 0), SOME);
	OK(peer_shutdown(c, SHUT_WR));
	join_child(child);
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void exec_keeps_it(struct conn *c)
{
	our_end_to_a_program(c, false);
}

static void exec_of_a_static_program(struct conn *c)
{
	our_end_to_a_program(c, true);
}

/* It has our end for some time, while we hold it too and wait; then we go on. */
static void lent(struct conn *c, bool statically)
{
	pid_t child = start_echo(statically, c->fd, "stream", number(c->fd), SOME_TEXT, NULL);
	EQ(peer_call(c, echoed, SOME, 0), SOME);
	join_child(child);
	EQ(peer_poll(c, POLLIN, 20), 0);
	exchange(c, 12);
}

static void lent_to_a_program(struct conn *c)
{
	lent(c, false);
}

static void lent_to_a_static_program(struct conn *c)
{
	lent(c, true);
}

static void pair_with_a_program(bool statically, bool warm, size_t queued)
{
	int pair[2];
	char in[4];
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	if (warm)
		warm_up_fds(pair[0], pair[1]);
	char *bytes = malloc(queued + 1);
	pattern_fill(bytes, 0, queued);
	EQ(send_all(pair[0], bytes, queued), queued);
	free(bytes);
	pid_t child = start_echo(statically, pair[1], "stream", number(pair[1]), NULL);
	OK(close(pair[1]));
	sent_and_returned(pair[0], pair[0], queued, SOME);
	OK(shutdown(pair[0], SHUT_WR));
	EQ(recv(pair[0], in, 4, 0), 0);
	join_child(child);
	OK(close(pair[0]));
}

static void a_pair_with_a_program(struct conn *c)
{
	(void)c;
	for (int i = 0; i < 4; i++)
		pair_with_a_program(false, i & 1, i & 2 ? 5000 : 0);
}

static void a_pair_with_a_static_program(struct conn *c)
{
	(void)c;
	for (int i = 0; i < 4; i++)
		pair_with_a_program(true, i & 1, i & 2 ? 5000 : 0);
}

/* Two pairs, and a program that carries the stream from one to the other. */
static void relayed(bool statically, bool warm)
{
	int from[2], to[2];
	char in[4];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, from));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, to));
	OK(fcntl(from[0], F_SETFD, FD_CLOEXEC));
	OK(fcntl(to[0], F_SETFD, FD_CLOEXEC));
	if (warm) {
		warm_up_fds(from[0], from[1]);
		warm_up_fds(to[0], to[1]);
	}
	pid_t child = start_echo(statically, from[1], "relay", number(from[1]), number(to[1]), NULL);
	OK(close(from[1]));
	OK(close(to[1]));
	sent_and_returned(from[0], to[0], 0, SOME);
	OK(shutdown(from[0], SHUT_WR));
	EQ(recv(to[0], in, 4, 0), 0);
	join_child(child);
	OK(close(from[0]));
	OK(close(to[0]));
}

static void a_program_that_relays(struct conn *c)
{
	(void)c;
	relayed(false, false);
	relayed(false, true);
}

static void a_static_program_that_relays(struct conn *c)
{
	(void)c;
	relayed(true, false);
	relayed(true, true);
}

static void a_chain_of_programs(struct conn *c)
{
	(void)c;
	enum { LINKS = 4 };
	int pairs[LINKS + 1][2];
	pid_t children[LINKS];
	for (int i = 0; i <= LINKS; i++)
		OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]));
	for (int i = 0; i < LINKS; i++) { /* from the pair before, into the one after; every second is static */
		OK(fcntl(pairs[i + 1][0], F_SETFD, 0));
		children[i] = start_echo(i % 2, pairs[i][1], "relay", number(pairs[i][1]), number(pairs[i + 1][0]), NULL);
		OK(close(pairs[i][1]));
		OK(close(pairs[i + 1][0]));
	}
	sent_and_returned(pairs[0][0], pairs[LINKS][1], 0, SOME);
	OK(shutdown(pairs[0][0], SHUT_WR));
	for (int i = 0; i < LINKS; i++)
		join_child(children[i]);
	char in[4];
	EQ(recv(pairs[LINKS][1], in, 4, 0), 0);
}

static void the_program_is_killed(struct conn *c)
{
	char in[4];
	for (int statically = 0; statically < 2; statically++) {
		int pair[2];
		OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
		pid_t child = start_echo(statically, pair[1], "stream", number(pair[1]), NULL);
		OK(close(pair[1]));
		for (int i = 0; i < 12; i++) {
			EQ(send_all(pair[0], "ping", 4), 4);
			EQ(recv_all(pair[0], in, 4), 4);
		}
		OK(kill(child, SIGKILL));
		OK(waitpid(child, NULL, 0));
		poll_until(pair[0], POLLIN, POLLHUP);
		EQ(recv(pair[0], in, 4, 0), 0);
		ERR(send(pair[0], "x", 1, MSG_NOSIGNAL), EPIPE);
		OK(close(pair[0]));
	}
	(void)c;
}

static const struct test tests[] = {
	TEST(a_child_talks, UNIX_EACH),
	TEST(the_child_is_the_last_holder, UNIX_EACH),
	TEST(a_child_keeps_the_end_open, UNIX_EACH),
	TEST(a_pair_and_a_fork, ALONE),
	TEST(exec_keeps_it, UNIX_TWO),
	TEST(exec_of_a_static_program, UNIX_TWO),
	TEST(lent_to_a_program, UNIX_EACH),
	TEST(lent_to_a_static_program, UNIX_EACH),
	TEST(a_pair_with_a_program, ALONE),
	TEST(a_pair_with_a_static_program, ALONE),
	TEST(a_program_that_relays, ALONE),
	TEST(a_static_program_that_relays, ALONE),
	TEST(a_chain_of_programs, ALONE),
	TEST(the_program_is_killed, ALONE),
};
MAIN(tests)
