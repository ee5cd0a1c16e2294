//! The drill passes where the runbook would, fails where it would not, and its evidence cannot be forged or carried over.

use aegis_audit::{Actor, Entry, Outcome};
use aegis_crypto::SigningKey;

use super::*;
use crate::{
    apply::{ApplyOptions, Mode, Offer, SignatureRule},
    sign::{
        SignRequest,
        samples::{key, now, signer, time},
        sign,
    },
    verify::V1,
};

struct TestHost {
    dir: tempfile::TempDir,
    host: Host,
    caller: Caller,
}

impl TestHost {
    fn with_settings(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = HostPaths::under(dir.path());
        if !settings.is_empty() {
            durable::make_dir(&paths.config_dir, 0o755).unwrap();
            durable::write_atomic(&paths.config_file(), settings.as_bytes(), 0o644).unwrap();
        }
        let host = Host::open(paths).unwrap();
        Self {
            dir,
            host,
            caller: Caller { now: now(), actor: Actor::current("test"), approvals: Vec::new() },
        }
    }

    fn new() -> Self {
        Self::with_settings("")
    }

    fn applies(&self, policy: &[u8]) {
        let pem = key(1).public_key().to_spki_pem();
        self.host.add_key(&self.caller, pem.as_bytes(), "key.pub", Some("key-1"), None).unwrap();
        let request = SignRequest {
            policy,
            policy_version: 7,
            epoch: 0,
            issued_at: time("2026-01-01T00:00:00Z"),
            expires_at: None,
            limits: aegis_policy::Limits::default(),
        };
        let bytes = sign(&request, &signer(1)).unwrap();
        let options = ApplyOptions { signature: SignatureRule::Required, v1: V1::Refuse, mode: Mode::Apply };
        self.host.apply(&self.caller, Offer::Bytes { name: "policy", bytes }, &options).unwrap();
    }

    fn drill(&self) -> DrillReport {
        self.host.drill(&self.caller, &mut |_| ()).unwrap()
    }

    fn entries(&self) -> Vec<Entry> {
        self.host.audit().entries().unwrap().map(Result::unwrap).collect()
    }

    fn evidence(&self) -> PathBuf {
        self.host.paths().drill_report()
    }

    fn leaves_no_shadow(&self) -> bool {
        !self.host.paths().state_dir.join("drill.shadow").exists()
    }
}

fn failed(report: &DrillReport) -> Vec<&str> {
    report.steps.iter().filter(|step| !step.passed).map(|step| step.name.as_str()).collect()
}

#[test]
fn passes_on_a_fresh_host_and_leaves_signed_evidence_and_one_entry() {
    let host = TestHost::new();
    let mut heard = Vec::new();
    let report = host.host.drill(&host.caller, &mut |line| heard.push(line.to_owned())).unwrap();
    assert!(report.passed, "{:?}", report.steps);
    assert_eq!(heard, report.steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>());
    assert_eq!(heard.len(), 19);
    assert_eq!(fs::read(host.evidence()).unwrap(), report.evidence);
    let last = host.host.last_drill().unwrap().unwrap();
    assert_eq!(last, DrillEvidence { finished_at: now(), passed: true, host_key: report.host_key });
    let entries = host.entries();
    assert_eq!(entries.len(), 1, "what happens on the shadow is not in the log of the host");
    assert_eq!((entries[0].action, entries[0].outcome), (Action::KeyDrill, Outcome::Accepted));
    assert_eq!(entries[0].detail["evidence_sha256"], sha256(&report.evidence).to_string());
    assert!(host.leaves_no_shadow());
    assert_eq!(host.host.counter().unwrap(), None);
    assert!(host.host.trusted_keys().unwrap().is_empty() && host.host.revoked_keys().unwrap().is_empty());
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["evidence"].as_str().unwrap().starts_with("{\"payload\":"));
}

