//! Taps: what crosses the net, for those who capture it. Each running capture has an entry of a table and a record ring
//! of its own, into which every process of the net puts what it does, before anybody can see it done; one process
//! reads. Without a capture nothing but one word of the header is looked at.
//!
//! A record begins with a lead, whose meaning is the floor above's, and goes on with the bytes that went over the net. A
//! reader that is slow is waited for a little; then the bytes are left out, and where even the lead has no room the
//! whole record, which is counted. A reader that has died is not told any more.
//!
//! Lock order: the table lock, then the ring's writer lock.

use libc::iovec;

use super::direction::Direction;
use super::iov::Iov;
use super::record::{self, Pushed};
use super::stream::{self, Refused};
use crate::shm::arena::TableLock;
use crate::shm::blocks::{self, Block};
use crate::shm::layout::{CAPTURES, PAGE_BYTES};
use crate::shm::owner::{Me, System};
use crate::shm::{Arena, Shared};
use crate::sys::clock::now_ns;
use crate::sys::confined::is_confined;
use crate::sys::signal::Blocked;
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::{futex, thread};

/// The most bytes that one record has besides its lead.
pub const MOST_BYTES: usize = 64 << 10;
/// So much is queued at most where bytes go in, and where leads alone do.
const QUEUE_BYTES: u64 = 10 << 20;
const QUEUE_BYTES_OF_LEADS: u64 = 14 << 20;
/// The first piece of a ring, and those that follow.
const FIRST_CLASS: blocks::Class = 2;
/// A reader that reads is waited for this long by one record.
const PATIENCE_NS: u64 = 50_000_000;
/// Attempts to get a piece of memory while other senders are busy.
const ATTEMPTS: u32 = 64;

/// One capture, as it lies in the arena.
#[repr(C, align(64))]
struct Slot {
    /// Who reads: pid, and when it started.
    pid: AtomicU32,
    /// Bytes that a record has at most besides its lead.
    snap_bytes: AtomicU32,
    start: AtomicU64,
    /// Records that had no room, and those whose bytes had none.
    dropped: AtomicU64,
    cut: AtomicU64,
    /// Where the reader was when it was last waited for in vain.
    stuck_tail: AtomicU64,
    /// 1 while the reader sleeps; 1 while somebody waits for room.
    sleeps: AtomicU32,
    is_full: AtomicU32,
    _rest: [u64; 2],
    ring: Direction,
}

// SAFETY: atomics and structures of them alone, `repr(C)`.
unsafe impl Shared for Slot {}
const _: () = assert!(size_of::<Slot>() as u64 <= CAPTURES.entry_bytes);

/// What stands for a capture where blocks name the circuit that has them.
fn block_owner(number: u32) -> u32 {
    u32::MAX - number
}

/// Whether a capture that is not over has the blocks of such a circuit.
pub fn has_blocks_of(arena: &Arena, circuit: u32) -> bool {
    let number = u32::MAX - circuit;
    number < CAPTURES.entries && arena.header().net.taps.held.load(Ordering::Acquire) & 1 << number != 0
}

/// Whether anybody is to be told.
#[inline(always)]
pub fn is_on(arena: &Arena) -> bool {
    arena.header().net.taps.running.load(Ordering::Relaxed) != 0
}

fn slot(arena: &Arena, number: u32) -> Option<&Slot> {
    arena.at(CAPTURES.entry_off(number)?)
}

fn numbers() -> impl Iterator<Item = u32> {
    1..CAPTURES.entries
}

/// Tells every running capture: `lead` and the bytes of `source`, of which at most `MOST_BYTES` count.
#[cold]
pub fn tell(arena: &Arena, lead: &[u8], source: &Iov) {
    let running = arena.header().net.taps.running.load(Ordering::Acquire);
    let _signals = if is_confined() { None } else { Some(Blocked::all()) };
    for number in numbers().filter(|n| running & 1 << n != 0) {
        if let Some(slot) = slot(arena, number) {
            (Teller { arena, number, slot }).tell(lead, source);
        }
    }
}

struct Teller<'a> {
    arena: &'a Arena,
    number: u32,
    slot: &'a Slot,
}

