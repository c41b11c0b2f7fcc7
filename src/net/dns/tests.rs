//! Tests of the answers: questions made by hand, as dig and c-ares put them, and random bytes.

use proptest::prelude::*;

use super::*;
use crate::shm::tests::blocks::private_arena;

const NET: &str = "lab";
const ID: u16 = 0xbeef;

fn arena() -> (std::sync::MutexGuard<'static, ()>, &'static Arena) {
    let (guard, arena) = private_arena();
    hosts::ensure(&arena.lock(), "dns-a", Some("10.99.0.1".parse().unwrap())).unwrap();
    hosts::ensure(&arena.lock(), "dns-b.sub", Some("fd6c::99:b".parse().unwrap())).unwrap();
    (guard, arena)
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.trim_end_matches('.').split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes())).chain([0]).collect()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A question as dig +noedns puts it.
fn query(name: &str, kind: u16) -> Vec<u8> {
    [words(&[ID, 0x0120, 1, 0, 0, 0]), wire_name(name), words(&[kind, 1])].concat()
}

/// The same with EDNS0 and a cookie (RFC 7873), as dig does by default.
fn edns_query(name: &str, kind: u16, version: u8) -> Vec<u8> {
    let mut query = query(name, kind);
    query[11] = 1;
    [&query[..], &[0], &words(&[kind::OPT, 4096]), &[0, version, 0x80, 0], &words(&[12, 10, 8]), b"cookie!!"].concat()
}

fn asked(arena: &Arena, query: &[u8]) -> Vec<u8> {
    let mut out = [0xee; 1500];
    let n = answer_for(arena, NET, query, &mut out);
    out[..n].to_vec()
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Code and the four counts of an answer.
fn summary(answer: &[u8]) -> (u16, [u16; 4]) {
    assert_eq!(word(answer, 0), ID);
    assert_eq!(word(answer, 2) & bit::ANSWER, bit::ANSWER);
    (word(answer, 2) & 0xf, [4, 6, 8, 10].map(|at| word(answer, at)))
}

const A_RECORD: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 99, 0, 1];

#[test]
fn an_address_is_answered_to_the_byte() {
    let (_one, arena) = arena();
    for name in ["dns-a", "DNS-a.Lab"] {
        let query = query(name, kind::A);
        let wanted = [&words(&[ID, 0x8580, 1, 1, 0, 0])[..], &query[12..], A_RECORD].concat();
        assert_eq!(asked(arena, &query), wanted, "{name}");
    }
}

#[test]
fn each_type_has_its_records() {
    let (_one, arena) = arena();
    let ends = |name: &str, kind: u16, end: &[u8]| {
        let answer = asked(arena, &query(name, kind));
        assert_eq!(summary(&answer), (code::NOERROR, [1, 1, 0, 0]), "{name}");
        assert!(answer.ends_with(end), "{name}: {answer:?}");
    };
    ends("dns-b.sub", kind::AAAA, &"fd6c::99:b".parse::<Ipv6Addr>().unwrap().octets());
    ends("localhost", kind::A, &[127, 0, 0, 1]);
    ends("localhost", kind::AAAA, &Ipv6Addr::LOCALHOST.octets());
    ends("1.0.99.10.in-addr.ARPA", kind::PTR, b"\x00\x07\x05dns-a\x00");
    ends("1.0.0.127.in-addr.arpa", kind::PTR, b"\x09localhost\x00");
    let reversed: String = "fd6c0000000000000000000000990 00b".replace(' ', "").chars().rev().flat_map(|c| [c, '.']).collect();
    ends(&format!("{reversed}ip6.arpa"), kind::PTR, b"\x05dns-b\x03sub\x00");
    assert_eq!(summary(&asked(arena, &query("dns-a", kind::ANY))), (code::NOERROR, [1, 2, 0, 0]));
    assert_eq!(summary(&asked(arena, &query(".", kind::SOA))), (code::NOERROR, [1, 1, 0, 0]));
}

#[test]
fn what_is_not_there_is_said_with_the_zone() {
    let (_one, arena) = arena();
    const MX: u16 = 15;
    for (name, kind) in [("dns-a", MX), ("dns-a", kind::PTR), ("sub", kind::A), ("lab", kind::A), (".", 2), ("1.0.99.10.in-addr.arpa", kind::A)] {
        assert_eq!(summary(&asked(arena, &query(name, kind))), (code::NOERROR, [1, 0, 1, 0]), "{name}");
    }
    for name in ["nobody", "nobody.lab", "www.example.com", "9.9.99.10.in-addr.arpa", "01.0.99.10.in-addr.arpa", "x.ip6.arpa", "in-addr.arpa"] {
        assert_eq!(summary(&asked(arena, &query(name, kind::A))), (code::NXDOMAIN, [1, 0, 1, 0]), "{name}");
    }
    let mut odd = query("dns-bXsub", kind::A);
    odd[18] = b'.';
    assert_eq!(summary(&asked(arena, &odd)).0, code::NXDOMAIN, "one label is not two");
}

