//! The way back from the ring to the kernel. What calls these functions is in `socket` and only sketched here: the
//! subject is what `Direction::change_path`, `stream::push`, `fill`, `drain` and their locks promise it.

use loom::sync::Mutex;
use loom::thread;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use super::stream::{drain, pop, push_if, ring};
use super::{me, model};
use crate::shm::Arena;
use crate::shm::arena::copied;
use crate::shm::owner::System;
use crate::sys::sync::Ordering;
use crate::transport::direction::{ABANDONED, Direction, Path};
use crate::transport::stream;

/// One direction of an AF_UNIX connection, on the ring.
struct Connection {
    arena: Arc<Arena>,
    d: Arc<Direction>,
    kernel: Mutex<VecDeque<u8>>,
}

/// Puts a byte into the ring, unless it was left; false where it was.
type Put = fn(&Connection, u32, u8) -> bool;

impl Connection {
    fn new() -> Arc<Connection> {
        let (arena, d) = ring();
        assert!(d.confirm() && d.change_path(Path::Ready, Path::Switching) && d.change_path(Path::Switching, Path::Ring));
        Arc::new(Connection { arena, d, kernel: Mutex::default() })
    }

    fn is_on_ring(&self) -> bool {
        self.d.path() == Path::Ring
    }

    fn push(&self, who: u32, byte: u8) -> bool {
        push_if(&self.d, &self.arena, who, &[byte], || self.is_on_ring(), || ()) == 1
    }

    fn fill(&self, who: u32, byte: u8) -> bool {
        let put = |to: *mut u8, n: usize| {
            assert!(n > 0);
            copied(to, &byte, 1);
            // SAFETY: `n` bytes of the ring.
            unsafe { to.write(byte) };
            Ok::<_, Infallible>(1)
        };
        stream::fill(&self.d, &self.arena, me(who), 1, || self.is_on_ring(), put, |_, _| ()).expect("damaged").is_some()
    }

    fn send(&self, who: u32, byte: u8, put: Put) {
        while self.d.control.deaf.load(Ordering::SeqCst) != ABANDONED && self.is_on_ring() {
            if put(self, who, byte) {
                return;
            }
            thread::yield_now();
        }
        self.leave(who);
        self.kernel.lock().unwrap().push_back(byte);
    }

    /// The sender goes back to the kernel, to which it gives what nobody reads any more.
    fn leave(&self, who: u32) {
        let _held = self.d.writer.lock.acquire(me(who).owner(), &System(&self.arena));
        if !self.d.change_path(Path::Ring, Path::Parting) {
            return;
        }
        if self.d.control.deaf.load(Ordering::SeqCst) == ABANDONED {
            loop {
                match drain(&self.d, &self.arena, who) {
                    bytes if bytes.is_empty() => break,
                    bytes => self.kernel.lock().unwrap().extend(bytes),
                }
            }
        }
        assert!(self.d.change_path(Path::Parting, Path::Leaving));
    }

    /// The next byte, if there is one.
    fn receive(&self) -> Option<u8> {
        if !self.d.path().leads_to_ring() {
            return self.kernel.lock().unwrap().pop_front();
        }
        let byte = pop(&self.d, &self.arena, 1, false).first().copied();
        if byte.is_none() && self.d.path() == Path::Leaving && !self.d.has_data() {
            self.d.change_path(Path::Leaving, Path::Pinned);
        }
        byte
    }
}

fn assert_each_in_order(got: &[u8], senders: [&[u8]; 2]) {
    for sent in senders {
        let of_it: Vec<u8> = got.iter().copied().filter(|b| sent.contains(b)).collect();
        assert_eq!(of_it, sent, "of {got:?}");
    }
}

