//! Datagrams of a private net: whoever receives them is in the PCB table, and has a mailbox from the moment in which it has
//! a port. Nothing goes through the kernel but doorbells.

use super::send::{Known, put, receiver};
use super::*;
use crate::pcb::reap::Name;
use crate::pcb::tap;
use crate::socket::private::{self, Reach};

/// The number of the interface that has a host's address; loopback has 1.
pub const INTERFACE: u32 = 2;
/// The most bytes of a UDP datagram over IPv4; over IPv6 eight more.
const MOST_BYTES: usize = 65_507;

/// Who receives what `sock` sends to `to`.
#[cold]
pub(super) fn look_up(sock: Sock, key: Key, to: Address, epoch: u64) -> Known {
    let crosses = sock.pcb.has(flag::V6ONLY) && to.ip().is_ipv4();
    let from = if crosses { None } else { private::source(sock, key.local, to.ip()) };
    let there = match private::reach(sock.arena, private::host(sock), to.ip()) {
        Reach::Host(there) => Some(there),
        _ => None,
    };
    let found = from.zip(there).and_then(|(from, there)| table::datagram(sock.arena, (there, sock.pcb.space()), to, from));
    let target = found.filter(|(_, p)| p.link.load(Ordering::Acquire) != 0).map(|(index, p)| Name::of(index, p));
    let is_v4 = to.ip().is_ipv4();
    Known {
        sender: sock.name(),
        to,
        epoch,
        from: from.unwrap_or_default(),
        target,
        is_v4,
        is_to_from: from.is_some_and(|from| from.ip() == to.ip()),
        hops: if target.is_some() { marks::default_hops(sock, is_v4) } else { 0 },
        sent_at: 0,
    }
}

/// Sends the datagram in `source` to `to`, or to where the socket is connected.
///
/// # Errors
/// `EDESTADDRREQ`, `EPIPE`, `EMSGSIZE`, `ENETUNREACH`, `EHOSTUNREACH`; `EOPNOTSUPP` for a datagram in parts (MSG_MORE);
/// `ECONNREFUSED` that an earlier one has met.
pub(super) fn send(sock: Sock, source: &Iov, flags: c_int, to: Option<Address>, wishes: Wishes) -> Ret {
    let pcb = sock.pcb;
    let is_connected = to.is_none();
    private::ensure_port(sock)?;
    if pcb.is_raw() || pcb.is_ping() {
        return raw::send(sock, source, flags, to, wishes);
    }
    let Some(to) = to.map(private::meant).or_else(|| Some(pcb.addresses().remote).filter(|a| a.port != 0)) else {
        return Err(Errno(libc::EDESTADDRREQ));
    };
    if let Some(error) = end::take_error(sock) {
        return Err(error);
    }
    if pcb.has(flag::SHUT_WR) {
        return Err(Errno::EPIPE);
    }
    if flags & libc::MSG_MORE != 0 || (flags & libc::MSG_OOB != 0 && !pcb.has(flag::INET6)) {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let most = if to.ip().is_ipv4() { MOST_BYTES } else { MOST_BYTES + 8 };
    if source.left() > most {
        return Err(Errno(libc::EMSGSIZE));
    }
    let crosses = pcb.has(flag::V6ONLY) && to.ip().is_ipv4();
    if crosses || private::source(sock, pcb.addresses().local, to.ip()).is_none() {
        return Err(Errno(libc::ENETUNREACH));
    }
    if let Some(known) = receiver(sock, Some(to))
        && wishes.allow(sock, &known)
        && let Some(ret) = put(sock, source, known, wishes.marks, is_connected)
    {
        return ret;
    }
    if private::is_question(sock.arena, to) {
        return questions::answer(sock, source, to);
    }
    nobody_receives(sock, to, source, wishes)
}

/// What becomes of a datagram that nobody receives.
#[cold]
fn nobody_receives(sock: Sock, to: Address, source: &Iov, wishes: Wishes) -> Ret {
    let there = private::reach(sock.arena, private::host(sock), to.ip());
    match there {
        Reach::Nobody if !errors::are_queued(sock, to.ip().is_ipv4()) => Err(private::unreachable(sock, there)),
        Reach::Outside => Err(private::unreachable(sock, there)),
        _ if private::is_ns(sock) => {
            told_of_death(sock);
            Ok(source.left())
        }
        // The host answers that nobody is there (RFC 1122, 4.1.3.1).
        Reach::Nobody | Reach::Host(_) => {
            if let Some(from) = private::source(sock, sock.pcb.addresses().local, to.ip()) {
                if let Reach::Host(host) = there
                    && tap::is_on(sock.arena)
                {
                    let (protocol, hosts) = (libc::IPPROTO_UDP as u8, [private::host(sock), host]);
                    let datagram = tap::Datagram { protocol, from, to, hops: 0, class: 0, hosts, receiver: None };
                    datagram.tell(sock.arena, tap::Kind::Datagram, source);
                }
                raw::refuse_datagram(sock, source, there, (from, to), wishes);
            }
            Ok(source.left())
        }
    }
}

/// The one that a thread last sent to is gone: who is connected to it is told.
pub(super) fn told_of_death(sock: Sock) {
    if sock.pcb.addresses().remote.port != 0 {
        sock.pcb.so_error.store(libc::ECONNREFUSED as u32, Ordering::Release);
    }
}

/// Rings the doorbell of `target`.
pub(super) fn ring(sock: Sock, target: Name) {
    let name = private::anchor_name(sock.arena, target.index, target.generation);
    let _ = call::send_doorbell_to(sock.fd, doorbell(sock.arena), Some(&name));
}
