//! What an epoll instance watches: registrations, and which of those on the ring are ready.
//!
//! Ring sockets that had news lately are *hot*: every wait looks at them directly. One that stays quiet is
//! *armed*: its next news sets its bit in the instance's notifier, and it is not looked at before that. So
//! a wait costs as much as is going on, not as much as is registered, and busy sockets cost their senders
//! nothing.
//!
//! Many programs delete a registration and add it again with every message. A ring socket's is *parked* in
//! between: the kernel keeps its part, and neither call enters it.

use core::sync::atomic::Ordering;
use libc::{
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLWAKEUP, c_int,
    epoll_event,
};

use super::epoll;
use super::epoll_reg::{ANCHOR_EVENTS, KICK_EVENTS, NOT_IDLE, Progress, Reg, Watch, index_of, is_token, sends_by_kernel, token};
use super::table::Entry;
use crate::pcb::block::{State, flag};
use crate::socket::{Endpoint, Sock, ready, route};
use crate::sys::clock::{Deadline, now_ns, ticks};
use crate::sys::errno::Ret;
use crate::sys::{Errno, call, thread};
use crate::transport::direction::NEVER;
use crate::transport::notifier::{self, notifier};

/// How an inner instance is: each of its kernel's events brings it to the notice of this one.
const INNER_EVENTS: u32 = EPOLLIN as u32 | EPOLLET as u32;
/// How deep is looked into an instance that is added while others sleep.
const NESTED_DEPTH: u32 = 4;
/// A hot socket is armed after this many looks in vain, sooner where there are many.
const QUIET_LOOKS: u32 = 400;
const QUIET_LOOKS_IF_MANY: u32 = 24;
const MANY: usize = 64;
/// With more ring sockets than this they are reported in any order: it costs the senders and each wait.
const MOST_IN_ORDER: usize = 16;
/// While rings are ready the kernel is looked at this often.
const KERNEL_EVERY_NS: u64 = 20_000;
/// What may stand beside EPOLLEXCLUSIVE (epoll_ctl(2)).
const WITH_EXCLUSIVE: u32 = (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLEXCLUSIVE) as u32 | EPOLLET as u32;

mod ctl;
mod nested;
mod sleep;

/// The registrations of an instance.
#[derive(Default)]
pub struct Set {
    ep: c_int,
    pid: u32,
    regs: Vec<Reg>,
    free: Vec<u32>,
    /// Registration of a descriptor, plus one.
    by_fd: Vec<u32>,
    /// Those whose descriptor was closed while another referred to the same socket.
    homeless: Vec<u32>,
    hot: Vec<u32>,
    unjoined: Vec<u32>,
    nested: Vec<u32>,
    /// Inner instances without sockets.
    inner: Vec<u32>,
    /// Those that wait for room and may not be told that the other end died.
    fragile: Vec<u32>,
    /// Those with something under way that nobody wakes for (`Reg::due_ns`).
    late: Vec<u32>,
    rings: usize,
    parked: usize,
    /// About how many registrations are the kernel's affair.
    direct: usize,
    /// Another process may have the instance: what is deleted must be gone for it, too.
    is_shared: bool,
    /// Threads that sleep here, or are about to; each is counted in the notifier as well, as soon as there is one.
    sleeping: u32,
    notifier: u32,
    changes_seen: u64,
    leaves_seen: u64,
    /// When the kernel's instance was last looked at, 0: is to be looked at now.
    kernel_seen_ns: u64,
    /// The last look at the rings filled the program's array.
    was_full: bool,
    turn: usize,
    next_hot: usize,
    /// The places of the events that a look has found, and their registrations.
    places: Vec<(u64, u32)>,
    /// How often the kernel told something of this instance to one that it is nested in.
    stirred: u64,
}

impl Set {
    pub fn new(ep: c_int) -> Set {
        Set { ep, pid: thread::pid(), ..Set::default() }
    }

    /// Whether there is nothing that only we know of.
    pub fn is_kernels_alone(&self) -> bool {
        self.rings == 0 && self.nested.is_empty() && notifier_of(self.notifier).is_none_or(|n| !n.has_news())
    }

    pub fn has_rings(&self) -> bool {
        self.rings > 0
    }

