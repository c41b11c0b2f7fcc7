//! Receiving.

use core::sync::atomic::Ordering;
use libc::{MSG_OOB, MSG_PEEK, MSG_WAITALL, c_int};

use super::handle::{Endpoint, Sock};
use super::route::{self, RxRoute};
use super::stats::{COUNTERS, add};
use super::{packet, private, sleepers, spin, unix};
use crate::net::links;
use crate::pcb::block::flag;
use crate::pcb::circuit::End;
use crate::shm::owner::System;
use crate::sys::clock::Deadline;
use crate::sys::errno::Ret;
use crate::sys::{Errno, call};
use crate::transport::direction::Path;
use crate::transport::iov::Iov;
use crate::transport::stream;

/// Receives into `sink`; `kernel` makes the program's own call where the kernel has the bytes, with flags besides.
#[inline(always)]
pub fn receive(sock: Sock, sink: &mut Iov, flags: c_int, mut kernel: impl FnMut(c_int) -> Ret) -> Ret {
    if packet::is_of(sock) {
        return packet::receive(sock, sink, flags, kernel);
    }
    if flags & MSG_OOB != 0 && sock.pcb.is_unix_domain() {
        return kernel(0);
    }
    loop {
        match route::rx(sock) {
            RxRoute::Ring(ep) => match ep.receive(sink, flags) {
                Err(route::ROUTE_CHANGED) => {}
                ret => return ret,
            },
            RxRoute::Kernel if sock.pcb.is_private() => return private::receive_unconnected(sock, flags),
            RxRoute::Kernel if sock.pcb.has(flag::UNIX) && flags & MSG_OOB == 0 => {
                if let Some(ret) = by_unix_kernel(sock, flags, &mut kernel) {
                    return ret;
                }
            }
            RxRoute::Kernel if flags & MSG_WAITALL != 0 && !sock.pcb.has(flag::KERNEL_ONLY) => {
                if let Some(ret) = all_from_kernel(sock, sink, flags) {
                    return ret;
                }
            }
            RxRoute::Kernel if sock.may_have_company() && !sock.pcb.has(flag::KERNEL_ONLY) && flags & (MSG_OOB | libc::MSG_ERRQUEUE) == 0 => {
                if let Some(ret) = among_others(sock, sink, flags) {
                    return ret;
                }
            }
            RxRoute::Kernel => {
                let ret = kernel(0);
                if let Some(ret) = from_kernel(sock, ret, flags) {
                    return ret;
                }
            }
        }
    }
}

/// As `receive`, for a call that is told of bytes alone: where an AF_UNIX stream goes on in the kernel it takes both.
#[inline(always)]
pub fn receive_bytes(sock: Sock, sink: &mut Iov, flags: c_int, kernel: impl FnMut(c_int) -> Ret) -> Ret {
    let before = sink.left();
    match receive(sock, sink, flags, kernel) {
        Ok(n) if sock.pcb.is_unix_domain() && !packet::is_of(sock) && n > 0 && sink.left() > 0 && sink.left() < before => {
            beyond_ring(sock, sink, flags, n)
        }
        ret => ret,
    }
}

#[cold]
fn beyond_ring(sock: Sock, sink: &mut Iov, flags: c_int, n: usize) -> Ret {
    if flags & MSG_PEEK != 0 || !unix::goes_on_in_kernel(sock) {
        return Ok(n);
    }
    Ok(n + sink.receive_kernel(sock.fd, usize::MAX, flags | libc::MSG_DONTWAIT).unwrap_or(0))
}

/// A receive from the kernel's AF_UNIX socket, during which nobody switches. `None` where the route is to be asked for
/// again.
pub(super) fn by_unix_kernel(sock: Sock, flags: c_int, kernel: &mut impl FnMut(c_int) -> Ret) -> Option<Ret> {
    // Who owes the kernel something must not be asleep inside.
    let owes = sock.endpoint().is_some_and(|ep| ep.owes_kernel());
    let company = owes || (sock.may_have_company() && !unix::stays_in_kernel(sock));
    let guard = unix::receive_in_kernel(sock)?;
    let ret = kernel(if company && flags & MSG_WAITALL == 0 { libc::MSG_DONTWAIT } else { 0 });
    drop(guard);
    if let Ok(n) = ret {
        add(&COUNTERS.kernel_rx_bytes, n as u64);
        add(&COUNTERS.kernel_rx_messages, 1);
    }
    if ret == Err(Errno::ECONNRESET) && is_of_doorbells(sock) {
        return None;
    }
    if ret == Err(Errno::ECONNRESET) {
        // Told by the kernel, and not to be told again by the ring.
        sock.pcb.set(flag::END_SEEN);
        sock.pcb.so_error.store(0, Ordering::Relaxed);
    }
    if ret == Ok(0)
        && let Some(error) = sock.endpoint().and_then(|ep| ep.error_of_ring())
    {
        return Some(Err(error));
    }
    if ret == Err(Errno::EAGAIN) && company && !sock.is_nonblocking(flags) { asleep_in_kernel(sock) } else { Some(ret) }
}

