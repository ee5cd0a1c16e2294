//! Dead letters in a file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{DeadLetter, DeadLetterError, DeadLetters, record};
use crate::line_file::{LineFile, OpenFault};

/// A file of mode 0600 with a letter a line, each on the disk before the event is settled.
#[derive(Debug)]
pub struct DeadLetterFile {
    file: LineFile,
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
        match LineFile::open(path) {
            Ok(file) => Ok(Self { file, limit }),
            Err(OpenFault::InUse) => Err(DeadLetterFileError::InUse { path: path.to_owned() }),
            Err(OpenFault::Io(step, source)) => {
                Err(DeadLetterFileError::Io { step, path: path.to_owned(), source })
            }
        }
    }
}

impl DeadLetters for DeadLetterFile {
    fn keep(&mut self, letter: &DeadLetter) -> Result<(), DeadLetterError> {
        let line = record::line(letter).map_err(|error| DeadLetterError::File(error.into()))?;
        if self.file.len() + line.len() as u64 > self.limit {
            return Err(DeadLetterError::Full { bytes: self.file.len(), limit: self.limit });
        }
        self.file.append(&line, File::sync_data).map_err(|(_, error)| DeadLetterError::File(error))
    }
}
