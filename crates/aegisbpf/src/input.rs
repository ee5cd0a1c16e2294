//! Bounded reading of what the command line names: a file, or `-` for standard input.

use std::io::{self, Read as _};
use std::path::Path;

use aegis_trust::read_bounded;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Reads `path`, or standard input if it is `-`. More than `max` bytes are refused, not cut short.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let what = || format!("cannot read {}", name(path));
    if !is_stdin(path) {
        return read_bounded(path, max).map_err(|error| Failure::new(what(), &error, error.help()));
    }
    let mut bytes = Vec::new();
    let limit = max.saturating_add(1);
    io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|error| Failure::new(what(), &error, None))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= max) {
        Ok(bytes)
    } else {
        Err(Failure::because(what(), format!("it has more than {max} bytes")))
    }
}

/// Reads a private key the same way; the bytes are erased when dropped.
pub(crate) fn read_secret(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read(path, max).map(Zeroizing::new)
}

/// How messages and the log call what was read.
pub(crate) fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// True for `-`.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads a bundle or a policy, of at most what this host's configuration admits.
pub(crate) fn read_bundle(path: &Path, host: &Host) -> Result<Vec<u8>, Failure> {
    read(path, host.config().max_policy_bytes.saturating_add(MAX_ENVELOPE_LEN))
}
