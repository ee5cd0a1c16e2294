//! Any bytes as a hybrid key, public or private.

use std::sync::LazyLock;

use aegis_crypto::{
    HYBRID_PRIVATE_KEY_LEN, HYBRID_PUBLIC_KEY_LEN, HybridPrivateKey, HybridPublicKey, decapsulate,
    encapsulate,
};

/// A good key, for inputs that are a list of changes: random bytes have no hash that holds.
static GOOD: LazyLock<HybridPrivateKey> =
    LazyLock::new(|| HybridPrivateKey::import(&[0x3b; 32]).expect("every 32 bytes are a seed"));

/// What is taken for a key works as one and has one spelling; what is refused can be explained.
///
/// An input that begins with `P` or `S` and is not of the length of a key stands for the good public or private key with
/// changes: each is three bytes, two of the place and one to exclusive-or there.
pub(crate) fn run(bytes: &[u8]) {
    as_public_key(bytes);
    as_private_key(bytes);
    match bytes.split_first() {
        Some((b'P', edits)) => as_public_key(&changed(GOOD.public_key().as_bytes(), edits)),
        Some((b'S', edits)) => as_private_key(&changed(GOOD.dangerous_expose(), edits)),
        _ => {}
    }
}

fn as_public_key(raw: &[u8]) {
    match HybridPublicKey::from_bytes(raw) {
        Ok(key) => {
            assert_eq!(key.as_bytes().as_slice(), raw, "a public key has one spelling");
            assert!(encapsulate(&key).is_ok(), "whoever has the key can encapsulate");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.help().is_some());
            assert!(raw != GOOD.public_key().as_bytes(), "the good key is refused");
        }
    }
}

fn as_private_key(raw: &[u8]) {
    match HybridPrivateKey::import(raw) {
        Ok(key) => {
            let expanded = key.dangerous_expose();
            assert!(
                raw.len() < HYBRID_PRIVATE_KEY_LEN || expanded.as_slice() == raw,
                "an expanded key stays as it is"
            );
            let public =
                HybridPublicKey::from_bytes(key.public_key().as_bytes()).expect("the checks were made");
            assert!(HybridPrivateKey::import_for(expanded, &public).is_ok(), "what we write, we read");
            let (encapsulation, sent) = encapsulate(&public).expect("whoever has the key can encapsulate");
            let received = decapsulate(&key, &encapsulation).expect("an honest encapsulation");
            assert!(sent.expose() == received.expose(), "the halves belong together");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.help().is_some());
            assert!(raw != GOOD.dangerous_expose(), "the good key is refused");
        }
    }
}

fn changed<const N: usize>(good: &[u8; N], edits: &[u8]) -> Vec<u8> {
    const { assert!(N == HYBRID_PUBLIC_KEY_LEN || N == HYBRID_PRIVATE_KEY_LEN) }
    let mut raw = good.to_vec();
    let (edits, _) = edits.as_chunks::<3>();
    // Enough to reach every check; more would make an input slow and find no more.
    for [high, low, mask] in edits.iter().take(64) {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % N;
        if let Some(byte) = raw.get_mut(place) {
            *byte ^= mask;
        }
    }
    raw
}
