//! Notifiers: which of an event loop's sockets have news.
//!
//! A bitmap of three levels in the arena, one bit a registration. Who publishes sets the bit from the
//! lowest level up; the loop takes words from the top down, so it looks only at what has news. All levels
//! are set at every post, whatever was found set below: a poster killed half-way leaves nothing stuck.

use crate::shm::Shared;
#[cfg(not(loom))]
use crate::shm::{Arena, arena::TableLock, blocks, layout::NOTIFIERS};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering, fence_after_rmw, fence_in_models};

const MIDDLE_WORDS: usize = if cfg!(loom) { 1 } else { 64 };
const LOW_WORDS: usize = if cfg!(loom) { 2 } else { 1920 };
/// Registrations that a notifier can tell apart.
pub const BITS: u32 = (LOW_WORDS * 64) as u32;

/// One event loop's bitmap.
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub struct Notifier {
    /// How many threads sleep, or are about to.
    sleepers: AtomicU32,
    /// Slot of the process that made it.
    owner: AtomicU32,
    /// The next in the chain of freed ones.
    next: AtomicU32,
    _pad: AtomicU32,
    top: AtomicU64,
    middle: [AtomicU64; MIDDLE_WORDS],
    low: [AtomicU64; LOW_WORDS],
}

// SAFETY: atomics alone, `repr(C)`.
unsafe impl Shared for Notifier {}
#[cfg(not(loom))]
const _: () = assert!(size_of::<Notifier>() as u64 <= NOTIFIERS.entry_bytes);

/// The notifier with a number.
#[cfg(not(loom))]
#[inline]
pub fn notifier(arena: &Arena, number: u32) -> Option<&Notifier> {
    arena.at(NOTIFIERS.entry_off(number)?)
}

/// A new one, empty; `None` where there is no room.
#[cfg(not(loom))]
pub fn allocate(table: &TableLock, owner: u32) -> Option<u32> {
    let pool = &table.arena.header().notifiers;
    let freed = pool.free.load(Ordering::Relaxed);
    let number = match notifier(table.arena, freed) {
        Some(n) => {
            pool.free.store(n.next.load(Ordering::Relaxed), Ordering::Release);
            freed
        }
        None => blocks::extend_pool(table, pool, NOTIFIERS)?,
    };
    let n = notifier(table.arena, number)?;
    n.sleepers.store(0, Ordering::Relaxed);
    n.clear();
    n.owner.store(owner, Ordering::Relaxed);
    pool.live.fetch_add(1, Ordering::Relaxed);
    Some(number)
}

/// Gives one back.
#[cfg(not(loom))]
pub fn free(table: &TableLock, number: u32) {
    let pool = &table.arena.header().notifiers;
    let Some(n) = notifier(table.arena, number) else { return };
    if n.owner.swap(0, Ordering::Relaxed) != 0 {
        n.next.store(pool.free.load(Ordering::Relaxed), Ordering::Relaxed);
        pool.free.store(number, Ordering::Release);
        pool.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives back all whose owner `is_dead`.
#[cfg(not(loom))]
pub fn sweep(table: &TableLock, is_dead: impl Fn(u32) -> bool) {
    let high = table.arena.header().notifiers.end(NOTIFIERS);
    for number in 1..high {
        let owner = notifier(table.arena, number).map_or(0, |n| n.owner.load(Ordering::Relaxed));
        if owner != 0 && is_dead(owner) {
            free(table, number);
        }
    }
}

impl Notifier {
    fn clear(&self) {
        self.top.store(0, Ordering::Relaxed);
        for word in self.middle.iter().chain(&self.low) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Sets a bit. True if somebody sleeps and has to be woken.
    pub fn post(&self, bit: u32) -> bool {
        let (low, middle) = (bit / 64, bit / 4096);
        let (Some(low_word), Some(middle_word)) = (self.low.get(low as usize), self.middle.get(middle as usize)) else { return true };
        low_word.fetch_or(1 << (bit % 64), Ordering::SeqCst);
        set(middle_word, low % 64);
        set(&self.top, middle);
        fence_in_models();
        self.sleepers.load(Ordering::SeqCst) != 0
    }

    /// Takes all bits, calling `f` for each.
    #[inline]
    pub fn take(&self, mut f: impl FnMut(u32)) {
        if self.top.load(Ordering::SeqCst) == 0 {
            return;
        }
        for_bits(self.top.swap(0, Ordering::SeqCst), |m| {
            let Some(middle) = self.middle.get(m as usize) else { return };
            for_bits(middle.swap(0, Ordering::SeqCst), |l| {
                let number = m * 64 + l;
                let Some(low) = self.low.get(number as usize) else { return };
                for_bits(low.swap(0, Ordering::SeqCst), |b| f(number * 64 + b));
            });
        });
    }

    /// Whether any bit is set.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.top.load(Ordering::SeqCst) != 0
    }

    /// Whether somebody sleeps, or is about to.
    pub fn has_sleepers(&self) -> bool {
        self.sleepers.load(Ordering::SeqCst) != 0
    }

    /// The caller is about to sleep; it must look once more before it does.
    pub fn begin_sleep(&self) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        fence_after_rmw();
    }

    /// The caller is awake again.
    pub fn end_sleep(&self) {
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

fn set(word: &AtomicU64, bit: u32) {
    if word.load(Ordering::SeqCst) & 1 << bit == 0 {
        word.fetch_or(1 << bit, Ordering::SeqCst);
    }
}

fn for_bits(mut word: u64, mut f: impl FnMut(u32)) {
    while word != 0 {
        f(word.trailing_zeros());
        word &= word - 1;
    }
}