/// A receive through the kernel where other threads or processes may receive from the same socket: one at a
/// time, so that each knows which of its bytes were doorbells, and none asleep inside, where a switch would
/// leave it. `None` where the route is to be asked for again.
fn among_others(sock: Sock, sink: &mut Iov, flags: c_int) -> Option<Ret> {
    let endpoint = sock.endpoint();
    let held = endpoint.map(|ep| ep.rx.reader.lock.acquire(sock.me().owner(), &System(sock.arena)));
    if endpoint.is_some_and(|ep| ep.rx.path() == Path::Ring) {
        return None;
    }
    let ret = from_kernel(sock, sink.receive_kernel(sock.fd, usize::MAX, flags | libc::MSG_DONTWAIT), flags);
    drop(held);
    if ret != Some(Err(Errno::EAGAIN)) || sock.is_nonblocking(flags) {
        return ret;
    }
    asleep_in_kernel(sock)
}

/// Whether doorbells of ours, which the other end had not read, made its exit a reset. Whether it was one the ring tells.
fn is_of_doorbells(sock: Sock) -> bool {
    sock.pcb.has(flag::UNIX) && sock.endpoint().is_some_and(|ep| ep.has_unread_doorbells())
}

/// Sleeps until there is something to receive; `None` then.
fn asleep_in_kernel(sock: Sock) -> Option<Ret> {
    match slept_in_kernel(sock) {
        Some(Err(Errno::ECONNRESET)) if is_of_doorbells(sock) => None,
        ret => ret,
    }
}

fn slept_in_kernel(sock: Sock) -> Option<Ret> {
    sleepers::about_to_sleep(sock);
    let deadline = Deadline::of_option(sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed));
    if sock.endpoint().is_some_and(|ep| ep.owes_kernel()) {
        return match call::poll_one(sock.fd, libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP, deadline) {
            Ok(0) => Some(Err(Errno::EAGAIN)),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        };
    }
    if deadline.is_never() {
        // As below, and restarted by the kernel after a signal where the program asked for that.
        return match call::recv_scratch(sock.fd, libc::MSG_PEEK) {
            Ok(_) if sock.is_closed() => Some(Err(Errno::EBADF)),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        };
    }
    match call::poll_one(sock.fd, libc::POLLIN | libc::POLLRDHUP, deadline) {
        Ok(0) => Some(Err(Errno::EAGAIN)),
        // Closed meanwhile: the number may be another file's.
        Ok(_) if sock.is_closed() => Some(Err(Errno::EBADF)),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    }
}

/// MSG_WAITALL through the kernel, piece by piece: one call for everything would sleep on after the other
/// end has switched to the ring. `None` where it has, and nothing was taken.
fn all_from_kernel(sock: Sock, sink: &mut Iov, flags: c_int) -> Option<Ret> {
    let peek = flags & MSG_PEEK != 0;
    let mut got = 0;
    let deadline = Deadline::of_option(sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed));
    sleepers::about_to_sleep(sock);
    loop {
        // What is there already is told when a signal comes.
        if got > 0 && call::poll_one(sock.fd, libc::POLLIN | libc::POLLRDHUP, deadline).unwrap_or(0) == 0 {
            return Some(Ok(got));
        }
        let ret = sink.receive_kernel(sock.fd, usize::MAX, flags & !MSG_WAITALL);
        let n = match from_kernel(sock, ret, flags) {
            Some(Ok(n)) => n,
            Some(Err(e)) => return Some(if got > 0 { Ok(got) } else { Err(e) }),
            None if got == 0 => return None,
            None => 0,
        };
        if peek {
            return if sock.is_nonblocking(flags) { Some(Ok(n)) } else { peek_all(sock, n, sink.left()) };
        }
        sink.advance(n);
        got += n;
        if sink.left() == 0 || sock.is_nonblocking(flags) || (n == 0 && ret == Ok(0)) {
            return Some(Ok(got));
        }
        if let RxRoute::Ring(ep) = route::rx(sock) {
            return Some(Ok(got + ep.receive(sink, flags).unwrap_or(0)));
        }
    }
}

