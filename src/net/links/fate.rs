//! What becomes of one datagram, one segment of a stream, one request for a connection.
//!
//! Chance comes from SplitMix64, asked by number: what happens to the n-th packet of a link is worked out of the link's seed
//! and n alone. The seed of a link is that of its rule and the names of its hosts. So the same seed, the same hosts and the same
//! packets in the same order meet the same fate.

use core::sync::atomic::Ordering;

use super::{Link, MILLION, Way, between, flag, hosts};
use crate::shm::Arena;
use crate::transport::direction::HELD;

/// What IP and UDP, or IP and TCP with its usual options, put before the bytes: the rate counts that as well.
const DATAGRAM_HEADER_BYTES: u64 = 28;
const SEGMENT_HEADER_BYTES: u64 = 52;
/// The most that one segment carries: an Ethernet's frame less headers.
pub const SEGMENT_BYTES: u64 = 1448;
/// What a link cannot carry within so long it drops, of datagrams.
const BACKLOG_NS: u64 = 1_000_000_000;
/// What is reordered on a link without delay comes so much later: others overtake it.
const REORDERED_NS: u64 = 1_000_000;
/// The least time before TCP sends a segment again that nothing shows to be lost (RFC 6298 asks for a second, Linux waits this long).
const LEAST_RTO_NS: u64 = 200_000_000;
/// The least time of a round trip, where no delay was asked for.
const LEAST_RTT_NS: u64 = 200_000;
/// So often a segment is lost again before it gets through.
const MOST_TRIES: u32 = 6;
/// Linux asks for a connection again after 1, 3, 7, 15, 31, and 63 seconds, and gives up after 127 (tcp_syn_retries).
const FIRST_SYN_NS: u64 = 1_000_000_000;
const SYN_TRIES: u32 = 7;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Numbers that one throw has at its disposal.
const PER_THROW: u64 = 16;

/// SplitMix64's output function.
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// One throw of the dice.
struct Throw(u64);

#[derive(Clone, Copy)]
enum Die {
    Loss = 0,
    Jitter = 1,
    Duplicate = 2,
    CopyJitter = 3,
    Reorder = 4,
    Corrupt = 5,
    Bit = 6,
    /// And as many again as there are tries.
    Again = 8,
}

impl Throw {
    fn number(&self, die: u64) -> u64 {
        mix(self.0.wrapping_add((die + 1).wrapping_mul(GOLDEN)))
    }

    fn falls(&self, die: u64, per_million: u32) -> bool {
        per_million != 0 && ((self.number(die) >> 32) * u64::from(MILLION)) >> 32 < u64::from(per_million)
    }

    /// A delay with its jitter, evenly spread.
    fn delay(&self, die: Die, delay_ns: u64, jitter_ns: u64) -> u64 {
        if jitter_ns == 0 {
            return delay_ns;
        }
        let width = u128::from(jitter_ns) * 2 + 1;
        let offset = ((u128::from(self.number(die as u64)) * width) >> 64) as u64;
        delay_ns.saturating_add(offset).saturating_sub(jitter_ns)
    }
}

/// The n-th throw of a link's dice.
fn throw(arena: &Arena, link: &Link, n: u64) -> Throw {
    let name = |number| hosts::host(arena, number).map_or(0, hosts::Host::mark);
    let (from, to) = link.ends();
    let seed = mix(link.seed.load(Ordering::Relaxed) ^ mix(name(from).wrapping_add(GOLDEN)).rotate_left(17) ^ mix(name(to)));
    Throw(seed.wrapping_add(n.wrapping_mul(PER_THROW).wrapping_mul(GOLDEN)))
}

fn next_throw(arena: &Arena, link: &Link) -> Throw {
    throw(arena, link, link.throws.fetch_add(1, Ordering::Relaxed))
}

/// When `bytes` have left for the other end, over a link that carries one thing after another; `None` where more than
/// `backlog_ns` of what came before is still to be carried.
fn depart(link: &Link, bits_per_s: u64, bytes: u64, now: u64, backlog_ns: u64) -> Option<u64> {
    if bits_per_s == 0 {
        return Some(now);
    }
    let takes = (u128::from(bytes) * 8_000_000_000 / u128::from(bits_per_s)).min(u128::from(u64::MAX / 4)) as u64;
    let until = |busy: u64| (busy.saturating_sub(now) <= backlog_ns).then(|| busy.max(now).saturating_add(takes));
    let before = link.busy_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, until).ok()?;
    until(before)
}

