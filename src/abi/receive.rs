//! read(2), recv(2) and their kin on one message.

use core::ffi::{c_int, c_void};
use libc::{iovec, off_t, size_t, sockaddr, socklen_t, ssize_t};

use super::decode::{is_there, with_buffer, with_vector, with_whole_buffer};
use crate::fd::table;
use crate::socket::recv::receive;
use crate::sys::Errno;
use crate::sys::errno::{check, encode};
use crate::sys::real::real;

/// The flags of preadv2(2) that a socket takes; without an offset (-1) the call is then readv(2).
pub(super) const RWF_OF_SOCKETS: c_int = 0x3f;

unsafe extern "C" {
    fn __chk_fail() -> !;
}

/// What a fortified call does first: a buffer too small for what is asked for ends the program.
fn fortify(n: size_t, buf_len: size_t) {
    if n > buf_len {
        // SAFETY: does not return.
        unsafe { __chk_fail() }
    }
}

export! {
    fn read(fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::stream(fd) {
                None => (real().read)(fd, buf, n),
                // read(2) of nothing does not wait; recv(2) does.
                Some(_) if n == 0 => 0,
                Some(sock) => with_whole_buffer(buf, n, |sink| receive(sock, sink, 0, || check((real().read)(fd, buf, n)))),
            }
        }
    }

    fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::stream(fd) {
                Some(sock) if n >= 0 => with_vector(iov, n as usize, |sink| {
                    if sink.left() == 0 { Ok(0) } else { receive(sock, sink, 0, || check((real().readv)(fd, iov, n))) }
                }),
                _ => (real().readv)(fd, iov, n),
            }
        }
    }

    fn preadv2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::stream(fd) {
                Some(sock) if n >= 0 && offset == -1 && flags & !RWF_OF_SOCKETS == 0 => with_vector(iov, n as usize, |sink| {
                    let nowait = if flags & libc::RWF_NOWAIT != 0 { libc::MSG_DONTWAIT } else { 0 };
                    if sink.left() == 0 { Ok(0) } else { receive(sock, sink, nowait, || check((real().preadv2)(fd, iov, n, offset, flags))) }
                }),
                _ => (real().preadv2)(fd, iov, n, offset, flags),
            }
        }
    }

    fn preadv64v2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t {
        // SAFETY: the same function on 64-bit machines.
        unsafe { preadv2(fd, iov, n, offset, flags) }
    }

    fn recv(fd: c_int, buf: *mut c_void, n: size_t, flags: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::stream(fd) {
                None => (real().recv)(fd, buf, n, flags),
                Some(sock) => with_buffer(buf, n, |sink| {
                    sink.discard(flags & libc::MSG_TRUNC != 0);
                    receive(sock, sink, flags, || check((real().recv)(fd, buf, n, flags)))
                }),
            }
        }
    }

    fn recvfrom(fd: c_int, buf: *mut c_void, n: size_t, flags: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            let Some(sock) = table::stream(fd) else { return (real().recvfrom)(fd, buf, n, flags, addr, len) };
            let mut by_kernel = false;
            let ret = with_buffer(buf, n, |sink| {
                sink.discard(flags & libc::MSG_TRUNC != 0);
                receive(sock, sink, flags, || {
                    by_kernel = true;
                    check((real().recvfrom)(fd, buf, n, flags, addr, len))
                })
            });
            // A connected stream socket tells no address (recvfrom(2)).
            if ret >= 0 && !by_kernel && !addr.is_null() {
                if !is_there(len) {
                    return encode(Err(Errno::EFAULT));
                }
                *len = 0;
            }
            ret
        }
    }

    fn __read_chk(fd: c_int, buf: *mut c_void, n: size_t, buf_len: size_t) -> ssize_t {
        fortify(n, buf_len);
        // SAFETY: as the caller says.
        unsafe { read(fd, buf, n) }
    }

    fn __recv_chk(fd: c_int, buf: *mut c_void, n: size_t, buf_len: size_t, flags: c_int) -> ssize_t {
        fortify(n, buf_len);
        // SAFETY: as the caller says.
        unsafe { recv(fd, buf, n, flags) }
    }

    fn __recvfrom_chk(fd: c_int, buf: *mut c_void, n: size_t, buf_len: size_t, flags: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> ssize_t {
        fortify(n, buf_len);
        // SAFETY: as the caller says.
        unsafe { recvfrom(fd, buf, n, flags, addr, len) }
    }
}
