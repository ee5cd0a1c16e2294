//! A KEK in variables of the process.
//!
//! As safe as the environment: whoever may look into the process, or into what starts it, has the key.

use aegis_crypto::{HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey, HybridPrivateKeyError, HybridPublicKey};

use crate::fault::LoadError;
use crate::kek::Kek;
use crate::known_variables::{MASTER_KEK_PRIVATE, MASTER_KEK_PUBLIC};
use crate::provider::{Health, KekProvider, LastWorked, ProviderKind};
use crate::settings::{SettingsError, require};
use crate::variables::{VariableFault, Variables};
use crate::variables_file::VariablesFile;

/// The KEK that [`MASTER_KEK_PUBLIC`] and [`MASTER_KEK_PRIVATE`] hold.
///
/// They are read and checked once, when it is made.
#[derive(Debug)]
pub struct EnvironmentKekProvider {
    kek: Kek,
    last_worked: LastWorked,
}

impl EnvironmentKekProvider {
    /// Reads both variables. The private key may have any of its three forms: 2,432 bytes, or a seed of 96 or 32.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], with the names of all that are missing.
    pub fn from_environment(variables: &Variables) -> Result<Self, SettingsError> {
        let kind = ProviderKind::Environment;
        let malformed = |source| SettingsError::Malformed { kind, source };
        let missing = |name| SettingsError::Missing { kind, names: vec![name] };
        require(variables, kind, &[MASTER_KEK_PUBLIC, MASTER_KEK_PRIVATE])?;
        let public_key =
            variables.public_key().map_err(malformed)?.ok_or_else(|| missing(MASTER_KEK_PUBLIC))?;
        let private = variables
            .base64(MASTER_KEK_PRIVATE, HYBRID_PRIVATE_KEY_LEN)
            .map_err(malformed)?
            .ok_or_else(|| missing(MASTER_KEK_PRIVATE))?;
        Self::new(&public_key, &private).map_err(|source| match source {
            HybridPrivateKeyError::PublicKeyMismatch { .. } => {
                SettingsError::Mismatch { name: MASTER_KEK_PRIVATE, source }
            }
            source => malformed(VariableFault::PrivateKey(source).of(MASTER_KEK_PRIVATE)),
        })
    }

    /// Takes the halves as they are, for callers with settings of their own.
    ///
    /// # Errors
    ///
    /// [`HybridPrivateKeyError`]: bytes that are no private key, or not that of `public_key`.
    pub fn new(public_key: &HybridPublicKey, private: &[u8]) -> Result<Self, HybridPrivateKeyError> {
        let private = HybridPrivateKey::import_for(private, public_key)?;
        Ok(Self { kek: Kek::new(private), last_worked: LastWorked::never() })
    }

    /// The variables to set for a new KEK. Among them is the private key itself.
    pub fn provision(private: &HybridPrivateKey) -> VariablesFile {
        let mut settings = VariablesFile::new();
        for (name, bytes) in [
            (MASTER_KEK_PUBLIC, private.public_key().as_bytes().as_slice()),
            (MASTER_KEK_PRIVATE, private.dangerous_expose()),
        ] {
            settings.set_base64(name, bytes).expect("two different names, and base64 needs no quotes");
        }
        settings
    }
}

impl KekProvider for EnvironmentKekProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Environment
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
            detail: vec![("variable", MASTER_KEK_PRIVATE.to_owned())],
        }
    }
}
