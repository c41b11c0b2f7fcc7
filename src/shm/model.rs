//! The arena as loom sees it: the names of the real one, so that the ring that is model-checked is, line
//! by line, the ring that runs.
//!
//! A model cannot map a file: its arena is a few blocks of plain memory. Beside each byte lies a cell of
//! loom's that is touched whenever the byte is copied, so that a byte read before its writer published it,
//! or overwritten before its reader gave it up, fails the model whatever value was seen.

pub mod arena {
    use core::cell::{Cell, RefCell};
    use loom::cell::UnsafeCell;
    use loom::sync::{Mutex, MutexGuard};

    use super::blocks::{BLOCK_BYTES, BLOCKS};

    const BYTES: usize = BLOCKS * BLOCK_BYTES;

    /// `BLOCKS` blocks of memory.
    pub struct Arena {
        memory: *mut u8,
        touched: Vec<UnsafeCell<()>>,
        in_use: Mutex<RefCell<[bool; BLOCKS]>>,
    }

    // SAFETY: loom runs one thread at a time, and `touched` tells where two of them meet in `memory`.
    unsafe impl Send for Arena {}
    // SAFETY: as above.
    unsafe impl Sync for Arena {}

    /// The table lock is held.
    pub struct TableLock<'a> {
        pub arena: &'a Arena,
        pub(super) in_use: MutexGuard<'a, RefCell<[bool; BLOCKS]>>,
    }

    // All threads of a model run on one thread of the machine.
    thread_local! {
        static CURRENT: Cell<*const Arena> = const { Cell::new(core::ptr::null()) };
    }

    impl Arena {
        /// The arena of a model; there can be one at a time.
        pub fn new() -> std::sync::Arc<Arena> {
            let memory = Box::leak(vec![0u8; BYTES].into_boxed_slice()).as_mut_ptr();
            let touched = (0..BYTES).map(|_| UnsafeCell::new(())).collect();
            let arena = std::sync::Arc::new(Arena { memory, touched, in_use: Mutex::new(RefCell::default()) });
            CURRENT.set(&raw const *arena);
            arena
        }

        pub fn lock(&self) -> TableLock<'_> {
            TableLock { arena: self, in_use: self.in_use.lock().unwrap() }
        }

        pub fn try_lock(&self) -> Option<TableLock<'_>> {
            Some(self.lock())
        }

        /// Blocks in use.
        pub fn blocks_in_use(&self) -> usize {
            self.lock().in_use.borrow().iter().filter(|&&used| used).count()
        }

        pub(super) fn at(&self, index: usize) -> Option<*mut u8> {
            (index < BLOCKS).then(|| self.memory.wrapping_add(index * BLOCK_BYTES))
        }

        /// The cells of the bytes of the arena among the `n` bytes at `at`.
        fn cells(&self, at: *const u8, n: usize) -> &[UnsafeCell<()>] {
            let first = (at as usize).wrapping_sub(self.memory as usize);
            first.checked_add(n).and_then(|end| self.touched.get(first..end)).unwrap_or(&[])
        }

        /// `n` bytes are being written.
        pub(super) fn write(&self, at: *const u8, n: usize) {
            self.cells(at, n).iter().for_each(|cell| cell.with_mut(|_| ()));
        }

        fn read(&self, at: *const u8, n: usize) {
            self.cells(at, n).iter().for_each(|cell| cell.with(|_| ()));
        }
    }

    impl Drop for Arena {
        fn drop(&mut self) {
            CURRENT.set(core::ptr::null());
            // SAFETY: made by `new` from a box of this size, and nobody has the arena any more.
            drop(unsafe { Box::from_raw(core::ptr::slice_from_raw_parts_mut(self.memory, BYTES)) });
        }
    }

    /// Bytes are copied, from or into the arena.
    pub fn copied(to: *const u8, from: *const u8, n: usize) {
        // SAFETY: null, or an arena that is dropped only when its model ends.
        if let Some(arena) = unsafe { CURRENT.get().as_ref() } {
            arena.write(to, n);
            arena.read(from, n);
        }
    }
}

pub mod blocks {
    use super::arena::{Arena, TableLock};

    pub type Class = usize;

    pub const BLOCKS: usize = 4;
    pub const BLOCK_BYTES: usize = 2;

    /// A block: its number plus one, times four. 0 is none.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Block(pub u64);

    impl Block {
        pub fn class(self) -> Class {
            (self.0 & 3) as Class
        }

        pub fn bytes(self) -> u64 {
            BLOCK_BYTES as u64
        }

        fn index(self) -> usize {
            ((self.0 >> 2) as usize).wrapping_sub(1)
        }
    }

    pub fn memory(arena: &Arena, block: Block) -> Option<*mut u8> {
        arena.at(block.index())
    }

    pub fn allocate(table: &TableLock, _class: Class, _circuit: u32) -> Option<Block> {
        let mut in_use = table.in_use.borrow_mut();
        let index = in_use.iter().position(|&used| !used)?;
        in_use[index] = true;
        Some(Block((index as u64 + 1) << 2))
    }

    /// Gives a block back; nobody may be reading it, nor may it have been given back before.
    pub fn free(table: &TableLock, block: Block) {
        let at = memory(table.arena, block).expect("no such block");
        table.arena.write(at, BLOCK_BYTES);
        let mut in_use = table.in_use.borrow_mut();
        assert!(in_use[block.index()], "freed twice");
        in_use[block.index()] = false;
    }
}

pub mod owner {
    use super::arena::Arena;
    use crate::shm::lock::{Liveness, Owner};

    /// The calling thread as an owner of locks.
    #[derive(Clone, Copy)]
    pub struct Me(pub Owner);

    impl Me {
        pub fn owner(self) -> Owner {
            self.0
        }
    }

    /// A machine on which nobody dies.
    pub struct System<'a>(pub &'a Arena);

    impl Liveness for System<'_> {
        fn is_alive(&self, _owner: Owner) -> bool {
            true
        }

        fn yield_now(&self) {
            loom::thread::yield_now();
        }
    }
}
