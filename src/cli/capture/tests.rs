//! Tests of the capture's halves that need no net: packets made from events and read back, and filters.

use std::io;

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use proptest::prelude::*;

use super::filter::{self, Filter, Who};
use super::packets::{Packet, Packets, Sink};
use crate::pcb::Address;
use crate::pcb::tap::{Event, Fate, Kind};

/// What is kept of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    from: Address,
    to: Address,
    /// Flags in the order of the letters: S, A, F, R.
    flags: [bool; 4],
    sequence: u32,
    acknowledged: u32,
    payload: Vec<u8>,
    len: usize,
    whole: usize,
}

#[derive(Default)]
struct Memory(Vec<Seen>);

impl Sink for Memory {
    fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        self.0.push(read(packet));
        Ok(())
    }
}

/// Reads a packet back, and checks its checksums where all of it is there.
fn read(packet: &Packet) -> Seen {
    let is_whole = packet.bytes.len() == packet.whole_bytes;
    let mut bytes = packet.bytes.to_vec();
    bytes.resize(packet.whole_bytes, 0);
    let sliced = SlicedPacket::from_ip(&bytes).unwrap();
    let (from, to, pseudo) = match sliced.net.unwrap() {
        NetSlice::Ipv4(v4) => {
            let header = v4.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), packet.whole_bytes);
            let (a, b) = (header.source, header.destination);
            (a.into(), b.into(), [&a[..], &b[..], &[0, header.protocol.0]].concat())
        }
        NetSlice::Ipv6(v6) => {
            let header = v6.header().to_header();
            assert_eq!(usize::from(header.payload_length) + 40, packet.whole_bytes);
            let (a, b) = (header.source, header.destination);
            (std::net::IpAddr::from(a), std::net::IpAddr::from(b), [&a[..], &b[..], &[0, header.next_header.0]].concat())
        }
        other => panic!("{other:?}"),
    };
    let is_valid = |transport: &[u8]| {
        let mut all = [&pseudo[..], &(transport.len() as u16).to_be_bytes(), transport].concat();
        all.resize(all.len().next_multiple_of(2), 0);
        let sum: u64 = all.as_chunks::<2>().0.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
        sum != 0 && sum.is_multiple_of(0xffff)
    };
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            assert!(!is_whole || is_valid(tcp.slice()));
            let header_bytes = packet.whole_bytes - tcp.payload().len();
            Seen {
                from: Address::new(from, tcp.source_port()),
                to: Address::new(to, tcp.destination_port()),
                flags: flags(&tcp),
                sequence: tcp.sequence_number(),
                acknowledged: tcp.acknowledgment_number(),
                payload: packet.bytes[header_bytes..].to_vec(),
                len: tcp.payload().len(),
                whole: packet.whole_bytes,
            }
        }
        TransportSlice::Udp(udp) => {
            assert!(!is_whole || is_valid(udp.slice()));
            Seen {
                from: Address::new(from, udp.source_port()),
                to: Address::new(to, udp.destination_port()),
                flags: [false; 4],
                sequence: 0,
                acknowledged: 0,
                payload: packet.bytes[packet.whole_bytes - udp.payload().len()..].to_vec(),
                len: udp.payload().len(),
                whole: packet.whole_bytes,
            }
        }
        other => panic!("{other:?}"),
    }
}

fn flags(tcp: &TcpSlice) -> [bool; 4] {
    [tcp.syn(), tcp.ack(), tcp.fin(), tcp.rst()]
}

fn address(host: u8, port: u16, is_v6: bool) -> Address {
    let ip: std::net::IpAddr = if is_v6 { [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)].into() } else { [10, 0, 0, host].into() };
    Address::new(ip, port)
}

fn event(kind: Kind, side: u8, is_v6: bool) -> Event {
    let ends = [address(2, 40_000, is_v6), address(1, 80, is_v6)];
    let (from, to) = (ends[usize::from(side)], ends[usize::from(1 - side)]);
    Event { side, circuit: 7 | 1 << 32, ..Event::now(kind, libc::IPPROTO_TCP as u8, from, to) }
}

