//! Which threads of this process sleep, to be woken by doorbells.
//!
//! A doorbell that a thread takes may have been rung for another one that waits on the same socket: then the
//! wait word is to ask for the next as well. Where nobody else sleeps it is not, or each message would cost one.
//! Of two event loops the one does not take what was meant for the other, unless both watch the same socket.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Threads that sleep by the words of sockets, or are about to.
static ASLEEP: AtomicU32 = AtomicU32::new(0);
/// Event loops that sleep, or are about to, by their notifiers.
static LOOPS_ASLEEP: AtomicU32 = AtomicU32::new(0);
/// An event loop sleeps by a word, since a notifier could not be named there.
static LOOPS_BY_WORDS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How often this thread is among them: once more where a signal handler waits in the middle of a wait.
    static MINE: Cell<u32> = const { Cell::new(0) };
    /// Whether this thread is in an event loop's wait.
    static LOOPING: Cell<bool> = const { Cell::new(false) };
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

/// An event loop that sleeps; made before its sockets are armed.
pub struct SleepingLoop(());

impl SleepingLoop {
    #[allow(clippy::new_without_default)]
    pub fn new() -> SleepingLoop {
        LOOPS_ASLEEP.fetch_add(1, Ordering::SeqCst);
        SleepingLoop(())
    }
}

impl Drop for SleepingLoop {
    fn drop(&mut self) {
        // In a child of fork that began in a handler there is none.
        let _ = LOOPS_ASLEEP.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    }
}

/// Runs an event loop's wait.
pub fn looping<T>(wait: impl FnOnce() -> T) -> T {
    let outer = LOOPING.replace(true);
    let ret = wait();
    LOOPING.set(outer);
    ret
}

/// An event loop that has to be woken by a word: for good, since it may sleep whenever it likes.
pub fn has_loop_by_words() {
    LOOPS_BY_WORDS.store(true, Ordering::SeqCst);
}

/// Whether others of this process may sleep on a socket whose doorbell this thread took.
pub fn are_there() -> bool {
    ASLEEP.load(Ordering::SeqCst) > MINE.get() || LOOPS_BY_WORDS.load(Ordering::SeqCst) || (LOOPS_ASLEEP.load(Ordering::SeqCst) > 0 && !LOOPING.get())
}

/// In a child of fork, which has the calling thread alone.
pub fn forget_others() {
    ASLEEP.store(MINE.get(), Ordering::SeqCst);
    LOOPS_ASLEEP.store(0, Ordering::SeqCst);
}
