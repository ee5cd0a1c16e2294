//! A KEK in a file under a passphrase.

use std::path::PathBuf;

use aegis_crypto::HybridPrivateKey;
use aegis_kek::file::{FileKekProvider, Passphrase, PassphraseSource};
use aegis_kek::{KekProvider as _, Variables};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::Provider;
use crate::bytes::{BytesLike, secret_text};
use crate::failure::OrRaise as _;

/// A KEK in a file under a passphrase (age), as ``aegis init`` makes one.
///
/// The public key is read here; the passphrase is used when the KEK is loaded, which takes about a second of computing
/// and 128 MiB, on purpose.
///
/// :param path: the key file
/// :param passphrase: the passphrase, at most 1,024 bytes
/// :param passphrase_file: a file of mode 0600 whose first line is the passphrase; without either, the terminal is asked
/// :raises KEKFileError: the file cannot be used
#[pyclass(extends = Provider, frozen, name = "FileKEKProvider", module = "aegis_governance")]
pub(crate) struct FileProvider;

#[pymethods]
impl FileProvider {
    #[new]
    #[pyo3(signature = (path, passphrase = None, *, passphrase_file = None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        passphrase: Option<&Bound<'_, PyString>>,
        passphrase_file: Option<PathBuf>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let source = match (passphrase, passphrase_file) {
            (Some(_), Some(_)) => {
                return Err(PyTypeError::new_err("give passphrase or passphrase_file, not both"));
            }
            (Some(text), None) => PassphraseSource::Given(passphrase_of(text)?),
            (None, Some(path)) => PassphraseSource::File(path),
            (None, None) => PassphraseSource::Terminal,
        };
        let provider = py.detach(|| FileKekProvider::open(&path, source)).or_raise(py)?;
        Ok(Provider::new(provider).with(Self))
    }

    /// Takes the file from ``AEGIS_KEK_FILE``, and its passphrase from ``AEGIS_PASSPHRASE`` or
    /// ``AEGIS_PASSPHRASE_FILE``.
    ///
    /// :raises KEKSettingsError: the variable is missing or cannot be used
    #[classmethod]
    fn from_environment(class: &Bound<'_, PyType>) -> PyResult<Py<Self>> {
        let py = class.py();
        let provider = FileKekProvider::from_environment(&Variables::of_process()).or_raise(py)?;
        Py::new(py, Provider::new(provider).with(Self))
    }

    /// Puts a private key into a new file of mode 0600, whole or not at all. An existing file is never replaced.
    ///
    /// :param private_key: 2,432 bytes, or a seed of 96 or 32; a new one is made if there is none
    /// :returns: the provider for the new file
    /// :raises KEKFileError: the file was not written
    #[classmethod]
    #[pyo3(signature = (path, passphrase, private_key = None))]
    fn create(
        class: &Bound<'_, PyType>,
        path: PathBuf,
        passphrase: &Bound<'_, PyString>,
        private_key: Option<BytesLike>,
    ) -> PyResult<Py<Self>> {
        let py = class.py();
        let private = match private_key {
            Some(bytes) => HybridPrivateKey::import(bytes.as_slice()).or_raise(py)?,
            None => HybridPrivateKey::generate().or_raise(py)?,
        };
        let (first, second) = (passphrase_of(passphrase)?, passphrase_of(passphrase)?);
        py.detach(|| FileKekProvider::create(&path, &first, &private)).or_raise(py)?;
        let provider = FileKekProvider::open(&path, PassphraseSource::Given(second)).or_raise(py)?;
        debug_assert_eq!(provider.public_key().key_id(), private.public_key().key_id());
        Py::new(py, Provider::new(provider).with(Self))
    }
}

fn passphrase_of(text: &Bound<'_, PyString>) -> PyResult<Passphrase> {
    Passphrase::new(&secret_text(text)?).or_raise(text.py())
}
