//! Sequenced packets (unix(7), SOCK_SEQPACKET): connections of AF_UNIX whose rings hold records, one a packet.
//!
//! Everything but the moving of data is as for AF_UNIX streams (`unix`): how the ends find one another, the way to the
//! ring and back, doorbells (a packet each). What differs, as Linux has it:
//!
//! - a packet comes whole or cut, never with another, and may be empty;
//! - one larger than SO_SNDBUF less 32 bytes is EMSGSIZE, before EPIPE is told;
//! - an error is told before what is there, to our own looks at the anchor as well; EPIPE comes without SIGPIPE;
//! - a single empty packet that nobody has read does not make a close a reset;
//! - a name given to a send is not looked at, and MSG_OOB is EOPNOTSUPP.

use core::sync::atomic::Ordering;
use libc::{MSG_OOB, MSG_PEEK, MSG_TRUNC, c_int};

use super::crowd;
use super::end::take_error;
use super::handle::{Endpoint, Sock};
use super::recv::by_unix_kernel;
use super::route::{self, RxRoute, SendInKernel, TxRoute};
use super::spin::{self, Peer};
use super::stats::{COUNTERS, add};
use super::{private, unix, wait};
use crate::pcb::Pcb;
use crate::pcb::block::flag;
use crate::pcb::circuit::End;
use crate::shm::blocks;
use crate::shm::owner::System;
use crate::sys::clock::Deadline;
use crate::sys::errno::{Ret, preserved};
use crate::sys::{Errno, call};
use crate::transport::direction::Path;
use crate::transport::iov::Iov;
use crate::transport::record::{self, Header, Pushed, record_bytes};
use crate::transport::stream;

/// SO_SNDBUF of Linux where nobody has set another: so much a mailbox of AF_UNIX datagrams holds.
pub const QUEUE_BYTES: u64 = 212_992;
/// SO_SNDBUF is how much may be queued in one direction, but no more than this.
pub(super) const MOST_QUEUE_BYTES: u64 = 1 << 20;
/// The most that is believed of a SO_SNDBUF.
const MOST_SNDBUF_BYTES: u64 = 1 << 32;
/// The least that the kernel counts for a packet of its own (SKB_TRUESIZE of an empty one is 768 on 64-bit machines).
const LEAST_IN_KERNEL_BYTES: u64 = 512;
/// As for streams: the class of the segments that most packets flow through.
const COMMON: blocks::Class = 2;

/// Sends all of `source` as one packet; `kernel` makes the program's own call where the kernel takes it.
#[inline(never)]
pub fn send(sock: Sock, source: &mut Iov, flags: c_int, kernel: impl FnOnce() -> Ret) -> Ret {
    if flags & MSG_OOB != 0 {
        // Refused, in one way or another.
        return kernel();
    }
    loop {
        match route::tx(sock) {
            TxRoute::Ring(ep) => match ep.send_packet(source, flags) {
                Err(route::ROUTE_CHANGED) => {}
                ret => return ret,
            },
            TxRoute::Kernel(_) if sock.pcb.is_private() => return private::send_unconnected(sock, flags),
            TxRoute::Kernel(guard) if unix::may_leave_kernel(sock) => {
                if let Some(ret) = unix::send_in_kernel(sock, guard, source, flags, &mut 0) {
                    return ret;
                }
            }
            TxRoute::Kernel(guard) => return send_by_kernel(guard, source.left(), kernel),
        }
    }
}

fn send_by_kernel(guard: SendInKernel, bytes: usize, kernel: impl FnOnce() -> Ret) -> Ret {
    let ret = kernel();
    if ret.is_ok() {
        add(&COUNTERS.kernel_tx_bytes, bytes as u64);
        add(&COUNTERS.kernel_tx_messages, 1);
    }
    guard.told(ret, bytes);
    ret
}