#[test]
fn rehearses_with_the_policy_in_force_and_the_settings_of_the_host() {
    let host = TestHost::with_settings(
        "required_signatures = 1\nrequire_key_proof = false\nrequire_signature = true\n",
    );
    let policy = b"version=1\n[deny_path]\n/etc/shadow\n";
    host.applies(policy);
    let files = |host: &TestHost| {
        let paths = host.host.paths();
        [paths.version_counter.clone(), paths.applied(), paths.enforcement()]
            .map(|path| fs::read(path).unwrap())
    };
    let before = files(&host);
    let report = host.drill();
    assert!(report.passed, "{:?}", report.steps);
    assert_eq!(files(&host), before, "no real policy or counter was touched");
    let statement = HostStatement::parse(&report.evidence, PAYLOAD_TYPE).unwrap();
    let record: Record = serde_json::from_slice(statement.unverified_payload()).unwrap();
    assert_eq!(record.policy_sha256, sha256(policy));
    assert!(host.leaves_no_shadow());
}

#[test]
fn passes_under_a_quorum_and_where_keys_must_prove_themselves() {
    let host = TestHost::with_settings("required_signatures = 3\nrequire_key_proof = true\n");
    let report = host.drill();
    assert!(report.passed, "{:?}", report.steps);
    assert!(
        report.steps[0].observed.matches(',').count() == 2,
        "three keys are trusted: {:?}",
        report.steps[0]
    );
}

#[test]
fn a_drill_that_fails_says_so_and_does_not_restart_the_clock() {
    let mut host = TestHost::new();
    host.drill();
    let good = fs::read(host.evidence()).unwrap();
    // A host that does not know the time can sign and judge nothing.
    host.caller.now = Timestamp::UNIX_EPOCH;
    let report = host.drill();
    assert!(!report.passed);
    assert!(failed(&report).contains(&"apply a policy that it signed"), "{:?}", report.steps);
    assert_eq!(fs::read(host.evidence()).unwrap(), good);
    assert_eq!(host.host.last_drill().unwrap().unwrap().finished_at, now());
    let entry = host.entries().pop().unwrap();
    assert_eq!((entry.action, entry.outcome), (Action::KeyDrill, Outcome::Failed));
    assert!(entry.reason.unwrap().contains("1970"), "the log says which step failed, and how");
    assert!(host.leaves_no_shadow());
}

#[test]
fn finds_a_limit_that_would_stop_the_next_policy() {
    let host = TestHost::new();
    host.applies(b"version=1\n[deny_path]\n/a\n/b\n/c\n");
    let settings = host.host.paths().config_file();
    durable::write_atomic(&settings, b"max_policy_rules = 2\n", 0o644).unwrap();
    let host = TestHost { host: Host::open(HostPaths::under(host.dir.path())).unwrap(), ..host };
    let report = host.drill();
    assert!(!report.passed);
    assert!(failed(&report).contains(&"apply a policy that the next key signed"), "{:?}", report.steps);
}

#[test]
fn does_not_rehearse_with_a_damaged_policy() {
    let host = TestHost::new();
    host.applies(b"version=1\n[deny_path]\n/a\n");
    fs::write(host.host.paths().applied(), b"AEGIS-POLICY-BUNDLE-V2\njunk").unwrap();
    assert!(matches!(host.host.drill(&host.caller, &mut |_| ()), Err(DrillError::Applied { .. })));
    let entry = host.entries().pop().unwrap();
    assert_eq!((entry.action, entry.outcome), (Action::KeyDrill, Outcome::Failed));
    assert!(!host.evidence().exists() && host.leaves_no_shadow());
}

#[test]
fn clears_what_a_killed_drill_left() {
    let host = TestHost::new();
    let shadow = host.host.paths().state_dir.join("drill.shadow");
    fs::create_dir_all(shadow.join("var/lib/aegisbpf")).unwrap();
    fs::write(shadow.join("var/lib/aegisbpf/version_counter"), b"junk").unwrap();
    assert!(host.drill().passed);
    // A link in its place is removed, and what it leads to is not.
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), b"data").unwrap();
    std::os::unix::fs::symlink(outside.path(), &shadow).unwrap();
    assert!(host.drill().passed);
    assert_eq!(fs::read(outside.path().join("precious")).unwrap(), b"data");
    assert!(host.leaves_no_shadow());
}

