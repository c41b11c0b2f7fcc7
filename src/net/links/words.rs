//! Rules in words, as tc-netem(8) has them: `delay 50ms 5ms rate 100mbit loss 5% …`.

use super::{MILLION, Rule, flag};

/// What words ask to be changed of a rule; what they do not name stays.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Change {
    delay_ns: Option<u64>,
    jitter_ns: Option<u64>,
    bits_per_s: Option<u64>,
    loss: Option<u32>,
    duplicate: Option<u32>,
    reorder: Option<u32>,
    corrupt: Option<u32>,
    reset_after: Option<u64>,
    accept_ns: Option<u64>,
    /// Refuse, hang or none of them.
    connect: Option<u32>,
    short: Option<bool>,
    seed: Option<u64>,
}

impl Change {
    /// The rule with the change made to it.
    pub fn applied(&self, rule: Rule) -> Rule {
        let flags = self.connect.map_or(rule.flags, |connect| rule.flags & !(flag::REFUSE | flag::HANG) | connect);
        let flags = self.short.map_or(flags, |short| if short { flags | flag::SHORT } else { flags & !flag::SHORT });
        Rule {
            delay_ns: self.delay_ns.unwrap_or(rule.delay_ns),
            jitter_ns: self.jitter_ns.unwrap_or(rule.jitter_ns),
            bits_per_s: self.bits_per_s.unwrap_or(rule.bits_per_s),
            loss: self.loss.unwrap_or(rule.loss),
            duplicate: self.duplicate.unwrap_or(rule.duplicate),
            reorder: self.reorder.unwrap_or(rule.reorder),
            corrupt: self.corrupt.unwrap_or(rule.corrupt),
            reset_after: self.reset_after.unwrap_or(rule.reset_after),
            accept_ns: self.accept_ns.unwrap_or(rule.accept_ns),
            flags,
            seed: self.seed.unwrap_or(rule.seed),
        }
    }

    /// The seed of the dice.
    pub fn with_seed(self, seed: Option<u64>) -> Change {
        Change { seed: seed.or(self.seed), ..self }
    }

    /// The rule that the words alone make.
    pub fn rule(&self) -> Rule {
        self.applied(Rule::default())
    }
}

/// What the words ask for.
///
/// # Errors
/// What is wrong with them.
pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Change, String> {
    let mut words = words.into_iter().flat_map(str::split_whitespace).peekable();
    let mut change = Change::default();
    while let Some(word) = words.next() {
        if word == "short-io" {
            change.short = Some(words.next_if(|&w| w == "on" || w == "off") != Some("off"));
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word}: no value"))?;
        match word {
            "delay" => {
                change.delay_ns = Some(time(value)?);
                if let Some(jitter) = words.next_if(|w| w.starts_with(|c: char| c.is_ascii_digit())) {
                    change.jitter_ns = Some(time(jitter)?);
                }
            }
            "jitter" => change.jitter_ns = Some(time(value)?),
            "rate" => change.bits_per_s = Some(rate(value)?),
            "loss" => change.loss = Some(chance(value)?),
            "duplicate" => change.duplicate = Some(chance(value)?),
            "reorder" => change.reorder = Some(chance(value)?),
            "corrupt" => change.corrupt = Some(chance(value)?),
            "reset-after" => change.reset_after = Some(bytes(value)?),
            "accept-delay" => change.accept_ns = Some(time(value)?),
            "connect" => {
                change.connect = Some(match value {
                    "refuse" => flag::REFUSE,
                    "hang" => flag::HANG,
                    "ok" => 0,
                    _ => return Err(format!("connect {value}: refuse, hang or ok")),
                });
            }
            "seed" => change.seed = Some(value.parse().map_err(|_| format!("seed {value}: a number"))?),
            _ => return Err(format!("{word}: one of {}", NAMES.join(", "))),
        }
    }
    Ok(change)
}

/// What a rule is told in.
pub const NAMES: [&str; 12] =
    ["delay", "jitter", "rate", "loss", "duplicate", "reorder", "corrupt", "reset-after", "connect", "accept-delay", "short-io", "seed"];

const TIMES: [(&str, u64); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
const RATES: [(&str, u64); 5] = [("bit", 1), ("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("tbit", 1_000_000_000_000)];
const SIZES: [(&str, u64); 7] = [("", 1), ("b", 1), ("kb", 1_000), ("mb", 1_000_000), ("gb", 1_000_000_000), ("kib", 1 << 10), ("mib", 1 << 20)];

fn time(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    // A day is long enough, and sums of such times are numbers.
    measure(text, &TIMES).filter(|&ns| ns <= 86_400_000_000_000).ok_or_else(|| format!("{text}: a time is a number and us, ms or s, at most a day"))
}

fn rate(text: &str) -> Result<u64, String> {
    if text == "0" || text == "none" {
        return Ok(0);
    }
    measure(text, &RATES).filter(|&bits| bits > 0).ok_or_else(|| format!("{text}: a rate is a number and bit, kbit, mbit or gbit"))
}

fn bytes(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(0);
    }
    measure(text, &SIZES).ok_or_else(|| format!("{text}: a size is a number and B, kB, MB, KiB or MiB"))
}

fn chance(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(if text == "0" { text } else { "" });
    let millionths = decimal(number, u64::from(MILLION / 100)).filter(|&n| n <= u64::from(MILLION));
    millionths.map(|n| n as u32).ok_or_else(|| format!("{text}: a chance is a number from 0% to 100%"))
}

fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(at)?;
    let (_, factor) = units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name))?;
    decimal(number, *factor)
}

/// A decimal number times `factor`, cut to a whole one.
fn decimal(text: &str, factor: u64) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && part.is_empty()) || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit()) || part.len() > 18 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part_value: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let part = part_value * u128::from(factor) / 10u128.pow(part.len() as u32);
    whole.checked_mul(factor)?.checked_add(u64::try_from(part).ok()?)
}

/// In the words that `parse` reads.
impl core::fmt::Display for Rule {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        let mut words: Vec<String> = Vec::new();
        let mut say = |name: &str, is_said: bool, value: String| {
            if is_said {
                words.push(format!("{name} {value}"));
            }
        };
        say("delay", self.delay_ns != 0, of_unit(self.delay_ns, &TIMES));
        say("jitter", self.jitter_ns != 0, of_unit(self.jitter_ns, &TIMES));
        say("rate", self.bits_per_s != 0, of_unit(self.bits_per_s, &RATES));
        for (name, chance) in [("loss", self.loss), ("duplicate", self.duplicate), ("reorder", self.reorder), ("corrupt", self.corrupt)] {
            say(name, chance != 0, percent(chance));
        }
        say("reset-after", self.reset_after != 0, format!("{}B", self.reset_after));
        say("connect", self.flags & flag::REFUSE != 0, "refuse".to_owned());
        say("connect", self.flags & flag::HANG != 0, "hang".to_owned());
        say("accept-delay", self.accept_ns != 0, of_unit(self.accept_ns, &TIMES));
        say("short-io", self.flags & flag::SHORT != 0, "on".to_owned());
        f.write_str(&words.join(" "))
    }
}

/// In the largest unit that leaves a whole number.
fn of_unit(value: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor));
    fitting.map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

fn percent(millionths: u32) -> String {
    let hundredths = format!("{}.{:04}", millionths / (MILLION / 100), millionths % (MILLION / 100));
    format!("{}%", hundredths.trim_end_matches('0').trim_end_matches('.'))
}
