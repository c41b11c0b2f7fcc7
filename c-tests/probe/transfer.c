/* sendfile(2), splice(2), tee(2), vmsplice(2), copy_file_range(2) between sockets, pipes and files. */
#include <sys/sendfile.h>

#include "ask.h"

#define THEME "transfer"

static int pipe_with(const char *words, int ends[2])
{
	OK(pipe(ends));
	if (words[0] != 0)
		EQ(write(ends[1], words, strlen(words)), strlen(words));
	return ends[0];
}

QUESTION(sendfile_whole, STATES)
{
	int file = text_file("some words");
	ask("sendfile", sendfile(c->fd, file, NULL, 100));
	say("position %ld", (long)lseek(file, 0, SEEK_CUR));
	there_arrived(c, 10);
	say_there(c);
	ask("at the end", sendfile(c->fd, file, NULL, 100));
}

QUESTION(sendfile_with_offset, STATES)
{
	int file = text_file("some words");
	off_t offset = 5;
	ask("sendfile", sendfile(c->fd, file, &offset, 3));
	say("offset %ld, position %ld", (long)offset, (long)lseek(file, 0, SEEK_CUR));
	there_arrived(c, 3);
	say_there(c);
	offset = 100;
	ask("beyond the end", sendfile(c->fd, file, &offset, 3));
	offset = -1;
	ask("negative", sendfile(c->fd, file, &offset, 3));
	ask("nothing", sendfile(c->fd, file, NULL, 0));
}

QUESTION(sendfile_wild_offset, STATES)
{
	ask("sendfile", sendfile(c->fd, text_file("some words"), WILD, 3));
	exchange(c, 2);
}

QUESTION(sendfile_from_socket, STATES)
{
	there_sends(c, "words");
	int file = text_file("");
	ask("to a file", sendfile(file, c->fd, NULL, 5));
	ask("to itself", sendfile(c->fd, c->fd, NULL, 5));
	ask_bytes("recv", c->fd, 8, 0);
}

QUESTION(sendfile_from_others, STATES)
{
	int ends[2];
	pipe_with("piped", ends);
	ask("pipe", sendfile(c->fd, ends[0], NULL, 5));
	ask("write end", sendfile(c->fd, ends[1], NULL, 5));
	ask("closed", sendfile(c->fd, 900, NULL, 5));
	int directory = (int)OK(open("/", O_RDONLY));
	ask("directory", sendfile(c->fd, directory, NULL, 5));
	ask("epoll", sendfile(c->fd, epoll_create1(0), NULL, 5));
}

QUESTION(sendfile_append, STATES)
{
	int file = text_file("some words");
	OK(fcntl(c->fd, F_SETFL, O_APPEND));
	ask("sendfile", sendfile(c->fd, file, NULL, 100));
}

QUESTION(sendfile_full, STATES & STREAMS)
{
	int file = text_file("some words");
	fill(c->fd);
	set_nonblock(c->fd, true);
	off_t offset;
	ssize_t n;
	do
		offset = 0; /* the kernel may find some more room */
	while ((n = sendfile(c->fd, file, &offset, 10)) > 0);
	ask("sendfile", n);
	say("offset %ld", (long)offset);
}

QUESTION(sendfile_into_closed, STATES)
{
	int file = text_file("some words");
	OK(shutdown(c->fd, SHUT_WR));
	count_sigpipe();
	ask("sendfile", sendfile(c->fd, file, NULL, 10));
	say("SIGPIPE %d, position %ld", sigpipes_seen(), (long)lseek(file, 0, SEEK_CUR));
}

QUESTION(sendfile_unconnected, ALONE)
{
	int file = text_file("some words");
	count_sigpipe();
	ask("new", sendfile(tcp4(), file, NULL, 10));
	int listener = tcp4();
	OK(listen(listener, 1));
	ask("listener", sendfile(listener, file, NULL, 10));
	say("SIGPIPE %d", sigpipes_seen());
}

