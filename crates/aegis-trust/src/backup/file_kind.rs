//! The files that a backup can hold, their names in the archive, and how large each may be.

use aegis_crypto::KeyId;

use crate::{
    counter::MAX_COUNTER_LEN,
    custodians::{record::MAX_RECORD_LEN, threshold::MAX_THRESHOLD_LEN},
    key_dir::MAX_KEY_FILE_LEN,
    keys::MAX_NAME_LEN,
    revoked::MAX_REVOKED_LEN,
};

/// The most bytes of the configuration, and of a checkpoint.
pub(super) const MAX_SMALL_LEN: u64 = 64 * 1024;

/// What a file in a backup is. The order is that of the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    Config,
    BundleFormat,
    Counter,
    Revoked,
    /// A trusted key, by its name without `.pub`.
    Key(String),
    Applied,
    Previous,
    RolledBack,
    Checkpoint,
    /// What the host remembers of its custodians.
    Record,
    /// How many people decide.
    Threshold,
    /// The registration of a custodian's key, by its id.
    Custodian(KeyId),
    /// A rotation that is under way.
    Rotation,
}

impl FileKind {
    /// The name in the archive.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Config => "aegisbpf.toml".to_owned(),
            Self::BundleFormat => "bundle_format".to_owned(),
            Self::Counter => "version_counter".to_owned(),
            Self::Revoked => "keys/revoked".to_owned(),
            Self::Key(name) => format!("keys/{name}.pub"),
            Self::Applied => "policy.applied".to_owned(),
            Self::Previous => "policy.applied.prev".to_owned(),
            Self::RolledBack => "policy.applied.rolled-back".to_owned(),
            Self::Checkpoint => "audit-checkpoint".to_owned(),
            Self::Record => "custodians.json".to_owned(),
            Self::Threshold => "custodians/threshold".to_owned(),
            Self::Custodian(id) => format!("custodians/{id}.custodian"),
            Self::Rotation => "rotation.json".to_owned(),
        }
    }

    /// What a name in an archive means; nothing else may be there.
    pub(super) fn of(name: &str) -> Option<Self> {
        if let Some(key) = name.strip_prefix("keys/").and_then(|file| file.strip_suffix(".pub")) {
            return is_plain_name(key).then(|| Self::Key(key.to_owned()));
        }
        if let Some(id) = name.strip_prefix("custodians/").and_then(|file| file.strip_suffix(".custodian")) {
            return id.parse().ok().map(Self::Custodian).filter(|kind| kind.name() == name);
        }
        let fixed = [
            Self::Config,
            Self::BundleFormat,
            Self::Counter,
            Self::Revoked,
            Self::Applied,
            Self::Previous,
            Self::RolledBack,
            Self::Checkpoint,
            Self::Record,
            Self::Threshold,
            Self::Rotation,
        ];
        fixed.into_iter().find(|kind| kind.name() == name)
    }

    /// The most bytes it may have, where a policy file may have `policy_limit`.
    pub(super) fn max_len(&self, policy_limit: u64) -> u64 {
        match self {
            Self::Config | Self::Checkpoint => MAX_SMALL_LEN,
            Self::BundleFormat => 16,
            Self::Counter => MAX_COUNTER_LEN,
            Self::Revoked => MAX_REVOKED_LEN,
            Self::Key(_) => MAX_KEY_FILE_LEN,
            Self::Applied | Self::Previous | Self::RolledBack => policy_limit,
            Self::Record => MAX_RECORD_LEN,
            Self::Threshold => MAX_THRESHOLD_LEN,
            Self::Custodian(_) => MAX_SMALL_LEN,
            Self::Rotation => MAX_SMALL_LEN,
        }
    }
}

/// Whether a key's name can stand in an archive as it is: no separator, no dot in front, nothing to be quoted.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_NAME_LEN).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}
