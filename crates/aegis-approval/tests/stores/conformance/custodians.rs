//! People, roles and keys.

use std::collections::BTreeSet;

use aegis_approval::{ConflictKind, KeyState, Registry, RegistryError, RequestQuery, StoreError};
use aegis_crypto::CustodianAlgorithm;

use crate::fixture::*;
use crate::on::Place;

pub(crate) fn has_nothing_at_first(place: &Place) {
    let store = place.open();
    assert_eq!(store.registry().unwrap(), (Registry::default(), 0));
    assert_eq!(store.requests(&RequestQuery { limit: 9, ..RequestQuery::default() }).unwrap(), []);
    assert_eq!(store.request(&"req-0123456789abcdef0123456789abcdef".parse().unwrap()).unwrap(), None);
    assert_eq!(store.rotations(false).unwrap(), []);
    assert_eq!(store.rotation(Person::new("rita", "risk_lead").key_id()).unwrap(), None);
}

pub(crate) fn keeps_every_field_of_a_custodian(place: &Place) {
    let store = place.open();
    let first = Person::with(CustodianAlgorithm::Ed25519MlDsa65, "rita", &["risk_lead", "auditor"]);
    let second = Person::with(CustodianAlgorithm::Bip322, "rita", &["risk_lead", "auditor"]);
    let third = Person::with(CustodianAlgorithm::Bip322, "rita", &["risk_lead", "auditor"]);
    let other = Person::new("a.b_c@d-e", "security_lead");
    for person in [&first, &second, &other, &third] {
        person.join(store.as_ref());
    }
    let ends = [
        (&first, KeyState::Replaced { at: at(5), by: second.key_id() }),
        (&third, KeyState::Revoked { at: at(6) }),
    ];
    for (nth, (person, state)) in (4..).zip(&ends) {
        store.end_key(nth, &person.name, person.key_id(), state).unwrap();
    }
    store.set_roles(6, &other.name, &roles(&["security_lead", "z"])).unwrap();
    let (registry, revision) = place.open().registry().unwrap();
    assert_eq!(revision, 7);
    let found: Vec<_> = registry.custodians().cloned().collect();
    assert_eq!(found.iter().map(|found| found.person.as_str()).collect::<Vec<_>>(), ["a.b_c@d-e", "rita"]);
    assert_eq!(found[0].roles, roles(&["security_lead", "z"]));
    assert_eq!(found[0].keys, [other.custodian_key()]);
    let mut keys = [first.custodian_key(), second.custodian_key(), third.custodian_key()];
    keys[0].state = ends[0].1.clone();
    keys[2].state = ends[1].1.clone();
    assert_eq!((&found[1].roles, found[1].keys.as_slice()), (&first.roles, keys.as_slice()));
}

pub(crate) fn changes_only_the_registry_that_was_read(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let new = Person::new("eve", "auditor");
    for stale in [0, 1, 3, u64::MAX] {
        let added = store.add_key(stale, &new.name, &new.roles, &new.custodian_key());
        assert_eq!(conflict(added), ConflictKind::RegistryChanged, "{stale}");
        let ended = store.end_key(stale, &rita.name, rita.key_id(), &KeyState::Revoked { at: at(1) });
        assert_eq!(conflict(ended), ConflictKind::RegistryChanged, "{stale}");
        let roles = store.set_roles(stale, &sam.name, &roles(&["auditor"]));
        assert_eq!(conflict(roles), ConflictKind::RegistryChanged, "{stale}");
    }
    let (registry, revision) = store.registry().unwrap();
    assert_eq!((registry.custodians().count(), revision), (2, 2));
}

pub(crate) fn a_key_is_one_persons_for_ever(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    store.end_key(2, &rita.name, rita.key_id(), &KeyState::Revoked { at: at(1) }).unwrap();
    for person in [&rita, &sam] {
        let again = store.add_key(3, &person.name, &person.roles, &rita.custodian_key());
        let taken = ConflictKind::KeyTaken { key: rita.key_id(), person: rita.name.clone() };
        assert_eq!(conflict(again), taken);
    }
    assert_eq!(store.registry().unwrap().1, 3);
}

