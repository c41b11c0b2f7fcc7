//! `landline capture`: what crosses the net, as a file of packets or one line for each event.

mod file;
mod filter;
mod ip;
mod names;
mod packets;
mod text;

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use jiff::tz::TimeZone;

use self::file::File;
use self::filter::{Filter, Who};
use self::names::Names;
use self::packets::Packets;
use crate::net::capture::{Capture, Losses, Refusal};
use crate::pcb::tap::Event;
use crate::shm::Arena;
use crate::shm::arena::{self, Place};
use crate::sys::clock::realtime_ns;

/// A sleep ends after this long, to look whether the capture shall end.
const LOOK_EVERY_NS: u64 = 200_000_000;
/// So many events are written before it is looked at the time and the signals.
const BATCH: u32 = 1024;

#[derive(Args)]
pub struct Options {
    /// Write packets to a pcapng file, for Wireshark and tshark; `-` is standard output
    #[arg(short, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Keep no more than so many bytes of what each send carries
    #[arg(short, value_name = "BYTES")]
    snap: Option<u32>,
    /// End after so many packets, or events where none are written
    #[arg(short, value_name = "NUMBER")]
    count: Option<u64>,
    /// End after so long
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<f64>,
    /// One JSON object for each event
    #[arg(long, conflicts_with = "write")]
    json: bool,
    /// Which events: the words of pcap-filter(7) for hosts, nets, ports and protocols; `program NAME` and `pid NUMBER`
    #[arg(trailing_var_arg = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// A file, or standard output.
type Out = BufWriter<Box<dyn Write>>;

/// Where the events go.
enum View<'a> {
    File(Box<Packets<File<'a, Out>>>),
    Lines { out: BufWriter<io::StdoutLock<'static>>, names: Names<'a>, zone: TimeZone, json: bool, count: u64 },
}

impl<'a> View<'a> {
    fn open(options: &Options, place: &Place, filter: &str, arena: &'a Arena) -> io::Result<View<'a>> {
        let Some(path) = &options.write else {
            let out = BufWriter::new(io::stdout().lock());
            return Ok(View::Lines { out, names: Names::new(arena), zone: TimeZone::system(), json: options.json, count: 0 });
        };
        let out: Box<dyn Write> = if path.as_os_str() == "-" { Box::new(io::stdout().lock()) } else { Box::new(fs::File::create(path)?) };
        let mut file = File::begin(BufWriter::with_capacity(1 << 16, out), name(place), filter, arena)?;
        file.flush()?;
        Ok(View::File(Box::new(Packets::new(file))))
    }

    fn names(&mut self) -> &mut Names<'a> {
        match self {
            View::File(packets) => &mut packets.sink.names,
            View::Lines { names, .. } => names,
        }
    }

    fn event(&mut self, event: &Event, bytes: &[u8]) -> io::Result<()> {
        match self {
            View::File(packets) => packets.event(event, bytes),
            View::Lines { out, names, zone, json, count } => {
                *count += 1;
                if *json { text::json(out, event, names) } else { text::line(out, event, names, zone) }
            }
        }
    }

    /// Packets or events so far.
    fn count(&self) -> u64 {
        match self {
            View::File(packets) => packets.sink.packets,
            View::Lines { count, .. } => *count,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            View::File(packets) => packets.sink.flush(),
            View::Lines { out, .. } => out.flush(),
        }
    }

    /// Ends it; says what there is to say of it.
    fn finish(mut self, losses: Losses) -> io::Result<String> {
        self.flush()?;
        let (count, what) = match self {
            View::File(packets) => (packets.sink.finish(realtime_ns(), losses)?, "packet"),
            View::Lines { count, .. } => (count, "event"),
        };
        let mut said = format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        if losses.cut > losses.dropped {
            said += &format!(", {} without their bytes", losses.cut - losses.dropped);
        }
        if losses.dropped > 0 {
            said += &format!(", {} missed: the capture was too slow", losses.dropped);
        }
        Ok(said)
    }
}

/// What a capture of the net is called.
fn name(place: &Place) -> &str {
    place.net.as_deref().unwrap_or("landline")
}

pub fn run(options: &Options, place: &Place) -> ExitCode {
    match capture(options, place) {
        Ok(said) => {
            eprintln!("landline: {said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("landline: {why}");
            ExitCode::FAILURE
        }
    }
}

fn capture(options: &Options, place: &Place) -> Result<String, String> {
    let words = options.filter.join(" ");
    let filter = filter::parse(&words).map_err(|why| format!("the filter: {why}"))?;
    let arena = arena::ensured(place).map_err(|why| format!("the net {}: {why}", name(place)))?;
    let is_over = ending()?;
    let mut view = View::open(options, place, &words, &arena).map_err(|e| could_not_write(options, &e))?;
    // Lines show no bytes.
    let snap = if options.write.is_some() { options.snap.unwrap_or(u32::MAX) } else { 0 };
    let mut capture = Capture::begin(&arena, snap).map_err(|why| {
        match why {
            Refusal::Many => "as many captures run already as there can be",
            Refusal::Room => "there is no room for the capture",
        }
        .to_owned()
    })?;
    eprintln!("landline: capturing {}", name(place));
    let until = options.seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).and_then(|d| Instant::now().checked_add(d));
    let written =
        follow(&mut capture, &mut view, &filter, options, || is_over.load(Ordering::Relaxed) || until.is_some_and(|until| Instant::now() >= until));
    let losses = capture.losses();
    drop(capture);
    let finished = written.and_then(|()| view.finish(losses));
    arena::leave(&arena, place);
    match finished {
        Ok(said) => Ok(said),
        // Who read it has seen enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok("nobody reads any more".to_owned()),
        Err(e) => Err(could_not_write(options, &e)),
    }
}

fn could_not_write(options: &Options, e: &io::Error) -> String {
    match &options.write {
        Some(path) => format!("{}: {e}", path.display()),
        None => format!("standard output: {e}"),
    }
}

/// Set once the program shall end.
fn ending() -> Result<Arc<AtomicBool>, String> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(|e| e.to_string())?;
    }
    Ok(flag)
}

/// Shows what comes until it is over, and then what had come by then.
fn follow(capture: &mut Capture, view: &mut View, filter: &Filter, options: &Options, is_over: impl Fn() -> bool) -> io::Result<()> {
    let has_enough = |view: &View| options.count.is_some_and(|count| view.count() >= count);
    let mut has_stopped = false;
    loop {
        for _ in 0..BATCH {
            let Some((event, bytes)) = capture.take().map_err(|_| io::Error::other("the arena is damaged"))? else {
                view.flush()?;
                if has_stopped {
                    return Ok(());
                }
                capture.wait(LOOK_EVERY_NS);
                break;
            };
            let names = view.names();
            names.learn(&event);
            let who = Who {
                from_name: names.host(event.from_host),
                to_name: names.host(event.to_host),
                program: names.program(event.pid),
                peer_program: names.program(event.peer_pid),
            };
            if filter.wants(&event, &who) {
                view.event(&event, bytes)?;
                if has_enough(view) {
                    return Ok(());
                }
            }
        }
        if !has_stopped && is_over() {
            capture.stop();
            has_stopped = true;
        }
    }
}
