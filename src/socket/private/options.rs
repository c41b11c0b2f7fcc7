//! Options of a private net's sockets that their anchors do not know. What Linux would say of one is asked of a socket of the
//! program's kind, made for the moment; what is set is kept in the PCB.

use core::sync::atomic::{AtomicU64, Ordering};
use libc::{
    IPPROTO_IPV6, IPPROTO_TCP, SO_DOMAIN, SO_PROTOCOL, SO_REUSEADDR, SO_REUSEPORT, SO_TYPE, SOL_SOCKET, TCP_CORK, TCP_INFO, TCP_NODELAY, c_int,
};

use super::*;
use crate::pcb::extras;
use crate::socket::options::{Set, tcp_state};

/// Options of SOL_SOCKET that sockets of AF_UNIX do not have, or do not give to those that are accepted.
const NOT_OF_ANCHORS: [c_int; 3] = [SO_REUSEPORT, libc::SO_BINDTODEVICE, libc::SO_KEEPALIVE];

/// Options of SOL_SOCKET that only sockets of AF_UNIX have.
const OF_UNIX_ALONE: [c_int; 3] = [libc::SO_PASSCRED, libc::SO_PASSSEC, SO_PASSPIDFD];
const SO_PASSPIDFD: c_int = 76;

/// What Linux gives to TCP sockets (net.ipv4.tcp_rmem and tcp_wmem), and to one that is connected over loopback.
const DEFAULT_RCVBUF: c_int = 131_072;
const DEFAULT_SNDBUF: c_int = 16_384;
const CONNECTED_SNDBUF: c_int = 2_626_560;
/// No packet is larger.
const MTU: c_int = 65_535;
const IP_MTU: c_int = 14;
const IPV6_MTU: c_int = 24;
/// Options of raw sockets (raw(7), icmp6(7) of BSD), which no other socket of the kernel's could be asked about.
const SOL_RAW: c_int = 255;
const ICMP_FILTER: c_int = 1;
const ICMP6_FILTER: c_int = 1;
const IPV6_CHECKSUM: c_int = 7;

/// What programs do without where the kernel does not have it: datagrams in parts, and many in one.
const REFUSED_OF_UDP: [c_int; 3] = [libc::UDP_CORK, libc::UDP_SEGMENT, UDP_GRO];
const UDP_GRO: c_int = 104;

/// A kept option as one word: level, name and value, and one bit that says that there is one.
///
/// | bits | meaning |
/// |---|---|
/// | 0..32 | value |
/// | 32..47 | name |
/// | 47 | always 1 |
/// | 48..64 | level |
fn word((level, name): (c_int, c_int), value: c_int) -> u64 {
    u64::from(value as u32) | key(level, name)
}

fn key(level: c_int, name: c_int) -> u64 {
    (name as u64 & 0x7fff) << 32 | 1 << 47 | (level as u64 & 0xffff) << 48
}

/// The value of an option that the program has set.
pub fn kept(pcb: &Pcb, level: c_int, name: c_int) -> Option<c_int> {
    let key = key(level, name);
    let words = pcb.options.iter().map(|word| word.load(Ordering::Acquire));
    words.into_iter().find(|word| word & !0xffff_ffff == key).map(|word| word as u32 as c_int)
}

/// Whether such an option is set, to something else than 0.
pub fn is_on(pcb: &Pcb, level: c_int, name: c_int) -> bool {
    kept(pcb, level, name).is_some_and(|value| value != 0)
}

fn keep(sock: Sock, level: c_int, name: c_int, value: c_int) {
    let key = key(level, name);
    let fits = |word: &&AtomicU64| matches!(word.load(Ordering::Acquire), w if w & !0xffff_ffff == key);
    let free = |word: &&AtomicU64| word.load(Ordering::Acquire) == 0;
    let place = sock.pcb.options.iter().find(fits).or_else(|| sock.pcb.options.iter().find(free));
    if let Some(place) = place {
        place.store(word((level, name), value), Ordering::Release);
    }
}

