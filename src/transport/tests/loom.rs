//! Models of the transport floor, each made of the very functions that run: `tests/mutants` takes a fence,
//! a second look or an order away from those and sees the model named with it fail.

mod flight;
mod large;
mod path;
mod record;
mod stream;
mod wake;

use libc::iovec;
use loom::sync::{Condvar, Mutex};
use std::sync::Arc;

use crate::shm::lock::Owner;
use crate::shm::owner::Me;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::transport::wait::Wishes;

/// All interleavings with at most `preemptions` switches away from a thread that could go on.
fn model(preemptions: Option<usize>, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    let runs = Arc::new(core::sync::atomic::AtomicUsize::new(0));
    let counter = runs.clone();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        f();
    });
    eprintln!("{} interleavings", runs.load(Ordering::Relaxed));
}

/// Moves a published number on, in the way that the ring does.
fn publish(word: &AtomicU64, to: u64) {
    let now = word.load(Ordering::Relaxed);
    word.compare_exchange(now, to, Ordering::SeqCst, Ordering::Relaxed).unwrap();
}

fn rings(wishes: Option<Wishes>) -> bool {
    wishes.is_some_and(Wishes::doorbell)
}

fn me(number: u32) -> Me {
    Me(Owner::new(1, number))
}

fn iovec_of(bytes: &mut [u8]) -> [iovec; 1] {
    [iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }]
}

/// A doorbell, and a thread that sleeps until it is rung. Loom fails a model whose threads all sleep.
#[derive(Default)]
struct Bell {
    rung: Mutex<u32>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() += 1;
        self.heard.notify_one();
    }

    fn sleep(&self) {
        let mut rung = self.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.heard.wait(rung).unwrap();
        }
        *rung -= 1;
    }
}
