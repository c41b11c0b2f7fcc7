//! The kernel sockets beneath those of a private net: AF_UNIX ones, with abstract names that nobody can guess.

use libc::c_int;

use super::errno::{Errno, Ret, check};
use super::real::real;
use super::unix_name::UnixName;

/// What a name belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A socket that others connect or send to, by the number of its PCB.
    Socket = b's' as isize,
    /// One that connects, by its cookie.
    Client = b'c' as isize,
}

const PREFIX: &[u8] = b"\0landline/";
const DIGITS: usize = 16;

/// A name of the net with `secret`: its own kind, and a number.
pub fn name(secret: [u64; 2], kind: Kind, number: u64) -> UnixName {
    let mut bytes = [0u8; 64];
    let family = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes();
    let hex = |word: u64| (0..DIGITS).map(move |i| b"0123456789abcdef"[(word >> (60 - 4 * i)) as usize & 15]);
    let all = family.into_iter().chain(PREFIX.iter().copied()).chain(secret.into_iter().flat_map(hex)).chain([kind as u8]).chain(hex(number));
    let mut n = 0;
    for (to, from) in bytes.iter_mut().zip(all) {
        *to = from;
        n += 1;
    }
    UnixName::of(bytes.get(..n).unwrap_or(&[]))
}

/// The number in a name of such a kind; `None` for any other name.
pub fn number(secret: [u64; 2], kind: Kind, of: &UnixName) -> Option<u64> {
    let number = of.get(of.len().checked_sub(DIGITS)?..)?.iter().try_fold(0u64, |n, &b| Some(n << 4 | u64::from((b as char).to_digit(16)?)))?;
    (**of == *name(secret, kind, number)).then_some(number)
}

/// A new socket; `kind` is SOCK_STREAM or SOCK_DGRAM, with flags.
pub fn socket(kind: c_int) -> Result<c_int, Errno> {
    // SAFETY: plain numbers.
    check(unsafe { (real().socket)(libc::AF_UNIX, kind, 0) } as isize).map(|fd| fd as c_int)
}

/// Puts a new socket in the place of `fd`; whether that is closed by exec stays.
pub fn replace(fd: c_int, family: c_int, kind: c_int) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    let new = check(unsafe { (real().socket)(family, kind, 0) } as isize)? as c_int;
    // SAFETY: plain numbers; `new` is ours.
    unsafe {
        let closed_by_exec = (real().fcntl)(fd, libc::F_GETFD, 0) & libc::FD_CLOEXEC != 0;
        let ret = check((real().dup3)(new, fd, if closed_by_exec { libc::O_CLOEXEC } else { 0 }) as isize);
        (real().close)(new);
        ret.map(|_| ())
    }
}

/// Gives a socket a name.
pub fn bind(fd: c_int, to: &UnixName) -> Ret {
    let (name, len) = to.as_raw();
    // SAFETY: a name and its length.
    check(unsafe { (real().bind)(fd, name, len) } as isize)
}

/// listen(2).
pub fn listen(fd: c_int, backlog: c_int) -> Ret {
    // SAFETY: plain numbers.
    check(unsafe { (real().listen)(fd, backlog) } as isize)
}

/// connect(2).
pub fn connect(fd: c_int, to: &UnixName) -> Ret {
    let (name, len) = to.as_raw();
    // SAFETY: a name and its length.
    check(unsafe { (real().connect)(fd, name, len) } as isize)
}

/// accept4(2): the new socket, and the name of who connected.
pub fn accept(fd: c_int, flags: c_int) -> Result<(c_int, UnixName), Errno> {
    let mut new = -1;
    let from = UnixName::asked(|name, len| {
        // SAFETY: room for a name, and its length.
        new = unsafe { (real().accept4)(fd, name, len, flags) };
        new
    })?;
    Ok((new, from))
}

/// What the kernel says of an option that the anchor does not have: asked of a socket that it does have, made for the
/// moment. With `value` it is set first.
///
/// # Errors
/// Those of socket(2), setsockopt(2) and getsockopt(2).
pub fn try_option(family: c_int, kind: c_int, (level, name): (c_int, c_int), value: Option<&[u8]>, into: Option<&mut [u8]>) -> Result<usize, Errno> {
    // SAFETY: plain numbers; the buffers are readable and writable for their lengths; the descriptor is ours.
    unsafe {
        let fd = check((real().socket)(family, kind | libc::SOCK_CLOEXEC, 0) as isize)? as c_int;
        let set = value.map_or(Ok(0), |v| check((real().setsockopt)(fd, level, name, v.as_ptr().cast(), v.len() as libc::socklen_t) as isize));
        let got = set.and_then(|_| {
            let Some(into) = into else { return Ok(0) };
            let mut len = into.len() as libc::socklen_t;
            check((real().getsockopt)(fd, level, name, into.as_mut_ptr().cast(), &mut len) as isize).map(|_| len as usize)
        });
        (real().close)(fd);
        got
    }
}

/// What the kernel says of a value that is not where the program says: not all options look at it.
///
/// # Safety
/// None of `value` is looked at but by the kernel; where there is something after all, it is read as the option's.
pub unsafe fn try_pointer(family: c_int, kind: c_int, (level, name): (c_int, c_int), value: *const libc::c_void, len: libc::socklen_t) -> Ret {
    // SAFETY: plain numbers; the kernel looks at the memory itself; the descriptor is ours.
    unsafe {
        let fd = check((real().socket)(family, kind | libc::SOCK_CLOEXEC, 0) as isize)? as c_int;
        let set = check((real().setsockopt)(fd, level, name, value, len) as isize);
        (real().close)(fd);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_number() {
        let secret = [1, 0xfedc_ba98_7654_3210];
        for n in [0, 1, u64::MAX] {
            let it = name(secret, Kind::Client, n);
            assert_eq!(number(secret, Kind::Client, &it), Some(n));
            assert_eq!(number(secret, Kind::Socket, &it), None);
            assert_eq!(number([1, 2], Kind::Client, &it), None);
        }
        assert_eq!(number(secret, Kind::Client, &UnixName::empty()), None);
    }
}
