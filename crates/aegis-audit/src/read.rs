//! Reading the log: all of it, its last entries, or those that a query asks for.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aegis_crypto::PublicKey;
use rustix::fs::OFlags;

use crate::append::{CHECKPOINT, LOCK, LOG, log_len, open_log, read_frontier};
use crate::bounds::LINE_LEN;
use crate::damage::{self, Damage};
use crate::event::Entry;
use crate::folder::{Folder, LOCK_WAIT, Lock, StorageError};
use crate::host_key::{self, KeyFileError, PUBLIC_KEY};
use crate::line::{EntryError, parse_entry};
use crate::note::NOTE_LEN;
use crate::walk::{Fault, Line, Lines, Mark};

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A line is not an entry.
    #[error("the line at byte {offset} of {} is damaged", path.display())]
    Line {
        /// The log.
        path: PathBuf,
        /// Where the line begins.
        offset: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// An entry is missing, repeated or in another place.
    #[error("entry {found} follows where entry {expected} should be, at byte {offset} of {}", path.display())]
    Sequence {
        /// The log.
        path: PathBuf,
        /// Where the line begins.
        offset: u64,
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// There is no log yet.
    #[error("there is no audit log in {}", dir.display())]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A proof was asked for an entry that the checkpoint does not cover.
    #[error("there is no entry {seq}: the checkpoint covers {size} entries")]
    NoSuchEntry {
        /// The entry asked for.
        seq: u64,
        /// How many there are.
        size: u64,
    },
    /// A proof was asked from a size that the log never had.
    #[error("the log never had {old_size} entries: the checkpoint covers {size}")]
    NoSuchSize {
        /// The size asked for.
        old_size: u64,
        /// How many there are.
        size: u64,
    },
    /// A proof was asked of a log that is not what its checkpoint says.
    #[error("the audit log {} is damaged", dir.display())]
    Damaged {
        /// The folder of the log.
        dir: PathBuf,
        /// What is wrong with it.
        source: Damage,
    },
}

impl ReadError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Storage(error) => error.help(),
            Self::Line { .. } | Self::Sequence { .. } => {
                Some("see what is wrong with `aegisbpf audit verify`".to_owned())
            }
            Self::Missing { .. } => Some("the first command that changes something begins one".to_owned()),
            Self::NoSuchEntry { .. } | Self::NoSuchSize { .. } => None,
            Self::Damaged { dir, .. } => Some(damage::help(dir)),
        }
    }

    pub(crate) fn of(fault: Fault, dir: &Path) -> Self {
        match fault {
            Fault::Storage(error) => error.into(),
            Fault::Damage(source) => Self::Damaged { dir: dir.to_owned(), source },
        }
    }
}

/// The files of a log as they were at one moment. What is appended later is not seen.
pub(crate) struct Snapshot {
    pub(crate) folder: Folder,
    pub(crate) checkpoint: Option<Vec<u8>>,
    pub(crate) frontier: Option<Mark>,
    public_key: Option<Vec<u8>>,
    pub(crate) log: Option<File>,
    pub(crate) len: u64,
}

impl Snapshot {
    /// Takes one under the lock, which is let go at once: a long reading keeps nobody from writing. `None` if there
    /// is no log.
    pub(crate) fn take(dir: &Path) -> Result<Option<Self>, StorageError> {
        let Some(folder) = Folder::open(dir)? else {
            return Ok(None);
        };
        let lock = folder.lock(LOCK, Lock::Shared, LOCK_WAIT)?;
        let checkpoint = folder.read(CHECKPOINT, NOTE_LEN as u64)?.map(|(bytes, _)| bytes);
        let log = open_log(&folder, OFlags::RDONLY)?;
        let public_key = host_key::read_public(&folder)?;
        if checkpoint.is_none() && log.is_none() && public_key.is_none() {
            return Ok(None);
        }
        let len = log_len(&folder, log.as_ref())?;
        let frontier = read_frontier(&folder)?;
        drop(lock);
        Ok(Some(Self { folder, checkpoint, frontier, public_key, log, len }))
    }

