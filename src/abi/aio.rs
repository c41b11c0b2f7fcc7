//! Asynchronous input and output (aio(7)): the C library reads and writes in threads of its own, past our
//! exports. A socket that is used so stays with the kernel; one that has left it is refused.

use core::ffi::{c_int, c_void};

use crate::fd::table;
use crate::socket::route;
use crate::sys::real::real;
use crate::sys::{Errno, errno::encode};

/// The descriptor of a control block: its first field.
unsafe fn may_go_on(block: *mut c_void) -> bool {
    // SAFETY: null or a control block of the caller's.
    block.is_null() || table::stream(unsafe { block.cast::<c_int>().read() }).is_none_or(route::pin)
}

fn refuse() -> c_int {
    encode(Err(Errno::ENOSYS)) as c_int
}

macro_rules! asynchronous {
    ($($name:ident)*) => { export! { $(
        fn $name(block: *mut c_void) -> c_int {
            // SAFETY: as the caller says.
            unsafe { if may_go_on(block) { (real().$name)(block) } else { refuse() } }
        }
    )* } };
}
asynchronous! { aio_read aio_write aio_read64 aio_write64 }

macro_rules! lists {
    ($($name:ident)*) => { export! { $(
        fn $name(mode: c_int, blocks: *const *mut c_void, n: c_int, signal: *mut c_void) -> c_int {
            // SAFETY: `n` pointers, says the caller.
            unsafe {
                let all = blocks.is_null() || (0..n.max(0) as usize).all(|i| may_go_on(blocks.add(i).read()));
                if all { (real().$name)(mode, blocks, n, signal) } else { refuse() }
            }
        }
    )* } };
}
lists! { lio_listio lio_listio64 }
