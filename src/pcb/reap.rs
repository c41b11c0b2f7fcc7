//! The end of PCBs and circuits, and of what dead processes left behind.
//!
//! Whether a socket has ended is asked of the kernel, never counted: a PCB that only one process can hold
//! ends with that process's last close or its death; one that others may hold ends when the kernel says so.

use core::sync::atomic::Ordering;

use super::block::{Pcb, State, flag, pcb};
use super::circuit::{End, Link, circuit};
use super::key::Address;
use super::{private, table};
use crate::shm::arena::TableLock;
use crate::shm::owner::Me;
use crate::shm::{Arena, blocks, owner};
use crate::sys::clock::now_ns;
use crate::sys::diag;
use crate::transport::direction::{Direction, HELD};
use crate::transport::{flight, notifier, tap};

/// Names one use of a PCB's entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name {
    pub index: u32,
    pub generation: u32,
}

impl Name {
    pub fn of(index: u32, p: &Pcb) -> Name {
        Name { index, generation: p.generation.load(Ordering::Acquire) }
    }

    fn find(self, arena: &Arena) -> Option<&Pcb> {
        pcb(arena, self.index).filter(|p| p.generation.load(Ordering::Acquire) == self.generation && p.state() != State::Free)
    }
}

/// The socket has ended, in the way `how`: frees its PCB, and its circuit once both ends have.
/// Whoever notices may say so; the first does it.
pub fn release(arena: &Arena, name: Name, how: End) {
    match arena.try_lock() {
        Some(lock) => release_locked(&lock, name, how),
        None => tell_end(arena, name, how),
    }
}

/// Where the table cannot be changed now: the other end is told all the same. What is left goes with this process.
#[cold]
fn tell_end(arena: &Arena, name: Name, how: End) {
    let link = name.find(arena).and_then(|p| Link::of(p.link.load(Ordering::Acquire)));
    if let Some((link, c)) = link.and_then(|l| Some((l, circuit(arena, l.circuit)?)))
        && c.generation.load(Ordering::Acquire) == link.generation
    {
        c.set_end(arena, link, how);
    }
}

fn release_locked(lock: &TableLock, name: Name, how: End) {
    let Some(p) = name.find(lock.arena) else { return };
    let link = Link::of(p.link.load(Ordering::Acquire));
    if p.state() == State::Listen && p.waiting.load(Ordering::Relaxed) != 0 {
        release_waiting(lock, name.index);
    }
    if let Some(l) = pcb(lock.arena, p.listener.swap(0, Ordering::AcqRel)) {
        table::no_longer_waits(l);
    }
    let was_accepted_or_asked = p.fd.load(Ordering::Relaxed) != u32::MAX;
    if p.is_private() && was_accepted_or_asked && how == End::Clean && link.is_some_and(|link| closes_first(lock.arena, link)) {
        private::rest(lock.arena, p);
    }
    table::free(lock, name.index);
    if let Some(link) = link {
        leave_circuit(lock, link, how);
    }
}

/// Nobody will accept what waits at a listening PCB.
pub fn release_waiting(lock: &TableLock, listener: u32) {
    let waiting: Vec<Name> = table::all(lock.arena)
        .filter(|(_, p)| p.listener.load(Ordering::Relaxed) == listener && p.state() == State::Established)
        .map(|(index, p)| Name::of(index, p))
        .collect();
    for name in waiting {
        release_locked(lock, name, End::Reset);
    }
}

/// Whether neither a FIN nor an end has come from the other end of a connection.
fn closes_first(arena: &Arena, link: Link) -> bool {
    circuit(arena, link.circuit)
        .is_some_and(|c| c.is_mailbox.load(Ordering::Relaxed) == 0 && c.end(1 - link.side) == End::Open && !c.from_side(1 - link.side).is_finished())
}

