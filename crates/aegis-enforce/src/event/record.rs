//! The record that a BPF program left in the ring buffer: `struct event` of `bpf/layout.h`, field by field.
//!
//! The programs are ours, but a record is read as if they were not: the map is pinned, and another version of the
//! programs may have written it. What no program of this version writes is refused as a whole.

use std::net::{IpAddr, Ipv6Addr};

use super::{Operation, Outcome, RuleSection, Transport};

/// The bytes of a record.
pub const RECORD_LEN: usize = 792;
/// The bytes of its path, with the NUL.
const PATH_LEN: usize = 512;
/// How many parents there are at most.
const PARENTS: usize = 6;
/// The largest error number that the kernel returns.
const MAX_ERRNO: u32 = 4095;

/// Why a record is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Cut, or written by programs of another version.
    #[error("a record has {found} bytes, not {RECORD_LEN}")]
    Length {
        /// Its length.
        found: usize,
    },
    /// A number that is no operation.
    #[error("a record has the unknown operation {found}")]
    Operation {
        /// The number.
        found: u32,
    },
    /// A number that is no section.
    #[error("a record has the unknown section {found}")]
    Section {
        /// The number.
        found: u8,
    },
    /// A field that says yes or no, and says something else.
    #[error("field {field} of a record is {found}, neither 0 nor 1")]
    Flag {
        /// The field.
        field: &'static str,
        /// What it is.
        found: u32,
    },
    /// Neither IPv4 nor IPv6, or an address of the other one.
    #[error("a record has an address of the unknown family {found}")]
    Family {
        /// The number.
        found: u8,
    },
    /// A number that is no transport.
    #[error("a record has the unknown protocol {found}")]
    Protocol {
        /// The number.
        found: u8,
    },
    /// A path that is longer than its field, ends elsewhere, or is an error that does not exist.
    #[error("a record has a path of impossible length {found}")]
    Path {
        /// The length that it gives, with its NUL.
        found: i32,
    },
}

impl RecordError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Length { .. }
            | Self::Operation { .. }
            | Self::Section { .. }
            | Self::Flag { .. }
            | Self::Family { .. }
            | Self::Protocol { .. }
            | Self::Path { .. } => {
                Some("the programs in the kernel are of another version: apply the policy again".to_owned())
            }
        }
    }
}

/// A record whose fields make sense. Texts are as the kernel gave them.
#[derive(Debug, Clone)]
pub(super) struct Record<'a> {
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub(super) time: u64,
    pub(super) generation: u64,
    pub(super) section: RuleSection,
    pub(super) line: u32,
    pub(super) operation: Operation,
    pub(super) outcome: Outcome,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) cgroup: u64,
    pub(super) exe: FileNumbers,
    pub(super) file: FileNumbers,
    pub(super) target: u32,
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) protocol: Option<Transport>,
    pub(super) hash: Option<[u8; 32]>,
    pub(super) comm: &'a [u8],
    pub(super) parents: Vec<(u32, &'a [u8])>,
    pub(super) path: RecordPath<'a>,
}

/// A file as the kernel numbers it: inode 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileNumbers {
    pub(super) inode: u64,
    /// In the kernel's encoding.
    pub(super) device: u32,
}

/// What a record says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordPath<'a> {
    /// Nothing: the hook has none.
    None,
    /// This path.
    Is(&'a [u8]),
    /// That it could not be told.
    Error(u32),
}

