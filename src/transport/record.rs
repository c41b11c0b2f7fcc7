//! The record ring: a direction whose bytes are records, one a datagram or packet, put there by any number of senders.
//!
//! A record is a header of three words or of seven, the datagram, and padding to a multiple of eight bytes:
//!
//! | word | bits | meaning |
//! |---|---|---|
//! | 0 | 0..31 | bytes of the datagram |
//! | | 31 | whether there is more than three words |
//! | | 32..48 | port of the sender |
//! | | 48..56 | hop limit |
//! | | 56..64 | traffic class |
//! | 1, 2 | | address of the sender |
//! | 3, 4 | | address that it was sent to; without it, that of the sender |
//! | 5 | | when it came |
//! | 6 | 0..32 | how many were dropped before it |
//! | | 32 | whether the receiver asked for the interface when it came |
//!
//! The two ends of a connection know one another: of its packets the length alone is looked at. A datagram of AF_UNIX begins
//! with the name of its sender, whose length stands in place of the port.
//!
//! A record lies in one segment, and its place is published by one store: a sender killed before that has sent nothing.

use super::direction::{Direction, SEGMENTS};
use super::iov::Iov;
use super::stream::{self, Damaged, Memory, Refused, memory, room_of};
use crate::shm::Arena;
use crate::shm::lock::Held;
use crate::shm::owner::{Me, System};
use crate::sys::clock::{now_ns, ticks};
use crate::sys::sync::Ordering;

/// Words before the datagram.
const HEADER_WORDS: usize = 3;
const HEADER_BYTES: u64 = 8 * HEADER_WORDS as u64;
/// Words between those and the datagram, where there is more.
const MORE_WORDS: usize = 4;
const MORE_BYTES: u64 = 8 * MORE_WORDS as u64;
const HAS_MORE: u64 = 1 << 31;
/// The most that UDP over IPv4 can carry (RFC 768).
pub const MOST_BYTES: usize = 65_507;
/// A sender that does not get on is waited for this long: it may have been stopped (SIGSTOP).
const PATIENCE_NS: u64 = if cfg!(loom) { u64::MAX } else { 50_000_000 };

/// Who sent a datagram, how large it is, and how it was marked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Header {
    pub bytes: u32,
    pub port: u16,
    /// Hop limit and traffic class: of IPv4 the time to live and the type of service.
    pub hops: u8,
    pub class: u8,
    pub high: u64,
    pub low: u64,
}

/// What is known of a datagram besides, where that is not what one would think.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct More {
    /// Where it was sent to.
    pub to_high: u64,
    pub to_low: u64,
    /// The time when it came, in nanoseconds since 1970; 0 where the receiver did not ask for that.
    pub came_ns: u64,
    /// How many were dropped before it; 0 where the receiver did not ask for that.
    pub drops: u32,
    /// Whether the receiver asked for the interface when it came.
    pub asked_interface: bool,
}

impl Header {
    fn words(&self, has_more: bool) -> [u64; HEADER_WORDS] {
        let marks = u64::from(self.port) << 32 | u64::from(self.hops) << 48 | u64::from(self.class) << 56;
        [u64::from(self.bytes) | marks | if has_more { HAS_MORE } else { 0 }, self.high, self.low]
    }

    /// And whether there is more.
    fn of(words: [u64; HEADER_WORDS]) -> (Header, bool) {
        let [first, high, low] = words;
        let [.., p0, p1, hops, class] = first.to_le_bytes();
        let bytes = (first & (HAS_MORE - 1)) as u32;
        (Header { bytes, port: u16::from_le_bytes([p0, p1]), hops, class, high, low }, first & HAS_MORE != 0)
    }
}

impl More {
    fn words(&self) -> [u64; MORE_WORDS] {
        [self.to_high, self.to_low, self.came_ns, u64::from(self.drops) | u64::from(self.asked_interface) << 32]
    }

    fn of(words: [u64; MORE_WORDS]) -> More {
        let [to_high, to_low, came_ns, last] = words;
        More { to_high, to_low, came_ns, drops: last as u32, asked_interface: last >> 32 & 1 != 0 }
    }
}

