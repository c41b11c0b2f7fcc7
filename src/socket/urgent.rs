//! Urgent data (tcp(7), MSG_OOB). The byte stays in its place in the ring and its mark in the circuit; an
//! urgent byte on the anchor, which carries no data, makes the kernel send SIGURG and wake who polls.

use core::sync::atomic::Ordering;
use libc::c_int;

use super::handle::Endpoint;
use super::stats;
use crate::pcb::block::flag;
use crate::pcb::circuit::End;
use crate::sys::errno::Ret;
use crate::sys::{Errno, call};
use crate::transport::iov::Iov;
use crate::transport::stream;

/// The last urgent byte sent: its position in the stream, and its value.
#[derive(Clone, Copy)]
struct Mark {
    at: u64,
    byte: u8,
}

impl Mark {
    fn word(self) -> u64 {
        self.at.wrapping_add(1) << 8 | u64::from(self.byte)
    }

    fn of(word: u64) -> Option<Mark> {
        (word != 0).then(|| Mark { at: (word >> 8).wrapping_sub(1), byte: word as u8 })
    }
}

impl Endpoint {
    /// The mark, unless the receiver has gone past it.
    #[inline]
    fn mark(&self) -> Option<Mark> {
        let mark = Mark::of(self.rx.control.urgent.load(Ordering::Acquire))?;
        (mark.at >= self.rx.consumed.tail.load(Ordering::Relaxed)).then_some(mark)
    }

    fn is_inline(&self) -> bool {
        self.sock.pcb.has(flag::OOB_INLINE)
    }

    /// Whether `need` bytes can be read, not counting an urgent byte that reading skips.
    #[inline]
    pub fn has_bytes(&self, need: u64) -> bool {
        if !self.rx.has_data() {
            return false;
        }
        if need <= 1 && self.rx.control.urgent.load(Ordering::Acquire) == 0 {
            return true;
        }
        let lost = self.rx.control.lost.load(Ordering::Acquire);
        let is_lost = lost != 0 && lost - 1 == self.rx.consumed.tail.load(Ordering::Relaxed) && !self.is_inline();
        let next = self.rx.consumed.tail.load(Ordering::Relaxed) + u64::from(is_lost);
        let skipped = self.mark().is_some_and(|m| !self.is_inline() && m.at == next);
        self.rx.queued().is_none_or(|n| n >= need.saturating_add(u64::from(skipped) + u64::from(is_lost)))
    }

    /// Bytes before the mark, or all `queued` where there is none ahead (FIONREAD).
    pub fn queued_to_mark(&self, queued: u64) -> u64 {
        match self.mark().filter(|_| !self.is_inline()) {
            Some(mark) => match mark.at.saturating_sub(self.rx.consumed.tail.load(Ordering::Relaxed)) {
                0 => queued.saturating_sub(1),
                n => n.min(queued),
            },
            None => queued,
        }
    }

    /// How far a receive may go: up to the mark. One that begins at the mark first skips the urgent byte.
    pub fn limit_at_mark(&self, got: usize) -> usize {
        self.skip_lost();
        let Some(mark) = self.mark() else { return usize::MAX };
        let before = mark.at.saturating_sub(self.rx.consumed.tail.load(Ordering::Relaxed));
        match before {
            0 if got > 0 => 0,
            0 if self.is_inline() => usize::MAX,
            0 => {
                self.skip_one();
                usize::MAX
            }
            n => usize::try_from(n).unwrap_or(usize::MAX),
        }
    }

    /// An urgent byte that was next when another one came is never told (as tcp_check_urg of Linux).
    fn skip_lost(&self) {
        let lost = self.rx.control.lost.load(Ordering::Acquire);
        if lost != 0 && lost - 1 == self.rx.consumed.tail.load(Ordering::Relaxed) && !self.is_inline() && self.rx.has_data() {
            self.rx.control.lost.store(0, Ordering::Relaxed);
            self.skip_one();
        }
    }

    fn skip_one(&self) {
        let mut nowhere = Iov::nowhere(1);
        let _ = stream::pop(self.rx, self.sock.arena, self.sock.me(), self.may_have_company(), &mut nowhere, 1, false, || self.is_current());
    }

    /// Whether an urgent byte has come that nobody has taken: POLLPRI.
    pub fn has_urgent(&self) -> bool {
        let word = self.rx.control.urgent.load(Ordering::Acquire);
        word != 0 && word != self.rx.reader.urgent_seen.load(Ordering::Acquire) && self.mark().is_some()
    }

    /// recv(MSG_OOB).
    ///
    /// # Errors
    /// `EINVAL` where there is no urgent byte, or it is in line.
    pub fn receive_urgent(&self, sink: &mut Iov, peek: bool) -> Ret {
        let word = self.rx.control.urgent.load(Ordering::Acquire);
        let mark = self.mark().filter(|_| !self.is_inline() && word != self.rx.reader.urgent_seen.load(Ordering::Acquire));
        let Some(mark) = mark else { return Err(Errno::EINVAL) };
        if !peek {
            self.rx.reader.urgent_seen.store(word, Ordering::Release);
        }
        if sink.left() == 0 {
            return Ok(0);
        }
        if sink.put_byte(mark.byte) { Ok(1) } else { Err(Errno::EFAULT) }
    }

    /// SIOCATMARK.
    pub fn is_at_mark(&self) -> bool {
        Mark::of(self.rx.control.urgent.load(Ordering::Acquire)).is_some_and(|m| m.at == self.rx.consumed.tail.load(Ordering::Relaxed))
    }

    /// Marks the last of the bytes about to be sent as urgent; `announce` follows when they are in the ring.
    pub fn mark_urgent(&self, source: &Iov) {
        if let Some(byte) = source.last_byte() {
            let at = self.tx.sent().wrapping_add(source.left() as u64 - 1);
            let before = Mark::of(self.tx.control.urgent.load(Ordering::Acquire));
            if let Some(next) = before.filter(|m| m.at == self.tx.consumed.tail.load(Ordering::Acquire) && m.at < at) {
                self.tx.control.lost.store(next.at + 1, Ordering::Release);
            }
            self.tx.control.urgent.store(Mark { at, byte }.word(), Ordering::Release);
        }
    }

    /// Tells the other end's kernel that urgent data has come.
    pub fn announce_urgent(&self) {
        if self.sock.pcb.is_private() {
            return self.wake_peer();
        }
        if self.peer_end() == End::Open {
            stats::rang(self.sock.arena);
            let oob: c_int = libc::MSG_OOB;
            let _ = call::send_byte(self.sock.fd, oob);
        }
    }
}
