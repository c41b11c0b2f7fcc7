//! sigaction(2) and signal(2), for the two signals that a bad pointer of the program's raises (see `sys::fault`).

use core::ffi::c_int;

use crate::sys::errno::encode;
use crate::sys::fault;
use crate::sys::real::real;

export! {
    fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
        // SAFETY: null or an action of the caller's.
        unsafe {
            if !fault::is_watched(signal) {
                return (real().sigaction)(signal, new, old);
            }
            let ret = fault::change(signal, new.as_ref());
            if let (Ok(before), false) = (&ret, old.is_null()) {
                old.write(*before);
            }
            encode(ret.map(|_| 0)) as c_int
        }
    }

    fn __sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
        // SAFETY: the same function.
        unsafe { sigaction(signal, new, old) }
    }

    fn signal(signal: c_int, handler: usize) -> usize {
        if !fault::is_watched(signal) {
            // SAFETY: as the caller says.
            return unsafe { (real().signal)(signal, handler) };
        }
        // SAFETY: an all-zero action is valid; the C library's signal restarts calls and masks the signal itself.
        let ret = unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaddset(&mut action.sa_mask, signal);
            fault::change(signal, Some(&action))
        };
        match ret {
            Ok(before) => before.sa_sigaction,
            Err(e) => {
                e.set();
                libc::SIG_ERR
            }
        }
    }
}
