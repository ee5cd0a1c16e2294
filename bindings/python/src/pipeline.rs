//! The pipeline: from events that a program emits to sinks that have them, sealed.

mod callable;
mod configured;
mod plan;
mod sinks;

pub(crate) use sinks::{
    FileSinkObject, HttpSinkObject, NatsSinkObject, OtlpSinkObject, SinkObject, StdoutSinkObject,
};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aegis_telemetry::{
    EmitError, Emitted, FlushError, PipelineSettings, Position, Settled, TelemetryPipeline, WhenQueueFull,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::enricher::{PiiEnricher, choose};
use crate::event::{self, Form};
use crate::failure::{OrRaise as _, exception};
use crate::process::Homebound;
use plan::{Plan, PlannedEnricher, SinkOptions, Started};

/// How long the interpreter is not asked for signals.
const SLICE: Duration = Duration::from_millis(100);
/// For those who set no limit.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Events go in, and out sealed: enriched and sealed by threads of its own, delivered to each sink in order and at least
/// once, and spooled on disk while a sink is down.
///
/// It starts with the first event. ``close`` it, or use it as a context manager.
///
/// :param workers: threads that enrich and seal; as many as there are processors, at most 8
/// :param queue_events: most events in memory, from ``emit`` until settled
/// :param queue_bytes: about the most bytes of them
/// :param when_full: ``"block"``: ``emit`` waits; or ``"shed"``: it raises, and the event is lost
/// :param max_event_len: longer events are refused, in bytes
/// :param dead_letters: a file for events that are refused, sealed whole; without it they are counted and logged only
#[pyclass(subclass, frozen, name = "TelemetryPipeline", module = "aegis_governance.telemetry")]
pub(crate) struct Pipeline {
    /// Held for assignments, and while the threads are started; by attached threads alone.
    state: Mutex<State>,
    max_event_len: usize,
    /// If a configuration says so.
    drain_timeout: OnceLock<Duration>,
}

enum State {
    Building(Plan),
    Running(Arc<Running>),
    Closed(Settled),
}

/// A pipeline with its threads.
struct Running {
    /// Read while an event is emitted, and written when it is closed. Never waited for by an attached thread.
    pipeline: Homebound<RwLock<Option<Started>>>,
}

impl Running {
    /// Does something with the pipeline, while the interpreter is free; `None` if it is closed.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&TelemetryPipeline) -> T + Send,
    ) -> PyResult<Option<T>> {
        let pipeline = self.pipeline.get(py, "pipeline")?;
        Ok(py.detach(|| {
            let started = pipeline.read().unwrap_or_else(PoisonError::into_inner);
            started.as_ref().map(|started| work(&started.pipeline))
        }))
    }
}

impl Pipeline {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan<T>(&self, py: Python<'_>, change: impl FnOnce(&mut Plan) -> PyResult<T>) -> PyResult<T> {
        match &mut *self.state() {
            State::Building(plan) => change(plan),
            State::Running(_) => Err(plan::started(py)),
            State::Closed(_) => Err(closed(py)),
        }
    }

    /// The running pipeline, started if it was not.
    fn running(&self, py: Python<'_>) -> PyResult<Arc<Running>> {
        loop {
            let parts = match &*self.state() {
                State::Running(running) => return Ok(Arc::clone(running)),
                State::Closed(_) => return Err(closed(py)),
                State::Building(plan) => plan.parts(py),
            };
            let made = parts.make(py)?;
            let mut state = self.state();
            match &mut *state {
                State::Running(running) => return Ok(Arc::clone(running)),
                State::Closed(_) => return Err(closed(py)),
                // Another thread added one meanwhile.
                State::Building(plan) if plan.enrichers.len() != made.enrichers.len() => {}
                State::Building(plan) => {
                    let pipeline = Homebound::new(RwLock::new(Some(plan.start(py, made)?)));
                    let running = Arc::new(Running { pipeline });
                    *state = State::Running(Arc::clone(&running));
                    return Ok(running);
                }
            }
        }
    }

    /// The running pipeline, if there is one.
    fn if_running(&self) -> Option<Arc<Running>> {
        match &*self.state() {
            State::Running(running) => Some(Arc::clone(running)),
            State::Building(_) | State::Closed(_) => None,
        }
    }
}

