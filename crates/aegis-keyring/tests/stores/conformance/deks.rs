//! DEKs, from active to destroyed.

use aegis_keyring::{ConflictKind, DekQuery, DekRecord, DekState, DekVersion, NewDek, Scope, Store, Usage};

use crate::fixture::{at, conflict, filled, kek, new_dek, nth_version, scope, stored, version, wrapping};

pub(crate) fn keeps_every_field_of_a_dek(store: &dyn Store) {
    let kek = filled(store, 0);
    let longest = "z".repeat(64);
    let names = [
        ("dek-v1-00000101", "default"),
        ("dek-v1-20240229-9999999", &longest),
        ("dek-v1-20260101", "0.a_b-c"),
        ("dek-v1-99991231-2", "9"),
    ];
    for (text, scope) in names {
        let dek = NewDek { created_at: jiff::Timestamp::MAX, ..new_dek(version(text), scope, &[kek]) };
        store.insert_active_dek(&dek, None).unwrap();
        assert_eq!(store.dek(dek.version).unwrap(), Some(stored(&dek, DekState::Active)), "{text}");
        assert_eq!(store.active_dek(&dek.scope).unwrap(), Some(stored(&dek, DekState::Active)), "{text}");
    }
}

pub(crate) fn one_dek_is_active_in_each_scope(store: &dyn Store) {
    let kek = filled(store, 1);
    let first = nth_version(1);
    let other = new_dek(version("dek-v1-20260102"), "other", &[kek]);
    store.insert_active_dek(&other, None).unwrap();
    let mut second = new_dek(nth_version(2), "default", &[kek]);
    second.created_at = at(77);
    store.insert_active_dek(&second, Some(first)).unwrap();

    assert_eq!(store.active_dek(&Scope::default()).unwrap(), Some(stored(&second, DekState::Active)));
    assert_eq!(store.active_dek(&scope("other")).unwrap(), Some(stored(&other, DekState::Active)));
    assert_eq!(store.active_dek(&scope("third")).unwrap(), None);
    let replaced = store.dek(first).unwrap().unwrap();
    assert_eq!((replaced.state, replaced.changed_at), (DekState::DecryptOnly, at(77)));
    assert_eq!(store.wrapping(first, kek).unwrap(), Some(wrapping(first, kek).sealed));
    assert_eq!(store.wrapping(second.version, kek).unwrap(), Some(wrapping(second.version, kek).sealed));
}

pub(crate) fn refuses_a_dek_that_does_not_fit(store: &dyn Store) {
    let kek0 = filled(store, 1);
    let (kek1, one, two) = (kek(1).key_id(), nth_version(1), nth_version(2));
    let good = new_dek(two, "default", &[kek0]);
    let with = |wrappings| NewDek { wrappings, ..good.clone() };
    let cases = [
        ("the version is taken", new_dek(one, "default", &[kek0]), Some(one), ConflictKind::VersionTaken),
        ("also in another scope", new_dek(one, "other", &[kek0]), None, ConflictKind::VersionTaken),
        ("replaces nothing", good.clone(), None, ConflictKind::ActiveChanged),
        ("replaces another", good.clone(), Some(two), ConflictKind::ActiveChanged),
        ("none to replace", new_dek(two, "other", &[kek0]), Some(one), ConflictKind::ActiveChanged),
        ("no wrapping", with(vec![]), Some(one), ConflictKind::LiveKeksChanged),
        ("another KEK", with(vec![wrapping(two, kek1)]), Some(one), ConflictKind::LiveKeksChanged),
        (
            "one KEK more",
            with(vec![wrapping(two, kek0), wrapping(two, kek1)]),
            Some(one),
            ConflictKind::LiveKeksChanged,
        ),
        (
            "a KEK twice",
            with(vec![wrapping(two, kek0), wrapping(two, kek0)]),
            Some(one),
            ConflictKind::WrappingMisplaced,
        ),
        ("of another DEK", with(vec![wrapping(one, kek0)]), Some(one), ConflictKind::WrappingMisplaced),
    ];
    for (name, dek, replaces, expected) in cases {
        assert_eq!(conflict(store.insert_active_dek(&dek, replaces)), expected, "{name}");
        assert_eq!(store.dek(two).unwrap(), None, "{name}");
        assert_eq!(store.active_dek(&Scope::default()).unwrap().unwrap().version, one, "{name}");
    }
    store.insert_active_dek(&good, Some(one)).unwrap();
}

