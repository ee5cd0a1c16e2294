//! Each thing is logged once wherever the program is killed, and a key is erased with its approval or not at all.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegis_approval::{
    Act, Approvals, Audience, Closed, Decision, EmergencyOrder, Ended, NewKey, NewRequest, Observer, Quorum,
    Registration, ReportFormat, Request, RequestId, State, Subject, UseError,
};
use aegis_audit::{Action, Entry, Outcome};
use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey, HybridPrivateKey};
use aegis_kek::{Kek, ProviderKind};
use aegis_keyring::{
    ChangeDekError, DekState, DekVersion, Grace, KekRotation, KekRotationOptions, KekState, Keyring, Scope,
};
use jiff::{SignedDuration, Timestamp};

use super::erasure::{ErasureError, Insisted, dek_subject};
use super::log::ApprovalLog;
use super::{ApprovalsError, RotateCustodian};
use crate::change_log::Intent;
use crate::deks::{ChangeError, Destruction};
use crate::deployment::{Deployment, KeyringPlace};
use crate::state_dir::StateDir;

struct Person {
    name: &'static str,
    role: &'static str,
    key: CustodianPrivateKey,
}

impl Person {
    fn new(name: &'static str, role: &'static str) -> Self {
        Self { name, role, key: CustodianPrivateKey::generate(CustodianAlgorithm::Bip322).unwrap() }
    }

    fn again(&self) -> Self {
        Self::new(self.name, self.role)
    }

    fn registration(&self) -> Registration {
        let roles = BTreeSet::from([self.role.parse().unwrap()]);
        Registration::new(&self.key, self.name.parse().unwrap(), roles, Timestamp::now()).unwrap()
    }
}

/// A deployment with a keyring, a risk lead and a security lead.
struct Site {
    _dir: Box<dyn std::any::Any>,
    deployment: Deployment,
    kek: Kek,
    rita: Person,
    sam: Person,
}

const INSIST: &str = "insist = [\"dek.destroy\", \"kek.retire\"]\n";

impl Site {
    fn new() -> Self {
        let dir = test_services::scratch::dir();
        let deployment = Deployment::new(StateDir::new(dir.path().join("state")), "test");
        deployment.state_dir().prepare().unwrap();
        let kek = Kek::new(HybridPrivateKey::generate().unwrap());
        let place = KeyringPlace::File(deployment.state_dir().keyring());
        let keyring = deployment.open_keyring(&place).unwrap();
        keyring.enrol_first_kek(&kek, ProviderKind::Environment).unwrap();
        let (rita, sam) = (Person::new("rita", "risk_lead"), Person::new("sam", "security_lead"));
        let site = Self { _dir: Box::new(dir), deployment, kek, rita, sam };
        for person in [&site.rita, &site.sam] {
            site.deployment.approvals().unwrap().register(&person.registration(), Timestamp::now()).unwrap();
        }
        site
    }

    fn insisting() -> Self {
        let site = Self::new();
        std::fs::write(site.deployment.state_dir().approval_rules(), INSIST).unwrap();
        site
    }

    fn keyring(&self) -> Keyring {
        self.deployment.keyring().unwrap()
    }

    /// A DEK that may be destroyed now.
    fn marked(&self) -> DekVersion {
        let scope = Scope::default();
        let version = match self.keyring().store().active_dek(&scope).unwrap() {
            Some(active) => active.version,
            None => self.deployment.create_dek(&scope).unwrap().version,
        };
        self.deployment.rotate_dek(&scope).unwrap();
        let marked = self.deployment.destroy_dek(version, Duration::ZERO, None).unwrap();
        assert!(matches!(marked, Destruction::Marked(_)));
        version
    }

    fn state(&self, version: DekVersion) -> DekState {
        self.keyring().show(version).unwrap().unwrap().state
    }

    fn ask(&self, subject: Subject) -> Request {
        self.deployment.approvals().unwrap().ask(asked(subject), Timestamp::now()).unwrap()
    }

    fn sign(&self, request: &Request, person: &Person, decision: Decision) {
        let approvals = self.deployment.approvals().unwrap();
        approvals.sign(request.id(), decision, None, &person.key, Timestamp::now()).unwrap();
    }

