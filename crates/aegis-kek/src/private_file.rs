//! Reading a file that only its owner can read.

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aegis_durable::{Links, ReadError};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Reads a regular file of at most `limit` bytes, which nobody but its owner may read or write; its owner is the caller
/// or root. Mode, owner and bytes are those of one open file.
///
/// # Errors
///
/// [`PrivateFileError`].
pub(crate) fn read(path: &Path, links: Links, limit: u64) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let mut flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    let mut options = fs::OpenOptions::new();
    let opened = options.read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|source| match source.raw_os_error() {
        Some(code) if links == Links::Refuse && code == rustix::io::Errno::LOOP.raw_os_error() => {
            ReadError::Link { path: path.to_owned() }
        }
        // A socket, or a device that nothing stands behind.
        Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => {
            ReadError::NotAFile { path: path.to_owned(), kind: "a socket" }
        }
        _ => ReadError::Open { path: path.to_owned(), source },
    })?;
    let metadata = file.metadata().map_err(|source| ReadError::Read { path: path.to_owned(), source })?;
    aegis_durable::check_regular(&metadata, path)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(PrivateFileError::Mode { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    if let Some(why) = aegis_durable::insecure(&metadata) {
        return Err(PrivateFileError::Owner { path: path.to_owned(), why });
    }
    if metadata.len() > limit {
        return Err(ReadError::TooLarge { path: path.to_owned(), len: metadata.len(), limit }.into());
    }
    Ok(Zeroizing::new(aegis_durable::read_open(file, path, metadata.len(), limit)?))
}

/// Reads a file with a secret, of at most `limit` bytes, which nobody but its owner may read or write. A link is refused.
///
/// # Errors
///
/// [`PrivateFileError`].
pub fn read_private(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    read(path, Links::Refuse, limit)
}

/// Why a file with a secret was not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It is not there, no regular file, a link where none may be, or too large.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Others can read it or write to it.
    #[error("{} can be read or written by others than its owner (mode {mode:04o})", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to somebody who could put anything in it.
    #[error("{} {why}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is, and whose it should be.
        why: String,
    },
}

impl PrivateFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(source) => source.help(),
            Self::Mode { path, .. } => Some(format!(
                "`chmod 600 {}`; if others could read it so far, take what is in it for known to them",
                path.display()
            )),
            Self::Owner { path, .. } => Some(format!("check who wrote it, then `chown` {}", path.display())),
        }
    }

    /// Whether the file is simply not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Read(source) if source.is_absent())
    }
}
