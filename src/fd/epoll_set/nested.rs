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
                if !reg.edge && reg.is_edge_triggered() {
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
        self.regs.iter().map(of_ring).fold(self.stirred, u64::wrapping_add)
    }

    /// The kernel told something of this instance to one that it is nested in: an edge there.
    pub fn stirs(&mut self) {
        self.stirred = self.stirred.wrapping_add(1);
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
                if reg.is_edge_triggered() {
                    reg.pulse = epoll::pulse(inner);
                }
                reg.disabled = reg.events & EPOLLONESHOT as u32 != 0;
                n += 1;
            }
        }
        n
    }

    /// Whether anything is ready, without reporting it, and without taking anything from the kernel that is the
    /// program's: the kernel is asked about the instance itself, once doorbells cannot make it look ready.
    pub fn peek(&mut self, depth: u32) -> bool {
        self.refresh(self.ep);
        if self.is_ready_by_rings(depth) {
            return true;
        }
        if !self.kernel_says_ready() {
            return false;
        }
        if self.rings == 0 && self.parked == 0 {
            return true;
        }
        let ep = self.ep;
        for (index, reg) in self.regs.iter_mut().enumerate().filter(|(_, r)| (r.in_use || r.is_parked) && r.fd >= 0) {
            if let Watch::Ring(endpoint) = reg.watch {
                endpoint.look_at_anchor();
                if endpoint.is_mailbox() {
                    // Which takes the doorbells.
                    endpoint.readiness();
                }
                reg.calm(ep, token(index as u32, reg.generation));
            }
        }
        if self.is_ready_by_rings(depth) {
            // The doorbell may have been meant for somebody who sleeps here.
            self.leave_to_others();
            return true;
        }
        self.kernel_says_ready()
    }

    fn kernel_says_ready(&self) -> bool {
        call::poll_one(self.ep, libc::POLLIN, Deadline::NOW).is_ok_and(|bits| bits & libc::POLLIN != 0)
    }

    pub(super) fn is_ready_by_rings(&mut self, depth: u32) -> bool {
        self.take_news();
        let regs = &mut self.regs;
        self.hot.iter().any(|&i| regs.get_mut(i as usize).is_some_and(|r| r.look() != 0))
            || (depth > 0
                && self.nested.iter().any(|&i| match regs.get(i as usize).filter(|r| r.in_use) {
                    Some(reg) => matches!(reg.watch, Watch::Nested(inner) if reg.reports_inner(|| epoll::pulse(inner)) && epoll::is_ready(inner)),
                    None => false,
                }))
    }
}
