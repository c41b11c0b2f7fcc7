//! Questions that the C library's resolver functions are asked to put (resolver(3)), and what it makes of answers.

use super::{HEADER_BYTES, Reader, bit, code};

/// A question's flags, and the number that tells its answer from others: there is only one at a time.
const FLAGS: u16 = bit::RECURSION_DESIRED;
const ID: u16 = 1;

/// Writes a question to `out`; returns its length, 0 where `name` can be no name.
pub fn question(name: &str, class: u16, kind: u16, out: &mut [u8]) -> usize {
    let mut out = super::Writer { bytes: out, at: 0, is_full: false };
    for word in [ID, FLAGS, 1, 0, 0, 0] {
        out.u16(word);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        if label.is_empty() || label.len() > super::MOST_LABEL_BYTES {
            return 0;
        }
        out.put(&[label.len() as u8]);
        out.put(label.as_bytes());
    }
    out.put(&[0]);
    out.u16(kind);
    out.u16(class);
    if out.is_full { 0 } else { out.at }
}

/// What an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Found,
    /// The name is there, what was asked for is not.
    NoData,
    NoName,
    /// Another server may know.
    Refused,
    Failed,
}

pub fn outcome(answer: &[u8]) -> Outcome {
    let header = answer.get(..HEADER_BYTES).and_then(|bytes| Reader { bytes, at: 0 }.header());
    match header {
        Some([_, flags, _, answers, ..]) => match flags & 0xf {
            code::NOERROR if answers == 0 => Outcome::NoData,
            code::NOERROR => Outcome::Found,
            code::NXDOMAIN => Outcome::NoName,
            code::REFUSED => Outcome::Refused,
            _ => Outcome::Failed,
        },
        None => Outcome::Failed,
    }
}
