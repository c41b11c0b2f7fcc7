//! `landline net ls`.

use std::io;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{age_s, places, time_in_words};
use crate::cli::output::{self, Output, bytes};
use crate::cli::stats::file_bytes;
use crate::cli::view::View;
use crate::net::hosts;
use crate::pcb::table;
use crate::shm::arena::{self, Place};

/// One net.
#[derive(Serialize)]
struct Row {
    name: String,
    /// `used`, `kept` although nobody uses it, or `removed` by this look because nobody did.
    state: &'static str,
    age_s: f64,
    hosts: usize,
    processes: usize,
    sockets: usize,
    memory_bytes: u64,
    /// Whether its programs may reach the real network.
    outside: &'static str,
    /// Sends and connects to the outside that were refused.
    refused: u64,
}

/// What is there; then the net is removed if nobody uses it. `None` where it is gone already, or still being made.
fn row(place: &Place) -> Option<Row> {
    let memory_bytes = file_bytes(place);
    let arena = arena::existing(place).ok();
    let is_removed = arena::remove_if_unused(place).unwrap_or(false);
    let arena = arena?;
    let net = &arena.header().net;
    let processes = View::of(&arena).processes().len();
    Some(Row {
        name: place.net.clone()?,
        state: match is_removed {
            true => "removed",
            false if processes == 0 && net.is_kept.load(Ordering::Relaxed) == 1 => "kept",
            false => "used",
        },
        age_s: age_s(net.made_ns.load(Ordering::Relaxed)),
        hosts: hosts::all(&arena).count(),
        processes,
        sockets: table::all(&arena).count(),
        memory_bytes,
        outside: outside(net.outside.load(Ordering::Relaxed)),
        refused: net.refused.load(Ordering::Relaxed),
    })
}

/// The policy as `landline run --outside` takes it.
pub fn outside(word: u32) -> &'static str {
    if word == 1 { "allow" } else { "deny" }
}

pub fn show(out: &mut Output, place: &Place, json: bool) -> io::Result<()> {
    let rows: Vec<Row> = places(place)?.iter().filter_map(row).collect();
    if json {
        return output::json(out, &rows);
    }
    let header = ["Net", "State", "Age", "Hosts", "Processes", "Sockets", "Memory", "Outside", "Refused"];
    let cells = |row: Row| {
        vec![
            row.name,
            row.state.to_owned(),
            time_in_words(row.age_s),
            row.hosts.to_string(),
            row.processes.to_string(),
            row.sockets.to_string(),
            bytes(row.memory_bytes),
            row.outside.to_owned(),
            row.refused.to_string(),
        ]
    };
    output::table(out, &header, &[3, 4, 5, 6, 8], rows.into_iter().map(cells).collect())
}
