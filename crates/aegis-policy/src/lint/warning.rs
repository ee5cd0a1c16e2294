//! What lint can say.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::section::Section;

/// One thing that looks wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in bytes.
    pub column: u32,
    /// How many bytes are concerned, at least 1.
    pub length: u32,
    /// What looks wrong.
    pub kind: WarningKind,
    /// What would be better.
    pub hint: Option<String>,
}

/// Why a rule or a policy looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WarningKind {
    /// The same rule twice, perhaps in two spellings.
    #[error("the same entry is on line {first_line}")]
    Duplicate {
        /// Where it is first.
        first_line: u32,
    },
    /// Entries out of order; said once a section.
    #[error("[{section}] is not sorted")]
    Unsorted {
        /// The section.
        section: Section,
    },
    /// A spelling other than the canonical one.
    #[error("entry is spelled {canonical} elsewhere")]
    NotCanonical {
        /// The canonical spelling.
        canonical: String,
    },
    /// A second header of a list section.
    #[error("[{section}] began on line {first_line} already")]
    RepeatedSection {
        /// The section.
        section: Section,
        /// Where it began.
        first_line: u32,
    },
    /// A list section without entries.
    #[error("[{section}] has no entries and does nothing")]
    EmptySection {
        /// The section.
        section: Section,
    },
    /// A list that is used by none of the sections there are.
    #[error("[scan_paths] is used for [deny_binary_hash] and [allow_binary_hash], and both are empty")]
    ScanPathsUnused,
    /// Network rules under a header that was meant for files.
    #[error("[{section}] belongs to version 2, and this policy is version 1")]
    NetworkInVersion1 {
        /// The section.
        section: Section,
    },
    /// Close to a limit at which the policy would be refused.
    #[error("policy has {used} of at most {limit} {what}")]
    NearLimit {
        /// What is counted: `bytes` or `rules`.
        what: &'static str,
        /// How many there are.
        used: usize,
        /// The limit.
        limit: usize,
    },
    /// A hash that one section lists and another denies.
    #[error("[deny_binary_hash] denies the same hash on line {line}, and a denial wins")]
    ListedAndDenied {
        /// Where it is denied.
        line: u32,
    },
    /// A path that is denied to all and protected as well.
    #[error("[deny_path] denies the same path on line {line}, also to verified programs")]
    ProtectedAndDenied {
        /// Where it is denied.
        line: u32,
    },
    /// An address or network inside a network that is denied.
    #[error("{network} on line {line} covers this already")]
    CoveredByNetwork {
        /// The wider network.
        network: String,
        /// Its line.
        line: u32,
    },
    /// An endpoint whose address is denied on every port.
    #[error("[deny_ip] denies this address on every port, on line {line}")]
    CoveredByAddress {
        /// Its line.
        line: u32,
    },
    /// A rule whose whole effect another rule has too.
    #[error("{rule} on line {line} covers this already")]
    CoveredByRule {
        /// The wider rule.
        rule: String,
        /// Its line.
        line: u32,
    },
    /// A denial for a control group that passes every rule.
    #[error("this control group passes every rule, by [allow_cgroup] on line {line}")]
    CgroupIsAllowed {
        /// Where it is allowed.
        line: u32,
    },
    /// A control group that holds every process.
    #[error("every process is in this control group, so no rule holds for anything")]
    EveryCgroup,
    /// The root directory.
    #[error("this denies the root directory")]
    RootDirectory,
    /// A file without which a host does not start, or nobody can log in.
    #[error("a host may not start, or not let anybody in, without this")]
    HostNeedsThis,
    /// A pattern, where none is expanded.
    #[error("patterns are not expanded: this names a file with {character:?} in its name")]
    Pattern {
        /// The character.
        character: char,
    },
    /// `..` in a path.
    #[error("path goes up: what it names depends on links")]
    GoesUp,
    /// A path that does not fit a record of the kernel's.
    #[error("path has {bytes} bytes; beyond 255 it is enforced but not named in reports")]
    LongPath {
        /// Its length.
        bytes: usize,
    },
    /// Every address there is.
    #[error("this denies every address")]
    EveryAddress,
    /// The host itself.
    #[error("this denies the host's own loopback")]
    Loopback,
    /// An IPv4 address in IPv6 form.
    #[error("an IPv4 address in IPv6 form; a connection to {address} itself is not denied")]
    MappedAddress {
        /// The IPv4 address.
        address: String,
    },
    /// The agent's own name or files.
    #[error("this denies the agent itself")]
    Agent,
    /// A comment with more than ASCII; said once.
    #[error("comment has characters beyond ASCII, which not every terminal shows")]
    CommentNotAscii,
    /// A section that the host in question cannot enforce. Said by those who know the host.
    #[error("nothing on this host enforces [{section}]: {why}")]
    NotEnforcedHere {
        /// The section.
        section: Section,
        /// What is missing.
        why: String,
        /// What to do about it.
        help: String,
    },
    /// A section that the host in question enforces less well than others do.
    #[error("this host enforces [{section}] by {backend} alone: {limit}")]
    WeakHere {
        /// The section.
        section: Section,
        /// What enforces it.
        backend: String,
        /// What that does not see.
        limit: String,
    },
    /// A rule that takes from the host in question what it cannot do without.
    #[error("{what}")]
    LocksOut {
        /// Which rule denies what.
        what: String,
        /// What to do about it.
        help: String,
    },
}

