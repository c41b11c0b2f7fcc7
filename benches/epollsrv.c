/* An epoll server and an epoll client, level-triggered, N connections, each with one request
 * outstanding: the client sends a request and, when the answer is complete, the next.
 */
#include "bench.h"
#include <sys/epoll.h>

#define EVENTS 256

struct result {
    struct address at;
    uint64_t requests, elapsed_ns, all_requests, waits;
};

struct connection {
    int fd;
    uint64_t number;                             /* client: of the request outstanding */
    size_t have;                                 /* bytes of the message read so far */
    char *message;
};

static void watch(int epoll, struct connection *c) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK)) die("O_NONBLOCK");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
}

static struct connection *new_connection(int fd, size_t size) {
    struct connection *c = calloc(1, sizeof *c);
    if (!c || !(c->message = calloc(1, size))) die("out of memory");
    c->fd = fd;
    return c;
}

/* Reads what is there: 1 when a message is complete, 0 when not, -1 at the end. */
static int receive(struct connection *c, size_t size) {
    ssize_t n = read(c->fd, c->message + c->have, size - c->have);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n < 0) die("read");
    if (n == 0) {
        if (c->have) die("end of stream inside a message");
        return -1;
    }
    c->have += (size_t)n;
    if (c->have < size) return 0;
    c->have = 0;
    return 1;
}

static void serve(int listener, const struct options *o) {
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    int epoll = epoll_create1(EPOLL_CLOEXEC), accepted = 0, closed = 0;
    if (epoll < 0) die("epoll_create1");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event)) die("epoll_ctl");
    while (closed < o->count) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                c = new_connection(accept_one(listener), o->size);
                no_delay(o->family, c->fd);
                watch(epoll, c);
                accepted++;
                continue;
            }
            switch (receive(c, o->size)) {
            case 1: write_all(c->fd, c->message, o->size); break;
            case -1: close(c->fd); free(c->message); free(c); closed++; break;
            }
        }
    }
    if (accepted != o->count) die("%d connections accepted of %d", accepted, o->count);
}

static void request(struct connection *c, size_t size) {
    c->number++;
    memcpy(c->message, &c->number, sizeof c->number);
    write_all(c->fd, c->message, size);
}

static uint64_t requests_until(int epoll, const struct options *o, uint64_t end_ns, int stop, struct result *r) {
    struct epoll_event events[EVENTS];
    uint64_t requests = 0;
    int outstanding = o->count;
    while (outstanding) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        int over = now_ns() >= end_ns;
        r->waits++;
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            uint64_t number;
            switch (receive(c, o->size)) {
            case 1: break;
            case -1: die("the server closed a connection");
            default: continue;
            }
            memcpy(&number, c->message, sizeof number);
            if (number != c->number) die("answer %lu to request %lu", (unsigned long)number, (unsigned long)c->number);
            requests++;
            if (stop && over) outstanding--;
            else request(c, o->size);
        }
        if (over && !stop) break;
    }
    return requests;
}

static void run_client(const struct options *o, struct result *r) {
    struct connection **all = calloc((size_t)o->count, sizeof *all);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) die("epoll_create1");
    for (int i = 0; i < o->count; i++) {
        all[i] = new_connection(connect_to(o, &r->at), o->size);
        no_delay(o->family, all[i]->fd);
        watch(epoll, all[i]);
    }
    for (int i = 0; i < o->count; i++) request(all[i], o->size);
    uint64_t before = requests_until(epoll, o, now_ns() + (uint64_t)(o->seconds * 2e8), 0, r);
    uint64_t begin = now_ns();
    r->waits = 0;
    r->requests = requests_until(epoll, o, begin + (uint64_t)(o->seconds * 1e9), 0, r);
    r->elapsed_ns = now_ns() - begin;
    uint64_t waits = r->waits;
    r->all_requests = before + r->requests + requests_until(epoll, o, 0, 1, r);
    r->waits = waits;
    for (int i = 0; i < o->count; i++) close(all[i]->fd);
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv, (struct options){.seconds = 1, .size = 64, .count = 50});
    struct result *r = shared(sizeof *r);
    struct gate gate;
    gate_init(&gate);
    allow_descriptors(o.count + 64);
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
    printf("requests_per_s=%.0f per_wait=%.1f bytes=%lu\n", (double)r->requests / (double)r->elapsed_ns * 1e9,
           (double)r->requests / (double)r->waits, (unsigned long)(r->all_requests * 2 * o.size));
    return 0;
}
