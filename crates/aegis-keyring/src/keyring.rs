//! The keyring: DEKs and KEKs in a store, and what may be done with them.
//!
//! | step | where |
//! |---|---|
//! | a DEK is made, or takes another one's place | `make` |
//! | a DEK is opened | `open` |
//! | a DEK is retired, brought back, marked, destroyed | `life` |
//!
//! What a store is trusted for: that the public keys in it are those that were put there. Whoever can write to it can put
//! his own in, and what is sealed from then on is his. It is noticed when a DEK is opened, for its private half is bound
//! to the public one; it is not noticed by a machine that only seals.

mod life;
mod make;
mod open;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use aegis_crypto::KeyId;
use aegis_kek::{Kek, ProviderKind};
use jiff::Timestamp;

use crate::backup::BackupSummary;
use crate::clock::Clock;
use crate::dek::ActiveDek;
use crate::observer::{Change, KeyEvent, KeyObject, Observer, outcome};
use crate::record::{DekRecord, KekRecord, KekState, WrapProgress};
use crate::scope::Scope;
use crate::store::{DekQuery, Store};
use crate::store_error::{ConflictKind, StoreError};
use crate::version::DekVersion;

pub use life::{ChangeDekError, DEFAULT_WAIT};
pub use make::{MakeDekError, Rotated};
pub use open::{OpenDekError, Retired};

/// DEKs and KEKs in a store. Cheap to clone; threads and processes may use one store at once.
#[derive(Clone)]
pub struct Keyring {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    observer: Option<Arc<dyn Observer>>,
}

/// A KEK, and how far the DEKs are wrapped under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekStatus {
    /// The KEK.
    pub record: KekRecord,
    /// The DEKs under it. All zero for one that is retired.
    pub progress: WrapProgress,
}

impl Keyring {
    /// The keyring in `store`, which may be empty.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, observer: None }
    }

    /// The same, with somebody who is told of every change.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Where it is kept.
    pub const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The time by its clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Enrols the first KEK, active. Doing it again with the same one changes nothing.
    ///
    /// It takes the loaded KEK, not its public key: a KEK that nobody can load would make every DEK unreadable.
    ///
    /// # Errors
    ///
    /// [`EnrolKekError::Enrolled`] if there is another one; to replace it is a rotation.
    pub fn enrol_first_kek(&self, kek: &Kek, provider: ProviderKind) -> Result<KekRecord, EnrolKekError> {
        let enrolled = self.enrol(kek, provider);
        self.note(Change::KekEnrolled, KeyObject::Kek(kek.key_id()), None, outcome(&enrolled));
        enrolled
    }

    fn enrol(&self, kek: &Kek, provider: ProviderKind) -> Result<KekRecord, EnrolKekError> {
        let record = new_kek(kek, provider, KekState::Active, self.now());
        match self.store.enrol_first_kek(&record) {
            Ok(()) => Ok(record),
            Err(StoreError::Conflict { what: ConflictKind::KekEnrolled }) => {
                let found = self.store.keks().map_err(EnrolKekError::Store)?;
                match found.into_iter().find(|kek| kek.state == KekState::Active) {
                    Some(active) if active.key_id() == kek.key_id() => Ok(active),
                    Some(active) => Err(EnrolKekError::Enrolled { active: active.key_id() }),
                    None => Err(EnrolKekError::NoneActive),
                }
            }
            Err(error) => Err(EnrolKekError::Store(error)),
        }
    }

    /// Every KEK, in the order of enrolment.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn keks(&self) -> Result<Vec<KekStatus>, StoreError> {
        let status = |record: KekRecord| {
            let progress = match record.state {
                KekState::Retired => WrapProgress::default(),
                KekState::Incoming | KekState::Active | KekState::Grace => {
                    self.store.wrap_progress(record.key_id())?
                }
            };
            Ok(KekStatus { record, progress })
        };
        self.store.keks()?.into_iter().map(status).collect()
    }

    /// The active DEK of a scope, to seal with. Needs no KEK.
    ///
    /// # Errors
    ///
    /// [`ActiveDekError::NoActive`] if the scope has none.
    pub fn active(&self, scope: &Scope) -> Result<ActiveDek, ActiveDekError> {
        let found = self.store.active_dek(scope).map_err(ActiveDekError::Store)?;
        found.map(ActiveDek::from).ok_or_else(|| ActiveDekError::NoActive { scope: scope.clone() })
    }

    /// What is known of a DEK; `None` if there is none of that version.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn show(&self, version: DekVersion) -> Result<Option<DekRecord>, StoreError> {
        self.store.dek(version)
    }

    /// What is known of DEKs, a page at a time.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn list(&self, query: &DekQuery) -> Result<Vec<DekRecord>, StoreError> {
        self.store.deks(query)
    }

    /// Tells the observer how something ended.
    pub(crate) fn note(
        &self,
        change: Change,
        object: KeyObject,
        instead_of: Option<KeyObject>,
        outcome: Result<(), &(dyn Error + 'static)>,
    ) {
        self.tell(&KeyEvent { change, object, instead_of, sha256: None, outcome });
    }

    /// Tells the observer how a backup ended, and of which file: nothing else says whether one was made here.
    pub(crate) fn note_backup<E: Error + 'static>(&self, change: Change, ended: &Result<BackupSummary, E>) {
        self.tell(&KeyEvent {
            change,
            object: KeyObject::Keyring,
            instead_of: None,
            sha256: ended.as_ref().ok().map(|summary| summary.sha256),
            outcome: outcome(ended),
        });
    }

    /// Asks the observer whether something may be erased.
    pub(crate) fn ask_before_erasure(&self, object: &KeyObject) -> io::Result<()> {
        self.observer.as_ref().map_or(Ok(()), |observer| observer.before_erasure(object))
    }

    fn tell(&self, event: &KeyEvent<'_>) {
        let KeyEvent { change, object, outcome, .. } = event;
        tracing::info!(?change, %object, refused = outcome.err().map(tracing::field::display), "keyring");
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }
}

