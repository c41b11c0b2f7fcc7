//! epoll(7): the instances of this process and the calls.
//!
//! A real epoll instance lies underneath and carries every registration, with a token of ours as its data.
//! Sockets that are on the ring are registered there edge-triggered, so that doorbells and the end of the
//! connection wake; what they are ready for is worked out from the arena (`epoll_set`).

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use libc::{c_int, epoll_event, sigset_t};
use once_cell::sync::OnceCell;

use super::epoll_set::Set;
use super::table;
use crate::shm::owner::Me;
use crate::shm::{Arena, arena, arena::joined};
use crate::socket::Sock;
use crate::socket::sleepers::{SleepingLoop, looping};
use crate::socket::spin;
use crate::socket::wait::LOOK_AGAIN_NS;
use crate::socket::{datagram, route, stats};
use crate::sys::clock::Deadline;
use crate::sys::errno::Ret;
use crate::sys::mutex::{Guard, Mutex};
use crate::sys::{Errno, call, thread};
use crate::transport::direction::NEVER;
use crate::transport::notifier;

const MOST: usize = 4096;
static INSTANCES: [OnceCell<Instance>; MOST] = [const { OnceCell::new() }; MOST];
/// One past the highest number in use.
static HIGH: AtomicU32 = AtomicU32::new(1);
/// How deep epoll instances are looked into one another (the kernel's own limit).
const DEPTH: u32 = 5;
/// Looks of a spinning wait between two at the clock, whether the kernel is to be looked at.
const LOOKS_PER_CLOCK: u32 = 4;
const LOOKS_BEHIND_DOORBELLS: u32 = 16;

/// Closes that one instance can be told of later.
const LATER: usize = 8;

struct Instance {
    /// Descriptors of this process that refer to it; 0 where the number is free.
    descriptors: AtomicU32,
    set: Mutex<Set>,
    /// Descriptors plus one that a signal handler closed while its own thread held the set.
    closed: [AtomicI32; LATER],
    has_closed: AtomicBool,
}

impl Instance {
    fn new() -> Instance {
        let closed = [const { AtomicI32::new(0) }; LATER];
        Instance { descriptors: AtomicU32::new(0), set: Mutex::new(Set::default()), closed, has_closed: AtomicBool::new(false) }
    }

    /// The set; `None` where this very thread has it: a signal handler has come in the middle.
    #[inline]
    fn lock(&self) -> Option<Guard<'_, Set>> {
        let mut set = self.set.lock_unless_mine()?;
        if self.has_closed.load(Ordering::Relaxed) {
            self.has_closed.store(false, Ordering::Relaxed);
            for fd in self.closed.iter().filter_map(|c| c.swap(0, Ordering::Relaxed).checked_sub(1)).filter(|&fd| fd >= 0) {
                set.forget(fd);
            }
        }
        Some(set)
    }

    fn forget(&self, fd: c_int) {
        match self.lock() {
            Some(mut set) => set.forget(fd),
            None => {
                let _ = self.closed.iter().find(|c| c.compare_exchange(0, fd.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed).is_ok());
                self.has_closed.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn instance(number: u32) -> Option<&'static Instance> {
    INSTANCES.get(number as usize)?.get()
}

fn all() -> impl Iterator<Item = &'static Instance> {
    (1..HIGH.load(Ordering::Acquire)).filter_map(instance).filter(|i| i.descriptors.load(Ordering::Relaxed) > 0)
}

/// A new instance behind the real one `fd`. Where there are too many it stays the kernel's alone.
pub fn created(fd: c_int) {
    for number in 1..MOST as u32 {
        let Some(cell) = INSTANCES.get(number as usize) else { return };
        let i = cell.get_or_init(Instance::new);
        if i.descriptors.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            if let Some(mut set) = i.lock() {
                *set = Set::new(fd);
            }
            HIGH.fetch_max(number + 1, Ordering::Release);
            table::set_epoll(fd, number);
            return;
        }
    }
}

pub fn duplicated(number: u32) {
    if let Some(i) = instance(number) {
        i.descriptors.fetch_add(1, Ordering::AcqRel);
    }
}

/// The instance is to be reached by another descriptor.
pub fn move_to(number: u32, ep: c_int) {
    if let Some(mut set) = instance(number).and_then(Instance::lock) {
        set.settle_in(ep);
    }
}

