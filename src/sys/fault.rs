//! Memory of the program's that may not be there.
//!
//! A system call answers EFAULT to a bad pointer because the kernel catches its own page faults. Copying through
//! shared memory makes no system call, so the same is done here: before a buffer is copied from or to, each of its
//! pages is touched by one instruction that is written down, with the place to go on at, in a table (the section
//! `landline_faults`). A handler of SIGSEGV and SIGBUS looks the faulting instruction up there. Everything else it
//! hands to the program's own handler, which `sigaction` and `signal` keep for it meanwhile, or to the default.
//!
//! The handler comes when the process joins the net, is left out while the program ignores the signal, and is gone
//! where the program installs its own behind the C library's back: then a bad pointer is a crash.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use libc::{sigaction, siginfo_t};

use super::errno::{Ret, check};
use super::mutex::Mutex;
use super::real::real;
use super::{Errno, thread};

const PAGE_BYTES: usize = 4096;

/// One instruction that may fault: how far from each field it and the place to go on at are.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
struct Entry {
    instruction: i32,
    go_on_at: i32,
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    // The linker's names for both ends of the section.
    static __start_landline_faults: [Entry; 0];
    static __stop_landline_faults: [Entry; 0];
}

/// Runs one instruction on `at`; returns false from the function around it where that faults.
#[cfg(target_arch = "x86_64")]
macro_rules! touch {
    ($instruction:literal, $at:expr) => {
        core::arch::asm!(
            concat!("2: ", $instruction),
            ".pushsection landline_faults, \"aR\", @progbits",
            ".balign 4",
            ".long 2b - .",
            ".long {fault} - .",
            ".popsection",
            at = in(reg) $at,
            fault = label { return false },
            options(nostack),
        )
    };
}

/// Below the first page that can be mapped, and above all that a program can have.
const LOWEST: usize = 64 << 10;
const HIGHEST: usize = (1 << 56) - PAGE_BYTES;

/// Calls `touch` with an address in every page of the `n` bytes at `at`, while it answers true. What cannot be memory is
/// not touched, and nothing is before the handler is there.
#[inline(always)]
fn all_pages(at: usize, n: usize, touch: impl Fn(usize) -> bool) -> bool {
    if n == 0 {
        return true;
    }
    if at.wrapping_sub(LOWEST) >= HIGHEST - LOWEST {
        return false;
    }
    if !WATCHING.load(Ordering::Relaxed) {
        return true;
    }
    // An end beyond all memory faults as well.
    let last = at.wrapping_add(n - 1);
    if !touch(at) {
        return false;
    }
    if (at ^ last) & !(PAGE_BYTES - 1) == 0 {
        return true;
    }
    if !touch(last) {
        return false;
    }
    let mut next = (at & !(PAGE_BYTES - 1)) + PAGE_BYTES;
    while next < last {
        if !touch(next) {
            return false;
        }
        next += PAGE_BYTES;
    }
    true
}

/// Whether the `n` bytes at `at` can be read now.
#[inline(always)]
pub fn can_read(at: *const u8, n: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    let touch = |at: usize| {
        // SAFETY: reads a byte; where there is none the handler goes on at the label.
        unsafe { touch!("cmp byte ptr [{at}], 0", at) };
        true
    };
    #[cfg(not(target_arch = "x86_64"))]
    let touch = |_| true;
    all_pages(at.addr(), n, touch)
}

/// Whether the `n` bytes at `at` can be read and written now; they stay as they are.
#[inline]
pub fn can_update(at: *mut u8, n: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    let touch = |at: usize| {
        // SAFETY: writes a byte back in one step; where there is none the handler goes on at the label.
        unsafe { touch!("lock or byte ptr [{at}], 0", at) };
        true
    };
    #[cfg(not(target_arch = "x86_64"))]
    let touch = |_| true;
    all_pages(at.addr(), n, touch)
}

/// Whether the `n` bytes at `at` can be written now. The caller is about to overwrite all of them: some are set to 0.
///
/// # Safety
/// No Rust value lies there.
#[inline(always)]
pub unsafe fn can_write(at: *mut u8, n: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    let touch = |at: usize| {
        // SAFETY: writes a byte that the caller gives up; where there is none the handler goes on at the label.
        unsafe { touch!("mov byte ptr [{at}], 0", at) };
        true
    };
    #[cfg(not(target_arch = "x86_64"))]
    let touch = |_| true;
    all_pages(at.addr(), n, touch)
}

/// The signals of a fault.
const WATCHED: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What the program wants done about one of them; `sigaction` in pieces that a handler can read at any time.
struct Action {
    handler: AtomicUsize,
    flags: AtomicI32,
    mask: AtomicU64,
}

/// Held while an action is changed.
static CHANGING: Mutex<()> = Mutex::new(());

/// Whether the program has come to need it.
static WATCHING: AtomicBool = AtomicBool::new(false);

static ACTIONS: [Action; 2] = [const { Action { handler: AtomicUsize::new(libc::SIG_DFL), flags: AtomicI32::new(0), mask: AtomicU64::new(0) } }; 2];

/// Whether `signal` is one that a fault raises.
pub fn is_watched(signal: c_int) -> bool {
    WATCHED.contains(&signal)
}

