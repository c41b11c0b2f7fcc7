//! What the kernel says of its sockets (proc(5), /proc/net/tcp, udp, unix): for directions on its path.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::pcb::{Address, Key};

/// Whether IPv6, then both ends; no address stands for any.
type Ends = (bool, [(Option<IpAddr>, u16); 2]);

/// One socket.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Entry {
    /// As ss(8) writes it.
    pub state: &'static str,
    /// Bytes received and not yet read.
    pub recv_q: u64,
    /// Bytes sent and not yet acknowledged.
    pub send_q: u64,
}

/// The sockets of this network namespace.
pub struct Sockets {
    tcp: HashMap<Ends, Entry>,
    udp: HashMap<Ends, Entry>,
    /// Names of AF_UNIX sockets, by inode.
    names: HashMap<u64, String>,
}

/// By their numbers in linux/tcp_states.h.
const STATES: [&str; 13] = [
    "",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "CLOSED",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
];

impl Sockets {
    pub fn read() -> Sockets {
        let table = |paths: [&str; 2]| {
            let mut sockets = HashMap::new();
            for (is_v6, path) in [(false, paths[0]), (true, paths[1])] {
                let text = fs::read_to_string(path).unwrap_or_default();
                sockets.extend(text.lines().skip(1).filter_map(|line| parse(is_v6, line)));
            }
            sockets
        };
        let text = fs::read("/proc/net/unix").unwrap_or_default();
        let names = String::from_utf8_lossy(&text).lines().skip(1).filter_map(parse_name).collect();
        Sockets { tcp: table(["/proc/net/tcp", "/proc/net/tcp6"]), udp: table(["/proc/net/udp", "/proc/net/udp6"]), names }
    }

    /// The TCP or UDP socket with these addresses.
    pub fn get(&self, is_udp: bool, is_v6: bool, key: &Key) -> Option<Entry> {
        let end = |a: Address| (Some(a.ip()).filter(|_| !a.is_any()), a.port);
        let table = if is_udp { &self.udp } else { &self.tcp };
        table.get(&(is_v6, [end(key.local), end(key.remote)])).copied()
    }

    /// What an AF_UNIX socket is bound to: a path, or an abstract name after an `@`.
    pub fn name(&self, inode: u64) -> Option<&str> {
        self.names.get(&inode).map(String::as_str)
    }
}

/// `Num RefCount Protocol Flags Type St Inode Path`, of those that have a path.
fn parse_name(line: &str) -> Option<(u64, String)> {
    let mut rest = line;
    let mut inode = None;
    for _ in 0..7 {
        let (field, after) = rest.trim_start().split_once(' ')?;
        inode = field.parse().ok();
        rest = after;
    }
    Some((inode?, rest.trim_start().to_owned()))
}

/// `sl: local remote state tx_queue:rx_queue …`
fn parse(is_v6: bool, line: &str) -> Option<(Ends, Entry)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let ends = [end(fields.next()?)?, end(fields.next()?)?];
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    let state = STATES.get(hex(fields.next()?)? as usize)?;
    let (send_q, recv_q) = fields.next()?.split_once(':')?;
    Some(((is_v6, ends), Entry { state, recv_q: hex(recv_q)?, send_q: hex(send_q)? }))
}

/// `0100007F:1F90`: the address in words of the machine's byte order, then the port.
fn end(text: &str) -> Option<(Option<IpAddr>, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let words = [word(0)?, word(8)?, word(16)?, word(24)?];
        let bytes: [u8; 16] = words.concat().try_into().ok()?;
        IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some((Some(ip).filter(|ip| !ip.is_unspecified()), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_net_tcp_is_read() {
        let line = "   1: 0100007F:18EB 0100007F:D431 01 00000002:00000010 00:00000000 00000000  1000 0 4711 1";
        let loopback = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(parse(false, line), Some(((false, [(loopback, 6379), (loopback, 54321)]), Entry { state: "ESTAB", recv_q: 16, send_q: 2 })));
    }

    #[test]
    fn a_line_of_proc_net_unix_is_read() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 19905427 /run/a socket";
        assert_eq!(parse_name(line), Some((19_905_427, "/run/a socket".to_owned())));
        assert_eq!(parse_name("0000000000000000: 00000003 00000000 00000000 0001 03 19905428"), None);
    }

    #[test]
    fn mapped_addresses_are_those_of_ipv4_and_any_is_none() {
        assert_eq!(end("0000000000000000FFFF00000100007F:0050"), Some((Some([127, 0, 0, 1].into()), 80)));
        assert_eq!(end("00000000000000000000000000000000:0050"), Some((None, 80)));
        assert_eq!(end("0000"), None);
    }
}
