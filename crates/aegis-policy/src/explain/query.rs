//! What can be asked about a policy.

use std::fmt;
use std::net::IpAddr;

use crate::entry::{Entry, Field, Inode, Protocol, canonical_path, decimal, host, sha256};
use crate::section::Section;

/// The most bytes of a question.
const MAX_LEN: usize = 4096;

/// A question to [`explain`](crate::explain).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// May this file be opened, or run?
    Path(String),
    /// May this file be opened?
    Inode(Inode),
    /// May this address be connected to?
    Network {
        /// Remote address.
        address: IpAddr,
        /// Remote port; `None` asks about the address alone.
        port: Option<u16>,
        /// [`Protocol::Any`] asks whether either is denied.
        protocol: Protocol,
    },
    /// May a program with this content be run? 64 lower-case hex digits.
    Sha256(String),
}

/// Why a question was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Longer than any path.
    #[error("question has {bytes} bytes, more than {MAX_LEN}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// None of the forms.
    #[error("question is neither a path, an address, an inode nor a hash")]
    NotUnderstood,
    /// An address with a port that is none.
    #[error("port is not a number from 1 to 65535")]
    BadPort,
    /// A hash of another length or algorithm.
    #[error("hash is not sha256: and 64 hex digits")]
    BadHash,
}

impl QueryError {
    /// What to ask instead.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::TooLong { .. } => "ask about one path".to_owned(),
            Self::NotUnderstood => {
                "ask about /usr/bin/x, 192.0.2.1:443, [2001:db8::1]:443/tcp, 2049:1234 or sha256:HEX"
                    .to_owned()
            }
            Self::BadPort => "write address:port, or address:port/udp".to_owned(),
            Self::BadHash => "print it with: sha256sum FILE".to_owned(),
        })
    }
}

impl Query {
    /// Reads a path, `address[:port][/tcp|/udp]`, `device:inode` or `sha256:` and 64 hex digits.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if it has none of these forms.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_LEN {
            return Err(QueryError::TooLong { bytes: text.len() });
        }
        if text.starts_with('/') {
            return Ok(Self::Path(canonical_path(text).into_owned()));
        }
        if text.starts_with("sha256:") {
            let digits = sha256(text).map_err(|_| QueryError::BadHash)?;
            return Ok(Self::Sha256(digits.to_ascii_lowercase()));
        }
        if let Ok(Entry::Inode(inode)) = Entry::read(Section::DenyInode, text) {
            return Ok(Self::Inode(inode));
        }
        let (text, protocol) = match text.rsplit_once('/') {
            Some((head, "tcp")) => (head, Protocol::Tcp),
            Some((head, "udp")) => (head, Protocol::Udp),
            Some(_) | None => (text, Protocol::Any),
        };
        if let Ok(Entry::Ip(address)) = Entry::read(Section::DenyIp, text) {
            return Ok(Self::Network { address, port: None, protocol });
        }
        let (address, port) = host(text).map_err(|_| QueryError::NotUnderstood)?;
        let port =
            decimal(port, Field::Port, u64::from(u16::MAX)).ok().and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port > 0).ok_or(QueryError::BadPort)?;
        Ok(Self::Network { address, port: Some(port), protocol })
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Inode(inode) => inode.fmt(f),
            Self::Sha256(digits) => write!(f, "sha256:{digits}"),
            Self::Network { address, port, protocol } => {
                match (address, port) {
                    (IpAddr::V4(address), Some(port)) => write!(f, "{address}:{port}")?,
                    (IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}")?,
                    (address, None) => address.fmt(f)?,
                }
                match protocol {
                    Protocol::Any => Ok(()),
                    protocol @ (Protocol::Tcp | Protocol::Udp) => write!(f, "/{protocol}"),
                }
            }
        }
    }
}
