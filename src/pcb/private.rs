//! The PCB table of a private net, where it is the only authority: who may have which port of which host, who listens,
//! and the connections that nobody has accepted yet.

use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::block::{Pcb, State, facade, flag, pcb, space_of};
use super::key::{Address, Key};
use super::reap::{self, Name};
use super::table::{self, Chain};
use crate::shm::Arena;
use crate::shm::arena::TableLock;
use crate::shm::layout::RESTING;
use crate::sys::clock::now_ns;

/// The ports that Linux gives to sockets which have asked for none (net.ipv4.ip_local_port_range).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32768..=60999;

/// A port of a host cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InUse;

/// What a socket would be bound to.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub host: u32,
    pub local: Address,
    /// Others there are of no interest (`Pcb::space`).
    pub space: u32,
    /// Of AF_INET6, and open to IPv4 as well where its address is `::`.
    pub is_dual: bool,
    /// Bits of `facade`.
    pub reuse: u32,
    /// It is about to listen, or does.
    pub listens: bool,
}

impl Bound {
    /// As `p` is, or would be with `local`.
    pub fn of(p: &Pcb, local: Address) -> Bound {
        Bound {
            host: p.host.load(Ordering::Relaxed),
            local,
            space: p.space(),
            is_dual: p.has(flag::INET6) && !p.has(flag::V6ONLY),
            reuse: p.facade.load(Ordering::Relaxed) & (facade::REUSEADDR | facade::REUSEPORT),
            listens: p.state() == State::Listen,
        }
    }

    fn is_v4(&self) -> bool {
        matches!(self.local.ip(), IpAddr::V4(_))
    }

    /// Whether the addresses have one in common.
    fn overlaps(&self, other: &Bound) -> bool {
        let share_family = self.is_v4() == other.is_v4() || (self.local.is_any() && self.is_dual) || (other.local.is_any() && other.is_dual);
        share_family && (self.local.is_any() || other.local.is_any() || self.local == other.local)
    }

    /// Whether both may not be (inet_csk_bind_conflict and inet_rcv_saddr_equal of Linux).
    fn conflicts(&self, other: &Bound) -> bool {
        let both = |bit: u32| self.reuse & other.reuse & bit != 0;
        let may_share = both(facade::REUSEPORT) || (both(facade::REUSEADDR) && !(self.listens || other.listens));
        self.space == other.space && self.overlaps(other) && !may_share
    }
}

/// Every socket that has a port of a host, those that were accepted included.
fn sockets_at(arena: &Arena, host: u32, port: u16) -> impl Iterator<Item = (u32, &Pcb)> {
    let bound = Chain::of_port(arena, host, port).into_iter().flat_map(|chain| chain.iter());
    let accepted = Chain::of_connection(arena, &table::accepted_at(host, port)).into_iter().flat_map(|chain| chain.iter());
    let is_there = move |p: &Pcb| p.is_private() && p.host.load(Ordering::Relaxed) == host && p.addresses().local.port == port;
    bound.chain(accepted).filter(move |(_, p)| is_there(p) && p.state() != State::Free)
}

/// A port in TIME_WAIT (RFC 9293, 3.6): it had a connection that its end closed first.
#[repr(C)]
struct Resting {
    /// Host, and port shifted left by 32.
    place: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    /// When it may be had again, with a bit for SO_REUSEADDR instead of the lowest.
    until_ns: AtomicU64,
}

crate::shm::shared_struct!(Resting, RESTING.entry_bytes);

/// TCP_TIMEWAIT_LEN of Linux.
const REST_NS: u64 = 60_000_000_000;

