//! Variadic functions: what Rust cannot define is received here and passed on as a `va_list`.

use core::ffi::c_void;

/// The pointers of a variable argument list.
pub struct Arguments(*mut c_void);

impl Arguments {
    /// # Safety
    /// `list` is a va_list with nothing but pointers, of which `next` is called for no more than there are.
    pub unsafe fn new(list: *mut c_void) -> Arguments {
        Arguments(list)
    }

    /// The next pointer (System V ABI, AMD64, 3.5.7: 48 bytes of registers, then the stack).
    ///
    /// # Safety
    /// There is one.
    pub unsafe fn next(&mut self) -> *mut c_void {
        #[repr(C)]
        struct List {
            register_off: u32,
            vector_off: u32,
            stack: *mut *mut c_void,
            registers: *mut u8,
        }
        // SAFETY: as the caller says.
        unsafe {
            let list = &mut *self.0.cast::<List>();
            if list.register_off < 48 {
                let value = list.registers.add(list.register_off as usize).cast::<*mut c_void>().read();
                list.register_off += 8;
                value
            } else {
                let value = list.stack.read();
                list.stack = list.stack.add(1);
                value
            }
        }
    }
}

/// A variadic export in front of `$function`, which gets the first two arguments and a va_list of the rest:
/// makes the list of the registers and the stack (System V ABI, AMD64, 3.5.7). `$named` arguments stand before
/// the variable ones; `$move` may put another in the second's place.
#[cfg(target_arch = "x86_64")]
macro_rules! variadic {
    ($(#[$meta:meta])* $name:ident, $named:literal, $move:literal, $function:path) => {
        $(#[$meta])*
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C-unwind" fn $name() {
            core::arch::naked_asm!(
                "sub rsp, 216",
                "mov [rsp + 40], rsi",
                "mov [rsp + 48], rdx",
                "mov [rsp + 56], rcx",
                "mov [rsp + 64], r8",
                "mov [rsp + 72], r9",
                "test al, al",
                "je 2f",
                "movaps [rsp + 80], xmm0",
                "movaps [rsp + 96], xmm1",
                "movaps [rsp + 112], xmm2",
                "movaps [rsp + 128], xmm3",
                "movaps [rsp + 144], xmm4",
                "movaps [rsp + 160], xmm5",
                "movaps [rsp + 176], xmm6",
                "movaps [rsp + 192], xmm7",
                "2:",
                $move,
                "mov dword ptr [rsp], {gp}",
                "mov dword ptr [rsp + 4], 48",
                "lea rax, [rsp + 224]",
                "mov [rsp + 8], rax",
                "lea rax, [rsp + 32]",
                "mov [rsp + 16], rax",
                "mov rdx, rsp",
                "call {function}",
                "add rsp, 216",
                "ret",
                gp = const $named * 8,
                function = sym $function,
            )
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use variadic;
