//! What datagrams carry beside their bytes (ip(7), ipv6(7)): hop limit and traffic class, as the options of the socket or
//! the ancillary data of one send say.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicU32, Ordering};
use libc::{
    IP_PKTINFO, IP_TOS, IP_TTL, IPPROTO_IP, IPPROTO_IPV6, IPV6_HOPLIMIT, IPV6_PKTINFO, IPV6_TCLASS, IPV6_UNICAST_HOPS, c_int, cmsghdr, in_pktinfo,
    in6_pktinfo,
};

use super::send::Known;
use crate::socket::{Sock, options};

/// The options: those of IPv4, those of IPv6. In `Pcb::marks` each has 16 bits, its value plus one; 0 where it was never set.
const OPTIONS: [(c_int, c_int); 4] = [(IPPROTO_IP, IP_TTL), (IPPROTO_IP, IP_TOS), (IPPROTO_IPV6, IPV6_UNICAST_HOPS), (IPPROTO_IPV6, IPV6_TCLASS)];
const BITS: usize = 16;
/// `LOOPBACK_IFINDEX` of Linux.
pub const LOOPBACK: c_int = 1;

/// What the ancillary data of one send say, where they say something.
#[derive(Clone, Copy, Default, Debug)]
pub struct Wishes {
    pub(super) marks: Marks,
    from: Option<IpAddr>,
}

/// Hop limit and traffic class, each where it was set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Marks {
    hops: Option<u8>,
    class: Option<u8>,
}

/// Reads the options of a socket whose past is not known.
pub fn learn(sock: Sock) {
    OPTIONS.into_iter().for_each(|(level, option)| note(sock, level, option));
}

/// After an option was set.
pub fn note(sock: Sock, level: c_int, option: c_int) {
    let Some(place) = OPTIONS.iter().position(|&known| known == (level, option)) else { return };
    let Some(value) = options::int(sock, level, option) else { return };
    let lane = |value: u64| value << (place * BITS);
    let put = |marks: u64| Some(marks & !lane(0xffff) | lane(u64::from(value as u8) + 1));
    let _ = sock.pcb.marks.fetch_update(Ordering::AcqRel, Ordering::Relaxed, put);
}

/// Hop limit and traffic class of a datagram.
#[inline]
pub(super) fn of(sock: Sock, known: &Known, wished: Marks) -> (u8, u8) {
    chosen(sock, known.is_v4, known.hops, wished)
}

/// The same, of which the hop limit is `default` where none was set.
#[inline]
pub(super) fn chosen(sock: Sock, is_v4: bool, default: u8, wished: Marks) -> (u8, u8) {
    let options = sock.pcb.marks.load(Ordering::Relaxed);
    if options == 0 && wished == Marks::default() {
        return (default, 0);
    }
    let lanes = if is_v4 { options } else { options >> (2 * BITS) };
    let set = |lane: u64| (lane & 0xffff).checked_sub(1).map(|value| value as u8);
    let Marks { hops, class } = wished;
    (hops.or(set(lanes)).unwrap_or(default), class.or(set(lanes >> BITS)).unwrap_or(0))
}

/// The hop limit where none was set: the host's (net.ipv4.ip_default_ttl, net.ipv6.conf.all.hop_limit). Where one was it
/// is not asked for, and the answer means nothing.
pub fn default_hops(sock: Sock, is_v4: bool) -> u8 {
    /// Of IPv4 and IPv6, plus one; 0 where not asked yet.
    static DEFAULTS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
    let [v4, v6] = &DEFAULTS;
    let (known, (level, option), lane) = if is_v4 { (v4, OPTIONS[0], 0) } else { (v6, OPTIONS[2], 2) };
    if known.load(Ordering::Relaxed) == 0 && sock.pcb.marks.load(Ordering::Relaxed) >> (lane * BITS) & 0xffff == 0 {
        let value = options::int(sock, level, option).unwrap_or(64);
        known.store(u32::from(value as u8) + 1, Ordering::Relaxed);
    }
    known.load(Ordering::Relaxed).wrapping_sub(1) as u8
}

