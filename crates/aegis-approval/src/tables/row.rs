//! Records from rows, the same for both databases. A row that no valid record can be made of is damage, and is named.

use std::collections::BTreeSet;

use aegis_crypto::{CustodianPublicKey, CustodianSignature, KeyId};
use aegis_database::{At, Cell, Cells, Damage, shown};
use jiff::Timestamp;

use crate::name::{PersonId, Role};
use crate::quorum::Quorum;
use crate::registry::{CustodianKey, KeyState};
use crate::request::Request;
use crate::signed::GivenSignature;
use crate::standing::Closed;
use crate::statement::Decision;
use crate::store::{Involvement, RequestRecord, Rotation, RotationStep};
use crate::subject::{Kind, Subject};
use crate::text::{Justification, Line};

/// The columns of [`key`], in its order.
pub(super) const KEY_COLUMNS: &str =
    "number, key_id, person, public_key, registered, state, ended, replaced_by";

/// The columns of [`request`], in its order, of `@requests AS r` and `@documents AS d`.
pub(super) const REQUEST_COLUMNS: &str = "r.number, r.id, r.revision, r.kind, r.subject, r.audience, r.requester, \
     r.usable_until, r.state, r.closed_at, r.closed_by, r.quorum, d.request";

/// The columns of [`signature`], in its order, of `@signatures AS s`, `@keys AS k` and `@texts AS t`.
pub(super) const SIGNATURE_COLUMNS: &str =
    "s.request, s.place, s.decision, k.person, s.role, k.key_id, s.signed, t.signature";

/// The columns of [`involvement`], in its order, of `@signatures AS s` and `@requests AS r`.
pub(super) const INVOLVEMENT_COLUMNS: &str = "r.number, r.id, r.kind, r.subject, r.audience, r.requester, \
     r.usable_until, r.state, r.closed_at, r.closed_by, s.place, s.decision, s.role, s.signed, r.quorum";

/// The columns of [`signed`], in its order, of `@signatures` as `s`, a key's, and `o`, all of the same request.
pub(super) const SIGNED_COLUMNS: &str = "s.request, s.place, o.place, o.key, o.role, o.decision";

/// The columns of [`rotation`], in its order.
pub(super) const ROTATION_COLUMNS: &str =
    "old_key, person, reason, started, new_key, with_deks, step, updated";

/// The one spelling of several roles.
pub(super) fn roles_text(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(Role::as_str).collect::<Vec<_>>().join(" ")
}

/// A person and their roles.
pub(super) fn person(row: &dyn Cells) -> Result<(PersonId, BTreeSet<Role>), Damage> {
    let at = At { table: "people", row: "a row".to_owned() };
    let person: PersonId = at.parsed(row, 0, "person")?;
    let at = At { table: "people", row: person.to_string() };
    let cell = row.cell(1);
    let Cell::Text(text) = &cell else { return Err(at.damage("roles", shown(&cell))) };
    let roles: Result<BTreeSet<Role>, _> = text.split(' ').map(str::parse).collect();
    match roles {
        Ok(roles) if roles_text(&roles) == *text => Ok((person, roles)),
        _ => Err(at.damage("roles", shown(&cell))),
    }
}

