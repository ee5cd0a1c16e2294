//! Reading `log.jsonl` line by line, and finding where it stands against its checkpoint.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Take};
use std::path::Path;

use aegis_crypto::{Digest, sha256};
use serde::{Deserialize, Serialize};

use crate::bounds::LINE_LEN;
use crate::checkpoint::Checkpoint;
use crate::damage::Damage;
use crate::event::Entry;
use crate::folder::StorageError;
use crate::line::{EntryError, parse_entry};
use crate::merkle::{Frontier, leaf_hash};

/// A failure on the way: the disk, or the log.
#[derive(Debug)]
pub(crate) enum Fault {
    Storage(StorageError),
    Damage(Damage),
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// One line as it was read.
pub(crate) enum Line<'a> {
    /// With its newline, which is not in `bytes`.
    Whole { bytes: &'a [u8], offset: u64 },
    /// The file ends in it, without a newline.
    Torn { bytes: &'a [u8] },
    /// Longer than any entry. [`Lines::next`] goes on after it, and only then reads the rest of it: a file that was
    /// stretched to a size without end costs nothing to whoever stops here.
    TooLong { offset: u64 },
}

/// The lines of a file from an offset to an end, with bounded memory.
pub(crate) struct Lines {
    reader: Take<BufReader<File>>,
    buffer: Vec<u8>,
    offset: u64,
    end: u64,
    /// Whether the rest of a line that was too long is still to be passed over.
    within: bool,
}

impl Lines {
    pub(crate) fn new(file: &File, offset: u64, end: u64) -> io::Result<Self> {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(offset))?;
        let reader = BufReader::with_capacity(128 * 1024, file).take(0);
        Ok(Self { reader, buffer: Vec::new(), offset, end, within: false })
    }

    /// Where the next line begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        while self.within {
            self.within = self.read_to_newline(LINE_LEN)? > 0 && !self.buffer.ends_with(b"\n");
        }
        let offset = self.offset;
        // One byte more than the longest line and its newline tells a line that is too long.
        let len = self.read_to_newline(LINE_LEN + 2)?;
        if len == 0 {
            return Ok(None);
        }
        match self.buffer.strip_suffix(b"\n").map(<[u8]>::len) {
            Some(len) if len <= LINE_LEN => {
                let bytes = self.buffer.get(..len).unwrap_or_default();
                Ok(Some(Line::Whole { bytes, offset }))
            }
            Some(_) => Ok(Some(Line::TooLong { offset })),
            None if len <= LINE_LEN => Ok(Some(Line::Torn { bytes: &self.buffer })),
            None => {
                self.within = true;
                Ok(Some(Line::TooLong { offset }))
            }
        }
    }

    fn read_to_newline(&mut self, limit: usize) -> io::Result<usize> {
        self.buffer.clear();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.reader.set_limit(limit.min(self.end.saturating_sub(self.offset)));
        let len = self.reader.read_until(b'\n', &mut self.buffer)?;
        self.offset = self.offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        Ok(len)
    }
}

/// A place between two lines: the tree before it, and its byte offset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    pub(crate) frontier: Frontier,
    pub(crate) offset: u64,
}

/// Bytes after the last whole line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) len: u64,
    pub(crate) sha256: Digest,
}

/// Where a log stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Before the last whole line.
    pub(crate) before_last: Mark,
    /// After the last whole line.
    pub(crate) after_last: Mark,
    /// The last entry.
    pub(crate) last: Option<Entry>,
    /// Whole entries after the checkpoint: a command was stopped between writing them and writing the checkpoint.
    pub(crate) unsealed: u64,
    /// What a command that was stopped while it wrote has left.
    pub(crate) torn: Option<Torn>,
}

