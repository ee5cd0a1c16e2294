//! KEK rotation where wrappings are bad, and where the store fails.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aegis_kek::ProviderKind;
use aegis_keyring::{
    DatabaseError, DekVersion, Grace, KekRotation, KekRotationError, KekRotationOptions, KekState,
    RetireKekError, Store, StoreError,
};

use crate::fixture::{Ring, assert_all_open, assert_whole, kek, open, options, rotate_kek, version};
use crate::hooked::{Hooked, When, unavailable};

fn broken(mut sealed: Vec<u8>) -> Vec<u8> {
    sealed[2000] ^= 1;
    sealed
}

#[test]
fn a_wrapping_that_is_stored_wrongly_is_made_again() {
    let ring = Ring::with_deks(5);
    let new = kek();
    let bad = version("dek-v1-20260115-3");
    for times in 1..=3 {
        let ring = Ring::with_deks(5);
        let written = AtomicU32::new(0);
        let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_write(move |version, _, sealed| {
            let is_bad = version == bad && written.fetch_add(1, Ordering::SeqCst) < times;
            if is_bad { broken(sealed) } else { sealed }
        })));
        let rotated = rotate_kek(&keyring, &ring.kek, &new).unwrap();
        assert_eq!(rotated.rewrapped, 5 + u64::from(times));
        assert_all_open(&ring.keyring, &new);
        assert_all_open(&ring.keyring, &ring.kek);
    }
    drop(ring);
}

#[test]
fn a_store_that_changes_what_it_is_given_is_not_switched() {
    let ring = Ring::with_deks(3);
    let new = kek();
    let bad = version("dek-v1-20260115-2");
    let keyring = ring.on(Arc::new(
        Hooked::new(ring.store())
            .on_write(move |version, _, sealed| if version == bad { broken(sealed) } else { sealed }),
    ));
    let error = rotate_kek(&keyring, &ring.kek, &new).unwrap_err();
    assert!(matches!(error, KekRotationError::StaysBad { version, times: 4 } if version == bad), "{error:?}");
    assert_all_open(&ring.keyring, &ring.kek);
    // On a sound disk it goes through.
    ring.rotate_kek(&ring.kek, &new).unwrap();
    assert_all_open(&ring.keyring, &new);
}

#[test]
fn wrappings_that_were_exchanged_are_found_and_made_again() {
    let ring = Ring::with_deks(4);
    let new = kek();
    let kept: Mutex<BTreeMap<DekVersion, Vec<u8>>> = Mutex::default();
    let written = AtomicU32::new(0);
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_write(move |version, _, sealed| {
        // Each is stored in the place of the next one; all are authentic boxes to the right KEK.
        let mut kept = kept.lock().unwrap();
        kept.insert(version, sealed.clone());
        let before = kept.range(..version).next_back().map(|(_, sealed)| sealed.clone());
        if written.fetch_add(1, Ordering::SeqCst) < 4 { before.unwrap_or(sealed) } else { sealed }
    })));
    let rotated = rotate_kek(&keyring, &ring.kek, &new).unwrap();
    assert_eq!(rotated.rewrapped, 7, "three were in the wrong place");
    assert_all_open(&ring.keyring, &new);
}

#[test]
fn deks_that_the_old_kek_does_not_open_are_named_and_the_rest_is_moved() {
    let ring = Ring::with_deks(4);
    let new = kek();
    let bad = version("dek-v1-20260115-2");
    let old_id = ring.kek.key_id();
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_read(move |version, kek, sealed| {
        if version == bad && kek == old_id { broken(sealed) } else { sealed }
    })));
    let error = rotate_kek(&keyring, &ring.kek, &new).unwrap_err();
    let KekRotationError::OldUnreadable { unreadable, .. } = &error else { panic!("{error:?}") };
    assert_eq!((unreadable.count, unreadable.first.as_slice()), (1, [bad].as_slice()));
    assert_eq!(
        error.to_string(),
        format!("KEK {} does not open 1 (dek-v1-20260115-2) of its DEKs", old_id.fingerprint())
    );
    let status = ring.keyring.keks().unwrap();
    assert_eq!(status[1].progress.wrapped, 3);
    // If nothing needs it, it can be destroyed, and the rotation finished.
    keyring.mark_for_destruction(bad, std::time::Duration::ZERO).unwrap();
    keyring.destroy(bad).unwrap();
    rotate_kek(&keyring, &ring.kek, &new).unwrap();
    assert_eq!(assert_all_open(&ring.keyring, &new).len(), 3);
}

