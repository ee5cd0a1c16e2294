//! A keyring goes into one file and comes back on an empty machine.

use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use aegis_keyring::{
    AgeIdentities, AgeRecipient, BackupError, BackupKey, BackupLock, BackupRecipient, ConflictKind, DekState,
    Keyring, ReadBackupError, Scope, StoreError, Usage, check_plaintext, verify_backup,
};
use age::secrecy::ExposeSecret as _;

use crate::fixture::{
    Ring, all_deks, assert_all_open, assert_opens, assert_whole, kek, open, scope, seal, version,
};
use crate::hooked::{Hooked, When, unavailable};

/// An age key pair.
pub(crate) fn age_keys() -> (AgeRecipient, AgeIdentities) {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string().parse().unwrap();
    (recipient, AgeIdentities::parse(identity.to_string().expose_secret()).unwrap())
}

pub(crate) fn backup(keyring: &Keyring, recipient: &BackupRecipient) -> Vec<u8> {
    let mut out = Vec::new();
    keyring.backup(recipient, &mut out).unwrap();
    out
}

/// A keyring in which every kind of record occurs: scopes, states, KEKs, usage.
fn varied() -> (Ring, aegis_kek::Kek) {
    let ring = Ring::with_deks(4);
    ring.keyring.create(&scope("tenant-2")).unwrap();
    let [retired, marked, destroyed] =
        ["dek-v1-20260115", "dek-v1-20260115-2", "dek-v1-20260115-3"].map(version);
    ring.keyring.retire(retired).unwrap();
    ring.keyring.mark_for_destruction(marked, Duration::from_secs(3600)).unwrap();
    ring.keyring.mark_for_destruction(destroyed, Duration::ZERO).unwrap();
    ring.keyring.destroy(destroyed).unwrap();
    ring.store().add_usage(&[(retired, Usage { messages: 7, bytes: 1 << 40 })]).unwrap();
    let new = kek();
    ring.rotate_kek(&ring.kek, &new).unwrap();
    (ring, new)
}

#[test]
fn restores_on_an_empty_machine_and_opens_every_dek() {
    let (recipient, identities) = age_keys();
    for for_age in [true, false] {
        let (ring, kek) = varied();
        let sealed = seal(&ring.keyring.active(&Scope::default()).unwrap());
        let (to, with) = if for_age {
            (BackupRecipient::Age(recipient.clone()), BackupKey::Age(&identities))
        } else {
            (BackupRecipient::ActiveKek, BackupKey::Kek(&kek))
        };
        let path = ring.dir.path().join("backup");
        let made = ring.keyring.backup_to_file(&to, &path).unwrap();
        assert_eq!((made.keks, made.deks, made.destroyed, made.unwrapped), (2, 5, 1, 0));
        assert_eq!(made.wrappings, 8, "four DEKs under two KEKs");
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((made.bytes, made.sha256), (bytes.len() as u64, aegis_crypto::sha256(&bytes)));

        // Verifying reads the same, and opens what it can.
        let verified = verify_backup(&mut bytes.as_slice(), with, Some(&kek)).unwrap();
        assert_eq!(verified.opened, 4);
        assert_eq!(aegis_keyring::BackupSummary { opened: 0, ..verified }, made);

        // Another directory, as another machine would have it.
        let dir = test_services::scratch::dir();
        let restored = Keyring::new(open(dir.path()), ring.clock.clone());
        restored.restore(&mut bytes.as_slice(), with, None).unwrap();
        assert_whole(&restored);
        assert_eq!(all_deks(&restored), all_deks(&ring.keyring));
        let records = |keyring: &Keyring| -> Vec<_> {
            keyring.keks().unwrap().into_iter().map(|kek| kek.record).collect()
        };
        assert_eq!(records(&restored), records(&ring.keyring));
        for kek in [&kek, &ring.kek] {
            assert_eq!(assert_all_open(&restored, kek).len(), 3);
            assert_opens(&restored, kek, &sealed);
        }
        // And life goes on.
        ring.clock.forward(Duration::from_secs(60));
        let next = restored.rotate(&Scope::default()).unwrap();
        assert_eq!(next.active.version, version("dek-v1-20260115-6"));
        restored.cancel_destruction(version("dek-v1-20260115-2")).unwrap();
        assert_eq!(assert_all_open(&restored, &kek).len(), 5);
    }
}

