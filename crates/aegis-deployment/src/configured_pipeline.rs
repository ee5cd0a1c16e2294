//! A pipeline as its configuration describes it, from the source to the last acknowledgement.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_keyring::Keyring;
use aegis_pii::{EncryptorOptions, OptionsError, PiiEncryptor, SealingDek, SealingDekSource};
use aegis_telemetry::inlet::{
    Ended, FileTail, FileTailError, Intake, NatsSource, NatsSourceError, ReaderSource, Source, SourceError,
    StdinError, Stop,
};
use aegis_telemetry::{
    DeadLetterFile, DeadLetterFileError, Enricher, FileSink, FileSinkError, FlushError, HttpSink, Metrics,
    MetricsServer, MetricsServerError, NatsSink, OtlpSink, PipelineSettings, Sink, SinkSettings, Spool,
    SpoolError, SpoolSettings, StartError, StdoutError, TelemetryPipeline, WebSettingsError, WriterSink,
};
use serde::Serialize;

use crate::active_dek::{FollowError, FollowedDek, LOOK_INTERVAL};
use crate::pipeline_config::{DekChoice, PipelineConfig, SinkConfig, SinkKind, SourceConfig};
use crate::sealing_enricher::SealingEnricher;

/// How long it is waited at once for a sink that is down, when the input has ended.
const FLUSH: Duration = Duration::from_millis(100);
/// What is left for the end itself, however much time the flush took.
const LEAST_CLOSE: Duration = Duration::from_millis(500);

/// A pipeline that takes events, and its source, which is not yet read.
#[derive(Debug)]
pub struct ConfiguredPipeline {
    pipeline: TelemetryPipeline,
    source: BoxedSource,
    settings: PipelineSettings,
    sealing: Sealing,
    metrics_server: Option<MetricsServer>,
    drain_timeout: Duration,
}

/// Under which DEK it seals.
#[derive(Debug)]
enum Sealing {
    /// That of a keyring, where it is counted too.
    Followed(Arc<FollowedDek>),
    /// One whose public half is all that is here.
    Fixed(Arc<SealingDek>),
}

struct BoxedSource(Box<dyn Source>);

impl std::fmt::Debug for BoxedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// What a pipeline did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PipelineCounts {
    /// Events that were read.
    pub events: u64,
    /// Events that were sealed.
    pub sealed: u64,
    /// Fields that were sealed.
    pub fields: u64,
    /// Under which DEKs.
    pub deks: Vec<String>,
    /// Events that reached no sink, or not all.
    pub refused: u64,
    /// Of these, those that are in the dead letters.
    pub dead_letters: u64,
    /// Events of which nothing is left: without a dead letter, or given up because a queue or a spool was full.
    pub lost: u64,
    /// For each sink.
    pub sinks: Vec<SinkCounts>,
}

/// What a sink has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkCounts {
    /// Its name.
    pub name: String,
    /// Events that it took.
    pub delivered: u64,
    /// Events that wait in its spool.
    pub spooled: u64,
}

/// How a pipeline ended.
#[derive(Debug)]
pub struct PipelineRun {
    /// What it did.
    pub counts: PipelineCounts,
    /// Whether all of it was brought to an end.
    pub ended: Result<Ended, RunPipelineError>,
}

