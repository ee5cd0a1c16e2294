//! Dead letters through a pipeline again, when what they were refused for is mended.
//!
//! Before anything is sent, every letter is read and opened once: one that is damaged stops it all. Events that were never
//! sealed go to every sink, as they would have. Events that one sink refused go to that sink alone, under its own name:
//! the others have them. The letters themselves stay where they are.
//!
//! How far they are settled is put down beside them while they are sent. A run that was interrupted, also by a kill, is
//! gone on with by the next one; when all are settled, nothing of that is left.
//!
//! | module | what it holds |
//! |---|---|
//! | `progress` | how far the letters of a file were sent, in a file of its own |
//! | `source` | their events, offered to the pipeline and put down when they are settled |

mod progress;
mod source;

pub use progress::ReplayProgressError;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aegis_crypto::{Digest, Sha256};
use aegis_durable::WriteError;
use aegis_keyring::Keyring;
use aegis_telemetry::WhenQueueFull;
use aegis_telemetry::inlet::Stop;
use rustix::fs::FlockOperation;
use serde::Serialize;

use self::progress::Progress;
use self::source::{Event, LetterSource};
use super::file::{LetterFile, LetterFileError};
use super::letter::{Letter, LetterOrigin};
use super::opener::{LetterContent, LetterOpener, OpenLetterFault};
use crate::configured_pipeline::{ConfiguredPipeline, OpenPipelineError, PipelineCounts, RunPipelineError};
use crate::opened_deks::OpenedDeks;
use crate::pipeline_config::{PipelineConfig, PipelineConfigError};

/// Letters of some files that can all be sent.
#[derive(Debug)]
pub struct Replay {
    /// Open as long as this lives: what somebody puts in their place is not read.
    files: Vec<(PathBuf, File)>,
    /// For each file.
    progress: Arc<Mutex<Vec<Progress>>>,
    deks: Arc<OpenedDeks>,
    tenant: Option<String>,
    sinks: BTreeSet<Option<String>>,
    counts: ReplayCounts,
}

/// What the letters came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayCounts {
    /// Letters that were read.
    pub letters: u64,
    /// Letters whose event was given to the pipeline.
    pub replayed: u64,
    /// Letters whose event was settled by an earlier run, which was interrupted.
    pub sent_before: u64,
    /// Letters without an event in them.
    pub without_event: u64,
    /// Events that were refused again; if the pipeline keeps dead letters, they are there.
    pub refused: u64,
    /// Events that wait in spools, for the pipeline's next run.
    pub spooled: u64,
}

/// How it ended.
#[derive(Debug)]
pub struct ReplayRun {
    /// What the letters came to.
    pub counts: ReplayCounts,
    /// Whether all of it was brought to an end.
    pub ended: Result<(), ReplayError>,
}

/// Why letters are not sent, or not all.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file that cannot be read twice, or at all.
    #[error("cannot read {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A pipe: it is read twice.
    #[error("{} is no regular file", path.display())]
    NotAFile {
        /// What it is not.
        path: PathBuf,
    },
    /// Some pipeline writes to it, so it may grow while it is read; or its letters are being sent already.
    #[error("{} is in use by a pipeline or another replay", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// This very pipeline would add to it while it is read.
    #[error("{} is where this pipeline keeps its dead letters", path.display())]
    OwnLetters {
        /// The file.
        path: PathBuf,
    },
    /// A line is no letter.
    #[error(transparent)]
    File(LetterFileError),
    /// A letter does not open.
    #[error("{}, line {number}", path.display())]
    Letter {
        /// The file.
        path: PathBuf,
        /// The line.
        number: u64,
        /// Why not.
        #[source]
        fault: Box<OpenLetterFault>,
    },
    /// A letter's sink is not in the configuration.
    #[error("{}, line {number}: this pipeline has no sink {sink:?}", path.display())]
    NoSink {
        /// The file.
        path: PathBuf,
        /// The line.
        number: u64,
        /// The sink.
        sink: String,
    },
    /// It is not known how far the letters were sent.
    #[error("cannot tell how far {} was sent", path.display())]
    Progress {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ReplayProgressError,
    },
    /// All are sent, and what says how far they were is still there.
    #[error("all letters were sent, and the next run would not know it")]
    Finish(#[source] WriteError),
    /// The configuration cannot be used, or not any more.
    #[error(transparent)]
    Config(PipelineConfigError),
    /// The pipeline does not start.
    #[error(transparent)]
    Start(Box<OpenPipelineError>),
    /// It did not come to its end.
    #[error(transparent)]
    Run(RunPipelineError),
    /// Somebody said stop.
    #[error("it was told to stop before all were sent")]
    Stopped,
}

