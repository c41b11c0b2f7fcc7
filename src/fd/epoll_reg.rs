//! One registration of an epoll instance: how it is watched, what it is to report, and what it has asked of the
//! senders.

use core::sync::atomic::Ordering;
use libc::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, c_int};

use crate::pcb::block::flag;
use crate::socket::{Endpoint, Sock, sleepers};
use crate::sys::call;
use crate::sys::clock::Deadline;
use crate::transport::direction::NEVER;
use crate::transport::notifier;

/// What the kernel keeps as the data of a registration of ours: a mark that tells it from a program's, then generation
/// and index.
pub fn token(index: u32, generation: u32) -> u64 {
    MARK << 40 | u64::from(generation & 0xffff) << 24 | u64::from(index & 0xff_ffff)
}

/// A program's own data that look like a token are not given to the kernel.
pub fn is_token(data: u64) -> bool {
    data >> 40 == MARK
}

pub fn index_of(token: u64) -> u32 {
    token as u32 & 0xff_ffff
}

const MARK: u64 = 0xa11d1e;

/// How the anchor of a ring socket is registered.
pub const ANCHOR_EVENTS: u32 = (EPOLLIN | EPOLLPRI | EPOLLRDHUP) as u32 | EPOLLET as u32;
/// The same with the writable edge. It comes at once, which makes a sleeping wait look again; and while the socket sends
/// through the kernel it tells that there is room.
pub const KICK_EVENTS: u32 = ANCHOR_EVENTS | EPOLLOUT as u32;

/// Always reported.
const ALWAYS: u32 = (EPOLLERR | EPOLLHUP) as u32;
/// What an epoll instance can be.
const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDNORM) as u32;

/// How a registration is watched.
#[derive(Clone, Copy)]
pub enum Watch {
    /// By the kernel alone, with a token because the program's data look like one.
    Kernel,
    /// By the kernel, but the socket may come to the ring.
    Unjoined(Sock),
    Ring(Endpoint),
    /// Another epoll instance that has sockets.
    Nested(u32),
    /// Another one that has none yet: the kernel's affair, with the program's own data.
    NestedInKernel(u32),
}

/// What makes an edge.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    head: u64,
    end: u32,
}

impl Progress {
    fn of(endpoint: &Endpoint) -> Progress {
        Progress { head: endpoint.rx.produced.head.load(Ordering::Acquire), end: endpoint.end_code() }
    }
}

/// One registration.
pub struct Reg {
    /// A descriptor of the file.
    pub fd: c_int,
    /// The one it was registered by, which the kernel knows it by; the same unless that was closed.
    pub number: c_int,
    /// Counts the uses of this entry; part of the token.
    pub generation: u32,
    pub in_use: bool,
    /// Not in use, but kept by the kernel, for when it is added again.
    pub is_parked: bool,
    /// The kernel told something while it was parked.
    pub missed: bool,
    pub events: u32,
    pub data: u64,
    pub watch: Watch,
    /// A one-shot registration that has fired.
    pub disabled: bool,
    /// News since the last report (edge-triggered).
    pub edge: bool,
    /// How far the other end had come at the last report, and at the last look.
    pub told: Progress,
    pub looked: Progress,
    pub is_hot: bool,
    /// The kernel's part has the writable edge, which is always there (`KICK_EVENTS`).
    pub is_kicked: bool,
    pub is_armed: bool,
    pub quiet: u32,
    /// When it was last reported (`sys::clock::ticks`), while it has been ready ever since: level-triggered, it then
    /// went behind all others. Else 0.
    pub told_at: u64,
    /// Threads that sleep in an inner instance by way of this registration.
    pub sleeping: u32,
    /// How far an inner instance had come at the last report (edge-triggered).
    pub pulse: u64,
    /// The generation of the socket's PCB.
    pub socket: u32,
    /// The head of the receiving direction when nothing was ready; `NOT_IDLE` where that is to be worked out.
    pub idle_head: u64,
    /// When something of it is due that nobody wakes for; `NEVER` where the set keeps no note of it.
    pub due_ns: u64,
}

/// No head is ever this.
pub const NOT_IDLE: u64 = u64::MAX;
/// Every so many looks all of a quiet socket's state is looked at, not its head alone.
const WHOLE_LOOK_EVERY: u32 = 16;

impl Reg {
    /// Its socket is to be reached by another descriptor.
    pub fn move_to(&mut self, other: Sock) {
        self.fd = other.fd;
        match &mut self.watch {
            Watch::Ring(endpoint) => endpoint.sock = other,
            Watch::Unjoined(sock) => *sock = other,
            _ => {}
        }
    }

    /// Takes the writable edge back from the kernel's part `token` in `ep`, once it has woken those whom it should.
    pub fn calm(&mut self, ep: c_int, token: u64) {
        if self.sends_by_kernel() {
            return;
        }
        if core::mem::take(&mut self.is_kicked) && self.fd == self.number {
            let _ = call::epoll_ctl(ep, libc::EPOLL_CTL_MOD, self.fd, ANCHOR_EVENTS, token);
        }
    }

    /// Whether only the kernel can say that there is room to send.
    pub fn sends_by_kernel(&self) -> bool {
        self.would_send_by_kernel(self.events)
    }

    /// The same with other events.
    pub fn would_send_by_kernel(&self, events: u32) -> bool {
        matches!(self.watch, Watch::Ring(endpoint) if sends_by_kernel(&endpoint, events))
    }

    pub fn is_edge_triggered(&self) -> bool {
        self.events & EPOLLET as u32 != 0
    }

