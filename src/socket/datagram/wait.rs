//! Waiting for datagrams, and what poll(2) says of them.

use super::*;
use crate::transport::direction::NEVER;

impl Endpoint {
    /// Blocks until there may be a datagram.
    ///
    /// # Errors
    /// `EINTR`; `EAGAIN` at the deadline; what the kernel has to say of the socket.
    pub(super) fn await_datagram(&self, deadline: Deadline) -> Result<(), Errno> {
        let here = crowd::place(1);
        self.rx.consumed.place.store(here, Ordering::Relaxed);
        let peer = Peer::of(here, self.rx.produced.place.load(Ordering::Relaxed));
        let mut looks = 0u32;
        let came = spin::until(peer, || {
            looks += 1;
            self.land();
            self.rx.has_data()
                || (looks.is_multiple_of(LOOKS_PER_KERNEL) && call::poll_one(self.sock.fd, POLLIN, Deadline::NOW) != Ok(0) && {
                    self.sock.pcb.set(flag::KERNEL_NEWS);
                    true
                })
        });
        if came {
            return Ok(());
        }
        let role = self.reader_role();
        let one_sleeper = role.lock(deadline.absolute()).map(|()| role);
        if one_sleeper.as_ref().is_err_and(|&e| e == Errno::ETIMEDOUT) {
            return Err(Errno::EAGAIN);
        }
        let slept = self.sleep_for_datagram(deadline);
        if let Ok(role) = one_sleeper {
            role.unlock();
        }
        slept
    }

    fn sleep_for_datagram(&self, deadline: Deadline) -> Result<(), Errno> {
        sleepers::about_to_sleep(self.sock);
        self.rx.control.readable.declare_asleep();
        let due = self.next_due();
        if self.rx.has_data() {
            self.reader_awakes();
            return Ok(());
        }
        if deadline.passed() {
            return Err(Errno::EAGAIN);
        }
        // What is under way nobody wakes for.
        let until = if provoke_the_dead() { deadline.at_most_ns(LOOK_AGAIN_NS) } else { deadline }.no_later_than(due);
        stats::sleeps(self.sock.arena);
        // A plain blocking call, which the kernel restarts after a signal where the program asked for that. Among others the
        // one that sleeps has a mailbox of the kernel's besides: another may take its doorbell.
        let alone = !self.may_have_company();
        let ret = if !alone {
            self.sleep_among_others(until)
        } else if until.is_never() && !self.sock.pcb.has(flag::NONBLOCK) {
            call::recv_scratch(self.sock.fd, MSG_PEEK)
        } else {
            match call::poll_one(self.sock.fd, POLLIN, until) {
                Err(Errno::EINTR) if deadline.is_never() && due != NEVER && signal::restarts_calls() => Ok(0),
                polled => polled.map(|bits| bits as usize),
            }
        };
        self.reader_awakes();
        self.sock.pcb.set(flag::KERNEL_NEWS);
        if self.sock.is_closed() {
            return Err(Errno::EBADF);
        }
        ret.map(|_| ())
    }

    fn sleep_among_others(&self, deadline: Deadline) -> Ret {
        let kernels = KernelMailbox::bind(self.sock.pcb.cookie.load(Ordering::Relaxed));
        let mut fds = [
            pollfd { fd: self.sock.fd, events: POLLIN, revents: 0 },
            pollfd { fd: kernels.as_ref().map_or(-1, KernelMailbox::fd), events: POLLIN, revents: 0 },
        ];
        if self.rx.has_data() {
            return Ok(1);
        }
        let until = deadline.at_most_ns(if kernels.is_none() { LOOK_AGAIN_NS } else { LOOK_NOW_AND_THEN_NS });
        match call::poll_many(&mut fds, until.left(), None) {
            Err(Errno::EINTR) if deadline.is_never() && signal::restarts_calls() => Ok(0),
            ret => ret,
        }
    }

    /// Which poll bits are on (as Linux's udp_poll).
    pub(in crate::socket) fn datagram_readiness(&self) -> Readiness {
        const READABLE: libc::c_short = POLLIN | POLLRDNORM;
        let pcb = self.sock.pcb;
        const WRITABLE: libc::c_short = POLLOUT | POLLWRNORM | POLLWRBAND;
        self.land();
        local::pay_back(self.sock);
        // Whether an AF_UNIX socket finds room the kernel says: that is where what finds none goes.
        let (mut bits, ask) = if pcb.has(flag::LOCAL) { (0, POLLERR | WRITABLE) } else { (WRITABLE, POLLERR) };
        if pcb.has(flag::DOORBELL_LEFT) && !self.rx.has_data() {
            // Something of the kernel's may be behind it.
            pcb.clear(flag::DOORBELL_LEFT);
            pcb.set(flag::KERNEL_NEWS);
        }
        if pcb.has(flag::KERNEL_NEWS) {
            pcb.clear(flag::KERNEL_NEWS);
            let told = preserved(|| call::poll_one(self.sock.fd, POLLIN, Deadline::NOW)).unwrap_or(0);
            // An error stays until it is told, which looking at the next datagram would do.
            let is_error = told & POLLERR != 0;
            let is_readable = told & POLLIN != 0 && (is_error || preserved(|| self.skip_doorbells()));
            if is_error || is_readable {
                pcb.set(flag::KERNEL_NEWS);
            }
            bits |= told & (POLLERR | POLLHUP) | if is_readable { READABLE } else { 0 };
        }
        // Last: what came before a doorbell that was taken just now shows.
        if self.rx.has_data() {
            bits |= READABLE;
        }
        if pcb.so_error.load(Ordering::Relaxed) != 0 || errors::any(self.sock) {
            bits |= POLLERR;
        }
        if pcb.has(flag::SHUT_RD) {
            bits |= READABLE | POLLRDHUP | if pcb.has(flag::SHUT_WR) { POLLHUP } else { 0 };
        }
        Readiness { bits, ask }
    }

    /// Takes the doorbells that have come; whether a datagram is behind them.
    pub(super) fn skip_doorbells(&self) -> bool {
        // One at a time: what one has seen another must not take.
        let _held = self.rx.reader.lock.acquire(self.sock.me().owner(), &System(self.sock.arena));
        loop {
            match self.next_in_kernel() {
                Ok(Datagram::Doorbell) if self.leaves_doorbells() => {
                    self.sock.pcb.set(flag::DOORBELL_LEFT);
                    return false;
                }
                Ok(Datagram::Doorbell) => self.tell_others(),
                Ok(Datagram::Other) => return true,
                Err(_) => return false,
            }
        }
    }
}
