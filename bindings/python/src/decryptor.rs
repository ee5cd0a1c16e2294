//! Opening the sealed fields of events.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_crypto::HybridPrivateKey;
use aegis_deployment::{FreshDecryptor, OpenedDeks};
use aegis_pii::stream::Transform as _;
use aegis_pii::{
    DecryptError, DecryptorOptions, DekName, DekUnavailable, FieldRights, OpeningDekSource, PiiDecryptor,
    Unopenable,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use zeroize::Zeroize as _;

use crate::arrow::{ArrowStream, Columns, Direction, Work, pass_through};
use crate::bytes::BytesLike;
use crate::enricher::choose;
use crate::event::{LastEnvelope, Rules};
use crate::failure::{OrRaise as _, in_one_line};
use crate::kek_provider::{KekObject, Provider};
use crate::keyring::KeyringObject;
use crate::passage::{OnError, Passage};
use crate::pool::Pool;
use crate::process::Homebound;

/// A buffer that is longer is not kept.
const KEPT_BYTES: usize = 1 << 20;

/// Opens the sealed fields of events, of both forms and under any number of DEKs, and copies all else.
///
/// Called with an event, it gives back what was encrypted, byte for byte, in the form in which the event came. It is safe
/// to use from several threads. It cannot be pickled: it holds private keys.
///
/// :param keys: a ``KEKProvider`` or ``KEK``, for events that were sealed to the KEK itself; a ``Keyring``; or a dict of
///     DEK versions and private keys of 2,432 bytes
/// :param fields: names, and pointers beginning with a slash, of the fields to open; all others stay sealed. Without
///     it, all are opened
/// :param unopenable: what becomes of an event with a field that does not open: ``"refuse"``, or ``"leave"`` it sealed
/// :param tenant: to whom fields are bound
/// :param event_id_member: the member that holds the event's id, if fields were bound to it
/// :param max_event_len: longer events are refused, in bytes
/// :raises KEKLoadError: the KEK was not loaded
#[pyclass(frozen, name = "PIIDecryptor", module = "aegis_governance.telemetry")]
pub(crate) struct PiiDecryptorObject {
    keys: Keys,
    options: DecryptorOptions,
    rules: Rules,
    workers: Pool<Worker>,
}

/// What opens.
enum Keys {
    Held(Arc<dyn OpeningDekSource>),
    Keyring(Homebound<Arc<OpenedDeks>>),
}

struct Worker {
    opener: Opener,
    out: Vec<u8>,
}

enum Opener {
    Held(PiiDecryptor),
    Fresh(FreshDecryptor),
}

impl Opener {
    fn open(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<(), DecryptError> {
        match self {
            Self::Held(decryptor) => decryptor.decrypt_event(event, out).map(|_| ()),
            Self::Fresh(decryptor) => {
                // When it asks itself whether the keyring has to be asked again.
                decryptor.begin_chunk();
                decryptor.transform(event, out).map(|_| ())
            }
        }
    }
}

/// DEKs that a program has in hand.
struct Versions(BTreeMap<DekName, Arc<HybridPrivateKey>>);

impl OpeningDekSource for Versions {
    fn private_key(&self, name: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        self.0.get(name).map(Arc::clone).ok_or(DekUnavailable::Unknown)
    }
}

impl Keys {
    fn of(keys: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = keys.py();
        if let Ok(provider) = keys.cast::<Provider>() {
            let kek = provider.get().kek(py)?;
            return Ok(Self::Held(Arc::new(Arc::clone(kek.private_key()))));
        }
        if let Ok(kek) = keys.cast::<KekObject>() {
            return Ok(Self::Held(Arc::new(Arc::clone(kek.get().kek().private_key()))));
        }
        if let Ok(keyring) = keys.cast::<KeyringObject>() {
            let opened = keyring.get().opened_deks(py)?;
            return Ok(Self::Keyring(Homebound::new(opened)));
        }
        if let Ok(dict) = keys.cast::<PyDict>() {
            let mut versions = BTreeMap::new();
            for (version, key) in dict {
                let name: DekName = version.extract::<String>()?.parse().or_raise(py)?;
                let key = HybridPrivateKey::import(key.extract::<BytesLike>()?.as_slice()).or_raise(py)?;
                versions.insert(name, Arc::new(key));
            }
            return Ok(Self::Held(Arc::new(Versions(versions))));
        }
        let found = keys.get_type().name()?;
        Err(PyTypeError::new_err(format!("keys is a KEKProvider, a KEK, a Keyring or a dict, not {found}")))
    }
}

impl PiiDecryptorObject {
    fn worker(&self, py: Python<'_>) -> PyResult<Worker> {
        if let Keys::Keyring(opened) = &self.keys {
            opened.get(py, "keyring")?;
        }
        Ok(self.workers.take().unwrap_or_else(|| {
            let options = self.options.clone();
            let opener = match &self.keys {
                Keys::Held(source) => Opener::Held(PiiDecryptor::new(Arc::clone(source), options)),
                Keys::Keyring(opened) => Opener::Fresh(opened.decryptor(options)),
            };
            Worker { opener, out: Vec::new() }
        }))
    }

    fn rest(&self, mut worker: Worker) {
        // What was opened is in the clear.
        worker.out.zeroize();
        if worker.out.capacity() > KEPT_BYTES {
            worker.out = Vec::new();
        }
        self.workers.give_back(worker);
    }

    /// Does something with the way to an opener and back.
    fn with_passage<T>(
        &self,
        py: Python<'_>,
        pass: impl FnOnce(&mut Passage<'_, &mut Open<'_>>) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut worker = self.worker(py)?;
        let Worker { opener, out } = &mut worker;
        // What was opened is not kept.
        let last = &mut LastEnvelope::Never;
        let given = pass(&mut Passage {
            rules: &self.rules,
            last,
            out,
            work: &mut |event, out| opener.open(event, out),
        });
        self.rest(worker);
        given
    }

    fn open_one<'py>(&self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.with_passage(event.py(), |passage| passage.one(event))
    }
}

/// What an opener does.
type Open<'a> = dyn FnMut(&[u8], &mut Vec<u8>) -> Result<(), DecryptError> + Send + 'a;

#[pymethods]
impl PiiDecryptorObject {
    #[new]
    #[pyo3(signature = (keys, *, fields = None, unopenable = "refuse", tenant = None, event_id_member = None,
        max_event_len = None))]
    fn new(
        keys: &Bound<'_, PyAny>,
        fields: Option<Vec<String>>,
        unopenable: &str,
        tenant: Option<String>,
        event_id_member: Option<String>,
        max_event_len: Option<usize>,
    ) -> PyResult<Self> {
        let unopenable = choose(
            "unopenable",
            unopenable,
            &[Unopenable::Refuse, Unopenable::Leave],
            |choice| match choice {
                Unopenable::Refuse => "refuse",
                Unopenable::Leave => "leave",
            },
        )?;
        let mut options = DecryptorOptions {
            rights: fields.map_or(FieldRights::All, FieldRights::Only),
            unopenable,
            tenant,
            event_id_member,
            ..DecryptorOptions::default()
        };
        options.limits.max_event_len = max_event_len.unwrap_or(options.limits.max_event_len);
        let id = options.event_id_member.as_deref();
        let rules = Rules::for_opening(keys.py(), id, options.limits.max_event_len);
        Ok(Self { keys: Keys::of(keys)?, options, rules, workers: Pool::new() })
    }

    /// Opens one event, and gives it back in the form in which it came.
    ///
    /// :raises EventError: it is not JSON, or over a limit
    /// :raises DecryptError: a field does not open, or there is no DEK for it
    fn decrypt<'py>(&self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.open_one(event)
    }

    fn __call__<'py>(&self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.open_one(event)
    }

    /// Opens a list of events, each in the form in which it came. The interpreter is free for most of the time.
    ///
    /// :param errors: ``"raise"``: the first event that is refused ends it, and its number is in ``index`` of the
    ///     exception; ``"return"``: the exception stands in its place in the list
    #[pyo3(signature = (events, *, errors = "raise"))]
    fn decrypt_batch<'py>(&self, events: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyList>> {
        let errors = OnError::of_name(errors)?;
        self.with_passage(events.py(), |passage| passage.many(events, errors))
    }

    /// Opens columns of Arrow data, without a Python object for each value.
    ///
    /// :param data: a table, data frame or reader with ``__arrow_c_stream__``
    /// :param events: the names of text columns that hold whole events, a JSON text in each cell
    /// :param fields: the names of text columns whose cells are envelopes of the fields of these names
    /// :returns: a stream of the same columns. A value that does not open ends it with an error that names its row
    /// :raises OptionsError: a column is not there, or is no text
    #[pyo3(signature = (data, *, events = None, fields = None))]
    fn decrypt_arrow(
        &self,
        data: &Bound<'_, PyAny>,
        events: Option<Vec<String>>,
        fields: Option<Vec<String>>,
    ) -> PyResult<ArrowStream> {
        let columns = Columns::of(events, fields)?;
        let Worker { mut opener, .. } = self.worker(data.py())?;
        let work: Work =
            Box::new(move |event, out| opener.open(event, out).map_err(|error| in_one_line(&error)));
        pass_through(data, columns, Direction::Open, work)
    }

    /// Erases every DEK that is kept, so that the keyring is asked again: when one was retired or destroyed.
    fn forget(&self) {
        self.workers.for_each(|worker| {
            if let Opener::Held(decryptor) = &mut worker.opener {
                decryptor.forget();
            }
        });
    }

    fn __repr__(&self) -> &'static str {
        match self.keys {
            Keys::Held(_) => "<PIIDecryptor>",
            Keys::Keyring(_) => "<PIIDecryptor of a keyring>",
        }
    }
}
