//! A lock whose owner may die.
//!
//! | bits of the word | meaning |
//! |---|---|
//! | 0..32 | thread id of the owner, 0 when free |
//! | 32..64 | slot of the owner's process in the owners' table |
//!
//! A waiter spins, then yields, and now and then asks whether the owner still lives; a dead owner's lock
//! is taken over with one compare-and-swap. Every structure behind such a lock is changed by a single
//! store at the end of an operation, so what a dead owner leaves behind is the state before it.
//!
//! A thread that finds the lock held by itself was interrupted by a signal whose handler came back to the
//! same socket. It goes on without the lock ([`Held::Nested`]): the operation it interrupted commits with
//! a compare-and-swap, notices, and starts over.

use super::Shared;
use crate::sys::sync::{AtomicU64, Ordering, spin_hint};

/// Who holds a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner(pub u64);

impl Owner {
    pub fn new(process_slot: u32, tid: u32) -> Owner {
        Owner(u64::from(process_slot) << 32 | u64::from(tid))
    }

    pub fn tid(self) -> u32 {
        self.0 as u32
    }

    pub fn process_slot(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// How a lock finds out about its owner and passes the time.
pub trait Liveness {
    fn is_alive(&self, owner: Owner) -> bool;
    fn yield_now(&self);
}

/// The lock word.
#[cfg_attr(loom, derive(Default))]
#[repr(transparent)]
pub struct RobustLock(AtomicU64);

// SAFETY: one atomic, valid for every value.
unsafe impl Shared for RobustLock {}

/// The lock is held until this is dropped.
pub enum Held<'a> {
    /// Taken by this call.
    Mine(&'a RobustLock),
    /// Held by an operation of this very thread, further up its stack.
    Nested,
}

// A model has no time to pass: it asks about the owner as soon as it has let others run.
const SPINS: u32 = if cfg!(loom) { 1 } else { 64 };
const YIELDS_BETWEEN_CHECKS: u32 = if cfg!(loom) { 1 } else { 64 };

impl RobustLock {
    /// Takes the lock, waiting for as long as its owner lives.
    #[inline]
    pub fn acquire<'a>(&'a self, me: Owner, liveness: &impl Liveness) -> Held<'a> {
        if self.0.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return Held::Mine(self);
        }
        self.acquire_contended(me, liveness, |_| false).unwrap_or(Held::Nested)
    }

    /// As `acquire`, but gives up where `is_hopeless`, asked now and then with the owner, says so.
    pub fn acquire_unless<'a>(&'a self, me: Owner, liveness: &impl Liveness, is_hopeless: impl FnMut(Owner) -> bool) -> Option<Held<'a>> {
        if self.0.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return Some(Held::Mine(self));
        }
        self.acquire_contended(me, liveness, is_hopeless)
    }

    /// As `acquire`; where the lock is not `contended`, because the process has one thread and shares what is
    /// locked with no other, it is taken with a plain store: only a signal handler can come between, and that
    /// leaves it as it was.
    #[inline(always)]
    pub fn acquire_if<'a>(&'a self, contended: bool, me: Owner, liveness: &impl Liveness) -> Held<'a> {
        if !contended && self.0.load(Ordering::Relaxed) == 0 {
            self.0.store(me.0, Ordering::Relaxed);
            return Held::Mine(self);
        }
        self.acquire(me, liveness)
    }

    #[cold]
    fn acquire_contended<'a>(&'a self, me: Owner, liveness: &impl Liveness, mut is_hopeless: impl FnMut(Owner) -> bool) -> Option<Held<'a>> {
        let mut turns = 0u32;
        loop {
            let word = self.0.load(Ordering::Relaxed);
            if word == me.0 {
                return Some(Held::Nested);
            }
            let ask = word != 0 && turns > SPINS && turns.is_multiple_of(YIELDS_BETWEEN_CHECKS);
            let dead = ask && !liveness.is_alive(Owner(word));
            if (word == 0 || dead) && self.0.compare_exchange(word, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some(Held::Mine(self));
            }
            if ask && is_hopeless(Owner(word)) {
                return None;
            }
            turns = turns.wrapping_add(1);
            if turns < SPINS { spin_hint() } else { liveness.yield_now() }
        }
    }

    /// Takes the lock if it is free, or held by this thread already.
    pub fn try_acquire(&self, me: Owner) -> Option<Held<'_>> {
        match self.0.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Some(Held::Mine(self)),
            Err(word) if word == me.0 => Some(Held::Nested),
            Err(_) => None,
        }
    }

    /// Whether somebody holds it.
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Whether `owner` holds it.
    pub fn is_held_by(&self, owner: Owner) -> bool {
        self.0.load(Ordering::Relaxed) == owner.0
    }

    /// Makes the lock free whatever its word says: for a structure that is being made anew.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }
}

impl Held<'_> {
    /// Lets the lock go if it is `me`'s still: what it guards may have been made anew for others meanwhile.
    pub fn release(self, me: Owner) {
        if let Held::Mine(lock) = self {
            let _ = lock.0.compare_exchange(me.0, 0, Ordering::Release, Ordering::Relaxed);
            core::mem::forget(self);
        }
    }

    pub fn is_nested(&self) -> bool {
        matches!(self, Held::Nested)
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Held::Mine(lock) = self {
            lock.0.store(0, Ordering::Release);
        }
    }
}
