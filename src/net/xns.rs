//! Xerox NS (the Internet Transport Protocols of XSIS 028112) in a private net: what its addresses are. The PCB table holds
//! those of its hosts that they have of IPv4; a program sees `struct sockaddr_ns` of 4.3BSD, with the number of the net, the
//! address of the host's interface, and the same port.

use core::net::{IpAddr, Ipv4Addr};
use core::sync::atomic::Ordering;

use super::hosts;
use super::interfaces::mac_of;
use crate::pcb::Address;
use crate::shm::Arena;

/// The address family: Linux has none for NS, and gives out no numbers so large. It is BSD's 6, plus 200.
pub const AF_NS: i32 = 206;
/// The Sequenced Packet Protocol.
pub const SPP: i32 = 5;

/// Bytes of `struct sockaddr_ns`: family, net, host, port, and two zeroes.
pub const NAME_BYTES: usize = 16;
/// Bytes of the address of a host's interface.
const HOST_BYTES: usize = 6;
/// An address of IPv4 that no host has (RFC 1112, 4): of another net.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 0);

/// The number of the net.
fn net_of(arena: &Arena) -> u32 {
    arena.header().net.prefix4.load(Ordering::Relaxed)
}

/// An address of the net's that no host has.
fn nobody(arena: &Arena) -> Ipv4Addr {
    Ipv4Addr::from_bits(net_of(arena) << 16 | 0xffff)
}

/// An address as a program of host `ours` sees it.
pub fn name_of(arena: &Arena, ours: u32, address: Address) -> [u8; NAME_BYTES] {
    let ip = address.ip();
    let number = if ip.is_loopback() { Some(ours) } else { hosts::by_address(arena, ip).map(|(number, _)| number) };
    let (net, host) = match number {
        Some(number) if !ip.is_unspecified() => (net_of(arena), mac_of(number)),
        _ => (0, [0; HOST_BYTES]),
    };
    let parts = (AF_NS as u16).to_ne_bytes().into_iter().chain(net.to_be_bytes()).chain(host).chain(address.port.to_be_bytes());
    let mut name = [0; NAME_BYTES];
    name.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    name
}

/// The address that a program names. Net 0 is its own, and host 0 no particular one.
pub fn address_of(arena: &Arena, name: &[u8; NAME_BYTES]) -> Address {
    let [_, _, n0, n1, n2, n3, host @ .., p0, p1, _, _] = *name;
    let net = u32::from_be_bytes([n0, n1, n2, n3]);
    let host: [u8; HOST_BYTES] = host;
    let of_host = || hosts::all(arena).find(|&(number, _)| mac_of(number) == host).map_or(nobody(arena), |(_, host)| host.v4());
    let ip = match (net, host) {
        (net, _) if net != 0 && net != net_of(arena) => ELSEWHERE,
        (_, [0, 0, 0, 0, 0, 0]) => Ipv4Addr::UNSPECIFIED,
        _ => of_host(),
    };
    Address::new(IpAddr::V4(ip), u16::from_be_bytes([p0, p1]))
}
