//! Questions to the kernel about sockets: the counters of a TCP socket we hold (TCP_INFO, tcp(7)), whether one is held
//! by anybody, and what an AF_UNIX socket is connected with (sock_diag(7)). And which
//! interface has an address (rtnetlink(7)).

use core::net::IpAddr;
use libc::{c_int, c_void};

use super::confined::is_confined;
use super::errno::check;
use super::real::real;

/// How far a TCP socket has come, in bytes of its streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpCounts {
    /// TCP_ESTABLISHED (1) and so on, of linux/tcp_states.h.
    pub state: u8,
    /// Written by the program, whether sent yet or not.
    pub written: u64,
    /// Received in order, whether read yet or not.
    pub received: u64,
}

/// `struct tcp_info` of linux/tcp.h as 64-bit words, up to `tcpi_bytes_retrans`.
const INFO_WORDS: usize = 27;
const BYTES_RECEIVED: usize = 16;
const NOTSENT: usize = 18;
const BYTES_SENT: usize = 25;
const BYTES_RETRANS: usize = 26;
/// States in which the other end's FIN, which the kernel counts as a byte, has come.
const STATES_AFTER_FIN: [u8; 4] = [6, 8, 9, 11];

/// The counters of `fd`; `None` where the kernel does not keep them.
pub fn tcp_counts(fd: c_int) -> Option<TcpCounts> {
    if is_confined() {
        return None;
    }
    let mut info = [0u64; INFO_WORDS];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes of integers.
    check(unsafe { (real().getsockopt)(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len) } as isize).ok()?;
    if (len as usize) < size_of_val(&info) {
        return None;
    }
    let state = info[0] as u8;
    let fin = u64::from(STATES_AFTER_FIN.contains(&state));
    Some(TcpCounts {
        state,
        written: info[BYTES_SENT].wrapping_sub(info[BYTES_RETRANS]).wrapping_add(info[NOTSENT] & 0xffff_ffff),
        received: info[BYTES_RECEIVED].saturating_sub(fin),
    })
}

impl TcpCounts {
    /// Whether the other end has closed or reset.
    pub fn has_ended(&self) -> bool {
        const TCP_CLOSE: u8 = 7;
        self.state == TCP_CLOSE || STATES_AFTER_FIN.contains(&self.state)
    }
}

/// How many bytes the program has read from `fd`.
pub fn tcp_bytes_read(fd: c_int) -> Option<u64> {
    for _ in 0..100 {
        let before = tcp_counts(fd)?;
        let waiting = super::call::ioctl_int(fd, libc::FIONREAD).ok()? as u64;
        if tcp_counts(fd)? == before {
            return before.received.checked_sub(waiting);
        }
    }
    None
}

const NETLINK_SOCK_DIAG: c_int = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;

/// `struct nlmsghdr` and `struct inet_diag_req_v2` (linux/inet_diag.h).
#[repr(C)]
struct Request {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    protocol: u8,
    ext: u8,
    pad: u8,
    states: u32,
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u8; 16],
    remote: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

impl Request {
    /// About every socket of a family and a protocol, in whatever state.
    fn new(flags: u16, family: c_int, protocol: c_int) -> Request {
        Request {
            length: size_of::<Request>() as u32,
            kind: SOCK_DIAG_BY_FAMILY,
            flags: NLM_F_REQUEST | flags,
            sequence: 1,
            port: 0,
            family: family as u8,
            protocol: protocol as u8,
            ext: 0,
            pad: 0,
            states: u32::MAX,
            local_port: [0; 2],
            remote_port: [0; 2],
            local: [0; 16],
            remote: [0; 16],
            interface: 0,
            cookie: [u32::MAX; 2],
        }
    }
}

/// One end of a TCP connection, in network byte order.
#[derive(Clone, Copy)]
pub struct End {
    pub ip: [u8; 16],
    pub port: u16,
}

