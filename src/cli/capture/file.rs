//! The file: pcapng (draft-ietf-opsawg-pcapng), with an interface for the net and one for each host's loopback, the hosts'
//! names, and who is behind each packet as its comment.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::name_resolution::{Ipv4Record, Ipv6Record, NameResolutionBlock, Record};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::names::Names;
use super::packets::{Packet, Sink};
use crate::net::capture::Losses;
use crate::net::hosts;
use crate::shm::Arena;

/// Nanoseconds: ten to the power of minus this.
const RESOLUTION: u8 = 9;
/// What no packet is longer than.
const SNAP_BYTES: u32 = 262_144;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A capture's file.
pub struct File<'a, W: Write> {
    writer: PcapNgWriter<W>,
    /// The net's interface has number 0; those of the hosts' loopback come as they are needed.
    loopbacks: HashMap<u32, u32>,
    arena: &'a Arena,
    /// Those whose names are written down.
    hosts: HashSet<u32>,
    pub names: Names<'a>,
    filter: String,
    frame: Vec<u8>,
    pub packets: u64,
}

fn error(e: PcapError) -> io::Error {
    match e {
        PcapError::IoError(e) => e,
        other => io::Error::other(other),
    }
}

impl<'a, W: Write> File<'a, W> {
    /// Begins a file about a net, and writes down the names of its hosts.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn begin(out: W, net: &str, filter: &str, arena: &'a Arena) -> io::Result<File<'a, W>> {
        let application = format!("landline {}", env!("CARGO_PKG_VERSION"));
        let options = vec![SectionHeaderOption::UserApplication(Cow::Owned(application))];
        let section = SectionHeaderBlock { endianness: Endianness::Little, options, ..SectionHeaderBlock::default() };
        let writer = PcapNgWriter::with_section_header(out, section).map_err(error)?;
        let (loopbacks, names, filter) = (HashMap::new(), Names::new(arena), filter.to_owned());
        let mut file = File { writer, loopbacks, arena, hosts: HashSet::from([0]), names, filter, frame: Vec::new(), packets: 0 };
        file.interface(net)?;
        file.hosts()?;
        Ok(file)
    }

    fn interface(&mut self, name: &str) -> io::Result<u32> {
        let number = self.writer.interfaces().len() as u32;
        let mut options = vec![InterfaceDescriptionOption::IfName(Cow::Borrowed(name)), InterfaceDescriptionOption::IfTsResol(RESOLUTION)];
        if !self.filter.is_empty() {
            // 0: as a string.
            let filter = [b"\0", self.filter.as_bytes()].concat();
            options.push(InterfaceDescriptionOption::IfFilter(Cow::Owned(filter)));
        }
        let block = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: SNAP_BYTES, options };
        self.writer.write_pcapng_block(block.clone()).map_err(error)?;
        Ok(number)
    }

    /// Writes down the names of the hosts that have come since the last time.
    fn hosts(&mut self) -> io::Result<()> {
        let mut records = Vec::new();
        for (number, host) in hosts::all(self.arena) {
            if !self.hosts.insert(number) {
                continue;
            }
            let names = || vec![Cow::Owned(host.name())];
            records.push(Record::Ipv4(Ipv4Record { ip_addr: Cow::Owned(host.v4().octets().to_vec()), names: names() }));
            records.push(Record::Ipv6(Ipv6Record { ip_addr: Cow::Owned(host.v6().octets().to_vec()), names: names() }));
        }
        if !records.is_empty() {
            self.writer.write_pcapng_block(NameResolutionBlock { records, options: Vec::new() }).map_err(error)?;
        }
        Ok(())
    }

    fn interface_of(&mut self, packet: &Packet) -> io::Result<u32> {
        if !packet.is_loopback || packet.from_host == 0 {
            return Ok(0);
        }
        if let Some(&known) = self.loopbacks.get(&packet.from_host) {
            return Ok(known);
        }
        let name = format!("lo@{}", self.names.host(packet.from_host));
        let number = self.interface(&name)?;
        self.loopbacks.insert(packet.from_host, number);
        Ok(number)
    }

    /// What was written is there for others to read.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }

    /// Ends the file: the hosts that came meanwhile, and what was missed.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(mut self, at_ns: u64, losses: Losses) -> io::Result<u64> {
        self.hosts()?;
        let options = vec![InterfaceStatisticsOption::IsbUsrDeliv(self.packets), InterfaceStatisticsOption::IsbIfDrop(losses.dropped)];
        // Two words, the high one first, unlike any other number of 64 bits.
        let timestamp = at_ns.rotate_left(32);
        self.writer.write_pcapng_block(InterfaceStatisticsBlock { interface_id: 0, timestamp, options }).map_err(error)?;
        self.flush()?;
        Ok(self.packets)
    }
}

/// An address of hardware, made from a host's number: locally administered (IEEE 802).
fn hardware(host: u32) -> [u8; 6] {
    let [_, _, high, low] = host.to_be_bytes();
    if host == 0 { [0; 6] } else { [2, b'L', b'L', 0, high, low] }
}

/// Where a packet to an address goes: to all, to a group (RFC 1112, RFC 2464), or to its host.
fn destination(packet: &Packet) -> [u8; 6] {
    match (packet.bytes.first().map(|b| b >> 4), packet.bytes.get(16..20), packet.bytes.get(24..40)) {
        (Some(4), Some([255, 255, 255, 255]), _) => [255; 6],
        (Some(4), Some(&[224..=239, b, c, d]), _) => [1, 0, 0x5e, b & 0x7f, c, d],
        (Some(6), _, Some(&[0xff, .., a, b, c, d])) => [0x33, 0x33, a, b, c, d],
        _ => hardware(packet.to_host),
    }
}

impl<W: Write> Sink for File<'_, W> {
    fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        if !(self.hosts.contains(&packet.from_host) && self.hosts.contains(&packet.to_host)) {
            self.hosts()?;
            // What no host has is not looked for again.
            self.hosts.extend([packet.from_host, packet.to_host]);
        }
        let interface_id = self.interface_of(packet)?;
        let is_v6 = packet.bytes.first().is_some_and(|b| b >> 4 == 6);
        self.frame.clear();
        self.frame.extend_from_slice(&destination(packet));
        self.frame.extend_from_slice(&hardware(packet.from_host));
        self.frame.extend_from_slice(&if is_v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 }.to_be_bytes());
        let header_bytes = self.frame.len();
        self.frame.extend_from_slice(packet.bytes);
        let said = packet.event.map(|event| self.names.whole(event)).filter(|said| !said.is_empty());
        let comment = [said.as_deref(), packet.note].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let options = if comment.is_empty() { Vec::new() } else { vec![EnhancedPacketOption::Comment(Cow::Owned(comment))] };
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(packet.at_ns),
            original_len: (header_bytes + packet.whole_bytes) as u32,
            data: Cow::Borrowed(&self.frame),
            options,
        };
        self.writer.write_pcapng_block(block).map_err(error)?;
        self.packets += 1;
        Ok(())
    }
}
