//! Custodians and requests to store. Keys and signatures are real.

use std::collections::BTreeSet;

use aegis_approval::{
    ConflictKind, CustodianKey, Decision, GivenSignature, KeyState, NewRequest, PersonId, Quorum, Request,
    RequestRecord, Role, Rotation, RotationStep, Store, StoreError, Subject, statement,
};
use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey, KeyId};
use jiff::{SignedDuration, Timestamp};

/// A time so many minutes after a noon.
pub(crate) fn at(minutes: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_mins(minutes)
}

/// A person with one role, and a key that is theirs or not yet.
pub(crate) struct Person {
    pub(crate) name: PersonId,
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) key: CustodianPrivateKey,
}

impl Person {
    pub(crate) fn new(name: &str, role: &str) -> Self {
        Self::with(CustodianAlgorithm::Bip322, name, &[role])
    }

    pub(crate) fn with(algorithm: CustodianAlgorithm, name: &str, roles: &[&str]) -> Self {
        Self {
            name: person(name),
            roles: self::roles(roles),
            key: CustodianPrivateKey::generate(algorithm).unwrap(),
        }
    }

    pub(crate) fn key_id(&self) -> KeyId {
        self.key.public_key().key_id()
    }

    pub(crate) fn custodian_key(&self) -> CustodianKey {
        CustodianKey { public: self.key.public_key().clone(), registered: at(0), state: KeyState::Active }
    }

    /// Registers the key.
    pub(crate) fn join(&self, store: &dyn Store) {
        let (_, revision) = store.registry().unwrap();
        store.add_key(revision, &self.name, &self.roles, &self.custodian_key()).unwrap();
    }

    pub(crate) fn gives(&self, request: &Request, decision: Decision) -> GivenSignature {
        let role = self.roles.first().unwrap().clone();
        let signed = at(1);
        let text = statement(request, decision, &self.name, &role, self.key.algorithm(), signed);
        GivenSignature {
            decision,
            person: self.name.clone(),
            role,
            key: self.key_id(),
            signed,
            signature: self.key.sign(&text).unwrap(),
        }
    }

    pub(crate) fn approves(&self, request: &Request) -> GivenSignature {
        self.gives(request, Decision::Approve)
    }
}

pub(crate) fn person(name: &str) -> PersonId {
    name.parse().unwrap()
}

pub(crate) fn roles(names: &[&str]) -> BTreeSet<Role> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// A risk lead and a security lead, registered.
pub(crate) fn leads(store: &dyn Store) -> [Person; 2] {
    let leads = [Person::new("rita", "risk_lead"), Person::new("sam", "security_lead")];
    for lead in &leads {
        lead.join(store);
    }
    leads
}

pub(crate) fn new_override() -> NewRequest {
    NewRequest {
        subject: Subject::Override("PROP-7: raise the limit".parse().unwrap()),
        audience: "deployment:production".parse().unwrap(),
        justification: "The customer waits.\nDas Risiko ist bekannt: 5 \u{20ac}.".parse().unwrap(),
        failed_gates: ["drift", "risk"].map(|gate| gate.parse().unwrap()).into(),
        requester: person("ann"),
        quorum: Quorum::classic(),
        algorithms: CustodianAlgorithm::ALL.into(),
        lifetime: SignedDuration::from_hours(24),
        use_within: SignedDuration::from_hours(2),
    }
}

/// A request that is stored.
pub(crate) fn asked(store: &dyn Store) -> Request {
    let request = Request::new(new_override(), at(0)).unwrap();
    store.insert_request(&request).unwrap();
    request
}

/// The request as it is stored, and the number of the registry: what every change starts from.
pub(crate) fn now(store: &dyn Store, request: &Request) -> (RequestRecord, u64) {
    let (_, registry) = store.registry().unwrap();
    (store.request(request.id()).unwrap().unwrap(), registry)
}

/// Adds a signature to the request as it is now.
pub(crate) fn sign(
    store: &dyn Store,
    request: &Request,
    signature: &GivenSignature,
) -> Result<(), StoreError> {
    let (record, registry) = now(store, request);
    store.add_signature(request.id(), record.revision, registry, signature)
}

pub(crate) fn rotation(key: KeyId) -> Rotation {
    Rotation {
        old_key: key,
        person: person("rita"),
        reason: "Her laptop was stolen.\nOn the train.".to_owned(),
        started: at(10),
        new_key: None,
        with_deks: true,
        step: RotationStep::Begun,
        updated: at(10),
    }
}

/// The conflict that a call has to end in.
#[track_caller]
pub(crate) fn conflict<T>(result: Result<T, StoreError>) -> ConflictKind {
    match result {
        Err(StoreError::Conflict { what }) => what,
        Err(error) => panic!("not a conflict: {error:?}"),
        Ok(_) => panic!("not refused"),
    }
}

/// An error with its causes and its help, as a user sees it.
pub(crate) fn told(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text + "; " + &error.help().unwrap_or_default()
}
