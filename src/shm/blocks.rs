//! Blocks: the memory that rings are made of, in three sizes, each from a chain of freed ones or from
//! the never-used end of the arena; and the growing of tables.
//!
//! Pages come with the first use of a block. A freed block keeps them, up to some megabytes a size; what
//! is freed beyond that is given back to the machine at once. A block whose user died before noting it is
//! found by the circuit it was given to (`reclaim`).

use core::sync::atomic::{AtomicU32, Ordering};

use super::Shared;
use super::arena::{Arena, TableLock};
use super::layout::{BLOCKS_OFF, CLASSES, DESCRIPTORS, PAGE_BYTES, Pool, Table};

/// A size of block: 0, 1, 2, 3 for 4 KiB, 64 KiB, 256 KiB, 1 MiB.
pub type Class = usize;

pub const LARGEST: Class = CLASSES - 1;

/// Units of 4 KiB in a block of each class.
const UNITS: [u32; CLASSES] = [1, 16, 64, 256];
/// Free blocks of each class that keep their pages.
const KEEP: [u32; CLASSES] = [1024, 128, 96, 24];
/// Tables get pages in steps of this many bytes.
const STEP_BYTES: u64 = 64 << 10;

/// One unit of 4 KiB, described.
///
/// | bits of `state` | meaning |
/// |---|---|
/// | 0..2 | class |
/// | 2 | first unit of a block |
/// | 3 | free |
/// | 4 | without pages |
#[repr(C)]
struct Descriptor {
    state: AtomicU32,
    /// Next block in the chain of free ones.
    next: AtomicU32,
    /// The circuit that has the block.
    circuit: AtomicU32,
    _pad: AtomicU32,
}

// SAFETY: atomics alone, `repr(C)`.
unsafe impl Shared for Descriptor {}
const _: () = assert!(size_of::<Descriptor>() as u64 == DESCRIPTORS.entry_bytes);

const FIRST: u32 = 1 << 2;
const FREE: u32 = 1 << 3;
const BARE: u32 = 1 << 4;

/// A block: its offset in the arena, with its class in the low bits. 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block(pub u64);

impl Block {
    fn of_unit(unit: u32, class: Class) -> Block {
        Block((BLOCKS_OFF + u64::from(unit) * PAGE_BYTES) | class as u64)
    }

    #[inline]
    pub fn class(self) -> Class {
        (self.0 & 3) as Class
    }

    #[inline]
    pub fn off(self) -> u64 {
        self.0 & !(PAGE_BYTES - 1)
    }

    #[inline]
    pub fn bytes(self) -> u64 {
        bytes_of(self.class())
    }

    fn unit(self) -> Option<u32> {
        u32::try_from(self.off().checked_sub(BLOCKS_OFF)? / PAGE_BYTES).ok().filter(|&u| u > 0 && u < DESCRIPTORS.entries)
    }
}

/// Bytes of a block of `class`; 0 where there is no such class.
#[inline]
pub fn bytes_of(class: Class) -> u64 {
    UNITS.get(class).map_or(0, |&u| u64::from(u) * PAGE_BYTES)
}

fn descriptor(arena: &Arena, unit: u32) -> Option<&Descriptor> {
    arena.at(DESCRIPTORS.entry_off(unit)?)
}

/// The memory of a block, if it lies where blocks lie.
#[inline]
pub fn memory(arena: &Arena, block: Block) -> Option<*mut u8> {
    if block.off() < BLOCKS_OFF || block.class() >= CLASSES {
        return None;
    }
    arena.bytes_at(block.off(), block.bytes())
}

/// A block of `class` for circuit `circuit`; `None` where there is no room.
pub fn allocate(table: &TableLock, class: Class, circuit: u32) -> Option<Block> {
    let block = pop(table, class).or_else(|| extend(table, class)).or_else(|| split(table, class))?;
    let d = descriptor(table.arena, block.unit()?)?;
    d.circuit.store(circuit, Ordering::Relaxed);
    d.state.store(FIRST | class as u32, Ordering::Release);
    table.arena.header().units_live.fetch_add(*UNITS.get(class)?, Ordering::Relaxed);
    Some(block)
}

/// Gives a block back. What is not a block in use is left alone.
pub fn free(table: &TableLock, block: Block) {
    let Some(unit) = block.unit() else { return };
    let Some(d) = descriptor(table.arena, unit) else { return };
    let class = block.class();
    let Some(&units) = UNITS.get(class) else { return };
    if d.state.load(Ordering::Relaxed) != FIRST | class as u32 {
        return;
    }
    d.circuit.store(0, Ordering::Relaxed);
    table.arena.header().units_live.fetch_sub(units, Ordering::Relaxed);
    let many = count(table, class).zip(KEEP.get(class)).is_some_and(|(n, &keep)| n.load(Ordering::Relaxed) >= keep);
    if many {
        table.arena.decommit(block.off(), block.bytes());
    }
    push(table, unit, class, if many { BARE } else { 0 });
}

