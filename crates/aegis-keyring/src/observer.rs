//! What is told to whoever keeps the log: each change of a key, and each one that was refused.

use std::error::Error;
use std::fmt;
use std::io;

use aegis_crypto::{Digest, KeyId};

use crate::scope::Scope;
use crate::version::DekVersion;

/// Is told of every change, after it was made or refused. The programs give one that writes to the audit log.
pub trait Observer: Send + Sync {
    /// Notes one event. The change stands, whatever becomes of the note.
    fn observe(&self, event: &KeyEvent<'_>);

    /// A DEK with this key is about to be put into the keyring. If it cannot be noted, the DEK is not made.
    ///
    /// # Errors
    ///
    /// Why not.
    fn before_dek(&self, _key: KeyId) -> io::Result<()> {
        Ok(())
    }

    /// A DEK or KEK was judged and is about to be erased, which cannot be undone. If whoever is told says no, it is not.
    /// Told again if others changed the keyring in this instant.
    ///
    /// # Errors
    ///
    /// Why not.
    fn before_erasure(&self, _object: &KeyObject) -> io::Result<()> {
        Ok(())
    }
}

/// A change of a key, made or refused.
#[derive(Debug)]
pub struct KeyEvent<'a> {
    /// What was to be done.
    pub change: Change,
    /// What to.
    pub object: KeyObject,
    /// Whose place it takes.
    pub instead_of: Option<KeyObject>,
    /// SHA-256 of the file, if it is a backup that was made or restored.
    pub sha256: Option<Digest>,
    /// Why it was not done, if it was not.
    pub outcome: Result<(), &'a (dyn Error + 'static)>,
}

/// What is done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The first KEK of a keyring.
    KekEnrolled,
    /// The first DEK of a scope.
    DekCreated,
    /// A further DEK of a scope.
    DekRotated,
    /// Refused from now on, unless asked for by name.
    DekRetired,
    /// No longer retired.
    DekUnretired,
    /// To be destroyed when its time has come.
    DekMarked,
    /// Not to be destroyed after all.
    DekUnmarked,
    /// Its private half was erased.
    DekDestroyed,
    /// A KEK was enrolled to be rotated to.
    KekRotationBegun,
    /// The KEK that was rotated to was given up.
    KekRotationAbandoned,
    /// The KEK that was rotated to is the active one.
    KekSwitched,
    /// The wrappings under the KEK were erased.
    KekRetired,
    /// The keyring was copied out.
    BackupCreated,
    /// An empty keyring was filled from a backup.
    BackupRestored,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyObject {
    /// A DEK.
    Dek(DekVersion),
    /// A KEK.
    Kek(KeyId),
    /// A scope whose DEK has no version yet.
    Scope(Scope),
    /// All of it.
    Keyring,
}

impl fmt::Display for KeyObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dek(version) => version.fmt(f),
            Self::Kek(kek) => kek.fmt(f),
            Self::Scope(scope) => write!(f, "scope {scope}"),
            Self::Keyring => f.write_str("keyring"),
        }
    }
}

/// How something ended, for an event.
pub(crate) fn outcome<T, E: Error + 'static>(result: &Result<T, E>) -> Result<(), &(dyn Error + 'static)> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
