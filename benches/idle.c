/* Idle connections: a few, then N more, one exchange on each, then silence: the server sleeps in
 * epoll_wait, the client in poll, until the program is ended from outside, where everything is
 * measured. Prints "base SERVER CLIENT" after the first few, waits for a line on standard input,
 * and prints "ready" when all N have had their exchange.
 */
#include "bench.h"
#include <sys/epoll.h>

#define FIRST 16                                 /* connections that pay for whatever is made once */

static void serve(int listener, const struct options *o) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    char message[o->size];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event)) die("epoll");
    for (;;) {
        if (epoll_wait(epoll, &event, 1, -1) != 1) die("epoll_wait");
        if (event.data.fd == listener) {
            event.data.fd = accept_one(listener);
            event.events = EPOLLIN;
            if (epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event)) die("epoll_ctl");
        } else if (read_all(event.data.fd, message, o->size)) {
            write_all(event.data.fd, message, o->size);
        } else {
            close(event.data.fd);
        }
    }
}

static void run_client(const struct options *o, const struct address *at, struct gate *gate) {
    char message[o->size];
    int total = FIRST + o->count;
    struct pollfd *all = calloc((size_t)total, sizeof *all);
    memset(all, 0xff, (size_t)total * sizeof *all);   /* touched: its pages are not the library's */
    memset(message, 'x', sizeof message);
    for (int i = 0; i < total; i++) {
        if (i == FIRST) {
            gate_arrive(gate);
            gate_pass(gate);
        }
        all[i].fd = connect_to(o, at);
        all[i].events = POLLIN;
        write_all(all[i].fd, message, o->size);
        if (!read_all(all[i].fd, message, o->size)) die("the server closed");
    }
    gate_arrive(gate);
    poll(all, (nfds_t)total, -1);
    die("poll returned");
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv, (struct options){.seconds = 1, .size = 64, .count = 500});
    struct address *at = shared(sizeof *at);
    struct gate gate;
    pid_t server, client;
    char line[16];
    gate_init(&gate);
    allow_descriptors(o.count + FIRST + 64);
    if (!(server = start(o.cpu[0]))) {
        int listener = listen_on(&o, at);
        gate_arrive(&gate);
        serve(listener, &o);
        return 0;
    }
    gate_wait(&gate, 1);
    if (!(client = start(o.cpu[1]))) {
        run_client(&o, at, &gate);
        return 0;
    }
    gate_wait(&gate, 1);
    printf("base %d %d\n", (int)server, (int)client);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;
    gate_open(&gate, 1);
    gate_wait(&gate, 1);
    printf("ready\n");
    fflush(stdout);
    finish(1);                                   /* neither ends by itself */
    return 1;
}