/// A key, and whose it is.
pub(super) fn key(row: &dyn Cells) -> Result<(PersonId, CustodianKey), Damage> {
    let at = At { table: "keys", row: format!("row {}", number(row, 0, "keys", "number")?) };
    let id = key_id(&at, row, 1, "key_id")?;
    let cell = row.cell(3);
    let public = match &cell {
        Cell::Text(text) => text.parse::<CustodianPublicKey>().ok().filter(|key| key.to_string() == *text),
        _ => None,
    };
    // Of a key nothing is repeated: it may be one that should never have come here.
    let public = public.ok_or_else(|| at.damage("public_key", "no public key".to_owned()))?;
    if public.key_id() != id {
        return Err(at.damage("key_id", "not that of its public_key".to_owned()));
    }
    let ended = |column| match at.optional_time(row, 6, "ended")? {
        Some(ended) => Ok(ended),
        None => Err(at.damage(column, "not that of an active key".to_owned())),
    };
    let state = row.cell(5);
    let state = match &state {
        Cell::Text(text) if text == "active" => KeyState::Active,
        Cell::Text(text) if text == "revoked" => KeyState::Revoked { at: ended("state")? },
        Cell::Text(text) if text == "replaced" => {
            KeyState::Replaced { at: ended("state")?, by: key_id(&at, row, 7, "replaced_by")? }
        }
        other => return Err(at.damage("state", shown(other))),
    };
    let (has_end, has_successor) = (row.cell(6) != Cell::Null, row.cell(7) != Cell::Null);
    if has_end != (state != KeyState::Active) || has_successor != matches!(state, KeyState::Replaced { .. }) {
        return Err(at.damage("state", format!("{}, which does not go with its end", state.as_str())));
    }
    let registered = at.time(row, 4, "registered")?;
    Ok((at.parsed(row, 2, "person")?, CustodianKey { public, registered, state }))
}

/// A request, as yet without its signatures. What its columns say is what it says itself.
pub(super) fn request(row: &dyn Cells) -> Result<RequestRecord, Damage> {
    let number = number(row, 0, "requests", "number")?;
    let at = At { table: "requests", row: format!("row {number}") };
    let cell = row.cell(12);
    let request = match &cell {
        Cell::Null => return Err(at.damage("number", "that of no document".to_owned())),
        Cell::Text(text) => Request::from_json(text).map_err(|error| {
            At { table: "documents", row: at.row.clone() }.damage("request", format!("no request: {error}"))
        })?,
        other => {
            return Err(At { table: "documents", row: at.row.clone() }.damage("request", shown(other)));
        }
    };
    let columns = [
        (1, "id", request.id().as_str()),
        (3, "kind", request.subject().kind().as_str()),
        (4, "subject", &request.subject().to_string()),
        (5, "audience", request.audience().as_str()),
        (6, "requester", request.requester().as_str()),
        (11, "quorum", &quorum_text(request.quorum())),
    ];
    for (index, column, expected) in columns {
        let cell = row.cell(index);
        if !matches!(&cell, Cell::Text(text) if text == expected) {
            return Err(at.damage(column, format!("{}, not that of its document", shown(&cell))));
        }
    }
    if at.integer(row, 7, "usable_until")? != usable_until(&request) {
        return Err(at.damage("usable_until", "not that of its document".to_owned()));
    }
    let revision = at.integer(row, 2, "revision")?;
    let revision = u64::try_from(revision).map_err(|_| at.damage("revision", format!("{revision}")))?;
    let closed = closed(&at, row, 8)?;
    Ok(RequestRecord { number, revision, request, signatures: Vec::new(), closed })
}

/// The last second at which a request could be signed or used.
pub(super) fn usable_until(request: &Request) -> i64 {
    request.expires().as_second().saturating_add(request.use_within().as_secs())
}

/// The word for how a request ended.
pub(super) const fn closed_word(closed: &Closed) -> &'static str {
    match closed {
        Closed::Rejected { .. } => "rejected",
        Closed::Revoked { .. } => "revoked",
        Closed::Consumed { .. } => "consumed",
    }
}

/// How a request ended, from `state`, `closed_at` and `closed_by`, from column `index` on.
fn closed(at: &At, row: &dyn Cells, index: usize) -> Result<Option<Closed>, Damage> {
    let state = row.cell(index);
    let Cell::Text(state) = &state else { return Err(at.damage("state", shown(&state))) };
    if state == "open" {
        for (index, column) in [(index + 1, "closed_at"), (index + 2, "closed_by")] {
            if row.cell(index) != Cell::Null {
                return Err(at.damage(column, "not that of an open request".to_owned()));
            }
        }
        return Ok(None);
    }
    let time = || at.time(row, index + 1, "closed_at");
    let by = |column| at.parsed::<PersonId>(row, index + 2, column);
    Ok(Some(match state.as_str() {
        "rejected" => Closed::Rejected { at: time()?, by: by("closed_by")? },
        "revoked" => Closed::Revoked { at: time()?, by: by("closed_by")? },
        "consumed" => {
            let used_for: Line = at.parsed(row, index + 2, "closed_by")?;
            Closed::Consumed { at: time()?, used_for: used_for.to_string() }
        }
        other => return Err(at.damage("state", shown(&Cell::Text(other.to_owned())))),
    }))
}

