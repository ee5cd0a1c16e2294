//! Why a KEK rotation does not go on. Whatever the reason, every DEK opens as it did before.

use std::{fmt, io};

use aegis_crypto::{KeyId, SealError};
use jiff::Timestamp;

use super::pipeline::NoThread;
use crate::record::KekState;
use crate::store_error::StoreError;
use crate::version::DekVersion;
use crate::wrapping::UnwrapError;

/// What to do where there is no thread to be had.
const NO_THREAD: &str = "allow this user more processes (`ulimit -u`), or run it when less goes on";

/// DEKs that a KEK does not open. However many there are, a few are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<DekVersion>,
}

impl Unreadable {
    const NAMED: usize = 10;

    pub(super) fn add(&mut self, version: DekVersion) {
        self.count = self.count.saturating_add(1);
        if self.first.len() < Self::NAMED {
            self.first.push(version);
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.first.iter().map(DekVersion::to_string).collect();
        write!(f, "{} ({}", self.count, names.join(", "))?;
        f.write_str(if self.count > names.len() as u64 { ", …)" } else { ")" })
    }
}

/// Why a rotation did not come to its switch.
#[derive(Debug, thiserror::Error)]
pub enum KekRotationError {
    /// Old and new are one.
    #[error("KEK {} cannot be rotated to itself", kek.fingerprint())]
    SameKek {
        /// The KEK.
        kek: KeyId,
    },
    /// There is nothing to rotate from.
    #[error("the keyring has no active KEK")]
    NoKek,
    /// The old KEK is none of this keyring.
    #[error("KEK {} is not known to this keyring, which is under {}", old.fingerprint(), active.fingerprint())]
    OldUnknown {
        /// The KEK that was given as the old one.
        old: KeyId,
        /// The active one.
        active: KeyId,
    },
    /// The old KEK is not the active one.
    #[error("KEK {} is {state}; the keyring is under {}", old.fingerprint(), active.fingerprint())]
    OldNotActive {
        /// The KEK that was given as the old one.
        old: KeyId,
        /// Its state.
        state: KekState,
        /// The active one.
        active: KeyId,
    },
    /// The new KEK had its time.
    #[error("KEK {} is retired, and its wrappings were erased", kek.fingerprint())]
    NewRetired {
        /// The KEK.
        kek: KeyId,
    },
    /// One rotation at a time.
    #[error("a rotation to KEK {} is under way", incoming.fingerprint())]
    OtherUnderWay {
        /// The KEK that is being rotated to.
        incoming: KeyId,
    },
    /// Another process gave the rotation up.
    #[error("the rotation to KEK {} was abandoned meanwhile", kek.fingerprint())]
    Abandoned {
        /// The KEK.
        kek: KeyId,
    },
    /// The old KEK does not open its own wrappings: they were damaged before.
    #[error("KEK {} does not open {unreadable} of its DEKs", kek.fingerprint())]
    OldUnreadable {
        /// The old KEK.
        kek: KeyId,
        /// The DEKs.
        unreadable: Unreadable,
    },
    /// What is stored is not what is read back.
    #[error("the wrapping of {version} was bad each of {times} times that it was read back")]
    StaysBad {
        /// The DEK.
        version: DekVersion,
        /// How often.
        times: u32,
    },
    /// What is stored is not what is read back, for many.
    #[error("wrappings of {count} DEKs were bad when they were read back")]
    TooManyBad {
        /// How many.
        count: usize,
    },
    /// Others change the keyring faster than it can be rotated.
    #[error("the keyring was changed in each of {rounds} rounds")]
    NotSettling {
        /// How often it started over.
        rounds: u32,
    },
    /// The caller broke it off.
    #[error("the rotation was stopped")]
    Stopped,
    /// The system gave no thread to work on.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// This machine could not seal.
    #[error("cannot wrap a DEK under the new KEK")]
    Wrap(#[source] SealError),
    /// This machine could not open.
    #[error("cannot unwrap a DEK")]
    Unwrap(#[source] UnwrapError),
    /// The store did not answer, or not as it should.
    #[error("cannot rotate the KEK")]
    Store(#[source] StoreError),
}

impl From<NoThread> for KekRotationError {
    fn from(NoThread(source): NoThread) -> Self {
        Self::Thread(source)
    }
}

impl KekRotationError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::SameKek { .. } => "give the KEK that is to be rotated to: `aegis kek provision` makes one".to_owned(),
            Self::NoKek => "`aegis init` or `aegis kek provision` makes the first KEK".to_owned(),
            Self::OldUnknown { .. } | Self::OldNotActive { .. } => {
                "configure the active KEK as the one to rotate from: `aegis kek status` names it".to_owned()
            }
            Self::NewRetired { .. } => "make a new one: `aegis kek provision`".to_owned(),
            Self::OtherUnderWay { .. } => {
                "finish it by running it again, or give it up: `aegis kek rotate --abandon`".to_owned()
            }
            Self::OldUnreadable { .. } => {
                "all others are re-wrapped; restore those from a backup, or rotate, retire and destroy them if nothing \
                 needs them, then run it again"
                    .to_owned()
            }
            Self::StaysBad { .. } | Self::TooManyBad { .. } => {
                "the old KEK is still active; check the disk or the database server, then run it again".to_owned()
            }
            Self::Abandoned { .. } | Self::NotSettling { .. } | Self::Stopped => {
                "run it again: it goes on where it was".to_owned()
            }
            Self::Thread(_) => NO_THREAD.to_owned(),
            Self::Wrap(error) => return error.help(),
            Self::Unwrap(error) => return error.help(),
            Self::Store(StoreError::NotVerified { .. }) => {
                "those DEKs have no wrapping under the old KEK either; restore the keyring from a backup, or \
                 destroy them if nothing needs them"
                    .to_owned()
            }
            Self::Store(error) => return error.help(),
        })
    }
}

