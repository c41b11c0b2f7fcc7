//! Publishing a connection and joining its other end.
//!
//! Joining is symmetric: whichever end publishes first can be found, the second finds it and makes the
//! circuit. Neither waits. A PCB left behind by an earlier connection with the same addresses can be joined
//! by mistake, and does no harm: a direction leaves the kernel only after its receiver has said, in the
//! circuit, that it sees the other end.

use core::sync::atomic::Ordering;

use crate::pcb::block::{State, flag, pcb};
use crate::pcb::{Key, table};
use crate::shm::{Arena, owner};
use crate::sys::trace::trace;

/// Makes the connection of PCB `index` findable and joins its other end if that is there already.
pub fn publish(arena: &Arena, index: u32, key: Key, state: State) {
    let Some(lock) = arena.try_lock() else { return };
    let Some(p) = pcb(arena, index) else { return };
    table::bind_connection(&lock, index, key, state);
    let Some((other, q)) = table::connected(arena, key.reversed()) else { return };
    let joinable = other != index
        && p.link.load(Ordering::Acquire) == 0
        && q.link.load(Ordering::Acquire) == 0
        && !(p.has(flag::KERNEL_ONLY) || q.has(flag::KERNEL_ONLY))
        && !owner::pid_is_gone(arena, q.owner.load(Ordering::Relaxed));
    if joinable && table::join(&lock, [index, other]) {
        q.set_state(State::Established);
        p.set_state(State::Established);
        drop(lock);
        trace(format_args!("joined {} and {}", key.local, key.remote));
    }
}
