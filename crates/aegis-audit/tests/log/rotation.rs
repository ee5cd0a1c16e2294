//! The host key gives way to the next, and the chain holds.

use aegis_audit::{Action, AuditLog, Damage, KeptError, VerifyError, parse_checkpoint};

use crate::sample::{Files, Sample, event, signed_note};

/// Entries and checkpoints under three host keys.
fn rotated() -> (Sample, Vec<Vec<u8>>) {
    let sample = Sample::with(3);
    let mut kept = vec![sample.checkpoint()];
    for number in 3..5 {
        sample.log.rotate_host_key(&event(number)).unwrap();
        kept.push(sample.checkpoint());
        sample.log.append(&event(number)).unwrap();
        kept.push(sample.checkpoint());
    }
    (sample, kept)
}

#[test]
fn a_handed_over_log_verifies_and_names_its_keys() {
    let (sample, kept) = rotated();
    let report = sample.verify(&kept).unwrap();
    assert_eq!((report.size, report.kept, report.earlier_keys.len()), (7, 5, 2));
    let keys = sample.log.host_public_keys().unwrap();
    assert_eq!(keys[0].key_id(), report.host_key);
    assert_eq!(
        keys[1..].iter().map(aegis_crypto::PublicKey::key_id).collect::<Vec<_>>(),
        report.earlier_keys
    );
    assert_eq!(sample.log.host_key().unwrap().public_key(), &keys[0]);
    assert_eq!(sample.log.quick_check().unwrap().host_key, report.host_key);
    // The log keeps its name, and each checkpoint is signed by the key of its time.
    for (at, key) in [(0, 2), (1, 1), (2, 1), (3, 0), (4, 0)] {
        let checkpoint = parse_checkpoint(&kept[at]).unwrap();
        assert_eq!(checkpoint.origin(), report.origin);
        for (number, candidate) in keys.iter().enumerate() {
            assert_eq!(checkpoint.is_signed_by(candidate), number == key, "{at} {number}");
        }
    }
    for key in &keys[1..] {
        let text = std::fs::read_to_string(sample.path(&format!("host.pub.{}", key.key_id()))).unwrap();
        assert_eq!(text, key.to_spki_pem());
    }
    let actions: Vec<Action> = sample.log.entries().unwrap().map(|entry| entry.unwrap().action).collect();
    assert_eq!(actions.iter().filter(|action| **action == Action::AuditHandOver).count(), 2);
    assert_eq!(sample.files().0.len(), 8, "{:?}", sample.files().0.keys());
}

#[test]
fn an_earlier_key_signs_for_its_own_time_only() {
    let sample = Sample::with(3);
    let stolen = sample.log.host_key().unwrap();
    let honest = sample.checkpoint();
    sample.log.rotate_host_key(&event(3)).unwrap();
    sample.log.append(&event(4)).unwrap();
    sample.verify(std::slice::from_ref(&honest)).unwrap();

    // The thief of the old key signs a checkpoint of a size that the log reached after the hand-over.
    let current = parse_checkpoint(&sample.checkpoint()).unwrap();
    let text = String::from_utf8(sample.checkpoint()).unwrap();
    let body = text.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let forged = signed_note(&body, current.origin(), &stolen);
    assert!(parse_checkpoint(&forged).unwrap().is_signed_by(stolen.public_key()));
    let error = sample.verify(std::slice::from_ref(&forged)).unwrap_err();
    assert!(
        matches!(error, VerifyError::Kept { source: KeptError::NotSigned { size: 5, .. }, .. }),
        "{error:?}"
    );

    // In the place of the log's own checkpoint it is refused too.
    let planted = Sample::of(&sample.files().set("checkpoint", forged));
    assert!(matches!(planted.verify(&[]), Err(VerifyError::Damaged { .. })));
    assert!(planted.log.append(&event(9)).is_err());
}

