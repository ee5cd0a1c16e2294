//! Sinks of the crates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aegis_kek::SecretText;
use aegis_telemetry::{
    Authorization, BodyForm, FileSettings, FileSink, HttpSink, NatsLogin, NatsServer, NatsSettings, NatsSink,
    OtlpSettings, OtlpSink, Rotation, Sink, SyncPolicy, WebSettings, WriterSink,
};
use pyo3::PyClass;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::bytes::secret_text;
use crate::enricher::choose;
use crate::failure::{OrRaise as _, Raised};

/// A sink of this package, for one pipeline.
#[pyclass(subclass, frozen, name = "Sink", module = "aegis_governance.telemetry")]
pub(crate) struct SinkObject {
    sink: Mutex<Option<Box<dyn Sink>>>,
    shown: String,
}

impl SinkObject {
    fn of<S: PyClass<BaseType = Self>>(
        subclass: S,
        sink: impl Sink + 'static,
        shown: String,
    ) -> PyClassInitializer<S> {
        let base = Self { sink: Mutex::new(Some(Box::new(sink))), shown };
        PyClassInitializer::from(base).add_subclass(subclass)
    }

    pub(super) fn take(&self, py: Python<'_>) -> PyResult<Box<dyn Sink>> {
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner).take();
        sink.ok_or_else(|| {
            let message = "the sink is in a pipeline already";
            Raised::new("StartError", "SinkInUse", message, "make one for each pipeline").into_exception(py)
        })
    }
}

#[pymethods]
impl SinkObject {
    fn __repr__(&self) -> String {
        format!("<{}>", self.shown)
    }
}

/// A line an event to a file of mode 0600, whose directory has to be there.
///
/// :param max_bytes: when the file is put aside: at so many bytes
/// :param max_age: or at so many seconds
/// :param keep: how many files that were put aside are kept; all if ``None``
/// :param sync: when it is on the disk: ``"each-batch"``, so that a power cut loses nothing that was acknowledged, or
///     ``"never"``: when the system likes
/// :raises PipelineError: the file cannot be used
#[pyclass(extends = SinkObject, frozen, name = "FileSink", module = "aegis_governance.telemetry")]
pub(crate) struct FileSinkObject;

#[pymethods]
impl FileSinkObject {
    #[new]
    #[pyo3(signature = (path, *, max_bytes = None, max_age = None, keep = None, sync = "each-batch"))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        max_bytes: Option<u64>,
        max_age: Option<f64>,
        keep: Option<usize>,
        sync: &str,
    ) -> PyResult<PyClassInitializer<Self>> {
        let sync =
            choose("sync", sync, &[SyncPolicy::EachBatch, SyncPolicy::Never], |policy| match policy {
                SyncPolicy::EachBatch => "each-batch",
                SyncPolicy::Interval(_) | SyncPolicy::Never => "never",
            })?;
        let max_age = max_age.map(|seconds| duration("max_age", seconds)).transpose()?;
        let shown = format!("FileSink {}", path.display());
        let settings = FileSettings { path, rotation: Rotation { max_bytes, max_age, keep }, sync };
        let sink = py.detach(|| FileSink::open(settings)).or_raise(py)?;
        Ok(SinkObject::of(Self, sink, shown))
    }
}

/// A line an event to standard output.
#[pyclass(extends = SinkObject, frozen, name = "StdoutSink", module = "aegis_governance.telemetry")]
pub(crate) struct StdoutSinkObject;

#[pymethods]
impl StdoutSinkObject {
    #[new]
    fn new(py: Python<'_>) -> PyResult<PyClassInitializer<Self>> {
        Ok(SinkObject::of(Self, WriterSink::stdout().or_raise(py)?, "StdoutSink".to_owned()))
    }
}

/// Each batch as one POST, with an ``Idempotency-Key`` that is the same in every retry.
///
/// :param url: ``https://…``; ``http://…`` only without credentials, or to this host
/// :param headers: further headers; they may be logged
/// :param bearer_token: for ``Authorization: Bearer``
/// :param basic: user and password, for ``Authorization: Basic``
/// :param form: ``"lines"`` (a line an event) or ``"array"``
/// :param timeout: for a whole exchange, in seconds
/// :param ca_file: certificates (PEM) that are trusted instead of the system's
/// :raises PipelineError: no request can be made so
#[pyclass(extends = SinkObject, frozen, name = "HTTPSink", module = "aegis_governance.telemetry")]
pub(crate) struct HttpSinkObject;

#[pymethods]
impl HttpSinkObject {
    #[new]
    #[pyo3(signature = (url, *, headers = None, bearer_token = None, basic = None, form = "lines", timeout = 10.0,
        ca_file = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        url: String,
        headers: Option<BTreeMap<String, String>>,
        bearer_token: Option<&Bound<'_, PyString>>,
        basic: Option<(String, Bound<'_, PyString>)>,
        form: &str,
        timeout: f64,
        ca_file: Option<PathBuf>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let form = choose("form", form, &[BodyForm::Lines, BodyForm::Array], |form| match form {
            BodyForm::Lines => "lines",
            BodyForm::Array => "array",
        })?;
        let settings = web(url, headers, bearer_token, basic, timeout, ca_file)?;
        Ok(SinkObject::of(Self, HttpSink::new(&settings, form).or_raise(py)?, "HTTPSink".to_owned()))
    }
}

