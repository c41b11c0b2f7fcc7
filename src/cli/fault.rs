//! `landline fault`: what befalls bytes on their way between the hosts of a private net, changed while programs run.

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{self, Output, bytes, number};
use super::run::OURS;
use crate::net::links::{self, ANY, Counts, What};
use crate::shm::Arena;
use crate::shm::arena::{self, Place};

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

// What clap prints has brackets that are no links.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(Subcommand)]
enum Action {
    /// Make a rule, in place of the one that these links have
    ///
    /// FAULT is one or more of: delay TIME [JITTER], jitter TIME, rate RATE, loss CHANCE, duplicate CHANCE, reorder CHANCE,
    /// corrupt CHANCE, reset-after SIZE, connect refuse|hang|ok, accept-delay TIME, short-io [on|off]. As in `delay 50ms 5ms
    /// rate 100mbit loss 0.5%`.
    Set(Rule),
    /// Change or make a rule: what is not named stays as it is
    Add(Rule),
    /// Take away the rules of some links, or all rules and cuts
    Clear(Ends),
    /// Cut hosts off from one another
    ///
    /// Hosts of one group (`a,b`) still reach each other, not those of another group. A group that is alone is cut off from every
    /// other host.
    Partition {
        /// Hosts, with commas between those of one group
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Heal what `partition` has cut: between these groups, or all
    Heal {
        #[arg(value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Show the rules, what has happened on their links, and the cuts
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Also each pair of hosts under a rule for any
        #[arg(long)]
        pairs: bool,
    },
}

#[derive(Args)]
struct Rule {
    #[command(flatten)]
    ends: Ends,
    /// Where the dice begin: the same number, the same losses. Without it that follows from the net's name
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What befalls the bytes
    #[arg(required = true, trailing_var_arg = true, value_name = "FAULT")]
    words: Vec<String>,
}

/// Which links: from any host to any, unless something is said.
#[derive(Args)]
struct Ends {
    /// Of links from this host
    #[arg(long, value_name = "HOST")]
    from: Option<String>,
    /// Of links to this host
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
    /// Of the links between two hosts, both ways
    #[arg(long, num_args = 2, value_names = ["HOST", "HOST"], conflicts_with_all = ["from", "to", "host"])]
    between: Vec<String>,
    /// Of all links from and to this host
    #[arg(long, value_name = "HOST", conflicts_with_all = ["from", "to"])]
    host: Option<String>,
}

impl Ends {
    fn are_named(&self) -> bool {
        self.from.is_some() || self.to.is_some() || self.host.is_some() || !self.between.is_empty()
    }