    fn approved(&self, subject: Subject) -> RequestId {
        let request = self.ask(subject);
        self.sign(&request, &self.rita, Decision::Approve);
        self.sign(&request, &self.sam, Decision::Approve);
        request.id().clone()
    }

    fn closed(&self, id: &RequestId) -> Option<Closed> {
        let reader = self.deployment.read_approvals().unwrap();
        reader.show(id, Timestamp::now()).unwrap().record.closed
    }

    fn entries(&self, actions: &[Action]) -> Vec<Entry> {
        let entries = self.deployment.change_log().log().entries().unwrap().map(Result::unwrap);
        entries.filter(|entry| actions.contains(&entry.action)).collect()
    }

    fn pending(&self) -> usize {
        count_files(&self.deployment.state_dir().pending_dir())
    }
}

fn count_files(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

fn asked(subject: Subject) -> NewRequest {
    NewRequest {
        subject,
        audience: "deployment:default".parse::<Audience>().unwrap(),
        justification: "It is no longer needed.".parse().unwrap(),
        failed_gates: BTreeSet::new(),
        requester: "ann".parse().unwrap(),
        quorum: Quorum::classic(),
        algorithms: CustodianAlgorithm::ALL.into(),
        lifetime: SignedDuration::from_hours(1),
        use_within: SignedDuration::from_hours(1),
    }
}

fn limit() -> Subject {
    Subject::Override("PROP-7".parse().unwrap())
}

/// Where a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// Before it is stored.
    Noted,
    /// Before it is logged.
    Stored,
    /// Before the note is removed.
    Logged,
}

/// An [`ApprovalLog`] of a process that is killed.
struct Killed {
    log: ApprovalLog,
    kill: Kill,
    site: Arc<crate::change_log::ChangeLog>,
}

impl Observer for Killed {
    fn before(&self, act: &Act) -> io::Result<()> {
        self.log.before(act)?;
        match self.kill {
            Kill::Noted => Err(io::Error::other("killed")),
            Kill::Stored | Kill::Logged => Ok(()),
        }
    }

    fn observe(&self, act: &Act, ended: Ended<'_>) {
        if self.kill == Kill::Logged {
            let transaction = self.log.transaction().unwrap();
            super::log::log_ended(&self.site, act, ended, Some(&transaction));
        }
    }
}

