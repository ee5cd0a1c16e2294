//! That a policy locks out something vital, and by what.

use std::fmt;
use std::path::{Path, PathBuf};

use aegis_policy::{Rule, Section, WarningKind};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::vital::{Role, VitalFile};

/// Why the host would be without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The rule denies it.
    Denied,
    /// Only verified programs may open it, and no list verifies any.
    NobodyVerified,
    /// The list does not have it.
    NotListed {
        /// What it would have to have.
        sha256: String,
    },
    /// It cannot be read, so nobody can say that it is on the list.
    NotReadable,
}

impl Reason {
    /// A name for programs, which does not change with the wording.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NobodyVerified => "nobody_verified",
            Self::NotListed { .. } => "not_listed",
            Self::NotReadable => "not_readable",
        }
    }
}

/// One vital thing that a policy would take away. Prints as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOut {
    /// What it is to the host.
    pub what: Role,
    /// Its path; none for a name that no file here has.
    pub path: Option<PathBuf>,
    /// The section that does it.
    pub section: Section,
    /// The line of the rule, or of the header of a list.
    pub line: u32,
    /// The rule; none where a list lacks one.
    pub rule: Option<String>,
    /// Why.
    pub why: Reason,
}

impl LockOut {
    pub(super) fn by_rule(rule: &Rule<'_>, what: Role, path: Option<&Path>, why: Reason) -> Self {
        Self {
            what,
            path: path.map(Path::to_owned),
            section: rule.section,
            line: rule.line,
            rule: Some(rule.text.to_owned()),
            why,
        }
    }

    pub(super) fn by_list(section: Section, line: u32, file: &VitalFile, why: Reason) -> Self {
        Self { what: file.role, path: Some(file.path.clone()), section, line, rule: None, why }
    }

    /// The same for lint, on its line.
    pub fn warning(&self) -> (u32, WarningKind) {
        (self.line, WarningKind::LocksOut { what: self.to_string(), help: self.help() })
    }

    /// What to do.
    pub fn help(&self) -> String {
        match &self.why {
            Reason::Denied => "take the rule out, or use --force if the host is to be locked so".to_owned(),
            Reason::NobodyVerified => {
                "list the programs that may open it in [allow_binary_hash], or take the rule out".to_owned()
            }
            Reason::NotListed { sha256 } => format!("add sha256:{sha256} to [{}]", self.section),
            Reason::NotReadable => "run this as root".to_owned(),
        }
    }
}

impl fmt::Display for LockOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, path, section, line, rule, why } = self;
        match rule {
            Some(rule) => write!(f, "[{section}] {rule} on line {line}")?,
            None => write!(f, "[{section}] on line {line}")?,
        }
        match why {
            Reason::Denied => f.write_str(" denies")?,
            Reason::NobodyVerified => f.write_str(" leaves nobody who may open")?,
            Reason::NotListed { .. } => f.write_str(" does not list")?,
            Reason::NotReadable => f.write_str(" may not list what cannot be read:")?,
        }
        write!(f, " {what}")?;
        match path {
            Some(path) => write!(f, ", {}", path.display()),
            None => Ok(()),
        }
    }
}

impl Serialize for LockOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { what, path, section, line, rule, why } = self;
        let mut object = serializer.serialize_struct("LockOut", 8)?;
        object.serialize_field("what", what)?;
        object.serialize_field("path", path)?;
        object.serialize_field("section", section)?;
        object.serialize_field("line", line)?;
        object.serialize_field("rule", rule)?;
        object.serialize_field("why", why.code())?;
        object.serialize_field("message", &self.to_string())?;
        object.serialize_field("help", &self.help())?;
        object.end()
    }
}
