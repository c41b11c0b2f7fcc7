//! The arena: the one shared-memory file of a net, and what makes it safe to share with processes that
//! may die at any instruction or scribble over it. Owns the file's layout, the owners' table, the robust
//! lock and the block allocator. Imports from `sys` alone.
//!
//! Lock order: a direction's reader or writer lock, then the table lock. The table lock is only ever
//! held with signals blocked, so a handler never finds it held by its own thread.

#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
pub mod blocks;
#[cfg(not(loom))]
pub mod layout;
pub mod lock;
#[cfg(not(loom))]
pub mod owner;

/// Under loom: what stands in for the arena, its blocks and its owners.
#[cfg(loom)]
mod model;
#[cfg(loom)]
pub use model::arena::Arena;
#[cfg(loom)]
pub use model::{arena, blocks, owner};

#[cfg(not(loom))]
pub use arena::{Arena, arena};

/// Types that may live in the arena.
///
/// # Safety
/// The type consists of atomics (or arrays and structures of them), is valid for every bit pattern,
/// holds no pointer, needs no drop, and has a fixed (`repr(C)` or `repr(transparent)`) layout.
pub unsafe trait Shared {}

/// Declares that a `repr(C)` structure of atomics and padding may live in the arena, and how large its
/// table entry is.
#[cfg(not(loom))]
macro_rules! shared_struct {
    ($name:ident, $bytes:expr) => {
        #[allow(unsafe_code)]
        const _: () = {
            assert!(core::mem::size_of::<$name>() as u64 <= $bytes);
            // SAFETY: declared next to the structure, which is `repr(C)` and made of atomics, integers
            // nobody reads, and structures of them.
            unsafe impl $crate::shm::Shared for $name {}
        };
    };
}
#[cfg(not(loom))]
pub(crate) use shared_struct;

#[cfg(test)]
pub mod tests;
