/* unix(7): SOCK_SEQPACKET connections: names, what travels beside a message, many and large messages, threads, and ends
 * that other processes have. */
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/un.h>

#include "support.h"

#define ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP)
#define NONE_IS_THERE(fd) ERR(recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT), EAGAIN)

/* ---- names ------------------------------------------------------------------------------------- */

static int made(void)
{
	return (int)OK(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
}

static socklen_t autobind(int fd, struct sockaddr_un *un)
{
	socklen_t length = sizeof *un;
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	OK(bind(fd, (struct sockaddr *)un, sizeof un->sun_family));
	OK(getsockname(fd, (struct sockaddr *)un, &length));
	return length;
}

static void names_on_both_sides(struct conn *c)
{
	(void)c;
	int listener = made(), client = made();
	struct sockaddr_un at, ours, seen;
	socklen_t at_length = autobind(listener, &at), length;
	char in[8];
	OK(listen(listener, 3));
	OK(connect(client, (struct sockaddr *)&at, at_length));
	ERR(connect(client, (struct sockaddr *)&at, at_length), EISCONN);
	int served = (int)OK(accept(listener, NULL, NULL));
	for (int round = 0; round < 2; round++) {
		/* A name counts for what is sent after it was given. */
		EQ(send(client, "asks", 4, 0), 4);
		socklen_t ours_length = round == 0 ? 0 : sizeof ours;
		if (round == 1)
			OK(getsockname(client, (struct sockaddr *)&ours, &ours_length));
		length = sizeof seen;
		EQ(recvfrom(served, in, 8, 0, (struct sockaddr *)&seen, &length), 4);
		EQ(length, ours_length);
		if (round == 1)
			SAME(&seen, &ours, length);
		struct iovec v = { in, 8 };
		struct msghdr m = { .msg_name = &seen, .msg_namelen = sizeof seen, .msg_iov = &v, .msg_iovlen = 1 };
		EQ(send(served, "says", 4, 0), 4);
		EQ(recvmsg(client, &m, 0), 4);
		EQ(m.msg_namelen, at_length);
		SAME(&seen, &at, at_length);
		warm_up_fds(client, served);
		if (round == 0)
			autobind(client, &ours);
	}
	OK(shutdown(client, SHUT_WR));
	length = sizeof seen;
	EQ(recvfrom(served, in, 8, 0, (struct sockaddr *)&seen, &length), 0);
	EQ(length, 0);
}

static void an_address_does_not_matter(struct conn *c)
{
	struct sockaddr_un none = { AF_UNIX, "/nonexistent" };
	struct sockaddr_in other = { .sin_family = AF_INET };
	char in[8];
	EQ(sendto(c->fd, "a", 1, 0, (struct sockaddr *)&none, sizeof none), 1);
	EQ(sendto(c->fd, "bb", 2, 0, (struct sockaddr *)&none, 1), 2);
	EQ(sendto(c->fd, "ccc", 3, 0, (struct sockaddr *)&other, sizeof other), 3);
	ERR(sendto(c->fd, "x", 1, 0, (struct sockaddr *)&none, 200), EINVAL);
	for (int i = 1; i <= 3; i++)
		EQ(peer_recv(c, in, 8, 0), i);
	exchange(c, 2);
}

static void what_a_connection_is_not_for(struct conn *c)
{
	struct sockaddr away = { .sa_family = AF_UNSPEC };
	int type = 0;
	socklen_t size = sizeof type;
	ERR(connect(c->fd, &away, sizeof away), EINVAL);
	ERR(listen(c->fd, 1), EINVAL);
	ERR(accept(c->fd, NULL, NULL), EINVAL);
	OK(getsockopt(c->fd, SOL_SOCKET, SO_TYPE, &type, &size));
	EQ(type, SOCK_SEQPACKET);
	ERR(pread(c->fd, &type, 1, 0), ESPIPE);
	ERR(lseek(c->fd, 0, SEEK_SET), ESPIPE);
	struct ucred peer;
	size = sizeof peer;
	OK(getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size));
	EQ(peer.pid, c->peer_pid > 0 && !c->variant->pair ? c->peer_pid : getpid());
	exchange(c, 3);
}

