//! Waiting, in one place: a spin while that pays, then a proper sleep in the kernel on the anchor; and the
//! other half of it, waking who sleeps.

use core::sync::atomic::{AtomicU64, Ordering};
use libc::{POLLERR, POLLHUP, POLLIN, POLLPRI, POLLRDHUP, c_short, pollfd};

use super::crowd;
use super::handle::{Endpoint, Sock};
use super::sleepers;
use super::spin::{self, Peer};
use super::stats;
use crate::pcb::block::flag;
use crate::pcb::circuit::End;
use crate::pcb::reap;
use crate::shm::owner::System;
use crate::sys::clock::{Deadline, now_ns};
use crate::sys::errno::{Ret, preserved};
use crate::sys::futex::PiLock;
use crate::sys::mailbox::{self, Mailbox};
use crate::sys::signal;
use crate::sys::{Errno, call};
use crate::transport::direction::Path;
use crate::transport::notifier::notifier;
use crate::transport::stream;
use crate::transport::wait::Wishes;

/// A sender whose wake-ups cannot be relied on (see `fulfil`) looks this often.
pub const LOOK_AGAIN_NS: u64 = 50_000_000;

impl Endpoint {
    /// Whether a receiver that wants `need` bytes has anything to do.
    #[inline]
    pub fn is_readable(&self, need: u64) -> bool {
        self.land();
        self.has_bytes(need)
            || self.rx.is_finished()
            || self.peer_end() != End::Open
            || self.sock.pcb.has(flag::SHUT_RD)
            || matches!(self.rx.path(), Path::Leaving | Path::Pinned)
    }

    /// Whether a sender that waits for the tail to come to `wake_at` has anything to do.
    fn has_room(&self, wake_at: u64) -> bool {
        self.tx.consumed.tail.load(Ordering::SeqCst) >= wake_at
            || self.peer_end() != End::Open
            || self.tx.control.deaf.load(Ordering::SeqCst) != 0
            || self.sock.pcb.has(flag::SHUT_WR | flag::BROKEN)
    }

    /// Blocks until the receiving direction has something to do for one who wants `need` bytes. With `restarts` it goes
    /// on after a signal where the program asked for that (SA_RESTART).
    ///
    /// # Errors
    /// `EINTR`, or `EAGAIN` at the deadline.
    pub fn wait_readable(&self, need: u64, deadline: Deadline, restarts: bool) -> Result<(), Errno> {
        let here = crowd::place(1);
        self.rx.consumed.place.store(here, Ordering::Relaxed);
        let peer = Peer::of(here, self.rx.produced.place.load(Ordering::Relaxed));
        self.tx.produced.place.store(here, Ordering::Relaxed);
        if spin::until(peer, || self.is_readable(need)) {
            return Ok(());
        }
        let role = self.reader_role();
        let one_sleeper = role.lock(deadline.absolute()).map(|()| role);
        if one_sleeper.as_ref().is_err_and(|&e| e == Errno::ETIMEDOUT) {
            return Err(Errno::EAGAIN);
        }
        let slept = self.sleep_readable(need, deadline, restarts);
        if let Ok(role) = one_sleeper {
            role.unlock();
        }
        slept
    }

