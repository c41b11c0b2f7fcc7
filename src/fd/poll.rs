//! poll(2) over mixed sets.

use core::cell::Cell;

use libc::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLPRI, POLLRDHUP, c_int, c_short, pollfd, sigset_t};

use super::epoll;
use super::table::{self, Entry};
use crate::pcb::block::flag;
use crate::socket::crowd;
use crate::socket::spin::{self, Peer};
use crate::socket::wait::LOOK_AGAIN_NS;
use crate::socket::{Endpoint, datagram, ready, sleepers, stats};
use crate::sys::call;
use crate::sys::clock::{Deadline, now_ns};
use crate::sys::errno::Ret;
use crate::transport::direction::NEVER;

const ALWAYS: c_short = POLLERR | POLLHUP | POLLNVAL;
const ON_STACK: usize = 64;
const LOOKS_PER_KERNEL: u32 = 64;
const DEPTH: u32 = 4;
/// While rings are ready the kernel is asked about the ends of connections this often.
const KERNEL_EVERY_NS: u64 = 200_000;

thread_local! {
    static KERNEL_SEEN: Cell<KernelSeen> = const { Cell::new(KernelSeen { at_ns: 0, set: 0 }) };
}

/// When the kernel was last asked, and of which set.
#[derive(Clone, Copy)]
struct KernelSeen {
    at_ns: u64,
    set: u64,
}

/// What a descriptor is for a poll.
#[derive(Clone, Copy)]
enum Kind {
    Kernel,
    Ring(Endpoint),
    Epoll(u32),
}

fn kind(fd: c_int) -> Kind {
    if fd < 0 {
        return Kind::Kernel;
    }
    match table::lookup(fd) {
        Entry::Stream(sock) | Entry::Datagram(sock) => ready::on_ring(sock).map_or(Kind::Kernel, Kind::Ring),
        Entry::Epoll(number) if epoll::has_sockets(number) => Kind::Epoll(number),
        Entry::Epoll(_) | Entry::Plain => Kind::Kernel,
    }
}

/// poll(2): fills in `revents`, returns how many are not zero.
///
/// # Errors
/// `EINTR` and the rest of ppoll(2).
pub fn poll(fds: &mut [pollfd], deadline: Deadline, mask: Option<&sigset_t>) -> Ret {
    if fds.len() <= ON_STACK {
        let mut kinds = [Kind::Kernel; ON_STACK];
        let mut real = [pollfd { fd: -1, events: 0, revents: 0 }; ON_STACK];
        let n = fds.len();
        match (kinds.get_mut(..n), real.get_mut(..n)) {
            (Some(kinds), Some(real)) => poll_with(fds, kinds, real, deadline, mask),
            _ => Ok(0),
        }
    } else {
        let mut kinds = vec![Kind::Kernel; fds.len()];
        let mut real = vec![pollfd { fd: -1, events: 0, revents: 0 }; fds.len()];
        poll_with(fds, &mut kinds, &mut real, deadline, mask)
    }
}

fn poll_with(fds: &mut [pollfd], kinds: &mut [Kind], real: &mut [pollfd], deadline: Deadline, mask: Option<&sigset_t>) -> Ret {
    loop {
        let (mut special, mut may_switch) = (0, false);
        for (k, f) in kinds.iter_mut().zip(fds.iter()) {
            *k = kind(f.fd);
            special += usize::from(!matches!(k, Kind::Kernel));
            may_switch |= matches!(k, Kind::Kernel) && f.events & POLLRDHUP != 0 && f.events & POLLIN == 0 && ready::may_come(f.fd, table::stream);
        }
        if special > 0 {
            break;
        }
        for f in fds.iter().filter(|f| f.fd >= 0) {
            if let Entry::Stream(sock) | Entry::Datagram(sock) = table::lookup(f.fd) {
                sleepers::about_to_sleep(sock);
            }
        }
        // Who waits for the end alone is not woken by a doorbell.
        let until = if may_switch { deadline.at_most_ns(LOOK_AGAIN_NS) } else { deadline };
        let ret = call::poll_many(fds, until.left(), mask);
        if ret != Ok(0) || !may_switch || deadline.passed() {
            return ret;
        }
    }
    let mut set = PollSet { fds, kinds, real };
    let mut spun = false;
    loop {
        let n = set.look();
        if n > 0 && !set.needs_kernel() {
            return Ok(n);
        }
        if n > 0 || deadline.is_now() {
            // What is ready comes before signals.
            let ret = set.with_kernel(Deadline::NOW, mask.filter(|_| n == 0));
            // Another thread may have taken what there was.
            if ret != Ok(0) || deadline.is_now() {
                return ret;
            }
        }
        if !spun {
            spun = true;
            if let Some(ret) = set.spin(mask).filter(|&ret| ret != Ok(0)) {
                return ret;
            }
        }
        set.declare(true);
        let ret = if set.look() > 0 { set.with_kernel(Deadline::NOW, None) } else { set.sleep(deadline, mask) };
        set.declare(false);
        if ret != Ok(0) || deadline.passed() {
            return ret;
        }
        for (k, f) in set.kinds.iter_mut().zip(set.fds.iter()) {
            *k = kind(f.fd);
        }
    }
}

