//! From events to packets: what a wire would have carried. A connection gets its handshake, sequence numbers from the
//! positions of its streams, segments, acknowledgements and its end, whatever of it was seen; a datagram becomes one
//! packet, however large.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;

use etherparse::{TcpHeader, TcpOptionElement};

use super::ip::{self, Marks};
use crate::pcb::Address;
use crate::pcb::tap::{Event, Fate, Kind};

/// Of an Ethernet: 1500 bytes and the headers of IP and TCP.
const MSS_V4: usize = 1460;
const MSS_V6: usize = 1440;
const WINDOW_SCALE: u8 = 7;
/// As large as it can be: nothing here waits for the other end.
const WINDOW: u16 = u16::MAX;
/// Bytes that a packet stands for at most where nobody has them.
const MOST_UNKNOWN_BYTES: usize = 65_000;
/// A larger gap stays one.
const MOST_GAP_BYTES: u64 = 4 << 20;
/// Connections that are over and whose number is still known.
const MOST_CLOSED: usize = 4096;
/// Attempts to connect of which nothing was heard any more.
const MOST_ASKED: usize = 1 << 16;

/// One packet, from the header of IP on.
#[derive(Debug)]
pub struct Packet<'a> {
    pub at_ns: u64,
    pub bytes: &'a [u8],
    /// What it had on the wire.
    pub whole_bytes: usize,
    pub from_host: u32,
    pub to_host: u32,
    /// Whether both ends are the same host's loopback addresses.
    pub is_loopback: bool,
    /// The event that it comes from, once for each.
    pub event: Option<&'a Event>,
    /// What is to be said of it besides.
    pub note: Option<&'static str>,
}

/// Where packets go.
pub trait Sink {
    /// # Errors
    /// Where it cannot be written.
    fn packet(&mut self, packet: &Packet) -> io::Result<()>;
}

/// One end of a connection.
#[derive(Clone, Copy)]
struct End {
    address: Address,
    host: u32,
    /// The sequence number of its SYN.
    first: u32,
    /// The position in its stream of what it sends next.
    next: u64,
    /// Segments that nobody has acknowledged.
    waiting: u32,
    has_finished: bool,
}

impl End {
    fn sequence(&self, position: u64) -> u32 {
        self.first.wrapping_add(1).wrapping_add(position as u32)
    }

    /// Of what comes after all that it has sent.
    fn next_sequence(&self) -> u32 {
        self.sequence(self.next).wrapping_add(u32::from(self.has_finished))
    }
}

/// A connection as far as it was seen.
struct Connection {
    ends: [End; 2],
    is_open: bool,
}

/// Flags of a segment.
#[derive(Clone, Copy, Default)]
struct Flags {
    syn: bool,
    ack: bool,
    psh: bool,
    fin: bool,
    rst: bool,
}

const ACK: Flags = Flags { syn: false, ack: true, psh: false, fin: false, rst: false };

/// What makes packets of events.
pub struct Packets<S> {
    pub sink: S,
    connections: HashMap<u64, Connection>,
    closed: VecDeque<u64>,
    /// SYNs of connections that have no number yet, by their addresses.
    asked: HashMap<(Address, Address), u32>,
    /// Counts what needs a number of its own.
    serial: u32,
    last_ns: u64,
    buffer: Vec<u8>,
}

/// A segment's payload: its length, and the bytes of it that are known.
struct Payload<'a> {
    len: usize,
    bytes: &'a [u8],
}

const EMPTY: Payload = Payload { len: 0, bytes: &[] };

impl<S: Sink> Packets<S> {
    pub fn new(sink: S) -> Packets<S> {
        Packets { sink, connections: HashMap::new(), closed: VecDeque::new(), asked: HashMap::new(), serial: 0, last_ns: 0, buffer: Vec::new() }
    }

