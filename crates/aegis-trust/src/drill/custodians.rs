//! Two people who exist for a drill alone, and what they approve.

use std::{collections::BTreeSet, path::PathBuf};

use aegis_approval::{
    DEFAULT_LIFETIME, DEFAULT_USE_WITHIN, Decision, GivenSignature, NewRequest, Quorum, Registration,
    Request, Role, SignedRequest, Subject, statement,
};
use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey};
use jiff::Timestamp;

use crate::{
    approval::ApprovalFile, custodians::change::InitSource, durable, health::cause_chain, host::Host,
    manifest::truncate_to_seconds,
};

/// What the shadow is called in approvals.
const HOST: &str = "host:drill";

/// Two custodians with their private keys, in memory alone.
pub(crate) struct DrillCustodians {
    people: Vec<(Registration, CustodianPrivateKey)>,
}

impl DrillCustodians {
    pub(crate) fn new(now: Timestamp) -> Result<Self, String> {
        let mut people = Vec::new();
        for (person, role) in [("drill-one", Role::RISK_LEAD), ("drill-two", Role::SECURITY_LEAD)] {
            let key = CustodianPrivateKey::generate(CustodianAlgorithm::Bip322)
                .map_err(|error| cause_chain(&error))?;
            let roles = BTreeSet::from([parse(role)?]);
            let registration = Registration::new(&key, parse(person)?, roles, now);
            people.push((registration.map_err(|error| cause_chain(&error))?, key));
        }
        Ok(Self { people })
    }

    /// One of each role.
    pub(crate) fn offer<'a>(&self, registrations: &'a [PathBuf]) -> InitSource<'a> {
        InitSource::Files {
            quorum: Quorum::classic()
                .groups()
                .map(|(role, count)| (role.clone(), i64::from(count)))
                .collect(),
            host: HOST.parse().ok(),
            groups: BTreeSet::new(),
            registrations,
        }
    }

    /// Their registrations, as files of the shadow.
    pub(crate) fn write(&self, shadow: &Host) -> Result<Vec<PathBuf>, String> {
        let mut files = Vec::new();
        for (registration, _) in &self.people {
            let path = shadow.paths().state_dir.join(format!("{}.custodian", registration.person()));
            durable::write_atomic(&path, registration.to_json().as_bytes(), 0o644)
                .map_err(|error| cause_chain(&error))?;
            files.push(path);
        }
        Ok(files)
    }

    /// An approval by both, requested by a third.
    pub(crate) fn approve(&self, subject: Subject, now: Timestamp) -> Result<ApprovalFile, String> {
        let now = truncate_to_seconds(now);
        let new = NewRequest {
            subject,
            audience: parse(HOST)?,
            justification: parse("revocation drill")?,
            failed_gates: BTreeSet::new(),
            requester: parse("drill-requester")?,
            quorum: Quorum::classic(),
            algorithms: BTreeSet::from([CustodianAlgorithm::Bip322]),
            lifetime: DEFAULT_LIFETIME,
            use_within: DEFAULT_USE_WITHIN,
        };
        let request = Request::new(new, now).map_err(|error| cause_chain(&error))?;
        let mut signatures = Vec::new();
        for (registration, key) in &self.people {
            let (person, role) = (registration.person(), registration.roles().first().ok_or("no role")?);
            let text = statement(&request, Decision::Approve, person, role, key.algorithm(), now);
            signatures.push(GivenSignature {
                decision: Decision::Approve,
                person: person.clone(),
                role: role.clone(),
                key: key.public_key().key_id(),
                signed: now,
                signature: key.sign(&text).map_err(|error| cause_chain(&error))?,
            });
        }
        let bytes = SignedRequest::new(request, signatures).to_json().into_bytes();
        Ok(ApprovalFile::Bytes { name: "drill approval".to_owned(), bytes })
    }
}

fn parse<T: std::str::FromStr<Err: std::error::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| cause_chain(&error))
}