impl Teller<'_> {
    fn is_running(&self) -> bool {
        self.arena.header().net.taps.running.load(Ordering::Acquire) & 1 << self.number != 0
    }

    fn tell(&self, lead: &[u8], source: &Iov) {
        let slot = self.slot;
        let source = source.first((slot.snap_bytes.load(Ordering::Relaxed) as usize).min(MOST_BYTES));
        if source.left() > 0 && self.put_patiently(lead, &source) {
            return self.ring_the_bell();
        }
        if !self.is_running() {
            return;
        }
        if source.left() > 0 {
            slot.cut.fetch_add(1, Ordering::Relaxed);
        }
        match self.put(lead, &source.first(0), QUEUE_BYTES_OF_LEADS) {
            Some(true) => self.ring_the_bell(),
            Some(false) => {
                slot.dropped.fetch_add(1, Ordering::Relaxed);
                self.look_for_reader();
            }
            None => {}
        }
    }

    /// Waits for room where there is none, if the reader gets on.
    fn put_patiently(&self, lead: &[u8], source: &Iov) -> bool {
        let mut until_ns = 0;
        loop {
            match self.put(lead, source, QUEUE_BYTES) {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
            let (tail, now) = (self.slot.ring.consumed.tail.load(Ordering::SeqCst), now_ns());
            if self.slot.stuck_tail.load(Ordering::Relaxed) == tail || is_confined() {
                return false;
            }
            match until_ns {
                0 => until_ns = now.saturating_add(PATIENCE_NS),
                until if now < until => futex::wait(&self.slot.is_full, 1, until - now),
                _ => {
                    self.slot.stuck_tail.store(tail, Ordering::Relaxed);
                    self.look_for_reader();
                    return false;
                }
            }
            // Asked for before the next look.
            self.slot.is_full.swap(1, Ordering::SeqCst);
        }
    }

    /// Whether there was room; `None` where the capture is over.
    fn put(&self, lead: &[u8], source: &Iov, most: u64) -> Option<bool> {
        let ring = &self.slot.ring;
        for _ in 0..ATTEMPTS {
            match record::push_named(ring, self.arena, Me::bootstrap(), lead, source, most, || self.is_running()) {
                Ok(Pushed::Done(_)) => return Some(true),
                Ok(Pushed::Full) => return Some(false),
                Ok(Pushed::NoRoom) => {
                    let append = |class| stream::append(ring, self.arena, Me::bootstrap(), class, block_owner(self.number), || self.is_running());
                    if !(FIRST_CLASS..=blocks::LARGEST).rev().any(append) {
                        if ring.is_chain_full() {
                            return Some(false);
                        }
                        thread::yield_now();
                    }
                }
                // A sender that was stopped in the middle has the lock.
                Ok(Pushed::Gone) if self.is_running() => return Some(false),
                Ok(Pushed::Gone) => return None,
                Err(Refused::Fault) => return Some(false),
                Err(Refused::Damaged) => {
                    end(self.arena, self.number);
                    return None;
                }
            }
        }
        Some(false)
    }

    fn ring_the_bell(&self) {
        if self.slot.sleeps.load(Ordering::SeqCst) != 0 && !is_confined() {
            self.slot.sleeps.store(0, Ordering::SeqCst);
            futex::wake(&self.slot.sleeps);
        }
    }

    fn look_for_reader(&self) {
        if !is_confined() && !is_read(self.slot) {
            end(self.arena, self.number);
        }
    }
}

/// Whether the process that reads is there.
fn is_read(slot: &Slot) -> bool {
    let (pid, start) = (slot.pid.load(Ordering::Relaxed), slot.start.load(Ordering::Relaxed));
    let now = thread::start_time(pid);
    pid != 0 && thread::will_run(pid, pid) && (now == 0 || start == 0 || now == start)
}

/// Ends a capture, whoever reads it, and gives its memory back. Where a sender was stopped in the middle of a record the
/// memory is left to a later call.
fn end(arena: &Arena, number: u32) {
    let Some(table) = arena.try_lock() else {
        arena.header().net.taps.running.fetch_and(!(1 << number), Ordering::SeqCst);
        return;
    };
    end_locked(&table, number);
}

fn end_locked(table: &TableLock, number: u32) {
    let (arena, taps) = (table.arena, &table.arena.header().net.taps);
    taps.running.fetch_and(!(1 << number), Ordering::SeqCst);
    let Some(slot) = slot(arena, number).filter(|_| taps.held.load(Ordering::Acquire) & 1 << number != 0) else { return };
    let ring = &slot.ring;
    let Some(_writing) = record::hold_back_senders(ring, arena, Me::bootstrap()) else { return };
    let _reading = ring.reader.lock.acquire(Me::bootstrap().owner(), &System(arena));
    for segment in &ring.segments {
        blocks::free(table, Block(segment.block.swap(0, Ordering::Relaxed)));
    }
    taps.held.fetch_and(!(1 << number), Ordering::SeqCst);
    futex::wake(&slot.is_full);
}

