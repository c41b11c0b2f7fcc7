//! epoll_ctl(2) on a set: registrations made, changed, parked, ended, and what becomes of them when descriptors are
//! closed.

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLEXCLUSIVE, c_int};

use super::*;
use crate::pcb::block::flag;

/// Whether the kernel gets a token as the data of an inner instance without sockets: where the data look like one, and
/// where it has to be known what it was told.
pub(super) fn needs_token(events: u32, data: u64) -> bool {
    is_token(data) || events & (EPOLLONESHOT | EPOLLET) as u32 != 0
}

impl Set {
    /// The descriptor that a registration was made by may refer to its socket again.
    pub(super) fn come_home(&mut self, fd: c_int, entry: Entry) {
        let Some(sock) = entry.socket() else { return };
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
        match (self.regs.get(index as usize).map(|r| r.watch), entry.socket()) {
            (Some(Watch::Ring(endpoint)), Some(sock)) => endpoint.sock.index == sock.index && endpoint.is_current(),
            _ => false,
        }
    }

    /// EPOLL_CTL_ADD.
    pub fn add(&mut self, ep: c_int, fd: c_int, (events, data): (u32, u64), entry: Entry, inner_has_sockets: bool) -> Ret {
        let Ok(slot) = usize::try_from(fd) else { return Err(Errno::EBADF) };
        self.bury();
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
            Entry::Stream(sock) | Entry::Datagram(sock) => {
                sock.pcb.watch_from(sock.me().slot());
                ready::on_ring(sock).map_or(Watch::Unjoined(sock), Watch::Ring)
            }
            Entry::Epoll(number) if inner_has_sockets => Watch::Nested(number),
            Entry::Epoll(number) => Watch::NestedInKernel(number),
        };
        let (to_kernel, kept) = match watch {
            Watch::Ring(endpoint) => (self.anchor_events(&endpoint, events), token(index, generation)),
            Watch::Nested(_) => (INNER_EVENTS, token(index, generation)),
            Watch::NestedInKernel(_) if !needs_token(events, data) => (events, data),
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
            is_kicked: matches!(watch, Watch::Ring(_)) && to_kernel == KICK_EVENTS,
            is_armed: false,
            quiet: 0,
            told_at: 0,
            pulse: 0,
            sleeping: 0,
            socket: entry.socket().map_or(0, |sock| sock.pcb.generation.load(Ordering::Acquire)),
            idle_head: NOT_IDLE,
            due_ns: NEVER,
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

    /// Events and data that `fd` is registered for.
    pub fn registration(&self, fd: c_int) -> Option<(u32, u64)> {
        let reg = self.regs.get(self.find(fd)? as usize)?;
        Some((reg.events, reg.data))
    }

    /// EPOLL_CTL_ADD of a file that is the kernel's alone.
    pub fn add_plain(&mut self, fd: c_int, events: u32, data: u64) -> Ret {
        self.add(self.ep, fd, (events, data), Entry::Plain, false)
    }

    /// EPOLL_CTL_MOD.
    pub fn modify(&mut self, ep: c_int, fd: c_int, events: u32, data: u64, entry: Entry) -> Ret {
        self.come_home(fd, entry);
        let Some(index) = self.find(fd) else {
            // What is parked the kernel would find.
            if self.find_kept(fd).is_some_and(|i| self.is_ring_of(i, entry)) {
                return Err(Errno::ENOENT);
            }
            if !is_token(data) {
                return call::epoll_ctl(ep, EPOLL_CTL_MOD, fd, events, data);
            }
            // Data that look like a token need one of their own: the kernel says first whether there is what to change.
            call::epoll_ctl(ep, EPOLL_CTL_MOD, fd, 0, 0)?;
            self.delete(ep, fd, entry)?;
            return self.add(ep, fd, (events, data), entry, false);
        };
        if let (Some(Watch::Unjoined(_)), Some(sock)) = (self.watch(index), entry.socket())
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
            Watch::NestedInKernel(_) if !needs_token(events, data) => (events, data),
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
        // Bytes that are still in the kernel would make the instance look ready.
        let can_be_parked = |i: u32| matches!(self.regs.get(i as usize).map(|r| r.watch), Some(Watch::Ring(endpoint)) if endpoint.is_past_kernel() && !endpoint.is_mailbox());
        if let Some(index) = self.find_kept(fd).filter(|&i| !self.is_shared && self.is_ring_of(i, entry) && can_be_parked(i)) {
            return self.park(index);
        }
        let ret = call::epoll_ctl(ep, EPOLL_CTL_DEL, fd, 0, 0);
        if ret.is_ok() {
            match self.find_kept(fd) {
                Some(index) => self.remove(index),
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
        if sleepers || (reg.would_send_by_kernel(events) && !reg.is_kicked) {
            call::epoll_ctl(ep, EPOLL_CTL_MOD, reg.fd, KICK_EVENTS, token(index, reg.generation))?;
            reg.is_kicked = true;
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
    pub(super) fn evict(&mut self, index: u32) {
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
            self.leave_behind(index);
        }
        let Some(index) = self.find_kept(fd) else { return };
        if self.regs.get(index as usize).is_some_and(|r| r.is_parked) && self.pid == thread::pid() {
            self.evict(index);
        } else {
            self.leave_behind(index);
        }
    }

    /// The last descriptor of this process is closed. Where the kernel may keep the registration, because another
    /// process has the file, or another descriptor refers to the inner instance, so do we, as long as it is the kernel
    /// that tells.
    fn leave_behind(&mut self, index: u32) {
        let Some(reg) = self.regs.get_mut(index as usize) else { return };
        let stays = reg.in_use
            && match reg.watch {
                Watch::Unjoined(sock) => sock.pcb.has(flag::SHARED),
                Watch::Nested(inner) | Watch::NestedInKernel(inner) => epoll::is_open(inner),
                _ => false,
            };
        if !stays {
            return self.remove(index);
        }
        reg.fd = -1;
        if let Watch::Unjoined(sock) = &mut reg.watch {
            sock.fd = -1;
        }
        if let Some(word) = self.by_fd.get_mut(reg.number as usize).filter(|w| **w == index + 1) {
            *word = 0;
            self.homeless.push(index);
        }
    }

    /// Ends registrations that were left behind and are gone in the kernel too.
    fn bury(&mut self) {
        let is_gone = |r: &Reg| {
            r.fd < 0
                && match r.watch {
                    Watch::Unjoined(sock) => sock.pcb.generation.load(Ordering::Acquire) != r.socket,
                    Watch::Nested(inner) | Watch::NestedInKernel(inner) => !epoll::is_open(inner),
                    _ => true,
                }
        };
        while let Some(index) = self.homeless.iter().copied().find(|&i| self.regs.get(i as usize).is_some_and(is_gone)) {
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

    pub(super) fn remove(&mut self, index: u32) {
        let notifier = self.own_notifier();
        let Some(reg) = self.regs.get_mut(index as usize).filter(|r| r.in_use || r.is_parked) else { return };
        match reg.watch {
            _ if reg.is_parked => self.parked -= 1,
            Watch::Ring(_) => self.rings -= 1,
            _ => {}
        }
        reg.disarm(notifier);
        if let Watch::Nested(inner) = reg.watch {
            // Those who sleep here sleep there no more.
            (0..core::mem::take(&mut reg.sleeping)).for_each(|_| epoll::end_sleep(inner, NESTED_DEPTH));
        }
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
}
