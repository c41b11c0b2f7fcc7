/* fcntl(2) and ioctl(2): blocking or not, and how much is waiting. */
#include <linux/sockios.h>

#include "support.h"

static void flag_by_fcntl(struct conn *c)
{
	char in[4];
	EQ(fcntl(c->fd, F_GETFL), O_RDWR);
	for (int i = 0; i < 3; i++) {
		OK(fcntl(c->fd, F_SETFL, O_NONBLOCK));
		EQ(fcntl(c->fd, F_GETFL), O_RDWR | O_NONBLOCK);
		ERR(read(c->fd, in, 4), EAGAIN);
		OK(fcntl(c->fd, F_SETFL, 0));
		EQ(fcntl(c->fd, F_GETFL), O_RDWR);
		peer_send_later(c, 30, "late", 4, 0);
		EQ(read(c->fd, in, 4), 4);
		EQ(peer_join(c), 4);
	}
}

static void flag_by_ioctl(struct conn *c)
{
	char in[4];
	int on = 1, off = 0;
	OK(ioctl(c->fd, FIONBIO, &on));
	EQ(fcntl(c->fd, F_GETFL), O_RDWR | O_NONBLOCK);
	ERR(read(c->fd, in, 4), EAGAIN);
	OK(ioctl(c->fd, FIONBIO, &off));
	EQ(fcntl(c->fd, F_GETFL), O_RDWR);
	peer_send_later(c, 30, "late", 4, 0);
	EQ(read(c->fd, in, 4), 4);
	EQ(peer_join(c), 4);
	ERR(ioctl(c->fd, FIONBIO, NULL), EFAULT);
}

static void set_in_a_child(void *argument)
{
	struct conn *c = argument;
	set_nonblock(c->fd, true);
}

static void flag_is_shared_with_children(struct conn *c)
{
	char in[4];
	in_child(set_in_a_child, c);
	EQ(is_nonblock(c->fd), 1);
	ERR(read(c->fd, in, 4), EAGAIN);
	exchange(c, 3);
}

static void close_on_exec_flag(struct conn *c)
{
	EQ(fcntl(c->fd, F_GETFD), FD_CLOEXEC);
	OK(fcntl(c->fd, F_SETFD, 0));
	EQ(fcntl(c->fd, F_GETFD), 0);
	OK(ioctl(c->fd, FIOCLEX));
	EQ(fcntl(c->fd, F_GETFD), FD_CLOEXEC);
	OK(ioctl(c->fd, FIONCLEX));
	EQ(fcntl(c->fd, F_GETFD), 0);
	exchange(c, 3);
}

static int waiting(int fd)
{
	int value = -1;
	OK(ioctl(fd, FIONREAD, &value));
	return value;
}

static void how_much_is_waiting(struct conn *c)
{
	char in[4096];
	EQ(waiting(c->fd), 0);
	for (int round = 0; round < 3; round++) {
		int total = 0;
		for (int part = 1; part < 1000; part *= 3) {
			EQ(peer_produce(c, 0, (size_t)part), part);
			total += part;
			for (int64_t end = now_ms() + 5000; waiting(c->fd) < total && now_ms() < end;)
				;
			EQ(waiting(c->fd), total);
			int again = -1;
			OK(ioctl(c->fd, SIOCINQ, &again));
			EQ(again, total);
		}
		EQ(recv(c->fd, in, 10, 0), 10);
		EQ(waiting(c->fd), total - 10);
		EQ(recv(c->fd, in, 10, MSG_PEEK), 10);
		EQ(waiting(c->fd), total - 10);
		EQ(recv_all(c->fd, in, (size_t)total - 10), total - 10);
		EQ(waiting(c->fd), 0);
	}
}

static void waiting_after_the_end(struct conn *c)
{
	EQ(peer_send(c, "abc", 3, 0), 3);
	OK(peer_close(c));
	poll_until(c->fd, POLLRDHUP, POLLRDHUP);
	EQ(waiting(c->fd), 3);
	char in[8];
	EQ(recv_all(c->fd, in, 8), 3);
	EQ(waiting(c->fd), 0);
}

static int unsent(int fd)
{
	int value = -1;
	OK(ioctl(fd, SIOCOUTQ, &value));
	return value;
}

static void how_much_is_unsent(struct conn *c)
{
	exchange(c, 2);
	for (int64_t end = now_ms() + 5000; unsent(c->fd) > 0 && now_ms() < end;)
		sleep_ms(1);
	EQ(unsent(c->fd), 0);
	int again = -1;
	OK(ioctl(c->fd, TIOCOUTQ, &again));
	EQ(again, 0);
	size_t total = fill_until_full(c->fd);
	TRUE(unsent(c->fd) >= 0);
	TRUE((size_t)unsent(c->fd) <= total);
	EQ(peer_verify(c, 0, total), total);
	for (int64_t end = now_ms() + 5000; unsent(c->fd) > 0 && now_ms() < end;)
		sleep_ms(1);
	EQ(unsent(c->fd), 0);
}

static void of_a_listener(struct conn *c)
{
	(void)c;
	struct sockaddr_storage addr;
	socklen_t length;
	int fd = tcp_listener(INET, 4, &addr, &length), value = 0;
	ERR(ioctl(fd, FIONREAD, &value), EINVAL);
	ERR(ioctl(fd, SIOCOUTQ, &value), EINVAL);
	OK(ioctl(fd, SIOCATMARK, &value));
	EQ(value, 0);
	ERR(ioctl(fd, TCGETS, &value), ENOTTY);
	EQ(isatty(fd), 0);
}

static void asynchronous_signal(struct conn *c)
{
	/* O_ASYNC: SIGIO at every arrival. */
	signals_start(1000000, 0);
	signals_stop();
	OK(fcntl(c->fd, F_SETOWN, getpid()));
	OK(fcntl(c->fd, F_SETSIG, SIGUSR1));
	OK(fcntl(c->fd, F_SETFL, O_ASYNC | O_NONBLOCK));
	EQ(fcntl(c->fd, F_GETOWN), getpid());
	char in[8];
	for (int i = 1; i <= 4; i++) {
		int before = signals_seen();
		EQ(peer_send(c, "abc", 3, 0), 3);
		for (int64_t end = now_ms() + 5000; signals_seen() == before && now_ms() < end;)
			sleep_ms(1);
		TRUE(signals_seen() > before);
		poll_until(c->fd, POLLIN, POLLIN);
		EQ(recv(c->fd, in, 8, 0), 3);
	}
}

static const struct test tests[] = {
	TEST(flag_by_fcntl, EVERY),
	TEST(flag_by_ioctl, EACH),
	TEST(flag_is_shared_with_children, EACH),
	TEST(close_on_exec_flag, EACH),
	TEST(how_much_is_waiting, EVERY),
	TEST(waiting_after_the_end, EACH),
	TEST(how_much_is_unsent, EACH),
	TEST(of_a_listener, ALONE),
	TEST(asynchronous_signal, EACH),
};
MAIN(tests)
