//! Whether others may sleep on a socket whose doorbell a thread takes.
//!
//! The doorbell may have been rung for another thread or process that waits on the same socket: then the wait word is to ask for
//! the next as well. In a process whose threads wait in event loops alone it need not, or each message would cost one:
//! there a loop does not take what was meant for another, unless both watch the same socket.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Sock;
use crate::pcb::block::flag;
use crate::sys::thread;

/// A thread has slept otherwise than in an event loop, or a loop by the word of a socket.
static BY_WORDS: AtomicBool = AtomicBool::new(false);
/// Event loops that sleep, or are about to.
static LOOPS: AtomicU32 = AtomicU32::new(0);
/// Of these, those with sockets that they have not seen on the ring yet.
static UNAWARE_LOOPS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether this thread is in an event loop's wait.
    static LOOPING: Cell<bool> = const { Cell::new(false) };
}

/// This thread is about to sleep on `sock` otherwise than in an event loop; told before it says so anywhere.
#[inline]
pub fn about_to_sleep(sock: Sock) {
    sock.pcb.watch_from(sock.me().slot());
    if thread::has_siblings() && !BY_WORDS.load(Ordering::Relaxed) {
        by_word();
    }
}

/// An event loop sleeps by a socket's word, since its notifier could not be named there.
pub fn by_word() {
    BY_WORDS.store(true, Ordering::SeqCst);
}

/// An event loop that sleeps; made before its sockets are armed.
pub struct SleepingLoop {
    is_unaware: bool,
}

impl SleepingLoop {
    /// One that `is_unaware` has sockets that may have come to the ring unseen.
    pub fn new(is_unaware: bool) -> SleepingLoop {
        LOOPS.fetch_add(1, Ordering::SeqCst);
        UNAWARE_LOOPS.fetch_add(u32::from(is_unaware), Ordering::SeqCst);
        SleepingLoop { is_unaware }
    }
}

impl Drop for SleepingLoop {
    fn drop(&mut self) {
        // In a child of fork that began in a handler there are none.
        let less = |by: u32| move |n: u32| n.checked_sub(by);
        let _ = LOOPS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less(1));
        let _ = UNAWARE_LOOPS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less(self.is_unaware.into()));
    }
}

/// Runs an event loop's wait.
pub fn looping<T>(wait: impl FnOnce() -> T) -> T {
    let outer = LOOPING.replace(true);
    let ret = wait();
    LOOPING.set(outer);
    ret
}

/// Whether others may sleep on `sock`, whose doorbell this thread takes.
pub fn are_there(sock: Sock) -> bool {
    (sock.pcb.has(flag::SHARED) && sock.pcb.is_watched_elsewhere(sock.me().slot())) || are_in_this_process()
}

fn are_in_this_process() -> bool {
    thread::has_siblings()
        && (BY_WORDS.load(Ordering::SeqCst) || UNAWARE_LOOPS.load(Ordering::SeqCst) > 0 || (LOOPS.load(Ordering::SeqCst) > 0 && !LOOPING.get()))
}

/// In a child of fork, which has the calling thread alone.
pub fn forget_others() {
    LOOPS.store(0, Ordering::SeqCst);
    UNAWARE_LOOPS.store(0, Ordering::SeqCst);
}
