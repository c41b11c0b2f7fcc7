//! The calls on sockets of a private net that the kernel is not asked about.

use core::ffi::{c_int, c_void};
use libc::{sockaddr, socklen_t};

use super::decode::{self, is_writable};
use crate::fd::table;
use crate::net::xns::{self, AF_NS};
use crate::pcb::Address;
use crate::pcb::block::flag;
use crate::socket::options::{self, Set};
use crate::socket::send::send;
use crate::socket::{Sock, private};
use crate::sys::errno::{Ret, check, encode, preserved};
use crate::sys::real::real;
use crate::sys::{Errno, anchor, call, fault};
use crate::transport::iov::Iov;

/// Whether sockets of a family are made in this process's private net.
pub(super) fn are_made_of(family: c_int) -> bool {
    matches!(family, libc::AF_INET | libc::AF_INET6 | AF_NS) && private::is_here()
}

/// The socket `fd` is, if it is one of a private net.
pub(super) fn of(fd: c_int) -> Option<Sock> {
    if !private::is_here() {
        return None;
    }
    table::socket(fd).filter(|sock| sock.pcb.is_private())
}

/// socket(2).
pub(super) fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    match private::socket(family, kind, protocol) {
        Ok(sock) => {
            preserved(|| table::set_socket(sock.fd, sock));
            sock.fd
        }
        Err(e) => encode(Err(e)) as c_int,
    }
}

/// The address that a program gives, of the socket's family; `None` for AF_UNSPEC.
pub(super) unsafe fn address(sock: Sock, addr: *const sockaddr, len: socklen_t) -> Result<Option<Address>, Errno> {
    let is_v6 = options::family(sock) == libc::AF_INET6;
    // The kernel copies what there is before it looks at it.
    if len as usize > size_of::<libc::sockaddr_storage>() {
        return Err(Errno::EINVAL);
    }
    if !fault::can_read(addr.cast(), len as usize) {
        return Err(Errno::EFAULT);
    }
    if private::is_ns(sock) {
        // SAFETY: readable for its length.
        return unsafe { address_of_ns(sock, addr, len) };
    }
    // SAFETY: readable for its length.
    let (address, family) = unsafe { decode::address(addr, len) };
    // sockaddr_in6 without the scope (RFC 2133).
    const LEAST_V6: usize = 24;
    let least = if is_v6 { LEAST_V6 } else { size_of::<libc::sockaddr_in>() };
    match family {
        None => Err(Errno::EINVAL),
        Some(libc::AF_UNSPEC) => Ok(None),
        Some(_) if (len as usize) < least => Err(Errno::EINVAL),
        Some(family) => {
            private::check_family(sock, family)?;
            address.map(Some).ok_or(Errno::EINVAL)
        }
    }
}

/// The address in a `struct sockaddr_ns`.
unsafe fn address_of_ns(sock: Sock, addr: *const sockaddr, len: socklen_t) -> Result<Option<Address>, Errno> {
    if (len as usize) < size_of::<libc::sa_family_t>() {
        return Err(Errno::EINVAL);
    }
    let mut name = [0; xns::NAME_BYTES];
    let n = name.len().min(len as usize);
    // SAFETY: `n` readable bytes, says the caller, and room for them.
    unsafe { core::ptr::copy_nonoverlapping(addr.cast::<u8>(), name.as_mut_ptr(), n) };
    match c_int::from(u16::from_ne_bytes([name[0], name[1]])) {
        libc::AF_UNSPEC => Ok(None),
        AF_NS if n < name.len() => Err(Errno::EINVAL),
        AF_NS => Ok(Some(xns::address_of(sock.arena, &name))),
        _ => Err(Errno(libc::EAFNOSUPPORT)),
    }
}

/// The same of one that is to be reached.
pub(super) unsafe fn destination(sock: Sock, addr: *const sockaddr, len: socklen_t) -> Result<Option<Address>, Errno> {
    // SAFETY: as the caller says.
    let to = unsafe { address(sock, addr, len) }?;
    Ok(if private::is_ns(sock) { to.map(|to| private::named_of_ns(sock, to)) } else { to })
}