/// Takes a record apart.
pub(super) fn read(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    if bytes.len() != RECORD_LEN {
        return Err(RecordError::Length { found: bytes.len() });
    }
    // The order of `struct event`, which has no gap.
    let mut fields = Fields { rest: bytes };
    let time = fields.u64()?;
    let generation = fields.u64()?;
    let line = fields.u32()?;
    let [section, _protocols] = fields.take()?;
    let _flags = fields.u16()?;
    let operation = fields.u32()?;
    let denied = fields.u32()?;
    let (pid, tid) = (fields.u32()?, fields.u32()?);
    let (uid, gid) = (fields.u32()?, fields.u32()?);
    let cgroup = fields.u64()?;
    let (exe_inode, inode) = (fields.u64()?, fields.u64()?);
    let (exe_device, device) = (fields.u32()?, fields.u32()?);
    let target = fields.u32()?;
    let port = fields.u16()?;
    let [family, protocol] = fields.take()?;
    let address = fields.take()?;
    let hash = fields.take()?;
    let comm = until_nul(fields.slice(16)?);
    let mut parents = Vec::with_capacity(PARENTS);
    for _ in 0..PARENTS {
        parents.push((fields.u32()?, until_nul(fields.slice(16)?)));
    }
    let has_hash = fields.u32()?;
    let path_length = i32::from_ne_bytes(fields.take()?);
    let path = fields.slice(PATH_LEN)?;
    // The chain ends with the first process; what is behind it was never filled in.
    let end = parents.iter().position(|(pid, _)| *pid == 0).unwrap_or(parents.len());
    parents.truncate(end);
    Ok(Record {
        time,
        generation,
        section: RuleSection::of_number(section).ok_or(RecordError::Section { found: section })?,
        line,
        operation: operation_of(operation)?,
        outcome: if flag("denied", denied)? { Outcome::Denied } else { Outcome::Audited },
        pid,
        tid,
        uid,
        gid,
        cgroup,
        exe: FileNumbers { inode: exe_inode, device: exe_device },
        file: FileNumbers { inode, device },
        target,
        address: address_of(family, address)?,
        port,
        protocol: protocol_of(protocol)?,
        hash: flag("has_hash", has_hash)?.then_some(hash),
        comm,
        parents,
        path: path_of(path_length, path)?,
    })
}

fn operation_of(number: u32) -> Result<Operation, RecordError> {
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let operation = index.and_then(|index| Operation::ALL.get(index));
    operation.copied().ok_or(RecordError::Operation { found: number })
}

fn flag(field: &'static str, value: u32) -> Result<bool, RecordError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(RecordError::Flag { field, found }),
    }
}

/// IPv4 stands in its IPv6 form.
fn address_of(family: u8, bytes: [u8; 16]) -> Result<Option<IpAddr>, RecordError> {
    let address = Ipv6Addr::from(bytes);
    match (family, address.to_ipv4_mapped()) {
        (0, _) => Ok(None),
        (4, Some(address)) => Ok(Some(address.into())),
        (6, None) => Ok(Some(address.into())),
        (found, _) => Err(RecordError::Family { found }),
    }
}

fn protocol_of(number: u8) -> Result<Option<Transport>, RecordError> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(Transport::Tcp)),
        2 => Ok(Some(Transport::Udp)),
        4 => Ok(Some(Transport::Other)),
        found => Err(RecordError::Protocol { found }),
    }
}

/// The length counts the NUL, which is the only one; behind it is what another record left there.
fn path_of(length: i32, field: &[u8]) -> Result<RecordPath<'_>, RecordError> {
    let impossible = RecordError::Path { found: length };
    match usize::try_from(length) {
        Ok(0) => Ok(RecordPath::None),
        Ok(length) => match field.get(..length).and_then(<[u8]>::split_last) {
            Some((0, path)) if !path.contains(&0) => Ok(RecordPath::Is(path)),
            _ => Err(impossible),
        },
        Err(_) if length.unsigned_abs() <= MAX_ERRNO => Ok(RecordPath::Error(length.unsigned_abs())),
        Err(_) => Err(impossible),
    }
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What is left of a record.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(self.short())?;
        self.rest = rest;
        Ok(*field)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or(self.short())?;
        self.rest = rest;
        Ok(field)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.take().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.take().map(u64::from_ne_bytes)
    }

    /// Not reached for a record of the right length.
    fn short(&self) -> RecordError {
        RecordError::Length { found: RECORD_LEN.saturating_sub(self.rest.len()) }
    }
}
