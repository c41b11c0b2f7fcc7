//! Raw sockets and those of ping (raw(7), icmp(7)) of a private net. What arrives at a host goes to every raw socket there
//! that is of its protocol. There is no kernel of a host: who sends makes the answers of the other host itself (echoes, and
//! what cannot be delivered) and has them delivered at its own.

use core::sync::atomic::AtomicU16;

use super::errors;
use super::late::MOST_UNDER_WAY_BYTES;
use super::send::{Mailbox, is_alive, make_room};
use super::*;
use crate::net::links::Fate;
use crate::net::packet::{self, ICMP_BYTES, IPV4_BYTES, MESSAGE_BYTES, Packet, Unreachable};
use crate::pcb::block::{State, space_of};
use crate::pcb::reap::Name;
use crate::pcb::tap::{self, Event};
use crate::pcb::{extras, private as ports};
use crate::socket::private::{self, Reach, options as private_options};
use crate::transport::direction::late::DATAGRAMS as LATE_DATAGRAMS;
use crate::transport::iov::Parts;
use crate::transport::late::{Late, Post};
use crate::transport::record::Pushed;

/// The most bytes of a packet, its header included (RFC 791, 3.1).
const MOST_BYTES: usize = 0xffff;
/// Most packets are no larger.
const COMMON_BYTES: usize = 2048;

const SOL_RAW: c_int = 255;
const ICMP_FILTER: c_int = 1;

/// The number of the next packet that this process makes (RFC 791, 3.2).
static NEXT_ID: AtomicU16 = AtomicU16::new(1);

fn next_id() -> u16 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed).max(1)
}

