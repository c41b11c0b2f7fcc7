//! Tests of the transport floor: the ring, the wait words and the notifiers under loom (`loom`), the
//! ring on a real arena against a model (`ring`), the cursor over buffers (`iov`), and the taps (`tap`).
//!
//! Miri is not used: the arena is a mapped file, which it cannot have.

#[cfg(not(loom))]
mod iov;
#[cfg(not(loom))]
mod late;
#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod ring;
#[cfg(not(loom))]
mod tap;
