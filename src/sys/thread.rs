//! The calling thread and process: identifiers, the processor it runs on, liveness of others.

use core::sync::atomic::{AtomicU32, Ordering};
use libc::c_int;

use super::confined::is_confined;
use super::errno::preserved;
use super::real::real;

/// The calling thread's id, 0 before it was asked for: on x86-64 at a fixed distance from the thread pointer
/// (the initial-exec model of thread-local storage, which Rust does not offer), elsewhere as Rust does it.
#[cfg(target_arch = "x86_64")]
mod slot {
    core::arch::global_asm!(
        ".section .tbss,\"awT\",@nobits",
        ".hidden landline_tid",
        ".globl landline_tid",
        ".type landline_tid, @object",
        ".size landline_tid, 4",
        ".balign 4",
        "landline_tid:",
        ".zero 4",
        ".text",
    );

    #[inline(always)]
    pub fn get() -> u32 {
        let tid: u32;
        // SAFETY: reads this thread's own four bytes.
        unsafe {
            core::arch::asm!(
                "mov {at}, qword ptr [rip + landline_tid@GOTTPOFF]",
                "mov {tid:e}, dword ptr fs:[{at}]",
                at = out(reg) _,
                tid = lateout(reg) tid,
                options(nostack, readonly, preserves_flags),
            );
        }
        tid
    }

    pub fn set(tid: u32) {
        // SAFETY: writes this thread's own four bytes.
        unsafe {
            core::arch::asm!(
                "mov {at}, qword ptr [rip + landline_tid@GOTTPOFF]",
                "mov dword ptr fs:[{at}], {tid:e}",
                at = out(reg) _,
                tid = in(reg) tid,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod slot {
    use core::cell::Cell;

    thread_local! {
        static TID: Cell<u32> = const { Cell::new(0) };
    }

    pub fn get() -> u32 {
        TID.get()
    }

    pub fn set(tid: u32) {
        TID.set(tid);
    }
}

static PID: AtomicU32 = AtomicU32::new(0);

/// The calling thread's id (gettid(2)), remembered after the first call.
#[inline(always)]
pub fn tid() -> u32 {
    match slot::get() {
        0 => ask_tid(),
        tid => tid,
    }
}

#[cold]
fn ask_tid() -> u32 {
    // SAFETY: gettid has no preconditions.
    let tid = unsafe { libc::gettid() } as u32;
    slot::set(tid);
    tid
}

/// The calling process's id (getpid(2)), remembered after the first call.
#[inline]
pub fn pid() -> u32 {
    match PID.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: getpid has no preconditions.
            let pid = unsafe { libc::getpid() } as u32;
            PID.store(pid, Ordering::Relaxed);
            pid
        }
        pid => pid,
    }
}

/// Forgets what was remembered: in the child of a fork.
pub fn forget() {
    PID.store(0, Ordering::Relaxed);
    slot::set(0);
}

thread_local! {
    static BORROWS: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// Says whether this thread runs as a process of its own on its parent's memory (clone(2), CLONE_VFORK).
pub fn borrow_memory(yes: bool) {
    BORROWS.set(yes);
}

/// Whether what this thread knows of its descriptors is its parent's, and must stay as it is.
#[inline]
pub fn borrows_memory() -> bool {
    BORROWS.get()
}

/// The processor this thread runs on, plus one (0 stands for unknown).
#[inline]
pub fn cpu() -> u32 {
    // SAFETY: sched_getcpu has no preconditions.
    (unsafe { libc::sched_getcpu() } + 1) as u32
}

unsafe extern "C" {
    /// Not zero while the process has one thread only (sys/single_threaded.h).
    static __libc_single_threaded: u8;
}

/// Whether this process has had more threads than one.
pub fn has_siblings() -> bool {
    // SAFETY: a byte that the C library changes at most once while we read.
    unsafe { core::ptr::read_volatile(&raw const __libc_single_threaded) == 0 }
}

/// How many processors the machine has running (sysconf(3)).
pub fn online_cpus() -> u32 {
    // SAFETY: sysconf takes any name.
    (unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).max(1) as u32
}

/// Lets other runnable threads of this processor go first (sched_yield(2)).
#[inline]
pub fn yield_now() {
    if is_confined() {
        return (0..64).for_each(|_| super::sync::spin_hint());
    }
    // SAFETY: sched_yield has no preconditions.
    unsafe { libc::sched_yield() };
}

/// How often the kernel has given this thread's processor to another although the thread wanted to go on
/// (getrusage(2), `ru_nivcsw`); a yield that another took counts as well.
pub fn involuntary_switches() -> u64 {
    if is_confined() {
        return 0;
    }
    let mut usage = core::mem::MaybeUninit::<libc::rusage>::zeroed();
    // Asked in the middle of calls that succeed: a filter that refuses it must not show in errno.
    // SAFETY: getrusage writes the structure, which zeroes fill well enough should it refuse.
    preserved(|| unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init().ru_nivcsw as u64
    })
}

/// Whether thread `tid` of process `pid` exists (tgkill(2) with signal 0).
pub fn exists(pid: u32, tid: u32) -> bool {
    if is_confined() {
        return true;
    }
    // SAFETY: signal 0 delivers nothing; any numbers may be asked for.
    let ret = unsafe { (real().syscall)(libc::SYS_tgkill, pid as usize, tid as usize, 0, 0, 0, 0) };
    ret == 0 || super::Errno::last() == super::Errno::EPERM
}

/// Whether thread `tid` of process `pid` will ever run again: one that was killed and not waited for still exists.
pub fn will_run(pid: u32, tid: u32) -> bool {
    exists(pid, tid) && {
        let mut text = [0u8; 512];
        !matches!(state_and_rest(format_args!("/proc/{pid}/task/{tid}/stat\0"), &mut text).first(), Some(b'Z' | b'X'))
    }
}

/// What stands in a stat file of proc(5) behind the name: the state and the fields that follow it.
fn state_and_rest<'a>(path: core::fmt::Arguments, text: &'a mut [u8; 512]) -> &'a [u8] {
    let mut name = [0u8; 64];
    let _ = core::fmt::write(&mut super::trace::Buffer::new(&mut name), path);
    let n = super::call::read_file(&name, text).unwrap_or(0);
    let text = text.get(..n).unwrap_or(&[]);
    // The name in field 2 may hold anything: fields are counted from its closing parenthesis.
    text.iter().rposition(|&b| b == b')').and_then(|close| text.get(close + 2..)).unwrap_or(&[])
}