/// `n` of `wanted` bytes are there to be looked at: sleeps until one more has come. `None` where it has.
fn peek_all(sock: Sock, n: usize, wanted: usize) -> Option<Ret> {
    if n == 0 || n == wanted {
        return Some(Ok(n));
    }
    let _ = call::set_int_option(sock.fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, n as c_int + 1);
    let polled = call::poll_one(sock.fd, libc::POLLIN | libc::POLLRDHUP, Deadline::of_option(sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed)));
    let _ = call::set_int_option(sock.fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1);
    match polled {
        Ok(bits) if bits & libc::POLLRDHUP == 0 && bits != 0 => None,
        _ => Some(Ok(n)),
    }
}

/// What a receive from the kernel brought, less the doorbells that came with it if the other end switched
/// meanwhile; `None` where nothing is left and the ring is to be looked at.
pub fn from_kernel(sock: Sock, ret: Ret, flags: c_int) -> Option<Ret> {
    let crossed = sock.endpoint().filter(|ep| ep.rx.path() == Path::Ring && flags & MSG_OOB == 0);
    let (n, ep) = match (ret, crossed) {
        (Ok(n), None) => {
            add(&COUNTERS.kernel_rx_bytes, n as u64);
            add(&COUNTERS.kernel_rx_messages, 1);
            return Some(Ok(n));
        }
        // Doorbells that the other end had not read made its orderly close a reset.
        (Err(Errno::ECONNRESET), _) if sock.endpoint().is_some_and(|ep| ep.peer_end() == End::Clean) => return Some(Ok(0)),
        (Err(Errno::ECONNRESET), _) => {
            // Told by the kernel, and not to be told again by the ring.
            sock.pcb.set(flag::END_SEEN | flag::BROKEN);
            return Some(Err(Errno::ECONNRESET));
        }
        (Err(e), _) if e != Errno::EAGAIN => return Some(Err(e)),
        (Err(e), None) => return Some(Err(e)),
        (Err(_), Some(ep)) => return if ep.rx.has_data() { None } else { Some(Err(Errno::EAGAIN)) },
        (Ok(n), Some(ep)) => (n, ep),
    };
    if n == 0 {
        return None;
    }
    let data = if flags & MSG_PEEK != 0 {
        (n as u64).min(ep.kernel_left(0).0)
    } else {
        let (_, doorbells) = ep.kernel_left(n as u64);
        n as u64 - doorbells
    };
    (data > 0).then_some(Ok(data as usize))
}

const LEAST_CALM_NS: u64 = 100;
const MOST_CALM_NS: u64 = 3_200;

/// How long to rest before the next look, after a rest of `calm_ns` behind which something was `found` or not.
#[inline(always)]
pub(super) fn calmer(calm_ns: u64, found: bool) -> u64 {
    if found { (calm_ns * 2).clamp(LEAST_CALM_NS, MOST_CALM_NS) } else { calm_ns / 2 / LEAST_CALM_NS * LEAST_CALM_NS }
}

impl Endpoint {
    /// Receives from the ring, after what is left in the kernel.
    #[inline(always)]
    pub fn receive(&self, sink: &mut Iov, flags: c_int) -> Ret {
        if links::any(self.sock.arena) && flags & MSG_WAITALL == 0 {
            self.shorten(sink, false);
        }
        // The common case: bytes are there, and any number will do.
        let plain = flags & !(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC) == 0;
        if plain
            && self.rx.reader.kernel_left.load(Ordering::Acquire) == 1
            && self.sock.pcb.rcvlowat.load(Ordering::Relaxed) <= 1
            && self.rx.control.urgent.load(Ordering::Acquire) == 0
        {
            let n = self.take(sink, usize::MAX, false)?;
            if n > 0 {
                return Ok(n);
            }
            if !self.sock.is_nonblocking(flags)
                && !self.is_peer_here()
                && (if self.awaits_answer() { self.look_closely() } else { self.look_calmly() })
            {
                let n = self.take(sink, usize::MAX, false)?;
                if n > 0 {
                    return Ok(n);
                }
            }
        }
        self.receive_with(sink, flags)
    }

