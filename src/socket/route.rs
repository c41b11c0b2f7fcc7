//! Which way the bytes of a call go, and the switch of a direction from the kernel to the ring.
//!
//! Any use of a joined socket makes this end *aware*: it confirms the direction it receives from, and
//! switches the one it sends in once the other end has confirmed that. What went through the kernel before
//! is taken from the kernel's own counters, so nothing is counted on the kernel's path, and bytes sent by
//! whoever held the socket before are not forgotten.

use core::sync::atomic::{AtomicU64, Ordering};

use super::handle::{Endpoint, Sock};
use super::stats::{COUNTERS, add};
use super::{datagram, packet, unix};
use crate::pcb::block::flag;
use crate::pcb::circuit::End;
use crate::shm::lock::Held;
use crate::shm::owner::System;
use crate::sys::clock::Deadline;
use crate::sys::errno::{Ret, preserved};
use crate::sys::signal::Blocked;
use crate::sys::trace::trace;
use crate::sys::{Errno, call, diag};
use crate::transport::direction::Path;
use crate::transport::stream;

/// Never told to a program: the way of a call has changed, and is to be asked for again.
pub const ROUTE_CHANGED: Errno = Errno(-1);

/// Counts the changes of path that this process has made: event loops look again at their sockets.
pub static PATH_CHANGES: AtomicU64 = AtomicU64::new(0);

/// Counts the times that a socket of this process has gone back to sending through the kernel.
pub static LEAVES: AtomicU64 = AtomicU64::new(0);

/// The way of a send.
pub enum TxRoute {
    Ring(Endpoint),
    Kernel(SendInKernel),
}

/// The way of a receive.
pub enum RxRoute {
    Ring(Endpoint),
    Kernel,
}

/// While this lives the socket's sending direction does not switch.
pub struct SendInKernel(Sock);

impl SendInKernel {
    pub fn begin(sock: Sock) -> SendInKernel {
        sock.pcb.sends_in_kernel.fetch_add(1, Ordering::SeqCst);
        SendInKernel(sock)
    }
}

impl SendInKernel {
    /// What became of a call that had `wanted` bytes: the program that does not wait now waits for the kernel's room.
    pub fn told(&self, ret: Ret, wanted: usize) {
        if ret == Err(Errno::EAGAIN) || ret.is_ok_and(|n| n < wanted) {
            self.0.pcb.set(flag::KERNEL_FULL);
        }
    }
}

