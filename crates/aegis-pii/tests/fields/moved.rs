//! A sealed field opens where it was sealed, and nowhere else.

use aegis_pii::{
    DecryptError, Decrypted, DecryptorOptions, EncryptError, EncryptorOptions, EventBinding, EventIdError,
    FieldBinding, FieldFault, Moment, OptionsError, PiiEncryptor, Unopenable,
};
use std::sync::Arc;

use crate::{DEK, FORMS, decryptor, decryptor_with, dek, encryptor, encryptor_of};

/// The text between the first two marks.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let start = text.find(before).unwrap() + before.len();
    &text[start..start + text[start..].find(after).unwrap()]
}

fn is_not_authentic(result: &Result<Vec<u8>, DecryptError>) -> bool {
    matches!(result, Err(DecryptError::Field { fault: FieldFault::NotAuthentic, .. }))
}

#[test]
fn ciphertexts_do_not_open_in_another_field() {
    let event = r#"{"actor_id":"alice","author_id":"bobby","x":{"actor_id":"carol"},"l":[{"actor_id":1},{"actor_id":2}]}"#;
    for form in FORMS {
        let sealed = String::from_utf8(encryptor_of(form).encrypt(event.as_bytes()).unwrap()).unwrap();
        assert_eq!(decryptor().decrypt(sealed.as_bytes()).unwrap(), event.as_bytes());
        for (one, other) in
            [("/actor_id", "/author_id"), ("/actor_id", "/x/actor_id"), ("/l/0/actor_id", "/l/1/actor_id")]
        {
            let value: serde_json::Value = serde_json::from_str(&sealed).unwrap();
            let [first, second] = [one, other].map(|place| value.pointer(place).unwrap().to_string());
            let [first, second] = [first, second].map(|envelope| {
                // As it stands in the event, with its members in our order.
                let ciphertext = between(&envelope, "\"_ciphertext\":\"", "\"").to_owned();
                let at = sealed.find(&ciphertext).unwrap();
                let start = sealed[..at].rfind('{').unwrap();
                sealed[start..=start + sealed[start..].find('}').unwrap()].to_owned()
            });
            let swapped = sealed.replace(&first, "#").replace(&second, &first).replace('#', &second);
            assert_ne!(swapped, sealed);
            assert!(is_not_authentic(&decryptor().decrypt(swapped.as_bytes())), "{one} and {other}");
        }
    }
}

