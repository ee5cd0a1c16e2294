//! What goes in comes out, byte for byte; and what is between holds nothing of it.

use aegis_pii::{
    DecryptorOptions, EncryptorOptions, FieldBinding, FieldRights, Moment, PlaintextHash, create_pii_enricher,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::events::{Dice, governance_event};
use crate::{DEK, FORMS, KEY, contains, decryptor, decryptor_with, encryptor, encryptor_of};

#[test]
fn the_guides_enricher_makes_the_guides_envelope() {
    let mut enricher = create_pii_enricher(KEY.public_key().clone(), DEK).unwrap();
    let sealed = enricher.encrypt(br#"{"agent":"x", "actor_id" : "alice"}"#).unwrap();
    let text = str::from_utf8(&sealed).unwrap();
    let envelope = text.strip_prefix(r#"{"agent":"x", "actor_id" : "#).unwrap().strip_suffix('}').unwrap();
    let head = format!(
        r#"{{"_encrypted":true,"_algorithm":"x25519+ml-kem-768+aes-256-gcm","_dek_version":"{DEK}","_ciphertext":""#
    );
    assert!(envelope.starts_with(&head));
    let value: serde_json::Value = serde_json::from_str(envelope).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 6);
    assert!(value["_plaintext_hash"].as_str().unwrap().starts_with("hmac-sha256:"));
    let order =
        ["_encrypted", "_algorithm", "_dek_version", "_ciphertext", "_plaintext_hash", "_encrypted_at"];
    let places = order.map(|name| envelope.find(&format!("\"{name}\":")).unwrap());
    assert!(places.is_sorted(), "the members stand in the guide's order");
    assert_eq!(decryptor().decrypt(&sealed).unwrap(), br#"{"agent":"x", "actor_id" : "alice"}"#);
}

#[test]
fn the_guides_enricher_refuses_a_version_of_another_form() {
    for version in [
        "",
        "dek",
        "dek-v1-2026010",
        "dek-v1-20260132",
        "dek-v1-20260229",
        "dek-v2-20260101",
        "dek-v1-20260101-1",
        "dek-v1-20260101-0",
        "dek-v1-20260101-02",
        "dek-v1-20260101-",
        "dek-v1-20260101-10000000",
        "dek-v1-20260101 ",
        "DEK-v1-20260101",
        "dek-v1-2026o101",
        "dek-v1-00000000",
    ] {
        let error = create_pii_enricher(KEY.public_key().clone(), version).unwrap_err();
        assert_eq!(error.found, version);
    }
    for version in ["dek-v1-20240229", "dek-v1-20260101-2", "dek-v1-20260101-9999999", "dek-v1-20260101-10"] {
        assert!(create_pii_enricher(KEY.public_key().clone(), version).is_ok(), "{version}");
    }
}

#[test]
fn ten_thousand_events_come_back_and_nothing_of_them_shows() {
    for form in FORMS {
        let (mut encryptor, mut decryptor) = (encryptor_of(form), decryptor());
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        let mut fields = 0;
        for number in 0..10_000 {
            let (event, values) = governance_event(number);
            sealed.clear();
            opened.clear();
            fields += encryptor.encrypt_event(Moment::now(), event.as_bytes(), &mut sealed).unwrap().sealed;
            for value in values {
                assert!(
                    memchr::memmem::find(&sealed, value.as_bytes()).is_none(),
                    "{value} of event {number} is in the output"
                );
            }
            decryptor.decrypt_event(&sealed, &mut opened).unwrap();
            assert_eq!(opened, event.as_bytes(), "event {number}");
        }
        assert_eq!(fields, 130_000, "each event has thirteen personal values");
    }
}

#[test]
fn seals_values_of_every_type_and_copies_every_other_byte() {
    let event = "\r\n{ \"actor_id\" : null,\t\"actor_id\":[ 1e400, {\"actor_id\" : 0.10}],\"x\":1.0e5 ,\n\"a\\/b\":[{\"signer_id\":\"\\ud800\"}],\"author_id\":{},\"\\u0061uthor\\u005fid\":-0}\n ";
    for form in FORMS {
        let mut sealed = Vec::new();
        let done = encryptor_of(form).encrypt_event(Moment::now(), event.as_bytes(), &mut sealed).unwrap();
        assert_eq!(done.sealed, 5, "what is inside a sealed value is part of it");
        for personal in [": null", " 1e400", " 0.10", "\\ud800"] {
            assert!(!contains(&sealed, personal.as_bytes()), "{personal}");
        }
        for other in
            ["\r\n{", "\"x\":1.0e5 ,\n\"a\\/b\":[{\"signer_id\":", "\"\\u0061uthor\\u005fid\":{", "}\n "]
        {
            assert!(contains(&sealed, other.as_bytes()), "{other}");
        }
        assert_eq!(decryptor().decrypt(&sealed).unwrap(), event.as_bytes());
    }
}

#[test]
fn seals_at_places_given_by_pointers() {
    let catalogue = aegis_pii::Catalogue::from_json(
        br#"{"extend":[{"pointer":"/users/*/email"},{"pointer":"/tags/1"},{"pointer":"/a~1b/m~0n"},{"pointer":"/list/*"},
            {"pointer":"/*"}]}"#,
    )
    .unwrap();
    let event = br#"{"users":[{"email":"one@x"},{"email":"two@x","mail":"no"}],"tags":["first","second"],
        "a/b":{"m~n":"d@ep","mn":"not"},"email":"top","list":["p","q"],"*":"st@r","x":{"users":[{"email":"else"}]}}"#;
    let options = || EncryptorOptions { catalogue: catalogue.clone(), ..EncryptorOptions::default() };
    let mut sealed = Vec::new();
    let done = encryptor(options()).encrypt_event(Moment::now(), event, &mut sealed).unwrap();
    assert_eq!(done.sealed, 7);
    for gone in ["one@x", "two@x", "second", "d@ep", "\"p\"", "\"q\"", "st@r"] {
        assert!(!contains(&sealed, gone.as_bytes()), "{gone}");
    }
    for stays in ["\"no\"", "first", "\"not\"", "top", "else"] {
        assert!(contains(&sealed, stays.as_bytes()), "{stays}");
    }
    assert_eq!(decryptor().decrypt(&sealed).unwrap(), event);
}

