//! A backup that was changed anywhere is refused, and nothing is restored from it.

use aegis_crypto::{AssociatedData, Purpose};
use aegis_keyring::{
    BackupKey, BackupRecipient, Keyring, ReadBackupError, RecordFault, check_plaintext, verify_backup,
};

use crate::backups::{age_keys, backup};
use crate::fixture::{Ring, TestClock, all_deks, kek, open};

/// Bytes of the header, and of a full box: 64 KiB and what a sealed box adds.
const HEADER: usize = 133;
const FULL_BOX: usize = 65_536 + 1148;

/// A keyring whose backup has several boxes, the last of them short.
fn large() -> (Ring, Vec<u8>) {
    let ring = Ring::with_deks(40);
    let bytes = backup(&ring.keyring, &BackupRecipient::ActiveKek);
    assert!(bytes.len() > HEADER + 3 * FULL_BOX, "{}", bytes.len());
    assert_ne!((bytes.len() - HEADER) % FULL_BOX, 0);
    (ring, bytes)
}

/// Refused, also by an empty keyring, which stays empty.
#[track_caller]
fn refused(bytes: &[u8], key: BackupKey<'_>) -> ReadBackupError {
    let dir = test_services::scratch::dir();
    let empty = Keyring::new(open(dir.path()), TestClock::at("2026-01-16T00:00:00Z"));
    let mut input = bytes;
    let error = empty.restore(&mut input, key, None).unwrap_err();
    assert!(empty.keks().unwrap().is_empty() && all_deks(&empty).is_empty(), "something was restored");
    let verified = verify_backup(&mut &*bytes, key, None).unwrap_err();
    assert_eq!(verified.to_string(), error.to_string());
    error
}

#[test]
fn refuses_a_backup_that_was_cut_off_at_any_box() {
    let (ring, bytes) = large();
    let key = BackupKey::Kek(&ring.kek);
    let boxes = (bytes.len() - HEADER).div_ceil(FULL_BOX);
    for kept in 0..boxes {
        let error = refused(&bytes[..HEADER + kept * FULL_BOX], key);
        assert!(matches!(error, ReadBackupError::NotAuthentic { .. }), "{kept}: {error:?}");
    }
    for len in [HEADER + 1, HEADER + FULL_BOX - 1, HEADER + FULL_BOX + 1, bytes.len() - 1] {
        let error = refused(&bytes[..len], key);
        assert!(matches!(error, ReadBackupError::NotAuthentic { .. }), "{len}: {error:?}");
    }
    for len in [0, 1, 24, HEADER - 1] {
        assert!(matches!(refused(&bytes[..len], key), ReadBackupError::NotABackup), "{len}");
    }
}

#[test]
fn refuses_boxes_that_were_moved_repeated_left_out_or_added() {
    let (ring, bytes) = large();
    let key = BackupKey::Kek(&ring.kek);
    let (header, rest) = bytes.split_at(HEADER);
    let boxes: Vec<&[u8]> = rest.chunks(FULL_BOX).collect();
    let last = boxes.len() - 1;
    let again = backup(&ring.keyring, &BackupRecipient::ActiveKek);
    let of_another: Vec<&[u8]> = again[HEADER..].chunks(FULL_BOX).collect();
    let mut orders: Vec<(&str, Vec<&[u8]>)> = Vec::new();
    let mut exchanged = boxes.clone();
    exchanged.swap(0, 1);
    orders.push(("exchanged", exchanged));
    let mut left_out = boxes.clone();
    left_out.remove(1);
    orders.push(("left out", left_out));
    let mut repeated = boxes.clone();
    repeated.insert(1, boxes[0]);
    orders.push(("repeated", repeated));
    let mut last_twice = boxes.clone();
    last_twice.push(boxes[last]);
    orders.push(("last twice", last_twice));
    let mut foreign = boxes.clone();
    foreign[1] = of_another[1];
    orders.push(("of another backup", foreign));
    let mut continued = boxes.clone();
    continued.push(b"more");
    orders.push(("continued", continued));
    for (name, order) in orders {
        let error = refused(&[header, &order.concat()].concat(), key);
        assert!(matches!(error, ReadBackupError::NotAuthentic { .. }), "{name}: {error:?}");
    }
}