/// What an accepted connection has from its listener.
pub(super) fn inherit(sock: Sock, from: Sock) {
    for (to, from) in sock.pcb.options.iter().zip(&from.pcb.options) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// What the program has set of a socket that is made anew as the kernel's, in the real network.
pub(super) fn carry_over(sock: Sock) {
    for word in sock.pcb.options.iter().map(|word| word.load(Ordering::Acquire)).filter(|&word| word != 0) {
        let (level, name) = ((word >> 48) as c_int, (word >> 32 & 0x7fff) as c_int);
        let _ = call::set_int_option(sock.fd, level, name, word as u32 as c_int);
    }
}

/// Whether the anchor is asked.
fn is_anchors(level: c_int, name: c_int) -> bool {
    level == SOL_SOCKET && !NOT_OF_ANCHORS.contains(&name)
}

/// Family and type of a socket of the kernel's that is like it.
pub fn kind_of(sock: Sock) -> (c_int, c_int) {
    // Of what NS has nothing is asked but the options of every socket.
    let family = if is_ns(sock) { libc::AF_INET } else { family_of(sock) };
    (family, if sock.pcb.has(flag::DATAGRAM) { libc::SOCK_DGRAM } else { libc::SOCK_STREAM })
}

/// Values that were found to be good, so that they need not be tried again.
static GOOD: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];

/// setsockopt(2) of what raw sockets alone have.
fn set_raw(sock: Sock, option: (c_int, c_int), value: &[u8]) -> Option<Set> {
    let (family, protocol) = sock.pcb.family_and_protocol();
    let int = || value.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes));
    let is_known = match option {
        (SOL_RAW, ICMP_FILTER) => protocol == libc::IPPROTO_ICMP,
        (libc::IPPROTO_IP, libc::IP_HDRINCL) => family == libc::AF_INET,
        (SOL_RAW | IPPROTO_IPV6, IPV6_CHECKSUM) => protocol == libc::IPPROTO_ICMPV6,
        (libc::IPPROTO_ICMPV6, ICMP6_FILTER) => {
            let mut filter = [0; 8];
            filter.iter_mut().zip(value.as_chunks::<4>().0).for_each(|(word, bytes)| *word = u32::from_ne_bytes(*bytes));
            let is_its = sock.pcb.is_raw() && protocol == libc::IPPROTO_ICMPV6;
            return is_its.then(|| if extras::set_filter(sock.arena, sock.pcb, filter) { Set::Done } else { Set::Refused(Errno(libc::ENOBUFS)) });
        }
        _ => false,
    };
    if !is_known || !sock.pcb.is_raw() {
        return None;
    }
    let Some(value) = int() else { return Some(Set::Refused(Errno::EINVAL)) };
    keep(sock, option.0, option.1, value);
    Some(Set::Done)
}

/// getsockopt(2) of the same.
fn get_raw(sock: Sock, option: (c_int, c_int), into: &mut [u8]) -> Option<usize> {
    let is_its = sock.pcb.is_raw() && sock.pcb.family_and_protocol().1 == libc::IPPROTO_ICMPV6;
    if !is_its || option != (libc::IPPROTO_ICMPV6, ICMP6_FILTER) {
        return None;
    }
    let filter = extras::filter(sock.arena, sock.pcb);
    let bytes = filter.iter().flat_map(|word| word.to_ne_bytes());
    Some(into.iter_mut().zip(bytes).map(|(to, from)| *to = from).count())
}

