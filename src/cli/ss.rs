//! `landline ss`: the PCB table, one line a socket.

use std::io;
use std::sync::atomic::Ordering;

use clap::Args;
use serde::Serialize;

use super::kernel::{Entry, Sockets};
use super::output::{self, Output};
use super::view::{self, View};
use crate::net::hosts;
use crate::pcb::block::flag;
use crate::pcb::circuit::{Circuit, End};
use crate::pcb::{Address, Pcb, State, table};
use crate::shm::Arena;
use crate::transport::direction::{Direction, Path};

#[derive(Args)]
pub struct Options {
    /// Print JSON: an array of objects
    #[arg(long)]
    json: bool,
    /// Only sockets that listen
    #[arg(short, long)]
    listening: bool,
    /// Also sockets that neither listen nor are connected, and those of dead processes
    #[arg(short, long)]
    all: bool,
    /// Show processes: they always are; for those used to ss(8)
    #[arg(short, long)]
    processes: bool,
    /// Say why a socket is on the kernel's path
    #[arg(long)]
    why: bool,
}

/// One socket.
#[derive(Serialize)]
struct Row {
    proto: &'static str,
    state: &'static str,
    recv_q: u64,
    send_q: u64,
    local: String,
    remote: String,
    path: &'static str,
    why: Option<&'static str>,
    pid: Option<u32>,
    program: Option<String>,
    fd: Option<u32>,
    /// Of a private net: where the socket is, and its other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_host: Option<String>,
}

/// The table as it is being read.
struct Reader<'a> {
    view: View<'a>,
    kernel: Sockets,
}

impl Reader<'_> {
    /// An address; of an AF_UNIX socket its name, or the number of its inode.
    fn address(&self, a: Address, is_v6: bool) -> String {
        match a.inode() {
            Some(inode) => self.kernel.name(inode).map_or_else(|| a.to_string(), str::to_owned),
            None => view::address(a, is_v6),
        }
    }

    fn row(&mut self, pcb: &Pcb, options: &Options) -> Option<Row> {
        let generation = pcb.generation.load(Ordering::Acquire);
        let state = pcb.state();
        let wanted = match state {
            State::Free => false,
            State::Listen => true,
            State::SynSent | State::Established => !options.listening,
            // A datagram socket needs no connection.
            State::Closed if pcb.has(flag::DATAGRAM) && (pcb.addresses().local.port != 0 || pcb.link.load(Ordering::Relaxed) != 0) => {
                !options.listening
            }
            State::Closed | State::Gone => options.all && !options.listening,
        };
        if !wanted {
            return None;
        }
        let process = self.view.owner(pcb);
        if !options.all && !view::is_held(self.view.arena, pcb) {
            return None;
        }
        let is_v6 = pcb.has(flag::INET6);
        let key = pcb.addresses();
        let circuit = self.view.circuit(pcb);
        let ends = circuit.map(|(c, side)| (c.from_side(side), c.from_side(1 - side)));
        let on_ring = |d: &Direction| d.path() == Path::Ring;
        let path = match ends.map(|(tx, rx)| (on_ring(tx), on_ring(rx))) {
            Some((_, true)) if pcb.has(flag::DATAGRAM) => "mailbox",
            Some((true, true)) => "ring",
            Some((true, false)) => "ring tx",
            Some((false, true)) => "ring rx",
            _ if pcb.is_private() => "-",
            _ => "kernel",
        };
        let (is_udp, is_local, is_unix) = (pcb.has(flag::DATAGRAM), pcb.has(flag::LOCAL), view::is_unix(pcb));
        let anchor = self.kernel.get(is_udp, is_v6, &key);
        let (mut recv_q, mut send_q) = anchor.map_or((0, 0), |a| (a.recv_q, a.send_q));
        if let Some((tx, rx)) = ends {
            for (direction, queue) in [(rx, &mut recv_q), (tx, &mut send_q)] {
                if on_ring(direction) {
                    *queue = direction.queued().unwrap_or(0);
                }
            }
        }
        if pcb.is_private() && state == State::Listen {
            (recv_q, send_q) = (pcb.count_waiting().into(), pcb.backlog.load(Ordering::Relaxed).into());
        }
        let name = match circuit {
            Some((c, side)) if path == "ring" => state_on_ring(c, side),
            _ if is_udp => {
                if state == State::Established {
                    "ESTAB"
                } else {
                    "UNCONN"
                }
            }
            _ => anchor.map_or(state.name(), |a| a.state),
        };
        // The other end of an AF_UNIX connection, as far as it is known.
        let peer = circuit.filter(|_| is_unix).and_then(|(c, side)| {
            let index = c.pcbs[1 - side].load(Ordering::Acquire);
            Some(crate::pcb::block::pcb(self.view.arena, index)?.addresses().local)
        });
        // A private net's connection that nobody has accepted yet is no process's.
        let is_accepted = pcb.listener.load(Ordering::Relaxed) == 0;
        let has_process = !process.is_dead && is_accepted;
        let host = self.view.host_of(pcb);
        let remote_host = self.view.remote_host(pcb);
        let row = Row {
            proto: view::proto(pcb),
            state: name,
            recv_q,
            send_q,
            local: self.address(key.local, is_v6),
            remote: if is_local { "*".to_owned() } else { self.address(peer.unwrap_or(key.remote), is_v6) },
            path,
            why: if is_udp { why_not_mailbox(pcb, circuit.is_some()) } else { why(self.view.arena, pcb, state, anchor, ends) },
            pid: Some(process.pid).filter(|_| has_process),
            program: Some(process.program).filter(|_| has_process),
            fd: Some(pcb.fd.load(Ordering::Relaxed)).filter(|_| is_accepted),
            host: self.view.host_name(host).map(str::to_owned),
            remote_host: remote_host.and_then(|number| self.view.host_name(number)).map(str::to_owned),
        };
        // The entry may have been freed, or given to another socket, meanwhile.
        (pcb.generation.load(Ordering::Acquire) == generation).then_some(row)
    }
}

