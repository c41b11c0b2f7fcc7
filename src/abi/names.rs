//! Names of a private net's hosts: getaddrinfo(3), getnameinfo(3), gethostname(2), uname(2). Elsewhere, and for all that
//! is no name, it is the C library's own function that answers: numeric addresses, services, hints.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Write;
use core::net::IpAddr;
use core::ptr::null_mut;
use libc::{addrinfo, size_t, sockaddr, socklen_t, utsname};

use super::decode;
use crate::net::hosts;
use crate::net::names::{self, Known, Name};
use crate::shm::{Arena, arena};
use crate::socket::private;
use crate::sys::Errno;
use crate::sys::errno::preserved;
use crate::sys::real::real;
use crate::sys::trace::Buffer;

unsafe extern "C" {
    fn __chk_fail() -> !;
}

/// The two ways of getaddrinfo_a.
const GAI_WAIT: c_int = 0;
const GAI_NOWAIT: c_int = 1;
/// The longest host and service that getnameinfo writes (netdb.h).
const NI_MAXHOST: usize = 1025;

/// Where names are looked up.
pub(super) enum Where {
    /// By the C library, as on the machine itself.
    Machine,
    Net(&'static Arena),
    /// Nowhere: the private net that this process belongs to cannot be had, and others are not asked instead.
    Nowhere,
}

pub(super) fn place() -> Where {
    match net() {
        Some(arena) => Where::Net(arena),
        None if private::is_here() => Where::Nowhere,
        None => Where::Machine,
    }
}

/// The private net that this process belongs to, if any.
pub(super) fn net() -> Option<&'static Arena> {
    if !private::is_here() {
        return None;
    }
    preserved(arena::arena).filter(|arena| hosts::is_private(arena))
}

/// The name of this process's host.
fn own_name() -> Option<Name> {
    let arena = net()?;
    let host = hosts::host(arena, preserved(|| hosts::ours(arena))?)?;
    Name::of_host(host)
}

/// A C string as text; `None` where it is none.
pub(super) unsafe fn text<'a>(string: *const c_char) -> Option<&'a str> {
    // SAFETY: a NUL-terminated string, says the caller.
    if string.is_null() { None } else { unsafe { CStr::from_ptr(string) }.to_str().ok() }
}

/// Writes `text` and a NUL to the `n` bytes at `to`; false where they are too few.
pub(super) unsafe fn put_text(text: &str, to: *mut c_char, n: usize) -> bool {
    if text.len() >= n {
        return false;
    }
    // SAFETY: `n` writable bytes, says the caller, which is more than `text` has.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), text.len());
        to.add(text.len()).write(0);
    }
    true
}

/// A list of addresses, made in pieces by the C library, whose freeaddrinfo(3) takes them one by one.
struct List {
    first: *mut addrinfo,
}

impl List {
    /// The last pointer of it, which is null.
    fn end(&mut self) -> *mut *mut addrinfo {
        let mut place = &raw mut self.first;
        // SAFETY: each entry is one of the C library's.
        unsafe {
            while !(*place).is_null() {
                place = &raw mut (**place).ai_next;
            }
        }
        place
    }

    fn release(mut self) -> *mut addrinfo {
        core::mem::replace(&mut self.first, null_mut())
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: a list of the C library's that nobody else has.
            unsafe { libc::freeaddrinfo(self.first) };
        }
    }
}

/// What getaddrinfo is asked for, the name aside.
struct Question {
    service: *const c_char,
    hints: addrinfo,
}

/// `EAI_NONAME` or its kind.
type Failure = c_int;

impl Question {
    /// Adds to `list` what the C library makes of `node`, which is a numeric address or null: it asks nobody for that.
    /// What it says of the machine's own interfaces (`AI_ADDRCONFIG`) is nothing to the net, which has both families.
    unsafe fn add(&self, list: &mut List, node: *const c_char, family: c_int, flags: c_int) -> Result<(), Failure> {
        let mut hints = self.hints;
        hints.ai_family = family;
        hints.ai_flags = flags & !libc::AI_ADDRCONFIG;
        let end = list.end();
        // SAFETY: node and service are the caller's strings; the list's end is a place to write to.
        unsafe {
            let ret = (real().getaddrinfo)(node, self.service, &hints, end);
            if ret != 0 {
                end.write(null_mut());
                return Err(ret);
            }
            let mut entry = *end;
            while !entry.is_null() {
                (*entry).ai_flags = self.hints.ai_flags;
                entry = (*entry).ai_next;
            }
        }
        Ok(())
    }

