//! One direction of a circuit, as it lies in the arena: who may write which line, and the state machine
//! by which a direction moves from the kernel to the ring.

use crate::shm::Shared;
use crate::shm::lock::RobustLock;
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};
use crate::transport::wait::{WaitWord, Wishes};

/// Segments that a direction can have at once.
pub const SEGMENTS: usize = if cfg!(loom) { 3 } else { 16 };

/// Values of `Control::deaf`.
pub const DEAF: u32 = 1;
pub const RECALLED: u32 = 2;
/// As `RECALLED`, and nobody will read what is in the ring.
pub const ABANDONED: u32 = 3;

/// Which way the bytes of a direction go.
///
/// ```text
/// KERNEL --receiver confirms--> READY --sender--> SWITCHING --> RING
///    \--either end--> PINNED               \--bytes still under way--> READY
/// ```
///
/// Over AF_UNIX, whose kernel counts nothing, the sender confirms and the receiver switches, which can see how much is
/// still to be read. What only the kernel can carry, descriptors above all, takes a direction back to it:
///
/// ```text
/// RING --sender--> PARTING --no doorbell under way--> LEAVING --receiver has read the ring--> PINNED
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Path {
    /// The receiver has not yet said that it sees the other end.
    Kernel = 0,
    /// The receiver has: the sender may switch.
    Ready = 1,
    /// The sender is counting what it sent through the kernel, holding the writer's lock.
    Switching = 2,
    /// `kernel_bytes` went through the kernel, all that follows goes through the ring.
    Ring = 3,
    /// Through the kernel for good.
    Pinned = 4,
    /// The sender is about to leave the ring, holding the writer's lock.
    Parting = 5,
    /// The sender has left the ring: after what is in it, and the doorbells, comes the kernel's.
    Leaving = 6,
}

impl Path {
    /// Whether a receiver finds what comes next in the ring, until that is empty.
    #[inline]
    pub fn leads_to_ring(self) -> bool {
        matches!(self, Path::Ring | Path::Parting | Path::Leaving)
    }

    fn of(word: u32) -> Path {
        match word {
            0 => Path::Kernel,
            1 => Path::Ready,
            2 => Path::Switching,
            3 => Path::Ring,
            5 => Path::Parting,
            6 => Path::Leaving,
            _ => Path::Pinned,
        }
    }
}

/// Written by senders under `lock`, read by nobody else.
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub struct Writer {
    pub lock: RobustLock,
    /// The receiver's tail as last looked at.
    pub tail_seen: AtomicU64,
    pub messages: AtomicU64,
    /// A sleeping sender wants to be woken when the tail has come this far.
    pub wake_at: AtomicU64,
    /// How often the ring was found full.
    pub fulls: AtomicU64,
    /// When a sender last looked whether the connection has ended.
    pub looked_ns: AtomicU64,
    /// Where the sender has come to while bytes are late: `Produced::head` is what has arrived then.
    pub sent: AtomicU64,
}

/// Written by senders, read by receivers.
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub struct Produced {
    /// Bytes ever published.
    pub head: AtomicU64,
    /// The segment that `head` lies in, counted from the first ever.
    pub segment: AtomicU32,
    /// 1 once the sender has shut the direction down: end of file after `head`.
    pub fin: AtomicU32,
    /// Where the sender last waited (`socket::crowd::place`).
    pub place: AtomicU32,
    /// When something last came (`sys::clock::ticks`), where `Control::is_timed` asks for that.
    pub came_at: AtomicU64,
    /// Doorbells ever rung, where they are counted (AF_UNIX).
    pub rings: AtomicU64,
    /// When the next of what is late arrives, `NEVER` where nothing is.
    pub next_due_ns: AtomicU64,
    /// When the end of file, and the end of the connection, arrive; 0 where they are not under way.
    pub fin_due_ns: AtomicU64,
    pub end_due_ns: AtomicU64,
}

/// Written by receivers under `lock`, read by nobody else.
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub struct Reader {
    pub lock: RobustLock,
    /// The sender's head as last looked at.
    pub head_seen: AtomicU64,
    pub messages: AtomicU64,
    /// Data still to be read from the kernel before the ring, plus one; 0 before it was worked out.
    pub kernel_left: AtomicU64,
    /// Stream position of the urgent byte's mark and whether it was read: see `Control::urgent`. Of a mailbox, 1 where
    /// the last datagram left it empty.
    pub urgent_seen: AtomicU64,
    /// How much the receiver itself had sent when it last found nothing; of a mailbox, the datagrams of its thread.
    pub sent_seen: AtomicU64,
    /// How long a receiver that only listens keeps its eyes shut before it looks, in nanoseconds.
    pub calm_ns: AtomicU64,
    /// When a receiver last looked whether the connection has ended.
    pub looked_ns: AtomicU64,
}

