//! The taps on a real arena: what is told comes, in order; who does not read, or is no more, costs nobody anything.

use core::sync::atomic::Ordering;
use libc::iovec;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::time::{Duration, Instant};

use crate::shm::Arena;
use crate::shm::layout::CAPTURES;
use crate::shm::tests::blocks::private_arena;
use crate::transport::iov::Iov;
use crate::transport::tap::{self, Losses, MOST_BYTES, Reader, Refusal};

fn tell(arena: &Arena, lead: &[u8], bytes: &[u8]) {
    let buffers = [iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }];
    // SAFETY: the bytes are read alone, and outlive the cursor.
    tap::tell(arena, lead, &unsafe { Iov::new(&buffers) }.unwrap());
}

fn next(reader: &Reader) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut lead, mut bytes) = (vec![0; 128], vec![0; MOST_BYTES]);
    let (n, m) = reader.next(&mut lead, &mut bytes).unwrap()?;
    Some((lead[..n].to_vec(), bytes[..m].to_vec()))
}

fn held(arena: &Arena) -> u32 {
    arena.header().net.taps.held.load(Ordering::SeqCst)
}

#[test]
fn what_is_told_comes_in_order_and_whole() {
    let (_guard, arena) = private_arena();
    let units = arena.header().units_live.load(Ordering::SeqCst);
    let reader = Reader::begin(arena, u32::MAX).unwrap();
    assert!(tap::is_on(arena));
    let bytes_of = |n: usize| (0..n * 97 % (MOST_BYTES + 1)).map(|i| (i * n) as u8).collect::<Vec<u8>>();
    for n in 0..4000usize {
        tell(arena, &n.to_le_bytes(), &bytes_of(n));
        if n % 50 == 49 {
            for n in n - 49..=n {
                assert_eq!(next(&reader), Some((n.to_le_bytes().to_vec(), bytes_of(n))));
            }
            assert_eq!(next(&reader), None);
        }
    }
    assert_eq!(reader.losses(), Losses::default());
    drop(reader);
    assert!(!tap::is_on(arena) && held(arena) == 0);
    assert_eq!(arena.header().units_live.load(Ordering::SeqCst), units, "memory is left");
    tell(arena, b"nobody", b"listens");
}

#[test]
fn no_more_bytes_than_asked_for() {
    let (_guard, arena) = private_arena();
    let reader = Reader::begin(arena, 5).unwrap();
    tell(arena, b"lead", b"0123456789");
    tell(arena, b"lead", &[7; 2 * MOST_BYTES]);
    assert_eq!(next(&reader), Some((b"lead".to_vec(), b"01234".to_vec())));
    assert_eq!(next(&reader), Some((b"lead".to_vec(), vec![7; 5])));
}

