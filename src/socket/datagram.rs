//! Datagrams (udp(7)): a mailbox in the arena for each socket that receives, found by senders through the PCB table.
//!
//! The kernel stays the other way in: who is not of the net sends through it, and so does a member where an option, an
//! address or a size asks for that. A receiver looks there first whenever there may be something, then into its mailbox,
//! and sleeps on its anchor; its doorbell is a datagram that says what none of a program's does.

use core::net::IpAddr;
use core::sync::atomic::Ordering;
use libc::{MSG_DONTWAIT, MSG_PEEK, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM, c_int, pollfd};

use super::crowd;
use super::handle::{Endpoint, Sock};
use super::ready::Readiness;
use super::route::PATH_CHANGES;
use super::sleepers;
use super::spin::{self, Peer};
use super::stats::{self, COUNTERS, add};
use super::wait::LOOK_AGAIN_NS;
use super::{end, options, recv};
use crate::net::links;
use crate::pcb::block::flag;
use crate::pcb::{Address, Key, Pcb, block, table};
use crate::shm::Arena;
use crate::shm::owner::System;
use crate::sys::call::Datagram;
use crate::sys::clock::{Deadline, now_ns};
use crate::sys::confined::is_confined;
use crate::sys::errno::{Ret, preserved};
use crate::sys::mailbox::{self, Mailbox as KernelMailbox};
use crate::sys::trace::trace;
use crate::sys::{Errno, call, diag, signal, thread};
use crate::transport::direction::Path;
use crate::transport::iov::Iov;
use crate::transport::record::{self, Header, More};
use crate::transport::stream;

/// Of so many datagrams from the mailbox in a row the next comes from the kernel, if that has one.
const KERNEL_EVERY: u64 = 32;
/// Looks of a spinning receiver between two of the kernel.
const LOOKS_PER_KERNEL: u32 = 64;

/// One that sleeps among others looks this often, should its wake-up have been lost to one of them.
const LOOK_NOW_AND_THEN_NS: u64 = 1_000_000_000;

mod errors;
mod late;
pub mod local;
mod marks;
mod private;
mod questions;
mod raw;
mod send;
pub mod told;
mod wait;

pub use errors::{each_of_error, land_errors, receive_error};
pub use late::queue_bytes;
pub use marks::Wishes;
use send::{SENT, has_error};
pub use send::{provoke_the_dead, send, send_with, through_kernel};

/// A datagram from the mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Bytes put into the program's buffers.
    pub bytes: usize,
    /// Bytes of the datagram.
    pub whole: usize,
    pub header: Header,
}

impl Received {
    pub fn from(&self) -> Address {
        Address { high: self.header.high, low: self.header.low, port: self.header.port }
    }
}

/// Where a datagram came from; the kernel has told the program everything itself.
#[derive(Clone, Copy, Debug)]
pub enum Got {
    Kernel(usize),
    Mailbox(Received),
}

impl Got {
    /// What recv(2) with `flags` returns.
    pub fn ret(self, flags: c_int) -> usize {
        match self {
            Got::Kernel(n) => n,
            Got::Mailbox(r) if flags & libc::MSG_TRUNC != 0 => r.whole,
            Got::Mailbox(r) => r.bytes,
        }
    }
}

/// After bind(2), connect(2) or anything else that may have given the socket an address.
pub fn named(sock: Sock) {
    if sock.pcb.has(flag::LOCAL) {
        return local::named(sock);
    }
    if sock.pcb.is_private() {
        return;
    }
    let name = |remote| options::name(sock.fd, remote).unwrap_or_default();
    let key = Key { local: name(false), remote: name(true) };
    if key != sock.pcb.addresses()
        && let Some(lock) = sock.arena.try_lock()
    {
        sock.pcb.put(flag::V6ONLY, call::int_option(sock.fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).unwrap_or(0) != 0);
        table::bind_datagram(&lock, sock.index, key);
        drop(lock);
        told::find_interface(sock);
    }
}

/// After an option was set: what the mailbox's receiver is told, or what the socket's own datagrams say.
pub fn note(sock: Sock, level: c_int, option: c_int) {
    marks::note(sock, level, option);
    told::note(sock, level, option);
}

/// Reads the options of a socket whose past is not known.
pub fn learn(sock: Sock) {
    marks::learn(sock);
    told::learn(sock);
}

/// Its receiving end, for a socket that receives: with a mailbox from now on, if it can have one.
#[inline]
pub fn mailbox(sock: Sock) -> Option<Endpoint> {
    match sock.endpoint() {
        None if !sock.pcb.has(flag::KERNEL_ONLY | flag::NOT_ALONE) => preserved(|| open(sock)),
        known => known,
    }
}

