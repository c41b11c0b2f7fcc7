//! The name servers that /etc/resolv.conf names (resolv.conf(5)).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use once_cell::sync::OnceCell;

use super::call;
use super::errno::preserved;

/// The most that are kept; the C library itself takes three.
const MOST: usize = 8;
/// How much of the file is read.
const FILE_BYTES: usize = 4096;

struct Servers {
    list: [IpAddr; MOST],
    n: usize,
}

static SERVERS: OnceCell<Servers> = OnceCell::new();

/// The servers, as the file had them at the first call.
pub fn nameservers() -> &'static [IpAddr] {
    let servers = SERVERS.get_or_init(|| {
        let mut bytes = [0; FILE_BYTES];
        let n = preserved(|| call::read_file(b"/etc/resolv.conf\0", &mut bytes)).unwrap_or(0);
        parse(bytes.get(..n).unwrap_or(&[]))
    });
    servers.list.get(..servers.n).unwrap_or(&[])
}

fn parse(file: &[u8]) -> Servers {
    let mut servers = Servers { list: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MOST], n: 0 };
    for line in file.split(|&b| b == b'\n').filter_map(|line| core::str::from_utf8(line).ok()) {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A link-local address may name its interface.
        let Some(ip) = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok()) else { continue };
        // 0.0.0.0 and :: are this machine (resolv.conf(5) of BSD).
        let ip = match ip {
            ip if !ip.is_unspecified() => ip.to_canonical(),
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        if let Some(place) = servers.list.get_mut(servers.n) {
            *place = ip;
            servers.n += 1;
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_the_rest_passed_over() {
        let servers = parse(b"# nameserver 1.1.1.1\nsearch x\nnameserver 10.0.0.1\nnameserver\tfe80::1%eth0 # x\nnameserver bad\n nameserver ::ffff:1.2.3.4\nnameserver 0.0.0.0");
        let found = servers.list[..servers.n].iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found, ["10.0.0.1", "fe80::1", "1.2.3.4", "127.0.0.1"]);
        let many = parse("nameserver 10.0.0.1\n".repeat(20).as_bytes());
        assert_eq!(many.n, MOST);
    }
}