/// Bytes that a datagram takes in the ring, with more than its header or without.
pub fn record_bytes(datagram: u64, has_more: bool) -> u64 {
    header_bytes(has_more) + datagram.next_multiple_of(8)
}

pub(super) fn header_bytes(has_more: bool) -> u64 {
    if has_more { HEADER_BYTES + MORE_BYTES } else { HEADER_BYTES }
}

/// What came of a push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It ends at this position.
    Done(u64),
    /// As much is queued as may be.
    Full,
    /// There is no room in the segment; another may be appended.
    NoRoom,
    /// The mailbox is closed, or cannot be used now.
    Gone,
}

/// Takes the senders' lock; `None` where one that does not get on has it.
pub fn hold_back_senders<'a>(d: &'a Direction, arena: &Arena, me: Me) -> Option<Held<'a>> {
    let stuck = STUCK.load(Ordering::Relaxed);
    let mut since = (stuck, 0);
    let held = d.writer.lock.acquire_unless(me.owner(), &System(arena), |owner| {
        if since.0 != owner.0 {
            since = (owner.0, now_ns());
        }
        now_ns().saturating_sub(since.1) > PATIENCE_NS
    });
    if held.is_some() != (stuck == 0) {
        STUCK.store(if held.is_some() { 0 } else { since.0 }, Ordering::Relaxed);
    }
    held
}

/// The sender that this process last waited for in vain: it is not waited for again.
static STUCK: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// Puts one datagram into the ring, whole: all that `source` has. At most `most` bytes may be queued then. `valid` is
/// asked once the lock is held.
#[inline]
pub fn push(d: &Direction, arena: &Arena, me: Me, header: Header, source: &Iov, most: u64, valid: impl Fn() -> bool) -> Result<Pushed, Refused> {
    push_with(d, arena, me, (header, None), source, most, valid)
}

/// The same with more than a header.
#[inline]
pub fn push_with(
    d: &Direction,
    arena: &Arena,
    me: Me,
    (header, more): (Header, Option<&More>),
    source: &Iov,
    most: u64,
    valid: impl Fn() -> bool,
) -> Result<Pushed, Refused> {
    push_written(d, arena, me, (header, more), most, valid, copy_of(&header, source))
}

/// As `push`, of a datagram that begins with the sender's `name`.
#[inline]
pub fn push_named(d: &Direction, arena: &Arena, me: Me, name: &[u8], source: &Iov, most: u64, valid: impl Fn() -> bool) -> Result<Pushed, Refused> {
    let n = source.left();
    let header = Header { bytes: (name.len() + n) as u32, port: name.len() as u16, ..Header::default() };
    push_written(d, arena, me, (header, None), most, valid, |ring: *mut u8, size: usize, at: usize| {
        for (i, &byte) in name.iter().enumerate() {
            // SAFETY: within the ring, a power of two in size; the record fits.
            unsafe { ring.add((at + i) & (size - 1)).write(byte) };
        }
        // SAFETY: as in `copy_of`.
        unsafe { source.send_to(ring, size, (at + name.len()) & (size - 1), n) }
    })
}

/// As `push_with`; `write` as for `put_with`.
#[inline(always)]
pub(super) fn push_written(
    d: &Direction,
    arena: &Arena,
    me: Me,
    header: (Header, Option<&More>),
    most: u64,
    valid: impl Fn() -> bool,
    write: impl FnOnce(*mut u8, usize, usize) -> bool,
) -> Result<Pushed, Refused> {
    let Some(held) = hold_back_senders(d, arena, me).filter(|held| !held.is_nested()) else { return Ok(Pushed::Gone) };
    if !valid() {
        // The ring may be another's by now, and its lock as well.
        held.release(me.owner());
        return Ok(Pushed::Gone);
    }
    let pushed = put_written(d, arena, header, most, write)?;
    if matches!(pushed, Pushed::Done(_)) {
        held.release(me.owner());
    }
    Ok(pushed)
}

