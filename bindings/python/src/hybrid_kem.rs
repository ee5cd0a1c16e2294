//! The hybrid KEM and its boxes, for programs that use them directly.

use aegis_crypto::{
    ALGORITHM, AssociatedData, BOX_OVERHEAD, ENCAPSULATION_LEN, Encapsulation, HYBRID_PRIVATE_KEY_LEN,
    HYBRID_PUBLIC_KEY_LEN, HybridPrivateKey, HybridPublicKey, KeyId, Purpose,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bytes::{BytesLike, Parts, secret_bytes};
use crate::failure::{OrRaise as _, Raised};

/// X25519 + ML-KEM-768 (FIPS 203), combined as X-Wing does, and boxes of AES-256-GCM under what they agree on.
///
/// It has no state, and is safe to use from several threads. The interpreter is free while it computes.
#[pyclass(frozen, name = "HybridKEMProvider", module = "aegis_governance.crypto")]
pub(crate) struct HybridKem;

#[pymethods]
impl HybridKem {
    /// Bytes of a public key: 1,216.
    #[classattr]
    const PUBLIC_KEY_LEN: usize = HYBRID_PUBLIC_KEY_LEN;
    /// Bytes of a private key: 2,432.
    #[classattr]
    const PRIVATE_KEY_LEN: usize = HYBRID_PRIVATE_KEY_LEN;
    /// Bytes of an encapsulation: 1,120.
    #[classattr]
    const ENCAPSULATION_LEN: usize = ENCAPSULATION_LEN;
    /// How many bytes a box has more than its content: 1,148.
    #[classattr]
    const BOX_OVERHEAD: usize = BOX_OVERHEAD;

    #[new]
    const fn new() -> Self {
        Self
    }

    /// ``"x25519+ml-kem-768+aes-256-gcm"``, as envelopes have it.
    #[getter]
    const fn algorithm_name(&self) -> &'static str {
        ALGORITHM
    }

    /// Makes a key pair: the private key, 2,432 secret bytes, and the public key, 1,216 bytes.
    ///
    /// The private key is a ``SecretBytes``. Whoever need not have it in hand makes it where it is to rest instead:
    /// ``FileKEKProvider.create``, or ``aegis kek provision``.
    fn generate_keypair<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyBytes>)> {
        let private = py.detach(HybridPrivateKey::generate).or_raise(py)?;
        let public = PyBytes::new(py, private.public_key().as_bytes());
        Ok((secret_bytes(py, private.dangerous_expose())?, public))
    }

    /// The public key of a private one, after every check of FIPS 203.
    ///
    /// :param private_key: 2,432 bytes, or a seed of 96 (ML-KEM 64, X25519 32) or 32 (X-Wing)
    /// :raises KeyFormatError: it fails a check, which is named
    fn public_key_of<'py>(&self, py: Python<'py>, private_key: BytesLike) -> PyResult<Bound<'py, PyBytes>> {
        let private = private_key_of(py, &private_key)?;
        Ok(PyBytes::new(py, private.public_key().as_bytes()))
    }

    /// The id of a public key: its SHA-256, 64 lowercase hex digits.
    ///
    /// :raises KeyFormatError: it fails a check, which is named
    fn key_id(&self, py: Python<'_>, public_key: BytesLike) -> PyResult<String> {
        Ok(public_key_of(py, &public_key)?.key_id().to_string())
    }

    /// Makes a shared secret for the holder of a key: the encapsulation, 1,120 bytes, and the secret, 32.
    ///
    /// :raises KeyFormatError: the public key is none
    fn encapsulate<'py>(
        &self,
        py: Python<'py>,
        public_key: BytesLike,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyAny>)> {
        let public = public_key_of(py, &public_key)?;
        let (encapsulation, secret) = py.detach(|| aegis_crypto::encapsulate(&public)).or_raise(py)?;
        Ok((PyBytes::new(py, encapsulation.as_bytes()), secret_bytes(py, secret.expose())?))
    }

    /// The shared secret of an encapsulation, 32 bytes.
    ///
    /// As FIPS 203 has it, one that was made for another key or was changed gives another secret, not an error.
    ///
    /// :raises KeyFormatError: the private key is none, or the encapsulation has not 1,120 bytes
    fn decapsulate<'py>(
        &self,
        py: Python<'py>,
        encapsulation: BytesLike,
        private_key: BytesLike,
    ) -> PyResult<Bound<'py, PyAny>> {
        let private = private_key_of(py, &private_key)?;
        let bytes = encapsulation.as_slice();
        let fixed: &[u8; ENCAPSULATION_LEN] = bytes.try_into().map_err(|_| {
            let message =
                format!("an encapsulation has {ENCAPSULATION_LEN} bytes, this one has {}", bytes.len());
            Raised::new("KeyFormatError", "Length", message, "").into_exception(py)
        })?;
        let encapsulation = Encapsulation::from_bytes(fixed);
        let secret = py.detach(|| aegis_crypto::decapsulate(&private, &encapsulation)).or_raise(py)?;
        secret_bytes(py, secret.expose())
    }

    /// Seals into a box that opens on its own: 1,148 bytes more than ``plaintext`` has.
    ///
    /// :param associated_data: what the box is bound to, bytes or 1 to 16 of them; ``decrypt`` has to be told the same
    /// :param purpose: ``"field"``, ``"dek-wrap"`` or ``"backup"``; a box opens for its purpose only
    /// :raises KeyFormatError: the public key is none
    #[pyo3(signature = (public_key, plaintext, associated_data, *, purpose = "field"))]
    fn encrypt<'py>(
        &self,
        py: Python<'py>,
        public_key: BytesLike,
        plaintext: BytesLike,
        associated_data: Parts,
        purpose: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let public = public_key_of(py, &public_key)?;
        crate::kek_provider::seal(py, &public, purpose_of(purpose)?, &plaintext, &associated_data)
    }

    /// Opens a box.
    ///
    /// :raises NotAuthenticError: another key, purpose or associated data, or a changed bit; which, nobody is told
    #[pyo3(signature = (private_key, sealed, associated_data, *, purpose = "field"))]
    fn decrypt<'py>(
        &self,
        py: Python<'py>,
        private_key: BytesLike,
        sealed: BytesLike,
        associated_data: Parts,
        purpose: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let private = private_key_of(py, &private_key)?;
        let (purpose, bound) = (purpose_of(purpose)?, associated_data.bound());
        let sealed = sealed.as_slice();
        let opened = py.detach(|| aegis_crypto::open(&private, purpose, &bound, sealed)).or_raise(py)?;
        Ok(PyBytes::new(py, &opened))
    }

    fn __repr__(&self) -> &'static str {
        "<HybridKEMProvider x25519+ml-kem-768+aes-256-gcm>"
    }
}