#[test]
fn everything_is_logged_once_wherever_the_program_is_killed() {
    type Step = fn(&Site, &Approvals, &RequestId);
    let approve: Step = |site, approvals, id| {
        let _ = approvals.sign(id, Decision::Approve, None, &site.sam.key, Timestamp::now());
    };
    let steps: [(&str, &[Action], usize, Step); 10] = [
        ("register", &[Action::CustodianRegister], 2, |site, approvals, _| {
            let _ = approvals.register(&site.sam.again().registration(), Timestamp::now());
        }),
        ("roles", &[Action::CustodianRoles], 0, |_, approvals, _| {
            let _ =
                approvals.set_roles(&"sam".parse().unwrap(), &BTreeSet::from(["counsel".parse().unwrap()]));
        }),
        ("revoke", &[Action::CustodianRevoke], 0, |site, approvals, _| {
            let _ = approvals.revoke_key(site.sam.key.public_key().key_id(), Timestamp::now());
        }),
        ("replace", &[Action::CustodianReplace], 0, |site, approvals, _| {
            // The first half is done: what is killed is the second.
            let new = site.sam.again();
            site.deployment
                .read_approvals()
                .map(Approvals::new)
                .unwrap()
                .register(&new.registration(), Timestamp::now())
                .unwrap();
            let old = site.sam.key.public_key().key_id();
            let _ = approvals.replace_key(old, &new.registration(), Timestamp::now());
        }),
        ("request", &[Action::ApprovalRequest], 1, |_, approvals, _| {
            let _ = approvals.ask(asked(limit()), Timestamp::now());
        }),
        ("sign", &[Action::ApprovalSign], 1, approve),
        ("decide", &[Action::ApprovalDecide], 0, approve),
        ("reject", &[Action::ApprovalReject], 0, |site, approvals, id| {
            let _ = approvals.sign(id, Decision::Reject, None, &site.sam.key, Timestamp::now());
        }),
        ("use", &[Action::ApprovalUse], 0, |site, approvals, id| {
            let quiet = site.deployment.read_approvals().map(Approvals::new).unwrap();
            quiet.sign(id, Decision::Approve, None, &site.sam.key, Timestamp::now()).unwrap();
            let _ = approvals.use_approval(id, &limit(), &"deploy-7".parse().unwrap(), Timestamp::now());
        }),
        ("emergency", &[Action::EmergencyRotate], 0, |site, approvals, _| {
            let old_key = site.sam.key.public_key().key_id();
            let reason = "stolen".parse().unwrap();
            let _ = approvals
                .emergency(EmergencyOrder { old_key, reason: &reason, with_deks: false }, Timestamp::now());
        }),
    ];
    for (name, actions, before, step) in steps {
        for kill in [Kill::Noted, Kill::Stored, Kill::Logged] {
            let site = Site::new();
            let request = site.ask(limit());
            site.sign(&request, &site.rita, Decision::Approve);
            assert_eq!(site.entries(actions).len(), before, "{name}");
            let log = Arc::clone(site.deployment.change_log());
            {
                let reader = site.deployment.read_approvals().unwrap();
                let killed = Killed { log: ApprovalLog::new(Arc::clone(&log)), kill, site: log };
                let approvals = Approvals::new(reader).observed_by(Arc::new(killed));
                step(&site, &approvals, request.id());
            }
            assert_eq!(site.pending(), 1, "{name} {kill:?}");
            let logged = match kill {
                Kill::Noted => before,
                Kill::Stored | Kill::Logged => before + 1,
            };
            for _ in 0..2 {
                drop(site.deployment.approvals().unwrap());
                let found = site.entries(actions);
                assert_eq!(found.len(), logged, "{name} {kill:?}: {found:?}");
                assert!(found.iter().all(|entry| entry.outcome == Outcome::Accepted), "{name} {kill:?}");
                assert_eq!(site.pending(), 0, "{name} {kill:?}");
            }
            let recovered = |entry: &Entry| entry.detail.contains_key("recovered");
            assert_eq!(
                site.entries(actions).last().is_some_and(recovered),
                kill == Kill::Stored,
                "{name} {kill:?}"
            );
        }
    }
}

#[test]
fn a_decision_and_its_use_are_found_by_each_key_that_approved() {
    let site = Site::new();
    let id = site.approved(limit());
    let approvals = site.deployment.approvals().unwrap();
    approvals.use_approval(&id, &limit(), &"deploy-7".parse().unwrap(), Timestamp::now()).unwrap();
    let again = approvals.use_approval(&id, &limit(), &"deploy-8".parse().unwrap(), Timestamp::now());
    again.unwrap_err();
    drop(approvals);
    for person in [&site.rita, &site.sam] {
        let key = Some(person.key.public_key().key_id().to_string());
        let query = aegis_audit::Query { key, ..aegis_audit::Query::default() };
        let found = site.deployment.change_log().log().query(&query).unwrap();
        let found: Vec<_> =
            found.map(|entry| entry.unwrap()).map(|entry| (entry.action, entry.outcome)).collect();
        assert_eq!(
            found,
            [
                (Action::CustodianRegister, Outcome::Accepted),
                (Action::ApprovalSign, Outcome::Accepted),
                (Action::ApprovalDecide, Outcome::Accepted),
                (Action::ApprovalUse, Outcome::Accepted),
                (Action::ApprovalUse, Outcome::Refused),
            ],
            "{}",
            person.name
        );
    }
    site.deployment.change_log().log().verify(&[], &mut |_, _| {}).unwrap();
}

