//! From one KEK to another, in whole: every DEK opens before, in the middle and after.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_kek::{EnvironmentKekProvider, InMemoryKekProvider, Kek, KekProvider, ProviderKind, Variables};
use aegis_keyring::{
    AbandonKekError, DEFAULT_GRACE, DekState, Grace, ImportCheck, KekPhase, KekProgress, KekRotation,
    KekRotationError, KekRotationOptions, KekState, Keyring, RetireKekError, Scope, WrapProgress,
};

use crate::fixture::{
    DAY, Ring, all_deks, assert_all_open, assert_opens, assert_whole, kek, options, rotate_kek, seal, version,
};
use crate::hooked::{Hooked, When};

fn go_on(_: KekProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn states(keyring: &Keyring) -> Vec<KekState> {
    keyring.keks().unwrap().iter().map(|kek| kek.record.state).collect()
}

/// A KEK as the environment gives it.
fn from_environment() -> Kek {
    use base64ct::{Base64, Encoding};
    let made = kek();
    let public = Base64::encode_string(made.public_key().as_bytes());
    let private = Base64::encode_string(made.private_key().dangerous_expose());
    let variables =
        Variables::of_pairs([("AEGIS_MASTER_KEK_PUBLIC", &*public), ("AEGIS_MASTER_KEK_PRIVATE", &*private)]);
    EnvironmentKekProvider::from_environment(&variables).unwrap().load().unwrap()
}

#[test]
fn provision_encrypt_rotate_dek_rotate_kek_decrypt_three_times_in_a_row() {
    let ring = Ring::empty();
    let first = InMemoryKekProvider::generate().unwrap();
    let mut current = first.load().unwrap();
    ring.keyring.enrol_first_kek(&current, first.kind()).unwrap();
    let mut sealed = vec![seal(&ring.keyring.create(&Scope::default()).unwrap())];
    for round in 0..3 {
        sealed.push(seal(&ring.keyring.active(&Scope::default()).unwrap()));
        ring.clock.forward(90 * DAY);
        sealed.push(seal(&ring.keyring.rotate(&Scope::default()).unwrap().active));
        let next = if round % 2 == 0 {
            from_environment()
        } else {
            InMemoryKekProvider::generate().unwrap().load().unwrap()
        };
        let rotated = ring.rotate_kek(&current, &next).unwrap();
        assert_eq!((rotated.from, rotated.to), (current.key_id(), next.key_id()));
        assert!(rotated.switched_now);
        for sealed in &sealed {
            assert_opens(&ring.keyring, &next, sealed);
            assert_opens(&ring.keyring, &current, sealed);
        }
        ring.clock.forward(DEFAULT_GRACE);
        ring.keyring.retire_kek(current.key_id(), &next, Grace::Respect, &options(), &mut go_on).unwrap();
        for sealed in &sealed {
            assert_opens(&ring.keyring, &next, sealed);
        }
        assert_whole(&ring.keyring);
        current = next;
    }
    use KekState::{Active, Retired};
    assert_eq!(states(&ring.keyring), [Retired, Retired, Retired, Active]);
}

#[test]
fn counts_what_it_did_and_does_nothing_twice() {
    let ring = Ring::with_deks(5);
    let new = kek();
    let mut seen = Vec::new();
    let rotation = KekRotation::new(&ring.keyring, &ring.kek, &new, ProviderKind::Environment, options());
    let rotated = rotation
        .run(&mut |progress| {
            seen.push(progress);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((rotated.rewrapped, rotated.verified), (5, 5));
    assert_eq!(rotated.grace_until, Some("2026-02-14T12:00:00Z".parse().unwrap()));
    assert_eq!(seen.last(), Some(&KekProgress { phase: KekPhase::Verify, done: 5, total: 5 }));
    assert!(seen.iter().all(|progress| progress.done <= progress.total));

    let again = rotation.run(&mut go_on).unwrap();
    assert_eq!((again.rewrapped, again.verified, again.switched_now), (0, 0, false));
    assert_eq!(again.grace_until, rotated.grace_until);
    let status = ring.keyring.keks().unwrap();
    assert_eq!(status[1].record.provider, ProviderKind::Environment);
    assert!(status.iter().all(|kek| kek.progress == WrapProgress { deks: 5, wrapped: 5, verified: 5 }));
}

#[test]
fn many_pages_and_threads_leave_none_out() {
    let ring = Ring::with_deks(700);
    let new = kek();
    let options =
        KekRotationOptions { threads: 5.try_into().unwrap(), import: ImportCheck::All, ..options() };
    let rotation = KekRotation::new(&ring.keyring, &ring.kek, &new, ProviderKind::Environment, options);
    let rotated = rotation.run(&mut go_on).unwrap();
    assert_eq!((rotated.rewrapped, rotated.verified), (700, 700));
    assert_eq!(assert_all_open(&ring.keyring, &new).len(), 700);
    // DEKs that were wrapped together still open one by one, in any order.
    let mut versions = ring.versions();
    versions.reverse();
    for version in versions.into_iter().step_by(97) {
        ring.keyring.open(version, &new, aegis_keyring::Retired::Allow).unwrap();
    }
}

#[test]
fn a_keyring_without_deks_is_switched_at_once() {
    let ring = Ring::new();
    let new = kek();
    ring.rotate_kek(&ring.kek, &new).unwrap();
    let sealed = seal(&ring.keyring.create(&Scope::default()).unwrap());
    assert_opens(&ring.keyring, &new, &sealed);
    assert_opens(&ring.keyring, &ring.kek, &sealed);
}

#[test]
fn deks_of_every_state_are_moved_but_the_destroyed() {
    let ring = Ring::with_deks(4);
    let [retired, marked, destroyed] =
        ["dek-v1-20260115", "dek-v1-20260115-2", "dek-v1-20260115-3"].map(version);
    ring.keyring.retire(retired).unwrap();
    ring.keyring.mark_for_destruction(marked, DAY).unwrap();
    ring.keyring.mark_for_destruction(destroyed, std::time::Duration::ZERO).unwrap();
    ring.keyring.destroy(destroyed).unwrap();
    let new = kek();
    let rotated = ring.rotate_kek(&ring.kek, &new).unwrap();
    assert_eq!(rotated.rewrapped, 3);
    ring.keyring.cancel_destruction(marked).unwrap();
    assert_eq!(assert_all_open(&ring.keyring, &new).len(), 3);
    assert_eq!(ring.state(destroyed), DekState::Destroyed);
}

#[test]
fn a_dek_that_is_made_in_the_middle_is_moved_too() {
    // Before each of these calls another thread makes a DEK: to the end no call may be the one where it is lost.
    for call in [
        "enrol_incoming_kek",
        "wrappings_to_make",
        "add_wrappings",
        "wrappings_under",
        "mark_verified",
        "switch_kek",
    ] {
        for when in [When::Before, When::After] {
            let ring = Arc::new(Ring::with_deks(3));
            let other = Arc::clone(&ring);
            let once = AtomicBool::new(true);
            let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |name, now| {
                if name == call && now == when && once.swap(false, Ordering::SeqCst) {
                    let other = Arc::clone(&other);
                    std::thread::spawn(move || other.make(1)).join().unwrap();
                }
                Ok(())
            })));
            let new = kek();
            let rotated = rotate_kek(&keyring, &ring.kek, &new).unwrap();
            assert!(rotated.switched_now);
            for kek in [&ring.kek, &new] {
                assert_eq!(assert_all_open(&ring.keyring, kek).len(), 4, "{call} {when:?}");
            }
            assert_whole(&ring.keyring);
        }
    }
}