    /// From and to, of each link.
    fn links(&self, arena: &Arena) -> Result<Vec<(u32, u32)>, String> {
        let end = |name: &Option<String>| name.as_deref().map_or(Ok(ANY), |name| links::host_number(arena, name));
        if let [a, b] = self.between.as_slice() {
            let (a, b) = (links::host_number(arena, a)?, links::host_number(arena, b)?);
            return if a == b { Err("a host has no link to itself".to_owned()) } else { Ok(vec![(a, b), (b, a)]) };
        }
        if self.host.is_some() {
            let host = end(&self.host)?;
            return Ok(vec![(host, ANY), (ANY, host)]);
        }
        match (end(&self.from)?, end(&self.to)?) {
            (from, to) if from == to && from != ANY => Err("a host has no link to itself".to_owned()),
            ends => Ok(vec![ends]),
        }
    }
}

/// Does what is asked for; the status is ours where that cannot be.
pub fn fault(options: &Options, place: &Place) -> ExitCode {
    let arena = match arena_of(place) {
        Ok(arena) => arena,
        Err(why) => return refuse(&why),
    };
    let done = match &options.action {
        Action::Set(rule) => rule.make(&arena, true),
        Action::Add(rule) => rule.make(&arena, false),
        Action::Clear(ends) => clear(&arena, ends),
        Action::Partition { groups } => cuts(&arena, groups).and_then(|cuts| partition(&arena, &cuts)),
        Action::Heal { groups } => heal(&arena, groups),
        Action::Ls { json, pairs } => return output::print(|out| show(out, &arena, *json, *pairs)),
    };
    done.map_or_else(|why| refuse(&why), |()| ExitCode::SUCCESS)
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("landline: {why}");
    ExitCode::from(OURS)
}

fn arena_of(place: &Place) -> Result<Arena, String> {
    let net = place.net.as_ref().ok_or("faults are of a private net: --net names it")?;
    arena::existing(place).map_err(|why| format!("the net {net}: {why}"))
}

const FULL: &str = "the net has no room for another link";

impl Rule {
    fn make(&self, arena: &Arena, anew: bool) -> Result<(), String> {
        let change = links::parse(self.words.iter().map(String::as_str))?.with_seed(self.seed);
        for (from, to) in self.ends.links(arena)? {
            let lock = arena.lock();
            let made = if anew { links::set(&lock, from, to, &change.rule()) } else { links::change(&lock, from, to, &change) };
            made.then_some(()).ok_or(FULL)?;
        }
        Ok(())
    }
}

fn clear(arena: &Arena, ends: &Ends) -> Result<(), String> {
    if !ends.are_named() {
        links::clear(&arena.lock());
        return Ok(());
    }
    for (from, to) in ends.links(arena)? {
        if !links::clear_rule(&arena.lock(), from, to) {
            return Err(format!("there is no rule from {} to {}", links::host_name(arena, from), links::host_name(arena, to)));
        }
    }
    Ok(())
}

/// The links that lie between groups.
fn cuts(arena: &Arena, groups: &[String]) -> Result<Vec<(u32, u32)>, String> {
    let group = |names: &String| names.split(',').map(|name| links::host_number(arena, name)).collect::<Result<Vec<u32>, String>>();
    let mut groups = groups.iter().map(group).collect::<Result<Vec<_>, _>>()?;
    if let [alone] = groups.as_slice() {
        if let &[host] = alone.as_slice() {
            return Ok(vec![(host, ANY), (ANY, host)]);
        }
        let others = crate::net::hosts::all(arena).map(|(host, _)| host).filter(|host| !alone.contains(host)).collect();
        groups.push(others);
    }
    let mut cuts = Vec::new();
    for (i, a) in groups.iter().enumerate() {
        for (_, b) in groups.iter().enumerate().filter(|&(j, _)| j != i) {
            cuts.extend(a.iter().flat_map(|&from| b.iter().map(move |&to| (from, to))).filter(|(from, to)| from != to));
        }
    }
    Ok(cuts)
}

fn partition(arena: &Arena, cuts: &[(u32, u32)]) -> Result<(), String> {
    let lock = arena.lock();
    if cuts.iter().all(|&(from, to)| links::cut(&lock, from, to)) { Ok(()) } else { Err(FULL.to_owned()) }
}

fn heal(arena: &Arena, groups: &[String]) -> Result<(), String> {
    if groups.is_empty() {
        links::heal_all(&arena.lock());
        return Ok(());
    }
    let cuts = cuts(arena, groups)?;
    let lock = arena.lock();
    let healed = cuts.iter().filter(|&&(from, to)| links::heal(&lock, from, to)).count();
    if healed == 0 { Err("these hosts are not cut off from one another".to_owned()) } else { Ok(()) }
}

/// A link as JSON tells it.
#[derive(Serialize)]
struct Told {
    from: String,
    to: String,
    /// `rule`, `pair` or `cut`.
    kind: &'static str,
    rule: String,
    seed: Option<u64>,
    packets: u64,
    bytes: u64,
    dropped: u64,
    duplicated: u64,
    reordered: u64,
    corrupted: u64,
    resets: u64,
    refused: u64,
}

fn told(arena: &Arena, pairs: bool) -> Vec<Told> {
    let shown = links::all(arena).filter(|shown| pairs || !matches!(shown.what, What::Pair(_)));
    shown
        .map(|shown| {
            let (kind, rule, seed, counts) = match shown.what {
                What::Rule(rule, counts) => ("rule", rule.to_string(), Some(rule.seed), counts),
                What::Pair(counters) => ("pair", String::new(), None, counters.now()),
                What::Cut => ("cut", String::new(), None, Counts::default()),
            };
            Told {
                from: links::host_name(arena, shown.from),
                to: links::host_name(arena, shown.to),
                kind,
                rule,
                seed,
                packets: counts.packets,
                bytes: counts.bytes,
                dropped: counts.dropped,
                duplicated: counts.duplicated,
                reordered: counts.reordered,
                corrupted: counts.corrupted,
                resets: counts.resets,
                refused: counts.refused,
            }
        })
        .collect()
}

fn show(out: &mut Output, arena: &Arena, json: bool, pairs: bool) -> io::Result<()> {
    let all = told(arena, pairs);
    if json {
        return output::json(out, &all);
    }
    let row = |l: Told| {
        let rule = match l.kind {
            "cut" => "cut".to_owned(),
            "pair" => String::new(),
            _ => l.rule,
        };
        let counts = [l.dropped, l.duplicated, l.reordered, l.corrupted, l.resets, l.refused].map(number);
        [l.from, l.to, number(l.packets), bytes(l.bytes)].into_iter().chain(counts).chain([rule]).collect()
    };
    let header = ["from", "to", "packets", "bytes", "lost", "twice", "reordered", "corrupt", "resets", "refused", "faults"];
    output::table(out, &header, &[2, 3, 4, 5, 6, 7, 8, 9], all.into_iter().map(row).collect())
}
