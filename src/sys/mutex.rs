//! A mutex for what belongs to one process, which survives `fork`: in a child the lock of a thread that
//! does not exist there is nobody's.
//!
//! Holders do little and never sleep, so waiters yield. A thread must not take it twice.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{sync, thread};

/// Guards a `T`. The word is the holder's pid (high half) and thread id, 0 when free.
pub struct Mutex<T> {
    holder: AtomicU64,
    /// Held across a fork.
    kept: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is only reached through a guard, of which there is one at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// Access to the value until dropped.
pub struct Guard<'a, T>(&'a Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex { holder: AtomicU64::new(0), kept: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    fn me() -> u64 {
        u64::from(thread::pid()) << 32 | u64::from(thread::tid())
    }

    /// Takes the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        let me = Self::me();
        if self.holder.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait(me);
        }
        Guard(self)
    }

    #[cold]
    fn wait(&self, me: u64) {
        let mut turns = 0u32;
        loop {
            let holder = self.holder.load(Ordering::Relaxed);
            let from_before_fork = holder != 0 && holder >> 32 != me >> 32;
            if (holder == 0 || from_before_fork) && self.holder.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return;
            }
            turns += 1;
            if turns < 100 { sync::spin_hint() } else { thread::yield_now() }
        }
    }

    /// Takes the lock if it is free, or that of a thread from before a fork.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let me = Self::me();
        let holder = self.holder.load(Ordering::Relaxed);
        let is_free = holder == 0 || holder >> 32 != me >> 32;
        (is_free && self.holder.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed).is_ok()).then(|| Guard(self))
    }

    /// As `lock`; `None` where this very thread has it: a signal handler has come in the middle.
    #[inline]
    pub fn lock_unless_mine(&self) -> Option<Guard<'_, T>> {
        (!self.is_mine()).then(|| self.lock())
    }

    /// Takes the lock if it is free, does `f`, and keeps the lock beyond the call: before a fork, so that the
    /// child's copy is whole. False where another thread has it. A signal handler that forks may have come in
    /// the middle of what this very thread does under the lock, which goes on in both processes: then nothing
    /// is done.
    pub fn try_hold(&self, f: impl FnOnce(&mut T)) -> bool {
        if self.is_mine() {
            return true;
        }
        let Some(mut guard) = self.try_lock() else { return false };
        f(&mut guard);
        self.kept.store(true, Ordering::Relaxed);
        core::mem::forget(guard);
        true
    }

    /// Whether this very thread has the lock.
    pub fn is_mine(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == Self::me()
    }

    /// Ends `try_hold`.
    pub fn let_go(&self) {
        if self.kept.swap(false, Ordering::Relaxed) {
            self.holder.store(0, Ordering::Release);
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.holder.store(0, Ordering::Release);
    }
}
