//! DEKs: found, inserted, changed, destroyed, counted.

use std::collections::BTreeSet;

use aegis_database::time_text;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::{Fault, keks, wrappings};
use crate::record::{DekRecord, DekState, KekState, NewDek, Usage};
use crate::row::{self, DEK_COLUMNS};
use crate::scope::Scope;
use crate::store::DekQuery;
use crate::store_error::ConflictKind;
use crate::version::DekVersion;

pub(super) fn find(connection: &Connection, version: DekVersion) -> Result<Option<DekRecord>, Fault> {
    let sql = format!("SELECT {DEK_COLUMNS} FROM deks WHERE ordinal = ?1");
    one(connection, &sql, params![version.to_ordinal()])
}

pub(super) fn active(connection: &Connection, scope: &Scope) -> Result<Option<DekRecord>, Fault> {
    let sql = format!("SELECT {DEK_COLUMNS} FROM deks WHERE scope = ?1 AND state = 'active'");
    one(connection, &sql, params![scope.as_str()])
}

fn one(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<DekRecord>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    Ok(rows.next()?.map(|found| row::dek(found)).transpose()?)
}

pub(super) fn page(connection: &Connection, query: &DekQuery) -> Result<Vec<DekRecord>, Fault> {
    let DekQuery { scope, state, after, limit } = query;
    let mut sql = format!("SELECT {DEK_COLUMNS} FROM deks WHERE ordinal > ?");
    let mut parameters = vec![Value::Integer(after.map_or(0, DekVersion::to_ordinal))];
    if let Some(scope) = scope {
        sql.push_str(" AND scope = ?");
        parameters.push(Value::Text(scope.as_str().to_owned()));
    }
    if let Some(state) = state {
        sql.push_str(" AND state = ?");
        parameters.push(Value::Text(state.as_str().to_owned()));
    }
    sql.push_str(" ORDER BY ordinal LIMIT ?");
    parameters.push(Value::Integer(rows_of(*limit)));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(parameters))?;
    let mut deks = Vec::new();
    while let Some(found) = rows.next()? {
        deks.push(row::dek(found)?);
    }
    Ok(deks)
}

/// A limit as SQLite counts.
pub(super) fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn last_of_day(connection: &Connection, of: DekVersion) -> Result<Option<DekVersion>, Fault> {
    let first = of.to_ordinal() - i64::from(of.number());
    let mut statement = connection.prepare_cached(
        "SELECT ordinal FROM deks WHERE ordinal > ?1 AND ordinal <= ?2 ORDER BY ordinal DESC LIMIT 1",
    )?;
    let mut rows = statement.query([first, first + i64::from(DekVersion::MAX_NUMBER)])?;
    Ok(rows.next()?.map(|found| row::version(found, 0, "deks")).transpose()?)
}

pub(super) fn insert_active(
    connection: &Connection,
    new: &NewDek,
    replaces: Option<DekVersion>,
) -> Result<(), Fault> {
    let NewDek { version, scope, public_key, created_at, wrappings: boxes } = new;
    if find(connection, *version)?.is_some() {
        return Err(ConflictKind::VersionTaken.into());
    }
    if active(connection, scope)?.map(|dek| dek.version) != replaces {
        return Err(ConflictKind::ActiveChanged.into());
    }
    let keks = keks::all(connection)?;
    let live: BTreeSet<_> =
        keks.iter().filter(|(_, kek)| kek.state.is_live()).map(|(_, kek)| kek.key_id()).collect();
    let wrapped_for: BTreeSet<_> = boxes.iter().map(|wrapping| wrapping.kek).collect();
    if live.is_empty() || live != wrapped_for {
        return Err(ConflictKind::LiveKeksChanged.into());
    }
    if boxes.len() != wrapped_for.len() || boxes.iter().any(|wrapping| wrapping.version != *version) {
        return Err(ConflictKind::WrappingMisplaced.into());
    }
    connection
        .prepare_cached(
            "UPDATE deks SET state = 'decrypt_only', changed_at = ?1 WHERE scope = ?2 AND state = 'active'",
        )?
        .execute(params![time_text(*created_at), scope.as_str()])?;
    insert(
        connection,
        &DekRecord {
            version: *version,
            scope: scope.clone(),
            state: DekState::Active,
            public_key: public_key.clone(),
            created_at: *created_at,
            changed_at: *created_at,
            destroy_after: None,
            usage: Usage::default(),
        },
    )?;
    for (id, kek) in keks {
        let verified_at = (kek.state != KekState::Incoming).then_some(*created_at);
        for wrapping in boxes.iter().filter(|wrapping| wrapping.kek == kek.key_id()) {
            wrappings::insert(connection, id, wrapping, verified_at)?;
        }
    }
    Ok(())
}

