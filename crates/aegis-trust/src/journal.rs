//! The change that is under way, written down before its first step, so that a host which is stopped at any
//! instant is put right by the next command: a change that was begun is finished, and logged once.
//!
//! `journal.json` holds one change. Every step of every change may be done twice without harm.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use aegis_audit::Actor;
use aegis_crypto::{Digest, KeyId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    HostPaths,
    bundle::BundleFormat,
    custodians::{change::CustodiansChange, record::RecordChange},
    durable::{self, ReadError, WriteError},
    emergency::Lift,
    enforce::PolicyIdentity,
    rotation::RotationChange,
};

const MAX_JOURNAL_LEN: u64 = 1 << 20;

/// A change, its name in the audit log, and who asked for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Marks its audit entry, so that the entry is written once.
    pub transaction: String,
    /// When it was begun.
    pub started_at: Timestamp,
    /// Who asked for it.
    pub actor: Actor,
    /// What it is.
    pub change: Change,
}

/// A policy on its way into force, and the staged file that holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedPolicy {
    /// What the caller called it.
    pub source: String,
    /// Which policy it is.
    pub policy: PolicyIdentity,
    /// SHA-256 of the whole staged file.
    pub file_sha256: Digest,
    /// The bundle's format; none for an unsigned policy.
    pub format: Option<BundleFormatName>,
    /// The bundle's epoch.
    pub epoch: u32,
    /// Who signed it.
    pub signers: Vec<KeyId>,
    /// The version that was in force before.
    pub replaces: Option<u64>,
    /// What goes into the record of approvals with it: a higher epoch was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Box<RecordChange>>,
}

/// [`BundleFormat`] as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BundleFormatName {
    /// Version 1.
    V1,
    /// Version 2.
    V2,
}

/// Everything that can be under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// `policy apply`.
    Apply(StagedPolicy),
    /// `policy rollback`.
    Rollback(StagedPolicy),
    /// `policy counter repair`.
    RepairCounter {
        /// The new counter, as its file.
        counter: String,
        /// Why.
        reason: String,
    },
    /// `keys add`.
    AddKey {
        /// The key.
        id: KeyId,
        /// The file's name in the key directory.
        file_name: String,
        /// What the caller called it.
        source: String,
        /// What goes into the record of approvals with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<Box<RecordChange>>,
    },
    /// `keys remove`.
    RemoveKey {
        /// The key.
        id: KeyId,
        /// The files' names in the key directory.
        file_names: Vec<String>,
        /// What goes into the record of approvals with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<Box<RecordChange>>,
    },
    /// `keys revoke`.
    RevokeKey {
        /// The key.
        id: KeyId,
        /// When it was revoked.
        revoked_at: Timestamp,
        /// Why.
        reason: String,
        /// The files' names in the key directory.
        file_names: Vec<String>,
        /// What goes into the record of approvals with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<Box<RecordChange>>,
    },
    /// `custodians init`, `custodians set`, `custodians off`.
    Custodians(Box<CustodiansChange>),
    /// A step of `keys rotate`.
    Rotation(Box<RotationChange>),
    /// `emergency disable`.
    EnforcementOff(Box<Lift>),
    /// `emergency enable`.
    EnforcementOn {
        /// The policy in force, as far as it could be told.
        policy: Option<PolicyIdentity>,
    },
    /// `policy confirm`.
    ConfirmPolicy {
        /// The policy in force.
        policy: PolicyIdentity,
    },
    /// `backup restore`.
    Restore {
        /// What the caller called the archive.
        source: String,
        /// SHA-256 of the archive.
        archive_sha256: Digest,
    },
}

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("cannot read the journal")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// It is not a journal.
    #[error("the journal {} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It cannot be written. The change was not begun.
    #[error("cannot write the journal, so nothing was begun")]
    Write {
        /// Why.
        source: WriteError,
    },
}

impl JournalError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source } => source.help(),
            Self::Malformed { path, .. } => Some(format!(
                "look at {0} and at `aegisbpf audit show`; if no change was under way, move {0} away",
                path.display()
            )),
            Self::Write { source } => source.help(),
        }
    }
}

impl From<BundleFormat> for BundleFormatName {
    fn from(format: BundleFormat) -> Self {
        match format {
            BundleFormat::V1 => Self::V1,
            BundleFormat::V2 => Self::V2,
        }
    }
}

impl From<BundleFormatName> for BundleFormat {
    fn from(format: BundleFormatName) -> Self {
        match format {
            BundleFormatName::V1 => Self::V1,
            BundleFormatName::V2 => Self::V2,
        }
    }
}

impl Journal {
    /// A journal for `change`, not yet written.
    pub(crate) fn new(started_at: Timestamp, actor: &Actor, change: Change) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Unique on the host: the time, the process, and a count within it.
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let transaction = format!("{:x}-{:x}-{count:x}", started_at.as_nanosecond(), std::process::id());
        Self { transaction, started_at, actor: actor.clone(), change }
    }

    /// The change under way, if there is one.
    pub(crate) fn load(paths: &HostPaths) -> Result<Option<Self>, JournalError> {
        let path = paths.journal();
        let Some(bytes) =
            durable::read_state(&path, MAX_JOURNAL_LEN).map_err(|source| JournalError::Read { source })?
        else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| JournalError::Malformed { path, source })
    }

    /// Writes it down. From here on the change is finished, whatever happens, unless [`clear`](Self::clear) is called.
    pub(crate) fn write(&self, paths: &HostPaths) -> Result<(), JournalError> {
        let json = serde_json::to_vec(self).expect("names, numbers and times always serialise");
        durable::write_atomic(&paths.journal(), &json, 0o600).map_err(|source| JournalError::Write { source })
    }

    /// The change is finished and logged, or given up.
    pub(crate) fn clear(paths: &HostPaths) -> Result<(), WriteError> {
        durable::remove_synced(&paths.journal())
    }
}
