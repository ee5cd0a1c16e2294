//! The tables, and how older ones become these.

use rusqlite::{Connection, OptionalExtension as _};

use super::fault::Fault;
use crate::store_error::{Damage, StoreError};

/// `Aegk`: what `file(1)` and we know the file by.
const APPLICATION_ID: i32 = 0x4165_676b;

/// What makes version n + 1 of version n. A step that was released is never changed.
const STEPS: &[&str] = &[include_str!("schema_1.sql")];

/// Brings the tables up to date, a step a transaction, and refuses what is not ours. A process that is killed in between
/// leaves an older version, and the next one goes on from there.
pub(super) fn bring_up_to_date(connection: &Connection, location: &str) -> Result<(), Fault> {
    upgrade(connection, location, STEPS)
}

/// Refuses the database of another program, and of a later release of this one.
pub(super) fn refuse_others(connection: &Connection, location: &str) -> Result<(), Fault> {
    version(connection, location, newest(STEPS)).map(drop)
}

/// Compares the tables with those that were made.
pub(super) fn check(connection: &Connection) -> Result<(), Fault> {
    check_tables(connection, STEPS)
}

fn newest(steps: &[&str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

fn upgrade(connection: &Connection, location: &str, steps: &[&str]) -> Result<(), Fault> {
    let known = newest(steps);
    loop {
        let found = version(connection, location, known)?;
        if found == known {
            return check_tables(connection, steps);
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = one_step(connection, location, steps);
        let ended = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = connection.execute_batch(ended);
        done?;
        ended?;
    }
}

/// Asks again under the lock, since another process may have been faster, and makes one step.
fn one_step(connection: &Connection, location: &str, steps: &[&str]) -> Result<(), Fault> {
    let found = version(connection, location, newest(steps))?;
    let Some(step) = usize::try_from(found).ok().and_then(|found| steps.get(found)) else { return Ok(()) };
    connection.execute_batch(step)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", found.saturating_add(1))?;
    Ok(())
}

/// The version of the tables; 0 if there are none at all.
fn version(connection: &Connection, location: &str, known: i64) -> Result<i64, Fault> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application != APPLICATION_ID {
        let anything: Option<i64> =
            connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |row| row.get(0)).optional()?;
        return if application == 0 && found == 0 && anything.is_none() {
            Ok(0)
        } else {
            Err(StoreError::Foreign { location: location.to_owned() }.into())
        };
    }
    match found {
        found if found > known => {
            Err(StoreError::Newer { location: location.to_owned(), found, known }.into())
        }
        found if found < 1 => {
            Err(Damage::Structure { found: format!("its schema has the version {found}") }.into())
        }
        found => Ok(found),
    }
}

/// Compares tables and indexes with those of an empty store: without the unique ones, nothing keeps two from being active.
fn check_tables(connection: &Connection, steps: &[&str]) -> Result<(), Fault> {
    let model = Connection::open_in_memory()?;
    for step in steps {
        model.execute_batch(step)?;
    }
    let (expected, found) = (definitions(&model)?, definitions(connection)?);
    let differs = expected
        .iter()
        .find(|definition| !found.contains(definition))
        .or_else(|| found.iter().find(|definition| !expected.contains(definition)));
    match differs {
        None => Ok(()),
        Some((name, _)) => {
            let name: String = name.chars().take(64).collect();
            Err(Damage::Structure { found: format!("the schema of {name:?} is not what it was made as") }
                .into())
        }
    }
}

fn definitions(connection: &Connection) -> Result<Vec<(String, Option<String>)>, Fault> {
    let mut statement = connection.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' LIMIT 1000",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[&str] = &["CREATE TABLE one (a INTEGER) STRICT", "ALTER TABLE one ADD COLUMN b INTEGER"];

    fn version_of(connection: &Connection) -> i64 {
        version(connection, "here", 9).unwrap()
    }

    #[test]
    fn goes_on_from_every_step_at_which_it_was_killed() {
        let connection = Connection::open_in_memory().unwrap();
        assert_eq!(version_of(&connection), 0);
        upgrade(&connection, "here", &TWO[..1]).unwrap();
        assert_eq!(version_of(&connection), 1);
        upgrade(&connection, "here", TWO).unwrap();
        assert_eq!(version_of(&connection), 2);
        upgrade(&connection, "here", TWO).unwrap();
        assert_eq!(version_of(&connection), 2);
    }

    #[test]
    fn leaves_the_version_alone_if_a_step_fails() {
        let connection = Connection::open_in_memory().unwrap();
        let bad = [TWO[0], "ALTER TABLE one ADD COLUMN b INTEGER; ALTER TABLE two ADD COLUMN b INTEGER"];
        assert!(upgrade(&connection, "here", &bad).is_err());
        assert_eq!(version_of(&connection), 1);
        upgrade(&connection, "here", TWO).unwrap();
    }

    #[test]
    fn refuses_a_newer_schema_and_a_missing_index() {
        let connection = Connection::open_in_memory().unwrap();
        upgrade(&connection, "here", TWO).unwrap();
        let newer = upgrade(&connection, "here", &TWO[..1]);
        assert!(matches!(newer, Err(Fault::Store(StoreError::Newer { found: 2, known: 1, .. }))));
        connection.execute_batch("ALTER TABLE one DROP COLUMN b").unwrap();
        assert!(matches!(upgrade(&connection, "here", TWO), Err(Fault::Damage(Damage::Structure { .. }))));
    }
}
