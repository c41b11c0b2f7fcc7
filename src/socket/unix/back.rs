//! The way back to the kernel, for what only that can carry.

use super::*;

impl Endpoint {
    /// Takes the sending direction back to the kernel. False where that cannot be now: somebody is at it, or in the middle
    /// of a send, or the kernel has no room for what nobody else reads any more.
    pub fn leave_ring(&self) -> bool {
        let _signals = Blocked::all();
        let is_abandoned = self.tx.control.deaf.load(Ordering::SeqCst) == ABANDONED;
        let me = self.sock.me().owner();
        let held = if is_abandoned { self.tx.writer.lock.try_acquire(me) } else { Some(self.tx.writer.lock.acquire(me, &System(self.sock.arena))) };
        match held {
            Some(held) if !held.is_nested() => {
                let has_left = self.leave_ring_locked(is_abandoned);
                drop(held);
                has_left
            }
            _ => false,
        }
    }

    fn leave_ring_locked(&self, is_abandoned: bool) -> bool {
        self.tx.change_path(Path::Kernel, Path::Pinned);
        self.tx.change_path(Path::Ready, Path::Pinned);
        if self.tx.change_path(Path::Ring, Path::Parting) || self.tx.path() == Path::Parting {
            // No doorbell may come after what the kernel carries from now on.
            await_silence(self.sock.pcb);
            if is_abandoned && !self.empty_ring_into_kernel() {
                self.tx.change_path(Path::Parting, Path::Ring);
                return false;
            }
            self.tx.change_path(Path::Parting, Path::Leaving);
            if self.sock.pcb.has(flag::SHUT_WR) {
                let _ = call::shutdown(self.sock.fd, libc::SHUT_WR);
            }
            LEAVES.fetch_add(1, Ordering::SeqCst);
            trace(format_args!("fd {}: sends through the kernel again", self.sock.fd));
        }
        true
    }

    /// Sends what nobody reads any more by the kernel, in its place, as far as there is room; true where that was all.
    fn empty_ring_into_kernel(&self) -> bool {
        if packet::is_of(self.sock) {
            return self.empty_packets_into_kernel();
        }
        let fd = self.sock.fd;
        let send = |from: *const u8, n: usize| call::send_nowait(fd, from, n);
        let (arena, me) = (self.sock.arena, self.sock.me());
        loop {
            match stream::drain(self.tx, arena, me, usize::MAX, || self.is_current(), send) {
                Ok(Some(Ok(1..))) => {}
                Ok(Some(Err(Errno::EAGAIN))) => return false,
                _ => return true,
            }
        }
    }

    /// Whether the other end wants what is sent to come through the kernel.
    pub fn is_called_back(&self) -> bool {
        matches!(self.tx.control.deaf.load(Ordering::SeqCst), RECALLED | ABANDONED)
    }

    /// Whether the ring holds what is still to be sent by the kernel (`leave_ring`).
    pub fn owes_kernel(&self) -> bool {
        self.tx.control.deaf.load(Ordering::SeqCst) == ABANDONED && self.tx.path() == Path::Ring
    }

    /// Whether the other end has left the ring and everything in it was read: what comes now is the kernel's.
    pub fn has_left_ring(&self) -> bool {
        // Told by a doorbell, perhaps before the other end leaves the ring itself.
        if self.owes_kernel() {
            self.leave_ring();
        }
        if !matches!(self.rx.path(), Path::Leaving | Path::Pinned) {
            return false;
        }
        if self.rx.path() == Path::Pinned {
            return true;
        }
        if self.rx.has_data() {
            return false;
        }
        while self.take_doorbells() > 0 {}
        (0..PATIENCE).take_while(|_| self.sock.pcb.recvs_in_kernel.load(Ordering::SeqCst) != 0).for_each(|_| thread::yield_now());
        self.rx.change_path(Path::Leaving, Path::Pinned);
        PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
        true
    }
}

/// Keeps a socket with the kernel, or takes it back there: its sending direction now, the receiving one with the other
/// end's next send.
pub fn pin(sock: Sock) -> bool {
    sock.pcb.set(flag::KERNEL_ONLY);
    let Some(ep) = sock.endpoint() else { return true };
    let left = ep.leave_ring();
    ep.rx.change_path(Path::Kernel, Path::Pinned);
    ep.rx.change_path(Path::Ready, Path::Pinned);
    if ep.rx.path() != Path::Pinned {
        let _ = ep.rx.control.deaf.compare_exchange(0, RECALLED, Ordering::SeqCst, Ordering::SeqCst);
    }
    left
}

/// Before this process becomes a program without the library that keeps the socket: from now on everything comes and goes
/// through the kernel, as soon as the other end sends again, and nobody rings.
pub fn hand_over(sock: Sock) {
    if let Some(ep) = sock.endpoint() {
        ep.rx.control.deaf.store(ABANDONED, Ordering::SeqCst);
        if let Some((_, peer)) = ep.peer() {
            await_silence(peer);
        }
        while ep.take_doorbells() > 0 {}
        ep.rx.control.readable.clear();
        ep.tx.control.writable.clear();
        // What it has put into the ring it takes out again.
        ep.ring_unix(true);
    }
    pin(sock);
}

/// Waits until nobody of the process is in the middle of sending to the kernel.
fn await_silence(pcb: &Pcb) {
    (0..PATIENCE).take_while(|_| pcb.sends_in_kernel.load(Ordering::SeqCst) != 0).for_each(|_| thread::yield_now());
}
