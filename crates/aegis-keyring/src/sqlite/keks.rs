//! KEKs: enrolled, switched to, given up, retired.

use aegis_crypto::KeyId;
use aegis_database::{count, time_text};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::Fault;
use crate::record::{KekRecord, KekState};
use crate::row::{self, KEK_COLUMNS, key_bytes};
use crate::store_error::{ConflictKind, StoreError};

/// Every KEK with its number, in the order of enrolment.
pub(super) fn all(connection: &Connection) -> Result<Vec<(i64, KekRecord)>, Fault> {
    let mut statement = connection.prepare_cached(&format!("SELECT {KEK_COLUMNS} FROM keks ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut keks = Vec::new();
    while let Some(found) = rows.next()? {
        keks.push(row::kek(found)?);
    }
    Ok(keks)
}

/// The number and the state of a KEK.
pub(super) fn find(connection: &Connection, kek: KeyId) -> Result<Option<(i64, KekState)>, Fault> {
    let found = all(connection)?.into_iter().find(|(_, record)| record.key_id() == kek);
    Ok(found.map(|(id, record)| (id, record.state)))
}

/// The number of a KEK that is in use.
pub(super) fn live(connection: &Connection, kek: KeyId) -> Result<i64, Fault> {
    match find(connection, kek)? {
        Some((id, state)) if state.is_live() => Ok(id),
        _ => Err(ConflictKind::KekNotLive.into()),
    }
}

pub(super) fn enrol_first(connection: &Connection, kek: &KekRecord) -> Result<(), Fault> {
    if !all(connection)?.is_empty() {
        return Err(ConflictKind::KekEnrolled.into());
    }
    insert(connection, kek, KekState::Active)
}

pub(super) fn enrol_incoming(connection: &Connection, kek: &KekRecord, replaces: KeyId) -> Result<(), Fault> {
    let keks = all(connection)?;
    let has = |state| keks.iter().any(|(_, record)| record.state == state);
    if has(KekState::Incoming) {
        return Err(ConflictKind::RotationUnderWay.into());
    }
    if !has(KekState::Active) {
        return Err(ConflictKind::NoActiveKek.into());
    }
    let is_active =
        |(_, record): &(i64, KekRecord)| record.state == KekState::Active && record.key_id() == replaces;
    match keks.iter().find(|(_, record)| record.key_id() == kek.key_id()) {
        Some((_, record)) if record.state != KekState::Grace => Err(ConflictKind::KekEnrolled.into()),
        _ if !keks.iter().any(is_active) => Err(ConflictKind::ActiveKekChanged.into()),
        // That it has no time of grace says that it did not come back from grace.
        None => insert(connection, &KekRecord { grace_until: None, ..kek.clone() }, KekState::Incoming),
        Some((id, _)) => {
            connection.execute("UPDATE wrappings SET verified_at = NULL WHERE kek = ?1", [id])?;
            connection.execute(
                "UPDATE keks SET state = 'incoming', changed_at = ?1 WHERE id = ?2",
                params![time_text(kek.changed_at), id],
            )?;
            Ok(())
        }
    }
}

/// Stores a KEK in a state.
pub(super) fn insert(connection: &Connection, kek: &KekRecord, state: KekState) -> Result<(), Fault> {
    let KekRecord { public_key, provider, state: _, created_at, changed_at, grace_until } = kek;
    connection
        .prepare_cached(
            "INSERT INTO keks (key_id, public_key, provider, state, created_at, changed_at, grace_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            key_bytes(&kek.key_id()),
            public_key.as_bytes().as_slice(),
            provider.as_str(),
            state.as_str(),
            time_text(*created_at),
            time_text(*changed_at),
            grace_until.map(time_text),
        ])?;
    Ok(())
}

pub(super) fn switch(
    connection: &Connection,
    incoming: KeyId,
    now: Timestamp,
    grace_until: Timestamp,
) -> Result<(), Fault> {
    let id = in_state(connection, incoming, KekState::Incoming, ConflictKind::KekNotIncoming)?;
    all_verified(connection, incoming, id)?;
    // The one before goes first: at no instant are two active, which the index would not allow.
    connection.execute(
        "UPDATE keks SET state = 'grace', changed_at = ?1, grace_until = ?2 WHERE state = 'active'",
        params![time_text(now), time_text(grace_until)],
    )?;
    connection.execute(
        "UPDATE keks SET state = 'active', changed_at = ?1, grace_until = NULL WHERE id = ?2",
        params![time_text(now), id],
    )?;
    Ok(())
}

pub(super) fn abandon(connection: &Connection, incoming: KeyId) -> Result<(), Fault> {
    let id = in_state(connection, incoming, KekState::Incoming, ConflictKind::KekNotIncoming)?;
    let back = connection
        .execute("UPDATE keks SET state = 'grace' WHERE id = ?1 AND grace_until IS NOT NULL", [id])?;
    if back == 0 {
        erase_wrappings(connection, id)?;
        connection.execute("DELETE FROM keks WHERE id = ?1", [id])?;
    }
    Ok(())
}

pub(super) fn retire(connection: &Connection, kek: KeyId, now: Timestamp) -> Result<(), Fault> {
    let id = in_state(connection, kek, KekState::Grace, ConflictKind::KekNotInGrace)?;
    let active = all(connection)?.into_iter().find(|(_, record)| record.state == KekState::Active);
    let (active_id, active) = active.ok_or(ConflictKind::NoActiveKek)?;
    all_verified(connection, active.key_id(), active_id)?;
    erase_wrappings(connection, id)?;
    connection.execute(
        "UPDATE keks SET state = 'retired', changed_at = ?1 WHERE id = ?2",
        params![time_text(now), id],
    )?;
    Ok(())
}

/// The number of a KEK that has to be in a state.
pub(super) fn in_state(
    connection: &Connection,
    kek: KeyId,
    state: KekState,
    otherwise: ConflictKind,
) -> Result<i64, Fault> {
    match find(connection, kek)? {
        Some((id, found)) if found == state => Ok(id),
        _ => Err(otherwise.into()),
    }
}

/// Refuses unless every DEK that is not destroyed has a verified wrapping. Asks for each DEK, so that no counter that
/// went wrong can answer yes.
fn all_verified(connection: &Connection, kek: KeyId, id: i64) -> Result<(), Fault> {
    let (deks, missing) = connection.query_row(
        "SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (
             SELECT 1 FROM wrappings AS w JOIN boxes AS b ON b.id = w.box
             WHERE w.kek = ?1 AND w.dek = d.ordinal AND w.verified_at IS NOT NULL))
         FROM deks AS d WHERE d.state <> 'destroyed'",
        [id],
        |found| Ok((count(found, 0), count(found, 1))),
    )?;
    let (deks, missing) = (deks?, missing?);
    if missing == 0 { Ok(()) } else { Err(StoreError::NotVerified { kek, missing, deks }.into()) }
}

fn erase_wrappings(connection: &Connection, id: i64) -> Result<(), Fault> {
    connection.execute("DELETE FROM boxes WHERE id IN (SELECT box FROM wrappings WHERE kek = ?1)", [id])?;
    connection.execute("DELETE FROM wrappings WHERE kek = ?1", [id])?;
    Ok(())
}

/// Whether there is no KEK at all.
pub(super) fn none(connection: &Connection) -> Result<bool, Fault> {
    Ok(!connection.prepare_cached("SELECT 1 FROM keks")?.exists([])?)
}
