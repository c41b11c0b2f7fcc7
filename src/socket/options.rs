//! Options and ioctls that the ring has to know of. Whatever is not named here is the kernel's alone.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::Ordering;
use core::time::Duration;
use libc::{
    IPPROTO_TCP, SO_ERROR, SO_LINGER, SO_OOBINLINE, SO_RCVBUF, SO_RCVLOWAT, SO_RCVTIMEO, SO_SNDBUF, SO_SNDTIMEO, SOL_SOCKET, TCP_CORK, TCP_INFO,
    TCP_NODELAY, c_int,
};

use super::handle::Sock;
use super::{datagram, end, packet, private, route};
use crate::pcb::Address;
use crate::pcb::block::flag;
use crate::pcb::circuit::End;
use crate::sys::{Errno, call};

const SO_RCVTIMEO_NEW: c_int = 66;
const SO_SNDTIMEO_NEW: c_int = 67;
const SO_RCVBUFFORCE: c_int = 33;
const SO_SNDBUFFORCE: c_int = 32;
pub(super) const SO_TIMESTAMP_OLD: c_int = 29;
pub(super) const SO_TIMESTAMPNS_OLD: c_int = 35;
const SO_TIMESTAMPING_OLD: c_int = 37;
pub(super) const SO_TIMESTAMP_NEW: c_int = 63;
pub(super) const SO_TIMESTAMPNS_NEW: c_int = 64;
const SO_TIMESTAMPING_NEW: c_int = 65;
const TCP_ULP: c_int = 31;
const TCP_CLOSE: u8 = 7;
const TCP_SYN_SENT: u8 = 2;

const UDP_GRO: c_int = 104;
const SO_TXTIME: c_int = 61;
const SO_DETACH_REUSEPORT_BPF: c_int = 68;

/// What a datagram socket asks to be told beside its datagrams, or how they are chosen: they come through the kernel then.
const RECEIVED_BY_KERNEL: [(c_int, c_int); 25] = [
    (SOL_SOCKET, libc::SO_ATTACH_FILTER),
    (SOL_SOCKET, libc::SO_ATTACH_BPF),
    (SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF),
    (SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF),
    (SOL_SOCKET, SO_DETACH_REUSEPORT_BPF),
    (SOL_SOCKET, libc::SO_BINDTODEVICE),
    (SOL_SOCKET, libc::SO_PEEK_OFF),
    (SOL_SOCKET, SO_TIMESTAMPING_OLD),
    (SOL_SOCKET, SO_TIMESTAMPING_NEW),
    (libc::IPPROTO_IP, libc::IP_RECVOPTS),
    (libc::IPPROTO_IP, libc::IP_RETOPTS),
    (libc::IPPROTO_IP, IP_CHECKSUM),
    (libc::IPPROTO_IP, IP_RECVFRAGSIZE),
    (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVRTHDR),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPOPTS),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVDSTOPTS),
    (libc::IPPROTO_UDP, UDP_GRO),
    (libc::IPPROTO_UDP, libc::UDP_ENCAP),
    (libc::IPPROTO_IPV6, IPV6_FLOWINFO),
    (libc::IPPROTO_IPV6, IPV6_2292PKTINFO),
    (libc::IPPROTO_IPV6, IPV6_2292HOPLIMIT),
    (libc::IPPROTO_IPV6, IPV6_RECVFRAGSIZE),
    (SOL_SOCKET, SO_RCVMARK),
    (SOL_SOCKET, SO_RCVPRIORITY),
];
const IP_CHECKSUM: c_int = 23;
const IP_RECVFRAGSIZE: c_int = 25;
const IPV6_FLOWINFO: c_int = 11;
const IPV6_2292PKTINFO: c_int = 2;
const IPV6_2292HOPLIMIT: c_int = 8;
const IPV6_RECVFRAGSIZE: c_int = 77;
const SO_RCVMARK: c_int = 75;
const SO_RCVPRIORITY: c_int = 82;

