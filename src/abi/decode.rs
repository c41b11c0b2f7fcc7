//! C's arguments as Rust values.

use core::ffi::c_int;
use libc::{iovec, msghdr, sockaddr, socklen_t};

use crate::pcb::Address;
use crate::sys::errno::{Ret, encode};
use crate::sys::{Errno, call, fault};
use crate::transport::iov::{Iov, MOST_BYTES, can_be_memory};

/// Whether there is memory for a `T` at `at`.
pub fn is_there<T>(at: *const T) -> bool {
    fault::can_read(at.cast(), size_of::<T>())
}

/// Whether there is memory at `at` for a `T` that will be written.
pub fn is_writable<T>(at: *mut T) -> bool {
    fault::can_update(at.cast(), size_of::<T>())
}

/// The Internet address at `addr`, if there is one; and its family.
pub unsafe fn address(addr: *const sockaddr, len: socklen_t) -> (Option<Address>, Option<c_int>) {
    if addr.is_null() || (len as usize) < size_of::<libc::sa_family_t>() {
        return (None, None);
    }
    // SAFETY: the caller's `len` bytes are readable; a zeroed sockaddr_storage is valid and larger than
    // what is copied into it.
    let storage = unsafe {
        let mut storage: libc::sockaddr_storage = core::mem::zeroed();
        let n = (len as usize).min(size_of_val(&storage));
        core::ptr::copy_nonoverlapping(addr.cast::<u8>(), (&raw mut storage).cast(), n);
        storage
    };
    (call::socket_address(&storage).map(Address::from), Some(c_int::from(storage.ss_family)))
}

/// Runs `f` on a cursor over one buffer, of which one call takes no more than it can.
#[inline(always)]
pub unsafe fn with_buffer(buf: *mut libc::c_void, n: usize, f: impl FnOnce(&mut Iov) -> Ret) -> isize {
    let one = [iovec { iov_base: buf, iov_len: n.min(MOST_BYTES) }];
    // SAFETY: the caller's buffer is valid for `n` bytes.
    encode(unsafe { Iov::new(&one) }.and_then(|mut iov| f(&mut iov)))
}

/// The same for read(2) and write(2), which look at the buffer before they cut it down.
#[inline(always)]
pub unsafe fn with_whole_buffer(buf: *mut libc::c_void, n: usize, f: impl FnOnce(&mut Iov) -> Ret) -> isize {
    if !can_be_memory(buf, n) {
        return encode(Err(Errno::EFAULT));
    }
    // SAFETY: as the caller says.
    unsafe { with_buffer(buf, n, f) }
}

const IOV_MAX: usize = 1024;

/// Runs `f` on a cursor over an array of buffers.
pub unsafe fn with_vector(iov: *const iovec, n: usize, f: impl FnOnce(&mut Iov) -> Ret) -> isize {
    // SAFETY: the caller's array has `n` entries, each a valid buffer.
    encode(unsafe { buffers(iov, n).and_then(|b| Iov::new(b)).and_then(|mut iov| f(&mut iov)) })
}

/// The caller's array of buffers.
pub unsafe fn buffers<'a>(iov: *const iovec, n: usize) -> Result<&'a [iovec], Errno> {
    match n {
        0 => Ok(&[]),
        _ if n > IOV_MAX => Err(Errno::EINVAL),
        _ if !fault::can_read(iov.cast(), n * size_of::<iovec>()) => Err(Errno::EFAULT),
        // SAFETY: `n` entries, says the caller.
        _ => Ok(unsafe { core::slice::from_raw_parts(iov, n) }),
    }
}

/// What the kernel says of a socket's name that it only reads (move_addr_to_kernel of Linux).
pub unsafe fn readable_name(addr: *const sockaddr, len: socklen_t) -> Result<(), Errno> {
    if addr.is_null() {
        return Ok(());
    }
    if len as usize > size_of::<libc::sockaddr_storage>() {
        return Err(Errno::EINVAL);
    }
    if fault::can_read(addr.cast(), len as usize) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// The buffers of a message whose other parts are as they must be.
pub unsafe fn message_buffers<'a>(msg: *const msghdr) -> Result<&'a [iovec], Errno> {
    if !is_there(msg) {
        return Err(Errno::EFAULT);
    }
    // SAFETY: a valid message, says the caller; too many buffers are EMSGSIZE for messages (recvmsg(2)).
    unsafe {
        if !(*msg).msg_name.is_null() && ((*msg).msg_namelen as i32) < 0 {
            return Err(Errno::EINVAL);
        }
        if (*msg).msg_iovlen > IOV_MAX {
            return Err(Errno(libc::EMSGSIZE));
        }
        buffers((*msg).msg_iov, (*msg).msg_iovlen)
    }
}