    fn sleep_readable(&self, need: u64, deadline: Deadline, restarts: bool) -> Result<(), Errno> {
        sleepers::about_to_sleep(self.sock);
        self.rx.control.readable.declare_asleep();
        if self.is_readable(need) {
            self.reader_awakes();
            return Ok(());
        }
        if deadline.passed() {
            return Err(Errno::EAGAIN);
        }
        stats::sleeps(self.sock.arena);
        let is_unix = self.sock.pcb.has(flag::UNIX);
        // What is under way nobody wakes for: it is looked for when it is due.
        let until = deadline.no_later_than(self.next_look());
        let ret = if restarts && until.is_never() && !self.sock.pcb.has(flag::NONBLOCK) {
            // A plain blocking call, which the kernel restarts after a signal where the program asked for that.
            // It takes the doorbell with it, and would take the urgent byte meant for a sender as well: where
            // there may be one it only looks.
            // An AF_UNIX socket's doorbells are counted.
            let only_looks = self.may_have_company() || is_unix;
            match call::recv_scratch(self.sock.fd, if only_looks { libc::MSG_PEEK } else { 0 }) {
                Ok(1..) if only_looks && self.sock.is_closed() => Err(Errno::EINTR),
                Ok(1..) if only_looks => self.take_some(),
                other => other,
            }
        } else {
            match call::poll_one(self.anchor_to_wait_on(), POLLIN | POLLRDHUP, until) {
                Ok(0) => Ok(usize::MAX),
                Err(Errno::EINTR) if restarts && deadline.is_never() && !until.is_never() && signal::restarts_calls() => Ok(usize::MAX),
                Ok(_) if self.sock.is_closed() => Err(Errno::EINTR),
                Ok(bits) if is_unix && bits & POLLHUP != 0 => Ok(0),
                Ok(_) => self.take_some(),
                Err(e) => Err(e),
            }
        };
        self.reader_awakes();
        self.pass_on();
        match ret {
            Ok(0) => self.anchor_ended(None),
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(Errno::EINTR) => return Err(Errno::EINTR),
            Err(e) => self.anchor_ended(Some(e)),
        }
        Ok(())
    }

    /// Takes doorbells that have come, without waiting.
    fn take_some(&self) -> Ret {
        if self.others_may_sleep() {
            return self.take_among_others();
        }
        if self.sock.pcb.has(flag::UNIX) {
            // None may have been for us: data of the kernel's come then.
            return Ok(self.take_doorbells().max(1));
        }
        call::recv_scratch(self.sock.fd, libc::MSG_DONTWAIT)
    }

    /// Whether others may sleep on this socket.
    pub(super) fn others_may_sleep(&self) -> bool {
        sleepers::are_there(self.sock)
    }

