//! Files of frames.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aegis_crypto::Sha256;

use super::{SpoolError, frame, open_own};
use crate::event::Batch;

const MAGIC: [u8; 8] = *b"AEGSPL1\n";
/// Magic (8), number and length of the segment before (16), the first bytes of their digest (8).
pub(super) const HEADER_LEN: u64 = 32;

/// A file and how much of it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Header and whole frames.
    pub(super) len: u64,
}

impl Segment {
    /// Whether there is anything in it but its header.
    pub(super) const fn has_frames(&self) -> bool {
        self.len > HEADER_LEN
    }
}

/// The file that is added to.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    path: PathBuf,
    /// Something may follow the last whole frame.
    is_dirty: bool,
}

/// What was found in a file.
pub(super) struct Stock {
    pub(super) segment: Segment,
    /// Events after the offset that was asked for.
    pub(super) events: u64,
}

/// A segment's first bytes. They say how long the one before is, so that one that lost its end is not taken for whole.
fn header(number: u64, previous: Segment) -> [u8; 32] {
    let parts = [MAGIC, previous.number.to_be_bytes(), previous.len.to_be_bytes()];
    let mut hash = Sha256::new();
    hash.update(&number.to_be_bytes());
    parts.iter().for_each(|part| hash.update(part));
    let digest = hash.finish();
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(parts.as_flattened().iter().chain(digest.as_bytes())) {
        *to = *from;
    }
    bytes
}

/// What a header says, if every bit is as it was written.
fn read_header(number: u64, bytes: &[u8; 32]) -> Option<Segment> {
    let (_, rest) = bytes.split_first_chunk::<8>()?;
    let (before, rest) = rest.split_first_chunk::<8>()?;
    let (len, _) = rest.split_first_chunk::<8>()?;
    let previous = Segment { number: u64::from_be_bytes(*before), len: u64::from_be_bytes(*len) };
    (header(number, previous) == *bytes).then_some(previous)
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.spool"))
}

