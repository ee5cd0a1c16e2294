//! Wrappings: made, listed, verified, dropped.

use aegis_crypto::KeyId;
use aegis_keyring::{
    ConflictKind, DekState, DekVersion, MAX_SEALED_LEN, NewWrapping, Store, StoreError, WrapProgress,
};

use crate::fixture::{
    at, conflict, filled, insert, kek, new_dek, nth_version, public_key, wrap_all, wrapping,
};

/// Enrols a second KEK, incoming, over so many DEKs.
fn rotating(store: &dyn Store, deks: u32) -> (KeyId, KeyId) {
    let old = filled(store, deks);
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    (old, kek(1).key_id())
}

fn destroy(store: &dyn Store, version: DekVersion) {
    let read = store.dek(version).unwrap().unwrap();
    store.change_dek(&read, DekState::Retired, Some(at(2)), at(2)).unwrap();
    store.destroy_dek(version, at(3)).unwrap();
}

pub(crate) fn lists_wrappings_page_by_page(store: &dyn Store) {
    let (old, new) = rotating(store, 6);
    destroy(store, nth_version(2));
    store.add_wrappings(&[wrapping(nth_version(3), new), wrapping(nth_version(5), new)]).unwrap();
    let good = store.wrappings_under(new, true, None, 1).unwrap();
    store.mark_verified(new, &good, at(4)).unwrap();

    let to_make = |from, to, after, limit| {
        let page = store.wrappings_to_make(from, to, after, limit).unwrap();
        for wrapped in &page {
            assert_eq!(wrapped.sealed, wrapping(wrapped.version, from).sealed);
            assert_eq!(wrapped.public_key, public_key(11));
        }
        page.iter().map(|wrapped| wrapped.version.number()).collect::<Vec<_>>()
    };
    assert_eq!(to_make(old, new, None, 9), [1, 4, 6]);
    assert_eq!(to_make(old, new, None, 2), [1, 4]);
    assert_eq!(to_make(old, new, Some(nth_version(4)), 2), [6]);
    assert_eq!(to_make(old, new, Some(nth_version(6)), 2), [] as [u32; 0]);
    assert_eq!(to_make(old, new, None, 0), [] as [u32; 0]);
    assert_eq!(to_make(new, old, None, 9), [] as [u32; 0]);
    assert_eq!(to_make(old, kek(7).key_id(), None, 9), [1, 3, 4, 5, 6]);
    assert_eq!(to_make(kek(7).key_id(), old, None, 9), [] as [u32; 0]);

    let under = |kek, unverified_only, after, limit| {
        let page = store.wrappings_under(kek, unverified_only, after, limit).unwrap();
        for wrapped in &page {
            assert_eq!(wrapped.sealed, wrapping(wrapped.version, kek).sealed);
        }
        page.iter().map(|wrapped| wrapped.version.number()).collect::<Vec<_>>()
    };
    assert_eq!(under(old, false, None, 9), [1, 3, 4, 5, 6]);
    assert_eq!(under(old, false, Some(nth_version(1)), 2), [3, 4]);
    assert_eq!(under(old, true, None, 9), [] as [u32; 0]);
    assert_eq!(under(new, false, None, 9), [3, 5]);
    assert_eq!(under(new, true, None, 9), [5]);
    assert_eq!(under(new, true, Some(nth_version(5)), 9), [] as [u32; 0]);
    assert_eq!(under(kek(7).key_id(), false, None, 9), [] as [u32; 0]);
}

pub(crate) fn a_wrapping_that_exists_stays(store: &dyn Store) {
    let (old, new) = rotating(store, 2);
    let other = NewWrapping { sealed: vec![7; 100], ..wrapping(nth_version(1), old) };
    store.add_wrappings(&[other, wrapping(nth_version(2), new)]).unwrap();
    assert_eq!(store.wrapping(nth_version(1), old).unwrap(), Some(wrapping(nth_version(1), old).sealed));
    let first = NewWrapping { sealed: vec![1], ..wrapping(nth_version(1), new) };
    let second = NewWrapping { sealed: vec![2], ..wrapping(nth_version(1), new) };
    store.add_wrappings(&[first, second]).unwrap();
    assert_eq!(store.wrapping(nth_version(1), new).unwrap(), Some(vec![1]));
    store.add_wrappings(&[]).unwrap();
}

pub(crate) fn leaves_out_what_was_destroyed_meanwhile(store: &dyn Store) {
    let (_, new) = rotating(store, 3);
    destroy(store, nth_version(1));
    store.add_wrappings(&[wrapping(nth_version(1), new), wrapping(nth_version(2), new)]).unwrap();
    assert_eq!(store.wrapping(nth_version(1), new).unwrap(), None);
    assert!(store.wrapping(nth_version(2), new).unwrap().is_some());
    // One that never was is not one that was destroyed.
    let unknown = store.add_wrappings(&[wrapping(nth_version(3), new), wrapping(nth_version(9), new)]);
    assert_eq!(conflict(unknown), ConflictKind::UnknownVersion);
    assert_eq!(store.wrapping(nth_version(3), new).unwrap(), None);
}

