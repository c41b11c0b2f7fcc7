//! The command `landline`: it starts programs with the library preloaded, and shows and tidies the arena
//! that they share. A user of the lower floors like any other, built without the exports. What it reads in
//! the arena goes through their accessors and is never trusted; it joins no net and makes no arena.

mod gc;
mod kernel;
mod man;
mod output;
mod run;
mod ss;
mod stats;
mod target;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::shm::{Arena, arena};

/// The BSD sockets API over shared memory, for programs that nobody modified.
///
/// Two programs that run with Landline on the same machine, for the same user, exchange the data of their TCP and UNIX
/// connections, and their UDP datagrams, through shared memory. Everything else stays with the kernel.
#[derive(Parser)]
#[command(name = "landline", version, disable_help_subcommand = true, arg_required_else_help = true, after_long_help = environment())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the environment may say, to the library and to the command.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("LANDLINE_DIR", "folder of the arena, /dev/shm by default; programs with different folders never meet"),
    ("LANDLINE_OFF", "1: every socket stays on the kernel's path"),
    ("LANDLINE_TRACE", "1: say on standard error what each socket does and why"),
    ("LANDLINE_WARN", "1: say on standard error when the arena cannot be used"),
    ("LANDLINE_SPIN_US", "the longest spin before a thread sleeps, in microseconds, 50 by default; 0: never spin for long"),
    ("LANDLINE_LIB", "the library that `landline run` preloads, where it is not near the command"),
];

fn environment() -> String {
    let lines = ENVIRONMENT.map(|(name, meaning)| format!("  {name:<18}{meaning}"));
    format!("Environment:\n{}", lines.join("\n"))
}

#[derive(Subcommand)]
enum Command {
    /// Start a program with Landline
    Run(run::Options),
    /// Show the sockets of the net: the PCB table, live
    Ss(ss::Options),
    /// Show what the net has done since its arena was made
    Stats(Format),
    /// Release what dead processes held, and give unused memory back
    Gc(Format),
    /// Print the version
    Version,
    /// Print the manual page, as roff
    Man,
    /// Print completions for a shell
    Completions {
        #[arg(value_parser = clap::value_parser!(Shell))]
        shell: Shell,
    },
}

#[derive(Args)]
struct Format {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The program's entry.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Ss(options) => output::print(|out| ss::show(out, existing().as_ref(), &options)),
        Command::Stats(format) => output::print(|out| stats::show(out, existing().as_ref(), format.json)),
        Command::Gc(format) => output::print(|out| gc::collect(out, existing().as_ref(), format.json)),
        Command::Version => output::print(|out| writeln!(out, "landline {}", env!("CARGO_PKG_VERSION"))),
        Command::Man => output::print(|out| man::render(out, Cli::command())),
        Command::Completions { shell } => output::print(|out| {
            clap_complete::generate(shell, &mut Cli::command(), "landline", out);
            Ok(())
        }),
    }
}

/// The arena if there is one. Where it exists and cannot be used, standard error says why.
fn existing() -> Option<Arena> {
    let why = match arena::existing() {
        Ok(arena) => return Some(arena),
        Err(why) => why,
    };
    match arena::location() {
        Ok(path) if path.symlink_metadata().is_ok_and(|m| m.len() > 0) => eprintln!("landline: {}: {why}", path.display()),
        Ok(_) => {}
        Err(why) => eprintln!("landline: {why}"),
    }
    None
}
