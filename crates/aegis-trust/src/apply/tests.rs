//! The transaction, its refusals, and every place where a kill can leave it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use aegis_audit::Entry;
use aegis_crypto::{KeyIdPrefix, SigningKey};
use jiff::ToSpan;

use super::*;
use crate::{
    HostPaths,
    enforce::{Enforcer, RecordingEnforcer},
    keys::{KeyChangeError, Lockout},
    rollback::RollbackError,
    sign::{PayloadSigner, PemSigner, SignRequest},
};

/// A host in a directory of its own, with two signers of which it trusts both.
struct Rehearsal {
    dir: tempfile::TempDir,
    host: Host,
    a: PemSigner,
    b: PemSigner,
    caller: Caller,
    kernel: Kernel,
}

/// An enforcer that can be told to refuse.
#[derive(Clone)]
struct Kernel {
    record: RecordingEnforcer,
    refuses: Rc<RefCell<bool>>,
}

impl Enforcer for Kernel {
    fn name(&self) -> &'static str {
        "test"
    }
    fn enforce(&self, policy: &Policy<'_>, identity: &PolicyIdentity) -> Result<Enforcement, EnforceError> {
        if *self.refuses.borrow() {
            return Err(EnforceError::Rejected { backend: "test", detail: "told to".to_owned(), help: None });
        }
        self.record.enforce(policy, identity)
    }
    fn state(&self) -> Result<Option<Enforcement>, EnforceError> {
        self.record.state()
    }
}

const REQUIRED: ApplyOptions =
    ApplyOptions { signature: SignatureRule::Required, v1: V1::Refuse, mode: Mode::Apply };

fn signer() -> PemSigner {
    let key = SigningKey::generate().unwrap();
    PemSigner::from_pem(key.to_pkcs8_pem().as_bytes(), "test key").unwrap()
}

impl Rehearsal {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = HostPaths::under(dir.path());
        let kernel = Kernel { record: RecordingEnforcer::new(&paths), refuses: Rc::default() };
        let host = Host::with_enforcer(paths, Box::new(kernel.clone())).unwrap();
        let caller = Caller {
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            actor: aegis_audit::Actor::current("test"),
            approvals: Vec::new(),
        };
        let this = Self { dir, host, a: signer(), b: signer(), caller, kernel };
        for (signer, name) in [(&this.a, "a"), (&this.b, "b")] {
            let hex = signer.public_key().to_hex();
            this.host.add_key(&this.caller, hex.as_bytes(), "key.pub", Some(name), None).unwrap();
        }
        this
    }

    fn bundle_by(&self, signer: &PemSigner, version: u64, policy: &str) -> Vec<u8> {
        let request = SignRequest {
            policy: policy.as_bytes(),
            policy_version: version,
            epoch: 0,
            issued_at: self.caller.now,
            expires_at: Some(self.caller.now + (24 * 30).hours()),
            limits: aegis_policy::Limits::default(),
        };
        crate::sign::sign(&request, signer).unwrap()
    }

    fn bundle(&self, version: u64) -> Vec<u8> {
        self.bundle_by(&self.a, version, &format!("version=1\n[deny_path]\n/v{version}\n"))
    }

    fn apply(&self, bytes: Vec<u8>) -> Result<Applied, ApplyError> {
        self.apply_with(bytes, &REQUIRED)
    }

    fn apply_with(&self, bytes: Vec<u8>, options: &ApplyOptions) -> Result<Applied, ApplyError> {
        self.host.apply(&self.caller, Offer::Bytes { name: "policy.signed", bytes }, options)
    }

    fn in_force(&self) -> Option<u64> {
        self.host.version_in_force()
    }

    fn counter(&self) -> Option<u64> {
        self.host.counter().unwrap().map(|counter| counter.policy_version)
    }

    fn entries(&self) -> Vec<Entry> {
        self.host.audit().entries().unwrap().map(Result::unwrap).collect()
    }

    /// Every file of the host but its log, with its content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true if entry.file_name() == "audit" => {}
                    true => walk(&entry.path(), files),
                    false => drop(files.insert(entry.path(), fs::read(entry.path()).unwrap())),
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(self.dir.path(), &mut files);
        files
    }
}

#[test]
fn puts_a_newer_bundle_in_force_and_logs_it_once() {
    let host = Rehearsal::new();
    let before = host.entries().len();
    let applied = host.apply(host.bundle(1)).unwrap();
    assert_eq!((applied.result, applied.policy_version, applied.rules), (ApplyResult::Applied, Some(1), 1));
    host.apply(host.bundle(7)).unwrap();
    assert_eq!((host.in_force(), host.counter()), (Some(7), Some(7)));
    assert_eq!(fs::read(host.host.paths().previous()).unwrap(), host.bundle(1));
    let entries = host.entries();
    assert_eq!(entries.len(), before + 2);
    let last = entries.last().unwrap();
    assert_eq!((last.action, last.outcome), (Action::PolicyApply, Outcome::Accepted));
    assert_eq!(last.detail["policy_version"], 7);
    assert_eq!(last.detail["replaces"], 1);
    assert!(!host.host.paths().journal().exists() && !host.host.paths().staged().exists());
}