impl Drop for SendInKernel {
    fn drop(&mut self) {
        self.0.pcb.sends_in_kernel.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Decides the way of a send.
#[inline(always)]
pub fn tx(sock: Sock) -> TxRoute {
    match sock.endpoint() {
        Some(ep) if ep.tx.path() == Path::Ring => TxRoute::Ring(ep),
        _ => tx_for_now(sock),
    }
}

/// The way of a send that the kernel may still have to carry.
#[inline(never)]
fn tx_for_now(sock: Sock) -> TxRoute {
    loop {
        let endpoint = sock.endpoint().or_else(|| look_for_peer(sock));
        if let Some(ep) = endpoint {
            ep.become_aware();
            // Where the end is known the ring tells it, also to who never sent through it.
            if ep.tx.path() == Path::Ring || (ep.peer_end() != End::Open && ep.rx.path() == Path::Ring) {
                return TxRoute::Ring(ep);
            }
        }
        let guard = SendInKernel::begin(sock);
        // Looked at again with the guard up: a switch either sees the guard, or is seen here.
        match sock.endpoint().map(|ep| (ep, ep.tx.path())) {
            Some((ep, Path::Ring)) => return TxRoute::Ring(ep),
            Some((ep, Path::Switching | Path::Parting)) => {
                drop(guard);
                ep.settle_switch();
            }
            _ => return TxRoute::Kernel(guard),
        }
    }
}

/// Decides the way of a receive.
#[inline(always)]
pub fn rx(sock: Sock) -> RxRoute {
    match sock.endpoint() {
        Some(ep) if ep.rx.path() == Path::Ring && ep.tx.path() == Path::Ring => RxRoute::Ring(ep),
        _ => rx_for_now(sock),
    }
}

/// The way of a receive that the kernel may still have something for.
#[inline(never)]
fn rx_for_now(sock: Sock) -> RxRoute {
    let Some(ep) = sock.endpoint().or_else(|| look_for_peer(sock)) else { return RxRoute::Kernel };
    match ep.rx.path() {
        Path::Ring if !matches!(ep.tx.path(), Path::Ready | Path::Kernel) => {}
        Path::Ring => ep.become_aware(),
        Path::Parting => {}
        Path::Leaving => {
            if ep.has_left_ring() {
                return RxRoute::Kernel;
            }
        }
        Path::Kernel | Path::Ready | Path::Switching | Path::Pinned => {
            if ep.owes_kernel() {
                ep.leave_ring();
            }
            ep.become_aware();
            if ep.rx.path() != Path::Ring {
                return RxRoute::Kernel;
            }
        }
    }
    RxRoute::Ring(ep)
}

/// The other end of a connection that says nothing of it by its addresses.
fn look_for_peer(sock: Sock) -> Option<Endpoint> {
    if !sock.pcb.is_unix_domain() {
        return None;
    }
    unix::seek_peer(sock);
    sock.endpoint()
}

impl Endpoint {
    /// Whether both directions are on the ring.
    #[inline]
    pub fn is_on_ring(&self) -> bool {
        self.tx.path() == Path::Ring && self.rx.path() == Path::Ring
    }

    /// Confirms the receiving direction and switches the sending one if that can be.
    #[cold]
    pub fn become_aware(&self) {
        preserved(|| self.look_around());
    }

    fn look_around(&self) {
        if self.sock.pcb.is_private() {
            return;
        }
        if self.sock.pcb.has(flag::UNIX) {
            return self.look_around_unix();
        }
        if self.sock.pcb.has(flag::KERNEL_ONLY) {
            self.tx.change_path(Path::Kernel, Path::Pinned);
        }
        if self.sock.pcb.has(flag::ASYNC) {
            self.rx.control.readable.set_always(true);
        }
        if self.rx.path() == Path::Kernel && self.tx.path() != Path::Pinned && self.prepare_anchor() && self.rx.change_path(Path::Kernel, Path::Ready)
        {
            PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
        }
        if self.tx.path() == Path::Ready && matches!(self.rx.path(), Path::Ready | Path::Switching | Path::Ring) && !self.is_kernel_full() {
            self.switch();
        }
    }

    /// Makes the anchor fit for doorbells: they must go out at once, and one byte must wake.
    pub(super) fn prepare_anchor(&self) -> bool {
        let sock = &self.sock;
        if sock.pcb.has(flag::ANCHOR_READY) {
            return true;
        }
        if sock.pcb.has(flag::UNIX) {
            let done = packet::is_of(*sock) || call::set_int_option(sock.fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1).is_ok();
            if done {
                sock.pcb.set(flag::ANCHOR_READY);
            }
            return done;
        }
        let tcp = libc::IPPROTO_TCP;
        let done = call::set_int_option(sock.fd, tcp, libc::TCP_NODELAY, 1)
            .and_then(|_| if sock.pcb.has(flag::CORK) { call::set_int_option(sock.fd, tcp, libc::TCP_CORK, 0) } else { Ok(0) })
            .and_then(|_| call::set_int_option(sock.fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1))
            .and_then(
                |_| if sock.pcb.has(flag::OOB_INLINE) { call::set_int_option(sock.fd, libc::SOL_SOCKET, libc::SO_OOBINLINE, 0) } else { Ok(0) },
            );
        if done.is_ok() {
            sock.pcb.set(flag::ANCHOR_READY);
        }
        done.is_ok()
    }

    /// Whether a program that was told that there is no room would find some on the ring that it must not.
    fn is_kernel_full(&self) -> bool {
        if !self.sock.pcb.has(flag::KERNEL_FULL) {
            return false;
        }
        let has_room = call::poll_one(self.sock.fd, libc::POLLOUT, Deadline::NOW) != Ok(0);
        if has_room {
            // The edge that the program waits for may have come to nobody's notice.
            self.sock.pcb.clear(flag::KERNEL_FULL);
            self.sock.pcb.set(flag::NO_SPACE);
        }
        !has_room
    }

    /// Moves the sending direction to the ring, unless bytes are just on their way into the kernel.
    fn switch(&self) {
        let me = self.sock.me();
        let arena = self.sock.arena;
        if !self.has_memory_both_ways() {
            return;
        }
        // A handler that sent on this socket in the middle of this would wait for it, for ever.
        let signals = Blocked::all();
        let held = self.tx.writer.lock.acquire(me.owner(), &System(arena));
        if matches!(held, Held::Nested) || !self.is_current() || !self.tx.change_path(Path::Ready, Path::Switching) {
            return;
        }
        let counts = if self.sock.pcb.sends_in_kernel.load(Ordering::SeqCst) == 0 { diag::tcp_counts(self.sock.fd) } else { None };
        let Some(counts) = counts.filter(|c| !c.has_ended() && self.peer_end() == End::Open) else {
            self.tx.change_path(Path::Switching, Path::Ready);
            return;
        };
        self.tx.control.kernel_bytes.store(counts.written, Ordering::SeqCst);
        self.tx.change_path(Path::Switching, Path::Ring);
        drop(held);
        drop(signals);
        PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
        add(&COUNTERS.circuits, 1);
        trace(format_args!("fd {}: sends through the ring after {} bytes through the kernel", self.sock.fd, counts.written));
    }

    /// Memory for both directions or for none: one alone on the ring would be slower than the kernel.
    pub(super) fn has_memory_both_ways(&self) -> bool {
        for direction in [self.tx, self.rx] {
            match stream::begin(direction, self.sock.arena, self.sock.me(), self.link.circuit) {
                Some(true) => {}
                Some(false) => {
                    trace(format_args!("fd {}: stays with the kernel: the arena has no room", self.sock.fd));
                    self.tx.change_path(Path::Ready, Path::Pinned);
                    self.rx.change_path(Path::Ready, Path::Pinned);
                    return false;
                }
                None => return false,
            }
        }
        true
    }

    /// Waits for a change of path that another thread is making, and undoes one whose maker died.
    #[cold]
    fn settle_switch(&self) {
        let _held = self.tx.writer.lock.acquire(self.sock.me().owner(), &System(self.sock.arena));
        self.tx.change_path(Path::Switching, Path::Ready);
        self.tx.change_path(Path::Parting, Path::Ring);
    }

    /// Data that came through the kernel and is still to be read before the ring, worked out when first
    /// asked for. `just_read` bytes were taken by the caller, who has not accounted for them yet.
    /// Returns what is left, and how many of the `just_read` were doorbells.
    pub fn kernel_left(&self, just_read: u64) -> (u64, u64) {
        let word = &self.rx.reader.kernel_left;
        let known = word.load(Ordering::Acquire);
        if known == 1 {
            return (0, just_read);
        }
        let _held = self.rx.reader.lock.acquire(self.sock.me().owner(), &System(self.sock.arena));
        let known = word.load(Ordering::Acquire);
        let (left, doorbells) = if known > 0 {
            ((known - 1).saturating_sub(just_read), just_read.saturating_sub(known - 1))
        } else {
            let sent = self.rx.control.kernel_bytes.load(Ordering::SeqCst);
            let read = diag::tcp_bytes_read(self.sock.fd).unwrap_or(sent);
            (sent.saturating_sub(read), read.saturating_sub(sent).min(just_read))
        };
        word.store(left.wrapping_add(1), Ordering::Release);
        (left, doorbells)
    }

    /// Whether only the kernel can say that there is room to send.
    pub fn sends_by_kernel(&self) -> bool {
        self.sock.pcb.has(flag::LOCAL) || (self.tx.path() != Path::Ring && !self.is_mailbox() && self.peer_end() == End::Open)
    }

    /// The kernel has room: whether the program was told that it had none.
    pub fn takes_room_of_kernel(&self) -> bool {
        let was_full = self.sock.pcb.has(flag::KERNEL_FULL);
        self.sock.pcb.clear(flag::KERNEL_FULL);
        was_full
    }

    /// Whether an event of the kernel's may be about data.
    pub fn may_have_kernel_data(&self) -> bool {
        !self.is_past_kernel() || self.rx.path() == Path::Leaving || self.is_mailbox()
    }

    /// Whether everything that came through the kernel has been read.
    #[inline]
    pub fn is_past_kernel(&self) -> bool {
        self.rx.path().leads_to_ring() && (self.rx.reader.kernel_left.load(Ordering::Acquire) == 1 || self.kernel_left(0).0 == 0)
    }
}

/// Keeps a socket with the kernel from now on, if it has not left it. True if it is there for good.
pub fn pin(sock: Sock) -> bool {
    if sock.pcb.is_private() {
        return false;
    }
    if sock.pcb.has(flag::UNIX) {
        return unix::pin(sock);
    }
    if sock.pcb.has(flag::DATAGRAM) {
        datagram::pin(sock);
        return true;
    }
    sock.pcb.set(flag::KERNEL_ONLY);
    let Some(ep) = sock.endpoint() else { return true };
    // The other end can switch nothing before it has confirmed what we send: this alone keeps both.
    ep.tx.change_path(Path::Kernel, Path::Pinned);
    ep.tx.path() == Path::Pinned
}
