//! One signed archive of what a host trusts and has accepted, and its way back.
//!
//! A backup holds no private key: not the signers', which no host has, and not the host's own. A restore brings back
//! what is missing or older, and never takes anything away: the counter does not go down, a revoked key stays revoked,
//! what is newer here is kept and named. The archive's own signature proves that one host made it and nobody changed
//! it since; whether that host is to be believed is a question of its own ([`RestoreTrust`]).

use std::path::{Path, PathBuf};

use aegis_audit::{Action, AppendError, Event, HostKeyError, Outcome};
use aegis_crypto::{Digest, KeyId, KeyIdPrefix};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    bundle::{MAX_HEADER_LEN, SignedBundle},
    config::{Config, ConfigError},
    counter::{Counter, CounterError},
    custodians::CustodiansError,
    durable::{self, ReadError, WriteError},
    enforce::EnforceError,
    host::{Caller, ChangeError, Host},
    key_dir::KeysError,
    rotation::RotateError,
};

mod archive;
mod archive_error;
mod contents;
mod create;
mod file_kind;
mod restore;

pub use crate::host_statement::StatementError;
use archive::Archive;
pub use archive_error::ArchiveError;
pub use contents::{BackupFile, PAYLOAD_TYPE};
use file_kind::FileKind;

/// The fewest digits of a host key's id that decide trust: fewer could be met by a key made for the purpose.
pub const MIN_HOST_KEY_DIGITS: usize = 16;

/// Whose backups a restore believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreTrust {
    /// Those that this host made itself, with this host key or an earlier one.
    ThisHost,
    /// Those of the host whose key has this id, which was compared out of band. At least [`MIN_HOST_KEY_DIGITS`].
    HostKey(KeyIdPrefix),
}

/// A backup that was made.
#[derive(Debug, Clone, Serialize)]
pub struct BackupCreated {
    /// The archive.
    pub path: PathBuf,
    /// SHA-256 of the archive.
    pub archive_sha256: Digest,
    /// Length of the archive in bytes.
    pub size: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The host key that signed it.
    pub host_key: KeyId,
    /// What it holds.
    pub files: Vec<BackupFile>,
}

/// A backup in which nothing is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct BackupVerified {
    /// SHA-256 of the archive.
    pub archive_sha256: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// The host key that signed it. It is the archive's own word until somebody compares it.
    pub host_key: KeyId,
    /// What it holds.
    pub files: Vec<BackupFile>,
    /// The ids of the trusted keys.
    pub trusted_keys: Vec<KeyId>,
    /// How many keys are revoked.
    pub revoked_keys: usize,
    /// The version counter; none if the host had accepted no signed policy.
    pub counter: Option<Counter>,
    /// The version of the policy in force; none if there was none or it was unsigned.
    pub policy_version: Option<u64>,
    /// The digest of the rule that was on; none if the host had no custodians.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custodians: Option<Digest>,
    /// How many approvals were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_approvals: Option<usize>,
}

/// What a restore did.
#[derive(Debug, Clone, Serialize)]
pub struct BackupRestored {
    /// SHA-256 of the archive.
    pub archive_sha256: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// The host key that signed it.
    pub host_key: KeyId,
    /// What was brought back.
    pub restored: Vec<String>,
    /// What was left as it is.
    pub kept: Vec<Kept>,
}

