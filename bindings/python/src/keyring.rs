//! A keyring: DEKs and their versions, and their rotation.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aegis_deployment::{Deployment, FollowedDek, LOOK_INTERVAL, OpenedDeks, StateDir};
use aegis_kek::Variables;
use aegis_keyring::clock::SystemClock;
use aegis_keyring::{
    ActiveDek, DekQuery, DekRecord, DekRotator, DekVersion, Keyring, MakeDekError, RotationPolicy,
    RotatorOutcome, RunningRotator, Scope, open_store_with,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::catalogue::CatalogueObject;
use crate::enricher::{Engine, PiiEnricher, options};
use crate::failure::{OrRaise as _, exception, in_one_line};
use crate::kek_provider::Provider;
use crate::process::Homebound;
use crate::tokens::SearchTokensObject;

/// DEKs and their versions, in an SQLite file or a PostgreSQL database, under one KEK.
///
/// Sealing needs the public halves only; a KEK is asked for when DEKs are opened.
///
/// :param address: a path, ``sqlite:PATH``, or ``postgresql://…``; ``None`` for the keyring of ``aegis init``, whose
///     changes are then in its log
/// :param kek_provider: opens the DEKs; needed to decrypt, and by ``create``
/// :raises KeyringError: it is not there, or cannot be reached
#[pyclass(frozen, name = "Keyring", module = "aegis_governance.telemetry")]
pub(crate) struct KeyringObject {
    keyring: Homebound<Keyring>,
    /// The keyring of `aegis init`: what is changed in it is logged and locked as the programs do it.
    deployment: Option<Arc<Deployment>>,
    provider: Option<Py<Provider>>,
    location: String,
}

impl KeyringObject {
    pub(crate) fn opened_deks(&self, py: Python<'_>) -> PyResult<Arc<OpenedDeks>> {
        let keyring = self.here(py)?;
        match (&self.provider, &self.deployment) {
            (Some(provider), _) => {
                let kek = provider.get().kek(py)?;
                Ok(Arc::new(OpenedDeks::new(keyring.clone(), kek, BTreeSet::new())))
            }
            (None, Some(deployment)) => {
                Ok(Arc::new(py.detach(|| deployment.open_deks(None, BTreeSet::new())).or_raise(py)?))
            }
            (None, None) => {
                Err(PyValueError::new_err("this keyring was opened without kek_provider, so it opens no DEK"))
            }
        }
    }

    /// The keyring, unless this process was forked since it was opened.
    fn here(&self, py: Python<'_>) -> PyResult<&Keyring> {
        self.keyring.get(py, "keyring")
    }

    fn of(keyring: Keyring, deployment: Option<Deployment>, provider: Option<Py<Provider>>) -> Self {
        let location = keyring.store().location().to_owned();
        let deployment = deployment.map(Arc::new);
        Self { keyring: Homebound::new(keyring), deployment, provider, location }
    }
}

#[pymethods]
impl KeyringObject {
    #[new]
    #[pyo3(signature = (address = None, kek_provider = None))]
    fn new(py: Python<'_>, address: Option<&str>, kek_provider: Option<Py<Provider>>) -> PyResult<Self> {
        match address {
            Some(address) => Ok(Self::of(bare(py, address)?, None, kek_provider)),
            None => {
                let deployment = Deployment::of_process("aegis_governance").or_raise(py)?;
                Self::of_deployment(py, deployment, kek_provider)
            }
        }
    }

    /// The keyring of ``aegis init`` in a state directory.
    ///
    /// :raises KeyringError: there is none
    #[staticmethod]
    #[pyo3(signature = (state_dir, kek_provider = None))]
    fn in_state_dir(
        py: Python<'_>,
        state_dir: PathBuf,
        kek_provider: Option<Py<Provider>>,
    ) -> PyResult<Self> {
        let deployment = Deployment::new(StateDir::new(state_dir), "aegis_governance");
        Self::of_deployment(py, deployment, kek_provider)
    }

    /// Makes a keyring under a KEK, with the first DEK of a scope. If it is there already, nothing is changed.
    ///
    /// :raises KeyringError: it is there and under another KEK, or it was not made
    /// :raises KEKLoadError: the KEK was not loaded
    #[staticmethod]
    #[pyo3(signature = (address, kek_provider, *, scope = Scope::DEFAULT))]
    fn create(py: Python<'_>, address: &str, kek_provider: Py<Provider>, scope: &str) -> PyResult<Self> {
        let scope = scope_of(py, scope)?;
        let kek = kek_provider.get().kek(py)?;
        let kind = kek_provider.get().inner().kind();
        let keyring = bare(py, address)?;
        py.detach(|| keyring.enrol_first_kek(&kek, kind)).or_raise(py)?;
        match py.detach(|| keyring.create(&scope)) {
            Ok(_) | Err(MakeDekError::Exists { .. }) => {}
            Err(error) => return Err(exception(py, &error)),
        }
        Ok(Self::of(keyring, None, Some(kek_provider)))
    }

    /// The version of the DEK that is active in a scope.
    ///
    /// :raises KeyringError: there is none
    #[pyo3(signature = (scope = Scope::DEFAULT))]
    fn active_version(&self, py: Python<'_>, scope: &str) -> PyResult<String> {
        Ok(self.active(py, scope)?.version.to_string())
    }

    /// The public key of the DEK that is active in a scope, 1,216 bytes.
    ///
    /// :raises KeyringError: there is none
    #[pyo3(signature = (scope = Scope::DEFAULT))]
    fn active_public_key<'py>(&self, py: Python<'py>, scope: &str) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.active(py, scope)?.public_key.as_bytes()))
    }

    /// Makes a new DEK, active from then on. What was sealed before stays readable.
    ///
    /// :returns: its version
    /// :raises KeyringError: it was not made
    #[pyo3(signature = (scope = Scope::DEFAULT))]
    fn rotate(&self, py: Python<'_>, scope: &str) -> PyResult<String> {
        let keyring = self.here(py)?;
        let scope = scope_of(py, scope)?;
        let rotated = match &self.deployment {
            Some(deployment) => py.detach(|| deployment.rotate_dek(&scope)).or_raise(py)?,
            None => py.detach(|| keyring.rotate(&scope)).or_raise(py)?,
        };
        Ok(rotated.active.version.to_string())
    }

    /// Every DEK: a dict each of ``version``, ``scope``, ``state``, ``key_id``, ``created_at``, ``messages``, ``bytes``.
    ///
    /// :raises KeyringError: the keyring gave no answer
    #[pyo3(signature = (scope = None))]
    fn versions<'py>(&self, py: Python<'py>, scope: Option<&str>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let keyring = self.here(py)?;
        let scope = scope.map(|scope| scope_of(py, scope)).transpose()?;
        let query = DekQuery { scope, state: None, after: None, limit: 100_000 };
        let records = py.detach(|| keyring.list(&query)).or_raise(py)?;
        records.iter().map(|record| shown(py, record)).collect()
    }

    /// An enricher that seals under whichever DEK is active, and follows its rotation within a second or so. What it
    /// seals is counted in the keyring.
    ///
    /// Its options are those of ``PIIEncryptionEnricher``.
    ///
    /// :raises KeyringError: no DEK is active
    #[pyo3(signature = (scope = Scope::DEFAULT, *, catalogue = None, form = "self-contained",
        plaintext_hash = "hmac-sha256", bind_by = "pointer", tenant = None, event_id_member = None,
        catalogue_mark = false, search_tokens = None, max_event_len = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn enricher(
        &self,
        py: Python<'_>,
        scope: &str,
        catalogue: Option<CatalogueObject>,
        form: &str,
        plaintext_hash: &str,
        bind_by: &str,
        tenant: Option<String>,
        event_id_member: Option<String>,
        catalogue_mark: bool,
        search_tokens: Option<PyRef<'_, SearchTokensObject>>,
        max_event_len: Option<usize>,
    ) -> PyResult<PiiEnricher> {
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
        let (keyring, scope) = (self.here(py)?, scope_of(py, scope)?);
        let followed = py.detach(|| FollowedDek::start(keyring, &scope, None, LOOK_INTERVAL)).or_raise(py)?;
        let followed = Arc::new(Homebound::new(Arc::new(followed)));
        PiiEnricher::new(py, Engine::Followed(followed), options)
    }

    /// Where it is, without passwords.
    #[getter]
    fn location(&self) -> String {
        self.location.clone()
    }

    fn __repr__(&self) -> String {
        format!("<Keyring {}>", self.location)
    }
}

