//! Private keys: made, imported with every check, and held.

use std::fmt;

use aws_lc_rs::kem::DecapsulationKey;
use subtle::ConstantTimeEq;

use super::ml_kem::{self, DkParts, MlKemFailed};
use super::public_key::HybridPublicKey;
use super::x25519::{self, Scalar};
use super::{HYBRID_SEED_LEN, XWING_SEED_LEN, seed};
use crate::key_id::KeyId;
use crate::secret::{RandomError, Secret};

/// Bytes of a private key.
pub const HYBRID_PRIVATE_KEY_LEN: usize = x25519::LEN + ml_kem::DK_LEN;

/// A private key, 2,432 bytes: X25519 (32) ‖ ML-KEM-768 decapsulation key, expanded (2,400, FIPS 203 §7.1).
///
/// Its bytes are erased on drop, and its `Debug` shows the key id only. They are locked in memory as far as the system
/// allows it ([`is_locked`](Self::is_locked)). Of the ML-KEM half the provider has a copy of its own only while it works
/// with it; the 32 bytes of X25519, without which the other half opens nothing, it keeps on the heap.
pub struct HybridPrivateKey {
    bytes: Secret<HYBRID_PRIVATE_KEY_LEN>,
    // The provider's copy, made once because that costs a scalar multiplication; it erases it when it frees it.
    scalar: Scalar,
    public_key: HybridPublicKey,
}

impl HybridPrivateKey {
    /// Makes a new key pair from the system's random generator.
    ///
    /// # Errors
    ///
    /// [`HybridPrivateKeyError::Random`] or [`HybridPrivateKeyError::Provider`]; a pair that fails its own checks is
    /// not given out either.
    pub fn generate() -> Result<Self, HybridPrivateKeyError> {
        let scalar = Secret::<{ x25519::LEN }>::random().map_err(HybridPrivateKeyError::Random)?;
        let dk = ml_kem::generate().map_err(|_| HybridPrivateKeyError::Provider)?;
        Self::from_expanded(Secret::fill(|bytes: &mut [u8; HYBRID_PRIVATE_KEY_LEN]| {
            let (to_scalar, to_dk) = bytes.split_at_mut(x25519::LEN);
            to_scalar.copy_from_slice(scalar.expose());
            to_dk.copy_from_slice(dk.expose());
        }))
    }

    /// Reads a private key in any of its three forms, which differ in length, and makes every check.
    ///
    /// | bytes | form |
    /// |---|---|
    /// | 2,432 | X25519 (32) ‖ ML-KEM-768 decapsulation key, expanded (2,400) |
    /// | 96 | ML-KEM-768 seed d ‖ z (64) ‖ X25519 (32) |
    /// | 32 | X-Wing private key |
    ///
    /// Two things in the long form leave no trace that a check could find, because nothing else depends on
    /// them: the 32 bytes z, which only choose the secret of a forged ciphertext, and the five bits that
    /// X25519 clamps. A changed X25519 half is another good key: it is found by [`import_for`](Self::import_for).
    ///
    /// # Errors
    ///
    /// A [`HybridPrivateKeyError`] that names the check. No message has any of the content.
    pub fn import(raw: &[u8]) -> Result<Self, HybridPrivateKeyError> {
        if let Ok(bytes) = <&[u8; HYBRID_PRIVATE_KEY_LEN]>::try_from(raw) {
            Self::from_expanded(Secret::copy_of(bytes))
        } else if let Ok(seed) = <&[u8; HYBRID_SEED_LEN]>::try_from(raw) {
            Self::from_expanded(seed::expand(seed))
        } else if let Ok(seed) = <&[u8; XWING_SEED_LEN]>::try_from(raw) {
            Self::from_expanded(seed::expand_xwing(seed))
        } else {
            Err(HybridPrivateKeyError::Length { found: raw.len() })
        }
    }

    /// Like [`import`](Self::import), and checks that the key is the private half of `public_key`.
    ///
    /// # Errors
    ///
    /// [`HybridPrivateKeyError::PublicKeyMismatch`] besides those of [`import`](Self::import).
    pub fn import_for(raw: &[u8], public_key: &HybridPublicKey) -> Result<Self, HybridPrivateKeyError> {
        let key = Self::import(raw)?;
        let half = match (
            key.public_key.x25519() == public_key.x25519(),
            key.public_key.ml_kem() == public_key.ml_kem(),
        ) {
            (true, true) => return Ok(key),
            (false, true) => KeyHalf::X25519,
            (true, false) => KeyHalf::MlKem,
            (false, false) => KeyHalf::Both,
        };
        Err(HybridPrivateKeyError::PublicKeyMismatch {
            half,
            derived: key.public_key.key_id(),
            given: public_key.key_id(),
        })
    }

    /// The public half.
    pub const fn public_key(&self) -> &HybridPublicKey {
        &self.public_key
    }

    /// Lends the 2,432 bytes, to be wrapped. Each call is a line that a reviewer can search for.
    pub fn dangerous_expose(&self) -> &[u8; HYBRID_PRIVATE_KEY_LEN] {
        self.bytes.expose()
    }

    /// Whether the bytes are kept out of swap space and core files; not if `RLIMIT_MEMLOCK` was reached.
    pub const fn is_locked(&self) -> bool {
        self.bytes.is_locked()
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        &self.scalar
    }

