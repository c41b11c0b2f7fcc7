//! Calls that make processes and start programs. Before another process gets our descriptors their sockets
//! are marked as shared (fork itself is seen by its handlers), and programs get the environment that this one
//! began with, as far as it concerns us.

use core::ffi::{c_char, c_int, c_void};

use super::variadic::Arguments;
#[cfg(target_arch = "x86_64")]
use super::variadic::variadic;
use super::{before_fork, in_child, in_parent};
use crate::fd::table::{self, share_all};
use crate::sys::environ::{Environment, while_complete};
use crate::sys::errno::{encode, preserved};
use crate::sys::real::real;
use crate::sys::{Errno, confined, fault, program, thread};

/// Before `path` is executed: what keeps sockets and will not have the library gets them by the kernel.
unsafe fn hand_over(path: *const c_char) {
    if path.is_null() || crate::shm::arena::joined().is_none() || confined::is_confined() {
        return;
    }
    // SAFETY: a path of the caller's, which is there.
    let is_alone = fault::can_read(path.cast(), 1) && program::runs_alone(unsafe { core::ffi::CStr::from_ptr(path) });
    if is_alone {
        table::hand_over();
    }
}

unsafe fn hand_over_by_name(file: *const c_char) {
    let mut place = [0u8; libc::PATH_MAX as usize];
    if !file.is_null() && crate::shm::arena::joined().is_some() && fault::can_read(file.cast(), 1) {
        // SAFETY: a name of the caller's, which is there.
        unsafe {
            if let Some(path) = program::find_in_path(file, &mut place) {
                hand_over(path.as_ptr());
            }
        }
    }
}

/// Runs `start` with a completed `env`: a call that returns only where it failed.
unsafe fn with_environment(env: *const *mut c_char, start: impl FnOnce(*const *mut c_char) -> c_int) -> c_int {
    preserved(share_all);
    // SAFETY: as the caller says of `env`.
    let complete = unsafe { Environment::complete(env.cast()) };
    start(complete.as_ptr())
}

unsafe extern "C" {
    static environ: *const *mut c_char;
}

/// Before this process installs a filter of system calls.
pub(super) fn confine() {
    preserved(|| {
        if let Some(arena) = crate::shm::arena::joined() {
            crate::shm::owner::Me::get(arena);
        }
        // What is asked once is asked now.
        crate::socket::spin::single_processor();
        table::confine_all();
        confined::confine();
    });
}

/// Arguments in an execl(3) call; more are E2BIG.
const MOST_ARGUMENTS: usize = 1024;

/// Calls `start` with the arguments of an execl(3) call: `first` and what follows it, to the null pointer.
unsafe fn listed(first: *const c_char, rest: &mut Arguments, start: impl FnOnce(*const *mut c_char) -> c_int) -> c_int {
    let mut argv = [core::ptr::null_mut::<c_char>(); MOST_ARGUMENTS];
    let mut next = first.cast_mut();
    for place in &mut argv {
        *place = next;
        if next.is_null() {
            return start(argv.as_ptr());
        }
        // SAFETY: the null pointer has not come yet.
        next = unsafe { rest.next() }.cast();
    }
    encode(Err(Errno(libc::E2BIG))) as c_int
}

unsafe extern "C-unwind" fn execl_list(path: *const c_char, first: *const c_char, list: *mut c_void) -> c_int {
    // SAFETY: as the caller of execl says.
    unsafe { listed(first, &mut Arguments::new(list), |argv| execv(path, argv)) }
}

unsafe extern "C-unwind" fn execlp_list(file: *const c_char, first: *const c_char, list: *mut c_void) -> c_int {
    // SAFETY: as the caller of execlp says.
    unsafe { listed(first, &mut Arguments::new(list), |argv| execvp(file, argv)) }
}

unsafe extern "C-unwind" fn execle_list(path: *const c_char, first: *const c_char, list: *mut c_void) -> c_int {
    // SAFETY: as the caller of execle says: the environment follows the null pointer.
    unsafe {
        let mut rest = Arguments::new(list);
        let more = &raw mut rest;
        listed(first, &mut rest, |argv| execve(path, argv, (*more).next().cast()))
    }
}

#[cfg(target_arch = "x86_64")]
variadic!(
    /// execl(3).
    execl, 2, "", execl_list
);
#[cfg(target_arch = "x86_64")]
variadic!(
    /// execlp(3).
    execlp, 2, "", execlp_list
);
#[cfg(target_arch = "x86_64")]
variadic!(
    /// execle(3).
    execle, 2, "", execle_list
);

/// What a process made by clone(2) does first.
struct Start {
    run: unsafe extern "C-unwind" fn(*mut c_void) -> c_int,
    arg: *mut c_void,
    /// It runs on its parent's memory until it executes a program.
    borrows: bool,
}

unsafe extern "C-unwind" fn begin(start: *mut c_void) -> c_int {
    // SAFETY: the `Start` of the call to clone below, which lives in the child's copy of the caller's stack, or
    // in the caller's own while that waits.
    unsafe {
        let start = &*start.cast::<Start>();
        if start.borrows {
            thread::borrow_memory(true);
        } else {
            in_child();
        }
        (start.run)(start.arg)
    }
}