/// The entry for a port, and what stands there of its place. Those that the net has chosen, which come and go fast, have a
/// half of the table to themselves.
fn resting(arena: &Arena, host: u32, port: u16) -> Option<(&Resting, u64)> {
    const HALF: u32 = RESTING.entries / 2;
    let place = u64::from(host) | u64::from(port) << 32;
    let hash = (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32 % (HALF - 1) + 1;
    let half = if EPHEMERAL.contains(&port) { HALF } else { 0 };
    Some((arena.at(RESTING.entry_off(hash + half)?)?, place))
}

/// A connection has ended that PCB `p` closed first: its port rests. Of several whose entry is the same the last does.
pub(super) fn rest(arena: &Arena, p: &Pcb) {
    if p.space() != space_of(libc::IPPROTO_TCP as u8, false) {
        return;
    }
    let local = p.addresses().local;
    if let Some((entry, place)) = resting(arena, p.host.load(Ordering::Relaxed), local.port) {
        entry.place.store(place, Ordering::Relaxed);
        entry.high.store(local.high, Ordering::Relaxed);
        entry.low.store(local.low, Ordering::Relaxed);
        let until = (now_ns() + REST_NS) & !1;
        entry.until_ns.store(until | u64::from(p.shows(facade::REUSEADDR)), Ordering::Release);
    }
}

/// Whether a port that rests keeps a stream from being bound so.
fn rests(arena: &Arena, wanted: &Bound) -> bool {
    let Some((entry, place)) = resting(arena, wanted.host, wanted.local.port) else { return false };
    let until = entry.until_ns.load(Ordering::Acquire);
    let address = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let local = Address { high: address(&entry.high), low: address(&entry.low), port: wanted.local.port };
    let reuse = if until & 1 != 0 { facade::REUSEADDR } else { 0 };
    let other = Bound { local, reuse, listens: false, is_dual: false, space: space_of(libc::IPPROTO_TCP as u8, false), ..*wanted };
    address(&entry.place) == place && until > now_ns() && wanted.conflicts(&other)
}

/// Every socket of a space that has a port of a host.
pub fn sockets_of(arena: &Arena, (host, space): (u32, u32), port: u16) -> impl Iterator<Item = (u32, &Pcb)> {
    sockets_at(arena, host, port).filter(move |(_, p)| p.space() == space)
}

/// Whether nobody but PCB `index` itself keeps it from being bound so.
fn is_free(arena: &Arena, index: u32, wanted: &Bound) -> bool {
    !rests(arena, wanted)
        && sockets_at(arena, wanted.host, wanted.local.port).all(|(other, p)| other == index || !wanted.conflicts(&Bound::of(p, p.addresses().local)))
}

/// Binds PCB `index` to `local`; port 0 stands for one that nobody has.
///
/// # Errors
/// `InUse` where the port cannot be had, or none is free.
pub fn bind(lock: &TableLock, index: u32, local: Address) -> Result<Address, InUse> {
    let arena = lock.arena;
    let p = pcb(arena, index).ok_or(InUse)?;
    let wanted = Bound::of(p, local);
    let local = match local.port {
        0 => free_port(arena, index, wanted).ok_or(InUse)?,
        _ if is_free(arena, index, &wanted) => local,
        _ => return Err(InUse),
    };
    set_addresses(lock, index, Key { local, remote: p.addresses().remote });
    Ok(local)
}

/// Releases the sockets at a port of a host that no process has any more: nobody else may have noticed the end of one that
/// several processes had. True where there were such.
pub fn release_dead(arena: &Arena, index: u32, port: u16) -> bool {
    let Some(p) = pcb(arena, index) else { return false };
    let others = sockets_at(arena, p.host.load(Ordering::Relaxed), port).filter(|&(other, _)| other != index);
    let dead: Vec<_> = others.filter(|(_, q)| !reap::is_held_by_any(arena, q)).map(|(i, q)| (Name::of(i, q), reap::how_it_ended(arena, q))).collect();
    dead.iter().for_each(|(name, how)| reap::release(arena, *name, *how));
    !dead.is_empty()
}

fn free_port(arena: &Arena, index: u32, wanted: Bound) -> Option<Address> {
    let count = u32::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
    let next = &arena.header().net.ephemeral;
    (0..count).find_map(|_| {
        let port = EPHEMERAL.start() + (next.fetch_add(1, Ordering::Relaxed) % count) as u16;
        let wanted = Bound { local: Address { port, ..wanted.local }, reuse: 0, ..wanted };
        is_free(arena, index, &wanted).then_some(wanted.local)
    })
}

/// Changes the addresses of a bound PCB, and makes it findable by the local ones.
pub fn set_addresses(lock: &TableLock, index: u32, key: Key) {
    let Some(p) = pcb(lock.arena, index) else { return };
    table::unbind(lock, index);
    p.set_addresses(key);
    if let Some(chain) = Chain::of_port(lock.arena, p.host.load(Ordering::Relaxed), key.local.port) {
        chain.insert(lock, index);
    }
    if p.has(flag::DATAGRAM) {
        table::datagrams_changed(lock.arena);
    }
}

/// Makes a bound PCB listen.
///
/// # Errors
/// `InUse` where another listens there already.
pub fn listen(lock: &TableLock, index: u32) -> Result<(), InUse> {
    let p = pcb(lock.arena, index).ok_or(InUse)?;
    if p.state() != State::Listen {
        let wanted = Bound { listens: true, ..Bound::of(p, p.addresses().local) };
        let others = sockets_at(lock.arena, wanted.host, wanted.local.port);
        let mut listening = others.filter(|&(other, q)| other != index && q.state() == State::Listen);
        if listening.any(|(_, q)| wanted.conflicts(&Bound::of(q, q.addresses().local))) {
            return Err(InUse);
        }
        p.set_state(State::Listen);
    }
    Ok(())
}

/// The PCB that a connection request from `from` finds: listening on the port of the host, at that address before at any; of
/// several (SO_REUSEPORT) the one that the addresses choose.
pub fn listener(arena: &Arena, (host, space): (u32, u32), to: Address, from: Address) -> Option<(u32, &Pcb)> {
    let fits = |p: &Pcb, exact: bool| {
        let local = p.addresses().local;
        let is_v4 = matches!(to.ip(), IpAddr::V4(_));
        let takes = if is_v4 { !(p.has(flag::INET6) && p.has(flag::V6ONLY)) } else { p.has(flag::INET6) };
        let is_of_family = matches!(local.ip(), IpAddr::V4(_)) == is_v4 || p.has(flag::INET6);
        p.state() == State::Listen && p.space() == space && takes && is_of_family && if exact { local == to } else { local.is_any() }
    };
    let choice = Key { local: to, remote: from }.hash();
    for exact in [true, false] {
        let those = || sockets_at(arena, host, to.port).filter(|(_, p)| fits(p, exact));
        let n = those().count();
        if n > 0 {
            return those().nth(choice as usize % n);
        }
    }
    None
}

/// Whether another connection of the host has the same addresses.
pub fn is_connected(arena: &Arena, index: u32, (host, space): (u32, u32), key: Key) -> bool {
    sockets_at(arena, host, key.local.port).any(|(other, p)| other != index && p.space() == space && p.addresses() == key)
}

/// The cookie that stands in the PCB of a connection until it is accepted.
fn before_accept(client: u64) -> u64 {
    !client
}

/// A PCB for the end of a connection that somebody will accept: of the listening PCB `listener`, for the client with
/// `cookie`. `None` where there is no room.
pub fn make_waiting<'a>(lock: &TableLock<'a>, (listener, l): (u32, &Pcb), cookie: u64, key: Key) -> Option<(u32, &'a Pcb)> {
    let host = l.host.load(Ordering::Relaxed);
    let (index, p) = make_unknown(lock, host, (l, l.owner.load(Ordering::Relaxed)), cookie, key)?;
    give_to_listener(lock, (index, p), (listener, l));
    Some((index, p))
}

