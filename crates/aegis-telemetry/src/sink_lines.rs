//! Files of lines that survive a kill: no line is ever half there.

use std::fs::{File, Permissions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

/// Takes the rights of others away from a file that was there before.
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Cuts off what follows the last line feed, which a killed process left, and gives the length.
pub(crate) fn cut_half_a_line(file: &File) -> io::Result<u64> {
    let found = file.metadata()?.len();
    let mut end = found;
    let mut block = [0; 1 << 16];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let len = usize::try_from(end - start).unwrap_or(block.len());
        let part = block.get_mut(..len).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    cut_to(file, end)?;
    if end < found {
        file.sync_all()?;
    }
    Ok(end)
}

/// Makes a file this long, and stands at its end.
pub(crate) fn cut_to(mut file: &File, len: u64) -> io::Result<()> {
    if file.metadata()?.len() != len {
        file.set_len(len)?;
    }
    file.seek(SeekFrom::Start(len))?;
    Ok(())
}
