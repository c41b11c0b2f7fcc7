//! The protocol control block: one a socket, in the arena.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::key::{Address, Key};
use crate::shm::{Arena, layout::PCBS};

/// TCP's states as far as the PCB table needs them (RFC 9293, 3.3.2); the kernel keeps the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum State {
    /// Not in use.
    Free = 0,
    Closed = 1,
    Listen = 2,
    SynSent = 3,
    Established = 4,
    /// Its descriptor is closed; its other end may still read what was sent.
    Gone = 5,
}

impl State {
    fn of(word: u32) -> State {
        match word {
            1 => State::Closed,
            2 => State::Listen,
            3 => State::SynSent,
            4 => State::Established,
            5 => State::Gone,
            _ => State::Free,
        }
    }

    /// As ss(8) writes it.
    pub fn name(self) -> &'static str {
        match self {
            State::Free => "FREE",
            State::Closed => "CLOSED",
            State::Listen => "LISTEN",
            State::SynSent => "SYN-SENT",
            State::Established => "ESTAB",
            State::Gone => "GONE",
        }
    }
}

/// Bits of `Pcb::flags`, shared by every descriptor of the socket.
pub mod flag {
    /// O_NONBLOCK.
    pub const NONBLOCK: u32 = 1;
    /// More than one process may hold the socket: only the kernel knows when it ends.
    pub const SHARED: u32 = 1 << 1;
    /// shutdown(SHUT_RD).
    pub const SHUT_RD: u32 = 1 << 2;
    /// shutdown(SHUT_WR).
    pub const SHUT_WR: u32 = 1 << 3;
    /// A send found no room (the kernel's SOCK_NOSPACE): room is an edge.
    pub const NO_SPACE: u32 = 1 << 4;
    /// The connection is over for senders: EPIPE.
    pub const BROKEN: u32 = 1 << 5;
    /// TCP_NODELAY as the program set it.
    pub const NODELAY: u32 = 1 << 6;
    /// TCP_CORK as the program set it.
    pub const CORK: u32 = 1 << 7;
    /// SO_OOBINLINE.
    pub const OOB_INLINE: u32 = 1 << 8;
    /// SO_LINGER with time 0: closing resets.
    pub const LINGER_RESET: u32 = 1 << 9;
    /// The other end's close was looked at and its meaning settled.
    pub const END_SEEN: u32 = 1 << 10;
    /// An AF_INET6 socket.
    pub const INET6: u32 = 1 << 11;
    /// The anchor's own options were made fit for doorbells.
    pub const ANCHOR_READY: u32 = 1 << 12;
    /// Must stay on the kernel's path.
    pub const KERNEL_ONLY: u32 = 1 << 13;
    /// The connection was accepted rather than connected.
    pub const ACCEPTED: u32 = 1 << 14;
    /// O_ASYNC.
    pub const ASYNC: u32 = 1 << 15;
    /// A process that has it may not ring for room (`sys::confined`): who waits for room looks again.
    pub const CONFINED: u32 = 1 << 16;
    /// A send found the kernel full: the socket does not leave it before there is room.
    pub const KERNEL_FULL: u32 = 1 << 17;
    /// O_APPEND, with which sendfile(2) sends nothing.
    pub const APPEND: u32 = 1 << 18;
    /// An AF_UNIX socket.
    pub const UNIX: u32 = 1 << 19;
    /// A datagram socket.
    pub const DATAGRAM: u32 = 1 << 20;
    /// The kernel may have a datagram or an error for it, which comes first.
    pub const KERNEL_NEWS: u32 = 1 << 21;
    /// Its datagrams leave by the kernel: an option asks for what only that can do.
    pub const SENDS_BY_KERNEL: u32 = 1 << 22;
    /// The beginning of a datagram waits in the kernel for the rest (MSG_MORE).
    pub const CORKED: u32 = 1 << 23;
    /// IPV6_V6ONLY.
    pub const V6ONLY: u32 = 1 << 24;
    /// Others may receive what is sent to its port: the kernel chooses.
    pub const NOT_ALONE: u32 = 1 << 25;
    /// An earlier datagram through the kernel may have come back with an error.
    pub const ERROR_DUE: u32 = 1 << 26;
    /// A doorbell was left on the anchor, for others who may be about to be woken by it.
    pub const DOORBELL_LEFT: u32 = 1 << 27;
    /// It asks for ancillary data of the datagrams that come (`Pcb::asks`).
    pub const ASKS: u32 = 1 << 28;
    /// It carries packets, not bytes: SOCK_SEQPACKET.
    pub const PACKETS: u32 = 1 << 29;
    /// A datagram socket of AF_UNIX; it has DATAGRAM as well, and UNIX not.
    pub const LOCAL: u32 = 1 << 30;
    /// The socket that it is connected to was given to a program that does not see what is in the mailbox (LOCAL).
    pub const OWES: u32 = 1 << 31;
    /// What a socket from accept() takes over from its listener.
    pub const INHERITED: u32 = NODELAY | OOB_INLINE | LINGER_RESET | INET6 | KERNEL_ONLY;
}