#[test]
fn a_refusal_changes_nothing_and_is_logged_once() {
    let host = Rehearsal::new();
    host.apply(host.bundle(7)).unwrap();
    let c = signer();
    let mut forged = host.bundle(8);
    *forged.last_mut().unwrap() ^= 1;
    let mut late = Rehearsal::new();
    late.caller.now = "2026-01-01T00:00:00Z".parse().unwrap();
    let expired = late.bundle_by(&host.a, 9, "version=1\n");
    let mut early = Rehearsal::new();
    early.caller.now = "2026-07-01T00:00:00Z".parse().unwrap();
    let future = early.bundle_by(&host.a, 9, "version=1\n");
    let epoch = {
        let request = SignRequest {
            policy: b"version=1\n",
            policy_version: 1,
            epoch: 1,
            issued_at: host.caller.now,
            expires_at: None,
            limits: aegis_policy::Limits::default(),
        };
        crate::sign::sign(&request, &host.a).unwrap()
    };
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("older", host.bundle(6), "rollback"),
        ("other content", host.bundle_by(&host.a, 7, "version=1\n"), "rollback"),
        ("untrusted", host.bundle_by(&c, 8, "version=1\n"), "bad_signature"),
        ("changed", forged, "bad_signature"),
        ("expired", expired, "expired"),
        ("not yet valid", future, "expired"),
        ("higher epoch", epoch, "other"),
        ("unsigned", b"version=1\n".to_vec(), "bad_signature"),
        ("cut short", host.bundle(8)[..300].to_vec(), "malformed"),
    ];
    for (name, bytes, refusal) in cases {
        let (files, entries) = (host.files(), host.entries().len());
        let error = host.apply(bytes).unwrap_err();
        assert!(error.help().is_some(), "{name}: {error}");
        assert_eq!(host.files(), files, "{name}");
        let log = host.entries();
        assert_eq!(log.len(), entries + 1, "{name}");
        let last = log.last().unwrap();
        assert_eq!(
            (last.outcome, last.detail["refusal"].as_str()),
            (Outcome::Refused, Some(refusal)),
            "{name}"
        );
    }
    assert_eq!((host.in_force(), host.counter()), (Some(7), Some(7)));
}

#[test]
fn refuses_an_unknown_time() {
    let mut host = Rehearsal::new();
    let bundle = host.bundle(1);
    host.caller.now = Timestamp::UNIX_EPOCH;
    assert!(matches!(host.apply(bundle), Err(ApplyError::Verify(VerifyError::Clock { .. }))));
}

#[test]
fn the_policy_in_force_applies_again_at_start_up() {
    let mut host = Rehearsal::new();
    let bundle = host.bundle(1);
    host.apply(bundle.clone()).unwrap();
    assert_eq!(host.apply(bundle.clone()).unwrap().result, ApplyResult::Unchanged);
    // Also long after it expired: expiry takes nothing out of force.
    host.caller.now = "2030-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(host.apply(bundle.clone()).unwrap().result, ApplyResult::Unchanged);
    // And below the counter, while a rollback stands.
    host.caller.now = "2026-06-01T12:00:00Z".parse().unwrap();
    host.apply(host.bundle(2)).unwrap();
    host.host.rollback(&host.caller).unwrap();
    assert_eq!(host.apply(bundle).unwrap().result, ApplyResult::Unchanged);
    assert_eq!(host.counter(), Some(2));
}

#[test]
fn a_policy_that_only_removes_rules_applies() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    let applied = host.apply(host.bundle_by(&host.a, 2, "version=1\n")).unwrap();
    assert_eq!((applied.rules, host.in_force()), (0, Some(2)));
}

