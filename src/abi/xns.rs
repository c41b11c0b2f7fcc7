//! What programs of Xerox NS need of `landline.h`, with the names of 4.3BSD (netns/ns.h and netns/ns_if.h).

use core::ffi::{c_char, c_int};
use libc::sa_family_t;

use crate::net::xns;

/// The address family of Xerox NS in a private net: datagrams (SOCK_DGRAM), and circuits of bytes (SOCK_STREAM) or of
/// packets (SOCK_SEQPACKET). Linux has no number for it; this one is BSD's 6, plus 200.
pub const AF_NS: c_int = 206;
/// The same.
pub const PF_NS: c_int = 206;
/// Routing information, echo, error, packet exchange and sequenced packets: what IDP carries. A socket has the last, or 0.
pub const NSPROTO_RI: c_int = 1;
pub const NSPROTO_ECHO: c_int = 2;
pub const NSPROTO_ERROR: c_int = 3;
pub const NSPROTO_PE: c_int = 4;
pub const NSPROTO_SPP: c_int = 5;
pub const NSPROTO_RAW: c_int = 255;
pub const NSPROTO_MAX: c_int = 256;

/// The number of a net, in network byte order; 0 is the program's own.
#[repr(C)]
#[derive(Clone, Copy)]
pub union ns_net {
    pub c_net: [u8; 4],
    pub s_net: [u16; 2],
}

/// The address of a host's interface, as getifaddrs(3) tells it; 0 is no particular one, or the program's own.
#[repr(C)]
#[derive(Clone, Copy)]
pub union ns_host {
    pub c_host: [u8; 6],
    pub s_host: [u16; 3],
}

/// Net, host and port, in network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ns_addr {
    pub x_net: ns_net,
    pub x_host: ns_host,
    pub x_port: u16,
}

/// An address of AF_NS. Like every address on Linux it has no length in it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sockaddr_ns {
    pub sns_family: sa_family_t,
    pub sns_addr: ns_addr,
    pub sns_zero: [c_char; 2],
}

const _: () = assert!(AF_NS == xns::AF_NS && NSPROTO_SPP == xns::SPP && size_of::<sockaddr_ns>() == xns::NAME_BYTES);
