//! Sealed boxes: data for the holder of a hybrid private key, authenticated together with what belongs to it.
//!
//! | bytes of a box | what |
//! |---|---|
//! | 1,120 | encapsulation: ephemeral X25519 public key (32) ‖ ML-KEM-768 ciphertext (1,088) |
//! | 12 | nonce, random |
//! | as many as the plaintext | AES-256-GCM ciphertext |
//! | 16 | AES-256-GCM tag |
//!
//! | step | where | source |
//! |---|---|---|
//! | shared secret | [`encapsulate`](crate::encapsulate), [`decapsulate`](crate::decapsulate) | draft-connolly-cfrg-xwing-kem |
//! | AEAD key and commitment key, for one [`Purpose`] | `keys` | RFC 5869, HKDF-SHA256 |
//! | encryption under associated data | [`Sealer`], [`seal`] | NIST SP 800-38D, random 96-bit nonces (§8.2.2) |
//! | commitment to key and content | [`Commitment`] | RFC 2104, HMAC-SHA256 |
//! | decryption | [`Opener`], [`open`] | NIST SP 800-38D §7.2 |
//!
//! A box says nothing of its recipient, its purpose or its associated data: all three have to be known to open it,
//! and any other of them is refused. It does not say who sealed it either; anyone with the public key can.

mod associated_data;
pub(crate) mod keys;
pub(crate) mod nonces;
mod opener;
mod purpose;
mod seal_error;
mod sealed_event;
mod sealer;
mod sender_context;

#[cfg(test)]
mod tests;

pub use associated_data::AssociatedData;
pub use keys::Commitment;
pub use opener::{OpenError, Opener, SealedContent, open};
pub use purpose::Purpose;
pub use seal_error::SealError;
pub use sealed_event::{BoxContent, Commitments, SealedEvent};
pub use sealer::{EventSealer, Sealer, seal};
pub use sender_context::{MAX_CONTEXT_AGE, MAX_CONTEXT_BOXES, MAX_CONTEXT_EVENTS};

use crate::hybrid_kem::ENCAPSULATION_LEN;

/// The name of key agreement and encryption together, as envelopes carry it.
pub const ALGORITHM: &str = "x25519+ml-kem-768+aes-256-gcm";

/// Bytes by which a box is longer than what is in it.
pub const BOX_OVERHEAD: usize = ENCAPSULATION_LEN + BODY_OVERHEAD;

/// Bytes by which a body, a box without its encapsulation, is longer than what is in it: nonce (12) and tag (16).
pub const BODY_OVERHEAD: usize = nonces::NONCE_LEN + keys::TAG_LEN;

/// Most bytes in one box: what AES-GCM may encrypt under one nonce (NIST SP 800-38D §5.2.1.1).
pub const MAX_PLAINTEXT_LEN: u64 = (1 << 36) - 32;
