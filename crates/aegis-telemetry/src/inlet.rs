//! Where events come from. A source remembers what it has handed over only when it is acknowledged.
//!
//! [`Source::run`] reads and offers events to an [`Intake`] until the input ends or [`Stop`] is set. Then the caller flushes
//! the pipeline, and [`Source::remember`] puts down how far events are acknowledged: in a file of positions, or by
//! acknowledging messages. What was not put down comes again with the next run, so that nothing is lost to a kill.

mod iter;
mod lines;
mod nats;
mod stdin;
mod stop;
mod tail;

pub use iter::IterSource;
#[cfg(feature = "nats")]
pub use nats::NatsSource;
pub use nats::{NatsSourceError, NatsSourceSettings};
pub use stdin::{ReaderSource, StdinError};
pub use stop::Stop;
pub use tail::{FileTail, FileTailError, StartAt, TailSettings};

use std::time::Duration;

use crate::pipeline::{EmitError, Failure, PipelineSettings, Position, TelemetryPipeline, WhenQueueFull};

/// How long a source waits before it looks again whether the queue has room.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// Reads events from somewhere.
pub trait Source: Send {
    /// Reads and offers events until there are no more, or until it is told to stop.
    ///
    /// # Errors
    ///
    /// A [`SourceError`].
    fn run(&mut self, intake: &mut Intake<'_>) -> Result<Ended, SourceError>;

    /// Puts down how far events are acknowledged.
    ///
    /// # Errors
    ///
    /// A [`SourceError`]; events that were acknowledged come again.
    fn remember(&mut self, pipeline: &TelemetryPipeline) -> Result<(), SourceError>;
}

/// Why a source does not read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing more to come.
    Input,
    /// It was told to stop.
    Stopped,
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The standard input, or another stream.
    #[error(transparent)]
    Stdin(#[from] StdinError),
    /// A file that is followed.
    #[error(transparent)]
    Tail(#[from] FileTailError),
    /// NATS.
    #[error(transparent)]
    Nats(#[from] NatsSourceError),
    /// How far events are acknowledged cannot be put down.
    #[error("cannot put down how far events are acknowledged")]
    Remember(#[source] aegis_durable::WriteError),
    /// The pipeline takes nothing any more.
    #[error("the pipeline takes no more events")]
    Pipeline(#[source] Failure),
    /// The pipeline was closed by somebody else.
    #[error("the pipeline is closed")]
    Closed,
}

impl SourceError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Stdin(error) => error.help(),
            Self::Tail(error) => error.help(),
            Self::Nats(error) => error.help(),
            Self::Remember(error) => error.help(),
            Self::Pipeline(Failure::SinkGone { .. }) => {
                Some("start it again when somebody reads from the sink".to_owned())
            }
            Self::Pipeline(Failure::Panicked { .. }) => Some("see the log".to_owned()),
            Self::Closed => None,
        }
    }
}

/// The pipeline's end that one source offers events to. There is one source, so positions follow one another.
#[derive(Debug)]
pub struct Intake<'a> {
    pipeline: &'a TelemetryPipeline,
    settings: PipelineSettings,
    stop: &'a Stop,
    last: Position,
}

/// What became of an event that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is settled when this position is acknowledged.
    At(Position),
    /// There is no room now. Here it is back.
    Full(Vec<u8>),
    /// There was no room, and the policy is to lose it.
    Shed,
}

impl<'a> Intake<'a> {
    /// For the one source of a pipeline that was started with these settings.
    pub fn new(pipeline: &'a TelemetryPipeline, settings: PipelineSettings, stop: &'a Stop) -> Self {
        Self { pipeline, settings, stop, last: Position::default() }
    }

    /// The pipeline.
    pub const fn pipeline(&self) -> &'a TelemetryPipeline {
        self.pipeline
    }

    /// When the source has to stop.
    pub const fn stop(&self) -> &'a Stop {
        self.stop
    }

    /// Longer events are refused.
    pub const fn max_event_len(&self) -> usize {
        self.settings.max_event_len
    }

    /// The position of the event that was taken last.
    pub const fn last(&self) -> Position {
        self.last
    }

    /// Offers an event, and never waits long: a source has other things to do while the queue is full.
    ///
    /// # Errors
    ///
    /// [`SourceError::Pipeline`], [`SourceError::Closed`].
    pub fn offer(&mut self, event: Vec<u8>) -> Result<Offered, SourceError> {
        let len = event.len();
        if len > self.settings.max_event_len {
            return Ok(Offered::At(self.refuse_unread(len as u64)));
        }
        if self.settings.when_full == WhenQueueFull::Block && !self.has_room(len) {
            // One that cannot go on gives no room either, and says so to whoever emits.
            if let Err(crate::pipeline::FlushError::Failed { failure, .. }) =
                self.pipeline.wait_for(self.last, Duration::ZERO)
            {
                return Err(SourceError::Pipeline(failure));
            }
            return Ok(Offered::Full(event));
        }
        match self.pipeline.emit(event) {
            Ok(position) => {
                self.last = position;
                Ok(Offered::At(position))
            }
            Err(EmitError::Shed) => Ok(Offered::Shed),
            Err(EmitError::TooLong { found, .. }) => Ok(Offered::At(self.refuse_unread(found as u64))),
            Err(EmitError::Closed) => Err(SourceError::Closed),
            Err(EmitError::Failed(failure)) => Err(SourceError::Pipeline(failure)),
        }
    }

    /// Gives up an event that is too long to be read.
    pub fn refuse_unread(&mut self, len: u64) -> Position {
        self.last = self.pipeline.refuse_unread(len);
        self.last
    }

    /// The pipeline has the last word; this keeps the source from waiting inside of it.
    fn has_room(&self, len: usize) -> bool {
        let metrics = self.pipeline.metrics();
        let (events, bytes) = (metrics.queue_events.value(), metrics.queue_bytes.value());
        events == 0
            || (events < self.settings.queue_events as u64
                && bytes.saturating_add(len as u64) <= self.settings.queue_bytes as u64)
    }
}

/// Positions that are not acknowledged yet, each with what is to be put down for it, in order. For those who write a
/// [`Source`].
#[derive(Debug)]
pub struct Unacknowledged<T>(std::collections::VecDeque<(Position, T)>);

impl<T> Default for Unacknowledged<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Unacknowledged<T> {
    /// None yet.
    pub const fn new() -> Self {
        Self(std::collections::VecDeque::new())
    }

    /// Notes what is to be put down for a position. The later of two for one position is what counts.
    pub fn put(&mut self, position: Position, note: T) {
        match self.0.back_mut() {
            Some((last, kept)) if *last == position => *kept = note,
            _ => self.0.push_back((position, note)),
        }
    }

    /// The next one that is acknowledged.
    pub fn take(&mut self, acknowledged: Position) -> Option<T> {
        self.0.pop_front_if(|(position, _)| *position <= acknowledged).map(|(_, note)| note)
    }
}
