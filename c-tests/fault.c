/* Bad pointers: EFAULT, never a crash; and the program's own handlers of SIGSEGV and SIGBUS, which are left alone. */
#include "support.h"

#include <sys/mman.h>
#include <sys/resource.h>

#define PAGE 4096

/* Two pages: the first may be used, the second not. */
static char *half_a_place(int protection)
{
	char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRUE(at != MAP_FAILED);
	memset(at, 'x', 2 * PAGE);
	OK(mprotect(at + PAGE, PAGE, protection));
	return at;
}

static void send_from_nowhere(struct conn *c)
{
	char *at = half_a_place(PROT_NONE), *gone = at + PAGE;
	ERR(write(c->fd, gone, 8), EFAULT);
	ERR(write(c->fd, gone - 8, 16), EFAULT);
	ERR(write(c->fd, gone - 1, 1000), EFAULT);
	ERR(send(c->fd, gone, 1, 0), EFAULT);
	ERR(send(c->fd, (void *)-1, 1, 0), EFAULT);
	ERR(send(c->fd, (void *)0x8000000000000000, 8, 0), EFAULT);
	struct iovec v[2] = { { at, 0 }, { gone, 4 } };
	ERR(writev(c->fd, v, 2), EFAULT);
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
	ERR(sendmsg(c->fd, &m, 0), EFAULT);
	m.msg_iov = (struct iovec *)gone;
	ERR(sendmsg(c->fd, &m, 0), EFAULT);
	ERR(sendmsg(c->fd, (struct msghdr *)gone, 0), EFAULT);
	ERR(writev(c->fd, (struct iovec *)gone, 1), EFAULT);
	EQ(write(c->fd, gone, 0), 0);
	/* The last byte before it is still good, and nothing of the rest was sent. */
	EQ(write(c->fd, gone - 1, 1), 1);
	char in[4];
	EQ(peer_recv(c, in, 4, 0), 1);
	EQ(in[0], 'x');
	munmap(at, 2 * PAGE);
	exchange(c, 2);
}

static void receive_to_nowhere(struct conn *c)
{
	char *none = half_a_place(PROT_NONE), *fixed = half_a_place(PROT_READ);
	EQ(peer_send(c, "abcdefgh", 8, 0), 8);
	poll_until(c->fd, POLLIN, POLLIN);
	ERR(read(c->fd, none + PAGE, 8), EFAULT);
	ERR(read(c->fd, none + PAGE - 4, 8), EFAULT);
	ERR(recv(c->fd, fixed + PAGE, 8, 0), EFAULT);
	ERR(recv(c->fd, fixed + PAGE - 4, 8, 0), EFAULT);
	ERR(recv(c->fd, fixed + PAGE, 8, MSG_PEEK), EFAULT);
	struct iovec v = { fixed + PAGE, 8 };
	ERR(readv(c->fd, &v, 1), EFAULT);
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ERR(recvmsg(c->fd, &m, 0), EFAULT);
	ERR(recvmsg(c->fd, (struct msghdr *)(none + PAGE), 0), EFAULT);
	ERR(readv(c->fd, (struct iovec *)(none + PAGE), 1), EFAULT);
	EQ(fixed[PAGE], 'x');
	/* Nothing was taken. */
	char in[16];
	EQ(recv(c->fd, in, sizeof in, 0), 8);
	SAME(in, "abcdefgh", 8);
	munmap(none, 2 * PAGE);
	munmap(fixed, 2 * PAGE);
	exchange(c, 2);
}