/// What a program sees of a socket of a private net, whose anchor is of another family: `Pcb::facade`.
///
/// | bits | meaning |
/// |---|---|
/// | 0..8 | address family |
/// | 8..16 | protocol (IPPROTO) |
/// | 16.. | the bits below |
pub mod facade {
    /// SO_REUSEADDR and SO_REUSEPORT, as they were when it was bound.
    pub const REUSEADDR: u32 = 1 << 16;
    pub const REUSEPORT: u32 = 1 << 17;
    /// The program has bound it to a port of its choice.
    pub const BOUND: u32 = 1 << 18;
    /// A connect(2) that did not wait was told EINPROGRESS, and the program has not asked what came of it.
    pub const CONNECTING: u32 = 1 << 19;
    /// Its anchor has its name.
    pub const NAMED: u32 = 1 << 20;
    /// Its connection is over, or did not come about: it is made anew before it has another.
    pub const SPENT: u32 = 1 << 21;
    /// SOCK_RAW.
    pub const RAW: u32 = 1 << 22;
}

/// The space of raw sockets of an Internet protocol, or of those that are not raw (`Pcb::space`).
pub fn space_of(protocol: u8, is_raw: bool) -> u32 {
    u32::from(protocol) << 8 | if is_raw { facade::RAW } else { 0 }
}

/// More processes than one wait on a socket.
const SEVERAL: u32 = u32::MAX;

