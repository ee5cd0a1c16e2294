//! What a caller sees of a healthy log.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use aegis_audit::{
    Action, Actor, AuditLog, Event, Outcome, Query, ReadError, VerifyError, parse_checkpoint, parse_entry,
};

use serde_json::Value;

use crate::export::entry_of;
use crate::sample::{Sample, event};

#[test]
fn nothing_is_touched_before_the_first_event() {
    let sample = Sample::new();
    assert!(!sample.log.exists());
    assert_eq!(sample.log.entries().unwrap().count(), 0);
    assert_eq!(sample.log.checkpoint().unwrap(), None);
    assert!(sample.log.host_public_keys().unwrap().is_empty());
    assert!(!sample.log.has_transaction("tx", 10).unwrap());
    assert!(matches!(sample.log.quick_check(), Err(VerifyError::Missing { .. })));
    assert!(matches!(sample.verify(&[]), Err(VerifyError::Missing { .. })));
    assert!(matches!(sample.log.prove_inclusion(0), Err(ReadError::Missing { .. })));
    assert!(!sample.log.dir().exists());
}

#[test]
fn the_files_are_readable_by_their_owner_only() {
    let sample = Sample::with(2);
    let mode = |name: &str| fs::metadata(sample.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("."), 0o700);
    for name in ["log.jsonl", "checkpoint", "frontier", "host.key", "lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(mode("host.pub"), 0o644);
    assert_eq!(sample.files().0.len(), 6, "{:?}", sample.files().0.keys());
}

#[test]
fn entries_come_back_as_they_were_logged() {
    let sample = Sample::with(30);
    assert!(sample.log.exists());
    let entries: Vec<_> = sample.log.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.len(), 30);
    for (entry, number) in entries.iter().zip(0..) {
        let event = event(number);
        assert_eq!((entry.seq, entry.time, &entry.actor), (number, event.time, &event.actor));
        assert_eq!(
            (entry.action, &entry.object, entry.outcome),
            (event.action, &event.object, event.outcome)
        );
        assert_eq!((&entry.reason, &entry.detail), (&event.reason, &event.detail));
        assert_eq!(entry.transaction, event.transaction);
    }
    for (line, entry) in sample.files().lines().iter().zip(&entries) {
        assert_eq!(&parse_entry(line.strip_suffix(b"\n").unwrap()).unwrap(), entry);
    }
    let last: Vec<_> = sample.log.last_entries(7).unwrap().map(Result::unwrap).collect();
    assert_eq!(last, entries[23..]);
    assert_eq!(sample.log.last_entries(31).unwrap().count(), 30);
    assert_eq!(sample.log.last_entries(0).unwrap().count(), 0);
}

#[test]
fn a_log_longer_than_a_block_is_read_from_its_end() {
    let sample = Sample::new();
    for number in 0..40 {
        sample.log.append(&event(number).reason("x".repeat(3000))).unwrap();
    }
    for count in [1, 5, 6, 39, 40, 41] {
        let seqs: Vec<u64> =
            sample.log.last_entries(count).unwrap().map(|entry| entry.unwrap().seq).collect();
        let first = 40_u64.saturating_sub(count as u64);
        assert_eq!(seqs, (first..40).collect::<Vec<_>>());
    }
}

#[test]
fn a_transaction_is_found_among_the_last_entries_only() {
    let sample = Sample::with(10);
    assert!(sample.log.has_transaction("tx-9", 1).unwrap());
    assert!(!sample.log.has_transaction("tx-8", 1).unwrap());
    assert!(sample.log.has_transaction("tx-8", 2).unwrap());
    assert!(sample.log.has_transaction("tx-0", usize::MAX).unwrap());
    assert!(!sample.log.has_transaction("tx", usize::MAX).unwrap());
}

