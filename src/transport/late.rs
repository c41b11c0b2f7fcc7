//! Datagrams under way: they wait, in the direction of a mailbox that is else unused, until they arrive.
//!
//! Each is a record as in the mailbox itself, whose bytes begin with the moment when it arrives. Datagrams of different senders
//! are late by different times, and those of one may overtake each other, so they are not taken in the order in which they lie
//! there: whoever looks into the mailbox moves those that are due there first, in the order in which they are due (`land`). A
//! record that was moved is marked, and given up with those before it.
//!
//! The senders' lock of that direction guards all of it.

use super::direction::{Direction, NEVER, late};
use super::iov::Iov;
use super::record::{self, Header, More, Pushed, at, find, header_bytes, hold_back_senders, next, put_words, read_more, record_bytes, words};
use super::stream::{self, Damaged, Memory, Refused};
use crate::shm::owner::Me;
use crate::shm::{Arena, blocks};
use crate::sys::clock::realtime_ns;
use crate::sys::sync::Ordering;

/// Bytes of the moment before a datagram's own.
const DUE_BYTES: usize = 8;
/// In place of that: it was moved.
const MOVED: u64 = 0;
/// So many are put in order at once.
const AT_ONCE: usize = 32;
/// When a look that could not be made is made again.
const SOON_NS: u64 = 1_000_000;

/// A mailbox: what has arrived, what is under way, and the circuit that both belong to.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    pub arena: &'a Arena,
    pub mailbox: &'a Direction,
    pub under_way: &'a Direction,
    pub circuit: u32,
}

/// What a link does to a datagram that comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Late {
    pub due_ns: u64,
    /// This bit of it, counted modulo those that it has, is wrong.
    pub wrong_bit: Option<u64>,
}

