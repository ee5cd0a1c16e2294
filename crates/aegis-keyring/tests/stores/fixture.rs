//! Records to store. Keys are real, boxes are noise: a store never opens one.

use std::sync::OnceLock;

use aegis_crypto::{HybridPrivateKey, HybridPublicKey, KeyId};
use aegis_kek::ProviderKind;
use aegis_keyring::{
    ConflictKind, DekRecord, DekState, DekVersion, KekRecord, KekState, NewDek, NewWrapping, Scope, Store,
    StoreError, Usage,
};
use jiff::Timestamp;

/// Bytes of a DEK's box.
pub(crate) const BOX_LEN: usize = 3580;

/// The `nth` of a few real public keys.
pub(crate) fn public_key(nth: usize) -> HybridPublicKey {
    static KEYS: [OnceLock<HybridPublicKey>; 12] = [const { OnceLock::new() }; 12];
    let make = || HybridPrivateKey::generate().unwrap().public_key().clone();
    KEYS[nth].get_or_init(make).clone()
}

/// A time so many seconds after the start of 2026, and some nanoseconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_767_225_600 + seconds, 123_456_789).unwrap()
}

pub(crate) fn kek(nth: usize) -> KekRecord {
    KekRecord {
        public_key: public_key(nth),
        provider: ProviderKind::ALL[nth % ProviderKind::ALL.len()],
        state: KekState::Active,
        created_at: at(0),
        changed_at: at(0),
        grace_until: None,
    }
}

pub(crate) fn version(text: &str) -> DekVersion {
    text.parse().unwrap()
}

/// The `nth` version of a day, from 1.
pub(crate) fn nth_version(nth: u32) -> DekVersion {
    DekVersion::from_ordinal(20_260_101 * 10_000_000 + i64::from(nth)).unwrap()
}

/// A box of a DEK under a KEK: bytes that look like noise, and the same each time.
pub(crate) fn wrapping(version: DekVersion, kek: KeyId) -> NewWrapping {
    let key = u64::from_le_bytes(*kek.as_bytes().first_chunk().unwrap());
    // Odd, and another one for each DEK.
    let mut seed = (version.to_ordinal().unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key) | 1;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[3]
    };
    NewWrapping { version, kek, sealed: (0..BOX_LEN).map(|_| next()).collect() }
}

/// A new DEK for the scope, wrapped for these KEKs.
pub(crate) fn new_dek(version: DekVersion, scope: &str, keks: &[KeyId]) -> NewDek {
    NewDek {
        version,
        scope: scope.parse().unwrap(),
        public_key: public_key(11),
        created_at: at(1),
        wrappings: keks.iter().map(|kek| wrapping(version, *kek)).collect(),
    }
}

/// What a DEK of [`new_dek`] is read back as.
pub(crate) fn stored(new: &NewDek, state: DekState) -> DekRecord {
    DekRecord {
        version: new.version,
        scope: new.scope.clone(),
        state,
        public_key: new.public_key.clone(),
        created_at: new.created_at,
        changed_at: new.created_at,
        destroy_after: None,
        usage: Usage::default(),
    }
}

pub(crate) fn scope(name: &str) -> Scope {
    name.parse().unwrap()
}

/// Enrols the first KEK, and makes so many DEKs in one scope: the last one active.
pub(crate) fn filled(store: &dyn Store, deks: u32) -> KeyId {
    let first = kek(0);
    store.enrol_first_kek(&first).unwrap();
    insert(store, 1..=deks, &[first.key_id()]);
    first.key_id()
}

/// Makes DEKs in the default scope, each replacing the one before.
pub(crate) fn insert(store: &dyn Store, numbers: std::ops::RangeInclusive<u32>, keks: &[KeyId]) {
    for nth in numbers {
        let before = (nth > 1).then(|| nth_version(nth - 1));
        store.insert_active_dek(&new_dek(nth_version(nth), "default", keks), before).unwrap();
    }
}

/// Wraps every DEK for a KEK and marks it as verified.
pub(crate) fn wrap_all(store: &dyn Store, from: KeyId, to: KeyId) {
    let made = store.wrappings_to_make(from, to, None, 1000).unwrap();
    let made: Vec<_> = made.iter().map(|old| wrapping(old.version, to)).collect();
    store.add_wrappings(&made).unwrap();
    let good = store.wrappings_under(to, true, None, 1000).unwrap();
    store.mark_verified(to, &good, at(5)).unwrap();
}

/// The conflict that a call has to end in.
#[track_caller]
pub(crate) fn conflict<T>(result: Result<T, StoreError>) -> ConflictKind {
    match result {
        Err(StoreError::Conflict { what }) => what,
        Err(error) => panic!("not a conflict: {error:?}"),
        Ok(_) => panic!("not refused"),
    }
}

/// An error with its causes and its help, as a user sees it.
pub(crate) fn told(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text + "; " + &error.help().unwrap_or_default()
}