static void without_a_connection(struct conn *c)
{
	(void)c;
	int fd = made(), listener = made();
	struct sockaddr_un at;
	char in[4];
	EQ(poll_one(fd, ALL, 0), POLLOUT | POLLHUP);
	ERR(send(fd, "x", 1, 0), ENOTCONN);
	ERR(recv(fd, in, 4, MSG_DONTWAIT), ENOTCONN); /* EINVAL is for streams */
	EQ(read(fd, in, 0), 0);
	socklen_t length = autobind(listener, &at);
	ERR(connect(fd, (struct sockaddr *)&at, length), ECONNREFUSED);
	OK(listen(listener, 0));
	ERR(recv(listener, in, 4, MSG_DONTWAIT), ENOTCONN);
	OK(connect(fd, (struct sockaddr *)&at, length));
	int second = made();
	set_nonblock(second, true);
	ERR(connect(second, (struct sockaddr *)&at, length), EAGAIN);
	int stream = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(connect(stream, (struct sockaddr *)&at, length), ECONNREFUSED); /* an abstract name is one of a type */
	/* It ends before it is accepted. */
	OK(close(listener));
	EQ(poll_one(fd, ALL, 0), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	ERR(recv(fd, in, 4, 0), ECONNRESET);
	EQ(recv(fd, in, 4, 0), 0);
}

/* ---- beside the message -------------------------------------------------------------------------- */

struct arrival {
	long length;
	int flags, fd;	  /* -1 when there was none */
	struct ucred from; /* pid 0 when there was none */
	size_t control;
};

static struct arrival receive(int fd, size_t length, size_t room, int flags)
{
	static char bytes[100];
	struct arrival a = { .fd = -1 };
	char control[256] = { 0 };
	struct iovec v = { bytes, length };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room };
	a.length = recvmsg(fd, &m, flags);
	a.flags = m.msg_flags;
	a.control = m.msg_controllen;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); a.length >= 0 && h != NULL; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_type == SCM_RIGHTS)
			memcpy(&a.fd, CMSG_DATA(h), sizeof a.fd);
		else
			memcpy(&a.from, CMSG_DATA(h), sizeof a.from);
	}
	return a;
}

static long send_fd(int via, int fd, size_t length)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, bytes[100] = "beside";
	struct iovec v = { bytes, length };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	return sendmsg(via, &m, MSG_NOSIGNAL);
}

/* The reading end of a pipe with one letter in it. */
static long send_letter(int *fd, long which, long length)
{
	int ends[2];
	char letter = (char)which;
	OK(pipe(ends));
	EQ(write(ends[1], &letter, 1), 1);
	long n = send_fd(*fd, ends[0], (size_t)length);
	close(ends[0]);
	close(ends[1]);
	return n;
}

static void is_letter(int fd, char which)
{
	char in = 0;
	TRUE(fd >= 0);
	EQ(read(fd, &in, 1), 1);
	EQ(in, which);
	OK(close(fd));
}

static void descriptors_among_messages(struct conn *c)
{
	char in[8];
	for (int round = 0; round < 3; round++) {
		EQ(peer_send(c, "before", 6, 0), 6);
		EQ(peer_call(c, send_letter, 'a', 4), 4);
		EQ(peer_send(c, "", 0, 0), 0);
		EQ(peer_call(c, send_letter, 'b', 0), 0); /* beside an empty one, unlike a stream */
		EQ(peer_call(c, send_letter, 'c', 4), 4);
		EQ(peer_send(c, "after", 5, 0), 5);
		struct arrival a = receive(c->fd, 8, 256, 0);
		EQ(a.length, 6);
		EQ(a.control, 0);
		a = receive(c->fd, 8, 256, MSG_PEEK);
		EQ(a.length, 4);
		is_letter(a.fd, 'a');
		a = receive(c->fd, 8, 256, MSG_CMSG_CLOEXEC);
		EQ(OK(fcntl(a.fd, F_GETFD)) & FD_CLOEXEC, FD_CLOEXEC);
		OK(close(a.fd)); /* its letter went with the other */
		a = receive(c->fd, 8, 256, 0);
		EQ(a.length, 0);
		EQ(a.control, 0);
		a = receive(c->fd, 8, 256, 0);
		EQ(a.length, 0);
		is_letter(a.fd, 'b');
		a = receive(c->fd, 8, 256, 0);
		EQ(a.length, 4);
		is_letter(a.fd, 'c');
		EQ(recv(c->fd, in, 8, 0), 5);
		exchange(c, 12);
	}
}

