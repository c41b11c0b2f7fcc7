/*
 * exchange [-l] [-n connections] [-b bytes] [-p port] [-P client_port] [-t tag] [-w hold_ms]
 *
 * Two processes exchange -b bytes of stream -t on each of -n connections, in turn, and compare. -l brings
 * the loopback interface up first; -w keeps the last connection open for a while.
 */
#include "stress.h"

int main(int argc, char **argv)
{
	int connections = 1, hold_ms = 0, option;
	size_t bytes = 1 << 20;
	uint16_t port = 0, client_port = 0;
	uint64_t tag = 1;
	while ((option = getopt(argc, argv, "ln:b:p:P:t:w:")) != -1)
		switch (option) {
		case 'l':
			loopback_up();
			break;
		case 'n':
			connections = atoi(optarg);
			break;
		case 'b':
			bytes = strtoul(optarg, NULL, 10);
			break;
		case 'p':
			port = (uint16_t)atoi(optarg);
			break;
		case 'P':
			client_port = (uint16_t)atoi(optarg);
			break;
		case 't':
			tag = mix(strtoull(optarg, NULL, 10)) << 20;
			break;
		case 'w':
			hold_ms = atoi(optarg);
			break;
		default:
			return 2;
		}
	alarm(60);
	int listener = listener_at(&port), on = 1;
	pid_t child = (pid_t)MUST(fork());
	bool client = child == 0;
	if (client)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(60);
	struct sockaddr_in to = loopback(port), from = loopback(client_port);
	static uint8_t room[4096];
	for (int i = 0; i < connections; i++) {
		int fd;
		if (client) {
			fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
			MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
			if (client_port != 0)
				MUST(bind(fd, (struct sockaddr *)&from, sizeof from));
			MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
		} else {
			fd = (int)MUST(accept(listener, NULL, NULL));
		}
		for (size_t done = 0; done < bytes;) {
			size_t part = bytes - done < sizeof room ? bytes - done : sizeof room;
			for (int turn = 0; turn < 2; turn++) {
				if (client == (turn == 0)) {
					stream_fill(room, tag + (uint64_t)turn, done, part);
					if (MUST(send(fd, room, part, MSG_NOSIGNAL)) != (long)part)
						die("a short write");
				} else {
					if (MUST(receive_whole(fd, room, part)) != (long)part)
						die("the stream ended at %zu of %zu", done, bytes);
					if (stream_differs(room, tag + (uint64_t)turn, done, part) >= 0)
						die("a wrong byte near %zu", done);
				}
			}
			done += part;
		}
		if (i == connections - 1)
			sleep_us((unsigned)hold_ms * 1000);
		if (client) {
			/* So that the same four addresses are free at once; the server waits for the end. */
			struct linger now = { 1, 0 };
			MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
		} else {
			ssize_t n = recv(fd, room, 1, 0);
			if (n > 0 || (n < 0 && errno != ECONNRESET))
				die("the end of the connection is not an end");
		}
		close(fd);
	}
	if (ring_expected() && ring_tx_bytes() <= 0)
		die("the ring was not used");
	if (client)
		_exit(0);
	int status = 0;
	MUST(waitpid(child, &status, 0));
	return status != 0;
}
