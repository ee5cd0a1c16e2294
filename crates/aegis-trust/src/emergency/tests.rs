//! Who may turn denials off, for how long, and what a kill at any step leaves.

use std::{cell::RefCell, fs, rc::Rc};

use aegis_audit::{AuditLog, Entry};
use aegis_policy::Policy;
use jiff::ToSpan;

use super::*;
use crate::{
    HostPaths,
    apply::{ApplyOptions, Mode, Offer, SignatureRule},
    confirm::ConfirmError,
    drill::custodians::DrillCustodians,
    enforce::{Enforcement, EnforcementMode, Enforcer, RecordingEnforcer},
    verify::V1,
};

/// What the enforcer was told, and what there was on the disk at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Lift {
        time: Duration,
        /// How many entries said that denials go.
        logged: usize,
        /// How many approvals were used.
        used: usize,
    },
    Confirm,
}

/// An enforcer that can be told to fail, and to do something when it is asked what is in force.
#[derive(Clone)]
struct Kernel {
    record: RecordingEnforcer,
    paths: HostPaths,
    inner: Rc<RefCell<Inner>>,
}

#[derive(Default)]
struct Inner {
    told: Vec<Told>,
    fails: bool,
    confirm_by: Option<Timestamp>,
    when_asked: Option<Box<dyn FnOnce()>>,
}

impl Kernel {
    fn answer(&self) -> Result<(), EnforceError> {
        match self.inner.borrow().fails {
            true => Err(EnforceError::Unavailable {
                backend: "test",
                detail: "told to fail".to_owned(),
                help: None,
            }),
            false => Ok(()),
        }
    }
}

impl Enforcer for Kernel {
    fn name(&self) -> &'static str {
        "test"
    }
    fn enforce(&self, policy: &Policy<'_>, identity: &PolicyIdentity) -> Result<Enforcement, EnforceError> {
        self.record.enforce(policy, identity)
    }
    fn confirm(&self) -> Result<(), EnforceError> {
        self.inner.borrow_mut().told.push(Told::Confirm);
        self.answer()?;
        match self.inner.borrow_mut().confirm_by.take() {
            Some(_) => Ok(()),
            None => Err(nothing_enforced("test")),
        }
    }
    fn lift(&self, time: Duration) -> Result<(), EnforceError> {
        let record = crate::custodians::record::Record::load(&self.paths).unwrap().unwrap_or_default();
        let logged = AuditLog::new(self.paths.audit_dir()).entries().map_or(0, |entries| {
            let off = |entry: &Entry| entry.action == Action::EnforcementOff;
            entries.flatten().filter(off).filter(|entry| entry.outcome == Outcome::Accepted).count()
        });
        self.inner.borrow_mut().told.push(Told::Lift { time, logged, used: record.uses().count() });
        self.answer()
    }
    fn state(&self) -> Result<Option<Enforcement>, EnforceError> {
        let hook = self.inner.borrow_mut().when_asked.take();
        if let Some(hook) = hook {
            hook();
        }
        let confirm_by = self.inner.borrow().confirm_by;
        let state = self.record.state()?;
        let mode = Some(EnforcementMode::Enforce);
        Ok(state.map(|state| Enforcement { enforced: true, mode, confirm_by, ..state }))
    }
}

/// A host with a policy in force.
struct Rehearsal {
    _dir: tempfile::TempDir,
    host: Host,
    kernel: Kernel,
    caller: Caller,
    people: Option<DrillCustodians>,
}

const MINUTE: Duration = Duration::from_secs(60);
const POLICY: &[u8] = b"version=1\n[deny_path]\n/etc/shadow\n";

