//! Owners: the processes that have joined the arena, known by pid and start time, so that what a dead
//! one held can be told from what a live one holds.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::arena::{Arena, TableLock};
use super::layout::OWNERS;
use super::lock::{Liveness, Owner};
use super::{Shared, blocks};
use crate::sys::thread;

/// One process of the net.
#[repr(C, align(64))]
pub struct Process {
    /// 0 where the slot is free.
    pub pid: AtomicU32,
    /// The host of a private net that it belongs to; 0 where that is not known.
    pub host: AtomicU32,
    /// In clock ticks since boot.
    pub start: AtomicU64,
}

// SAFETY: atomics alone, `repr(C)`.
unsafe impl Shared for Process {}
const _: () = assert!(size_of::<Process>() as u64 == OWNERS.entry_bytes);

/// The calling process's slot; 0 before it has one.
static SLOT: AtomicU32 = AtomicU32::new(0);

/// The host of a private net that this process belongs to; 0 in the host net, and before that is known. The children of a
/// fork have the same.
static HOST: AtomicU32 = AtomicU32::new(0);

/// Notes on which host of a private net this process runs.
pub fn be_on_host(arena: &Arena, host: u32) {
    HOST.store(host, Ordering::Relaxed);
    if let Some(process) = process(arena, SLOT.load(Ordering::Relaxed)) {
        process.host.store(host, Ordering::Relaxed);
    }
}

/// The calling thread as an owner.
#[derive(Clone, Copy)]
pub struct Me(Owner);

impl Me {
    /// The calling thread, its process registered in the arena; `None` where the table is full.
    #[inline]
    pub fn get(arena: &Arena) -> Option<Me> {
        match SLOT.load(Ordering::Relaxed) {
            0 => register(&arena.try_lock()?),
            slot => Some(Me(Owner::new(slot, thread::tid()))),
        }
    }

    /// The same; where somebody does not get on who holds the table lock, it waits for as long as that takes.
    pub fn wait(arena: &Arena) -> Option<Me> {
        match SLOT.load(Ordering::Relaxed) {
            0 => register(&arena.lock()),
            slot => Some(Me(Owner::new(slot, thread::tid()))),
        }
    }

    /// The calling thread, registered or not.
    pub fn bootstrap() -> Me {
        Me(Owner::new(SLOT.load(Ordering::Relaxed), thread::tid()))
    }

    #[inline]
    pub fn owner(self) -> Owner {
        self.0
    }

    #[inline]
    pub fn slot(self) -> u32 {
        self.0.process_slot()
    }
}

/// Forgets the slot: in the child of a fork, which is another process.
pub fn forget() {
    SLOT.store(0, Ordering::Relaxed);
}

#[cold]
fn register(table: &TableLock) -> Option<Me> {
    let (pid, start) = (thread::pid(), thread::start_time(thread::pid()));
    if SLOT.load(Ordering::Relaxed) == 0 {
        SLOT.store(take_slot(table, pid, start, HOST.load(Ordering::Relaxed))?, Ordering::Relaxed);
    }
    Some(Me::bootstrap())
}

/// Makes a process known that has not joined by itself (yet): one that was just started on a host of a private net.
pub fn introduce(table: &TableLock, pid: u32, host: u32) -> Option<u32> {
    take_slot(table, pid, thread::start_time(pid), host)
}

fn take_slot(table: &TableLock, pid: u32, start: u64, host: u32) -> Option<u32> {
    // It may be there already: introduced, or before it executed another program.
    let is_it = |p: &Process| start != 0 && p.pid.load(Ordering::Relaxed) == pid && p.start.load(Ordering::Relaxed) == start;
    let known = (1..high(table.arena)).find(|&slot| process(table.arena, slot).is_some_and(is_it));
    let slot = known.or_else(|| free_slot(table))?;
    let process = process(table.arena, slot)?;
    process.host.store(host, Ordering::Relaxed);
    process.start.store(start, Ordering::Relaxed);
    process.pid.store(pid, Ordering::Release);
    Some(slot)
}

fn free_slot(table: &TableLock) -> Option<u32> {
    let pool = &table.arena.header().owners;
    let high = pool.end(OWNERS);
    let freed = (1..high).find(|&slot| process(table.arena, slot).is_some_and(|p| p.pid.load(Ordering::Relaxed) == 0));
    freed.or_else(|| blocks::extend_pool(table, pool, OWNERS))
}

/// The process in a slot.
pub fn process(arena: &Arena, slot: u32) -> Option<&Process> {
    arena.at(OWNERS.entry_off(slot)?)
}

/// Slots that may be in use: 1 to this, exclusive.
pub fn high(arena: &Arena) -> u32 {
    arena.header().owners.end(OWNERS)
}

/// Whether the process in `slot` is gone: no such pid, or one that started at another time.
pub fn is_dead(arena: &Arena, slot: u32) -> bool {
    let Some(p) = process(arena, slot) else { return true };
    let pid = p.pid.load(Ordering::Acquire);
    if pid == 0 || !thread::exists(pid, pid) {
        return true;
    }
    // A zombie's main thread still exists, and so does its start time: what it held is told by the kernel.
    let start = thread::start_time(pid);
    // 0 is not known: to us, or to a process that has no /proc.
    let known = p.start.load(Ordering::Relaxed);
    start != 0 && known != 0 && start != known
}

/// Whether the process in `slot` has not ended: neither gone nor waiting for its parent to ask what became of it.
pub fn is_alive(arena: &Arena, slot: u32) -> bool {
    let pid = process(arena, slot).map_or(0, |p| p.pid.load(Ordering::Acquire));
    pid != 0 && thread::will_run(pid, pid) && !is_dead(arena, slot)
}

/// The quick half of `is_dead`: whether the pid is gone.
pub fn pid_is_gone(arena: &Arena, slot: u32) -> bool {
    process(arena, slot).is_none_or(|p| {
        let pid = p.pid.load(Ordering::Acquire);
        pid == 0 || !thread::exists(pid, pid)
    })
}

/// Whether the slot still names a process whose pid is gone.
pub fn is_abandoned(arena: &Arena, slot: u32) -> bool {
    process(arena, slot).is_some_and(|p| {
        let pid = p.pid.load(Ordering::Acquire);
        pid != 0 && !thread::exists(pid, pid)
    })
}

/// The real machine, for the robust locks of an arena.
pub struct System<'a>(pub &'a Arena);

impl Liveness for System<'_> {
    fn is_alive(&self, owner: Owner) -> bool {
        if owner.process_slot() == 0 {
            // Not registered yet: the thread id is all there is.
            return crate::sys::call::thread_exists(owner.tid());
        }
        // A slot of nobody's is that of a process found dead, or a damaged word.
        let pid = process(self.0, owner.process_slot()).map_or(0, |p| p.pid.load(Ordering::Relaxed));
        pid != 0 && thread::will_run(pid, owner.tid())
    }

    fn yield_now(&self) {
        thread::yield_now();
    }
}
