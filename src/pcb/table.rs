//! The PCB table: allocation, and the chains by which a PCB is found from the kernel's number for its
//! socket, from a listening port, or from the four addresses of a connection.
//!
//! All of it happens under the table lock. A chain is changed by one store, so a process killed in the
//! middle leaves it whole, with or without the entry.

use core::sync::atomic::{AtomicU32, Ordering};

use super::block::{Pcb, State, flag, pcb};
use super::circuit::{Circuit, Link, circuit};
use super::extras;
use super::key::{Address, Key};
use crate::shm::arena::TableLock;
use crate::shm::blocks::{self, Block};
use crate::shm::layout::{CIRCUITS, CONNECTIONS, COOKIES, PCBS, PORTS, Pool, Table};
use crate::shm::{Arena, Shared};
use crate::transport::direction::{Direction, SEGMENTS};

fn bucket(arena: &Arena, table: Table, hash: u32) -> Option<&AtomicU32> {
    fn cell<T: Shared>(arena: &Arena, off: u64) -> Option<&T> {
        arena.at(off)
    }
    cell(arena, table.off + u64::from(hash % table.entries) * table.entry_bytes)
}

fn cookie_hash(cookie: u64) -> u32 {
    (cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// A chain: where it begins, and which field of a PCB goes on.
pub(super) struct Chain<'a> {
    arena: &'a Arena,
    head: &'a AtomicU32,
    next: fn(&Pcb) -> &AtomicU32,
}

impl<'a> Chain<'a> {
    fn of_cookie(arena: &'a Arena, cookie: u64) -> Option<Self> {
        Some(Chain { arena, head: bucket(arena, COOKIES, cookie_hash(cookie))?, next: |p| &p.next_cookie })
    }

    pub(super) fn of_connection(arena: &'a Arena, key: &Key) -> Option<Self> {
        Some(Chain { arena, head: bucket(arena, CONNECTIONS, key.hash())?, next: |p| &p.next_connection })
    }

    pub(super) fn of_port(arena: &'a Arena, host: u32, port: u16) -> Option<Self> {
        let hash = u32::from(port).wrapping_add(host.wrapping_mul(0x9e37));
        Some(Chain { arena, head: bucket(arena, PORTS, hash)?, next: |p| &p.next_port })
    }

    /// The entries; a chain bent into a ring by damage ends all the same.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &'a Pcb)> + use<'a> {
        let (arena, next) = (self.arena, self.next);
        let mut index = self.head.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            let p = pcb(arena, index)?;
            let found = (index, p);
            index = next(p).load(Ordering::Acquire);
            Some(found)
        })
        .take(PCBS.entries as usize)
    }

    pub(super) fn insert(&self, _lock: &TableLock, index: u32) {
        if let Some(p) = pcb(self.arena, index) {
            (self.next)(p).store(self.head.load(Ordering::Relaxed), Ordering::Release);
            self.head.store(index, Ordering::Release);
        }
    }

    fn remove(&self, _lock: &TableLock, index: u32) {
        let mut from = self.head;
        for (i, p) in self.iter() {
            let next = (self.next)(p);
            if i == index {
                from.store(next.load(Ordering::Relaxed), Ordering::Release);
                return;
            }
            from = next;
        }
    }
}

/// The first entry of a pool: a freed one, or a never-used one.
fn take_entry(lock: &TableLock, pool: &Pool, table: Table, next: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    let freed = pool.free.load(Ordering::Relaxed);
    let index = match next(freed) {
        Some(rest) => {
            pool.free.store(rest, Ordering::Release);
            freed
        }
        None => blocks::extend_pool(lock, pool, table)?,
    };
    pool.live.fetch_add(1, Ordering::Relaxed);
    Some(index)
}

