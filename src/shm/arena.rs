//! The region: one sparse file, mapped whole, held open by nobody.
//!
//! Its name carries the user, the network and pid namespaces and the layout version. Pages are asked for
//! with `MADV_POPULATE_WRITE` before anybody touches them, so that a full file system is an error here and
//! never a SIGBUS, and given back with `MADV_REMOVE`; neither needs a descriptor (madvise(2)).

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use libc::c_int;
use once_cell::sync::OnceCell;

use super::layout::{ARENA_BYTES, FIXED_BYTES, Header, MAGIC, PAGE_BYTES, RESTING, VERSION};
use super::owner::{Me, System};
use super::{Shared, lock};
use crate::sys::clock::now_ns;
use crate::sys::mutex::Mutex;
use crate::sys::real::real;
use crate::sys::signal::Blocked;
use crate::sys::trace::{Buffer, trace, warn};
use crate::sys::{Errno, call, config, fault, thread};

mod removal;
pub use removal::{leave, remove, remove_if_unused};

const MADV_POPULATE_WRITE: c_int = 23;
const PATH_BYTES: usize = 256;

/// The mapped arena.
pub struct Arena {
    base: *mut u8,
    bytes: u64,
}

// SAFETY: the mapping is never moved or removed, and everything in it is reached through atomics or
// copied by value.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

/// Nobody holds the table lock this long, if it runs.
const PATIENCE_NS: u64 = 50_000_000;
/// The owner of the table lock that this process last waited for in vain: it is not waited for again.
static STUCK: AtomicU64 = AtomicU64::new(0);

static ARENA: OnceCell<Option<Arena>> = OnceCell::new();

/// The arena of this process's net, made or joined at the first call; `None` where there cannot be one.
#[inline]
pub fn arena() -> Option<&'static Arena> {
    match ARENA.get() {
        Some(a) => a.as_ref(),
        None => join_arena(),
    }
}

/// The arena if this process has joined it already.
pub fn joined() -> Option<&'static Arena> {
    ARENA.get()?.as_ref()
}

/// Held while the arena is joined, and across a fork: a child must not find that half done by a thread that it does not
/// have.
static JOINING: Mutex<()> = Mutex::new(());

/// Before a fork.
pub fn before_fork() {
    while !JOINING.try_hold(|()| {}) {
        thread::yield_now();
    }
}

/// After a fork, in both processes.
pub fn after_fork() {
    JOINING.let_go();
}

#[cold]
fn join_arena() -> Option<&'static Arena> {
    // A handler in the middle of it, of the same thread, goes without.
    let _joining = JOINING.lock_unless_mine()?;
    ARENA
        .get_or_init(|| {
            if config::get().off {
                return None;
            }
            let _signals = Blocked::all();
            let arena = Arena::open(&Place::configured(), true).inspect_err(|why| warn(format_args!("sockets stay with the kernel: {why}"))).ok()?;
            fault::watch();
            Some(arena)
        })
        .as_ref()
}

/// Which arena.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its folder.
    pub dir: std::path::PathBuf,
    /// The private net; none where it is the host net's.
    pub net: Option<String>,
}

impl Place {
    /// The one that the environment names.
    pub fn configured() -> Place {
        use std::os::unix::ffi::OsStrExt;
        let config = config::get();
        let dir = config.dir.as_deref().unwrap_or(b"/dev/shm");
        Place { dir: std::ffi::OsStr::from_bytes(dir).into(), net: config.net.clone() }
    }
}

/// The arena if there is one already: for looking at it.
pub fn existing(place: &Place) -> Result<Arena, &'static str> {
    Arena::open(place, false)
}

/// The arena, made if there is none: for a net that programs are about to join.
pub fn ensured(place: &Place) -> Result<Arena, &'static str> {
    Arena::open(place, true)
}

/// Whether a private net can have such a name: letters, digits, `.`, `_` and `-`, at most 64 of them.
pub fn is_net_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && !name.starts_with('.')
}

/// Stands between the name that every arena of the user has and that of a private net.
pub const BEFORE_NET: char = '@';

/// The file's path, NUL-terminated.
fn path(place: &Place) -> Result<[u8; PATH_BYTES], &'static str> {
    let mut bytes = [0u8; PATH_BYTES];
    let dir = place.dir.to_str().ok_or("LANDLINE_DIR is not UTF-8")?;
    let (space, pid) = (namespace(c"/proc/self/ns/net")?, namespace(c"/proc/self/ns/pid")?);
    // SAFETY: geteuid has no preconditions.
    let user = unsafe { libc::geteuid() };
    let mut out = Buffer::new(&mut bytes);
    let _ = write!(out, "{dir}/landline-{user}-{space}-{pid}-v{VERSION}");
    if let Some(net) = &place.net {
        if !is_net_name(net) {
            return Err("a net has letters, digits, '.', '_' and '-' in its name, at most 64");
        }
        let _ = write!(out, "{BEFORE_NET}{net}");
    }
    let _ = write!(out, "\0");
    if bytes.last() != Some(&0) { Err("LANDLINE_DIR is too long") } else { Ok(bytes) }
}

