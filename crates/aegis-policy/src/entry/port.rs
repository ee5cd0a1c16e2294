//! `port[:protocol[:direction]]`.

use std::fmt;

use super::number::{Field, decimal};
use super::{EntryError, Refusal};

/// The transport that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP and UDP both; what an entry means that names none.
    Any,
    /// TCP only.
    Tcp,
    /// UDP only.
    Udp,
}

/// The socket operation that a port rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Connecting and listening; what an entry means that names none.
    Both,
    /// Connecting and sending. Also read as `connect`.
    Egress,
    /// Binding and listening.
    Bind,
}

/// An entry of `deny_port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRule {
    /// 1 to 65535.
    pub port: u16,
    /// Which transport.
    pub protocol: Protocol,
    /// Which operation.
    pub direction: Direction,
}

impl Protocol {
    /// True if a rule for `self` catches what a rule for `other` catches.
    pub fn covers(self, other: Self) -> bool {
        self == Self::Any || self == other
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "any" => Some(Self::Any),
            _ => None,
        }
    }
}

impl Direction {
    /// True if a rule for `self` catches what a rule for `other` catches.
    pub fn covers(self, other: Self) -> bool {
        self == Self::Both || self == other
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "egress" | "connect" => Some(Self::Egress),
            "bind" => Some(Self::Bind),
            "both" => Some(Self::Both),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both",
            Self::Egress => "egress",
            Self::Bind => "bind",
        })
    }
}

impl fmt::Display for PortRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, protocol, direction } = self;
        match (protocol, direction) {
            (Protocol::Any, Direction::Both) => write!(f, "{port}"),
            (_, Direction::Both) => write!(f, "{port}:{protocol}"),
            (_, Direction::Egress | Direction::Bind) => write!(f, "{port}:{protocol}:{direction}"),
        }
    }
}

/// Reads a port, 1 to 65535.
#[inline]
pub(super) fn port(text: &str) -> Result<u16, Refusal> {
    let value = decimal(text, Field::Port, u64::from(u16::MAX))?;
    if value == 0 {
        return Err(Refusal::new(0, text.len(), EntryError::PortZero));
    }
    u16::try_from(value).map_err(|_| {
        Refusal::new(0, text.len(), EntryError::TooBig { field: Field::Port, max: u64::from(u16::MAX) })
    })
}

/// Reads `port[:protocol[:direction]]`. `port::direction` names no protocol, as older files do.
#[inline]
pub(super) fn port_rule(text: &str) -> Result<PortRule, Refusal> {
    let Some((number, rest)) = text.split_once(':') else {
        return Ok(PortRule { port: port(text)?, protocol: Protocol::Any, direction: Direction::Both });
    };
    let port = port(number)?;
    let protocol_at = number.len() + 1;
    let (name, direction) = match rest.split_once(':') {
        Some((name, direction)) => (name, Some(direction)),
        None => (rest, None),
    };
    let protocol = match (name, direction) {
        ("", Some(_)) => Protocol::Any,
        _ => Protocol::from_name(name).ok_or(Refusal::new(
            protocol_at,
            name.len(),
            EntryError::UnknownProtocol,
        ))?,
    };
    let Some(direction) = direction else {
        return Ok(PortRule { port, protocol, direction: Direction::Both });
    };
    let direction_at = protocol_at + name.len() + 1;
    if let Some(colon) = direction.find(':') {
        let extra = direction.len() - colon;
        return Err(Refusal::new(direction_at + colon, extra, EntryError::TooManyParts));
    }
    let direction = Direction::from_name(direction).ok_or(Refusal::new(
        direction_at,
        direction.len(),
        EntryError::UnknownDirection,
    ))?;
    Ok(PortRule { port, protocol, direction })
}
