//! Private keys: made, read, written and used for signing.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::public_key::PublicKey;
use super::signature::Signature;
use crate::pkcs8::{self, PrivateKeyFileError};
use crate::secret::{RandomError, Secret};

/// An Ed25519 private key. Its bytes are erased on drop, and its `Debug` shows the key id only.
pub struct SigningKey {
    seed: Secret<32>,
    // The provider's copy, expanded once; it is erased when the provider frees it.
    pair: Ed25519KeyPair,
    public_key: PublicKey,
}

impl SigningKey {
    /// Makes a new key from the system's random generator.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the generator gave no bytes.
    pub fn generate() -> Result<Self, RandomError> {
        // A seed is rejected only if the provider itself fails, which is the same news to the caller.
        Self::from_seed(Secret::random()?).map_err(|SeedError| RandomError)
    }

    /// Makes the key of a 32-byte seed (RFC 8032 §5.1.5). Every seed has one.
    ///
    /// # Errors
    ///
    /// [`SeedError`] if the provider failed, for want of memory for instance.
    pub fn from_seed(seed: Secret<32>) -> Result<Self, SeedError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| SeedError)?;
        let raw: &[u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| SeedError)?;
        let public_key = PublicKey::from_bytes(raw).map_err(|_| SeedError)?;
        Ok(Self { seed, pair, public_key })
    }

    /// Reads `-----BEGIN PRIVATE KEY-----`, PKCS#8 version 1 as openssl writes it, or version 2 with the public
    /// key, which must then agree. The file may hold nothing else.
    ///
    /// # Errors
    ///
    /// A [`PrivateKeyFileError`] that names what the file is instead. No message has any of its content.
    pub fn from_pkcs8_pem(pem: &[u8]) -> Result<Self, PrivateKeyFileError> {
        let pkcs8::PrivateKeyFile { seed, public_key } = pkcs8::parse(pem)?;
        let key = Self::from_seed(seed).map_err(PrivateKeyFileError::Provider)?;
        match public_key {
            Some(stated) if stated != *key.public_key.as_bytes() => {
                Err(PrivateKeyFileError::PublicKeyMismatch { derived: key.public_key.key_id() })
            }
            _ => Ok(key),
        }
    }

    /// The key as PKCS#8 version 1 in PEM, which openssl reads. Ends with a line feed. Erased on drop.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pkcs8::to_pem(&self.seed)
    }

    /// The public half.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Signs `message` (RFC 8032 §5.1.6). The same message always gets the same signature.
    ///
    /// # Panics
    ///
    /// If the provider has no memory left; no message brings that about.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.pair.sign(message);
        Signature::from_slice(signature.as_ref()).expect("Ed25519 signatures have 64 bytes")
    }
}

/// The provider could not make a key of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic provider could not make a key of the seed")]
pub struct SeedError;

impl SeedError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some("this does not depend on the key; check that memory is available and try again".to_owned())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.public_key.key_id()).finish_non_exhaustive()
    }
}
