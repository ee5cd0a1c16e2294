//! A pipeline as a configuration describes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_deployment::{
    DekChoice, Deployment, FollowedDek, LOOK_INTERVAL, OpenPipelineError, PipelineConfig, StateDir, open_sink,
};
use aegis_kek::Variables;
use aegis_telemetry::{PipelineSettings, WhenQueueFull};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::Pipeline;
use crate::enricher::{Engine, PiiEnricher};
use crate::failure::OrRaise as _;
use crate::process::Homebound;

/// Reads the configuration, opens what it names but the source, and makes an object of the class for it.
pub(super) fn pipeline<'py>(
    class: &Bound<'py, PyType>,
    path: &Path,
    state_dir: Option<PathBuf>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let state = match state_dir {
        Some(path) => StateDir::new(path),
        None => StateDir::of_process().or_raise(py)?,
    };
    let config = py.detach(|| PipelineConfig::read(path, &Variables::of_process(), &state)).or_raise(py)?;
    let PipelineConfig { source: _, dek, pii, sinks, settings, spool, dead_letters, metrics, drain_timeout } =
        config;
    let engine = engine(py, dek, state)?;
    let enricher = Py::new(py, PiiEnricher::new(py, engine, pii)?)?;
    let opened = py.detach(|| {
        let open = |sink: aegis_deployment::SinkConfig| {
            let name = sink.name.clone();
            match open_sink(sink, spool.as_ref()) {
                Ok((sink, how)) => Ok((name, sink, how)),
                Err(source) => Err(OpenPipelineError::Sink { sink: name, source }),
            }
        };
        sinks.into_iter().map(open).collect::<Result<Vec<_>, _>>()
    });
    let opened = opened.or_raise(py)?;
    let made = class.call((), Some(&keywords(py, settings)?))?;
    let this = made.cast::<Pipeline>()?.get();
    let _ = this.drain_timeout.set(drain_timeout);
    this.plan(py, |plan| {
        plan.configure(enricher, opened, dead_letters, metrics);
        Ok(())
    })?;
    Ok(made)
}

/// Under what it seals.
fn engine(py: Python<'_>, dek: DekChoice, state: StateDir) -> PyResult<Engine> {
    let (scope, pinned) = match dek {
        DekChoice::Fixed(dek) => return Ok(Engine::Fixed(dek)),
        DekChoice::Active { scope, pinned } => (scope, pinned),
    };
    let deployment = Deployment::new(state, "aegis_governance");
    let keyring = py.detach(|| deployment.keyring()).or_raise(py)?;
    let followed = py.detach(|| FollowedDek::start(&keyring, &scope, pinned, LOOK_INTERVAL)).or_raise(py)?;
    Ok(Engine::Followed(Arc::new(Homebound::new(Arc::new(followed)))))
}

/// The settings, as the class takes them.
fn keywords(py: Python<'_>, settings: PipelineSettings) -> PyResult<Bound<'_, PyDict>> {
    let PipelineSettings { workers, queue_events, queue_bytes, when_full, max_event_len } = settings;
    let keywords = PyDict::new(py);
    keywords.set_item("workers", workers)?;
    keywords.set_item("queue_events", queue_events)?;
    keywords.set_item("queue_bytes", queue_bytes)?;
    let when_full = match when_full {
        WhenQueueFull::Block => "block",
        WhenQueueFull::Shed => "shed",
    };
    keywords.set_item("when_full", when_full)?;
    keywords.set_item("max_event_len", max_event_len)?;
    Ok(keywords)
}
