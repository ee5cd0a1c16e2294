//! A line an event from a file that others add to.
//!
//! A file that is put aside under another name is read to its end before the new one is begun; one that was put aside
//! while nobody read is found again in its directory by its inode. A file that became shorter is begun anew.

use std::collections::VecDeque;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::splitter::{Line, Splitter};
use super::{Source, SourceError, Stop, emit};
use crate::pipeline::{Position, TelemetryPipeline};

/// How often a file is looked at that has nothing new.
const LOOK: Duration = Duration::from_millis(100);
/// How often the checkpoint is written while events flow.
const NOTE: Duration = Duration::from_secs(1);
const BLOCK: usize = 64 * 1024;
const MAX_CHECKPOINT: u64 = 4096;

/// Which file, and where its checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailSettings {
    /// The file. It need not be there yet.
    pub path: PathBuf,
    /// A file of our own, mode 0600, with how far all is acknowledged.
    pub checkpoint: PathBuf,
    /// Where to begin without a checkpoint.
    pub from: StartAt,
    /// Whether to wait for more at the end, or to end there.
    pub follow: bool,
    /// The longest line that is taken.
    pub max_event_len: usize,
}

/// Where to begin in a file that was never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With its first line.
    #[default]
    Beginning,
    /// With what is added from now on.
    End,
}

/// Reads a file, and what takes its place.
#[derive(Debug)]
pub struct TailSource {
    settings: TailSettings,
    open: Option<Open>,
    /// Lines that were emitted and not yet noted, and where each ends.
    pending: VecDeque<(Position, Place)>,
    noted: Option<Place>,
    noted_at: Instant,
}

#[derive(Debug)]
struct Open {
    file: File,
    id: FileId,
    /// Where the next block is read.
    at: u64,
    splitter: Splitter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileId {
    dev: u64,
    ino: u64,
}

/// How far, in the form of a checkpoint: `{"file":{"dev":1,"ino":2},"offset":3}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    file: FileId,
    offset: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self { dev: metadata.dev(), ino: metadata.ino() }
    }
}

impl TailSource {
    /// Reads the checkpoint, and finds the file that it speaks of.
    ///
    /// # Errors
    ///
    /// A [`SourceError`], also if the checkpoint is damaged.
    pub fn open(settings: TailSettings) -> Result<Self, SourceError> {
        let place = read_checkpoint(&settings.checkpoint)?;
        let mut source =
            Self { settings, open: None, pending: VecDeque::new(), noted: place, noted_at: Instant::now() };
        match place {
            Some(place) => source.resume(place)?,
            None => source.begin()?,
        }
        Ok(source)
    }

    fn failed(&self, step: &'static str, source: io::Error) -> SourceError {
        SourceError::File { step, path: self.settings.path.clone(), source }
    }

    /// Opens what has the name now, at its beginning.
    fn open_named(&mut self) -> Result<(), SourceError> {
        match open_file(&self.settings.path) {
            Ok(Some((file, metadata))) => {
                let (id, splitter) = (FileId::of(&metadata), Splitter::new(self.settings.max_event_len));
                self.open = Some(Open { file, id, at: 0, splitter });
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(self.failed("open", error)),
        }
    }

    /// Without a checkpoint.
    fn begin(&mut self) -> Result<(), SourceError> {
        self.open_named()?;
        if self.settings.from == StartAt::End
            && let Some(open) = &mut self.open
        {
            let len = open.file.metadata().map(|metadata| metadata.len());
            let at = len.map_err(|source| SourceError::File {
                step: "read",
                path: self.settings.path.clone(),
                source,
            })?;
            open.at = at;
            // What is there now is passed over, also after a restart before anything was added.
            let place = Place { file: open.id, offset: at };
            self.note(place)?;
        }
        Ok(())
    }

    /// Where a checkpoint says.
    fn resume(&mut self, place: Place) -> Result<(), SourceError> {
        let found = self.find(place.file).map_err(|error| self.failed("look for", error))?;
        match found {
            Some((file, metadata)) if metadata.len() >= place.offset => {
                let splitter = Splitter::new(self.settings.max_event_len);
                self.open = Some(Open { file, id: place.file, at: place.offset, splitter });
                Ok(())
            }
            _ => {
                tracing::warn!(
                    path = %self.settings.path.display(),
                    "the file that was read last is gone or shorter than it was: the one of its name is read from its beginning"
                );
                self.open_named()
            }
        }
    }

    /// The file with an inode: the one of the name, or one beside it that was put aside.
    fn find(&self, wanted: FileId) -> io::Result<Option<(File, Metadata)>> {
        let own = open_file(&self.settings.path)?;
        if own.as_ref().is_some_and(|(_, metadata)| FileId::of(metadata) == wanted) {
            return Ok(own);
        }
        let parent = match self.settings.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        for entry in std::fs::read_dir(parent)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() && FileId::of(&metadata) == wanted {
                // Opened by name: it may be another one by now.
                let opened = open_file(&entry.path())?;
                return Ok(opened.filter(|(_, metadata)| FileId::of(metadata) == wanted));
            }
        }
        Ok(None)
    }