/// Finds where the log stands, from `cached` if that agrees with the checkpoint, otherwise from the beginning.
///
/// From a mark before the last line this reads that line only; its hash and the mark must give the root hash that the
/// checkpoint signs. The mark itself is believed only for that reason, so a damaged one costs time and nothing else.
pub(crate) fn stand(
    log: &File,
    len: u64,
    cached: Option<Mark>,
    checkpoint: &Checkpoint,
    path: &Path,
) -> Result<Standing, Fault> {
    let usable = cached.filter(|mark| {
        mark.frontier.is_whole() && mark.frontier.size() < checkpoint.size() && mark.offset <= len
    });
    if let Some(mark) = usable
        && let Ok(standing) = stand_from(log, len, mark, checkpoint, path)
    {
        return Ok(standing);
    }
    stand_from(log, len, Mark::default(), checkpoint, path)
}

fn stand_from(
    log: &File,
    len: u64,
    start: Mark,
    checkpoint: &Checkpoint,
    path: &Path,
) -> Result<Standing, Fault> {
    let failed = |source| StorageError::Io { action: "read", path: path.to_owned(), source };
    let mut lines = Lines::new(log, start.offset, len).map_err(failed)?;
    let mut here = start.clone();
    let mut standing =
        Standing { before_last: start.clone(), after_last: start, last: None, unsealed: 0, torn: None };
    check_root(&here.frontier, checkpoint)?;
    while let Some(line) = lines.next().map_err(failed)? {
        let seq = here.frontier.size();
        let sealed = seq < checkpoint.size();
        match line {
            Line::Torn { bytes } => {
                standing.torn = Some(torn(bytes));
                break;
            }
            Line::TooLong { offset } => {
                let source = EntryError::TooLong { len: LINE_LEN + 1 };
                return Err(Damage::Line { seq, offset, source }.into());
            }
            // A block that never reached the disk reads as zeros. No entry holds a zero byte, and nothing vouches
            // for what follows the checkpoint, so at the very end this is a torn line that kept its newline.
            Line::Whole { bytes, offset }
                if !sealed && bytes.contains(&0) && offset + bytes.len() as u64 + 1 == len =>
            {
                standing.torn = Some(torn_line(bytes));
                break;
            }
            Line::Whole { bytes, offset } => {
                // The lines before the last that the checkpoint covers are hashed and not looked into.
                let parse = seq.saturating_add(1) >= checkpoint.size();
                if parse {
                    standing.before_last = Mark { frontier: here.frontier.clone(), offset };
                }
                here.frontier.push(leaf_hash(bytes));
                if sealed {
                    check_root(&here.frontier, checkpoint)?;
                } else {
                    standing.unsealed += 1;
                }
                if parse {
                    standing.last = Some(entry_at(bytes, seq, offset)?);
                }
            }
        }
        here.offset = lines.offset();
    }
    if here.frontier.size() < checkpoint.size() {
        return Err(Damage::Shorter { entries: here.frontier.size(), covered: checkpoint.size() }.into());
    }
    standing.after_last = here;
    Ok(standing)
}

/// Reads a line that must be entry `seq`.
pub(crate) fn entry_at(bytes: &[u8], seq: u64, offset: u64) -> Result<Entry, Damage> {
    let entry = parse_entry(bytes).map_err(|source| Damage::Line { seq, offset, source })?;
    if entry.seq == seq {
        Ok(entry)
    } else {
        Err(Damage::Sequence { expected: seq, found: entry.seq, offset })
    }
}

fn check_root(frontier: &Frontier, checkpoint: &Checkpoint) -> Result<(), Damage> {
    if frontier.size() != checkpoint.size() || frontier.root() == checkpoint.root() {
        return Ok(());
    }
    Err(Damage::Changed { from: 0, to: checkpoint.size().saturating_sub(1) })
}

fn torn(bytes: &[u8]) -> Torn {
    Torn { len: u64::try_from(bytes.len()).unwrap_or(u64::MAX), sha256: sha256(bytes) }
}

fn torn_line(bytes: &[u8]) -> Torn {
    let mut with_newline = bytes.to_vec();
    with_newline.push(b'\n');
    torn(&with_newline)
}
