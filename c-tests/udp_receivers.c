/* udp(7): receivers that end, change, sleep in threads, and what their senders are told of it. */
#include "udp.h"

/* ---- what a receiver takes --------------------------------------------------------------------------- */

static void an_empty_queue_takes_one_of_any_size(struct conn *c)
{
	(void)c;
	static char out[60000], in[sizeof out + 1];
	int fd = bound(AF_INET), sender = made(AF_INET);
	OK(set(fd, SOL_SOCKET, SO_RCVBUF, 1000));
	OK(connect_to_fd(sender, fd));
	for (size_t length = 1000; length <= sizeof out; length += 11800) {
		NONE_IS_THERE(fd);
		pattern_fill(out, length, length);
		EQ(send(sender, out, length, 0), length);
		poll_until(fd, POLLIN, POLLIN);
		EQ(recv(fd, in, sizeof in, MSG_DONTWAIT), length);
		SAME(in, out, length);
	}
}

/* Bound to `host`, with IPV6_V6ONLY as said. */
static int six_at(const char *host, int only)
{
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6 };
	EQ(inet_pton(AF_INET6, host, &addr.sin6_addr), 1);
	int fd = made(AF_INET6);
	OK(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only));
	OK(bind(fd, (struct sockaddr *)&addr, sizeof addr));
	return fd;
}

static void families_that_do_not_meet(struct conn *c)
{
	(void)c;
	int four = bound(AF_INET), any = six_at("::", 0), one = six_at("::1", 0);
	const struct {
		const char *from;
		int only;
		const char *to;
		int receiver, error;
		const char *told; /* of the sender's address */
	} cases[] = {
		{ "::", 1, "::ffff:127.0.0.1", four, ENETUNREACH, NULL },
		{ "::", 0, "::ffff:127.0.0.1", four, 0, "127.0.0.1" },
		{ "::1", 0, "::ffff:127.0.0.1", four, ENETUNREACH, NULL },
		{ "::1", 0, "::ffff:127.0.0.1", any, ENETUNREACH, NULL },
		{ "::ffff:127.0.0.1", 0, "::1", any, EAFNOSUPPORT, NULL },
		{ "::ffff:127.0.0.1", 0, "::1", one, EAFNOSUPPORT, NULL },
		{ "::", 0, "::1", one, 0, "::1" },
		{ "::", 0, "::ffff:127.0.0.9", any, 0, "::ffff:127.0.0.1" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int fd = six_at(cases[i].from, cases[i].only);
		struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(port(cases[i].receiver)) };
		EQ(inet_pton(AF_INET6, cases[i].to, &to.sin6_addr), 1);
		NONE_IS_THERE(cases[i].receiver);
		NONE_IS_THERE(fd);
		if (cases[i].error != 0) {
			ERR(sendto(fd, "words", 5, 0, (struct sockaddr *)&to, sizeof to), cases[i].error);
			NONE_IS_THERE(cases[i].receiver);
			OK(close(fd));
			continue;
		}
		EQ(sendto(fd, "words", 5, 0, (struct sockaddr *)&to, sizeof to), 5);
		struct sockaddr_storage from;
		socklen_t length = sizeof from;
		char in[8], text[INET6_ADDRSTRLEN] = "";
		poll_until(cases[i].receiver, POLLIN, POLLIN);
		EQ(recvfrom(cases[i].receiver, in, 8, MSG_DONTWAIT, (struct sockaddr *)&from, &length), 5);
		if (from.ss_family == AF_INET)
			inet_ntop(AF_INET, &((struct sockaddr_in *)&from)->sin_addr, text, sizeof text);
		else
			inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&from)->sin6_addr, text, sizeof text);
		SAME(text, cases[i].told, strlen(cases[i].told) + 1);
		EQ(port_of(&from), port(fd));
		OK(close(fd));
	}
}

static int arrivals;

static void arrived(int signal)
{
	(void)signal;
	arrivals++;
}

/* O_ASYNC, from before the first datagram on, and from after it. */
static void a_signal_for_each_arrival(struct conn *c)
{
	(void)c;
	char in[4];
	signal(SIGIO, arrived);
	for (int late = 0; late < 2; late++) {
		int fd = bound(AF_INET), sender = made(AF_INET);
		OK(connect_to_fd(sender, fd));
		if (late)
			NONE_IS_THERE(fd);
		OK(fcntl(fd, F_SETOWN, getpid()));
		OK(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK));
		arrivals = 0;
		for (int i = 1; i <= 5; i++) {
			EQ(send(sender, "x", 1, 0), 1);
			for (int64_t end = now_ms() + 3000; arrivals < i && now_ms() < end;)
				sleep_ms(1);
			EQ(arrivals, i);
			EQ(recv(fd, in, 4, 0), 1);
			ERR(recv(fd, in, 4, 0), EAGAIN);
		}
		OK(fcntl(fd, F_SETFL, 0));
	}
	signal(SIGIO, SIG_DFL);
}