/// Whether some process holds the TCP socket with these addresses, local and remote, and this SO_COOKIE; `None` where the
/// kernel cannot be asked. An IPv4 socket has its address in the last four bytes.
pub fn tcp_is_held(inet6: bool, [local, remote]: [End; 2], cookie: u64) -> Option<bool> {
    if is_confined() {
        return None;
    }
    let place = |end: End| {
        let mut out = end.ip;
        if !inet6 {
            out = [0; 16];
            out[..4].copy_from_slice(&end.ip[12..]);
        }
        out
    };
    let request = Request {
        local_port: local.port.to_be_bytes(),
        remote_port: remote.port.to_be_bytes(),
        local: place(local),
        remote: place(remote),
        cookie: [cookie as u32, (cookie >> 32) as u32],
        ..Request::new(0, if inet6 { libc::AF_INET6 } else { libc::AF_INET }, libc::IPPROTO_TCP)
    };
    let mut answer = [0u32; 256];
    let words = ask(&request, &mut answer)?;
    // The answer: nlmsghdr (4 words), then inet_diag_msg (state in byte 1, inode in its last word, 18 words)
    // or an error number.
    match answer[1] as u16 {
        SOCK_DIAG_BY_FAMILY if words >= 22 => Some(answer[21] != 0),
        NLMSG_ERROR if words >= 5 => is_none(answer[4]).then_some(false),
        _ => None,
    }
}

/// Whether an error says that there is no such socket.
fn is_none(error: u32) -> bool {
    matches!(-(error as i32), libc::ENOENT | libc::ESTALE)
}

/// A socket of netlink(7), for one question.
struct Diag(c_int);

impl Diag {
    fn ask<T>(request: &T) -> Option<Diag> {
        Self::ask_of(NETLINK_SOCK_DIAG, request)
    }

    fn ask_of<T>(protocol: c_int, request: &T) -> Option<Diag> {
        // SAFETY: a datagram of integers is sent on a socket of our own.
        unsafe {
            let fd = (real().socket)(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol);
            if fd < 0 {
                return None;
            }
            let socket = Diag(fd);
            let sent = (real().send)(fd, core::ptr::from_ref(request).cast::<c_void>(), size_of::<T>(), 0);
            (sent >= 0).then_some(socket)
        }
    }

    /// Receives an answer, or the next part of it; returns how many words that has.
    fn answer(&self, answer: &mut [u32]) -> Option<usize> {
        // SAFETY: a buffer of integers.
        let n = unsafe { (real().recv)(self.0, answer.as_mut_ptr().cast(), size_of_val(answer), 0) };
        Some(usize::try_from(n).ok()? / 4)
    }

    /// Calls `f` with each message of a kind, header and all, of an answer of many.
    fn each_part(&self, kind: u16, mut f: impl FnMut(&[u32])) -> Option<()> {
        const NLMSG_DONE: u16 = 3;
        let mut answer = [0u32; 4096];
        loop {
            let words = self.answer(&mut answer)?;
            let mut rest = answer.get(..words)?;
            while let [bytes, its, ..] = *rest {
                let part = rest.get(..(bytes as usize).div_ceil(4).max(4))?;
                match its as u16 {
                    NLMSG_DONE => return Some(()),
                    its if its == kind => f(part),
                    _ => return None,
                }
                rest = rest.get(part.len()..)?;
            }
        }
    }
}

impl Drop for Diag {
    fn drop(&mut self) {
        super::call::close(self.0);
    }
}

/// Sends a request to sock_diag(7) and receives the answer; returns how many words that has.
fn ask<T>(request: &T, answer: &mut [u32; 256]) -> Option<usize> {
    Diag::ask(request)?.answer(answer)
}

/// How many UDP sockets of all processes are bound to `port`, whatever their addresses; `None` where the kernel cannot be
/// asked.
pub fn udp_sockets_at(port: u16) -> Option<usize> {
    let mut found = 0;
    for family in [libc::AF_INET, libc::AF_INET6] {
        each_udp_socket_at(port, family, |_| found += 1)?;
    }
    Some(found)
}

/// Whether some process holds the UDP socket with a local port and an SO_COOKIE; `None` as above.
pub fn udp_is_held(inet6: bool, port: u16, cookie: u64) -> Option<bool> {
    let mut is_there = false;
    each_udp_socket_at(port, if inet6 { libc::AF_INET6 } else { libc::AF_INET }, |its| is_there |= its == cookie)?;
    Some(is_there)
}

/// Calls `f` with the cookie of each UDP socket of a family that is bound to `port`.
fn each_udp_socket_at(port: u16, family: c_int, mut f: impl FnMut(u64)) -> Option<()> {
    /// Of `struct inet_diag_msg`, behind the header's four words.
    const COOKIE: usize = 4 + 11;
    if is_confined() {
        return None;
    }
    let request = Request { local_port: port.to_be_bytes(), ..Request::new(NLM_F_DUMP, family, libc::IPPROTO_UDP) };
    Diag::ask(&request)?.each_part(SOCK_DIAG_BY_FAMILY, |part| {
        let half = |i: usize| part.get(i).map_or(0, |&word| u64::from(word));
        f(half(COOKIE) | half(COOKIE + 1) << 32);
    })
}

