//! `landline net show`: one net, as text, JSON or a drawing.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Args;
use serde::Serialize;

use super::list::outside;
use super::{age_s, comma, draw, time_in_words};
use crate::cli::links;
use crate::cli::output::{self, Output, bytes};
use crate::cli::stats::file_bytes;
use crate::cli::view::{self, View};
use crate::net::hosts;
use crate::pcb::{Pcb, table};
use crate::shm::Arena;
use crate::shm::arena::{self, Place};

#[derive(Args)]
#[group(multiple = false)]
pub struct Format {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a diagram as Graphviz takes it
    #[arg(long)]
    dot: bool,
    /// Print a diagram as SVG
    #[arg(long)]
    svg: bool,
}

/// One net.
#[derive(Serialize, Default)]
pub struct Net {
    pub name: String,
    pub file: String,
    pub age_s: f64,
    pub outside: &'static str,
    pub refused: u64,
    pub seed: u64,
    pub memory_bytes: u64,
    pub hosts: Vec<Host>,
    pub connections: Vec<Connections>,
    /// Live processes whose host is not known.
    pub elsewhere: Vec<Process>,
}

#[derive(Serialize, Default)]
pub struct Host {
    pub name: String,
    pub v4: String,
    pub v6: String,
    pub processes: Vec<Process>,
    pub listeners: Vec<Listener>,
    pub sent_bytes: u64,
    pub got_bytes: u64,
    pub refused: u64,
    #[serde(skip)]
    pub number: u32,
}

#[derive(Serialize)]
pub struct Process {
    pub pid: u32,
    pub program: String,
}

/// A socket that waits for connections or datagrams.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    pub port: u16,
    pub proto: &'static str,
    address: String,
    pid: Option<u32>,
    program: Option<String>,
}

/// The connections from one host to a port of another, or what is sent to a datagram socket there.
#[derive(Serialize)]
pub struct Connections {
    /// Who connected; `*` where anybody may send.
    pub from: String,
    pub to: String,
    pub proto: &'static str,
    pub port: u16,
    pub count: usize,
    /// By who connected, and by the other end.
    pub sent_bytes: u64,
    pub got_bytes: u64,
    pub queued_bytes: u64,
    /// What happens to it on the way, in words.
    pub faults: Option<String>,
}

impl Net {
    pub fn of(arena: &Arena, place: &Place) -> Net {
        let (mut view, net) = (View::of(arena), &arena.header().net);
        let mut hosts: Vec<Host> = hosts::all(arena)
            .map(|(number, host)| Host {
                name: host.name(),
                v4: host.v4().to_string(),
                v6: host.v6().to_string(),
                sent_bytes: host.sent_bytes.load(Ordering::Relaxed),
                got_bytes: host.got_bytes.load(Ordering::Relaxed),
                refused: host.refused.load(Ordering::Relaxed),
                number,
                ..Host::default()
            })
            .collect();
        let mut elsewhere = Vec::new();
        for process in view.processes() {
            let of = hosts.iter_mut().find(|host| host.number == process.host).map_or(&mut elsewhere, |host| &mut host.processes);
            of.push(Process { pid: process.pid, program: process.program });
        }
        for (number, listener) in listeners(&mut view) {
            if let Some(host) = hosts.iter_mut().find(|host| host.number == number) {
                host.listeners.push(listener);
            }
        }
        hosts.iter_mut().for_each(|host| host.listeners.sort());
        Net {
            name: place.net.clone().unwrap_or_default(),
            file: arena::location(place).map(|path| path.display().to_string()).unwrap_or_default(),
            age_s: age_s(net.made_ns.load(Ordering::Relaxed)),
            outside: outside(net.outside.load(Ordering::Relaxed)),
            refused: net.refused.load(Ordering::Relaxed),
            seed: net.seed.load(Ordering::Relaxed),
            memory_bytes: file_bytes(place),
            connections: connections(&mut view),
            hosts,
            elsewhere,
        }
    }
}