QUESTION(sendfile_large, STATES & STREAMS)
{
	int file = text_file("");
	static char chunk[65536];
	for (int i = 0; i < 32; i++) {
		pattern_fill(chunk, (uint64_t)i * sizeof chunk, sizeof chunk);
		EQ(write(file, chunk, sizeof chunk), sizeof chunk);
	}
	off_t offset = 0;
	peer_verify_later(c, 20, 0, 32 * sizeof chunk);
	while (offset < (off_t)(32 * sizeof chunk))
		if (sendfile(c->fd, file, &offset, 1 << 30) <= 0)
			break;
	say("all %d", offset == (off_t)(32 * sizeof chunk));
	ask("there", peer_join(c));
}

QUESTION(splice_from_socket, STATES & STREAMS)
{
	int ends[2];
	pipe_with("", ends);
	there_sends(c, "some words");
	ask("splice", splice(c->fd, NULL, ends[1], NULL, 4, 0));
	char in[20] = { 0 };
	ask("read", read(ends[0], in, 20));
	say("'%s', queue %d", in, queued(c->fd));
	ask("all", splice(c->fd, NULL, ends[1], NULL, 100, SPLICE_F_MOVE | SPLICE_F_MORE));
	OK(peer_shutdown(c, SHUT_WR));
	bits(c->fd);
	ask("at the end", splice(c->fd, NULL, ends[1], NULL, 100, 0));
	ask("nothing wanted", splice(c->fd, NULL, ends[1], NULL, 0, 0));
}

QUESTION(splice_into_socket, STATES)
{
	int ends[2];
	pipe_with("some words", ends);
	ask("splice", splice(ends[0], NULL, c->fd, NULL, 4, 0));
	there_arrived(c, 4);
	say_there(c);
	ask("more", splice(ends[0], NULL, c->fd, NULL, 100, SPLICE_F_MORE));
	OK(close(ends[1]));
	ask("at the end", splice(ends[0], NULL, c->fd, NULL, 100, 0));
	there_arrived(c, 6);
	say_there(c);
}

QUESTION(splice_waits_as_the_flags_say, STATES)
{
	int ends[2];
	pipe_with("", ends);
	set_nonblock(c->fd, true);
	ask("nonblocking socket", splice(c->fd, NULL, ends[1], NULL, 4, 0));
	set_nonblock(c->fd, false);
	ask("empty pipe", splice(ends[0], NULL, c->fd, NULL, 4, SPLICE_F_NONBLOCK));
	set_timeout(c->fd, SO_RCVTIMEO, 60);
	ask("timeout", splice(c->fd, NULL, ends[1], NULL, 4, 0));
	int64_t before = now_ms();
	ask("flag", splice(c->fd, NULL, ends[1], NULL, 4, SPLICE_F_NONBLOCK));
	say("waits all the same %d", now_ms() - before >= 50); /* splice(2), of SPLICE_F_NONBLOCK */
	peer_send_later(c, 30, "late", 4, 0);
	set_timeout(c->fd, SO_RCVTIMEO, 0);
	ask("late", splice(c->fd, NULL, ends[1], NULL, 4, 0));
	peer_join(c);
}

QUESTION(splice_wrong_arguments, STATES)
{
	int ends[2], file = text_file("words");
	off_t offset = 0;
	pipe_with("piped", ends);
	set_timeout(c->fd, SO_RCVTIMEO, 60);
	ask("no pipe", splice(c->fd, NULL, file, NULL, 4, 0));
	ask("to itself", splice(c->fd, NULL, c->fd, NULL, 4, 0));
	ask("offset of socket", splice(c->fd, &offset, ends[1], NULL, 4, SPLICE_F_NONBLOCK));
	ask("offset of target", splice(ends[0], NULL, c->fd, &offset, 4, 0));
	ask("offset of pipe", splice(ends[0], &offset, c->fd, NULL, 4, 0));
	ask("wrong end", splice(ends[1], NULL, c->fd, NULL, 4, 0));
	ask("wrong end", splice(c->fd, NULL, ends[0], NULL, 4, SPLICE_F_NONBLOCK));
	ask("flags", splice(ends[0], NULL, c->fd, NULL, 4, 0x1000));
	ask("closed", splice(900, NULL, ends[1], NULL, 4, 0));
}

