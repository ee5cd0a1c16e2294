//! A DEK is rotated when it is due: by whom and how often does not matter, it happens once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_keyring::{
    DEFAULT_MAX_AGE, DekRotator, RotationPolicy, RotationPolicyError, RotationReason, RotatorError,
    RotatorOutcome, Scope, Usage,
};

use crate::fixture::{DAY, Ring, all_deks, assert_all_open, assert_whole, scope, version};
use crate::hooked::{Hooked, When, unavailable};

fn rotator(ring: &Ring, policy: RotationPolicy) -> DekRotator {
    DekRotator::new(ring.keyring.clone(), Scope::default(), policy)
}

#[test]
fn rotates_at_ninety_days_and_not_before() {
    let ring = Ring::with_deks(1);
    let rotator = rotator(&ring, RotationPolicy::default());
    let first = version("dek-v1-20260115");
    let due_at = "2026-04-15T12:00:00Z".parse().unwrap();
    assert_eq!(rotator.run_once().unwrap(), RotatorOutcome::NotDue { active: first, due_at });
    ring.clock.forward(DEFAULT_MAX_AGE - Duration::from_nanos(1));
    assert_eq!(rotator.run_once().unwrap(), RotatorOutcome::NotDue { active: first, due_at });
    ring.clock.forward(Duration::from_nanos(1));
    let second = version("dek-v1-20260415");
    assert_eq!(
        rotator.run_once().unwrap(),
        RotatorOutcome::Rotated { replaced: first, active: second, reason: RotationReason::Age }
    );
    assert!(matches!(rotator.run_once().unwrap(), RotatorOutcome::NotDue { active, .. } if active == second));
    assert_all_open(&ring.keyring, &ring.kek);
}

#[test]
fn a_look_alone_says_what_a_rotation_would_and_changes_nothing() {
    let ring = Ring::with_deks(1);
    let rotator = rotator(&ring, RotationPolicy::default());
    assert_eq!(rotator.look_only().unwrap(), Some(rotator.run_once().unwrap()));
    ring.clock.forward(DEFAULT_MAX_AGE);
    for _ in 0..2 {
        assert_eq!(rotator.look_only().unwrap(), None, "it is due");
        assert_eq!(all_deks(&ring.keyring).len(), 1);
    }
    assert!(matches!(rotator.run_once().unwrap(), RotatorOutcome::Rotated { .. }));
    assert!(rotator.look_only().unwrap().is_some());
}

#[test]
fn rotates_at_limits_of_use() {
    let cases = [
        (Some(10), None, usage(9, 1 << 40), None),
        (Some(10), None, usage(10, 0), Some(RotationReason::Messages)),
        (None, Some(1000), usage(1 << 40, 999), None),
        (None, Some(1000), usage(1, 1000), Some(RotationReason::Bytes)),
        (Some(10), Some(1000), usage(9, 999), None),
        (Some(10), Some(1000), usage(10, 1000), Some(RotationReason::Messages)),
        (None, None, usage(u64::MAX, u64::MAX), None),
    ];
    for (max_messages, max_bytes, used, expected) in cases {
        let ring = Ring::with_deks(1);
        ring.store().add_usage(&[(version("dek-v1-20260115"), used)]).unwrap();
        let policy = RotationPolicy::new(DEFAULT_MAX_AGE, max_messages, max_bytes).unwrap();
        let rotator = rotator(&ring, policy);
        let reason = match rotator.run_once().unwrap() {
            RotatorOutcome::Rotated { reason, .. } => Some(reason),
            RotatorOutcome::NotDue { .. } => None,
            outcome => panic!("{outcome:?}"),
        };
        assert_eq!(reason, expected, "{policy:?} {used:?}");
        // The new one was not used yet.
        assert!(matches!(rotator.run_once().unwrap(), RotatorOutcome::NotDue { .. }), "{policy:?}");
    }
}

const fn usage(messages: u64, bytes: u64) -> Usage {
    Usage { messages, bytes }
}

