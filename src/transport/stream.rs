//! The stream ring: push and pop on a direction.
//!
//! The memory is a chain of segments. A writer that finds its segment full may append another (`append`);
//! a reader that has emptied one that is not the last gives it back and goes on in the next. While the
//! reader keeps up, both go round in one segment that stays in the processors' caches.
//!
//! Head and tail count bytes from the beginning of the stream and are moved by one compare-and-swap at the
//! end of an operation: a process killed before it has done nothing, and an operation that was interrupted
//! by a signal handler using the same socket notices and starts over.

use super::direction::{Direction, SEGMENTS, Segment};
use super::iov::{Iov, Piece};
use crate::shm::Arena;
use crate::shm::arena::TableLock;
use crate::shm::blocks::{self, Block, Class};
use crate::shm::owner::{Me, System};
use crate::sys::clock::ticks;
use crate::sys::sync::{AtomicU64, Ordering};

/// Published at a time, so that the reader copies the beginning of a large write while its end is copied in.
const CHUNK_BYTES: u64 = if cfg!(loom) { 2 } else { 64 << 10 };
/// A message up to this size always goes into the ring whole or not at all.
pub const WHOLE_BYTES: u64 = if cfg!(loom) { 0 } else { 2 << 10 };
/// The same where others may write, whose messages it must not mix with, as long as there is room to be made.
pub const WHOLE_AMONG_OTHERS_BYTES: u64 = if cfg!(loom) { 0 } else { 16 << 10 };
/// Writes of this size begin anew where they can (`rewind`).
pub(super) const REWIND_BYTES: u64 = if cfg!(loom) { 2 } else { 16 << 10 };

/// The arena holds values that cannot be: the circuit is to be reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

/// Why nothing was moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    Damaged,
    /// The program's buffer is not there.
    Fault,
}

impl From<Damaged> for Refused {
    fn from(_: Damaged) -> Refused {
        Refused::Damaged
    }
}

/// A segment's memory.
pub(super) struct Memory {
    pub(super) at: *mut u8,
    pub(super) bytes: u64,
    pub(super) start: u64,
}

#[inline(always)]
pub(super) fn memory(arena: &Arena, segment: &Segment) -> Result<Memory, Damaged> {
    let block = Block(segment.block.load(Ordering::Relaxed));
    let at = blocks::memory(arena, block).ok_or(Damaged)?;
    Ok(Memory { at, bytes: block.bytes(), start: segment.start.load(Ordering::Relaxed) })
}

/// Copies from `source` into the ring and publishes, as far as there is room in the current segment.
/// `contended` says that other threads or processes may use the direction's sending end at the same time.
/// A message of up to `whole` bytes is taken whole or not at all. `valid` is asked once the lock is held, `publishing`
/// called before each publication, with its position in the stream and its bytes, and `published` after it. Returns the
/// bytes taken.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn push(
    d: &Direction,
    arena: &Arena,
    me: Me,
    contended: bool,
    source: &mut Iov,
    whole: u64,
    valid: impl Fn() -> bool,
    mut publishing: impl FnMut(u64, &Piece),
    mut published: impl FnMut(),
) -> Result<usize, Refused> {
    let held = d.writer.lock.acquire_if(contended, me.owner(), &System(arena));
    if !valid() {
        return Ok(0);
    }
    if held.is_nested() {
        // The operation that a signal interrupted may be in the middle of copying to where these bytes
        // would go.
        return Ok(stash::keep(d, source));
    }
    let mut total = 0;
    loop {
        let head = d.produced.head.load(Ordering::Relaxed);
        let mut memory = memory(arena, d.segment(d.produced.segment.load(Ordering::Relaxed)))?;
        let want = (source.left() as u64).min(CHUNK_BYTES);
        if want >= REWIND_BYTES {
            rewind(d, &mut memory, head);
        }
        let mut room = room_of(&memory, head, d.writer.tail_seen.load(Ordering::Relaxed)).unwrap_or(0);
        if room < want {
            let tail = d.consumed.tail.load(Ordering::Acquire);
            d.writer.tail_seen.store(tail, Ordering::Relaxed);
            room = room_of(&memory, head, tail).ok_or(Damaged)?;
        }
        let n = room.min(want);
        if n == 0 || (total == 0 && !has_room_for(source.left(), room, whole)) {
            break;
        }
        let at = ((head - memory.start) & (memory.bytes - 1)) as usize;
        // SAFETY: the segment's memory is valid for its size, a power of two; `n` is at most that.
        if unsafe { !source.send_to(memory.at, memory.bytes as usize, at, n as usize) } {
            if total == 0 {
                return Err(Refused::Fault);
            }
            break;
        }
        // SAFETY: as above.
        publishing(head, &unsafe { Piece::new(memory.at, memory.bytes as usize, at, n as usize) });
        if d.control.is_timed.load(Ordering::Relaxed) != 0 {
            d.produced.came_at.store(ticks(), Ordering::Relaxed);
        }
        if d.produced.head.compare_exchange(head, head.wrapping_add(n), Ordering::SeqCst, Ordering::Relaxed).is_err() {
            continue;
        }
        source.advance(n as usize);
        total += n as usize;
        published();
        if source.left() == 0 {
            break;
        }
    }
    if total > 0 {
        count(&d.writer.messages);
    }
    drop(held);
    Ok(total)
}

