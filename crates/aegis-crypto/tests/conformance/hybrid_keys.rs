//! Hybrid keys: their forms, what is refused and as what, and agreement with another X-Wing implementation.

use std::sync::atomic::{AtomicUsize, Ordering};

use aegis_crypto::{
    ENCAPSULATION_LEN, Encapsulation, HYBRID_PRIVATE_KEY_LEN, HYBRID_PUBLIC_KEY_LEN, HybridPrivateKey,
    HybridPrivateKeyError, HybridPublicKey, HybridPublicKeyError, KeyHalf, Purpose, decapsulate, encapsulate,
    open, seal,
};
use hex_literal::hex;
use serde_json::Value;
use x_wing::{Decapsulate, KeyExport};

use crate::sealed_boxes::associated_data;

const XWING_DRAFT: &str = include_str!("../vectors/x-wing-draft.json");

/// Where things are in the 2,432 bytes.
mod at {
    pub(super) const S: usize = 32;
    pub(super) const EK: usize = S + 1152;
    pub(super) const EK_HASH: usize = EK + 1184;
    pub(super) const Z: usize = EK_HASH + 32;
    pub(super) const END: usize = Z + 32;
}

fn key(seed: u8) -> HybridPrivateKey {
    HybridPrivateKey::import(&[seed; 32]).unwrap()
}

#[test]
fn keys_have_the_lengths_that_the_formats_promise() {
    assert_eq!((HYBRID_PUBLIC_KEY_LEN, HYBRID_PRIVATE_KEY_LEN, ENCAPSULATION_LEN), (1216, 2432, 1120));
    assert_eq!(at::END, HYBRID_PRIVATE_KEY_LEN);
}

#[test]
fn a_generated_key_is_read_back_and_no_two_are_the_same() {
    let made = HybridPrivateKey::generate().unwrap();
    let read = HybridPrivateKey::import_for(made.dangerous_expose(), made.public_key()).unwrap();
    assert_eq!(read.dangerous_expose(), made.dangerous_expose());
    assert_eq!(read.public_key(), made.public_key());
    let public = HybridPublicKey::from_bytes(made.public_key().as_bytes()).unwrap();
    assert_eq!(public, *made.public_key());
    assert_ne!(HybridPrivateKey::generate().unwrap().public_key(), made.public_key());
}

#[test]
fn the_public_key_is_x25519_and_then_ml_kem() {
    let key = key(1);
    let (x25519, ml_kem) = key.public_key().as_bytes().split_at(32);
    assert_eq!(ml_kem, &key.dangerous_expose()[at::EK..at::EK_HASH]);
    let scalar: [u8; 32] = key.dangerous_expose()[..32].try_into().unwrap();
    let expected = curve25519_dalek::montgomery::MontgomeryPoint::mul_base_clamped(scalar);
    assert_eq!(x25519, expected.as_bytes());
}

#[test]
fn refuses_every_other_length() {
    for len in [0, 1, 31, 33, 64, 95, 97, 1215, 1217, 2400, 2431, 2433, 4864, 100_000] {
        let raw = vec![0; len];
        let private = HybridPrivateKey::import(&raw).err();
        assert_eq!(private, Some(HybridPrivateKeyError::Length { found: len }));
        assert_eq!(HybridPublicKey::from_bytes(&raw), Err(HybridPublicKeyError::Length { found: len }));
    }
    let swapped = HybridPrivateKey::import(key(1).public_key().as_bytes()).unwrap_err();
    assert!(swapped.help().unwrap().contains("public key"), "{swapped}");
    let swapped = HybridPublicKey::from_bytes(key(1).dangerous_expose()).unwrap_err();
    assert!(swapped.help().unwrap().contains("private key"), "{swapped}");
}

