//! Sending.

use core::sync::atomic::Ordering;
use libc::{MSG_NOSIGNAL, MSG_OOB, c_int};

use super::crowd;
use super::handle::{Endpoint, Sock};
use super::route::{self, TxRoute};
use super::spin::{self, Peer};
use super::stats::{COUNTERS, add};
use super::{packet, private, unix, wait};
use crate::pcb::block::flag;
use crate::pcb::tap;
use crate::shm::blocks;
use crate::sys::clock::Deadline;
use crate::sys::errno::Ret;
use crate::sys::{Errno, thread};
use crate::transport::direction::{Path, late};
use crate::transport::iov::{Iov, Piece};
use crate::transport::stream;

/// How much may be queued in one direction where the program set no buffer sizes: about what two kernel
/// sockets hold.
const QUEUE_BYTES: u64 = 4 << 20;
/// Share of it where only one end has set its size (getsockopt tells such values for loopback TCP).
const DEFAULT_SNDBUF_BYTES: u64 = 2_626_560;
const DEFAULT_RCVBUF_BYTES: u64 = 131_072;
/// The class of the segments that most streams flow through, and that of those which keep filling them: so
/// large that what is written has left the writer's own cache for the one it shares with the reader.
const COMMON: blocks::Class = 2;
const FULLS_BEFORE_LARGEST: u64 = 64;

/// A sender that is never told to wake anybody looks after so many messages whether the other end is there.
const MESSAGES_PER_LOOK: u64 = 16;

/// Sends from `source`; `kernel` makes the program's own call where the kernel takes the bytes.
#[inline(always)]
pub fn send(sock: Sock, source: &mut Iov, flags: c_int, kernel: impl FnOnce() -> Ret) -> Ret {
    if packet::is_of(sock) {
        return packet::send(sock, source, flags, kernel);
    }
    if flags & MSG_OOB != 0 && sock.pcb.is_unix_domain() {
        // The kernel's urgent byte is of another kind there, and stays with it.
        route::pin(sock);
    }
    match route::tx(sock) {
        TxRoute::Ring(_) if flags & MSG_OOB != 0 && sock.pcb.is_unix_domain() => Err(Errno::EAGAIN),
        TxRoute::Ring(ep) => match ep.send(source, flags) {
            Err(route::ROUTE_CHANGED) => send_elsewhere(sock, source, flags, 0),
            ret => ret,
        },
        TxRoute::Kernel(_) if sock.pcb.is_private() => private::send_unconnected(sock, flags),
        TxRoute::Kernel(guard) if unix::may_leave_kernel(sock) && flags & MSG_OOB == 0 => {
            let mut sent = 0;
            match unix::send_in_kernel(sock, guard, source, flags, &mut sent) {
                Some(ret) => ret,
                None => send_elsewhere(sock, source, flags, sent),
            }
        }
        TxRoute::Kernel(guard) => {
            if flags & MSG_OOB != 0 {
                // The kernel's urgent byte is out of line: its place in the stream could not be told later.
                route::pin(sock);
            }
            let ret = kernel();
            if let Ok(n) = ret {
                add(&COUNTERS.kernel_tx_bytes, n as u64);
                add(&COUNTERS.kernel_tx_messages, 1);
            }
            guard.told(ret, source.left());
            ret
        }
    }
}

/// Goes on with a send of which `sent` bytes are done, whose way has changed, until it is done.
#[cold]
#[inline(never)]
fn send_elsewhere(sock: Sock, source: &mut Iov, flags: c_int, mut sent: usize) -> Ret {
    loop {
        match route::tx(sock) {
            TxRoute::Ring(ep) => match ep.send(source, flags) {
                Err(route::ROUTE_CHANGED) => {}
                Ok(n) => return Ok(sent + n),
                Err(_) if sent > 0 => return Ok(sent),
                Err(e) => return Err(e),
            },
            TxRoute::Kernel(guard) => {
                if let Some(ret) = unix::send_in_kernel(sock, guard, source, flags, &mut sent) {
                    return ret;
                }
            }
        }
    }
}

