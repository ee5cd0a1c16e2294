//! Where a KEK's private half rests: the base class, and what all providers can do.

mod aws_kms;
mod environment;
mod file;
mod hsm;
mod in_memory;

pub(crate) use aws_kms::AwsKmsProvider;
pub(crate) use environment::EnvironmentProvider;
pub(crate) use file::FileProvider;
pub(crate) use hsm::HsmProvider;
pub(crate) use in_memory::InMemoryProvider;

use std::sync::{Arc, Mutex, PoisonError};

use aegis_crypto::{HybridPublicKey, Purpose};
use aegis_kek::{Health, Kek, KekProvider, ProviderKind, Standing, Variables};
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::bytes::{BytesLike, Parts, secret_bytes};
use crate::failure::OrRaise as _;
use crate::hybrid_kem::purpose_of;

/// Where the private half of a KEK rests while nothing runs.
///
/// Made by ``get_kek_provider`` or by one of the subclasses. No device is asked before ``load``, ``wrap`` or ``unwrap``.
/// Safe to use from several threads.
#[pyclass(subclass, frozen, name = "KEKProvider", module = "aegis_governance")]
pub(crate) struct Provider {
    inner: Arc<dyn KekProvider>,
    /// Loaded once. The lock is held for an assignment only, by a thread that is attached to the interpreter: so no fork
    /// can leave it locked.
    loaded: Mutex<Option<Kek>>,
}

impl Provider {
    pub(crate) fn new(inner: impl KekProvider + 'static) -> Self {
        Self::of(Arc::new(inner))
    }

    fn of(inner: Arc<dyn KekProvider>) -> Self {
        Self { inner, loaded: Mutex::new(None) }
    }

    /// The subclass for it.
    fn with<S: PyClass<BaseType = Self>>(self, subclass: S) -> PyClassInitializer<S> {
        PyClassInitializer::from(self).add_subclass(subclass)
    }

    pub(crate) fn inner(&self) -> &Arc<dyn KekProvider> {
        &self.inner
    }

    /// The KEK, from the device if nobody asked before.
    pub(crate) fn kek(&self, py: Python<'_>) -> PyResult<Kek> {
        let known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(kek) => Ok(kek),
            None => self.load_now(py),
        }
    }

    fn load_now(&self, py: Python<'_>) -> PyResult<Kek> {
        let kek = py.detach(|| self.inner.load()).or_raise(py)?;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(kek.clone());
        Ok(kek)
    }
}

