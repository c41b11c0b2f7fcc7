//! When many wait for one on the same processors.
//!
//! Each doorbell of who serves many lets the one that it wakes take the server's processor: the two work by turns on
//! one, and another may stand idle. A thread that is interrupted all the time while it serves several is in a *crowd*
//! and says so on their rings. There everybody gives way until there is an answer: nobody sleeps, so nobody has to be
//! woken and takes the processor from who woke him, and it goes round among those who have work. pgbench with eight
//! clients on two processors makes half as many transactions again as over the kernel's sockets, and a fifth fewer
//! where all look or sleep.

use core::cell::Cell;

use super::spin::{self, Yielded};
use crate::sys::clock::now_ns;
use crate::sys::thread;

thread_local! {
    static CROWD: Cell<Crowd> = const { Cell::new(Crowd { since_ns: 0, switches: 0, given_way: 0, is_there: false }) };
    /// How many others this thread last waited for at once.
    static PEERS: Cell<usize> = const { Cell::new(0) };
    /// Until then this thread does not give way in a crowd.
    static RESTS_UNTIL_NS: Cell<u64> = const { Cell::new(0) };
    /// Yields that another took.
    static GIVEN_WAY: Cell<u64> = const { Cell::new(0) };
}

/// Who was interrupted this often in a millisecond is in a crowd.
const CROWDED: u64 = 4;
const LOOK_NS: u64 = 1_000_000;
/// With more others than this for each processor nobody gives way: the turn takes too long to come round.
const MOST_PER_CPU: usize = 5;
/// In a crowd a waiter gives way for so long, and looks for so long while nobody else wants its processor.
const MOST_NS: u64 = 1_000_000;
const MOST_ALONE_NS: u64 = 100_000;
/// Who was away for this long while giving way shares the processor with a program that does not wait, and sleeps
/// for so many times as long instead.
const TAKEN_NS: u64 = 1_000_000;
const RESTS: u64 = 100;

/// What a thread knows of those that take its processor.
#[derive(Clone, Copy)]
struct Crowd {
    since_ns: u64,
    /// How often the processor was taken from it until then, and how often of these it gave way.
    switches: u64,
    given_way: u64,
    is_there: bool,
}

/// Whether this thread was interrupted often of late. Giving way says nothing, but in a crowd is part of it.
fn is_crowded() -> bool {
    let was = CROWD.get();
    let now = now_ns();
    if now - was.since_ns < LOOK_NS {
        return was.is_there;
    }
    let (switches, given_way) = (thread::involuntary_switches(), GIVEN_WAY.get());
    let taken = switches.saturating_sub(was.switches).saturating_sub(if was.is_there { 0 } else { given_way - was.given_way });
    let is_there = was.since_ns > 0 && taken * LOOK_NS > CROWDED * (now - was.since_ns);
    CROWD.set(Crowd { since_ns: now, switches, given_way, is_there });
    is_there
}

/// Marks of a place.
pub const IS_THERE: u32 = 1 << 31;
pub const TOO_LARGE: u32 = 1 << 30;

/// Where this thread waits for `peers` others, to be left for each of them: its processor plus one, and whether
/// there is a crowd, or more than can take turns.
#[inline]
pub fn place(peers: usize) -> u32 {
    PEERS.set(peers);
    place_again()
}

/// The same for one who has news for another: where it is now, and last waited for as many.
pub fn place_again() -> u32 {
    let peers = PEERS.get();
    match () {
        () if peers <= 1 || !is_crowded() => thread::cpu(),
        () if peers <= MOST_PER_CPU * spin::online_cpus() => thread::cpu() | IS_THERE,
        () => thread::cpu() | TOO_LARGE,
    }
}

/// Lets others run until `ready` says yes, and looks only while nobody wants the processor.
pub(super) fn give_way(ready: &mut impl FnMut() -> bool) -> Yielded {
    let start = now_ns();
    if start < RESTS_UNTIL_NS.get() {
        return Yielded::InVain;
    }
    let (mut before, mut alone) = (start, 0);
    loop {
        thread::yield_now();
        let now = now_ns();
        let away = now - before;
        gave_way(away);
        if ready() {
            return Yielded::ToPeer;
        }
        if away > TAKEN_NS {
            RESTS_UNTIL_NS.set(now + RESTS * away);
            return Yielded::InVain;
        }
        if now - start > MOST_NS {
            return Yielded::InVain;
        }
        if alone > MOST_ALONE_NS {
            return Yielded::ToNobody;
        }
        before = now;
        if away < spin::ALONE_NS {
            for _ in 0..spin::LOOKS {
                spin::pause();
                if ready() {
                    return Yielded::ToPeer;
                }
            }
            before = now_ns();
            alone += before - now;
        }
    }
}

/// Counts a yield after which the thread was `away` for so long.
pub(super) fn gave_way(away_ns: u64) {
    if away_ns >= spin::ALONE_NS {
        GIVEN_WAY.set(GIVEN_WAY.get() + 1);
    }
}