impl Wishes {
    /// The interface that datagrams to `ip` leave by, where that is known without the kernel; else 0.
    pub fn interface_to(sock: Sock, ip: IpAddr) -> c_int {
        match ip.is_loopback() {
            true => LOOPBACK,
            false if sock.pcb.is_private() => super::private::INTERFACE as c_int,
            false => 0,
        }
    }

    /// Reads ancillary data as ip_cmsg_send and ip6_datagram_send_ctl of Linux do. `None` where there is something that is
    /// the kernel's to do, or to refuse.
    pub fn of(control: &[u8], is_v4: bool, interface: c_int) -> Option<Wishes> {
        let mut wishes = Wishes::default();
        let mut rest = control;
        while rest.len() >= HEADER_BYTES {
            let length = usize::from_ne_bytes(first(rest)?);
            let (level, kind) = (int(rest.get(8..)?)?, int(rest.get(12..)?)?);
            let data = rest.get(HEADER_BYTES..length)?;
            wishes.add(level, kind, data, is_v4, interface)?;
            rest = rest.get(length.next_multiple_of(8)..).unwrap_or(&[]);
        }
        Some(wishes)
    }

    fn add(&mut self, level: c_int, kind: c_int, data: &[u8], is_v4: bool, interface: c_int) -> Option<()> {
        const V4: bool = true;
        const V6: bool = false;
        let is_its = |wished: c_int| wished == 0 || wished == interface;
        match (is_v4, level, kind) {
            (V4, IPPROTO_IP, IP_TTL) => self.marks.hops = Some(exact_int(data).filter(|value| (1..=255).contains(value))? as u8),
            (V4, IPPROTO_IP, IP_TOS) if data.len() == 1 => self.marks.class = data.first().copied(),
            (V4, IPPROTO_IP, IP_TOS) => self.marks.class = Some(u8::try_from(exact_int(data)?).ok()?),
            (V4, IPPROTO_IP, IP_PKTINFO) if data.len() == size_of::<in_pktinfo>() => {
                self.from = Some(Ipv4Addr::from(first::<4>(data.get(4..)?)?).into());
                is_its(int(data)?).then_some(())?;
            }
            // As the socket says.
            (V6, IPPROTO_IPV6, IPV6_HOPLIMIT) if exact_int(data) == Some(-1) => self.marks.hops = None,
            (V6, IPPROTO_IPV6, IPV6_HOPLIMIT) => self.marks.hops = Some(u8::try_from(exact_int(data)?).ok()?),
            // What -1 says here is not the same in all kernels.
            (V6, IPPROTO_IPV6, IPV6_TCLASS) => self.marks.class = Some(u8::try_from(exact_int(data)?).ok()?),
            (V6, IPPROTO_IPV6, IPV6_PKTINFO) if data.len() == size_of::<in6_pktinfo>() => {
                let address = Ipv6Addr::from(first::<16>(data)?);
                self.from = (!address.is_unspecified()).then_some(address.into());
                is_its(int(data.get(16..)?)?).then_some(())?;
            }
            _ => return None,
        }
        Some(())
    }

    /// The address that it shall come from, where one is named.
    pub(super) fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// Whether a datagram from `known.from` is what they ask for. No address in particular is what the route says, even if
    /// the socket is bound to another (udp_sendmsg of Linux).
    #[inline]
    pub(super) fn allow(&self, sock: Sock, known: &Known) -> bool {
        self.from.is_none_or(|ip| ip == known.from.ip() || (ip.is_unspecified() && sock.pcb.addresses().local.is_any()))
    }
}

const HEADER_BYTES: usize = size_of::<cmsghdr>();

fn first<const N: usize>(data: &[u8]) -> Option<[u8; N]> {
    data.first_chunk().copied()
}

fn int(data: &[u8]) -> Option<c_int> {
    first(data).map(c_int::from_ne_bytes)
}

fn exact_int(data: &[u8]) -> Option<c_int> {
    int(data).filter(|_| data.len() == size_of::<c_int>())
}
