//! One signature for a message: no second S, no second R, no other spelling in hex.

use aegis_crypto::{PublicKey, Signature, SignatureParseError, SigningKey};
use aws_lc_rs::digest;
use curve25519_dalek::scalar::Scalar;
use hex_literal::hex;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::signing_key;

const SEED: [u8; 32] = hex!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");

/// The order of the group, little-endian.
const L: [u8; 32] = hex!("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");

#[test]
fn refuses_s_plus_any_multiple_of_l() {
    let key = signing_key(&SEED);
    for message in [b"".as_slice(), b"one", b"two", b"three"] {
        let mut bytes = *key.sign(message).as_bytes();
        let mut tried = 0;
        while add(&mut bytes[32..], &L) {
            tried += 1;
            let malleable = Signature::from_bytes(bytes);
            assert!(key.public_key().verify(message, &malleable).is_err(), "S + {tried} L");
        }
        assert!((14..=15).contains(&tried), "2^256 is about 16 L, so {tried} is not all of them");
    }
}

#[test]
fn refuses_another_encoding_of_r() {
    // An honest key and a nonce of zero: R is the neutral element. With its canonical encoding the equation
    // holds and the signature passes, which shows that the next ones are refused for their R alone.
    let key = signing_key(&SEED);
    let message = b"R is the neutral element";
    let neutral = hex!("0100000000000000000000000000000000000000000000000000000000000000");
    let canonical = with_nonce_zero(key.public_key(), message, neutral);
    assert!(key.public_key().verify(message, &canonical).is_ok());
    for r in [
        hex!("0100000000000000000000000000000000000000000000000000000000000080"),
        hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    ] {
        let other = with_nonce_zero(key.public_key(), message, r);
        assert!(key.public_key().verify(message, &other).is_err(), "{r:02x?}");
    }
}

#[test]
fn refuses_a_bit_changed_anywhere() {
    let key = signing_key(&SEED);
    let message = *b"message";
    let signature = *key.sign(&message).as_bytes();
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(key.public_key().verify(&message, &Signature::from_bytes(changed)).is_err(), "bit {bit}");
    }
}

#[test]
fn makes_the_signature_that_openssl_makes() {
    let key = SigningKey::from_pkcs8_pem(include_bytes!("../vectors/keys/openssl-ed25519.pem")).unwrap();
    let message = include_bytes!("../vectors/keys/message.txt");
    let printed = include_str!("../vectors/keys/message.sig.hex").trim_end();
    assert_eq!(key.sign(message).to_string(), printed);
    let signature = Signature::from_hex(printed).unwrap();
    assert_eq!(key.public_key().verify(message, &signature), Ok(()));
}

#[test]
fn reads_128_hex_digits_in_either_case_and_nothing_else() {
    let lower = "0123456789abcdef".repeat(8);
    let signature = Signature::from_hex(&lower).unwrap();
    assert_eq!(signature.to_string(), lower);
    assert_eq!(Signature::from_hex(&lower.to_uppercase()), Ok(signature));

    let with = |text: &str, at: usize| {
        let mut changed = lower.clone();
        changed.replace_range(at..at + 1, text);
        changed
    };
    for (text, error) in [
        (String::new(), SignatureParseError::HexLength { found: 0 }),
        (lower[1..].to_owned(), SignatureParseError::HexLength { found: 127 }),
        (format!("{lower}0"), SignatureParseError::HexLength { found: 129 }),
        (format!("{lower}\n"), SignatureParseError::NotHex { position: 129, found: '\n' }),
        (format!(" {lower}"), SignatureParseError::NotHex { position: 1, found: ' ' }),
        (with("x", 1), SignatureParseError::NotHex { position: 2, found: 'x' }),
        (with("\0", 127), SignatureParseError::NotHex { position: 128, found: '\0' }),
        (with("é", 5), SignatureParseError::NotHex { position: 6, found: 'é' }),
    ] {
        assert_eq!(Signature::from_hex(&text), Err(error), "{text:?}");
    }
}

#[test]
fn takes_slices_of_64_bytes_only() {
    for len in (0..=130).filter(|len| *len != 64) {
        let error = SignatureParseError::ByteLength { found: len };
        assert_eq!(Signature::from_slice(&vec![0; len]), Err(error));
    }
    assert_eq!(Signature::from_slice(&[7; 64]), Ok(Signature::from_bytes([7; 64])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn verifies_what_was_signed_and_nothing_near_it(seed: [u8; 32], mut message in vec(any::<u8>(), 1..256),
                                                    at in any::<Index>(), bit in 0..8_u32) {
        let key = signing_key(&seed);
        let signature = key.sign(&message);
        prop_assert_eq!(key.public_key().verify(&message, &signature), Ok(()));
        *at.get_mut(&mut message) ^= 1_u8 << bit;
        prop_assert!(key.public_key().verify(&message, &signature).is_err());
    }

    #[test]
    fn verifies_no_random_bytes(bytes in vec(any::<u8>(), 64), message: [u8; 8]) {
        let signature = Signature::from_slice(&bytes).unwrap();
        prop_assert!(signing_key(&SEED).public_key().verify(&message, &signature).is_err());
    }
}

/// Adds two little-endian numbers; false if the sum does not fit.
fn add(to: &mut [u8], number: &[u8]) -> bool {
    let mut carry = false;
    for (byte, more) in to.iter_mut().zip(number) {
        let (sum, first) = byte.overflowing_add(*more);
        let (sum, second) = sum.overflowing_add(u8::from(carry));
        *byte = sum;
        carry = first || second;
    }
    !carry
}

/// S = k·a for R = 0·B (RFC 8032 §5.1.6 with r = 0), with R spelled as given.
fn with_nonce_zero(public_key: &PublicKey, message: &[u8], r: [u8; 32]) -> Signature {
    let mut a: [u8; 32] = sha512(&[&SEED])[..32].try_into().unwrap();
    a[0] &= 0xf8;
    a[31] = a[31] & 0x7f | 0x40;
    let k = Scalar::from_bytes_mod_order_wide(&sha512(&[&r, public_key.as_bytes(), message]));
    let s = k * Scalar::from_bytes_mod_order(a);
    Signature::from_slice(&[r, s.to_bytes()].concat()).unwrap()
}

fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    digest::digest(&digest::SHA512, &parts.concat()).as_ref().try_into().unwrap()
}