    /// The host's public key, which must be there.
    pub(crate) fn public_key(&self) -> Result<PublicKey, KeyFileError> {
        let Some(bytes) = &self.public_key else {
            return Err(KeyFileError::Missing { path: self.folder.path_of(PUBLIC_KEY) });
        };
        host_key::parse_public(&self.folder, bytes)
    }
}

/// The entries of a log in their order, as it was when this was made.
///
/// A damaged line is an error, and reading goes on after it. A last line without a newline is not an entry: a
/// command was stopped while it wrote it.
pub struct Entries {
    lines: Option<Lines>,
    path: PathBuf,
    expected: Option<u64>,
}

impl Entries {
    /// All entries; none if there is no log.
    pub(crate) fn all(dir: &Path) -> Result<Self, ReadError> {
        Self::from(dir, Some(0), |_, _| Ok(0))
    }

    /// The last `count` entries.
    pub(crate) fn last(dir: &Path, count: usize) -> Result<Self, ReadError> {
        Self::from(dir, None, |log, len| start_of_last(log, len, count))
    }

    fn from(
        dir: &Path,
        expected: Option<u64>,
        start: impl FnOnce(&File, u64) -> std::io::Result<u64>,
    ) -> Result<Self, ReadError> {
        let path = dir.join(LOG);
        let Some(Snapshot { log: Some(log), len, .. }) = Snapshot::take(dir)? else {
            return Ok(Self { lines: None, path, expected });
        };
        let lines = start(&log, len).and_then(|offset| Lines::new(&log, offset, len));
        let lines = lines.map_err(|source| read_failed(&path, source))?;
        Ok(Self { lines: Some(lines), path, expected })
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (offset, parsed) = match self.lines.as_mut()?.next() {
            Ok(None | Some(Line::Torn { .. })) => {
                self.lines = None;
                return None;
            }
            Err(source) => {
                self.lines = None;
                return Some(Err(read_failed(&self.path, source)));
            }
            Ok(Some(Line::TooLong { offset })) => (offset, Err(EntryError::TooLong { len: LINE_LEN + 1 })),
            Ok(Some(Line::Whole { bytes, offset })) => (offset, parse_entry(bytes)),
        };
        let path = || self.path.clone();
        match parsed {
            Err(source) => {
                self.expected = self.expected.map(|seq| seq.saturating_add(1));
                Some(Err(ReadError::Line { path: path(), offset, source }))
            }
            Ok(entry) => {
                let expected = self.expected.replace(entry.seq.saturating_add(1)).unwrap_or(entry.seq);
                if expected == entry.seq {
                    return Some(Ok(entry));
                }
                Some(Err(ReadError::Sequence { path: path(), offset, expected, found: entry.seq }))
            }
        }
    }
}

fn read_failed(path: &Path, source: std::io::Error) -> ReadError {
    StorageError::Io { action: "read", path: path.to_owned(), source }.into()
}

/// Where the last `count` whole lines begin. Reads backwards, a block at a time, and no further than so many lines
/// and a torn one can reach: what it gives then lies within a line that is too long.
fn start_of_last(log: &File, len: u64, count: usize) -> std::io::Result<u64> {
    let mut block = [0_u8; 16 * 1024];
    let mut end = len;
    let lines = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
    let limit = len.saturating_sub(lines.saturating_mul(LINE_LEN as u64 + 1));
    // A newline ends a line, so the one before the first wanted line is the one after the last `count`.
    let mut newlines = 0_usize;
    while end > limit {
        let start = end.saturating_sub(block.len() as u64);
        let wanted = usize::try_from(end - start).unwrap_or(block.len());
        let part = block.get_mut(..wanted).unwrap_or_default();
        log.read_exact_at(part, start)?;
        for (at, byte) in part.iter().enumerate().rev() {
            if *byte == b'\n' {
                if newlines == count {
                    return Ok(start + at as u64 + 1);
                }
                newlines += 1;
            }
        }
        end = start;
    }
    Ok(end)
}