/// A new PCB for the socket with `cookie`, in state `Closed`; `None` where there is no room.
pub fn allocate<'a>(lock: &TableLock<'a>, cookie: u64, owner: u32) -> Option<(u32, &'a Pcb)> {
    let arena = lock.arena;
    let pool = &arena.header().pcbs;
    let index = take_entry(lock, pool, PCBS, |i| Some(pcb(arena, i)?.next_cookie.load(Ordering::Relaxed)))?;
    let p = pcb(arena, index)?;
    p.reset();
    p.cookie.store(cookie, Ordering::Relaxed);
    p.owner.store(owner, Ordering::Relaxed);
    p.set_state(State::Closed);
    Chain::of_cookie(arena, cookie)?.insert(lock, index);
    Some((index, p))
}

/// Takes a PCB out of every chain and gives it back.
pub fn free(lock: &TableLock, index: u32) {
    let arena = lock.arena;
    let Some(p) = pcb(arena, index) else { return };
    if p.state() == State::Free {
        return;
    }
    unbind(lock, index);
    if let Some(chain) = Chain::of_cookie(arena, p.cookie.load(Ordering::Relaxed)) {
        chain.remove(lock, index);
    }
    p.generation.fetch_add(1, Ordering::AcqRel);
    extras::free(lock, p);
    if p.has(flag::DATAGRAM) {
        datagrams_changed(arena);
    }
    p.link.store(0, Ordering::Release);
    p.set_state(State::Free);
    let pool = &arena.header().pcbs;
    p.next_cookie.store(pool.free.load(Ordering::Relaxed), Ordering::Relaxed);
    pool.free.store(index, Ordering::Release);
    pool.live.fetch_sub(1, Ordering::Relaxed);
}

/// What the accepted connections at a port of a private net's host are chained by.
pub(super) fn accepted_at(host: u32, port: u16) -> Key {
    Key { local: Address { high: u64::MAX, low: u64::from(host), port }, remote: Address::default() }
}

/// What a PCB with such addresses is chained by: an AF_UNIX socket by its inode alone, an accepted connection of a private
/// net by its host and port.
fn chained_by(p: &Pcb, key: Key) -> Key {
    if p.is_private() {
        return accepted_at(p.host.load(Ordering::Relaxed), key.local.port);
    }
    if p.has(flag::UNIX | flag::LOCAL) { Key { local: Address { port: 0, ..key.local }, remote: Address::default() } } else { key }
}

/// Takes a PCB out of the chains that make it findable by address.
pub fn unbind(lock: &TableLock, index: u32) {
    let Some(p) = pcb(lock.arena, index) else { return };
    let key = p.addresses();
    for chain in [Chain::of_connection(lock.arena, &chained_by(p, key)), Chain::of_port(lock.arena, p.host.load(Ordering::Relaxed), key.local.port)]
        .into_iter()
        .flatten()
    {
        chain.remove(lock, index);
    }
}

/// The PCB of the socket with `cookie`.
pub fn by_cookie(arena: &Arena, cookie: u64) -> Option<(u32, &Pcb)> {
    Chain::of_cookie(arena, cookie)?.iter().find(|(_, p)| p.cookie.load(Ordering::Relaxed) == cookie && p.state() != State::Free)
}

/// A connection that waited at a listening PCB of a private net does so no longer.
pub(super) fn no_longer_waits(listener: &Pcb) {
    listener.waiting.fetch_sub(1, Ordering::AcqRel);
}

/// The socket of a PCB has another cookie from now on.
pub(super) fn set_cookie(lock: &TableLock, index: u32, cookie: u64) {
    let Some(p) = pcb(lock.arena, index) else { return };
    let chains = [p.cookie.load(Ordering::Relaxed), cookie].map(|cookie| Chain::of_cookie(lock.arena, cookie));
    if let [Some(before), Some(after)] = chains {
        before.remove(lock, index);
        p.cookie.store(cookie, Ordering::Relaxed);
        after.insert(lock, index);
    }
}

