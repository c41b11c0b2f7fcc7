//! Moving bytes between a socket and another descriptor: sendfile(2), splice(2). The kernel reads and
//! writes the ring's memory itself, so that each byte is copied once.

use core::sync::atomic::Ordering;

use super::handle::{Endpoint, Sock};
use super::route::{self, RxRoute, TxRoute};
use super::wait;
use crate::sys::clock::Deadline;
use crate::sys::errno::Ret;
use crate::sys::{Errno, thread};
use crate::transport::stream;

/// Where the bytes come from, or go to: called with a piece of the ring.
pub type Piece<'a> = &'a mut dyn FnMut(*mut u8, usize) -> Ret;

/// The sending end if the socket sends by ring; else the guard under which the kernel's call is to be made.
pub fn sender(sock: Sock) -> Result<Endpoint, route::SendInKernel> {
    match route::tx(sock) {
        TxRoute::Ring(ep) => Ok(ep),
        TxRoute::Kernel(guard) => Err(guard),
    }
}

/// The receiving end if the socket receives by ring and the kernel has nothing left for it.
pub fn receiver(sock: Sock) -> Option<Endpoint> {
    match route::rx(sock) {
        RxRoute::Ring(ep) if ep.is_past_kernel() => Some(ep),
        _ => None,
    }
}

impl Endpoint {
    /// Sends up to `most` bytes that `read` puts into the ring; ends early where `read` has no more.
    pub fn send_from(&self, most: usize, nonblocking: bool, read: Piece) -> Ret {
        let mut sent = 0;
        let deadline = Deadline::of_option(self.sock.pcb.sndtimeo_ns.load(Ordering::Relaxed));
        while sent < most {
            match self.before_send() {
                None => {}
                Some(Ok(())) => return Ok(most),
                Some(Err(e)) => {
                    if e == Errno::EPIPE && sent == 0 {
                        thread::raise(libc::SIGPIPE);
                    }
                    return if sent > 0 { Ok(sent) } else { Err(e) };
                }
            }
            let filled = stream::fill(self.tx, self.sock.arena, self.sock.me(), most - sent, || self.is_current(), &mut *read);
            match filled.map_err(|_| self.damaged())? {
                Some(Ok(0)) => return Ok(sent),
                Some(Ok(n)) => {
                    sent += n;
                    self.wake_reader();
                }
                Some(Err(e)) => return if sent > 0 { Ok(sent) } else { Err(e) },
                None if !self.is_current() => return Err(Errno::EBADF),
                None if self.make_room(most - sent) => {}
                None if nonblocking => {
                    self.sock.pcb.set(crate::pcb::block::flag::NO_SPACE);
                    if wait::room(self) == 0 {
                        return if sent > 0 { Ok(sent) } else { Err(Errno::EAGAIN) };
                    }
                }
                None => {
                    if let Err(e) = self.wait_writable(self.wake_point(), deadline) {
                        return if sent > 0 { Ok(sent) } else { Err(e) };
                    }
                }
            }
        }
        Ok(sent)
    }

    /// Receives up to `most` bytes that `write` takes out of the ring; returns once it has taken some.
    pub fn receive_into(&self, most: usize, nonblocking: bool, write: Piece) -> Ret {
        let deadline = Deadline::of_option(self.sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed));
        loop {
            let end = self.rx.is_finished() || self.peer_end() != crate::pcb::circuit::End::Open;
            let drained = stream::drain(self.rx, self.sock.arena, self.sock.me(), most, || self.is_current(), |at, n| write(at.cast_mut(), n));
            match drained.map_err(|_| self.damaged())? {
                Some(done) => {
                    self.wake_writer();
                    return done;
                }
                None if end => return self.at_end().unwrap_or(Ok(())).map(|()| 0),
                None if !self.is_current() => return Err(Errno::EBADF),
                None if nonblocking => return Err(Errno::EAGAIN),
                None => self.wait_readable(1, deadline)?,
            }
        }
    }
}

/// Whether a call with splice's `flags` (SPLICE_F_NONBLOCK) may not block on `sock`.
pub fn is_nonblocking(sock: Sock, flags: u32) -> bool {
    const SPLICE_F_NONBLOCK: u32 = 2;
    flags & SPLICE_F_NONBLOCK != 0 || sock.is_nonblocking(0)
}