/// Where the arena's file is, or would be: for people who look at it.
pub fn location(place: &Place) -> Result<std::path::PathBuf, &'static str> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path(place)?;
    let name = bytes.split(|&b| b == 0).next().unwrap_or(&[]);
    Ok(std::ffi::OsStr::from_bytes(name).into())
}

fn namespace(path: &core::ffi::CStr) -> Result<u64, &'static str> {
    // SAFETY: a NUL-terminated path and a stat buffer of plain integers.
    unsafe {
        let mut st: libc::stat = core::mem::zeroed();
        if libc::stat(path.as_ptr(), &mut st) != 0 { Err("/proc cannot be read") } else { Ok(st.st_ino) }
    }
}

/// A descriptor that is closed when dropped.
struct File(c_int);

impl Drop for File {
    fn drop(&mut self) {
        // A mapping keeps the open file, and with it the lock.
        // SAFETY: flock takes any descriptor.
        unsafe { libc::flock(self.0, libc::LOCK_UN) };
        call::close(self.0);
    }
}

impl File {
    fn open(place: &Place, create: bool) -> Result<File, &'static str> {
        let path = path(place)?;
        let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | if create { libc::O_CREAT } else { 0 };
        // SAFETY: `path` is NUL-terminated.
        let fd = unsafe { (real().open)(path.as_ptr().cast(), flags, 0o600) };
        if fd < 0 { Err("the arena file cannot be opened") } else { Ok(File(fd)) }
    }

    /// The file's size, if it is a private file of our own.
    fn checked_bytes(&self) -> Result<u64, &'static str> {
        // SAFETY: a stat buffer of plain integers; geteuid has no preconditions.
        unsafe {
            let mut st: libc::stat = core::mem::zeroed();
            if libc::fstat(self.0, &mut st) != 0 || st.st_mode & libc::S_IFMT != libc::S_IFREG {
                return Err("the arena file is not a plain file");
            }
            if st.st_uid != libc::geteuid() || st.st_mode & 0o077 != 0 || st.st_nlink != 1 {
                return Err("the arena file is not ours alone");
            }
            Ok(st.st_size as u64)
        }
    }

    fn lock(&self) {
        // SAFETY: flock takes any descriptor; the lock goes with it.
        while unsafe { libc::flock(self.0, libc::LOCK_EX) } != 0 && Errno::last() == Errno::EINTR {}
    }

    /// Gives the file its (sparse) size, where the process may make files that large.
    fn extend(&self) -> Result<(), &'static str> {
        // SAFETY: an rlimit to write to; ftruncate takes any numbers. A file beyond RLIMIT_FSIZE would
        // raise SIGXFSZ, hence the look before.
        unsafe {
            let mut limit: libc::rlimit = core::mem::zeroed();
            libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit);
            if limit.rlim_cur < ARENA_BYTES {
                return Err("RLIMIT_FSIZE is too small for the arena");
            }
            if libc::ftruncate(self.0, ARENA_BYTES as libc::off_t) != 0 { Err("the arena file cannot be extended") } else { Ok(()) }
        }
    }

    fn map(&self) -> Result<Arena, &'static str> {
        for shift in 0..6 {
            let bytes = ARENA_BYTES >> shift;
            // SAFETY: a new shared mapping at a place of the kernel's choice, of a file we own.
            let base = unsafe {
                libc::mmap(
                    core::ptr::null_mut(),
                    bytes as usize,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_NORESERVE,
                    self.0,
                    0,
                )
            };
            if base != libc::MAP_FAILED {
                // SAFETY: the mapping just made: a core dump would be as large as the arena.
                unsafe { libc::madvise(base, bytes as usize, libc::MADV_DONTDUMP) };
                return Ok(Arena { base: base.cast(), bytes });
            }
        }
        Err("the arena cannot be mapped")
    }
}

