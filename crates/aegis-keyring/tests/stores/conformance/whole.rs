//! All of a keyring: out and in.

use std::ops::ControlFlow;

use aegis_keyring::{
    ConflictKind, DekQuery, DekRecord, DekState, Dumped, KekRecord, KekState, NewWrapping, Store, StoreError,
    Usage,
};

use crate::fixture::{at, conflict, filled, insert, kek, new_dek, nth_version, stored, version, wrapping};

type Record = (DekRecord, Vec<NewWrapping>);

fn dumped(store: &dyn Store) -> (Vec<KekRecord>, Vec<Record>) {
    let (mut keks, mut deks) = (None, Vec::new());
    store
        .dump(&mut |next| {
            match next {
                Dumped::Keks(found) => assert!(keks.replace(found).is_none() && deks.is_empty()),
                Dumped::Dek(dek, wrappings) => deks.push((*dek, wrappings)),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    (keks.unwrap(), deks)
}

/// Records of every state, with times and counters at their bounds.
fn records() -> (Vec<KekRecord>, Vec<Record>) {
    let keks = vec![
        KekRecord { state: KekState::Retired, ..kek(0) },
        KekRecord { state: KekState::Grace, grace_until: Some(at(99)), ..kek(2) },
        KekRecord { state: KekState::Active, ..kek(1) },
        KekRecord { state: KekState::Incoming, ..kek(3) },
    ];
    let dek = |text: &str, scope: &str, state, destroy_after, keks: &[usize]| {
        let keks: Vec<_> = keks.iter().map(|nth| kek(*nth).key_id()).collect();
        let new = new_dek(version(text), scope, &keks);
        let usage = Usage { messages: 3, bytes: u64::try_from(i64::MAX).unwrap() };
        let times = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let record = stored(&new, state);
        let record = DekRecord { destroy_after, usage, created_at: times.0, changed_at: times.1, ..record };
        (record, new.wrappings)
    };
    let long = "z".repeat(64);
    let deks = vec![
        dek("dek-v1-00010101", "default", DekState::Retired, Some(at(9)), &[2, 1, 3]),
        dek("dek-v1-20240229-9999999", &long, DekState::Active, None, &[2, 1]),
        dek("dek-v1-20260101", "0.a_b-c", DekState::DecryptOnly, None, &[1]),
        dek("dek-v1-20260101-2", "default", DekState::Active, None, &[2, 1]),
        dek("dek-v1-99991231-2", "default", DekState::Destroyed, Some(at(9)), &[]),
    ];
    (keks, deks)
}

pub(crate) fn gives_everything_and_takes_it_back(store: &dyn Store) {
    assert_eq!(dumped(store), (vec![], vec![]));
    let (keks, deks) = records();
    store.restore(&keks, &mut deks.iter().cloned().map(Ok)).unwrap();
    assert_eq!(dumped(store), (keks, deks.clone()));
    for (dek, wrappings) in &deks {
        assert_eq!(store.dek(dek.version).unwrap().as_ref(), Some(dek));
        for wrapped in wrappings {
            assert_eq!(store.wrapping(dek.version, wrapped.kek).unwrap().as_ref(), Some(&wrapped.sealed));
        }
    }
    // What is restored was not verified here.
    let progress = store.wrap_progress(kek(1).key_id()).unwrap();
    assert_eq!((progress.deks, progress.wrapped, progress.verified), (4, 4, 0));
    let refused = store.retire_kek(kek(2).key_id(), at(9));
    assert!(matches!(refused, Err(StoreError::NotVerified { missing: 4, deks: 4, .. })));
    let good = store.wrappings_under(kek(1).key_id(), true, None, 9).unwrap();
    store.mark_verified(kek(1).key_id(), &good, at(9)).unwrap();
    store.retire_kek(kek(2).key_id(), at(9)).unwrap();
}

pub(crate) fn a_dump_sees_one_instant(store: &dyn Store) {
    let kek = filled(store, 150);
    let mut seen = 0_u32;
    store
        .dump(&mut |next| {
            if let Dumped::Dek(dek, wrappings) = next {
                seen += 1;
                assert_eq!(dek.version, nth_version(seen));
                assert_eq!(wrappings, [wrapping(dek.version, kek)]);
                assert_eq!(dek.state == DekState::Active, seen == 150);
                if seen == 1 {
                    // Somebody goes on writing meanwhile.
                    insert(store, 151..=152, &[kek]);
                    let last = store.dek(nth_version(140)).unwrap().unwrap();
                    store.change_dek(&last, DekState::Retired, Some(at(1)), at(1)).unwrap();
                    store.destroy_dek(nth_version(140), at(2)).unwrap();
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 150);
    assert_eq!(dumped(store).1.len(), 152);
}

pub(crate) fn a_dump_ends_when_it_is_told(store: &dyn Store) {
    filled(store, 3);
    for end in 1..=3 {
        let mut seen = 0;
        store
            .dump(&mut |_| {
                seen += 1;
                if seen == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!(seen, end);
    }
    insert(store, 4..=4, &[kek(0).key_id()]);
}

pub(crate) fn restores_only_into_an_empty_store(store: &dyn Store) {
    let (keks, deks) = records();
    let kek = filled(store, 0);
    assert_eq!(conflict(store.restore(&keks, &mut deks.iter().cloned().map(Ok))), ConflictKind::NotEmpty);
    insert(store, 1..=1, &[kek]);
    assert_eq!(conflict(store.restore(&[], &mut std::iter::empty())), ConflictKind::NotEmpty);
    assert_eq!(dumped(store).1.len(), 1);
}

pub(crate) fn restores_nothing_if_the_source_fails(store: &dyn Store) {
    let (keks, deks) = records();
    let mut source = deks.iter().take(3).cloned().map(Ok).chain([Err(StoreError::SourceFailed)]);
    assert!(matches!(store.restore(&keks, &mut source), Err(StoreError::SourceFailed)));
    assert_eq!(dumped(store), (vec![], vec![]));
    // Many more than are sent at once.
    let mut many = (1..=300).map(|nth| {
        let new = new_dek(nth_version(nth), "default", &[kek(1).key_id()]);
        if nth < 300 {
            Ok((stored(&new, DekState::DecryptOnly), new.wrappings))
        } else {
            Err(StoreError::SourceFailed)
        }
    });
    assert!(matches!(store.restore(&keks, &mut many), Err(StoreError::SourceFailed)));
    assert_eq!(dumped(store), (vec![], vec![]));
    store.restore(&keks, &mut deks.iter().cloned().map(Ok)).unwrap();
}

pub(crate) fn refuses_records_that_contradict_each_other(store: &dyn Store) {
    let (keks, deks) = records();
    type Break = fn(&mut Vec<KekRecord>, &mut Vec<Record>);
    let cases: [(&str, Break, ConflictKind); 10] = [
        ("a KEK twice", |keks, _| keks.push(keks[0].clone()), ConflictKind::KekEnrolled),
        ("two incoming KEKs", |keks, _| keks[1].state = KekState::Incoming, ConflictKind::RotationUnderWay),
        ("two active KEKs", |keks, _| keks[1].state = KekState::Active, ConflictKind::RotationUnderWay),
        ("a DEK twice", |_, deks| deks.push(deks[2].clone()), ConflictKind::VersionTaken),
        ("two active DEKs", |_, deks| deks[0].0.state = DekState::Active, ConflictKind::ActiveChanged),
        (
            "a destroyed DEK with a box",
            |_, deks| deks[3].0.state = DekState::Destroyed,
            ConflictKind::WrappingMisplaced,
        ),
        (
            "the box of another DEK",
            |_, deks| deks[0].1[0].version = nth_version(5),
            ConflictKind::WrappingMisplaced,
        ),
        (
            "two boxes for a KEK",
            |_, deks| deks[0].1[1].kek = deks[0].1[0].kek,
            ConflictKind::WrappingMisplaced,
        ),
        ("for a retired KEK", |_, deks| deks[0].1[0].kek = kek(0).key_id(), ConflictKind::KekNotLive),
        ("for an unknown KEK", |_, deks| deks[0].1[0].kek = kek(7).key_id(), ConflictKind::KekNotLive),
    ];
    for (name, break_it, expected) in cases {
        let (mut keks, mut deks) = (keks.clone(), deks.clone());
        break_it(&mut keks, &mut deks);
        assert_eq!(conflict(store.restore(&keks, &mut deks.into_iter().map(Ok))), expected, "{name}");
        assert!(store.keks().unwrap().is_empty(), "{name}");
        let any = DekQuery { scope: None, state: None, after: None, limit: 1 };
        assert!(store.deks(&any).unwrap().is_empty(), "{name}");
    }
    let long = (deks[0].0.clone(), vec![NewWrapping { sealed: vec![], ..deks[0].1[0].clone() }]);
    let refused = store.restore(&keks, &mut [Ok(long)].into_iter());
    assert!(matches!(refused, Err(StoreError::BoxLength { len: 0, .. })));
}
