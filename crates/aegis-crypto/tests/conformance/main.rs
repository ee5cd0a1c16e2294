//! What the standards, the published negative vectors and other people's tools say about this crate.
//!
//! Data and its sources: `tests/vectors/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lint table allows these in test functions; here every function serves one"
)]

mod bip322;
mod custodians;
mod frozen;
mod hostile;
mod hybrid_keys;
mod key_files;
mod key_ids;
mod key_wrap;
mod locked_memory;
mod memory;
mod points;
mod private_keys;
mod rfc8032;
mod sealed_boxes;
mod secrets;
mod signatures;
mod symmetric_boxes;
mod wycheproof;

use aegis_crypto::{Secret, SigningKey};

/// The key of a seed that is in a standard or in this repository.
fn signing_key(seed: &[u8; 32]) -> SigningKey {
    let seed = Secret::try_fill(|bytes| {
        bytes.copy_from_slice(seed);
        Ok::<(), ()>(())
    });
    SigningKey::from_seed(seed.unwrap()).unwrap()
}
