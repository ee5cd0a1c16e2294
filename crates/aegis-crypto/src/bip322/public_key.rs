//! Public keys of custodians: x-only points, and the output keys of their addresses.

use std::fmt;

use super::schnorr;
use super::transactions::tweak_without_scripts;
use crate::key_id::KeyId;

/// An x-only public key (BIP-340) that is on the curve.
///
/// It is the *internal* key of its address: that has the output key, which is this one with its own hash added (BIP-86).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bip322PublicKey {
    internal: [u8; 32],
    output: [u8; 32],
}

impl Bip322PublicKey {
    /// Checks 32 raw bytes, and takes them as a key.
    ///
    /// # Errors
    ///
    /// A [`Bip322PublicKeyError`].
    ///
    /// Source: BIP-340 "Specification", lift_x.
    pub fn from_bytes(raw: &[u8; 32]) -> Result<Self, Bip322PublicKeyError> {
        if !schnorr::is_public_key(raw) {
            return Err(Bip322PublicKeyError::NotOnCurve);
        }
        let output =
            schnorr::add_tweak(raw, &tweak_without_scripts(raw)).ok_or(Bip322PublicKeyError::NoAddress)?;
        Ok(Self { internal: *raw, output })
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.internal
    }

    /// The key's name: SHA-256 of the raw bytes.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(&self.internal)
    }

    /// The raw bytes as 64 lowercase hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.internal)
    }

    /// The key that is in the address.
    pub(super) const fn output_key(&self) -> &[u8; 32] {
        &self.output
    }
}

/// Why 32 bytes are not a public key of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bip322PublicKeyError {
    /// No point has this x, or it is not below p: one of two such numbers at random.
    #[error("the public key is not the x of a point of secp256k1")]
    NotOnCurve,
    /// The key with its hash added is no key. None is known for which it is so.
    #[error("the public key has no Taproot address")]
    NoAddress,
}

impl Bip322PublicKeyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotOnCurve => {
                "compare it with the custodian's copy: it was damaged, or it is not an x-only \
                                 key (BIP-340); leave out the first byte of a compressed key of 33"
                    .to_owned()
            }
            Self::NoAddress => "make another key".to_owned(),
        })
    }
}

impl fmt::Debug for Bip322PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bip322PublicKey({})", self.key_id())
    }
}
