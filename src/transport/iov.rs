//! A cursor over the caller's buffers (readv(2)): what of them is still to be filled or sent.

use libc::{c_void, iovec, size_t};

use crate::sys::{Errno, fault};

unsafe extern "C" {
    fn memcpy(to: *mut c_void, from: *const c_void, n: size_t) -> *mut c_void;
}

/// One call moves no more (MAX_RW_COUNT of the kernel; read(2), notes).
pub const MOST_BYTES: usize = 0x7fff_f000;

/// Whether `n` bytes at `at` lie where a program's memory can be (the kernel's access_ok).
pub fn can_be_memory(at: *const c_void, n: size_t) -> bool {
    const END: usize = (1 << 56) - 4096;
    at.addr().checked_add(n).is_some_and(|end| end <= END)
}

/// Buffers of the caller's, partly done.
pub struct Iov<'a> {
    rest: &'a [iovec],
    /// Done of the first of `rest`.
    done: usize,
    left: usize,
    /// Bytes are dropped instead of copied (MSG_TRUNC of tcp(7)).
    discard: bool,
}

impl<'a> Iov<'a> {
    /// The buffers of a call.
    ///
    /// # Errors
    /// `EINVAL` where a length is negative, `EFAULT` where a buffer lies beyond what a program can have (readv(2)).
    ///
    /// # Safety
    /// Every buffer is readable (for sending) or writable (for receiving) for its length for as long as
    /// the cursor lives.
    pub unsafe fn new(buffers: &'a [iovec]) -> Result<Iov<'a>, Errno> {
        let mut left = 0usize;
        for b in buffers {
            if b.iov_len > isize::MAX as usize {
                return Err(Errno::EINVAL);
            }
            if !can_be_memory(b.iov_base, b.iov_len) {
                return Err(Errno::EFAULT);
            }
            left = left.saturating_add(b.iov_len);
        }
        Ok(Iov { rest: buffers, done: 0, left: left.min(MOST_BYTES), discard: false })
    }

    /// One buffer of our own, which `place` describes.
    pub fn of(bytes: &'a mut [u8], place: &'a mut iovec) -> Iov<'a> {
        *place = iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        Iov { rest: core::slice::from_ref(place), done: 0, left: bytes.len(), discard: false }
    }

    /// Copies `bytes`, as many as there is room for, into the buffers. False as for `send_to`.
    pub fn copy_from(&self, bytes: &[u8]) -> bool {
        let n = bytes.len().min(self.left);
        self.each(n, |part, done, len| {
            // SAFETY: the caller's buffer, all of which is overwritten now; `done + len <= n`.
            unsafe {
                if !fault::can_write(part, len) {
                    return false;
                }
                copy(part, bytes.as_ptr().add(done), len);
            }
            true
        })
    }

