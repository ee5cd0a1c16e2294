//! Absolute paths.
//!
//! A path is taken byte for byte: no pattern, no `~`, no variable. Whether it exists is not asked here,
//! because a policy is written for many hosts.

use std::borrow::Cow;

use super::{EntryError, Refusal};

/// The most bytes of a path: Linux `PATH_MAX` without the closing NUL.
pub const MAX_PATH_LEN: usize = 4095;

/// Takes an absolute path of at most [`MAX_PATH_LEN`] bytes.
#[inline]
pub(super) fn path(text: &str) -> Result<&str, Refusal> {
    if text.as_bytes().first() != Some(&b'/') {
        return Err(Refusal::new(0, text.len(), EntryError::RelativePath));
    }
    if text.len() > MAX_PATH_LEN {
        let bytes = text.len();
        return Err(Refusal::new(MAX_PATH_LEN, bytes - MAX_PATH_LEN, EntryError::PathTooLong { bytes }));
    }
    Ok(text)
}

/// Takes out what changes no meaning: doubled slashes, `.` parts, a slash at the end.
///
/// `..` stays: what it means depends on links, which only the host can follow.
pub(crate) fn canonical(path: &str) -> Cow<'_, str> {
    if is_canonical(path) {
        return Cow::Borrowed(path);
    }
    let mut clean = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        clean.push('/');
        clean.push_str(part);
    }
    // Without its slash, a name that ends in a space would lose the space to the next reader.
    if clean.is_empty() || clean.ends_with(' ') {
        clean.push('/');
    }
    Cow::Owned(clean)
}

pub(super) fn canonical_cow(path: Cow<'_, str>) -> Cow<'_, str> {
    match path {
        Cow::Borrowed(path) => canonical(path),
        Cow::Owned(path) => Cow::Owned(canonical(&path).into_owned()),
    }
}

fn is_canonical(path: &str) -> bool {
    // Most paths have neither `//` nor `/.`, and then only their end can be wrong.
    let next = path.bytes().skip(1);
    let doubtful = path.bytes().zip(next).fold(false, |doubtful, (byte, next)| {
        doubtful | ((byte == b'/') & ((next == b'/') | (next == b'.')))
    });
    if !doubtful {
        return path == "/" || !path.ends_with('/');
    }
    path == "/" || path.split('/').skip(1).all(|part| !part.is_empty() && part != ".")
}