static void descriptors_that_are_lost(struct conn *c)
{
	char in[8];
	EQ(peer_call(c, send_letter, 'a', 4), 4);
	EQ(recv(c->fd, in, 8, 0), 4);
	EQ(peer_call(c, send_letter, 'b', 4), 4);
	struct arrival a = receive(c->fd, 8, 0, 0);
	EQ(a.length, 4);
	EQ(a.flags, MSG_CTRUNC);
	/* With a message that is cut off they come whole. */
	EQ(peer_call(c, send_letter, 'c', 4), 4);
	a = receive(c->fd, 2, 256, 0);
	EQ(a.length, 2);
	EQ(a.flags, MSG_TRUNC);
	is_letter(a.fd, 'c');
	EQ(peer_call(c, send_letter, 'd', 4), 4);
	a = receive(c->fd, 0, 256, 0);
	EQ(a.length, 0);
	is_letter(a.fd, 'd');
	ERR(send_fd(c->fd, 900, 1), EBADF);
	ERR(peer_recv(c, in, 8, MSG_DONTWAIT), EAGAIN);
	exchange(c, 12);
}

static void credentials(struct conn *c)
{
	int on = 1, off = 0;
	pid_t there = c->peer_pid > 0 ? c->peer_pid : getpid();
	for (int round = 0; round < 2; round++) {
		OK(setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
		for (size_t length = 0; length < 3; length++) {
			EQ(peer_send(c, "ab", length, 0), length);
			struct arrival a = receive(c->fd, 8, 256, 0);
			EQ(a.length, length);
			EQ(a.from.pid, there);
			EQ(a.from.uid, geteuid());
			EQ(a.from.gid, getegid());
		}
		EQ(peer_call(c, send_letter, 'a', 4), 4);
		struct arrival a = receive(c->fd, 8, 256, 0);
		EQ(a.from.pid, there);
		is_letter(a.fd, 'a');
		OK(setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &off, sizeof off));
		EQ(peer_send(c, "ab", 2, 0), 2);
		a = receive(c->fd, 8, 256, 0);
		EQ(a.control, 0);
		exchange(c, 10);
	}
	OK(setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	OK(peer_shutdown(c, SHUT_WR));
	EQ(receive(c->fd, 8, 256, 0).control, 0); /* none at the end, unlike a stream */
}

/* ---- many and large ---------------------------------------------------------------------------------- */

#define LARGEST 200000
static char place[LARGEST + 1];

static void each_size(struct conn *c)
{
	static const size_t sizes[] = { 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, 16383, 16385, 32768, 65535, 65536, 65537,
					100000, 131072, LARGEST };
	char *in = malloc(LARGEST + 1);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		pattern_fill(place, i, sizes[i]);
		EQ(send(c->fd, place, sizes[i], 0), sizes[i]);
		EQ(peer_recv(c, in, LARGEST + 1, 0), sizes[i]);
		EQ(pattern_differs(in, i, sizes[i]), -1);
		EQ(peer_send(c, place, sizes[i], 0), sizes[i]);
		memset(in, 0, LARGEST);
		EQ(recv(c->fd, in, LARGEST + 1, 0), sizes[i]);
		EQ(pattern_differs(in, i, sizes[i]), -1);
	}
	free(in);
}

static size_t length_of(uint64_t number, uint64_t most)
{
	uint64_t x = (number + 1) * 0x9e3779b97f4a7c15u;
	return (x >> 40) % ((most >> ((x >> 32) % 12)) + 1);
}

static long send_numbered(int *fd, long count, long most)
{
	static _Thread_local char out[LARGEST + 1];
	for (long i = 0; i < count; i++) {
		size_t length = length_of((uint64_t)i, (uint64_t)most);
		pattern_fill(out, (uint64_t)i * 8, length);
		if (send(*fd, out, length, MSG_NOSIGNAL) != (ssize_t)length)
			return -1 - i;
	}
	return count;
}

static long receive_numbered(int *fd, long count, long most)
{
	static _Thread_local char in[LARGEST + 1];
	for (long i = 0; i < count; i++) {
		ssize_t n = recv(*fd, in, sizeof in, 0);
		if (n != (ssize_t)length_of((uint64_t)i, (uint64_t)most) || pattern_differs(in, (uint64_t)i * 8, (size_t)n) >= 0)
			return -1 - i;
	}
	return count;
}

struct job {
	peer_function body;
	int fd;
	long count, most, result;
};

static void *run_job(void *argument)
{
	struct job *job = argument;
	job->result = job->body(&job->fd, job->count, job->most);
	return NULL;
}

static void many(struct conn *c, long count, long most)
{
	peer_call_later(c, 0, send_numbered, count, most);
	EQ(receive_numbered(&c->fd, count, most), count);
	EQ(peer_join(c), count);
	peer_call_later(c, 0, receive_numbered, count, most);
	EQ(send_numbered(&c->fd, count, most), count);
	EQ(peer_join(c), count);
}

