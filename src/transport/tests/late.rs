//! What is under way, against lists that cannot be wrong; the time is the tests' own.

use core::sync::atomic::Ordering;
use libc::iovec;
use proptest::prelude::*;

use super::ring::{Ring, stream_bytes};
use crate::shm::Arena;
use crate::shm::owner::Me;
use crate::shm::tests::blocks::private_arena;
use crate::transport::direction::{HELD, NEVER, late};
use crate::transport::flight::{self, Due};
use crate::transport::iov::Iov;
use crate::transport::late::{Late, Post};
use crate::transport::record::{self, Header, Pushed};
use crate::transport::stream;

const SEGMENT: u64 = 1000;
const MS: u64 = 1_000_000;

fn me(arena: &Arena) -> Me {
    Me::get(arena).unwrap()
}

/// A direction whose bytes are late.
fn late_ring(arena: &Arena) -> Ring<'_> {
    let ring = Ring::new(arena);
    assert!(ring.append(2) && flight::begin(&ring.d, arena, me(arena), 1));
    ring
}

fn send(ring: &Ring, arena: &Arena, bytes: &[u8], most: u64, due: impl FnMut(u64) -> Due) -> usize {
    let buffers = [iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }];
    // SAFETY: the buffer is read alone, and outlives the cursor.
    let mut source = unsafe { Iov::new(&buffers) }.unwrap();
    flight::push(&ring.d, arena, me(arena), &mut source, (most, 0), SEGMENT, || true, due, |_, _| (), || ()).expect("damaged")
}

fn on_time(ns: u64) -> Due {
    Due { ns, soon_ns: ns }
}

fn land(ring: &Ring, arena: &Arena, now: u64) -> u64 {
    flight::land(&ring.d, arena, me(arena), now, || HELD)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each call sends so many bytes, due so much later than now; then so much time goes by.
    #[test]
    fn bytes_arrive_in_order_and_not_before_they_are_due(
        calls in prop::collection::vec((1..5000usize, 0..50 * MS, prop_oneof![Just(0), 0..9 * MS]), 1..60),
    ) {
        let (_one, arena) = private_arena();
        let ring = late_ring(arena);
        let (mut now, mut sent, mut got) = (1, 0u64, 0u64);
        // Ends of segments, and when they are due.
        let mut model: Vec<(u64, u64)> = Vec::new();
        for (n, delay, pause) in calls {
            let mut at = sent;
            let due = |piece: u64| {
                at += piece;
                model.push((at, now + delay));
                on_time(now + delay)
            };
            let taken = send(&ring, arena, &stream_bytes(sent, n), u64::MAX, due);
            sent += taken as u64;
            prop_assert!(taken == n || stream::room(&ring.d, arena) == Ok(0));
            now += pause;
            let next = land(&ring, arena, now);
            let bytes = ring.pop(1 << 20, usize::MAX, 1 << 20, false);
            prop_assert_eq!(&bytes, &stream_bytes(got, bytes.len()));
            got += bytes.len() as u64;
            let arrived = |by: u64| model.iter().take_while(|(_, due)| *due <= by).last().map_or(0, |(end, _)| *end);
            // What is due within a tenth of a millisecond may come at once.
            prop_assert!(got <= arrived(now) && got >= arrived(now.saturating_sub(MS / 10)));
            prop_assert_eq!(next == NEVER, got == sent);
            prop_assert!(next > now);
        }
        let last = model.iter().map(|(_, due)| *due).max().unwrap();
        prop_assert_eq!(land(&ring, arena, last), NEVER);
        let rest = ring.pop(1 << 20, usize::MAX, 1 << 20, false);
        prop_assert_eq!(got + rest.len() as u64, sent);
        flight::end(&ring.d, arena, me(arena));
        prop_assert_eq!(ring.d.late(), 0);
        prop_assert_eq!(ring.push(b"on time", 7), 7);
        prop_assert_eq!(ring.pop(9, usize::MAX, 9, false), b"on time");
    }

    /// Datagrams arrive in the order in which they are due, whatever order they were sent in.
    #[test]
    fn datagrams_arrive_when_they_are_due(calls in prop::collection::vec((0..3000usize, 0..50 * MS, prop_oneof![Just(0), 0..9 * MS]), 1..120)) {
        let (_one, arena) = private_arena();
        let (mailbox, under_way) = (Ring::new(arena), Ring::new(arena));
        prop_assert!(mailbox.append(0));
        let post = Post { arena, mailbox: &mailbox.d, under_way: &under_way.d, circuit: 1 };
        let mut now = 1;
        let mut model: Vec<(u64, usize, Vec<u8>)> = Vec::new();
        let check = |now: u64, model: &mut Vec<(u64, usize, Vec<u8>)>| {
            let next = post.land(me(arena), now, u64::MAX, || true);
            model.sort();
            while model.first().is_some_and(|(due, ..)| *due <= now) {
                let (_, number, bytes) = model.remove(0);
                assert_eq!(receive(&mailbox, arena), Some((number as u16, bytes)));
            }
            assert_eq!(receive(&mailbox, arena), None);
            assert_eq!(next, model.first().map_or(NEVER, |(due, ..)| *due));
        };
        for (number, (n, delay, pause)) in calls.into_iter().enumerate() {
            let bytes = stream_bytes(number as u64 * 77, n);
            post_one(&post, number as u16, &bytes, Late { due_ns: now + delay, wrong_bit: None });
            model.push((now + delay, number, bytes));
            now += pause;
            check(now, &mut model);
        }
        check(now + 50 * MS, &mut model);
        prop_assert_eq!(mailbox.d.late(), 0);
    }
}