/// What a datagram socket asks of its own datagrams that only the kernel does.
const SENT_BY_KERNEL: [(c_int, c_int); 8] = [
    (libc::IPPROTO_UDP, libc::UDP_CORK),
    (libc::IPPROTO_UDP, libc::UDP_SEGMENT),
    (SOL_SOCKET, libc::SO_BINDTODEVICE),
    (SOL_SOCKET, libc::SO_ZEROCOPY),
    (SOL_SOCKET, SO_TXTIME),
    (SOL_SOCKET, SO_TIMESTAMPING_OLD),
    (SOL_SOCKET, SO_TIMESTAMPING_NEW),
    (libc::IPPROTO_IP, libc::IP_OPTIONS),
];

/// What the kernel puts beside the bytes of an AF_UNIX stream: it must carry them.
const UNIX_KERNELS_ALONE: [c_int; 5] = [libc::SO_PASSCRED, libc::SO_PASSSEC, libc::SO_PEEK_OFF, SO_PASSPIDFD, SO_INQ];
const SO_PASSPIDFD: c_int = 76;
const SO_INQ: c_int = 84;

/// What else it puts beside AF_UNIX datagrams and packets, or sorts out of them.
const BESIDE_UNIX_MESSAGES: [c_int; 9] = [
    libc::SO_ATTACH_FILTER,
    libc::SO_ATTACH_BPF,
    libc::SO_RXQ_OVFL,
    SO_TIMESTAMP_OLD,
    SO_TIMESTAMPNS_OLD,
    SO_TIMESTAMPING_OLD,
    SO_TIMESTAMP_NEW,
    SO_TIMESTAMPNS_NEW,
    SO_TIMESTAMPING_NEW,
];

/// What a connection on the ring cannot have: filters of packets, completions and time stamps in the error
/// queue or beside the data, a state made by hand. Asked for in time, it keeps the socket with the kernel.
const KERNELS_ALONE: [(c_int, c_int); 14] = [
    (SOL_SOCKET, libc::SO_ATTACH_FILTER),
    (SOL_SOCKET, libc::SO_ATTACH_BPF),
    (SOL_SOCKET, libc::SO_ZEROCOPY),
    (SOL_SOCKET, SO_TIMESTAMP_OLD),
    (SOL_SOCKET, SO_TIMESTAMPNS_OLD),
    (SOL_SOCKET, SO_TIMESTAMPING_OLD),
    (SOL_SOCKET, SO_TIMESTAMP_NEW),
    (SOL_SOCKET, SO_TIMESTAMPNS_NEW),
    (SOL_SOCKET, SO_TIMESTAMPING_NEW),
    (SOL_SOCKET, libc::SO_PEEK_OFF),
    (IPPROTO_TCP, libc::TCP_REPAIR),
    (IPPROTO_TCP, libc::TCP_MD5SIG),
    (IPPROTO_TCP, libc::TCP_INQ),
    (IPPROTO_TCP, TCP_ULP),
];

/// The socket's local or remote address.
pub fn name(fd: c_int, remote: bool) -> Option<Address> {
    call::socket_address(&call::socket_name(fd, remote).ok()?).map(Address::from)
}

/// The value of an integer option, of whatever socket.
pub fn int(sock: Sock, level: c_int, option: c_int) -> Option<c_int> {
    if sock.pcb.is_private() { private::options::int(sock, level, option) } else { call::int_option(sock.fd, level, option).ok() }
}