/// One socket.
#[repr(C, align(64))]
pub struct Pcb {
    // What every operation looks at.
    pub(super) state: AtomicU32,
    /// Counts the uses of this entry; a handle with another number is stale.
    pub generation: AtomicU32,
    flags: AtomicU32,
    /// SO_RCVLOWAT, at least 1.
    pub rcvlowat: AtomicU32,
    /// The circuit and the side of it, see `circuit::Link`; 0 while there is none.
    pub link: AtomicU64,
    pub rcvtimeo_ns: AtomicU64,
    pub sndtimeo_ns: AtomicU64,
    /// SO_ERROR, to be told once.
    pub so_error: AtomicU32,
    /// Sends that are in the kernel at this moment.
    pub sends_in_kernel: AtomicU32,
    /// SO_SNDBUF and SO_RCVBUF as getsockopt tells them, 0 where never set.
    pub sndbuf: AtomicU32,
    pub rcvbuf: AtomicU32,
    /// Receives that are in the kernel at this moment (AF_UNIX).
    pub recvs_in_kernel: AtomicU32,
    /// Calls made before the other end was known (AF_UNIX).
    pub calls_alone: AtomicU32,
    // Who and where.
    /// SO_COOKIE of the anchor.
    pub cookie: AtomicU64,
    /// Slot of the process that has it.
    pub owner: AtomicU32,
    /// Its number there.
    pub fd: AtomicU32,
    /// Descriptors of the owner that refer to it.
    pub descriptors: AtomicU32,
    pub backlog: AtomicU32,
    local: [AtomicU64; 2],
    remote: [AtomicU64; 2],
    /// Local port, and remote port shifted left by 16.
    ports: AtomicU32,
    pub(super) next_cookie: AtomicU32,
    pub(super) next_connection: AtomicU32,
    pub(super) next_port: AtomicU32,
    /// Datagrams that it has begun to send through the kernel, and how many of those were read by a known time (LOCAL).
    pub by_kernel: AtomicU64,
    pub by_kernel_read: AtomicU64,
    /// Slot plus one of the process that waits on it, or has it in an event loop; `SEVERAL` where there were others.
    watcher: AtomicU32,
    /// What it is told beside the datagrams that come (`socket::datagram::told`).
    pub asks: AtomicU32,
    /// What its own datagrams carry (`socket::datagram::marks`).
    pub marks: AtomicU64,
    /// The interface that has its local address, where it is told that.
    pub interface: AtomicU32,
    /// The host of a private net that it belongs to, 0 in the host net.
    pub host: AtomicU32,
    /// Where in its mailbox a datagram lies that came before anybody asked for the time and was looked at since, plus one;
    /// and when that was.
    pub peeked_at: AtomicU64,
    pub peeked_ns: AtomicU64,
    /// What the program sees of a socket of a private net, whose anchor is of AF_UNIX (`Facade`); 0 in the host net.
    pub facade: AtomicU32,
    /// The listening PCB that a connection which nobody has accepted yet waits at.
    pub listener: AtomicU32,
    /// Connections that wait at a listening PCB: those whose anchors are connected less those that were accepted, which
    /// may be one too few for a moment (`waiting`).
    pub(super) waiting: AtomicU32,
    /// Where the one that accepts last waited (`socket::crowd::place`), and where the last that connected did.
    pub places: [AtomicU32; 2],
    /// The number of the anchor's inode, where the addresses do not say it.
    pub anchor_inode: AtomicU64,
    /// Options that the anchor does not know: level, name and value (`socket::private::options`).
    pub options: [AtomicU64; OPTIONS],
    /// The block with what few datagram sockets have (`extras`), 0 where there is none.
    pub(super) extras: AtomicU64,
    _rest: [u64; 1],
}

/// Options kept for a socket of a private net.
pub const OPTIONS: usize = 12;

crate::shm::shared_struct!(Pcb, PCBS.entry_bytes);

/// The PCB with a number.
#[inline]
pub fn pcb(arena: &Arena, index: u32) -> Option<&Pcb> {
    arena.at(PCBS.entry_off(index)?)
}

impl Pcb {
    #[inline]
    pub fn state(&self) -> State {
        State::of(self.state.load(Ordering::Acquire))
    }

