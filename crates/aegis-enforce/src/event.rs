//! What was denied, or would have been: who, what, and by which rule.
//!
//! | module | what it does |
//! |---|---|
//! | `record` | the record that a BPF program left in the ring buffer: believed in nothing, refused if it is odd |
//! | [`Context`] | what the record does not say: wall-clock time, the policy, paths of programs and control groups |
//! | `text` | names that strangers chose, as text that cannot steer a terminal |
//! | [`ocsf`] | the same event for other people's tools |
//! | [`Log`], [`read`], [`Follower`] | events as lines of a file that does not grow without end |
//! | [`simulate`] | what another policy would have said about them |
//!
//! An [`Event`] is JSON: `docs/json.md` has its members. Texts that a process chose for itself (its name, a path) are
//! escaped once, when the record is read: `\xNN` for each byte that is no UTF-8 or could steer a terminal, `\\` for a
//! backslash. What is written is therefore one line, and still says exactly which bytes there were.

mod cgroup;
mod context;
mod log;
pub mod ocsf;
mod policy_text;
mod record;
mod rule_section;
mod simulate;
mod stamp;
mod text;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use aegis_crypto::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::cgroup::numbers_above;
pub use self::context::{BootClock, Context, KnownPolicy};
pub use self::log::{
    Entries, Filter, Follower, LINE_LEN, Limits, Line, LineError, Lines, Log, LogError, Lost, read,
};
pub use self::policy_text::PolicyText;
pub use self::record::{RECORD_LEN, RecordError};
pub use self::rule_section::{RuleSection, UnknownSection};
pub use self::simulate::{EventGroup, RuleTotal, Simulated, Simulation, Simulator, simulate};
pub use self::text::{printable, stat_device};

/// One thing that was denied, or would have been in enforce mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When. The kernel tells the time since it started; it is added to a time of day that was measured once.
    #[serde(with = "stamp")]
    pub time: Timestamp,
    /// What was to be done.
    pub operation: Operation,
    /// Whether it was stopped.
    pub outcome: Outcome,
    /// The rule that says so.
    pub rule: RuleRef,
    /// The policy that the rule is in.
    pub policy: PolicyRef,
    /// Who wanted to do it.
    pub process: Process,
    /// Its parent, the parent of that, and so on: at most six.
    pub parents: Vec<Parent>,
    /// The control group that the process was in.
    pub cgroup: CgroupRef,
    /// The file it was about, for operations on files and programs.
    pub file: Option<FileRef>,
    /// The address it was about, for operations on sockets.
    pub network: Option<NetworkRef>,
    /// The process that was to be traced.
    pub target_pid: Option<u32>,
    /// The command of bpf(2).
    pub bpf_command: Option<BpfCommand>,
}

/// What a process wanted to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Open a file.
    Open,
    /// Make a file, or a link, by that name.
    Create,
    /// Run a program.
    Exec,
    /// Map a file into memory.
    Map,
    /// Take an open file from another process.
    Receive,
    /// Cut a file.
    Truncate,
    /// Connect a socket.
    Connect,
    /// Send to an address.
    Send,
    /// Bind a socket to a port.
    Bind,
    /// Listen on a port.
    Listen,
    /// Trace a process.
    Ptrace,
    /// Load a kernel module.
    Module,
    /// Load or attach a BPF program.
    Bpf,
    /// Change what belongs to the agent.
    Tamper,
}

impl Operation {
    /// Every operation, by its number in the record, from 1.
    pub const ALL: [Self; 14] = [
        Self::Open,
        Self::Create,
        Self::Exec,
        Self::Map,
        Self::Receive,
        Self::Truncate,
        Self::Connect,
        Self::Send,
        Self::Bind,
        Self::Listen,
        Self::Ptrace,
        Self::Module,
        Self::Bpf,
        Self::Tamper,
    ];

    /// Its name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Exec => "exec",
            Self::Map => "map",
            Self::Receive => "receive",
            Self::Truncate => "truncate",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Ptrace => "ptrace",
            Self::Module => "module",
            Self::Bpf => "bpf",
            Self::Tamper => "tamper",
        }
    }

    /// The word between it and its object: `connect to`, `open of`.
    pub const fn preposition(self) -> &'static str {
        match self {
            Self::Connect | Self::Send | Self::Bind => "to",
            Self::Listen => "on",
            Self::Open
            | Self::Create
            | Self::Exec
            | Self::Map
            | Self::Receive
            | Self::Truncate
            | Self::Ptrace
            | Self::Module
            | Self::Bpf
            | Self::Tamper => "of",
        }
    }

    /// Whether it is about a file.
    pub const fn is_on_file(self) -> bool {
        matches!(self, Self::Open | Self::Create | Self::Exec | Self::Map | Self::Receive | Self::Truncate)
    }

    /// Whether it is about a socket.
    pub const fn is_on_socket(self) -> bool {
        matches!(self, Self::Connect | Self::Send | Self::Bind | Self::Listen)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no operation has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such operation, only {}", Operation::ALL.map(Operation::as_str).join(", "))]
pub struct UnknownOperation;

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(name: &str) -> Result<Self, UnknownOperation> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == name).ok_or(UnknownOperation)
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was stopped.
    Denied,
    /// It was let through, since the policy is in audit mode.
    Audited,
}

impl Outcome {
    /// Its name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Audited => "audited",
        }
    }
}

