//! Starts programs in their order, looks whether they are ready, passes on what they write, and ends them all together.
//! One loop, which sleeps until there is something to do; no thread.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{ErrorKind, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use super::children::{self, Signals};
use super::file::{File, Program, When};
use super::tell::{Log, Teller};
use crate::cli::run;
use crate::cli::target::Refusal;
use crate::cli::view;
use crate::shm::arena::Place;
use crate::shm::{Arena, owner};

/// Between two looks whether a program is ready.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Between the friendly signal and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
/// Programs started before a look at what the others do.
const MOST_AT_ONCE: usize = 8;
/// Before a program that ended at once is started again: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// The status where a program did not become ready.
const NOT_READY: u8 = 1;

/// How far a program has come.
#[derive(Clone, Copy)]
enum Stage {
    /// Waits for others.
    Waiting,
    /// Is started again then.
    Pausing(Instant),
    Running {
        since: Instant,
    },
    /// Has ended as it may.
    Done,
}

/// One program.
struct Slot {
    stage: Stage,
    /// What has to be ready before.
    after: Vec<usize>,
    is_ready: bool,
    pause: Duration,
    log: Log,
    /// When to look next whether it is ready; none while a command that asks it runs.
    next_look: Option<Instant>,
}

/// What a process of ours is.
#[derive(Clone, Copy)]
enum Role {
    Program,
    /// Asks whether the program is ready, since then.
    Asks(Instant),
}

/// All are being ended.
struct Ending {
    status: u8,
    since: Instant,
    is_forced: bool,
    /// Adopted processes that have been told.
    told: HashSet<Pid>,
}

/// When all is to end by itself.
#[derive(Default)]
pub struct Goal {
    pub at: Option<Instant>,
    /// When this program ends.
    pub with: Option<usize>,
}

/// The programs of a net file.
pub struct Supervisor<'a> {
    pub file: &'a File,
    pub place: &'a Place,
    pub arena: &'a Arena,
    /// The number of each program's host.
    pub hosts: Vec<u32>,
    pub goal: Goal,
    pub teller: Teller,
    pub signals: Signals,
    slots: Vec<Slot>,
    /// What they write, with the program that it is of.
    outputs: Vec<(usize, PipeReader)>,
    /// Live processes that we know, with the program that they are of.
    known: HashMap<Pid, (usize, Role)>,
    ending: Option<Ending>,
}

impl<'a> Supervisor<'a> {
    pub fn new(
        (file, place, arena): (&'a File, &'a Place, &'a Arena),
        (hosts, logs): (Vec<u32>, Vec<Log>),
        goal: Goal,
        teller: Teller,
        signals: Signals,
    ) -> Self {
        let now = Instant::now();
        let after = |program: &Program| program.after.iter().filter_map(|name| file.program(name)).collect();
        let slot =
            |(log, program)| Slot { stage: Stage::Waiting, after: after(program), is_ready: false, pause: PAUSES[0], log, next_look: Some(now) };
        let slots = logs.into_iter().zip(&file.programs).map(slot).collect();
        Supervisor { file, place, arena, hosts, goal, teller, signals, slots, outputs: Vec::new(), known: HashMap::new(), ending: None }
    }

    /// Until all has ended; returns the status to end with.
    pub fn run(&mut self) -> u8 {
        loop {
            if self.ending.is_none() {
                self.start_those_due();
                self.look_who_is_ready();
                self.look_whether_all_is_done();
            }
            self.teller.flush();
            // Where no child is left no signal would end the sleep.
            let is_over = self.ending.is_some() && self.is_over();
            if !is_over {
                let readable = self.wait();
                self.read(&readable);
            }
            if is_over || self.is_over() {
                self.finish_outputs();
                self.teller.flush();
                return self.ending.as_ref().map_or(0, |ending| ending.status);
            }
        }
    }

    fn program(&self, i: usize) -> &'a Program {
        &self.file.programs[i]
    }