/// Why a KEK was not retired. Nothing was erased.
#[derive(Debug, thiserror::Error)]
pub enum RetireKekError {
    /// It is none of this keyring.
    #[error("KEK {} is not known to this keyring", kek.fingerprint())]
    Unknown {
        /// The KEK.
        kek: KeyId,
    },
    /// Only one whose place another has taken can be retired.
    #[error("KEK {} is {state}, not in grace", kek.fingerprint())]
    NotInGrace {
        /// The KEK.
        kek: KeyId,
        /// Its state.
        state: KekState,
    },
    /// Whoever is still configured with it would read nothing.
    #[error("KEK {} is in grace until {until}", kek.fingerprint())]
    InGrace {
        /// The KEK.
        kek: KeyId,
        /// The end of its grace.
        until: Timestamp,
    },
    /// Every DEK has to be opened with the active KEK, and another one was given.
    #[error("KEK {} is not the active one{}", given.fingerprint(), which_is(*active))]
    OtherActive {
        /// The KEK that was given.
        given: KeyId,
        /// The active one.
        active: Option<KeyId>,
    },
    /// The KEK is still needed.
    #[error("the active KEK {} does not open {unreadable} of the DEKs", kek.fingerprint())]
    ActiveUnreadable {
        /// The active KEK.
        kek: KeyId,
        /// The DEKs.
        unreadable: Unreadable,
    },
    /// Others changed the keyring while every DEK was opened.
    #[error("the keyring was changed before KEK {} could be retired", kek.fingerprint())]
    Changed {
        /// The KEK.
        kek: KeyId,
    },
    /// The caller broke it off.
    #[error("the check of the DEKs was stopped")]
    Stopped,
    /// The system gave no thread to work on.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// This machine could not open.
    #[error("cannot unwrap a DEK")]
    Unwrap(#[source] UnwrapError),
    /// Whoever is asked before the wrappings under a KEK are erased said no.
    #[error("the KEK must not be retired")]
    Forbidden(#[source] io::Error),
    /// The store did not answer, or not as it should.
    #[error("cannot retire the KEK")]
    Store(#[source] StoreError),
}

fn which_is(active: Option<KeyId>) -> String {
    active.map_or_else(String::new, |active| format!(", which is {}", active.fingerprint()))
}

impl From<NoThread> for RetireKekError {
    fn from(NoThread(source): NoThread) -> Self {
        Self::Thread(source)
    }
}

impl RetireKekError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { .. } => "`aegis kek status` lists those that are known".to_owned(),
            Self::NotInGrace { state: KekState::Active, .. } => {
                "rotate to another one first: `aegis kek rotate`".to_owned()
            }
            Self::NotInGrace { state: KekState::Incoming, .. } => {
                "to give the rotation up: `aegis kek rotate --abandon`".to_owned()
            }
            Self::NotInGrace { .. } => return None,
            Self::InGrace { .. } => {
                "run it again then; if nobody is configured with it any more: `aegis kek retire --force`".to_owned()
            }
            Self::OtherActive { .. } => "configure the active KEK: `aegis kek status` names it".to_owned(),
            Self::ActiveUnreadable { .. } => {
                "rotate back to the KEK before, which opens them: `aegis kek rotate`; then to the new one once more"
                    .to_owned()
            }
            Self::Changed { .. } | Self::Stopped => "run it again".to_owned(),
            Self::Thread(_) => NO_THREAD.to_owned(),
            Self::Unwrap(error) => return error.help(),
            Self::Forbidden(_) => return None,
            Self::Store(error) => return error.help(),
        })
    }
}

/// Why no rotation was given up.
#[derive(Debug, thiserror::Error)]
pub enum AbandonKekError {
    /// None is under way.
    #[error("no KEK rotation is under way")]
    NoRotation,
    /// The store did not answer, or not as it should.
    #[error("cannot abandon the KEK rotation")]
    Store(#[source] StoreError),
}

impl AbandonKekError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoRotation => Some(
                "after the switch, the way back is to rotate to the KEK before: `aegis kek rotate`"
                    .to_owned(),
            ),
            Self::Store(error) => error.help(),
        }
    }
}
