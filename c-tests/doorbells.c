/* How many doorbells are rung. In a file of its own: a process whose threads have once waited otherwise rings more. */
#include <sys/epoll.h>

#include "support.h"

static void *sends_one_byte(void *argument)
{
	struct conn *c = argument;
	sleep_ms(100);
	EQ(peer_send(c, "x", 1, 0), 1);
	return NULL;
}

static void a_loop_beside_threads_rings_little(struct conn *c)
{
	/* One real sleep, and then messages that are there when they are asked for: those need no doorbells. */
	enum { MESSAGES = 300 };
	pthread_t sender;
	int e = (int)OK(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { EPOLLIN, { .u64 = 1 } };
	OK(epoll_ctl(e, EPOLL_CTL_ADD, c->fd, &event));
	char in;
	exchange(c, 20);
	pthread_create(&sender, NULL, sends_one_byte, c);
	EQ(epoll_wait(e, &event, 1, 10000), 1);
	pthread_join(sender, NULL);
	EQ(recv(c->fd, &in, 1, 0), 1);
	long before = doorbells();
	for (int i = 0; i < MESSAGES; i++) {
		EQ(peer_send(c, "y", 1, 0), 1);
		usleep(60);
		EQ(epoll_wait(e, &event, 1, 10000), 1);
		EQ(recv(c->fd, &in, 1, 0), 1);
	}
	TRUE(doorbells() - before < MESSAGES / 2);
}

static const struct test tests[] = {
	TEST(a_loop_beside_threads_rings_little, ONE | UNIX_ONE),
};
MAIN(tests)