static void many_small(struct conn *c)
{
	many(c, 100000, 40);
}

static void many_of_any_size(struct conn *c)
{
	many(c, 2000, LARGEST);
}

/* Each end sends in one thread and receives in another. */
static long both_ways(int *fd, long count, long most)
{
	struct job job = { send_numbered, *fd, count, most, 0 };
	pthread_t thread;
	if (pthread_create(&thread, NULL, run_job, &job) != 0)
		return -1;
	long received = receive_numbered(fd, count, most);
	pthread_join(thread, NULL);
	return job.result == count ? received : job.result;
}

static void both_directions_at_once(struct conn *c)
{
	peer_call_later(c, 0, both_ways, 20000, 2000);
	EQ(both_ways(&c->fd, 20000, 2000), 20000);
	EQ(peer_join(c), 20000);
}

#define SHARED_MESSAGES 4000

/* Whole messages, each once: the number is in the first four bytes, and repeated up to the length it gives. */
static long send_repeated(int *fd, long first, long step)
{
	uint32_t words[500];
	for (long i = first; i < SHARED_MESSAGES; i += step) {
		size_t count = 1 + (size_t)i % 500;
		for (size_t k = 0; k < count; k++)
			words[k] = (uint32_t)i;
		if (send(*fd, words, count * 4, MSG_NOSIGNAL) != (ssize_t)(count * 4))
			return -1;
	}
	return 0;
}

static _Atomic uint8_t arrived[SHARED_MESSAGES];

static long receive_repeated(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	uint32_t words[501];
	for (long n, count = 0; (n = recv(*fd, words, sizeof words, 0)) >= 0; count++) {
		if (n == 0)
			return count;
		if (words[0] >= SHARED_MESSAGES || n != 4 + 4 * (words[0] % 500) || arrived[words[0]]++)
			return -2;
		for (long k = 1; k < n / 4; k++)
			if (words[k] != words[0])
				return -3;
	}
	return -1;
}

static void two_receivers(struct conn *c)
{
	struct job jobs[2] = { { receive_repeated, c->fd, 0, 0, 0 }, { receive_repeated, c->fd, 0, 0, 0 } };
	pthread_t threads[2];
	memset((void *)arrived, 0, sizeof arrived);
	for (int i = 0; i < 2; i++)
		EQ(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
	EQ(peer_call(c, send_repeated, 0, 1), 0);
	OK(peer_shutdown(c, SHUT_WR));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EQ(jobs[0].result + jobs[1].result, SHARED_MESSAGES);
	TRUE(jobs[0].result >= 0 && jobs[1].result >= 0);
}

static long send_as_three(int *fd, long unused, long unused_too)
{
	(void)unused, (void)unused_too;
	struct job jobs[3];
	pthread_t threads[3];
	for (int i = 0; i < 3; i++) {
		jobs[i] = (struct job){ send_repeated, *fd, i, 3, 0 };
		if (pthread_create(&threads[i], NULL, run_job, &jobs[i]) != 0)
			return -1;
	}
	long result = 0;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		result |= jobs[i].result;
	}
	shutdown(*fd, SHUT_WR);
	return result;
}

static void three_senders(struct conn *c)
{
	memset((void *)arrived, 0, sizeof arrived);
	peer_call_later(c, 0, send_as_three, 0, 0);
	EQ(receive_repeated(&c->fd, 0, 0), SHARED_MESSAGES);
	EQ(peer_join(c), 0);
}

/* ---- files and pipes ------------------------------------------------------------------------------------ */

