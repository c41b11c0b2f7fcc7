//! What a capture is told of connections and datagrams: one event for each thing that would cross a wire, told before
//! anybody can see what comes of it.

use core::sync::atomic::{AtomicU64, Ordering};

use super::block::{Pcb, flag, pcb};
use super::circuit::{Circuit, Link, circuit};
use super::key::{Address, Key};
use crate::shm::{Arena, owner};
use crate::sys::{call, clock, thread};
use crate::transport::iov::{Iov, Piece};
use crate::transport::tap;
pub use crate::transport::tap::is_on;

/// What happened. The names are TCP's; a datagram is one of any other protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A connection is asked for; what comes of it follows.
    Syn = 1,
    /// A connection was made: of the whole handshake where no `Syn` came before.
    Open = 2,
    /// Nobody listens: of the whole attempt where no `Syn` came before.
    Refused = 3,
    /// Somebody has taken the connection: nothing that crosses a wire.
    Accepted = 4,
    /// Bytes of a stream.
    Data = 5,
    /// The end of a stream.
    Fin = 6,
    /// The end of a connection.
    Reset = 7,
    /// A datagram: what follows the IP header, but of UDP its data alone.
    Datagram = 8,
    /// The same, where it answers that something cannot be reached (RFC 792, RFC 4443).
    Unreachable = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        use Kind::*;
        [Syn, Open, Refused, Accepted, Data, Fin, Reset, Datagram, Unreachable].into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// What a fault has done to it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(u8)]
pub enum Fate {
    #[default]
    Arrives = 0,
    /// Nobody gets it.
    Lost = 1,
    /// It comes once more.
    Duplicate = 2,
    /// With other bytes than it was sent with: those are the ones that are told.
    Corrupted = 3,
}

impl Fate {
    fn of(byte: u8) -> Fate {
        [Fate::Lost, Fate::Duplicate, Fate::Corrupted].into_iter().find(|&fate| fate as u8 == byte).unwrap_or_default()
    }
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    pub kind: Kind,
    pub fate: Fate,
    /// Of IP (IPPROTO_TCP, …).
    pub protocol: u8,
    /// Hop limit and traffic class of a datagram; 0 where the usual ones are meant.
    pub hops: u8,
    pub class: u8,
    /// The side of its circuit that `from` is.
    pub side: u8,
    /// Bytes that crossed; what follows the event may be less.
    pub bytes: u32,
    /// In nanoseconds since 1970: when it happened, and when it arrives where a fault delays it, else 0.
    pub at_ns: u64,
    pub until_ns: u64,
    /// Which connection: its circuit, and the generation of that shifted left by 32; 0 where there is none.
    pub circuit: u64,
    /// Where in its stream it begins, and how much has come the other way by then.
    pub position: u64,
    pub answered: u64,
    pub from: Address,
    pub to: Address,
    /// Hosts of a private net; 0 is none.
    pub from_host: u32,
    pub to_host: u32,
    /// Who did it, and who has the other end; 0 is not known.
    pub pid: u32,
    pub peer_pid: u32,
    /// The program of who did it, padded with zero bytes.
    pub program: [u8; 16],
}

/// Bytes of an event as it is told.
pub const EVENT_BYTES: usize = 8 * WORDS;
const WORDS: usize = 16;

impl Event {
    /// An event that happens now, done by this process.
    pub fn now(kind: Kind, protocol: u8, from: Address, to: Address) -> Event {
        Event {
            kind,
            fate: Fate::Arrives,
            protocol,
            hops: 0,
            class: 0,
            side: 0,
            bytes: 0,
            at_ns: clock::realtime_ns(),
            until_ns: 0,
            circuit: 0,
            position: 0,
            answered: 0,
            from,
            to,
            from_host: 0,
            to_host: 0,
            pid: thread::pid(),
            peer_pid: 0,
            program: program(),
        }
    }

