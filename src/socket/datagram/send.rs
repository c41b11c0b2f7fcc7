//! Sending: who receives what goes to an address, and putting it into that one's mailbox.

use core::cell::Cell;

use super::late;
use super::marks::{Marks, Wishes};
use super::*;
use crate::net::links;
use crate::pcb::Circuit;
use crate::pcb::circuit::{End, Link, circuit};
use crate::pcb::reap::{self, Name};
use crate::pcb::tap;
use crate::shm::{arena::joined, blocks, owner};
use crate::socket::{packet, private as socket_private};
use crate::sys::clock::ticks;
use crate::transport::direction::Direction;
use crate::transport::notifier::notifier;
use crate::transport::record::Pushed;
use crate::transport::stream::Refused;

/// What may be queued where the program has set no SO_RCVBUF.
const QUEUE_BYTES: u64 = 1 << 20;
/// The least, however small that is.
const LEAST_QUEUE_BYTES: u64 = 4096;
/// A sender looks no more often than this whether its receiver is alive, in ticks of the processor's clock: some tens of
/// microseconds. Where several processes may hold the socket only the kernel knows, and takes its time.
const ASK_EVERY: u64 = 100_000;
const ASK_EVERY_IF_SHARED: u64 = 2_000_000;
/// One who was known to live less than this ago, and has read since, is not asked about.
const A_MOMENT: u64 = 10_000_000;
/// Attempts to append a segment while other senders are busy.
const ATTEMPTS: u32 = 64;

/// Flags that take a send to the kernel; what is not known UDP ignores. An urgent datagram IPv4 refuses.
const SENT_BY_KERNEL: c_int = libc::MSG_MORE | MSG_PROBE;
const MSG_PROBE: c_int = 0x10;

/// Who receives what a socket sends to an address.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) sender: Name,
    pub(super) to: Address,
    /// As of which state of the table.
    pub(super) epoch: u64,
    /// The sender's own address, as the receiver is told.
    pub from: Address,
    pub(super) target: Option<Name>,
    pub is_v4: bool,
    /// Whether the sender's own address is the receiver's.
    pub(super) is_to_from: bool,
    /// The hop limit where the sender has set none.
    pub hops: u8,
    /// How far the mailbox was filled by the last datagram.
    pub(super) sent_at: u64,
}

const KNOWN: usize = 8;

/// What a sender has seen of a receiver.
#[derive(Clone, Copy)]
struct Seen {
    target: u32,
    /// When it was last known to live (`sys::clock::ticks`).
    asked: u64,
    /// How far it had read then.
    tail: u64,
    /// How far it had read when its mailbox was last full and stayed so.
    full_tail: u64,
}

impl Seen {
    fn of(target: Name) -> Seen {
        let seen = SEEN.with(|all| all.get(target.index as usize % KNOWN).map(Cell::get));
        seen.filter(|s| s.target == target.index).unwrap_or(Seen { target: target.index, asked: 0, tail: u64::MAX, full_tail: u64::MAX })
    }

    fn keep(self) {
        SEEN.with(|all| {
            if let Some(cell) = all.get(self.target as usize % KNOWN) {
                cell.set(self);
            }
        });
    }
}

thread_local! {
    static ALL_KNOWN: [Cell<Option<Known>>; KNOWN] = const { [const { Cell::new(None) }; KNOWN] };
    static LAST_TARGET: Cell<Option<Known>> = const { Cell::new(None) };
    /// Datagrams that this thread has put into mailboxes.
    pub(super) static SENT: Cell<u64> = const { Cell::new(0) };
    /// When receivers were last known to live, and how far they had read, by their PCB's number.
    static SEEN: [Cell<Seen>; KNOWN] = const { [const { Cell::new(Seen { target: 0, asked: 0, tail: 0, full_tail: u64::MAX }) }; KNOWN] };
}

/// Sends the datagram in `source` to `to`, or to where the socket is connected; `kernel` makes the program's own call.
#[inline]
pub fn send(sock: Sock, source: &Iov, flags: c_int, to: Option<Address>, kernel: impl FnOnce() -> Ret) -> Ret {
    send_with(sock, source, flags, to, Wishes::default(), kernel)
}

