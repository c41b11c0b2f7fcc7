//! `landline net`: the private nets of this user in a folder: which there are, what is in one of them, and its end.

mod draw;
mod list;
mod show;

use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;

use super::output;
use super::view::{Process, View};
use crate::shm::arena::{self, BEFORE_NET, Place, is_net_name};

#[derive(Subcommand)]
pub enum Command {
    /// List the private nets; removes those that nobody uses any more
    Ls {
        /// Print JSON: an array of objects
        #[arg(long)]
        json: bool,
    },
    /// Show one: its hosts, processes, listeners and connections
    Show {
        /// Its name; not needed where --net names it, or there is but one
        name: Option<String>,
        #[command(flatten)]
        format: show::Format,
    },
    /// Remove one that nobody uses
    Rm {
        /// Its name
        name: String,
        /// Also where live processes use it: they go on without being found by others
        #[arg(long)]
        force: bool,
    },
}

pub fn run(command: &Command, place: &Place) -> ExitCode {
    let done = match command {
        Command::Ls { json } => Ok(output::print(|out| list::show(out, place, *json))),
        Command::Show { name, format } => chosen(name.as_deref(), place).and_then(|place| show::show(&place, format)),
        Command::Rm { name, force } => named(name, place).and_then(|place| remove(&place, *force)),
    };
    done.unwrap_or_else(|why| {
        eprintln!("landline: {why}");
        ExitCode::FAILURE
    })
}

/// Every private net in the folder, by name.
pub fn places(place: &Place) -> io::Result<Vec<Place>> {
    let own = arena::location(&Place { net: None, ..place.clone() }).map_err(io::Error::other)?;
    let prefix = format!("{}{BEFORE_NET}", own.file_name().unwrap_or_default().display());
    let mut nets: Vec<String> = std::fs::read_dir(&place.dir)?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_prefix(&prefix)?.to_owned()))
        .filter(|name| is_net_name(name))
        .collect();
    nets.sort();
    Ok(nets.into_iter().map(|net| Place { net: Some(net), ..place.clone() }).collect())
}

/// The place of the net with a name.
fn named(name: &str, place: &Place) -> Result<Place, String> {
    let place = Place { net: Some(name.to_owned()), ..place.clone() };
    match arena::location(&place)?.symlink_metadata() {
        Ok(_) => Ok(place),
        Err(_) => Err(format!("there is no net {name} in {}", place.dir.display())),
    }
}

/// The net that is meant: the one named, that of the options or the environment, or else the only one.
fn chosen(name: Option<&str>, place: &Place) -> Result<Place, String> {
    if let Some(name) = name.or(place.net.as_deref()) {
        return named(name, place);
    }
    let mut nets = places(place).map_err(|e| format!("{}: {e}", place.dir.display()))?;
    match nets.len() {
        0 => Err(format!("there is no private net in {}", place.dir.display())),
        1 => Ok(nets.remove(0)),
        _ => Err(format!("which of {}?", comma(nets.iter().filter_map(|place| place.net.as_deref())))),
    }
}

/// Live processes in words: `12/redis-server, 13/nginx`.
pub fn in_words(processes: &[Process]) -> String {
    comma(processes.iter().map(|p| format!("{}/{}", p.pid, p.program)))
}

fn comma(words: impl Iterator<Item = impl Display>) -> String {
    words.map(|word| word.to_string()).collect::<Vec<_>>().join(", ")
}

/// Removes a net that nobody uses, or any by force.
fn remove(place: &Place, force: bool) -> Result<ExitCode, String> {
    if force {
        arena::remove(place)?;
        return Ok(ExitCode::SUCCESS);
    }
    let arena = arena::existing(place).ok();
    if let Some(arena) = &arena {
        arena.header().net.keep(false);
    }
    if arena::remove_if_unused(place)? {
        return Ok(ExitCode::SUCCESS);
    }
    let users = match arena.map(|arena| View::of(&arena).processes()).unwrap_or_default() {
        none if none.is_empty() => "a process that has made no socket yet".to_owned(),
        some => in_words(&some),
    };
    Err(format!("the net {} is in use by {users}; --force removes it all the same", place.net.as_deref().unwrap_or_default()))
}

/// How long ago a net was made, in seconds.
fn age_s(made_ns: u64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs_f64() - made_ns as f64 / 1e9).max(0.0)
}

/// A time for people: `7 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
fn time_in_words(seconds: f64) -> String {
    let s = seconds as u64;
    match (s / 86_400, s / 3600, s / 60) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", s % 60),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_told_in_two_units() {
        for (seconds, words) in [(0.4, "0 s"), (59.9, "59 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min"), (273_600.0, "3 d 4 h")] {
            assert_eq!(super::time_in_words(seconds), words);
        }
    }
}
