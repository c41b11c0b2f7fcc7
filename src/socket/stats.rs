//! What this process's sockets have done.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::pcb::block::flag;
use crate::pcb::circuit::{Link, circuit};
use crate::pcb::{Pcb, circuit::Circuit};
use crate::shm::Arena;

/// Counters of a process, in the order of `struct landline_stats`.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Stats {
    /// Bytes sent through rings.
    pub ring_tx_bytes: u64,
    /// Calls that sent through rings.
    pub ring_tx_messages: u64,
    /// Bytes received through rings.
    pub ring_rx_bytes: u64,
    /// Calls that received through rings.
    pub ring_rx_messages: u64,
    /// Bytes of stream sockets sent through the kernel.
    pub kernel_tx_bytes: u64,
    /// Calls that did.
    pub kernel_tx_messages: u64,
    /// Bytes of stream sockets received through the kernel.
    pub kernel_rx_bytes: u64,
    /// Calls that did.
    pub kernel_rx_messages: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Times a thread slept for a ring.
    pub sleeps: u64,
    /// Connections that have reached the ring, and datagram sockets that have got a mailbox.
    pub circuits: u64,
    /// Datagrams dropped because a mailbox was full.
    pub drops: u64,
}

/// The process's counters that are not kept in circuits: those of mailboxes are all here.
pub struct Counters {
    pub ring_tx_bytes: AtomicU64,
    pub ring_tx_messages: AtomicU64,
    pub ring_rx_bytes: AtomicU64,
    pub ring_rx_messages: AtomicU64,
    pub kernel_tx_bytes: AtomicU64,
    pub kernel_tx_messages: AtomicU64,
    pub kernel_rx_bytes: AtomicU64,
    pub kernel_rx_messages: AtomicU64,
    pub doorbells: AtomicU64,
    pub sleeps: AtomicU64,
    pub circuits: AtomicU64,
    pub drops: AtomicU64,
}

/// The counters.
pub static COUNTERS: Counters = Counters {
    ring_tx_bytes: AtomicU64::new(0),
    ring_tx_messages: AtomicU64::new(0),
    ring_rx_bytes: AtomicU64::new(0),
    ring_rx_messages: AtomicU64::new(0),
    kernel_tx_bytes: AtomicU64::new(0),
    kernel_tx_messages: AtomicU64::new(0),
    kernel_rx_bytes: AtomicU64::new(0),
    kernel_rx_messages: AtomicU64::new(0),
    doorbells: AtomicU64::new(0),
    sleeps: AtomicU64::new(0),
    circuits: AtomicU64::new(0),
    drops: AtomicU64::new(0),
};

/// Adds to a counter.
#[inline]
pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// A doorbell was rung.
pub fn rang(arena: &Arena) {
    add(&COUNTERS.doorbells, 1);
    add(&arena.header().totals.doorbells, 1);
}

/// A thread goes to sleep.
pub fn sleeps(arena: &Arena) {
    add(&COUNTERS.sleeps, 1);
    add(&arena.header().totals.sleeps, 1);
}

/// What one socket has moved through its ring: sent bytes and messages, received bytes and messages.
fn moved(c: &Circuit, side: usize) -> [u64; 4] {
    let (tx, rx) = (c.from_side(side), c.from_side(1 - side));
    [&tx.produced.head, &tx.writer.messages, &rx.consumed.tail, &rx.reader.messages].map(|w| w.load(Ordering::Relaxed))
}

fn of_pcb(arena: &Arena, p: &Pcb) -> Option<[u64; 4]> {
    let link = Link::of(p.link.load(Ordering::Acquire)).filter(|_| !p.has(flag::DATAGRAM | flag::PACKETS))?;
    let c = circuit(arena, link.circuit).filter(|c| c.generation.load(Ordering::Acquire) == link.generation)?;
    Some(moved(c, link.side))
}

/// Adds what a socket has moved to the process's counters: before it is closed.
pub fn fold(arena: &Arena, p: &Pcb) {
    let Some([tx, txm, rx, rxm]) = of_pcb(arena, p) else { return };
    add(&COUNTERS.ring_tx_bytes, tx);
    add(&COUNTERS.ring_tx_messages, txm);
    add(&COUNTERS.ring_rx_bytes, rx);
    add(&COUNTERS.ring_rx_messages, rxm);
}

/// The counters now, `open` being the sockets the process has open.
pub fn now<'a>(arena: Option<&'a Arena>, open: impl Iterator<Item = &'a Pcb>) -> Stats {
    let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
    let c = &COUNTERS;
    let mut stats = Stats {
        ring_tx_bytes: get(&c.ring_tx_bytes),
        ring_tx_messages: get(&c.ring_tx_messages),
        ring_rx_bytes: get(&c.ring_rx_bytes),
        ring_rx_messages: get(&c.ring_rx_messages),
        kernel_tx_bytes: get(&c.kernel_tx_bytes),
        kernel_tx_messages: get(&c.kernel_tx_messages),
        kernel_rx_bytes: get(&c.kernel_rx_bytes),
        kernel_rx_messages: get(&c.kernel_rx_messages),
        doorbells: get(&c.doorbells),
        sleeps: get(&c.sleeps),
        circuits: get(&c.circuits),
        drops: get(&c.drops),
    };
    let Some(arena) = arena else { return stats };
    for p in open {
        if let Some([tx, txm, rx, rxm]) = of_pcb(arena, p) {
            stats.ring_tx_bytes = stats.ring_tx_bytes.wrapping_add(tx);
            stats.ring_tx_messages = stats.ring_tx_messages.wrapping_add(txm);
            stats.ring_rx_bytes = stats.ring_rx_bytes.wrapping_add(rx);
            stats.ring_rx_messages = stats.ring_rx_messages.wrapping_add(rxm);
        }
    }
    stats
}
