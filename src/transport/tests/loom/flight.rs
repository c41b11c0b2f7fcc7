//! Bytes under way: a sender that says when they arrive, and receivers that let them.

use loom::thread;
use std::sync::Arc;

use super::stream::{pop, ring};
use super::{Bell, iovec_of, me, model, rings};
use crate::shm::Arena;
use crate::sys::sync::Ordering;
use crate::transport::direction::{Direction, HELD, NEVER};
use crate::transport::flight::{self, Due};
use crate::transport::iov::Iov;
use crate::transport::stream;

fn late_ring() -> (Arc<Arena>, Arc<Direction>) {
    let (arena, d) = ring();
    d.control.schedule.store(4, Ordering::Relaxed);
    assert!(flight::begin(&d, &arena, me(1), 1));
    (arena, d)
}

/// Sends bytes, each due at its own moment; in another segment where there is no room.
fn send(d: &Direction, arena: &Arena, bytes: &[(u8, u64)], mut published: impl FnMut()) {
    for &(byte, ns) in bytes {
        loop {
            let mut bytes = [byte];
            let buffers = iovec_of(&mut bytes);
            // SAFETY: `bytes` outlives the cursor.
            let mut source = unsafe { Iov::new(&buffers) }.unwrap();
            let due = |_| Due { ns, soon_ns: ns };
            if flight::push(d, arena, me(1), &mut source, (u64::MAX, 0), 1, || true, due, |_, _| (), &mut published).expect("damaged") == 1 {
                break;
            }
            assert!(stream::append(d, arena, me(1), 0, 1, || true));
        }
    }
}

fn land(d: &Direction, arena: &Arena, who: u32, now: u64) -> u64 {
    flight::land(d, arena, me(who), now, || HELD)
}

/// What arrives is what was sent, in order, and nothing of it before it is due, whoever lets it arrive.
/// Fails if the head is moved without the schedule's lock.
#[test]
fn loom_late_bytes_arrive_in_order() {
    model(Some(2), || {
        let (arena, d) = late_ring();
        let writer = thread::spawn({
            let (arena, d) = (arena.clone(), d.clone());
            move || send(&d, &arena, &[(1, 5), (2, 7), (3, 6)], || ())
        });
        let other = thread::spawn({
            let (arena, d) = (arena.clone(), d.clone());
            move || land(&d, &arena, 3, 6)
        });
        land(&d, &arena, 2, 5);
        let mut got = pop(&d, &arena, 3, false);
        assert!(got.is_empty() || got == [1], "{got:?}");
        writer.join().unwrap();
        other.join().unwrap();
        land(&d, &arena, 2, 6);
        got.extend(pop(&d, &arena, 3, false));
        assert_eq!(got, [1]);
        assert_eq!(land(&d, &arena, 2, 7), NEVER);
        while got.len() < 3 {
            got.extend(pop(&d, &arena, 3, false));
        }
        assert_eq!(got, [1, 2, 3]);
    });
}

/// A receiver that sleeps without an end has nothing under way: whoever sends wakes it, so that it knows when to look.
/// Fails if `push` does not say when that is.
#[test]
fn loom_receiver_learns_when_to_look() {
    model(Some(3), || {
        let (arena, d) = late_ring();
        let bell = Arc::new(Bell::default());
        let writer = thread::spawn({
            let (arena, d, bell) = (arena.clone(), d.clone(), bell.clone());
            move || {
                send(&d, &arena, &[(1, 5)], || {
                    if rings(d.control.readable.take()) {
                        bell.ring();
                    }
                });
            }
        });
        loop {
            d.control.readable.declare_asleep();
            let due = land(&d, &arena, 2, 1);
            assert!(!d.has_data());
            if due != NEVER {
                // It sleeps until then.
                assert_eq!((due, land(&d, &arena, 2, due)), (5, NEVER));
                break;
            }
            bell.sleep();
        }
        assert_eq!(pop(&d, &arena, 3, false), [1]);
        writer.join().unwrap();
    });
}

/// The link is good again in the middle of it: what follows comes by the head itself.
#[test]
fn loom_late_bytes_come_to_an_end() {
    model(Some(2), || {
        let (arena, d) = late_ring();
        let writer = thread::spawn({
            let (arena, d) = (arena.clone(), d.clone());
            move || {
                send(&d, &arena, &[(1, 5)], || ());
                flight::end(&d, &arena, me(1));
                let ended = d.late() == 0;
                if ended {
                    assert_eq!(super::stream::push_if(&d, &arena, 1, &[2], || true, || ()), 1);
                } else {
                    send(&d, &arena, &[(2, 5)], || ());
                }
            }
        });
        land(&d, &arena, 2, 5);
        let mut got = pop(&d, &arena, 2, false);
        writer.join().unwrap();
        land(&d, &arena, 2, 5);
        got.extend(pop(&d, &arena, 2, false));
        assert_eq!(got, [1, 2]);
    });
}
