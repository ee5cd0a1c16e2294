//! Public keys that passed every check.

use std::fmt;

use super::{ml_kem, x25519};
use crate::key_id::KeyId;

/// Bytes of a public key.
pub const HYBRID_PUBLIC_KEY_LEN: usize = x25519::LEN + ml_kem::EK_LEN;

/// A public key to seal for, 1,216 bytes: X25519 (32) ‖ ML-KEM-768 encapsulation key (1,184).
///
/// Both halves were checked, and each has one spelling, so that a key has one id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HybridPublicKey(Box<[u8; HYBRID_PUBLIC_KEY_LEN]>);

impl HybridPublicKey {
    /// Checks raw bytes and takes them as a key.
    ///
    /// # Errors
    ///
    /// A [`HybridPublicKeyError`] for each check, in the order in which they are listed there.
    ///
    /// Sources: FIPS 203 §7.2, RFC 7748 §5 and §6.1.
    pub fn from_bytes(raw: &[u8]) -> Result<Self, HybridPublicKeyError> {
        let exact: &[u8; HYBRID_PUBLIC_KEY_LEN] =
            raw.try_into().map_err(|_| HybridPublicKeyError::Length { found: raw.len() })?;
        let key = Self(Box::new(*exact));
        // The recipient hashes the spelling that it derives itself. A box for another one would never open.
        if !x25519::is_canonical(key.x25519()) {
            return Err(HybridPublicKeyError::X25519NonCanonical);
        }
        if x25519::is_low_order(key.x25519()) {
            return Err(HybridPublicKeyError::X25519LowOrder);
        }
        if !ml_kem::public_vector_is_reduced(key.ml_kem()) {
            return Err(HybridPublicKeyError::MlKemModulus);
        }
        Ok(key)
    }

    /// The 1,216 raw bytes.
    pub fn as_bytes(&self) -> &[u8; HYBRID_PUBLIC_KEY_LEN] {
        &self.0
    }

    /// The key's name: SHA-256 of the raw bytes.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(self.0.as_slice())
    }

    /// The X25519 half, as the combiner hashes it.
    pub(crate) fn x25519(&self) -> &[u8; x25519::LEN] {
        self.0.first_chunk().expect("the first 32 of 1,216 bytes")
    }

    /// The ML-KEM half, ek.
    pub(crate) fn ml_kem(&self) -> &[u8; ml_kem::EK_LEN] {
        self.0.last_chunk().expect("the last 1,184 of 1,216 bytes")
    }
}

impl fmt::Debug for HybridPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HybridPublicKey({})", self.key_id())
    }
}

/// Why bytes are not a public key to seal for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HybridPublicKeyError {
    /// Not 1,216 bytes.
    #[error("a hybrid public key has 1216 bytes, this one has {found}")]
    Length {
        /// Bytes that were given.
        found: usize,
    },
    /// The X25519 half is p = 2²⁵⁵ − 19 or more: another spelling of a shorter one.
    #[error("the X25519 half of the public key is not in canonical form (RFC 7748, section 5)")]
    X25519NonCanonical,
    /// The X25519 half gives the same shared secret, all zeros, with everybody.
    #[error("the X25519 half of the public key is a point of low order, which has no secret")]
    X25519LowOrder,
    /// A number in the ML-KEM half is 3,329 or more.
    #[error("the ML-KEM half of the public key fails the modulus check (FIPS 203, section 7.2)")]
    MlKemModulus,
}

impl HybridPublicKeyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Length { found: super::HYBRID_PRIVATE_KEY_LEN } => {
                "this has the length of a private key; give the public one".to_owned()
            }
            Self::Length { .. } => {
                "give all of it: X25519 (32 bytes), then the ML-KEM-768 encapsulation key (1184 bytes)"
                    .to_owned()
            }
            Self::X25519NonCanonical | Self::MlKemModulus => {
                "compare it with its owner's copy: it was damaged, or its halves are in X-Wing's order (here \
                 X25519 comes first)"
                    .to_owned()
            }
            Self::X25519LowOrder => {
                "do not use it, and find out who made it: such a key is made on purpose".to_owned()
            }
        })
    }
}
