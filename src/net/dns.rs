//! The net's answers to questions about names, as a DNS server gives them (RFC 1035), for programs that bring their own
//! resolver. There is no server: whoever sends a question has it answered in his own process.
//!
//! The net is the authority for the whole tree of names, unless those that it does not know are the real network's:
//! these are then refused, so that a resolver goes on to its next server.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::hosts;
use super::names::{self, Known};
use crate::shm::Arena;
use crate::sys::resolv;

pub mod question;

/// The port that questions go to.
pub const PORT: u16 = 53;
/// The longest answer without EDNS0 (RFC 1035, 4.2.1), and what we tell others to keep within (RFC 9715).
const PLAIN_BYTES: usize = 512;
const EDNS_BYTES: u16 = 1232;
/// Where stub resolvers of systemd and Docker are found.
const STUBS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 11)];
/// For how long an answer is good, in seconds: addresses stay as they are. That there is no such name may be wrong soon.
const TTL_S: u32 = 60;

/// Types of record and the one class.
mod kind {
    pub const A: u16 = 1;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const AAAA: u16 = 28;
    pub const OPT: u16 = 41;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
    pub const IN: u16 = 1;
}

/// Codes of an answer; those above 15 need EDNS0 (RFC 6891, 6.1.3).
mod code {
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const BADVERS: u16 = 16;
}

/// Bits of the header's second word.
mod bit {
    pub const ANSWER: u16 = 0x8000;
    pub const OPCODE: u16 = 0x7800;
    pub const AUTHORITY: u16 = 0x0400;
    pub const TRUNCATED: u16 = 0x0200;
    pub const RECURSION_DESIRED: u16 = 0x0100;
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    pub const CHECKING_DISABLED: u16 = 0x0010;
    /// Of the OPT record's flags (RFC 3225).
    pub const DNSSEC_OK: u16 = 0x8000;
}

const HEADER_BYTES: usize = 12;
const MOST_LABEL_BYTES: usize = 63;
/// The longest name, as text.
const MOST_TEXT_BYTES: usize = 254;

/// Whether what is sent to `ip` at `PORT` is a question for the net: to its own resolver, and where there is nobody outside
/// to ask also to those that programs read in /etc/resolv.conf or take for granted.
pub fn is_resolver(arena: &Arena, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_outer = |ip| STUBS.iter().any(|&stub| ip == stub) || resolv::nameservers().contains(&ip);
    ip == hosts::resolver_v4(arena) || !names::asks_outside(arena) && is_outer(ip)
}

/// Writes the answer to `query` to `out`; returns its length, 0 where none is due.
pub fn answer(arena: &Arena, query: &[u8], out: &mut [u8]) -> usize {
    answer_for(arena, names::net_name(), query, out)
}

/// The same for the net called `net`.
pub fn answer_for(arena: &Arena, net: &str, query: &[u8], out: &mut [u8]) -> usize {
    let mut input = Reader { bytes: query, at: 0 };
    let Some([id, flags, questions, answers, authorities, additional]) = input.header() else { return 0 };
    // An answer is not answered: two of us would never stop.
    if flags & bit::ANSWER != 0 {
        return 0;
    }
    let kept = flags & (bit::OPCODE | bit::RECURSION_DESIRED | bit::CHECKING_DISABLED);
    let mut out = Writer { bytes: out, at: 0, is_full: false };
    let mut reply = Reply { id, flags: kept | bit::ANSWER | bit::RECURSION_AVAILABLE, ..Reply::default() };
    if flags & bit::OPCODE != 0 {
        reply.code = code::NOTIMP;
        return reply.finish(out);
    }
    let question = if questions == 1 { input.question() } else { None };
    let others = u32::from(answers) + u32::from(authorities) + u32::from(additional);
    let (Some(question), Some(edns)) = (question, input.edns(others)) else {
        reply.code = code::FORMERR;
        return reply.finish(out);
    };
    let limit = edns.map_or(PLAIN_BYTES, |edns| usize::from(edns.bytes).max(PLAIN_BYTES));
    out.limit(limit);
    reply.edns = edns;
    reply.question = query.get(HEADER_BYTES..question.end).unwrap_or(&[]);
    if edns.is_some_and(|edns| edns.version > 0) {
        reply.code = code::BADVERS;
    } else if question.class != kind::IN && question.class != kind::ANY || matches!(question.kind, kind::AXFR | kind::IXFR) {
        reply.code = code::REFUSED;
    } else {
        reply.resolve(arena, net, &question);
    }
    reply.finish(out)
}

