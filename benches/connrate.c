/* Connect, one exchange, close; again and again, one connection at a time. */
#include "bench.h"

struct result {
    struct address at;
    uint64_t connections, elapsed_ns;
};

static void serve(int listener, const struct options *o) {
    char message[o->size];
    for (int last = 0; !last;) {
        int fd = accept_one(listener);
        no_delay(o->family, fd);
        while (read_all(fd, message, o->size)) {
            last = message[0] == 'q';
            write_all(fd, message, o->size);
        }
        close(fd);
    }
}

static void exchange(const struct options *o, const struct address *at, char first) {
    char message[o->size], back[o->size];
    memset(message, 'x', sizeof message);
    message[0] = first;
    int fd = connect_to(o, at);
    no_delay(o->family, fd);
    write_all(fd, message, o->size);
    if (!read_all(fd, back, o->size)) die("the server closed");
    if (memcmp(message, back, o->size)) die("another answer than the request");
    close(fd);
}

static void run_client(const struct options *o, struct result *r) {
    uint64_t begin, end;
    for (int i = 0; i < 50; i++) exchange(o, &r->at, 'x');
    begin = now_ns();
    end = begin + (uint64_t)(o->seconds * 1e9);
    while (now_ns() < end) {
        exchange(o, &r->at, 'x');
        r->connections++;
    }
    r->elapsed_ns = now_ns() - begin;
    exchange(o, &r->at, 'q');
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv, (struct options){.seconds = 1, .size = 64, .count = 1});
    struct result *r = shared(sizeof *r);
    struct gate gate;
    gate_init(&gate);
    if (!start(o.cpu[0])) {
        int listener = listen_on(&o, &r->at);
        gate_arrive(&gate);
        serve(listener, &o);
        return 0;
    }
    gate_wait(&gate, 1);
    if (!start(o.cpu[1])) {
        run_client(&o, r);
        return 0;
    }
    finish(2);
    printf("connections_per_s=%.0f connections=%lu bytes=%lu\n",
           (double)r->connections / (double)r->elapsed_ns * 1e9, (unsigned long)r->connections,
           (unsigned long)((r->connections + 51) * 2 * o.size));
    return 0;
}