#[test]
fn an_old_checkpoint_of_an_earlier_key_does_not_hide_what_was_changed_since() {
    let (sample, kept) = rotated();
    let files = sample.files();
    let mut lines = files.lines();
    let last = String::from_utf8(lines[6].clone()).unwrap().replace("object-4", "object-x");
    lines[6] = last.into_bytes();
    for old in &kept[..3] {
        let planted = files.clone().set("checkpoint", old.clone());
        for planted in [planted.clone(), planted.set("log.jsonl", lines.concat())] {
            let planted = Sample::of(&planted);
            let error = planted.verify(&kept[..1]).unwrap_err();
            assert!(
                matches!(&error, VerifyError::Damaged { source: Damage::CheckpointNotSigned { .. }, .. }),
                "{error:?}"
            );
            planted.log.quick_check().unwrap_err();
            planted.log.append(&event(9)).unwrap_err();
        }
    }
}

#[test]
fn a_hand_over_for_one_place_or_log_is_none_for_another() {
    let (sample, _) = rotated();
    let files = sample.files();
    let mut lines = files.lines();
    // The first hand-over again, as if the key had been handed over at entry 7 too.
    let again = String::from_utf8(lines[3].clone()).unwrap().replacen("\"seq\":3", "\"seq\":7", 1);
    lines.push(again.into_bytes());
    let error = Sample::of(&files.clone().set("log.jsonl", lines.concat())).verify(&[]).unwrap_err();
    assert!(matches!(error, VerifyError::HandOver { seq: 7, .. }), "{error:?}");
}

/// The files before, after, and at each step between: see `Writer::hand_over`.
fn steps() -> Vec<(&'static str, Files, bool)> {
    let sample = Sample::with(3);
    let before = sample.files();
    sample.log.rotate_host_key(&event(3)).unwrap();
    let after = sample.files();
    let kept = after.0.keys().find(|name| name.starts_with("host.pub.")).unwrap().clone();

    let key = before.clone().set("host.key.next", after.get("host.key"));
    let log = after.get("log.jsonl");
    let line = key.clone().set("log.jsonl", log);
    let head = line.clone().set("checkpoint", after.get("checkpoint"));
    let cache = head.clone().set("frontier", after.get("frontier"));
    let mut kept_key = cache.clone().set(&kept, after.get(&kept));
    kept_key.0.get_mut(&kept).unwrap().1 = 0o644;
    let renamed = kept_key.clone().without("host.key.next").set("host.key", after.get("host.key"));
    vec![
        ("new key begun", before.clone().set("host.key.next.tmp", "-----"), false),
        ("new key written", key.clone(), false),
        ("line torn", key.set("log.jsonl", &log[..log.len() - 10]), false),
        ("line written", line, true),
        ("checkpoint in place", head, true),
        ("frontier in place", cache, true),
        ("old public key kept", kept_key, true),
        ("new key in place", renamed, true),
        ("all done", after, true),
    ]
}

#[test]
fn each_step_of_a_hand_over_can_be_the_last_one() {
    for (what, files, done) in steps() {
        let sample = Sample::of(&files);
        let report = sample.verify(&[]).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let quick = sample.log.quick_check().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(quick.host_key, report.host_key, "{what}");
        sample.log.host_public_keys().unwrap();

        sample.log.append(&event(9)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let report = sample.verify(&[files.get("checkpoint").to_vec()]).unwrap();
        assert_eq!(report.earlier_keys.len(), usize::from(done), "{what}");
        assert_eq!(sample.log.host_key().unwrap().public_key().key_id(), report.host_key, "{what}");
        let names: Vec<String> = sample.files().0.into_keys().collect();
        assert_eq!(names.len(), if done { 7 } else { 6 }, "{what}: {names:?}");

        // And it can be done again.
        let next = sample.log.rotate_host_key(&event(10)).unwrap();
        assert_eq!(sample.verify(&[]).unwrap().host_key, next, "{what}");
    }
}

#[test]
fn a_log_is_verified_where_only_public_files_and_entries_are() {
    // An auditor's copy: no private key, no lock, no cache.
    let (sample, kept) = rotated();
    let copy = sample.files().without("host.key").without("lock").without("frontier");
    let copy = Sample::of(&copy);
    let before = copy.files();
    assert_eq!(copy.verify(&kept).unwrap().size, 7);
    copy.log.quick_check().unwrap();
    copy.log.prove_inclusion(3).unwrap();
    assert_eq!(copy.files(), before);
    assert!(AuditLog::new(copy.log.dir()).append(&event(0)).is_err());
}
