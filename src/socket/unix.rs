//! AF_UNIX streams (unix(7)): finding the other end, the way to the ring and back, and how they end.
//!
//! The kernel counts no bytes of theirs, so it is the receiver who switches a direction, once the sender has confirmed
//! it: nobody else can see how much is still to be read. And it has no urgent bytes to rely on, so doorbells are
//! counted: a receiver never takes more from its anchor than were rung.
//!
//! | what the other end did | receive, once empty | send |
//! |---|---|---|
//! | shutdown(SHUT_WR) | 0 | goes on |
//! | shutdown(SHUT_RD) | | EPIPE |
//! | close, all read, or died | 0 | EPIPE |
//! | close with unread data | ECONNRESET once, then 0 | EPIPE |

use core::sync::atomic::Ordering;
use libc::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM, c_int, pollfd};

use super::end::take_error;
use super::handle::{Endpoint, Sock};
use super::packet;
use super::ready::Readiness;
use super::route::{LEAVES, PATH_CHANGES, SendInKernel};
use super::stats::{COUNTERS, add};
use crate::net::host;
use crate::pcb::Pcb;
use crate::pcb::block::flag;
use crate::pcb::circuit::End;
use crate::shm::owner::System;
use crate::sys::clock::Deadline;
use crate::sys::confined::is_confined;
use crate::sys::diag::{self, UnixSocket};
use crate::sys::errno::{Ret, preserved};
use crate::sys::mailbox::{self, Mailbox};
use crate::sys::signal::Blocked;
use crate::sys::trace::trace;
use crate::sys::{Errno, call, thread};
use crate::transport::direction::{ABANDONED, DEAF, Path, RECALLED};
use crate::transport::iov::Iov;
use crate::transport::stream;

mod back;

pub use back::{hand_over, pin};

/// After so many calls a socket that was accepted asks who is at the other end: a short connection is over by then.
const CALLS_BEFORE_ASKING: u32 = 3;
/// The same for one that was not, whose other end has most likely asked.
const CALLS_IF_CONNECTED: u32 = 12;
/// Yields to one who is in the middle of ringing.
const PATIENCE: u32 = 10_000;

/// A call on a socket whose other end is not known: now and then looks for it.
pub fn seek_peer(sock: Sock) {
    let pcb = sock.pcb;
    if pcb.has(flag::KERNEL_ONLY) || pcb.calls_alone.load(Ordering::Relaxed) > CALLS_IF_CONNECTED {
        return;
    }
    let calls = pcb.calls_alone.fetch_add(1, Ordering::Relaxed) + 1;
    if calls == if pcb.has(flag::ACCEPTED) { CALLS_BEFORE_ASKING } else { CALLS_IF_CONNECTED } {
        preserved(|| ask_for_peer(sock));
    }
}

#[cold]
fn ask_for_peer(sock: Sock) {
    let Some(inode) = sock.pcb.addresses().local.inode() else { return };
    let answer = diag::unix_socket(inode, sock.pcb.cookie.load(Ordering::Relaxed));
    let Some(UnixSocket::Held { peer: peer @ 1.. }) = answer else { return };
    host::join_inode(sock.arena, sock.index, u64::from(peer));
    if sock.endpoint().is_none() {
        trace(format_args!("fd {}: the other end is not of this net", sock.fd));
    }
}

/// While this lives the socket's receiving direction does not switch.
pub struct ReceiveInKernel(Sock);

impl ReceiveInKernel {
    fn begin(sock: Sock) -> ReceiveInKernel {
        sock.pcb.recvs_in_kernel.fetch_add(1, Ordering::SeqCst);
        ReceiveInKernel(sock)
    }
}