impl KeyringObject {
    fn of_deployment(
        py: Python<'_>,
        deployment: Deployment,
        provider: Option<Py<Provider>>,
    ) -> PyResult<Self> {
        let keyring = py.detach(|| deployment.keyring()).or_raise(py)?;
        Ok(Self::of(keyring, Some(deployment), provider))
    }

    fn active(&self, py: Python<'_>, scope: &str) -> PyResult<ActiveDek> {
        let (keyring, scope) = (self.here(py)?, scope_of(py, scope)?);
        py.detach(|| keyring.active(&scope)).or_raise(py)
    }
}

fn bare(py: Python<'_>, address: &str) -> PyResult<Keyring> {
    // A server may take its time to answer.
    let store = py.detach(|| open_store_with(address, &Variables::of_process())).or_raise(py)?;
    Ok(Keyring::new(Arc::from(store), Arc::new(SystemClock)))
}

pub(crate) fn scope_of(py: Python<'_>, name: &str) -> PyResult<Scope> {
    name.parse().or_raise(py)
}

fn shown<'py>(py: Python<'py>, record: &DekRecord) -> PyResult<Bound<'py, PyDict>> {
    let shown = PyDict::new(py);
    shown.set_item("version", record.version.to_string())?;
    shown.set_item("scope", record.scope.as_str())?;
    shown.set_item("state", record.state.as_str())?;
    shown.set_item("key_id", record.public_key.key_id().to_string())?;
    shown.set_item("created_at", record.created_at.to_string())?;
    shown.set_item("messages", record.usage.messages)?;
    shown.set_item("bytes", record.usage.bytes)?;
    Ok(shown)
}

