//! The hybrid KEM: X25519 and ML-KEM-768 side by side, joined by the X-Wing combiner.
//!
//! For the same component keys the shared secret is that of any X-Wing implementation. Only the order in which
//! keys and encapsulations are laid out differs: X25519 comes first here, and last there.
//!
//! | step | where | source |
//! |---|---|---|
//! | public key: modulus check; canonical, not of low order | [`HybridPublicKey::from_bytes`] | FIPS 203 §7.2, RFC 7748 §6.1 |
//! | private key: hash check, pairwise check, and more | [`HybridPrivateKey::import`] | FIPS 203 §7.1, §7.3 |
//! | private key from a seed | [`HybridPrivateKey::import`] | FIPS 203 §7.1, draft-connolly-cfrg-xwing-kem §5.2 |
//! | encapsulation | [`encapsulate`] | FIPS 203 §7.2, draft §5.4 |
//! | decapsulation, combiner | [`decapsulate`] | FIPS 203 §7.3, draft §5.3, §5.5 |
//!
//! The provider checks nothing but sizes when it takes a key, so every check above is made here.

mod combiner;
mod encapsulation;
mod ml_kem;
mod private_key;
mod public_key;
mod seed;
mod x25519;

#[cfg(test)]
mod tests;

pub use encapsulation::{
    DecapsulateError, ENCAPSULATION_LEN, EncapsulateError, Encapsulation, SharedSecret, decapsulate,
    encapsulate,
};
pub use private_key::{HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey, HybridPrivateKeyError, KeyHalf};
pub use public_key::{HYBRID_PUBLIC_KEY_LEN, HybridPublicKey, HybridPublicKeyError};
pub use seed::{HYBRID_SEED_LEN, XWING_SEED_LEN};