#[test]
fn what_the_net_does_not_know_is_refused_where_the_real_network_may_be_asked() {
    let (_one, arena) = arena();
    let outside = &arena.header().net.outside;
    outside.store(1, core::sync::atomic::Ordering::Relaxed);
    let codes = ["nobody", ".", "dns-a", "lab"].map(|name| summary(&asked(arena, &query(name, kind::A))).0);
    outside.store(0, core::sync::atomic::Ordering::Relaxed);
    assert_eq!(codes, [code::REFUSED, code::REFUSED, code::NOERROR, code::NOERROR]);
}

#[test]
fn edns_comes_back_and_its_versions_are_told_apart() {
    let (_one, arena) = arena();
    let answer = asked(arena, &edns_query("dns-a", kind::A, 0));
    assert_eq!(summary(&answer), (code::NOERROR, [1, 1, 0, 1]));
    assert!(answer.ends_with(&[&[0, 0, 41][..], &words(&[1232]), &[0, 0, 0x80, 0, 0, 0]].concat()), "{answer:?}");
    let answer = asked(arena, &edns_query("dns-a", kind::A, 1));
    assert_eq!(summary(&answer), (0, [1, 0, 0, 1]));
    assert!(answer.ends_with(&[1, 0, 0x80, 0, 0, 0]), "BADVERS is 16: {answer:?}");
    let mut twice = edns_query("dns-a", kind::A, 0);
    let record = twice[23..].to_vec();
    twice[11] = 2;
    twice.extend(record);
    assert_eq!(summary(&asked(arena, &twice)).0, code::FORMERR);
}

#[test]
fn what_is_no_question_is_told_so_or_not_answered() {
    let (_one, arena) = arena();
    let good = query("dns-a", kind::A);
    let changed = |at: usize, value: u8| {
        let mut query = good.clone();
        query[at] = value;
        asked(arena, &query)
    };
    assert!(changed(2, 0x81).is_empty(), "an answer");
    assert!(asked(arena, &good[..11]).is_empty());
    assert_eq!(summary(&changed(2, 0x28)), (code::NOTIMP, [0; 4]));
    assert_eq!(summary(&changed(5, 2)), (code::FORMERR, [0; 4]));
    assert_eq!(summary(&changed(12, 0xc0)), (code::FORMERR, [0; 4]));
    assert_eq!(summary(&changed(11, 1)), (code::FORMERR, [0; 4]));
    assert_eq!(summary(&changed(good.len() - 1, 3)), (code::REFUSED, [1, 0, 0, 0]), "CHAOS");
    assert_eq!(summary(&asked(arena, &query("lab", kind::AXFR))).0, code::REFUSED);
    for n in 12..good.len() {
        assert_eq!(summary(&asked(arena, &good[..n])).0, code::FORMERR);
    }
}

#[test]
fn what_does_not_fit_is_cut() {
    let (_one, arena) = arena();
    let query = query("dns-a", kind::A);
    let mut out = [0; 64];
    for room in 0..64 {
        let n = answer_for(arena, NET, &query, &mut out[..room]);
        match room {
            ..23 => assert_eq!(n, 0),
            23..39 => assert_eq!((n, word(&out, 2) & bit::TRUNCATED, word(&out, 6)), (23, bit::TRUNCATED, 0)),
            _ => assert_eq!((n, word(&out, 2) & bit::TRUNCATED), (39, 0)),
        }
    }
}

#[test]
fn questions_of_ours_are_answered() {
    use question::{Outcome, outcome, question};
    let (_one, arena) = arena();
    let ask = |name: &str, kind: u16| {
        let mut bytes = [0; 600];
        let n = question(name, kind::IN, kind, &mut bytes);
        (n > 0).then(|| outcome(&asked(arena, &bytes[..n])))
    };
    assert_eq!(ask("dns-a.", kind::A), Some(Outcome::Found));
    assert_eq!(ask("dns-a", kind::PTR), Some(Outcome::NoData));
    assert_eq!(ask("dns-c", kind::A), Some(Outcome::NoName));
    assert_eq!(ask("", kind::AXFR), Some(Outcome::Refused));
    assert_eq!(ask(&"x".repeat(64), kind::A), None);
    assert_eq!(ask("a..b", kind::A), None);
    assert_eq!(ask(&"abcdefg.".repeat(32), kind::A), Some(Outcome::Failed), "longer than a name can be");
    assert_eq!(outcome(&[]), Outcome::Failed);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_answered_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..600), room in 0usize..600) {
        let (_one, arena) = arena();
        let mut out = vec![0; room];
        prop_assert!(answer_for(arena, NET, &bytes, &mut out) <= room);
    }

    #[test]
    fn damaged_questions_are_answered_within_bounds(at in 0usize..60, value: u8, cut in 0usize..60, room in 0usize..100) {
        let (_one, arena) = arena();
        let mut query = edns_query("dns-a.lab", kind::ANY, 0);
        let n = query.len();
        query[at % n] = value;
        let mut out = vec![0; room];
        prop_assert!(answer_for(arena, NET, &query[..n - cut % n], &mut out) <= room);
    }
}
