//! Rules in words, which rule counts, and what the dice promise.

use proptest::prelude::*;

use super::{any, *};
use crate::net::hosts;
use crate::shm::tests::blocks::private_arena;
use crate::transport::direction::HELD;

const MS: u64 = 1_000_000;

fn rule(words: &str) -> Rule {
    parse([words]).unwrap().rule()
}

#[test]
fn words_are_those_of_netem() {
    let rule = rule("delay 50ms 5ms rate 100mbit loss 5% duplicate 1% reorder 2% corrupt 0.1% reset-after 1MB connect hang accept-delay 1s short-io");
    assert_eq!((rule.delay_ns, rule.jitter_ns, rule.bits_per_s), (50 * MS, 5 * MS, 100_000_000));
    assert_eq!((rule.loss, rule.duplicate, rule.reorder, rule.corrupt), (50_000, 10_000, 20_000, 1_000));
    assert_eq!((rule.reset_after, rule.accept_ns, rule.flags), (1_000_000, 1000 * MS, flag::HANG | flag::SHORT));
    for bad in
        ["delay", "delay x", "delay 5", "delay -5ms", "loss 101%", "loss 5", "rate 0.1bit", "connect maybe", "speed 5", "loss %", "delay 2000000s"]
    {
        assert!(parse([bad]).is_err(), "{bad}");
    }
}