    /// Whether the other end last waited on the processor that this one last waited on: then it cannot answer
    /// while we look.
    #[inline(always)]
    pub(super) fn is_peer_here(&self) -> bool {
        self.rx.produced.place.load(Ordering::Relaxed) == self.rx.consumed.place.load(Ordering::Relaxed)
    }

    /// Who has sent something since it last found nothing waits for an answer, which may come at once: looks
    /// for it closely, and for a moment only.
    #[inline(always)]
    pub(super) fn awaits_answer(&self) -> bool {
        let sent = self.tx.produced.head.load(Ordering::Relaxed);
        if self.rx.reader.sent_seen.load(Ordering::Relaxed) == sent {
            return false;
        }
        self.rx.reader.sent_seen.store(sent, Ordering::Relaxed);
        true
    }

    #[inline(always)]
    fn look_closely(&self) -> bool {
        self.rx.reader.calm_ns.store(0, Ordering::Relaxed);
        let seen = self.rx.reader.head_seen.load(Ordering::Relaxed);
        spin::briefly(|| self.rx.produced.head.load(Ordering::Acquire) != seen)
    }

    /// In a stream that keeps coming every look costs the sender more than a message does: while the first
    /// look always finds something it is made later and later, up to a microsecond or two.
    pub(super) fn look_calmly(&self) -> bool {
        let calm_ns = self.rest_calmly();
        let found = self.rx.has_data();
        self.rx.reader.calm_ns.store(calmer(calm_ns, found), Ordering::Relaxed);
        found
    }

    /// Rests for as long as is worth it before a look; returns how long that was.
    #[inline(always)]
    pub(super) fn rest_calmly(&self) -> u64 {
        let calm_ns = self.rx.reader.calm_ns.load(Ordering::Relaxed).min(MOST_CALM_NS);
        if calm_ns > 0 {
            spin::rest(calm_ns);
        }
        calm_ns
    }

    #[inline(never)]
    fn receive_with(&self, sink: &mut Iov, flags: c_int) -> Ret {
        if flags & MSG_OOB != 0 {
            return self.receive_urgent(sink, flags & MSG_PEEK != 0);
        }
        let is_unix = self.sock.pcb.is_unix_domain();
        if flags & libc::MSG_ERRQUEUE != 0 && !is_unix {
            // There never is an error in the queue.
            return Err(Errno::EAGAIN);
        }
        let peek = flags & MSG_PEEK != 0;
        let nonblocking = self.sock.is_nonblocking(flags);
        if !self.is_past_kernel() {
            return self.receive_left(sink, flags, peek);
        }
        let lowat = self.sock.pcb.rcvlowat.load(Ordering::Relaxed).max(1) as usize;
        // Who only looks at an AF_UNIX stream is told what is there.
        let waits_for_all = flags & MSG_WAITALL != 0 && !(peek && is_unix);
        self.receive_slowly(sink, peek, nonblocking, if waits_for_all { usize::MAX } else { lowat })
    }

    #[inline(always)]
    fn take(&self, sink: &mut Iov, most: usize, peek: bool) -> Ret {
        let n = stream::pop(self.rx, self.sock.arena, self.sock.me(), self.may_have_company(), sink, most, peek, || self.is_current())
            .map_err(|why| self.refused(why))?;
        if n > 0 && !peek {
            self.taken();
        }
        Ok(n)
    }

    /// After something was taken from the ring.
    #[inline(always)]
    pub(super) fn taken(&self) {
        self.wake_writer();
        if self.sock.pcb.has(flag::DOORBELL_LEFT) && !self.rx.has_data() {
            self.take_left_doorbells();
        }
    }

