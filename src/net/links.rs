//! The links of a private net and their faults (`landline fault`): what befalls bytes on their way from one host to another.
//!
//! A link leads one way. A *rule* is for one host or any at either end; the most specific one counts: from and to named, then
//! from, then to, then none. Where a rule stands for any host each pair that uses it gets a link of its own in the table: its
//! own dice, its own rate and counters. What never leaves a host (127.0.0.1, its own address) has no faults. A *cut* separates
//! two hosts for as long as it is there, whatever the rules say.
//!
//! Nobody waits for a fault but who receives: a sender works out when its bytes arrive (`fate`), the receiver does not see them
//! before (`transport::flight`, `transport::late`).

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::hosts;
use crate::shm::arena::TableLock;
use crate::shm::layout::LINKS;
use crate::shm::{Arena, blocks};

mod fate;
mod words;

#[cfg(test)]
mod tests;

pub use fate::{Connect, Fate, SEGMENT_BYTES, Segment, connect_verdict, datagram_verdict, gives_up};
pub use words::{Change, NAMES, parse};

/// Stands for every host.
pub const ANY: u32 = 0;
/// Parts of a whole, in which chances are told.
pub const MILLION: u32 = 1_000_000;

/// Bits of `Rule::flags`.
pub mod flag {
    /// Connections are refused.
    pub const REFUSE: u32 = 1;
    /// Nothing answers a request for a connection.
    pub const HANG: u32 = 2;
    /// Calls move a part of what they could.
    pub const SHORT: u32 = 4;
}

/// What befalls what goes over a link.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rule {
    pub delay_ns: u64,
    /// The delay is so much longer or shorter, at random.
    pub jitter_ns: u64,
    /// 0 where there is no limit.
    pub bits_per_s: u64,
    /// In parts per million, as the others.
    pub loss: u32,
    pub duplicate: u32,
    pub reorder: u32,
    pub corrupt: u32,
    /// A connection is reset once so many bytes have gone over the link; 0 for never.
    pub reset_after: u64,
    /// So much later than it was made can a connection be accepted.
    pub accept_ns: u64,
    pub flags: u32,
    /// Where the dice begin.
    pub seed: u64,
}

/// What an entry of the table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
enum Kind {
    Free = 0,
    Rule = 1,
    /// The link of one pair of hosts, to which a rule for any applies.
    Pair = 2,
    Cut = 3,
}

/// What has happened on a link.
#[repr(C)]
#[derive(Default)]
pub struct Counters {
    /// Datagrams, and segments of streams.
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
    pub dropped: AtomicU64,
    pub duplicated: AtomicU64,
    pub reordered: AtomicU64,
    pub corrupted: AtomicU64,
    pub resets: AtomicU64,
    pub refused: AtomicU64,
}

/// One entry of the table.
#[repr(C, align(64))]
pub struct Link {
    kind: AtomicU32,
    from: AtomicU32,
    to: AtomicU32,
    /// Of a pair: the entry of its rule.
    rule: AtomicU32,
    delay_ns: AtomicU64,
    jitter_ns: AtomicU64,
    bits_per_s: AtomicU64,
    loss: AtomicU32,
    duplicate: AtomicU32,
    reorder: AtomicU32,
    corrupt: AtomicU32,
    reset_after: AtomicU64,
    accept_ns: AtomicU64,
    flags: AtomicU32,
    seed: AtomicU64,
    /// How often the dice were thrown.
    throws: AtomicU64,
    /// The same for what happens at calls, of which there may be any number.
    call_throws: AtomicU64,
    /// The link carries what was given to it until then.
    busy_until_ns: AtomicU64,
    pub counters: Counters,
}

crate::shm::shared_struct!(Link, LINKS.entry_bytes);

impl Link {
    fn is(&self, kind: Kind) -> bool {
        self.kind.load(Ordering::Acquire) == kind as u32
    }

    /// The numbers of the hosts that it leads from and to.
    pub fn ends(&self) -> (u32, u32) {
        (self.from.load(Ordering::Relaxed), self.to.load(Ordering::Relaxed))
    }

    pub fn rule(&self) -> Rule {
        let (small, large) = (|word: &AtomicU32| word.load(Ordering::Relaxed), |word: &AtomicU64| word.load(Ordering::Relaxed));
        Rule {
            delay_ns: large(&self.delay_ns),
            jitter_ns: large(&self.jitter_ns),
            bits_per_s: large(&self.bits_per_s),
            loss: small(&self.loss),
            duplicate: small(&self.duplicate),
            reorder: small(&self.reorder),
            corrupt: small(&self.corrupt),
            reset_after: large(&self.reset_after),
            accept_ns: large(&self.accept_ns),
            flags: small(&self.flags),
            seed: large(&self.seed),
        }
    }