/// Written by receivers, read by senders.
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub struct Consumed {
    /// Bytes ever taken.
    pub tail: AtomicU64,
    /// The segment that `tail` lies in.
    pub segment: AtomicU32,
    /// Where the receiver last waited (`socket::crowd::place`).
    pub place: AtomicU32,
    /// Doorbells ever taken from the anchor, or about to be.
    pub rings_taken: AtomicU64,
}

/// Written rarely, by either end.
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub struct Control {
    /// Set by receivers, taken by the sender that publishes.
    pub readable: WaitWord,
    /// Set by senders, taken by the receiver that makes room.
    pub writable: WaitWord,
    path: AtomicU32,
    /// `DEAF` once the receiving end has shut down both ways: what comes now is answered with RST (RFC 1122, 4.2.2.13).
    /// Over AF_UNIX once it has shut down its half; `RECALLED` where it wants the direction to go back to the kernel.
    pub deaf: AtomicU32,
    /// How many bytes went through the kernel before the switch.
    pub kernel_bytes: AtomicU64,
    /// 1 where event loops tell in which order things came.
    pub is_timed: AtomicU32,
    /// What of the direction is late (`late`).
    pub late: AtomicU32,
    /// Position plus one of an urgent byte that the receiver is never told, 0 for none.
    pub lost: AtomicU64,
    /// Urgent data (tcp(7)): position of the urgent byte in the stream, plus one, shifted left by 8,
    /// with the byte; 0 is none.
    pub urgent: AtomicU64,
    /// The schedule of late bytes (`transport::flight`), a `shm::blocks::Block`; 0 where there never were any.
    pub schedule: AtomicU64,
}

/// Bits of `Control::late`: what a faulty link has laid between the two ends.
pub mod late {
    /// Bytes: the sender is ahead of the head.
    pub const BYTES: u32 = 1;
    /// The end of file.
    pub const FIN: u32 = 2;
    /// The end of the connection.
    pub const END: u32 = 4;
    /// Datagrams: they wait in the mailbox's other direction (`transport::late`).
    pub const DATAGRAMS: u32 = 8;
    /// The answer to a request for the connection, and what tells the other end of it (`pcb::circuit::Handshake`).
    pub const ANSWER: u32 = 16;
    pub const KNOCK: u32 = 32;
    /// Errors that datagrams have met: they are in the socket's queue already (`pcb::extras`).
    pub const ERRORS: u32 = 64;
}

/// Nothing is under way.
pub const NEVER: u64 = u64::MAX;
/// It arrives no more, as far as is known: the link is cut.
pub const HELD: u64 = u64::MAX - 1;

/// A piece of the ring's memory.
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub struct Segment {
    /// `shm::blocks::Block`.
    pub block: AtomicU64,
    /// Stream position of its first byte.
    pub start: AtomicU64,
}

/// One direction of a circuit.
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub struct Direction {
    pub writer: Writer,
    pub produced: Produced,
    pub reader: Reader,
    pub consumed: Consumed,
    pub control: Control,
    pub segments: [Segment; SEGMENTS],
    /// In a model: what lies in a block of the arena elsewhere.
    #[cfg(loom)]
    pub schedule: super::flight::Schedule,
}

// SAFETY: atomics and structures of them alone, `repr(C)`.
unsafe impl Shared for Direction {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Direction>() == 576);