/// Receives one packet into `sink`, as far as there is room: returns the bytes that were put there, or with MSG_TRUNC those
/// of the whole packet. `kernel` makes the program's own call where the kernel has it, with flags besides.
#[inline(never)]
pub fn receive(sock: Sock, sink: &mut Iov, flags: c_int, mut kernel: impl FnMut(c_int) -> Ret) -> Ret {
    if flags & MSG_OOB != 0 {
        return kernel(0);
    }
    loop {
        match route::rx(sock) {
            RxRoute::Ring(ep) => match ep.receive_packet(sink, flags) {
                Err(route::ROUTE_CHANGED) => {}
                ret => return ret,
            },
            RxRoute::Kernel if sock.pcb.is_private() => return private::receive_unconnected(sock, flags),
            RxRoute::Kernel => {
                if let Some(error) = sock.endpoint().and_then(|ep| ep.error_of_ring()) {
                    return Err(error);
                }
                if let Some(ret) = by_unix_kernel(sock, flags, &mut kernel) {
                    return ret;
                }
            }
        }
    }
}

/// SO_SNDBUF as getsockopt(2) tells it: asked for once, and noted when it is set.
pub(super) fn sndbuf(sock: Sock) -> u64 {
    let noted = &sock.pcb.sndbuf;
    if noted.load(Ordering::Relaxed) == 0
        && let Ok(bytes) = preserved(|| call::int_option(sock.fd, libc::SOL_SOCKET, libc::SO_SNDBUF))
    {
        noted.store(bytes.max(0) as u32, Ordering::Relaxed);
    }
    match noted.load(Ordering::Relaxed) {
        // What the kernel would not tell it shall judge itself.
        0 => u64::MAX,
        bytes => u64::from(bytes),
    }
}

impl Endpoint {
    /// Sends one packet through the ring.
    fn send_packet(&self, source: &Iov, flags: c_int) -> Ret {
        let n = source.left();
        if n as u64 + 32 > sndbuf(self.sock) {
            return Err(self.pending_error().unwrap_or(Errno(libc::EMSGSIZE)));
        }
        let nonblocking = self.sock.is_nonblocking(flags);
        let mut deadline = None;
        loop {
            if !self.may_send()
                && let Some(refused) = self.pending_error().map(Err).or_else(|| self.refuse_unix_send())
            {
                return refused.map(|()| n);
            }
            let pushed = self.push_packet(source)?;
            match pushed {
                Pushed::Done(_) => return Ok(n),
                Pushed::Gone if self.tx.path() != Path::Ring => return Err(route::ROUTE_CHANGED),
                Pushed::Gone if !self.is_current() => return Err(Errno::EBADF),
                // A signal handler in the middle of a send of its own thread: nothing will move before that is done.
                Pushed::Gone => return Err(if nonblocking { Errno::EAGAIN } else { Errno::EINTR }),
                Pushed::NoRoom if self.make_packet_room(n)? => continue,
                Pushed::NoRoom | Pushed::Full => {}
            }
            if nonblocking {
                self.await_room();
                // Room may have come before the flag was up: then there will be no edge for it.
                return match self.push_packet(source)? {
                    Pushed::Done(_) => Ok(n),
                    _ => Err(Errno::EAGAIN),
                };
            }
            let deadline = *deadline.get_or_insert_with(|| Deadline::of_option(self.sock.pcb.sndtimeo_ns.load(Ordering::Relaxed)));
            self.wait_writable(self.wake_point(), deadline)?;
        }
    }

    #[inline]
    fn push_packet(&self, source: &Iov) -> Result<Pushed, Errno> {
        let (arena, me) = (self.sock.arena, self.sock.me().owner());
        let held = self.tx.writer.lock.acquire_if(self.may_have_company(), me, &System(arena));
        // Asked under the lock: who leaves the ring holds it, and nobody reads what comes after.
        if held.is_nested() || !self.is_current() || self.tx.path() != Path::Ring {
            return Ok(Pushed::Gone);
        }
        let n = source.left();
        let header = Header { bytes: n as u32, ..Header::default() };
        let pushed = record::put(self.tx, arena, header, source, self.queue_bytes()).map_err(|why| self.refused(why))?;
        drop(held);
        if let Pushed::Done(_) = pushed {
            self.wake_reader();
            add(&COUNTERS.ring_tx_bytes, n as u64);
            add(&COUNTERS.ring_tx_messages, 1);
            self.look_now_and_then();
        }
        Ok(pushed)
    }

