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
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLPRI, EPOLLRDHUP,
    EPOLLWAKEUP, c_int, epoll_event,
};

use super::epoll;
use super::epoll_reg::{NOT_IDLE, Progress, Reg, Watch, index_of, is_token, token};
use super::table::Entry;
use crate::socket::{Endpoint, Sock, ready, route};
use crate::sys::clock::{Deadline, now_ns, ticks};
use crate::sys::errno::Ret;
use crate::sys::{Errno, call, thread};
use crate::transport::notifier::{self, notifier};

/// How the anchor of a ring socket is registered: the writable edge that comes with every (re-)registration
/// makes a sleeping wait look again.
const ANCHOR_EVENTS: u32 = (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLOUT) as u32 | EPOLLET as u32;
/// How an inner instance is: each of its kernel's events brings it to the notice of this one.
const INNER_EVENTS: u32 = EPOLLIN as u32 | EPOLLET as u32;
/// How deep is looked into an instance that is added while others sleep.
const NESTED_DEPTH: u32 = 4;
/// A hot socket is armed after this many looks in vain, sooner where there are many.
const QUIET_LOOKS: u32 = 400;
const QUIET_LOOKS_IF_MANY: u32 = 24;
const MANY: usize = 64;
/// While rings are ready the kernel is looked at this often.
const KERNEL_EVERY_NS: u64 = 20_000;
/// What may stand beside EPOLLEXCLUSIVE (epoll_ctl(2)).
const WITH_EXCLUSIVE: u32 = (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLEXCLUSIVE) as u32 | EPOLLET as u32;

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
    /// When the kernel's instance was last looked at, 0: is to be looked at now.
    kernel_seen_ns: u64,
    /// The last look at the rings filled the program's array.
    was_full: bool,
    turn: usize,
    next_hot: usize,
    /// The places of the events that a look has found, and their registrations.
    places: Vec<(u64, u32)>,
    /// How many events of the kernel's were taken for those who watch the instance itself.
    absorbed: u64,
    /// Events of the kernel's that nobody has been told yet.
    stash: Vec<epoll_event>,
}

impl Set {
    pub fn new(ep: c_int) -> Set {
        Set { ep, pid: thread::pid(), ..Set::default() }
    }

    /// Whether there is nothing that only we know of.
    pub fn is_kernels_alone(&self) -> bool {
        self.rings == 0 && self.nested.is_empty() && self.stash.is_empty() && notifier_of(self.notifier).is_none_or(|n| !n.has_news())
    }

    pub fn has_rings(&self) -> bool {
        self.rings > 0
    }

