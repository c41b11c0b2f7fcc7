//! The record ring: several senders, one receiver or two.

use core::ops::Range;
use loom::thread;
use std::sync::Arc;

use super::large::Large;
use super::large::iov::Iov;
use super::large::record::{self, Header, Pushed};
use super::{Bell, iovec_of, me, model, rings};
use crate::shm::Arena;
use crate::sys::sync::{AtomicU32, Ordering};
use crate::transport::direction::Direction;
use crate::transport::{iov, stream};

/// A mailbox, and the doorbell of who receives.
struct Mailbox {
    arena: Arc<Arena>,
    _large: Large,
    d: Direction,
    bell: Bell,
    is_closed: AtomicU32,
    /// What may be queued.
    most: u64,
}

/// A datagram as it was received: its sender's port and its bytes.
type Datagram = (u16, Vec<u8>);

/// The `n`th datagram of a sender: those of the first take 32 bytes of the ring and those of the second 40, of 64.
fn datagram(port: u16, n: usize) -> Datagram {
    let bytes = if port == 1 { 3 } else { 9 };
    (port, vec![port as u8 * 16 + n as u8; bytes])
}

impl Mailbox {
    fn new(most: u64) -> Arc<Mailbox> {
        let (arena, d) = (Arena::new(), Direction::default());
        assert!(stream::append(&d, &arena, me(9), 0, 1, || true));
        Arc::new(Mailbox { arena, _large: Large::new(), d, bell: Bell::default(), is_closed: AtomicU32::default(), most })
    }

    /// A mailbox that was used: what comes next goes round the end of its memory.
    fn used() -> Arc<Mailbox> {
        let m = Mailbox::new(u64::MAX);
        assert_eq!(m.push(datagram(2, 0)), Pushed::Done(40));
        assert_eq!(m.pop(9), Some(datagram(2, 0)));
        m
    }

    fn push(&self, (port, mut bytes): Datagram) -> Pushed {
        let header = Header { bytes: bytes.len() as u32, port, high: u64::from(port) << 8, low: u64::from(port) << 16, ..Header::default() };
        let buffers = iovec_of(&mut bytes);
        // SAFETY: `bytes` outlives the cursor.
        let source = Iov(unsafe { iov::Iov::new(&buffers) }.unwrap());
        let valid = || self.is_closed.load(Ordering::SeqCst) == 0;
        record::push(&self.d, &self.arena, me(u32::from(port)), header, &source, self.most, valid).expect("damaged")
    }

    /// Sends datagrams, as who rings for each; returns those for which there was room, in another segment too where
    /// `may_grow` allows that.
    fn send(&self, port: u16, numbers: Range<usize>, may_grow: bool) -> Vec<Datagram> {
        let has_gone = |n: &usize| {
            let mut pushed = self.push(datagram(port, *n));
            if may_grow && pushed == Pushed::NoRoom && stream::append(&self.d, &self.arena, me(u32::from(port)), 0, 1, || true) {
                pushed = self.push(datagram(port, *n));
            }
            let is_done = matches!(pushed, Pushed::Done(_));
            if is_done && rings(self.d.control.readable.take()) {
                self.bell.ring();
            }
            is_done
        };
        numbers.filter(has_gone).map(|n| datagram(port, n)).collect()
    }

    fn take(&self, receiver: u32, peek: bool) -> Option<Datagram> {
        let mut bytes = vec![0; 16];
        let buffers = iovec_of(&mut bytes);
        // SAFETY: as above.
        let sink = Iov(unsafe { iov::Iov::new(&buffers) }.unwrap());
        let header = record::pop(&self.d, &self.arena, me(receiver), true, &sink, peek, || true).expect("damaged")?;
        assert_eq!((header.high, header.low), (u64::from(header.port) << 8, u64::from(header.port) << 16));
        bytes.truncate(header.bytes as usize);
        Some((header.port, bytes))
    }

    fn pop(&self, receiver: u32) -> Option<Datagram> {
        self.take(receiver, false)
    }

    /// What a receiver does that has found nothing.
    fn sleep(&self) {
        self.d.control.readable.declare_asleep();
        if !self.d.has_data() {
            self.bell.sleep();
        }
        self.d.control.readable.declare_awake();
    }

    /// Segments in use, each with a block of its own.
    fn has_given_back_the_rest(&self) -> bool {
        let segments = self.d.produced.segment.load(Ordering::Relaxed) - self.d.consumed.segment.load(Ordering::Relaxed) + 1;
        self.arena.blocks_in_use() == segments as usize
    }
}

fn sender(m: &Arc<Mailbox>, port: u16, numbers: Range<usize>, may_grow: bool) -> thread::JoinHandle<Vec<Datagram>> {
    let m = m.clone();
    thread::spawn(move || m.send(port, numbers, may_grow))
}

/// The datagrams of each sender are those that it sent, in its order.
fn assert_complete(mut got: Vec<Datagram>, sent: [Vec<Datagram>; 2]) {
    // A stable sort: by sender.
    got.sort_by_key(|(port, _)| *port);
    assert_eq!(got, sent.concat());
}

