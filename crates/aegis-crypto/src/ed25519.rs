//! Ed25519 (RFC 8032 §5.1), strict: one spelling for a key, one signature for a message.
//!
//! | step | where | RFC 8032 |
//! |---|---|---|
//! | public key: canonical, on the curve, of prime order | [`PublicKey::from_bytes`] | §5.1.3, and stricter |
//! | S < L | [`PublicKey::verify`] | §5.1.7 step 1 |
//! | R: the 32 bytes equal the canonical encoding of `S·B − k·A` | [`PublicKey::verify`], by aws-lc-rs | §5.1.7 step 3 |
//! | signing | [`SigningKey::sign`], by aws-lc-rs | §5.1.6 |

mod public_key;
mod signature;
mod signing_key;

pub use public_key::{NotAuthentic, PublicKey, PublicKeyError};
pub use signature::{Signature, SignatureParseError};
pub use signing_key::{SeedError, SigningKey};