    fn may_start(&self, i: usize) -> bool {
        match self.slots[i].stage {
            Stage::Waiting => self.slots[i].after.iter().all(|&before| self.slots[before].is_ready),
            Stage::Pausing(until) => until <= Instant::now(),
            _ => false,
        }
    }

    fn start_those_due(&mut self) {
        for _ in 0..MOST_AT_ONCE {
            let Some(i) = (0..self.slots.len()).find(|&i| self.may_start(i)) else { return };
            if let Err(refusal) = self.start(i) {
                self.teller.event("failed", Some(i), &[("why", refusal.why.as_str().into())], &format!("cannot be started: {}", refusal.why));
                return self.end(refusal.status);
            }
        }
    }

    /// A command on the host of a program, in its folder and environment.
    fn command(&self, i: usize, words: &[OsString]) -> Result<Command, Refusal> {
        let program = self.program(i);
        let mut command = run::preloaded(words, self.place)?;
        command.env("LANDLINE_HOST", &program.host).envs(&program.env).stdin(Stdio::null()).process_group(0);
        command.current_dir(program.dir.as_ref().map_or(self.file.dir.clone(), |dir| self.file.dir.join(dir)));
        Ok(command)
    }

    fn spawn(&mut self, i: usize, role: Role, command: &mut Command) -> Result<Pid, Refusal> {
        let child = command.spawn().map_err(|e| Refusal::new(126, format!("{}: {e}", command.get_program().display())))?;
        let pid = Pid::from_raw(child.id() as i32);
        self.known.insert(pid, (i, role));
        owner::introduce(&self.arena.lock(), child.id(), self.hosts[i]);
        Ok(pid)
    }

    fn start(&mut self, i: usize) -> Result<(), Refusal> {
        let ours = |e: std::io::Error| Refusal::new(run::OURS, e.to_string());
        let mut command = self.command(i, &self.program(i).command.resolved(&self.file.dir))?;
        let (output, into) = std::io::pipe().map_err(ours)?;
        command.stdout(into.try_clone().map_err(ours)?).stderr(into);
        let pid = self.spawn(i, Role::Program, &mut command)?;
        // Gives up our copies of where it writes to, so that the end of its output is seen.
        drop(command);
        self.outputs.push((i, output));
        let now = Instant::now();
        self.slots[i].stage = Stage::Running { since: now };
        self.slots[i].next_look = Some(now);
        self.teller.event("started", Some(i), &[("pid", pid.as_raw().into())], "");
        if self.program(i).ready.is_none() && !self.program(i).once {
            self.slots[i].is_ready = true;
        }
        Ok(())
    }

    /// The program that runs and is not ready yet, with what it is waited for and since when.
    fn awaited(&self, i: usize) -> Option<(&'a When, Duration, Instant)> {
        let ready = self.program(i).ready.as_ref().filter(|_| !self.slots[i].is_ready)?;
        match self.slots[i].stage {
            Stage::Running { since } => Some((&ready.when, ready.within, since)),
            _ => None,
        }
    }

    fn look_who_is_ready(&mut self) {
        let now = Instant::now();
        let mut listening = None;
        for i in 0..self.slots.len() {
            let Some((when, within, since)) = self.awaited(i) else { continue };
            let is_due = self.slots[i].next_look.is_some_and(|at| at <= now);
            match when {
                When::Port(port) if is_due => {
                    if listening.get_or_insert_with(|| view::ports(self.arena)).contains(&(self.hosts[i], *port)) {
                        self.becomes_ready(i);
                        continue;
                    }
                    self.slots[i].next_look = Some(now + LOOK_EVERY);
                }
                When::Command(words) if is_due => {
                    let asked = self.command(i, &words.resolved(&self.file.dir)).and_then(|mut command| {
                        command.stdout(Stdio::null()).stderr(Stdio::null());
                        self.spawn(i, Role::Asks(now), &mut command)
                    });
                    match asked {
                        Ok(_) => self.slots[i].next_look = None,
                        Err(refusal) => {
                            let words = format!("cannot be asked whether it is ready: {}", refusal.why);
                            self.teller.event("failed", Some(i), &[("why", refusal.why.into())], &words);
                            return self.end(refusal.status);
                        }
                    }
                }
                _ => {}
            }
            if now - since > within {
                let words = format!("is not ready after {within:?}");
                self.teller.event("failed", Some(i), &[("why", words.as_str().into())], &words);
                return self.end(NOT_READY);
            }
        }
    }