impl Direction {
    /// Makes a direction out of the remains of another: everything through the kernel, nobody looked yet.
    pub fn reset(&self) {
        self.writer.lock.reset();
        self.reader.lock.reset();
        for word in [
            &self.writer.tail_seen,
            &self.writer.messages,
            &self.writer.wake_at,
            &self.writer.fulls,
            &self.writer.looked_ns,
            &self.writer.sent,
            &self.produced.head,
            &self.produced.came_at,
            &self.produced.rings,
            &self.produced.fin_due_ns,
            &self.produced.end_due_ns,
            &self.reader.head_seen,
            &self.reader.messages,
            &self.reader.kernel_left,
            &self.reader.urgent_seen,
            &self.reader.sent_seen,
            &self.reader.calm_ns,
            &self.reader.looked_ns,
            &self.consumed.tail,
            &self.consumed.rings_taken,
            &self.control.kernel_bytes,
            &self.control.urgent,
            &self.control.lost,
            &self.control.schedule,
        ] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [
            &self.produced.segment,
            &self.produced.fin,
            &self.produced.place,
            &self.consumed.segment,
            &self.consumed.place,
            &self.control.path,
            &self.control.deaf,
            &self.control.is_timed,
            &self.control.late,
        ] {
            word.store(0, Ordering::Relaxed);
        }
        self.produced.next_due_ns.store(NEVER, Ordering::Relaxed);
        for s in &self.segments {
            s.block.store(0, Ordering::Relaxed);
            s.start.store(0, Ordering::Relaxed);
        }
        self.control.readable.reset();
        self.control.writable.reset();
    }

    /// The path bytes take.
    #[inline]
    pub fn path(&self) -> Path {
        Path::of(self.control.path.load(Ordering::SeqCst))
    }

    /// One step of the state machine; false where the path is not `from` (any more).
    pub fn change_path(&self, from: Path, to: Path) -> bool {
        self.control.path.compare_exchange(from as u32, to as u32, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The receiver says that it sees the other end. True if the direction is, or can come, on the ring.
    pub fn confirm(&self) -> bool {
        self.change_path(Path::Kernel, Path::Ready);
        self.path() != Path::Pinned
    }

    /// What of it is late; 0 for a direction without faults.
    #[inline(always)]
    pub fn late(&self) -> u32 {
        self.control.late.load(Ordering::Relaxed)
    }

    /// How far the sender has come: what is not late is published as well.
    #[inline]
    pub fn sent(&self) -> u64 {
        let word = if self.late() & late::BYTES == 0 { &self.produced.head } else { &self.writer.sent };
        word.load(Ordering::SeqCst)
    }

    /// Bytes sent and not yet taken. `None` if the arena is damaged.
    #[inline]
    pub fn unread(&self) -> Option<u64> {
        let tail = self.consumed.tail.load(Ordering::SeqCst);
        self.sent().checked_sub(tail)
    }

    /// Bytes published and not yet taken. `None` if the arena is damaged.
    #[inline]
    pub fn queued(&self) -> Option<u64> {
        let tail = self.consumed.tail.load(Ordering::SeqCst);
        self.produced.head.load(Ordering::SeqCst).checked_sub(tail)
    }

    /// Whether there is something to take, on a damaged arena as well: the reader will find out.
    #[inline]
    pub fn has_data(&self) -> bool {
        self.produced.head.load(Ordering::SeqCst) != self.consumed.tail.load(Ordering::SeqCst)
    }

    /// Whether the sender has ended the direction.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.produced.fin.load(Ordering::SeqCst) != 0
    }

    /// Where the tail has to come before a sender that found no room is woken: a third of what is queued
    /// is read by then, as in Linux.
    pub fn wake_point(&self) -> u64 {
        let tail = self.consumed.tail.load(Ordering::SeqCst);
        let queued = self.sent().saturating_sub(tail);
        tail.saturating_add((queued / 3).max(queued.min(1)))
    }

    /// Says that a sender waits until the tail has come to `wake_at`; it must look once more before it sleeps.
    pub fn declare_writer(&self, wake_at: u64) {
        self.writer.wake_at.store(wake_at, Ordering::SeqCst);
        self.control.writable.declare_asleep();
    }

    /// After bytes were taken: takes the wishes of who waits for room, if there is as much as it wants.
    #[inline]
    pub fn take_writer_wishes(&self) -> Option<Wishes> {
        fence_after_rmw();
        if !self.control.writable.is_set() || self.consumed.tail.load(Ordering::Relaxed) < self.writer.wake_at.load(Ordering::SeqCst) {
            return None;
        }
        self.control.writable.take()
    }

    /// Whether no other segment can be appended before one is read to its end.
    pub fn is_chain_full(&self) -> bool {
        let used = self.produced.segment.load(Ordering::Relaxed).wrapping_sub(self.consumed.segment.load(Ordering::Relaxed));
        used as usize >= SEGMENTS - 1
    }

    /// The segment with a running number.
    #[inline]
    pub fn segment(&self, number: u32) -> &Segment {
        &self.segments[number as usize % SEGMENTS]
    }
}
