//! What happens between two hosts of a private net on the way: as a net file asks for it, and in words.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::shm::Arena;

/// `[[links]]` of a net file: between which hosts, and what happens there (`delay = "10ms"`).
#[derive(Deserialize, Debug, Clone, PartialEq)]
pub struct Link {
    pub from: String,
    pub to: String,
    #[serde(flatten)]
    pub faults: BTreeMap<String, toml::Value>,
}

/// Makes the links of a net as a net file asks for them.
///
/// # Errors
/// Which one cannot be, and why.
pub fn apply(_arena: &Arena, links: &[Link]) -> Result<(), String> {
    match links.first() {
        Some(link) => Err(format!("the link from {} to {}: this version has no faults", link.from, link.to)),
        None => Ok(()),
    }
}

/// What happens to what one host sends to another, in words; `None` where nothing does.
pub fn in_words(_arena: &Arena, _from: u32, _to: u32) -> Option<String> {
    None
}
