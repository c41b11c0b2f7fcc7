//! From socket(2) to the joined connection.

use core::sync::atomic::{AtomicU64, Ordering};
use libc::c_int;

use super::handle::Sock;
use super::{datagram, end, options, route};
use crate::net::{host, hosts};
use crate::pcb::block::{State, facade, flag};
use crate::pcb::circuit::End;
use crate::pcb::reap::{self, Name};
use crate::pcb::{Address, Key, table};
use crate::shm::owner::Me;
use crate::shm::{Arena, arena, owner};
use crate::sys::clock::now_ns;
use crate::sys::trace::trace;
use crate::sys::{Errno, call, config};

/// When the dead were last looked for.
static SWEPT_NS: AtomicU64 = AtomicU64::new(0);
const SWEEP_EVERY_NS: u64 = 100_000_000;

/// The calling process as a member of the arena. The first time, and now and then, it also buries the dead.
fn member() -> Option<(&'static Arena, Me)> {
    let arena = arena()?;
    let is_private = hosts::is_private(arena);
    if is_private {
        // It is noted where this process is, before it is known to others.
        hosts::ours(arena);
    }
    // A private net has no other way.
    let me = if is_private { Me::wait(arena) } else { Me::get(arena) }?;
    let (now, before) = (now_ns(), SWEPT_NS.load(Ordering::Relaxed));
    let is_due = now - before > SWEEP_EVERY_NS && SWEPT_NS.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if is_due && (before == 0 || (1..owner::high(arena)).any(|slot| owner::is_abandoned(arena, slot))) {
        reap::sweep(arena, false);
    }
    Some((arena, me))
}

/// The kinds of socket that are ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Over INET, INET6 and UNIX.
    Stream,
    /// Over UNIX: SOCK_SEQPACKET.
    Packets,
    /// Over INET and INET6: UDP; and over UNIX.
    Datagram,
}

/// What a socket made with such arguments is to us, if it is ours.
pub fn kind(family: c_int, kind: c_int, protocol: c_int) -> Option<Kind> {
    match (family, kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), protocol) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) | (libc::AF_UNIX, libc::SOCK_STREAM, _) => Some(Kind::Stream),
        (libc::AF_UNIX, libc::SOCK_SEQPACKET, _) => Some(Kind::Packets),
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) | (libc::AF_UNIX, libc::SOCK_DGRAM, _) => Some(Kind::Datagram),
        _ => None,
    }
}

/// A PCB for a new socket of a kind that is ours; `None` where it stays with the kernel.
pub fn create(fd: c_int, family: c_int, kind: Kind, nonblocking: bool) -> Option<Sock> {
    if config::leaves_to_kernel() {
        return None;
    }
    let (arena, me) = member()?;
    let cookie = call::cookie(fd).ok()?;
    let inode = if family == libc::AF_UNIX { Some(call::inode(fd).ok()?) } else { None };
    let lock = arena.try_lock()?;
    let (index, pcb) = table::allocate(&lock, cookie, me.slot())?;
    pcb.fd.store(fd as u32, Ordering::Relaxed);
    pcb.put(flag::NONBLOCK, nonblocking);
    pcb.put(flag::INET6, family == libc::AF_INET6);
    pcb.put(flag::DATAGRAM, kind == Kind::Datagram);
    pcb.put(flag::PACKETS, kind == Kind::Packets);
    if let Some(inode) = inode {
        pcb.set(if kind == Kind::Datagram { flag::LOCAL } else { flag::UNIX });
        table::bind_inode(&lock, index, inode);
    }
    Some(Sock { arena, index, pcb, fd })
}

/// A PCB for a new socket of a private net, of such a family, kind and protocol, with its anchor `fd`.
pub fn create_private(fd: c_int, (family, kind, protocol): (c_int, c_int, c_int), nonblocking: bool) -> Option<Sock> {
    let (arena, me) = member()?;
    let host = hosts::ours(arena).filter(|_| hosts::is_private(arena))?;
    let (cookie, inode) = (call::cookie(fd).ok()?, call::inode(fd).ok()?);
    // There is no other way to have the socket.
    let lock = arena.lock();
    let (index, pcb) = table::allocate(&lock, cookie, me.slot())?;
    pcb.fd.store(fd as u32, Ordering::Relaxed);
    pcb.host.store(host, Ordering::Relaxed);
    let raw = if kind == libc::SOCK_RAW { facade::RAW } else { 0 };
    pcb.facade.store(family as u32 | (protocol as u32) << 8 | raw, Ordering::Relaxed);
    pcb.anchor_inode.store(inode, Ordering::Relaxed);
    pcb.put(flag::NONBLOCK, nonblocking);
    pcb.put(flag::INET6, family == libc::AF_INET6);
    pcb.set(match kind {
        libc::SOCK_DGRAM | libc::SOCK_RAW => flag::DATAGRAM,
        libc::SOCK_SEQPACKET => flag::UNIX | flag::PACKETS,
        _ => flag::UNIX,
    });
    Some(Sock { arena, index, pcb, fd })
}

