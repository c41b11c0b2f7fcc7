//! What happens between two hosts of a private net on the way: as a net file asks for it, and in words.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::net::links::{self, ANY};
use crate::shm::Arena;

/// `[[links]]` of a net file: between which hosts, and what happens there (`delay = "10ms"`).
#[derive(Deserialize, Debug, Clone, PartialEq)]
pub struct Link {
    pub from: String,
    pub to: String,
    /// The same on the way back.
    #[serde(default, rename = "both-ways")]
    pub both_ways: bool,
    #[serde(flatten)]
    pub faults: BTreeMap<String, toml::Value>,
}

impl Link {
    /// Its faults in the words of `landline fault`.
    fn words(&self) -> String {
        let word = |value: &toml::Value| match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Boolean(on) => (if *on { "on" } else { "off" }).to_owned(),
            toml::Value::Integer(n) => n.to_string(),
            // No fault is told so.
            other => other.type_str().to_owned(),
        };
        self.faults.iter().map(|(name, value)| format!("{name} {}", word(value))).collect::<Vec<_>>().join(" ")
    }

    fn make(&self, arena: &Arena) -> Result<(), String> {
        let rule = links::parse([self.words().as_str()])?.rule();
        let (from, to) = (links::host_number(arena, &self.from)?, links::host_number(arena, &self.to)?);
        if from == to && from != ANY {
            return Err("a host has no link to itself".to_owned());
        }
        let lock = arena.lock();
        let is_made = links::set(&lock, from, to, &rule) && (!self.both_ways || links::set(&lock, to, from, &rule));
        is_made.then_some(()).ok_or_else(|| "the net has no room for another link".to_owned())
    }
}

/// Makes the links of a net as a net file asks for them.
///
/// # Errors
/// Which one cannot be, and why.
pub fn apply(arena: &Arena, links: &[Link]) -> Result<(), String> {
    links.iter().try_for_each(|link| link.make(arena).map_err(|why| format!("the link from {} to {}: {why}", link.from, link.to)))
}

/// What happens between two hosts, in words: to what the first sends (→), and to what comes back (←); `None` where nothing does.
pub fn in_words(arena: &Arena, from: u32, to: u32) -> Option<String> {
    either_way(links::in_words(arena, from, to), links::in_words(arena, to, from))
}

fn either_way(there: Option<String>, back: Option<String>) -> Option<String> {
    if there == back {
        return there;
    }
    let ways = [there.map(|words| words + " \u{2192}"), back.map(|words| words + " \u{2190}")];
    Some(ways.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_told_in_the_words_of_the_command() {
        let text = "from = \"a\"\nto = \"any\"\ndelay = \"10ms 1ms\"\nloss = \"1%\"\nshort-io = true\nseed = 7\n";
        let link: Link = toml::from_str(text).unwrap();
        assert_eq!(link.words(), "delay 10ms 1ms loss 1% seed 7 short-io on");
        assert!(!link.both_ways && links::parse([link.words().as_str()]).is_ok());
    }

    #[test]
    fn both_ways_are_told_once_where_they_are_alike() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(either_way(some("loss 1%"), some("loss 1%")), some("loss 1%"));
        assert_eq!(either_way(some("cut"), None), some("cut \u{2192}"));
        assert_eq!(either_way(some("a"), some("b")), some("a \u{2192}, b \u{2190}"));
        assert_eq!(either_way(None, None), None);
    }
}
