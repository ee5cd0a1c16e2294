//! New DEKs. Each is sealed to every live KEK before anybody can use it.

use std::thread;
use std::time::Duration;

use aegis_crypto::{HybridPrivateKey, HybridPrivateKeyError, KeyId, SealError};
use jiff::Timestamp;

use super::Keyring;
use crate::clock::{MAX_CLOCK_BEHIND, later};
use crate::dek::ActiveDek;
use crate::observer::{Change, KeyObject, outcome};
use crate::record::{KekRecord, NewDek, NewWrapping};
use crate::scope::Scope;
use crate::store_error::{ConflictKind, StoreError};
use crate::version::DekVersion;
use crate::wrapping::Wrapper;

/// How often a DEK is offered to the store. Each time that others were faster, one of them made its DEK.
const MAX_TRIES: u32 = 64;

/// A DEK that took another one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The active one now.
    pub active: ActiveDek,
    /// The one before, which decrypts only.
    pub replaced: DekVersion,
}

/// Which DEK a new one may take the place of.
#[derive(Clone, Copy)]
enum Replaces {
    Nothing,
    Whichever,
    Exactly(DekVersion),
}

impl Keyring {
    /// Makes the first DEK of a scope.
    ///
    /// # Errors
    ///
    /// [`MakeDekError::Exists`] if it has one, [`MakeDekError::ClockBehind`] where the clock cannot be right.
    pub fn create(&self, scope: &Scope) -> Result<ActiveDek, MakeDekError> {
        let made = self.make(scope, Replaces::Nothing).map(|(made, _)| made);
        let object =
            made.as_ref().map_or(KeyObject::Scope(scope.clone()), |made| KeyObject::Dek(made.version));
        self.note(Change::DekCreated, object, None, outcome(&made));
        made
    }

    /// Makes a new DEK, active from then on. The one before decrypts only.
    ///
    /// Two that are called at once both make one, one after the other.
    ///
    /// # Errors
    ///
    /// [`MakeDekError::NoActive`] if the scope has none, [`MakeDekError::ClockBehind`] where the clock cannot be right.
    pub fn rotate(&self, scope: &Scope) -> Result<Rotated, MakeDekError> {
        self.rotate_as(scope, Replaces::Whichever)
    }

    /// As [`rotate`](Self::rotate), but only if `active` still is the active one: of several that are called at once with
    /// the same, one makes a DEK. The clock is believed: whoever names a DEK has judged its age, and a DEK that was made
    /// while a clock was wrong has to be replaced somehow.
    ///
    /// # Errors
    ///
    /// [`MakeDekError::ActiveChanged`] besides those of [`rotate`](Self::rotate).
    pub fn rotate_from(&self, scope: &Scope, active: DekVersion) -> Result<Rotated, MakeDekError> {
        self.rotate_as(scope, Replaces::Exactly(active))
    }

    fn rotate_as(&self, scope: &Scope, replaces: Replaces) -> Result<Rotated, MakeDekError> {
        let rotated = self.make(scope, replaces).and_then(|(active, replaced)| match replaced {
            Some(replaced) => Ok(Rotated { active, replaced }),
            None => Err(MakeDekError::NoActive { scope: scope.clone() }),
        });
        let (object, replaced) = match &rotated {
            Ok(rotated) => (KeyObject::Dek(rotated.active.version), Some(KeyObject::Dek(rotated.replaced))),
            Err(_) => (KeyObject::Scope(scope.clone()), None),
        };
        self.note(Change::DekRotated, object, replaced, outcome(&rotated));
        rotated
    }

