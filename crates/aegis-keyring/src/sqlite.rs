//! A keyring in one file, for one machine: SQLite, built in.
//!
//! The file and what lies beside it are of mode 0600 and stand in a directory that nobody else can write to. Every commit
//! is on the disk before it is reported (WAL, `synchronous = FULL`); what is deleted is overwritten (`secure_delete`), and
//! the WAL is emptied after a DEK was destroyed or a KEK retired. A disk or file system may keep copies all the same.
//!
//! Any number of threads and processes use the file at once: readers see the last commit, writers wait for their turn. A
//! copy of a process by `fork` is refused, see `open_files`.

mod check;
mod connection;
mod deks;
mod fault;
mod file;
mod keks;
mod open_files;
mod restore;
mod schema;
mod wrappings;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aegis_crypto::KeyId;
use jiff::Timestamp;
use rusqlite::Connection;

use self::connection::Transaction;
use self::fault::Fault;
use self::open_files::OpenNote;
use crate::record::{
    DekRecord, DekState, KekRecord, NewDek, NewWrapping, StoredWrapping, Usage, WrapProgress,
};
use crate::scope::Scope;
use crate::store::{DekQuery, Dumped, Store};
use crate::store_error::StoreError;
use crate::version::DekVersion;

/// Connections that are kept open for the next call. More than so many threads at once open more.
const KEPT_CONNECTIONS: usize = 8;

/// How long a write that erased something waits for readers to get out of the way of the WAL.
const ERASING_PATIENCE: Duration = Duration::from_secs(1);

/// A keyring in a file.
pub struct SqliteStore {
    path: PathBuf,
    location: String,
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
    /// Held by the thread that writes. SQLite's own lock has no queue: threads would sleep and try again.
    turn: Mutex<()>,
    /// Erased boxes may still be in the WAL, because somebody was reading.
    wal_to_empty: AtomicBool,
    // After the connections, which are dropped before it.
    open: OpenNote,
}