/// Sends what is in `source` to `to`, or to where the socket is connected, as one packet.
///
/// # Errors
/// As of UDP; `EINVAL` for what ping's sockets do not send, or a header that is none.
pub(super) fn send(sock: Sock, source: &Iov, flags: c_int, to: Option<Address>, wishes: Wishes) -> Ret {
    let pcb = sock.pcb;
    let connected = || Some(pcb.addresses().remote).filter(|_| pcb.state() == State::Established);
    let Some(to) = to.map(private::meant).or_else(connected) else { return Err(Errno(libc::EDESTADDRREQ)) };
    if let Some(error) = end::take_error(sock) {
        return Err(error);
    }
    if pcb.has(flag::SHUT_WR) {
        return Err(crate::socket::send::signalled(Errno::EPIPE, flags));
    }
    if flags & (libc::MSG_OOB | libc::MSG_MORE) != 0 {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if to.ip().is_ipv4() == pcb.has(flag::INET6) {
        return Err(Errno::EINVAL);
    }
    let n = source.left();
    if n + if includes_header(sock) { 0 } else { IPV4_BYTES } > MOST_BYTES {
        return Err(Errno(libc::EMSGSIZE));
    }
    if n <= COMMON_BYTES { send_common(sock, source, to, wishes) } else { send_large(sock, source, to, wishes) }
}

#[inline(never)]
fn send_common(sock: Sock, source: &Iov, to: Address, wishes: Wishes) -> Ret {
    copy_and_send(sock, source, &mut [0; COMMON_BYTES], to, wishes)
}

#[inline(never)]
fn send_large(sock: Sock, source: &Iov, to: Address, wishes: Wishes) -> Ret {
    copy_and_send(sock, source, &mut [0; MOST_BYTES], to, wishes)
}

fn copy_and_send(sock: Sock, source: &Iov, room: &mut [u8], to: Address, wishes: Wishes) -> Ret {
    let n = source.left();
    let bytes = room.get_mut(..n).ok_or(Errno(libc::EMSGSIZE))?;
    source.copy_to(bytes)?;
    let there = private::reach(sock.arena, private::host(sock), to.ip());
    if there == Reach::Outside {
        return Err(private::unreachable(sock, there));
    }
    let local = sock.pcb.addresses().local;
    let from = match wishes.from().filter(|ip| !ip.is_unspecified()) {
        Some(ip) if private::is_local(sock, ip) => ip,
        Some(_) => return Err(Errno::EINVAL),
        None => private::source(sock, local, to.ip()).ok_or(Errno::EINVAL)?.ip(),
    };
    let is_v4 = to.ip().is_ipv4();
    let (hops, class) = marks::chosen(sock, is_v4, marks::default_hops(sock, is_v4), wishes.marks);
    let (_, protocol) = sock.pcb.family_and_protocol();
    let mut packet = Packet { from, to: to.ip(), protocol: protocol as u8, hops, class, id: next_id(), dont_fragment: true, bytes: &[] };
    let mut body = bytes;
    if includes_header(sock) {
        (packet, body) = of_program(packet, body)?;
    } else if sock.pcb.is_ping() {
        let wanted = if is_v4 { packet::ECHO } else { packet::ECHO6 };
        if body.len() < ICMP_BYTES || body.get(..2) != Some(&[wanted, 0]) {
            return Err(Errno::EINVAL);
        }
        packet::set_echo_id(body, local.port);
        packet::seal(body, from, packet.to);
    } else if protocol == libc::IPPROTO_ICMPV6 {
        packet::seal(body, from, packet.to);
    }
    trace(format_args!("fd {}: a packet of protocol {} from {} to {}", sock.fd, packet.protocol, packet.from, packet.to));
    travel(sock, there, packet, body);
    add(&COUNTERS.ring_tx_bytes, n as u64);
    add(&COUNTERS.ring_tx_messages, 1);
    SENT.set(SENT.get() + 1);
    Ok(n)
}

/// Whether the program makes the headers itself.
fn includes_header(sock: Sock) -> bool {
    let (family, protocol) = sock.pcb.family_and_protocol();
    let asked = || private_options::kept(sock.pcb, libc::IPPROTO_IP, libc::IP_HDRINCL).map_or(protocol == libc::IPPROTO_RAW, |value| value != 0);
    sock.pcb.is_raw() && family == libc::AF_INET && asked()
}

/// The packet that a program has written with its header, of which the kernel fills in what is missing (raw(7)). Options of
/// the header are left out.
fn of_program<'a>(made: Packet<'a>, bytes: &'a mut [u8]) -> Result<(Packet<'a>, &'a mut [u8]), Errno> {
    let first = *bytes.first().ok_or(Errno::EINVAL)?;
    let (header, body) = bytes.split_at_mut_checked(usize::from(first & 15) * 4).ok_or(Errno::EINVAL)?;
    let &mut [_, class, _, _, id0, id1, flags, _, hops, protocol, _, _, ref addresses @ ..] = header else { return Err(Errno::EINVAL) };
    let [from, to] = addresses.as_chunks::<4>().0.first_chunk().ok_or(Errno::EINVAL)?.map(core::net::Ipv4Addr::from);
    let id = match u16::from_be_bytes([id0, id1]) {
        0 => made.id,
        id => id,
    };
    let from = if from.is_unspecified() { made.from } else { from.into() };
    Ok((Packet { from, to: to.into(), protocol, hops, class, id, dont_fragment: flags & 0x40 != 0, bytes: &[] }, body))
}

/// When a packet arrives, in nanoseconds of `now_ns`: once, twice, or not at all; and which bit of it is wrong then.
#[derive(Clone, Copy)]
struct Arrivals {
    due_ns: [Option<u64>; 2],
    wrong_bit: Option<u64>,
}

impl Arrivals {
    fn each(self) -> impl Iterator<Item = Late> {
        let Arrivals { due_ns, wrong_bit } = self;
        due_ns.into_iter().flatten().map(move |due_ns| Late { due_ns, wrong_bit })
    }
}

