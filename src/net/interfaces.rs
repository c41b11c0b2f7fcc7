//! The interfaces that a host of a private net has: `lo`, and `eth0` with the host's addresses.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::sync::atomic::Ordering;

use super::hosts;
use crate::shm::Arena;

/// The loopback interface's number and MTU, as Linux has them.
const LO: u32 = 1;
const LO_MTU: u32 = 65536;
const ETH0: u32 = 2;
const ETH0_MTU: u32 = 1500;

/// One interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    pub index: u32,
    /// The name, as netdevice(7) has it.
    pub name: &'static str,
    /// `IFF_UP` and its kind.
    pub flags: u32,
    pub mtu: u32,
    /// `ARPHRD_ETHER` or its kind.
    pub hardware: u16,
    pub mac: [u8; 6],
    pub hardware_broadcast: [u8; 6],
    pub v4: Ipv4Addr,
    pub v4_prefix: u32,
    pub v6: Ipv6Addr,
    pub v6_prefix: u32,
    /// What went out of it and came in.
    pub sent_bytes: u64,
    pub got_bytes: u64,
}

/// `IFF_LOWER_UP` of linux/if.h.
const LOWER_UP: u32 = 0x10000;

impl Interface {
    pub fn is_loopback(&self) -> bool {
        self.index == LO
    }

    pub fn v4_mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - self.v4_prefix).unwrap_or(0))
    }

    pub fn v6_mask(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - self.v6_prefix).unwrap_or(0))
    }

    /// Of a loopback interface there is none.
    pub fn v4_broadcast(&self) -> Option<Ipv4Addr> {
        (!self.is_loopback()).then(|| self.v4 | !self.v4_mask())
    }
}

/// Those of the host with a number.
pub fn of_host(arena: &Arena, number: u32) -> Option<[Interface; 2]> {
    let host = hosts::host(arena, number)?;
    let running = (libc::IFF_UP | libc::IFF_RUNNING) as u32 | LOWER_UP;
    let lo = Interface {
        index: LO,
        name: "lo",
        flags: running | libc::IFF_LOOPBACK as u32,
        mtu: LO_MTU,
        hardware: libc::ARPHRD_LOOPBACK,
        mac: [0; 6],
        hardware_broadcast: [0; 6],
        v4: Ipv4Addr::LOCALHOST,
        v4_prefix: 8,
        v6: Ipv6Addr::LOCALHOST,
        v6_prefix: 128,
        sent_bytes: 0,
        got_bytes: 0,
    };
    let eth0 = Interface {
        index: ETH0,
        name: "eth0",
        flags: running | (libc::IFF_BROADCAST | libc::IFF_MULTICAST) as u32,
        mtu: ETH0_MTU,
        hardware: libc::ARPHRD_ETHER,
        mac: mac_of(number),
        hardware_broadcast: [0xff; 6],
        v4: host.v4(),
        v4_prefix: 16,
        v6: host.v6(),
        v6_prefix: 64,
        sent_bytes: host.sent_bytes.load(Ordering::Relaxed),
        got_bytes: host.got_bytes.load(Ordering::Relaxed),
    };
    Some([lo, eth0])
}

/// The hardware address of a host. The bit 2 says that it is locally administered (IEEE 802).
pub fn mac_of(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, b'L', a, b, c, d]
}

/// Those of this process's host.
pub fn ours(arena: &Arena) -> Option<[Interface; 2]> {
    of_host(arena, hosts::ours(arena)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::tests::blocks::private_arena;

    #[test]
    fn a_host_has_two_with_masks_and_broadcast_addresses() {
        let (_one, arena) = private_arena();
        let number = hosts::ensure(&arena.lock(), "a", Some("10.70.3.4".parse().unwrap())).unwrap();
        let [lo, eth0] = of_host(arena, number).unwrap();
        assert_eq!((lo.v4_mask(), lo.v4_broadcast()), (Ipv4Addr::new(255, 0, 0, 0), None));
        assert_eq!(lo.v6_mask(), Ipv6Addr::from_bits(u128::MAX));
        assert_eq!((lo.flags, eth0.flags), (0x10049, 0x11043));
        assert_eq!((eth0.v4_mask(), eth0.v4_broadcast()), (Ipv4Addr::new(255, 255, 0, 0), Some(Ipv4Addr::new(10, 70, 255, 255))));
        assert_eq!(eth0.v6_mask(), "ffff:ffff:ffff:ffff::".parse::<Ipv6Addr>().unwrap());
        assert_eq!(eth0.mac, [2, b'L', 0, 0, 0, number as u8]);
        assert!(of_host(arena, 0).is_none());
    }
}