    fn becomes_ready(&mut self, i: usize) {
        let slot = &mut self.slots[i];
        let Stage::Running { since } = slot.stage else { return };
        if std::mem::replace(&mut slot.is_ready, true) {
            return;
        }
        let took = since.elapsed().as_secs_f64();
        self.teller.event("ready", Some(i), &[("after_s", took.into())], &format!("is ready ({took:.3} s)"));
    }

    fn look_whether_all_is_done(&mut self) {
        let is_done = self.goal.at.is_some_and(|at| at <= Instant::now())
            || (!self.slots.is_empty() && self.slots.iter().all(|slot| matches!(slot.stage, Stage::Done)));
        if is_done && self.ending.is_none() {
            self.end(0);
        }
    }

    /// When there is something to do although nothing happens.
    fn next_look(&self) -> Option<Instant> {
        if let Some(ending) = &self.ending {
            return Some(if ending.is_forced { Instant::now() + PATIENCE } else { ending.since + PATIENCE });
        }
        let slots = (0..self.slots.len()).filter_map(|i| match self.slots[i].stage {
            _ if self.may_start(i) => Some(Instant::now()),
            Stage::Pausing(until) => Some(until),
            _ => {
                let (when, within, since) = self.awaited(i)?;
                let late = since + within + Duration::from_millis(1);
                match (when, self.slots[i].next_look) {
                    (When::Log(_), _) | (_, None) => Some(late),
                    (_, Some(at)) => Some(at.min(late)),
                }
            }
        });
        slots.chain(self.goal.at).min()
    }

