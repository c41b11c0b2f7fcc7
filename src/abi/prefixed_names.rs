//! The functions about names and interfaces under the prefix `landline_`. What they allocate is freed as the C library's:
//! freeaddrinfo(3), freeifaddrs(3), if_freenameindex(3).

use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{addrinfo, hostent, if_nameindex, ifaddrs, size_t, sockaddr, socklen_t};

use super::{host_entry, interfaces, names};

/// getaddrinfo(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    list: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe { names::getaddrinfo(node, service, hints, list) }
}

/// getnameinfo(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_getnameinfo(
    addr: *const sockaddr,
    len: socklen_t,
    host: *mut c_char,
    host_len: socklen_t,
    service: *mut c_char,
    service_len: socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe { names::getnameinfo(addr, len, host, host_len, service, service_len, flags) }
}

/// gethostname(2).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_gethostname(name: *mut c_char, n: size_t) -> c_int {
    // SAFETY: as the caller says.
    unsafe { names::gethostname(name, n) }
}

/// gethostbyname(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_gethostbyname(name: *const c_char) -> *mut hostent {
    // SAFETY: as the caller says.
    unsafe { host_entry::gethostbyname(name) }
}

/// gethostbyname2(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
    // SAFETY: as the caller says.
    unsafe { host_entry::gethostbyname2(name, family) }
}

/// gethostbyname_r(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_gethostbyname_r(
    name: *const c_char,
    entry: *mut hostent,
    buf: *mut c_char,
    n: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe { host_entry::gethostbyname_r(name, entry, buf, n, result, error) }
}

/// gethostbyname2_r(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    entry: *mut hostent,
    buf: *mut c_char,
    n: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe { host_entry::gethostbyname2_r(name, family, entry, buf, n, result, error) }
}

/// gethostbyaddr(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_gethostbyaddr(addr: *const c_void, len: socklen_t, family: c_int) -> *mut hostent {
    // SAFETY: as the caller says.
    unsafe { host_entry::gethostbyaddr(addr, len, family) }
}

/// gethostbyaddr_r(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_gethostbyaddr_r(
    addr: *const c_void,
    len: socklen_t,
    family: c_int,
    entry: *mut hostent,
    buf: *mut c_char,
    n: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe { host_entry::gethostbyaddr_r(addr, len, family, entry, buf, n, result, error) }
}

/// getifaddrs(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_getifaddrs(list: *mut *mut ifaddrs) -> c_int {
    // SAFETY: as the caller says.
    unsafe { interfaces::getifaddrs(list) }
}

/// if_nametoindex(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_if_nametoindex(name: *const c_char) -> c_uint {
    // SAFETY: as the caller says.
    unsafe { interfaces::if_nametoindex(name) }
}

/// if_indextoname(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char {
    // SAFETY: as the caller says.
    unsafe { interfaces::if_indextoname(index, name) }
}

/// if_nameindex(3).
///
/// # Safety
/// As for the C library's function of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn landline_if_nameindex() -> *mut if_nameindex {
    // SAFETY: as the caller says.
    unsafe { interfaces::if_nameindex() }
}
