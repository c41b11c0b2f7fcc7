//! A large array of words that costs memory only where it is used: for what a process knows by descriptor.

use core::sync::atomic::AtomicU64;

/// `n` words of zero, for the life of the process; none where the machine refuses.
pub fn zeroed(n: usize) -> &'static [AtomicU64] {
    // SAFETY: a new private anonymous mapping, never unmapped, zeroed, of the size of the slice made of it.
    unsafe {
        let at = libc::mmap(
            core::ptr::null_mut(),
            n * size_of::<AtomicU64>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if at == libc::MAP_FAILED { &[] } else { core::slice::from_raw_parts(at.cast(), n) }
    }
}