#[test]
fn unsigned_is_refused_unless_it_is_asked_for() {
    let host = Rehearsal::new();
    let offer = |signature| host.apply_with(b"version=1\n".to_vec(), &ApplyOptions { signature, ..REQUIRED });
    let rule = |result| match result {
        Err(ApplyError::Unsigned { rule }) => rule,
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(offer(SignatureRule::Required)), UnsignedRule::Asked);
    assert_eq!(rule(offer(SignatureRule::Configured)), UnsignedRule::KeysInstalled);
    let applied = offer(SignatureRule::AllowUnsigned).unwrap();
    assert_eq!((applied.policy_version, host.counter()), (None, None));
    assert!(!applied.warnings.is_empty());
    // It had no version, so the counter is not missed, and the first signed policy goes in.
    host.apply(host.bundle(1)).unwrap();
    assert_eq!(host.in_force(), Some(1));
    // Without its keys the host still knows better than to take an unsigned one.
    fs::remove_dir_all(&host.host.paths().keys_dir).unwrap();
    assert_eq!(rule(offer(SignatureRule::Configured)), UnsignedRule::SignedBefore);
}

#[test]
fn a_missing_counter_is_never_zero() {
    let host = Rehearsal::new();
    host.apply(host.bundle(7)).unwrap();
    let paths = host.host.paths();
    fs::remove_file(&paths.version_counter).unwrap();
    for evidence in [Some(paths.bundle_format()), Some(paths.applied()), None] {
        assert!(matches!(
            host.apply(host.bundle(8)),
            Err(ApplyError::Counter { source: CounterError::Missing { .. } })
        ));
        if let Some(path) = evidence {
            fs::remove_file(path).unwrap();
        }
    }
    // Even with everything gone but the log, it is known, and repaired from there.
    let repaired = host.host.repair_counter(&host.caller, None, "disk failure").unwrap();
    assert_eq!(repaired.counter.policy_version, 7);
    assert!(matches!(host.apply(host.bundle(6)), Err(ApplyError::Refused(CounterRefusal::Rollback { .. }))));
    host.apply(host.bundle(8)).unwrap();
}

#[test]
fn a_repair_never_lowers() {
    let host = Rehearsal::new();
    host.apply(host.bundle(7)).unwrap();
    let repair = |at_least| host.host.repair_counter(&host.caller, at_least, "test");
    assert!(repair(None).is_err() && repair(Some(3)).is_err());
    assert_eq!(host.counter(), Some(7));
    assert_eq!(repair(Some(9)).unwrap().counter.policy_version, 9);
    assert!(host.apply(host.bundle(9)).is_err());
    // An older, one-line counter keeps its number.
    fs::write(&host.host.paths().version_counter, "12\n").unwrap();
    assert!(matches!(
        host.apply(host.bundle(13)),
        Err(ApplyError::Counter { source: CounterError::Malformed { .. } })
    ));
    assert_eq!(repair(None).unwrap().counter.policy_version, 12);
    host.apply(host.bundle(13)).unwrap();
}

#[test]
fn the_old_policy_stays_if_the_kernel_refuses_the_new_one() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    *host.kernel.refuses.borrow_mut() = true;
    assert!(matches!(host.apply(host.bundle(2)), Err(ApplyError::Enforce { .. })));
    assert_eq!((host.in_force(), host.counter()), (Some(1), Some(2)));
    assert_eq!(host.entries().last().unwrap().outcome, Outcome::Refused);
    *host.kernel.refuses.borrow_mut() = false;
    // The counter does not go down for it, and the same bundle may be tried again.
    host.apply(host.bundle(2)).unwrap();
    assert_eq!(host.in_force(), Some(2));
}

#[test]
fn a_rollback_goes_back_once_and_leaves_the_counter() {
    let host = Rehearsal::new();
    assert!(matches!(host.host.rollback(&host.caller), Err(RollbackError::NoPrevious)));
    host.apply(host.bundle(1)).unwrap();
    host.apply(host.bundle(2)).unwrap();
    host.apply(host.bundle(3)).unwrap();
    let back = host.host.rollback(&host.caller).unwrap();
    assert_eq!((back.from_version, back.to_version, back.counter_version), (Some(3), 2, Some(3)));
    assert_eq!((host.in_force(), host.counter()), (Some(2), Some(3)));
    assert_eq!(fs::read(host.host.paths().rolled_back()).unwrap(), host.bundle(3));
    assert!(matches!(host.host.rollback(&host.caller), Err(RollbackError::Stands { from: Some(3) })));
    let degraded = host.host.health(host.caller.now);
    assert!(
        degraded
            .checks
            .iter()
            .any(|check| check.name == "rollback" && check.status != crate::health::Status::Ok)
    );
    host.apply(host.bundle(4)).unwrap();
    assert!(!host.host.paths().rolled_back().exists());
    assert_eq!(fs::read(host.host.paths().previous()).unwrap(), host.bundle(2));
}

