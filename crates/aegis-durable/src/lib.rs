//! Files that survive a power cut, and files that are not what they seem.
//!
//! Reading is bounded and takes regular files only: a FIFO, a device or a link in place of a file is an error and not
//! a hang. Writing goes temp file → fsync → rename → fsync directory, so that a reader finds the old bytes or the new.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::OFlags;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system said no.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a symbolic link where none may be.
    #[error("{} is a symbolic link, and links are not followed here", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A directory, FIFO, socket or device.
    #[error("{} is {kind}, not a regular file", path.display())]
    NotAFile {
        /// The object.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Larger than anything it could rightly hold.
    #[error("{} has {len} bytes, more than the limit of {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes; at least this much if it grew while it was read.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// It opened, but did not read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The step after which a new name is on the disk for certain.
const SYNC_DIRECTORY: &str = "sync the directory";

/// Why a file could not be written. The old content, if any, still stands, unless syncing the directory failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// The step that failed, as a verb: `create`, `write`, `sync`, `rename`.
    pub step: &'static str,
    /// Why.
    pub source: io::Error,
}

impl WriteError {
    /// Whether the new content has its name already, and only the disk's word for it is missing. A change that came this
    /// far is to be finished; it cannot be called undone.
    pub fn is_in_place(&self) -> bool {
        self.step == SYNC_DIRECTORY
    }

    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let help = match self.source.kind() {
            io::ErrorKind::PermissionDenied => "run it as root, or as the owner of the directory",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room on that file system, then run it again"
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                "check the path: its directory is not there"
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "the file system is mounted read-only: remount it, then run it again"
            }
            _ => return None,
        };
        Some(help.to_owned())
    }
}

impl ReadError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root, or as the owner of the file".to_owned()
            }
            Self::Open { .. } => "check the path".to_owned(),
            Self::Read { .. } => return None,
            Self::Link { .. } => "put the file itself there".to_owned(),
            Self::NotAFile { .. } => "name a regular file".to_owned(),
            Self::TooLarge { .. } => "check that it is the right file".to_owned(),
        })
    }

    /// Whether the file is simply not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Whether the last component of a path may be a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Somebody typed the path: a link is as good as the file.
    Follow,
    /// The path is the host's own: a link there was put there by somebody else.
    Refuse,
}

/// Reads a file that somebody named, of at most `limit` bytes. Regular files only; links are followed.
///
/// # Errors
///
/// [`ReadError`]; `limit` bytes is the most that is ever held in memory.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let (file, len) = open_regular(path, Links::Follow, limit)?;
    read_open(file, path, len, limit)
}

/// Reads a file of the host's own state, of at most `limit` bytes, or `None` if there is none.
///
/// # Errors
///
/// [`ReadError`] if it is there but is a link, not a regular file, too large or unreadable.
pub fn read_state(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
    Ok(read_state_of(path, limit)?.map(|(bytes, _)| bytes))
}

/// As [`read_state`], with whose file it is and what its mode is. They are those of the file whose bytes these are: asked
/// for by name afterwards, they could be those of another one.
pub fn read_state_of(path: &Path, limit: u64) -> Result<Option<(Vec<u8>, fs::Metadata)>, ReadError> {
    let (file, len) = match open_regular(path, Links::Refuse, limit) {
        Ok(opened) => opened,
        Err(error) if error.is_absent() => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata().map_err(|source| ReadError::Read { path: path.to_owned(), source })?;
    Ok(Some((read_open(file, path, len, limit)?, metadata)))
}

/// Opens a regular file without waiting for a FIFO's writer, and gives its length.
fn open_regular(path: &Path, links: Links, limit: u64) -> Result<(File, u64), ReadError> {
    let mut flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(
        |source| match source.raw_os_error() {
            Some(code) if links == Links::Refuse && code == rustix::io::Errno::LOOP.raw_os_error() => {
                ReadError::Link { path: path.to_owned() }
            }
            // A socket, or a device that nothing stands behind.
            Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => {
                ReadError::NotAFile { path: path.to_owned(), kind: "a socket" }
            }
            _ => ReadError::Open { path: path.to_owned(), source },
        },
    )?;
    let metadata = file.metadata().map_err(|source| ReadError::Read { path: path.to_owned(), source })?;
    check_regular(&metadata, path)?;
    if metadata.len() > limit {
        return Err(ReadError::TooLarge { path: path.to_owned(), len: metadata.len(), limit });
    }
    Ok((file, metadata.len()))
}

/// Refuses everything but a regular file.
pub fn check_regular(metadata: &fs::Metadata, path: &Path) -> Result<(), ReadError> {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(ReadError::NotAFile { path: path.to_owned(), kind })
}

/// Reads all of an open file, never more than `limit` bytes.
pub fn read_open(file: File, path: &Path, len: u64, limit: u64) -> Result<Vec<u8>, ReadError> {
    let read = |source| ReadError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let expected = usize::try_from(len.min(limit)).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(expected.saturating_add(1))
        .map_err(|error| read(io::Error::new(io::ErrorKind::OutOfMemory, error)))?;
    // One byte more than the limit: a file that grows while it is read is refused, not cut short.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(read)?;
    let read_len = bytes.len() as u64;
    if read_len > limit {
        return Err(ReadError::TooLarge { path: path.to_owned(), len: read_len, limit });
    }
    Ok(bytes)
}

/// Replaces `path` by `bytes`, whole or not at all, and returns when it is on the disk. One writer at a time.
///
/// # Errors
///
/// [`WriteError`]; no temp file is left behind.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    write_through(&temp_path(path), path, bytes, mode)
}