#[test]
fn refusals_are_logged_and_forged_signatures_as_such() {
    let site = Site::new();
    let (request, other) = (site.ask(limit()), site.ask(limit()));
    let role = "risk_lead".parse().unwrap();
    let forged = aegis_approval::sign_offline(
        &other,
        Decision::Approve,
        &"rita".parse().unwrap(),
        &role,
        &site.rita.key,
        Timestamp::now(),
    );
    let approvals = site.deployment.approvals().unwrap();
    approvals.add_signature(request.id(), forged.unwrap(), Timestamp::now()).unwrap_err();
    drop(approvals);
    let text = site.rita.key.dangerous_to_secret_text();
    let error = Registration::parse(text.as_bytes()).unwrap_err();
    site.deployment.log_refused_file(super::OfferedFile::Registration, "rita.custodian", &error);
    let private = site.entries(&[Action::CustodianRegister]).pop().unwrap();
    assert_eq!((private.outcome, &*private.object), (Outcome::Refused, "rita.custodian"));
    assert!(!serde_json::to_string(&private).unwrap().contains(&text[40..]), "{private:?}");
    let refused = site.entries(&[Action::ApprovalSign]).pop().unwrap();
    assert_eq!((refused.outcome, refused.detail_str("refusal")), (Outcome::Refused, Some("bad_signature")));
    assert_eq!(refused.detail_str("key_id"), Some(&*site.rita.key.public_key().key_id().to_string()));
    assert_eq!(site.pending(), 0);
}

#[test]
fn without_a_rule_nothing_changes_and_with_one_nothing_is_destroyed_unapproved() {
    let site = Site::new();
    let version = site.marked();
    site.deployment.destroy_dek(version, Duration::ZERO, None).unwrap();
    assert_eq!(site.state(version), DekState::Destroyed);

    let site = Site::insisting();
    // To be marked, which can be taken back, takes no approval.
    let version = site.marked();
    let refused = site.deployment.destroy_dek(version, Duration::ZERO, None).unwrap_err();
    assert!(matches!(refused, ChangeError::Approval(ErasureError::Needed { .. })), "{refused}");
    assert!(refused.help().unwrap().contains(&format!("dek.destroy {version}")));
    assert_eq!(site.state(version), DekState::Retired);
    let entry = site.entries(&[Action::DekDestroy]).pop().unwrap();
    assert_eq!((entry.outcome, entry.object), (Outcome::Refused, version.to_string()));

    // Rules that cannot be read are no rules that are kept.
    std::fs::write(site.deployment.state_dir().approval_rules(), "insits = []").unwrap();
    let refused = site.deployment.destroy_dek(version, Duration::ZERO, None).unwrap_err();
    assert!(matches!(refused, ChangeError::Approval(ErasureError::Rules(_))), "{refused}");
    assert!(matches!(site.deployment.approvals().unwrap_err(), ApprovalsError::Rules(_)));
    assert_eq!(site.state(version), DekState::Retired);
}

#[test]
fn a_dek_is_destroyed_by_its_approval_which_is_used_by_that() {
    let site = Site::insisting();
    let version = site.marked();
    let id = site.approved(dek_subject(version));
    let destroyed = site.deployment.destroy_dek(version, Duration::ZERO, Some(&id)).unwrap();
    assert!(matches!(destroyed, Destruction::Destroyed(_)));
    assert_eq!(site.state(version), DekState::Destroyed);
    assert!(matches!(site.closed(&id), Some(Closed::Consumed { .. })));
    let entries = site.entries(&[Action::ApprovalUse, Action::DekDestroy]);
    let last: Vec<_> = entries.iter().map(|entry| (entry.action, entry.outcome)).collect();
    assert_eq!(
        last,
        [
            (Action::DekDestroy, Outcome::Accepted), // marked
            (Action::ApprovalUse, Outcome::Accepted),
            (Action::DekDestroy, Outcome::Accepted),
        ]
    );
    assert_eq!(site.pending(), 0);
}