    /// Sleeps until a program has written something, a signal has come, or it is time to look; returns what can be read.
    fn wait(&self) -> Vec<bool> {
        let fds: Vec<BorrowedFd> = self.outputs.iter().map(|(_, pipe)| pipe.as_fd()).chain(self.signals.fds()).collect();
        let mut fds: Vec<PollFd> = fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let timeout = self.next_look().map_or(PollTimeout::NONE, |at| {
            // To the next whole millisecond, for what is due to be due.
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let _ = poll(&mut fds, timeout);
        fds[..self.outputs.len()].iter().map(|fd| fd.any().unwrap_or(false)).collect()
    }

    /// Reads once from each output that has something.
    fn read(&mut self, readable: &[bool]) {
        let outputs = std::mem::take(&mut self.outputs).into_iter().zip(readable);
        self.outputs =
            outputs.filter_map(|((i, mut pipe), &is_readable)| (!is_readable || self.read_one(i, &mut pipe)).then_some((i, pipe))).collect();
    }

    /// Passes on what a program has written; false where no more comes.
    fn read_one(&mut self, i: usize, pipe: &mut PipeReader) -> bool {
        let mut bytes = [0; 64 << 10];
        let n = match pipe.read(&mut bytes) {
            Ok(n) => n,
            Err(e) => return e.kind() == ErrorKind::Interrupted,
        };
        let pattern = match self.awaited(i) {
            Some((When::Log(pattern), ..)) => Some(pattern),
            _ => None,
        };
        let (teller, mut is_ready) = (&mut self.teller, false);
        let tell = |line: &[u8]| {
            is_ready = is_ready || pattern.is_some_and(|pattern| pattern.is_match(&String::from_utf8_lossy(line)));
            teller.line(i, line);
        };
        match n {
            0 => self.slots[i].log.end_line(tell),
            _ => self.slots[i].log.take(&bytes[..n], tell),
        }
        if is_ready {
            self.becomes_ready(i);
        }
        n > 0
    }

    /// All have ended: what they have written and nobody has read is passed on. Nobody else is waited for.
    fn finish_outputs(&mut self) {
        for (i, mut pipe) in std::mem::take(&mut self.outputs) {
            if fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok() {
                while self.read_one(i, &mut pipe) {}
            }
            let teller = &mut self.teller;
            self.slots[i].log.end_line(|line| teller.line(i, line));
        }
    }

    /// Takes in what has ended, and signals to this process; true when all is over: no child is left.
    fn is_over(&mut self) -> bool {
        for signal in self.signals.take() {
            match (signal, &self.ending) {
                (Signal::SIGCHLD, _) => {}
                (_, Some(_)) => self.force(),
                (signal, None) => {
                    self.teller.event("stopping", None, &[("signal", signal.as_str().into())], "ending all");
                    self.end(128 + signal as u8);
                }
            }
        }
        let ended = children::reap();
        for (pid, status) in ended.who {
            self.has_ended(pid, status);
        }
        match &self.ending {
            Some(_) if ended.is_last => true,
            Some(ending) if ending.is_forced && ending.since.elapsed() > 2 * PATIENCE => {
                self.teller.event("stuck", None, &[], "some processes do not end, not even by SIGKILL");
                true
            }
            Some(ending) => {
                if !ending.is_forced && ending.since.elapsed() >= PATIENCE {
                    self.force();
                }
                self.end_adopted();
                false
            }
            None => false,
        }
    }

    fn has_ended(&mut self, pid: Pid, status: u8) {
        let Some((i, role)) = self.known.remove(&pid) else { return };
        let now = Instant::now();
        if let Role::Asks(since) = role {
            // No more than half of the time is spent on asking.
            self.slots[i].next_look = Some(now + (now - since).max(LOOK_EVERY));
            if status == 0 && self.awaited(i).is_some() {
                self.becomes_ready(i);
            }
            return;
        }
        let Stage::Running { since } = self.slots[i].stage else { return };
        let program = self.program(i);
        let words = match status {
            _ if self.ending.is_some() || (program.once && status == 0) => String::new(),
            0..=128 => format!("has ended with status {status}"),
            _ => format!("was ended by signal {}", status - 128),
        };
        self.teller.event("ended", Some(i), &[("status", Value::from(status))], &words);
        if program.once && status == 0 {
            self.becomes_ready(i);
        }
        self.slots[i].stage = Stage::Done;
        if self.ending.is_some() {
            return;
        }
        if self.goal.with == Some(i) {
            self.end(status);
        } else if program.restart {
            let slot = &mut self.slots[i];
            slot.pause = if now - since > PAUSES[1] { PAUSES[0] } else { (slot.pause * 2).min(PAUSES[1]) };
            slot.stage = Stage::Pausing(now + slot.pause / 2);
        } else if !(program.once && status == 0) {
            self.end(status);
        }
    }

    /// Begins to end all; the first status counts.
    fn end(&mut self, status: u8) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(Ending { status, since: Instant::now(), is_forced: false, told: HashSet::new() });
        self.known.keys().for_each(|&pid| children::signal_group(pid, Signal::SIGTERM));
        // There may be no child whose end would be told.
        self.end_adopted();
    }

    /// No more patience.
    fn force(&mut self) {
        if let Some(ending) = self.ending.as_mut().filter(|ending| !ending.is_forced) {
            ending.is_forced = true;
            ending.told.clear();
            self.known.keys().for_each(|&pid| children::signal_group(pid, Signal::SIGKILL));
        }
    }

    /// Ends what our programs have left behind, once they are gone.
    fn end_adopted(&mut self) {
        let Some(ending) = self.ending.as_mut().filter(|ending| self.known.is_empty() || ending.is_forced) else { return };
        let signal = if ending.is_forced { Signal::SIGKILL } else { Signal::SIGTERM };
        for pid in children::all().into_iter().filter(|pid| !self.known.contains_key(pid)) {
            if ending.told.insert(pid) {
                children::signal_one(pid, signal);
            }
        }
    }
}