/// Ends the captures whose reader is gone. Says how many.
pub fn bury(table: &TableLock) -> usize {
    let taps = &table.arena.header().net.taps;
    let of_dead = |&n: &u32| {
        let bit = 1 << n;
        let is_held = taps.held.load(Ordering::Acquire) & bit != 0;
        is_held && (taps.running.load(Ordering::Acquire) & bit == 0 || slot(table.arena, n).is_none_or(|s| !is_read(s)))
    };
    numbers().filter(of_dead).inspect(|&n| end_locked(table, n)).count()
}

/// Why a capture cannot begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// As many run as can.
    Many,
    /// The arena has no room.
    Room,
}

/// What a reader is told besides the records.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Losses {
    /// Records that had no room.
    pub dropped: u64,
    /// Records whose bytes had none.
    pub cut: u64,
}

/// The reading end of a capture, which ends when this is dropped.
pub struct Reader<'a> {
    arena: &'a Arena,
    number: u32,
    slot: &'a Slot,
}

impl<'a> Reader<'a> {
    /// Begins a capture, of `snap_bytes` of each record's at most.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn begin(arena: &'a Arena, snap_bytes: u32) -> Result<Reader<'a>, Refusal> {
        let table = arena.lock();
        bury(&table);
        let taps = &arena.header().net.taps;
        let held = taps.held.load(Ordering::Acquire);
        let number = numbers().find(|n| held & 1 << n == 0).ok_or(Refusal::Many)?;
        let page = CAPTURES.off & !(PAGE_BYTES - 1);
        if !arena.commit(page, CAPTURES.entry_bytes * u64::from(CAPTURES.entries)) {
            return Err(Refusal::Room);
        }
        let slot = slot(arena, number).ok_or(Refusal::Room)?;
        slot.ring.reset();
        for word in [&slot.dropped, &slot.cut] {
            word.store(0, Ordering::Relaxed);
        }
        slot.stuck_tail.store(u64::MAX, Ordering::Relaxed);
        slot.snap_bytes.store(snap_bytes, Ordering::Relaxed);
        slot.pid.store(thread::pid(), Ordering::Relaxed);
        slot.start.store(thread::start_time(thread::pid()), Ordering::Relaxed);
        let block = blocks::allocate(&table, FIRST_CLASS, block_owner(number)).ok_or(Refusal::Room)?;
        slot.ring.segment(0).block.store(block.0, Ordering::Relaxed);
        taps.held.fetch_or(1 << number, Ordering::SeqCst);
        taps.running.fetch_or(1 << number, Ordering::SeqCst);
        Ok(Reader { arena, number, slot })
    }

    /// The next record: its lead into `lead`, its bytes into `bytes`. `None` where there is none; the lengths of both.
    ///
    /// # Errors
    /// Where the arena is damaged.
    pub fn next(&self, lead: &mut [u8], bytes: &mut [u8]) -> Result<Option<(usize, usize)>, stream::Damaged> {
        let room = [iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }];
        // SAFETY: `bytes` outlives the cursor.
        let sink = unsafe { Iov::new(&room) }.map_err(|_| stream::Damaged)?;
        let found =
            record::pop_named(&self.slot.ring, self.arena, Me::bootstrap(), true, lead, &sink, false, || true).map_err(|_| stream::Damaged)?;
        let Some(header) = found else { return Ok(None) };
        if self.slot.is_full.load(Ordering::SeqCst) != 0 && self.slot.ring.queued().is_none_or(|n| n < QUEUE_BYTES / 2) {
            self.slot.is_full.store(0, Ordering::SeqCst);
            futex::wake(&self.slot.is_full);
        }
        let n = usize::from(header.port);
        Ok(Some((n.min(lead.len()), (header.bytes as usize).saturating_sub(n).min(bytes.len()))))
    }

    /// Sleeps until there may be a record, a signal comes, or `ns` have passed.
    pub fn wait(&self, ns: u64) {
        let until = now_ns().saturating_add(ns);
        self.slot.sleeps.swap(1, Ordering::SeqCst);
        if !self.slot.ring.has_data() {
            futex::wait(&self.slot.sleeps, 1, until.saturating_sub(now_ns()));
        }
        self.slot.sleeps.store(0, Ordering::SeqCst);
    }

    pub fn losses(&self) -> Losses {
        Losses { dropped: self.slot.dropped.load(Ordering::Relaxed), cut: self.slot.cut.load(Ordering::Relaxed) }
    }

    /// What it reads from.
    pub fn ring(&self) -> &Direction {
        &self.slot.ring
    }

    /// No more is told from now on; what was is still to be read.
    pub fn stop(&self) {
        self.arena.header().net.taps.running.fetch_and(!(1 << self.number), Ordering::SeqCst);
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        end_locked(&self.arena.lock(), self.number);
    }
}
