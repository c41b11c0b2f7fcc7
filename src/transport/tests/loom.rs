//! Models of the transport floor, each made of the very functions that run: `tests/mutants` takes a fence,
//! a second look or an order away from those and sees the model named with it fail.

use core::ops::ControlFlow;
use libc::iovec;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

use crate::shm::Arena;
use crate::shm::lock::Owner;
use crate::shm::owner::Me;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::transport::direction::Direction;
use crate::transport::iov::Iov;
use crate::transport::notifier::Notifier;
use crate::transport::stream;
use crate::transport::wait::{WaitWord, Wishes};

/// All interleavings with at most `preemptions` switches away from a thread that could go on.
fn model(preemptions: Option<usize>, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    let runs = Arc::new(core::sync::atomic::AtomicUsize::new(0));
    let counter = runs.clone();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        f();
    });
    eprintln!("{} interleavings", runs.load(Ordering::Relaxed));
}

/// Moves a published number on, in the way that the ring does.
fn publish(word: &AtomicU64, to: u64) {
    let now = word.load(Ordering::Relaxed);
    word.compare_exchange(now, to, Ordering::SeqCst, Ordering::Relaxed).unwrap();
}

fn rings(wishes: Option<Wishes>) -> bool {
    wishes.is_some_and(Wishes::doorbell)
}

/// Who finds nothing after it has declared itself asleep is rung by who publishes.
/// Fails without the fence of `declare_asleep`, and without the fence of `take`.
#[test]
fn loom_reader_asleep_is_rung() {
    model(None, || {
        let d = Arc::new(Direction::default());
        let sender = thread::spawn({
            let d = d.clone();
            move || {
                publish(&d.produced.head, 1);
                rings(d.control.readable.take())
            }
        });
        d.control.readable.declare_asleep();
        let asleep = !d.has_data();
        let rung = sender.join().unwrap();
        assert!(!asleep || rung, "the reader sleeps for ever");
    });
}

/// Of two senders' publications the one that comes last rings, or an earlier one has.
#[test]
fn loom_reader_asleep_is_rung_by_one_of_two() {
    model(Some(3), || {
        let d = Arc::new(Direction::default());
        let sender = thread::spawn({
            let d = d.clone();
            move || {
                (1..=2)
                    .filter(|&to| {
                        publish(&d.produced.head, to);
                        rings(d.control.readable.take())
                    })
                    .count()
            }
        });
        // The first sleep, if any, ends with a doorbell; the second is for the second publication.
        let mut sleeps = 0;
        for wanted in 1..=2 {
            d.control.readable.declare_asleep();
            if d.produced.head.load(Ordering::SeqCst) < wanted {
                sleeps += 1;
                break;
            }
            d.control.readable.declare_awake();
        }
        let rung = sender.join().unwrap();
        assert!(rung >= sleeps, "the reader sleeps for ever");
        assert!(d.produced.head.load(Ordering::SeqCst) == 2);
    });
}

/// A writer that sleeps until the tail has come to a point is rung by the reader that brings it there, and
/// is not kept waiting by the point of an earlier sleep.
/// Fails without the fence of `take_writer_wishes`, and if `declare_writer` says so before it says where to.
#[test]
fn loom_writer_asleep_is_rung() {
    model(None, || {
        let d = Arc::new(Direction::default());
        d.writer.wake_at.store(9, Ordering::Relaxed);
        let reader = thread::spawn({
            let d = d.clone();
            move || {
                (1..=2).any(|to| {
                    publish(&d.consumed.tail, to);
                    rings(d.take_writer_wishes())
                })
            }
        });
        d.declare_writer(2);
        let asleep = d.consumed.tail.load(Ordering::SeqCst) < 2;
        let rung = reader.join().unwrap();
        assert!(!asleep || rung, "the writer sleeps for ever");
    });
}

/// A wish is fulfilled by one of two publishers, not by both.
#[test]
fn loom_wish_is_taken_once() {
    model(None, || {
        let word = Arc::new(WaitWord::default());
        word.declare_asleep();
        word.arm(3, 5);
        let other = thread::spawn({
            let word = word.clone();
            move || word.take()
        });
        let mine = word.take();
        let all: Vec<Wishes> = [mine, other.join().unwrap()].into_iter().flatten().collect();
        assert_eq!(all.len(), 1);
        assert!(all[0].doorbell());
        assert_eq!(all[0].notify(), Some((3, 5)));
    });
}

/// A wish that is made while another is taken back is not lost, and taking back touches only one's own.
#[test]
fn loom_disarm_spares_others() {
    model(None, || {
        let word = Arc::new(WaitWord::default());
        word.arm(1, 7);
        let other = thread::spawn({
            let word = word.clone();
            move || word.arm(2, 8)
        });
        word.disarm(1);
        word.disarm(1);
        other.join().unwrap();
        // Who found the word armed by another is content with the doorbell.
        let wishes = word.take().unwrap();
        assert!(wishes.notify() == Some((2, 8)) || wishes.doorbell() && wishes.notify().is_none());
    });
}

/// What an event loop does before it sleeps: arms the socket, looks at it, counts itself among the
/// sleepers, looks at the notifier. True if it goes to sleep then.
fn event_loop_sleeps(d: &Direction, notifier: &Notifier, bit: u32) -> bool {
    d.control.readable.arm(1, bit);
    if d.has_data() {
        return false;
    }
    notifier.begin_sleep();
    !notifier.has_news()
}

/// What who publishes does then. True if it rings.
fn notify(wishes: Option<Wishes>, notifier: &Notifier) -> bool {
    let Some(wishes) = wishes else { return false };
    wishes.notify().is_some_and(|(_, bit)| notifier.post(bit)) || wishes.doorbell()
}

