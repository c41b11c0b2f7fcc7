//! Where everything lies in the arena. All offsets are in bytes from its start; all tables have a fixed
//! place in a sparse file and get pages only as far as they are used.
//!
//! | part | entries | bytes each |
//! |---|---|---|
//! | header | 1 | 4096 |
//! | hash chains: cookies, connections, listening ports | 16384, 16384, 4096 | 4 |
//! | owners | 8192 | 64 |
//! | notifiers | 8192 | 16384 |
//! | hosts of a private net | 4096 | 256 |
//! | links between them | 8192 | 256 |
//! | ports in TIME_WAIT | 1024 | 32 |
//! | PCBs | 262144 | 384 |
//! | circuits | 131072 | 1280 |
//! | block descriptors, one each 4 KiB of block | 8 Mi | 16 |
//! | captures | 8 | 1024 |
//! | blocks | | 4096, 65536, 262144 or 1048576 |

use super::Shared;
use super::lock::RobustLock;
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};

/// Stands in the file's name: another layout is another arena.
pub const VERSION: u32 = 7;
/// "Landline" as bytes.
pub const MAGIC: u64 = u64::from_le_bytes(*b"Landline");
/// The file's size, and how much of it each process would like to map.
pub const ARENA_BYTES: u64 = 32 << 30;

/// A table of equal entries. Entry 0 is never used, so that 0 can mean none.
#[derive(Clone, Copy)]
pub struct Table {
    pub off: u64,
    pub entry_bytes: u64,
    pub entries: u32,
}

impl Table {
    const fn after(before: Table, entry_bytes: u64, entries: u32) -> Table {
        let end = before.off + before.entry_bytes * before.entries as u64;
        Table { off: end.next_multiple_of(PAGE_BYTES), entry_bytes, entries }
    }

    /// Where entry `index` lies, if there is one.
    #[inline]
    pub const fn entry_off(&self, index: u32) -> Option<u64> {
        if index == 0 || index >= self.entries { None } else { Some(self.off + self.entry_bytes * index as u64) }
    }
}

pub const PAGE_BYTES: u64 = 4096;
const HEADER: Table = Table { off: 0, entry_bytes: PAGE_BYTES, entries: 1 };
pub const COOKIES: Table = Table::after(HEADER, 4, 16384);
pub const CONNECTIONS: Table = Table::after(COOKIES, 4, 16384);
pub const PORTS: Table = Table::after(CONNECTIONS, 4, 4096);
pub const OWNERS: Table = Table::after(PORTS, 64, 8192);
pub const NOTIFIERS: Table = Table::after(OWNERS, 16384, 8192);
pub const HOSTS: Table = Table::after(NOTIFIERS, 256, 4096);
pub const LINKS: Table = Table::after(HOSTS, 256, 8192);
pub const RESTING: Table = Table::after(LINKS, 32, 1024);
pub const PCBS: Table = Table::after(RESTING, 384, 262_144);
pub const CIRCUITS: Table = Table::after(PCBS, 1280, 131_072);
pub const DESCRIPTORS: Table = Table::after(CIRCUITS, 16, 1 << 23);
pub const CAPTURES: Table = Table::after(DESCRIPTORS, 1024, 8);
/// The first byte of the blocks, aligned for the largest.
pub const BLOCKS_OFF: u64 = (CAPTURES.off + CAPTURES.entry_bytes * CAPTURES.entries as u64).next_multiple_of(1 << 20);
/// What is given pages when the arena is made: header and hash chains.
pub const FIXED_BYTES: u64 = OWNERS.off;

/// Sizes of block.
pub const CLASSES: usize = 4;

/// Entries in use of a table: a high-water mark and a chain of freed ones.
#[repr(C)]
pub struct Pool {
    /// One past the highest entry ever used.
    pub high: AtomicU32,
    /// One past the highest entry that has pages.
    pub committed: AtomicU32,
    /// First freed entry.
    pub free: AtomicU32,
    /// Entries in use.
    pub live: AtomicU32,
}

