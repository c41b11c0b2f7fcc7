//! Connections over faulty links (`net::links`): the answer comes after a round trip, or never.
//!
//! Both ends are made at once, as ever. Until the answer is due the one who asked is told that it is being connected, and the
//! anchors are connected only then (*knocking*): so nobody can accept it before, and who listens is looked for then. Nobody is
//! there but the one who asked, who does what is due when it waits for the connection, uses it, or closes. A request that is
//! lost is made again, as Linux would, for two minutes.

use super::connect::{begin, knock};
use super::*;
use crate::net::links::{self, Connect};
use crate::pcb::Pcb;
use crate::pcb::circuit::End;
use crate::pcb::reap::Name;
use crate::pcb::tap;
use crate::socket::late::is_connecting;
use crate::socket::route::PATH_CHANGES;
use crate::socket::stats::{COUNTERS, add};
use crate::socket::{Endpoint, crowd};
use crate::sys::clock::{Deadline, now_ns};
use crate::sys::signal;
use crate::sys::trace::trace;
use crate::transport::direction::{NEVER, late};

/// What becomes of the socket's request for a connection to `to`, after so many that were not answered; `None` where nothing
/// befalls it.
pub(super) fn ask(sock: Sock, to: Address, tries: u32) -> Option<Connect> {
    if !links::any(sock.arena) {
        return None;
    }
    match reach(sock.arena, host(sock), to.ip()) {
        Reach::Host(there) => links::connect_verdict(sock.arena, host(sock), there, tries, now_ns()),
        _ => None,
    }
}

/// connect(2) over a faulty link, on which the request was `asked`.
pub(super) fn connect_late(sock: Sock, to: Address, asked: Connect) -> Result<(), Errno> {
    let ep = make_ends(sock, to)?;
    note(&ep, asked, 0);
    tell(&ep, tap::Kind::Syn);
    ep.rx.control.late.fetch_or(late::ANSWER | late::KNOCK, Ordering::SeqCst);
    sock.pcb.set(flag::ANCHOR_READY);
    sock.pcb.set_state(State::SynSent);
    PATH_CHANGES.fetch_add(1, Ordering::SeqCst);
    sock.pcb.put_facade(facade::CONNECTING, true);
    if sock.is_nonblocking(0) { Err(Errno(libc::EINPROGRESS)) } else { await_answer(sock) }
}

/// Both ends of the connection, of which the other is nobody's yet.
fn make_ends(sock: Sock, to: Address) -> Result<Endpoint, Errno> {
    let (arena, pcb) = (sock.arena, sock.pcb);
    if to.ip().is_ipv4() && pcb.has(flag::INET6) && pcb.has(flag::V6ONLY) {
        return Err(Errno(libc::ENETUNREACH));
    }
    let there = match reach(arena, host(sock), to.ip()) {
        Reach::Host(there) => there,
        reached => return Err(unreachable(sock, reached)),
    };
    ensure_port(sock)?;
    let key = Key { local: source(sock, pcb.addresses().local, to.ip()).ok_or(Errno(libc::ENETUNREACH))?, remote: to };
    let no_room = Errno(libc::ENOBUFS);
    let lock = lock(arena);
    if private::is_connected(arena, sock.index, (host(sock), pcb.space()), key) {
        return Err(Errno(libc::EADDRNOTAVAIL));
    }
    private::set_addresses(&lock, sock.index, key);
    let (cookie, owner) = (pcb.cookie.load(Ordering::Relaxed), sock.me().slot());
    let (waiting, w) = private::make_unknown(&lock, there, (pcb, owner), cookie, key.reversed()).ok_or(no_room)?;
    let waiting = Name::of(waiting, w);
    let is_joined = table::join(&lock, [sock.index, waiting.index]);
    let ep = sock.endpoint().filter(|ep| is_joined && begin(&lock, ep, crowd::place(1), w));
    drop(lock);
    ep.ok_or_else(|| {
        reap::release(arena, waiting, End::Reset);
        reap::unlink(arena, sock.name());
        no_room
    })
}

