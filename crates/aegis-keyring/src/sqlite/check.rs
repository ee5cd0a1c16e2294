//! Reads everything, and finds what is damaged.

use aegis_database::sqlite::check_structure;
use aegis_database::{Cell, Cells as _, Damage, count};
use rusqlite::Connection;

use super::{Fault, deks, keks};
use crate::record::DekState;
use crate::row;
use crate::store::DekQuery;

/// Rows that are held in memory at once.
const PAGE: usize = 256;

pub(super) fn everything(connection: &Connection) -> Result<(), Fault> {
    // Rows first: they can name what is damaged, where SQLite has only the name of a table.
    keks::all(connection)?;
    all_deks(connection)?;
    all_wrappings(connection)?;
    check_structure(connection)
}

fn all_deks(connection: &Connection) -> Result<(), Fault> {
    let mut query = DekQuery { scope: None, state: None, after: None, limit: PAGE };
    loop {
        let page = deks::page(connection, &query)?;
        query.after = page.last().map(|dek| dek.version);
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

/// Every wrapping has a KEK, a DEK that is not destroyed, and a box; every box belongs to one.
fn all_wrappings(connection: &Connection) -> Result<(), Fault> {
    let mut statement = connection.prepare(
        "SELECT w.dek, d.public_key, b.sealed, d.state, k.id, w.verified_at, k.state
         FROM wrappings AS w LEFT JOIN deks AS d ON d.ordinal = w.dek LEFT JOIN boxes AS b ON b.id = w.box
              LEFT JOIN keks AS k ON k.id = w.kek",
    )?;
    let mut rows = statement.query([])?;
    let mut wrappings = 0_u64;
    while let Some(found) = rows.next()? {
        let wrapping = row::wrapping(found)?;
        row::verified_at(found, 5, wrapping.version)?;
        if found.cell(3) == Cell::Text(DekState::Destroyed.as_str().to_owned()) {
            return Err(row::misplaced(wrapping.version, "dek", "the version of a destroyed DEK").into());
        }
        if found.cell(4) == Cell::Null {
            return Err(row::misplaced(wrapping.version, "kek", "the number of no KEK").into());
        }
        wrappings = wrappings.saturating_add(1);
    }
    let boxes = connection.query_row("SELECT count(*) FROM boxes", [], |found| Ok(count(found, 0)))??;
    if boxes == wrappings {
        Ok(())
    } else {
        let found = format!("{boxes} boxes for {wrappings} wrappings");
        Err(Damage::Structure { found }.into())
    }
}
