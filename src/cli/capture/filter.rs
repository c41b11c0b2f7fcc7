//! Which events are wanted: the words of pcap-filter(7), as far as they are of hosts, nets, ports and protocols, with names
//! of hosts of the net where addresses may be; and `program` and `pid`.
//!
//! ```text
//! filter    = and { ("or" | "||") and }
//! and       = not { ["and" | "&&"] not }
//! not       = ("not" | "!") not | "(" filter ")" | primitive
//! primitive = [protocol] ["src" | "dst" | "src or dst" | "src and dst"] ["host" | "net" | "port" | "portrange"] ID
//!           | protocol | "program" NAME | "pid" NUMBER
//! ```
//!
//! An ID without words before it takes those of the one before (`port 80 or 443`).

use std::net::IpAddr;

use crate::pcb::Address;
use crate::pcb::tap::Event;

/// A filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    /// Everything.
    All,
    Not(Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Protocol(Protocol),
    End(Which, What),
    Program(String),
    Pid(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Ip,
    Ip6,
    Tcp,
    Udp,
    Icmp,
    Icmp6,
}

/// Which end of a packet is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Either,
    Both,
    Source,
    Destination,
}

/// What is asked of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// The name of a host, in lower case.
    Name(String),
    Address(IpAddr),
    /// An address and the bits of it that count.
    Net(IpAddr, u8),
    Ports(u16, u16),
}

/// Who an event is about, beyond its numbers.
pub struct Who<'a> {
    pub from_name: &'a str,
    pub to_name: &'a str,
    pub program: &'a str,
    pub peer_program: &'a str,
}

impl Filter {
    /// Whether an event is wanted.
    pub fn wants(&self, event: &Event, who: &Who) -> bool {
        match self {
            Filter::All => true,
            Filter::Not(f) => !f.wants(event, who),
            Filter::And(a, b) => a.wants(event, who) && b.wants(event, who),
            Filter::Or(a, b) => a.wants(event, who) || b.wants(event, who),
            Filter::Protocol(protocol) => protocol.is_of(event),
            Filter::Pid(pid) => [event.pid, event.peer_pid].contains(pid),
            Filter::Program(name) => [who.program, who.peer_program].contains(&name.as_str()),
            Filter::End(which, what) => {
                let source = || what.is_of(event.from, who.from_name);
                let destination = || what.is_of(event.to, who.to_name);
                match which {
                    Which::Either => source() || destination(),
                    Which::Both => source() && destination(),
                    Which::Source => source(),
                    Which::Destination => destination(),
                }
            }
        }
    }
}

impl Protocol {
    fn of(word: &str) -> Option<Protocol> {
        Some(match word {
            "ip" => Protocol::Ip,
            "ip6" => Protocol::Ip6,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            "icmp6" => Protocol::Icmp6,
            _ => return None,
        })
    }

    fn is_of(self, event: &Event) -> bool {
        let is_v4 = matches!(event.from.ip(), IpAddr::V4(_));
        let number = i32::from(event.protocol);
        match self {
            Protocol::Ip => is_v4,
            Protocol::Ip6 => !is_v4,
            Protocol::Tcp => number == libc::IPPROTO_TCP,
            Protocol::Udp => number == libc::IPPROTO_UDP,
            Protocol::Icmp => number == libc::IPPROTO_ICMP,
            Protocol::Icmp6 => number == libc::IPPROTO_ICMPV6,
        }
    }
}

impl What {
    fn is_of(&self, address: Address, name: &str) -> bool {
        match self {
            What::Name(wanted) => name == wanted,
            What::Address(ip) => address.ip() == *ip,
            What::Ports(first, last) => (*first..=*last).contains(&address.port) && address.port != 0,
            What::Net(net, bits) => match (address.ip(), net) {
                (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits()), u128::from(b.to_bits()), 32, *bits),
                (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128, *bits),
                _ => false,
            },
        }
    }
}

/// Whether the first `bits` of two addresses of `all` bits are the same.
fn same(a: u128, b: u128, all: u8, bits: u8) -> bool {
    let left_out = u32::from(all.saturating_sub(bits));
    (a ^ b).checked_shr(left_out).unwrap_or(0) == 0
}

/// Reads a filter; an empty one wants everything.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse(text: &str) -> Result<Filter, String> {
    let mut parser = Parser { words: words(text), at: 0, last: None, depth: 0 };
    if parser.words.is_empty() {
        return Ok(Filter::All);
    }
    let filter = parser.or()?;
    match parser.peek() {
        None => Ok(filter),
        Some(word) => Err(format!("`{word}` is not expected there")),
    }
}