/// Makes a PCB the listener of its local port.
pub fn bind_listener(lock: &TableLock, index: u32, local: Address) {
    let Some(p) = pcb(lock.arena, index) else { return };
    unbind(lock, index);
    p.set_addresses(Key { local, remote: Address::default() });
    p.set_state(State::Listen);
    if let Some(chain) = Chain::of_port(lock.arena, 0, local.port) {
        chain.insert(lock, index);
    }
}

/// The PCB that a connection request to `to` finds: listening on the port, at that address or at any.
pub fn listener(arena: &Arena, to: Address) -> Option<(u32, &Pcb)> {
    let at = |exact: bool| {
        Chain::of_port(arena, 0, to.port)?.iter().find(|(_, p)| {
            let local = p.addresses().local;
            p.state() == State::Listen && local.port == to.port && if exact { local == to } else { local.is_any() }
        })
    };
    at(true).or_else(|| at(false))
}

/// More PCBs with the same four addresses there never are.
const MOST_LEFT_OVER: u32 = 16;

/// Makes a PCB findable by the four addresses of its connection. An older one with the very same is a
/// left-over: the kernel never has two.
pub fn bind_connection(lock: &TableLock, index: u32, key: Key, state: State) {
    let Some(p) = pcb(lock.arena, index) else { return };
    unbind(lock, index);
    // A chain bent into a ring shows the same one again and again.
    for _ in 0..MOST_LEFT_OVER {
        let Some((old, _)) = connected(lock.arena, key) else { break };
        unbind(lock, old);
    }
    p.set_addresses(key);
    p.set_state(state);
    if let Some(chain) = Chain::of_connection(lock.arena, &key) {
        chain.insert(lock, index);
    }
}

/// The PCB that data finds: the one with these four addresses.
pub fn connected(arena: &Arena, key: Key) -> Option<(u32, &Pcb)> {
    Chain::of_connection(arena, &key)?.iter().find(|(_, p)| p.addresses() == key && matches!(p.state(), State::SynSent | State::Established))
}

/// Makes an AF_UNIX socket findable by its inode.
pub fn bind_inode(lock: &TableLock, index: u32, inode: u64) {
    let Some(p) = pcb(lock.arena, index) else { return };
    unbind(lock, index);
    let key = Key { local: Address::of_inode(inode), remote: Address::default() };
    p.set_addresses(key);
    if let Some(chain) = Chain::of_connection(lock.arena, &key) {
        chain.insert(lock, index);
    }
}

/// The PCB of the AF_UNIX socket with an inode.
pub fn by_inode(arena: &Arena, inode: u64) -> Option<(u32, &Pcb)> {
    let key = Key { local: Address::of_inode(inode), remote: Address::default() };
    Chain::of_connection(arena, &key)?.iter().find(|(_, p)| chained_by(p, p.addresses()) == key && p.state() != State::Free)
}

/// Makes an AF_UNIX datagram socket, findable by its inode already, findable by its name as well. The port is a hash of it.
pub fn bind_name(lock: &TableLock, index: u32, name: Address) {
    let Some(p) = pcb(lock.arena, index) else { return };
    let key = p.addresses();
    let (Some(old), Some(new)) = (Chain::of_port(lock.arena, 0, key.local.port), Chain::of_port(lock.arena, 0, name.port)) else { return };
    old.remove(lock, index);
    p.set_addresses(Key { local: Address { port: name.port, ..key.local }, remote: Address { port: 0, ..name } });
    new.insert(lock, index);
    datagrams_changed(lock.arena);
}

/// The PCB of the AF_UNIX datagram socket with such a name.
pub fn by_name(arena: &Arena, name: Address) -> Option<(u32, &Pcb)> {
    Chain::of_port(arena, 0, name.port)?.iter().find(|(_, p)| {
        let key = p.addresses();
        p.has(flag::LOCAL) && key.local.port == name.port && key.remote == Address { port: 0, ..name } && p.state() != State::Free
    })
}

