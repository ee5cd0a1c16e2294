//! DEKs are made, replaced, retired, brought back, marked, destroyed; and every other step is refused by name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aegis_keyring::{
    ChangeDekError, ConflictKind, DEFAULT_WAIT, DekRecord, DekState, DekVersion, Keyring, MakeDekError,
    OpenDekError, Retired, Scope, StoreError,
};

use crate::fixture::{
    DAY, Ring, all_deks, assert_all_open, assert_opens, assert_whole, kek, scope, seal, version,
};
use crate::hooked::{Hooked, When};

#[test]
fn names_versions_by_the_day_and_then_by_number() {
    let ring = Ring::new();
    let first = ring.keyring.create(&Scope::default()).unwrap();
    assert_eq!(first.version, version("dek-v1-20260115"));
    let second = ring.keyring.rotate(&Scope::default()).unwrap();
    assert_eq!((second.active.version, second.replaced), (version("dek-v1-20260115-2"), first.version));
    // Versions are unique in the keyring, whatever the scope.
    assert_eq!(ring.keyring.create(&scope("other")).unwrap().version, version("dek-v1-20260115-3"));
    ring.clock.forward(DAY);
    assert_eq!(ring.keyring.rotate(&Scope::default()).unwrap().active.version, version("dek-v1-20260116"));
    // A clock that went back names the next one of that day.
    ring.clock.set("2026-01-15T00:00:00Z");
    let back = ring.keyring.rotate_from(&Scope::default(), version("dek-v1-20260116")).unwrap();
    assert_eq!(back.active.version, version("dek-v1-20260115-4"));
    assert_whole(&ring.keyring);
    assert_all_open(&ring.keyring, &ring.kek);
}

#[test]
fn what_was_sealed_stays_readable_under_its_own_version() {
    let ring = Ring::new();
    let mut sealed = vec![seal(&ring.keyring.create(&Scope::default()).unwrap())];
    for _ in 0..3 {
        ring.clock.forward(90 * DAY);
        sealed.push(seal(&ring.keyring.rotate(&Scope::default()).unwrap().active));
    }
    let versions: BTreeSet<_> = sealed.iter().map(|sealed| sealed.version).collect();
    assert_eq!(versions.len(), 4);
    for sealed in &sealed {
        assert_opens(&ring.keyring, &ring.kek, sealed);
    }
    let states: Vec<_> = all_deks(&ring.keyring).iter().map(|dek| dek.state).collect();
    assert_eq!(
        states,
        [DekState::DecryptOnly, DekState::DecryptOnly, DekState::DecryptOnly, DekState::Active]
    );
}

#[test]
fn sealing_needs_no_kek() {
    let ring = Ring::with_deks(2);
    let active = ring.keyring.active(&Scope::default()).unwrap();
    assert_eq!(active.version, version("dek-v1-20260115-2"));
    assert_opens(&ring.keyring, &ring.kek, &seal(&active));
    let error = ring.keyring.active(&scope("nobody")).unwrap_err();
    assert_eq!(error.to_string(), "scope nobody has no active DEK");
}

#[test]
fn refuses_to_make_what_cannot_be() {
    let ring = Ring::empty();
    let no_kek = ring.keyring.create(&Scope::default());
    assert!(matches!(no_kek, Err(MakeDekError::NoKek)), "{no_kek:?}");
    let none = ring.keyring.rotate(&Scope::default());
    assert!(matches!(none, Err(MakeDekError::NoActive { .. })), "{none:?}");

    let ring = Ring::with_deks(2);
    let exists = ring.keyring.create(&Scope::default()).unwrap_err();
    assert_eq!(exists.to_string(), "scope default has an active DEK already, dek-v1-20260115-2");
    let other = ring.keyring.rotate_from(&Scope::default(), version("dek-v1-20260115")).unwrap_err();
    assert_eq!(
        other.to_string(),
        "the active DEK of scope default is dek-v1-20260115-2 now, not dek-v1-20260115"
    );
    let none = ring.keyring.rotate_from(&scope("other"), version("dek-v1-20260115"));
    assert!(matches!(none, Err(MakeDekError::NoActive { .. })), "{none:?}");
    assert_eq!(all_deks(&ring.keyring).len(), 2);
}