/// Whether it is known who receives what is sent to the UDP socket's port.
fn is_known_receiver(sock: Sock) -> bool {
    named(sock);
    let local = sock.pcb.addresses().local;
    if local.port == 0 {
        return false;
    }
    // Only where every socket at the port is a member's is it known who receives.
    let shares = [libc::SO_REUSEADDR, libc::SO_REUSEPORT].iter().any(|&name| call::int_option(sock.fd, libc::SOL_SOCKET, name).unwrap_or(1) != 0);
    if shares && diag::udp_sockets_at(local.port) != Some(table::datagram_sockets_at(sock.arena, local.port)) {
        sock.pcb.set(flag::NOT_ALONE);
        trace(format_args!("fd {}: stays with the kernel: others are bound to port {}", sock.fd, local.port));
        return false;
    }
    true
}

#[cold]
fn open(sock: Sock) -> Option<Endpoint> {
    if !sock.pcb.has(flag::LOCAL) && !sock.pcb.is_private() && !is_known_receiver(sock) {
        return None;
    }
    let local = sock.pcb.addresses().local;
    let lock = sock.arena.try_lock()?;
    if sock.endpoint().is_none() && !table::give_mailbox(&lock, sock.index) {
        return None;
    }
    drop(lock);
    let ep = sock.endpoint()?;
    match stream::begin(ep.rx, sock.arena, sock.me(), ep.link.circuit) {
        Some(true) => {}
        Some(false) => {
            sock.pcb.set(flag::KERNEL_ONLY);
            return Some(ep);
        }
        // Another thread is at it.
        None => return Some(ep),
    }
    // What came before comes first.
    sock.pcb.set(flag::KERNEL_NEWS);
    ep.rx.reader.kernel_left.store(1, Ordering::Release);
    // Datagrams that the kernel has dropped count as well (SO_RXQ_OVFL).
    ep.rx.writer.fulls.store(u64::from(call::drops(sock.fd)), Ordering::Relaxed);
    ep.rx.control.readable.set_always(sock.pcb.has(flag::ASYNC));
    ep.tx.change_path(Path::Kernel, Path::Ring);
    ep.rx.change_path(Path::Kernel, Path::Ring);
    table::datagrams_changed(sock.arena);
    PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
    add(&COUNTERS.circuits, 1);
    trace(format_args!("fd {}: receives by mailbox at {local}", sock.fd));
    Some(ep)
}

/// From now on what is sent to the socket comes through the kernel.
pub fn pin(sock: Sock) {
    if sock.pcb.is_private() {
        return;
    }
    sock.pcb.set(flag::KERNEL_ONLY);
    table::datagrams_changed(sock.arena);
}

/// Before a program without the library gets the socket: what its mailbox holds that program does not see, unless the
/// sender can take it back (`local`).
pub fn hand_over(sock: Sock) {
    pin(sock);
    if sock.pcb.has(flag::LOCAL) {
        local::hand_over(sock);
    }
}

/// Receives a datagram into `sink`; `kernel` makes the program's own call where the kernel has it, with flags besides.
#[inline]
pub fn receive(sock: Sock, sink: &Iov, flags: c_int, kernel: impl FnMut(c_int) -> Ret) -> Result<Got, Errno> {
    receive_with(sock, sink, |_| (), flags, kernel)
}

/// The same; `more` is called with what is known of the datagram besides.
#[inline]
pub fn receive_with(sock: Sock, sink: &Iov, mut more: impl FnMut(More), flags: c_int, mut kernel: impl FnMut(c_int) -> Ret) -> Result<Got, Errno> {
    if sock.pcb.has(flag::LOCAL) && flags & libc::MSG_OOB != 0 {
        return kernel(0).map(Got::Kernel);
    }
    if flags & libc::MSG_ERRQUEUE != 0 && sock.pcb.is_private() {
        return receive_error(sock, sink, flags).map(|(bytes, _)| Got::Kernel(bytes));
    }
    // Worked out once, however often the way is asked for.
    let mut until = None;
    let mut until = || *until.get_or_insert_with(|| Deadline::of_option(sock.pcb.rcvtimeo_ns.load(Ordering::Relaxed)));
    let ep = loop {
        match if flags & libc::MSG_ERRQUEUE == 0 || sock.pcb.has(flag::LOCAL) { mailbox(sock) } else { None } {
            Some(ep) => break ep,
            None => {
                if let Some(ret) = without_mailbox(sock, flags, &mut until, &mut kernel) {
                    return ret;
                }
            }
        }
    };
    if is_confined() && !ep.rx.has_data() {
        return kernel(0).map(Got::Kernel);
    }
    loop {
        ep.land();
        local::pay_back(sock);
        if let Some(error) = end::take_error(sock) {
            return Err(error);
        }
        if ep.is_kernels_turn()
            && let Some(ret) = ep.kernels_next(flags, &mut kernel)
        {
            return ret;
        }
        if let Some(received) = ep.take_datagram(sink, &mut more, flags & MSG_PEEK != 0)? {
            if !ep.rx.has_data() {
                ep.rx.reader.urgent_seen.store(1, Ordering::Relaxed);
            }
            return Ok(Got::Mailbox(received));
        }
        if !ep.is_current() {
            return Err(Errno::EBADF);
        }
        if sock.pcb.has(flag::SHUT_RD) {
            preserved(|| ep.skip_doorbells());
            return kernel(0).map(Got::Kernel);
        }
        if sock.is_nonblocking(flags) {
            return match ep.kernels_next(flags, &mut kernel) {
                Some(ret) => ret,
                None if ep.rx.has_data() => continue,
                None => Err(Errno::EAGAIN),
            };
        }
        if !ep.is_peer_here() && ep.looks_for_next() {
            continue;
        }
        ep.await_datagram(until())?;
    }
}

