//! The command `landline`: it starts programs with the library preloaded, and shows and tidies the arena
//! that they share. A user of the lower floors like any other, built without the exports. What it reads in
//! the arena goes through their accessors and is never trusted; it joins no net, and makes the arena
//! only where programs are about to join it.

mod capture;
mod fault;
mod gc;
mod kernel;
mod links;
mod man;
mod net;
mod output;
mod run;
mod ss;
mod stats;
mod target;
mod top;
mod up;
mod view;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::shm::arena::Place;
use crate::shm::{Arena, arena};

/// The BSD sockets API over shared memory, for programs that nobody modified.
///
/// Two programs that run with Landline on the same machine, for the same user, exchange the data of their TCP and UNIX
/// connections, and their UDP datagrams, through shared memory. Everything else stays with the kernel.
#[derive(Parser)]
#[command(name = "landline", version, disable_help_subcommand = true, arg_required_else_help = true, after_long_help = environment())]
struct Cli {
    #[command(flatten)]
    which: Which,
    #[command(subcommand)]
    command: Command,
}

/// What the environment may say, to the library and to the command.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("LANDLINE_DIR", "folder of the arena, /dev/shm by default; programs with different folders never meet"),
    ("LANDLINE_NET", "the private net that programs belong to"),
    ("LANDLINE_HOST", "the host of that net that they run on, `node` by default"),
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
    /// Bring up a private net as a file describes it: hosts, programs, links
    Up(up::Options),
    /// List private nets, show one, remove one
    #[command(subcommand)]
    Net(net::Command),
    /// Show who talks to whom, renewed each second; keys: h hosts, p programs, q quit
    Top(top::Options),
    /// Show what the net has done since its arena was made
    Stats(Format),
    /// Show what crosses the net, or write it to a file of packets
    Capture(capture::Options),
    /// Make links of a private net slow, lossy, or cut, while programs run
    Fault(fault::Options),
    /// Release what dead processes held, give unused memory back, remove private nets that nobody uses
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

/// Which arena a command is about.
#[derive(Args)]
pub struct Which {
    /// The private net; made by `run` and `up` if there is none. Without it: the machine's own
    #[arg(long, value_name = "NAME", global = true)]
    net: Option<String>,
    /// Folder of the arena, a private one: programs with different folders never meet
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
}

impl Which {
    /// As the options say, or else the environment.
    fn place(&self) -> Result<Place, String> {
        let mut place = Place::configured();
        if let Some(dir) = &self.dir {
            place.dir = dir.canonicalize().map_err(|e| format!("{}: {e}", dir.display()))?;
            if !place.dir.is_dir() {
                return Err(format!("{} is not a folder", dir.display()));
            }
        }
        if self.net.is_some() {
            place.net.clone_from(&self.net);
        }
        Ok(place)
    }
}

#[derive(Args)]
struct Format {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The program's entry.
pub fn main() -> ExitCode {
    let Cli { which, command } = Cli::parse();
    let place = match which.place() {
        Ok(place) => place,
        Err(why) => {
            eprintln!("landline: {why}");
            return ExitCode::from(run::OURS);
        }
    };
    match command {
        Command::Run(options) => run::run(&options, &place),
        Command::Ss(options) => output::print(|out| ss::show(out, existing(&place).as_ref(), &options)),
        Command::Up(options) => up::up(&options, &place),
        Command::Net(command) => net::run(&command, &place),
        Command::Top(options) => top::top(&options, &place),
        Command::Stats(format) => output::print(|out| stats::show(out, existing(&place).as_ref(), &place, format.json)),
        Command::Capture(options) => capture::run(&options, &place),
        Command::Fault(options) => fault::fault(&options, &place),
        Command::Gc(format) => output::print(|out| gc::collect(out, existing(&place).as_ref(), &place, format.json)),
        Command::Version => output::print(|out| writeln!(out, "landline {}", env!("CARGO_PKG_VERSION"))),
        Command::Man => output::print(|out| man::render(out, Cli::command())),
        Command::Completions { shell } => output::print(|out| {
            clap_complete::generate(shell, &mut Cli::command(), "landline", out);
            Ok(())
        }),
    }
}

/// The arena if there is one. Where it exists and cannot be used, standard error says why.
fn existing(place: &Place) -> Option<Arena> {
    let why = match arena::existing(place) {
        Ok(arena) => return Some(arena),
        Err(why) => why,
    };
    match arena::location(place) {
        Ok(path) if path.symlink_metadata().is_ok_and(|m| m.len() > 0) => eprintln!("landline: {}: {why}", path.display()),
        Ok(_) => {}
        Err(why) => eprintln!("landline: {why}"),
    }
    None
}