/// Why a pipeline was not started.
#[derive(Debug, thiserror::Error)]
pub enum OpenPipelineError {
    /// There is no DEK to seal under.
    #[error("there is no DEK to seal under")]
    Follow(#[source] FollowError),
    /// The configuration names no public key, and there is no keyring.
    #[error("there is neither a keyring nor a public key to seal to")]
    NoKeyring,
    /// The options of the enricher.
    #[error("cannot seal personal fields so")]
    Options(#[source] OptionsError),
    /// The standard input.
    #[error("cannot read events")]
    Stdin(#[source] StdinError),
    /// The file that is followed.
    #[error("cannot follow the file")]
    Tail(#[source] FileTailError),
    /// The NATS client of the source.
    #[error("cannot read messages")]
    NatsSource(#[source] NatsSourceError),
    /// A sink.
    #[error("cannot open the sink {sink:?}")]
    Sink {
        /// Its name.
        sink: String,
        /// Why.
        #[source]
        source: OpenSinkError,
    },
    /// The file of dead letters.
    #[error("cannot keep dead letters")]
    DeadLetters(#[source] DeadLetterFileError),
    /// The pipeline itself.
    #[error("cannot start the pipeline")]
    Start(#[source] StartError),
    /// The metrics.
    #[error("cannot show metrics")]
    Metrics(#[source] MetricsServerError),
}

/// Why a sink was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSinkError {
    /// The standard output.
    #[error(transparent)]
    Stdout(StdoutError),
    /// A file.
    #[error(transparent)]
    File(FileSinkError),
    /// A receiver of HTTP requests.
    #[error(transparent)]
    Web(WebSettingsError),
    /// The NATS client.
    #[error("cannot start the NATS client")]
    Nats(#[source] std::io::Error),
    /// Its spool.
    #[error(transparent)]
    Spool(SpoolError),
}

/// Why a pipeline did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunPipelineError {
    /// Its source failed.
    #[error(transparent)]
    Source(SourceError),
    /// Not all events are settled.
    #[error(transparent)]
    Flush(FlushError),
}

impl OpenPipelineError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Follow(error) => error.help(),
            Self::NoKeyring => Some("give a keyring, or name public_key_file and dek_version".to_owned()),
            Self::Options(error) => error.help(),
            Self::Stdin(error) => error.help(),
            Self::Tail(error) => error.help(),
            Self::NatsSource(error) => error.help(),
            Self::Sink { source, .. } => match source {
                OpenSinkError::Stdout(error) => error.help(),
                OpenSinkError::File(error) => error.help(),
                OpenSinkError::Web(error) => error.help(),
                OpenSinkError::Nats(_) => None,
                OpenSinkError::Spool(error) => error.help(),
            },
            Self::DeadLetters(error) => error.help(),
            Self::Start(error) => error.help(),
            Self::Metrics(error) => error.help(),
        }
    }
}

impl RunPipelineError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.help(),
            Self::Flush(FlushError::TimedOut { .. }) => Some(
                "bring the sink back, or give it a spool; a file and a NATS consumer give these events again, standard input \
                 does not"
                    .to_owned(),
            ),
            Self::Flush(error) => error.help(),
        }
    }
}

impl ConfiguredPipeline {
    /// Opens everything, and starts the workers. What is in spools is delivered from now on.
    ///
    /// # Errors
    ///
    /// An [`OpenPipelineError`].
    pub fn open(keyring: Option<&Keyring>, config: PipelineConfig) -> Result<Self, OpenPipelineError> {
        Self::open_with(keyring, config, None)
    }

    /// The same, with events from elsewhere than the configuration says; that source is not opened.
    ///
    /// # Errors
    ///
    /// An [`OpenPipelineError`].
    pub fn open_from(
        keyring: Option<&Keyring>,
        config: PipelineConfig,
        source: Box<dyn Source>,
    ) -> Result<Self, OpenPipelineError> {
        Self::open_with(keyring, config, Some(source))
    }