fn packets_of(events: &[(Event, &[u8])]) -> Vec<Seen> {
    let mut packets = Packets::new(Memory::default());
    for (event, bytes) in events {
        packets.event(event, bytes).unwrap();
    }
    packets.sink.0
}

fn letters(seen: &[Seen]) -> Vec<String> {
    let letters = |s: &Seen| {
        let flags = s.flags.iter().zip("SAFR".chars()).filter(|(on, _)| **on).map(|(_, c)| c).collect::<String>();
        format!("{}{flags}{}", if s.from.port == 80 { "<" } else { ">" }, if s.len > 0 { "+" } else { "" })
    };
    seen.iter().map(letters).collect()
}

/// Follows the sequence numbers as a receiver would: nothing is missing, twice, or acknowledged before it came.
fn follow(seen: &[Seen]) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    let mut next: [Option<u32>; 2] = [None; 2];
    for s in seen {
        let side = usize::from(s.from.port == 80);
        let is_reset_of_nothing = s.flags[3] && s.sequence == 0;
        if !is_reset_of_nothing {
            assert_eq!(*next[side].get_or_insert(s.sequence), s.sequence, "{s:?}");
        }
        if s.flags[1] {
            assert_eq!(*next[1 - side].get_or_insert(s.acknowledged), s.acknowledged, "{s:?}");
        }
        let taken = s.len as u32 + u32::from(s.flags[0]) + u32::from(s.flags[2]);
        next[side] = next[side].map(|n| n.wrapping_add(taken));
        streams[side].extend_from_slice(&s.payload);
        streams[side].resize(streams[side].len() + s.len - s.payload.len(), b'?');
    }
    streams
}

#[test]
fn a_connection_has_a_beginning_and_an_end() {
    for is_v6 in [false, true] {
        let data = |side, position, bytes: &'static [u8]| (Event { position, bytes: bytes.len() as u32, ..event(Kind::Data, side, is_v6) }, bytes);
        let at = |kind, side, position| (Event { position, ..event(kind, side, is_v6) }, &b""[..]);
        let seen = packets_of(&[
            at(Kind::Open, 0, 0),
            at(Kind::Accepted, 1, 0),
            data(0, 0, b"GET /"),
            data(0, 5, b"\r\n"),
            data(1, 0, b"200 OK"),
            at(Kind::Fin, 1, 6),
            at(Kind::Fin, 1, 6),
            at(Kind::Fin, 0, 7),
            at(Kind::Fin, 0, 7),
            at(Kind::Reset, 1, 6),
        ]);
        assert_eq!(letters(&seen), [">S", "<SA", ">A", ">A+", ">A+", "<A", "<A+", "<AF", ">A", ">AF", "<A"]);
        assert_eq!(follow(&seen), [b"GET /\r\n".to_vec(), b"200 OK".to_vec()]);
    }
}

#[test]
fn who_is_refused_is_told_so() {
    for is_v6 in [false, true] {
        let seen = packets_of(&[(event(Kind::Refused, 0, is_v6), b"")]);
        assert_eq!(letters(&seen), [">S", "<AR"]);
        assert_eq!(seen[1].acknowledged, seen[0].sequence.wrapping_add(1));
        // One that asks again, and is heard in the end.
        let seen = packets_of(&[(event(Kind::Syn, 0, is_v6), b""), (event(Kind::Syn, 0, is_v6), b""), (event(Kind::Open, 0, is_v6), b"")]);
        assert_eq!(letters(&seen), [">S", ">S", "<SA", ">A"]);
        assert_eq!(seen[0].sequence, seen[1].sequence);
    }
}

