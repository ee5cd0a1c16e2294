//! The pipeline: from bytes that somebody emits to sinks that have them, sealed.
//!
//! ```text
//! emit → queue → workers (enrich, seal) → order → outlet of each sink → sink
//!                   └ refused: dead letters            └ down: spool → drain
//! ```
//!
//! **Acknowledged** is an event when [`flush`](TelemetryPipeline::flush) or [`close`](TelemetryPipeline::close) returned
//! `Ok` after it was emitted, or [`acknowledged`](TelemetryPipeline::acknowledged) reached its position. Then it is
//! settled, which means one of: every sink has it, or its spool has it on the disk; it was refused, counted, and its dead
//! letter kept; or it was lost, which [`Settled`] counts and the log has. The last happens only where a policy says
//! `Shed`, or if a dead letter could not be kept. That `emit` returned says only that the event is in memory.
//!
//! **Order**: each sink gets events in the order in which `emit` took them, whatever the number of workers. Events come
//! **at least once**: again only if the process was killed, or an answer lost, between a sink's taking a batch and our
//! noting it. Receivers that heed `Idempotency-Key` (HTTP), `log.record.uid` (OTLP) or `Nats-Msg-Id` (JetStream) can tell;
//! files and standard output cannot, and a file has no such event twice unless it was killed in between.
//!
//! **Bounded**: what is in memory is bounded by events and bytes, from `emit` until settled. One slow sink holds up all,
//! unless it has a spool.

mod chain;
mod letters;
mod order;
mod outlet;
mod shared;
mod spooling;
mod worker;

pub(crate) use chain::chain;
pub use shared::Failure;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aegis_pii::SealingDekSource;

use crate::backoff::Backoff;
use crate::dead_letter::DeadLetters;
use crate::enricher::{Effect, Enricher};
use crate::event::{NoRandomness, RunId};
use crate::metrics::Metrics;
use crate::sink::Sink;
use crate::spool::Spool;
use letters::Letters;
use outlet::Outlet;
use shared::{Phase, Shared};

/// How a pipeline works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineSettings {
    /// Threads that enrich and seal, each with a sender context of its own.
    pub workers: usize,
    /// Most events in memory, from `emit` until settled.
    pub queue_events: usize,
    /// About the most bytes in memory: of what waits to be sealed, and as much again of what is sealed.
    pub queue_bytes: usize,
    /// What happens to events for which there is no room.
    pub when_full: WhenQueueFull,
    /// Longer events are refused.
    pub max_event_len: usize,
}

/// What happens to events for which there is no room in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenQueueFull {
    /// `emit` waits. Nothing is lost.
    #[default]
    Block,
    /// `emit` returns at once and says so; the event is lost, counted and logged.
    Shed,
}

impl Default for PipelineSettings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(8),
            queue_events: 8192,
            queue_bytes: 16 << 20,
            when_full: WhenQueueFull::Block,
            max_event_len: aegis_pii::Limits::for_encryption().max_event_len,
        }
    }
}

/// How events reach one sink.
#[derive(Debug)]
pub struct SinkSettings {
    /// Most events in a batch.
    pub batch_events: usize,
    /// Most bytes in a batch, unless one event is longer.
    pub batch_bytes: usize,
    /// How long a batch waits to become full.
    pub linger: Duration,
    /// How long to wait after a failure.
    pub backoff: Backoff,
    /// Takes events while the sink is down. Without one they wait in memory.
    pub spool: Option<Spool>,
}

impl Default for SinkSettings {
    fn default() -> Self {
        Self {
            batch_events: 512,
            batch_bytes: 4 << 20,
            linger: Duration::ZERO,
            backoff: Backoff::default(),
            spool: None,
        }
    }
}

/// A pipeline in the making.
pub struct PipelineBuilder {
    settings: PipelineSettings,
    enrichers: Vec<Box<dyn Enricher>>,
    sinks: Vec<(String, Box<dyn Sink>, SinkSettings)>,
    letters: Option<(Box<dyn DeadLetters>, Arc<dyn SealingDekSource>)>,
}

