//! Everything that can be wrong with a policy, each with its place.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::entry::{EntryError, MAX_COMM_LEN};
use crate::render;
use crate::section::Section;

/// How many errors, and how many warnings, are kept of a hostile file. The rest is counted.
pub const MAX_REPORTED: usize = 100;

/// Everything that is wrong with a policy, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PolicyErrors {
    /// The first [`MAX_REPORTED`] of them, and every one that concerns the file as a whole.
    pub errors: Vec<PolicyError>,
    /// How many there are.
    #[serde(rename = "error_total")]
    pub total: usize,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in bytes.
    pub column: u32,
    /// How many bytes are concerned, at least 1.
    pub length: u32,
    /// What is wrong.
    pub kind: PolicyErrorKind,
    /// What would be right.
    pub hint: Option<String>,
}

/// What a section needs beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Companion {
    /// `[protect_connect]`, or an entry in `[protect_path]`.
    ProtectedResource,
    /// An entry in `[trusted_exec_hash]`.
    TrustedExecHash,
}

impl fmt::Display for Companion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtectedResource => "[protect_connect] or an entry in [protect_path]",
            Self::TrustedExecHash => "an entry in [trusted_exec_hash]",
        })
    }
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyErrorKind {
    /// The file is over the limit; it was not looked at.
    #[error("policy has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// There are more entries than the limit.
    #[error("policy has more than {limit} rules")]
    TooManyRules {
        /// The limit.
        limit: usize,
    },
    /// The file begins with U+FEFF.
    #[error("policy begins with a byte-order mark")]
    ByteOrderMark,
    /// Lines end in CR LF. Reported once, at the first.
    #[error("{lines} lines end in CR LF")]
    CarriageReturn {
        /// How many lines.
        lines: u32,
    },
    /// A NUL or another control character.
    #[error("control character 0x{byte:02x}")]
    ControlCharacter {
        /// The byte.
        byte: u8,
    },
    /// A byte above 0x7e outside a comment.
    #[error("byte 0x{byte:02x} is not ASCII")]
    NotAscii {
        /// The byte.
        byte: u8,
    },
    /// A comment with bytes that are no text.
    #[error("byte 0x{byte:02x} is not UTF-8")]
    NotUtf8 {
        /// The byte.
        byte: u8,
    },
    /// A comment with a character that hides or reorders others on a screen.
    #[error("invisible character U+{code_point:04X}")]
    InvisibleCharacter {
        /// The character.
        code_point: u32,
    },
    /// White space and `#` after something else.
    #[error("comment after an entry")]
    InlineComment,
    /// No `version=` anywhere.
    #[error("policy has no version")]
    MissingVersion,
    /// `version=` with something other than 1 to 6.
    #[error("version is not one of 1 to 6")]
    BadVersion,
    /// A second `version=`.
    #[error("version was given on line {first_line} already")]
    DuplicateVersion {
        /// Where the first is.
        first_line: u32,
    },
    /// `version=` after a section has begun.
    #[error("version stands inside [{section}], not before the first section")]
    VersionInSection {
        /// The section.
        section: Section,
    },
    /// Something other than `version=` before the first section.
    #[error("not a header line, and no section has begun")]
    NotAHeader,
    /// `[` without `]`, or white space inside the brackets.
    #[error("section header is not of the form [name]")]
    MalformedSection,
    /// A section that does not exist. Its entries are not looked at.
    #[error("unknown section")]
    UnknownSection {
        /// The section with the most similar name.
        nearest: Option<Section>,
    },
    /// A section that the header's version does not have yet.
    #[error("[{section}] needs version {since}, and this policy is version {version}")]
    SectionTooNew {
        /// The section.
        section: Section,
        /// The version that brought it.
        since: u8,
        /// The header's version.
        version: u8,
    },
    /// A flag that is set already.
    #[error("[{section}] was set on line {first_line} already")]
    DuplicateFlag {
        /// The flag.
        section: Section,
        /// Where it was set.
        first_line: u32,
    },
    /// An entry below a flag.
    #[error("[{section}] is a flag and takes no entries")]
    EntryInFlag {
        /// The flag.
        section: Section,
    },
    /// A section that means nothing without another.
    #[error("[{section}] needs {needs}")]
    MissingCompanion {
        /// The section.
        section: Section,
        /// What is missing.
        needs: Companion,
    },
    /// An entry that its section does not take.
    #[error("[{section}] {error}")]
    BadEntry {
        /// The section.
        section: Section,
        /// What is wrong with the entry.
        error: EntryError,
        /// Another section that would take it.
        fits: Option<Section>,
    },
}

