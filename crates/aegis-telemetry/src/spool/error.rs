//! Why a spool did not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

/// Why a spool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process, or another pipeline of this one, has it.
    #[error("the spool {} is in use", dir.display())]
    InUse {
        /// Its directory.
        dir: PathBuf,
    },
    /// There is no room for a batch. Nothing was written.
    #[error("the spool {} holds {bytes} bytes and {needed} more would pass its limit of {limit}", dir.display())]
    Full {
        /// Its directory.
        dir: PathBuf,
        /// What it holds.
        bytes: u64,
        /// What the batch takes.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// A batch that no frame can hold.
    #[error("a batch of {bytes} bytes is larger than a frame of the spool, {limit} bytes")]
    TooLarge {
        /// Bytes of the frame.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A frame that was on the disk is not as it was written. It is left as it is.
    #[error("the spool's segment {} is damaged at byte {offset}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the frame begins.
        offset: u64,
    },
    /// The directory could not be made.
    #[error("cannot prepare the spool")]
    Prepare(#[source] aegis_durable::WriteError),
    /// A file could not be read.
    #[error("cannot read the spool")]
    Read(#[source] aegis_durable::ReadError),
    /// The disk said no.
    #[error("cannot {step} {}", path.display())]
    Io {
        /// What was to be done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl SpoolError {
    /// There is no segment where there has to be one.
    pub(super) fn gone(dir: &Path) -> Self {
        Self::Io { step: "find a segment in", path: dir.to_owned(), source: io::ErrorKind::NotFound.into() }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InUse { .. } => {
                Some("stop the other process, or give each sink a directory of its own".to_owned())
            }
            Self::Full { .. } => Some("bring the sink back, or raise the spool's limit".to_owned()),
            Self::TooLarge { .. } => Some("lower the sink's bytes a batch".to_owned()),
            Self::Damaged { path, .. } => Some(format!(
                "the disk changed what it was given; move {} away to go on without its events",
                path.display()
            )),
            Self::Prepare(error) => error.help(),
            Self::Read(error) => error.help(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that file system".to_owned())
                }
                io::ErrorKind::PermissionDenied => Some("check whose directory it is".to_owned()),
                _ => None,
            },
        }
    }
}