    fn open_with(
        keyring: Option<&Keyring>,
        config: PipelineConfig,
        other_source: Option<Box<dyn Source>>,
    ) -> Result<Self, OpenPipelineError> {
        let PipelineConfig { source, dek, pii, sinks, settings, spool, dead_letters, metrics, drain_timeout } =
            config;
        let sealing = Sealing::start(keyring, dek)?;
        let enricher = sealing.enricher(pii).map_err(OpenPipelineError::Options)?;
        // The source first: it says whether another process does this work already.
        let source = match (other_source, source) {
            (Some(source), _) => source,
            (None, SourceConfig::Stdin) => Box::new(ReaderSource::stdin().map_err(OpenPipelineError::Stdin)?),
            (None, SourceConfig::File(settings)) => {
                Box::new(FileTail::open(settings).map_err(OpenPipelineError::Tail)?)
            }
            (None, SourceConfig::Nats(settings)) => {
                Box::new(NatsSource::new(settings).map_err(OpenPipelineError::NatsSource)?)
            }
        };
        let mut builder = TelemetryPipeline::builder().settings(settings).add_boxed_enricher(enricher);
        for sink in sinks {
            let name = sink.name.clone();
            let (sink, how) = open_sink(sink, spool.as_ref())
                .map_err(|source| OpenPipelineError::Sink { sink: name.clone(), source })?;
            builder = builder.add_boxed_sink(&name, sink, how);
        }
        if let Some((path, limit)) = dead_letters {
            let file = DeadLetterFile::open(&path, limit).map_err(OpenPipelineError::DeadLetters)?;
            builder = builder.dead_letters(file, sealing.source());
        }
        let pipeline = builder.start().map_err(OpenPipelineError::Start)?;
        let metrics_server = match metrics {
            None => None,
            Some(address) => Some(
                MetricsServer::start(address, Arc::clone(pipeline.metrics()))
                    .map_err(OpenPipelineError::Metrics)?,
            ),
        };
        let source = BoxedSource(source);
        Ok(Self { pipeline, source, settings, sealing, metrics_server, drain_timeout })
    }

    /// Where metrics are asked for.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_server.as_ref().map(MetricsServer::address)
    }

    /// What is counted, also while it runs.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.pipeline.metrics()
    }

    /// How long it may take to end.
    pub const fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// Reads until the input ends or `stop` is set, and brings what was read to its end: sealed, delivered or spooled, and
    /// acknowledged. `draining` is called in between.
    pub fn run(self, stop: &Stop, draining: impl FnOnce()) -> PipelineRun {
        let Self { pipeline, source, settings, sealing, metrics_server: _metrics_server, drain_timeout } =
            self;
        let mut source = source.0;
        let metrics = Arc::clone(pipeline.metrics());
        let span = tracing::info_span!(
            "pipeline",
            workers = settings.workers,
            sinks = metrics.sinks().len(),
            read = tracing::field::Empty,
            sealed = tracing::field::Empty,
            fields = tracing::field::Empty,
            refused = tracing::field::Empty,
        );
        let _entered = span.enter();
        tracing::info!("reading");
        let ended = source.run(&mut Intake::new(&pipeline, settings, stop));
        tracing::info!(is_told = stop.is_set(), "draining");
        draining();
        if matches!(ended, Ok(Ended::Input)) {
            // Nobody is in a hurry: it is waited for sinks that are down until somebody says stop.
            while !stop.is_set() && matches!(pipeline.flush(FLUSH), Err(FlushError::TimedOut { .. })) {
                // A kill meanwhile makes nothing come twice that was acknowledged before.
                if let Err(error) = source.remember(&pipeline) {
                    tracing::warn!(%error, "how far events are acknowledged is not put down");
                    break;
                }
            }
        }
        let end = Instant::now() + drain_timeout;
        let flushed = pipeline.flush(drain_timeout);
        let remembered = source.remember(&pipeline);
        let left = end.saturating_duration_since(Instant::now()).max(LEAST_CLOSE);
        let closed = pipeline.close(left);
        if let Sealing::Followed(followed) = &sealing
            && let Err(error) = followed.flush()
        {
            tracing::warn!(%error, "the use of the DEK was not counted");
        }
        let ended = ended.map_err(RunPipelineError::Source).and_then(|ended| {
            flushed.map_err(RunPipelineError::Flush)?;
            remembered.map_err(RunPipelineError::Source)?;
            closed.map_err(RunPipelineError::Flush)?;
            Ok(ended)
        });
        let counts = PipelineCounts::of(&metrics, &sealing);
        span.record("read", counts.events).record("sealed", counts.sealed);
        span.record("fields", counts.fields).record("refused", counts.refused);
        PipelineRun { counts, ended }
    }
}

