//! Events as lines of a file that does not grow without end.
//!
//! `events.jsonl` is written; when it is full it becomes `events.jsonl.1`, that becomes `.2`, and the last one goes. All
//! have mode 0600. Unlike the audit log nothing here is proved: it is for looking at what a policy does.
//!
//! **What may be lost.** A line is handed to the kernel when it is appended, so nothing is lost when the agent is killed,
//! except the end of the line that it was writing; whoever opens the log next cuts that off and counts it. It is on the
//! disk after [`Log::sync`], after a rotation, and, while events come, a second later: so much a power cut costs. What could not be written, or never came out of the kernel, is counted in a line of its own:
//! `{"time":…,"lost":n}`.

mod follow;
mod line;
mod reading;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_durable::{ReadError, WriteError, check_regular, make_dir, sync_parent};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::Event;

pub use self::follow::Follower;
pub use self::line::{LINE_LEN, Line, LineError, Lines, Lost};
pub use self::reading::{Entries, Filter, read};

/// The file that is written.
const CURRENT: &str = "events.jsonl";
/// Whoever holds it writes.
const LOCK: &str = "events.lock";
/// How long a line may be away from the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// So many bytes of lines are written at once.
const CHUNK: usize = 64 * 1024;

/// How much a log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one file.
    pub file_bytes: u64,
    /// How many files there are, with the one that is written: 1 to 100.
    pub files: u32,
}

impl Default for Limits {
    /// Four files of 16 MiB: some 100,000 events.
    fn default() -> Self {
        Self { file_bytes: 16 * 1024 * 1024, files: 4 }
    }
}

/// Why a log could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another agent writes it.
    #[error("{} is written by another process", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// A link, a directory or a device in place of a file.
    #[error(transparent)]
    NotAFile(ReadError),
    /// The directory could not be made.
    #[error(transparent)]
    Directory(WriteError),
    /// The system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LogError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InUse { .. } => Some("only one agent may run: see `systemctl status aegisbpf`".to_owned()),
            Self::NotAFile(error) => error.help(),
            Self::Directory(error) => error.help(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Some("run it as root".to_owned()),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that file system; what is lost until then is counted".to_owned())
                }
                _ => None,
            },
        }
    }
}

/// A log that is written to. One process at a time.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    limits: Limits,
    file: File,
    /// What is in the file, all of it whole lines.
    len: u64,
    /// Held as long as this lives.
    _lock: File,
    /// Losses that no line tells of yet.
    unsaid: u64,
    /// When the file was last looked after, and whether something was written since.
    looked_after: Instant,
    dirty: bool,
}

