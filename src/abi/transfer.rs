//! sendfile(2) and splice(2).

use core::ffi::{c_int, c_uint};
use libc::{off_t, size_t, ssize_t};

use super::decode::is_there;
use super::receive;
use crate::fd::table;
use crate::socket::Endpoint;
use crate::socket::route::ROUTE_CHANGED;
use crate::socket::transfer::{Source, receiver, sender};
use crate::socket::{options, packet};
use crate::sys::clock::Deadline;
use crate::sys::errno::{Ret, check, encode};
use crate::sys::real::real;
use crate::sys::{Errno, call, thread};

/// What splice does for a socket that is not on the ring yet: doorbells may come with the data, so the bytes
/// are looked at first, and taken when the pipe has them.
unsafe fn copy_from(input: c_int, out: c_int, n: size_t, nonblocking: bool) -> ssize_t {
    let mut bytes = [0u8; 64 << 10];
    let (buffer, flags) = (bytes.as_mut_ptr().cast(), if nonblocking { libc::MSG_DONTWAIT } else { 0 });
    // SAFETY: the buffer is ours and holds as much as is asked for.
    unsafe {
        let seen = receive::recv(input, buffer, n.min(bytes.len()), flags | libc::MSG_PEEK);
        if seen <= 0 {
            // An empty message is taken by that; of a stream nothing is.
            return if seen == 0 { receive::recv(input, buffer, 0, libc::MSG_DONTWAIT).min(0) } else { seen };
        }
        let written = (real().write)(out, buffer, seen as size_t);
        if written <= 0 {
            return written;
        }
        // Of a message the rest is gone with it.
        receive::recv(input, buffer, written as size_t, libc::MSG_DONTWAIT | libc::MSG_TRUNC).min(written)
    }
}

/// The file of a sendfile call.
struct File {
    fd: c_int,
    /// Where to read; `None`: at the file's own position.
    at: Option<off_t>,
}

impl Source for File {
    fn read(&mut self, into: *mut u8, n: usize) -> Ret {
        // SAFETY: memory for `n` bytes, says the caller.
        unsafe {
            match &mut self.at {
                Some(at) => {
                    let got = check((real().pread)(self.fd, into.cast(), n, *at))?;
                    *at += got as off_t;
                    Ok(got)
                }
                None => check((real().read)(self.fd, into.cast(), n)),
            }
        }
    }

    fn has_more(&mut self) -> Result<bool, Errno> {
        let mut byte = 0u8;
        // SAFETY: one byte of our own.
        unsafe {
            let at = match self.at {
                Some(at) => at,
                None => check(libc::lseek(self.fd, 0, libc::SEEK_CUR) as isize)? as off_t,
            };
            Ok(check((real().pread)(self.fd, (&raw mut byte).cast(), 1, at))? > 0)
        }
    }
}

/// Whether sendfile(2) reads such a file. What is not plain the kernel is asked about, with a pipe of our own.
fn refuses(input: c_int, has_offset: bool) -> Option<Errno> {
    let (mode, bytes) = match call::mode_and_bytes(input) {
        Ok(both) => both,
        Err(e) => return Some(e),
    };
    match call::file_flags(input) {
        Ok(flags) if flags & libc::O_ACCMODE == libc::O_WRONLY => return Some(Errno::EBADF),
        _ => {}
    }
    match mode & libc::S_IFMT {
        libc::S_IFSOCK | libc::S_IFIFO => Some(if has_offset { Errno::ESPIPE } else { Errno::EINVAL }),
        libc::S_IFREG if bytes > 0 => None,
        libc::S_IFBLK => None,
        // SAFETY: two descriptors of our own, and an offset that only this call moves.
        _ => unsafe {
            let mut pipe = [0; 2];
            check((real().pipe2)(pipe.as_mut_ptr(), libc::O_CLOEXEC) as isize).err().or_else(|| {
                let mut at = libc::lseek(input, 0, libc::SEEK_CUR).max(0);
                let ret = check((real().sendfile)(pipe[1], input, &mut at, 1));
                pipe.into_iter().for_each(call::close);
                // That there is no position to read at is said otherwise where none was given.
                ret.err().map(|e| if e == Errno::ESPIPE && !has_offset { Errno::EINVAL } else { e })
            })
        },
    }
}

/// The pipe of a splice call, which is read once: what it holds is sent, and no more waited for.
struct Pipe {
    fd: c_int,
    is_done: bool,
}

impl Source for Pipe {
    fn read(&mut self, into: *mut u8, n: usize) -> Ret {
        if core::mem::replace(&mut self.is_done, true) {
            return Ok(0);
        }
        // SAFETY: memory for `n` bytes, says the caller.
        check(unsafe { (real().read)(self.fd, into.cast(), n) })
    }

    fn has_more(&mut self) -> Result<bool, Errno> {
        Ok(!self.is_done)
    }
}