    /// Whether the kernel is to be looked at before the rings: now and then, so that neither starves, and
    /// after a change of registrations, whose echo from the kernel is no news. Who `waits` with nothing ready on
    /// the rings looks at it anyway, by going to sleep.
    pub fn is_kernels_turn(&mut self, waits: bool) -> bool {
        let now = now_ns();
        let due = (self.was_full && self.is_kernels_share()) || now - self.kernel_seen_ns > KERNEL_EVERY_NS;
        self.was_full = false;
        if due && waits && !self.is_ready_by_rings(NESTED_DEPTH) {
            // Not forgotten: whatever this wait finds first, it looks at the kernel as well.
            return false;
        }
        if due {
            self.kernel_seen_ns = now;
        }
        due
    }

    /// Whether the kernel has not been looked at for long; then it is now.
    pub fn is_kernel_due(&mut self) -> bool {
        let now = now_ns();
        let due = now - self.kernel_seen_ns > KERNEL_EVERY_NS;
        if due {
            self.kernel_seen_ns = now;
        }
        due
    }

    /// Whether it has sockets that may come to the ring unseen.
    pub fn may_be_unaware(&self) -> bool {
        self.unjoined.iter().any(|&i| match self.watch(i) {
            Some(Watch::Unjoined(sock)) => !sock.pcb.has(flag::KERNEL_ONLY) && sock.pcb.state() != State::Listen,
            _ => false,
        })
    }

    /// Where one call cannot tell all that is ready, each side has a share of the calls as large as its
    /// number of registrations.
    fn is_kernels_share(&mut self) -> bool {
        let kernel = self.direct + self.regs.len().saturating_sub(self.free.len() + self.rings + self.parked);
        let all = (kernel + self.hot.len()).max(1);
        self.turn = self.turn.wrapping_add(1) % all;
        (self.turn + 1) * kernel / all != self.turn * kernel / all
    }

    /// The next wait looks at the kernel first.
    fn changed(&mut self) {
        self.kernel_seen_ns = 0;
    }

    /// The registration of `fd`.
    fn find(&self, fd: c_int) -> Option<u32> {
        self.find_kept(fd).filter(|&i| self.regs.get(i as usize).is_some_and(|r| r.in_use))
    }

    /// The registration of `fd`, parked or not.
    fn find_kept(&self, fd: c_int) -> Option<u32> {
        self.by_fd.get(usize::try_from(fd).ok()?)?.checked_sub(1)
    }

    /// The notifier; 0 in a child of fork that has not made the set its own: what is armed is the parent's.
    fn own_notifier(&self) -> u32 {
        if self.pid == thread::pid() { self.notifier } else { 0 }
    }

    fn watch(&self, index: u32) -> Option<Watch> {
        self.regs.get(index as usize).filter(|r| r.in_use).map(|r| r.watch)
    }

    /// How an anchor is registered now: so that those who sleep without having looked at it are woken.
    fn anchor_events(&self, endpoint: &Endpoint, events: u32) -> u32 {
        if self.sleeping > 0 || sends_by_kernel(endpoint, events) { KICK_EVENTS } else { ANCHOR_EVENTS }
    }

    /// A socket has come to the ring: from now on it is watched there.
    fn convert(&mut self, ep: c_int, index: u32, endpoint: Endpoint) {
        let Some(events) = self.regs.get(index as usize).map(|r| r.events) else { return };
        let to_kernel = self.anchor_events(&endpoint, events);
        let Some(reg) = self.regs.get_mut(index as usize) else { return };
        let token = token(index, reg.generation);
        // The kernel knows one whose descriptor was closed by a number that may be another file's now.
        if reg.fd == reg.number && call::epoll_ctl(ep, EPOLL_CTL_MOD, reg.fd, to_kernel, token).is_err() {
            // An exclusive registration cannot be modified.
            let _ = call::epoll_ctl(ep, EPOLL_CTL_DEL, reg.fd, 0, 0);
            let _ = call::epoll_ctl(ep, EPOLL_CTL_ADD, reg.fd, to_kernel, token);
        }
        reg.watch = Watch::Ring(endpoint);
        reg.is_kicked = to_kernel == KICK_EVENTS;
        self.unjoined.retain(|&i| i != index);
        self.begin_ring(index);
    }

    fn begin_ring(&mut self, index: u32) {
        if self.notifier == 0 {
            self.notifier = epoll::new_notifier();
            if let Some(n) = notifier_of(self.notifier) {
                (0..self.sleeping).for_each(|_| n.begin_sleep());
            }
        }
        self.rings += 1;
        if let Some(Watch::Ring(endpoint)) = self.watch(index) {
            endpoint.rx.control.is_timed.store(u32::from(self.rings <= MOST_IN_ORDER), Ordering::Relaxed);
        }
        self.heat(index);
    }