/// Notes what becomes of a request; the `tries` before it were not answered.
fn note(ep: &Endpoint, asked: Connect, tries: u32) {
    let h = &ep.circuit.handshake;
    let (answer_ns, unanswered) = match asked {
        Connect::Answered { due_ns, accept_ns } => {
            // Who asked may do nothing for the connection once it has the answer.
            h.knock_ns.store(accept_ns.min(due_ns), Ordering::SeqCst);
            h.accept_ns.store(accept_ns, Ordering::SeqCst);
            (due_ns, 0)
        }
        Connect::Refused { due_ns } => {
            h.refusal.store(libc::ECONNREFUSED as u32, Ordering::SeqCst);
            (due_ns, 0)
        }
        Connect::Unanswered { again_ns } => (again_ns, tries + 1),
    };
    h.tries.store(unanswered, Ordering::SeqCst);
    h.answer_ns.store(answer_ns, Ordering::SeqCst);
}

/// Blocks until the request for the connection is answered.
///
/// # Errors
/// The answer where it is a refusal; `EINPROGRESS` after SO_SNDTIMEO; `EINTR`.
pub fn await_answer(sock: Sock) -> Result<(), Errno> {
    let deadline = Deadline::of_option(sock.pcb.sndtimeo_ns.load(Ordering::Relaxed));
    while let Some(ep) = sock.endpoint().filter(Endpoint::is_connecting) {
        if deadline.passed() {
            return Err(Errno(libc::EINPROGRESS));
        }
        match call::poll_one(-1, 0, deadline.no_later_than(ep.next_due())) {
            Err(Errno::EINTR) if deadline.is_never() && signal::restarts_calls() => {}
            polled => drop(polled?),
        }
    }
    sock.pcb.put_facade(facade::CONNECTING, false);
    end::take_error(sock).map_or(Ok(()), Err)
}

/// connect(2) again, of a socket whose request is not answered.
pub(super) fn connect_again(sock: Sock) -> Option<Result<(), Errno>> {
    is_connecting(sock).then(|| if sock.is_nonblocking(0) { Err(Errno(libc::EALREADY)) } else { await_answer(sock) })
}

/// Does what is due of a connection's beginning; when the next is, `NEVER` where nothing is.
pub fn go_on(ep: &Endpoint, now: u64) -> u64 {
    let h = &ep.circuit.handshake;
    let is = |bit: u32| ep.rx.late() & bit != 0;
    let mut next = NEVER;
    if is(late::ANSWER) && h.answer_ns.load(Ordering::SeqCst) <= now {
        match h.tries.load(Ordering::SeqCst) {
            0 => {}
            tries if links::gives_up(tries) => {
                h.refusal.store(libc::ETIMEDOUT as u32, Ordering::SeqCst);
                h.tries.store(0, Ordering::SeqCst);
            }
            tries => {
                tell(ep, tap::Kind::Syn);
                let asked = ask(ep.sock, ep.sock.pcb.addresses().remote, tries);
                note(ep, asked.unwrap_or(Connect::Answered { due_ns: now, accept_ns: now }), tries);
            }
        }
    }
    if is(late::KNOCK) && h.tries.load(Ordering::SeqCst) == 0 && h.refusal.load(Ordering::SeqCst) == 0 {
        match h.knock_ns.load(Ordering::SeqCst) {
            knock_ns if knock_ns > now => next = knock_ns,
            _ => knock_now(ep),
        }
    }
    if is(late::ANSWER) {
        match h.answer_ns.load(Ordering::SeqCst) {
            answer_ns if answer_ns > now => next = next.min(answer_ns),
            _ => answered(ep),
        }
    }
    next
}