#[test]
fn a_rollback_believes_only_what_is_still_trusted() {
    let host = Rehearsal::new();
    host.apply(host.bundle_by(&host.b, 1, "version=1\n")).unwrap();
    host.apply(host.bundle(2)).unwrap();
    let id: KeyIdPrefix = host.b.public_key().key_id().to_string().parse().unwrap();
    host.host.revoke_key(&host.caller, &id, "stolen", Lockout::Refuse).unwrap();
    let (files, error) = (host.files(), host.host.rollback(&host.caller).unwrap_err());
    assert!(matches!(error, RollbackError::Verify { source: VerifyError::Revoked { .. } }), "{error:?}");
    assert_eq!(host.files(), files);
}

#[test]
fn the_last_usable_key_stays_and_a_revoked_one_never_returns() {
    let host = Rehearsal::new();
    let id =
        |signer: &PemSigner| -> KeyIdPrefix { signer.public_key().key_id().to_string().parse().unwrap() };
    host.host.revoke_key(&host.caller, &id(&host.a), "laptop lost", Lockout::Refuse).unwrap();
    let hex = host.a.public_key().to_hex();
    let again = host.host.add_key(&host.caller, hex.as_bytes(), "a.pub", None, None);
    assert!(matches!(again, Err(KeyChangeError::Revoked { .. })));
    for lockout in [
        host.host.remove_key(&host.caller, &id(&host.b), Lockout::Refuse).map(drop),
        host.host.revoke_key(&host.caller, &id(&host.b), "test", Lockout::Refuse).map(drop),
    ] {
        assert!(matches!(lockout, Err(KeyChangeError::Lockout { left: 0, required: 1, .. })));
    }
    // Copying the file back by hand does not make it trusted either.
    fs::write(host.host.paths().keys_dir.join("back.pub"), &hex).unwrap();
    assert!(matches!(host.apply(host.bundle(1)), Err(ApplyError::Verify(VerifyError::Revoked { .. }))));
    host.host.remove_key(&host.caller, &id(&host.b), Lockout::Force).unwrap();
}

#[test]
fn adds_a_key_with_proof_only_where_the_host_demands_it() {
    let host = Rehearsal::new();
    let config = host.host.paths().config_file();
    durable::write_atomic(&config, b"require_key_proof = true\n", 0o644).unwrap();
    let strict = Host::open(host.host.paths().clone()).unwrap();
    let c = signer();
    let hex = c.public_key().to_hex();
    let add = |proof| strict.add_key(&host.caller, hex.as_bytes(), "c.pub", None, proof);
    assert!(matches!(add(None), Err(KeyChangeError::ProofMissing { .. })));
    let challenge = strict.key_challenge(c.public_key()).unwrap();
    let by_other = host.a.sign(challenge.as_bytes()).unwrap();
    assert!(matches!(add(Some(&by_other)), Err(KeyChangeError::ProofWrong { .. })));
    // A signature for another purpose proves nothing here.
    let bundle = SignedBundle::parse(host.bundle_by(&c, 1, "version=1\n")).unwrap();
    assert!(matches!(add(Some(&bundle.signatures()[0].signature)), Err(KeyChangeError::ProofWrong { .. })));
    let proof = c.sign(challenge.as_bytes()).unwrap();
    assert!(!add(Some(&proof)).unwrap().already);
    assert!(add(Some(&proof)).unwrap().already);
}

/// Leaves the host as a kill after each step of `policy apply` would, and checks what the next command finds.
#[test]
fn finishes_what_a_kill_interrupted() {
    for step in 0..7 {
        let host = Rehearsal::new();
        host.apply(host.bundle(1)).unwrap();
        host.apply(host.bundle(2)).unwrap();
        let paths = host.host.paths();
        let file = host.bundle(3);
        let bundle = host.host.verify(file.clone(), V1::Refuse, host.caller.now).unwrap();
        let plan = staged("v3.signed", &Admitted::Signed { bundle, consent: None }, Some(2));
        let counter = Counter { policy_version: 3, policy_sha256: plan.policy.policy_sha256, epoch: 0 };
        let journal = Journal::new(host.caller.now, &host.caller.actor, Change::Apply(plan.clone()));
        durable::write_staged(&paths.staged(), &file, 0o644).unwrap();
        let steps: [&dyn Fn(); 6] = [
            &|| journal.write(paths).unwrap(),
            &|| host.host.advance_counter(&counter).unwrap(),
            &|| durable::link_over(&paths.applied(), &paths.previous()).unwrap(),
            &|| durable::rename_synced(&paths.staged(), &paths.applied()).unwrap(),
            &|| host.host.install(&plan).unwrap(),
            &|| {
                let event = apply_event(&host.caller, "v3.signed", &plan);
                host.host.audit().append(&event.transaction(&journal.transaction)).unwrap();
            },
        ];
        for done in steps.iter().take(step) {
            done();
        }
        let before = host.in_force().unwrap();
        assert!(before == 2 || before == 3, "killed after {step} steps: never neither");
        // Any change finishes it first; this one is refused itself.
        assert!(host.apply(host.bundle(1)).is_err());
        let expected = if step == 0 { 2 } else { 3 };
        assert_eq!((host.in_force(), host.counter()), (Some(expected), Some(expected)), "{step}");
        assert_eq!(fs::read(paths.previous()).unwrap(), host.bundle(expected - 1), "{step}");
        assert!(!paths.journal().exists() && !paths.staged().exists(), "{step}");
        let logged = host
            .entries()
            .iter()
            .filter(|entry| {
                entry.outcome == Outcome::Accepted
                    && entry.detail.get("policy_version").is_some_and(|version| version == 3)
            })
            .count();
        assert_eq!(logged, usize::from(step > 0), "{step}");
    }
}

