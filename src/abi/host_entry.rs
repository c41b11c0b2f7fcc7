//! gethostbyname(3), gethostbyaddr(3) and their kin, in a private net.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr::null_mut;
use libc::{hostent, size_t, socklen_t};

use super::names::{Where, place, put_text, text};
use crate::net::names::{self, Known};
use crate::sys::Errno;
use crate::sys::real::real;

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

/// Values of h_errno (netdb.h).
const NETDB_INTERNAL: c_int = -1;
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NO_DATA: c_int = 4;

/// What is known of a name or an address.
struct Found {
    known: Known,
    /// In the family that is asked for.
    address: IpAddr,
}

/// What to answer: `None` where the C library is to do so, a value of h_errno where there is nothing.
type Answer = Option<Result<Found, c_int>>;

/// Whether the C library takes `name` for an address, be it a wrong one, and asks nobody.
fn is_numeric(name: &str) -> bool {
    let is_v4 = name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !name.ends_with('.');
    is_v4 || name.contains(':')
}

unsafe fn by_name(name: *const c_char, family: c_int) -> Answer {
    let place = place();
    if matches!(place, Where::Machine) || !matches!(family, libc::AF_INET | libc::AF_INET6) || name.is_null() {
        return None;
    }
    // SAFETY: a string of the caller's.
    let name = unsafe { text(name) };
    if name.is_some_and(is_numeric) {
        return None;
    }
    let Where::Net(arena) = place else { return Some(Err(TRY_AGAIN)) };
    match name.and_then(|name| names::find(arena, names::net_name(), name)) {
        Some(known) => {
            let address = if family == libc::AF_INET { known.v4.map(IpAddr::V4) } else { known.v6.map(IpAddr::V6) };
            Some(address.map(|address| Found { known, address }).ok_or(NO_DATA))
        }
        None if names::asks_outside(arena) => None,
        None => Some(Err(HOST_NOT_FOUND)),
    }
}

unsafe fn by_address(addr: *const c_void, len: socklen_t, family: c_int) -> Answer {
    let arena = match place() {
        Where::Net(arena) => arena,
        Where::Machine => return None,
        Where::Nowhere => return Some(Err(TRY_AGAIN)),
    };
    // SAFETY: `len` bytes of the caller's, which are as many as the address has.
    let address = unsafe {
        match (family, len as usize) {
            (libc::AF_INET, 4) => IpAddr::V4(Ipv4Addr::from(addr.cast::<[u8; 4]>().read())),
            (libc::AF_INET6, 16) => IpAddr::V6(Ipv6Addr::from(addr.cast::<[u8; 16]>().read())),
            _ => return None,
        }
    };
    match names::find_address(arena, address) {
        Some(known) => Some(Ok(Found { known, address })),
        None if names::asks_outside(arena) => None,
        None => Some(Err(HOST_NOT_FOUND)),
    }
}

/// What a `hostent` points to.
#[repr(C)]
struct Body {
    aliases: [*mut c_char; 1],
    addresses: [*mut c_char; 2],
    address: [u8; 16],
    name: [c_char; 64],
}

/// Fills `entry` and the body at `body`.
unsafe fn fill(found: &Found, entry: *mut hostent, body: *mut Body) {
    // SAFETY: both are the caller's to write to; no reference to them is made.
    unsafe {
        let address = (&raw mut (*body).address).cast::<u8>();
        let (family, len) = match found.address {
            IpAddr::V4(v4) => {
                address.copy_from_nonoverlapping(v4.octets().as_ptr(), 4);
                (libc::AF_INET, 4)
            }
            IpAddr::V6(v6) => {
                address.copy_from_nonoverlapping(v6.octets().as_ptr(), 16);
                (libc::AF_INET6, 16)
            }
        };
        let name = (&raw mut (*body).name).cast::<c_char>();
        put_text(found.known.name.as_str(), name, size_of::<[c_char; 64]>());
        (&raw mut (*body).aliases).write([null_mut()]);
        (&raw mut (*body).addresses).write([address.cast(), null_mut()]);
        entry.write(hostent {
            h_name: name,
            h_aliases: (&raw mut (*body).aliases).cast(),
            h_addrtype: family,
            h_length: len,
            h_addr_list: (&raw mut (*body).addresses).cast(),
        });
    }
}

