//! RLIMIT_AS (getrlimit(2)): the arena's mapping is address space that the program does not know of. What it
//! allows itself comes on top.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};
use libc::{RLIM_INFINITY, pid_t, rlimit};

use crate::shm::arena::joined;
use crate::sys::real::real;
use crate::sys::thread;

/// What was added to the limit that the program set.
static ADDED: AtomicU64 = AtomicU64::new(0);

/// RLIMIT_NOFILE; 0 where it has to be asked for.
static DESCRIPTORS: AtomicU64 = AtomicU64::new(0);

/// How many descriptors the process may have, as it last set it.
pub(super) fn descriptors() -> u64 {
    match DESCRIPTORS.load(Ordering::Relaxed) {
        0 => {
            let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: a limit to write to.
            unsafe { (real().getrlimit)(libc::RLIMIT_NOFILE as c_int, &mut limit) };
            DESCRIPTORS.store(limit.rlim_cur, Ordering::Relaxed);
            limit.rlim_cur
        }
        known => known,
    }
}

fn shifted(limit: u64, by: impl FnOnce(u64) -> u64) -> u64 {
    if limit == RLIM_INFINITY { limit } else { by(limit) }
}

/// The limit to set where the program asks for `wanted`.
unsafe fn raised(resource: c_int, wanted: *const rlimit) -> Option<rlimit> {
    if resource != libc::RLIMIT_AS as c_int || wanted.is_null() {
        return None;
    }
    let more = joined()?.mapped_bytes();
    // SAFETY: a limit of the caller's, and one of our own to write to.
    let (wanted, now) = unsafe {
        let mut now = rlimit { rlim_cur: 0, rlim_max: 0 };
        (real().getrlimit)(resource, &mut now);
        (wanted.read(), now)
    };
    if wanted.rlim_cur == RLIM_INFINITY && wanted.rlim_max == RLIM_INFINITY {
        ADDED.store(0, Ordering::Relaxed);
        return None;
    }
    ADDED.store(more, Ordering::Relaxed);
    // A hard limit that is there already may be lowered only.
    let up = |limit: u64| shifted(limit, |l| l.saturating_add(more).min(now.rlim_max.max(l)));
    Some(rlimit { rlim_cur: up(wanted.rlim_cur), rlim_max: up(wanted.rlim_max) })
}

/// What the program is told of a limit.
unsafe fn lowered(resource: c_int, limit: *mut rlimit) {
    let added = ADDED.load(Ordering::Relaxed);
    if resource == libc::RLIMIT_AS as c_int && added > 0 && !limit.is_null() {
        // SAFETY: the real call has just written it.
        unsafe {
            (*limit).rlim_cur = shifted((*limit).rlim_cur, |l| l.saturating_sub(added));
            (*limit).rlim_max = shifted((*limit).rlim_max, |l| l.saturating_sub(added));
        }
    }
}

export! {
    fn setrlimit(resource: c_int, limit: *const rlimit) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            let raised = raised(resource, limit);
            let ret = (real().setrlimit)(resource, raised.as_ref().map_or(limit, core::ptr::from_ref));
            DESCRIPTORS.store(0, Ordering::Relaxed);
            ret
        }
    }

    fn setrlimit64(resource: c_int, limit: *const rlimit) -> c_int {
        // SAFETY: the same function on 64-bit machines.
        unsafe { setrlimit(resource, limit) }
    }

    fn getrlimit(resource: c_int, limit: *mut rlimit) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            let ret = (real().getrlimit)(resource, limit);
            if ret == 0 {
                lowered(resource, limit);
            }
            ret
        }
    }

    fn getrlimit64(resource: c_int, limit: *mut rlimit) -> c_int {
        // SAFETY: the same function on 64-bit machines.
        unsafe { getrlimit(resource, limit) }
    }

    fn prlimit(pid: pid_t, resource: c_int, new: *const rlimit, old: *mut rlimit) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            if pid != 0 && pid as u32 != thread::pid() {
                return (real().prlimit)(pid, resource, new, old);
            }
            let added = ADDED.load(Ordering::Relaxed);
            let raised = raised(resource, new);
            let ret = (real().prlimit)(pid, resource, raised.as_ref().map_or(new, core::ptr::from_ref), old);
            DESCRIPTORS.store(0, Ordering::Relaxed);
            if ret == 0 && !old.is_null() {
                let now = ADDED.swap(added, Ordering::Relaxed);
                lowered(resource, old);
                ADDED.store(now, Ordering::Relaxed);
            }
            ret
        }
    }

    fn prlimit64(pid: pid_t, resource: c_int, new: *const rlimit, old: *mut rlimit) -> c_int {
        // SAFETY: the same function on 64-bit machines.
        unsafe { prlimit(pid, resource, new, old) }
    }
}