/// What a socket from accept(2) has from its listener.
pub fn inherit(sock: Sock, from: Sock) {
    sock.pcb.set(from.pcb.flags() & flag::INHERITED);
    for (to, from) in [(&sock.pcb.rcvtimeo_ns, &from.pcb.rcvtimeo_ns), (&sock.pcb.sndtimeo_ns, &from.pcb.sndtimeo_ns)] {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    for (to, from) in [(&sock.pcb.rcvlowat, &from.pcb.rcvlowat), (&sock.pcb.sndbuf, &from.pcb.sndbuf), (&sock.pcb.rcvbuf, &from.pcb.rcvbuf)] {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Reads the options of a socket whose past is not known.
pub fn learn(sock: Sock) {
    if sock.pcb.has(flag::LOCAL) {
        let is_set = |&option: &c_int| call::int_option(sock.fd, SOL_SOCKET, option).is_ok_and(|value| turns_on((SOL_SOCKET, option), value));
        if UNIX_KERNELS_ALONE.iter().chain(&BESIDE_UNIX_MESSAGES).any(is_set) {
            route::pin(sock);
            sock.pcb.set(flag::SENDS_BY_KERNEL);
        }
    } else if sock.pcb.has(flag::DATAGRAM) {
        let is_set = |&known: &(c_int, c_int)| call::int_option(sock.fd, known.0, known.1).is_ok_and(|value| turns_on(known, value));
        if RECEIVED_BY_KERNEL.iter().any(is_set) {
            route::pin(sock);
        }
        if SENT_BY_KERNEL.iter().any(is_set) {
            sock.pcb.set(flag::SENDS_BY_KERNEL);
        }
        datagram::learn(sock);
    }
    for option in [SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVLOWAT, SO_OOBINLINE, SO_LINGER] {
        note(sock, SOL_SOCKET, option);
    }
    note(sock, IPPROTO_TCP, TCP_NODELAY);
}

/// What to do with a setsockopt call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    /// The kernel's call, then `note`.
    Kernel,
    /// Done.
    Done,
    Refused(Errno),
}

/// The largest low-water mark that the kernel would take: half of what the receive buffer may come to.
fn most_lowat(sock: Sock) -> c_int {
    match sock.pcb.rcvbuf.load(Ordering::Relaxed) {
        0 => call::most_lowat(),
        set => (set / 2) as c_int,
    }
}

/// Before setsockopt(2) with an integer `value` (0 where the option has none).
pub fn set(sock: Sock, level: c_int, option: c_int, value: Option<c_int>) -> Set {
    let doorbells = sock.pcb.has(flag::ANCHOR_READY);
    if sock.pcb.is_unix_domain() {
        return set_unix(sock, level, option, value);
    }
    if sock.pcb.has(flag::DATAGRAM) {
        return set_datagram(sock, level, option, value);
    }
    if KERNELS_ALONE.contains(&(level, option)) {
        // As by a kernel that was built without; a ULP is a module that it cannot find.
        let missing = if option == TCP_ULP { Errno::ENOENT } else { Errno::ENOPROTOOPT };
        return if route::pin(sock) { Set::Kernel } else { Set::Refused(missing) };
    }
    let Some(value) = value else { return Set::Kernel };
    let bit = match (level, option) {
        (SOL_SOCKET, SO_OOBINLINE) => flag::OOB_INLINE,
        (IPPROTO_TCP, TCP_NODELAY) => flag::NODELAY,
        (IPPROTO_TCP, TCP_CORK) => flag::CORK,
        (SOL_SOCKET, SO_RCVLOWAT) if doorbells => {
            let bytes = if value < 0 { c_int::MAX } else { value.max(1) }.min(most_lowat(sock));
            sock.pcb.rcvlowat.store(bytes as u32, Ordering::Relaxed);
            return Set::Done;
        }
        (SOL_SOCKET, SO_RCVLOWAT) => {
            // Who sleeps in the kernel for more than one byte is not woken by a doorbell.
            if value > 1 {
                route::pin(sock);
            }
            return Set::Kernel;
        }
        _ => return Set::Kernel,
    };
    sock.pcb.put(bit, value != 0);
    if doorbells { Set::Done } else { Set::Kernel }
}

/// Whether an option with this value asks for something: SO_PEEK_OFF is off at -1 (socket(7)).
fn turns_on(option: (c_int, c_int), value: c_int) -> bool {
    if option == (SOL_SOCKET, libc::SO_PEEK_OFF) { value >= 0 } else { value != 0 }
}

fn set_datagram(sock: Sock, level: c_int, option: c_int, value: Option<c_int>) -> Set {
    let is_on = value.is_none_or(|value| turns_on((level, option), value));
    // Where there is a mailbox our own looks into the kernel are peeks.
    if (level, option) == (SOL_SOCKET, libc::SO_PEEK_OFF) && is_on && sock.endpoint().is_some() {
        return Set::Refused(Errno::ENOPROTOOPT);
    }
    if sock.pcb.has(flag::LOCAL) {
        if level == SOL_SOCKET && (UNIX_KERNELS_ALONE.contains(&option) || BESIDE_UNIX_MESSAGES.contains(&option)) && is_on {
            route::pin(sock);
            // Who wants credentials is given a name with the first datagram that it sends.
            sock.pcb.set(flag::SENDS_BY_KERNEL);
        }
        return Set::Kernel;
    }
    if RECEIVED_BY_KERNEL.contains(&(level, option)) && is_on {
        route::pin(sock);
    }
    if SENT_BY_KERNEL.contains(&(level, option)) && is_on {
        sock.pcb.set(flag::SENDS_BY_KERNEL);
    }
    Set::Kernel
}

fn set_unix(sock: Sock, level: c_int, option: c_int, value: Option<c_int>) -> Set {
    let by_ring = sock.endpoint().is_some_and(|ep| ep.rx.path().leads_to_ring());
    match value {
        Some(value)
            if level == SOL_SOCKET && (UNIX_KERNELS_ALONE.contains(&option) || (packet::is_of(sock) && BESIDE_UNIX_MESSAGES.contains(&option))) =>
        {
            if value != 0 {
                route::pin(sock);
            }
            Set::Kernel
        }
        _ if (level, option) == (SOL_SOCKET, SO_RCVLOWAT) && packet::is_of(sock) => Set::Kernel,
        Some(value) if (level, option) == (SOL_SOCKET, SO_RCVLOWAT) && by_ring => {
            sock.pcb.rcvlowat.store(if value < 0 { i32::MAX } else { value.max(1) } as u32, Ordering::Relaxed);
            Set::Done
        }
        Some(2..) if (level, option) == (SOL_SOCKET, SO_RCVLOWAT) => {
            route::pin(sock);
            Set::Kernel
        }
        _ => Set::Kernel,
    }
}

/// After the kernel's setsockopt succeeded: remembers what the ring needs.
pub fn note(sock: Sock, level: c_int, option: c_int) {
    let pcb = sock.pcb;
    let int = || call::int_option(sock.fd, level, option).unwrap_or(0);
    match (level, option) {
        (SOL_SOCKET, SO_RCVTIMEO | SO_RCVTIMEO_NEW) => pcb.rcvtimeo_ns.store(timeout_ns(sock, SO_RCVTIMEO), Ordering::Relaxed),
        (SOL_SOCKET, SO_SNDTIMEO | SO_SNDTIMEO_NEW) => pcb.sndtimeo_ns.store(timeout_ns(sock, SO_SNDTIMEO), Ordering::Relaxed),
        (SOL_SOCKET, SO_RCVLOWAT) => pcb.rcvlowat.store(int().max(1) as u32, Ordering::Relaxed),
        (SOL_SOCKET, SO_SNDBUF | SO_SNDBUFFORCE) => {
            pcb.sndbuf.store(call::int_option(sock.fd, level, SO_SNDBUF).unwrap_or(0) as u32, Ordering::Relaxed)
        }
        (SOL_SOCKET, SO_RCVBUF | SO_RCVBUFFORCE) => {
            pcb.rcvbuf.store(call::int_option(sock.fd, level, SO_RCVBUF).unwrap_or(0) as u32, Ordering::Relaxed)
        }
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) if pcb.has(flag::DATAGRAM) => pcb.put(flag::V6ONLY, int() != 0),
        _ if pcb.has(flag::LOCAL) => {}
        _ if pcb.has(flag::DATAGRAM) => datagram::note(sock, level, option),
        _ if pcb.is_unix_domain() => {}
        (SOL_SOCKET, SO_LINGER) => {
            let [on, seconds] = call::linger(sock.fd).unwrap_or([0, 0]);
            pcb.put(flag::LINGER_RESET, on != 0 && seconds == 0);
        }
        (SOL_SOCKET, SO_OOBINLINE) => pcb.put(flag::OOB_INLINE, int() != 0),
        (IPPROTO_TCP, TCP_NODELAY) => pcb.put(flag::NODELAY, int() != 0),
        _ => {}
    }
}

fn timeout_ns(sock: Sock, option: c_int) -> u64 {
    let t = call::plain_option::<libc::timeval>(sock.fd, SOL_SOCKET, option).unwrap_or(libc::timeval { tv_sec: 0, tv_usec: 0 });
    Duration::new(t.tv_sec.max(0) as u64, t.tv_usec.clamp(0, 999_999) as u32 * 1000).as_nanos().min(u64::MAX.into()) as u64
}

/// The value of an integer option that the ring knows better than the anchor.
pub fn get(sock: Sock, level: c_int, option: c_int) -> Option<c_int> {
    let pcb = sock.pcb;
    if pcb.has(flag::LOCAL) && (level, option) == (SOL_SOCKET, SO_ERROR) {
        return end::take_error(sock).map(|e| e.0);
    }
    if !pcb.has(flag::ANCHOR_READY)
        || pcb.has(flag::DATAGRAM)
        || (pcb.is_unix_domain() && !(level == SOL_SOCKET && matches!(option, SO_RCVLOWAT | SO_ERROR)))
    {
        return None;
    }
    match (level, option) {
        (SOL_SOCKET, SO_RCVLOWAT) => Some(pcb.rcvlowat.load(Ordering::Relaxed) as c_int),
        (SOL_SOCKET, SO_OOBINLINE) => Some(c_int::from(pcb.has(flag::OOB_INLINE))),
        (IPPROTO_TCP, TCP_NODELAY) => Some(c_int::from(pcb.has(flag::NODELAY))),
        (IPPROTO_TCP, TCP_CORK) => Some(c_int::from(pcb.has(flag::CORK))),
        (SOL_SOCKET, SO_ERROR) => {
            let ep = sock.endpoint()?;
            ep.look_at_anchor();
            ep.settle_end();
            match end::take_error(sock) {
                Some(e) => Some(e.0),
                None => ep.is_on_ring().then_some(0),
            }
        }
        _ => None,
    }
}

/// The state that TCP_INFO shall tell (linux/tcp_states.h), where the anchor's is not the connection's.
pub fn tcp_state(sock: Sock, level: c_int, option: c_int) -> Option<u8> {
    if (level, option) != (IPPROTO_TCP, TCP_INFO) || sock.pcb.is_unix_domain() || sock.pcb.has(flag::DATAGRAM) {
        return None;
    }
    let ep = sock.endpoint().filter(|ep| ep.is_on_ring())?;
    if ep.is_connecting() {
        return Some(TCP_SYN_SENT);
    }
    ep.look_at_anchor();
    let (sent_fin, got_fin) = (sock.pcb.has(flag::SHUT_WR), ep.rx.is_finished() || ep.peer_end() == End::Clean);
    Some(match (sent_fin, got_fin) {
        _ if ep.peer_end() == End::Reset || sock.pcb.has(flag::BROKEN) => TCP_CLOSE,
        (false, false) => 1,
        (true, false) => 5,
        (false, true) => 8,
        // Both: the end that shut down first is in TIME_WAIT; this one cannot tell, and says CLOSE.
        (true, true) => TCP_CLOSE,
    })
}

/// Whether the connection has ended both ways: it has no remote address any more.
pub fn is_over(sock: Sock) -> bool {
    tcp_state(sock, IPPROTO_TCP, TCP_INFO) == Some(TCP_CLOSE)
}

/// Bytes that can be read now (FIONREAD), `None` where the kernel is to be asked.
pub fn readable_bytes(sock: Sock) -> Option<c_int> {
    if sock.pcb.has(flag::DATAGRAM) {
        return datagram::readable_bytes(sock);
    }
    let ep = sock.endpoint().filter(|ep| ep.rx.path().leads_to_ring() && !ep.has_left_ring())?;
    if packet::is_of(sock) {
        return Some(ep.packet_bytes()?.min(c_int::MAX as u64) as c_int);
    }
    ep.land();
    let (left, _) = ep.kernel_left(0);
    let queued = ep.rx.queued()?;
    Some(left.saturating_add(ep.queued_to_mark(queued)).min(c_int::MAX as u64) as c_int)
}

/// Bytes that the other end has not taken (SIOCOUTQ, tcp(7)): what is beyond its share of what may be queued, since
/// the kernel counts what the other end has in its buffer as taken. `None` where the kernel is to be asked.
pub fn unsent_bytes(sock: Sock) -> Option<c_int> {
    if sock.pcb.has(flag::DATAGRAM) {
        return None;
    }
    if sock.pcb.is_unix_domain() {
        // The kernel counts its memory for what the other end has not read.
        let ep = sock.endpoint().filter(|ep| ep.tx.path() == crate::transport::direction::Path::Ring)?;
        return Some(ep.tx.queued()?.min(c_int::MAX as u64) as c_int);
    }
    let ep = sock.endpoint().filter(|ep| ep.tx.path() == crate::transport::direction::Path::Ring)?;
    Some(ep.tx.unread()?.saturating_sub(ep.queue_bytes() / 2).min(c_int::MAX as u64) as c_int)
}

/// An address as the programs of such a socket write it.
pub fn for_program(sock: Sock, address: Address) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(v4) if sock.pcb.has(flag::INET6) => v4.to_ipv6_mapped().into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port)
}