#[test]
fn refuses_every_bit_that_was_changed() {
    let ring = Ring::with_deks(1);
    let bytes = backup(&ring.keyring, &BackupRecipient::ActiveKek);
    let key = BackupKey::Kek(&ring.kek);
    // Every byte of the header and of the encapsulation, then here and there.
    let places = (0..HEADER + 1200).chain((HEADER + 1200..bytes.len()).step_by(101)).chain([bytes.len() - 1]);
    for at in places {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let error = verify_backup(&mut changed.as_slice(), key, None).unwrap_err();
        let is_named = matches!(
            error,
            ReadBackupError::NotABackup
                | ReadBackupError::OtherKek { .. }
                | ReadBackupError::NotAuthentic { .. }
        );
        assert!(is_named, "{at}: {error:?}");
    }
}

#[test]
fn refuses_the_wrong_key_by_name() {
    let ring = Ring::with_deks(1);
    let (recipient, identities) = age_keys();
    let (_, other_identities) = age_keys();
    let for_kek = backup(&ring.keyring, &BackupRecipient::ActiveKek);
    let for_age = backup(&ring.keyring, &BackupRecipient::Age(recipient));
    let other = kek();
    let error = refused(&for_kek, BackupKey::Kek(&other));
    assert!(matches!(error, ReadBackupError::OtherKek { needed, .. } if needed == ring.kek.key_id()));
    let error = refused(&for_kek, BackupKey::Age(&identities));
    assert!(matches!(error, ReadBackupError::NeedsKek { needed } if needed == ring.kek.key_id()));
    assert!(matches!(refused(&for_age, BackupKey::Kek(&ring.kek)), ReadBackupError::NeedsAge));
    assert!(matches!(refused(&for_age, BackupKey::Age(&other_identities)), ReadBackupError::OtherIdentity));
    for not_one in [b"".as_slice(), b"\n", b"SQLite format 3\0", &[0xff; 5000]] {
        assert!(matches!(refused(not_one, BackupKey::Kek(&ring.kek)), ReadBackupError::NotABackup));
    }
}

#[test]
fn refuses_an_age_file_that_was_changed() {
    let ring = Ring::with_deks(40);
    let (recipient, identities) = age_keys();
    let bytes = backup(&ring.keyring, &BackupRecipient::Age(recipient));
    let key = BackupKey::Age(&identities);
    let payload = bytes.windows(5).position(|window| window == b"\n--- ").unwrap() + 5 + 43 + 1 + 16;
    let piece = 65_536 + 16;
    let pieces: Vec<&[u8]> = bytes[payload..].chunks(piece).collect();
    assert!(pieces.len() >= 3);
    let rebuilt = |order: &[&[u8]]| [&bytes[..payload], &order.concat()].concat();
    let mut changed_once = bytes.clone();
    changed_once[payload + 70_000] ^= 1;
    let cases = [
        ("cut off between pieces", bytes[..payload + piece].to_vec()),
        ("cut off in a piece", bytes[..payload + piece + 100].to_vec()),
        ("without a payload", bytes[..payload].to_vec()),
        ("exchanged", rebuilt(&[pieces[1], pieces[0], &pieces[2..].concat()])),
        ("left out", rebuilt(&pieces[1..])),
        ("continued", [bytes.as_slice(), b"more"].concat()),
        ("one bit", changed_once),
    ];
    for (name, bytes) in cases {
        let error = refused(&bytes, key);
        assert!(matches!(error, ReadBackupError::NotAuthentic { .. }), "{name}: {error:?}");
    }
    for at in 22..payload - 16 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        verify_backup(&mut changed.as_slice(), key, None).unwrap_err();
    }
    // A header without an end is not read to the end: the work of its parser grows with the square.
    let mut endless = b"age-encryption.org/v1\n".to_vec();
    while endless.len() < 8 << 20 {
        endless.extend_from_slice(b"-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nEmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n");
    }
    assert!(matches!(refused(&endless, key), ReadBackupError::Header));
    // Nor is its last line, if it has no end.
    let mut endless = bytes[..payload - 60].to_vec();
    assert!(endless.ends_with(b"\n--- "), "{:?}", String::from_utf8_lossy(&endless));
    endless.resize(8 << 20, b'A');
    assert!(matches!(refused(&endless, key), ReadBackupError::Header));
}