/// Each batch as one OTLP export of log records over HTTP (protobuf).
///
/// :param url: the path is used as it is, usually ``/v1/logs``
/// :param resource: attributes of the resource, such as ``service.name``
///
/// The other parameters are those of ``HTTPSink``.
#[pyclass(extends = SinkObject, frozen, name = "OTLPSink", module = "aegis_governance.telemetry")]
pub(crate) struct OtlpSinkObject;

#[pymethods]
impl OtlpSinkObject {
    #[new]
    #[pyo3(signature = (url, *, resource = None, headers = None, bearer_token = None, basic = None, timeout = 10.0,
        ca_file = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        url: String,
        resource: Option<BTreeMap<String, String>>,
        headers: Option<BTreeMap<String, String>>,
        bearer_token: Option<&Bound<'_, PyString>>,
        basic: Option<(String, Bound<'_, PyString>)>,
        timeout: f64,
        ca_file: Option<PathBuf>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let web = web(url, headers, bearer_token, basic, timeout, ca_file)?;
        let settings = OtlpSettings { web, resource: resource.unwrap_or_default().into_iter().collect() };
        Ok(SinkObject::of(Self, OtlpSink::new(&settings).or_raise(py)?, "OTLPSink".to_owned()))
    }
}

/// Each event as a message of NATS JetStream.
///
/// :param urls: addresses such as ``nats://127.0.0.1:4222`` or ``tls://nats.example``, of one cluster
/// :param subject: where events are published
/// :param stream: the stream that has to have them, if that is to be checked
/// :param user: with ``password``, how we prove who we are
/// :param token: or by this
/// :param timeout: for a connection, and for an acknowledgement, in seconds
/// :param ca_file: certificates (PEM) that are trusted instead of the system's
#[pyclass(extends = SinkObject, frozen, name = "NATSSink", module = "aegis_governance.telemetry")]
pub(crate) struct NatsSinkObject;

#[pymethods]
impl NatsSinkObject {
    #[new]
    #[pyo3(signature = (urls, subject, *, stream = None, user = None, password = None, token = None, timeout = 10.0,
        ca_file = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        urls: &Bound<'_, PyAny>,
        subject: String,
        stream: Option<String>,
        user: Option<String>,
        password: Option<&Bound<'_, PyString>>,
        token: Option<&Bound<'_, PyString>>,
        timeout: f64,
        ca_file: Option<PathBuf>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let urls = match urls.extract::<String>() {
            Ok(one) => vec![one],
            Err(_) => urls.extract::<Vec<String>>()?,
        };
        let first = urls.first().cloned();
        let first = first.ok_or_else(|| PyValueError::new_err("there is no address in urls"))?;
        let login = match (user, password, token) {
            (None, None, None) => None,
            (Some(user), Some(password), None) => {
                Some(NatsLogin::Password { user, password: secret(password)? })
            }
            (None, None, Some(token)) => Some(NatsLogin::Token(secret(token)?)),
            _ => return Err(PyTypeError::new_err("give user and password, or token, or none of them")),
        };
        let timeout = duration("timeout", timeout)?;
        let server =
            NatsServer { urls, login, trusted_certificates: ca_file, timeout, ..NatsServer::at(first) };
        let sink = NatsSink::new(NatsSettings { server, subject, stream })?;
        Ok(SinkObject::of(Self, sink, "NATSSink".to_owned()))
    }
}

fn web(
    url: String,
    headers: Option<BTreeMap<String, String>>,
    bearer_token: Option<&Bound<'_, PyString>>,
    basic: Option<(String, Bound<'_, PyString>)>,
    timeout: f64,
    ca_file: Option<PathBuf>,
) -> PyResult<WebSettings> {
    let authorization = match (bearer_token, basic) {
        (None, None) => None,
        (Some(token), None) => Some(Authorization::Bearer(secret(token)?)),
        (None, Some((user, password))) => Some(Authorization::Basic { user, password: secret(&password)? }),
        (Some(_), Some(_)) => return Err(PyTypeError::new_err("give bearer_token or basic, not both")),
    };
    Ok(WebSettings {
        headers: headers.unwrap_or_default().into_iter().collect(),
        authorization,
        timeout: duration("timeout", timeout)?,
        trusted_certificates: ca_file,
        ..WebSettings::of_url(url)
    })
}

fn secret(text: &Bound<'_, PyString>) -> PyResult<SecretText> {
    Ok(SecretText::new(&secret_text(text)?))
}

fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= Duration::from_secs(10 * 365 * 24 * 3600))
        .ok_or_else(|| PyValueError::new_err(format!("{name} is no number of seconds")))
}