    /// Takes the doorbells that are there, unless something is in the ring that others may be about to be woken for: then
    /// they are left until it is read. One that is rung meanwhile stays in any case.
    fn take_among_others(&self) -> Ret {
        let is_unix = self.sock.pcb.has(flag::UNIX);
        let _held = self.rx.reader.lock.acquire(self.sock.me().owner(), &System(self.sock.arena));
        self.sock.pcb.clear(flag::DOORBELL_LEFT);
        let rung = if is_unix {
            Ok(self.rx.produced.rings.load(Ordering::SeqCst))
        } else {
            call::recv_scratch(self.sock.fd, libc::MSG_PEEK | libc::MSG_DONTWAIT).map(|n| n as u64)
        };
        // What comes from now on rings again.
        self.rx.control.readable.declare_asleep();
        match rung {
            Ok(1..) if self.rx.has_data() => {
                self.sock.pcb.set(flag::DOORBELL_LEFT);
                Ok(1)
            }
            Ok(most) if is_unix => Ok(self.take_doorbells_until(most).max(1)),
            Ok(n @ 1..) => call::recv_few(self.sock.fd, n as usize),
            Ok(0) => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// After the ring was emptied: takes the doorbells that were left for others.
    #[cold]
    pub(super) fn take_left_doorbells(&self) {
        let _ = preserved(|| self.take_among_others());
    }

    /// Blocks until the tail of the sending direction has come to `wake_at`, or sending makes no sense any more.
    ///
    /// # Errors
    /// As for `wait_readable`.
    pub fn wait_writable(&self, wake_at: u64, deadline: Deadline) -> Result<(), Errno> {
        let here = crowd::place(1);
        self.tx.produced.place.store(here, Ordering::Relaxed);
        let peer = Peer::of(here, self.tx.consumed.place.load(Ordering::Relaxed));
        if spin::until(peer, || self.has_room(wake_at)) {
            return Ok(());
        }
        let role = self.writer_role();
        let one_sleeper = role.lock(deadline.absolute()).map(|()| role);
        if one_sleeper.as_ref().is_err_and(|&e| e == Errno::ETIMEDOUT) {
            return Err(Errno::EAGAIN);
        }
        let slept = self.sleep_writable(wake_at, deadline);
        if let Ok(role) = one_sleeper {
            role.unlock();
        }
        slept
    }

    fn sleep_writable(&self, wake_at: u64, deadline: Deadline) -> Result<(), Errno> {
        self.declare_writer(wake_at);
        if self.has_room(wake_at) {
            self.writer_awakes();
            return Ok(());
        }
        if deadline.passed() {
            return Err(Errno::EAGAIN);
        }
        stats::sleeps(self.sock.arena);
        // Room is told by an urgent byte, data by a plain one: a sender and a receiver asleep on the same
        // socket do not take one another's wake-ups. Yet a receiver that reads past the urgent byte takes it
        // away; it then pokes the mailbox.
        let is_unix = self.sock.pcb.has(flag::UNIX);
        let mailbox = if self.may_have_company() || is_unix { Mailbox::bind(self.sock.pcb.cookie.load(Ordering::Relaxed)) } else { None };
        let mut fds = [
            pollfd { fd: self.anchor_to_wait_on(), events: POLLPRI | self.end_events(), revents: 0 },
            pollfd { fd: mailbox.as_ref().map_or(-1, Mailbox::fd), events: POLLIN, revents: 0 },
        ];
        let needs_looks = self.peer().is_some_and(|(_, p)| p.has(flag::CONFINED))
            || !self.is_past_kernel()
            || self.sock.pcb.has(flag::SHUT_RD)
            || (mailbox.is_none() && (self.may_have_company() || is_unix));
        let until = if needs_looks { deadline.at_most_ns(LOOK_AGAIN_NS) } else { deadline }.no_later_than(self.next_due());
        let polled = if self.has_room(wake_at) { Ok(0) } else { call::poll_many(&mut fds, until.left(), None) };
        self.writer_awakes();
        if polled == Err(Errno::EINTR) && deadline.is_never() && signal::restarts_calls() {
            return Ok(());
        }
        polled?;
        let revents = fds[0].revents;
        if revents & POLLPRI != 0 && !is_unix {
            let _ = call::recv_scratch(self.sock.fd, libc::MSG_OOB | libc::MSG_DONTWAIT);
        }
        if revents & (POLLRDHUP | POLLHUP | POLLERR) != 0 || (revents == 0 && needs_looks && self.anchor_has_ended()) {
            self.anchor_ended(None);
        }
        Ok(())
    }

    /// Whether nothing may tell a sender that waits for room that the other end died: its FIN comes after bytes of
    /// the kernel's that nobody reads.
    pub fn may_miss_death(&self) -> bool {
        self.tx.path() == Path::Ring && self.peer_end() == End::Open && self.rx.reader.kernel_left.load(Ordering::Acquire) != 1
    }

    /// Finds out whether the other end is there at all.
    pub fn look_for_death(&self) {
        if let Some((_, peer)) = self.peer().filter(|_| !self.has_not_knocked())
            && !reap::is_held_by_any(self.sock.arena, peer)
        {
            reap::release_side(self.sock.arena, self.link, 1 - self.link.side);
        }
    }

    /// What tells on the anchor that the other end is gone. Where we have shut our own half down, or the other
    /// end its half through the kernel, POLLRDHUP is always on and says nothing.
    fn end_events(&self) -> c_short {
        if self.sock.pcb.has(flag::SHUT_RD) || matches!(self.rx.path(), Path::Pinned | Path::Leaving) { 0 } else { POLLRDHUP }
    }

    /// Takes back that a receiver sleeps, where no other may: it is one bit for all.
    pub fn reader_awakes(&self) {
        if !self.may_have_company() {
            self.rx.control.readable.declare_awake();
        }
    }

    /// The same for a sender.
    pub fn writer_awakes(&self) {
        if !self.may_have_company() {
            self.tx.control.writable.declare_awake();
        }
    }

    /// Looks at the anchor, where that has not been done for a while, for the end of a connection whose other end
    /// died without a word: what a program that neither sleeps nor polls would never see.
    pub fn look_for_end(&self, looked_ns: &AtomicU64) {
        const EVERY_NS: u64 = 1_000_000;
        let now = now_ns();
        if now.wrapping_sub(looked_ns.load(Ordering::Relaxed)) < EVERY_NS || self.peer_end() != End::Open {
            return;
        }
        looked_ns.store(now, Ordering::Relaxed);
        let ended = |bits| bits & (POLLRDHUP | POLLHUP | POLLERR) != 0;
        if self.end_events() != 0 && preserved(|| call::poll_one(self.sock.fd, POLLRDHUP, Deadline::NOW).is_ok_and(ended)) {
            self.look_at_anchor();
        }
    }

    /// As for the socket.
    #[inline(always)]
    pub fn may_have_company(&self) -> bool {
        self.sock.may_have_company()
    }

    /// After doorbells were taken: a sender of this socket that sleeps may have lost its own.
    fn pass_on(&self) {
        if self.may_have_company() && self.writer_role().is_held() {
            mailbox::poke(self.sock.pcb.cookie.load(Ordering::Relaxed));
        }
    }

    /// Wakes a sender of this socket that sleeps: its direction was shut down.
    pub fn wake_own_sender(&self) {
        self.pass_on();
    }

    /// Leaves word for the other end that this thread waits `here`; returns where that last waited (`crowd::place`).
    pub fn mark_place(&self, here: u32) -> u32 {
        self.tx.produced.place.store(here, Ordering::Relaxed);
        self.rx.consumed.place.store(here, Ordering::Relaxed);
        self.rx.produced.place.load(Ordering::Relaxed)
    }

    /// Says that a sender waits until the tail has come to `wake_at`; it must look once more before it sleeps.
    pub fn declare_writer(&self, wake_at: u64) {
        // An urgent byte among data not yet accounted for would hide how much there is.
        self.is_past_kernel();
        self.tx.declare_writer(wake_at);
    }

    /// Where the tail has to come before a sender that found no room is woken.
    pub fn wake_point(&self) -> u64 {
        self.tx.wake_point()
    }

    /// After bytes were published: wakes or notifies who waits for them.
    #[inline]
    pub fn wake_reader(&self) {
        if let Some(wishes) = self.tx.control.readable.take() {
            self.fulfil(wishes, 0);
        }
    }

    /// After bytes were taken: wakes or notifies who waits for room.
    #[inline]
    pub fn wake_writer(&self) {
        if let Some(wishes) = self.rx.take_writer_wishes() {
            self.fulfil(wishes, libc::MSG_OOB);
        }
    }

    /// Wakes whoever waits at the other end, for whatever.
    pub fn wake_peer(&self) {
        self.wake_reader();
        if let Some(wishes) = self.rx.control.writable.take() {
            self.fulfil(wishes, libc::MSG_OOB);
        }
    }

    #[cold]
    fn fulfil(&self, wishes: Wishes, flags: libc::c_int) {
        let mut ring = wishes.doorbell();
        if let Some((number, bit)) = wishes.notify() {
            ring |= notifier(self.sock.arena, number).is_none_or(|n| n.post(bit));
        }
        // A closed end must not be sent anything: it would answer with a reset, and what it sent be lost.
        if !ring || self.circuit.end(1 - self.link.side) != End::Open {
            return;
        }
        self.tx.produced.place.store(crowd::place_again(), Ordering::Relaxed);
        preserved(|| {
            if self.tx.path() != Path::Ring {
                self.become_aware();
            }
            if self.sock.pcb.has(flag::UNIX) {
                stats::rang(self.sock.arena);
                self.ring_unix(flags != 0);
                self.look_for_end(&self.tx.writer.looked_ns);
            } else if self.tx.path() == Path::Ring {
                stats::rang(self.sock.arena);
                // An urgent byte among data that the other end has not accounted for yet would hide how much
                // that is; until then it gets a plain one.
                let settled = self.tx.reader.kernel_left.load(Ordering::Acquire) != 0;
                let _ = call::send_byte(self.sock.fd, if settled { flags } else { 0 });
                // Who does not answer may be gone.
                self.look_for_end(&self.tx.writer.looked_ns);
            }
            // Else the byte would be taken for data; who waits for room looks by itself while this lasts.
        });
    }

    /// Takes the doorbells that have come and finds out whether the connection has ended. While data of the kernel's
    /// are still to be read, only a reset shows.
    pub fn look_at_anchor(&self) {
        self.look_at_anchor_for(POLLPRI | POLLRDHUP);
    }

    /// The same where the kernel has told `events` of it: what they do not speak of is not asked for.
    pub fn look_at_anchor_for(&self, events: c_short) {
        if self.is_past_kernel() && !self.is_mailbox() && self.others_may_sleep() {
            preserved(|| self.look_at_anchor_among_others(events));
        } else {
            self.look_at_anchor_now(events);
        }
    }

    fn look_at_anchor_among_others(&self, events: c_short) {
        let is_unix = self.sock.pcb.has(flag::UNIX);
        if events & POLLPRI != 0 && !is_unix {
            let _ = call::recv_scratch(self.sock.fd, libc::MSG_OOB | libc::MSG_DONTWAIT);
        }
        let mut ret = self.take_among_others();
        if ret.is_ok() && events & (POLLRDHUP | POLLHUP | POLLERR) != 0 {
            ret = match is_unix {
                true if self.peer_end() == End::Open && self.anchor_has_ended() => Ok(0),
                true => Ok(1),
                false => call::recv_scratch(self.sock.fd, libc::MSG_DONTWAIT | libc::MSG_PEEK),
            };
        }
        match ret {
            Ok(0) => self.anchor_ended(None),
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(e) => self.anchor_ended(Some(e)),
        }
        self.pass_on();
    }

    fn look_at_anchor_now(&self, events: c_short) {
        let may_have_ended = events & (POLLRDHUP | POLLHUP | POLLERR) != 0;
        if self.sock.pcb.has(flag::UNIX) {
            return self.look_at_unix_anchor(may_have_ended);
        }
        if self.is_mailbox() {
            // What it is the next look asks the kernel.
            return self.sock.pcb.set(flag::KERNEL_NEWS);
        }
        if !self.is_past_kernel() {
            let is_reset = |bits| bits & (POLLHUP | POLLERR) != 0;
            if self.tx.path() == Path::Ring && preserved(|| call::poll_one(self.sock.fd, 0, Deadline::NOW).is_ok_and(is_reset)) {
                self.anchor_ended(None);
            }
            return;
        }
        preserved(|| {
            if events & POLLPRI != 0 {
                let _ = call::recv_scratch(self.sock.fd, libc::MSG_OOB | libc::MSG_DONTWAIT);
            }
            loop {
                match call::recv_scratch(self.sock.fd, libc::MSG_DONTWAIT) {
                    Ok(0) => break self.anchor_ended(None),
                    Ok(n) if n < call::SCRATCH_BYTES && !may_have_ended && events & POLLPRI == 0 => break,
                    Ok(_) => {}
                    Err(Errno::EAGAIN | Errno::EINTR) => break,
                    Err(e) => break self.anchor_ended(Some(e)),
                }
            }
            self.pass_on();
        });
    }

    /// Of several threads or processes that wait to receive from one socket, one sleeps on the anchor.
    pub fn reader_role(&self) -> &'static PiLock {
        self.rx_role(0)
    }

    pub fn writer_role(&self) -> &'static PiLock {
        self.rx_role(1)
    }

    fn rx_role(&self, which: usize) -> &'static PiLock {
        self.circuit.role(self.link.side, which)
    }
}

/// A sending direction's room in bytes, damage counting as none.
pub fn room(ep: &Endpoint) -> u64 {
    stream::room(ep.tx, ep.sock.arena).unwrap_or(0)
}

/// Wakes the threads of this machine that wait on the socket, for a change made by `shutdown`.
pub fn wake_own(sock: Sock) {
    let _ = call::shutdown(sock.fd, libc::SHUT_RD);
}
