//! What few datagram sockets of a private net have: a queue of errors (IP_RECVERR of ip(7)), and the filter of a raw ICMPv6
//! socket (RFC 3542, 3.2). Both are in one block of the arena, taken when it is first needed and given back with the PCB.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::block::Pcb;
use super::circuit::Link;
use super::key::Address;
use crate::shm::Arena;
use crate::shm::arena::TableLock;
use crate::shm::blocks::{self, Block};
use crate::shm::lock::RobustLock;
use crate::shm::owner::{Me, System};

/// Errors that are kept; what comes when so many are there is dropped, as by a kernel without memory.
const ERRORS: usize = 15;
/// Bytes kept of the datagram that an error is about.
pub const MOST_BYTES: usize = 192;
/// The smallest block.
const CLASS: blocks::Class = 0;

#[repr(C)]
struct Entry {
    /// Error, and its origin, type and code; when it comes, and the time of day then; who says it; where the datagram went.
    words: [AtomicU64; 7],
    /// Port that the datagram went to, hop limit and class of the answer, bytes of it.
    last: AtomicU64,
    bytes: [AtomicU64; MOST_BYTES / 8],
}

#[repr(C, align(64))]
struct Extras {
    lock: RobustLock,
    /// Entries `first..last` are in use, by their numbers modulo `ERRORS`.
    first: AtomicU32,
    last: AtomicU32,
    /// The first of those that calls on the socket have not been told of (SO_ERROR).
    untold: AtomicU32,
    /// What an ICMPv6 socket does not want: a bit for each type.
    filter: [AtomicU32; 8],
    entries: [Entry; ERRORS],
}

crate::shm::shared_struct!(Extras, 4096);

/// The origin of an error of a socket that has not asked for a queue: it waits here until it comes, and is told of in other
/// ways alone.
pub const UNASKED: u8 = 0;

/// An error that a datagram has met on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    pub errno: i32,
    /// SO_EE_ORIGIN_ICMP or SO_EE_ORIGIN_ICMP6, or `UNASKED`; type and code of the message.
    pub origin: u8,
    pub kind: u8,
    pub code: u8,
    /// Who says it.
    pub offender: Address,
    /// Where the datagram went.
    pub to: Address,
    /// When it comes, and the time of day then.
    pub due_ns: u64,
    pub came_ns: u64,
    /// Of the message.
    pub hops: u8,
    pub class: u8,
    /// The beginning of the datagram.
    pub bytes: [u8; MOST_BYTES],
    pub n: usize,
}

impl Entry {
    fn put(&self, r: &Report) {
        let [errno, origin, kind, code] = [r.errno as u32 as u64, r.origin.into(), r.kind.into(), r.code.into()];
        let first = errno | origin << 32 | kind << 40 | code << 48;
        let words = [first, r.due_ns, r.came_ns, r.offender.high, r.offender.low, r.to.high, r.to.low];
        self.words.iter().zip(words).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        let n = r.n.min(MOST_BYTES) as u64;
        self.last.store(u64::from(r.to.port) | u64::from(r.hops) << 16 | u64::from(r.class) << 24 | n << 32, Ordering::Relaxed);
        for (word, bytes) in self.bytes.iter().zip(r.bytes.as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }

    fn get(&self) -> Report {
        let [first, due_ns, came_ns, oh, ol, th, tl] = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        let last = self.last.load(Ordering::Relaxed);
        let mut bytes = [0; MOST_BYTES];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.bytes) {
            *to = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        Report {
            errno: first as u32 as i32,
            origin: (first >> 32) as u8,
            kind: (first >> 40) as u8,
            code: (first >> 48) as u8,
            offender: Address { high: oh, low: ol, port: 0 },
            to: Address { high: th, low: tl, port: last as u16 },
            due_ns,
            came_ns,
            hops: (last >> 16) as u8,
            class: (last >> 24) as u8,
            bytes,
            n: ((last >> 32) as usize).min(MOST_BYTES),
        }
    }
}

impl Extras {
    fn count(&self) -> u32 {
        self.last.load(Ordering::SeqCst).wrapping_sub(self.first.load(Ordering::SeqCst)).min(ERRORS as u32)
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize % ERRORS)
    }

    fn first(&self) -> Option<Report> {
        self.entry(self.first.load(Ordering::SeqCst)).filter(|_| self.count() > 0).map(Entry::get)
    }
}

impl Extras {
    fn leave_first(&self) {
        let first = self.first.load(Ordering::Relaxed);
        let next = first.wrapping_add(1);
        let _ = self.untold.compare_exchange(first, next, Ordering::Relaxed, Ordering::Relaxed);
        self.first.store(next, Ordering::SeqCst);
    }

    /// Leaves those at the front that have come by `now` and that nobody will ask for.
    fn leave_unasked(&self, now: u64) {
        while self.first().is_some_and(|report| report.origin == UNASKED && report.due_ns <= now) {
            self.leave_first();
        }
    }
}