/// `struct nlmsghdr` and `struct ifaddrmsg` (linux/if_addr.h).
#[repr(C)]
struct AddressRequest {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    rest: [u8; 3],
    interface: u32,
}

/// The number of the interface that has an address; `None` where there is none, or the kernel cannot be asked.
pub fn interface_of(ip: IpAddr) -> Option<u32> {
    const RTM_NEWADDR: u16 = 20;
    const RTM_GETADDR: u16 = 22;
    /// Behind the header's four words: `ifaddrmsg`, whose last word is the interface, and the attributes.
    const INTERFACE: usize = 5;
    const ATTRIBUTES: usize = 6;
    const OWN: [u16; 2] = [libc::IFA_ADDRESS, libc::IFA_LOCAL];
    if is_confined() {
        return None;
    }
    let (family, words) = match ip {
        IpAddr::V4(v4) => (libc::AF_INET, [u32::from_ne_bytes(v4.octets()), 0, 0, 0]),
        IpAddr::V6(v6) => (libc::AF_INET6, core::array::from_fn(|i| u32::from_ne_bytes(core::array::from_fn(|b| v6.octets()[4 * i + b])))),
    };
    let address = if family == libc::AF_INET { &words[..1] } else { &words[..] };
    let request = AddressRequest {
        length: size_of::<AddressRequest>() as u32,
        kind: RTM_GETADDR,
        flags: NLM_F_REQUEST | NLM_F_DUMP,
        sequence: 1,
        port: 0,
        family: family as u8,
        rest: [0; 3],
        interface: 0,
    };
    let mut found = None;
    Diag::ask_of(libc::NETLINK_ROUTE, &request)?.each_part(RTM_NEWADDR, |part| {
        let mut attributes = part.get(ATTRIBUTES..).unwrap_or(&[]);
        while let [head, value @ ..] = attributes {
            let words = ((head & 0xffff) as usize).div_ceil(4).max(1);
            if OWN.contains(&((head >> 16) as u16)) && value.get(..words - 1) == Some(address) {
                found = part.get(INTERFACE).copied();
            }
            attributes = attributes.get(words..).unwrap_or(&[]);
        }
    })?;
    found
}

/// `struct nlmsghdr` and `struct unix_diag_req` (linux/unix_diag.h).
#[repr(C)]
struct UnixRequest {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    protocol: u8,
    pad: u16,
    states: u32,
    inode: u32,
    show: u32,
    cookie: [u32; 2],
}

/// What the kernel says of an AF_UNIX socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnixSocket {
    /// Nobody holds it.
    Gone,
    /// Somebody does; the inode of the socket it is connected with, 0 for none.
    Held { peer: u32 },
}

/// Asks about the AF_UNIX socket with an inode and SO_COOKIE; `None` where the kernel cannot be asked.
pub fn unix_socket(inode: u64, cookie: u64) -> Option<UnixSocket> {
    const SHOW_PEER: u32 = 4;
    const ATTRIBUTE_PEER: u16 = 2;
    if is_confined() {
        return None;
    }
    let request = UnixRequest {
        length: size_of::<UnixRequest>() as u32,
        kind: SOCK_DIAG_BY_FAMILY,
        flags: NLM_F_REQUEST,
        sequence: 1,
        port: 0,
        family: libc::AF_UNIX as u8,
        protocol: 0,
        pad: 0,
        states: u32::MAX,
        inode: inode as u32,
        show: SHOW_PEER,
        cookie: [cookie as u32, (cookie >> 32) as u32],
    };
    let mut answer = [0u32; 256];
    let words = ask(&request, &mut answer)?;
    // nlmsghdr, then unix_diag_msg (4 words), then attributes: length and type in a word, then the value.
    match answer[1] as u16 {
        SOCK_DIAG_BY_FAMILY if words >= 8 => {
            let mut at = 8;
            while let (Some(&head), Some(&value)) = (answer.get(at), answer.get(at + 1)) {
                let bytes = (head & 0xffff) as usize;
                if at + 2 > words || bytes < 4 {
                    break;
                }
                if (head >> 16) as u16 == ATTRIBUTE_PEER {
                    return Some(UnixSocket::Held { peer: value });
                }
                at += bytes.div_ceil(4);
            }
            Some(UnixSocket::Held { peer: 0 })
        }
        NLMSG_ERROR if words >= 5 => is_none(answer[4]).then_some(UnixSocket::Gone),
        _ => None,
    }
}
