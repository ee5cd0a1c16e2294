//! A pipeline before its first event.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_deployment::OpenPipelineError;
use aegis_pii::SealingDekSource;
use aegis_telemetry::{
    DeadLetterFile, Effect, Enricher, MetricsServer, PipelineSettings, Sink, SinkSettings, Spool,
    SpoolSettings, StartError, TelemetryPipeline,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::callable::{FunctionEnricher, FunctionSink};
use super::sinks::SinkObject;
use crate::enricher::PiiEnricher;
use crate::event::Form;
use crate::failure::{OrRaise as _, Raised, exception};

/// What a pipeline will be made of.
pub(super) struct Plan {
    settings: PipelineSettings,
    /// The file, and the most bytes in it.
    dead_letters: Option<(PathBuf, u64)>,
    pub(super) enrichers: Vec<PlannedEnricher>,
    /// Whether the last enricher is that of a configuration, and stays the last.
    has_last: bool,
    pub(super) sinks: Vec<(String, Box<dyn Sink>, SinkSettings)>,
    /// Where metrics are asked for.
    metrics: Option<SocketAddr>,
}

/// A pipeline that was started.
pub(super) struct Started {
    pub(super) pipeline: TelemetryPipeline,
    /// Answers as long as the pipeline runs.
    _metrics: Option<MetricsServer>,
}

pub(super) enum PlannedEnricher {
    Pii(Py<PiiEnricher>),
    Function(Arc<Py<PyAny>>, Form),
}

/// How a sink is added.
pub(super) struct SinkOptions {
    pub(super) name: Option<String>,
    pub(super) form: Form,
    pub(super) batch: bool,
    pub(super) spool: Option<PathBuf>,
    pub(super) batch_events: usize,
    pub(super) linger: Duration,
}

impl Plan {
    pub(super) fn new(settings: PipelineSettings, dead_letters: Option<PathBuf>) -> Self {
        Self {
            settings,
            dead_letters: dead_letters.map(|path| (path, DeadLetterFile::DEFAULT_LIMIT)),
            enrichers: Vec::new(),
            has_last: false,
            sinks: Vec::new(),
            metrics: None,
        }
    }

    pub(super) fn add_enricher(&mut self, enricher: PlannedEnricher) {
        let place = self.enrichers.len() - usize::from(self.has_last);
        self.enrichers.insert(place, enricher);
    }

    /// Makes it what a configuration says.
    pub(super) fn configure(
        &mut self,
        enricher: Py<PiiEnricher>,
        sinks: Vec<(String, Box<dyn Sink>, SinkSettings)>,
        dead_letters: Option<(PathBuf, u64)>,
        metrics: Option<SocketAddr>,
    ) {
        self.enrichers.push(PlannedEnricher::Pii(enricher));
        self.has_last = true;
        (self.sinks, self.dead_letters, self.metrics) = (sinks, dead_letters, metrics);
    }

    pub(super) fn add_sink(&mut self, sink: &Bound<'_, PyAny>, options: SinkOptions) -> PyResult<()> {
        let py = sink.py();
        let SinkOptions { name, form, batch, spool, batch_events, linger } = options;
        let name = name.unwrap_or_else(|| format!("sink-{}", self.sinks.len() + 1));
        if self.sinks.iter().any(|(taken, _, _)| *taken == name) {
            return Err(exception(py, &StartError::SinkTwice { name }));
        }
        if !sink.is_instance_of::<SinkObject>() && !sink.is_callable() {
            let found = sink.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a sink can be called, {found} cannot")));
        }
        let spool = match spool {
            None => None,
            Some(dir) => Some(Spool::open(SpoolSettings::in_dir(dir)).or_raise(py)?),
        };
        let made: Box<dyn Sink> = match sink.cast::<SinkObject>() {
            Ok(ours) => ours.get().take(py)?,
            Err(_) => Box::new(FunctionSink::new(sink.clone().unbind(), form, batch)),
        };
        let settings = SinkSettings { batch_events, linger, spool, ..SinkSettings::default() };
        self.sinks.push((name, made, settings));
        Ok(())
    }

    /// What [`Parts::make`] needs.
    pub(super) fn parts(&self, py: Python<'_>) -> Parts {
        let enrichers = self.enrichers.iter().map(|enricher| match enricher {
            PlannedEnricher::Pii(sealing) => PlannedEnricher::Pii(sealing.clone_ref(py)),
            PlannedEnricher::Function(function, form) => {
                PlannedEnricher::Function(Arc::clone(function), *form)
            }
        });
        Parts { enrichers: enrichers.collect(), wants_letters: self.dead_letters.is_some() }
    }

    /// Starts it. What can be mended by adding something is said before anything is used up.
    pub(super) fn start(&mut self, py: Python<'_>, made: MadeParts) -> PyResult<Started> {
        let MadeParts { enrichers, letters_under } = made;
        if self.sinks.is_empty() {
            return Err(exception(py, &StartError::NoSink));
        }
        if enrichers.last().is_none_or(|last| last.effect() != Effect::Seals) {
            return Err(exception(py, &StartError::NotSealedLast));
        }
        let mut builder = TelemetryPipeline::builder().settings(self.settings);
        if let (Some((path, limit)), Some(source)) = (&self.dead_letters, letters_under) {
            let letters = DeadLetterFile::open(path, *limit).or_raise(py)?;
            builder = builder.dead_letters(letters, source);
        }
        for enricher in enrichers {
            builder = builder.add_boxed_enricher(enricher);
        }
        for (name, sink, settings) in self.sinks.drain(..) {
            builder = builder.add_boxed_sink(&name, sink, settings);
        }
        let pipeline = builder.start().or_raise(py)?;
        let metrics =
            self.metrics.map(|address| MetricsServer::start(address, Arc::clone(pipeline.metrics())));
        let metrics = metrics.transpose().map_err(OpenPipelineError::Metrics).or_raise(py)?;
        Ok(Started { pipeline, _metrics: metrics })
    }
}

/// The enrichers as they were planned.
pub(super) struct Parts {
    enrichers: Vec<PlannedEnricher>,
    wants_letters: bool,
}

/// The enrichers for the first worker, and under what dead letters are sealed.
pub(super) struct MadeParts {
    pub(super) enrichers: Vec<Box<dyn Enricher>>,
    letters_under: Option<Arc<dyn SealingDekSource>>,
}

impl Parts {
    /// Makes them. Not under the lock of the pipeline: one that follows a keyring lets go of the interpreter meanwhile, and
    /// a thread that waits for that lock would keep it.
    pub(super) fn make(&self, py: Python<'_>) -> PyResult<MadeParts> {
        let enrichers = self.enrichers.iter().map(|enricher| match enricher {
            PlannedEnricher::Pii(sealing) => sealing.get().for_pipeline(py),
            PlannedEnricher::Function(function, form) => {
                Ok(Box::new(FunctionEnricher::new(Arc::clone(function), *form)) as Box<dyn Enricher>)
            }
        });
        let enrichers = enrichers.collect::<PyResult<Vec<_>>>()?;
        let letters_under = match self.enrichers.last() {
            Some(PlannedEnricher::Pii(sealing)) if self.wants_letters => {
                Some(sealing.get().sealing_source(py))
            }
            _ => None,
        };
        Ok(MadeParts { enrichers, letters_under })
    }
}

/// The pipeline was started, and cannot be changed.
pub(super) fn started(py: Python<'_>) -> PyErr {
    Raised::new(
        "StartError",
        "Started",
        "the pipeline has begun, and takes no more enrichers and sinks",
        "add them before the first event",
    )
    .into_exception(py)
}