static void from_a_file(struct conn *c)
{
	char *bytes = malloc(LARGEST), *in = malloc(LARGEST);
	int file = (int)OK(memfd_create("pattern", 0)), through[2];
	off_t from = 0;
	pattern_fill(bytes, 0, LARGEST);
	EQ(write(file, bytes, LARGEST), LARGEST);
	/* A message is what fits into the pipe between: sixteen pages of the file. */
	EQ(sendfile(c->fd, file, &from, 10000), 10000);
	EQ(peer_recv(c, in, LARGEST, 0), 10000);
	EQ(pattern_differs(in, 0, 10000), -1);
	EQ(sendfile(c->fd, file, &from, 70000), 70000);
	long first = 65536 - 10000 % 4096;
	EQ(peer_recv(c, in, LARGEST, 0), first);
	EQ(pattern_differs(in, 10000, (size_t)first), -1);
	EQ(peer_recv(c, in, LARGEST, 0), 70000 - first);
	OK(pipe(through));
	EQ(write(through[1], bytes, 3000), 3000);
	EQ(write(through[1], bytes + 3000, 2000), 2000);
	EQ(splice(through[0], NULL, c->fd, NULL, 5000, 0), 5000);
	EQ(peer_recv(c, in, LARGEST, 0), 5000); /* one message */
	EQ(pattern_differs(in, 0, 5000), -1);
	/* And out of the socket one message at a time, cut off like by any receive. */
	EQ(peer_send(c, bytes, 3000, 0), 3000);
	EQ(peer_send(c, bytes, 2000, 0), 2000);
	EQ(peer_send(c, "", 0, 0), 0);
	EQ(splice(c->fd, NULL, through[1], NULL, 1000, 0), 1000);
	EQ(splice(c->fd, NULL, through[1], NULL, 9000, 0), 2000);
	EQ(splice(c->fd, NULL, through[1], NULL, 9000, 0), 0);
	EQ(read(through[0], in, 9000), 3000);
	EQ(pattern_differs(in, 0, 1000), -1);
	EQ(pattern_differs(in + 1000, 0, 2000), -1);
	NONE_IS_THERE(c->fd);
	exchange(c, 3);
	free(bytes);
	free(in);
}

/* ---- other processes --------------------------------------------------------------------------------------- */

static void answer_twenty(void *argument)
{
	int fd = *(int *)argument;
	char in[64];
	for (int i = 0; i < 20; i++) {
		ssize_t n = OK(recv(fd, in, sizeof in, 0));
		EQ(n, i);
		EQ(send(fd, in, (size_t)n, 0), n);
	}
}

static void ask_twenty(struct conn *c)
{
	char out[64], in[64];
	pattern_fill(out, 5, 64);
	for (int i = 0; i < 20; i++) {
		EQ(peer_send(c, out, (size_t)i, 0), i);
		EQ(peer_recv(c, in, 64, 0), i);
		SAME(in, out, (size_t)i);
	}
}