/// Makes a datagram socket findable by its local port, with the addresses it has now.
pub fn bind_datagram(lock: &TableLock, index: u32, key: Key) {
    let Some(p) = pcb(lock.arena, index) else { return };
    unbind(lock, index);
    p.set_addresses(key);
    p.set_state(if key.remote.port != 0 { State::Established } else { State::Closed });
    if key.local.port != 0
        && let Some(chain) = Chain::of_port(lock.arena, p.host.load(Ordering::Relaxed), key.local.port)
    {
        chain.insert(lock, index);
    }
    datagrams_changed(lock.arena);
}

/// Who receives which datagrams has changed: senders look again.
pub fn datagrams_changed(arena: &Arena) {
    arena.header().datagram_epoch.fetch_add(1, Ordering::SeqCst);
}

/// How well a datagram socket fits a datagram from `from` to `to`, in the order that Linux looks in (udp4_lib_lookup2 and
/// compute_score of net/ipv4/udp.c): a local address of its own before any address, then a connected one. `None` where it
/// does not fit.
fn fit(p: &Pcb, to: Address, from: Address) -> Option<u32> {
    let key = p.addresses();
    let is_v4 = matches!(to.ip(), core::net::IpAddr::V4(_));
    let is_family = if is_v4 { !(p.has(flag::INET6) && p.has(flag::V6ONLY)) } else { p.has(flag::INET6) };
    let local_is_any = key.local.is_any();
    let is_mine = key.local.port == to.port && (key.local == to || local_is_any);
    let is_from = key.remote.port == 0 || key.remote == from;
    if !(p.has(flag::DATAGRAM) && !p.has(flag::LOCAL) && is_family && is_mine && is_from) {
        return None;
    }
    Some(u32::from(!local_is_any) * 4 + u32::from(key.remote.port != 0) * 2 + u32::from(is_v4 != p.has(flag::INET6)))
}

/// Datagram sockets at a local port.
pub fn datagram_sockets_at(arena: &Arena, port: u16) -> usize {
    let is_there = |p: &Pcb| p.has(flag::DATAGRAM) && !p.has(flag::LOCAL) && p.addresses().local.port == port && p.state() != State::Free;
    Chain::of_port(arena, 0, port).map_or(0, |chain| chain.iter().filter(|(_, p)| is_there(p)).count())
}

/// The PCB that a datagram to `host` finds (0: the host net), among those of its space: the one that fits best. `None` as well where several fit equally
/// well; in a private net one of them, which the addresses choose.
pub fn datagram(arena: &Arena, (host, space): (u32, u32), to: Address, from: Address) -> Option<(u32, &Pcb)> {
    let (mut best, mut best_fit, mut equals) = (None, 0, 0u32);
    let choice = Key { local: to, remote: from }.hash();
    for (index, p) in Chain::of_port(arena, host, to.port)?.iter().filter(|(_, p)| p.host.load(Ordering::Relaxed) == host && p.space() == space) {
        let Some(fit) = fit(p, to, from) else { continue };
        match best {
            Some(_) if fit < best_fit => {}
            Some(_) if fit == best_fit => {
                equals += 1;
                if host != 0 && choice.rotate_left(equals).is_multiple_of(equals) {
                    best = Some((index, p));
                }
            }
            _ => (best, best_fit, equals) = (Some((index, p)), fit, 1),
        }
    }
    best.filter(|_| equals == 1 || host != 0)
}

/// Gives a datagram socket a mailbox. False where there is no room.
pub fn give_mailbox(lock: &TableLock, index: u32) -> bool {
    let Some(p) = pcb(lock.arena, index) else { return false };
    let Some((circuit, generation)) = new_circuit(lock, [index, 0]) else { return false };
    p.link.store(Link { circuit, side: 0, generation }.word(), Ordering::Release);
    true
}

