//! The virtual circuit: what two joined PCBs share, two directions and how each end ended.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
    pub handshake: Handshake,
    _rest: [u64; 6],
    directions: [Direction; 2],
}

crate::shm::shared_struct!(Circuit, CIRCUITS.entry_bytes);

/// What a faulty link lays between a request for a connection and its answer. Nothing of it is looked at unless the direction
/// to side 0, who asks, says that it is under way (`transport::direction::late`).
#[repr(C)]
pub struct Handshake {
    /// When the one who asked has the answer, or asks again.
    pub answer_ns: AtomicU64,
    /// When the other end hears of the request.
    pub knock_ns: AtomicU64,
    /// When it can accept the connection.
    pub accept_ns: AtomicU64,
    /// Requests that were not answered, plus one; 0 once one was.
    pub tries: AtomicU32,
    /// SO_ERROR where the answer is a refusal.
    pub refusal: AtomicU32,
}

/// Beside `End`: the network has reset the connection. Each end is the other's reset, and still open itself.
const CUT: u32 = 3;

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

    /// Whether `side` itself has not ended.
    #[inline(always)]
    pub fn is_open(&self, side: usize) -> bool {
        matches!(self.ends[side & 1].load(Ordering::SeqCst), 0 | CUT)
    }

    /// Says once how the end that `link` names ended; the first word counts.
    pub fn set_end(&self, arena: &Arena, link: Link, end: End) {
        if tap::is_on(arena) && self.end(link.side) == End::Open {
            tap::connection(arena, link, if end == End::Reset { tap::Kind::Reset } else { tap::Kind::Fin });
        }
        let word = &self.ends[link.side & 1];
        if word.compare_exchange(End::Open as u32, end as u32, Ordering::SeqCst, Ordering::SeqCst) == Err(CUT) {
            let _ = word.compare_exchange(CUT, End::Reset as u32, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// The network has reset the connection.
    pub fn cut(&self) {
        for word in &self.ends {
            let _ = word.compare_exchange(End::Open as u32, CUT, Ordering::SeqCst, Ordering::SeqCst);
        }
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
        for word in [&self.handshake.answer_ns, &self.handshake.knock_ns, &self.handshake.accept_ns] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [&self.handshake.tries, &self.handshake.refusal] {
            word.store(0, Ordering::Relaxed);
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
