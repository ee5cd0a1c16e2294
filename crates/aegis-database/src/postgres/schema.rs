//! The tables, in a schema of their own, and how older ones become these.

use super::fault::Fault;
use super::session::Session;
use crate::cell::{Cell, Cells as _};
use crate::contents::Place;
use crate::error::{Damage, DatabaseError};

/// Tables in a schema of their own. The first step makes two for [`Database`](super::Database) itself:
///
/// ```sql
/// -- One row, which every writer locks first.
/// CREATE TABLE NAMESPACE.HEAD (
///     one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one), program TEXT NOT NULL, version BIGINT NOT NULL
/// );
/// INSERT INTO NAMESPACE.HEAD (program, version) VALUES (PROGRAM, 1);
/// -- What was committed lately, so that a writer whose connection was lost can ask.
/// CREATE TABLE NAMESPACE.commits (id UUID PRIMARY KEY, at TIMESTAMPTZ NOT NULL DEFAULT now());
/// CREATE INDEX commits_by_age ON NAMESPACE.commits (at);
/// ```
#[derive(Debug)]
pub struct Schema {
    /// The schema that holds the tables, and nothing else.
    pub namespace: &'static str,
    /// The table of one row.
    pub head: &'static str,
    /// What stands in its column `program`.
    pub program: &'static str,
    /// What makes version n + 1 of version n. A step that was released is never changed.
    pub steps: &'static [&'static str],
    /// The indexes without which nothing keeps rows from being there twice.
    pub unique_indexes: &'static [&'static str],
    /// Held while the tables are made.
    pub advisory_lock: i64,
}

impl Schema {
    /// Brings the tables up to date, a step a transaction, and refuses what is not ours.
    pub(super) fn bring_up_to_date(
        &self,
        session: &mut Session,
        place: &Place,
    ) -> Result<(), Fault<DatabaseError>> {
        while self.version(session, place)? < self.newest() {
            session.run("BEGIN")?;
            let done = self.one_step(session, place);
            let ended = session.run(if done.is_ok() { "COMMIT" } else { "ROLLBACK" });
            done?;
            ended?;
        }
        self.check(session)
    }

    fn one_step(&self, session: &mut Session, place: &Place) -> Result<(), Fault<DatabaseError>> {
        let Self { namespace, head, .. } = self;
        session.execute("SELECT pg_advisory_xact_lock($1)", &[&self.advisory_lock])?;
        // Asked again under the lock: another process may have been faster.
        let found = self.version(session, place)?;
        let Some(step) = usize::try_from(found).ok().and_then(|found| self.steps.get(found)) else {
            return Ok(());
        };
        if session.first("SELECT 1 FROM pg_namespace WHERE nspname = $1::text", &[namespace])?.is_none() {
            session.run(&format!("CREATE SCHEMA {namespace}"))?;
        }
        session.run(step)?;
        let next = found.saturating_add(1);
        session.execute(&format!("UPDATE {namespace}.{head} SET version = $1"), &[&next])?;
        Ok(())
    }

    /// The version of the tables; 0 if there are none.
    fn version(&self, session: &mut Session, place: &Place) -> Result<i64, Fault<DatabaseError>> {
        let Self { namespace, head, program, .. } = self;
        let foreign = || Fault::from(DatabaseError::Foreign { place: place.clone() });
        let tables = session.first(
            "SELECT count(*), count(*) FILTER (WHERE c.relname = $2::text AND c.relkind = 'r')
             FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = $1::text",
            &[namespace, head],
        )?;
        let count = |index| tables.as_ref().map_or(Cell::Null, |row| row.cell(index));
        match (count(0), count(1)) {
            (Cell::Integer(0), _) => return Ok(0),
            (_, Cell::Integer(1)) => {}
            _ => return Err(foreign()),
        }
        let columns = session.first(
            &format!(
                "SELECT count(*) FROM pg_attribute WHERE attrelid = '{namespace}.{head}'::regclass
                     AND attname IN ('program', 'version') AND NOT attisdropped"
            ),
            &[],
        )?;
        if columns.is_none_or(|row| row.cell(0) != Cell::Integer(2)) {
            return Err(foreign());
        }
        let asked = format!("SELECT program::text, version::bigint FROM {namespace}.{head}");
        let Some(row) = session.first(&asked, &[])? else { return Err(self.no_head().into()) };
        match (row.cell(0), row.cell(1)) {
            (Cell::Text(found), _) if found != *program => Err(foreign()),
            (_, Cell::Integer(found)) => self.known(found, place).map(|()| found),
            _ => Err(foreign()),
        }
    }

    /// The one row is missing.
    pub(super) fn no_head(&self) -> Damage {
        Damage::Structure { found: format!("the table {}.{} is empty", self.namespace, self.head) }
    }

    /// Refuses a version that this program does not know.
    pub(super) fn known<E: From<DatabaseError>>(&self, found: i64, place: &Place) -> Result<(), Fault<E>> {
        let known = self.newest();
        if found > known {
            Err(DatabaseError::Newer { place: place.clone(), found, known }.into())
        } else if found < 1 {
            Err(Damage::Structure { found: format!("its schema has the version {found}") }.into())
        } else {
            Ok(())
        }
    }

    /// The newest one that this program knows.
    fn newest(&self) -> i64 {
        i64::try_from(self.steps.len()).unwrap_or(i64::MAX)
    }

    /// Finds a unique index that is missing or not valid.
    ///
    /// # Errors
    ///
    /// [`Damage::Structure`] names the first one.
    pub fn check<E>(&self, session: &mut Session) -> Result<(), Fault<E>> {
        let rows = session.query(
            "SELECT c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
                  JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = $1::text AND i.indisunique AND i.indisvalid",
            &[&self.namespace],
        )?;
        let found: Vec<Cell> = rows.iter().map(|row| row.cell(0)).collect();
        match self.unique_indexes.iter().find(|name| !found.contains(&Cell::Text((**name).to_owned()))) {
            None => Ok(()),
            Some(name) => {
                let found = format!("the unique index {}.{name} is missing or not valid", self.namespace);
                Err(Damage::Structure { found }.into())
            }
        }
    }
}