/// Waits for `events` of a pipe, with no lock held.
fn await_pipe(pipe: c_int, events: libc::c_short, waits: bool) -> Result<(), Errno> {
    match call::poll_one(pipe, events, if waits { Deadline::NEVER } else { Deadline::NOW })? {
        0 => Err(Errno::EAGAIN),
        _ => Ok(()),
    }
}

/// splice(2) from the ring to a pipe: what the pipe has room for.
fn to_pipe(ep: &Endpoint, pipe: c_int, n: size_t, pipe_waits: bool, nonblocking: bool) -> Ret {
    loop {
        await_pipe(pipe, libc::POLLOUT, pipe_waits)?;
        let mut is_full = false;
        let ret = ep.receive_into(n, nonblocking, &mut |from, len| {
            let ret = call::write_nowait(pipe, from, len);
            is_full = ret == Err(Errno::EAGAIN);
            ret
        });
        if !is_full || !pipe_waits {
            return ret;
        }
    }
}

export! {
    fn sendfile(out: c_int, input: c_int, offset: *mut off_t, n: size_t) -> ssize_t {
        // SAFETY: as the caller says; `piece` is given memory of the ring.
        unsafe {
            let Some(sock) = table::stream(out) else {
                return if offset.is_null() && table::socket(input).is_some() && call::is_pipe(out) {
                    splice(input, core::ptr::null_mut(), out, core::ptr::null_mut(), n, 0)
                } else {
                    (real().sendfile)(out, input, offset, n)
                };
            };
            let ep = match sender(sock) {
                Ok(_) if packet::is_of(sock) => return encode(Err(Errno::EAGAIN)),
                Ok(ep) => ep,
                Err(guard) => {
                    let ret = (real().sendfile)(out, input, offset, n);
                    guard.told(check(ret), n);
                    return ret;
                }
            };
            if !offset.is_null() && !is_there(offset) {
                return encode(Err(Errno::EFAULT));
            }
            if let Some(e) = refuses(input, !offset.is_null()).or(options::refuses_sendfile(sock)) {
                return encode(Err(e));
            }
            let mut file = File { fd: input, at: offset.as_ref().copied() };
            let ret = thread::without_cancellation(|| ep.send_from(n.min(0x7fff_f000), sock.is_nonblocking(0), &mut file));
            if ret == Err(ROUTE_CHANGED) {
                return (real().sendfile)(out, input, offset, n);
            }
            if let (Some(at), Some(offset)) = (file.at, offset.as_mut()) {
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
            let (from, to) = (table::socket(input).is_some(), table::stream(out).is_some());
            const SPLICE_FLAGS: c_uint = 0xf;
            if !(from || to) {
                return direct();
            }
            let (pipe, wrong_end) = if from { (out, libc::O_RDONLY) } else { (input, libc::O_WRONLY) };
            let pipe_flags = call::file_flags(pipe).unwrap_or(wrong_end);
            // The flag says nothing of the socket (splice(2)).
            let pipe_waits = flags & libc::SPLICE_F_NONBLOCK == 0 && pipe_flags & libc::O_NONBLOCK == 0;
            let refused = flags & !SPLICE_FLAGS != 0
                || (from && !off_in.is_null())
                || (to && !off_out.is_null())
                || !call::is_pipe(pipe)
                || pipe_flags & libc::O_ACCMODE == wrong_end
                || n == 0;
            if refused || (from && !off_out.is_null()) || (to && !off_in.is_null()) {
                // Not ours, or for the kernel to refuse.
                return direct();
            }
            if let Some(sock) = table::stream(out) {
                return match sender(sock) {
                    Ok(_) if packet::is_of(sock) => encode(Err(Errno::EAGAIN)),
                    Ok(ep) => {
                        let sent = await_pipe(input, libc::POLLIN, pipe_waits)
                            .and_then(|()| ep.send_from(n, sock.is_nonblocking(0), &mut Pipe { fd: input, is_done: false }));
                        if sent == Err(ROUTE_CHANGED) { direct() } else { encode(sent) }
                    }
                    Err(guard) => {
                        let ret = direct();
                        guard.told(check(ret), n);
                        ret
                    }
                };
            }
            if let Some(sock) = table::socket(input).filter(|&sock| options::has_messages(sock)) {
                return copy_from(input, out, n, sock.is_nonblocking(0));
            }
            if let Some(sock) = table::stream(input) {
                // Of an AF_UNIX socket the flag does say something.
                let nonblocking = sock.is_nonblocking(0) || (options::is_unix(sock) && flags & libc::SPLICE_F_NONBLOCK != 0);
                return match receiver(sock).map(|ep| to_pipe(&ep, out, n, pipe_waits, nonblocking)) {
                    Some(Err(ROUTE_CHANGED)) | None => copy_from(input, out, n, nonblocking),
                    Some(ret) => encode(ret),
                };
            }
            direct()
        }
    }
}