impl Rehearsal {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = HostPaths::under(dir.path());
        let record = RecordingEnforcer::new(&paths);
        let kernel = Kernel { record, paths: paths.clone(), inner: Rc::default() };
        let host = Host::with_enforcer(paths, Box::new(kernel.clone())).unwrap();
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        let actor = aegis_audit::Actor::current("test");
        let caller = Caller { now, actor, approvals: Vec::new() };
        let this = Self { _dir: dir, host, kernel, caller, people: None };
        this.apply(POLICY);
        this
    }

    /// The same where two people decide.
    fn of_two() -> Self {
        let mut this = Self::new();
        let people = DrillCustodians::new(this.caller.now).unwrap();
        let files = people.write(&this.host).unwrap();
        this.host.init_custodians(&this.caller, people.offer(&files)).unwrap();
        this.people = Some(people);
        this
    }

    fn apply(&self, policy: &[u8]) {
        let options =
            ApplyOptions { signature: SignatureRule::AllowUnsigned, v1: V1::Refuse, mode: Mode::Apply };
        let offer = Offer::Bytes { name: "policy.conf", bytes: policy.to_vec() };
        self.host.apply(&self.caller, offer, &options).unwrap();
    }

    /// The caller with an approval by both.
    fn approved(&self, subject: Subject) -> Caller {
        let people = self.people.as_ref().unwrap();
        self.caller.clone().with_approvals(vec![people.approve(subject, self.caller.now).unwrap()])
    }

    fn subject() -> Subject {
        Subject::EnforcementOff(aegis_crypto::sha256(POLICY))
    }

    fn told(&self) -> Vec<Told> {
        self.kernel.inner.borrow().told.clone()
    }

    fn entries(&self, action: Action) -> Vec<Entry> {
        let entries = self.host.audit().entries().unwrap().map(Result::unwrap);
        entries.filter(|entry| entry.action == action).collect()
    }

    fn outcomes(&self, action: Action) -> Vec<Outcome> {
        self.entries(action).iter().map(|entry| entry.outcome).collect()
    }

    /// How many approvals the record has as used.
    fn used(&self) -> usize {
        self.host.custodians_record().unwrap().map_or(0, |record| record.uses().count())
    }

    /// Any command that changes something puts right what was left; this one is refused itself.
    fn next_command(&self, now: Timestamp) {
        let caller = Caller { now, ..self.caller.clone() };
        assert!(self.host.repair_counter(&caller, None, "test").is_err());
        assert!(!self.host.paths().journal().exists());
    }
}

#[test]
fn denials_go_for_a_time_and_the_log_has_it_before() {
    let host = Rehearsal::new();
    let off = host.host.enforcement_off(&host.caller, "pager 4711", 30 * MINUTE).unwrap();
    assert_eq!(off.until, host.caller.now + 30.minutes());
    assert_eq!(off.policy_sha256, aegis_crypto::sha256(POLICY));
    assert_eq!(host.told(), [Told::Lift { time: 30 * MINUTE, logged: 1, used: 0 }]);
    let [entry] = host.entries(Action::EnforcementOff).try_into().unwrap();
    assert_eq!((entry.outcome, entry.reason.as_deref()), (Outcome::Accepted, Some("pager 4711")));
    assert_eq!(entry.detail["until"], "2026-06-01T12:30:00Z");
    assert_eq!(entry.detail["policy_sha256"], off.policy_sha256.to_string());
    assert!(!host.host.paths().journal().exists());
    host.host.enforcement_on(&host.caller).unwrap();
    assert_eq!(host.told()[1], Told::Lift { time: Duration::ZERO, logged: 1, used: 0 });
    assert_eq!(host.outcomes(Action::EnforcementOn), [Outcome::Accepted]);
}

#[test]
fn refuses_other_times_and_reasons() {
    let host = Rehearsal::new();
    let long = "x".repeat(MAX_REASON_LEN + 1);
    type Expected = fn(&EnforcementOffError) -> bool;
    let cases: [(&str, Duration, Expected); 8] = [
        ("", MINUTE, |error| matches!(error, EnforcementOffError::Reason)),
        ("  ", MINUTE, |error| matches!(error, EnforcementOffError::Reason)),
        ("two\nlines", MINUTE, |error| matches!(error, EnforcementOffError::Reason)),
        (&long, MINUTE, |error| matches!(error, EnforcementOffError::Reason)),
        ("why", Duration::ZERO, |error| matches!(error, EnforcementOffError::Time { .. })),
        ("why", Duration::from_millis(999), |error| matches!(error, EnforcementOffError::Time { .. })),
        ("why", MAX_TIME + Duration::from_nanos(1), |error| {
            matches!(error, EnforcementOffError::Time { .. })
        }),
        ("why", Duration::MAX, |error| matches!(error, EnforcementOffError::Time { .. })),
    ];
    let count = cases.len();
    for (reason, time, expected) in cases {
        let error = host.host.enforcement_off(&host.caller, reason, time).unwrap_err();
        assert!(expected(&error) && error.help().is_some(), "{reason:?} {time:?}: {error}");
    }
    assert_eq!(host.outcomes(Action::EnforcementOff), vec![Outcome::Refused; count]);
    assert_eq!(host.told(), []);
    for time in [MIN_TIME, MAX_TIME] {
        host.host.enforcement_off(&host.caller, "why", time).unwrap();
    }
}

