//! Which file, and how far; and the state file that says so.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::FileTailError;

/// A position is a hundred bytes.
const MAX_LEN: u64 = 4096;
const FORMAT: &str = "aegis/tail-position/v1";

/// A file, whatever its name. Inodes are used again; times of birth are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970, or 0 where the file system does not know.
    pub(super) born: u64,
}

/// Behind the last line of a file that is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) file: FileId,
    pub(super) offset: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: String,
    file: FileId,
    offset: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or_default();
        Self { device: metadata.dev(), inode: metadata.ino(), born }
    }

    /// Whether both are one file.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
            && (self.born == other.born || self.born == 0 || other.born == 0)
    }
}

impl Mark {
    /// `None` if there is no state file. One that cannot be read is no absent one.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, FileTailError> {
        let Some(bytes) = aegis_durable::read_state(path, MAX_LEN).map_err(FileTailError::ReadState)? else {
            return Ok(None);
        };
        let bad = || FileTailError::BadState { path: path.to_owned() };
        let State { format, file, offset } = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if format != FORMAT { Err(bad()) } else { Ok(Some(Self { file, offset })) }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FileTailError> {
        let state = State { format: FORMAT.to_owned(), file: self.file.clone(), offset: self.offset };
        let mut bytes = Vec::new();
        // Numbers and one text: nothing there can fail.
        let _ = serde_json::to_writer(&mut bytes, &state);
        bytes.push(b'\n');
        aegis_durable::write_atomic(path, &bytes, 0o600).map_err(FileTailError::WriteState)
    }
}
