//! Sockets of a private net: to the program they are of AF_INET or AF_INET6, beneath they are of AF_UNIX. Addresses and
//! ports are the PCB table's alone, and every connection is on the ring from its first byte.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::Ordering;
use libc::c_int;

use super::handle::Sock;
use super::{datagram, end, life};
use crate::net::xns::{AF_NS, SPP};
use crate::net::{dns, hosts};
use crate::pcb::block::{State, facade, flag};
use crate::pcb::circuit::End;
use crate::pcb::private::InUse;
use crate::pcb::{Address, Key, Pcb, private, reap, table};
use crate::shm::Arena;
use crate::shm::arena::TableLock;
use crate::sys::anchor::{self, Kind};
use crate::sys::errno::{Ret, preserved};
use crate::sys::unix_name::UnixName;
use crate::sys::{Errno, call, config};

mod connect;
mod handshake;
pub mod options;

/// Connections that an anchor takes, however few the program wants to wait: one that finds no room could not be told later
/// that there is some.
const LEAST_BACKLOG: c_int = 1024;

pub use connect::{accept, connect};
pub use handshake::{await_answer, before_close, go_on};

/// Whether sockets of this process belong to a private net.
#[inline]
pub fn is_here() -> bool {
    config::get().net.is_some()
}

/// A new socket of AF_INET or AF_INET6. What is neither a stream nor a datagram socket stays out of the net.
///
/// # Errors
/// `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`; `ENETDOWN` where the net cannot be had.
pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<Sock, Errno> {
    let flags = kind & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    if family == AF_NS {
        return socket_of_ns(kind & !flags, flags, protocol);
    }
    let (kind, protocol) = match (kind & !flags, protocol) {
        // MPTCP goes on as TCP where the other end does not speak it (RFC 8684, 3.7).
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP | libc::IPPROTO_MPTCP) => (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        (11.., _) | (_, ..0 | 256..) => return Err(Errno::EINVAL),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP) if family == libc::AF_INET => (kind & !flags, protocol),
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6) if family == libc::AF_INET6 => (kind & !flags, protocol),
        (libc::SOCK_RAW, protocol) if protocol != 0 => (libc::SOCK_RAW, protocol),
        (libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_RAW, _) => return Err(Errno(libc::EPROTONOSUPPORT)),
        _ => return Err(Errno(libc::ESOCKTNOSUPPORT)),
    };
    make((family, kind, protocol), flags)
}

/// A new socket of AF_NS: datagrams (IDP), and circuits of bytes or packets (SPP).
fn socket_of_ns(kind: c_int, flags: c_int, protocol: c_int) -> Result<Sock, Errno> {
    match (kind, protocol) {
        (libc::SOCK_STREAM | libc::SOCK_SEQPACKET, 0 | SPP) => make((AF_NS, kind, SPP), flags),
        (libc::SOCK_DGRAM, 0) => make((AF_NS, kind, 0), flags),
        (libc::SOCK_STREAM | libc::SOCK_SEQPACKET | libc::SOCK_DGRAM, _) => Err(Errno(libc::EPROTONOSUPPORT)),
        _ => Err(Errno(libc::ESOCKTNOSUPPORT)),
    }
}

fn make((family, kind, protocol): (c_int, c_int, c_int), flags: c_int) -> Result<Sock, Errno> {
    let fd = anchor::socket(if kind == libc::SOCK_RAW { libc::SOCK_DGRAM } else { kind } | flags)?;
    let made = life::create_private(fd, (family, kind, protocol), flags & libc::SOCK_NONBLOCK != 0).ok_or(Errno(libc::ENETDOWN));
    made.and_then(|sock| begin_special(sock).map(|()| sock)).inspect_err(|_| call::close(fd))
}

