//! Holding signals off while a lock is held that a handler of the same thread might want.

use super::real::real;

/// All signals are blocked in the calling thread until this is dropped.
pub struct Blocked {
    before: u64,
}

const SIGSET_BYTES: usize = 8;

impl Blocked {
    /// Blocks every signal (rt_sigprocmask(2), by number: the C library's wrapper leaves out its own two).
    pub fn all() -> Blocked {
        let every = u64::MAX;
        let mut before = 0u64;
        // SAFETY: both sets are valid 8-byte kernel signal sets.
        unsafe {
            (real().syscall)(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK as usize,
                &raw const every as usize,
                &raw mut before as usize,
                SIGSET_BYTES,
                0,
                0,
            )
        };
        Blocked { before }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: as above; a null pointer asks for no copy of the old set.
        unsafe { (real().syscall)(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK as usize, &raw const self.before as usize, 0, SIGSET_BYTES, 0, 0) };
    }
}

/// Whether every handler that the program has installed wants interrupted calls to be restarted (SA_RESTART,
/// signal(7)). For sleeps that the kernel itself never restarts.
pub fn restarts_calls() -> bool {
    let mut any = false;
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: an all-zero sigaction is valid to write to; nothing is changed.
        let action = unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            if libc::sigaction(number, core::ptr::null(), &mut action) != 0 {
                continue;
            }
            action
        };
        if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN {
            if action.sa_flags & libc::SA_RESTART == 0 {
                return false;
            }
            any = true;
        }
    }
    any
}