/// What becomes of a packet that leaves one host for another at `leaves_ns`. The only place where the link between them is
/// asked. Captures are told, but of what UDP sockets send, of which others tell them; `maker` is the program that has made the
/// packet, if a host has not.
fn arrivals(sock: Sock, [from, to]: [u32; 2], packet: &Packet, leaves_ns: u64, maker: Option<&Pcb>) -> Arrivals {
    let now = now_ns();
    let bytes = packet.header().1 + packet.bytes.len();
    // The link is asked as of now: what it carries at a later moment it does not know yet.
    let late = |due_ns: u64| leaves_ns.saturating_add(due_ns.saturating_sub(now));
    let (due_ns, wrong_bit) = match links::datagram_verdict(sock.arena, from, to, bytes as u64, now) {
        None => ([Some(leaves_ns), None], None),
        Some(Fate::Lost) => ([None; 2], None),
        Some(Fate::Comes { due_ns, copy_due_ns, wrong_bit }) => ([Some(late(due_ns)), copy_due_ns.map(late)], wrong_bit),
    };
    if tap::is_on(sock.arena) && (maker.is_none() || sock.pcb.is_raw() || sock.pcb.is_ping()) {
        tell(sock.arena, [from, to], packet, due_ns[0], maker);
    }
    Arrivals { due_ns, wrong_bit }
}

/// Tells captures of a packet, and when it arrives; `None` where it is lost.
#[cold]
fn tell(arena: &Arena, [from_host, to_host]: [u32; 2], packet: &Packet, due: Option<u64>, maker: Option<&Pcb>) {
    // Of UDP the ports are told, and the data alone.
    let (ports, bytes) = match packet.bytes {
        [s0, s1, d0, d1, _, _, _, _, data @ ..] if i32::from(packet.protocol) == libc::IPPROTO_UDP => ([[*s0, *s1], [*d0, *d1]], data),
        bytes => ([[0; 2]; 2], bytes),
    };
    let [from, to] = ports.map(u16::from_be_bytes);
    let is_refusal = packet.protocol == packet::protocol_of(packet.is_v4()) && packet::is_unreachable(bytes, packet.is_v4());
    let kind = if is_refusal { tap::Kind::Unreachable } else { tap::Kind::Datagram };
    let event = Event::now(kind, packet.protocol, Address::new(packet.from, from), Address::new(packet.to, to));
    let (pid, program) = if maker.is_some() { (event.pid, event.program) } else { (0, [0; 16]) };
    let late_ns = due.unwrap_or(0).saturating_sub(now_ns());
    let until_ns = if late_ns == 0 { 0 } else { event.at_ns.saturating_add(late_ns) };
    let fate = if due.is_none() { tap::Fate::Lost } else { tap::Fate::Arrives };
    let (hops, class) = (packet.hops, packet.class);
    Event { fate, until_ns, hops, class, from_host, to_host, pid, program, ..event }.tell_with(arena, &Parts::new(bytes, &[]).iov());
}

/// Carries a packet to its host, and what that answers to where it came from. `body` are the bytes of the packet.
fn travel(sock: Sock, there: Reach, packet: Packet, body: &mut [u8]) {
    let (here, now) = (private::host(sock), now_ns());
    let Reach::Host(there) = there else {
        // Nobody answers who asks for that address on the link: the host tells itself so.
        return refuse(sock, here, &Packet { bytes: body, ..packet }, Unreachable::Host, now);
    };
    let sent = Packet { bytes: body, ..packet };
    let arrivals_there = arrivals(sock, [here, there], &sent, now, Some(sock.pcb));
    let taken = arrivals_there.each().filter(|&late| deliver(sock, there, &sent, late)).count() > 0;
    let is_icmp = packet.protocol == packet::protocol_of(packet.is_v4());
    if is_icmp && arrivals_there.wrong_bit.is_some() {
        // Its checksum is wrong.
        return;
    }
    if is_icmp && packet::is_echo(body, packet.is_v4()) {
        packet::answer_echo(body, packet.to, packet.from);
        let answer = Packet { from: packet.to, to: packet.from, hops: packet::HOPS, id: next_id(), dont_fragment: false, bytes: body, ..packet };
        let Reach::Host(back) = private::reach(sock.arena, there, answer.to) else { return };
        for asked in arrivals_there.each() {
            for late in arrivals(sock, [there, back], &answer, asked.due_ns, None).each() {
                deliver(sock, back, &answer, late);
            }
        }
    } else if !is_icmp
        && !taken
        && let Some(late) = arrivals_there.each().next()
    {
        refuse(sock, there, &Packet { bytes: body, ..packet }, Unreachable::Protocol, late.due_ns);
    }
}