#[test]
fn what_words_do_not_name_stays() {
    let changed = parse(["loss 1% connect ok", "short-io off"]).unwrap().applied(rule("delay 1s loss 5% connect refuse short-io seed 7"));
    assert_eq!(changed, rule("delay 1s loss 1% seed 7"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_is_told_in_words_that_mean_it(
        times in proptest::array::uniform3(0..86_400_000_000_000u64),
        bits_per_s: u64,
        chances in proptest::array::uniform4(0..=MILLION),
        reset_after: u64,
        connect in prop_oneof![Just(0), Just(flag::REFUSE), Just(flag::HANG)],
        short: bool,
    ) {
        let flags = connect | if short { flag::SHORT } else { 0 };
        let [delay_ns, jitter_ns, accept_ns] = times;
        let [loss, duplicate, reorder, corrupt] = chances;
        let rule = Rule { delay_ns, jitter_ns, bits_per_s, loss, duplicate, reorder, corrupt, reset_after, accept_ns, flags, seed: 0 };
        prop_assert_eq!(parse([rule.to_string().as_str()]).unwrap().rule(), rule);
    }

    #[test]
    fn any_words_are_read_or_refused(words in ".{0,60}") {
        let _ = parse([words.as_str()]);
    }
}

/// Three hosts, and no rules yet.
fn three(arena: &Arena) -> [u32; 3] {
    let lock = arena.lock();
    clear(&lock);
    ["link-a", "link-b", "link-c"].map(|name| hosts::ensure(&lock, name, None).unwrap())
}

#[test]
fn the_most_specific_rule_counts() {
    let (_guard, arena) = private_arena();
    let [a, b, c] = three(arena);
    let delay = |from, to| between(arena, from, to).map(|way| way.rule.delay_ns);
    assert!(!any(arena) && delay(a, b).is_none());
    let rules = [(ANY, ANY, "delay 1ns"), (ANY, b, "delay 2ns"), (a, ANY, "delay 3ns"), (a, b, "delay 4ns")];
    for (from, to, words) in rules {
        assert!(set(&arena.lock(), from, to, &rule(words)));
    }
    assert_eq!([delay(a, b), delay(a, c), delay(c, b), delay(c, a), delay(a, a)], [Some(4), Some(3), Some(2), Some(1), None]);
    assert!(clear_rule(&arena.lock(), a, b) && !clear_rule(&arena.lock(), a, b));
    assert_eq!(delay(a, b), Some(3));
    change(&arena.lock(), a, ANY, &parse(["jitter 1ns"]).unwrap());
    assert_eq!(get(arena, a, ANY).map(|r| (r.delay_ns, r.jitter_ns)), Some((3, 1)));
    clear(&arena.lock());
    assert!(!any(arena) && delay(a, b).is_none());
}

#[test]
fn a_cut_counts_whatever_the_rules_say() {
    let (_guard, arena) = private_arena();
    let [a, b, c] = three(arena);
    let lock = arena.lock();
    set(&lock, a, b, &rule("delay 1ms"));
    cut(&lock, a, ANY);
    drop(lock);
    let is_cut = |from, to| between(arena, from, to).is_some_and(|way| way.is_cut);
    assert!(is_cut(a, b) && is_cut(a, c) && !is_cut(b, a));
    assert_eq!(datagram_verdict(arena, a, c, 1, 5), Some(Fate::Lost));
    assert_eq!(between(arena, a, b).unwrap().segment(arena, 1, 5).due_ns, HELD);
    assert!(matches!(connect_verdict(arena, b, a, 0, 5), Some(Connect::Unanswered { again_ns: 1_000_000_005 })));
    assert!(heal(&arena.lock(), a, ANY) && !is_cut(a, b));
    assert_eq!(datagram_verdict(arena, a, c, 1, 5), None);
    clear(&arena.lock());
}

fn fates(arena: &Arena, from: u32, to: u32) -> Vec<Fate> {
    (0..500).map(|n| datagram_verdict(arena, from, to, 100, 1000 * n).unwrap()).collect()
}

#[test]
fn the_same_seed_throws_the_same() {
    let (_guard, arena) = private_arena();
    let [a, b, c] = three(arena);
    let words = "delay 3ms 1ms loss 10% duplicate 10% reorder 10% corrupt 10% seed";
    let set = |from, to, seed: u32| set(&arena.lock(), from, to, &rule(&format!("{words} {seed}")));
    set(a, b, 1);
    let first = fates(arena, a, b);
    set(a, b, 1);
    assert_eq!(fates(arena, a, b), first);
    set(a, b, 2);
    let other = fates(arena, a, b);
    assert_ne!(other, first);
    // A rule for any host throws for each pair apart, in the order of that pair's packets alone.
    set(ANY, ANY, 1);
    clear_rule(&arena.lock(), a, b);
    let mut mixed = (Vec::new(), Vec::new());
    for n in 0..500 {
        mixed.0.push(datagram_verdict(arena, a, b, 100, 1000 * n).unwrap());
        mixed.1.push(datagram_verdict(arena, a, c, 100, 1000 * n).unwrap());
    }
    assert_eq!(mixed.0, first);
    assert_ne!(mixed.1, first);
    let counts = |shown: Shown| if let What::Rule(_, counts) = shown.what { Some(counts) } else { None };
    let counts = all(arena).find_map(counts).unwrap();
    assert_eq!(counts.packets, 1000);
    let lost = |fates: &[Fate]| fates.iter().filter(|f| **f == Fate::Lost).count() as u64;
    assert_eq!(counts.dropped, lost(&mixed.0) + lost(&mixed.1));
    assert!((60..140).contains(&counts.dropped), "{counts:?}");
    clear(&arena.lock());
}

#[test]
fn a_rate_lets_one_after_another_through() {
    let (_guard, arena) = private_arena();
    let [a, b, _] = three(arena);
    set(&arena.lock(), a, b, &rule("rate 8kbit delay 10ms"));
    let due = |now| match datagram_verdict(arena, a, b, 72, now) {
        Some(Fate::Comes { due_ns, .. }) => Some(due_ns / MS),
        _ => None,
    };
    // 100 bytes with their headers take 100 ms.
    assert_eq!([due(0), due(0), due(1000 * MS)], [Some(110), Some(210), Some(1110)]);
    let carried = (0..100).map_while(|_| due(1000 * MS)).count();
    assert_eq!(carried, 10, "more than a second's worth is dropped");
    assert_eq!(between(arena, a, b).unwrap().window(), 64 << 10);
    clear(&arena.lock());
}

#[test]
fn what_streams_lose_comes_later() {
    let (_guard, arena) = private_arena();
    let [a, b, _] = three(arena);
    set(&arena.lock(), a, b, &rule("delay 10ms loss 20%"));
    let way = between(arena, a, b).unwrap();
    let all: Vec<Segment> = (0..1000).map(|_| way.segment(arena, 1448, 0)).collect();
    let (on_time, late): (Vec<&Segment>, Vec<&Segment>) = all.iter().partition(|s| s.due_ns == 10 * MS);
    assert!(on_time.iter().all(|s| s.soon_ns == 10 * MS));
    assert!(late.iter().all(|s| s.soon_ns >= 30 * MS && s.due_ns >= 210 * MS && s.due_ns < HELD));
    assert!((140..260).contains(&late.len()), "{}", late.len());
    clear(&arena.lock());
}

#[test]
fn connections_are_asked_for_again() {
    let (_guard, arena) = private_arena();
    let [a, b, _] = three(arena);
    set(&arena.lock(), a, b, &rule("delay 10ms accept-delay 1s"));
    set(&arena.lock(), b, a, &rule("delay 5ms"));
    let asked = |tries| connect_verdict(arena, a, b, tries, 0);
    assert_eq!(asked(0), Some(Connect::Answered { due_ns: 15 * MS, accept_ns: 1015 * MS }));
    set(&arena.lock(), a, b, &rule("connect refuse"));
    assert_eq!(asked(0), Some(Connect::Refused { due_ns: 5 * MS }));
    set(&arena.lock(), a, b, &rule("connect hang"));
    assert_eq!(asked(0), Some(Connect::Unanswered { again_ns: 1000 * MS }));
    assert_eq!(asked(3), Some(Connect::Unanswered { again_ns: 8000 * MS }));
    set(&arena.lock(), a, b, &rule("loss 100%"));
    assert_eq!(asked(1), Some(Connect::Unanswered { again_ns: 2000 * MS }));
    clear(&arena.lock());
}

#[test]
fn short_calls_move_a_part() {
    let (_guard, arena) = private_arena();
    let [a, b, _] = three(arena);
    set(&arena.lock(), a, b, &rule("short-io"));
    let way = between(arena, a, b).unwrap();
    let moved: Vec<usize> = (0..100).map(|_| way.short(arena, 10)).collect();
    assert!(moved.iter().all(|n| (1..=10).contains(n)) && (1..=10).all(|n| moved.contains(&n)));
    assert_eq!(way.short(arena, 1), 1);
    clear(&arena.lock());
}
