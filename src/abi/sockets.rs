//! socket(2) to shutdown(2), names and options.

use core::ffi::{c_int, c_void};
use libc::{sockaddr, socklen_t};

use super::{decode, private};
use crate::fd::table::{self, Entry};
use crate::socket::datagram::local;
use crate::socket::options::Set;
use crate::socket::{datagram, end, life, options};
use crate::sys::errno::{check, encode, preserved};
use crate::sys::real::real;

/// Puts a new descriptor into the table.
fn register(fd: c_int, family: c_int, kind: c_int, protocol: c_int) {
    preserved(|| {
        let ours = life::kind(family, kind, protocol);
        match ours.and_then(|ours| life::create(fd, family, ours, kind & libc::SOCK_NONBLOCK != 0)) {
            Some(sock) => table::set_socket(fd, sock),
            None => table::set_plain(fd),
        }
    });
}

unsafe fn accept_with(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int, call: impl FnOnce() -> c_int) -> c_int {
    if let Some(sock) = private::of(fd) {
        // SAFETY: as the caller says.
        return encode(unsafe { private::accept(sock, addr, len, flags) }) as c_int;
    }
    let new = call();
    if new >= 0 {
        preserved(|| {
            let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
            let accepted = match table::lookup(fd) {
                Entry::Stream(l) => life::accepted(new, Some(l), options::family(l), nonblocking),
                _ => None,
            };
            match accepted {
                Some(sock) => table::set_socket(new, sock),
                None => table::forget(new),
            }
        });
    }
    new
}

export! {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
        if private::are_made_of(domain) {
            return private::socket(domain, kind, protocol);
        }
        // SAFETY: plain numbers.
        let fd = unsafe { (real().socket)(domain, kind, protocol) };
        if fd >= 0 {
            register(fd, domain, kind, protocol);
        }
        fd
    }

    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int {
        // SAFETY: the caller's pointer, as for the real call, which has written both where it succeeded.
        unsafe {
            let ret = (real().socketpair)(domain, kind, protocol, fds);
            if ret == 0 {
                let both = [*fds, *fds.add(1)];
                let ours = life::kind(domain, kind, protocol).filter(|_| domain == libc::AF_UNIX);
                preserved(|| match ours.and_then(|ours| life::pair(both, ours, kind & libc::SOCK_NONBLOCK != 0)) {
                    Some(socks) => socks.into_iter().for_each(|sock| table::set_socket(sock.fd, sock)),
                    None => both.into_iter().for_each(table::set_plain),
                });
            }
            ret
        }
    }

    fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
        if let Some(sock) = private::of(fd) {
            // SAFETY: as the caller says.
            return encode(unsafe { private::bind(sock, addr, len) }) as c_int;
        }
        // SAFETY: as the caller says.
        let ret = unsafe { (real().bind)(fd, addr, len) };
        if ret == 0 && let Entry::Datagram(sock) = table::lookup(fd) {
            preserved(|| datagram::named(sock));
        }
        ret
    }

    fn listen(fd: c_int, backlog: c_int) -> c_int {
        if let Some(sock) = private::of(fd) {
            return encode(private::listen(sock, backlog)) as c_int;
        }
        // SAFETY: plain numbers.
        let ret = unsafe { (real().listen)(fd, backlog) };
        if ret == 0 && let Some(sock) = table::stream(fd) {
            preserved(|| life::listening(sock, backlog));
        }
        ret
    }

    fn accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe { accept_with(fd, addr, len, 0, || (real().accept)(fd, addr, len)) }
    }

    fn accept4(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe { accept_with(fd, addr, len, flags, || (real().accept4)(fd, addr, len, flags)) }
    }

    fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
        if let Some(sock) = private::of(fd) {
            // SAFETY: as the caller says.
            return encode(unsafe { private::connect(sock, addr, len) }) as c_int;
        }
        let before = table::socket(fd).and_then(local::before_connect);
        // SAFETY: as the caller says.
        let ret = unsafe { check((real().connect)(fd, addr, len) as isize) };
        if let Entry::Datagram(sock) = table::lookup(fd) {
            preserved(|| datagram::named(sock));
            if ret.is_ok() {
                local::connected(sock, before);
            }
        }
        if let Some(sock) = table::stream(fd) {
            // SAFETY: the kernel has read the address, or refused the call.
            let (remote, family) = if ret == Err(crate::sys::Errno::EFAULT) { (None, None) } else { unsafe { decode::address(addr, len) } };
            preserved(|| match family {
                Some(libc::AF_UNSPEC) if ret.is_ok() => life::disconnected(sock),
                _ => life::connecting(sock, remote, ret),
            });
        }
        encode(ret) as c_int
    }

    fn shutdown(fd: c_int, how: c_int) -> c_int {
        match table::lookup(fd) {
            Entry::Stream(sock) => encode(end::shutdown(sock, how)) as c_int,
            Entry::Datagram(sock) => encode(datagram::shutdown(sock, how)) as c_int,
            // SAFETY: plain numbers.
            _ => unsafe { (real().shutdown)(fd, how) },
        }
    }

    fn getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
        if let Some(sock) = private::of(fd) {
            // SAFETY: as the caller says.
            return encode(unsafe { private::name(sock, false, addr, len) }) as c_int;
        }
        // SAFETY: as the caller says.
        unsafe { (real().getsockname)(fd, addr, len) }
    }

    fn getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
        if let Some(sock) = private::of(fd) {
            // SAFETY: as the caller says.
            return encode(unsafe { private::name(sock, true, addr, len) }) as c_int;
        }
        if table::stream(fd).is_some_and(options::is_over) {
            return encode(Err(crate::sys::Errno::ENOTCONN)) as c_int;
        }
        // SAFETY: as the caller says.
        unsafe { (real().getpeername)(fd, addr, len) }
    }

    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int {
        // SAFETY: as the caller says. What is overwritten afterwards the real call has just written.
        unsafe {
            let Some(sock) = table::socket(fd) else { return (real().getsockopt)(fd, level, name, value, len) };
            if sock.pcb.is_private()
                && let Some(ret) = private::getsockopt(sock, (level, name), value, len)
            {
                return encode(ret) as c_int;
            }
            let known = options::get(sock, level, name);
            let ret = (real().getsockopt)(fd, level, name, value, len);
            if ret == 0 && !value.is_null() {
                match known {
                    Some(int) if *len as usize >= size_of::<c_int>() => value.cast::<c_int>().write_unaligned(int),
                    _ => {}
                }
                if *len >= 1 && let Some(state) = options::tcp_state(sock, level, name) {
                    value.cast::<u8>().write(state);
                }
            }
            ret
        }
    }

    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            let Some(sock) = table::socket(fd) else { return (real().setsockopt)(fd, level, name, value, len) };
            if sock.pcb.is_private()
                && let Some(ret) = private::setsockopt(sock, (level, name), value, len)
            {
                return encode(ret) as c_int;
            }
            let int = (len as usize >= size_of::<c_int>() && decode::is_there(value.cast::<c_int>())).then(|| value.cast::<c_int>().read_unaligned());
            match options::set(sock, level, name, int) {
                Set::Done => 0,
                Set::Refused(e) => encode(Err(e)) as c_int,
                Set::Kernel => {
                    let ret = (real().setsockopt)(fd, level, name, value, len);
                    if ret == 0 {
                        preserved(|| options::note(sock, level, name));
                    }
                    ret
                }
            }
        }
    }
}
