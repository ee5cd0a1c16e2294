//! A file for one machine: SQLite, built in.
//!
//! The file and what lies beside it are of mode 0600 and stand in a directory that nobody else can write to. Every commit
//! is on the disk before it is reported (WAL, `synchronous = FULL`); what is deleted is overwritten (`secure_delete`), and
//! the WAL is emptied after [`Database::erase`]. A disk or file system may keep copies all the same.
//!
//! Any number of threads and processes use the file at once: readers see the last commit, writers wait for their turn. A
//! copy of a process by `fork` is refused, see `open_files`.

mod connection;
mod fault;
mod file;
mod open_files;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use self::connection::Transaction;
use self::open_files::OpenNote;
use crate::contents::{Contents, Place};
use crate::error::DatabaseError;

pub use self::fault::Fault;
pub use self::schema::{Schema, check_structure};

/// Connections that are kept open for the next call. More than so many threads at once open more.
const KEPT_CONNECTIONS: usize = 8;

/// How long a write that erased something waits for readers to get out of the way of the WAL.
const ERASING_PATIENCE: Duration = Duration::from_secs(1);

/// A database in a file.
pub struct Database {
    path: PathBuf,
    place: Place,
    schema: &'static Schema,
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
    /// Held by the thread that writes. SQLite's own lock has no queue: threads would sleep and try again.
    turn: Mutex<()>,
    /// What was erased may still be in the WAL, because somebody was reading.
    wal_to_empty: AtomicBool,
    // After the connections, which are dropped before it.
    open: OpenNote,
}

impl Database {
    /// Opens a file; makes it, empty, if it is not there. Its directory has to be. A call waits for other writers for as
    /// long as `patience`.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]: of [`Insecure`](DatabaseError::Insecure), [`NotAFile`](DatabaseError::NotAFile),
    /// [`Foreign`](DatabaseError::Foreign), [`Newer`](DatabaseError::Newer) and [`Damaged`](DatabaseError::Damaged)
    /// nothing was changed.
    pub fn open(
        path: &Path,
        contents: &'static Contents,
        schema: &'static Schema,
        patience: Duration,
    ) -> Result<Self, DatabaseError> {
        let (path, metadata) = file::prepare(path, contents)?;
        let place = file::place(&path, contents);
        let open = OpenNote::new(&metadata).ok_or_else(|| DatabaseError::Forked { place: place.clone() })?;
        let database = Self {
            place,
            schema,
            patience,
            idle: Mutex::new(Vec::new()),
            turn: Mutex::new(()),
            // A process that was killed after it had erased something leaves it there.
            wal_to_empty: AtomicBool::new(file::has_wal(&path, contents)?),
            path,
            open,
        };
        let connection = database.prepared().map_err(|fault| database.sorted(fault))?;
        database.keep(connection);
        Ok(database)
    }

    /// Where it is, for messages.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// The first connection: brings the tables up to date.
    fn prepared(&self) -> Result<Connection, Fault<DatabaseError>> {
        let connection = connection::open(&self.path, self.patience)?;
        if connection.is_readonly("main")? {
            return Err(DatabaseError::ReadOnly { place: self.place.clone() }.into());
        }
        // First whose it is: a database of another program is not even put in WAL mode.
        self.schema.refuse_others(&connection, &self.place)?;
        connection::use_wal(&connection, self.patience)?;
        self.schema.bring_up_to_date(&connection, &self.place)?;
        Ok(connection)
    }

    fn sorted<E: From<DatabaseError>>(&self, fault: Fault<E>) -> E {
        fault.sorted(&self.place, self.patience)
    }

    /// A connection that nobody else uses now.
    fn connection(&self) -> Result<Connection, DatabaseError> {
        if !self.open.is_of_this_process() {
            return Err(DatabaseError::Forked { place: self.place.clone() });
        }
        self.is_in_its_place()?;
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(idle);
        }
        file::check(&self.path, self.place.contents)?;
        connection::open(&self.path, self.patience).map_err(|error| self.sorted(error.into()))
    }

    /// Refuses to go on with a file that has no name any more: what was written to it would be lost.
    fn is_in_its_place(&self) -> Result<(), DatabaseError> {
        if self.open.is_still(&self.path) {
            Ok(())
        } else {
            Err(DatabaseError::Replaced { place: self.place.clone() })
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
    ///
    /// # Errors
    ///
    /// That of the operation, or [`DatabaseError`] as one.
    pub fn read<T, E: From<DatabaseError>>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T, Fault<E>>,
    ) -> Result<T, E> {
        let connection = self.connection()?;
        let done = (|| -> Result<T, Fault<E>> {
            let snapshot = Transaction::begin_reading(&connection)?;
            let done = operation(&snapshot)?;
            snapshot.commit()?;
            Ok(done)
        })();
        self.keep(connection);
        done.map_err(|fault| self.sorted(fault))
    }

    /// Changes something, whole or not at all.
    ///
    /// # Errors
    ///
    /// That of the operation, or [`DatabaseError`] as one. Nothing was changed, but for
    /// [`OutcomeUnknown`](DatabaseError::OutcomeUnknown) and [`Replaced`](DatabaseError::Replaced).
    pub fn write<T, E: From<DatabaseError>>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T, Fault<E>>,
    ) -> Result<T, E> {
        let connection = self.connection()?;
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let done = (|| -> Result<T, Fault<E>> {
            let writing = Transaction::begin(&connection)?;
            let done = operation(&writing)?;
            writing.commit().map_err(|error| Fault::from(error).of_commit(&self.place))?;
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

    /// As [`write`](Self::write), for what erases: afterwards it is not in the WAL either.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn erase<E: From<DatabaseError>>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<(), Fault<E>>,
    ) -> Result<(), E> {
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
                database = self.place.location,
                "what was erased is in the WAL until a reader that is in the way has finished"
            );
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.open.is_of_this_process() {
            // They are the parent's: to close them here would release its locks and could delete its WAL.
            let inherited = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(inherited));
        }
    }
}
