//! What is in an arena, for every command that shows some of it: the processes, the hosts of a private net, who has a
//! socket, and what flows between two of them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use crate::net::hosts;
use crate::net::xns::AF_NS;
use crate::pcb::block::{facade, flag, pcb};
use crate::pcb::circuit::{Circuit, Link, circuit};
use crate::pcb::{Address, Pcb, State, reap, table};
use crate::shm::{Arena, owner};
use crate::transport::direction::Path;

/// A process of the net.
#[derive(Clone)]
pub struct Process {
    pub pid: u32,
    pub program: String,
    /// The number of its host in a private net; 0 where that is not known.
    pub host: u32,
    pub is_dead: bool,
}

impl Process {
    pub fn of(arena: &Arena, slot: u32) -> Process {
        let word = |word: fn(&owner::Process) -> u32| owner::process(arena, slot).map_or(0, word);
        let pid = word(|p| p.pid.load(Ordering::Relaxed));
        Process { pid, program: program(pid), host: word(|p| p.host.load(Ordering::Relaxed)), is_dead: owner::is_dead(arena, slot) }
    }
}

/// The name of a process's program. One that was executed by a descriptor goes by its number, and by what it was called.
fn program(pid: u32) -> String {
    let of = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let name = String::from_utf8_lossy(&of("comm")).trim_end().to_owned();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_digit()) {
        return name;
    }
    let called = of("cmdline").split(|&b| b == 0).next().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    called.rsplit('/').next().filter(|called| !called.is_empty()).map_or(name, str::to_owned)
}

/// The arena as it is being read.
pub struct View<'a> {
    pub arena: &'a Arena,
    processes: HashMap<u32, Process>,
    hosts: HashMap<u32, String>,
}

impl<'a> View<'a> {
    pub fn of(arena: &'a Arena) -> View<'a> {
        let hosts = hosts::all(arena).map(|(number, host)| (number, host.name())).collect();
        View { arena, processes: HashMap::new(), hosts }
    }

    pub fn process(&mut self, slot: u32) -> Process {
        self.processes.entry(slot).or_insert_with(|| Process::of(self.arena, slot)).clone()
    }

    /// The process that has a socket.
    pub fn owner(&mut self, pcb: &Pcb) -> Process {
        self.process(pcb.owner.load(Ordering::Relaxed))
    }

    /// Every live process, once.
    pub fn processes(&mut self) -> Vec<Process> {
        let slots = (1..owner::high(self.arena)).filter(|&slot| owner::is_alive(self.arena, slot));
        let mut live: Vec<Process> = slots.map(|slot| self.process(slot)).collect();
        // A program that another was started as, or that has executed another, has two slots.
        live.sort_by_key(|p| (p.pid, Reverse(p.host)));
        live.dedup_by_key(|p| p.pid);
        live
    }

    pub fn host_name(&self, number: u32) -> Option<&str> {
        self.hosts.get(&number).map(String::as_str)
    }

    /// The number of the host that a socket belongs to, or else its process; 0 in the machine's own net.
    pub fn host_of(&self, pcb: &Pcb) -> u32 {
        host_of(self.arena, pcb)
    }

    /// The number of the host at a socket's other end, as far as the addresses tell.
    pub fn remote_host(&self, pcb: &Pcb) -> Option<u32> {
        let remote = pcb.addresses().remote;
        if !hosts::is_private(self.arena) || remote.port == 0 || is_unix(pcb) {
            return None;
        }
        if remote.ip().is_loopback() {
            return Some(self.host_of(pcb)).filter(|&number| number != 0);
        }
        hosts::by_address(self.arena, remote.ip()).map(|(number, _)| number)
    }

    /// The circuit of a socket, and the side of it.
    pub fn circuit(&self, pcb: &Pcb) -> Option<(&'a Circuit, usize)> {
        let link = Link::of(pcb.link.load(Ordering::Acquire))?;
        let circuit = circuit(self.arena, link.circuit)?;
        (circuit.generation.load(Ordering::Acquire) == link.generation).then_some((circuit, link.side))
    }
}

fn host_of(arena: &Arena, pcb: &Pcb) -> u32 {
    match pcb.host.load(Ordering::Relaxed) {
        0 => owner::process(arena, pcb.owner.load(Ordering::Relaxed)).map_or(0, |p| p.host.load(Ordering::Relaxed)),
        number => number,
    }
}

/// Whether a socket waits for connections, or for datagrams of anybody.
pub fn listens(pcb: &Pcb) -> bool {
    // In a private net a socket that only sends has a port as well.
    let is_bound = || pcb.addresses().local.port != 0 && pcb.addresses().remote.port == 0 && (!pcb.is_private() || pcb.shows(facade::BOUND));
    match pcb.state() {
        State::Listen => true,
        State::Free | State::Gone => false,
        _ => pcb.has(flag::DATAGRAM) && !is_unix(pcb) && is_bound(),
    }
}

/// Whether a live process has the socket. The owner is who used it last: of a shared one another may be left.
pub fn is_held(arena: &Arena, pcb: &Pcb) -> bool {
    owner::is_alive(arena, pcb.owner.load(Ordering::Relaxed)) || (pcb.has(flag::SHARED) && reap::is_held(arena, pcb))
}

/// Every host and port at which a live process listens.
pub fn ports(arena: &Arena) -> HashSet<(u32, u16)> {
    let those = table::all(arena).filter(|(_, pcb)| listens(pcb) && !is_unix(pcb) && is_held(arena, pcb));
    those.map(|(_, pcb)| (host_of(arena, pcb), pcb.addresses().local.port)).collect()
}

/// Whether a socket is of AF_UNIX for its program, not only beneath.
pub fn is_unix(pcb: &Pcb) -> bool {
    pcb.has(flag::UNIX | flag::LOCAL) && !pcb.is_private()
}

/// What a socket is, as ss(8) writes it; of AF_NS by the protocol.
pub fn proto(pcb: &Pcb) -> &'static str {
    let (is_datagram, is_v6) = (pcb.has(flag::DATAGRAM), pcb.has(flag::INET6));
    if pcb.is_raw() {
        return if is_v6 { "raw6" } else { "raw" };
    }
    if pcb.is_ping() {
        return if is_v6 { "icmp6" } else { "icmp" };
    }
    if pcb.is_private() && pcb.family_and_protocol().0 == AF_NS {
        return if is_datagram { "idp" } else { "spp" };
    }
    match (is_unix(pcb), is_datagram, is_v6) {
        (true, true, _) => "unixgram",
        (true, false, _) if pcb.has(flag::PACKETS) => "unixseq",
        (true, false, _) => "unix",
        (false, true, true) => "udp6",
        (false, true, false) => "udp",
        (false, false, true) => "tcp6",
        (false, false, false) => "tcp",
    }
}

