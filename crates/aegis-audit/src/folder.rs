//! The folder of a log: every open, write, rename and sync on it, and nothing that knows what the files mean.
//!
//! No path below the folder is a link, a FIFO or a device that this module would follow, wait for or fill memory
//! from. What is replaced is replaced whole: temporary file, fsync, rename.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

/// How long a command waits for another that holds the lock.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Why a file of the log could not be used. Nothing was changed by the operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The system refused; the cause is in `source`.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: "open", "read", "write", "sync", …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link, a FIFO, a device or a directory where a file should be.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A link or a file where the folder should be.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else than its owner may write to it.
    #[error("{} may be written to by others (mode {mode:o})", path.display())]
    WritableByOthers {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user than the one who runs this, or root, owns it, and could change it at any time.
    #[error("{} belongs to user {owner}", path.display())]
    WrongOwner {
        /// The path.
        path: PathBuf,
        /// Its owner's id.
        owner: u32,
    },
    /// Longer than such a file ever is.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Another command held the lock all the time.
    #[error("{} is locked by another command for {} seconds", path.display(), waited.as_secs())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long this one waited.
        waited: Duration,
    },
}

impl StorageError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space on that file system; nothing was lost".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as the user that owns the log, usually root".to_owned())
            }
            Self::Io { .. } => None,
            Self::NotAFile { path } | Self::NotADirectory { path } | Self::TooLong { path, .. } => {
                Some(format!("find out who put {} there, and move it away", path.display()))
            }
            Self::WritableByOthers { path, .. } => Some(format!("chmod go-w {}", path.display())),
            Self::WrongOwner { path, .. } => Some(format!(
                "see that nobody changed the log with `aegisbpf audit verify`, then give {} to the user who runs this, usually root",
                path.display()
            )),
            Self::Locked { path, .. } => {
                Some(format!("see which process holds it: fuser {}", path.display()))
            }
        }
    }
}

/// Whether a write must survive power loss before the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// The content is on the disk before the name is.
    Yes,
    /// A cache: after power loss it may be empty or old, and is then made again.
    No,
}

/// What others want to do while the lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Nothing.
    Exclusive,
    /// Read.
    Shared,
}

/// An open folder.
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether its files are written to and trusted, or only looked at: a copy may belong to anybody.
    own: bool,
}

impl Folder {
    /// Opens the folder; `None` if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StorageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(StorageError::NotADirectory { path: path.to_owned() });
            }
            Err(error) => return Err(failed("open", path, error)),
        };
        let stat = fs::fstat(&fd).map_err(|error| failed("examine", path, error))?;
        check_mode(path, &stat)?;
        Ok(Some(Self { fd, path: path.to_owned(), own: false }))
    }

    /// Opens the folder to write to it, and makes it first (mode 0700) if there is none. It and every file that is
    /// opened in it must belong to this user or to root, and nobody else may write to them.
    pub(crate) fn open_or_create(path: &Path) -> Result<Self, StorageError> {
        let folder = Self::open_or_make(path)?;
        let stat = fs::fstat(&folder.fd).map_err(|error| failed("examine", path, error))?;
        check_owner(path, &stat)?;
        Ok(Self { own: true, ..folder })
    }

    fn open_or_make(path: &Path) -> Result<Self, StorageError> {
        if let Some(folder) = Self::open(path)? {
            return Ok(folder);
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        made.map_err(|source| StorageError::Io { action: "make", path: parent.to_owned(), source })?;
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(StorageError::Io { action: "make", path: path.to_owned(), source }),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(parent, flags, Mode::empty())
            .and_then(|fd| fs::fsync(&fd))
            .map_err(|error| failed("sync", parent, error))?;
        Self::open(path)?.ok_or_else(|| failed("open", path, Errno::NOENT))
    }

    /// The path of a file in it, for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes the lock, waiting for at most `wait`. It is let go when the file is dropped. `None` if a shared lock
    /// is wanted and there is no lock file: nobody has ever written here, or this is a copy.
    pub(crate) fn lock(&self, name: &str, kind: Lock, wait: Duration) -> Result<Option<File>, StorageError> {
        let file = match kind {
            Lock::Exclusive => {
                let flags = OFlags::RDWR | OFlags::CREATE;
                self.open_file(name, flags, Mode::RUSR | Mode::WUSR)?
            }
            Lock::Shared => self.open_file(name, OFlags::RDONLY, Mode::empty())?,
        };
        let Some(file) = file else { return Ok(None) };
        let operation = match kind {
            Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
            Lock::Shared => FlockOperation::NonBlockingLockShared,
        };
        let begun = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            match fs::flock(&file, operation) {
                Ok(()) => return Ok(Some(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < wait => {
                    sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(StorageError::Locked { path: self.path_of(name), waited: wait });
                }
                Err(error) => return Err(failed("lock", &self.path_of(name), error)),
            }
        }
    }

    /// Opens a regular file; `None` if there is none and it was not to be made.
    pub(crate) fn open_file(
        &self,
        name: &str,
        flags: OFlags,
        mode: Mode,
    ) -> Result<Option<File>, StorageError> {
        let path = self.path_of(name);
        // NONBLOCK: opening a FIFO would wait for its other end for ever. It means nothing to a regular file.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match fs::openat(&self.fd, name, flags, mode) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(StorageError::NotAFile { path }),
            Err(error) => return Err(failed("open", &path, error)),
        };
        let stat = fs::fstat(&fd).map_err(|error| failed("examine", &path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StorageError::NotAFile { path });
        }
        if self.own {
            check_owner(&path, &stat)?;
            check_mode(&path, &stat)?;
        }
        Ok(Some(File::from(fd)))
    }

    /// Reads a whole file of at most `limit` bytes; `None` if there is none.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<(Vec<u8>, u32)>, StorageError> {
        let Some(file) = self.open_file(name, OFlags::RDONLY, Mode::empty())? else {
            return Ok(None);
        };
        let path = self.path_of(name);
        let mode = fs::fstat(&file).map_err(|error| failed("examine", &path, error))?.st_mode & 0o7777;
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|source| StorageError::Io { action: "read", path: path.clone(), source })?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len <= limit) {
            Ok(Some((bytes, mode)))
        } else {
            Err(StorageError::TooLong { path, limit })
        }
    }

    /// Puts `bytes` in place of a file, whole or not at all.
    pub(crate) fn replace(
        &self,
        name: &str,
        mode: u32,
        bytes: &[u8],
        durable: Durable,
    ) -> Result<(), StorageError> {
        let temporary = temporary_name(name);
        let written =
            self.write_new(&temporary, mode, bytes, durable).and_then(|()| self.rename(&temporary, name));
        if written.is_err() {
            // The temporary file is worth nothing; the next command removes it if this fails too.
            let _ = self.remove(&temporary);
        }
        written
    }

    /// Writes a file that is not there yet.
    pub(crate) fn write_new(
        &self,
        name: &str,
        mode: u32,
        bytes: &[u8],
        durable: Durable,
    ) -> Result<(), StorageError> {
        let path = self.path_of(name);
        self.remove(name)?;
        let mode = Mode::from_raw_mode(mode);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = self.open_file(name, flags, mode)?;
        let mut file = file.ok_or_else(|| failed("make", &path, Errno::NOENT))?;
        fs::fchmod(&file, mode).map_err(|error| failed("set the permissions of", &path, error))?;
        let io = |action, source| StorageError::Io { action, path: path.clone(), source };
        file.write_all(bytes).map_err(|source| io("write", source))?;
        match durable {
            Durable::Yes => file.sync_all().map_err(|source| io("sync", source)),
            Durable::No => Ok(()),
        }
    }

    /// Renames within the folder.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(|error| failed("replace", &self.path_of(to), error))
    }

    /// Removes a file if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StorageError> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("remove", &self.path_of(name), error)),
        }
    }

    /// Makes names durable.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        fs::fsync(&self.fd).map_err(|error| failed("sync", &self.path, error))
    }
}