/// The answer is here.
fn answered(ep: &Endpoint) {
    let refusal = ep.circuit.handshake.refusal.load(Ordering::SeqCst);
    let pcb = ep.sock.pcb;
    if refusal == 0 {
        pcb.set_state(State::Established);
        add(&COUNTERS.circuits, 1);
        trace(format_args!("fd {}: connected over a faulty link", ep.sock.fd));
    } else {
        pcb.set(flag::BROKEN | flag::END_SEEN);
        pcb.so_error.store(refusal, Ordering::Release);
        pcb.put_facade(facade::SPENT, true);
        abandon(ep);
    }
    ep.rx.control.late.fetch_and(!late::ANSWER, Ordering::SeqCst);
}

/// What the arena says beyond an hour is taken for damage.
const MOST_ACCEPT_DELAY_NS: u64 = 3_600_000_000_000;

/// A connection was accepted before that was to be: waits until then, or for a signal.
pub(super) fn await_acceptance(ep: &Endpoint) {
    let accept_ns = ep.circuit.handshake.accept_ns.load(Ordering::SeqCst);
    if accept_ns.saturating_sub(now_ns()) > MOST_ACCEPT_DELAY_NS {
        return;
    }
    while accept_ns > now_ns() && call::poll_one(-1, 0, Deadline::NEVER.no_later_than(accept_ns)).is_ok() {}
}

/// Connects the anchors: who listens can accept the connection. Where nobody does it is refused, or reset if it was answered.
fn knock_now(ep: &Endpoint) {
    if ep.rx.control.late.fetch_and(!late::KNOCK, Ordering::SeqCst) & late::KNOCK == 0 {
        return;
    }
    if !preserved(|| find_listener(ep)) {
        ep.circuit.handshake.refusal.store(libc::ECONNREFUSED as u32, Ordering::SeqCst);
        abandon(ep);
    }
}

fn find_listener(ep: &Endpoint) -> bool {
    let (arena, sock) = (ep.sock.arena, ep.sock);
    let Some((index, p)) = ep.peer() else { return false };
    let found = {
        let lock = lock(arena);
        let key = p.addresses();
        let found: Option<(u32, &Pcb)> = private::listener(arena, (p.host.load(Ordering::Relaxed), p.space()), key.local, key.remote);
        found.inspect(|&of| {
            private::give_to_listener(&lock, (index, p), of);
            private::now_waits(of.1);
        })
    };
    found.is_some_and(|(listener, l)| {
        let name = anchor_name(arena, listener, Name::of(listener, l).generation);
        tell(ep, tap::Kind::Open);
        knock(sock, sock.pcb.cookie.load(Ordering::Relaxed), &name).is_ok()
    })
}

/// Tells those who capture it what becomes of the connection.
fn tell(ep: &Endpoint, kind: tap::Kind) {
    if tap::is_on(ep.sock.arena) {
        tap::connection(ep.sock.arena, ep.link, kind);
    }
}

/// Nobody will accept what nobody was told of.
fn abandon(ep: &Endpoint) {
    ep.rx.control.late.fetch_and(!late::KNOCK, Ordering::SeqCst);
    // Nothing more is to come.
    ep.rx.produced.end_due_ns.store(1, Ordering::SeqCst);
    if let Some((index, p)) = ep.peer() {
        if ep.circuit.handshake.refusal.load(Ordering::SeqCst) == libc::ECONNREFUSED as u32 {
            tell(ep, tap::Kind::Refused);
        }
        reap::release(ep.sock.arena, Name::of(index, p), End::Reset);
    }
}

/// Before the one who asked closes: the other end is told of the connection, if it was to have it.
pub fn before_close(ep: &Endpoint) {
    if ep.rx.late() & late::KNOCK == 0 {
        return;
    }
    let h = &ep.circuit.handshake;
    if h.tries.load(Ordering::SeqCst) == 0 && h.refusal.load(Ordering::SeqCst) == 0 { knock_now(ep) } else { abandon(ep) }
}