    pub fn encode(&self) -> [u8; EVENT_BYTES] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let (first, last) = self.program.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
        let words: [u64; WORDS] = [
            u64::from_le_bytes([self.kind as u8, self.fate as u8, self.protocol, self.hops, self.class, self.side, 0, 0]),
            pair(self.bytes, u32::from(self.from.port) | u32::from(self.to.port) << 16),
            self.at_ns,
            self.until_ns,
            self.circuit,
            self.position,
            self.answered,
            self.from.high,
            self.from.low,
            self.to.high,
            self.to.low,
            pair(self.from_host, self.to_host),
            pair(self.pid, self.peer_pid),
            word(first),
            word(last),
            0,
        ];
        let mut bytes = [0; EVENT_BYTES];
        bytes.as_chunks_mut::<8>().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
        bytes
    }

    /// `None` for what no process of this version has told.
    pub fn decode(bytes: &[u8]) -> Option<Event> {
        let mut words = [0; WORDS];
        for (word, from) in words.iter_mut().zip(bytes.get(..EVENT_BYTES)?.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*from);
        }
        let [marks, sizes, at_ns, until_ns, circuit, position, answered, from_high, from_low, to_high, to_low, hosts, pids, first, last, _] = words;
        let [kind, fate, protocol, hops, class, side, ..] = marks.to_le_bytes();
        let mut program = [0; 16];
        program[..8].copy_from_slice(&first.to_le_bytes());
        program[8..].copy_from_slice(&last.to_le_bytes());
        Some(Event {
            kind: Kind::of(kind)?,
            fate: Fate::of(fate),
            protocol,
            hops,
            class,
            side: side & 1,
            bytes: sizes as u32,
            at_ns,
            until_ns,
            circuit,
            position,
            answered,
            from: Address { high: from_high, low: from_low, port: (sizes >> 32) as u16 },
            to: Address { high: to_high, low: to_low, port: (sizes >> 48) as u16 },
            from_host: hosts as u32,
            to_host: (hosts >> 32) as u32,
            pid: pids as u32,
            peer_pid: (pids >> 32) as u32,
            program,
        })
    }

    /// Tells every capture of it.
    pub fn tell(&self, arena: &Arena) {
        tap::tell(arena, &self.encode(), &Iov::nowhere(0));
    }

    /// The same with the bytes that crossed, of which `source` has all.
    pub fn tell_with(&self, arena: &Arena, source: &Iov) {
        tap::tell(arena, &Event { bytes: source.left() as u32, ..*self }.encode(), source);
    }
}

/// The name of this process's program (proc_pid_comm(5)), read once.
fn program() -> [u8; 16] {
    static NAME: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    let mut name = [0; 16];
    if NAME[0].load(Ordering::Relaxed) == 0 {
        let n = call::read_file(b"/proc/self/comm\0", &mut name).unwrap_or(0).min(15);
        name.iter_mut().enumerate().filter(|(i, b)| *i >= n || **b == b'\n').for_each(|(_, b)| *b = 0);
        if name.iter().all(|b| *b == 0 || b.is_ascii_digit()) {
            // Started from a descriptor (fexecve(3)), whose number it is.
            let mut words = [0; 256];
            let n = call::read_file(b"/proc/self/cmdline\0", &mut words).unwrap_or(0);
            let first = words.get(..n).unwrap_or(&[]).split(|&b| b == 0).next().unwrap_or(&[]);
            let last = first.rsplit(|&b| b == b'/').next().unwrap_or(&[]);
            name = [0; 16];
            name.iter_mut().zip(last).take(15).for_each(|(to, &from)| *to = from);
        }
        for (word, from) in NAME.iter().zip(name.as_chunks::<8>().0).rev() {
            word.store(u64::from_le_bytes(*from), Ordering::Relaxed);
        }
        return name;
    }
    for (to, word) in name.as_chunks_mut::<8>().0.iter_mut().zip(&NAME) {
        *to = word.load(Ordering::Relaxed).to_le_bytes();
    }
    name
}

/// The process that has a socket, as far as that is known.
fn pid_of(arena: &Arena, p: &Pcb) -> u32 {
    owner::process(arena, p.owner.load(Ordering::Relaxed)).map_or(0, |p| p.pid.load(Ordering::Relaxed))
}

