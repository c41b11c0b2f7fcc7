/* Stream: one process writes messages of one size for a time, the other reads until the end.
 * The rate is the reader's, from its first byte to the end of the stream; every byte written must
 * have been read. Each message begins with its number; the reader checks one number per read.
 */
#include "bench.h"

#define READ_BYTES 65536

struct result {
    struct address at;
    uint64_t written, received, elapsed_ns, reads;
};

static void check_number(const char *data, size_t n, uint64_t offset, size_t size) {
    uint64_t skip = (size - offset % size) % size, number;
    if (skip + sizeof number > n) return;
    memcpy(&number, data + skip, sizeof number);
    if (number != (offset + skip) / size)
        die("at byte %lu: message %lu where %lu belongs", (unsigned long)(offset + skip), (unsigned long)number,
            (unsigned long)((offset + skip) / size));
}

static void read_stream(int fd, size_t size, struct result *r) {
    static char data[READ_BYTES];
    uint64_t begin = 0;
    for (;;) {
        ssize_t n = read(fd, data, sizeof data);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die("read");
        if (n == 0) break;
        if (!begin) begin = now_ns();
        check_number(data, (size_t)n, r->received, size);
        r->received += (uint64_t)n;
        r->reads++;
    }
    r->elapsed_ns = now_ns() - begin;
}

static void write_stream(int fd, const struct options *o, struct result *r) {
    char *message = calloc(1, o->size);
    unsigned batch = o->size < 4096 ? 256 : 8;   /* writes between two looks at the clock */
    uint64_t end = now_ns() + (uint64_t)(o->seconds * 1e9), number = 0;
    do {
        for (unsigned i = 0; i < batch; i++) {
            memcpy(message, &number, sizeof number);
            write_all(fd, message, o->size);
            number++;
        }
    } while (now_ns() < end);
    r->written = number * o->size;
    close(fd);
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv, (struct options){.seconds = 1, .size = 8, .count = 1});
    struct result *r = shared(sizeof *r);
    struct gate gate;
    gate_init(&gate);
    if (!start(o.cpu[0])) {
        int listener = listen_on(&o, &r->at);
        gate_arrive(&gate);
        read_stream(accept_one(listener), o.size, r);
        return 0;
    }
    gate_wait(&gate, 1);
    if (!start(o.cpu[1])) {
        write_stream(connect_to(&o, &r->at), &o, r);
        return 0;
    }
    finish(2);
    if (r->written != r->received) {
        fprintf(stderr, "stream: %lu bytes written, %lu read\n", (unsigned long)r->written, (unsigned long)r->received);
        return 1;
    }
    double seconds = (double)r->elapsed_ns / 1e9;
    printf("messages_per_s=%.0f bytes_per_s=%.0f reads=%lu bytes=%lu\n",
           (double)r->received / (double)o.size / seconds, (double)r->received / seconds,
           (unsigned long)r->reads, (unsigned long)r->received);
    return 0;
}
