//! What flows between whom, worked out from two looks at the net.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use serde::Serialize;

use crate::cli::links;
use crate::cli::stats::Stats;
use crate::cli::view::{self, Flow, FlowEnd, Sent, View};
use crate::net::hosts;
use crate::shm::Arena;
use crate::shm::arena::Place;

/// Who is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grouping {
    Hosts,
    Programs,
}

/// One look.
pub struct Look {
    at: Instant,
    flows: Vec<Flow>,
    /// Names of hosts, by their numbers.
    hosts: HashMap<u32, String>,
    faults: HashMap<[u32; 2], String>,
    pub stats: Stats,
}

impl Look {
    pub fn at(arena: &Arena, place: &Place) -> Look {
        let mut view = View::of(arena);
        let flows = view::flows(&mut view, !hosts::is_private(arena));
        let hosts = hosts::all(arena).map(|(number, host)| (number, host.name())).collect();
        let pairs: HashSet<[u32; 2]> = flows.iter().map(|flow| flow.ends.each_ref().map(|end| end.host)).collect();
        let faults = pairs.into_iter().filter_map(|ends| Some((ends, links::in_words(arena, ends[0], ends[1])?))).collect();
        Look { at: Instant::now(), flows, hosts, faults, stats: Stats::of(arena, place) }
    }

    fn name(&self, end: &FlowEnd, grouping: Grouping) -> String {
        // Where anybody may send there is no name.
        let host = || self.hosts.get(&end.host).map_or("*", String::as_str);
        match (grouping, &end.process) {
            (Grouping::Hosts, _) => host().to_owned(),
            (Grouping::Programs, Some(process)) if end.host == 0 => process.program.clone(),
            (Grouping::Programs, Some(process)) => format!("{}:{}", host(), process.program),
            (Grouping::Programs, None) => host().to_owned(),
        }
    }
}

/// What goes one way.
#[derive(Serialize, Clone, Copy, Default, Debug, PartialEq)]
pub struct Rate {
    pub bytes_per_s: f64,
    pub messages_per_s: f64,
    /// Sent and not yet read.
    pub queued_bytes: u64,
}

impl Rate {
    fn add(&mut self, now: &Sent, before: Sent, seconds: f64) {
        self.bytes_per_s += now.bytes.saturating_sub(before.bytes) as f64 / seconds;
        self.messages_per_s += now.messages.saturating_sub(before.messages) as f64 / seconds;
        self.queued_bytes = self.queued_bytes.saturating_add(now.queued);
    }
}

/// Two that talk to one another.
#[derive(Serialize, Debug)]
pub struct Pair {
    /// Who connected, where it was not both.
    pub from: String,
    pub to: String,
    pub connections: usize,
    /// From the one to the other, and back.
    pub there: Rate,
    pub back: Rate,
    /// `ring`, `kernel`, or both.
    pub path: &'static str,
    /// What befalls what goes there (→), or comes back (←).
    pub faults: Option<String>,
}

impl Pair {
    pub fn bytes_per_s(&self) -> f64 {
        self.there.bytes_per_s + self.back.bytes_per_s
    }
}

/// What went on between two looks.
#[derive(Serialize, Debug)]
pub struct Sample {
    pub interval_s: f64,
    /// Of the whole net, connections included that began and ended between the looks.
    pub bytes_per_s: f64,
    pub messages_per_s: f64,
    pub connections_per_s: f64,
    /// Who talks most comes first.
    pub pairs: Vec<Pair>,
}