impl Post<'_> {
    /// Puts one datagram on its way, whole: all that `source` has. At most `most` bytes may be under way then.
    pub fn send(
        &self,
        me: Me,
        (header, more): (Header, Option<&More>),
        source: &Iov,
        late: Late,
        most: u64,
        valid: impl Fn() -> bool,
    ) -> Result<Pushed, Refused> {
        if stream::begin(self.under_way, self.arena, me, self.circuit) != Some(true) {
            return Ok(Pushed::Full);
        }
        let n = source.left();
        let header = Header { bytes: (DUE_BYTES + n) as u32, ..header };
        let write = |ring: *mut u8, size: usize, at: usize| {
            // SAFETY: the memory that is given is a segment's, valid for its size, a power of two; the record fits, and lies at a
            // multiple of eight.
            unsafe {
                ring.add(at & (size - 1) & !7).cast::<u64>().write_volatile(late.due_ns.max(MOVED + 1));
                let at = at + DUE_BYTES;
                if !source.send_to(ring, size, at & (size - 1), n) {
                    return false;
                }
                if let Some(bit) = late.wrong_bit.filter(|_| n > 0) {
                    let byte = ring.add((at + (bit / 8) as usize % n) & (size - 1));
                    byte.write_volatile(byte.read_volatile() ^ 1 << (bit % 8));
                }
            }
            true
        };
        let push = || record::push_written(self.under_way, self.arena, me, (header, more), most, &valid, write);
        let mut pushed = push()?;
        if pushed == Pushed::NoRoom
            && make_room(self.under_way, self.arena, me, self.circuit, record_bytes(header.bytes.into(), more.is_some()), &valid)
        {
            pushed = push()?;
        }
        if let Pushed::Done(_) = pushed {
            let word = &self.mailbox.produced.next_due_ns;
            let mut known = word.load(Ordering::SeqCst);
            while let Err(now) = word.compare_exchange(known, known.min(late.due_ns), Ordering::SeqCst, Ordering::SeqCst) {
                known = now;
            }
            self.mailbox.control.late.fetch_or(late::DATAGRAMS, Ordering::SeqCst);
        }
        Ok(pushed)
    }

    /// Moves what is due by `now` into the mailbox, which holds `most` bytes: what finds no room there is dropped, and counted.
    /// Returns when the next is due, `NEVER` where nothing is under way.
    #[cold]
    pub fn land(&self, me: Me, now: u64, most: u64, valid: impl Fn() -> bool) -> u64 {
        if self.mailbox.control.late.load(Ordering::SeqCst) & late::DATAGRAMS == 0 {
            return NEVER;
        }
        let due = self.mailbox.produced.next_due_ns.load(Ordering::SeqCst);
        if due > now {
            return due;
        }
        let Some(held) = hold_back_senders(self.under_way, self.arena, me).filter(|held| !held.is_nested()) else {
            return now.saturating_add(SOON_NS);
        };
        if !valid() {
            held.release(me.owner());
            return NEVER;
        }
        let next = self.land_all(me, now, most, &valid).unwrap_or(NEVER);
        self.mailbox.produced.next_due_ns.store(next, Ordering::SeqCst);
        if next == NEVER {
            self.mailbox.control.late.fetch_and(!late::DATAGRAMS, Ordering::SeqCst);
        }
        held.release(me.owner());
        next
    }

    fn land_all(&self, me: Me, now: u64, most: u64, valid: impl Fn() -> bool) -> Result<u64, Damaged> {
        loop {
            let (due, count, next) = self.due(now)?;
            for &(_, position, segment) in due.iter().take(count) {
                self.land_one(me, position, segment, most, &valid)?;
            }
            self.give_up_moved()?;
            if count < AT_ONCE {
                return Ok(next);
            }
        }
    }

    /// Those that are due soonest, by `now`, in order, each with its position and its segment; how many; and when the next is.
    #[allow(clippy::type_complexity)]
    fn due(&self, now: u64) -> Result<([(u64, u64, u32); AT_ONCE], usize, u64), Damaged> {
        let (mut due, mut count, mut next) = ([(0, 0, 0); AT_ONCE], 0, NEVER);
        let mut position = self.under_way.consumed.tail.load(Ordering::Relaxed);
        let mut segment = self.under_way.consumed.segment.load(Ordering::Relaxed);
        while let Some((found, (memory, header, has_more))) = find(self.under_way, self.arena, position, segment)? {
            segment = found;
            let [moment] = words(&memory, position.wrapping_add(header_bytes(has_more)));
            if moment > now {
                next = next.min(moment);
            } else if moment != MOVED {
                // What is due at the same moment keeps its order.
                let at = due.iter().take(count).position(|&(other, ..)| other > moment).unwrap_or(count);
                if at < AT_ONCE {
                    let end = (count + 1).min(AT_ONCE);
                    due[at..end].rotate_right(1);
                    due[at] = (moment, position, segment);
                    count = end;
                }
            }
            position = position.wrapping_add(record_bytes(header.bytes.into(), has_more));
        }
        Ok((due, count, next))
    }

    /// Moves one into the mailbox.
    fn land_one(&self, me: Me, position: u64, segment: u32, most: u64, valid: impl Fn() -> bool) -> Result<(), Damaged> {
        let Some((_, (memory, header, has_more))) = find(self.under_way, self.arena, position, segment)? else { return Ok(()) };
        let mut more = None;
        let mark = if has_more { read_more(&memory, position, &mut |m| more = Some(m)) } else { position.wrapping_add(header_bytes(false)) };
        let n = (header.bytes as usize).checked_sub(DUE_BYTES).ok_or(Damaged)?;
        let header = Header { bytes: n as u32, ..header };
        let more = more.map(|m: More| More { came_ns: if m.came_ns == 0 { 0 } else { realtime_ns() }, ..m });
        let from = mark.wrapping_add(DUE_BYTES as u64);
        let write = |ring: *mut u8, size: usize, to: usize| {
            copy_around(&memory, from, ring, size, to, n);
            true
        };
        let push = || record::push_written(self.mailbox, self.arena, me, (header, more.as_ref()), most, &valid, write);
        let mut pushed = push();
        if pushed == Ok(Pushed::NoRoom) && make_room(self.mailbox, self.arena, me, self.circuit, record_bytes(n as u64, has_more), &valid) {
            pushed = push();
        }
        if !matches!(pushed, Ok(Pushed::Done(_))) {
            self.mailbox.writer.fulls.fetch_add(1, Ordering::Relaxed);
        }
        put_words(&memory, mark, [MOVED]);
        Ok(())
    }

    /// Gives up those at the front that were moved.
    fn give_up_moved(&self) -> Result<(), Damaged> {
        let d = self.under_way;
        let mut tail = d.consumed.tail.load(Ordering::Relaxed);
        while let Some((memory, header, has_more)) = next(d, self.arena, tail)? {
            if words(&memory, tail.wrapping_add(header_bytes(has_more))) != [MOVED] {
                break;
            }
            tail = tail.wrapping_add(record_bytes(header.bytes.into(), has_more));
            d.consumed.tail.swap(tail, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Another segment for a record of `need` bytes.
fn make_room(d: &Direction, arena: &Arena, me: Me, circuit: u32, need: u64, valid: impl Fn() -> bool) -> bool {
    let next = (stream::class(d) + 1).min(blocks::LARGEST);
    let fitting = (0..=next).rev().chain(next..=blocks::LARGEST).filter(|&class| blocks::bytes_of(class) >= need);
    fitting.into_iter().any(|class| stream::append(d, arena, me, class, circuit, &valid))
}

/// Copies `n` bytes of a segment, from stream position `from` on, to the ring of `size` bytes, from offset `to` on, around the
/// ends of both.
fn copy_around(memory: &Memory, from: u64, ring: *mut u8, size: usize, to: usize, n: usize) {
    let mut done = 0;
    while done < n {
        let (a, b) = (at(memory, from.wrapping_add(done as u64)), (to + done) & (size - 1));
        let piece = (n - done).min(memory.bytes as usize - a).min(size - b);
        // SAFETY: both pieces lie within their segments.
        unsafe { ring.add(b).copy_from(memory.at.add(a), piece) };
        done += piece;
    }
}