#[test]
fn refuses_a_version_beyond_the_last_of_a_day() {
    let ring = Ring::new();
    let store = ring.store();
    let last = format!("dek-v1-20260115-{}", DekVersion::MAX_NUMBER);
    let hooked = Hooked::new(Arc::clone(&store)).on_call(|_, _| Ok(()));
    let keyring = ring.on(Arc::new(hooked));
    // One that is stored as the last of the day, by somebody who counts in large steps.
    let first = keyring.create(&Scope::default()).unwrap();
    let mut new = aegis_keyring::NewDek {
        version: version(&last),
        scope: Scope::default(),
        public_key: first.public_key,
        created_at: first.created_at,
        wrappings: Vec::new(),
    };
    let sealed = store.wrapping(first.version, ring.kek.key_id()).unwrap().unwrap();
    new.wrappings.push(aegis_keyring::NewWrapping { version: new.version, kek: ring.kek.key_id(), sealed });
    store.insert_active_dek(&new, Some(first.version)).unwrap();
    let full = ring.keyring.rotate(&Scope::default()).unwrap_err();
    assert!(matches!(full, MakeDekError::DayFull { last: found } if found == new.version), "{full:?}");
    ring.clock.forward(DAY);
    ring.keyring.rotate(&Scope::default()).unwrap();
}

#[test]
fn makes_a_dek_though_others_are_faster() {
    let conflicts: [fn(&Ring); 3] = [
        // The version is taken, in another scope.
        |ring| drop(ring.keyring.create(&scope("other")).unwrap()),
        // Another DEK became active.
        |ring| drop(ring.keyring.rotate(&Scope::default()).unwrap()),
        // A KEK came.
        |ring| {
            let incoming = kek();
            let record = aegis_keyring::KekRecord {
                public_key: incoming.public_key().clone(),
                provider: aegis_kek::ProviderKind::InMemory,
                state: aegis_keyring::KekState::Incoming,
                created_at: ring.keyring.now(),
                changed_at: ring.keyring.now(),
                grace_until: None,
            };
            ring.store().enrol_incoming_kek(&record, ring.kek.key_id()).unwrap();
        },
    ];
    for (nth, interfere) in conflicts.into_iter().enumerate() {
        let ring = Arc::new(Ring::with_deks(1));
        let times = AtomicU32::new(0);
        let (other, store) = (Arc::clone(&ring), ring.store());
        let keyring = ring.on(Arc::new(Hooked::new(store).on_call(move |name, when| {
            if name == "insert_active_dek"
                && when == When::Before
                && times.fetch_add(1, Ordering::SeqCst) == 0
            {
                interfere(&other);
            }
            Ok(())
        })));
        let rotated = keyring.rotate(&Scope::default()).unwrap();
        assert_eq!(ring.keyring.active(&Scope::default()).unwrap(), rotated.active, "conflict {nth}");
        assert_whole(&ring.keyring);
        assert_all_open(&ring.keyring, &ring.kek);
        // It is wrapped for every KEK there is, the one that came too.
        for kek in ring.keyring.keks().unwrap() {
            let sealed = ring.store().wrapping(rotated.active.version, kek.record.key_id()).unwrap();
            assert!(sealed.is_some(), "conflict {nth}");
        }
    }
}

#[test]
fn gives_up_where_others_are_faster_each_time() {
    let ring = Ring::with_deks(1);
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(|name, _| {
        if name == "insert_active_dek" {
            Err(StoreError::conflict(ConflictKind::VersionTaken))
        } else {
            Ok(())
        }
    })));
    let error = keyring.rotate(&Scope::default()).unwrap_err();
    assert!(matches!(error, MakeDekError::Contended { tries: 64 }), "{error:?}");
    assert_eq!(all_deks(&ring.keyring).len(), 1);
}