/// The socket's address family.
pub fn family(sock: Sock) -> c_int {
    if sock.pcb.is_private() {
        return sock.pcb.family_and_protocol().0;
    }
    if sock.pcb.has(flag::LOCAL) {
        return libc::AF_UNIX;
    }
    match sock.pcb.flags() & (flag::UNIX | flag::INET6) {
        0 => libc::AF_INET,
        flag::INET6 => libc::AF_INET6,
        _ => libc::AF_UNIX,
    }
}

/// Whether it sends and receives messages, not bytes.
pub fn has_messages(sock: Sock) -> bool {
    sock.pcb.has(flag::DATAGRAM | flag::PACKETS)
}

/// Whether it is an AF_UNIX datagram socket.
pub fn is_local(sock: Sock) -> bool {
    sock.pcb.has(flag::LOCAL)
}

/// Whether it is a connected AF_UNIX socket, or one that may be.
pub fn is_unix(sock: Sock) -> bool {
    sock.pcb.is_unix_domain()
}

/// Whether the socket's sending direction is on the ring.
pub fn sends_by_ring(sock: Sock) -> bool {
    sock.endpoint().is_some_and(|ep| ep.tx.path() == crate::transport::direction::Path::Ring)
}

/// Whether the next byte to be read is at the urgent mark (SIOCATMARK), `None` where the kernel is to be asked.
pub fn at_mark(sock: Sock) -> Option<c_int> {
    let ep = sock.endpoint().filter(|ep| ep.is_past_kernel() && !sock.pcb.is_unix_domain() && !sock.pcb.has(flag::DATAGRAM))?;
    Some(c_int::from(ep.is_at_mark()))
}

/// After fcntl(F_SETFL).
pub fn set_file_flags(sock: Sock, flags: c_int) {
    set_nonblocking(sock, flags & libc::O_NONBLOCK != 0);
    sock.pcb.put(flag::APPEND, flags & libc::O_APPEND != 0);
    let signals = flags & libc::O_ASYNC != 0;
    if signals != sock.pcb.has(flag::ASYNC) {
        sock.pcb.put(flag::ASYNC, signals);
        if let Some(ep) = sock.endpoint() {
            ep.rx.control.readable.set_always(signals);
        }
    }
}

/// Why sendfile(2) does not send to the socket.
pub fn refuses_sendfile(sock: Sock) -> Option<Errno> {
    sock.pcb.has(flag::APPEND).then_some(Errno::EINVAL)
}

/// After O_NONBLOCK was changed.
pub fn set_nonblocking(sock: Sock, on: bool) {
    sock.pcb.put(flag::NONBLOCK, on);
}
