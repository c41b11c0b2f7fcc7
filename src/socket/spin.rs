//! How long to look before sleeping.
//!
//! Sleeping and being woken costs tens of microseconds, a look at a cache line a fraction of one: so a
//! waiter looks for a while first. How long adapts: a spin that paid lets the next one grow, one that
//! failed halves it. A peer that last ran on this very processor cannot answer while we look, and other
//! programs may need the processor: then the waiter lets others run between its looks, and stops as soon
//! as one of them keeps the processor for long, since a sleeper is woken sooner than a yielder is resumed.

use core::cell::Cell;

use super::crowd;
use crate::sys::clock::now_ns;
use crate::sys::{config, sync, thread};

thread_local! {
    static BUDGET_NS: Cell<u64> = const { Cell::new(u64::MAX) };
    static FAILURES: Cell<u32> = const { Cell::new(0) };
}

/// Looks between two readings of the clock.
pub(super) const LOOKS: u32 = 32;
/// Looks without a pause between, of one who expects an answer.
const CLOSE_LOOKS: u32 = 100;
/// Pauses between two looks.
const PAUSES: u32 = 8;
/// Looking goes on for this long before others are let run.
const YIELD_EVERY_NS: u64 = 2_000;
/// Who was away for this long while yielding shares the processor with a program that does not wait.
const TAKEN_NS: u64 = 60_000;
/// Yields in a row to processes that may be our peer.
const YIELDS: u32 = 24;
/// Who is back from a yield sooner than this had the processor to itself: a switch there and back takes longer.
pub(super) const ALONE_NS: u64 = 900;
/// After so many of those in a row the peer is not waiting for this processor, whatever it left word of.
const ALONE_YIELDS: u32 = 2;
/// After this many spins in vain only every so many is tried.
const PATIENCE: u32 = 8;
const PROBE_EVERY: u32 = 32;
const LEAST_NS: u64 = 1_000;

/// What is known about who will answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// It may be running on another processor.
    Elsewhere,
    /// It last ran on this one.
    Here,
    /// One of the two is in a crowd.
    Crowded,
    /// One of the two is in so large a crowd that its turn takes long to come round.
    AmongMany,
}

impl Peer {
    /// From where this end and the other (0 unknown) last waited.
    #[inline]
    pub fn of(mine: u32, its: u32) -> Peer {
        match () {
            () if (mine | its) & crowd::TOO_LARGE != 0 => Peer::AmongMany,
            () if (mine | its) & crowd::IS_THERE != 0 => Peer::Crowded,
            () if mine == its => Peer::Here,
            () => Peer::Elsewhere,
        }
    }
}

/// The time between two looks: each takes the line away from its writer, who may have more to say.
#[inline(always)]
pub(super) fn pause() {
    for _ in 0..PAUSES {
        sync::spin_hint();
    }
}

/// How many processors there are; asked once.
pub fn online_cpus() -> usize {
    use once_cell::sync::OnceCell;
    static CPUS: OnceCell<usize> = OnceCell::new();
    *CPUS.get_or_init(|| thread::online_cpus() as usize)
}

/// Whether there is one processor alone.
pub fn single_processor() -> bool {
    online_cpus() <= 1
}

/// Looks closely for about a microsecond.
#[inline(always)]
pub fn briefly(mut ready: impl FnMut() -> bool) -> bool {
    (0..CLOSE_LOOKS).any(|_| {
        sync::spin_hint();
        ready()
    })
}

/// Passes `ns` nanoseconds without looking.
pub fn rest(ns: u64) {
    let start = now_ns();
    while now_ns() - start < ns {
        sync::spin_hint();
    }
}

/// Looks with `ready` until it says yes, which is returned, or it does not seem to pay any longer.
#[inline]
pub fn until(peer: Peer, mut ready: impl FnMut() -> bool) -> bool {
    if ready() {
        return true;
    }
    if peer == Peer::AmongMany {
        return false;
    }
    if peer == Peer::Elsewhere {
        for _ in 0..LOOKS {
            pause();
            if ready() {
                return true;
            }
        }
    }
    longer(peer, ready)
}

#[inline(never)]
fn longer(peer: Peer, mut ready: impl FnMut() -> bool) -> bool {
    let most = config::get().spin_ns;
    let failures = FAILURES.get();
    if failures >= PATIENCE && !failures.is_multiple_of(PROBE_EVERY) {
        FAILURES.set(failures.wrapping_add(1));
        return false;
    }
    if peer == Peer::Crowded && most > 0 {
        let came = crowd::give_way(&mut ready);
        FAILURES.set(if matches!(came, Yielded::ToNobody) { failures.wrapping_add(1) } else { 0 });
        return matches!(came, Yielded::ToPeer);
    }
    let budget = BUDGET_NS.get().min(most);
    let here = peer == Peer::Here || single_processor();
    let yielded = if here { yielding(&mut ready) } else { Yielded::ToNobody };
    let paid = match yielded {
        Yielded::ToPeer => true,
        Yielded::InVain => false,
        Yielded::ToNobody => looking(budget, &mut ready),
    };
    if paid {
        BUDGET_NS.set((budget * 2).min(most).max(LEAST_NS));
        FAILURES.set(0);
    } else {
        BUDGET_NS.set((budget / 2).max(LEAST_NS));
        FAILURES.set(failures.wrapping_add(1));
    }
    paid
}

/// What came of handing the processor over.
pub(super) enum Yielded {
    ToPeer,
    InVain,
    /// Nobody else wants this processor.
    ToNobody,
}

/// The peer needs this processor: hands it over and looks when it comes back. Where a peer that does not wait
/// last left its processor may be long ago.
fn yielding(ready: &mut impl FnMut() -> bool) -> Yielded {
    let mut before = now_ns();
    let mut alone = 0;
    for _ in 0..YIELDS {
        thread::yield_now();
        let now = now_ns();
        let away = now - before;
        crowd::gave_way(away);
        if ready() {
            return Yielded::ToPeer;
        }
        if away > TAKEN_NS {
            return Yielded::InVain;
        }
        alone = if away < ALONE_NS { alone + 1 } else { 0 };
        if alone == ALONE_YIELDS && !single_processor() {
            return Yielded::ToNobody;
        }
        before = now;
    }
    Yielded::InVain
}

/// The peer may answer from another processor: looks, and now and then lets others run.
fn looking(budget_ns: u64, ready: &mut impl FnMut() -> bool) -> bool {
    let start = now_ns();
    let (mut yielded, mut away) = (start, 0);
    loop {
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
            pause();
        }
        let now = now_ns();
        if now - start - away > budget_ns {
            return false;
        }
        if now - yielded > YIELD_EVERY_NS {
            thread::yield_now();
            yielded = now_ns();
            away += yielded - now;
            crowd::gave_way(yielded - now);
            if ready() {
                return true;
            }
            if yielded - now > TAKEN_NS {
                return false;
            }
        }
    }
}