/// A plaintext of a small keyring, which each case changes in one place.
fn plaintext() -> String {
    let ring = Ring::with_deks(2);
    ring.rotate_kek(&ring.kek, &kek()).unwrap();
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string().parse().unwrap();
    let bytes = backup(&ring.keyring, &BackupRecipient::Age(recipient));
    String::from_utf8(age::decrypt(&identity, &bytes).unwrap()).unwrap()
}

fn fault(text: &str) -> (u64, RecordFault) {
    match check_plaintext(text.as_bytes()) {
        Err(ReadBackupError::Record { line, fault }) => (line, fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn refuses_every_plaintext_that_is_no_keyring() {
    let good = plaintext();
    assert_eq!(check_plaintext(good.as_bytes()).unwrap(), good.as_bytes());
    // aegis-keyring, made, kek (grace), kek (active), dek, wrapping, wrapping, dek, wrapping, wrapping, end
    let lines: Vec<&str> = good.lines().collect();
    assert_eq!(lines.len(), 11);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        change(&mut changed);
        changed.join("\n") + "\n"
    };
    let put = |at: usize, line: &str| with(&|lines: &mut Vec<String>| lines[at] = line.to_owned());
    let cut = |at: usize| with(&|lines: &mut Vec<String>| drop(lines.remove(at)));
    let twice = |at: usize| with(&|lines: &mut Vec<String>| lines.insert(at, lines[at].clone()));
    let swap = |one: usize, two: usize| with(&|lines: &mut Vec<String>| lines.swap(one, two));
    let replace = |at: usize, from: &str, to: &str| {
        assert!(lines[at].contains(from), "{} has no {from}", lines[at]);
        put(at, &lines[at].replacen(from, to, 1))
    };
    use RecordFault as F;
    let cases = [
        ("empty", String::new(), (0, F::Format)),
        ("another format", put(0, "aegis-keyring 2"), (1, F::Format)),
        ("no time", cut(1), (2, F::Order)),
        ("no KEK", with(&|lines| drop(lines.drain(2..4))), (3, F::ActiveKek)),
        ("no active KEK", cut(3), (4, F::ActiveKek)),
        ("two active KEKs", replace(2, " grace ", " active "), (5, F::ActiveKek)),
        ("a KEK twice", twice(2), (4, F::Twice)),
        ("a KEK id that is not the key's", replace(2, &lines[2][4..12], "00000000"), (3, F::NoRecord)),
        ("an unknown state", replace(2, " grace ", " gracious "), (3, F::NoRecord)),
        ("an unknown provider", replace(3, " environment ", " vault "), (4, F::NoRecord)),
        ("a retired KEK with wrappings", replace(2, " grace ", " retired "), (6, F::State)),
        ("a wrapping under no KEK", replace(5, &lines[5][9..17], "00000000"), (6, F::UnknownKek)),
        ("wrappings out of order", swap(5, 6), (7, F::Order)),
        ("a wrapping twice", twice(5), (7, F::Order)),
        ("a DEK twice", with(&|lines| lines[7] = lines[4].clone()), (8, F::Order)),
        (
            "DEKs out of order",
            with(&|lines| lines.rotate_left(0)).replacen("dek-v1-20260115 ", "dek-v1-20260115-3 ", 1),
            (8, F::Order),
        ),
        ("two active DEKs of a scope", replace(4, " decrypt_only ", " active "), (8, F::ActiveDek)),
        ("a marked active DEK", replace(7, " - 0 0 ", " 2026-02-01T00:00:00Z 0 0 "), (8, F::State)),
        ("a destroyed DEK with a wrapping", replace(4, " decrypt_only ", " destroyed "), (6, F::State)),
        ("a scope that is none", replace(4, " default ", " Default "), (5, F::NoRecord)),
        ("a second spelling of a number", replace(4, " 0 0 ", " 00 0 "), (5, F::NoRecord)),
        ("a second spelling of a time", replace(4, "12:00:00Z", "12:00:00.0Z"), (5, F::NoRecord)),
        ("a time elsewhere", replace(4, "12:00:00Z", "12:00:00+00:00"), (5, F::NoRecord)),
        (
            "a second spelling of a version",
            replace(4, "dek-v1-20260115 ", "dek-v1-20260115-1 "),
            (5, F::NoRecord),
        ),
        ("a space more", replace(4, "dek ", "dek  "), (5, F::NoRecord)),
        ("a space at the end", put(4, &format!("{} ", lines[4])), (5, F::NoRecord)),
        ("a carriage return", put(4, &format!("{}\r", lines[4])), (5, F::NoRecord)),
        ("an empty line", put(4, ""), (5, F::NoRecord)),
        ("an empty box", put(5, &lines[5][..74]), (6, F::NoRecord)),
        ("a wrong count", put(10, "end 2 2 5"), (11, F::Count)),
        ("a wrong count of DEKs", put(10, "end 2 3 4"), (11, F::Count)),
        ("no end", cut(10), (10, F::NoEnd)),
        ("a record after the end", with(&|lines| lines.push(lines[10].clone())), (12, F::AfterEnd)),
        ("a KEK after a DEK", swap(3, 7), (4, F::ActiveKek)),
        ("cut in a line", good[..good.len() - 5].to_owned(), (10, F::NoRecord)),
        ("cut before the last line feed", good[..good.len() - 1].to_owned(), (10, F::NoRecord)),
        ("a line without end", format!("{}{}", &good[..200], "x".repeat(1 << 20)), (3, F::NoRecord)),
    ];
    for (name, text, expected) in cases {
        assert_eq!(fault(&text), expected, "{name}");
    }
}

#[test]
fn refuses_an_authentic_backup_with_a_wrapping_that_does_not_open() {
    let ring = Ring::with_deks(2);
    let (recipient, identities) = age_keys();
    let identity_backup = backup(&ring.keyring, &BackupRecipient::Age(recipient));
    // Without the KEK nobody can know; with it, it is found before anything is restored.
    verify_backup(&mut identity_backup.as_slice(), BackupKey::Age(&identities), None).unwrap();
    let damaged = ring.on(std::sync::Arc::new(crate::hooked::Hooked::new(ring.store())));
    let bytes = {
        let path = crate::fixture::file(ring.dir.path());
        let connection = rusqlite::Connection::open(path).unwrap();
        connection
            .execute("UPDATE boxes SET sealed = zeroblob(3580) WHERE id = (SELECT min(id) FROM boxes)", [])
            .unwrap();
        drop(connection);
        backup(&damaged, &BackupRecipient::ActiveKek)
    };
    let error = refused(&bytes, BackupKey::Kek(&ring.kek));
    assert!(matches!(error, ReadBackupError::Unwrap { .. }), "{error:?}");
}

#[test]
fn what_anybody_could_seal_is_still_checked() {
    // The public key of a KEK is no secret, so a box to it proves nothing of its content.
    let ring = Ring::with_deks(1);
    let id = [7_u8; 16];
    let header = format!("AEGIS-KEYRING-BACKUP-V1\nkek {}\nid {}\n---\n", ring.kek.key_id(), hex::encode(id));
    assert_eq!(header.len(), HEADER);
    let forge = |plaintext: &[u8]| {
        let associated_data = AssociatedData::new([
            b"aegis/keyring-backup/v1".as_slice(),
            ring.kek.key_id().as_bytes(),
            &id,
            &0_u64.to_be_bytes(),
            b"last",
        ]);
        let sealed =
            aegis_crypto::seal(ring.kek.public_key(), Purpose::Backup, &associated_data, plaintext).unwrap();
        [header.as_bytes(), &sealed].concat()
    };
    for plaintext in [b"".as_slice(), b"aegis-keyring 1\n", b"\xff\xff\n", &[b'\n'; 1000]] {
        let error = refused(&forge(plaintext), BackupKey::Kek(&ring.kek));
        assert!(matches!(error, ReadBackupError::Record { .. }), "{error:?}");
    }
}