    /// This host itself: any address of its to listen on, or the loopback one. The order is that which the C library gives
    /// on a machine with both families, whatever this one has.
    unsafe fn own(&self) -> Result<List, Failure> {
        let mut list = List { first: null_mut() };
        let families = match self.hints.ai_family {
            libc::AF_UNSPEC if self.hints.ai_flags & libc::AI_PASSIVE != 0 => &[libc::AF_INET, libc::AF_INET6][..],
            libc::AF_UNSPEC => &[libc::AF_INET6, libc::AF_INET],
            _ => &[self.hints.ai_family],
        };
        for &family in families {
            // SAFETY: no node; the service is the caller's.
            unsafe { self.add(&mut list, core::ptr::null(), family, self.hints.ai_flags)? };
        }
        Ok(list)
    }

    /// The addresses of a host of the net.
    unsafe fn of(&self, known: &Known) -> Result<List, Failure> {
        let flags = self.hints.ai_flags;
        let plain = flags & !(libc::AI_CANONNAME | libc::AI_V4MAPPED | libc::AI_ALL) | libc::AI_NUMERICHOST;
        let maps = flags & libc::AI_V4MAPPED != 0 && (flags & libc::AI_ALL != 0 || known.v6.is_none());
        let mut list = List { first: null_mut() };
        for ip in known.addresses() {
            let (family, flags) = match (self.hints.ai_family, ip) {
                (libc::AF_UNSPEC | libc::AF_INET, IpAddr::V4(_)) => (libc::AF_INET, plain),
                (libc::AF_UNSPEC | libc::AF_INET6, IpAddr::V6(_)) => (libc::AF_INET6, plain),
                (libc::AF_INET6, IpAddr::V4(_)) if maps => (libc::AF_INET6, plain | libc::AI_V4MAPPED),
                _ => continue,
            };
            let mut bytes = [0u8; 64];
            let mut node = Buffer::new(&mut bytes);
            let _ = write!(node, "{ip}\0");
            // SAFETY: `node` ends with a NUL; the service is the caller's.
            unsafe { self.add(&mut list, node.text().as_ptr().cast(), family, flags)? };
        }
        if list.first.is_null() {
            return Err(libc::EAI_NODATA);
        }
        if flags & libc::AI_CANONNAME != 0 {
            let mut name = [0 as c_char; 65];
            // SAFETY: the buffer has room for any name and a NUL; the entry is ours as yet.
            unsafe {
                put_text(known.name.as_str(), name.as_mut_ptr(), name.len());
                (*list.first).ai_canonname = libc::strdup(name.as_ptr());
                if (*list.first).ai_canonname.is_null() {
                    return Err(libc::EAI_MEMORY);
                }
            }
        }
        Ok(list)
    }

    /// The answer for `node`; `None` where it is not ours to give.
    unsafe fn answer(&self, place: Where, node: *const c_char) -> Option<Result<List, Failure>> {
        // SAFETY: the strings are the caller's.
        unsafe {
            // The C library takes "*" for no name.
            if node.is_null() || CStr::from_ptr(node) == c"*" {
                return Some(self.own());
            }
            let mut list = List { first: null_mut() };
            match self.add(&mut list, node, self.hints.ai_family, self.hints.ai_flags | libc::AI_NUMERICHOST) {
                // No numeric address; the service and the hints are as they must be.
                Err(libc::EAI_NONAME) if self.hints.ai_flags & libc::AI_NUMERICHOST == 0 => {}
                Err(failure) => return Some(Err(failure)),
                Ok(()) => return Some(Ok(list)),
            }
            let Where::Net(arena) = place else { return Some(Err(libc::EAI_AGAIN)) };
            match text(node).and_then(|name| names::find(arena, names::net_name(), name)) {
                Some(known) => Some(self.of(&known)),
                None if names::asks_outside(arena) => None,
                None => Some(Err(libc::EAI_NONAME)),
            }
        }
    }
}

/// Who has the address that a name is wanted for.
unsafe fn owner(arena: &Arena, addr: *const sockaddr, len: socklen_t) -> Option<Known> {
    // SAFETY: `len` bytes of the caller's.
    let ip = unsafe { decode::address(addr, len) }.0?.ip();
    names::find_address(arena, ip)
}

/// Copies this host's name as gethostname(2) does.
unsafe fn copy_own_name(own: &Name, name: *mut c_char, n: usize) -> c_int {
    let own = own.as_str();
    // SAFETY: `n` writable bytes, says the caller.
    unsafe {
        if put_text(own, name, n) {
            return 0;
        }
        core::ptr::copy_nonoverlapping(own.as_ptr(), name.cast(), n);
    }
    Errno(libc::ENAMETOOLONG).set();
    -1
}