impl SqliteStore {
    /// How long a call waits for other writers.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Opens a keyring's file; makes it, empty, if it is not there. Its directory has to be.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: of [`Insecure`](StoreError::Insecure), [`NotAFile`](StoreError::NotAFile),
    /// [`Foreign`](StoreError::Foreign), [`Newer`](StoreError::Newer) and [`Damaged`](StoreError::Damaged) nothing was
    /// changed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_patiently(path, Self::PATIENCE)
    }

    /// As [`open`](Self::open), with another time to wait for other writers.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_patiently(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        let (path, metadata) = file::prepare(path)?;
        let location = path.display().to_string();
        let open =
            OpenNote::new(&metadata).ok_or_else(|| StoreError::Forked { location: location.clone() })?;
        let store = Self {
            location,
            patience,
            idle: Mutex::new(Vec::new()),
            turn: Mutex::new(()),
            // A process that was killed after it had erased something leaves it there.
            wal_to_empty: AtomicBool::new(file::has_wal(&path)?),
            path,
            open,
        };
        let connection = store.prepared().map_err(|fault| store.sorted(fault))?;
        store.keep(connection);
        Ok(store)
    }

    /// The first connection: brings the tables up to date.
    fn prepared(&self) -> Result<Connection, Fault> {
        let connection = connection::open(&self.path, self.patience)?;
        if connection.is_readonly("main")? {
            return Err(StoreError::ReadOnly { location: self.location.clone() }.into());
        }
        // First whose it is: a database of another program is not even put in WAL mode.
        schema::refuse_others(&connection, &self.location)?;
        connection::use_wal(&connection, self.patience)?;
        schema::bring_up_to_date(&connection, &self.location)?;
        Ok(connection)
    }

    fn sorted(&self, fault: Fault) -> StoreError {
        fault.sorted(&self.location, self.patience)
    }

    /// A connection that nobody else uses now.
    fn connection(&self) -> Result<Connection, StoreError> {
        if !self.open.is_of_this_process() {
            return Err(StoreError::Forked { location: self.location.clone() });
        }
        self.is_in_its_place()?;
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(idle);
        }
        file::check(&self.path)?;
        connection::open(&self.path, self.patience).map_err(|fault| self.sorted(fault))
    }

    /// Refuses to go on with a file that has no name any more: what was written to it would be lost.
    fn is_in_its_place(&self) -> Result<(), StoreError> {
        if self.open.is_still(&self.path) {
            Ok(())
        } else {
            Err(StoreError::Replaced { location: self.location.clone() })
        }
    }

    /// Takes a connection back, unless it is in the middle of something.
    fn keep(&self, connection: Connection) {
        if connection.is_autocommit() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT_CONNECTIONS {
                idle.push(connection);
            }
        }
    }

    /// Reads what was committed last; several statements see the same.
    fn read<T>(&self, operation: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        let connection = self.connection()?;
        let done = (|| {
            let snapshot = Transaction::begin_reading(&connection)?;
            let done = operation(&snapshot)?;
            snapshot.commit()?;
            Ok(done)
        })();
        self.keep(connection);
        done.map_err(|fault| self.sorted(fault))
    }

    /// Changes something, whole or not at all.
    fn write<T>(&self, operation: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        let connection = self.connection()?;
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let done = (|| {
            let writing = Transaction::begin(&connection)?;
            let done = operation(&writing)?;
            writing.commit().map_err(|fault| fault.of_commit(&self.location))?;
            Ok(done)
        })();
        if done.is_ok() && self.wal_to_empty.load(Ordering::Relaxed) {
            self.empty_wal(&connection);
        }
        drop(turn);
        self.keep(connection);
        let done = done.map_err(|fault| self.sorted(fault))?;
        self.is_in_its_place()?;
        Ok(done)
    }

    /// As [`write`](Self::write), for what erases boxes: afterwards they are not in the WAL either.
    fn erase(&self, operation: impl FnOnce(&Connection) -> Result<(), Fault>) -> Result<(), StoreError> {
        self.write(|connection| {
            operation(connection)?;
            self.wal_to_empty.store(true, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Moves the WAL into the file and cuts it to nothing. If somebody reads for so long that it cannot be done now, the
    /// next write tries again, and so does SQLite when the last process closes the file.
    fn empty_wal(&self, connection: &Connection) {
        // Nobody is to wait long for what can be done later.
        let patience = self.patience.min(ERASING_PATIENCE);
        let blocked = connection.busy_timeout(patience).and_then(|()| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        });
        let _ = connection.busy_timeout(self.patience);
        if matches!(blocked, Ok(0)) {
            self.wal_to_empty.store(false, Ordering::Relaxed);
        } else {
            tracing::warn!(
                keyring = self.location,
                "what was erased is in the WAL until a reader that is in the way has finished"
            );
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if !self.open.is_of_this_process() {
            // They are the parent's: to close them here would release its locks and could delete its WAL.
            let inherited = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(inherited));
        }
    }
}

impl Store for SqliteStore {
    fn location(&self) -> &str {
        &self.location
    }

    fn keks(&self) -> Result<Vec<KekRecord>, StoreError> {
        self.read(|connection| Ok(keks::all(connection)?.into_iter().map(|(_, kek)| kek).collect()))
    }

    fn enrol_first_kek(&self, kek: &KekRecord) -> Result<(), StoreError> {
        self.write(|connection| keks::enrol_first(connection, kek))
    }

    fn enrol_incoming_kek(&self, kek: &KekRecord, replaces: KeyId) -> Result<(), StoreError> {
        self.write(|connection| keks::enrol_incoming(connection, kek, replaces))
    }

    fn switch_kek(&self, incoming: KeyId, now: Timestamp, grace_until: Timestamp) -> Result<(), StoreError> {
        self.write(|connection| keks::switch(connection, incoming, now, grace_until))
    }

    fn abandon_incoming_kek(&self, incoming: KeyId) -> Result<(), StoreError> {
        self.erase(|connection| keks::abandon(connection, incoming))
    }

    fn retire_kek(&self, kek: KeyId, now: Timestamp) -> Result<(), StoreError> {
        self.erase(|connection| keks::retire(connection, kek, now))
    }

    fn dek(&self, version: DekVersion) -> Result<Option<DekRecord>, StoreError> {
        self.read(|connection| deks::find(connection, version))
    }

    fn active_dek(&self, scope: &Scope) -> Result<Option<DekRecord>, StoreError> {
        self.read(|connection| deks::active(connection, scope))
    }

    fn deks(&self, query: &DekQuery) -> Result<Vec<DekRecord>, StoreError> {
        self.read(|connection| deks::page(connection, query))
    }

    fn last_version_of(&self, first_of_day: DekVersion) -> Result<Option<DekVersion>, StoreError> {
        self.read(|connection| deks::last_of_day(connection, first_of_day))
    }

    fn insert_active_dek(&self, new: &NewDek, replaces: Option<DekVersion>) -> Result<(), StoreError> {
        self.write(|connection| deks::insert_active(connection, new, replaces))
    }

    fn change_dek(
        &self,
        from: &DekRecord,
        to: DekState,
        destroy_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|connection| deks::change(connection, from, to, destroy_after, now))
    }

    fn destroy_dek(&self, version: DekVersion, now: Timestamp) -> Result<(), StoreError> {
        self.erase(|connection| deks::destroy(connection, version, now))
    }

    fn add_usage(&self, used: &[(DekVersion, Usage)]) -> Result<(), StoreError> {
        self.write(|connection| deks::add_usage(connection, used))
    }

    fn wrapping(&self, version: DekVersion, kek: KeyId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| wrappings::find(connection, version, kek))
    }

    fn wrappings_to_make(
        &self,
        from: KeyId,
        to: KeyId,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        self.read(|connection| wrappings::to_make(connection, from, to, after, limit))
    }

    fn add_wrappings(&self, wrappings: &[NewWrapping]) -> Result<(), StoreError> {
        self.write(|connection| wrappings::add(connection, wrappings))
    }

    fn wrappings_under(
        &self,
        kek: KeyId,
        unverified_only: bool,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        self.read(|connection| wrappings::under(connection, kek, unverified_only, after, limit))
    }

    fn mark_verified(&self, kek: KeyId, good: &[StoredWrapping], now: Timestamp) -> Result<(), StoreError> {
        self.write(|connection| wrappings::mark_verified(connection, kek, good, now))
    }

    fn drop_wrapping(&self, version: DekVersion, kek: KeyId) -> Result<(), StoreError> {
        self.write(|connection| wrappings::drop_one(connection, version, kek))
    }

    fn wrap_progress(&self, kek: KeyId) -> Result<WrapProgress, StoreError> {
        self.read(|connection| wrappings::progress(connection, kek))
    }

    fn dump(&self, each: &mut dyn FnMut(Dumped) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.read(|connection| restore::dump(connection, each))
    }

    fn restore(
        &self,
        keks: &[KekRecord],
        deks: &mut dyn Iterator<Item = Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
    ) -> Result<(), StoreError> {
        self.write(|connection| restore::restore(connection, keks, deks))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            schema::check(connection)?;
            check::everything(connection)
        })
    }
}