impl From<DekRecord> for ActiveDek {
    fn from(record: DekRecord) -> Self {
        let DekRecord { version, scope, public_key, created_at, .. } = record;
        Self { version, scope, public_key, created_at }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("location", &self.store.location()).finish_non_exhaustive()
    }
}

/// The record of a KEK that is enrolled now.
pub(crate) fn new_kek(kek: &Kek, provider: ProviderKind, state: KekState, now: Timestamp) -> KekRecord {
    KekRecord {
        public_key: kek.public_key().clone(),
        provider,
        state,
        created_at: now,
        changed_at: now,
        grace_until: None,
    }
}

/// Why a first KEK was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolKekError {
    /// Another one is.
    #[error("the keyring is under KEK {} already", active.fingerprint())]
    Enrolled {
        /// The active one.
        active: KeyId,
    },
    /// There are KEKs and none is active, which no operation leaves behind.
    #[error("the keyring has KEKs and none of them is active")]
    NoneActive,
    /// The store did not answer, or not as it should.
    #[error("cannot enrol the first KEK")]
    Store(#[source] StoreError),
}

impl EnrolKekError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Enrolled { .. } => Some("`aegis kek rotate` replaces it, and loses nothing".to_owned()),
            Self::NoneActive => Some("restore the keyring from a backup: `aegis backup restore`".to_owned()),
            Self::Store(error) => error.help(),
        }
    }
}

/// Why there is nothing to seal with.
#[derive(Debug, thiserror::Error)]
pub enum ActiveDekError {
    /// No DEK was made for the scope.
    #[error("scope {scope} has no active DEK")]
    NoActive {
        /// The scope.
        scope: Scope,
    },
    /// The store did not answer, or not as it should.
    #[error("cannot look up the active DEK")]
    Store(#[source] StoreError),
}

impl ActiveDekError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoActive { scope } => {
                Some(format!("check the name, or make its first DEK: `aegis dek create --scope {scope}`"))
            }
            Self::Store(error) => error.help(),
        }
    }
}
