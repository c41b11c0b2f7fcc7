//! What names mean in a private net: its hosts, by their names alone or followed by the net's, and `localhost`.
//! Nobody outside is asked.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::hosts::{self, Host, MOST_NAME_BYTES};
use crate::shm::Arena;
use crate::sys::config;

const LOOPBACK_NAME: &str = "localhost";
/// Names of the IPv6 loopback address alone, as Debian's /etc/hosts has them.
const LOOPBACK_V6_NAMES: [&str; 2] = ["ip6-localhost", "ip6-loopback"];

/// A name, in lower case.
#[derive(Clone, Copy)]
pub struct Name {
    bytes: [u8; 64],
    len: usize,
}

impl Name {
    fn of(name: &str) -> Name {
        let mut bytes = [0; 64];
        bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        Name { bytes, len: name.len().min(MOST_NAME_BYTES) }
    }

    /// What the arena has, as long as it is text.
    pub fn of_host(host: &Host) -> Option<Name> {
        let bytes = host.name_bytes();
        let len = bytes.iter().position(|&b| b == 0).filter(|&len| len > 0)?;
        bytes.get(..len)?.is_ascii().then_some(Name { bytes, len })
    }

    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or("")
    }
}

/// What has a name.
#[derive(Clone, Copy)]
pub struct Known {
    pub name: Name,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    is_loopback: bool,
}

impl Known {
    fn loopback(name: &str, v4: Option<Ipv4Addr>) -> Known {
        Known { name: Name::of(name), v4, v6: Some(Ipv6Addr::LOCALHOST), is_loopback: true }
    }

    fn host(host: &Host) -> Option<Known> {
        let v4 = Some(host.v4()).filter(|ip| !ip.is_unspecified());
        let v6 = Some(host.v6()).filter(|ip| !ip.is_unspecified());
        Some(Known { name: Name::of_host(host)?, v4, v6, is_loopback: false })
    }

    /// Its addresses, the preferred one first, by the table of RFC 6724 (2.1): ::1 (50) before IPv4 (35), and that before
    /// the unique local addresses of the net (3). The C library's own table is that of RFC 3484, which knows of none; the
    /// newer rule is the one that suits here, since most servers listen on IPv4, many on nothing else.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let (v4, v6) = (self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6));
        let order = if self.is_loopback { [v6, v4] } else { [v4, v6] };
        order.into_iter().flatten()
    }
}

/// `name` without `suffix` and the dot between them.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(suffix.len() + 1).filter(|_| !suffix.is_empty())?;
    let (front, back) = name.split_at_checked(at)?;
    let back = back.strip_prefix('.')?;
    (!front.is_empty() && back.eq_ignore_ascii_case(suffix)).then_some(front)
}

/// The name of this process's net.
pub fn net_name() -> &'static str {
    config::get().net.as_deref().unwrap_or("")
}

/// What `name` means in the net called `net`; case and a dot at the end do not matter.
pub fn find(arena: &Arena, net: &str, name: &str) -> Option<Known> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.ends_with('.') {
        return None;
    }
    let is_loopback = |name: &str| name.eq_ignore_ascii_case(LOOPBACK_NAME) || name.eq_ignore_ascii_case("localhost.localdomain");
    // All below `localhost` is the same (RFC 6761, 6.3).
    if is_loopback(name) || without_suffix(name, LOOPBACK_NAME).is_some() {
        return Some(Known::loopback(LOOPBACK_NAME, Some(Ipv4Addr::LOCALHOST)));
    }
    if let Some(known) = LOOPBACK_V6_NAMES.iter().find(|n| name.eq_ignore_ascii_case(n)) {
        return Some(Known::loopback(known, None));
    }
    let found = hosts::by_name(arena, name).or_else(|| hosts::by_name(arena, without_suffix(name, net)?));
    Known::host(found?.1)
}

/// What has the address.
pub fn find_address(arena: &Arena, ip: IpAddr) -> Option<Known> {
    let ip = ip.to_canonical();
    if ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST {
        return Some(Known::loopback(LOOPBACK_NAME, Some(Ipv4Addr::LOCALHOST)));
    }
    if ip.is_unspecified() {
        return None;
    }
    Known::host(hosts::by_address(arena, ip)?.1)
}

/// Whether names that the net does not know are the real network's to answer.
pub fn asks_outside(arena: &Arena) -> bool {
    arena.header().net.outside.load(core::sync::atomic::Ordering::Relaxed) != 0
}

/// Whether `name` is that of the net called `net`, or the end of a host's: it exists then, though it has no address (RFC 8020).
pub fn is_above_a_host(arena: &Arena, net: &str, name: &str) -> bool {
    let is_end = |name| hosts::all(arena).any(|(_, host)| Name::of_host(host).is_some_and(|full| without_suffix(full.as_str(), name).is_some()));
    name.eq_ignore_ascii_case(net) || is_end(name) || without_suffix(name, net).is_some_and(is_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::tests::blocks::private_arena;

    #[test]
    fn suffixes_are_whole_labels() {
        assert_eq!(without_suffix("db.test", "TEST"), Some("db"));
        assert_eq!(without_suffix("a.db.test", "test"), Some("a.db"));
        for (name, suffix) in [("dbtest", "test"), ("test", "test"), (".test", "test"), ("db.", ""), ("db", ""), ("ädb", "db")] {
            assert_eq!(without_suffix(name, suffix), None, "{name} {suffix}");
        }
    }

    #[test]
    fn hosts_are_found_by_each_of_their_names() {
        let (_one, arena) = private_arena();
        let number = hosts::ensure(&arena.lock(), "Web.example", Some("10.1.2.3".parse().unwrap())).unwrap();
        for name in ["web.example", "WEB.Example.", "web.example.Lab", "web.example.lab."] {
            let known = find(arena, "lab", name).unwrap();
            assert_eq!(known.name.as_str(), "web.example");
            assert_eq!(known.addresses().next(), Some("10.1.2.3".parse().unwrap()));
            assert_eq!(known.addresses().nth(1), hosts::host(arena, number).map(|h| IpAddr::V6(h.v6())));
        }
        for name in ["", ".", "web", "web.example..", "web.example.other", "lab", "web.example.lab.lab"] {
            assert!(find(arena, "lab", name).is_none(), "{name}");
        }
        for (name, exists) in [("Example", true), ("example.LAB", true), ("Lab", true), ("web.example", false), ("lab.example", false)] {
            assert_eq!(is_above_a_host(arena, "lab", name), exists, "{name}");
        }
        assert_eq!(find_address(arena, "::ffff:10.1.2.3".parse().unwrap()).unwrap().name.as_str(), "web.example");
        assert!(find_address(arena, "10.1.2.4".parse().unwrap()).is_none());
        assert!(find_address(arena, "::".parse().unwrap()).is_none());
    }

    #[test]
    fn localhost_is_every_host_s_own() {
        let (_one, arena) = private_arena();
        for name in ["localhost", "LOCALHOST.", "a.b.localhost", "localhost.localdomain"] {
            assert_eq!(find(arena, "", name).unwrap().addresses().next(), Some(Ipv6Addr::LOCALHOST.into()));
            assert_eq!(find(arena, "", name).unwrap().v4, Some(Ipv4Addr::LOCALHOST));
        }
        assert_eq!(find(arena, "", "ip6-localhost").unwrap().v4, None);
        assert!(find(arena, "", "mylocalhost").is_none());
        assert_eq!(find_address(arena, Ipv4Addr::LOCALHOST.into()).unwrap().name.as_str(), "localhost");
    }
}
