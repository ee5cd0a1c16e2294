//! `docs/vectors/pii-event-v1.json`, which an independent program made. They never change.

use std::sync::Arc;

use aegis_crypto::{HybridPrivateKey, Secret, sha256};
use aegis_pii::{
    Catalogue, DecryptorOptions, DekName, DekUnavailable, EventBinding, Inspector, Limits, OpeningDekSource,
    PiiDecryptor, TokenKey,
};
use serde_json::Value;

use crate::{FORMS, encryptor_of};

const VECTORS: &str = include_str!("../../../../docs/vectors/pii-event-v1.json");

struct Only(String, Arc<HybridPrivateKey>);

impl OpeningDekSource for Only {
    fn private_key(&self, name: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        if name.as_str() == self.0 { Ok(Arc::clone(&self.1)) } else { Err(DekUnavailable::Unknown) }
    }
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    hex.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_vectors_are_the_ones_that_were_published() {
    assert_eq!(
        sha256(VECTORS.as_bytes()).to_string(),
        "23f9e5c31a1a26d83cfb5cceead24c0dcf9e15b26984c09948d47da11b04e3df"
    );
}

#[test]
fn opens_every_event_that_the_reference_sealed() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let key = Arc::new(HybridPrivateKey::import(&bytes(&vectors["private_key"])).unwrap());
    let source = Only(vectors["dek_version"].as_str().unwrap().to_owned(), key);
    let mut decryptor = PiiDecryptor::new(Arc::new(source), DecryptorOptions::default());
    let events = vectors["events"].as_array().unwrap();
    assert_eq!(events.len(), 16);
    for event in events {
        let text = |name: &str| event[name].as_str().unwrap();
        let binding = EventBinding { tenant: text("tenant"), event_id: text("event_id") };
        let mut opened = Vec::new();
        let done = decryptor.decrypt_bound(text("sealed").as_bytes(), binding, &mut opened).unwrap();
        assert_eq!(str::from_utf8(&opened).unwrap(), text("plain"), "{}", text("name"));
        assert_eq!(done.opened, event["associated_data"].as_array().unwrap().len());
        // It is sealed, so it stays as it is.
        for form in FORMS {
            assert_eq!(
                encryptor_of(form).encrypt(text("sealed").as_bytes()).unwrap(),
                text("sealed").as_bytes()
            );
        }
        let other = EventBinding { tenant: "other", event_id: "other" };
        assert_eq!(
            decryptor.decrypt_bound(text("sealed").as_bytes(), other, &mut opened).is_ok(),
            done.opened == 0
        );
    }
}

#[test]
fn makes_the_tokens_of_the_reference() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let key = Secret::try_fill(|key: &mut [u8; 32]| {
        key.copy_from_slice(&bytes(&vectors["token_key"]));
        Ok::<(), ()>(())
    });
    let expected = TokenKey::new(&key.unwrap(), 1).token("", "actor_id", b"\"alice\"");
    let mut inspector = Inspector::new(Catalogue::guide(), Limits::for_decryption());
    let mut found = 0;
    for event in vectors["events"].as_array().unwrap() {
        let inspection = inspector.inspect(event["sealed"].as_str().unwrap().as_bytes()).unwrap();
        for token in inspection.sealed.iter().filter_map(|field| field.token.as_ref()) {
            assert_eq!(*token, expected);
            found += 1;
        }
    }
    assert_eq!(found, 3);
}