    /// The ML-KEM half, dk, parsed for one use: what the provider holds is not locked in memory.
    pub(crate) fn dk(&self) -> Result<DecapsulationKey, MlKemFailed> {
        ml_kem::import(self.bytes.expose().last_chunk().expect("the last 2,400 of 2,432 bytes"))
    }

    /// All checks, cheapest first. Every form comes through here.
    fn from_expanded(bytes: Secret<HYBRID_PRIVATE_KEY_LEN>) -> Result<Self, HybridPrivateKeyError> {
        const HALVES: &str = "the halves have fixed lengths";
        let (scalar, dk) = bytes.expose().split_first_chunk().expect(HALVES);
        let dk: &[u8; ml_kem::DK_LEN] = dk.try_into().expect(HALVES);
        let parts = DkParts::of(dk);

        if !ml_kem::public_vector_is_reduced(parts.ek) {
            return Err(HybridPrivateKeyError::MlKemPublicModulus);
        }
        if !parts.hash_holds() {
            return Err(HybridPrivateKeyError::MlKemHash);
        }
        if !parts.private_vector_is_reduced() {
            return Err(HybridPrivateKeyError::MlKemPrivateModulus);
        }

        let scalar = Scalar::from_bytes(scalar).map_err(|_| HybridPrivateKeyError::Provider)?;
        let x25519_public = scalar.public().map_err(|_| HybridPrivateKeyError::Provider)?;
        // What could be wrong with it was checked above, or cannot come out of a multiplication of the base point.
        let public_key = HybridPublicKey::from_bytes(&[x25519_public.as_slice(), parts.ek].concat())
            .map_err(|_| HybridPrivateKeyError::Provider)?;

        let dk = ml_kem::import(dk).map_err(|_| HybridPrivateKeyError::Provider)?;
        let (ct, sent) = ml_kem::encapsulate(parts.ek).map_err(|_| HybridPrivateKeyError::Provider)?;
        let received = ml_kem::decapsulate(&dk, &ct).map_err(|_| HybridPrivateKeyError::Provider)?;
        if !bool::from(sent.as_ref().ct_eq(received.as_ref())) {
            return Err(HybridPrivateKeyError::MlKemPairwise);
        }
        Ok(Self { bytes, scalar, public_key })
    }
}

impl fmt::Debug for HybridPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridPrivateKey").field("key_id", &self.public_key.key_id()).finish_non_exhaustive()
    }
}

/// Which half of a hybrid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHalf {
    /// The 32 bytes of X25519.
    X25519,
    /// ML-KEM-768.
    MlKem,
    /// The one and the other.
    Both,
}

/// Why bytes are not a private key, or not the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HybridPrivateKeyError {
    /// Not the length of any form.
    #[error("a hybrid private key has 2432 bytes (or 96 or 32, as a seed), this one has {found}")]
    Length {
        /// Bytes that were given.
        found: usize,
    },
    /// A number in the public key inside the private key is 3,329 or more.
    #[error("the public key inside the ML-KEM private key fails the modulus check (FIPS 203, section 7.2)")]
    MlKemPublicModulus,
    /// The public key inside the private key does not have the hash that is stored beside it.
    #[error("the ML-KEM private key fails the hash check (FIPS 203, section 7.3)")]
    MlKemHash,
    /// A number in the private vector is 3,329 or more.
    #[error("the private numbers of the ML-KEM private key are out of range (FIPS 203, section 4.2.1)")]
    MlKemPrivateModulus,
    /// What the public half encapsulates, the private half does not decapsulate.
    #[error("the halves of the ML-KEM private key do not belong together (FIPS 203, section 7.1)")]
    MlKemPairwise,
    /// The key is good, and it is another one.
    #[error(
        "the private key belongs to public key {}, not to {} ({})",
        derived.fingerprint(), given.fingerprint(), half.differs()
    )]
    PublicKeyMismatch {
        /// Where they differ.
        half: KeyHalf,
        /// Id of the public key that belongs to the private one.
        derived: KeyId,
        /// Id of the public key that was given.
        given: KeyId,
    },
    /// No randomness for a new key.
    #[error("no key was made")]
    Random(#[source] RandomError),
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not take the private key")]
    Provider,
}

impl HybridPrivateKeyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Length { found: super::HYBRID_PUBLIC_KEY_LEN } => {
                Some("this has the length of a public key; give the private one".to_owned())
            }
            Self::Length { .. } => Some(
                "give all of it: X25519 (32 bytes), then the expanded ML-KEM-768 decapsulation key (2400 bytes)"
                    .to_owned(),
            ),
            Self::MlKemPublicModulus
            | Self::MlKemHash
            | Self::MlKemPrivateModulus
            | Self::MlKemPairwise => {
                Some("it was damaged or its halves are in another order; restore it from a backup".to_owned())
            }
            Self::PublicKeyMismatch { .. } => {
                Some("set the public and the private key that were made together".to_owned())
            }
            Self::Random(error) => error.help(),
            Self::Provider => {
                Some("this does not depend on the key; check that memory is available and try again".to_owned())
            }
        }
    }
}

impl KeyHalf {
    fn differs(self) -> &'static str {
        match self {
            Self::X25519 => "the X25519 half differs",
            Self::MlKem => "the ML-KEM half differs",
            Self::Both => "both halves differ",
        }
    }
}