/* ---- threads ------------------------------------------------------------------------------------------ */

struct reader {
	int fd;
	long results[3];
	char in[3][8];
};

static void *reads_once(void *argument)
{
	struct reader *r = argument;
	r->results[0] = recv(r->fd, r->in[0], 8, 0);
	return NULL;
}

static void *reads_twice(void *argument)
{
	struct reader *r = argument;
	for (int i = 0; i < 2; i++)
		r->results[i] = recv(r->fd, r->in[i], 8, 0);
	return NULL;
}

/* Linux says ENOTCONN, and does it all the same. */
static void shutdown_of_one_without_a_peer(struct conn *c)
{
	(void)c;
	char in[4];
	for (int used = 0; used < 2; used++) {
		struct reader r = { .fd = bound(AF_INET), .results = { -2 } };
		pthread_t thread;
		if (used) {
			NONE_IS_THERE(r.fd);
			EQ(send_to_fd(r.fd, r.fd, "before"), 6);
			NEXT_IS(r.fd, "before");
		}
		EQ(pthread_create(&thread, NULL, reads_once, &r), 0);
		sleep_ms(50);
		ERR(shutdown(r.fd, SHUT_RDWR), ENOTCONN);
		EQ(pthread_join(thread, NULL), 0);
		EQ(r.results[0], 0);
		EQ(poll_one(r.fd, POLLIN, 0), POLLIN | POLLHUP);
		ERR(recv(r.fd, in, 4, MSG_DONTWAIT), EAGAIN);
		OK(close(r.fd));
	}
}

static void a_thread_waits_before_there_is_a_name(struct conn *c)
{
	(void)c;
	struct reader r = { .fd = made(AF_INET) };
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 0, &addr);
	pthread_t thread;
	EQ(pthread_create(&thread, NULL, reads_twice, &r), 0);
	sleep_ms(50);
	OK(bind(r.fd, (struct sockaddr *)&addr, length));
	EQ(poll_one(r.fd, POLLIN, 0), 0);
	int sender = made(AF_INET);
	OK(connect_to_fd(sender, r.fd));
	EQ(send(sender, "hello", 5, 0), 5);
	sleep_ms(50);
	EQ(send(sender, "again", 5, 0), 5);
	EQ(pthread_join(thread, NULL), 0);
	EQ(r.results[0], 5);
	SAME(r.in[0], "hello", 5);
	EQ(r.results[1], 5);
	SAME(r.in[1], "again", 5);
}

static void *waits_for_the_gate(void *gate)
{
	char c;
	(void)!read(*(int *)gate, &c, 1);
	return NULL;
}

/* In a process with threads, after waits that ended without anything: what follows is the datagrams and the end, and
 * nothing that was meant to wake. */
static void nothing_but_datagrams_comes(struct conn *c)
{
	(void)c;
	int gate[2], fd = bound(AF_INET), sender = bound(AF_INET);
	char in[100];
	pthread_t thread;
	OK(pipe(gate));
	EQ(pthread_create(&thread, NULL, waits_for_the_gate, &gate[0]), 0);
	OK(connect_to_fd(sender, fd));
	OK(connect_to_fd(fd, sender));
	set_timeout(fd, SO_RCVTIMEO, 30);
	for (int round = 0; round < 3; round++) {
		ERR(recv(fd, in, sizeof in, 0), EAGAIN);
		EQ(send(sender, "hi", 2, 0), 2);
		EQ(recv(fd, in, sizeof in, 0), 2);
		ERR(recv(fd, in, sizeof in, MSG_DONTWAIT | MSG_PEEK), EAGAIN);
	}
	ERR(recv(fd, in, sizeof in, 0), EAGAIN);
	EQ(send(sender, "hi", 2, 0), 2);
	EQ(recv(fd, in, sizeof in, 0), 2);
	OK(shutdown(fd, SHUT_RD));
	for (int i = 0; i < 3; i++)
		EQ(recv(fd, in, sizeof in, 0), 0);
	OK(close(gate[1]));
	EQ(pthread_join(thread, NULL), 0);
}

/* ---- receivers that are gone --------------------------------------------------------------------------- */

struct server {
	int report[2];
	uint16_t port;
	pid_t pid;
	bool executes; /* another program, once it has received something */
};

