//! Tests of the PCB floor: addresses, and the table on a real arena against a list that cannot be wrong.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::Ordering;
use proptest::prelude::*;

use super::circuit::{End, Link, circuit};
use super::reap::{self, Name};
use super::{Address, Key, State, block, table};
use crate::shm::owner::Me;
use crate::shm::tests::blocks::private_arena;
use crate::transport::stream;

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4().prop_map(IpAddr::V4), any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))]
}

fn address() -> impl Strategy<Value = Address> {
    (ip(), any::<u16>()).prop_map(|(ip, port)| Address::new(ip, port))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mapped_addresses_are_the_addresses_they_map(ip in v4(), port: u16) {
        let plain = Address::new(ip.into(), port);
        let mapped = Address::new(ip.to_ipv6_mapped().into(), port);
        prop_assert_eq!(plain, mapped);
        prop_assert_eq!(mapped.ip(), IpAddr::V4(ip));
        prop_assert_eq!(plain.to_string(), mapped.to_string());
    }

    #[test]
    fn addresses_come_back(ip in ip(), port: u16) {
        let a = Address::new(ip, port);
        prop_assert_eq!(a.port, port);
        prop_assert_eq!(a.ip(), ip.to_canonical());
        prop_assert_eq!(a.is_any(), ip.to_canonical().is_unspecified());
        prop_assert_eq!(a, SocketAddr::new(ip, port).into());
    }

    #[test]
    fn different_addresses_differ(a in address(), b in address()) {
        prop_assert_eq!(a == b, a.ip() == b.ip() && a.port == b.port);
    }

    #[test]
    fn reversed_twice_is_the_same(local in address(), remote in address()) {
        let key = Key { local, remote };
        prop_assert_eq!(key.reversed().reversed(), key);
        prop_assert_eq!((key.reversed().local, key.reversed().remote), (remote, local));
        prop_assert_eq!(key.hash(), Key { local, remote }.hash());
    }

    #[test]
    fn links_come_back(circuit in 1..1u32 << 31, side in 0..2usize, generation: u32) {
        let link = Link { circuit, side, generation };
        prop_assert_eq!(Link::of(link.word()), Some(link));
    }
}

/// What the table is asked to do, with sockets by their place in the list of those that live.
#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate,
    Listen {
        socket: usize,
        host: u8,
        port: u16,
    },
    Connect {
        socket: usize,
        key: u16,
    },
    Unbind(usize),
    Join(usize, usize),
    Append(usize),
    Release {
        socket: usize,
        reset: bool,
    },
    ReleaseOther(usize),
    /// By a name that is out of date.
    ReleaseAgain,
}

fn step() -> impl Strategy<Value = Step> {
    let socket = any::<usize>;
    prop_oneof![
        6 => Just(Step::Allocate),
        3 => (socket(), 0..3u8, 0..3u16).prop_map(|(socket, host, port)| Step::Listen { socket, host, port }),
        4 => (socket(), 0..8u16).prop_map(|(socket, key)| Step::Connect { socket, key }),
        1 => socket().prop_map(Step::Unbind),
        4 => (socket(), socket()).prop_map(|(a, b)| Step::Join(a, b)),
        3 => socket().prop_map(Step::Append),
        3 => (socket(), any::<bool>()).prop_map(|(socket, reset)| Step::Release { socket, reset }),
        1 => socket().prop_map(Step::ReleaseOther),
        1 => Just(Step::ReleaseAgain),
    ]
}

/// A few addresses whose ports fall into the same chain, so that chains grow.
fn listening_address(host: u8, port: u16) -> Address {
    Address::new(IpAddr::V4(if host == 0 { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::new(127, 0, 0, host) }), 80 + port * 4096)
}

fn connection_key(key: u16) -> Key {
    let at = |port| Address::new(Ipv4Addr::LOCALHOST.into(), port);
    Key { local: at(1000 + key), remote: at(2000) }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    No,
    Listening(Address),
    Connected(Key),
}