pub(crate) fn refuses_roles_that_cannot_be(place: &Place) {
    let store = place.open();
    let [rita, _] = leads(store.as_ref());
    let further = Person::new("rita", "security_lead");
    let added = store.add_key(2, &further.name, &further.roles, &further.custodian_key());
    assert_eq!(conflict(added), ConflictKind::OtherRoles { person: rita.name.clone() });
    let many: Vec<String> = (0..9).map(|nth| format!("role_{nth}")).collect();
    let many = roles(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let new = Person::new("eve", "auditor");
    for wrong in [BTreeSet::new(), many] {
        let found = wrong.len();
        for refused in [
            store.set_roles(2, &rita.name, &wrong),
            store.add_key(2, &new.name, &wrong, &new.custodian_key()),
        ] {
            let Err(StoreError::Registry { source: RegistryError::Roles { found: told, .. }, .. }) = refused
            else {
                panic!("{found} roles: {refused:?}")
            };
            assert_eq!(told, found);
        }
    }
    let nobody = store.set_roles(2, &person("nobody"), &roles(&["auditor"]));
    assert_eq!(conflict(nobody), ConflictKind::NoSuchKey { person: person("nobody") });
    assert_eq!(store.registry().unwrap().1, 2);
}

pub(crate) fn a_key_ends_and_never_comes_back(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let (old, new) = (Person::new("rita", "risk_lead"), rita.key_id());
    old.join(store.as_ref());
    let revoked = KeyState::Revoked { at: at(3) };
    let replaced = KeyState::Replaced { at: at(2), by: new };
    let end = |person: &Person, key, state: &KeyState| {
        let (_, revision) = store.registry().unwrap();
        store.end_key(revision, &person.name, key, state)
    };
    let ended = |state| ConflictKind::KeyEnded { key: old.key_id(), state };
    assert_eq!(conflict(end(&rita, old.key_id(), &KeyState::Active)), ended("active"));
    assert_eq!(
        conflict(end(&sam, old.key_id(), &revoked)),
        ConflictKind::NoSuchKey { person: sam.name.clone() }
    );
    end(&rita, old.key_id(), &replaced).unwrap();
    assert_eq!(conflict(end(&rita, old.key_id(), &replaced)), ended("replaced"));
    assert_eq!(conflict(end(&rita, old.key_id(), &KeyState::Active)), ended("replaced"));
    end(&rita, old.key_id(), &revoked).unwrap();
    for state in [&revoked, &replaced, &KeyState::Active] {
        assert_eq!(conflict(end(&rita, old.key_id(), state)), ended("revoked"));
    }
    let (registry, _) = store.registry().unwrap();
    assert_eq!(registry.holder(old.key_id()).unwrap().1.state, revoked);
}

pub(crate) fn a_key_is_replaced_by_an_active_one_of_that_person(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let gone = Person::new("rita", "risk_lead");
    gone.join(store.as_ref());
    store.end_key(3, &rita.name, gone.key_id(), &KeyState::Revoked { at: at(1) }).unwrap();
    let replace = |by| store.end_key(4, &rita.name, rita.key_id(), &KeyState::Replaced { at: at(2), by });
    let none = ConflictKind::NoSuchKey { person: rita.name.clone() };
    assert_eq!(conflict(replace(sam.key_id())), none);
    assert_eq!(conflict(replace(Person::new("rita", "risk_lead").key_id())), none);
    let revoked = ConflictKind::KeyEnded { key: gone.key_id(), state: "revoked" };
    assert_eq!(conflict(replace(gone.key_id())), revoked);
    let itself = ConflictKind::KeyEnded { key: rita.key_id(), state: "active" };
    assert_eq!(conflict(replace(rita.key_id())), itself);
}

pub(crate) fn refuses_more_keys_than_a_person_can_have(place: &Place) {
    let store = place.open();
    for revision in 0..Registry::MAX_KEYS as u64 {
        let key = Person::new("rita", "risk_lead");
        store.add_key(revision, &key.name, &key.roles, &key.custodian_key()).unwrap();
    }
    let one_more = Person::new("rita", "risk_lead");
    let added = store.add_key(100, &one_more.name, &one_more.roles, &one_more.custodian_key());
    let too_many =
        matches!(added, Err(StoreError::Registry { source: RegistryError::TooManyKeys { .. }, .. }));
    assert!(too_many, "{added:?}");
    let (registry, revision) = store.registry().unwrap();
    assert_eq!((registry.custodian(&one_more.name).unwrap().keys.len(), revision), (100, 100));
}
