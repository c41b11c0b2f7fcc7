//! The environment of programs that this one starts: the preload and Landline's settings are put back where
//! the program has wiped them, as nginx and redis do.
//!
//! Used between fork and exec, where nothing may be allocated: what is to be put back is kept from the start,
//! and an environment that lacks some of it is rebuilt in a mapping of its own.

use core::ffi::{CStr, c_char, c_void};
use once_cell::sync::OnceCell;
use std::ffi::CString;

const PRELOAD: &[u8] = b"LD_PRELOAD=";
const SETTINGS: &[u8] = b"LANDLINE_";

/// What this process began with.
struct Kept {
    /// The element of LD_PRELOAD that is this library.
    library: Vec<u8>,
    /// `LD_PRELOAD=…` and `LANDLINE_…=…`, the first one the preload.
    entries: Vec<CString>,
}

static KEPT: OnceCell<Option<Kept>> = OnceCell::new();

/// Remembers the environment as it is now: in the library's constructor.
pub fn remember() {
    KEPT.get_or_init(|| {
        // SAFETY: the program's environment, before it has begun to change it.
        let entries = unsafe { entries(current()) };
        let preload = entries.clone().find(|e| e.starts_with(PRELOAD))?;
        let file = own_file_name()?;
        let library = elements(preload.get(PRELOAD.len()..)?).find(|e| e.ends_with(file))?.to_vec();
        let settings = entries.filter(|e| e.starts_with(SETTINGS));
        let entries = core::iter::once(preload).chain(settings).filter_map(|e| CString::new(e).ok()).collect();
        Some(Kept { library, entries })
    });
}

unsafe extern "C" {
    static mut environ: *const *mut c_char;
}

fn current() -> *const *const c_char {
    // SAFETY: a pointer that the program changes only where no other thread uses it (environ(7)).
    unsafe { (&raw const environ).read().cast() }
}

/// The elements of LD_PRELOAD's value (ld.so(8)).
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b':' || b == b' ').filter(|e| !e.is_empty())
}

/// The name of the file that this library was loaded from, without its folder.
fn own_file_name() -> Option<&'static [u8]> {
    // SAFETY: an address within this object; the name that dladdr gives lives as long as it.
    let path = unsafe {
        let mut info: libc::Dl_info = core::mem::zeroed();
        if libc::dladdr(remember as *const c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname).to_bytes()
    };
    path.rsplit(|&b| b == b'/').next()
}

/// The entries of an environment, without their NULs.
///
/// # Safety
/// `env` is null or an array of strings that ends with a null pointer, and nobody changes it meanwhile.
unsafe fn entries<'a>(env: *const *const c_char) -> impl Iterator<Item = &'a [u8]> + Clone {
    let mut at = env;
    core::iter::from_fn(move || {
        // SAFETY: as the caller says.
        unsafe {
            if at.is_null() || (*at).is_null() {
                return None;
            }
            let entry = CStr::from_ptr(*at).to_bytes();
            at = at.add(1);
            Some(entry)
        }
    })
}

/// The name of an entry, with its `=`.
fn name(entry: &[u8]) -> &[u8] {
    let n = entry.iter().position(|&b| b == b'=').map_or(entry.len(), |at| at + 1);
    entry.get(..n).unwrap_or(entry)
}

/// An environment to start a program with.
pub struct Environment {
    array: *const *const c_char,
    /// The mapping it lies in, where it had to be rebuilt.
    mapped_bytes: usize,
}

impl Environment {
    /// `env` with what it lacks of the preload and the settings.
    ///
    /// # Safety
    /// `env` is null or an array of strings that ends with a null pointer; they stay as they are while the
    /// result lives.
    pub unsafe fn complete(env: *const *const c_char) -> Environment {
        let as_it_is = Environment { array: env, mapped_bytes: 0 };
        let Some(kept) = KEPT.get().and_then(Option::as_ref) else { return as_it_is };
        // SAFETY: as the caller says.
        let given = unsafe { entries(env) };
        let is_given = |entry: &[u8]| given.clone().any(|e| e.starts_with(name(entry)));
        let preload = given.clone().find(|e| e.starts_with(PRELOAD));
        let is_preloaded = preload.is_some_and(|p| elements(p.get(PRELOAD.len()..).unwrap_or(&[])).any(|e| e == kept.library));
        let missing = || kept.entries.iter().filter(|e| !is_given(e.to_bytes()));
        if is_preloaded && missing().next().is_none() {
            return as_it_is;
        }
        let pointers = given.clone().count() + kept.entries.len() + 2;
        let text_bytes = PRELOAD.len() + kept.library.len() + preload.map_or(0, <[u8]>::len) + 2;
        let bytes = pointers * size_of::<*const c_char>() + text_bytes;
        // SAFETY: a private mapping of our own, large enough for both parts.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let map = libc::mmap(core::ptr::null_mut(), bytes, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
            if map == libc::MAP_FAILED {
                return as_it_is;
            }
            let array = map.cast::<*const c_char>();
            let text = array.add(pointers).cast::<u8>();
            let mut n = 0;
            let mut put = |entry: *const c_char| {
                array.add(n).write(entry);
                n += 1;
            };
            for entry in given.clone() {
                match preload {
                    Some(p) if entry.as_ptr() == p.as_ptr() && !is_preloaded => {
                        // The program's own preload stays behind ours.
                        let mut at = text;
                        for part in [PRELOAD, &kept.library, b":", p.get(PRELOAD.len()..).unwrap_or(&[])] {
                            core::ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
                            at = at.add(part.len());
                        }
                        put(text.cast());
                    }
                    _ => put(entry.as_ptr().cast()),
                }
            }
            for entry in missing() {
                put(entry.as_ptr());
            }
            Environment { array, mapped_bytes: bytes }
        }
    }

    pub fn as_ptr(&self) -> *const *mut c_char {
        self.array.cast()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        if self.mapped_bytes > 0 {
            // SAFETY: the mapping made in `complete`, of which nobody else knows.
            unsafe { libc::munmap(self.array.cast_mut().cast(), self.mapped_bytes) };
        }
    }
}

/// Runs `f` while the program's environment is a completed one: for calls of the C library that take it
/// from there.
pub fn while_complete<T>(f: impl FnOnce() -> T) -> T {
    let before = current();
    // SAFETY: a program that changes its environment while another thread starts programs is wrong by itself
    // (environ(7)); what stands there afterwards is what stood there before.
    unsafe {
        let complete = Environment::complete(before);
        (&raw mut environ).write(complete.as_ptr());
        let value = f();
        if current() == complete.array {
            (&raw mut environ).write(before.cast());
        }
        value
    }
}
