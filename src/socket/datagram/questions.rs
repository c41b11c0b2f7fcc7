//! Datagrams to a server of names, of which a private net has none: they are answered in the sender's own process, into its
//! own mailbox.

use libc::iovec;

use super::marks::Marks;
use super::send::{Known, put};
use super::*;
use crate::net::dns;
use crate::pcb::tap;
use crate::socket::private;

/// The most bytes of a question, and of its answer, that are looked at.
const MOST_BYTES: usize = 2048;
/// The hop limit that Linux gives a datagram.
const DEFAULT_HOPS: u8 = 64;

/// Answers the question in `source` in place of the server at `server`: the answer comes to the socket's own mailbox.
///
/// # Errors
/// `EFAULT`.
#[cold]
pub(super) fn answer(sock: Sock, source: &Iov, server: Address) -> Ret {
    let mut query = [0; MOST_BYTES];
    let mut text = [0; MOST_BYTES];
    let asked = match source.copy_to(&mut query) {
        // It has been sent, and that is all.
        Err(Errno(libc::EMSGSIZE)) => return Ok(source.left()),
        asked => query.get(..asked?).unwrap_or(&[]),
    };
    let own = private::source(sock, sock.pcb.addresses().local, server.ip());
    if let Some(from) = own.filter(|_| tap::is_on(sock.arena)) {
        let (protocol, hosts) = (libc::IPPROTO_UDP as u8, [private::host(sock), 0]);
        let datagram = tap::Datagram { protocol, from, to: server, hops: 0, class: 0, hosts, receiver: None };
        datagram.tell(sock.arena, tap::Kind::Datagram, source);
    }
    let n = dns::answer(sock.arena, asked, &mut text);
    let (Some(own), Some(text)) = (own, text.get_mut(..n).filter(|text| !text.is_empty())) else { return Ok(asked.len()) };
    let known = Known {
        sender: sock.name(),
        to: own,
        epoch: 0,
        from: server,
        target: Some(sock.name()),
        is_v4: server.ip().is_ipv4(),
        is_to_from: false,
        hops: DEFAULT_HOPS,
        sent_at: 0,
    };
    let mut place = iovec { iov_base: core::ptr::null_mut(), iov_len: 0 };
    let _ = put(sock, &Iov::of(text, &mut place), known, Marks::default(), false);
    Ok(asked.len())
}