pub(crate) fn changes_only_between_decrypt_only_and_retired(store: &dyn Store) {
    let kek = filled(store, 2);
    let (one, two) = (nth_version(1), nth_version(2));
    let read = |version| store.dek(version).unwrap().unwrap();
    // An active one changes by being replaced, whatever it should become.
    for to in DekState::ALL {
        assert_eq!(conflict(store.change_dek(&read(two), to, None, at(9))), ConflictKind::DekChanged);
    }
    let changes = [
        (DekState::DecryptOnly, DekState::Retired, Some(at(50))),
        (DekState::Retired, DekState::Retired, Some(at(40))),
        (DekState::Retired, DekState::DecryptOnly, None),
        (DekState::DecryptOnly, DekState::DecryptOnly, Some(at(60))),
        (DekState::DecryptOnly, DekState::Retired, None),
        (DekState::Retired, DekState::Retired, Some(at(10))),
    ];
    for (nth, (from, to, destroy_after)) in (20..).zip(changes) {
        let before = read(one);
        assert_eq!(before.state, from);
        for fixed in [DekState::Active, DekState::Destroyed] {
            let refused = store.change_dek(&before, fixed, destroy_after, at(nth));
            assert_eq!(conflict(refused), ConflictKind::DekChanged);
        }
        assert_eq!(read(one), before);
        store.change_dek(&before, to, destroy_after, at(nth)).unwrap();
        assert_eq!(read(one), DekRecord { state: to, destroy_after, changed_at: at(nth), ..before });
    }
    store.destroy_dek(one, at(60)).unwrap();
    for to in DekState::ALL {
        assert_eq!(conflict(store.change_dek(&read(one), to, None, at(9))), ConflictKind::DekChanged);
    }
    let never = stored(&new_dek(nth_version(9), "default", &[kek]), DekState::Retired);
    let unknown = conflict(store.change_dek(&never, DekState::DecryptOnly, None, at(9)));
    assert_eq!(unknown, ConflictKind::UnknownVersion);
}

pub(crate) fn changes_only_what_is_as_it_was_read(store: &dyn Store) {
    filled(store, 2);
    let read = store.dek(nth_version(1)).unwrap().unwrap();
    store.change_dek(&read, DekState::Retired, Some(at(50)), at(9)).unwrap();
    let now = store.dek(nth_version(1)).unwrap().unwrap();
    let stale = [
        read,
        DekRecord { destroy_after: None, ..now.clone() },
        DekRecord { destroy_after: Some(at(51)), ..now.clone() },
        DekRecord { state: DekState::DecryptOnly, ..now.clone() },
        DekRecord { state: DekState::Active, ..now.clone() },
    ];
    for from in stale {
        let refused = store.change_dek(&from, DekState::DecryptOnly, None, at(10));
        assert_eq!(conflict(refused), ConflictKind::DekChanged);
    }
    assert_eq!(store.dek(nth_version(1)).unwrap(), Some(now.clone()));
    // What was counted meanwhile is no conflict.
    store.add_usage(&[(now.version, Usage { messages: 5, bytes: 6 })]).unwrap();
    store.change_dek(&now, DekState::DecryptOnly, None, at(10)).unwrap();
    assert_eq!(store.dek(now.version).unwrap().unwrap().usage, Usage { messages: 5, bytes: 6 });
}

pub(crate) fn destroys_only_what_is_due(store: &dyn Store) {
    let kek = filled(store, 4);
    let read = |nth| store.dek(nth_version(nth)).unwrap().unwrap();
    store.change_dek(&read(2), DekState::Retired, None, at(9)).unwrap();
    store.change_dek(&read(3), DekState::Retired, Some(at(50)), at(9)).unwrap();
    store.change_dek(&read(1), DekState::DecryptOnly, Some(at(10)), at(9)).unwrap();
    let before = |nth: i64| jiff::Timestamp::new(at(nth).as_second(), 123_456_788).unwrap();
    let not_due = [
        ("active", 4, at(99)),
        ("decrypt only", 1, at(99)),
        ("not marked", 2, at(99)),
        ("a nanosecond early", 3, before(50)),
    ];
    for (name, nth, now) in not_due {
        let was = read(nth);
        assert_eq!(conflict(store.destroy_dek(nth_version(nth), now)), ConflictKind::NotDue, "{name}");
        assert_eq!(read(nth), was, "{name}");
        assert!(store.wrapping(nth_version(nth), kek).unwrap().is_some(), "{name}");
    }
    let was = read(3);
    store.destroy_dek(nth_version(3), at(50)).unwrap();
    assert_eq!(read(3), DekRecord { state: DekState::Destroyed, changed_at: at(50), ..was });
    assert_eq!(store.wrapping(nth_version(3), kek).unwrap(), None);
    assert_eq!(conflict(store.destroy_dek(nth_version(3), at(99))), ConflictKind::NotDue);
    assert_eq!(conflict(store.destroy_dek(nth_version(9), at(99))), ConflictKind::UnknownVersion);
    assert_eq!(store.wrap_progress(kek).unwrap().deks, 3);
}

