//! All of a keyring: out, in, and checked.

use std::collections::BTreeMap;

use aegis_crypto::KeyId;
use aegis_database::postgres::Session;
use aegis_database::{Cell, Cells as _};

use super::{Fault, SCHEMA, deks, keks, wrappings};
use crate::record::{DekRecord, DekState, KekRecord, KekState, NewWrapping};
use crate::row;
use crate::store::{DekQuery, Dumped};
use crate::store_error::ConflictKind;
use crate::version::DekVersion;

/// DEKs that are held in memory at once.
const PAGE: usize = 64;

/// Gives everything that one transaction sees, until `give` says that nobody takes it any more.
pub(super) fn dump(session: &mut Session, give: &mut dyn FnMut(Dumped) -> bool) -> Result<(), Fault> {
    let keks = keks::all(session)?;
    if !give(Dumped::Keks(keks.iter().map(|(_, kek)| kek.clone()).collect())) {
        return Ok(());
    }
    let mut query = DekQuery { scope: None, state: None, after: None, limit: PAGE };
    loop {
        let page = deks::page(session, &query)?;
        let is_last = page.len() < PAGE;
        for dek in page {
            query.after = Some(dek.version);
            let wrappings = wrappings::all_of(session, &keks, dek.version)?;
            if !give(Dumped::Dek(Box::new(dek), wrappings)) {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// The KEKs of a keyring that is being restored; gives the numbers of those that are live.
pub(super) fn restore_keks(
    session: &mut Session,
    all_keks: &[KekRecord],
) -> Result<BTreeMap<KeyId, i64>, Fault> {
    let any = session.first("SELECT 1 FROM aegis.keks UNION ALL SELECT 1 FROM aegis.deks LIMIT 1", &[])?;
    if any.is_some() {
        return Err(ConflictKind::NotEmpty.into());
    }
    for state in [KekState::Active, KekState::Incoming] {
        if all_keks.iter().filter(|kek| kek.state == state).count() > 1 {
            return Err(ConflictKind::RotationUnderWay.into());
        }
    }
    for (nth, kek) in all_keks.iter().enumerate() {
        if all_keks.iter().take(nth).any(|other| other.key_id() == kek.key_id()) {
            return Err(ConflictKind::KekEnrolled.into());
        }
        keks::insert(session, kek, kek.state)?;
    }
    let live = keks::all(session)?.into_iter().filter(|(_, kek)| kek.state.is_live());
    Ok(live.map(|(id, kek)| (kek.key_id(), id)).collect())
}

/// A DEK of a keyring that is being restored.
pub(super) fn restore_dek(
    session: &mut Session,
    live: &BTreeMap<KeyId, i64>,
    dek: &DekRecord,
    boxes: &[NewWrapping],
) -> Result<(), Fault> {
    if dek.state == DekState::Destroyed && !boxes.is_empty() {
        return Err(ConflictKind::WrappingMisplaced.into());
    }
    // Not asked for before: one question less for each of many DEKs. After a refusal nothing of it stays.
    deks::insert(session, dek).map_err(|fault| match fault.broken_constraint() {
        Some("deks_pkey") => ConflictKind::VersionTaken.into(),
        Some("one_active_dek") => ConflictKind::ActiveChanged.into(),
        _ => fault,
    })?;
    for (nth, wrapping) in boxes.iter().enumerate() {
        let id = *live.get(&wrapping.kek).ok_or(ConflictKind::KekNotLive)?;
        let is_twice = boxes.iter().take(nth).any(|other| other.kek == wrapping.kek);
        if wrapping.version != dek.version || is_twice {
            return Err(ConflictKind::WrappingMisplaced.into());
        }
        wrappings::insert(session, id, wrapping, None)?;
    }
    Ok(())
}

/// Reads everything, and finds what is damaged.
pub(super) fn check(session: &mut Session) -> Result<(), Fault> {
    SCHEMA.check(session)?;
    for (id, _) in keks::all(session)? {
        all_wrappings(session, id)?;
    }
    let mut query = DekQuery { scope: None, state: None, after: None, limit: PAGE };
    loop {
        let page = deks::page(session, &query)?;
        query.after = page.last().map(|dek| dek.version);
        if page.len() < PAGE {
            break;
        }
    }
    // The server keeps these from being there, unless somebody took its constraints away.
    let orphan = session.first(
        "SELECT w.dek FROM aegis.wrappings AS w LEFT JOIN aegis.keks AS k ON k.id = w.kek WHERE k.id IS NULL LIMIT 1",
        &[],
    )?;
    match orphan {
        None => Ok(()),
        Some(found) => {
            let version = row::version(&found, 0, "wrappings")?;
            Err(row::misplaced(version, "kek", "the number of no KEK").into())
        }
    }
}

fn all_wrappings(session: &mut Session, kek: i64) -> Result<(), Fault> {
    let mut after = 0_i64;
    loop {
        let rows = session.query(
            "SELECT w.dek, d.public_key, w.sealed, d.state, w.verified_at
             FROM aegis.wrappings AS w LEFT JOIN aegis.deks AS d ON d.ordinal = w.dek
             WHERE w.kek = $1 AND w.dek > $2 ORDER BY w.dek LIMIT 64",
            &[&kek, &after],
        )?;
        for found in &rows {
            let version = row::wrapping(found)?.version;
            row::verified_at(found, 4, version)?;
            if found.cell(3) == Cell::Text(DekState::Destroyed.as_str().to_owned()) {
                return Err(row::misplaced(version, "dek", "the version of a destroyed DEK").into());
            }
            after = DekVersion::to_ordinal(version);
        }
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}
