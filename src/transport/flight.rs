//! Bytes under way: a stream over a link that makes them late.
//!
//! The sender puts its bytes into the ring at once, and says in a *schedule* when each piece of them arrives. `Produced::head` is
//! what has arrived; `Writer::sent` is how far the sender has come. Whoever looks at the receiving end moves the head on to
//! what is due (`land`), and whoever waits there waits no longer than until the next piece is. So a reader, a poll and an event
//! loop see a direction like any other, and nobody is there but the two ends.
//!
//! A stream comes in order: a piece that is due waits for those before it. What was lost is sent again, and so it is late, never
//! missing; where enough follows a lost piece the sender learns of it sooner (fast retransmit, RFC 5681), and what was last comes
//! after a timeout. A piece that is `HELD` waits until somebody says that the link is there again.
//!
//! The schedule is a block of the arena, taken by the first late byte of a direction and kept to its end. Its lock is held for
//! some stores alone, and what a dead owner leaves is harmless: the head moves before an entry is given up.

use super::direction::{Direction, HELD, NEVER, late};
use super::iov::{Iov, Piece};
use super::stream::{self, Damaged, Refused, has_room_for, memory, room_of, stash};
use crate::shm::lock::{Held, RobustLock};
use crate::shm::owner::{Me, System};
use crate::shm::{Arena, Shared, blocks};
use crate::sys::clock::{now_ns, ticks};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};

/// Pieces that can be under way; more than that are made one with the last.
const ENTRIES: usize = if cfg!(loom) { 2 } else { 4090 };
/// Pieces that are due within such a time may be made one, due with the last of them.
const GRAIN_NS: u64 = if cfg!(loom) { 0 } else { 100_000 };
/// So many segments after a lost one show that it is (the duplicate acknowledgements of RFC 5681).
const FOLLOWERS: u32 = 3;
/// How large a block a schedule takes.
const CLASS: blocks::Class = 1;
/// One that has the schedule's lock and does not get on is waited for this long: it may have been stopped.
const PATIENCE_NS: u64 = if cfg!(loom) { u64::MAX } else { 50_000_000 };
/// When a look that could not be made is made again.
const SOON_NS: u64 = 1_000_000;
/// Published at a time.
const CHUNK_BYTES: u64 = if cfg!(loom) { 2 } else { 64 << 10 };

#[cfg_attr(loom, derive(Default))]
#[repr(C)]
struct Entry {
    /// Stream position of the end of the piece.
    end: AtomicU64,
    due_ns: AtomicU64,
}

/// The pieces under way.
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub struct Schedule {
    lock: RobustLock,
    /// Entries `first..last` are in use, by their numbers modulo `ENTRIES`.
    first: AtomicU32,
    last: AtomicU32,
    /// When the last entry was due before others were made one with it.
    opened_ns: AtomicU64,
    /// A lost piece after which not enough has followed: its entry, when it arrives if that does, and how many segments have,
    /// plus one; 0 where there is none.
    lost: AtomicU32,
    followers: AtomicU32,
    soon_ns: AtomicU64,
    entries: [Entry; ENTRIES],
}

// SAFETY: atomics and structures of them alone, `repr(C)`.
unsafe impl Shared for Schedule {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Schedule>() <= 64 << 10);

/// When a segment arrives, and when if others behind it show that it was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    pub ns: u64,
    pub soon_ns: u64,
}

#[cfg(not(loom))]
fn schedule<'a>(d: &'a Direction, arena: &'a Arena) -> Option<&'a Schedule> {
    let block = blocks::Block(d.control.schedule.load(Ordering::Acquire));
    blocks::memory(arena, block).filter(|_| block.class() == CLASS)?;
    arena.at(block.off())
}

/// A model's direction has its schedule with it.
#[cfg(loom)]
fn schedule<'a>(d: &'a Direction, _: &'a Arena) -> Option<&'a Schedule> {
    Some(&d.schedule)
}