impl ReplayError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Open { .. } => None,
            Self::NotAFile { .. } => Some("name the files themselves: they are read twice".to_owned()),
            Self::InUse { .. } => {
                Some("stop that first, and rename the file if a pipeline wrote to it".to_owned())
            }
            Self::OwnLetters { path } => Some(format!(
                "rename it first, while the pipeline does not run: mv {0} {0}.replay",
                path.display()
            )),
            Self::File(error) => error.fault.help(),
            Self::Letter { fault, .. } => fault.help(),
            Self::NoSink { .. } => Some("give one of its sinks that name, or take the letter out".to_owned()),
            Self::Progress { source, .. } => source.help(),
            Self::Finish(error) => error.help(),
            Self::Config(error) => error.help(),
            Self::Start(error) => error.help(),
            Self::Run(error) => error.help(),
            Self::Stopped => Some("run it again: it goes on after what was sent".to_owned()),
        }
    }
}

impl Replay {
    /// Reads and opens every letter, and sends nothing yet. `tenant` is that of letters of `aegis pii encrypt`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with any of them.
    pub fn prepare(
        paths: &[PathBuf],
        config: &PipelineConfig,
        deks: Arc<OpenedDeks>,
        tenant: Option<String>,
    ) -> Result<Self, ReplayError> {
        let own = config.dead_letters.as_ref().and_then(|(path, _)| std::fs::metadata(path).ok());
        let own = own.map(|own| (own.dev(), own.ino()));
        let (mut files, mut progress) = (Vec::new(), Vec::new());
        for path in paths {
            let file = open(path, own)?;
            let digest = digest(path, &file)?;
            progress.push(
                Progress::read(path, digest)
                    .map_err(|source| ReplayError::Progress { path: path.clone(), source })?,
            );
            files.push((path.clone(), file));
        }
        let mut replay = Self {
            files,
            progress: Arc::default(),
            deks,
            tenant,
            sinks: BTreeSet::new(),
            counts: ReplayCounts::default(),
        };
        let mut opener = replay.opener();
        for ((path, file), progress) in replay.files.iter().zip(&progress) {
            for letter in letters(path, file)? {
                let letter = letter.map_err(ReplayError::File)?;
                replay.counts.letters += 1;
                let (number, letter) = letter;
                let at = || (path.clone(), number);
                let sink = sink_of(&letter);
                if let Some(sink) = sink.filter(|sink| config.sinks.iter().all(|known| known.name != *sink)) {
                    let (path, number) = at();
                    return Err(ReplayError::NoSink { path, number, sink: sink.to_owned() });
                }
                match opener.open(&letter) {
                    Ok(LetterContent::Nothing) => replay.counts.without_event += 1,
                    Ok(LetterContent::Event(_) | LetterContent::SealedEvent(_))
                        if progress.has(sink, number) =>
                    {
                        replay.counts.sent_before += 1;
                    }
                    Ok(LetterContent::Event(_) | LetterContent::SealedEvent(_)) => {
                        replay.sinks.insert(sink.map(str::to_owned));
                    }
                    Err(fault) => {
                        let (path, number) = at();
                        return Err(ReplayError::Letter { path, number, fault: Box::new(fault) });
                    }
                }
            }
        }
        replay.progress = Arc::new(Mutex::new(progress));
        Ok(replay)
    }

    /// What was found so far.
    pub const fn counts(&self) -> &ReplayCounts {
        &self.counts
    }

    /// Sends them, until all are settled or `stop` is set. `configure` reads the configuration, once for each group of
    /// letters.
    pub fn run(
        self,
        keyring: Option<&Keyring>,
        stop: &Stop,
        configure: impl Fn() -> Result<PipelineConfig, PipelineConfigError>,
    ) -> ReplayRun {
        let mut counts = self.counts.clone();
        for sink in &self.sinks {
            let ended = self.run_group(sink.as_deref(), keyring, stop, &configure, &mut counts);
            if ended.is_err() {
                return ReplayRun { counts, ended };
            }
        }
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = progress.iter().try_for_each(Progress::remove).map_err(ReplayError::Finish);
        ReplayRun { counts, ended }
    }

    fn run_group(
        &self,
        sink: Option<&str>,
        keyring: Option<&Keyring>,
        stop: &Stop,
        configure: impl Fn() -> Result<PipelineConfig, PipelineConfigError>,
        counts: &mut ReplayCounts,
    ) -> Result<(), ReplayError> {
        let mut config = configure().map_err(ReplayError::Config)?;
        if let Some(sink) = sink {
            config.sinks.retain(|known| known.name == sink);
        }
        // What is read from a file can wait, and what was given up here would have been put down as sent.
        config.settings.when_full = WhenQueueFull::Block;
        // The service may be asked for its metrics at the same address.
        config.metrics = None;
        let fault: Arc<Mutex<Option<ReplayError>>> = Arc::default();
        let mut files = Vec::new();
        for (path, file) in &self.files {
            files.push((path.clone(), letters(path, file)?));
        }
        let events = Events {
            files: files.into_iter().enumerate(),
            now: None,
            progress: Arc::clone(&self.progress),
            sink: sink.map(str::to_owned),
            opener: self.opener(),
            fault: Arc::clone(&fault),
        };
        let sink_name = sink.map(str::to_owned);
        let source = Box::new(LetterSource::new(events, sink_name, Arc::clone(&self.progress)));
        let pipeline = ConfiguredPipeline::open_from(keyring, config, source)
            .map_err(|error| ReplayError::Start(Box::new(error)))?;
        tracing::info!(sink, "sending dead letters again");
        let run = pipeline.run(stop, || ());
        let PipelineCounts { events, refused, lost: _, sinks, .. } = run.counts;
        counts.replayed += events;
        counts.refused += refused;
        counts.spooled += sinks.iter().map(|sink| sink.spooled).sum::<u64>();
        if let Some(fault) = fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault);
        }
        match run.ended.map_err(ReplayError::Run)? {
            aegis_telemetry::inlet::Ended::Input => Ok(()),
            aegis_telemetry::inlet::Ended::Stopped => Err(ReplayError::Stopped),
        }
    }

    fn opener(&self) -> LetterOpener {
        LetterOpener::new(Arc::clone(&self.deks), self.tenant.clone())
    }
}

