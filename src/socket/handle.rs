//! Handles: a socket of this process, and its end of a circuit. Both are made anew for each call; all
//! state is in the arena.

use core::sync::atomic::Ordering;
use libc::c_int;

use crate::pcb::circuit::{Circuit, End, Link, circuit};
use crate::pcb::reap::Name;
use crate::pcb::{Pcb, block};
use crate::shm::Arena;
use crate::shm::owner::Me;
use crate::sys::thread;
use crate::transport::direction::Direction;

/// A socket of this process.
#[derive(Clone, Copy)]
pub struct Sock {
    pub arena: &'static Arena,
    pub index: u32,
    pub pcb: &'static Pcb,
    /// The anchor.
    pub fd: c_int,
}

/// A socket's end of a circuit.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub sock: Sock,
    pub circuit: &'static Circuit,
    pub link: Link,
    /// The direction it sends in.
    pub tx: &'static Direction,
    /// The direction it receives from.
    pub rx: &'static Direction,
}

impl Sock {
    /// The socket with PCB `index`, if that is still the use of it numbered `generation` (of which only
    /// the low 24 bits count).
    #[inline(always)]
    pub fn find(arena: &'static Arena, index: u32, generation: u32, fd: c_int) -> Option<Sock> {
        let pcb = block::pcb(arena, index)?;
        let same = (pcb.generation.load(Ordering::Acquire) ^ generation) & 0xff_ffff == 0;
        same.then_some(Sock { arena, index, pcb, fd })
    }

    pub fn name(&self) -> Name {
        Name::of(self.index, self.pcb)
    }

    /// Its end of a circuit, if it has been joined.
    #[inline(always)]
    pub fn endpoint(&self) -> Option<Endpoint> {
        let link = Link::of(self.pcb.link.load(Ordering::Acquire))?;
        let circuit = circuit(self.arena, link.circuit)?;
        Some(Endpoint { sock: *self, circuit, link, tx: circuit.from_side(link.side), rx: circuit.from_side(1 - link.side) })
    }

    /// The calling thread as an owner of locks.
    #[inline(always)]
    pub fn me(&self) -> Me {
        Me::get(self.arena).unwrap_or_else(Me::bootstrap)
    }

    /// Whether another thread or process may be using this very socket.
    #[inline(always)]
    pub fn may_have_company(&self) -> bool {
        thread::has_siblings() || self.pcb.has(block::flag::SHARED)
    }

    /// Whether another thread has closed the last descriptor of the socket.
    pub fn is_closed(&self) -> bool {
        self.pcb.descriptors.load(Ordering::Acquire) == 0
    }

    /// Whether a call with `flags` (MSG_DONTWAIT) may not block.
    #[inline]
    pub fn is_nonblocking(&self, flags: c_int) -> bool {
        flags & libc::MSG_DONTWAIT != 0 || self.pcb.has(block::flag::NONBLOCK)
    }
}

impl Endpoint {
    /// Whether it is a datagram socket's mailbox.
    #[inline]
    pub fn is_mailbox(&self) -> bool {
        self.sock.pcb.has(block::flag::DATAGRAM)
    }

    /// How the other end ended, as far as this one can have heard of it.
    #[inline]
    pub fn peer_end(&self) -> End {
        match self.circuit.end(1 - self.link.side) {
            End::Open => End::Open,
            told => self.end_heard(told),
        }
    }

    /// Whether the circuit is still the one this end was joined to, and this end still open: looked at
    /// with a direction's lock held, under which both are changed.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        self.circuit.generation.load(Ordering::Acquire) == self.link.generation && self.circuit.is_open(self.link.side)
    }

    /// The other end's PCB, while it has one.
    pub fn peer(&self) -> Option<(u32, &'static Pcb)> {
        let index = self.circuit.pcbs[1 - self.link.side].load(Ordering::Acquire);
        Some((index, block::pcb(self.sock.arena, index)?))
    }
}