#[test]
fn a_bad_wrapping_under_the_active_kek_keeps_the_old_one_and_is_mended_from_it() {
    let ring = Ring::with_deks(3);
    let (one, two) = (ring.kek.clone(), kek());
    ring.rotate_kek(&one, &two).unwrap();
    // A disk that goes bad after the wrapping was verified.
    let bad = version("dek-v1-20260115-2");
    let two_id = two.key_id();
    let stored = ring.store().wrapping(bad, two_id).unwrap().unwrap();
    let damaged = broken(stored.clone());
    let keyring = ring.on(Arc::new(
        Hooked::new(ring.store()).on_read(
            move |_, _, sealed| {
                if sealed == stored { damaged.clone() } else { sealed }
            },
        ),
    ));
    let go_on = &mut |_| ControlFlow::Continue(());
    let refused = keyring.retire_kek(one.key_id(), &two, Grace::CutShort, &options(), go_on).unwrap_err();
    let RetireKekError::ActiveUnreadable { unreadable, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(unreadable.first, [bad]);
    assert_all_open(&ring.keyring, &one);

    // Back to the one that opens it, and to the new one again.
    rotate_kek(&keyring, &two, &one).unwrap();
    let again = rotate_kek(&keyring, &one, &two).unwrap();
    assert_eq!(again.rewrapped, 1);
    assert_all_open(&keyring, &two);
    keyring.retire_kek(one.key_id(), &two, Grace::CutShort, &options(), go_on).unwrap();
    assert_all_open(&keyring, &two);
}

#[test]
fn many_bad_wrappings_are_counted_and_few_are_named() {
    let ring = Ring::with_deks(25);
    let old_id = ring.kek.key_id();
    let keyring = ring.on(Arc::new(
        Hooked::new(ring.store())
            .on_read(move |_, kek, sealed| if kek == old_id { broken(sealed) } else { sealed }),
    ));
    let error = rotate_kek(&keyring, &ring.kek, &kek()).unwrap_err();
    let KekRotationError::OldUnreadable { unreadable, .. } = &error else { panic!("{error:?}") };
    assert_eq!((unreadable.count, unreadable.first.len()), (25, 10));
    assert!(error.to_string().contains("dek-v1-20260115-10, …) of its DEKs"), "{error}");
}

#[test]
fn a_store_that_fails_at_any_call_stops_it_and_the_next_run_goes_on() {
    for when in [When::Before, When::After] {
        let ring = Ring::with_deks(3);
        let new = kek();
        let mut runs = 0;
        // Each run comes one call further than the one before.
        let rotated = loop {
            let left = AtomicU32::new(runs);
            let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |_, now| {
                if now != when {
                    return Ok(());
                }
                // The answer of a call that was made is lost as well.
                let is_over =
                    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                is_over.map(drop).map_err(|_| unavailable())
            })));
            match rotate_kek(&keyring, &ring.kek, &new) {
                Ok(rotated) => break rotated,
                Err(KekRotationError::Store(StoreError::Database(DatabaseError::Unavailable { .. }))) => {
                    runs += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
            assert_whole(&ring.keyring);
            assert_all_open(&ring.keyring, &ring.kek);
            assert!(runs < 100, "it does not come to an end");
        };
        assert!(runs > 1, "{when:?}: it was stopped {runs} times");
        assert!(rotated.grace_until.is_some());
        assert_all_open(&ring.keyring, &new);
    }
}

#[test]
fn the_work_of_a_thread_that_fails_ends_the_run_and_waits_for_nobody() {
    let ring = Ring::with_deks(80);
    for call in ["wrappings_to_make", "add_wrappings", "wrappings_under", "mark_verified"] {
        let keyring = ring.on(Arc::new(
            Hooked::new(ring.store()).on_call(
                move |name, _| {
                    if name == call { Err(unavailable()) } else { Ok(()) }
                },
            ),
        ));
        let new = kek();
        let error = rotate_kek(&keyring, &ring.kek, &new).unwrap_err();
        assert!(matches!(error, KekRotationError::Store(_)), "{call}: {error:?}");
        ring.keyring.abandon_kek_rotation().unwrap();
    }
    assert_eq!(ring.keyring.keks().unwrap().len(), 1);
}

