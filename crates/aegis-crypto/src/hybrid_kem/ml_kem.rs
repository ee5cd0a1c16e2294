//! ML-KEM-768 (FIPS 203) by the provider, and the input checks of §7.2 and §7.3 that it leaves to its caller.
//!
//! | bytes of a decapsulation key | what | FIPS 203 |
//! |---|---|---|
//! | 0 to 1,151 | the vector ŝ, 768 numbers of 12 bits | algorithm 13 |
//! | 1,152 to 2,335 | the encapsulation key: the vector t̂ (1,152) ‖ ρ (32) | algorithm 16 |
//! | 2,336 to 2,367 | H(ek), SHA3-256 of the encapsulation key | algorithm 16 |
//! | 2,368 to 2,399 | z, from which the secret of a refused ciphertext is made | algorithm 16 |

use aws_lc_rs::digest::{SHA3_256, digest};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768, SharedSecret};

use crate::secret::Secret;

/// Bytes of an encapsulation key, ek.
pub(crate) const EK_LEN: usize = 1184;
/// Bytes of a decapsulation key, dk, in its expanded form.
pub(crate) const DK_LEN: usize = 2400;
/// Bytes of a ciphertext.
pub(crate) const CT_LEN: usize = 1088;
/// Bytes of a vector of 3 · 256 numbers of 12 bits.
const VECTOR_LEN: usize = 1152;
/// q.
const MODULUS: u16 = 3329;

/// The provider failed, or refused what it was given.
#[derive(Debug)]
pub(crate) struct MlKemFailed;

/// A decapsulation key taken apart.
pub(crate) struct DkParts<'a> {
    s: &'a [u8; VECTOR_LEN],
    pub(crate) ek: &'a [u8; EK_LEN],
    ek_hash: &'a [u8; 32],
}

impl<'a> DkParts<'a> {
    pub(crate) fn of(dk: &'a [u8; DK_LEN]) -> Self {
        const PARTS: &str = "the parts of a decapsulation key have fixed lengths";
        let (s, rest) = dk.split_first_chunk().expect(PARTS);
        let (ek, rest) = rest.split_first_chunk().expect(PARTS);
        let (ek_hash, _z) = rest.split_first_chunk().expect(PARTS);
        Self { s, ek, ek_hash }
    }

    /// FIPS 203 §7.3, the hash check.
    pub(crate) fn hash_holds(&self) -> bool {
        digest(&SHA3_256, self.ek).as_ref() == self.ek_hash
    }

    /// Whether ŝ is in its one spelling. FIPS 203 does not ask it; key generation never makes another.
    pub(crate) fn private_vector_is_reduced(&self) -> bool {
        is_reduced(self.s)
    }
}

/// FIPS 203 §7.2, the modulus check: every number in t̂ is less than q.
pub(crate) fn public_vector_is_reduced(ek: &[u8; EK_LEN]) -> bool {
    let (t, _rho) = ek.split_at(VECTOR_LEN);
    is_reduced(t)
}

/// A key pair that the provider makes.
pub(crate) fn generate() -> Result<Secret<DK_LEN>, MlKemFailed> {
    let bytes =
        DecapsulationKey::generate(&ML_KEM_768).and_then(|key| key.key_bytes()).map_err(|_| MlKemFailed)?;
    let dk: &[u8; DK_LEN] = bytes.as_ref().try_into().map_err(|_| MlKemFailed)?;
    Ok(Secret::copy_of(dk))
}

/// Takes a decapsulation key whose checks hold.
pub(crate) fn import(dk: &[u8; DK_LEN]) -> Result<DecapsulationKey, MlKemFailed> {
    DecapsulationKey::new(&ML_KEM_768, dk).map_err(|_| MlKemFailed)
}

/// A ciphertext and the shared secret in it.
pub(crate) fn encapsulate(ek: &[u8; EK_LEN]) -> Result<([u8; CT_LEN], SharedSecret), MlKemFailed> {
    let ek = EncapsulationKey::new(&ML_KEM_768, ek).map_err(|_| MlKemFailed)?;
    let (ct, ss) = ek.encapsulate().map_err(|_| MlKemFailed)?;
    Ok((ct.as_ref().try_into().map_err(|_| MlKemFailed)?, ss))
}

/// The shared secret in a ciphertext; for a ciphertext that is not genuine, one that nobody knows (§6.3).
pub(crate) fn decapsulate(dk: &DecapsulationKey, ct: &[u8; CT_LEN]) -> Result<SharedSecret, MlKemFailed> {
    dk.decapsulate(Ciphertext::from(ct.as_slice())).map_err(|_| MlKemFailed)
}

/// Whether every 12-bit number is less than q. Takes as long whatever the numbers are, because they may be secret.
fn is_reduced(vector: &[u8]) -> bool {
    let (triples, _) = vector.as_chunks::<3>();
    let mut excess = 0;
    for &[low, middle, high] in triples {
        let (low, middle, high) = (u16::from(low), u16::from(middle), u16::from(high));
        for number in [low | (middle & 0x0f) << 8, middle >> 4 | high << 4] {
            // The subtraction wraps, and so sets the top bit, if the number is q or more.
            excess |= (MODULUS - 1).wrapping_sub(number) >> 15;
        }
    }
    excess == 0
}