    fn write(&self, rule: &Rule) {
        for (word, value) in [(&self.loss, rule.loss), (&self.duplicate, rule.duplicate), (&self.reorder, rule.reorder)] {
            word.store(value, Ordering::Relaxed);
        }
        for (word, value) in [(&self.corrupt, rule.corrupt), (&self.flags, rule.flags)] {
            word.store(value, Ordering::Relaxed);
        }
        for (word, value) in [
            (&self.delay_ns, rule.delay_ns),
            (&self.jitter_ns, rule.jitter_ns),
            (&self.bits_per_s, rule.bits_per_s),
            (&self.reset_after, rule.reset_after),
            (&self.accept_ns, rule.accept_ns),
            (&self.seed, rule.seed),
        ] {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn begin_anew(&self) {
        let c = &self.counters;
        for word in [&self.throws, &self.call_throws, &self.busy_until_ns, &c.packets, &c.bytes, &c.dropped, &c.duplicated] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [&c.reordered, &c.corrupted, &c.resets, &c.refused] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// The way from one host to another, where something may befall what goes there.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub rule: Rule,
    /// Whose dice are thrown, and who counts; none where there is a cut alone.
    pub link: Option<&'a Link>,
    /// The two hosts are cut off from one another.
    pub is_cut: bool,
}

/// Whether there is any fault in the net. One load, for those who ask at each call.
#[inline(always)]
pub fn any(arena: &Arena) -> bool {
    arena.header().net.links.live.load(Ordering::Relaxed) != 0
}

fn link(arena: &Arena, index: u32) -> Option<&Link> {
    if index >= arena.header().net.links.end(LINKS) {
        return None;
    }
    arena.at(LINKS.entry_off(index)?)
}

fn entries(arena: &Arena) -> impl Iterator<Item = (u32, &Link)> {
    (1..arena.header().net.links.end(LINKS)).filter_map(move |index| Some((index, link(arena, index)?)))
}

fn find(arena: &Arena, kind: Kind, from: u32, to: u32) -> Option<(u32, &Link)> {
    entries(arena).find(|(_, l)| l.is(kind) && l.ends() == (from, to))
}

/// What a thread remembers of a pair of hosts.
#[derive(Clone, Copy)]
struct Known {
    arena: usize,
    epoch: u64,
    ends: (u32, u32),
    rule: u32,
    link: u32,
    is_cut: bool,
}

const KNOWN: usize = 8;

thread_local! {
    static ALL_KNOWN: [Cell<Option<Known>>; KNOWN] = const { [const { Cell::new(None) }; KNOWN] };
}

/// The way from host `from` to host `to`; `None` where nothing befalls what goes there.
pub fn between(arena: &Arena, from: u32, to: u32) -> Option<Way<'_>> {
    if !any(arena) || from == to || from == ANY || to == ANY {
        return None;
    }
    let name = core::ptr::from_ref(arena).addr();
    let epoch = arena.header().net.epoch.load(Ordering::Acquire);
    let place = (from ^ to.wrapping_mul(5)) as usize % KNOWN;
    let known = ALL_KNOWN.with(|all| all.get(place).and_then(Cell::get));
    let known = known.filter(|k| k.ends == (from, to) && k.epoch == epoch && k.arena == name).unwrap_or_else(|| {
        let (rule, link, is_cut) = look_up(arena, from, to);
        let known = Known { arena: name, epoch, ends: (from, to), rule, link, is_cut };
        ALL_KNOWN.with(|all| all.get(place).map(|cell| cell.set(Some(known))));
        known
    });
    if known.rule == 0 && !known.is_cut {
        return None;
    }
    Some(Way { rule: link(arena, known.rule).map(Link::rule).unwrap_or_default(), link: link(arena, known.link), is_cut: known.is_cut })
}

/// The rule, the link whose dice are thrown, and whether there is a cut.
#[cold]
fn look_up(arena: &Arena, from: u32, to: u32) -> (u32, u32, bool) {
    let applying = applying(from, to);
    let is_cut = applying.iter().any(|&(from, to)| find(arena, Kind::Cut, from, to).is_some());
    let rule = applying.iter().find_map(|&(from, to)| find(arena, Kind::Rule, from, to));
    let Some((index, rule)) = rule else { return (0, 0, is_cut) };
    let link = if rule.ends() == (from, to) { index } else { pair(arena, index, rule, from, to) };
    (index, link, is_cut)
}

/// The pair's own link under a rule for any host; the rule's where there is no room for another.
fn pair(arena: &Arena, index: u32, rule: &Link, from: u32, to: u32) -> u32 {
    let is_its = |l: &Link| l.is(Kind::Pair) && l.ends() == (from, to) && l.rule.load(Ordering::Relaxed) == index;
    let known = || entries(arena).find(|(_, l)| is_its(l)).map(|(i, _)| i);
    let Some(lock) = known().is_none().then(|| arena.try_lock()) else { return known().unwrap_or(index) };
    let Some(lock) = lock else { return index };
    known().or_else(|| new_entry(&lock, Kind::Pair, (from, to), index, &Rule { seed: rule.rule().seed, ..Rule::default() })).unwrap_or(index)
}

fn new_entry(lock: &TableLock, kind: Kind, ends: (u32, u32), of_rule: u32, rule: &Rule) -> Option<u32> {
    let pool = &lock.arena.header().net.links;
    let freed = entries(lock.arena).find(|(_, l)| l.is(Kind::Free)).map(|(index, _)| index);
    let index = freed.or_else(|| blocks::extend_pool(lock, pool, LINKS))?;
    let entry = link(lock.arena, index)?;
    entry.from.store(ends.0, Ordering::Relaxed);
    entry.to.store(ends.1, Ordering::Relaxed);
    entry.rule.store(of_rule, Ordering::Relaxed);
    entry.write(rule);
    entry.begin_anew();
    entry.kind.store(kind as u32, Ordering::Release);
    pool.live.fetch_add(1, Ordering::SeqCst);
    Some(index)
}

fn free(lock: &TableLock, entry: &Link) {
    entry.kind.store(Kind::Free as u32, Ordering::Release);
    let less = |live: u32| live.checked_sub(1);
    let _ = lock.arena.header().net.links.live.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
}

fn changed(arena: &Arena) {
    arena.header().net.epoch.fetch_add(1, Ordering::SeqCst);
}

/// The seed of a net for which nobody has named one: it depends on the net's name alone.
fn seed_of_net(arena: &Arena) -> u64 {
    arena.header().net.seed.load(Ordering::Relaxed)
}

/// Makes `rule` the one from `from` to `to` (`ANY` for any host). Its dice begin anew. False where the table is full.
pub fn set(lock: &TableLock, from: u32, to: u32, rule: &Rule) -> bool {
    let rule = Rule { seed: if rule.seed == 0 { seed_of_net(lock.arena) } else { rule.seed }, ..*rule };
    clear_rule(lock, from, to);
    let is_set = new_entry(lock, Kind::Rule, (from, to), 0, &rule).is_some();
    changed(lock.arena);
    is_set
}

/// Changes the rule from `from` to `to`, if there is one, or makes it. Its dice go on unless their seed changes.
pub fn change(lock: &TableLock, from: u32, to: u32, change: &Change) -> bool {
    let Some((_, entry)) = find(lock.arena, Kind::Rule, from, to) else { return set(lock, from, to, &change.applied(Rule::default())) };
    let (before, after) = (entry.rule(), change.applied(entry.rule()));
    if after.seed != before.seed {
        return set(lock, from, to, &after);
    }
    entry.write(&after);
    changed(lock.arena);
    true
}

/// The rule from `from` to `to`, as it was set.
pub fn get(arena: &Arena, from: u32, to: u32) -> Option<Rule> {
    find(arena, Kind::Rule, from, to).map(|(_, entry)| entry.rule())
}

/// Takes the rule from `from` to `to` away. Whether there was one.
pub fn clear_rule(lock: &TableLock, from: u32, to: u32) -> bool {
    let Some((index, rule)) = find(lock.arena, Kind::Rule, from, to) else { return false };
    entries(lock.arena).filter(|(_, l)| l.is(Kind::Pair) && l.rule.load(Ordering::Relaxed) == index).for_each(|(_, l)| free(lock, l));
    free(lock, rule);
    changed(lock.arena);
    true
}

/// Takes all rules and cuts away.
pub fn clear(lock: &TableLock) {
    entries(lock.arena).filter(|(_, l)| !l.is(Kind::Free)).for_each(|(_, l)| free(lock, l));
    changed(lock.arena);
}

/// Cuts what goes from `from` to `to`. False where the table is full.
pub fn cut(lock: &TableLock, from: u32, to: u32) -> bool {
    let is_cut = find(lock.arena, Kind::Cut, from, to).is_some() || new_entry(lock, Kind::Cut, (from, to), 0, &Rule::default()).is_some();
    changed(lock.arena);
    is_cut
}

/// Heals a cut. Whether there was one.
pub fn heal(lock: &TableLock, from: u32, to: u32) -> bool {
    let Some((_, entry)) = find(lock.arena, Kind::Cut, from, to) else { return false };
    free(lock, entry);
    changed(lock.arena);
    true
}

/// Heals all cuts.
pub fn heal_all(lock: &TableLock) {
    entries(lock.arena).filter(|(_, l)| l.is(Kind::Cut)).for_each(|(_, l)| free(lock, l));
    changed(lock.arena);
}

/// A rule, a link under one, or a cut, for those who look.
pub struct Shown<'a> {
    /// Numbers of hosts, `ANY` for any.
    pub from: u32,
    pub to: u32,
    pub what: What<'a>,
}

/// What there is between two hosts.
pub enum What<'a> {
    /// With what has happened on it, to pairs that it stands for included.
    Rule(Rule, Counts),
    /// The link of one pair under a rule for any.
    Pair(&'a Counters),
    Cut,
}

/// `Counters` at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub packets: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    pub resets: u64,
    pub refused: u64,
}

