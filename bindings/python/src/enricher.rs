//! Sealing the personal fields of events.

use std::sync::Arc;

use aegis_deployment::{FollowedDek, MeteredEncryptor, SealingEnricher};
use aegis_pii::stream::Transform as _;
use aegis_pii::{
    CatalogueMark, DekName, EncryptError, EncryptorOptions, EnvelopeForm, FieldBinding, Limits, Moment,
    PiiEncryptor, PlaintextHash, SealingDek, Selector,
};
use aegis_telemetry::Enricher;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::arrow::{ArrowStream, Columns, Direction, Work, pass_through, refused};
use crate::bytes::BytesLike;
use crate::catalogue::CatalogueObject;
use crate::event::{self, Form, Text};
use crate::failure::{OrRaise as _, exception, in_one_line};
use crate::hybrid_kem::public_key_of;
use crate::pool::Pool;
use crate::process::Homebound;

/// Events of a batch that are worked on while the interpreter is free: so many that taking it back costs nothing, and so few
/// that what they become is still in the processor's cache when it is copied.
const CHUNK_EVENTS: usize = 8;
/// A buffer that is longer is not kept.
const KEPT_BYTES: usize = 4 << 20;

/// Seals the personal fields of events, and copies all else.
///
/// Called with an event, it gives it back sealed, in the form in which it came: ``dict``, ``str`` or ``bytes``. It is safe
/// to use from several threads, which then work at the same time; after a fork, both processes can use it. It can be
/// pickled: it holds a public key.
///
/// :param public_key: of the DEK, or of the KEK itself: 1,216 bytes
/// :param dek_version: ``dek-v1-YYYYMMDD``, or ``dek-v1-YYYYMMDD-N``
/// :param catalogue: which fields; without one, the twelve of the guide
/// :param form: ``"self-contained"``, or ``"compact"``: the encapsulation once an event, in a member ``_aegis``
/// :param plaintext_hash: ``"hmac-sha256"``, or ``"sha256"``, by which guessed values can be confirmed
/// :param bind_by: ``"pointer"``: a field opens at its place only; or ``"name"``: wherever it has its name
/// :param tenant: to whom fields are bound; the decryptor has to be told the same
/// :param event_id_member: the member that holds the event's id, to which fields are bound then
/// :param catalogue_mark: whether self-contained envelopes name the catalogue
/// :param max_event_len: longer events are refused, in bytes
/// :raises KeyFormatError: the public key is none
/// :raises OptionsError: the version is none, or options contradict one another
#[pyclass(frozen, name = "PIIEncryptionEnricher", module = "aegis_governance.telemetry")]
pub(crate) struct PiiEnricher {
    engine: Engine,
    options: EncryptorOptions,
    workers: Pool<Worker>,
}

/// Under what is sealed.
#[derive(Clone)]
pub(crate) enum Engine {
    /// One DEK, for ever.
    Fixed(Arc<SealingDek>),
    /// Whichever DEK of a keyring is active; what is sealed is counted there.
    Followed(Arc<Homebound<Arc<FollowedDek>>>),
}

struct Worker {
    sealer: Sealer,
    out: Vec<u8>,
}

enum Sealer {
    Fixed(PiiEncryptor),
    Followed(MeteredEncryptor),
}

impl Sealer {
    fn seal(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<(), EncryptError> {
        match self {
            Self::Fixed(encryptor) => encryptor.encrypt_event(Moment::now(), event, out).map(|_| ()),
            Self::Followed(encryptor) => encryptor.transform(event, out).map(|_| ()),
        }
    }

    /// What was sealed is counted now.
    fn end(&mut self) {
        match self {
            Self::Fixed(_) => {}
            Self::Followed(encryptor) => encryptor.end_chunk(),
        }
    }
}

impl PiiEnricher {
    /// # Errors
    ///
    /// An `OptionsError`, before the first event.
    pub(crate) fn new(py: Python<'_>, engine: Engine, options: EncryptorOptions) -> PyResult<Self> {
        for warning in options.warnings() {
            tracing::warn!(target: "aegis_pii", "{warning}");
        }
        let enricher = Self { engine, options, workers: Pool::new() };
        let first = enricher.make(py)?;
        enricher.workers.give_back(first);
        Ok(enricher)
    }

    fn make(&self, py: Python<'_>) -> PyResult<Worker> {
        self.make_with(py, self.options.clone())
    }

