/*
 * checker [-m MB] [-c connections] [-e | -b] [-s seed] [-u pair | path | abstract [-n]]
 *
 * Two processes, connected -c times, each sending its share of -m megabytes (64) on every connection
 * while it receives as much: in random sizes, never blocking, by a different call each time, driven by
 * poll or (-e) by epoll, edge-triggered; or (-b) blocking, by two threads on each end. Every byte is compared
 * with what it must be. With -u over AF_UNIX, where half of the connections also pass descriptors from some
 * moment on (none with -n): each must come with the byte that it was sent with, and only once.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "stress.h"

enum { MOST = 1 << 18, MAX_CONNECTIONS = 512, MAX_PASSED = 256 };

/* The places at which descriptors are passed in one direction, for both ends to see. */
struct passed {
	_Atomic unsigned count;
	uint64_t at[MAX_PASSED];
};

struct side {
	int fd;
	bool may_wait;
	struct passed *sends, *receives;
	unsigned taken;
	uint64_t passes_from;
	uint64_t out_seed, in_seed, out, in, size;
	bool shut, ended, can_read, can_write;
};

static __thread uint8_t buffer[MOST], scratch[MOST];

static void stuck(int signal)
{
	(void)signal;
	static const char text[] = "no byte moved for 60 s\n";
	write(STDERR_FILENO, text, sizeof text - 1);
	_exit(1);
}

/* A file, a pipe or an end of a socket pair, that tells the place. */
static int descriptor_that_tells(uint64_t place)
{
	int fds[2];
	switch (dice(3)) {
	case 0:
		fds[0] = (int)MUST(memfd_create("place", MFD_CLOEXEC));
		MUST(pwrite(fds[0], &place, sizeof place, 0));
		return fds[0];
	case 1:
		MUST(pipe2(fds, O_CLOEXEC));
		break;
	default:
		MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	}
	MUST(write(fds[1], &place, sizeof place));
	close(fds[1]);
	return fds[0];
}

/* Sends with a descriptor. */
static ssize_t pass(struct side *s, size_t length)
{
	union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec v = { buffer, length };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	int fd = descriptor_that_tells(s->out);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	unsigned count = atomic_load(&s->sends->count);
	s->sends->at[count] = s->out;
	atomic_store(&s->sends->count, count + 1);
	ssize_t n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
	int error = errno;
	if (n <= 0)
		atomic_store(&s->sends->count, count);
	close(fd);
	errno = error;
	return n;
}

/* The descriptors that came with the next n bytes; m is NULL where the call had no room for them. */
static void passed_with(struct side *s, struct msghdr *m, size_t n)
{
	unsigned due = 0, count = atomic_load(&s->receives->count);
	uint64_t place = 0, told;
	for (; s->taken < count && s->receives->at[s->taken] < s->in + n; s->taken++, due++)
		place = s->receives->at[s->taken];
	if (m == NULL)
		return;
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	if (due > 1)
		die("the bytes of %u descriptors in one call", due);
	if ((c != NULL) != (due == 1) || m->msg_flags & MSG_CTRUNC)
		die("%s descriptor between %llu and %llu", due ? "no" : "a", (unsigned long long)s->in,
		    (unsigned long long)(s->in + n));
	if (due == 0)
		return;
	int fd;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	if (c->cmsg_len != CMSG_LEN(sizeof fd) || CMSG_NXTHDR(m, c) != NULL)
		die("more than one descriptor");
	if (MUST(read(fd, &told, sizeof told)) != sizeof told || told != place)
		die("the descriptor that was sent at %llu is another", (unsigned long long)place);
	close(fd);
}

/* False when it would block. */
static bool send_some(struct side *s)
{
	size_t length = dice_length(MOST);
	if (length > s->size - s->out)
		length = (size_t)(s->size - s->out);
	stream_fill(buffer, s->out_seed, s->out, length);
	ssize_t n;
	bool passes = s->sends != NULL && s->out >= s->passes_from && dice(8) == 0 && s->sends->count < MAX_PASSED;
	switch (passes ? 4 : dice(4)) {
	case 4:
		n = pass(s, length);
		break;
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
		n = sendmsg(s->fd, &m, s->may_wait ? 0 : MSG_DONTWAIT);
	}
	}
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0)
		die("sending at %llu gave %zd", (unsigned long long)s->out, n);
	s->out += (uint64_t)n;
	return true;
}

