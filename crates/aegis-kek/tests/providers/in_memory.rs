//! The in-memory provider.

use aegis_crypto::HybridPublicKey;
use aegis_kek::{InMemoryKekProvider, KekProvider, ProviderKind, SecurityLevel};

use crate::conformance::{Made, Subject, conforms};
use crate::watch::private_parts;

/// It makes its key itself, so every instance is this one.
struct InMemory(std::sync::Arc<InMemoryKekProvider>);

struct Same(std::sync::Arc<InMemoryKekProvider>);

fn subject() -> Option<InMemory> {
    Some(InMemory(std::sync::Arc::new(InMemoryKekProvider::generate().unwrap())))
}

impl KekProvider for Same {
    fn kind(&self) -> ProviderKind {
        self.0.kind()
    }

    fn public_key(&self) -> &HybridPublicKey {
        self.0.public_key()
    }

    fn load(&self) -> Result<aegis_kek::Kek, aegis_kek::LoadError> {
        self.0.load()
    }

    fn health(&self) -> aegis_kek::Health {
        self.0.health()
    }
}

impl Subject for InMemory {
    fn kind(&self) -> ProviderKind {
        ProviderKind::InMemory
    }

    fn provider(&self) -> Box<dyn KekProvider> {
        Box::new(Same(self.0.clone()))
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        private_parts(self.0.load().unwrap().private_key())
    }

    fn wrapping(&self) -> Option<Vec<u8>> {
        None
    }

    fn with_wrapping(&self, _: &[u8]) -> Made {
        Ok(self.provider())
    }

    fn with_public_key(&self, _: &HybridPublicKey) -> Option<Made> {
        None
    }

    fn with_another_wrapping_key(&self) -> Option<Made> {
        None
    }

    fn break_down(&self) -> bool {
        false
    }

    fn mend(&self) {}
}

conforms!(subject());

#[test]
fn makes_another_key_each_time() {
    let [first, second] = [(), ()].map(|()| InMemoryKekProvider::generate().unwrap());
    assert_ne!(first.public_key(), second.public_key());
    assert_eq!(first.health().security_level, SecurityLevel::Ephemeral);
}