/// A descriptor of the instance is being closed.
pub fn close(number: u32) {
    let Some(i) = instance(number) else { return };
    if i.descriptors.load(Ordering::Acquire) == 1 {
        let notifier = i.lock().map_or(0, |mut set| set.dissolve());
        if notifier != 0
            && let Some(lock) = joined().and_then(Arena::try_lock)
        {
            notifier::free(&lock, notifier);
        }
    }
    i.descriptors.fetch_sub(1, Ordering::AcqRel);
}

/// Descriptor `fd` is being closed: its registrations go with it, as the kernel's do.
pub fn forget(fd: c_int) {
    all().for_each(|i| i.forget(fd));
}

/// `replace` makes descriptor `fd` another file, which the program shall not notice: what was registered by it stays so.
pub fn while_replaced(fd: c_int, replace: impl FnOnce()) {
    let known: Vec<_> = all().filter_map(|i| Some((i, i.lock()?.registration(fd)?))).collect();
    forget(fd);
    replace();
    for (i, (events, data)) in known {
        if let Some(mut set) = i.lock() {
            let _ = set.add_plain(fd, events, data);
        }
    }
}

/// Descriptor `fd` is being closed, `other` refers to the same socket.
pub fn rehome(fd: c_int, other: Sock) {
    for i in all() {
        match i.lock() {
            Some(mut set) => set.rehome(fd, other),
            None => i.forget(fd),
        }
    }
}

/// The thread that is about to fork, 0 where none is.
static FORKER: AtomicU32 = AtomicU32::new(0);

/// Who holds no set waits here for a fork to be over, which needs a moment in which nobody does.
#[inline]
fn give_way_to_fork() {
    loop {
        let forker = FORKER.load(Ordering::Relaxed);
        if forker == 0 || forker == thread::tid() {
            return;
        }
        thread::yield_now();
    }
}

/// Around fork: the sets are whole in the child's copy. A thread that has one may want another, nested in it: so
/// nobody waits for one here while holding others.
pub fn before_fork() {
    FORKER.store(thread::tid(), Ordering::Relaxed);
    while !all().all(|i| i.set.try_hold(Set::share)) {
        all().for_each(|i| i.set.let_go());
        thread::yield_now();
    }
}

/// After a fork, in both processes.
pub fn after_fork() {
    FORKER.store(0, Ordering::Relaxed);
    all().for_each(|i| i.set.let_go());
}

/// epoll_ctl(2).
pub fn ctl(ep: c_int, op: c_int, fd: c_int, event: Option<(u32, u64)>) -> Option<Ret> {
    let table::Entry::Epoll(number) = table::lookup(ep) else {
        // An instance that we do not see into: the socket must stay where the kernel sees it.
        if let Some(sock) = table::socket(fd) {
            route::pin(sock);
        }
        return None;
    };
    let entry = table::lookup(fd);
    // Asked while nothing is held: only the kernel knows whether this would be a loop.
    give_way_to_fork();
    let inner_has_sockets = matches!(entry, table::Entry::Epoll(inner) if has_sockets(inner));
    let Some(mut set) = instance(number)?.lock() else { return Some(Err(Errno::ENOMEM)) };
    set.settle_in(ep);
    let had_sockets = set.has_sockets();
    let ret = match (op, event) {
        (libc::EPOLL_CTL_ADD, Some((events, data))) => set.add(ep, fd, (events, data), entry, inner_has_sockets),
        (libc::EPOLL_CTL_MOD, Some((events, data))) => set.modify(ep, fd, events, data, entry),
        (libc::EPOLL_CTL_DEL, _) => set.delete(ep, fd, entry),
        _ => return None,
    };
    let mut first_socket = !had_sockets && set.has_sockets();
    drop(set);
    if let (table::Entry::Epoll(inner), false, Ok(_)) = (entry, inner_has_sockets, ret)
        && has_sockets(inner)
        && let Some(mut set) = instance(number).and_then(Instance::lock)
    {
        // It has got one meanwhile.
        first_socket |= set.inner_has_sockets(inner) && !had_sockets;
    }
    if first_socket {
        has_first_socket(number, DEPTH);
    }
    Some(ret)
}

