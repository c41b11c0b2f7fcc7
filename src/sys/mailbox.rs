//! A way to wake a thread that sleeps for room on a socket, from anywhere on the machine: an abstract UNIX
//! datagram socket (unix(7)) that exists while the thread sleeps, named after its socket's cookie.

use libc::c_int;

use super::real::real;

/// Bound while a thread sleeps.
pub struct Mailbox(c_int);

fn name(cookie: u64) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: an all-zero sockaddr_un is valid.
    let mut address: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let text = b"landline-room-";
    let digits = (0..16).map(|i| b"0123456789abcdef"[(cookie >> (60 - 4 * i)) as usize & 15]);
    // The first byte stays zero: the name is abstract.
    for (to, byte) in address.sun_path.iter_mut().skip(1).zip(text.iter().copied().chain(digits)) {
        *to = byte as libc::c_char;
    }
    (address, (size_of::<libc::sa_family_t>() + 1 + text.len() + 16) as libc::socklen_t)
}

fn datagram_socket() -> c_int {
    // SAFETY: plain numbers.
    unsafe { (real().socket)(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) }
}

impl Mailbox {
    /// `None` where there is no descriptor to be had, or the name is taken.
    pub fn bind(cookie: u64) -> Option<Mailbox> {
        let fd = datagram_socket();
        if fd < 0 {
            return None;
        }
        let mailbox = Mailbox(fd);
        let (address, len) = name(cookie);
        // SAFETY: a valid address and its length.
        (unsafe { (real().bind)(fd, (&raw const address).cast(), len) } == 0).then_some(mailbox)
    }

    pub fn fd(&self) -> c_int {
        self.0
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        super::call::close(self.0);
    }
}

/// Wakes who sleeps at the mailbox, if anybody does.
pub fn poke(cookie: u64) {
    let fd = datagram_socket();
    if fd < 0 {
        return;
    }
    let (address, len) = name(cookie);
    let byte = 0u8;
    // SAFETY: one readable byte, a valid address and its length.
    unsafe { (real().sendto)(fd, (&raw const byte).cast(), 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL, (&raw const address).cast(), len) };
    super::call::close(fd);
}
