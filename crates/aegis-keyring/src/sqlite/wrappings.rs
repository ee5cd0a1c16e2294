//! Wrappings: listed, added, marked, erased. The box of each lies in a table of its own.

use std::collections::BTreeMap;

use aegis_crypto::KeyId;
use aegis_database::{count, time_text};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::deks::rows_of;
use super::{Fault, deks, keks};
use crate::record::{DekState, KekRecord, KekState, NewWrapping, StoredWrapping, WrapProgress};
use crate::row;
use crate::store::MAX_SEALED_LEN;
use crate::store_error::{ConflictKind, StoreError};
use crate::version::DekVersion;

pub(super) fn find(
    connection: &Connection,
    version: DekVersion,
    kek: KeyId,
) -> Result<Option<Vec<u8>>, Fault> {
    let Some((id, _)) = keks::find(connection, kek)? else { return Ok(None) };
    let mut statement = connection.prepare_cached(
        "SELECT b.sealed FROM wrappings AS w LEFT JOIN boxes AS b ON b.id = w.box WHERE w.kek = ?1 AND w.dek = ?2",
    )?;
    let mut rows = statement.query([id, version.to_ordinal()])?;
    Ok(rows.next()?.map(|found| row::sealed(found, 0, version)).transpose()?)
}

pub(super) fn to_make(
    connection: &Connection,
    from: KeyId,
    to: KeyId,
    after: Option<DekVersion>,
    limit: usize,
) -> Result<Vec<StoredWrapping>, Fault> {
    let Some((from, _)) = keks::find(connection, from)? else { return Ok(Vec::new()) };
    // A KEK that was never enrolled has no wrapping, and so has the number 0.
    let to = keks::find(connection, to)?.map_or(0, |(id, _)| id);
    list(
        connection,
        "SELECT w.dek, d.public_key, b.sealed
         FROM wrappings AS w LEFT JOIN deks AS d ON d.ordinal = w.dek LEFT JOIN boxes AS b ON b.id = w.box
         WHERE w.kek = ?1 AND w.dek > ?2 AND d.state IS NOT 'destroyed'
           AND NOT EXISTS (SELECT 1 FROM wrappings AS made WHERE made.kek = ?4 AND made.dek = w.dek)
         ORDER BY w.dek LIMIT ?3",
        params![from, after.map_or(0, DekVersion::to_ordinal), rows_of(limit), to],
    )
}

pub(super) fn under(
    connection: &Connection,
    kek: KeyId,
    unverified_only: bool,
    after: Option<DekVersion>,
    limit: usize,
) -> Result<Vec<StoredWrapping>, Fault> {
    let Some((id, _)) = keks::find(connection, kek)? else { return Ok(Vec::new()) };
    let sql = if unverified_only {
        "SELECT w.dek, d.public_key, b.sealed
         FROM wrappings AS w LEFT JOIN deks AS d ON d.ordinal = w.dek LEFT JOIN boxes AS b ON b.id = w.box
         WHERE w.kek = ?1 AND w.dek > ?2 AND w.verified_at IS NULL AND d.state IS NOT 'destroyed'
         ORDER BY w.dek LIMIT ?3"
    } else {
        "SELECT w.dek, d.public_key, b.sealed
         FROM wrappings AS w LEFT JOIN deks AS d ON d.ordinal = w.dek LEFT JOIN boxes AS b ON b.id = w.box
         WHERE w.kek = ?1 AND w.dek > ?2 AND d.state IS NOT 'destroyed'
         ORDER BY w.dek LIMIT ?3"
    };
    list(connection, sql, params![id, after.map_or(0, DekVersion::to_ordinal), rows_of(limit)])
}

fn list(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<StoredWrapping>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut wrappings = Vec::new();
    while let Some(found) = rows.next()? {
        wrappings.push(row::wrapping(found)?);
    }
    Ok(wrappings)
}

/// Every wrapping of a DEK, in the order of their KEKs.
pub(super) fn all_of(
    connection: &Connection,
    keks: &[(i64, KekRecord)],
    version: DekVersion,
) -> Result<Vec<NewWrapping>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT b.sealed FROM wrappings AS w LEFT JOIN boxes AS b ON b.id = w.box WHERE w.kek = ?1 AND w.dek = ?2",
    )?;
    let mut wrappings = Vec::new();
    for (id, kek) in keks {
        let mut rows = statement.query([*id, version.to_ordinal()])?;
        if let Some(found) = rows.next()? {
            let sealed = row::sealed(found, 0, version)?;
            wrappings.push(NewWrapping { version, kek: kek.key_id(), sealed });
        }
    }
    Ok(wrappings)
}