impl Pool {
    /// One past the highest entry in use, as far as there are pages: what a damaged count names beyond them
    /// would cost memory to look at, and where there is no more, SIGBUS.
    pub fn end(&self, table: Table) -> u32 {
        self.high.load(Ordering::Acquire).min(self.committed.load(Ordering::Relaxed)).min(table.entries)
    }
}

/// What a net has done since it was made.
#[repr(C)]
pub struct Totals {
    pub circuits: AtomicU64,
    pub ring_bytes: AtomicU64,
    pub ring_messages: AtomicU64,
    pub doorbells: AtomicU64,
    pub sleeps: AtomicU64,
}

/// The first page of the arena.
#[repr(C)]
pub struct Header {
    pub magic: AtomicU64,
    pub bytes: AtomicU64,
    pub version: AtomicU32,
    /// 1 once the arena is complete.
    pub ready: AtomicU32,
    /// Guards every table, chain and pool of the arena.
    pub lock: RobustLock,
    pub owners: Pool,
    pub notifiers: Pool,
    pub pcbs: Pool,
    pub circuits: Pool,
    /// Blocks: next never-used unit, then for each class the chain and the number of free blocks.
    pub units_high: AtomicU32,
    pub block_free: [AtomicU32; CLASSES],
    pub block_free_count: [AtomicU32; CLASSES],
    pub units_live: AtomicU32,
    /// PCBs whose last holder is not known to be gone.
    pub limbo: AtomicU32,
    pub totals: Totals,
    /// Counts the changes of who receives which datagrams.
    pub datagram_epoch: AtomicU64,
    /// What a doorbell between datagram sockets says: no datagram of a program's is like it.
    pub doorbell: [AtomicU64; 2],
    pub net: Net,
}

/// What is known of a private net; all zero in the host net's arena.
#[repr(C)]
pub struct Net {
    /// 1 where the arena is a private net's.
    pub is_private: AtomicU32,
    /// 1 where the real network may be reached from it.
    pub outside: AtomicU32,
    /// The first 16 bits of its IPv4 addresses, and the first 64 of its IPv6 addresses.
    pub prefix4: AtomicU32,
    /// The next ephemeral port to try.
    pub ephemeral: AtomicU32,
    pub prefix6: AtomicU64,
    /// Where its random numbers start.
    pub seed: AtomicU64,
    /// When it was made, in nanoseconds since 1970.
    pub made_ns: AtomicU64,
    /// Sends and connects to the outside that were refused.
    pub refused: AtomicU64,
    /// Counts the changes of hosts and links.
    pub epoch: AtomicU64,
    pub hosts: Pool,
    pub links: Pool,
    /// 1 where it stays although nobody uses it.
    pub is_kept: AtomicU32,
    pub taps: Taps,
}

/// Which captures there are, a bit for each entry of their table. Every send looks here: a line that is seldom written.
#[repr(C, align(64))]
pub struct Taps {
    /// Those that are to be told what crosses the net.
    pub running: AtomicU32,
    /// Those that have memory.
    pub held: AtomicU32,
}

impl Net {
    /// Whether the net stays although nobody uses it: what somebody has set would be lost with it.
    pub fn keep(&self, stays: bool) {
        self.is_kept.store(u32::from(stays), Ordering::Relaxed);
    }

    /// A new net: 10.x/16 and fd6c:…/64, where both depend on its name alone.
    pub(super) fn begin(&self, name: &str) {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let hash = hash ^ hash >> 32;
        self.is_private.store(1, Ordering::Relaxed);
        self.prefix4.store(10 << 8 | (64 + hash as u32 % 128), Ordering::Relaxed);
        self.prefix6.store(0xfd6c << 48 | (hash & 0xffff_ffff) << 16, Ordering::Relaxed);
        self.ephemeral.store(hash as u32, Ordering::Relaxed);
        self.seed.store(hash, Ordering::Relaxed);
        self.made_ns.store(crate::sys::clock::realtime_ns(), Ordering::Relaxed);
    }
}

// SAFETY: atomics alone, `repr(C)`.
unsafe impl Shared for Header {}
// SAFETY: as above.
unsafe impl Shared for AtomicU32 {}

const _: () = assert!(size_of::<Header>() as u64 <= PAGE_BYTES);
