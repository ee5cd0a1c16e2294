//! Everything out of a store at one instant, and into an empty one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::{Fault, deks, keks, wrappings};
use crate::record::{DekRecord, DekState, KekRecord, KekState, NewWrapping};
use crate::store::{DekQuery, Dumped};
use crate::store_error::{ConflictKind, StoreError};

/// DEKs that are held in memory at once.
const PAGE: usize = 64;

/// Gives everything that one transaction sees.
pub(super) fn dump(
    connection: &Connection,
    each: &mut dyn FnMut(Dumped) -> ControlFlow<()>,
) -> Result<(), Fault> {
    let keks = keks::all(connection)?;
    if each(Dumped::Keks(keks.iter().map(|(_, kek)| kek.clone()).collect())).is_break() {
        return Ok(());
    }
    let mut query = DekQuery { scope: None, state: None, after: None, limit: PAGE };
    loop {
        let page = deks::page(connection, &query)?;
        let is_last = page.len() < PAGE;
        for dek in page {
            query.after = Some(dek.version);
            let wrappings = wrappings::all_of(connection, &keks, dek.version)?;
            if each(Dumped::Dek(Box::new(dek), wrappings)).is_break() {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

pub(super) fn restore(
    connection: &Connection,
    all_keks: &[KekRecord],
    all_deks: &mut dyn Iterator<Item = Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
) -> Result<(), Fault> {
    let deks_there = !deks::none(connection)?;
    if deks_there || !keks::none(connection)? {
        return Err(ConflictKind::NotEmpty.into());
    }
    for state in [KekState::Active, KekState::Incoming] {
        if all_keks.iter().filter(|kek| kek.state == state).count() > 1 {
            return Err(ConflictKind::RotationUnderWay.into());
        }
    }
    for kek in all_keks {
        if keks::find(connection, kek.key_id())?.is_some() {
            return Err(ConflictKind::KekEnrolled.into());
        }
        keks::insert(connection, kek, kek.state)?;
    }
    let live: BTreeMap<_, _> = keks::all(connection)?
        .into_iter()
        .filter(|(_, kek)| kek.state.is_live())
        .map(|(id, kek)| (kek.key_id(), id))
        .collect();
    for next in all_deks {
        let (dek, boxes) = next?;
        if deks::state(connection, dek.version)?.is_some() {
            return Err(ConflictKind::VersionTaken.into());
        }
        if dek.state == DekState::Active && deks::active(connection, &dek.scope)?.is_some() {
            return Err(ConflictKind::ActiveChanged.into());
        }
        if dek.state == DekState::Destroyed && !boxes.is_empty() {
            return Err(ConflictKind::WrappingMisplaced.into());
        }
        deks::insert(connection, &dek)?;
        for wrapping in &boxes {
            let id = *live.get(&wrapping.kek).ok_or(ConflictKind::KekNotLive)?;
            if wrapping.version != dek.version || wrappings::exists(connection, id, dek.version)? {
                return Err(ConflictKind::WrappingMisplaced.into());
            }
            wrappings::insert(connection, id, wrapping, None)?;
        }
    }
    Ok(())
}