/// As ss(8) writes it.
pub fn address(a: Address, is_v6: bool) -> String {
    match (a.port, a.is_any(), is_v6) {
        (0, true, false) => "0.0.0.0:*".to_owned(),
        (0, true, true) => "[::]:*".to_owned(),
        _ => a.to_string(),
    }
}

/// One end of a flow.
#[derive(Clone, Default)]
pub struct FlowEnd {
    /// The number of the host, 0 where it is not known.
    pub host: u32,
    pub process: Option<Process>,
    pub port: u16,
}

/// What one end has sent to the other.
#[derive(Clone, Copy, Default)]
pub struct Sent {
    pub bytes: u64,
    pub messages: u64,
    /// Not yet read.
    pub queued: u64,
    pub is_on_ring: bool,
}

/// A connection whose two ends found each other, or the mailbox of a datagram socket, into which anybody puts.
pub struct Flow {
    /// Which one, for finding it again.
    pub id: (u32, u32),
    pub proto: &'static str,
    pub is_mailbox: bool,
    /// First who connected, or sends; then who accepted, or receives.
    pub ends: [FlowEnd; 2],
    /// By the first, and by the second.
    pub sent: [Sent; 2],
}

/// Every flow there is; those of AF_UNIX only `with_unix`.
pub fn flows(view: &mut View, with_unix: bool) -> Vec<Flow> {
    let arena = view.arena;
    table::all_circuits(arena).filter_map(|(index, circuit)| flow(view, index, circuit, with_unix)).collect()
}

fn flow(view: &mut View, index: u32, circuit: &Circuit, with_unix: bool) -> Option<Flow> {
    let arena = view.arena;
    let generation = circuit.generation.load(Ordering::Acquire);
    let pcbs = [0, 1].map(|side| pcb(arena, circuit.pcbs[side].load(Ordering::Acquire)));
    let known = pcbs[0].or(pcbs[1])?;
    if is_unix(known) && !with_unix {
        return None;
    }
    // The receiver of a mailbox is side 0; of a connection side 0 is who completed it.
    let is_mailbox = circuit.is_mailbox.load(Ordering::Relaxed) != 0;
    let first = usize::from(is_mailbox || pcbs[0].is_some_and(|p| p.has(flag::ACCEPTED)));
    let ends = [first, 1 - first].map(|side| match pcbs[side] {
        Some(p) => FlowEnd { host: view.host_of(p), process: Some(view.owner(p)).filter(|p| !p.is_dead), port: p.addresses().local.port },
        // The sender into a mailbox, where it can be only one; or an end that is gone.
        None => FlowEnd { host: view.remote_host(known).unwrap_or(0), process: None, port: known.addresses().remote.port },
    });
    let sent = [first, 1 - first].map(|side| {
        let direction = circuit.from_side(side);
        Sent {
            bytes: direction.produced.head.load(Ordering::Relaxed),
            messages: direction.writer.messages.load(Ordering::Relaxed),
            queued: direction.queued().unwrap_or(0),
            is_on_ring: direction.path() == Path::Ring,
        }
    });
    let flow = Flow { id: (index, generation), proto: proto(known), is_mailbox, ends, sent };
    // It may have been freed meanwhile, and given to others.
    (circuit.generation.load(Ordering::Acquire) == generation).then_some(flow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_ss_does() {
        let any = Address::default();
        let server = Address::new([0, 0, 0, 0].into(), 80);
        assert_eq!([address(any, false), address(any, true), address(server, false)], ["0.0.0.0:*", "[::]:*", "0.0.0.0:80"]);
    }
}
