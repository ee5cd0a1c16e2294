//! A DEK opens with the right KEK, and every other attempt is refused by name.

use std::sync::Arc;

use aegis_crypto::KeyId;
use aegis_keyring::{DEFAULT_WAIT, DekRecord, DekVersion, Grace, OpenDekError, Retired, Scope, UnwrapError};
use std::ops::ControlFlow;

use crate::fixture::{Ring, kek, options, scope, version};
use crate::hooked::Hooked;

#[test]
fn opens_with_the_kek_that_it_is_wrapped_under() {
    let ring = Ring::with_deks(1);
    let active = ring.keyring.active(&Scope::default()).unwrap();
    let dek = ring.keyring.open(active.version, &ring.kek, Retired::Refuse).unwrap();
    assert_eq!(dek.private_key().public_key(), &active.public_key);
    assert_eq!((dek.version(), dek.key_id()), (active.version, active.public_key.key_id()));
}

#[test]
fn refuses_by_state() {
    let ring = Ring::with_deks(2);
    let dek = version("dek-v1-20260115");
    let open =
        |retired| ring.keyring.open(dek, &ring.kek, retired).map(drop).map_err(|error| error.to_string());
    assert_eq!(open(Retired::Refuse), Ok(()));
    ring.keyring.retire(dek).unwrap();
    assert_eq!(open(Retired::Refuse), Err("dek-v1-20260115 is retired".to_owned()));
    assert_eq!(open(Retired::Allow), Ok(()));
    ring.keyring.mark_for_destruction(dek, DEFAULT_WAIT).unwrap();
    for retired in [Retired::Refuse, Retired::Allow] {
        let message = "dek-v1-20260115 is marked for destruction after 2026-01-22T12:00:00Z";
        assert_eq!(open(retired), Err(message.to_owned()));
    }
    ring.keyring.cancel_destruction(dek).unwrap();
    assert_eq!(open(Retired::Allow), Ok(()));
    ring.keyring.unretire(dek).unwrap();
    assert_eq!(open(Retired::Refuse), Ok(()));
    ring.keyring.mark_for_destruction(dek, DEFAULT_WAIT).unwrap();
    ring.clock.forward(DEFAULT_WAIT);
    ring.keyring.destroy(dek).unwrap();
    for retired in [Retired::Refuse, Retired::Allow] {
        assert_eq!(open(retired), Err("dek-v1-20260115 was destroyed at 2026-01-22T12:00:00Z".to_owned()));
    }
}

#[test]
fn refuses_a_version_that_never_was() {
    let ring = Ring::with_deks(1);
    let error = ring.keyring.open(version("dek-v1-20250101"), &ring.kek, Retired::Allow).unwrap_err();
    assert_eq!(error.to_string(), "there is no DEK dek-v1-20250101 in this keyring");
}

#[test]
fn names_the_kek_that_would_do() {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    let other = kek();
    let error = ring.keyring.open(dek, &other, Retired::Refuse).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "dek-v1-20260115 is not wrapped under KEK {}, only under {}",
            other.key_id().fingerprint(),
            ring.kek.key_id().fingerprint()
        )
    );
    assert!(matches!(error, OpenDekError::NotWrapped { under, .. } if under == [ring.kek.key_id()]));
}

#[test]
fn says_that_a_kek_is_retired() {
    let ring = Ring::with_deks(1);
    let new = kek();
    ring.rotate_kek(&ring.kek, &new).unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    ring.keyring.retire_kek(ring.kek.key_id(), &new, Grace::CutShort, &options(), go_on).unwrap();
    let error = ring.keyring.open(version("dek-v1-20260115"), &ring.kek, Retired::Refuse).unwrap_err();
    assert!(matches!(error, OpenDekError::KekRetired { .. }), "{error:?}");
    ring.keyring.open(version("dek-v1-20260115"), &new, Retired::Refuse).unwrap();
}

/// Regions of a wrapping: X25519 and ML-KEM of the encapsulation, nonce, ciphertext, tag.
const REGIONS: &[(&str, std::ops::Range<usize>)] = &[
    ("X25519", 0..32),
    ("ML-KEM", 32..1120),
    ("nonce", 1120..1132),
    ("ciphertext", 1132..3564),
    ("tag", 3564..3580),
];

