//! The descriptor table: one word a descriptor, looked up by every call.
//!
//! | bits | meaning |
//! |---|---|
//! | 0..8 | 0: not looked at yet; 1: none of ours; 2: stream socket; 3: epoll instance; 4: datagram socket |
//! | 8..32 | PCB, or number of the instance |
//! | 32..56 | generation of the PCB |
//!
//! A descriptor that came by another way than our calls (exec, SCM_RIGHTS) is recognised at its first use
//! by its socket's cookie. Whatever hands out or retires a descriptor resets its word.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use libc::c_int;
use once_cell::sync::OnceCell;

use super::epoll;
use crate::pcb::block::flag;
use crate::pcb::reap::Name;
use crate::shm::arena;
use crate::socket::end::{self, Closing};
use crate::socket::{Sock, datagram, life, route, unix};
use crate::sys::{call, slots, thread};

/// Descriptors beyond this are the kernel's.
const MOST: usize = 1 << 20;

static TABLE: OnceCell<&'static [AtomicU64]> = OnceCell::new();
/// One past the highest descriptor that ever was ours.
static HIGH: AtomicUsize = AtomicUsize::new(0);

const UNKNOWN: u64 = 0;
const PLAIN: u64 = 1;
const STREAM: u64 = 2;
const EPOLL: u64 = 3;
const DATAGRAM: u64 = 4;

/// What a descriptor is.
#[derive(Clone, Copy)]
pub enum Entry {
    Plain,
    Stream(Sock),
    Datagram(Sock),
    Epoll(u32),
}

impl Entry {
    /// The socket, of whatever kind.
    pub fn socket(self) -> Option<Sock> {
        match self {
            Entry::Stream(sock) | Entry::Datagram(sock) => Some(sock),
            Entry::Plain | Entry::Epoll(_) => None,
        }
    }

    fn of(sock: Sock) -> Entry {
        if sock.pcb.has(flag::DATAGRAM) { Entry::Datagram(sock) } else { Entry::Stream(sock) }
    }
}

#[inline(always)]
fn word(fd: c_int) -> Option<&'static AtomicU64> {
    TABLE.get_or_init(|| slots::zeroed(MOST)).get(usize::try_from(fd).ok()?)
}

fn put(fd: c_int, value: u64) {
    if let Some(w) = word(fd).filter(|_| !thread::borrows_memory()) {
        w.store(value, Ordering::Release);
        if value > PLAIN {
            HIGH.fetch_max(fd as usize + 1, Ordering::Relaxed);
        }
    }
}

fn socket_word(sock: Sock) -> u64 {
    let (kind, name) = (if sock.pcb.has(flag::DATAGRAM) { DATAGRAM } else { STREAM }, sock.name());
    word_of(kind, name)
}

fn word_of(kind: u64, name: Name) -> u64 {
    kind | u64::from(name.index & 0xff_ffff) << 8 | u64::from(name.generation & 0xff_ffff) << 32
}

/// The meaning of a word that says something, `None` for one that is stale or says nothing.
#[inline(always)]
fn decode(fd: c_int, value: u64) -> Option<Entry> {
    let number = (value >> 8) as u32 & 0xff_ffff;
    match value & 0xff {
        PLAIN => Some(Entry::Plain),
        STREAM => Some(Entry::Stream(Sock::find(arena()?, number, (value >> 32) as u32, fd)?)),
        DATAGRAM => Some(Entry::Datagram(Sock::find(arena()?, number, (value >> 32) as u32, fd)?)),
        EPOLL => Some(Entry::Epoll(number)),
        _ => None,
    }
}

/// What `fd` is.
#[inline(always)]
pub fn lookup(fd: c_int) -> Entry {
    let Some(w) = word(fd) else { return Entry::Plain };
    decode(fd, w.load(Ordering::Acquire)).unwrap_or_else(|| classify(fd))
}

/// The stream socket `fd` is, if it is one of ours.
#[inline(always)]
pub fn stream(fd: c_int) -> Option<Sock> {
    match lookup(fd) {
        Entry::Stream(sock) => Some(sock),
        _ => None,
    }
}

/// The socket `fd` is, of whatever kind, if it is one of ours.
#[inline]
pub fn socket(fd: c_int) -> Option<Sock> {
    lookup(fd).socket()
}

/// Looks at a descriptor for the first time.
#[cold]
#[inline(never)]
fn classify(fd: c_int) -> Entry {
    let entry = crate::sys::errno::preserved(|| life::adopt(fd)).map_or(Entry::Plain, Entry::of);
    match entry {
        Entry::Stream(sock) | Entry::Datagram(sock) => set_socket(fd, sock),
        // What is not open may be opened by anybody.
        _ if call::file_flags(fd).is_err() => {}
        _ => put(fd, PLAIN),
    }
    entry
}

/// `fd` is a socket.
pub fn set_socket(fd: c_int, sock: Sock) {
    put(fd, socket_word(sock));
}