/// As [`write_atomic`], for a file that no lock guards: two commands that write it at once do not meet in one temp file,
/// and the last one to finish has the name.
///
/// # Errors
///
/// [`WriteError`]; no temp file is left behind, unless the process is killed.
pub fn write_unguarded(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    write_through(&own_temp_path(path), path, bytes, mode)
}

fn write_through(temp: &Path, path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    let written = write_synced(temp, path, bytes, mode).and_then(|()| rename_synced(temp, path));
    if written.is_err() {
        let _ = fs::remove_file(temp);
    }
    written
}

/// Writes and syncs a new file in place; on failure nothing is left behind. For files that are not yet in force.
pub fn write_staged(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    let written = write_synced(path, path, bytes, mode).and_then(|()| sync_parent(path));
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Creates `path` with `bytes` and syncs it; fails if something is already there. Of two commands that do it at once, one
/// fails.
///
/// # Errors
///
/// [`WriteError`]; an existing file is left as it is.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    write_new_through(&own_temp_path(path), path, bytes, mode)
}

/// As [`write_new`], for content that is written piece by piece.
///
/// # Errors
///
/// Whatever `fill` gives, or a [`WriteError`]; there is no file then, and an existing file is left as it is.
pub fn write_new_with<T, E: From<WriteError>>(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<T, E> {
    let temp = own_temp_path(path);
    let failed = |step, source| WriteError { path: path.to_owned(), step, source };
    let written = (|| {
        // Before the work: at the end the link would find it, too.
        if fs::symlink_metadata(path).is_ok() {
            return Err(E::from(failed("create", io::ErrorKind::AlreadyExists.into())));
        }
        let mut file = create_temp(&temp, path, mode)?;
        let filled = fill(&mut file)?;
        file.sync_all().map_err(|source| failed("sync", source))?;
        fs::hard_link(&temp, path).map_err(|source| failed("create", source))?;
        Ok(filled)
    })();
    let _ = fs::remove_file(&temp);
    let filled = written?;
    sync_parent(path)?;
    Ok(filled)
}

/// As [`write_new`], for a file that a lock guards: what a killed process left is found by its name.
pub fn write_new_guarded(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    write_new_through(&temp_path(path), path, bytes, mode)
}

fn write_new_through(temp: &Path, path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    let failed = |step, source| WriteError { path: path.to_owned(), step, source };
    let written = write_synced(temp, path, bytes, mode)
        // A hard link fails where a rename would replace.
        .and_then(|()| fs::hard_link(temp, path).map_err(|source| failed("create", source)));
    let _ = fs::remove_file(temp);
    written.and_then(|()| sync_parent(path))
}

/// Renames, and returns when the new name is on the disk.
pub fn rename_synced(from: &Path, to: &Path) -> Result<(), WriteError> {
    fs::rename(from, to).map_err(|source| WriteError {
        path: to.to_owned(),
        step: "rename a new file to",
        source,
    })?;
    sync_parent(to)
}

/// Makes `to` a second name of `from`, replacing what `to` named, without an instant in which it names nothing.
pub fn link_over(from: &Path, to: &Path) -> Result<(), WriteError> {
    let failed = |step, source| WriteError { path: to.to_owned(), step, source };
    let temp = temp_path(to);
    let _ = fs::remove_file(&temp);
    fs::hard_link(from, &temp).map_err(|source| failed("link", source))?;
    // rename(2) does nothing, and leaves the temp name, if both names already are the same file.
    let renamed = fs::rename(&temp, to).map_err(|source| failed("rename a new file to", source));
    let _ = fs::remove_file(&temp);
    renamed
}

/// Removes a file and syncs its directory; a file that is already gone is as good.
pub fn remove_synced(path: &Path) -> Result<(), WriteError> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(WriteError { path: path.to_owned(), step: "remove", source }),
    }
}

/// Makes a directory and its parents. What it makes has `mode`, and each is on the disk before the next is made in it.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), WriteError> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_dir(parent, mode)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_parent(path),
        // Another command was faster.
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => sync_parent(path),
        Err(source) => Err(WriteError { path: path.to_owned(), step: "create the directory", source }),
    }
}

/// Syncs the directory that holds `path`, so that a new name in it survives a power cut.
pub fn sync_parent(path: &Path) -> Result<(), WriteError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|source| WriteError {
        path: parent.to_owned(),
        step: SYNC_DIRECTORY,
        source,
    })
}

fn write_synced(temp: &Path, path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    let failed = |step, source| WriteError { path: path.to_owned(), step, source };
    let mut file = create_temp(temp, path, mode)?;
    file.write_all(bytes).map_err(|source| failed("write", source))?;
    file.sync_all().map_err(|source| failed("sync", source))
}

