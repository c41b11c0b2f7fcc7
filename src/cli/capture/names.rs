//! Who is behind the numbers of an event: hosts by name, processes by their program.

use std::collections::HashMap;
use std::fs;

use crate::net::hosts;
use crate::pcb::tap::Event;
use crate::shm::Arena;

/// More processes than this are forgotten and looked up again.
const MOST_PROGRAMS: usize = 1 << 16;

/// What is known by now.
pub struct Names<'a> {
    arena: &'a Arena,
    hosts: HashMap<u32, String>,
    programs: HashMap<u32, String>,
}

impl<'a> Names<'a> {
    pub fn new(arena: &'a Arena) -> Names<'a> {
        Names { arena, hosts: HashMap::new(), programs: HashMap::new() }
    }

    /// Takes note of whom an event names, while they are still there to be asked.
    pub fn learn(&mut self, event: &Event) {
        if self.programs.len() > MOST_PROGRAMS {
            self.programs.clear();
        }
        let told = String::from_utf8_lossy(&event.program).trim_end_matches('\0').to_owned();
        if !told.is_empty() && self.programs.get(&event.pid) != Some(&told) {
            self.programs.insert(event.pid, told);
        }
        for pid in [event.pid, event.peer_pid] {
            self.programs.entry(pid).or_insert_with(|| {
                let comm = if pid == 0 { None } else { fs::read_to_string(format!("/proc/{pid}/comm")).ok() };
                comm.unwrap_or_default().trim_end().to_owned()
            });
        }
        for host in [event.from_host, event.to_host] {
            let known = |number| hosts::host(self.arena, number).map(hosts::Host::name);
            self.hosts.entry(host).or_insert_with(|| known(host).unwrap_or_default());
        }
    }

    /// A host's name; empty where it has none.
    pub fn host(&self, number: u32) -> &str {
        self.hosts.get(&number).map_or("", String::as_str)
    }

    /// The name of a process's program; empty where nobody knows it.
    pub fn program(&self, pid: u32) -> &str {
        self.programs.get(&pid).map_or("", String::as_str)
    }

    /// As people write it: `redis-cli[123]`; empty for nobody.
    pub fn process(&self, pid: u32) -> String {
        if pid == 0 { String::new() } else { format!("{}[{pid}]", self.program(pid)) }
    }

    /// Who does what an event says, and to whom.
    pub fn whole(&self, event: &Event) -> String {
        let end = |pid, host| match (self.process(pid), self.host(host)) {
            (process, "") => process,
            (process, host) if process.is_empty() => host.to_owned(),
            (process, host) => format!("{process} on {host}"),
        };
        let (from, to) = (end(event.pid, event.from_host), end(event.peer_pid, event.to_host));
        if to.is_empty() { from } else { format!("{from} > {to}") }
    }
}