impl Schedule {
    fn lock(&self, arena: &Arena, me: Me) -> Option<Held<'_>> {
        let mut since = 0;
        let held = self.lock.acquire_unless(me.owner(), &System(arena), |_| {
            since = if since == 0 { now_ns() } else { since };
            now_ns().saturating_sub(since) > PATIENCE_NS
        });
        // A handler that came in the middle looks another time.
        held.filter(|held| !held.is_nested())
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize % ENTRIES)
    }

    /// Entries in use, no more than there can be.
    fn count(&self) -> u32 {
        self.last.load(Ordering::Relaxed).wrapping_sub(self.first.load(Ordering::Relaxed)).min(ENTRIES as u32)
    }

    fn begin(&self) {
        for word in [&self.first, &self.last, &self.lost, &self.followers] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Another segment, up to stream position `end`.
    fn add(&self, end: u64, due: Due) {
        if let before @ 1..=FOLLOWERS = self.followers.load(Ordering::Relaxed) {
            self.followers.store(before + 1, Ordering::Relaxed);
            if before == FOLLOWERS {
                self.hurry_lost();
            }
        }
        let (count, last) = (self.count(), self.last.load(Ordering::Relaxed));
        let was_lost = due.soon_ns < due.ns;
        let before = self.entry(last.wrapping_sub(1)).filter(|_| count > 0);
        if let Some(before) = before {
            let its = before.due_ns.load(Ordering::Relaxed);
            let is_near = due.ns == its
                || (due.ns > its && due.ns - self.opened_ns.load(Ordering::Relaxed).min(its) <= GRAIN_NS && its < HELD && due.ns < HELD);
            let is_watched = self.followers.load(Ordering::Relaxed) != 0 && self.lost.load(Ordering::Relaxed) == last.wrapping_sub(1);
            if (is_near && !was_lost && !is_watched) || count as usize == ENTRIES {
                before.due_ns.store(its.max(due.ns), Ordering::Relaxed);
                before.end.store(end, Ordering::Relaxed);
                return;
            }
        }
        let Some(entry) = self.entry(last) else { return };
        entry.end.store(end, Ordering::Relaxed);
        entry.due_ns.store(due.ns, Ordering::Relaxed);
        self.opened_ns.store(due.ns, Ordering::Relaxed);
        if was_lost {
            self.lost.store(last, Ordering::Relaxed);
            self.soon_ns.store(due.soon_ns, Ordering::Relaxed);
            self.followers.store(1, Ordering::Relaxed);
        }
        self.last.store(last.wrapping_add(1), Ordering::Relaxed);
    }

    /// `n` bytes that lie behind `head` are sent. False where that cannot be said just now.
    #[allow(clippy::too_many_arguments)]
    fn publish(&self, d: &Direction, arena: &Arena, me: Me, head: u64, n: u64, segment_bytes: u64, due: &mut impl FnMut(u64) -> Due) -> bool {
        let Some(_scheduling) = self.lock(arena, me) else { return false };
        let end = head.wrapping_add(n);
        let mut at = head;
        while at != end {
            let piece = segment_bytes.max(1).min(end.wrapping_sub(at));
            at = at.wrapping_add(piece);
            self.add(at, due(piece));
        }
        d.produced.next_due_ns.store(self.next_due(), Ordering::SeqCst);
        // A read-modify-write, as the fence rule of this floor demands: who sleeps must be told when to look.
        d.writer.sent.swap(end, Ordering::SeqCst);
        true
    }

    /// Enough has followed the lost piece: it is sent again at once.
    fn hurry_lost(&self) {
        self.followers.store(0, Ordering::Relaxed);
        let number = self.lost.load(Ordering::Relaxed);
        let is_there = number.wrapping_sub(self.first.load(Ordering::Relaxed)) < self.count();
        if let Some(entry) = self.entry(number).filter(|_| is_there) {
            let soon = self.soon_ns.load(Ordering::Relaxed).min(entry.due_ns.load(Ordering::Relaxed));
            entry.due_ns.store(soon, Ordering::Relaxed);
        }
    }

    fn next_due(&self) -> u64 {
        let first = self.entry(self.first.load(Ordering::Relaxed)).filter(|_| self.count() > 0);
        first.map_or(NEVER, |entry| entry.due_ns.load(Ordering::Relaxed))
    }
}

/// From now on what is sent is late. False where that cannot be just now, for want of memory or because others are at it.
pub fn begin(d: &Direction, arena: &Arena, me: Me, circuit: u32) -> bool {
    if d.late() & late::BYTES != 0 {
        return true;
    }
    let Some(table) = arena.try_lock() else { return false };
    let Some(_held) = d.writer.lock.try_acquire(me.owner()).filter(|held| !held.is_nested()) else { return false };
    if schedule(d, arena).is_none() {
        let Some(block) = blocks::allocate(&table, CLASS, circuit) else { return false };
        d.control.schedule.store(block.0, Ordering::Release);
        if let Some(schedule) = schedule(d, arena) {
            schedule.lock.reset();
        }
    }
    let Some(schedule) = schedule(d, arena) else { return false };
    let Some(_scheduling) = schedule.lock(arena, me) else { return false };
    schedule.begin();
    d.writer.sent.store(d.produced.head.load(Ordering::SeqCst), Ordering::Relaxed);
    d.produced.next_due_ns.store(NEVER, Ordering::Relaxed);
    d.control.late.fetch_or(late::BYTES, Ordering::SeqCst);
    true
}