    /// Makes room for a packet of `n` bytes without sleeping; false where that has to be waited for.
    #[cold]
    fn make_packet_room(&self, n: usize) -> Result<bool, Errno> {
        let need = record_bytes(n as u64, false);
        let class = stream::class(self.tx);
        let Some(least) = (0..=blocks::LARGEST).find(|&class| blocks::bytes_of(class) >= need) else {
            // The kernel takes what no segment can hold.
            return Err(self.beyond_ring());
        };
        if class >= COMMON.max(least) {
            let here = crowd::place(1);
            let peer = Peer::of(here, self.tx.consumed.place.load(Ordering::Relaxed));
            self.tx.produced.place.store(here, Ordering::Relaxed);
            if spin::until(peer, || wait::room(self) >= need) {
                return Ok(true);
            }
        }
        let wanted = (class + 1).clamp(least, COMMON.max(least));
        let append = |class| stream::append(self.tx, self.sock.arena, self.sock.me(), class, self.link.circuit, || self.is_current());
        if (least..=wanted).rev().any(append) || wait::room(self) >= need {
            return Ok(true);
        }
        if !self.tx.has_data() && self.tx.path() == Path::Ring {
            // Nothing will ever make room: the arena has none.
            return Err(self.beyond_ring());
        }
        Ok(false)
    }

    /// What the ring cannot carry the kernel shall; a private net has none.
    fn beyond_ring(&self) -> Errno {
        if self.sock.pcb.is_private() {
            return Errno(libc::ENOBUFS);
        }
        unix::pin(self.sock);
        route::ROUTE_CHANGED
    }