/// Joins a PCB with nobody: its connection is over before it has begun. False where there is no room.
pub fn join_nobody(lock: &TableLock, index: u32) -> bool {
    let joined = give_mailbox(lock, index);
    let link = pcb(lock.arena, index).and_then(|p| Link::of(p.link.load(Ordering::Acquire)));
    if let Some((link, c)) = link.and_then(|link| Some((link, circuit(lock.arena, link.circuit)?))) {
        c.is_mailbox.store(0, Ordering::Relaxed);
        c.set_end(lock.arena, link.other(), super::circuit::End::Reset);
    }
    joined
}

fn new_circuit(lock: &TableLock, sides: [u32; 2]) -> Option<(u32, u32)> {
    let arena = lock.arena;
    let pool = &arena.header().circuits;
    let index = take_entry(lock, pool, CIRCUITS, |i| Some(circuit(arena, i)?.next.load(Ordering::Relaxed)))?;
    let generation = circuit(arena, index)?.reset(sides);
    Some((index, generation))
}

/// Joins two PCBs by a new circuit, `sides[0]` being the one that completes it. False where there is no room.
pub fn join(lock: &TableLock, sides: [u32; 2]) -> bool {
    let arena = lock.arena;
    let (Some(a), Some(b)) = (pcb(arena, sides[0]), pcb(arena, sides[1])) else { return false };
    let Some((index, generation)) = new_circuit(lock, sides) else { return false };
    for (side, p) in [a, b].into_iter().enumerate() {
        p.link.store(Link { circuit: index, side, generation }.word(), Ordering::Release);
    }
    arena.header().totals.circuits.fetch_add(1, Ordering::Relaxed);
    true
}

/// Gives a circuit and the memory of its rings back.
pub fn free_circuit(lock: &TableLock, index: u32) {
    let arena = lock.arena;
    let Some(c) = circuit(arena, index) else { return };
    if c.in_use.swap(0, Ordering::AcqRel) == 0 {
        return;
    }
    c.generation.fetch_add(1, Ordering::AcqRel);
    for side in 0..2 {
        let d = c.from_side(side);
        let totals = &arena.header().totals;
        totals.ring_bytes.fetch_add(d.produced.head.load(Ordering::Relaxed), Ordering::Relaxed);
        totals.ring_messages.fetch_add(d.writer.messages.load(Ordering::Relaxed), Ordering::Relaxed);
        free_segments(lock, d);
    }
    let pool = &arena.header().circuits;
    c.next.store(pool.free.load(Ordering::Relaxed), Ordering::Relaxed);
    pool.free.store(index, Ordering::Release);
    pool.live.fetch_sub(1, Ordering::Relaxed);
}

fn free_segments(lock: &TableLock, d: &Direction) {
    let (first, last) = (d.consumed.segment.load(Ordering::Relaxed), d.produced.segment.load(Ordering::Relaxed));
    for n in 0..=last.wrapping_sub(first).min(SEGMENTS as u32 - 1) {
        let word = d.segment(first.wrapping_add(n)).block.swap(0, Ordering::Relaxed);
        blocks::free(lock, Block(word));
    }
    blocks::free(lock, Block(d.control.schedule.swap(0, Ordering::Relaxed)));
}

/// Every PCB in use.
pub fn all(arena: &Arena) -> impl Iterator<Item = (u32, &Pcb)> {
    let high = arena.header().pcbs.end(PCBS);
    (1..high).filter_map(move |i| Some((i, pcb(arena, i)?))).filter(|(_, p)| p.state() != State::Free)
}

/// Every circuit in use.
pub fn all_circuits(arena: &Arena) -> impl Iterator<Item = (u32, &Circuit)> {
    let high = arena.header().circuits.end(CIRCUITS);
    (1..high).filter_map(move |i| Some((i, circuit(arena, i)?))).filter(|(_, c)| c.in_use.load(Ordering::Relaxed) == 1)
}
