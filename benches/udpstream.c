/* Datagrams one way: one process sends numbered datagrams of one size for a time, another receives.
 * The sender never has more on the way than the receiver's buffer holds (it sees in a shared page how far
 * the receiver is), so none may be lost. The rate is the receiver's.
 */
#include "bench.h"

#define LAST UINT64_MAX                          /* the number of the datagram after the last */

struct result {
    struct address at;
    uint64_t window, sent, received, elapsed_ns;
    _Alignas(64) _Atomic uint64_t passed;        /* datagrams up to the last that arrived, lost ones included */
};

/* How many datagrams of this size fit for sure: the kernel counts its own memory for them, not their bytes, and
 * gives back up to a quarter of it late. */
static uint64_t datagrams_in_buffer(int fd, size_t size) {
    uint64_t fit = ordinary_buffer(fd) / (2 * size + 1024);
    return fit ? fit : 1;
}

static void receive_all(int fd, const struct options *o, struct result *r) {
    char *data = malloc(o->size);
    uint64_t begin = 0, end = 0, expected = 0, number;
    for (;;) {
        receive_datagram(fd, data, o->size, NULL);
        memcpy(&number, data, sizeof number);
        if (number == LAST) break;
        if (number < expected) die("datagram %lu where %lu belongs", (unsigned long)number, (unsigned long)expected);
        if (!begin) begin = now_ns();
        r->received++;
        expected = number + 1;
        atomic_store_explicit(&r->passed, expected, memory_order_release);
    }
    end = now_ns();
    r->elapsed_ns = end - begin;
}

/* Waits until at most `most` are on the way; returns how many are not any more. */
static uint64_t wait_for(struct result *r, uint64_t most, int or_lost) {
    uint64_t passed, end = 0;
    for (unsigned turns = 1; r->sent - (passed = atomic_load(&r->passed)) > most; turns++) {
        if (turns % 1024) continue;
        sched_yield();
        if (!end) end = now_ns() + 1000000000u;
        else if (now_ns() > end && or_lost) break;
        else if (now_ns() > end) die("the last %lu datagrams did not arrive", (unsigned long)(r->sent - passed));
    }
    return passed;
}

static void send_all(int fd, const struct options *o, struct result *r) {
    char *data = calloc(1, o->size);
    unsigned batch = o->size < 4096 ? 64 : 8;    /* datagrams between two looks at the clock */
    uint64_t end = now_ns() + (uint64_t)(o->seconds * 1e9), passed = 0;
    do {
        for (unsigned i = 0; i < batch; i++) {
            if (r->sent - passed >= r->window) passed = wait_for(r, r->window - 1, 0);
            memcpy(data, &r->sent, sizeof r->sent);
            send_datagram(fd, data, o->size);
            r->sent++;
        }
    } while (now_ns() < end);
    wait_for(r, 0, 1);
    memcpy(data, &(uint64_t){LAST}, sizeof(uint64_t));
    send_datagram(fd, data, o->size);
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv, (struct options){.seconds = 1, .size = 64, .count = 1});
    if (!o.datagrams) die("a stream has no datagrams");
    struct result *r = shared(sizeof *r);
    struct gate gate;
    gate_init(&gate);
    if (!start(o.cpu[0])) {
        int fd = bind_to_free(o.family, SOCK_DGRAM, &r->at);
        r->window = datagrams_in_buffer(fd, o.size);
        gate_arrive(&gate);
        receive_all(fd, &o, r);
        return 0;
    }
    gate_wait(&gate, 1);
    if (!start(o.cpu[1])) {
        send_all(datagrams_to(o.family, &r->at), &o, r);
        return 0;
    }
    finish(2);
    double seconds = (double)r->elapsed_ns / 1e9;
    printf("datagrams_per_s=%.0f bytes_per_s=%.0f window=%lu lost=%lu bytes=%lu\n", (double)r->received / seconds,
           (double)r->received * (double)o.size / seconds, (unsigned long)r->window, (unsigned long)(r->sent - r->received),
           (unsigned long)(r->received * o.size));
    return 0;
}
