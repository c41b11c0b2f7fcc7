//! Whether a program that is about to be executed will have the library in it.

use core::ffi::{CStr, c_char, c_int};

use super::call;
use super::errno::check;
use super::real::real;

const HEADER_BYTES: usize = 64;
/// Program headers that are looked at.
const MOST_HEADERS: usize = 64;
const ENTRY_BYTES: usize = 56;
const PT_INTERP: u32 = 3;

/// Whether the dynamic linker, which preloads the library, is left out: the file is an executable of its own (elf(5)),
/// or one that changes the user (ld.so(8), secure-execution mode). A script is its interpreter's affair, and what cannot
/// be read is taken for an ordinary program.
pub fn runs_alone(path: &CStr) -> bool {
    let mut head = [0u8; HEADER_BYTES + MOST_HEADERS * ENTRY_BYTES];
    // SAFETY: a NUL-terminated path, a buffer of its length, a descriptor of our own.
    let read = unsafe {
        let Ok(fd) = check((real().open)(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK, 0) as isize) else {
            return false;
        };
        let read = check((real().read)(fd as c_int, head.as_mut_ptr().cast(), head.len()));
        call::close(fd as c_int);
        read
    };
    let head = head.get(..read.unwrap_or(0)).unwrap_or(&[]);
    if !head.starts_with(b"\x7fELF\x02") {
        return false;
    }
    has_no_interpreter(head).unwrap_or(false) || changes_user(path)
}

/// Of a 64-bit executable; `None` where the headers are elsewhere than they usually are.
fn has_no_interpreter(head: &[u8]) -> Option<bool> {
    let half = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?) as usize);
    let start = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?) as usize;
    let (size, count) = (half(54)?, half(56)?);
    for i in 0..count.min(MOST_HEADERS) {
        let at = start.checked_add(i * size)?;
        if u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?) == PT_INTERP {
            return Some(false);
        }
    }
    Some(true)
}

fn changes_user(path: &CStr) -> bool {
    // SAFETY: a NUL-terminated path and a stat buffer of plain integers; getuid has no preconditions.
    unsafe {
        let mut st: libc::stat = core::mem::zeroed();
        let is_setuid = libc::stat(path.as_ptr(), &mut st) == 0 && st.st_mode & libc::S_ISUID != 0 && st.st_uid != libc::getuid();
        is_setuid || call::has_file_capabilities(path)
    }
}

/// The file that execvp(3) would execute for a name without a slash, into `place`.
///
/// # Safety
/// `file` is a NUL-terminated string.
pub unsafe fn find_in_path(file: *const c_char, place: &mut [u8; libc::PATH_MAX as usize]) -> Option<&CStr> {
    // SAFETY: as the caller says; the environment's strings are NUL-terminated.
    let (name, path) = unsafe {
        let path = libc::getenv(c"PATH".as_ptr());
        (CStr::from_ptr(file).to_bytes(), if path.is_null() { c"/bin:/usr/bin" } else { CStr::from_ptr(path) })
    };
    if name.contains(&b'/') {
        place.get_mut(..name.len())?.copy_from_slice(name);
        *place.get_mut(name.len())? = 0;
        return CStr::from_bytes_until_nul(place).ok();
    }
    for folder in path.to_bytes().split(|&b| b == b':') {
        let len = folder.len() + 1 + name.len();
        if len >= place.len() {
            continue;
        }
        for (to, &from) in place.iter_mut().zip(folder.iter().chain(b"/").chain(name).chain(b"\0")) {
            *to = from;
        }
        // SAFETY: NUL-terminated just now.
        if unsafe { libc::access(place.as_ptr().cast(), libc::X_OK) } == 0 {
            return CStr::from_bytes_until_nul(place).ok();
        }
    }
    None
}