impl Endpoint {
    /// Sends through the ring.
    #[inline(always)]
    pub fn send(&self, source: &mut Iov, flags: c_int) -> Ret {
        if self.may_be_late() {
            self.before_late_send(source, flags)?;
        }
        let all = source.left();
        match self.before_send() {
            None => {}
            Some(Ok(())) => return Ok(all),
            Some(Err(e)) => return Err(signalled(e, flags)),
        }
        if flags & MSG_OOB != 0 {
            self.mark_urgent(source);
        }
        let whole = if self.may_have_company() { stream::WHOLE_AMONG_OTHERS_BYTES } else { stream::WHOLE_BYTES };
        let sent = self.push(source, whole)?;
        let ret = match source.left() {
            0 => Ok(sent),
            _ => match self.send_slowly(source, flags, sent, whole) {
                // Some of it is in the ring; the rest follows by the other way.
                Err(route::ROUTE_CHANGED) => send_elsewhere(self.sock, source, flags, all - source.left()),
                ret => ret,
            },
        };
        if flags & MSG_OOB != 0 && ret.is_ok() {
            self.announce_urgent();
        }
        ret
    }

    #[inline(always)]
    fn push(&self, source: &mut Iov, whole: u64) -> Ret {
        let ret = self.push_one(source, whole);
        self.look_now_and_then();
        if !stream::stash::is_empty(self.tx) {
            stream::stash::flush(self.tx, |kept| {
                let _ = self.push_one(kept, stream::WHOLE_BYTES);
            });
        }
        ret
    }

    /// Whether the other end is still there is looked at after so many messages.
    #[inline(always)]
    pub(super) fn look_now_and_then(&self) {
        if self.tx.writer.messages.load(Ordering::Relaxed).is_multiple_of(MESSAGES_PER_LOOK) {
            self.look_for_end(&self.tx.writer.looked_ns);
        }
    }

    #[inline(always)]
    fn push_one(&self, source: &mut Iov, whole: u64) -> Ret {
        let (arena, me, company) = (self.sock.arena, self.sock.me(), self.may_have_company());
        // Asked under the lock: who leaves the ring holds it, and nobody reads what comes after.
        let valid = || self.is_current() && self.tx.path() == Path::Ring;
        let publishing = |position, piece: &Piece| self.tap(position, piece);
        if self.may_be_late()
            && let Some(ret) = self.push_late(source, whole, valid)
        {
            return ret;
        }
        let valid = || valid() && self.tx.late() & late::BYTES == 0;
        match stream::push(self.tx, arena, me, company, source, whole, valid, publishing, || self.wake_reader()) {
            Ok(0) if self.tx.path() != Path::Ring && source.left() > 0 => Err(route::ROUTE_CHANGED),
            ret => ret.map_err(|why| self.refused(why)),
        }
    }

    /// What is about to be published at a position of the stream, for those who capture it.
    #[inline(always)]
    pub(super) fn tap(&self, position: u64, piece: &Piece) {
        if tap::is_on(self.sock.arena) {
            tap::data(self.sock.arena, self.link, position, piece);
        }
    }

    /// The ring is full: more room is made, waited for, or said to be missing.
    #[cold]
    #[inline(never)]
    fn send_slowly(&self, source: &mut Iov, flags: c_int, mut sent: usize, mut whole: u64) -> Ret {
        let nonblocking = self.sock.is_nonblocking(flags);
        let deadline = Deadline::of_option(self.sock.pcb.sndtimeo_ns.load(Ordering::Relaxed));
        while source.left() > 0 {
            if self.tx.writer.lock.is_held_by(self.sock.me().owner()) {
                // A signal handler in the middle of a write of its own thread: nothing will move before it is done.
                return if sent > 0 { Ok(sent) } else { Err(if nonblocking { Errno::EAGAIN } else { Errno::EINTR }) };
            }
            if !self.make_room(source.left()) {
                if nonblocking {
                    self.await_room();
                    // Room may have come before the flag was up: then there will be no edge for it.
                    let n = self.push(source, stream::WHOLE_BYTES).or_else(|e| if sent > 0 && e != route::ROUTE_CHANGED { Ok(0) } else { Err(e) })?;
                    if n == 0 {
                        return if sent > 0 { Ok(sent) } else { Err(Errno::EAGAIN) };
                    }
                    sent += n;
                    continue;
                }
                // Who has waited takes what there is.
                whole = stream::WHOLE_BYTES;
                if let Err(e) = self.wait_writable(self.wake_point(), deadline) {
                    return if sent > 0 { Ok(sent) } else { Err(e) };
                }
                // Who waits is told of an error before the end (sock_alloc_send_pskb of Linux).
                if sent == 0
                    && self.sock.pcb.is_unix_domain()
                    && let Some(e) = self.pending_error()
                {
                    return Err(e);
                }
            }
            if sent > 0 && !self.may_send() && !self.is_called_back() {
                // What ended it is told to the next call.
                return Ok(sent);
            }
            match self.before_send() {
                None => match self.push(source, whole) {
                    Ok(0) => whole = stream::WHOLE_BYTES,
                    Ok(n) => sent += n,
                    Err(e) if sent > 0 && e != route::ROUTE_CHANGED => return Ok(sent),
                    Err(e) => return Err(e),
                },
                Some(Ok(())) => return Ok(sent + source.left()),
                Some(Err(e)) if sent > 0 && e != route::ROUTE_CHANGED => return Ok(sent),
                Some(Err(e)) => return Err(signalled(e, flags)),
            }
            if !self.is_current() {
                return Err(Errno::EBADF);
            }
        }
        Ok(sent)
    }