    fn make_with(&self, py: Python<'_>, options: EncryptorOptions) -> PyResult<Worker> {
        let sealer = match &self.engine {
            Engine::Fixed(dek) => {
                Sealer::Fixed(PiiEncryptor::new(Arc::new(Arc::clone(dek)), options).or_raise(py)?)
            }
            // Its lock may be held by a thread that waits for the interpreter, to log something.
            Engine::Followed(followed) => {
                Sealer::Followed(py.detach(|| followed.metered(options)).or_raise(py)?)
            }
        };
        Ok(Worker { sealer, out: Vec::new() })
    }

    fn worker(&self, py: Python<'_>) -> PyResult<Worker> {
        if let Engine::Followed(followed) = &self.engine {
            followed.get(py, "keyring")?;
        }
        match self.workers.take() {
            Some(worker) => Ok(worker),
            None => self.make(py),
        }
    }

    fn rest(&self, mut worker: Worker) {
        if worker.out.capacity() > KEPT_BYTES {
            worker.out = Vec::new();
        }
        self.workers.give_back(worker);
    }

    /// The same, for a thread of a pipeline.
    pub(crate) fn for_pipeline(&self, py: Python<'_>) -> PyResult<Box<dyn Enricher>> {
        let options = self.options.clone();
        Ok(match &self.engine {
            Engine::Fixed(dek) => {
                Box::new(PiiEncryptor::new(Arc::new(Arc::clone(dek)), options).or_raise(py)?)
            }
            Engine::Followed(followed) => {
                let followed = Arc::clone(followed.get(py, "keyring")?);
                Box::new(py.detach(|| SealingEnricher::new(followed, options)).or_raise(py)?)
            }
        })
    }

    /// Under what dead letters are sealed.
    pub(crate) fn sealing_source(&self, py: Python<'_>) -> Arc<dyn aegis_pii::SealingDekSource> {
        match &self.engine {
            Engine::Fixed(dek) => Arc::new(Arc::clone(dek)),
            Engine::Followed(followed) => py.detach(|| followed.sealing_source()),
        }
    }

    fn seal_one<'py>(&self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = event.py();
        let (form, text) = event::take(event, self.options.limits.max_event_len)?;
        let mut worker = self.worker(py)?;
        let sealed = py.detach(|| {
            worker.out.clear();
            let sealed = worker.sealer.seal(text.as_slice(), &mut worker.out);
            worker.sealer.end();
            sealed
        });
        let given = sealed.or_raise(py).and_then(|()| form.give(py, &worker.out));
        self.rest(worker);
        given
    }
}

#[pymethods]
impl PiiEnricher {
    #[new]
    #[pyo3(signature = (public_key, dek_version, *, catalogue = None, form = "self-contained",
        plaintext_hash = "hmac-sha256", bind_by = "pointer", tenant = None, event_id_member = None,
        catalogue_mark = false, max_event_len = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn of_python(
        py: Python<'_>,
        public_key: BytesLike,
        dek_version: &str,
        catalogue: Option<CatalogueObject>,
        form: &str,
        plaintext_hash: &str,
        bind_by: &str,
        tenant: Option<String>,
        event_id_member: Option<String>,
        catalogue_mark: bool,
        max_event_len: Option<usize>,
    ) -> PyResult<Self> {
        let name: DekName = dek_version.parse().or_raise(py)?;
        let dek = SealingDek { public_key: public_key_of(py, &public_key)?, name };
        let options = options(
            catalogue,
            form,
            plaintext_hash,
            bind_by,
            tenant,
            event_id_member,
            catalogue_mark,
            max_event_len,
        )?;
        Self::new(py, Engine::Fixed(Arc::new(dek)), options)
    }