    /// Whether the kernel is to be looked at before the rings: now and then, so that neither starves, and
    /// after a change of registrations, whose echo from the kernel is no news.
    pub fn is_kernels_turn(&mut self) -> bool {
        let now = now_ns();
        let due = (self.was_full && self.is_kernels_share()) || now - self.kernel_seen_ns > KERNEL_EVERY_NS;
        self.was_full = false;
        if due {
            self.kernel_seen_ns = now;
        }
        due
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

    /// The descriptor that a registration was made by may refer to its socket again.
    fn come_home(&mut self, fd: c_int, entry: Entry) {
        let Entry::Stream(sock) = entry else { return };
        let back = self.homeless.iter().position(|&i| {
            let reg = self.regs.get(i as usize).filter(|r| r.number == fd);
            matches!(reg.map(|r| r.watch), Some(Watch::Ring(Endpoint { sock: its, .. }) | Watch::Unjoined(its)) if its.index == sock.index)
        });
        let Some(index) = back.map(|at| self.homeless.swap_remove(at)) else { return };
        if let (Some(reg), Some(word)) = (self.regs.get_mut(index as usize), self.by_fd.get_mut(fd as usize)) {
            *word = index + 1;
            reg.move_to(sock);
        }
    }

    /// Whether registration `index` is one of `entry`, and not of a socket that had its descriptor before.
    fn is_ring_of(&self, index: u32, entry: Entry) -> bool {
        match (self.regs.get(index as usize).map(|r| r.watch), entry) {
            (Some(Watch::Ring(endpoint)), Entry::Stream(sock)) => endpoint.sock.index == sock.index && endpoint.is_current(),
            _ => false,
        }
    }

    /// EPOLL_CTL_ADD.
    pub fn add(&mut self, ep: c_int, fd: c_int, events: u32, data: u64, entry: Entry) -> Ret {
        let Ok(slot) = usize::try_from(fd) else { return Err(Errno::EBADF) };
        self.come_home(fd, entry);
        let exclusive = events & EPOLLEXCLUSIVE as u32 != 0;
        if exclusive && (events & !WITH_EXCLUSIVE != 0 || matches!(entry, Entry::Epoll(_))) {
            return Err(Errno::EINVAL);
        }
        if let Some(kept) = self.find_kept(fd).filter(|&i| self.regs.get(i as usize).is_some_and(|r| r.is_parked)) {
            if !exclusive && self.is_ring_of(kept, entry) {
                return self.resume(ep, kept, events, data);
            }
            self.evict(kept);
        }
        self.changed();
        if matches!(entry, Entry::Plain) && !is_token(data) {
            call::epoll_ctl(ep, EPOLL_CTL_ADD, fd, events, data)?;
            self.direct += 1;
            if let Some(old) = self.find(fd) {
                // The kernel knew nothing of it: it was closed behind our back.
                self.remove(old);
            }
            return Ok(0);
        }
        let index = self.free.last().copied().unwrap_or(self.regs.len() as u32);
        let generation = self.regs.get(index as usize).map_or(0, |r| r.generation.wrapping_add(1));
        let watch = match entry {
            Entry::Plain => Watch::Kernel,
            Entry::Stream(sock) => ready::on_ring(sock).map_or(Watch::Unjoined(sock), Watch::Ring),
            Entry::Epoll(number) if epoll::has_sockets(number) || is_token(data) => Watch::Nested(number),
            Entry::Epoll(number) => Watch::NestedInKernel(number),
        };
        let (to_kernel, kept) = match watch {
            Watch::Ring(_) => (ANCHOR_EVENTS, token(index, generation)),
            Watch::Nested(_) => (INNER_EVENTS, token(index, generation)),
            Watch::NestedInKernel(_) => (events, data),
            _ => (events, token(index, generation)),
        };
        call::epoll_ctl(ep, EPOLL_CTL_ADD, fd, to_kernel, kept)?;
        if let Some(old) = self.find(fd) {
            // The kernel knew nothing of it: it was closed behind our back.
            self.remove(old);
        }
        let index = self.free.pop().unwrap_or(index);
        let reg = Reg {
            fd,
            number: fd,
            generation,
            in_use: true,
            is_parked: false,
            missed: false,
            events,
            data,
            watch,
            disabled: false,
            edge: true,
            told: Progress::default(),
            looked: Progress::default(),
            is_hot: false,
            is_armed: false,
            quiet: 0,
            told_at: 0,
            pulse: 0,
            sleeping: 0,
            idle_head: NOT_IDLE,
        };
        match self.regs.get_mut(index as usize) {
            Some(r) => *r = reg,
            None => self.regs.push(reg),
        }
        if self.by_fd.len() <= slot {
            self.by_fd.resize(slot + 1, 0);
        }
        if let Some(word) = self.by_fd.get_mut(slot) {
            *word = index + 1;
        }
        match watch {
            Watch::Ring(_) => self.begin_ring(index),
            Watch::Unjoined(_) => self.unjoined.push(index),
            Watch::Nested(inner) => self.begin_nested(index, inner),
            Watch::NestedInKernel(_) => self.inner.push(index),
            Watch::Kernel => {}
        }
        Ok(0)
    }

    fn begin_nested(&mut self, index: u32, inner: u32) {
        self.nested.push(index);
        if self.sleeping > 0 {
            // Those who sleep already sleep for this one, too.
            for _ in 0..self.sleeping {
                epoll::prepare_sleep(inner, NESTED_DEPTH);
            }
            if let Some(reg) = self.regs.get_mut(index as usize) {
                reg.sleeping = self.sleeping;
            }
            epoll::leave_to_others(inner);
        }
    }

    /// Instance `number` has got its first socket: where it is nested in this one it is no longer the kernel's affair.
    /// True where it is, and this one may be nested in others.
    pub fn inner_has_sockets(&mut self, number: u32) -> bool {
        let mut is_nested = false;
        for at in (0..self.inner.len()).rev() {
            let Some(&index) = self.inner.get(at) else { break };
            if let (Some(Watch::NestedInKernel(inner)), Some(reg)) = (self.watch(index), self.regs.get_mut(index as usize))
                && inner == number
            {
                reg.watch = Watch::Nested(inner);
                let _ = call::epoll_ctl(self.ep, EPOLL_CTL_MOD, reg.fd, INNER_EVENTS, token(index, reg.generation));
                self.inner.swap_remove(at);
                self.begin_nested(index, inner);
                is_nested = true;
            }
        }
        is_nested
    }

    /// Whether it has sockets that may come to the ring, in itself or in an inner instance.
    pub fn has_sockets(&self) -> bool {
        self.rings > 0 || self.parked > 0 || !self.unjoined.is_empty() || !self.nested.is_empty()
    }

    /// Changes whenever something new happens on a ring.
    pub fn pulse(&self) -> u64 {
        let of_ring = |r: &Reg| match r.watch {
            Watch::Ring(endpoint) if r.in_use => endpoint.rx.produced.head.load(Ordering::Acquire).wrapping_add(u64::from(endpoint.end_code()) << 56),
            Watch::Nested(inner) if r.in_use => epoll::pulse(inner),
            _ => 0,
        };
        self.regs.iter().map(of_ring).fold(self.absorbed, u64::wrapping_add)
    }

    /// EPOLL_CTL_MOD.
    pub fn modify(&mut self, ep: c_int, fd: c_int, events: u32, data: u64, entry: Entry) -> Ret {
        self.come_home(fd, entry);
        let Some(index) = self.find(fd) else {
            // What is parked the kernel would find.
            let parked = self.find_kept(fd).is_some_and(|i| self.is_ring_of(i, entry));
            return if parked { Err(Errno::ENOENT) } else { call::epoll_ctl(ep, EPOLL_CTL_MOD, fd, events, data) };
        };
        if let (Some(Watch::Unjoined(_)), Entry::Stream(sock)) = (self.watch(index), entry)
            && let Some(endpoint) = ready::on_ring(sock)
        {
            self.convert(ep, index, endpoint);
        }
        let Some(reg) = self.regs.get_mut(index as usize) else { return Err(Errno::ENOENT) };
        if matches!(reg.watch, Watch::Ring(_)) {
            return if (events | reg.events) & EPOLLEXCLUSIVE as u32 != 0 { Err(Errno::EINVAL) } else { self.renew(ep, index, events, data) };
        }
        let (to_kernel, kept) = match reg.watch {
            Watch::Nested(_) => (INNER_EVENTS, token(index, reg.generation)),
            Watch::NestedInKernel(_) if !is_token(data) => (events, data),
            _ => (events, token(index, reg.generation)),
        };
        call::epoll_ctl(ep, EPOLL_CTL_MOD, fd, to_kernel, kept)?;
        reg.events = events;
        reg.data = data;
        reg.disabled = false;
        reg.edge = true;
        reg.pulse = 0;
        self.changed();
        Ok(0)
    }

    /// EPOLL_CTL_DEL.
    pub fn delete(&mut self, ep: c_int, fd: c_int, entry: Entry) -> Ret {
        self.come_home(fd, entry);
        if let Some(index) = self.find_kept(fd).filter(|&i| !self.is_shared && self.is_ring_of(i, entry)) {
            return self.park(index);
        }
        let ret = call::epoll_ctl(ep, EPOLL_CTL_DEL, fd, 0, 0);
        if ret.is_ok() {
            match self.find_kept(fd) {
                Some(_) => self.forget(fd),
                None => self.direct = self.direct.saturating_sub(1),
            }
        }
        ret
    }

    /// Ends a registration of a ring socket, and leaves the kernel's part where it is.
    fn park(&mut self, index: u32) -> Ret {
        let notifier = self.own_notifier();
        let Some(reg) = self.regs.get_mut(index as usize).filter(|r| r.in_use) else { return Err(Errno::ENOENT) };
        reg.in_use = false;
        reg.is_parked = true;
        reg.disarm(notifier);
        self.rings -= 1;
        self.parked += 1;
        Ok(0)
    }

    /// Begins a parked registration anew.
    fn resume(&mut self, ep: c_int, index: u32, events: u32, data: u64) -> Ret {
        if let Some(reg) = self.regs.get_mut(index as usize) {
            reg.in_use = true;
            reg.is_parked = false;
            if let (Watch::Ring(endpoint), true) = (reg.watch, core::mem::take(&mut reg.missed)) {
                endpoint.look_at_anchor();
            }
        }
        self.parked -= 1;
        self.rings += 1;
        self.renew(ep, index, events, data)
    }

    /// Gives a ring registration new events and data, and wakes who sleeps without having looked at it.
    fn renew(&mut self, ep: c_int, index: u32, events: u32, data: u64) -> Ret {
        let sleepers = notifier_of(self.notifier).is_none_or(|n| n.has_sleepers());
        let Some(reg) = self.regs.get_mut(index as usize) else { return Err(Errno::ENOENT) };
        if sleepers {
            call::epoll_ctl(ep, EPOLL_CTL_MOD, reg.fd, ANCHOR_EVENTS, token(index, reg.generation))?;
        }
        reg.events = events;
        reg.data = data;
        reg.disabled = false;
        reg.edge = true;
        self.heat(index);
        if sleepers {
            self.changed();
        }
        Ok(0)
    }

    /// Ends a parked registration in the kernel too.
    fn evict(&mut self, index: u32) {
        if let Some(reg) = self.regs.get(index as usize) {
            let _ = call::epoll_ctl(self.ep, EPOLL_CTL_DEL, reg.fd, 0, 0);
        }
        self.remove(index);
    }

    /// The instance is about to be shared with a child: ends all parked registrations in the kernel too, and parks
    /// no more.
    pub fn share(&mut self) {
        self.is_shared = true;
        if self.parked > 0 && self.pid == thread::pid() {
            for index in 0..self.regs.len() as u32 {
                if self.regs.get(index as usize).is_some_and(|r| r.is_parked) {
                    self.evict(index);
                }
            }
        }
    }

    /// The descriptor is about to be closed, or no longer watched.
    pub fn forget(&mut self, fd: c_int) {
        while let Some(index) = self.homeless_at(fd) {
            self.remove(index);
        }
        let Some(index) = self.find_kept(fd) else { return };
        if self.regs.get(index as usize).is_some_and(|r| r.is_parked) && self.pid == thread::pid() {
            self.evict(index);
        } else {
            self.remove(index);
        }
    }

    /// The descriptor is closed, but `other` refers to the same socket: the registration stays, without a
    /// number of its own.
    pub fn rehome(&mut self, fd: c_int, other: Sock) {
        while let Some(reg) = self.homeless_at(fd).and_then(|i| self.regs.get_mut(i as usize)) {
            reg.move_to(other);
        }
        let Some(index) = self.find(fd) else { return };
        if let (Some(reg), Some(word)) = (self.regs.get_mut(index as usize), self.by_fd.get_mut(fd as usize)) {
            *word = 0;
            reg.move_to(other);
            self.homeless.push(index);
        }
    }

    fn homeless_at(&self, fd: c_int) -> Option<u32> {
        self.homeless.iter().copied().find(|&i| self.regs.get(i as usize).is_some_and(|r| r.fd == fd))
    }

    fn remove(&mut self, index: u32) {
        let notifier = self.own_notifier();
        let Some(reg) = self.regs.get_mut(index as usize).filter(|r| r.in_use || r.is_parked) else { return };
        match reg.watch {
            _ if reg.is_parked => self.parked -= 1,
            Watch::Ring(_) => self.rings -= 1,
            _ => {}
        }
        reg.disarm(notifier);
        reg.in_use = false;
        reg.is_parked = false;
        reg.generation = reg.generation.wrapping_add(1);
        if let Some(word) = self.by_fd.get_mut(reg.number as usize).filter(|w| **w == index + 1) {
            *word = 0;
        }
        reg.watch = Watch::Kernel;
        reg.is_hot = false;
        for list in [&mut self.hot, &mut self.unjoined, &mut self.nested, &mut self.inner, &mut self.homeless] {
            list.retain(|&i| i != index);
        }
        self.free.push(index);
    }

    /// The instance is gone; returns its notifier.
    pub fn dissolve(&mut self) -> u32 {
        for index in 0..self.regs.len() as u32 {
            self.remove(index);
        }
        let notifier = self.own_notifier();
        *self = Set::default();
        notifier
    }

    /// The notifier; 0 in a child of fork that has not made the set its own: what is armed is the parent's.
    fn own_notifier(&self) -> u32 {
        if self.pid == thread::pid() { self.notifier } else { 0 }
    }

    fn watch(&self, index: u32) -> Option<Watch> {
        self.regs.get(index as usize).filter(|r| r.in_use).map(|r| r.watch)
    }

    /// A socket has come to the ring: from now on it is watched there.
    fn convert(&mut self, ep: c_int, index: u32, endpoint: Endpoint) {
        let Some(reg) = self.regs.get_mut(index as usize) else { return };
        let token = token(index, reg.generation);
        if call::epoll_ctl(ep, EPOLL_CTL_MOD, reg.fd, ANCHOR_EVENTS, token).is_err() {
            // An exclusive registration cannot be modified.
            let _ = call::epoll_ctl(ep, EPOLL_CTL_DEL, reg.fd, 0, 0);
            let _ = call::epoll_ctl(ep, EPOLL_CTL_ADD, reg.fd, ANCHOR_EVENTS, token);
        }
        reg.watch = Watch::Ring(endpoint);
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
            endpoint.rx.control.is_timed.store(1, Ordering::Relaxed);
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
        let changes = route::PATH_CHANGES.load(Ordering::SeqCst);
        if changes == self.changes_seen {
            return;
        }
        self.changes_seen = changes;
        let joined: Vec<(u32, Endpoint)> = self
            .unjoined
            .iter()
            .filter_map(|&i| match self.watch(i) {
                Some(Watch::Unjoined(sock)) => Some((i, ready::on_ring(sock)?)),
                _ => None,
            })
            .collect();
        for (index, endpoint) in joined {
            self.convert(ep, index, endpoint);
        }
    }

    /// Fills in the ring sockets that are ready; returns how many.
    #[inline]
    pub fn collect(&mut self, events: &mut [epoll_event]) -> usize {
        let mut n = self.unstash(events);
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
                self.places.push((reg.place(), index));
                reg.reported();
            } else {
                reg.told_at = 0;
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
        self.put_in_order(events.get_mut(before..n).unwrap_or(&mut []));
        n
    }

    /// Puts few events into the order of their places; many are told in any.
    #[inline]
    fn put_in_order(&mut self, events: &mut [epoll_event]) {
        const FEW: usize = 64;
        if self.rings < 2 || events.is_empty() || events.len() > FEW {
            return;
        }
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
        let (regs, number, fragile) = (&mut self.regs, self.notifier, &mut self.fragile);
        self.hot.retain(|&i| {
            let Some(reg) = regs.get_mut(i as usize) else { return false };
            let cools = !reg.in_use || reg.disabled || (reg.quiet > quiet_looks && reg.arm(number, i));
            reg.is_hot = !cools;
            if cools && reg.needs_looks() && !fragile.contains(&i) {
                fragile.push(i);
            }
            !cools
        });
    }

    /// Arms everything for a sleep; true if something is ready after all, and there is to be none.
    /// `end_sleep` is to follow in any case.
    pub fn prepare_sleep(&mut self, depth: u32) -> bool {
        self.settle_in(self.ep);
        let number = self.notifier;
        self.sleeping += 1;
        if let Some(n) = notifier_of(number) {
            n.begin_sleep();
        }
        let mut ready = !self.stash.is_empty();
        for &i in &self.hot {
            if let Some(reg) = self.regs.get_mut(i as usize) {
                ready |= reg.in_use && !reg.disabled && !reg.arm(number, i);
                if reg.needs_looks() && !self.fragile.contains(&i) {
                    self.fragile.push(i);
                }
            }
        }
        for &i in &self.nested {
            if let (Some(Watch::Nested(inner)), 1..) = (self.watch(i), depth) {
                ready |= epoll::prepare_sleep(inner, depth - 1);
                if let Some(reg) = self.regs.get_mut(i as usize) {
                    reg.sleeping += 1;
                }
            }
        }
        ready || notifier_of(number).is_some_and(|n| n.has_news())
    }

    /// Whether a sleep is to be short: looks for the death of other ends that nothing would tell.
    pub fn needs_looks(&mut self) -> bool {
        let regs = &self.regs;
        self.fragile.retain(|&i| match regs.get(i as usize).filter(|r| r.needs_looks()).map(|r| r.watch) {
            Some(Watch::Ring(endpoint)) => {
                endpoint.look_for_death();
                true
            }
            _ => false,
        });
        !self.fragile.is_empty()
    }

    /// Before a thread goes off with its events while others sleep: what comes next, and what is still ready,
    /// is for them.
    pub fn leave_to_others(&mut self) {
        let number = self.notifier;
        if self.hot.is_empty() || !notifier_of(number).is_some_and(|n| n.has_sleepers()) {
            return;
        }
        let mut ready = None;
        for &i in &self.hot {
            if let Some(reg) = self.regs.get_mut(i as usize)
                && reg.in_use
                && !reg.disabled
                && !reg.arm(number, i)
            {
                ready = Some((reg.fd, token(i, reg.generation)));
            }
        }
        if let Some((fd, token)) = ready {
            let _ = call::epoll_ctl(self.ep, EPOLL_CTL_MOD, fd, ANCHOR_EVENTS, token);
        }
    }

    pub fn end_sleep(&mut self, depth: u32) {
        // The instance may have been closed meanwhile, or forked: then nobody is counted any more.
        let Some(others) = self.sleeping.checked_sub(1) else { return };
        self.sleeping = others;
        if let Some(n) = notifier_of(self.notifier) {
            n.end_sleep();
        }
        for &i in &self.nested {
            if let Some(reg) = self.regs.get_mut(i as usize).filter(|r| r.sleeping > 0 && depth > 0)
                && let Watch::Nested(inner) = reg.watch
            {
                reg.sleeping -= 1;
                epoll::end_sleep(inner, depth - 1);
            }
        }
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
        if !reg.in_use {
            return None;
        }
        match reg.watch {
            Watch::Ring(endpoint) => {
                // What is on the ring shows by itself; what still comes through the kernel only here. Writable
                // the anchor always is.
                if event.events & !(EPOLLOUT as u32) != 0 {
                    reg.edge |= !endpoint.is_past_kernel();
                    endpoint.look_at_anchor();
                }
                self.heat(index);
                None
            }
            Watch::Unjoined(sock) => match ready::on_ring(sock) {
                Some(endpoint) => {
                    reg.edge = true;
                    self.convert(ep, index, endpoint);
                    None
                }
                None => Some(epoll_event { events: event.events, u64: reg.data }),
            },
            Watch::Nested(inner) => {
                epoll::absorb(reg.fd, inner);
                None
            }
            Watch::NestedInKernel(_) => Some(epoll_event { events: event.events, u64: reg.data }),
            Watch::Kernel => Some(epoll_event { events: event.events, u64: reg.data }),
        }
    }

    /// Takes what the kernel has, so that no doorbell makes the instance look ready, keeping what the program is to be
    /// told.
    pub fn absorb(&mut self, ep: c_int) {
        if self.rings == 0 {
            // There are no doorbells: what the kernel says is right, and stays there.
            self.absorbed = self.absorbed.wrapping_add(1);
            return;
        }
        let mut events = [epoll_event { events: 0, u64: 0 }; 64];
        if let Ok(n) = call::epoll_wait(ep, &mut events, Deadline::NOW, None) {
            let n = self.translate(ep, &mut events, n);
            self.absorbed = self.absorbed.wrapping_add(n as u64);
            self.stash.extend_from_slice(events.get(..n).unwrap_or(&[]));
        }
    }

    fn unstash(&mut self, events: &mut [epoll_event]) -> usize {
        if self.stash.is_empty() {
            return self.report_nested(events);
        }
        let n = self.stash.len().min(events.len());
        for (to, from) in events.iter_mut().zip(self.stash.drain(..n)) {
            *to = from;
        }
        n
    }

    /// Inner instances that are ready by their rings.
    fn report_nested(&mut self, events: &mut [epoll_event]) -> usize {
        let mut n = 0;
        for &i in &self.nested {
            let Some(reg) = self.regs.get_mut(i as usize) else { continue };
            if let (Watch::Nested(inner), Some(event)) = (reg.watch, events.get_mut(n))
                && reg.reports_inner(|| epoll::pulse(inner))
                && epoll::is_ready(inner)
            {
                *event = reg.inner_event();
                reg.pulse = epoll::pulse(inner);
                reg.disabled = reg.events & EPOLLONESHOT as u32 != 0;
                n += 1;
            }
        }
        n
    }

    /// Whether anything is ready, without reporting it.
    pub fn peek(&mut self, depth: u32) -> bool {
        self.refresh(self.ep);
        self.take_news();
        let regs = &mut self.regs;
        !self.stash.is_empty()
            || (self.rings == 0 && call::poll_one(self.ep, libc::POLLIN, Deadline::NOW).is_ok_and(|bits| bits & libc::POLLIN != 0))
            || self.hot.iter().any(|&i| regs.get_mut(i as usize).is_some_and(|r| r.look() != 0))
            || (depth > 0
                && self.nested.iter().any(|&i| match self.regs.get(i as usize).map(|r| r.watch) {
                    Some(Watch::Nested(inner)) => {
                        self.regs.get(i as usize).is_some_and(|r| r.reports_inner(|| epoll::pulse(inner))) && epoll::is_ready(inner)
                    }
                    _ => false,
                }))
    }

    /// Whether those who may answer last ran on this processor.
    pub fn peers_are_here(&self) -> bool {
        let cpu = thread::cpu();
        let mut seen = false;
        for &i in self.hot.iter().take(4) {
            if let Some(Watch::Ring(endpoint)) = self.watch(i) {
                endpoint.tx.produced.cpu.store(cpu, Ordering::Relaxed);
                endpoint.rx.consumed.cpu.store(cpu, Ordering::Relaxed);
                let its = endpoint.rx.produced.cpu.load(Ordering::Relaxed);
                if its != 0 && its != cpu {
                    return false;
                }
                seen |= its == cpu;
            }
        }
        seen
    }
}

fn notifier_of(number: u32) -> Option<&'static notifier::Notifier> {
    if number == 0 { None } else { notifier(crate::shm::arena()?, number) }
}
