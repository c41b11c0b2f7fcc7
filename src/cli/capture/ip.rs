//! The headers around what a packet carries: IP and UDP.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use etherparse::{IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6Header, UdpHeader};

use crate::pcb::Address;

const USUAL_HOPS: u8 = 64;
/// Hop limit and traffic class; the usual ones where they are 0.
#[derive(Clone, Copy, Default)]
pub struct Marks {
    pub hops: u8,
    pub class: u8,
}

/// An address as IPv6 has it.
pub fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Puts a packet into `out`: its header, for `len` bytes, and the parts of them that are known. Returns what it has as a whole.
///
/// # Errors
/// Where it would be longer than IP allows.
#[allow(clippy::too_many_arguments)]
pub fn packet(
    out: &mut Vec<u8>,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    marks: Marks,
    number: u16,
    parts: &[&[u8]],
    len: usize,
) -> io::Result<usize> {
    let hops = if marks.hops == 0 { USUAL_HOPS } else { marks.hops };
    let size = u16::try_from(len).map_err(io::Error::other)?;
    let before = out.len();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = Ipv4Header::new(size, hops, IpNumber(protocol), from.octets(), to.octets()).map_err(io::Error::other)?;
            header.identification = number;
            header.dscp = IpDscp::try_new(marks.class >> 2).unwrap_or_default();
            header.ecn = IpEcn::try_new(marks.class & 3).unwrap_or_default();
            header.header_checksum = header.calc_header_checksum();
            out.extend_from_slice(&header.to_bytes());
        }
        (from, to) => {
            let header = Ipv6Header {
                traffic_class: marks.class,
                payload_length: size,
                next_header: IpNumber(protocol),
                hop_limit: hops,
                source: v6(from).octets(),
                destination: v6(to).octets(),
                ..Ipv6Header::default()
            };
            out.extend_from_slice(&header.to_bytes());
        }
    }
    let whole = out.len() - before + len;
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(whole)
}

/// The header of a UDP datagram of `len` bytes, of which `bytes` are known.
///
/// # Errors
/// Where it would be longer than UDP allows.
pub fn udp_header(from: Address, to: Address, len: usize, bytes: &[u8]) -> io::Result<[u8; UdpHeader::LEN]> {
    let length = u16::try_from(UdpHeader::LEN + len).map_err(io::Error::other)?;
    let mut header = UdpHeader { source_port: from.port, destination_port: to.port, length, checksum: 0 };
    if bytes.len() == len {
        header.checksum = match (from.ip(), to.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => header.calc_checksum_ipv4_raw(a.octets(), b.octets(), bytes),
            (a, b) => header.calc_checksum_ipv6_raw(v6(a).octets(), v6(b).octets(), bytes),
        }
        .map_err(io::Error::other)?;
    }
    Ok(header.to_bytes())
}