/// As `push`, for who holds the senders' lock.
#[inline]
pub fn put(d: &Direction, arena: &Arena, header: Header, source: &Iov, most: u64) -> Result<Pushed, Refused> {
    put_written(d, arena, (header, None), most, copy_of(&header, source))
}

/// As `put`; `write(ring, size, at)` writes the bytes to the ring of `size` bytes from offset `at` on and around its end,
/// and says whether it did.
pub fn put_with(
    d: &Direction,
    arena: &Arena,
    header: Header,
    most: u64,
    write: impl FnOnce(*mut u8, usize, usize) -> bool,
) -> Result<Pushed, Refused> {
    put_written(d, arena, (header, None), most, write)
}

/// Writes what `source` has for a record with this header.
#[inline(always)]
fn copy_of(header: &Header, source: &Iov) -> impl FnOnce(*mut u8, usize, usize) -> bool {
    let n = header.bytes as usize;
    // SAFETY: the memory that `put_written` gives is a segment's, valid for its size, a power of two; the record fits.
    move |ring, size, at| unsafe { source.send_to(ring, size, at, n) }
}

#[inline(always)]
fn put_written(
    d: &Direction,
    arena: &Arena,
    (header, more): (Header, Option<&More>),
    most: u64,
    write: impl FnOnce(*mut u8, usize, usize) -> bool,
) -> Result<Pushed, Refused> {
    let head = d.produced.head.load(Ordering::Relaxed);
    let memory = memory(arena, d.segment(d.produced.segment.load(Ordering::Relaxed)))?;
    let need = record_bytes(u64::from(header.bytes), more.is_some());
    let mut tail = d.writer.tail_seen.load(Ordering::Relaxed);
    // An empty queue takes one, however large.
    let is_allowed = |tail: u64| head == tail || head.wrapping_sub(tail).saturating_add(need) <= most;
    let fits = |tail: u64| is_allowed(tail) && room_of(&memory, head, tail).is_some_and(|room| room >= need);
    if !fits(tail) {
        tail = d.consumed.tail.load(Ordering::Acquire);
        d.writer.tail_seen.store(tail, Ordering::Relaxed);
        head.checked_sub(tail).ok_or(Damaged)?;
        if !is_allowed(tail) {
            return Ok(Pushed::Full);
        }
        if room_of(&memory, head, tail).ok_or(Damaged)? < need {
            return Ok(Pushed::NoRoom);
        }
    }
    put_words(&memory, head, header.words(more.is_some()));
    if let Some(more) = more {
        put_words(&memory, head.wrapping_add(HEADER_BYTES), more.words());
    }
    let first = at(&memory, head.wrapping_add(header_bytes(more.is_some())));
    if !write(memory.at, memory.bytes as usize, first) {
        return Err(Refused::Fault);
    }
    if d.control.is_timed.load(Ordering::Relaxed) != 0 {
        d.produced.came_at.store(ticks(), Ordering::Relaxed);
    }
    stream::count(&d.writer.messages);
    // A read-modify-write, as the fence rule of this floor demands.
    d.produced.head.swap(head.wrapping_add(need), Ordering::SeqCst);
    Ok(Pushed::Done(head.wrapping_add(need)))
}

/// Takes the next datagram into `sink`, as far as there is room for it; with `peek` it stays. `None` where there is none.
#[inline]
pub fn pop(
    d: &Direction,
    arena: &Arena,
    me: Me,
    contended: bool,
    sink: &Iov,
    peek: bool,
    valid: impl Fn() -> bool,
) -> Result<Option<Header>, Refused> {
    pop_with(d, arena, me, contended, (sink, |_| ()), peek, valid)
}

/// The same; `more` is called with what there is more than a header, where there is.
#[inline]
pub fn pop_with(
    d: &Direction,
    arena: &Arena,
    me: Me,
    contended: bool,
    (sink, more): (&Iov, impl FnMut(More)),
    peek: bool,
    valid: impl Fn() -> bool,
) -> Result<Option<Header>, Refused> {
    pop_read(d, arena, me, contended, peek, valid, more, |header, ring, size, at| {
        let n = (header.bytes as usize).min(sink.left());
        // SAFETY: as in `copy_of`; the record was found whole.
        unsafe { sink.receive_from(ring, size, at, n) }
    })
}

