//! Any bytes as a key file, public or private.

use aegis_crypto::{PublicKey, SigningKey, parse_public_key_file};

/// A key that is accepted can be written in every format and read back as the same key.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(parsed) = parse_public_key_file(bytes) {
        let key = parsed.key;
        assert_eq!(PublicKey::from_bytes(key.as_bytes()).ok(), Some(key), "the key passes its own checks");
        for text in [key.to_hex(), key.to_spki_pem(), key.to_openssh("comment")] {
            let again = parse_public_key_file(text.as_bytes()).expect("what we write, we read");
            assert_eq!(again.key, key);
        }
        assert!(SigningKey::from_pkcs8_pem(bytes).is_err(), "no file is a public and a private key");
    }
    if let Ok(signing_key) = SigningKey::from_pkcs8_pem(bytes) {
        let signature = signing_key.sign(bytes);
        assert!(signing_key.public_key().verify(bytes, &signature).is_ok());
        assert!(parse_public_key_file(bytes).is_err(), "a private key is never taken for a public one");
    }
}