fn words(text: &str) -> Vec<String> {
    let mut spaced = text.replace('(', " ( ").replace(')', " ) ").replace("&&", " and ").replace("||", " or ");
    spaced = spaced.replace('!', " not ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Nested deeper than this nobody writes.
const MOST_DEPTH: u32 = 64;

/// How an ID is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Host,
    Net,
    Port,
    PortRange,
}

type Qualifiers = (Option<Protocol>, Which, Type);

struct Parser {
    words: Vec<String>,
    at: usize,
    /// The words before the last ID.
    last: Option<Qualifiers>,
    depth: u32,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn take(&mut self, word: &str) -> bool {
        let is_it = self.peek() == Some(word);
        self.at += usize::from(is_it);
        is_it
    }

    fn next(&mut self, wanted: &str) -> Result<String, String> {
        let word = self.words.get(self.at).cloned().ok_or_else(|| format!("{wanted} is missing at the end"))?;
        self.at += 1;
        Ok(word)
    }

    fn or(&mut self) -> Result<Filter, String> {
        let mut left = self.and()?;
        while self.take("or") {
            left = Filter::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Filter, String> {
        let mut left = self.not()?;
        while self.take("and") || self.peek().is_some_and(|word| word != "or" && word != ")") {
            left = Filter::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err("too many parentheses".to_owned());
        }
        let filter = if self.take("not") {
            Filter::Not(Box::new(self.not()?))
        } else if self.take("(") {
            let inner = self.or()?;
            if !self.take(")") {
                return Err("`)` is missing".to_owned());
            }
            inner
        } else {
            self.primitive()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn primitive(&mut self) -> Result<Filter, String> {
        if self.take("program") {
            return Ok(Filter::Program(self.next("the name of a program")?));
        }
        if self.take("pid") {
            let word = self.next("a process's number")?;
            return word.parse().map(Filter::Pid).map_err(|_| format!("`{word}` is no process's number"));
        }
        let protocol = self.peek().and_then(Protocol::of).inspect(|_| self.at += 1);
        let which = self.which();
        let kind = self.kind();
        let qualifiers = match (protocol, which, kind) {
            // Nothing but a protocol.
            (Some(protocol), None, None) => return Ok(Filter::Protocol(protocol)),
            (None, None, None) => self.last.unwrap_or((None, Which::Either, Type::Host)),
            (protocol, which, kind) => (protocol, which.unwrap_or(Which::Either), kind.unwrap_or(Type::Host)),
        };
        let what = self.id(qualifiers.2)?;
        self.last = Some(qualifiers);
        let end = Filter::End(qualifiers.1, what);
        Ok(match qualifiers.0 {
            Some(protocol) => Filter::And(Box::new(Filter::Protocol(protocol)), Box::new(end)),
            None => end,
        })
    }

    fn which(&mut self) -> Option<Which> {
        let words = |n: usize| self.words.get(self.at + n).map(String::as_str);
        let (which, n) = match (words(0), words(1), words(2)) {
            (Some("src"), Some("or"), Some("dst")) => (Which::Either, 3),
            (Some("src"), Some("and"), Some("dst")) => (Which::Both, 3),
            (Some("src"), ..) => (Which::Source, 1),
            (Some("dst"), ..) => (Which::Destination, 1),
            _ => return None,
        };
        self.at += n;
        Some(which)
    }

    fn kind(&mut self) -> Option<Type> {
        let kinds = [("host", Type::Host), ("net", Type::Net), ("port", Type::Port), ("portrange", Type::PortRange)];
        kinds.into_iter().find(|(word, _)| self.take(word)).map(|(_, kind)| kind)
    }

    fn id(&mut self, kind: Type) -> Result<What, String> {
        let word = self.next("a host, net or port")?;
        let is_word = ["and", "or", "not", "(", ")", "src", "dst", "host", "net", "port", "portrange", "program", "pid"].contains(&word.as_str());
        if is_word || Protocol::of(&word).is_some() {
            return Err(format!("a host, net or port is missing before `{word}`"));
        }
        let port = |text: &str| text.parse().map_err(|_| format!("`{text}` is no port"));
        match kind {
            Type::Host => Ok(word.parse().map_or_else(|_| What::Name(word.trim_end_matches('.').to_ascii_lowercase()), What::Address)),
            Type::Port => port(&word).map(|port| What::Ports(port, port)),
            Type::PortRange => {
                let (first, last) = word.split_once('-').ok_or_else(|| format!("`{word}` is no range of ports"))?;
                Ok(What::Ports(port(first)?, port(last)?))
            }
            Type::Net => {
                let wrong = || format!("`{word}` is no net: 10.0.0.0/8");
                let (ip, bits) = word.split_once('/').ok_or_else(wrong)?;
                let (ip, bits): (IpAddr, u8) = (ip.parse().map_err(|_| wrong())?, bits.parse().map_err(|_| wrong())?);
                if bits > if ip.is_ipv4() { 32 } else { 128 } { Err(wrong()) } else { Ok(What::Net(ip, bits)) }
            }
        }
    }
}