/// Tells those that instance `number` is nested in, and theirs.
fn has_first_socket(number: u32, depth: u32) {
    for outer in (1..HIGH.load(Ordering::Acquire)).filter(|&i| i != number) {
        let nested = instance(outer).filter(|i| i.descriptors.load(Ordering::Relaxed) > 0).and_then(Instance::lock).map(|mut set| {
            let had_sockets = set.has_sockets();
            set.inner_has_sockets(number) && !had_sockets
        });
        if nested == Some(true) && depth > 0 {
            has_first_socket(outer, depth - 1);
        }
    }
}

/// Whether an instance has sockets that may come to the ring: what has none is the kernel's affair.
pub fn has_sockets(number: u32) -> bool {
    instance(number).and_then(Instance::lock).is_some_and(|set| set.has_sockets())
}

/// Changes whenever something new happens on a ring of an instance.
pub fn pulse(number: u32) -> u64 {
    instance(number).and_then(Instance::lock).map_or(0, |set| set.pulse())
}

/// What a call gets that comes from a signal handler in the middle of another on the same instance.
const BUSY: Errno = Errno::EINTR;

/// epoll_wait(2) and its kin, into `events`.
pub fn wait(ep: c_int, number: u32, events: &mut [epoll_event], deadline: Deadline, mask: Option<&sigset_t>) -> Ret {
    let Some(instance) = instance(number) else { return call::epoll_wait(ep, events, deadline, mask) };
    let n = looping(|| wait_for_some(ep, instance, events, deadline, mask))?;
    if n > 0
        && let Some(mut set) = instance.lock()
    {
        set.leave_to_others();
    }
    Ok(n)
}

fn wait_for_some(ep: c_int, instance: &Instance, events: &mut [epoll_event], deadline: Deadline, mask: Option<&sigset_t>) -> Ret {
    let mut calls = 0u32;
    let waits = !deadline.is_now();
    loop {
        give_way_to_fork();
        let mut set = instance.lock().ok_or(BUSY)?;
        set.refresh(ep);
        if set.is_kernels_alone() {
            drop(set);
            let n = sleep(ep, instance, events, deadline, mask, false)?;
            // What the kernel told may have been that a socket has come to the ring.
            if n > 0 || (deadline.passed() && instance.lock().ok_or(BUSY)?.is_kernels_alone()) {
                return Ok(n);
            }
            continue;
        }
        let (kernel_first, rings) = (set.is_kernels_turn(waits), set.has_rings());
        drop(set);
        calls = calls.wrapping_add(1);
        // What is ready comes before signals: the mask is for a look that finds nothing.
        let mut n = if kernel_first { look_at_kernel(ep, instance, events, 0, None)? } else { 0 };
        n += instance.lock().ok_or(BUSY)?.collect(events.get_mut(n..).unwrap_or(&mut []));
        if n == 0 && !waits && (!kernel_first || mask.is_some()) {
            n = look_at_kernel(ep, instance, events, 0, mask)?;
            if n == 0 {
                n = instance.lock().ok_or(BUSY)?.collect(events);
            }
        }
        // What the kernel has told once it would tell again.
        let mut has_looked = kernel_first;
        if n == 0 && waits && rings && calls == 1 {
            n = spin(ep, instance, events, deadline, mask)?;
            has_looked = true;
        }
        if n == 0 && waits && deadline.passed() {
            return look_at_kernel(ep, instance, events, 0, mask);
        }
        if n > 0 && n < events.len() && waits && !has_looked && instance.lock().ok_or(BUSY)?.is_kernel_due() {
            n += look_at_kernel(ep, instance, events, n, None).unwrap_or(0);
        }
        if n > 0 || !waits {
            return Ok(n);
        }
        n = sleep(ep, instance, events, deadline, mask, rings)?;
        if n > 0 {
            return Ok(n);
        }
    }
}

/// Sleeps in the kernel until something happens; returns how many events that are for the program.
fn sleep(ep: c_int, instance: &Instance, events: &mut [epoll_event], deadline: Deadline, mask: Option<&sigset_t>, rings: bool) -> Ret {
    let asleep = SleepingLoop::new(instance.lock().ok_or(BUSY)?.may_be_unaware());
    let ready = instance.lock().ok_or(BUSY)?.prepare_sleep(DEPTH);
    let slept = if ready {
        Ok(0)
    } else {
        if rings && let Some(arena) = arena() {
            stats::sleeps(arena);
        }
        let may_miss = rings && datagram::provoke_the_dead();
        let until = if instance.lock().ok_or(BUSY)?.needs_looks() || may_miss { deadline.at_most_ns(LOOK_AGAIN_NS) } else { deadline };
        let due = instance.lock().ok_or(BUSY)?.next_due(DEPTH);
        call::epoll_wait(ep, events, until.no_later_than(due), mask)
    };
    drop(asleep);
    let mut set = instance.lock().ok_or(BUSY)?;
    set.end_sleep(DEPTH);
    let mut n = set.translate(ep, events, slept?);
    // What the kernel brought comes first, and the rings add theirs.
    n += set.collect(events.get_mut(n..).unwrap_or(&mut []));
    Ok(n)
}

