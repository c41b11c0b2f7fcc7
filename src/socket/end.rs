//! How connections end, and what each end is told: RFC 9293, as Linux does it.
//!
//! | what the other end did | receive, once empty | send |
//! |---|---|---|
//! | shutdown(SHUT_WR) | 0 | goes on |
//! | close, all read | 0 | once more, then EPIPE |
//! | close with unread data, or SO_LINGER 0 | ECONNRESET once, then 0 | ECONNRESET if not yet told, then EPIPE |
//! | died | as close | as close |

use core::sync::atomic::Ordering;
use libc::c_int;

use super::handle::{Endpoint, Sock};
use super::{late, packet, private, route, stats, unix};
use crate::pcb::block::{State, flag};
use crate::pcb::circuit::End;
use crate::pcb::{reap, tap};
use crate::shm::owner::System;
use crate::sys::errno::Ret;
use crate::sys::trace::trace;
use crate::sys::{Errno, call, diag};
use crate::transport::direction::{DEAF, Path};
use crate::transport::record;
use crate::transport::stream::Refused;

/// Takes SO_ERROR: told once.
pub fn take_error(sock: Sock) -> Option<Errno> {
    if sock.pcb.so_error.load(Ordering::Relaxed) == 0 || late::is_connecting(sock) {
        return None;
    }
    match sock.pcb.so_error.swap(0, Ordering::AcqRel) {
        0 => None,
        e => Some(Errno(e as c_int)),
    }
}

impl Endpoint {
    /// What a receiver is told when nothing is queued: end of file, an error, or nothing yet.
    pub fn at_end(&self) -> Option<Result<(), Errno>> {
        if self.rx.is_finished() {
            return Some(Ok(()));
        }
        match self.peer_end() {
            End::Open if self.sock.pcb.has(flag::SHUT_RD) => Some(take_error(self.sock).map_or(Ok(()), Err)),
            End::Open => None,
            End::Clean => Some(Ok(())),
            End::Reset => {
                self.settle_end();
                Some(take_error(self.sock).map_or(Ok(()), Err))
            }
        }
    }

    /// Takes note, once, that the other end reset the connection.
    pub fn settle_end(&self) {
        if self.peer_end() == End::Reset && self.sock.pcb.set_once(flag::END_SEEN) {
            // After its FIN only a sender is told (tcp_reset of Linux).
            let is_unix = self.sock.pcb.is_unix_domain();
            let error = if self.rx.is_finished() && !is_unix { Errno::EPIPE } else { Errno::ECONNRESET };
            self.sock.pcb.so_error.store(error.0 as u32, Ordering::Release);
            if !is_unix {
                self.sock.pcb.set(flag::BROKEN);
            }
        }
    }

    /// Takes the error that the end of the connection has left, if any.
    pub fn pending_error(&self) -> Option<Errno> {
        self.settle_end();
        take_error(self.sock)
    }

    /// What a sender is told before it sends: an error, that the bytes go nowhere (`Some(Ok)`), or nothing.
    #[inline(always)]
    pub fn before_send(&self) -> Option<Result<(), Errno>> {
        if self.may_send() { None } else { self.refuse_send() }
    }

    /// Whether nothing speaks against sending.
    #[inline(always)]
    pub fn may_send(&self) -> bool {
        let pcb = self.sock.pcb;
        self.peer_end() == End::Open
            && self.tx.control.deaf.load(Ordering::Relaxed) == 0
            && pcb.so_error.load(Ordering::Relaxed) == 0
            && !pcb.has(flag::SHUT_WR | flag::BROKEN)
    }

    #[cold]
    fn refuse_send(&self) -> Option<Result<(), Errno>> {
        let pcb = self.sock.pcb;
        if pcb.is_unix_domain() {
            return self.refuse_unix_send();
        }
        self.settle_end();
        if let Some(e) = take_error(self.sock) {
            return Some(Err(e));
        }
        if pcb.has(flag::SHUT_WR | flag::BROKEN) {
            return Some(Err(Errno::EPIPE));
        }
        // The first send after the other end closed, or shut down both ways, is answered with RST: the next one gets
        // EPIPE.
        if tap::is_on(self.sock.arena) {
            tap::connection(self.sock.arena, self.link.other(), tap::Kind::Reset);
        }
        if let (End::Open, Some((_, peer))) = (self.peer_end(), self.peer()) {
            peer.so_error.store(Errno::ECONNRESET.0 as u32, Ordering::Release);
            peer.set(flag::BROKEN);
            self.wake_peer();
        }
        pcb.so_error.store(Errno::EPIPE.0 as u32, Ordering::Release);
        pcb.set(flag::BROKEN);
        Some(Ok(()))
    }

