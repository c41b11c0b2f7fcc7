//! select(2), by way of poll.

use libc::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, POLLRDBAND, POLLRDNORM, POLLWRBAND, POLLWRNORM, c_int, c_short, pollfd, sigset_t};

use super::poll::poll;
use crate::sys::clock::Deadline;
use crate::sys::errno::Ret;
use crate::sys::{Errno, thread};

const ON_STACK: usize = 64;
const WORD_BITS: usize = 64;

/// A set of descriptors as the caller's memory has it: bit `fd % 64` of word `fd / 64`.
pub type Words<'a> = Option<&'a mut [u64]>;

fn has(set: &Words, fd: usize) -> bool {
    set.as_deref().and_then(|w| w.get(fd / WORD_BITS)).is_some_and(|w| w & 1 << (fd % WORD_BITS) != 0)
}

fn add(set: &mut Words, fd: usize) -> usize {
    match set.as_deref_mut().and_then(|w| w.get_mut(fd / WORD_BITS)) {
        Some(w) => {
            *w |= 1 << (fd % WORD_BITS);
            1
        }
        None => 0,
    }
}

/// Which poll bits make a descriptor readable, writable, exceptional (select(2), "Correspondence").
const READ: c_short = POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR;
const WRITE: c_short = POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR;
const EXCEPT: c_short = POLLPRI;

/// select(2) over the descriptors below `n`. Returns how many bits are left on in the three sets.
///
/// # Errors
/// `EBADF` for a descriptor that is not open (one beyond the process's table is not looked at), and those of poll(2). The sets are then as they were.
pub fn select<'a>(n: usize, mut read: Words<'a>, mut write: Words<'a>, mut except: Words<'a>, deadline: Deadline, mask: Option<&sigset_t>) -> Ret {
    let wanted = |fd: usize| -> c_short {
        (if has(&read, fd) { POLLIN | POLLRDNORM | POLLRDBAND } else { 0 })
            | (if has(&write, fd) { POLLOUT | POLLWRNORM | POLLWRBAND } else { 0 })
            | (if has(&except, fd) { POLLPRI } else { 0 })
    };
    let asked = (0..n).map(|fd| (fd, wanted(fd))).filter(|&(_, events)| events != 0);
    let count = asked.clone().count();
    let mut small = [pollfd { fd: -1, events: 0, revents: 0 }; ON_STACK];
    let mut large = Vec::new();
    let fds: &mut [pollfd] = match small.get_mut(..count) {
        Some(few) => few,
        None => {
            large.resize(count, pollfd { fd: -1, events: 0, revents: 0 });
            &mut large
        }
    };
    for (f, (fd, events)) in fds.iter_mut().zip(asked) {
        *f = pollfd { fd: fd as c_int, events, revents: 0 };
    }
    poll(fds, deadline, mask)?;
    if fds.iter().any(|f| f.revents & POLLNVAL != 0 && (f.fd as usize) < thread::descriptor_slots()) {
        return Err(Errno::EBADF);
    }
    for set in [&mut read, &mut write, &mut except] {
        if let Some(words) = set.as_deref_mut() {
            words.fill(0);
        }
    }
    let mut on = 0;
    for f in fds.iter() {
        let fd = f.fd as usize;
        if f.revents & POLLNVAL != 0 {
            continue;
        }
        for (set, events, bits) in [(&mut read, POLLIN, READ), (&mut write, POLLOUT, WRITE), (&mut except, POLLPRI, EXCEPT)] {
            if f.events & events != 0 && f.revents & bits != 0 {
                on += add(set, fd);
            }
        }
    }
    Ok(on)
}