#[test]
fn every_dek_opens_with_the_old_kek_at_every_instant_and_with_the_new_one_from_the_switch_on() {
    let ring = Arc::new(Ring::with_deks(3));
    let (old, new) = (ring.kek.clone(), kek());
    let (other, configured_new) = (Arc::clone(&ring), new.clone());
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |_, _| {
        assert_all_open(&other.keyring, &old);
        let active =
            other.keyring.keks().unwrap().into_iter().find(|kek| kek.record.state == KekState::Active);
        if active.unwrap().record.key_id() == configured_new.key_id() {
            assert_all_open(&other.keyring, &configured_new);
        }
        Ok(())
    })));
    rotate_kek(&keyring, &ring.kek, &new).unwrap();
    assert_all_open(&ring.keyring, &new);
}

#[test]
fn refuses_what_is_no_rotation() {
    let ring = Ring::with_deks(1);
    let (one, two, three) = (ring.kek.clone(), kek(), kek());
    let refused = |old: &Kek, new: &Kek| ring.rotate_kek(old, new).unwrap_err();
    assert!(matches!(refused(&one, &one), KekRotationError::SameKek { .. }));
    assert!(matches!(refused(&two, &three), KekRotationError::OldUnknown { .. }));

    // Another rotation is under way.
    let stopped = KekRotation::new(&ring.keyring, &one, &two, ProviderKind::InMemory, options())
        .run(&mut |_| ControlFlow::Break(()))
        .unwrap_err();
    assert!(matches!(stopped, KekRotationError::Stopped));
    assert!(matches!(
        refused(&one, &three),
        KekRotationError::OtherUnderWay { incoming } if incoming == two.key_id()
    ));
    assert!(matches!(refused(&two, &three), KekRotationError::OldNotActive { .. }));
    ring.rotate_kek(&one, &two).unwrap();

    // The old one is in grace now.
    let error = refused(&one, &three);
    let message = format!(
        "KEK {} is grace; the keyring is under {}",
        one.key_id().fingerprint(),
        two.key_id().fingerprint()
    );
    assert_eq!(error.to_string(), message);

    // And then it is retired.
    ring.keyring.retire_kek(one.key_id(), &two, Grace::CutShort, &options(), &mut go_on).unwrap();
    assert!(matches!(refused(&two, &one), KekRotationError::NewRetired { kek } if kek == one.key_id()));
    assert!(ring.rotate_kek(&one, &two).unwrap().grace_until.is_none(), "it was done");
    let empty = Ring::empty();
    assert!(matches!(empty.rotate_kek(&one, &two), Err(KekRotationError::NoKek)));
}

