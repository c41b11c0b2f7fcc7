//! The C library's own functions, found once with dlsym(3) behind whatever we export under the same names.
//!
//! Everything in the shared object that wants the kernel goes through this table: a plain
//! `libc::read` there would be our own export.

use core::ffi::{c_char, c_int, c_long, c_short, c_uint, c_void};
use libc::{
    addrinfo, epoll_event, fd_set, hostent, if_nameindex, ifaddrs, iovec, mmsghdr, msghdr, nfds_t, off_t, pid_t, pollfd, rlimit, sigaction, sigset_t,
    size_t, sockaddr, socklen_t, ssize_t, timespec, timeval, utsname,
};
use once_cell::sync::OnceCell;

macro_rules! table {
    ($( fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty; )*) => {
        /// One pointer a function. A function that this C library lacks answers -1 with `ENOSYS`.
        #[derive(Clone, Copy)]
        #[allow(non_snake_case)]
        pub struct Real { $(pub $name: unsafe extern "C-unwind" fn($($ty),*) -> $ret,)* }

        impl Real {
            fn find() -> Real {
                // SAFETY: each pointer is the named C function, whose signature is the one declared here
                // (section 2 or 3 of the manual), or `missing`, which takes no argument and touches nothing;
                // variadic functions take their few integer arguments in the registers a fixed list uses.
                unsafe { Real { $($name: core::mem::transmute::<*const c_void, unsafe extern "C-unwind" fn($($ty),*) -> $ret>(
                    symbol(concat!(stringify!($name), "\0"))),)* } }
            }
        }
    };
}

