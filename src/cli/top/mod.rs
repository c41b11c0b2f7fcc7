//! `landline top`: who talks to whom now, and how much; a page that is renewed, or a sample for scripts.

mod page;
mod sample;

use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::output::{self, Output, bytes, number};
use crate::net::hosts;
use crate::shm::Arena;
use crate::shm::arena::{self, Place};
use sample::{Grouping, Look, Rate, Sample};

#[derive(Args)]
pub struct Options {
    /// One sample, taken over the interval
    #[arg(long)]
    once: bool,
    /// Print JSON: an object for each interval
    #[arg(long)]
    json: bool,
    /// Between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = super::up::duration_argument)]
    interval: Duration,
    /// Show programs, not hosts
    #[arg(short, long)]
    programs: bool,
}

/// Looks at the net again and again. It may come only later, and be another one after that.
struct Watch<'a> {
    place: &'a Place,
    /// The number of its file, to know it by.
    arena: Option<(u64, Arena)>,
    before: Option<Look>,
    now: Option<Look>,
}

impl Watch<'_> {
    fn of(place: &Place) -> Watch<'_> {
        let mut watch = Watch { place, arena: None, before: None, now: None };
        watch.look();
        watch
    }

    fn look(&mut self) {
        let file = arena::location(self.place).ok().and_then(|path| Some(path.symlink_metadata().ok()?.ino()));
        if self.arena.as_ref().map(|(file, _)| *file) != file {
            self.arena = file.and_then(|file| Some((file, arena::existing(self.place).ok()?)));
            (self.before, self.now) = (None, None);
        }
        self.before = self.now.take();
        self.now = self.arena.as_ref().map(|(_, arena)| Look::at(arena, self.place));
    }

    /// Of what went on between the last two looks; `None` where there are none yet.
    fn sample(&self, grouping: Grouping) -> Option<Sample> {
        Some(Sample::between(self.before.as_ref()?, self.now.as_ref()?, grouping))
    }

    /// What suits the net, where nothing is said.
    fn grouping(&self) -> Grouping {
        match &self.arena {
            Some((_, arena)) if hosts::is_private(arena) => Grouping::Hosts,
            _ => Grouping::Programs,
        }
    }
}

/// What a script gets.
#[derive(Serialize)]
struct Report<'a> {
    net: Option<&'a str>,
    #[serde(flatten)]
    sample: Option<Sample>,
}

pub fn top(options: &Options, place: &Place) -> ExitCode {
    let mut watch = Watch::of(place);
    let asked = options.programs.then_some(Grouping::Programs);
    if !options.once && !options.json && io::stdout().is_terminal() {
        return match page::show(&mut watch, options.interval, asked) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("landline: the terminal: {e}");
                ExitCode::FAILURE
            }
        };
    }
    output::print(|out| {
        loop {
            sleep(options.interval);
            watch.look();
            let sample = watch.sample(asked.unwrap_or_else(|| watch.grouping()));
            match (options.json, options.once) {
                (true, true) => output::json(out, &Report { net: place.net.as_deref(), sample })?,
                (true, false) => {
                    serde_json::to_writer(&mut *out, &Report { net: place.net.as_deref(), sample })?;
                    writeln!(out)?;
                }
                _ => lines(out, sample.as_ref())?,
            }
            if options.once {
                return Ok(());
            }
            out.flush()?;
        }
    })
}

/// The sample as a heading and a table.
fn lines(out: &mut Output, sample: Option<&Sample>) -> io::Result<()> {
    let Some(sample) = sample else { return writeln!(out, "there is no such net yet") };
    writeln!(
        out,
        "{}/s, {} messages/s, {} new connections/s\n",
        bytes(sample.bytes_per_s as u64),
        number(sample.messages_per_s as u64),
        number(sample.connections_per_s as u64)
    )?;
    let rate = |rate: &Rate| [format!("{}/s", bytes(rate.bytes_per_s as u64)), number(rate.messages_per_s as u64), bytes(rate.queued_bytes)];
    let cells = |pair: &sample::Pair| {
        let mut cells = vec![pair.from.clone(), pair.to.clone(), pair.connections.to_string()];
        cells.extend(rate(&pair.there).into_iter().chain(rate(&pair.back)));
        cells.extend([pair.path.to_owned(), pair.faults.clone().unwrap_or_default()]);
        cells
    };
    let header = ["From", "To", "Conn", "Sent", "Msg/s", "Queued", "Received", "Msg/s", "Queued", "Path", "Faults"];
    output::table(out, &header, &[2, 3, 4, 5, 6, 7, 8], sample.pairs.iter().map(cells).collect())
}