/// What becomes of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Lost,
    Comes {
        /// When it arrives; no later than now where it is not late.
        due_ns: u64,
        /// When another of it arrives.
        copy_due_ns: Option<u64>,
        /// One bit of it is wrong: this one, counted modulo the bits that it has.
        wrong_bit: Option<u64>,
    },
}

/// What becomes of a datagram of `bytes` from host `from` to host `to`; `None` where nothing befalls it.
#[inline]
pub fn datagram_verdict(arena: &Arena, from: u32, to: u32, bytes: u64, now: u64) -> Option<Fate> {
    between(arena, from, to).map(|way| way.datagram(arena, bytes, now))
}

/// When a segment of a stream arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    pub due_ns: u64,
    /// Of a lost one: when it arrives if others that follow it show the loss. Else `due_ns`.
    pub soon_ns: u64,
}

impl Way<'_> {
    /// What becomes of a datagram of `bytes`.
    pub fn datagram(&self, arena: &Arena, bytes: u64, now: u64) -> Fate {
        let Some(link) = self.link else { return if self.is_cut { Fate::Lost } else { arrives(now) } };
        let (rule, counters) = (&self.rule, &link.counters);
        counters.packets.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        let throw = next_throw(arena, link);
        let departs = depart(link, rule.bits_per_s, bytes + DATAGRAM_HEADER_BYTES, now, BACKLOG_NS);
        let (false, false, Some(departs)) = (self.is_cut, throw.falls(Die::Loss as u64, rule.loss), departs) else {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            return Fate::Lost;
        };
        let mut delay = throw.delay(Die::Jitter, rule.delay_ns, rule.jitter_ns);
        if throw.falls(Die::Reorder as u64, rule.reorder) {
            counters.reordered.fetch_add(1, Ordering::Relaxed);
            delay = if rule.delay_ns == 0 { REORDERED_NS } else { 0 };
        }
        let copy_due_ns = throw.falls(Die::Duplicate as u64, rule.duplicate).then(|| {
            counters.duplicated.fetch_add(1, Ordering::Relaxed);
            departs.saturating_add(throw.delay(Die::CopyJitter, rule.delay_ns, rule.jitter_ns))
        });
        let wrong_bit = throw.falls(Die::Corrupt as u64, rule.corrupt).then(|| {
            counters.corrupted.fetch_add(1, Ordering::Relaxed);
            throw.number(Die::Bit as u64)
        });
        Fate::Comes { due_ns: departs.saturating_add(delay), copy_due_ns, wrong_bit }
    }

    /// When a segment of `bytes` of a stream arrives.
    pub fn segment(&self, arena: &Arena, bytes: u64, now: u64) -> Segment {
        let Some(link) = self.link else { return Segment::at(if self.is_cut { HELD } else { now }) };
        let (rule, counters) = (&self.rule, &link.counters);
        counters.packets.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        let throw = next_throw(arena, link);
        let departs = depart(link, rule.bits_per_s, bytes + SEGMENT_HEADER_BYTES, now, u64::MAX).unwrap_or(now);
        if self.is_cut {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            return Segment::at(HELD);
        }
        let due_ns = departs.saturating_add(throw.delay(Die::Jitter, rule.delay_ns, rule.jitter_ns)).min(HELD - 1);
        let tries = self.tries(&throw, Die::Loss as u64, MOST_TRIES);
        if tries == 0 {
            return Segment { due_ns, soon_ns: due_ns };
        }
        counters.dropped.fetch_add(u64::from(tries), Ordering::Relaxed);
        let rtt = rule.round_trip_ns();
        let rto = LEAST_RTO_NS.max(rtt.saturating_mul(2));
        // What was sent again and lost again only time brings up.
        let beyond = rto.saturating_mul((1 << (tries - 1)) - 1).saturating_mul(2);
        let late = |first: u64| due_ns.saturating_add(first).saturating_add(beyond).min(HELD - 1);
        Segment { due_ns: late(rto), soon_ns: late(rtt) }
    }

    /// How often something is lost before it gets through: a damaged segment is as good as lost.
    fn tries(&self, throw: &Throw, first: u64, most: u32) -> u32 {
        let chance = self.rule.loss.saturating_add(self.rule.corrupt);
        (0..most).take_while(|&n| throw.falls(if n == 0 { first } else { Die::Again as u64 + u64::from(n) }, chance)).count() as u32
    }

    /// How much of `bytes` a call moves.
    pub fn short(&self, arena: &Arena, bytes: usize) -> usize {
        let Some(link) = self.link.filter(|_| self.rule.flags & flag::SHORT != 0 && bytes > 1) else { return bytes };
        let n = link.call_throws.fetch_add(1, Ordering::Relaxed);
        let throw = throw(arena, link, !n);
        1 + ((u128::from(throw.number(0)) * bytes as u128) >> 64) as usize
    }

    /// How many bytes may be under way to the other end at once, for a stream: more would only make its sender believe that they
    /// have got through.
    pub fn window(&self) -> u64 {
        const LEAST_BYTES: u64 = 64 << 10;
        const AHEAD_NS: u128 = 50_000_000;
        if self.rule.bits_per_s == 0 {
            return u64::MAX;
        }
        let ns = u128::from(self.rule.delay_ns) * 2 + AHEAD_NS;
        let bytes = u128::from(self.rule.bits_per_s) * ns / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(LEAST_BYTES)
    }

    /// The connection is reset: counts it.
    pub fn count_reset(&self) {
        if let Some(link) = self.link {
            link.counters.resets.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Segment {
    fn at(due_ns: u64) -> Segment {
        Segment { due_ns, soon_ns: due_ns }
    }
}

fn arrives(due_ns: u64) -> Fate {
    Fate::Comes { due_ns, copy_due_ns: None, wrong_bit: None }
}

impl super::Rule {
    fn round_trip_ns(&self) -> u64 {
        self.delay_ns.saturating_mul(2).max(LEAST_RTT_NS)
    }
}

/// What becomes of a request for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connect {
    /// It is answered: with the connection, or a refusal where nobody listens.
    Answered {
        /// When the one who asked has the answer.
        due_ns: u64,
        /// When the other end can accept it.
        accept_ns: u64,
    },
    /// It is refused, whoever listens.
    Refused { due_ns: u64 },
    /// Nothing answers. It is asked again then: the links may have changed.
    Unanswered { again_ns: u64 },
}

/// What becomes of a request for a connection from host `from` to host `to`, made at `now`; `None` where nothing befalls it.
/// `tries` were unanswered before: Linux gives up (ETIMEDOUT) where the seventh is.
pub fn connect_verdict(arena: &Arena, from: u32, to: u32, tries: u32, now: u64) -> Option<Connect> {
    let (there, back) = (between(arena, from, to), between(arena, to, from));
    if there.is_none() && back.is_none() {
        return None;
    }
    let ways = [there, back];
    let known = || ways.iter().flatten();
    let again_ns = now.saturating_add(FIRST_SYN_NS << tries.min(SYN_TRIES));
    if known().any(|way| way.is_cut) || there.is_some_and(|way| way.rule.flags & flag::HANG != 0) {
        return Some(Connect::Unanswered { again_ns });
    }
    let mut due_ns = now;
    for way in known() {
        // A handshake's segments carry no bytes.
        let Some(link) = way.link else { continue };
        link.counters.packets.fetch_add(1, Ordering::Relaxed);
        let throw = next_throw(arena, link);
        if way.tries(&throw, Die::Loss as u64, 1) > 0 {
            link.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return Some(Connect::Unanswered { again_ns });
        }
        let departs = depart(link, way.rule.bits_per_s, SEGMENT_HEADER_BYTES, due_ns, u64::MAX).unwrap_or(due_ns);
        due_ns = departs.saturating_add(throw.delay(Die::Jitter, way.rule.delay_ns, way.rule.jitter_ns));
    }
    if let Some(way) = there.filter(|way| way.rule.flags & flag::REFUSE != 0) {
        if let Some(link) = way.link {
            link.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        return Some(Connect::Refused { due_ns });
    }
    let accept_ns = due_ns.saturating_add(there.map_or(0, |way| way.rule.accept_ns));
    Some(Connect::Answered { due_ns, accept_ns })
}

/// Whether a request for a connection that was unanswered so often is given up.
pub fn gives_up(tries: u32) -> bool {
    tries >= SYN_TRIES
}