fn post_one(post: &Post, port: u16, bytes: &[u8], late: Late) {
    let buffers = [iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }];
    // SAFETY: as above.
    let source = unsafe { Iov::new(&buffers) }.unwrap();
    let header = Header { bytes: bytes.len() as u32, port, ..Header::default() };
    let pushed = post.send(me(post.arena), (header, None), &source, late, u64::MAX, || true);
    assert!(matches!(pushed, Ok(Pushed::Done(_))), "{pushed:?}");
}

fn receive(mailbox: &Ring, arena: &Arena) -> Option<(u16, Vec<u8>)> {
    let mut bytes = vec![0; 4000];
    let buffers = [iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }];
    // SAFETY: the buffer outlives the cursor.
    let sink = unsafe { Iov::new(&buffers) }.unwrap();
    let header = record::pop(&mailbox.d, arena, me(arena), true, &sink, false, || true).unwrap()?;
    bytes.truncate(header.bytes as usize);
    Some((header.port, bytes))
}

#[test]
fn one_bit_of_a_datagram_is_wrong() {
    let (_one, arena) = private_arena();
    let (mailbox, under_way) = (Ring::new(arena), Ring::new(arena));
    assert!(mailbox.append(0));
    let post = Post { arena, mailbox: &mailbox.d, under_way: &under_way.d, circuit: 1 };
    post_one(&post, 1, &[0; 10], Late { due_ns: 5, wrong_bit: Some(80 + 13) });
    assert_eq!(post.land(me(arena), 5, u64::MAX, || true), NEVER);
    assert_eq!(receive(&mailbox, arena), Some((1, vec![0, 0b10_0000, 0, 0, 0, 0, 0, 0, 0, 0])));
}

#[test]
fn what_finds_no_room_in_the_mailbox_is_dropped() {
    let (_one, arena) = private_arena();
    let (mailbox, under_way) = (Ring::new(arena), Ring::new(arena));
    assert!(mailbox.append(0));
    let post = Post { arena, mailbox: &mailbox.d, under_way: &under_way.d, circuit: 1 };
    (0..5).for_each(|n| post_one(&post, n, &[n as u8; 400], Late { due_ns: 5, wrong_bit: None }));
    assert_eq!(post.land(me(arena), 5, 1000, || true), NEVER);
    assert_eq!(mailbox.d.writer.fulls.load(Ordering::Relaxed), 3);
    assert_eq!([receive(&mailbox, arena), receive(&mailbox, arena)].map(|r| r.map(|(port, _)| port)), [Some(0), Some(1)]);
}