impl Drop for ReceiveInKernel {
    fn drop(&mut self) {
        self.0.pcb.recvs_in_kernel.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The guard for a receive through the kernel; `None` where the way is to be asked for again.
pub fn receive_in_kernel(sock: Sock) -> Option<ReceiveInKernel> {
    let guard = ReceiveInKernel::begin(sock);
    // Looked at again with the guard up: a switch either sees the guard, or is seen here.
    let leaves = sock.endpoint().is_some_and(|ep| match ep.rx.path() {
        Path::Switching => {
            ep.settle_rx();
            true
        }
        Path::Kernel | Path::Ready | Path::Pinned => false,
        Path::Ring | Path::Parting | Path::Leaving => true,
    });
    (!leaves).then_some(guard)
}

/// Whether a send through the kernel may yet be followed by one through the ring.
pub fn may_leave_kernel(sock: Sock) -> bool {
    sock.pcb.has(flag::UNIX) && sock.endpoint().is_some_and(|ep| matches!(ep.tx.path(), Path::Kernel | Path::Ready | Path::Switching))
}

/// Whether all that is to be received comes through the kernel.
pub fn stays_in_kernel(sock: Sock) -> bool {
    sock.pcb.has(flag::KERNEL_ONLY) && sock.endpoint().is_none_or(|ep| ep.rx.path() == Path::Pinned)
}

/// Whether the ring has been left and read to its end, so that what comes next is the kernel's.
pub fn goes_on_in_kernel(sock: Sock) -> bool {
    const SIOCATMARK: libc::c_ulong = 0x8905;
    sock.pcb.has(flag::UNIX)
        && !packet::is_of(sock)
        && sock.endpoint().is_some_and(|ep| ep.rx.path() == Path::Leaving && ep.has_left_ring())
        // A receive stops before an urgent byte.
        && call::ioctl_int(sock.fd, SIOCATMARK) != Ok(1)
}

/// Sends through the kernel for as long as that is the way, never asleep inside: a direction does not switch
/// while somebody is. `None` where the rest is to go another way; `sent` counts.
pub fn send_in_kernel(sock: Sock, guard: SendInKernel, source: &mut Iov, flags: c_int, sent: &mut usize) -> Option<Ret> {
    let flags_now = flags | libc::MSG_DONTWAIT;
    let ret = if packet::is_of(sock) { source.send_message(sock.fd, flags_now) } else { source.send_kernel(sock.fd, flags_now) };
    if sock.is_nonblocking(flags) {
        guard.told(ret, source.left());
    }
    drop(guard);
    match ret {
        Ok(n) => {
            add(&COUNTERS.kernel_tx_bytes, n as u64);
            add(&COUNTERS.kernel_tx_messages, 1);
            source.advance(n);
            *sent += n;
            return (source.left() == 0).then_some(Ok(*sent));
        }
        Err(Errno::EAGAIN) if *sent > 0 && sock.is_nonblocking(flags) => return Some(Ok(*sent)),
        Err(Errno::EAGAIN) if sock.is_nonblocking(flags) => return Some(Err(Errno::EAGAIN)),
        Err(Errno::EAGAIN) => {}
        Err(_) if *sent > 0 => return Some(Ok(*sent)),
        Err(e) => return Some(Err(e)),
    }
    let deadline = Deadline::of_option(sock.pcb.sndtimeo_ns.load(Ordering::Relaxed));
    match await_room_in_kernel(sock, deadline) {
        Ok(_) if sock.pcb.has(flag::SHUT_WR) => Some(if *sent > 0 { Ok(*sent) } else { Err(super::send::signalled(Errno::EPIPE, flags)) }),
        Ok(0) if *sent == 0 => Some(Err(Errno::EAGAIN)),
        Ok(0) => Some(Ok(*sent)),
        Ok(_) if sock.is_closed() => Some(Err(Errno::EBADF)),
        Ok(_) => None,
        Err(Errno::EINTR) if *sent == 0 && deadline.is_never() && crate::sys::signal::restarts_calls() => None,
        Err(_) if *sent > 0 => Some(Ok(*sent)),
        Err(e) => Some(Err(e)),
    }
}

/// Sleeps until the kernel has room; a shutdown of our own, which poll(2) does not tell, pokes the mailbox.
fn await_room_in_kernel(sock: Sock, deadline: Deadline) -> Ret {
    let role = sock.endpoint().filter(Endpoint::may_have_company).map(|ep| ep.writer_role());
    let held = role.filter(|role| role.lock(deadline.absolute()).is_ok());
    let mailbox = held.and_then(|_| Mailbox::bind(sock.pcb.cookie.load(Ordering::Relaxed)));
    let mut fds =
        [pollfd { fd: sock.fd, events: POLLOUT, revents: 0 }, pollfd { fd: mailbox.as_ref().map_or(-1, Mailbox::fd), events: POLLIN, revents: 0 }];
    let mut ret = if sock.pcb.has(flag::SHUT_WR) { Ok(1) } else { call::poll_many(&mut fds, deadline.left(), None) };
    if fds[0].revents & POLLERR != 0
        && let Ok(error @ 1..) = call::int_option(sock.fd, libc::SOL_SOCKET, libc::SO_ERROR)
    {
        ret = Err(Errno(error));
    }
    if let Some(role) = held {
        role.unlock();
    }
    ret
}

impl Endpoint {
    /// As `look_around` of TCP, the other way round: confirms the sending direction, and switches the receiving one.
    pub(super) fn look_around_unix(&self) {
        if self.sock.pcb.has(flag::KERNEL_ONLY) {
            self.rx.change_path(Path::Kernel, Path::Pinned);
            return;
        }
        if self.sock.pcb.has(flag::ASYNC) {
            self.rx.control.readable.set_always(true);
        }
        if self.tx.path() == Path::Kernel && self.rx.path() != Path::Pinned && self.prepare_anchor() && self.tx.change_path(Path::Kernel, Path::Ready)
        {
            PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
        }
        if self.rx.path() == Path::Ready && !matches!(self.tx.path(), Path::Kernel | Path::Pinned) {
            self.switch_rx();
        }
    }

    fn switch_rx(&self) {
        // Who has sent descriptors goes on through the kernel: they cannot be moved into the ring.
        let Some((_, peer)) = self.peer().filter(|(_, peer)| !peer.has(flag::KERNEL_ONLY)) else { return };
        let packets = packet::is_of(self.sock);
        if !self.has_memory_both_ways() || (packets && !self.prepare_for_packets(peer)) {
            return;
        }
        let signals = Blocked::all();
        let Some(held) = self.rx.writer.lock.try_acquire(self.sock.me().owner()).filter(|held| !held.is_nested()) else { return };
        if !self.is_current() || !self.rx.change_path(Path::Ready, Path::Switching) {
            return;
        }
        let is_quiet = peer.sends_in_kernel.load(Ordering::SeqCst) == 0 && self.sock.pcb.recvs_in_kernel.load(Ordering::SeqCst) == 0;
        let left = if is_quiet && self.peer_end() == End::Open { call::ioctl_int(self.sock.fd, libc::FIONREAD).ok() } else { None };
        // A sender that was told that there is no room must not find any before the kernel says so.
        let left = left.filter(|&n| n == 0 || !peer.has(flag::KERNEL_FULL)).filter(|_| !self.anchor_has_ended());
        // How many packets are in the kernel nobody tells: they go along.
        let left = if packets { left.filter(|_| self.move_packets_to_ring(peer)).map(|_| 0) } else { left };
        let Some(left) = left else {
            self.rx.change_path(Path::Switching, Path::Ready);
            return;
        };
        if peer.has(flag::KERNEL_FULL) {
            peer.clear(flag::KERNEL_FULL);
            peer.set(flag::NO_SPACE);
        }
        self.rx.reader.kernel_left.store(left as u64 + 1, Ordering::SeqCst);
        self.rx.change_path(Path::Switching, Path::Ring);
        drop(held);
        drop(signals);
        PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
        add(&COUNTERS.circuits, 1);
        trace(format_args!("fd {}: receives from the ring after {left} bytes more from the kernel", self.sock.fd));
    }

    /// Waits for a switch that another thread is making, and undoes one whose maker died.
    #[cold]
    fn settle_rx(&self) {
        let _held = self.rx.writer.lock.acquire(self.sock.me().owner(), &System(self.sock.arena));
        self.rx.change_path(Path::Switching, Path::Ready);
    }

    /// Whether doorbells may be left where they are: who is told of edges is told of the next one all the same.
    pub fn may_leave_doorbells(&self) -> bool {
        const MOST_LEFT: u64 = 32;
        let (rung, taken) = (&self.rx.produced.rings, &self.rx.consumed.rings_taken);
        self.sock.pcb.has(flag::UNIX) && rung.load(Ordering::Relaxed).wrapping_sub(taken.load(Ordering::Relaxed)) < MOST_LEFT
    }

    /// Whether doorbells of ours lie unread at the other end.
    pub fn has_unread_doorbells(&self) -> bool {
        self.tx.produced.rings.load(Ordering::SeqCst) > self.tx.consumed.rings_taken.load(Ordering::SeqCst)
    }

    /// Takes doorbells from the anchor, and nothing else; returns how many.
    pub(super) fn take_doorbells(&self) -> usize {
        self.take_doorbells_until(u64::MAX)
    }

    /// The same of the first `most` ever rung.
    pub(super) fn take_doorbells_until(&self, most: u64) -> usize {
        let taken = &self.rx.consumed.rings_taken;
        loop {
            let before = taken.load(Ordering::SeqCst);
            // A packet each, or a byte each.
            let at_once = if packet::is_of(self.sock) { 1 } else { call::SCRATCH_BYTES as u64 };
            let n = self.rx.produced.rings.load(Ordering::SeqCst).min(most).saturating_sub(before).min(at_once);
            if n == 0 || !self.is_past_left() {
                return 0;
            }
            // Claimed first: two who take at once must not take more than there are. Who has claimed and not yet taken
            // is seen by who leaves the ring.
            let _taking = ReceiveInKernel::begin(self.sock);
            if taken.compare_exchange(before, before + n, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let take = || call::recv_few(self.sock.fd, n as usize);
                // Of packets an error is told first, which one of our own doorbells may have caused.
                let got = take().or_else(|e| if e == Errno::ECONNRESET { take() } else { Err(e) }).unwrap_or(0).min(n as usize);
                taken.fetch_sub(n - got as u64, Ordering::SeqCst);
                return got;
            }
        }
    }

    /// Whether the bytes that came before the switch have been read.
    fn is_past_left(&self) -> bool {
        self.rx.reader.kernel_left.load(Ordering::Acquire) == 1
    }

    /// Rings: one byte on the anchor, counted before it is sent. Who waits for room has a mailbox.
    pub(super) fn ring_unix(&self, for_room: bool) {
        let _guard = SendInKernel::begin(self.sock);
        if self.tx.path() != Path::Ring || self.tx.control.deaf.load(Ordering::SeqCst) == ABANDONED {
            return;
        }
        self.tx.produced.rings.fetch_add(1, Ordering::SeqCst);
        if call::send_byte(self.sock.fd, 0).is_err() {
            self.tx.produced.rings.fetch_sub(1, Ordering::SeqCst);
        }
        if for_room
            && !is_confined()
            && self.circuit.role(1 - self.link.side, 1).is_held()
            && let Some((_, peer)) = self.peer()
        {
            mailbox::poke(peer.cookie.load(Ordering::Relaxed));
        }
    }

    /// Takes the doorbells that have come and finds out whether the connection has ended.
    pub(super) fn look_at_unix_anchor(&self, may_have_ended: bool) {
        preserved(|| {
            while self.take_doorbells() > 0 {}
            if may_have_ended && self.peer_end() == End::Open && self.anchor_has_ended() {
                self.anchor_ended(None);
            }
        });
    }

    /// Which poll bits are on (as Linux's unix_poll).
    pub(super) fn unix_readiness(&self) -> Readiness {
        const READABLE: libc::c_short = POLLIN | POLLRDNORM;
        const WRITABLE: libc::c_short = POLLOUT | POLLWRNORM | POLLWRBAND;
        let pcb = self.sock.pcb;
        let (mut bits, mut ask) = (0, 0);
        self.settle_end();
        let ended = self.peer_end() != End::Open;
        let no_more = pcb.has(flag::SHUT_RD) || self.rx.is_finished() || (ended && self.rx.path() == Path::Ring);
        if self.owes_kernel() {
            self.has_left_ring();
        }
        if self.rx.path().leads_to_ring() && self.rx.has_data() {
            bits |= READABLE;
        } else if self.has_left_ring() || !self.is_past_kernel() {
            ask |= READABLE | libc::POLLPRI | POLLRDHUP | POLLHUP;
        }
        if no_more {
            bits |= READABLE | POLLRDHUP;
        }
        let is_deaf = self.tx.control.deaf.load(Ordering::Relaxed) == DEAF;
        if no_more && (pcb.has(flag::SHUT_WR) || is_deaf || ended) {
            bits |= POLLHUP;
        }
        if self.tx.path() != Path::Ring && !(ended && self.rx.path() == Path::Ring) {
            ask |= WRITABLE;
        } else if ended || self.is_writable() {
            bits |= WRITABLE;
        }
        if pcb.so_error.load(Ordering::Relaxed) != 0 {
            bits |= POLLERR;
        }
        Readiness { bits, ask }
    }

    /// What a sender is told, where `may_send` says no; `Err(ROUTE_CHANGED)` where it is to go another way.
    pub(super) fn refuse_unix_send(&self) -> Option<Result<(), Errno>> {
        self.settle_end();
        let deaf = self.tx.control.deaf.load(Ordering::SeqCst);
        if self.sock.pcb.has(flag::SHUT_WR) || deaf == DEAF || self.peer_end() != End::Open {
            return Some(Err(Errno::EPIPE));
        }
        if matches!(deaf, RECALLED | ABANDONED) {
            while !self.leave_ring() {
                let is_mine = self.tx.writer.lock.is_held_by(self.sock.me().owner());
                if is_mine || self.sock.is_nonblocking(0) {
                    return Some(Err(Errno::EAGAIN));
                }
                if let Err(e) = call::poll_one(self.sock.fd, POLLOUT, Deadline::NEVER) {
                    return Some(Err(e));
                }
            }
            return Some(Err(super::route::ROUTE_CHANGED));
        }
        let error = take_error(self.sock)?;
        Some(Err(error))
    }
}

/// shutdown(2) where the sending direction is not on the ring: the kernel's, which is the last that the anchor can carry
/// that way, and the ring's for what is there.
pub(super) fn shutdown_in_kernel(sock: Sock, how: c_int) -> Ret {
    pin(sock);
    let ret = call::shutdown(sock.fd, how)?;
    if how != libc::SHUT_RD {
        sock.pcb.set(flag::SHUT_WR);
    }
    if let Some(ep) = sock.endpoint() {
        if how != libc::SHUT_WR {
            sock.pcb.set(flag::SHUT_RD);
            ep.rx.control.deaf.store(DEAF, Ordering::SeqCst);
            // One that waits for the kernel's room is not told of this by poll(2).
            if let Some((_, peer)) = ep.peer() {
                mailbox::poke(peer.cookie.load(Ordering::Relaxed));
            }
        }
        ep.wake_own_sender();
    }
    Ok(ret)
}

/// Whether an empty message of the kernel's is the end of what comes.
pub(super) fn has_nothing_more(fd: c_int) -> bool {
    let is_over = call::poll_one(fd, POLLRDHUP, Deadline::NOW).is_ok_and(|bits| bits & POLLRDHUP != 0);
    is_over && call::ioctl_int(fd, libc::FIONREAD).is_ok_and(|n| n == 0)
}

/// Whether the kernel says that the other end is gone.
pub(super) fn has_hung_up(fd: c_int) -> bool {
    call::poll_one(fd, 0, Deadline::NOW).is_ok_and(|bits| bits & (POLLHUP | POLLERR) != 0)
}
