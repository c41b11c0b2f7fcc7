//! AF_UNIX datagrams (unix(7), SOCK_DGRAM), by the mailbox of who receives them, as UDP's. What differs:
//!
//! - the receiver is found by its inode, where the sender is connected, or by its name;
//! - the sender's name travels with the datagram;
//! - nothing is ever lost: what finds the mailbox full goes on through the kernel, whose queue makes the sender wait.
//!
//! Order between the two ways is kept for each sender. Who has sent through the kernel puts nothing into the mailbox before
//! that was read, which SIOCOUTQ tells; and the receiver takes nothing from the kernel before it has read what the mailbox
//! held when it saw what is next there.

use core::cell::Cell;
use core::sync::atomic::AtomicU64;

use super::send::{Mailbox, is_alive, make_room};
use super::*;
use crate::pcb::reap::Name;
use crate::socket::end::take_error;
use crate::socket::packet;
use crate::socket::route::SendInKernel;
use crate::sys::diag::UnixSocket;
use crate::sys::unix_name::{MOST_BYTES, Referent, UnixName};
use crate::transport::direction::ABANDONED;
use crate::transport::record::Pushed;
use crate::transport::stream::Refused;

/// Datagrams taken back, and attempts to send one, in one call.
const ATTEMPTS: u32 = 1000;
/// Looks, with a yield after each, for what went through the kernel to be read.
const LOOKS_AT_KERNEL: u32 = 16;
/// That nobody of the net receives is believed, after so many looks, for so long, whatever changes meanwhile.
const LOOKS_FOR_SOMEBODY: u32 = 8;
const NOBODY_NS: u64 = 1_000_000;

/// Who receives what a socket sends.
#[derive(Clone, Copy)]
struct Route {
    sender: Name,
    /// The changes of the sender's own name and connection that this is of.
    changes: u32,
    /// `None`: where it is connected.
    to: Option<Referent>,
    target: Option<Target>,
    /// Where there is no target: as of which state of the table, how often it was looked for, and when.
    epoch: u64,
    looks: u32,
    asked_ns: u64,
}

#[derive(Clone, Copy)]
struct Target {
    name: Name,
    changes: u32,
}

/// A socket's own name.
#[derive(Clone, Copy)]
struct Own {
    sender: Name,
    changes: u32,
    name: UnixName,
}

const KEPT: usize = 4;

thread_local! {
    static ROUTES: [Cell<Option<Route>>; KEPT] = const { [const { Cell::new(None) }; KEPT] };
    static OWN: Cell<Option<Own>> = const { Cell::new(None) };
    /// Who sent the datagram that this thread received last.
    static CAME_FROM: Cell<UnixName> = const { Cell::new(UnixName::empty()) };
}

/// After bind(2), connect(2), or before the first use of a socket that somebody else made.
pub(super) fn named(sock: Sock) {
    sock.pcb.calls_alone.fetch_add(1, Ordering::SeqCst);
    if sock.pcb.addresses().local.port == 0
        && let Some(r) = UnixName::own(sock.fd).ok().and_then(|name| name.referent())
        && let Some(lock) = sock.arena.try_lock()
    {
        table::bind_name(&lock, sock.index, address(r));
    }
}

/// The other end of a socket about to be connected anew, which will be told that the mailbox's datagrams are thrown away
/// then (unix_dgram_disconnected of Linux); of those that the kernel has it says so itself.
pub fn before_connect(sock: Sock) -> Option<Old> {
    let ep = sock.endpoint().filter(|_| sock.pcb.has(flag::LOCAL))?;
    preserved(|| {
        // A doorbell is nothing that could be lost.
        ep.take_all_doorbells();
        let (index, p) = if ep.rx.has_data() { connected_to(sock)? } else { return None };
        let is_told = call::poll_one(sock.fd, POLLIN, Deadline::NOW) != Ok(0);
        Some(Old { peer: Name::of(index, p), is_told })
    })
}

/// What a socket was connected to.
pub struct Old {
    peer: Name,
    /// Whether the kernel tells it.
    is_told: bool,
}

/// After a connect(2) that succeeded; `before` as above.
pub fn connected(sock: Sock, before: Option<Old>) {
    let Some(old) = before else { return };
    let new = preserved(|| connected_to(sock)).map(|(index, p)| Name::of(index, p));
    if new == Some(old.peer) {
        return;
    }
    forget_mailbox(sock);
    let mine = sock.pcb.addresses().local.inode();
    if let Some(p) = block::pcb(sock.arena, old.peer.index).filter(|p| p.generation.load(Ordering::Acquire) == old.peer.generation)
        && !old.is_told
        && preserved(|| peer_of(p)) == mine
    {
        p.so_error.store(Errno::ECONNRESET.0 as u32, Ordering::Release);
    }
}