    /// A place for `n` bytes that nobody wants.
    pub fn nowhere(n: usize) -> Iov<'static> {
        Iov { rest: &[], done: 0, left: n, discard: true }
    }

    /// Lets what is received disappear instead of filling the buffers.
    pub fn discard(&mut self, discard: bool) {
        self.discard = discard;
    }

    /// No more than `n` bytes are to be done.
    pub fn limit(&mut self, n: usize) {
        self.left = self.left.min(n);
    }

    /// Bytes still to be done.
    #[inline]
    pub fn left(&self) -> usize {
        self.left
    }

    /// Calls `f(part, done, n)` for the pieces that make up the next `n` bytes, `done` of them before this, while
    /// it answers true. Returns the last answer.
    #[inline(always)]
    fn each(&self, n: usize, mut f: impl FnMut(*mut u8, usize, usize) -> bool) -> bool {
        let (mut done, mut skip) = (0, self.done);
        for b in self.rest {
            if done == n {
                break;
            }
            let part = (b.iov_len - skip).min(n - done);
            if !f(b.iov_base.cast::<u8>().wrapping_add(skip), done, part) {
                return false;
            }
            done += part;
            skip = 0;
        }
        true
    }

    /// Copies the next `n` bytes (at most `left`) to the ring of `size` bytes (a power of two) at `ring`,
    /// from offset `at` on and around its end. False where the program has no such memory (EFAULT).
    ///
    /// # Safety
    /// `ring` is valid for `size` bytes, and `n <= size`. Others may read there meanwhile: the bytes count
    /// only once published.
    #[inline(always)]
    pub unsafe fn send_to(&self, ring: *mut u8, size: usize, at: usize, n: usize) -> bool {
        self.each(n, |part, done, len| {
            if !fault::can_read(part, len) {
                return false;
            }
            let at = (at + done) & (size - 1);
            let first = len.min(size - at);
            // SAFETY: both pieces lie within the ring; the caller's buffer holds `len` bytes (`new`).
            unsafe {
                copy(ring.add(at), part, first);
                copy(ring, part.wrapping_add(first), len - first);
            }
            true
        })
    }

    /// Copies what is left to the start of `to`, and returns how much that is.
    ///
    /// # Errors
    /// `EMSGSIZE` where it is more than `to` takes, `EFAULT` where the program has no such memory.
    pub fn copy_to(&self, to: &mut [u8]) -> Result<usize, Errno> {
        let to = to.get_mut(..self.left).ok_or(Errno(libc::EMSGSIZE))?;
        let is_there = self.each(self.left, |part, done, len| {
            let Some(to) = to.get_mut(done..done + len).filter(|_| fault::can_read(part, len)) else { return false };
            // SAFETY: the caller's buffer holds `len` bytes (`new`), and `to` as many.
            unsafe { copy(to.as_mut_ptr(), part, len) };
            true
        });
        if is_there { Ok(self.left) } else { Err(Errno::EFAULT) }
    }

    /// Copies `n` bytes (at most `left`) from the ring into the buffers. False as for `send_to`.
    ///
    /// # Safety
    /// As for `send_to`.
    #[inline(always)]
    pub unsafe fn receive_from(&self, ring: *const u8, size: usize, at: usize, n: usize) -> bool {
        self.discard
            || self.each(n, |part, done, len| {
                // SAFETY: the caller's buffer, all of which is overwritten now.
                if unsafe { !fault::can_write(part, len) } {
                    return false;
                }
                let at = (at + done) & (size - 1);
                let first = len.min(size - at);
                // SAFETY: as above, the other way round.
                unsafe {
                    copy(part, ring.add(at), first);
                    copy(part.wrapping_add(first), ring, len - first);
                }
                true
            })
    }

    /// The next `n` bytes are done.
    #[inline(always)]
    pub fn advance(&mut self, n: usize) {
        self.left -= n.min(self.left);
        self.done += n;
        while let Some((first, rest)) = self.rest.split_first() {
            if self.done < first.iov_len || (self.done == first.iov_len && rest.is_empty()) {
                break;
            }
            self.done -= first.iov_len;
            self.rest = rest;
        }
    }

    /// The very last byte, if there is any.
    pub fn last_byte(&self) -> Option<u8> {
        let b = self.rest.iter().rev().find(|b| b.iov_len > 0).filter(|_| self.left > 0)?;
        let last = b.iov_base.cast::<u8>().wrapping_add(b.iov_len - 1);
        // SAFETY: within the caller's buffer (`new`).
        fault::can_read(last, 1).then(|| unsafe { last.read() })
    }

    /// Puts one byte into the first buffer; false where there is no such memory (EFAULT).
    pub fn put_byte(&mut self, byte: u8) -> bool {
        if let Some(b) = self.rest.iter().find(|b| b.iov_len > 0).filter(|_| self.left > 0 && !self.discard) {
            let at = b.iov_base.cast::<u8>().wrapping_add(self.done);
            // SAFETY: as above; the byte is overwritten.
            unsafe {
                if !fault::can_write(at, 1) {
                    return false;
                }
                at.write(byte);
            }
        }
        self.advance(1);
        true
    }

    /// Receives from the anchor `fd` with `flags`, at most `most` bytes; the caller says how many of them
    /// are done (`advance`).
    pub fn receive_kernel(&self, fd: libc::c_int, most: usize, flags: libc::c_int) -> crate::sys::errno::Ret {
        let mut rest = self.fork();
        let mut got = 0;
        loop {
            let (mut buffers, mut n) = rest.next_buffers();
            let mut room = most - got;
            for (i, b) in buffers.iter_mut().enumerate().take(n) {
                b.iov_len = b.iov_len.min(room);
                room -= b.iov_len;
                if room == 0 {
                    n = i + 1;
                    break;
                }
            }
            let asked: usize = buffers.iter().take(n).map(|b| b.iov_len).sum();
            // SAFETY: an all-zero msghdr is valid; the buffers are the caller's (`new`).
            let ret = unsafe {
                let mut msg: libc::msghdr = core::mem::zeroed();
                msg.msg_iov = buffers.as_mut_ptr();
                msg.msg_iovlen = n;
                crate::sys::errno::check((crate::sys::real::real().recvmsg)(fd, &mut msg, if got > 0 { flags | libc::MSG_DONTWAIT } else { flags }))
            };
            match ret {
                Err(_) if got > 0 => return Ok(got),
                Err(e) => return Err(e),
                Ok(n) => {
                    got += n;
                    rest.advance(n);
                    // A stream that has filled so many buffers may have more for the others.
                    if n < asked || n == 0 || got == most || rest.left() == 0 || flags & (libc::MSG_PEEK | libc::MSG_OOB) != 0 {
                        return Ok(got);
                    }
                }
            }
        }
    }

    /// Sends on the anchor `fd` with `flags`; the caller says how many bytes are done (`advance`).
    pub fn send_kernel(&self, fd: libc::c_int, flags: libc::c_int) -> crate::sys::errno::Ret {
        let (mut buffers, n) = self.next_buffers();
        let mut left = self.left;
        for b in &mut buffers {
            b.iov_len = b.iov_len.min(left);
            left -= b.iov_len;
        }
        // SAFETY: as for `receive_kernel`.
        unsafe {
            let mut msg: libc::msghdr = core::mem::zeroed();
            msg.msg_iov = buffers.as_mut_ptr();
            msg.msg_iovlen = n;
            crate::sys::errno::check((crate::sys::real::real().sendmsg)(fd, &msg, flags))
        }
    }

    /// Sends everything as one message on the anchor `fd`; nothing of it is done yet.
    pub fn send_message(&self, fd: libc::c_int, flags: libc::c_int) -> crate::sys::errno::Ret {
        // SAFETY: as for `receive_kernel`; the kernel only reads.
        unsafe {
            let mut msg: libc::msghdr = core::mem::zeroed();
            msg.msg_iov = self.rest.as_ptr().cast_mut();
            msg.msg_iovlen = self.rest.len();
            crate::sys::errno::check((crate::sys::real::real().sendmsg)(fd, &msg, flags))
        }
    }

    /// What is left, as the first few buffers for a real call; at least one if anything is left.
    pub fn next_buffers(&self) -> ([iovec; 8], usize) {
        let mut out = [iovec { iov_base: core::ptr::null_mut(), iov_len: 0 }; 8];
        let mut n = 0;
        let mut skip = self.done;
        for (to, b) in out.iter_mut().zip(self.rest) {
            *to = iovec { iov_base: b.iov_base.cast::<u8>().wrapping_add(skip).cast(), iov_len: b.iov_len - skip };
            skip = 0;
            n += 1;
        }
        (out, n)
    }

    /// A second cursor at the same place, for no more than `most` bytes.
    pub fn beginning(&self, most: usize) -> Iov<'a> {
        Iov { left: self.left.min(most), ..*self }
    }

    /// A second cursor at the same place, for looking without taking.
    pub fn fork(&self) -> Iov<'a> {
        Iov { ..*self }
    }

    /// The same that ends after `n` bytes.
    pub fn first(&self, n: usize) -> Iov<'a> {
        Iov { left: self.left.min(n), ..*self }
    }
}

