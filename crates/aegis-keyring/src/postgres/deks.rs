//! DEKs: found, inserted, changed, destroyed, counted.

use std::collections::{BTreeMap, BTreeSet};

use aegis_database::postgres::Session;
use aegis_database::time_text;
use jiff::Timestamp;
use postgres::types::ToSql;

use super::{Fault, keks, wrappings};
use crate::record::{DekRecord, DekState, KekState, NewDek, Usage};
use crate::row::{self, DEK_COLUMNS};
use crate::scope::Scope;
use crate::store::DekQuery;
use crate::store_error::ConflictKind;
use crate::version::DekVersion;

pub(super) fn find(session: &mut Session, version: DekVersion) -> Result<Option<DekRecord>, Fault> {
    let sql = format!("SELECT {DEK_COLUMNS} FROM aegis.deks WHERE ordinal = $1");
    let found = session.first(&sql, &[&version.to_ordinal()])?;
    Ok(found.map(|found| row::dek(&found)).transpose()?)
}

pub(super) fn active(session: &mut Session, scope: &Scope) -> Result<Option<DekRecord>, Fault> {
    let sql = format!("SELECT {DEK_COLUMNS} FROM aegis.deks WHERE scope = $1 AND state = 'active'");
    let found = session.first(&sql, &[&scope.as_str()])?;
    Ok(found.map(|found| row::dek(&found)).transpose()?)
}

pub(super) fn page(session: &mut Session, query: &DekQuery) -> Result<Vec<DekRecord>, Fault> {
    let DekQuery { scope, state, after, limit } = query;
    let (after, limit) = (after.map_or(0, DekVersion::to_ordinal), rows_of(*limit));
    let scope = scope.as_ref().map(Scope::as_str);
    let state = state.map(DekState::as_str);
    let mut sql = format!("SELECT {DEK_COLUMNS} FROM aegis.deks WHERE ordinal > $1");
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&after, &limit];
    if let Some(scope) = &scope {
        parameters.push(scope);
        sql.push_str(&format!(" AND scope = ${}", parameters.len()));
    }
    if let Some(state) = &state {
        parameters.push(state);
        sql.push_str(&format!(" AND state = ${}", parameters.len()));
    }
    sql.push_str(" ORDER BY ordinal LIMIT $2");
    session.query(&sql, &parameters)?.iter().map(|found| Ok(row::dek(found)?)).collect()
}

/// A limit as PostgreSQL counts.
pub(super) fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn last_of_day(session: &mut Session, of: DekVersion) -> Result<Option<DekVersion>, Fault> {
    let first = of.to_ordinal() - i64::from(of.number());
    let found = session.first(
        "SELECT ordinal FROM aegis.deks WHERE ordinal > $1 AND ordinal <= $2 ORDER BY ordinal DESC LIMIT 1",
        &[&first, &(first + i64::from(DekVersion::MAX_NUMBER))],
    )?;
    Ok(found.map(|found| row::version(&found, 0, "deks")).transpose()?)
}

pub(super) fn insert_active(
    session: &mut Session,
    new: &NewDek,
    replaces: Option<DekVersion>,
) -> Result<(), Fault> {
    let NewDek { version, scope, public_key, created_at, wrappings: boxes } = new;
    if find(session, *version)?.is_some() {
        return Err(ConflictKind::VersionTaken.into());
    }
    if active(session, scope)?.map(|dek| dek.version) != replaces {
        return Err(ConflictKind::ActiveChanged.into());
    }
    let keks = keks::all(session)?;
    let live: BTreeSet<_> =
        keks.iter().filter(|(_, kek)| kek.state.is_live()).map(|(_, kek)| kek.key_id()).collect();
    let wrapped_for: BTreeSet<_> = boxes.iter().map(|wrapping| wrapping.kek).collect();
    if live.is_empty() || live != wrapped_for {
        return Err(ConflictKind::LiveKeksChanged.into());
    }
    if boxes.len() != wrapped_for.len() || boxes.iter().any(|wrapping| wrapping.version != *version) {
        return Err(ConflictKind::WrappingMisplaced.into());
    }
    session.execute(
        "UPDATE aegis.deks SET state = 'decrypt_only', changed_at = $1 WHERE scope = $2 AND state = 'active'",
        &[&time_text(*created_at), &scope.as_str()],
    )?;
    insert(
        session,
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
            wrappings::insert(session, id, wrapping, verified_at)?;
        }
    }
    Ok(())
}