impl Sealing {
    fn start(keyring: Option<&Keyring>, dek: DekChoice) -> Result<Self, OpenPipelineError> {
        let (scope, pinned) = match dek {
            DekChoice::Fixed(dek) => return Ok(Self::Fixed(dek)),
            DekChoice::Active { scope, pinned } => (scope, pinned),
        };
        let keyring = keyring.ok_or(OpenPipelineError::NoKeyring)?;
        let followed = FollowedDek::start(keyring, &scope, pinned, LOOK_INTERVAL);
        followed.map(Arc::new).map(Self::Followed).map_err(OpenPipelineError::Follow)
    }

    fn enricher(&self, options: EncryptorOptions) -> Result<Box<dyn Enricher>, OptionsError> {
        Ok(match self {
            Self::Followed(followed) => Box::new(SealingEnricher::new(Arc::clone(followed), options)?),
            Self::Fixed(dek) => Box::new(PiiEncryptor::new(Arc::new(Arc::clone(dek)), options)?),
        })
    }

    /// What dead letters are sealed under.
    fn source(&self) -> Arc<dyn SealingDekSource> {
        match self {
            Self::Followed(followed) => followed.sealing_source(),
            Self::Fixed(dek) => Arc::new(Arc::clone(dek)),
        }
    }

    fn used(&self, metrics: &Metrics) -> Vec<String> {
        match self {
            Self::Followed(followed) => followed.used().iter().map(ToString::to_string).collect(),
            Self::Fixed(dek) if metrics.fields.value() > 0 => vec![dek.name.as_str().to_owned()],
            Self::Fixed(_) => Vec::new(),
        }
    }
}

impl PipelineCounts {
    fn of(metrics: &Metrics, sealing: &Sealing) -> Self {
        let sinks = metrics.sinks().iter();
        let shed_by_spools: u64 = sinks.clone().map(|sink| sink.shed.value()).sum();
        Self {
            events: metrics.events_in.value(),
            sealed: metrics.events_sealed.value(),
            fields: metrics.fields.value(),
            deks: sealing.used(metrics),
            refused: metrics.all_refused(),
            dead_letters: metrics.dead_letters.value(),
            lost: metrics.dead_letters_lost.value() + metrics.shed.value() + shed_by_spools,
            sinks: sinks
                .map(|sink| SinkCounts {
                    name: sink.name.clone(),
                    delivered: sink.events.value(),
                    spooled: sink.spool_events.value(),
                })
                .collect(),
        }
    }
}

/// Opens a sink and its spool, which is a directory of the sink's name in `spools`.
///
/// # Errors
///
/// An [`OpenSinkError`].
pub fn open_sink(
    config: SinkConfig,
    spools: Option<&PathBuf>,
) -> Result<(Box<dyn Sink>, SinkSettings), OpenSinkError> {
    let SinkConfig { name, kind, batch_events, batch_bytes, linger, backoff, spool, .. } = config;
    let spool = match (spool, spools) {
        (Some(wanted), Some(dir)) => {
            let settings = SpoolSettings {
                max_bytes: wanted.max_bytes,
                when_full: wanted.when_full,
                ..SpoolSettings::in_dir(dir.join(name))
            };
            aegis_durable::make_dir(dir, 0o700)
                .map_err(SpoolError::Prepare)
                .and_then(|()| Spool::open(settings))
                .map(Some)
                .map_err(OpenSinkError::Spool)?
        }
        _ => None,
    };
    let sink: Box<dyn Sink> = match kind {
        SinkKind::Stdout => Box::new(WriterSink::stdout().map_err(OpenSinkError::Stdout)?),
        SinkKind::File(settings) => Box::new(FileSink::open(settings).map_err(OpenSinkError::File)?),
        SinkKind::Http(settings, form) => {
            Box::new(HttpSink::new(&settings, form).map_err(OpenSinkError::Web)?)
        }
        SinkKind::Otlp(settings) => Box::new(OtlpSink::new(&settings).map_err(OpenSinkError::Web)?),
        SinkKind::Nats(settings) => Box::new(NatsSink::new(settings).map_err(OpenSinkError::Nats)?),
    };
    Ok((sink, SinkSettings { batch_events, batch_bytes, linger, backoff, spool }))
}
