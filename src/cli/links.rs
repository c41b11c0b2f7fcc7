//! What happens between two hosts of a private net on the way: as a net file asks for it, and in words.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::net::links::{self, ANY, What};
use crate::shm::Arena;

/// An entry of `links` of a net file: which, one way (`from`, `to`; any host where one is not named) or both (`between`), and what
/// happens there in the words of `landline fault` (`delay = "10ms 2ms"`, `short-io = true`).
#[derive(Deserialize, Debug, Clone, PartialEq)]
pub struct Link {
    from: Option<String>,
    to: Option<String>,
    between: Option<[String; 2]>,
    #[serde(flatten)]
    faults: BTreeMap<String, toml::Value>,
}

impl Link {
    fn ends(&self, arena: &Arena) -> Result<Vec<(u32, u32)>, String> {
        let number = |name: &Option<String>| name.as_deref().map_or(Ok(ANY), |name| links::host_number(arena, name));
        match &self.between {
            Some(_) if self.from.is_some() || self.to.is_some() => Err("it is `between` two, or `from` one `to` another".to_owned()),
            Some([a, b]) => {
                let (a, b) = (links::host_number(arena, a)?, links::host_number(arena, b)?);
                Ok(vec![(a, b), (b, a)])
            }
            None => Ok(vec![(number(&self.from)?, number(&self.to)?)]),
        }
    }

    /// As `landline fault set` takes it.
    fn words(&self) -> String {
        let value = |value: &toml::Value| match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Boolean(yes) => if *yes { "on" } else { "off" }.to_owned(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            other => format!("a {}", other.type_str()),
        };
        self.faults.iter().map(|(name, of)| format!("{name} {}", value(of))).collect::<Vec<_>>().join(" ")
    }

    fn make(&self, arena: &Arena) -> Result<(), String> {
        let rule = links::parse([self.words().as_str()])?.rule();
        for (from, to) in self.ends(arena)? {
            if from == to && from != ANY {
                return Err("a host has no link to itself".to_owned());
            }
            if !links::set(&arena.lock(), from, to, &rule) {
                return Err("the net has no room for another".to_owned());
            }
        }
        Ok(())
    }
}

/// Makes the links of a net as a net file asks for them.
///
/// # Errors
/// Which one cannot be, and why.
pub fn apply(arena: &Arena, links: &[Link]) -> Result<(), String> {
    links.iter().enumerate().try_for_each(|(i, link)| link.make(arena).map_err(|why| format!("link {}: {why}", i + 1)))
}

/// What happens to what one host sends to another; `None` where nothing does. Chosen as `links::between` does, which makes an
/// entry for the pair: who only looks shall not.
fn one_way(arena: &Arena, from: u32, to: u32) -> Option<String> {
    if !links::any(arena) || from == to || from == ANY || to == ANY {
        return None;
    }
    let candidates = [(from, to), (from, ANY), (ANY, to), (ANY, ANY)];
    let cut = links::all(arena).any(|link| matches!(link.what, What::Cut) && candidates.contains(&(link.from, link.to)));
    let rule = candidates.iter().find_map(|&(from, to)| links::get(arena, from, to)).map(|rule| rule.to_string());
    let words: Vec<String> = cut.then(|| "cut".to_owned()).into_iter().chain(rule.filter(|words| !words.is_empty())).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// What happens between two hosts, in words: to what the first sends (→), and to what comes back (←).
pub fn in_words(arena: &Arena, from: u32, to: u32) -> Option<String> {
    both_ways(one_way(arena, from, to), one_way(arena, to, from))
}

fn both_ways(there: Option<String>, back: Option<String>) -> Option<String> {
    match (there, back) {
        (there, back) if there == back => there,
        (there, back) => {
            let ways = [there.map(|words| words + " \u{2192}"), back.map(|words| words + " \u{2190}")];
            Some(ways.into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_told_in_the_words_of_fault() {
        let link: Link =
            toml::from_str("between = [\"a\", \"b\"]\ndelay = \"10ms 2ms\"\nloss = \"1%\"\nshort-io = true\nreset-after = 1000").unwrap();
        assert_eq!(link.words(), "delay 10ms 2ms loss 1% reset-after 1000 short-io on");
        assert!(links::parse([link.words().as_str()]).is_ok());
    }

    #[test]
    fn both_ways_are_told_once_where_they_are_alike() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(both_ways(some("loss 1%"), some("loss 1%")), some("loss 1%"));
        assert_eq!(both_ways(some("cut"), None), some("cut \u{2192}"));
        assert_eq!(both_ways(some("a"), some("b")), some("a \u{2192}, b \u{2190}"));
        assert_eq!(both_ways(None, None), None);
    }
}