/// The link is as fast as any again: where all has arrived what is sent is late no more.
pub fn end(d: &Direction, arena: &Arena, me: Me) {
    let Some(_held) = d.writer.lock.try_acquire(me.owner()).filter(|held| !held.is_nested()) else { return };
    let Some(schedule) = schedule(d, arena) else { return };
    let Some(_scheduling) = schedule.lock(arena, me) else { return };
    if schedule.count() == 0 && d.produced.head.load(Ordering::SeqCst) == d.writer.sent.load(Ordering::SeqCst) {
        d.control.late.fetch_and(!late::BYTES, Ordering::SeqCst);
    }
}

/// As `stream::push`, of bytes that are late. No more than `most` may be under way or unread then; `due` is asked for each
/// segment of `segment_bytes`, with its size, when it arrives; `publishing` is told of what is under way.
#[allow(clippy::too_many_arguments)]
pub fn push(
    d: &Direction,
    arena: &Arena,
    me: Me,
    source: &mut Iov,
    (most, whole): (u64, u64),
    segment_bytes: u64,
    valid: impl Fn() -> bool,
    mut due: impl FnMut(u64) -> Due,
    mut publishing: impl FnMut(u64, &Piece),
    mut published: impl FnMut(),
) -> Result<usize, Refused> {
    let held = d.writer.lock.acquire(me.owner(), &System(arena));
    if !valid() || d.late() & late::BYTES == 0 {
        return Ok(0);
    }
    if held.is_nested() {
        return Ok(stash::keep(d, source));
    }
    let schedule = schedule(d, arena).ok_or(Damaged)?;
    let mut total = 0;
    while source.left() > 0 {
        let head = d.writer.sent.load(Ordering::Relaxed);
        let memory = memory(arena, d.segment(d.produced.segment.load(Ordering::Relaxed)))?;
        let tail = d.consumed.tail.load(Ordering::Acquire);
        let queued = head.checked_sub(tail).ok_or(Damaged)?;
        let room = room_of(&memory, head, tail).ok_or(Damaged)?.min(most.saturating_sub(queued));
        let n = room.min((source.left() as u64).min(CHUNK_BYTES));
        if n == 0 || (total == 0 && !has_room_for(source.left(), room, whole)) {
            break;
        }
        let at = ((head - memory.start) & (memory.bytes - 1)) as usize;
        // SAFETY: as in `stream::push`.
        if unsafe { !source.send_to(memory.at, memory.bytes as usize, at, n as usize) } {
            if total == 0 {
                return Err(Refused::Fault);
            }
            break;
        }
        if !schedule.publish(d, arena, me, head, n, segment_bytes, &mut due) {
            break;
        }
        // SAFETY: as in `stream::push`; nobody writes there while the writer's lock is held.
        publishing(head, &unsafe { Piece::new(memory.at, memory.bytes as usize, at, n as usize) });
        source.advance(n as usize);
        total += n as usize;
        published();
    }
    if total > 0 {
        stream::count(&d.writer.messages);
    }
    drop(held);
    Ok(total)
}