/// Each from a good key with one thing broken.
#[test]
fn each_failing_check_has_its_own_answer() {
    use HybridPrivateKeyError as E;
    type Break = fn(&mut [u8; HYBRID_PRIVATE_KEY_LEN], &HybridPrivateKey);
    let cases: &[(&str, Break, E)] = &[
        // 0xfff is 4,095.
        ("a public number", |raw, _| raw[at::EK..at::EK + 2].fill(0xff), E::MlKemPublicModulus),
        ("a private number", |raw, _| raw[at::S..at::S + 2].fill(0xff), E::MlKemPrivateModulus),
        ("rho", |raw, _| raw[at::EK_HASH - 1] ^= 1, E::MlKemHash),
        ("the stored hash", |raw, _| raw[at::EK_HASH] ^= 1, E::MlKemHash),
        (
            "another key's vector",
            |raw, other| raw[at::S..at::EK].copy_from_slice(&other.dangerous_expose()[at::S..at::EK]),
            E::MlKemPairwise,
        ),
        (
            "another key's public half, with its hash",
            |raw, other| raw[at::EK..at::Z].copy_from_slice(&other.dangerous_expose()[at::EK..at::Z]),
            E::MlKemPairwise,
        ),
    ];
    let (good, other) = (key(1), key(2));
    for (name, break_it, expected) in cases {
        let mut raw = *good.dangerous_expose();
        break_it(&mut raw, &other);
        assert_eq!(HybridPrivateKey::import(&raw).err(), Some(*expected), "{name}");
        assert!(expected.help().is_some());
    }
}

#[test]
fn names_the_half_that_does_not_belong_to_the_public_key() {
    let (good, other) = (key(1), key(2));
    let swap = |x25519: &HybridPrivateKey, ml_kem: &HybridPrivateKey| {
        let raw = [&x25519.dangerous_expose()[..32], &ml_kem.dangerous_expose()[32..]].concat();
        HybridPrivateKey::import(&raw).unwrap()
    };
    for (private, expected) in [
        (swap(&other, &good), KeyHalf::X25519),
        (swap(&good, &other), KeyHalf::MlKem),
        (swap(&other, &other), KeyHalf::Both),
    ] {
        let refused =
            HybridPrivateKey::import_for(private.dangerous_expose(), good.public_key()).unwrap_err();
        let HybridPrivateKeyError::PublicKeyMismatch { half, derived, given } = refused else {
            panic!("{refused}")
        };
        assert_eq!(half, expected);
        assert_eq!((derived, given), (private.public_key().key_id(), good.public_key().key_id()));
        let shown = refused.to_string();
        assert!(shown.contains(&derived.fingerprint()) && shown.contains(&given.fingerprint()), "{shown}");
    }
}

/// The five canonical u-coordinates of low order, and spellings that are not canonical.
#[test]
fn refuses_x25519_halves_without_a_secret_or_with_a_second_spelling() {
    use HybridPublicKeyError::{X25519LowOrder, X25519NonCanonical};
    let p_and_up = |low: u8| {
        let mut u = [0xff; 32];
        (u[0], u[31]) = (low, 0x7f);
        u
    };
    let mut one = [0; 32];
    one[0] = 1;
    let mut high_bit = [9; 32];
    high_bit[31] = 0x89;
    for (u, expected) in [
        ([0; 32], X25519LowOrder),
        (one, X25519LowOrder),
        (p_and_up(0xec), X25519LowOrder),
        (hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"), X25519LowOrder),
        (hex!("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"), X25519LowOrder),
        (p_and_up(0xed), X25519NonCanonical),
        (p_and_up(0xee), X25519NonCanonical),
        (p_and_up(0xff), X25519NonCanonical),
        ([0xff; 32], X25519NonCanonical),
        (high_bit, X25519NonCanonical),
    ] {
        let raw = [u.as_slice(), &key(1).public_key().as_bytes()[32..]].concat();
        assert_eq!(HybridPublicKey::from_bytes(&raw), Err(expected), "{u:02x?}");
    }
    let raw = [p_and_up(0xeb).as_slice(), &key(1).public_key().as_bytes()[32..]].concat();
    assert!(HybridPublicKey::from_bytes(&raw).is_ok(), "p - 2 is canonical and of high order");
}

#[test]
fn refuses_an_encapsulation_of_low_order() {
    let key = key(1);
    let (good, _) = encapsulate(key.public_key()).unwrap();
    let mut raw = *good.as_bytes();
    raw[..32].fill(0);
    let refused = decapsulate(&key, &Encapsulation::from_bytes(&raw)).err();
    assert_eq!(refused, Some(aegis_crypto::DecapsulateError::LowOrderPoint));
}

/// Calls `check` with every bit of so many bytes, on all processors: an import takes a third of a millisecond without
/// optimization.
fn for_every_bit(len: usize, check: impl Fn(usize, usize) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= len {
                        break;
                    }
                    (0..8).for_each(|bit| check(at, bit));
                }
            });
        }
    });
}