/// Where the new content of `name` waits for its rename.
pub(crate) fn temporary_name(name: &str) -> String {
    format!("{name}.tmp")
}

fn check_mode(path: &Path, stat: &Stat) -> Result<(), StorageError> {
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    Err(StorageError::WritableByOthers { path: path.to_owned(), mode })
}

fn check_owner(path: &Path, stat: &Stat) -> Result<(), StorageError> {
    let me = rustix::process::geteuid().as_raw();
    if is_trusted_owner(me, stat.st_uid) {
        return Ok(());
    }
    Err(StorageError::WrongOwner { path: path.to_owned(), owner: stat.st_uid })
}

/// As root, root alone; as another user, that user or root.
fn is_trusted_owner(me: u32, owner: u32) -> bool {
    owner == 0 || owner == me
}

fn failed(action: &'static str, path: &Path, error: Errno) -> StorageError {
    StorageError::Io { action, path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_never_let_go_is_an_error_in_bounded_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open_or_create(&dir.path().join("audit")).unwrap();
        let wait = Duration::from_millis(30);
        assert!(folder.lock("lock", Lock::Shared, wait).unwrap().is_none());
        let held = folder.lock("lock", Lock::Exclusive, wait).unwrap();
        for kind in [Lock::Exclusive, Lock::Shared] {
            let begun = Instant::now();
            let error = folder.lock("lock", kind, wait).unwrap_err();
            assert!(matches!(error, StorageError::Locked { .. }), "{error:?}");
            assert!(begun.elapsed() >= wait);
        }
        drop(held);
        let _one = folder.lock("lock", Lock::Shared, wait).unwrap().unwrap();
        let _two = folder.lock("lock", Lock::Shared, wait).unwrap().unwrap();
        assert!(matches!(folder.lock("lock", Lock::Exclusive, wait), Err(StorageError::Locked { .. })));
    }

    #[test]
    fn trusts_what_is_its_own_or_roots() {
        for (me, owner, trusted) in
            [(0, 0, true), (0, 1000, false), (1000, 1000, true), (1000, 0, true), (1000, 1001, false)]
        {
            assert_eq!(is_trusted_owner(me, owner), trusted, "{me} {owner}");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_no_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open_or_create(&dir.path().join("audit")).unwrap();
        folder.replace("file", 0o600, b"old", Durable::Yes).unwrap();
        std::fs::create_dir(folder.path_of("taken")).unwrap();
        std::fs::write(folder.path_of("taken").join("inside"), "").unwrap();
        folder.replace("taken", 0o600, b"new", Durable::Yes).unwrap_err();
        assert!(!folder.path_of("taken.tmp").exists());
        folder.replace("file", 0o644, b"new", Durable::No).unwrap();
        assert_eq!(folder.read("file", 3).unwrap().unwrap(), (b"new".to_vec(), 0o644));
        assert!(matches!(folder.read("file", 2), Err(StorageError::TooLong { limit: 2, .. })));
        assert_eq!(folder.read("none", 2).unwrap(), None);
    }
}