#[test]
fn gives_up_what_may_no_longer_be_done() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    let paths = host.host.paths();
    let file = host.bundle_by(&host.b, 2, "version=1\n");
    let bundle = host.host.verify(file.clone(), V1::Refuse, host.caller.now).unwrap();
    let plan = staged("v2.signed", &Admitted::Signed { bundle, consent: None }, Some(1));
    durable::write_staged(&paths.staged(), &file, 0o644).unwrap();
    Journal::new(host.caller.now, &host.caller.actor, Change::Apply(plan)).write(paths).unwrap();
    // The operator takes the key file away before the next command, as the runbook says.
    fs::remove_file(paths.keys_dir.join("b.pub")).unwrap();
    host.apply(host.bundle(1)).unwrap();
    assert_eq!((host.in_force(), host.counter()), (Some(1), Some(1)));
    assert!(!paths.journal().exists() && !paths.staged().exists());
    assert!(
        host.entries()
            .iter()
            .any(|entry| entry.outcome == Outcome::Failed && entry.detail.contains_key("recovered"))
    );
}

#[test]
fn a_dry_run_writes_nothing() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    let (files, entries) = (host.files(), host.entries().len());
    let dry = ApplyOptions { mode: Mode::DryRun, ..REQUIRED };
    assert_eq!(host.apply_with(host.bundle(2), &dry).unwrap().result, ApplyResult::WouldApply);
    assert_eq!(host.apply_with(host.bundle(1), &dry).unwrap().result, ApplyResult::WouldNotChange);
    assert!(host.apply_with(b"version=1\n".to_vec(), &dry).is_err());
    assert_eq!((host.files(), host.entries().len()), (files, entries));
}

#[test]
fn applies_at_once_end_in_one_order() {
    let host = Rehearsal::new();
    let bundles: Vec<Vec<u8>> = (1..=20).map(|version| host.bundle(version)).collect();
    let paths = host.host.paths().clone();
    std::thread::scope(|scope| {
        for bundle in &bundles {
            let (paths, caller) = (paths.clone(), host.caller.clone());
            scope.spawn(move || {
                let host = Host::open(paths).unwrap();
                let result = host.apply(
                    &caller,
                    Offer::Bytes { name: "policy.signed", bytes: bundle.clone() },
                    &REQUIRED,
                );
                assert!(
                    matches!(result, Ok(_) | Err(ApplyError::Refused(CounterRefusal::Rollback { .. }))),
                    "{result:?}"
                );
            });
        }
    });
    assert_eq!((host.in_force(), host.counter()), (Some(20), Some(20)));
    let accepted: Vec<u64> = host
        .entries()
        .iter()
        .filter(|entry| entry.action == Action::PolicyApply)
        .filter(|entry| entry.outcome == Outcome::Accepted)
        .filter_map(|entry| entry.detail["policy_version"].as_u64())
        .collect();
    assert!(accepted.is_sorted() && accepted.last() == Some(&20), "{accepted:?}");
}

#[test]
fn what_is_in_force_is_never_called_given_up() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    let paths = host.host.paths();
    let file = host.bundle_by(&host.b, 2, "version=1\n");
    let bundle = host.host.verify(file.clone(), V1::Refuse, host.caller.now).unwrap();
    let (plan, counter) = (staged("v2.signed", &Admitted::Signed { bundle, consent: None }, Some(1)), 2);
    durable::write_staged(&paths.staged(), &file, 0o644).unwrap();
    let journal = Journal::new(host.caller.now, &host.caller.actor, Change::Apply(plan.clone()));
    journal.write(paths).unwrap();
    let PolicyIdentity { policy_sha256, .. } = plan.policy;
    host.host.advance_counter(&Counter { policy_version: counter, policy_sha256, epoch: 0 }).unwrap();
    // Killed after the rename; then the operator takes the signer's key file away.
    durable::rename_synced(&paths.staged(), &paths.applied()).unwrap();
    fs::remove_file(paths.keys_dir.join("b.pub")).unwrap();
    assert!(host.apply(host.bundle(1)).is_err());
    assert_eq!((host.in_force(), host.counter()), (Some(2), Some(2)));
    assert!(!paths.journal().exists());
    let entries = host.entries();
    let of_it = |entry: &&Entry| entry.transaction.as_ref() == Some(&journal.transaction);
    let outcomes: Vec<Outcome> = entries.iter().filter(of_it).map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Outcome::Accepted]);
}

