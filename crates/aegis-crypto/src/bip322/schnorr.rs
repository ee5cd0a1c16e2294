//! BIP-340 keys and signatures, by libsecp256k1. No other file names that library.

use std::fmt;

use secp256k1::schnorr::{self, Signature};
use secp256k1::{Keypair, Scalar, XOnlyPublicKey};

use crate::ed25519::NotAuthentic;
use crate::hex_text::{self, Case};
use crate::secret::{RandomError, Secret, bleach_stack};

/// More than the library uses of the stack. It is given keys by value, and erases what it knows to be secret only.
const SIGNING_STACK_KIB: usize = 32;

/// A BIP-340 signature as it is, 64 bytes, not yet believed: over bytes, under the key itself, without any address.
///
/// It is not a BIP-322 signature, and nobody's wallet makes one. See [`Bip322Signature`](crate::Bip322Signature).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bip340Signature([u8; 64]);

impl Bip340Signature {
    /// Bytes in a signature.
    pub const LEN: usize = 64;

    /// Takes 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Reads exactly 128 hex digits in either case. `None` if the text is anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex_text::decode(text, Case::Either).map(Self).ok()
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for Bip340Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Bip340Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bip340Signature({self})")
    }
}

/// The x-only public key of a private key. `None` if that is 0, or not under the order of the group.
pub(super) fn public_key_of(private: &[u8; 32]) -> Option<[u8; 32]> {
    let public = public_key_leaving_copies(private);
    bleach_stack::<SIGNING_STACK_KIB>();
    public
}

/// Whether 32 bytes are the x of a point, and below p.
pub(super) fn is_public_key(raw: &[u8; 32]) -> bool {
    XOnlyPublicKey::from_byte_array(*raw).is_ok()
}

/// The x of `public` + `tweak` · G. `None` if that is no key, which nobody can bring about.
pub(super) fn add_tweak(public: &[u8; 32], tweak: &[u8; 32]) -> Option<[u8; 32]> {
    let public = XOnlyPublicKey::from_byte_array(*public).ok()?;
    let (tweaked, _) = public.add_tweak(&Scalar::from_be_bytes(*tweak).ok()?).ok()?;
    Some(tweaked.to_byte_array())
}

/// What a signature is made with beside key and message: 32 bytes that blind the computation, 32 that hedge the nonce.
///
/// The nonce is a hash of key, message and hedge (BIP-340 "Default signing"): a generator that repeats itself does not
/// give the key away, and a fault in the computation cannot be repeated with the same nonce.
pub(super) struct SigningRandomness(Secret<64>);

impl SigningRandomness {
    pub(super) fn draw() -> Result<Self, RandomError> {
        Secret::random().map(Self)
    }

    /// For vectors, which fix the hedge (`aux_rand`).
    #[cfg(test)]
    pub(super) fn of_vector(aux: &[u8; 32]) -> Self {
        Self(Secret::fill(|bytes| {
            let (_, hedge) = bytes.split_at_mut(32);
            hedge.copy_from_slice(aux);
        }))
    }

    fn parts(&self) -> (&[u8; 32], &[u8; 32]) {
        const HALVES: &str = "64 bytes are twice 32";
        let (blinding, hedge) = self.0.expose().split_first_chunk().expect(HALVES);
        (blinding, hedge.first_chunk().expect(HALVES))
    }
}

/// Signs with a private key, to which `tweak` is added first if there is one.
///
/// `None` if the result does not verify: the computation went wrong, and what came out may give the key away.
pub(super) fn sign(
    private: &[u8; 32],
    tweak: Option<&[u8; 32]>,
    message: &[u8],
    randomness: &SigningRandomness,
) -> Option<Bip340Signature> {
    let signed = sign_leaving_copies(private, tweak, message, randomness);
    bleach_stack::<SIGNING_STACK_KIB>();
    let (signature, public) = signed?;
    verify(&public, message, &signature).ok()?;
    Some(signature)
}

/// BIP-340 "Verification".
pub(super) fn verify(
    public: &[u8; 32],
    message: &[u8],
    signature: &Bip340Signature,
) -> Result<(), NotAuthentic> {
    let public = XOnlyPublicKey::from_byte_array(*public).map_err(|_| NotAuthentic)?;
    schnorr::verify(&Signature::from_byte_array(signature.0), message, &public).map_err(|_| NotAuthentic)
}

/// Erased on drop, which the library leaves to its caller.
struct ErasedKeypair(Keypair);

impl ErasedKeypair {
    fn x_only(&self) -> [u8; 32] {
        self.0.x_only_public_key().0.to_byte_array()
    }
}

impl Drop for ErasedKeypair {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

#[inline(never)]
fn public_key_leaving_copies(private: &[u8; 32]) -> Option<[u8; 32]> {
    Some(ErasedKeypair(Keypair::from_secret_bytes(*private).ok()?).x_only())
}

#[inline(never)]
fn sign_leaving_copies(
    private: &[u8; 32],
    tweak: Option<&[u8; 32]>,
    message: &[u8],
    randomness: &SigningRandomness,
) -> Option<(Bip340Signature, [u8; 32])> {
    let (blinding, hedge) = randomness.parts();
    secp256k1::rerandomize_global_context(blinding);
    let mut pair = ErasedKeypair(Keypair::from_secret_bytes(*private).ok()?);
    if let Some(tweak) = tweak {
        let tweaked = pair.0.add_xonly_tweak(&Scalar::from_be_bytes(*tweak).ok()?).ok()?;
        pair = ErasedKeypair(tweaked);
    }
    let signature = schnorr::sign_with_aux_rand(message, &pair.0, hedge);
    Some((Bip340Signature(signature.to_byte_array()), pair.x_only()))
}