/// What is to be said.
#[derive(Default)]
struct Reply<'a> {
    id: u16,
    flags: u16,
    code: u16,
    /// The question's bytes, which come back as they are: some resolvers recognise theirs by the case of its letters.
    question: &'a [u8],
    edns: Option<Edns>,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    pointer: Option<Known>,
    /// The record of the zone, among the answers where it was asked for, else to say that there is no such thing
    /// (RFC 2308, 3).
    has_zone: bool,
    asks_zone: bool,
}

impl Reply<'_> {
    fn resolve(&mut self, arena: &Arena, net: &str, question: &Question) {
        let name = question.name();
        let is_for = |kind| question.kind == kind || question.kind == kind::ANY;
        let mut is_known = true;
        let found = name.and_then(|name| names::find(arena, net, name));
        let reverse = name.and_then(|name| names::find_address(arena, reverse_address(name)?));
        if let Some(known) = found {
            self.v4 = known.v4.filter(|_| is_for(kind::A));
            self.v6 = known.v6.filter(|_| is_for(kind::AAAA));
        } else if let Some(known) = reverse {
            self.pointer = Some(known).filter(|_| is_for(kind::PTR));
        } else {
            let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
            let is_between = name.is_some_and(|name| !name.is_empty() && names::is_above_a_host(arena, net, name));
            self.asks_zone = name == Some("") && is_for(kind::SOA);
            is_known = name == Some("") || is_between;
            if !is_between && names::asks_outside(arena) {
                self.code = code::REFUSED;
                return;
            }
        }
        self.flags |= bit::AUTHORITY;
        self.code = if is_known { code::NOERROR } else { code::NXDOMAIN };
        self.has_zone = self.v4.is_none() && self.v6.is_none() && self.pointer.is_none();
    }

    /// Writes it all. What does not fit is left out, and the reader told so.
    fn finish(&self, mut out: Writer) -> usize {
        let answers = u16::from(self.v4.is_some()) + u16::from(self.v6.is_some()) + u16::from(self.pointer.is_some()) + u16::from(self.asks_zone);
        let authorities = u16::from(self.has_zone && !self.asks_zone);
        self.begin(&mut out, self.flags, answers, authorities);
        if let Some(v4) = self.v4 {
            out.record(kind::A, &v4.octets());
        }
        if let Some(v6) = self.v6 {
            out.record(kind::AAAA, &v6.octets());
        }
        if let Some(known) = &self.pointer {
            out.pointer(known.name.as_str());
        }
        if self.has_zone {
            out.zone();
        }
        self.end(&mut out);
        if out.is_full {
            out.at = 0;
            out.is_full = false;
            self.begin(&mut out, self.flags | bit::TRUNCATED, 0, 0);
            self.end(&mut out);
        }
        if out.is_full { 0 } else { out.at }
    }

    fn begin(&self, out: &mut Writer, flags: u16, answers: u16, authorities: u16) {
        let questions = u16::from(!self.question.is_empty());
        for word in [self.id, flags | self.code & 0xf, questions, answers, authorities, u16::from(self.edns.is_some())] {
            out.u16(word);
        }
        out.put(self.question);
    }

    fn end(&self, out: &mut Writer) {
        if let Some(edns) = self.edns {
            out.put(&[0]);
            out.u16(kind::OPT);
            out.u16(EDNS_BYTES);
            // The code's upper bits, and the version, which is 0.
            out.put(&[(self.code >> 4) as u8, 0]);
            out.u16(edns.flags & bit::DNSSEC_OK);
            out.u16(0);
        }
    }
}

/// The address that a name below in-addr.arpa (RFC 1035, 3.5) or ip6.arpa (RFC 3596, 2.5) stands for.
fn reverse_address(name: &str) -> Option<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut labels = name.rsplit('.');
    if !labels.next()?.eq_ignore_ascii_case("arpa") {
        return None;
    }
    let family = labels.next()?;
    if family.eq_ignore_ascii_case("in-addr") {
        let mut octets = [0u8; 4];
        for octet in &mut octets {
            let label = labels.next()?;
            if !label.bytes().all(|b| b.is_ascii_digit()) || label.len() > 1 && label.starts_with('0') {
                return None;
            }
            *octet = label.parse().ok()?;
        }
        return labels.next().is_none().then_some(Ipv4Addr::from(octets).into());
    }
    if !family.eq_ignore_ascii_case("ip6") {
        return None;
    }
    let mut bits = 0u128;
    for _ in 0..32 {
        let &[digit] = labels.next()?.as_bytes() else { return None };
        bits = bits << 4 | u128::from(char::from(digit).to_digit(16)?);
    }
    // Not what it may map: that has a name of its own.
    (labels.next().is_none() && Ipv6Addr::from_bits(bits).to_ipv4_mapped().is_none()).then_some(Ipv6Addr::from_bits(bits).into())
}

/// What EDNS0 says of the sender (RFC 6891).
#[derive(Clone, Copy)]
struct Edns {
    bytes: u16,
    version: u8,
    flags: u16,
}

