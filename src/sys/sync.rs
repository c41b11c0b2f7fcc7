//! The atomics façade: `core`'s in the product, loom's under `--cfg loom`, so that the rings, the
//! waiter words and the locks that are model-checked are the ones that run.

#[cfg(loom)]
pub use super::model::{AtomicU32, AtomicU64};
#[cfg(loom)]
pub use loom::sync::atomic::{Ordering, fence};

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A full fence for use directly after a sequentially consistent read-modify-write.
///
/// x86 orders a locked instruction with every later load by itself, so there only the compiler has
/// to be held back; elsewhere, and under loom (which treats `SeqCst` accesses as `AcqRel`), a real fence.
#[inline(always)]
pub fn fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    fence(Ordering::SeqCst);
}

/// What the single order of all sequentially consistent accesses gives where those alone are relied upon.
///
/// Loom does not have that order, only that of fences: this is one in a model, and nothing in the product.
#[inline(always)]
pub fn fence_in_models() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// Tells the processor that this is a spin loop.
#[inline(always)]
pub fn spin_hint() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    core::hint::spin_loop();
}