/// Rotates the DEK of a scope when it is due: by age, by messages, by bytes.
///
/// New events are sealed under the new DEK, old ones stay readable, and the KEK opens every version. ``start`` makes a
/// thread that looks whenever it is time; ``run_once`` looks now. As a context manager it starts and stops.
///
/// :param keyring: a ``Keyring``, or ``None`` for that of ``aegis init``
/// :param scope: whose DEK
/// :param max_age_days: how long a DEK is active, in days
/// :param max_messages: how many messages it seals, if there is a limit
/// :param max_bytes: how many bytes of values it seals, if there is a limit
/// :param on_rotation: called with the version before and the new one, from the thread that rotated
#[pyclass(frozen, name = "DEKRotator", module = "aegis_governance.telemetry")]
pub(crate) struct Rotator {
    keyring: Py<KeyringObject>,
    scope: Scope,
    policy: RotationPolicy,
    on_rotation: Option<Arc<Py<PyAny>>>,
    /// Held for an assignment, by attached threads.
    running: Mutex<Option<Homebound<RunningRotator>>>,
}

#[pymethods]
impl Rotator {
    #[new]
    #[pyo3(signature = (keyring = None, *, scope = Scope::DEFAULT, max_age_days = 90.0, max_messages = None,
        max_bytes = None, on_rotation = None))]
    fn new(
        py: Python<'_>,
        keyring: Option<Py<KeyringObject>>,
        scope: &str,
        max_age_days: f64,
        max_messages: Option<u64>,
        max_bytes: Option<u64>,
        on_rotation: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let max_age = Duration::try_from_secs_f64(max_age_days * 86_400.0)
            .map_err(|_| PyValueError::new_err("max_age_days is no number of days"))?;
        let policy = RotationPolicy::new(max_age, max_messages, max_bytes).or_raise(py)?;
        let keyring = match keyring {
            Some(keyring) => keyring,
            None => Py::new(py, KeyringObject::new(py, None, None)?)?,
        };
        let on_rotation = on_rotation.map(Arc::new);
        Ok(Self { keyring, scope: scope_of(py, scope)?, policy, on_rotation, running: Mutex::new(None) })
    }

    /// Looks, and rotates if it is due.
    ///
    /// :returns: the new version, or ``None`` if nothing was due
    /// :raises RotatorError: the DEK is as it was
    fn run_once(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let this = self.keyring.get();
        let keyring = this.here(py)?;
        let outcome = match &this.deployment {
            Some(deployment) => {
                py.detach(|| deployment.rotate_dek_if_due(&self.scope, self.policy)).or_raise(py)?
            }
            None => {
                let rotator = DekRotator::new(keyring.clone(), self.scope.clone(), self.policy);
                py.detach(|| rotator.run_once()).or_raise(py)?
            }
        };
        let Some((before, active)) = rotated(&outcome) else { return Ok(None) };
        if let Some(callback) = &self.on_rotation {
            callback.call1(py, (before.to_string(), active.to_string()))?;
        }
        Ok(Some(active.to_string()))
    }

    /// Makes a new DEK now, due or not.
    ///
    /// :returns: its version
    /// :raises KeyringError: it was not made
    fn rotate(&self, py: Python<'_>) -> PyResult<String> {
        self.keyring.get().rotate(py, self.scope.as_str())
    }

    /// The version of the DEK that is active.
    #[getter]
    fn current_version(&self, py: Python<'_>) -> PyResult<String> {
        self.keyring.get().active_version(py, self.scope.as_str())
    }

    /// Looks at once and then whenever it is time, from a thread of its own. Failures are logged, and tried again. What it
    /// does to the keyring of ``aegis init`` is under the lock that the commands take, and in the log.
    ///
    /// If it runs already, nothing happens.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let keyring = self.keyring.get().here(py)?.clone();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Ok(());
        }
        let callback = self.on_rotation.clone();
        let spawned = match &self.keyring.get().deployment {
            Some(deployment) => {
                let told = move |outcome| tell(callback.as_deref(), outcome);
                deployment.spawn_rotator(keyring, &self.scope, self.policy, told)?
            }
            None => DekRotator::new(keyring, self.scope.clone(), self.policy)
                .spawn(move |outcome| tell(callback.as_deref(), outcome))?,
        };
        *running = Some(Homebound::new(spawned));
        Ok(())
    }

    /// Stops the thread, after the look in which it may be.
    fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without the lock: it waits for the thread, and lets the interpreter go meanwhile.
        drop(running);
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get().start(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.stop();
    }

    fn __repr__(&self) -> String {
        format!("<DEKRotator scope={}>", self.scope)
    }
}

fn rotated(outcome: &RotatorOutcome) -> Option<(DekVersion, DekVersion)> {
    match outcome {
        RotatorOutcome::Rotated { replaced, active, .. }
        | RotatorOutcome::RotatedElsewhere { replaced, active } => Some((*replaced, *active)),
        RotatorOutcome::NotDue { .. } | RotatorOutcome::ClockWentBack { .. } => None,
    }
}

/// What a look came to.
fn tell<E: std::error::Error>(callback: Option<&Py<PyAny>>, outcome: Result<RotatorOutcome, E>) {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            let error = in_one_line(&error);
            tracing::error!(target: "aegis_keyring", error, "the DEK was not rotated, or not looked at");
            return;
        }
    };
    let (Some(callback), Some((before, active))) = (callback, rotated(&outcome)) else { return };
    Python::try_attach(|py| {
        if let Err(error) = callback.call1(py, (before.to_string(), active.to_string())) {
            error.write_unraisable(py, Some(callback.bind(py)));
        }
    });
}
