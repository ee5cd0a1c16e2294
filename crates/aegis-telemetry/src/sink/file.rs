//! JSON lines into a file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::rotation::{Rotation, put_aside, remove_old};
use super::{Delivered, Sink, SinkError, SinkFault};
use crate::event::Batch;
use crate::line_file::{LineFile, OpenFault};

/// Where lines go, and how safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// The file. It has mode 0600; its directory has to be there.
    pub path: PathBuf,
    /// When it is put aside.
    pub rotation: Rotation,
    /// When it is on the disk.
    pub sync: SyncPolicy,
}

/// When what was written is on the disk. It is with the kernel in any case: a kill of the process loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Before a batch counts as delivered: a power cut loses nothing that was acknowledged.
    #[default]
    EachBatch,
    /// At each interval: a power cut loses what was written since, acknowledged or not.
    Interval(Duration),
    /// When the system likes.
    Never,
}

/// Why there is no file to write to.
#[derive(Debug, thiserror::Error)]
pub enum FileSinkError {
    /// Another process writes to it.
    #[error("the file {} is in use", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot {step} {}", path.display())]
    Io {
        /// What was to be done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl FileSinkError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::InUse { .. } => "give each sink a file of its own".to_owned(),
            Self::Io { .. } => "check the path, and whose file it is".to_owned(),
        })
    }
}

/// Adds a line an event to a file. What a killed process left of a half line is cut off when it is opened.
#[derive(Debug)]
pub struct FileSink {
    settings: FileSettings,
    open: Option<Open>,
    syncer: Option<Syncer>,
}

#[derive(Debug)]
struct Open {
    file: LineFile,
    begun_at: SystemTime,
}

impl FileSink {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// A [`FileSinkError`].
    pub fn open(settings: FileSettings) -> Result<Self, FileSinkError> {
        let open = open(&settings.path)?;
        let syncer = match settings.sync {
            SyncPolicy::Interval(interval) => {
                let failed =
                    |source| FileSinkError::Io { step: "begin to sync", path: settings.path.clone(), source };
                Some(Syncer::start(open.file.file().try_clone().map_err(failed)?, interval).map_err(failed)?)
            }
            SyncPolicy::EachBatch | SyncPolicy::Never => None,
        };
        Ok(Self { settings, open: Some(open), syncer })
    }

    fn fault(&self, step: &'static str, source: io::Error) -> SinkError {
        SinkError::retry(SinkFault::File { path: self.settings.path.clone(), step, source })
    }

    /// Puts the file aside if the next lines make it too long, or if it is too old.
    fn rotate(&mut self, more: u64) -> Result<(), SinkError> {
        let Rotation { max_bytes, max_age, keep } = self.settings.rotation;
        if let Some(open) = &self.open {
            let is_long = max_bytes.is_some_and(|max| open.file.len() > 0 && open.file.len() + more > max);
            let is_old = max_age
                .is_some_and(|max| open.file.len() > 0 && open.begun_at.elapsed().unwrap_or_default() >= max);
            if !is_long && !is_old {
                return Ok(());
            }
            if self.settings.sync != SyncPolicy::Never {
                open.file.file().sync_all().map_err(|source| self.fault("sync", source))?;
            }
            match put_aside(&self.settings.path, Timestamp::now()) {
                Ok(()) => {}
                // Somebody else has put it aside.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.fault("put aside", error)),
            }
            self.open = None;
        }
        if let Some(keep) = keep
            && let Err(error) = remove_old(&self.settings.path, keep)
        {
            // The lines are safe; that too many are kept is for people to see.
            tracing::warn!(%error, path = %self.settings.path.display(), "old files were not removed");
        }
        Ok(())
    }

    fn opened(&mut self) -> Result<&mut Open, SinkError> {
        if self.open.is_none() {
            let opened = open(&self.settings.path).map_err(|error| match error {
                FileSinkError::InUse { .. } => self.fault("lock", io::ErrorKind::ResourceBusy.into()),
                FileSinkError::Io { step, source, .. } => self.fault(step, source),
            })?;
            if let Some(syncer) = &self.syncer {
                let file = opened.file.file().try_clone().map_err(|source| self.fault("open", source))?;
                syncer.follow(file);
            }
            self.open = Some(opened);
        }
        // It was opened above, if it was not open.
        self.open.as_mut().ok_or_else(|| {
            SinkError::retry(SinkFault::File {
                path: PathBuf::new(),
                step: "open",
                source: io::ErrorKind::NotFound.into(),
            })
        })
    }
}

impl Sink for FileSink {
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, SinkError> {
        let lines = batch.to_lines();
        self.rotate(lines.len() as u64)?;
        let sync = self.settings.sync;
        let open = self.opened()?;
        let written = open.file.append(&lines, |file| match sync {
            SyncPolicy::EachBatch => file.sync_data(),
            SyncPolicy::Interval(_) | SyncPolicy::Never => Ok(()),
        });
        written.map_err(|(step, source)| self.fault(step, source))?;
        if let Some(syncer) = &self.syncer {
            syncer.mark();
        }
        Ok(Delivered::All)
    }
}

fn open(path: &Path) -> Result<Open, FileSinkError> {
    let file = LineFile::open(path).map_err(|fault| match fault {
        OpenFault::InUse => FileSinkError::InUse { path: path.to_owned() },
        OpenFault::Io(step, source) => FileSinkError::Io { step, path: path.to_owned(), source },
    })?;
    let now = SystemTime::now();
    let begun_at = match file.file().metadata() {
        // Not every file system knows; then it is as old as this run.
        Ok(metadata) if file.len() > 0 => metadata.created().unwrap_or(now),
        _ => now,
    };
    Ok(Open { file, begun_at })
}

/// Syncs a file at each interval, if anything was written.
#[derive(Debug)]
struct Syncer {
    shared: Arc<(Mutex<ToSync>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct ToSync {
    file: File,
    is_dirty: bool,
    is_over: bool,
}

impl Syncer {
    fn start(file: File, interval: Duration) -> io::Result<Self> {
        let shared = Arc::new((Mutex::new(ToSync { file, is_dirty: false, is_over: false }), Condvar::new()));
        let own = Arc::clone(&shared);
        let run = move || {
            let (state, over) = &*own;
            loop {
                let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = over.wait_timeout_while(state, interval, |state| !state.is_over);
                let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                let is_over = state.is_over;
                if std::mem::take(&mut state.is_dirty) {
                    let file = state.file.try_clone();
                    // Not under the lock: a slow disk is not to hold up what is written meanwhile.
                    drop(state);
                    if let Err(error) = file.and_then(|file| file.sync_data()) {
                        tracing::error!(%error, "what was written to a file may not be on the disk");
                    }
                }
                if is_over {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("aegis-sync".to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn mark(&self) {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).is_dirty = true;
    }

    fn follow(&self, file: File) {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).file = file;
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.shared.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
