//! Standard streams over our sockets. The C library reads and writes the descriptor of a stream without
//! passing by our exports; a stream made for one of our sockets is therefore one with functions of its own
//! (fopencookie(3)), which are ours. Where one of the descriptors 0, 1, 2 is such a socket (inetd's way of
//! starting a server), the standard stream of that number becomes one.

use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};
use libc::{size_t, ssize_t};

#[cfg(target_arch = "x86_64")]
use super::variadic::variadic;
use super::{descriptors, receive, send};
use crate::fd::table;
use crate::sys::errno::preserved;
use crate::sys::real::real;
use crate::sys::{Errno, call};

#[repr(C)]
struct Functions {
    read: unsafe extern "C-unwind" fn(*mut c_void, *mut c_char, size_t) -> ssize_t,
    write: unsafe extern "C-unwind" fn(*mut c_void, *const c_char, size_t) -> ssize_t,
    seek: unsafe extern "C-unwind" fn(*mut c_void, *mut i64, c_int) -> c_int,
    close: unsafe extern "C-unwind" fn(*mut c_void) -> c_int,
}

unsafe extern "C-unwind" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut c_void;
    fn vasprintf(out: *mut *mut c_char, format: *const c_char, args: *mut c_void) -> c_int;
    fn fflush(stream: *mut c_void) -> c_int;
    fn fwrite(from: *const c_void, bytes: size_t, n: size_t, stream: *mut c_void) -> size_t;
    fn setvbuf(stream: *mut c_void, buf: *mut c_char, mode: c_int, n: size_t) -> c_int;
    fn __fpending(stream: *mut c_void) -> size_t;
    fn __fpurge(stream: *mut c_void);
    static mut stdin: *mut c_void;
    static mut stdout: *mut c_void;
    static mut stderr: *mut c_void;
}

/// setvbuf(3): no buffer.
const _IONBF: c_int = 2;

/// Where the C library's FILE keeps its descriptor (a part of its ABI): fileno(3) answers from there.
const FILENO_OFF: usize = 112;
/// And the bytes that it has not written yet.
const WRITE_BASE_OFF: usize = 32;

unsafe extern "C-unwind" fn cookie_read(cookie: *mut c_void, buf: *mut c_char, n: size_t) -> ssize_t {
    // SAFETY: the C library's buffer.
    unsafe { receive::read(cookie as c_int, buf.cast(), n) }
}

unsafe extern "C-unwind" fn cookie_write(cookie: *mut c_void, buf: *const c_char, n: size_t) -> ssize_t {
    // A write function says 0, not -1, where it failed (fopencookie(3)).
    // SAFETY: as above.
    unsafe { write_all(cookie as c_int, buf.cast(), n) }.max(0)
}

unsafe extern "C-unwind" fn cookie_seek(_: *mut c_void, _: *mut i64, _: c_int) -> c_int {
    Errno::ESPIPE.set();
    -1
}

unsafe extern "C-unwind" fn cookie_close(cookie: *mut c_void) -> c_int {
    // SAFETY: a plain number.
    unsafe { descriptors::close(cookie as c_int) }
}

/// Writes everything, as the C library's streams do; returns what was written, or -1 where that is nothing.
unsafe fn write_all(fd: c_int, buf: *const c_void, n: usize) -> ssize_t {
    let mut done = 0;
    while done < n {
        // SAFETY: within the caller's `n` bytes.
        let ret = unsafe { send::write(fd, buf.cast::<u8>().add(done).cast(), n - done) };
        if ret < 0 {
            return if done > 0 { done as ssize_t } else { -1 };
        }
        done += ret as usize;
    }
    done as ssize_t
}

/// vdprintf on one of our sockets, or the C library's.
unsafe extern "C-unwind" fn print(fd: c_int, format: *const c_char, args: *mut c_void) -> c_int {
    // SAFETY: format and arguments fit one another, says the caller; the text is freed once.
    unsafe {
        if table::socket(fd).is_none() {
            return (real().vdprintf)(fd, format, args);
        }
        let mut text = core::ptr::null_mut();
        let n = vasprintf(&mut text, format, args);
        if n < 0 {
            return n;
        }
        let written = write_all(fd, text.cast(), n as usize);
        libc::free(text.cast());
        if written == n as ssize_t { n } else { -1 }
    }
}

