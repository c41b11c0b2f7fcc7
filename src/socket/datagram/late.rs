//! Datagrams over a faulty link (`net::links`): lost, late, twice, or with a wrong bit.

use super::send::Mailbox;
use super::*;
use crate::net::links::Fate;
use crate::pcb::reap::Name;
use crate::socket::private;
use crate::transport::direction::late;
use crate::transport::late::{Late, Post};
use crate::transport::record::Pushed;
use crate::transport::stream::Refused;

/// What may be under way to one mailbox.
const MOST_UNDER_WAY_BYTES: u64 = 16 << 20;

/// How much the mailbox of a socket holds.
pub fn queue_bytes(sock: Sock) -> u64 {
    send::queue_bytes(sock.pcb)
}

/// Sends a datagram over the link to its receiver's host. `None` where nothing befalls it; false where the mailbox is gone.
#[cold]
#[inline(never)]
pub(super) fn send(sock: Sock, source: &Iov, target: Name, mailbox: &Mailbox, what: (Header, Option<&More>)) -> Option<bool> {
    let (arena, now) = (sock.arena, now_ns());
    let there = mailbox.pcb.host.load(Ordering::Relaxed);
    let fate = links::datagram_verdict(arena, private::host(sock), there, source.left() as u64, now);
    let nothing_waits = mailbox.ring.late() & late::DATAGRAMS == 0;
    let (due_ns, copy_due_ns, wrong_bit) = match fate {
        None if nothing_waits => return None,
        None => (now, None, None),
        Some(Fate::Lost) => return Some(true),
        Some(Fate::Comes { due_ns, copy_due_ns: None, wrong_bit: None }) if due_ns <= now && nothing_waits => return None,
        Some(Fate::Comes { due_ns, copy_due_ns, wrong_bit }) => (due_ns, copy_due_ns, wrong_bit),
    };
    for due_ns in [Some(due_ns), copy_due_ns].into_iter().flatten() {
        match put(sock, source, mailbox, what, Late { due_ns, wrong_bit }) {
            Ok(true) => {}
            Ok(false) => return Some(false),
            // Nothing of it was sent: told as by the common way.
            Err(Refused::Fault) => return None,
            Err(Refused::Damaged) => return Some(false),
        }
    }
    add(&COUNTERS.ring_tx_bytes, source.left() as u64);
    add(&COUNTERS.ring_tx_messages, 1);
    SENT.set(SENT.get() + 1);
    if mailbox.wants_doorbell(arena) {
        preserved(|| super::private::ring(sock, target));
    }
    Some(true)
}

/// Puts what comes at a known time on its way to a mailbox. `None` where it is there at once, and nothing before it is on its
/// way; false where the mailbox is gone.
pub(super) fn send_at(sock: Sock, source: &Iov, mailbox: &Mailbox, what: (Header, Option<&More>), late: Late) -> Option<bool> {
    if late.due_ns <= now_ns() && mailbox.ring.late() & late::DATAGRAMS == 0 {
        return None;
    }
    Some(put(sock, source, mailbox, what, late).unwrap_or(false))
}

/// One datagram that is late; where there is no room for it, it is dropped.
fn put(sock: Sock, source: &Iov, mailbox: &Mailbox, what: (Header, Option<&More>), late: Late) -> Result<bool, Refused> {
    let post = Post { arena: sock.arena, mailbox: mailbox.ring, under_way: mailbox.under_way, circuit: mailbox.link.circuit };
    match post.send(sock.me(), what, source, late, MOST_UNDER_WAY_BYTES, || mailbox.is_open())? {
        Pushed::Done(_) => Ok(true),
        Pushed::Full | Pushed::NoRoom => {
            mailbox.ring.writer.fulls.fetch_add(1, Ordering::Relaxed);
            add(&COUNTERS.drops, 1);
            Ok(true)
        }
        Pushed::Gone => Ok(false),
    }
}
