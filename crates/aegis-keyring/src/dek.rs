//! A DEK in use: its public half to seal with, or both halves to open with.

use std::fmt;
use std::sync::Arc;

use aegis_crypto::{HybridPrivateKey, HybridPublicKey, KeyId};
use jiff::Timestamp;

use crate::record::DekRecord;
use crate::scope::Scope;
use crate::version::DekVersion;

/// What it takes to seal: no KEK, no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveDek {
    /// Its name, which what is sealed under it carries.
    pub version: DekVersion,
    /// What it is for.
    pub scope: Scope,
    /// What seals to it. It is as the store gives it; that its private half is kept, [`Keyring::open`] shows.
    ///
    /// [`Keyring::open`]: crate::Keyring::open
    pub public_key: HybridPublicKey,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A DEK with its private half, in memory. Erased when the last clone is dropped.
#[derive(Clone)]
pub struct Dek {
    private: Arc<HybridPrivateKey>,
    record: DekRecord,
}

impl Dek {
    pub(crate) fn new(private: HybridPrivateKey, record: DekRecord) -> Self {
        Self { private: Arc::new(private), record }
    }

    /// Its name.
    pub const fn version(&self) -> DekVersion {
        self.record.version
    }

    /// What the keyring knew of it when it was opened.
    pub const fn record(&self) -> &DekRecord {
        &self.record
    }

    /// The name of its key pair.
    pub fn key_id(&self) -> KeyId {
        self.private.public_key().key_id()
    }

    /// What opens what was sealed to it.
    pub const fn private_key(&self) -> &Arc<HybridPrivateKey> {
        &self.private
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dek")
            .field("version", &self.record.version.to_string())
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}