#[test]
fn the_quick_check_and_the_whole_verification_agree() {
    let sample = Sample::with(13);
    let quick = sample.log.quick_check().unwrap();
    let mut seen = Vec::new();
    let whole = sample.log.verify(&[], &mut |done, total| seen.push((done, total))).unwrap();
    assert_eq!((quick.size, quick.root, quick.host_key), (whole.size, whole.root, whole.host_key));
    assert_eq!((whole.size, whole.unsealed, whole.torn_bytes, whole.kept), (13, 0, 0, 0));
    assert_eq!(quick.last_time, whole.last_time);
    assert_eq!(whole.first_time, Some(event(0).time));
    assert_eq!(whole.bytes, fs::metadata(sample.path("log.jsonl")).unwrap().len());
    assert_eq!((seen[0], seen[seen.len() - 1]), ((0, whole.bytes), (whole.bytes, whole.bytes)));
    let head = parse_checkpoint(&sample.checkpoint()).unwrap();
    assert_eq!((head.size(), head.root()), (13, whole.root));
    assert_eq!(head.origin(), format!("aegisbpf/{}", whole.host_key.fingerprint()));
    assert_eq!(sample.log.host_key().unwrap().public_key().key_id(), whole.host_key);
}

#[test]
fn a_log_without_entries_is_whole() {
    let sample = Sample::new();
    let key = sample.log.host_key().unwrap();
    assert_eq!(sample.verify(&[]).unwrap().size, 0);
    assert_eq!(sample.log.quick_check().unwrap().last_time, None);
    let empty = sample.checkpoint();
    assert_eq!(sample.log.append(&event(0)).unwrap().seq, 0);
    assert_eq!(sample.verify(&[empty]).unwrap().kept, 1);
    assert_eq!(sample.log.host_public_keys().unwrap(), [*key.public_key()]);
}

#[test]
fn the_quick_check_does_not_read_the_whole_log() {
    // A changed first entry is not seen by it, and is by the whole verification: that is what each promises.
    let sample = Sample::with(9);
    let mut bytes = fs::read(sample.path("log.jsonl")).unwrap();
    bytes[9] ^= 1;
    fs::write(sample.path("log.jsonl"), bytes).unwrap();
    sample.log.quick_check().unwrap();
    sample.verify(&[]).unwrap_err();
}

#[test]
fn every_checkpoint_ever_made_is_held_against_the_log() {
    let sample = Sample::new();
    let mut kept = Vec::new();
    for number in 0..20 {
        sample.log.append(&event(number)).unwrap();
        kept.push(sample.checkpoint());
    }
    assert_eq!(sample.verify(&kept).unwrap().kept, 20);
    kept.reverse();
    assert_eq!(sample.verify(&kept).unwrap().kept, 20);
}

#[test]
fn proofs_hold_for_what_they_say_and_nothing_else() {
    let sample = Sample::with(11);
    let key = *sample.log.host_key().unwrap().public_key();
    let other = *Sample::with(1).log.host_key().unwrap().public_key();
    for seq in 0..11 {
        let proof = sample.log.prove_inclusion(seq).unwrap();
        assert!(proof.holds(&key));
        assert!(!proof.holds(&other));
        assert_eq!(parse_entry(proof.line.as_bytes()).unwrap().seq, seq);
        for wrong in [
            aegis_audit::InclusionProof { seq: (seq + 1) % 11, ..proof.clone() },
            aegis_audit::InclusionProof { line: proof.line.replace("object", "abject"), ..proof.clone() },
            aegis_audit::InclusionProof { hashes: proof.hashes[1..].to_vec(), ..proof.clone() },
            aegis_audit::InclusionProof { checkpoint: proof.checkpoint.replace("11", "12"), ..proof.clone() },
        ] {
            assert!(!wrong.holds(&key));
        }
        let json = serde_json::to_string(&proof).unwrap();
        assert_eq!(serde_json::from_str::<aegis_audit::InclusionProof>(&json).unwrap(), proof);
    }
    for old in 0..=11 {
        let proof = sample.log.prove_consistency(old).unwrap();
        assert!(proof.holds(&key, &proof.old_root), "{old}");
        assert!(!proof.holds(&other, &proof.old_root));
        assert!(!proof.holds(&key, &sample.log.prove_consistency((old + 1) % 12).unwrap().old_root));
    }
    assert!(matches!(sample.log.prove_inclusion(11), Err(ReadError::NoSuchEntry { seq: 11, size: 11 })));
    assert!(matches!(
        sample.log.prove_consistency(12),
        Err(ReadError::NoSuchSize { old_size: 12, size: 11 })
    ));
}

