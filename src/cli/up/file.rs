//! A net file: hosts, programs and links, as TOML; read, and checked as a whole before anything is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::cli::links::Link;
use crate::cli::run::Outside;
use crate::shm::arena::is_net_name;

/// How long a program may take to become ready, where nothing is said.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The whole file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The net's name; the file's, where it says none.
    #[serde(default)]
    pub net: String,
    pub outside: Option<Outside>,
    /// Where the net's random numbers start.
    pub seed: Option<u64>,
    #[serde(default)]
    pub hosts: BTreeMap<String, Host>,
    #[serde(default)]
    pub programs: Vec<Program>,
    #[serde(default)]
    pub links: Vec<Link>,
    /// Where the file is: relative paths begin there.
    #[serde(skip)]
    pub dir: PathBuf,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub address: Option<IpAddr>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Program {
    pub name: String,
    /// Where it runs; a host of the program's own name, where nothing is said.
    #[serde(default)]
    pub host: String,
    pub command: Words,
    /// When it counts as ready: at once, where nothing is said, or with `once` when it has ended well.
    pub ready: Option<Ready>,
    /// What has to be ready before it is started.
    #[serde(default)]
    pub after: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub dir: Option<PathBuf>,
    /// Is started again when it ends.
    #[serde(default)]
    pub restart: bool,
    /// May end, if it ends well.
    #[serde(default)]
    pub once: bool,
}

/// A program and its arguments, or a line for the shell.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
pub enum Words {
    Line(String),
    Words(Vec<String>),
}

impl Words {
    /// With a relative path to a program taken from `dir`.
    pub fn resolved(&self, dir: &Path) -> Vec<OsString> {
        match self {
            Words::Line(line) => ["/bin/sh", "-c", line].map(OsString::from).into(),
            Words::Words(words) => {
                let mut words: Vec<OsString> = words.iter().map(OsString::from).collect();
                if let Some(program) = words.first_mut().filter(|word| word.as_encoded_bytes().contains(&b'/')) {
                    *program = dir.join(&*program).into();
                }
                words
            }
        }
    }
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct ReadyTable {
    port: Option<u16>,
    command: Option<Words>,
    log: Option<String>,
    #[serde(default, deserialize_with = "optional_duration")]
    timeout: Option<Duration>,
}

/// When a program counts as ready.
#[derive(Deserialize, Debug)]
#[serde(try_from = "ReadyTable")]
pub struct Ready {
    pub when: When,
    pub within: Duration,
}

#[derive(Debug)]
pub enum When {
    /// Its host has a socket that listens there, or is bound for datagrams.
    Port(u16),
    /// This succeeds on its host.
    Command(Words),
    /// A line of its output matches.
    Log(Regex),
}

impl TryFrom<ReadyTable> for Ready {
    type Error = String;

    fn try_from(table: ReadyTable) -> Result<Ready, String> {
        let when = match (table.port, table.command, table.log) {
            (Some(port), None, None) => When::Port(port),
            (None, Some(command), None) => When::Command(command),
            (None, None, Some(pattern)) => When::Log(Regex::new(&pattern).map_err(|e| format!("log: {e}"))?),
            _ => return Err("says one of `port`, `command` and `log`".to_owned()),
        };
        Ok(Ready { when, within: table.timeout.unwrap_or(READY_WITHIN) })
    }
}

/// A time: `10ms`, `1.5s`, `2min`, or a number of seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_s = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "min" | "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(digits.trim_end().parse::<f64>().ok()? * unit_s).ok()
}

/// The same, as an argument of the command.
pub fn duration_argument(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "a time such as 10, 500ms or 2min".to_owned())
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    struct Time;

    impl Visitor<'_> for Time {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a time such as \"10s\" or \"500ms\", or a number of seconds")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            duration(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            self.visit_f64(seconds as f64)
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
            Duration::try_from_secs_f64(seconds).map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
        }
    }
    from.deserialize_any(Time).map(Some)
}

