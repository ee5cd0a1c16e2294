//! What a keyring knows of a DEK and of a KEK. No record has a secret in it.

use std::fmt;
use std::str::FromStr;

use aegis_crypto::{HybridPublicKey, KeyId};
use aegis_kek::ProviderKind;
use jiff::Timestamp;

use crate::scope::Scope;
use crate::version::DekVersion;

/// Where a DEK is in its life. It only moves forward, except that a retired one may be brought back to decrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DekState {
    /// Encrypts and decrypts; exactly one a scope.
    Active,
    /// Decrypts only.
    DecryptOnly,
    /// Refused, unless asked for by name.
    Retired,
    /// The private half is erased; the record stays.
    Destroyed,
}

impl DekState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 4] = [Self::Active, Self::DecryptOnly, Self::Retired, Self::Destroyed];

    /// The name in stores, listings and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::DecryptOnly => "decrypt_only",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
        }
    }
}

/// Where a KEK is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KekState {
    /// Being rotated to: new DEKs are sealed to it too, old ones are being rewrapped.
    Incoming,
    /// The KEK; exactly one.
    Active,
    /// The one before: its wrappings are kept, so that what is still configured with it reads everything.
    Grace,
    /// Its wrappings are erased.
    Retired,
}

impl KekState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 4] = [Self::Incoming, Self::Active, Self::Grace, Self::Retired];

    /// The name in stores, listings and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incoming => "incoming",
            Self::Active => "active",
            Self::Grace => "grace",
            Self::Retired => "retired",
        }
    }

    /// Whether every DEK has to have a wrapping under a KEK of this state, or will have.
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Retired)
    }
}

impl fmt::Display for DekState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for KekState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DekState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| UnknownState::of(name))
    }
}

impl FromStr for KekState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| UnknownState::of(name))
    }
}

/// A name that no state has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no key state {name:?}")]
pub struct UnknownState {
    /// The name, at most 64 characters of it.
    pub name: String,
}

impl UnknownState {
    fn of(name: &str) -> Self {
        Self { name: name.chars().take(64).collect() }
    }
}

/// How much was sealed under a DEK.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Events, or whatever a user counts as one.
    pub messages: u64,
    /// Bytes before encryption.
    pub bytes: u64,
}

/// A DEK without its private half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DekRecord {
    /// Its name.
    pub version: DekVersion,
    /// What it is for.
    pub scope: Scope,
    /// Where it is in its life.
    pub state: DekState,
    /// What seals to it; the key id is derived from it.
    pub public_key: HybridPublicKey,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// From when on it may be erased; `None` unless it was marked for destruction.
    pub destroy_after: Option<Timestamp>,
    /// How much was sealed under it, as far as it was reported.
    pub usage: Usage,
}

/// A KEK without its private half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekRecord {
    /// What seals to it; the key id is derived from it.
    pub public_key: HybridPublicKey,
    /// Where its private half rests.
    pub provider: ProviderKind,
    /// Where it is in its life.
    pub state: KekState,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// Until when it is not retired without being forced; set at the switch.
    pub grace_until: Option<Timestamp>,
}

impl KekRecord {
    /// Its name.
    pub fn key_id(&self) -> KeyId {
        self.public_key.key_id()
    }
}

impl DekRecord {
    /// The name of its key pair.
    pub fn key_id(&self) -> KeyId {
        self.public_key.key_id()
    }
}

/// A DEK to be stored as the active one of its scope.
#[derive(Debug, Clone)]
pub struct NewDek {
    /// Its name, not taken yet.
    pub version: DekVersion,
    /// What it is for.
    pub scope: Scope,
    /// What seals to it.
    pub public_key: HybridPublicKey,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its private half, sealed to each live KEK.
    pub wrappings: Vec<NewWrapping>,
}

/// A DEK's private half, sealed to a KEK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWrapping {
    /// Whose private half.
    pub version: DekVersion,
    /// The KEK.
    pub kek: KeyId,
    /// The sealed box.
    pub sealed: Vec<u8>,
}

/// A wrapping with what it has to be opened as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWrapping {
    /// Whose private half.
    pub version: DekVersion,
    /// The DEK's public half.
    pub public_key: HybridPublicKey,
    /// The sealed box.
    pub sealed: Vec<u8>,
}

/// How far the DEKs are wrapped under one KEK. Destroyed DEKs do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrapProgress {
    /// DEKs in the keyring.
    pub deks: u64,
    /// Those with a wrapping under the KEK.
    pub wrapped: u64,
    /// Those whose wrapping was opened again and found good.
    pub verified: u64,
}