#[test]
fn a_rollback_that_is_given_up_does_not_stand() {
    let host = Rehearsal::new();
    host.apply(host.bundle_by(&host.b, 1, "version=1\n")).unwrap();
    host.apply(host.bundle(2)).unwrap();
    let paths = host.host.paths();
    let file = fs::read(paths.previous()).unwrap();
    let bundle = host.host.verify(file.clone(), V1::Refuse, host.caller.now).unwrap();
    let plan = staged("policy.applied.prev", &Admitted::Signed { bundle, consent: None }, Some(2));
    durable::write_staged(&paths.staged(), &file, 0o644).unwrap();
    Journal::new(host.caller.now, &host.caller.actor, Change::Rollback(plan)).write(paths).unwrap();
    durable::link_over(&paths.applied(), &paths.rolled_back()).unwrap();
    fs::remove_file(paths.keys_dir.join("b.pub")).unwrap();
    host.apply(host.bundle(2)).unwrap();
    assert_eq!(host.in_force(), Some(2));
    assert!(!paths.rolled_back().exists() && !paths.journal().exists());
}

#[test]
fn a_policy_that_the_kernel_refuses_does_not_lock_the_host() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    let paths = host.host.paths();
    let file = host.bundle(2);
    let bundle = host.host.verify(file.clone(), V1::Refuse, host.caller.now).unwrap();
    let plan = staged("v2.signed", &Admitted::Signed { bundle, consent: None }, Some(1));
    durable::write_staged(&paths.staged(), &file, 0o644).unwrap();
    Journal::new(host.caller.now, &host.caller.actor, Change::Apply(plan)).write(paths).unwrap();
    *host.kernel.refuses.borrow_mut() = true;
    let id: KeyIdPrefix = host.b.public_key().key_id().to_string().parse().unwrap();
    host.host.revoke_key(&host.caller, &id, "stolen", Lockout::Refuse).unwrap();
    assert_eq!(host.in_force(), Some(1));
    assert!(!paths.journal().exists() && !paths.staged().exists());
}

#[test]
fn a_key_that_was_written_is_logged_as_added_whatever_lies_beside_it() {
    let host = Rehearsal::new();
    let paths = host.host.paths();
    let c = signer();
    let id = c.public_key().key_id();
    let change =
        Change::AddKey { id, file_name: "c.pub".to_owned(), source: "c.pub".to_owned(), consent: None };
    let journal = Journal::new(host.caller.now, &host.caller.actor, change);
    journal.write(paths).unwrap();
    let (key, junk) = (paths.keys_dir.join("c.pub"), paths.keys_dir.join("junk.pub"));
    durable::write_new(&key, c.public_key().to_spki_pem().as_bytes(), 0o644).unwrap();
    fs::write(&junk, "junk").unwrap();
    assert!(host.apply(host.bundle(1)).is_err());
    let entries = host.entries();
    let of_it = |entry: &&Entry| entry.transaction.as_ref() == Some(&journal.transaction);
    let outcomes: Vec<Outcome> = entries.iter().filter(of_it).map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Outcome::Accepted]);
}

#[test]
fn a_counter_that_was_raised_by_hand_is_not_forgotten_with_its_file() {
    let host = Rehearsal::new();
    let repair = |at_least| host.host.repair_counter(&host.caller, at_least, "test");
    // On a new host, too, where no policy says that there was a counter.
    repair(Some(41)).unwrap();
    let counter = &host.host.paths().version_counter;
    fs::remove_file(counter).unwrap();
    assert!(matches!(
        host.apply(host.bundle(1)),
        Err(ApplyError::Counter { source: CounterError::Missing { .. } })
    ));
    assert_eq!(repair(None).unwrap().counter.policy_version, 41);
    host.apply(host.bundle(42)).unwrap();
    repair(Some(100)).unwrap();
    fs::remove_file(counter).unwrap();
    assert_eq!(repair(None).unwrap().counter.policy_version, 100);
}

#[test]
fn looks_for_a_lost_counter_without_waiting_for_a_fifo() {
    let host = Rehearsal::new();
    let fifo = host.host.paths().applied();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(matches!(
        host.host.counter(),
        Err(CounterError::Evidence { source: ReadError::NotAFile { kind: "a FIFO", .. }, .. })
    ));
}

