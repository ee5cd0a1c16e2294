//! Emergency rotations.

use aegis_approval::{ConflictKind, Rotation, RotationStep};

use crate::fixture::*;
use crate::on::Place;

pub(crate) fn keeps_every_field_of_a_rotation(place: &Place) {
    let store = place.open();
    let [key, new] = ["rita", "sam"].map(|name| Person::new(name, "risk_lead").key_id());
    let mut rotation = rotation(key);
    rotation.reason =
        "\u{10d2}\u{10d0}\u{10db}\u{10d0}\u{10e0}\u{10ef}\u{10dd}\u{10d1}\u{10d0}\n5 \u{20ac}".to_owned();
    store.begin_rotation(&rotation).unwrap();
    assert_eq!(place.open().rotation(key).unwrap(), Some(rotation.clone()));
    for step in RotationStep::ALL {
        let next = Rotation {
            step,
            new_key: (step >= RotationStep::KeyRegistered).then_some(new),
            with_deks: step != RotationStep::Reported,
            updated: at(20 + step as i64),
            ..rotation.clone()
        };
        store.advance_rotation(&rotation, &next).unwrap();
        assert_eq!(place.open().rotation(key).unwrap(), Some(next.clone()));
        rotation = next;
    }
}

pub(crate) fn begins_one_rotation_of_each_key(place: &Place) {
    let store = place.open();
    let key = Person::new("rita", "risk_lead").key_id();
    store.begin_rotation(&rotation(key)).unwrap();
    assert_eq!(conflict(store.begin_rotation(&rotation(key))), ConflictKind::RotationChanged { key });
    let done = Rotation { step: RotationStep::Done, ..rotation(key) };
    store.advance_rotation(&rotation(key), &done).unwrap();
    assert_eq!(conflict(store.begin_rotation(&rotation(key))), ConflictKind::RotationChanged { key });
    assert_eq!(store.rotation(key).unwrap(), Some(done));
}

pub(crate) fn goes_on_only_from_where_it_was(place: &Place) {
    let store = place.open();
    let [key, other] = ["rita", "sam"].map(|name| Person::new(name, "risk_lead").key_id());
    let changed = ConflictKind::RotationChanged { key };
    let begun = rotation(key);
    let revoked = Rotation { step: RotationStep::KeyRevoked, ..begun.clone() };
    assert_eq!(conflict(store.advance_rotation(&begun, &revoked)), changed, "there is none");
    store.begin_rotation(&begun).unwrap();
    store.advance_rotation(&begun, &revoked).unwrap();
    assert_eq!(conflict(store.advance_rotation(&begun, &revoked)), changed, "it was done already");
    assert_eq!(conflict(store.advance_rotation(&revoked, &begun)), changed, "backwards");
    let of_other = Rotation { old_key: other, step: RotationStep::Done, ..begun.clone() };
    assert_eq!(conflict(store.advance_rotation(&revoked, &of_other)), changed, "another key");
    let almost = Rotation { updated: at(11), ..revoked.clone() };
    let done = Rotation { step: RotationStep::Done, ..revoked.clone() };
    assert_eq!(conflict(store.advance_rotation(&almost, &done)), changed, "another time");
    assert_eq!(store.rotation(key).unwrap(), Some(revoked));
}

pub(crate) fn lists_rotations_in_their_order(place: &Place) {
    let store = place.open();
    let rotations: Vec<_> = (0..4).map(|_| rotation(Person::new("rita", "risk_lead").key_id())).collect();
    for rotation in &rotations {
        store.begin_rotation(rotation).unwrap();
    }
    let done = Rotation { step: RotationStep::Done, ..rotations[1].clone() };
    store.advance_rotation(&rotations[1], &done).unwrap();
    let expected = [rotations[0].clone(), rotations[2].clone(), rotations[3].clone()];
    assert_eq!(store.rotations(true).unwrap(), expected);
    let all = [rotations[0].clone(), done, rotations[2].clone(), rotations[3].clone()];
    assert_eq!(store.rotations(false).unwrap(), all);
}