/// Looks at the kernel's instance without waiting, behind the `n` events there are already; what it tells
/// of ring sockets shows in the next `collect`.
fn look_at_kernel(ep: c_int, instance: &Instance, events: &mut [epoll_event], n: usize, mask: Option<&sigset_t>) -> Ret {
    let rest = events.get_mut(n..).unwrap_or(&mut []);
    if rest.is_empty() {
        return Ok(0);
    }
    // Doorbells are not for the program: behind them may be something that is.
    for _ in 0..LOOKS_BEHIND_DOORBELLS {
        let got = call::epoll_wait(ep, rest, Deadline::NOW, mask)?;
        if got == 0 {
            break;
        }
        let told = instance.lock().ok_or(BUSY)?.translate(ep, rest, got);
        if told > 0 || got < rest.len() {
            return Ok(told);
        }
    }
    Ok(0)
}

fn spin(ep: c_int, instance: &Instance, events: &mut [epoll_event], deadline: Deadline, mask: Option<&sigset_t>) -> Ret {
    let mut looks = 0u32;
    let mut found: Ret = Ok(0);
    let peer = instance.lock().ok_or(BUSY)?.peers();
    spin::until(peer, || {
        looks += 1;
        give_way_to_fork();
        let asks_kernel = looks.is_multiple_of(LOOKS_PER_CLOCK) && instance.lock().is_some_and(|mut set| set.is_kernel_due());
        found =
            if asks_kernel { look_at_kernel(ep, instance, events, 0, mask) } else { instance.lock().ok_or(BUSY).map(|mut set| set.collect(events)) };
        found != Ok(0) || (asks_kernel && deadline.passed())
    });
    match found {
        Err(Errno::EINTR) => Err(Errno::EINTR),
        other => other,
    }
}

/// Whether an instance has ring sockets ready: for those who poll the instance itself.
pub fn is_ready(number: u32) -> bool {
    instance(number).and_then(Instance::lock).is_some_and(|mut set| set.peek(DEPTH))
}

/// The kernel told something of an instance to one that it is nested in.
pub fn stirs(number: u32) {
    if let Some(mut set) = instance(number).and_then(Instance::lock) {
        set.stirs();
    }
}

/// Whether a descriptor of this process refers to the instance.
pub fn is_open(number: u32) -> bool {
    instance(number).is_some_and(|i| i.descriptors.load(Ordering::Acquire) > 0)
}

/// Prepares an instance for somebody who goes to sleep on its descriptor; true if it is ready already.
pub fn prepare_sleep(number: u32, depth: u32) -> bool {
    instance(number).and_then(Instance::lock).is_some_and(|mut set| set.prepare_sleep(depth))
}

/// As `Set::leave_to_others`, of an instance that another holds.
pub fn leave_to_others(number: u32) {
    if let Some(mut set) = instance(number).and_then(Instance::lock) {
        set.leave_to_others();
    }
}

/// When something of an instance is due that nobody wakes for.
pub fn next_due(number: u32) -> u64 {
    next_due_within(number, DEPTH)
}

pub fn next_due_within(number: u32, depth: u32) -> u64 {
    instance(number).and_then(Instance::lock).map_or(NEVER, |set| set.next_due(depth))
}

pub fn end_sleep(number: u32, depth: u32) {
    if let Some(mut set) = instance(number).and_then(Instance::lock) {
        set.end_sleep(depth);
    }
}

/// A notifier for a set of this process; 0 where there is none to be had.
pub fn new_notifier() -> u32 {
    let Some(arena) = arena() else { return 0 };
    let Some(me) = Me::get(arena) else { return 0 };
    arena.try_lock().and_then(|lock| notifier::allocate(&lock, me.slot())).unwrap_or(0)
}
