/*
 * checker [-m MB] [-c connections] [-e] [-s seed]
 *
 * Two processes, connected -c times, each sending its share of -m megabytes (64) on every connection
 * while it receives as much: in random sizes, never blocking, by a different call each time, driven by
 * poll or (-e) by epoll, edge-triggered. Every byte is compared with what it must be.
 */
#include <sys/epoll.h>

#include "stress.h"

enum { MOST = 1 << 18, MAX_CONNECTIONS = 512 };

struct side {
	int fd;
	uint64_t out_seed, in_seed, out, in, size;
	bool shut, ended, can_read, can_write;
};

static uint8_t buffer[MOST], scratch[MOST];

static void stuck(int signal)
{
	(void)signal;
	static const char text[] = "no byte moved for 60 s\n";
	write(STDERR_FILENO, text, sizeof text - 1);
	_exit(1);
}

/* False when it would block. */
static bool send_some(struct side *s)
{
	size_t length = dice_length(MOST);
	if (length > s->size - s->out)
		length = (size_t)(s->size - s->out);
	stream_fill(buffer, s->out_seed, s->out, length);
	ssize_t n;
	switch (dice(4)) {
	case 0:
		n = write(s->fd, buffer, length);
		break;
	case 1:
		n = send(s->fd, buffer, length, MSG_NOSIGNAL | (dice(4) ? 0 : MSG_MORE));
		break;
	case 2: {
		size_t cut = dice(length + 1);
		struct iovec v[3] = { { buffer, cut }, { NULL, 0 }, { buffer + cut, length - cut } };
		n = writev(s->fd, v, 3);
		break;
	}
	default: {
		size_t cut = dice(length + 1);
		struct iovec v[2] = { { buffer, cut }, { buffer + cut, length - cut } };
		struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
		n = sendmsg(s->fd, &m, MSG_DONTWAIT);
	}
	}
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0)
		die("sending at %llu gave %zd", (unsigned long long)s->out, n);
	s->out += (uint64_t)n;
	return true;
}

static bool receive_some(struct side *s)
{
	size_t length = dice_length(MOST), cut = dice(length + 1);
	struct iovec v[2] = { { buffer, cut }, { buffer + cut, length - cut } };
	if (dice(16) == 0) {
		ssize_t n = recv(s->fd, scratch, length, MSG_PEEK | MSG_DONTWAIT);
		if (n > 0 && stream_differs(scratch, s->in_seed, s->in, (size_t)n) >= 0)
			die("peeked a wrong byte near %llu", (unsigned long long)s->in);
	}
	ssize_t n;
	switch (dice(4)) {
	case 0:
		n = read(s->fd, buffer, length);
		break;
	case 1:
		n = recv(s->fd, buffer, length, 0);
		break;
	case 2:
		n = readv(s->fd, v, 2);
		break;
	default: {
		struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
		n = recvmsg(s->fd, &m, MSG_DONTWAIT);
	}
	}
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0)
		die("receiving at %llu", (unsigned long long)s->in);
	if (n == 0) {
		if (s->in != s->size)
			die("the stream ended at %llu of %llu", (unsigned long long)s->in,
			    (unsigned long long)s->size);
		s->ended = true;
		return true;
	}
	ssize_t wrong = stream_differs(buffer, s->in_seed, s->in, (size_t)n);
	if (wrong >= 0)
		die("wrong byte between %llu and %llu", (unsigned long long)s->in + (uint64_t)wrong,
		    (unsigned long long)s->in + (uint64_t)wrong + 8);
	s->in += (uint64_t)n;
	return true;
}

