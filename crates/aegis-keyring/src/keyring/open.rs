//! A DEK's private half, brought back with a KEK.

use aegis_crypto::KeyId;
use aegis_kek::Kek;
use jiff::Timestamp;

use super::Keyring;
use crate::dek::Dek;
use crate::record::{DekRecord, DekState, KekState, StoredWrapping};
use crate::store_error::StoreError;
use crate::version::DekVersion;
use crate::wrapping::{self, UnwrapError, Unwrapper};

/// Whether a retired DEK may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// As in ordinary work.
    Refuse,
    /// Somebody asked for it by name.
    Allow,
}

impl Keyring {
    /// Opens a DEK with a KEK that it is wrapped under, and makes every check of the key.
    ///
    /// # Errors
    ///
    /// An [`OpenDekError`] for each reason. One that is marked for destruction is refused also with [`Retired::Allow`]: the
    /// waiting time is there to find out who still needs it.
    pub fn open(&self, version: DekVersion, kek: &Kek, retired: Retired) -> Result<Dek, OpenDekError> {
        let found = self.store.dek(version).map_err(OpenDekError::Store)?;
        let record = found.ok_or(OpenDekError::Unknown { version })?;
        check_state(&record, retired)?;
        let key_id = kek.key_id();
        let sealed = match self.store.wrapping(version, key_id).map_err(OpenDekError::Store)? {
            Some(sealed) => sealed,
            None => return Err(self.why_not_wrapped(version, key_id)),
        };
        let stored = StoredWrapping { version, public_key: record.public_key.clone(), sealed };
        let unwrapped = Unwrapper::new(kek)
            .unwrap(&stored)
            .and_then(|private| wrapping::import(&private, &record.public_key));
        match unwrapped {
            Ok(private) => Ok(Dek::new(private, record)),
            Err(source) => Err(OpenDekError::Unwrap { version, kek: key_id, source }),
        }
    }

    /// Says which KEK would do.
    fn why_not_wrapped(&self, version: DekVersion, kek: KeyId) -> OpenDekError {
        let look = || -> Result<OpenDekError, StoreError> {
            // It may have been destroyed since it was looked up.
            if let Some(DekRecord { state: DekState::Destroyed, changed_at, .. }) = self.store.dek(version)? {
                return Ok(OpenDekError::Destroyed { version, at: changed_at });
            }
            let keks = self.store.keks()?;
            if keks.iter().any(|other| other.key_id() == kek && other.state == KekState::Retired) {
                return Ok(OpenDekError::KekRetired { version, kek });
            }
            let mut under = Vec::new();
            for other in keks.iter().filter(|other| other.state.is_live()) {
                if self.store.wrapping(version, other.key_id())?.is_some() {
                    under.push(other.key_id());
                }
            }
            Ok(OpenDekError::NotWrapped { version, kek, under })
        };
        look().unwrap_or_else(OpenDekError::Store)
    }
}

fn check_state(record: &DekRecord, retired: Retired) -> Result<(), OpenDekError> {
    let version = record.version;
    match (record.state, record.destroy_after, retired) {
        (DekState::Destroyed, _, _) => Err(OpenDekError::Destroyed { version, at: record.changed_at }),
        (_, Some(destroy_after), _) => Err(OpenDekError::Marked { version, destroy_after }),
        (DekState::Retired, None, Retired::Refuse) => Err(OpenDekError::Retired { version }),
        (DekState::Retired, None, Retired::Allow) | (DekState::Active | DekState::DecryptOnly, None, _) => {
            Ok(())
        }
    }
}

/// Why a DEK was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDekError {
    /// There never was one of that version in this keyring.
    #[error("there is no DEK {version} in this keyring")]
    Unknown {
        /// The version that was asked for.
        version: DekVersion,
    },
    /// It is refused unless asked for by name.
    #[error("{version} is retired")]
    Retired {
        /// The DEK.
        version: DekVersion,
    },
    /// It is to be destroyed, and refused until then.
    #[error("{version} is marked for destruction after {destroy_after}")]
    Marked {
        /// The DEK.
        version: DekVersion,
        /// From when on it may be erased.
        destroy_after: Timestamp,
    },
    /// Nothing will open what was sealed under it.
    #[error("{version} was destroyed at {at}")]
    Destroyed {
        /// The DEK.
        version: DekVersion,
        /// When.
        at: Timestamp,
    },
    /// The KEK was retired, and its wrappings were erased.
    #[error("{version} has no wrapping under KEK {}, which is retired", kek.fingerprint())]
    KekRetired {
        /// The DEK.
        version: DekVersion,
        /// The KEK that was given.
        kek: KeyId,
    },
    /// It is wrapped under other KEKs.
    #[error("{version} is not wrapped under KEK {}, {}", kek.fingerprint(), only_under(under))]
    NotWrapped {
        /// The DEK.
        version: DekVersion,
        /// The KEK that was given.
        kek: KeyId,
        /// Those that would do.
        under: Vec<KeyId>,
    },
    /// Its wrapping gives no key, or another one.
    #[error("cannot unwrap {version} with KEK {}", kek.fingerprint())]
    Unwrap {
        /// The DEK.
        version: DekVersion,
        /// The KEK.
        kek: KeyId,
        /// Why.
        source: UnwrapError,
    },
    /// The store did not answer, or not as it should.
    #[error("cannot look up the DEK")]
    Store(#[source] StoreError),
}

fn only_under(keks: &[KeyId]) -> String {
    let names: Vec<String> = keks.iter().map(KeyId::fingerprint).collect();
    if names.is_empty() {
        "nor under any other".to_owned()
    } else {
        format!("only under {}", names.join(", "))
    }
}

impl OpenDekError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => Some(
                "check which keyring the data belongs to; `aegis dek list` prints its versions".to_owned(),
            ),
            Self::Retired { version } => Some(format!(
                "allow retired DEKs by name, or bring it back: `aegis dek retire {version} --undo`"
            )),
            Self::Marked { version, .. } => {
                Some(format!("if it is still needed: `aegis dek destroy {version} --cancel`"))
            }
            Self::Destroyed { .. } => Some("what was sealed under it is gone, as was decided".to_owned()),
            Self::KekRetired { .. } => {
                Some("configure the active KEK: `aegis kek status` names it".to_owned())
            }
            Self::NotWrapped { under, .. } if under.is_empty() => {
                Some("restore the keyring from a backup: `aegis backup restore`".to_owned())
            }
            Self::NotWrapped { .. } => Some("configure one of those KEKs".to_owned()),
            Self::Unwrap { source, .. } => source.help(),
            Self::Store(error) => error.help(),
        }
    }
}
