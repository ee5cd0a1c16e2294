//! When a file of lines is put aside, under which name, and for how long.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

/// When a file is put aside and a new one begun. Without limits it never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotation {
    /// Before it becomes longer than this. A batch that is longer by itself has a file of its own.
    pub max_bytes: Option<u64>,
    /// When it is older than this, at the next batch.
    pub max_age: Option<Duration>,
    /// How many files that were put aside are kept; the oldest are removed. `None` keeps all.
    pub keep: Option<usize>,
}

/// `events.jsonl` is put aside as `events.jsonl.20260131T235959Z-000001`, at the time of the system's clock in UTC; the
/// number tells files of one second apart.
pub(super) fn put_aside(path: &Path, now: Timestamp) -> io::Result<()> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    for number in 1..=999_999 {
        let aside = with_suffix(path, &format!("{stamp}-{number:06}"));
        if fs::symlink_metadata(&aside).is_ok() {
            continue;
        }
        return match aegis_durable::rename_synced(path, &aside) {
            Ok(()) => Ok(()),
            // It has its new name; the directory is synced again when the next file is made in it.
            Err(error) if error.is_in_place() => Ok(()),
            Err(error) => Err(error.source),
        };
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes what was put aside, but for the newest `keep`.
pub(super) fn remove_old(path: &Path, keep: usize) -> io::Result<()> {
    let mut aside = put_aside_before(path)?;
    aside.sort();
    for old in aside.iter().rev().skip(keep) {
        fs::remove_file(old)?;
    }
    Ok(())
}

fn put_aside_before(path: &Path) -> io::Result<Vec<PathBuf>> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Some(own) = path.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let name = entry?.file_name();
        let suffix =
            name.to_str().and_then(|name| name.strip_prefix(own)).and_then(|rest| rest.strip_prefix('.'));
        if suffix.is_some_and(is_ours) {
            found.push(parent.join(&name));
        }
    }
    Ok(found)
}

/// Whether a suffix is one that [`put_aside`] gives; nobody else's file is ever removed.
fn is_ours(suffix: &str) -> bool {
    suffix.len() == 23
        && suffix.bytes().enumerate().all(|(place, byte)| match place {
            8 => byte == b'T',
            15 => byte == b'Z',
            16 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_making_are_taken_for_ours() {
        assert!(is_ours("20260131T235959Z-000001"));
        for other in
            ["", "1", "20260131T235959Z-00001", "20260131T235959Z-000001.gz", "20260131X235959Z-000001"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }
}
