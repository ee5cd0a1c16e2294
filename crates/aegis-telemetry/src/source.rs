//! Where events come from: lines of a stream, a file that grows, messages of NATS JetStream.
//!
//! A source remembers what is acknowledged only after the pipeline has acknowledged it: a file's place goes into its
//! checkpoint, and a message is acknowledged to the server, when every sink, or its spool, has the event. So after a kill
//! events may come again, and none is left out.

mod lines;
mod nats;
mod splitter;
mod tail;

pub use lines::LineSource;
pub use nats::{NatsSource, NatsSourceSettings};
pub use tail::{StartAt, TailSettings, TailSource};

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::pipeline::{EmitError, Failure, FlushError, Position, TelemetryPipeline};

/// Brings events into a pipeline.
pub trait Source: Send {
    /// Emits until there are no more events, or until `stop` is asked for; then waits until what it emitted is
    /// acknowledged, at most `drain` long, and notes how far that is.
    ///
    /// # Errors
    ///
    /// A [`SourceError`]. What is acknowledged is noted also then.
    fn run(&mut self, pipeline: &TelemetryPipeline, stop: &Stop, drain: Duration) -> Result<(), SourceError>;
}

/// Asks sources to end. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_asked: AtomicBool,
    lock: Mutex<()>,
    change: Condvar,
}

impl Stop {
    /// Asks; a second time means nothing more.
    pub fn ask(&self) {
        self.0.is_asked.store(true, Ordering::SeqCst);
        drop(self.0.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.change.notify_all();
    }

    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::SeqCst)
    }

    /// Sleeps, unless it is asked for; whether it was.
    pub(crate) fn sleep(&self, how_long: Duration) -> bool {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.change.wait_timeout_while(guard, how_long, |()| !self.is_asked()));
        self.is_asked()
    }
}

/// Why a source ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A stream could not be read.
    #[error("cannot read {name}")]
    Stream {
        /// Which.
        name: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was to be done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The checkpoint could not be read.
    #[error("cannot read the checkpoint")]
    ReadCheckpoint(#[source] aegis_durable::ReadError),
    /// The checkpoint is none. Where to go on from is not known, and not guessed.
    #[error("{} is no checkpoint", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
    },
    /// The checkpoint could not be written.
    #[error("cannot write the checkpoint")]
    WriteCheckpoint(#[source] aegis_durable::WriteError),
    /// The system gave no thread.
    #[error("cannot start a thread for the NATS client")]
    Thread(#[source] io::Error),
    /// The pipeline takes no more.
    #[error("the pipeline takes no more events")]
    Closed,
    /// The pipeline cannot go on.
    #[error("the pipeline cannot go on")]
    Pipeline(#[source] Failure),
    /// Not everything is acknowledged.
    #[error("not everything that was read is acknowledged")]
    Unacknowledged(#[source] FlushError),
}

impl SourceError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Stream { .. } | Self::Thread(_) | Self::Closed => None,
            Self::File { .. } => Some("check the path, and whose file it is".to_owned()),
            Self::ReadCheckpoint(error) => error.help(),
            Self::Checkpoint { path } => Some(format!(
                "move {} away to begin as if for the first time; events may then come twice or be left out",
                path.display()
            )),
            Self::WriteCheckpoint(error) => error.help(),
            Self::Pipeline(_) => Some("see the log".to_owned()),
            Self::Unacknowledged(error) => error.help(),
        }
    }
}

/// Emits an event. `None` for one that is lost by the pipeline's policy, or was refused for its length: both are counted.
fn emit(pipeline: &TelemetryPipeline, event: Vec<u8>) -> Result<Option<Position>, SourceError> {
    // It has its place, so that what was emitted before it is still acknowledged first.
    if event.len() > pipeline.max_event_len() {
        return Ok(Some(pipeline.refuse_unread(event.len() as u64)));
    }
    match pipeline.emit(event) {
        Ok(position) => Ok(Some(position)),
        Err(EmitError::Shed | EmitError::TooLong { .. }) => Ok(None),
        Err(EmitError::Closed) => Err(SourceError::Closed),
        Err(EmitError::Failed(failure)) => Err(SourceError::Pipeline(failure)),
    }
}
