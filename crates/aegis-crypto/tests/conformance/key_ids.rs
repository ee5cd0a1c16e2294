//! Names of keys, and digests: one spelling each.

use aegis_crypto::{Digest, KeyId, KeyIdPrefix, ParseDigestError, ParseKeyIdError, Sha256, sha256};
use proptest::collection::vec;
use proptest::prelude::*;

/// FIPS 180-4 examples (NIST, "Secure Hash Standard, example values"), and the empty message.
const SHA_256: &[(&[u8], &str)] = &[
    (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
];

#[test]
fn digests_the_examples_of_fips_180() {
    for (message, digest) in SHA_256 {
        assert_eq!(sha256(message).to_string(), *digest);
        assert_eq!(digest.parse(), Ok(sha256(message)));
    }
    let mut million = Sha256::new();
    for _ in 0..1000 {
        million.update(&[b'a'; 1000]);
    }
    assert_eq!(
        million.finish().to_string(),
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    );
}

#[test]
fn a_key_id_is_the_sha_256_of_the_raw_key() {
    let id = KeyId::of(b"abc");
    assert_eq!(id.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(id.fingerprint(), "ba7816bf8f01cfea");
    assert_eq!(format!("{id:?}"), format!("KeyId({id})"));
    assert_eq!(id.as_bytes(), sha256(b"abc").as_bytes());
}

#[test]
fn ids_and_digests_have_one_spelling() {
    let good = KeyId::of(b"").to_string();
    assert_eq!(good.parse(), Ok(KeyId::of(b"")));
    for (text, error) in [
        (String::new(), ParseKeyIdError::Length { found: 0 }),
        (good[1..].to_owned(), ParseKeyIdError::Length { found: 63 }),
        (format!("{good}0"), ParseKeyIdError::Length { found: 65 }),
        (good.to_uppercase(), ParseKeyIdError::NotHex { position: 1, found: 'E' }),
        (format!("{good}\n"), ParseKeyIdError::NotHex { position: 65, found: '\n' }),
        (format!(" {}", &good[1..]), ParseKeyIdError::NotHex { position: 1, found: ' ' }),
        (format!("0x{}", &good[2..]), ParseKeyIdError::NotHex { position: 2, found: 'x' }),
        ("é".repeat(32), ParseKeyIdError::NotHex { position: 1, found: 'é' }),
    ] {
        assert_eq!(text.parse::<KeyId>(), Err(error), "{text:?}");
        let digest_error = match error {
            ParseKeyIdError::Length { found } => ParseDigestError::Length { found },
            ParseKeyIdError::NotHex { position, found } => ParseDigestError::NotHex { position, found },
            ParseKeyIdError::PrefixLength { .. } => panic!("a whole id is not a prefix"),
        };
        assert_eq!(text.parse::<Digest>(), Err(digest_error), "{text:?}");
    }
}

#[test]
fn json_holds_ids_and_digests_as_strict_hex_strings() {
    let (id, digest) = (KeyId::of(b"abc"), sha256(b"abc"));
    let json = format!("\"{id}\"");
    assert_eq!(serde_json::to_string(&id).unwrap(), json);
    assert_eq!(serde_json::to_string(&digest).unwrap(), json);
    assert_eq!(serde_json::from_str::<KeyId>(&json).unwrap(), id);
    assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    for bad in [
        json.to_uppercase(),
        json.replace("\"b", "\""),
        "null".into(),
        "5".into(),
        "[1]".into(),
        "\"\"".into(),
    ] {
        assert!(serde_json::from_str::<KeyId>(&bad).is_err(), "{bad}");
        assert!(serde_json::from_str::<Digest>(&bad).is_err(), "{bad}");
    }
    let reason = serde_json::from_str::<KeyId>("\"abc\"").unwrap_err().to_string();
    assert!(reason.starts_with("a key id has 64 hex digits, this text has 3 characters"), "{reason}");
}

#[test]
fn a_prefix_of_8_to_64_digits_in_either_case_matches_its_key_only() {
    let id = KeyId::of(b"abc");
    let full = id.to_string();
    for len in 8..=64 {
        let prefix: KeyIdPrefix = full[..len].to_uppercase().parse().unwrap();
        assert_eq!(prefix.as_str(), &full[..len]);
        assert!(prefix.matches(&id));
        assert!(!prefix.matches(&KeyId::of(b"abd")));
    }
    let middle: KeyIdPrefix = full[1..20].parse().unwrap();
    assert!(!middle.matches(&id), "digits from the middle of an id");
}

#[test]
fn refuses_prefixes_that_are_short_long_or_not_hex() {
    let full = KeyId::of(b"abc").to_string();
    for (text, error) in [
        (String::new(), ParseKeyIdError::PrefixLength { found: 0 }),
        (full[..7].to_owned(), ParseKeyIdError::PrefixLength { found: 7 }),
        (format!("{full}0"), ParseKeyIdError::PrefixLength { found: 65 }),
        ("ba7816b*".to_owned(), ParseKeyIdError::NotHex { position: 8, found: '*' }),
        ("ba78 16bf".to_owned(), ParseKeyIdError::NotHex { position: 5, found: ' ' }),
        ("../../../etc".to_owned(), ParseKeyIdError::NotHex { position: 1, found: '.' }),
    ] {
        assert_eq!(text.parse::<KeyIdPrefix>(), Err(error), "{text:?}");
    }
}

proptest! {
    #[test]
    fn pieces_make_no_difference_to_a_digest(pieces in vec(vec(any::<u8>(), 0..200), 0..8)) {
        let mut running = Sha256::default();
        for piece in &pieces {
            running.update(piece);
        }
        prop_assert_eq!(running.finish(), sha256(&pieces.concat()));
    }

    #[test]
    fn what_parses_as_an_id_prints_as_the_same_text(text in "\\PC{0,70}|[0-9a-fA-F]{60,66}") {
        if let Ok(id) = text.parse::<KeyId>() {
            prop_assert_eq!(id.to_string(), text.clone());
        }
        if let Ok(prefix) = text.parse::<KeyIdPrefix>() {
            prop_assert_eq!(prefix.as_str(), text.to_lowercase());
        }
    }
}
