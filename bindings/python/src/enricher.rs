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
use crate::event::{LastEnvelope, Rules};
use crate::failure::{OrRaise as _, in_one_line};
use crate::hybrid_kem::public_key_of;
use crate::passage::{OnError, Passage};
use crate::pool::Pool;
use crate::process::Homebound;
use crate::tokens::SearchTokensObject;

/// A buffer that is longer is not kept.
const KEPT_BYTES: usize = 4 << 20;

/// Seals the personal fields of events, and copies all else.
///
/// Called with an event, it gives it back sealed, in the form in which it came: ``dict``, ``str`` or ``bytes``. It is safe
/// to use from several threads, which then work at the same time; after a fork, both processes can use it. It can be
/// pickled, unless it has search tokens: it holds a public key.
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
/// :param search_tokens: ``SearchTokens``: fields that can be searched for, and what that gives away
/// :param max_event_len: longer events are refused, in bytes
/// :raises KeyFormatError: the public key is none
/// :raises OptionsError: the version is none, or options contradict one another
#[pyclass(frozen, name = "PIIEncryptionEnricher", module = "aegis_governance.telemetry")]
pub(crate) struct PiiEnricher {
    engine: Engine,
    options: EncryptorOptions,
    rules: Rules,
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
    last: LastEnvelope,
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
            Self::Followed(encryptor) => {
                // What takes its time, and its sender contexts, from a chunk: an event is one.
                encryptor.begin_chunk();
                encryptor.transform(event, out).map(|_| ())
            }
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
        let rules = rules(py, &options)?;
        let enricher = Self { engine, options, rules, workers: Pool::new() };
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
        Ok(Worker { sealer, last: LastEnvelope::Kept(None), out: Vec::new() })
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

    /// Does something with the way to a sealer and back.
    fn with_passage<T>(
        &self,
        py: Python<'_>,
        pass: impl FnOnce(&mut Passage<'_, &mut Seal<'_>>) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut worker = self.worker(py)?;
        let Worker { sealer, last, out } = &mut worker;
        let given = pass(&mut Passage {
            rules: &self.rules,
            last,
            out,
            work: &mut |event, out| sealer.seal(event, out),
        });
        sealer.end();
        self.rest(worker);
        given
    }

    fn seal_one<'py>(&self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.with_passage(event.py(), |passage| passage.one(event))
    }
}

/// What a sealer does.
type Seal<'a> = dyn FnMut(&[u8], &mut Vec<u8>) -> Result<(), EncryptError> + Send + 'a;

/// Which members of a `dict` are sealed. In a compact event a member is added, so such an event goes as a whole.
fn rules(py: Python<'_>, options: &EncryptorOptions) -> PyResult<Rules> {
    let EncryptorOptions { catalogue, form, event_id_member, limits, .. } = options;
    match form {
        EnvelopeForm::SelfContained => {
            Rules::for_sealing(py, catalogue, event_id_member.as_deref(), limits.max_event_len)
        }
        EnvelopeForm::Compact => Ok(Rules::none(limits.max_event_len)),
    }
}

#[pymethods]
impl PiiEnricher {
    #[new]
    #[pyo3(signature = (public_key, dek_version, *, catalogue = None, form = "self-contained",
        plaintext_hash = "hmac-sha256", bind_by = "pointer", tenant = None, event_id_member = None,
        catalogue_mark = false, search_tokens = None, max_event_len = None))]
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
        search_tokens: Option<PyRef<'_, SearchTokensObject>>,
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
            search_tokens,
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
        let errors = OnError::of_name(errors)?;
        self.with_passage(events.py(), |passage| passage.many(events, errors))
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
            search_tokens,
            limits,
        } = &this.options;
        if search_tokens.is_some() {
            return Err(pyo3::exceptions::PyTypeError::new_err(
                "an enricher with search tokens holds their key, and cannot be pickled: make one in each process",
            ));
        }
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
    search_tokens: Option<PyRef<'_, SearchTokensObject>>,
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
        search_tokens: search_tokens.map(|tokens| tokens.0.clone()),
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

pub(crate) const fn form_name(form: EnvelopeForm) -> &'static str {
    match form {
        EnvelopeForm::SelfContained => "self-contained",
        EnvelopeForm::Compact => "compact",
    }
}

pub(crate) const fn hash_name(hash: PlaintextHash) -> &'static str {
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