/// An address as a program has it in memory, and its length.
pub(super) fn raw_address(sock: Sock, address: Address) -> (libc::sockaddr_storage, socklen_t) {
    if !sock.pcb.is_private() || !private::is_ns(sock) {
        return call::raw_address(options::for_program(sock, address));
    }
    let bytes = xns::name_of(sock.arena, private::host(sock), address);
    // SAFETY: an all-zero sockaddr_storage is valid, and larger than the name.
    unsafe {
        let mut name: libc::sockaddr_storage = core::mem::zeroed();
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut name).cast(), bytes.len());
        (name, bytes.len() as socklen_t)
    }
}

/// bind(2).
pub(super) unsafe fn bind(sock: Sock, addr: *const sockaddr, len: socklen_t) -> Ret {
    // SAFETY: as the caller says.
    let to = match unsafe { address(sock, addr, len) }? {
        Some(to) => to,
        // An old program may leave the family out, with no particular address (inet_bind of Linux).
        None if !private::is_ns(sock) && !sock.pcb.has(flag::INET6) && len as usize >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: as above.
            let old = unsafe { addr.cast::<libc::sockaddr_in>().read_unaligned() };
            if old.sin_addr.s_addr != 0 {
                return Err(Errno(libc::EAFNOSUPPORT));
            }
            Address::new(core::net::Ipv4Addr::UNSPECIFIED.into(), u16::from_be(old.sin_port))
        }
        None => return Err(Errno(libc::EAFNOSUPPORT)),
    };
    preserved(|| private::bind(sock, to)).map(|()| 0)
}

/// listen(2).
pub(super) fn listen(sock: Sock, backlog: c_int) -> Ret {
    preserved(|| private::listen(sock, backlog)).map(|()| 0)
}

/// connect(2).
pub(super) unsafe fn connect(sock: Sock, addr: *const sockaddr, len: socklen_t) -> Ret {
    // SAFETY: as the caller says.
    let to = unsafe { destination(sock, addr, len) }?;
    if let Some(to) = to
        && leaves_for(sock, to)?
    {
        // SAFETY: as the caller says.
        return check(unsafe { (real().connect)(sock.fd, addr, len) } as isize);
    }
    preserved(|| if sock.pcb.has(flag::DATAGRAM) { private::connect_datagram(sock, to) } else { private::connect(sock, to) }).map(|()| 0)
}

/// Where the socket has to leave its net in order to reach `to`, and may, it does: true then.
pub(super) fn leaves_for(sock: Sock, to: Address) -> Result<bool, Errno> {
    if !private::may_leave(sock, to) {
        return Ok(false);
    }
    let mut left = Ok(());
    preserved(|| table::replace(sock.fd, || left = private::leave(sock)));
    left.map(|()| true)
}

