//! The end of a private net: its file goes with the last process that uses it.
//!
//! Whether there is one says the kernel. Who joins claims the file (F_OFD_SETLK of fcntl(2)), and a mapping keeps the open
//! file and with it the claim: until exec or the end of the process, and in the child of a fork as well. Who removes the
//! file must have it alone, and who finds that somebody does takes another. Beside that the owners' table is asked, for
//! programs that were started in the net and have not joined it yet.

use core::sync::atomic::Ordering;
use libc::c_int;

use super::{Arena, File, Place, path};
use crate::shm::layout::{ARENA_BYTES, PAGE_BYTES};
use crate::shm::owner;
use crate::sys::confined::is_confined;
use crate::sys::real::real;
use crate::sys::{Errno, thread};

impl File {
    /// Says that the file is in use, for as long as a process has what is mapped of it now. False where it is being
    /// removed, or has been.
    pub(super) fn hold(&self) -> bool {
        self.claim(libc::F_RDLCK) != Err(Errno::EAGAIN) && self.links() != 0
    }

    /// Claims the file, shared (F_RDLCK) or for itself (F_WRLCK), if nobody is in the way.
    fn claim(&self, kind: c_int) -> Result<(), Errno> {
        // SAFETY: a structure of plain integers.
        let mut wish: libc::flock = unsafe { core::mem::zeroed() };
        (wish.l_type, wish.l_len) = (kind as libc::c_short, 1);
        // SAFETY: reads the structure.
        match unsafe { (real().fcntl)(self.0, libc::F_OFD_SETLK, (&raw mut wish).addr()) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    }

    /// Names that the file has.
    fn links(&self) -> libc::nlink_t {
        // SAFETY: a stat buffer of plain integers.
        unsafe {
            let mut st: libc::stat = core::mem::zeroed();
            if libc::fstat(self.0, &mut st) == 0 { st.st_nlink } else { 0 }
        }
    }

    fn try_lock(&self) -> bool {
        // SAFETY: flock takes any descriptor.
        unsafe { libc::flock(self.0, libc::LOCK_EX | libc::LOCK_NB) == 0 }
    }

    /// Takes the file's name away, under its lock.
    fn unlink(&self, place: &Place) -> Result<(), &'static str> {
        let path = path(place)?;
        // SAFETY: `path` is NUL-terminated.
        let is_gone = self.links() == 0 || unsafe { libc::unlink(path.as_ptr().cast()) } == 0;
        if is_gone { Ok(()) } else { Err("the arena file cannot be removed") }
    }
}

impl Arena {
    /// Whether a process other than this one is known to live in it.
    fn has_others(&self) -> bool {
        (1..owner::high(self)).any(|slot| {
            let pid = owner::process(self, slot).map_or(0, |p| p.pid.load(Ordering::Acquire));
            pid != thread::pid() && owner::is_alive(self, slot)
        })
    }

    /// Puts empty memory in the place of the arena, with which the process has nothing to do any more.
    fn vanish(&self) {
        // SAFETY: replaces the mapping made by `map`, as a whole; zeroes are as good as any other bytes of an arena.
        unsafe {
            libc::mmap(
                self.base.cast(),
                self.bytes as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
                -1,
                0,
            );
        }
    }
}

/// Removes the file of a private net that nobody uses: no process has it mapped, and none that was started in it lives.
/// Who is about to join meanwhile makes a new one. True where the file was removed.
///
/// # Errors
/// Why it cannot be found out.
pub fn remove_if_unused(place: &Place) -> Result<bool, &'static str> {
    if place.net.is_none() {
        return Err("the machine's own net is not removed");
    }
    let file = File::open(place, false)?;
    // An arena that is being made, or a user: not now.
    if !file.try_lock() || file.claim(libc::F_WRLCK).is_err() || file.links() == 0 {
        return Ok(false);
    }
    if file.checked_bytes()? == ARENA_BYTES {
        let arena = file.map()?;
        let is_ready = arena.commit(0, PAGE_BYTES) && arena.header().ready.load(Ordering::Acquire) == 1;
        let is_used = is_ready && (arena.has_others() || arena.header().net.is_kept.load(Ordering::Relaxed) == 1);
        arena.unmap();
        if is_used {
            return Ok(false);
        }
    }
    file.unlink(place).map(|()| true)
}

/// Removes the file of a private net. Who uses it goes on with what is mapped, which nobody else finds any more.
///
/// # Errors
/// Why it cannot be removed.
pub fn remove(place: &Place) -> Result<(), &'static str> {
    if place.net.is_none() {
        return Err("the machine's own net is not removed");
    }
    let file = File::open(place, false)?;
    file.lock();
    file.unlink(place)
}

/// This process has nothing to do with the net any more, or ends: with its last user a private net goes. The arena is empty
/// memory from now on.
pub fn leave(arena: &Arena, place: &Place) {
    let is_private = arena.header().net.is_private.load(Ordering::Relaxed) == 1;
    if is_private && !is_confined() && !arena.has_others() {
        arena.vanish();
        let _ = remove_if_unused(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::arena::{ensured, existing, location};

    #[test]
    fn a_net_goes_with_its_last_user() {
        let dir = format!("/dev/shm/landline-removal-{}", std::process::id());
        std::fs::create_dir(&dir).unwrap();
        let place = Place { dir: dir.clone().into(), net: Some("n".to_owned()) };
        let file = location(&place).unwrap();
        let removed = || remove_if_unused(&place);
        assert!(removed().is_err(), "there is none");

        let arena = ensured(&place).unwrap();
        assert_eq!(removed(), Ok(false), "it is mapped");
        let looking = existing(&place).unwrap();
        arena.unmap();

        // A program that was started in it and has not joined yet.
        let mut started = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        owner::introduce(&looking.lock(), started.id(), 1).unwrap();
        assert_eq!(removed(), Ok(false), "a process of it lives");
        started.kill().and_then(|()| started.wait()).unwrap();

        looking.header().net.keep(true);
        assert_eq!(removed(), Ok(false), "it is kept");
        looking.header().net.keep(false);
        assert_eq!((removed(), file.exists()), (Ok(true), false));

        ensured(&place).unwrap();
        assert_eq!((remove(&place), file.exists()), (Ok(()), false), "by force");
        std::fs::remove_dir(&dir).unwrap();
    }
}