impl Log {
    /// Opens the log in `dir`, which is made if it is not there. A line that a killed process left unfinished is cut
    /// off and counted as a loss.
    ///
    /// # Errors
    ///
    /// [`LogError`]; nothing was changed then, but for the directory that may have been made.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, LogError> {
        make_dir(dir, 0o700).map_err(LogError::Directory)?;
        let lock_path = dir.join(LOCK);
        let lock = open_file(&lock_path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => LogError::InUse { path: dir.to_owned() },
            error => failed("lock", &lock_path)(error.into()),
        })?;
        let limits = Limits { file_bytes: limits.file_bytes.max(1), files: limits.files.clamp(1, 100) };
        let path = dir.join(CURRENT);
        let file = open_file(&path)?;
        let mut log = Self {
            dir: dir.to_owned(),
            limits,
            file,
            len: 0,
            _lock: lock,
            unsaid: 0,
            looked_after: Instant::now(),
            dirty: false,
        };
        log.repair()?;
        Ok(log)
    }

    /// Writes events, and before them a line on what was lost. It returns when the kernel has them.
    ///
    /// # Errors
    ///
    /// [`LogError`]; what was not written is counted, and told of by the next line that can be.
    pub fn append(&mut self, events: &[Event]) -> Result<(), LogError> {
        if self.looked_after.elapsed() >= SYNC_EVERY {
            self.look_after()?;
        }
        self.say_losses()?;
        let mut told = 0;
        let written = self.append_all(events, &mut told);
        if written.is_err() {
            let untold = u64::try_from(events.len().saturating_sub(told)).unwrap_or(u64::MAX);
            self.unsaid = self.unsaid.saturating_add(untold);
        }
        written
    }

    /// Counts in `told` how many of them are in the file.
    fn append_all(&mut self, events: &[Event], told: &mut usize) -> Result<(), LogError> {
        let (mut chunk, mut line) = (Vec::new(), Vec::new());
        for (index, event) in events.iter().enumerate() {
            line.clear();
            line::print(event, &mut line);
            // No reader would take it; no record makes one.
            if line.len() > LINE_LEN {
                self.unsaid = self.unsaid.saturating_add(1);
                continue;
            }
            if chunk.len() >= CHUNK || !self.has_room(chunk.len().saturating_add(line.len())) {
                self.write(&chunk)?;
                chunk.clear();
                *told = index;
                if !self.has_room(line.len()) {
                    self.rotate()?;
                }
            }
            chunk.extend_from_slice(&line);
        }
        self.write(&chunk)?;
        *told = events.len();
        Ok(())
    }

    /// Counts events that never came here: the ring buffer was full, or a record made no sense.
    ///
    /// # Errors
    ///
    /// [`LogError`]; the count is kept, and told of by the next line that can be written.
    pub fn append_lost(&mut self, count: u64) -> Result<(), LogError> {
        self.unsaid = self.unsaid.saturating_add(count);
        self.say_losses()
    }

    /// Returns when everything that was written is on the disk.
    ///
    /// # Errors
    ///
    /// [`LogError::Io`].
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.dirty {
            self.file.sync_data().map_err(failed("sync", &self.path()))?;
            self.dirty = false;
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.join(CURRENT)
    }

    /// Whether so many bytes more fit into the file.
    fn has_room(&self, more: usize) -> bool {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.len.saturating_add(more) <= self.limits.file_bytes
    }

    fn say_losses(&mut self) -> Result<(), LogError> {
        if self.unsaid == 0 {
            return Ok(());
        }
        let mut bytes = Vec::new();
        line::print(&Lost { time: Timestamp::now(), lost: self.unsaid }, &mut bytes);
        if !self.has_room(bytes.len()) {
            self.rotate()?;
        }
        self.write(&bytes)?;
        self.unsaid = 0;
        Ok(())
    }

    /// Whole lines or, if that fails, nothing.
    fn write(&mut self, lines: &[u8]) -> Result<(), LogError> {
        if lines.is_empty() {
            return Ok(());
        }
        match self.file.write_all(lines) {
            Ok(()) => {
                self.len = self.len.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
                self.dirty = true;
                Ok(())
            }
            Err(source) => {
                // If this fails too, the next to open the log cuts the line off.
                let _ = self.file.set_len(self.len);
                Err(failed("write", &self.path())(source))
            }
        }
    }

    /// The full file gets a number, and an empty one its name. A kill in between leaves a gap that nobody minds.
    fn rotate(&mut self) -> Result<(), LogError> {
        let path = self.path();
        // A line that is longer than a file has one for itself.
        if self.len == 0 {
            return Ok(());
        }
        self.sync()?;
        let last = self.limits.files - 1;
        if last == 0 {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        for number in (1..=last).rev() {
            let from = if number == 1 { path.clone() } else { numbered(&self.dir, number - 1) };
            match fs::rename(&from, numbered(&self.dir, number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map_err(failed("rename", &from))?,
            }
        }
        self.reopen()?;
        sync_parent(&path).map_err(LogError::Directory)
    }

    fn reopen(&mut self) -> Result<(), LogError> {
        let path = self.path();
        self.file = open_file(&path)?;
        self.len = self.file.metadata().map_err(failed("examine", &path))?.len();
        Ok(())
    }

    /// Once a second: to the disk with it, and on with the file that has the name. An administrator may have moved or
    /// removed it.
    fn look_after(&mut self) -> Result<(), LogError> {
        self.looked_after = Instant::now();
        self.sync()?;
        let path = self.path();
        let mine = self.file.metadata().map_err(failed("examine", &path))?;
        let is_there = fs::symlink_metadata(&path)
            .is_ok_and(|named| named.ino() == mine.ino() && named.dev() == mine.dev());
        if is_there {
            self.len = mine.len();
            return Ok(());
        }
        self.reopen()
    }

    /// Cuts off what follows the last whole line.
    fn repair(&mut self) -> Result<(), LogError> {
        let path = self.path();
        let len = self.file.metadata().map_err(failed("examine", &path))?.len();
        let whole = whole_lines(&mut self.file, len).map_err(failed("read", &path))?;
        if whole < len {
            self.file.set_len(whole).map_err(failed("shorten", &path))?;
            self.file.sync_data().map_err(failed("sync", &path))?;
            self.unsaid = 1;
        }
        self.len = whole;
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // There is nobody to tell; the kernel writes it soon.
        let _ = self.say_losses();
        let _ = self.sync();
    }
}

/// The length of a file without a line that has no end, and without the zeros that a power cut can leave.
fn whole_lines(file: &mut File, len: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let mut end = len;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(begin))?;
        let mut block = Vec::new();
        io::Read::by_ref(file).take(end - begin).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// An older file of the log.
fn numbered(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{CURRENT}.{number}"))
}

/// Opens or makes a file that only its owner may read. A link, a FIFO or a device in its place is refused.
fn open_file(path: &Path) -> Result<File, LogError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|source| match source.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            LogError::NotAFile(ReadError::Link { path: path.to_owned() })
        }
        _ => failed("open", path)(source),
    })?;
    let metadata = file.metadata().map_err(failed("examine", path))?;
    check_regular(&metadata, path).map_err(LogError::NotAFile)?;
    if metadata.mode() & 0o777 != 0o600 {
        let mode = fs::Permissions::from_mode(0o600);
        file.set_permissions(mode).map_err(failed("set the permissions of", path))?;
    }
    Ok(file)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
