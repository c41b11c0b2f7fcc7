// echo PORT: a blocking echo server of two threads, and with a second argument a client that ends it.
// Everything that it allocates it frees, so that a checker of memory finds nothing.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CONNECTIONS = 4, ROUNDS = 40, LARGE = 300000 };

static void must(int right, const char *what) {
    if (!right) {
        perror(what);
        exit(1);
    }
}

static void *serve(void *argument) {
    int fd = *(int *)argument;
    char buffer[20000];
    ssize_t n;
    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
        for (ssize_t done = 0, m; done < n; done += m)
            must((m = send(fd, buffer + done, n - done, MSG_NOSIGNAL)) > 0, "send");
    must(n == 0, "recv");
    close(fd);
    free(argument);
    return NULL;
}

static void *push(void *argument) {
    int fd = *(int *)argument;
    char *data = malloc(LARGE);
    for (int i = 0; i < LARGE; i++)
        data[i] = i * 31 % 253;
    struct iovec halves[2] = {{data, LARGE / 2}, {data + LARGE / 2, LARGE / 2}};
    ssize_t n = writev(fd, halves, 2);
    must(n > 0, "writev");
    while (n < LARGE) {
        ssize_t m = write(fd, data + n, LARGE - n);
        must(m > 0, "write");
        n += m;
    }
    free(data);
    return NULL;
}

static void talk(int fd) {
    char out[3000], in[3000];
    for (int round = 0; round < ROUNDS; round++) {
        int size = 1 + round * 70;
        memset(out, 'a' + round % 26, size);
        must(send(fd, out, size, 0) == size, "send");
        struct pollfd one = {fd, POLLIN, 0};
        must(poll(&one, 1, 20000) == 1, "poll");
        must(recv(fd, in, size, MSG_WAITALL) == size && !memcmp(in, out, size), "recv");
    }
    pthread_t sender;
    pthread_create(&sender, NULL, push, &fd);
    for (int at = 0; at < LARGE;) {
        ssize_t n = read(fd, in, sizeof in);
        must(n > 0, "read");
        for (int i = 0; i < n; i++, at++)
            must((unsigned char)in[i] == (unsigned char)(at * 31 % 253), "other bytes came back");
    }
    pthread_join(sender, NULL);
    shutdown(fd, SHUT_WR);
    must(read(fd, in, 1) == 0, "the end");
    close(fd);
}

int main(int argc, char **argv) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc > 2) {
        for (int i = 0; i < CONNECTIONS; i++) {
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            must(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
            talk(fd);
        }
        puts("all came back");
        return 0;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(listener, (struct sockaddr *)&to, sizeof to) == 0 && listen(listener, 10) == 0, "listen");
    for (int i = 0; i < CONNECTIONS; i++) {
        int *fd = malloc(sizeof *fd);
        must((*fd = accept(listener, NULL, NULL)) >= 0, "accept");
        pthread_t thread;
        pthread_create(&thread, NULL, serve, fd);
        pthread_join(thread, NULL);
    }
    close(listener);
    return 0;
}
