//! DEKs and their versions: made, rotated, rewrapped under a new KEK, retired, destroyed; and where they are kept.
//!
//! A DEK is a hybrid key pair. Its private half is kept as a sealed box to each live KEK and nowhere else, so a store,
//! its log and its backups hold no secret. Sealing to a DEK needs its public half only.
//!
//! | module | what it holds |
//! |---|---|
//! | `version`, `scope`, `record` | names, states and records, which cannot hold a bad value |
//! | `store`, `store_error` | [`Store`], what a store does, each call a transaction; why it did not |
//! | `sqlite`, `postgres`, `open` | the stores; one of them from its address |
//! | `keyring`, `dek` | [`Keyring`]: make, open, retire, destroy; a [`Dek`] in use |
//! | `wrapping` | a DEK in a box to a KEK |
//! | `usage`, `rotator` | what is sealed is counted; a DEK is rotated when it is due |
//! | `kek_rotation` | from one KEK to another: re-wrap, verify, switch, retire |
//! | `backup` | a keyring in one encrypted file, and back |
//! | `observer` | who is told of each change |
//! | `clock` | the time, so that tests can set it |

mod backup;
pub mod clock;
mod dek;
mod kek_rotation;
mod keyring;
mod observer;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod rotator;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod row;
mod scope;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod store_error;
mod usage;
mod version;
mod wrapping;

pub use aegis_database::{AddressFault, Answer, Damage, DatabaseError};
pub use backup::{
    AgeIdentities, AgeKeyError, AgeRecipient, BackupError, BackupKey, BackupLock, BackupRecipient,
    BackupSummary, ReadBackupError, RecordFault, check_plaintext, verify_backup,
};
pub use dek::{ActiveDek, Dek};
pub use kek_rotation::{
    AbandonKekError, DEFAULT_GRACE, Grace, ImportCheck, KekPhase, KekProgress, KekRotated, KekRotation,
    KekRotationError, KekRotationOptions, OnProgress, RetireKekError, Unreadable,
};
pub use keyring::{
    ActiveDekError, ChangeDekError, DEFAULT_WAIT, EnrolKekError, KekStatus, Keyring, MakeDekError,
    OpenDekError, Retired, Rotated,
};
pub use observer::{Change, KeyEvent, KeyObject, Observer};
pub use open::{open_store, open_store_with};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use record::{
    DekRecord, DekState, KekRecord, KekState, NewDek, NewWrapping, StoredWrapping, UnknownState, Usage,
    WrapProgress,
};
pub use rotator::{
    DEFAULT_MAX_AGE, DekRotator, MIN_MAX_AGE, RotationPolicy, RotationPolicyError, RotationReason,
    RotatorError, RotatorOutcome, RunningRotator,
};
pub use scope::{Scope, ScopeError};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{DekQuery, Dumped, MAX_SEALED_LEN, Store};
pub use store_error::{ConflictKind, StoreError};
pub use usage::{DEFAULT_FLUSH_INTERVAL, UsageCounter, UsageMeter};
pub use version::{DekVersion, DekVersionError};
pub use wrapping::UnwrapError;