#[pymethods]
impl Pipeline {
    #[new]
    #[pyo3(signature = (*, workers = None, queue_events = 8192, queue_bytes = 16 << 20, when_full = "block",
        max_event_len = None, dead_letters = None))]
    fn new(
        workers: Option<usize>,
        queue_events: usize,
        queue_bytes: usize,
        when_full: &str,
        max_event_len: Option<usize>,
        dead_letters: Option<PathBuf>,
    ) -> PyResult<Self> {
        let defaults = PipelineSettings::default();
        let policies = [WhenQueueFull::Block, WhenQueueFull::Shed];
        let when_full = choose("when_full", when_full, &policies, |policy| match policy {
            WhenQueueFull::Block => "block",
            WhenQueueFull::Shed => "shed",
        })?;
        let settings = PipelineSettings {
            workers: workers.unwrap_or(defaults.workers),
            queue_events,
            queue_bytes,
            when_full,
            max_event_len: max_event_len.unwrap_or(defaults.max_event_len),
        };
        if settings.workers > 1024 {
            return Err(PyValueError::new_err("workers is 1 to 1024"));
        }
        Ok(Self {
            state: Mutex::new(State::Building(Plan::new(settings, dead_letters))),
            max_event_len: settings.max_event_len,
            drain_timeout: OnceLock::new(),
        })
    }

    /// A pipeline as the configuration of ``aegis pipeline run`` describes it, a TOML file, not yet started.
    ///
    /// Of ``[source]`` nothing is opened: events come from ``emit``. Enrichers that are added come before the one of the
    /// file, and sinks beside those of the file.
    ///
    /// :param path: the file; relative paths in it are beside it
    /// :param state_dir: where ``aegis init`` made the keyring, if it is not where the variables say
    /// :raises PipelineError: it cannot be used, or something that it names cannot be opened
    /// :raises KeyringError: there is no keyring, or no DEK to seal under
    #[classmethod]
    #[pyo3(signature = (path, *, state_dir = None))]
    fn from_config<'py>(
        cls: &Bound<'py, PyType>,
        path: PathBuf,
        state_dir: Option<PathBuf>,
    ) -> PyResult<Bound<'py, PyAny>> {
        configured::pipeline(cls, &path, state_dir)
    }

    /// How long leaving a ``with`` block waits, in seconds: 30, unless a configuration says otherwise.
    #[getter]
    fn drain_timeout(&self) -> f64 {
        self.drain_timeout.get().map_or(30.0, Duration::as_secs_f64)
    }

    /// Adds what happens to events, in this order. The last one has to be a ``PIIEncryptionEnricher``.
    ///
    /// :param enricher: a ``PIIEncryptionEnricher``, or a function that takes an event and returns the event that is to go
    ///     on. If it raises, or returns ``None``, the event is refused, and goes to the dead letters
    /// :param form: in which form a function gets events: ``"dict"``, ``"str"`` or ``"bytes"``; it may return any
    /// :raises StartError: events were emitted already
    #[pyo3(signature = (enricher, *, form = "dict"))]
    fn add_enricher(&self, enricher: &Bound<'_, PyAny>, form: &str) -> PyResult<()> {
        let py = enricher.py();
        let form = form_of(form)?;
        let enricher = if let Ok(sealing) = enricher.cast::<PiiEnricher>() {
            PlannedEnricher::Pii(sealing.clone().unbind())
        } else if enricher.is_callable() {
            PlannedEnricher::Function(Arc::new(enricher.clone().unbind()), form)
        } else {
            let found = enricher.get_type().name()?;
            return Err(PyTypeError::new_err(format!("an enricher can be called, {found} cannot")));
        };
        self.plan(py, |plan| {
            plan.add_enricher(enricher);
            Ok(())
        })
    }

    /// Adds where events go.
    ///
    /// :param sink: a sink of this package, or a function that is called with each sealed event. If it raises, the event
    ///     is offered again later, and those behind it wait; if it raises ``SinkRefusedError``, the event is given up
    /// :param name: for the log and the metrics: small letters, digits, ``-`` and ``_``
    /// :param form: in which form a function gets events: ``"dict"``, ``"str"`` or ``"bytes"``
    /// :param batch: whether a function gets a list of events at once
    /// :param spool: a directory in which sealed events are kept while the sink is down; without it they wait in memory
    /// :param batch_events: most events in a batch
    /// :param linger: how long a batch waits to become full, in seconds
    /// :raises StartError: events were emitted already, or the name is taken
    /// :raises PipelineError: the spool cannot be used
    #[pyo3(signature = (sink, *, name = None, form = "dict", batch = false, spool = None, batch_events = 512,
        linger = 0.0))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn add_sink(
        &self,
        sink: &Bound<'_, PyAny>,
        name: Option<String>,
        form: &str,
        batch: bool,
        spool: Option<PathBuf>,
        batch_events: usize,
        linger: f64,
    ) -> PyResult<()> {
        let py = sink.py();
        let linger = Duration::try_from_secs_f64(linger)
            .map_err(|_| PyValueError::new_err("linger is no number of seconds"))?;
        let options = SinkOptions { name, form: form_of(form)?, batch, spool, batch_events, linger };
        self.plan(py, |plan| plan.add_sink(sink, options))
    }

    /// Starts the threads now, not with the first event. What waits in spools is delivered from now on.
    ///
    /// :raises StartError: there is no sink, or nothing that seals
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.running(py).map(|_| ())
    }

    /// Takes an event: a ``dict``, or one JSON text as ``str`` or ``bytes``.
    ///
    /// Waits if there is no room, unless ``when_full`` is ``"shed"``. That it returns says that the event is in memory;
    /// that it arrived, ``flush`` says.
    ///
    /// :param timeout: how long to wait for room, in seconds; for ever if ``None``
    /// :returns: the how manieth event of this pipeline it is, from 1
    /// :raises EventError: a dict that JSON cannot express
    /// :raises EmitError: it was not taken; ``kind`` says why
    #[pyo3(signature = (event, timeout = None))]
    fn emit(&self, event: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<u64> {
        let py = event.py();
        let (_, text) = event::take(event, self.max_event_len)?;
        let running = self.running(py)?;
        let deadline = deadline(timeout)?;
        let mut text = text.into_vec();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let emitted = running
                .with(py, move |pipeline| pipeline.emit_within(text, left.min(SLICE)))?
                .ok_or_else(|| closed(py))?;
            match emitted.or_raise(py)? {
                Emitted::At(Position(number)) => return Ok(number),
                Emitted::NoRoom(_) if left <= SLICE => return Err(no_room(py)),
                Emitted::NoRoom(event) => text = event,
            }
            py.check_signals()?;
        }
    }

    /// As ``emit``, and never waits.
    ///
    /// :returns: the event's number, or ``None`` if there is no room for it now
    fn try_emit(&self, event: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
        let py = event.py();
        let (_, text) = event::take(event, self.max_event_len)?;
        let text = text.into_vec();
        let running = self.running(py)?;
        let emitted = running.with(py, |pipeline| pipeline.emit_within(text, Duration::ZERO))?;
        match emitted.ok_or_else(|| closed(py))?.or_raise(py)? {
            Emitted::At(Position(number)) => Ok(Some(number)),
            Emitted::NoRoom(_) => Ok(None),
        }
    }

    /// Waits until every event that was emitted before is acknowledged: each sink has it, or its spool has it on the
    /// disk; or it was refused, counted, and its dead letter kept.
    ///
    /// :param timeout: how long to wait, in seconds; for ever if ``None``
    /// :raises FlushError: not all are; ``unsettled`` says how many are not, and they stay on their way
    #[pyo3(signature = (timeout = Some(30.0)))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<SettledObject> {
        let deadline = deadline(timeout)?;
        let Some(running) = self.if_running() else { return Ok(self.settled_without_threads()) };
        let wanted = running.with(py, TelemetryPipeline::emitted)?;
        let Some(wanted) = wanted else { return Ok(self.settled_without_threads()) };
        let mut is_first = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let slice = left.min(SLICE);
            let hurry = std::mem::replace(&mut is_first, false);
            let flushed = running.with(py, |pipeline| match hurry {
                // Batches that wait to become full are told not to.
                true => pipeline.flush(slice),
                false => pipeline.wait_for(wanted, slice),
            })?;
            match flushed {
                None => return Ok(self.settled_without_threads()),
                Some(Ok(settled)) => return Ok(SettledObject(settled)),
                Some(Err(FlushError::TimedOut { .. })) if left > SLICE => py.check_signals()?,
                Some(Err(error)) => return Err(flush_error(py, &error)),
            }
        }
    }

    /// Takes no more events, and ends when all are acknowledged. A second time it does nothing.
    ///
    /// :param timeout: how long to wait, in seconds; for ever if ``None``
    /// :raises FlushError: not all are; what was not acknowledged by then is given up, and ``unsettled`` says how much
    #[pyo3(signature = (timeout = Some(30.0)))]
    fn close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<SettledObject> {
        let deadline = deadline(timeout)?;
        let running = match &mut *self.state() {
            State::Running(running) => Arc::clone(running),
            State::Closed(settled) => return Ok(SettledObject(*settled)),
            state @ State::Building(_) => {
                *state = State::Closed(Settled::default());
                return Ok(SettledObject(Settled::default()));
            }
        };
        running.with(py, TelemetryPipeline::take_no_more)?;
        let wanted = running.with(py, TelemetryPipeline::emitted)?.unwrap_or_default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = running.with(py, |pipeline| pipeline.wait_for(wanted, left.min(SLICE)))?;
            match waited {
                Some(Err(FlushError::TimedOut { .. })) if left > SLICE => py.check_signals()?,
                None | Some(_) => break,
            }
        }
        // Whoever is emitting is told that it is closed, and lets go.
        let ended = py.detach(|| {
            let started = running.pipeline.write().unwrap_or_else(PoisonError::into_inner).take();
            started.map(|started| started.pipeline.close(deadline.saturating_duration_since(Instant::now())))
        });
        let ended = match ended {
            Some(ended) => ended,
            // Another thread was faster.
            None => return Ok(self.settled_without_threads()),
        };
        *self.state() = State::Closed(ended.as_ref().copied().unwrap_or_default());
        match ended {
            Ok(settled) => Ok(SettledObject(settled)),
            Err(error) => Err(flush_error(py, &error)),
        }
    }

    /// Every event up to this number is acknowledged.
    #[getter]
    fn acknowledged(&self, py: Python<'_>) -> PyResult<u64> {
        let running = self.if_running();
        let known = running.map(|running| running.with(py, TelemetryPipeline::acknowledged)).transpose()?;
        Ok(known
            .flatten()
            .map_or_else(|| self.settled_without_threads().0.through.0, |Position(number)| number))
    }

    /// Whether it was started and not closed.
    #[getter]
    fn is_running(&self) -> bool {
        self.if_running().is_some()
    }

    /// Counters and gauges, as Prometheus reads them; empty unless it is running.
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let running = self.if_running();
        let text =
            running.map(|running| running.with(py, |pipeline| pipeline.metrics().render())).transpose()?;
        Ok(text.flatten().unwrap_or_default())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Closes it, and waits no longer than ``drain_timeout``.
    #[pyo3(signature = (*_exception))]
    fn __exit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        slf.call_method1("close", (slf.get().drain_timeout(),)).map(|_| ())
    }

    fn __repr__(&self) -> String {
        match &*self.state() {
            State::Building(plan) => format!(
                "<TelemetryPipeline not started, enrichers={} sinks={}>",
                plan.enrichers.len(),
                plan.sinks.len()
            ),
            State::Running(_) => "<TelemetryPipeline running>".to_owned(),
            State::Closed(_) => "<TelemetryPipeline closed>".to_owned(),
        }
    }
}