export! {
    fn vfork() -> c_int {
        // A child that borrows our memory would change our descriptor table: it gets a copy instead, which
        // POSIX allows.
        // SAFETY: fork has no preconditions.
        unsafe { (real().fork)() }
    }

    fn _Fork() -> c_int {
        before_fork();
        // SAFETY: no preconditions.
        let pid = unsafe { (real()._Fork)() };
        if pid == 0 { in_child() } else { in_parent() }
        pid
    }

    fn clone(run: *const c_void, stack: *mut c_void, flags: c_int, arg: *mut c_void, parent_tid: *mut c_void, tls: *mut c_void, child_tid: *mut c_void) -> c_int {
        // SAFETY: as the caller says. `start` is there for the child: in its copy of our memory, or in ours
        // while we wait for it (CLONE_VFORK).
        unsafe {
            let (shares_memory, waits) = (flags & libc::CLONE_VM != 0, flags & libc::CLONE_VFORK != 0);
            if run.is_null() || (shares_memory && !waits) {
                if flags & libc::CLONE_THREAD == 0 {
                    preserved(share_all);
                }
                return (real().clone)(run, stack, flags, arg, parent_tid, tls, child_tid);
            }
            let run = core::mem::transmute::<*const c_void, unsafe extern "C-unwind" fn(*mut c_void) -> c_int>(run);
            let mut start = Start { run, arg, borrows: shares_memory };
            let start = (&raw mut start).cast::<c_void>();
            if shares_memory {
                preserved(share_all);
            } else {
                before_fork();
            }
            let pid = (real().clone)(begin as *const c_void, stack, flags, start, parent_tid, tls, child_tid);
            if shares_memory {
                thread::borrow_memory(false);
            } else {
                in_parent();
            }
            pid
        }
    }

    fn daemon(keep_folder: c_int, keep_streams: c_int) -> c_int {
        // SAFETY: plain numbers.
        let ret = unsafe { (real().daemon)(keep_folder, keep_streams) };
        if ret == 0 && keep_streams == 0 {
            // The C library has put /dev/null in their place.
            preserved(|| (0..3).for_each(|fd| table::retire(fd).finish()));
        }
        ret
    }

    fn forkpty(master: *mut c_int, name: *mut c_char, terminal: *const c_void, size: *const c_void) -> c_int {
        // SAFETY: as the caller says.
        let pid = unsafe { (real().forkpty)(master, name, terminal, size) };
        if pid == 0 {
            preserved(|| (0..3).for_each(|fd| table::retire(fd).finish()));
        }
        pid
    }

    fn login_tty(fd: c_int) -> c_int {
        // SAFETY: a plain number.
        let ret = unsafe { (real().login_tty)(fd) };
        if ret == 0 {
            preserved(|| (0..3).chain([fd]).for_each(|fd| table::retire(fd).finish()));
        }
        ret
    }

    fn execve(path: *const c_char, argv: *const *mut c_char, env: *const *mut c_char) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            preserved(|| hand_over(path));
            with_environment(env, |env| (real().execve)(path, argv, env))
        }
    }

    fn execv(path: *const c_char, argv: *const *mut c_char) -> c_int {
        // SAFETY: as the caller says.
        unsafe { execve(path, argv, environ) }
    }

    fn execvpe(file: *const c_char, argv: *const *mut c_char, env: *const *mut c_char) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            preserved(|| hand_over_by_name(file));
            with_environment(env, |env| (real().execvpe)(file, argv, env))
        }
    }

    fn execvp(file: *const c_char, argv: *const *mut c_char) -> c_int {
        // SAFETY: as the caller says.
        unsafe { execvpe(file, argv, environ) }
    }

    fn execveat(dir: c_int, path: *const c_char, argv: *const *mut c_char, env: *const *mut c_char, flags: c_int) -> c_int {
        // SAFETY: as the caller says.
        unsafe { with_environment(env, |env| (real().execveat)(dir, path, argv, env, flags)) }
    }

    fn fexecve(fd: c_int, argv: *const *mut c_char, env: *const *mut c_char) -> c_int {
        // SAFETY: as the caller says.
        unsafe { with_environment(env, |env| (real().fexecve)(fd, argv, env)) }
    }

    fn posix_spawn(pid: *mut c_int, path: *const c_char, actions: *const c_void, attr: *const c_void, argv: *const *mut c_char, env: *const *mut c_char) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            preserved(|| hand_over(path));
            with_environment(env, |env| (real().posix_spawn)(pid, path, actions, attr, argv, env))
        }
    }

    fn posix_spawnp(pid: *mut c_int, file: *const c_char, actions: *const c_void, attr: *const c_void, argv: *const *mut c_char, env: *const *mut c_char) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            preserved(|| hand_over_by_name(file));
            with_environment(env, |env| (real().posix_spawnp)(pid, file, actions, attr, argv, env))
        }
    }

    fn popen(command: *const c_char, mode: *const c_char) -> *mut c_void {
        preserved(share_all);
        // SAFETY: as the caller says.
        while_complete(|| unsafe { (real().popen)(command, mode) })
    }

    fn system(command: *const c_char) -> c_int {
        preserved(share_all);
        // SAFETY: as the caller says.
        while_complete(|| unsafe { (real().system)(command) })
    }

    fn prctl(option: c_int, a: usize, b: usize, c: usize, d: usize) -> c_int {
        if option == libc::PR_SET_SECCOMP {
            confine();
        }
        // SAFETY: prctl's further arguments, whatever they are, come in the same registers as here.
        unsafe { (real().prctl)(option, a, b, c, d) }
    }

    fn mlockall(flags: c_int) -> c_int {
        // The arena is a large sparse file: locked whole it would fill the machine. Its pages are locked as
        // they are touched, and with them, from now on, the rest of the program's.
        // SAFETY: a plain number.
        unsafe { (real().mlockall)(if crate::shm::arena::joined().is_some() { flags | libc::MCL_ONFAULT } else { flags }) }
    }
}