/// Whether `push` takes anything of a message of `bytes` where there is so much room; `whole` as there.
#[inline(always)]
pub fn has_room_for(bytes: usize, room: u64, whole: u64) -> bool {
    room >= if bytes as u64 <= whole { bytes as u64 } else { 1 }
}

/// A writer of something large that finds everything read goes back to the beginning of its segment, which
/// is still in the caches, instead of on through the rest of it: by a new segment in the same block.
fn rewind(d: &Direction, memory: &mut Memory, head: u64) {
    let at = (head - memory.start.min(head)) & (memory.bytes - 1);
    if at == 0 || memory.bytes - at >= 2 * CHUNK_BYTES || d.consumed.tail.load(Ordering::Acquire) != head {
        return;
    }
    let number = d.produced.segment.load(Ordering::Relaxed);
    if number.wrapping_sub(d.consumed.segment.load(Ordering::Acquire)) as usize >= SEGMENTS - 2 {
        return;
    }
    let next = d.segment(number.wrapping_add(1));
    next.start.store(head, Ordering::Relaxed);
    next.block.store(d.segment(number).block.load(Ordering::Relaxed), Ordering::Relaxed);
    d.produced.segment.store(number.wrapping_add(1), Ordering::Release);
    memory.start = head;
}

/// What signal handlers wrote to a socket in the middle of a write to the same socket: sent when that is done.
pub mod stash {
    use core::cell::RefCell;
    use core::sync::atomic::{AtomicBool, Ordering};
    use libc::iovec;

    use crate::transport::direction::Direction;
    use crate::transport::iov::Iov;

    const BYTES: usize = 512;
    /// Directions that a thread can keep something for at once: writes interrupted within one another.
    const KEPT: usize = 4;

    /// Whether any thread of this process keeps something.
    static ANY: AtomicBool = AtomicBool::new(false);

    #[derive(Clone, Copy)]
    struct Kept {
        /// The address of the direction that it is for.
        direction: usize,
        len: usize,
        bytes: [u8; BYTES],
    }

    thread_local! {
        static ALL: RefCell<[Kept; KEPT]> = const { RefCell::new([Kept { direction: 0, len: 0, bytes: [0; BYTES] }; KEPT]) };
    }

    fn name(d: &Direction) -> usize {
        core::ptr::from_ref(d).addr()
    }

