//! What was refused: kept, sealed, and opened again by whoever has the key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use aegis_telemetry::{
    Batch, CallbackSink, DeadLetterFile, DeadLetterFileError, DeadLetterRecord, Delivered, OpenLetterError,
    Reason, RecordError,
};
use test_services::scratch;

use crate::fixture::{
    DEK, KEY, LONG, Reader, Ring, Taken, assert_no_plaintext, builder, event, logs, quick, refused,
    wait_until, workers,
};

fn file(dir: &Path) -> DeadLetterFile {
    DeadLetterFile::open(&dir.join("dead.jsonl"), DeadLetterFile::DEFAULT_LIMIT).unwrap()
}

fn records(dir: &Path) -> Vec<DeadLetterRecord> {
    let bytes = fs::read(dir.join("dead.jsonl")).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| DeadLetterRecord::parse(line).unwrap()).collect()
}

/// What is wrong with an event that has personal values in it.
fn broken(number: u64) -> String {
    event(number).0.replace("null]", "nul]")
}

/// Refuses two events, for the harness.
pub(crate) fn keep_some(dir: &Path) {
    let ring = Ring::new();
    let pipeline = builder(&ring, workers(1))
        .add_sink("out", Taken::default().sink(), quick())
        .dead_letters(file(dir), Arc::clone(&ring) as _)
        .start()
        .unwrap();
    for number in 1..=2 {
        pipeline.emit(broken(number)).unwrap();
        pipeline.flush(LONG).unwrap();
    }
    pipeline.close(LONG).unwrap();
}

#[test]
fn an_event_that_cannot_be_sealed_is_kept_sealed_whole() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    let pipeline = builder(&ring, workers(2))
        .add_sink("out", Taken::default().sink(), quick())
        .dead_letters(file(dir.path()), Arc::clone(&ring) as _)
        .start()
        .unwrap();
    pipeline.emit(event(1).0).unwrap();
    pipeline.emit(broken(2)).unwrap();
    pipeline.refuse_unread(1 << 40);
    let settled = pipeline.close(LONG).unwrap();
    assert_eq!((settled.refused, settled.letters_lost), (2, 0));

    let path = dir.path().join("dead.jsonl");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&path).unwrap();
    assert_no_plaintext("the dead letters", &bytes, [1, 2]);
    assert_no_plaintext("the log", &logs(), [1, 2]);
    let mut records = records(dir.path());
    records.sort_by_key(|record| record.len);
    let [letter, unread] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(
        (letter.reason, letter.len, letter.dek().unwrap().as_str()),
        (Reason::NotJson, broken(2).len(), DEK)
    );
    let place = broken(2).find("nul]").unwrap();
    assert!(letter.offset.is_some_and(|offset| (place..place + 4).contains(&offset)), "{letter:?}");
    assert_eq!(letter.open(&KEY).unwrap().as_slice(), broken(2).as_bytes());
    assert_eq!((unread.reason, unread.len, unread.dek()), (Reason::OverLimit, 1 << 40, None));
    assert_eq!(unread.open(&KEY).unwrap_err(), OpenLetterError::NoBox);
}