impl PipelineBuilder {
    /// Sets how it works.
    #[must_use]
    pub const fn settings(mut self, settings: PipelineSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds what happens to events, in this order. The last one has to seal.
    #[must_use]
    pub fn add_enricher(self, enricher: impl Enricher + 'static) -> Self {
        self.add_boxed_enricher(Box::new(enricher))
    }

    /// As [`add_enricher`](Self::add_enricher), for one that was chosen while running.
    #[must_use]
    pub fn add_boxed_enricher(mut self, enricher: Box<dyn Enricher>) -> Self {
        self.enrichers.push(enricher);
        self
    }

    /// Adds where events go. The name is for logs and metrics: small letters, digits, `-` and `_`.
    #[must_use]
    pub fn add_sink(self, name: &str, sink: impl Sink + 'static, settings: SinkSettings) -> Self {
        self.add_boxed_sink(name, Box::new(sink), settings)
    }

    /// As [`add_sink`](Self::add_sink), for one that was chosen while running.
    #[must_use]
    pub fn add_boxed_sink(mut self, name: &str, sink: Box<dyn Sink>, settings: SinkSettings) -> Self {
        self.sinks.push((name.to_owned(), sink, settings));
        self
    }

    /// Keeps events that are refused, sealed whole under the active DEK of `source`. Without it they are only counted and
    /// logged.
    #[must_use]
    pub fn dead_letters(
        mut self,
        letters: impl DeadLetters + 'static,
        source: Arc<dyn SealingDekSource>,
    ) -> Self {
        self.letters = Some((Box::new(letters), source));
        self
    }

    /// Starts the threads. What is in spools is delivered from now on.
    ///
    /// # Errors
    ///
    /// A [`StartError`].
    pub fn start(self) -> Result<TelemetryPipeline, StartError> {
        let Self { settings, enrichers, sinks, letters } = self;
        check(&settings, &enrichers, &sinks)?;
        let run = RunId::new().map_err(StartError::Randomness)?;
        let metrics = Arc::new(Metrics::new(sinks.iter().map(|(name, _, _)| name.clone())));
        let outlets: Vec<_> = sinks
            .into_iter()
            .zip(metrics.sinks())
            .enumerate()
            .map(|(number, ((_, sink, settings), metrics))| {
                Arc::new(Outlet::new(number, sink, settings, Arc::clone(metrics)))
            })
            .collect();
        let letters = letters.map(|(handler, source)| Letters::new(handler, source));
        let shared = Arc::new(Shared::new(settings, run, metrics, outlets, letters));
        let mut pipeline = TelemetryPipeline { shared: Arc::clone(&shared), threads: Vec::new() };
        // If one cannot be started, dropping the pipeline stops the others.
        for number in 0..settings.workers {
            let enrichers = enrichers.iter().map(|enricher| enricher.another()).collect();
            let own = Arc::clone(&shared);
            pipeline.spawn(format!("aegis-seal-{number}"), Role::Worker, move || {
                worker::run(&own, enrichers);
            })?;
        }
        for outlet in &shared.outlets {
            let (own, to) = (Arc::clone(&shared), Arc::clone(outlet));
            pipeline.spawn(format!("aegis-out-{}", outlet.number), Role::Outlet, move || to.run(&own))?;
            if outlet.has_spool() {
                let (own, to) = (Arc::clone(&shared), Arc::clone(outlet));
                pipeline
                    .spawn(format!("aegis-drain-{}", outlet.number), Role::Outlet, move || to.drain(&own))?;
            }
        }
        Ok(pipeline)
    }
}

impl fmt::Debug for PipelineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sinks: Vec<_> = self.sinks.iter().map(|(name, _, _)| name).collect();
        f.debug_struct("PipelineBuilder")
            .field("settings", &self.settings)
            .field("sinks", &sinks)
            .finish_non_exhaustive()
    }
}

fn check(
    settings: &PipelineSettings,
    enrichers: &[Box<dyn Enricher>],
    sinks: &[(String, Box<dyn Sink>, SinkSettings)],
) -> Result<(), StartError> {
    let PipelineSettings { workers, queue_events, queue_bytes, max_event_len, when_full: _ } = *settings;
    let numbers = [
        ("workers", workers),
        ("queue_events", queue_events),
        ("queue_bytes", queue_bytes),
        ("max_event_len", max_event_len),
    ];
    let of_sinks = sinks.iter().flat_map(|(_, _, settings)| {
        [("batch_events", settings.batch_events), ("batch_bytes", settings.batch_bytes)]
    });
    if let Some((name, _)) = numbers.into_iter().chain(of_sinks).find(|(_, number)| *number == 0) {
        return Err(StartError::Zero { name });
    }
    // Fail closed: an enricher behind the one that seals could put personal fields back.
    if enrichers.last().is_none_or(|last| last.effect() != Effect::Seals) {
        return Err(StartError::NotSealedLast);
    }
    if sinks.is_empty() {
        return Err(StartError::NoSink);
    }
    for (number, (name, _, _)) in sinks.iter().enumerate() {
        if !is_name(name) {
            return Err(StartError::SinkName { name: name.chars().take(64).collect() });
        }
        if sinks.iter().take(number).any(|(other, _, _)| other == name) {
            return Err(StartError::SinkTwice { name: name.clone() });
        }
    }
    Ok(())
}

