/* Ping-pong: a small message there and back, blocking, between two processes; or N such pairs.
 * With datagrams the client is connected and the server is not: it answers whoever asked.
 * Prints the mean time of a round trip (measured without a clock call in the loop) and, from a
 * second, shorter phase that reads the clock at every round, the median and the 99th percentile.
 */
#include "bench.h"

#define SAMPLES 65536
#define LAST UINT64_MAX                          /* the number of a datagram that wants no answer */
#define BATCH 64                                 /* rounds between two looks at the clock */

struct pair {
    struct address at;
    uint64_t rounds, elapsed_ns, all_rounds, samples;
    uint32_t sample_ns[SAMPLES];
};

static void respond(int fd, size_t size) {
    char message[size];
    while (read_all(fd, message, size)) write_all(fd, message, size);
}

/* Answers until a message says that it is the last. */
static void respond_to_datagrams(int fd, size_t size) {
    char message[size];
    struct address from;
    for (uint64_t number;;) {
        receive_datagram(fd, message, size, &from);
        memcpy(&number, message, sizeof number);
        if (number == LAST) return;
        answer_datagram(fd, message, size, &from);
    }
}

struct connection {
    int fd, datagrams;
    size_t size;
    uint64_t sequence;
    char *message;
};

static void round_trip(struct connection *c) {
    uint64_t back;
    ++c->sequence;
    memcpy(c->message, &c->sequence, sizeof c->sequence);
    if (c->datagrams) {
        send_datagram(c->fd, c->message, c->size);
        receive_datagram(c->fd, c->message, c->size, NULL);
    } else {
        write_all(c->fd, c->message, c->size);
        if (!read_all(c->fd, c->message, c->size)) die("the peer closed");
    }
    memcpy(&back, c->message, sizeof back);
    if (back != c->sequence) die("round %lu came back as %lu", (unsigned long)c->sequence, (unsigned long)back);
}

static uint64_t rounds_until(struct connection *c, uint64_t end_ns) {
    uint64_t rounds = 0;
    do {
        for (int i = 0; i < BATCH; i++) round_trip(c);
        rounds += BATCH;
    } while (now_ns() < end_ns);
    return rounds;
}

static void measure(int fd, const struct options *o, struct pair *pair) {
    char message[o->size];
    struct connection c = {.fd = fd, .datagrams = o->datagrams, .size = o->size, .message = message};
    uint64_t begin, end;
    memset(message, 0, sizeof message);
    rounds_until(&c, now_ns() + (uint64_t)(o->seconds * 1e8));

    begin = now_ns();
    pair->rounds = rounds_until(&c, begin + (uint64_t)(o->seconds * 1e9));
    pair->elapsed_ns = now_ns() - begin;

    end = now_ns() + (uint64_t)(o->seconds * 2.5e8);
    for (uint64_t t = now_ns(), u; t < end && pair->samples < SAMPLES; t = u) {
        round_trip(&c);
        u = now_ns();
        pair->sample_ns[pair->samples++] = u - t > UINT32_MAX ? UINT32_MAX : (uint32_t)(u - t);
    }
    pair->all_rounds = c.sequence;
    if (c.datagrams) {
        memcpy(message, &(uint64_t){LAST}, sizeof(uint64_t));
        send_datagram(fd, message, c.size);
    }
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv, (struct options){.seconds = 1, .size = 8, .count = 1});
    struct pair *pairs = shared((size_t)o.count * sizeof *pairs);
    struct gate gate;
    gate_init(&gate);

    for (int i = 0; i < o.count; i++) {
        if (!start(o.cpu[0])) {
            int listener = o.datagrams ? bind_to_free(o.family, SOCK_DGRAM, &pairs[i].at)
                                       : listen_on(&o, &pairs[i].at);
            gate_arrive(&gate);
            if (o.datagrams) {
                respond_to_datagrams(listener, o.size);
            } else {
                int fd = accept_one(listener);
                no_delay(o.family, fd);
                respond(fd, o.size);
            }
            return 0;
        }
        gate_wait(&gate, 1);
        if (!start(o.cpu[1])) {
            int fd = o.datagrams ? datagrams_to(o.family, &pairs[i].at) : connect_to(&o, &pairs[i].at);
            if (!o.datagrams) no_delay(o.family, fd);
            gate_arrive(&gate);
            gate_pass(&gate);
            measure(fd, &o, &pairs[i]);
            return 0;
        }
        gate_wait(&gate, 1);
    }
    gate_open(&gate, o.count);
    finish(2 * o.count);

    double mean = 0, rate = 0;
    uint64_t rounds = 0, samples = 0;
    uint32_t *all = malloc((size_t)o.count * sizeof pairs->sample_ns);
    for (int i = 0; i < o.count; i++) {
        rate += (double)pairs[i].rounds / (double)pairs[i].elapsed_ns * 1e9;
        rounds += pairs[i].all_rounds;
        memcpy(all + samples, pairs[i].sample_ns, pairs[i].samples * sizeof *all);
        samples += pairs[i].samples;
    }
    mean = o.count * 1e6 / rate;
    qsort(all, samples, sizeof *all, by_value);
    printf("us_mean=%.4f us_p50=%.3f us_p99=%.3f rounds_per_s=%.0f bytes=%lu\n", mean,
           all[samples / 2] / 1e3, all[samples * 99 / 100] / 1e3, rate, (unsigned long)(rounds * 2 * o.size));
    return 0;
}
