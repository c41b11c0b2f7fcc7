//! The host beneath us: the table of the C library's real functions, `errno`, the clock, the calling
//! thread, configuration, tracing, and the atomics façade that loom replaces. Owns nothing that is
//! shared between processes. Imports from no other floor.

pub mod anchor;
pub mod call;
pub mod clock;
pub mod config;
pub mod confined;
pub mod diag;
pub mod environ;
pub mod errno;
pub mod fault;
#[cfg(not(loom))]
pub mod futex;
pub mod mailbox;
#[cfg(loom)]
mod model;
pub mod mutex;
pub mod program;
pub mod real;
pub mod resolv;
pub mod signal;
pub mod slots;
pub mod sync;
pub mod thread;
pub mod trace;
pub mod unix_name;
pub mod valgrind;

pub use errno::Errno;