/// Something that a restore left as it is on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The file or fact.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read.
    #[error("it cannot be read")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// The archive is not whole, or not a backup.
    #[error("it is not a whole backup")]
    Archive {
        /// Why.
        source: ArchiveError,
    },
    /// What the host holds would not make a backup that can be restored.
    #[error("what this host holds cannot be backed up")]
    Unsound {
        /// What is wrong with it.
        source: ArchiveError,
    },
    /// The host's trusted or revoked keys cannot be told.
    #[error("the keys of this host cannot be loaded")]
    Keys {
        /// Why.
        source: KeysError,
    },
    /// The host's custodians, or what it remembers of them, cannot be used.
    #[error("the custodians of this host cannot be told")]
    Custodians {
        /// Why.
        source: Box<CustodiansError>,
    },
    /// A rotation is under way, and how far it has come cannot be told.
    #[error("the rotation that is under way on this host cannot be told")]
    Rotation {
        /// Why.
        source: Box<RotateError>,
    },
    /// Two files would have one name in the archive.
    #[error(
        "the keys {first} and {second} cannot both be backed up: they would have one name in the archive"
    )]
    KeyNames {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The host's counter cannot be used.
    #[error("the version counter of this host cannot be used")]
    Counter {
        /// Why.
        source: CounterError,
    },
    /// The host's settings cannot be used.
    #[error("the configuration of this host cannot be used")]
    Config {
        /// Why.
        source: ConfigError,
    },
    /// The host's own key cannot be had.
    #[error("the key of this host cannot be had")]
    HostKey {
        /// Why.
        source: Box<HostKeyError>,
    },
    /// The checkpoint of the log cannot be read.
    #[error("the checkpoint of the audit log cannot be read")]
    Checkpoint {
        /// Why.
        source: Box<aegis_audit::ReadError>,
    },
    /// Another host made it.
    #[error("it is signed by host key {archive}, which is not a key of this host")]
    OtherHost {
        /// The archive's host key.
        archive: KeyId,
    },
    /// Not the host that was named.
    #[error("it is signed by host key {archive}, not by one that begins with {asked}")]
    NotThatHost {
        /// The archive's host key.
        archive: KeyId,
        /// What was typed.
        asked: String,
    },
    /// Too few digits to decide trust by.
    #[error("{asked} has {} digits; a host key that is to be trusted is named with at least {MIN_HOST_KEY_DIGITS}", asked.len())]
    HostKeyDigits {
        /// What was typed.
        asked: String,
    },
    /// The archive would replace something.
    #[error("{} exists already, and a backup never overwrites", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The archive cannot be written, or not be staged for the restore. Nothing was changed.
    #[error("it cannot be written, so nothing was changed")]
    Write {
        /// Why.
        source: WriteError,
    },
    /// A file of the host cannot be written.
    #[error("a file of this host cannot be written")]
    Step {
        /// Why.
        source: WriteError,
    },
    /// It was begun; the next command finishes it.
    #[error("the restore was begun and could not be finished")]
    Interrupted {
        /// Why.
        source: Box<Self>,
    },
    /// What is enforced cannot be recorded.
    #[error("the restored policy could not be enforced")]
    Enforce {
        /// Why.
        source: EnforceError,
    },
    /// That it was made could not be logged.
    #[error("that the backup was made could not be logged, so it was removed again")]
    NotLogged {
        /// Why.
        source: Box<AppendError>,
    },
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

impl BackupError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source } => source.help(),
            Self::Archive { source } => source.help(),
            Self::Unsound { .. } => {
                Some("see what is wrong with `aegisbpf health`, and back up again".to_owned())
            }
            Self::Keys { source } => source.help(),
            Self::Custodians { source } => source.help(),
            Self::Rotation { source } => source.help(),
            Self::KeyNames { .. } => Some("rename one of the two files".to_owned()),
            Self::Counter { source } => source.help(),
            Self::Config { source } => source.help(),
            Self::HostKey { source } => source.help(),
            Self::Checkpoint { source } => source.help(),
            Self::OtherHost { archive } => Some(format!(
                "if it is a backup of the host you mean, compare this id with what that host or its inventory says, not \
                 with the archive, and give --host-key {archive}"
            )),
            Self::NotThatHost { .. } => Some(
                "compare the id with the host that made the backup; do not take it from the archive"
                    .to_owned(),
            ),
            Self::HostKeyDigits { .. } => {
                Some("give more digits; `aegisbpf backup verify FILE` prints them all".to_owned())
            }
            Self::Exists { .. } => Some("choose another name".to_owned()),
            Self::Write { source } => source.help(),
            Self::Interrupted { source } => Some(
                source
                    .help()
                    .unwrap_or_else(|| "correct the cause and run the same command again".to_owned()),
            ),
            Self::Step { source } => source.help(),
            Self::Enforce { source } => source.help(),
            Self::NotLogged { source } => source.help(),
            Self::Change(source) => source.help(),
        }
    }
}

/// Checks an archive: the signature by the host key that it carries, every digest, and that each file is what its name
/// says. Policies may have as many bytes as they may on a host with the default settings.
///
/// # Errors
///
/// [`BackupError::Read`], [`BackupError::Archive`].
pub fn backup_verify(path: &Path) -> Result<BackupVerified, BackupError> {
    backup_verify_with_limit(path, Config::default().max_policy_bytes)
}

