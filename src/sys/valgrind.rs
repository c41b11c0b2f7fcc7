//! A word to valgrind, where a program runs under it; to any other machine it is six instructions that do nothing
//! (valgrind.h and memcheck.h, "client requests").

const TOOL_MEMCHECK: u64 = (b'M' as u64) << 24 | (b'C' as u64) << 16;
const MAKE_MEM_NOACCESS: u64 = TOOL_MEMCHECK;
const DISABLE_ADDR_ERROR_REPORTING_IN_RANGE: u64 = TOOL_MEMCHECK + 14;

#[cfg(target_arch = "x86_64")]
fn request(what: u64, at: u64, bytes: u64) {
    let arguments: [u64; 6] = [what, at, bytes, 0, 0, 0];
    // SAFETY: four rotations of rdi that add up to two whole turns, and an exchange of a register with itself;
    // valgrind reads the six words and answers in rdx.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") 0u64 => _,
            options(nostack),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: u64, _: u64, _: u64) {}

/// Memory that a search for leaks shall not read: a look at a hole in a file of tmpfs fills it.
pub fn overlook(at: *const u8, bytes: u64) {
    request(DISABLE_ADDR_ERROR_REPORTING_IN_RANGE, at.addr() as u64, bytes);
    request(MAKE_MEM_NOACCESS, at.addr() as u64, bytes);
}