#[test]
fn what_was_not_captured_leaves_no_hole() {
    let data = |position, bytes: u32, known: &'static [u8]| (Event { position, bytes, answered: 1000, ..event(Kind::Data, 0, false) }, known);
    // It was open before; bytes are missing at an end, altogether, and in between.
    let seen = packets_of(&[data(500, 4, b"abcd"), data(504, 4, b"ef"), data(508, 100_000, b""), data(200_000, 2, b"gh"), data(100, 3, b"old")]);
    let [sent, _] = follow(&seen);
    assert_eq!(sent.len(), 200_002 - 500);
    assert_eq!((&sent[..8], &sent[sent.len() - 3..]), (&b"abcdef??"[..], &b"?gh"[..]));
    assert!(seen.iter().filter(|s| s.len > 0).count() < 10);
    assert!(seen.iter().all(|s| s.flags == [false, true, false, false]));
    let reset = packets_of(&[(Event { position: 9, answered: 3, ..event(Kind::Reset, 1, false) }, b"")]);
    assert_eq!(letters(&reset), ["<AR"]);
}

#[test]
fn datagrams_are_one_packet_each() {
    for is_v6 in [false, true] {
        let (from, to) = (address(2, 5000, is_v6), address(1, 53, is_v6));
        for size in [0usize, 1, 1473, 65_507] {
            let bytes = vec![7; size];
            let event = Event { bytes: size as u32, ..Event::now(Kind::Datagram, libc::IPPROTO_UDP as u8, from, to) };
            let seen = packets_of(&[(event, &bytes)]);
            assert_eq!((seen.len(), seen[0].from, seen[0].to, &seen[0].payload), (1, from, to, &bytes));
            // As much as was kept.
            let cut = packets_of(&[(event, &bytes[..size / 2])]);
            assert_eq!((cut[0].whole, &cut[0].payload[..]), (seen[0].whole, &bytes[..size / 2]));
            assert!(packets_of(&[(Event { fate: Fate::Lost, ..event }, &bytes)]).is_empty());
        }
    }
}

/// What the two ends of a connection may do.
fn happening() -> impl Strategy<Value = (Kind, u8, usize, usize)> {
    let kind = prop_oneof![12 => Just(Kind::Data), 1 => Just(Kind::Fin), 1 => Just(Kind::Accepted)];
    (kind, 0..2u8, prop_oneof![0..100usize, 0..70_000usize], prop_oneof![4 => Just(usize::MAX), 1 => 0..2000usize])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_stream_comes_back(is_v6: bool, was_open: bool, resets: bool, before in any::<[u32; 2]>(), all in prop::collection::vec(happening(), 0..40)) {
        let mut sent = [Vec::new(), Vec::new()];
        let mut finished = [false; 2];
        let base = if was_open { before.map(u64::from) } else { [0; 2] };
        let mut packets = Packets::new(Memory::default());
        if !was_open {
            packets.event(&event(Kind::Open, 0, is_v6), b"").unwrap();
        }
        for (n, (kind, side, size, snap)) in all.into_iter().enumerate() {
            let this = usize::from(side);
            if finished[this] && kind == Kind::Data {
                continue;
            }
            let size = if kind == Kind::Data { size } else { 0 };
            let bytes: Vec<u8> = (0..size).map(|i| (i * 31 + n) as u8).collect();
            let place = |side: usize| base[side] + sent[side].len() as u64;
            let told = Event { position: place(this), answered: place(1 - this), bytes: size as u32, ..event(kind, side, is_v6) };
            let known = &bytes[..size.min(snap)];
            packets.event(&told, known).unwrap();
            sent[this].extend_from_slice(known);
            let end = sent[this].len() + size - known.len();
            sent[this].resize(end, b'?');
            finished[this] |= kind == Kind::Fin;
        }
        if resets {
            packets.event(&Event { position: base[0] + sent[0].len() as u64, ..event(Kind::Reset, 0, is_v6) }, b"").unwrap();
        }
        prop_assert_eq!(follow(&packets.sink.0), sent);
    }

    #[test]
    fn events_come_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(event) = Event::decode(&bytes) {
            prop_assert_eq!(Event::decode(&event.encode()), Some(event));
            // Whatever the arena holds, packets are made or refused.
            let _ = Packets::new(Memory2).event(&event, &bytes);
        }
    }

    #[test]
    fn a_filter_says_what_its_words_say(words in prop::collection::vec(word(), 0..12)) {
        let text = words.join(" ");
        if let Ok(f) = filter::parse(&text) {
            // The same in parentheses, and twice negated.
            prop_assert_eq!(wants(&f), wants(&filter::parse(&format!("not ! ({})", if text.trim().is_empty() { "ip or ip6" } else { &text })).unwrap()));
        }
    }
}