impl Counters {
    pub fn now(&self) -> Counts {
        let of = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Counts {
            packets: of(&self.packets),
            bytes: of(&self.bytes),
            dropped: of(&self.dropped),
            duplicated: of(&self.duplicated),
            reordered: of(&self.reordered),
            corrupted: of(&self.corrupted),
            resets: of(&self.resets),
            refused: of(&self.refused),
        }
    }
}

impl core::ops::Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            dropped: self.dropped.wrapping_add(other.dropped),
            duplicated: self.duplicated.wrapping_add(other.duplicated),
            reordered: self.reordered.wrapping_add(other.reordered),
            corrupted: self.corrupted.wrapping_add(other.corrupted),
            resets: self.resets.wrapping_add(other.resets),
            refused: self.refused.wrapping_add(other.refused),
        }
    }
}

/// All rules, links under them and cuts.
pub fn all(arena: &Arena) -> impl Iterator<Item = Shown<'_>> {
    entries(arena).filter_map(move |(index, l)| {
        let (from, to) = l.ends();
        let what = match () {
            () if l.is(Kind::Rule) => {
                let pairs = entries(arena).filter(|(_, p)| p.is(Kind::Pair) && p.rule.load(Ordering::Relaxed) == index);
                What::Rule(l.rule(), pairs.fold(l.counters.now(), |sum, (_, p)| sum + p.counters.now()))
            }
            () if l.is(Kind::Pair) => What::Pair(&l.counters),
            () if l.is(Kind::Cut) => What::Cut,
            () => return None,
        };
        Some(Shown { from, to, what })
    })
}

