//! The events of letters as a source of a pipeline, which puts down how far they are settled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aegis_telemetry::TelemetryPipeline;
use aegis_telemetry::inlet::{Ended, Intake, Offered, Source, SourceError, Unacknowledged};

use super::progress::Progress;

/// How long it is waited before it is looked again whether the queue has room.
const ROOM_WAIT: Duration = Duration::from_millis(5);
/// How often it is put down how far events are settled. What is settled after the last time is sent twice if this process is
/// killed; if it is told to stop, nothing is.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);

/// An event, and where its letter is.
pub(super) struct Event {
    /// The number of the file.
    pub(super) file: usize,
    pub(super) line: u64,
    pub(super) event: Vec<u8>,
}

/// Offers events, and puts down which are settled.
pub(super) struct LetterSource<I> {
    events: I,
    sink: Option<String>,
    /// For each file.
    progress: Arc<Mutex<Vec<Progress>>>,
    unacknowledged: Unacknowledged<(usize, u64)>,
    saved_at: Instant,
}

impl<I: Iterator<Item = Event> + Send> LetterSource<I> {
    pub(super) fn new(events: I, sink: Option<String>, progress: Arc<Mutex<Vec<Progress>>>) -> Self {
        Self { events, sink, progress, unacknowledged: Unacknowledged::new(), saved_at: Instant::now() }
    }

    fn remember_now_and_then(&mut self, pipeline: &TelemetryPipeline) -> Result<(), SourceError> {
        if self.saved_at.elapsed() < SAVE_INTERVAL {
            return Ok(());
        }
        self.saved_at = Instant::now();
        self.remember(pipeline)
    }
}

impl<I: Iterator<Item = Event> + Send> Source for LetterSource<I> {
    fn run(&mut self, intake: &mut Intake<'_>) -> Result<Ended, SourceError> {
        while !intake.stop().is_set() {
            let Some(Event { file, line, mut event }) = self.events.next() else { return Ok(Ended::Input) };
            loop {
                match intake.offer(event)? {
                    Offered::At(position) => {
                        self.unacknowledged.put(position, (file, line));
                        break;
                    }
                    // It is counted as lost, and not put down: another run sends it.
                    Offered::Shed => break,
                    Offered::Full(back) => event = back,
                }
                self.remember_now_and_then(intake.pipeline())?;
                if intake.stop().wait(ROOM_WAIT) {
                    return Ok(Ended::Stopped);
                }
            }
            self.remember_now_and_then(intake.pipeline())?;
        }
        Ok(Ended::Stopped)
    }

    fn remember(&mut self, pipeline: &TelemetryPipeline) -> Result<(), SourceError> {
        let acknowledged = pipeline.acknowledged();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((file, line)) = self.unacknowledged.take(acknowledged) {
            if let Some(progress) = progress.get_mut(file) {
                progress.note(self.sink.as_deref(), line);
            }
        }
        progress.iter_mut().try_for_each(Progress::save).map_err(SourceError::Remember)
    }
}