    /// The only way a state changes.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u32, Ordering::Release);
    }

    #[inline]
    pub fn has(&self, flags: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flags != 0
    }

    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    pub fn set(&self, flags: u32) {
        self.flags.fetch_or(flags, Ordering::AcqRel);
    }

    pub fn clear(&self, flags: u32) {
        self.flags.fetch_and(!flags, Ordering::AcqRel);
    }

    pub fn put(&self, flags: u32, on: bool) {
        if on { self.set(flags) } else { self.clear(flags) }
    }

    /// Sets `flags`; false where they were set already.
    pub fn set_once(&self, flags: u32) -> bool {
        self.flags.fetch_or(flags, Ordering::AcqRel) & flags == 0
    }

    pub fn addresses(&self) -> Key {
        let ports = self.ports.load(Ordering::Acquire);
        let address = |words: &[AtomicU64; 2], port: u32| Address {
            high: words[0].load(Ordering::Relaxed),
            low: words[1].load(Ordering::Relaxed),
            port: port as u16,
        };
        Key { local: address(&self.local, ports), remote: address(&self.remote, ports >> 16) }
    }

    pub fn set_addresses(&self, key: Key) {
        for (words, a) in [(&self.local, key.local), (&self.remote, key.remote)] {
            words[0].store(a.high, Ordering::Relaxed);
            words[1].store(a.low, Ordering::Relaxed);
        }
        self.ports.store(u32::from(key.local.port) | u32::from(key.remote.port) << 16, Ordering::Release);
    }

    /// Whether it is a socket of a private net, its AF_UNIX ones aside.
    #[inline]
    pub fn is_private(&self) -> bool {
        self.facade.load(Ordering::Relaxed) != 0
    }

    /// Whether it is of AF_UNIX not only beneath, but for the program as well.
    #[inline]
    pub fn is_unix_domain(&self) -> bool {
        self.has(flag::UNIX) && !self.is_private()
    }

    /// The address family of a private net's socket, and its protocol.
    pub fn family_and_protocol(&self) -> (i32, i32) {
        let word = self.facade.load(Ordering::Relaxed);
        ((word & 0xff) as i32, (word >> 8 & 0xff) as i32)
    }

    /// Which ports are its own: sockets of different spaces never meet. 0 in the host net; in a private net by protocol
    /// (IPv4 and IPv6 are one), raw sockets and those of packets apart.
    #[inline]
    pub fn space(&self) -> u32 {
        let facade = self.facade.load(Ordering::Relaxed);
        let family = match (facade & 0xff) as i32 {
            libc::AF_INET | libc::AF_INET6 => 0,
            other => other as u32,
        };
        facade & (0xff00 | facade::RAW) | family | u32::from(self.has(flag::PACKETS)) << 31
    }

    /// Whether it is a raw socket.
    #[inline]
    pub fn is_raw(&self) -> bool {
        self.shows(facade::RAW)
    }

    /// Whether it is a socket of ICMP that the program has not made a raw one (icmp(7)).
    #[inline]
    pub fn is_ping(&self) -> bool {
        let (_, protocol) = self.family_and_protocol();
        self.has(flag::DATAGRAM) && !self.is_raw() && matches!(protocol, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6)
    }

    /// Whether a connection waits to be accepted.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) as i32 > 0
    }

    /// How many do.
    pub fn count_waiting(&self) -> u32 {
        (self.waiting.load(Ordering::Acquire) as i32).max(0) as u32
    }

    /// Whether any of the facade's `bits` is set.
    pub fn shows(&self, bits: u32) -> bool {
        self.facade.load(Ordering::Acquire) & bits != 0
    }

    /// Sets or clears bits of the facade.
    pub fn put_facade(&self, bits: u32, on: bool) {
        if on {
            self.facade.fetch_or(bits, Ordering::AcqRel)
        } else {
            self.facade.fetch_and(!bits, Ordering::AcqRel)
        };
    }

    /// Makes a fresh block out of the remains of another.
    pub(super) fn reset(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.flags.store(0, Ordering::Relaxed);
        self.rcvlowat.store(1, Ordering::Relaxed);
        self.set_addresses(Key { local: Address::default(), remote: Address::default() });
        for word in [
            &self.link,
            &self.rcvtimeo_ns,
            &self.sndtimeo_ns,
            &self.cookie,
            &self.by_kernel,
            &self.by_kernel_read,
            &self.marks,
            &self.peeked_at,
            &self.anchor_inode,
            &self.extras,
        ] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [
            &self.so_error,
            &self.sends_in_kernel,
            &self.recvs_in_kernel,
            &self.calls_alone,
            &self.sndbuf,
            &self.rcvbuf,
            &self.owner,
            &self.fd,
            &self.backlog,
            &self.next_cookie,
            &self.next_connection,
            &self.next_port,
            &self.watcher,
            &self.asks,
            &self.interface,
            &self.host,
            &self.facade,
            &self.listener,
            &self.waiting,
            &self.places[0],
            &self.places[1],
        ] {
            word.store(0, Ordering::Relaxed);
        }
        self.options.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.descriptors.store(1, Ordering::Relaxed);
    }

    /// The process in `slot` is about to wait on it.
    pub fn watch_from(&self, slot: u32) {
        let me = slot.wrapping_add(1);
        if self.watcher.load(Ordering::SeqCst) != me
            && self.watcher.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst).is_err_and(|now| now != me)
        {
            self.watcher.store(SEVERAL, Ordering::SeqCst);
        }
    }

    /// Whether a process other than that in `slot` may wait on it.
    pub fn is_watched_elsewhere(&self, slot: u32) -> bool {
        ![0, slot.wrapping_add(1)].contains(&self.watcher.load(Ordering::SeqCst))
    }
}
