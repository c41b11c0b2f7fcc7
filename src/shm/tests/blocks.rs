//! The blocks on a real arena: whatever is asked for and given back in whatever order, no two blocks
//! overlap, all come back, and an arena without room says so.

use core::sync::atomic::Ordering;
use proptest::prelude::*;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::shm::blocks::{self, Block, Class, bytes_of};
use crate::shm::layout::{BLOCKS_OFF, CLASSES, DESCRIPTORS};
use crate::shm::{Arena, arena};

/// The arena of the unit tests: in a folder of its own that is gone as soon as the arena is mapped. One test
/// at a time has it, so that what it counts is its own.
pub fn private_arena() -> (MutexGuard<'static, ()>, &'static Arena) {
    static MADE: Once = Once::new();
    static ONE_TEST: Mutex<()> = Mutex::new(());
    let guard = ONE_TEST.lock().unwrap_or_else(PoisonError::into_inner);
    MADE.call_once(|| {
        use std::os::unix::fs::DirBuilderExt;
        let dir = format!("/dev/shm/landline-units-{}", std::process::id());
        std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        // SAFETY: whoever reads the environment does so through std, which guards it.
        unsafe { std::env::set_var("LANDLINE_DIR", &dir) };
        let made = arena().is_some();
        assert!(is_unlocked(), "the mapping keeps the file's lock: whoever joins meanwhile waits for this process to end");
        let ours = crate::sys::config::get().dir.as_deref() == Some(dir.as_bytes());
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(made && ours, "no arena for the tests");
    });
    (guard, arena().unwrap())
}

/// Whether nobody holds the lock of the arena's file.
fn is_unlocked() -> bool {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open(crate::shm::arena::location(&crate::shm::arena::Place::configured()).unwrap()).unwrap();
    // SAFETY: flock takes any descriptor.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate(Class),
    /// Gives back one of those in use.
    Free(usize),
    /// Gives back one that was given back before, or that never was.
    FreeAgain(u64),
    Trim,
    /// Gives back all that circuits with numbers below this have.
    Reclaim(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..CLASSES).prop_map(Step::Allocate),
        4 => any::<usize>().prop_map(Step::Free),
        1 => any::<u64>().prop_map(Step::FreeAgain),
        1 => Just(Step::Trim),
        1 => (0u32..40).prop_map(Step::Reclaim),
    ]
}

/// A pattern that tells the block and the allocation apart.
fn sign(arena: &Arena, block: Block, value: u64) {
    let at = blocks::memory(arena, block).unwrap().cast::<u64>();
    // SAFETY: the block is in use, by this test, and has pages; its first and last words lie in it.
    unsafe {
        at.write(value);
        at.add(block.bytes() as usize / 8 - 1).write(!value);
    }
}

fn is_signed(arena: &Arena, block: Block, value: u64) -> bool {
    let at = blocks::memory(arena, block).unwrap().cast::<u64>();
    // SAFETY: as above.
    unsafe { at.read() == value && at.add(block.bytes() as usize / 8 - 1).read() == !value }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_never_overlap_and_all_return(steps in prop::collection::vec(step(), 1..300)) {
        let (_one, arena) = private_arena();
        let units = || arena.header().units_live.load(Ordering::Relaxed);
        let before = units();
        let mut used: Vec<(Block, u32, u64)> = Vec::new();
        let mut freed: Vec<Block> = Vec::new();
        let mut serial = 0;
        for step in steps {
            let table = arena.lock();
            match step {
                Step::Allocate(class) => {
                    serial += 1;
                    let circuit = serial as u32 % 40 + 1;
                    let block = blocks::allocate(&table, class, circuit);
                    prop_assert!(block.is_some());
                    let block = block.unwrap();
                    prop_assert_eq!(block.class(), class);
                    prop_assert!(block.off() >= BLOCKS_OFF && block.off() + block.bytes() <= arena.mapped_bytes());
                    prop_assert_eq!(block.off() % 4096, 0);
                    for (other, ..) in &used {
                        prop_assert!(block.off() + block.bytes() <= other.off() || other.off() + other.bytes() <= block.off(), "{block:?} {other:?}");
                    }
                    sign(arena, block, serial);
                    freed.retain(|b| *b != block);
                    used.push((block, circuit, serial));
                }
                Step::Free(n) if !used.is_empty() => {
                    let (block, _, value) = used.swap_remove(n % used.len());
                    prop_assert!(is_signed(arena, block, value), "somebody wrote over {block:?}");
                    blocks::free(&table, block);
                    freed.push(block);
                }
                Step::Free(_) => {}
                Step::FreeAgain(word) => {
                    let live = units();
                    // A word that names a block in use, if only by chance, would be a right one.
                    let stale = freed.get(word as usize % (freed.len() + 1)).map_or(word | 3, |b| b.0);
                    if !used.iter().any(|(b, ..)| b.0 == stale) {
                        blocks::free(&table, Block(stale));
                        prop_assert_eq!(units(), live);
                    }
                }
                Step::Trim => blocks::trim(&table),
                Step::Reclaim(below) => {
                    blocks::reclaim(&table, |circuit| (1..below).contains(&circuit));
                    used.retain(|&(_, circuit, _)| circuit >= below);
                }
            }
            prop_assert_eq!(units() - before, used.iter().map(|(b, ..)| (b.bytes() / 4096) as u32).sum::<u32>());
        }
        let table = arena.lock();
        for (block, _, value) in used {
            prop_assert!(is_signed(arena, block, value), "somebody wrote over {block:?}");
            blocks::free(&table, block);
        }
        prop_assert_eq!(units(), before);
    }
}

/// Freed blocks are used again before the arena grows.
#[test]
fn what_came_back_is_given_out_again() {
    let (_one, arena) = private_arena();
    let table = arena.lock();
    let round = || {
        let all: Vec<Block> =
            (0..CLASSES).flat_map(|class| (0..40).map(move |_| class)).map(|class| blocks::allocate(&table, class, 1).unwrap()).collect();
        all.into_iter().for_each(|block| blocks::free(&table, block));
        arena.header().units_high.load(Ordering::Relaxed)
    };
    let high = round();
    blocks::trim(&table);
    assert_eq!(round(), high);
}

/// At the end of the descriptors, and of what is mapped, there is no block; what was freed is still found.
#[test]
fn an_arena_without_room_says_so() {
    let (_one, arena) = private_arena();
    let table = arena.lock();
    let high = &arena.header().units_high;
    let before = high.load(Ordering::Relaxed);
    let free: Vec<u32> = arena.header().block_free.iter().map(|c| c.swap(0, Ordering::Relaxed)).collect();
    for end in [DESCRIPTORS.entries, DESCRIPTORS.entries - 15, u32::MAX, u32::MAX - 15, ((arena.mapped_bytes() - BLOCKS_OFF) / 4096) as u32] {
        high.store(end, Ordering::Relaxed);
        for class in 0..CLASSES {
            assert_eq!(blocks::allocate(&table, class, 1), None, "class {class} at {end}");
            assert_eq!(high.load(Ordering::Relaxed), end);
        }
    }
    assert_eq!(blocks::allocate(&table, CLASSES, 1), None);
    assert_eq!(bytes_of(CLASSES), 0);
    for (chain, first) in arena.header().block_free.iter().zip(free) {
        chain.store(first, Ordering::Relaxed);
    }
    if let Some(block) = blocks::allocate(&table, 0, 1) {
        blocks::free(&table, block);
    }
    high.store(before, Ordering::Relaxed);
}
