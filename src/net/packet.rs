//! Packets of the Internet protocols, where a program of a private net makes them itself or sees them: the header of IPv4
//! (RFC 791), and the messages of ICMP (RFC 792) and ICMPv6 (RFC 4443) with which a host answers.

use core::net::IpAddr;

/// Bytes of an IPv4 header without options, and of that of an ICMP message.
pub const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
pub const ICMP_BYTES: usize = 8;

pub const ECHO_REPLY: u8 = 0;
pub const ECHO: u8 = 8;
pub const UNREACHABLE: u8 = 3;
pub const ECHO_REPLY6: u8 = 129;
pub const ECHO6: u8 = 128;
pub const UNREACHABLE6: u8 = 1;
const PARAMETER6: u8 = 4;

/// The hop limit that hosts give to what they send of their own.
pub const HOPS: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;
/// The most of a packet that a message about it repeats: then it still fits everywhere (RFC 1812, 4.3.2.3; RFC 4443, 3.1).
const MOST_REPEATED: usize = 576 - IPV4_BYTES - ICMP_BYTES;
const MOST_REPEATED6: usize = 1280 - IPV6_BYTES - ICMP_BYTES;
/// Enough for a message about a packet.
pub const MESSAGE_BYTES: usize = ICMP_BYTES + MOST_REPEATED6;

/// A packet without its header.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: u8,
    pub hops: u8,
    pub class: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub bytes: &'a [u8],
}

/// Why a packet does not get to where it shall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreachable {
    /// There is no such host.
    Host,
    /// Nobody there wants such a protocol.
    Protocol,
    /// Nobody there has the port.
    Port,
}

impl Unreachable {
    /// Type and code.
    pub fn message(self, is_v4: bool) -> (u8, u8) {
        match (is_v4, self) {
            (true, Unreachable::Host) => (UNREACHABLE, 1),
            (true, Unreachable::Protocol) => (UNREACHABLE, 2),
            (true, Unreachable::Port) => (UNREACHABLE, 3),
            (false, Unreachable::Host) => (UNREACHABLE6, 3),
            (false, Unreachable::Protocol) => (PARAMETER6, 1),
            (false, Unreachable::Port) => (UNREACHABLE6, 4),
        }
    }

    /// What Linux makes of it (icmp_err_convert, icmpv6_err_convert), and whether that is told who has not asked for it.
    pub fn errno(self, is_v4: bool) -> (i32, bool) {
        match self {
            Unreachable::Host => (libc::EHOSTUNREACH, false),
            Unreachable::Protocol => (if is_v4 { libc::ENOPROTOOPT } else { libc::EPROTO }, true),
            Unreachable::Port => (libc::ECONNREFUSED, true),
        }
    }
}

/// Whether a message of ICMP says that something cannot be reached.
pub fn is_unreachable(message: &[u8], is_v4: bool) -> bool {
    message.first() == Some(if is_v4 { &UNREACHABLE } else { &UNREACHABLE6 })
}

/// The checksum of the Internet protocols (RFC 1071), over parts that have an even number of bytes but for the last.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (pairs, rest) = part.as_chunks::<2>();
        sum += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        sum += rest.first().map_or(0, |&last| u64::from(last) << 8);
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn put<const N: usize>(into: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = into.get_mut(at..at + N) {
        place.copy_from_slice(&bytes);
    }
}

