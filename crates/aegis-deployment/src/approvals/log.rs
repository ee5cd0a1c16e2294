//! What is done with approvals in the log, each once. As in [`change_log`](crate::change_log): what is about to be stored is
//! noted with the entries that it will make and with what shows that it came true; it is stored; the entries are appended;
//! the note is removed. Whoever finds a note whose writer is gone looks whether it came true, and appends what is missing.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use aegis_approval::{
    Act, Asked, Closed, EmergencyAct, Ended, KeyState, Observer, RequestId, RequestRef, Role, RotationStep,
    SignError, SignatureFault, SignedBy, Store, StoreError,
};
use aegis_audit::{Action, Actor, Event, Outcome};
use aegis_crypto::KeyId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::change_log::{ChangeLog, Held, Intent, chain};

/// An entry that is made if it comes true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotedEntry {
    pub(crate) action: Action,
    pub(crate) object: String,
    pub(crate) detail: BTreeMap<String, Value>,
}

/// What shows in the store that something came true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Check {
    /// The key is somebody's.
    KeyRegistered { key: KeyId },
    /// The key ended so.
    KeyEnded { key: KeyId, state: String },
    /// The person has exactly these roles.
    Roles { person: String, roles: Vec<String> },
    /// There is such a request.
    Requested { id: String },
    /// It has this approval of the key.
    Signed { id: String, key: KeyId, signed: Timestamp },
    /// It ended so, then, by that person or for that.
    Closed { id: String, how: String, at: Timestamp, by: String },
    /// The emergency rotation of the key has come so far.
    Rotation { old_key: KeyId, step: String },
}

impl Check {
    fn of(act: &Act) -> Option<Self> {
        Some(match act {
            Act::RegisterKey { key, .. } => Self::KeyRegistered { key: *key },
            Act::RevokeKey { key, .. } => Self::KeyEnded { key: *key, state: "revoked".to_owned() },
            Act::ReplaceKey { old, .. } => Self::KeyEnded { key: *old, state: "replaced".to_owned() },
            Act::SetRoles { person, roles } => {
                Self::Roles { person: person.to_string(), roles: roles.iter().map(Role::to_string).collect() }
            }
            Act::Request(asked) => Self::Requested { id: asked.request.as_ref()?.id.to_string() },
            Act::Sign { request, by, decides: _ } => {
                Self::Signed { id: request.id.to_string(), key: by.key, signed: by.signed }
            }
            Act::Reject { request, closed, .. } => Self::of_closed(request, closed.as_ref()?),
            Act::Use { request, at, used_for, signers: _ } => {
                let closed = Closed::Consumed { at: *at, used_for: used_for.clone() };
                Self::of_closed(request, &closed)
            }
            Act::Import { .. } => return None,
            Act::Emergency(act) => {
                Self::Rotation { old_key: act.old_key, step: act.step.as_str().to_owned() }
            }
        })
    }

    fn of_closed(request: &RequestRef, closed: &Closed) -> Self {
        let (how, at, by) = parts(closed);
        Self::Closed { id: request.id.to_string(), how: how.to_owned(), at, by }
    }

    /// Whether it is so now.
    pub(crate) fn came_true(&self, store: &dyn Store) -> Result<bool, StoreError> {
        let key_is = |key: KeyId, wanted: &dyn Fn(&KeyState) -> bool| {
            let (registry, _) = store.registry()?;
            Ok(registry.holder(key).is_some_and(|(_, held)| wanted(&held.state)))
        };
        let request = |id: &str| match id.parse() {
            Ok(id) => store.request(&id),
            Err(_) => Ok(None),
        };
        match self {
            Self::KeyRegistered { key } => key_is(*key, &|_| true),
            Self::KeyEnded { key, state } => key_is(*key, &|found| found.as_str() == state),
            Self::Roles { person, roles } => {
                let (registry, _) = store.registry()?;
                let custodian = person.parse().ok().and_then(|person| registry.custodian(&person));
                Ok(custodian.is_some_and(|found| found.roles.iter().map(Role::as_str).eq(roles)))
            }
            Self::Requested { id } => Ok(request(id)?.is_some()),
            Self::Signed { id, key, signed } => Ok(request(id)?.is_some_and(|record| {
                record.signatures.iter().any(|given| given.key == *key && given.signed == *signed)
            })),
            Self::Closed { id, how, at, by } => {
                let closed = request(id)?.and_then(|record| record.closed);
                Ok(closed.is_some_and(|closed| parts(&closed) == (how.as_str(), *at, by.clone())))
            }
            Self::Rotation { old_key, step } => {
                let wanted = RotationStep::ALL.into_iter().find(|known| known.as_str() == step);
                Ok(store.rotation(*old_key)?.is_some_and(|found| Some(found.step) >= wanted))
            }
        }
    }
}

