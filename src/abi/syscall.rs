//! syscall(2): what goes to the kernel by number comes to our exports as well, where they have the number.

use core::ffi::{c_int, c_long, c_uint, c_void};
use libc::size_t;

use super::{before_fork, in_child, in_parent};
use super::{descriptors, epoll, message, poll, process, receive, send, sockets, transfer};
use crate::sys::config;
use crate::sys::real::real;

/// Runs a fork by number between what fork's handlers do.
unsafe fn forking(call: impl FnOnce() -> c_long) -> c_long {
    before_fork();
    let pid = call();
    if pid == 0 {
        in_child()
    } else {
        in_parent()
    }
    pid
}

/// Size of the kernel's signal sets.
const SIGSET_BYTES: usize = 8;

export! {
    fn syscall(number: c_long, a: size_t, b: size_t, c: size_t, d: size_t, e: size_t, f: size_t) -> c_long {
        let (fd, second, third) = (a as c_int, b as c_int, c as c_int);
        macro_rules! pointer { ($word:expr) => { core::ptr::with_exposed_provenance_mut::<c_void>($word).cast() }; }
        // SAFETY: as the caller of the system call says; each argument is what the call of that name takes.
        unsafe {
            match number {
                libc::SYS_read => receive::read(fd, pointer!(b), c) as c_long,
                libc::SYS_readv => receive::readv(fd, pointer!(b), third) as c_long,
                libc::SYS_recvfrom => receive::recvfrom(fd, pointer!(b), c, d as c_int, pointer!(e), pointer!(f)) as c_long,
                libc::SYS_recvmsg => message::recvmsg(fd, pointer!(b), third) as c_long,
                libc::SYS_recvmmsg => message::recvmmsg(fd, pointer!(b), c as c_uint, d as c_int, pointer!(e)).into(),
                libc::SYS_write => send::write(fd, pointer!(b), c) as c_long,
                libc::SYS_writev => send::writev(fd, pointer!(b), third) as c_long,
                libc::SYS_sendto => send::sendto(fd, pointer!(b), c, d as c_int, pointer!(e), f as c_uint) as c_long,
                libc::SYS_sendmsg => message::sendmsg(fd, pointer!(b), third) as c_long,
                libc::SYS_sendmmsg => message::sendmmsg(fd, pointer!(b), c as c_uint, d as c_int).into(),
                libc::SYS_sendfile => transfer::sendfile(fd, second, pointer!(c), d) as c_long,
                libc::SYS_splice => transfer::splice(fd, pointer!(b), third, pointer!(d), e, f as c_uint) as c_long,
                libc::SYS_socket => sockets::socket(fd, second, third).into(),
                libc::SYS_socketpair => sockets::socketpair(fd, second, third, pointer!(d)).into(),
                libc::SYS_listen => sockets::listen(fd, second).into(),
                libc::SYS_accept => sockets::accept(fd, pointer!(b), pointer!(c)).into(),
                libc::SYS_accept4 => sockets::accept4(fd, pointer!(b), pointer!(c), d as c_int).into(),
                libc::SYS_connect => sockets::connect(fd, pointer!(b), c as c_uint).into(),
                libc::SYS_shutdown => sockets::shutdown(fd, second).into(),
                libc::SYS_getpeername => sockets::getpeername(fd, pointer!(b), pointer!(c)).into(),
                libc::SYS_getsockopt => sockets::getsockopt(fd, second, third, pointer!(d), pointer!(e)).into(),
                libc::SYS_setsockopt => sockets::setsockopt(fd, second, third, pointer!(d), e as c_uint).into(),
                libc::SYS_close => descriptors::close(fd).into(),
                libc::SYS_close_range => descriptors::close_range(a as c_uint, b as c_uint, third).into(),
                libc::SYS_dup => descriptors::dup(fd).into(),
                #[cfg(target_arch = "x86_64")]
                libc::SYS_dup2 => descriptors::dup2(fd, second).into(),
                libc::SYS_dup3 => descriptors::dup3(fd, second, third).into(),
                libc::SYS_fcntl => descriptors::fcntl(fd, second, c).into(),
                libc::SYS_ioctl => descriptors::ioctl(fd, b, c).into(),
                #[cfg(target_arch = "x86_64")]
                libc::SYS_poll => poll::poll(pointer!(a), b as libc::nfds_t, third).into(),
                libc::SYS_ppoll if d == 0 || e == SIGSET_BYTES => poll::ppoll(pointer!(a), b as libc::nfds_t, pointer!(c), pointer!(d)).into(),
                #[cfg(target_arch = "x86_64")]
                libc::SYS_select => poll::select(fd, pointer!(b), pointer!(c), pointer!(d), pointer!(e)).into(),
                libc::SYS_epoll_create1 => epoll::epoll_create1(fd).into(),
                libc::SYS_epoll_ctl => epoll::epoll_ctl(fd, second, third, pointer!(d)).into(),
                #[cfg(target_arch = "x86_64")]
                libc::SYS_epoll_wait => epoll::epoll_wait(fd, pointer!(b), third, d as c_int).into(),
                libc::SYS_epoll_pwait if e == 0 || f == SIGSET_BYTES => epoll::epoll_pwait(fd, pointer!(b), third, d as c_int, pointer!(e)).into(),
                libc::SYS_epoll_pwait2 if e == 0 || f == SIGSET_BYTES => epoll::epoll_pwait2(fd, pointer!(b), third, pointer!(d), pointer!(e)).into(),
                libc::SYS_execve => process::execve(pointer!(a), pointer!(b), pointer!(c)).into(),
                libc::SYS_execveat => process::execveat(fd, pointer!(b), pointer!(c), pointer!(d), e as c_int).into(),
                #[cfg(target_arch = "x86_64")]
                libc::SYS_fork => forking(|| (real().syscall)(number, a, b, c, d, e, f)),
                // A child with memory of its own that goes on in this very function.
                libc::SYS_clone if a as c_int & libc::CLONE_VM == 0 && b == 0 => forking(|| (real().syscall)(number, a, b, c, d, e, f)),
                libc::SYS_prctl => process::prctl(fd, b, c, d, e).into(),
                // SECCOMP_SET_MODE_STRICT and _FILTER.
                libc::SYS_seccomp if a <= 1 => {
                    process::confine();
                    (real().syscall)(number, a, b, c, d, e, f)
                }
                libc::SYS_io_uring_setup => {
                    config::leave_to_kernel("the program uses io_uring");
                    (real().syscall)(number, a, b, c, d, e, f)
                }
                _ => (real().syscall)(number, a, b, c, d, e, f),
            }
        }
    }
}