/// The segments that are there, in order.
pub(super) fn numbers(dir: &Path) -> Result<Vec<u64>, SpoolError> {
    let failed = |source| SpoolError::Io { step: "list", path: dir.to_owned(), source };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".spool"));
        let number = number.filter(|digits| digits.len() == 16);
        numbers.extend(number.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn remove(dir: &Path, number: u64) -> Result<(), SpoolError> {
    let path = path(dir, number);
    fs::remove_file(&path).map_err(|source| SpoolError::Io { step: "remove", path, source })
}

/// The segment before this one, as it was when this one was begun. Nothing was added to it since. `None` if the header was
/// not written.
pub(super) fn previous(dir: &Path, number: u64) -> Result<Option<Segment>, SpoolError> {
    let path = path(dir, number);
    let failed = |step, source| SpoolError::Io { step, path: path.clone(), source };
    let mut file = open_own(&path, OpenOptions::new().read(true)).map_err(|error| failed("open", error))?;
    let mut first = [0; 32];
    match file.read_exact(&mut first) {
        Ok(()) => Ok(read_header(number, &first)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(failed("read", error)),
    }
}

/// Checks the frames of a segment from an offset on. What follows the last whole one is cut off, if it was never
/// acknowledged: `synced` is how far the segment was known to be on the disk.
///
/// `None` if not even its header was written.
pub(super) fn check(dir: &Path, number: u64, from: u64, synced: u64) -> Result<Option<Stock>, SpoolError> {
    let path = path(dir, number);
    let failed = |step, source| SpoolError::Io { step, path: path.clone(), source };
    let file =
        open_own(&path, OpenOptions::new().read(true).write(true)).map_err(|error| failed("open", error))?;
    let found = file.metadata().map_err(|error| failed("read", error))?.len();
    let damaged = |offset| SpoolError::Damaged { path: path.clone(), offset };
    if found < HEADER_LEN {
        return if synced > 0 { Err(damaged(0)) } else { Ok(None) };
    }
    let mut reader = BufReader::with_capacity(1 << 16, &file);
    let mut first = [0; 32];
    reader.read_exact(&mut first).map_err(|error| failed("read", error))?;
    if read_header(number, &first).is_none() {
        return if synced > 0 { Err(damaged(0)) } else { Ok(None) };
    }
    reader.seek(SeekFrom::Start(from)).map_err(|error| failed("read", error))?;
    let (mut at, mut events) = (from.min(found), 0);
    while at < found {
        match next_frame(&mut reader, number, at, found).map_err(|error| failed("read", error))? {
            Some((batch, end)) => {
                events += batch.events().len() as u64;
                at = end;
            }
            None if at < synced => return Err(damaged(at)),
            None => break,
        }
    }
    if at < found {
        tracing::info!(path = %path.display(), bytes = found - at, "a frame of the spool was half written, and is cut off");
        file.set_len(at).and_then(|()| file.sync_all()).map_err(|error| failed("cut", error))?;
    } else if at < synced {
        return Err(damaged(at));
    }
    Ok(Some(Stock { segment: Segment { number, len: at }, events }))
}

/// Reads the frame at an offset, and says where the next one begins.
pub(super) fn read_frame(dir: &Path, segment: &Segment, at: u64) -> Result<(Batch, u64), SpoolError> {
    let path = path(dir, segment.number);
    let failed = |step, source| SpoolError::Io { step, path: path.clone(), source };
    let mut file = open_own(&path, OpenOptions::new().read(true)).map_err(|error| failed("open", error))?;
    file.seek(SeekFrom::Start(at)).map_err(|error| failed("read", error))?;
    let found =
        next_frame(&mut file, segment.number, at, segment.len).map_err(|error| failed("read", error))?;
    found.ok_or_else(|| SpoolError::Damaged { path: path.clone(), offset: at })
}

/// `None` if what is there is no whole frame.
fn next_frame(
    reader: &mut impl io::Read,
    number: u64,
    at: u64,
    end: u64,
) -> io::Result<Option<(Batch, u64)>> {
    let mut header = [0; 12];
    if end.saturating_sub(at) < frame::HEADER_LEN {
        return Ok(None);
    }
    reader.read_exact(&mut header)?;
    let Some(len) = frame::payload_len(&header) else { return Ok(None) };
    let next = at + frame::HEADER_LEN + len;
    if next > end {
        return Ok(None);
    }
    let mut payload = vec![0; usize::try_from(len).unwrap_or_default()];
    reader.read_exact(&mut payload)?;
    Ok(frame::decode(&header, payload, number, at).map(|batch| (batch, next)))
}

impl Tail {
    /// A new segment, with its name on the disk.
    pub(super) fn create(dir: &Path, number: u64, previous: Segment) -> Result<(Self, Segment), SpoolError> {
        let path = path(dir, number);
        let failed = |step, source| SpoolError::Io { step, path: path.clone(), source };
        let file = open_own(&path, OpenOptions::new().write(true).create_new(true))
            .map_err(|error| failed("create", error))?;
        let written = file
            .write_all_at(&header(number, previous), 0)
            .and_then(|()| file.sync_all())
            .map_err(|error| failed("write", error))
            .and_then(|()| aegis_durable::sync_parent(&path).map_err(SpoolError::Prepare));
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok((Self { file, path, is_dirty: false }, Segment { number, len: HEADER_LEN }))
    }

    /// A segment that was there.
    pub(super) fn reopen(dir: &Path, segment: &Segment) -> Result<Self, SpoolError> {
        let path = path(dir, segment.number);
        let file = open_own(&path, OpenOptions::new().write(true)).map_err(|source| SpoolError::Io {
            step: "open",
            path: path.clone(),
            source,
        })?;
        Ok(Self { file, path, is_dirty: false })
    }

    /// Adds a frame, and returns when it is on the disk.
    pub(super) fn append(&mut self, segment: &mut Segment, frame: &[u8]) -> Result<(), SpoolError> {
        self.mend(segment)?;
        self.is_dirty = true;
        let failed = |step, source| SpoolError::Io { step, path: self.path.clone(), source };
        let written = self
            .file
            .write_all_at(frame, segment.len)
            .map_err(|error| failed("write", error))
            .and_then(|()| self.file.sync_data().map_err(|error| failed("sync", error)));
        match written {
            Ok(()) => {
                self.is_dirty = false;
                segment.len += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Frees the room now; if it does not work, it is done before the next frame.
                let _ = self.mend(segment);
                Err(error)
            }
        }
    }

    /// Cuts off what an append left that failed.
    pub(super) fn mend(&mut self, segment: &Segment) -> Result<(), SpoolError> {
        if self.is_dirty {
            self.file.set_len(segment.len).map_err(|source| SpoolError::Io {
                step: "cut",
                path: self.path.clone(),
                source,
            })?;
            self.is_dirty = false;
        }
        Ok(())
    }
}
