//! Whoever keeps the log is told of every change, made or refused.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aegis_kek::ProviderKind;
use aegis_keyring::{
    BackupKey, BackupRecipient, ChangeDekError, Grace, KekRotation, KeyEvent, KeyObject, Keyring, Observer,
    RetireKekError, Scope,
};

use crate::fixture::{Ring, TestClock, kek, open, options, version};

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn observe(&self, event: &KeyEvent<'_>) {
        let KeyEvent { change, object, instead_of, sha256, outcome } = event;
        let instead_of = instead_of.as_ref().map(|object| format!(" for {object}")).unwrap_or_default();
        let outcome = outcome.map_or_else(|error| format!(": {error}"), |()| String::new());
        let file = sha256.map(|sha256| format!(" in {sha256}")).unwrap_or_default();
        self.0.lock().unwrap().push(format!("{change:?} {object}{instead_of}{file}{outcome}"));
    }
}

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn every_change_and_every_refusal_is_told() {
    let ring = Ring::empty();
    let log = Arc::new(Log::default());
    let keyring = ring.keyring.clone().observed_by(log.clone());
    let (old, new) = (ring.kek.clone(), kek());
    let (old_id, new_id) = (old.key_id(), new.key_id());
    let default = Scope::default();
    let (one, two) = (version("dek-v1-20260115"), version("dek-v1-20260115-2"));
    let go_on = &mut |_| ControlFlow::Continue(());

    keyring.create(&default).unwrap_err();
    keyring.enrol_first_kek(&old, ProviderKind::InMemory).unwrap();
    keyring.create(&default).unwrap();
    keyring.rotate(&default).unwrap();
    keyring.retire(two).unwrap_err();
    keyring.retire(one).unwrap();
    keyring.unretire(one).unwrap();
    keyring.mark_for_destruction(one, Duration::from_secs(60)).unwrap();
    keyring.destroy(one).unwrap_err();
    keyring.cancel_destruction(one).unwrap();
    assert_eq!(
        log.take(),
        [
            "DekCreated scope default: the keyring has no KEK".to_owned(),
            format!("KekEnrolled {old_id}"),
            "DekCreated dek-v1-20260115".to_owned(),
            "DekRotated dek-v1-20260115-2 for dek-v1-20260115".to_owned(),
            "DekRetired dek-v1-20260115-2: dek-v1-20260115-2 is the active DEK of its scope".to_owned(),
            "DekRetired dek-v1-20260115".to_owned(),
            "DekUnretired dek-v1-20260115".to_owned(),
            "DekMarked dek-v1-20260115".to_owned(),
            "DekDestroyed dek-v1-20260115: dek-v1-20260115 may be destroyed after 2026-01-15T12:01:00Z, not before"
                .to_owned(),
            "DekUnmarked dek-v1-20260115".to_owned(),
        ]
    );

    let rotation = KekRotation::new(&keyring, &old, &new, ProviderKind::Environment, options());
    rotation.run(&mut |_| ControlFlow::Break(())).unwrap_err();
    rotation.run(go_on).unwrap();
    // Nothing is left to be done, and nothing is told.
    rotation.run(go_on).unwrap();
    keyring.retire_kek(old_id, &new, Grace::Respect, &options(), go_on).unwrap_err();
    keyring.retire_kek(old_id, &new, Grace::CutShort, &options(), go_on).unwrap();
    keyring.abandon_kek_rotation().unwrap_err();
    let fingerprint = old_id.fingerprint();
    assert_eq!(
        log.take(),
        [
            format!("KekRotationBegun {new_id} for {old_id}"),
            format!("KekSwitched {new_id} for {old_id}: the rotation was stopped"),
            format!("KekSwitched {new_id} for {old_id}"),
            format!("KekRetired {old_id}: KEK {fingerprint} is in grace until 2026-02-14T12:00:00Z"),
            format!("KekRetired {old_id}"),
            "KekRotationAbandoned keyring: no KEK rotation is under way".to_owned(),
        ]
    );

    let mut backup = Vec::new();
    keyring.backup(&BackupRecipient::ActiveKek, &mut backup).unwrap();
    // Anybody can make a backup for a public key: only the log says which file was made here.
    let sha256 = aegis_crypto::sha256(&backup);
    let dir = test_services::scratch::dir();
    let empty =
        Keyring::new(open(dir.path()), TestClock::at("2026-01-16T00:00:00Z")).observed_by(log.clone());
    empty.restore(&mut &backup[1..], BackupKey::Kek(&new), None).unwrap_err();
    empty.restore(&mut backup.as_slice(), BackupKey::Kek(&new), None).unwrap();
    assert_eq!(
        log.take(),
        [
            format!("BackupCreated keyring in {sha256}"),
            "BackupRestored keyring: the file is no keyring backup, nor an age file".to_owned(),
            format!("BackupRestored keyring in {sha256}"),
        ]
    );
}

/// Says no to every erasure.
struct Guard(Mutex<Vec<String>>);

impl Observer for Guard {
    fn observe(&self, _event: &KeyEvent<'_>) {}

    fn before_erasure(&self, object: &KeyObject) -> io::Result<()> {
        self.0.lock().unwrap().push(object.to_string());
        Err(io::Error::other("nobody approved it"))
    }
}

#[test]
fn nothing_is_erased_that_the_observer_forbids() {
    let ring = Ring::empty();
    let (old, new) = (ring.kek.clone(), kek());
    let go_on = &mut |_| ControlFlow::Continue(());
    ring.keyring.enrol_first_kek(&old, ProviderKind::InMemory).unwrap();
    let default = Scope::default();
    let one = ring.keyring.create(&default).unwrap().version;
    ring.keyring.rotate(&default).unwrap();
    ring.keyring.mark_for_destruction(one, Duration::ZERO).unwrap();
    KekRotation::new(&ring.keyring, &old, &new, ProviderKind::Environment, options()).run(go_on).unwrap();

    let guard = Arc::new(Guard(Mutex::default()));
    let guarded = ring.keyring.clone().observed_by(guard.clone());
    let refused = guarded.destroy(one).unwrap_err();
    assert!(matches!(refused, ChangeDekError::Forbidden(_)), "{refused}");
    let refused = guarded.retire_kek(old.key_id(), &new, Grace::CutShort, &options(), go_on).unwrap_err();
    assert!(matches!(refused, RetireKekError::Forbidden(_)), "{refused}");
    assert_eq!(*guard.0.lock().unwrap(), [one.to_string(), old.key_id().to_string()]);

    // Only what is about to be erased is asked for: everything is still there.
    let stranger = version("dek-v1-20260116");
    guarded.destroy(stranger).unwrap_err();
    assert_eq!(guard.0.lock().unwrap().len(), 2);
    ring.keyring.destroy(one).unwrap();
    ring.keyring.retire_kek(old.key_id(), &new, Grace::CutShort, &options(), go_on).unwrap();
}
