/*
 * strangers [-n datagrams] [-w workers] [-s seed]
 *
 * A UDP socket that -w threads (3) receive from, which poll first and do not wait, hears from two senders: a process like
 * its own, and a program that has the library switched off, which comes by the kernel. Doorbells come by the kernel as well, and who
 * takes one must not take a datagram for it, nor give it to the program. No more is under way than is never lost: each
 * datagram comes once, whole, and nothing else does.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "stress.h"

enum { SENDERS = 2, MOST_DATAGRAMS = 1 << 20, UNDER_WAY = 40 };

struct datagram {
	uint32_t sender, number, check;
};

struct shared {
	_Atomic uint32_t received[SENDERS];
	_Atomic uint8_t seen[SENDERS][MOST_DATAGRAMS];
};

static struct shared *shared;
static uint32_t datagrams = 3000, workers = 3;
static uint64_t seed = 1;
static int receiver;

static void *receives(void *unused)
{
	for (;;) {
		struct datagram in[4];
		struct pollfd p = { .fd = receiver, .events = POLLIN };
		poll(&p, 1, 100);
		ssize_t n = recv(receiver, in, sizeof in, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n != sizeof *in || in->sender >= SENDERS || in->number >= datagrams ||
		    in->check != (uint32_t)mix(in->sender * 7919 + in->number))
			die("a datagram of %zd bytes that nobody sent", n);
		if (atomic_exchange(&shared->seen[in->sender][in->number], 1))
			die("%u of sender %u came twice", in->number, in->sender);
		atomic_fetch_add(&shared->received[in->sender], 1);
	}
	return unused;
}

static void sends(uint32_t me, uint16_t port)
{
	uint16_t own = 0;
	int fd = udp_at(&own);
	struct sockaddr_in to = loopback(port);
	MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
	dice_state = mix(seed + me);
	for (uint32_t i = 0; i < datagrams; i++) {
		struct datagram out = { me, i, (uint32_t)mix(me * 7919 + i) };
		if (MUST(send(fd, &out, sizeof out, 0)) != sizeof out)
			die("a short send");
		sleep_us(20); /* so that receivers sleep, and are rung */
		int64_t began = now_ms();
		while (shared->received[me] + UNDER_WAY <= i) {
			if (now_ms() - began > 5000)
				die("%s: %u sent, %u received", me == 0 ? "of the library's" : "of the kernel's", i + 1, shared->received[me]);
			sleep_us(20);
		}
	}
	if (me == 0 && ring_expected() && ring_tx_bytes() <= 0)
		die("the ring was not used");
	_exit(0);
}

static pid_t start(uint32_t me, uint16_t port, int memory, bool is_stranger)
{
	pid_t pid = (pid_t)MUST(fork());
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(receiver);
	if (!is_stranger)
		sends(me, port);
	char words[4][24];
	sprintf(words[0], "%d", memory);
	sprintf(words[1], "%u", port);
	sprintf(words[2], "%u", datagrams);
	sprintf(words[3], "%llu", (unsigned long long)seed);
	setenv("LANDLINE_OFF", "1", 1);
	execl("/proc/self/exe", "strangers", "-M", words[0], "-P", words[1], "-n", words[2], "-s", words[3], NULL);
	die("exec");
}

int main(int argc, char **argv)
{
	int option, status, memory = -1;
	uint16_t port = 0;
	while ((option = getopt(argc, argv, "n:w:s:M:P:")) != -1)
		switch (option) {
		case 'n': datagrams = (uint32_t)atoi(optarg); break;
		case 'w': workers = (uint32_t)atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'M': memory = atoi(optarg); break;
		case 'P': port = (uint16_t)atoi(optarg); break;
		default: return 2;
		}
	if (datagrams > MOST_DATAGRAMS || workers == 0)
		return 2;
	bool is_stranger = memory >= 0;
	if (!is_stranger) {
		memory = (int)MUST(memfd_create("strangers", 0));
		MUST(ftruncate(memory, sizeof *shared));
	}
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	if (is_stranger)
		sends(1, port);
	receiver = udp_at(&port);
	recv(receiver, &(char){ 0 }, 1, MSG_DONTWAIT);
	pid_t senders[SENDERS];
	for (uint32_t i = 0; i < SENDERS; i++)
		senders[i] = start(i, port, memory, i == 1);
	for (uint32_t i = 0; i < workers; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, receives, NULL) != 0)
			die("no thread");
	}
	for (uint32_t i = 0; i < SENDERS; i++) {
		MUST(waitpid(senders[i], &status, 0));
		if (status != 0)
			die("sender %u ended with status 0x%x", i, status);
	}
	for (int64_t began = now_ms(); shared->received[0] + shared->received[1] < SENDERS * datagrams && now_ms() - began < 5000;)
		sleep_us(100);
	if (shared->received[0] != datagrams || shared->received[1] != datagrams)
		die("%u and %u of %u came", shared->received[0], shared->received[1], datagrams);
	printf("%u datagrams of each\n", datagrams);
	return 0;
}