impl Sample {
    pub fn between(before: &Look, now: &Look, grouping: Grouping) -> Sample {
        let seconds = (now.at - before.at).as_secs_f64().max(1e-6);
        let earlier: HashMap<_, _> = before.flows.iter().map(|flow| (flow.id, flow.sent)).collect();
        let mut pairs: Vec<Pair> = Vec::new();
        let mut places: HashMap<[String; 2], usize> = HashMap::new();
        for flow in &now.flows {
            let ends = flow.ends.each_ref().map(|end| now.name(end, grouping));
            let [from, to] = ends.clone();
            let place = places.get(&ends).copied().or_else(|| places.get(&[to, from]).copied());
            let place = place.unwrap_or_else(|| {
                let faults = now.faults.get(&flow.ends.each_ref().map(|end| end.host)).cloned();
                let path = path(flow);
                places.insert(ends.clone(), pairs.len());
                let [from, to] = ends.clone();
                pairs.push(Pair { from, to, connections: 0, there: Rate::default(), back: Rate::default(), path, faults });
                pairs.len() - 1
            });
            let pair = &mut pairs[place];
            pair.connections += 1;
            if pair.path != path(flow) {
                pair.path = "both";
            }
            // What is new had sent nothing.
            let was = earlier.get(&flow.id).copied().unwrap_or_default();
            let there = usize::from([&pair.from, &pair.to] != ends.each_ref());
            pair.there.add(&flow.sent[there], was[there], seconds);
            pair.back.add(&flow.sent[1 - there], was[1 - there], seconds);
        }
        pairs.sort_by(|a, b| b.bytes_per_s().total_cmp(&a.bytes_per_s()).then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to))));
        let rate = |of: fn(&Stats) -> u64| of(&now.stats).saturating_sub(of(&before.stats)) as f64 / seconds;
        Sample {
            interval_s: seconds,
            bytes_per_s: rate(|stats| stats.ring_bytes),
            messages_per_s: rate(|stats| stats.ring_messages),
            connections_per_s: rate(|stats| stats.circuits),
            pairs,
        }
    }
}

fn path(flow: &Flow) -> &'static str {
    match flow.sent.map(|sent| sent.is_on_ring) {
        [true, true] => "ring",
        // Into a mailbox nothing goes back.
        [true, false] if flow.is_mailbox => "ring",
        [false, false] => "kernel",
        _ => "both",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn flow(id: u32, ends: [u32; 2], bytes: [u64; 2], is_on_ring: bool) -> Flow {
        let end = |host| FlowEnd { host, process: None, port: 0 };
        let sent = |bytes| Sent { bytes, messages: bytes / 10, queued: 1, is_on_ring };
        Flow { id: (id, 1), proto: "tcp", is_mailbox: false, ends: ends.map(end), sent: bytes.map(sent) }
    }

    fn look(at: Instant, flows: Vec<Flow>) -> Look {
        let hosts = [(1, "a"), (2, "b"), (3, "c")].map(|(number, name)| (number, name.to_owned())).into();
        Look { at, flows, hosts, faults: HashMap::new(), stats: Stats::default() }
    }

    #[test]
    fn rates_are_differences_between_two_looks() {
        let now = Instant::now();
        let before = look(now, vec![flow(1, [1, 2], [1000, 50], true), flow(2, [3, 1], [0, 0], true), flow(9, [1, 3], [7, 7], true)]);
        let flows = vec![
            flow(1, [1, 2], [3000, 50], true),
            flow(2, [3, 1], [10, 5000], true),
            // The other way round, and new.
            flow(3, [2, 1], [400, 0], false),
        ];
        let sample = Sample::between(&before, &look(now + Duration::from_secs(2), flows), Grouping::Hosts);
        let [most, less] = &sample.pairs[..] else { panic!("{:?}", sample.pairs) };
        assert_eq!((format!("{} {}", most.from, most.to), most.connections, most.path), ("c a".to_owned(), 1, "ring"));
        assert_eq!((most.there.bytes_per_s, most.back.bytes_per_s), (5.0, 2500.0));
        assert_eq!((format!("{} {}", less.from, less.to), less.connections, less.path), ("a b".to_owned(), 2, "both"));
        assert_eq!(less.there, Rate { bytes_per_s: 1000.0, messages_per_s: 100.0, queued_bytes: 2 });
        assert_eq!(less.back, Rate { bytes_per_s: 200.0, messages_per_s: 20.0, queued_bytes: 2 });
    }
}
