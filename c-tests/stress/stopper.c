/*
 * stopper [-n rounds] [-t limit_ms] [-s seed] [-k]
 *
 * A process that makes and closes sockets without pause is stopped (SIGSTOP) at a random moment, or with -k
 * killed and left a zombie. Another process must be able to connect, talk and close within the limit (1000 ms).
 */
#include "stress.h"

static uint16_t port;
static int listener;

/* A connection to ourselves with a word each way. */
static void connection(void)
{
	struct sockaddr_in addr = loopback(port);
	int a = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(a, (struct sockaddr *)&addr, sizeof addr));
	int b = (int)MUST(accept(listener, NULL, NULL));
	char word[4] = "word";
	for (int i = 0; i < 4; i++) {
		MUST(send(a, word, 4, 0));
		if (receive_whole(b, word, 4) != 4)
			die("no word");
		MUST(send(b, word, 4, 0));
		if (receive_whole(a, word, 4) != 4)
			die("no answer");
	}
	close(a);
	close(b);
}

static pid_t start(void (*body)(void))
{
	pid_t pid = (pid_t)MUST(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		port = 0;
		close(listener);
		listener = listener_at(&port);
		body();
		_exit(0);
	}
	return pid;
}

/* Little but what others must wait for. */
static void without_pause(void)
{
	for (;;)
		close((int)MUST(socket(AF_INET, SOCK_STREAM, 0)));
}

static void a_few(void)
{
	for (int i = 0; i < 3; i++)
		connection();
}

int main(int argc, char **argv)
{
	int rounds = 100, limit_ms = 1000, option;
	uint64_t seed = 1;
	bool killing = false;
	while ((option = getopt(argc, argv, "n:t:s:k")) != -1)
		switch (option) {
		case 'n': rounds = atoi(optarg); break;
		case 't': limit_ms = atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'k': killing = true; break;
		default: return 2;
		}
	dice_state = seed;
	listener = listener_at(&port);
	pid_t *zombies = calloc((size_t)rounds, sizeof *zombies);
	int64_t worst = 0;
	for (int i = 0; i < rounds; i++) {
		pid_t victim = start(without_pause);
		usleep(2000 + (unsigned)dice(5000));
		MUST(kill(victim, killing ? SIGKILL : SIGSTOP));
		usleep(300);
		int64_t began = now_ms();
		pid_t other = start(a_few);
		while (waitpid(other, &option, WNOHANG) != other) {
			if (now_ms() - began > limit_ms) {
				kill(other, SIGKILL);
				kill(victim, SIGKILL);
				fprintf(stderr, "round %d: nothing for %d ms\n", i, limit_ms);
				return 1;
			}
			usleep(100);
		}
		if (option != 0)
			die("the other process failed");
		if (now_ms() - began > worst)
			worst = now_ms() - began;
		if (killing) {
			zombies[i] = victim;
		} else {
			kill(victim, SIGKILL);
			waitpid(victim, NULL, 0);
		}
	}
	for (int i = 0; killing && i < rounds; i++)
		waitpid(zombies[i], NULL, 0);
	printf("%d rounds, the slowest %d ms\n", rounds, (int)worst);
	return 0;
}
