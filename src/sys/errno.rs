//! `errno` values as a type, and the calling thread's `errno`.

use libc::c_int;

/// An error number of errno(3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub c_int);

/// What an internal operation returns: a count, or the `errno` the caller shall see.
pub type Ret = Result<usize, Errno>;

macro_rules! names {
    ($($name:ident)*) => { impl Errno { $(pub const $name: Errno = Errno(libc::$name);)* } };
}
names! { EAGAIN EBADF ECONNREFUSED ECONNRESET EEXIST EFAULT EINTR EINVAL EISCONN ELOOP EMFILE ENOENT ENOMEM
ENOPROTOOPT ENOSPC ENOSYS ENOTCONN ENOTSOCK EOPNOTSUPP EPERM EPIPE ESPIPE ETIMEDOUT }

impl Errno {
    /// The calling thread's `errno`.
    pub fn last() -> Errno {
        // SAFETY: __errno_location returns the calling thread's own, always valid, errno.
        Errno(unsafe { *libc::__errno_location() })
    }

    /// Makes this the calling thread's `errno`.
    pub fn set(self) {
        // SAFETY: as for `last`.
        unsafe { *libc::__errno_location() = self.0 }
    }
}

/// The result of a C call: its value, or `errno` where it returned a negative number.
pub fn check(ret: isize) -> Ret {
    usize::try_from(ret).map_err(|_| Errno::last())
}

/// What a C caller gets: the count, or -1 with `errno` set.
pub fn encode(ret: Ret) -> isize {
    match ret {
        Ok(n) => n as isize,
        Err(e) => {
            e.set();
            -1
        }
    }
}

/// Runs `f` and puts the calling thread's `errno` back afterwards: a call that succeeds leaves it alone.
pub fn preserved<T>(f: impl FnOnce() -> T) -> T {
    let before = Errno::last();
    let value = f();
    before.set();
    value
}