    fn receive_slowly(&self, sink: &mut Iov, peek: bool, nonblocking: bool, at_least: usize) -> Ret {
        let target = at_least.min(sink.left()).max(1);
        let deadline = Deadline::of_option(self.sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed));
        let mut got = 0;
        loop {
            self.land();
            // Asked before the ring is looked at: what was sent before the end is there now.
            let ended = self.has_ended();
            let most = self.limit_at_mark(got);
            if peek {
                got = self.take(&mut sink.fork(), most, true)?;
            } else {
                match self.take(sink, most, false) {
                    Ok(n) => got += n,
                    Err(_) if got > 0 => return Ok(got),
                    Err(e) => return Err(e),
                }
            }
            if self.has_left_ring() {
                return if got > 0 { Ok(got) } else { Err(route::ROUTE_CHANGED) };
            }
            if got >= target || (sink.left() == 0 && got == 0 && self.has_bytes(1)) || (got > 0 && (most != usize::MAX || ended)) {
                return Ok(got);
            }
            if ended
                && got == 0
                && let Some(end) = self.at_end()
            {
                return end.map(|()| 0);
            }
            if !self.is_current() {
                return Err(Errno::EBADF);
            }
            if nonblocking {
                if got == 0 {
                    self.look_for_end(&self.rx.reader.looked_ns);
                    if self.has_ended() {
                        continue;
                    }
                    return Err(Errno::EAGAIN);
                }
                return Ok(got);
            }
            let need = if peek { target as u64 } else { 1 };
            if let Err(e) = self.wait_readable(need, deadline, got == 0) {
                return if got > 0 { Ok(got) } else { Err(e) };
            }
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.rx.is_finished() || self.peer_end() != End::Open || self.sock.pcb.has(flag::SHUT_RD)
    }

    /// Receives what went through the kernel before the switch.
    fn receive_left(&self, sink: &mut Iov, flags: c_int, peek: bool) -> Ret {
        // Among others one at a time, and none asleep inside: another may take what this one waits for, and what
        // comes next is on the ring.
        let company = self.may_have_company();
        let held = company.then(|| self.rx.reader.lock.acquire(self.sock.me().owner(), &System(self.sock.arena)));
        let (left, _) = self.kernel_left(0);
        if left == 0 {
            drop(held);
            // Another may have read the ring that was left to its end meanwhile.
            return if self.rx.path().leads_to_ring() { self.receive(sink, flags) } else { Err(route::ROUTE_CHANGED) };
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let nowait = if company { libc::MSG_DONTWAIT } else { 0 };
        let n = match sink.receive_kernel(self.sock.fd, most, flags & !MSG_WAITALL | nowait) {
            Err(Errno::EAGAIN) if company && !self.sock.is_nonblocking(flags) => {
                drop(held);
                sleepers::about_to_sleep(self.sock);
                let deadline = Deadline::of_option(self.sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed));
                return match call::poll_one(self.sock.fd, libc::POLLIN | libc::POLLRDHUP, deadline)? {
                    0 => Err(Errno::EAGAIN),
                    _ if self.sock.is_closed() => Err(Errno::EBADF),
                    _ => self.receive(sink, flags),
                };
            }
            other => other?,
        };
        if n == 0 && sink.left() > 0 {
            drop(held);
            // The other end is gone and so is what it had sent.
            self.anchor_ended(None);
            self.rx.reader.kernel_left.store(1, Ordering::Release);
            return self.receive(sink, flags);
        }
        if peek {
            drop(held);
            return self.peek_beyond(sink, n, left, flags);
        }
        add(&COUNTERS.kernel_rx_bytes, n as u64);
        self.kernel_left(n as u64);
        drop(held);
        sink.advance(n);
        if sink.left() > 0 && (flags & MSG_WAITALL != 0 || self.rx.has_data()) {
            let flags = if flags & MSG_WAITALL != 0 { flags } else { flags | libc::MSG_DONTWAIT };
            return Ok(n + self.receive(sink, flags).unwrap_or(0));
        }
        Ok(n)
    }

    /// MSG_PEEK over the seam: `n` of the `left` bytes in the kernel are in the buffers, the ring follows.
    fn peek_beyond(&self, sink: &Iov, n: usize, left: u64, flags: c_int) -> Ret {
        let mut beyond = sink.fork();
        beyond.advance(n);
        if (n as u64) < left || beyond.left() == 0 {
            return Ok(n);
        }
        let wait = flags & MSG_WAITALL != 0 && !self.sock.is_nonblocking(flags) && !self.sock.pcb.is_unix_domain();
        Ok(n + self.receive_slowly(&mut beyond, true, !wait, if wait { usize::MAX } else { 1 }).unwrap_or(0))
    }
}
