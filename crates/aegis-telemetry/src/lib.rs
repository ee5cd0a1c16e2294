//! Telemetry on its way out: events are sealed by worker threads, delivered to sinks in order and at least once, and spooled
//! on disk while a sink is down.
//!
//! | module | what it holds |
//! |---|---|
//! | `pipeline` | [`TelemetryPipeline`]: queue, workers, order, acknowledgement |
//! | `enricher` | [`Enricher`]: what happens to an event, and why one is refused |
//! | `event` | [`SealedEvent`], [`Batch`], and names that stay the same in every retry |
//! | `sink` | [`Sink`]: standard output, files, callbacks, HTTP, OTLP logs, NATS JetStream |
//! | `certificates`, `nats_identity` | who we are to receivers, and whom we trust |
//! | `spool` | [`Spool`]: sealed batches on the disk |
//! | `dead_letter` | [`DeadLetters`]: what was refused, sealed whole |
//! | [`inlet`] | [`inlet::Source`]: standard input, files followed through rotations, NATS JetStream |
//! | `metrics`, `metrics_server` | [`Metrics`]: counters, and their Prometheus text; [`MetricsServer`] for who asks |
//!
//! What never happens: an event reaches a sink, a spool or a dead letter that the last enricher did not seal; a personal
//! value is in a log line, a label or an error; an event that was acknowledged is lost to a kill of the process, or to a
//! power cut where files are synced.

mod backoff;
mod certificates;
mod dead_letter;
mod enricher;
mod event;
pub mod inlet;
mod line_file;
mod metrics;
mod metrics_server;
mod nats_identity;
mod pipeline;
mod sink;
mod spool;

pub use backoff::Backoff;
pub use certificates::{CertificateError, Certificates, ClientCertificate};
pub use dead_letter::{
    Content, DeadLetter, DeadLetterError, DeadLetterFile, DeadLetterFileError, DeadLetterRecord, DeadLetters,
    OpenLetterError, RecordError,
};
pub use enricher::{Effect, Enriched, Enricher, Reason, Refusal};
pub use event::{Batch, EventId, NoRandomness, RunId, SealedEvent};
pub use line_file::{SharedLineFile, SharedLineFileError};
pub use metrics::{Counter, Gauge, Histogram, Metrics, SinkMetrics};
pub use metrics_server::{MetricsServer, MetricsServerError};
pub use nats_identity::{NatsIdentity, NatsIdentityError};
pub use pipeline::{
    EmitError, Emitted, Failure, FlushError, PipelineBuilder, PipelineSettings, Position, Settled,
    SinkSettings, StartError, TelemetryPipeline, WhenQueueFull,
};
#[cfg(feature = "nats")]
pub use sink::NatsSink;
pub use sink::{
    Authorization, BodyForm, CallbackSink, Delivered, FileSettings, FileSink, FileSinkError, HttpSink,
    NatsLogin, NatsServer, NatsSettings, OtlpSettings, OtlpSink, Rotation, Sink, SinkError, SinkFault,
    StdoutError, SyncPolicy, WebSettings, WebSettingsError, WriterSink,
};
pub use spool::{Spool, SpoolError, SpoolSettings, WhenFull};