/// Stores a DEK as it is.
pub(super) fn insert(connection: &Connection, dek: &DekRecord) -> Result<(), Fault> {
    let DekRecord { version, scope, state, public_key, created_at, changed_at, destroy_after, usage } = dek;
    connection
        .prepare_cached(
            "INSERT INTO deks (ordinal, scope, state, messages, bytes, created_at, changed_at, destroy_after, public_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            version.to_ordinal(),
            scope.as_str(),
            state.as_str(),
            counter(usage.messages),
            counter(usage.bytes),
            time_text(*created_at),
            time_text(*changed_at),
            destroy_after.map(time_text),
            public_key.as_bytes().as_slice(),
        ])?;
    Ok(())
}

pub(super) fn change(
    connection: &Connection,
    from: &DekRecord,
    to: DekState,
    destroy_after: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Fault> {
    let found = find(connection, from.version)?.ok_or(ConflictKind::UnknownVersion)?;
    let is_fixed = |state| matches!(state, DekState::Active | DekState::Destroyed);
    let is_same = found.state == from.state && found.destroy_after == from.destroy_after;
    if !is_same || is_fixed(found.state) || is_fixed(to) {
        return Err(ConflictKind::DekChanged.into());
    }
    set_state(connection, from.version, to, destroy_after, now)
}

fn set_state(
    connection: &Connection,
    version: DekVersion,
    to: DekState,
    destroy_after: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Fault> {
    connection
        .prepare_cached("UPDATE deks SET state = ?1, changed_at = ?2, destroy_after = ?3 WHERE ordinal = ?4")?
        .execute(params![to.as_str(), time_text(now), destroy_after.map(time_text), version.to_ordinal()])?;
    Ok(())
}

pub(super) fn destroy(connection: &Connection, version: DekVersion, now: Timestamp) -> Result<(), Fault> {
    let found = find(connection, version)?.ok_or(ConflictKind::UnknownVersion)?;
    let is_due = found.state == DekState::Retired && found.destroy_after.is_some_and(|due| due <= now);
    if !is_due {
        return Err(ConflictKind::NotDue.into());
    }
    wrappings::erase_all_of(connection, version)?;
    set_state(connection, version, DekState::Destroyed, found.destroy_after, now)
}

pub(super) fn add_usage(connection: &Connection, used: &[(DekVersion, Usage)]) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "UPDATE deks SET messages = iif(messages > 9223372036854775807 - ?2, 9223372036854775807, messages + ?2),
                         bytes = iif(bytes > 9223372036854775807 - ?3, 9223372036854775807, bytes + ?3)
         WHERE ordinal = ?1",
    )?;
    for (version, usage) in used {
        let changed =
            statement.execute([version.to_ordinal(), counter(usage.messages), counter(usage.bytes)])?;
        if changed != 1 {
            return Err(ConflictKind::UnknownVersion.into());
        }
    }
    Ok(())
}

/// A counter as a database keeps it.
fn counter(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The state of a DEK, without reading all of it.
pub(super) fn state(connection: &Connection, version: DekVersion) -> Result<Option<String>, Fault> {
    let mut statement = connection.prepare_cached("SELECT state FROM deks WHERE ordinal = ?1")?;
    Ok(statement.query_row([version.to_ordinal()], |row| row.get(0)).optional()?)
}

/// Whether there is no DEK at all.
pub(super) fn none(connection: &Connection) -> Result<bool, Fault> {
    Ok(!connection.prepare_cached("SELECT 1 FROM deks")?.exists([])?)
}
