/* fcntl(2), ioctl(2), dup(2) and what other calls on files say of a socket. */
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "ask.h"

#define THEME "file"

static const char *ioctl_int(int fd, unsigned long request)
{
	int n = -77;
	long r = ioctl(fd, request, &n);
	return r < 0 ? result(r) : result(n);
}

QUESTION(flags, STATES)
{
	long flags = OK(fcntl(c->fd, F_GETFL));
	say("mode %ld, nonblock %d", flags & O_ACCMODE, !!(flags & O_NONBLOCK));
	ask("set", fcntl(c->fd, F_SETFL, O_NONBLOCK));
	ask("recv", take(c->fd, 1, 0));
	ask("append and async", fcntl(c->fd, F_SETFL, O_APPEND | O_ASYNC));
	flags = OK(fcntl(c->fd, F_GETFL));
	say("append %d, async %d, nonblock %d", !!(flags & O_APPEND), !!(flags & O_ASYNC),
	    !!(flags & O_NONBLOCK));
	ask("direct", fcntl(c->fd, F_SETFL, O_DIRECT));
	ask("noatime", fcntl(c->fd, F_SETFL, O_NOATIME));
	ask("mode cannot change", fcntl(c->fd, F_SETFL, O_RDONLY));
	say("mode %lld", OK(fcntl(c->fd, F_GETFL)) & O_ACCMODE);
}

QUESTION(nonblocking_is_of_the_file, STATES)
{
	int twin = (int)OK(dup(c->fd));
	set_nonblock(twin, true);
	say("original %d", is_nonblock(c->fd));
	ask("recv", take(c->fd, 1, 0));
	int off = 0, on = 1;
	ask("FIONBIO off", ioctl(c->fd, FIONBIO, &off));
	say("twin %d", is_nonblock(twin));
	ask("FIONBIO on", ioctl(c->fd, FIONBIO, &on));
	say("twin %d", is_nonblock(twin));
	ask("FIONBIO wild", ioctl(c->fd, FIONBIO, WILD));
	ask("recv", take(twin, 1, 0));
}

QUESTION(close_on_exec, STATES)
{
	ask("set", fcntl(c->fd, F_SETFD, FD_CLOEXEC));
	ask("get", fcntl(c->fd, F_GETFD));
	int twin = (int)OK(dup(c->fd));
	ask("duplicate", fcntl(twin, F_GETFD));
	ask("FIONCLEX", ioctl(c->fd, FIONCLEX));
	ask("get", fcntl(c->fd, F_GETFD));
	ask("FIOCLEX", ioctl(c->fd, FIOCLEX));
	ask("get", fcntl(c->fd, F_GETFD));
	ask("other bits", fcntl(c->fd, F_SETFD, 0xf0));
	ask("get", fcntl(c->fd, F_GETFD));
}

QUESTION(duplicates, STATES)
{
	int twin = (int)OK(fcntl(c->fd, F_DUPFD, 100));
	say("from 100 on %d", twin == 100);
	int cloexec = (int)OK(fcntl(c->fd, F_DUPFD_CLOEXEC, 100));
	say("next %d, cloexec %lld", cloexec == 101, OK(fcntl(cloexec, F_GETFD)));
	ask("negative", fcntl(c->fd, F_DUPFD, -1));
	ask("beyond the limit", fcntl(c->fd, F_DUPFD, 1 << 30));
	ask("send through it", send(twin, "x", 1, 0));
	char in[4];
	ask("there", peer_recv_all(c, in, 1));
	there_sends(c, "words");
	ask_bytes("recv through it", cloexec, 8, 0);
	say("same peer %s", bits(twin));
}

QUESTION(dup2_and_dup3, STATES)
{
	ask("dup2 to itself", dup2(c->fd, c->fd) - c->fd);
	ask("dup3 to itself", dup3(c->fd, c->fd, 0));
	ask("dup2 to -1", dup2(c->fd, -1));
	ask("dup2 of closed", dup2(900, 60));
	ask("dup3 flags", dup3(c->fd, 60, 1));
	ask("dup3", dup3(c->fd, 60, O_CLOEXEC));
	ask("cloexec", fcntl(60, F_GETFD));
	there_sends(c, "words");
	ask_bytes("recv", 60, 8, 0);
	say("closes the old %s", bits(c->fd));
}

