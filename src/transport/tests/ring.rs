//! The ring on a real arena, against a queue of bytes that cannot be wrong.

use core::sync::atomic::Ordering;
use libc::iovec;
use proptest::prelude::*;
use std::collections::VecDeque;

use crate::shm::blocks::{Class, bytes_of};
use crate::shm::layout::CLASSES;
use crate::shm::owner::Me;
use crate::shm::tests::blocks::private_arena;
use crate::shm::{Arena, blocks};
use crate::transport::direction::{Direction, SEGMENTS};
use crate::transport::iov::Iov;
use crate::transport::stream;

/// A direction at a place of its own: no circuit is needed for it.
pub struct Ring<'a> {
    pub d: Box<Direction>,
    arena: &'a Arena,
}

impl<'a> Ring<'a> {
    pub fn new(arena: &'a Arena) -> Ring<'a> {
        // SAFETY: a direction is valid for every bit pattern (`Shared`).
        Ring { d: unsafe { Box::new_zeroed().assume_init() }, arena }
    }

    fn me(&self) -> Me {
        Me::get(self.arena).unwrap()
    }

    pub fn append(&self, class: Class) -> bool {
        stream::append(&self.d, self.arena, self.me(), class, 1, || true)
    }

    /// Sends `bytes` from pieces of `piece` bytes.
    pub fn push(&self, bytes: &[u8], piece: usize) -> usize {
        let buffers: Vec<iovec> = bytes.chunks(piece).map(|b| iovec { iov_base: b.as_ptr().cast_mut().cast(), iov_len: b.len() }).collect();
        // SAFETY: the buffers are read alone, and outlive the cursor.
        let mut source = unsafe { Iov::new(&buffers) }.unwrap();
        let mut published = 0;
        let n = stream::push(&self.d, self.arena, self.me(), true, &mut source, stream::WHOLE_BYTES, || true, |_, _| (), || published += 1)
            .expect("damaged");
        assert_eq!(source.left(), bytes.len() - n);
        assert_eq!(published > 0, n > 0);
        n
    }

    /// Receives at most `room` bytes, no more than `most`, into pieces of `piece` bytes.
    pub fn pop(&self, room: usize, most: usize, piece: usize, peek: bool) -> Vec<u8> {
        let mut bytes = vec![0xaa; room];
        let buffers: Vec<iovec> = bytes.chunks_mut(piece).map(|b| iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() }).collect();
        // SAFETY: the buffers outlive the cursor.
        let mut sink = unsafe { Iov::new(&buffers) }.unwrap();
        let n = stream::pop(&self.d, self.arena, self.me(), true, &mut sink, most, peek, || true).expect("damaged");
        assert!(n <= room.min(most));
        bytes.truncate(n);
        bytes
    }

    /// Lets a reader of `bytes` write into the ring, up to `most` of them.
    pub fn fill(&self, bytes: &[u8], most: usize) -> usize {
        let read = |at: *mut u8, n: usize| {
            assert!(n <= most);
            let n = n.min(bytes.len());
            // SAFETY: `at` is valid for the `n` bytes that the ring offered.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), n) };
            Ok::<usize, ()>(n)
        };
        stream::fill(&self.d, self.arena, self.me(), most, || true, read, |_, _| ()).expect("damaged").map_or(0, |r| r.unwrap())
    }

    pub fn drain(&self, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let write = |at: *const u8, n: usize| {
            assert!(n <= most);
            // SAFETY: as above.
            out.extend_from_slice(unsafe { core::slice::from_raw_parts(at, n) });
            Ok::<usize, ()>(n)
        };
        let drained = stream::drain(&self.d, self.arena, self.me(), most, || true, write).expect("damaged").map_or(0, |r| r.unwrap());
        assert_eq!(drained, out.len());
        out
    }

    pub fn queued(&self) -> usize {
        self.d.queued().unwrap() as usize
    }
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        let table = self.arena.lock();
        let (first, last) = (self.d.consumed.segment.load(Ordering::Relaxed), self.d.produced.segment.load(Ordering::Relaxed));
        for n in 0..=last.wrapping_sub(first) {
            blocks::free(&table, blocks::Block(self.d.segment(first.wrapping_add(n)).block.load(Ordering::Relaxed)));
        }
        blocks::free(&table, blocks::Block(self.d.control.schedule.load(Ordering::Relaxed)));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize, usize),
    Pop { room: usize, most: usize, piece: usize },
    Peek { room: usize, most: usize, piece: usize },
    Fill(usize, usize),
    Drain(usize),
    Append(Class),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop_oneof![Just(1usize), 1..64usize, 1..5000usize, 1..200_000usize];
    let most = || prop_oneof![Just(usize::MAX), 1..9000usize];
    let piece = || prop_oneof![1..20usize, 1..70_000usize];
    prop_oneof![
        8 => (bytes(), piece()).prop_map(|(n, piece)| Step::Push(n, piece)),
        8 => (bytes(), most(), piece()).prop_map(|(room, most, piece)| Step::Pop { room, most, piece }),
        3 => (bytes(), most(), piece()).prop_map(|(room, most, piece)| Step::Peek { room, most, piece }),
        3 => (bytes(), bytes()).prop_map(|(n, most)| Step::Fill(n, most)),
        3 => bytes().prop_map(Step::Drain),
        3 => (0..CLASSES).prop_map(Step::Append),
    ]
}

/// The bytes of a stream: each its place, mixed.
fn stream_byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

