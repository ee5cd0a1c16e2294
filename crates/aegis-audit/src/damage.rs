//! What is wrong with a log that was changed by something other than this program.

use aegis_crypto::KeyId;

use crate::checkpoint::CheckpointError;
use crate::line::EntryError;

/// The log is not what its checkpoint says it is. None of these is ever repaired: what is there may be evidence.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// There is a log, or a host key that has signed one, and no checkpoint.
    #[error("its checkpoint is missing")]
    CheckpointMissing,
    /// The checkpoint is not one.
    #[error("its checkpoint is malformed")]
    CheckpointMalformed {
        /// What is wrong with it.
        #[from]
        source: CheckpointError,
    },
    /// The checkpoint is signed by another key, or changed after it was signed.
    #[error("its checkpoint is not signed by host key {}", key.fingerprint())]
    CheckpointNotSigned {
        /// The key that should have signed it.
        key: KeyId,
    },
    /// There is a checkpoint and no `log.jsonl`.
    #[error("log.jsonl is missing")]
    LogMissing,
    /// Entries were cut off.
    #[error("it has {entries} entries, fewer than the {covered} that its checkpoint covers")]
    Shorter {
        /// How many entries there are.
        entries: u64,
        /// How many there should be.
        covered: u64,
    },
    /// Entries were edited, removed, put in or put in another order.
    #[error("something in entries {from} to {to} was changed: their hash is not the one that was signed")]
    Changed {
        /// The first entry that may have been changed.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// A line is not an entry.
    #[error("entry {seq}, at byte {offset} of log.jsonl, is damaged")]
    Line {
        /// The number that it should have.
        seq: u64,
        /// Where the line begins.
        offset: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// Entries were removed, repeated or put in another order.
    #[error("at byte {offset} of log.jsonl, where entry {expected} should be, is entry {found}")]
    Sequence {
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
        /// Where the line begins.
        offset: u64,
    },
}

impl Damage {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::CheckpointMissing
            | Self::CheckpointMalformed { .. }
            | Self::CheckpointNotSigned { .. }
            | Self::LogMissing
            | Self::Shorter { .. }
            | Self::Changed { .. }
            | Self::Line { .. }
            | Self::Sequence { .. } => Some(
                "keep the log as evidence, and see what is wrong with `aegisbpf audit verify`".to_owned(),
            ),
        }
    }
}

/// What to do about damage, for all operations alike.
pub(crate) fn help(dir: &std::path::Path) -> String {
    format!(
        "see what is wrong with `aegisbpf audit verify`; then move {} away as evidence, and the next command begins a new log",
        dir.display()
    )
}