/// An event loop that has armed a socket and sleeps is rung, and finds the socket's bit.
/// Fails without the fence of `arm`, of `take`, of `begin_sleep`, or the last one of `post`.
#[test]
fn loom_event_loop_asleep_is_rung() {
    model(None, || {
        let shared = Arc::new((Direction::default(), Notifier::default()));
        let sender = thread::spawn({
            let shared = shared.clone();
            move || {
                publish(&shared.0.produced.head, 1);
                notify(shared.0.control.readable.take(), &shared.1)
            }
        });
        let (d, notifier) = &*shared;
        let asleep = event_loop_sleeps(d, notifier, 65);
        let rung = sender.join().unwrap();
        assert!(!asleep || rung, "the event loop sleeps for ever");
        let mut bits = Vec::new();
        notifier.take(|bit| bits.push(bit));
        assert!(!asleep || bits == [65], "woken for nothing");
    });
}

/// Two event loops that sleep for the same socket are both woken.
#[test]
fn loom_two_event_loops_asleep_are_rung() {
    model(Some(2), || {
        let shared = Arc::new((Direction::default(), [Notifier::default(), Notifier::default()]));
        let event_loop = |number: u32| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (d, notifier) = (&shared.0, &shared.1[number as usize - 1]);
                d.control.readable.arm(number, 5);
                !d.has_data() && {
                    notifier.begin_sleep();
                    !notifier.has_news()
                }
            })
        };
        let loops = [event_loop(1), event_loop(2)];
        let (d, notifiers) = &*shared;
        publish(&d.produced.head, 1);
        let wishes = d.control.readable.take();
        let doorbell = rings(wishes);
        let notified = wishes.and_then(Wishes::notify).map(|(number, bit)| (number, notifiers[number as usize - 1].post(bit)));
        for (number, asleep) in [1, 2].into_iter().zip(loops.map(|l| l.join().unwrap())) {
            assert!(!asleep || doorbell || notified == Some((number, true)), "event loop {number} sleeps for ever");
        }
    });
}

/// Bits that are set while others are taken are taken now or later, once; and who sleeps without one of
/// them is rung by who set it.
/// Fails without the order of `post` between the bits and the sleepers, if a word above is set before the
/// word below, and if `post` stops where it finds a bit set.
fn posts(bits: [u32; 2]) {
    model(Some(3), move || {
        let notifier = Arc::new(Notifier::default());
        let posters = bits.map(|bit| {
            let notifier = notifier.clone();
            thread::spawn(move || notifier.post(bit))
        });
        let mut taken = Vec::new();
        notifier.take(|bit| taken.push(bit));
        notifier.begin_sleep();
        let asleep = !notifier.has_news();
        let rung = posters.map(|p| p.join().unwrap());
        for (bit, rung) in bits.into_iter().zip(rung) {
            assert!(!asleep || rung || taken.contains(&bit), "asleep without {bit}, of {bits:?}, with {taken:?}");
        }
        notifier.take(|bit| taken.push(bit));
        taken.sort_unstable();
        assert_eq!(taken, bits);
    });
}

#[test]
fn loom_bits_of_one_word_are_taken_once() {
    posts([1, 2]);
}

#[test]
fn loom_bits_of_two_words_are_taken_once() {
    posts([1, 65]);
}

fn me(number: u32) -> Me {
    Me(Owner::new(1, number))
}

fn iovec_of(bytes: &mut [u8]) -> [iovec; 1] {
    [iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }]
}

fn push(d: &Direction, arena: &Arena, bytes: &[u8], published: impl FnMut()) -> usize {
    let mut bytes = bytes.to_vec();
    let buffers = iovec_of(&mut bytes);
    // SAFETY: `bytes` outlives the cursor.
    let mut source = unsafe { Iov::new(&buffers) }.unwrap();
    stream::push(d, arena, me(1), true, &mut source, stream::WHOLE_BYTES, || true, published).expect("damaged")
}

fn pop(d: &Direction, arena: &Arena, most: usize, peek: bool) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let buffers = iovec_of(&mut bytes);
    // SAFETY: as above.
    let mut sink = unsafe { Iov::new(&buffers) }.unwrap();
    let n = stream::pop(d, arena, me(2), true, &mut sink, most, peek, || true).expect("damaged");
    bytes.truncate(n);
    bytes
}

/// A ring with its first segment.
fn ring() -> (Arc<Arena>, Arc<Direction>) {
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
    model(Some(preemptions), move || {
        let (arena, d) = ring();
        let writer = thread::spawn({
            let (arena, d) = (arena.clone(), d.clone());
            move || write(&d, &arena, all)
        });
        let mut got = Vec::new();
        for _ in 0..reads {
            got.extend(pop(&d, &arena, 2, false));
        }
        let sent = writer.join().unwrap();
        loop {
            match pop(&d, &arena, 2, false) {
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

/// A doorbell, and a thread that sleeps until it is rung. Loom fails a model whose threads all sleep.
#[derive(Default)]
struct Bell {
    rung: Mutex<u32>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() += 1;
        self.heard.notify_one();
    }

    fn sleep(&self) {
        let mut rung = self.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.heard.wait(rung).unwrap();
        }
        *rung -= 1;
    }
}

impl Default for SharedRing {
    fn default() -> Self {
        let (arena, d) = ring();
        SharedRing { arena, d, data: Bell::default(), room: Bell::default() }
    }
}

/// A ring, and a doorbell for each of its ends.
struct SharedRing {
    arena: Arc<Arena>,
    d: Arc<Direction>,
    data: Bell,
    room: Bell,
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
