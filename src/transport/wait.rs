//! The wait word: how one end of a direction says what it wants done when there is news.
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | `SLEEPS`: ring the doorbell, somebody sleeps in the kernel |
//! | 1 | `ARMED`: set the bit below in the notifier below |
//! | 2 | `ALWAYS`: ring the doorbell for every arrival (O_ASYNC); stays set |
//! | 16..32 | the notifier |
//! | 32..64 | the bit |
//!
//! 0 is the common case and costs the other side one load of a line that nobody writes meanwhile.

use crate::shm::Shared;
use crate::sys::sync::{AtomicU64, Ordering, fence_after_rmw};

pub const SLEEPS: u64 = 1;
pub const ARMED: u64 = 2;
pub const ALWAYS: u64 = 4;

/// The word.
#[cfg_attr(loom, derive(Default))]
#[repr(transparent)]
pub struct WaitWord(AtomicU64);

// SAFETY: one atomic, valid for every value.
unsafe impl Shared for WaitWord {}

/// What the word asked for when it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wishes(u64);

impl Wishes {
    pub fn doorbell(self) -> bool {
        self.0 & (SLEEPS | ALWAYS) != 0
    }

    /// The notifier and the bit to set in it.
    pub fn notify(self) -> Option<(u32, u32)> {
        (self.0 & ARMED != 0).then_some(((self.0 >> 16) as u32 & 0xffff, (self.0 >> 32) as u32))
    }
}

impl WaitWord {
    /// Starts over, with `SLEEPS` set: somebody may be asleep in the kernel who has not looked here yet.
    pub fn reset(&self) {
        self.0.store(SLEEPS, Ordering::Relaxed);
    }

    /// Nothing is asked for.
    pub fn clear(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    /// Declares the caller asleep. It must look once more before it sleeps.
    #[inline]
    pub fn declare_asleep(&self) {
        self.0.fetch_or(SLEEPS, Ordering::SeqCst);
        fence_after_rmw();
    }

    /// Takes the declaration back.
    #[inline]
    pub fn declare_awake(&self) {
        self.0.fetch_and(!SLEEPS, Ordering::SeqCst);
    }

    /// Asks for `bit` of `notifier` at the next news; for the doorbell, and false, where another registration has
    /// asked already. The caller must look once more afterwards.
    pub fn arm(&self, notifier: u32, bit: u32) -> bool {
        let wish = ARMED | u64::from(notifier & 0xffff) << 16 | u64::from(bit) << 32;
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let kept = now & (SLEEPS | ALWAYS);
            let is_free = now & ARMED == 0 || now == wish | kept;
            let next = if is_free { wish | kept } else { now | SLEEPS };
            match self.0.compare_exchange(now, next, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    fence_after_rmw();
                    return is_free;
                }
                Err(seen) => now = seen,
            }
        }
    }

    /// Asks for what `other` asks for. The caller must look once more afterwards.
    pub fn ask_as(&self, other: &WaitWord) {
        let wishes = Wishes(other.0.load(Ordering::SeqCst));
        if let Some((notifier, bit)) = wishes.notify() {
            self.arm(notifier, bit);
        }
        if wishes.doorbell() {
            self.declare_asleep();
        }
    }

    /// Takes `arm` back if it is `notifier`'s.
    pub fn disarm(&self, notifier: u32) {
        let mut now = self.0.load(Ordering::Relaxed);
        while Wishes(now).notify().is_some_and(|(n, _)| n == notifier) {
            match self.0.compare_exchange(now, now & (SLEEPS | ALWAYS), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => now = seen,
            }
        }
    }

    /// Whether the doorbell is to be rung for every arrival.
    pub fn set_always(&self, on: bool) {
        if on {
            self.0.fetch_or(ALWAYS, Ordering::SeqCst)
        } else {
            self.0.fetch_and(!ALWAYS, Ordering::SeqCst)
        };
    }

    /// Whether anything is asked for.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }

    /// After news was published: takes the wishes, each of them to be fulfilled once by the caller.
    #[inline]
    pub fn take(&self) -> Option<Wishes> {
        fence_after_rmw();
        if self.0.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let wishes = self.0.fetch_and(ALWAYS, Ordering::SeqCst);
        (wishes != 0).then_some(Wishes(wishes))
    }
}