impl Parts {
    /// The encoding of the parts, in which no byte can move from one to the next.
    pub(crate) fn bound(&self) -> AssociatedData {
        let parts: Vec<&[u8]> = self.0.iter().map(BytesLike::as_slice).collect();
        let (first, rest) = parts.split_first().map_or((&[][..], &[][..]), |(first, rest)| (*first, rest));
        AssociatedData::of(first, rest)
    }
}

pub(crate) fn purpose_of(name: &str) -> PyResult<Purpose> {
    Purpose::ALL
        .into_iter()
        .find(|purpose| purpose.name() == name)
        .ok_or_else(|| PyValueError::new_err("purpose is \"field\", \"dek-wrap\" or \"backup\""))
}

pub(crate) fn public_key_of(py: Python<'_>, bytes: &BytesLike) -> PyResult<HybridPublicKey> {
    HybridPublicKey::from_bytes(bytes.as_slice()).or_raise(py)
}

fn private_key_of(py: Python<'_>, bytes: &BytesLike) -> PyResult<HybridPrivateKey> {
    let bytes = bytes.as_slice();
    py.detach(|| HybridPrivateKey::import(bytes)).or_raise(py)
}

/// The id of a key: SHA-256 of the raw public key, 64 lowercase hex digits.
#[pyfunction]
pub(crate) fn key_id(public_key: BytesLike) -> String {
    KeyId::of(public_key.as_slice()).to_string()
}