#[test]
fn goes_on_where_it_was_stopped() {
    let ring = Ring::with_deks(6);
    let new = kek();
    let rotation = KekRotation::new(&ring.keyring, &ring.kek, &new, ProviderKind::InMemory, options());
    for phase in [KekPhase::Rewrap, KekPhase::Verify] {
        let stopped = rotation.run(&mut |progress| {
            if progress.phase == phase { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(KekRotationError::Stopped)), "{stopped:?}");
        assert_all_open(&ring.keyring, &ring.kek);
        assert_eq!(states(&ring.keyring), [KekState::Active, KekState::Incoming]);
    }
    let rotated = rotation.run(&mut go_on).unwrap();
    assert_eq!((rotated.rewrapped, rotated.verified), (0, 0), "all of it was done before");
    assert!(rotated.switched_now);
    assert_all_open(&ring.keyring, &new);
}

#[test]
fn an_abandoned_rotation_leaves_no_trace() {
    let ring = Ring::with_deks(3);
    assert!(matches!(ring.keyring.abandon_kek_rotation(), Err(AbandonKekError::NoRotation)));
    let new = kek();
    KekRotation::new(&ring.keyring, &ring.kek, &new, ProviderKind::InMemory, options())
        .run(&mut |_| ControlFlow::Break(()))
        .unwrap_err();
    ring.make(1);
    assert_eq!(ring.keyring.abandon_kek_rotation().unwrap(), new.key_id());
    assert_eq!(states(&ring.keyring), [KekState::Active]);
    for version in ring.versions() {
        assert_eq!(ring.store().wrapping(version, new.key_id()).unwrap(), None);
    }
    assert_all_open(&ring.keyring, &ring.kek);
    // It can be begun again, and after the switch there is nothing to abandon.
    ring.rotate_kek(&ring.kek, &new).unwrap();
    assert!(matches!(ring.keyring.abandon_kek_rotation(), Err(AbandonKekError::NoRotation)));
}

#[test]
fn a_rotation_that_is_abandoned_by_another_says_so() {
    let ring = Arc::new(Ring::with_deks(3));
    let other = Arc::clone(&ring);
    let once = AtomicBool::new(true);
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |name, when| {
        if name == "add_wrappings" && when == When::Before && once.swap(false, Ordering::SeqCst) {
            other.keyring.abandon_kek_rotation().unwrap();
        }
        Ok(())
    })));
    let error = rotate_kek(&keyring, &ring.kek, &kek()).unwrap_err();
    assert!(matches!(error, KekRotationError::Abandoned { .. }), "{error:?}");
    assert_all_open(&ring.keyring, &ring.kek);
}

#[test]
fn a_rotation_that_another_finishes_is_finished() {
    let ring = Arc::new(Ring::with_deks(3));
    let new = kek();
    for call in ["add_wrappings", "mark_verified", "switch_kek"] {
        let ring = Arc::new(Ring::with_deks(3));
        let (other, to) = (Arc::clone(&ring), new.clone());
        let once = AtomicBool::new(true);
        let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |name, when| {
            if name == call && when == When::Before && once.swap(false, Ordering::SeqCst) {
                assert!(other.rotate_kek(&other.kek, &to).unwrap().switched_now);
            }
            Ok(())
        })));
        let rotated = rotate_kek(&keyring, &ring.kek, &new).unwrap();
        assert!(!rotated.switched_now, "{call}");
        assert_all_open(&ring.keyring, &new);
        assert_whole(&ring.keyring);
    }
    assert_whole(&ring.keyring);
}