fn parts(closed: &Closed) -> (&'static str, Timestamp, String) {
    match closed {
        Closed::Rejected { at, by } => ("rejected", *at, by.to_string()),
        Closed::Revoked { at, by } => ("revoked", *at, by.to_string()),
        Closed::Consumed { at, used_for } => ("consumed", *at, used_for.clone()),
    }
}

/// Writes what is done with approvals to the log. Each thread is about one thing at a time.
#[derive(Debug)]
pub(super) struct ApprovalLog {
    log: Arc<ChangeLog>,
    held: Mutex<HashMap<ThreadId, Held>>,
}

impl ApprovalLog {
    pub(super) fn new(log: Arc<ChangeLog>) -> Self {
        Self { log, held: Mutex::default() }
    }

    /// The mark of what this thread is about.
    #[cfg(test)]
    pub(super) fn transaction(&self) -> Option<String> {
        let all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&thread::current().id()).map(|held| held.note.transaction.clone())
    }

    fn take(&self) -> Option<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&thread::current().id())
    }
}

impl Observer for ApprovalLog {
    fn before(&self, act: &Act) -> io::Result<()> {
        // An earlier try came to nothing.
        if let Some(earlier) = self.take() {
            ChangeLog::forget(&earlier);
        }
        let Some(check) = Check::of(act) else { return Ok(()) };
        let intent = Intent::Approval { check, entries: entries(act) };
        let held = self.log.note(intent).map_err(io::Error::other)?;
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(thread::current().id(), held);
        Ok(())
    }

    fn observe(&self, act: &Act, ended: Ended<'_>) {
        let held = self.take();
        let transaction = held.as_ref().map(|held| held.note.transaction.as_str());
        let are_logged = log_ended(&self.log, act, ended, transaction);
        // A store that failed may have done it all the same: then the next command looks, and logs it.
        if let Some(held) = held
            && are_logged
            && !matches!(ended, Ended::Failed(_))
        {
            ChangeLog::forget(&held);
        }
    }
}

/// Appends the entries of what was done, or the one of what was not. Returns whether all of them are in the log.
pub(super) fn log_ended(log: &ChangeLog, act: &Act, ended: Ended<'_>, transaction: Option<&str>) -> bool {
    let mut entries = entries(act);
    let (outcome, error) = match ended {
        Ended::Done => (Outcome::Accepted, None),
        Ended::Refused(error) => (Outcome::Refused, Some(error)),
        Ended::Failed(error) => (Outcome::Failed, Some(error)),
    };
    if error.is_some() {
        // What would have followed did not.
        entries.truncate(1);
    }
    let mut are_logged = true;
    for entry in entries {
        let mark = transaction.filter(|_| error.is_none()).map(|id| mark(id, &entry));
        let mut event = event_of(entry, log.actor()).outcome(outcome);
        if let Some(error) = error {
            event = event.reason(chain(error));
            if is_forged(error) {
                event = event.detail("refusal", "bad_signature");
            }
        }
        if let Some(mark) = mark {
            event = event.transaction(mark);
        }
        are_logged &= log.append(&event);
    }
    are_logged
}

/// The mark of one entry of a change.
pub(crate) fn mark(transaction: &str, entry: &NotedEntry) -> String {
    format!("{transaction}.{}", entry.action)
}

pub(crate) fn event_of(entry: NotedEntry, actor: Actor) -> Event {
    let NotedEntry { action, object, detail } = entry;
    let mut event = Event::new(Timestamp::now(), actor, action, object);
    event.detail = detail;
    event
}

/// Whether somebody offered a signature that is none.
fn is_forged(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref::<SignError>(), Some(SignError::Fault(SignatureFault::NotAuthentic { .. })))
}