/// Throws away what the mailbox holds at this moment.
fn forget_mailbox(sock: Sock) {
    let Some(ep) = sock.endpoint() else { return };
    let head = ep.rx.produced.head.load(Ordering::SeqCst);
    let is_old = || ep.is_current() && ep.rx.consumed.tail.load(Ordering::Relaxed) < head;
    while matches!(record::take_with(ep.rx, sock.arena, sock.me(), is_old, |_, _, _, _| true), Ok(true)) {}
}

fn address(r: Referent) -> Address {
    Address { high: r.high, low: r.low, port: r.hash }
}

/// Sends the datagram in `source` to the socket with name `to`, or to where `sock` is connected.
pub fn send(sock: Sock, source: &Iov, flags: c_int, to: Option<UnixName>, kernel: impl FnOnce() -> Ret) -> Ret {
    pay_back(sock);
    let by_mailbox = flags & libc::MSG_OOB == 0
        && !is_confined()
        && !sock.pcb.has(flag::SENDS_BY_KERNEL | flag::SHUT_WR)
        // What is too large the kernel says.
        && source.left() as u64 + 32 <= packet::sndbuf(sock);
    if let Some(error) = take_error(sock) {
        return Err(error);
    }
    if by_mailbox
        && let Some(target) = receiver(sock, to)
        && let Some(ret) = put(sock, source, target, to)
    {
        return ret;
    }
    let ret = through_kernel(sock, kernel);
    if ret == Err(Errno(libc::ECONNREFUSED)) && to.is_none() {
        // The kernel has dissolved the connection.
        sock.pcb.calls_alone.fetch_add(1, Ordering::SeqCst);
        forget_mailbox(sock);
    }
    ret
}

/// Sends by the program's own call.
#[inline(never)]
pub(super) fn through_kernel(sock: Sock, kernel: impl FnOnce() -> Ret) -> Ret {
    let _sending = SendInKernel::begin(sock);
    sock.pcb.by_kernel.fetch_add(1, Ordering::SeqCst);
    let ret = kernel();
    if let Ok(n) = ret {
        add(&COUNTERS.kernel_tx_bytes, n as u64);
        add(&COUNTERS.kernel_tx_messages, 1);
    }
    ret
}

/// The member that receives what `sock` sends.
fn receiver(sock: Sock, to: Option<UnixName>) -> Option<Target> {
    let to = match to {
        Some(name) => Some(preserved(|| name.referent())?),
        None => None,
    };
    let changes = sock.pcb.calls_alone.load(Ordering::Acquire);
    let epoch = sock.arena.header().datagram_epoch.load(Ordering::Acquire);
    let place = (sock.index as usize ^ to.map_or(0, |r| usize::from(r.hash >> 1))) % KEPT;
    let kept = ROUTES.with(|all| all.get(place).and_then(Cell::get));
    let kept = kept.filter(|r| r.sender == sock.name() && r.changes == changes && r.to == to);
    let mut looks = 0;
    if let Some(route) = kept {
        match route.target {
            Some(target) if is_as_it_was(sock, target) => return Some(target),
            Some(_) => {}
            None if route.epoch == epoch || (route.looks >= LOOKS_FOR_SOMEBODY && now_ns().saturating_sub(route.asked_ns) < NOBODY_NS) => {
                return None;
            }
            None => looks = route.looks,
        }
    }
    let target = preserved(|| look_up(sock, to));
    let route = Route { sender: sock.name(), changes, to, target, epoch, looks: looks.saturating_add(1), asked_ns: now_ns() };
    ROUTES.with(|all| {
        if let Some(cell) = all.get(place) {
            cell.set(Some(route));
        }
    });
    target
}

fn is_as_it_was(sock: Sock, target: Target) -> bool {
    block::pcb(sock.arena, target.name.index)
        .is_some_and(|p| p.generation.load(Ordering::Acquire) == target.name.generation && p.calls_alone.load(Ordering::Acquire) == target.changes)
}

/// The inode of the socket that one is connected to, 0 for none.
fn peer_of(pcb: &Pcb) -> Option<u64> {
    match diag::unix_socket(pcb.addresses().local.inode()?, pcb.cookie.load(Ordering::Relaxed))? {
        UnixSocket::Held { peer } => Some(u64::from(peer)),
        UnixSocket::Gone => None,
    }
}

/// The member's socket that one is connected to.
fn connected_to(sock: Sock) -> Option<(u32, &'static Pcb)> {
    table::by_inode(sock.arena, peer_of(sock.pcb).filter(|&peer| peer != 0)?)
}