impl Packet<'_> {
    pub fn is_v4(&self) -> bool {
        self.to.is_ipv4()
    }

    /// The header in front of it, and how long that is: raw sockets see IPv4's, and messages about it repeat either.
    pub fn header(&self) -> ([u8; IPV6_BYTES], usize) {
        let mut header = [0; IPV6_BYTES];
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                put(&mut header, 0, [0x45, self.class]);
                put(&mut header, 2, ((IPV4_BYTES + self.bytes.len()) as u16).to_be_bytes());
                put(&mut header, 4, self.id.to_be_bytes());
                put(&mut header, 6, (if self.dont_fragment { DONT_FRAGMENT } else { 0 }).to_be_bytes());
                put(&mut header, 8, [self.hops, self.protocol]);
                put(&mut header, 12, from.octets());
                put(&mut header, 16, to.octets());
                let sum = checksum(&[header.get(..IPV4_BYTES).unwrap_or(&[])]);
                put(&mut header, 10, sum.to_be_bytes());
                (header, IPV4_BYTES)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                put(&mut header, 0, [0x60 | self.class >> 4, self.class << 4]);
                put(&mut header, 4, (self.bytes.len() as u16).to_be_bytes());
                put(&mut header, 6, [self.protocol, self.hops]);
                put(&mut header, 8, from.octets());
                put(&mut header, 24, to.octets());
                (header, IPV6_BYTES)
            }
            _ => (header, 0),
        }
    }

    /// What `host` answers where the packet does not get on: a message of ICMP, in `room`.
    pub fn refused<'b>(&self, why: Unreachable, host: IpAddr, room: &'b mut [u8; MESSAGE_BYTES]) -> Packet<'b> {
        let is_v4 = self.is_v4();
        let (header, header_bytes) = self.header();
        let most = if is_v4 { MOST_REPEATED } else { MOST_REPEATED6 };
        let repeated = header.iter().take(header_bytes).chain(self.bytes).take(most);
        let mut n = ICMP_BYTES;
        for (to, &from) in room.iter_mut().skip(ICMP_BYTES).zip(repeated) {
            *to = from;
            n += 1;
        }
        let (kind, code) = why.message(is_v4);
        put(room, 0, [kind, code, 0, 0]);
        put(room, 4, if (is_v4, why) == (false, Unreachable::Protocol) { 6u32.to_be_bytes() } else { [0; 4] });
        let (message, _) = room.split_at_mut(n.min(MESSAGE_BYTES));
        seal(message, host, self.from);
        // RFC 1812, 4.3.2.5: as urgent as internetwork control.
        let class = if is_v4 { self.class | 0xc0 } else { 0 };
        let protocol = protocol_of(is_v4);
        Packet { from: host, to: self.from, protocol, hops: HOPS, class, id: 0, dont_fragment: false, bytes: message }
    }
}

/// ICMP's number.
pub fn protocol_of(is_v4: bool) -> u8 {
    if is_v4 { libc::IPPROTO_ICMP as u8 } else { libc::IPPROTO_ICMPV6 as u8 }
}

/// Puts the checksum into a message of ICMP; that of IPv6 is over the addresses as well (RFC 4443, 2.3).
pub fn seal(message: &mut [u8], from: IpAddr, to: IpAddr) {
    put(message, 2, [0, 0]);
    let sum = match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let (from, to) = (from.octets(), to.octets());
            let mut last = [0; 8];
            put(&mut last, 0, (message.len() as u32).to_be_bytes());
            put(&mut last, 4, [0, 0, 0, libc::IPPROTO_ICMPV6 as u8]);
            checksum(&[&from, &to, &last, message])
        }
        _ => checksum(&[message]),
    };
    put(message, 2, sum.to_be_bytes());
}

/// Whether a message of ICMP asks its receiver to answer with the same.
pub fn is_echo(message: &[u8], is_v4: bool) -> bool {
    message.len() >= ICMP_BYTES && message.first() == Some(if is_v4 { &ECHO } else { &ECHO6 })
}

/// Makes the answer to an echo request out of it.
pub fn answer_echo(message: &mut [u8], from: IpAddr, to: IpAddr) {
    put(message, 0, [if from.is_ipv4() { ECHO_REPLY } else { ECHO_REPLY6 }]);
    seal(message, from, to);
}

/// The number by which an echo and its answer belong together.
pub fn echo_id(message: &[u8]) -> Option<u16> {
    message.get(4..6)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Puts that number into an echo request.
pub fn set_echo_id(message: &mut [u8], id: u16) {
    put(message, 4, id.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        assert_eq!(checksum(&[&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0, 1, 0xf2, 3], &[0xf4, 0xf5, 0xf6]]), checksum(&[&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0]]));
    }

    #[test]
    fn an_answer_repeats_what_it_is_about() {
        for (from, to, header_bytes) in [("10.1.0.1", "10.1.0.2", 20), ("fd00::1", "fd00::2", 40)] {
            let [from, to]: [IpAddr; 2] = [from, to].map(|ip| ip.parse().expect("an address"));
            let bytes = [7; 2000];
            let packet = Packet { from, to, protocol: 17, hops: 1, class: 0, id: 9, dont_fragment: true, bytes: &bytes };
            let (header, n) = packet.header();
            assert_eq!(n, header_bytes);
            let mut room = [0; MESSAGE_BYTES];
            let message = packet.refused(Unreachable::Port, to, &mut room);
            assert_eq!((message.from, message.to, message.protocol), (to, from, protocol_of(to.is_ipv4())));
            assert_eq!(message.bytes[ICMP_BYTES..ICMP_BYTES + n], header[..n]);
            assert_eq!(message.bytes.len(), if to.is_ipv4() { 556 } else { 1240 });
            let mut again = message.bytes.to_vec();
            seal(&mut again, to, from);
            assert_eq!(again, message.bytes);
        }
    }
}
