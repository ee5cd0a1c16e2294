//! What is done to the fields of an event together is what would be done to one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aegis_crypto::HybridPrivateKey;
use aegis_pii::{
    DecryptError, DecryptorOptions, DekName, DekUnavailable, EncryptorOptions, EnvelopeForm, FieldFault,
    Moment, OpeningDekSource, PiiDecryptor, PlaintextHash, Unopenable,
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

/// The ciphertext of one envelope among others, as it is or spelled otherwise.
fn with_ciphertext(event: &str, envelope: &str, change: impl Fn(&str) -> String) -> String {
    let (_, rest) = envelope.split_once("\"_ciphertext\":\"").unwrap();
    let ciphertext = rest.split('"').next().unwrap();
    event.replace(ciphertext, &change(ciphertext))
}

/// Base64 of an event is read all at once: what is not the one spelling of it is no envelope, whichever it is, and what
/// follows is found all the same.
#[test]
fn what_is_no_base64_is_data_among_envelopes_that_open() {
    /// Of a ciphertext, and how many bytes of an encapsulation it begins with.
    type Change = fn(&str, usize) -> String;
    let changes: [(&str, Change); 7] = [
        ("bits that mean nothing", |text, _| {
            // The last digit before the padding carries zeros, which no other digit of this event does.
            let digits = text.trim_end_matches('=');
            if digits.len() == text.len() {
                return text.to_owned();
            }
            let (rest, last) = digits.split_at(digits.len() - 1);
            let next = char::from(last.as_bytes()[0] + 1);
            format!("{rest}{next}{}", &text[digits.len()..])
        }),
        ("a foreign character", |text, _| format!("{}!{}", &text[..text.len() - 9], &text[text.len() - 8..])),
        ("padding in the middle", |text, _| {
            format!("{}={}", &text[..text.len() - 9], &text[text.len() - 8..])
        }),
        ("no padding", |text, _| text.trim_end_matches('=').to_owned()),
        ("more padding", |text, _| format!("{text}====")),
        ("a body without content", |text, before| {
            STANDARD.encode(&STANDARD.decode(text).unwrap()[..before + 28])
        }),
        ("nothing", |_, _| String::new()),
    ];
    for form in FORMS {
        for long in [1, 200, 5000] {
            // At the end of a group of three, each of them leaves something else over.
            let value = |number: usize| "v".repeat(long * 3 + number);
            let event = format!(
                "{{\"actor_id\":\"{}\",\"author_id\":\"{}\",\"signer_id\":\"{}\",\"end\":1}}",
                value(0),
                value(1),
                value(2)
            );
            let sealed = String::from_utf8(encryptor_of(form).encrypt(event.as_bytes()).unwrap()).unwrap();
            let envelopes = envelopes(&sealed);
            let mut decryptor = decryptor();
            let mut unpadded = 0;
            for (name, change) in changes {
                for (place, (_, envelope)) in envelopes.iter().enumerate() {
                    assert_eq!(decryptor.decrypt(sealed.as_bytes()).unwrap(), event.as_bytes());
                    let before = if form == EnvelopeForm::SelfContained { 1120 } else { 0 };
                    let forged = with_ciphertext(&sealed, envelope, |text| change(text, before));
                    if forged == sealed {
                        assert!(matches!(name, "no padding" | "bits that mean nothing"), "{name}");
                        unpadded += 1;
                        continue;
                    }
                    let mut out = Vec::new();
                    let done = decryptor.decrypt_event(forged.as_bytes(), &mut out).unwrap();
                    let what = format!("{name}, {form:?}, {long}, {place}");
                    assert_eq!((done.opened, done.malformed), (2, 1), "{what}");
                    let out = String::from_utf8(out).unwrap();
                    assert!(
                        out.ends_with(",\"end\":1}") && out.matches("_ciphertext").count() == 1,
                        "{what}"
                    );
                }
            }
            assert_eq!(unpadded, 2, "one of three needs no padding");
        }
    }
}

/// Of the 1,120 bytes of an encapsulation the last one is not in the characters that are compared at once.
#[test]
fn an_encapsulation_that_differs_in_its_last_byte_is_another_one() {
    for long in [1, 5000] {
        let event = format!("{{\"actor_id\":\"{0}\",\"author_id\":\"{0}\"}}", "v".repeat(long));
        let sealed = encryptor_of(FORMS[0]).encrypt(event.as_bytes()).unwrap();
        let sealed = String::from_utf8(sealed).unwrap();
        let mut decryptor = decryptor();
        for (start, envelope) in envelopes(&sealed) {
            assert_eq!(decryptor.decrypt(sealed.as_bytes()).unwrap(), event.as_bytes());
            let forged = with_ciphertext(&sealed, &envelope, |text| {
                let mut bytes = STANDARD.decode(text).unwrap();
                bytes[1119] ^= 1;
                STANDARD.encode(bytes)
            });
            match decryptor.decrypt(forged.as_bytes()) {
                Err(DecryptError::Field { offset, fault: FieldFault::NotAuthentic, .. }) => {
                    assert_eq!(offset, start);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// They are sealed and opened in groups.
#[test]
fn events_of_any_number_of_fields_open_again() {
    for form in FORMS {
        for count in [63, 64, 65, 128, 129, 1024] {
            let fields: Vec<String> = (0..count)
                .map(|number| {
                    format!("{{\"actor_id\":\"{}\"}}", "x".repeat(if number % 50 == 7 { 3000 } else { 2 }))
                })
                .collect();
            let event = format!("{{\"list\":[{}],\"end\":true}}", fields.join(","));
            let mut out = Vec::new();
            let mut needed = 0;
            let done = encryptor_of(form)
                .encrypt_event_in(Moment::now(), event.as_bytes(), &mut out, &mut |bytes| needed = bytes)
                .unwrap();
            assert_eq!(done.sealed, count);
            assert!(needed >= out.len(), "{needed} were said, {} are written", out.len());
            assert_eq!(envelopes(std::str::from_utf8(&out).unwrap()).len(), count);
            assert_eq!(decryptor().decrypt(&out).unwrap(), event.as_bytes());
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