#[test]
fn begins_nothing_in_a_state_directory_that_others_can_write_to() {
    use std::os::unix::fs::PermissionsExt;
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    let state = &host.host.paths().state_dir;
    for mode in [0o775, 0o757, 0o1777] {
        fs::set_permissions(state, fs::Permissions::from_mode(mode)).unwrap();
        let files = host.files();
        let error = host.apply(host.bundle(2)).unwrap_err();
        assert!(
            matches!(
                &error,
                ApplyError::Change(ChangeError::Lock { source: crate::lock::LockError::Insecure { .. } })
            ),
            "{mode:o}: {error:?}"
        );
        assert_eq!(host.files(), files, "{mode:o}");
        assert!(matches!(host.host.counter(), Err(CounterError::Permissions { .. })), "{mode:o}");
        let health = host.host.health(host.caller.now);
        assert_eq!(health.status, crate::health::Status::Failed, "{mode:o}");
    }
    fs::set_permissions(state, fs::Permissions::from_mode(0o755)).unwrap();
    host.apply(host.bundle(2)).unwrap();
}

#[test]
fn health_fails_if_the_policy_in_force_was_changed() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    let signer = |host: &Rehearsal| {
        let health = host.host.health(host.caller.now);
        health.checks.into_iter().find(|check| check.name == "signer").unwrap().status
    };
    assert_eq!(signer(&host), crate::health::Status::Ok);
    let mut changed = host.bundle(1);
    *changed.last_mut().unwrap() ^= 1;
    fs::write(host.host.paths().applied(), changed).unwrap();
    assert_eq!(signer(&host), crate::health::Status::Failed);
}

#[test]
fn a_change_whose_journal_stands_is_not_called_undone() {
    /// Refuses the policy, and sees to it that the journal cannot be removed.
    struct Saboteur(HostPaths);

    impl Enforcer for Saboteur {
        fn name(&self) -> &'static str {
            "saboteur"
        }
        fn enforce(&self, _: &Policy<'_>, _: &PolicyIdentity) -> Result<Enforcement, EnforceError> {
            fs::remove_file(self.0.journal()).unwrap();
            fs::create_dir(self.0.journal()).unwrap();
            Err(EnforceError::Rejected { backend: "saboteur", detail: "told to".to_owned(), help: None })
        }
        fn state(&self) -> Result<Option<Enforcement>, EnforceError> {
            Ok(None)
        }
    }

    let host = Rehearsal::new();
    let paths = host.host.paths().clone();
    let sabotaged = Host::with_enforcer(paths.clone(), Box::new(Saboteur(paths.clone()))).unwrap();
    let entries = host.entries().len();
    let offer = Offer::Bytes { name: "policy.signed", bytes: host.bundle(1) };
    let error = sabotaged.apply(&host.caller, offer, &REQUIRED).unwrap_err();
    assert!(matches!(error, ApplyError::Change(ChangeError::Step { .. })), "{error:?}");
    // What the next command will do is for its entry to say.
    assert_eq!(host.entries().len(), entries);
    assert!(paths.staged().exists());
}

#[test]
fn a_change_that_cannot_begin_is_logged_too() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    fs::write(host.host.paths().journal(), "{").unwrap();
    let files = host.files();
    let id: KeyIdPrefix = host.b.public_key().key_id().to_string().parse().unwrap();
    let changes: [(Action, &dyn Fn() -> bool); 4] = [
        (Action::PolicyApply, &|| host.apply(host.bundle(2)).is_err()),
        (Action::PolicyRollback, &|| host.host.rollback(&host.caller).is_err()),
        (Action::CounterRepair, &|| host.host.repair_counter(&host.caller, None, "test").is_err()),
        (Action::KeyRevoke, &|| host.host.revoke_key(&host.caller, &id, "stolen", Lockout::Refuse).is_err()),
    ];
    for (action, refused) in changes {
        let before = host.entries().len();
        assert!(refused(), "{action}");
        let entries = host.entries();
        assert_eq!(entries.len(), before + 1, "{action}");
        let last = entries.last().unwrap();
        assert_eq!((last.action, last.outcome), (action, Outcome::Failed));
        assert!(last.reason.as_ref().unwrap().contains("journal"), "{last:?}");
    }
    assert_eq!(host.files(), files);
}

