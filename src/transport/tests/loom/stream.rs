//! The stream ring, with one or two at either end.

use core::ops::ControlFlow;
use loom::thread;
use std::convert::Infallible;
use std::sync::Arc;

use super::{Bell, iovec_of, me, model, rings};
use crate::shm::Arena;
use crate::shm::arena::copied;
use crate::sys::sync::Ordering;
use crate::transport::direction::Direction;
use crate::transport::iov::Iov;
use crate::transport::stream;

fn push(d: &Direction, arena: &Arena, bytes: &[u8], published: impl FnMut()) -> usize {
    push_if(d, arena, 1, bytes, || true, published)
}

pub fn push_if(d: &Direction, arena: &Arena, who: u32, bytes: &[u8], valid: impl Fn() -> bool, published: impl FnMut()) -> usize {
    let mut bytes = bytes.to_vec();
    let buffers = iovec_of(&mut bytes);
    // SAFETY: `bytes` outlives the cursor.
    let mut source = unsafe { Iov::new(&buffers) }.unwrap();
    stream::push(d, arena, me(who), true, &mut source, stream::WHOLE_BYTES, valid, |_, _| (), published).expect("damaged")
}

pub fn pop(d: &Direction, arena: &Arena, most: usize, peek: bool) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let buffers = iovec_of(&mut bytes);
    // SAFETY: as above.
    let mut sink = unsafe { Iov::new(&buffers) }.unwrap();
    let n = stream::pop(d, arena, me(2), true, &mut sink, most, peek, || true).expect("damaged");
    bytes.truncate(n);
    bytes
}

/// Takes what is next out of the ring by `drain`, as a splice does; nothing at its end.
pub fn drain(d: &Direction, arena: &Arena, who: u32) -> Vec<u8> {
    let mut got = Vec::new();
    let write = |from: *const u8, n: usize| {
        got.resize(n, 0);
        copied(got.as_ptr(), from, n);
        // SAFETY: `n` bytes of the ring.
        unsafe { from.copy_to(got.as_mut_ptr(), n) };
        Ok::<_, Infallible>(n)
    };
    stream::drain(d, arena, me(who), 2, || true, write).expect("damaged");
    got
}

/// A ring with its first segment.
pub fn ring() -> (Arc<Arena>, Arc<Direction>) {
    let (arena, d) = (Arena::new(), Arc::new(Direction::default()));
    assert!(stream::append(&d, &arena, me(1), 0, 1, || true));
    (arena, d)
}

/// What the writer writes in the models of the ring, in calls of `at_once` bytes, with another segment where
/// the ring is full. Returns how much there was room for.
fn write(d: &Direction, arena: &Arena, all: &[u8], at_once: usize) -> usize {
    let mut sent = 0;
    for piece in all.chunks(at_once) {
        let mut n = push(d, arena, piece, || ());
        if n < piece.len() && stream::append(d, arena, me(1), 0, 1, || true) {
            n += push(d, arena, &piece[n..], || ());
        }
        sent += n;
        if n < piece.len() {
            break;
        }
    }
    sent
}

/// Bytes read are the bytes written, in order, through wrap-around and from segment to segment, and every
/// segment but the last is given back.
fn ring_keeps_bytes(preemptions: usize, all: &'static [u8], reads: usize, write: fn(&Direction, &Arena, &[u8]) -> usize) {
    ring_read_by(|d, arena| pop(d, arena, 2, false), preemptions, all, reads, write);
}

fn ring_read_by(
    read: fn(&Direction, &Arena) -> Vec<u8>,
    preemptions: usize,
    all: &'static [u8],
    reads: usize,
    write: fn(&Direction, &Arena, &[u8]) -> usize,
) {
    model(Some(preemptions), move || {
        let (arena, d) = ring();
        let writer = thread::spawn({
            let (arena, d) = (arena.clone(), d.clone());
            move || write(&d, &arena, all)
        });
        let mut got = Vec::new();
        for _ in 0..reads {
            got.extend(read(&d, &arena));
        }
        let sent = writer.join().unwrap();
        loop {
            match read(&d, &arena) {
                bytes if bytes.is_empty() => break,
                bytes => got.extend(bytes),
            }
        }
        assert_eq!(got, &all[..sent]);
        // Segments that begin anew share a block.
        let segments = d.consumed.segment.load(Ordering::Relaxed)..=d.produced.segment.load(Ordering::Relaxed);
        let blocks: std::collections::HashSet<u64> = segments.map(|n| d.segment(n).block.load(Ordering::Relaxed)).collect();
        assert_eq!(arena.blocks_in_use(), blocks.len(), "a block is lost");
    });
}

/// Fails if `pop` loads the head relaxed, if `push` loads the tail relaxed, and if either publishes relaxed.
#[test]
fn loom_ring_goes_round_one_segment() {
    ring_keeps_bytes(3, &[1, 2, 3], 2, |d, arena, all| write(d, arena, all, 1));
}