/// What befalls what host `from` sends to host `to`, in words; `None` where nothing does.
pub fn in_words(arena: &Arena, from: u32, to: u32) -> Option<String> {
    if !any(arena) || from == to || from == ANY || to == ANY {
        return None;
    }
    let fitting = |kind| applying(from, to).into_iter().find_map(|(from, to)| find(arena, kind, from, to));
    let rule = fitting(Kind::Rule).map(|(_, entry)| entry.rule().to_string()).filter(|words| !words.is_empty());
    if fitting(Kind::Cut).is_some() { Some("cut".to_owned()) } else { rule }
}

/// From and to of the rules that apply to a pair of hosts, the most specific first.
fn applying(from: u32, to: u32) -> [(u32, u32); 4] {
    [(from, to), (from, ANY), (ANY, to), (ANY, ANY)]
}

/// The number of the host with a name; `ANY` for `any` and `*`.
///
/// # Errors
/// That there is no such host.
pub fn host_number(arena: &Arena, name: &str) -> Result<u32, String> {
    match name {
        "any" | "*" => Ok(ANY),
        name => hosts::by_name(arena, name).map(|(number, _)| number).ok_or_else(|| format!("there is no host {name}")),
    }
}

/// The name of a host, or `any`.
pub fn host_name(arena: &Arena, number: u32) -> String {
    if number == ANY {
        return "any".to_owned();
    }
    hosts::host(arena, number).map_or_else(|| number.to_string(), hosts::Host::name)
}
