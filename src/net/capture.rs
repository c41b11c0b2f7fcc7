//! Captures: what crosses the net, all its processes in one stream of events, for the one who reads.

use crate::pcb::tap::{EVENT_BYTES, Event};
use crate::shm::Arena;
use crate::transport::stream::Damaged;
use crate::transport::tap::Reader;
pub use crate::transport::tap::{Losses, MOST_BYTES, Refusal};

/// A running capture; it ends when this is dropped, and with its process.
pub struct Capture<'a> {
    reader: Reader<'a>,
    bytes: Vec<u8>,
}

impl<'a> Capture<'a> {
    /// Begins one that gets at most `snap_bytes` of what each event carries.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn begin(arena: &'a Arena, snap_bytes: u32) -> Result<Capture<'a>, Refusal> {
        Ok(Capture { reader: Reader::begin(arena, snap_bytes)?, bytes: vec![0; MOST_BYTES] })
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
                return Ok(Some((event, self.bytes.get(..bytes.min(event.bytes as usize)).unwrap_or(&[]))));
            }
        }
        Ok(None)
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
