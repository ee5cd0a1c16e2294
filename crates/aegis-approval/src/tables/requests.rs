//! Requests, their signatures, and how they ended.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use aegis_crypto::KeyId;
use aegis_database::{At, Damage, count, time_text};
use jiff::Timestamp;

use super::row::{self, INVOLVEMENT_COLUMNS, REQUEST_COLUMNS, SIGNATURE_COLUMNS, SIGNED_COLUMNS, Signed};
use super::{Tables, Value, custodians, rows_of, stored};
use crate::name::{PersonId, RequestId};
use crate::request::Request;
use crate::signed::{GivenSignature, SignedRequest};
use crate::standing::Closed;
use crate::store::{ConflictKind, Involvement, RequestQuery, RequestRecord, Signer, StoreError};
use crate::text::Line;

/// So many numbers each request has for the texts of its signatures.
const TEXTS_OF_REQUEST: i64 = 64;

pub(crate) fn insert<T: Tables>(tables: &mut T, request: &Request) -> Result<(), T::Fault> {
    let id = request.id();
    if current(tables, id)?.is_some() {
        return Err(ConflictKind::RequestExists { id: id.clone() }.into());
    }
    let number = tables.next_number("requests")?;
    tables.change(
        "INSERT INTO @requests
             (number, id, revision, kind, subject, audience, requester, quorum, usable_until, state)
         VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, 'open')",
        &[
            number.into(),
            id.as_str().into(),
            request.subject().kind().as_str().into(),
            request.subject().to_string().into(),
            request.audience().as_str().into(),
            request.requester().as_str().into(),
            row::quorum_text(request.quorum()).into(),
            row::usable_until(request).into(),
        ],
    )?;
    tables.change(
        "INSERT INTO @documents (number, request) VALUES ($1, $2)",
        &[number.into(), request.to_json().into()],
    )
}

pub(crate) fn find<T: Tables>(tables: &mut T, id: &RequestId) -> Result<Option<RequestRecord>, T::Fault> {
    let sql = format!(
        "SELECT {REQUEST_COLUMNS} FROM @requests AS r LEFT JOIN @documents AS d ON d.number = r.number
         WHERE r.id = $1"
    );
    let found = tables.row(&sql, &[id.as_str().into()], row::request)?;
    found.map(|record| with_signatures(tables, record)).transpose()
}

pub(crate) fn page<T: Tables>(tables: &mut T, query: &RequestQuery) -> Result<Vec<RequestRecord>, T::Fault> {
    let RequestQuery { kind, open_at, requester, after, limit } = query;
    let mut parameters: Vec<Value<'_>> = vec![stored(after.unwrap_or(0)).into()];
    // Of open requests there are few: they are found by their index, not by going through all in their order.
    let hint = if open_at.is_some() { tables.by_index("open_requests") } else { String::new() };
    let mut sql = format!(
        "SELECT {REQUEST_COLUMNS} FROM @requests AS r {hint} LEFT JOIN @documents AS d ON d.number = r.number
         WHERE r.number > $1"
    );
    let mut and = |condition: &str, value: Value<'static>| {
        parameters.push(value);
        sql.push_str(&format!(" AND {condition} ${}", parameters.len()));
    };
    if let Some(kind) = kind {
        and("r.kind =", kind.as_str().into());
    }
    if let Some(requester) = requester {
        and("r.requester =", requester.to_string().into());
    }
    if let Some(open_at) = open_at {
        and("r.state = 'open' AND r.usable_until >=", first_second_from(*open_at).into());
    }
    parameters.push(rows_of(*limit).into());
    sql.push_str(&format!(" ORDER BY r.number LIMIT ${}", parameters.len()));
    let records = tables.rows(&sql, &parameters, row::request)?;
    records.into_iter().map(|record| with_signatures(tables, record)).collect()
}

/// Times in the table are whole seconds.
fn first_second_from(time: Timestamp) -> i64 {
    time.as_second().saturating_add(i64::from(time.subsec_nanosecond() > 0))
}