fn of<'a>(arena: &'a Arena, pcb: &Pcb) -> Option<&'a Extras> {
    let word = pcb.extras.load(Ordering::Acquire);
    if word == 0 {
        return None;
    }
    let block = Block(word);
    blocks::memory(arena, block).filter(|_| block.class() == CLASS)?;
    arena.at(block.off())
}

/// The block of a socket that has a mailbox, taken if there is none.
fn ensure<'a>(arena: &'a Arena, pcb: &Pcb) -> Option<&'a Extras> {
    if pcb.extras.load(Ordering::Acquire) == 0 {
        let lock = arena.lock();
        let link = Link::of(pcb.link.load(Ordering::Acquire))?;
        if pcb.extras.load(Ordering::Acquire) == 0 {
            let block = blocks::allocate(&lock, CLASS, link.circuit)?;
            let extras: &Extras = arena.at(block.off())?;
            extras.lock.reset();
            for word in extras.filter.iter().chain([&extras.first, &extras.last, &extras.untold]) {
                word.store(0, Ordering::Relaxed);
            }
            pcb.extras.store(block.0, Ordering::Release);
        }
    }
    of(arena, pcb)
}

/// Gives the block of a PCB back that is given back itself.
pub(super) fn free(lock: &TableLock, pcb: &Pcb) {
    match pcb.extras.swap(0, Ordering::AcqRel) {
        0 => {}
        word => blocks::free(lock, Block(word)),
    }
}

/// Puts an error into the queue of a socket; who does tells of it himself where it has come by `now`.
pub fn push(arena: &Arena, me: Me, pcb: &Pcb, report: &Report, now: u64) {
    let Some(extras) = ensure(arena, pcb) else { return };
    let held = extras.lock.acquire(me.owner(), &System(arena));
    let last = extras.last.load(Ordering::Relaxed);
    if let Some(entry) = extras.entry(last).filter(|_| !held.is_nested() && extras.count() < ERRORS as u32) {
        entry.put(report);
        if report.due_ns <= now && extras.untold.load(Ordering::Relaxed) == last {
            extras.untold.store(last.wrapping_add(1), Ordering::Relaxed);
        }
        extras.last.store(last.wrapping_add(1), Ordering::SeqCst);
    }
}

/// The first error of the queue that has come by `now`, taken or, with `peek`, left; and the one behind it.
pub fn pop(arena: &Arena, me: Me, pcb: &Pcb, now: u64, peek: bool) -> Option<(Report, Option<Report>)> {
    let extras = of(arena, pcb)?;
    let _held = extras.lock.acquire(me.owner(), &System(arena));
    extras.leave_unasked(now);
    let found = extras.first().filter(|report| report.due_ns <= now)?;
    let first = extras.first.load(Ordering::Relaxed);
    if !peek {
        extras.leave_first();
    }
    let behind = extras.entry(first.wrapping_add(1)).filter(|_| extras.count() > u32::from(peek)).map(Entry::get);
    Some((found, behind.filter(|report| report.due_ns <= now)))
}

/// The last error that has come by `now` and that nobody was told of, once; and when the next one comes.
pub fn tell(arena: &Arena, me: Me, pcb: &Pcb, now: u64) -> (Option<i32>, Option<u64>) {
    let Some(extras) = of(arena, pcb) else { return (None, None) };
    let _held = extras.lock.acquire(me.owner(), &System(arena));
    let last = extras.last.load(Ordering::Relaxed);
    let mut told = None;
    for _ in 0..ERRORS {
        let number = extras.untold.load(Ordering::Relaxed);
        let Some(report) = extras.entry(number).filter(|_| number != last).map(Entry::get) else { break };
        if report.due_ns > now {
            extras.leave_unasked(now);
            return (told, Some(report.due_ns));
        }
        told = Some(report.errno);
        extras.untold.store(number.wrapping_add(1), Ordering::Relaxed);
    }
    extras.leave_unasked(now);
    (told, None)
}

/// When the first error of the queue comes, or has come; `None` where there is none that the socket has asked for.
#[inline]
pub fn first_due(arena: &Arena, pcb: &Pcb) -> Option<u64> {
    if pcb.extras.load(Ordering::Relaxed) == 0 {
        return None;
    }
    of(arena, pcb)?.first().filter(|report| report.origin != UNASKED).map(|report| report.due_ns)
}

/// Sets the filter of an ICMPv6 socket: a bit for each type that it does not want. False where there is no room.
pub fn set_filter(arena: &Arena, pcb: &Pcb, filter: [u32; 8]) -> bool {
    let Some(extras) = ensure(arena, pcb) else { return false };
    extras.filter.iter().zip(filter).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    true
}

/// The filter of an ICMPv6 socket.
pub fn filter(arena: &Arena, pcb: &Pcb) -> [u32; 8] {
    of(arena, pcb).map_or([0; 8], |extras| extras.filter.each_ref().map(|word| word.load(Ordering::Relaxed)))
}