QUESTION(dup2_over_a_connection, STATES)
{
	int file = text_file("words");
	ask("dup2", dup2(file, c->fd) - c->fd);
	say("there %s, %s", there_bits(c), there_state(c));
	char in[8] = { 0 };
	ask("read", read(c->fd, in, 5));
	say("'%s'", in);
	ask("recv", recv(c->fd, in, 1, 0));
}

QUESTION(connection_over_a_file, STATES)
{
	int file = text_file("words");
	ask("dup2", dup2(c->fd, file) - file);
	OK(close(c->fd));
	c->fd = file;
	exchange(c, 3);
	say("talks, there %s", there_bits(c));
}

QUESTION(connection_as_standard_input, STATES)
{
	OK(dup2(c->fd, STDIN_FILENO));
	there_sends(c, "a line\n");
	char line[20] = "";
	say("'%.6s'", fgets(line, sizeof line, stdin));
	ask("write", write(STDIN_FILENO, "x", 1));
	ask("there", peer_recv_all(c, line, 1));
}

QUESTION(close_range_closes, STATES)
{
	int twin = (int)OK(fcntl(c->fd, F_DUPFD, 200));
	OK(fcntl(c->fd, F_DUPFD, 201));
	ask("cloexec", close_range(200, 201, CLOSE_RANGE_CLOEXEC));
	ask("flag", fcntl(twin, F_GETFD));
	ask("close", close_range(200, 300, 0));
	ask("twin", fcntl(twin, F_GETFD));
	ask("send", send(twin, "x", 1, MSG_NOSIGNAL));
	exchange(c, 2);
	ask("backwards", close_range(300, 200, 0));
	ask("flags", close_range(200, 300, 64));
	ask("close it", close_range((unsigned)c->fd, (unsigned)c->fd, 0));
	ask("recv", take(c->fd, 1, 0));
	if (c->variant->two)
		say("there %s", there_bits(c));
}

QUESTION(closefrom_closes, IN_TWO)
{
	int twin = (int)OK(fcntl(c->fd, F_DUPFD, 200));
	closefrom(150);
	ask("twin", fcntl(twin, F_GETFD));
	exchange(c, 2);
	say("talks");
}

QUESTION(owner, STATES)
{
	ask("by default", fcntl(c->fd, F_GETOWN));
	ask("set", fcntl(c->fd, F_SETOWN, getpid()));
	say("us %d", fcntl(c->fd, F_GETOWN) == getpid());
	ask("group", fcntl(c->fd, F_SETOWN, -getpgrp()));
	say("group %d", fcntl(c->fd, F_GETOWN) == -getpgrp());
	ask("nobody", fcntl(c->fd, F_SETOWN, 0));
	struct f_owner_ex ex = { F_OWNER_TID, gettid() };
	ask("thread", fcntl(c->fd, F_SETOWN_EX, &ex));
	ex.pid = 0;
	ask("get", fcntl(c->fd, F_GETOWN_EX, &ex));
	say("thread %d %d", ex.type == F_OWNER_TID, ex.pid == gettid());
	ask("signal", fcntl(c->fd, F_SETSIG, SIGUSR2));
	say("signal %d", fcntl(c->fd, F_GETSIG) == SIGUSR2);
	ask("bad signal", fcntl(c->fd, F_SETSIG, 999));
	int pid = getpid();
	ask("FIOSETOWN", ioctl(c->fd, FIOSETOWN, &pid));
	ask("FIOGETOWN", ioctl(c->fd, FIOGETOWN, &pid));
	say("us %d", pid == getpid());
}

QUESTION(unread_bytes, STATES & STREAMS)
{
	say("FIONREAD %s", ioctl_int(c->fd, FIONREAD));
	there_sends(c, "words");
	say("FIONREAD %s, SIOCINQ %s", ioctl_int(c->fd, FIONREAD), ioctl_int(c->fd, SIOCINQ));
	ask_bytes("peek", c->fd, 3, MSG_PEEK);
	say("FIONREAD %s", ioctl_int(c->fd, FIONREAD));
	ask_bytes("recv", c->fd, 3, 0);
	say("FIONREAD %s", ioctl_int(c->fd, FIONREAD));
	OK(peer_shutdown(c, SHUT_WR));
	bits(c->fd);
	say("at the end %s", ioctl_int(c->fd, FIONREAD));
	ask_bytes("recv", c->fd, 3, 0);
	say("FIONREAD %s", ioctl_int(c->fd, FIONREAD));
	OK(peer_close(c));
	OK(shutdown(c->fd, SHUT_WR));
	bits(c->fd);
	say("closed %s", ioctl_int(c->fd, FIONREAD));
	ask("wild", ioctl(c->fd, FIONREAD, WILD));
}