#[test]
fn an_approval_that_does_not_hold_destroys_nothing_and_is_not_used() {
    let site = Site::insisting();
    let version = site.marked();
    let other = site.marked();
    let partial = site.ask(dek_subject(version));
    site.sign(&partial, &site.rita, Decision::Approve);
    let rejected = site.approved(dek_subject(version));
    let request = site.deployment.read_approvals().unwrap().show(&rejected, Timestamp::now()).unwrap();
    site.sign(&request.record.request, &site.sam, Decision::Reject);
    let for_other = site.approved(dek_subject(other));
    let unknown: RequestId = "req-00000000000000000000000000000000".parse().unwrap();
    for id in [partial.id(), &rejected, &for_other, &unknown] {
        let refused = site.deployment.destroy_dek(version, Duration::ZERO, Some(id)).unwrap_err();
        assert!(matches!(refused, ChangeError::Approval(ErasureError::Use(_))), "{refused}");
        assert_eq!(site.state(version), DekState::Retired);
        let entry = site.entries(&[Action::DekDestroy]).pop().unwrap();
        assert_eq!(entry.outcome, Outcome::Refused, "{entry:?}");
        assert_eq!(site.pending(), 0);
    }
    assert_eq!(site.closed(&for_other), None);
    site.deployment.destroy_dek(other, Duration::ZERO, Some(&for_other)).unwrap();
    let again = site.deployment.destroy_dek(version, Duration::ZERO, Some(&for_other)).unwrap_err();
    assert!(matches!(again, ChangeError::Approval(ErasureError::Use(UseError::Closed { .. }))), "{again}");
}

#[test]
fn an_approval_is_not_used_for_what_the_keyring_refuses() {
    let site = Site::insisting();
    let scope = Scope::default();
    let version = site.deployment.create_dek(&scope).unwrap().version;
    site.deployment.rotate_dek(&scope).unwrap();
    let id = site.approved(dek_subject(version));
    // The approval is for the end; to be marked, it is not used.
    site.deployment.destroy_dek(version, Duration::from_secs(3600), Some(&id)).unwrap();
    let refused = site.deployment.destroy_dek(version, Duration::ZERO, Some(&id)).unwrap_err();
    assert!(matches!(refused, ChangeError::Change(ChangeDekError::NotDue { .. })), "{refused}");
    assert_eq!(site.closed(&id), None);
    assert_eq!(site.pending(), 0);
}

/// What a kill leaves between the steps of a destruction.
fn interrupted(site: &Site, version: DekVersion, id: &RequestId, kill: Kill) {
    let insisted = site.deployment.insisted(dek_subject(version), Some(id)).unwrap();
    let record = site.keyring().show(version).unwrap().unwrap();
    let intent = Intent::DekState {
        version: version.to_string(),
        change: crate::change_log::DekChange::Destroy,
        before: (record.state.as_str().to_owned(), record.destroy_after),
        approval: insisted.id(),
    };
    let held = site.deployment.begin_erasure(intent, &insisted).unwrap();
    let quiet = site.deployment.read_approvals().map(Approvals::new).unwrap();
    if kill != Kill::Noted {
        let used_for = held.note.transaction.parse().unwrap();
        quiet.use_approval(id, &dek_subject(version), &used_for, Timestamp::now()).unwrap();
    }
    if kill == Kill::Logged {
        site.keyring().store().destroy_dek(version, Timestamp::now()).unwrap();
    }
    site.deployment.change_log().leave(held);
}

#[test]
fn killed_between_the_use_and_the_erasure_the_next_command_erases() {
    for kill in [Kill::Noted, Kill::Stored, Kill::Logged] {
        let site = Site::insisting();
        let version = site.marked();
        let id = site.approved(dek_subject(version));
        let before = site.entries(&[Action::DekDestroy]).len();
        interrupted(&site, version, &id, kill);
        assert_eq!(site.pending(), 1);
        // Any command that changes the keyring.
        for _ in 0..2 {
            site.deployment.rotate_dek(&Scope::default()).unwrap();
            let used = site.entries(&[Action::ApprovalUse]).len();
            let destroyed = site.entries(&[Action::DekDestroy]).len() - before;
            if kill == Kill::Noted {
                assert_eq!((used, destroyed), (0, 0));
                assert_eq!((site.state(version), site.closed(&id)), (DekState::Retired, None));
            } else {
                assert_eq!((used, destroyed), (1, 1), "{kill:?}");
                assert_eq!(site.state(version), DekState::Destroyed, "{kill:?}");
            }
            assert_eq!(site.pending(), 0, "{kill:?}");
        }
    }
}

