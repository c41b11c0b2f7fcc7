//! Tests of the transport floor: the ring, the wait words and the notifiers under loom (`loom`), and the
//! ring on a real arena against a model (`ring`).
//!
//! Miri is not used: the arena is a mapped file, which it cannot have.

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod ring;
