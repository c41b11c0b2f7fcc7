/* What the measuring programs share: two processes, a listening address, a starting line.
 *
 * Each program forks its server and its client, so that each end makes its own sockets, as two
 * programs would. Addresses, results and "ready" pass through a shared anonymous page and pipes,
 * never through a socket: the sockets under measurement are the only ones.
 */
#ifndef BENCH_H
#define BENCH_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct address {
    struct sockaddr_storage storage;
    socklen_t length;
};

struct options {
    int family;          /* AF_INET or AF_UNIX */
    int datagrams;       /* UDP, or AF_UNIX datagrams, in place of a connection */
    int type;            /* of a connection: SOCK_STREAM or SOCK_SEQPACKET */
    int cpu[2];          /* processor of server and client; -1: wherever */
    double seconds;      /* how long to measure */
    size_t size;         /* bytes of a message */
    int count;           /* pairs or connections */
};

__attribute__((noreturn, format(printf, 1, 2), unused))
static void die(const char *format, ...) {
    int error = errno;
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s[%d]: ", program_invocation_short_name, (int)getpid());
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, " (errno %d: %s)\n", error, strerror(error));
    exit(1);
}

__attribute__((unused))
static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((unused))
static struct options parse(int argc, char **argv, struct options o) {
    const char *usage = "tcp|unix|unixseq|udp|unixgram [-p SERVER,CLIENT] [-t SECONDS] [-s BYTES] [-n COUNT]";
    int option;
    if (argc < 2) goto wrong;
    o.type = SOCK_STREAM;
    if (!strcmp(argv[1], "tcp")) o.family = AF_INET;
    else if (!strcmp(argv[1], "unix")) o.family = AF_UNIX;
    else if (!strcmp(argv[1], "unixseq")) o.family = AF_UNIX, o.type = SOCK_SEQPACKET;
    else if (!strcmp(argv[1], "udp")) o.family = AF_INET, o.datagrams = 1;
    else if (!strcmp(argv[1], "unixgram")) o.family = AF_UNIX, o.datagrams = 1;
    else goto wrong;
    optind = 2;
    o.cpu[0] = o.cpu[1] = -1;
    while ((option = getopt(argc, argv, "p:t:s:n:")) != -1) {
        switch (option) {
        case 'p': if (sscanf(optarg, "%d,%d", &o.cpu[0], &o.cpu[1]) != 2) goto wrong; break;
        case 't': o.seconds = atof(optarg); break;
        case 's': o.size = strtoul(optarg, NULL, 0); break;
        case 'n': o.count = atoi(optarg); break;
        default: goto wrong;
        }
    }
    if (optind != argc || o.seconds <= 0 || o.size < 8 || o.count < 1) goto wrong;
    return o;
wrong:
    fprintf(stderr, "usage: %s %s\n", program_invocation_short_name, usage);
    exit(2);
}

__attribute__((unused))
static void *shared(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    return p;
}

/* Ends the program with the reason why a child failed (the other children end with it). */
__attribute__((unused))
static void check_child(pid_t pid, int status) {
    if (pid > 0 && WIFSIGNALED(status)) {
        fprintf(stderr, "%s: process %d died of signal %d (%s)\n", program_invocation_short_name,
                (int)pid, WTERMSIG(status), strsignal(WTERMSIG(status)));
        exit(3);
    }
    if (pid > 0 && WEXITSTATUS(status)) exit(WEXITSTATUS(status));
}

/* A gate: each child arrives, the parent waits for them, then lets them pass. */
struct gate { int arrived[2], go[2]; };

__attribute__((unused))
static void gate_init(struct gate *g) {
    if (pipe(g->arrived) || pipe(g->go)) die("pipe");
}
__attribute__((unused))
static void gate_arrive(struct gate *g) {
    if (write(g->arrived[1], "", 1) != 1) die("gate");
}
__attribute__((unused))
static void gate_pass(struct gate *g) {
    char c;
    if (read(g->go[0], &c, 1) != 1) die("gate");
}
__attribute__((unused))
static void gate_wait(struct gate *g, int count) {
    struct pollfd p = {.fd = g->arrived[0], .events = POLLIN};
    while (count > 0) {
        char c;
        int status;
        if (poll(&p, 1, 200) == 1) {
            if (read(g->arrived[0], &c, 1) != 1) die("gate");
            count--;
        } else {
            check_child(waitpid(-1, &status, WNOHANG), status);
        }
    }
}
__attribute__((unused))
static void gate_open(struct gate *g, int count) {
    while (count-- > 0)
        if (write(g->go[1], "", 1) != 1) die("gate");
}

/* Forks a process that ends when its parent does, on the given processor. Returns 0 in the child. */
__attribute__((unused))
static pid_t start(int cpu) {
    pid_t parent = getpid(), pid;
    fflush(NULL);
    if ((pid = fork()) < 0) die("fork");
    if (pid) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) exit(1);
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set)) die("pin to processor %d", cpu);
    }
    return 0;
}

