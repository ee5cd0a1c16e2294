//! The cryptography that the rest of the program stands on: Ed25519, SHA-256, key ids, key files, secret bytes.
//!
//! Nothing here reads a file, a clock or the network; bytes come in and values go out. The only outside help
//! is the system's random generator, for [`SigningKey::generate`] and [`Secret::random`].
//!
//! | module | what it holds | standard |
//! |---|---|---|
//! | `ed25519` | keys that were checked, signatures, strict verification | RFC 8032 §5.1 |
//! | `sha256` | digests, at once or in pieces | FIPS 180-4 §6.2 |
//! | `key_id` | a key's name, and what a person types for it | |
//! | `key_file` | public key files in three formats | RFC 8410 §4, RFC 8709 §4 |
//! | `pkcs8` | private key files | RFC 5958 §2, RFC 8410 §7 |
//! | `secret` | bytes that are erased when dropped | |
//!
//! What it refuses: public keys that are not canonical, not on the curve, or outside the prime-order group;
//! signatures with S ≥ L or a non-canonical R; key files with anything in them besides one key.

mod der;
mod ed25519;
mod hex_text;
mod key_file;
mod key_id;
mod pem;
mod pkcs8;
mod plain_text;
mod secret;
mod sha256;

pub use ed25519::{
    NotAuthentic, PublicKey, PublicKeyError, SeedError, Signature, SignatureParseError, SigningKey,
};
pub use key_file::{
    OpenSshFault, ParsedPublicKey, PrivateKeyKind, PublicKeyFileError, PublicKeyFormat, parse_public_key_file,
};
pub use key_id::{KeyId, KeyIdPrefix, ParseKeyIdError};
pub use pem::PemFault;
pub use pkcs8::PrivateKeyFileError;
pub use plain_text::{MAX_KEY_FILE_LEN, PlainTextError};
pub use secret::{RandomError, Secret};
pub use sha256::{Digest, ParseDigestError, Sha256, sha256};
