//! Files that had the name before, and which one comes after another.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::FileTailError;
use super::position::FileId;

/// The most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 100_000;
/// The most files that are remembered as read.
const MAX_FINISHED: usize = 256;
/// How often names are looked at again that change meanwhile.
const ATTEMPTS: usize = 20;

/// Files that were read to their end in this run.
#[derive(Debug, Default)]
pub(super) struct Finished(VecDeque<FileId>);

impl Finished {
    pub(super) fn put(&mut self, id: FileId) {
        if self.0.len() == MAX_FINISHED {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }

    fn has(&self, id: &FileId) -> bool {
        self.0.iter().any(|finished| finished.is(id))
    }
}

/// The file itself, and what its name was given to before: `NAME.1`, `NAME-20260131`, `NAME.20260131T235959Z-000001`.
fn all(path: &Path) -> Result<Vec<PathBuf>, FileTailError> {
    // Where a link leads to, its older files are.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = match real.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut found = vec![path.to_owned()];
    let Some(own) = real.file_name().and_then(|name| name.to_str()) else { return Ok(found) };
    let failed = |source| FileTailError::Io { step: "read", path: parent.to_owned(), source };
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        // It is waited for, as the file is.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries.take(MAX_ENTRIES) {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let suffix = name.to_str().and_then(|name| name.strip_prefix(own));
        if suffix.is_some_and(is_rotated) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            found.push(parent.join(&name));
        }
    }
    Ok(found)
}

/// Whether a suffix is a number or a date. Anything else may be a file of another kind, such as what we write ourselves.
fn is_rotated(suffix: &str) -> bool {
    suffix.starts_with(['.', '-', '_'])
        && suffix.bytes().any(|byte| byte.is_ascii_digit())
        && suffix.bytes().all(|byte| byte.is_ascii_digit() || b".-_:TZ".contains(&byte))
}

/// A file as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    modified: SystemTime,
}

/// Every file of the name, the one that has it now first; `None` if they change their names just now.
///
/// Names are listed and then looked up, and a file that is renamed in between would be passed over. So it is done twice,
/// and counts if both agree.
pub(super) fn snapshot(path: &Path) -> Result<Option<Vec<Seen>>, FileTailError> {
    let scan = || -> Result<Vec<Seen>, FileTailError> {
        let mut seen: Vec<Seen> = all(path)?.into_iter().filter_map(look).collect();
        if let Some(others) = seen.get_mut(1..) {
            others.sort_by(|one, other| one.path.cmp(&other.path));
        }
        Ok(seen)
    };
    let mut before = scan()?;
    for _ in 0..ATTEMPTS {
        let after = scan()?;
        let is_same = before.len() == after.len()
            && before.iter().zip(&after).all(|(one, other)| one.path == other.path && one.id == other.id);
        if is_same {
            return Ok(Some(after));
        }
        before = after;
    }
    Ok(None)
}

/// The file that is to be read after `current`, which was written last at `modified`, if that is known.
///
/// Files are in the order of their births; where the file system does not know, in that of their last changes. Of two that
/// are equal the one that has the name now is the later.
pub(super) fn next(
    path: &Path,
    current: &FileId,
    modified: Option<SystemTime>,
    finished: &Finished,
) -> Result<Option<Seen>, FileTailError> {
    // The usual case, without a look at the directory.
    if look(path.to_owned()).is_some_and(|live| live.id.is(current)) {
        return Ok(None);
    }
    let Some(seen) = snapshot(path)? else { return Ok(None) };
    // None, if it was renamed and no other has its name yet. Those that were renamed after `current` are read meanwhile.
    let live = seen.first().filter(|live| live.path == path).cloned();
    if live.as_ref().is_some_and(|live| live.id.is(current)) {
        return Ok(None);
    }
    let is_changed_later = |seen: &Seen| modified.map(|modified| seen.modified >= modified);
    let is_later = |seen: &Seen| match (seen.id.born, current.born) {
        (0, _) | (_, 0) => is_changed_later(seen) == Some(true),
        // The clock of births has ticks of milliseconds. In doubt it is read: twice is better than never.
        (born, current) if born == current => is_changed_later(seen) != Some(false),
        (born, current) => born > current,
    };
    let first = seen
        .into_iter()
        .filter(|seen| is_later(seen) && !seen.id.is(current) && !finished.has(&seen.id))
        .min_by_key(|seen| (seen.id.born, seen.path == path, seen.modified));
    // A file that is older, and was moved to the name, is what is written to all the same.
    Ok(first.or_else(|| live.filter(|live| !finished.has(&live.id))))
}

fn look(path: PathBuf) -> Option<Seen> {
    let metadata = fs::metadata(&path).ok()?;
    let modified = metadata.modified().ok()?;
    Some(Seen { path, id: FileId::of(&metadata), modified })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates_are_taken_for_older_files_and_nothing_else_is() {
        for suffix in [".1", "-20260131", ".20260131T235959Z-000001", "_2", ".2026-01-31_12:00:00"] {
            assert!(is_rotated(suffix), "{suffix}");
        }
        for suffix in ["", ".", ".gz", ".1.gz", ".position", ".sealed", "2", ".old", ".lock", ".1.tmp"] {
            assert!(!is_rotated(suffix), "{suffix}");
        }
    }
}
