//! Events made to break something, and sealed values made to break out.

use aegis_crypto::{ALGORITHM, AssociatedData, BoxContent, Commitments, Purpose, SealedEvent, Sealer};
use aegis_pii::{DecryptError, DecryptorOptions, FieldFault, Limits, Moment, ScanFault, Unopenable};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Instant;

use crate::events::Dice;
use crate::{DEK, FORMS, KEY, contains, decryptor, decryptor_with, encryptor, encryptor_of};

/// An event with whatever bytes sealed in `actor_id`, as anyone with the public key can make it. It is written with
/// Python's base64 and spaces in mind: not as we write it.
fn event_with(plaintext: &[u8], binding: &[u8], field: &[u8]) -> String {
    let time = "2026-05-01T10:00:00Z";
    let parts = [binding, field, DEK.as_bytes(), ALGORITHM.as_bytes(), time.as_bytes()];
    let associated_data = AssociatedData::new(parts);
    let mut sealer = Sealer::new(KEY.public_key().clone(), Purpose::Field, Instant::now()).unwrap();
    let mut sealed = SealedEvent::new();
    let content = BoxContent { associated_data: &associated_data, plaintext };
    sealer.seal_event(Instant::now(), &[content], Commitments::Make, &mut sealed).unwrap();
    let ciphertext = base64ct_of(&sealed.to_box(0).unwrap());
    let hash: String =
        sealed.commitment(0).unwrap().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        r#"{{"actor_id": {{"_encrypted": true, "_algorithm": "{ALGORITHM}", "_dek_version": "{DEK}", "_ciphertext": "{ciphertext}", "_plaintext_hash": "hmac-sha256:{hash}", "_encrypted_at": "{time}"}}}}"#
    )
}