#[test]
fn two_people_have_to_agree_and_each_approval_is_used_once() {
    let host = Rehearsal::of_two();
    let off = |caller: &Caller| host.host.enforcement_off(caller, "why", MINUTE);
    let refusal = |result: Result<_, EnforcementOffError>| match result {
        Err(EnforcementOffError::Approval(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refusal(off(&host.caller)), ApprovalError::Needed { .. }));
    let other_policy = Subject::EnforcementOff(aegis_crypto::sha256(b"another"));
    let other_kind = Subject::CustodiansOff(aegis_crypto::sha256(POLICY));
    for subject in [other_policy, other_kind] {
        assert!(matches!(refusal(off(&host.approved(subject))), ApprovalError::Refused { .. }));
    }
    assert_eq!((host.told(), host.used()), (Vec::new(), 0));
    assert_eq!(host.outcomes(Action::EnforcementOff), [Outcome::Refused; 3]);

    let approved = host.approved(Rehearsal::subject());
    assert!(off(&approved).unwrap().approval.is_some());
    // It was used before the denials went.
    assert_eq!(host.told(), [Told::Lift { time: MINUTE, logged: 1, used: 1 }]);
    let entries = host.entries(Action::EnforcementOff);
    assert_eq!(entries.last().unwrap().detail["approved_by"].as_array().unwrap().len(), 2);
    assert!(matches!(refusal(off(&approved)), ApprovalError::Used { .. }));
    assert_eq!(host.told().len(), 1);
    // Nobody is asked to have denials back.
    host.host.enforcement_on(&host.caller).unwrap();
    // What was approved for one policy is not for the next.
    let approved = host.approved(Rehearsal::subject());
    host.apply(b"version=1\n[deny_path]\n/etc/passwd\n");
    assert!(matches!(refusal(off(&approved)), ApprovalError::Refused { .. }));
}

#[test]
fn an_approval_is_refused_where_nobody_could_have_given_it() {
    let two = Rehearsal::of_two();
    let mut one = Rehearsal::new();
    one.caller = two.approved(Rehearsal::subject());
    let error = one.host.enforcement_off(&one.caller, "why", MINUTE).unwrap_err();
    assert!(matches!(error, EnforcementOffError::Approval(ApprovalError::NoCustodians)));
    assert_eq!(one.told(), []);
}

#[test]
fn a_host_that_only_records_has_nothing_to_turn_off() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::open(HostPaths::under(dir.path())).unwrap();
    let mut rehearsal = Rehearsal::new();
    let error = host.enforcement_off(&rehearsal.caller, "why", MINUTE).unwrap_err();
    assert!(matches!(error, EnforcementOffError::NothingInForce));
    assert!(matches!(host.confirm_policy(&rehearsal.caller), Err(ConfirmError::NothingInForce)));
    rehearsal.host = host;
    rehearsal.apply(POLICY);
    let (host, caller) = (&rehearsal.host, &rehearsal.caller);
    for (error, help) in [
        host.enforcement_off(caller, "why", MINUTE).map(drop).map_err(|e| (e.to_string(), e.help())),
        host.enforcement_on(caller).map(drop).map_err(|e| (e.to_string(), e.help())),
        host.confirm_policy(caller).map(drop).map_err(|e| (e.to_string(), e.help())),
    ]
    .map(Result::unwrap_err)
    {
        assert!(error.contains("record-only") && help.is_some(), "{error}");
    }
    for action in [Action::EnforcementOff, Action::EnforcementOn, Action::PolicyConfirm] {
        assert!(!rehearsal.outcomes(action).contains(&Outcome::Accepted), "{action}");
    }
    assert!(!rehearsal.host.paths().journal().exists());
}

