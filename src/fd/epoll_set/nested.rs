//! Instances within instances. One without sockets is the kernel's affair; one that has some is looked into, since the
//! kernel knows nothing of what is on the ring, and its own readiness may be but a doorbell.

use super::*;

impl Set {
    pub(super) fn begin_nested(&mut self, index: u32, inner: u32) {
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
                if !reg.edge {
                    reg.pulse = epoll::pulse(inner);
                }
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

    /// Takes what the kernel has, so that no doorbell makes the instance look ready, keeping what the program is to be
    /// told.
    pub fn absorb(&mut self) {
        let ep = self.ep;
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

    /// Inner instances that are ready by their rings.
    pub(super) fn report_nested(&mut self, events: &mut [epoll_event]) -> usize {
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
}