/// An event of a connection, of which this process has or had the end on `side`; `None` where it is not TCP's.
fn of_circuit(arena: &Arena, c: &Circuit, link: Link, kind: Kind) -> Option<Event> {
    let ours = pcb(arena, c.pcbs[link.side & 1].load(Ordering::Acquire));
    let theirs = pcb(arena, c.pcbs[1 - (link.side & 1)].load(Ordering::Acquire));
    let key = ours.map(Pcb::addresses).or_else(|| theirs.map(|p| p.addresses().reversed()))?;
    let is_other = |p: &Pcb| p.is_unix_domain() || p.has(flag::LOCAL | flag::DATAGRAM);
    if ours.or(theirs).is_none_or(is_other) || key.local.port == 0 || key.remote.port == 0 {
        return None;
    }
    let host = |p: Option<&Pcb>| p.map_or(0, |p| p.host.load(Ordering::Relaxed));
    let Key { local, remote } = key;
    let mut event = Event::now(kind, ours.or(theirs).map_or(0, |p| protocol_of(p, libc::IPPROTO_TCP)), local, remote);
    // What others have left undone is told by who finds it.
    let doer = ours.map_or(event.pid, |p| pid_of(arena, p));
    if matches!(kind, Kind::Fin | Kind::Reset) && doer != event.pid {
        (event.pid, event.program) = (doer, [0; 16]);
    }
    Some(Event {
        side: (link.side & 1) as u8,
        circuit: u64::from(link.circuit) | u64::from(link.generation) << 32,
        position: c.from_side(link.side).produced.head.load(Ordering::SeqCst),
        answered: c.from_side(1 - link.side).produced.head.load(Ordering::SeqCst),
        from_host: host(ours),
        to_host: host(theirs),
        peer_pid: theirs.map_or(0, |p| pid_of(arena, p)),
        ..event
    })
}

/// The protocol of a socket's packets: `of_ip`, or that of NS, which have the number 22 where they go over IP.
pub fn protocol_of(p: &Pcb, of_ip: i32) -> u8 {
    let (family, _) = p.family_and_protocol();
    let is_ns = p.is_private() && family != libc::AF_INET && family != libc::AF_INET6;
    (if is_ns { libc::IPPROTO_IDP } else { of_ip }) as u8
}

/// Bytes that are about to be published at a position of the stream.
#[cold]
pub fn data(arena: &Arena, link: Link, position: u64, piece: &Piece) {
    let Some(event) = circuit(arena, link.circuit).and_then(|c| of_circuit(arena, c, link, Kind::Data)) else { return };
    for from in (0..piece.bytes()).step_by(tap::MOST_BYTES) {
        piece.part(from, tap::MOST_BYTES, |part| Event { position: position.wrapping_add(from as u64), ..event }.tell_with(arena, part));
    }
}

/// Something else that happens to a connection, with `link` the end of who does it.
#[cold]
pub fn connection(arena: &Arena, link: Link, kind: Kind) {
    if let Some(event) = circuit(arena, link.circuit).and_then(|c| of_circuit(arena, c, link, kind)) {
        event.tell(arena);
    }
}

/// Nobody listens where a connection is asked for.
#[cold]
pub fn refused(arena: &Arena, key: Key, [from_host, to_host]: [u32; 2]) {
    let event = Event::now(Kind::Refused, libc::IPPROTO_TCP as u8, key.local, key.remote);
    Event { from_host, to_host, ..event }.tell(arena);
}

/// A datagram on its way, of UDP or any other protocol of IP.
#[derive(Clone, Copy)]
pub struct Datagram<'a> {
    pub protocol: u8,
    pub from: Address,
    pub to: Address,
    /// 0 for the usual ones.
    pub hops: u8,
    pub class: u8,
    /// From which host, and to which; 0 is none of the net's.
    pub hosts: [u32; 2],
    /// The one who gets it, if there is one.
    pub receiver: Option<&'a Pcb>,
}

impl Datagram<'_> {
    /// Tells of it, as a `Datagram` or as the answer that something is `Unreachable`.
    #[cold]
    pub fn tell(&self, arena: &Arena, kind: Kind, source: &Iov) {
        let event = Event {
            hops: self.hops,
            class: self.class,
            from_host: self.hosts[0],
            to_host: self.hosts[1],
            peer_pid: self.receiver.map_or(0, |p| pid_of(arena, p)),
            ..Event::now(kind, self.protocol, self.from, self.to)
        };
        event.tell_with(arena, source);
    }
}