/// What getaddrinfo_a(3) looks up (netdb.h).
#[repr(C)]
pub struct Request {
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut addrinfo,
    /// What gai_error(3) says.
    status: c_int,
    _reserved: [c_int; 5],
}

export! {
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, list: *mut *mut addrinfo) -> c_int {
        // SAFETY: as the caller says; all-zero hints are valid.
        unsafe {
            let answer = match place() {
                Where::Machine => None,
                place => {
                    let no_hints = addrinfo { ai_flags: libc::AI_V4MAPPED | libc::AI_ADDRCONFIG, ..core::mem::zeroed() };
                    Question { service, hints: if hints.is_null() { no_hints } else { *hints } }.answer(place, node)
                }
            };
            match answer {
                None => (real().getaddrinfo)(node, service, hints, list),
                Some(Err(failure)) => failure,
                Some(Ok(found)) => {
                    list.write(found.release());
                    0
                }
            }
        }
    }

    fn getaddrinfo_a(mode: c_int, list: *const *mut c_void, n: c_int, signal: *mut c_void) -> c_int {
        // SAFETY: `n` requests or null pointers, says the caller.
        unsafe {
            let is_asked_wrongly = n <= 0 || !(GAI_WAIT..=GAI_NOWAIT).contains(&mode);
            if matches!(place(), Where::Machine) || is_asked_wrongly {
                return (real().getaddrinfo_a)(mode, list, n, signal);
            }
            // The C library's own threads would ask past our exports; the net answers at once.
            for request in (0..n as usize).map(|i| list.add(i).read().cast::<Request>()).filter(|request| !request.is_null()) {
                (*request).result = null_mut();
                (*request).status = getaddrinfo((*request).node, (*request).service, (*request).hints, &raw mut (*request).result);
            }
            // What is left is to say that it is done.
            (real().getaddrinfo_a)(mode, [null_mut()].as_ptr(), 1, signal)
        }
    }

    fn getnameinfo(
        addr: *const sockaddr,
        len: socklen_t,
        host: *mut c_char,
        host_len: socklen_t,
        service: *mut c_char,
        service_len: socklen_t,
        flags: c_int,
    ) -> c_int {
        // SAFETY: as the caller says; the scratch buffer has the length that is told.
        unsafe {
            let wants_name = flags & libc::NI_NUMERICHOST == 0 && !host.is_null() && host_len > 0;
            let known = match place() {
                Where::Net(arena) if wants_name => owner(arena, addr, len).ok_or(names::asks_outside(arena)),
                Where::Nowhere if wants_name => Err(false),
                _ => Err(true),
            };
            let numeric = (flags | libc::NI_NUMERICHOST) & !libc::NI_NAMEREQD;
            let known = match known {
                Ok(known) => known,
                Err(true) => return (real().getnameinfo)(addr, len, host, host_len, service, service_len, flags),
                Err(false) => {
                    let ret = (real().getnameinfo)(addr, len, host, host_len, service, service_len, numeric);
                    let needs_name = flags & libc::NI_NAMEREQD != 0 && decode::address(addr, len).0.is_some();
                    return if ret == 0 && needs_name { libc::EAI_NONAME } else { ret };
                }
            };
            // The C library looks at all the rest.
            let mut scratch = [0 as c_char; NI_MAXHOST];
            let ret = (real().getnameinfo)(addr, len, scratch.as_mut_ptr(), NI_MAXHOST as socklen_t, service, service_len, numeric);
            if ret == 0 && !put_text(known.name.as_str(), host, host_len as usize) { libc::EAI_OVERFLOW } else { ret }
        }
    }

    fn gethostname(name: *mut c_char, n: size_t) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            match own_name() {
                Some(own) => copy_own_name(&own, name, n),
                None => (real().gethostname)(name, n),
            }
        }
    }

    fn __gethostname_chk(name: *mut c_char, n: size_t, buf_len: size_t) -> c_int {
        // SAFETY: as the caller says; __chk_fail does not return.
        unsafe {
            if n > buf_len {
                __chk_fail()
            }
            gethostname(name, n)
        }
    }

    fn uname(name: *mut utsname) -> c_int {
        // SAFETY: as the caller says; the kernel has written to all of it.
        unsafe {
            let ret = (real().uname)(name);
            if ret == 0 && let Some(own) = own_name() {
                let node = &raw mut (*name).nodename;
                put_text(own.as_str(), node.cast(), size_of_val(&*node));
            }
            ret
        }
    }
}