/// accept4(2).
pub(super) unsafe fn accept(sock: Sock, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> Ret {
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let new = private::accept(sock, flags)?;
    table::set_socket(new.fd, new);
    if !addr.is_null() {
        // SAFETY: as the caller says.
        unsafe { tell(new, new.pcb.addresses().remote, addr, len) }.inspect_err(|_| {
            let retired = table::retire(new.fd);
            call::close(new.fd);
            retired.finish();
        })?;
    }
    Ok(new.fd as usize)
}

/// getsockname(2), getpeername(2).
pub(super) unsafe fn name(sock: Sock, remote: bool, addr: *mut sockaddr, len: *mut socklen_t) -> Ret {
    let address = private::address(sock, remote)?;
    // SAFETY: as the caller says.
    unsafe { tell(sock, address, addr, len) }.map(|()| 0)
}

/// Puts an address where the program wants it, as far as there is room, and its full length.
unsafe fn tell(sock: Sock, address: Address, addr: *mut sockaddr, len: *mut socklen_t) -> Result<(), Errno> {
    if !is_writable(len) {
        return Err(Errno::EFAULT);
    }
    let (name, full) = raw_address(sock, address);
    // SAFETY: a length of the caller's, and as much room as it says.
    unsafe {
        let room = *len;
        if (room as c_int) < 0 {
            return Err(Errno::EINVAL);
        }
        let n = full.min(room) as usize;
        if !fault::can_write(addr.cast(), n) {
            return Err(Errno::EFAULT);
        }
        core::ptr::copy_nonoverlapping((&raw const name).cast::<u8>(), addr.cast(), n);
        *len = full;
    }
    Ok(())
}

/// What is put into the program's memory of an option.
const MOST_OPTION_BYTES: usize = 512;

/// getsockopt(2); `None` where the anchor is to be asked.
pub(super) unsafe fn getsockopt(sock: Sock, (level, option): (c_int, c_int), value: *mut c_void, len: *mut socklen_t) -> Option<Ret> {
    if !is_writable(len) {
        return Some(Err(Errno::EFAULT));
    }
    // SAFETY: just looked at.
    let room = unsafe { *len };
    if (room as c_int) < 0 {
        return Some(Err(Errno::EINVAL));
    }
    let mut bytes = [0u8; MOST_OPTION_BYTES];
    let n = (room as usize).min(MOST_OPTION_BYTES);
    let got = match private::options::get(sock, level, option, bytes.get_mut(..n)?)? {
        Ok(got) => got.min(n),
        Err(e) => return Some(Err(e)),
    };
    // SAFETY: the program's memory, which is overwritten anyhow; `got` bytes on both sides; a length of the caller's.
    unsafe {
        if !fault::can_write(value.cast(), got) {
            return Some(Err(Errno::EFAULT));
        }
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), value.cast(), got);
        *len = got as socklen_t;
    }
    Some(Ok(0))
}

/// setsockopt(2); `None` where the anchor is to be set.
pub(super) unsafe fn setsockopt(sock: Sock, (level, option): (c_int, c_int), value: *const c_void, len: socklen_t) -> Option<Ret> {
    if (len as c_int) < 0 {
        return Some(Err(Errno::EINVAL));
    }
    let n = (len as usize).min(MOST_OPTION_BYTES);
    if !fault::can_read(value.cast(), n) {
        let (family, kind) = private::options::kind_of(sock);
        // SAFETY: the program's own pointer, for the kernel to refuse.
        return Some(preserved(|| unsafe { anchor::try_pointer(family, kind, (level, option), value, len) }));
    }
    // SAFETY: `n` readable bytes.
    let bytes = if n == 0 { &[] } else { unsafe { core::slice::from_raw_parts(value.cast::<u8>(), n) } };
    match private::options::set(sock, level, option, bytes) {
        Set::Kernel => None,
        Set::Done => Some(Ok(0)),
        Set::Refused(e) => Some(Err(e)),
    }
}

/// sendto(2) and sendmsg(2) of a stream: an address is of no interest to one that is connected, unless the call shall
/// connect it (MSG_FASTOPEN).
pub(super) unsafe fn sendto(sock: Sock, source: &mut Iov, flags: c_int, addr: *const sockaddr, len: socklen_t) -> Ret {
    if flags & libc::MSG_FASTOPEN != 0 && sock.endpoint().is_none() {
        if addr.is_null() {
            return Err(Errno(libc::EDESTADDRREQ));
        }
        // SAFETY: as the caller says.
        match unsafe { connect(sock, addr, len) } {
            Err(Errno(libc::EINPROGRESS)) if sock.endpoint().is_some() => {}
            other => other.map(|_| ())?,
        }
    } else {
        // SAFETY: as the caller says.
        unsafe { decode::readable_name(addr, len) }?;
    }
    send(sock, source, flags & !libc::MSG_FASTOPEN, || Err(Errno::EPIPE))
}