#[derive(Clone, Copy, Debug)]
struct Socket {
    cookie: u64,
    name: Name,
    bound: Bound,
    /// The circuit and side.
    link: Option<(u32, usize)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn table_is_a_list(steps in prop::collection::vec(step(), 1..200)) {
        let (_one, arena) = private_arena();
        let me = Me::get(arena).unwrap();
        let header = arena.header();
        let lives = || [&header.pcbs.live, &header.circuits.live, &header.units_live].map(|n| n.load(Ordering::Relaxed));
        let before = lives();
        let mut sockets: Vec<Socket> = Vec::new();
        let mut cookies = 0;
        let mut old: Option<Name> = None;
        for step in steps {
            let pick = |n: usize| (!sockets.is_empty()).then(|| n % sockets.len().max(1));
            match step {
                Step::Allocate => {
                    // Neighbours in the chains as well as strangers.
                    cookies += 1;
                    let lock = arena.lock();
                    let (index, p) = table::allocate(&lock, cookies, me.slot()).unwrap();
                    prop_assert!(sockets.iter().all(|s| s.name.index != index));
                    prop_assert_eq!(p.state(), State::Closed);
                    prop_assert_eq!(Link::of(p.link.load(Ordering::Relaxed)), None);
                    sockets.push(Socket { cookie: cookies, name: Name::of(index, p), bound: Bound::No, link: None });
                }
                Step::Listen { socket, host, port } => if let Some(n) = pick(socket) {
                    let at = listening_address(host, port);
                    table::bind_listener(&arena.lock(), sockets[n].name.index, at);
                    sockets[n].bound = Bound::Listening(at);
                },
                Step::Connect { socket, key } => if let Some(n) = pick(socket) {
                    let key = connection_key(key);
                    table::bind_connection(&arena.lock(), sockets[n].name.index, key, State::Established);
                    for s in &mut sockets {
                        if s.bound == Bound::Connected(key) {
                            s.bound = Bound::No;
                        }
                    }
                    sockets[n].bound = Bound::Connected(key);
                },
                Step::Unbind(n) => if let Some(n) = pick(n) {
                    table::unbind(&arena.lock(), sockets[n].name.index);
                    sockets[n].bound = Bound::No;
                },
                Step::Join(a, b) => if let (Some(a), Some(b)) = (pick(a), pick(b))
                    && a != b && sockets[a].link.is_none() && sockets[b].link.is_none()
                {
                        prop_assert!(table::join(&arena.lock(), [sockets[a].name.index, sockets[b].name.index]));
                        for (side, n) in [a, b].into_iter().enumerate() {
                            let link = Link::of(block::pcb(arena, sockets[n].name.index).unwrap().link.load(Ordering::Relaxed)).unwrap();
                            prop_assert_eq!(link.side, side);
                            prop_assert_eq!(circuit(arena, link.circuit).unwrap().generation.load(Ordering::Relaxed), link.generation);
                            sockets[n].link = Some((link.circuit, side));
                        }
                        prop_assert_eq!(sockets[a].link.unwrap().0, sockets[b].link.unwrap().0);
                },
                Step::Append(n) => if let Some((index, side)) = pick(n).and_then(|n| sockets[n].link) {
                    let d = circuit(arena, index).unwrap().from_side(side);
                    stream::append(d, arena, me, 0, index, || true);
                },
                Step::Release { socket, reset } => if let Some(n) = pick(socket) {
                    let gone = sockets.swap_remove(n);
                    reap::release(arena, gone.name, if reset { End::Reset } else { End::Clean });
                    old = Some(gone.name);
                    if let Some((index, side)) = gone.link
                        && sockets.iter().any(|s| s.link == Some((index, 1 - side)))
                    {
                        prop_assert_eq!(circuit(arena, index).unwrap().end(side), if reset { End::Reset } else { End::Clean });
                    }
                },
                Step::ReleaseOther(n) => if let Some(n) = pick(n)
                    && let Some((index, side)) = sockets[n].link
                {
                    let link = Link::of(block::pcb(arena, sockets[n].name.index).unwrap().link.load(Ordering::Relaxed)).unwrap();
                    reap::release_side(arena, link, 1 - side);
                    sockets.retain(|s| s.link != Some((index, 1 - side)));
                    prop_assert_ne!(circuit(arena, index).unwrap().end(1 - side), End::Open);
                },
                Step::ReleaseAgain => if let Some(name) = old {
                    reap::release(arena, name, End::Clean);
                },
            }
            check(arena, &sockets)?;
            let circuits: std::collections::HashSet<u32> = sockets.iter().filter_map(|s| Some(s.link?.0)).collect();
            prop_assert_eq!(lives()[..2].to_vec(), vec![before[0] + sockets.len() as u32, before[1] + circuits.len() as u32]);
        }
        for s in sockets {
            reap::release(arena, s.name, End::Clean);
        }
        prop_assert_eq!(lives(), before);
    }
}

/// Everything is found by every way that leads to it, and nothing else is.
fn check(arena: &crate::shm::Arena, sockets: &[Socket]) -> Result<(), TestCaseError> {
    for s in sockets {
        prop_assert_eq!(table::by_cookie(arena, s.cookie).map(|(i, _)| i), Some(s.name.index));
    }
    for key in (0..8).map(connection_key) {
        let bound = sockets.iter().find(|s| s.bound == Bound::Connected(key)).map(|s| s.name.index);
        prop_assert_eq!(table::connected(arena, key).map(|(i, _)| i), bound);
        prop_assert!(table::connected(arena, key.reversed()).is_none());
    }
    for (host, port) in (0..3).flat_map(|host| (0..3).map(move |port| (host, port))) {
        let at = listening_address(host, port);
        let listening = |at: Address| sockets.iter().filter(move |s| s.bound == Bound::Listening(at)).map(|s| s.name.index);
        let found = table::listener(arena, at).map(|(i, _)| i);
        let exact: Vec<u32> = listening(at).collect();
        let any: Vec<u32> = listening(listening_address(0, port)).collect();
        let expected = if exact.is_empty() { any } else { exact };
        prop_assert!(found.map_or(expected.is_empty(), |i| expected.contains(&i)), "{at}: {found:?}, not one of {expected:?}");
    }
    Ok(())
}
