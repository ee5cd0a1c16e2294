//! Lines of a file that others write to, through every rotation.
//!
//! | what happens to the file | what is done |
//! |---|---|
//! | it grows | whole lines are handed over; half a line waits for its end |
//! | it is renamed, and a new one has its name | the old one is read to its end, then those between, then the new one |
//! | it is cut off (`copytruncate`), or written anew | reading begins at its start |
//! | it is not there | it is waited for |
//! | it was renamed while nobody read | it is found by its inode beside the name, and read from where reading ended |
//!
//! The position is in a state file, by device, inode, time of birth and offset, and it is moved only behind events that are
//! acknowledged. After a kill the events behind the position come again: at least once, none lost. What `copytruncate`
//! throws away before it was read, and what was compressed or removed before, nobody can read; the log says so.

mod position;
mod siblings;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::lines::{Line, Lines};
use super::{Ended, Intake, Offered, ROOM_WAIT, Source, SourceError, Unacknowledged};
use crate::line_file::Locked;
use crate::pipeline::TelemetryPipeline;
use position::{FileId, Mark};
use siblings::{Finished, Seen};

/// Bytes that are read at once.
const BLOCK: usize = 64 * 1024;
/// Bytes before the position by which a file is known again.
const RECENT: usize = 64;
/// How often the position is written, if it moved.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);

/// What is followed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailSettings {
    /// The file. It need not be there yet.
    pub path: PathBuf,
    /// Where the position is kept, mode 0600. One pipeline each; `NAME.lock` beside it says so.
    pub state: PathBuf,
    /// Where reading begins if there is no position yet.
    pub start_at: StartAt,
    /// How often it is looked for more, at the end of the file.
    pub poll: Duration,
    /// How long a file that was renamed has to be quiet before reading goes on with the next: its writer may not have
    /// noticed yet.
    pub rotate_wait: Duration,
}

impl TailSettings {
    /// From the start of a file, looking for more five times a second.
    pub fn of(path: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            state: state.into(),
            start_at: StartAt::Start,
            poll: Duration::from_millis(200),
            rotate_wait: Duration::from_secs(5),
        }
    }
}

/// Where reading begins if there is no position yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With what is there.
    #[default]
    Start,
    /// With what comes.
    End,
}

/// Why a file cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FileTailError {
    /// Another process has the position.
    #[error("the position {} is in use", path.display())]
    InUse {
        /// The state file.
        path: PathBuf,
    },
    /// The state file is not one of ours, or damaged.
    #[error("{} holds no position of a file", path.display())]
    BadState {
        /// The state file.
        path: PathBuf,
    },
    /// The state file cannot be read.
    #[error("cannot read the position")]
    ReadState(#[source] aegis_durable::ReadError),
    /// The state file cannot be written.
    #[error("cannot put down the position")]
    WriteState(#[source] aegis_durable::WriteError),
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
    /// It is a directory, a pipe, or something else that has no end to read up to.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
}

impl FileTailError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::InUse { .. } => "give each pipeline a state file of its own".to_owned(),
            Self::BadState { path } => format!(
                "move {} away to begin with the whole file, which gives events once more",
                path.display()
            ),
            Self::ReadState(error) => return error.help(),
            Self::WriteState(error) => return error.help(),
            Self::Io { .. } => "check the path, and whose file it is".to_owned(),
            Self::NotAFile { .. } => "name the file that is written to".to_owned(),
        })
    }
}

/// Follows one file.
#[derive(Debug)]
pub struct FileTail {
    settings: TailSettings,
    _lock: Locked,
    open: Option<OpenFile>,
    unacknowledged: Unacknowledged<Mark>,
    /// The position as it is in the state file.
    saved: Option<Mark>,
    /// What is acknowledged, and not yet in the state file.
    reached: Option<Mark>,
    saved_at: Instant,
    finished: Finished,
    has_begun: bool,
    /// It was said that a file is gone.
    has_missed: bool,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    id: FileId,
    /// Where the next block begins.
    read: u64,
    /// Behind the last whole line that was handed over.
    taken: u64,
    lines: Lines,
    /// What stands before `read`, as it was read.
    recent: Vec<u8>,
    quiet_since: Instant,
}

