//! Datagrams over a faulty link (`net::links`): lost, late, twice, or with a wrong bit.

use super::send::Mailbox;
use super::*;
use crate::net::links::Fate;
use crate::pcb::reap::Name;
use crate::pcb::tap;
use crate::socket::private;
use crate::transport::direction::late;
use crate::transport::late::{Late, Post};
use crate::transport::record::Pushed;
use crate::transport::stream::Refused;

/// What may be under way to one mailbox.
pub(super) const MOST_UNDER_WAY_BYTES: u64 = 16 << 20;

/// How much the mailbox of a socket holds.
pub fn queue_bytes(sock: Sock) -> u64 {
    send::queue_bytes(sock.pcb)
}

/// Sends a datagram over the link to its receiver's host. `None` where nothing befalls it; false where the mailbox is gone.
/// `told` is called, for those who capture it, with what becomes of it and by how much it is late.
#[cold]
#[inline(never)]
pub(super) fn send(
    sock: Sock,
    source: &Iov,
    target: Name,
    mailbox: &Mailbox,
    what: (Header, Option<&More>),
    told: impl Fn(tap::Fate, u64),
) -> Option<bool> {
    let (arena, now) = (sock.arena, now_ns());
    let there = mailbox.pcb.host.load(Ordering::Relaxed);
    let fate = links::datagram_verdict(arena, private::host(sock), there, source.left() as u64, now);
    let nothing_waits = mailbox.ring.late() & late::DATAGRAMS == 0;
    let (due_ns, copy_due_ns, wrong_bit) = match fate {
        None if nothing_waits => return None,
        None => (now, None, None),
        Some(Fate::Lost) => {
            told(tap::Fate::Lost, 0);
            return Some(true);
        }
        Some(Fate::Comes { due_ns, copy_due_ns: None, wrong_bit: None }) if due_ns <= now && nothing_waits => return None,
        Some(Fate::Comes { due_ns, copy_due_ns, wrong_bit }) => (due_ns, copy_due_ns, wrong_bit),
    };
    told(if wrong_bit.is_some() { tap::Fate::Corrupted } else { tap::Fate::Arrives }, due_ns.saturating_sub(now));
    copy_due_ns.into_iter().for_each(|due_ns| told(tap::Fate::Duplicate, due_ns.saturating_sub(now)));
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