struct Question {
    text: [u8; MOST_TEXT_BYTES],
    /// How much of that is the name, if it is one that a host can have.
    len: Option<usize>,
    kind: u16,
    class: u16,
    /// Where it ends in the query.
    end: usize,
}

impl Question {
    /// The name with a dot at its end.
    fn name(&self) -> Option<&str> {
        let text = self.text.get(..self.len?)?;
        core::str::from_utf8(text).ok().filter(|text| text.is_ascii())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..n)?;
        self.at += n;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn header(&mut self) -> Option<[u16; 6]> {
        let mut words = [0; 6];
        for word in &mut words {
            *word = self.u16()?;
        }
        Some(words)
    }

    fn question(&mut self) -> Option<Question> {
        let mut text = [0; MOST_TEXT_BYTES];
        let mut len = 0;
        // What has a dot or a zero byte within a label is nobody's name, and must not look like one.
        let mut is_odd = false;
        loop {
            let n = usize::from(self.u8()?);
            if n == 0 {
                break;
            }
            // Nothing stands before the question that it could point to.
            if n > MOST_LABEL_BYTES {
                return None;
            }
            let label = self.take(n)?;
            is_odd |= label.iter().any(|&b| b == b'.' || b == 0);
            let place = text.get_mut(len..len + n + 1)?;
            let (dot, letters) = place.split_last_mut()?;
            letters.copy_from_slice(label);
            *dot = b'.';
            len += n + 1;
        }
        if len == 0 {
            text[0] = b'.';
            len = 1;
        }
        Some(Question { text, len: (!is_odd).then_some(len), kind: self.u16()?, class: self.u16()?, end: self.at })
    }

    /// Passes by a name that may end in a pointer.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match usize::from(self.u8()?) {
                0 => return Some(()),
                n @ 1..=MOST_LABEL_BYTES => _ = self.take(n)?,
                192.. => return self.u8().map(|_| ()),
                _ => return None,
            }
        }
    }

    /// Reads the records after the question, of which one may be EDNS0's. `None` where they are malformed.
    fn edns(&mut self, records: u32) -> Option<Option<Edns>> {
        let mut found = None;
        for _ in 0..records {
            let start = self.at;
            self.skip_name()?;
            let is_root = self.at == start + 1;
            let (kind, bytes) = (self.u16()?, self.u16()?);
            let &[_, version, high, low] = self.take(4)? else { return None };
            let n = self.u16()?;
            self.take(usize::from(n))?;
            if kind == kind::OPT {
                if found.is_some() || !is_root {
                    return None;
                }
                found = Some(Edns { bytes, version, flags: u16::from_be_bytes([high, low]) });
            }
        }
        Some(found)
    }
}

/// Writes until there is no more room.
struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
    is_full: bool,
}

/// A pointer (RFC 1035, 4.1.4) to the question's name.
const QUESTION_NAME: u16 = 0xc000 | HEADER_BYTES as u16;

impl Writer<'_> {
    fn limit(&mut self, n: usize) {
        let bytes = core::mem::take(&mut self.bytes);
        let n = n.min(bytes.len());
        self.bytes = bytes.split_at_mut(n).0;
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.at..).and_then(|room| room.get_mut(..bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            None => self.is_full = true,
        }
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Everything of a record but its name and its data.
    fn middle(&mut self, kind: u16, ttl_s: u32, len: usize) {
        self.u16(kind);
        self.u16(kind::IN);
        self.put(&ttl_s.to_be_bytes());
        self.u16(len as u16);
    }

    fn record(&mut self, kind: u16, data: &[u8]) {
        self.u16(QUESTION_NAME);
        self.middle(kind, TTL_S, data.len());
        self.put(data);
    }

    fn pointer(&mut self, name: &str) {
        self.u16(QUESTION_NAME);
        self.middle(kind::PTR, TTL_S, name.len() + 2);
        for label in name.split('.') {
            self.put(&[label.len() as u8]);
            self.put(label.as_bytes());
        }
        self.put(&[0]);
    }

    /// The one zone is the root's.
    fn zone(&mut self) {
        const MASTER: &[u8] = b"\x08resolver\x00";
        const MAILBOX: &[u8] = b"\x00";
        const SERIAL_TO_MINIMUM: [u32; 5] = [1, 3600, 600, 86400, 0];
        self.put(&[0]);
        self.middle(kind::SOA, 0, MASTER.len() + MAILBOX.len() + 20);
        self.put(MASTER);
        self.put(MAILBOX);
        SERIAL_TO_MINIMUM.iter().for_each(|word| self.put(&word.to_be_bytes()));
    }
}

#[cfg(test)]
mod tests;
