//! Ancillary data in the program's memory (cmsg(3)).

use core::ffi::c_int;
use libc::{cmsghdr, msghdr};

use crate::sys::fault;

/// The most that is looked at; where there is more the kernel sends.
const MOST_BYTES: usize = 256;
const HEADER_BYTES: usize = size_of::<cmsghdr>();

/// A copy of the ancillary data of a message that is sent, and how long they are; `None` where they cannot be read.
pub(super) unsafe fn copied(msg: &msghdr) -> Option<([u8; MOST_BYTES], usize)> {
    let n = msg.msg_controllen;
    if n > MOST_BYTES || !fault::can_read(msg.msg_control.cast(), n) {
        return None;
    }
    let mut copy = [0; MOST_BYTES];
    // SAFETY: `n` readable bytes, and room for them.
    unsafe { core::ptr::copy_nonoverlapping(msg.msg_control.cast(), copy.as_mut_ptr(), n) };
    Some((copy, n))
}

/// Where the ancillary data of a message that is received go.
pub(super) struct Room {
    at: *mut u8,
    left: usize,
    pub used: usize,
    /// `MSG_CTRUNC` where something did not fit.
    pub flags: c_int,
}

impl Room {
    pub fn of(msg: &msghdr) -> Room {
        let at: *mut u8 = msg.msg_control.cast();
        Room { at, left: if at.is_null() { 0 } else { msg.msg_controllen }, used: 0, flags: 0 }
    }

    /// As put_cmsg of Linux: what does not fit is cut off; what cannot be written is left out.
    pub unsafe fn put(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let whole = HEADER_BYTES + data.len();
        if self.left < whole {
            self.flags |= libc::MSG_CTRUNC;
        }
        let n = whole.min(self.left);
        if n < HEADER_BYTES {
            return;
        }
        // SAFETY: the program has `n` bytes there, which are overwritten: the header, and no more than there are of `data`.
        unsafe {
            if !fault::can_write(self.at, n) {
                return;
            }
            for (i, word) in [n as u32, (n as u64 >> 32) as u32, level as u32, kind as u32].into_iter().enumerate() {
                self.at.cast::<u32>().add(i).write_unaligned(word);
            }
            core::ptr::copy_nonoverlapping(data.as_ptr(), self.at.add(HEADER_BYTES), n - HEADER_BYTES);
        }
        let step = n.next_multiple_of(8).min(self.left);
        self.at = self.at.wrapping_add(step);
        self.left -= step;
        self.used += step;
    }
}
