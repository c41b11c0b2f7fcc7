//! Safe wrappers of the few real calls that the upper floors make themselves.

use core::sync::atomic::{AtomicI32, Ordering};
use libc::{c_int, c_short, pollfd, timespec};

use super::clock::Deadline;
use super::confined::is_confined;
use super::errno::{Errno, Ret, check};
use super::real::real;
use super::unix_name::UnixName;

/// Bytes of doorbells taken in one call.
pub const SCRATCH_BYTES: usize = 256;

/// Sends one byte on `fd` without blocking; `flags` may add `MSG_OOB`.
pub fn send_byte(fd: c_int, flags: c_int) -> Ret {
    let byte = 0u8;
    if is_confined() {
        // There is no urgent byte to be had; who waits for one looks again by itself.
        // SAFETY: one readable byte.
        return if flags & libc::MSG_OOB != 0 { Ok(1) } else { check(unsafe { (real().write)(fd, (&raw const byte).cast(), 1) }) };
    }
    // SAFETY: one readable byte.
    check(unsafe { (real().send)(fd, (&raw const byte).cast(), 1, flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

/// Sends on a stream what there is room for.
pub fn send_nowait(fd: c_int, from: *const u8, n: usize) -> Ret {
    // SAFETY: `n` readable bytes, says the caller.
    check(unsafe { (real().send)(fd, from.cast(), n, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

/// Bytes of the next message of a packet socket, which stays; 0 also at the end of the connection.
///
/// # Errors
/// `EAGAIN` where there is none; an error that the socket has to tell, which it then has told.
pub fn next_message_bytes(fd: c_int) -> Ret {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: no buffer is asked for.
    check(unsafe { (real().recv)(fd, core::ptr::null_mut(), 0, flags) })
}

/// The pieces of `n` bytes that lie in a ring of `size` bytes from offset `at` on and around its end.
fn around(ring: *mut u8, size: usize, at: usize, n: usize) -> [libc::iovec; 2] {
    let first = n.min(size - at);
    [libc::iovec { iov_base: ring.wrapping_add(at).cast(), iov_len: first }, libc::iovec { iov_base: ring.cast(), iov_len: n - first }]
}

/// Receives a message of `n` bytes into a ring (`around`), without waiting.
pub fn recv_around(fd: c_int, ring: *mut u8, size: usize, at: usize, n: usize) -> Ret {
    let mut pieces = around(ring, size, at, n);
    // SAFETY: an all-zero msghdr is valid; the pieces lie in the ring, says the caller.
    unsafe {
        let mut msg: libc::msghdr = core::mem::zeroed();
        (msg.msg_iov, msg.msg_iovlen) = (pieces.as_mut_ptr(), pieces.len());
        check((real().recvmsg)(fd, &mut msg, libc::MSG_DONTWAIT))
    }
}

/// Sends a message of `n` bytes out of a ring (`around`), without waiting.
pub fn send_around(fd: c_int, ring: *mut u8, size: usize, at: usize, n: usize, to: Option<&UnixName>) -> Ret {
    let mut pieces = around(ring, size, at, n);
    let (name, len) = to.map_or((core::ptr::null(), 0), UnixName::as_raw);
    // SAFETY: as above.
    unsafe {
        let mut msg: libc::msghdr = core::mem::zeroed();
        (msg.msg_iov, msg.msg_iovlen) = (pieces.as_mut_ptr(), pieces.len());
        (msg.msg_name, msg.msg_namelen) = (name.cast_mut().cast(), len);
        check((real().sendmsg)(fd, &msg, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL))
    }
}

/// Receives into a buffer nobody looks at; returns how many bytes came (0: end of the connection).
pub fn recv_scratch(fd: c_int, flags: c_int) -> Ret {
    recv_to_scratch(fd, if flags & libc::MSG_OOB != 0 { 1 } else { SCRATCH_BYTES }, flags)
}

/// The same, without waiting and at most `n` bytes.
pub fn recv_few(fd: c_int, n: usize) -> Ret {
    recv_to_scratch(fd, n.min(SCRATCH_BYTES), libc::MSG_DONTWAIT)
}

fn recv_to_scratch(fd: c_int, n: usize, flags: c_int) -> Ret {
    let mut scratch = [0u8; SCRATCH_BYTES];
    if is_confined() {
        if flags & libc::MSG_OOB != 0 {
            return Err(Errno::EINVAL);
        }
        let deadline = if flags & libc::MSG_DONTWAIT != 0 { Deadline::NOW } else { Deadline::NEVER };
        if poll_one(fd, libc::POLLIN | libc::POLLRDHUP, deadline)? == 0 {
            return Err(Errno::EAGAIN);
        }
        // SAFETY: the buffer is writable for its length.
        return if flags & libc::MSG_PEEK != 0 { Ok(1) } else { check(unsafe { (real().read)(fd, scratch.as_mut_ptr().cast(), n) }) };
    }
    // SAFETY: the buffer is writable for its length.
    check(unsafe { (real().recv)(fd, scratch.as_mut_ptr().cast(), n, flags) })
}

/// What a datagram socket has to be received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Datagram {
    /// A doorbell, which has been taken where that was asked for.
    Doorbell,
    /// A datagram, which has not.
    Other,
}

/// Looks at the next datagram, without waiting. Whether a doorbell is taken `takes` says, asked when it has been seen.
///
/// # Errors
/// `EAGAIN` where there is none; an error that the socket has to tell, which it then has told.
pub fn next_datagram(fd: c_int, doorbell: [u64; 2], takes: impl FnOnce() -> bool) -> Result<Datagram, Errno> {
    let mut seen = [0u64; 2];
    let n = size_of_val(&seen);
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: the buffer is writable for its length.
    let bytes = check(unsafe { (real().recv)(fd, seen.as_mut_ptr().cast(), n, flags) })?;
    if bytes != n || seen != doorbell {
        return Ok(Datagram::Other);
    }
    if !takes() {
        return Ok(Datagram::Doorbell);
    }
    // SAFETY: as above.
    check(unsafe { (real().recv)(fd, seen.as_mut_ptr().cast(), n, libc::MSG_DONTWAIT) })?;
    Ok(Datagram::Doorbell)
}

/// Sends a doorbell to `to`, or to where the socket is connected, without blocking.
pub fn send_doorbell(fd: c_int, doorbell: [u64; 2], to: Option<core::net::SocketAddr>) -> Ret {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (name, len) = match to {
        Some(to) => raw_address(to),
        // SAFETY: an all-zero sockaddr_storage is valid.
        None => (unsafe { core::mem::zeroed() }, 0),
    };
    let at = if len == 0 { core::ptr::null() } else { core::ptr::from_ref(&name).cast() };
    // SAFETY: readable bytes, and a null or valid address with its length.
    check(unsafe { (real().sendto)(fd, doorbell.as_ptr().cast(), size_of_val(&doorbell), flags, at, len) })
}

/// The same on an AF_UNIX socket.
pub fn send_doorbell_to(fd: c_int, doorbell: [u64; 2], to: Option<&UnixName>) -> Ret {
    let (at, len) = to.map_or((core::ptr::null(), 0), UnixName::as_raw);
    // SAFETY: readable bytes, and a null or valid address with its length.
    check(unsafe { (real().sendto)(fd, doorbell.as_ptr().cast(), size_of_val(&doorbell), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL, at, len) })
}

/// An Internet address as C has it.
pub fn raw_address(address: core::net::SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    use core::net::SocketAddr;
    // SAFETY: an all-zero sockaddr_storage is valid, and larger than what is written into it.
    unsafe {
        let mut name: libc::sockaddr_storage = core::mem::zeroed();
        match address {
            SocketAddr::V4(v4) => {
                let to = &mut *(&raw mut name).cast::<libc::sockaddr_in>();
                to.sin_family = libc::AF_INET as libc::sa_family_t;
                to.sin_port = v4.port().to_be();
                to.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                (name, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                let to = &mut *(&raw mut name).cast::<libc::sockaddr_in6>();
                to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                to.sin6_port = v6.port().to_be();
                to.sin6_addr.s6_addr = v6.ip().octets();
                (name, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }
}

/// ppoll(2) on one descriptor until `deadline`; returns what it reports, 0 at the deadline.
pub fn poll_one(fd: c_int, events: c_short, deadline: Deadline) -> Result<c_short, Errno> {
    let mut one = pollfd { fd, events, revents: 0 };
    let left = deadline.left();
    let timeout = left.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: one valid pollfd, a null or valid timeout, no mask.
    check(unsafe { (real().ppoll)(&mut one, 1, timeout, core::ptr::null()) } as isize)?;
    Ok(one.revents)
}

/// ppoll(2) on many.
pub fn poll_many(fds: &mut [pollfd], timeout: Option<timespec>, mask: Option<&libc::sigset_t>) -> Ret {
    let timeout = timeout.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let mask = mask.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: valid pollfds, null or valid timeout and mask.
    check(unsafe { (real().ppoll)(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout, mask) } as isize)
}

/// An integer option of a socket (getsockopt(2)).
pub fn int_option(fd: c_int, level: c_int, name: c_int) -> Result<c_int, Errno> {
    plain_option::<c_int>(fd, level, name)
}

/// Sets an integer option.
pub fn set_int_option(fd: c_int, level: c_int, name: c_int, value: c_int) -> Ret {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: a valid int and its size.
    check(unsafe { (real().setsockopt)(fd, level, name, (&raw const value).cast(), len) } as isize)
}

/// The most that SO_RCVLOWAT of a TCP socket can be where no buffer size was set: asked once, of a socket made for it.
pub fn most_lowat() -> c_int {
    static KNOWN: AtomicI32 = AtomicI32::new(0);
    if KNOWN.load(Ordering::Relaxed) == 0 {
        // SAFETY: plain numbers.
        let fd = unsafe { (real().socket)(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        let set =
            set_int_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, c_int::MAX).and_then(|_| int_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT));
        if fd >= 0 {
            close(fd);
        }
        KNOWN.store(set.unwrap_or(c_int::MAX), Ordering::Relaxed);
    }
    KNOWN.load(Ordering::Relaxed)
}

/// Types of integers alone, for which every bit pattern is valid.
///
/// # Safety
/// All-zero and any other bytes are a valid value.
pub unsafe trait PlainBytes: Copy {}
// SAFETY: integers, or C structures of integers.
unsafe impl PlainBytes for c_int {}
// SAFETY: as above.
unsafe impl PlainBytes for u64 {}
// SAFETY: as above.
unsafe impl PlainBytes for libc::timeval {}
// SAFETY: as above.
unsafe impl PlainBytes for libc::sockaddr_storage {}
// SAFETY: as above.
unsafe impl PlainBytes for [u64; 40] {}
// SAFETY: as above.
unsafe impl PlainBytes for [u32; 9] {}

/// An option of any plain type; what the kernel leaves unwritten is zero.
pub fn plain_option<T: PlainBytes>(fd: c_int, level: c_int, name: c_int) -> Result<T, Errno> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `T` is plain bytes, so zeroes are valid; the kernel writes at most `len` bytes of it.
    unsafe {
        let mut value: T = core::mem::zeroed();
        check((real().getsockopt)(fd, level, name, (&raw mut value).cast(), &mut len) as isize)?;
        Ok(value)
    }
}

/// How many datagrams the kernel has dropped before a socket (SO_MEMINFO, linux/sock_diag.h).
pub fn drops(fd: c_int) -> u32 {
    const SO_MEMINFO: c_int = 55;
    const DROPS: usize = 8;
    plain_option::<[u32; DROPS + 1]>(fd, libc::SOL_SOCKET, SO_MEMINFO).map_or(0, |info| info[DROPS])
}

/// SO_COOKIE: the kernel's own number for a socket, never given twice in a boot (socket(7)).
pub fn cookie(fd: c_int) -> Result<u64, Errno> {
    plain_option::<u64>(fd, libc::SOL_SOCKET, libc::SO_COOKIE)
}

/// An ioctl that answers with one int (FIONREAD, SIOCOUTQ; tcp(7)).
pub fn ioctl_int(fd: c_int, request: libc::c_ulong) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    // SAFETY: the request writes one int.
    check(unsafe { (real().ioctl)(fd, request as usize, &raw mut value as usize) } as isize)?;
    Ok(value)
}

/// The flags of a descriptor's file (fcntl(2), F_GETFL).
pub fn file_flags(fd: c_int) -> Result<c_int, Errno> {
    // SAFETY: F_GETFL takes no argument.
    check(unsafe { (real().fcntl)(fd, libc::F_GETFL, 0) } as isize).map(|f| f as c_int)
}

/// Whether a program that is executed keeps the descriptor (FD_CLOEXEC is not set).
pub fn is_kept_by_exec(fd: c_int) -> bool {
    // SAFETY: F_GETFD takes no argument.
    check(unsafe { (real().fcntl)(fd, libc::F_GETFD, 0) } as isize).is_ok_and(|flags| flags as c_int & libc::FD_CLOEXEC == 0)
}

/// The local or the remote address of a socket.
pub fn socket_name(fd: c_int, remote: bool) -> Result<libc::sockaddr_storage, Errno> {
    let call = if remote { real().getpeername } else { real().getsockname };
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: a zeroed sockaddr_storage is valid, and `len` is its size.
    unsafe {
        let mut name: libc::sockaddr_storage = core::mem::zeroed();
        check(call(fd, (&raw mut name).cast(), &mut len) as isize)?;
        Ok(name)
    }
}

/// Closes a descriptor of our own.
pub fn close(fd: c_int) {
    // SAFETY: the caller owns `fd`.
    unsafe { (real().close)(fd) };
}

/// shutdown(2).
pub fn shutdown(fd: c_int, how: c_int) -> Ret {
    // SAFETY: any numbers may be passed.
    check(unsafe { (real().shutdown)(fd, how) } as isize)
}

/// Reads a small file whole; `path` ends with a NUL. Returns the bytes read.
pub fn read_file(path: &[u8], into: &mut [u8]) -> Ret {
    // SAFETY: `path` holds a NUL (checked), `into` is writable for its length, the descriptor is ours.
    unsafe {
        if !path.contains(&0) {
            return Err(Errno::EINVAL);
        }
        let fd = check((real().open)(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC, 0) as isize)? as c_int;
        let ret = check((real().read)(fd, into.as_mut_ptr().cast(), into.len()));
        (real().close)(fd);
        ret
    }
}

/// Whether executing the file gives it capabilities (capabilities(7), xattr(7)).
pub fn has_file_capabilities(path: &core::ffi::CStr) -> bool {
    // SAFETY: two NUL-terminated strings; with size 0 nothing is written.
    unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), core::ptr::null_mut(), 0) > 0 }
}

/// An empty file in memory that may be executed, and that is closed by exec (memfd_create(2)).
pub fn file_in_memory(name: &core::ffi::CStr) -> std::io::Result<std::os::fd::OwnedFd> {
    const MFD_EXEC: libc::c_uint = 0x10;
    // Kernels before 6.3 do not know the flag, and let all be executed.
    for flags in [libc::MFD_CLOEXEC | MFD_EXEC, libc::MFD_CLOEXEC] {
        // SAFETY: a NUL-terminated string, and a descriptor that is nobody else's.
        unsafe {
            let fd = libc::memfd_create(name.as_ptr(), flags);
            if fd >= 0 {
                return Ok(std::os::fd::FromRawFd::from_raw_fd(fd));
            }
        }
    }
    Err(std::io::Error::last_os_error())
}

/// Writes a text to descriptor 2.
pub fn write_stderr(text: &[u8]) {
    // SAFETY: `text` is readable for its length.
    unsafe { (real().write)(2, text.as_ptr().cast(), text.len()) };
}

/// Changes an epoll registration (epoll_ctl(2)).
pub fn epoll_ctl(ep: c_int, op: c_int, fd: c_int, events: u32, data: u64) -> Ret {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: a valid event.
    check(unsafe { (real().epoll_ctl)(ep, op, fd, &mut event) } as isize)
}

/// epoll_pwait2(2), or epoll_pwait(2) where that is missing, into `events`.
pub fn epoll_wait(ep: c_int, events: &mut [libc::epoll_event], deadline: Deadline, mask: Option<&libc::sigset_t>) -> Ret {
    let mask = mask.map_or(core::ptr::null(), core::ptr::from_ref);
    let n = events.len().min(c_int::MAX as usize) as c_int;
    let left = deadline.left();
    if let Some(left) = left.filter(|t| t.tv_sec != 0 || t.tv_nsec != 0) {
        // SAFETY: `events` is writable for `n` events; timeout and mask are valid or null.
        let ret = check(unsafe { (real().epoll_pwait2)(ep, events.as_mut_ptr(), n, &left, mask) } as isize);
        if ret != Err(Errno::ENOSYS) {
            return ret;
        }
    }
    let ms = left.map_or(-1, |t| (t.tv_sec.saturating_mul(1000) + (t.tv_nsec + 999_999) / 1_000_000).min(i32::MAX.into()) as c_int);
    // SAFETY: as above.
    check(unsafe { (real().epoll_pwait)(ep, events.as_mut_ptr(), n, ms, mask) } as isize)
}

/// Whether any process has a thread of this id (kill(2) with signal 0 finds threads, too). What kill(2) takes
/// for a group of processes is no thread.
pub fn thread_exists(tid: u32) -> bool {
    // 0 and negative numbers would ask for groups of processes.
    if tid == 0 || i32::try_from(tid).is_err() {
        return false;
    }
    // SAFETY: signal 0 delivers nothing.
    libc::pid_t::try_from(tid).is_ok_and(|tid| tid > 0 && unsafe { libc::kill(tid, 0) == 0 || Errno::last() == Errno::EPERM })
}

/// SO_LINGER: whether it is on, and its seconds.
pub fn linger(fd: c_int) -> Result<[c_int; 2], Errno> {
    let both = plain_option::<u64>(fd, libc::SOL_SOCKET, libc::SO_LINGER)?;
    Ok([both as c_int, (both >> 32) as c_int])
}

/// The Internet address in a `sockaddr`, if it holds one.
pub fn socket_address(name: &libc::sockaddr_storage) -> Option<core::net::SocketAddr> {
    use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage is large and aligned enough for any sockaddr, all of integers.
            let a = unsafe { &*core::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            Some(SocketAddr::new(Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr)).into(), u16::from_be(a.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let a = unsafe { &*core::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::new(Ipv6Addr::from(a.sin6_addr.s6_addr).into(), u16::from_be(a.sin6_port)))
        }
        _ => None,
    }
}

/// A file's mode (inode(7)) and size.
pub fn mode_and_bytes(fd: c_int) -> Result<(libc::mode_t, i64), Errno> {
    // SAFETY: a stat buffer of plain integers.
    unsafe {
        let mut st: libc::stat = core::mem::zeroed();
        check(libc::fstat(fd, &mut st) as isize)?;
        Ok((st.st_mode, st.st_size))
    }
}

/// A number that nobody guesses; from the clock where the kernel has none (getrandom(2)).
pub fn random() -> u64 {
    let mut value = super::clock::now_ns();
    // SAFETY: eight bytes of our own.
    unsafe { libc::getrandom((&raw mut value).cast(), size_of::<u64>(), libc::GRND_NONBLOCK) };
    value
}

/// The number of a descriptor's inode.
pub fn inode(fd: c_int) -> Result<u64, Errno> {
    // SAFETY: a stat buffer of plain integers.
    unsafe {
        let mut st: libc::stat = core::mem::zeroed();
        check(libc::fstat(fd, &mut st) as isize)?;
        Ok(st.st_ino)
    }
}

/// Whether `fd` is a pipe or FIFO.
pub fn is_pipe(fd: c_int) -> bool {
    mode_and_bytes(fd).is_ok_and(|(mode, _)| mode & libc::S_IFMT == libc::S_IFIFO)
}

/// Writes to a pipe what it has room for, whatever its O_NONBLOCK says (RWF_NOWAIT of pwritev2(2); where pipes do
/// not know that, PIPE_BUF bytes, which fit where poll says so).
///
/// # Errors
/// `EAGAIN` where there is no room.
pub fn write_nowait(pipe: c_int, from: *const u8, n: usize) -> Ret {
    let one = libc::iovec { iov_base: from.cast_mut().cast(), iov_len: n };
    // SAFETY: `n` readable bytes, says the caller.
    match check(unsafe { (real().pwritev2)(pipe, &one, 1, -1, libc::RWF_NOWAIT) }) {
        Err(Errno::EOPNOTSUPP) => match poll_one(pipe, libc::POLLOUT, Deadline::NOW)? {
            0 => Err(Errno::EAGAIN),
            // SAFETY: as above.
            _ => check(unsafe { (real().write)(pipe, from.cast(), n.min(libc::PIPE_BUF)) }),
        },
        ret => ret,
    }
}