#[cold]
fn look_up(sock: Sock, to: Option<Referent>) -> Option<Target> {
    let mine = sock.pcb.addresses().local.inode()?;
    let (index, p) = match to {
        Some(name) => table::by_name(sock.arena, address(name))?,
        None => connected_to(sock)?,
    };
    let changes = p.calls_alone.load(Ordering::Acquire);
    let has_mailbox = p.has(flag::LOCAL) && p.link.load(Ordering::Acquire) != 0 && !p.has(flag::KERNEL_ONLY);
    // Who is connected receives from its other end alone (unix_may_send of Linux).
    let may_send = has_mailbox && peer_of(p).is_some_and(|peer| peer == 0 || peer == mine);
    may_send.then(|| Target { name: Name::of(index, p), changes })
}

/// Whether the datagrams that went through the kernel have been read, or are within a moment.
#[inline]
fn is_past_kernel(sock: Sock) -> bool {
    let begun = sock.pcb.by_kernel.load(Ordering::SeqCst);
    sock.pcb.by_kernel_read.load(Ordering::Relaxed) == begun || await_kernel(sock, begun)
}

#[cold]
fn await_kernel(sock: Sock, begun: u64) -> bool {
    let (pcb, fd) = (sock.pcb, sock.fd);
    // All that had begun is there if nobody is in the middle of it, and read if nothing is there.
    let is_read = || pcb.sends_in_kernel.load(Ordering::SeqCst) == 0 && call::ioctl_int(fd, libc::TIOCOUTQ) == Ok(0);
    let looks = || {
        (0..LOOKS_AT_KERNEL).any(|look| {
            if look > 0 {
                thread::yield_now();
            }
            is_read()
        })
    };
    let read = preserved(looks);
    if read {
        pcb.by_kernel_read.fetch_max(begun, Ordering::SeqCst);
    }
    read
}

fn own_name(sock: Sock) -> UnixName {
    let changes = sock.pcb.calls_alone.load(Ordering::Acquire);
    match OWN.get() {
        Some(own) if own.sender == sock.name() && own.changes == changes => own.name,
        _ => {
            let name = preserved(|| UnixName::own(sock.fd)).unwrap_or(UnixName::empty());
            OWN.set(Some(Own { sender: sock.name(), changes, name }));
            name
        }
    }
}

/// Puts a datagram into its receiver's mailbox. `None` where the kernel shall carry it.
fn put(sock: Sock, source: &Iov, target: Target, to: Option<UnixName>) -> Option<Ret> {
    let mailbox = Mailbox::of(sock.arena, target.name)?;
    if is_abandoned(&mailbox) {
        take_back(sock, &mailbox, to);
    }
    if mailbox.pcb.has(flag::KERNEL_ONLY | flag::SHUT_RD) || !is_past_kernel(sock) || !is_alive(sock, target.name, &mailbox) {
        return None;
    }
    let bytes = source.left();
    let name = own_name(sock);
    mailbox.ring.produced.place.store(crowd::place_again(), Ordering::Relaxed);
    let push = || record::push_named(mailbox.ring, sock.arena, sock.me(), &name, source, mailbox.queue_bytes(), || mailbox.is_open());
    let mut pushed = push();
    if matches!(pushed, Ok(Pushed::Full | Pushed::NoRoom)) {
        pushed = make_room(sock, target.name, &mailbox, record::record_bytes((name.len() + bytes) as u64, false), push);
    }
    match pushed {
        Ok(Pushed::Done(_)) => {}
        Err(Refused::Fault) => return Some(Err(Errno::EFAULT)),
        _ => return None,
    }
    add(&COUNTERS.ring_tx_bytes, bytes as u64);
    add(&COUNTERS.ring_tx_messages, 1);
    SENT.set(SENT.get() + 1);
    if mailbox.wants_doorbell(sock.arena) {
        stats::rang(sock.arena);
        // Where the kernel's queue is full its receiver is not asleep.
        let _ = preserved(|| call::send_doorbell_to(sock.fd, doorbell(sock.arena), to.as_ref()));
    }
    Some(Ok(bytes))
}

fn is_abandoned(mailbox: &Mailbox) -> bool {
    mailbox.ring.control.deaf.load(Ordering::Acquire) == ABANDONED
}

/// Where the receiver that the socket is connected to is now a program that sees no mailbox: takes back what is in there
/// and sends it through the kernel.
#[inline]
pub(super) fn pay_back(sock: Sock) {
    if sock.pcb.has(flag::OWES) {
        sock.pcb.clear(flag::OWES);
        if let Some(mailbox) = preserved(|| connected_to(sock)).and_then(|(index, p)| Mailbox::of(sock.arena, Name::of(index, p))) {
            take_back(sock, &mailbox, None);
            // As much as there was room for; the next call goes on.
            sock.pcb.put(flag::OWES, is_abandoned(&mailbox) && mailbox.is_open() && mailbox.ring.has_data());
        }
    }
}