#[test]
fn a_lost_segment_comes_soon_if_others_follow() {
    let (_one, arena) = private_arena();
    let ring = late_ring(arena);
    let lost = Due { ns: 200 * MS, soon_ns: 20 * MS };
    let mut first = Some(lost);
    let due = |_| first.take().unwrap_or(on_time(10 * MS));
    assert_eq!(send(&ring, arena, &stream_bytes(0, 3000), u64::MAX, due), 3000);
    assert_eq!(land(&ring, arena, 10 * MS), 200 * MS, "two do not show that it is lost");
    assert_eq!(send(&ring, arena, &stream_bytes(3000, 1000), u64::MAX, |_| on_time(11 * MS)), 1000);
    assert_eq!(land(&ring, arena, 19 * MS), 20 * MS);
    assert_eq!(ring.queued(), 0);
    assert_eq!(land(&ring, arena, 20 * MS), NEVER);
    assert_eq!(ring.pop(9000, usize::MAX, 9000, false), stream_bytes(0, 4000));
}

#[test]
fn a_cut_holds_bytes_until_it_is_healed() {
    let (_one, arena) = private_arena();
    let ring = late_ring(arena);
    assert_eq!(send(&ring, arena, b"before", u64::MAX, |_| on_time(1)), 6);
    assert_eq!(send(&ring, arena, b"behind", u64::MAX, |_| on_time(HELD)), 6);
    flight::send_fin(&ring.d, HELD);
    assert_eq!(land(&ring, arena, 1000 * MS), HELD);
    assert_eq!(ring.pop(99, usize::MAX, 99, false), b"before");
    let healed = |now| flight::land(&ring.d, arena, me(arena), now, || 5 * MS);
    assert_eq!(healed(4 * MS), 5 * MS);
    assert!(!ring.d.has_data());
    assert_eq!(healed(5 * MS), NEVER);
    assert_eq!(ring.pop(99, usize::MAX, 99, false), b"behind");
    assert!(ring.d.is_finished() && ring.d.late() == late::BYTES);
}

#[test]
fn the_end_of_file_comes_behind_the_bytes() {
    let (_one, arena) = private_arena();
    let ring = late_ring(arena);
    send(&ring, arena, b"last", u64::MAX, |_| on_time(9 * MS));
    flight::send_fin(&ring.d, 5 * MS);
    assert_eq!(land(&ring, arena, 7 * MS), 9 * MS);
    assert!(!ring.d.is_finished());
    assert_eq!(land(&ring, arena, 9 * MS), NEVER);
    assert!(ring.d.is_finished() && ring.queued() == 4);
}

#[test]
fn no_more_is_under_way_than_may_be() {
    let (_one, arena) = private_arena();
    let ring = late_ring(arena);
    assert_eq!(send(&ring, arena, &[1; 9000], 5000, |_| on_time(MS)), 5000);
    assert_eq!(send(&ring, arena, &[1; 9000], 5000, |_| on_time(MS)), 0);
    land(&ring, arena, MS);
    assert_eq!(send(&ring, arena, &[1; 9000], 5000, |_| on_time(MS)), 0, "it has arrived, and nobody has read it");
    ring.pop(2000, usize::MAX, 9000, false);
    assert_eq!(send(&ring, arena, &[1; 9000], 5000, |_| on_time(MS)), 2000);
}

/// More pieces than the schedule has room for arrive all the same.
#[test]
fn pieces_beyond_the_schedule_are_one() {
    let (_one, arena) = private_arena();
    let ring = late_ring(arena);
    for n in 0..5000 {
        assert_eq!(send(&ring, arena, &stream_bytes(n, 1), u64::MAX, |_| on_time((n + 1) * MS)), 1);
    }
    assert_eq!(land(&ring, arena, MS), 2 * MS);
    assert_eq!(land(&ring, arena, 4999 * MS), 5000 * MS);
    assert_eq!(land(&ring, arena, 5000 * MS), NEVER);
    assert_eq!(ring.pop(9000, usize::MAX, 9000, false), stream_bytes(0, 5000));
}