    /// Seals one event, and gives it back in the form in which it came.
    ///
    /// What is sealed already is copied, so that encrypting twice is encrypting once.
    ///
    /// :raises EventError: it is not JSON, over a limit, or holds what JSON cannot express
    /// :raises EncryptError: it was not sealed; it must go nowhere
    fn encrypt<'py>(&self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.seal_one(event)
    }

    fn __call__<'py>(&self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.seal_one(event)
    }

    /// Seals a list of events, each in the form in which it came. The interpreter is free for most of the time.
    ///
    /// :param errors: ``"raise"``: the first event that is refused ends it, and its number is in ``index`` of the
    ///     exception; ``"return"``: the exception stands in its place in the list
    #[pyo3(signature = (events, *, errors = "raise"))]
    fn encrypt_batch<'py>(&self, events: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyList>> {
        let py = events.py();
        let errors = OnError::of_name(errors)?;
        let mut worker = self.worker(py)?;
        let limit = self.options.limits.max_event_len;
        let batch = Batch { events, errors, limit };
        let Worker { sealer, out } = &mut worker;
        let sealed = batch.run(out, |event, out| sealer.seal(event, out), |error| exception(py, &error));
        sealer.end();
        self.rest(worker);
        sealed
    }

    /// Seals columns of Arrow data, without a Python object for each value.
    ///
    /// :param data: a table, data frame or reader with ``__arrow_c_stream__``: of ``pyarrow``, pandas, Polars, DuckDB…
    /// :param events: the names of text columns that hold whole events, a JSON text in each cell
    /// :param fields: the names of text columns that hold values of the personal fields of these names; each cell becomes
    ///     an envelope, a JSON text. They have to be in the catalogue
    /// :returns: a stream of the same columns, for ``pyarrow.table(…)`` and others. Null stays null. A value that is
    ///     refused ends the stream with an error that names its row
    /// :raises OptionsError: a column is not there, is no text, or no field of the catalogue
    #[pyo3(signature = (data, *, events = None, fields = None))]
    fn encrypt_arrow(
        &self,
        data: &Bound<'_, PyAny>,
        events: Option<Vec<String>>,
        fields: Option<Vec<String>>,
    ) -> PyResult<ArrowStream> {
        let py = data.py();
        let columns = Columns::of(events, fields)?;
        let mut options = self.options.clone();
        if let Columns::Fields(names) = &columns {
            for name in names {
                // What is in no catalogue would be copied in the clear.
                let is_field = options.catalogue.fields().iter().any(|field| match &field.selector {
                    Selector::Name(known) => known == name,
                    Selector::Pointer(_) => false,
                });
                if !is_field {
                    let message = format!("the catalogue has no field {name:?}");
                    return Err(refused(py, "NoField", message, "extend the catalogue by it"));
                }
            }
            // A cell has no room for a header beside it.
            options.form = EnvelopeForm::SelfContained;
        }
        if let Engine::Followed(followed) = &self.engine {
            followed.get(py, "keyring")?;
        }
        let Worker { mut sealer, .. } = self.make_with(py, options)?;
        let work: Work = Box::new(move |event, out| {
            let sealed = sealer.seal(event, out).map_err(|error| in_one_line(&error));
            sealer.end();
            sealed
        });
        pass_through(data, columns, Direction::Seal, work)
    }

    /// The DEK's version under which it seals, or that seals now.
    #[getter]
    fn dek_version(&self, py: Python<'_>) -> PyResult<String> {
        match &self.engine {
            Engine::Fixed(dek) => Ok(dek.name.to_string()),
            Engine::Followed(followed) => {
                let followed = followed.get(py, "keyring")?;
                Ok(py.detach(|| followed.version()).to_string())
            }
        }
    }

    /// Which fields it seals.
    #[getter]
    fn catalogue(&self) -> CatalogueObject {
        CatalogueObject(self.options.catalogue.clone())
    }

    fn __repr__(&self) -> String {
        match &self.engine {
            Engine::Fixed(dek) => format!(
                "<PIIEncryptionEnricher dek_version={} key_id={}>",
                dek.name,
                dek.public_key.key_id().fingerprint()
            ),
            Engine::Followed(_) => "<PIIEncryptionEnricher of a keyring>".to_owned(),
        }
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let py = slf.py();
        let this = slf.get();
        let Engine::Fixed(dek) = &this.engine else {
            return Err(pyo3::exceptions::PyTypeError::new_err(
                "an enricher that follows a keyring cannot be pickled: make one in each process",
            ));
        };
        let EncryptorOptions {
            catalogue,
            form,
            catalogue_mark,
            plaintext_hash,
            bind_by,
            tenant,
            event_id_member,
            search_tokens: _,
            limits,
        } = &this.options;
        let keywords = PyDict::new(py);
        keywords.set_item("catalogue", CatalogueObject(catalogue.clone()))?;
        keywords.set_item("form", form_name(*form))?;
        keywords.set_item("plaintext_hash", hash_name(*plaintext_hash))?;
        keywords.set_item("bind_by", binding_name(*bind_by))?;
        keywords.set_item("tenant", tenant)?;
        keywords.set_item("event_id_member", event_id_member)?;
        keywords.set_item("catalogue_mark", matches!(catalogue_mark, CatalogueMark::Write))?;
        keywords.set_item("max_event_len", limits.max_event_len)?;
        let partial = PyModule::import(py, "functools")?.getattr("partial")?;
        let make = partial.call((slf.get_type(),), Some(&keywords))?;
        let arguments = (PyBytes::new(py, dek.public_key.as_bytes()), dek.name.as_str());
        Ok((make, arguments.into_pyobject(py)?.into_any()))
    }
}

