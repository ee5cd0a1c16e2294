//! Bounded reading of what the command line names: a file, or `-` for standard input.

use std::io::{self, Read as _};
use std::path::Path;

use aegis_durable::{ReadError, read_bounded};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Reads `path`, or standard input if it is `-`. More than `max` bytes are refused, not cut short.
/// `what` is what cannot be done if it fails.
pub fn read(path: &Path, max: u64, what: &str) -> Result<Vec<u8>, Failure> {
    let bytes = if is_stdin(path) {
        read_stdin(max).and_then(|bytes| match u64::try_from(bytes.len()) {
            Ok(len) if len <= max => Ok(bytes),
            _ => Err(ReadError::TooLarge { path: name(path).into(), len: max.saturating_add(1), limit: max }),
        })
    } else {
        read_bounded(path, max)
    };
    bytes.map_err(|error| Failure::new(what, &error, error.help()))
}

/// Reads a private key the same way; the bytes are erased when dropped.
pub fn read_secret(path: &Path, max: u64, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read(path, max, what).map(Zeroizing::new)
}

/// Reads standard input up to one byte more than `max`, so that who is given it can tell that it is too long.
pub fn read_stdin(max: u64) -> Result<Vec<u8>, ReadError> {
    // A secret that is read here is not moved, as long as it fits: no copy stays behind in freed memory.
    let mut bytes = Vec::with_capacity(usize::try_from(max.min(16 * 1024)).unwrap_or(0));
    let mut stdin = io::stdin().lock().take(max.saturating_add(1));
    stdin.read_to_end(&mut bytes).map_err(|source| ReadError::Read { path: STDIN.into(), source })?;
    Ok(bytes)
}

const STDIN: &str = "standard input";

/// How messages and the log call what is read.
pub fn name(path: &Path) -> String {
    if is_stdin(path) { STDIN.to_owned() } else { path.display().to_string() }
}

/// True for `-`.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}
