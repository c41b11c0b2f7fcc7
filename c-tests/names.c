/* getsockname(2), getpeername(2). */
#include "support.h"

struct name { struct sockaddr_storage addr; socklen_t length; };

static struct name mine(int fd)
{
	struct name n = { .length = sizeof n.addr };
	OK(getsockname(fd, (struct sockaddr *)&n.addr, &n.length));
	return n;
}

static struct name theirs(int fd)
{
	struct name n = { .length = sizeof n.addr };
	OK(getpeername(fd, (struct sockaddr *)&n.addr, &n.length));
	return n;
}

static void both_ends_agree(struct conn *c)
{
	(void)c;
	for (enum family family = INET; family <= MAPPED_SERVER; family++) {
		int pair[2];
		tcp_pair(family, pair);
		for (int round = 0; round < 2; round++) {
			struct name a = mine(pair[0]), b = theirs(pair[1]);
			EQ(port_of(&a.addr), port_of(&b.addr));
			a = theirs(pair[0]), b = mine(pair[1]);
			EQ(port_of(&a.addr), port_of(&b.addr));
			bool client6 = family == INET6 || family == MAPPED_CLIENT;
			bool server6 = family == INET6 || family == MAPPED_SERVER;
			EQ(mine(pair[0]).addr.ss_family, client6 ? AF_INET6 : AF_INET);
			EQ(theirs(pair[0]).addr.ss_family, client6 ? AF_INET6 : AF_INET);
			EQ(mine(pair[1]).addr.ss_family, server6 ? AF_INET6 : AF_INET);
			EQ(theirs(pair[1]).length, server6 ? sizeof(struct sockaddr_in6)
							   : sizeof(struct sockaddr_in));
			warm_up_fds(pair[0], pair[1]);
		}
		close(pair[0]);
		close(pair[1]);
	}
}

static void short_room(struct conn *c)
{
	unsigned char room[32];
	memset(room, 0xaa, sizeof room);
	socklen_t length = 5;
	OK(getsockname(c->fd, (struct sockaddr *)room, &length));
	EQ(length, sizeof(struct sockaddr_in));
	EQ(room[5], 0xaa);
	length = 0;
	OK(getpeername(c->fd, (struct sockaddr *)room, &length));
	EQ(length, sizeof(struct sockaddr_in));
	length = (socklen_t)-1;
	ERR(getsockname(c->fd, (struct sockaddr *)room, &length), EINVAL);
	ERR(getsockname(c->fd, (struct sockaddr *)room, NULL), EFAULT);
	length = sizeof room;
	ERR(getpeername(c->fd, NULL, &length), EFAULT);
	exchange(c, 2);
}

static void after_the_end(struct conn *c)
{
	struct name before = theirs(c->fd);
	OK(peer_close(c));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	struct name after = theirs(c->fd);
	EQ(port_of(&after.addr), port_of(&before.addr));
	EQ(send(c->fd, "x", 1, MSG_NOSIGNAL), 1);
	poll_until(c->fd, POLLHUP, POLLHUP);
	struct name n = { .length = sizeof n.addr };
	ERR(getpeername(c->fd, (struct sockaddr *)&n.addr, &n.length), ENOTCONN);
	mine(c->fd);
}

static void after_a_reset(struct conn *c)
{
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	poll_until(c->fd, POLLHUP, POLLHUP);
	struct name n = { .length = sizeof n.addr };
	ERR(getpeername(c->fd, (struct sockaddr *)&n.addr, &n.length), ENOTCONN);
}

static const struct test tests[] = {
	TEST(both_ends_agree, ALONE), TEST(short_room, EACH),
	TEST(after_the_end, EACH),    TEST(after_a_reset, EACH),
};
MAIN(tests)