#[test]
fn a_backup_in_the_middle_of_a_kek_rotation_can_be_gone_on_with() {
    let ring = Ring::with_deks(3);
    let new = kek();
    let store = Hooked::new(ring.store())
        .on_call(|name, _| if name == "switch_kek" { Err(unavailable()) } else { Ok(()) });
    crate::fixture::rotate_kek(&ring.on(Arc::new(store)), &ring.kek, &new).unwrap_err();
    ring.make(1);
    let bytes = backup(&ring.keyring, &BackupRecipient::ActiveKek);
    let dir = test_services::scratch::dir();
    let restored = ring.on(open(dir.path()));
    restored.restore(&mut bytes.as_slice(), BackupKey::Kek(&ring.kek), None).unwrap();
    let rotated = crate::fixture::rotate_kek(&restored, &ring.kek, &new).unwrap();
    assert_eq!(
        (rotated.rewrapped, rotated.verified),
        (0, 4),
        "nothing is believed before it was opened here"
    );
    assert_all_open(&restored, &new);
}

#[test]
fn a_backup_is_of_one_instant_while_others_rotate() {
    let ring = Arc::new(Ring::with_deks(300));
    let other = Arc::clone(&ring);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let rotating = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            other.make(1);
        }
    });
    for _ in 0..2 {
        let bytes = backup(&ring.keyring, &BackupRecipient::ActiveKek);
        let verified = verify_backup(&mut bytes.as_slice(), BackupKey::Kek(&ring.kek), None).unwrap();
        assert!(verified.deks >= 300 && verified.opened == verified.deks);
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    rotating.join().unwrap();
}