#[cold]
fn take_back(sock: Sock, mailbox: &Mailbox, to: Option<UnixName>) {
    let send = |header: &Header, ring: *mut u8, size: usize, at: usize| {
        let name = usize::from(header.port).min(header.bytes as usize);
        let sent = call::send_around(sock.fd, ring, size, (at + name) & (size - 1), bytes_of(header), to.as_ref());
        sent != Err(Errno::EAGAIN)
    };
    preserved(|| {
        for _ in 0..ATTEMPTS {
            match record::take_with(mailbox.ring, sock.arena, sock.me(), || mailbox.is_open(), send) {
                Ok(true) => {}
                // The kernel's queue is full.
                _ if mailbox.ring.has_data() && mailbox.is_open() => thread::yield_now(),
                _ => return,
            }
        }
    });
}

/// Before a program without the library gets the socket. A sender that is connected is woken, to take back what it sent.
pub(super) fn hand_over(sock: Sock) {
    let Some(ep) = sock.endpoint() else { return };
    ep.rx.control.deaf.store(ABANDONED, Ordering::SeqCst);
    ep.rx.control.readable.clear();
    preserved(|| {
        ep.take_all_doorbells();
        if ep.rx.has_data()
            && let Some((_, peer)) = connected_to(sock)
        {
            peer.set(flag::OWES);
            // Only a member with a mailbox knows a doorbell.
            if peer.link.load(Ordering::Acquire) != 0 && !peer.has(flag::KERNEL_ONLY) {
                let _ = call::send_doorbell_to(sock.fd, doorbell(sock.arena), None);
            }
        }
    });
}

/// Who sent the datagram that this thread received last by a mailbox.
pub fn came_from() -> UnixName {
    CAME_FROM.get()
}

/// Bytes of a datagram in the mailbox, without the name.
pub(super) fn bytes_of(header: &Header) -> usize {
    (header.bytes as usize).saturating_sub(usize::from(header.port))
}

impl Endpoint {
    pub(super) fn pop_local(&self, sink: &Iov, peek: bool) -> Result<Option<Header>, Refused> {
        let (arena, me, company) = (self.sock.arena, self.sock.me(), self.may_have_company());
        let mut name = [0u8; MOST_BYTES];
        let popped = record::pop_named(self.rx, arena, me, company, &mut name, sink, peek, || self.is_current())?;
        if let Some(header) = &popped {
            CAME_FROM.set(UnixName::of(name.get(..usize::from(header.port)).unwrap_or(&[])));
        }
        Ok(popped)
    }

    /// Takes all the doorbells that come before anything else, also those that others might be woken by.
    fn take_all_doorbells(&self) {
        let _held = self.rx.reader.lock.acquire(self.sock.me().owner(), &System(self.sock.arena));
        while matches!(call::next_datagram(self.sock.fd, doorbell(self.sock.arena), || true), Ok(Datagram::Doorbell)) {}
    }

    /// Whether the kernel is to be looked at before the mailbox.
    pub(super) fn is_kernels_turn_local(&self) -> bool {
        match self.turn_at().load(Ordering::Relaxed) {
            0 => self.sock.pcb.has(flag::KERNEL_NEWS) || self.rx.reader.messages.load(Ordering::Relaxed) % KERNEL_EVERY == KERNEL_EVERY - 1,
            at => self.rx.consumed.tail.load(Ordering::Relaxed).wrapping_add(1) >= at,
        }
    }

    /// The kernel's next datagram has been seen, and the reader's lock is held: whether it may be taken now, or looked at. Else
    /// it may once what the mailbox holds at this moment has been read.
    pub(super) fn may_take_kernels(&self, peek: bool) -> bool {
        let (head, tail) = (self.rx.produced.head.load(Ordering::SeqCst), self.rx.consumed.tail.load(Ordering::Relaxed));
        let at = self.turn_at().load(Ordering::Relaxed);
        let may = head == tail || (at != 0 && tail.wrapping_add(1) >= at);
        match may {
            // What was looked at is what is taken next.
            true if peek => self.turn_at().store(tail.wrapping_add(1), Ordering::Relaxed),
            true => self.end_kernels_turn(),
            false if at == 0 => self.turn_at().store(head.wrapping_add(1), Ordering::Relaxed),
            false => {}
        }
        may
    }

    /// The kernel has nothing, or what was seen there has been taken.
    pub(super) fn end_kernels_turn(&self) {
        self.turn_at().store(0, Ordering::Relaxed);
    }

    /// Where the mailbox has to be read up to before the kernel's datagram that was seen, plus one; 0 where none was. The
    /// word is one that only streams use.
    fn turn_at(&self) -> &AtomicU64 {
        &self.rx.control.urgent
    }
}
