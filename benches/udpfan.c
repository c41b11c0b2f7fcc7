/* Many senders, one receiving datagram socket. Each sender numbers its datagrams, sends a few, and waits for
 * the receiver's word that they arrived: all of them together never exceed the receiver's buffer. Within a
 * sender nothing may be lost or change its order; how evenly the senders come to their turn is reported.
 */
#include "bench.h"

#define BURST 2                                  /* datagrams between two waits of a sender */

struct message {
    uint32_t sender, last;
    uint64_t number;
};

struct result {
    struct address at;
    uint64_t received, elapsed_ns;
    uint64_t of_sender[];
};

static void receive_all(int fd, const struct options *o, struct result *r) {
    char data[o->size];
    struct message *m = (void *)data;
    struct address from;
    uint64_t begin = 0;
    for (int senders = o->count; senders;) {
        receive_datagram(fd, data, o->size, &from);
        if (!begin) begin = now_ns();
        if (m->sender >= (uint32_t)o->count) die("a datagram of sender %u", m->sender);
        if (m->number != r->of_sender[m->sender])
            die("sender %u: datagram %lu where %lu belongs", m->sender, (unsigned long)m->number,
                (unsigned long)r->of_sender[m->sender]);
        r->received++;
        if (++r->of_sender[m->sender] % BURST == 0) answer_datagram(fd, data, sizeof *m, &from);
        senders -= m->last != 0;
    }
    r->elapsed_ns = now_ns() - begin;
}

static void send_all(int fd, int sender, const struct options *o) {
    char data[o->size];
    struct message *m = (void *)data, answer;
    uint64_t end = now_ns() + (uint64_t)(o->seconds * 1e9);
    memset(data, 0, sizeof data);
    m->sender = (uint32_t)sender;
    do {
        int over = now_ns() >= end;
        for (int i = 1; i <= BURST; i++) {
            m->last = over && i == BURST;
            send_datagram(fd, data, o->size);
            m->number++;
        }
        receive_datagram(fd, &answer, sizeof answer, NULL);
        if (answer.sender != m->sender || answer.number != m->number - 1)
            die("datagram %lu: the answer to %lu of sender %u", (unsigned long)m->number - 1,
                (unsigned long)answer.number, answer.sender);
    } while (!m->last);
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv, (struct options){.seconds = 1, .size = 64, .count = 100});
    if (!o.datagrams || o.size < sizeof(struct message)) die("datagrams of at least %zu bytes", sizeof(struct message));
    struct result *r = shared(sizeof *r + (size_t)o.count * sizeof *r->of_sender);
    struct gate gate;
    gate_init(&gate);
    if (!start(o.cpu[0])) {
        int fd = bind_to_free(o.family, SOCK_DGRAM, &r->at);
        ordinary_buffer(fd);
        gate_arrive(&gate);
        receive_all(fd, &o, r);
        return 0;
    }
    gate_wait(&gate, 1);
    for (int i = 0; i < o.count; i++) {
        if (!start(o.cpu[1])) {
            int fd = datagrams_to(o.family, &r->at);
            gate_arrive(&gate);
            gate_pass(&gate);
            send_all(fd, i, &o);
            return 0;
        }
    }
    gate_wait(&gate, o.count);
    gate_open(&gate, o.count);
    finish(1 + o.count);
    uint64_t least = r->of_sender[0], greatest = least;
    for (int i = 1; i < o.count; i++) {
        if (r->of_sender[i] < least) least = r->of_sender[i];
        if (r->of_sender[i] > greatest) greatest = r->of_sender[i];
    }
    printf("datagrams_per_s=%.0f fairness=%.1f bytes=%lu\n", (double)r->received / (double)r->elapsed_ns * 1e9,
           100.0 * (double)least / (double)greatest, (unsigned long)(r->received * o.size));
    return 0;
}
