//! The record ring on blocks that hold a record: those of the arena's model hold two bytes.
//!
//! `record.rs` is compiled once more, the very lines that run. What it takes from its floor is the crate's, but for
//! where a segment's memory is, and for a cell of loom's beside each word, which is touched as the record's words and
//! bytes are.

use core::cell::Cell;
use loom::cell::UnsafeCell;
use std::rc::Rc;

use crate::shm::blocks::BLOCKS;

#[path = "../../record.rs"]
pub mod record;

const BLOCK_BYTES: usize = 64;
const WORDS: usize = BLOCK_BYTES / 8;
const HEADER_WORDS: usize = 3;

struct Memory {
    words: [Cell<u64>; BLOCKS * WORDS],
    touched: [UnsafeCell<()>; BLOCKS * WORDS],
}

// All threads of a model run on one thread of the machine.
thread_local! {
    static CURRENT: Cell<*const Memory> = const { Cell::new(core::ptr::null()) };
}

/// The memory of a model; there can be one at a time.
pub struct Large(#[allow(dead_code)] Rc<Memory>);

// SAFETY: loom runs one thread at a time, and `touched` tells where two of them meet.
unsafe impl Send for Large {}
// SAFETY: as above.
unsafe impl Sync for Large {}

impl Large {
    pub fn new() -> Large {
        let memory = Rc::new(Memory { words: core::array::from_fn(|_| Cell::new(0)), touched: core::array::from_fn(|_| UnsafeCell::new(())) });
        CURRENT.set(Rc::as_ptr(&memory));
        Large(memory)
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        CURRENT.set(core::ptr::null());
    }
}

impl Memory {
    fn current<'a>() -> &'a Memory {
        // SAFETY: null, or a memory that is dropped only when its model ends.
        unsafe { CURRENT.get().as_ref() }.expect("no memory")
    }

    /// The cells of a record of `n` bytes whose first byte is at offset `at` of the block at `block`.
    fn record(&self, block: *const u8, at: usize, n: usize) -> impl Iterator<Item = &UnsafeCell<()>> {
        let first = (block.addr() - self.words.as_ptr().addr()) / 8;
        let header = at / 8 + WORDS - HEADER_WORDS;
        (header..header + HEADER_WORDS + n.div_ceil(8)).map(move |word| &self.touched[first + word % WORDS])
    }
}

pub mod direction {
    pub use crate::transport::direction::*;
}

pub mod stream {
    pub(in crate::transport) use crate::transport::stream::{Damaged, Memory, Refused, count, release, room_of};

    use super::{BLOCK_BYTES, WORDS};
    use crate::shm::Arena;
    use crate::shm::blocks::Block;
    use crate::sys::sync::Ordering;
    use crate::transport::direction::Segment;

    pub(in crate::transport) fn memory(arena: &Arena, segment: &Segment) -> Result<Memory, Damaged> {
        let block = Block(segment.block.load(Ordering::Relaxed));
        crate::shm::blocks::memory(arena, block).ok_or(Damaged)?;
        let at = super::Memory::current().words[(block.0 as usize / 4 - 1) * WORDS].as_ptr();
        Ok(Memory { at: at.cast(), bytes: BLOCK_BYTES as u64, start: segment.start.load(Ordering::Relaxed) })
    }
}

pub mod iov {
    use crate::transport::iov;

    pub struct Iov<'a>(pub iov::Iov<'a>);

    impl Iov<'_> {
        pub fn left(&self) -> usize {
            self.0.left()
        }

        /// # Safety
        /// As the real one's.
        pub unsafe fn send_to(&self, block: *mut u8, size: usize, at: usize, n: usize) -> bool {
            super::Memory::current().record(block, at, n).for_each(|cell| cell.with_mut(|_| ()));
            // SAFETY: the caller's.
            unsafe { self.0.send_to(block, size, at, n) }
        }

        /// # Safety
        /// As the real one's.
        pub unsafe fn receive_from(&self, block: *const u8, size: usize, at: usize, n: usize) -> bool {
            super::Memory::current().record(block, at, n).for_each(|cell| cell.with(|_| ()));
            // SAFETY: the caller's.
            unsafe { self.0.receive_from(block, size, at, n) }
        }
    }
}
