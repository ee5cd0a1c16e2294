//! A desk with custodians, and what they do there.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aegis_approval::{
    Act, ApprovalRules, Approvals, ApprovalsReader, Closed, DEFAULT_LIFETIME, Decision, Ended, NewRequest,
    Observer, PersonId, Quorum, Registration, Request, RequestId, Role, SignError, Signed, SqliteStore,
    Standing, State, Store, Subject,
};
use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey, KeyId};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

/// When everything begins.
pub(crate) fn noon() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

pub(crate) fn later(minutes: i64) -> Timestamp {
    noon() + SignedDuration::from_mins(minutes)
}

pub(crate) fn roles(names: &[&str]) -> BTreeSet<Role> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

pub(crate) struct Person {
    pub(crate) name: PersonId,
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) key: CustodianPrivateKey,
}

impl Person {
    pub(crate) fn new(name: &str, roles_of: &[&str]) -> Self {
        Self::with(CustodianAlgorithm::Bip322, name, roles_of)
    }

    pub(crate) fn with(algorithm: CustodianAlgorithm, name: &str, roles_of: &[&str]) -> Self {
        let key = CustodianPrivateKey::generate(algorithm).unwrap();
        Self { name: name.parse().unwrap(), roles: roles(roles_of), key }
    }

    /// The same person with a new key.
    pub(crate) fn again(&self) -> Self {
        let key = CustodianPrivateKey::generate(self.key.algorithm()).unwrap();
        Self { name: self.name.clone(), roles: self.roles.clone(), key }
    }

    pub(crate) fn key_id(&self) -> KeyId {
        self.key.public_key().key_id()
    }

    pub(crate) fn registration(&self) -> Registration {
        self.registration_at(noon())
    }

    pub(crate) fn registration_at(&self, now: Timestamp) -> Registration {
        Registration::new(&self.key, self.name.clone(), self.roles.clone(), now).unwrap()
    }
}

/// Approvals in a file, and a risk lead, a security lead, one who is both, and the one who asks.
pub(crate) struct Desk {
    pub(crate) dir: TempDir,
    pub(crate) approvals: Approvals,
    pub(crate) told: Arc<Told>,
    pub(crate) rita: Person,
    pub(crate) sam: Person,
    pub(crate) bo: Person,
    pub(crate) ann: Person,
}

pub(crate) fn rules() -> ApprovalRules {
    ApprovalRules::classic("deployment:production".parse().unwrap()).unwrap()
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self::empty();
        for person in [&desk.rita, &desk.sam, &desk.bo, &desk.ann] {
            desk.approvals.register(&person.registration(), noon()).unwrap();
        }
        desk.told.take();
        desk
    }

    pub(crate) fn empty() -> Self {
        let dir = TempDir::new().unwrap();
        let told = Arc::new(Told::default());
        let approvals = open(&path_in(&dir)).observed_by(Arc::clone(&told) as _);
        Self {
            dir,
            approvals,
            told,
            rita: Person::new("rita", &["risk_lead"]),
            sam: Person::new("sam", &["security_lead"]),
            bo: Person::new("bo", &["risk_lead", "security_lead"]),
            ann: Person::new("ann", &["risk_lead"]),
        }
    }

    /// Opened once more, as another process would.
    pub(crate) fn opened_again(&self) -> Approvals {
        open(&path_in(&self.dir))
    }

    pub(crate) fn ask(&self) -> Request {
        self.approvals.ask(new_override(), noon()).unwrap()
    }

    pub(crate) fn approve(
        &self,
        request: &Request,
        person: &Person,
        role: &str,
    ) -> Result<Signed, SignError> {
        let role = role.parse().unwrap();
        self.approvals.sign(request.id(), Decision::Approve, Some(&role), &person.key, later(1))
    }

    /// A request that a risk lead and a security lead approved, one minute after noon.
    pub(crate) fn approved(&self) -> Request {
        let request = self.ask();
        self.approve_both(&request);
        request
    }

    pub(crate) fn approve_both(&self, request: &Request) {
        self.approve(request, &self.rita, "risk_lead").unwrap();
        self.approve(request, &self.sam, "security_lead").unwrap();
    }

    pub(crate) fn reject(&self, request: &Request, person: &Person) -> Result<Signed, SignError> {
        self.approvals.sign(request.id(), Decision::Reject, None, &person.key, later(2))
    }

    pub(crate) fn standing(&self, request: &Request, minutes: i64) -> Standing {
        self.approvals.show(request.id(), later(minutes)).unwrap().standing
    }

    pub(crate) fn state(&self, request: &Request) -> State {
        self.standing(request, 3).state
    }

    pub(crate) fn closed(&self, id: &RequestId) -> Option<Closed> {
        self.approvals.show(id, noon()).unwrap().record.closed
    }
}

pub(crate) fn path_in(dir: &TempDir) -> PathBuf {
    dir.path().join(aegis_approval::FILE_NAME)
}

pub(crate) fn open(path: &std::path::Path) -> Approvals {
    with_store(Arc::new(SqliteStore::open(path).unwrap()))
}

pub(crate) fn with_store(store: Arc<dyn Store>) -> Approvals {
    Approvals::new(ApprovalsReader::new(store, rules()))
}

pub(crate) fn new_override() -> NewRequest {
    NewRequest {
        subject: limit(),
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

pub(crate) fn limit() -> Subject {
    Subject::Override("PROP-7: raise the limit".parse().unwrap())
}

/// What the observer was told, a line each.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Told {
    fn before(&self, _act: &Act) -> io::Result<()> {
        Ok(())
    }

    fn observe(&self, act: &Act, ended: Ended<'_>) {
        let what = match act {
            Act::RegisterKey { person, .. } => format!("register {person}"),
            Act::SetRoles { person, .. } => format!("roles {person}"),
            Act::RevokeKey { person, .. } => {
                format!("revoke {}", person.as_ref().map_or("nobody", |person| person.as_str()))
            }
            Act::ReplaceKey { person, .. } => format!("replace {person}"),
            Act::Request(_) => "request".to_owned(),
            Act::Sign { by, decides, .. } => format!(
                "sign {}{}",
                by.person.as_ref().map_or("nobody", |person| person.as_str()),
                if decides.is_some() { ", decided" } else { "" }
            ),
            Act::Reject { by, .. } => {
                format!("reject {}", by.person.as_ref().map_or("nobody", |person| person.as_str()))
            }
            Act::Import { keys, .. } => format!("import of {}", keys.len()),
            Act::Use { signers, .. } => format!("use by {}", signers.len()),
            Act::Emergency(act) => format!("emergency {}", act.step.as_str()),
        };
        let ended = match ended {
            Ended::Done => "",
            Ended::Refused(_) => ": refused",
            Ended::Failed(_) => ": failed",
        };
        self.0.lock().unwrap().push(format!("{what}{ended}"));
    }
}