/// One of two senders takes the direction back to the kernel: what the other sends comes once and in order, by
/// whichever way.
fn senders_part(put: Put) {
    model(Some(2), move || {
        let c = Connection::new();
        let sender = thread::spawn({
            let c = c.clone();
            move || [1, 2].iter().for_each(|&byte| c.send(1, byte, put))
        });
        let leaver = thread::spawn({
            let c = c.clone();
            move || {
                c.leave(3);
                c.send(3, 9, put);
            }
        });
        let mut got: Vec<u8> = (0..2).filter_map(|_| c.receive()).collect();
        sender.join().unwrap();
        leaver.join().unwrap();
        while got.len() < 3 && (c.d.has_data() || c.d.path() == Path::Leaving || !c.kernel.lock().unwrap().is_empty()) {
            got.extend(c.receive());
        }
        assert_each_in_order(&got, [&[1, 2], &[9]]);
    });
}

/// Fails if `push` asks whether the ring is still the way before it holds the lock.
#[test]
fn loom_senders_part_from_the_ring() {
    senders_part(Connection::push);
}

/// Fails if `fill` does.
#[test]
fn loom_files_part_from_the_ring() {
    senders_part(Connection::fill);
}

/// The receiver becomes a program that knows of no ring, before others do who share its end: what was not read the
/// senders take out again. Returns what came by the ring, and what by the kernel.
fn abandoned(reads_afterwards: usize, check: fn(Vec<u8>, Vec<u8>)) {
    model(Some(2), move || {
        let c = Connection::new();
        let senders = [(1, &[1, 2][..]), (3, &[9][..])].map(|(who, bytes)| {
            let c = c.clone();
            thread::spawn(move || bytes.iter().for_each(|&byte| c.send(who, byte, Connection::push)))
        });
        let mut got = pop(&c.d, &c.arena, 1, false);
        c.d.control.deaf.store(ABANDONED, Ordering::SeqCst);
        (0..reads_afterwards).for_each(|_| got.extend(pop(&c.d, &c.arena, 1, false)));
        senders.into_iter().for_each(|s| s.join().unwrap());
        // They use the socket once more.
        c.leave(1);
        assert!(!c.d.has_data(), "something stays in the ring");
        let by_kernel = c.kernel.lock().unwrap().iter().copied().collect();
        check(got, by_kernel);
    });
}

/// Fails if `push` asks before it holds the lock.
#[test]
fn loom_an_abandoned_ring_goes_into_the_kernel() {
    abandoned(0, |got, by_kernel| assert_each_in_order(&[got, by_kernel].concat(), [&[1, 2], &[9]]));
}

/// Fails if `drain` does not hold the readers' lock.
#[test]
fn loom_an_abandoned_ring_gives_each_byte_once() {
    abandoned(1, |got, by_kernel| {
        let mut all = [got, by_kernel].concat();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 9]);
    });
}

/// Of two steps from the same state one is taken.
/// Fails if `change_path` looks and then stores.
#[test]
fn loom_one_of_two_steps_is_taken() {
    model(None, || {
        let d = Arc::new(Direction::default());
        assert!(d.confirm());
        let pins = thread::spawn({
            let d = d.clone();
            move || d.change_path(Path::Ready, Path::Pinned)
        });
        let switches = d.change_path(Path::Ready, Path::Switching) && d.change_path(Path::Switching, Path::Ring);
        assert_ne!(switches, pins.join().unwrap());
        assert_eq!(d.path(), if switches { Path::Ring } else { Path::Pinned });
    });
}

/// Who finds the direction on the ring knows how much is still to be read from the kernel.
/// Fails if `change_path` steps relaxed, and if `path` looks relaxed.
#[test]
fn loom_a_step_shows_what_was_before_it() {
    model(None, || {
        let d = Arc::new(Direction::default());
        let switches = thread::spawn({
            let d = d.clone();
            move || {
                assert!(d.confirm() && d.change_path(Path::Ready, Path::Switching));
                d.reader.kernel_left.store(5, Ordering::Relaxed);
                d.change_path(Path::Switching, Path::Ring);
            }
        });
        if d.path() == Path::Ring {
            assert_eq!(d.reader.kernel_left.load(Ordering::Relaxed), 5);
        }
        switches.join().unwrap();
    });
}