#[test]
fn evidence_counts_only_as_this_host_signed_it() {
    let host = TestHost::new();
    assert_eq!(host.host.last_drill().unwrap(), None);
    host.drill();
    let good = fs::read(host.evidence()).unwrap();
    for at in 0..good.len() {
        // A bit of every byte for the first and last bytes, of every 23rd in between: each read checks a signature.
        if at > 64 && at < good.len() - 200 && at % 23 != 0 {
            continue;
        }
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(host.evidence(), changed).unwrap();
        assert!(host.host.last_drill().is_err(), "byte {at}");
    }
    fs::write(host.evidence(), &good[..good.len() - 1]).unwrap();
    assert!(host.host.last_drill().is_err());
    fs::write(host.evidence(), b"").unwrap();
    assert!(host.host.last_drill().is_err(), "an empty file is damaged, not absent");
    fs::write(host.evidence(), &good).unwrap();
    assert!(host.host.last_drill().unwrap().unwrap().passed);

    let other = TestHost::new();
    other.drill();
    fs::write(other.evidence(), &good).unwrap();
    assert!(matches!(other.host.last_drill(), Err(DrillError::OtherHost { .. })));
    let bare = TestHost::new();
    fs::create_dir_all(&bare.host.paths().state_dir).unwrap();
    fs::write(bare.evidence(), &good).unwrap();
    assert!(matches!(bare.host.last_drill(), Err(DrillError::OtherHost { .. })));
}

#[test]
fn evidence_outlives_a_host_key_that_was_handed_over() {
    let host = TestHost::new();
    let report = host.drill();
    let event = Event::new(now(), host.caller.actor.clone(), Action::AuditHandOver, "host key");
    let next = host.host.audit().rotate_host_key(&event).unwrap();
    assert_ne!(next, report.host_key);
    assert_eq!(host.host.last_drill().unwrap().unwrap().host_key, report.host_key);
}

#[test]
fn evidence_of_a_failed_or_empty_drill_counts_for_nothing() {
    let host = TestHost::new();
    let report = host.drill();
    let own = host.host.audit().host_key().unwrap();
    let stranger = SigningKey::generate().unwrap();
    let statement = HostStatement::parse(&report.evidence, PAYLOAD_TYPE).unwrap();
    let store = |key: &SigningKey, change: &dyn Fn(&mut Record)| {
        let mut record: Record = serde_json::from_slice(statement.unverified_payload()).unwrap();
        change(&mut record);
        fs::write(host.evidence(), host_statement::sign(key, PAYLOAD_TYPE, &record.to_json())).unwrap();
        host.host.last_drill()
    };
    assert!(store(&own, &|_| ()).unwrap().is_some());
    assert!(matches!(store(&own, &|record| record.passed = false), Err(DrillError::RecordForm { .. })));
    assert!(matches!(
        store(&own, &|record| record.steps[3].passed = false),
        Err(DrillError::RecordForm { .. })
    ));
    assert!(matches!(store(&own, &|record| record.steps.clear()), Err(DrillError::RecordForm { .. })));
    assert!(matches!(store(&own, &|record| record.format = 2), Err(DrillError::RecordForm { .. })));
    assert!(matches!(store(&stranger, &|_| ()), Err(DrillError::Evidence { .. })));
    let named = |record: &mut Record| {
        record.host_key = stranger.public_key().key_id();
        record.host_key_pem = stranger.public_key().to_spki_pem();
    };
    assert!(matches!(store(&stranger, &named), Err(DrillError::OtherHost { .. })));
    // Compact instead of pretty: the same words in another spelling.
    let compact: serde_json::Value = serde_json::from_slice(statement.unverified_payload()).unwrap();
    let line = host_statement::sign(&own, PAYLOAD_TYPE, &serde_json::to_vec(&compact).unwrap());
    fs::write(host.evidence(), line).unwrap();
    assert!(host.host.last_drill().is_err());
    // A backup's list is signed by the same key, and is no evidence.
    let line = host_statement::sign(&own, crate::backup::PAYLOAD_TYPE, statement.unverified_payload());
    fs::write(host.evidence(), line).unwrap();
    assert!(matches!(
        host.host.last_drill(),
        Err(DrillError::Evidence { source: StatementError::PayloadType { .. }, .. })
    ));
}
