//! What becomes of a DEK that is no longer active.
//!
//! | from \ to | retire | unretire | mark | cancel | destroy |
//! |---|---|---|---|---|---|
//! | active | refused | refused | refused | refused | refused |
//! | decrypts only | retired | refused | retired, marked | refused | refused |
//! | retired | refused | decrypts only | marked | refused | refused |
//! | marked | refused | refused | refused | retired | destroyed, once it is due |
//! | destroyed | refused | refused | refused | refused | refused |

use std::io;
use std::time::Duration;

use jiff::Timestamp;

use super::Keyring;
use super::make::pause;
use crate::clock::{MAX_CLOCK_BEHIND, later};
use crate::observer::{Change, KeyObject, outcome};
use crate::record::{DekRecord, DekState};
use crate::store_error::{ConflictKind, StoreError};
use crate::version::DekVersion;

/// How long a DEK that is to be destroyed is refused before it may be erased.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often a change is tried while others change the same DEK.
const MAX_TRIES: u32 = 16;

/// Where a DEK stands, as far as these operations tell apart.
enum Standing {
    Active,
    DecryptOnly,
    Retired,
    Marked(Timestamp),
    Destroyed,
}

impl Standing {
    const fn of(record: &DekRecord) -> Self {
        match (record.state, record.destroy_after) {
            (DekState::Destroyed, _) => Self::Destroyed,
            (DekState::Active, _) => Self::Active,
            (_, Some(destroy_after)) => Self::Marked(destroy_after),
            (DekState::DecryptOnly, None) => Self::DecryptOnly,
            (DekState::Retired, None) => Self::Retired,
        }
    }
}

impl Keyring {
    /// Retires a DEK: it is refused unless asked for by name.
    ///
    /// # Errors
    ///
    /// A [`ChangeDekError`]; the table above has them all.
    pub fn retire(&self, version: DekVersion) -> Result<DekRecord, ChangeDekError> {
        self.change(Change::DekRetired, version, |standing, _| match standing {
            Standing::DecryptOnly => Ok((DekState::Retired, None)),
            Standing::Active => Err(ChangeDekError::Active { version }),
            Standing::Retired => Err(ChangeDekError::AlreadyRetired { version }),
            Standing::Marked(destroy_after) => Err(ChangeDekError::Marked { version, destroy_after }),
            Standing::Destroyed => Err(ChangeDekError::Destroyed { version }),
        })
    }

    /// Brings a retired DEK back: it decrypts without being asked for by name.
    ///
    /// # Errors
    ///
    /// A [`ChangeDekError`].
    pub fn unretire(&self, version: DekVersion) -> Result<DekRecord, ChangeDekError> {
        self.change(Change::DekUnretired, version, |standing, _| match standing {
            Standing::Retired => Ok((DekState::DecryptOnly, None)),
            Standing::Active | Standing::DecryptOnly => Err(ChangeDekError::NotRetired { version }),
            Standing::Marked(destroy_after) => Err(ChangeDekError::Marked { version, destroy_after }),
            Standing::Destroyed => Err(ChangeDekError::Destroyed { version }),
        })
    }

    /// Marks a DEK for destruction, the first of two steps: it is refused from now on, and may be erased after `wait`.
    ///
    /// # Errors
    ///
    /// A [`ChangeDekError`]; of them [`ClockBehind`](ChangeDekError::ClockBehind) where the waiting time would be over as
    /// soon as the clock is set right.
    pub fn mark_for_destruction(
        &self,
        version: DekVersion,
        wait: Duration,
    ) -> Result<DekRecord, ChangeDekError> {
        self.change(Change::DekMarked, version, |standing, now| match standing {
            Standing::DecryptOnly | Standing::Retired => {
                let from = self.not_before(version, now)?;
                Ok((DekState::Retired, Some(later(from, wait))))
            }
            Standing::Active => Err(ChangeDekError::Active { version }),
            Standing::Marked(destroy_after) => Err(ChangeDekError::Marked { version, destroy_after }),
            Standing::Destroyed => Err(ChangeDekError::Destroyed { version }),
        })
    }