/// A signature, and its place on the request.
pub(super) fn signature(row: &dyn Cells) -> Result<(usize, GivenSignature), Damage> {
    let request = number(row, 0, "signatures", "request")?;
    let at = At { table: "signatures", row: format!("request {request}") };
    let cell = row.cell(7);
    let signature = match &cell {
        Cell::Null => return Err(at.damage("place", "that of no text".to_owned())),
        Cell::Text(text) => {
            text.parse::<CustodianSignature>().ok().filter(|found| found.to_string() == *text)
        }
        _ => None,
    };
    if row.cell(3) == Cell::Null {
        return Err(at.damage("key", "the number of no key".to_owned()));
    }
    let given = GivenSignature {
        decision: decision(&at, row, 2)?,
        person: at.parsed(row, 3, "key")?,
        role: at.parsed(row, 4, "role")?,
        key: key_id(&at, row, 5, "key")?,
        signed: at.time(row, 6, "signed")?,
        signature: signature.ok_or_else(|| at.damage("signature", "no signature".to_owned()))?,
    };
    Ok((place(&at, row, 1)?, given))
}

/// A signature of a key, and what became of the request.
pub(super) fn involvement(row: &dyn Cells) -> Result<Involvement, Damage> {
    let number = number(row, 0, "requests", "number")?;
    let at = At { table: "requests", row: String::new() };
    let made = involvement_of(&at, row, number);
    made.map_err(|damage| named(damage, &format!("row {number}")))
}

/// Says which row it is; only where it has to be said, for there may be a million of them.
fn named(damage: Damage, row: &str) -> Damage {
    match damage {
        Damage::Row { table, column, found, .. } => Damage::Row { table, row: row.to_owned(), column, found },
        other => other,
    }
}

fn involvement_of(at: &At, row: &dyn Cells, number: u64) -> Result<Involvement, Damage> {
    let signature = At { table: "signatures", row: String::new() };
    let kind: Kind = at.parsed(row, 2, "kind")?;
    let cell = row.cell(3);
    let subject = match &cell {
        Cell::Text(text) => Subject::parse(kind, text).ok(),
        _ => None,
    };
    let until = at.integer(row, 6, "usable_until")?;
    Ok(Involvement {
        number,
        place: place(&signature, row, 10)?,
        decision: decision(&signature, row, 11)?,
        role: signature.parsed(row, 12, "role")?,
        signed: signature.time(row, 13, "signed")?,
        id: at.parsed(row, 1, "id")?,
        subject: subject.ok_or_else(|| at.damage("subject", shown(&cell)))?,
        audience: at.parsed(row, 4, "audience")?,
        requester: at.parsed(row, 5, "requester")?,
        usable_until: Timestamp::from_second(until)
            .map_err(|_| at.damage("usable_until", format!("{until}, which is no time")))?,
        closed: closed(at, row, 7)?,
        quorum: quorum(at, row, 14)?,
        signers: Vec::new(),
    })
}

/// A signature without its bytes, beside one of the same request.
pub(super) struct Signed {
    /// The request, and the place of the signature beside which this one is.
    pub(super) beside: (u64, usize),
    pub(super) place: usize,
    /// The number of the key.
    pub(super) key: i64,
    pub(super) role: Role,
    pub(super) decision: Decision,
}

/// A signature beside one of the same request.
pub(super) fn signed(row: &dyn Cells) -> Result<Signed, Damage> {
    let request = number(row, 0, "signatures", "request")?;
    let at = At { table: "signatures", row: String::new() };
    let made = || {
        Ok(Signed {
            beside: (request, place(&at, row, 1)?),
            place: place(&at, row, 2)?,
            key: at.integer(row, 3, "key")?,
            role: at.parsed(row, 4, "role")?,
            decision: decision(&at, row, 5)?,
        })
    };
    made().map_err(|damage| named(damage, &format!("request {request}")))
}

