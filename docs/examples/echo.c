/*
 * An echo server and its client, in two processes, on Landline's own calls.
 *
 * Every call is the one of the sockets API with `landline_` before it. A program that uses them needs no
 * LD_PRELOAD: it is a member of the net because it is linked with the library.
 *
 *   gcc -Wall -Iinclude docs/examples/echo.c -o echo -Ltarget/release -llandline
 *   LD_LIBRARY_PATH=target/release ./echo
 *
 * or, once Landline is installed:  gcc echo.c -o echo $(pkg-config --cflags --libs landline)
 */
#include <landline.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 100000, MESSAGE_BYTES = 64 };

static int check(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

/* Sends all of `n` bytes; a stream may take fewer at a time. */
static int send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = landline_send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0)
            return -1;
        bytes += sent;
        n -= (size_t)sent;
    }
    return 0;
}

static void print_stats(const char *who)
{
    struct landline_stats s;

    check(landline_stats(&s, sizeof s), "landline_stats");
    printf("%s: sent %" PRIu64 " messages (%" PRIu64 " bytes) through the ring and %" PRIu64
           " (%" PRIu64 " bytes) through the kernel; rang %" PRIu64 " doorbells, slept %" PRIu64 " times\n",
           who, s.ring_tx_messages, s.ring_tx_bytes, s.kernel_tx_messages, s.kernel_tx_bytes, s.doorbells, s.sleeps);
}

/* Accepts one connection and sends back what comes, until the other end closes. */
static void serve(int listener)
{
    int fd = check(landline_accept(listener, NULL, NULL), "accept");
    char bytes[4096];
    ssize_t n;

    while ((n = landline_recv(fd, bytes, sizeof bytes, 0)) > 0)
        check(send_all(fd, bytes, (size_t)n), "send");
    check((int)n, "recv");
    print_stats("server");
    landline_close(fd);
}

static void ask(const struct sockaddr_in *to)
{
    int fd = check(landline_socket(AF_INET, SOCK_STREAM, 0), "socket");
    char sent[MESSAGE_BYTES], got[MESSAGE_BYTES];

    check(landline_connect(fd, (const struct sockaddr *)to, sizeof *to), "connect");
    for (int round = 0; round < ROUNDS; round++) {
        memset(sent, round, sizeof sent);
        check(send_all(fd, sent, sizeof sent), "send");
        if (landline_recv(fd, got, sizeof got, MSG_WAITALL) != sizeof got || memcmp(sent, got, sizeof got) != 0) {
            fprintf(stderr, "round %d came back wrong\n", round);
            exit(1);
        }
    }
    print_stats("client");
    landline_close(fd);
}

int main(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int listener = check(landline_socket(AF_INET, SOCK_STREAM, 0), "socket");
    int status;
    pid_t client;

    printf("Landline %s\n", landline_version());
    fflush(stdout);
    check(landline_bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    check(landline_listen(listener, 1), "listen");
    check(landline_getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");

    client = check(fork(), "fork");
    if (client == 0) {
        landline_close(listener);
        ask(&address);
        return 0;
    }
    serve(listener);
    landline_close(listener);
    check(waitpid(client, &status, 0), "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
