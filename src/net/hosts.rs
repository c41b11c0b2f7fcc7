//! The hosts of a private net: names and addresses, in the arena. A process belongs to one of them, as the environment
//! says that it was started with, and its children follow it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::shm::arena::TableLock;
use crate::shm::layout::{HOSTS, Net};
use crate::shm::{Arena, blocks, owner};
use crate::sys::config;

/// The most bytes of a host's name (RFC 1123, 2.1).
pub const MOST_NAME_BYTES: usize = 63;

/// One host.
#[repr(C, align(64))]
pub struct Host {
    /// Padded with zero bytes.
    name: [AtomicU64; 8],
    /// 1 once the entry is complete.
    ready: AtomicU32,
    v4: AtomicU32,
    v6: [AtomicU64; 2],
    /// What it has sent to others, and got from them.
    pub sent_bytes: AtomicU64,
    pub got_bytes: AtomicU64,
    /// Sends and connects that its net refused: to the outside, or to a host that is not there.
    pub refused: AtomicU64,
    _rest: [u64; 17],
}

crate::shm::shared_struct!(Host, HOSTS.entry_bytes);

/// Why a host cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    Name,
    /// Another host has the address.
    AddressTaken,
    /// The host has another address.
    OtherAddress,
    /// Neither of the net's prefix nor one that a host may have.
    Address,
    Full,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.write_str(match self {
            Refusal::Name => "a host has letters, digits, '-' and '.' in its name, at most 63",
            Refusal::AddressTaken => "another host has that address",
            Refusal::OtherAddress => "the host has another address already",
            Refusal::Address => "no host can have that address",
            Refusal::Full => "the net has no room for another host",
        })
    }
}

impl Host {
    /// Its name, in lower case.
    pub fn name(&self) -> String {
        let bytes = self.name_bytes();
        let n = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    /// The same, padded with zero bytes.
    pub fn name_bytes(&self) -> [u8; 64] {
        let mut bytes = [0u8; 64];
        for (to, word) in bytes.chunks_exact_mut(8).zip(&self.name) {
            to.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes
    }

    /// A number that goes with its name.
    pub fn mark(&self) -> u64 {
        self.name.iter().fold(0xcbf2_9ce4_8422_2325, |mark, word| (mark ^ word.load(Ordering::Relaxed)).wrapping_mul(0x100_0000_01b3).rotate_left(29))
    }

    fn is_named(&self, words: &[u64; 8]) -> bool {
        self.name.iter().zip(words).all(|(is, wanted)| is.load(Ordering::Relaxed) == *wanted)
    }

    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.v4.load(Ordering::Relaxed))
    }

    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from(self.v6[0].load(Ordering::Relaxed)) << 64 | u128::from(self.v6[1].load(Ordering::Relaxed)))
    }

    /// Whether it has the address, its loopback ones aside.
    pub fn has(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(v4) => self.v4() == v4,
            IpAddr::V6(v6) => self.v6() == v6,
        }
    }
}

/// A name as the arena has it: lower case, without a dot at the end. `None` for what is no name of a host.
fn words_of(name: &str) -> Option<[u64; 8]> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if name.len() > MOST_NAME_BYTES || !name.split('.').all(is_good) {
        return None;
    }
    let mut bytes = [0u8; 64];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from.to_ascii_lowercase());
    let mut words = [0; 8];
    for (word, from) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*from);
    }
    Some(words)
}

/// The host with a number.
#[inline]
pub fn host(arena: &Arena, number: u32) -> Option<&Host> {
    arena.at(HOSTS.entry_off(number)?)
}

/// Every host, with its number.
pub fn all(arena: &Arena) -> impl Iterator<Item = (u32, &Host)> {
    let end = arena.header().net.hosts.end(HOSTS);
    (1..end).filter_map(move |n| Some((n, host(arena, n)?))).filter(|(_, h)| h.ready.load(Ordering::Acquire) == 1)
}

/// The host with a name; case and a dot at the end do not matter.
pub fn by_name<'a>(arena: &'a Arena, name: &str) -> Option<(u32, &'a Host)> {
    let words = words_of(name)?;
    all(arena).find(|(_, h)| h.is_named(&words))
}

/// The host with an address, which is not a loopback one.
pub fn by_address(arena: &Arena, ip: IpAddr) -> Option<(u32, &Host)> {
    let net = &arena.header().net;
    // Most have the address that goes with their number.
    let likely = match ip {
        IpAddr::V4(v4) => Some(number_of(v4)),
        IpAddr::V6(_) => None,
    };
    let likely = likely.filter(|&n| n < net.hosts.end(HOSTS)).and_then(|n| Some((n, host(arena, n)?)));
    likely.filter(|(_, h)| h.ready.load(Ordering::Acquire) == 1 && h.has(ip)).or_else(|| all(arena).find(|(_, h)| h.has(ip)))
}