/// The same with ancillary data.
#[inline]
pub fn send_with(sock: Sock, source: &Iov, flags: c_int, to: Option<Address>, wishes: Wishes, kernel: impl FnOnce() -> Ret) -> Ret {
    if sock.pcb.has(flag::LOCAL) {
        return local::send(sock, source, flags, None, kernel);
    }
    if sock.pcb.is_private() {
        return private::send(sock, source, flags, to, wishes);
    }
    if flags & SENT_BY_KERNEL == 0
        && !is_confined()
        && (flags & libc::MSG_OOB == 0 || sock.pcb.has(flag::INET6))
        && source.left() <= record::MOST_BYTES
        && !sock.pcb.has(flag::SENDS_BY_KERNEL | flag::CORKED | flag::SHUT_WR)
        && let Some(known) = receiver(sock, to)
        && wishes.allow(sock, &known)
        && let Some(ret) = put(sock, source, known, wishes.marks, to.is_none())
    {
        return ret;
    }
    through_kernel(sock, flags, kernel)
}

/// The member that receives what `sock` sends to `to`.
#[inline]
pub(super) fn receiver(sock: Sock, to: Option<Address>) -> Option<Known> {
    let key = sock.pcb.addresses();
    let to = match to {
        Some(to) => to,
        None if key.remote.port != 0 => key.remote,
        None => return None,
    };
    let epoch = sock.arena.header().datagram_epoch.load(Ordering::Acquire);
    let place = (to.low as usize ^ usize::from(to.port) ^ usize::from(to.port >> 3) ^ sock.index as usize) % KNOWN;
    let found = ALL_KNOWN.with(|all| all.get(place).and_then(Cell::get));
    if let Some(known) = found.filter(|k| k.to == to && k.epoch == epoch && k.sender == sock.name()) {
        return known.target.map(|_| known);
    }
    let known = preserved(|| look_up(sock, key, to, epoch));
    ALL_KNOWN.with(|all| {
        if let Some(cell) = all.get(place) {
            cell.set(Some(known));
        }
    });
    known.target.map(|_| known)
}

