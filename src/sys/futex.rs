//! Futexes (futex(2)): priority-inheriting ones for their answer to death, a lock whose owner died being handed to the
//! next waiter by the kernel; and plain ones between a capture and those that it is told by.

use libc::timespec;

use super::real::real;
use super::{Errno, thread};
use crate::sys::sync::{AtomicU32, Ordering};

const LOCK_PI2: usize = 13;
const UNLOCK_PI: usize = 7;

const WAIT: usize = 0;
const WAKE: usize = 1;

/// Sleeps while `word` is `value`, until it is woken, a signal comes, or `ns` have passed.
pub fn wait(word: &AtomicU32, value: u32, ns: u64) {
    let timeout = timespec { tv_sec: (ns / 1_000_000_000) as libc::time_t, tv_nsec: (ns % 1_000_000_000) as libc::c_long };
    // SAFETY: the word is mapped, and the timeout valid, for as long as the call takes.
    unsafe { (real().syscall)(libc::SYS_futex, word.as_ptr() as usize, WAIT, value as usize, &raw const timeout as usize, 0, 0) };
}

/// Wakes all who sleep on `word`.
pub fn wake(word: &AtomicU32) {
    // SAFETY: the word is mapped.
    unsafe { (real().syscall)(libc::SYS_futex, word.as_ptr() as usize, WAKE, i32::MAX as usize, 0, 0, 0) };
}

/// A lock held while its owner sleeps. The word is 0 or the owner's thread id with the kernel's flag bits.
#[repr(transparent)]
pub struct PiLock(AtomicU32);

impl PiLock {
    /// Makes the lock free, whatever its word says.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether somebody has it.
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }

    /// Takes the lock, sleeping until it is free or `until` (a CLOCK_MONOTONIC time) has passed.
    ///
    /// # Errors
    /// `ETIMEDOUT`; anything else means that the word is damaged and the caller should go on without it.
    pub fn lock(&self, until: Option<timespec>) -> Result<(), Errno> {
        let me = thread::tid();
        loop {
            if self.0.compare_exchange(0, me, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
            let timeout = until.as_ref().map_or(0, |t| core::ptr::from_ref(t) as usize);
            // SAFETY: the word is mapped for the process's life; the timeout is null or a valid timespec.
            let ret = unsafe { (real().syscall)(libc::SYS_futex, self.0.as_ptr() as usize, LOCK_PI2, 0, timeout, 0, 0) };
            if ret == 0 {
                return Ok(());
            }
            match Errno::last() {
                Errno::EINTR | Errno::EAGAIN => {}
                // The owner is gone and nobody waited for it: the word is ours to clear.
                Errno(libc::ESRCH) => self.0.store(0, Ordering::Release),
                e => return Err(e),
            }
        }
    }

    /// Gives the lock up and lets the next waiter have it.
    pub fn unlock(&self) {
        let me = thread::tid();
        if self.0.compare_exchange(me, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: as in `lock`.
            unsafe { (real().syscall)(libc::SYS_futex, self.0.as_ptr() as usize, UNLOCK_PI, 0, 0, 0, 0) };
        }
    }
}
