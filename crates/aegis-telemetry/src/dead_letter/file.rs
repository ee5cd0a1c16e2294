//! Dead letters in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use super::{DeadLetter, DeadLetterError, DeadLetters, record};
use crate::sink_lines;

/// A file of mode 0600 with a letter a line, each on the disk before the event is settled.
#[derive(Debug)]
pub struct DeadLetterFile {
    file: File,
    len: u64,
    limit: u64,
}

/// Why there is no file for dead letters.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterFileError {
    /// Another process writes to it.
    #[error("the dead letters {} are in use", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot {step} the dead letters {}", path.display())]
    Io {
        /// What was to be done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl DeadLetterFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::InUse { .. } => "give each pipeline a file of its own".to_owned(),
            Self::Io { .. } => "check the path, and whose file it is".to_owned(),
        })
    }
}

impl DeadLetterFile {
    /// 1 GiB.
    pub const DEFAULT_LIMIT: u64 = 1 << 30;

    /// Adds to a file, which is made if it is not there. What would make it longer than `limit` is refused.
    ///
    /// # Errors
    ///
    /// A [`DeadLetterFileError`].
    pub fn open(path: &Path, limit: u64) -> Result<Self, DeadLetterFileError> {
        let failed = |step, source| DeadLetterFileError::Io { step, path: path.to_owned(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(path)
            .map_err(|source| failed("open", source))?;
        let metadata = file.metadata().map_err(|source| failed("open", source))?;
        aegis_durable::check_regular(&metadata, path)
            .map_err(|error| failed("open", io::Error::other(error)))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DeadLetterFileError::InUse { path: path.to_owned() });
            }
            Err(error) => return Err(failed("lock", error.into())),
        }
        sink_lines::make_private(&file).map_err(|source| failed("set the mode of", source))?;
        let len = sink_lines::cut_half_a_line(&file).map_err(|source| failed("mend", source))?;
        aegis_durable::sync_parent(path).map_err(|error| failed("open", error.source))?;
        Ok(Self { file, len, limit })
    }
}

impl DeadLetters for DeadLetterFile {
    fn keep(&mut self, letter: &DeadLetter) -> Result<(), DeadLetterError> {
        let line = record::line(letter).map_err(|error| DeadLetterError::File(error.into()))?;
        let len = self.len + line.len() as u64;
        if len > self.limit {
            return Err(DeadLetterError::Full { bytes: self.len, limit: self.limit });
        }
        let written = sink_lines::cut_to(&self.file, self.len)
            .and_then(|()| (&self.file).write_all(&line))
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.len = len;
                Ok(())
            }
            Err(error) => {
                let _ = sink_lines::cut_to(&self.file, self.len);
                Err(DeadLetterError::File(error))
            }
        }
    }
}
