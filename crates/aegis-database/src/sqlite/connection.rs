//! A connection to the file, with every setting that its users rely on.

use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::fault::is_busy;
use crate::cell::{Cell, Cells};

/// The longest value that SQLite reads or writes here. Longer ones are damage, and cost no memory.
const MAX_VALUE_LEN: i32 = 1 << 18;

/// Statements that are kept prepared: more than there are.
const STATEMENTS: usize = 64;

/// What holds for a connection only, and so is set anew on each. The size of a page is that of the file, once it has one:
/// four boxes fill one, and a rotation of many DEKs makes a quarter of the system calls. WAL is a property of the file, too.
const SETTINGS: &str = "
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA mmap_size = 0;
    PRAGMA page_size = 16384;
    PRAGMA cache_size = -8192;
    PRAGMA wal_autocheckpoint = 1024;
    PRAGMA journal_size_limit = 16777216;
";

/// Opens a file that exists. Nothing in it is believed yet: neither its triggers nor its views are run.
pub(super) fn open(path: &Path, patience: Duration) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_LEN)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    connection.execute_batch(SETTINGS)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Puts the file in WAL mode. SQLite does not wait for the lock which that takes, so we do.
pub(super) fn use_wal(connection: &Connection, patience: Duration) -> Result<(), rusqlite::Error> {
    let end = Instant::now() + patience;
    loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => {}
            Err(error) if is_busy(&error) => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= end {
            let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            return Err(rusqlite::Error::SqliteFailure(busy, None));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A transaction; rolled back unless it is committed.
pub(super) struct Transaction<'c> {
    connection: &'c Connection,
}

impl<'c> Transaction<'c> {
    /// A transaction that may write; waits for its turn.
    pub(super) fn begin(connection: &'c Connection) -> Result<Self, rusqlite::Error> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Self { connection })
    }

    /// A transaction that does not write: it waits for nobody, and all of it sees the same commit.
    pub(super) fn begin_reading(connection: &'c Connection) -> Result<Self, rusqlite::Error> {
        connection.execute_batch("BEGIN")?;
        Ok(Self { connection })
    }

    pub(super) fn commit(self) -> Result<(), rusqlite::Error> {
        self.connection.execute_batch("COMMIT")
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // After some errors SQLite has rolled back by itself; a connection on which this fails is not used again.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

impl Cells for Row<'_> {
    fn cell(&self, index: usize) -> Cell {
        match self.get_ref(index) {
            Ok(ValueRef::Null) => Cell::Null,
            Ok(ValueRef::Integer(number)) => Cell::Integer(number),
            Ok(ValueRef::Text(text)) => {
                std::str::from_utf8(text).map_or(Cell::Other, |text| Cell::Text(text.to_owned()))
            }
            Ok(ValueRef::Blob(bytes)) => Cell::Bytes(bytes.to_owned()),
            Ok(ValueRef::Real(_)) | Err(_) => Cell::Other,
        }
    }
}
