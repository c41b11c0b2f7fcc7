//! What `landline up` says: the lines of its programs and what becomes of them, for people or as JSON, and a log for each.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::Path;

use serde_json::{Value, json};

/// More bytes than this without a line end are told as a line all the same.
const LONGEST_LINE: usize = 64 << 10;

/// How it is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `name | line` on standard output, what becomes of programs on standard error.
    Text,
    /// The latter alone.
    Quiet,
    /// One JSON object a line on standard output.
    Json,
}

/// Writes it.
pub struct Teller {
    form: Form,
    has_colours: bool,
    names: Vec<String>,
    width: usize,
    out: BufWriter<Stdout>,
}

impl Teller {
    pub fn new(form: Form, names: Vec<String>) -> Teller {
        let has_colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(24);
        Teller { form, has_colours, names, width, out: BufWriter::new(io::stdout()) }
    }

    fn name(&self, program: usize) -> &str {
        self.names.get(program).map_or("", String::as_str)
    }

    /// A line that a program has written. Whoever reads ours may be gone: the logs have it.
    pub fn line(&mut self, program: usize, line: &[u8]) {
        let name = self.names.get(program).map_or("", String::as_str);
        let text = String::from_utf8_lossy(line);
        let _ = match self.form {
            Form::Quiet => Ok(()),
            Form::Json => writeln!(self.out, "{}", json!({ "event": "output", "program": name, "line": text })),
            Form::Text if self.has_colours => {
                let colour = [36, 33, 32, 35, 34, 31][program % 6];
                writeln!(self.out, "\x1b[{colour}m{name:<width$} |\x1b[0m {text}", width = self.width)
            }
            Form::Text => writeln!(self.out, "{name:<width$} | {text}", width = self.width),
        };
    }

    /// What has become of a program, or of all: in words, if it is worth any, and as an event with its details.
    pub fn event(&mut self, event: &str, program: Option<usize>, details: &[(&str, Value)], words: &str) {
        let name = program.map(|program| self.name(program).to_owned());
        if self.form != Form::Json {
            if !words.is_empty() {
                self.flush();
                eprintln!("landline: {}{words}", name.map(|name| name + " ").unwrap_or_default());
            }
            return;
        }
        let mut object = serde_json::Map::from_iter([("event".to_owned(), event.into())]);
        object.extend(name.map(|name| ("program".to_owned(), name.into())));
        object.extend(details.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let _ = writeln!(self.out, "{}", Value::Object(object));
        self.flush();
    }

    pub fn flush(&mut self) {
        let _ = self.out.flush();
    }
}

/// A program's log, and its line that has no end yet.
pub struct Log {
    file: File,
    partial: Vec<u8>,
}

impl Log {
    pub fn create(dir: &Path, program: &str) -> Result<Log, String> {
        let path = dir.join(format!("{program}.log"));
        let file = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Log { file, partial: Vec::new() })
    }

    /// Takes what came; calls `tell` with each whole line.
    pub fn take(&mut self, bytes: &[u8], mut tell: impl FnMut(&[u8])) {
        // A full disk loses the log, not the programs.
        let _ = self.file.write_all(bytes);
        self.partial.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(n) = self.partial[begin..].iter().position(|&b| b == b'\n') {
            tell(without_cr(&self.partial[begin..begin + n]));
            begin += n + 1;
        }
        self.partial.drain(..begin);
        if self.partial.len() > LONGEST_LINE {
            self.end_line(tell);
        }
    }

    /// Nothing more comes of what has been begun.
    pub fn end_line(&mut self, mut tell: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            tell(&std::mem::take(&mut self.partial));
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_lines() {
        let dir = std::env::temp_dir().join(format!("landline-log-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let mut log = Log::create(&dir, "p").unwrap();
        let mut lines: Vec<String> = Vec::new();
        let long = vec![b'x'; LONGEST_LINE + 1];
        for piece in [&b"one\ntw"[..], b"o\r\n\nthr", b"ee", &long] {
            log.take(piece, |line| lines.push(String::from_utf8_lossy(line).into_owned()));
        }
        log.take(b"four", |_| panic!("it has no end"));
        log.end_line(|line| lines.push(String::from_utf8_lossy(line).into_owned()));
        assert_eq!((&lines[..3], lines[3].len(), lines[4].as_str()), (&["one".into(), "two".into(), String::new()][..], 5 + long.len(), "four"));
        assert_eq!(std::fs::read(dir.join("p.log")).unwrap().len(), 6 + 7 + 2 + long.len() + 4);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