    /// Writes what an event looks like on the wire; `bytes` is as much as is known of its own.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn event(&mut self, event: &Event, bytes: &[u8]) -> io::Result<()> {
        // Processes read the clock on their own: a little out of order is told as the same moment.
        self.last_ns = self.last_ns.max(event.at_ns);
        if i32::from(event.protocol) == libc::IPPROTO_IDP {
            // Sockets of NS have packets of another kind, which are not written.
            return Ok(());
        }
        match event.kind {
            Kind::Syn => self.syn(event),
            Kind::Open => self.open(event),
            Kind::Refused => self.refused(event),
            Kind::Accepted => Ok(()),
            Kind::Data => self.data(event, bytes),
            Kind::Fin => self.fin(event),
            Kind::Reset => self.reset(event),
            Kind::Datagram | Kind::Unreachable if event.fate == Fate::Lost => Ok(()),
            Kind::Datagram | Kind::Unreachable => self.datagram(event, bytes),
        }
    }

    fn new_sequence(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        // Far apart, and later ones of the same addresses ahead of the earlier.
        self.serial.wrapping_mul(0x0010_0003).wrapping_add(0x1234_5678)
    }

    fn end(&mut self, address: Address, host: u32) -> End {
        End { address, host, first: self.new_sequence(), next: 0, waiting: 0, has_finished: false }
    }

    fn new_connection(&mut self, event: &Event) -> Connection {
        let from = self.end(event.from, event.from_host);
        let to = self.end(event.to, event.to_host);
        Connection { ends: if event.side == 0 { [from, to] } else { [to, from] }, is_open: false }
    }

    fn syn(&mut self, event: &Event) -> io::Result<()> {
        let mut c = self.new_connection(event);
        let key = (event.from, event.to);
        // A SYN that is sent again.
        if let Some(&first) = self.asked.get(&key) {
            c.ends[usize::from(event.side)].first = first;
        }
        if self.asked.len() >= MOST_ASKED {
            self.asked.clear();
        }
        self.asked.insert(key, c.ends[usize::from(event.side)].first);
        self.segment(&c, event.side, Flags { syn: true, ..Flags::default() }, None, EMPTY, Some(event), None)
    }

    fn open(&mut self, event: &Event) -> io::Result<()> {
        let side = event.side;
        let mut c = self.new_connection(event);
        match self.asked.remove(&(event.from, event.to)) {
            Some(first) => c.ends[usize::from(side)].first = first,
            None => self.segment(&c, side, Flags { syn: true, ..Flags::default() }, None, EMPTY, Some(event), None)?,
        }
        self.segment(&c, 1 - side, Flags { syn: true, ..ACK }, None, EMPTY, None, None)?;
        c.is_open = true;
        self.segment(&c, side, ACK, None, EMPTY, None, None)?;
        self.connections.insert(event.circuit, c);
        Ok(())
    }

    fn refused(&mut self, event: &Event) -> io::Result<()> {
        let side = event.side;
        let mut c = self.new_connection(event);
        match self.asked.remove(&(event.from, event.to)) {
            Some(first) => c.ends[usize::from(side)].first = first,
            None => self.segment(&c, side, Flags { syn: true, ..Flags::default() }, None, EMPTY, Some(event), None)?,
        }
        // RFC 9293, 3.10.7.1: sequence number zero.
        c.ends[usize::from(1 - side)].first = u32::MAX;
        self.segment(&c, 1 - side, Flags { rst: true, ..ACK }, None, EMPTY, None, None)
    }

    /// Takes the connection of an event out; one that was open before the capture began starts where it is now. `None`
    /// where it is over.
    fn take(&mut self, event: &Event) -> Option<Connection> {
        if let Some(known) = self.connections.remove(&event.circuit) {
            return Some(known);
        }
        if self.closed.contains(&event.circuit) {
            return None;
        }
        let mut c = self.new_connection(event);
        let side = usize::from(event.side);
        (c.ends[side].next, c.ends[1 - side].next) = (event.position, event.answered);
        c.is_open = true;
        Some(c)
    }

    fn data(&mut self, event: &Event, bytes: &[u8]) -> io::Result<()> {
        let Some(mut c) = self.take(event) else { return Ok(()) };
        let written = self.segments(&mut c, event, bytes);
        self.connections.insert(event.circuit, c);
        written
    }

    fn segments(&mut self, c: &mut Connection, event: &Event, bytes: &[u8]) -> io::Result<()> {
        let (side, other) = (usize::from(event.side), usize::from(1 - event.side));
        let end = event.position.wrapping_add(u64::from(event.bytes));
        if c.ends[side].has_finished || end <= c.ends[side].next {
            return Ok(());
        }
        self.gap(c, event)?;
        // What was told before is not told again.
        let skip = c.ends[side].next.saturating_sub(event.position) as usize;
        let mut known = bytes.get(skip.min(bytes.len())..).unwrap_or(&[]);
        let mut left = event.bytes as usize - skip;
        let mss = if is_v4(event.from) { MSS_V4 } else { MSS_V6 };
        let mut told = Some(event);
        c.ends[other].waiting = 0;
        while left > 0 {
            // What nobody has is told in as few packets as can be.
            let most = if known.is_empty() { MOST_UNKNOWN_BYTES } else { mss };
            let len = left.min(most);
            let (now, later) = known.split_at(known.len().min(len));
            let flags = Flags { psh: len == left, ..ACK };
            self.segment(c, event.side, flags, None, Payload { len, bytes: now }, told.take(), None)?;
            (known, left) = (later, left - len);
            c.ends[side].next = c.ends[side].next.wrapping_add(len as u64);
            c.ends[side].waiting += 1;
        }
        // Every other segment is acknowledged at once (RFC 1122, 4.2.3.2); a single one with what comes the other way.
        if c.ends[side].waiting >= 2 { self.acknowledge(c, 1 - event.side) } else { Ok(()) }
    }

    /// Stands in for what was not told because the capture was too slow: packets without their bytes.
    fn gap(&mut self, c: &mut Connection, event: &Event) -> io::Result<()> {
        let side = usize::from(event.side);
        let mut gap = event.position.saturating_sub(c.ends[side].next);
        if gap > MOST_GAP_BYTES {
            c.ends[side].next = event.position;
            return Ok(());
        }
        while gap > 0 {
            let len = gap.min(MOST_UNKNOWN_BYTES as u64) as usize;
            self.segment(c, event.side, ACK, None, Payload { len, bytes: &[] }, None, Some("not captured: the capture was too slow"))?;
            c.ends[side].next = c.ends[side].next.wrapping_add(len as u64);
            gap -= len as u64;
            self.acknowledge(c, 1 - event.side)?;
        }
        Ok(())
    }

    /// Acknowledges all that has come to an end.
    fn acknowledge(&mut self, c: &mut Connection, side: u8) -> io::Result<()> {
        c.ends[usize::from(1 - side)].waiting = 0;
        self.segment(c, side, ACK, None, EMPTY, None, None)
    }

    fn fin(&mut self, event: &Event) -> io::Result<()> {
        let Some(mut c) = self.take(event) else { return Ok(()) };
        let side = usize::from(event.side);
        if c.ends[side].has_finished {
            self.connections.insert(event.circuit, c);
            return Ok(());
        }
        self.gap(&mut c, event)?;
        c.ends[1 - side].waiting = 0;
        let sequence = c.ends[side].sequence(c.ends[side].next);
        self.segment(&c, event.side, Flags { fin: true, ..ACK }, Some(sequence), EMPTY, Some(event), None)?;
        c.ends[side].has_finished = true;
        self.acknowledge(&mut c, 1 - event.side)?;
        if c.ends[1 - side].has_finished {
            self.close(event.circuit);
        } else {
            self.connections.insert(event.circuit, c);
        }
        Ok(())
    }

    fn reset(&mut self, event: &Event) -> io::Result<()> {
        let Some(mut c) = self.take(event) else { return Ok(()) };
        self.gap(&mut c, event)?;
        self.segment(&c, event.side, Flags { rst: true, ..ACK }, None, EMPTY, Some(event), None)?;
        self.close(event.circuit);
        Ok(())
    }

    fn close(&mut self, circuit: u64) {
        if self.closed.len() == MOST_CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back(circuit);
    }

    /// Writes one segment, from its `side`: what comes next there, or from `sequence` on.
    #[allow(clippy::too_many_arguments)]
    fn segment(
        &mut self,
        c: &Connection,
        side: u8,
        flags: Flags,
        sequence: Option<u32>,
        payload: Payload,
        event: Option<&Event>,
        note: Option<&'static str>,
    ) -> io::Result<()> {
        let (from, to) = (&c.ends[usize::from(side)], &c.ends[usize::from(1 - side)]);
        let sequence = sequence.unwrap_or(if flags.syn { from.first } else { from.next_sequence() });
        let mut header = TcpHeader::new(from.address.port, to.address.port, sequence, WINDOW);
        header.acknowledgment_number = if flags.ack { to.next_sequence() } else { 0 };
        (header.syn, header.ack, header.psh, header.fin, header.rst) = (flags.syn, flags.ack, flags.psh, flags.fin, flags.rst);
        if flags.rst && !c.is_open {
            header.window_size = 0;
        }
        if flags.syn {
            let mss = if is_v4(from.address) { MSS_V4 } else { MSS_V6 } as u16;
            use TcpOptionElement::*;
            let options = [MaximumSegmentSize(mss), SelectiveAcknowledgementPermitted, Noop, WindowScale(WINDOW_SCALE)];
            header.set_options(&options).map_err(io::Error::other)?;
        }
        let (source, destination) = (from.address.ip(), to.address.ip());
        if payload.bytes.len() == payload.len {
            header.checksum = match (source, destination) {
                (IpAddr::V4(a), IpAddr::V4(b)) => header.calc_checksum_ipv4_raw(a.octets(), b.octets(), payload.bytes),
                (a, b) => header.calc_checksum_ipv6_raw(ip::v6(a).octets(), ip::v6(b).octets(), payload.bytes),
            }
            .map_err(io::Error::other)?;
        }
        let parts = [&header.to_bytes()[..], payload.bytes];
        let len = header.header_len() + payload.len;
        self.packet((from.address, from.host), (to.address, to.host), libc::IPPROTO_TCP as u8, Marks::default(), &parts, len, event, note)
    }

    fn datagram(&mut self, event: &Event, bytes: &[u8]) -> io::Result<()> {
        let header;
        let (parts, len) = if i32::from(event.protocol) == libc::IPPROTO_UDP {
            header = ip::udp_header(event.from, event.to, event.bytes as usize, bytes)?;
            ([&header[..], bytes], header.len() + event.bytes as usize)
        } else {
            ([&[][..], bytes], event.bytes as usize)
        };
        let note = match event.fate {
            Fate::Duplicate => Some("sent once more by a fault"),
            Fate::Corrupted => Some("corrupted by a fault"),
            _ => None,
        };
        let (from, to) = ((event.from, event.from_host), (event.to, event.to_host));
        self.packet(from, to, event.protocol, Marks { hops: event.hops, class: event.class }, &parts, len, Some(event), note)
    }

    #[allow(clippy::too_many_arguments)]
    fn packet(
        &mut self,
        (from, from_host): (Address, u32),
        (to, to_host): (Address, u32),
        protocol: u8,
        marks: Marks,
        parts: &[&[u8]],
        len: usize,
        event: Option<&Event>,
        note: Option<&'static str>,
    ) -> io::Result<()> {
        self.serial = self.serial.wrapping_add(1);
        self.buffer.clear();
        let whole_bytes = ip::packet(&mut self.buffer, from.ip(), to.ip(), protocol, marks, self.serial as u16, parts, len)?;
        let is_loopback = from.ip().is_loopback() || to.ip().is_loopback();
        self.sink.packet(&Packet { at_ns: self.last_ns, bytes: &self.buffer, whole_bytes, from_host, to_host, is_loopback, event, note })
    }
}

fn is_v4(a: Address) -> bool {
    matches!(a.ip(), IpAddr::V4(_))
}