/// The same before a listening PCB knows of it: it is of the kind of `like`, and that of `owner`, who asks for the connection.
pub fn make_unknown<'a>(lock: &TableLock<'a>, host: u32, (like, owner): (&Pcb, u32), cookie: u64, key: Key) -> Option<(u32, &'a Pcb)> {
    let (index, p) = table::allocate(lock, before_accept(cookie), owner)?;
    p.host.store(host, Ordering::Relaxed);
    p.facade.store(facade::NAMED | like.facade.load(Ordering::Relaxed) & 0xffff, Ordering::Relaxed);
    p.set(like.flags() & flag::PACKETS | flag::UNIX | flag::ACCEPTED | flag::ANCHOR_READY);
    p.fd.store(u32::MAX, Ordering::Relaxed);
    p.set_addresses(key);
    p.set_state(State::Established);
    Some((index, p))
}

/// What waits is the listening PCB's from now on, and has its port.
pub fn give_to_listener(lock: &TableLock, (index, p): (u32, &Pcb), (listener, l): (u32, &Pcb)) {
    p.facade.store(l.facade.load(Ordering::Relaxed) & (0xffff | facade::REUSEADDR | facade::REUSEPORT) | facade::NAMED, Ordering::Relaxed);
    p.set(l.flags() & (flag::INHERITED | flag::UNIX | flag::SHARED | flag::V6ONLY | flag::PACKETS));
    p.owner.store(l.owner.load(Ordering::Relaxed), Ordering::Relaxed);
    p.listener.store(listener, Ordering::Release);
    if let Some(chain) = Chain::of_connection(lock.arena, &table::accepted_at(p.host.load(Ordering::Relaxed), p.addresses().local.port)) {
        chain.insert(lock, index);
    }
}

/// The anchor of what waits at a listening PCB is connected.
pub fn now_waits(listener: &Pcb) {
    listener.waiting.fetch_add(1, Ordering::AcqRel);
}

/// The socket of a PCB has another anchor, with `cookie`.
pub fn renumber(lock: &TableLock, index: u32, cookie: u64) {
    table::set_cookie(lock, index, cookie);
}

/// The PCB of the connection from the client with `client` for its cookie, which has just been accepted as the socket with
/// `cookie`.
pub fn claim<'a>(lock: &TableLock<'a>, client: u64, cookie: u64) -> Option<(u32, &'a Pcb)> {
    let (index, p) = table::by_cookie(lock.arena, before_accept(client))?;
    let listener = p.listener.swap(0, Ordering::AcqRel);
    if let Some(l) = pcb(lock.arena, listener) {
        table::no_longer_waits(l);
    }
    table::set_cookie(lock, index, cookie);
    Some((index, p))
}