/// Before setsockopt(2) with `value`: `Set::Kernel` where the anchor is to be set.
pub fn set(sock: Sock, level: c_int, name: c_int, value: &[u8]) -> Set {
    let int = value.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes));
    if level == SOL_SOCKET && OF_UNIX_ALONE.contains(&name) {
        return Set::Refused(Errno(libc::EOPNOTSUPP));
    }
    if let (SOL_SOCKET, SO_REUSEADDR, Some(value)) = (level, name, int) {
        sock.pcb.put_facade(facade::REUSEADDR, value != 0);
    }
    if sock.pcb.has(flag::DATAGRAM) && level == SOL_SOCKET && matches!(name, libc::SO_ATTACH_FILTER | libc::SO_ATTACH_BPF) {
        // It would judge the anchor's doorbells.
        return Set::Refused(Errno::ENOPROTOOPT);
    }
    if is_anchors(level, name) {
        return Set::Kernel;
    }
    if is_ns(sock) && level != SOL_SOCKET {
        return Set::Refused(Errno::ENOPROTOOPT);
    }
    if let Some(set) = set_raw(sock, (level, name), value) {
        return set;
    }
    if level == IPPROTO_IPV6 && name == libc::IPV6_V6ONLY && sock.pcb.addresses().local.port != 0 {
        return Set::Refused(Errno::EINVAL);
    }
    if level == libc::IPPROTO_UDP && REFUSED_OF_UDP.contains(&name) && int != Some(0) {
        return Set::Refused(Errno::ENOPROTOOPT);
    }
    let (family, kind) = kind_of(sock);
    // No level is so large that family and type would look like another.
    let mark = int.map_or(0, |int| word((level, name), int)) ^ (kind as u64) << 60 ^ u64::from(family == libc::AF_INET6) << 59;
    let place = &GOOD[(mark.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as usize];
    let mut now = [0u8; size_of::<c_int>()];
    let told = if value.len() == now.len() && place.load(Ordering::Relaxed) == mark {
        int
    } else {
        match preserved(|| anchor::try_option(family, kind, (level, name), Some(value), Some(&mut now))) {
            // What cannot be read back is not kept.
            Err(e) => match preserved(|| anchor::try_option(family, kind, (level, name), Some(value), None)) {
                Err(_) => return Set::Refused(e),
                Ok(_) => int,
            },
            Ok(n) if n == now.len() => {
                if Some(c_int::from_ne_bytes(now)) == int {
                    place.store(mark, Ordering::Relaxed);
                }
                Some(c_int::from_ne_bytes(now))
            }
            Ok(n) => Some(c_int::from_ne_bytes(now)).filter(|_| n > 0).or(int),
        }
    };
    // A name is no number: it is read back as it is by default.
    if let Some(value) = told.filter(|_| (level, name) != (IPPROTO_TCP, libc::TCP_CONGESTION)) {
        keep(sock, level, name, value);
        match (level, name) {
            (IPPROTO_TCP, TCP_NODELAY) => sock.pcb.put(flag::NODELAY, value != 0),
            (SOL_SOCKET, SO_REUSEPORT) => sock.pcb.put_facade(facade::REUSEPORT, value != 0),
            (IPPROTO_TCP, TCP_CORK) => sock.pcb.put(flag::CORK, value != 0),
            (IPPROTO_IPV6, libc::IPV6_V6ONLY) => sock.pcb.put(flag::V6ONLY, value != 0),
            _ => {}
        }
    }
    if sock.pcb.has(flag::DATAGRAM) {
        datagram::note(sock, level, name);
    }
    Set::Done
}

/// The value of an integer option.
pub fn int(sock: Sock, level: c_int, name: c_int) -> Option<c_int> {
    if is_anchors(level, name) {
        return call::int_option(sock.fd, level, name).ok();
    }
    kept(sock.pcb, level, name).or_else(|| {
        let mut value = [0u8; size_of::<c_int>()];
        let (family, kind) = kind_of(sock);
        preserved(|| anchor::try_option(family, kind, (level, name), None, Some(&mut value))).ok()?;
        Some(c_int::from_ne_bytes(value))
    })
}