    fn heat(&mut self, index: u32) {
        if let Some(reg) = self.regs.get_mut(index as usize) {
            reg.quiet = 0;
            reg.idle_head = NOT_IDLE;
            if !reg.is_hot {
                reg.is_hot = true;
                self.hot.push(index);
            }
        }
    }

    /// A call by way of descriptor `ep`, of which there may be several. In a child of fork, the first time, makes
    /// the instance this process's own.
    pub fn settle_in(&mut self, ep: c_int) {
        self.ep = ep;
        if self.pid == thread::pid() {
            return;
        }
        self.pid = thread::pid();
        self.sleeping = 0;
        self.notifier = if self.rings > 0 { epoll::new_notifier() } else { 0 };
        for index in 0..self.regs.len() as u32 {
            if let Some(Watch::Ring(_)) = self.watch(index) {
                if let Some(reg) = self.regs.get_mut(index as usize) {
                    reg.is_armed = false;
                }
                self.heat(index);
            }
        }
    }

    /// Converts the sockets that have come to the ring since the last time.
    pub fn refresh(&mut self, ep: c_int) {
        self.settle_in(ep);
        let leaves = route::LEAVES.load(Ordering::SeqCst);
        if leaves != self.leaves_seen {
            self.leaves_seen = leaves;
            self.follow_to_kernel(ep);
        }
        let changes = route::PATH_CHANGES.load(Ordering::SeqCst);
        if changes == self.changes_seen {
            return;
        }
        self.changes_seen = changes;
        let joined: Vec<(u32, Endpoint)> = self
            .unjoined
            .iter()
            .filter_map(|&i| match self.watch(i) {
                Some(Watch::Unjoined(sock)) if sock.fd >= 0 => Some((i, ready::on_ring(sock)?)),
                _ => None,
            })
            .collect();
        for (index, endpoint) in joined {
            self.convert(ep, index, endpoint);
        }
    }

    /// Sockets that have left the ring tell by the kernel from now on that they have room.
    #[cold]
    fn follow_to_kernel(&mut self, ep: c_int) {
        for (index, reg) in self.regs.iter_mut().enumerate().filter(|(_, r)| r.in_use && !r.is_kicked && r.fd == r.number) {
            if reg.sends_by_kernel() {
                reg.is_kicked = call::epoll_ctl(ep, EPOLL_CTL_MOD, reg.fd, KICK_EVENTS, token(index as u32, reg.generation)).is_ok();
            }
        }
    }

    /// Fills in the ring sockets that are ready; returns how many.
    #[inline]
    pub fn collect(&mut self, events: &mut [epoll_event]) -> usize {
        let mut n = self.report_nested(events);
        self.take_news();
        let count = self.hot.len();
        if count == 0 && self.nested.is_empty() {
            return n;
        }
        let quiet_looks = if count > MANY { QUIET_LOOKS_IF_MANY } else { QUIET_LOOKS };
        let mut cooled = false;
        let start = if count > 0 { self.next_hot % count } else { 0 };
        let mut looked = 0;
        let before = n;
        let is_ordered = (2..=MOST_IN_ORDER).contains(&self.rings);
        self.places.clear();
        while looked < count && n < events.len() {
            let at = (start + looked) % count;
            looked += 1;
            let Some(&index) = self.hot.get(at) else { continue };
            let Some(reg) = self.regs.get_mut(index as usize) else { continue };
            let found = reg.look();
            if found != 0 {
                if let Some(event) = events.get_mut(n) {
                    *event = epoll_event { events: found, u64: reg.data };
                }
                n += 1;
                if is_ordered {
                    self.places.push((reg.place(), index));
                }
                reg.reported();
            } else {
                if is_ordered {
                    reg.told_at = 0;
                }
                reg.quiet += 1;
            }
            cooled |= !reg.in_use || reg.disabled || reg.quiet > quiet_looks;
        }
        if n == events.len() {
            self.next_hot = start + looked;
            self.was_full = true;
        }
        if cooled {
            self.cool(quiet_looks);
        }
        if is_ordered && n > before {
            self.put_in_order(events.get_mut(before..n).unwrap_or(&mut []));
        }
        n
    }

    /// Puts the events into the order of their places.
    #[inline(never)]
    fn put_in_order(&mut self, events: &mut [epoll_event]) {
        let places = &mut self.places;
        for last in 1..events.len() {
            for at in (1..=last).rev() {
                if places.get(at - 1) <= places.get(at) {
                    break;
                }
                places.swap(at - 1, at);
                events.swap(at - 1, at);
            }
        }
        let now = ticks();
        for (rank, &(_, index)) in places.iter().enumerate() {
            if let Some(reg) = self.regs.get_mut(index as usize).filter(|r| !r.is_edge_triggered()) {
                reg.told_at = now + rank as u64;
            }
        }
    }