    /// Emits what is there. Whether there was anything.
    fn read_on(&mut self, pipeline: &TelemetryPipeline, block: &mut [u8]) -> Result<bool, SourceError> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let read = open.file.read_at(block, open.at).map_err(|source| SourceError::File {
            step: "read",
            path: self.settings.path.clone(),
            source,
        })?;
        let mut rest = block.get(..read).unwrap_or_default();
        while let Some(line) = open.splitter.next(&mut rest) {
            let offset = open.at + (read - rest.len()) as u64;
            let place = Place { file: open.id, offset };
            take(pipeline, line, place, &mut self.pending)?;
        }
        open.at += read as u64;
        Ok(read > 0)
    }

    /// The file has no more for now. Goes on to the one that has taken its place; whether there is one.
    fn turn_over(&mut self, pipeline: &TelemetryPipeline, block: &mut [u8]) -> Result<bool, SourceError> {
        let named = match std::fs::metadata(&self.settings.path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.failed("look at", error)),
        };
        let (Some(named), Some(open)) = (named, &self.open) else {
            let is_new = self.open.is_none();
            if is_new {
                self.open_named()?;
            }
            return Ok(is_new && self.open.is_some());
        };
        if FileId::of(&named) == open.id {
            if named.len() >= open.at {
                return Ok(false);
            }
            tracing::warn!(path = %self.settings.path.display(), "the file is shorter than it was: it is read from its beginning");
        } else {
            // Whoever wrote to it may have written until it was put aside.
            while self.read_on(pipeline, block)? {}
            self.end_file(pipeline)?;
        }
        self.open = None;
        self.open_named()?;
        Ok(true)
    }

    /// Nobody will add to the file: a last line without its line feed is a line.
    fn end_file(&mut self, pipeline: &TelemetryPipeline) -> Result<(), SourceError> {
        if let Some(open) = &mut self.open
            && let Some(line) = open.splitter.end()
        {
            take(pipeline, line, Place { file: open.id, offset: open.at }, &mut self.pending)?;
        }
        Ok(())
    }

    /// Writes down how far everything is acknowledged.
    fn note_acknowledged(&mut self, acknowledged: Position) -> Result<(), SourceError> {
        let mut place = None;
        while let Some((_, done)) = self.pending.pop_front_if(|(position, _)| *position <= acknowledged) {
            place = Some(done);
        }
        self.noted_at = Instant::now();
        match place {
            Some(place) if self.noted != Some(place) => self.note(place),
            _ => Ok(()),
        }
    }

    fn note(&mut self, place: Place) -> Result<(), SourceError> {
        let text = serde_json::to_vec(&place).expect("four numbers");
        aegis_durable::write_atomic(&self.settings.checkpoint, &text, 0o600)
            .map_err(SourceError::WriteCheckpoint)?;
        self.noted = Some(place);
        Ok(())
    }

    fn pump(&mut self, pipeline: &TelemetryPipeline, stop: &Stop) -> Result<(), SourceError> {
        let mut block = vec![0; BLOCK];
        while !stop.is_asked() {
            let has_read = self.read_on(pipeline, &mut block)? || self.turn_over(pipeline, &mut block)?;
            if !has_read && !self.settings.follow {
                return self.end_file(pipeline);
            }
            if self.noted_at.elapsed() >= NOTE {
                self.note_acknowledged(pipeline.acknowledged())?;
            }
            if !has_read {
                stop.sleep(LOOK);
            }
        }
        Ok(())
    }
}

impl Source for TailSource {
    fn run(&mut self, pipeline: &TelemetryPipeline, stop: &Stop, drain: Duration) -> Result<(), SourceError> {
        let pumped = self.pump(pipeline, stop);
        let flushed = pipeline.flush(drain).map(drop).map_err(SourceError::Unacknowledged);
        let noted = self.note_acknowledged(pipeline.acknowledged());
        pumped.and(flushed).and(noted)
    }
}

fn take(
    pipeline: &TelemetryPipeline,
    line: Line,
    place: Place,
    pending: &mut VecDeque<(Position, Place)>,
) -> Result<(), SourceError> {
    let position = match line {
        Line::Whole(line) if line.trim_ascii().is_empty() => None,
        Line::Whole(line) => emit(pipeline, line)?,
        Line::TooLong(len) => Some(pipeline.refuse_unread(len)),
    };
    match (position, pending.back_mut()) {
        (Some(position), _) => pending.push_back((position, place)),
        // Nothing to wait for: it is done with what stands before it.
        (None, Some((_, last))) => *last = place,
        (None, None) => pending.push_back((pipeline.acknowledged(), place)),
    }
    Ok(())
}

fn open_file(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    aegis_durable::check_regular(&metadata, path).map_err(io::Error::other)?;
    Ok(Some((file, metadata)))
}

fn read_checkpoint(path: &Path) -> Result<Option<Place>, SourceError> {
    let bytes = aegis_durable::read_state(path, MAX_CHECKPOINT).map_err(SourceError::ReadCheckpoint)?;
    let Some(bytes) = bytes else { return Ok(None) };
    let place = serde_json::from_slice(&bytes);
    place.map(Some).map_err(|_| SourceError::Checkpoint { path: path.to_owned() })
}
