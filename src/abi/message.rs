//! sendmsg(2) and recvmsg(2), one or many; and the descriptors that travel in them.

use core::ffi::{c_int, c_uint};
use libc::{mmsghdr, msghdr, ssize_t, timespec};

use super::datagram;
use super::decode::{is_there, is_writable, message_buffers, readable_name};
use super::poll::deadline_of;
use super::private;
use super::receive::peer_name;
use super::send::{FOR_JUDGING, judged};
use crate::fd::table::{self, Entry};
use crate::pcb::block::flag;
use crate::shm::arena::joined;
use crate::socket::recv::receive;
use crate::socket::route::TxRoute;
use crate::socket::{options, packet, route, send::send as send_stream, unix};
use crate::sys::Errno;
use crate::sys::errno::{check, encode};
use crate::sys::fault;
use crate::sys::real::real;
use crate::transport::iov::Iov;

/// Calls `f` for every descriptor that `msg` carries (SCM_RIGHTS, unix(7)).
pub(super) unsafe fn for_descriptors(msg: *const msghdr, mut f: impl FnMut(c_int)) {
    // SAFETY: a message whose control buffer the kernel has accepted or written; CMSG_FIRSTHDR and
    // CMSG_NXTHDR stay within it.
    unsafe {
        if (*msg).msg_control.is_null() || (*msg).msg_controllen < size_of::<libc::cmsghdr>() {
            return;
        }
        let mut c = libc::CMSG_FIRSTHDR(msg);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                let bytes = ((*c).cmsg_len).saturating_sub(libc::CMSG_LEN(0) as usize);
                let data = libc::CMSG_DATA(c).cast::<c_int>();
                for i in 0..bytes / size_of::<c_int>() {
                    f(data.add(i).read_unaligned());
                }
            }
            c = libc::CMSG_NXTHDR(msg, c);
        }
    }
}

/// Descriptors in a message about to be sent will be held by another process as well. There are none to be marked
/// before the process has joined the net.
pub(super) unsafe fn share_descriptors(msg: *const msghdr) {
    // SAFETY: as the caller says; what is not there is the kernel's to refuse.
    unsafe {
        if joined().is_none() || !is_there(msg) || !fault::can_read((*msg).msg_control.cast(), (*msg).msg_controllen) {
            return;
        }
        for_descriptors(msg, |fd| {
            if let Some(sock) = table::socket(fd) {
                sock.pcb.set(flag::SHARED);
            }
        });
    }
}

