//! A keyring in one file, for one machine: SQLite, built in.
//!
//! The WAL is emptied after a DEK was destroyed or a KEK retired. More of the file: [`aegis_database::sqlite`].

mod check;
mod deks;
mod keks;
mod restore;
mod wrappings;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use aegis_crypto::KeyId;
use aegis_database::sqlite::{self, Database, Schema};
use jiff::Timestamp;

use crate::record::{
    DekRecord, DekState, KekRecord, NewDek, NewWrapping, StoredWrapping, Usage, WrapProgress,
};
use crate::scope::Scope;
use crate::store::{DekQuery, Dumped, Store};
use crate::store_error::{ConflictKind, KEYRING, StoreError};
use crate::version::DekVersion;

/// Why a step of an operation failed.
type Fault = sqlite::Fault<StoreError>;

/// The tables of a keyring.
static SCHEMA: Schema =
    // `Aegk`.
    Schema { application_id: 0x4165_676b, steps: &[include_str!("sqlite/schema_1.sql")] };

/// A keyring in a file.
pub struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// How long a call waits for other writers.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Opens a keyring's file; makes it, empty, if it is not there. Its directory has to be.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; if the file is not private, not a keyring's, of a later release or damaged, nothing was changed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_patiently(path, Self::PATIENCE)
    }

    /// As [`open`](Self::open), with another time to wait for other writers.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_patiently(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(path, &KEYRING, &SCHEMA, patience)? })
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<ConflictKind> for Fault {
    fn from(what: ConflictKind) -> Self {
        Self::Refused(StoreError::conflict(what))
    }
}

impl Store for SqliteStore {
    fn location(&self) -> &str {
        &self.database.place().location
    }

    fn keks(&self) -> Result<Vec<KekRecord>, StoreError> {
        self.database.read(|connection| Ok(keks::all(connection)?.into_iter().map(|(_, kek)| kek).collect()))
    }

    fn enrol_first_kek(&self, kek: &KekRecord) -> Result<(), StoreError> {
        self.database.write(|connection| keks::enrol_first(connection, kek))
    }

    fn enrol_incoming_kek(&self, kek: &KekRecord, replaces: KeyId) -> Result<(), StoreError> {
        self.database.write(|connection| keks::enrol_incoming(connection, kek, replaces))
    }

    fn switch_kek(&self, incoming: KeyId, now: Timestamp, grace_until: Timestamp) -> Result<(), StoreError> {
        self.database.write(|connection| keks::switch(connection, incoming, now, grace_until))
    }

    fn abandon_incoming_kek(&self, incoming: KeyId) -> Result<(), StoreError> {
        self.database.erase(|connection| keks::abandon(connection, incoming))
    }

    fn retire_kek(&self, kek: KeyId, now: Timestamp) -> Result<(), StoreError> {
        self.database.erase(|connection| keks::retire(connection, kek, now))
    }

    fn dek(&self, version: DekVersion) -> Result<Option<DekRecord>, StoreError> {
        self.database.read(|connection| deks::find(connection, version))
    }

    fn active_dek(&self, scope: &Scope) -> Result<Option<DekRecord>, StoreError> {
        self.database.read(|connection| deks::active(connection, scope))
    }

    fn deks(&self, query: &DekQuery) -> Result<Vec<DekRecord>, StoreError> {
        self.database.read(|connection| deks::page(connection, query))
    }

    fn last_version_of(&self, first_of_day: DekVersion) -> Result<Option<DekVersion>, StoreError> {
        self.database.read(|connection| deks::last_of_day(connection, first_of_day))
    }

    fn insert_active_dek(&self, new: &NewDek, replaces: Option<DekVersion>) -> Result<(), StoreError> {
        self.database.write(|connection| deks::insert_active(connection, new, replaces))
    }

    fn change_dek(
        &self,
        from: &DekRecord,
        to: DekState,
        destroy_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database.write(|connection| deks::change(connection, from, to, destroy_after, now))
    }

    fn destroy_dek(&self, version: DekVersion, now: Timestamp) -> Result<(), StoreError> {
        self.database.erase(|connection| deks::destroy(connection, version, now))
    }

    fn add_usage(&self, used: &[(DekVersion, Usage)]) -> Result<(), StoreError> {
        self.database.write(|connection| deks::add_usage(connection, used))
    }

    fn wrapping(&self, version: DekVersion, kek: KeyId) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.read(|connection| wrappings::find(connection, version, kek))
    }

    fn wrappings_to_make(
        &self,
        from: KeyId,
        to: KeyId,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        self.database.read(|connection| wrappings::to_make(connection, from, to, after, limit))
    }

    fn add_wrappings(&self, wrappings: &[NewWrapping]) -> Result<(), StoreError> {
        self.database.write(|connection| wrappings::add(connection, wrappings))
    }

    fn wrappings_under(
        &self,
        kek: KeyId,
        unverified_only: bool,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        self.database.read(|connection| wrappings::under(connection, kek, unverified_only, after, limit))
    }

    fn mark_verified(&self, kek: KeyId, good: &[StoredWrapping], now: Timestamp) -> Result<(), StoreError> {
        self.database.write(|connection| wrappings::mark_verified(connection, kek, good, now))
    }

    fn drop_wrapping(&self, version: DekVersion, kek: KeyId) -> Result<(), StoreError> {
        self.database.write(|connection| wrappings::drop_one(connection, version, kek))
    }

    fn wrap_progress(&self, kek: KeyId) -> Result<WrapProgress, StoreError> {
        self.database.read(|connection| wrappings::progress(connection, kek))
    }

    fn dump(&self, each: &mut dyn FnMut(Dumped) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.database.read(|connection| restore::dump(connection, each))
    }

    fn restore(
        &self,
        keks: &[KekRecord],
        deks: &mut dyn Iterator<Item = Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
    ) -> Result<(), StoreError> {
        self.database.write(|connection| restore::restore(connection, keks, deks))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.database.read(|connection| {
            SCHEMA.check(connection)?;
            check::everything(connection)
        })
    }
}