#[test]
fn events_that_are_no_objects_round_trip_in_both_forms() {
    for event in ["[{\"actor_id\":1},[{\"actor_id\":2}]]", "7", "\"actor_id\"", "[]", "{}", "null"] {
        for form in FORMS {
            let sealed = encryptor_of(form).encrypt(event.as_bytes()).unwrap();
            assert_eq!(decryptor().decrypt(&sealed).unwrap(), event.as_bytes());
            assert!(!contains(&sealed, b"_aegis"));
        }
    }
}

#[test]
fn a_reader_with_rights_to_some_fields_gets_those_alone() {
    let event = br#"{"actor_id":"alice","author_id":"bob","x":{"actor_id":"carol"}}"#;
    let reader = |fields: &[&str]| {
        let rights = FieldRights::Only(fields.iter().map(ToString::to_string).collect());
        decryptor_with(DecryptorOptions { rights, ..DecryptorOptions::default() })
    };
    for form in FORMS {
        let sealed = encryptor_of(form).encrypt(event).unwrap();
        let mut opened = Vec::new();
        let done = reader(&["actor_id"]).decrypt_event(&sealed, &mut opened).unwrap();
        assert_eq!((done.opened, done.not_permitted), (2, 1));
        assert!(contains(&opened, b"alice") && contains(&opened, b"carol") && !contains(&opened, b"\"bob\""));
        // Another reader goes on where this one had to stop.
        assert_eq!(decryptor().decrypt(&opened).unwrap(), event);

        let mut opened = Vec::new();
        let done = reader(&["/x/actor_id"]).decrypt_event(&sealed, &mut opened).unwrap();
        assert_eq!((done.opened, done.not_permitted), (1, 2));
        assert_eq!(reader(&[]).decrypt(&sealed).unwrap(), sealed);
    }
}

#[test]
fn one_stream_may_hold_both_forms_and_plain_events() {
    let event = br#"{"actor_id":"alice"}"#;
    let mut decryptor = decryptor();
    let mut encryptors = FORMS.map(encryptor_of);
    for _ in 0..3 {
        for encryptor in &mut encryptors {
            assert_eq!(decryptor.decrypt(&encryptor.encrypt(event).unwrap()).unwrap(), event);
        }
        assert_eq!(decryptor.decrypt(event).unwrap(), event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_json_comes_back_and_a_second_encryption_changes_nothing(dice in vec(any::<u8>(), 0..300)) {
        let event = Dice::new(&dice).json();
        for form in FORMS {
            for (bind_by, plaintext_hash) in
                [(FieldBinding::Pointer, PlaintextHash::Keyed), (FieldBinding::Name, PlaintextHash::BareSha256)]
            {
                let options = EncryptorOptions { form, bind_by, plaintext_hash, ..EncryptorOptions::default() };
                let mut encryptor = encryptor(options);
                let sealed = encryptor.encrypt(event.as_bytes()).unwrap();
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&sealed).is_ok());
                prop_assert_eq!(encryptor.encrypt(&sealed).unwrap(), sealed.clone());
                // Whoever encrypts again in the other form changes nothing either.
                for other in FORMS {
                    prop_assert_eq!(encryptor_of(other).encrypt(&sealed).unwrap(), sealed.clone());
                }
                prop_assert_eq!(decryptor().decrypt(&sealed).unwrap(), event.as_bytes());
            }
        }
    }
}