    /// Compares and swaps until nobody was faster.
    fn make(
        &self,
        scope: &Scope,
        replaces: Replaces,
    ) -> Result<(ActiveDek, Option<DekVersion>), MakeDekError> {
        let mut private = None;
        for tried in 0..MAX_TRIES {
            let active = self.store.active_dek(scope).map_err(MakeDekError::Store)?;
            let newest = active.as_ref().map(|record| (record.created_at, record.version));
            let active = active.map(|record| record.version);
            check_replaces(scope, replaces, active)?;
            let keks = self.live_keks()?;
            let created_at = self.now();
            if !matches!(replaces, Replaces::Exactly(_)) {
                check_clock(scope, created_at, newest, &keks)?;
            }
            let private: &HybridPrivateKey = match &mut private {
                Some(private) => private,
                none => {
                    let made = none.insert(HybridPrivateKey::generate().map_err(MakeDekError::Key)?);
                    if let Some(observer) = &self.observer {
                        observer.before_dek(made.public_key().key_id()).map_err(MakeDekError::NotNoted)?;
                    }
                    made
                }
            };
            let version = self.next_version(DekVersion::first_of(created_at))?;
            let new = NewDek {
                version,
                scope: scope.clone(),
                public_key: private.public_key().clone(),
                created_at,
                wrappings: wrap_for_all(&keks, version, private)?,
            };
            match self.store.insert_active_dek(&new, active) {
                Ok(()) => {
                    let NewDek { version, scope, public_key, created_at, .. } = new;
                    return Ok((ActiveDek { version, scope, public_key, created_at }, active));
                }
                Err(StoreError::Conflict {
                    what:
                        ConflictKind::VersionTaken | ConflictKind::ActiveChanged | ConflictKind::LiveKeksChanged,
                }) => pause(tried),
                Err(error) => return Err(MakeDekError::Store(error)),
            }
        }
        Err(MakeDekError::Contended { tries: MAX_TRIES })
    }

    fn live_keks(&self) -> Result<Vec<KekRecord>, MakeDekError> {
        let mut keks = self.store.keks().map_err(MakeDekError::Store)?;
        keks.retain(|kek| kek.state.is_live());
        if keks.is_empty() { Err(MakeDekError::NoKek) } else { Ok(keks) }
    }

    fn next_version(&self, first_of_day: DekVersion) -> Result<DekVersion, MakeDekError> {
        match self.store.last_version_of(first_of_day).map_err(MakeDekError::Store)? {
            None => Ok(first_of_day),
            Some(last) => last.next().ok_or(MakeDekError::DayFull { last }),
        }
    }
}

fn check_replaces(scope: &Scope, replaces: Replaces, active: Option<DekVersion>) -> Result<(), MakeDekError> {
    match (replaces, active) {
        (Replaces::Nothing, None) | (Replaces::Whichever, Some(_)) => Ok(()),
        (Replaces::Exactly(expected), Some(active)) if expected == active => Ok(()),
        (Replaces::Nothing, Some(active)) => Err(MakeDekError::Exists { scope: scope.clone(), active }),
        (Replaces::Exactly(expected), Some(active)) => {
            Err(MakeDekError::ActiveChanged { scope: scope.clone(), expected, active })
        }
        (Replaces::Whichever | Replaces::Exactly(_), None) => {
            Err(MakeDekError::NoActive { scope: scope.clone() })
        }
    }
}

/// A version has the day of its making, and waiting times begin with it: a clock that fell back would make a DEK of a day
/// long ago.
fn check_clock(
    scope: &Scope,
    now: Timestamp,
    active: Option<(Timestamp, DekVersion)>,
    keks: &[KekRecord],
) -> Result<(), MakeDekError> {
    let of_keks = keks.iter().map(|kek| kek.changed_at.max(kek.created_at)).max();
    let of_active = active.map(|(created_at, _)| created_at);
    match of_active.max(of_keks) {
        Some(known) if later(now, MAX_CLOCK_BEHIND) < known => {
            let made_then = active.filter(|_| of_active >= of_keks).map(|(_, version)| version);
            Err(MakeDekError::ClockBehind { scope: scope.clone(), now, known, made_then })
        }
        Some(_) | None => Ok(()),
    }
}

fn wrap_for_all(
    keks: &[KekRecord],
    version: DekVersion,
    private: &HybridPrivateKey,
) -> Result<Vec<NewWrapping>, MakeDekError> {
    let dek = private.public_key().key_id();
    let wrap = |kek: &KekRecord| {
        Wrapper::new(&kek.public_key)
            .and_then(|mut wrapper| wrapper.wrap(version, dek, private.dangerous_expose()))
            .map_err(|source| MakeDekError::Wrap { kek: kek.key_id(), source })
    };
    keks.iter().map(wrap).collect()
}

