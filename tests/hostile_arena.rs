//! Every reader of the arena against an arena that somebody scribbled over: many random scribbles, each
//! followed by calls of all sorts. A crash, a panic or a call that does not come back fails the test, which
//! then names the seed and the round.
//!
//! `HOSTILE_ROUNDS` sets the number of rounds, `HOSTILE_SEED` the seed, `HOSTILE_FIRST` the first round; a
//! file in `HOSTILE_INPUT` (of the fuzzer's) is run instead.

#![cfg(not(loom))]

#[path = "fuzz/hostile.rs"]
mod hostile;

use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Rounds in one process.
const BATCH: u64 = 2_000;
/// A round takes well under a millisecond; one that takes this long goes on for ever.
const ROUND_SECONDS: u32 = 20;
/// A round in so many is followed by the command's listings.
const LISTINGS_EVERY: u64 = 500;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The input of one round: a function of its seed alone.
fn input(seed: u64, round: u64) -> Vec<u8> {
    let mut state = seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    for _ in 0..4 {
        next();
    }
    let n = 16 + next() % 240;
    (0..n).map(|_| next() as u8).collect()
}

/// A folder for one net, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = PathBuf::from(format!("/dev/shm/landline-hostile-{}-{name}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the listings of the command on the arena as it is. Only their crashing counts.
fn list(progress: &Path) {
    let Some(command) = option_env!("CARGO_BIN_EXE_landline") else { return };
    for arguments in [&["ss", "--all", "--why"][..], &["ss", "--json"], &["stats"], &["stats", "--json"], &["gc"]] {
        let mut child = Command::new(command).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if started.elapsed() > Duration::from_secs(u64::from(ROUND_SECONDS) / 2) => break None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let crashed = match status {
            Some(status) => status.signal().is_some() || status.code() == Some(101),
            None => {
                let _ = child.kill();
                true
            }
        };
        let what = status.map_or("goes on for ever".into(), |s| s.to_string());
        assert!(!crashed, "landline {arguments:?}: {what} ({})", progress.display());
    }
}

/// Runs rounds in this process: what `hostile_arena` starts, in a net of its own.
#[test]
#[ignore = "run by hostile_arena"]
fn batch() {
    let dir = PathBuf::from(std::env::var("LANDLINE_DIR").expect("started by hostile_arena"));
    let progress_path = dir.join("round");
    let progress = std::fs::File::create(&progress_path).unwrap();
    let world = hostile::World::new();
    if let Some(path) = std::env::var_os("HOSTILE_INPUT") {
        // SAFETY: alarm only sends SIGALRM later.
        unsafe { libc::alarm(ROUND_SECONDS) };
        return world.attack(&std::fs::read(path).unwrap());
    }
    let (seed, first, end) = (variable("HOSTILE_SEED").unwrap(), variable("HOSTILE_FIRST").unwrap(), variable("HOSTILE_END").unwrap());
    for round in first..end {
        progress.write_all_at(&round.to_le_bytes(), 0).unwrap();
        // SAFETY: as above.
        unsafe { libc::alarm(ROUND_SECONDS) };
        world.attack(&input(seed, round));
        if round % LISTINGS_EVERY == LISTINGS_EVERY - 1 {
            list(&progress_path);
        }
    }
    progress.write_all_at(&end.to_le_bytes(), 0).unwrap();
}

#[test]
fn hostile_arena() {
    let seed = variable("HOSTILE_SEED").unwrap_or(1);
    let rounds = variable("HOSTILE_ROUNDS").unwrap_or(6_000);
    let mut first = variable("HOSTILE_FIRST").unwrap_or(0);
    let end = first + rounds;
    println!("seed {seed}, rounds {first} to {end}");
    let mut failures = Vec::new();
    while first < end && failures.len() < 20 {
        let folder = Folder::new(&first.to_string());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "batch", "--ignored", "--nocapture", "--test-threads=1"])
            .env("LANDLINE_DIR", &folder.0)
            .env("HOSTILE_SEED", seed.to_string())
            .env("HOSTILE_FIRST", first.to_string())
            .env("HOSTILE_END", end.min(first + BATCH).to_string())
            .output()
            .unwrap();
        let at = std::fs::read(folder.0.join("round")).ok().and_then(|b| Some(u64::from_le_bytes(b.try_into().ok()?)));
        if output.status.success() && std::env::var_os("HOSTILE_INPUT").is_some() {
            return;
        }
        if output.status.success() {
            first = end.min(first + BATCH);
            continue;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().filter(|l| l.contains("panicked") || l.contains("attempt") || l.contains("landline")).take(6).collect();
        let round = at.expect("no round was begun");
        let failure = format!("HOSTILE_SEED={seed} HOSTILE_FIRST={round} HOSTILE_ROUNDS=1: {}: {}", output.status, said.join(" / "));
        println!("{failure}");
        failures.push(failure);
        first = round + 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
