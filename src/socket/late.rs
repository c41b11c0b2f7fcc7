//! What faulty links do to the two ends of a connection, and to a mailbox: when what is sent arrives (`net::links` says when),
//! and what is under way while somebody waits for it. A net without faults pays a look at one word.

use core::sync::atomic::Ordering;
use libc::c_int;

use super::datagram;
use super::handle::{Endpoint, Sock};
use super::private::{self, Reach};
use super::wait::LOOK_AGAIN_NS;
use crate::net::links::{self, SEGMENT_BYTES, Segment, Way};
use crate::pcb::circuit::End;
use crate::sys::clock::now_ns;
use crate::sys::errno::Ret;
use crate::sys::{Errno, call};
use crate::transport::direction::{HELD, NEVER, late};
use crate::transport::flight::{self, Due};
use crate::transport::iov::Iov;
use crate::transport::late::Post;
use crate::transport::stream;

impl Endpoint {
    /// The hosts of this end and of the other.
    fn hosts(&self) -> (u32, u32) {
        let mine = private::host(self.sock);
        let its = match self.peer() {
            Some((_, peer)) => peer.host.load(Ordering::Relaxed),
            // It is gone, and its address is not.
            None => match private::reach(self.sock.arena, mine, self.sock.pcb.addresses().remote.ip()) {
                Reach::Host(its) => its,
                _ => mine,
            },
        };
        (mine, its)
    }

