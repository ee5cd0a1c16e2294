//! DEKs and their versions: made, rotated, rewrapped under a new KEK, retired, destroyed; and where they are kept.
//!
//! A DEK is a hybrid key pair. Its private half is kept as a sealed box to each live KEK and nowhere else, so a store,
//! its log and its backups hold no secret. Sealing to a DEK needs its public half only.
//!
//! | module | what it holds |
//! |---|---|
//! | `version`, `scope`, `record` | names, states and records, which cannot hold a bad value |
//! | `store`, `store_error` | [`Store`], what a store does, each call a transaction; why it did not |
//! | `sqlite`, `postgres` | the stores |
//! | `clock` | the time, so that tests can set it |

pub mod clock;
mod record;
mod row;
mod scope;
mod sqlite;
mod store;
mod store_error;
mod version;

pub use record::{
    DekRecord, DekState, KekRecord, KekState, NewDek, NewWrapping, StoredWrapping, UnknownState, Usage,
    WrapProgress,
};
pub use scope::{Scope, ScopeError};
pub use sqlite::SqliteStore;
pub use store::{DekQuery, Dumped, MAX_SEALED_LEN, Store};
pub use store_error::{AddressFault, Answer, ConflictKind, Damage, StoreError};
pub use version::{DekVersion, DekVersionError};