static const char *unsent(int fd)
{
	for (int i = 0; i < 300 && strcmp(ioctl_int(fd, TIOCOUTQ), "0") != 0; i++)
		sleep_ms(1); /* acknowledgements may be delayed */
	return ioctl_int(fd, TIOCOUTQ);
}

QUESTION(unsent_bytes, STATES & STREAMS)
{
	say("idle %s", unsent(c->fd));
	ask("send", send(c->fd, "words", 5, 0));
	say("acknowledged, unread %s", unsent(c->fd));
	say("SIOCOUTQNSD %s", ioctl_int(c->fd, SIOCOUTQNSD));
	char in[8];
	ask("there", peer_recv_all(c, in, 5));
	say("read %s", unsent(c->fd));
	fill(c->fd);
	say("full: some %d", atoi(ioctl_int(c->fd, TIOCOUTQ)) > 0);
	say("not sent: some %d", atoi(ioctl_int(c->fd, SIOCOUTQNSD)) > 0);
	ask("wild", ioctl(c->fd, TIOCOUTQ, WILD));
}

QUESTION(unsent_bytes_after_shutdown, STATES)
{
	OK(shutdown(c->fd, SHUT_WR));
	state(c->fd);
	say("TIOCOUTQ %s", unsent(c->fd));
	OK(peer_close(c));
	bits(c->fd);
	say("closed %s", ioctl_int(c->fd, TIOCOUTQ));
}

QUESTION(other_ioctls, STATES)
{
	struct ifreq interface = { .ifr_name = "lo" };
	struct timeval time;
	int n = 0;
	say("SIOCATMARK %s", ioctl_int(c->fd, SIOCATMARK));
	ask("SIOCGIFINDEX", ioctl(c->fd, SIOCGIFINDEX, &interface));
	ask("SIOCGIFFLAGS", ioctl(c->fd, SIOCGIFFLAGS, &interface));
	ask("SIOCGSTAMP", ioctl(c->fd, SIOCGSTAMP, &time));
	ask("TCGETS", ioctl(c->fd, 0x5401, &n));
	ask("FIOASYNC", ioctl(c->fd, FIOASYNC, &(int){ 1 }));
	say("async %d", !!(fcntl(c->fd, F_GETFL) & O_ASYNC));
	ask("FIOQSIZE", ioctl(c->fd, 0x5460, &n));
	ask("FIGETBSZ", ioctl(c->fd, 2, &n));
	ask("unknown", ioctl(c->fd, 0x12345678, &n));
	ask("of closed", ioctl(900, FIONREAD, &n));
	exchange(c, 2);
}

QUESTION(other_fcntls, STATES)
{
	struct flock lock = { .l_type = F_WRLCK };
	ask("F_GETLK", fcntl(c->fd, F_GETLK, &lock));
	ask("F_SETLK", fcntl(c->fd, F_SETLK, &lock));
	ask("F_SETLEASE", fcntl(c->fd, F_SETLEASE, F_RDLCK));
	ask("F_GETPIPE_SZ", fcntl(c->fd, F_GETPIPE_SZ));
	ask("F_ADD_SEALS", fcntl(c->fd, F_ADD_SEALS, 1));
	ask("unknown", fcntl(c->fd, 9999, 0));
	ask("flock", flock(c->fd, LOCK_EX | LOCK_NB));
	ask("flock of the other", flock(c->peer_fd >= 0 ? c->peer_fd : c->fd, LOCK_EX | LOCK_NB));
}

