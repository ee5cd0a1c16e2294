//! `docs/vectors/*.json`, which an independent program made. They never change.

use std::sync::Arc;

use aegis_crypto::{
    ALGORITHM, AssociatedData, Commitment, Encapsulation, HybridPrivateKey, HybridPublicKey, Opener, Purpose,
    Secret, decapsulate, open_under, sha256, unwrap_padded, wrap_padded,
};
use serde_json::Value;

const VECTORS: &str = include_str!("../../../../docs/vectors/sealed-box-v1.json");
const SYMMETRIC: &str = include_str!("../../../../docs/vectors/symmetric-v1.json");

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn list<'a>(vectors: &'a Value, name: &str) -> &'a [Value] {
    vectors[name].as_array().unwrap()
}

fn index(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn the_vectors_are_the_ones_that_were_published() {
    let digest = sha256(VECTORS.as_bytes()).to_string();
    assert_eq!(digest, "1734952330434b04755fe2e6a2fd4d85f0fdada04c279fca45a645e72e90599a");
    let digest = sha256(SYMMETRIC.as_bytes()).to_string();
    assert_eq!(digest, "1874d0d3bbcdf960fec91c92f269e92c85f207ae6876be494bc880aaab0d8e2f");
}

#[test]
fn every_seed_gives_its_keys() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(vectors["algorithm"], ALGORITHM);
    for case in list(&vectors, "keys") {
        let public = HybridPublicKey::from_bytes(&bytes(&case["public_key"])).unwrap();
        assert_eq!(public.key_id().to_string(), case["key_id"]);
        for form in ["private_key", "seed", "xwing_seed"] {
            let key = HybridPrivateKey::import_for(&bytes(&case[form]), &public).unwrap();
            assert_eq!(key.dangerous_expose().as_slice(), bytes(&case["private_key"]), "{form}");
        }
    }
    assert_eq!(list(&vectors, "keys").len(), 2);
}

#[test]
fn every_encapsulation_gives_its_secret_and_follows_from_its_randomness() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for case in list(&vectors, "encapsulations") {
        let key = &list(&vectors, "keys")[index(&case["key"])];
        let private = HybridPrivateKey::import(&bytes(&key["private_key"])).unwrap();
        let raw: [u8; 1120] = bytes(&case["encapsulation"]).try_into().unwrap();
        let shared = decapsulate(&private, &Encapsulation::from_bytes(&raw)).unwrap();
        assert_eq!(shared.expose().as_slice(), bytes(&case["shared_secret"]));

        let seed: [u8; 32] = bytes(&key["xwing_seed"]).try_into().unwrap();
        let theirs = x_wing::DecapsulationKey::from(seed);
        let randomness: [u8; 64] = bytes(&case["randomness"]).try_into().unwrap();
        let (ct, ss) =
            x_wing::Decapsulator::encapsulation_key(&theirs).encapsulate_deterministic(&randomness.into());
        assert_eq!([&ct[1088..], &ct[..1088]].concat(), raw);
        assert_eq!(ss.as_slice(), shared.expose());
    }
    assert_eq!(list(&vectors, "encapsulations").len(), 3);
}

#[test]
fn every_box_opens_for_its_purpose_and_no_other() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for case in list(&vectors, "boxes") {
        let encapsulation = &list(&vectors, "encapsulations")[index(&case["encapsulation"])];
        let key = &list(&vectors, "keys")[index(&encapsulation["key"])];
        let private = Arc::new(HybridPrivateKey::import(&bytes(&key["seed"])).unwrap());
        let parts: Vec<Vec<u8>> = list(case, "associated_data_parts").iter().map(bytes).collect();
        let aad = match parts.as_slice() {
            [one] => AssociatedData::new([one]),
            [one, two] => AssociatedData::new([one, two]),
            [one, two, three, four] => AssociatedData::new([one, two, three, four]),
            _ => panic!("{} parts", parts.len()),
        };
        assert_eq!(aad.as_bytes(), bytes(&case["associated_data"]));
        let commitment = Commitment::from_bytes(bytes(&case["commitment"]).try_into().unwrap());
        let boxed = [bytes(&encapsulation["encapsulation"]), bytes(&case["body"])].concat();
        let mut opened = 0;
        for purpose in Purpose::ALL {
            let answer = Opener::new(Arc::clone(&private), purpose).open(&aad, &boxed, Some(&commitment));
            assert_eq!(answer.is_ok(), case["purpose"] == purpose.name());
            if let Ok(plaintext) = answer {
                assert_eq!(*plaintext, bytes(&case["plaintext"]));
                opened += 1;
            }
        }
        assert_eq!(opened, 1);
    }
    assert_eq!(list(&vectors, "boxes").len(), 6);
}

#[test]
fn every_box_under_a_symmetric_key_opens() {
    let vectors: Value = serde_json::from_str(SYMMETRIC).unwrap();
    for case in list(&vectors, "boxes") {
        let key = Secret::copy_of(&bytes(&case["key"]).try_into().unwrap());
        let parts: Vec<Vec<u8>> = list(case, "associated_data_parts").iter().map(bytes).collect();
        let aad = match parts.as_slice() {
            [one] => AssociatedData::new([one]),
            [one, two] => AssociatedData::new([one, two]),
            _ => panic!("{} parts", parts.len()),
        };
        assert_eq!(aad.as_bytes(), bytes(&case["associated_data"]));
        let opened = open_under(&key, &aad, &bytes(&case["box"])).unwrap();
        assert_eq!(*opened, bytes(&case["plaintext"]));
    }
    assert_eq!(list(&vectors, "boxes").len(), 4);
}

#[test]
fn every_wrapping_is_made_and_undone() {
    let vectors: Value = serde_json::from_str(SYMMETRIC).unwrap();
    for case in list(&vectors, "wrappings") {
        let kek = Secret::copy_of(&bytes(&case["kek"]).try_into().unwrap());
        let (key, wrapped) = (bytes(&case["key"]), bytes(&case["wrapped"]));
        assert_eq!(wrap_padded(&kek, &key).unwrap(), wrapped);
        assert_eq!(*unwrap_padded(&kek, &wrapped).unwrap(), key);
    }
    assert_eq!(list(&vectors, "wrappings").len(), 9);
}