/// A key by its id, and whose it is.
pub(super) fn holder(row: &dyn Cells) -> Result<(KeyId, PersonId), Damage> {
    let at = At { table: "keys", row: "a row".to_owned() };
    Ok((key_id(&at, row, 0, "key_id")?, at.parsed(row, 1, "person")?))
}

/// The one spelling of a quorum.
pub(super) fn quorum_text(quorum: &Quorum) -> String {
    let groups: Vec<_> = quorum.groups().map(|(role, needed)| format!("{role}={needed}")).collect();
    groups.join(" ")
}

fn quorum(at: &At, row: &dyn Cells, index: usize) -> Result<Quorum, Damage> {
    let cell = row.cell(index);
    let groups = match &cell {
        Cell::Text(text) => text.split(' ').map(|group| {
            let (role, needed) = group.split_once('=')?;
            Some((role.parse::<Role>().ok()?, needed.parse::<i64>().ok()?))
        }),
        _ => return Err(at.damage("quorum", shown(&cell))),
    };
    let quorum = groups.collect::<Option<Vec<_>>>().and_then(|groups| Quorum::new(groups).ok());
    quorum.ok_or_else(|| at.damage("quorum", shown(&cell)))
}

/// An emergency rotation.
pub(super) fn rotation(row: &dyn Cells) -> Result<Rotation, Damage> {
    let at = At { table: "rotations", row: "a row".to_owned() };
    let old_key = key_id(&at, row, 0, "old_key")?;
    let at = At { table: "rotations", row: old_key.to_string() };
    let step = row.cell(6);
    let found = match &step {
        Cell::Text(text) => RotationStep::ALL.into_iter().find(|step| step.as_str() == text),
        _ => None,
    };
    let reason: Justification = at.parsed(row, 2, "reason")?;
    Ok(Rotation {
        old_key,
        person: at.parsed(row, 1, "person")?,
        reason: reason.as_str().to_owned(),
        started: at.time(row, 3, "started")?,
        new_key: match row.cell(4) {
            Cell::Null => None,
            _ => Some(key_id(&at, row, 4, "new_key")?),
        },
        with_deks: match at.integer(row, 5, "with_deks")? {
            0 => false,
            1 => true,
            other => return Err(at.damage("with_deks", format!("the number {other}"))),
        },
        step: found.ok_or_else(|| at.damage("step", shown(&step)))?,
        updated: at.time(row, 7, "updated")?,
    })
}

/// A number that a row is called by.
pub(super) fn number(
    row: &dyn Cells,
    index: usize,
    table: &'static str,
    column: &'static str,
) -> Result<u64, Damage> {
    let cell = row.cell(index);
    match cell {
        Cell::Integer(number) => u64::try_from(number).ok().filter(|number| *number > 0),
        _ => None,
    }
    .ok_or_else(|| At { table, row: "a row".to_owned() }.damage(column, shown(&cell)))
}

fn place(at: &At, row: &dyn Cells, index: usize) -> Result<usize, Damage> {
    let place = at.integer(row, index, "place")?;
    usize::try_from(place).map_err(|_| at.damage("place", format!("the number {place}")))
}

fn decision(at: &At, row: &dyn Cells, index: usize) -> Result<Decision, Damage> {
    let cell = row.cell(index);
    match &cell {
        Cell::Text(text) => Decision::of_word(text),
        _ => None,
    }
    .ok_or_else(|| at.damage("decision", shown(&cell)))
}

fn key_id(at: &At, row: &dyn Cells, index: usize, column: &'static str) -> Result<KeyId, Damage> {
    let bytes = at.bytes(row, index, column)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|bytes| at.damage(column, shown(&Cell::Bytes(bytes))))?;
    Ok(KeyId::from_bytes(bytes))
}