impl WarningKind {
    /// What would be better.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Duplicate { .. } | Self::Unsorted { .. } | Self::RepeatedSection { .. } => {
                "policy lint --fix sorts and removes duplicates".to_owned()
            }
            Self::NotCanonical { canonical } => format!("write {canonical}"),
            Self::EmptySection { .. } | Self::ScanPathsUnused => "remove it, or add entries".to_owned(),
            Self::NetworkInVersion1 { .. } => "write version=2 in the header".to_owned(),
            Self::NearLimit { .. } => "replace addresses by networks, or split the policy".to_owned(),
            Self::ListedAndDenied { .. } | Self::ProtectedAndDenied { .. } => "remove one of them".to_owned(),
            Self::CoveredByNetwork { .. } | Self::CoveredByAddress { .. } | Self::CoveredByRule { .. } => {
                "remove this entry".to_owned()
            }
            Self::CgroupIsAllowed { .. } => "remove one of them".to_owned(),
            Self::EveryCgroup => "name the one service that is to pass".to_owned(),
            Self::RootDirectory | Self::HostNeedsThis => {
                "use [protect_path] if verified programs are to keep it".to_owned()
            }
            Self::Pattern { .. } => "list each file".to_owned(),
            Self::GoesUp => "write the path without ..".to_owned(),
            Self::LongPath { .. } => "use [deny_inode], or a shorter path".to_owned(),
            Self::EveryAddress => "keep a way to reach the host".to_owned(),
            Self::Loopback => "services on one host talk over it; deny ports instead".to_owned(),
            Self::MappedAddress { address } => format!("write {address}"),
            Self::Agent => "remove it; an agent that is denied cannot apply the next policy".to_owned(),
            Self::CommentNotAscii => "write comments in ASCII".to_owned(),
            Self::NotEnforcedHere { help, .. } | Self::LocksOut { help, .. } => help.clone(),
            Self::WeakHere { .. } => return None,
        })
    }

    /// A name for programs, which does not change with the wording.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } => "duplicate",
            Self::Unsorted { .. } => "unsorted",
            Self::NotCanonical { .. } => "not_canonical",
            Self::RepeatedSection { .. } => "repeated_section",
            Self::EmptySection { .. } => "empty_section",
            Self::ScanPathsUnused => "scan_paths_unused",
            Self::NetworkInVersion1 { .. } => "network_in_version_1",
            Self::NearLimit { .. } => "near_limit",
            Self::ListedAndDenied { .. } => "listed_and_denied",
            Self::ProtectedAndDenied { .. } => "protected_and_denied",
            Self::CoveredByNetwork { .. } => "covered_by_network",
            Self::CoveredByAddress { .. } => "covered_by_address",
            Self::CoveredByRule { .. } => "covered_by_rule",
            Self::CgroupIsAllowed { .. } => "cgroup_is_allowed",
            Self::EveryCgroup => "every_cgroup",
            Self::RootDirectory => "root_directory",
            Self::HostNeedsThis => "host_needs_this",
            Self::Pattern { .. } => "pattern",
            Self::GoesUp => "goes_up",
            Self::LongPath { .. } => "long_path",
            Self::EveryAddress => "every_address",
            Self::Loopback => "loopback",
            Self::MappedAddress { .. } => "mapped_address",
            Self::Agent => "agent",
            Self::CommentNotAscii => "comment_not_ascii",
            Self::NotEnforcedHere { .. } => "not_enforced_here",
            Self::WeakHere { .. } => "weak_here",
            Self::LocksOut { .. } => "locks_out",
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { line, column, length, kind, hint } = self;
        let mut object = serializer.serialize_struct("Warning", 6)?;
        object.serialize_field("line", line)?;
        object.serialize_field("column", column)?;
        object.serialize_field("length", length)?;
        object.serialize_field("code", kind.code())?;
        object.serialize_field("message", &kind.to_string())?;
        object.serialize_field("hint", hint)?;
        object.end()
    }
}
