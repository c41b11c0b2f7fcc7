//! The wait words, an event loop's sleep and the notifiers.

use loom::thread;
use std::sync::Arc;

use super::{model, publish, rings};
use crate::sys::sync::Ordering;
use crate::transport::direction::Direction;
use crate::transport::notifier::Notifier;
use crate::transport::wait::{WaitWord, Wishes};

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