    /// Sockets with news are hot again.
    #[inline]
    fn take_news(&mut self) {
        if !self.late.is_empty() {
            self.heat_late();
        }
        let Some(notifier) = notifier_of(self.notifier) else { return };
        if !notifier.has_news() {
            return;
        }
        let (regs, hot) = (&mut self.regs, &mut self.hot);
        notifier.take(|bit| {
            if let Some(reg) = regs.get_mut(bit as usize).filter(|r| r.in_use) {
                reg.is_armed = false;
                reg.quiet = 0;
                reg.idle_head = NOT_IDLE;
                if !reg.is_hot && matches!(reg.watch, Watch::Ring(_)) {
                    reg.is_hot = true;
                    hot.push(bit);
                }
            }
        });
    }

    /// Arms the sockets that have been quiet and stops looking at them.
    fn cool(&mut self, quiet_looks: u32) {
        let (regs, number, fragile, late) = (&mut self.regs, self.notifier, &mut self.fragile, &mut self.late);
        self.hot.retain(|&i| {
            let Some(reg) = regs.get_mut(i as usize) else { return false };
            let cools = !reg.in_use || reg.disabled || (reg.quiet > quiet_looks && reg.arm(number, i));
            reg.is_hot = !cools;
            if cools && reg.needs_looks() && !fragile.contains(&i) {
                fragile.push(i);
            }
            if cools && reg.becomes_late() {
                late.push(i);
            }
            !cools
        });
    }

    /// Turns the kernel's first `n` events into the program's, in place; returns how many are left.
    pub fn translate(&mut self, ep: c_int, events: &mut [epoll_event], n: usize) -> usize {
        let mut kept = 0;
        for i in 0..n {
            let Some(&event) = events.get(i) else { break };
            let Some(told) = self.digest(ep, event) else { continue };
            if let Some(place) = events.get_mut(kept) {
                *place = told;
                kept += 1;
            }
        }
        kept
    }

    /// One event of the kernel's: the program's, or none where it only concerned us.
    fn digest(&mut self, ep: c_int, event: epoll_event) -> Option<epoll_event> {
        if !is_token(event.u64) {
            return Some(event);
        }
        let index = index_of(event.u64);
        let reg = self.regs.get_mut(index as usize).filter(|r| token(index, r.generation) == event.u64)?;
        reg.missed |= reg.is_parked;
        if event.events & EPOLLOUT as u32 != 0 {
            reg.calm(ep, event.u64);
        }
        if !reg.in_use {
            return None;
        }
        match reg.watch {
            Watch::Ring(endpoint) => {
                // What is on the ring shows by itself; what still comes through the kernel only here. Writable
                // the anchor always is.
                if event.events & EPOLLOUT as u32 != 0 && endpoint.sends_by_kernel() && endpoint.takes_room_of_kernel() {
                    reg.edge = true;
                }
                if event.events & !(EPOLLOUT as u32) != 0 {
                    reg.edge |= endpoint.may_have_kernel_data();
                    // Their bits are those of poll(2).
                    let told = event.events as u16 as i16;
                    if told != libc::POLLIN || !endpoint.may_leave_doorbells() {
                        endpoint.look_at_anchor_for(told);
                    }
                }
                self.heat(index);
                None
            }
            Watch::Unjoined(_) if reg.fd < 0 => Some(epoll_event { events: event.events, u64: reg.data }),
            Watch::Unjoined(sock) => match ready::on_ring(sock) {
                Some(endpoint) => {
                    reg.edge = true;
                    self.convert(ep, index, endpoint);
                    None
                }
                None => {
                    // The kernel's part is off now, and stays so on the ring.
                    reg.disabled = reg.events & EPOLLONESHOT as u32 != 0;
                    Some(epoll_event { events: event.events, u64: reg.data })
                }
            },
            Watch::Nested(inner) => {
                epoll::stirs(inner);
                None
            }
            Watch::NestedInKernel(_) => {
                reg.edge = false;
                reg.disabled = reg.events & EPOLLONESHOT as u32 != 0;
                Some(epoll_event { events: event.events, u64: reg.data })
            }
            Watch::Kernel => Some(epoll_event { events: event.events, u64: reg.data }),
        }
    }
}

fn notifier_of(number: u32) -> Option<&'static notifier::Notifier> {
    if number == 0 { None } else { notifier(crate::shm::arena()?, number) }
}
