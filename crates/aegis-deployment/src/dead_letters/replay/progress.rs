//! How far the letters of a file were sent, for the next run if one is interrupted: `FILE.sent`, beside the letters.
//!
//! It is there from the first event that is settled until all are, and names the letters by their digest: for other letters
//! in a file of that name it does not count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aegis_crypto::Digest;
use aegis_durable::{ReadError, WriteError};
use serde::{Deserialize, Serialize};

/// More than any has: a pipeline has few sinks.
const MAX_LEN: u64 = 1 << 20;

/// Why it is not known how far letters were sent.
#[derive(Debug, thiserror::Error)]
pub enum ReplayProgressError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is damaged, or no such file.
    #[error("{} does not say how far letters were sent", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to a file that had this name before, or these letters were changed.
    #[error("{} is about other letters", path.display())]
    OtherLetters {
        /// The file.
        path: PathBuf,
    },
}

impl ReplayProgressError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.help(),
            Self::Malformed { path } | Self::OtherLetters { path } => {
                Some(format!("remove {} if all of these letters are to be sent", path.display()))
            }
        }
    }
}

/// How far the letters of one file were sent.
#[derive(Debug)]
pub(super) struct Progress {
    path: PathBuf,
    letters: String,
    /// For each sink, and for what goes to every sink: the last line of which, and of all before it, the event is settled.
    sent: BTreeMap<Option<String>, u64>,
    is_saved: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    letters_sha256: String,
    sent: Vec<StoredSent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSent {
    sink: Option<String>,
    line: u64,
}

impl Progress {
    /// What an earlier run has put down for letters of this digest: nothing, if it came to its end.
    pub(super) fn read(letters: &Path, digest: Digest) -> Result<Self, ReplayProgressError> {
        let mut path = letters.as_os_str().to_owned();
        path.push(".sent");
        let path = PathBuf::from(path);
        let digest = digest.to_string();
        let mut sent = BTreeMap::new();
        if let Some(bytes) = aegis_durable::read_state(&path, MAX_LEN)? {
            let Ok(stored) = serde_json::from_slice::<Stored>(&bytes) else {
                return Err(ReplayProgressError::Malformed { path });
            };
            if stored.letters_sha256 != digest {
                return Err(ReplayProgressError::OtherLetters { path });
            }
            sent = stored.sent.into_iter().map(|StoredSent { sink, line }| (sink, line)).collect();
        }
        Ok(Self { path, letters: digest, sent, is_saved: true })
    }

    /// Whether the event of this line was settled by an earlier run.
    pub(super) fn has(&self, sink: Option<&str>, line: u64) -> bool {
        self.sent.iter().any(|(known, sent)| known.as_deref() == sink && line <= *sent)
    }

    /// The events of this sink up to this line are settled.
    pub(super) fn note(&mut self, sink: Option<&str>, line: u64) {
        self.sent.insert(sink.map(str::to_owned), line);
        self.is_saved = false;
    }

    /// Puts it down, if there is something new.
    pub(super) fn save(&mut self) -> Result<(), WriteError> {
        if self.is_saved {
            return Ok(());
        }
        let sent = self.sent.iter().map(|(sink, line)| StoredSent { sink: sink.clone(), line: *line });
        let stored = Stored { letters_sha256: self.letters.clone(), sent: sent.collect() };
        let mut text = serde_json::to_vec(&stored).expect("names and numbers are JSON");
        text.push(b'\n');
        aegis_durable::write_atomic(&self.path, &text, 0o600)?;
        self.is_saved = true;
        Ok(())
    }

    /// All letters are settled: there is nothing to go on with.
    pub(super) fn remove(&self) -> Result<(), WriteError> {
        match self.path.exists() {
            true => aegis_durable::remove_synced(&self.path),
            false => Ok(()),
        }
    }
}