    /// Takes the mark back: the DEK is retired, as it would be without.
    ///
    /// # Errors
    ///
    /// A [`ChangeDekError`].
    pub fn cancel_destruction(&self, version: DekVersion) -> Result<DekRecord, ChangeDekError> {
        self.change(Change::DekUnmarked, version, |standing, _| match standing {
            Standing::Marked(_) => Ok((DekState::Retired, None)),
            Standing::Active | Standing::DecryptOnly | Standing::Retired => {
                Err(ChangeDekError::NotMarked { version })
            }
            Standing::Destroyed => Err(ChangeDekError::Destroyed { version }),
        })
    }

    /// Destroys a marked DEK, the second of two steps: its private half is erased from the store under every KEK. The
    /// record stays. A backup that was made before still has the private half.
    ///
    /// # Errors
    ///
    /// [`ChangeDekError::NotDue`] before its time has come, and others.
    pub fn destroy(&self, version: DekVersion) -> Result<DekRecord, ChangeDekError> {
        let destroyed = self.destroy_due(version);
        self.note(Change::DekDestroyed, KeyObject::Dek(version), None, outcome(&destroyed));
        destroyed
    }

    fn destroy_due(&self, version: DekVersion) -> Result<DekRecord, ChangeDekError> {
        for tried in 0..MAX_TRIES {
            let record = self.record(version)?;
            let now = self.now();
            match Standing::of(&record) {
                Standing::Marked(destroy_after) if destroy_after <= now => {}
                Standing::Marked(destroy_after) => {
                    return Err(ChangeDekError::NotDue { version, destroy_after });
                }
                Standing::Active => return Err(ChangeDekError::Active { version }),
                Standing::DecryptOnly | Standing::Retired => {
                    return Err(ChangeDekError::NotMarked { version });
                }
                Standing::Destroyed => return Err(ChangeDekError::Destroyed { version }),
            }
            self.ask_before_erasure(&KeyObject::Dek(version)).map_err(ChangeDekError::Forbidden)?;
            match self.store.destroy_dek(version, now) {
                Ok(()) => return self.record(version),
                Err(StoreError::Conflict { what: ConflictKind::NotDue | ConflictKind::DekChanged }) => {
                    pause(tried);
                }
                Err(error) => return Err(ChangeDekError::Store(error)),
            }
        }
        Err(ChangeDekError::Contended { version, tries: MAX_TRIES })
    }

    fn change(
        &self,
        change: Change,
        version: DekVersion,
        decide: impl Fn(Standing, Timestamp) -> Result<(DekState, Option<Timestamp>), ChangeDekError>,
    ) -> Result<DekRecord, ChangeDekError> {
        let changed = self.compare_and_change(version, decide);
        self.note(change, KeyObject::Dek(version), None, outcome(&changed));
        changed
    }

    fn compare_and_change(
        &self,
        version: DekVersion,
        decide: impl Fn(Standing, Timestamp) -> Result<(DekState, Option<Timestamp>), ChangeDekError>,
    ) -> Result<DekRecord, ChangeDekError> {
        for tried in 0..MAX_TRIES {
            let record = self.record(version)?;
            let now = self.now();
            let (state, destroy_after) = decide(Standing::of(&record), now)?;
            match self.store.change_dek(&record, state, destroy_after, now) {
                Ok(()) => return Ok(DekRecord { state, destroy_after, changed_at: now, ..record }),
                Err(StoreError::Conflict { what: ConflictKind::DekChanged }) => pause(tried),
                Err(error) => return Err(ChangeDekError::Store(error)),
            }
        }
        Err(ChangeDekError::Contended { version, tries: MAX_TRIES })
    }