impl Action {
    fn of(signal: c_int) -> Option<&'static Action> {
        ACTIONS.get(WATCHED.iter().position(|&s| s == signal)?)
    }

    fn set(&self, action: &sigaction) {
        if action.sa_sigaction == ours() {
            // Told by a function of the C library's that we do not see, and given back.
            return;
        }
        self.handler.store(action.sa_sigaction, Ordering::Relaxed);
        self.flags.store(action.sa_flags, Ordering::Relaxed);
        // SAFETY: the first word of the C library's set holds the kernel's 64 signals.
        self.mask.store(unsafe { (&raw const action.sa_mask).cast::<u64>().read() }, Ordering::Relaxed);
    }

    fn get(&self) -> sigaction {
        // SAFETY: all-zero is valid; the set's first word as above.
        unsafe {
            let mut action: sigaction = core::mem::zeroed();
            action.sa_sigaction = self.handler.load(Ordering::Relaxed);
            action.sa_flags = self.flags.load(Ordering::Relaxed);
            (&raw mut action.sa_mask).cast::<u64>().write(self.mask.load(Ordering::Relaxed));
            action
        }
    }
}

/// The kernel's action for a signal.
fn installed(signal: c_int) -> Result<sigaction, Errno> {
    // SAFETY: all-zero is valid to write to; nothing is changed.
    unsafe {
        let mut now: sigaction = core::mem::zeroed();
        check((real().sigaction)(signal, core::ptr::null(), &mut now) as isize)?;
        Ok(now)
    }
}

fn install(signal: c_int, action: &sigaction) -> Ret {
    // SAFETY: a valid action; its handler is ours or the program's own.
    check(unsafe { (real().sigaction)(signal, action, core::ptr::null_mut()) } as isize)
}

fn ours() -> usize {
    (on_fault as extern "C-unwind" fn(c_int, *mut siginfo_t, *mut c_void)) as usize
}

/// Our handler, with the program's wishes about stacks and masks.
fn install_over(signal: c_int, theirs: &sigaction) -> Ret {
    let mut action = *theirs;
    action.sa_sigaction = ours();
    action.sa_flags = (theirs.sa_flags | libc::SA_SIGINFO) & !libc::SA_RESETHAND;
    if theirs.sa_sigaction == libc::SIG_DFL {
        action.sa_flags |= libc::SA_ONSTACK;
    }
    install(signal, &action)
}

/// From now on a bad pointer is told from a good one. Harmless to call again.
#[cold]
pub fn watch() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let _changing = CHANGING.lock_unless_mine();
    for signal in WATCHED {
        let (Ok(theirs), Some(action)) = (installed(signal), Action::of(signal)) else { continue };
        if theirs.sa_sigaction != libc::SIG_IGN && theirs.sa_sigaction != ours() {
            action.set(&theirs);
            let _ = install_over(signal, &theirs);
        }
    }
    WATCHING.store(true, Ordering::Relaxed);
}

/// What the kernel adds to the flags of a handler that the C library has set.
const SA_RESTORER: c_int = 0x0400_0000;

/// sigaction(2) as the program sees it.
pub fn change(signal: c_int, new: Option<&sigaction>) -> Result<sigaction, Errno> {
    let _changing = CHANGING.lock_unless_mine();
    let now = installed(signal)?;
    let is_ours = now.sa_sigaction == ours();
    let shadow = Action::of(signal);
    let before = shadow.filter(|_| is_ours).map_or(now, Action::get);
    if let Some(new) = new {
        // A child on borrowed memory has handlers of its own, but not their shadow.
        let stays = !thread::borrows_memory() && (is_ours || (now.sa_sigaction == libc::SIG_IGN && WATCHING.load(Ordering::Relaxed)));
        match shadow.filter(|_| stays) {
            Some(shadow) if new.sa_sigaction != libc::SIG_IGN => {
                shadow.set(&sigaction { sa_flags: new.sa_flags | SA_RESTORER, ..*new });
                install_over(signal, new)?;
            }
            _ => {
                install(signal, new)?;
            }
        }
    }
    Ok(before)
}

extern "C-unwind" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's.
    let is_fault = unsafe { (*info).si_code } > 0;
    if let (true, Some(go_on_at)) = (is_fault, way_out(context)) {
        // SAFETY: the kernel's context of the interrupted instruction, restored when this returns.
        unsafe { set_instruction(context, go_on_at) };
        return;
    }
    let Some(action) = Action::of(signal) else { return };
    let handler = action.handler.load(Ordering::Relaxed);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // The default, when the instruction faults again; what was sent by kill(2) has to be sent again.
        // SAFETY: all-zero is SIG_DFL with no flags.
        let default: sigaction = unsafe { core::mem::zeroed() };
        let _ = install(signal, &default);
        if !is_fault {
            thread::raise(signal);
        }
        return;
    }
    if action.flags.load(Ordering::Relaxed) & libc::SA_RESETHAND != 0 {
        action.handler.store(libc::SIG_DFL, Ordering::Relaxed);
    }
    // SAFETY: the program's handler; one that takes a single argument ignores the other two.
    unsafe {
        let handler: extern "C-unwind" fn(c_int, *mut siginfo_t, *mut c_void) = core::mem::transmute(handler);
        handler(signal, info, context);
    }
}

/// Where to go on, if the interrupted instruction is one of the table's.
#[cfg(target_arch = "x86_64")]
fn way_out(context: *mut c_void) -> Option<usize> {
    // SAFETY: the kernel's context; the section holds whole entries between the linker's two names.
    unsafe {
        let at = (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
        let (first, end) = (__start_landline_faults.as_ptr(), __stop_landline_faults.as_ptr());
        let entries = core::slice::from_raw_parts(first, end.offset_from(first) as usize);
        let target = |field: &i32| core::ptr::from_ref(field).addr().wrapping_add_signed(*field as isize);
        entries.iter().find(|e| target(&e.instruction) == at).map(|e| target(&e.go_on_at))
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn set_instruction(context: *mut c_void, at: usize) {
    // SAFETY: as the caller says.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] = at as i64 };
}

#[cfg(not(target_arch = "x86_64"))]
fn way_out(_context: *mut c_void) -> Option<usize> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn set_instruction(_context: *mut c_void, _at: usize) {}
