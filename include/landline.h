/* Landline: the BSD sockets API over shared memory. Generated from src/abi/prefixed*.rs and src/abi/xns.rs. */

#ifndef LANDLINE_H
#define LANDLINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct addrinfo;
struct hostent;
struct if_nameindex;
struct ifaddrs;
struct mmsghdr;

#ifdef __cplusplus
extern "C" {
#endif

/*
 fcntl(2) and ioctl(2): the third argument is a number or a pointer, as the second one says.
 */
int landline_fcntl(int fd, int command, ...);
int landline_ioctl(int fd, unsigned long request, ...);

#ifdef __cplusplus
}
#endif


/*
 The address family of Xerox NS in a private net: datagrams (SOCK_DGRAM), and circuits of bytes (SOCK_STREAM) or of
 packets (SOCK_SEQPACKET). Linux has no number for it; this one is BSD's 6, plus 200.
 */
#define AF_NS 206

/*
 The same.
 */
#define PF_NS 206

/*
 Routing information, echo, error, packet exchange and sequenced packets: what IDP carries. A socket has the last, or 0.
 */
#define NSPROTO_RI 1

#define NSPROTO_ECHO 2

#define NSPROTO_ERROR 3

#define NSPROTO_PE 4

#define NSPROTO_SPP 5

#define NSPROTO_RAW 255

#define NSPROTO_MAX 256

/*
 What the sockets of the calling process have done so far.
 */
struct landline_stats {
  /*
   Bytes sent through rings, and calls that sent them.
   */
  uint64_t ring_tx_bytes;
  uint64_t ring_tx_messages;
  /*
   Bytes received through rings, and calls that received them.
   */
  uint64_t ring_rx_bytes;
  uint64_t ring_rx_messages;
  /*
   Bytes of stream sockets sent through the kernel, and calls that sent them.
   */
  uint64_t kernel_tx_bytes;
  uint64_t kernel_tx_messages;
  /*
   Bytes of stream sockets received through the kernel, and calls that received them.
   */
  uint64_t kernel_rx_bytes;
  uint64_t kernel_rx_messages;
  /*
   Times the other end was woken.
   */
  uint64_t doorbells;
  /*
   Times a thread slept for a ring.
   */
  uint64_t sleeps;
  /*
   Connections that have reached the ring, and datagram sockets that have got a mailbox.
   */
  uint64_t circuits;
  /*
   Datagrams dropped because a mailbox was full.
   */
  uint64_t drops;
};

/*
 The number of a net, in network byte order; 0 is the program's own.
 */
union ns_net {
  uint8_t c_net[4];
  uint16_t s_net[2];
};

/*
 The address of a host's interface, as getifaddrs(3) tells it; 0 is no particular one, or the program's own.
 */
union ns_host {
  uint8_t c_host[6];
  uint16_t s_host[3];
};

/*
 Net, host and port, in network byte order.
 */
struct ns_addr {
  union ns_net x_net;
  union ns_host x_host;
  uint16_t x_port;
};

/*
 An address of AF_NS. Like every address on Linux it has no length in it.
 */
struct sockaddr_ns {
  sa_family_t sns_family;
  struct ns_addr sns_addr;
  char sns_zero[2];
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Writes the counters to `out`, of which the caller knows `size` bytes; a larger one is filled up with
 zeroes. Returns 0, or -1 with errno EFAULT for a null pointer.

