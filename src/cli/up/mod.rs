//! `landline up`: brings up a whole private net as a file describes it, and takes it down again.

mod children;
mod file;
mod supervisor;
mod tell;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use super::view::View;
use super::{links, run};
use crate::net::hosts;
use crate::shm::arena::{self, Place};
use crate::shm::{Arena, owner};
use children::Signals;
use file::File;
pub use file::duration_argument;
use supervisor::{Goal, Supervisor};
use tell::{Form, Log, Teller};

#[derive(Args)]
pub struct Options {
    /// The net file: hosts, programs and links, as TOML
    file: PathBuf,
    /// Leave the net when all has ended, to be looked at; `landline net rm` removes it
    #[arg(long)]
    keep: bool,
    /// Folder for a log of each program; NAME.logs by default
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// End all after so long
    #[arg(long = "for", value_name = "SECONDS", value_parser = duration_argument)]
    lasting: Option<Duration>,
    /// End all when this program ends, with its status
    #[arg(long, value_name = "PROGRAM")]
    until_exit: Option<String>,
    /// Do not print what the programs write: their logs have it
    #[arg(short, long)]
    quiet: bool,
    /// Print JSON: an object a line for each event and each line of output
    #[arg(long)]
    json: bool,
}

pub fn up(options: &Options, place: &Place) -> ExitCode {
    match try_up(options, place) {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            eprintln!("landline: {why}");
            ExitCode::from(run::OURS)
        }
    }
}

fn try_up(options: &Options, place: &Place) -> Result<u8, String> {
    let file = File::read(&options.file)?;
    let net = place.net.clone().unwrap_or_else(|| file.net.clone());
    let place = Place { net: Some(net.clone()), ..place.clone() };
    let until = options.until_exit.as_ref().map(|name| file.program(name).ok_or(format!("there is no program {name}"))).transpose()?;
    let goal = Goal { at: options.lasting.map(|lasting| Instant::now() + lasting), with: until };

    let dir = options.logs.clone().unwrap_or_else(|| format!("{net}.logs").into());
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let logs = file.programs.iter().map(|program| Log::create(&dir, &program.name)).collect::<Result<_, _>>()?;
    make_room(2 * file.programs.len() as u64 + 64);
    let signals = Signals::told(&[Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]).map_err(|e| e.to_string())?;
    children::adopt_orphans().map_err(|e| e.to_string())?;

    let arena = begin(&place, &net)?;
    let form = match (options.json, options.quiet) {
        (true, _) => Form::Json,
        (_, true) => Form::Quiet,
        _ => Form::Text,
    };
    let mut teller = Teller::new(form, file.programs.iter().map(|program| program.name.clone()).collect());
    let status = describe(&arena, &file).map(|hosts| {
        let words = format!("the net {net} is up; logs are in {}", dir.display());
        teller.event("up", None, &[("net", net.as_str().into()), ("logs", dir.display().to_string().into())], &words);
        Supervisor::new((&file, &place, &arena), (hosts, logs), goal, teller, signals).run()
    });
    arena.header().net.keep(options.keep);
    arena::leave(&arena, &place);
    status
}

/// Makes the net. One that others use is not taken from them.
fn begin(place: &Place, net: &str) -> Result<Arena, String> {
    let failed = |why: &str| format!("the net {net}: {why}");
    // One that was kept is done with.
    if let Ok(old) = arena::existing(place) {
        old.header().net.keep(false);
        let _ = arena::remove_if_unused(place);
    }
    let arena = arena::ensured(place).map_err(failed)?;
    let lock = arena.lock();
    let users = View::of(&arena).processes();
    if !users.is_empty() {
        return Err(failed(&format!("{} is in it already", super::net::in_words(&users))));
    }
    owner::introduce(&lock, std::process::id(), 0);
    drop(lock);
    Ok(arena)
}

/// Makes hosts and links; returns the number of each program's host.
fn describe(arena: &Arena, file: &File) -> Result<Vec<u32>, String> {
    let header = &arena.header().net;
    if let Some(outside) = file.outside {
        run::set_outside(arena, outside);
    }
    if let Some(seed) = file.seed {
        header.seed.store(seed, Ordering::Relaxed);
    }
    let ensure = |name: &str, address: Option<IpAddr>| hosts::ensure(&arena.lock(), name, address).map_err(|why| format!("the host {name}: {why}"));
    // Those that want a certain address come before those that take what is free.
    let (given, others): (Vec<_>, Vec<_>) = file.hosts.iter().partition(|(_, host)| host.address.is_some());
    for (name, host) in given.into_iter().chain(others) {
        ensure(name, host.address)?;
    }
    links::apply(arena, &file.links)?;
    file.programs.iter().map(|program| ensure(&program.host, None)).collect()
}

/// Lets this process have so many descriptors, as far as it may.
fn make_room(descriptors: u64) {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < descriptors
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, descriptors.min(hard), hard);
    }
}
