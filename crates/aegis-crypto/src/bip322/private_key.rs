//! Private keys of custodians.

use std::fmt;

use super::public_key::{Bip322PublicKey, Bip322PublicKeyError};
use super::schnorr;
use crate::secret::{RandomError, Secret};

/// A private key (BIP-340), 32 bytes. Erased on drop, and its `Debug` shows the key id only.
pub struct Bip322PrivateKey {
    secret: Secret<32>,
    public_key: Bip322PublicKey,
}

impl Bip322PrivateKey {
    /// Makes a new key from the system's random generator.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the generator gave no bytes.
    pub fn generate() -> Result<Self, RandomError> {
        // All but one of 2^127 numbers of 32 bytes are keys: a generator whose bytes are not one is broken.
        Self::from_secret(Secret::random()?).map_err(|_| RandomError)
    }

    /// Takes 32 bytes, big-endian.
    ///
    /// # Errors
    ///
    /// A [`Bip322PrivateKeyError`]; the bytes are erased.
    pub fn from_secret(secret: Secret<32>) -> Result<Self, Bip322PrivateKeyError> {
        let raw = schnorr::public_key_of(secret.expose()).ok_or(Bip322PrivateKeyError::OutOfRange)?;
        let public_key = Bip322PublicKey::from_bytes(&raw).map_err(Bip322PrivateKeyError::PublicKey)?;
        Ok(Self { secret, public_key })
    }

    /// The public half.
    pub const fn public_key(&self) -> &Bip322PublicKey {
        &self.public_key
    }

    /// Lends the 32 bytes, for the file in which the custodian keeps them.
    pub const fn dangerous_secret(&self) -> &Secret<32> {
        &self.secret
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }
}

/// Why 32 bytes are not a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bip322PrivateKeyError {
    /// 0, or not under the order of the group.
    #[error("the private key is 0, or not under the order of secp256k1")]
    OutOfRange,
    /// Its public key is none. No private key is known for which it is so.
    #[error("the private key has no public key that can be used")]
    PublicKey(#[source] Bip322PublicKeyError),
}

impl Bip322PrivateKeyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some("no program makes such a key: it was damaged, or it is not a key; make a new one".to_owned())
    }
}

impl fmt::Debug for Bip322PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bip322PrivateKey").field("key_id", &self.public_key.key_id()).finish_non_exhaustive()
    }
}