/// How a DEK comes into a state.
#[derive(Debug, Clone, Copy)]
enum Start {
    Active,
    DecryptOnly,
    Retired,
    Marked,
    Due,
    Destroyed,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Retire,
    Unretire,
    Mark,
    Cancel,
    Destroy,
}

/// What comes of a step: a state, with whether it is marked; or the message of the refusal.
type Outcome = Result<(DekState, bool), &'static str>;

const RETIRED: Outcome = Ok((DekState::Retired, false));
const MARKED: Outcome = Ok((DekState::Retired, true));
const ACTIVE: Outcome = Err("dek-v1-20260115 is the active DEK of its scope");
const NOT_RETIRED: Outcome = Err("dek-v1-20260115 is not retired");
const NOT_MARKED: Outcome = Err("dek-v1-20260115 is not marked for destruction");
const IS_MARKED: Outcome = Err("dek-v1-20260115 is marked for destruction after 2026-01-22T12:00:00Z");
const DESTROYED: Outcome = Err("dek-v1-20260115 is destroyed");

const STEPS: &[(Start, Step, Outcome)] = &[
    (Start::Active, Step::Retire, ACTIVE),
    (Start::Active, Step::Unretire, NOT_RETIRED),
    (Start::Active, Step::Mark, ACTIVE),
    (Start::Active, Step::Cancel, NOT_MARKED),
    (Start::Active, Step::Destroy, ACTIVE),
    (Start::DecryptOnly, Step::Retire, RETIRED),
    (Start::DecryptOnly, Step::Unretire, NOT_RETIRED),
    (Start::DecryptOnly, Step::Mark, MARKED),
    (Start::DecryptOnly, Step::Cancel, NOT_MARKED),
    (Start::DecryptOnly, Step::Destroy, NOT_MARKED),
    (Start::Retired, Step::Retire, Err("dek-v1-20260115 is retired already")),
    (Start::Retired, Step::Unretire, Ok((DekState::DecryptOnly, false))),
    (Start::Retired, Step::Mark, MARKED),
    (Start::Retired, Step::Cancel, NOT_MARKED),
    (Start::Retired, Step::Destroy, NOT_MARKED),
    (Start::Marked, Step::Retire, IS_MARKED),
    (Start::Marked, Step::Unretire, IS_MARKED),
    (Start::Marked, Step::Mark, IS_MARKED),
    (Start::Marked, Step::Cancel, RETIRED),
    (
        Start::Marked,
        Step::Destroy,
        Err("dek-v1-20260115 may be destroyed after 2026-01-22T12:00:00Z, not before"),
    ),
    (Start::Due, Step::Retire, IS_MARKED),
    (Start::Due, Step::Unretire, IS_MARKED),
    (Start::Due, Step::Mark, IS_MARKED),
    (Start::Due, Step::Cancel, RETIRED),
    (Start::Due, Step::Destroy, Ok((DekState::Destroyed, false))),
    (Start::Destroyed, Step::Retire, DESTROYED),
    (Start::Destroyed, Step::Unretire, DESTROYED),
    (Start::Destroyed, Step::Mark, DESTROYED),
    (Start::Destroyed, Step::Cancel, DESTROYED),
    (Start::Destroyed, Step::Destroy, DESTROYED),
];

fn brought_to(start: Start) -> (Ring, DekVersion) {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    if !matches!(start, Start::Active) {
        ring.make(1);
    }
    match start {
        Start::Active | Start::DecryptOnly => {}
        Start::Retired => drop(ring.keyring.retire(dek).unwrap()),
        Start::Marked => drop(ring.keyring.mark_for_destruction(dek, DEFAULT_WAIT).unwrap()),
        Start::Due | Start::Destroyed => {
            ring.keyring.mark_for_destruction(dek, DEFAULT_WAIT).unwrap();
            ring.clock.forward(DEFAULT_WAIT);
        }
    }
    if matches!(start, Start::Destroyed) {
        ring.keyring.destroy(dek).unwrap();
    }
    (ring, dek)
}