impl Arena {
    fn open(place: &Place, create: bool) -> Result<Arena, &'static str> {
        let mut file = File::open(place, create)?;
        while create && place.net.is_some() && !file.hold() {
            thread::yield_now();
            file = File::open(place, create)?;
        }
        if file.checked_bytes()? == ARENA_BYTES {
            let arena = file.map()?;
            // The first page may never have been given: reading it would be a SIGBUS where there is no room.
            if arena.commit(0, PAGE_BYTES) && arena.header().ready.load(Ordering::Acquire) == 1 {
                return arena.checked();
            }
            arena.unmap();
        }
        if !create {
            return Err("there is no arena yet");
        }
        file.lock();
        match file.checked_bytes()? {
            ARENA_BYTES => {}
            0 => file.extend()?,
            _ => return Err("the arena file has another size"),
        }
        let arena = file.map()?;
        if !arena.commit(0, FIXED_BYTES) {
            return Err("there is no room for the arena");
        }
        if arena.header().ready.load(Ordering::Acquire) != 1 {
            arena.initialise(place)?;
        }
        arena.checked()
    }

    fn initialise(&self, place: &Place) -> Result<(), &'static str> {
        // SAFETY: the fixed part has pages and, under the file's lock and before `ready`, no other user.
        unsafe { self.base.write_bytes(0, FIXED_BYTES as usize) };
        let header = self.header();
        header.magic.store(MAGIC, Ordering::Relaxed);
        header.bytes.store(ARENA_BYTES, Ordering::Relaxed);
        header.version.store(VERSION, Ordering::Relaxed);
        for pool in [&header.owners, &header.notifiers, &header.pcbs, &header.circuits, &header.net.hosts, &header.net.links] {
            pool.high.store(1, Ordering::Relaxed);
        }
        header.units_high.store(1, Ordering::Relaxed);
        for word in &header.doorbell {
            word.store(call::random(), Ordering::Relaxed);
        }
        if let Some(name) = &place.net {
            if !self.commit(RESTING.off, RESTING.entry_bytes * u64::from(RESTING.entries)) {
                return Err("there is no room for the arena");
            }
            header.net.begin(name);
        }
        header.ready.store(1, Ordering::Release);
        trace(format_args!("made the arena"));
        Ok(())
    }

    fn checked(self) -> Result<Arena, &'static str> {
        let header = self.header();
        let as_ours = header.magic.load(Ordering::Relaxed) == MAGIC
            && header.bytes.load(Ordering::Relaxed) == ARENA_BYTES
            && header.version.load(Ordering::Relaxed) == VERSION;
        if as_ours {
            return Ok(self);
        }
        self.unmap();
        Err("the arena file has another layout")
    }

    fn unmap(&self) {
        // SAFETY: the mapping made by `map`, not used any more.
        unsafe { libc::munmap(self.base.cast(), self.bytes as usize) };
    }

    /// The first page.
    #[inline]
    pub fn header(&self) -> &Header {
        // SAFETY: every mapping is larger than the header, page-aligned, and `Header` is `Shared`.
        unsafe { &*self.base.cast() }
    }

    /// The `T` at `off`, if it lies whole and aligned in what this process has mapped.
    #[inline]
    pub fn at<T: Shared>(&self, off: u64) -> Option<&T> {
        let fits = off.checked_add(size_of::<T>() as u64)? <= self.bytes && off.is_multiple_of(align_of::<T>() as u64);
        // SAFETY: in bounds and aligned (just checked); `T: Shared` is valid for any bytes and made of atomics.
        fits.then(|| unsafe { &*self.base.add(off as usize).cast::<T>() })
    }

    /// The address of `len` bytes at `off`, if mapped.
    #[inline]
    pub fn bytes_at(&self, off: u64, len: u64) -> Option<*mut u8> {
        // SAFETY: in bounds of the mapping (checked first).
        (off.checked_add(len)? <= self.bytes).then(|| unsafe { self.base.add(off as usize) })
    }

    /// Bytes of the arena that this process has mapped.
    pub fn mapped_bytes(&self) -> u64 {
        self.bytes
    }

    /// The program ends: from now on a checker of memory shall not look here.
    pub fn overlook(&self) {
        crate::sys::valgrind::overlook(self.base, self.bytes);
    }

    /// Gives pages to a range; false where there is no room.
    pub fn commit(&self, off: u64, len: u64) -> bool {
        let Some(at) = self.bytes_at(off, len) else { return false };
        // SAFETY: a page-aligned range within the mapping.
        unsafe { libc::madvise(at.cast(), len as usize, MADV_POPULATE_WRITE) == 0 }
    }

    /// Takes the pages of a range back; it reads as zeroes from now on.
    pub fn decommit(&self, off: u64, len: u64) {
        if let Some(at) = self.bytes_at(off, len) {
            // SAFETY: a page-aligned range within the mapping that nobody uses.
            unsafe { libc::madvise(at.cast(), len as usize, libc::MADV_REMOVE) };
        }
    }

    /// Takes the table lock, with signals held off, for as long as that takes.
    pub fn lock(&self) -> TableLock<'_> {
        let signals = Blocked::all();
        TableLock { arena: self, _held: self.header().lock.acquire(Me::bootstrap().owner(), &System(self)), _signals: signals }
    }

    /// As `lock`, but waits no longer for a process that does not get on: one that was stopped (SIGSTOP) in the
    /// middle. What needs the lock is then left undone, which nothing but memory depends on.
    pub fn try_lock(&self) -> Option<TableLock<'_>> {
        let signals = Blocked::all();
        let mut seen = (STUCK.load(Ordering::Relaxed), 0);
        let held = self.header().lock.acquire_unless(Me::bootstrap().owner(), &System(self), |owner| {
            if seen.0 != owner.0 {
                seen = (owner.0, now_ns());
            }
            now_ns().saturating_sub(seen.1) > PATIENCE_NS
        });
        STUCK.store(if held.is_some() { 0 } else { seen.0 }, Ordering::Relaxed);
        Some(TableLock { arena: self, _held: held?, _signals: signals })
    }
}

/// The table lock is held; what may only be done under it takes this.
pub struct TableLock<'a> {
    pub arena: &'a Arena,
    // Dropped in this order: first the lock, then the signals.
    _held: lock::Held<'a>,
    _signals: Blocked,
}
