//! A KEK that is made now and lost when the process ends. For tests and CI only.

use aegis_crypto::{HybridPrivateKey, HybridPrivateKeyError, HybridPublicKey};

use crate::fault::LoadError;
use crate::kek::Kek;
use crate::provider::{Health, KekProvider, LastWorked, ProviderKind};

/// A KEK that rests nowhere.
#[derive(Debug)]
pub struct InMemoryKekProvider {
    kek: Kek,
    last_worked: LastWorked,
}

impl InMemoryKekProvider {
    /// Makes a new KEK. What is sealed to it cannot be read by any other process, or after this one.
    ///
    /// # Errors
    ///
    /// [`HybridPrivateKeyError::Random`] or [`HybridPrivateKeyError::Provider`].
    pub fn generate() -> Result<Self, HybridPrivateKeyError> {
        let private = HybridPrivateKey::generate()?;
        Ok(Self { kek: Kek::new(private), last_worked: LastWorked::never() })
    }
}

impl KekProvider for InMemoryKekProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::InMemory
    }

    fn public_key(&self) -> &HybridPublicKey {
        self.kek.public_key()
    }

    fn load(&self) -> Result<Kek, LoadError> {
        self.last_worked.note(Ok(self.kek.clone()))
    }

    fn health(&self) -> Health {
        let (standing, last_worked) = self.last_worked.get();
        Health {
            kind: self.kind(),
            security_level: self.kind().security_level(),
            key_id: self.kek.key_id(),
            standing,
            last_worked,
            detail: Vec::new(),
        }
    }
}