pub(crate) fn refuses_wrappings_for_a_kek_that_is_not_live(store: &dyn Store) {
    let (old, new) = rotating(store, 2);
    let never =
        store.add_wrappings(&[wrapping(nth_version(1), new), wrapping(nth_version(1), kek(7).key_id())]);
    assert_eq!(conflict(never), ConflictKind::KekNotLive);
    assert_eq!(store.wrapping(nth_version(1), new).unwrap(), None);
    wrap_all(store, old, new);
    store.switch_kek(new, at(9), at(10)).unwrap();
    store.retire_kek(old, at(11)).unwrap();
    assert_eq!(conflict(store.add_wrappings(&[wrapping(nth_version(1), old)])), ConflictKind::KekNotLive);
}

pub(crate) fn marks_only_the_bytes_that_were_opened(store: &dyn Store) {
    let (_, new) = rotating(store, 4);
    let made: Vec<_> = (1..=4).map(|nth| wrapping(nth_version(nth), new)).collect();
    store.add_wrappings(&made).unwrap();
    let mut opened = store.wrappings_under(new, true, None, 9).unwrap();
    opened[1].sealed[100] ^= 1;
    opened[2].sealed.pop();
    // Wrapped anew since it was opened, by somebody else.
    store.drop_wrapping(nth_version(4), new).unwrap();
    store.mark_verified(new, &opened, at(5)).unwrap();
    let left = store.wrappings_under(new, true, None, 9).unwrap();
    assert_eq!(left.iter().map(|wrapped| wrapped.version.number()).collect::<Vec<_>>(), [2, 3]);
    store.mark_verified(kek(7).key_id(), &opened, at(5)).unwrap();
    store.mark_verified(new, &left, at(6)).unwrap();
    assert_eq!(store.wrap_progress(new).unwrap(), WrapProgress { deks: 4, wrapped: 3, verified: 3 });
}

pub(crate) fn drops_only_wrappings_under_an_incoming_kek(store: &dyn Store) {
    let (old, new) = rotating(store, 2);
    for (name, not_incoming) in [("active", old), ("never enrolled", kek(7).key_id())] {
        let refused = store.drop_wrapping(nth_version(1), not_incoming);
        assert_eq!(conflict(refused), ConflictKind::KekNotIncoming, "{name}");
    }
    assert!(store.wrapping(nth_version(1), old).unwrap().is_some());
    wrap_all(store, old, new);
    store.drop_wrapping(nth_version(1), new).unwrap();
    store.drop_wrapping(nth_version(1), new).unwrap();
    assert_eq!(store.wrapping(nth_version(1), new).unwrap(), None);
    let to_make = store.wrappings_to_make(old, new, None, 9).unwrap();
    assert_eq!(to_make.len(), 1);
    // Made again, it has to be verified again.
    store.add_wrappings(&[wrapping(nth_version(1), new)]).unwrap();
    assert_eq!(store.wrap_progress(new).unwrap(), WrapProgress { deks: 2, wrapped: 2, verified: 1 });
    wrap_all(store, old, new);
    store.switch_kek(new, at(9), at(10)).unwrap();
    for kek in [old, new] {
        assert_eq!(conflict(store.drop_wrapping(nth_version(1), kek)), ConflictKind::KekNotIncoming);
    }
}

pub(crate) fn counts_progress(store: &dyn Store) {
    let (old, new) = rotating(store, 3);
    let progress = |kek| store.wrap_progress(kek).unwrap();
    assert_eq!(progress(old), WrapProgress { deks: 3, wrapped: 3, verified: 3 });
    assert_eq!(progress(new), WrapProgress { deks: 3, wrapped: 0, verified: 0 });
    // A DEK that is made during the rotation is wrapped for both, and verified for the KEK that is not incoming.
    insert(store, 4..=4, &[old, new]);
    assert_eq!(progress(old), WrapProgress { deks: 4, wrapped: 4, verified: 4 });
    assert_eq!(progress(new), WrapProgress { deks: 4, wrapped: 1, verified: 0 });
    destroy(store, nth_version(1));
    assert_eq!(progress(old), WrapProgress { deks: 3, wrapped: 3, verified: 3 });
    assert_eq!(progress(kek(7).key_id()), WrapProgress { deks: 3, wrapped: 0, verified: 0 });
}

pub(crate) fn refuses_boxes_of_impossible_length(store: &dyn Store) {
    let (old, new) = rotating(store, 1);
    for len in [0, MAX_SEALED_LEN + 1] {
        let made = NewWrapping { sealed: vec![9; len], ..wrapping(nth_version(1), new) };
        let refused = store.add_wrappings(&[made]);
        assert!(matches!(refused, Err(StoreError::BoxLength { len: found, .. }) if found == len));
        let mut dek = new_dek(nth_version(2), "default", &[old, new]);
        dek.wrappings[1].sealed = vec![9; len];
        let refused = store.insert_active_dek(&dek, Some(nth_version(1)));
        assert!(matches!(refused, Err(StoreError::BoxLength { len: found, .. }) if found == len));
        assert_eq!(store.dek(nth_version(2)).unwrap(), None);
    }
    let largest = NewWrapping { sealed: vec![9; MAX_SEALED_LEN], ..wrapping(nth_version(1), new) };
    store.add_wrappings(std::slice::from_ref(&largest)).unwrap();
    assert_eq!(store.wrapping(nth_version(1), new).unwrap(), Some(largest.sealed));
}
