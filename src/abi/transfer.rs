//! sendfile(2) and splice(2).

use core::ffi::{c_int, c_uint};
use libc::{off_t, size_t, ssize_t};

use super::receive;
use crate::fd::table;
use crate::socket::transfer::{is_nonblocking, receiver, sender};
use crate::sys::clock::Deadline;
use crate::sys::errno::{check, encode};
use crate::sys::real::real;
use crate::sys::{Errno, call};

/// What splice does for a socket that is not on the ring yet: doorbells may come with the data, so the bytes
/// are looked at first, and taken when the pipe has them.
unsafe fn copy_from(input: c_int, out: c_int, n: size_t, nonblocking: bool) -> ssize_t {
    let mut bytes = [0u8; 16 << 10];
    let (buffer, flags) = (bytes.as_mut_ptr().cast(), if nonblocking { libc::MSG_DONTWAIT } else { 0 });
    // SAFETY: the buffer is ours and holds as much as is asked for.
    unsafe {
        let seen = receive::recv(input, buffer, n.min(bytes.len()), flags | libc::MSG_PEEK);
        if seen <= 0 {
            return seen;
        }
        let written = (real().write)(out, buffer, seen as size_t);
        if written <= 0 {
            return written;
        }
        receive::recv(input, buffer, written as size_t, libc::MSG_DONTWAIT | libc::MSG_TRUNC)
    }
}

export! {
    fn sendfile(out: c_int, input: c_int, offset: *mut off_t, n: size_t) -> ssize_t {
        // SAFETY: as the caller says; `piece` is given memory of the ring.
        unsafe {
            let Some(sock) = table::stream(out) else { return (real().sendfile)(out, input, offset, n) };
            let ep = match sender(sock) {
                Ok(ep) => ep,
                Err(_guard) => return (real().sendfile)(out, input, offset, n),
            };
            let mut at = offset.as_ref().copied();
            let ret = ep.send_from(n.min(0x7fff_f000), sock.is_nonblocking(0), &mut |to, len| match &mut at {
                Some(at) => {
                    let got = check((real().pread)(input, to.cast(), len, *at))?;
                    *at += got as off_t;
                    Ok(got)
                }
                None => check((real().read)(input, to.cast(), len)),
            });
            if let (Some(at), Some(offset)) = (at, offset.as_mut()) {
                *offset = at;
            }
            encode(ret)
        }
    }

    fn sendfile64(out: c_int, input: c_int, offset: *mut off_t, n: size_t) -> ssize_t {
        // SAFETY: the same function on 64-bit machines.
        unsafe { sendfile(out, input, offset, n) }
    }

    fn splice(input: c_int, off_in: *mut i64, out: c_int, off_out: *mut i64, n: size_t, flags: c_uint) -> ssize_t {
        // SAFETY: as the caller says; the pieces are memory of the ring.
        unsafe {
            let direct = || (real().splice)(input, off_in, out, off_out, n, flags);
            let (from, to) = (table::stream(input).is_some(), table::stream(out).is_some());
            let refused = (from && !off_in.is_null()) || (to && !off_out.is_null()) || !call::is_pipe(if from { out } else { input }) || n == 0;
            if !(from || to) || refused || (from && !off_out.is_null()) || (to && !off_in.is_null()) {
                // Not ours, or for the kernel to refuse.
                return direct();
            }
            if let Some(sock) = table::stream(out) {
                return match sender(sock) {
                    Ok(ep) => {
                        if is_nonblocking(sock, flags) && call::poll_one(input, libc::POLLIN, Deadline::NOW) == Ok(0) {
                            return encode(Err(Errno::EAGAIN));
                        }
                        let mut more = true;
                        encode(ep.send_from(n, is_nonblocking(sock, flags), &mut |to, len| {
                            // A pipe is read once: what it holds is sent, and no more waited for.
                            if !core::mem::replace(&mut more, false) {
                                return Ok(0);
                            }
                            check((real().read)(input, to.cast(), len))
                        }))
                    }
                    Err(_guard) => direct(),
                };
            }
            if let Some(sock) = table::stream(input) {
                let nonblocking = is_nonblocking(sock, flags);
                return match receiver(sock) {
                    Some(ep) => encode(ep.receive_into(n, nonblocking, &mut |from, len| check((real().write)(out, from.cast(), len)))),
                    None => copy_from(input, out, n, nonblocking),
                };
            }
            direct()
        }
    }
}
