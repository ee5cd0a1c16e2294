//! What the crates log, handed to Python's `logging`, each record under the name of its crate: `aegis_governance.kek`.
//!
//! Threads of the crates log while they hold locks of their own, and wait here for the interpreter. That cannot end in a
//! deadlock, because nothing in this package takes such a lock while it is attached to the interpreter.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Hands records over from now on. If something else in this process listens already, that stays.
pub(crate) fn begin() {
    let _ = tracing::subscriber::set_global_default(PythonLog { spans: AtomicU64::new(1) });
}

struct PythonLog {
    spans: AtomicU64,
}

impl Subscriber for PythonLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What is finer is for those who work on the crates. Others' crates speak of connections and requests.
        *metadata.level() <= Level::INFO && metadata.target().starts_with("aegis") && metadata.is_event()
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        // Not while the interpreter is going away: there is nobody left to listen.
        Python::try_attach(|py| {
            if let Err(error) = hand_over(py, event.metadata(), &line) {
                error.write_unraisable(py, None);
            }
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and after it the other fields as `name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
    pairs: Vec<(&'static str, String)>,
}

impl Line {
    fn add(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            let _ = write!(self.fields, " {}={value}", field.name());
            self.pairs.push((field.name(), value));
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }
}

fn hand_over(py: Python<'_>, metadata: &Metadata<'_>, line: &Line) -> PyResult<()> {
    static GET_LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let get_logger = GET_LOGGER
        .get_or_try_init(py, || PyModule::import(py, "logging")?.getattr("getLogger").map(Bound::unbind))?;
    let number = match *metadata.level() {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG | Level::TRACE => 10,
    };
    let logger = get_logger.call1(py, (logger_name(metadata.target()),))?;
    if !logger.call_method1(py, "isEnabledFor", (number,))?.is_truthy(py)? {
        return Ok(());
    }
    let fields = PyDict::new(py);
    for (name, value) in &line.pairs {
        fields.set_item(*name, value)?;
    }
    let extra = PyDict::new(py);
    extra.set_item("aegis", fields)?;
    let keywords = PyDict::new(py);
    keywords.set_item("extra", extra)?;
    // As arguments: a percent sign in the text is none of a format.
    logger.call_method(py, "log", (number, "%s%s", &line.message, &line.fields), Some(&keywords))?;
    Ok(())
}

/// `aegis_kek::select` → `aegis_governance.kek`.
fn logger_name(target: &str) -> String {
    let of_crate = target.split("::").next().unwrap_or(target);
    let word = of_crate.strip_prefix("aegis_").unwrap_or(of_crate);
    format!("aegis_governance.{word}")
}
