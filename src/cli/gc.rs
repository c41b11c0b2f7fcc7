//! `landline gc`: releases what dead processes held, and gives the memory that nobody uses back; private nets that nobody uses
//! go as a whole.

use std::io;

use serde::Serialize;

use super::net;
use super::output::{self, Output, bytes};
use super::stats::file_bytes;
use crate::pcb::{reap, table};
use crate::shm::arena::{self, Place};
use crate::shm::{Arena, blocks};

/// What was released.
#[derive(Default, Serialize)]
struct Released {
    processes: u64,
    sockets: u64,
    circuits: u64,
    /// Of the file's memory.
    bytes: u64,
    /// Private nets that nobody uses.
    nets: u64,
}

fn release(arena: &Arena, place: &Place) -> Released {
    let circuits = || table::all_circuits(arena).count() as u64;
    let (circuits_before, bytes_before) = (circuits(), file_bytes(place));
    let swept = reap::sweep(arena, true);
    blocks::trim(&arena.lock());
    Released {
        processes: swept.processes.into(),
        sockets: swept.sockets.into(),
        circuits: circuits_before.saturating_sub(circuits()),
        bytes: bytes_before.saturating_sub(file_bytes(place)),
        nets: 0,
    }
}

/// Removes the private nets of a folder that nobody uses; returns how many.
fn remove_nets(place: &Place) -> u64 {
    let nets = net::places(place).unwrap_or_default();
    nets.iter().filter(|net| arena::remove_if_unused(net) == Ok(true)).count() as u64
}

pub fn collect(out: &mut Output, arena: Option<&Arena>, place: &Place, json: bool) -> io::Result<()> {
    let mut released = arena.map(|arena| release(arena, place)).unwrap_or_default();
    if place.net.is_none() {
        released.nets = remove_nets(place);
    }
    if json {
        return output::json(out, &released);
    }
    if arena.is_none() && released.nets == 0 {
        return writeln!(out, "there is no arena: nothing to release");
    }
    let count = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    writeln!(
        out,
        "released: {}, {}, {}, {} of memory, {}",
        count(released.processes, "dead process", "dead processes"),
        count(released.sockets, "socket", "sockets"),
        count(released.circuits, "circuit", "circuits"),
        bytes(released.bytes),
        count(released.nets, "private net", "private nets"),
    )
}