/* Waits for `count` children; if one fails, so does the program. */
__attribute__((unused))
static void finish(int count) {
    while (count-- > 0) {
        int status;
        pid_t pid = wait(&status);
        if (pid < 0) die("wait");
        check_child(pid, status);
    }
}

/* A socket bound to a free address of the family, and which one. */
__attribute__((unused))
static int bind_to_free(int family, int type, struct address *at) {
    int fd = socket(family, type, 0);
    if (fd < 0) die("socket");
    memset(at, 0, sizeof *at);
    if (family == AF_UNIX) {                     /* the abstract name space: nothing to clean up */
        struct sockaddr_un *un = (void *)&at->storage;
        un->sun_family = AF_UNIX;
        int n = snprintf(un->sun_path + 1, sizeof un->sun_path - 1, "bench-%d", (int)getpid());
        at->length = offsetof(struct sockaddr_un, sun_path) + 1 + n;
    } else {
        struct sockaddr_in *in = (void *)&at->storage;
        in->sin_family = AF_INET;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        at->length = sizeof *in;
    }
    if (bind(fd, (void *)&at->storage, at->length)) die("bind");
    if (family == AF_INET) {
        at->length = sizeof at->storage;
        if (getsockname(fd, (void *)&at->storage, &at->length)) die("getsockname");
    }
    return fd;
}

/* The largest receive buffer that Linux allows to everybody; returns the bytes that it counts for it. */
__attribute__((unused))
static uint64_t ordinary_buffer(int fd) {
    int bytes = 212992;
    socklen_t length = sizeof bytes;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes)) die("SO_RCVBUF");
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length)) die("SO_RCVBUF");
    return (uint64_t)bytes;
}

/* Listens on a free address of the family and says which. */
__attribute__((unused))
static int listen_on(const struct options *o, struct address *at) {
    int fd = bind_to_free(o->family, o->type, at);
    if (listen(fd, 4096)) die("listen");
    return fd;
}

__attribute__((unused))
static void no_delay(int family, int fd) {
    int one = 1;
    if (family == AF_INET && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) die("TCP_NODELAY");
}

__attribute__((unused))
static int connect_to(const struct options *o, const struct address *at) {
    int fd = socket(o->family, o->type, 0);
    if (fd < 0) die("socket");
    if (connect(fd, (const void *)&at->storage, at->length)) die("connect");
    return fd;
}

/* A datagram socket connected to the address, at an address of its own where it can be answered. */
__attribute__((unused))
static int datagrams_to(int family, const struct address *at) {
    struct address mine;
    int fd = family == AF_UNIX ? bind_to_free(family, SOCK_DGRAM, &mine) : socket(family, SOCK_DGRAM, 0);
    if (fd < 0) die("socket");
    if (connect(fd, (const void *)&at->storage, at->length)) die("connect");
    return fd;
}

__attribute__((unused))
static void send_datagram(int fd, const void *data, size_t size) {
    ssize_t n;
    while ((n = send(fd, data, size, 0)) < 0 && errno == EINTR) {}
    if (n != (ssize_t)size) die("send returned %zd of %zu", n, size);
}

__attribute__((unused))
static void answer_datagram(int fd, const void *data, size_t size, const struct address *to) {
    ssize_t n;
    while ((n = sendto(fd, data, size, 0, (const void *)&to->storage, to->length)) < 0 && errno == EINTR) {}
    if (n != (ssize_t)size) die("sendto returned %zd of %zu", n, size);
}

/* Receives a datagram, which must have this size; `from` may be NULL. */
__attribute__((unused))
static void receive_datagram(int fd, void *data, size_t size, struct address *from) {
    ssize_t n;
    if (from) from->length = sizeof from->storage;
    do n = from ? recvfrom(fd, data, size, MSG_TRUNC, (void *)&from->storage, &from->length)
                : recv(fd, data, size, MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)size) die("a datagram of %zd bytes where %zu were sent", n, size);
}

__attribute__((unused))
static int accept_one(int listener) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) die("accept");
    return fd;
}

__attribute__((unused))
static void write_all(int fd, const void *data, size_t size) {
    for (const char *p = data; size;) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) die("write returned %zd of %zu", n, size);
        p += n;
        size -= (size_t)n;
    }
}

/* Reads exactly `size` bytes; 0 at a clean end of the stream, else 1. */
__attribute__((unused))
static int read_all(int fd, void *data, size_t size) {
    size_t have = 0;
    while (have < size) {
        ssize_t n = read(fd, (char *)data + have, size - have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die("read");
        if (n == 0) {
            if (have) die("end of stream after %zu of %zu bytes", have, size);
            return 0;
        }
        have += (size_t)n;
    }
    return 1;
}

__attribute__((unused))
static void allow_descriptors(int count) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) die("getrlimit");
    if (limit.rlim_cur < (rlim_t)count) {
        limit.rlim_cur = limit.rlim_max < (rlim_t)count ? limit.rlim_max : (rlim_t)count;
        if (setrlimit(RLIMIT_NOFILE, &limit)) die("setrlimit");
    }
}
#endif