/// Fails if `append` publishes the segment relaxed, or before it is complete, and if `pop` takes a segment
/// for the last that is not.
#[test]
fn loom_ring_goes_on_in_another_segment() {
    ring_keeps_bytes(3, &[1, 2, 3, 4], 2, |d, arena, all| write(d, arena, all, 4));
}

#[test]
fn loom_ring_goes_through_three_segments() {
    ring_keeps_bytes(2, &[1, 2, 3, 4, 5, 6], 3, |d, arena, all| write(d, arena, all, 3));
}

/// Fails if `append` goes on in a segment that the reader has not left.
#[test]
fn loom_ring_uses_segments_again() {
    ring_keeps_bytes(1, &[1, 2, 3, 4, 5, 6, 7, 8], 3, |d, arena, all| write(d, arena, all, 2));
}

/// The same where the reader is a splice.
/// Fails if `drain` looks at the head relaxed, and if it takes a segment for the last that is not.
#[test]
fn loom_ring_is_drained() {
    ring_read_by(|d, arena| drain(d, arena, 2), 3, &[1, 2, 3, 4], 2, |d, arena, all| write(d, arena, all, 4));
}

/// A large message that finds everything read begins anew in the same block.
/// Fails if it does so though something is still to be read, or if the block is given back meanwhile.
#[test]
fn loom_ring_begins_anew() {
    ring_keeps_bytes(3, &[1, 2, 3, 4, 5], 3, |d, arena, all| {
        let mut sent = 0;
        for n in [1, 2, 2] {
            sent += push(d, arena, &all[sent..sent + n], || ());
        }
        sent
    });
}

/// Looking takes nothing, and sees what reading then brings.
#[test]
fn loom_peek_sees_what_pop_takes() {
    model(Some(3), || {
        let (arena, d) = ring();
        let writer = thread::spawn({
            let (arena, d) = (arena.clone(), d.clone());
            move || write(&d, &arena, &[1, 2, 3], 3)
        });
        let seen = pop(&d, &arena, 3, true);
        let taken = pop(&d, &arena, 3, false);
        assert!(taken.starts_with(&seen));
        writer.join().unwrap();
        let rest = pop(&d, &arena, 3, false);
        assert_eq!([taken, rest].concat(), [1, 2, 3]);
    });
}

/// Two readers of one socket: each byte goes to one of them, and neither reads what the other gave back.
/// Fails without the reader's lock.
#[test]
fn loom_two_readers_share_the_bytes() {
    model(Some(2), || {
        let (arena, d) = ring();
        assert_eq!(write(&d, &arena, &[1, 2, 3], 3), 3);
        let other = thread::spawn({
            let (arena, d) = (arena.clone(), d.clone());
            move || {
                let mut bytes = [0; 2];
                let buffers = iovec_of(&mut bytes);
                // SAFETY: as above.
                let mut sink = unsafe { Iov::new(&buffers) }.unwrap();
                let n = stream::pop(&d, &arena, me(3), true, &mut sink, 2, false, || true).unwrap();
                bytes[..n].to_vec()
            }
        });
        let mine = pop(&d, &arena, 2, false);
        let its = other.join().unwrap();
        assert!(mine.is_sorted() && its.is_sorted());
        let mut all = [mine, its].concat();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
    });
}
/// A ring, and a doorbell for each of its ends.
struct SharedRing {
    arena: Arc<Arena>,
    d: Arc<Direction>,
    data: Bell,
    room: Bell,
}

impl Default for SharedRing {
    fn default() -> Self {
        let (arena, d) = ring();
        SharedRing { arena, d, data: Bell::default(), room: Bell::default() }
    }
}

impl SharedRing {
    fn send(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = push(&self.d, &self.arena, bytes, || {
                if rings(self.d.control.readable.take()) {
                    self.data.ring();
                }
            });
            bytes = &bytes[n..];
            if n == 0 {
                let wake_at = self.d.wake_point();
                self.d.declare_writer(wake_at);
                if self.d.consumed.tail.load(Ordering::SeqCst) < wake_at {
                    self.room.sleep();
                }
                self.d.control.writable.declare_awake();
            }
        }
    }

    fn receive(&self, until: impl Fn(&[u8]) -> ControlFlow<()>) {
        let mut got = Vec::new();
        while until(&got).is_continue() {
            let bytes = pop(&self.d, &self.arena, 2, false);
            if !bytes.is_empty() {
                if rings(self.d.take_writer_wishes()) {
                    self.room.ring();
                }
                got.extend(bytes);
                continue;
            }
            self.d.control.readable.declare_asleep();
            if !self.d.has_data() {
                self.data.sleep();
            }
            self.d.control.readable.declare_awake();
        }
    }
}

/// A writer that fills the ring and sleeps, and a reader that empties it and sleeps, come to the end.
#[test]
fn loom_both_ends_sleep_and_come_to_the_end() {
    model(Some(2), || {
        let ring = Arc::new(SharedRing::default());
        let writer = thread::spawn({
            let ring = ring.clone();
            move || ring.send(&[1, 2, 3])
        });
        ring.receive(|got| {
            assert!([1, 2, 3].starts_with(got));
            if got.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        writer.join().unwrap();
    });
}