/// Takes a PCB out of its circuit, as if it had been reset; the socket stays.
pub fn unlink(arena: &Arena, name: Name) {
    let Some(lock) = arena.try_lock() else { return tell_end(arena, name, End::Reset) };
    let Some(p) = name.find(arena) else { return };
    if let Some(link) = Link::of(p.link.swap(0, Ordering::AcqRel)) {
        leave_circuit(&lock, link, End::Reset);
    }
    p.set_state(State::Closed);
}

/// One side of a circuit is gone; with the other gone too, so is the circuit.
fn leave_circuit(lock: &TableLock, link: Link, how: End) {
    let Some(c) = circuit(lock.arena, link.circuit).filter(|c| c.generation.load(Ordering::Acquire) == link.generation) else { return };
    c.set_end(lock.arena, link, how);
    c.pcbs[link.side].store(0, Ordering::Release);
    if c.pcbs[1 - link.side].load(Ordering::Acquire) != 0 {
        return;
    }
    // A mailbox may have a sender in the middle of a datagram: then its memory is left to a later sweep.
    let is_mailbox = c.is_mailbox.load(Ordering::Relaxed) != 0;
    let sending = [0, 1].map(|side| c.from_side(side).writer.lock.try_acquire(Me::bootstrap().owner()).filter(|held| !held.is_nested()));
    if !is_mailbox || sending.iter().all(Option::is_some) {
        table::free_circuit(lock, link.circuit);
    }
}

/// One side of a circuit has ended, as the kernel says.
pub fn release_side(arena: &Arena, link: Link, side: usize) {
    let lock = arena.try_lock();
    let Some(c) = circuit(arena, link.circuit).filter(|c| c.generation.load(Ordering::Acquire) == link.generation) else { return };
    let index = c.pcbs[side & 1].load(Ordering::Acquire);
    let ended = pcb(arena, index).filter(|p| Link::of(p.link.load(Ordering::Acquire)).is_some_and(|l| l.circuit == link.circuit && l.side == side));
    match (ended, lock) {
        (Some(p), Some(lock)) => release_locked(&lock, Name::of(index, p), how_it_ended(arena, p)),
        (Some(p), None) => c.set_end(arena, Link { side, ..link }, how_it_ended(arena, p)),
        (None, _) => c.set_end(arena, Link { side, ..link }, End::Clean),
    }
}

/// Whether some process holds the PCB's socket.
pub fn is_held(arena: &Arena, p: &Pcb) -> bool {
    if p.has(flag::SHARED) { is_held_by_any(arena, p) } else { !owner::is_dead(arena, p.owner.load(Ordering::Relaxed)) }
}

/// The same as the kernel says, which knows of a process that is dead but not yet waited for.
pub fn is_held_by_any(arena: &Arena, p: &Pcb) -> bool {
    let owner_dead = || owner::is_dead(arena, p.owner.load(Ordering::Relaxed));
    let key = p.addresses();
    if p.listener.load(Ordering::Relaxed) != 0 {
        // Whoever listens holds what waits to be accepted.
        return pcb(arena, p.listener.load(Ordering::Relaxed)).is_some_and(|l| l.state() == State::Listen && is_held(arena, l));
    }
    let anchor_inode = Some(p.anchor_inode.load(Ordering::Relaxed)).filter(|&inode| inode != 0);
    if let Some(inode) = key.local.inode().or(anchor_inode) {
        return match diag::unix_socket(inode, p.cookie.load(Ordering::Relaxed)) {
            Some(answer) => answer != diag::UnixSocket::Gone,
            None => !owner_dead(),
        };
    }
    if key.local.port == 0 {
        return !owner_dead();
    }
    let end = |a: Address| {
        let mut ip = [0; 16];
        ip[..8].copy_from_slice(&a.high.to_be_bytes());
        ip[8..].copy_from_slice(&a.low.to_be_bytes());
        diag::End { ip, port: a.port }
    };
    let any_as_v6 = |a: Address| if p.has(flag::INET6) && a.is_any() { Address { low: 0, ..a } } else { a };
    let (inet6, cookie) = (p.has(flag::INET6), p.cookie.load(Ordering::Relaxed));
    let held = if p.has(flag::DATAGRAM) {
        diag::udp_is_held(inet6, key.local.port, cookie)
    } else {
        diag::tcp_is_held(inet6, [end(any_as_v6(key.local)), end(any_as_v6(key.remote))], cookie)
    };
    held.unwrap_or_else(|| !owner_dead())
}

