//! One entry of a section, read and in its canonical form.
//!
//! A module for each kind of entry holds its grammar; all of them refuse with an [`EntryError`] and the
//! place in the entry where it went wrong.

mod address;
mod control_group;
mod hash;
mod number;
mod path;
mod port;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::cost;
use crate::section::Section;

pub use self::address::Network;
pub use self::control_group::Cgroup;
pub use self::number::Field;
pub use self::path::MAX_PATH_LEN;
pub use self::port::{Direction, PortRule, Protocol};

pub(crate) use self::address::{endpoint, host};
pub(crate) use self::hash::sha256;
pub(crate) use self::number::decimal;
pub(crate) use self::path::canonical as canonical_path;

/// The most bytes of a program name: what the kernel keeps of one.
pub const MAX_COMM_LEN: usize = 15;

/// A file by device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode {
    /// Device number as the kernel encodes it.
    pub device: u32,
    /// Inode number on that device.
    pub number: u64,
}

/// An address and a port, with the protocol they are denied for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Remote address.
    pub address: IpAddr,
    /// Remote port, 1 to 65535.
    pub port: u16,
    /// Protocol; [`Protocol::Any`] where the entry names none.
    pub protocol: Protocol,
}

/// An entry of a list section. It prints in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry<'a> {
    /// `deny_path`, `protect_path`, `scan_paths`.
    Path(Cow<'a, str>),
    /// `deny_inode`.
    Inode(Inode),
    /// `allow_cgroup`.
    Cgroup(Cgroup<'a>),
    /// `deny_ip`.
    Ip(IpAddr),
    /// `deny_cidr`.
    Network(Network),
    /// `deny_port`.
    Port(PortRule),
    /// `deny_ip_port`.
    Endpoint(Endpoint),
    /// `deny_binary_hash`, `allow_binary_hash`, `trusted_exec_hash`: the 64 hex digits.
    Sha256(Cow<'a, str>),
    /// `deny_comm`.
    Comm(&'a str),
    /// `cgroup_deny_inode`.
    CgroupInode(Cgroup<'a>, Inode),
    /// `cgroup_deny_ip`.
    CgroupIp(Cgroup<'a>, Ipv4Addr),
    /// `cgroup_deny_port`.
    CgroupPort(Cgroup<'a>, PortRule),
}

/// Why an entry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// A path that depends on somebody's working directory.
    #[error("path is not absolute")]
    RelativePath,
    /// A path that no kernel interface would take.
    #[error("path has {bytes} bytes, more than {MAX_PATH_LEN}")]
    PathTooLong {
        /// Its length.
        bytes: usize,
    },
    /// Something other than two numbers and a colon.
    #[error("not of the form device:inode")]
    NotAnInode,
    /// A number with something other than digits, or none.
    #[error("{field} is not a decimal number")]
    NotDecimal {
        /// Which number.
        field: Field,
    },
    /// A number that some programs would read as octal.
    #[error("{field} has a leading zero")]
    LeadingZero {
        /// Which number.
        field: Field,
    },
    /// A number above its range.
    #[error("{field} is over {max}")]
    TooBig {
        /// Which number.
        field: Field,
        /// The largest that is taken.
        max: u64,
    },
    /// Port 0, which no rule can match.
    #[error("port is 0")]
    PortZero,
    /// Neither IPv4 nor IPv6.
    #[error("not an IPv4 or IPv6 address")]
    NotAnAddress,
    /// IPv6 where the kernel interface has room for IPv4 only.
    #[error("an IPv6 address, but this section takes IPv4 only")]
    Ipv6NotTaken,
    /// A network without `/`.
    #[error("network has no prefix length")]
    NoPrefixLength,
    /// An address inside the network instead of the network's own.
    #[error("address has bits set beyond the prefix; the network is {network}")]
    HostBitsSet {
        /// The network that it lies in.
        network: Network,
    },
    /// An endpoint without `:port`.
    #[error("endpoint has no port")]
    NoPort,
    /// An IPv6 endpoint that could be read as an address alone.
    #[error("IPv6 address is not in brackets")]
    NotBracketed,
    /// A protocol other than the three.
    #[error("protocol is none of tcp, udp, any")]
    UnknownProtocol,
    /// A direction other than the three.
    #[error("direction is none of egress, bind, both")]
    UnknownDirection,
    /// More colons than the form has.
    #[error("entry has more parts than its form")]
    TooManyParts,
    /// A hash without its algorithm, or of another algorithm.
    #[error("hash does not begin with sha256:")]
    NotSha256,
    /// A hash that was cut or run together.
    #[error("hash has {digits} digits, not 64")]
    HashLength {
        /// How many it has.
        digits: usize,
    },
    /// A hash with something other than hex digits.
    #[error("hash has a character that is not a hex digit")]
    NotHex,
    /// A program name longer than the kernel keeps.
    #[error("program name has {bytes} bytes, more than {MAX_COMM_LEN}")]
    CommTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A path where a file name belongs.
    #[error("program name has a slash")]
    CommWithSlash,
    /// A cgroup rule with its first word missing or wrong.
    #[error("control group is neither an absolute path nor cgid:N")]
    NotACgroup,
    /// A cgroup rule with its second word missing.
    #[error("entry has a control group and nothing after it")]
    NothingAfterCgroup,
}

/// A refusal and where in the entry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) error: EntryError,
}

impl Refusal {
    pub(crate) const fn new(at: usize, len: usize, error: EntryError) -> Self {
        Self { at, len, error }
    }

    /// The same refusal, for a part that begins at `offset` in the whole entry.
    pub(crate) const fn shifted(self, offset: usize) -> Self {
        Self { at: self.at + offset, ..self }
    }
}

impl<'a> Entry<'a> {
    /// Reads an entry of `section`. Paths and hashes stay as they are spelled.
    #[inline]
    pub(crate) fn read(section: Section, text: &'a str) -> Result<Self, Refusal> {
        cost::looked_at(text.len());
        match section {
            Section::DenyPath | Section::ProtectPath | Section::ScanPaths => {
                path::path(text).map(|path| Self::Path(Cow::Borrowed(path)))
            }
            Section::DenyIp => address::address(text).map(Self::Ip),
            Section::DenyCidr => address::network(text).map(Self::Network),
            Section::DenyPort => port::port_rule(text).map(Self::Port),
            Section::DenyIpPort => endpoint(text).map(Self::Endpoint),
            Section::DenyBinaryHash | Section::AllowBinaryHash | Section::TrustedExecHash => {
                sha256(text).map(|digits| Self::Sha256(Cow::Borrowed(digits)))
            }
            Section::DenyInode => number::inode(text).map(Self::Inode),
            Section::DenyComm => comm(text).map(Self::Comm),
            Section::AllowCgroup => control_group::cgroup(text).map(Self::Cgroup),
            Section::CgroupDenyInode => scoped(text, number::inode, Self::CgroupInode),
            Section::CgroupDenyIp => scoped(text, address::ipv4_only, Self::CgroupIp),
            Section::CgroupDenyPort => scoped(text, port::port_rule, Self::CgroupPort),
            Section::ProtectConnect
            | Section::ProtectRuntimeDeps
            | Section::RequireImaAppraisal
            | Section::ImaFailClosed
            | Section::DenyPtrace
            | Section::DenyModuleLoad
            | Section::DenyBpf => Err(Refusal::new(0, text.len(), EntryError::TooManyParts)),
        }
    }

    /// The same entry with its path or hash in canonical spelling, so that equal rules compare equal.
    pub(crate) fn into_canonical(self) -> Self {
        match self {
            Self::Path(path) => Self::Path(path::canonical_cow(path)),
            Self::Sha256(digits) => Self::Sha256(hash::canonical(digits)),
            Self::Cgroup(cgroup) => Self::Cgroup(cgroup.into_canonical()),
            Self::CgroupInode(cgroup, inode) => Self::CgroupInode(cgroup.into_canonical(), inode),
            Self::CgroupIp(cgroup, address) => Self::CgroupIp(cgroup.into_canonical(), address),
            Self::CgroupPort(cgroup, port) => Self::CgroupPort(cgroup.into_canonical(), port),
            other @ (Self::Inode(_)
            | Self::Ip(_)
            | Self::Network(_)
            | Self::Port(_)
            | Self::Endpoint(_)
            | Self::Comm(_)) => other,
        }
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Inode(inode) => inode.fmt(f),
            Self::Cgroup(cgroup) => cgroup.fmt(f),
            Self::Ip(address) => address.fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Port(rule) => rule.fmt(f),
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Sha256(digits) => write!(f, "sha256:{digits}"),
            Self::Comm(name) => f.write_str(name),
            Self::CgroupInode(cgroup, inode) => write!(f, "{cgroup} {inode}"),
            Self::CgroupIp(cgroup, address) => write!(f, "{cgroup} {address}"),
            Self::CgroupPort(cgroup, rule) => write!(f, "{cgroup} {rule}"),
        }
    }
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.number)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.port)?,
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.port)?,
        }
        match self.protocol {
            Protocol::Any => Ok(()),
            protocol @ (Protocol::Tcp | Protocol::Udp) => write!(f, ":{protocol}"),
        }
    }
}

fn comm(text: &str) -> Result<&str, Refusal> {
    if let Some(at) = text.bytes().position(|byte| byte == b'/') {
        return Err(Refusal::new(at, 1, EntryError::CommWithSlash));
    }
    if text.len() > MAX_COMM_LEN {
        let bytes = text.len();
        return Err(Refusal::new(MAX_COMM_LEN, bytes - MAX_COMM_LEN, EntryError::CommTooLong { bytes }));
    }
    Ok(text)
}

/// A control group, white space, and an entry that `second` reads.
fn scoped<'a, T>(
    text: &'a str,
    second: impl FnOnce(&'a str) -> Result<T, Refusal>,
    entry: impl FnOnce(Cgroup<'a>, T) -> Entry<'a>,
) -> Result<Entry<'a>, Refusal> {
    let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let cgroup = control_group::cgroup(first)?;
    let rest = rest.trim_start_matches([' ', '\t']);
    if rest.is_empty() {
        return Err(Refusal::new(0, text.len(), EntryError::NothingAfterCgroup));
    }
    let offset = text.len() - rest.len();
    let value = second(rest).map_err(|refusal| refusal.shifted(offset))?;
    Ok(entry(cgroup, value))
}
