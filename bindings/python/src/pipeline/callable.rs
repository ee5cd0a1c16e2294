//! Functions of Python as enrichers and sinks. They are called by threads of the pipeline, one at a time for each thread.

use std::sync::Arc;

use aegis_telemetry::{
    Batch, Delivered, Effect, Enriched, Enricher, EventId, Reason, Refusal, Sink, SinkError, SinkFault,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyType};

use crate::event::{self, Form};

/// Most bytes of an event that a function returns: what the last enricher takes at most.
const MOST: usize = aegis_pii::Limits::for_encryption().max_event_len;

/// A function that takes an event and returns the event that is to go on.
pub(super) struct FunctionEnricher {
    function: Arc<Py<PyAny>>,
    form: Form,
}

impl FunctionEnricher {
    pub(super) const fn new(function: Arc<Py<PyAny>>, form: Form) -> Self {
        Self { function, form }
    }

    fn call(&self, py: Python<'_>, event: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let given = match self.form {
            Form::Dict => event::read(py, event).map_err(|error| Refusal::Event {
                reason: if error.offset().is_some() { Reason::NotJson } else { Reason::Enricher },
                offset: error.offset(),
            })?,
            form => form.give(py, event).map_err(|_| refused(Reason::NotUtf8))?,
        };
        let returned = self.function.bind(py).call1((given,)).map_err(|error| {
            // Not what it said: that may hold what is personal.
            let kind = class_of(py, &error);
            tracing::warn!(target: "aegis_telemetry", error = kind, "an enricher raised an exception");
            refused(Reason::Enricher)
        })?;
        let (_, text) = event::take(&returned, MOST).map_err(|_| {
            tracing::warn!(target: "aegis_telemetry", "an enricher returned no event");
            refused(Reason::Enricher)
        })?;
        out.extend_from_slice(text.as_slice());
        Ok(())
    }
}

impl Enricher for FunctionEnricher {
    fn enrich(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Enriched, Refusal> {
        // While the interpreter is going away nobody can be asked. The event waits, and is not acknowledged.
        Python::try_attach(|py| self.call(py, event, out))
            .unwrap_or(Err(Refusal::Unavailable { reason: Reason::Enricher }))
            .map(|()| Enriched::default())
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn another(&self) -> Box<dyn Enricher> {
        Box::new(Self { function: Arc::clone(&self.function), form: self.form })
    }
}

const fn refused(reason: Reason) -> Refusal {
    Refusal::Event { reason, offset: None }
}

/// A function that takes each event, or each batch.
pub(super) struct FunctionSink {
    function: Py<PyAny>,
    form: Form,
    in_batches: bool,
    /// The last event that it took. What is asked again begins behind it.
    last: Option<EventId>,
}

impl FunctionSink {
    pub(super) const fn new(function: Py<PyAny>, form: Form, in_batches: bool) -> Self {
        Self { function, form, in_batches, last: None }
    }

    fn call(&mut self, py: Python<'_>, batch: &Batch) -> Result<(), SinkError> {
        let events = batch.events();
        // A batch in which an event was refused comes again in halves.
        let taken = events.iter().take_while(|event| self.took(event.id())).count();
        let rest = events.get(taken..).unwrap_or_default();
        if self.in_batches {
            let list = PyList::empty(py);
            for event in rest {
                list.append(self.give(py, event.text())?).map_err(|error| fault(py, &error))?;
            }
            if !list.is_empty() {
                self.function.bind(py).call1((list,)).map_err(|error| fault(py, &error))?;
            }
        } else {
            for event in rest {
                let given = self.give(py, event.text())?;
                self.function.bind(py).call1((given,)).map_err(|error| fault(py, &error))?;
                self.last = Some(event.id());
            }
        }
        if let Some(last) = rest.last() {
            self.last = Some(last.id());
        }
        Ok(())
    }

    /// Whether it took an event before. Those of a run come in order.
    fn took(&self, id: EventId) -> bool {
        self.last.is_some_and(|last| last.run() == id.run() && id.number() <= last.number())
    }

    fn give<'py>(&self, py: Python<'py>, text: &[u8]) -> Result<Bound<'py, PyAny>, SinkError> {
        // A number of more digits than Python reads: no second try would read it.
        self.form.give(py, text).map_err(|error| SinkError::Refused { fault: callback(py, &error) })
    }
}

impl Sink for FunctionSink {
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, SinkError> {
        Python::try_attach(|py| self.call(py, batch)).unwrap_or_else(|| {
            let reason = "the interpreter is going away".to_owned();
            Err(SinkError::retry(SinkFault::Callback { reason }))
        })?;
        Ok(Delivered::All)
    }
}

/// `SinkRefusedError` is for good; any other exception is for now.
fn fault(py: Python<'_>, error: &PyErr) -> SinkError {
    static REFUSED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let refused = REFUSED.import(py, "aegis_governance.errors", "SinkRefusedError");
    let is_refusal = refused.is_ok_and(|refused| error.is_instance(py, refused));
    let fault = callback(py, error);
    if is_refusal { SinkError::Refused { fault } } else { SinkError::retry(fault) }
}

fn callback(py: Python<'_>, error: &PyErr) -> SinkFault {
    // Its class alone: what it says may hold something of the event.
    SinkFault::Callback { reason: class_of(py, error) }
}

fn class_of(py: Python<'_>, error: &PyErr) -> String {
    let name = error.get_type(py).qualname();
    name.and_then(|name| Ok(name.to_cow()?.chars().take(64).collect())).unwrap_or_default()
}
