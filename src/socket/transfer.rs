//! Moving bytes between a socket and another descriptor: sendfile(2), splice(2). The kernel reads and
//! writes the ring's memory itself, so that each byte is copied once.

use core::sync::atomic::Ordering;

use super::handle::{Endpoint, Sock};
use super::packet;
use super::route::{self, RxRoute, TxRoute};
use super::wait;
use crate::sys::clock::Deadline;
use crate::sys::errno::Ret;
use crate::sys::{Errno, thread};
use crate::transport::direction::{Path, late};
use crate::transport::iov::Piece;
use crate::transport::stream;

/// Where the bytes go: called with a piece of the ring.
pub type Sink<'a> = &'a mut dyn FnMut(*const u8, usize) -> Ret;

/// Where the bytes come from.
pub trait Source {
    /// Reads into a piece of the ring.
    fn read(&mut self, into: *mut u8, n: usize) -> Ret;
    /// Whether there is more to read.
    fn has_more(&mut self) -> Result<bool, Errno>;
}

/// What the kernel takes of bytes that go nowhere before it notices: what fits into a pipe.
const NOWHERE_BYTES: usize = 64 << 10;

/// The sending end if the socket sends by ring; else the guard under which the kernel's call is to be made. How a file is cut
/// into packets is the kernel's affair: where it is packets, and the ring cannot be left just now, the call is to be refused.
pub fn sender(sock: Sock) -> Result<Endpoint, route::SendInKernel> {
    if packet::is_of(sock) {
        route::pin(sock);
    }
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
    /// Sends up to `most` bytes that `source` puts into the ring; ends early where it has no more, whatever
    /// might be said of the socket.
    pub fn send_from(&self, most: usize, nonblocking: bool, source: &mut impl Source) -> Ret {
        let mut sent = 0;
        let ret = self.send_some_from(most, nonblocking, source, &mut sent);
        match ret {
            Err(e) if sent == 0 => {
                if e == Errno::EPIPE {
                    thread::raise(libc::SIGPIPE);
                }
                Err(e)
            }
            _ => Ok(sent),
        }
    }

    fn send_some_from(&self, most: usize, nonblocking: bool, source: &mut impl Source, sent: &mut usize) -> Result<(), Errno> {
        let deadline = Deadline::of_option(self.sock.pcb.sndtimeo_ns.load(Ordering::Relaxed));
        while *sent < most {
            if !self.may_send()
                && source.has_more()?
                && let Some(said) = self.before_send()
            {
                said?;
                *sent += read_for_nothing(source, (most - *sent).min(NOWHERE_BYTES))?;
                return Ok(());
            }
            let valid = || self.is_current() && self.tx.path() == Path::Ring;
            let late = if self.may_be_late() { self.fill_late(most - *sent, valid, |to, n| source.read(to, n)) } else { None };
            let filled = match late {
                Some(filled) => filled?,
                None => {
                    let valid = || valid() && self.tx.late() & late::BYTES == 0;
                    let publishing = |position, piece: &Piece| self.tap(position, piece);
                    let filled = stream::fill(self.tx, self.sock.arena, self.sock.me(), most - *sent, valid, |to, n| source.read(to, n), publishing);
                    filled.map_err(|_| self.damaged())?
                }
            };
            match filled {
                Some(Ok(0)) => return Ok(()),
                Some(read) => {
                    *sent += read?;
                    self.wake_reader();
                }
                None if !self.is_current() => return Err(Errno::EBADF),
                None if self.tx.path() != Path::Ring => return Err(route::ROUTE_CHANGED),
                None if self.make_room(most - *sent) => {}
                None if !source.has_more()? => return Ok(()),
                None if nonblocking => {
                    self.await_room();
                    if wait::room(self) == 0 || self.is_window_full(1) {
                        return Err(Errno::EAGAIN);
                    }
                }
                None => self.wait_writable(self.wake_point(), deadline)?,
            }
        }
        Ok(())
    }

    /// Receives up to `most` bytes that `write` takes out of the ring; returns once it has taken some.
    pub fn receive_into(&self, most: usize, nonblocking: bool, write: Sink) -> Ret {
        let deadline = Deadline::of_option(self.sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed));
        loop {
            let most = most.min(self.limit_at_mark(0));
            self.land();
            let end = self.rx.is_finished() || self.peer_end() != crate::pcb::circuit::End::Open;
            let drained = stream::drain(self.rx, self.sock.arena, self.sock.me(), most, || self.is_current(), &mut *write);
            match drained.map_err(|_| self.damaged())? {
                Some(done) => {
                    self.wake_writer();
                    return done;
                }
                None if self.has_left_ring() => return Err(route::ROUTE_CHANGED),
                None if end => return self.at_end().unwrap_or(Ok(())).map(|()| 0),
                None if !self.is_current() => return Err(Errno::EBADF),
                None if nonblocking => return Err(Errno::EAGAIN),
                None => self.wait_readable(1, deadline, true)?,
            }
        }
    }
}

/// Reads up to `n` bytes that nobody will get.
fn read_for_nothing(source: &mut impl Source, n: usize) -> Ret {
    let mut scratch = [0u8; 4096];
    let mut done = 0;
    while done < n {
        let got = source.read(scratch.as_mut_ptr(), scratch.len().min(n - done))?;
        if got == 0 {
            break;
        }
        done += got;
    }
    Ok(done)
}
