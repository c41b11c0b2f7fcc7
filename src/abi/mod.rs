//! The C ABI: what programs call. Each export decodes its arguments, calls the floor below, and encodes the
//! answer; a descriptor that is none of ours goes straight to the C library's own function. Owns the
//! library's constructor and what happens around fork.
//!
//! The exports are `C-unwind`: a cancelled thread (pthread_cancel(3)) is unwound through them.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::sys::mutex::Mutex;

macro_rules! export {
    ($( $(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty $body:block )*) => {
        $( $(#[$meta])* #[unsafe(no_mangle)] pub unsafe extern "C-unwind" fn $name($($arg: $ty),*) -> $ret $body )*
    };
}

mod aio;
mod control;
mod datagram;
mod decode;
mod descriptors;
mod epoll;
mod host_entry;
mod interfaces;
mod limits;
mod message;
mod names;
mod openers;
mod poll;
mod prefixed;
mod prefixed_names;
mod private;
mod process;
mod receive;
mod resolver;
mod send;
mod signals;
mod sockets;
mod stdio;
mod syscall;
mod transfer;
mod variadic;
mod xns;

pub use prefixed::*;
pub use prefixed_names::*;
pub use xns::*;

/// One thread forks at a time: what is held for one must not be let go by another.
static FORKING: Mutex<()> = Mutex::new(());
/// Forks from signal handlers in the middle of another of the same thread, for which everything is held already.
static WITHIN: AtomicU32 = AtomicU32::new(0);

extern "C" fn before_fork() {
    if FORKING.is_mine() {
        WITHIN.fetch_add(1, Ordering::Relaxed);
        return;
    }
    while !FORKING.try_hold(|()| {}) {
        crate::sys::thread::yield_now();
    }
    crate::fd::table::share_all();
    crate::fd::epoll::before_fork();
    crate::shm::arena::before_fork();
}

/// Ends what `before_fork` began; not yet where the fork was one within another.
fn let_go() {
    if WITHIN.load(Ordering::Relaxed) > 0 {
        WITHIN.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    crate::shm::arena::after_fork();
    crate::fd::epoll::after_fork();
    FORKING.let_go();
}

extern "C" fn in_parent() {
    let_go();
}

extern "C" fn in_child() {
    let_go();
    crate::sys::thread::forget();
    crate::socket::sleepers::forget_others();
    crate::shm::owner::forget();
}

/// Runs before the program: reads the environment, which programs may wipe, and registers for fork.
extern "C" fn constructor() {
    crate::sys::config::get();
    crate::sys::config::look_at_program();
    crate::sys::environ::remember();
    crate::sys::real::real();
    // SAFETY: three functions that live as long as the process.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
    stdio::adopt_standard_streams();
}

/// Runs after the program.
extern "C" fn destructor() {
    use crate::shm::arena::{self, Place};
    match arena::joined() {
        Some(net) => {
            net.overlook();
            arena::leave(net, &Place::configured());
        }
        // It was started in a private net, and has not used it.
        None if crate::sys::config::get().net.is_some() => {
            let _ = arena::remove_if_unused(&Place::configured());
        }
        None => {}
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = destructor;