#[test]
fn refuses_settings_under_which_every_dek_is_due() {
    let day = Duration::from_secs(86_400);
    let cases = [
        (Duration::ZERO, None, None, "a DEK is active for 60 seconds at least, not 0"),
        (Duration::from_secs(59), None, None, "a DEK is active for 60 seconds at least, not 59"),
        (day, Some(0), None, "a limit of messages or bytes is 1 at least"),
        (day, None, Some(0), "a limit of messages or bytes is 1 at least"),
    ];
    for (age, messages, bytes, message) in cases {
        let error: RotationPolicyError = RotationPolicy::new(age, messages, bytes).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_clock_that_goes_back_is_said_and_rotates_nothing() {
    let ring = Ring::with_deks(1);
    let rotator = rotator(&ring, RotationPolicy::default());
    let first = version("dek-v1-20260115");
    ring.clock.set("2026-03-01T00:00:00Z");
    assert!(matches!(rotator.run_once().unwrap(), RotatorOutcome::NotDue { .. }));
    // Behind the last look, but after the DEK was made: it is said once.
    ring.clock.set("2026-02-01T00:00:00Z");
    let outcome = rotator.run_once().unwrap();
    let before = "2026-03-01T00:00:00Z".parse().unwrap();
    let now = "2026-02-01T00:00:00Z".parse().unwrap();
    assert_eq!(outcome, RotatorOutcome::ClockWentBack { active: first, now, before });
    assert!(matches!(rotator.run_once().unwrap(), RotatorOutcome::NotDue { .. }));
    // Behind the DEK's making: it is said as long as it is so.
    ring.clock.set("1970-01-02T00:00:00Z");
    for _ in 0..3 {
        let outcome = rotator.run_once().unwrap();
        assert!(
            matches!(outcome, RotatorOutcome::ClockWentBack { active, .. } if active == first),
            "{outcome:?}"
        );
    }
    // A little is no matter: clocks of two machines always differ.
    ring.clock.set("2026-01-15T11:58:00Z");
    let _said_once = rotator.run_once().unwrap();
    assert!(matches!(rotator.run_once().unwrap(), RotatorOutcome::NotDue { .. }));
    assert_eq!(all_deks(&ring.keyring).len(), 1);
}

#[test]
fn a_clock_that_jumps_to_and_fro_rotates_once() {
    let ring = Ring::with_deks(1);
    let rotator = rotator(&ring, RotationPolicy::default());
    for _ in 0..5 {
        ring.clock.set("2036-01-01T00:00:00Z");
        rotator.run_once().unwrap();
        ring.clock.set("2026-01-16T00:00:00Z");
        rotator.run_once().unwrap();
    }
    assert_eq!(all_deks(&ring.keyring).len(), 2);
}

#[test]
fn limits_of_use_hold_also_while_the_clock_is_wrong() {
    let ring = Ring::with_deks(1);
    ring.store().add_usage(&[(version("dek-v1-20260115"), usage(10, 0))]).unwrap();
    ring.clock.set("2020-01-01T00:00:00Z");
    let rotator = rotator(&ring, RotationPolicy::new(DEFAULT_MAX_AGE, Some(10), None).unwrap());
    assert!(matches!(rotator.run_once().unwrap(), RotatorOutcome::Rotated { .. }));
    assert!(matches!(
        rotator.run_once().unwrap(),
        RotatorOutcome::NotDue { .. } | RotatorOutcome::ClockWentBack { .. }
    ));
    assert_eq!(all_deks(&ring.keyring).len(), 2);
}

#[test]
fn of_many_instances_one_rotates() {
    let ring = Ring::with_deks(1);
    ring.clock.forward(DEFAULT_MAX_AGE);
    let outcomes: Vec<RotatorOutcome> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| rotator(&ring, RotationPolicy::default()).run_once().unwrap()))
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let rotated = outcomes.iter().filter(|outcome| matches!(outcome, RotatorOutcome::Rotated { .. })).count();
    assert_eq!(rotated, 1, "{outcomes:?}");
    assert_eq!(all_deks(&ring.keyring).len(), 2);
    assert_whole(&ring.keyring);
}

