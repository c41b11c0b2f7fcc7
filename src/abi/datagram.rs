//! The calls on datagram sockets: who a datagram came from, and where it is to go.

use core::ffi::{c_int, c_void};
use libc::{msghdr, size_t, sockaddr, socklen_t};

use super::control::{Room, copied};
use super::decode::{self, is_there, is_writable, message_buffers};
use super::message::{for_descriptors, share_descriptors};
use super::private;
use crate::fd::table;
use crate::pcb::Address;
use crate::pcb::block::flag;
use crate::socket::datagram::local::{came_from, send as send_local};
use crate::socket::datagram::{Got, Received, Wishes, each_of_error, receive, receive_error, receive_with, send, send_with, through_kernel, told};
use crate::socket::{Sock, options};
use crate::sys::errno::{Ret, check};
use crate::sys::real::real;
use crate::sys::unix_name::{MOST_BYTES, UnixName};
use crate::sys::{Errno, fault};
use crate::transport::iov::Iov;
use crate::transport::record::More;

/// recv(2) and what is like it; `kernel` is the program's own call with flags besides.
pub(super) fn recv(sock: Sock, sink: &Iov, flags: c_int, kernel: impl FnMut(c_int) -> Ret) -> Ret {
    receive(sock, sink, flags, kernel).map(|got| got.ret(flags))
}