/// Waits a little, longer each time, and not as long as the other processes.
pub(super) fn pause(tried: u32) {
    let spread = u64::from(std::process::id() % 8) + 1;
    thread::sleep(Duration::from_millis(spread.saturating_mul(u64::from(tried.min(8)))));
}

/// Why no DEK was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeDekError {
    /// There is nothing to wrap it under.
    #[error("the keyring has no KEK")]
    NoKek,
    /// The scope has one.
    #[error("scope {scope} has an active DEK already, {active}")]
    Exists {
        /// The scope.
        scope: Scope,
        /// Its active DEK.
        active: DekVersion,
    },
    /// The scope has none to be replaced.
    #[error("scope {scope} has no active DEK")]
    NoActive {
        /// The scope.
        scope: Scope,
    },
    /// Somebody else has rotated.
    #[error("the active DEK of scope {scope} is {active} now, not {expected}")]
    ActiveChanged {
        /// The scope.
        scope: Scope,
        /// The one that was to be replaced.
        expected: DekVersion,
        /// The one that is active.
        active: DekVersion,
    },
    /// The DEK would be older than what is in the keyring.
    #[error(
        "no DEK was made for scope {scope}: the clock says {now}, and the keyring was changed at {known}"
    )]
    ClockBehind {
        /// The scope.
        scope: Scope,
        /// The time now.
        now: Timestamp,
        /// The latest time that is known.
        known: Timestamp,
        /// The active DEK, if it was made at that time; otherwise it is that of a KEK.
        made_then: Option<DekVersion>,
    },
    /// No further version can be named on that day.
    #[error("{last} is the last version that can be named on that day")]
    DayFull {
        /// The last one.
        last: DekVersion,
    },
    /// Others were faster each time.
    #[error("others changed the keyring {tries} times while a DEK was made")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// The key pair was not made.
    #[error("cannot make a key pair")]
    Key(#[source] HybridPrivateKeyError),
    /// Whoever keeps the log could not note what was to be made.
    #[error("what is to be made cannot be written down")]
    NotNoted(#[source] std::io::Error),
    /// It was not wrapped.
    #[error("cannot wrap the DEK under KEK {}", kek.fingerprint())]
    Wrap {
        /// The KEK.
        kek: KeyId,
        /// Why.
        source: SealError,
    },
    /// The store did not answer, or not as it should.
    #[error("cannot store a new DEK")]
    Store(#[source] StoreError),
}

impl MakeDekError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoKek => Some("`aegis init` or `aegis kek provision` makes the first KEK".to_owned()),
            Self::Exists { scope, .. } => Some(format!("to replace it: `aegis dek rotate --scope {scope}`")),
            Self::NoActive { scope } => {
                Some(format!("check the name, or make its first DEK: `aegis dek create --scope {scope}`"))
            }
            Self::ActiveChanged { .. } => {
                Some("nothing is left to be done, unless it was wanted twice".to_owned())
            }
            Self::ClockBehind { scope, made_then, .. } => Some(match made_then {
                Some(version) => format!(
                    "set the clock of this machine, then run it again; if it is right, {version} was made while a clock was \
                     wrong: `aegis dek rotate --scope {scope} --replace {version}`"
                ),
                None => "set the clock of this machine, then run it again; if it is right, a KEK was enrolled while a clock \
                         was wrong: `aegis kek rotate`"
                    .to_owned(),
            }),
            Self::DayFull { .. } => {
                Some("wait until tomorrow (UTC), and find out who makes so many".to_owned())
            }
            Self::Contended { .. } => Some("try again when less goes on".to_owned()),
            Self::Key(error) => error.help(),
            Self::NotNoted(_) => {
                Some("see that the state directory can be written to and has room, then run it again".to_owned())
            }
            Self::Wrap { source, .. } => source.help(),
            Self::Store(error) => error.help(),
        }
    }
}
