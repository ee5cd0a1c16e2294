//! KEKs, from the first one to the last.

use aegis_kek::ProviderKind;
use aegis_keyring::{ConflictKind, DekState, KekRecord, KekState, Scope, Store, StoreError};

use crate::fixture::{
    at, conflict, filled, insert, kek, new_dek, nth_version, public_key, stored, wrap_all, wrapping,
};

pub(crate) fn has_nothing_at_first(store: &dyn Store) {
    let version = nth_version(1);
    assert!(store.keks().unwrap().is_empty());
    assert_eq!(store.dek(version).unwrap(), None);
    assert_eq!(store.active_dek(&Scope::default()).unwrap(), None);
    assert_eq!(store.last_version_of(version).unwrap(), None);
    assert_eq!(store.wrapping(version, kek(0).key_id()).unwrap(), None);
    assert_eq!(store.wrap_progress(kek(0).key_id()).unwrap(), aegis_keyring::WrapProgress::default());
    assert!(store.wrappings_under(kek(0).key_id(), false, None, 9).unwrap().is_empty());
    assert!(store.wrappings_to_make(kek(0).key_id(), kek(1).key_id(), None, 9).unwrap().is_empty());
    let none = conflict(store.insert_active_dek(&new_dek(version, "default", &[]), None));
    assert_eq!(none, ConflictKind::LiveKeksChanged);
}

pub(crate) fn enrols_the_first_kek_once(store: &dyn Store) {
    store.enrol_first_kek(&KekRecord { state: KekState::Retired, ..kek(0) }).unwrap();
    assert_eq!(store.keks().unwrap(), [kek(0)]);
    assert_eq!(conflict(store.enrol_first_kek(&kek(0))), ConflictKind::KekEnrolled);
    assert_eq!(conflict(store.enrol_first_kek(&kek(1))), ConflictKind::KekEnrolled);
    assert_eq!(store.keks().unwrap(), [kek(0)]);
}

pub(crate) fn keeps_every_field_of_a_kek(store: &dyn Store) {
    // A round trip by `restore`, which alone stores records as they are.
    let record = |nth: usize, state| KekRecord {
        public_key: public_key(nth),
        provider: ProviderKind::ALL[nth],
        state,
        created_at: at(i64::try_from(nth).unwrap()),
        changed_at: jiff::Timestamp::MIN,
        grace_until: (state == KekState::Grace).then_some(jiff::Timestamp::MAX),
    };
    let keks = [
        record(3, KekState::Retired),
        record(0, KekState::Grace),
        record(4, KekState::Active),
        record(2, KekState::Incoming),
        record(1, KekState::Retired),
    ];
    store.restore(&keks, &mut std::iter::empty()).unwrap();
    assert_eq!(store.keks().unwrap(), keks);
}

pub(crate) fn enrols_one_incoming_kek(store: &dyn Store) {
    assert_eq!(conflict(store.enrol_incoming_kek(&kek(0), kek(0).key_id())), ConflictKind::NoActiveKek);
    store.enrol_first_kek(&kek(0)).unwrap();
    assert_eq!(conflict(store.enrol_incoming_kek(&kek(0), kek(0).key_id())), ConflictKind::KekEnrolled);
    // Somebody else has switched since this one looked.
    let changed = store.enrol_incoming_kek(&kek(1), kek(2).key_id());
    assert_eq!(conflict(changed), ConflictKind::ActiveKekChanged);
    assert_eq!(store.keks().unwrap(), [kek(0)]);
    store.enrol_incoming_kek(&kek(1), kek(0).key_id()).unwrap();
    let incoming = KekRecord { state: KekState::Incoming, ..kek(1) };
    assert_eq!(store.keks().unwrap(), [kek(0), incoming.clone()]);
    for nth in 0..3 {
        assert_eq!(
            conflict(store.enrol_incoming_kek(&kek(nth), kek(0).key_id())),
            ConflictKind::RotationUnderWay
        );
    }
    assert_eq!(store.keks().unwrap(), [kek(0), incoming]);
}

pub(crate) fn switches_only_to_a_kek_that_opens_everything(store: &dyn Store) {
    let old = filled(store, 3);
    let new = kek(1).key_id();
    assert_eq!(conflict(store.switch_kek(new, at(9), at(99))), ConflictKind::KekNotIncoming);
    assert_eq!(conflict(store.switch_kek(old, at(9), at(99))), ConflictKind::KekNotIncoming);
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    let before = store.keks().unwrap();

    let missing = |expected: u64| match store.switch_kek(new, at(9), at(99)) {
        Err(StoreError::NotVerified { kek, missing, deks: 3 }) => {
            assert_eq!((kek, missing), (new, expected));
            assert_eq!(store.keks().unwrap(), before);
        }
        other => panic!("{other:?}"),
    };
    missing(3);
    let made: Vec<_> = (1..=3).map(|nth| wrapping(nth_version(nth), new)).collect();
    store.add_wrappings(&made).unwrap();
    missing(3);
    let good = store.wrappings_under(new, true, None, 2).unwrap();
    store.mark_verified(new, &good, at(8)).unwrap();
    missing(1);
    wrap_all(store, old, new);
    store.switch_kek(new, at(9), at(99)).unwrap();

    let keks = store.keks().unwrap();
    assert_eq!(keks[0].state, KekState::Grace);
    assert_eq!((keks[0].changed_at, keks[0].grace_until), (at(9), Some(at(99))));
    assert_eq!(keks[1].state, KekState::Active);
    assert_eq!((keks[1].changed_at, keks[1].grace_until), (at(9), None));
    assert_eq!(conflict(store.switch_kek(new, at(9), at(99))), ConflictKind::KekNotIncoming);
    // Both are live: a new DEK is wrapped for both.
    let dek = new_dek(nth_version(4), "default", &[new]);
    assert_eq!(conflict(store.insert_active_dek(&dek, Some(nth_version(3)))), ConflictKind::LiveKeksChanged);
    insert(store, 4..=4, &[old, new]);
}