/// Adds the signatures to a request.
fn with_signatures<T: Tables>(tables: &mut T, mut record: RequestRecord) -> Result<RequestRecord, T::Fault> {
    let sql = format!(
        "SELECT {SIGNATURE_COLUMNS} FROM @signatures AS s LEFT JOIN @keys AS k ON k.number = s.key
             LEFT JOIN @texts AS t ON t.number = s.request * {TEXTS_OF_REQUEST} + s.place
         WHERE s.request = $1 ORDER BY s.place LIMIT 100"
    );
    for (place, signature) in tables.rows(&sql, &[stored(record.number).into()], row::signature)? {
        if place != record.signatures.len() || place >= SignedRequest::MAX_SIGNATURES {
            return Err(gap(record.number, place).into());
        }
        record.signatures.push(signature);
    }
    Ok(record)
}

/// What a change of a request depends on.
struct Current {
    number: i64,
    revision: u64,
    /// `open`, or how it ended.
    state: String,
    signatures: i64,
}

fn current<T: Tables>(tables: &mut T, id: &RequestId) -> Result<Option<Current>, T::Fault> {
    let sql = "SELECT number, revision, state,
                   (SELECT count(*) FROM @signatures WHERE request = number) FROM @requests WHERE id = $1";
    tables.row(sql, &[id.as_str().into()], |found| {
        let number = row::number(found, 0, "requests", "number")?;
        let at = At { table: "requests", row: format!("row {number}") };
        Ok(Current {
            number: stored(number),
            revision: count(found, 1)?,
            state: at.parsed(found, 2, "state")?,
            signatures: stored(count(found, 3)?),
        })
    })
}

/// A request that is open and as it was when it was read, under a registry that is, too.
fn open<T: Tables>(
    tables: &mut T,
    id: &RequestId,
    revision: u64,
    registry: u64,
) -> Result<Current, T::Fault> {
    let found = current(tables, id)?.ok_or_else(|| ConflictKind::NoSuchRequest { id: id.clone() })?;
    if found.state != "open" {
        let words = ["rejected", "revoked", "consumed"];
        let state = words.into_iter().find(|word| *word == found.state).unwrap_or("closed");
        return Err(ConflictKind::RequestClosed { id: id.clone(), state }.into());
    }
    if found.revision != revision {
        return Err(ConflictKind::RequestChanged { id: id.clone() }.into());
    }
    custodians::unchanged(tables, registry)?;
    Ok(found)
}

pub(crate) fn add_signature<T: Tables>(
    tables: &mut T,
    id: &RequestId,
    revision: u64,
    registry: u64,
    signature: &GivenSignature,
) -> Result<(), T::Fault> {
    let found = open(tables, id, revision, registry)?;
    insert_signature(tables, id, &found, signature)?;
    tables.change("UPDATE @requests SET revision = revision + 1 WHERE number = $1", &[found.number.into()])
}

fn insert_signature<T: Tables>(
    tables: &mut T,
    id: &RequestId,
    of: &Current,
    signature: &GivenSignature,
) -> Result<(), T::Fault> {
    let GivenSignature { decision, person, role, key, signed, signature } = signature;
    let key_number = match custodians::find_key(tables, *key)? {
        Some((number, holder, _)) if holder == *person => number,
        _ => return Err(ConflictKind::NoSuchKey { person: person.clone() }.into()),
    };
    let twice = tables.row(
        "SELECT 1 FROM @signatures WHERE request = $1 AND key = $2 AND decision = $3",
        &[of.number.into(), key_number.into(), decision.as_str().into()],
        |_| Ok(()),
    )?;
    if twice.is_some() {
        return Err(ConflictKind::SignedAlready { id: id.clone(), key: *key }.into());
    }
    if of.signatures >= rows_of(SignedRequest::MAX_SIGNATURES) {
        return Err(ConflictKind::SignaturesFull { id: id.clone() }.into());
    }
    tables.change(
        "INSERT INTO @signatures (request, place, key, decision, role, signed)
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            of.number.into(),
            of.signatures.into(),
            key_number.into(),
            decision.as_str().into(),
            role.as_str().into(),
            time_text(*signed).into(),
        ],
    )?;
    let text = of.number.saturating_mul(TEXTS_OF_REQUEST).saturating_add(of.signatures);
    tables.change(
        "INSERT INTO @texts (number, signature) VALUES ($1, $2)",
        &[text.into(), signature.to_string().into()],
    )
}