#[test]
fn refuses_a_wrapping_that_was_changed_anywhere() {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    for (name, region) in REGIONS {
        for at in [region.start, region.start + region.len() / 2, region.end - 1] {
            let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_read(move |_, _, mut sealed| {
                // Not the highest bit of X25519, which RFC 7748 says to ignore; the combiner hashes it all the same.
                sealed[at] ^= 1;
                sealed
            })));
            let error = keyring.open(dek, &ring.kek, Retired::Refuse).unwrap_err();
            let refused = matches!(error, OpenDekError::Unwrap { source: UnwrapError::NotAuthentic, .. });
            assert!(refused, "{name} at {at}: {error:?}");
        }
    }
}

#[test]
fn refuses_a_wrapping_of_another_length() {
    let ring = Ring::with_deks(1);
    let dek = version("dek-v1-20260115");
    for len in [0, 1, 1119, 1148, 3579, 3581, 10_000] {
        let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_read(move |_, _, mut sealed| {
            sealed.resize(len, 0);
            sealed
        })));
        let error = keyring.open(dek, &ring.kek, Retired::Refuse).unwrap_err();
        let OpenDekError::Unwrap { source: UnwrapError::Length { found }, .. } = error else {
            panic!("{len}: {error:?}")
        };
        assert_eq!(found, len);
    }
}

#[test]
fn refuses_a_wrapping_in_the_place_of_another() {
    let ring = Ring::with_deks(2);
    let (one, two) = (version("dek-v1-20260115"), version("dek-v1-20260115-2"));
    let new = kek();
    ring.rotate_kek(&ring.kek, &new).unwrap();
    let store = ring.store();
    let (old_id, new_id) = (ring.kek.key_id(), new.key_id());
    let places: [(&str, DekVersion, KeyId); 2] =
        [("of another DEK", two, new_id), ("under another KEK", one, old_id)];
    for (name, from_version, from_kek) in places {
        let taken = store.wrapping(from_version, from_kek).unwrap().unwrap();
        let keyring =
            ring.on(Arc::new(Hooked::new(Arc::clone(&store)).on_read(move |_, _, _| taken.clone())));
        let error = keyring.open(one, &new, Retired::Refuse).unwrap_err();
        let refused = matches!(error, OpenDekError::Unwrap { source: UnwrapError::NotAuthentic, .. });
        assert!(refused, "{name}: {error:?}");
    }
    ring.keyring.open(one, &new, Retired::Refuse).unwrap();
}

#[test]
fn refuses_a_record_with_the_public_key_of_another() {
    let ring = Ring::with_deks(1);
    let foreign = ring.keyring.create(&scope("other")).unwrap().public_key;
    let own = version("dek-v1-20260115");
    let swap = move |dek: DekRecord| DekRecord { public_key: foreign.clone(), ..dek };
    let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_dek(swap)));
    let error = keyring.open(own, &ring.kek, Retired::Refuse).unwrap_err();
    assert!(matches!(error, OpenDekError::Unwrap { source: UnwrapError::NotAuthentic, .. }), "{error:?}");
}

#[test]
fn refuses_an_authentic_box_with_another_key_in_it() {
    use aegis_crypto::{AssociatedData, HybridPrivateKey, Purpose};
    let ring = Ring::with_deks(1);
    let active = ring.keyring.active(&Scope::default()).unwrap();
    let own = ring.keyring.open(active.version, &ring.kek, Retired::Refuse).unwrap();
    // Whoever seals honestly can still seal the wrong thing.
    let associated_data = AssociatedData::new([
        b"aegis/dek/v1",
        active.version.to_string().as_bytes(),
        active.public_key.key_id().as_bytes(),
        ring.kek.key_id().as_bytes(),
    ]);
    let mut other_x25519 = *own.private_key().dangerous_expose();
    other_x25519[7] ^= 1;
    let other_key = *HybridPrivateKey::generate().unwrap().dangerous_expose();
    for (name, private, is_key) in
        [("other key", other_key, false), ("other X25519 half", other_x25519, true)]
    {
        let sealed =
            aegis_crypto::seal(ring.kek.public_key(), Purpose::DekWrap, &associated_data, &private).unwrap();
        let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_read(move |_, _, _| sealed.clone())));
        let error = keyring.open(active.version, &ring.kek, Retired::Refuse).unwrap_err();
        let OpenDekError::Unwrap { source, .. } = &error else { panic!("{name}: {error:?}") };
        assert_eq!(matches!(source, UnwrapError::Key(_)), is_key, "{name}: {error:?}");
        assert_eq!(matches!(source, UnwrapError::OtherKey), !is_key, "{name}: {error:?}");
    }
}
