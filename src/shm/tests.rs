//! Tests of the arena's floor: the robust lock under loom (`loom`), the blocks on a real arena (`blocks`).
//!
//! Miri is not used: the arena is a mapped file, which it cannot have.

#[cfg(not(loom))]
pub mod blocks;
#[cfg(loom)]
mod loom;