impl PolicyErrorKind {
    /// What would be right.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::TooLarge { .. } => "split the policy, or raise the limit on every host".to_owned(),
            Self::TooManyRules { .. } => "replace addresses by networks, or raise the limit".to_owned(),
            Self::ByteOrderMark => "save the file as plain ASCII or UTF-8 without a mark".to_owned(),
            Self::CarriageReturn { .. } => {
                "save the file with LF line ends, as by: sed -i 's/\\r$//' FILE".to_owned()
            }
            Self::ControlCharacter { byte: b'\t' } => "use a space".to_owned(),
            Self::ControlCharacter { .. } | Self::InvisibleCharacter { .. } => "remove it".to_owned(),
            Self::NotAscii { .. } => {
                "only comments may hold other characters; name such a file in [deny_inode]".to_owned()
            }
            Self::NotUtf8 { .. } => "save the file as UTF-8".to_owned(),
            Self::InlineComment => "put the comment on a line of its own".to_owned(),
            Self::MissingVersion => "begin the policy with version=6".to_owned(),
            Self::BadVersion => "write version=1 to version=6, without sign or leading zero".to_owned(),
            Self::DuplicateVersion { .. } => "remove one of them".to_owned(),
            Self::VersionInSection { .. } => "move it to the top".to_owned(),
            Self::NotAHeader => "write version=6 first, then a section such as [deny_path]".to_owned(),
            Self::MalformedSection => {
                "write the name directly between brackets, such as [deny_path]".to_owned()
            }
            Self::UnknownSection { nearest: Some(section) } => format!("did you mean [{section}]?"),
            Self::UnknownSection { nearest: None } => {
                let names: Vec<&str> = Section::ALL.iter().map(|section| section.name()).collect();
                format!("sections are {}", names.join(", "))
            }
            Self::SectionTooNew { since, .. } => format!("write version={since} in the header"),
            Self::DuplicateFlag { .. } => "remove one of them".to_owned(),
            Self::EntryInFlag { .. } => "remove the entry, or put a section header before it".to_owned(),
            Self::MissingCompanion { section, needs } => format!("add {needs}, or remove [{section}]"),
            Self::BadEntry { section, error, fits } => return entry_help(*section, *error, *fits),
        })
    }

    /// A name for programs, which does not change with the wording.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::TooManyRules { .. } => "too_many_rules",
            Self::ByteOrderMark => "byte_order_mark",
            Self::CarriageReturn { .. } => "carriage_return",
            Self::ControlCharacter { .. } => "control_character",
            Self::NotAscii { .. } => "not_ascii",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::InvisibleCharacter { .. } => "invisible_character",
            Self::InlineComment => "inline_comment",
            Self::MissingVersion => "missing_version",
            Self::BadVersion => "bad_version",
            Self::DuplicateVersion { .. } => "duplicate_version",
            Self::VersionInSection { .. } => "version_in_section",
            Self::NotAHeader => "not_a_header",
            Self::MalformedSection => "malformed_section",
            Self::UnknownSection { .. } => "unknown_section",
            Self::SectionTooNew { .. } => "section_too_new",
            Self::DuplicateFlag { .. } => "duplicate_flag",
            Self::EntryInFlag { .. } => "entry_in_flag",
            Self::MissingCompanion { .. } => "missing_companion",
            Self::BadEntry { .. } => "bad_entry",
        }
    }
}

fn entry_help(section: Section, error: EntryError, fits: Option<Section>) -> Option<String> {
    if let Some(fits) = fits
        && error != EntryError::NotBracketed
    {
        return Some(format!("this is an entry of [{fits}]"));
    }
    match error {
        EntryError::HostBitsSet { network } => Some(format!("write {network}")),
        EntryError::NotBracketed => Some("write [address]:port".to_owned()),
        EntryError::LeadingZero { .. } => Some("write the number without leading zeros".to_owned()),
        EntryError::CommTooLong { .. } => {
            Some(format!("the kernel keeps {MAX_COMM_LEN} bytes of a name; use [deny_binary_hash]"))
        }
        EntryError::CommWithSlash => Some("write the file name alone, or use [deny_path]".to_owned()),
        EntryError::Ipv6NotTaken => Some("use [deny_ip], which holds for every control group".to_owned()),
        EntryError::RelativePath
        | EntryError::PathTooLong { .. }
        | EntryError::NotAnInode
        | EntryError::NotDecimal { .. }
        | EntryError::TooBig { .. }
        | EntryError::PortZero
        | EntryError::NotAnAddress
        | EntryError::NoPrefixLength
        | EntryError::NoPort
        | EntryError::UnknownProtocol
        | EntryError::UnknownDirection
        | EntryError::TooManyParts
        | EntryError::NotSha256
        | EntryError::HashLength { .. }
        | EntryError::NotHex
        | EntryError::NotACgroup
        | EntryError::NothingAfterCgroup => {
            section.entry_form().map(|form| format!("[{section}] takes {form}"))
        }
    }
}

impl PolicyErrors {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self.errors.as_slice() {
            [] => None,
            [only] if self.total == 1 => only.hint.clone(),
            [..] => Some("policy lint FILE shows each with what would be right".to_owned()),
        }
    }

    /// The errors as an operator reads them: line, caret, what would be right.
    ///
    /// `file_name` and `source` may be hostile: everything that is not printable ASCII is escaped, and long
    /// lines are cut around the error. `source` is what was parsed; with another, the excerpts are wrong but safe.
    pub fn render(&self, file_name: &str, source: &[u8], color: bool) -> String {
        render::errors(self, file_name, source, color)
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.first() {
            Some(first) if self.total <= 1 => write!(f, "policy is not valid: {first}"),
            Some(first) => write!(f, "policy has {} errors, the first on {first}", self.total),
            None => write!(f, "policy has {} errors", self.total),
        }
    }
}

impl std::error::Error for PolicyErrors {}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.kind)
    }
}

impl std::error::Error for PolicyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        None
    }
}

impl Serialize for PolicyError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { line, column, length, kind, hint } = self;
        let mut object = serializer.serialize_struct("PolicyError", 6)?;
        object.serialize_field("line", line)?;
        object.serialize_field("column", column)?;
        object.serialize_field("length", length)?;
        object.serialize_field("code", kind.code())?;
        object.serialize_field("message", &kind.to_string())?;
        object.serialize_field("hint", hint)?;
        object.end()
    }
}