    /// Receives one packet from the ring.
    fn receive_packet(&self, sink: &Iov, flags: c_int) -> Ret {
        let mut deadline = None;
        loop {
            // Asked before the ring is looked at: what was sent before the end is there now.
            let ended = self.has_ended();
            if let Some(error) = self.error_before_packets() {
                return Err(error);
            }
            if let Some(n) = self.take_packet(sink, flags)? {
                return Ok(n);
            }
            if self.has_left_ring() {
                return Err(route::ROUTE_CHANGED);
            }
            if ended && let Some(end) = self.at_end() {
                return end.map(|()| 0);
            }
            if !self.is_current() {
                return Err(Errno::EBADF);
            }
            if self.sock.is_nonblocking(flags) {
                self.look_for_end(&self.rx.reader.looked_ns);
                if self.has_ended() {
                    continue;
                }
                return Err(Errno::EAGAIN);
            }
            if !self.is_peer_here() && self.looks_for_packet() {
                continue;
            }
            let deadline = *deadline.get_or_insert_with(|| Deadline::of_option(self.sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed)));
            self.wait_readable(1, deadline, true)?;
        }
    }

    /// What is told before any packet that is there.
    #[inline]
    fn error_before_packets(&self) -> Option<Errno> {
        if self.peer_end() == End::Open && self.sock.pcb.so_error.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.settle_end();
        take_error(self.sock)
    }

    /// What the kernel does not know: that the other end has left unread what came by the ring.
    pub(super) fn error_of_ring(&self) -> Option<Errno> {
        if self.tx.path() == Path::Ring && self.peer_end() == End::Reset { self.pending_error() } else { None }
    }

    #[inline]
    fn take_packet(&self, sink: &Iov, flags: c_int) -> Result<Option<usize>, Errno> {
        let peek = flags & MSG_PEEK != 0;
        let popped = record::pop(self.rx, self.sock.arena, self.sock.me(), self.may_have_company(), sink, peek, || self.is_current());
        let Some(header) = popped.map_err(|why| self.refused(why))? else { return Ok(None) };
        let whole = header.bytes as usize;
        if !peek {
            add(&COUNTERS.ring_rx_bytes, whole as u64);
            add(&COUNTERS.ring_rx_messages, 1);
            self.taken();
        }
        Ok(Some(if flags & MSG_TRUNC != 0 { whole } else { whole.min(sink.left()) }))
    }

    /// Looks for a packet for a moment: closely where an answer may come, else later and later.
    fn looks_for_packet(&self) -> bool {
        if !self.awaits_answer() {
            return self.look_calmly();
        }
        self.rx.reader.calm_ns.store(0, Ordering::Relaxed);
        spin::briefly(|| self.rx.has_data())
    }

    /// A segment for all the packets that the kernel still has for this end; false where there is none so large.
    pub(super) fn prepare_for_packets(&self, peer: &Pcb) -> bool {
        let Some(need) = self.packets_in_kernel(peer) else { return true };
        let append = |class| stream::append(self.rx, self.sock.arena, self.sock.me(), class, self.link.circuit, || self.is_current());
        stream::room(self.rx, self.sock.arena).is_ok_and(|room| room >= need)
            || (0..=blocks::LARGEST).find(|&class| blocks::bytes_of(class) >= need).is_some_and(append)
    }

    /// Bytes of the ring that these packets would take, at most; `None` where there are none.
    fn packets_in_kernel(&self, peer: &Pcb) -> Option<u64> {
        if call::poll_one(self.sock.fd, libc::POLLIN, Deadline::NOW) == Ok(0) {
            return None;
        }
        let bytes = call::ioctl_int(self.sock.fd, libc::FIONREAD).unwrap_or(0) as u64;
        // Where the other end's is not noted it is most likely as ours.
        let sndbuf = u64::from(peer.sndbuf.load(Ordering::Relaxed)).max(sndbuf(self.sock)).clamp(QUEUE_BYTES, MOST_SNDBUF_BYTES);
        Some(bytes + (sndbuf / LEAST_IN_KERNEL_BYTES + 2) * record_bytes(1, false))
    }

    /// Moves them into the ring, while nobody sends and nobody receives: then nothing is left in the kernel. False, with
    /// nothing moved, where the ring has no room for them.
    pub(super) fn move_packets_to_ring(&self, peer: &Pcb) -> bool {
        let Some(need) = self.packets_in_kernel(peer) else { return true };
        if stream::room(self.rx, self.sock.arena).is_ok_and(|room| room < need) {
            return false;
        }
        let fd = self.sock.fd;
        let mut was_reset = false;
        loop {
            let bytes = match call::next_message_bytes(fd) {
                Ok(bytes) => bytes,
                // Told once, before the packets that are there.
                Err(Errno::ECONNRESET) if !was_reset => {
                    was_reset = true;
                    if !self.has_unread_doorbells() {
                        self.sock.pcb.so_error.store(Errno::ECONNRESET.0 as u32, Ordering::Release);
                    }
                    continue;
                }
                Err(_) => return true,
            };
            if bytes == 0 && unix::has_nothing_more(fd) {
                return true;
            }
            let header = Header { bytes: bytes as u32, ..Header::default() };
            let read = |ring, size, at| call::recv_around(fd, ring, size, at, bytes) == Ok(bytes);
            if !matches!(record::put_with(self.rx, self.sock.arena, header, u64::MAX, read), Ok(Pushed::Done(_))) {
                return true;
            }
        }
    }

    /// Sends what nobody reads any more by the kernel, in its place, as far as there is room; true where that was all.
    pub(super) fn empty_packets_into_kernel(&self) -> bool {
        loop {
            let mut sent = Ok(0);
            let taken = record::take_with(
                self.tx,
                self.sock.arena,
                self.sock.me(),
                || self.is_current(),
                |header, ring, size, at| {
                    sent = call::send_around(self.sock.fd, ring, size, at, header.bytes as usize, None);
                    sent.is_ok()
                },
            );
            match (taken, sent) {
                (Ok(true), _) => {}
                (_, Err(Errno::EAGAIN)) => return false,
                _ => return true,
            }
        }
    }

    /// Whether closing now leaves something unread.
    pub(super) fn has_unread_packets(&self) -> bool {
        let first = record::look(self.rx, self.sock.arena, self.sock.me(), self.may_have_company());
        first.is_some_and(|header| header.bytes > 0 || self.rx.queued() != Some(record_bytes(0, false)))
    }

    /// Bytes of all the packets in the ring (FIONREAD).
    pub(super) fn packet_bytes(&self) -> Option<u64> {
        record::bytes_of_all(self.rx, self.sock.arena, self.sock.me()).ok()
    }
}

/// Whether the socket carries packets.
#[inline]
pub fn is_of(sock: Sock) -> bool {
    sock.pcb.has(flag::PACKETS)
}
