//! Custodians with their private keys, and what they sign: what their own machines do, with the library.

use std::collections::BTreeSet;
use std::fs;

use aegis_approval::{
    Decision, GivenSignature, NewRequest, Quorum, Registration, Request, Role, SignedRequest, Subject,
    statement,
};
use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey, KeyId};
use jiff::{SignedDuration, Timestamp};

use crate::host::Host;

/// A person with a key and roles.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) roles: &'static [&'static str],
    pub(crate) key: CustodianPrivateKey,
}

impl Person {
    pub(crate) fn new(name: &'static str, roles: &'static [&'static str]) -> Self {
        Self::by(CustodianAlgorithm::Bip322, name, roles)
    }

    pub(crate) fn by(
        algorithm: CustodianAlgorithm,
        name: &'static str,
        roles: &'static [&'static str],
    ) -> Self {
        Self { name, roles, key: CustodianPrivateKey::generate(algorithm).unwrap() }
    }

    pub(crate) fn registration(&self) -> Registration {
        let roles = self.roles.iter().map(|role| role.parse().unwrap()).collect();
        Registration::new(&self.key, self.name.parse().unwrap(), roles, Timestamp::now()).unwrap()
    }

    /// Writes the registration as `NAME.custodian` into the working directory.
    pub(crate) fn register(&self, host: &Host) -> String {
        let file = format!("{}.custodian", self.name);
        fs::write(host.file(&file), self.registration().to_json()).unwrap();
        file
    }

    /// What this person signs for a request.
    pub(crate) fn signs(&self, request: &Request, decision: Decision, signed: Timestamp) -> GivenSignature {
        let signed = Timestamp::from_second(signed.as_second()).unwrap();
        let (person, role) = (self.name.parse().unwrap(), self.roles[0].parse().unwrap());
        let text = statement(request, decision, &person, &role, self.key.algorithm(), signed);
        GivenSignature {
            decision,
            person,
            role,
            key: self.key.public_key().key_id(),
            signed,
            signature: self.key.sign(&text).unwrap(),
        }
    }
}

/// A risk lead and a security lead.
pub(crate) struct People {
    pub(crate) ana: Person,
    pub(crate) bo: Person,
}

/// A request, to be bent before it is signed.
pub(crate) struct Asked {
    pub(crate) subject: Subject,
    pub(crate) audience: &'static str,
    pub(crate) requester: &'static str,
    pub(crate) quorum: Quorum,
    pub(crate) created: Timestamp,
    pub(crate) lifetime: SignedDuration,
    pub(crate) use_within: SignedDuration,
}

impl Asked {
    /// A request for the host `web-1`, made a minute ago by somebody who is no custodian.
    pub(crate) fn new(subject: Subject) -> Self {
        Self {
            subject,
            audience: "host:web-1",
            requester: "operator",
            quorum: Quorum::classic(),
            created: Timestamp::now() - SignedDuration::from_mins(1),
            lifetime: SignedDuration::from_hours(24),
            use_within: SignedDuration::from_hours(24),
        }
    }

    pub(crate) fn request(self) -> Request {
        let new = NewRequest {
            subject: self.subject,
            audience: self.audience.parse().unwrap(),
            justification: "rehearsal".parse().unwrap(),
            failed_gates: BTreeSet::new(),
            requester: self.requester.parse().unwrap(),
            quorum: self.quorum,
            algorithms: CustodianAlgorithm::ALL.into_iter().collect(),
            lifetime: self.lifetime,
            use_within: self.use_within,
        };
        Request::new(new, self.created).unwrap()
    }

    /// Signed by these people at the time it was made.
    pub(crate) fn signed_by(self, people: &[&Person]) -> SignedRequest {
        let request = self.request();
        let signatures =
            people.iter().map(|person| person.signs(&request, Decision::Approve, request.created()));
        let signatures = signatures.collect();
        SignedRequest::new(request, signatures)
    }
}

impl People {
    pub(crate) fn new() -> Self {
        Self { ana: Person::new("ana", &[Role::RISK_LEAD]), bo: Person::new("bo", &[Role::SECURITY_LEAD]) }
    }

    pub(crate) fn both(&self) -> [&Person; 2] {
        [&self.ana, &self.bo]
    }

    /// Makes both custodians of a host that is called `web-1` and is in the group `edge`.
    pub(crate) fn take_charge(&self, host: &Host) {
        let (ana, bo) = (self.ana.register(host), self.bo.register(host));
        let init =
            ["custodians", "init", &ana, &bo, "--require", "1:risk_lead", "--require", "1:security_lead"];
        host.ok(&[&init[..], &["--host", "web-1", "--group", "edge"]].concat());
    }

    /// Writes an approval by both for the host `web-1`.
    pub(crate) fn approve(&self, host: &Host, file: &str, subject: Subject) {
        put(host, file, &Asked::new(subject).signed_by(&self.both()));
    }
}

/// Writes an approval into the working directory.
pub(crate) fn put(host: &Host, file: &str, signed: &SignedRequest) {
    fs::write(host.file(file), signed.to_json()).unwrap();
}

pub(crate) fn key_id(text: &str) -> KeyId {
    text.parse().unwrap()
}

/// The same key once more, for somebody who claims it too.
pub(crate) fn copy_of(person: &Person) -> CustodianPrivateKey {
    CustodianPrivateKey::from_bytes(person.key.algorithm(), person.key.dangerous_bytes()).unwrap()
}
