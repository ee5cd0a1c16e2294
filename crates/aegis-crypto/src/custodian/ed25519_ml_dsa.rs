//! `ed25519+ml-dsa-65`: two signatures over the same bytes, of which both must hold.
//!
//! | what | bytes | parts |
//! |---|---|---|
//! | private key | 64 | Ed25519 seed (32) ‖ ML-DSA-65 seed ξ (32) |
//! | public key | 1,984 | Ed25519 (32) ‖ ML-DSA-65 (1,952) |
//! | signature | 3,373 | Ed25519 (64) ‖ ML-DSA-65 (3,309) |
//!
//! Signed is not the text but the text after a name, the algorithm and the whole public key, each with its length: no
//! half is a signature by its algorithm alone, and none goes with another other half.
//!
//! Sources: RFC 8032 §5.1; FIPS 204 §5.2 and §5.3, with an empty context, hedged.

use std::fmt;

use aws_lc_rs::signature::{KeyPair as _, ML_DSA_65, ML_DSA_65_SIGNING, PqdsaKeyPair, UnparsedPublicKey};

use super::algorithm::CustodianAlgorithm;
use crate::ed25519::{NotAuthentic, PublicKey, PublicKeyError, SeedError, Signature, SigningKey};
use crate::sealed_box::AssociatedData;
use crate::secret::Secret;

/// Bytes of a private key.
pub(super) const PRIVATE_KEY_LEN: usize = 64;
/// Bytes of a public key.
pub(super) const PUBLIC_KEY_LEN: usize = 32 + ML_DSA_PUBLIC_KEY_LEN;
/// Bytes of a signature.
pub(super) const SIGNATURE_LEN: usize = Signature::LEN + ML_DSA_SIGNATURE_LEN;

const ML_DSA_PUBLIC_KEY_LEN: usize = 1952;
const ML_DSA_SIGNATURE_LEN: usize = 3309;

/// A public key whose Ed25519 half was checked. Any 1,952 bytes are an ML-DSA-65 key (FIPS 204 §7.2).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct HybridVerifyingKey {
    raw: Box<[u8; PUBLIC_KEY_LEN]>,
    ed25519: PublicKey,
}

impl HybridVerifyingKey {
    pub(super) fn from_bytes(raw: &[u8; PUBLIC_KEY_LEN]) -> Result<Self, PublicKeyError> {
        let (ed25519, _) = raw.split_first_chunk().expect("1,984 bytes begin with 32");
        Ok(Self { ed25519: PublicKey::from_bytes(ed25519)?, raw: Box::new(*raw) })
    }

    pub(super) const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.raw
    }

    pub(super) fn verify(&self, text: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), NotAuthentic> {
        let signed = signed_bytes(&self.raw, text);
        let (ed25519, ml_dsa) = signature.split_first_chunk().ok_or(NotAuthentic)?;
        let (_, ml_dsa_key) = self.raw.split_at(32);
        self.ed25519.verify(signed.as_bytes(), &Signature::from_bytes(*ed25519))?;
        UnparsedPublicKey::new(&ML_DSA_65, ml_dsa_key)
            .verify(signed.as_bytes(), ml_dsa)
            .map_err(|_| NotAuthentic)
    }
}

/// A private key, expanded once. Both halves are erased when they are freed.
pub(super) struct HybridSigningKey {
    seeds: Secret<PRIVATE_KEY_LEN>,
    ed25519: SigningKey,
    ml_dsa: PqdsaKeyPair,
    public: HybridVerifyingKey,
}

impl HybridSigningKey {
    /// The key of two seeds. All have one.
    pub(super) fn from_seeds(seeds: Secret<PRIVATE_KEY_LEN>) -> Result<Self, SeedError> {
        let (ed25519_seed, ml_dsa_seed) = seeds.expose().split_first_chunk().ok_or(SeedError)?;
        let ed25519 = SigningKey::from_seed(Secret::copy_of(ed25519_seed))?;
        let ml_dsa = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, ml_dsa_seed).map_err(|_| SeedError)?;
        let raw = [ed25519.public_key().as_bytes().as_slice(), ml_dsa.public_key().as_ref()].concat();
        let raw: &[u8; PUBLIC_KEY_LEN] = raw.as_slice().try_into().map_err(|_| SeedError)?;
        let public = HybridVerifyingKey::from_bytes(raw).map_err(|_| SeedError)?;
        Ok(Self { seeds, ed25519, ml_dsa, public })
    }

    pub(super) const fn public(&self) -> &HybridVerifyingKey {
        &self.public
    }

    pub(super) const fn seeds(&self) -> &Secret<PRIVATE_KEY_LEN> {
        &self.seeds
    }

    /// Signs. `None` if the provider failed, or what came out does not verify.
    pub(super) fn sign(&self, text: &[u8]) -> Option<Box<[u8; SIGNATURE_LEN]>> {
        let signed = signed_bytes(self.public.as_bytes(), text);
        let mut signature = Box::new([0; SIGNATURE_LEN]);
        let (ed25519, ml_dsa) = signature.split_at_mut(Signature::LEN);
        ed25519.copy_from_slice(self.ed25519.sign(signed.as_bytes()).as_bytes());
        self.ml_dsa.sign(signed.as_bytes(), ml_dsa).ok()?;
        self.public.verify(text, &signature).ok()?;
        Some(signature)
    }
}

impl fmt::Debug for HybridVerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridVerifyingKey").field("ed25519", &self.ed25519).finish_non_exhaustive()
    }
}

/// What both halves sign.
fn signed_bytes(public_key: &[u8; PUBLIC_KEY_LEN], text: &[u8]) -> AssociatedData {
    let id = CustodianAlgorithm::Ed25519MlDsa65.id();
    AssociatedData::new([b"aegis/custodian-signature/v1", id.as_bytes(), public_key, text])
}