#[test]
fn a_reader_that_does_not_read_is_waited_for_once() {
    let (_guard, arena) = private_arena();
    let reader = Reader::begin(arena, u32::MAX).unwrap();
    let began = Instant::now();
    let many = 400_000u64;
    for n in 0..many {
        tell(arena, &n.to_le_bytes(), &[n as u8; 1000]);
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let losses = reader.losses();
    assert!(losses.cut > 0 && losses.dropped > 0 && losses.dropped < losses.cut, "{losses:?}");
    let mut got = 0u64;
    while let Some((lead, bytes)) = next(&reader) {
        assert_eq!(lead, got.to_le_bytes());
        assert!(bytes.is_empty() || bytes == [got as u8; 1000]);
        got += 1;
    }
    assert_eq!(got + losses.dropped, many);
    // And is told again as soon as it reads.
    tell(arena, b"again", b"bytes");
    assert_eq!(next(&reader), Some((b"again".to_vec(), b"bytes".to_vec())));
}

#[test]
fn a_slow_reader_misses_nothing() {
    let (_guard, arena) = private_arena();
    let reader = Reader::begin(arena, u32::MAX).unwrap();
    std::thread::scope(|threads| {
        for teller in 0..2u64 {
            threads.spawn(move || (0..2000u64).for_each(|n| tell(arena, &(teller << 32 | n).to_le_bytes(), &[n as u8; 20_000])));
        }
        let mut seen = [0u64; 2];
        while seen != [2000; 2] {
            match next(&reader) {
                None => reader.wait(1_000_000_000),
                Some((lead, bytes)) => {
                    let word = u64::from_le_bytes(lead.try_into().unwrap());
                    let n = &mut seen[(word >> 32) as usize];
                    assert_eq!((word & 0xffff_ffff, bytes), (*n, vec![*n as u8; 20_000]));
                    *n += 1;
                    if n.is_multiple_of(100) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            }
        }
    });
    assert_eq!(reader.losses(), Losses::default());
}

#[test]
fn there_are_several_captures_and_not_too_many() {
    let (_guard, arena) = private_arena();
    let readers: Vec<Reader> = (1..CAPTURES.entries).map(|_| Reader::begin(arena, u32::MAX).unwrap()).collect();
    assert_eq!(Reader::begin(arena, u32::MAX).err(), Some(Refusal::Many));
    tell(arena, b"to all", b"");
    assert!(readers.iter().all(|reader| next(reader) == Some((b"to all".to_vec(), vec![]))));
}

/// Runs `f` in another process, which is killed once it has written a byte.
fn killed_in(f: impl FnOnce(&dyn Fn())) {
    let (read, write) = nix::unistd::pipe().unwrap();
    // SAFETY: the child does nothing but `f`, and never returns from here.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            crate::sys::thread::forget();
            crate::shm::owner::forget();
            f(&|| {
                let _ = nix::unistd::write(&write, b"!");
            });
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        ForkResult::Parent { child } => {
            assert_eq!(nix::unistd::read(&read, &mut [0]).unwrap(), 1);
            kill(child, Signal::SIGKILL).unwrap();
            waitpid(child, None).unwrap();
            let _: Pid = child;
        }
    }
}

#[test]
fn a_capture_ends_with_its_reader() {
    let (_guard, arena) = private_arena();
    let units = arena.header().units_live.load(Ordering::SeqCst);
    let begin = || {
        killed_in(|ready| {
            core::mem::forget(Reader::begin(arena, u32::MAX).unwrap());
            ready();
        });
        assert!(tap::is_on(arena));
    };
    // Those that tell notice, once the ring is full.
    begin();
    (0..100_000).for_each(|_| tell(arena, b"lead", &[1; 1000]));
    assert!(!tap::is_on(arena) && held(arena) == 0);
    // And so does the next capture, or a sweep.
    begin();
    drop(Reader::begin(arena, u32::MAX).unwrap());
    assert!(!tap::is_on(arena) && held(arena) == 0);
    begin();
    assert_eq!(tap::bury(&arena.lock()), 1);
    assert!(!tap::is_on(arena) && held(arena) == 0);
    assert_eq!(arena.header().units_live.load(Ordering::SeqCst), units, "memory is left");
}

#[test]
fn a_teller_killed_in_the_middle_stops_nobody() {
    let (_guard, arena) = private_arena();
    let reader = Reader::begin(arena, u32::MAX).unwrap();
    for round in 0..50 {
        killed_in(|ready| {
            tell(arena, b"killed", &[9; 60_000]);
            ready();
            loop {
                tell(arena, b"killed", &[9; 60_000]);
            }
        });
        let began = Instant::now();
        tell(arena, b"alive", &[1; 10]);
        assert!(began.elapsed() < Duration::from_secs(2), "round {round}: {:?}", began.elapsed());
        let mut last = None;
        while let Some((lead, bytes)) = next(&reader) {
            assert!(lead == b"alive" || lead == b"killed" && (bytes.is_empty() || bytes == [9; 60_000]));
            last = Some(lead);
        }
        assert_eq!(last, Some(b"alive".to_vec()), "round {round}");
    }
}