/// Whether the program has not set the size of a stream's buffer.
fn is_default(size: &core::sync::atomic::AtomicU32, sock: Sock) -> bool {
    size.load(Ordering::Relaxed) == 0 && !sock.pcb.has(flag::DATAGRAM)
}

/// getsockopt(2) into `into`; returns how many bytes there are. `None` where the anchor is to be asked.
pub fn get(sock: Sock, level: c_int, name: c_int, into: &mut [u8]) -> Option<Result<usize, Errno>> {
    let (family, protocol) = sock.pcb.family_and_protocol();
    let known = match (level, name) {
        (SOL_SOCKET, SO_DOMAIN) => Some(family),
        (SOL_SOCKET, SO_PROTOCOL) => Some(protocol),
        (SOL_SOCKET, SO_TYPE) => sock.pcb.is_raw().then_some(libc::SOCK_RAW),
        (SOL_RAW, ICMP_FILTER) if sock.pcb.is_raw() => Some(kept(sock.pcb, level, name).unwrap_or(0)),
        (libc::IPPROTO_IP, libc::IP_HDRINCL) if sock.pcb.is_raw() => {
            Some(kept(sock.pcb, level, name).unwrap_or(c_int::from(protocol == libc::IPPROTO_RAW)))
        }
        (SOL_SOCKET, libc::SO_ERROR) => {
            if let Some(ep) = sock.endpoint().filter(|ep| !ep.is_mailbox()) {
                ep.look_at_anchor();
                ep.settle_end();
            }
            Some(end::take_error(sock).map_or(0, |e| e.0))
        }
        (SOL_SOCKET, libc::SO_PEERCRED) => {
            // Nobody in particular.
            let nobody: [c_int; 3] = [0, -1, -1];
            let bytes = nobody.iter().flat_map(|word| word.to_ne_bytes());
            let n = into.len().min(size_of_val(&nobody));
            into.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            return Some(Ok(n));
        }
        (SOL_SOCKET, option) if OF_UNIX_ALONE.contains(&option) => return Some(Err(Errno(libc::EOPNOTSUPP))),
        (SOL_SOCKET, libc::SO_RCVBUF) if is_default(&sock.pcb.rcvbuf, sock) => Some(DEFAULT_RCVBUF),
        (SOL_SOCKET, libc::SO_SNDBUF) if is_default(&sock.pcb.sndbuf, sock) => {
            Some(if sock.endpoint().is_some() { CONNECTED_SNDBUF } else { DEFAULT_SNDBUF })
        }
        (libc::IPPROTO_IP, IP_MTU) | (IPPROTO_IPV6, IPV6_MTU) if sock.pcb.state() == State::Established => Some(MTU),
        (SOL_SOCKET, libc::SO_ACCEPTCONN) => Some(c_int::from(sock.pcb.state() == State::Listen)),
        _ if is_anchors(level, name) => None,
        _ => kept(sock.pcb, level, name),
    };
    if let Some(value) = known {
        let bytes = value.to_ne_bytes();
        let n = into.len().min(bytes.len());
        into.get_mut(..n)?.copy_from_slice(bytes.get(..n)?);
        return Some(Ok(n));
    }
    if is_ns(sock) && level != SOL_SOCKET {
        return Some(Err(Errno::ENOPROTOOPT));
    }
    if let Some(n) = get_raw(sock, (level, name), into) {
        return Some(Ok(n));
    }
    if is_anchors(level, name) {
        return None;
    }
    let (family, kind) = kind_of(sock);
    let got = preserved(|| anchor::try_option(family, kind, (level, name), None, Some(into)));
    if let (Ok(1..), IPPROTO_TCP, TCP_INFO) = (got, level, name) {
        const LISTENS: u8 = 10;
        let listens = (sock.pcb.state() == State::Listen).then_some(LISTENS);
        if let (Some(state), Some(first)) = (tcp_state(sock, level, name).or(listens), into.first_mut()) {
            *first = state;
        }
    }
    Some(got)
}