static void a_child_talks(struct conn *c)
{
	char in[4];
	pid_t child = fork_child(answer_twenty, &c->fd);
	ask_twenty(c);
	join_child(child);
	EQ(peer_poll(c, POLLIN, 20), 0); /* we still hold it */
	exchange(c, 12);
	child = fork_child(answer_twenty, &c->fd);
	OK(close(c->fd));
	c->fd = -1;
	ask_twenty(c);
	join_child(child);
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void to_a_program(struct conn *c, bool statically)
{
	char number[16], in[64], out[64];
	pattern_fill(out, 9, 64);
	sprintf(number, "%d", c->fd);
	pid_t child = start_echo(statically, c->fd, "records", number, "30", NULL);
	OK(close(c->fd));
	c->fd = -1;
	for (size_t i = 0; i < 30; i++) {
		EQ(peer_send(c, out, i, 0), i);
		EQ(peer_recv(c, in, 64, 0), i);
		SAME(in, out, i);
	}
	join_child(child);
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void exec_keeps_it(struct conn *c)
{
	to_a_program(c, false);
}

static void exec_of_a_static_program(struct conn *c)
{
	to_a_program(c, true);
}

static void receive_and_answer(void *argument)
{
	int *via = argument;
	struct arrival a = receive(*via, 8, 256, 0);
	EQ(a.length, 1);
	answer_twenty(&a.fd);
}

static void passed_to_another_process(struct conn *c)
{
	char in[4];
	int via[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, via));
	pid_t child = fork_child(receive_and_answer, &via[1]);
	EQ(send_fd(via[0], c->fd, 1), 1);
	OK(close(c->fd));
	c->fd = -1;
	ask_twenty(c);
	join_child(child);
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void passed_with_something_unread(struct conn *c)
{
	char in[8];
	int via[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, via));
	EQ(peer_send(c, "one", 3, 0), 3);
	EQ(peer_send(c, "", 0, 0), 0);
	EQ(send_fd(via[0], c->fd, 1), 1);
	EQ(peer_send(c, "three", 5, 0), 5);
	struct arrival a = receive(via[1], 8, 256, 0);
	EQ(recv(a.fd, in, 8, 0), 3);
	EQ(recv(c->fd, in, 8, 0), 0);
	EQ(recv(a.fd, in, 8, 0), 5);
	OK(close(c->fd));
	c->fd = a.fd;
	exchange(c, 12);
}

static void a_duplicate(struct conn *c)
{
	char in[8];
	int twin = (int)OK(dup(c->fd));
	OK(close(c->fd));
	c->fd = twin;
	exchange(c, 12);
	int third = (int)OK(dup(c->fd));
	EQ(peer_send(c, "one", 3, 0), 3);
	EQ(peer_send(c, "two", 3, 0), 3);
	EQ(recv(third, in, 8, 0), 3);
	EQ(recv(c->fd, in, 8, 0), 3);
	SAME(in, "two", 3);
	OK(shutdown(third, SHUT_WR));
	EQ(peer_recv(c, in, 8, 0), 0);
	ERR(send(c->fd, "x", 1, 0), EPIPE);
}

struct last_words {
	int fd;
	bool closes;
};

static void speaks_and_leaves(void *argument)
{
	const struct last_words *it = argument;
	for (int i = 0; i < 49; i++)
		EQ(send(it->fd, "ab", 2, 0), 2);
	EQ(send_fd(it->fd, it->fd, 2), 2);
	if (it->closes)
		OK(close(it->fd));
}

/* What the library itself has sent, and the other end has left unread, is no reset, and nothing to be received. */
static void an_exit_behind_a_descriptor(struct conn *c)
{
	(void)c;
	int types[] = { SOCK_SEQPACKET, SOCK_STREAM };
	for (int round = 0; round < 80; round++) {
		int ends[2];
		OK(socketpair(AF_UNIX, types[round % 2], 0, ends));
		struct last_words words = { ends[0], round / 2 % 2 };
		pid_t child = fork_child(speaks_and_leaves, &words);
		close(ends[0]);
		char in[4];
		for (int i = 0; i < 50; i++)
			EQ(recv(ends[1], in, 2, 0), 2);
		EQ(recv(ends[1], in, 2, 0), 0);
		join_child(child);
		close(ends[1]);
	}
}

/* Who found no room for a descriptor, with which the connection goes back to the kernel, is told of some by an edge. */
static void an_edge_of_room_for_a_descriptor(struct conn *c)
{
	(void)c;
	int types[] = { SOCK_SEQPACKET, SOCK_STREAM };
	for (int i = 0; i < 2; i++) {
		int ends[2], ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
		static char in[4096];
		struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
		OK(socketpair(AF_UNIX, types[i] | SOCK_NONBLOCK, 0, ends));
		warm_up_fds(ends[0], ends[1]);
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, ends[0], &event));
		EQ(epoll_wait(ep, &event, 1, 1000), 1);
		while (send_fd(ends[0], ends[0], 100) == 100)
			;
		ERR(send_fd(ends[0], ends[0], 100), EAGAIN);
		EQ(epoll_wait(ep, &event, 1, 0), 0);
		while (recv(ends[1], in, sizeof in, 0) > 0)
			;
		EQ(epoll_wait(ep, &event, 1, 1000), 1);
		EQ(send_fd(ends[0], ends[0], 100), 100);
		close(ep);
		close(ends[0]);
		close(ends[1]);
	}
}

static const struct test tests[] = {
	TEST(an_exit_behind_a_descriptor, ALONE),
	TEST(an_edge_of_room_for_a_descriptor, ALONE),
	TEST(names_on_both_sides, ALONE),
	TEST(an_address_does_not_matter, SEQPACKET_EACH),
	TEST(what_a_connection_is_not_for, SEQPACKET_EACH),
	TEST(without_a_connection, ALONE),
	TEST(descriptors_among_messages, SEQPACKET_EACH),
	TEST(descriptors_that_are_lost, SEQPACKET_EACH),
	TEST(credentials, SEQPACKET_EACH),
	TEST(each_size, SEQPACKET_EACH),
	TEST(many_small, SEQPACKET_EACH),
	TEST(many_of_any_size, SEQPACKET_EACH),
	TEST(both_directions_at_once, SEQPACKET_EACH),
	TEST(two_receivers, SEQPACKET_EACH),
	TEST(three_senders, SEQPACKET_EACH),
	TEST(from_a_file, SEQPACKET_EACH),
	TEST(a_child_talks, SEQPACKET_EACH),
	TEST(exec_keeps_it, SEQPACKET_EACH),
	TEST(exec_of_a_static_program, SEQPACKET_EACH),
	TEST(passed_to_another_process, SEQPACKET_EACH),
	TEST(passed_with_something_unread, SEQPACKET_EACH),
	TEST(a_duplicate, SEQPACKET_EACH),
};
MAIN(tests)
