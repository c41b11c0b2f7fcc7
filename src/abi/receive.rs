//! read(2), recv(2) and their kin on one message.

use core::ffi::{c_int, c_void};
use libc::{iovec, off_t, size_t, sockaddr, socklen_t, ssize_t};

use super::datagram;
use super::decode::{is_there, with_buffer, with_vector, with_whole_buffer};
use crate::fd::table::{self, Entry};
use crate::socket::recv::receive_bytes;
use crate::socket::{Sock, options};
use crate::sys::Errno;
use crate::sys::errno::{Ret, check, encode, preserved};
use crate::sys::real::real;
use crate::sys::unix_name::UnixName;
use crate::transport::iov::Iov;

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

/// readv(2) with flags.
unsafe fn receive_message(fd: c_int, iov: *const iovec, n: c_int, flags: c_int) -> ssize_t {
    // SAFETY: an all-zero msghdr is valid; the vector is the caller's.
    unsafe {
        let mut msg: libc::msghdr = core::mem::zeroed();
        msg.msg_iov = iov.cast_mut();
        msg.msg_iovlen = n as usize;
        (real().recvmsg)(fd, &mut msg, flags)
    }
}

/// As `receive`, for a call whose vector says nothing of flags: where some are to be added the message is received.
fn receive_vector(sock: Sock, sink: &mut Iov, flags: c_int, call: impl Fn() -> Ret) -> Ret {
    let again = sink.fork();
    receive_bytes(sock, sink, flags, |more| if more == 0 { call() } else { again.receive_kernel(sock.fd, usize::MAX, flags | more) })
}

/// Who sent a byte of an AF_UNIX stream: what the other end is bound to, if anything. Returns the name's length.
pub(super) unsafe fn peer_name(fd: c_int, name: *mut c_void, room: socklen_t) -> Result<socklen_t, Errno> {
    let Ok(known) = preserved(|| UnixName::peer(fd)) else { return Ok(0) };
    // SAFETY: as the caller says.
    unsafe { datagram::put_name(&known, name, room) }
}

export! {
    fn read(fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::lookup(fd) {
                // read(2) of nothing does not wait; recv(2) does.
                Entry::Stream(_) | Entry::Datagram(_) if n == 0 => 0,
                Entry::Datagram(sock) => with_whole_buffer(buf, n, |sink| datagram::recv(sock, sink, 0, |more| check(if more == 0 { (real().read)(fd, buf, n) } else { (real().recv)(fd, buf, n, more) }))),
                Entry::Plain | Entry::Epoll(_) => (real().read)(fd, buf, n),
                Entry::Stream(sock) => with_whole_buffer(buf, n, |sink| receive_bytes(sock, sink, 0, |more| check(if more == 0 { (real().read)(fd, buf, n) } else { (real().recv)(fd, buf, n, more) }))),
            }
        }
    }

    fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::lookup(fd) {
                Entry::Datagram(sock) if n >= 0 => with_vector(iov, n as usize, |sink| {
                    if sink.left() == 0 { Ok(0) } else { datagram::recv(sock, sink, 0, |more| check(receive_message(fd, iov, n, more))) }
                }),
                Entry::Stream(sock) if n >= 0 => with_vector(iov, n as usize, |sink| {
                    if sink.left() == 0 { Ok(0) } else { receive_vector(sock, sink, 0, || check((real().readv)(fd, iov, n))) }
                }),
                _ => (real().readv)(fd, iov, n),
            }
        }
    }

    fn preadv2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            match table::lookup(fd) {
                Entry::Datagram(_) if offset == -1 && flags & !RWF_OF_SOCKETS == 0 && flags & libc::RWF_NOWAIT == 0 => readv(fd, iov, n),
                Entry::Datagram(sock) if n >= 0 && offset == -1 && flags & !RWF_OF_SOCKETS == 0 => with_vector(iov, n as usize, |sink| {
                    datagram::recv(sock, sink, libc::MSG_DONTWAIT, |more| check(receive_message(fd, iov, n, more | libc::MSG_DONTWAIT)))
                }),
                Entry::Stream(sock) if n >= 0 && offset == -1 && flags & !RWF_OF_SOCKETS == 0 => with_vector(iov, n as usize, |sink| {
                    let nowait = if flags & libc::RWF_NOWAIT != 0 { libc::MSG_DONTWAIT } else { 0 };
                    if sink.left() == 0 { Ok(0) } else { receive_vector(sock, sink, nowait, || check((real().preadv2)(fd, iov, n, offset, flags))) }
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
            match table::lookup(fd) {
                Entry::Plain | Entry::Epoll(_) => (real().recv)(fd, buf, n, flags),
                Entry::Datagram(sock) => with_buffer(buf, n, |sink| datagram::recv(sock, sink, flags, |more| check((real().recv)(fd, buf, n, flags | more)))),
                Entry::Stream(sock) => with_buffer(buf, n, |sink| {
                    sink.discard(flags & libc::MSG_TRUNC != 0 && !options::is_unix(sock));
                    receive_bytes(sock, sink, flags, |more| check((real().recv)(fd, buf, n, flags | more)))
                }),
            }
        }
    }

    fn recvfrom(fd: c_int, buf: *mut c_void, n: size_t, flags: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            let sock = match table::lookup(fd) {
                Entry::Stream(sock) => sock,
                Entry::Datagram(sock) => return with_buffer(buf, n, |sink| datagram::recvfrom(sock, sink, (buf, n), flags, addr, len)),
                Entry::Plain | Entry::Epoll(_) => return (real().recvfrom)(fd, buf, n, flags, addr, len),
            };
            let mut by_kernel = false;
            let ret = with_buffer(buf, n, |sink| {
                sink.discard(flags & libc::MSG_TRUNC != 0 && !options::is_unix(sock));
                receive_bytes(sock, sink, flags, |more| {
                    let ret = check((real().recvfrom)(fd, buf, n, flags | more, addr, len));
                    by_kernel = ret.is_ok();
                    ret
                })
            });
            // A connected stream socket tells no address (recvfrom(2)).
            if ret >= 0 && !by_kernel && !addr.is_null() {
                if !is_there(len) {
                    return encode(Err(Errno::EFAULT));
                }
                *len = match if options::is_unix(sock) && ret > 0 { peer_name(fd, addr.cast(), *len) } else { Ok(0) } {
                    Ok(len) => len,
                    Err(e) => return encode(Err(e)),
                };
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
