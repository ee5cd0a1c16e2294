//! How far a spool was delivered and synced.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aegis_crypto::sha256;

use super::{SpoolError, open_own, read_own};

/// Segment numbers and offsets in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    /// What comes before was delivered.
    pub(super) delivered: (u64, u64),
    /// What comes before was on the disk.
    pub(super) synced: (u64, u64),
}

const MAGIC: [u8; 8] = *b"AEGSPC1\n";
/// Magic (8), four numbers (32), the first bytes of their digest (8).
const LEN: usize = 48;

/// The file `cursor`, written in place by one call of less than a sector.
///
/// It is not synced: after a power cut it may be an older one, and then frames are delivered once more. If it is torn,
/// all that is there is.
#[derive(Debug)]
pub(super) struct CursorFile {
    file: File,
    path: PathBuf,
}

impl CursorFile {
    pub(super) fn open(dir: &Path) -> Result<(Cursor, Self), SpoolError> {
        let path = dir.join("cursor");
        let found = read_own(&path, 4096)?;
        let cursor = match &found {
            None => Cursor::default(),
            Some(bytes) => read(bytes).unwrap_or_else(|| {
                // Absent is no news; this is. Delivering again is the safe side.
                tracing::warn!(path = %path.display(), "the spool's cursor is torn: what is there is delivered again");
                Cursor::default()
            }),
        };
        let file = open_own(&path, OpenOptions::new().write(true).create(true).truncate(false))
            .map_err(|source| SpoolError::Io { step: "open", path: path.clone(), source })?;
        Ok((cursor, Self { file, path }))
    }

    pub(super) fn write(&self, cursor: &Cursor) {
        if let Err(error) = self.file.write_all_at(&encode(cursor), 0) {
            tracing::warn!(%error, path = %self.path.display(), "the spool's cursor was not written: after a restart some events may be delivered again");
        }
    }
}

/// What is in the file. An empty one was made, and nothing was ever spooled.
fn read(bytes: &[u8]) -> Option<Cursor> {
    if bytes.is_empty() { Some(Cursor::default()) } else { decode(bytes) }
}

fn encode(cursor: &Cursor) -> [u8; LEN] {
    let Cursor { delivered, synced } = *cursor;
    let mut numbers = [0; 40];
    let parts = [
        MAGIC,
        delivered.0.to_be_bytes(),
        delivered.1.to_be_bytes(),
        synced.0.to_be_bytes(),
        synced.1.to_be_bytes(),
    ];
    for (place, part) in numbers.chunks_exact_mut(8).zip(parts) {
        place.copy_from_slice(&part);
    }
    let mut bytes = [0; LEN];
    let digest = sha256(&numbers);
    for (to, from) in bytes.iter_mut().zip(numbers.iter().chain(digest.as_bytes())) {
        *to = *from;
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Cursor> {
    let number = |place: usize| {
        let bytes = bytes.get(place * 8..place * 8 + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    let cursor = Cursor { delivered: (number(1)?, number(2)?), synced: (number(3)?, number(4)?) };
    (encode(&cursor).as_slice() == bytes).then_some(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_was_never_written_is_not_torn() {
        assert_eq!(read(&[]), Some(Cursor::default()));
        assert_eq!(read(&encode(&Cursor::default())[..47]), None);
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_or_not_at_all() {
        let cursor = Cursor { delivered: (3, 700), synced: (4, u64::MAX) };
        let bytes = encode(&cursor);
        assert_eq!(decode(&bytes), Some(cursor));
        for place in 0..bytes.len() {
            let mut changed = bytes;
            changed[place] ^= 1;
            assert_eq!(decode(&changed), None, "{place}");
            assert_eq!(decode(&bytes[..place]), None, "{place}");
        }
    }
}