#[test]
fn a_letter_that_was_changed_or_is_for_another_key_does_not_open() {
    let dir = scratch::dir();
    keep_some(dir.path());
    let bytes = fs::read(dir.path().join("dead.jsonl")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let records = records(dir.path());
    assert_eq!(records[1].open(&KEY).unwrap().as_slice(), broken(2).as_bytes());
    let other = aegis_crypto::HybridPrivateKey::generate().unwrap();
    assert!(matches!(records[0].open(&other), Err(OpenLetterError::Open(_))));
    // With the id of the other letter, another time, reason, or version of the DEK.
    for (from, to) in [
        (records[0].id.as_str(), records[1].id.as_str()),
        ("\"at\":\"20", "\"at\":\"19"),
        ("\"not_json\"", "\"not_utf8\""),
        (DEK, "dek-v1-20260102"),
    ] {
        let changed = lines[0].replace(from, to);
        assert_ne!(changed, lines[0]);
        let record = DeadLetterRecord::parse(changed.as_bytes()).unwrap();
        assert!(matches!(record.open(&KEY), Err(OpenLetterError::Open(_))), "{from}");
    }
}

#[test]
fn refuses_lines_that_are_no_letters() {
    let dir = scratch::dir();
    keep_some(dir.path());
    let text = String::from_utf8(fs::read(dir.path().join("dead.jsonl")).unwrap()).unwrap();
    let line = text.lines().next().unwrap();
    let parse = |line: &str| DeadLetterRecord::parse(line.as_bytes()).unwrap_err();
    for (from, to, member) in [
        ("\"_dead_letter\":1", "\"_dead_letter\":2", "_dead_letter"),
        ("\"reason\":\"not_json\"", "\"reason\":\"other\"", "reason"),
        ("x25519+ml-kem-768", "x25519", "_algorithm"),
        (DEK, "dek-v2", "_dek_version"),
        ("\"_ciphertext\":\"", "\"_ciphertext\":\"*", "_ciphertext"),
        (",\"_algorithm\":\"x25519+ml-kem-768+aes-256-gcm\"", "", "_ciphertext"),
    ] {
        assert!(line.contains(from), "{from}");
        assert_eq!(parse(&line.replace(from, to)), RecordError::Member { member }, "{from}");
    }
    for malformed in ["", "{}", "[]", "{\"_dead_letter\":1}", &line[..line.len() - 1], &format!("{line}x")] {
        assert!(matches!(parse(malformed), RecordError::Malformed { .. }), "{malformed}");
    }
    let extra = line.replacen('{', "{\"more\":1,", 1);
    assert!(matches!(parse(&extra), RecordError::Malformed { .. }));
}

#[test]
fn what_a_sink_refuses_is_kept_as_it_was_sealed() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    let picky = CallbackSink::new(|_: &Batch| Err(refused()));
    let partly = CallbackSink::new(|batch: &Batch| {
        Ok(if batch.events().len() > 1 { Delivered::AllBut(1) } else { Delivered::All })
    });
    let patient = aegis_telemetry::SinkSettings { linger: LONG, ..quick() };
    let pipeline = builder(&ring, workers(1))
        .add_sink("picky", picky, quick())
        .add_sink("partly", partly, patient)
        .dead_letters(file(dir.path()), Arc::clone(&ring) as _)
        .start()
        .unwrap();
    pipeline.emit(event(1).0).unwrap();
    pipeline.emit(event(2).0).unwrap();
    pipeline.close(LONG).unwrap();
    let mut found: Vec<_> = records(dir.path())
        .iter()
        .map(|record| {
            let number = Reader::new(&ring).number(record.sealed_event().unwrap());
            (record.sink.clone().unwrap(), record.reason, number)
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            ("partly".to_owned(), Reason::SinkTookSome, 1),
            ("partly".to_owned(), Reason::SinkTookSome, 2),
            ("picky".to_owned(), Reason::SinkRefused, 1),
            ("picky".to_owned(), Reason::SinkRefused, 2),
        ]
    );
}

#[test]
fn without_a_dek_a_broken_event_waits_too() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    let pipeline = builder(&ring, workers(1))
        .add_sink("out", Taken::default().sink(), quick())
        .dead_letters(file(dir.path()), Arc::clone(&ring) as _)
        .start()
        .unwrap();
    let dek = ring.go_away();
    pipeline.emit(broken(1)).unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    wait_until("it waits", || metrics.stalls.value() > 0);
    assert_eq!(pipeline.acknowledged().0, 0);
    ring.come_back(dek);
    pipeline.close(LONG).unwrap();
    assert_eq!(records(dir.path())[0].open(&KEY).unwrap().as_slice(), broken(1).as_bytes());
}

#[test]
fn a_letter_that_finds_no_room_is_counted_as_lost() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    let letters = DeadLetterFile::open(&dir.path().join("dead.jsonl"), 3000).unwrap();
    let pipeline = builder(&ring, workers(1))
        .add_sink("out", Taken::default().sink(), quick())
        .dead_letters(letters, Arc::clone(&ring) as _)
        .start()
        .unwrap();
    for number in 1..=3 {
        pipeline.emit(broken(number)).unwrap();
    }
    let settled = pipeline.close(LONG).unwrap();
    let kept = records(dir.path()).len() as u64;
    assert!(kept >= 1);
    assert_eq!((settled.refused, settled.letters_lost), (3, 3 - kept));
    assert!(dir.path().join("dead.jsonl").metadata().unwrap().len() <= 3000);
}

#[test]
fn a_file_of_letters_has_one_writer_and_no_half_line() {
    let dir = scratch::dir();
    let path = dir.path().join("dead.jsonl");
    keep_some(dir.path());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], b"{\"_dead_letter\":1,"].concat()).unwrap();
    let first = file(dir.path());
    assert_eq!(fs::read(&path).unwrap(), whole);
    let error = DeadLetterFile::open(&path, 1).unwrap_err();
    assert!(matches!(error, DeadLetterFileError::InUse { .. }), "{error:?}");
    drop(first);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(DeadLetterFile::open(&link, 1), Err(DeadLetterFileError::Io { .. })));
}