export! {
    fn sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            let sock = match table::lookup(fd) {
                Entry::Stream(sock) => sock,
                Entry::Datagram(sock) => return encode(datagram::sendmsg(sock, msg, flags)),
                Entry::Plain | Entry::Epoll(_) => {
                    share_descriptors(msg);
                    return (real().sendmsg)(fd, msg, flags);
                }
            };
            if sock.pcb.is_private() {
                return encode(message_buffers(msg).and_then(|b| {
                    let mut source = Iov::new(b)?;
                    private::sendto(sock, &mut source, flags, (*msg).msg_name.cast(), (*msg).msg_namelen.min(size_of::<libc::sockaddr_storage>() as u32))
                }));
            }
            if flags & libc::MSG_FASTOPEN != 0 && !options::is_unix(sock) {
                route::pin(sock);
            }
            if options::is_unix(sock) && is_there(msg) && (*msg).msg_controllen != 0 {
                // Descriptors and credentials the kernel alone can carry.
                share_descriptors(msg);
                route::pin(sock);
                // In the middle of a send that a handler has interrupted the ring cannot be left.
                return match route::tx(sock) {
                    TxRoute::Kernel(guard) => {
                        let ret = (real().sendmsg)(fd, msg, flags);
                        // Who finds no room here as well waits for the edge.
                        guard.told(check(ret), message_buffers(msg).map_or(0, |b| b.iter().map(|b| b.iov_len).sum()));
                        ret
                    }
                    TxRoute::Ring(_) => encode(Err(Errno::EAGAIN)),
                };
            }
            encode(message_buffers(msg).and_then(|b| {
                let mut source = Iov::new(b)?;
                let extras = !(*msg).msg_name.is_null() || (*msg).msg_controllen != 0 || flags & libc::MSG_FASTOPEN != 0;
                if packet::is_of(sock) {
                    // A length beyond what a name can have is cut down here (copy_msghdr_from_user of Linux).
                    readable_name((*msg).msg_name.cast(), (*msg).msg_namelen.min(size_of::<libc::sockaddr_storage>() as u32))?;
                } else if extras && (options::sends_by_ring(sock) || options::is_unix(sock)) {
                    let empty = msghdr { msg_iovlen: 0, ..*msg };
                    judged(check((real().sendmsg)(fd, &empty, FOR_JUDGING | flags & libc::MSG_FASTOPEN)))?;
                }
                send_stream(sock, &mut source, flags, || check((real().sendmsg)(fd, msg, flags)))
            }))
        }
    }

    fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
        // SAFETY: as the caller says.
        unsafe {
            let sock = match table::lookup(fd) {
                Entry::Stream(sock) => sock,
                Entry::Datagram(sock) => return encode(datagram::recvmsg(sock, msg, flags)),
                Entry::Plain | Entry::Epoll(_) => {
                    let ret = (real().recvmsg)(fd, msg, flags);
                    if ret >= 0 {
                        for_descriptors(msg, table::forget);
                    }
                    return ret;
                }
            };
            let mut by_kernel = false;
            let (mut room, packets) = (0, packet::is_of(sock));
            let ret = if is_writable(msg) { message_buffers(msg) } else { Err(Errno::EFAULT) }.and_then(|b| {
                let mut sink = Iov::new(b)?;
                sink.discard(flags & libc::MSG_TRUNC != 0 && !options::is_unix(sock));
                room = sink.left();
                // Of a packet the length of all of it says whether it was cut.
                receive(sock, &mut sink, if packets { flags | libc::MSG_TRUNC } else { flags }, |more| {
                    let ret = check((real().recvmsg)(fd, msg, flags | more));
                    by_kernel = ret.is_ok();
                    ret
                })
            });
            if by_kernel && ret.is_ok() {
                for_descriptors(msg, table::forget);
            }
            let mut more: msghdr = core::mem::zeroed();
            let ret = match ret {
                Ok(n) if packets && !by_kernel && n > room => {
                    more.msg_flags = libc::MSG_TRUNC;
                    Ok(if flags & libc::MSG_TRUNC != 0 { n } else { room })
                }
                Ok(n) if !by_kernel && n > 0 && flags & libc::MSG_PEEK == 0 && unix::goes_on_in_kernel(sock) => {
                    // The last that came by the ring; what follows may be a byte with descriptors.
                    let rest = Iov::new(message_buffers(msg).unwrap_or(&[])).map(|mut rest| {
                        rest.advance(n);
                        rest.next_buffers()
                    });
                    let (mut buffers, count) = rest.unwrap_or(([libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 }; 8], 0));
                    more = msghdr { msg_name: core::ptr::null_mut(), msg_iov: buffers.as_mut_ptr(), msg_iovlen: count, ..*msg };
                    let room = buffers.iter().any(|b| b.iov_len > 0);
                    let got = if room { (real().recvmsg)(fd, &mut more, flags | libc::MSG_DONTWAIT) } else { 0 };
                    if got > 0 {
                        for_descriptors(&more, table::forget);
                    } else {
                        more.msg_controllen = 0;
                        more.msg_flags = 0;
                    }
                    Ok(n + got.max(0) as usize)
                }
                ret => ret,
            };
            if let (Ok(n), false) = (ret, by_kernel) {
                let named = n > 0 && options::is_unix(sock) && !(*msg).msg_name.is_null();
                let name = if named { peer_name(fd, (*msg).msg_name, (*msg).msg_namelen) } else { Ok(0) };
                (*msg).msg_namelen = match name {
                    Ok(len) => len,
                    Err(e) => return encode(Err(e)),
                };
                (*msg).msg_controllen = more.msg_controllen;
                (*msg).msg_flags = flags & (libc::MSG_OOB | libc::MSG_CMSG_CLOEXEC) | more.msg_flags;
            }
            encode(ret)
        }
    }

    fn sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            if table::socket(fd).is_none() {
                (0..n.min(1024) as usize).for_each(|i| share_descriptors(&raw const (*msgs.wrapping_add(i)).msg_hdr));
                return (real().sendmmsg)(fd, msgs, n, flags);
            }
            let mut sent = 0;
            while sent < n.min(1024) {
                let m = msgs.add(sent as usize);
                if !is_there(m) {
                    return if sent > 0 { sent as c_int } else { encode(Err(Errno::EFAULT)) as c_int };
                }
                let ret = sendmsg(fd, &raw const (*m).msg_hdr, flags);
                if ret < 0 {
                    return if sent > 0 { sent as c_int } else { -1 };
                }
                (*m).msg_len = ret as c_uint;
                sent += 1;
            }
            sent as c_int
        }
    }

    fn recvmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            if table::socket(fd).is_none() {
                let ret = (real().recvmmsg)(fd, msgs, n, flags, timeout);
                (0..ret.max(0) as usize).for_each(|i| for_descriptors(&raw const (*msgs.add(i)).msg_hdr, table::forget));
                return ret;
            }
            if !timeout.is_null() && !is_there(timeout) {
                return encode(Err(Errno::EFAULT)) as c_int;
            }
            let Some(deadline) = deadline_of(timeout) else { return encode(Err(Errno::EINVAL)) as c_int };
            let mut flags = flags;
            let mut got = 0;
            while got < n.min(1024) {
                let m = msgs.add(got as usize);
                if !is_writable(m) {
                    return if got > 0 { got as c_int } else { encode(Err(Errno::EFAULT)) as c_int };
                }
                let ret = recvmsg(fd, &raw mut (*m).msg_hdr, flags & !libc::MSG_WAITFORONE);
                if ret < 0 {
                    return if got > 0 { got as c_int } else { -1 };
                }
                (*m).msg_len = ret as c_uint;
                got += 1;
                if let Some(left) = deadline.left() {
                    timeout.write(left);
                    if deadline.passed() {
                        break;
                    }
                }
                if flags & libc::MSG_WAITFORONE != 0 {
                    flags |= libc::MSG_DONTWAIT;
                }
            }
            got as c_int
        }
    }
}