/// The address that goes with a host's number: x.y.0.1 with 1, and none that ends in 0 or 255.
fn usual_v4(net: &Net, number: u32) -> Ipv4Addr {
    let (third, fourth) = ((number - 1) / 254, (number - 1) % 254 + 1);
    Ipv4Addr::from_bits(net.prefix4.load(Ordering::Relaxed) << 16 | (third & 0xff) << 8 | fourth)
}

fn number_of(v4: Ipv4Addr) -> u32 {
    let [_, _, third, fourth] = v4.octets();
    u32::from(third) * 254 + u32::from(fourth)
}

fn usual_v6(net: &Net, number: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(net.prefix6.load(Ordering::Relaxed)) << 64 | u128::from(number))
}

/// The address at which the net answers questions about names (RFC 1035): no host has it.
pub fn resolver_v4(arena: &Arena) -> Ipv4Addr {
    Ipv4Addr::from_bits(arena.header().net.prefix4.load(Ordering::Relaxed) << 16 | 0xff35)
}

/// The host with a name, made if there is none; with `address`, that one.
///
/// # Errors
/// Why it cannot be had.
pub fn ensure(lock: &TableLock, name: &str, address: Option<IpAddr>) -> Result<u32, Refusal> {
    let arena = lock.arena;
    let words = words_of(name).ok_or(Refusal::Name)?;
    if let Some((number, host)) = all(arena).find(|(_, h)| h.is_named(&words)) {
        return if address.is_none_or(|ip| host.has(ip)) { Ok(number) } else { Err(Refusal::OtherAddress) };
    }
    if let Some(ip) = address {
        let is_bad = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip == IpAddr::V4(resolver_v4(arena));
        if is_bad || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast()) {
            return Err(Refusal::Address);
        }
        if by_address(arena, ip).is_some() {
            return Err(Refusal::AddressTaken);
        }
    }
    let net = &arena.header().net;
    let number = blocks::extend_pool(lock, &net.hosts, HOSTS).ok_or(Refusal::Full)?;
    let host = host(arena, number).ok_or(Refusal::Full)?;
    // Where somebody was given the usual one the next is taken.
    let is_free = |ip: &Ipv4Addr| by_address(arena, IpAddr::V4(*ip)).is_none() && *ip != resolver_v4(arena);
    let usual = || (number..).map(|n| usual_v4(net, n)).take(HOSTS.entries as usize).find(is_free).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let is_free6 = |ip: &Ipv6Addr| by_address(arena, IpAddr::V6(*ip)).is_none();
    let usual6 = || (number..).map(|n| usual_v6(net, n)).take(HOSTS.entries as usize).find(is_free6).unwrap_or(Ipv6Addr::UNSPECIFIED);
    let (v4, v6) = match address {
        Some(IpAddr::V4(v4)) => (v4, usual6()),
        Some(IpAddr::V6(v6)) => (usual(), v6),
        None => (usual(), usual6()),
    };
    for (word, value) in host.name.iter().zip(words) {
        word.store(value, Ordering::Relaxed);
    }
    host.v4.store(v4.to_bits(), Ordering::Relaxed);
    host.v6[0].store((v6.to_bits() >> 64) as u64, Ordering::Relaxed);
    host.v6[1].store(v6.to_bits() as u64, Ordering::Relaxed);
    host.ready.store(1, Ordering::Release);
    net.hosts.live.fetch_add(1, Ordering::Relaxed);
    net.epoch.fetch_add(1, Ordering::SeqCst);
    Ok(number)
}

/// Whether the arena is a private net's.
#[inline]
pub fn is_private(arena: &Arena) -> bool {
    arena.header().net.is_private.load(Ordering::Relaxed) == 1
}

/// The host that this process belongs to. It is the same for as long as the process lives.
pub fn ours(arena: &Arena) -> Option<u32> {
    static OURS: AtomicU32 = AtomicU32::new(0);
    match OURS.load(Ordering::Relaxed) {
        0 => {
            let name = &config::get().host;
            let known = by_name(arena, name).map(|(number, _)| number);
            let number = known.or_else(|| ensure(&arena.lock(), name, None).ok())?;
            OURS.store(number, Ordering::Relaxed);
            owner::be_on_host(arena, number);
            Some(number)
        }
        number => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hosts() {
        for good in ["a", "db-1", "db.example", "DB.", "n_1", &"x".repeat(63)] {
            assert!(words_of(good).is_some(), "{good}");
        }
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "ä", &"x".repeat(64)] {
            assert!(words_of(bad).is_none(), "{bad}");
        }
        assert_eq!(words_of("DB."), words_of("db"));
    }
}
