//! A checkpoint that somebody kept elsewhere, and the log that it is held against.

use aegis_crypto::{Digest, KeyId, PublicKey};

use crate::checkpoint::{Checkpoint, CheckpointError};

/// How a log and a checkpoint kept elsewhere disagree.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It is not a checkpoint.
    #[error("it is not a checkpoint")]
    Malformed {
        /// What is wrong with it.
        source: CheckpointError,
    },
    /// It belongs to another log: another host, or this host's log was begun anew.
    #[error("it belongs to the log {kept}, and this is {here}")]
    OtherLog {
        /// The origin in the kept checkpoint.
        kept: String,
        /// The origin of this log.
        here: String,
    },
    /// No key that could sign for the log at that size signed it.
    #[error("it is not signed by {}, the host key when the log had {size} entries", key.fingerprint())]
    NotSigned {
        /// The host key of that time.
        key: KeyId,
        /// The size it speaks of.
        size: u64,
    },
    /// Entries that it covers are gone: the log was cut off, or an older copy was restored.
    #[error("it covers {kept} entries, and the log has {here}")]
    CutOff {
        /// How many entries it covers.
        kept: u64,
        /// How many there are.
        here: u64,
    },
    /// The first entries are others than those that it covers: the log was rewritten and signed again.
    #[error("the first {size} entries are not those that it covers: the log was rewritten")]
    Forked {
        /// How many entries it covers.
        size: u64,
        /// Their root according to it.
        kept: Digest,
        /// Their root here.
        here: Digest,
    },
}

impl KeptError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Malformed { .. } | Self::NotSigned { .. } => {
                "make sure that this is the file you kept, unchanged"
            }
            Self::OtherLog { .. } => {
                "use a checkpoint of this host that is younger than the beginning of its log"
            }
            Self::CutOff { .. } | Self::Forked { .. } => {
                "treat the host as broken into until you know better; keep its log as evidence"
            }
        };
        Some(help.to_owned())
    }
}

/// A checkpoint that was kept elsewhere. Its form is good; its signature is still to be checked.
pub(crate) struct Kept {
    /// Which one, from 1.
    pub(crate) number: usize,
    pub(crate) checkpoint: Checkpoint,
}

impl Kept {
    /// Reads all of them, or says which is malformed.
    pub(crate) fn parse_all(kept: &[Vec<u8>]) -> Result<Vec<Self>, (usize, KeptError)> {
        kept.iter()
            .zip(1..)
            .map(|(bytes, number)| match Checkpoint::parse(bytes) {
                Ok(checkpoint) => Ok(Self { number, checkpoint }),
                Err(source) => Err((number, KeptError::Malformed { source })),
            })
            .collect()
    }

    /// Holds a log of `entries` against it. `root` is the log's root at the kept size, if it is that long, and `key`
    /// its host key at that size.
    pub(crate) fn hold_against(
        &self,
        here: &Checkpoint,
        entries: u64,
        root: Option<Digest>,
        key: &PublicKey,
    ) -> Result<(), KeptError> {
        let kept = &self.checkpoint;
        if kept.origin() != here.origin() {
            let (kept, here) = (kept.origin().to_owned(), here.origin().to_owned());
            return Err(KeptError::OtherLog { kept, here });
        }
        if !kept.is_signed_by(key) {
            return Err(KeptError::NotSigned { key: key.key_id(), size: kept.size() });
        }
        match root {
            None => Err(KeptError::CutOff { kept: kept.size(), here: entries }),
            Some(root) if root == kept.root() => Ok(()),
            Some(root) => Err(KeptError::Forked { size: kept.size(), kept: kept.root(), here: root }),
        }
    }
}