#[pymethods]
impl Provider {
    /// The KEK's public key: 1,216 bytes, X25519 (32) and ML-KEM-768 encapsulation key (1,184).
    ///
    /// Needs no device, no passphrase and no network. It is what seals; it is not secret.
    fn get_public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.public_key().as_bytes())
    }

    /// The KEK's public key, as ``get_public_key`` gives it.
    #[getter(public_key)]
    fn public_key_property<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.get_public_key(py)
    }

    /// The KEK's id: SHA-256 of its public key, 64 lowercase hex digits.
    #[getter]
    fn key_id(&self) -> String {
        self.inner.public_key().key_id().to_string()
    }

    /// The provider's name: ``"kms"``, ``"hsm"``, ``"environment"``, ``"file"`` or ``"in_memory"``.
    #[getter]
    fn name(&self) -> &'static str {
        self.inner.kind().as_str()
    }

    /// What an attacker has to take to have the key: ``"hardware"``, ``"passphrase"``, ``"software"`` or ``"ephemeral"``.
    #[getter]
    fn security_level(&self) -> &'static str {
        self.inner.kind().security_level().as_str()
    }

    /// What the provider is, and how its last load ended. Asks no device.
    fn health(&self, py: Python<'_>) -> HealthReport {
        HealthReport(py.detach(|| self.inner.health()))
    }

    /// Asks the device for the private half, and checks that it belongs to the public key.
    ///
    /// What it gives is kept, so that ``unwrap`` does not ask again. The interpreter is free meanwhile.
    ///
    /// :raises KEKUnavailableError: no usable answer; trying again may help
    /// :raises KEKDeniedError: credentials, PIN, passphrase or permission were refused
    /// :raises KEKBrokenError: what is stored or set cannot be used
    /// :raises KEKMismatchError: the halves do not belong together
    fn load(&self, py: Python<'_>) -> PyResult<KekObject> {
        Ok(KekObject(self.load_now(py)?))
    }

    /// Puts a key under the KEK. Needs its public half only, so no device.
    ///
    /// :param key: what to wrap
    /// :param associated_data: what the wrapping is bound to, such as the key's name: bytes, or 1 to 16 of them;
    ///     ``unwrap`` has to be told the same
    /// :returns: 1,148 bytes more than ``key`` has
    /// :raises SealError: nothing was wrapped
    fn wrap<'py>(
        &self,
        py: Python<'py>,
        key: BytesLike,
        associated_data: Parts,
    ) -> PyResult<Bound<'py, PyBytes>> {
        seal(py, self.inner.public_key(), Purpose::DekWrap, &key, &associated_data)
    }

    /// Brings back what ``wrap`` put under the KEK. Loads the KEK if that was not done.
    ///
    /// :raises NotAuthenticError: it is under another key, bound to other data, or changed
    /// :raises KEKLoadError: the KEK was not loaded, see ``load``
    fn unwrap<'py>(
        &self,
        py: Python<'py>,
        wrapped: BytesLike,
        associated_data: Parts,
    ) -> PyResult<Bound<'py, PyAny>> {
        open(py, &self.kek(py)?, Purpose::DekWrap, &wrapped, &associated_data)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        Ok(format!("<{class} key_id={}>", slf.get().inner.public_key().key_id().fingerprint()))
    }
}

/// The provider called ``name``, or the first that is configured: KMS, HSM, environment, file, in-memory.
///
/// The log says which was taken, and why those before it were passed over. A provider that is configured and cannot be
/// used is an error: a weaker one never takes its place. No device is asked before the provider is used.
///
/// :param name: ``"kms"``, ``"hsm"``, ``"environment"``, ``"file"``, ``"in_memory"``, or ``None`` to have one chosen
/// :raises KEKSelectionError: there is no such provider, or none that may be taken
/// :raises KEKSettingsError: its settings are missing, all of which are named, or cannot be used
#[pyfunction]
#[pyo3(signature = (name = None))]
pub(crate) fn get_kek_provider(py: Python<'_>, name: Option<&str>) -> PyResult<Py<PyAny>> {
    // Attached all the while: it asks nobody, and nobody can change the environment meanwhile.
    let provider = aegis_kek::get_kek_provider(name, &Variables::of_process()).or_raise(py)?;
    let kind = provider.kind();
    let base = Provider::of(Arc::from(provider));
    let made = match kind {
        ProviderKind::AwsKms => Bound::new(py, base.with(AwsKmsProvider))?.into_any(),
        ProviderKind::Hsm => Bound::new(py, base.with(HsmProvider))?.into_any(),
        ProviderKind::Environment => Bound::new(py, base.with(EnvironmentProvider))?.into_any(),
        ProviderKind::File => Bound::new(py, base.with(FileProvider))?.into_any(),
        ProviderKind::InMemory => Bound::new(py, base.with(InMemoryProvider))?.into_any(),
    };
    Ok(made.unbind())
}

/// A KEK with its private half, in locked memory, erased when nobody uses it any more.
///
/// It cannot be pickled, and its ``repr`` shows its id only.
#[pyclass(frozen, name = "KEK", module = "aegis_governance")]
pub(crate) struct KekObject(Kek);

impl KekObject {
    pub(crate) const fn kek(&self) -> &Kek {
        &self.0
    }
}

#[pymethods]
impl KekObject {
    /// The KEK's id: SHA-256 of its public key, 64 lowercase hex digits.
    #[getter]
    fn key_id(&self) -> String {
        self.0.key_id().to_string()
    }