    /// `now`, or the latest time that is known of this DEK and the active one of its scope, if that is a little later.
    fn not_before(&self, version: DekVersion, now: Timestamp) -> Result<Timestamp, ChangeDekError> {
        let record = self.record(version)?;
        let active = self.store.active_dek(&record.scope).map_err(ChangeDekError::Store)?;
        let active = active.map_or(record.created_at, |active| active.created_at);
        let known = record.created_at.max(record.changed_at).max(active);
        if later(now, MAX_CLOCK_BEHIND) < known {
            return Err(ChangeDekError::ClockBehind { version, now, known });
        }
        Ok(now.max(known))
    }

    fn record(&self, version: DekVersion) -> Result<DekRecord, ChangeDekError> {
        let found = self.store.dek(version).map_err(ChangeDekError::Store)?;
        found.ok_or(ChangeDekError::Unknown { version })
    }
}

/// Why a DEK's state was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeDekError {
    /// There never was one of that version in this keyring.
    #[error("there is no DEK {version} in this keyring")]
    Unknown {
        /// The version that was asked for.
        version: DekVersion,
    },
    /// What is used to encrypt is neither retired nor destroyed.
    #[error("{version} is the active DEK of its scope")]
    Active {
        /// The DEK.
        version: DekVersion,
    },
    /// Nothing is left to be done.
    #[error("{version} is retired already")]
    AlreadyRetired {
        /// The DEK.
        version: DekVersion,
    },
    /// There is nothing to bring back.
    #[error("{version} is not retired")]
    NotRetired {
        /// The DEK.
        version: DekVersion,
    },
    /// It waits for its destruction.
    #[error("{version} is marked for destruction after {destroy_after}")]
    Marked {
        /// The DEK.
        version: DekVersion,
        /// From when on it may be erased.
        destroy_after: Timestamp,
    },
    /// It was not marked first.
    #[error("{version} is not marked for destruction")]
    NotMarked {
        /// The DEK.
        version: DekVersion,
    },
    /// Its time has not come.
    #[error("{version} may be destroyed after {destroy_after}, not before")]
    NotDue {
        /// The DEK.
        version: DekVersion,
        /// From when on it may be erased.
        destroy_after: Timestamp,
    },
    /// The waiting time would begin in the past.
    #[error("{version} was not marked: the clock says {now}, and the keyring was changed at {known}")]
    ClockBehind {
        /// The DEK.
        version: DekVersion,
        /// The time now.
        now: Timestamp,
        /// The latest time that is known.
        known: Timestamp,
    },
    /// That is final.
    #[error("{version} is destroyed")]
    Destroyed {
        /// The DEK.
        version: DekVersion,
    },
    /// Others changed it each time.
    #[error("others changed {version} {tries} times meanwhile")]
    Contended {
        /// The DEK.
        version: DekVersion,
        /// How often it was tried.
        tries: u32,
    },
    /// Whoever is asked before a DEK is erased said no.
    #[error("the DEK must not be erased")]
    Forbidden(#[source] io::Error),
    /// The store did not answer, or not as it should.
    #[error("cannot change the DEK")]
    Store(#[source] StoreError),
}

impl ChangeDekError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => Some("`aegis dek list` prints every version".to_owned()),
            Self::Active { .. } => Some("make another one active first: `aegis dek rotate`".to_owned()),
            Self::Marked { version, .. } => {
                Some(format!("to take that back: `aegis dek destroy {version} --cancel`"))
            }
            Self::NotMarked { version } => Some(format!(
                "mark it first: `aegis dek destroy {version}`; then it is refused, and you see who needs it"
            )),
            Self::NotDue { .. } => Some("run it again then".to_owned()),
            Self::ClockBehind { .. } => Some("set the clock of this machine, then run it again".to_owned()),
            Self::AlreadyRetired { .. }
            | Self::NotRetired { .. }
            | Self::Destroyed { .. }
            | Self::Forbidden(_) => None,
            Self::Contended { .. } => Some("look at it again, then decide anew".to_owned()),
            Self::Store(error) => error.help(),
        }
    }
}