/* However much is whole comes first; the error is told when nothing is. */
static void a_long_buffer_with_a_hole(struct conn *c)
{
	size_t whole = 1 << 20;
	char *at = mmap(NULL, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRUE(at != MAP_FAILED);
	pattern_fill(at, 0, whole);
	OK(mprotect(at + whole, PAGE, PROT_NONE));
	peer_verify_later(c, 0, 0, whole);
	size_t sent = 0;
	for (ssize_t n; (n = write(c->fd, at + sent, whole - sent + PAGE)) > 0;)
		sent += (size_t)n;
	EQ(errno, EFAULT);
	TRUE(sent <= whole);
	EQ(send_all(c->fd, at + sent, whole - sent), whole - sent);
	EQ(peer_join(c), whole);
	munmap(at, whole + PAGE);
}

static void arrays_that_are_not_there(struct conn *c)
{
	char *at = half_a_place(PROT_NONE), *gone = at + PAGE;
	ERR(poll((struct pollfd *)gone, 1, 0), EFAULT);
	ERR(ppoll((struct pollfd *)gone, 1, NULL, NULL), EFAULT);
	ERR(select(c->fd + 1, (fd_set *)gone, NULL, NULL, NULL), EFAULT);
	int ep = OK(epoll_create1(0));
	struct epoll_event e = { .events = EPOLLOUT };
	ERR(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, (struct epoll_event *)gone), EFAULT);
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e));
	ERR(epoll_wait(ep, (struct epoll_event *)gone, 1, 1000), EFAULT);
	close(ep);
	socklen_t size = sizeof(int);
	int value = 1;
	ERR(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, gone, size), EFAULT);
	ERR(setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, gone, size), EFAULT);
	ERR(getsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, gone, &size), EFAULT);
	ERR(getsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &value, (socklen_t *)gone), EFAULT);
	ERR(ioctl(c->fd, FIONREAD, gone), EFAULT);
	ERR(ioctl(c->fd, FIONBIO, gone), EFAULT);
	ERR(sendmmsg(c->fd, (struct mmsghdr *)gone, 1, 0), EFAULT);
	ERR(recvmmsg(c->fd, (struct mmsghdr *)gone, 1, MSG_DONTWAIT, NULL), EFAULT);
	munmap(at, 2 * PAGE);
	exchange(c, 2);
}

/* ---- the program's own handlers -------------------------------------------------------- */

static sigjmp_buf out;
static volatile sig_atomic_t told_signal, told_code;
static void *volatile told_place;

static void jump_out(int signal, siginfo_t *info, void *context)
{
	(void)context;
	told_signal = signal;
	told_code = info->si_code;
	told_place = info->si_addr;
	siglongjmp(out, 1);
}

static void simple(int signal)
{
	told_signal = signal;
	siglongjmp(out, 2);
}

static int crash(volatile char *at)
{
	int how = sigsetjmp(out, 1);
	if (how == 0)
		*at = 1;
	return how;
}

static void own_handlers_are_called(struct conn *c)
{
	char *at = half_a_place(PROT_NONE), *gone = at + PAGE;
	struct sigaction mine = { .sa_sigaction = jump_out, .sa_flags = SA_SIGINFO }, before, now, checkers[2];
	/* The checks have handlers of their own. */
	OK(sigaction(SIGSEGV, NULL, &checkers[0]));
	OK(sigaction(SIGBUS, NULL, &checkers[1]));
	signal(SIGSEGV, SIG_DFL);
	OK(sigaction(SIGSEGV, &mine, &before));
	TRUE(before.sa_handler == SIG_DFL);
	OK(sigaction(SIGSEGV, NULL, &now));
	TRUE(now.sa_sigaction == jump_out);
	EQ(now.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER), SA_SIGINFO);
	for (int i = 0; i < 3; i++) {
		ERR(write(c->fd, gone, 8), EFAULT);
		EQ(crash(gone + 5), 1);
		EQ(told_signal, SIGSEGV);
		EQ(told_code, SEGV_ACCERR);
		TRUE(told_place == gone + 5);
	}
	TRUE((void *)signal(SIGSEGV, simple) == (void *)jump_out);
	ERR(write(c->fd, gone, 8), EFAULT);
	EQ(crash(gone), 2);
	EQ(crash(gone), 2);
	TRUE(signal(SIGSEGV, SIG_IGN) == simple);
	raise(SIGSEGV);
	TRUE(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
	mine.sa_flags |= SA_RESETHAND | SA_NODEFER;
	OK(sigaction(SIGSEGV, &mine, NULL));
	EQ(crash(gone), 1);
	OK(sigaction(SIGSEGV, NULL, &now));
	TRUE(now.sa_handler == SIG_DFL);
	mine.sa_flags = SA_SIGINFO;
	OK(sigaction(SIGBUS, &mine, NULL));
	if (sigsetjmp(out, 1) == 0)
		raise(SIGBUS);
	EQ(told_signal, SIGBUS);
	OK(sigaction(SIGSEGV, &checkers[0], NULL));
	OK(sigaction(SIGBUS, &checkers[1], NULL));
	ERR(sigaction(65, &mine, NULL), EINVAL);
	munmap(at, 2 * PAGE);
	exchange(c, 2);
}