QUESTION(splice_ends, STATES)
{
	int ends[2];
	pipe_with("words", ends);
	count_sigpipe();
	OK(shutdown(c->fd, SHUT_WR));
	ask("into closed", splice(ends[0], NULL, c->fd, NULL, 5, 0));
	say("SIGPIPE %d", sigpipes_seen());
	OK(close(ends[0]));
	there_sends(c, "words");
	ask("no reader", splice(c->fd, NULL, ends[1], NULL, 5, 0));
	say("SIGPIPE %d, queue %d", sigpipes_seen(), queued(c->fd));
}

QUESTION(splice_unconnected, ALONE)
{
	int ends[2];
	pipe_with("words", ends);
	count_sigpipe();
	ask("into", splice(ends[0], NULL, tcp4(), NULL, 5, 0));
	ask("out of", splice(tcp4(), NULL, ends[1], NULL, 5, 0));
	say("SIGPIPE %d", sigpipes_seen());
}

QUESTION(splice_after_reset, STATES & STREAMS)
{
	int ends[2];
	pipe_with("", ends);
	struct linger now = { 1, 0 };
	OK(peer_setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(peer_close(c));
	bits(c->fd);
	ask("splice", splice(c->fd, NULL, ends[1], NULL, 5, 0));
	ask("again", splice(c->fd, NULL, ends[1], NULL, 5, 0));
}

QUESTION(splice_from_one_connection_to_another, IN_ONE)
{
	int ends[2];
	struct conn *other = conn_open_again(c);
	pipe_with("", ends);
	there_sends(c, "passed on");
	ask("out", splice(c->fd, NULL, ends[1], NULL, 100, 0));
	ask("in", splice(ends[0], NULL, other->fd, NULL, 100, 0));
	there_arrived(other, 9);
	say_there(other);
}

QUESTION(splice_large, STATES & STREAMS)
{
	int ends[2];
	pipe_with("", ends);
	peer_produce_later(c, 0, 0, 500000);
	size_t got = 0;
	bool same = true;
	while (got < 500000) {
		static char in[65536];
		ssize_t n = splice(c->fd, NULL, ends[1], NULL, sizeof in, 0);
		if (n <= 0)
			break;
		EQ(read(ends[0], in, (size_t)n), n);
		same = same && pattern_differs(in, got, (size_t)n) < 0;
		got += (size_t)n;
	}
	say("all %d, same %d", got == 500000, same);
	ask("there", peer_join(c));
}

QUESTION(tee_and_vmsplice, STATES)
{
	int ends[2];
	pipe_with("words", ends);
	struct iovec v = { "x", 1 };
	ask("tee from socket", tee(c->fd, ends[1], 4, 0));
	ask("tee to socket", tee(ends[0], c->fd, 4, 0));
	ask("vmsplice", vmsplice(c->fd, &v, 1, 0));
	exchange(c, 2);
}

QUESTION(copy_file_range, STATES)
{
	int file = text_file("words");
	ask("to socket", copy_file_range(file, NULL, c->fd, NULL, 4, 0));
	ask("from socket", copy_file_range(c->fd, NULL, file, NULL, 4, 0));
}

QUESTION(after_urgent, STATES)
{
	int ends[2];
	pipe_with("", ends);
	set_timeout(c->fd, SO_RCVTIMEO, 60);
	there_sends(c, "ab");
	ask("there", peer_send(c, "u", 1, MSG_OOB));
	poll_one(c->fd, POLLPRI, 1000);
	ask("splice", splice(c->fd, NULL, ends[1], NULL, 10, SPLICE_F_NONBLOCK));
	ask_bytes("urgent", c->fd, 1, MSG_OOB);
}
