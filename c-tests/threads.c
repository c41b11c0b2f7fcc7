/* Several threads and one connection. */
#include "support.h"

struct work { int fd; int id; int count; long result; int error; char *bytes; size_t length; };

static void *writes_messages(void *argument)
{
	struct work *w = argument;
	char message[24];
	memset(message, w->id, sizeof message);
	for (int i = 0; i < w->count; i++)
		if (send(w->fd, message, sizeof message, 0) != sizeof message)
			return NULL;
	w->result = w->count;
	return NULL;
}

static void small_writes_stay_whole(struct conn *c)
{
	enum { COUNT = 2000, WRITERS = 3 };
	struct work w[WRITERS];
	pthread_t threads[WRITERS];
	for (int i = 0; i < WRITERS; i++) {
		w[i] = (struct work){ .fd = c->fd, .id = i + 1, .count = COUNT };
		pthread_create(&threads[i], NULL, writes_messages, &w[i]);
	}
	int seen[WRITERS + 1] = { 0 };
	char *in = malloc(WRITERS * COUNT * 24);
	EQ(peer_recv_all(c, in, WRITERS * COUNT * 24), WRITERS * COUNT * 24);
	for (int i = 0; i < WRITERS * COUNT; i++) {
		char *message = in + i * 24;
		TRUE(message[0] >= 1 && message[0] <= WRITERS);
		for (int j = 1; j < 24; j++)
			EQ(message[j], message[0]);
		seen[(int)message[0]]++;
	}
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(threads[i], NULL);
		EQ(w[i].result, COUNT);
		EQ(seen[i + 1], COUNT);
	}
	free(in);
	exchange(c, 3);
}

static void *reads_messages(void *argument)
{
	struct work *w = argument;
	long got = 0;
	for (;;) {
		char in[32];
		ssize_t n = recv(w->fd, in, sizeof in, 0);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			w->result += (unsigned char)in[i];
		got += n;
	}
	w->length = (size_t)got;
	return NULL;
}

static void several_readers_lose_nothing(struct conn *c)
{
	enum { READERS = 3, SIZE = 200000 };
	struct work w[READERS];
	pthread_t threads[READERS];
	memset(w, 0, sizeof w);
	for (int i = 0; i < READERS; i++) {
		w[i].fd = c->fd;
		pthread_create(&threads[i], NULL, reads_messages, &w[i]);
	}
	EQ(peer_produce(c, 0, SIZE), SIZE);
	OK(peer_shutdown(c, SHUT_WR));
	long sum = 0, want = 0;
	size_t got = 0;
	for (int i = 0; i < READERS; i++) {
		pthread_join(threads[i], NULL);
		sum += w[i].result;
		got += w[i].length;
	}
	for (uint64_t i = 0; i < SIZE; i++)
		want += pattern_at(i);
	EQ(got, SIZE);
	EQ(sum, want);
}

static void *receives(void *argument)
{
	struct work *w = argument;
	w->result = recv_all(w->fd, w->bytes, w->length);
	return NULL;
}

static void *sends(void *argument)
{
	struct work *w = argument;
	w->result = send_all(w->fd, w->bytes, w->length);
	return NULL;
}

static void reads_and_writes_at_once(struct conn *c)
{
	/* One thread blocks reading and one writing, on the same socket. */
	size_t size = 6 << 20;
	struct work in = { .fd = c->fd, .bytes = malloc(size), .length = size };
	struct work out = { .fd = c->fd, .bytes = malloc(size), .length = size };
	pattern_fill(out.bytes, 7, size);
	pthread_t reader, writer;
	pthread_create(&reader, NULL, receives, &in);
	pthread_create(&writer, NULL, sends, &out);
	sleep_ms(30);
	EQ(peer_verify(c, 7, size), size);
	EQ(peer_produce(c, 3, size), size);
	pthread_join(reader, NULL);
	pthread_join(writer, NULL);
	EQ(out.result, size);
	EQ(in.result, size);
	EQ(pattern_differs(in.bytes, 3, size), -1);
	free(in.bytes);
	free(out.bytes);
	exchange(c, 3);
}

static void a_sleeping_reader_does_not_stop_a_writer(struct conn *c)
{
	char byte[4] = { 0 }, in[8];
	struct work w = { .fd = c->fd, .bytes = byte, .length = 4 };
	pthread_t reader;
	pthread_create(&reader, NULL, receives, &w);
	sleep_ms(40);
	for (int i = 0; i < 20; i++) {
		EQ(send(c->fd, "onward", 6, 0), 6);
		EQ(peer_recv_all(c, in, 6), 6);
	}
	EQ(peer_send(c, "back", 4, 0), 4);
	pthread_join(reader, NULL);
	EQ(w.result, 4);
	SAME(byte, "back", 4);
}

