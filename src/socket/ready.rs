//! Readiness, in one place: what poll, select and epoll say of a joined socket (as Linux's tcp_poll).

use core::sync::atomic::Ordering;
use libc::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDBAND, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM, c_short};

use super::datagram;
use super::handle::{Endpoint, Sock};
use crate::pcb::block::flag;
use crate::pcb::circuit::End;
use crate::transport::direction::{Path, late};

const READABLE: c_short = POLLIN | POLLRDNORM;
const WRITABLE: c_short = POLLOUT | POLLWRNORM;
/// What only the kernel can tell of a direction that it still carries.
const KERNEL_RX: c_short = READABLE | POLLPRI | POLLRDBAND | POLLRDHUP;
const KERNEL_TX: c_short = WRITABLE | POLLWRBAND;

/// What is known of a socket's readiness without the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// Poll bits that are on.
    pub bits: c_short,
    /// Poll bits that the kernel has to be asked for.
    pub ask: c_short,
}

/// The socket's end of a circuit if event loops must look at the ring for it: one direction is there.
pub fn on_ring(sock: Sock) -> Option<Endpoint> {
    if sock.pcb.has(flag::DATAGRAM) {
        return datagram::mailbox(sock);
    }
    let ep = sock.endpoint()?;
    if !ep.is_on_ring() {
        ep.become_aware();
    }
    (ep.tx.path() == Path::Ring || ep.rx.path().leads_to_ring()).then_some(ep)
}

/// Whether a descriptor's socket, `stream` of it, may yet come to the ring.
pub fn may_come(fd: libc::c_int, stream: impl FnOnce(libc::c_int) -> Option<Sock>) -> bool {
    stream(fd).and_then(|sock| sock.endpoint()).is_some_and(|ep| ep.rx.path() == Path::Ready)
}

impl Endpoint {
    /// Which poll bits are on.
    pub fn readiness(&self) -> Readiness {
        let pcb = self.sock.pcb;
        if pcb.is_unix_domain() {
            return self.unix_readiness();
        }
        if self.is_mailbox() {
            return self.datagram_readiness();
        }
        self.land();
        if self.rx.late() & late::ANSWER != 0 {
            return Readiness { bits: 0, ask: 0 };
        }
        let (mut bits, mut ask) = (0, 0);
        self.settle_end();
        let ended = self.peer_end() != End::Open;
        let mut no_more = pcb.has(flag::SHUT_RD);
        if self.is_past_kernel() {
            if self.has_bytes(u64::from(pcb.rcvlowat.load(Ordering::Relaxed).max(1))) {
                bits |= READABLE;
            }
            if self.has_urgent() {
                bits |= POLLPRI;
            }
            no_more |= self.rx.is_finished() || ended;
        } else {
            ask |= KERNEL_RX;
            no_more |= self.peer_end() == End::Reset;
        }
        if no_more {
            bits |= READABLE | POLLRDHUP;
        }
        let closed = pcb.has(flag::SHUT_WR | flag::BROKEN);
        if self.tx.path() != Path::Ring && !(ended && self.rx.path() == Path::Ring) {
            ask |= KERNEL_TX;
        } else if closed || ended || self.is_writable() {
            bits |= WRITABLE;
        }
        if no_more && closed {
            bits |= POLLHUP;
        }
        if pcb.so_error.load(Ordering::Relaxed) != 0 {
            bits |= POLLERR;
        }
        Readiness { bits, ask }
    }
}