/// Bytes that lie in a ring, from an offset on and around its end.
pub struct Piece {
    ring: *const u8,
    size: usize,
    at: usize,
    bytes: usize,
}

impl Piece {
    /// # Safety
    /// `ring` is valid for `size` bytes, a power of two; `at < size` and `bytes <= size`.
    pub(super) unsafe fn new(ring: *const u8, size: usize, at: usize, bytes: usize) -> Piece {
        Piece { ring, size, at, bytes }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Calls `f` with a cursor over `n` of the bytes, from the one numbered `from` on.
    pub fn part(&self, from: usize, n: usize, f: impl FnOnce(&Iov)) {
        let n = n.min(self.bytes.saturating_sub(from));
        let at = (self.at + from) & (self.size - 1);
        let first = n.min(self.size - at);
        let buffers = [
            iovec { iov_base: self.ring.wrapping_add(at).cast_mut().cast(), iov_len: first },
            iovec { iov_base: self.ring.cast_mut().cast(), iov_len: n - first },
        ];
        // SAFETY: both lie within the ring (`new`), and are read alone.
        if let Ok(iov) = unsafe { Iov::new(&buffers) } {
            f(&iov);
        }
    }
}

/// Bytes of our own in two parts, to be sent as if they were the caller's.
pub struct Parts<'a> {
    buffers: [iovec; 2],
    _bytes: core::marker::PhantomData<&'a [u8]>,
}

impl<'a> Parts<'a> {
    pub fn new(first: &'a [u8], second: &'a [u8]) -> Parts<'a> {
        let buffer = |part: &[u8]| iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        Parts { buffers: [buffer(first), buffer(second)], _bytes: core::marker::PhantomData }
    }

    /// A cursor over both, for sending.
    pub fn iov(&self) -> Iov<'_> {
        let left = self.buffers.iter().map(|b| b.iov_len).sum();
        Iov { rest: &self.buffers, done: 0, left, discard: false }
    }
}

/// Copies memory that another process may be writing: through C's memcpy, of which the compiler assumes
/// nothing, with the commonest small size done in registers.
#[inline(always)]
unsafe fn copy(to: *mut u8, from: *const u8, n: usize) {
    #[cfg(loom)]
    crate::shm::arena::copied(to, from, n);
    // SAFETY: the caller's pointers are valid for `n` bytes and do not overlap (the caller's buffer is not
    // in the arena).
    unsafe {
        match n {
            0 => {}
            8 => to.cast::<u64>().write_unaligned(from.cast::<u64>().read_unaligned()),
            _ => {
                memcpy(to.cast(), from.cast(), n);
            }
        }
    }
}