static void close_while_another_waits(struct conn *c)
{
	/* The waiting call keeps the connection; what comes still reaches it. */
	char bytes[4] = { 0 };
	struct work w = { .fd = c->fd, .bytes = bytes, .length = 4 };
	pthread_t reader;
	pthread_create(&reader, NULL, receives, &w);
	sleep_ms(60);
	OK(close(c->fd));
	c->fd = -1;
	EQ(peer_poll(c, POLLIN, 30), 0);
	EQ(peer_send(c, "last", 4, 0), 4);
	pthread_join(reader, NULL);
	EQ(w.result, 4);
	SAME(bytes, "last", 4);
	char in[4];
	EQ(peer_recv(c, in, 4, 0), 0);
}

static void *polls(void *argument)
{
	struct work *w = argument;
	w->result = poll_one(w->fd, POLLIN, 10000);
	return NULL;
}

static void poll_in_one_read_in_another(struct conn *c)
{
	for (int i = 0; i < 5; i++) {
		char in[4];
		struct work w = { .fd = c->fd };
		pthread_t poller;
		pthread_create(&poller, NULL, polls, &w);
		sleep_ms(20);
		EQ(peer_send(c, "x", 1, 0), 1);
		pthread_join(poller, NULL);
		EQ(w.result, POLLIN);
		EQ(recv(c->fd, in, 4, 0), 1);
	}
}

static void *runs_connections(void *argument)
{
	struct work *w = argument;
	for (int i = 0; i < w->count; i++) {
		int pair[2], in = 0;
		struct sockaddr_storage addr;
		socklen_t length = loopback(AF_INET, 0, &addr);
		int listener = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(listener, (struct sockaddr *)&addr, length) < 0 || listen(listener, 2) < 0 ||
		    getsockname(listener, (struct sockaddr *)&addr, &length) < 0)
			return NULL;
		pair[0] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(pair[0], (struct sockaddr *)&addr, length) < 0)
			return NULL;
		pair[1] = accept(listener, NULL, NULL);
		for (int j = 0; j < 20; j++) {
			int out = w->id * 1000000 + i * 100 + j;
			if (send_all(pair[0], &out, sizeof out) != sizeof out ||
			    recv_all(pair[1], &in, sizeof in) != sizeof in || in != out ||
			    send_all(pair[1], &in, sizeof in) != sizeof in ||
			    recv_all(pair[0], &in, sizeof in) != sizeof in || in != out)
				return NULL;
		}
		close(pair[i & 1]);
		if (recv(pair[!(i & 1)], &in, 1, 0) != 0)
			return NULL;
		close(pair[!(i & 1)]);
		close(listener);
		w->result++;
	}
	return NULL;
}

static void connections_in_every_thread(struct conn *c)
{
	(void)c;
	enum { THREADS = 6 };
	struct work w[THREADS];
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct work){ .id = i, .count = 60 };
		pthread_create(&threads[i], NULL, runs_connections, &w[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		EQ(w[i].result, 60);
	}
}

static void *cancelled_read(void *argument)
{
	char in[4];
	recv(((struct work *)argument)->fd, in, 4, 0);
	return NULL;
}

static void cancelled_while_reading(struct conn *c)
{
	struct work w = { .fd = c->fd };
	pthread_t thread;
	void *result;
	pthread_create(&thread, NULL, cancelled_read, &w);
	sleep_ms(60);
	EQ(pthread_cancel(thread), 0);
	EQ(pthread_join(thread, &result), 0);
	TRUE(result == PTHREAD_CANCELED);
	exchange(c, 5);
}

static void *exits_soon(void *argument)
{
	(void)argument;
	sleep_ms(1);
	return NULL;
}


static void fork_while_threads_talk(struct conn *c)
{
	/* A fork in the middle of others' calls: the child must be able to use its own sockets. */
	struct work w[2];
	pthread_t threads[2], third;
	for (int i = 0; i < 2; i++) {
		w[i] = (struct work){ .id = i, .count = 150 };
		pthread_create(&threads[i], NULL, runs_connections, &w[i]);
	}
	pthread_create(&third, NULL, exits_soon, NULL);
	for (int i = 0; i < 20; i++) {
		fflush(NULL);
		pid_t child = (pid_t)OK(fork());
		if (child == 0) {
			alarm(15);
			struct work mine = { .id = 9, .count = 3 };
			runs_connections(&mine);
			_exit(mine.result == 3 ? 0 : 1);
		}
		join_child(child);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EQ(w[i].result, 150);
	}
	pthread_join(third, NULL);
	(void)c;
}

static const struct test tests[] = {
	TEST(small_writes_stay_whole, EACH),
	TEST(several_readers_lose_nothing, EACH),
	TEST(reads_and_writes_at_once, TWO),
	TEST(a_sleeping_reader_does_not_stop_a_writer, EVERY),
	TEST(close_while_another_waits, EACH),
	TEST(poll_in_one_read_in_another, EACH),
	TEST(connections_in_every_thread, ALONE),
	TEST(cancelled_while_reading, EACH),
	TEST(fork_while_threads_talk, ALONE),
};
MAIN(tests)