/// Why a datagram socket has no mailbox.
fn why_not_mailbox(pcb: &Pcb, has_one: bool) -> Option<&'static str> {
    match () {
        () if pcb.has(flag::KERNEL_ONLY) => Some("pinned: the program asked for what only the kernel can tell it"),
        () if pcb.has(flag::NOT_ALONE) => Some("others are bound to its port: the kernel chooses"),
        () if has_one => None,
        () => Some("has not received yet"),
    }
}

/// How far a connection on the ring has ended, in TCP's words: its anchor knows of the last close alone.
fn state_on_ring(circuit: &Circuit, side: usize) -> &'static str {
    let finished = |side: usize| circuit.from_side(side).is_finished() || circuit.end(side) != End::Open;
    match (finished(side), finished(1 - side)) {
        (false, false) => "ESTAB",
        (false, true) => "CLOSE-WAIT",
        (true, false) => "FIN-WAIT-2",
        (true, true) => "CLOSED",
    }
}

/// Why a socket is on the kernel's path, in one direction or both; `None` if it is not.
fn why(arena: &Arena, pcb: &Pcb, state: State, anchor: Option<Entry>, ends: Option<(&Direction, &Direction)>) -> Option<&'static str> {
    match state {
        State::Listen | State::Established if pcb.is_private() => return None,
        State::Listen => return Some("listens: connection requests are the kernel's"),
        State::Closed | State::Free => return Some("not connected"),
        State::Gone => return Some("closed"),
        // The program may not know yet that the kernel has connected it.
        State::SynSent if anchor.is_none_or(|a| a.state != "ESTAB") => return Some("connecting"),
        _ => {}
    }
    if ends.is_none_or(|(tx, rx)| tx.path() == Path::Pinned || rx.path() == Path::Pinned) && pcb.has(flag::KERNEL_ONLY) {
        return Some("pinned: the program used a call that only the kernel can serve");
    }
    let Some((tx, rx)) = ends else {
        let awaits_accept = !pcb.has(flag::ACCEPTED) && table::listener(arena, pcb.addresses().remote).is_some();
        return Some(if awaits_accept {
            "the other end has not accepted yet"
        } else {
            match view::is_unix(pcb) {
                true => "no peer in this net: not preloaded, of another user, or not looked for yet",
                false => "no peer in this net: not preloaded, of another user, or on another machine",
            }
        });
    };
    // Over AF_UNIX the sender confirms a direction and the receiver switches it.
    let (tx, rx) = if pcb.has(flag::UNIX) { (rx, tx) } else { (tx, rx) };
    match (tx.path(), rx.path()) {
        (Path::Ring, Path::Ring) => None,
        (Path::Pinned, _) | (_, Path::Pinned) => Some("pinned: an end shut the connection down, or used a call that only the kernel can serve"),
        (Path::Parting | Path::Leaving, _) | (_, Path::Parting | Path::Leaving) => Some("returns to the kernel, which alone can carry descriptors"),
        (_, Path::Kernel) | (Path::Ready | Path::Switching, _) => Some("waits for this end's next call"),
        (Path::Kernel | Path::Ring, _) => Some("waits for the other end's next call"),
    }
}

