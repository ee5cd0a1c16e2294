//! Why a store did not do what it was asked.

use aegis_crypto::KeyId;
use aegis_database::{Contents, DatabaseError};

use crate::version::DekVersion;

/// What messages call it.
#[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), allow(dead_code))]
pub(crate) static KEYRING: Contents = Contents {
    name: "keyring",
    one: "a keyring",
    example: "/var/lib/aegis/keyring.db",
    restore: "restore the last backup: `aegis backup restore`",
};

/// Why a store did not do what it was asked. Nothing of the call was done, but for
/// [`DatabaseError::OutcomeUnknown`]. No message has a password in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something has changed since it was read, or was never so. Reading again and deciding anew is right.
    #[error("the keyring is not as it was thought to be")]
    Conflict {
        /// What was not as expected.
        #[source]
        what: ConflictKind,
    },
    /// A KEK cannot be switched to, or the one before it retired, while DEKs are not proven to open with it.
    #[error("{missing} of {deks} DEKs have no verified wrapping under KEK {}", kek.fingerprint())]
    NotVerified {
        /// The KEK.
        kek: KeyId,
        /// DEKs without one.
        missing: u64,
        /// DEKs in all.
        deks: u64,
    },
    /// Its database did not do it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A box that no store takes.
    #[error("the sealed box of {version} has {len} bytes, not 1 to {}", crate::MAX_SEALED_LEN)]
    BoxLength {
        /// Whose.
        version: DekVersion,
        /// Its length in bytes.
        len: usize,
    },
    /// The iterator that [`Store::restore`](crate::Store::restore) reads ended before its end; the one who made it
    /// knows why.
    #[error("what was to be stored came to an end too soon")]
    SourceFailed,
}

/// What was not as a caller of [`Store`](crate::Store) expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConflictKind {
    /// A KEK is enrolled already.
    #[error("a KEK is enrolled there already")]
    KekEnrolled,
    /// Another KEK is being rotated to.
    #[error("another KEK rotation is under way")]
    RotationUnderWay,
    /// There is no active KEK to rotate from.
    #[error("no KEK is active there")]
    NoActiveKek,
    /// Another KEK is active than the caller thought.
    #[error("another KEK has become active")]
    ActiveKekChanged,
    /// The KEK is not the incoming one.
    #[error("that KEK is not being rotated to")]
    KekNotIncoming,
    /// The KEK is not in grace.
    #[error("that KEK is not in its grace period")]
    KekNotInGrace,
    /// The KEK is retired or was never enrolled.
    #[error("that KEK is not in use")]
    KekNotLive,
    /// Another DEK has the version.
    #[error("the version is taken")]
    VersionTaken,
    /// Another DEK is active in the scope than the caller thought.
    #[error("another DEK has become active in that scope")]
    ActiveChanged,
    /// The live KEKs are not those that the DEK was wrapped for.
    #[error("a KEK has come or gone")]
    LiveKeksChanged,
    /// The DEK's state, or its time of destruction, is another one than the caller thought, or allows no such change.
    #[error("the state of that DEK is another one now")]
    DekChanged,
    /// The DEK is not retired, not marked for destruction, or its waiting time is not over.
    #[error("that DEK is not due to be destroyed")]
    NotDue,
    /// There is no DEK of that version.
    #[error("there is no DEK of that version")]
    UnknownVersion,
    /// The DEK has a wrapping under that KEK already, or it is the wrapping of another DEK.
    #[error("that wrapping is there already, or is of another DEK")]
    WrappingMisplaced,
    /// The store to be filled holds something.
    #[error("there is a keyring in it already")]
    NotEmpty,
}

impl StoreError {
    /// A conflict.
    pub const fn conflict(what: ConflictKind) -> Self {
        Self::Conflict { what }
    }

    /// Whether the same call may succeed later, with nothing else done.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_transient())
    }

    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Conflict { what } => return what.help().map(str::to_owned),
            Self::NotVerified { .. } => "resume the KEK rotation: `aegis kek rotate`".to_owned(),
            Self::Database(error) => return error.help(),
            Self::BoxLength { .. } | Self::SourceFailed => return None,
        })
    }
}

impl ConflictKind {
    /// What to do next.
    pub const fn help(self) -> Option<&'static str> {
        match self {
            Self::KekEnrolled => Some("this keyring has its KEK; to change it: `aegis kek rotate`"),
            Self::RotationUnderWay => Some("finish or abandon it first: `aegis kek status` shows it"),
            Self::NoActiveKek => Some("the keyring is empty: `aegis init`"),
            Self::NotEmpty => Some("restore into a new store; this one is left as it is"),
            Self::NotDue => Some("`aegis dek show` says from when on it can be destroyed"),
            Self::UnknownVersion => Some("`aegis dek list` prints every version"),
            Self::ActiveKekChanged
            | Self::KekNotIncoming
            | Self::KekNotInGrace
            | Self::KekNotLive
            | Self::VersionTaken
            | Self::ActiveChanged
            | Self::LiveKeksChanged
            | Self::DekChanged => Some("somebody else was faster: look again, then decide anew"),
            Self::WrappingMisplaced => None,
        }
    }
}