pub fn stream_bytes(from: u64, n: usize) -> Vec<u8> {
    (from..from + n as u64).map(stream_byte).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ring_is_a_queue(first in 0..CLASSES, steps in prop::collection::vec(step(), 1..120)) {
        let (_one, arena) = private_arena();
        let live = arena.header().units_live.load(Ordering::Relaxed);
        let ring = Ring::new(arena);
        prop_assert!(ring.append(first));
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut sent = 0u64;
        for step in steps {
            match step {
                Step::Push(n, piece) | Step::Fill(n, piece) => {
                    let room = stream::room(&ring.d, arena).unwrap() as usize;
                    let bytes = stream_bytes(sent, n);
                    let n = if let Step::Push(..) = step { ring.push(&bytes, piece) } else { ring.fill(&bytes, piece) };
                    match step {
                        // A large message may find more room than there seemed to be, by beginning anew.
                        Step::Push(..) if bytes.len() >= stream::REWIND_BYTES as usize => {
                            prop_assert!(n >= bytes.len().min(room) && n <= bytes.len())
                        }
                        Step::Push(..) if !stream::has_room_for(bytes.len(), room as u64, stream::WHOLE_BYTES) => prop_assert_eq!(n, 0),
                        Step::Push(..) => prop_assert_eq!(n, bytes.len().min(room)),
                        _ => prop_assert!(n <= room && (n > 0 || room == 0)),
                    }
                    model.extend(&bytes[..n]);
                    sent += n as u64;
                }
                Step::Pop { room, most, piece } => {
                    let bytes = ring.pop(room, most, piece, false);
                    prop_assert_eq!(bytes.len(), room.min(most).min(model.len()));
                    prop_assert!(model.drain(..bytes.len()).eq(bytes));
                }
                Step::Peek { room, most, piece } => {
                    let bytes = ring.pop(room, most, piece, true);
                    prop_assert_eq!(bytes.len(), room.min(most).min(model.len()));
                    prop_assert!(model.iter().take(bytes.len()).eq(&bytes));
                }
                Step::Drain(most) => {
                    let bytes = ring.drain(most);
                    prop_assert!(!bytes.is_empty() || model.is_empty());
                    prop_assert!(model.drain(..bytes.len()).eq(bytes));
                }
                Step::Append(class) => {
                    let used = ring.d.produced.segment.load(Ordering::Relaxed) - ring.d.consumed.segment.load(Ordering::Relaxed);
                    let appended = ring.append(class);
                    prop_assert_eq!(appended, (used as usize) < SEGMENTS - 1);
                    if appended {
                        prop_assert_eq!(stream::class(&ring.d), class);
                        prop_assert_eq!(stream::room(&ring.d, arena), Ok(bytes_of(class)));
                    }
                }
            }
            prop_assert_eq!(ring.queued(), model.len());
            prop_assert_eq!(ring.d.has_data(), !model.is_empty());
        }
        let rest = ring.pop(model.len() + 1, usize::MAX, 1000, false);
        prop_assert!(model.into_iter().eq(rest));
        drop(ring);
        prop_assert_eq!(arena.header().units_live.load(Ordering::Relaxed), live, "a block is lost");
    }

    /// A writer and a reader at once, each in calls of its own sizes.
    #[test]
    fn ring_between_two_threads(
        first in 0..CLASSES,
        writes in prop::collection::vec(1..40_000usize, 1..60),
        reads in prop::collection::vec(1..40_000usize, 1..60),
        grows in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let (_one, arena) = private_arena();
        let ring = Ring::new(arena);
        prop_assert!(ring.append(first));
        let all: usize = writes.iter().sum();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let (mut sent, mut full) = (0u64, 0usize);
                for n in writes {
                    let bytes = stream_bytes(sent, n);
                    let mut done = 0;
                    while done < n {
                        let k = ring.push(&bytes[done..], 3000);
                        done += k;
                        if k == 0 {
                            if grows[full % grows.len()] {
                                ring.append(full % 3);
                            }
                            full += 1;
                            std::thread::yield_now();
                        }
                    }
                    sent += n as u64;
                }
            });
            let mut received = 0u64;
            for (turn, most) in reads.iter().cycle().enumerate() {
                let seen = if turn % 5 == 0 { ring.pop(*most, usize::MAX, 1000, true) } else { Vec::new() };
                let bytes = if turn % 3 == 0 { ring.drain(*most) } else { ring.pop(*most, usize::MAX, 1000, false) };
                assert_eq!(bytes, stream_bytes(received, bytes.len()));
                let both = seen.len().min(bytes.len());
                assert_eq!(seen[..both], bytes[..both]);
                received += bytes.len() as u64;
                if received == all as u64 {
                    break;
                }
                if bytes.is_empty() {
                    std::thread::yield_now();
                }
            }
        });
        prop_assert_eq!(ring.queued(), 0);
    }
}

/// The ring goes on where the numbers of its segments start over.
#[test]
fn segment_numbers_start_over() {
    let (_one, arena) = private_arena();
    let ring = Ring::new(arena);
    ring.d.produced.segment.store(u32::MAX - 2, Ordering::Relaxed);
    ring.d.consumed.segment.store(u32::MAX - 2, Ordering::Relaxed);
    assert!(ring.append(0));
    let mut sent = 0u64;
    for _ in 0..6 {
        assert_eq!(ring.push(&stream_bytes(sent, 4000), 4000), 4000);
        assert!(ring.append(0));
        sent += 4000;
    }
    assert_eq!(ring.pop(30_000, usize::MAX, 999, true), stream_bytes(0, 24_000));
    assert_eq!(ring.pop(30_000, usize::MAX, 999, false), stream_bytes(0, 24_000));
}
