//! The C library's DNS functions (resolver(3)): it would send what they ask over sockets that nobody sees, so in a private
//! net they are answered here. The state that some are given says nothing to the net.

use core::ffi::{c_char, c_int, c_void};
use core::fmt::Write;

use super::host_entry::set_error;
use super::names::{Where, place, text};
use crate::net::dns::question::{Outcome, outcome, question};
use crate::net::{dns, names};
use crate::socket::private::is_here;
use crate::sys::Errno;
use crate::sys::real::real;
use crate::sys::trace::Buffer;

/// Values of h_errno (netdb.h).
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NO_RECOVERY: c_int = 3;
const NO_DATA: c_int = 4;

/// The most bytes of a question, and of the net's answers.
const MOST_BYTES: usize = 1024;

/// Answers `query` into the `room` bytes at `to`; `None` where the C library is to send it.
unsafe fn answer(query: &[u8], to: *mut u8, room: c_int) -> Option<Result<(usize, Outcome), Errno>> {
    let arena = match place() {
        Where::Net(arena) => arena,
        Where::Machine => return None,
        Where::Nowhere => return Some(Err(Errno(libc::ENETDOWN))),
    };
    let mut bytes = [0; MOST_BYTES];
    let n = dns::answer(arena, query, &mut bytes);
    let answer = bytes.get(..n).unwrap_or(&[]);
    let outcome = outcome(answer);
    if outcome == Outcome::Refused && names::asks_outside(arena) {
        return None;
    }
    if answer.is_empty() {
        return Some(Err(Errno::EINVAL));
    }
    let n = n.min(usize::try_from(room).unwrap_or(0));
    // SAFETY: `room` writable bytes, says the caller; `n` is no more than that and the answer's length.
    unsafe { to.copy_from_nonoverlapping(answer.as_ptr(), n) };
    Some(Ok((n, outcome)))
}

/// res_send(3).
unsafe fn send(query: *const u8, n: c_int, to: *mut u8, room: c_int) -> Option<c_int> {
    if !is_here() {
        return None;
    }
    // SAFETY: `n` readable bytes, says the caller.
    let answer = unsafe {
        let query = core::slice::from_raw_parts(query, usize::try_from(n).unwrap_or(0));
        answer(query, to, room)?
    };
    Some(match answer {
        Ok((n, _)) => n as c_int,
        Err(e) => {
            e.set();
            -1
        }
    })
}

fn fail(error: c_int) -> c_int {
    set_error(error);
    -1
}

/// res_query(3) and res_search(3): the net has no domains to search.
unsafe fn query(name: &str, class: c_int, kind: c_int, to: *mut u8, room: c_int) -> Option<c_int> {
    let mut bytes = [0; MOST_BYTES];
    let n = question(name, class as u16, kind as u16, &mut bytes);
    if n == 0 {
        return Some(fail(NO_RECOVERY));
    }
    // SAFETY: as the caller says.
    Some(match unsafe { answer(bytes.get(..n)?, to, room)? } {
        Ok((n, Outcome::Found)) => n as c_int,
        Ok((_, Outcome::NoData)) => fail(NO_DATA),
        Ok((_, Outcome::NoName)) => fail(HOST_NOT_FOUND),
        Ok(_) => fail(NO_RECOVERY),
        Err(e) => {
            e.set();
            fail(TRY_AGAIN)
        }
    })
}

unsafe fn query_name(name: *const c_char, class: c_int, kind: c_int, to: *mut u8, room: c_int) -> Option<c_int> {
    if !is_here() {
        return None;
    }
    // SAFETY: as the caller says.
    unsafe { query(text(name).unwrap_or("\\"), class, kind, to, room) }
}

/// res_querydomain(3).
unsafe fn query_domain(name: *const c_char, domain: *const c_char, class: c_int, kind: c_int, to: *mut u8, room: c_int) -> Option<c_int> {
    if !is_here() {
        return None;
    }
    let mut bytes = [0; MOST_BYTES];
    let mut whole = Buffer::new(&mut bytes);
    // SAFETY: as the caller says.
    unsafe {
        let _ = match (text(name), text(domain)) {
            (Some(name), Some(domain)) => write!(whole, "{name}.{domain}"),
            (Some(name), None) if domain.is_null() => write!(whole, "{name}"),
            _ => write!(whole, "\\"),
        };
        query(core::str::from_utf8(whole.text()).unwrap_or("\\"), class, kind, to, room)
    }
}

/// The same under both of the names that programs are linked with, and of each the one that is given a state.
macro_rules! both {
    ($( $answer:ident: $plain:ident $old_plain:ident, $stated:ident $old_stated:ident ($($arg:ident: $ty:ty),*) )*) => { export! { $(
        fn $plain($($arg: $ty),*) -> c_int {
            // SAFETY: as the caller says.
            unsafe { $answer($($arg),*).unwrap_or_else(|| (real().$plain)($($arg),*)) }
        }

        fn $old_plain($($arg: $ty),*) -> c_int {
            // SAFETY: as the caller says.
            unsafe { $plain($($arg),*) }
        }

        fn $stated(state: *mut c_void, $($arg: $ty),*) -> c_int {
            // SAFETY: as the caller says.
            unsafe { $answer($($arg),*).unwrap_or_else(|| (real().$stated)(state, $($arg),*)) }
        }

        fn $old_stated(state: *mut c_void, $($arg: $ty),*) -> c_int {
            // SAFETY: as the caller says.
            unsafe { $stated(state, $($arg),*) }
        }
    )* } };
}

both! {
    send: res_send __res_send, res_nsend __res_nsend (query: *const u8, n: c_int, to: *mut u8, room: c_int)
    query_name: res_query __res_query, res_nquery __res_nquery (name: *const c_char, class: c_int, kind: c_int, to: *mut u8, room: c_int)
    query_name: res_search __res_search, res_nsearch __res_nsearch (name: *const c_char, class: c_int, kind: c_int, to: *mut u8, room: c_int)
    query_domain: res_querydomain __res_querydomain, res_nquerydomain __res_nquerydomain
        (name: *const c_char, domain: *const c_char, class: c_int, kind: c_int, to: *mut u8, room: c_int)
}