/// Both ends of socketpair(2).
pub fn pair(fds: [c_int; 2], kind: Kind, nonblocking: bool) -> Option<[Sock; 2]> {
    let first = create(fds[0], libc::AF_UNIX, kind, nonblocking)?;
    let Some(second) = create(fds[1], libc::AF_UNIX, kind, nonblocking) else {
        reap::release(first.arena, first.name(), End::Clean);
        return None;
    };
    if kind != Kind::Datagram {
        host::join_pair(first.arena, [first.index, second.index]);
    }
    Some([first, second])
}

/// The PCB of a socket that somebody else made: by its cookie, or a new one where it never had any.
pub fn adopt(fd: c_int) -> Option<Sock> {
    let option = |name| call::int_option(fd, libc::SOL_SOCKET, name).ok();
    let family = option(libc::SO_DOMAIN)?;
    let kind = kind(family, option(libc::SO_TYPE)?, option(libc::SO_PROTOCOL)?)?;
    let cookie = call::cookie(fd).ok()?;
    let nonblocking = call::file_flags(fd).ok()? & libc::O_NONBLOCK != 0;
    let (arena, me) = member()?;
    if let Some((index, pcb)) = table::by_cookie(arena, cookie) {
        // It came from another process, which may hold it still.
        pcb.set(flag::SHARED);
        pcb.owner.store(me.slot(), Ordering::Relaxed);
        pcb.fd.store(fd as u32, Ordering::Relaxed);
        trace(format_args!("fd {fd}: adopted"));
        return Some(Sock { arena, index, pcb, fd });
    }
    let sock = create(fd, family, kind, nonblocking)?;
    sock.pcb.set(flag::SHARED);
    options::learn(sock);
    if kind == Kind::Datagram {
        datagram::named(sock);
        return Some(sock);
    }
    if option(libc::SO_ACCEPTCONN)? != 0 {
        listening(sock, 0);
    } else if family == libc::AF_UNIX {
        sock.pcb.set(flag::ACCEPTED);
        sock.pcb.set_state(State::Established);
    } else if options::name(fd, true).is_some() {
        publish(sock, None, State::Established);
    }
    Some(sock)
}

/// After listen(2).
pub fn listening(sock: Sock, backlog: c_int) {
    sock.pcb.backlog.store(backlog.max(0) as u32, Ordering::Relaxed);
    if sock.pcb.has(flag::UNIX) {
        return sock.pcb.set_state(State::Listen);
    }
    if let (Some(local), Some(lock)) = (options::name(sock.fd, false), sock.arena.try_lock()) {
        table::bind_listener(&lock, sock.index, local);
    }
}

/// After accept(2) gave `fd`, with the socket it listened on if that is known.
pub fn accepted(fd: c_int, listener: Option<Sock>, family: c_int, nonblocking: bool) -> Option<Sock> {
    let kind = match listener {
        Some(l) if l.pcb.has(flag::PACKETS) => Kind::Packets,
        Some(_) => Kind::Stream,
        None => kind(family, call::int_option(fd, libc::SOL_SOCKET, libc::SO_TYPE).ok()?, 0)?,
    };
    let sock = create(fd, family, kind, nonblocking)?;
    sock.pcb.set(flag::ACCEPTED);
    match listener {
        Some(l) => options::inherit(sock, l),
        None => options::learn(sock),
    }
    publish(sock, None, State::Established);
    Some(sock)
}

/// After connect(2) to `remote`, which returned `ret`.
pub fn connecting(sock: Sock, remote: Option<Address>, ret: Result<usize, Errno>) {
    match ret {
        Ok(_) => publish(sock, remote, State::Established),
        Err(Errno(libc::EINPROGRESS) | Errno::EINTR) => publish(sock, remote, State::SynSent),
        _ => {}
    }
}

fn publish(sock: Sock, remote: Option<Address>, state: State) {
    if sock.pcb.has(flag::UNIX) {
        // Its other end is looked for when that is worth while (`unix::seek_peer`).
        return sock.pcb.set_state(state);
    }
    if sock.pcb.has(flag::KERNEL_ONLY) || sock.endpoint().is_some() || config::leaves_to_kernel() {
        return;
    }
    let Some(local) = options::name(sock.fd, false) else { return };
    let Some(mut remote) = options::name(sock.fd, true).or(remote) else { return };
    if remote.is_any() {
        remote = Address { port: remote.port, ..local };
    }
    if local.port != 0 && remote.port != 0 {
        host::publish(sock.arena, sock.index, Key { local, remote }, state);
    }
}

/// connect(2) with AF_UNSPEC: the connection is dissolved, and the socket stays with the kernel.
pub fn disconnected(sock: Sock) {
    route::pin(sock);
    end::leave(sock);
    if let Some(lock) = sock.arena.try_lock() {
        table::unbind(&lock, sock.index);
    }
}

/// Another descriptor of this process refers to the socket.
pub fn duplicated(sock: Sock) {
    sock.pcb.descriptors.fetch_add(1, Ordering::AcqRel);
}

/// The socket's name, for releasing it later.
pub fn name(sock: Sock) -> Name {
    sock.name()
}