/// Whether a sink may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// Why a pipeline was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What reaches the sinks would not be sealed.
    #[error("the last enricher does not seal personal fields")]
    NotSealedLast,
    /// Nowhere to go.
    #[error("there is no sink")]
    NoSink,
    /// A name that logs and metrics cannot have.
    #[error("{name:?} cannot be the name of a sink")]
    SinkName {
        /// The name, at most 64 characters of it.
        name: String,
    },
    /// Two of one name.
    #[error("two sinks have the name {name:?}")]
    SinkTwice {
        /// The name.
        name: String,
    },
    /// A setting that makes no sense.
    #[error("{name} is zero")]
    Zero {
        /// Its name.
        name: &'static str,
    },
    /// No name for this run.
    #[error("cannot name this run")]
    Randomness(#[source] NoRandomness),
    /// The system gave no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl StartError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotSealedLast => "add the PII enricher behind all others".to_owned(),
            Self::NoSink => "add a sink".to_owned(),
            Self::SinkName { .. } => "use 1 to 64 of a-z, 0-9, - and _".to_owned(),
            Self::SinkTwice { .. } => "give each sink a name of its own".to_owned(),
            Self::Zero { .. } => "set it to 1 or more".to_owned(),
            Self::Randomness(_) => return None,
            Self::Thread(_) => "check the limit of threads, and try again".to_owned(),
        })
    }
}

/// Events go in, and out sealed. Cheap to share by reference; `emit` may be called by many threads.
///
/// Call [`close`](Self::close): dropping it gives up what is not settled, and logs how much that is.
pub struct TelemetryPipeline {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Worker,
    Outlet,
}

/// The how manieth event of this run, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// What became of an event for which room was waited for.
#[derive(PartialEq, Eq)]
pub enum Emitted {
    /// It was taken.
    At(Position),
    /// There was no room in time. This is the event.
    NoRoom(Vec<u8>),
}

impl fmt::Debug for Emitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(position) => f.debug_tuple("At").field(position).finish(),
            // Its fields are in the clear.
            Self::NoRoom(_) => f.debug_tuple("NoRoom").finish_non_exhaustive(),
        }
    }
}

/// What became of all events that are settled, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// Every event up to here is settled.
    pub through: Position,
    /// Events that were not sealed, or that a sink refused for good.
    pub refused: u64,
    /// Of these, those whose dead letter could not be kept. They are lost.
    pub letters_lost: u64,
    /// Events that were lost because the queue was full. They have no position.
    pub shed: u64,
    /// Events that were lost to one sink because its spool was full, once for each sink.
    pub shed_by_spools: u64,
}

