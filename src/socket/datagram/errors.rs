//! The errors that datagrams of a private net meet on their way, and the queue that a socket may have for them (IP_RECVERR of
//! ip(7), IPV6_RECVERR of ipv6(7)).

use libc::{IP_RECVERR, IPPROTO_IP, IPPROTO_IPV6, IPV6_RECVERR};

use super::raw;
use super::send::Mailbox;
use super::*;
use crate::net::packet::{Packet, Unreachable};
use crate::pcb::block::State;
use crate::pcb::extras::{self, Report};
use crate::socket::private::options as private_options;
use crate::sys::clock::realtime_ns;
use crate::transport::direction::{NEVER, late};

const SO_EE_ORIGIN_ICMP: u8 = 2;
const SO_EE_ORIGIN_ICMP6: u8 = 3;
/// Bytes of UDP's header.
const UDP_BYTES: usize = 8;

/// Tells a socket that the `message` about its `packet` comes at `due_ns`.
pub(super) fn report(sock: Sock, packet: &Packet, why: Unreachable, message: &Packet, due_ns: u64) {
    let pcb = sock.pcb;
    let is_v4 = packet.is_v4();
    let is_queued = are_queued(sock, is_v4);
    let (errno, is_hard) = why.errno(is_v4);
    let is_udp = !pcb.is_raw() && !pcb.is_ping();
    let to = match packet.bytes {
        [_, _, high, low, ..] if is_udp => Address::new(packet.to, u16::from_be_bytes([*high, *low])),
        _ => Address::new(packet.to, 0),
    };
    let is_connected = pcb.state() == State::Established;
    let remote = pcb.addresses().remote;
    let is_from_elsewhere = is_connected && (remote.ip() != to.ip() || (is_udp && remote.port != to.port));
    if is_from_elsewhere || !(is_queued || (is_hard && is_connected)) {
        return;
    }
    let now = now_ns();
    let has_come = due_ns <= now;
    if is_queued || !has_come {
        let (kind, code) = why.message(is_v4);
        // What the program has sent, as it has sent it.
        let sent = packet.bytes.get(if is_udp { UDP_BYTES } else { 0 }..).unwrap_or(&[]);
        let mut bytes = [0; extras::MOST_BYTES];
        bytes.iter_mut().zip(sent).for_each(|(to, &from)| *to = from);
        let report = Report {
            errno,
            origin: match is_v4 {
                _ if !is_queued => extras::UNASKED,
                true => SO_EE_ORIGIN_ICMP,
                false => SO_EE_ORIGIN_ICMP6,
            },
            kind,
            code,
            offender: Address::new(message.from, 0),
            to,
            due_ns,
            came_ns: realtime_ns().saturating_add(due_ns.saturating_sub(now)),
            hops: message.hops,
            class: message.class,
            bytes,
            n: sent.len().min(extras::MOST_BYTES),
        };
        extras::push(sock.arena, sock.me(), pcb, &report, now);
    }
    if has_come {
        pcb.so_error.store(errno as u32, Ordering::Release);
    }
    if let Some(mailbox) = Mailbox::of(sock.arena, sock.name()) {
        if !has_come {
            mailbox.ring.control.late.fetch_or(late::ERRORS, Ordering::SeqCst);
        }
        raw::wake(sock, sock.name(), &mailbox);
    }
}

/// Whether the socket has a queue for the errors of such datagrams.
pub(super) fn are_queued(sock: Sock, is_v4: bool) -> bool {
    let (level, name) = if is_v4 { (IPPROTO_IP, IP_RECVERR) } else { (IPPROTO_IPV6, IPV6_RECVERR) };
    private_options::is_on(sock.pcb, level, name)
}

/// Errors that have come by `now` are told from now on; when the next one comes, `NEVER` where none is under way.
pub fn land_errors(ep: &Endpoint, now: u64) -> u64 {
    if ep.rx.late() & late::ERRORS == 0 {
        return NEVER;
    }
    let (told, next) = extras::tell(ep.sock.arena, ep.sock.me(), ep.sock.pcb, now);
    if let Some(errno) = told {
        ep.sock.pcb.so_error.store(errno as u32, Ordering::Release);
    }
    next.unwrap_or_else(|| {
        ep.rx.control.late.fetch_and(!late::ERRORS, Ordering::SeqCst);
        NEVER
    })
}

/// Whether the queue has something to be told.
#[inline]
pub(super) fn any(sock: Sock) -> bool {
    extras::first_due(sock.arena, sock.pcb).is_some_and(|due| due <= now_ns())
}

/// The first error of a private net's socket (MSG_ERRQUEUE), with what its datagram said in `sink`: how much of that, and the
/// error.
///
/// # Errors
/// `EAGAIN` where there is none: nobody waits for one here. `EFAULT`.
pub fn receive_error(sock: Sock, sink: &Iov, flags: c_int) -> Result<(usize, Report), Errno> {
    let taken = extras::pop(sock.arena, sock.me(), sock.pcb, now_ns(), flags & MSG_PEEK != 0);
    let (report, next) = taken.ok_or(Errno::EAGAIN)?;
    // The next one is told by other calls as well, and where there is none nothing is (sock_dequeue_err_skb of Linux).
    sock.pcb.so_error.store(next.map_or(0, |next| next.errno as u32), Ordering::Release);
    let bytes = report.bytes.get(..report.n.min(sink.left())).unwrap_or(&[]);
    if sink.copy_from(bytes) { Ok((bytes.len(), report)) } else { Err(Errno::EFAULT) }
}

/// Calls `tell` with level, type and data of all that is told of an error: its time, what the socket has asked for, and what
/// it is (ip_recv_error and ipv6_recv_error of Linux).
pub fn each_of_error(sock: Sock, report: &Report, flags: c_int, mut tell: impl FnMut(c_int, c_int, &[u8])) {
    let header = Header { bytes: report.n as u32, port: 0, hops: report.hops, class: report.class, high: 0, low: 0 };
    let Address { high, low, .. } = report.offender;
    let more = More { to_high: high, to_low: low, came_ns: report.came_ns, ..More::default() };
    if sock.pcb.has(flag::ASKS) {
        told::each(sock, &header, Some(more), flags & MSG_PEEK != 0, &mut tell);
    }
    // struct sock_extended_err, and the address of who says it behind it.
    let mut bytes = [0u8; 16 + size_of::<libc::sockaddr_in6>()];
    let mut put = |at: usize, from: &[u8]| bytes.iter_mut().skip(at).zip(from).for_each(|(to, &from)| *to = from);
    put(0, &report.errno.to_ne_bytes());
    put(4, &[report.origin, report.kind, report.code]);
    let (level, kind, n) = match options::for_program(sock, report.offender).ip() {
        IpAddr::V4(ip) => {
            put(16, &(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
            put(20, &ip.octets());
            (IPPROTO_IP, IP_RECVERR, 16 + size_of::<libc::sockaddr_in>())
        }
        IpAddr::V6(ip) => {
            put(16, &(libc::AF_INET6 as libc::sa_family_t).to_ne_bytes());
            put(24, &ip.octets());
            (IPPROTO_IPV6, IPV6_RECVERR, bytes.len())
        }
    };
    tell(level, kind, bytes.get(..n).unwrap_or(&[]));
}