impl File {
    pub fn read(path: &Path) -> Result<File, String> {
        let at = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| at(&e))?;
        let mut file = File::parse(&text).map_err(|why| at(&why))?;
        if file.net.is_empty() {
            file.net = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        if !is_net_name(&file.net) {
            return Err(at(&format!("{:?} is no name of a net: `net = \"…\"` gives it one", file.net)));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        file.dir = dir.canonicalize().map_err(|e| at(&e))?;
        Ok(file)
    }

    fn parse(text: &str) -> Result<File, String> {
        let mut file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        for program in &mut file.programs {
            if program.host.is_empty() {
                program.host.clone_from(&program.name);
            }
        }
        file.check().map(|()| file)
    }

    fn check(&self) -> Result<(), String> {
        for (i, program) in self.programs.iter().enumerate() {
            let of = |why: &str| Err(format!("the program {}: {why}", program.name));
            if program.name.is_empty() || program.name.starts_with('.') || program.name.contains(['/', '\0', '\n']) {
                return Err(format!("{:?} is no name of a program", program.name));
            }
            if self.programs[..i].iter().any(|other| other.name == program.name) {
                return of("there are two of that name");
            }
            if !self.hosts.contains_key(&program.host) {
                return of(&format!("there is no host {}", program.host));
            }
            if program.restart && program.once {
                return of("`once` and `restart` are two things");
            }
            if matches!(&program.command, Words::Words(words) if words.is_empty()) {
                return of("the command is empty");
            }
            if let Some(unknown) = program.after.iter().find(|name| self.program(name).is_none()) {
                return of(&format!("after {unknown}, which there is not"));
            }
            if self.comes_after(i, i, &mut vec![false; self.programs.len()]) {
                return of("it would be started after itself");
            }
        }
        Ok(())
    }

    /// The place of the program with a name.
    pub fn program(&self, name: &str) -> Option<usize> {
        self.programs.iter().position(|program| program.name == name)
    }

    /// Whether one program waits for another, if only by way of others.
    fn comes_after(&self, which: usize, other: usize, seen: &mut [bool]) -> bool {
        self.programs[which]
            .after
            .iter()
            .filter_map(|name| self.program(name))
            .any(|before| before == other || (!std::mem::replace(&mut seen[before], true) && self.comes_after(before, other, seen)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"
net = "shop"
outside = "deny"
[hosts.db]
address = "10.70.0.5"
[hosts.web]
[[programs]]
name = "db"
command = ["redis-server", "--port", "6379"]
ready = { port = 6379, timeout = "500ms" }
[[programs]]
name = "front"
host = "web"
command = "exec ./front --db db"
ready = { log = "listening on .*:80$" }
after = ["db"]
env = { A = "b" }
dir = "."
restart = true
[[programs]]
name = "check"
host = "web"
command = ["./check"]
ready = { command = ["true"], timeout = 2 }
once = true
after = ["front", "db"]
[[links]]
from = "web"
to = "db"
delay = "10ms"
loss = "1%"
"#;

    #[test]
    fn a_file_is_read_as_it_is_meant() {
        let file = File::parse(SHOP).unwrap();
        assert_eq!((file.net.as_str(), file.outside), ("shop", Some(Outside::Deny)));
        assert_eq!(file.hosts["db"].address, Some([10, 70, 0, 5].into()));
        let [db, front, check] = &file.programs[..] else { panic!("{:?}", file.programs) };
        assert_eq!((db.host.as_str(), front.host.as_str()), ("db", "web"));
        let ready = |program: &Program| program.ready.as_ref().map(|ready| (format!("{:?}", ready.when), ready.within)).unwrap();
        assert_eq!(ready(db), ("Port(6379)".to_owned(), Duration::from_millis(500)));
        assert!(ready(front).0.starts_with("Log") && ready(front).1 == READY_WITHIN);
        assert!(ready(check).0.starts_with("Command") && ready(check).1 == Duration::from_secs(2));
        assert!(front.restart && check.once && !db.once);
        let words = |program: &Program| program.command.resolved(Path::new("/d"));
        assert_eq!(words(db), ["redis-server", "--port", "6379"]);
        assert_eq!(words(front), ["/bin/sh", "-c", "exec ./front --db db"]);
        assert_eq!(words(check), ["/d/./check"]);
        assert_eq!(file.links.len(), 1);
    }

    #[test]
    fn mistakes_are_named() {
        let program = |more: &str| format!("[hosts.h]\n[[programs]]\nname = \"p\"\nhost = \"h\"\ncommand = \"x\"\n{more}");
        for (text, word) in [
            ("nets = 1".to_owned(), "unknown field"),
            ("outside = \"maybe\"".to_owned(), "unknown variant"),
            ("[hosts.a]\naddress = \"10\"".to_owned(), "IP address"),
            (program("ready = { }"), "one of `port`, `command` and `log`"),
            (program("ready = { port = 1, log = \"x\" }"), "one of"),
            (program("ready = { log = \"(\" }"), "log"),
            (program("ready = { port = 1, timeout = \"soon\" }"), "a time such as"),
            (program("after = [\"q\"]"), "after q"),
            (program("after = [\"p\"]"), "after itself"),
            (program("once = true\nrestart = true"), "two things"),
            (program("").replace("host = \"h\"", "host = \"g\""), "no host g"),
            (program("").replace("host = \"h\"", ""), "no host p"),
            (program("").replace("\"x\"", "[]"), "empty"),
            (program("[[programs]]\nname = \"p\"\nhost = \"h\"\ncommand = \"x\""), "two of that name"),
            (program("after = [\"q\"]\n[[programs]]\nname = \"q\"\nhost = \"h\"\ncommand = \"x\"\nafter = [\"p\"]"), "after itself"),
        ] {
            let why = File::parse(&text).expect_err(&text);
            assert!(why.contains(word), "{why:?} does not say {word:?}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [("10ms", 10), ("1.5s", 1500), ("2", 2000), ("1 min", 60_000), ("500us", 0)] {
            assert_eq!(duration(text).map(|d| d.as_millis()), Some(ms), "{text}");
        }
        for text in ["", "ms", "-1s", "1h2", "é"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