#[cold]
fn look_up(sock: Sock, key: Key, to: Address, epoch: u64) -> Known {
    if sock.pcb.is_private() {
        return private::look_up(sock, key, to, epoch);
    }
    let crosses = sock.pcb.has(flag::V6ONLY) && matches!(to.ip(), IpAddr::V4(_));
    let from = if crosses { None } else { source_address(key, to) };
    // What belongs to an interface is told with that.
    let has_scope = |a: Address| matches!(a.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
    let from = from.filter(|&from| !has_scope(from) && !has_scope(to));
    let target = from.and_then(|from| table::datagram(sock.arena, (0, 0), to, from)).and_then(|(index, p)| {
        let has_mailbox = p.link.load(Ordering::Acquire) != 0 && !p.has(flag::KERNEL_ONLY);
        let is_local = to.ip().is_loopback() || p.addresses().local == to;
        (has_mailbox && is_local && !p.has(flag::NOT_ALONE)).then(|| {
            // What went to it through the kernel before comes first.
            p.set(flag::KERNEL_NEWS);
            Name::of(index, p)
        })
    });
    let is_v4 = matches!(to.ip(), IpAddr::V4(_));
    let hops = if target.is_some() { marks::default_hops(sock, is_v4) } else { 0 };
    Known {
        sender: sock.name(),
        to,
        epoch,
        from: from.unwrap_or_default(),
        target,
        is_v4,
        is_to_from: from.is_some_and(|from| from.ip() == to.ip()),
        hops,
        sent_at: 0,
    }
}

/// The address that a datagram to `to` is sent from, where that is known without the kernel's routes.
fn source_address(key: Key, to: Address) -> Option<Address> {
    if key.local.port == 0 || to.port == 0 {
        return None;
    }
    let is_v4 = |a: Address| matches!(a.ip(), IpAddr::V4(_));
    if !key.local.is_any() {
        // What is bound to an address of one family does not send to one of the other.
        return (is_v4(key.local) == is_v4(to)).then_some(key.local);
    }
    let ip = match to.ip() {
        IpAddr::V4(v4) if v4.is_loopback() => IpAddr::from([127, 0, 0, 1]),
        v6 @ IpAddr::V6(_) if v6.is_loopback() => v6,
        _ => return None,
    };
    Some(Address::new(ip, key.local.port))
}

/// A receiver's mailbox.
pub(super) struct Mailbox {
    pub pcb: &'static Pcb,
    pub link: Link,
    pub ring: &'static Direction,
    /// Where datagrams wait that are late.
    pub under_way: &'static Direction,
    circuit: &'static Circuit,
}

impl Mailbox {
    pub fn of(arena: &'static Arena, name: Name) -> Option<Mailbox> {
        let pcb = block::pcb(arena, name.index).filter(|p| p.generation.load(Ordering::Acquire) == name.generation)?;
        let link = Link::of(pcb.link.load(Ordering::Acquire))?;
        let circuit = circuit(arena, link.circuit)?;
        Some(Mailbox { pcb, link, ring: circuit.from_side(1), under_way: circuit.from_side(0), circuit })
    }

    pub fn is_open(&self) -> bool {
        self.circuit.generation.load(Ordering::Acquire) == self.link.generation
            && self.circuit.end(0) == End::Open
            && self.circuit.is_mailbox.load(Ordering::Relaxed) == 1
    }

    /// After a datagram was put there: notifies who waits for it in an event loop; whether somebody is to be rung for.
    #[inline]
    pub fn wants_doorbell(&self, arena: &Arena) -> bool {
        let Some(wishes) = self.ring.control.readable.take() else { return false };
        let is_missed = |(number, bit)| notifier(arena, number).is_none_or(|n| n.post(bit));
        wishes.notify().is_some_and(is_missed) | wishes.doorbell()
    }

    pub fn queue_bytes(&self) -> u64 {
        queue_bytes(self.pcb)
    }
}

/// How much a socket's mailbox holds.
pub(super) fn queue_bytes(pcb: &Pcb) -> u64 {
    match pcb.rcvbuf.load(Ordering::Relaxed) {
        // What does not fit goes on through the kernel.
        _ if pcb.has(flag::LOCAL) => packet::QUEUE_BYTES,
        0 => QUEUE_BYTES,
        set => u64::from(set).max(LEAST_QUEUE_BYTES),
    }
}

/// What a thread knows of the others that send to the mailbox it sends to.
#[derive(Clone, Copy)]
struct Turn {
    has_rivals: bool,
    /// Datagrams since the last of a rival's.
    sent: u32,
}

thread_local! {
    static TURN: Cell<Turn> = const { Cell::new(Turn { has_rivals: false, sent: 0 }) };
}

/// So many datagrams one sends while others want to.
const TURN_DATAGRAMS: u32 = 32;

/// Puts a datagram into its receiver's mailbox. `None` where the kernel shall carry it.
#[inline]
pub(super) fn put(sock: Sock, source: &Iov, known: Known, wished: Marks, is_connected: bool) -> Option<Ret> {
    let target = known.target?;
    if sock.pcb.has(flag::ERROR_DUE) {
        sock.pcb.clear(flag::ERROR_DUE);
        if preserved(|| has_error(sock)) {
            return None;
        }
    }
    let mailbox = Mailbox::of(sock.arena, target)?;
    if !is_alive(sock, target, &mailbox) {
        return None;
    }
    let bytes = source.left();
    let (hops, class) = marks::of(sock, &known, wished);
    let header = Header { bytes: bytes as u32, port: known.from.port, hops, class, high: known.from.high, low: known.from.low };
    let more = if mailbox.pcb.has(flag::ASKS) || !known.is_to_from { Some(told::more(mailbox.pcb, mailbox.ring, known.to)) } else { None };
    let has_more = more.is_some();
    let told = |fate, late_ns| {
        if tap::is_on(sock.arena) && mailbox.is_open() {
            tell(sock, &known, &mailbox, (hops, class), (fate, late_ns), source);
        }
    };
    if links::any(sock.arena)
        && let Some(sent) = late::send(sock, source, target, &mailbox, (header, more.as_ref()), told)
    {
        return sent.then_some(Ok(bytes));
    }
    told(tap::Fate::Arrives, 0);
    mailbox.ring.produced.place.store(crowd::place_again(), Ordering::Relaxed);
    let push =
        || record::push_with(mailbox.ring, sock.arena, sock.me(), (header, more.as_ref()), source, mailbox.queue_bytes(), || mailbox.is_open());
    let mut pushed = push();
    if matches!(pushed, Ok(Pushed::Full | Pushed::NoRoom)) {
        pushed = make_room(sock, target, &mailbox, record::record_bytes(bytes as u64, has_more), push);
    }
    let sent_at = match pushed {
        Ok(Pushed::Done(at)) => at,
        Ok(Pushed::Full | Pushed::NoRoom) => {
            Seen { full_tail: mailbox.ring.consumed.tail.load(Ordering::Relaxed), ..Seen::of(target) }.keep();
            mailbox.ring.writer.fulls.fetch_add(1, Ordering::Relaxed);
            add(&COUNTERS.drops, 1);
            return Some(Ok(bytes));
        }
        Ok(Pushed::Gone) | Err(Refused::Damaged) => return None,
        Err(Refused::Fault) => return Some(Err(Errno::EFAULT)),
    };
    add(&COUNTERS.ring_tx_bytes, bytes as u64);
    add(&COUNTERS.ring_tx_messages, 1);
    SENT.set(SENT.get() + 1);
    let is_next = LAST_TARGET.get().is_some_and(|last| last.sent_at.wrapping_add(record::record_bytes(bytes as u64, has_more)) == sent_at);
    take_turns(is_next);
    LAST_TARGET.set(Some(Known { sent_at, ..known }));
    if mailbox.wants_doorbell(sock.arena) {
        preserved(|| ring(sock, target, (!is_connected).then_some(known.to)));
    }
    Some(Ok(bytes))
}

/// Tells captures of a datagram that is on its way.
#[cold]
fn tell(sock: Sock, known: &Known, mailbox: &Mailbox, (hops, class): (u8, u8), fate: (tap::Fate, u64), source: &Iov) {
    // The server of names is on no host.
    let is_answer = sock.pcb.is_private() && socket_private::is_question(sock.arena, known.from);
    let from_host = if is_answer { 0 } else { sock.pcb.host.load(Ordering::Relaxed) };
    let hosts = [from_host, mailbox.pcb.host.load(Ordering::Relaxed)];
    let protocol = tap::protocol_of(sock.pcb, libc::IPPROTO_UDP);
    let datagram = tap::Datagram { protocol, from: known.from, to: known.to, hops, class, hosts, receiver: Some(mailbox.pcb) };
    datagram.tell_of(sock.arena, tap::Kind::Datagram, fate, source);
}

/// Several that send to one mailbox take turns, or each would have it to itself for as long as the kernel lets it run.
/// `is_next` where nobody else's datagram came before the last one.
#[inline]
fn take_turns(is_next: bool) {
    let turn = TURN.get();
    TURN.set(match () {
        () if !is_next => Turn { has_rivals: true, sent: 0 },
        () if turn.sent < TURN_DATAGRAMS => Turn { sent: turn.sent + 1, ..turn },
        () => {
            if turn.has_rivals {
                thread::yield_now();
            }
            Turn { has_rivals: false, sent: 0 }
        }
    });
}

/// Another segment, or a moment for the receiver: loopback's queue is emptied while the sender is still in the kernel.
#[cold]
#[inline(never)]
pub(super) fn make_room(
    sock: Sock,
    target: Name,
    mailbox: &Mailbox,
    need: u64,
    push: impl Fn() -> Result<Pushed, Refused>,
) -> Result<Pushed, Refused> {
    let ring = mailbox.ring;
    let peer = Peer::of(crowd::place(1), ring.consumed.place.load(Ordering::Relaxed));
    let mut has_waited = false;
    for _ in 0..ATTEMPTS {
        match push() {
            Ok(Pushed::NoRoom) => {
                let next = (stream::class(ring) + 1).min(blocks::LARGEST);
                let mut fitting = (0..=next).rev().filter(|&class| blocks::bytes_of(class) >= need);
                let mut larger = (next..=blocks::LARGEST).filter(|&class| blocks::bytes_of(class) >= need);
                let append = |class| stream::append(ring, sock.arena, sock.me(), class, mailbox.link.circuit, || mailbox.is_open());
                if !fitting.any(append) && !larger.any(append) {
                    if ring.queued() == Some(0) || has_waited {
                        thread::yield_now();
                        continue;
                    }
                    has_waited = true;
                    spin::until(peer, || ring.queued().is_none_or(|n| n == 0));
                }
            }
            // One that has read nothing since it was last waited for in vain is not waited for again.
            Ok(Pushed::Full) if !has_waited && ring.consumed.tail.load(Ordering::Relaxed) != Seen::of(target).full_tail => {
                has_waited = true;
                let enough = mailbox.queue_bytes() / 2;
                spin::until(peer, || ring.queued().is_none_or(|n| n.saturating_add(need) <= enough.max(need)));
            }
            other => return other,
        }
    }
    Ok(Pushed::Full)
}

/// Rings the doorbell of `target`, who receives what is sent to `to`, or to where the socket is connected.
fn ring(sock: Sock, target: Name, to: Option<Address>) {
    stats::rang(sock.arena);
    if sock.pcb.is_private() {
        return private::ring(sock, target);
    }
    let to = to.map(|a| options::for_program(sock, a));
    let words = doorbell(sock.arena);
    // An error of an earlier datagram's is told instead, once.
    if call::send_doorbell(sock.fd, words, to).is_err() {
        sock.pcb.set(flag::KERNEL_NEWS);
        let _ = call::send_doorbell(sock.fd, words, to);
    }
}

/// Whether somebody holds the receiver's socket, as of a moment ago; where nobody does any more it is released.
#[inline]
pub(super) fn is_alive(sock: Sock, target: Name, mailbox: &Mailbox) -> bool {
    let every = if mailbox.pcb.has(flag::SHARED) { ASK_EVERY_IF_SHARED } else { ASK_EVERY };
    ticks().wrapping_sub(Seen::of(target).asked) < every || is_alive_now(sock, target, mailbox)
}

#[cold]
fn is_alive_now(sock: Sock, target: Name, mailbox: &Mailbox) -> bool {
    let tail = mailbox.ring.consumed.tail.load(Ordering::Relaxed);
    let (seen, now) = (Seen::of(target), ticks());
    Seen { asked: now, tail, ..seen }.keep();
    preserved(|| {
        let (arena, pcb) = (sock.arena, mailbox.pcb);
        // Who has read a moment ago lives; a process that is dead and not yet waited for reads nothing any more.
        let reads = tail != seen.tail || !mailbox.ring.has_data();
        let is_there = reads
            && if pcb.has(flag::SHARED) {
                tail != seen.tail && now.wrapping_sub(seen.asked) < A_MOMENT
            } else {
                !owner::pid_is_gone(arena, pcb.owner.load(Ordering::Relaxed))
            };
        let is_held = is_there || reap::is_held_by_any(arena, pcb);
        if !is_held {
            reap::release(arena, target, End::Clean);
        }
        is_held
    })
}

/// Before a sleep, on whatever: where the one that this thread last sent to died without having read it, it may have been
/// dead before; the kernel shall say so. True where that is to be looked at again soon.
pub fn provoke_the_dead() -> bool {
    let Some(last) = LAST_TARGET.get() else { return false };
    let Some(arena) = joined() else { return false };
    let fd = block::pcb(arena, last.sender.index).map_or(-1, |p| p.fd.load(Ordering::Relaxed) as c_int);
    let Some(sock) = Sock::find(arena, last.sender.index, last.sender.generation, fd) else { return false };
    let Some((target, mailbox)) = last.target.and_then(|t| Some((t, Mailbox::of(arena, t)?))) else { return false };
    let tail = mailbox.ring.consumed.tail.load(Ordering::Relaxed);
    if !mailbox.is_open() || tail >= last.sent_at {
        return false;
    }
    let has_read = tail != Seen::of(target).tail;
    if !is_alive_now(sock, target, &mailbox) {
        LAST_TARGET.set(None);
        if sock.pcb.is_private() {
            private::told_of_death(sock);
            return true;
        }
        let is_connected = sock.pcb.addresses().remote == last.to;
        preserved(|| ring(sock, last.target.unwrap_or(last.sender), (!is_connected).then_some(last.to)));
    }
    has_read
}

/// Whether the kernel has an error to tell.
pub(super) fn has_error(sock: Sock) -> bool {
    call::poll_one(sock.fd, 0, Deadline::NOW).is_ok_and(|bits| bits & POLLERR != 0)
}

/// Sends by the program's own call.
#[inline(never)]
pub fn through_kernel(sock: Sock, flags: c_int, kernel: impl FnOnce() -> Ret) -> Ret {
    if sock.pcb.has(flag::LOCAL) {
        return local::through_kernel(sock, kernel);
    }
    let ret = kernel();
    if let Ok(n) = ret {
        add(&COUNTERS.kernel_tx_bytes, n as u64);
        add(&COUNTERS.kernel_tx_messages, 1);
    }
    let pcb = sock.pcb;
    pcb.put(flag::CORKED, flags & libc::MSG_MORE != 0 && ret.is_ok());
    // An answer that says that nobody is there may have come by now.
    pcb.set(flag::ERROR_DUE);
    if pcb.addresses().local.port == 0 {
        preserved(|| named(sock));
    }
    ret
}
