//! Publishing a connection and joining its other end.
//!
//! Joining is symmetric: whichever end publishes first can be found, the second finds it and makes the
//! circuit. Neither waits. A PCB left behind by an earlier connection with the same addresses can be joined
//! by mistake, and does no harm: a direction leaves the kernel only after its receiver has said, in the
//! circuit, that it sees the other end.

use core::sync::atomic::Ordering;

use crate::pcb::block::{Pcb, State, flag, pcb};
use crate::pcb::{Address, Key, table};
use crate::shm::arena::TableLock;
use crate::shm::{Arena, owner};
use crate::sys::trace::trace;

/// Makes the connection of PCB `index` findable and joins its other end if that is there already.
pub fn publish(arena: &Arena, index: u32, key: Key, state: State) {
    let Some(lock) = arena.try_lock() else { return };
    let Some(p) = pcb(arena, index) else { return };
    table::bind_connection(&lock, index, key, state);
    let Some((other, q)) = table::connected(arena, key.reversed()) else { return };
    if join(&lock, (index, p), (other, q)) {
        drop(lock);
        trace(format_args!("joined {} and {}", key.local, key.remote));
    }
}

/// Joins PCB `index` with that of the AF_UNIX socket which the kernel names as its other end, if that is a member's.
pub fn join_inode(arena: &Arena, index: u32, peer: u64) {
    let Some(lock) = arena.try_lock() else { return };
    let Some(p) = pcb(arena, index) else { return };
    let Some((other, q)) = table::by_inode(arena, peer) else { return };
    if join(&lock, (index, p), (other, q)) {
        let local = p.addresses().local;
        drop(lock);
        trace(format_args!("joined {} and {}", local, Address::of_inode(peer)));
    }
}

/// Joins both ends of socketpair(2).
pub fn join_pair(arena: &Arena, indices: [u32; 2]) {
    let Some(lock) = arena.try_lock() else { return };
    if let [Some(p), Some(q)] = indices.map(|i| pcb(arena, i)) {
        join(&lock, (indices[0], p), (indices[1], q));
    }
}

fn join(lock: &TableLock, (index, p): (u32, &Pcb), (other, q): (u32, &Pcb)) -> bool {
    let arena = lock.arena;
    let joinable = other != index
        && p.link.load(Ordering::Acquire) == 0
        && q.link.load(Ordering::Acquire) == 0
        && !(p.has(flag::KERNEL_ONLY) || q.has(flag::KERNEL_ONLY))
        && !owner::pid_is_gone(arena, q.owner.load(Ordering::Relaxed));
    let joined = joinable && table::join(lock, [index, other]);
    if joined {
        q.set_state(State::Established);
        p.set_state(State::Established);
    }
    joined
}
