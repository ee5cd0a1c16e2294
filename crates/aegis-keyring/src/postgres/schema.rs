//! The tables, in a schema of their own, and how older ones become these.

use super::fault::Fault;
use super::session::Session;
use crate::row::{Cell, Cells as _};
use crate::store_error::{Damage, StoreError};

/// What makes version n + 1 of version n. A step that was released is never changed.
const STEPS: &[&str] = &[include_str!("schema_1.sql")];

/// What stands in `aegis.keyring.program`.
const PROGRAM: &str = "aegis-keyring";

/// The indexes without which nothing keeps two from being active, or a wrapping from being there twice.
const UNIQUE_INDEXES: [&str; 8] = [
    "commits_pkey",
    "deks_pkey",
    "keks_key_id_key",
    "keks_pkey",
    "one_active_dek",
    "one_active_kek",
    "one_incoming_kek",
    "wrappings_pkey",
];

/// Held while the tables are made: `Aegk`.
const ADVISORY_LOCK: i64 = 0x4165_676b;

/// The newest schema that this program knows.
pub(super) fn newest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Brings the tables up to date, a step a transaction, and refuses what is not ours.
pub(super) fn bring_up_to_date(session: &mut Session, location: &str) -> Result<(), Fault> {
    while version(session, location)? < newest() {
        session.run("BEGIN")?;
        let done = one_step(session, location);
        let ended = session.run(if done.is_ok() { "COMMIT" } else { "ROLLBACK" });
        done?;
        ended?;
    }
    check(session)
}

fn one_step(session: &mut Session, location: &str) -> Result<(), Fault> {
    session.execute("SELECT pg_advisory_xact_lock($1)", &[&ADVISORY_LOCK])?;
    // Asked again under the lock: another process may have been faster.
    let found = version(session, location)?;
    let Some(step) = usize::try_from(found).ok().and_then(|found| STEPS.get(found)) else { return Ok(()) };
    if session.first("SELECT 1 FROM pg_namespace WHERE nspname = 'aegis'", &[])?.is_none() {
        session.run("CREATE SCHEMA aegis")?;
    }
    session.run(step)?;
    session.execute("UPDATE aegis.keyring SET version = $1", &[&found.saturating_add(1)])?;
    Ok(())
}

/// The version of the tables; 0 if there are none.
fn version(session: &mut Session, location: &str) -> Result<i64, Fault> {
    let foreign = || Fault::from(StoreError::Foreign { location: location.to_owned() });
    let tables = session.first(
        "SELECT count(*), count(*) FILTER (WHERE c.relname = 'keyring' AND c.relkind = 'r')
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = 'aegis'",
        &[],
    )?;
    let count = |index| tables.as_ref().map_or(Cell::Null, |row| row.cell(index));
    match (count(0), count(1)) {
        (Cell::Integer(0), _) => return Ok(0),
        (_, Cell::Integer(1)) => {}
        _ => return Err(foreign()),
    }
    let columns = session.first(
        "SELECT count(*) FROM pg_attribute
         WHERE attrelid = 'aegis.keyring'::regclass AND attname IN ('program', 'version') AND NOT attisdropped",
        &[],
    )?;
    if columns.is_none_or(|row| row.cell(0) != Cell::Integer(2)) {
        return Err(foreign());
    }
    let row = session.first("SELECT program::text, version::bigint FROM aegis.keyring", &[])?;
    let Some(row) = row else {
        return Err(Damage::Structure { found: "the table aegis.keyring is empty".to_owned() }.into());
    };
    match (row.cell(0), row.cell(1)) {
        (Cell::Text(program), _) if program != PROGRAM => Err(foreign()),
        (_, Cell::Integer(found)) => known(found, location).map(|()| found),
        _ => Err(foreign()),
    }
}

/// Refuses a version that this program does not know.
pub(super) fn known(found: i64, location: &str) -> Result<(), Fault> {
    let known = newest();
    if found > known {
        Err(StoreError::Newer { location: location.to_owned(), found, known }.into())
    } else if found < 1 {
        Err(Damage::Structure { found: format!("its schema has the version {found}") }.into())
    } else {
        Ok(())
    }
}

/// Finds a unique index that is missing or not valid.
pub(super) fn check(session: &mut Session) -> Result<(), Fault> {
    let rows = session.query(
        "SELECT c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
              JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = 'aegis' AND i.indisunique AND i.indisvalid",
        &[],
    )?;
    let found: Vec<Cell> = rows.iter().map(|row| row.cell(0)).collect();
    match UNIQUE_INDEXES.iter().find(|name| !found.contains(&Cell::Text((**name).to_owned()))) {
        None => Ok(()),
        Some(name) => {
            let found = format!("the unique index aegis.{name} is missing or not valid");
            Err(Damage::Structure { found }.into())
        }
    }
}
