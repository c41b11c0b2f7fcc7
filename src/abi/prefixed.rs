//! The same calls under the prefix `landline_`, for programs that link the library and include only
//! `landline.h`; and what the library tells of itself.

use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{epoll_event, fd_set, iovec, mmsghdr, msghdr, nfds_t, off_t, pollfd, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec, timeval};

use super::{descriptors, epoll, message, poll, receive, send, sockets, transfer};
use crate::fd::table;
use crate::shm::arena::joined;
use crate::socket::stats;

/// What the sockets of the calling process have done so far.
#[repr(C)]
pub struct landline_stats {
    /// Bytes sent through rings, and calls that sent them.
    pub ring_tx_bytes: u64,
    pub ring_tx_messages: u64,
    /// Bytes received through rings, and calls that received them.
    pub ring_rx_bytes: u64,
    pub ring_rx_messages: u64,
    /// Bytes of stream sockets sent through the kernel, and calls that sent them.
    pub kernel_tx_bytes: u64,
    pub kernel_tx_messages: u64,
    /// Bytes of stream sockets received through the kernel, and calls that received them.
    pub kernel_rx_bytes: u64,
    pub kernel_rx_messages: u64,
    /// Times the other end was woken.
    pub doorbells: u64,
    /// Times a thread slept for a ring.
    pub sleeps: u64,
    /// Connections that have reached the ring, and datagram sockets that have got a mailbox.
    pub circuits: u64,
    /// Datagrams dropped because a mailbox was full.
    pub drops: u64,
}

const _: () = assert!(size_of::<landline_stats>() == size_of::<stats::Stats>());

/// Writes the counters to `out`, of which the caller knows `size` bytes; a larger one is filled up with
/// zeroes. Returns 0, or -1 with errno EFAULT for a null pointer.
///
/// # Safety
/// `out` is null or has `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn landline_stats(out: *mut landline_stats, size: size_t) -> c_int {
    if out.is_null() {
        crate::sys::Errno::EFAULT.set();
        return -1;
    }
    let now = stats::now(joined(), table::sockets().map(|s| s.pcb));
    let n = size.min(size_of_val(&now));
    // SAFETY: the caller's `size` bytes are writable, `now` is `n` or more bytes of integers.
    unsafe {
        out.cast::<u8>().write_bytes(0, size);
        core::ptr::copy_nonoverlapping((&raw const now).cast::<u8>(), out.cast(), n);
    }
    0
}

/// The library's version, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn landline_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// socket(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::socket(domain, kind, protocol) }
}

/// socketpair(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::socketpair(domain, kind, protocol, fds) }
}

/// bind(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::bind(fd, addr, len) }
}

/// listen(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::listen(fd, backlog) }
}

/// accept(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::accept(fd, addr, len) }
}

/// accept4(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_accept4(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::accept4(fd, addr, len, flags) }
}

/// connect(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::connect(fd, addr, len) }
}

/// shutdown(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::shutdown(fd, how) }
}

/// getsockname(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::getsockname(fd, addr, len) }
}

/// getpeername(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::getpeername(fd, addr, len) }
}

/// getsockopt(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::getsockopt(fd, level, name, value, len) }
}

/// setsockopt(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { sockets::setsockopt(fd, level, name, value, len) }
}

/// read(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_read(fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { receive::read(fd, buf, n) }
}

/// readv(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { receive::readv(fd, iov, n) }
}

/// recv(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_recv(fd: c_int, buf: *mut c_void, n: size_t, flags: c_int) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { receive::recv(fd, buf, n, flags) }
}

/// recvfrom(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_recvfrom(
    fd: c_int,
    buf: *mut c_void,
    n: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { receive::recvfrom(fd, buf, n, flags, addr, len) }
}

/// recvmsg(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { message::recvmsg(fd, msg, flags) }
}

/// recvmmsg(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_recvmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int {
    // SAFETY: as the caller says.
    unsafe { message::recvmmsg(fd, msgs, n, flags, timeout) }
}

/// write(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { send::write(fd, buf, n) }
}

/// writev(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { send::writev(fd, iov, n) }
}

/// send(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_send(fd: c_int, buf: *const c_void, n: size_t, flags: c_int) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { send::send(fd, buf, n, flags) }
}

/// sendto(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_sendto(
    fd: c_int,
    buf: *const c_void,
    n: size_t,
    flags: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { send::sendto(fd, buf, n, flags, addr, len) }
}

/// sendmsg(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { message::sendmsg(fd, msg, flags) }
}

/// sendmmsg(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { message::sendmmsg(fd, msgs, n, flags) }
}

/// sendfile(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_sendfile(out: c_int, input: c_int, offset: *mut off_t, n: size_t) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { transfer::sendfile(out, input, offset, n) }
}

/// splice(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_splice(input: c_int, off_in: *mut i64, out: c_int, off_out: *mut i64, n: size_t, flags: c_uint) -> ssize_t {
    // SAFETY: as the caller says.
    unsafe { transfer::splice(input, off_in, out, off_out, n, flags) }
}

/// close(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_close(fd: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { descriptors::close(fd) }
}

/// dup(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_dup(fd: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { descriptors::dup(fd) }
}

/// dup2(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_dup2(from: c_int, to: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { descriptors::dup2(from, to) }
}

/// dup3(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { descriptors::dup3(from, to, flags) }
}

/// fcntl(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_fcntl(fd: c_int, command: c_int, arg: usize) -> c_int {
    // SAFETY: as the caller says.
    unsafe { descriptors::fcntl(fd, command, arg) }
}

/// ioctl(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_ioctl(fd: c_int, request: usize, arg: usize) -> c_int {
    // SAFETY: as the caller says.
    unsafe { descriptors::ioctl(fd, request, arg) }
}

/// poll(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_poll(fds: *mut pollfd, n: nfds_t, timeout_ms: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { poll::poll(fds, n, timeout_ms) }
}

/// ppoll(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { poll::ppoll(fds, n, timeout, mask) }
}

/// select(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_select(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval) -> c_int {
    // SAFETY: as the caller says.
    unsafe { poll::select(n, r, w, e, timeout) }
}

/// pselect(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe { poll::pselect(n, r, w, e, timeout, mask) }
}

/// epoll_create(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_epoll_create(size: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { epoll::epoll_create(size) }
}

/// epoll_create1(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_epoll_create1(flags: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { epoll::epoll_create1(flags) }
}

/// epoll_ctl(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_epoll_ctl(ep: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
    // SAFETY: as the caller says.
    unsafe { epoll::epoll_ctl(ep, op, fd, event) }
}

/// epoll_wait(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_epoll_wait(ep: c_int, events: *mut epoll_event, n: c_int, timeout_ms: c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { epoll::epoll_wait(ep, events, n, timeout_ms) }
}

/// epoll_pwait(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_epoll_pwait(
    ep: c_int,
    events: *mut epoll_event,
    n: c_int,
    timeout_ms: c_int,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe { epoll::epoll_pwait(ep, events, n, timeout_ms, mask) }
}

/// epoll_pwait2(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_epoll_pwait2(
    ep: c_int,
    events: *mut epoll_event,
    n: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe { epoll::epoll_pwait2(ep, events, n, timeout, mask) }
}
