//! How connections of a private net come about. Who connects makes both ends: its own, and that of who will accept, which
//! waits at the listening PCB. The anchors are connected last, and only wake and end.

use core::sync::atomic::Ordering;
use libc::c_int;

use super::*;
use crate::pcb::Pcb;
use crate::pcb::circuit::End;
use crate::pcb::reap::{self, Name};
use crate::pcb::tap;
use crate::socket::route::PATH_CHANGES;
use crate::socket::spin::{self, Peer};
use crate::socket::stats::{COUNTERS, add};
use crate::socket::{Endpoint, crowd};
use crate::sys::clock::now_ns;
use crate::sys::trace::trace;
use crate::transport::direction::Path;
use crate::transport::stream;

/// connect(2) of a stream; `None` dissolves the connection (AF_UNSPEC).
///
/// # Errors
/// `EINPROGRESS` where the socket does not wait, as on Linux; `ECONNREFUSED`, `EISCONN`, `ENETUNREACH`, `EHOSTUNREACH`,
/// `EADDRNOTAVAIL`, `ENOBUFS`, `EINTR`.
pub fn connect(sock: Sock, to: Option<Address>) -> Result<(), Errno> {
    let pcb = sock.pcb;
    let Some(to) = to else { return dissolve(sock) };
    if let Some(answer) = handshake::connect_again(sock) {
        return answer;
    }
    if let Some(error) = end::take_error(sock).filter(|_| pcb.shows(facade::CONNECTING)) {
        pcb.put_facade(facade::CONNECTING, false);
        return Err(error);
    }
    renew(sock)?;
    match pcb.state() {
        State::Established if pcb.shows(facade::CONNECTING) => {
            pcb.put_facade(facade::CONNECTING, false);
            return Ok(());
        }
        State::Closed => {}
        _ => return Err(Errno(libc::EISCONN)),
    }
    let to = meant(to);
    if let Some(asked) = handshake::ask(sock, to, 0) {
        return handshake::connect_late(sock, to, asked);
    }
    let made = establish(sock, to);
    if !sock.is_nonblocking(0) {
        return made;
    }
    match made {
        Err(Errno(libc::ECONNREFUSED)) => fail(sock, Errno(libc::ECONNREFUSED))?,
        Err(e) => return Err(e),
        Ok(()) => {}
    }
    pcb.put_facade(facade::CONNECTING, true);
    Err(Errno(libc::EINPROGRESS))
}

