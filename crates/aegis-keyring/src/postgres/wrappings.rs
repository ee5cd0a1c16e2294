//! Wrappings: listed, added, marked, erased.

use std::collections::{BTreeMap, BTreeSet};

use aegis_crypto::KeyId;
use aegis_database::postgres::Session;
use aegis_database::{count, no_count, time_text};
use jiff::Timestamp;

use super::deks::rows_of;
use super::{Fault, keks};
use crate::record::{KekRecord, KekState, NewWrapping, StoredWrapping, WrapProgress};
use crate::row::{self, key_bytes};
use crate::store::MAX_SEALED_LEN;
use crate::store_error::{ConflictKind, StoreError};
use crate::version::DekVersion;

/// Wrappings in one statement: a message of at most some megabytes.
const BATCH: usize = 512;

pub(super) fn find(session: &mut Session, version: DekVersion, kek: KeyId) -> Result<Option<Vec<u8>>, Fault> {
    let found = session.first(
        "SELECT w.sealed FROM aegis.wrappings AS w JOIN aegis.keks AS k ON k.id = w.kek
         WHERE k.key_id = $1 AND w.dek = $2",
        &[&key_bytes(&kek), &version.to_ordinal()],
    )?;
    Ok(found.map(|found| row::sealed(&found, 0, version)).transpose()?)
}

pub(super) fn to_make(
    session: &mut Session,
    from: KeyId,
    to: KeyId,
    after: Option<DekVersion>,
    limit: usize,
) -> Result<Vec<StoredWrapping>, Fault> {
    let rows = session.query(
        "SELECT w.dek, d.public_key, w.sealed
         FROM aegis.wrappings AS w LEFT JOIN aegis.deks AS d ON d.ordinal = w.dek
         WHERE w.kek = (SELECT id FROM aegis.keks WHERE key_id = $1) AND w.dek > $3
           AND d.state IS DISTINCT FROM 'destroyed'
           AND NOT EXISTS (SELECT 1 FROM aegis.wrappings AS made
                           WHERE made.kek = (SELECT id FROM aegis.keks WHERE key_id = $2) AND made.dek = w.dek)
         ORDER BY w.dek LIMIT $4",
        &[
            &key_bytes(&from),
            &key_bytes(&to),
            &after.map_or(0, DekVersion::to_ordinal),
            &rows_of(limit),
        ],
    )?;
    rows.iter().map(|found| Ok(row::wrapping(found)?)).collect()
}

pub(super) fn under(
    session: &mut Session,
    kek: KeyId,
    unverified_only: bool,
    after: Option<DekVersion>,
    limit: usize,
) -> Result<Vec<StoredWrapping>, Fault> {
    let unverified = if unverified_only { "AND w.verified_at IS NULL" } else { "" };
    let rows = session.query(
        &format!(
            "SELECT w.dek, d.public_key, w.sealed
             FROM aegis.wrappings AS w LEFT JOIN aegis.deks AS d ON d.ordinal = w.dek
             WHERE w.kek = (SELECT id FROM aegis.keks WHERE key_id = $1) AND w.dek > $2 {unverified}
               AND d.state IS DISTINCT FROM 'destroyed'
             ORDER BY w.dek LIMIT $3"
        ),
        &[&key_bytes(&kek), &after.map_or(0, DekVersion::to_ordinal), &rows_of(limit)],
    )?;
    rows.iter().map(|found| Ok(row::wrapping(found)?)).collect()
}

/// Every wrapping of a DEK, in the order of their KEKs.
pub(super) fn all_of(
    session: &mut Session,
    keks: &[(i64, KekRecord)],
    version: DekVersion,
) -> Result<Vec<NewWrapping>, Fault> {
    let rows = session.query(
        "SELECT kek, sealed FROM aegis.wrappings WHERE dek = $1 ORDER BY kek",
        &[&version.to_ordinal()],
    )?;
    rows.iter()
        .map(|found| {
            let id = count(found, 0)?;
            let kek = keks.iter().find(|(kek, _)| u64::try_from(*kek) == Ok(id));
            let (_, kek) = kek.ok_or_else(|| row::misplaced(version, "kek", "the number of no KEK"))?;
            Ok(NewWrapping { version, kek: kek.key_id(), sealed: row::sealed(found, 1, version)? })
        })
        .collect()
}

