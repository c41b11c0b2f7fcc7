//! The virtual circuit: what two joined PCBs share, two directions and how each end ended.

use core::sync::atomic::{AtomicU32, Ordering};

use super::tap;
use crate::shm::{Arena, layout::CIRCUITS};
use crate::sys::futex::PiLock;
use crate::transport::direction::Direction;

/// How one end of a circuit ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum End {
    /// It has not.
    Open = 0,
    /// Closed after reading all that had come: FIN.
    Clean = 1,
    /// Closed with unread data, or with SO_LINGER's time 0: RST.
    Reset = 2,
}

/// Two PCBs and what flows between them.
#[repr(C, align(64))]
pub struct Circuit {
    /// The PCBs; side 0 completed the circuit.
    pub pcbs: [AtomicU32; 2],
    ends: [AtomicU32; 2],
    /// Counts the uses of this entry.
    pub generation: AtomicU32,
    /// 1 while it joins two sockets.
    pub in_use: AtomicU32,
    /// The next in the chain of freed ones.
    pub(super) next: AtomicU32,
    /// 1 where it is the mailbox of one datagram socket, on side 0: the direction from side 1 alone is used, by anybody.
    pub is_mailbox: AtomicU32,
    /// For each side: who of several receivers, and of several senders, sleeps on the anchor.
    roles: [[PiLock; 2]; 2],
    _rest: [u64; 10],
    directions: [Direction; 2],
}

crate::shm::shared_struct!(Circuit, CIRCUITS.entry_bytes);

/// A PCB's place in a circuit, as one word.
///
/// | bits | meaning |
/// |---|---|
/// | 0 | side |
/// | 1..32 | circuit |
/// | 32..64 | its generation |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    pub circuit: u32,
    pub side: usize,
    pub generation: u32,
}

impl Link {
    pub fn word(self) -> u64 {
        self.side as u64 & 1 | u64::from(self.circuit) << 1 | u64::from(self.generation) << 32
    }

    #[inline]
    pub fn of(word: u64) -> Option<Link> {
        let circuit = (word as u32) >> 1;
        (circuit != 0).then_some(Link { circuit, side: (word & 1) as usize, generation: (word >> 32) as u32 })
    }

    /// The other end's.
    pub fn other(self) -> Link {
        Link { side: 1 - (self.side & 1), ..self }
    }
}

/// The circuit with a number.
#[inline]
pub fn circuit(arena: &Arena, index: u32) -> Option<&Circuit> {
    arena.at(CIRCUITS.entry_off(index)?)
}

impl Circuit {
    /// The direction in which `side` sends.
    #[inline]
    pub fn from_side(&self, side: usize) -> &Direction {
        &self.directions[side & 1]
    }

    /// How `side` ended.
    #[inline]
    pub fn end(&self, side: usize) -> End {
        match self.ends[side & 1].load(Ordering::SeqCst) {
            0 => End::Open,
            1 => End::Clean,
            _ => End::Reset,
        }
    }

    /// Says once how the end that `link` names ended; the first word counts.
    pub fn set_end(&self, arena: &Arena, link: Link, end: End) {
        if tap::is_on(arena) && self.end(link.side) == End::Open {
            tap::connection(arena, link, if end == End::Reset { tap::Kind::Reset } else { tap::Kind::Fin });
        }
        let _ = self.ends[link.side & 1].compare_exchange(End::Open as u32, end as u32, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The sleeping role of `side`'s receivers (0) or senders (1).
    pub fn role(&self, side: usize, which: usize) -> &PiLock {
        &self.roles[side & 1][which & 1]
    }

    pub(super) fn reset(&self, pcbs: [u32; 2]) -> u32 {
        for role in self.roles.iter().flatten() {
            role.reset();
        }
        for d in &self.directions {
            d.reset();
        }
        for (side, pcb) in pcbs.into_iter().enumerate() {
            self.pcbs[side].store(pcb, Ordering::Relaxed);
            self.ends[side].store(End::Open as u32, Ordering::Relaxed);
        }
        self.is_mailbox.store(u32::from(pcbs[1] == 0), Ordering::Relaxed);
        self.in_use.store(1, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }
}