impl TelemetryPipeline {
    /// A pipeline in the making.
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder {
            settings: PipelineSettings::default(),
            enrichers: Vec::new(),
            sinks: Vec::new(),
            letters: None,
        }
    }

    /// Takes one event, one JSON text. White space around it means nothing.
    ///
    /// # Errors
    ///
    /// An [`EmitError`]; the event was not taken.
    pub fn emit(&self, event: impl Into<Vec<u8>>) -> Result<Position, EmitError> {
        match self.shared.emit(event.into(), None)? {
            Emitted::At(position) => Ok(position),
            // It was not told to give up.
            Emitted::NoRoom(_) => Err(EmitError::Closed),
        }
    }

    /// As [`emit`](Self::emit), for those who may not wait as long as it takes: gives the event back if there was no room
    /// for it in that time, which may be zero.
    ///
    /// # Errors
    ///
    /// An [`EmitError`]; the event was not taken.
    pub fn emit_within(&self, event: impl Into<Vec<u8>>, patience: Duration) -> Result<Emitted, EmitError> {
        self.shared.emit(event.into(), Some(Instant::now() + patience))
    }

    /// Takes no more events from now on, and goes on bringing those it has to their sinks. Those who wait for room are
    /// told that it is closed. [`close`](Self::close) ends it.
    pub fn take_no_more(&self) {
        self.shared.set_phase(Phase::Draining);
    }

    /// Every event up to here was taken.
    pub fn emitted(&self) -> Position {
        self.shared.emitted()
    }

    /// Counts an event that was too long to be read, and gives it a dead letter without content.
    pub fn refuse_unread(&self, len: u64) -> Position {
        self.shared.refuse_unread(len)
    }

    /// Longer events are refused.
    pub fn max_event_len(&self) -> usize {
        self.shared.settings.max_event_len
    }

    /// Every event up to here is acknowledged.
    pub fn acknowledged(&self) -> Position {
        self.shared.acknowledged()
    }

    /// Waits until the events up to a position are acknowledged.
    ///
    /// # Errors
    ///
    /// A [`FlushError`].
    pub fn wait_for(&self, position: Position, timeout: Duration) -> Result<Settled, FlushError> {
        self.shared.wait_for(position, Instant::now() + timeout)
    }

    /// Waits until every event that was emitted before is acknowledged. Batches that wait to become full do not wait any
    /// longer.
    ///
    /// # Errors
    ///
    /// A [`FlushError`]; events that are not acknowledged stay on their way.
    pub fn flush(&self, timeout: Duration) -> Result<Settled, FlushError> {
        let emitted = self.emitted().0;
        let span = tracing::debug_span!("flush", emitted, acknowledged = tracing::field::Empty);
        let _entered = span.enter();
        let flushed = self.shared.flush(Instant::now() + timeout);
        span.record("acknowledged", self.acknowledged().0);
        flushed
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Takes no more events, and ends when all are acknowledged. Spools are drained as long as their sinks take what is in
    /// them; the rest is delivered by whoever opens them next.
    ///
    /// # Errors
    ///
    /// A [`FlushError`]; what was not acknowledged by then is given up.
    pub fn close(mut self, timeout: Duration) -> Result<Settled, FlushError> {
        let deadline = Instant::now() + timeout;
        let span = tracing::info_span!("close", run = %self.shared.run, acknowledged = tracing::field::Empty);
        let _entered = span.enter();
        self.shared.set_phase(Phase::Draining);
        let ended = self.shared.wait_for_threads(deadline);
        self.stop();
        self.shared.log_losses();
        span.record("acknowledged", self.acknowledged().0);
        ended
    }

    fn spawn(
        &mut self,
        name: String,
        role: Role,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), StartError> {
        let alive = self.shared.begin_thread(&name, role == Role::Worker);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            run();
            alive.end();
        });
        self.threads.push(thread.map_err(StartError::Thread)?);
        Ok(())
    }

    /// Ends all threads that listen. One that is inside a sink that does not return is left to itself.
    fn stop(&mut self) {
        self.shared.set_phase(Phase::Aborted);
        // Those that sleep wake up at once.
        let all_ended = self.shared.all_ended(Instant::now() + Duration::from_millis(500));
        for thread in self.threads.drain(..) {
            // Those that have ended are joined, so that what they held, files and locks, is free on return.
            if all_ended || thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for TelemetryPipeline {
    fn drop(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        self.stop();
        let unsettled = self.shared.unsettled();
        if unsettled > 0 {
            tracing::error!(
                events = unsettled,
                "a pipeline was dropped without being closed, and its events with it"
            );
        }
    }
}

impl fmt::Debug for TelemetryPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryPipeline")
            .field("acknowledged", &self.acknowledged())
            .finish_non_exhaustive()
    }
}

/// Why an event was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// There is no room, and the policy is to shed.
    #[error("the queue is full, and the event is lost")]
    Shed,
    /// Longer than an event may be.
    #[error("the event has {found} bytes, the limit is {limit}")]
    TooLong {
        /// Its bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It is being closed.
    #[error("the pipeline is closed")]
    Closed,
    /// It cannot go on.
    #[error("the pipeline cannot go on")]
    Failed(#[source] Failure),
}

/// Why not everything is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The time is over.
    #[error("{unsettled} events are not acknowledged yet{}", waiting_for(waiting))]
    TimedOut {
        /// How many.
        unsettled: u64,
        /// The sinks that have not taken them.
        waiting: Vec<String>,
    },
    /// It cannot go on.
    #[error("{unsettled} events are not acknowledged, and will not be")]
    Failed {
        /// How many.
        unsettled: u64,
        /// Why.
        #[source]
        failure: Failure,
    },
}

impl FlushError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::TimedOut { .. } => "bring the sink back, or give it a spool".to_owned(),
            Self::Failed { .. } => "see the log, and emit again what was not acknowledged".to_owned(),
        })
    }
}

fn waiting_for(sinks: &[String]) -> String {
    if sinks.is_empty() { String::new() } else { format!(", for {}", sinks.join(", ")) }
}