struct Memory2;

impl Sink for Memory2 {
    fn packet(&mut self, _: &Packet) -> io::Result<()> {
        Ok(())
    }
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "host",
        "net",
        "port",
        "portrange",
        "src",
        "dst",
        "and",
        "or",
        "not",
        "!",
        "(",
        ")",
        "&&",
        "||",
        "tcp",
        "udp",
        "icmp",
        "ip6",
        "web",
        "10.0.0.1",
        "10.0.0.0/8",
        "80",
        "1-100",
        "program",
        "pid",
        "curl",
    ];
    prop::sample::select(words.map(str::to_owned).to_vec())
}

fn who() -> Who<'static> {
    Who { from_name: "web", to_name: "db", program: "curl", peer_program: "redis-server" }
}

fn sample() -> Event {
    Event { pid: 12, peer_pid: 34, ..event(Kind::Data, 0, false) }
}

fn wants(filter: &Filter) -> bool {
    filter.wants(&sample(), &who())
}

#[test]
fn filters_are_those_of_pcap_filter() {
    // From web, 10.0.0.2:40000, to db, 10.0.0.1:80.
    let yes = [
        "",
        "tcp",
        "ip",
        "host web",
        "host DB.",
        "web",
        "src web",
        "dst host db",
        "src host 10.0.0.2",
        "port 80",
        "dst port 80",
        "tcp port 80",
        "port 443 or 80",
        "portrange 1-100",
        "net 10.0.0.0/8",
        "src net 10.0.0.2/32",
        "src and dst net 10.0.0.0/24",
        "not udp",
        "!udp",
        "tcp and (port 80 or port 443)",
        "tcp port 80 and not host mail",
        "udp or tcp",
        "tcp && port 80 || udp",
        "program curl",
        "program redis-server",
        "pid 34",
        "tcp port 80 host web",
        "src or dst port 80",
        "not (udp or icmp)",
        "host web and db",
    ];
    for text in yes {
        assert!(wants(&filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))), "{text}");
    }
    let no = [
        "udp",
        "ip6",
        "icmp",
        "host mail",
        "src db",
        "src port 80",
        "udp port 80",
        "port 443",
        "portrange 81-100",
        "net 192.168.0.0/16",
        "src and dst port 80",
        "not tcp",
        "tcp and port 443",
        "not (tcp or udp)",
        "not not not tcp",
        "pid 1",
        "program curl2",
        "port 0",
    ];
    for text in no {
        assert!(!wants(&filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))), "{text}");
    }
    let wrong = [
        "host",
        "port",
        "port x",
        "port 65536",
        "net 10",
        "net 10.0.0.0/33",
        "(tcp",
        "tcp)",
        "tcp or",
        "and tcp",
        "not",
        "src and",
        "pid x",
        "portrange 1",
        "port and 80",
    ];
    for text in wrong {
        assert!(filter::parse(text).is_err(), "{text}: {:?}", filter::parse(text));
    }
    assert!(filter::parse(&"(".repeat(100_000)).is_err());
    assert!(filter::parse(&"not ".repeat(100_000)).is_err());
}