/// Base64, by hand, so that the test does not share the library's.
fn base64ct_of(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                text.push(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63].into());
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[test]
fn opens_what_another_implementation_of_the_format_sealed() {
    for (binding, field) in [("pointer", "/actor_id"), ("name", "actor_id")] {
        let event = event_with(b"\"alice\"", binding.as_bytes(), field.as_bytes());
        assert_eq!(decryptor().decrypt(event.as_bytes()).unwrap(), br#"{"actor_id": "alice"}"#);
        assert_eq!(encryptor_of(FORMS[0]).encrypt(event.as_bytes()).unwrap(), event.as_bytes());
    }
}

#[test]
fn what_was_sealed_cannot_break_out_of_its_field() {
    for plaintext in [
        &b"1,\"role\":\"admin\""[..],
        b"",
        b" 1",
        b"1 ",
        b"1}{",
        b"\"a",
        b"\"\xff\"",
        b"nope",
        b"{\"a\":1",
        b"\n1",
        b"[1]]",
        b"1\n{\"actor_id\":2}",
    ] {
        let event = event_with(plaintext, b"pointer", b"/actor_id");
        let mut decryptor = decryptor();
        // The second time with keys that were kept.
        for _ in 0..2 {
            let mut out = b"before".to_vec();
            let refused = decryptor.decrypt_event(event.as_bytes(), &mut out);
            if plaintext.is_empty() {
                // Too short for an envelope, so it is data.
                assert_eq!(refused.unwrap().opened, 0);
                continue;
            }
            assert!(
                matches!(refused, Err(DecryptError::Field { fault: FieldFault::NotJson, .. })),
                "{}",
                plaintext.escape_ascii()
            );
            assert_eq!(out, b"before");
        }
        if plaintext.is_empty() {
            continue;
        }
        let options = DecryptorOptions { unopenable: Unopenable::Leave, ..DecryptorOptions::default() };
        assert_eq!(decryptor_with(options).decrypt(event.as_bytes()).unwrap(), event.as_bytes());
    }
}

#[test]
fn a_million_levels_are_refused_and_not_followed() {
    for open in ["[", "{\"a\":", "{\"actor_id\":", "[{\"actor_id\":["] {
        let event = open.repeat(1_000_000);
        let limits = Limits { max_event_len: usize::MAX, ..Limits::for_encryption() };
        let options = aegis_pii::EncryptorOptions { limits, ..Default::default() };
        let mut out = Vec::new();
        let error = encryptor(options).encrypt_event(Moment::now(), event.as_bytes(), &mut out).unwrap_err();
        assert!(
            matches!(error, aegis_pii::EncryptError::Event(error) if error.fault == ScanFault::TooDeep { limit: 1000 })
        );
        assert!(out.is_empty());
    }
}

#[test]
fn a_million_levels_can_be_admitted_without_harm() {
    let limits = Limits { max_event_len: usize::MAX, max_depth: usize::MAX, ..Limits::for_encryption() };
    let options = aegis_pii::EncryptorOptions { limits, ..Default::default() };
    let event = format!("{}1{}", "{\"actor_id\":".repeat(1_000_000), "}".repeat(1_000_000));
    let sealed = encryptor(options).encrypt(event.as_bytes()).unwrap();
    let mut decryptor = decryptor_with(DecryptorOptions { limits, ..DecryptorOptions::default() });
    assert!(decryptor.decrypt(&sealed).unwrap() == event.as_bytes());
}

#[test]
fn many_fields_under_a_long_name_do_not_multiply() {
    let event = format!("{{\"{}\":[{}1]}}", "n".repeat(3_000_000), "{\"actor_id\":1},".repeat(1000));
    let mut out = Vec::new();
    let error = encryptor_of(FORMS[0]).encrypt_event(Moment::now(), event.as_bytes(), &mut out).unwrap_err();
    assert!(
        matches!(error, aegis_pii::EncryptError::Event(error) if error.fault == ScanFault::PointerTooLong { limit: 2048 })
    );
    assert!(out.is_empty());
}

#[test]
fn the_fuzzers_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/pii_event");
    let mut count = 0;
    for input in std::fs::read_dir(corpus).unwrap() {
        crate::pii_event::run(&std::fs::read(input.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 10);
}

#[test]
fn errors_say_where_and_not_what() {
    let event = br#"{"actor_id":"alice","x":"secret" oops}"#;
    let error = encryptor_of(FORMS[0]).encrypt(event).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("33"), "{text}");
    assert!(!text.contains("alice") && !text.contains("secret") && !text.contains("oops"));
}

#[test]
fn nothing_that_holds_keys_shows_them() {
    let mut encryptor = encryptor_of(FORMS[0]);
    let sealed = encryptor.encrypt(br#"{"actor_id":"alice"}"#).unwrap();
    let mut decryptor = decryptor();
    decryptor.decrypt(&sealed).unwrap();
    let text = format!("{encryptor:?} {decryptor:?}");
    assert!(text.contains(DEK) && text.len() < 6000 && !text.contains("alice"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever comes, it comes back or is refused; no personal value is in what was written.
    #[test]
    fn damaged_events_are_refused_or_sealed(
        dice in vec(any::<u8>(), 0..150),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let text = Dice::new(&dice).json();
        let mut event = format!(r#"{{"x":{text},"actor_id":"a very personal value","y":[{text}]}}"#).into_bytes();
        let at = at.index(event.len());
        event[at] = byte;
        for form in FORMS {
            let mut out = Vec::new();
            match encryptor_of(form).encrypt_event(Moment::now(), &event, &mut out) {
                Ok(_) => prop_assert_eq!(decryptor().decrypt(&out).unwrap(), event.clone()),
                Err(_) => prop_assert!(out.is_empty()),
            }
            let is_still_personal = contains(&event, br#""actor_id":"a very personal value""#);
            prop_assert!(!is_still_personal || !contains(&out, b"a very personal value"));
        }
    }

    /// What the fuzzer checks of any bytes, of events that are nearly ours: a sealed event of the reference, with any JSON
    /// beside it and some damage.
    #[test]
    fn events_that_are_nearly_sealed_hold_what_the_fuzzer_checks(
        number in 0..16_usize,
        dice in vec(any::<u8>(), 0..60),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        cut in any::<bool>(),
    ) {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../../docs/vectors/pii-event-v1.json")).unwrap();
        let sealed = vectors["events"][number]["sealed"].as_str().unwrap().trim_end();
        let json = Dice::new(&dice).json();
        let name = ["actor_id", "x", "_aegis", "users", "list"][dice.len() % 5];
        let mut event = format!("{},\"{name}\":{json}}}", sealed.strip_suffix('}').unwrap()).into_bytes();
        if cut {
            event = [b"{\"y\":[".as_slice(), &event, b"]}"].concat();
        }
        for (at, byte) in damage {
            let at = at.index(event.len());
            event[at] = byte;
        }
        crate::pii_event::run(&event);
    }

    /// A sealed event with any damage never opens to anything but what it was, or stays as it is.
    #[test]
    fn damaged_envelopes_never_open_wrongly(
        form in 0..2_usize,
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let event = br#"{"actor_id":"alice","n":[1,2,3],"author_id":{"b":"bobby"}}"#;
        let sealed = encryptor_of(FORMS[form]).encrypt(event).unwrap();
        let mut changed = sealed.clone();
        for (at, byte) in damage {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        let options = DecryptorOptions { unopenable: Unopenable::Leave, ..DecryptorOptions::default() };
        let mut out = Vec::new();
        if let Ok(done) = decryptor_with(options).decrypt_event(&changed, &mut out) {
            let opened = usize::from(contains(&out, b"\"alice\"")) + usize::from(contains(&out, b"bobby"));
            prop_assert_eq!(done.opened, opened);
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok());
        }
    }
}
