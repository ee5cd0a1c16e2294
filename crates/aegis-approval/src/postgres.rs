//! Custodians and requests on a server, in the schema `aegis_approval` of the keyring's database or of any other. More of
//! it: [`aegis_database::postgres`].

use std::time::Duration;

use ::postgres::types::ToSql;
use aegis_database::postgres::{self, Database, Schema, Session};
use aegis_database::{Cells, Damage, Variables};

use crate::database::{STORE, implement_store};
use crate::store::{ConflictKind, StoreError};
use crate::tables::{Tables, Value, check};

/// Why a step of an operation failed.
type Fault = postgres::Fault<StoreError>;

/// The tables on a server.
static SCHEMA: Schema = Schema {
    namespace: "aegis_approval",
    head: "approvals",
    program: "aegis-approval",
    steps: &[include_str!("postgres/schema_1.sql")],
    unique_indexes: &[
        "approvals_pkey",
        "commits_pkey",
        "documents_pkey",
        "keys_key_id_key",
        "keys_pkey",
        "one_decision_of_a_key",
        "people_pkey",
        "registry_pkey",
        "requests_id_key",
        "requests_pkey",
        "rotations_old_key_key",
        "rotations_pkey",
        "signatures_pkey",
        "texts_pkey",
    ],
    // `Aega`.
    advisory_lock: 0x4165_6761,
};

/// Custodians and requests on a server.
pub struct PostgresStore {
    database: Database,
}

impl PostgresStore {
    /// How long a call goes on trying to reach a server that has gone.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// Opens the store at `postgres://USER@HOST:PORT/DATABASE?PARAMETERS`, which is the keyring's address or another one;
    /// makes its tables if they are not there. What the address does not say is taken from variables, see
    /// [`Database::open`].
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
        Ok(Self { database: Database::open(address, variables, &STORE, &SCHEMA, patience)? })
    }

    fn read<T: Send>(
        &self,
        operation: impl Fn(&mut PostgresTables<'_>) -> Result<T, Fault> + Send,
    ) -> Result<T, StoreError> {
        let location = &self.database.place().location;
        self.database.read_repeatably(move |session| operation(&mut PostgresTables { session, location }))
    }

    fn write<T: Send>(
        &self,
        operation: impl Fn(&mut PostgresTables<'_>) -> Result<T, Fault> + Send,
    ) -> Result<T, StoreError> {
        let location = &self.database.place().location;
        self.database.write(move |session| operation(&mut PostgresTables { session, location }))
    }

    fn check_everything(&self) -> Result<(), StoreError> {
        self.read(|tables| {
            SCHEMA.check(tables.session)?;
            check::everything(tables)
        })
    }
}

implement_store!(PostgresStore);

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
struct PostgresTables<'s> {
    session: &'s mut Session,
    location: &'s str,
}

impl Tables for PostgresTables<'_> {
    type Fault = Fault;

    fn location(&self) -> &str {
        self.location
    }

    fn by_index(&self, _index: &'static str) -> String {
        // It counts its rows, and knows.
        String::new()
    }

    fn rows<T>(
        &mut self,
        sql: &str,
        parameters: &[Value<'_>],
        mut make: impl FnMut(&dyn Cells) -> Result<T, Damage>,
    ) -> Result<Vec<T>, Fault> {
        let parameters: Vec<_> = parameters.iter().map(parameter).collect();
        let rows = self.session.query(&qualified(sql), &borrowed(&parameters))?;
        rows.iter().map(|row| Ok(make(row)?)).collect()
    }

    fn change(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<(), Fault> {
        let parameters: Vec<_> = parameters.iter().map(parameter).collect();
        self.session.execute(&qualified(sql), &borrowed(&parameters))?;
        Ok(())
    }
}

/// A statement with the schema before each table.
fn qualified(sql: &str) -> String {
    sql.replace('@', "aegis_approval.")
}

fn parameter<'v>(value: &'v Value<'_>) -> Box<dyn ToSql + Sync + 'v> {
    match value {
        Value::Integer(number) => Box::new(*number),
        Value::Text(text) => Box::new(text.as_deref()),
        Value::Bytes(bytes) => Box::new(*bytes),
    }
}

fn borrowed<'v>(parameters: &'v [Box<dyn ToSql + Sync + 'v>]) -> Vec<&'v (dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)).collect()
}