#[test]
fn a_private_key_with_any_one_bit_changed_is_refused() {
    let good = key(3);
    for_every_bit(HYBRID_PRIVATE_KEY_LEN, |at, bit| {
        let mut raw = *good.dangerous_expose();
        raw[at] ^= 1 << bit;
        let refused = HybridPrivateKey::import_for(&raw, good.public_key()).err();
        match at {
            0..at::S => {
                let is_clamped = (at == 0 && bit < 3) || (at == 31 && bit >= 6);
                assert_eq!(refused.is_none(), is_clamped, "bit {bit} of X25519 byte {at}");
            }
            at::S..at::EK_HASH => assert!(refused.is_some(), "bit {bit} of byte {at}"),
            at::EK_HASH..at::Z => {
                assert_eq!(refused, Some(HybridPrivateKeyError::MlKemHash), "bit {bit} of byte {at}");
            }
            // z is as good as any other z: it chooses what a forged ciphertext gives, and nothing else.
            _ => assert_eq!(refused, None, "bit {bit} of byte {at}"),
        }
    });
}

#[test]
fn a_box_for_a_public_key_with_any_one_bit_changed_does_not_open() {
    let good = key(4);
    let aad = associated_data();
    let (refused, sealed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for_every_bit(HYBRID_PUBLIC_KEY_LEN, |at, bit| {
        let mut raw = *good.public_key().as_bytes();
        raw[at] ^= 1 << bit;
        match HybridPublicKey::from_bytes(&raw) {
            Err(_) => refused.fetch_add(1, Ordering::Relaxed),
            Ok(changed) => {
                let boxed = seal(&changed, Purpose::Field, &aad, b"x").unwrap();
                assert!(open(&good, Purpose::Field, &aad, &boxed).is_err(), "bit {bit} of byte {at}");
                // Once a byte: the key that was imported is the same each time.
                if bit == at % 8 {
                    assert!(HybridPrivateKey::import_for(good.dangerous_expose(), &changed).is_err());
                }
                sealed.fetch_add(1, Ordering::Relaxed)
            }
        };
    });
    let (refused, sealed) = (refused.into_inner(), sealed.into_inner());
    assert_eq!(refused + sealed, HYBRID_PUBLIC_KEY_LEN * 8);
    assert!(refused > 100 && sealed > 8000, "{refused} refused, {sealed} sealed for");
}

/// X-Wing lays keys and ciphertexts out ML-KEM first.
fn to_xwing(ours: &[u8]) -> Vec<u8> {
    [&ours[32..], &ours[..32]].concat()
}

fn from_xwing(theirs: &[u8]) -> Vec<u8> {
    let (ml_kem, x25519) = theirs.split_at(theirs.len() - 32);
    [x25519, ml_kem].concat()
}

#[test]
fn gives_the_keys_and_secrets_of_the_x_wing_draft() {
    let cases: Value = serde_json::from_str(XWING_DRAFT).unwrap();
    for case in cases.as_array().unwrap() {
        let bytes = |name: &str| hex::decode(case[name].as_str().unwrap()).unwrap();
        let key = HybridPrivateKey::import(&bytes("sk")).unwrap();
        assert_eq!(to_xwing(key.public_key().as_bytes()), bytes("pk"));
        let encapsulation = Encapsulation::from_bytes(&from_xwing(&bytes("ct")).try_into().unwrap());
        assert_eq!(decapsulate(&key, &encapsulation).unwrap().expose().as_slice(), bytes("ss"));
    }
    assert_eq!(cases.as_array().unwrap().len(), 3);
}

#[test]
fn agrees_with_another_x_wing_in_both_directions() {
    for number in 0..24 {
        let seed = [number; 32];
        let ours = HybridPrivateKey::import(&seed).unwrap();
        let theirs = x_wing::DecapsulationKey::from(seed);
        let their_public = x_wing::Decapsulator::encapsulation_key(&theirs);
        assert_eq!(to_xwing(ours.public_key().as_bytes()), their_public.to_bytes().as_slice());

        let (encapsulation, sent) = encapsulate(ours.public_key()).unwrap();
        let ct = x_wing::Ciphertext::try_from(to_xwing(encapsulation.as_bytes()).as_slice()).unwrap();
        assert_eq!(theirs.decapsulate(&ct).as_slice(), sent.expose());

        let randomness = std::array::from_fn::<u8, 64, _>(|index| number ^ u8::try_from(index).unwrap());
        let (ct, sent) = their_public.encapsulate_deterministic(&randomness.into());
        let encapsulation = Encapsulation::from_bytes(&from_xwing(&ct).try_into().unwrap());
        assert_eq!(sent.as_slice(), decapsulate(&ours, &encapsulation).unwrap().expose());
    }
}