/// Options from their names in Python.
#[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
pub(crate) fn options(
    catalogue: Option<CatalogueObject>,
    form: &str,
    plaintext_hash: &str,
    bind_by: &str,
    tenant: Option<String>,
    event_id_member: Option<String>,
    catalogue_mark: bool,
    max_event_len: Option<usize>,
) -> PyResult<EncryptorOptions> {
    let forms = [EnvelopeForm::SelfContained, EnvelopeForm::Compact];
    let hashes = [PlaintextHash::Keyed, PlaintextHash::BareSha256];
    let bindings = [FieldBinding::Pointer, FieldBinding::Name];
    let mut limits = Limits::for_encryption();
    limits.max_event_len = max_event_len.unwrap_or(limits.max_event_len);
    Ok(EncryptorOptions {
        catalogue: catalogue.map(|catalogue| catalogue.0).unwrap_or_default(),
        form: choose("form", form, &forms, form_name)?,
        catalogue_mark: if catalogue_mark { CatalogueMark::Write } else { CatalogueMark::Omit },
        plaintext_hash: choose("plaintext_hash", plaintext_hash, &hashes, hash_name)?,
        bind_by: choose("bind_by", bind_by, &bindings, binding_name)?,
        tenant,
        event_id_member,
        search_tokens: None,
        limits,
    })
}

/// The choice of a name, or an error that has all of them.
pub(crate) fn choose<T: Copy>(
    option: &str,
    name: &str,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> PyResult<T> {
    all.iter().copied().find(|choice| name_of(*choice) == name).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|choice| format!("{:?}", name_of(*choice))).collect();
        PyValueError::new_err(format!("{option} is {}", names.join(" or ")))
    })
}

const fn form_name(form: EnvelopeForm) -> &'static str {
    match form {
        EnvelopeForm::SelfContained => "self-contained",
        EnvelopeForm::Compact => "compact",
    }
}

const fn hash_name(hash: PlaintextHash) -> &'static str {
    match hash {
        PlaintextHash::Keyed => "hmac-sha256",
        PlaintextHash::BareSha256 => "sha256",
    }
}

const fn binding_name(by: FieldBinding) -> &'static str {
    match by {
        FieldBinding::Pointer => "pointer",
        FieldBinding::Name => "name",
    }
}

/// What becomes of a batch in which an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    Raise,
    Return,
}

impl OnError {
    pub(crate) fn of_name(name: &str) -> PyResult<Self> {
        choose("errors", name, &[Self::Raise, Self::Return], |choice| match choice {
            Self::Raise => "raise",
            Self::Return => "return",
        })
    }
}

/// A list of events, sealed or opened piece by piece.
pub(crate) struct Batch<'a, 'py> {
    pub(crate) events: &'a Bound<'py, PyAny>,
    pub(crate) errors: OnError,
    pub(crate) limit: usize,
}

impl<'py> Batch<'_, 'py> {
    /// Hands each event to `work` while the interpreter is free, and gathers what it appends.
    pub(crate) fn run<E: Send>(
        &self,
        out: &mut Vec<u8>,
        mut work: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), E> + Send,
        raise: impl Fn(E) -> PyErr,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = self.events.py();
        let done = PyList::empty(py);
        let mut events = self.events.try_iter()?;
        loop {
            let taken: Vec<PyResult<(Form, Text)>> = events
                .by_ref()
                .take(CHUNK_EVENTS)
                .map(|event| event.and_then(|event| event::take(&event, self.limit)))
                .collect();
            if taken.is_empty() {
                return Ok(done);
            }
            let texts: Vec<Option<&[u8]>> =
                taken.iter().map(|event| event.as_ref().ok().map(|(_, text)| text.as_slice())).collect();
            let mut results = Vec::with_capacity(taken.len());
            py.detach(|| {
                out.clear();
                for text in texts {
                    results.push(text.map(|text| work(text, out).map(|()| out.len())));
                }
            });
            let mut start = 0;
            for (event, result) in taken.into_iter().zip(results) {
                let given = match (event, result) {
                    (Err(error), _) => Err(error),
                    (Ok((form, _)), Some(Ok(end))) => {
                        let text = out.get(start..end).unwrap_or_default();
                        start = end;
                        form.give(py, text)
                    }
                    (Ok(_), Some(Err(error))) => Err(raise(error)),
                    (Ok(_), None) => continue,
                };
                match (given, self.errors) {
                    (Ok(value), _) => done.append(value)?,
                    (Err(error), OnError::Raise) => {
                        // Where it can be seen which of them it was.
                        let _ = error.value(py).setattr("index", done.len());
                        return Err(error);
                    }
                    (Err(error), OnError::Return) => done.append(error.into_value(py))?,
                }
            }
        }
    }
}