    /// Takes back what was asked of the senders.
    pub fn disarm(&mut self, notifier: u32) {
        if let Watch::Ring(endpoint) = self.watch
            && self.is_armed
            && notifier != 0
        {
            endpoint.rx.control.readable.disarm(notifier);
            endpoint.tx.control.writable.disarm(notifier);
            self.is_armed = false;
        }
    }

    /// The events to report now.
    #[inline(always)]
    pub fn look(&mut self) -> u32 {
        let Watch::Ring(endpoint) = &self.watch else { return 0 };
        if !self.in_use {
            return 0;
        }
        endpoint.land();
        // Whatever makes a quiet socket ready either moves the head or comes with an event of the kernel's.
        let head = endpoint.rx.produced.head.load(Ordering::SeqCst);
        if head == self.idle_head && endpoint.rx.produced.fin.load(Ordering::SeqCst) == 0 && !self.quiet.is_multiple_of(WHOLE_LOOK_EVERY) {
            return 0;
        }
        let found = self.look_at_all();
        let may_be_skipped = found == 0 && self.events & EPOLLOUT as u32 == 0;
        self.idle_head = if may_be_skipped { head } else { NOT_IDLE };
        found
    }

    fn look_at_all(&mut self) -> u32 {
        let Watch::Ring(endpoint) = self.watch else { return 0 };
        if self.disabled {
            return 0;
        }
        if self.is_edge_triggered() && !self.has_edge(&endpoint) {
            return 0;
        }
        let ready = endpoint.readiness();
        let mut bits = ready.bits as u16 as u32;
        let ask = ready.ask & self.events as i16;
        if ask != 0 {
            bits |= call::poll_one(self.fd, ask, Deadline::NOW).map_or(0, |b| b as u16 as u32 & ask as u16 as u32);
        }
        bits & (self.events | ALWAYS)
    }

    /// Whether anything came since the last report of an edge-triggered registration.
    fn has_edge(&mut self, endpoint: &Endpoint) -> bool {
        // Before readiness is looked at: what comes after this is another edge.
        self.looked = Progress::of(endpoint);
        if self.events & EPOLLOUT as u32 != 0 && endpoint.sock.pcb.has(flag::NO_SPACE) && !endpoint.sends_by_kernel() && endpoint.is_writable() {
            endpoint.sock.pcb.clear(flag::NO_SPACE);
            self.edge = true;
        }
        self.edge |= self.looked != self.told;
        self.edge
    }

    /// Its place among others that are ready: the kernel reports in the order in which they became so.
    pub fn place(&self) -> u64 {
        match self.watch {
            Watch::Ring(_) if self.told_at != 0 => self.told_at,
            Watch::Ring(endpoint) => endpoint.rx.produced.came_at.load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// Whether an inner instance that is ready and has come as far as `pulse` is to be reported.
    pub fn reports_inner(&self, pulse: impl FnOnce() -> u64) -> bool {
        !self.disabled && self.events & READABLE != 0 && (!self.is_edge_triggered() || self.pulse != pulse())
    }

    /// What an inner instance that is ready is reported as.
    pub fn inner_event(&self) -> libc::epoll_event {
        libc::epoll_event { events: self.events & READABLE, u64: self.data }
    }

    /// What the last look found is reported.
    pub fn reported(&mut self) {
        self.quiet = 0;
        self.edge = false;
        self.told = self.looked;
        if self.events & EPOLLONESHOT as u32 != 0 {
            self.disabled = true;
        }
    }

    /// Asks for the next news. False if there is something to report at once.
    pub fn arm(&mut self, number: u32, index: u32) -> bool {
        let Watch::Ring(endpoint) = self.watch else { return true };
        endpoint.sock.pcb.watch_from(endpoint.sock.me().slot());
        let has_bit = number != 0 && index < notifier::BITS;
        if !has_bit || !endpoint.rx.control.readable.arm(number, index) {
            // No bit to be had: the doorbell is rung for every arrival.
            sleepers::by_word();
            endpoint.rx.control.readable.declare_asleep();
        }
        self.is_armed = true;
        self.idle_head = NOT_IDLE;
        if self.events & EPOLLOUT as u32 != 0 && (!endpoint.is_writable() || endpoint.sock.pcb.has(flag::NO_SPACE)) {
            endpoint.tx.writer.wake_at.store(endpoint.wake_point(), Ordering::SeqCst);
            if !has_bit || !endpoint.tx.control.writable.arm(number, index) {
                endpoint.tx.control.writable.declare_asleep();
            }
        }
        self.look() == 0
    }

    /// Notes when something of it is due that nobody wakes for; whether that is so for the first time.
    pub fn becomes_late(&mut self) -> bool {
        let before = self.due_ns;
        match self.watch {
            Watch::Ring(endpoint) if self.in_use && !self.disabled => self.due_ns = endpoint.next_due(),
            // It is found out of use when that is due.
            _ => {}
        }
        if before != NEVER && self.due_ns == NEVER {
            self.due_ns = 0;
        }
        before == NEVER && self.due_ns != NEVER
    }

    /// Whether the end of the connection may go unnoticed in a sleep (`Endpoint::may_miss_death`).
    pub fn needs_looks(&self) -> bool {
        match self.watch {
            Watch::Ring(endpoint) => {
                self.in_use && ((!self.disabled && endpoint.may_miss_death() && !endpoint.is_writable()) || endpoint.owes_kernel())
            }
            _ => false,
        }
    }
}

/// Whether only the kernel can say that there is room to send; of a mailbox's owner, whose room always is the kernel's, only
/// where that is to be told.
pub fn sends_by_kernel(endpoint: &Endpoint, events: u32) -> bool {
    endpoint.sends_by_kernel() && (events & libc::EPOLLOUT as u32 != 0 || !endpoint.is_mailbox())
}