pub(crate) fn close<T: Tables>(
    tables: &mut T,
    id: &RequestId,
    revision: u64,
    registry: u64,
    closed: &Closed,
    rejection: Option<&GivenSignature>,
) -> Result<(), T::Fault> {
    let (at, by) = match closed {
        Closed::Rejected { at, by } | Closed::Revoked { at, by } => (at, by.as_str()),
        Closed::Consumed { at, used_for } => {
            // Read back by the same rule.
            let read = used_for.parse::<Line>();
            read.map_err(|source| StoreError::Text { what: "what the approval is used for", source })?;
            (at, used_for.as_str())
        }
    };
    let found = open(tables, id, revision, registry)?;
    if let Some(rejection) = rejection {
        insert_signature(tables, id, &found, rejection)?;
    }
    tables.change(
        "UPDATE @requests SET revision = revision + 1, state = $1, closed_at = $2, closed_by = $3
         WHERE number = $4",
        &[row::closed_word(closed).into(), time_text(*at).into(), by.into(), found.number.into()],
    )
}

pub(crate) fn signed_by<T: Tables>(
    tables: &mut T,
    key: KeyId,
    after: Option<&Involvement>,
    limit: usize,
) -> Result<Vec<Involvement>, T::Fault> {
    let sql = "SELECT number FROM @keys WHERE key_id = $1";
    let number = tables.row(sql, &[(&key).into()], |found| row::number(found, 0, "keys", "number"))?;
    let Some(number) = number else { return Ok(Vec::new()) };
    let (request, place) = after.map_or((0, 0), |after| (stored(after.number), rows_of(after.place)));
    // The signatures of the key, in the order of the index that has all of them that is asked for; then each request by its
    // number, which grows.
    let sql = format!(
        "SELECT {INVOLVEMENT_COLUMNS} FROM @signatures AS s CROSS JOIN @requests AS r
         WHERE s.key = $1 AND (s.request, s.place) > ($2, $3) AND r.number = s.request
         ORDER BY s.request, s.place LIMIT $4"
    );
    let key = stored(number);
    let parameters = [key.into(), request.into(), place.into(), rows_of(limit).into()];
    let mut page = tables.rows(&sql, &parameters, row::involvement)?;
    add_signers(tables, key, &mut page)?;
    Ok(page)
}

/// Adds to each signature of a key all that the request has.
fn add_signers<T: Tables>(tables: &mut T, key: i64, page: &mut [Involvement]) -> Result<(), T::Fault> {
    let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(()) };
    // With BETWEEN, SQLite 3.54 would go through everything that the key ever signed, for each page.
    let sql = format!(
        "SELECT {SIGNED_COLUMNS} FROM @signatures AS s CROSS JOIN @signatures AS o
         WHERE s.key = $1 AND s.request >= $2 AND s.request <= $3 AND o.request = s.request
         ORDER BY s.request, s.place, o.place"
    );
    let parameters = [key.into(), stored(first.number).into(), stored(last.number).into()];
    let mut all = tables.rows(&sql, &parameters, row::signed)?.into_iter().peekable();
    let mut holders: BTreeMap<i64, (KeyId, PersonId)> = BTreeMap::new();
    for involvement in page {
        let here = (involvement.number, involvement.place);
        // A key may have decided twice on the first request or the last one, and only one of the two be on this page.
        while let Some(signed) = all.next_if(|signed| signed.beside <= here) {
            if signed.beside < here {
                continue;
            }
            if signed.place != involvement.signers.len() {
                return Err(gap(involvement.number, signed.place).into());
            }
            let holder = match holders.entry(signed.key) {
                Entry::Occupied(holder) => holder.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(holder_of(tables, signed.key, involvement.number)?),
            };
            let (key, person) = (holder.0, holder.1.clone());
            let Signed { role, decision, .. } = signed;
            involvement.signers.push(Signer { person, role, decision, key });
        }
    }
    Ok(())
}

/// Whose the key of that number is.
fn holder_of<T: Tables>(tables: &mut T, key: i64, request: u64) -> Result<(KeyId, PersonId), T::Fault> {
    let sql = "SELECT key_id, person FROM @keys WHERE number = $1";
    tables.row(sql, &[key.into()], row::holder)?.ok_or_else(|| {
        let at = At { table: "signatures", row: format!("request {request}") };
        at.damage("key", "the number of no key".to_owned()).into()
    })
}

fn gap(request: u64, place: usize) -> Damage {
    let at = At { table: "signatures", row: format!("request {request}") };
    at.damage("place", format!("the number {place}, which leaves a gap"))
}