/// A receive of a socket that has no mailbox. Where another thread may give it one meanwhile nobody sleeps inside; `None`
/// where the way is to be asked for again.
#[cold]
fn without_mailbox(
    sock: Sock,
    flags: c_int,
    until: &mut impl FnMut() -> Deadline,
    kernel: &mut impl FnMut(c_int) -> Ret,
) -> Option<Result<Got, Errno>> {
    let may_get_one = thread::has_siblings() && !sock.pcb.has(flag::KERNEL_ONLY | flag::NOT_ALONE) && flags & libc::MSG_ERRQUEUE == 0;
    if may_get_one && !sock.is_nonblocking(flags) && !is_confined() {
        let deadline = until();
        // What comes to a mailbox that it is given meanwhile may not ring.
        match call::poll_one(sock.fd, POLLIN, deadline.at_most_ns(LOOK_AGAIN_NS)) {
            Ok(0) if !deadline.passed() => return None,
            Ok(0) => return Some(Err(Errno::EAGAIN)),
            Ok(_) => {}
            Err(e) => return Some(Err(e)),
        }
        if sock.is_closed() {
            return Some(Err(Errno::EBADF));
        }
        // It has got one, or not; what woke us is not taken for granted.
        return match sock.endpoint() {
            Some(ep) => ep.kernels_next(flags, kernel),
            None => Some(kernel(MSG_DONTWAIT).map(Got::Kernel)),
        }
        .filter(|ret| !matches!(ret, Err(Errno::EAGAIN)));
    }
    Some(kernel(0).map(Got::Kernel))
}

impl Endpoint {
    #[inline]
    fn is_kernels_turn(&self) -> bool {
        let pcb = self.sock.pcb;
        if pcb.has(flag::LOCAL) {
            return self.is_kernels_turn_local();
        }
        if self.rx.reader.urgent_seen.load(Ordering::Relaxed) != 0 {
            self.rx.reader.urgent_seen.store(0, Ordering::Relaxed);
            if self.rx.has_data() {
                return true;
            }
        }
        pcb.has(flag::KERNEL_NEWS) || self.rx.reader.messages.load(Ordering::Relaxed) % KERNEL_EVERY == KERNEL_EVERY - 1
    }

    /// Looks for a datagram for a moment: closely where an answer may come, and where they keep coming to one who only
    /// listens later and later, since every look costs the sender more than a datagram does.
    #[inline]
    fn looks_for_next(&self) -> bool {
        let reader = &self.rx.reader;
        let sent = SENT.get();
        let only_listens = reader.sent_seen.load(Ordering::Relaxed) == sent;
        let calm_ns = if only_listens { self.rest_calmly() } else { 0 };
        let found = spin::briefly(|| {
            self.land();
            self.rx.has_data()
        });
        reader.sent_seen.store(sent, Ordering::Relaxed);
        reader.calm_ns.store(if only_listens { recv::calmer(calm_ns, found) } else { 0 }, Ordering::Relaxed);
        found
    }

    #[inline]
    fn take_datagram(&self, sink: &Iov, more: impl FnMut(More), peek: bool) -> Result<Option<Received>, Errno> {
        let Sock { arena, .. } = self.sock;
        let is_local = self.sock.pcb.has(flag::LOCAL);
        let popped = if is_local {
            self.pop_local(sink, peek)
        } else {
            record::pop_with(self.rx, arena, self.sock.me(), self.may_have_company(), (sink, more), peek, || self.is_current())
        };
        let header = popped.map_err(|why| self.refused(why))?;
        Ok(header.map(|h| {
            let whole = if is_local { local::bytes_of(&h) } else { h.bytes as usize };
            if !peek {
                add(&COUNTERS.ring_rx_bytes, whole as u64);
                add(&COUNTERS.ring_rx_messages, 1);
            }
            Received { bytes: whole.min(sink.left()), whole, header: h }
        }))
    }

