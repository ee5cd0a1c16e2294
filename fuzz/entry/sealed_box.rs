//! Any bytes as a box, sealed for a recipient or under a symmetric key, and as a wrapped key.

use std::sync::{Arc, LazyLock};

use aegis_crypto::{
    AssociatedData, BOX_OVERHEAD, HybridPrivateKey, KeyWrapError, OpenError, OpenUnderError, Opener, Purpose,
    SYMMETRIC_BOX_OVERHEAD, Secret, open, open_under, unwrap_padded,
};

/// The first key of `docs/vectors/sealed-box-v1.json`, and its second and third box: one content, two purposes.
const SEED: [u8; 32] = [
    0xc8, 0xaa, 0xd4, 0x24, 0x00, 0x06, 0xc8, 0x78, 0x17, 0xd3, 0xc9, 0xa8, 0xe1, 0x05, 0xe8, 0xc3, 0xf3,
    0xbc, 0x03, 0x70, 0x1c, 0x29, 0x3b, 0x03, 0x24, 0x66, 0x70, 0x57, 0xed, 0x0c, 0x36, 0x5b,
];
const BOX: &[u8] = include_bytes!("../corpus/sealed_box/good-box");
const OTHER_BOX: &[u8] = include_bytes!("../corpus/sealed_box/good-dek-wrap");
/// A box and a wrapping under [`SYMMETRIC_KEY`], bound to the same place.
const SYMMETRIC_BOX: &[u8] = include_bytes!("../corpus/sealed_box/good-symmetric");
const WRAPPING: &[u8] = include_bytes!("../corpus/sealed_box/good-wrapping");
const SYMMETRIC_KEY: [u8; 32] = [0x5e; 32];

static RECIPIENT: LazyLock<Arc<HybridPrivateKey>> =
    LazyLock::new(|| Arc::new(HybridPrivateKey::import(&SEED).expect("every 32 bytes are a seed")));

/// Of all inputs one opens in each way: the one that was sealed so.
pub(crate) fn run(bytes: &[u8]) {
    let place = AssociatedData::new([b"actor_id".as_slice(), b"dek-v1-20260101"]);

    let opened = open(&RECIPIENT, Purpose::Field, &place, bytes);
    assert_eq!(opened.is_ok(), bytes == BOX);
    if let Err(error) = opened {
        let is_short = bytes.len() < BOX_OVERHEAD;
        let expected =
            if is_short { OpenError::TooShort { found: bytes.len() } } else { OpenError::NotAuthentic };
        assert_eq!(error, expected);
    }
    // With the encapsulation of the good box kept, so that inputs which share it take the short way.
    let mut opener = Opener::new(Arc::clone(&RECIPIENT), Purpose::Field);
    assert!(opener.open(&place, BOX, None).is_ok());
    assert_eq!(opener.open(&place, bytes, None).is_ok(), bytes == BOX);
    assert_eq!(
        open(&RECIPIENT, Purpose::DekWrap, &place, bytes).is_ok(),
        bytes == OTHER_BOX,
        "a box has one purpose"
    );

    let key = Secret::copy_of(&SYMMETRIC_KEY);
    let opened = open_under(&key, &place, bytes);
    assert_eq!(opened.is_ok(), bytes == SYMMETRIC_BOX);
    if let Err(error) = opened {
        let is_short = bytes.len() < SYMMETRIC_BOX_OVERHEAD;
        let expected = if is_short {
            OpenUnderError::TooShort { found: bytes.len() }
        } else {
            OpenUnderError::NotAuthentic
        };
        assert_eq!(error, expected);
    }

    let unwrapped = unwrap_padded(&key, bytes);
    assert_eq!(unwrapped.is_ok(), bytes == WRAPPING);
    if let Err(error) = unwrapped {
        let is_expected = match error {
            KeyWrapError::WrappedLength { found } => found == bytes.len(),
            KeyWrapError::NotAuthentic => bytes.len() >= 16 && bytes.len().is_multiple_of(8),
            KeyWrapError::KeyLength { .. } | KeyWrapError::Provider => false,
        };
        assert!(is_expected, "{error}");
    }
}