#[test]
fn killed_between_the_use_and_the_erasure_the_same_command_goes_on() {
    let site = Site::insisting();
    let version = site.marked();
    let id = site.approved(dek_subject(version));
    interrupted(&site, version, &id, Kill::Stored);
    let done = site.deployment.destroy_dek(version, Duration::ZERO, Some(&id));
    // The lock was taken, and with it what was left was done: nothing is left to be destroyed.
    assert!(matches!(done, Err(ChangeError::Change(ChangeDekError::Destroyed { .. }))), "{done:?}");
    assert_eq!(site.state(version), DekState::Destroyed);
    assert_eq!(site.pending(), 0);
}

#[test]
fn a_used_approval_whose_key_can_no_longer_be_erased_is_logged_as_that() {
    let site = Site::insisting();
    let version = site.marked();
    let id = site.approved(dek_subject(version));
    interrupted(&site, version, &id, Kill::Stored);
    // Another machine takes the mark back, past this one's lock.
    let record = site.keyring().show(version).unwrap().unwrap();
    site.keyring().store().change_dek(&record, DekState::Retired, None, Timestamp::now()).unwrap();
    site.deployment.rotate_dek(&Scope::default()).unwrap();
    assert_eq!(site.state(version), DekState::Retired);
    assert_eq!(site.entries(&[Action::ApprovalUse]).len(), 1);
    let last = site.entries(&[Action::DekDestroy]).pop().unwrap();
    assert_eq!(last.outcome, Outcome::Refused, "{last:?}");
    assert_eq!(site.pending(), 0);
}

#[test]
fn a_kek_is_retired_by_its_approval_alone() {
    let site = Site::insisting();
    site.deployment.create_dek(&Scope::default()).unwrap();
    let new = Kek::new(HybridPrivateKey::generate().unwrap());
    let options = KekRotationOptions::default();
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    let keyring = site.keyring();
    KekRotation::new(&keyring, &site.kek, &new, ProviderKind::Environment, options).run(go_on).unwrap();
    let old = site.kek.key_id();
    let subject = || Subject::KekRetire(old);
    assert!(matches!(site.deployment.insisted(subject(), None).unwrap_err(), ErasureError::Needed { .. }));
    let state = || {
        let keks = site.keyring().store().keks().unwrap();
        keks.into_iter().find(|kek| kek.key_id() == old).unwrap().state
    };
    let retire = |id: &RequestId| {
        let insisted = site.deployment.insisted(subject(), Some(id)).unwrap();
        let intent = Intent::KekRetired { kek: old, approval: insisted.id() };
        let held = site.deployment.begin_erasure(intent, &insisted).unwrap();
        let go_on = &mut |_| std::ops::ControlFlow::Continue(());
        let guarded = insisted.guard(&site.keyring());
        let retired = guarded.retire_kek(old, &new, Grace::CutShort, &options, go_on);
        site.deployment.end_erasure(held, &insisted, retired.is_ok())
    };
    let unsigned = site.ask(subject());
    assert!(matches!(retire(unsigned.id()), Some(ErasureError::Use(_))));
    assert_eq!(state(), KekState::Grace);
    let id = site.approved(subject());
    assert!(retire(&id).is_none());
    assert_eq!((state(), site.pending()), (KekState::Retired, 0));
    assert!(matches!(site.closed(&id), Some(Closed::Consumed { .. })));
    assert_eq!(Insisted::No.id(), None);
}

