//! The ancillary data of the datagrams that come (ip(7), ipv6(7), socket(7)): what a socket has asked to be told of each,
//! in Linux's order.

use core::net::{IpAddr, Ipv4Addr};
use core::sync::atomic::Ordering;
use libc::{
    IP_ORIGDSTADDR, IP_PKTINFO, IP_RECVORIGDSTADDR, IP_RECVTOS, IP_RECVTTL, IP_TOS, IP_TTL, IPPROTO_IP, IPPROTO_IPV6, IPV6_HOPLIMIT, IPV6_PKTINFO,
    IPV6_RECVHOPLIMIT, IPV6_RECVPKTINFO, IPV6_RECVTCLASS, IPV6_TCLASS, SO_RXQ_OVFL, SOL_SOCKET, c_int,
};

use super::marks::LOOPBACK;
use super::private;
use crate::pcb::block::flag;
use crate::pcb::{Address, Pcb};
use crate::socket::options::{SO_TIMESTAMP_NEW, SO_TIMESTAMP_OLD, SO_TIMESTAMPNS_NEW, SO_TIMESTAMPNS_OLD};
use crate::socket::{Sock, options, route};
use crate::sys::{clock, diag};
use crate::transport::direction::Direction;
use crate::transport::record::{self, Header, More};

const IPV6_ORIGDSTADDR: c_int = 74;

/// Bits of `Pcb::asks`.
const TIME: u32 = 1;
const TIME_NS: u32 = 1 << 1;
const TIME_NEW: u32 = 1 << 2;
const TIME_NS_NEW: u32 = 1 << 3;
const DROPS: u32 = 1 << 4;
const INTERFACE6: u32 = 1 << 5;
const INTERFACE: u32 = 1 << 6;
const HOPS: u32 = 1 << 7;
const CLASS: u32 = 1 << 8;
const TO: u32 = 1 << 9;
const HOPS6: u32 = 1 << 10;
const CLASS6: u32 = 1 << 11;
const TO6: u32 = 1 << 12;

const ANY_TIME: u32 = TIME | TIME_NS | TIME_NEW | TIME_NS_NEW;
const ANY_INTERFACE: u32 = INTERFACE | INTERFACE6;

/// The options that ask for them.
const OPTIONS: [(c_int, c_int, u32); 13] = [
    (SOL_SOCKET, SO_TIMESTAMP_OLD, TIME),
    (SOL_SOCKET, SO_TIMESTAMPNS_OLD, TIME_NS),
    (SOL_SOCKET, SO_TIMESTAMP_NEW, TIME_NEW),
    (SOL_SOCKET, SO_TIMESTAMPNS_NEW, TIME_NS_NEW),
    (SOL_SOCKET, SO_RXQ_OVFL, DROPS),
    (IPPROTO_IPV6, IPV6_RECVPKTINFO, INTERFACE6),
    (IPPROTO_IP, IP_PKTINFO, INTERFACE),
    (IPPROTO_IP, IP_RECVTTL, HOPS),
    (IPPROTO_IP, IP_RECVTOS, CLASS),
    (IPPROTO_IP, IP_RECVORIGDSTADDR, TO),
    (IPPROTO_IPV6, IPV6_RECVHOPLIMIT, HOPS6),
    (IPPROTO_IPV6, IPV6_RECVTCLASS, CLASS6),
    (IPPROTO_IPV6, IPV6_ORIGDSTADDR, TO6),
];

/// Reads what a socket asks for.
pub fn learn(sock: Sock) {
    let is_set = |level, option| options::int(sock, level, option).is_some_and(|value| value != 0);
    let asks = OPTIONS.iter().filter(|(level, option, _)| is_set(*level, *option)).fold(0, |asks, (.., bit)| asks | bit);
    sock.pcb.asks.store(asks, Ordering::Release);
    sock.pcb.put(flag::ASKS, asks != 0);
    find_interface(sock);
}

/// After an option was set: one may have changed another as well.
pub fn note(sock: Sock, level: c_int, option: c_int) {
    if OPTIONS.iter().any(|&(l, o, _)| (l, o) == (level, option)) {
        learn(sock);
    }
}

/// Once the socket has an address: which interface has that. Nothing else than that address and loopback's is received by
/// mailbox. Where nobody knows the kernel delivers.
pub fn find_interface(sock: Sock) {
    let ip = sock.pcb.addresses().local.ip();
    if sock.pcb.asks.load(Ordering::Relaxed) & ANY_INTERFACE == 0 || ip.is_unspecified() || ip.is_loopback() {
        return;
    }
    if sock.pcb.is_private() {
        return sock.pcb.interface.store(private::INTERFACE, Ordering::Relaxed);
    }
    match diag::interface_of(ip) {
        Some(number) => sock.pcb.interface.store(number, Ordering::Relaxed),
        None => {
            route::pin(sock);
        }
    }
}

/// What is kept of a datagram beside its header in the moment in which it comes.
#[cold]
pub fn more(receiver: &Pcb, ring: &Direction, to: Address) -> More {
    let asks = receiver.asks.load(Ordering::Acquire);
    More {
        to_high: to.high,
        to_low: to.low,
        came_ns: if asks & ANY_TIME != 0 { clock::realtime_ns() } else { 0 },
        drops: if asks & DROPS != 0 { ring.writer.fulls.load(Ordering::Relaxed) as u32 } else { 0 },
        asked_interface: asks & ANY_INTERFACE != 0,
    }
}