/// What became of a block.
enum Step {
    More,
    End,
    /// It is shorter than it was, or has something else in it.
    Rewritten,
    Stopped,
}

impl FileTail {
    /// Reads the position. The file itself is opened by [`run`](Source::run).
    ///
    /// # Errors
    ///
    /// A [`FileTailError`].
    pub fn open(settings: TailSettings) -> Result<Self, FileTailError> {
        let lock = lock(&settings.state)?;
        let saved = Mark::read(&settings.state)?;
        Ok(Self {
            settings,
            _lock: lock,
            open: None,
            unacknowledged: Unacknowledged::new(),
            saved,
            reached: None,
            saved_at: Instant::now(),
            finished: Finished::default(),
            has_begun: false,
            has_missed: false,
        })
    }

    /// Opens the file where reading ended, or the next one.
    fn begin(&mut self, max_len: usize) -> Result<(), SourceError> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let Some(mark) = self.saved.clone() else {
            let Some(mut open) = OpenFile::open(&self.settings.path, max_len)? else { return Ok(()) };
            if is_first && self.settings.start_at == StartAt::End {
                let end = open.end_of_lines()?;
                open.seek(end)?;
            }
            // From here on nothing is passed over, also if this process is killed before the first event is settled, and
            // the file renamed before the next one reads it.
            self.reached = Some(open.mark());
            self.save()?;
            self.open = Some(open);
            return Ok(());
        };
        let path = &self.settings.path;
        let Some(seen) = siblings::snapshot(path)? else { return Ok(()) };
        if let Some(found) = seen.iter().find(|seen| seen.id.is(&mark.file)) {
            let Some(mut open) = OpenFile::open_as(found, max_len)? else { return Ok(()) };
            if open.ends_a_line_at(mark.offset)? {
                open.seek(mark.offset)?;
            } else {
                tracing::warn!(path = %found.path.display(), "the file was written anew, and is read from its start");
            }
            self.open = Some(open);
            return Ok(());
        }
        let next = siblings::next(path, &mark.file, None, &self.finished)?;
        if !std::mem::replace(&mut self.has_missed, true) {
            tracing::error!(
                path = %path.display(), offset = mark.offset,
                "the file that was read last is gone; what it held behind this offset was not read"
            );
        }
        if let Some(next) = next {
            self.open = OpenFile::open_as(&next, max_len)?;
        }
        Ok(())
    }

    /// Hands over what is behind the position, at most a block.
    fn step(&mut self, intake: &mut Intake<'_>) -> Result<Step, SourceError> {
        let Some(open) = &mut self.open else { return Ok(Step::End) };
        let len = open.len()?;
        if len < open.read || !open.is_as_it_was()? {
            return Ok(Step::Rewritten);
        }
        if len == open.read {
            return Ok(Step::End);
        }
        let block = open.read_block()?;
        if block.is_empty() {
            return Ok(Step::End);
        }
        open.quiet_since = Instant::now();
        let mut rest = block.as_slice();
        loop {
            let Some(open) = &mut self.open else { return Ok(Step::End) };
            let before = rest.len();
            let line = open.lines.next(rest);
            let Some((line, behind)) = line else {
                open.read += before as u64;
                open.remember(rest);
                return Ok(Step::More);
            };
            let line_bytes = rest.get(..before - behind.len()).unwrap_or_default();
            open.read += line_bytes.len() as u64;
            open.remember(line_bytes);
            rest = behind;
            open.taken = open.read;
            let mark = open.mark();
            if !self.hand_over(intake, line, mark)? {
                return Ok(Step::Stopped);
            }
        }
    }

    /// Whether it was handed over; not if it was told to stop.
    fn hand_over(&mut self, intake: &mut Intake<'_>, line: Line, mark: Mark) -> Result<bool, SourceError> {
        let mut event = match line {
            Line::Blank => {
                self.unacknowledged.put(intake.last(), mark);
                return Ok(true);
            }
            Line::TooLong(len) => {
                let position = intake.refuse_unread(len);
                self.unacknowledged.put(position, mark);
                return Ok(true);
            }
            Line::Whole(event) => event,
        };
        loop {
            match intake.offer(event)? {
                Offered::At(position) => {
                    self.unacknowledged.put(position, mark);
                    return Ok(true);
                }
                Offered::Shed => return Ok(true),
                Offered::Full(back) => {
                    event = back;
                    self.remember_now_and_then(intake.pipeline())?;
                    if intake.stop().wait(ROOM_WAIT) {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Goes on with the file after this one, if there is one and this one is quiet. Whether it did.
    fn turn(&mut self, intake: &mut Intake<'_>) -> Result<bool, SourceError> {
        let Some(open) = &self.open else { return Ok(false) };
        if open.quiet_since.elapsed() < self.settings.rotate_wait {
            return Ok(false);
        }
        let Some(next) =
            siblings::next(&self.settings.path, &open.id, Some(open.modified()?), &self.finished)?
        else {
            return Ok(false);
        };
        let max_len = intake.max_event_len();
        let Some(opened) = OpenFile::open_as(&next, max_len)? else { return Ok(false) };
        // Nobody will end its last line any more.
        if let Some(open) = &mut self.open
            && open.lines.begun_len() > 0
        {
            let line = open.lines.end();
            open.taken = open.read;
            let mark = open.mark();
            if !self.hand_over(intake, line, mark)? {
                self.open = None;
                return Ok(false);
            }
        }
        tracing::info!(path = %next.path.display(), "reading goes on with another file");
        self.unacknowledged.put(intake.last(), opened.mark());
        if let Some(old) = self.open.replace(opened) {
            self.finished.put(old.id);
        }
        Ok(true)
    }

    fn begin_anew(&mut self, intake: &Intake<'_>) -> Result<(), SourceError> {
        if let Some(open) = &mut self.open {
            tracing::warn!(path = %open.path.display(), "the file was cut off or written anew, and is read from its start");
            open.lines = Lines::new(intake.max_event_len());
            open.seek(0)?;
            self.unacknowledged.put(intake.last(), open.mark());
        }
        Ok(())
    }

    fn remember_now_and_then(&mut self, pipeline: &TelemetryPipeline) -> Result<(), SourceError> {
        if self.saved_at.elapsed() < SAVE_INTERVAL {
            return Ok(());
        }
        self.saved_at = Instant::now();
        self.remember(pipeline)
    }

    fn save(&mut self) -> Result<(), FileTailError> {
        if let Some(mark) = self.reached.take() {
            if self.saved.as_ref() != Some(&mark) {
                mark.write(&self.settings.state)?;
            }
            self.saved = Some(mark);
        }
        Ok(())
    }
}

impl Source for FileTail {
    fn run(&mut self, intake: &mut Intake<'_>) -> Result<Ended, SourceError> {
        while !intake.stop().is_set() {
            self.remember_now_and_then(intake.pipeline())?;
            if self.open.is_none() {
                self.begin(intake.max_event_len())?;
                if self.open.is_none() {
                    intake.stop().wait(self.settings.poll);
                    continue;
                }
            }
            match self.step(intake)? {
                Step::More => {}
                Step::Rewritten => self.begin_anew(intake)?,
                Step::End => {
                    if !self.turn(intake)? {
                        intake.stop().wait(self.settings.poll);
                    }
                }
                Step::Stopped => break,
            }
        }
        Ok(Ended::Stopped)
    }

    fn remember(&mut self, pipeline: &TelemetryPipeline) -> Result<(), SourceError> {
        let acknowledged = pipeline.acknowledged();
        while let Some(mark) = self.unacknowledged.take(acknowledged) {
            self.reached = Some(mark);
        }
        Ok(self.save()?)
    }
}

impl OpenFile {
    /// `None` if there is no such file.
    fn open(path: &Path, max_len: usize) -> Result<Option<Self>, FileTailError> {
        let failed = |step, source| FileTailError::Io { step, path: path.to_owned(), source };
        // Nothing is waited for, such as the other end of a pipe.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", error)),
        };
        let metadata = file.metadata().map_err(|error| failed("open", error))?;
        if !metadata.is_file() {
            return Err(FileTailError::NotAFile { path: path.to_owned() });
        }
        Ok(Some(Self {
            file,
            path: path.to_owned(),
            id: FileId::of(&metadata),
            read: 0,
            taken: 0,
            lines: Lines::new(max_len),
            recent: Vec::new(),
            quiet_since: Instant::now(),
        }))
    }

    /// A file that was seen under a name; `None` if another one has it by now.
    fn open_as(seen: &Seen, max_len: usize) -> Result<Option<Self>, FileTailError> {
        Ok(Self::open(&seen.path, max_len)?.filter(|open| open.id.is(&seen.id)))
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(io::Error) -> FileTailError {
        let path = self.path.clone();
        move |source| FileTailError::Io { step, path, source }
    }

    fn len(&self) -> Result<u64, FileTailError> {
        Ok(self.file.metadata().map_err(self.failed("read"))?.len())
    }

    fn modified(&self) -> Result<std::time::SystemTime, FileTailError> {
        self.file.metadata().and_then(|metadata| metadata.modified()).map_err(self.failed("read"))
    }

    fn mark(&self) -> Mark {
        Mark { file: self.id.clone(), offset: self.taken }
    }

    fn seek(&mut self, offset: u64) -> Result<(), FileTailError> {
        (self.read, self.taken) = (offset, offset);
        let len = usize::try_from(offset).unwrap_or(usize::MAX).min(RECENT);
        self.recent = self.read_before(len)?;
        Ok(())
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.recent.extend_from_slice(bytes.get(bytes.len().saturating_sub(RECENT)..).unwrap_or_default());
        let surplus = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..surplus);
    }

    /// Whether what was read last is still what stands there.
    fn is_as_it_was(&self) -> Result<bool, FileTailError> {
        Ok(self.read_before(self.recent.len())? == self.recent)
    }

    fn read_before(&self, len: usize) -> Result<Vec<u8>, FileTailError> {
        let mut bytes = vec![0; len];
        match self.file.read_exact_at(&mut bytes, self.read - len as u64) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    fn read_block(&self) -> Result<Vec<u8>, FileTailError> {
        let mut block = vec![0; BLOCK];
        loop {
            match self.file.read_at(&mut block, self.read) {
                Ok(len) => {
                    block.truncate(len);
                    return Ok(block);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read")(error)),
            }
        }
    }

    /// Whether a line ends before `offset`, which is not behind the end of the file.
    fn ends_a_line_at(&self, offset: u64) -> Result<bool, FileTailError> {
        let Some(before) = offset.checked_sub(1) else { return Ok(true) };
        let mut byte = [0];
        match self.file.read_exact_at(&mut byte, before) {
            // A file that was finished may have had no line feed at its end.
            Ok(()) => Ok(byte == *b"\n" || offset == self.len()?),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    /// Behind the last line feed.
    fn end_of_lines(&self) -> Result<u64, FileTailError> {
        let mut end = self.len()?;
        let mut block = vec![0; BLOCK];
        while end > 0 {
            let start = end.saturating_sub(BLOCK as u64);
            let part = block.get_mut(..usize::try_from(end - start).unwrap_or(BLOCK)).unwrap_or_default();
            self.file.read_exact_at(part, start).map_err(self.failed("read"))?;
            if let Some(at) = memchr::memrchr(b'\n', part) {
                return Ok(start + at as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }
}

fn lock(state: &Path) -> Result<Locked, FileTailError> {
    let mut name = state.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let failed = |step, source| FileTailError::Io { step, path: path.clone(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(&path)
        .map_err(|source| failed("open", source))?;
    let locked = Locked::try_lock(file).map_err(|source| failed("lock", source))?;
    locked.ok_or_else(|| FileTailError::InUse { path: state.to_owned() })
}