/// Frees every block that belongs to circuit `circuit`: for the sweep, where a user died.
pub fn reclaim(table: &TableLock, is_leaked: impl Fn(u32) -> bool) {
    let high = table.arena.header().units_high.load(Ordering::Relaxed).min(DESCRIPTORS.entries);
    for unit in 1..high {
        let Some(d) = descriptor(table.arena, unit) else { return };
        let state = d.state.load(Ordering::Relaxed);
        if state & FIRST != 0 && state & FREE == 0 && is_leaked(d.circuit.load(Ordering::Relaxed)) {
            free(table, Block::of_unit(unit, (state & 3) as Class));
        }
    }
}

/// Gives the pages of all free blocks back to the machine.
pub fn trim(table: &TableLock) {
    let high = table.arena.header().units_high.load(Ordering::Relaxed).min(DESCRIPTORS.entries);
    for unit in 1..high {
        let Some(d) = descriptor(table.arena, unit) else { return };
        let state = d.state.load(Ordering::Relaxed);
        if state & (FIRST | FREE | BARE) == FIRST | FREE {
            let block = Block::of_unit(unit, (state & 3) as Class);
            d.state.store(state | BARE, Ordering::Relaxed);
            table.arena.decommit(block.off(), block.bytes());
        }
    }
}

fn chain<'a>(table: &'a TableLock, class: Class) -> Option<&'a AtomicU32> {
    table.arena.header().block_free.get(class)
}

fn count<'a>(table: &'a TableLock, class: Class) -> Option<&'a AtomicU32> {
    table.arena.header().block_free_count.get(class)
}

fn push(table: &TableLock, unit: u32, class: Class, bare: u32) {
    if let (Some(d), Some(chain), Some(count)) = (descriptor(table.arena, unit), chain(table, class), count(table, class)) {
        d.state.store(FIRST | FREE | bare | class as u32, Ordering::Relaxed);
        d.next.store(chain.load(Ordering::Relaxed), Ordering::Relaxed);
        chain.store(unit, Ordering::Release);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn pop(table: &TableLock, class: Class) -> Option<Block> {
    let chain = chain(table, class)?;
    let unit = chain.load(Ordering::Relaxed);
    let d = descriptor(table.arena, unit)?;
    let state = d.state.load(Ordering::Relaxed);
    if state & !BARE != FIRST | FREE | class as u32 {
        // The chain is damaged: what hangs on it is lost, the arena's end still serves.
        chain.store(0, Ordering::Relaxed);
        return None;
    }
    let block = Block::of_unit(unit, class);
    if state & BARE != 0 && !table.arena.commit(block.off(), block.bytes()) {
        return None;
    }
    chain.store(d.next.load(Ordering::Relaxed), Ordering::Release);
    let count = count(table, class)?;
    count.store(count.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    Some(block)
}

/// Takes a block from the never-used end. Small ones are made sixteen at a time.
fn extend(table: &TableLock, class: Class) -> Option<Block> {
    let header = table.arena.header();
    let units = *UNITS.get(class)?;
    let step = units.max(16);
    let first = header.units_high.load(Ordering::Relaxed).checked_next_multiple_of(step)?;
    let end = first.checked_add(step)?;
    if end > DESCRIPTORS.entries {
        return None;
    }
    let described = DESCRIPTORS.entry_off(first)?;
    let from = described & !(PAGE_BYTES - 1);
    let to = (DESCRIPTORS.off + DESCRIPTORS.entry_bytes * u64::from(end)).next_multiple_of(PAGE_BYTES);
    if !table.arena.commit(from, to - from) || !table.arena.commit(Block::of_unit(first, class).off(), u64::from(step) * PAGE_BYTES) {
        return None;
    }
    // Units skipped for alignment are described by nobody and stay unused.
    header.units_high.store(end, Ordering::Release);
    for unit in (first + units..end).step_by(units as usize) {
        push(table, unit, class, 0);
    }
    Some(Block::of_unit(first, class))
}

/// Cuts a larger free block into smaller ones.
fn split(table: &TableLock, class: Class) -> Option<Block> {
    for larger in class + 1..CLASSES {
        if let Some(block) = pop(table, larger) {
            let (first, units) = (block.unit()?, *UNITS.get(class)?);
            let end = first.checked_add(*UNITS.get(larger)?)?;
            for unit in (first + units..end).step_by(units as usize) {
                push(table, unit, class, 0);
            }
            return Some(Block::of_unit(first, class));
        }
    }
    None
}

/// A never-used entry of a table, with its pages; `None` where the table is full or there is no room.
pub fn extend_pool(lock: &TableLock, pool: &Pool, table: Table) -> Option<u32> {
    let index = pool.high.load(Ordering::Relaxed);
    let end = table.entry_off(index)? + table.entry_bytes;
    let has = table.off + table.entry_bytes * u64::from(pool.committed.load(Ordering::Relaxed));
    if end > has {
        let from = has & !(PAGE_BYTES - 1);
        let to = end.next_multiple_of(PAGE_BYTES).max(from + STEP_BYTES.min(table.entry_bytes.next_multiple_of(PAGE_BYTES) * 16));
        let to = to.min((table.off + table.entry_bytes * u64::from(table.entries)).next_multiple_of(PAGE_BYTES));
        if !lock.arena.commit(from, to - from) {
            return None;
        }
        pool.committed.store(((to - table.off) / table.entry_bytes) as u32, Ordering::Relaxed);
    }
    pool.high.store(index + 1, Ordering::Release);
    Some(index)
}
