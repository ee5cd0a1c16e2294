//! A keyring on a server, for several machines: PostgreSQL 13 and later, in the schema `aegis` of any database. More of it:
//! [`aegis_database::postgres`]. No box that is left in dead rows, in the server's WAL or its archives opens without its KEK.

mod deks;
mod keks;
mod whole;
mod wrappings;

use std::ops::ControlFlow;
use std::time::Duration;

use aegis_crypto::KeyId;
use aegis_database::postgres::{self, Database, Schema};
use aegis_kek::Variables;
use jiff::Timestamp;

use crate::record::{
    DekRecord, DekState, KekRecord, NewDek, NewWrapping, StoredWrapping, Usage, WrapProgress,
};
use crate::scope::Scope;
use crate::store::{DekQuery, Dumped, Store};
use crate::store_error::{ConflictKind, KEYRING, StoreError};
use crate::version::DekVersion;

/// Why a step of an operation failed.
type Fault = postgres::Fault<StoreError>;

/// The tables of a keyring.
static SCHEMA: Schema = Schema {
    namespace: "aegis",
    head: "keyring",
    program: "aegis-keyring",
    steps: &[include_str!("postgres/schema_1.sql")],
    // Without these nothing keeps two from being active, or a wrapping from being there twice.
    unique_indexes: &[
        "commits_pkey",
        "deks_pkey",
        "keks_key_id_key",
        "keks_pkey",
        "one_active_dek",
        "one_active_kek",
        "one_incoming_kek",
        "wrappings_pkey",
    ],
    // `Aegk`.
    advisory_lock: 0x4165_676b,
};

/// A keyring on a server.
pub struct PostgresStore {
    database: Database,
}

impl PostgresStore {
    /// How long a call goes on trying to reach a server that has gone.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// Opens the keyring at `postgres://USER@HOST:PORT/DATABASE?PARAMETERS`; makes its tables if they are not there.
    ///
    /// What the address does not say is taken from `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE`, `PGPASSWORD`, `PGPASSFILE`
    /// (else `~/.pgpass`), `PGSSLMODE` and `PGSSLROOTCERT`. A server that cannot be reached is an error at once; only one that
    /// is just starting is waited for.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; none repeats the address.
    pub fn open(address: &str, variables: &Variables) -> Result<Self, StoreError> {
        Self::open_patiently(address, variables, Self::PATIENCE)
    }

    /// As [`open`](Self::open), with another time for which calls go on trying.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_patiently(
        address: &str,
        variables: &Variables,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(address, variables, &KEYRING, &SCHEMA, patience)? })
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

impl Store for PostgresStore {
    fn location(&self) -> &str {
        &self.database.place().location
    }

    fn keks(&self) -> Result<Vec<KekRecord>, StoreError> {
        self.database.read(|session| Ok(keks::all(session)?.into_iter().map(|(_, kek)| kek).collect()))
    }

    fn enrol_first_kek(&self, kek: &KekRecord) -> Result<(), StoreError> {
        self.database.write(|session| keks::enrol_first(session, kek))
    }

    fn enrol_incoming_kek(&self, kek: &KekRecord, replaces: KeyId) -> Result<(), StoreError> {
        self.database.write(|session| keks::enrol_incoming(session, kek, replaces))
    }

    fn switch_kek(&self, incoming: KeyId, now: Timestamp, grace_until: Timestamp) -> Result<(), StoreError> {
        self.database.write(|session| keks::switch(session, incoming, now, grace_until))
    }

    fn abandon_incoming_kek(&self, incoming: KeyId) -> Result<(), StoreError> {
        self.database.write(|session| keks::abandon(session, incoming))
    }

    fn retire_kek(&self, kek: KeyId, now: Timestamp) -> Result<(), StoreError> {
        self.database.write(|session| keks::retire(session, kek, now))
    }

    fn dek(&self, version: DekVersion) -> Result<Option<DekRecord>, StoreError> {
        self.database.read(|session| deks::find(session, version))
    }

    fn active_dek(&self, scope: &Scope) -> Result<Option<DekRecord>, StoreError> {
        self.database.read(|session| deks::active(session, scope))
    }

    fn deks(&self, query: &DekQuery) -> Result<Vec<DekRecord>, StoreError> {
        self.database.read(|session| deks::page(session, query))
    }

    fn last_version_of(&self, first_of_day: DekVersion) -> Result<Option<DekVersion>, StoreError> {
        self.database.read(|session| deks::last_of_day(session, first_of_day))
    }

    fn insert_active_dek(&self, new: &NewDek, replaces: Option<DekVersion>) -> Result<(), StoreError> {
        self.database.write(|session| deks::insert_active(session, new, replaces))
    }

    fn change_dek(
        &self,
        from: &DekRecord,
        to: DekState,
        destroy_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database.write(|session| deks::change(session, from, to, destroy_after, now))
    }

    fn destroy_dek(&self, version: DekVersion, now: Timestamp) -> Result<(), StoreError> {
        self.database.write(|session| deks::destroy(session, version, now))
    }

    fn add_usage(&self, used: &[(DekVersion, Usage)]) -> Result<(), StoreError> {
        self.database.write(|session| deks::add_usage(session, used))
    }

    fn wrapping(&self, version: DekVersion, kek: KeyId) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.read(|session| wrappings::find(session, version, kek))
    }

    fn wrappings_to_make(
        &self,
        from: KeyId,
        to: KeyId,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        self.database.read(|session| wrappings::to_make(session, from, to, after, limit))
    }

    fn add_wrappings(&self, wrappings: &[NewWrapping]) -> Result<(), StoreError> {
        self.database.write(|session| wrappings::add(session, wrappings))
    }

    fn wrappings_under(
        &self,
        kek: KeyId,
        unverified_only: bool,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        self.database.read(|session| wrappings::under(session, kek, unverified_only, after, limit))
    }

    fn mark_verified(&self, kek: KeyId, good: &[StoredWrapping], now: Timestamp) -> Result<(), StoreError> {
        self.database.write(|session| wrappings::mark_verified(session, kek, good, now))
    }

    fn drop_wrapping(&self, version: DekVersion, kek: KeyId) -> Result<(), StoreError> {
        self.database.write(|session| wrappings::drop_one(session, version, kek))
    }

    fn wrap_progress(&self, kek: KeyId) -> Result<WrapProgress, StoreError> {
        self.database.read(|session| wrappings::progress(session, kek))
    }

    fn dump(&self, each: &mut dyn FnMut(Dumped) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.database.read_all(|session, give| whole::dump(session, give), each)
    }

    fn restore(
        &self,
        keks: &[KekRecord],
        deks: &mut dyn Iterator<Item = Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
    ) -> Result<(), StoreError> {
        self.database.write_all(
            |session, given| {
                let live = whole::restore_keks(session, keks)?;
                for next in given {
                    let (dek, boxes) = next?;
                    whole::restore_dek(session, &live, &dek, &boxes)?;
                }
                Ok(())
            },
            deks,
        )
    }

    fn check(&self) -> Result<(), StoreError> {
        self.database.read_repeatably(whole::check)
    }
}