    /// What the kernel has, if anything. Among others one at a time: a doorbell that one has seen another must not take.
    #[cold]
    fn kernels_next(&self, flags: c_int, kernel: &mut impl FnMut(c_int) -> Ret) -> Option<Result<Got, Errno>> {
        let pcb = self.sock.pcb;
        let _held = self.rx.reader.lock.acquire(self.sock.me().owner(), &System(self.sock.arena));
        let is_local = pcb.has(flag::LOCAL);
        pcb.clear(flag::KERNEL_NEWS);
        loop {
            match preserved(|| self.next_in_kernel()) {
                Ok(Datagram::Doorbell) if self.leaves_doorbells() => {
                    pcb.set(flag::DOORBELL_LEFT);
                    return None;
                }
                Ok(Datagram::Doorbell) => self.tell_others(),
                Ok(Datagram::Other) if is_local && !self.may_take_kernels(flags & MSG_PEEK != 0) => {
                    // It is there all the same, for who asks what is ready.
                    pcb.set(flag::KERNEL_NEWS);
                    return None;
                }
                Ok(Datagram::Other) => {
                    pcb.set(flag::KERNEL_NEWS);
                    let ret = kernel(MSG_DONTWAIT);
                    if ret != Err(Errno::EAGAIN) {
                        add(&COUNTERS.kernel_rx_bytes, ret.unwrap_or(0) as u64);
                        add(&COUNTERS.kernel_rx_messages, 1);
                        return Some(ret.map(Got::Kernel));
                    }
                    pcb.clear(flag::KERNEL_NEWS);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    if is_local {
                        self.end_kernels_turn();
                    }
                    return None;
                }
                Err(e) => return Some(Err(e)),
            }
        }
    }

    /// A doorbell that was taken may have been meant for others who sleep on: what comes next rings again, and what has
    /// come already they are woken for.
    fn tell_others(&self) {
        if !self.others_may_sleep() {
            return;
        }
        self.rx.control.readable.declare_asleep();
        if self.reader_role().is_held() && self.rx.has_data() {
            mailbox::poke(self.sock.pcb.cookie.load(Ordering::Relaxed));
        }
    }

    /// Whether a doorbell is to stay where it is: while there is something in the mailbox it may be about to wake others. What
    /// comes from this moment on rings again, behind the one that is taken.
    fn leaves_doorbells(&self) -> bool {
        if !self.may_have_company() {
            return false;
        }
        if self.others_may_sleep() {
            self.rx.control.readable.declare_asleep();
        }
        self.rx.has_data()
    }

    /// Looks at the kernel's next datagram, and takes it if it is a doorbell that need not stay.
    fn next_in_kernel(&self) -> Result<Datagram, Errno> {
        loop {
            match call::next_datagram(self.sock.fd, doorbell(self.sock.arena), || !self.leaves_doorbells()) {
                // Nobody of the net sends anything else by the kernel.
                Ok(Datagram::Other) if self.sock.pcb.is_private() => call::recv_few(self.sock.fd, 1).map(|_| ())?,
                other => return other,
            }
        }
    }
}

/// The size of the next datagram (FIONREAD), `None` where the kernel is to be asked.
pub fn readable_bytes(sock: Sock) -> Option<c_int> {
    let ep = sock.endpoint()?;
    if preserved(|| has_error(sock) || ep.skip_doorbells()) {
        return None;
    }
    record::look(ep.rx, sock.arena, sock.me(), ep.may_have_company())
        .map(|h| if sock.pcb.has(flag::LOCAL) { local::bytes_of(&h) as c_int } else { h.bytes as c_int })
}

fn doorbell(arena: &Arena) -> [u64; 2] {
    let words = &arena.header().doorbell;
    [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)]
}

/// shutdown(2). Who sleeps on the socket is woken by the kernel, and finds the flag.
pub fn shutdown(sock: Sock, how: c_int) -> Ret {
    if !(libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how) {
        return Err(Errno::EINVAL);
    }
    // Also where the kernel says that it was not connected (inet_shutdown of Linux).
    let flags = match how {
        libc::SHUT_RD => flag::SHUT_RD,
        libc::SHUT_WR => flag::SHUT_WR,
        _ => flag::SHUT_RD | flag::SHUT_WR,
    };
    sock.pcb.set(flags);
    let ret = call::shutdown(sock.fd, how);
    if sock.pcb.is_private() && sock.pcb.addresses().remote.port == 0 { ret.and(Err(Errno::ENOTCONN)) } else { ret }
}
