//! `landline run`: becomes the program, with the library preloaded.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use super::target::{self, Refusal};

const LIBRARY: &str = "liblandline.so";

#[derive(Args)]
pub struct Options {
    /// Say on standard error what each socket does and why
    #[arg(long)]
    trace: bool,
    /// Folder of the arena, a private one: programs with different folders never meet
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Comes back only if the program cannot be started: then with the status that a shell would give (126
/// where it may not be run, 127 where it is not there), and 125 for what is our own fault.
pub fn run(options: &Options) -> ExitCode {
    let refusal = match command(options) {
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

fn command(options: &Options) -> Result<Command, Refusal> {
    let ours = |why| Refusal::new(125, why);
    let (name, arguments) = options.program.split_first().ok_or_else(|| ours("no program is named".to_owned()))?;
    let program = target::resolve(name)?;
    target::judge(&program)?;
    let library = library().map_err(ours)?;

    let mut command = Command::new(&program);
    command.arg0(name).args(arguments).env("LD_PRELOAD", preload(&library, env::var_os("LD_PRELOAD").as_deref()));
    if options.trace {
        command.env("LANDLINE_TRACE", "1");
    }
    if let Some(dir) = &options.dir {
        let dir = dir.canonicalize().map_err(|e| ours(format!("{}: {e}", dir.display())))?;
        if !dir.is_dir() {
            return Err(ours(format!("{} is not a folder", dir.display())));
        }
        command.env("LANDLINE_DIR", dir);
    }
    Ok(command)
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