pub(crate) fn counts_what_was_used(store: &dyn Store) {
    filled(store, 2);
    let usage = |messages, bytes| Usage { messages, bytes };
    let (one, two) = (nth_version(1), nth_version(2));
    store.add_usage(&[]).unwrap();
    store.add_usage(&[(one, usage(1, 10)), (two, usage(2, 20))]).unwrap();
    store.add_usage(&[(two, usage(3, 30)), (two, usage(4, 40))]).unwrap();
    assert_eq!(store.dek(one).unwrap().unwrap().usage, usage(1, 10));
    assert_eq!(store.dek(two).unwrap().unwrap().usage, usage(9, 90));
}

pub(crate) fn counts_nothing_if_a_version_is_unknown(store: &dyn Store) {
    filled(store, 1);
    let used = Usage { messages: 1, bytes: 1 };
    let unknown = store.add_usage(&[(nth_version(1), used), (nth_version(2), used)]);
    assert_eq!(conflict(unknown), ConflictKind::UnknownVersion);
    assert_eq!(store.dek(nth_version(1)).unwrap().unwrap().usage, Usage::default());
}

pub(crate) fn counters_stay_at_their_greatest(store: &dyn Store) {
    filled(store, 1);
    let greatest = u64::try_from(i64::MAX).unwrap();
    let add = |messages, bytes| store.add_usage(&[(nth_version(1), Usage { messages, bytes })]).unwrap();
    add(u64::MAX, greatest - 1);
    add(1, 5);
    add(u64::MAX, u64::MAX);
    let usage = store.dek(nth_version(1)).unwrap().unwrap().usage;
    assert_eq!(usage, Usage { messages: greatest, bytes: greatest });
}

pub(crate) fn lists_deks_page_by_page(store: &dyn Store) {
    let kek = filled(store, 5);
    let others = ["dek-v1-20250101", "dek-v1-20260101-12", "dek-v1-20270101"];
    for text in others {
        store.insert_active_dek(&new_dek(version(text), text, &[kek]), None).unwrap();
    }
    let retired = store.dek(nth_version(2)).unwrap().unwrap();
    store.change_dek(&retired, DekState::Retired, None, at(9)).unwrap();

    let all = ["dek-v1-20250101", "dek-v1-20260101"]
        .into_iter()
        .map(version)
        .chain((2..=5).map(nth_version))
        .chain(others[1..].iter().map(|text| version(text)))
        .collect::<Vec<_>>();
    let listed = |scope: Option<&str>, state, after, limit| {
        let scope = scope.map(|name| name.parse().unwrap());
        let page = store.deks(&DekQuery { scope, state, after, limit }).unwrap();
        page.iter().map(|dek| dek.version).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, None, usize::MAX), all);
    assert_eq!(listed(None, None, None, 0), []);
    assert_eq!(listed(None, None, None, 3), all[..3]);
    assert_eq!(listed(None, None, Some(all[2]), 3), all[3..6]);
    assert_eq!(listed(None, None, all.last().copied(), 3), []);
    // A place to go on from need not be there any more.
    assert_eq!(listed(None, None, Some(version("dek-v1-20260101-7")), 9), all[6..]);
    assert_eq!(listed(Some("default"), None, None, 9), (1..=5).map(nth_version).collect::<Vec<_>>());
    assert_eq!(listed(Some("nobody"), None, None, 9), []);
    assert_eq!(listed(None, Some(DekState::Retired), None, 9), [nth_version(2)]);
    assert_eq!(listed(None, Some(DekState::Destroyed), None, 9), []);
    assert_eq!(listed(None, Some(DekState::Active), Some(nth_version(5)), 9), all[6..]);
    assert_eq!(listed(Some("default"), Some(DekState::Active), None, 9), [nth_version(5)]);
    let decrypting = listed(Some("default"), Some(DekState::DecryptOnly), Some(nth_version(1)), 1);
    assert_eq!(decrypting, [nth_version(3)]);
}

pub(crate) fn finds_the_last_version_of_a_day(store: &dyn Store) {
    let kek = filled(store, 3);
    let last = nth_version(DekVersion::MAX_NUMBER);
    for (scope, text) in [("a", "dek-v1-20251231-9999999"), ("b", "dek-v1-20260102-2")] {
        store.insert_active_dek(&new_dek(version(text), scope, &[kek]), None).unwrap();
    }
    assert_eq!(store.last_version_of(nth_version(1)).unwrap(), Some(nth_version(3)));
    assert_eq!(store.last_version_of(nth_version(2)).unwrap(), Some(nth_version(3)));
    assert_eq!(
        store.last_version_of(version("dek-v1-20260102")).unwrap(),
        Some(version("dek-v1-20260102-2"))
    );
    assert_eq!(store.last_version_of(version("dek-v1-20260103")).unwrap(), None);
    store.insert_active_dek(&new_dek(last, "c", &[kek]), None).unwrap();
    assert_eq!(store.last_version_of(nth_version(1)).unwrap(), Some(last));
}