static void drive(struct side *sides, int count, bool edges)
{
	static struct pollfd polls[MAX_CONNECTIONS];
	static struct epoll_event events[MAX_CONNECTIONS];
	int e = -1, open = count, ready_somewhere = 1;
	if (edges) {
		e = (int)MUST(epoll_create1(0));
		for (int i = 0; i < count; i++) {
			struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLET, { .u32 = (uint32_t)i } };
			MUST(epoll_ctl(e, EPOLL_CTL_ADD, sides[i].fd, &event));
		}
	}
	while (open > 0) {
		if (edges) {
			int n = (int)MUST(epoll_wait(e, events, count, ready_somewhere ? 0 : -1));
			for (int j = 0; j < n; j++) {
				struct side *s = &sides[events[j].data.u32];
				s->can_read |= (events[j].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
				s->can_write |= (events[j].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
			}
		} else {
			for (int i = 0; i < count; i++) {
				struct side *s = &sides[i];
				polls[i] = (struct pollfd){ .fd = s->ended && s->shut ? -1 : s->fd };
				polls[i].events = (short)((s->ended ? 0 : POLLIN) | (s->shut ? 0 : POLLOUT));
			}
			MUST(poll(polls, (nfds_t)count, -1));
			for (int i = 0; i < count; i++) {
				sides[i].can_read = (polls[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0;
				sides[i].can_write = (polls[i].revents & (POLLOUT | POLLHUP | POLLERR)) != 0;
			}
		}
		ready_somewhere = 0;
		for (int i = 0; i < count; i++) {
			struct side *s = &sides[i];
			if (s->ended && s->shut)
				continue;
			bool moved = false;
			for (uint64_t turns = 1 + dice(4); turns > 0 && s->can_write && s->out < s->size; turns--)
				moved |= s->can_write = send_some(s);
			for (uint64_t turns = 1 + dice(4); turns > 0 && s->can_read && !s->ended; turns--)
				moved |= s->can_read = receive_some(s);
			if (s->out == s->size && !s->shut) {
				MUST(shutdown(s->fd, SHUT_WR));
				s->shut = true;
			}
			if (moved)
				alarm(60);
			if (s->ended && s->shut)
				open--;
			else
				ready_somewhere |= (s->can_write && s->out < s->size) || (s->can_read && !s->ended);
		}
	}
	for (int i = 0; i < count; i++)
		MUST(close(sides[i].fd));
}

int main(int argc, char **argv)
{
	uint64_t megabytes = 64, seed = 1;
	int count = 1, option;
	bool edges = false;
	while ((option = getopt(argc, argv, "m:c:es:")) != -1)
		switch (option) {
		case 'm':
			megabytes = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			count = atoi(optarg);
			break;
		case 'e':
			edges = true;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	if (count < 1 || count > MAX_CONNECTIONS)
		return 2;
	signal(SIGALRM, stuck);
	signal(SIGPIPE, SIG_IGN);
	alarm(60);
	static struct side sides[MAX_CONNECTIONS];
	uint16_t port = 0;
	int listener = listener_at(&port);
	uint64_t each = (megabytes << 20) / (uint64_t)count;
	pid_t child = (pid_t)MUST(fork());
	bool client = child == 0;
	if (client) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
	}
	dice_state = seed * 2 + client;
	struct sockaddr_in addr = loopback(port);
	for (int i = 0; i < count; i++) {
		struct side *s = &sides[i];
		uint32_t number = (uint32_t)i;
		if (client) {
			s->fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
			MUST(connect(s->fd, (struct sockaddr *)&addr, sizeof addr));
			MUST(send(s->fd, &number, sizeof number, 0));
		} else {
			s->fd = (int)MUST(accept(listener, NULL, NULL));
			if (receive_whole(s->fd, &number, sizeof number) != sizeof number)
				die("no greeting");
		}
		uint64_t base = mix(seed) + number * 1000003u;
		s->out_seed = mix(base * 2 + client) << 20;
		s->in_seed = mix(base * 2 + !client) << 20;
		s->size = each;
		MUST(fcntl(s->fd, F_SETFL, O_NONBLOCK));
	}
	close(listener);
	drive(sides, count, edges);
	if (ring_expected() && ring_tx_bytes() < (long)(each / 2))
		die("only %ld bytes went through the ring", ring_tx_bytes());
	if (client)
		_exit(0);
	int status = 0;
	MUST(waitpid(child, &status, 0));
	if (status != 0)
		die("the other process ended with status 0x%x", status);
	printf("%d connections, %llu bytes each way, every one as it must be (ring: %ld)\n", count,
	       (unsigned long long)(each * (uint64_t)count), ring_tx_bytes());
	return 0;
}