/// `fd` is an epoll instance.
pub fn set_epoll(fd: c_int, number: u32) {
    put(fd, EPOLL | u64::from(number) << 8);
}

/// `fd` is new, and none of ours.
pub fn set_plain(fd: c_int) {
    put(fd, PLAIN);
}

/// `fd` was handed out or retired behind our back: it is looked at again.
pub fn forget(fd: c_int) {
    put(fd, UNKNOWN);
}

/// `fd` was handed out by a call of another kind: one of ours that had the number was closed behind our back.
pub fn abandon(fd: c_int) {
    if word(fd).is_some_and(|w| w.load(Ordering::Relaxed) > PLAIN) {
        retire(fd).finish();
    }
}

/// What is to be done after a descriptor was closed.
pub enum Retired {
    Nothing,
    Stream(Closing),
}

impl Retired {
    pub fn finish(self) {
        if let Retired::Stream(closing) = self {
            closing.finish();
        }
    }
}

/// Before `fd` is closed, by whatever call.
pub fn retire(fd: c_int) -> Retired {
    let Some(w) = word(fd).filter(|_| !thread::borrows_memory()) else { return Retired::Nothing };
    let entry = decode(fd, w.swap(UNKNOWN, Ordering::AcqRel));
    match entry {
        Some(Entry::Stream(sock) | Entry::Datagram(sock)) => {
            // The kernel keeps a registration while any descriptor of the socket is open.
            let other = if sock.pcb.descriptors.load(Ordering::Relaxed) > 1 { sockets().find(|s| s.index == sock.index) } else { None };
            match other {
                Some(other) => epoll::rehome(fd, other),
                None => epoll::forget(fd),
            }
            end::begin_close(sock).map_or(Retired::Nothing, Retired::Stream)
        }
        Some(Entry::Epoll(number)) => {
            epoll::close(number);
            if let Some(other) = epolls().find(|&(_, n)| n == number).map(|(fd, _)| fd) {
                epoll::move_to(number, other);
            }
            epoll::forget(fd);
            Retired::Nothing
        }
        _ => {
            epoll::forget(fd);
            Retired::Nothing
        }
    }
}

/// The socket of descriptor `fd` leaves its private net: `replace` puts another file in its place, which is the kernel's.
pub fn replace(fd: c_int, replace: impl FnOnce()) {
    epoll::while_replaced(fd, || {
        replace();
        retire(fd).finish();
        set_plain(fd);
    });
}

/// `to` is a new descriptor of what `from` is.
pub fn duplicate(from: c_int, to: c_int) {
    if thread::borrows_memory() {
        return;
    }
    match lookup(from) {
        Entry::Stream(sock) | Entry::Datagram(sock) => {
            life::duplicated(sock);
            set_socket(to, sock);
        }
        Entry::Epoll(number) => {
            epoll::duplicated(number);
            set_epoll(to, number);
        }
        Entry::Plain => put(to, PLAIN),
    }
}

/// Every socket of ours that is open here.
pub fn sockets() -> impl Iterator<Item = Sock> {
    let words = TABLE.get().copied().unwrap_or(&[]);
    words.iter().take(HIGH.load(Ordering::Relaxed)).enumerate().filter_map(|(fd, w)| decode(fd as c_int, w.load(Ordering::Acquire))?.socket())
}

/// Every descriptor of an epoll instance, with the instance's number.
fn epolls() -> impl Iterator<Item = (c_int, u32)> {
    let words = TABLE.get().copied().unwrap_or(&[]);
    words.iter().take(HIGH.load(Ordering::Relaxed)).enumerate().filter_map(|(fd, w)| match decode(fd as c_int, w.load(Ordering::Acquire)) {
        Some(Entry::Epoll(number)) => Some((fd as c_int, number)),
        _ => None,
    })
}

/// Before another process gets copies of our descriptors: from now on only the kernel knows when a socket
/// ends.
pub fn share_all() {
    for sock in sockets() {
        if !sock.pcb.has(flag::SHARED) {
            sock.pcb.set(flag::SHARED);
        }
    }
}

/// Before this process gives up system calls that the way to the ring needs.
pub fn confine_all() {
    for sock in sockets() {
        route::pin(sock);
        sock.pcb.set(flag::CONFINED);
    }
}

/// Before a program without the library gets the descriptors that it is to keep: what can go back to the kernel does.
pub fn hand_over() {
    for sock in sockets().filter(|sock| call::is_kept_by_exec(sock.fd) && !sock.pcb.is_private()) {
        if sock.pcb.has(flag::UNIX) {
            unix::hand_over(sock);
        } else if sock.pcb.has(flag::DATAGRAM) {
            datagram::hand_over(sock);
        }
    }
}

/// Retires every descriptor from `first` to `last`.
pub fn retire_range(first: u32, last: u32) -> Vec<Retired> {
    let high = HIGH.load(Ordering::Relaxed).min((last as usize).saturating_add(1));
    (first as usize..high).map(|fd| retire(fd as c_int)).filter(|r| matches!(r, Retired::Stream(_))).collect()
}
