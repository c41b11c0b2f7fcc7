//! write(2), send(2) and their kin on one message.

use core::ffi::{c_int, c_void};
use libc::{iovec, off_t, size_t, sockaddr, socklen_t, ssize_t};

use super::decode::{readable_name, with_buffer, with_vector, with_whole_buffer};
use super::receive::RWF_OF_SOCKETS;
use super::{datagram, private};
use crate::fd::table::{self, Entry};
use crate::socket::datagram::send as send_datagram;
use crate::socket::{Sock, options, packet, route, send::send as send_stream};
use crate::sys::Errno;
use crate::sys::errno::{Ret, check};
use crate::sys::real::real;
use crate::transport::iov::Iov;

/// Flags of a call with nothing to send, which the kernel only makes to judge the other arguments.
pub(super) const FOR_JUDGING: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// What the kernel says about the arguments of such a call; what it says about the anchor is of no interest.
pub(super) fn judged(ret: Ret) -> Result<(), Errno> {
    const OF_ARGUMENTS: [c_int; 7] = [libc::EFAULT, libc::EINVAL, libc::EISCONN, libc::EMSGSIZE, libc::ENOBUFS, libc::EOPNOTSUPP, libc::EPERM];
    ret.map(|_| ()).or_else(|e| if OF_ARGUMENTS.contains(&e.0) { Err(e) } else { Ok(()) })
}

/// writev(2) of nothing sends no message; write(2) and sendmsg(2) of nothing send an empty one.
fn is_nothing(sock: Sock, source: &Iov) -> bool {
    source.left() == 0 && options::has_messages(sock)
}

export! {
    fn write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::lookup(fd) {
                Entry::Plain | Entry::Epoll(_) => (real().write)(fd, buf, n),
                Entry::Datagram(sock) => with_whole_buffer(buf.cast_mut(), n, |source| send_datagram(sock, source, 0, None, || check((real().write)(fd, buf, n)))),
                Entry::Stream(sock) => with_whole_buffer(buf.cast_mut(), n, |source| send_stream(sock, source, 0, || check((real().write)(fd, buf, n)))),
            }
        }
    }

    fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::lookup(fd) {
                Entry::Datagram(sock) if n >= 0 => with_vector(iov, n as usize, |source| {
                    if is_nothing(sock, source) { Ok(0) } else { send_datagram(sock, source, 0, None, || check((real().writev)(fd, iov, n))) }
                }),
                Entry::Stream(sock) if n >= 0 => with_vector(iov, n as usize, |source| {
                    if is_nothing(sock, source) { Ok(0) } else { send_stream(sock, source, 0, || check((real().writev)(fd, iov, n))) }
                }),
                _ => (real().writev)(fd, iov, n),
            }
        }
    }

    fn pwritev2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::lookup(fd) {
                Entry::Datagram(_) if offset == -1 && flags & !RWF_OF_SOCKETS == 0 => writev(fd, iov, n),
                Entry::Stream(sock) if n >= 0 && offset == -1 && flags & !RWF_OF_SOCKETS == 0 => with_vector(iov, n as usize, |source| {
                    let nowait = if flags & libc::RWF_NOWAIT != 0 { libc::MSG_DONTWAIT } else { 0 };
                    if is_nothing(sock, source) {
                        return Ok(0);
                    }
                    send_stream(sock, source, nowait, || check((real().pwritev2)(fd, iov, n, offset, flags)))
                }),
                _ => (real().pwritev2)(fd, iov, n, offset, flags),
            }
        }
    }

    fn pwritev64v2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t {
        // SAFETY: the same function on 64-bit machines.
        unsafe { pwritev2(fd, iov, n, offset, flags) }
    }

    fn send(fd: c_int, buf: *const c_void, n: size_t, flags: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::lookup(fd) {
                Entry::Plain | Entry::Epoll(_) => (real().send)(fd, buf, n, flags),
                Entry::Datagram(sock) => with_buffer(buf.cast_mut(), n, |source| send_datagram(sock, source, flags, None, || check((real().send)(fd, buf, n, flags)))),
                Entry::Stream(_) if flags & libc::MSG_FASTOPEN != 0 => sendto(fd, buf, n, flags, core::ptr::null(), 0),
                Entry::Stream(sock) => with_buffer(buf.cast_mut(), n, |source| send_stream(sock, source, flags, || check((real().send)(fd, buf, n, flags)))),
            }
        }
    }

    fn sendto(fd: c_int, buf: *const c_void, n: size_t, flags: c_int, addr: *const sockaddr, len: socklen_t) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            let sock = match table::lookup(fd) {
                Entry::Stream(sock) => sock,
                Entry::Datagram(sock) => {
                    let kernel = || check((real().sendto)(fd, buf, n, flags, addr, len));
                    return with_buffer(buf.cast_mut(), n, |source| datagram::sendto(sock, source, flags, addr, len, kernel));
                }
                Entry::Plain | Entry::Epoll(_) => return (real().sendto)(fd, buf, n, flags, addr, len),
            };
            let fast_open = flags & libc::MSG_FASTOPEN;
            if sock.pcb.is_private() {
                return with_buffer(buf.cast_mut(), n, |source| private::sendto(sock, source, flags, addr, len));
            }
            if fast_open != 0 && !options::is_unix(sock) {
                route::pin(sock);
            }
            with_buffer(buf.cast_mut(), n, |source| {
                if packet::is_of(sock) {
                    readable_name(addr, len)?;
                } else if (!addr.is_null() || fast_open != 0) && (options::sends_by_ring(sock) || options::is_unix(sock)) {
                    judged(check((real().sendto)(fd, core::ptr::null(), 0, FOR_JUDGING | fast_open, addr, len)))?;
                }
                send_stream(sock, source, flags, || check((real().sendto)(fd, buf, n, flags, addr, len)))
            })
        }
    }
}