/// A rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// Its section.
    pub section: RuleSection,
    /// Its line; `None` for what protects the agent, which is in no policy.
    pub line: Option<u32>,
    /// What it says, if the policy was at hand; `None` for a flag.
    pub entry: Option<String>,
}

/// A policy that was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    /// The number that the kernel knows it by.
    pub generation: u64,
    /// Its version, if it was signed and is known.
    pub version: Option<u64>,
    /// The digest of its text, if it is known.
    pub sha256: Option<Digest>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number in the first namespace.
    pub pid: u32,
    /// The number of the thread.
    pub tid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The name it goes by, which it can choose. Escaped.
    pub comm: String,
    /// The program that it runs.
    pub exe: Option<Program>,
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its path, if the process was still there and still ran it. Escaped.
    pub path: Option<String>,
    /// Its device, as `stat` has it.
    pub device: u32,
    /// Its inode.
    pub inode: u64,
}

/// A parent of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its number.
    pub pid: u32,
    /// The name it goes by. Escaped.
    pub comm: String,
}

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupRef {
    /// Its number, which is that of its directory's inode.
    pub id: u64,
    /// Its path below the mount of control groups, if it is still there. Escaped.
    pub path: Option<String>,
    /// The numbers of the groups above it, if it is still there: that of the root first, at most sixteen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub above: Vec<u64>,
}

/// A file. Members are `None` where the hook of the operation does not know them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its path as the process sees it. Escaped.
    pub path: Option<String>,
    /// Why there is none: an error number, such as 36 for a path of more than 511 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_errno: Option<u32>,
    /// Its device, as `stat` has it.
    pub device: Option<u32>,
    /// Its inode.
    pub inode: Option<u64>,
    /// The digest of its content, if a rule asked for it.
    pub sha256: Option<Digest>,
}

/// The other end of a connection, or the own one for `bind` and `listen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRef {
    /// The address; `None` for `listen`.
    pub address: Option<IpAddr>,
    /// The port; 0 if there is none, or the kernel is to choose one.
    pub port: u16,
    /// The transport.
    pub protocol: Transport,
}

/// The transport of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP, and MPTCP.
    Tcp,
    /// UDP, and UDP-Lite.
    Udp,
    /// Anything else, such as a raw socket.
    Other,
}

impl Transport {
    /// Its name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Other => "other",
        }
    }
}

/// A command of bpf(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfCommand {
    /// Its number.
    pub number: u32,
    /// Its name, for those that a rule can deny.
    pub name: Option<String>,
}

impl BpfCommand {
    /// The command of that number.
    pub fn of(number: u32) -> Self {
        // The values of `enum bpf_cmd`, which is part of the kernel's interface.
        let name = match number {
            5 => Some("prog_load"),
            8 => Some("prog_attach"),
            17 => Some("raw_tracepoint_open"),
            28 => Some("link_create"),
            29 => Some("link_update"),
            _ => None,
        };
        Self { number, name: name.map(str::to_owned) }
    }
}

impl Event {
    /// Reads a record of the ring buffer, and adds what `context` knows.
    ///
    /// # Errors
    ///
    /// [`RecordError`] for a record that no program of ours writes. Nothing of it is shown then.
    pub fn from_record(bytes: &[u8], context: &Context) -> Result<Self, RecordError> {
        record::read(bytes).map(|record| context.complete(&record))
    }

    /// What the event is about, for people: a path, an address, a process. Escaped.
    pub fn object(&self) -> Option<String> {
        if let Some(file) = &self.file {
            if let Some(path) = &file.path {
                return Some(path.clone());
            }
            // A hook that knows no path: the rule may name it.
            if let (RuleSection::Policy(section), Some(entry)) = (self.rule.section, &self.rule.entry)
                && matches!(section, aegis_policy::Section::DenyPath | aegis_policy::Section::ProtectPath)
            {
                return Some(printable(entry.as_bytes()));
            }
            return Some(match (file.device, file.inode) {
                (Some(device), Some(inode)) => format!("{device}:{inode}"),
                _ => return None,
            });
        }
        if let Some(network) = &self.network {
            let NetworkRef { address, port, protocol } = network;
            return Some(match address {
                Some(IpAddr::V4(address)) => format!("{address}:{port}/{}", protocol.as_str()),
                Some(IpAddr::V6(address)) => format!("[{address}]:{port}/{}", protocol.as_str()),
                None => format!("port {port}/{}", protocol.as_str()),
            });
        }
        if let Some(pid) = self.target_pid {
            return Some(format!("process {pid}"));
        }
        let command = self.bpf_command.as_ref()?;
        Some(match &command.name {
            Some(name) => name.clone(),
            None => format!("command {}", command.number),
        })
    }
}

impl fmt::Display for Event {
    /// One line, without the time: `denied open of /etc/shadow by cat (pid 7, uid 1000): [deny_path] line 4: /etc/shadow`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.outcome.as_str(), self.operation)?;
        if let Some(object) = self.object() {
            write!(f, " {} {object}", self.operation.preposition())?;
        }
        let Process { pid, uid, comm, .. } = &self.process;
        write!(f, " by {comm} (pid {pid}, uid {uid}): [{}]", self.rule.section)?;
        if let Some(line) = self.rule.line {
            write!(f, " line {line}")?;
        }
        match &self.rule.entry {
            Some(entry) => write!(f, ": {entry}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
