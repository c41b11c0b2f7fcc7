//! `landline run`: becomes the program, with the library preloaded.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;

use clap::Args;

use super::target::{self, Refusal};
use crate::net::hosts;
use crate::shm::arena::{self, Place};
use crate::shm::{Arena, owner};
use crate::sys::config;

const LIBRARY: &str = "liblandline.so";
/// The status where the fault is ours.
pub const OURS: u8 = 125;

#[derive(Args)]
pub struct Options {
    /// Say on standard error what each socket does and why
    #[arg(long)]
    trace: bool,
    /// With --net: the host that the program runs on, and its address if that matters
    #[arg(long, value_name = "HOST[=ADDRESS]")]
    host: Option<String>,
    /// With --net: whether programs of the net may reach the real network; the net stays until `net rm` removes it
    #[arg(long, value_enum)]
    outside: Option<Outside>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outside {
    /// They are told that the network is unreachable, which is counted
    Deny,
    /// What is no address of the net is the real network's
    Allow,
}

/// Comes back only if the program cannot be started: then with the status that a shell would give (126
/// where it may not be run, 127 where it is not there), and 125 for what is our own fault.
pub fn run(options: &Options, place: &Place) -> ExitCode {
    let refusal = match command(options, place) {
        Ok(mut command) => {
            let error = command.exec();
            let status = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
            Refusal::new(status, format!("{}: {error}", command.get_program().display()))
        }
        Err(refusal) => refusal,
    };
    eprintln!("landline: {}", refusal.why);
    ExitCode::from(refusal.status)
}

fn command(options: &Options, place: &Place) -> Result<Command, Refusal> {
    let ours = |why| Refusal::new(OURS, why);
    if place.net.is_none() && (options.host.is_some() || options.outside.is_some()) {
        return Err(ours("--host and --outside say something of a private net: --net names it".to_owned()));
    }
    // What cannot be started makes no net.
    let mut command = preloaded(&options.program, place)?;
    if let Some(net) = &place.net {
        command.env("LANDLINE_HOST", join(place, net, options).map_err(ours)?);
    }
    if options.trace {
        command.env("LANDLINE_TRACE", "1");
    }
    Ok(command)
}

/// The command that starts a program, given with its arguments, in a net with the library preloaded.
pub fn preloaded(program: &[OsString], place: &Place) -> Result<Command, Refusal> {
    let ours = |why| Refusal::new(OURS, why);
    let (name, arguments) = program.split_first().ok_or_else(|| ours("no program is named".to_owned()))?;
    let program = target::resolve(name)?;
    let program = if place.net.is_some() { target::without_privilege(program)? } else { program };
    target::judge(&program)?;
    let library = library().map_err(ours)?;

    let mut command = Command::new(&program);
    command.arg0(name).args(arguments).env("LD_PRELOAD", preload(&library, env::var_os("LD_PRELOAD").as_deref()));
    if *place != Place::configured() {
        command.env("LANDLINE_DIR", &place.dir);
    }
    if let Some(net) = &place.net {
        command.env("LANDLINE_NET", net);
    }
    Ok(command)
}

/// Makes the net, and the host in it, and makes this process one of it; returns the host's name.
fn join(place: &Place, net: &str, options: &Options) -> Result<String, String> {
    let (host, address) = match options.host.as_deref().map(|host| host.split_once('=').unwrap_or((host, ""))) {
        Some((host, "")) => (host, None),
        Some((host, address)) => (host, Some(address.parse().map_err(|_| format!("{address} is no address"))?)),
        None => (config::get().host.as_str(), None),
    };
    // What is left of one that nobody uses any more is not taken over.
    let _ = arena::remove_if_unused(place);
    let arena = arena::ensured(place).map_err(|why| format!("the net {net}: {why}"))?;
    if let Some(outside) = options.outside {
        // Those who are started later rely on it as well.
        set_outside(&arena, outside);
        arena.header().net.keep(true);
    }
    let number = hosts::ensure(&arena.lock(), host, address).map_err(|why| format!("the host {host}: {why}"))?;
    // The program has this process's number: the net is in use from now on, whether the program ever makes a socket or not.
    if owner::introduce(&arena.lock(), std::process::id(), number).is_none() {
        return Err(format!("the net {net} has no room for another process"));
    }
    Ok(host.to_owned())
}

/// Sets whether programs of the net may reach the real network.
pub fn set_outside(arena: &Arena, outside: Outside) {
    arena.header().net.outside.store(u32::from(outside == Outside::Allow), Ordering::Relaxed);
}

/// Where the library is: as LANDLINE_LIB says, or near the command, built or installed.
fn library() -> Result<PathBuf, String> {
    let found = match env::var_os("LANDLINE_LIB").filter(|path| !path.is_empty()) {
        Some(path) => Path::new(&path).canonicalize().map_err(|e| format!("LANDLINE_LIB={}: {e}", path.display()))?,
        None => near_command().ok_or_else(|| format!("{LIBRARY} is not where it is built or installed; LANDLINE_LIB may say where it is"))?,
    };
    if !found.is_file() {
        return Err(format!("{} is not a file", found.display()));
    }
    if found.as_os_str().as_bytes().iter().any(|b| b" :".contains(b)) {
        return Err(format!("{}: the loader takes no path with a space or a colon", found.display()));
    }
    Ok(found)
}

fn near_command() -> Option<PathBuf> {
    let command = env::current_exe().ok()?;
    let bin = command.parent()?;
    let lib = bin.parent()?.join("lib");
    let folders = [bin.to_owned(), lib.clone(), lib.join(format!("{}-linux-gnu", env::consts::ARCH))];
    folders.into_iter().find_map(|folder| folder.join(LIBRARY).canonicalize().ok())
}

/// LD_PRELOAD with the library first and what else it held after it.
fn preload(library: &Path, before: Option<&OsStr>) -> OsString {
    let library = library.as_os_str().as_bytes();
    let others = before.map_or(&[][..], OsStr::as_bytes).split(|b| b" :".contains(b));
    let others = others.filter(|other| !other.is_empty() && *other != library);
    OsString::from_vec(std::iter::once(library).chain(others).collect::<Vec<_>>().join(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_comes_first_and_once() {
        let preload = |before: &str| preload(Path::new("/l/lib.so"), Some(before.as_ref()));
        assert_eq!(preload(""), "/l/lib.so");
        assert_eq!(preload("/a.so /b.so"), "/l/lib.so:/a.so:/b.so");
        assert_eq!(preload("/a.so:/l/lib.so"), "/l/lib.so:/a.so");
    }
}