#[test]
fn health_holds_an_unsigned_policy_against_what_is_enforced() {
    let host = Rehearsal::new();
    let unsigned = ApplyOptions { signature: SignatureRule::AllowUnsigned, ..REQUIRED };
    host.apply_with(b"version=1\n".to_vec(), &unsigned).unwrap();
    let enforcement = |host: &Rehearsal| {
        let health = host.host.health(host.caller.now);
        health.checks.into_iter().find(|check| check.name == "enforcement").unwrap().status
    };
    assert_eq!(enforcement(&host), crate::health::Status::Degraded);
    fs::write(host.host.paths().applied(), "version=1\n[deny_path]\n/x\n").unwrap();
    assert_eq!(enforcement(&host), crate::health::Status::Failed);
}

#[test]
fn hosts_that_share_a_key_directory_lose_no_revocation() {
    let dir = tempfile::tempdir().unwrap();
    let paths = |host: usize| HostPaths {
        keys_dir: dir.path().join("keys"),
        ..HostPaths::under(&dir.path().join(host.to_string()))
    };
    durable::make_dir(&dir.path().join("keys"), 0o755).unwrap();
    let caller = Caller {
        now: "2026-06-01T12:00:00Z".parse().unwrap(),
        actor: aegis_audit::Actor::current("test"),
        approvals: Vec::new(),
    };
    std::thread::scope(|scope| {
        for host in 0..8 {
            let (paths, caller) = (paths(host), &caller);
            scope.spawn(move || {
                let id: KeyIdPrefix = sha256(&host.to_be_bytes()).to_string().parse().unwrap();
                let host = Host::open(paths).unwrap();
                host.revoke_key(caller, &id, "stolen", Lockout::Refuse).unwrap();
            });
        }
    });
    let shared = fs::read(dir.path().join("keys/revoked")).unwrap();
    assert_eq!(crate::revoked::RevokedKeys::parse(&shared).unwrap().len(), 8);
}

#[test]
fn a_stolen_key_is_revoked_also_while_the_directory_is_broken() {
    let host = Rehearsal::new();
    let id = host.a.public_key().key_id();
    fs::write(host.host.paths().keys_dir.join("junk.pub"), "junk").unwrap();
    let revoke = |digits: &str| {
        let prefix: KeyIdPrefix = digits.parse().unwrap();
        host.host.revoke_key(&host.caller, &prefix, "stolen", Lockout::Refuse)
    };
    // A prefix can only be told from the directory.
    assert!(matches!(revoke(&id.to_string()[..12]), Err(KeyChangeError::Keys(KeysError::Key { .. }))));
    assert!(revoke(&id.to_string()).unwrap().keys_unreadable.is_some());
    fs::remove_file(host.host.paths().keys_dir.join("junk.pub")).unwrap();
    assert!(matches!(host.apply(host.bundle(1)), Err(ApplyError::Verify(VerifyError::Revoked { .. }))));
}

#[test]
fn a_rollback_never_goes_ahead_of_the_counter() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    host.apply(host.bundle(2)).unwrap();
    fs::write(host.host.paths().previous(), host.bundle(9)).unwrap();
    assert!(matches!(
        host.host.rollback(&host.caller),
        Err(RollbackError::Ahead { offered: 9, accepted: 2 })
    ));
    assert_eq!((host.in_force(), host.counter()), (Some(2), Some(2)));
}

#[test]
fn settings_in_a_directory_that_others_can_write_to_are_refused() {
    let host = Rehearsal::new();
    let dir = &host.host.paths().config_dir;
    fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert!(matches!(
        Host::open(host.host.paths().clone()).map(drop),
        Err(crate::config::ConfigError::Permissions { .. })
    ));
}

#[test]
fn a_host_whose_keys_were_revoked_takes_no_unsigned_policy() {
    let host = Rehearsal::new();
    for signer in [&host.a, &host.b] {
        let id: KeyIdPrefix = signer.public_key().key_id().to_string().parse().unwrap();
        host.host.revoke_key(&host.caller, &id, "stolen", Lockout::Force).unwrap();
    }
    let options = ApplyOptions { signature: SignatureRule::Configured, ..REQUIRED };
    let refused = host.apply_with(b"version=1\n".to_vec(), &options);
    assert!(matches!(refused, Err(ApplyError::Unsigned { rule: UnsignedRule::KeysRevoked })), "{refused:?}");
}

#[test]
fn health_finds_an_edit_inside_the_log() {
    let host = Rehearsal::new();
    host.apply(host.bundle(1)).unwrap();
    let log = host.host.audit().dir().join("log.jsonl");
    let check = || {
        let health = host.host.health(host.caller.now);
        health.checks.into_iter().find(|check| check.name == "audit_log").unwrap().status
    };
    assert_eq!(check(), crate::health::Status::Ok);
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("\"name\":\"a\"", "\"name\":\"x\"", 1)).unwrap();
    assert_ne!(fs::read_to_string(&log).unwrap(), text);
    assert_eq!(check(), crate::health::Status::Failed);
}