/// A stream of our own for `fd`.
unsafe fn open_stream(fd: c_int, mode: *const c_char) -> *mut c_void {
    let functions = Functions { read: cookie_read, write: cookie_write, seek: cookie_seek, close: cookie_close };
    // SAFETY: a mode of the caller's; the stream is the C library's, whose layout is part of its ABI.
    unsafe {
        let stream = fopencookie(fd as usize as *mut c_void, mode, functions);
        if !stream.is_null() {
            stream.cast::<u8>().add(FILENO_OFF).cast::<c_int>().write(fd);
        }
        stream
    }
}

/// Whether the standard stream of each number is ours already.
static OURS: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

/// Descriptor `fd` now refers to another file: if it is one of our sockets, and a standard stream's, that stream
/// becomes one of ours. It stays so, since our functions serve any file.
pub fn follow(fd: c_int) {
    let Some(ours) = usize::try_from(fd).ok().and_then(|n| OURS.get(n)) else { return };
    if table::socket(fd).is_none() || ours.load(Ordering::Relaxed) {
        return;
    }
    let (variable, mode) = match fd {
        0 => (&raw mut stdin, c"r"),
        1 => (&raw mut stdout, c"w"),
        _ => (&raw mut stderr, c"w"),
    };
    // SAFETY: the C library's variables, which a program may set; the streams are valid.
    unsafe {
        let old = variable.read();
        if old.is_null() || (real().fileno)(old) != fd {
            return;
        }
        let new = open_stream(fd, mode.as_ptr());
        if new.is_null() {
            return;
        }
        if fd == 2 {
            setvbuf(new, core::ptr::null_mut(), _IONBF, 0);
        }
        // What was printed and not yet written is written to the new file, as Linux does.
        let pending = if fd == 0 { 0 } else { __fpending(old) };
        if pending > 0 {
            fwrite(old.cast::<u8>().add(WRITE_BASE_OFF).cast::<*const c_void>().read(), 1, pending, new);
            __fpurge(old);
        }
        variable.write(new);
    }
    ours.store(true, Ordering::Relaxed);
}

/// Looks at the standard streams when the program starts.
pub fn adopt_standard_streams() {
    preserved(|| {
        for fd in 0..3 {
            if call::int_option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Ok(libc::IPPROTO_TCP) {
                follow(fd);
            }
        }
    });
}

/// freopen(3): the C library puts another file behind the stream's descriptor.
unsafe fn reopen(stream: *mut c_void, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    // SAFETY: a stream of the caller's.
    let fd = unsafe { (real().fileno)(stream) };
    if table::socket(fd).is_none() {
        return call();
    }
    // SAFETY: as above.
    unsafe { fflush(stream) };
    let retired = preserved(|| table::retire(fd));
    let ret = call();
    preserved(|| retired.finish());
    ret
}

export! {
    fn freopen(path: *const c_char, mode: *const c_char, stream: *mut c_void) -> *mut c_void {
        // SAFETY: as the caller says.
        unsafe { reopen(stream, || (real().freopen)(path, mode, stream)) }
    }

    fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut c_void) -> *mut c_void {
        // SAFETY: as the caller says.
        unsafe { reopen(stream, || (real().freopen64)(path, mode, stream)) }
    }

    fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void {
        // SAFETY: as the caller says.
        unsafe {
            if table::socket(fd).is_none() || mode.is_null() {
                return (real().fdopen)(fd, mode);
            }
            open_stream(fd, mode)
        }
    }

    fn fclose(stream: *mut c_void) -> c_int {
        // SAFETY: as the caller says. A stream with our functions closes its socket itself; any other
        // closes its descriptor behind our back.
        unsafe {
            let fd = if stream.is_null() { -1 } else { (real().fileno)(stream) };
            if table::socket(fd).is_none() {
                table::retire(fd).finish();
            }
            (real().fclose)(stream)
        }
    }

    fn vdprintf(fd: c_int, format: *const c_char, args: *mut c_void) -> c_int {
        // SAFETY: as the caller says.
        unsafe { print(fd, format, args) }
    }

    fn __vdprintf_chk(fd: c_int, _flag: c_int, format: *const c_char, args: *mut c_void) -> c_int {
        // SAFETY: as the caller says.
        unsafe { print(fd, format, args) }
    }
}

#[cfg(target_arch = "x86_64")]
variadic!(
    /// dprintf(3).
    dprintf, 2, "", print
);
#[cfg(target_arch = "x86_64")]
variadic!(
    /// dprintf(3), fortified: a flag stands before the format.
    __dprintf_chk, 3, "mov rsi, rdx", print
);
