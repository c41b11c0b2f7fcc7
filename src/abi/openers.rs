//! Calls that hand out descriptors of other things than sockets. The number may have been one of ours that was
//! closed past our exports: what was known of it is forgotten.

use core::ffi::{c_char, c_int, c_uint, c_void};

use crate::fd::table;
use crate::sys::errno::preserved;
use crate::sys::real::real;

fn opened(fd: c_int) -> c_int {
    if fd >= 0 {
        preserved(|| table::abandon(fd));
    }
    fd
}

macro_rules! openers {
    ($( fn $name:ident($($arg:ident: $ty:ty),* $(,)?); )*) => { export! { $(
        fn $name($($arg: $ty),*) -> c_int {
            // SAFETY: as the caller says.
            opened(unsafe { (real().$name)($($arg),*) })
        }
    )* } };
}

openers! {
    fn open(path: *const c_char, flags: c_int, mode: c_uint);
    fn open64(path: *const c_char, flags: c_int, mode: c_uint);
    fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint);
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint);
    fn creat(path: *const c_char, mode: c_uint);
    fn creat64(path: *const c_char, mode: c_uint);
    fn eventfd(value: c_uint, flags: c_int);
    fn timerfd_create(clock: c_int, flags: c_int);
    fn signalfd(fd: c_int, mask: *const c_void, flags: c_int);
    fn inotify_init();
    fn inotify_init1(flags: c_int);
    fn memfd_create(name: *const c_char, flags: c_uint);
    fn pidfd_getfd(pidfd: c_int, fd: c_int, flags: c_uint);
}

unsafe fn opened_both(fds: *const c_int, ret: c_int) -> c_int {
    if ret == 0 {
        // SAFETY: the call has written both.
        unsafe {
            opened(fds.read());
            opened(fds.add(1).read());
        }
    }
    ret
}

export! {
    fn pipe(fds: *mut c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe { opened_both(fds, (real().pipe)(fds)) }
    }

    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe { opened_both(fds, (real().pipe2)(fds, flags)) }
    }
}
