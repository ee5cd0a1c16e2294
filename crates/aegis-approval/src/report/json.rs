//! One document, a decision a line, so that it can be written and read without holding all of it.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::finding::{Finding, OtherSigner};
use super::{ReportCounts, ReportHead};
use crate::canonical::{to_second, to_text};
use crate::name::Role;
use crate::registry::KeyState;
use crate::standing::Closed;
use crate::store::Rotation;

const TYPE: &str = "aegis-custodian-report-v1";

pub(super) fn head(out: &mut dyn Write, head: &ReportHead) -> io::Result<()> {
    let ReportHead { key, person, key_state, rotation, made } = head;
    let about = json!({
        "id": key.to_string(),
        "person": person.as_str(),
        "state": key_state.as_str(),
        "ended": match key_state {
            KeyState::Active => Value::Null,
            KeyState::Revoked { at } | KeyState::Replaced { at, .. } => at.to_string().into(),
        },
    });
    let rotation = rotation.as_ref().map_or(Value::Null, of_rotation);
    let (about, rotation, made) = (to_text(&about), to_text(&rotation), to_second(*made));
    write!(
        out,
        "{{\"type\":\"{TYPE}\",\"made\":\"{made}\",\"key\":{about},\"rotation\":{rotation},\"decisions\":["
    )
}

fn of_rotation(rotation: &Rotation) -> Value {
    let Rotation { old_key: _, person: _, reason, started, new_key, with_deks, step, updated } = rotation;
    json!({
        "reason": reason,
        "started": started.to_string(),
        "new_key": new_key.map(|key| key.to_string()),
        "with_deks": with_deks,
        "step": step.as_str(),
        "updated": updated.to_string(),
    })
}

pub(super) fn decision(out: &mut dyn Write, finding: &Finding, is_first: bool) -> io::Result<()> {
    let separator = if is_first { "\n" } else { ",\n" };
    write!(out, "{separator}{}", to_text(&of_finding(finding)))
}

fn of_finding(finding: &Finding) -> Value {
    let Finding {
        request,
        subject,
        audience,
        requester,
        usable_until,
        decision,
        role,
        signed,
        others,
        then,
        now,
        closed,
        was_approved,
        stands_without,
        missing,
    } = finding;
    let missing: serde_json::Map<_, _> =
        missing.iter().map(|(role, count): (&Role, _)| (role.to_string(), Value::from(*count))).collect();
    json!({
        "request": request.as_str(),
        "kind": subject.kind().as_str(),
        "subject": subject.to_string(),
        "audience": audience.as_str(),
        "requester": requester.as_str(),
        "usable_until": usable_until.to_string(),
        "decision": decision.as_str(),
        "role": role.as_str(),
        "signed": signed.to_string(),
        "others": others.iter().map(of_other).collect::<Vec<_>>(),
        "then": then.as_str(),
        "now": now.as_str(),
        "ended": closed.as_ref().map_or(Value::Null, of_closed),
        "was_approved": was_approved,
        "stands_without": stands_without,
        "missing": missing,
        "remedy": finding.remedy().as_str(),
    })
}

fn of_other(other: &OtherSigner) -> Value {
    let OtherSigner { person, role, decision, key, key_state } = other;
    json!({
        "person": person.as_str(),
        "role": role.as_str(),
        "decision": decision.as_str(),
        "key_id": key.to_string(),
        "key_state": key_state,
    })
}

fn of_closed(closed: &Closed) -> Value {
    match closed {
        Closed::Rejected { at, by } => json!({ "how": "rejected", "at": at.to_string(), "by": by.as_str() }),
        Closed::Revoked { at, by } => json!({ "how": "revoked", "at": at.to_string(), "by": by.as_str() }),
        Closed::Consumed { at, used_for } => {
            json!({ "how": "consumed", "at": at.to_string(), "used_for": used_for })
        }
    }
}

pub(super) fn end(out: &mut dyn Write, counts: &ReportCounts) -> io::Result<()> {
    let ReportCounts { decisions, remedies } = counts;
    let remedies: serde_json::Map<_, _> =
        remedies.iter().map(|(remedy, count)| (remedy.as_str().to_owned(), Value::from(*count))).collect();
    let counts = json!({ "decisions": decisions, "remedies": remedies });
    writeln!(out, "\n],\"counts\":{}}}", to_text(&counts))
}