#[test]
fn retiring_verifies_what_a_restored_keyring_has_not_verified() {
    let ring = Ring::with_deks(3);
    let new = kek();
    ring.rotate_kek(&ring.kek, &new).unwrap();
    let mut backup = Vec::new();
    ring.keyring.backup(&aegis_keyring::BackupRecipient::ActiveKek, &mut backup).unwrap();
    let dir = test_services::scratch::dir();
    let store: Arc<dyn Store> = open(dir.path());
    let restored = ring.on(store);
    restored.restore(&mut backup.as_slice(), aegis_keyring::BackupKey::Kek(&new), None).unwrap();
    assert_eq!(restored.keks().unwrap()[1].progress.verified, 0);
    let go_on = &mut |_| ControlFlow::Continue(());
    restored.retire_kek(ring.kek.key_id(), &new, Grace::CutShort, &options(), go_on).unwrap();
    assert_eq!(restored.keks().unwrap()[0].record.state, KekState::Retired);
    assert_all_open(&restored, &new);
}

#[test]
fn a_rotation_is_stopped_in_any_batch() {
    let ring = Ring::with_deks(40);
    let new = kek();
    let rotation =
        KekRotation::new(&ring.keyring, &ring.kek, &new, aegis_kek::ProviderKind::InMemory, options());
    let mut batches = 0;
    loop {
        let mut left = batches;
        let run = rotation.run(&mut |_| {
            left -= 1;
            if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match run {
            Ok(_) => break,
            Err(KekRotationError::Stopped) => batches += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert!(batches < 20);
    }
    assert!(batches >= 1);
    assert_eq!(assert_all_open(&ring.keyring, &new).len(), 40);
}

#[test]
fn a_dek_that_is_made_when_all_was_done_is_waited_for() {
    // The run before did everything but the switch. Between this run's look and its switch a DEK is made, three times.
    let ring = Arc::new(Ring::with_deks(3));
    let new = kek();
    let refuse = |name: &'static str, _| if name == "switch_kek" { Err(unavailable()) } else { Ok(()) };
    rotate_kek(&ring.on(Arc::new(Hooked::new(ring.store()).on_call(refuse))), &ring.kek, &new).unwrap_err();
    let (other, times) = (Arc::clone(&ring), AtomicU32::new(0));
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |name, when| {
        if name == "switch_kek" && when == When::Before && times.fetch_add(1, Ordering::SeqCst) < 3 {
            other.make(1);
        }
        Ok(())
    })));
    let rotated = rotate_kek(&keyring, &ring.kek, &new).unwrap();
    assert_eq!((rotated.rewrapped, rotated.verified), (0, 3));
    assert_eq!(assert_all_open(&ring.keyring, &new).len(), 6);
}

#[test]
fn a_dek_that_no_kek_opens_keeps_the_old_kek_active() {
    let ring = Ring::with_deks(3);
    let connection = rusqlite::Connection::open(crate::fixture::file(ring.dir.path())).unwrap();
    connection.execute("DELETE FROM wrappings WHERE dek = (SELECT min(dek) FROM wrappings)", []).unwrap();
    drop(connection);
    let error = rotate_kek(&ring.keyring, &ring.kek, &kek()).unwrap_err();
    let KekRotationError::Store(StoreError::NotVerified { missing, deks, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!((missing, deks), (1, 3));
    assert_eq!(ring.keyring.keks().unwrap()[0].record.state, KekState::Active);
}

#[test]
fn more_threads_than_the_system_gives_are_no_reason_to_fail() {
    let ring = Ring::with_deks(3);
    let new = kek();
    let options = KekRotationOptions { threads: 1_000_000.try_into().unwrap(), ..options() };
    let rotation = KekRotation::new(&ring.keyring, &ring.kek, &new, ProviderKind::Environment, options);
    assert_eq!(rotation.run(&mut |_| ControlFlow::Continue(())).unwrap().verified, 3);
    assert_all_open(&ring.keyring, &new);
}
