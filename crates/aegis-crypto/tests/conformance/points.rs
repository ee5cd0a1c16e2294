//! Public keys that are points of the curve, and yet not to be trusted, or not points at all.

use aegis_crypto::{PublicKey, PublicKeyError, Signature};
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::Scalar;
use hex_literal::hex;
use proptest::prelude::*;

/// The eight points of small order in canonical form, by order.
const SMALL_ORDER: [(u8, [u8; 32]); 8] = [
    (1, hex!("0100000000000000000000000000000000000000000000000000000000000000")),
    (2, hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")),
    (4, hex!("0000000000000000000000000000000000000000000000000000000000000000")),
    (4, hex!("0000000000000000000000000000000000000000000000000000000000000080")),
    (8, hex!("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
    (8, hex!("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85")),
    (8, hex!("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")),
    (8, hex!("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa")),
];

/// The same points spelled otherwise: a sign bit where x = 0, or y + p for y.
const SMALL_ORDER_NON_CANONICAL: [[u8; 32]; 6] = [
    hex!("0100000000000000000000000000000000000000000000000000000000000080"),
    hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
];

#[test]
fn refuses_the_eight_points_of_small_order() {
    for (order, raw) in SMALL_ORDER {
        assert_eq!(PublicKey::from_bytes(&raw), Err(PublicKeyError::SmallOrder), "order {order}");
    }
}

#[test]
fn the_list_of_small_order_points_is_complete() {
    let mut listed: Vec<_> = SMALL_ORDER.iter().map(|(_, raw)| *raw).collect();
    let mut known: Vec<_> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known);
}

#[test]
fn refuses_small_order_points_in_other_spellings() {
    for raw in SMALL_ORDER_NON_CANONICAL {
        assert_eq!(PublicKey::from_bytes(&raw), Err(PublicKeyError::NonCanonical), "{raw:02x?}");
    }
}

#[test]
fn refuses_every_y_from_p_up() {
    for low in 0xed..=0xff_u8 {
        for high in [0x7f, 0xff] {
            let mut raw = [0xff; 32];
            raw[0] = low;
            raw[31] = high;
            assert_eq!(PublicKey::from_bytes(&raw), Err(PublicKeyError::NonCanonical), "{raw:02x?}");
        }
    }
}

#[test]
fn the_largest_canonical_y_is_judged_as_a_point() {
    // y = p − 1 is the point of order 2, and y = p − 2 is on no point; neither is called non-canonical.
    let mut raw = [0xff; 32];
    (raw[0], raw[31]) = (0xec, 0x7f);
    assert_eq!(PublicKey::from_bytes(&raw), Err(PublicKeyError::SmallOrder));
    raw[0] = 0xeb;
    assert_eq!(PublicKey::from_bytes(&raw), Err(PublicKeyError::NotOnCurve));
}

#[test]
fn refuses_a_y_that_has_no_point() {
    for y in [2, 7, 8, 11] {
        let mut raw = [0; 32];
        raw[0] = y;
        assert_eq!(PublicKey::from_bytes(&raw), Err(PublicKeyError::NotOnCurve), "y = {y}");
    }
}

#[test]
fn refuses_every_sum_of_a_good_key_and_a_small_point() {
    for (index, small) in EIGHT_TORSION.iter().enumerate() {
        let raw = (ED25519_BASEPOINT_POINT + small).compress().to_bytes();
        let expected = if index == 0 { None } else { Some(PublicKeyError::MixedOrder) };
        assert_eq!(PublicKey::from_bytes(&raw).err(), expected, "torsion point {index}");
    }
}

proptest! {
    // Each case multiplies by the order of the group three times, which is slow without optimization.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn takes_multiples_of_the_base_point_and_no_neighbour_of_theirs(wide: [u8; 32], small in 1..8_usize) {
        let scalar = Scalar::from_bytes_mod_order(wide) + Scalar::ONE;
        let point = ED25519_BASEPOINT_POINT * scalar;
        prop_assume!(scalar != Scalar::ZERO);
        prop_assert!(PublicKey::from_bytes(point.compress().as_bytes()).is_ok());
        let neighbour = (point + EIGHT_TORSION[small]).compress();
        prop_assert_eq!(PublicKey::from_bytes(neighbour.as_bytes()), Err(PublicKeyError::MixedOrder));
    }

    #[test]
    fn a_key_has_one_spelling(raw: [u8; 32]) {
        if let Ok(key) = PublicKey::from_bytes(&raw) {
            prop_assert_eq!(key.as_bytes(), &raw);
        }
    }
}

struct Published {
    message: [u8; 32],
    public_key: [u8; 32],
    signature: [u8; 64],
    /// `None`: the key is good and the signature is not.
    refused_for: Option<PublicKeyError>,
}

/// Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs" (IACR ePrint 2020/1244), test vectors 0 to 9.
const TAMING_THE_MANY_EDDSAS: &[Published] = &[
    Published {
        message: hex!("8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6"),
        public_key: hex!("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
        signature: hex!(
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
            "0000000000000000000000000000000000000000000000000000000000000000"
        ),
        refused_for: Some(PublicKeyError::SmallOrder),
    },
    Published {
        message: hex!("9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79"),
        public_key: hex!("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
        signature: hex!(
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"
            "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04"
        ),
        refused_for: Some(PublicKeyError::SmallOrder),
    },
    Published {
        message: hex!("aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab"),
        public_key: hex!("f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"),
        signature: hex!(
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
            "8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e"
        ),
        refused_for: Some(PublicKeyError::MixedOrder),
    },
    Published {
        message: hex!("9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79"),
        public_key: hex!("cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d"),
        signature: hex!(
            "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f"
            "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009"
        ),
        refused_for: Some(PublicKeyError::MixedOrder),
    },
    Published {
        message: hex!("e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c"),
        public_key: hex!("cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d"),
        signature: hex!(
            "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512"
            "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09"
        ),
        refused_for: Some(PublicKeyError::MixedOrder),
    },
    Published {
        message: hex!("e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c"),
        public_key: hex!("cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d"),
        signature: hex!(
            "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7"
            "e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405"
        ),
        refused_for: Some(PublicKeyError::MixedOrder),
    },
    Published {
        message: hex!("85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40"),
        public_key: hex!("442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623"),
        signature: hex!(
            "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e"
            "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514"
        ),
        refused_for: None,
    },
    Published {
        message: hex!("85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40"),
        public_key: hex!("442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623"),
        signature: hex!(
            "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942"
            "7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22"
        ),
        refused_for: None,
    },
    Published {
        message: hex!("fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a"),
        public_key: hex!("f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"),
        signature: hex!(
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
            "454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607"
        ),
        refused_for: Some(PublicKeyError::MixedOrder),
    },
    Published {
        message: hex!("84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1"),
        public_key: hex!("f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"),
        signature: hex!(
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
            "084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09"
        ),
        refused_for: Some(PublicKeyError::MixedOrder),
    },
];

#[test]
fn refuses_every_vector_on_which_verifiers_disagree() {
    for (number, case) in TAMING_THE_MANY_EDDSAS.iter().enumerate() {
        let key = PublicKey::from_bytes(&case.public_key);
        assert_eq!(key.err(), case.refused_for, "vector {number}: the key");
        if let Ok(key) = key {
            let verdict = key.verify(&case.message, &Signature::from_bytes(case.signature));
            assert!(verdict.is_err(), "vector {number}: the signature");
        }
    }
}
