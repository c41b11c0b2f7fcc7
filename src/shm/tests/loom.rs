//! Models of the robust lock. `tests/mutants` weakens it in the ways named here and sees them fail.

use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

use crate::shm::lock::{Held, Liveness, Owner, RobustLock};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};

fn owner(tid: u32) -> Owner {
    Owner::new(1, tid)
}

/// A machine on which one thread may be dead. Death is seen with all that the dead had done: so does the
/// kernel tell it.
#[derive(Default)]
struct Machine {
    dead: AtomicU32,
}

impl Liveness for Machine {
    fn is_alive(&self, owner: Owner) -> bool {
        self.dead.load(Ordering::Acquire) != owner.tid()
    }

    fn yield_now(&self) {
        loom::thread::yield_now();
    }
}

/// What a lock guards here: a number behind a cell in which loom sees two threads that meet, and one that is
/// prepared beside the one in force and comes in force by one store, as everything in the arena.
#[derive(Default)]
struct Guarded {
    machine: Machine,
    lock: RobustLock,
    count: UnsafeCell<u32>,
    prepared: [UnsafeCell<u32>; 2],
    in_force: AtomicU64,
}

// SAFETY: the cells are only touched with the lock held, or loom says so.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn count_with_lock(&self, tid: u32) {
        let held = self.lock.acquire(owner(tid), &self.machine);
        assert!(!held.is_nested());
        // SAFETY: the lock is held.
        self.count.with_mut(|n| unsafe { *n += 1 });
    }

    fn counted(&self) -> u32 {
        // SAFETY: all threads have been joined.
        self.count.with(|n| unsafe { *n })
    }

    /// Takes the lock and dies before or after what it had prepared came in force.
    fn die(&self, commits: bool) {
        let held = self.lock.acquire(owner(9), &self.machine);
        // SAFETY: the lock is held.
        self.prepared[1].with_mut(|n| unsafe { *n = 42 });
        if commits {
            self.in_force.store(1, Ordering::Release);
        }
        core::mem::forget(held);
        self.machine.dead.store(9, Ordering::Release);
    }

    /// What is in force, as somebody with the lock sees it.
    fn value(&self) -> u32 {
        let which = self.in_force.load(Ordering::Acquire) as usize;
        // SAFETY: the lock is held.
        self.prepared[which].with(|n| unsafe { *n })
    }
}

fn model(preemptions: Option<usize>, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    builder.check(f);
}

/// Fails if the lock is taken, or given back, with `Relaxed`.
#[test]
fn loom_lock_excludes() {
    model(Some(4), || {
        let g = Arc::new(Guarded::default());
        let other = thread::spawn({
            let g = g.clone();
            move || g.count_with_lock(2)
        });
        g.count_with_lock(1);
        other.join().unwrap();
        assert_eq!(g.counted(), 2);
        assert!(!g.lock.is_held());
    });
}

#[test]
fn loom_lock_excludes_three() {
    model(Some(1), || {
        let g = Arc::new(Guarded::default());
        let others = [2, 3].map(|tid| {
            let g = g.clone();
            thread::spawn(move || g.count_with_lock(tid))
        });
        g.count_with_lock(1);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(g.counted(), 3);
    });
}

/// Who tries without waiting gets the lock or not, but never beside another.
#[test]
fn loom_trying_excludes() {
    model(None, || {
        let g = Arc::new(Guarded::default());
        let other = thread::spawn({
            let g = g.clone();
            move || g.count_with_lock(2)
        });
        let mut expected = 1;
        if let Some(held) = g.lock.try_acquire(owner(1)) {
            assert!(!held.is_nested());
            // SAFETY: the lock is held.
            g.count.with_mut(|n| unsafe { *n += 1 });
            expected = 2;
        }
        other.join().unwrap();
        assert_eq!(g.counted(), expected);
    });
}

/// A dead owner's lock is taken over by one of two who wait for it, then by the other.
/// Fails if the lock is taken over with a plain store.
#[test]
fn loom_lock_of_the_dead_is_taken_over_once() {
    model(Some(1), || {
        let g = Arc::new(Guarded::default());
        let dying = thread::spawn({
            let g = g.clone();
            move || g.die(false)
        });
        let other = thread::spawn({
            let g = g.clone();
            move || g.count_with_lock(2)
        });
        g.count_with_lock(1);
        dying.join().unwrap();
        other.join().unwrap();
        assert_eq!(g.counted(), 2);
    });
}

/// The same where the owner has been dead for long: nothing orders the two but the lock.
#[test]
fn loom_lock_of_the_long_dead_is_taken_over_once() {
    model(Some(3), || {
        let g = Arc::new(Guarded::default());
        g.die(false);
        let other = thread::spawn({
            let g = g.clone();
            move || g.count_with_lock(2)
        });
        g.count_with_lock(1);
        other.join().unwrap();
        assert_eq!(g.counted(), 2);
        assert!(!g.lock.is_held());
    });
}

/// What a dead owner leaves is the state before its operation or the one after it.
/// Fails if a lock is taken from an owner that lives.
fn dies(commits: bool) {
    model(Some(3), move || {
        let g = Arc::new(Guarded::default());
        let dying = thread::spawn({
            let g = g.clone();
            move || g.die(commits)
        });
        let held = g.lock.acquire(owner(1), &g.machine);
        let value = g.value();
        // The lock is held by one at a time: whoever is dead now had it before.
        let after = g.machine.dead.load(Ordering::Acquire) == 9;
        drop(held);
        dying.join().unwrap();
        assert_eq!(value, if commits && after { 42 } else { 0 });
    });
}

#[test]
fn loom_death_before_the_commit_leaves_the_old() {
    dies(false);
}

#[test]
fn loom_death_after_the_commit_leaves_the_new() {
    dies(true);
}

/// A thread that comes back to a lock of its own, from a signal handler, goes on without it.
#[test]
fn loom_own_lock_is_nested() {
    model(Some(3), || {
        let g = Arc::new(Guarded::default());
        let other = thread::spawn({
            let g = g.clone();
            move || g.count_with_lock(2)
        });
        let outer = g.lock.acquire(owner(1), &g.machine);
        drop(g.lock.acquire(owner(1), &g.machine));
        assert!(matches!(g.lock.try_acquire(owner(1)), Some(Held::Nested)));
        assert!(g.lock.is_held(), "given back by the nested one");
        drop(outer);
        other.join().unwrap();
    });
}
