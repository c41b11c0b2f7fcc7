//! Names of AF_UNIX sockets (unix(7)).

use libc::{c_int, sockaddr, socklen_t};

use super::errno::{Errno, check};
use super::real::real;

/// A name as C has it: the family, then a path, or after a zero byte an abstract name; empty where there is none.
#[derive(Clone, Copy)]
pub struct UnixName {
    name: libc::sockaddr_un,
    len: u16,
}

/// The most bytes of a name.
pub const MOST_BYTES: usize = size_of::<libc::sockaddr_un>();
const FAMILY_BYTES: usize = size_of::<libc::sa_family_t>();

/// What a name refers to, so that the same socket's names are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Referent {
    pub high: u64,
    pub low: u64,
    /// Never zero.
    pub hash: u16,
}

impl core::ops::Deref for UnixName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes, which are no more than there are, of an initialised structure of bytes.
        unsafe { core::slice::from_raw_parts((&raw const self.name).cast(), usize::from(self.len)) }
    }
}

impl UnixName {
    pub const fn empty() -> UnixName {
        // SAFETY: an all-zero sockaddr_un is valid.
        UnixName { name: unsafe { core::mem::zeroed() }, len: 0 }
    }

    /// Of the bytes of a name, family included; cut down to what a name can be.
    pub fn of(bytes: &[u8]) -> UnixName {
        let mut it = UnixName::empty();
        let n = bytes.len().min(MOST_BYTES);
        // SAFETY: `n` bytes are there on both sides.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut it.name).cast(), n) };
        it.len = n as u16;
        it
    }

    pub(super) fn asked(ask: impl FnOnce(*mut sockaddr, *mut socklen_t) -> c_int) -> Result<UnixName, Errno> {
        let mut it = UnixName::empty();
        let mut len = MOST_BYTES as socklen_t;
        check(ask((&raw mut it.name).cast(), &mut len) as isize)?;
        let len = len as usize;
        it.len = if len > FAMILY_BYTES { len.min(MOST_BYTES) as u16 } else { 0 };
        Ok(it)
    }

    /// What `fd` itself is bound to.
    pub fn own(fd: c_int) -> Result<UnixName, Errno> {
        // SAFETY: room for a name, and its length.
        UnixName::asked(|name, len| unsafe { (real().getsockname)(fd, name, len) })
    }

    /// What the other end of `fd` is bound to.
    pub fn peer(fd: c_int) -> Result<UnixName, Errno> {
        // SAFETY: as above.
        UnixName::asked(|name, len| unsafe { (real().getpeername)(fd, name, len) })
    }

    /// What it refers to: an abstract name to itself, a path to the file that is there, if this process may write to it.
    /// `None` where it names nothing.
    pub fn referent(&self) -> Option<Referent> {
        let hash = |high: u64, low: u64| ((high ^ low.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16 | 1;
        if self.len() <= FAMILY_BYTES || i32::from(self.name.sun_family) != libc::AF_UNIX {
            return None;
        }
        let bytes = self.get(FAMILY_BYTES..)?;
        if bytes.first() == Some(&0) {
            let mix = |seed: u64, by: u64| bytes.iter().fold(seed, |h, &b| (h ^ u64::from(b)).wrapping_mul(by).rotate_left(23));
            let (high, low) = (mix(0x2545_f491_4f6c_dd1d, 0xff51_afd7_ed55_8ccd), mix(bytes.len() as u64, 0xc4ce_b9fe_1a85_ec53));
            return Some(Referent { high: high | 1, low, hash: hash(high, low) });
        }
        let mut path = [0u8; MOST_BYTES + 1];
        path.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        // SAFETY: a path that ends with a zero byte, and a stat buffer of plain integers.
        unsafe {
            let mut st: libc::stat = core::mem::zeroed();
            check(libc::stat(path.as_ptr().cast(), &mut st) as isize).ok()?;
            let may_write = st.st_mode & libc::S_IWUSR != 0 && st.st_uid == libc::geteuid() || libc::geteuid() == 0;
            // An even number, which no abstract name has.
            let high = st.st_dev.wrapping_mul(2);
            (may_write && st.st_mode & libc::S_IFMT == libc::S_IFSOCK).then(|| Referent { high, low: st.st_ino, hash: hash(high, st.st_ino) })
        }
    }

    /// It as the kernel takes it.
    pub fn as_raw(&self) -> (*const sockaddr, socklen_t) {
        ((&raw const self.name).cast(), socklen_t::from(self.len))
    }
}
