//! Tests of the transport floor: the ring, the wait words and the notifiers under loom (`loom`), and the
//! ring on a real arena against a model (`ring`); and the cursor over buffers (`iov`).
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
