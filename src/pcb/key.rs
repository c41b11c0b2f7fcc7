//! Transport addresses, of either family in one form, and the four addresses that name a connection.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UNIX_HIGH: u64 = 0xff00_0000_0000_0000;

/// An address and a port. IPv4 addresses are held as IPv4-mapped IPv6 ones (RFC 4291, 2.5.5.2), so that
/// both ends of a connection see the same, whichever family their sockets have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Address {
    pub high: u64,
    pub low: u64,
    pub port: u16,
}

impl Address {
    pub fn new(ip: IpAddr, port: u16) -> Address {
        let bits = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Address { high: (bits >> 64) as u64, low: bits as u64, port }
    }

    pub fn ip(&self) -> IpAddr {
        let v6 = Ipv6Addr::from_bits(u128::from(self.high) << 64 | u128::from(self.low));
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    }

    /// An AF_UNIX socket, by the number of its inode. No Internet address looks like it: the kernel takes ff00::/16 for
    /// a multicast address of a reserved scope.
    pub fn of_inode(inode: u64) -> Address {
        Address { high: UNIX_HIGH, low: inode, port: 0 }
    }

    /// The inode of an AF_UNIX socket.
    pub fn inode(&self) -> Option<u64> {
        (self.high == UNIX_HIGH && self.low != 0).then_some(self.low)
    }

    /// No particular address.
    pub fn is_any(&self) -> bool {
        self.ip().is_unspecified()
    }
}

impl From<SocketAddr> for Address {
    fn from(a: SocketAddr) -> Address {
        Address::new(a.ip(), a.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(inode) = self.inode() {
            return write!(f, "unix:{inode}");
        }
        match (self.port, self.ip()) {
            (0, IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => write!(f, "*:*"),
            (0, ip) => write!(f, "{ip}:*"),
            (port, ip) => SocketAddr::new(ip, port).fmt(f),
        }
    }
}

/// The four addresses of a connection, as one of its ends sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub local: Address,
    pub remote: Address,
}

impl Key {
    /// The same connection as its other end sees it.
    pub fn reversed(self) -> Key {
        Key { local: self.remote, remote: self.local }
    }

    /// A number that is equal for equal keys.
    pub fn hash(&self) -> u32 {
        let mut h = 0x9e37_79b9_7f4a_7c15u64;
        for word in
            [self.local.high, self.local.low, self.remote.high, self.remote.low, u64::from(self.local.port) << 16 | u64::from(self.remote.port)]
        {
            h = (h ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
        }
        (h ^ (h >> 32)) as u32
    }
}