/// recvfrom(2).
pub(super) unsafe fn recvfrom(
    sock: Sock,
    sink: &Iov,
    (buf, n): (*mut c_void, size_t),
    flags: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> Ret {
    // SAFETY: as the caller of recvfrom says.
    unsafe {
        let got = receive(sock, sink, flags, |more| check((real().recvfrom)(sock.fd, buf, n, flags | more, addr, len)))?;
        if let (Got::Mailbox(r), false) = (got, addr.is_null()) {
            if !is_writable(len) {
                return Err(Errno::EFAULT);
            }
            *len = tell_address(sock, r.from(), addr.cast(), *len)?;
        }
        Ok(got.ret(flags))
    }
}

/// Puts an address where the program wants it, as far as there is room; returns its full length.
unsafe fn tell_address(sock: Sock, from: Address, to: *mut c_void, room: socklen_t) -> Result<socklen_t, Errno> {
    if (room as c_int) < 0 {
        return Err(Errno::EINVAL);
    }
    if options::is_local(sock) {
        // SAFETY: as the caller says.
        return unsafe { put_name(&came_from(), to, room) };
    }
    let (name, len) = private::raw_address(sock, from);
    let n = len.min(room) as usize;
    // SAFETY: the program has `room` bytes there, which are overwritten.
    unsafe {
        if !fault::can_write(to.cast(), n) {
            return Err(Errno::EFAULT);
        }
        core::ptr::copy_nonoverlapping((&raw const name).cast::<u8>(), to.cast(), n);
    }
    Ok(len)
}

/// Puts a name where the program wants it, as far as there is room; returns its full length.
pub(super) unsafe fn put_name(name: &UnixName, to: *mut c_void, room: socklen_t) -> Result<socklen_t, Errno> {
    let n = name.len().min(room as usize);
    // SAFETY: the caller has `room` bytes there, which are overwritten.
    unsafe {
        if !fault::can_write(to.cast(), n) {
            return Err(Errno::EFAULT);
        }
        core::ptr::copy_nonoverlapping(name.as_ptr(), to.cast(), n);
    }
    Ok(name.len() as socklen_t)
}

/// recvmsg(2).
pub(super) unsafe fn recvmsg(sock: Sock, msg: *mut msghdr, flags: c_int) -> Ret {
    // SAFETY: as the caller of recvmsg says.
    unsafe {
        if !is_writable(msg) {
            return Err(Errno::EFAULT);
        }
        let sink = Iov::new(message_buffers(msg)?)?;
        if flags & libc::MSG_ERRQUEUE != 0 && sock.pcb.is_private() {
            return recv_error(sock, &sink, msg, flags);
        }
        let mut besides = None;
        let got = receive_with(sock, &sink, |more| besides = Some(more), flags, |more| check((real().recvmsg)(sock.fd, msg, flags | more)))?;
        match got {
            Got::Mailbox(r) => describe(sock, r, besides, msg, flags)?,
            Got::Kernel(_) if options::is_local(sock) => for_descriptors(msg, table::forget),
            Got::Kernel(_) => {}
        }
        Ok(got.ret(flags))
    }
}

/// recvmsg(2) with MSG_ERRQUEUE.
unsafe fn recv_error(sock: Sock, sink: &Iov, msg: *mut msghdr, flags: c_int) -> Ret {
    let (n, report) = receive_error(sock, sink, flags)?;
    // SAFETY: a message of the caller's.
    unsafe {
        if !(*msg).msg_name.is_null() {
            (*msg).msg_namelen = tell_address(sock, report.to, (*msg).msg_name, (*msg).msg_namelen)?;
        }
        let mut control = Room::of(&*msg);
        each_of_error(sock, &report, flags, |level, kind, data| control.put(level, kind, data));
        (*msg).msg_controllen = control.used;
        (*msg).msg_flags = libc::MSG_ERRQUEUE | control.flags | if report.n > n { libc::MSG_TRUNC } else { 0 };
    }
    Ok(n)
}

unsafe fn describe(sock: Sock, r: Received, besides: Option<More>, msg: *mut msghdr, flags: c_int) -> Result<(), Errno> {
    // SAFETY: a message of the caller's.
    unsafe {
        if !(*msg).msg_name.is_null() {
            (*msg).msg_namelen = tell_address(sock, r.from(), (*msg).msg_name, (*msg).msg_namelen)?;
        }
        let mut control = Room::of(&*msg);
        if sock.pcb.has(flag::ASKS) {
            told::each(sock, &r.header, besides, flags & libc::MSG_PEEK != 0, |level, kind, data| control.put(level, kind, data));
        }
        (*msg).msg_controllen = control.used;
        (*msg).msg_flags = flags & libc::MSG_CMSG_CLOEXEC | control.flags | if r.whole > r.bytes { libc::MSG_TRUNC } else { 0 };
        Ok(())
    }
}

/// Where a datagram is to go.
enum To {
    /// Where the socket is connected.
    Peer,
    Address(Address),
    /// Somewhere that only the kernel understands, or refuses.
    Other,
    Refused(Errno),
}

unsafe fn destination(sock: Sock, addr: *const sockaddr, len: socklen_t) -> To {
    if addr.is_null() || len == 0 {
        return To::Peer;
    }
    if sock.pcb.is_private() {
        // SAFETY: as the caller says.
        return unsafe { private_destination(sock, addr, len) };
    }
    if !fault::can_read(addr.cast(), len as usize) || (len as usize) < size_of::<libc::sockaddr_in>() {
        return To::Other;
    }
    // SAFETY: `len` readable bytes.
    match unsafe { decode::address(addr, len) } {
        (Some(to), Some(family)) if family == options::family(sock) && is_whole(family, len) && !to.is_any() => To::Address(to),
        _ => To::Other,
    }
}

/// The same in a private net, where the kernel is not asked. AF_UNSPEC stands for AF_INET (udp_sendmsg of Linux), and for no
/// address at all with IPv6.
unsafe fn private_destination(sock: Sock, addr: *const sockaddr, len: socklen_t) -> To {
    // SAFETY: as the caller says.
    match unsafe { private::destination(sock, addr, len) } {
        Ok(Some(to)) if to.port == 0 && !sock.pcb.is_raw() && !sock.pcb.is_ping() => To::Refused(Errno::EINVAL),
        Ok(Some(to)) => To::Address(to),
        Ok(None) if options::family(sock) == libc::AF_INET6 => To::Peer,
        Ok(None) if (len as usize) < size_of::<libc::sockaddr_in>() => To::Refused(Errno::EINVAL),
        Ok(None) => {
            // SAFETY: readable for its length, which was looked at.
            let old = unsafe { addr.cast::<libc::sockaddr_in>().read_unaligned() };
            To::Address(Address::new(core::net::Ipv4Addr::from_bits(u32::from_be(old.sin_addr.s_addr)).into(), u16::from_be(old.sin_port)))
        }
        Err(e) => To::Refused(e),
    }
}

fn is_whole(family: c_int, len: socklen_t) -> bool {
    len as usize >= if family == libc::AF_INET6 { size_of::<libc::sockaddr_in6>() } else { size_of::<libc::sockaddr_in>() }
}

/// sendto(2) and what is like it.
pub(super) unsafe fn sendto(sock: Sock, source: &Iov, flags: c_int, addr: *const sockaddr, len: socklen_t, kernel: impl FnOnce() -> Ret) -> Ret {
    // SAFETY: as the caller of sendto says.
    if options::is_local(sock) && !addr.is_null() && len > 0 {
        if len as usize > MOST_BYTES || !fault::can_read(addr.cast(), len as usize) {
            return through_kernel(sock, flags, kernel);
        }
        // SAFETY: `len` readable bytes.
        let name = UnixName::of(unsafe { core::slice::from_raw_parts(addr.cast(), len as usize) });
        return send_local(sock, source, flags, Some(name), kernel);
    }
    // SAFETY: as the caller says.
    match unsafe { destination(sock, addr, len) } {
        To::Peer => send(sock, source, flags, None, kernel),
        To::Address(to) if sock.pcb.is_private() && private::leaves_for(sock, to)? => kernel(),
        To::Address(to) => send(sock, source, flags, Some(to), kernel),
        To::Refused(e) => Err(e),
        To::Other => through_kernel(sock, flags, kernel),
    }
}

/// sendmsg(2).
pub(super) unsafe fn sendmsg(sock: Sock, msg: *const msghdr, flags: c_int) -> Ret {
    // SAFETY: as the caller of sendmsg says.
    unsafe {
        let kernel = || check((real().sendmsg)(sock.fd, msg, flags));
        if !is_there(msg) && sock.pcb.is_private() {
            return Err(Errno::EFAULT);
        }
        if !is_there(msg) || (options::is_local(sock) && (*msg).msg_controllen != 0) {
            share_descriptors(msg);
            return through_kernel(sock, flags, kernel);
        }
        let source = Iov::new(message_buffers(msg)?)?;
        if (*msg).msg_controllen == 0 {
            return sendto(sock, &source, flags, (*msg).msg_name.cast(), (*msg).msg_namelen, kernel);
        }
        match wishes(sock, &*msg) {
            Some((to, wishes)) => send_with(sock, &source, flags, to, wishes, kernel),
            None if sock.pcb.is_private() => Err(Errno::EINVAL),
            None => through_kernel(sock, flags, kernel),
        }
    }
}

/// Where a message with ancillary data is to go, and what they say; `None` where only the kernel can send it.
unsafe fn wishes(sock: Sock, msg: &msghdr) -> Option<(Option<Address>, Wishes)> {
    // SAFETY: a message of the caller's.
    let to = match unsafe { destination(sock, msg.msg_name.cast(), msg.msg_namelen) } {
        To::Peer => None,
        To::Address(to) => Some(to),
        To::Other | To::Refused(_) => return None,
    };
    let ip = to.unwrap_or_else(|| sock.pcb.addresses().remote).ip();
    // SAFETY: as above.
    let (control, n) = unsafe { copied(msg) }?;
    Wishes::of(control.get(..n)?, ip.is_ipv4(), Wishes::interface_to(sock, ip)).map(|wishes| (to, wishes))
}