fn establish(sock: Sock, to: Address) -> Result<(), Errno> {
    let (arena, pcb) = (sock.arena, sock.pcb);
    if to.ip().is_ipv4() && pcb.has(flag::INET6) && pcb.has(flag::V6ONLY) {
        return Err(Errno(libc::ENETUNREACH));
    }
    let there = match reach(arena, host(sock), to.ip()) {
        Reach::Host(there) => there,
        // The net answers datagrams alone.
        _ if is_question(arena, to) => return Err(Errno(libc::ECONNREFUSED)),
        reached => return Err(unreachable(sock, reached)),
    };
    let here = crowd::place(1);
    let cookie = pcb.cookie.load(Ordering::Relaxed);
    let before = pcb.addresses().local;
    let (l, listener, waiting, key) = {
        let lock = lock(arena);
        let bound = if before.port == 0 { private::bind(&lock, sock.index, any(sock)).map_err(|_| Errno(libc::EADDRNOTAVAIL))? } else { before };
        let key = Key { local: source(sock, bound, to.ip()).ok_or(Errno(libc::ENETUNREACH))?, remote: to };
        if private::is_connected(arena, sock.index, (host(sock), pcb.space()), key) {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        let Some((listener, l)) = private::listener(arena, (there, pcb.space()), to, key.local) else {
            drop(lock);
            if tap::is_on(arena) {
                tap::refused(arena, key, [host(sock), there]);
            }
            return Err(Errno(libc::ECONNREFUSED));
        };
        private::set_addresses(&lock, sock.index, key);
        let (waiting, w) = private::make_waiting(&lock, (listener, l), cookie, key.reversed()).ok_or(Errno(libc::ENOBUFS))?;
        let waiting = Name::of(waiting, w);
        let is_begun = table::join(&lock, [sock.index, waiting.index]) && sock.endpoint().is_some_and(|ep| begin(&lock, &ep, here, l));
        (l, is_begun.then(|| anchor_name(arena, listener, Name::of(listener, l).generation)), waiting, key)
    };
    // Before the other end can see anything of it.
    if let Some(ep) = sock.endpoint().filter(|_| listener.is_some() && tap::is_on(arena)) {
        tap::connection(arena, ep.link, tap::Kind::Open);
    }
    let begun = listener.ok_or(Errno(libc::ENOBUFS)).and_then(|listener| knock(sock, cookie, &listener));
    l.places[1].store(here, Ordering::Relaxed);
    private::now_waits(l);
    if let Err(e) = begun {
        give_up(sock, waiting, before);
        return Err(e);
    }
    pcb.set(flag::ANCHOR_READY);
    pcb.set_state(State::Established);
    PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
    add(&COUNTERS.circuits, 1);
    trace(format_args!("fd {}: connected from {} to {to}", sock.fd, key.local));
    Ok(())
}

/// A connection that was refused is told by a circuit whose other end is gone, so that event loops find it like any other.
fn fail(sock: Sock, why: Errno) -> Result<(), Errno> {
    {
        let lock = lock(sock.arena);
        let joined = table::join_nobody(&lock, sock.index);
        let is_begun = joined && sock.endpoint().is_some_and(|ep| begin(&lock, &ep, 0, sock.pcb));
        is_begun.then_some(()).ok_or(Errno(libc::ENOBUFS))?;
    }
    sock.pcb.set(flag::BROKEN | flag::END_SEEN | flag::ANCHOR_READY);
    sock.pcb.so_error.store(why.0 as u32, Ordering::Release);
    sock.pcb.put_facade(facade::SPENT, true);
    PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// connect(2) with AF_UNSPEC: the other end finds the connection reset, and the socket is as it was when it was bound.
fn dissolve(sock: Sock) -> Result<(), Errno> {
    let pcb = sock.pcb;
    if pcb.state() == State::Listen {
        stop_listening(sock);
    }
    if sock.endpoint().is_some() {
        end::leave(sock);
        pcb.put_facade(facade::SPENT, true);
    }
    pcb.put_facade(facade::CONNECTING, false);
    renew(sock)?;
    pcb.so_error.store(libc::ECONNRESET as u32, Ordering::Release);
    Ok(())
}

/// Of a socket whose connection is over, and which is to have another: what is left of the first goes, and where its anchor
/// was connected it gets a new one.
pub(super) fn renew(sock: Sock) -> Result<(), Errno> {
    let pcb = sock.pcb;
    if !pcb.shows(facade::SPENT) {
        return Ok(());
    }
    let was_connected = pcb.addresses().remote.port != 0;
    reap::unlink(sock.arena, sock.name());
    pcb.clear(flag::BROKEN | flag::END_SEEN | flag::SHUT_RD | flag::SHUT_WR | flag::ANCHOR_READY | flag::NO_SPACE);
    pcb.so_error.store(0, Ordering::Release);
    let local = if pcb.shows(facade::BOUND) { pcb.addresses().local } else { any(sock) };
    private::set_addresses(&lock(sock.arena), sock.index, Key { local, remote: Address::default() });
    pcb.set_state(State::Closed);
    if was_connected {
        let flags = if pcb.has(flag::NONBLOCK) { libc::SOCK_NONBLOCK } else { 0 };
        anchor::replace(sock.fd, libc::AF_UNIX, kind_of_anchor(sock) | flags)?;
        let (cookie, inode) = (call::cookie(sock.fd)?, call::inode(sock.fd)?);
        private::renumber(&lock(sock.arena), sock.index, cookie);
        pcb.anchor_inode.store(inode, Ordering::Relaxed);
        pcb.put_facade(facade::NAMED, false);
    }
    pcb.put_facade(facade::SPENT, false);
    Ok(())
}

/// Both directions on the ring, from the first byte, before anybody else knows of them; the other end has last waited where
/// `other` has accepted. False where there is no room.
pub(super) fn begin(lock: &TableLock, ep: &Endpoint, here: u32, other: &Pcb) -> bool {
    let now = now_ns();
    for direction in [ep.tx, ep.rx] {
        if !stream::begin_locked(direction, lock, ep.link.circuit) {
            return false;
        }
        direction.reader.kernel_left.store(1, Ordering::Release);
        // Nobody sleeps who has not looked at the ring, and nobody dies so soon that it matters.
        direction.control.readable.clear();
        direction.writer.looked_ns.store(now, Ordering::Relaxed);
        direction.reader.looked_ns.store(now, Ordering::Relaxed);
        direction.change_path(Path::Kernel, Path::Ring);
    }
    ep.mark_place(here);
    ep.rx.produced.place.store(other.places[0].load(Ordering::Relaxed), Ordering::Relaxed);
    true
}

/// Connects the anchors.
pub(super) fn knock(sock: Sock, cookie: u64, listener: &UnixName) -> Result<(), Errno> {
    if !sock.pcb.shows(facade::NAMED) {
        anchor::bind(sock.fd, &anchor::name(secret(sock.arena), Kind::Client, cookie))?;
        sock.pcb.put_facade(facade::NAMED, true);
    }
    match anchor::connect(sock.fd, listener) {
        Ok(_) => Ok(()),
        // It has no room for another: a client is not told so at once, but in the end.
        Err(Errno::EAGAIN) => Err(Errno(libc::ETIMEDOUT)),
        Err(e) => Err(e),
    }
}

/// The connection does not come about.
fn give_up(sock: Sock, waiting: Name, before: Address) {
    reap::release(sock.arena, waiting, End::Reset);
    reap::unlink(sock.arena, sock.name());
    private::set_addresses(&lock(sock.arena), sock.index, Key { local: before, remote: Address::default() });
    sock.pcb.set_state(State::Closed);
}

/// accept4(2): the new socket.
///
/// # Errors
/// `EINVAL` where it does not listen, `EOPNOTSUPP` for datagrams, what accept4(2) of the anchor says.
pub fn accept(listener: Sock, flags: c_int) -> Result<Sock, Errno> {
    if listener.pcb.has(flag::DATAGRAM) {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if listener.pcb.state() != State::Listen {
        return Err(Errno::EINVAL);
    }
    loop {
        if !listener.is_nonblocking(0) {
            look_for_client(listener);
        }
        let (fd, from) = anchor::accept(listener.fd, flags)?;
        let made = preserved(|| take(listener, fd, &from, flags));
        match made {
            Some(sock) => {
                if let Some(ep) = sock.endpoint() {
                    preserved(|| handshake::await_acceptance(&ep));
                }
                return Ok(sock);
            }
            // Nobody of the net, or one who has given up meanwhile.
            None => call::close(fd),
        }
        if listener.pcb.state() != State::Listen {
            // Others may wait here as well.
            wake_acceptors(listener);
            return Err(Errno::EINVAL);
        }
    }
}

/// Looks for a while whether somebody connects: to be woken costs more than a connection does.
fn look_for_client(listener: Sock) {
    let here = crowd::place(1);
    let [mine, its] = &listener.pcb.places;
    mine.store(here, Ordering::Relaxed);
    spin::until(Peer::of(here, its.load(Ordering::Relaxed)), || listener.pcb.has_waiting() || listener.pcb.state() != State::Listen);
}

fn take(listener: Sock, fd: c_int, from: &UnixName, flags: c_int) -> Option<Sock> {
    let arena = listener.arena;
    let client = anchor::number(secret(arena), Kind::Client, from)?;
    let cookie = call::cookie(fd).ok()?;
    let inode = call::inode(fd).ok()?;
    let (index, pcb): (u32, &'static Pcb) = private::claim(&lock(arena), client, cookie)?;
    let sock = Sock { arena, index, pcb, fd };
    pcb.anchor_inode.store(inode, Ordering::Relaxed);
    pcb.owner.store(listener.me().slot(), Ordering::Relaxed);
    pcb.fd.store(fd as u32, Ordering::Relaxed);
    pcb.put(flag::NONBLOCK, flags & libc::SOCK_NONBLOCK != 0);
    pcb.clear(flag::SHARED);
    crate::socket::options::inherit(sock, listener);
    options::inherit(sock, listener);
    add(&COUNTERS.circuits, 1);
    if let Some(ep) = sock.endpoint().filter(|_| tap::is_on(arena)) {
        tap::connection(arena, ep.link, tap::Kind::Accepted);
    }
    Some(sock)
}