pub(super) fn add(session: &mut Session, wrappings: &[NewWrapping]) -> Result<(), Fault> {
    let live: BTreeMap<KeyId, i64> = keks::all(session)?
        .into_iter()
        .filter(|(_, kek)| kek.state.is_live())
        .map(|(id, kek)| (kek.key_id(), id))
        .collect();
    for batch in wrappings.chunks(BATCH) {
        let mut ids = Vec::with_capacity(batch.len());
        for wrapping in batch {
            ids.push(*live.get(&wrapping.kek).ok_or(ConflictKind::KekNotLive)?);
            check_len(wrapping)?;
        }
        let ordinals: Vec<i64> = batch.iter().map(|wrapping| wrapping.version.to_ordinal()).collect();
        let sealed: Vec<&[u8]> = batch.iter().map(|wrapping| wrapping.sealed.as_slice()).collect();
        let known =
            session.first("SELECT count(*) FROM aegis.deks WHERE ordinal = ANY ($1)", &[&ordinals])?;
        let known = known.map(|found| count(&found, 0)).transpose()?;
        let distinct: BTreeSet<i64> = ordinals.iter().copied().collect();
        if known != Some(distinct.len() as u64) {
            return Err(ConflictKind::UnknownVersion.into());
        }
        session.execute(
            "INSERT INTO aegis.wrappings (kek, dek, sealed)
             SELECT u.kek, u.dek, u.sealed
             FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) WITH ORDINALITY AS u (kek, dek, sealed, nth)
                  JOIN aegis.deks AS d ON d.ordinal = u.dek
             WHERE d.state <> 'destroyed'
             ORDER BY u.nth
             ON CONFLICT (kek, dek) DO NOTHING",
            &[&ids, &ordinals, &sealed],
        )?;
    }
    Ok(())
}

fn check_len(wrapping: &NewWrapping) -> Result<(), StoreError> {
    let len = wrapping.sealed.len();
    if (1..=MAX_SEALED_LEN).contains(&len) {
        Ok(())
    } else {
        Err(StoreError::BoxLength { version: wrapping.version, len })
    }
}

/// Stores a wrapping that does not exist yet.
pub(super) fn insert(
    session: &mut Session,
    kek: i64,
    wrapping: &NewWrapping,
    verified_at: Option<Timestamp>,
) -> Result<(), Fault> {
    check_len(wrapping)?;
    let NewWrapping { version, kek: _, sealed } = wrapping;
    session.execute(
        "INSERT INTO aegis.wrappings (kek, dek, verified_at, sealed) VALUES ($1, $2, $3, $4)",
        &[&kek, &version.to_ordinal(), &verified_at.map(time_text), sealed],
    )?;
    Ok(())
}

pub(super) fn mark_verified(
    session: &mut Session,
    kek: KeyId,
    good: &[StoredWrapping],
    now: Timestamp,
) -> Result<(), Fault> {
    for batch in good.chunks(BATCH) {
        let ordinals: Vec<i64> = batch.iter().map(|wrapping| wrapping.version.to_ordinal()).collect();
        let sealed: Vec<&[u8]> = batch.iter().map(|wrapping| wrapping.sealed.as_slice()).collect();
        // Not `w.sealed = u.sealed`: the server might join by that, and read every box that there is.
        session.execute(
            "UPDATE aegis.wrappings AS w SET verified_at = $2
             FROM unnest($3::bigint[], $4::bytea[]) AS u (dek, sealed)
             WHERE w.kek = (SELECT id FROM aegis.keks WHERE key_id = $1) AND w.dek = u.dek
               AND w.verified_at IS NULL AND w.sealed IS NOT DISTINCT FROM u.sealed",
            &[&key_bytes(&kek), &time_text(now), &ordinals, &sealed],
        )?;
    }
    Ok(())
}

pub(super) fn drop_one(session: &mut Session, version: DekVersion, kek: KeyId) -> Result<(), Fault> {
    let id = keks::in_state(session, kek, KekState::Incoming, ConflictKind::KekNotIncoming)?;
    session
        .execute("DELETE FROM aegis.wrappings WHERE kek = $1 AND dek = $2", &[&id, &version.to_ordinal()])?;
    Ok(())
}

pub(super) fn progress(session: &mut Session, kek: KeyId) -> Result<WrapProgress, Fault> {
    let counts = session.first(
        "SELECT (SELECT count(*) FROM aegis.deks WHERE state <> 'destroyed'), count(w.dek), count(w.verified_at)
         FROM aegis.wrappings AS w WHERE w.kek = (SELECT id FROM aegis.keks WHERE key_id = $1)",
        &[&key_bytes(&kek)],
    )?;
    let Some(counts) = counts else { return Err(no_count().into()) };
    Ok(WrapProgress { deks: count(&counts, 0)?, wrapped: count(&counts, 1)?, verified: count(&counts, 2)? })
}