/// What host `by` answers at a moment where a packet of the socket's does not get on: a message that every raw socket of the
/// sender's host receives, and an error for the socket.
pub(super) fn refuse(sock: Sock, by: u32, packet: &Packet, why: Unreachable, at_ns: u64) {
    let here = private::host(sock);
    let from = match crate::net::hosts::host(sock.arena, by) {
        _ if packet.to.is_loopback() => packet.to,
        Some(host) if packet.is_v4() => host.v4().into(),
        Some(host) => host.v6().into(),
        None => return,
    };
    let mut room = [0; MESSAGE_BYTES];
    let message = Packet { id: next_id(), ..packet.refused(why, from, &mut room) };
    let arrivals = arrivals(sock, [by, here], &message, at_ns, None);
    arrivals.each().for_each(|late| {
        deliver(sock, here, &message, late);
    });
    if let Some(late) = arrivals.each().next().filter(|late| late.wrong_bit.is_none()) {
        errors::report(sock, packet, why, &message, late.due_ns);
    }
}

/// Puts a packet that arrives at `host` into the mailboxes there that it is for; whether there was a raw socket for it.
fn deliver(sock: Sock, host: u32, packet: &Packet, late: Late) -> bool {
    let protocol = packet.protocol;
    let mut taken = false;
    for (index, p) in ports::sockets_of(sock.arena, (host, space_of(protocol, true)), protocol.into()) {
        if wants(sock.arena, p, packet) {
            give(sock, Name::of(index, p), packet, packet.is_v4(), late);
            taken = true;
        }
    }
    let answers = if packet.is_v4() { packet::ECHO_REPLY } else { packet::ECHO_REPLY6 };
    if protocol == packet::protocol_of(packet.is_v4())
        && late.wrong_bit.is_none()
        && packet.bytes.first() == Some(&answers)
        && let Some(id) = packet::echo_id(packet.bytes)
        && let Some((index, p)) = ports::sockets_of(sock.arena, (host, space_of(protocol, false)), id).find(|(_, p)| is_for(p, packet))
    {
        give(sock, Name::of(index, p), packet, false, late);
    }
    taken
}

/// Whether a packet is for a socket, by family and local address.
fn is_for(p: &Pcb, packet: &Packet) -> bool {
    let local = p.addresses().local;
    p.has(flag::INET6) != packet.is_v4() && (local.is_any() || local.ip() == packet.to)
}

/// Whether a raw socket shall have a packet.
fn wants(arena: &Arena, p: &Pcb, packet: &Packet) -> bool {
    if !is_for(p, packet) || (p.state() == State::Established && p.addresses().remote.ip() != packet.from) {
        return false;
    }
    let kind = packet.bytes.first().copied().unwrap_or(0);
    let is_filtered = match c_int::from(packet.protocol) {
        libc::IPPROTO_ICMP => {
            let filter = private_options::kept(p, SOL_RAW, ICMP_FILTER).unwrap_or(0) as u32;
            kind < 32 && filter >> kind & 1 != 0
        }
        libc::IPPROTO_ICMPV6 => extras::filter(arena, p).get(usize::from(kind / 32)).is_some_and(|word| word >> (kind % 32) & 1 != 0),
        _ => false,
    };
    !is_filtered
}