    fn way_out(&self) -> Option<Way<'static>> {
        if !links::any(self.sock.arena) {
            return None;
        }
        let (mine, its) = self.hosts();
        links::between(self.sock.arena, mine, its)
    }

    fn way_in(&self) -> Option<Way<'static>> {
        if !links::any(self.sock.arena) {
            return None;
        }
        let (mine, its) = self.hosts();
        links::between(self.sock.arena, its, mine)
    }

    /// Whether links may have to do with it.
    #[inline(always)]
    pub fn may_be_late(&self) -> bool {
        self.tx.late() != 0 || links::any(self.sock.arena)
    }

    /// Lets what is due arrive.
    #[inline(always)]
    pub fn land(&self) {
        if self.rx.late() != 0 {
            self.land_late();
        }
    }

    /// When something is to be looked for next that nobody will wake for; `NEVER` where nothing is under way.
    #[inline(always)]
    pub fn next_due(&self) -> u64 {
        if self.rx.late() == 0 { NEVER } else { self.land_late() }
    }

    /// The same for one of several that wait on the socket, each for itself: the one that was woken for what is under way has
    /// taken the doorbell, and nobody wakes the others when that arrives.
    pub fn next_look(&self) -> u64 {
        let among_others = links::any(self.sock.arena) && self.may_have_company();
        self.next_due().min(if among_others { now_ns().saturating_add(LOOK_AGAIN_NS) } else { NEVER })
    }

    /// Lets what is due arrive; when the next is.
    #[cold]
    #[inline(never)]
    fn land_late(&self) -> u64 {
        let now = now_ns();
        if self.is_mailbox() {
            return self.land_datagrams(now).min(datagram::land_errors(self, now));
        }
        let handshake = if self.rx.late() & (late::ANSWER | late::KNOCK) != 0 { private::go_on(self, now) } else { NEVER };
        let mut next = self.land_bytes(now);
        if next == NEVER && self.rx.late() & late::END != 0 {
            next = flight::land_mark(&self.rx.produced.end_due_ns, now, || self.when_healed(now));
        }
        // Nobody tells when a cut is healed.
        let next = if next == HELD { now.saturating_add(LOOK_AGAIN_NS) } else { next };
        next.min(handshake)
    }

    fn land_bytes(&self, now: u64) -> u64 {
        flight::land(self.rx, self.sock.arena, self.sock.me(), now, || self.when_healed(now))
    }

    fn land_datagrams(&self, now: u64) -> u64 {
        let most = datagram::queue_bytes(self.sock);
        let post = Post { arena: self.sock.arena, mailbox: self.rx, under_way: self.tx, circuit: self.link.circuit };
        post.land(self.sock.me(), now, most, || self.is_current())
    }

    /// When what was held up by a cut arrives: it is sent again as soon as somebody sees that the cut is healed.
    fn when_healed(&self, now: u64) -> u64 {
        match self.way_in() {
            Some(way) if way.is_cut => HELD,
            way => now.saturating_add(way.map_or(0, |way| way.rule.delay_ns)),
        }
    }

    /// Whether the other end has ended and this one has not heard of it: the anchor then says so without end.
    pub fn awaits_end(&self) -> bool {
        self.rx.late() & late::END != 0 && self.circuit.end(1 - self.link.side) != End::Open
    }

    /// The other end has ended, as `told`: what of that has arrived.
    #[cold]
    pub(super) fn end_heard(&self, told: End) -> End {
        if (self.rx.late() == 0 && !links::any(self.sock.arena)) || self.is_mailbox() {
            return told;
        }
        let now = now_ns();
        let word = &self.rx.produced.end_due_ns;
        if word.load(Ordering::SeqCst) == 0 {
            // It has died, or did not know of the fault.
            let due = self.way_in().map_or(now, |way| way.segment(self.sock.arena, 0, now).due_ns);
            let _ = word.compare_exchange(0, due.max(1), Ordering::SeqCst, Ordering::SeqCst);
        }
        if self.land_bytes(now) == NEVER && flight::land_mark(word, now, || self.when_healed(now)) == NEVER {
            if self.rx.late() & late::END != 0 {
                self.rx.control.late.fetch_and(!late::END, Ordering::SeqCst);
            }
            return told;
        }
        if self.rx.late() & late::END == 0 {
            self.rx.control.late.fetch_or(late::END, Ordering::SeqCst);
        }
        End::Open
    }

    /// This end is about to be over: when the other hears of it.
    pub(super) fn send_end(&self) {
        if let Some(way) = self.way_out().filter(|_| !self.is_mailbox()) {
            let due = way.segment(self.sock.arena, 0, now_ns()).due_ns;
            let _ = self.tx.produced.end_due_ns.compare_exchange(0, due.max(1), Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Says that nothing follows what was sent.
    pub(super) fn send_fin(&self) {
        if self.may_be_late() {
            let way = self.way_out();
            if way.is_some() || self.tx.late() & late::BYTES != 0 {
                let now = now_ns();
                let due = way.map_or(now, |way| way.segment(self.sock.arena, 0, now).due_ns);
                return flight::send_fin(self.tx, due.max(1));
            }
        }
        self.tx.produced.fin.swap(1, Ordering::SeqCst);
    }

    /// How much may be under way or unread, where a link says something of that.
    pub(super) fn window(&self) -> u64 {
        self.way_out().map_or(u64::MAX, |way| {
            let left = match way.rule.reset_after {
                0 => u64::MAX,
                after => after.saturating_sub(self.tx.consumed.tail.load(Ordering::Relaxed)),
            };
            way.window().min(left)
        })
    }

    /// Whether as much is under way as may be, for a sender of `wanted` bytes.
    pub(super) fn is_window_full(&self, wanted: usize) -> bool {
        if self.tx.late() & late::BYTES == 0 {
            return false;
        }
        let most = self.queue_bytes();
        let room = self.tx.unread().map_or(0, |n| most.saturating_sub(n));
        !stream::has_room_for(wanted, room, whole_of(stream::WHOLE_BYTES, most))
    }

    /// Puts bytes on their way over a faulty link; `None` where it is none.
    #[cold]
    #[inline(never)]
    pub(super) fn push_late(&self, source: &mut Iov, whole: u64, valid: impl Fn() -> bool) -> Option<Ret> {
        let way = self.begin_late()?;
        let Some(most) = self.room_before_reset(way.as_ref()) else { return Some(Err(Errno::ECONNRESET)) };
        let (arena, me, now) = (self.sock.arena, self.sock.me(), now_ns());
        let due = |bytes| self.due(way.as_ref(), bytes, now);
        let pushed = flight::push(
            self.tx,
            arena,
            me,
            source,
            (most, whole_of(whole, most)),
            SEGMENT_BYTES,
            valid,
            due,
            |at, piece| self.tap(at, piece),
            || self.wake_reader(),
        );
        self.reset_if_due(way.as_ref());
        Some(pushed.map_err(|why| self.refused(why)))
    }

    /// As `push_late`, of what `read` puts into the ring.
    pub(super) fn fill_late<E>(
        &self,
        most: usize,
        valid: impl Fn() -> bool,
        read: impl FnOnce(*mut u8, usize) -> Result<usize, E>,
    ) -> Option<Result<Option<Result<usize, E>>, Errno>> {
        let way = self.begin_late()?;
        let Some(room) = self.room_before_reset(way.as_ref()) else { return Some(Err(Errno::ECONNRESET)) };
        let (arena, me, now) = (self.sock.arena, self.sock.me(), now_ns());
        let due = |bytes| self.due(way.as_ref(), bytes, now);
        let filled = flight::fill(self.tx, arena, me, (most, room), SEGMENT_BYTES, valid, due, read, |at, piece| self.tap(at, piece));
        self.reset_if_due(way.as_ref());
        Some(filled.map_err(|_| self.damaged()))
    }

    /// The way out, where what is sent is late, be it because of what was sent before.
    #[allow(clippy::option_option)]
    fn begin_late(&self) -> Option<Option<Way<'static>>> {
        let (arena, me) = (self.sock.arena, self.sock.me());
        let way = self.way_out();
        if way.is_none() && self.tx.late() & late::BYTES != 0 {
            flight::end(self.tx, arena, me);
        }
        let is_late = if way.is_some() { flight::begin(self.tx, arena, me, self.link.circuit) } else { self.tx.late() & late::BYTES != 0 };
        is_late.then_some(way)
    }

    fn due(&self, way: Option<&Way>, bytes: u64, now: u64) -> Due {
        let segment = way.map_or(Segment { due_ns: now, soon_ns: now }, |way| way.segment(self.sock.arena, bytes, now));
        Due { ns: segment.due_ns, soon_ns: segment.soon_ns }
    }

    /// How much may be under way; `None` where the connection is over by what has gone before.
    fn room_before_reset(&self, way: Option<&Way>) -> Option<u64> {
        let is_over = way.is_some_and(|way| way.rule.reset_after != 0 && self.tx.sent() >= way.rule.reset_after);
        if is_over {
            self.reset_if_due(way);
            return None;
        }
        Some(self.queue_bytes())
    }

    /// The link resets the connection once so many bytes have gone over it.
    fn reset_if_due(&self, way: Option<&Way>) {
        let Some(way) = way.filter(|way| way.rule.reset_after != 0 && self.tx.sent() >= way.rule.reset_after) else { return };
        if self.circuit.end(self.link.side) != End::Open {
            return;
        }
        way.count_reset();
        self.send_end();
        self.circuit.cut();
        self.wake_reader();
        // Whoever sleeps at either end is woken; nothing has to pass any more.
        let _ = call::shutdown(self.sock.fd, libc::SHUT_RDWR);
    }

    /// Before something is sent, where links may have to do with it.
    ///
    /// # Errors
    /// `EAGAIN` where the connection is not there yet and the call does not wait; what came of it.
    #[cold]
    #[inline(never)]
    pub(super) fn before_late_send(&self, source: &mut Iov, flags: c_int) -> Result<(), Errno> {
        if self.is_connecting() {
            if self.sock.is_nonblocking(flags) {
                return Err(Errno::EAGAIN);
            }
            private::await_answer(self.sock)?;
        }
        self.shorten(source, true);
        Ok(())
    }

    /// A call moves a part of what it could, where a link asks for that.
    #[cold]
    pub(super) fn shorten(&self, buffers: &mut Iov, is_out: bool) {
        if let Some(way) = if is_out { self.way_out() } else { self.way_in() } {
            buffers.limit(way.short(self.sock.arena, buffers.left()));
        }
    }

    /// Whether the request for the connection has not been answered.
    pub fn is_connecting(&self) -> bool {
        self.rx.late() & late::ANSWER != 0 && {
            self.land_late();
            self.rx.late() & late::ANSWER != 0
        }
    }

    /// Whether the other end does not know of the connection yet: its anchor is not connected, which says nothing.
    #[inline]
    pub(super) fn has_not_knocked(&self) -> bool {
        self.rx.late() & late::KNOCK != 0
    }

    /// Whether the anchor tells nothing but what is not to be heard yet.
    #[inline]
    pub fn waits_by_time(&self) -> bool {
        self.rx.late() != 0 && (self.awaits_end() || self.rx.late() & (late::ANSWER | late::KNOCK) != 0)
    }

    /// A receiver's anchor where that is worth listening to, else none.
    pub(super) fn anchor_to_wait_on(&self) -> c_int {
        if self.waits_by_time() { -1 } else { self.sock.fd }
    }
}

/// Messages up to this size go whole where no more than `most` bytes may be under way: what never fits goes in parts.
fn whole_of(whole: u64, most: u64) -> u64 {
    whole.min(most / 2)
}

/// Whether the request for a connection that `sock` has made has not been answered.
pub fn is_connecting(sock: Sock) -> bool {
    sock.endpoint().is_some_and(|ep| ep.is_connecting())
}
