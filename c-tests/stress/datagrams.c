/*
 * datagrams [-n datagrams] [-c senders] [-w workers] [-f] [-p] [-k bytes] [-s seed]
 *
 * -c senders (3), each a process, send numbered datagrams of up to -k bytes (60000) to one socket, which -w
 * threads (1), or with -f forked processes, receive from and answer. A sender has at most so much under way
 * that none may be lost. Each must come once and whole; to a lone receiver in order. All answers must come.
 * With -p some receives wait by poll or epoll.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "stress.h"

enum { MOST_BYTES = 65507, MOST_DATAGRAMS = 1 << 20, MOST_SENDERS = 16, WINDOW_BYTES = 24000, MOST_UNDER_WAY = 24 };
enum { DATA, ANSWER, END };

struct head {
	uint32_t kind, sender, number, bytes;
};

struct shared {
	_Atomic uint32_t received, ended;
	uint16_t ports[MOST_SENDERS];
	_Atomic uint8_t seen[MOST_SENDERS][MOST_DATAGRAMS];
};

static struct shared *shared;
static uint32_t datagrams = 3000, senders = 3, workers = 1, most_bytes = 60000;
static uint64_t seed = 1;
static uint16_t port;
static int receiver;
static bool polls;

static uint64_t contents_of(uint32_t sender, uint32_t number)
{
	return mix(mix(seed + sender) + number) << 20;
}

static void fill(uint8_t *to, struct head h)
{
	memcpy(to, &h, sizeof h);
	stream_fill(to + sizeof h, contents_of(h.sender, h.number), 0, h.bytes - sizeof h);
}

static ssize_t send_somehow(int fd, const struct sockaddr_in *to, void *data, size_t length)
{
	struct iovec v[2] = { { data, dice(length + 1) }, { NULL, 0 } };
	v[1] = (struct iovec){ (char *)data + v[0].iov_len, length - v[0].iov_len };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = v, .msg_iovlen = 2, .msg_name = (void *)to,
					  .msg_namelen = to ? sizeof *to : 0 } };
	switch (dice(to ? 3 : 5)) {
	case 0:
		return sendto(fd, data, length, 0, (const struct sockaddr *)to, to ? sizeof *to : 0);
	case 1:
		return sendmsg(fd, &m.msg_hdr, 0);
	case 2:
		return sendmmsg(fd, &m, 1, 0) == 1 ? (ssize_t)m.msg_len : -1;
	case 3:
		return write(fd, data, length);
	default:
		return writev(fd, v, 2);
	}
}

/* Blocks; with -p by poll or epoll before a call that does not, now and then. */
static ssize_t receive_somehow(int fd, int epoll, void *data, size_t room, struct sockaddr_in *from)
{
	for (;;) {
		socklen_t length = sizeof *from;
		struct iovec v[2] = { { data, 100 }, { (char *)data + 100, room - 100 } };
		struct mmsghdr m = { .msg_hdr = { .msg_iov = v, .msg_iovlen = 2, .msg_name = from, .msg_namelen = length } };
		struct pollfd p = { .fd = fd, .events = POLLIN };
		struct epoll_event event;
		int nowait = 0;
		if (polls && dice(3) == 0) {
			nowait = MSG_DONTWAIT;
			MUST(dice(2) ? poll(&p, 1, -1) : epoll_wait(epoll, &event, 1, -1));
		}
		ssize_t n;
		switch (dice(3)) {
		case 0:
			n = recvfrom(fd, data, room, nowait, (struct sockaddr *)from, &length);
			break;
		case 1:
			n = recvmsg(fd, &m.msg_hdr, nowait);
			if (n >= 0 && m.msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
				die("msg_flags 0x%x", m.msg_hdr.msg_flags);
			break;
		default:
			n = recvmmsg(fd, &m, 1, nowait, NULL) == 1 ? (ssize_t)m.msg_len : -1;
		}
		if (n >= 0 || !(nowait && errno == EAGAIN))
			return n;
	}
}

static int epoll_of(int fd)
{
	int e = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { .events = EPOLLIN };
	MUST(epoll_ctl(e, EPOLL_CTL_ADD, fd, &event));
	return e;
}

static void *receive(void *argument)
{
	dice_state = mix(seed + 1000 + (uintptr_t)argument);
	uint8_t *room = malloc(MOST_BYTES + 1);
	uint32_t next[MOST_SENDERS] = { 0 };
	int epoll = polls ? epoll_of(receiver) : -1;
	for (;;) {
		struct sockaddr_in from = { 0 };
		struct head h;
		ssize_t n = MUST(receive_somehow(receiver, epoll, room, MOST_BYTES + 1, &from));
		memcpy(&h, room, sizeof h);
		if (n == (ssize_t)sizeof h && h.kind == END)
			break;
		if (n < (ssize_t)sizeof h || h.kind != DATA || h.bytes != n || h.sender >= senders || h.number >= datagrams)
			die("a datagram of %zd bytes that nobody sent", n);
		if (stream_differs(room + sizeof h, contents_of(h.sender, h.number), 0, h.bytes - sizeof h) >= 0)
			die("wrong contents in %u of sender %u", h.number, h.sender);
		if (ntohs(from.sin_port) != shared->ports[h.sender] || from.sin_addr.s_addr != htonl(INADDR_LOOPBACK))
			die("from port %u, which sender %u does not have", ntohs(from.sin_port), h.sender);
		if (atomic_exchange(&shared->seen[h.sender][h.number], 1))
			die("%u of sender %u came twice", h.number, h.sender);
		if (workers == 1 && h.number != next[h.sender]++)
			die("%u of sender %u came instead of %u", h.number, h.sender, next[h.sender] - 1);
		atomic_fetch_add(&shared->received, 1);
		h.kind = ANSWER;
		if (MUST(sendto(receiver, &h, sizeof h, 0, (struct sockaddr *)&from, sizeof from)) != sizeof h)
			die("a short answer");
	}
	atomic_fetch_add(&shared->ended, 1);
	free(room);
	close(epoll);
	return NULL;
}

static void send_all(uint32_t me)
{
	uint16_t own = 0;
	int fd = udp_at(&own), epoll = polls ? epoll_of(fd) : -1;
	struct sockaddr_in to = loopback(port), from, *target = dice(2) ? &to : NULL;
	static uint8_t room[MOST_BYTES + 1];
	uint32_t under_way[MOST_UNDER_WAY], count = 0;
	size_t bytes = 0;
	shared->ports[me] = own;
	if (target == NULL)
		MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
	for (uint32_t number = 0; number < datagrams || count > 0;) {
		size_t length = sizeof(struct head) + dice_length(most_bytes - sizeof(struct head) + 1) - 1;
		struct head h = { DATA, me, number, (uint32_t)length };
		if (number < datagrams && count < MOST_UNDER_WAY && (count == 0 || bytes + length + 1000 < WINDOW_BYTES)) {
			fill(room, h);
			if (MUST(send_somehow(fd, target, room, length)) != (long)length)
				die("a short send");
			under_way[count++] = number++;
			bytes += length + 1000;
			if (dice(3))
				continue;
		}
		ssize_t n = MUST(receive_somehow(fd, epoll, room, sizeof room, &from));
		memcpy(&h, room, sizeof h);
		if (n != sizeof h || h.kind != ANSWER || h.sender != me || ntohs(from.sin_port) != port)
			die("an answer that is none");
		uint32_t i = 0;
		while (i < count && under_way[i] != h.number)
			i++;
		if (i == count)
			die("an answer to %u, which is not under way", h.number);
		under_way[i] = under_way[--count];
		bytes -= h.bytes + 1000;
	}
	if (ring_expected() && ring_tx_bytes() <= 0)
		die("the ring was not used");
	_exit(0);
}

static void stuck(int signal)
{
	(void)signal;
	dprintf(STDERR_FILENO, "[%d] hangs; %u received\n", getpid(), shared->received);
	_exit(1);
}

int main(int argc, char **argv)
{
	bool forks = false;
	int option, status;
	while ((option = getopt(argc, argv, "n:c:w:fpk:s:")) != -1)
		switch (option) {
		case 'n': datagrams = (uint32_t)atoi(optarg); break;
		case 'c': senders = (uint32_t)atoi(optarg); break;
		case 'w': workers = (uint32_t)atoi(optarg); break;
		case 'p': polls = true; break;
		case 'f': forks = true; break;
		case 'k': most_bytes = (uint32_t)atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 10); break;
		default: return 2;
		}
	if (datagrams > MOST_DATAGRAMS || senders > MOST_SENDERS || workers > 16 || most_bytes > MOST_BYTES)
		return 2;
	signal(SIGALRM, stuck);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	unsigned limit = 30 + datagrams / 1000;
	alarm(limit);
	receiver = udp_at(&port);
	int room = 1 << 20;
	MUST(setsockopt(receiver, SOL_SOCKET, SO_RCVBUF, &room, sizeof room));
	pid_t pids[MOST_SENDERS], worker_pids[16];
	pthread_t threads[16];
	for (uint32_t i = 0; i < senders + (forks ? workers : 0); i++) {
		pid_t pid = (pid_t)MUST(fork());
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			alarm(limit);
			dice_state = mix(seed * 100 + i);
			if (i < senders) {
				close(receiver);
				send_all(i);
			}
			receive((void *)(uintptr_t)i);
			_exit(0);
		}
		if (i < senders)
			pids[i] = pid;
		else
			worker_pids[i - senders] = pid;
	}
	for (uint32_t i = 0; !forks && i < workers; i++)
		if (pthread_create(&threads[i], NULL, receive, (void *)(uintptr_t)i))
			die("no thread");
	for (uint32_t i = 0; i < senders; i++) {
		MUST(waitpid(pids[i], &status, 0));
		if (status != 0)
			die("sender %u ended with status 0x%x", i, status);
	}
	uint16_t any = 0;
	int last = udp_at(&any);
	struct sockaddr_in to = loopback(port);
	struct head end = { END, 0, 0, 0 };
	for (uint32_t i = 0; i < workers; i++) {
		MUST(sendto(last, &end, sizeof end, 0, (struct sockaddr *)&to, sizeof to));
		while (shared->ended <= i)
			sleep_us(100);
	}
	for (uint32_t i = 0; i < workers; i++) {
		status = 0;
		if (forks)
			MUST(waitpid(worker_pids[i], &status, 0));
		else
			pthread_join(threads[i], NULL);
		if (status != 0)
			die("receiver %u ended with status 0x%x", i, status);
	}
	if (shared->received != datagrams * senders)
		die("%u of %u came", shared->received, datagrams * senders);
	printf("%u datagrams, each once and whole\n", shared->received);
	return 0;
}
