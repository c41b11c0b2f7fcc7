//! What the environment asks for, read once when the library is loaded: programs such as nginx wipe
//! their environment later.

use core::sync::atomic::{AtomicBool, Ordering};
use once_cell::sync::OnceCell;

/// The settings of this process.
pub struct Config {
    /// `LANDLINE_OFF=1`: every socket stays on the kernel's path.
    pub off: bool,
    /// `LANDLINE_DIR`: the folder of the arena; `/dev/shm` by default.
    pub dir: Option<Vec<u8>>,
    /// `LANDLINE_NET`: the private net that this process belongs to; none by default.
    pub net: Option<String>,
    /// `LANDLINE_HOST`: the host of it; `DEFAULT_HOST` where nothing is said.
    pub host: String,
    /// `LANDLINE_TRACE=1`: say on descriptor 2 what each socket does and why.
    pub trace: bool,
    /// `LANDLINE_WARN=1`: say on descriptor 2 when the arena cannot be used.
    pub warn: bool,
    /// `LANDLINE_SPIN_US`: the longest spin before sleeping, in microseconds.
    pub spin_ns: u64,
}

static CONFIG: OnceCell<Config> = OnceCell::new();

/// New sockets stay on the kernel's path.
static LEFT: AtomicBool = AtomicBool::new(false);

fn variable(name: &str) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(name).map(OsStringExt::into_vec).filter(|v| !v.is_empty())
}

fn is_set(name: &str) -> bool {
    variable(name).is_some_and(|v| v != b"0")
}

/// The host of a process of which nobody has said to which it belongs.
pub const DEFAULT_HOST: &str = "node";

/// The settings, read at the first call.
pub fn get() -> &'static Config {
    CONFIG.get_or_init(|| {
        let spin_us = variable("LANDLINE_SPIN_US").and_then(|v| String::from_utf8(v).ok()?.parse().ok());
        Config {
            off: is_set("LANDLINE_OFF"),
            dir: variable("LANDLINE_DIR"),
            net: variable("LANDLINE_NET").map(|v| String::from_utf8_lossy(&v).into_owned()),
            host: variable("LANDLINE_HOST").and_then(|v| String::from_utf8(v).ok()).unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            trace: is_set("LANDLINE_TRACE"),
            warn: is_set("LANDLINE_WARN") || is_set("LANDLINE_TRACE"),
            spin_ns: spin_us.unwrap_or(50u64).min(10_000) * 1000,
        }
    })
}

/// Whether new sockets are to stay on the kernel's path. What comes in on the ring goes on there.
pub fn leaves_to_kernel() -> bool {
    LEFT.load(Ordering::Relaxed)
}

/// From now on new sockets stay on the kernel's path.
pub fn leave_to_kernel(why: &str) {
    if !LEFT.swap(true, Ordering::Relaxed) {
        super::trace::trace(format_args!("new sockets stay with the kernel: {why}"));
    }
}

/// Leaves the sockets of a program that is linked with liburing to the kernel: it may read and write them
/// through rings of its own, which nobody sees.
pub fn look_at_program() {
    // SAFETY: a NUL-terminated name; the answer is only compared with null.
    if !unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"io_uring_queue_init".as_ptr()) }.is_null() {
        leave_to_kernel("the program is linked with liburing");
    }
}
