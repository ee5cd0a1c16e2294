//! Which files this process has open, so that a fork is noticed.
//!
//! POSIX locks belong to a process, and SQLite notes in memory which ones it holds, by device and inode
//! (`findInodeInfo` in `os_unix.c`). A fork copies the note, not the locks: in the child, every connection to such a file,
//! also a new one, would take the parent's locks for its own, and the two would destroy each other's work. So the child
//! is refused until it runs another program.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

/// The files, each with the process that opened it, once for each store.
static OPEN: Mutex<Vec<OpenFile>> = Mutex::new(Vec::new());

/// A file as the kernel knows it, open in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenFile {
    process: u32,
    device: u64,
    inode: u64,
}

/// The note that a file is open here; taken back when it is dropped.
#[derive(Debug)]
pub(super) struct OpenNote(OpenFile);

impl OpenNote {
    /// Notes that the file is open in this process; `None` if it was when this process was forked.
    pub(super) fn new(metadata: &Metadata) -> Option<Self> {
        let file = OpenFile { process: std::process::id(), device: metadata.dev(), inode: metadata.ino() };
        let mut open = lock_unless_forked()?;
        let is_inherited = |other: &OpenFile| {
            OpenFile { process: file.process, ..*other } == file && other.process != file.process
        };
        if open.iter().any(is_inherited) {
            return None;
        }
        open.push(file);
        Some(Self(file))
    }

    /// Whether the path still leads to the file.
    pub(super) fn is_still(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path)
            .is_ok_and(|found| found.dev() == self.0.device && found.ino() == self.0.inode)
    }

    /// Whether this is still the process that opened it.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.0.process == std::process::id()
    }
}

impl Drop for OpenNote {
    fn drop(&mut self) {
        // In a copy of the process the note stays: SQLite's own stays, too.
        if !self.is_of_this_process() {
            return;
        }
        if let Some(mut open) = lock_unless_forked()
            && let Some(at) = open.iter().position(|file| *file == self.0)
        {
            open.swap_remove(at);
        }
    }
}

/// Whether a file may be open here. Said of every file while that cannot be told.
pub(super) fn is_open_here(metadata: &Metadata) -> bool {
    let is_it = |file: &OpenFile| file.device == metadata.dev() && file.inode == metadata.ino();
    lock_unless_forked().is_none_or(|open| open.iter().any(is_it))
}

/// The list. A thread that held it when the process was forked does not exist in the copy and never gives it back.
fn lock_unless_forked() -> Option<std::sync::MutexGuard<'static, Vec<OpenFile>>> {
    for _ in 0..1000 {
        match OPEN.try_lock() {
            Ok(open) => return Some(open),
            Err(TryLockError::Poisoned(poisoned)) => return Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}