/// Creates the temp file of `path`.
fn create_temp(temp: &Path, path: &Path, mode: u32) -> Result<File, WriteError> {
    let failed = |step, source| WriteError { path: path.to_owned(), step, source };
    // A temp file that a killed process left behind; the new one must not inherit its mode or its owner.
    let _ = fs::remove_file(temp);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(temp)
        .map_err(|source| failed("create", source))?;
    // The mode asked for is the mode given, whatever the umask of the caller.
    file.set_permissions(fs::Permissions::from_mode_bits(mode))
        .map_err(|source| failed("set the mode of", source))?;
    Ok(file)
}

/// The temp name belongs to the file, so that the next writer clears what a killed one left.
fn temp_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

/// A temp name that no other writer has: without a lock, two could write one temp file, and rename each other's half.
fn own_temp_path(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

trait FromModeBits {
    fn from_mode_bits(mode: u32) -> Self;
}

impl FromModeBits for fs::Permissions {
    fn from_mode_bits(mode: u32) -> Self {
        std::os::unix::fs::PermissionsExt::from_mode(mode)
    }
}

/// Why an object cannot be trusted: somebody else could have changed it.
pub fn insecure(metadata: &fs::Metadata) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    insecure_for(me, metadata.uid(), metadata.mode())
}

/// The rule itself: as root, root's alone; as another user, that user's or root's; never writable by others.
fn insecure_for(me: u32, owner: u32, mode: u32) -> Option<String> {
    if owner != 0 && owner != me {
        let expected = if me == 0 { "root".to_owned() } else { format!("user {me} or root") };
        return Some(format!("belongs to user {owner}, not to {expected}"));
    }
    (mode & 0o022 != 0)
        .then(|| format!("can be written by others than its owner (mode {:04o})", mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn reads_regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"12345").unwrap();
        assert_eq!(read_bounded(&file, 5).unwrap(), b"12345");
        assert!(matches!(read_bounded(&file, 4), Err(ReadError::TooLarge { len: 5, limit: 4, .. })));
        assert!(matches!(read_bounded(dir.path(), 5), Err(ReadError::NotAFile { kind: "a directory", .. })));
        assert!(matches!(
            read_bounded(Path::new("/dev/zero"), 5),
            Err(ReadError::NotAFile { kind: "a device", .. })
        ));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(read_bounded(&fifo, 5), Err(ReadError::NotAFile { kind: "a FIFO", .. })));
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(read_bounded(&link, 5).unwrap(), b"12345");
        assert!(matches!(read_state(&link, 5), Err(ReadError::Link { .. })));
        assert!(read_state(&dir.path().join("none"), 5).unwrap().is_none());
        assert!(matches!(read_bounded(Path::new("/proc/self/environ"), 0), Err(ReadError::TooLarge { .. })));
    }

    #[test]
    fn writes_whole_with_the_mode_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        // What a killed writer left must neither stop the next one nor lend it its mode.
        fs::write(dir.path().join(".file.tmp"), b"half").unwrap();
        write_atomic(&file, b"new", 0o640).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(write_new(&file, b"other", 0o600).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_over_the_same_file_again() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, b"new").unwrap();
        fs::write(&to, b"old").unwrap();
        link_over(&from, &to).unwrap();
        link_over(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn trusts_only_what_nobody_else_can_change() {
        assert_eq!(insecure_for(0, 0, 0o100_644), None);
        assert_eq!(insecure_for(1000, 1000, 0o100_600), None);
        assert_eq!(insecure_for(1000, 0, 0o100_644), None);
        assert!(insecure_for(0, 1000, 0o100_644).unwrap().contains("not to root"));
        assert!(insecure_for(1000, 1001, 0o100_644).unwrap().contains("user 1000 or root"));
        assert!(insecure_for(0, 0, 0o100_664).unwrap().contains("0664"));
        assert!(insecure_for(0, 0, 0o100_646).is_some());
    }

    #[test]
    fn writers_at_once_never_meet_in_a_temp_file() {
        let dir = tempfile::tempdir().unwrap();
        let (shared, new) = (dir.path().join("shared"), dir.path().join("new"));
        let made = std::thread::scope(|scope| {
            let writers: Vec<_> = (0_u8..8)
                .map(|writer| {
                    let (shared, new) = (&shared, &new);
                    scope.spawn(move || {
                        let bytes = vec![writer; 1 << 16];
                        for _ in 0..8 {
                            write_unguarded(shared, &bytes, 0o644).unwrap();
                        }
                        write_new(new, &bytes, 0o600).is_ok().then_some(writer)
                    })
                })
                .collect();
            writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect::<Vec<u8>>()
        });
        let whole = |path: &Path| {
            let bytes = fs::read(path).unwrap();
            assert!(bytes.len() == 1 << 16 && bytes.iter().all(|byte| *byte == bytes[0]));
            bytes[0]
        };
        whole(&shared);
        assert_eq!(made, [whole(&new)]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
