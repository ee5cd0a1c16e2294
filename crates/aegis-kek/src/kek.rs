//! A KEK that was loaded.

use std::fmt;
use std::sync::Arc;

use aegis_crypto::{HybridPrivateKey, HybridPublicKey, KeyId};

/// A KEK with its private half, in memory. Erased when the last clone is dropped.
#[derive(Clone)]
pub struct Kek(Arc<HybridPrivateKey>);

impl Kek {
    /// A key whose halves were checked.
    pub fn new(private: HybridPrivateKey) -> Self {
        Self(Arc::new(private))
    }

    /// Its name.
    pub fn key_id(&self) -> KeyId {
        self.0.public_key().key_id()
    }

    /// What seals to it.
    pub fn public_key(&self) -> &HybridPublicKey {
        self.0.public_key()
    }

    /// What opens what was sealed to it.
    pub const fn private_key(&self) -> &Arc<HybridPrivateKey> {
        &self.0
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kek").field("key_id", &self.key_id()).finish_non_exhaustive()
    }
}