pub(crate) fn gives_an_incoming_kek_up(store: &dyn Store) {
    let old = filled(store, 2);
    let new = kek(1).key_id();
    assert_eq!(conflict(store.abandon_incoming_kek(new)), ConflictKind::KekNotIncoming);
    assert_eq!(conflict(store.abandon_incoming_kek(old)), ConflictKind::KekNotIncoming);
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    wrap_all(store, old, new);
    store.abandon_incoming_kek(new).unwrap();
    assert_eq!(store.keks().unwrap(), [kek(0)]);
    assert_eq!(store.wrapping(nth_version(1), new).unwrap(), None);
    assert_eq!(store.wrap_progress(new).unwrap().wrapped, 0);
    assert_eq!(store.wrap_progress(old).unwrap().verified, 2);
    // It was never enrolled, as far as the store knows, and can be once more.
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    assert_eq!(store.wrap_progress(new).unwrap().wrapped, 0);
}

pub(crate) fn a_kek_in_grace_comes_back_unverified(store: &dyn Store) {
    let old = filled(store, 2);
    let new = kek(1).key_id();
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    wrap_all(store, old, new);
    store.switch_kek(new, at(9), at(99)).unwrap();

    let changed = store.enrol_incoming_kek(&kek(0), old);
    assert_eq!(conflict(changed), ConflictKind::ActiveKekChanged);
    assert_eq!(store.wrap_progress(old).unwrap().verified, 2);
    let back = KekRecord { changed_at: at(10), created_at: at(10), provider: ProviderKind::AwsKms, ..kek(0) };
    store.enrol_incoming_kek(&back, new).unwrap();
    let found = &store.keks().unwrap()[0];
    assert_eq!((found.state, found.changed_at), (KekState::Incoming, at(10)));
    assert_eq!((found.created_at, found.provider), (kek(0).created_at, kek(0).provider));
    assert_eq!(found.grace_until, Some(at(99)));
    let progress = store.wrap_progress(old).unwrap();
    assert_eq!((progress.wrapped, progress.verified), (2, 0));

    store.abandon_incoming_kek(old).unwrap();
    assert_eq!(store.keks().unwrap()[0].state, KekState::Grace);
    assert_eq!(store.wrap_progress(old).unwrap().wrapped, 2);

    store.enrol_incoming_kek(&back, new).unwrap();
    assert!(matches!(
        store.switch_kek(old, at(11), at(111)),
        Err(StoreError::NotVerified { missing: 2, .. })
    ));
    wrap_all(store, new, old);
    store.switch_kek(old, at(11), at(111)).unwrap();
    let keks = store.keks().unwrap();
    assert_eq!((keks[0].state, keks[0].grace_until), (KekState::Active, None));
    assert_eq!((keks[1].state, keks[1].grace_until), (KekState::Grace, Some(at(111))));
}

pub(crate) fn retires_only_what_nothing_needs(store: &dyn Store) {
    let old = filled(store, 2);
    let new = kek(1).key_id();
    assert_eq!(conflict(store.retire_kek(old, at(9))), ConflictKind::KekNotInGrace);
    assert_eq!(conflict(store.retire_kek(new, at(9))), ConflictKind::KekNotInGrace);
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    assert_eq!(conflict(store.retire_kek(new, at(9))), ConflictKind::KekNotInGrace);
    wrap_all(store, old, new);
    store.switch_kek(new, at(9), at(99)).unwrap();
    store.retire_kek(old, at(12)).unwrap();
    let found = store.keks().unwrap();
    assert_eq!((found[0].state, found[0].changed_at), (KekState::Retired, at(12)));
    assert_eq!(found[1].state, KekState::Active);
    assert_eq!(store.wrapping(nth_version(1), old).unwrap(), None);
    assert!(store.wrapping(nth_version(1), new).unwrap().is_some());
    assert_eq!(conflict(store.retire_kek(old, at(13))), ConflictKind::KekNotInGrace);
    // It never comes back.
    assert_eq!(conflict(store.enrol_incoming_kek(&kek(0), kek(0).key_id())), ConflictKind::KekEnrolled);
    let dek = new_dek(nth_version(3), "default", &[new]);
    store.insert_active_dek(&dek, Some(nth_version(2))).unwrap();
    assert_eq!(store.dek(dek.version).unwrap(), Some(stored(&dek, DekState::Active)));

    // While one is needed: a wrapping of a restored keyring is not verified.
    store.enrol_incoming_kek(&kek(2), new).unwrap();
    let third = kek(2).key_id();
    wrap_all(store, new, third);
    store.switch_kek(third, at(20), at(30)).unwrap();
    store.enrol_incoming_kek(&kek(1), third).unwrap();
    store.abandon_incoming_kek(new).unwrap();
    let dek = new_dek(nth_version(4), "default", &[new, third]);
    store.insert_active_dek(&dek, Some(nth_version(3))).unwrap();
    store.retire_kek(new, at(31)).unwrap();
    assert_eq!(store.wrap_progress(third).unwrap().verified, 4);
}