/// Stores a DEK as it is.
pub(super) fn insert(session: &mut Session, dek: &DekRecord) -> Result<(), Fault> {
    let DekRecord { version, scope, state, public_key, created_at, changed_at, destroy_after, usage } = dek;
    session.execute(
        "INSERT INTO aegis.deks
             (ordinal, scope, state, messages, bytes, created_at, changed_at, destroy_after, public_key)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        &[
            &version.to_ordinal(),
            &scope.as_str(),
            &state.as_str(),
            &counter(usage.messages),
            &counter(usage.bytes),
            &time_text(*created_at),
            &time_text(*changed_at),
            &destroy_after.map(time_text),
            &public_key.as_bytes().as_slice(),
        ],
    )?;
    Ok(())
}

pub(super) fn change(
    session: &mut Session,
    from: &DekRecord,
    to: DekState,
    destroy_after: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Fault> {
    let found = find(session, from.version)?.ok_or(ConflictKind::UnknownVersion)?;
    let is_fixed = |state| matches!(state, DekState::Active | DekState::Destroyed);
    let is_same = found.state == from.state && found.destroy_after == from.destroy_after;
    if !is_same || is_fixed(found.state) || is_fixed(to) {
        return Err(ConflictKind::DekChanged.into());
    }
    set_state(session, from.version, to, destroy_after, now)
}

fn set_state(
    session: &mut Session,
    version: DekVersion,
    to: DekState,
    destroy_after: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Fault> {
    session.execute(
        "UPDATE aegis.deks SET state = $1, changed_at = $2, destroy_after = $3 WHERE ordinal = $4",
        &[&to.as_str(), &time_text(now), &destroy_after.map(time_text), &version.to_ordinal()],
    )?;
    Ok(())
}

pub(super) fn destroy(session: &mut Session, version: DekVersion, now: Timestamp) -> Result<(), Fault> {
    let found = find(session, version)?.ok_or(ConflictKind::UnknownVersion)?;
    let is_due = found.state == DekState::Retired && found.destroy_after.is_some_and(|due| due <= now);
    if !is_due {
        return Err(ConflictKind::NotDue.into());
    }
    session.execute("DELETE FROM aegis.wrappings WHERE dek = $1", &[&version.to_ordinal()])?;
    set_state(session, version, DekState::Destroyed, found.destroy_after, now)
}

pub(super) fn add_usage(session: &mut Session, used: &[(DekVersion, Usage)]) -> Result<(), Fault> {
    // One statement changes a row once, so what is said twice of a version is added up before.
    let mut sums = BTreeMap::<i64, Usage>::new();
    for (version, Usage { messages, bytes }) in used {
        let sum = sums.entry(version.to_ordinal()).or_default();
        sum.messages = sum.messages.saturating_add(*messages);
        sum.bytes = sum.bytes.saturating_add(*bytes);
    }
    let ordinals: Vec<i64> = sums.keys().copied().collect();
    let messages: Vec<i64> = sums.values().map(|usage| counter(usage.messages)).collect();
    let bytes: Vec<i64> = sums.values().map(|usage| counter(usage.bytes)).collect();
    let changed = session.execute(
        "UPDATE aegis.deks AS d
         SET messages = least(d.messages::numeric + u.messages, 9223372036854775807)::bigint,
             bytes = least(d.bytes::numeric + u.bytes, 9223372036854775807)::bigint
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS u (ordinal, messages, bytes)
         WHERE d.ordinal = u.ordinal",
        &[&ordinals, &messages, &bytes],
    )?;
    if changed == ordinals.len() as u64 { Ok(()) } else { Err(ConflictKind::UnknownVersion.into()) }
}

/// A counter as a database keeps it.
fn counter(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
