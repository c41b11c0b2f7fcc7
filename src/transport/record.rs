//! The record ring: a direction whose bytes are records, one a datagram or packet, put there by any number of senders.
//!
//! A record is a header of three words, the datagram, and padding to a multiple of eight bytes:
//!
//! | word | bits | meaning |
//! |---|---|---|
//! | 0 | 0..32 | bytes of the datagram |
//! | | 32..48 | port of the sender |
//! | 1, 2 | | address of the sender |
//!
//! The two ends of a connection know one another: the address of its packets is not looked at.
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
/// The most that UDP over IPv4 can carry (RFC 768).
pub const MOST_BYTES: usize = 65_507;
/// A sender that does not get on is waited for this long: it may have been stopped (SIGSTOP).
const PATIENCE_NS: u64 = if cfg!(loom) { u64::MAX } else { 50_000_000 };

/// Who sent a datagram, and how large it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Header {
    pub bytes: u32,
    pub port: u16,
    pub high: u64,
    pub low: u64,
}

impl Header {
    fn words(&self) -> [u64; HEADER_WORDS] {
        [u64::from(self.bytes) | u64::from(self.port) << 32, self.high, self.low]
    }

    fn of(words: [u64; HEADER_WORDS]) -> Header {
        let [first, high, low] = words;
        Header { bytes: first as u32, port: (first >> 32) as u16, high, low }
    }
}

/// Bytes that a datagram takes in the ring.
pub fn record_bytes(datagram: u64) -> u64 {
    HEADER_BYTES + datagram.next_multiple_of(8)
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
    push_with(d, arena, me, header, most, valid, copy_of(&header, source))
}

/// As `push`; `write` as for `put_with`.
#[inline(always)]
fn push_with(
    d: &Direction,
    arena: &Arena,
    me: Me,
    header: Header,
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
    let pushed = put_with(d, arena, header, most, write)?;
    if matches!(pushed, Pushed::Done(_)) {
        held.release(me.owner());
    }
    Ok(pushed)
}

/// Writes what `source` has for a record with this header.
fn copy_of(header: &Header, source: &Iov) -> impl FnOnce(*mut u8, usize, usize) -> bool {
    let n = header.bytes as usize;
    // SAFETY: the memory that `put_with` gives is a segment's, valid for its size, a power of two; the record fits.
    move |ring, size, at| unsafe { source.send_to(ring, size, at, n) }
}

/// As `push`, of a datagram that begins with the sender's `name`, whose length is told in place of a port.
#[allow(clippy::too_many_arguments)]
pub fn push_named(d: &Direction, arena: &Arena, me: Me, name: &[u8], source: &Iov, most: u64, valid: impl Fn() -> bool) -> Result<Pushed, Refused> {
    let n = source.left();
    let header = Header { bytes: (name.len() + n) as u32, port: name.len() as u16, ..Header::default() };
    push_with(d, arena, me, header, most, valid, |ring: *mut u8, size: usize, at: usize| {
        for (i, &byte) in name.iter().enumerate() {
            // SAFETY: within the ring, a power of two in size; the record fits.
            unsafe { ring.add((at + i) & (size - 1)).write(byte) };
        }
        // SAFETY: as in `put`.
        unsafe { source.send_to(ring, size, (at + name.len()) & (size - 1), n) }
    })
}

/// As `push`, for who holds the senders' lock.
#[inline]
pub fn put(d: &Direction, arena: &Arena, header: Header, source: &Iov, most: u64) -> Result<Pushed, Refused> {
    put_with(d, arena, header, most, copy_of(&header, source))
}

