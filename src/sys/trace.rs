//! Words for people, written straight to descriptor 2 and without allocating: the trace
//! (`LANDLINE_TRACE=1`) and warnings (`LANDLINE_WARN=1`).

use core::fmt;

use super::{call, config, errno, thread};

/// A text being written into a fixed buffer; what does not fit is cut.
pub struct Buffer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Buffer<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Buffer { bytes, len: 0 }
    }

    pub fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl fmt::Write for Buffer<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        let n = s.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..n), s.as_bytes().get(..n)) {
            to.copy_from_slice(from);
        }
        self.len += n;
        Ok(())
    }
}

fn line(kind: &str, args: fmt::Arguments) {
    errno::preserved(|| {
        let mut bytes = [0u8; 320];
        let mut out = Buffer::new(&mut bytes);
        let _ = fmt::write(&mut out, format_args!("landline[{}] {kind}{args}\n", thread::pid()));
        call::write_stderr(out.text());
    });
}

/// Writes one line of trace if it was asked for.
#[inline]
pub fn trace(args: fmt::Arguments) {
    if config::get().trace {
        line("", args);
    }
}

/// Writes one line of warning if it was asked for.
pub fn warn(args: fmt::Arguments) {
    if config::get().warn {
        line("warning: ", args);
    }
}