/// How many descriptors the process's table has room for (FDSize of proc_pid_status(5)).
pub fn descriptor_slots() -> usize {
    let mut text = [0u8; 512];
    let n = super::call::read_file(b"/proc/self/status\0", &mut text).unwrap_or(0);
    let lines = text.get(..n).unwrap_or(&[]).split(|&b| b == b'\n');
    let value = lines.filter_map(|line| line.strip_prefix(b"FDSize:")).next().and_then(|v| core::str::from_utf8(v).ok());
    value.and_then(|v| v.trim().parse().ok()).unwrap_or(usize::MAX)
}

/// Runs `f`, which sleeps in calls that are cancellation points, for one that is none (pthreads(7)).
pub fn without_cancellation<T>(f: impl FnOnce() -> T) -> T {
    unsafe extern "C" {
        fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    }
    const DISABLE: c_int = 1;
    let mut before = 0;
    // SAFETY: an int to write to; the state is put back.
    unsafe { pthread_setcancelstate(DISABLE, &mut before) };
    let value = f();
    // SAFETY: as above; a null pointer asks for no old state.
    unsafe { pthread_setcancelstate(before, core::ptr::null_mut()) };
    value
}

/// Sends `signal` to the calling thread.
pub fn raise(signal: c_int) {
    // SAFETY: a signal to ourselves, with its usual effect.
    unsafe { (real().syscall)(libc::SYS_tgkill, pid() as usize, tid() as usize, signal as usize, 0, 0, 0) };
}

/// When process `pid` started, in clock ticks since boot (proc_pid_stat(5), field 22); 0 if it is gone.
pub fn start_time(pid: u32) -> u64 {
    let mut text = [0u8; 512];
    let rest = state_and_rest(format_args!("/proc/{pid}/stat\0"), &mut text);
    let field = rest.split(|&b| b == b' ').nth(19).unwrap_or(&[]);
    field.iter().fold(0u64, |v, &b| v.wrapping_mul(10).wrapping_add(u64::from(b.wrapping_sub(b'0'))))
}
