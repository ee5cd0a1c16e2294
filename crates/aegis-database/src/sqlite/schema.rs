//! The tables of a file, and how older ones become these.

use rusqlite::{Connection, OptionalExtension as _};

use super::fault::Fault;
use crate::cell::{Cell, Cells as _};
use crate::contents::Place;
use crate::error::{Answer, Damage, DatabaseError};

/// The tables of a file.
#[derive(Debug)]
pub struct Schema {
    /// What `file(1)` and we know the file by.
    pub application_id: i32,
    /// What makes version n + 1 of version n. A step that was released is never changed.
    pub steps: &'static [&'static str],
}

impl Schema {
    /// Brings the tables up to date, a step a transaction, and refuses what is not ours. A process that is killed in
    /// between leaves an older version, and the next one goes on from there.
    pub(super) fn bring_up_to_date(
        &self,
        connection: &Connection,
        place: &Place,
    ) -> Result<(), Fault<DatabaseError>> {
        loop {
            if self.version(connection, place)? == self.newest() {
                return self.check(connection);
            }
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let done = self.one_step(connection, place);
            let ended = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
            let ended = connection.execute_batch(ended);
            done?;
            ended?;
        }
    }

    /// Asks again under the lock, since another process may have been faster, and makes one step.
    fn one_step(&self, connection: &Connection, place: &Place) -> Result<(), Fault<DatabaseError>> {
        let found = self.version(connection, place)?;
        let Some(step) = usize::try_from(found).ok().and_then(|found| self.steps.get(found)) else {
            return Ok(());
        };
        connection.execute_batch(step)?;
        connection.pragma_update(None, "application_id", self.application_id)?;
        connection.pragma_update(None, "user_version", found.saturating_add(1))?;
        Ok(())
    }

    /// Refuses the database of another program, and of a later release of this one.
    pub(super) fn refuse_others(
        &self,
        connection: &Connection,
        place: &Place,
    ) -> Result<(), Fault<DatabaseError>> {
        self.version(connection, place).map(drop)
    }

    /// The version of the tables; 0 if there are none at all.
    fn version(&self, connection: &Connection, place: &Place) -> Result<i64, Fault<DatabaseError>> {
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if application != self.application_id {
            let anything: Option<i64> = connection
                .query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |row| row.get(0))
                .optional()?;
            return if application == 0 && found == 0 && anything.is_none() {
                Ok(0)
            } else {
                Err(DatabaseError::Foreign { place: place.clone() }.into())
            };
        }
        let known = self.newest();
        match found {
            found if found > known => Err(DatabaseError::Newer { place: place.clone(), found, known }.into()),
            found if found < 1 => {
                Err(Damage::Structure { found: format!("its schema has the version {found}") }.into())
            }
            found => Ok(found),
        }
    }

    fn newest(&self) -> i64 {
        i64::try_from(self.steps.len()).unwrap_or(i64::MAX)
    }

    /// Compares tables and indexes with those of an empty database: without the unique ones, nothing keeps rows from being
    /// there twice.
    ///
    /// # Errors
    ///
    /// [`Damage::Structure`] names the first one that differs.
    pub fn check<E>(&self, connection: &Connection) -> Result<(), Fault<E>> {
        let model = Connection::open_in_memory()?;
        for step in self.steps {
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
}

fn definitions(connection: &Connection) -> Result<Vec<(String, Option<String>)>, rusqlite::Error> {
    let mut statement = connection.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' LIMIT 1000",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Has SQLite read every page, and every index beside its table.
///
/// # Errors
///
/// [`Damage::Structure`] with the first thing that SQLite found.
pub fn check_structure<E>(connection: &Connection) -> Result<(), Fault<E>> {
    let mut statement = connection.prepare("PRAGMA integrity_check(1)")?;
    let mut rows = statement.query([])?;
    while let Some(found) = rows.next()? {
        match found.cell(0) {
            Cell::Text(text) if text == "ok" => {}
            Cell::Text(text) => {
                return Err(Damage::Structure { found: Answer::new(&text, None).text }.into());
            }
            _ => return Err(Damage::Structure { found: "no answer".to_owned() }.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::Contents;

    const STEP: &str = "CREATE TABLE one (a INTEGER) STRICT";
    const ONE: Schema = Schema { application_id: 7, steps: &[STEP] };
    const TWO: Schema = Schema { application_id: 7, steps: &[STEP, "ALTER TABLE one ADD COLUMN b INTEGER"] };

    fn here() -> Place {
        static CONTENTS: Contents = Contents { name: "box", one: "a box", example: "/box", restore: "" };
        Place { contents: &CONTENTS, location: "here".to_owned() }
    }

    fn upgrade(connection: &Connection, schema: &Schema) -> Result<(), Fault<DatabaseError>> {
        schema.bring_up_to_date(connection, &here())
    }

    fn version_of(connection: &Connection) -> i64 {
        TWO.version(connection, &here()).unwrap()
    }

    #[test]
    fn goes_on_from_every_step_at_which_it_was_killed() {
        let connection = Connection::open_in_memory().unwrap();
        assert_eq!(version_of(&connection), 0);
        upgrade(&connection, &ONE).unwrap();
        assert_eq!(version_of(&connection), 1);
        upgrade(&connection, &TWO).unwrap();
        assert_eq!(version_of(&connection), 2);
        upgrade(&connection, &TWO).unwrap();
        assert_eq!(version_of(&connection), 2);
    }

    #[test]
    fn leaves_the_version_alone_if_a_step_fails() {
        let connection = Connection::open_in_memory().unwrap();
        const BAD: Schema = Schema {
            application_id: 7,
            steps: &[STEP, "ALTER TABLE one ADD COLUMN b INTEGER; ALTER TABLE two ADD COLUMN b INTEGER"],
        };
        assert!(upgrade(&connection, &BAD).is_err());
        assert_eq!(version_of(&connection), 1);
        upgrade(&connection, &TWO).unwrap();
    }

    #[test]
    fn refuses_a_newer_schema_another_program_and_a_missing_column() {
        let connection = Connection::open_in_memory().unwrap();
        upgrade(&connection, &TWO).unwrap();
        let newer = upgrade(&connection, &ONE);
        assert!(matches!(newer, Err(Fault::Refused(DatabaseError::Newer { found: 2, known: 1, .. }))));
        let other = upgrade(&connection, &Schema { application_id: 8, ..TWO });
        assert!(matches!(other, Err(Fault::Refused(DatabaseError::Foreign { .. }))));
        connection.execute_batch("ALTER TABLE one DROP COLUMN b").unwrap();
        assert!(matches!(upgrade(&connection, &TWO), Err(Fault::Damage(Damage::Structure { .. }))));
    }
}
