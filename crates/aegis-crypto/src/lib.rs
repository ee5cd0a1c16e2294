//! The cryptography that the rest of the program stands on: Ed25519, hybrid KEM, sealed boxes, SHA-256, key ids.
//!
//! Nothing here reads a file, a clock or the network; bytes come in and values go out. The only outside help
//! is the system's random generator, for new keys, encapsulations and nonces, and the kernel's mark on this
//! process, by which a [`Sealer`] notices a fork.
//!
//! | module | what it holds | standard |
//! |---|---|---|
//! | `ed25519` | keys that were checked, signatures, strict verification | RFC 8032 §5.1 |
//! | `hybrid_kem` | X25519 + ML-KEM-768 keys that were checked, encapsulation | FIPS 203, RFC 7748, X-Wing draft |
//! | `sealed_box` | boxes for one purpose, sender and recipient contexts | SP 800-38D, RFC 5869 |
//! | `symmetric_box` | boxes under a symmetric key, for private keys | SP 800-38D |
//! | `key_wrap` | keys under keys, as hardware modules wrap them | RFC 5649 |
//! | `bip322` | keys and signatures of Bitcoin wallets, addresses; feature `custodian` | BIP-322, BIP-340, BIP-341 |
//! | `custodian` | the algorithms by which people approve, and what they sign; feature `custodian` | FIPS 204 |
//! | `sha256` | digests, at once or in pieces | FIPS 180-4 §6.2 |
//! | `hmac_sha256` | commitments of an event's boxes, several at once | RFC 2104, FIPS 180-4 §6.2 |
//! | `aes_gcm` | short texts under one key, such as fields of an event | FIPS 197, SP 800-38D |
//! | `key_id` | a key's name, and what a person types for it | |
//! | `key_file` | public key files in three formats | RFC 8410 §4, RFC 8709 §4 |
//! | `pkcs8` | private key files | RFC 5958 §2, RFC 8410 §7 |
//! | `secret` | bytes that are erased when dropped | |
//! | [`process`] | what a program that holds keys asks of the kernel | prctl(2), setrlimit(2) |
//! | `pages` | memory that is neither swapped nor dumped, and how a fork is noticed | mlock(2), madvise(2) |
//!
//! What it refuses: public keys that are not canonical, not on the curve, or outside the prime-order group;
//! signatures with S ≥ L or a non-canonical R; key files with anything in them besides one key; hybrid keys that fail
//! any check of FIPS 203, or whose halves do not belong together; boxes in which any bit is not as it was sealed.

mod aes_gcm;
#[cfg(feature = "custodian")]
mod bip322;
#[cfg(feature = "custodian")]
mod custodian;
mod der;
mod ed25519;
mod hex_text;
mod hmac_sha256;
mod hybrid_kem;
mod key_file;
mod key_id;
mod key_wrap;
mod pages;
mod pem;
mod pkcs8;
mod plain_text;
pub mod process;
mod sealed_box;
mod secret;
mod sha256;
mod symmetric_box;

#[cfg(feature = "custodian")]
pub use bip322::{
    Bip322PrivateKey, Bip322PrivateKeyError, Bip322Provider, Bip322PublicKey, Bip322PublicKeyError,
    Bip322SignError, Bip322Signature, Bip322SignatureError, Bip340Signature, BitcoinNetwork,
    OtherAddressType, OtherVariant, TaprootAddress, TaprootAddressError, WifError, WifNetwork,
};
#[cfg(feature = "custodian")]
pub use custodian::{
    CustodianAlgorithm, CustodianKeyError, CustodianPrivateKey, CustodianPublicKey, CustodianPublicKeyError,
    CustodianSignError, CustodianSignature, CustodianSignatureError, CustodianVerifyError, PrivateMaterial,
    Statement, StatementError, UnknownAlgorithm,
};
pub use ed25519::{
    NotAuthentic, PublicKey, PublicKeyError, SeedError, Signature, SignatureParseError, SigningKey,
};
pub use hybrid_kem::{
    DecapsulateError, ENCAPSULATION_LEN, EncapsulateError, Encapsulation, HYBRID_PRIVATE_KEY_LEN,
    HYBRID_PUBLIC_KEY_LEN, HYBRID_SEED_LEN, HybridPrivateKey, HybridPrivateKeyError, HybridPublicKey,
    HybridPublicKeyError, KeyHalf, SharedSecret, XWING_SEED_LEN, decapsulate, encapsulate,
};
pub use key_file::{
    OpenSshFault, ParsedPublicKey, PrivateKeyKind, PublicKeyFileError, PublicKeyFormat, parse_public_key_file,
};
pub use key_id::{KeyId, KeyIdPrefix, ParseKeyIdError};
pub use key_wrap::{KEY_WRAP_OVERHEAD, KeyWrapError, MAX_WRAPPABLE_LEN, unwrap_padded, wrap_padded};
pub use pem::PemFault;
pub use pkcs8::PrivateKeyFileError;
pub use plain_text::{MAX_KEY_FILE_LEN, PlainTextError};
pub use sealed_box::{
    ALGORITHM, AssociatedData, BODY_OVERHEAD, BOX_OVERHEAD, BoxContent, Commitment, Commitments, EventSealer,
    MAX_CONTEXT_AGE, MAX_CONTEXT_BOXES, MAX_CONTEXT_EVENTS, MAX_PLAINTEXT_LEN, OpenError, Opener, Purpose,
    SealError, SealedContent, SealedEvent, Sealer, open, seal,
};
pub use secret::{RandomError, Secret, bleach_stack};
pub use sha256::{Digest, ParseDigestError, Sha256, sha256};
pub use symmetric_box::{OpenUnderError, SYMMETRIC_BOX_OVERHEAD, SealUnderError, open_under, seal_under};