/// Puts a packet into a mailbox, or on its way there.
fn give(sock: Sock, target: Name, packet: &Packet, with_header: bool, late: Late) {
    let Some(mailbox) = Mailbox::of(sock.arena, target).filter(|mailbox| is_alive(sock, target, mailbox)) else { return };
    let (header, whole_header_bytes) = packet.header();
    let header_bytes = if with_header { whole_header_bytes } else { 0 };
    let parts = Parts::new(header.get(..header_bytes).unwrap_or(&[]), packet.bytes);
    let source = parts.iov();
    let from = Address::new(packet.from, 0);
    let header = Header { bytes: source.left() as u32, port: 0, hops: packet.hops, class: packet.class, high: from.high, low: from.low };
    let more = told::more(mailbox.pcb, mailbox.ring, Address::new(packet.to, 0));
    let (arena, me) = (sock.arena, sock.me());
    let is_open = || mailbox.is_open();
    let pushed = if late.wrong_bit.is_some() || late.due_ns > now_ns() || mailbox.ring.late() & LATE_DATAGRAMS != 0 {
        // The header is as it was, or nobody would receive it.
        let bits = 8 * packet.bytes.len().max(1) as u64;
        let late = Late { wrong_bit: late.wrong_bit.map(|bit| 8 * header_bytes as u64 + bit % bits), ..late };
        let post = Post { arena, mailbox: mailbox.ring, under_way: mailbox.under_way, circuit: mailbox.link.circuit };
        post.send(me, (header, Some(&more)), &source, late, MOST_UNDER_WAY_BYTES, is_open)
    } else {
        let push = || record::push_with(mailbox.ring, arena, me, (header, Some(&more)), &source, mailbox.queue_bytes(), is_open);
        match push() {
            // Where it is full nobody is waited for.
            Ok(Pushed::NoRoom) => make_room(sock, target, &mailbox, record::record_bytes(source.left() as u64, true), push),
            pushed => pushed,
        }
    };
    if !matches!(pushed, Ok(Pushed::Done(_))) {
        mailbox.ring.writer.fulls.fetch_add(1, Ordering::Relaxed);
        add(&COUNTERS.drops, 1);
        return;
    }
    wake(sock, target, &mailbox);
}

/// Wakes who waits for a socket.
pub(super) fn wake(sock: Sock, target: Name, mailbox: &Mailbox) {
    if mailbox.wants_doorbell(sock.arena) {
        stats::rang(sock.arena);
        preserved(|| super::private::ring(sock, target));
    }
}

/// A datagram of UDP finds nobody: the host that it goes to answers so, or where there is none the socket's own does.
#[cold]
pub(super) fn refuse_datagram(sock: Sock, source: &Iov, there: Reach, (from, to): (Address, Address), wishes: Wishes) {
    const HEADER_BYTES: usize = 8;
    let is_v4 = to.ip().is_ipv4();
    let mut room = [0; MESSAGE_BYTES];
    let n = source.left().min(MESSAGE_BYTES - HEADER_BYTES);
    let Some(bytes) = room.get_mut(..HEADER_BYTES + n) else { return };
    let (header, body) = bytes.split_at_mut(HEADER_BYTES);
    if source.beginning(n).copy_to(body).is_err() {
        return;
    }
    // Without a checksum, as UDP may be (RFC 768).
    let length = (HEADER_BYTES + source.left()) as u16;
    let words = [from.port, to.port, length, 0];
    header.as_chunks_mut::<2>().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_be_bytes());
    let (hops, class) = marks::chosen(sock, is_v4, marks::default_hops(sock, is_v4), wishes.marks);
    let protocol = libc::IPPROTO_UDP as u8;
    let packet = Packet { from: from.ip(), to: to.ip(), protocol, hops, class, id: next_id(), dont_fragment: true, bytes };
    let (here, now) = (private::host(sock), now_ns());
    let Reach::Host(there) = there else { return refuse(sock, here, &packet, Unreachable::Host, now) };
    let Some(late) = arrivals(sock, [here, there], &packet, now, Some(sock.pcb)).each().next().filter(|late| late.wrong_bit.is_none()) else {
        return;
    };
    refuse(sock, there, &packet, Unreachable::Port, late.due_ns);
}