#[test]
fn the_way_back_is_open_until_the_old_kek_is_retired() {
    let ring = Ring::with_deks(3);
    let (one, two) = (ring.kek.clone(), kek());
    ring.rotate_kek(&one, &two).unwrap();
    ring.make(2);
    // Begun and given up: it is in grace as before.
    let grace_until = ring.keyring.keks().unwrap()[0].record.grace_until;
    KekRotation::new(&ring.keyring, &two, &one, ProviderKind::InMemory, options())
        .run(&mut |_| ControlFlow::Break(()))
        .unwrap_err();
    assert_eq!(states(&ring.keyring), [KekState::Incoming, KekState::Active]);
    ring.keyring.abandon_kek_rotation().unwrap();
    assert_eq!(states(&ring.keyring), [KekState::Grace, KekState::Active]);
    assert_eq!(ring.keyring.keks().unwrap()[0].record.grace_until, grace_until);
    assert_all_open(&ring.keyring, &one);

    let back = ring.rotate_kek(&two, &one).unwrap();
    assert_eq!(
        (back.rewrapped, back.verified),
        (0, 5),
        "its wrappings were there, and each was opened again"
    );
    assert_eq!(states(&ring.keyring), [KekState::Active, KekState::Grace]);
    assert_eq!(ring.keyring.keks().unwrap()[0].record.grace_until, None);
    for kek in [&one, &two] {
        assert_eq!(assert_all_open(&ring.keyring, kek).len(), 5);
    }
    ring.keyring.retire_kek(two.key_id(), &one, Grace::CutShort, &options(), &mut go_on).unwrap();
    assert_all_open(&ring.keyring, &one);
}

#[test]
fn two_keks_may_be_in_grace() {
    let ring = Ring::with_deks(2);
    let (one, two, three) = (ring.kek.clone(), kek(), kek());
    ring.rotate_kek(&one, &two).unwrap();
    ring.rotate_kek(&two, &three).unwrap();
    ring.make(1);
    for kek in [&one, &two, &three] {
        assert_eq!(assert_all_open(&ring.keyring, kek).len(), 3);
    }
    ring.clock.forward(DEFAULT_GRACE);
    for kek in [&one, &two] {
        ring.keyring.retire_kek(kek.key_id(), &three, Grace::Respect, &options(), &mut go_on).unwrap();
    }
    assert_all_open(&ring.keyring, &three);
}

#[test]
fn retires_only_what_nothing_needs() {
    let ring = Ring::with_deks(2);
    let (one, two) = (ring.kek.clone(), kek());
    let retire = |kek: &Kek, active: &Kek, grace| {
        ring.keyring.retire_kek(kek.key_id(), active, grace, &options(), &mut go_on)
    };
    let not_in_grace = |kek: &Kek, expected: KekState| {
        let refused = retire(kek, &one, Grace::CutShort);
        assert!(
            matches!(refused, Err(RetireKekError::NotInGrace { state, .. }) if state == expected),
            "{refused:?}"
        );
    };
    not_in_grace(&one, KekState::Active);
    assert!(matches!(retire(&two, &one, Grace::CutShort), Err(RetireKekError::Unknown { .. })));
    KekRotation::new(&ring.keyring, &one, &two, ProviderKind::InMemory, options())
        .run(&mut |_| ControlFlow::Break(()))
        .unwrap_err();
    not_in_grace(&two, KekState::Incoming);
    ring.rotate_kek(&one, &two).unwrap();

    // Its grace is not over, or the wrong KEK would have to open everything.
    let until = "2026-02-14T12:00:00Z";
    ring.clock.set("2026-02-14T11:59:59Z");
    let refused = retire(&one, &two, Grace::Respect).unwrap_err();
    assert_eq!(refused.to_string(), format!("KEK {} is in grace until {until}", one.key_id().fingerprint()));
    for wrong in [&one, &kek()] {
        let refused = retire(&one, wrong, Grace::CutShort);
        assert!(matches!(refused, Err(RetireKekError::OtherActive { .. })), "{refused:?}");
    }
    assert_all_open(&ring.keyring, &one);

    ring.clock.set(until);
    retire(&one, &two, Grace::Respect).unwrap();
    let refused = retire(&one, &two, Grace::CutShort);
    assert!(
        matches!(refused, Err(RetireKekError::NotInGrace { state: KekState::Retired, .. })),
        "{refused:?}"
    );
    assert!(
        all_deks(&ring.keyring)
            .iter()
            .all(|dek| { ring.store().wrapping(dek.version, one.key_id()).unwrap().is_none() })
    );
    assert_all_open(&ring.keyring, &two);
}

#[test]
fn a_rotation_from_a_kek_that_was_replaced_just_before_is_refused() {
    let ring = Arc::new(Ring::with_deks(3));
    let winner = kek();
    let (other, to, once) = (Arc::clone(&ring), winner.clone(), AtomicBool::new(true));
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |name, when| {
        if name == "enrol_incoming_kek" && when == When::Before && once.swap(false, Ordering::SeqCst) {
            other.rotate_kek(&other.kek, &to).unwrap();
        }
        Ok(())
    })));
    let refused = rotate_kek(&keyring, &ring.kek, &kek()).unwrap_err();
    assert!(
        matches!(refused, KekRotationError::OldNotActive { active, .. } if active == winner.key_id()),
        "{refused:?}"
    );
    assert_eq!(states(&ring.keyring), [KekState::Grace, KekState::Active]);
}
