//! The live view: one line for each event, for people or as JSON.

use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::names::Names;
use crate::cli::output::Output;
use crate::pcb::Address;
use crate::pcb::tap::{Event, Fate, Kind};

/// One event, as JSON has it.
#[derive(Serialize)]
struct Line<'a> {
    /// RFC 3339, in UTC.
    time: String,
    event: &'static str,
    protocol: String,
    from: String,
    to: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    from_host: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    to_host: &'a str,
    bytes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    pid: u32,
    program: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_pid: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    peer_program: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fate: Option<&'static str>,
    /// By so much a fault delays it.
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ns: Option<u64>,
}

/// The name of a protocol of IP, as far as it is one that people know.
fn protocol(event: &Event) -> String {
    match i32::from(event.protocol) {
        libc::IPPROTO_TCP => "tcp".to_owned(),
        libc::IPPROTO_UDP => "udp".to_owned(),
        libc::IPPROTO_ICMP => "icmp".to_owned(),
        libc::IPPROTO_IDP => "ns".to_owned(),
        libc::IPPROTO_ICMPV6 => "icmp6".to_owned(),
        other => format!("ip{other}"),
    }
}

fn kind(event: &Event) -> &'static str {
    match event.kind {
        Kind::Syn => "connecting",
        Kind::Open => "connect",
        Kind::Refused => "refused",
        Kind::Accepted => "accept",
        Kind::Data => "data",
        Kind::Fin => "end",
        Kind::Reset => "reset",
        Kind::Datagram => "datagram",
        Kind::Unreachable => "unreachable",
    }
}

fn fate(event: &Event) -> Option<&'static str> {
    match event.fate {
        Fate::Arrives => None,
        Fate::Lost => Some("lost"),
        Fate::Duplicate => Some("duplicate"),
        Fate::Corrupted => Some("corrupted"),
    }
}

/// Without a port where there is none, as of ICMP.
fn address(a: Address) -> String {
    if a.port == 0 { a.ip().to_string() } else { a.to_string() }
}

fn delay_ns(event: &Event) -> Option<u64> {
    event.until_ns.checked_sub(event.at_ns).filter(|&ns| ns > 0)
}

fn at(ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `12:00:01.123456 web 10.70.0.2:41000 > db 10.70.0.1:6379 tcp 120 bytes  redis-cli[123]`
///
/// # Errors
/// Those of `out`.
pub fn line(out: &mut Output, event: &Event, names: &Names, zone: &TimeZone) -> io::Result<()> {
    let time = at(event.at_ns).to_zoned(zone.clone()).strftime("%H:%M:%S.%6f").to_string();
    let end = |host: u32, address: String| match names.host(host) {
        "" => address,
        host => format!("{host} {address}"),
    };
    let (from, to) = (end(event.from_host, address(event.from)), end(event.to_host, address(event.to)));
    write!(out, "{time} {from} > {to} {}", protocol(event))?;
    match event.kind {
        Kind::Data | Kind::Datagram => write!(out, " {} byte{}", event.bytes, if event.bytes == 1 { "" } else { "s" })?,
        _ => write!(out, " {}", kind(event))?,
    }
    if let Some(fate) = fate(event) {
        write!(out, " {fate}")?;
    }
    if let Some(ns) = delay_ns(event) {
        write!(out, " +{:.3} ms", ns as f64 / 1e6)?;
    }
    match names.process(event.pid) {
        process if process.is_empty() => writeln!(out),
        process => writeln!(out, "  {process}"),
    }
}

/// The same as one line of JSON.
///
/// # Errors
/// Those of `out`.
pub fn json(out: &mut Output, event: &Event, names: &Names) -> io::Result<()> {
    let line = Line {
        time: at(event.at_ns).to_string(),
        event: kind(event),
        protocol: protocol(event),
        from: address(event.from),
        to: address(event.to),
        from_host: names.host(event.from_host),
        to_host: names.host(event.to_host),
        bytes: event.bytes,
        position: (event.circuit != 0).then_some(event.position),
        pid: event.pid,
        program: names.program(event.pid),
        peer_pid: Some(event.peer_pid).filter(|&pid| pid != 0),
        peer_program: names.program(event.peer_pid),
        fate: fate(event),
        delay_ns: delay_ns(event),
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}