QUESTION(status, STATES)
{
	struct stat s;
	struct statfs f;
	ask("fstat", fstat(c->fd, &s));
	say("socket %d, mode %o, size %ld, links %ld", S_ISSOCK(s.st_mode), s.st_mode & 07777,
	    (long)s.st_size, (long)s.st_nlink);
	say("owner %d", s.st_uid == geteuid());
	ask("fstatfs", fstatfs(c->fd, &f));
	say("file system %lx", (long)f.f_type);
	struct statx x;
	ask("statx", statx(c->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
	say("socket %d", S_ISSOCK(x.stx_mode));
	ask("fchmod", fchmod(c->fd, 0600));
	ask("fchown", fchown(c->fd, (uid_t)-1, (gid_t)-1));
	ask("futimens", futimens(c->fd, NULL));
	char attribute[10];
	ask("fgetxattr", fgetxattr(c->fd, "user.x", attribute, 10));
}

QUESTION(positions, STATES)
{
	ask("lseek", lseek(c->fd, 0, SEEK_CUR));
	ask("lseek end", lseek(c->fd, 0, SEEK_END));
	ask("ftruncate", ftruncate(c->fd, 0));
	ask("fsync", fsync(c->fd));
	ask("fdatasync", fdatasync(c->fd));
	ask("sync_file_range", sync_file_range(c->fd, 0, 0, 0));
	ask("posix_fallocate", posix_fallocate(c->fd, 0, 1));
	ask("fallocate", fallocate(c->fd, 0, 0, 1));
	ask("posix_fadvise", posix_fadvise(c->fd, 0, 0, POSIX_FADV_NORMAL));
	ask("readahead", readahead(c->fd, 0, 1));
	void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, c->fd, 0);
	say("mmap %s", map == MAP_FAILED ? result(-1) : "made");
}

QUESTION(is_no_directory_or_terminal, STATES)
{
	char name[40];
	say("isatty %d, %s", isatty(c->fd), error_name(errno));
	say("ttyname %s", error_name(ttyname_r(c->fd, name, sizeof name)));
	ask("fchdir", fchdir(c->fd));
	ask("openat", openat(c->fd, "x", O_RDONLY));
	ask("tcgetpgrp", tcgetpgrp(c->fd));
}

QUESTION(link_in_proc, STATES)
{
	char path[64], target[64] = "", again[64] = "";
	snprintf(path, sizeof path, "/proc/self/fd/%d", c->fd);
	ssize_t n = readlink(path, target, sizeof target - 1);
	say("some %d, '%.8s'", n > 8, target);
	snprintf(path, sizeof path, "/proc/self/fd/%d", (int)OK(dup(c->fd)));
	OK(readlink(path, again, sizeof again - 1));
	say("same for a duplicate %d", strcmp(target, again) == 0);
	struct stat s;
	OK(fstat(c->fd, &s));
	snprintf(path, sizeof path, "socket:[%lu]", (unsigned long)s.st_ino);
	say("inode is the number %d", strcmp(path, target) == 0);
}

QUESTION(standard_streams, STATES & STREAMS)
{
	FILE *f = fdopen(c->fd, "r+");
	char line[40] = "";
	there_sends(c, "one line\nand another\n");
	say("'%.8s'", fgets(line, sizeof line, f));
	say("'%.11s'", fgets(line, sizeof line, f));
	say("fprintf %d", fprintf(f, "%s %d", "answer", 42));
	say("fflush %d", fflush(f));
	char in[20] = { 0 };
	ask("there", peer_recv_all(c, in, 9));
	say("'%s'", in);
	OK(peer_shutdown(c, SHUT_WR));
	say("end %d, feof %d", fgetc(f) == EOF, feof(f));
	say("fseek %s", result(fseek(f, 0, SEEK_SET)));
	say("fclose %d", fclose(f));
	say("there %s", there_bits(c));
}

QUESTION(standard_streams_wide_apart, STATES)
{
	FILE *r = fdopen(c->fd, "r"), *w = fdopen((int)OK(dup(c->fd)), "w");
	setvbuf(w, NULL, _IOLBF, 0);
	say("puts %d", fputs("words\n", w) >= 0);
	char in[20] = { 0 };
	ask("there", peer_recv_all(c, in, 6));
	there_sends(c, "12 34\n");
	int a = 0, b = 0;
	say("fscanf %d", fscanf(r, "%d %d", &a, &b));
	say("%d %d", a, b);
	fclose(w);
	say("there %s", there_bits(c));
	fclose(r);
	say("there %s", there_bits(c));
}

QUESTION(dprintf_writes, STATES)
{
	ask("dprintf", dprintf(c->fd, "%s %d", "answer", 42));
	char in[20] = { 0 };
	ask("there", peer_recv_all(c, in, 9));
	say("'%s'", in);
	OK(shutdown(c->fd, SHUT_WR));
	signal(SIGPIPE, SIG_IGN);
	ask("dprintf", dprintf(c->fd, "more"));
}