/// Raw sockets and those of ping may share their ports (`INET_PROTOSW_REUSE` of Linux). A raw socket receives from the
/// beginning; its port is its protocol.
fn begin_special(sock: Sock) -> Result<(), Errno> {
    if !sock.pcb.is_raw() && !sock.pcb.is_ping() {
        return Ok(());
    }
    let _ = call::set_int_option(sock.fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    sock.pcb.put_facade(facade::REUSEADDR, true);
    if !sock.pcb.is_raw() {
        return Ok(());
    }
    private::set_addresses(&lock(sock.arena), sock.index, Key { local: unbound(sock), remote: Address::default() });
    open_mailbox(sock).inspect_err(|_| reap::release(sock.arena, sock.name(), End::Clean))
}

/// The host that the socket belongs to.
pub fn host(sock: Sock) -> u32 {
    sock.pcb.host.load(Ordering::Relaxed)
}

fn secret(arena: &Arena) -> [u64; 2] {
    arena.header().doorbell.each_ref().map(|word| word.load(Ordering::Relaxed))
}

/// The name of the anchor of a socket that others connect or send to.
pub fn anchor_name(arena: &Arena, index: u32, generation: u32) -> UnixName {
    anchor::name(secret(arena), Kind::Socket, u64::from(index) << 32 | u64::from(generation))
}

/// Gives the anchor its name, once: others connect or send to it from now on.
fn name_anchor(sock: Sock) -> Result<(), Errno> {
    if !sock.pcb.shows(facade::NAMED) {
        anchor::bind(sock.fd, &anchor_name(sock.arena, sock.index, sock.name().generation))?;
        sock.pcb.put_facade(facade::NAMED, true);
    }
    Ok(())
}

/// The type of the anchor of a socket that is connected, or listens.
fn kind_of_anchor(sock: Sock) -> c_int {
    if sock.pcb.has(flag::PACKETS) { libc::SOCK_SEQPACKET } else { libc::SOCK_STREAM }
}

/// The table lock, waited for: without it nothing can be said of addresses.
fn lock(arena: &'static Arena) -> TableLock<'static> {
    arena.lock()
}

fn family_of(sock: Sock) -> c_int {
    sock.pcb.family_and_protocol().0
}

/// No particular address, as such a socket has it before it is bound.
fn any(sock: Sock) -> Address {
    Address::new(if sock.pcb.has(flag::INET6) { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }, 0)
}

/// The local address that a socket has which the program has not bound.
fn unbound(sock: Sock) -> Address {
    let port = if sock.pcb.is_raw() { sock.pcb.family_and_protocol().1 as u16 } else { 0 };
    Address { port, ..any(sock) }
}

/// Who is to be reached at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// A host of the net.
    Host(u32),
    /// An address of the net's that no host has.
    Nobody,
    Outside,
}

/// Who is to be reached at `ip` from `host`.
pub fn reach(arena: &Arena, host: u32, ip: IpAddr) -> Reach {
    if ip.is_loopback() || ip.is_unspecified() {
        return Reach::Host(host);
    }
    if let Some((number, _)) = hosts::by_address(arena, ip) {
        return Reach::Host(number);
    }
    let net = &arena.header().net;
    let is_inside = match ip {
        IpAddr::V4(v4) => v4.to_bits() >> 16 == net.prefix4.load(Ordering::Relaxed),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 == net.prefix6.load(Ordering::Relaxed),
    };
    if is_inside { Reach::Nobody } else { Reach::Outside }
}

/// Whether the socket is to leave the net in order to reach `to`: only where that is allowed, before anybody in the net
/// knows of it, and with nothing but TCP and UDP, which need no privilege.
pub fn may_leave(sock: Sock, to: Address) -> bool {
    sock.arena.header().net.outside.load(Ordering::Relaxed) == 1
        && reach(sock.arena, host(sock), to.ip()) == Reach::Outside
        && matches!(sock.pcb.state(), State::Closed)
        && !sock.pcb.shows(facade::BOUND)
        && !(sock.pcb.is_raw() || sock.pcb.is_ping() || is_ns(sock))
}

/// Makes the socket the kernel's, in the real network, with the options that the program has set. What its descriptor was
/// before has to be released.
///
/// # Errors
/// Those of socket(2).
pub fn leave(sock: Sock) -> Result<(), Errno> {
    let (family, _) = sock.pcb.family_and_protocol();
    let kind = if sock.pcb.has(flag::DATAGRAM) { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    let flags = if sock.pcb.has(flag::NONBLOCK) { libc::SOCK_NONBLOCK } else { 0 };
    anchor::replace(sock.fd, family, kind | flags)?;
    options::carry_over(sock);
    Ok(())
}

/// Whether what goes to `to` is a question about names that the net answers itself, where nobody of it listens there.
pub(super) fn is_question(arena: &Arena, to: Address) -> bool {
    to.port == dns::PORT && dns::is_resolver(arena, to.ip())
}

/// What a program is told that wants to go where nobody is; it is counted.
pub(super) fn unreachable(sock: Sock, reach: Reach) -> Errno {
    if let Some(host) = hosts::host(sock.arena, host(sock)) {
        host.refused.fetch_add(1, Ordering::Relaxed);
    }
    if reach == Reach::Outside {
        sock.arena.header().net.refused.fetch_add(1, Ordering::Relaxed);
        return Errno(libc::ENETUNREACH);
    }
    Errno(libc::EHOSTUNREACH)
}

/// The address that what goes from the socket to `to` comes from.
pub fn source(sock: Sock, local: Address, to: IpAddr) -> Option<Address> {
    let is_v4 = to.is_ipv4();
    if !local.is_any() {
        return (local.ip().is_ipv4() == is_v4).then_some(local);
    }
    let ip = match to {
        IpAddr::V4(v4) if v4.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_loopback() => v6.into(),
        to => {
            let host = hosts::host(sock.arena, host(sock))?;
            if to.is_ipv4() { IpAddr::V4(host.v4()) } else { IpAddr::V6(host.v6()) }
        }
    };
    Some(Address::new(ip, local.port))
}

/// What a socket can be bound to: any address, a loopback one, or one of its host's.
pub(super) fn is_local(sock: Sock, ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || hosts::host(sock.arena, host(sock)).is_some_and(|h| h.has(ip))
}

/// bind(2).
///
/// # Errors
/// `EINVAL` where it is bound already, `EADDRNOTAVAIL`, `EADDRINUSE`.
pub fn bind(sock: Sock, to: Address) -> Result<(), Errno> {
    let pcb = sock.pcb;
    if pcb.is_raw() {
        return bind_raw(sock, to);
    }
    let is_v4_for_v6 = pcb.has(flag::INET6) && to.ip().is_ipv4();
    if pcb.addresses().local.port != 0 || (is_v4_for_v6 && pcb.has(flag::V6ONLY)) {
        return Err(Errno::EINVAL);
    }
    if !is_local(sock, to.ip()) {
        return Err(Errno(libc::EADDRNOTAVAIL));
    }
    claim(sock, to.port, |lock| private::bind(lock, sock.index, to))?;
    pcb.put_facade(facade::BOUND, to.port != 0);
    open_mailbox(sock)
}

/// bind(2) of a raw socket: what it receives is sent to that address.
fn bind_raw(sock: Sock, to: Address) -> Result<(), Errno> {
    if sock.pcb.state() != State::Closed || to.ip().is_ipv4() == sock.pcb.has(flag::INET6) {
        return Err(Errno::EINVAL);
    }
    if !is_local(sock, to.ip()) {
        return Err(Errno(libc::EADDRNOTAVAIL));
    }
    let local = Address { port: unbound(sock).port, ..to };
    private::set_addresses(&lock(sock.arena), sock.index, Key { local, remote: Address::default() });
    sock.pcb.put_facade(facade::BOUND, true);
    Ok(())
}

/// A port of its own for a socket that has none.
///
/// # Errors
/// `EADDRNOTAVAIL` where there is none left.
pub(super) fn ensure_port(sock: Sock) -> Result<(), Errno> {
    if sock.pcb.addresses().local.port == 0 {
        let bound = private::bind(&lock(sock.arena), sock.index, any(sock));
        bound.map_err(|_| Errno(libc::EADDRNOTAVAIL))?;
        open_mailbox(sock)?;
    }
    Ok(())
}

/// A datagram socket that has a port receives by mailbox.
fn open_mailbox(sock: Sock) -> Result<(), Errno> {
    if !sock.pcb.has(flag::DATAGRAM) {
        return Ok(());
    }
    name_anchor(sock)?;
    datagram::mailbox(sock).map(|_| ()).ok_or(Errno(libc::ENOBUFS))
}

/// listen(2).
///
/// # Errors
/// `EOPNOTSUPP`, `EINVAL` where it is connected, `EADDRINUSE`.
pub fn listen(sock: Sock, backlog: c_int) -> Result<(), Errno> {
    let pcb = sock.pcb;
    if pcb.has(flag::DATAGRAM) {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if !matches!(pcb.state(), State::Closed | State::Listen) {
        return Err(Errno::EINVAL);
    }
    connect::renew(sock)?;
    ensure_port(sock)?;
    name_anchor(sock)?;
    pcb.backlog.store(backlog.max(0) as u32, Ordering::Relaxed);
    anchor::listen(sock.fd, backlog.max(LEAST_BACKLOG))?;
    claim(sock, pcb.addresses().local.port, |lock| private::listen(lock, sock.index))
}

/// Takes a port, from the dead if need be.
fn claim<T>(sock: Sock, port: u16, take: impl Fn(&TableLock) -> Result<T, InUse>) -> Result<T, Errno> {
    let taken = take(&lock(sock.arena));
    let taken = taken.or_else(|in_use| if private::release_dead(sock.arena, sock.index, port) { take(&lock(sock.arena)) } else { Err(in_use) });
    taken.map_err(|InUse| Errno(libc::EADDRINUSE))
}

/// connect(2) of a datagram socket; `None` dissolves (AF_UNSPEC).
pub fn connect_datagram(sock: Sock, to: Option<Address>) -> Result<(), Errno> {
    let pcb = sock.pcb;
    let Some(to) = to else {
        let key = pcb.addresses();
        // A port that the program has not chosen is given back.
        let local = if pcb.shows(facade::BOUND) { key.local } else { unbound(sock) };
        private::set_addresses(&lock(sock.arena), sock.index, Key { local, remote: Address::default() });
        pcb.set_state(State::Closed);
        return Ok(());
    };
    let to = meant(to);
    let reached = reach(sock.arena, host(sock), to.ip());
    // Whether an address of the net's is somebody's is not asked before something is sent.
    if reached == Reach::Outside && !is_question(sock.arena, to) {
        return Err(unreachable(sock, reached));
    }
    ensure_port(sock)?;
    let local = pcb.addresses().local;
    let local = source(sock, local, to.ip()).ok_or(Errno::EINVAL)?;
    private::set_addresses(&lock(sock.arena), sock.index, Key { local, remote: to });
    pcb.set_state(State::Established);
    Ok(())
}

/// Any address stands for the host itself (RFC 1122, 3.2.1.3, as Linux reads it).
pub(super) fn meant(to: Address) -> Address {
    let ip: IpAddr = match to.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Address::new(ip, to.port)
}

/// Whether an address of such a family can be the socket's, or be reached from it.
///
/// # Errors
/// `EAFNOSUPPORT`.
pub fn check_family(sock: Sock, family: c_int) -> Result<(), Errno> {
    if family == family_of(sock) { Ok(()) } else { Err(Errno(libc::EAFNOSUPPORT)) }
}

/// The socket's own address, or the one of its other end.
///
/// # Errors
/// `ENOTCONN`.
pub fn address(sock: Sock, remote: bool) -> Result<Address, Errno> {
    let key = sock.pcb.addresses();
    if !remote {
        return Ok(if key.local.port == 0 { any(sock) } else { key.local });
    }
    let is_connected = sock.pcb.state() == State::Established && key.remote.port != 0;
    if is_connected && !super::options::is_over(sock) { Ok(key.remote) } else { Err(Errno::ENOTCONN) }
}

/// Whether the socket is of Xerox NS.
pub fn is_ns(sock: Sock) -> bool {
    family_of(sock) == AF_NS
}

/// The socket's own host, where a program of NS names no particular one to be reached.
pub fn named_of_ns(sock: Sock, to: Address) -> Address {
    let own = hosts::host(sock.arena, host(sock)).filter(|_| to.is_any());
    own.map_or(to, |host| Address::new(host.v4().into(), to.port))
}

/// What a send on a stream without a connection is told.
#[cold]
pub fn send_unconnected(sock: Sock, flags: c_int) -> Ret {
    if sock.pcb.has(flag::PACKETS) {
        return Err(end::take_error(sock).unwrap_or(Errno::ENOTCONN));
    }
    Err(end::take_error(sock).unwrap_or_else(|| super::send::signalled(Errno::EPIPE, flags)))
}

/// What a receive on a stream without a connection is told.
#[cold]
pub fn receive_unconnected(sock: Sock, flags: c_int) -> Ret {
    if flags & libc::MSG_ERRQUEUE != 0 {
        return Err(Errno::EAGAIN);
    }
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::EINVAL);
    }
    Err(end::take_error(sock).unwrap_or(Errno::ENOTCONN))
}

/// shutdown(2) of a stream that has no connection.
pub fn shutdown_unconnected(sock: Sock, how: c_int) -> Ret {
    match sock.pcb.state() {
        _ if !(libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how) => Err(Errno::EINVAL),
        State::Listen if how == libc::SHUT_WR => Ok(0),
        State::Listen => {
            preserved(|| stop_listening(sock));
            Ok(0)
        }
        _ => Err(Errno::ENOTCONN),
    }
}

/// Nobody connects any more, what waits to be accepted is reset, and who waits in accept(2) is told.
fn stop_listening(sock: Sock) {
    {
        let lock = lock(sock.arena);
        sock.pcb.set_state(State::Closed);
        reap::release_waiting(&lock, sock.index);
        if !sock.pcb.shows(facade::BOUND) {
            // A port of the net's choice is given back.
            private::set_addresses(&lock, sock.index, Key { local: any(sock), remote: Address::default() });
        }
    }
    wake_acceptors(sock);
}

/// Wakes one who waits in accept(2), by a client that is none of the net's.
fn wake_acceptors(sock: Sock) {
    if let Ok(fd) = anchor::socket(kind_of_anchor(sock) | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
        let _ = anchor::connect(fd, &anchor_name(sock.arena, sock.index, sock.name().generation));
        call::close(fd);
    }
}
