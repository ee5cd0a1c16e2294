//! Who loads the rules. The kernel backends are in `aegis-enforce`; the implementation here records what would be loaded,
//! for rehearsals below another root, and says plainly that nothing is enforced.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use aegis_crypto::Digest;
use aegis_policy::Policy;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    HostPaths,
    durable::{self, ReadError, WriteError},
};

const MAX_RECORD_LEN: u64 = 64 * 1024;

/// Which policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyIdentity {
    /// Its version; none for an unsigned policy.
    pub policy_version: Option<u64>,
    /// SHA-256 of its text.
    pub policy_sha256: Digest,
}

/// What a backend holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforcement {
    /// The backend's name.
    pub backend: String,
    /// Whether anything is really denied.
    pub enforced: bool,
    /// The policy it holds.
    pub policy: PolicyIdentity,
    /// How many rules.
    pub rules: u64,
    /// How many in each section.
    pub sections: BTreeMap<String, u64>,
    /// Whether what a rule denies is refused or only told; none from a backend that does neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<EnforcementMode>,
    /// Sections that nothing on this host can enforce, and that were taken all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unenforced: Vec<String>,
    /// Until when the policy waits for a confirmation; after that the one before it counts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<Timestamp>,
    /// The policy that was in force before, and how: what a rollback goes back to is not made stricter by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// What keeps it from being what it should be, a sentence each, with what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
}

/// A policy that was in force, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Which.
    pub policy: PolicyIdentity,
    /// Whether what it denied was refused or only told.
    pub mode: EnforcementMode,
}

/// Something about what is enforced that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    /// Whether rules are without effect because of it.
    pub failed: bool,
    /// What it is.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// What happens to an operation that a rule denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnforcementMode {
    /// It is refused, and told.
    Enforce,
    /// It is told.
    Audit,
}

/// Why a backend did not take a policy. The one before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The backend looked at the policy and refused it.
    #[error("the {backend} backend refused the policy: {detail}")]
    Rejected {
        /// Its name.
        backend: &'static str,
        /// What it said.
        detail: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// The backend itself does not work here now. It may tomorrow.
    #[error("the {backend} backend does not work here: {detail}")]
    Unavailable {
        /// Its name.
        backend: &'static str,
        /// What it said.
        detail: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// What it did could not be recorded.
    #[error("what is enforced cannot be recorded")]
    Write {
        /// Why.
        source: WriteError,
    },
    /// What it holds cannot be told.
    #[error("what is enforced cannot be read")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// The record is not one.
    #[error("the record of what is enforced, {}, is malformed", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl EnforceError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Rejected { help: Some(help), .. } | Self::Unavailable { help: Some(help), .. } => {
                Some(help.clone())
            }
            Self::Rejected { help: None, .. } => Some(
                "the policy before it is still in force; correct the policy and sign it again".to_owned(),
            ),
            Self::Unavailable { help: None, .. } => {
                Some("`aegisbpf probe` says what this host can enforce, and what it lacks".to_owned())
            }
            Self::Write { source } => source.help(),
            Self::Read { source } => source.help(),
            Self::Record { .. } => Some(
                "run `aegisbpf policy apply` with the policy in force; it writes the record anew".to_owned(),
            ),
        }
    }
}

/// Loads a policy as a whole, or changes nothing.
pub trait Enforcer {
    /// The name in reports.
    fn name(&self) -> &'static str;

    /// Whether it would take `policy`. Asked before anything is changed; it changes nothing itself.
    ///
    /// # Errors
    ///
    /// [`EnforceError::Rejected`] or [`EnforceError::Unavailable`].
    fn check(&self, policy: &Policy<'_>) -> Result<(), EnforceError> {
        let _ = policy;
        Ok(())
    }

    /// Puts `policy` in force in place of the one before. Asked again for the same policy, it does no harm.
    ///
    /// # Errors
    ///
    /// [`EnforceError`]; what was in force stays so.
    fn enforce(&self, policy: &Policy<'_>, identity: &PolicyIdentity) -> Result<Enforcement, EnforceError>;

    /// Keeps a policy that was put in force with a time limit.
    ///
    /// # Errors
    ///
    /// [`EnforceError`] if none waits for that, or the time is over.
    fn confirm(&self) -> Result<(), EnforceError> {
        Err(nothing_enforced(self.name()))
    }

    /// For `time`, what the policy in force denies is only told. [`Duration::ZERO`] ends that.
    ///
    /// # Errors
    ///
    /// [`EnforceError`]; then it denies as before.
    fn lift(&self, time: Duration) -> Result<(), EnforceError> {
        let _ = time;
        Err(nothing_enforced(self.name()))
    }

    /// What is in force now, or `None` if nothing was ever loaded.
    ///
    /// # Errors
    ///
    /// [`EnforceError`] if it cannot be told.
    fn state(&self) -> Result<Option<Enforcement>, EnforceError>;
}

/// What a backend says that denies nothing.
pub(crate) fn nothing_enforced(backend: &'static str) -> EnforceError {
    EnforceError::Unavailable {
        backend,
        detail: "it enforces nothing".to_owned(),
        help: Some("policies are enforced on this host's own files alone, not below another root".to_owned()),
    }
}

/// Records what would be loaded. It denies nothing, and its reports say so.
#[derive(Debug, Clone)]
pub struct RecordingEnforcer {
    record: PathBuf,
}

impl RecordingEnforcer {
    /// A recorder for the host at `paths`.
    pub fn new(paths: &HostPaths) -> Self {
        Self { record: paths.enforcement() }
    }
}

impl Enforcer for RecordingEnforcer {
    fn name(&self) -> &'static str {
        "record-only"
    }

    fn enforce(&self, policy: &Policy<'_>, identity: &PolicyIdentity) -> Result<Enforcement, EnforceError> {
        let enforcement = Enforcement {
            backend: self.name().to_owned(),
            enforced: false,
            policy: *identity,
            rules: policy.rule_count() as u64,
            sections: section_counts(policy),
            mode: None,
            unenforced: Vec::new(),
            confirm_by: None,
            before: None,
            remarks: Vec::new(),
        };
        self.write(&enforcement)?;
        Ok(enforcement)
    }

    fn state(&self) -> Result<Option<Enforcement>, EnforceError> {
        self.read()
    }
}

impl RecordingEnforcer {
    /// The record, as it was written last.
    ///
    /// # Errors
    ///
    /// [`EnforceError::Read`] or [`EnforceError::Record`].
    pub fn read(&self) -> Result<Option<Enforcement>, EnforceError> {
        let bytes = durable::read_state(&self.record, MAX_RECORD_LEN)
            .map_err(|source| EnforceError::Read { source })?;
        bytes
            .map(|bytes| {
                serde_json::from_slice(&bytes)
                    .map_err(|source| EnforceError::Record { path: self.record.clone(), source })
            })
            .transpose()
    }

    /// Writes the record: for a backend that keeps one beside what it does.
    ///
    /// # Errors
    ///
    /// [`EnforceError::Write`].
    pub fn write(&self, enforcement: &Enforcement) -> Result<(), EnforceError> {
        let mut json = serde_json::to_vec(enforcement).expect("counts and names always serialise");
        json.push(b'\n');
        durable::write_atomic(&self.record, &json, 0o644).map_err(|source| EnforceError::Write { source })
    }
}

/// How many rules each section that is there has; a flag counts as one.
pub fn section_counts(policy: &Policy<'_>) -> BTreeMap<String, u64> {
    let count = |section| if policy.has(section) { (policy.count(section) as u64).max(1) } else { 0 };
    policy.sections().map(|section| (section.name().to_owned(), count(section))).collect()
}