/// The same for an archive of a host that takes larger policies: `max_policy_bytes` is the most that one may have.
///
/// # Errors
///
/// [`BackupError::Read`], [`BackupError::Archive`].
pub fn backup_verify_with_limit(path: &Path, max_policy_bytes: u64) -> Result<BackupVerified, BackupError> {
    let archive = read_archive(path, max_policy_bytes.saturating_add(MAX_HEADER_LEN as u64))?;
    let applied = archive.file(&FileKind::Applied).and_then(|file| SignedBundle::parse(file.to_vec()).ok());
    Ok(BackupVerified {
        archive_sha256: archive.sha256,
        created_at: archive.contents.created_at,
        host_key: archive.contents.host_key,
        files: archive.contents.files.clone(),
        trusted_keys: archive.keys.iter().map(|key| key.key.key_id()).collect(),
        revoked_keys: archive.revoked.len(),
        counter: archive.counter,
        policy_version: applied.map(|bundle| bundle.manifest().policy_version),
        custodians: archive.record.as_ref().and_then(|record| Some(record.rule.as_ref()?.digest)),
        used_approvals: archive.record.as_ref().map(|record| record.uses().count()),
    })
}

fn read_archive(path: &Path, policy_limit: u64) -> Result<Archive, BackupError> {
    // All of it at once: what was verified is what is used, whatever happens to the file meanwhile.
    let bytes = durable::read_bounded(path, archive::max_len(policy_limit))
        .map_err(|source| BackupError::Read { source })?;
    Archive::parse(bytes, policy_limit).map_err(|source| BackupError::Archive { source })
}

impl Host {
    /// The most bytes that a policy file of a backup may have here.
    fn backup_policy_limit(&self) -> u64 {
        let default = Config::default().max_policy_bytes.saturating_add(MAX_HEADER_LEN as u64);
        self.max_file_len().max(default)
    }

    /// Whether the host that made an archive is the one that was meant.
    fn check_restore_trust(&self, archive: &Archive, trust: RestoreTrust) -> Result<(), BackupError> {
        let made_by = archive.host_key.key_id();
        let prefix = match trust {
            RestoreTrust::ThisHost => {
                let own = self
                    .audit()
                    .host_public_keys()
                    .map_err(|source| BackupError::HostKey { source: Box::new(source) })?;
                return match own.contains(&archive.host_key) {
                    true => Ok(()),
                    false => Err(BackupError::OtherHost { archive: made_by }),
                };
            }
            RestoreTrust::HostKey(prefix) => prefix,
        };
        let asked = prefix.as_str().to_owned();
        if asked.len() < MIN_HOST_KEY_DIGITS {
            return Err(BackupError::HostKeyDigits { asked });
        }
        match prefix.matches(&made_by) {
            true => Ok(()),
            false => Err(BackupError::NotThatHost { archive: made_by, asked }),
        }
    }

    fn log_backup_refusal(&self, caller: &Caller, action: Action, object: &Path, error: &BackupError) {
        // A change that was begun is finished by the next command, which logs it.
        if let BackupError::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. })
        | BackupError::Interrupted { .. } = error
        {
            return;
        }
        let (outcome, refusal) = match error {
            BackupError::Archive { .. } | BackupError::Read { .. } => (Outcome::Refused, "malformed"),
            BackupError::OtherHost { .. }
            | BackupError::NotThatHost { .. }
            | BackupError::HostKeyDigits { .. } => (Outcome::Refused, "bad_signature"),
            BackupError::Exists { .. }
            | BackupError::Unsound { .. }
            | BackupError::Keys { .. }
            | BackupError::Custodians { .. }
            | BackupError::Rotation { .. }
            | BackupError::KeyNames { .. }
            | BackupError::Counter { .. }
            | BackupError::Config { .. } => (Outcome::Refused, "other"),
            BackupError::HostKey { .. }
            | BackupError::Checkpoint { .. }
            | BackupError::Write { .. }
            | BackupError::Step { .. }
            | BackupError::Interrupted { .. }
            | BackupError::Enforce { .. }
            | BackupError::NotLogged { .. }
            | BackupError::Change(_) => (Outcome::Failed, "other"),
        };
        let event = Event::new(caller.now, caller.actor.clone(), action, object.display().to_string())
            .outcome(outcome)
            .reason(crate::health::cause_chain(error))
            .detail("refusal", refusal);
        self.log_refusal(&event);
    }
}

#[cfg(test)]
mod tests;
