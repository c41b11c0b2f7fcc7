//! Which threads of this process sleep by the wait words of their sockets, to be woken by doorbells.
//!
//! A doorbell that a thread takes may have been rung for another one that waits on the same socket: then the
//! word is to ask for the next as well. Where nobody else sleeps it is not, or each message would cost one.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Threads that sleep, or are about to.
static ASLEEP: AtomicU32 = AtomicU32::new(0);
/// An event loop sleeps by a word, since a notifier could not be named there.
static LOOPS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How often this thread is among them: once more where a signal handler waits in the middle of a wait.
    static MINE: Cell<u32> = const { Cell::new(0) };
}

/// A thread that sleeps; made before its words are set.
pub struct Sleeper(());

impl Sleeper {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Sleeper {
        MINE.set(MINE.get() + 1);
        ASLEEP.fetch_add(1, Ordering::SeqCst);
        Sleeper(())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        MINE.set(MINE.get().saturating_sub(1));
        ASLEEP.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An event loop that has to be woken by a word: for good, since it may sleep whenever it likes.
pub fn has_loop() {
    LOOPS.store(true, Ordering::SeqCst);
}

/// Whether others of this process may sleep.
pub fn are_there() -> bool {
    ASLEEP.load(Ordering::SeqCst) > MINE.get() || LOOPS.load(Ordering::SeqCst)
}

/// In a child of fork, which has the calling thread alone.
pub fn forget_others() {
    ASLEEP.store(MINE.get(), Ordering::SeqCst);
}
