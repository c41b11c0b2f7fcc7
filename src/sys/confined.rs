//! Processes that have given up most system calls (seccomp(2)), as the network-facing child of sshd does: its filter
//! lets read, write and poll pass, and kills at send, recv, getsockopt or socket. From the moment that a process
//! installs a filter the library makes do with the former.

use core::sync::atomic::{AtomicBool, Ordering};

static CONFINED: AtomicBool = AtomicBool::new(false);

/// Whether this process may be killed for what others do freely.
#[inline]
pub fn is_confined() -> bool {
    CONFINED.load(Ordering::Relaxed)
}

/// A filter is about to be installed.
pub fn confine() {
    CONFINED.store(true, Ordering::Relaxed);
}
