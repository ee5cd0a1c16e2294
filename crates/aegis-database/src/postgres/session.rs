//! A connection to the server, with every setting that its users rely on.

use std::collections::BTreeMap;
use std::time::Duration;

use postgres::types::{ToSql, Type};
use postgres::{Client, Config, NoTls, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::cell::{Cell, Cells};

/// Waiting has an end: for a statement it is 5 minutes. A transaction whose client has gone ends after 60. A
/// commit is on the disk before it is reported, also where the server's default is otherwise.
const SETTINGS: &str = "
    SET client_min_messages = error;
    SET statement_timeout = '5min';
    SET idle_in_transaction_session_timeout = '60s';
    SET search_path = pg_catalog;
    SET DateStyle = 'ISO';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// The statements that are kept prepared; more than there are.
const STATEMENTS: usize = 64;

/// A connection. It is made, used and dropped on threads of [`Database`](super::Database) only: the client runs a loop of its own in each
/// call, which is not possible on a thread that runs one already.
pub struct Session {
    client: Client,
    statements: BTreeMap<String, Statement>,
}

impl Session {
    /// `patience` is how long it waits for a lock; never more than ten seconds at a time.
    pub(super) fn connect(
        config: &Config,
        tls: Option<&MakeRustlsConnect>,
        patience: Duration,
    ) -> Result<Self, postgres::Error> {
        let mut config = config.clone();
        // What the server remarks by the way is not for a log of ours.
        config.notice_callback(|_| ());
        let mut client = match tls {
            Some(tls) => config.connect(tls.clone())?,
            None => config.connect(NoTls)?,
        };
        client.batch_execute(SETTINGS)?;
        let lock_timeout = patience.as_millis().clamp(1, 10_000);
        client.batch_execute(&format!("SET lock_timeout = {lock_timeout}"))?;
        Ok(Self { client, statements: BTreeMap::new() })
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs statements without parameters and without rows.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), postgres::Error> {
        self.client.batch_execute(sql)
    }

    /// Runs a statement, and gives its rows.
    ///
    /// # Errors
    ///
    /// What the server or the connection said.
    pub fn query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, postgres::Error> {
        let statement = self.prepared(sql)?;
        self.client.query(&statement, parameters)
    }

    /// The one row, or the first.
    ///
    /// # Errors
    ///
    /// What the server or the connection said.
    pub fn first(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, postgres::Error> {
        Ok(self.query(sql, parameters)?.into_iter().next())
    }

    /// Runs a statement; gives how many rows it changed.
    ///
    /// # Errors
    ///
    /// What the server or the connection said.
    pub fn execute(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, postgres::Error> {
        let statement = self.prepared(sql)?;
        self.client.execute(&statement, parameters)
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        if self.statements.len() < STATEMENTS {
            self.statements.insert(sql.to_owned(), statement.clone());
        }
        Ok(statement)
    }
}

impl Cells for Row {
    fn cell(&self, index: usize) -> Cell {
        fn value<'r, T: postgres::types::FromSql<'r>>(
            row: &'r Row,
            index: usize,
            cell: impl FnOnce(T) -> Cell,
        ) -> Cell {
            match row.try_get::<_, Option<T>>(index) {
                Ok(Some(value)) => cell(value),
                Ok(None) => Cell::Null,
                Err(_) => Cell::Other,
            }
        }
        let Some(column) = self.columns().get(index) else { return Cell::Other };
        match *column.type_() {
            Type::INT8 => value(self, index, Cell::Integer),
            Type::INT4 => value(self, index, |number: i32| Cell::Integer(number.into())),
            Type::TEXT => value(self, index, Cell::Text),
            Type::BYTEA => value(self, index, Cell::Bytes),
            _ => Cell::Other,
        }
    }
}