struct PollSet<'a> {
    fds: &'a mut [pollfd],
    kinds: &'a mut [Kind],
    real: &'a mut [pollfd],
}

impl PollSet<'_> {
    /// Fills in what is known without the kernel; returns how many are ready.
    fn look(&mut self) -> usize {
        let mut n = 0;
        for (f, k) in self.fds.iter_mut().zip(self.kinds.iter()) {
            f.revents = match k {
                Kind::Kernel => 0,
                Kind::Ring(ep) => ep.readiness().bits & (f.events | ALWAYS),
                Kind::Epoll(number) if f.events & POLLIN != 0 && epoll::is_ready(*number) => POLLIN,
                Kind::Epoll(_) => 0,
            };
            n += usize::from(f.revents != 0);
        }
        n
    }

    /// Whether the kernel knows of something beside what is ready on the rings. Of these alone it knows only what
    /// befalls the connection itself, and is asked now and then.
    fn needs_kernel(&self) -> bool {
        let told_by_kernel = |(f, k): (&pollfd, &Kind)| match k {
            Kind::Ring(ep) => f.events & (ep.readiness().ask | POLLPRI) != 0,
            Kind::Kernel => f.fd >= 0,
            Kind::Epoll(_) => true,
        };
        if self.fds.iter().zip(self.kinds.iter()).any(told_by_kernel) {
            return true;
        }
        let seen = KERNEL_SEEN.get();
        seen.set != self.mark() || now_ns() - seen.at_ns > KERNEL_EVERY_NS
    }

    /// What tells this set from others.
    fn mark(&self) -> u64 {
        self.fds.iter().fold(self.fds.len() as u64, |mark, f| mark.wrapping_mul(0x100_0000_01b3) ^ f.fd as u64)
    }

    /// Asks the kernel about the others, and about the ends of connections, until `deadline`; then fills in
    /// everything. Returns how many are ready.
    fn with_kernel(&mut self, deadline: Deadline, mask: Option<&sigset_t>) -> Ret {
        let mut until = deadline;
        for (r, (f, k)) in self.real.iter_mut().zip(self.fds.iter().zip(self.kinds.iter())) {
            let events = match k {
                Kind::Kernel | Kind::Epoll(_) => f.events,
                Kind::Ring(ep) => {
                    let ready = ep.readiness();
                    if ready.bits & (f.events | ALWAYS) != 0 {
                        // It has come since the last look, and its doorbell may be taken already.
                        until = Deadline::NOW;
                    }
                    (ready.ask & f.events) | anchor_events(ep)
                }
            };
            *r = pollfd { fd: if waits_by_time(k) { -1 } else { f.fd }, events, revents: 0 };
        }
        let ret = call::poll_many(self.real, until.left(), mask);
        KERNEL_SEEN.set(KernelSeen { at_ns: now_ns(), set: self.mark() });
        if let Err(e) = ret {
            return if self.look() > 0 { self.count() } else { Err(e) };
        }
        for (f, (k, r)) in self.fds.iter_mut().zip(self.kinds.iter().zip(self.real.iter())) {
            f.revents = match k {
                Kind::Kernel => r.revents,
                Kind::Ring(ep) => {
                    // A doorbell is left for others who poll the same socket, unless it says nothing to us.
                    let over = r.revents & (POLLRDHUP | POLLHUP | POLLERR) != 0;
                    if r.revents & POLLIN != 0 && !ep.may_have_company() && !ep.is_mailbox() {
                        // Else the next sleep would end at once.
                        ep.look_at_anchor_for(r.revents);
                    } else if over
                        || (r.revents & POLLIN != 0 && ep.is_mailbox())
                        || (r.revents != 0 && ep.readiness().bits & (f.events | ALWAYS) == 0)
                    {
                        ep.look_at_anchor();
                    }
                    let ready = ep.readiness();
                    (ready.bits | (r.revents & ready.ask)) & (f.events | ALWAYS)
                }
                Kind::Epoll(number) => {
                    if f.events & POLLIN != 0 && epoll::is_ready(*number) {
                        POLLIN
                    } else {
                        r.revents & !POLLIN
                    }
                }
            };
        }
        self.count()
    }

    fn count(&self) -> Ret {
        Ok(self.fds.iter().filter(|f| f.revents != 0).count())
    }

    fn sleep(&mut self, deadline: Deadline, mask: Option<&sigset_t>) -> Ret {
        if let Some(Kind::Ring(ep)) = self.kinds.iter().find(|k| matches!(k, Kind::Ring(_))) {
            stats::sleeps(ep.sock.arena);
        }
        let mut until = if datagram::provoke_the_dead() { deadline.at_most_ns(LOOK_AGAIN_NS) } else { deadline };
        for (f, k) in self.fds.iter().zip(self.kinds.iter()) {
            // What is under way nobody wakes for.
            until = until.no_later_than(match k {
                Kind::Ring(ep) => ep.next_look(),
                Kind::Epoll(number) => epoll::next_due(*number),
                Kind::Kernel => NEVER,
            });
            if let Kind::Ring(ep) = k
                && ((ep.may_miss_death() && f.events & libc::POLLOUT != 0 && !ep.is_writable()) || ep.owes_kernel())
            {
                ep.look_for_death();
                until = until.at_most_ns(LOOK_AGAIN_NS);
            }
        }
        self.with_kernel(until, mask)
    }

    /// Declares this thread asleep on every ring, or awake.
    fn declare(&self, asleep: bool) {
        for (f, k) in self.fds.iter().zip(self.kinds.iter()) {
            match k {
                Kind::Ring(ep) if asleep => {
                    sleepers::about_to_sleep(ep.sock);
                    ep.rx.control.readable.declare_asleep();
                    if f.events & libc::POLLOUT != 0 {
                        ep.declare_writer(ep.wake_point());
                    }
                }
                Kind::Ring(ep) => {
                    ep.reader_awakes();
                    if f.events & libc::POLLOUT != 0 {
                        ep.writer_awakes();
                    }
                }
                Kind::Epoll(number) if asleep => {
                    epoll::prepare_sleep(*number, DEPTH);
                }
                Kind::Epoll(number) => epoll::end_sleep(*number, DEPTH),
                Kind::Kernel => {}
            }
        }
    }

    /// Looks for a while; `Some` where that decided the call.
    fn spin(&mut self, mask: Option<&sigset_t>) -> Option<Ret> {
        let rings = self.kinds.iter().filter(|k| matches!(k, Kind::Ring(_))).count();
        let here = crowd::place(rings);
        let mut peer = Peer::Here;
        for k in self.kinds.iter() {
            if let Kind::Ring(ep) = k {
                match Peer::of(here, ep.mark_place(here)) {
                    Peer::Here => {}
                    other => peer = other,
                }
            }
        }
        if rings == 0 {
            return None;
        }
        let mut looks = 0u32;
        let mut ret = None;
        spin::until(peer, || {
            looks += 1;
            if self.look() > 0 {
                return true;
            }
            if looks.is_multiple_of(LOOKS_PER_KERNEL) {
                match self.with_kernel(Deadline::NOW, mask) {
                    Ok(0) => {}
                    other => {
                        ret = Some(other);
                        return true;
                    }
                }
            }
            false
        });
        ret.or_else(|| match self.look() {
            0 => None,
            _ if self.needs_kernel() => Some(self.with_kernel(Deadline::NOW, None)),
            n => Some(Ok(n)),
        })
    }
}

/// Whether its anchor tells nothing but what is not to be heard yet.
fn waits_by_time(kind: &Kind) -> bool {
    matches!(kind, Kind::Ring(ep) if ep.waits_by_time())
}

/// What wakes us on the anchor of a ring socket: doorbells, and the end.
fn anchor_events(ep: &Endpoint) -> c_short {
    if ep.sock.pcb.has(flag::SHUT_RD) { POLLPRI } else { POLLIN | POLLPRI | POLLRDHUP }
}
