//! `landline ss`: the PCB table, one line a socket.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;

use clap::Args;
use serde::Serialize;

use super::kernel::{Entry, Sockets};
use super::output::{self, Output};
use crate::pcb::block::flag;
use crate::pcb::circuit::{Circuit, End, Link, circuit};
use crate::pcb::{Address, Pcb, State, reap, table};
use crate::shm::{Arena, owner};
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
    fd: u32,
}

/// The process that has a socket.
#[derive(Clone)]
struct Process {
    pid: u32,
    program: String,
    is_dead: bool,
}

impl Process {
    fn of(arena: &Arena, slot: u32) -> Process {
        let pid = owner::process(arena, slot).map_or(0, |p| p.pid.load(Ordering::Relaxed));
        let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Process { pid, program: program.trim_end().to_owned(), is_dead: owner::is_dead(arena, slot) }
    }
}

/// The table as it is being read.
struct Reader<'a> {
    arena: &'a Arena,
    kernel: Sockets,
    processes: HashMap<u32, Process>,
}

impl<'a> Reader<'a> {
    fn process(&mut self, slot: u32) -> Process {
        self.processes.entry(slot).or_insert_with(|| Process::of(self.arena, slot)).clone()
    }

    /// The circuit of a PCB, and the side of it.
    fn circuit(&self, pcb: &Pcb) -> Option<(&'a Circuit, usize)> {
        let link = Link::of(pcb.link.load(Ordering::Acquire))?;
        let circuit = circuit(self.arena, link.circuit)?;
        (circuit.generation.load(Ordering::Acquire) == link.generation).then_some((circuit, link.side))
    }

    /// An address; of an AF_UNIX socket its name, or the number of its inode.
    fn address(&self, a: Address, is_v6: bool) -> String {
        match a.inode() {
            Some(inode) => self.kernel.name(inode).map_or_else(|| a.to_string(), str::to_owned),
            None => address(a, is_v6),
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
        let process = self.process(pcb.owner.load(Ordering::Relaxed));
        // The owner is who used it last: of a shared socket, another process may be left.
        if process.is_dead && !options.all && !(pcb.has(flag::SHARED) && reap::is_held(self.arena, pcb)) {
            return None;
        }
        let is_v6 = pcb.has(flag::INET6);
        let key = pcb.addresses();
        let circuit = self.circuit(pcb);
        let ends = circuit.map(|(c, side)| (c.from_side(side), c.from_side(1 - side)));
        let on_ring = |d: &Direction| d.path() == Path::Ring;
        let path = match ends.map(|(tx, rx)| (on_ring(tx), on_ring(rx))) {
            Some((_, true)) if pcb.has(flag::DATAGRAM) => "mailbox",
            Some((true, true)) => "ring",
            Some((true, false)) => "ring tx",
            Some((false, true)) => "ring rx",
            _ => "kernel",
        };
        let (is_udp, is_local) = (pcb.has(flag::DATAGRAM), pcb.has(flag::LOCAL));
        let anchor = self.kernel.get(is_udp, is_v6, &key);
        let (mut recv_q, mut send_q) = anchor.map_or((0, 0), |a| (a.recv_q, a.send_q));
        if let Some((tx, rx)) = ends {
            for (direction, queue) in [(rx, &mut recv_q), (tx, &mut send_q)] {
                if on_ring(direction) {
                    *queue = direction.queued().unwrap_or(0);
                }
            }
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
        let peer = circuit.filter(|_| pcb.is_unix_domain()).and_then(|(c, side)| {
            let index = c.pcbs[1 - side].load(Ordering::Acquire);
            Some(crate::pcb::block::pcb(self.arena, index)?.addresses().local)
        });
        let row = Row {
            proto: match (pcb.is_unix_domain(), is_udp, is_v6) {
                _ if is_local => "unixgram",
                (true, ..) if pcb.has(flag::PACKETS) => "unixseq",
                (true, ..) => "unix",
                (_, true, true) => "udp6",
                (_, true, false) => "udp",
                (_, false, true) => "tcp6",
                (_, false, false) => "tcp",
            },
            state: name,
            recv_q,
            send_q,
            local: self.address(key.local, is_v6),
            remote: if is_local { "*".to_owned() } else { self.address(peer.unwrap_or(key.remote), is_v6) },
            path,
            why: if is_udp { why_not_mailbox(pcb, circuit.is_some()) } else { why(self.arena, pcb, state, anchor, ends) },
            pid: Some(process.pid).filter(|_| !process.is_dead),
            program: Some(process.program).filter(|_| !process.is_dead),
            fd: pcb.fd.load(Ordering::Relaxed),
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

/// As ss(8) writes it.
fn address(a: Address, is_v6: bool) -> String {
    match (a.port, a.is_any(), is_v6) {
        (0, true, false) => "0.0.0.0:*".to_owned(),
        (0, true, true) => "[::]:*".to_owned(),
        _ => a.to_string(),
    }
}

/// Why a socket is on the kernel's path, in one direction or both; `None` if it is not.
fn why(arena: &Arena, pcb: &Pcb, state: State, anchor: Option<Entry>, ends: Option<(&Direction, &Direction)>) -> Option<&'static str> {
    match state {
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
            match pcb.is_unix_domain() {
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
    let mut reader = Reader { arena, kernel: Sockets::read(), processes: HashMap::new() };
    let mut rows: Vec<Row> = table::all(arena).filter_map(|(_, pcb)| reader.row(pcb, options)).collect();
    rows.sort_by_key(|row| row.state != State::Listen.name());
    rows
}

const HEADER: [&str; 8] = ["Proto", "State", "Recv-Q", "Send-Q", "Local", "Remote", "Path", "PID/Program/FD"];

fn cells(row: Row, with_why: bool) -> Vec<String> {
    let process = match (row.pid, row.program) {
        (Some(pid), Some(program)) => format!("{pid}/{program}/{}", row.fd),
        _ => "-".to_owned(),
    };
    let mut cells =
        vec![row.proto.into(), row.state.into(), row.recv_q.to_string(), row.send_q.to_string(), row.local, row.remote, row.path.into(), process];
    if with_why {
        cells.push(row.why.unwrap_or("").to_owned());
    }
    cells
}

pub fn show(out: &mut Output, arena: Option<&Arena>, options: &Options) -> io::Result<()> {
    let rows = arena.map(|arena| rows(arena, options)).unwrap_or_default();
    if options.json {
        return output::json(out, &rows);
    }
    let header: Vec<&str> = HEADER.into_iter().chain(options.why.then_some("Why the kernel")).collect();
    output::table(out, &header, &[2, 3], rows.into_iter().map(|row| cells(row, options.why)).collect())
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

    #[test]
    fn addresses_are_written_as_ss_does() {
        let any = Address::default();
        let server = Address::new([0, 0, 0, 0].into(), 80);
        assert_eq!([address(any, false), address(any, true), address(server, false)], ["0.0.0.0:*", "[::]:*", "0.0.0.0:80"]);
    }
}