    /// The KEK's public key, 1,216 bytes.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.public_key().as_bytes())
    }

    /// Opens a box that was sealed to the public key.
    ///
    /// :param purpose: what it was sealed for: ``"dek-wrap"``, ``"field"`` or ``"backup"``
    /// :raises NotAuthenticError: another key, purpose or associated data, or a changed bit
    #[pyo3(signature = (sealed, associated_data, *, purpose = "dek-wrap"))]
    fn open<'py>(
        &self,
        py: Python<'py>,
        sealed: BytesLike,
        associated_data: Parts,
        purpose: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        open(py, &self.0, purpose_of(purpose)?, &sealed, &associated_data)
    }

    fn __repr__(&self) -> String {
        format!("<KEK key_id={}>", self.0.key_id().fingerprint())
    }
}

pub(crate) fn seal<'py>(
    py: Python<'py>,
    to: &HybridPublicKey,
    purpose: Purpose,
    plaintext: &BytesLike,
    bound: &Parts,
) -> PyResult<Bound<'py, PyBytes>> {
    let bound = bound.bound();
    let plaintext = plaintext.as_slice();
    let sealed = py.detach(|| aegis_crypto::seal(to, purpose, &bound, plaintext)).or_raise(py)?;
    Ok(PyBytes::new(py, &sealed))
}

fn open<'py>(
    py: Python<'py>,
    kek: &Kek,
    purpose: Purpose,
    sealed: &BytesLike,
    bound: &Parts,
) -> PyResult<Bound<'py, PyAny>> {
    let bound = bound.bound();
    let sealed = sealed.as_slice();
    let opened = py.detach(|| aegis_crypto::open(kek.private_key(), purpose, &bound, sealed)).or_raise(py)?;
    secret_bytes(py, &opened)
}

/// What a provider says of itself. Nothing in it is secret.
#[pyclass(frozen, name = "Health", module = "aegis_governance")]
pub(crate) struct HealthReport(Health);

#[pymethods]
impl HealthReport {
    /// The provider's name.
    #[getter]
    fn provider(&self) -> &'static str {
        self.0.kind.as_str()
    }

    /// How well the key is kept: ``"hardware"``, ``"passphrase"``, ``"software"`` or ``"ephemeral"``.
    #[getter]
    fn security_level(&self) -> &'static str {
        self.0.security_level.as_str()
    }

    /// The KEK's id, 64 lowercase hex digits.
    #[getter]
    fn key_id(&self) -> String {
        self.0.key_id.to_string()
    }

    /// How the last load ended: ``"untried"``, ``"working"`` or ``"failing"``.
    #[getter]
    fn status(&self) -> &'static str {
        match self.0.standing {
            Standing::Untried => "untried",
            Standing::Working => "working",
            Standing::Failing { .. } => "failing",
        }
    }

    /// Why it fails, in one line; ``None`` unless it does.
    #[getter]
    fn reason(&self) -> Option<&str> {
        match &self.0.standing {
            Standing::Failing { reason } => Some(reason),
            Standing::Untried | Standing::Working => None,
        }
    }

    /// When a load last succeeded, in UTC as RFC 3339; ``None`` if never.
    #[getter]
    fn last_worked(&self) -> Option<String> {
        self.0.last_worked.map(|at| at.to_string())
    }

    /// Facts of this kind of provider, such as ``mechanism``, ``token`` or ``kms_key``.
    #[getter]
    fn detail<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let detail = PyDict::new(py);
        for (name, value) in &self.0.detail {
            detail.set_item(*name, value)?;
        }
        Ok(detail)
    }

    /// All of it, in types that ``json`` can write.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        all.set_item("provider", self.provider())?;
        all.set_item("security_level", self.security_level())?;
        all.set_item("key_id", self.key_id())?;
        all.set_item("status", self.status())?;
        all.set_item("reason", self.reason())?;
        all.set_item("last_worked", self.last_worked())?;
        all.set_item("detail", self.detail(py)?)?;
        Ok(all)
    }

    fn __repr__(&self) -> String {
        format!(
            "<Health provider={} status={} key_id={}>",
            self.provider(),
            self.status(),
            self.0.key_id.fingerprint()
        )
    }
}