/// The entries that an act makes: of an approval that completes the quorum, the decision as well.
pub(super) fn entries(act: &Act) -> Vec<NotedEntry> {
    let one = |action, object: String, detail: Value| NotedEntry {
        action,
        object,
        detail: match detail {
            Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => BTreeMap::new(),
        },
    };
    let id = |key: &KeyId| key.to_string();
    let ids = |keys: &[KeyId]| keys.iter().map(KeyId::to_string).collect::<Vec<_>>();
    match act {
        Act::RegisterKey { person, roles, key, algorithm } => vec![one(
            Action::CustodianRegister,
            person.to_string(),
            json!({
                "key_id": id(key),
                "roles": roles.iter().map(Role::as_str).collect::<Vec<_>>(),
                "algorithm": algorithm.id(),
            }),
        )],
        Act::SetRoles { person, roles } => vec![one(
            Action::CustodianRoles,
            person.to_string(),
            json!({ "roles": roles.iter().map(Role::as_str).collect::<Vec<_>>() }),
        )],
        Act::RevokeKey { person, key } => {
            let object = person.as_ref().map_or_else(|| id(key), ToString::to_string);
            vec![one(Action::CustodianRevoke, object, json!({ "key_id": id(key) }))]
        }
        Act::ReplaceKey { person, old, new } => vec![one(
            Action::CustodianReplace,
            person.to_string(),
            json!({ "old_key_id": id(old), "new_key_id": id(new) }),
        )],
        Act::Request(asked) => {
            let Asked { request, subject, audience, requester, quorum } = &**asked;
            let hash = request.as_ref().and_then(|request| request.about.as_ref()).map(|about| about.2);
            let object =
                request.as_ref().map_or_else(|| subject.to_string(), |request| request.id.to_string());
            let detail = json!({
                "kind": subject.kind().as_str(),
                "subject": subject.to_string(),
                "audience": audience.as_str(),
                "requester": requester.as_str(),
                "quorum": quorum,
                "hash": hash.map(|hash| hash.to_string()),
            });
            vec![one(Action::ApprovalRequest, object, detail)]
        }
        Act::Sign { request, by, decides } => {
            let object = request.id.to_string();
            let mut entries = vec![one(Action::ApprovalSign, object.clone(), signed_by(request, by))];
            if let Some(signers) = decides {
                let mut detail = about(request);
                detail.insert("signers".to_owned(), ids(signers).into());
                entries.push(one(Action::ApprovalDecide, object, detail.into()));
            }
            entries
        }
        Act::Reject { request, by, closed } => {
            let mut detail = signed_by(request, by);
            if let (Value::Object(members), Some(closed)) = (&mut detail, closed) {
                members.insert("state".to_owned(), parts(closed).0.into());
            }
            vec![one(Action::ApprovalReject, request.id.to_string(), detail)]
        }
        Act::Import { request, keys } => {
            let mut detail = about(request);
            detail.insert("signers".to_owned(), ids(keys).into());
            vec![one(Action::ApprovalSign, request.id.to_string(), detail.into())]
        }
        Act::Use { request, at: _, used_for, signers } => {
            let mut detail = about(request);
            detail.insert("used_for".to_owned(), used_for.as_str().into());
            detail.insert("signers".to_owned(), ids(signers).into());
            vec![one(Action::ApprovalUse, request.id.to_string(), detail.into())]
        }
        Act::Emergency(act) => {
            let EmergencyAct { person, old_key, new_key, reason, step, count, requests } = &**act;
            let object = person.as_ref().map_or_else(|| id(old_key), ToString::to_string);
            let named: Vec<_> = requests.iter().map(RequestId::as_str).collect();
            let detail = json!({
                "step": step.as_str(),
                "old_key_id": id(old_key),
                "new_key_id": new_key.as_ref().map(id),
                "cause": reason,
                "count": count,
                "requests": if named.is_empty() { Value::Null } else { named.into() },
            });
            vec![one(Action::EmergencyRotate, object, detail)]
        }
    }
}

fn about(request: &RequestRef) -> Map<String, Value> {
    let mut members = Map::new();
    if let Some((kind, subject, hash)) = &request.about {
        members.insert("kind".to_owned(), kind.as_str().into());
        members.insert("subject".to_owned(), subject.as_str().into());
        members.insert("hash".to_owned(), hash.to_string().into());
    }
    members
}

fn signed_by(request: &RequestRef, by: &SignedBy) -> Value {
    let SignedBy { person, role, key, signed } = by;
    let mut detail = about(request);
    detail.insert("key_id".to_owned(), key.to_string().into());
    detail.insert("signed".to_owned(), signed.to_string().into());
    if let Some(person) = person {
        detail.insert("person".to_owned(), person.as_str().into());
    }
    if let Some(role) = role {
        detail.insert("role".to_owned(), role.as_str().into());
    }
    detail.into()
}
