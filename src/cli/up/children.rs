//! The processes that `landline up` has started, and those that they leave behind: it is told of every end, and is given
//! the orphans among their descendants (PR_SET_CHILD_SUBREAPER of prctl(2)), so that none is left in the end.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

/// Signals that have come, each by a pipe of its own.
pub struct Signals {
    pipes: Vec<(Signal, UnixStream)>,
}

impl Signals {
    /// From now on `signals` are told here. One that is ignored (nohup(1)) stays so, but for SIGCHLD.
    pub fn told(signals: &[Signal]) -> io::Result<Signals> {
        let ignored = ignored_signals();
        let mut pipes = Vec::new();
        let is_ignored = |signal: Signal| ignored >> (signal as u32 - 1) & 1 != 0 && signal != Signal::SIGCHLD;
        for &signal in signals.iter().filter(|&&signal| !is_ignored(signal)) {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal as i32, write)?;
            pipes.push((signal, read));
        }
        Ok(Signals { pipes })
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(|(_, pipe)| pipe.as_fd())
    }

    /// Those that have come since the last call.
    pub fn take(&mut self) -> Vec<Signal> {
        let has_come = |pipe: &mut UnixStream| {
            let mut any = false;
            while pipe.read(&mut [0; 64]).is_ok_and(|n| n > 0) {
                any = true;
            }
            any
        };
        self.pipes.iter_mut().filter_map(|(signal, pipe)| has_come(pipe).then_some(*signal)).collect()
    }
}

/// The signals that this process ignores, one a bit (SigIgn of proc_pid_status(5)).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Orphans among the descendants become children of this process.
pub fn adopt_orphans() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(io::Error::from)
}

/// Children that have ended, with their exit status as a shell tells it.
#[derive(Default)]
pub struct Ended {
    pub who: Vec<(Pid, u8)>,
    /// No child is left.
    pub is_last: bool,
}

pub fn reap() -> Ended {
    let mut ended = Ended::default();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => ended.who.push((pid, code as u8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => ended.who.push((pid, 128 + signal as u8)),
            Ok(WaitStatus::StillAlive) => return ended,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => {
                ended.is_last = true;
                return ended;
            }
        }
    }
}

/// Sends a signal to a program with all that it has started and that has not left its group.
pub fn signal_group(leader: Pid, which: Signal) {
    let _ = signal::killpg(leader, which);
}

pub fn signal_one(pid: Pid, which: Signal) {
    let _ = signal::kill(pid, which);
}

/// Every child there is now, adopted ones included.
pub fn all() -> Vec<Pid> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in the second field may hold anything: the fields are counted from its end.
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| parent(pid) == Some(getpid().as_raw())).map(Pid::from_raw).collect()
}
