//! What the environment asks for, read once when the library is loaded: programs such as nginx wipe
//! their environment later.

use once_cell::sync::OnceCell;

/// The settings of this process.
pub struct Config {
    /// `LANDLINE_OFF=1`: every socket stays on the kernel's path.
    pub off: bool,
    /// `LANDLINE_DIR`: the folder of the arena; `/dev/shm` by default.
    pub dir: Option<Vec<u8>>,
    /// `LANDLINE_TRACE=1`: say on descriptor 2 what each socket does and why.
    pub trace: bool,
    /// `LANDLINE_WARN=1`: say on descriptor 2 when the arena cannot be used.
    pub warn: bool,
    /// `LANDLINE_SPIN_US`: the longest spin before sleeping, in microseconds.
    pub spin_ns: u64,
}

static CONFIG: OnceCell<Config> = OnceCell::new();

fn variable(name: &str) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(name).map(OsStringExt::into_vec).filter(|v| !v.is_empty())
}

fn is_set(name: &str) -> bool {
    variable(name).is_some_and(|v| v != b"0")
}

/// The settings, read at the first call.
pub fn get() -> &'static Config {
    CONFIG.get_or_init(|| {
        let spin_us = variable("LANDLINE_SPIN_US").and_then(|v| String::from_utf8(v).ok()?.parse().ok());
        Config {
            off: is_set("LANDLINE_OFF"),
            dir: variable("LANDLINE_DIR"),
            trace: is_set("LANDLINE_TRACE"),
            warn: is_set("LANDLINE_WARN") || is_set("LANDLINE_TRACE"),
            spin_ns: spin_us.unwrap_or(50u64).min(10_000) * 1000,
        }
    })
}