table! {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int;
    fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    fn accept4(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int;
    fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    fn shutdown(fd: c_int, how: c_int) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    fn closefrom(first: c_int) -> c_int;
    fn getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    fn getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int;
    fn read(fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t;
    fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    fn recv(fd: c_int, buf: *mut c_void, n: size_t, flags: c_int) -> ssize_t;
    fn recvfrom(fd: c_int, buf: *mut c_void, n: size_t, flags: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> ssize_t;
    fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t;
    fn recvmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int;
    fn write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t;
    fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    fn send(fd: c_int, buf: *const c_void, n: size_t, flags: c_int) -> ssize_t;
    fn sendto(fd: c_int, buf: *const c_void, n: size_t, flags: c_int, addr: *const sockaddr, len: socklen_t) -> ssize_t;
    fn sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t;
    fn sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int;
    fn sendfile(out: c_int, input: c_int, offset: *mut off_t, n: size_t) -> ssize_t;
    fn splice(input: c_int, off_in: *mut i64, out: c_int, off_out: *mut i64, n: size_t, flags: c_uint) -> ssize_t;
    fn pread(fd: c_int, buf: *mut c_void, n: size_t, offset: off_t) -> ssize_t;
    fn dup(fd: c_int) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, arg: size_t) -> c_int;
    fn ioctl(fd: c_int, request: size_t, arg: size_t) -> c_int;
    fn poll(fds: *mut pollfd, n: nfds_t, timeout_ms: c_int) -> c_int;
    fn ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    fn select(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval) -> c_int;
    fn pselect(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_create(size: c_int) -> c_int;
    fn epoll_ctl(ep: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int;
    fn epoll_pwait(ep: c_int, events: *mut epoll_event, n: c_int, timeout_ms: c_int, mask: *const sigset_t) -> c_int;
    fn epoll_pwait2(ep: c_int, events: *mut epoll_event, n: c_int, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    fn preadv2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t;
    fn pwritev2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t;
    fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    fn creat(path: *const c_char, mode: c_uint) -> c_int;
    fn creat64(path: *const c_char, mode: c_uint) -> c_int;
    fn pipe(fds: *mut c_int) -> c_int;
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    fn eventfd(value: c_uint, flags: c_int) -> c_int;
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
    fn signalfd(fd: c_int, mask: *const c_void, flags: c_int) -> c_int;
    fn inotify_init() -> c_int;
    fn inotify_init1(flags: c_int) -> c_int;
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    fn pidfd_getfd(pidfd: c_int, fd: c_int, flags: c_uint) -> c_int;
    fn aio_read(block: *mut c_void) -> c_int;
    fn aio_write(block: *mut c_void) -> c_int;
    fn aio_read64(block: *mut c_void) -> c_int;
    fn aio_write64(block: *mut c_void) -> c_int;
    fn lio_listio(mode: c_int, blocks: *const *mut c_void, n: c_int, signal: *mut c_void) -> c_int;
    fn lio_listio64(mode: c_int, blocks: *const *mut c_void, n: c_int, signal: *mut c_void) -> c_int;
    fn posix_spawn(pid: *mut c_int, path: *const c_char, actions: *const c_void, attr: *const c_void, argv: *const *mut c_char, env: *const *mut c_char) -> c_int;
    fn posix_spawnp(pid: *mut c_int, file: *const c_char, actions: *const c_void, attr: *const c_void, argv: *const *mut c_char, env: *const *mut c_char) -> c_int;
    fn execve(path: *const c_char, argv: *const *mut c_char, env: *const *mut c_char) -> c_int;
    fn execvpe(file: *const c_char, argv: *const *mut c_char, env: *const *mut c_char) -> c_int;
    fn execveat(dir: c_int, path: *const c_char, argv: *const *mut c_char, env: *const *mut c_char, flags: c_int) -> c_int;
    fn fexecve(fd: c_int, argv: *const *mut c_char, env: *const *mut c_char) -> c_int;
    fn clone(run: *const c_void, stack: *mut c_void, flags: c_int, arg: *mut c_void, parent_tid: *mut c_void, tls: *mut c_void, child_tid: *mut c_void) -> c_int;
    fn _Fork() -> c_int;
    fn daemon(keep_folder: c_int, keep_streams: c_int) -> c_int;
    fn forkpty(master: *mut c_int, name: *mut c_char, terminal: *const c_void, size: *const c_void) -> c_int;
    fn login_tty(fd: c_int) -> c_int;
    fn popen(command: *const c_char, mode: *const c_char) -> *mut c_void;
    fn system(command: *const c_char) -> c_int;
    fn fork() -> c_int;
    fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void;
    fn fclose(stream: *mut c_void) -> c_int;
    fn freopen(path: *const c_char, mode: *const c_char, stream: *mut c_void) -> *mut c_void;
    fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut c_void) -> *mut c_void;
    fn fileno(stream: *mut c_void) -> c_int;
    fn vdprintf(fd: c_int, format: *const c_char, args: *mut c_void) -> c_int;
    fn sigaction(signal: c_int, new: *const sigaction, old: *mut sigaction) -> c_int;
    fn signal(signal: c_int, handler: size_t) -> size_t;
    fn mlockall(flags: c_int) -> c_int;
    fn prctl(option: c_int, a: size_t, b: size_t, c: size_t, d: size_t) -> c_int;
    fn setrlimit(resource: c_int, limit: *const rlimit) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut rlimit) -> c_int;
    fn prlimit(pid: pid_t, resource: c_int, new: *const rlimit, old: *mut rlimit) -> c_int;
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, list: *mut *mut addrinfo) -> c_int;
    fn getaddrinfo_a(mode: c_int, list: *const *mut c_void, n: c_int, signal: *mut c_void) -> c_int;
    fn getnameinfo(addr: *const sockaddr, len: socklen_t, host: *mut c_char, host_len: socklen_t, service: *mut c_char, service_len: socklen_t, flags: c_int) -> c_int;
    fn gethostbyname(name: *const c_char) -> *mut hostent;
    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent;
    fn gethostbyname_r(name: *const c_char, entry: *mut hostent, buf: *mut c_char, n: size_t, result: *mut *mut hostent, error: *mut c_int) -> c_int;
    fn gethostbyname2_r(name: *const c_char, family: c_int, entry: *mut hostent, buf: *mut c_char, n: size_t, result: *mut *mut hostent, error: *mut c_int) -> c_int;
    fn gethostbyaddr(addr: *const c_void, len: socklen_t, family: c_int) -> *mut hostent;
    fn gethostbyaddr_r(addr: *const c_void, len: socklen_t, family: c_int, entry: *mut hostent, buf: *mut c_char, n: size_t, result: *mut *mut hostent, error: *mut c_int) -> c_int;
    fn gethostname(name: *mut c_char, n: size_t) -> c_int;
    fn uname(name: *mut utsname) -> c_int;
    fn getifaddrs(list: *mut *mut ifaddrs) -> c_int;
    fn if_nametoindex(name: *const c_char) -> c_uint;
    fn if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char;
    fn if_nameindex() -> *mut if_nameindex;
    fn res_query(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, n: c_int) -> c_int;
    fn res_nquery(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, n: c_int) -> c_int;
    fn res_search(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, n: c_int) -> c_int;
    fn res_nsearch(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, n: c_int) -> c_int;
    fn res_querydomain(name: *const c_char, domain: *const c_char, class: c_int, kind: c_int, answer: *mut u8, n: c_int) -> c_int;
    fn res_nquerydomain(state: *mut c_void, name: *const c_char, domain: *const c_char, class: c_int, kind: c_int, answer: *mut u8, n: c_int) -> c_int;
    fn res_send(query: *const u8, query_len: c_int, answer: *mut u8, n: c_int) -> c_int;
    fn res_nsend(state: *mut c_void, query: *const u8, query_len: c_int, answer: *mut u8, n: c_int) -> c_int;
    fn syscall(number: c_long, a: size_t, b: size_t, c: size_t, d: size_t, e: size_t, f: size_t) -> c_long;
}

/// `POLLIN` and its kind, as poll(2) has them.
pub type PollBits = c_short;

extern "C-unwind" fn missing() -> isize {
    super::Errno::ENOSYS.set();
    -1
}

/// The next definition of `name` (which ends with a NUL) behind this library.
fn symbol(name: &'static str) -> *const c_void {
    // SAFETY: `name` is NUL-terminated; RTLD_NEXT looks behind the object this code is in.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) };
    if found.is_null() { missing as *const c_void } else { found }
}

static REAL: OnceCell<Real> = OnceCell::new();

/// The table, filled at the first call.
#[inline]
pub fn real() -> &'static Real {
    REAL.get_or_init(Real::find)
}