#[test]
fn a_relabelled_version_or_time_does_not_open() {
    for form in FORMS {
        let sealed =
            String::from_utf8(encryptor_of(form).encrypt(br#"{"actor_id":"alice"}"#).unwrap()).unwrap();
        let time = between(&sealed, "\"_encrypted_at\":\"", "\"").to_owned();
        let changed = sealed.replace(&time, "2020-01-01T00:00:00Z");
        assert!(is_not_authentic(&decryptor().decrypt(changed.as_bytes())));
        let changed = sealed.replace(&time, &time.replace('Z', ".0Z"));
        assert!(is_not_authentic(&decryptor().decrypt(changed.as_bytes())));

        // Under another name the very same key is another DEK.
        struct AnyName;
        impl aegis_pii::OpeningDekSource for AnyName {
            fn private_key(
                &self,
                _: &aegis_pii::DekName,
            ) -> Result<Arc<aegis_crypto::HybridPrivateKey>, aegis_pii::DekUnavailable> {
                Ok(Arc::clone(&crate::KEY))
            }
        }
        let mut decryptor = aegis_pii::PiiDecryptor::new(Arc::new(AnyName), DecryptorOptions::default());
        assert!(decryptor.decrypt(sealed.as_bytes()).is_ok());
        assert!(is_not_authentic(&decryptor.decrypt(sealed.replace(DEK, "dek-v1-20260101-2").as_bytes())));
    }
}

#[test]
fn the_catalogues_version_of_a_compact_event_cannot_be_relabelled() {
    let sealed = encryptor_of(aegis_pii::EnvelopeForm::Compact).encrypt(br#"{"actor_id":"alice"}"#).unwrap();
    let sealed = String::from_utf8(sealed).unwrap();
    let version = between(&sealed, "\"_catalogue\":\"", "\"").to_owned();
    let changed = sealed.replace(&version, "cat1-0123456789abcdef");
    assert!(is_not_authentic(&decryptor().decrypt(changed.as_bytes())));
}

#[test]
fn fields_bound_to_a_tenant_or_an_event_open_for_it_alone() {
    let event = br#"{"actor_id":"alice"}"#;
    let bindings = [("", ""), ("t1", ""), ("t2", ""), ("", "e1"), ("t1", "e1"), ("t1", "e2"), ("t", "1e1")]
        .map(|(tenant, event_id)| EventBinding { tenant, event_id });
    for form in FORMS {
        for sealed_for in bindings {
            let mut sealed = Vec::new();
            encryptor_of(form).encrypt_bound(Moment::now(), event, sealed_for, &mut sealed).unwrap();
            for read_as in bindings {
                let mut opened = Vec::new();
                let result = decryptor().decrypt_bound(&sealed, read_as, &mut opened);
                assert_eq!(result.is_ok(), sealed_for == read_as, "{sealed_for:?} as {read_as:?}");
                assert_eq!(opened.is_empty(), sealed_for != read_as);
            }
        }
    }
}

#[test]
fn a_field_cannot_be_moved_into_another_event_when_ids_are_bound() {
    let event_id_member = Some("event_id".to_owned());
    for form in FORMS {
        let options = EncryptorOptions {
            event_id_member: event_id_member.clone(),
            form,
            ..EncryptorOptions::default()
        };
        let mut encryptor = encryptor(options);
        let options =
            DecryptorOptions { event_id_member: event_id_member.clone(), ..DecryptorOptions::default() };
        let mut decryptor = decryptor_with(options);
        let event = br#"{"actor_id":"alice","event_id":"one"}"#;
        let sealed = String::from_utf8(encryptor.encrypt(event).unwrap()).unwrap();
        assert_eq!(decryptor.decrypt(sealed.as_bytes()).unwrap(), event);
        let moved = sealed.replace(r#""event_id":"one""#, r#""event_id":"two""#);
        assert!(is_not_authentic(&decryptor.decrypt(moved.as_bytes())));
        // The same id in another spelling is the same id.
        let respelt = sealed.replace(r#""event_id":"one""#, r#""event_id":"\u006fne""#);
        assert!(decryptor.decrypt(respelt.as_bytes()).is_ok());

        for (event, fault) in [
            (r#"{"actor_id":"alice"}"#, EventIdError::Missing),
            (r#"{"actor_id":"alice","x":{"event_id":1}}"#, EventIdError::Missing),
            (r#"{"actor_id":"alice","event_id":1,"event_id":1}"#, EventIdError::Twice),
            (r#"{"actor_id":"alice","event_id":1,"event\u005fid":2}"#, EventIdError::Twice),
            (r#"{"actor_id":"alice","event_id":null}"#, EventIdError::NotScalar),
            (r#"{"actor_id":"alice","event_id":""}"#, EventIdError::NotScalar),
            (r#"{"event_id":{"actor_id":"alice"}}"#, EventIdError::NotScalar),
            (r#"[{"actor_id":"alice","event_id":"one"}]"#, EventIdError::Missing),
        ] {
            let mut out = Vec::new();
            let error = encryptor.encrypt_event(Moment::now(), event.as_bytes(), &mut out).unwrap_err();
            assert_eq!(error, EncryptError::EventId(fault), "{event}");
            assert!(out.is_empty());
        }
        // An event with nothing to seal needs no id.
        assert!(encryptor.encrypt(br#"{"x":1}"#).is_ok());
    }
}

#[test]
fn a_member_that_is_sealed_cannot_be_the_events_id() {
    for member in ["actor_id", "_aegis", ""] {
        let options =
            EncryptorOptions { event_id_member: Some(member.to_owned()), ..EncryptorOptions::default() };
        let error = PiiEncryptor::new(Arc::new(dek()), options).unwrap_err();
        assert_eq!(error, OptionsError::EventIdMember { member: member.to_owned() });
    }
    let options = EncryptorOptions { tenant: Some(String::new()), ..EncryptorOptions::default() };
    assert_eq!(PiiEncryptor::new(Arc::new(dek()), options).unwrap_err(), OptionsError::EmptyTenant);
}

#[test]
fn fields_bound_by_name_open_in_any_place_of_that_name() {
    let options = || EncryptorOptions { bind_by: FieldBinding::Name, ..EncryptorOptions::default() };
    let sealed =
        String::from_utf8(encryptor(options()).encrypt(br#"{"actor_id":"alice"}"#).unwrap()).unwrap();
    let wrapped = format!(r#"{{"body":[{sealed}]}}"#);
    assert_eq!(decryptor().decrypt(wrapped.as_bytes()).unwrap(), br#"{"body":[{"actor_id":"alice"}]}"#);
    let renamed = sealed.replace("\"actor_id\"", "\"author_id\"");
    assert!(is_not_authentic(&decryptor().decrypt(renamed.as_bytes())));
    // Bound by place, the same is refused.
    let sealed =
        encryptor_of(aegis_pii::EnvelopeForm::SelfContained).encrypt(br#"{"actor_id":"alice"}"#).unwrap();
    let wrapped = format!(r#"{{"body":[{}]}}"#, String::from_utf8(sealed).unwrap());
    assert!(is_not_authentic(&decryptor().decrypt(wrapped.as_bytes())));
}

#[test]
fn what_does_not_open_may_stay_sealed_and_is_counted() {
    let event = br#"{"actor_id":"alice","author_id":"bob"}"#;
    for form in FORMS {
        let sealed = String::from_utf8(encryptor_of(form).encrypt(event).unwrap()).unwrap();
        let damaged = sealed.replace("\"author_id\"", "\"signer_id\"");
        assert!(is_not_authentic(&decryptor().decrypt(damaged.as_bytes())));
        let options = DecryptorOptions { unopenable: Unopenable::Leave, ..DecryptorOptions::default() };
        let mut out = Vec::new();
        let done = decryptor_with(options).decrypt_event(damaged.as_bytes(), &mut out).unwrap();
        assert_eq!(done, Decrypted { opened: 1, unopenable: 1, ..Decrypted::default() });
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(r#""actor_id":"alice""#) && out.contains("_ciphertext"));
        // Put right, it still opens: the header is still there.
        let repaired = out.replace("\"signer_id\"", "\"author_id\"");
        assert_eq!(decryptor().decrypt(repaired.as_bytes()).unwrap(), event);
    }
}
