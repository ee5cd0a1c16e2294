//! What is done to the fields of an event together is what would be done to one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aegis_crypto::HybridPrivateKey;
use aegis_pii::{
    DecryptError, DecryptorOptions, DekName, DekUnavailable, EncryptorOptions, FieldFault, OpeningDekSource,
    PiiDecryptor, PlaintextHash, Unopenable,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::{FORMS, decryptor, decryptor_with, encryptor, encryptor_of};

const EVENT: &str = r#"{"id":7,"actor_id":"alice","author_id":"bob","decision_actor":"carol","requested_by":[1,2],"workflow_id":{"a":null},"signer_id":"dave"}"#;

/// Where the envelopes of an event begin, and their text.
fn envelopes(event: &str) -> Vec<(usize, String)> {
    let starts = event.match_indices("{\"_encrypted\"").map(|(start, _)| start);
    starts.map(|start| (start, event[start..=start + event[start..].find('}').unwrap()].to_owned())).collect()
}

/// The envelope with a character of its ciphertext, or of its digest, changed.
fn changed(envelope: &str, member: &str) -> String {
    let start = envelope.find(member).unwrap() + member.len();
    let at = start + envelope[start..].find('"').unwrap() - 8;
    let other = if &envelope[at..=at] == "0" { "1" } else { "0" };
    [&envelope[..at], other, &envelope[at + 1..]].concat()
}

#[test]
fn a_field_that_was_changed_is_named_whichever_it_is_and_the_others_can_be_had_without_it() {
    for (form, hash) in
        FORMS.map(|form| [PlaintextHash::Keyed, PlaintextHash::BareSha256].map(|hash| (form, hash))).concat()
    {
        let options = EncryptorOptions { form, plaintext_hash: hash, ..EncryptorOptions::default() };
        let sealed = String::from_utf8(encryptor(options).encrypt(EVENT.as_bytes()).unwrap()).unwrap();
        let envelopes = envelopes(&sealed);
        assert_eq!(envelopes.len(), 6);
        let mut strict = decryptor();
        let mut lenient =
            decryptor_with(DecryptorOptions { unopenable: Unopenable::Leave, ..DecryptorOptions::default() });
        for member in ["\"_ciphertext\":\"", "\"_plaintext_hash\":\""] {
            for (start, envelope) in &envelopes {
                // The keys of the encapsulation are there by now, so that all are tried in one go.
                for decryptor in [&mut strict, &mut lenient] {
                    assert_eq!(decryptor.decrypt(sealed.as_bytes()).unwrap(), EVENT.as_bytes());
                }
                let bad = changed(envelope, member);
                let event = sealed.replace(envelope, &bad);
                let mut out = b"before".to_vec();
                match strict.decrypt_event(event.as_bytes(), &mut out) {
                    Err(DecryptError::Field { offset, fault: FieldFault::NotAuthentic, .. }) => {
                        assert_eq!(offset, *start);
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(out, b"before");

                let mut out = Vec::new();
                let done = lenient.decrypt_event(event.as_bytes(), &mut out).unwrap();
                assert_eq!((done.opened, done.unopenable), (5, 1));
                let out = String::from_utf8(out).unwrap();
                assert!(out.contains(&bad), "it stays as it is");
                assert_eq!(self::envelopes(&out).len(), 1, "the others are open");
            }
        }
    }
}

#[test]
fn values_of_every_length_are_base64_and_open_again() {
    // Short ones are encoded together, and from a kilobyte on each alone.
    let lengths = (0..100).chain(980..1040).chain([5000]);
    let values: Vec<String> = lengths.map(|len| "x".repeat(len)).collect();
    for form in FORMS {
        let mut encryptor = encryptor_of(form);
        for some in values.chunks(7) {
            let members: Vec<String> =
                some.iter().map(|value| format!("{{\"actor_id\":\"{value}\"}}")).collect();
            let event = format!("{{\"all\":[{}]}}", members.join(","));
            let sealed = encryptor.encrypt(event.as_bytes()).unwrap();
            let parsed: Value = serde_json::from_slice(&sealed).unwrap();
            for (member, value) in parsed["all"].as_array().unwrap().iter().zip(some) {
                let boxed = STANDARD.decode(member["actor_id"]["_ciphertext"].as_str().unwrap()).unwrap();
                assert_eq!(boxed.len() % 1120, (28 + value.len() + 2) % 1120);
            }
            assert_eq!(decryptor().decrypt(&sealed).unwrap(), event.as_bytes());
        }
    }
}

#[test]
fn a_source_is_asked_once_for_what_it_does_not_have() {
    #[derive(Default)]
    struct Empty(AtomicUsize);

    impl OpeningDekSource for Empty {
        fn private_key(&self, _: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(DekUnavailable::Unknown)
        }
    }

    for form in FORMS {
        let sealed = encryptor_of(form).encrypt(EVENT.as_bytes()).unwrap();
        let source = Arc::new(Empty::default());
        let mut decryptor = PiiDecryptor::new(source.clone(), DecryptorOptions::default());
        for asked in 1..=3 {
            let refused = decryptor.decrypt(&sealed);
            assert!(matches!(
                refused,
                Err(DecryptError::Field { fault: FieldFault::Dek(DekUnavailable::Unknown), .. })
            ));
            assert_eq!(source.0.load(Ordering::Relaxed), asked);
        }
    }
}
