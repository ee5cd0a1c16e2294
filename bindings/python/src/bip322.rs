//! Keys and signatures of custodians.

use aegis_crypto::{
    Bip322PrivateKey, Bip322Provider, Bip322PublicKey, Bip322Signature, BitcoinNetwork, Secret, WifNetwork,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::bytes::{BytesLike, secret_bytes, secret_text};
use crate::failure::{OrRaise as _, Raised};

/// Keys of custodians, and BIP-322 *simple* signatures over Taproot, which wallets and other verifiers can check.
///
/// A private key is 32 bytes, a public key 32 (x-only, BIP-340). It has no state.
#[pyclass(frozen, name = "BIP322Provider", module = "aegis_governance.crypto")]
pub(crate) struct Bip322;

const PROVIDER: Bip322Provider = Bip322Provider::new();

#[pymethods]
impl Bip322 {
    #[new]
    const fn new() -> Self {
        Self
    }

    /// ``"bip322-p2tr"``, as requests and registries have it.
    #[getter]
    const fn algorithm_name(&self) -> &'static str {
        Bip322Provider::ALGORITHM
    }

    /// Makes a key pair: the private key, 32 secret bytes, and the public key, 32 bytes.
    ///
    /// The private key is a ``SecretBytes``: ``bytes`` that ``repr`` does not show and that cannot be pickled. It belongs
    /// to one person, and never into the deployment.
    fn generate_keypair<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyBytes>)> {
        let (private, public) = py.detach(|| PROVIDER.generate_keypair()).or_raise(py)?;
        let private = secret_bytes(py, private.dangerous_secret().expose())?;
        Ok((private, PyBytes::new(py, public.as_bytes())))
    }

    /// The public key of a private one, 32 bytes.
    ///
    /// :raises KeyFormatError: it is no private key
    fn public_key_of<'py>(&self, py: Python<'py>, private_key: BytesLike) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, private(py, &private_key)?.public_key().as_bytes()))
    }

    /// The id of a public key: its SHA-256, 64 lowercase hex digits.
    fn key_id(&self, py: Python<'_>, public_key: BytesLike) -> PyResult<String> {
        Ok(public(py, &public_key)?.key_id().to_string())
    }

    /// The Taproot address of a public key, with which a wallet signs.
    ///
    /// :param network: ``"mainnet"``, ``"testnet"`` or ``"regtest"``
    #[pyo3(signature = (public_key, network = "mainnet"))]
    fn address(&self, py: Python<'_>, public_key: BytesLike, network: &str) -> PyResult<String> {
        let network = BitcoinNetwork::ALL.into_iter().find(|known| known.name() == network);
        let network = network.ok_or_else(|| {
            let names = BitcoinNetwork::ALL.map(BitcoinNetwork::name).join(", ");
            PyValueError::new_err(format!("network is one of {names}"))
        })?;
        Ok(PROVIDER.address(&public(py, &public_key)?, network).to_string())
    }

    /// Signs a hash of 32 bytes. What it returns is the text that wallets exchange, beginning with ``smp``.
    ///
    /// :raises KeyFormatError: the hash has not 32 bytes, or the private key is none
    /// :raises SignError: nothing was signed
    fn sign(&self, py: Python<'_>, message_hash: BytesLike, private_key: BytesLike) -> PyResult<String> {
        let (hash, key) = (hash(py, &message_hash)?, private(py, &private_key)?);
        Ok(py.detach(|| PROVIDER.sign(&hash, &key)).or_raise(py)?.to_string())
    }

    /// Whether a signature over a hash of 32 bytes is that of a public key.
    ///
    /// :raises KeyFormatError: what is given is no signature, no hash, or no public key
    fn verify(
        &self,
        py: Python<'_>,
        signature: &Bound<'_, PyAny>,
        message_hash: BytesLike,
        public_key: BytesLike,
    ) -> PyResult<bool> {
        let (signature, hash, key) =
            (signature_of(signature)?, hash(py, &message_hash)?, public(py, &public_key)?);
        Ok(py.detach(|| PROVIDER.verify(&signature, &hash, &key)).is_ok())
    }

    /// Signs a text, as a wallet does in which it was typed.
    ///
    /// :raises KeyFormatError: the private key is none
    /// :raises SignError: nothing was signed
    fn sign_message(&self, py: Python<'_>, text: &str, private_key: BytesLike) -> PyResult<String> {
        let key = private(py, &private_key)?;
        Ok(py.detach(|| PROVIDER.sign_message(text, &key)).or_raise(py)?.to_string())
    }

    /// Whether a signature over a text is that of a public key.
    ///
    /// :raises KeyFormatError: what is given is no signature, or no public key
    fn verify_message(
        &self,
        py: Python<'_>,
        signature: &Bound<'_, PyAny>,
        text: &str,
        public_key: BytesLike,
    ) -> PyResult<bool> {
        let (signature, key) = (signature_of(signature)?, public(py, &public_key)?);
        Ok(py.detach(|| PROVIDER.verify_message(&signature, text, &key)).is_ok())
    }

    /// Reads a private key as Bitcoin Core exports it (WIF, of a compressed public key): 32 secret bytes.
    ///
    /// :raises KeyFormatError: it is none, and why
    fn private_key_from_wif<'py>(&self, wif: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let py = wif.py();
        let (key, _network): (_, WifNetwork) = Bip322PrivateKey::from_wif(&secret_text(wif)?).or_raise(py)?;
        secret_bytes(py, key.dangerous_secret().expose())
    }

    fn __repr__(&self) -> &'static str {
        "<BIP322Provider bip322-p2tr>"
    }
}

fn private(py: Python<'_>, bytes: &BytesLike) -> PyResult<Bip322PrivateKey> {
    Bip322PrivateKey::from_secret(Secret::copy_of(fixed(py, bytes, "a private key")?)).or_raise(py)
}

fn public(py: Python<'_>, bytes: &BytesLike) -> PyResult<Bip322PublicKey> {
    Bip322PublicKey::from_bytes(fixed(py, bytes, "a public key")?).or_raise(py)
}

fn hash(py: Python<'_>, bytes: &BytesLike) -> PyResult<[u8; 32]> {
    fixed(py, bytes, "a hash").copied()
}

fn fixed<'a>(py: Python<'_>, bytes: &'a BytesLike, what: &str) -> PyResult<&'a [u8; 32]> {
    let bytes = bytes.as_slice();
    bytes.try_into().map_err(|_| {
        let message = format!("{what} has 32 bytes, this one has {}", bytes.len());
        Raised::new("KeyFormatError", "Length", message, "give the raw bytes, not hex or base64")
            .into_exception(py)
    })
}

/// The text that wallets exchange, or its bytes in ASCII.
fn signature_of(object: &Bound<'_, PyAny>) -> PyResult<Bip322Signature> {
    let py = object.py();
    if let Ok(text) = object.cast::<PyString>() {
        return Bip322Signature::parse(&text.to_cow()?).or_raise(py);
    }
    let bytes: BytesLike = object.extract()?;
    // What is not UTF-8 is no base64 either, and the parser says so.
    Bip322Signature::parse(&String::from_utf8_lossy(bytes.as_slice())).or_raise(py)
}