    /// How far the connection has ended, as a number that changes with each step of either end.
    #[inline]
    pub fn end_code(&self) -> u32 {
        let ours = self.sock.pcb.flags() & (flag::SHUT_RD | flag::SHUT_WR | flag::BROKEN);
        u32::from(self.rx.is_finished()) | (self.peer_end() as u32) << 1 | ours << 3
    }

    /// The anchor tells that the connection is over: the last holder of the other end has closed or died.
    pub fn anchor_ended(&self, error: Option<Errno>) {
        if self.has_not_knocked() {
            return;
        }
        let ours = self.sock.pcb.has(flag::SHUT_RD | flag::UNIX) || self.rx.path() == Path::Pinned;
        if ours && !self.anchor_has_ended() {
            return;
        }
        if error == Some(Errno::ECONNRESET) && self.tx.path() != Path::Ring {
            // No doorbell of ours can have caused the reset.
            self.circuit.set_end(self.sock.arena, self.link.other(), End::Reset);
        }
        if self.circuit.pcbs[1 - self.link.side].load(Ordering::Acquire) != 0 || self.peer_end() == End::Open {
            reap::release_side(self.sock.arena, self.link, 1 - self.link.side);
        }
    }

    /// Whether the anchor says that the other end is gone, or has shut down its half.
    pub fn anchor_has_ended(&self) -> bool {
        if self.has_not_knocked() {
            return false;
        }
        if !self.sock.pcb.has(flag::UNIX) {
            return diag::tcp_counts(self.sock.fd).is_some_and(|c| c.has_ended());
        }
        // It looks the same where both have shut down their halves through the kernel.
        unix::has_hung_up(self.sock.fd) && self.peer().is_none_or(|(_, peer)| !reap::is_held_by_any(self.sock.arena, peer))
    }

    /// Ends our side. Who is in the middle of a call finishes it first, and later ones find the end closed.
    fn end_ours(&self, how: End) {
        self.send_end();
        let me = self.sock.me().owner();
        let _sending = self.tx.writer.lock.acquire(me, &System(self.sock.arena));
        let _receiving = self.rx.reader.lock.acquire(me, &System(self.sock.arena));
        // Anybody may be sending to a mailbox.
        // One who has been stopped in the middle is not waited for: what it holds is given back later.
        let _sent_to = if self.is_mailbox() { record::hold_back_senders(self.rx, self.sock.arena, self.sock.me()) } else { None };
        self.circuit.set_end(self.sock.arena, self.link, how);
    }

    /// Why the ring moved nothing, for the program.
    #[cold]
    pub fn refused(&self, why: Refused) -> Errno {
        match why {
            Refused::Damaged => self.damaged(),
            Refused::Fault => Errno::EFAULT,
        }
    }

    /// The arena is damaged: the connection is reset, for both.
    pub fn damaged(&self) -> Errno {
        trace(format_args!("fd {}: the arena is damaged, the connection is reset", self.sock.fd));
        self.circuit.set_end(self.sock.arena, self.link.other(), End::Reset);
        self.circuit.set_end(self.sock.arena, self.link, End::Reset);
        self.sock.pcb.set(flag::BROKEN | flag::END_SEEN);
        self.wake_peer();
        Errno::ECONNRESET
    }
}