thread_local! {
    /// What the calls without a buffer of the caller's answer with, until the next one of the thread.
    static ENTRY: UnsafeCell<(hostent, Body)> = const {
        UnsafeCell::new((
            hostent { h_name: null_mut(), h_aliases: null_mut(), h_addrtype: 0, h_length: 0, h_addr_list: null_mut() },
            Body { aliases: [null_mut()], addresses: [null_mut(); 2], address: [0; 16], name: [0; 64] },
        ))
    };
}

/// Sets the calling thread's h_errno.
pub(super) fn set_error(error: c_int) {
    // SAFETY: the calling thread's own, always valid.
    unsafe { __h_errno_location().write(error) };
}

fn in_own_entry(answer: Result<Found, c_int>) -> *mut hostent {
    match answer {
        Err(error) => {
            set_error(error);
            null_mut()
        }
        Ok(found) => ENTRY.with(|place| {
            let place = place.get();
            // SAFETY: this thread's own.
            unsafe {
                fill(&found, &raw mut (*place).0, &raw mut (*place).1);
                &raw mut (*place).0
            }
        }),
    }
}

/// The caller's memory of a call that ends in `_r`.
struct Room {
    entry: *mut hostent,
    buf: *mut c_char,
    n: usize,
    result: *mut *mut hostent,
    error: *mut c_int,
}

impl Room {
    /// Returns 0, also where nothing was found, or `ERANGE` where there is too little room.
    unsafe fn answer(&self, answer: Result<Found, c_int>) -> c_int {
        // SAFETY: the caller's places to write to; the body is aligned and lies within the buffer.
        unsafe {
            self.result.write(null_mut());
            let found = match answer {
                Ok(found) => found,
                Err(error) => {
                    self.error.write(error);
                    // As the C library's questions do; some programs look there.
                    set_error(error);
                    return 0;
                }
            };
            let skipped = self.buf.align_offset(align_of::<Body>());
            if self.n < skipped.saturating_add(size_of::<Body>()) {
                self.error.write(NETDB_INTERNAL);
                Errno(libc::ERANGE).set();
                return libc::ERANGE;
            }
            fill(&found, self.entry, self.buf.add(skipped).cast());
            self.result.write(self.entry);
        }
        0
    }
}

export! {
    fn gethostbyname(name: *const c_char) -> *mut hostent {
        // SAFETY: as the caller says.
        unsafe { by_name(name, libc::AF_INET).map_or_else(|| (real().gethostbyname)(name), in_own_entry) }
    }

    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
        // SAFETY: as the caller says.
        unsafe { by_name(name, family).map_or_else(|| (real().gethostbyname2)(name, family), in_own_entry) }
    }

    fn gethostbyname_r(name: *const c_char, entry: *mut hostent, buf: *mut c_char, n: size_t, result: *mut *mut hostent, error: *mut c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            match by_name(name, libc::AF_INET) {
                Some(answer) => Room { entry, buf, n, result, error }.answer(answer),
                None => (real().gethostbyname_r)(name, entry, buf, n, result, error),
            }
        }
    }

    fn gethostbyname2_r(name: *const c_char, family: c_int, entry: *mut hostent, buf: *mut c_char, n: size_t, result: *mut *mut hostent, error: *mut c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            match by_name(name, family) {
                Some(answer) => Room { entry, buf, n, result, error }.answer(answer),
                None => (real().gethostbyname2_r)(name, family, entry, buf, n, result, error),
            }
        }
    }

    fn gethostbyaddr(addr: *const c_void, len: socklen_t, family: c_int) -> *mut hostent {
        // SAFETY: as the caller says.
        unsafe { by_address(addr, len, family).map_or_else(|| (real().gethostbyaddr)(addr, len, family), in_own_entry) }
    }

    fn gethostbyaddr_r(addr: *const c_void, len: socklen_t, family: c_int, entry: *mut hostent, buf: *mut c_char, n: size_t, result: *mut *mut hostent, error: *mut c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            match by_address(addr, len, family) {
                Some(answer) => Room { entry, buf, n, result, error }.answer(answer),
                None => (real().gethostbyaddr_r)(addr, len, family, entry, buf, n, result, error),
            }
        }
    }
}
