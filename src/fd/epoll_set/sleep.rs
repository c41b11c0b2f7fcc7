//! Around a sleep: what is asked of the senders before it, and what is left for those who sleep on.

use super::*;
use crate::socket::crowd;
use crate::socket::spin::Peer;

/// Of so many hot sockets the other ends are asked where they wait.
const PEERS_ASKED: usize = 4;

impl Set {
    /// Where those who may answer last waited; leaves word of this thread for them.
    pub fn peers(&self) -> Peer {
        let here = crowd::place(self.rings);
        let mut all = Peer::Elsewhere;
        for &i in self.hot.iter().take(PEERS_ASKED) {
            if let Some(Watch::Ring(endpoint)) = self.watch(i) {
                match endpoint.mark_place(here) {
                    0 => {}
                    its => all = Peer::of(here, its),
                }
                if all == Peer::Elsewhere {
                    break;
                }
            }
        }
        all
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
        let mut ready = false;
        for &i in &self.hot {
            if let Some(reg) = self.regs.get_mut(i as usize) {
                ready |= reg.in_use && !reg.disabled && !reg.arm(number, i);
                if reg.needs_looks() && !self.fragile.contains(&i) {
                    self.fragile.push(i);
                }
                if reg.becomes_late() {
                    self.late.push(i);
                }
            }
        }
        for &i in &self.nested {
            if let (Some(Watch::Nested(inner)), 1..) = (self.watch(i), depth) {
                let inner_ready = epoll::prepare_sleep(inner, depth - 1);
                if let Some(reg) = self.regs.get_mut(i as usize) {
                    reg.sleeping += 1;
                    ready |= inner_ready && reg.reports_inner(|| epoll::pulse(inner));
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

    /// When something is due, here or in an inner instance, that nobody wakes for.
    pub fn next_due(&self, depth: u32) -> u64 {
        let due = |&i: &u32| self.regs.get(i as usize).map_or(NEVER, |reg| reg.due_ns);
        let mut next = self.late.iter().map(due).min().unwrap_or(NEVER);
        for &i in &self.nested {
            if let (Some(Watch::Nested(inner)), 1..) = (self.watch(i), depth) {
                next = next.min(epoll::next_due_within(inner, depth - 1));
            }
        }
        next
    }

    /// Those of which something is due are looked at again.
    #[cold]
    pub(super) fn heat_late(&mut self) {
        let now = now_ns();
        for at in (0..self.late.len()).rev() {
            let Some(&i) = self.late.get(at) else { break };
            if self.regs.get(i as usize).is_some_and(|reg| now < reg.due_ns && reg.due_ns != NEVER) {
                continue;
            }
            self.late.swap_remove(at);
            if let Some(reg) = self.regs.get_mut(i as usize) {
                reg.due_ns = NEVER;
            }
            if matches!(self.watch(i), Some(Watch::Ring(_))) {
                self.heat(i);
            }
        }
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
                && reg.fd == reg.number
            {
                ready = Some(i);
            }
        }
        if let Some((i, reg)) = ready.and_then(|i| Some((i, self.regs.get_mut(i as usize)?))) {
            reg.is_kicked = true;
            let _ = call::epoll_ctl(self.ep, EPOLL_CTL_MOD, reg.fd, KICK_EVENTS, token(i, reg.generation));
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
}