#[test]
fn what_cannot_be_logged_is_not_done() {
    let host = Rehearsal::of_two();
    let approved = host.approved(Rehearsal::subject());
    let (audit, aside) = (host.host.paths().audit_dir(), host.host.paths().state_dir.join("aside"));
    // Between the look at the log and the entry, the log cannot be written any more.
    let (from, to) = (audit.clone(), aside.clone());
    host.kernel.inner.borrow_mut().when_asked = Some(Box::new(move || {
        fs::rename(&from, &to).unwrap();
        fs::write(&from, "in the way").unwrap();
    }));
    let error = host.host.enforcement_off(&approved, "why", MINUTE).unwrap_err();
    assert!(matches!(error, EnforcementOffError::Unlogged { .. }), "{error:?}");
    assert_eq!(host.told(), []);
    assert!(!host.host.paths().journal().exists());
    assert_eq!(host.host.take_unlogged().len(), 1);
    fs::remove_file(&audit).unwrap();
    fs::rename(&aside, &audit).unwrap();
    host.next_command(host.caller.now);
    assert_eq!(host.told(), []);
    // Nobody could tell whether the line was written, so the approval counts as used.
    assert_eq!(host.used(), 1);
}

#[test]
fn a_log_that_is_damaged_keeps_denials_on_and_does_not_keep_them_off() {
    let host = Rehearsal::new();
    let log = host.host.paths().audit_dir().join("log.jsonl");
    let text = fs::read(&log).unwrap();
    fs::write(&log, &text[..text.len() / 2]).unwrap();
    let error = host.host.enforcement_off(&host.caller, "why", MINUTE).unwrap_err();
    assert!(matches!(error, EnforcementOffError::Change(ChangeError::AuditUnsound { .. })), "{error:?}");
    assert_eq!(host.told(), []);
    let error = host.host.enforcement_on(&host.caller).unwrap_err();
    assert!(matches!(error, EnforcementOnError::Change(ChangeError::NotLogged { .. })), "{error:?}");
    assert!(matches!(host.told()[..], [Told::Lift { time: Duration::ZERO, .. }]));
}

#[test]
fn a_kernel_that_fails_is_logged_after_the_intent_and_blocks_nothing() {
    let host = Rehearsal::of_two();
    let approved = host.approved(Rehearsal::subject());
    host.kernel.inner.borrow_mut().fails = true;
    let error = host.host.enforcement_off(&approved, "why", MINUTE).unwrap_err();
    assert!(matches!(error, EnforcementOffError::Enforce(_)) && error.help().is_some());
    assert_eq!(host.outcomes(Action::EnforcementOff), [Outcome::Accepted, Outcome::Failed]);
    assert!(matches!(host.host.enforcement_on(&host.caller), Err(EnforcementOnError::Enforce(_))));
    assert_eq!(host.outcomes(Action::EnforcementOn), [Outcome::Failed]);
    host.kernel.inner.borrow_mut().fails = false;
    host.next_command(host.caller.now);
    assert_eq!(host.told().len(), 2, "nothing is tried again that was told to have failed");
}

/// A host as a kill after each step of turning denials off leaves it: nothing; journal; entry; approval used; lifted.
fn killed_after(steps: usize) -> (Rehearsal, Caller) {
    let host = Rehearsal::of_two();
    let approved = host.approved(Rehearsal::subject());
    let paths = host.host.paths();
    let consent = host.host.consent(&approved, &Rehearsal::subject()).unwrap();
    let lift = Lift {
        policy: host.host.denied_by().unwrap(),
        reason: "why".to_owned(),
        until: host.caller.now + 10.minutes(),
        consent,
    };
    let change = Change::EnforcementOff(Box::new(lift.clone()));
    let journal = Journal::new(host.caller.now, &host.caller.actor, change);
    let all: [&dyn Fn(); 4] = [
        &|| journal.write(paths).unwrap(),
        &|| {
            let event = off_event(&approved, &lift).transaction(&journal.transaction);
            host.host.audit().append(&event).unwrap();
        },
        &|| host.host.record_change(lift.consent.as_ref(), KeyEdit::None).unwrap(),
        &|| host.kernel.lift(10 * MINUTE).unwrap(),
    ];
    all.iter().take(steps).for_each(|step| step());
    host.kernel.inner.borrow_mut().told.clear();
    (host, approved)
}

#[test]
fn finishes_what_a_kill_interrupted_for_what_is_left_of_the_time() {
    for steps in 0..=4 {
        let (host, approved) = killed_after(steps);
        host.next_command(host.caller.now + 4.minutes());
        let begun = usize::from(steps > 0);
        let expected = vec![Told::Lift { time: 6 * MINUTE, logged: 1, used: 1 }; begun];
        assert_eq!(host.told(), expected, "{steps}");
        assert_eq!(host.outcomes(Action::EnforcementOff), vec![Outcome::Accepted; begun], "{steps}");
        assert_eq!(host.used(), begun, "{steps}");
        // Used once, whether or not somebody was killed over it.
        let again = host.host.enforcement_off(&approved, "why", MINUTE);
        assert_eq!(again.is_ok(), steps == 0, "{steps}: {again:?}");
    }
}