#[test]
fn a_damaged_log_proves_nothing() {
    let sample = Sample::with(5);
    let mut bytes = fs::read(sample.path("log.jsonl")).unwrap();
    bytes[20] ^= 1;
    fs::write(sample.path("log.jsonl"), bytes).unwrap();
    assert!(matches!(sample.log.prove_inclusion(4), Err(ReadError::Damaged { .. })));
    assert!(matches!(sample.log.prove_consistency(4), Err(ReadError::Damaged { .. })));
}

#[test]
fn a_query_gives_what_it_asks_for() {
    // Each action once, and the first nine once more.
    let actions = u64::try_from(Action::ALL.len()).unwrap();
    let sample = Sample::with(actions + 9);
    let found = |query: Query| -> Vec<u64> {
        sample.log.query(&query).unwrap().map(|entry| entry.unwrap().seq).collect()
    };
    let any = Query::default();
    let time = event(0).time;
    let later = time + jiff::SignedDuration::from_millis(1);
    assert_eq!(found(any.clone()).len(), Action::ALL.len() + 9);
    assert_eq!(found(Query { limit: Some(3), ..any.clone() }), [0, 1, 2]);
    assert_eq!(found(Query { action: Some(Action::KeyRevoke), ..any.clone() }), [5, 5 + actions]);
    assert_eq!(found(Query { outcome: Some(Outcome::Failed), limit: Some(2), ..any.clone() }), [2, 5]);
    assert_eq!(found(Query { object: Some("ject-1".into()), limit: Some(3), ..any.clone() }), [1, 10, 11]);
    assert_eq!(found(Query { key: Some(format!("{:064X}", 10)), ..any.clone() }), [10]);
    assert_eq!(found(Query { since: Some(later), ..any.clone() }), [] as [u64; 0]);
    assert_eq!(found(Query { since: Some(time), limit: Some(1), ..any.clone() }), [0]);
    assert_eq!(found(Query { until: Some(time), ..any.clone() }), [] as [u64; 0]);
    assert_eq!(found(Query { until: Some(later), limit: Some(1), ..any }), [0]);
}

#[test]
fn every_decision_of_a_key_is_found_by_it() {
    let key = |byte: u8| hex_of(byte);
    let about = |action, name: &str, value: Value| {
        let event = Event { action, object: "req-1".to_owned(), ..event(0) };
        let entry = entry_of(&Event { detail: [(name.to_owned(), value)].into(), ..event });
        move |wanted: String| Query { key: Some(wanted), ..Query::default() }.matches(&entry)
    };
    let signed = about(Action::ApprovalSign, "key_id", key(1).into());
    let decided = about(Action::ApprovalDecide, "signers", vec![key(2), key(1)].into());
    let used = about(Action::ApprovalUse, "signers", vec![key(1), key(3)].into());
    let gone = about(Action::EmergencyRotate, "old_key_id", key(1).into());
    for found in [&signed as &dyn Fn(String) -> bool, &decided, &used, &gone] {
        assert!(found(key(1)) && found(key(1)[..16].to_uppercase()));
        assert!(!found(key(4)));
    }
}

fn hex_of(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

#[test]
fn names_read_back_and_unknown_ones_say_which_there_are() {
    for action in Action::ALL {
        assert_eq!(action.as_str().parse::<Action>().unwrap(), action);
        assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
    }
    for outcome in Outcome::ALL {
        assert_eq!(outcome.as_str().parse::<Outcome>().unwrap(), outcome);
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
    }
    assert_eq!(
        "denied\n".parse::<Outcome>().unwrap_err().to_string(),
        "there is no outcome \"denied?\", only accepted, refused, failed"
    );
}

#[test]
fn a_folder_is_made_with_those_above_it() {
    let sample = Sample::new();
    let log = AuditLog::new(sample.path("var/lib/aegisbpf/audit"));
    log.append(&event(0)).unwrap();
    assert_eq!(fs::metadata(log.dir()).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn the_running_process_is_an_actor() {
    let actor = Actor::current("aegis\u{1b}bpf");
    assert_eq!((&*actor.program, actor.pid), ("aegis?bpf", std::process::id()));
    assert_eq!(actor.uid, fs::metadata("/proc/self").unwrap().uid());
    assert!(actor.user.is_none_or(|user| !user.is_empty() && user.len() <= 64));
}
