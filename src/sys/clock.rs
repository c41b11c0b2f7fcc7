//! The clocks (clock_gettime(2), answered by the vDSO without entering the kernel) and deadlines.

use libc::timespec;

/// Nanoseconds of CLOCK_MONOTONIC.
#[inline]
pub fn now_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of CLOCK_REALTIME.
pub fn realtime_ns() -> u64 {
    read_ns(libc::CLOCK_REALTIME)
}

#[inline]
fn read_ns(clock: libc::clockid_t) -> u64 {
    let mut ts = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec to write to.
    unsafe { libc::clock_gettime(clock, &mut ts) };
    (ts.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(ts.tv_nsec as u64)
}

/// The processor's clock, which only says what came first.
#[inline(always)]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every such processor has the instruction.
    return unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    now_ns()
}

/// A moment after which a wait ends; `NEVER` has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline(u64);

impl Deadline {
    pub const NEVER: Deadline = Deadline(u64::MAX);
    /// Already over: the wait only looks.
    pub const NOW: Deadline = Deadline(0);

    /// `ns` from now; 0 is `NOW`.
    pub fn after_ns(ns: u64) -> Deadline {
        if ns == 0 { Self::NOW } else { Deadline(now_ns().saturating_add(ns)) }
    }

    /// From a timeout in milliseconds, negative meaning none (poll(2), epoll_wait(2)).
    pub fn after_ms(ms: i32) -> Deadline {
        match u64::try_from(ms) {
            Ok(ms) => Self::after_ns(ms * 1_000_000),
            Err(_) => Self::NEVER,
        }
    }

    /// From a socket option's nanoseconds, where 0 means none (SO_RCVTIMEO).
    pub fn of_option(ns: u64) -> Deadline {
        if ns == 0 { Self::NEVER } else { Self::after_ns(ns) }
    }

    /// This, or `ns` from now where that is earlier.
    pub fn at_most_ns(self, ns: u64) -> Deadline {
        Deadline(self.0.min(now_ns().saturating_add(ns)))
    }

    /// This, or the moment `ns` where that is earlier.
    pub fn no_later_than(self, ns: u64) -> Deadline {
        Deadline(self.0.min(ns))
    }

    pub fn is_never(self) -> bool {
        self == Self::NEVER
    }

    pub fn is_now(self) -> bool {
        self == Self::NOW
    }

    /// What is left of it: `None` where it never comes, zero where it is over.
    pub fn left(self) -> Option<timespec> {
        if self.is_never() {
            return None;
        }
        let ns = self.0.saturating_sub(if self.is_now() { 0 } else { now_ns() });
        Some(timespec { tv_sec: (ns / 1_000_000_000) as libc::time_t, tv_nsec: (ns % 1_000_000_000) as libc::c_long })
    }

    /// The moment itself, on CLOCK_MONOTONIC; `None` where it never comes.
    pub fn absolute(self) -> Option<timespec> {
        (!self.is_never()).then_some(timespec { tv_sec: (self.0 / 1_000_000_000) as libc::time_t, tv_nsec: (self.0 % 1_000_000_000) as libc::c_long })
    }

    pub fn passed(self) -> bool {
        self.is_now() || (!self.is_never() && now_ns() >= self.0)
    }
}