/// How a socket ended whose last holder said nothing: it reset the connection if it left data unread.
pub fn how_it_ended(arena: &Arena, p: &Pcb) -> End {
    let Some(link) = Link::of(p.link.load(Ordering::Acquire)) else { return End::Clean };
    let Some(c) = circuit(arena, link.circuit) else { return End::Clean };
    match c.end(link.side) {
        End::Open if p.has(flag::LINGER_RESET) || has_arrived(arena, c.from_side(1 - link.side)) => End::Reset,
        End::Open => End::Clean,
        said => said,
    }
}

/// Whether something has arrived that nobody has read.
fn has_arrived(arena: &Arena, d: &Direction) -> bool {
    if d.late() != 0 {
        flight::land(d, arena, Me::get(arena).unwrap_or_else(Me::bootstrap), now_ns(), || HELD);
    }
    d.has_data()
}

/// What a sweep found.
#[derive(Clone, Copy, Default, Debug)]
pub struct Swept {
    pub processes: u32,
    pub sockets: u32,
}

/// Releases all that dead processes held. With `ask` the kernel is also asked about sockets that several
/// processes may have held, which costs some microseconds each.
pub fn sweep(arena: &Arena, ask: bool) -> Swept {
    let mut swept = Swept::default();
    let is_dead = |slot: &u32| owner::process(arena, *slot).is_some_and(|p| p.pid.load(Ordering::Relaxed) != 0) && owner::is_dead(arena, *slot);
    let mut dead: Vec<u32> = (1..owner::high(arena)).filter(is_dead).collect();
    if dead.is_empty() && !ask {
        return swept;
    }
    let ended: Vec<(Name, End)> = table::all(arena)
        .filter(|(_, p)| {
            let of_dead = dead.contains(&p.owner.load(Ordering::Relaxed));
            if p.has(flag::SHARED) { (ask || of_dead) && !is_held(arena, p) } else { of_dead }
        })
        .map(|(index, p)| (Name::of(index, p), how_it_ended(arena, p)))
        .collect();
    let Some(lock) = (if ask { Some(arena.lock()) } else { arena.try_lock() }) else { return swept };
    // Others may have buried them meanwhile, and who has their slots now lives.
    dead.retain(is_dead);
    for (name, how) in ended {
        if name.find(arena).is_some_and(|p| p.has(flag::SHARED) || dead.contains(&p.owner.load(Ordering::Relaxed))) {
            release_locked(&lock, name, how);
            swept.sockets += 1;
        }
    }
    notifier::sweep(&lock, |slot| dead.contains(&slot));
    for slot in dead {
        // PCBs of the dead that others still hold are nobody's from now on.
        if let Some(p) = owner::process(arena, slot) {
            p.pid.store(0, Ordering::Release);
            swept.processes += 1;
        }
    }
    if ask {
        // Circuits that both ends have left, and blocks that no circuit has: a process died in the middle.
        let orphans: Vec<u32> =
            table::all_circuits(arena).filter(|(_, c)| c.pcbs.iter().all(|p| p.load(Ordering::Relaxed) == 0)).map(|(i, _)| i).collect();
        for index in orphans {
            table::free_circuit(&lock, index);
        }
        tap::bury(&lock);
        let is_used = |index| circuit(arena, index).is_some_and(|c| c.in_use.load(Ordering::Relaxed) == 1) || tap::has_blocks_of(arena, index);
        blocks::reclaim(&lock, |index| !is_used(index));
    }
    swept
}