static void serves(void *argument)
{
	struct server *s = argument;
	int fd = bound(AF_INET);
	uint16_t mine = port(fd);
	char in[16];
	NONE_IS_THERE(fd);
	EQ(write(s->report[1], &mine, sizeof mine), sizeof mine);
	if (s->executes) {
		EQ(recv(fd, in, sizeof in, 0), 5);
		execl("/bin/sleep", "sleep", "30", NULL); /* the socket closes */
		_exit(98);
	}
	while (recv(fd, in, sizeof in, 0) >= 0)
		;
}

static struct server server(bool executes)
{
	struct server s = { .executes = executes };
	OK(pipe(s.report));
	s.pid = fork_child(serves, &s);
	EQ(read(s.report[0], &s.port, sizeof s.port), sizeof s.port);
	return s;
}

static int client(const struct server *s)
{
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, s->port, &addr);
	int fd = bound(AF_INET);
	OK(connect(fd, (struct sockaddr *)&addr, length));
	NONE_IS_THERE(fd);
	return fd;
}

/* Each send brings an error, which the next call tells. */
static void is_refused(int fd)
{
	for (int i = 0; i < 5; i++) {
		EQ(send(fd, "lost", 4, 0), 4);
		poll_until(fd, POLLIN, POLLERR);
		sleep_ms(2);
		ERR(send(fd, "lost", 4, 0), ECONNREFUSED);
	}
}

/* Killed, and not waited for: as a process it is still there. */
static void a_zombie_receives_nothing(struct conn *c)
{
	(void)c;
	struct server s = server(false);
	int fd = client(&s);
	siginfo_t info;
	EQ(send(fd, "words", 5, 0), 5);
	sleep_ms(30);
	OK(kill(s.pid, SIGKILL));
	OK(waitid(P_PID, (id_t)s.pid, &info, WEXITED | WNOWAIT));
	is_refused(fd);
	OK(waitpid(s.pid, NULL, 0));
}

static void a_receiver_that_becomes_another_program(struct conn *c)
{
	(void)c;
	struct server s = server(true);
	int fd = client(&s);
	char path[64], exe[PATH_MAX] = "";
	EQ(send(fd, "words", 5, 0), 5);
	sprintf(path, "/proc/%d/comm", s.pid);
	for (int64_t end = now_ms() + 5000; strncmp(exe, "sleep", 5) != 0 && now_ms() < end; sleep_ms(1)) {
		int comm = (int)OK(open(path, O_RDONLY | O_CLOEXEC));
		(void)!read(comm, exe, sizeof exe - 1);
		OK(close(comm));
	}
	sleep_ms(30);
	is_refused(fd);
	OK(kill(s.pid, SIGKILL));
	OK(waitpid(s.pid, NULL, 0));
}

static void a_dead_receiver_beside_a_live_one(struct conn *c)
{
	(void)c;
	struct server dies = server(false), lives = server(false);
	int dead = client(&dies), live = client(&lives);
	for (int i = 0; i < 5; i++) {
		EQ(send(dead, "words", 5, 0), 5);
		EQ(send(live, "words", 5, 0), 5);
	}
	sleep_ms(30);
	OK(kill(dies.pid, SIGKILL));
	OK(waitpid(dies.pid, NULL, 0));
	for (int i = 0; i < 50; i++) { /* every other send brings the error of the one before */
		sleep_ms(2);
		EQ(send(live, "words", 5, 0), 5);
		if (i % 2 == 0)
			EQ(send(dead, "lost", 4, 0), 4);
		else
			ERR(send(dead, "lost", 4, 0), ECONNREFUSED);
	}
	OK(kill(lives.pid, SIGKILL));
	OK(waitpid(lives.pid, NULL, 0));
}

static void a_refusal_outlives_the_question_for_bytes(struct conn *c)
{
	(void)c;
	int gone = bound(AF_INET), fd = bound(AF_INET), n = -1;
	NONE_IS_THERE(fd);
	OK(connect_to_fd(fd, gone));
	OK(close(gone));
	EQ(send(fd, "lost", 4, 0), 4);
	poll_until(fd, POLLIN, POLLERR);
	OK(ioctl(fd, FIONREAD, &n));
	EQ(n, 0);
	ERR(recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT), ECONNREFUSED);
}

static const struct test tests[] = {
	TEST(an_empty_queue_takes_one_of_any_size, ALONE),
	TEST(families_that_do_not_meet, ALONE),
	TEST(a_signal_for_each_arrival, ALONE),
	TEST(shutdown_of_one_without_a_peer, ALONE),
	TEST(a_thread_waits_before_there_is_a_name, ALONE),
	TEST(nothing_but_datagrams_comes, ALONE),
	TEST(a_zombie_receives_nothing, ALONE),
	TEST(a_receiver_that_becomes_another_program, ALONE),
	TEST(a_dead_receiver_beside_a_live_one, ALONE),
	TEST(a_refusal_outlives_the_question_for_bytes, ALONE),
};
MAIN(tests)