fn rows(arena: &Arena, options: &Options) -> Vec<Row> {
    let mut reader = Reader { view: View::of(arena), kernel: Sockets::read() };
    let mut rows: Vec<Row> = table::all(arena).filter_map(|(_, pcb)| reader.row(pcb, options)).collect();
    rows.sort_by_key(|row| row.state != State::Listen.name());
    rows
}

/// What a column says.
type Cell = fn(&Row) -> String;

const COLUMNS: [(&str, Cell); 8] = [
    ("Proto", |row| row.proto.to_owned()),
    ("State", |row| row.state.to_owned()),
    ("Recv-Q", |row| row.recv_q.to_string()),
    ("Send-Q", |row| row.send_q.to_string()),
    ("Local", |row| row.local.clone()),
    ("Remote", |row| row.remote.clone()),
    ("Path", |row| row.path.to_owned()),
    ("PID/Program/FD", |row| match (row.pid, &row.program) {
        (Some(pid), Some(program)) => format!("{pid}/{program}/{}", row.fd.unwrap_or(0)),
        _ => "-".to_owned(),
    }),
];
const WHY: (&str, Cell) = ("Why the kernel", |row| row.why.unwrap_or("").to_owned());
/// In a private net, each before the address that it goes with.
const HOST: (&str, Cell) = ("Host", |row| row.host.clone().unwrap_or_else(|| "-".to_owned()));
const REMOTE_HOST: (&str, Cell) = ("Remote host", |row| row.remote_host.clone().unwrap_or_else(|| "-".to_owned()));

fn columns(with_hosts: bool, with_why: bool) -> Vec<(&'static str, Cell)> {
    let mut columns = COLUMNS.to_vec();
    if with_hosts {
        columns.insert(5, REMOTE_HOST);
        columns.insert(4, HOST);
    }
    columns.extend(with_why.then_some(WHY));
    columns
}

pub fn show(out: &mut Output, arena: Option<&Arena>, options: &Options) -> io::Result<()> {
    let rows = arena.map(|arena| rows(arena, options)).unwrap_or_default();
    if options.json {
        return output::json(out, &rows);
    }
    let columns = columns(arena.is_some_and(hosts::is_private), options.why);
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    output::table(out, &header, &[2, 3], rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_arena_the_list_is_empty() {
        let options = Options { json: true, listening: false, all: true, processes: false, why: true };
        let mut out = Vec::new();
        show(&mut out, None, &options).expect("memory takes everything");
        assert_eq!(out, b"[]\n");
    }
}
