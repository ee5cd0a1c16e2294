//! The KEM step: a shared secret, and the bytes from which the recipient derives it.

use std::sync::Arc;

use super::combiner;
use super::ml_kem::{self, CT_LEN};
use super::private_key::HybridPrivateKey;
use super::public_key::HybridPublicKey;
use super::x25519::{self, Scalar};
use crate::secret::{RandomError, Secret};

/// Bytes of an encapsulation.
pub const ENCAPSULATION_LEN: usize = x25519::LEN + CT_LEN;

/// An encapsulation, 1,120 bytes: ephemeral X25519 public key (32) ‖ ML-KEM-768 ciphertext (1,088). Not secret.
///
/// A clone has the same bytes in the same place, so that to make one, or to compare it, is nearly free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Encapsulation(Arc<[u8; ENCAPSULATION_LEN]>);

impl Encapsulation {
    /// Takes bytes as an encapsulation. Whether they are genuine, only what is sealed with them can show.
    pub fn from_bytes(bytes: &[u8; ENCAPSULATION_LEN]) -> Self {
        Self(Arc::new(*bytes))
    }

    /// The 1,120 bytes.
    pub fn as_bytes(&self) -> &[u8; ENCAPSULATION_LEN] {
        &self.0
    }

    fn parts(&self) -> (&[u8; x25519::LEN], &[u8; CT_LEN]) {
        const PARTS: &str = "the parts of an encapsulation have fixed lengths";
        (self.0.first_chunk().expect(PARTS), self.0.last_chunk().expect(PARTS))
    }
}

/// What both sides derive, 32 bytes. Erased on drop, and shown to nobody.
pub struct SharedSecret(Secret<32>);

impl SharedSecret {
    /// Lends the bytes. Each call is a line that a reviewer can search for.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// Makes a shared secret for the holder of `recipient`, and the encapsulation they derive it from.
///
/// X25519 and ML-KEM-768 run side by side, and the X-Wing combiner (SHA3-256) binds both results
/// to the transcript: the secret stands while either of them does. Layout: `docs/formats.md`.
///
/// | value | bytes | parts |
/// |---|---|---|
/// | `recipient` | 1,216 | X25519 public (32) ‖ ML-KEM-768 encapsulation key (1,184) |
/// | encapsulation | 1,120 | ephemeral X25519 public (32) ‖ ML-KEM ciphertext (1,088) |
///
/// # Errors
///
/// [`EncapsulateError::Random`] if the generator gave no bytes; [`EncapsulateError::Provider`] if the provider failed.
/// A hostile key, such as one of low order, does not become a [`HybridPublicKey`].
///
/// Sources: FIPS 203 §7.2, RFC 7748 §5, draft-connolly-cfrg-xwing-kem §5.4.
pub fn encapsulate(recipient: &HybridPublicKey) -> Result<(Encapsulation, SharedSecret), EncapsulateError> {
    let ephemeral = Secret::<{ x25519::LEN }>::random().map_err(EncapsulateError::Random)?;
    let scalar = Scalar::from_bytes(ephemeral.expose()).map_err(|_| EncapsulateError::Provider)?;
    let ct_x25519 = scalar.public().map_err(|_| EncapsulateError::Provider)?;
    let ss_x25519 = scalar.agree(recipient.x25519()).map_err(|_| EncapsulateError::Provider)?;
    let (ct_mlkem, ss_mlkem) =
        ml_kem::encapsulate(recipient.ml_kem()).map_err(|_| EncapsulateError::Provider)?;

    let shared = combiner::combine(ss_mlkem.as_ref(), &ss_x25519, &ct_x25519, recipient.x25519());
    let mut bytes = [0; ENCAPSULATION_LEN];
    let (to_x25519, to_mlkem) = bytes.split_at_mut(x25519::LEN);
    to_x25519.copy_from_slice(&ct_x25519);
    to_mlkem.copy_from_slice(&ct_mlkem);
    Ok((Encapsulation::from_bytes(&bytes), SharedSecret(shared)))
}

/// Derives the shared secret in `encapsulation` with the private key that it was made for.
///
/// A forged ML-KEM part gives a secret that nobody knows (implicit rejection, FIPS 203 §6.3), not an error.
///
/// # Errors
///
/// [`DecapsulateError::LowOrderPoint`] if X25519 gives all zeros (RFC 7748 §6.1): a hostile encapsulation.
///
/// Sources: FIPS 203 §7.3, RFC 7748 §5, draft-connolly-cfrg-xwing-kem §5.5.
pub fn decapsulate(
    recipient: &HybridPrivateKey,
    encapsulation: &Encapsulation,
) -> Result<SharedSecret, DecapsulateError> {
    let (ct_x25519, ct_mlkem) = encapsulation.parts();
    let ss_x25519 = recipient.scalar().agree(ct_x25519).map_err(|_| DecapsulateError::LowOrderPoint)?;
    let ss_mlkem = recipient
        .dk()
        .and_then(|dk| ml_kem::decapsulate(&dk, ct_mlkem))
        .map_err(|_| DecapsulateError::Provider)?;
    let pk_x25519 = recipient.public_key().x25519();
    Ok(SharedSecret(combiner::combine(ss_mlkem.as_ref(), &ss_x25519, ct_x25519, pk_x25519)))
}

/// Why there is no shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncapsulateError {
    /// No randomness.
    #[error("no shared secret was made")]
    Random(#[source] RandomError),
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not encapsulate")]
    Provider,
}

impl EncapsulateError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Random(error) => error.help(),
            Self::Provider => Some(
                "this does not depend on the key; check that memory is available and try again".to_owned(),
            ),
        }
    }
}

/// Why an encapsulation gives no shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecapsulateError {
    /// The X25519 part is a point of low order, which no honest sender makes.
    #[error("the X25519 part of the encapsulation is a point of low order")]
    LowOrderPoint,
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not decapsulate")]
    Provider,
}

impl DecapsulateError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::LowOrderPoint => {
                Some("find out who made it: such an encapsulation is made on purpose".to_owned())
            }
            Self::Provider => Some("check that memory is available and try again".to_owned()),
        }
    }
}