/// Of two senders that share a ring each datagram comes whole, in the order of its sender; a record that goes round the
/// end of the memory does as well, and is not overwritten while it is read.
/// Fails without the senders' lock, if `push` publishes relaxed or sees the tail relaxed, and if `pop` sees the head
/// relaxed.
fn two_senders(preemptions: usize, numbers: [Range<usize>; 2], may_grow: bool) {
    model(Some(preemptions), move || {
        let m = Mailbox::used();
        let others = sender(&m, 1, numbers[0].clone(), may_grow);
        let more = sender(&m, 2, numbers[1].clone(), may_grow);
        let mut got: Vec<Datagram> = (0..2).filter_map(|_| m.pop(9)).collect();
        let sent = [others.join().unwrap(), more.join().unwrap()];
        got.extend(core::iter::from_fn(|| m.pop(9)));
        assert_complete(got, sent);
        assert!(m.has_given_back_the_rest(), "a block is lost");
    });
}

#[test]
fn loom_records_of_two_senders_come_whole() {
    two_senders(2, [0..1, 0..1], false);
}

#[test]
fn loom_records_go_on_in_another_segment() {
    two_senders(2, [0..1, 0..2], true);
}

/// A sender that finds the ring read goes round in it.
#[test]
fn loom_records_go_round() {
    model(Some(3), || {
        let m = Mailbox::used();
        let other = sender(&m, 2, 1..4, false);
        let mut got: Vec<Datagram> = (0..3).filter_map(|_| m.pop(9)).collect();
        let sent = other.join().unwrap();
        got.extend(core::iter::from_fn(|| m.pop(9)));
        assert_eq!(got, sent);
        assert_eq!(m.d.produced.head.load(Ordering::Relaxed), 40 * (1 + sent.len() as u64));
    });
}

/// No more is queued than may be, an empty mailbox takes one whatever its size, and what is refused never comes.
/// Fails if `push` takes too little into account, and if it does not look at the tail again.
#[test]
fn loom_a_full_mailbox_drops() {
    model(Some(2), || {
        let m = Mailbox::new(32);
        let senders = [sender(&m, 1, 0..1, false), sender(&m, 2, 0..1, false)];
        let mut got = Vec::from_iter(m.pop(9));
        let sent = senders.map(|s| s.join().unwrap());
        let queued = m.d.queued().unwrap();
        got.extend(core::iter::from_fn(|| m.pop(9)));
        assert!(queued <= 40, "{queued} bytes are queued");
        assert!(sent.iter().any(|s| s.len() == 1), "an empty mailbox refuses");
        assert_complete(got, sent);
        // It was read: there is room again, for one.
        for port in [1, 2] {
            assert!(matches!(m.push(datagram(port, 5)), Pushed::Done(_)));
            assert_eq!(m.push(datagram(1, 6)), Pushed::Full);
            assert_eq!(m.pop(9), Some(datagram(port, 5)));
        }
    });
}

/// A receiver that sleeps is rung, whichever sender comes first, and gets everything that was not dropped.
/// Fails without the fence of `declare_asleep` or `take`, and if the receiver does not look again before it sleeps.
#[test]
fn loom_a_receiver_asleep_is_rung_by_one_of_two_senders() {
    model(Some(2), || {
        let m = Mailbox::new(u64::MAX);
        let senders = [1, 2].map(|port| sender(&m, port, 0..1, true));
        let mut got = Vec::new();
        // There is room for both.
        while got.len() < 2 {
            match m.pop(9) {
                Some(datagram) => got.push(datagram),
                None => m.sleep(),
            }
        }
        assert_complete(got, senders.map(|s| s.join().unwrap()));
    });
}

/// Two receivers of one socket: each datagram goes to one of them, whole.
/// Fails without the readers' lock.
#[test]
fn loom_a_record_goes_to_one_of_two_receivers() {
    model(Some(2), || {
        let m = Mailbox::used();
        let mut sent = m.send(2, 1..2, false);
        let receiver = thread::spawn({
            let m = m.clone();
            move || m.pop(8)
        });
        let sender = sender(&m, 1, 0..2, false);
        let mut got = Vec::from_iter(m.pop(9));
        got.extend(receiver.join().unwrap());
        sent.extend(sender.join().unwrap());
        got.extend(core::iter::from_fn(|| m.pop(9)));
        got.sort();
        sent.sort();
        assert_eq!(got, sent);
    });
}

/// Looking takes nothing, and sees what is taken then.
#[test]
fn loom_a_look_at_a_record_leaves_it() {
    model(Some(3), || {
        let m = Mailbox::used();
        let sender = sender(&m, 2, 1..3, false);
        let seen = m.take(9, true);
        let bytes = record::look(&m.d, &m.arena, me(9), true).map(|h| h.bytes);
        let taken = m.pop(9);
        assert!(seen.is_none() || seen == taken, "seen {seen:?}, taken {taken:?}");
        assert!(bytes.is_none() || taken.is_some_and(|(_, b)| bytes == Some(b.len() as u32)));
        sender.join().unwrap();
    });
}

/// Who closes a mailbox holds senders back: what was put into it before is there, and nothing follows.
/// Fails if `push` asks whether the mailbox is open before it holds the lock.
#[test]
fn loom_nothing_comes_into_a_closed_mailbox() {
    model(None, || {
        let m = Mailbox::new(u64::MAX);
        let sender = sender(&m, 1, 0..1, false);
        let held = record::hold_back_senders(&m.d, &m.arena, me(9)).unwrap();
        m.is_closed.store(1, Ordering::SeqCst);
        held.release(me(9).owner());
        let head = m.d.produced.head.load(Ordering::SeqCst);
        let sent = sender.join().unwrap();
        assert_eq!(m.d.produced.head.load(Ordering::SeqCst), head, "a datagram came into a closed mailbox");
        assert_eq!(Vec::from_iter(m.pop(9)), sent);
    });
}