    /// A send finds no room and does not wait: room is an edge from now on, to be told to the event loops that are
    /// told of data.
    pub(super) fn await_room(&self) {
        self.sock.pcb.set(flag::NO_SPACE);
        self.tx.writer.wake_at.store(self.wake_point(), Ordering::SeqCst);
        self.tx.control.writable.ask_as(&self.rx.control.readable);
    }

    /// Makes room for some of `wanted` bytes, without sleeping. False where there is none.
    pub(super) fn make_room(&self, wanted: usize) -> bool {
        if self.is_window_full(wanted) {
            return false;
        }
        let class = stream::class(self.tx);
        let fulls = self.tx.writer.fulls.load(Ordering::Relaxed).wrapping_add(1);
        self.tx.writer.fulls.store(fulls, Ordering::Relaxed);
        if class < COMMON || (class < blocks::LARGEST && fulls.is_multiple_of(FULLS_BEFORE_LARGEST)) {
            // A small segment is replaced at once: it costs less than waiting for it to be emptied.
            return self.append(class + 1) || stream::has_room_for(wanted, wait::room(self), stream::WHOLE_BYTES);
        }
        let here = crowd::place(1);
        let peer = Peer::of(here, self.tx.consumed.place.load(Ordering::Relaxed));
        self.tx.produced.place.store(here, Ordering::Relaxed);
        let enough = (wanted as u64).min(blocks::bytes_of(class) / 4);
        spin::until(peer, || wait::room(self) >= enough) || wait::room(self) >= enough || self.append(COMMON)
    }

    /// Adds a segment, unless as much is queued as may be.
    fn append(&self, class: blocks::Class) -> bool {
        self.tx.unread().is_some_and(|n| n < self.queue_bytes())
            && (0..=class).rev().any(|class| stream::append(self.tx, self.sock.arena, self.sock.me(), class, self.link.circuit, || self.is_current()))
    }

    /// How much may be queued, from SO_SNDBUF here and SO_RCVBUF there where they were set.
    pub fn queue_bytes(&self) -> u64 {
        if packet::is_of(self.sock) {
            // The kernel counts what the receiver has not taken against the sender alone.
            return packet::sndbuf(self.sock).min(packet::MOST_QUEUE_BYTES);
        }
        let window = if self.tx.late() != 0 { self.window() } else { u64::MAX };
        let mine = u64::from(self.sock.pcb.sndbuf.load(Ordering::Relaxed));
        let theirs = self.peer().map_or(0, |(_, p)| u64::from(p.rcvbuf.load(Ordering::Relaxed)));
        let most = match (mine, theirs) {
            (0, 0) => QUEUE_BYTES,
            (0, r) => DEFAULT_SNDBUF_BYTES + r,
            (s, 0) => s + DEFAULT_RCVBUF_BYTES,
            (s, r) => s + r,
        };
        most.min(QUEUE_BYTES).min(window)
    }

    /// Whether a sender would find room: a third of what may be queued, as in Linux.
    pub fn is_writable(&self) -> bool {
        self.tx.unread().is_none_or(|n| n <= self.queue_bytes() / 3 * 2)
            && (stream::class(self.tx) < COMMON || !self.tx.is_chain_full() || wait::room(self) > 0)
    }
}

/// An error on its way to the program: EPIPE brings SIGPIPE unless the call said no.
pub(super) fn signalled(e: Errno, flags: c_int) -> Errno {
    if e == Errno::EPIPE && flags & MSG_NOSIGNAL == 0 {
        thread::raise(libc::SIGPIPE);
    }
    e
}
