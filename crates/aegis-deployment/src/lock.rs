//! One change of a DEK at a time on this machine: a lock that the kernel lets go when its holder dies.
//!
//! The store does not need it: it compares before it changes. The log does, so that a change which was interrupted is
//! told from one that another command has just made.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

/// How long a command waits for another one.
pub const LOCK_WAIT: Duration = Duration::from_secs(60);

/// The lock; it ends when this is dropped.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "held, not used")] File);

impl StateLock {
    /// Waits for the lock of a state directory, at most [`LOCK_WAIT`].
    ///
    /// # Errors
    ///
    /// [`LockError`].
    pub fn acquire(state_dir: &Path) -> Result<Self, LockError> {
        let path = state_dir.join("aegis.lock");
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let file = options.open(&path).map_err(|source| LockError::Open { path: path.clone(), source })?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < LOCK_WAIT => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(LockError::Busy { path }),
                Err(errno) => return Err(LockError::Open { path, source: errno.into() }),
            }
        }
    }
}

/// Why the state was not locked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be opened or locked.
    #[error("cannot lock {}", path.display())]
    Open {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another command holds it.
    #[error("another aegis command has held {} for {} seconds", path.display(), LOCK_WAIT.as_secs())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
}

impl LockError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Open { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room on that file system, then run it again".to_owned()
                }
                _ => "run it as the owner of the state directory".to_owned(),
            },
            Self::Busy { path } => {
                format!("see who holds it (`fuser -v {}`), and run this again", path.display())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_held_by_one_at_a_time() {
        let dir = test_services::scratch::dir();
        let held = StateLock::acquire(dir.path()).unwrap();
        let (path, order) = (dir.path().to_owned(), std::sync::Mutex::new(Vec::new()));
        thread::scope(|scope| {
            scope.spawn(|| {
                let _second = StateLock::acquire(&path).unwrap();
                order.lock().unwrap().push("second");
            });
            thread::sleep(Duration::from_millis(50));
            order.lock().unwrap().push("first");
            drop(held);
        });
        assert_eq!(*order.lock().unwrap(), ["first", "second"]);
    }
}