/// As `pop`, of a datagram that begins with the sender's name (`push_named`), as much of which as there is room for goes to
/// `name`. The header tells the whole length of both, and that of the name.
#[allow(clippy::too_many_arguments)]
pub fn pop_named(
    d: &Direction,
    arena: &Arena,
    me: Me,
    contended: bool,
    name: &mut [u8],
    sink: &Iov,
    peek: bool,
    valid: impl Fn() -> bool,
) -> Result<Option<Header>, Refused> {
    pop_read(
        d,
        arena,
        me,
        contended,
        peek,
        valid,
        |_| (),
        |header, ring, size, at| {
            let len = u32::from(header.port).min(header.bytes) as usize;
            for (i, byte) in name.iter_mut().enumerate().take(len) {
                // SAFETY: within the ring, a power of two in size.
                *byte = unsafe { ring.add((at + i) & (size - 1)).read() };
            }
            let n = (header.bytes as usize - len).min(sink.left());
            // SAFETY: as in `pop_with`.
            unsafe { sink.receive_from(ring, size, (at + len) & (size - 1), n) }
        },
    )
}

/// As `pop_with`; `copy(header, ring, size, at)` copies the bytes from the ring of `size` bytes, from offset `at` on and
/// around its end.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn pop_read(
    d: &Direction,
    arena: &Arena,
    me: Me,
    contended: bool,
    peek: bool,
    valid: impl Fn() -> bool,
    mut more: impl FnMut(More),
    mut copy: impl FnMut(&Header, *const u8, usize, usize) -> bool,
) -> Result<Option<Header>, Refused> {
    let _held = d.reader.lock.acquire_if(contended, me.owner(), &System(arena));
    loop {
        if !valid() {
            return Ok(None);
        }
        let tail = d.consumed.tail.load(Ordering::Relaxed);
        let Some((memory, header, has_more)) = next(d, arena, tail)? else { return Ok(None) };
        let first = if has_more { read_more(&memory, tail, &mut more) } else { tail.wrapping_add(HEADER_BYTES) };
        let end = first.wrapping_add(u64::from(header.bytes).next_multiple_of(8));
        if !copy(&header, memory.at, memory.bytes as usize, at(&memory, first)) {
            if !peek {
                // It is lost, as the kernel's is.
                let _ = d.consumed.tail.compare_exchange(tail, end, Ordering::SeqCst, Ordering::Relaxed);
            }
            return Err(Refused::Fault);
        }
        // A handler that received from the same socket meanwhile has taken it: the next one then.
        if peek || d.consumed.tail.compare_exchange(tail, end, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            if !peek {
                stream::count(&d.reader.messages);
            }
            return Ok(Some(header));
        }
    }
}

/// Reads what there is more than the header of the record at `tail`; returns where its datagram begins.
#[cold]
pub(super) fn read_more(memory: &Memory, tail: u64, more: &mut impl FnMut(More)) -> u64 {
    let at = tail.wrapping_add(HEADER_BYTES);
    more(More::of(words(memory, at)));
    at.wrapping_add(MORE_BYTES)
}

/// Lets `write(header, ring, size, at)` take the next datagram straight out of the ring of `size` bytes from offset `at` on
/// and around its end; it stays where that says no. Whether there was one, and it was taken.
pub fn take_with(
    d: &Direction,
    arena: &Arena,
    me: Me,
    valid: impl Fn() -> bool,
    write: impl FnOnce(&Header, *mut u8, usize, usize) -> bool,
) -> Result<bool, Damaged> {
    let _held = d.reader.lock.acquire(me.owner(), &System(arena));
    let tail = d.consumed.tail.load(Ordering::Relaxed);
    let Some((memory, header, has_more)) = next(d, arena, tail)?.filter(|_| valid()) else { return Ok(false) };
    let first = tail.wrapping_add(header_bytes(has_more));
    let end = first.wrapping_add(u64::from(header.bytes).next_multiple_of(8));
    let taken = write(&header, memory.at, memory.bytes as usize, at(&memory, first))
        && d.consumed.tail.compare_exchange(tail, end, Ordering::SeqCst, Ordering::Relaxed).is_ok();
    if taken {
        stream::count(&d.reader.messages);
    }
    Ok(taken)
}