fn take(keyring: &Keyring, step: Step, dek: DekVersion) -> Result<DekRecord, ChangeDekError> {
    match step {
        Step::Retire => keyring.retire(dek),
        Step::Unretire => keyring.unretire(dek),
        Step::Mark => keyring.mark_for_destruction(dek, DEFAULT_WAIT),
        Step::Cancel => keyring.cancel_destruction(dek),
        Step::Destroy => keyring.destroy(dek),
    }
}

#[test]
fn every_step_from_every_state_is_taken_or_refused_by_name() {
    for (start, step, expected) in STEPS {
        let (ring, dek) = brought_to(*start);
        let before = ring.keyring.show(dek).unwrap();
        let outcome = take(&ring.keyring, *step, dek);
        let after = ring.keyring.show(dek).unwrap().unwrap();
        match (outcome, expected) {
            (Ok(record), Ok((state, marked))) => {
                assert_eq!((record.state, after.state), (*state, *state), "{start:?} {step:?}");
                let is_marked = after.destroy_after.is_some() && *state != DekState::Destroyed;
                assert_eq!(is_marked, *marked, "{start:?} {step:?}");
                assert_eq!(record, after, "{start:?} {step:?}");
            }
            (Err(error), Err(message)) => {
                assert_eq!(error.to_string(), *message, "{start:?} {step:?}");
                assert_eq!(Some(after), before, "{start:?} {step:?}: a refusal changes nothing");
            }
            (outcome, expected) => panic!("{start:?} {step:?}: {outcome:?}, not {expected:?}"),
        }
        assert_whole(&ring.keyring);
    }
}

#[test]
fn every_step_refuses_a_version_that_never_was() {
    let ring = Ring::with_deks(1);
    for step in [Step::Retire, Step::Unretire, Step::Mark, Step::Cancel, Step::Destroy] {
        let error = take(&ring.keyring, step, version("dek-v1-20250101")).unwrap_err();
        assert_eq!(error.to_string(), "there is no DEK dek-v1-20250101 in this keyring", "{step:?}");
    }
}

#[test]
fn a_destroyed_dek_leaves_its_record_and_no_wrapping() {
    let ring = Ring::with_deks(1);
    let active = ring.keyring.active(&Scope::default()).unwrap();
    let sealed = seal(&active);
    ring.make(1);
    ring.keyring.mark_for_destruction(active.version, Duration::ZERO).unwrap();
    ring.keyring.destroy(active.version).unwrap();
    assert_eq!(ring.state(active.version), DekState::Destroyed);
    assert_eq!(ring.store().wrapping(active.version, ring.kek.key_id()).unwrap(), None);
    let error = ring.keyring.open(sealed.version, &ring.kek, Retired::Allow).unwrap_err();
    assert!(matches!(error, OpenDekError::Destroyed { .. }), "{error:?}");
    assert_all_open(&ring.keyring, &ring.kek);
}

#[test]
fn a_wait_without_end_never_ends() {
    let ring = Ring::with_deks(2);
    let dek = version("dek-v1-20260115");
    let record = ring.keyring.mark_for_destruction(dek, Duration::MAX).unwrap();
    assert_eq!(record.destroy_after, Some(jiff::Timestamp::MAX));
    ring.clock.set("9000-01-01T00:00:00Z");
    assert!(matches!(ring.keyring.destroy(dek), Err(ChangeDekError::NotDue { .. })));
}

