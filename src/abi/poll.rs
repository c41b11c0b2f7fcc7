//! poll(2), select(2) and their kin.

use core::ffi::c_int;
use libc::{fd_set, nfds_t, pollfd, sigset_t, size_t, timespec, timeval};

use super::decode::is_there;
use super::limits;
use crate::fd::poll::poll as poll_fds;
use crate::fd::select::{Words, select as select_fds};
use crate::sys::clock::{Deadline, now_ns};
use crate::sys::errno::encode;
use crate::sys::real::real;
use crate::sys::{fault, thread};

/// The caller's array; `None` where the real call shall say what is wrong with it.
unsafe fn array<'a>(fds: *mut pollfd, n: nfds_t) -> Option<&'a mut [pollfd]> {
    match n {
        0 => Some(&mut []),
        1..=1_048_576 if is_allowed(n) && fault::can_update(fds.cast(), n as usize * size_of::<pollfd>()) => {
            // SAFETY: `n` entries, says the caller.
            Some(unsafe { core::slice::from_raw_parts_mut(fds, n as usize) })
        }
        _ => None,
    }
}

/// Whether a process may poll so many descriptors (RLIMIT_NOFILE). Few it always may.
fn is_allowed(n: nfds_t) -> bool {
    const FEW: nfds_t = 32;
    n <= FEW || n <= limits::descriptors()
}

/// A timeout of a second and a part, `unit` nanoseconds each; `None` where it is not valid.
fn deadline(seconds: i64, parts: i64, unit: i64) -> Option<Deadline> {
    let valid = seconds >= 0 && (0..1_000_000_000 / unit).contains(&parts);
    valid.then(|| Deadline::after_ns((seconds as u64).saturating_mul(1_000_000_000).saturating_add((parts * unit) as u64)))
}

/// The deadline of a timeout; `None` where the real call shall say what is wrong with it.
pub(super) unsafe fn deadline_of(timeout: *const timespec) -> Option<Deadline> {
    if timeout.is_null() {
        return Some(Deadline::NEVER);
    }
    // SAFETY: there is a timespec.
    is_there(timeout).then(|| unsafe { *timeout }).and_then(|t| deadline(t.tv_sec, t.tv_nsec, 1))
}

/// How many of `n` descriptors select looks at: no more than the process's table has room for, whatever it is told.
fn in_table(n: c_int) -> c_int {
    if n <= libc::FD_SETSIZE as c_int { n } else { n.min(thread::descriptor_slots().min(c_int::MAX as usize) as c_int) }
}

/// Whether select has what it needs of its sets, for descriptors below `n`.
fn are_there(sets: [*mut fd_set; 3], n: c_int) -> bool {
    n >= 0 && sets.iter().all(|set| set.is_null() || fault::can_update(set.cast(), (n as usize).div_ceil(64) * size_of::<u64>()))
}

/// A set of the caller's as words; it has at least as many as `n` descriptors need (select(2)).
unsafe fn words<'a>(set: *mut fd_set, n: c_int) -> Words<'a> {
    // SAFETY: as the caller of select says.
    (!set.is_null()).then(|| unsafe { core::slice::from_raw_parts_mut(set.cast::<u64>(), (n as usize).div_ceil(64)) })
}

export! {
    fn poll(fds: *mut pollfd, n: nfds_t, timeout_ms: c_int) -> c_int {
        // SAFETY: as the caller says.
        match unsafe { array(fds, n) } {
            Some(fds) => encode(poll_fds(fds, Deadline::after_ms(timeout_ms), None)) as c_int,
            // SAFETY: as the caller says.
            None => unsafe { (real().poll)(fds, n, timeout_ms) },
        }
    }

    fn ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            match (array(fds, n), deadline_of(timeout)) {
                (Some(fds), Some(deadline)) => encode(poll_fds(fds, deadline, mask.as_ref())) as c_int,
                _ => (real().ppoll)(fds, n, timeout, mask),
            }
        }
    }

    fn __poll_chk(fds: *mut pollfd, n: nfds_t, timeout_ms: c_int, _size: size_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe { poll(fds, n, timeout_ms) }
    }

    fn __ppoll_chk(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t, _size: size_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe { ppoll(fds, n, timeout, mask) }
    }

    fn select(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            let until = match timeout.is_null() {
                true => Some(Deadline::NEVER),
                false => is_there(timeout).then(|| *timeout).and_then(|t| deadline(t.tv_sec + t.tv_usec / 1_000_000, t.tv_usec % 1_000_000, 1000)),
            };
            let n = in_table(n);
            let (Some(until), true) = (until, are_there([r, w, e], n)) else { return (real().select)(n, r, w, e, timeout) };
            let start = now_ns();
            let ret = select_fds(n as usize, words(r, n), words(w, n), words(e, n), until, None);
            if let Some(t) = timeout.as_mut() {
                // Linux tells how much was left.
                let left = (t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64).saturating_sub((now_ns() - start) / 1000);
                *t = timeval { tv_sec: (left / 1_000_000) as i64, tv_usec: (left % 1_000_000) as i64 };
            }
            encode(ret) as c_int
        }
    }

    fn pselect(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *const timespec, mask: *const sigset_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            let n = in_table(n);
            let (Some(until), true) = (deadline_of(timeout), are_there([r, w, e], n)) else {
                return (real().pselect)(n, r, w, e, timeout, mask);
            };
            encode(select_fds(n as usize, words(r, n), words(w, n), words(e, n), until, mask.as_ref())) as c_int
        }
    }
}