#[test]
fn killed_between_the_use_and_the_retirement_the_next_command_retires() {
    let site = Site::insisting();
    site.deployment.create_dek(&Scope::default()).unwrap();
    let new = Kek::new(HybridPrivateKey::generate().unwrap());
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    let options = KekRotationOptions::default();
    KekRotation::new(&site.keyring(), &site.kek, &new, ProviderKind::Environment, options)
        .run(go_on)
        .unwrap();
    let old = site.kek.key_id();
    let id = site.approved(Subject::KekRetire(old));
    let insisted = site.deployment.insisted(Subject::KekRetire(old), Some(&id)).unwrap();
    let intent = Intent::KekRetired { kek: old, approval: insisted.id() };
    let held = site.deployment.begin_erasure(intent, &insisted).unwrap();
    let quiet = site.deployment.read_approvals().map(Approvals::new).unwrap();
    let used_for = held.note.transaction.parse().unwrap();
    quiet.use_approval(&id, &Subject::KekRetire(old), &used_for, Timestamp::now()).unwrap();
    site.deployment.change_log().leave(held);
    site.deployment.rotate_dek(&Scope::default()).unwrap();
    let keks = site.keyring().store().keks().unwrap();
    assert_eq!(keks.iter().find(|kek| kek.key_id() == old).unwrap().state, KekState::Retired);
    for action in [Action::ApprovalUse, Action::KekRetire] {
        assert_eq!(site.entries(&[action]).len(), 1, "{action}");
    }
    assert_eq!(site.pending(), 0);
}

#[test]
fn an_emergency_rotates_the_deks_that_were_there_and_each_once() {
    let site = Site::new();
    let payroll: Scope = "payroll".parse().unwrap();
    let before = [Scope::default(), payroll.clone()]
        .map(|scope| (site.deployment.create_dek(&scope).unwrap().version, scope));
    let request = site.ask(limit());
    site.sign(&request, &site.sam, Decision::Approve);
    let new = site.sam.again();
    let registration = new.registration();
    let reason = "laptop stolen".parse().unwrap();
    let run = |new_key| {
        let order =
            EmergencyOrder { old_key: site.sam.key.public_key().key_id(), reason: &reason, with_deks: true };
        let mut out = Vec::new();
        let mut reopened = Vec::new();
        let done = site.deployment.rotate_custodian(
            RotateCustodian { order, new_key },
            &mut |finding| {
                reopened.push(finding.request.clone());
                Ok(())
            },
            |report| report.write_to(ReportFormat::Text, &mut out),
        );
        (done.unwrap(), reopened, out)
    };
    let (waiting, ..) = run(NewKey::Later);
    assert_eq!((waiting.left, waiting.deks.len()), (aegis_approval::Left::NewKey, 0));
    let (done, reopened, out) = run(NewKey::Registration(&registration));
    assert_eq!((done.left, done.reopened, done.deks.len()), (aegis_approval::Left::Nothing, 1, 2));
    assert_eq!(reopened, [request.id().clone()]);
    assert!(String::from_utf8(out).unwrap().contains(request.id().as_str()));
    for (version, scope) in &before {
        let active = site.keyring().store().active_dek(scope).unwrap().unwrap();
        assert_ne!(active.version, *version, "{scope}");
        assert!(active.created_at >= done.rotation.started);
    }
    let (again, ..) = run(NewKey::Later);
    assert_eq!((again.left, again.deks.len()), (aegis_approval::Left::Nothing, 0));
    let steps: Vec<_> = site
        .entries(&[Action::EmergencyRotate])
        .into_iter()
        .map(|entry| entry.detail_str("step").unwrap().to_owned())
        .collect();
    let all = aegis_approval::RotationStep::ALL.map(aegis_approval::RotationStep::as_str);
    assert_eq!(steps, all);
    assert_eq!(site.entries(&[Action::DekRotate]).len(), 2);
    let shown = site.deployment.read_approvals().unwrap().show(request.id(), Timestamp::now()).unwrap();
    assert_eq!(shown.standing.state, State::Pending);
}

#[test]
fn approvals_that_nobody_made_are_absent_to_a_reader() {
    let dir = test_services::scratch::dir();
    let deployment = Deployment::new(StateDir::new(dir.path().join("state")), "test");
    assert!(matches!(deployment.read_approvals().unwrap_err(), ApprovalsError::Absent { .. }));
    // Custodians can be there before there is a keyring.
    let rita = Person::new("rita", "risk_lead");
    deployment.approvals().unwrap().register(&rita.registration(), Timestamp::now()).unwrap();
    assert!(
        deployment
            .read_approvals()
            .unwrap()
            .registry()
            .unwrap()
            .custodian(&"rita".parse().unwrap())
            .is_some()
    );
}