#[test]
fn the_file_is_for_its_owner_and_replaces_nothing() {
    let ring = Ring::with_deks(1);
    let path = ring.dir.path().join("backup");
    ring.keyring.backup_to_file(&BackupRecipient::ActiveKek, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let before = std::fs::read(&path).unwrap();
    let again = ring.keyring.backup_to_file(&BackupRecipient::ActiveKek, &path);
    assert!(matches!(again, Err(BackupError::File(_))), "{again:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let nowhere = ring.dir.path().join("nowhere/backup");
    assert!(ring.keyring.backup_to_file(&BackupRecipient::ActiveKek, &nowhere).is_err());
}

#[test]
fn a_backup_that_fails_leaves_no_file() {
    let ring = Ring::with_deks(2);
    let dir = test_services::scratch::dir();
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(|name, when| {
        if name == "dump" && when == When::After { Err(unavailable()) } else { Ok(()) }
    })));
    let failed = keyring.backup_to_file(&BackupRecipient::ActiveKek, &dir.path().join("backup"));
    assert!(matches!(failed, Err(BackupError::Store(_))), "{failed:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    let empty = Ring::empty();
    let failed = empty.keyring.backup_to_file(&BackupRecipient::ActiveKek, &dir.path().join("backup"));
    assert!(matches!(failed, Err(BackupError::NoKek)), "{failed:?}");
    let full = ring.keyring.backup_to_file(&BackupRecipient::ActiveKek, std::path::Path::new("/dev/full"));
    assert!(full.is_err());
    let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let failed = ring.keyring.backup(&BackupRecipient::ActiveKek, &mut full);
    assert!(matches!(failed, Err(BackupError::Output(_))), "{failed:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn restores_into_an_empty_keyring_only() {
    let ring = Ring::with_deks(2);
    let bytes = backup(&ring.keyring, &BackupRecipient::ActiveKek);
    let other = Ring::with_deks(1);
    let before = all_deks(&other.keyring);
    let refused = other.keyring.restore(&mut bytes.as_slice(), BackupKey::Kek(&ring.kek), None).unwrap_err();
    let ReadBackupError::Store(StoreError::Conflict { what: ConflictKind::NotEmpty }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(all_deks(&other.keyring), before);
}

#[test]
fn the_plaintext_has_one_spelling_and_no_private_key() {
    let (ring, _) = varied();
    let identity = age::x25519::Identity::generate();
    let recipient: AgeRecipient = identity.to_public().to_string().parse().unwrap();
    let bytes = backup(&ring.keyring, &BackupRecipient::Age(recipient));
    let plaintext = age::decrypt(&identity, &bytes).unwrap();
    assert_eq!(check_plaintext(&plaintext).unwrap(), plaintext);
    let text = String::from_utf8(plaintext).unwrap();
    let kinds: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let expected = [
        "aegis-keyring",
        "made",
        "kek",
        "kek",
        "dek",
        "wrapping",
        "wrapping",
        "dek",
        "wrapping",
        "wrapping",
        "dek",
        "dek",
        "wrapping",
        "wrapping",
        "dek",
        "wrapping",
        "wrapping",
        "end",
    ];
    assert_eq!(kinds, expected);
    assert!(text.contains("\ndek dek-v1-20260115 default retired 2026-01-15T12:00:00Z"));
    assert!(text.contains(" 7 1099511627776 "));
    assert!(text.ends_with("\nend 2 5 8\n"));
}

#[test]
fn two_backups_of_one_keyring_differ_in_their_encryption_only() {
    let ring = Ring::with_deks(2);
    let identity = age::x25519::Identity::generate();
    let recipient: AgeRecipient = identity.to_public().to_string().parse().unwrap();
    let [one, two] = [(); 2].map(|()| backup(&ring.keyring, &BackupRecipient::Age(recipient.clone())));
    assert_ne!(one, two);
    assert_eq!(age::decrypt(&identity, &one).unwrap(), age::decrypt(&identity, &two).unwrap());
}

#[test]
fn says_what_a_backup_needs() {
    let ring = Ring::with_deks(1);
    let (recipient, _) = age_keys();
    let for_kek = backup(&ring.keyring, &BackupRecipient::ActiveKek);
    let for_age = backup(&ring.keyring, &BackupRecipient::Age(recipient));
    assert_eq!(BackupLock::of(&for_kek[..BackupLock::LOOK_LEN]), Some(BackupLock::Kek(ring.kek.key_id())));
    assert_eq!(BackupLock::of(&for_age[..BackupLock::LOOK_LEN]), Some(BackupLock::Age));
    assert_eq!(BackupLock::of(&for_kek[..BackupLock::LOOK_LEN - 1]), None);
    assert_eq!(BackupLock::of(b""), None);
}

#[test]
fn reads_from_what_gives_a_byte_at_a_time() {
    struct Slow<'a>(&'a [u8]);
    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }
    let ring = Ring::with_deks(2);
    let (recipient, identities) = age_keys();
    let bytes = backup(&ring.keyring, &BackupRecipient::ActiveKek);
    verify_backup(&mut Slow(&bytes), BackupKey::Kek(&ring.kek), None).unwrap();
    let bytes = backup(&ring.keyring, &BackupRecipient::Age(recipient));
    verify_backup(&mut Slow(&bytes), BackupKey::Age(&identities), None).unwrap();
}

#[test]
fn a_keyring_with_a_dek_that_is_not_wrapped_is_backed_up_and_counted() {
    let ring = Ring::with_deks(2);
    let path = crate::fixture::file(ring.dir.path());
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute("DELETE FROM wrappings WHERE dek = (SELECT min(dek) FROM wrappings)", []).unwrap();
    drop(connection);
    let mut bytes = Vec::new();
    let made = ring.keyring.backup(&BackupRecipient::ActiveKek, &mut bytes).unwrap();
    assert_eq!((made.deks, made.wrappings, made.unwrapped), (2, 1, 1));
    let verified = verify_backup(&mut bytes.as_slice(), BackupKey::Kek(&ring.kek), None).unwrap();
    assert_eq!((verified.unwrapped, verified.opened), (1, 1));
    assert!(all_deks(&ring.keyring).iter().all(|dek| dek.state != DekState::Destroyed));
}