#[test]
fn no_waiting_time_begins_in_the_past() {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    ring.clock.set("2026-03-01T00:00:00Z");
    ring.make(1);
    // The battery was empty: set right, the clock would be past the end of the wait.
    for behind in ["1970-01-01T00:00:10Z", "2026-01-20T00:00:00Z", "2026-02-28T23:54:59Z"] {
        ring.clock.set(behind);
        let refused = ring.keyring.mark_for_destruction(dek, DEFAULT_WAIT).unwrap_err();
        assert!(matches!(refused, ChangeDekError::ClockBehind { .. }), "{behind}: {refused:?}");
        assert_eq!(ring.state(dek), DekState::DecryptOnly);
    }
    // Clocks of machines differ a little; the later one counts.
    ring.clock.set("2026-02-28T23:59:00Z");
    let record = ring.keyring.mark_for_destruction(dek, DEFAULT_WAIT).unwrap();
    assert_eq!(record.destroy_after.unwrap().to_string(), "2026-03-08T00:00:00Z");
}

#[test]
fn no_dek_is_made_before_what_the_keyring_knows() {
    let ring = Ring::with_deks(1);
    let (first, other) = (Scope::default(), "billing".parse().unwrap());
    // The KEK was enrolled at noon; the DEK was made in March.
    for behind in ["1970-01-01T00:00:10Z", "2026-01-15T11:54:59Z"] {
        ring.clock.set(behind);
        let refused = ring.keyring.create(&other).unwrap_err();
        assert!(
            matches!(refused, MakeDekError::ClockBehind { made_then: None, .. }),
            "{behind}: {refused:?}"
        );
        assert!(refused.help().unwrap().contains("`aegis kek rotate`"));
    }
    ring.clock.set("2026-03-01T00:00:00Z");
    let active = ring.keyring.rotate(&first).unwrap().active.version;
    for behind in ["1970-01-01T00:00:10Z", "2026-01-20T00:00:00Z", "2026-02-28T23:54:59Z"] {
        ring.clock.set(behind);
        let refused = ring.keyring.rotate(&first).unwrap_err();
        assert!(
            matches!(refused, MakeDekError::ClockBehind { made_then: Some(found), .. } if found == active),
            "{behind}: {refused:?}"
        );
        assert!(refused.help().unwrap().contains(&format!("--replace {active}")));
        assert_eq!(ring.keyring.active(&first).unwrap().version, active);
    }
    // Made by a clock that was years ahead, it can be replaced all the same.
    ring.clock.set("2099-01-01T00:00:00Z");
    let ahead = ring.keyring.rotate(&first).unwrap().active.version;
    ring.clock.set("2026-03-01T00:01:00Z");
    assert!(ring.keyring.rotate(&first).is_err());
    let righted = ring.keyring.rotate_from(&first, ahead).unwrap();
    assert_eq!((righted.replaced, righted.active.version), (ahead, version("dek-v1-20260301-2")));
    // Clocks of machines differ a little.
    ring.clock.set("2026-02-28T23:59:00Z");
    ring.keyring.rotate(&first).unwrap();
    assert_whole(&ring.keyring);
}

#[test]
fn a_step_sees_what_others_changed_meanwhile() {
    let ring = Arc::new(Ring::with_deks(2));
    let dek = version("dek-v1-20260115");
    let times = AtomicU32::new(0);
    let other = Arc::clone(&ring);
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |name, when| {
        if name == "change_dek" && when == When::Before && times.fetch_add(1, Ordering::SeqCst) == 0 {
            other.keyring.mark_for_destruction(dek, DEFAULT_WAIT).unwrap();
        }
        Ok(())
    })));
    let error = keyring.retire(dek).unwrap_err();
    assert!(matches!(error, ChangeDekError::Marked { .. }), "{error:?}");
}

#[test]
fn the_first_kek_is_enrolled_once() {
    let ring = Ring::new();
    // Again with the same one, as a set-up does that was interrupted: nothing changes.
    let again = ring.keyring.enrol_first_kek(&ring.kek, aegis_kek::ProviderKind::InMemory).unwrap();
    assert_eq!(ring.keyring.keks().unwrap()[0].record, again);
    let error = ring.keyring.enrol_first_kek(&kek(), aegis_kek::ProviderKind::InMemory).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the keyring is under KEK {} already", ring.kek.key_id().fingerprint())
    );
}
