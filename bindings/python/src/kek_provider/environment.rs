//! A KEK in variables of the process.

use aegis_crypto::HybridPublicKey;
use aegis_kek::{EnvironmentKekProvider, Variables};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::Provider;
use crate::bytes::BytesLike;
use crate::failure::OrRaise as _;

/// A KEK in ``AEGIS_MASTER_KEK_PUBLIC`` and ``AEGIS_MASTER_KEK_PRIVATE``, both base64. They are read once, here.
///
/// As safe as the environment: whoever may look into the process has the key.
///
/// :param public_key_bytes: the public key, 1,216 bytes, instead of the variables; goes with ``private_key``
/// :param private_key: the private key, 2,432 bytes or a seed of 96 or 32
/// :raises KEKSettingsError: variables that are missing, all of them named, or cannot be used
/// :raises KeyFormatError: what is given is no key, or the halves do not belong together
#[pyclass(extends = Provider, frozen, name = "EnvironmentKEKProvider", module = "aegis_governance")]
pub(crate) struct EnvironmentProvider;

#[pymethods]
impl EnvironmentProvider {
    #[new]
    #[pyo3(signature = (*, public_key_bytes = None, private_key = None))]
    fn new(
        py: Python<'_>,
        public_key_bytes: Option<BytesLike>,
        private_key: Option<BytesLike>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let provider = match (public_key_bytes, private_key) {
            (None, None) => {
                EnvironmentKekProvider::from_environment(&Variables::of_process()).or_raise(py)?
            }
            (Some(public), Some(private)) => {
                let public = HybridPublicKey::from_bytes(public.as_slice()).or_raise(py)?;
                EnvironmentKekProvider::new(&public, private.as_slice()).or_raise(py)?
            }
            _ => return Err(PyTypeError::new_err("give both public_key_bytes and private_key, or neither")),
        };
        Ok(Provider::new(provider).with(Self))
    }

    /// The same as calling the class without arguments.
    ///
    /// :raises KEKSettingsError: all that are missing at once, or the one that cannot be used
    #[classmethod]
    fn from_environment(class: &Bound<'_, PyType>) -> PyResult<Py<Self>> {
        let py = class.py();
        Py::new(py, Self::new(py, None, None)?)
    }
}