    /// Keeps as much of `source` as there is place for; returns how much.
    pub fn keep(d: &Direction, source: &mut Iov) -> usize {
        ALL.with(|all| {
            let Ok(mut all) = all.try_borrow_mut() else { return 0 };
            let mine = all.iter().position(|k| k.len > 0 && k.direction == name(d)).or_else(|| all.iter().position(|k| k.len == 0));
            let Some(kept) = mine.and_then(|i| all.get_mut(i)) else { return 0 };
            kept.direction = name(d);
            let n = source.left().min(BYTES - kept.len.min(BYTES));
            // SAFETY: `len + n` bytes fit.
            if unsafe { !source.send_to(kept.bytes.as_mut_ptr().add(kept.len), BYTES, 0, n) } {
                return 0;
            }
            source.advance(n);
            kept.len += n;
            ANY.store(true, Ordering::Relaxed);
            n
        })
    }

    /// Whether nothing is kept for `d`.
    #[inline]
    pub fn is_empty(d: &Direction) -> bool {
        !ANY.load(Ordering::Relaxed) || take(d, false).is_none()
    }

    fn take(d: &Direction, away: bool) -> Option<Kept> {
        ALL.with(|all| {
            let mut all = all.try_borrow_mut().ok()?;
            let kept = all.iter_mut().find(|k| k.len > 0 && k.direction == name(d))?;
            let copy = *kept;
            if away {
                kept.len = 0;
            }
            Some(copy)
        })
    }

    /// Calls `send` with what is kept for `d`; what it does not take stays.
    pub fn flush(d: &Direction, send: impl FnOnce(&mut Iov)) {
        let Some(mut kept) = take(d, true) else { return };
        let buffers = [iovec { iov_base: kept.bytes.as_mut_ptr().cast(), iov_len: kept.len }];
        // SAFETY: `kept` lives until the end of this function.
        if let Ok(mut source) = unsafe { Iov::new(&buffers) } {
            send(&mut source);
            keep(d, &mut source);
        }
    }
}