/// As `stream::fill`, of bytes that are late; `most` are read at most, and no more than `most_queued` may be under way or unread.
#[allow(clippy::too_many_arguments)]
pub fn fill<E>(
    d: &Direction,
    arena: &Arena,
    me: Me,
    (most, most_queued): (usize, u64),
    segment_bytes: u64,
    valid: impl Fn() -> bool,
    mut due: impl FnMut(u64) -> Due,
    read: impl FnOnce(*mut u8, usize) -> Result<usize, E>,
    publishing: impl FnOnce(u64, &Piece),
) -> Result<Option<Result<usize, E>>, Damaged> {
    let _held = d.writer.lock.acquire(me.owner(), &System(arena));
    let schedule = schedule(d, arena).ok_or(Damaged)?;
    let head = d.writer.sent.load(Ordering::Relaxed);
    let memory = memory(arena, d.segment(d.produced.segment.load(Ordering::Relaxed)))?;
    let tail = d.consumed.tail.load(Ordering::Acquire);
    let queued = head.checked_sub(tail).ok_or(Damaged)?;
    let at = (head - memory.start) & (memory.bytes - 1);
    let room = room_of(&memory, head, tail).ok_or(Damaged)?.min(most_queued.saturating_sub(queued));
    let n = room.min(memory.bytes - at).min(most as u64);
    if n == 0 || !valid() || d.late() & late::BYTES == 0 {
        return Ok(None);
    }
    // SAFETY: `at + n` lies within the segment's memory.
    let got = read(unsafe { memory.at.add(at as usize) }, n as usize);
    if let Ok(got @ 1..) = got
        && schedule.publish(d, arena, me, head, (got as u64).min(n), segment_bytes, &mut due)
    {
        // SAFETY: as above.
        publishing(head, &unsafe { Piece::new(memory.at, memory.bytes as usize, at as usize, got) });
        stream::count(&d.writer.messages);
    }
    Ok(Some(got))
}

/// The end of file arrives at `due_ns`, behind all that was sent.
pub fn send_fin(d: &Direction, due_ns: u64) {
    d.produced.fin_due_ns.store(due_ns, Ordering::SeqCst);
    d.control.late.fetch_or(late::FIN, Ordering::SeqCst);
}

/// Lets what is due by `now` arrive. Returns when the next is due, `NEVER` where nothing is under way. `healed` is asked where
/// something is held up: when that arrives, `HELD` where it is not known.
#[cold]
pub fn land(d: &Direction, arena: &Arena, me: Me, now: u64, healed: impl Fn() -> u64) -> u64 {
    let mut next = NEVER;
    if d.late() & late::BYTES != 0 {
        next = d.produced.next_due_ns.load(Ordering::SeqCst);
        if next <= now || next == HELD {
            next = land_bytes(d, arena, me, now, &healed);
        }
    }
    if next == NEVER && d.late() & late::FIN != 0 {
        next = land_mark(&d.produced.fin_due_ns, now, &healed);
        if next == NEVER {
            d.produced.fin.swap(1, Ordering::SeqCst);
            d.control.late.fetch_and(!late::FIN, Ordering::SeqCst);
        }
    }
    next
}

/// When what is due at the moment in `word` arrives, `NEVER` where it has.
pub fn land_mark(word: &AtomicU64, now: u64, healed: impl Fn() -> u64) -> u64 {
    let mut due = word.load(Ordering::SeqCst);
    if due == HELD {
        due = healed();
        let _ = word.compare_exchange(HELD, due, Ordering::SeqCst, Ordering::Relaxed);
    }
    if due <= now { NEVER } else { due }
}

fn land_bytes(d: &Direction, arena: &Arena, me: Me, now: u64, healed: impl Fn() -> u64) -> u64 {
    let Some(schedule) = schedule(d, arena) else { return NEVER };
    let Some(_scheduling) = schedule.lock(arena, me) else { return now.saturating_add(SOON_NS) };
    if d.late() & late::BYTES == 0 {
        return NEVER;
    }
    let sent = d.writer.sent.load(Ordering::SeqCst);
    let before = d.produced.head.load(Ordering::SeqCst);
    let (mut head, mut number, mut next) = (before, schedule.first.load(Ordering::Relaxed), NEVER);
    for _ in 0..schedule.count() {
        let Some(entry) = schedule.entry(number) else { break };
        let mut due = entry.due_ns.load(Ordering::Relaxed);
        if due == HELD {
            due = healed();
            entry.due_ns.store(due, Ordering::Relaxed);
        }
        if due > now {
            next = due;
            break;
        }
        head = entry.end.load(Ordering::Relaxed).clamp(head, sent.max(head));
        number = number.wrapping_add(1);
    }
    if next == NEVER {
        // A sender that died in the middle has left bytes without an entry, or an entry without bytes.
        head = sent.max(head);
    }
    if head != before {
        if d.control.is_timed.load(Ordering::Relaxed) != 0 {
            d.produced.came_at.store(ticks(), Ordering::Relaxed);
        }
        d.produced.head.swap(head, Ordering::SeqCst);
    }
    schedule.first.store(number, Ordering::Relaxed);
    d.produced.next_due_ns.store(next, Ordering::SeqCst);
    next
}
