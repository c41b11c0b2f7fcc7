/* Running out: descriptors, and a peer that never reads. */
#include <sys/resource.h>

#include "support.h"

static void lower_descriptor_limit(int to)
{
	struct rlimit limit;
	OK(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = (rlim_t)to;
	OK(setrlimit(RLIMIT_NOFILE, &limit));
}

static int use_up(void)
{
	int count = 0;
	while (open("/dev/null", O_RDONLY) >= 0)
		count++;
	EQ(errno, EMFILE);
	return count;
}

static void no_more_descriptors(void *argument)
{
	(void)argument;
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, 8, &addr, &length), pair[2];
	tcp_pair(INET, pair);
	warm_up_fds(pair[0], pair[1]);
	int client = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	lower_descriptor_limit(64);
	TRUE(use_up() > 10);
	ERR(socket(AF_INET, SOCK_STREAM, 0), EMFILE);
	ERR(socket(AF_UNIX, SOCK_STREAM, 0), EMFILE);
	ERR(dup(pair[0]), EMFILE);
	ERR(fcntl(pair[0], F_DUPFD, 0), EMFILE);
	ERR(epoll_create1(0), EMFILE);
	int pipes[2];
	ERR(pipe(pipes), EMFILE);
	/* What exists goes on, and a new connection needs no more than the kernel's. */
	OK(connect(client, (struct sockaddr *)&addr, length));
	ERR(accept(listener, NULL, NULL), EMFILE);
	warm_up_fds(pair[0], pair[1]);
	OK(close(40));
	int b = (int)OK(accept(listener, NULL, NULL));
	EQ(b, 40);
	warm_up_fds(client, b);
	ERR(socket(AF_INET, SOCK_STREAM, 0), EMFILE);
	OK(close(b));
	EQ(socket(AF_INET, SOCK_STREAM, 0), 40);
}

static void descriptors(struct conn *c)
{
	(void)c;
	in_child(no_more_descriptors, NULL);
}

static void first_socket_at_the_limit(void *argument)
{
	(void)argument;
	lower_descriptor_limit(32);
	use_up();
	for (int fd = 20; fd < 23; fd++)
		OK(close(fd));
	/* Three numbers are left, and three sockets must fit. */
	struct sockaddr_storage addr;
	socklen_t length = loopback(AF_INET, 0, &addr);
	int listener = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(listener, (struct sockaddr *)&addr, length));
	OK(listen(listener, 1));
	OK(getsockname(listener, (struct sockaddr *)&addr, &length));
	int a = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(a, (struct sockaddr *)&addr, length));
	int b = (int)OK(accept(listener, NULL, NULL));
	EQ(listener, 20);
	EQ(a, 21);
	EQ(b, 22);
	char in[4];
	for (int i = 0; i < 10; i++) {
		EQ(send(a, "ping", 4, 0), 4);
		EQ(recv_all(b, in, 4), 4);
		EQ(send(b, "pong", 4, 0), 4);
		EQ(recv_all(a, in, 4), 4);
	}
	ERR(socket(AF_INET, SOCK_STREAM, 0), EMFILE);
}

static void descriptors_nearly(struct conn *c)
{
	(void)c;
	in_child(first_socket_at_the_limit, NULL);
}

static long resident_kib(void)
{
	long pages = 0, shared = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f == NULL || fscanf(f, "%*d %ld %ld", &pages, &shared) != 2)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void never_reads_memory(struct conn *c)
{
	long before = resident_kib();
	size_t total = fill_until_full(c->fd);
	for (int i = 0; i < 2000; i++)
		if (send(c->fd, "more", 4, MSG_DONTWAIT) > 0)
			total += 4;
	TRUE(total < (48u << 20));
	TRUE(resident_kib() - before < 64 * 1024);
}

static void never_reads_blocks(struct conn *c)
{
	fill_until_full(c->fd);
	set_timeout(c->fd, SO_SNDTIMEO, 100);
	static char more[1 << 20];
	ssize_t n;
	int rounds = 0;
	while ((n = send(c->fd, more, sizeof more, 0)) > 0 && rounds++ < 60)
		;
	ERR(n, EAGAIN);
	/* It may start to read after all. */
	set_timeout(c->fd, SO_SNDTIMEO, 0);
	char *in = malloc(64 << 20);
	size_t got = 0;
	peer_nonblock(c, true);
	for (;;) {
		long k = peer_recv(c, in, 1 << 20, 0);
		if (k <= 0) {
			if (peer_poll(c, POLLIN, 50) == 0)
				break;
			continue;
		}
		got += (size_t)k;
	}
	TRUE(got > 0);
	free(in);
	peer_nonblock(c, false);
	exchange(c, 3);
}

static void descriptors_come_back(struct conn *c)
{
	(void)c;
	/* Many more connections than there are numbers, one after the other. */
	struct sockaddr_storage addr;
	socklen_t length;
	int listener = tcp_listener(INET, 8, &addr, &length), first = -1;
	for (int i = 0; i < 400; i++) {
		int a = tcp_connect(INET, &addr, length), b = (int)OK(accept(listener, NULL, NULL));
		if (i == 0)
			first = a;
		EQ(a, first);
		EQ(b, first + 1);
		char in[4];
		for (int j = 0; j < 3; j++) {
			EQ(send(a, "ping", 4, 0), 4);
			EQ(recv_all(b, in, 4), 4);
			EQ(send(b, "pong", 4, 0), 4);
			EQ(recv_all(a, in, 4), 4);
		}
		OK(close(b));
		OK(close(a));
	}
}

static const struct test tests[] = {
	TEST(descriptors, ALONE),	   TEST(descriptors_nearly, ALONE),
	TEST(never_reads_memory, EACH),	   TEST(never_reads_blocks, EACH),
	TEST(descriptors_come_back, ALONE),
};
MAIN(tests)