 # Safety
 `out` is null or has `size` writable bytes.
 */
int landline_stats(struct landline_stats *out,
                   size_t size);

/*
 The library's version, such as "0.1.0".
 */
const char *landline_version(void);

/*
 socket(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_socket(int domain, int kind, int protocol);

/*
 socketpair(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_socketpair(int domain, int kind, int protocol, int *fds);

/*
 bind(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_bind(int fd, const struct sockaddr *addr, socklen_t len);

/*
 listen(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_listen(int fd, int backlog);

/*
 accept(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_accept(int fd, struct sockaddr *addr, socklen_t *len);

/*
 accept4(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);

/*
 connect(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_connect(int fd, const struct sockaddr *addr, socklen_t len);

/*
 shutdown(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_shutdown(int fd, int how);

/*
 getsockname(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_getsockname(int fd, struct sockaddr *addr, socklen_t *len);

/*
 getpeername(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_getpeername(int fd, struct sockaddr *addr, socklen_t *len);

/*
 getsockopt(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_getsockopt(int fd, int level, int name, void *value, socklen_t *len);

/*
 setsockopt(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_setsockopt(int fd, int level, int name, const void *value, socklen_t len);

/*
 read(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_read(int fd, void *buf, size_t n);

/*
 readv(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_readv(int fd, const struct iovec *iov, int n);

/*
 recv(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_recv(int fd, void *buf, size_t n, int flags);

/*
 recvfrom(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_recvfrom(int fd,
                          void *buf,
                          size_t n,
                          int flags,
                          struct sockaddr *addr,
                          socklen_t *len);

/*
 recvmsg(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_recvmsg(int fd, struct msghdr *msg, int flags);

/*
 recvmmsg(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_recvmmsg(int fd,
                      struct mmsghdr *msgs,
                      unsigned int n,
                      int flags,
                      struct timespec *timeout);

/*
 write(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_write(int fd, const void *buf, size_t n);

/*
 writev(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_writev(int fd, const struct iovec *iov, int n);

/*
 send(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_send(int fd, const void *buf, size_t n, int flags);

/*
 sendto(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_sendto(int fd,
                        const void *buf,
                        size_t n,
                        int flags,
                        const struct sockaddr *addr,
                        socklen_t len);

/*
 sendmsg(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_sendmsg(int fd, const struct msghdr *msg, int flags);

/*
 sendmmsg(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags);

/*
 sendfile(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_sendfile(int out, int input, off_t *offset, size_t n);

/*
 splice(2).

 # Safety
 As for the C library's function of that name.
 */
ssize_t landline_splice(int input,
                        int64_t *off_in,
                        int out,
                        int64_t *off_out,
                        size_t n,
                        unsigned int flags);

/*
 close(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_close(int fd);

/*
 dup(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_dup(int fd);

/*
 dup2(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_dup2(int from, int to);

/*
 dup3(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_dup3(int from, int to, int flags);

/*
 poll(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_poll(struct pollfd *fds, nfds_t n, int timeout_ms);

/*
 ppoll(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_ppoll(struct pollfd *fds,
                   nfds_t n,
                   const struct timespec *timeout,
                   const sigset_t *mask);

/*
 select(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout);

/*
 pselect(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_pselect(int n,
                     fd_set *r,
                     fd_set *w,
                     fd_set *e,
                     const struct timespec *timeout,
                     const sigset_t *mask);

/*
 epoll_create(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_epoll_create(int size);

/*
 epoll_create1(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_epoll_create1(int flags);

/*
 epoll_ctl(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_epoll_ctl(int ep, int op, int fd, struct epoll_event *event);

/*
 epoll_wait(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_epoll_wait(int ep, struct epoll_event *events, int n, int timeout_ms);

/*
 epoll_pwait(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_epoll_pwait(int ep,
                         struct epoll_event *events,
                         int n,
                         int timeout_ms,
                         const sigset_t *mask);

/*
 epoll_pwait2(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_epoll_pwait2(int ep,
                          struct epoll_event *events,
                          int n,
                          const struct timespec *timeout,
                          const sigset_t *mask);

/*
 getaddrinfo(3).

 # Safety
 As for the C library's function of that name.
 */
int landline_getaddrinfo(const char *node,
                         const char *service,
                         const struct addrinfo *hints,
                         struct addrinfo **list);

/*
 getnameinfo(3).

 # Safety
 As for the C library's function of that name.
 */
int landline_getnameinfo(const struct sockaddr *addr,
                         socklen_t len,
                         char *host,
                         socklen_t host_len,
                         char *service,
                         socklen_t service_len,
                         int flags);

/*
 gethostname(2).

 # Safety
 As for the C library's function of that name.
 */
int landline_gethostname(char *name, size_t n);

/*
 gethostbyname(3).

 # Safety
 As for the C library's function of that name.
 */
struct hostent *landline_gethostbyname(const char *name);

/*
 gethostbyname2(3).

 # Safety
 As for the C library's function of that name.
 */
struct hostent *landline_gethostbyname2(const char *name, int family);

/*
 gethostbyname_r(3).

 # Safety
 As for the C library's function of that name.
 */
int landline_gethostbyname_r(const char *name,
                             struct hostent *entry,
                             char *buf,
                             size_t n,
                             struct hostent **result,
                             int *error);

/*
 gethostbyname2_r(3).

 # Safety
 As for the C library's function of that name.
 */
int landline_gethostbyname2_r(const char *name,
                              int family,
                              struct hostent *entry,
                              char *buf,
                              size_t n,
                              struct hostent **result,
                              int *error);

/*
 gethostbyaddr(3).

 # Safety
 As for the C library's function of that name.
 */
struct hostent *landline_gethostbyaddr(const void *addr, socklen_t len, int family);

/*
 gethostbyaddr_r(3).

 # Safety
 As for the C library's function of that name.
 */
int landline_gethostbyaddr_r(const void *addr,
                             socklen_t len,
                             int family,
                             struct hostent *entry,
                             char *buf,
                             size_t n,
                             struct hostent **result,
                             int *error);

/*
 getifaddrs(3).

 # Safety
 As for the C library's function of that name.
 */
int landline_getifaddrs(struct ifaddrs **list);

/*
 if_nametoindex(3).

 # Safety
 As for the C library's function of that name.
 */
unsigned int landline_if_nametoindex(const char *name);

/*
 if_indextoname(3).

 # Safety
 As for the C library's function of that name.
 */
char *landline_if_indextoname(unsigned int index, char *name);

/*
 if_nameindex(3).

 # Safety
 As for the C library's function of that name.
 */
struct if_nameindex *landline_if_nameindex(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LANDLINE_H */