/// One message more: only ever under the lock of its end.
#[inline]
pub(super) fn count(messages: &AtomicU64) {
    messages.store(messages.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Room in a segment for a writer at `head` when the reader is at `tail`.
#[inline]
pub(super) fn room_of(memory: &Memory, head: u64, tail: u64) -> Option<u64> {
    memory.bytes.checked_sub(head.checked_sub(tail.max(memory.start))?)
}

/// Room for a sender in the current segment.
pub fn room(d: &Direction, arena: &Arena) -> Result<u64, Damaged> {
    let head = d.sent();
    let memory = memory(arena, d.segment(d.produced.segment.load(Ordering::SeqCst)))?;
    match room_of(&memory, head, d.consumed.tail.load(Ordering::SeqCst)) {
        Some(room) => Ok(room),
        // Another writer moved between the loads: not damage unless it stays.
        None => Ok(0),
    }
}

/// The class of the current segment.
pub fn class(d: &Direction) -> Class {
    Block(d.segment(d.produced.segment.load(Ordering::Relaxed)).block.load(Ordering::Relaxed)).class()
}

/// Appends a segment of `class` for the bytes from head on. The first one makes the ring usable. False
/// where there is no room, in the chain or in the arena, or where `valid`, asked with both locks held, says no.
pub fn append(d: &Direction, arena: &Arena, me: Me, class: Class, circuit: u32, valid: impl Fn() -> bool) -> bool {
    // Signals are held off by the table lock: no handler comes between the choice of head and the store.
    let Some(table) = arena.try_lock() else { return false };
    let Some(held) = d.writer.lock.try_acquire(me.owner()) else { return false };
    if held.is_nested() {
        return false;
    }
    if !valid() {
        return false;
    }
    let number = d.produced.segment.load(Ordering::Relaxed);
    let is_first = d.segment(number).block.load(Ordering::Relaxed) == 0;
    let oldest = d.consumed.segment.load(Ordering::Acquire);
    if !is_first && number.wrapping_sub(oldest) as usize >= SEGMENTS - 1 {
        return false;
    }
    let Some(block) = blocks::allocate(&table, class, circuit) else { return false };
    let number = if is_first { number } else { number.wrapping_add(1) };
    let segment = d.segment(number);
    segment.start.store(d.sent(), Ordering::Relaxed);
    segment.block.store(block.0, Ordering::Relaxed);
    d.produced.segment.store(number, Ordering::Release);
    true
}

fn has_memory(d: &Direction) -> bool {
    d.segment(d.produced.segment.load(Ordering::Relaxed)).block.load(Ordering::Acquire) != 0
}

/// Gives a direction its first block, if it has none. False where there is no room in the arena; `None` where that
/// could not be tried just now.
pub fn begin(d: &Direction, arena: &Arena, me: Me, circuit: u32) -> Option<bool> {
    if has_memory(d) {
        return Some(true);
    }
    let table = arena.try_lock()?;
    let _held = d.writer.lock.try_acquire(me.owner()).filter(|held| !held.is_nested())?;
    Some(has_memory(d) || begin_locked(d, &table, circuit))
}

/// The same of a direction that nobody else knows yet, with the table lock held.
pub fn begin_locked(d: &Direction, table: &TableLock, circuit: u32) -> bool {
    let segment = d.segment(d.produced.segment.load(Ordering::Relaxed));
    let Some(block) = blocks::allocate(table, 0, circuit) else { return false };
    segment.start.store(d.produced.head.load(Ordering::Relaxed), Ordering::Relaxed);
    segment.block.store(block.0, Ordering::Release);
    true
}

/// Copies from the ring to `sink` as far as both go, and at most `most` bytes. With `peek` nothing is taken.
/// `valid` is asked once the lock is held. Returns the bytes copied.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn pop(
    d: &Direction,
    arena: &Arena,
    me: Me,
    contended: bool,
    sink: &mut Iov,
    most: usize,
    peek: bool,
    valid: impl Fn() -> bool,
) -> Result<usize, Refused> {
    let held = d.reader.lock.acquire_if(contended, me.owner(), &System(arena));
    if !valid() {
        return Ok(0);
    }
    let mut tail = d.consumed.tail.load(Ordering::Relaxed);
    let mut number = d.consumed.segment.load(Ordering::Relaxed);
    let mut total = 0;
    while sink.left().min(most - total) > 0 {
        let want = sink.left().min(most - total) as u64;
        let mut head = d.reader.head_seen.load(Ordering::Relaxed);
        if head <= tail || head - tail < want {
            head = d.produced.head.load(Ordering::Acquire);
            d.reader.head_seen.store(head, Ordering::Relaxed);
        }
        if head == tail {
            break;
        }
        let memory = memory(arena, d.segment(number))?;
        let last = d.produced.segment.load(Ordering::Acquire);
        let end = if number == last { head } else { d.segment(number.wrapping_add(1)).start.load(Ordering::Relaxed).min(head) };
        let ready = end.checked_sub(tail).filter(|&n| n <= memory.bytes && tail >= memory.start).ok_or(Damaged)?;
        if ready == 0 {
            // The writer went on in the next segment, and this one is read to its end.
            if last.wrapping_sub(number) as usize >= SEGMENTS {
                return Err(Refused::Damaged);
            }
            let next = number.wrapping_add(1);
            if !peek {
                release(d, arena, number, next);
            }
            number = next;
            continue;
        }
        let n = ready.min(want);
        // SAFETY: as in `push`.
        if unsafe { !sink.receive_from(memory.at, memory.bytes as usize, ((tail - memory.start) & (memory.bytes - 1)) as usize, n as usize) } {
            if total == 0 {
                return Err(Refused::Fault);
            }
            break;
        }
        if !peek && d.consumed.tail.compare_exchange(tail, tail + n, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            tail = d.consumed.tail.load(Ordering::Relaxed);
            number = d.consumed.segment.load(Ordering::Relaxed);
            continue;
        }
        sink.advance(n as usize);
        tail += n;
        total += n as usize;
    }
    if total > 0 && !peek {
        count(&d.reader.messages);
    }
    drop(held);
    Ok(total)
}

/// Moves the reader on to segment `next` and gives the memory of the one before it back.
#[cold]
pub(super) fn release(d: &Direction, arena: &Arena, number: u32, next: u32) {
    let block = Block(d.segment(number).block.load(Ordering::Relaxed));
    let goes_on = d.segment(next).block.load(Ordering::Relaxed) == block.0;
    if d.consumed.segment.compare_exchange(number, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        && !goes_on
        && let Some(table) = arena.try_lock()
    {
        blocks::free(&table, block);
    }
}

/// Lets `read` write straight into the ring: it gets a place and its length, and says how many bytes it
/// put there. At most `most` bytes, and at most to the end of the free piece. `publishing` as for `push`. Returns
/// `None` where there is no room, else what `read` said.
pub fn fill<E>(
    d: &Direction,
    arena: &Arena,
    me: Me,
    most: usize,
    valid: impl Fn() -> bool,
    read: impl FnOnce(*mut u8, usize) -> Result<usize, E>,
    publishing: impl FnOnce(u64, &Piece),
) -> Result<Option<Result<usize, E>>, Damaged> {
    let _held = d.writer.lock.acquire(me.owner(), &System(arena));
    let head = d.produced.head.load(Ordering::Relaxed);
    let memory = memory(arena, d.segment(d.produced.segment.load(Ordering::Relaxed)))?;
    let room = room_of(&memory, head, d.consumed.tail.load(Ordering::Acquire)).ok_or(Damaged)?;
    let at = (head - memory.start) & (memory.bytes - 1);
    let n = room.min(memory.bytes - at).min(most as u64);
    if n == 0 || !valid() {
        return Ok(None);
    }
    // SAFETY: `at + n` lies within the segment's memory.
    let got = read(unsafe { memory.at.add(at as usize) }, n as usize);
    if let Ok(got) = got.as_ref().map(|&got| (got as u64).min(n))
        && got > 0
    {
        // SAFETY: as above.
        publishing(head, &unsafe { Piece::new(memory.at, memory.bytes as usize, at as usize, got as usize) });
    }
    if let Ok(got) = got
        && d.produced.head.compare_exchange(head, head.wrapping_add((got as u64).min(n)), Ordering::SeqCst, Ordering::Relaxed).is_ok()
    {
        count(&d.writer.messages);
    }
    Ok(Some(got))
}

/// Lets `write` take bytes straight out of the ring: the counterpart of `fill`.
pub fn drain<E>(
    d: &Direction,
    arena: &Arena,
    me: Me,
    most: usize,
    valid: impl Fn() -> bool,
    write: impl FnOnce(*const u8, usize) -> Result<usize, E>,
) -> Result<Option<Result<usize, E>>, Damaged> {
    let _held = d.reader.lock.acquire(me.owner(), &System(arena));
    loop {
        let tail = d.consumed.tail.load(Ordering::Relaxed);
        let head = d.produced.head.load(Ordering::Acquire);
        let number = d.consumed.segment.load(Ordering::Relaxed);
        if head == tail || !valid() {
            return Ok(None);
        }
        let memory = memory(arena, d.segment(number))?;
        let last = d.produced.segment.load(Ordering::Acquire);
        let end = if number == last { head } else { d.segment(number.wrapping_add(1)).start.load(Ordering::Relaxed).min(head) };
        let ready = end.checked_sub(tail).filter(|&n| n <= memory.bytes && tail >= memory.start).ok_or(Damaged)?;
        if ready == 0 {
            if last.wrapping_sub(number) as usize >= SEGMENTS {
                return Err(Damaged);
            }
            release(d, arena, number, number.wrapping_add(1));
            continue;
        }
        let at = (tail - memory.start) & (memory.bytes - 1);
        let n = ready.min(memory.bytes - at).min(most as u64);
        // SAFETY: as in `fill`.
        let done = write(unsafe { memory.at.add(at as usize) }, n as usize);
        if let Ok(done) = done
            && d.consumed.tail.compare_exchange(tail, tail + (done as u64).min(n), Ordering::SeqCst, Ordering::Relaxed).is_ok()
        {
            count(&d.reader.messages);
        }
        return Ok(Some(done));
    }
}