/// shutdown(2) on a joined socket.
pub fn shutdown(sock: Sock, how: c_int) -> Ret {
    let endpoint = sock.endpoint().inspect(Endpoint::become_aware).filter(|ep| ep.tx.path() == Path::Ring);
    let Some(ep) = endpoint.filter(|_| (libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how)) else {
        if sock.pcb.is_private() {
            return private::shutdown_unconnected(sock, how);
        }
        if sock.pcb.has(flag::UNIX) && sock.endpoint().is_some() {
            return unix::shutdown_in_kernel(sock, how);
        }
        // A FIN on the anchor is the last thing it can carry: the ring must never need it, not even if the other
        // end joins only now.
        if endpoint.is_none() && matches!(sock.pcb.state(), State::SynSent | State::Established) {
            route::pin(sock);
            if let Some(ep) = sock.endpoint() {
                ep.tx.change_path(Path::Ready, Path::Pinned);
            }
        }
        let ret = call::shutdown(sock.fd, how);
        if ret.is_ok() && how != libc::SHUT_RD {
            sock.pcb.set(flag::SHUT_WR);
        }
        return ret;
    };
    let both_ended = sock.pcb.has(flag::SHUT_WR) && (ep.rx.is_finished() || ep.peer_end() != End::Open);
    let is_unix = sock.pcb.is_unix_domain();
    if !is_unix && (ep.peer_end() == End::Reset || sock.pcb.has(flag::BROKEN) || both_ended) {
        return Err(Errno::ENOTCONN);
    }
    if how != libc::SHUT_RD {
        sock.pcb.set(flag::SHUT_WR);
        if tap::is_on(sock.arena) && !ep.tx.is_finished() {
            tap::connection(sock.arena, ep.link, tap::Kind::Fin);
        }
        ep.send_fin();
        ep.wake_reader();
        ep.wake_own_sender();
    }
    if how != libc::SHUT_WR {
        sock.pcb.set(flag::SHUT_RD);
        super::wait::wake_own(sock);
    }
    if sock.pcb.has(flag::SHUT_RD) && (is_unix || sock.pcb.has(flag::SHUT_WR)) {
        ep.rx.control.deaf.store(DEAF, Ordering::SeqCst);
        if is_unix {
            // Senders at the other end have nothing to wait for any more.
            ep.wake_peer();
        }
    }
    Ok(0)
}

/// connect(2) with AF_UNSPEC has dissolved the connection: the other end finds it reset, and the socket goes
/// on with the kernel alone.
pub fn leave(sock: Sock) {
    let Some(ep) = sock.endpoint() else { return };
    stats::fold(sock.arena, sock.pcb);
    ep.end_ours(End::Reset);
    reap::unlink(sock.arena, sock.name());
    ep.wake_peer();
}

/// A close in progress: what is to be done after the kernel's.
pub struct Closing {
    sock: Sock,
    name: reap::Name,
    how: End,
    /// The socket ends with this close; else the kernel is asked.
    last: bool,
}

/// Before close(2) of a descriptor. `None` where another descriptor of this process keeps the socket.
pub fn begin_close(sock: Sock) -> Option<Closing> {
    let pcb = sock.pcb;
    let shared = pcb.has(flag::SHARED);
    if !shared && pcb.descriptors.fetch_sub(1, Ordering::AcqRel) > 1 {
        return None;
    }
    // Somebody who sleeps on the socket keeps it open until woken.
    let sleepers = sock.endpoint().is_some_and(|ep| ep.reader_role().is_held() || ep.writer_role().is_held());
    if sleepers {
        pcb.set(flag::SHARED);
    }
    let shared = shared || sleepers;
    let name = sock.name();
    let mut how = End::Clean;
    if let Some(ep) = sock.endpoint() {
        private::before_close(&ep);
        ep.land();
        stats::fold(sock.arena, pcb);
        let unread = if ep.is_past_kernel() {
            // Doorbells nobody read would turn the anchor's FIN into a reset.
            if ep.is_mailbox() {
            } else if pcb.has(flag::UNIX) {
                while !shared && ep.take_doorbells() > 0 {}
            } else if !shared {
                while call::recv_scratch(sock.fd, libc::MSG_DONTWAIT).is_ok_and(|n| n > 0) {}
            }
            let unread = if packet::is_of(sock) { ep.has_unread_packets() } else { ep.rx.has_data() };
            unread || (ep.rx.path() == Path::Leaving && call::ioctl_int(sock.fd, libc::FIONREAD).is_ok_and(|n| n > 0))
        } else {
            call::ioctl_int(sock.fd, libc::FIONREAD).is_ok_and(|n| n > 0)
        };
        how = if (pcb.has(flag::LINGER_RESET) || unread) && !ep.is_mailbox() { End::Reset } else { End::Clean };
        if !shared {
            ep.end_ours(how);
        }
    }
    Some(Closing { sock, name, how, last: !shared })
}

impl Closing {
    /// After close(2).
    pub fn finish(self) {
        let arena = self.sock.arena;
        if self.last {
            reap::release(arena, self.name, self.how);
        } else if !reap::is_held(arena, self.sock.pcb) {
            // Another thread may still be in the middle of a call, and must not go on in memory that is given away.
            if let Some(ep) = self.sock.endpoint().filter(|_| self.sock.name() == self.name) {
                ep.end_ours(self.how);
            }
            reap::release(arena, self.name, self.how);
        }
    }
}
