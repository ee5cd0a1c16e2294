//! Private keys from seeds, which the provider cannot expand. This is the only use of RustCrypto's ML-KEM.

use ml_kem::{DecapsulationKey768, Seed};
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use zeroize::{Zeroize, Zeroizing};

use super::ml_kem::DK_LEN;
use super::private_key::HYBRID_PRIVATE_KEY_LEN;
use super::x25519;
use crate::secret::{Secret, bleach_stack};

/// Bytes of the seed form of a private key: ML-KEM-768 seed d ‖ z (64) ‖ X25519 scalar (32).
pub const HYBRID_SEED_LEN: usize = 96;

/// Bytes of an X-Wing private key, from which SHAKE256 makes the 96 bytes above.
pub const XWING_SEED_LEN: usize = 32;

const ML_KEM_SEED_LEN: usize = 64;

/// More than the expansion uses of the stack. The RustCrypto crates erase what they own and return arrays by value:
/// a test found six copies of a key, and without optimization they reach between 32 and 48 KiB deep.
const EXPANSION_STACK_KIB: usize = 128;

/// The private key of a 96-byte seed (FIPS 203 §7.1).
pub(crate) fn expand(seed: &[u8; HYBRID_SEED_LEN]) -> Secret<HYBRID_PRIVATE_KEY_LEN> {
    let private = expand_leaving_copies(seed);
    bleach_stack::<EXPANSION_STACK_KIB>();
    private
}

/// The private key of a 32-byte X-Wing seed (draft-connolly-cfrg-xwing-kem §5.2, expandDecapsulationKey).
pub(crate) fn expand_xwing(seed: &[u8; XWING_SEED_LEN]) -> Secret<HYBRID_PRIVATE_KEY_LEN> {
    let expanded = shake256_leaving_copies(seed);
    expand(expanded.expose())
}

#[inline(never)]
fn expand_leaving_copies(seed: &[u8; HYBRID_SEED_LEN]) -> Secret<HYBRID_PRIVATE_KEY_LEN> {
    let (d_z, scalar) = seed.split_at(ML_KEM_SEED_LEN);
    let d_z = Zeroizing::new(Seed::try_from(d_z).expect("the first 64 of 96 bytes"));
    Secret::fill(|private: &mut [u8; HYBRID_PRIVATE_KEY_LEN]| {
        let (x25519, ml_kem) = private.split_at_mut(x25519::LEN);
        x25519.copy_from_slice(scalar);
        let mut dk = expanded_bytes(&DecapsulationKey768::from_seed(*d_z));
        ml_kem.copy_from_slice(&dk);
        dk.zeroize();
    })
}

#[inline(never)]
fn shake256_leaving_copies(seed: &[u8; XWING_SEED_LEN]) -> Secret<HYBRID_SEED_LEN> {
    let mut hasher = Shake256::default();
    hasher.update(seed);
    let mut reader = hasher.finalize_xof();
    Secret::fill(|bytes| reader.read(bytes))
}

/// The 2,400-byte form is deprecated there in favour of seeds. It is what the provider takes and what we store.
#[expect(deprecated, reason = "the provider takes no other form")]
fn expanded_bytes(key: &DecapsulationKey768) -> ml_kem::array::Array<u8, ml_kem::array::sizes::U2400> {
    use ml_kem::ExpandedKeyEncoding;
    const { assert!(DK_LEN == 2400) };
    key.to_expanded_bytes()
}