/// The header of the next datagram, for one who may be the only reader: others may take it meanwhile.
pub fn look(d: &Direction, arena: &Arena, me: Me, contended: bool) -> Option<Header> {
    let _held = d.reader.lock.acquire_if(contended, me.owner(), &System(arena));
    next(d, arena, d.consumed.tail.load(Ordering::Relaxed)).ok()?.map(|(_, header, _)| header)
}

/// Bytes of all the datagrams that are there, without their headers.
pub fn bytes_of_all(d: &Direction, arena: &Arena, me: Me) -> Result<u64, Damaged> {
    let _held = d.reader.lock.acquire(me.owner(), &System(arena));
    let mut tail = d.consumed.tail.load(Ordering::Relaxed);
    let mut number = d.consumed.segment.load(Ordering::Relaxed);
    let mut bytes = 0;
    while let Some((found, (_, header, has_more))) = find(d, arena, tail, number)? {
        number = found;
        tail = tail.wrapping_add(record_bytes(u64::from(header.bytes), has_more));
        bytes += u64::from(header.bytes);
    }
    Ok(bytes)
}

/// A record: the memory that it lies in, its header, and whether there is more than that.
pub(super) type Found = (Memory, Header, bool);

/// The record at `tail`. Segments that were read to their end are given back.
#[inline(always)]
pub(super) fn next(d: &Direction, arena: &Arena, tail: u64) -> Result<Option<Found>, Damaged> {
    let number = d.consumed.segment.load(Ordering::Relaxed);
    let Some((last, found)) = find(d, arena, tail, number)? else { return Ok(None) };
    if last != number {
        leave_segments(d, arena, number, last);
    }
    Ok(Some(found))
}

#[cold]
fn leave_segments(d: &Direction, arena: &Arena, mut number: u32, last: u32) {
    while number != last {
        stream::release(d, arena, number, number.wrapping_add(1));
        number = number.wrapping_add(1);
    }
}

/// The record at `tail`, and the running number of the segment that it is in: this one or a later one.
#[inline(always)]
pub(super) fn find(d: &Direction, arena: &Arena, tail: u64, mut number: u32) -> Result<Option<(u32, Found)>, Damaged> {
    loop {
        let head = d.produced.head.load(Ordering::Acquire);
        if head == tail {
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
            number = number.wrapping_add(1);
            continue;
        }
        if ready < HEADER_BYTES {
            return Err(Damaged);
        }
        let (header, has_more) = Header::of(words(&memory, tail));
        if record_bytes(u64::from(header.bytes), has_more) > ready {
            return Err(Damaged);
        }
        return Ok(Some((number, (memory, header, has_more))));
    }
}

/// Where a position of the stream lies in a segment.
pub(super) fn at(memory: &Memory, position: u64) -> usize {
    (position.wrapping_sub(memory.start) & (memory.bytes - 1)) as usize
}

pub(super) fn put_words<const N: usize>(memory: &Memory, position: u64, words: [u64; N]) {
    for (i, word) in words.into_iter().enumerate() {
        // SAFETY: within the segment's memory, and aligned: positions are multiples of eight.
        unsafe { memory.at.add(at(memory, position.wrapping_add(8 * i as u64)) & !7).cast::<u64>().write_volatile(word) };
    }
}

pub(super) fn words<const N: usize>(memory: &Memory, position: u64) -> [u64; N] {
    // SAFETY: as in `put_words`.
    core::array::from_fn(|i| unsafe { memory.at.add(at(memory, position.wrapping_add(8 * i as u64)) & !7).cast::<u64>().read_volatile() })
}
