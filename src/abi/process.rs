//! Calls that make processes: before another process gets our descriptors, their sockets are marked as
//! shared. (fork itself is seen by its handlers.)

use core::ffi::{c_char, c_int, c_void};

use crate::fd::table::share_all;
use crate::sys::errno::preserved;
use crate::sys::real::real;

export! {
    fn vfork() -> c_int {
        // A child that borrows our memory would change our descriptor table: it gets a copy instead, which
        // POSIX allows.
        // SAFETY: fork has no preconditions.
        unsafe { (real().fork)() }
    }

    fn posix_spawn(pid: *mut c_int, path: *const c_char, actions: *const c_void, attr: *const c_void, argv: *const *mut c_char, env: *const *mut c_char) -> c_int {
        preserved(share_all);
        // SAFETY: as the caller says.
        unsafe { (real().posix_spawn)(pid, path, actions, attr, argv, env) }
    }

    fn posix_spawnp(pid: *mut c_int, file: *const c_char, actions: *const c_void, attr: *const c_void, argv: *const *mut c_char, env: *const *mut c_char) -> c_int {
        preserved(share_all);
        // SAFETY: as the caller says.
        unsafe { (real().posix_spawnp)(pid, file, actions, attr, argv, env) }
    }

    fn popen(command: *const c_char, mode: *const c_char) -> *mut c_void {
        preserved(share_all);
        // SAFETY: as the caller says.
        unsafe { (real().popen)(command, mode) }
    }

    fn system(command: *const c_char) -> c_int {
        preserved(share_all);
        // SAFETY: as the caller says.
        unsafe { (real().system)(command) }
    }

    fn mlockall(flags: c_int) -> c_int {
        // The arena is a large sparse file: locked whole it would fill the machine. Its pages are locked as
        // they are touched, and with them, from now on, the rest of the program's.
        // SAFETY: a plain number.
        unsafe { (real().mlockall)(if crate::shm::arena::joined().is_some() { flags | libc::MCL_ONFAULT } else { flags }) }
    }
}