fn sink_of(letter: &Letter) -> Option<&str> {
    match &letter.origin {
        LetterOrigin::Pipeline { sink, .. } => sink.as_deref(),
        LetterOrigin::Stream { .. } => None,
    }
}

/// Opens a file that nobody writes to or sends, and keeps it so as long as it is open.
fn open(path: &Path, own: Option<(u64, u64)>) -> Result<File, ReplayError> {
    let failed = |source| ReplayError::Open { path: path.to_owned(), source };
    // A FIFO would be waited for.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(ReplayError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if own == Some((metadata.dev(), metadata.ino())) {
        return Err(ReplayError::OwnLetters { path: path.to_owned() });
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ReplayError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// The letters of an open file, from its start, each with its line.
fn letters(
    path: &Path,
    file: &File,
) -> Result<impl Iterator<Item = Result<(u64, Letter), LetterFileError>> + Send + use<>, ReplayError> {
    let failed = |source| ReplayError::Open { path: path.to_owned(), source };
    let mut file = LetterFile::of(path, AtPosition { file: file.try_clone().map_err(failed)?, at: 0 })
        .map_err(failed)?;
    Ok(std::iter::from_fn(move || {
        let letter = file.next()?;
        Some(letter.map(|letter| (file.number(), letter)))
    }))
}

/// Reads a file from its start, whatever else reads it.
struct AtPosition {
    file: File,
    at: u64,
}

impl io::Read for AtPosition {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(&self.file, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Of all bytes of a file, by which its letters are told from others.
fn digest(path: &Path, file: &File) -> Result<Digest, ReplayError> {
    let failed = |source| ReplayError::Open { path: path.to_owned(), source };
    let mut reader = AtPosition { file: file.try_clone().map_err(failed)?, at: 0 };
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match io::Read::read(&mut reader, &mut buffer) {
            Ok(0) => return Ok(digest.finish()),
            Ok(read) => digest.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// The events of one group, opened when their turn comes.
struct Events<F, L> {
    files: F,
    now: Option<(usize, PathBuf, L)>,
    sink: Option<String>,
    progress: Arc<Mutex<Vec<Progress>>>,
    opener: LetterOpener,
    /// Why there are no more: a letter was good a moment ago, and is not now.
    fault: Arc<Mutex<Option<ReplayError>>>,
}

impl<F, L> Events<F, L>
where
    F: Iterator<Item = (usize, (PathBuf, L))>,
    L: Iterator<Item = Result<(u64, Letter), LetterFileError>>,
{
    fn give_up(&self, error: ReplayError) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Whether an earlier run has settled it. What this run settles comes before what it has yet to send.
    fn was_sent(&self, file: usize, line: u64) -> bool {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.get(file).is_some_and(|progress| progress.has(self.sink.as_deref(), line))
    }
}

impl<F, L> Iterator for Events<F, L>
where
    F: Iterator<Item = (usize, (PathBuf, L))>,
    L: Iterator<Item = Result<(u64, Letter), LetterFileError>>,
{
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let Some((file, path, letters)) = &mut self.now else {
                let (number, (path, letters)) = self.files.next()?;
                self.now = Some((number, path, letters));
                continue;
            };
            let file = *file;
            let (line, letter) = match letters.next() {
                None => {
                    self.now = None;
                    continue;
                }
                Some(Ok(letter)) => letter,
                Some(Err(error)) => {
                    self.give_up(ReplayError::File(error));
                    return None;
                }
            };
            let path = path.clone();
            if sink_of(&letter) != self.sink.as_deref() || self.was_sent(file, line) {
                continue;
            }
            match self.opener.open(&letter) {
                Ok(LetterContent::Nothing) => {}
                Ok(LetterContent::Event(event)) => return Some(Event { file, line, event: event.to_vec() }),
                Ok(LetterContent::SealedEvent(event)) => return Some(Event { file, line, event }),
                Err(fault) => {
                    self.give_up(ReplayError::Letter { path, number: line, fault: Box::new(fault) });
                    return None;
                }
            }
        }
    }
}
