//! Three custodians and a requester, and what they do.

use std::collections::BTreeSet;

use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey};
use jiff::{SignedDuration, Timestamp};

use crate::*;

/// When everything happens.
pub(crate) fn noon() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

pub(crate) fn later(minutes: i64) -> Timestamp {
    noon() + SignedDuration::from_mins(minutes)
}

pub(crate) struct Person {
    pub(crate) name: PersonId,
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) key: CustodianPrivateKey,
}

impl Person {
    pub(crate) fn new(name: &str, roles: &[&str]) -> Self {
        Self::with(CustodianAlgorithm::Bip322, name, roles)
    }

    pub(crate) fn with(algorithm: CustodianAlgorithm, name: &str, roles: &[&str]) -> Self {
        let roles = roles.iter().map(|role| role.parse().unwrap()).collect();
        Self { name: name.parse().unwrap(), roles, key: CustodianPrivateKey::generate(algorithm).unwrap() }
    }

    pub(crate) fn custodian(&self) -> Custodian {
        let key = CustodianKey {
            public: self.key.public_key().clone(),
            registered: noon(),
            state: KeyState::Active,
        };
        Custodian { person: self.name.clone(), roles: self.roles.clone(), keys: vec![key] }
    }

    /// Signs in a role, a number of minutes after noon.
    pub(crate) fn gives(
        &self,
        request: &Request,
        decision: Decision,
        role: &str,
        minutes: i64,
    ) -> GivenSignature {
        let role: Role = role.parse().unwrap();
        let signed = later(minutes);
        let text = statement(request, decision, &self.name, &role, self.key.algorithm(), signed);
        let signature = self.key.sign(&text).unwrap();
        GivenSignature {
            decision,
            person: self.name.clone(),
            role,
            key: self.key.public_key().key_id(),
            signed,
            signature,
        }
    }

    pub(crate) fn approves(&self, request: &Request, role: &str, minutes: i64) -> GivenSignature {
        self.gives(request, Decision::Approve, role, minutes)
    }
}

/// A risk lead, a security lead, one who is both, and the one who asks and would be a risk lead, too.
pub(crate) struct Team {
    pub(crate) risk: Person,
    pub(crate) security: Person,
    pub(crate) both: Person,
    pub(crate) asking: Person,
}

impl Team {
    pub(crate) fn new() -> Self {
        Self {
            risk: Person::new("rita", &["risk_lead"]),
            security: Person::new("sam", &["security_lead"]),
            both: Person::new("bo", &["risk_lead", "security_lead"]),
            asking: Person::new("ann", &["risk_lead"]),
        }
    }

    pub(crate) fn registry(&self) -> Registry {
        let people = [&self.risk, &self.security, &self.both, &self.asking];
        Registry::new(people.map(Person::custodian)).unwrap()
    }

    /// The registry after a key has ended.
    pub(crate) fn without(&self, person: &Person, state: &KeyState) -> Registry {
        let custodians = self.registry().custodians().cloned().collect::<Vec<_>>();
        Registry::new(custodians.into_iter().map(|mut custodian| {
            if custodian.person == person.name {
                custodian.keys[0].state = state.clone();
            }
            custodian
        }))
        .unwrap()
    }
}

pub(crate) fn new_override() -> NewRequest {
    NewRequest {
        subject: Subject::Override("PROP-7: raise the limit".parse().unwrap()),
        audience: "deployment:production".parse().unwrap(),
        justification: "The customer waits.\nThe risk is known.".parse().unwrap(),
        failed_gates: ["drift", "risk"].map(|gate| gate.parse().unwrap()).into(),
        requester: "ann".parse().unwrap(),
        quorum: Quorum::classic(),
        algorithms: CustodianAlgorithm::ALL.into(),
        lifetime: DEFAULT_LIFETIME,
        use_within: SignedDuration::from_hours(2),
    }
}

pub(crate) fn asked() -> Request {
    Request::new(new_override(), noon()).unwrap()
}
