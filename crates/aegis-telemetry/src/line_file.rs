//! Files of lines that one process adds to, and that survive a kill: no line is ever half there.

mod shared;

pub use shared::{SharedLineFile, SharedLineFileError};

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags};

/// A file that nobody else has locked, as far as others ask.
///
/// The lock is given back before the file is closed: a child that was just forked, and has not yet become another program,
/// has the file open too, and would keep it.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// `None` if another process has it.
    pub(crate) fn try_lock(file: File) -> io::Result<Option<Self>> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) const fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// A file to which whole lines are added.
#[derive(Debug)]
pub(crate) struct LineFile {
    file: Locked,
    len: u64,
}

/// Why there is no such file: the step, and the system's reason; or another process has it.
#[derive(Debug)]
pub(crate) enum OpenFault {
    InUse,
    Io(&'static str, io::Error),
}

impl LineFile {
    /// Opens or makes a file of mode 0600, and cuts off half a line that a killed process left. No link is followed.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenFault> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(path)
            .map_err(|error| OpenFault::Io("open", error))?;
        let metadata = file.metadata().map_err(|error| OpenFault::Io("open", error))?;
        aegis_durable::check_regular(&metadata, path)
            .map_err(|error| OpenFault::Io("open", io::Error::other(error)))?;
        let locked = Locked::try_lock(file).map_err(|error| OpenFault::Io("lock", error))?;
        let file = locked.ok_or(OpenFault::InUse)?;
        // Another process may have put it aside between open and lock.
        let is_same = std::fs::symlink_metadata(path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()));
        if !is_same {
            return Err(OpenFault::InUse);
        }
        make_private(file.file()).map_err(|error| OpenFault::Io("set the mode of", error))?;
        let found = metadata.len();
        let len = cut_half_a_line(file.file(), found).map_err(|error| OpenFault::Io("mend", error))?;
        if len < found {
            tracing::info!(path = %path.display(), bytes = found - len, "half a line was left, and is cut off");
        }
        aegis_durable::sync_parent(path).map_err(|error| OpenFault::Io("open", error.source))?;
        Ok(Self { file, len })
    }

    pub(crate) const fn file(&self) -> &File {
        self.file.file()
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Adds whole lines, or nothing; `sync` is what has to be done before they count.
    pub(crate) fn append(
        &mut self,
        lines: &[u8],
        sync: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), (&'static str, io::Error)> {
        let file = self.file.file();
        let written = cut_to(file, self.len)
            .map_err(|error| ("cut", error))
            .and_then(|()| file.write_all_at(lines, self.len).map_err(|error| ("write", error)))
            .and_then(|()| sync(file).map_err(|error| ("sync", error)));
        match &written {
            Ok(()) => self.len += lines.len() as u64,
            // Nobody is to read half of it as if it were all; if it cannot be cut now, it is before the next line.
            Err(_) => drop(cut_to(file, self.len)),
        }
        written
    }
}

/// Takes the rights of others away from a file that was there before.
fn make_private(file: &File) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Cuts off what follows the last line feed, and gives the length.
fn cut_half_a_line(file: &File, found: u64) -> io::Result<u64> {
    let mut end = found;
    let mut block = vec![0; 1 << 16];
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

fn cut_to(file: &File, len: u64) -> io::Result<()> {
    if file.metadata()?.len() == len { Ok(()) } else { file.set_len(len) }
}
