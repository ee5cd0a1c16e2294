//! What is counted reaches the store, once, and nothing is lost on a clean stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aegis_keyring::{DekVersion, Usage, UsageCounter};

use crate::fixture::{Ring, version};
use crate::hooked::{Hooked, When, unavailable};

/// Longer than any test: flushes happen where the test asks for them.
const NEVER: Duration = Duration::from_secs(100_000);

fn stored(ring: &Ring, dek: DekVersion) -> Usage {
    ring.keyring.show(dek).unwrap().unwrap().usage
}

const fn usage(messages: u64, bytes: u64) -> Usage {
    Usage { messages, bytes }
}

#[test]
fn counts_of_all_threads_are_stored_at_the_end() {
    let ring = Ring::with_deks(2);
    let (one, two) = (version("dek-v1-20260115"), version("dek-v1-20260115-2"));
    let counter = UsageCounter::start(ring.store(), NEVER);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let meters = [counter.meter(one), counter.meter(two)];
            scope.spawn(move || {
                for _ in 0..1000 {
                    meters[0].count(10);
                    meters[1].count(3);
                }
            });
        }
    });
    assert_eq!(stored(&ring, one), usage(0, 0), "nothing is written for each message");
    counter.close().unwrap();
    assert_eq!(stored(&ring, one), usage(8000, 80_000));
    assert_eq!(stored(&ring, two), usage(8000, 24_000));
}

#[test]
fn flushing_adds_what_is_new_and_dropping_the_rest() {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    let counter = UsageCounter::start(ring.store(), NEVER);
    let meter = counter.meter(dek);
    meter.count(5);
    counter.flush().unwrap();
    counter.flush().unwrap();
    assert_eq!(stored(&ring, dek), usage(1, 5));
    meter.count(6);
    counter.meter(dek).count(7);
    drop(meter);
    drop(counter);
    assert_eq!(stored(&ring, dek), usage(3, 18));
}

#[test]
fn flushes_by_itself() {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    let counter = UsageCounter::start(ring.store(), Duration::from_millis(5));
    counter.meter(dek).count(9);
    let end = Instant::now() + Duration::from_secs(60);
    while stored(&ring, dek) != usage(1, 9) {
        assert!(Instant::now() < end, "nothing was flushed");
        std::thread::sleep(Duration::from_millis(5));
    }
    counter.close().unwrap();
    assert_eq!(stored(&ring, dek), usage(1, 9));
}

#[test]
fn what_a_failing_store_did_not_take_is_kept() {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    let fails = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&fails);
    let store = Hooked::new(ring.store()).on_call(move |name, when| {
        let refuse = name == "add_usage" && when == When::Before && flag.load(Ordering::SeqCst);
        if refuse { Err(unavailable()) } else { Ok(()) }
    });
    let counter = UsageCounter::start(Arc::new(store), NEVER);
    let meter = counter.meter(dek);
    meter.count(5);
    assert!(counter.flush().is_err());
    meter.count(5);
    assert!(counter.flush().is_err());
    assert_eq!(stored(&ring, dek), usage(0, 0));
    fails.store(false, Ordering::SeqCst);
    counter.close().unwrap();
    assert_eq!(stored(&ring, dek), usage(2, 10));
}

#[test]
fn a_version_that_is_not_known_holds_nothing_up() {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    let counter = UsageCounter::start(ring.store(), NEVER);
    counter.meter(version("dek-v1-20200101")).count(1);
    counter.meter(dek).count(5);
    assert!(counter.flush().is_err(), "what was not stored is said");
    assert_eq!(stored(&ring, dek), usage(1, 5));
    assert!(counter.close().is_err());
    assert_eq!(stored(&ring, dek), usage(1, 5), "nothing is counted twice");
}