/// Every listening socket whose process lives, with the number of its host.
fn listeners(view: &mut View) -> Vec<(u32, Listener)> {
    let those: Vec<_> = table::all(view.arena).filter(|(_, pcb)| view::listens(pcb) && !view::is_unix(pcb)).collect();
    let listener = |(_, pcb): (u32, &Pcb)| {
        let (owner, local) = (view.owner(pcb), pcb.addresses().local);
        let process = Some(&owner).filter(|p| !p.is_dead);
        if !view::is_held(view.arena, pcb) {
            return None;
        }
        let listener = Listener {
            port: local.port,
            proto: view::proto(pcb),
            address: local.ip().to_string(),
            pid: process.map(|p| p.pid),
            program: process.map(|p| p.program.clone()),
        };
        Some((view.host_of(pcb), listener))
    };
    those.into_iter().filter_map(listener).collect()
}

fn connections(view: &mut View) -> Vec<Connections> {
    let mut all: BTreeMap<_, Connections> = BTreeMap::new();
    for flow in view::flows(view, false) {
        let name = |number: u32| view.host_name(number).unwrap_or("*").to_owned();
        let [from, to] = [0, 1].map(|end| flow.ends[end].host);
        let one = all.entry((from, to, flow.proto, flow.ends[1].port)).or_insert_with(|| Connections {
            from: name(from),
            to: name(to),
            proto: flow.proto,
            port: flow.ends[1].port,
            count: 0,
            sent_bytes: 0,
            got_bytes: 0,
            queued_bytes: 0,
            faults: links::in_words(view.arena, from, to),
        });
        one.count += 1;
        one.sent_bytes = one.sent_bytes.saturating_add(flow.sent[0].bytes);
        one.got_bytes = one.got_bytes.saturating_add(flow.sent[1].bytes);
        one.queued_bytes = one.queued_bytes.saturating_add(flow.sent[0].queued).saturating_add(flow.sent[1].queued);
    }
    all.into_values().collect()
}

pub fn show(place: &Place, format: &Format) -> Result<ExitCode, String> {
    let arena = arena::existing(place)?;
    let net = Net::of(&arena, place);
    Ok(output::print(|out| match format {
        Format { json: true, .. } => output::json(out, &net),
        Format { dot: true, .. } => draw::dot(out, &net),
        Format { svg: true, .. } => draw::svg(out, &net),
        _ => text(out, &net),
    }))
}

fn text(out: &mut Output, net: &Net) -> io::Result<()> {
    let outside = match net.outside {
        "allow" => "reached".to_owned(),
        _ => format!("unreachable (refused: {})", net.refused),
    };
    writeln!(out, "{}: made {} ago, {}; the outside is {outside}\n", net.name, time_in_words(net.age_s), bytes(net.memory_bytes))?;
    let host = |host: &Host| {
        let or_none = |words: String| if words.is_empty() { "-".to_owned() } else { words };
        vec![
            host.name.clone(),
            host.v4.clone(),
            host.v6.clone(),
            or_none(comma(host.processes.iter().map(|p| format!("{}/{}", p.pid, p.program)))),
            or_none(comma(ports(host).into_iter())),
        ]
    };
    output::table(out, &["Host", "IPv4", "IPv6", "Processes", "Listens"], &[], net.hosts.iter().map(host).collect())?;
    if !net.elsewhere.is_empty() {
        writeln!(out, "\nOf no host: {}", comma(net.elsewhere.iter().map(|p| format!("{}/{}", p.pid, p.program))))?;
    }
    if net.connections.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let connection = |c: &Connections| {
        vec![
            c.from.clone(),
            c.to.clone(),
            format!("{} {}", c.proto, c.port),
            c.count.to_string(),
            bytes(c.sent_bytes),
            bytes(c.got_bytes),
            bytes(c.queued_bytes),
            c.faults.clone().unwrap_or_default(),
        ]
    };
    let header = ["From", "To", "Port", "Connections", "Sent", "Received", "Queued", "Faults"];
    output::table(out, &header, &[3, 4, 5, 6], net.connections.iter().map(connection).collect())
}

/// The ports that a host listens on, each once: `tcp 80`.
pub fn ports(host: &Host) -> Vec<String> {
    let mut ports: Vec<String> = host.listeners.iter().map(|l| format!("{} {}", l.proto.trim_end_matches('6'), l.port)).collect();
    ports.dedup();
    ports
}