static int status_of(void (*die)(char *), char *at)
{
	pid_t pid = OK(fork());
	if (pid == 0) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		die(at);
		_exit(0);
	}
	int status;
	EQ(waitpid(pid, &status, 0), pid);
	return status;
}

static void by_itself(char *at) { *(volatile char *)at = 1; }
static void by_raise(char *at) { (void)at; raise(SIGSEGV); }
static void by_kill(char *at) { (void)at; kill(getpid(), SIGBUS); pause(); }
static void ignored(char *at) { signal(SIGSEGV, SIG_IGN); raise(SIGSEGV); *(volatile char *)at = 1; }
static void not_at_all(char *at) { (void)at; signal(SIGSEGV, SIG_IGN); raise(SIGSEGV); }

static void deaths_are_deaths(struct conn *c)
{
	char *at = half_a_place(PROT_NONE), *gone = at + PAGE;
	EQ(status_of(by_itself, gone), SIGSEGV);
	EQ(status_of(by_raise, gone), SIGSEGV);
	EQ(status_of(by_kill, gone), SIGBUS);
	EQ(status_of(ignored, gone), SIGSEGV);
	EQ(status_of(not_at_all, gone), 0);
	munmap(at, 2 * PAGE);
	exchange(c, 2);
}

/* What is null on purpose is no fault: it must not be touched, least of all where that would kill. */
static void null_where_it_may_be(void *unused)
{
	(void)unused;
	sigset_t all;
	sigfillset(&all);
	OK(sigprocmask(SIG_BLOCK, &all, NULL));
	signal(SIGSEGV, SIG_IGN);
	int ep = (int)OK(epoll_create1(0)), s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct epoll_event e = { .events = EPOLLIN };
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &e));
	OK(epoll_ctl(ep, EPOLL_CTL_DEL, s[0], NULL));
	char word[2] = "w";
	struct iovec v = { word, 1 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };
	EQ(sendmsg(s[1], &m.msg_hdr, 0), 1);
	EQ(recvmsg(s[0], &m.msg_hdr, 0), 1);
	EQ(sendmmsg(s[1], &m, 1, 0), 1);
	EQ(recvmmsg(s[0], &m, 1, 0, NULL), 1);
	ERR(sendmsg(s[1], NULL, 0), EFAULT);
}

static void null_is_not_touched(struct conn *c)
{
	in_child(null_where_it_may_be, NULL);
	if (c != NULL)
		exchange(c, 1);
}

static void arrays_that_cannot_be_written(struct conn *c)
{
	char *at = half_a_place(PROT_READ), *fixed = at + PAGE;
	OK(mprotect(fixed, PAGE, PROT_READ | PROT_WRITE));
	*(struct pollfd *)fixed = (struct pollfd){ .fd = c->fd, .events = POLLOUT };
	memset(fixed + 64, 0, 128);
	FD_SET(c->fd, (fd_set *)(fixed + 64));
	char in[4];
	*(struct iovec *)(fixed + 512) = (struct iovec){ in, 4 };
	*(struct msghdr *)(fixed + 640) = (struct msghdr){ .msg_iov = (struct iovec *)(fixed + 512), .msg_iovlen = 1 };
	OK(mprotect(fixed, PAGE, PROT_READ));
	ERR(poll((struct pollfd *)fixed, 1, 0), EFAULT);
	ERR(select(c->fd + 1, NULL, (fd_set *)(fixed + 64), NULL, NULL), EFAULT);
	EQ(peer_send(c, "abc", 3, 0), 3);
	poll_until(c->fd, POLLIN, POLLIN);
	ERR(recvmsg(c->fd, (struct msghdr *)(fixed + 640), MSG_PEEK), EFAULT);
	EQ(recv(c->fd, in, 4, 0), 3);
	munmap(at, 2 * PAGE);
	exchange(c, 1);
}

static const struct test tests[] = {
	TEST(null_is_not_touched, ALONE),
	TEST(arrays_that_cannot_be_written, EACH),
	TEST(send_from_nowhere, EVERY),
	TEST(receive_to_nowhere, EVERY),
	TEST(a_long_buffer_with_a_hole, EACH),
	TEST(arrays_that_are_not_there, EACH),
	TEST(own_handlers_are_called, EACH),
	TEST(deaths_are_deaths, EACH),
};
MAIN(tests)