/// Calls `tell` with level, type and data of all that the socket is told of a datagram (udp_recvmsg and udpv6_recvmsg of
/// Linux).
#[cold]
pub fn each(sock: Sock, header: &Header, more: Option<More>, is_peek: bool, mut tell: impl FnMut(c_int, c_int, &[u8])) {
    let asks = sock.pcb.asks.load(Ordering::Acquire);
    let known = more.unwrap_or(More { to_high: header.high, to_low: header.low, ..More::default() });
    let to = Address { high: known.to_high, low: known.to_low, port: sock.pcb.addresses().local.port };
    let mut tell = |bit: u32, level, kind, data: &[u8]| {
        if asks & bit != 0 {
            tell(level, kind, data);
        }
    };
    if asks & ANY_TIME != 0 {
        let came_ns = match known.came_ns {
            0 => now_first_told(sock, record::record_bytes(header.bytes.into(), more.is_some()), is_peek),
            ns => ns,
        };
        let (kind, data) = time(asks, came_ns);
        tell(ANY_TIME, SOL_SOCKET, kind, &data);
    }
    if known.drops != 0 {
        tell(DROPS, SOL_SOCKET, SO_RXQ_OVFL, &known.drops.to_ne_bytes());
    }
    let interface = if to.ip().is_loopback() { LOOPBACK as u32 } else { sock.pcb.interface.load(Ordering::Relaxed) };
    let class = c_int::from(header.class).to_ne_bytes();
    let hops = c_int::from(header.hops).to_ne_bytes();
    match to.ip() {
        IpAddr::V4(ip) => {
            // It was not looked for where nobody had asked for it.
            let (interface, source) = if known.asked_interface { (interface, ip) } else { (0, Ipv4Addr::UNSPECIFIED) };
            tell(INTERFACE6, IPPROTO_IPV6, IPV6_PKTINFO, &joined::<20>(&[&ip.to_ipv6_mapped().octets(), &interface.to_ne_bytes()]));
            tell(INTERFACE, IPPROTO_IP, IP_PKTINFO, &joined::<12>(&[&interface.to_ne_bytes(), &source.octets(), &ip.octets()]));
            tell(HOPS, IPPROTO_IP, IP_TTL, &hops);
            tell(CLASS, IPPROTO_IP, IP_TOS, &[header.class]);
            tell(TO, IPPROTO_IP, IP_ORIGDSTADDR, &joined::<16>(&[&family(libc::AF_INET), &to.port.to_be_bytes(), &ip.octets()]));
        }
        IpAddr::V6(ip) => {
            tell(INTERFACE6, IPPROTO_IPV6, IPV6_PKTINFO, &joined::<20>(&[&ip.octets(), &interface.to_ne_bytes()]));
            tell(HOPS6, IPPROTO_IPV6, IPV6_HOPLIMIT, &hops);
            tell(CLASS6, IPPROTO_IPV6, IPV6_TCLASS, &class);
            let name = joined::<28>(&[&family(libc::AF_INET6), &to.port.to_be_bytes(), &[0; 4], &ip.octets()]);
            tell(TO6, IPPROTO_IPV6, IPV6_ORIGDSTADDR, &name);
        }
    }
}

/// What came before anybody asked came when it is first told of (`sock_recv_timestamp` of Linux): now, or when it was peeked
/// at. `bytes` is what it takes, or took, in the mailbox.
fn now_first_told(sock: Sock, bytes: u64, is_peek: bool) -> u64 {
    let pcb = sock.pcb;
    let tail = sock.endpoint().map_or(0, |ep| ep.rx.consumed.tail.load(Ordering::Relaxed));
    let at = if is_peek { tail } else { tail.wrapping_sub(bytes) }.wrapping_add(1);
    if pcb.peeked_at.load(Ordering::Acquire) == at {
        return pcb.peeked_ns.load(Ordering::Relaxed);
    }
    let now_ns = clock::realtime_ns();
    if is_peek {
        pcb.peeked_ns.store(now_ns, Ordering::Relaxed);
        pcb.peeked_at.store(at, Ordering::Release);
    }
    now_ns
}

/// A time as it is told: seconds, and micro- or nanoseconds.
fn time(asks: u32, ns: u64) -> (c_int, [u8; 16]) {
    const SECOND_NS: u64 = 1_000_000_000;
    let (kind, unit_ns) = match asks {
        _ if asks & TIME_NS_NEW != 0 => (SO_TIMESTAMPNS_NEW, 1),
        _ if asks & TIME_NS != 0 => (SO_TIMESTAMPNS_OLD, 1),
        _ if asks & TIME_NEW != 0 => (SO_TIMESTAMP_NEW, 1000),
        _ => (SO_TIMESTAMP_OLD, 1000),
    };
    (kind, joined(&[&(ns / SECOND_NS).to_ne_bytes(), &(ns % SECOND_NS / unit_ns).to_ne_bytes()]))
}

fn family(family: c_int) -> [u8; 2] {
    (family as libc::sa_family_t).to_ne_bytes()
}

/// The parts one after the other, and zeroes.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut all = [0; N];
    let bytes = parts.iter().flat_map(|part| part.iter());
    all.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
    all
}