/// As `put`; `write(ring, size, at)` writes the bytes to the ring of `size` bytes from offset `at` on and around its end,
/// and says whether it did.
#[inline(always)]
pub fn put_with(
    d: &Direction,
    arena: &Arena,
    header: Header,
    most: u64,
    write: impl FnOnce(*mut u8, usize, usize) -> bool,
) -> Result<Pushed, Refused> {
    let head = d.produced.head.load(Ordering::Relaxed);
    let memory = memory(arena, d.segment(d.produced.segment.load(Ordering::Relaxed)))?;
    let need = record_bytes(u64::from(header.bytes));
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
    put_words(&memory, head, header.words());
    if !write(memory.at, memory.bytes as usize, at(&memory, head.wrapping_add(HEADER_BYTES))) {
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
    pop_with(d, arena, me, contended, peek, valid, |header, ring, size, at| {
        let n = (header.bytes as usize).min(sink.left());
        // SAFETY: as in `put`; the record was found whole.
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
    pop_with(d, arena, me, contended, peek, valid, |header, ring, size, at| {
        let len = u32::from(header.port).min(header.bytes) as usize;
        for (i, byte) in name.iter_mut().enumerate().take(len) {
            // SAFETY: within the ring, a power of two in size.
            *byte = unsafe { ring.add((at + i) & (size - 1)).read() };
        }
        let n = (header.bytes as usize - len).min(sink.left());
        // SAFETY: as in `pop`.
        unsafe { sink.receive_from(ring, size, (at + len) & (size - 1), n) }
    })
}

/// As `pop`; `copy(header, ring, size, at)` copies the bytes from the ring of `size` bytes, from offset `at` on and around
/// its end.
#[inline(always)]
fn pop_with(
    d: &Direction,
    arena: &Arena,
    me: Me,
    contended: bool,
    peek: bool,
    valid: impl Fn() -> bool,
    mut copy: impl FnMut(&Header, *const u8, usize, usize) -> bool,
) -> Result<Option<Header>, Refused> {
    let _held = d.reader.lock.acquire_if(contended, me.owner(), &System(arena));
    loop {
        if !valid() {
            return Ok(None);
        }
        let tail = d.consumed.tail.load(Ordering::Relaxed);
        let Some((memory, header)) = next(d, arena, tail)? else { return Ok(None) };
        let end = tail.wrapping_add(record_bytes(u64::from(header.bytes)));
        if !copy(&header, memory.at, memory.bytes as usize, at(&memory, tail.wrapping_add(HEADER_BYTES))) {
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
    let Some((memory, header)) = next(d, arena, tail)?.filter(|_| valid()) else { return Ok(false) };
    let end = tail.wrapping_add(record_bytes(u64::from(header.bytes)));
    let taken = write(&header, memory.at, memory.bytes as usize, at(&memory, tail.wrapping_add(HEADER_BYTES)))
        && d.consumed.tail.compare_exchange(tail, end, Ordering::SeqCst, Ordering::Relaxed).is_ok();
    if taken {
        stream::count(&d.reader.messages);
    }
    Ok(taken)
}

/// The header of the next datagram, for one who may be the only reader: others may take it meanwhile.
pub fn look(d: &Direction, arena: &Arena, me: Me, contended: bool) -> Option<Header> {
    let _held = d.reader.lock.acquire_if(contended, me.owner(), &System(arena));
    next(d, arena, d.consumed.tail.load(Ordering::Relaxed)).ok()?.map(|(_, header)| header)
}

/// Bytes of all the datagrams that are there, without their headers.
pub fn bytes_of_all(d: &Direction, arena: &Arena, me: Me) -> Result<u64, Damaged> {
    let _held = d.reader.lock.acquire(me.owner(), &System(arena));
    let mut tail = d.consumed.tail.load(Ordering::Relaxed);
    let mut number = d.consumed.segment.load(Ordering::Relaxed);
    let mut bytes = 0;
    while let Some((found, _, header)) = find(d, arena, tail, number)? {
        number = found;
        tail = tail.wrapping_add(record_bytes(u64::from(header.bytes)));
        bytes += u64::from(header.bytes);
    }
    Ok(bytes)
}

/// The record at `tail`, with the memory that it lies in. Segments that were read to their end are given back.
fn next(d: &Direction, arena: &Arena, tail: u64) -> Result<Option<(Memory, Header)>, Damaged> {
    let number = d.consumed.segment.load(Ordering::Relaxed);
    let Some((found, memory, header)) = find(d, arena, tail, number)? else { return Ok(None) };
    for read in 0..found.wrapping_sub(number) {
        let read = number.wrapping_add(read);
        stream::release(d, arena, read, read.wrapping_add(1));
    }
    Ok(Some((memory, header)))
}

/// The record at `tail`, which is in the segment with this running number or a later one.
fn find(d: &Direction, arena: &Arena, tail: u64, mut number: u32) -> Result<Option<(u32, Memory, Header)>, Damaged> {
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
        let header = Header::of(words(&memory, tail));
        if record_bytes(u64::from(header.bytes)) > ready {
            return Err(Damaged);
        }
        return Ok(Some((number, memory, header)));
    }
}

/// Where a position of the stream lies in a segment.
fn at(memory: &Memory, position: u64) -> usize {
    (position.wrapping_sub(memory.start) & (memory.bytes - 1)) as usize
}

fn put_words(memory: &Memory, position: u64, words: [u64; HEADER_WORDS]) {
    for (i, word) in words.into_iter().enumerate() {
        // SAFETY: within the segment's memory, and aligned: positions are multiples of eight.
        unsafe { memory.at.add(at(memory, position.wrapping_add(8 * i as u64)) & !7).cast::<u64>().write_volatile(word) };
    }
}

fn words(memory: &Memory, position: u64) -> [u64; HEADER_WORDS] {
    // SAFETY: as in `put_words`.
    core::array::from_fn(|i| unsafe { memory.at.add(at(memory, position.wrapping_add(8 * i as u64)) & !7).cast::<u64>().read_volatile() })
}