pub(super) fn add(connection: &Connection, wrappings: &[NewWrapping]) -> Result<(), Fault> {
    // A batch names one KEK, or few: each is looked up once.
    let mut keks = BTreeMap::new();
    for wrapping in wrappings {
        let id = match keks.get(&wrapping.kek) {
            Some(id) => *id,
            None => {
                let id = keks::live(connection, wrapping.kek)?;
                keks.insert(wrapping.kek, id);
                id
            }
        };
        match deks::state(connection, wrapping.version)? {
            None => return Err(ConflictKind::UnknownVersion.into()),
            Some(state) if state == DekState::Destroyed.as_str() => {}
            Some(_) if exists(connection, id, wrapping.version)? => {}
            Some(_) => insert(connection, id, wrapping, None)?,
        }
    }
    Ok(())
}

pub(super) fn exists(connection: &Connection, kek: i64, version: DekVersion) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM wrappings WHERE kek = ?1 AND dek = ?2")?;
    Ok(statement.exists([kek, version.to_ordinal()])?)
}

/// Stores a wrapping that does not exist yet.
pub(super) fn insert(
    connection: &Connection,
    kek: i64,
    wrapping: &NewWrapping,
    verified_at: Option<Timestamp>,
) -> Result<(), Fault> {
    let NewWrapping { version, kek: _, sealed } = wrapping;
    if !(1..=MAX_SEALED_LEN).contains(&sealed.len()) {
        return Err(StoreError::BoxLength { version: *version, len: sealed.len() }.into());
    }
    connection.prepare_cached("INSERT INTO boxes (sealed) VALUES (?1)")?.execute([sealed])?;
    connection
        .prepare_cached("INSERT INTO wrappings (kek, dek, box, verified_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            kek,
            version.to_ordinal(),
            connection.last_insert_rowid(),
            verified_at.map(time_text)
        ])?;
    Ok(())
}

pub(super) fn mark_verified(
    connection: &Connection,
    kek: KeyId,
    good: &[StoredWrapping],
    now: Timestamp,
) -> Result<(), Fault> {
    let Some((id, _)) = keks::find(connection, kek)? else { return Ok(()) };
    let now = time_text(now);
    let mut mark = connection.prepare_cached(
        "UPDATE wrappings SET verified_at = ?3 WHERE kek = ?1 AND dek = ?2 AND verified_at IS NULL
           AND EXISTS (SELECT 1 FROM boxes AS b WHERE b.id = wrappings.box AND b.sealed = ?4)",
    )?;
    for wrapping in good {
        mark.execute(params![id, wrapping.version.to_ordinal(), now, wrapping.sealed])?;
    }
    Ok(())
}

pub(super) fn drop_one(connection: &Connection, version: DekVersion, kek: KeyId) -> Result<(), Fault> {
    let id = keks::in_state(connection, kek, KekState::Incoming, ConflictKind::KekNotIncoming)?;
    erase(connection, id, version)
}

/// Erases the wrappings of a DEK under every KEK.
pub(super) fn erase_all_of(connection: &Connection, version: DekVersion) -> Result<(), Fault> {
    for (id, _) in keks::all(connection)? {
        erase(connection, id, version)?;
    }
    Ok(())
}

fn erase(connection: &Connection, kek: i64, version: DekVersion) -> Result<(), Fault> {
    let mut erase =
        connection.prepare_cached("DELETE FROM wrappings WHERE kek = ?1 AND dek = ?2 RETURNING box")?;
    let box_id: Option<i64> = erase.query_row([kek, version.to_ordinal()], |row| row.get(0)).optional()?;
    if let Some(box_id) = box_id {
        // Overwritten where it lies before its place is given back.
        connection
            .prepare_cached("UPDATE boxes SET sealed = zeroblob(length(sealed)) WHERE id = ?1")?
            .execute([box_id])?;
        connection.prepare_cached("DELETE FROM boxes WHERE id = ?1")?.execute([box_id])?;
    }
    Ok(())
}

pub(super) fn progress(connection: &Connection, kek: KeyId) -> Result<WrapProgress, Fault> {
    let id = keks::find(connection, kek)?.map_or(0, |(id, _)| id);
    // Each is counted in an index. Destroyed DEKs have no wrapping.
    let mut statement = connection.prepare_cached(
        "SELECT (SELECT count(*) FROM deks WHERE state IN ('active', 'decrypt_only', 'retired')),
                (SELECT count(*) FROM wrappings WHERE kek = ?1),
                (SELECT count(*) FROM wrappings WHERE kek = ?1 AND verified_at IS NULL)",
    )?;
    let counts =
        statement.query_row([id], |found| Ok((count(found, 0), count(found, 1), count(found, 2))))?;
    let (deks, wrapped, unverified) = (counts.0?, counts.1?, counts.2?);
    Ok(WrapProgress { deks, wrapped, verified: wrapped.saturating_sub(unverified) })
}
