//! `landline stats`: what the net has done since its arena was made, and what it holds now.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::output::{self, Output, bytes, number};
use crate::pcb::table;
use crate::shm::arena::Place;
use crate::shm::layout::PAGE_BYTES;
use crate::shm::{Arena, arena, owner};

/// The net in numbers; all zeroes where there is no arena.
#[derive(Default, Serialize)]
pub struct Stats {
    /// Bytes that went through rings.
    pub ring_bytes: u64,
    /// Calls that sent them.
    pub ring_messages: u64,
    /// Connections whose two ends found each other.
    pub circuits: u64,
    /// Times an end woke the other.
    pub doorbells: u64,
    /// Times a thread went to sleep for a ring.
    pub sleeps: u64,
    /// Sockets that have a PCB now.
    pub sockets: u64,
    /// Circuits that are not over.
    pub circuits_open: u64,
    /// Live processes of the net.
    pub processes: u64,
    /// What the arena's file takes up in memory.
    pub arena_bytes: u64,
    /// Memory that the rings have now.
    pub block_bytes: u64,
}

impl Stats {
    pub fn of(arena: &Arena, place: &Place) -> Stats {
        let (header, relaxed) = (arena.header(), Ordering::Relaxed);
        let totals = &header.totals;
        let mut stats = Stats {
            ring_bytes: totals.ring_bytes.load(relaxed),
            ring_messages: totals.ring_messages.load(relaxed),
            circuits: totals.circuits.load(relaxed),
            doorbells: totals.doorbells.load(relaxed),
            sleeps: totals.sleeps.load(relaxed),
            sockets: table::all(arena).count() as u64,
            processes: (1..owner::high(arena)).filter(|&slot| !owner::is_dead(arena, slot)).count() as u64,
            arena_bytes: file_bytes(place),
            block_bytes: u64::from(header.units_live.load(relaxed)) * PAGE_BYTES,
            ..Stats::default()
        };
        // A circuit's counts are added to the totals when it is freed: until then they are its own.
        for (_, circuit) in table::all_circuits(arena) {
            stats.circuits_open += 1;
            for direction in [circuit.from_side(0), circuit.from_side(1)] {
                stats.ring_bytes = stats.ring_bytes.wrapping_add(direction.produced.head.load(relaxed));
                stats.ring_messages = stats.ring_messages.wrapping_add(direction.writer.messages.load(relaxed));
            }
        }
        stats
    }
}

/// Memory that the arena's file takes up.
pub fn file_bytes(place: &Place) -> u64 {
    let metadata = arena::location(place).ok().and_then(|path| path.symlink_metadata().ok());
    metadata.map_or(0, |m| m.blocks() * 512)
}

pub fn show(out: &mut Output, arena: Option<&Arena>, place: &Place, json: bool) -> io::Result<()> {
    let stats = arena.map(|arena| Stats::of(arena, place)).unwrap_or_default();
    if json {
        return output::json(out, &stats);
    }
    let rows = [
        ("processes", number(stats.processes)),
        ("sockets", number(stats.sockets)),
        ("circuits open", number(stats.circuits_open)),
        ("circuits ever", number(stats.circuits)),
        ("ring messages", number(stats.ring_messages)),
        ("ring bytes", format!("{} ({})", number(stats.ring_bytes), bytes(stats.ring_bytes))),
        ("doorbells", number(stats.doorbells)),
        ("sleeps", number(stats.sleeps)),
        ("memory of rings", bytes(stats.block_bytes)),
        ("memory of the arena", bytes(stats.arena_bytes)),
    ];
    output::table(out, &[], &[], rows.map(|(name, value)| vec![name.to_owned(), value]).into())
}

#[cfg(test)]
mod tests {
    use crate::shm::arena::Place;

    #[test]
    fn without_an_arena_all_is_zero() {
        let mut out = Vec::new();
        // The environment is not read: other tests set it first.
        let place = Place { dir: "/".into(), net: None };
        super::show(&mut out, None, &place, true).expect("memory takes everything");
        let stats: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        let keys = ["ring_bytes", "ring_messages", "circuits", "doorbells", "sleeps", "sockets", "circuits_open", "processes"];
        assert!(keys.iter().all(|&key| stats[key] == 0));
    }
}
