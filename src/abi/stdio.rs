//! Standard streams over our sockets. The C library reads and writes the descriptor of a stream without
//! passing by our exports; a stream made for one of our sockets is therefore one with functions of its own
//! (fopencookie(3)), which are ours.

use core::ffi::{c_char, c_int, c_void};
use libc::{size_t, ssize_t};

use super::{descriptors, receive, send};
use crate::fd::table;
use crate::sys::Errno;
use crate::sys::real::real;

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
}

/// Where the C library's FILE keeps its descriptor (a part of its ABI): fileno(3) answers from there.
const FILENO_OFF: usize = 112;

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
        if table::stream(fd).is_none() {
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

export! {
    fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void {
        // SAFETY: as the caller says; the stream is the C library's, whose layout is part of its ABI.
        unsafe {
            if table::stream(fd).is_none() || mode.is_null() {
                return (real().fdopen)(fd, mode);
            }
            let functions = Functions { read: cookie_read, write: cookie_write, seek: cookie_seek, close: cookie_close };
            let stream = fopencookie(fd as usize as *mut c_void, mode, functions);
            if !stream.is_null() {
                stream.cast::<u8>().add(FILENO_OFF).cast::<c_int>().write(fd);
            }
            stream
        }
    }

    fn fclose(stream: *mut c_void) -> c_int {
        // SAFETY: as the caller says. A stream with our functions closes its socket itself; any other
        // closes its descriptor behind our back.
        unsafe {
            let fd = if stream.is_null() { -1 } else { (real().fileno)(stream) };
            if table::stream(fd).is_none() {
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

/// A variadic function in front of `print`: makes a va_list of the registers and the stack (System V ABI,
/// AMD64, 3.5.7), with `named` arguments before the variable ones, and the format in `format`.
#[cfg(target_arch = "x86_64")]
macro_rules! variadic {
    ($name:ident, $named:literal, $move_format:literal) => {
        /// dprintf(3).
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C-unwind" fn $name() {
            core::arch::naked_asm!(
                "sub rsp, 216",
                "mov [rsp + 40], rsi",
                "mov [rsp + 48], rdx",
                "mov [rsp + 56], rcx",
                "mov [rsp + 64], r8",
                "mov [rsp + 72], r9",
                "test al, al",
                "je 2f",
                "movaps [rsp + 80], xmm0",
                "movaps [rsp + 96], xmm1",
                "movaps [rsp + 112], xmm2",
                "movaps [rsp + 128], xmm3",
                "movaps [rsp + 144], xmm4",
                "movaps [rsp + 160], xmm5",
                "movaps [rsp + 176], xmm6",
                "movaps [rsp + 192], xmm7",
                "2:",
                $move_format,
                "mov dword ptr [rsp], {gp}",
                "mov dword ptr [rsp + 4], 48",
                "lea rax, [rsp + 224]",
                "mov [rsp + 8], rax",
                "lea rax, [rsp + 32]",
                "mov [rsp + 16], rax",
                "mov rdx, rsp",
                "call {print}",
                "add rsp, 216",
                "ret",
                gp = const $named * 8,
                print = sym print,
            )
        }
    };
}

#[cfg(target_arch = "x86_64")]
variadic!(dprintf, 2, "");
#[cfg(target_arch = "x86_64")]
variadic!(__dprintf_chk, 3, "mov rsi, rdx");