#[test]
fn says_that_another_was_faster() {
    let ring = Arc::new(Ring::with_deks(1));
    ring.clock.forward(DEFAULT_MAX_AGE);
    let times = AtomicU32::new(0);
    let other = Arc::clone(&ring);
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |name, when| {
        if name == "insert_active_dek" && when == When::Before && times.fetch_add(1, Ordering::SeqCst) == 0 {
            other.make(1);
        }
        Ok(())
    })));
    let rotator = DekRotator::new(keyring, Scope::default(), RotationPolicy::default());
    let (replaced, active) = (version("dek-v1-20260115"), version("dek-v1-20260415"));
    assert_eq!(rotator.run_once().unwrap(), RotatorOutcome::RotatedElsewhere { replaced, active });
}

#[test]
fn the_next_look_is_neither_at_once_nor_too_late() {
    let ring = Ring::with_deks(1);
    let by_age = rotator(&ring, RotationPolicy::default());
    assert_eq!(by_age.next_check().unwrap(), Duration::from_secs(3600));
    let by_use = rotator(&ring, RotationPolicy::new(DEFAULT_MAX_AGE, Some(10), None).unwrap());
    assert_eq!(by_use.next_check().unwrap(), Duration::from_secs(60));
    ring.clock.forward(DEFAULT_MAX_AGE - Duration::from_secs(7));
    assert_eq!(by_age.next_check().unwrap(), Duration::from_secs(7));
    ring.clock.forward(10 * DAY);
    assert_eq!(by_age.next_check().unwrap(), Duration::from_secs(1));
}

#[test]
fn a_scope_without_a_dek_is_an_error() {
    let ring = Ring::with_deks(1);
    let rotator = DekRotator::new(ring.keyring.clone(), scope("other"), RotationPolicy::default());
    let error = rotator.run_once().unwrap_err();
    assert!(matches!(error, RotatorError::Look(_)), "{error:?}");
    assert!(rotator.next_check().is_err());
}

#[test]
fn a_thread_rotates_tells_and_stops() {
    let ring = Ring::with_deks(1);
    ring.clock.forward(DEFAULT_MAX_AGE);
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let running = rotator(&ring, RotationPolicy::default())
        .spawn(move |outcome| listener.lock().unwrap().push(outcome.unwrap()))
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while told.lock().unwrap().is_empty() {
        assert!(Instant::now() < end, "nothing was told");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The next look is in an hour; stopping does not wait for it.
    running.stop();
    assert!(matches!(told.lock().unwrap()[0], RotatorOutcome::Rotated { .. }));
    assert_eq!(Arc::strong_count(&told), 1, "the thread has ended");
    assert_eq!(all_deks(&ring.keyring).len(), 2);
}

#[test]
fn a_thread_survives_a_store_that_fails() {
    let ring = Ring::with_deks(1);
    ring.clock.forward(DEFAULT_MAX_AGE);
    let calls = AtomicU32::new(0);
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |name, when| {
        // The first look fails, and so does the question when to look next.
        let refuse = name == "active_dek" && when == When::Before && calls.fetch_add(1, Ordering::SeqCst) < 1;
        if refuse { Err(unavailable()) } else { Ok(()) }
    })));
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let rotator = DekRotator::new(keyring, Scope::default(), RotationPolicy::default());
    let running = rotator.spawn(move |outcome| listener.lock().unwrap().push(outcome.is_ok())).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while told.lock().unwrap().len() < 2 {
        assert!(Instant::now() < end, "it did not look again");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.stop();
    assert_eq!(told.lock().unwrap()[..2], [false, true]);
    assert_eq!(all_deks(&ring.keyring).len(), 2);
}
