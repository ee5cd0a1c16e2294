//! KEKs: enrolled, switched to, given up, retired.

use aegis_crypto::KeyId;
use aegis_database::postgres::Session;
use aegis_database::{count, no_count, time_text};
use jiff::Timestamp;

use super::Fault;
use crate::record::{KekRecord, KekState};
use crate::row::{self, KEK_COLUMNS, key_bytes};
use crate::store_error::{ConflictKind, StoreError};

/// Every KEK with its number, in the order of enrolment.
pub(super) fn all(session: &mut Session) -> Result<Vec<(i64, KekRecord)>, Fault> {
    let rows = session.query(&format!("SELECT {KEK_COLUMNS} FROM aegis.keks ORDER BY id"), &[])?;
    rows.iter().map(|found| Ok(row::kek(found)?)).collect()
}

fn find(session: &mut Session, kek: KeyId) -> Result<Option<(i64, KekRecord)>, Fault> {
    Ok(all(session)?.into_iter().find(|(_, record)| record.key_id() == kek))
}

pub(super) fn enrol_first(session: &mut Session, kek: &KekRecord) -> Result<(), Fault> {
    if !all(session)?.is_empty() {
        return Err(ConflictKind::KekEnrolled.into());
    }
    insert(session, kek, KekState::Active)
}

pub(super) fn enrol_incoming(session: &mut Session, kek: &KekRecord, replaces: KeyId) -> Result<(), Fault> {
    let keks = all(session)?;
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
        None => insert(session, &KekRecord { grace_until: None, ..kek.clone() }, KekState::Incoming),
        Some((id, _)) => {
            session.execute("UPDATE aegis.wrappings SET verified_at = NULL WHERE kek = $1", &[id])?;
            session.execute(
                "UPDATE aegis.keks SET state = 'incoming', changed_at = $1 WHERE id = $2",
                &[&time_text(kek.changed_at), id],
            )?;
            Ok(())
        }
    }
}

/// Stores a KEK in a state.
pub(super) fn insert(session: &mut Session, kek: &KekRecord, state: KekState) -> Result<(), Fault> {
    let KekRecord { public_key, provider, state: _, created_at, changed_at, grace_until } = kek;
    session.execute(
        "INSERT INTO aegis.keks (id, key_id, public_key, provider, state, created_at, changed_at, grace_until)
         SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4, $5, $6, $7 FROM aegis.keks",
        &[
            &key_bytes(&kek.key_id()),
            &public_key.as_bytes().as_slice(),
            &provider.as_str(),
            &state.as_str(),
            &time_text(*created_at),
            &time_text(*changed_at),
            &grace_until.map(time_text),
        ],
    )?;
    Ok(())
}

pub(super) fn switch(
    session: &mut Session,
    incoming: KeyId,
    now: Timestamp,
    grace_until: Timestamp,
) -> Result<(), Fault> {
    let id = in_state(session, incoming, KekState::Incoming, ConflictKind::KekNotIncoming)?;
    all_verified(session, incoming, id)?;
    // The one before goes first: at no instant are two active, which the index would not allow.
    session.execute(
        "UPDATE aegis.keks SET state = 'grace', changed_at = $1, grace_until = $2 WHERE state = 'active'",
        &[&time_text(now), &time_text(grace_until)],
    )?;
    session.execute(
        "UPDATE aegis.keks SET state = 'active', changed_at = $1, grace_until = NULL WHERE id = $2",
        &[&time_text(now), &id],
    )?;
    Ok(())
}

pub(super) fn abandon(session: &mut Session, incoming: KeyId) -> Result<(), Fault> {
    let id = in_state(session, incoming, KekState::Incoming, ConflictKind::KekNotIncoming)?;
    let back = session
        .execute("UPDATE aegis.keks SET state = 'grace' WHERE id = $1 AND grace_until IS NOT NULL", &[&id])?;
    if back == 0 {
        session.execute("DELETE FROM aegis.wrappings WHERE kek = $1", &[&id])?;
        session.execute("DELETE FROM aegis.keks WHERE id = $1", &[&id])?;
    }
    Ok(())
}

pub(super) fn retire(session: &mut Session, kek: KeyId, now: Timestamp) -> Result<(), Fault> {
    let id = in_state(session, kek, KekState::Grace, ConflictKind::KekNotInGrace)?;
    let active = all(session)?.into_iter().find(|(_, record)| record.state == KekState::Active);
    let (active_id, active) = active.ok_or(ConflictKind::NoActiveKek)?;
    all_verified(session, active.key_id(), active_id)?;
    session.execute("DELETE FROM aegis.wrappings WHERE kek = $1", &[&id])?;
    session.execute(
        "UPDATE aegis.keks SET state = 'retired', changed_at = $1 WHERE id = $2",
        &[&time_text(now), &id],
    )?;
    Ok(())
}

/// The number of a KEK that has to be in a state.
pub(super) fn in_state(
    session: &mut Session,
    kek: KeyId,
    state: KekState,
    otherwise: ConflictKind,
) -> Result<i64, Fault> {
    match find(session, kek)? {
        Some((id, found)) if found.state == state => Ok(id),
        _ => Err(otherwise.into()),
    }
}

/// Refuses unless every DEK that is not destroyed has a verified wrapping. Asks for each DEK, so that no counter that
/// went wrong can answer yes.
fn all_verified(session: &mut Session, kek: KeyId, id: i64) -> Result<(), Fault> {
    let counts = session.first(
        "SELECT count(*), count(*) FILTER (WHERE w.dek IS NULL)
         FROM aegis.deks AS d LEFT JOIN aegis.wrappings AS w
              ON w.kek = $1 AND w.dek = d.ordinal AND w.verified_at IS NOT NULL
         WHERE d.state <> 'destroyed'",
        &[&id],
    )?;
    let Some(counts) = counts else { return Err(no_count().into()) };
    let (deks, missing) = (count(&counts, 0)?, count(&counts, 1)?);
    if missing == 0 { Ok(()) } else { Err(StoreError::NotVerified { kek, missing, deks }.into()) }
}
