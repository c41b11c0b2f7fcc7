/* Urgent data (tcp(7), RFC 6093), and the signals SIGURG and SIGIO (socket(7)). */
#include "ask.h"

#define THEME "urgent"

/* ---- SIGIO and SIGURG ------------------------------------------------------------------------ */

static volatile sig_atomic_t io_seen, urgent_seen, last_code, last_band;

static void on_io(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	io_seen++;
	last_code = info->si_code;
	last_band = (sig_atomic_t)info->si_band;
}

static void on_urgent(int signal)
{
	(void)signal;
	urgent_seen++;
}

static void count_io(void)
{
	struct sigaction action = { .sa_sigaction = on_io, .sa_flags = SA_SIGINFO | SA_RESTART };
	OK(sigaction(SIGIO, &action, NULL));
	OK(sigaction(SIGUSR2, &action, NULL));
	signal(SIGURG, on_urgent);
}

static bool soon(volatile sig_atomic_t *seen)
{
	for (int i = 0; i < 300 && *seen == 0; i++)
		sleep_ms(1);
	bool some = *seen > 0;
	*seen = 0;
	return some;
}

QUESTION(sigio, STATES)
{
	count_io();
	OK(fcntl(c->fd, F_SETOWN, getpid()));
	OK(fcntl(c->fd, F_SETFL, O_ASYNC));
	soon(&io_seen);
	ask("there", peer_send(c, "words", 5, 0));
	say("bytes %d", soon(&io_seen));
	ask_bytes("recv", c->fd, 8, 0);
	ask("there", peer_send(c, "words", 5, 0));
	say("bytes %d", soon(&io_seen));
	OK(peer_shutdown(c, SHUT_WR));
	say("end %d", soon(&io_seen));
}

QUESTION(sigio_of_listener, ALONE)
{
	count_io();
	int fd = tcp4();
	OK(listen(fd, 5));
	OK(fcntl(fd, F_SETOWN, getpid()));
	OK(fcntl(fd, F_SETFL, O_ASYNC));
	OK(connect_local(tcp4(), AF_INET, port_at(fd)));
	say("client %d", soon(&io_seen));
}

QUESTION(sigio_as_another_signal, STATES)
{
	count_io();
	OK(fcntl(c->fd, F_SETSIG, SIGUSR2));
	OK(fcntl(c->fd, F_SETOWN, getpid()));
	OK(fcntl(c->fd, F_SETFL, O_ASYNC));
	soon(&io_seen);
	ask("there", peer_send(c, "words", 5, 0));
	say("bytes %d", soon(&io_seen));
	say("POLL_IN %d, band %s", last_code == POLL_IN, poll_bits(last_band));
}

QUESTION(sigurg, STATES)
{
	count_io();
	OK(fcntl(c->fd, F_SETOWN, getpid()));
	ask("there", peer_send(c, "u", 1, MSG_OOB));
	say("urgent %d", soon(&urgent_seen));
	ask("there", peer_send(c, "n", 1, 0));
	sleep_ms(20);
	say("normal %d", soon(&urgent_seen));
}

/* ---- urgent data ----------------------------------------------------------------------------- */

static void wait_urgent(struct conn *c)
{
	poll_one(c->fd, POLLPRI, 1000);
}

QUESTION(byte, STATES & STREAMS)
{
	ask("there", peer_send(c, "abcd", 4, MSG_OOB));
	wait_urgent(c);
	arrived(c->fd, 3);
	say("queue %d, at mark %d", queued(c->fd), sockatmark(c->fd));
	ask_bytes("peek", c->fd, 4, MSG_OOB | MSG_PEEK);
	ask_bytes("recv", c->fd, 10, 0);
	say("at mark %d", sockatmark(c->fd));
	ask_bytes("urgent", c->fd, 4, MSG_OOB);
	ask_bytes("again", c->fd, 4, MSG_OOB);
	ask_bytes("recv", c->fd, 10, MSG_DONTWAIT);
}

QUESTION(between, STATES & STREAMS)
{
	ask("there", peer_send(c, "before", 6, 0));
	ask("there", peer_send(c, "!", 1, MSG_OOB));
	ask("there", peer_send(c, "after", 5, 0));
	wait_urgent(c);
	arrived(c->fd, 6);
	sleep_ms(5);
	ask_bytes("recv stops at the mark", c->fd, 20, 0);
	say("at mark %d", sockatmark(c->fd));
	ask_bytes("recv goes on", c->fd, 20, 0);
	say("at mark %d", sockatmark(c->fd));
	ask_bytes("urgent", c->fd, 1, MSG_OOB);
}

QUESTION(inline, STATES & STREAMS)
{
	OK(set_option(c->fd, SOL_SOCKET, SO_OOBINLINE, 1));
	ask("there", peer_send(c, "before", 6, 0));
	ask("there", peer_send(c, "!", 1, MSG_OOB));
	ask("there", peer_send(c, "after", 5, 0));
	wait_urgent(c);
	sleep_ms(5);
	ask_bytes("recv", c->fd, 20, 0);
	say("at mark %d", sockatmark(c->fd));
	ask_bytes("urgent", c->fd, 1, MSG_OOB);
	ask_bytes("recv", c->fd, 20, 0);
}

QUESTION(twice, STATES & STREAMS)
{
	ask("there", peer_send(c, "1", 1, MSG_OOB));
	ask("there", peer_send(c, "2", 1, MSG_OOB));
	wait_urgent(c);
	sleep_ms(5);
	ask_bytes("urgent", c->fd, 1, MSG_OOB);
	ask_bytes("recv", c->fd, 10, MSG_DONTWAIT);
}

QUESTION(none, STATES & STREAMS)
{
	ask("recv", take(c->fd, 1, MSG_OOB));
	say("at mark %d", sockatmark(c->fd));
	ask("nothing sent as urgent", send(c->fd, "", 0, MSG_OOB));
	OK(shutdown(c->fd, SHUT_WR));
	ask("into closed", send(c->fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
	OK(peer_shutdown(c, SHUT_WR));
	bits(c->fd);
	ask("recv", take(c->fd, 1, MSG_OOB));
}
