//! epoll(7).

use core::ffi::c_int;
use libc::{epoll_event, sigset_t, timespec};

use super::decode::{is_there, is_writable};
use super::poll::deadline_of;
use crate::fd::epoll;
use crate::fd::table::{self, Entry};
use crate::sys::Errno;
use crate::sys::clock::Deadline;
use crate::sys::errno::{encode, preserved};
use crate::sys::real::real;

fn created(fd: c_int) -> c_int {
    if fd >= 0 {
        preserved(|| {
            table::set_plain(fd);
            epoll::created(fd);
        });
    }
    fd
}

unsafe fn wait(ep: c_int, events: *mut epoll_event, n: c_int, deadline: Deadline, mask: *const sigset_t) -> Option<c_int> {
    let Entry::Epoll(number) = table::lookup(ep) else { return None };
    let is_valid = n > 0 && (mask.is_null() || is_there(mask));
    if is_valid && !is_writable(events) && epoll::is_ready(number) {
        return Some(encode(Err(Errno::EFAULT)) as c_int);
    }
    if !is_valid || !is_writable(events) {
        return None;
    }
    // SAFETY: `n` writable events and a null or valid mask, says the caller.
    let (events, mask) = unsafe { (core::slice::from_raw_parts_mut(events, n as usize), mask.as_ref()) };
    Some(encode(epoll::wait(ep, number, events, deadline, mask)) as c_int)
}

export! {
    fn epoll_create(size: c_int) -> c_int {
        // SAFETY: a plain number.
        created(unsafe { (real().epoll_create)(size) })
    }

    fn epoll_create1(flags: c_int) -> c_int {
        // SAFETY: a plain number.
        created(unsafe { (real().epoll_create1)(flags) })
    }

    fn epoll_ctl(ep: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
        // SAFETY: null or an event of the caller's (which is packed).
        let wanted = unsafe { (op != libc::EPOLL_CTL_DEL && is_there(event)).then(|| ((&raw const (*event).events).read_unaligned(), (&raw const (*event).u64).read_unaligned())) };
        match epoll::ctl(ep, op, fd, wanted) {
            Some(ret) => encode(ret) as c_int,
            // SAFETY: as the caller says.
            None => unsafe { (real().epoll_ctl)(ep, op, fd, event) },
        }
    }

    fn epoll_wait(ep: c_int, events: *mut epoll_event, n: c_int, timeout_ms: c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe { epoll_pwait(ep, events, n, timeout_ms, core::ptr::null()) }
    }

    fn epoll_pwait(ep: c_int, events: *mut epoll_event, n: c_int, timeout_ms: c_int, mask: *const sigset_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe { wait(ep, events, n, Deadline::after_ms(timeout_ms), mask).unwrap_or_else(|| (real().epoll_pwait)(ep, events, n, timeout_ms, mask)) }
    }

    fn epoll_pwait2(ep: c_int, events: *mut epoll_event, n: c_int, timeout: *const timespec, mask: *const sigset_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            deadline_of(timeout).and_then(|d| wait(ep, events, n, d, mask)).unwrap_or_else(|| (real().epoll_pwait2)(ep, events, n, timeout, mask))
        }
    }
}
