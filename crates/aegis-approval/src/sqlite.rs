//! Custodians and requests in one file, beside that of the keyring. More of the file: [`aegis_database::sqlite`].

use std::path::Path;
use std::time::Duration;

use aegis_database::sqlite::{self, Database, Schema, check_structure};
use aegis_database::{Cells, Damage};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};

use crate::database::{STORE, implement_store};
use crate::store::{ConflictKind, StoreError};
use crate::tables::{Tables, Value, check};

/// Why a step of an operation failed.
type Fault = sqlite::Fault<StoreError>;

/// The tables in a file.
static SCHEMA: Schema =
    // `Aega`.
    Schema { application_id: 0x4165_6761, steps: &[include_str!("sqlite/schema_1.sql")] };

/// Custodians and requests in a file.
pub struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// How long a call waits for other writers.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Opens a file; makes it, empty, if it is not there. Its directory has to be.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; if the file is not private, not one of approvals, of a later release or damaged, nothing was changed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_patiently(path, Self::PATIENCE)
    }

    /// As [`open`](Self::open), with another time to wait for other writers.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_patiently(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(path, &STORE, &SCHEMA, patience)? })
    }

    fn read<T>(
        &self,
        operation: impl FnOnce(&mut SqliteTables<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.database.read(|connection| operation(&mut self.tables(connection)))
    }

    fn write<T>(
        &self,
        operation: impl FnOnce(&mut SqliteTables<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.database.write(|connection| operation(&mut self.tables(connection)))
    }

    fn tables<'c>(&'c self, connection: &'c Connection) -> SqliteTables<'c> {
        SqliteTables { connection, location: &self.database.place().location }
    }

    fn check_everything(&self) -> Result<(), StoreError> {
        self.read(|tables| {
            SCHEMA.check(tables.connection)?;
            // Rows first: they can name what is damaged, where SQLite has only the name of a table.
            check::everything(tables)?;
            check_structure(tables.connection)
        })
    }
}

implement_store!(SqliteStore);

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<ConflictKind> for Fault {
    fn from(what: ConflictKind) -> Self {
        Self::Refused(StoreError::Conflict { what })
    }
}

/// The tables, in the middle of a transaction.
struct SqliteTables<'c> {
    connection: &'c Connection,
    location: &'c str,
}

impl Tables for SqliteTables<'_> {
    type Fault = Fault;

    fn location(&self) -> &str {
        self.location
    }

    fn by_index(&self, index: &'static str) -> String {
        format!("INDEXED BY {index}")
    }

    fn rows<T>(
        &mut self,
        sql: &str,
        parameters: &[Value<'_>],
        mut make: impl FnMut(&dyn Cells) -> Result<T, Damage>,
    ) -> Result<Vec<T>, Fault> {
        let mut statement = self.connection.prepare_cached(&sql.replace('@', ""))?;
        let mut rows = statement.query(params_from_iter(parameters))?;
        let mut made = Vec::new();
        while let Some(row) = rows.next()? {
            made.push(make(row)?);
        }
        Ok(made)
    }

    fn change(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<(), Fault> {
        self.connection.prepare_cached(&sql.replace('@', ""))?.execute(params_from_iter(parameters))?;
        Ok(())
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Text(None) | Self::Bytes(None) => ValueRef::Null,
        }))
    }
}