/* Says what the wrong bytes are, where they are the stream's own in another place. */
__attribute__((noreturn)) static void wrong_byte(struct side *s, size_t wrong, size_t n)
{
	uint8_t *from = buffer + wrong;
	long shift = 0;
	n -= wrong;
	for (long i = 1; i < 4096 && (size_t)i + 16 < n && shift == 0; i++)
		if (stream_differs(from + i, s->in_seed, s->in + wrong, 16) < 0)
			shift = i;
	for (long i = -(1 << 20); i < 1 << 20 && n > 24 && shift == 0; i++)
		if (stream_differs(from + 8, s->in_seed, s->in + wrong + 8 + (uint64_t)i, 16) < 0)
			shift = -i;
	die("descriptor %d: wrong byte between %llu and %llu, of %zu received, %zu after it; %s (%ld), first 0x%02x", s->fd,
	    (unsigned long long)s->in + wrong, (unsigned long long)s->in + wrong + 8, n + wrong, n,
	    shift > 0 ? "some too many before" : shift < 0 ? "some are missing" : "not of the stream", shift, *from);
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
	union { struct cmsghdr header; char room[CMSG_SPACE(8 * sizeof(int))]; } control;
	struct msghdr m, *taker = NULL;
	ssize_t n;
	switch (s->receives != NULL && dice(2) ? 3 : dice(4)) {
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
		m = (struct msghdr){ .msg_iov = v, .msg_iovlen = 2 };
		if (s->receives != NULL) {
			m.msg_control = &control;
			m.msg_controllen = sizeof control;
			taker = &m;
		}
		n = recvmsg(s->fd, &m, s->may_wait ? 0 : MSG_DONTWAIT);
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
		wrong_byte(s, (size_t)wrong, (size_t)n);
	if (s->receives != NULL)
		passed_with(s, taker, (size_t)n);
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

static void *writes(void *argument)
{
	struct side *s = argument;
	dice_state = mix(s->out_seed);
	while (s->out < s->size) {
		if (!send_some(s))
			die("EAGAIN from a socket that may wait");
		alarm(60);
	}
	MUST(shutdown(s->fd, SHUT_WR));
	return NULL;
}

static void *reads(void *argument)
{
	struct side *s = argument;
	dice_state = mix(s->in_seed + 1);
	while (!s->ended)
		if (!receive_some(s))
			die("EAGAIN from a socket that may wait");
	return NULL;
}

static void drive_by_threads(struct side *sides, int count)
{
	static pthread_t threads[2 * MAX_CONNECTIONS];
	for (int i = 0; i < count; i++) {
		sides[i].may_wait = true;
		if (pthread_create(&threads[2 * i], NULL, writes, &sides[i]) ||
		    pthread_create(&threads[2 * i + 1], NULL, reads, &sides[i]))
			die("no thread");
	}
	for (int i = 0; i < 2 * count; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < count; i++)
		MUST(close(sides[i].fd));
}

int main(int argc, char **argv)
{
	uint64_t megabytes = 64, seed = 1;
	int count = 1, option;
	bool edges = false, waits = false, passes = true;
	const char *unix_kind = NULL;
	while ((option = getopt(argc, argv, "m:c:ebns:u:")) != -1)
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
		case 'b':
			waits = true;
			break;
		case 'n':
			passes = false;
			break;
		case 'u':
			unix_kind = optarg;
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
	static int pairs[MAX_CONNECTIONS][2];
	uint16_t port = 0;
	struct sockaddr_un name;
	socklen_t name_length = 0;
	struct passed(*passed)[2] = NULL;
	bool is_pair = unix_kind != NULL && strcmp(unix_kind, "pair") == 0;
	int listener = -1;
	if (unix_kind != NULL && passes) {
		passed = mmap(NULL, (size_t)count * sizeof *passed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (passed == MAP_FAILED)
			die("mmap");
	}
	if (unix_kind != NULL) {
		name_length = unix_address(&name, strcmp(unix_kind, "path") == 0, seed);
	}
	for (int i = 0; is_pair && i < count; i++)
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]));
	if (!is_pair)
		listener = unix_kind ? unix_listener(&name, name_length) : listener_at(&port);
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
		if (is_pair)
			close(pairs[i][client]);
		if (client) {
			s->fd = is_pair ? pairs[i][0] : (int)MUST(socket(unix_kind ? AF_UNIX : AF_INET, SOCK_STREAM, 0));
			if (unix_kind != NULL && !is_pair)
				MUST(connect(s->fd, (struct sockaddr *)&name, name_length));
			else if (!is_pair)
				MUST(connect(s->fd, (struct sockaddr *)&addr, sizeof addr));
			MUST(send(s->fd, &number, sizeof number, 0));
		} else {
			s->fd = is_pair ? pairs[i][1] : (int)MUST(accept(listener, NULL, NULL));
			if (receive_whole(s->fd, &number, sizeof number) != sizeof number)
				die("no greeting");
		}
		uint64_t base = mix(seed) + number * 1000003u;
		s->out_seed = mix(base * 2 + client) << 20;
		s->in_seed = mix(base * 2 + !client) << 20;
		s->size = each;
		if (passed != NULL) {
			s->sends = &passed[number][client];
			s->receives = &passed[number][!client];
			s->passes_from = dice(2 * each);
		}
		if (!waits)
			MUST(fcntl(s->fd, F_SETFL, O_NONBLOCK));
	}
	if (listener >= 0)
		close(listener);
	if (unix_kind != NULL && name.sun_path[0] != 0)
		unlink(name.sun_path);
	if (waits)
		drive_by_threads(sides, count);
	else
		drive(sides, count, edges);
	/* One that passes descriptors goes on in the kernel. */
	if (ring_expected() && passed == NULL && ring_tx_bytes() < (long)(each / 2))
		die("only %ld bytes went through the ring", ring_tx_bytes());
	if (client)
		_exit(0);
	int status = 0;
	MUST(waitpid(child, &status, 0));
	if (status != 0)
		die("the other process ended with status 0x%x", status);
	unsigned descriptors = 0;
	for (int i = 0; passed != NULL && i < count; i++)
		descriptors += passed[i][0].count + passed[i][1].count;
	printf("%d connections, %llu bytes each way, every one as it must be (ring: %ld; descriptors: %u)\n", count,
	       (unsigned long long)(each * (uint64_t)count), ring_tx_bytes(), descriptors);
	return 0;
}
