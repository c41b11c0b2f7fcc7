//! close(2), dup(2), fcntl(2), ioctl(2) and whatever else hands out or retires a descriptor.

use core::ffi::{c_int, c_uint};

use super::{interfaces, stdio};
use crate::fd::table;
use crate::socket::options;
use crate::sys::errno::preserved;
use crate::sys::fault;
use crate::sys::real::real;

/// After a descriptor was duplicated over another.
unsafe fn duplicated_over(from: c_int, to: c_int, call: impl FnOnce() -> c_int) -> c_int {
    if from == to {
        return call();
    }
    // The kernel closes `to` only where `from` is open.
    let open = crate::sys::call::file_flags(from).is_ok();
    let retired = if open { preserved(|| table::retire(to)) } else { table::Retired::Nothing };
    let ret = call();
    preserved(|| {
        retired.finish();
        if ret >= 0 {
            table::duplicate(from, ret);
            stdio::follow(ret);
        }
    });
    ret
}

fn duplicated(from: c_int, to: c_int) -> c_int {
    if to >= 0 {
        preserved(|| {
            table::duplicate(from, to);
            stdio::follow(to);
        });
    }
    to
}

export! {
    fn close(fd: c_int) -> c_int {
        let retired = preserved(|| table::retire(fd));
        // SAFETY: a plain number.
        let ret = unsafe { (real().close)(fd) };
        preserved(|| retired.finish());
        ret
    }

    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
        const CLOSE_RANGE_CLOEXEC: c_int = 4;
        let retired = if flags & CLOSE_RANGE_CLOEXEC == 0 && first <= last { preserved(|| table::retire_range(first, last)) } else { Vec::new() };
        // SAFETY: plain numbers.
        let ret = unsafe { (real().close_range)(first, last, flags) };
        preserved(|| retired.into_iter().for_each(table::Retired::finish));
        ret
    }

    fn closefrom(first: c_int) -> () {
        let retired = preserved(|| table::retire_range(first.max(0) as c_uint, c_uint::MAX));
        // SAFETY: a plain number; the real one returns nothing of meaning.
        unsafe { (real().closefrom)(first) };
        preserved(|| retired.into_iter().for_each(table::Retired::finish));
    }

    fn dup(fd: c_int) -> c_int {
        // SAFETY: a plain number.
        duplicated(fd, unsafe { (real().dup)(fd) })
    }

    fn dup2(from: c_int, to: c_int) -> c_int {
        // SAFETY: plain numbers.
        unsafe { duplicated_over(from, to, || (real().dup2)(from, to)) }
    }

    fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
        // SAFETY: plain numbers.
        unsafe { duplicated_over(from, to, || (real().dup3)(from, to, flags)) }
    }

    fn fcntl(fd: c_int, command: c_int, arg: usize) -> c_int {
        // SAFETY: fcntl's third argument, whatever it is, comes in the same register as here.
        let ret = unsafe { (real().fcntl)(fd, command, arg) };
        match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicated(fd, ret),
            libc::F_SETFL => {
                if ret == 0 && let Some(sock) = table::socket(fd) {
                    options::set_file_flags(sock, arg as c_int);
                }
                ret
            }
            _ => ret,
        }
    }

    fn fcntl64(fd: c_int, command: c_int, arg: usize) -> c_int {
        // SAFETY: the same function on 64-bit machines.
        unsafe { fcntl(fd, command, arg) }
    }

    fn sockatmark(fd: c_int) -> c_int {
        const SIOCATMARK: usize = 0x8905;
        let mut at_mark: c_int = 0;
        // SAFETY: the request writes one int.
        if unsafe { ioctl(fd, SIOCATMARK, (&raw mut at_mark).addr()) } == 0 { at_mark } else { -1 }
    }

    fn ioctl(fd: c_int, request: usize, arg: usize) -> c_int {
        const SIOCATMARK: usize = 0x8905;
        const SIOCOUTQNSD: u64 = 0x894b;
        let request_word = request & 0xffff_ffff;
        // SAFETY: as the caller says.
        if let Some(ret) = unsafe { interfaces::request(fd, request_word, arg) } {
            return ret as c_int;
        }
        let Some(sock) = table::socket(fd) else {
            // SAFETY: as for fcntl.
            return unsafe { (real().ioctl)(fd, request, arg) };
        };
        let answer = match request_word as u64 {
            libc::FIONREAD => options::readable_bytes(sock),
            SIOCOUTQNSD if options::is_unix(sock) => None,
            libc::TIOCOUTQ | SIOCOUTQNSD => options::unsent_bytes(sock),
            _ if request_word == SIOCATMARK => options::at_mark(sock),
            _ => None,
        };
        if let Some(value) = answer {
            let place = arg as *mut c_int;
            // SAFETY: these requests write one int where the caller says.
            unsafe {
                if !fault::can_write(place.cast(), size_of::<c_int>()) {
                    crate::sys::Errno::EFAULT.set();
                    return -1;
                }
                place.write_unaligned(value);
            }
            return 0;
        }
        // SAFETY: as for fcntl.
        let ret = unsafe { (real().ioctl)(fd, request, arg) };
        if ret == 0 && request_word as u64 == libc::FIONBIO && arg != 0 {
            // SAFETY: the kernel has read an int there.
            options::set_nonblocking(sock, unsafe { (arg as *const c_int).read_unaligned() } != 0);
        }
        ret
    }
}
