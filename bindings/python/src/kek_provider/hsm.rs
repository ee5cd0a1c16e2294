//! A KEK under an AES-256 key inside a PKCS#11 token.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use aegis_crypto::{HybridPrivateKey, HybridPublicKey};
use aegis_kek::pkcs11::{HsmWrap, Pin, generate_wrapping_key, provision};
use aegis_kek::{HsmKekProvider, HsmSettings, HsmToken, Variables};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyType};

use super::Provider;
use crate::bytes::{BytesLike, secret_text};
use crate::failure::OrRaise as _;

/// A KEK whose private half is wrapped by an AES-256 key inside a PKCS#11 token (RFC 5649).
///
/// :param pkcs11_lib: absolute path of the device's PKCS#11 library
/// :param token_label: the token's label
/// :param pin: the user's PIN
/// :param wrapping_key_label: the label of the AES-256 key
/// :param wrapped_private_key: what ``provision`` or ``aegis kek provision`` made
/// :param public_key_bytes: the KEK's public key, 1,216 bytes
/// :param session_pool_size: how many sessions work at once
/// :param init_args: the initialisation string of modules that want one, such as NSS
/// :raises KEKSettingsError: what cannot be right; the device was not asked
#[pyclass(extends = Provider, frozen, name = "HSMKEKProvider", module = "aegis_governance")]
pub(crate) struct HsmProvider;

#[pymethods]
impl HsmProvider {
    #[new]
    #[pyo3(signature = (pkcs11_lib, token_label, pin, wrapping_key_label, wrapped_private_key, public_key_bytes, *,
        session_pool_size = 4, init_args = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        pkcs11_lib: PathBuf,
        token_label: String,
        pin: &Bound<'_, PyString>,
        wrapping_key_label: String,
        wrapped_private_key: BytesLike,
        public_key_bytes: BytesLike,
        session_pool_size: usize,
        init_args: Option<String>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let public_key = HybridPublicKey::from_bytes(public_key_bytes.as_slice()).or_raise(py)?;
        let mut token = token(pkcs11_lib, token_label, pin, wrapping_key_label, init_args)?;
        token.session_pool_size = pool_size(session_pool_size)?;
        let wrapped_private_key = wrapped_private_key.as_slice().to_vec();
        let settings = HsmSettings { token, wrapped_private_key, public_key };
        Ok(Provider::new(HsmKekProvider::new(settings).or_raise(py)?).with(Self))
    }

    /// Takes the settings from variables: ``AEGIS_HSM_PKCS11_LIB``, ``AEGIS_HSM_TOKEN_LABEL``, ``AEGIS_HSM_PIN`` (or
    /// ``_PIN_FILE``), ``AEGIS_HSM_WRAPPING_KEY_LABEL``, ``AEGIS_HSM_WRAPPED_PRIVATE_KEY`` and
    /// ``AEGIS_MASTER_KEK_PUBLIC``.
    ///
    /// :param session_pool_size: how many sessions work at once; else ``AEGIS_HSM_SESSION_POOL_SIZE``, else 4
    /// :raises KEKSettingsError: all that are missing at once, or the one that cannot be used
    #[classmethod]
    #[pyo3(signature = (session_pool_size = None))]
    fn from_environment(class: &Bound<'_, PyType>, session_pool_size: Option<usize>) -> PyResult<Py<Self>> {
        let py = class.py();
        let mut settings = HsmSettings::from_environment(&Variables::of_process()).or_raise(py)?;
        if let Some(size) = session_pool_size {
            settings.token.session_pool_size = pool_size(size)?;
        }
        let provider = HsmKekProvider::new(settings).or_raise(py)?;
        Py::new(py, Provider::new(provider).with(Self))
    }

    /// Has the token wrap a private key, and unwraps it once to see that it can be.
    ///
    /// What it returns is not secret; as base64 it is for ``AEGIS_HSM_WRAPPED_PRIVATE_KEY``.
    ///
    /// :param private_key: 2,432 bytes, or a seed of 96 or 32
    /// :param direct: whether the token wraps all of it; else it wraps 32 bytes, which every token can, and software
    ///     the rest
    /// :param make_wrapping_key: whether to make the AES-256 key in the token first; not if one has the label
    /// :raises KEKError: the token did not do it
    #[staticmethod]
    #[pyo3(signature = (pkcs11_lib, token_label, pin, wrapping_key_label, private_key, *, direct = false,
        make_wrapping_key = false, init_args = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn provision<'py>(
        py: Python<'py>,
        pkcs11_lib: PathBuf,
        token_label: String,
        pin: &Bound<'py, PyString>,
        wrapping_key_label: String,
        private_key: BytesLike,
        direct: bool,
        make_wrapping_key: bool,
        init_args: Option<String>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let token = token(pkcs11_lib, token_label, pin, wrapping_key_label, init_args)?;
        let private = HybridPrivateKey::import(private_key.as_slice()).or_raise(py)?;
        let wrap = if direct { HsmWrap::Direct } else { HsmWrap::TwoStep };
        let wrapped = py
            .detach(|| {
                if make_wrapping_key {
                    generate_wrapping_key(&token)?;
                }
                provision(&token, &private, wrap)
            })
            .or_raise(py)?;
        Ok(PyBytes::new(py, &wrapped))
    }
}

fn token(
    module: PathBuf,
    token_label: String,
    pin: &Bound<'_, PyString>,
    wrapping_key_label: String,
    init_args: Option<String>,
) -> PyResult<HsmToken> {
    let pin = Pin::new(&secret_text(pin)?, "pin").or_raise(pin.py())?;
    let token = HsmToken::new(module, token_label, wrapping_key_label, pin);
    Ok(HsmToken { init_args, ..token })
}

fn pool_size(size: usize) -> PyResult<NonZeroUsize> {
    NonZeroUsize::new(size)
        .filter(|size| size.get() <= 1024)
        .ok_or_else(|| PyValueError::new_err("session_pool_size is 1 to 1024"))
}
