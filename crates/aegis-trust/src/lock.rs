//! One change at a time: an exclusive lock on the host's state, let go by the kernel when its holder dies.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, OFlags};

use crate::durable::{self, WriteError};

/// How long a command waits for another one to finish.
pub const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Why the state could not be locked. Nothing was read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The state directory cannot be made.
    #[error("cannot make the state directory")]
    Directory {
        /// Why.
        source: WriteError,
    },
    /// Others could put a journal or a policy there, and the next command would finish what they began.
    #[error("the state directory {} {problem}", path.display())]
    Insecure {
        /// The state directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The lock file cannot be opened.
    #[error("cannot open the lock {}", path.display())]
    Open {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another command holds it.
    #[error("another aegisbpf command has held {} for {} seconds", path.display(), LOCK_WAIT.as_secs())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
}

impl LockError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Directory { source } => source.help(),
            Self::Insecure { path, .. } => Some(format!(
                "find out who could have changed it, compare it with a backup, then `chown root {0}` and `chmod go-w {0}`",
                path.display()
            )),
            Self::Open { .. } => Some("run it as root, or as the owner of the state directory".to_owned()),
            Self::Busy { path } => {
                Some(format!("see who holds it (`fuser -v {}`), and run this again", path.display()))
            }
        }
    }
}

/// The lock itself; it ends when this is dropped.
#[derive(Debug)]
pub struct StateLock {
    _files: Vec<File>,
}

impl StateLock {
    /// Waits for the lock of `state_dir`, at most [`LOCK_WAIT`]; then for those of the directories in `also`.
    ///
    /// Two hosts with states of their own may have been given one directory of keys, or one counter. What they read and
    /// write again there would be lost: the one revocation, or the higher version. A directory that is not there, or that
    /// is the state directory or one before it, needs no lock.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    pub fn acquire(state_dir: &Path, also: &[&Path]) -> Result<Self, LockError> {
        durable::make_dir(state_dir, 0o755).map_err(|source| LockError::Directory { source })?;
        let path = state_dir.join("lock");
        let metadata =
            state_dir.metadata().map_err(|source| LockError::Open { path: state_dir.to_owned(), source })?;
        if let Some(problem) = durable::insecure(&metadata) {
            return Err(LockError::Insecure { path: state_dir.to_owned(), problem });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed())
            .open(&path)
            .map_err(|source| LockError::Open { path: path.clone(), source })?;
        let start = Instant::now();
        wait_for(&file, &path, start)?;
        let mut files = vec![file];
        let mut held = vec![(metadata.dev(), metadata.ino())];
        for dir in also {
            // What is no directory is for its reader to refuse, with its reason.
            let Some(file) = open_directory(dir) else { continue };
            let metadata =
                file.metadata().map_err(|source| LockError::Open { path: dir.to_path_buf(), source })?;
            let id = (metadata.dev(), metadata.ino());
            if !held.contains(&id) {
                match wait_for(&file, dir, start) {
                    Ok(()) => files.push(file),
                    Err(error @ LockError::Busy { .. }) => return Err(error),
                    // A network file system whose directories take no lock; the state's own is held.
                    Err(_) => {}
                }
                held.push(id);
            }
        }
        Ok(Self { _files: files })
    }
}

fn open_directory(dir: &Path) -> Option<File> {
    let flags = (OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(dir).ok()
}

fn wait_for(file: &File, path: &Path, start: Instant) -> Result<(), LockError> {
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) if start.elapsed() < LOCK_WAIT => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                return Err(LockError::Busy { path: path.to_owned() });
            }
            Err(errno) => return Err(LockError::Open { path: path.to_owned(), source: errno.into() }),
        }
    }
}
