//! Captures: what crosses the net, all its processes in one stream of events, for the one who reads.

use super::hosts;
use crate::pcb::Address;
use crate::pcb::tap::{EVENT_BYTES, Event};
use crate::shm::Arena;
use crate::transport::stream::Damaged;
use crate::transport::tap::Reader;
pub use crate::transport::tap::{Losses, MOST_BYTES, Refusal};

/// A running capture; it ends when this is dropped, and with its process.
pub struct Capture<'a> {
    arena: &'a Arena,
    reader: Reader<'a>,
    bytes: Vec<u8>,
}

impl<'a> Capture<'a> {
    /// Begins one that gets at most `snap_bytes` of what each event carries.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn begin(arena: &'a Arena, snap_bytes: u32) -> Result<Capture<'a>, Refusal> {
        Ok(Capture { arena, reader: Reader::begin(arena, snap_bytes)?, bytes: vec![0; MOST_BYTES] })
    }

    /// The next event, with as many of its bytes as there was room for.
    ///
    /// # Errors
    /// Where the arena is damaged.
    pub fn take(&mut self) -> Result<Option<(Event, &[u8])>, Damaged> {
        let mut lead = [0; EVENT_BYTES];
        while let Some((n, bytes)) = self.reader.next(&mut lead, &mut self.bytes)? {
            // What this version knows nothing of is passed over.
            if let Some(event) = lead.get(..n).and_then(Event::decode) {
                let event = self.with_hosts(event);
                return Ok(Some((event, self.bytes.get(..bytes.min(event.bytes as usize)).unwrap_or(&[]))));
            }
        }
        Ok(None)
    }

    /// Of an end that is gone the table does not know the host any more: its address says it.
    fn with_hosts(&self, event: Event) -> Event {
        if !hosts::is_private(self.arena) {
            return event;
        }
        let host_of = |host: u32, address: Address, other: u32| match address.ip() {
            _ if host != 0 => host,
            ip if ip.is_loopback() => other,
            ip => hosts::by_address(self.arena, ip).map_or(0, |(number, _)| number),
        };
        let (from, to) = (event.from_host, event.to_host);
        Event { from_host: host_of(from, event.from, to), to_host: host_of(to, event.to, from), ..event }
    }

    /// Sleeps until there may be an event, a signal comes, or `ns` have passed.
    pub fn wait(&self, ns: u64) {
        self.reader.wait(ns);
    }

    /// Nothing is told any more; what was is still to be read.
    pub fn stop(&self) {
        self.reader.stop();
    }

    pub fn losses(&self) -> Losses {
        self.reader.losses()
    }
}