impl Pipeline {
    fn settled_without_threads(&self) -> SettledObject {
        SettledObject(match &*self.state() {
            State::Closed(settled) => *settled,
            State::Building(_) | State::Running(_) => Settled::default(),
        })
    }
}

/// What became of all events that are settled, since the start.
#[pyclass(frozen, name = "Settled", module = "aegis_governance.telemetry")]
pub(crate) struct SettledObject(Settled);

#[pymethods]
impl SettledObject {
    /// Every event up to this number is settled.
    #[getter]
    const fn through(&self) -> u64 {
        self.0.through.0
    }

    /// Events that were not sealed, or that a sink refused for good.
    #[getter]
    const fn refused(&self) -> u64 {
        self.0.refused
    }

    /// Of these, those whose dead letter could not be kept. They are lost.
    #[getter]
    const fn letters_lost(&self) -> u64 {
        self.0.letters_lost
    }

    /// Events that were lost because the queue was full.
    #[getter]
    const fn shed(&self) -> u64 {
        self.0.shed
    }

    /// Events that were lost to one sink because its spool was full, once for each sink.
    #[getter]
    const fn shed_by_spools(&self) -> u64 {
        self.0.shed_by_spools
    }

    fn __repr__(&self) -> String {
        let Settled { through, refused, letters_lost, shed, shed_by_spools } = self.0;
        format!(
            "<Settled through={} refused={refused} letters_lost={letters_lost} shed={shed} \
             shed_by_spools={shed_by_spools}>",
            through.0
        )
    }
}

fn form_of(name: &str) -> PyResult<Form> {
    Form::of_name(name).ok_or_else(|| PyValueError::new_err("form is \"dict\", \"str\" or \"bytes\""))
}

fn deadline(timeout: Option<f64>) -> PyResult<Instant> {
    let wait = match timeout {
        None => FOR_EVER,
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err("timeout is no number of seconds"))?
            .min(FOR_EVER),
    };
    Ok(Instant::now() + wait)
}

fn closed(py: Python<'_>) -> PyErr {
    exception(py, &EmitError::Closed)
}

fn no_room(py: Python<'_>) -> PyErr {
    crate::failure::Raised::new(
        "EmitError",
        "NoRoom",
        "there was no room for the event in time",
        "wait longer, or bring back the sink that is slow",
    )
    .into_exception(py)
}

fn flush_error(py: Python<'_>, error: &FlushError) -> PyErr {
    let unsettled = match error {
        FlushError::TimedOut { unsettled, .. } | FlushError::Failed { unsettled, .. } => *unsettled,
    };
    let raised = exception(py, error);
    let _ = raised.value(py).setattr("unsettled", unsettled);
    raised
}
