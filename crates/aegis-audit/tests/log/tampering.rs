//! What verification finds, and that an append to such a log is refused and changes nothing.

use std::fs;

use aegis_audit::{AppendError, Damage, Event, KeptError, VerifyError, parse_checkpoint};
use aegis_crypto::SigningKey;

use crate::sample::{Files, Sample, event, signed_note};

const ENTRIES: u64 = 9;

/// A log of nine entries, the checkpoint kept when it had five, and its files then.
fn original() -> (Files, Vec<u8>, Files) {
    let sample = Sample::with(5);
    let (kept, older) = (sample.checkpoint(), sample.files());
    for number in 5..ENTRIES {
        sample.log.append(&event(number)).unwrap();
    }
    (sample.files(), kept, older)
}

fn with_lines(files: &Files, lines: &[Vec<u8>]) -> Files {
    files.clone().set("log.jsonl", lines.concat())
}

#[track_caller]
fn found(files: &Files, kept: &[Vec<u8>], what: &str) -> VerifyError {
    match Sample::of(files).verify(kept) {
        Ok(report) => panic!("{what} was not found: {report:?}"),
        Err(error) => error,
    }
}

/// An append refuses, says what to do, and leaves every byte as it was.
#[track_caller]
fn refuses_to_append(files: &Files, what: &str) -> Damage {
    let sample = Sample::of(files);
    let error = sample.log.append(&event(100)).expect_err(what);
    assert!(error.help().unwrap().contains("aegisbpf audit verify"), "{what}");
    let mut after = sample.files();
    if !files.0.contains_key("lock") {
        after = after.without("lock");
    }
    assert_eq!(&after, files, "{what}");
    match error {
        AppendError::Damaged { source, .. } => source,
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn finds_a_flipped_bit_in_every_byte() {
    let (files, ..) = original();
    let sample = Sample::of(&files);
    let mut log = files.get("log.jsonl").to_vec();
    for at in 0..log.len() {
        log[at] ^= 1 << (at % 8);
        fs::write(sample.path("log.jsonl"), &log).unwrap();
        let error = sample.verify(&[]).expect_err("a flipped bit");
        assert!(matches!(error, VerifyError::Damaged { .. }), "{at}: {error:?}");
        log[at] ^= 1 << (at % 8);
    }
}

#[test]
fn finds_every_entry_that_is_dropped_repeated_or_put_elsewhere() {
    let (files, kept, _) = original();
    let lines = files.lines();
    for at in 0..lines.len() {
        let mut dropped = lines.clone();
        dropped.remove(at);
        found(&with_lines(&files, &dropped), &[], &format!("dropping {at}"));
        let mut repeated = lines.clone();
        repeated.insert(at, lines[at].clone());
        found(&with_lines(&files, &repeated), &[], &format!("repeating {at}"));
        for other in 0..at {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            let error = found(&with_lines(&files, &swapped), std::slice::from_ref(&kept), "a swap");
            assert!(
                matches!(error, VerifyError::Damaged { source: Damage::Sequence { .. }, .. }),
                "{at} and {other}: {error:?}"
            );
        }
    }
}

#[test]
fn finds_an_entry_that_is_replaced_by_another_well_formed_one() {
    let (files, kept, _) = original();
    let mut lines = files.lines();
    // The checkpoint that was kept at five entries says on which side of it the change is.
    for (at, first, last) in [(2, 0, 4), (7, 5, 8)] {
        let honest = lines[at].clone();
        lines[at] = String::from_utf8(honest.clone()).unwrap().replace("alice", "mallo").into_bytes();
        let error = found(&with_lines(&files, &lines), std::slice::from_ref(&kept), "an edit");
        match error {
            VerifyError::Damaged { source: Damage::Changed { from, to }, .. } => {
                assert_eq!((from, to), (first, last));
            }
            other => panic!("{other:?}"),
        }
        lines[at] = honest;
    }
}

#[test]
fn finds_a_log_that_is_cut_at_any_byte() {
    let (files, ..) = original();
    let sample = Sample::of(&files);
    let log = fs::OpenOptions::new().write(true).open(sample.path("log.jsonl")).unwrap();
    for len in (0..files.get("log.jsonl").len() as u64).rev() {
        log.set_len(len).unwrap();
        let error = sample.verify(&[]).expect_err("a cut log");
        assert!(
            matches!(error, VerifyError::Damaged { source: Damage::Shorter { covered: ENTRIES, .. }, .. }),
            "{len}: {error:?}"
        );
    }
}

#[test]
fn finds_an_older_copy_of_the_log_or_of_the_whole_folder() {
    let (files, kept, older) = original();
    let newer = files.get("checkpoint").to_vec();
    found(&files.clone().set("log.jsonl", older.get("log.jsonl")), &[], "an older log");
    // An older folder is whole in itself; only a checkpoint that was kept elsewhere tells.
    Sample::of(&older).verify(&[kept]).unwrap();
    let error = found(&older, &[newer], "an older folder");
    assert!(
        matches!(
            error,
            VerifyError::Kept { number: 1, source: KeptError::CutOff { kept: ENTRIES, here: 5 } }
        ),
        "{error:?}"
    );
}

#[test]
fn finds_a_fork_and_a_log_that_was_written_anew_with_the_host_key() {
    let (files, kept, older) = original();
    // Two logs from one beginning, both signed by the host key.
    let fork = Sample::of(&older);
    for number in 50..54 {
        fork.log.append(&event(number)).unwrap();
    }
    fork.verify(std::slice::from_ref(&kept)).unwrap();
    let error = fork.verify(&[kept, files.get("checkpoint").to_vec()]).unwrap_err();
    assert!(
        matches!(error, VerifyError::Kept { number: 2, source: KeptError::Forked { size: ENTRIES, .. } }),
        "{error:?}"
    );
}

#[test]
fn finds_a_log_that_was_begun_anew_and_a_kept_checkpoint_that_nobody_signed() {
    let (files, kept, _) = original();
    let anew = Sample::with(ENTRIES);
    let error = anew.verify(std::slice::from_ref(&kept)).unwrap_err();
    assert!(matches!(error, VerifyError::Kept { source: KeptError::OtherLog { .. }, .. }), "{error:?}");

    // Somebody without the host key made a checkpoint up.
    let text = String::from_utf8(kept).unwrap();
    let forged = text.replacen("\n5\n", "\n4\n", 1).into_bytes();
    let error = found(&files, &[forged], "a forged checkpoint");
    assert!(
        matches!(error, VerifyError::Kept { source: KeptError::NotSigned { size: 4, .. }, .. }),
        "{error:?}"
    );
    let error = found(&files, &[b"hello\n".to_vec()], "junk");
    assert!(
        matches!(error, VerifyError::Kept { number: 1, source: KeptError::Malformed { .. } }),
        "{error:?}"
    );
}

#[test]
fn finds_a_checkpoint_or_key_that_is_not_the_hosts() {
    let (files, _, older) = original();
    let foreign = Sample::new();
    for number in 100..100 + ENTRIES {
        foreign.log.append(&event(number)).unwrap();
    }
    let foreign = foreign.files();
    let cases = [
        ("no checkpoint", files.clone().without("checkpoint")),
        ("an empty checkpoint", files.clone().set("checkpoint", "")),
        ("half a checkpoint", files.clone().set("checkpoint", &files.get("checkpoint")[..60])),
        ("another host's checkpoint", files.clone().set("checkpoint", foreign.get("checkpoint"))),
        ("another host's log", files.clone().set("log.jsonl", foreign.get("log.jsonl"))),
        ("no log", files.clone().without("log.jsonl")),
        ("an empty log", files.clone().set("log.jsonl", "")),
    ];
    for (what, files) in cases {
        let error = found(&files, &[], what);
        assert!(matches!(error, VerifyError::Damaged { .. }), "{what}: {error:?}");
        assert!(matches!(Sample::of(&files).log.quick_check(), Err(VerifyError::Damaged { .. })), "{what}");
        refuses_to_append(&files, what);
    }

    let replaced =
        files.clone().set("host.pub", foreign.get("host.pub")).set("host.key", foreign.get("host.key"));
    let error = found(&replaced, &[], "another host key");
    assert!(
        matches!(error, VerifyError::Damaged { source: Damage::CheckpointNotSigned { .. }, .. }),
        "{error:?}"
    );
    let damage = refuses_to_append(&replaced, "another host key");
    assert!(matches!(damage, Damage::CheckpointNotSigned { .. }), "{damage:?}");

    // The thief signs the old head with his own key: it is not the key that the log is named after.
    let thief = SigningKey::from_pkcs8_pem(foreign.get("host.key")).unwrap();
    let head = parse_checkpoint(files.get("checkpoint")).unwrap();
    let text = String::from_utf8(files.get("checkpoint").to_vec()).unwrap();
    let body = text.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let resigned = replaced.set("checkpoint", signed_note(&body, head.origin(), &thief));
    let error = found(&resigned, &[], "another host key and its signature");
    assert!(matches!(error, VerifyError::KeyReplaced { .. }), "{error:?}");

    // An older checkpoint beside a longer log is what a crash leaves; a kept newer one still holds.
    let report = Sample::of(&files.clone().set("checkpoint", older.get("checkpoint")))
        .verify(&[files.get("checkpoint").to_vec()])
        .unwrap();
    assert_eq!((report.size, report.unsealed, report.kept), (5, 4, 1));
}

#[test]
fn refuses_to_append_to_a_log_that_is_cut_off_or_whose_end_was_changed() {
    let (files, ..) = original();
    let lines = files.lines();
    let damage = refuses_to_append(&with_lines(&files, &lines[..8]), "a line cut off");
    assert!(matches!(damage, Damage::Shorter { entries: 8, covered: ENTRIES }), "{damage:?}");
    let log = files.get("log.jsonl");
    let damage = refuses_to_append(&files.clone().set("log.jsonl", &log[..log.len() - 1]), "half a line");
    assert!(matches!(damage, Damage::Shorter { entries: 8, .. }), "{damage:?}");

    let mut edited = lines.clone();
    edited[8] = String::from_utf8(edited[8].clone()).unwrap().replace("alice", "mallo").into_bytes();
    let damage = refuses_to_append(&with_lines(&files, &edited), "an edited last line");
    assert!(matches!(damage, Damage::Changed { .. }), "{damage:?}");
}

#[test]
fn refuses_to_take_in_lines_that_this_program_did_not_write() {
    let (files, ..) = original();
    let entry = |seq: u64| {
        let line = String::from_utf8(files.lines()[0].clone()).unwrap();
        line.replacen("\"seq\":0", &format!("\"seq\":{seq}"), 1)
    };
    let cases: [(&str, String); 5] = [
        ("junk", "junk\n".into()),
        ("an empty line", "\n".into()),
        ("a repeated number", entry(8)),
        ("a number left out", entry(10)),
        ("another spelling", entry(9).replacen("{\"seq\"", "{ \"seq\"", 1)),
    ];
    for (what, extra) in cases {
        let longer = [files.get("log.jsonl"), extra.as_bytes()].concat();
        let files = files.clone().set("log.jsonl", longer);
        let damage = refuses_to_append(&files, what);
        assert!(
            matches!(damage, Damage::Line { seq: 9, .. } | Damage::Sequence { expected: 9, .. }),
            "{what}"
        );
        found(&files, &[], what);
    }
    // The number that is next is what a crash leaves; see `crash`.
    let next = [files.get("log.jsonl"), entry(9).as_bytes()].concat();
    Sample::of(&files.set("log.jsonl", next)).log.append(&event(0)).unwrap();
}

#[test]
fn a_hand_over_that_the_host_key_did_not_sign_is_found() {
    let sample = Sample::with(2);
    let claim = Event { action: aegis_audit::Action::AuditHandOver, ..event(0) };
    sample.log.append(&claim).unwrap();
    let error = sample.verify(&[]).unwrap_err();
    assert!(matches!(error, VerifyError::HandOver { seq: 2, .. }), "{error:?}");
    assert!(sample.log.host_public_keys().is_err());
}