#[test]
fn lifts_nothing_after_its_time() {
    for steps in 1..=4 {
        let (host, _) = killed_after(steps);
        host.next_command(host.caller.now + 10.minutes());
        assert_eq!(host.told(), [], "{steps}");
        // Until its entry was written nothing was done, so nothing is used up.
        let (outcome, used) = if steps == 1 { (Outcome::Failed, 0) } else { (Outcome::Accepted, 1) };
        assert_eq!(host.outcomes(Action::EnforcementOff), [outcome], "{steps}");
        assert_eq!(host.used(), used, "{steps}");
    }
}

#[test]
fn a_clock_that_was_set_back_lengthens_nothing() {
    let (host, _) = killed_after(2);
    host.next_command(host.caller.now - 3.hours());
    assert_eq!(host.told(), [Told::Lift { time: 10 * MINUTE, logged: 1, used: 1 }]);
}

#[test]
fn a_kernel_that_fails_after_a_kill_blocks_no_other_command() {
    let (host, _) = killed_after(3);
    host.kernel.inner.borrow_mut().fails = true;
    host.next_command(host.caller.now);
    assert_eq!(host.outcomes(Action::EnforcementOff), [Outcome::Accepted, Outcome::Failed]);
    assert_eq!(host.used(), 1);
}

#[test]
fn denials_come_back_also_if_that_was_interrupted() {
    for fails in [false, true] {
        let host = Rehearsal::new();
        let policy = Some(host.host.denied_by().unwrap());
        let change = Change::EnforcementOn { policy };
        Journal::new(host.caller.now, &host.caller.actor, change).write(host.host.paths()).unwrap();
        host.kernel.inner.borrow_mut().fails = fails;
        host.next_command(host.caller.now);
        assert_eq!(host.told(), [Told::Lift { time: Duration::ZERO, logged: 0, used: 0 }]);
        let outcome = if fails { Outcome::Failed } else { Outcome::Accepted };
        assert_eq!(host.outcomes(Action::EnforcementOn), [outcome]);
    }
}

#[test]
fn a_policy_is_confirmed_once() {
    let host = Rehearsal::new();
    host.kernel.inner.borrow_mut().confirm_by = Some(host.caller.now + 5.minutes());
    let confirmed = host.host.confirm_policy(&host.caller).unwrap();
    assert_eq!(confirmed.policy_sha256, aegis_crypto::sha256(POLICY));
    let error = host.host.confirm_policy(&host.caller).unwrap_err();
    assert!(matches!(error, ConfirmError::Enforce(_)) && error.help().is_some());
    assert_eq!(host.outcomes(Action::PolicyConfirm), [Outcome::Accepted, Outcome::Failed]);
    assert_eq!(host.told(), [Told::Confirm, Told::Confirm]);
    assert!(!host.host.paths().journal().exists());
}

#[test]
fn an_interrupted_confirmation_is_logged_as_what_became_of_it() {
    // Killed before it was confirmed, after it was, and with a kernel that no longer takes it.
    for (waits, fails, outcome) in
        [(true, false, Outcome::Accepted), (false, false, Outcome::Accepted), (true, true, Outcome::Failed)]
    {
        let host = Rehearsal::new();
        let policy = host.host.denied_by().unwrap();
        Journal::new(host.caller.now, &host.caller.actor, Change::ConfirmPolicy { policy })
            .write(host.host.paths())
            .unwrap();
        {
            let mut inner = host.kernel.inner.borrow_mut();
            inner.confirm_by = waits.then(|| host.caller.now + 5.minutes());
            inner.fails = fails;
        }
        host.next_command(host.caller.now);
        assert_eq!(host.outcomes(Action::PolicyConfirm), [outcome], "{waits} {fails}");
    }
}

#[test]
fn a_fallback_is_logged_once_for_each_apply() {
    let host = Rehearsal::new();
    let policy = host.host.denied_by().unwrap();
    assert!(host.host.log_fallback(&host.caller, &policy).unwrap());
    assert!(!host.host.log_fallback(&host.caller, &policy).unwrap());
    host.apply(POLICY);
    assert!(host.host.log_fallback(&host.caller, &policy).unwrap());
    assert_eq!(host.outcomes(Action::PolicyFallback), [Outcome::Accepted; 2]);
}
