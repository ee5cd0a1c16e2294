//! What is taken for an envelope, and what is data that only claims to be one.

use aegis_pii::{
    Catalogue, CatalogueMark, DecryptError, EncryptorOptions, EnvelopeForm, FieldFault, Inspector, Limits,
    Moment, PlaintextHash, Warning,
};
use serde_json::{Value, json};

use crate::{FORMS, contains, decryptor, encryptor, encryptor_of};

/// An event with one sealed field, taken apart.
fn sealed_event() -> Value {
    let sealed = encryptor_of(EnvelopeForm::SelfContained).encrypt(br#"{"actor_id":"alice"}"#).unwrap();
    serde_json::from_slice(&sealed).unwrap()
}

/// Whether the value of `actor_id` was left alone.
fn passes(event: &Value) -> bool {
    let event = serde_json::to_vec(event).unwrap();
    let mut out = Vec::new();
    let done =
        encryptor_of(EnvelopeForm::SelfContained).encrypt_event(Moment::now(), &event, &mut out).unwrap();
    assert_eq!(done.sealed + done.already_sealed, 1);
    assert_eq!(out == event, done.already_sealed == 1);
    done.already_sealed == 1
}

#[test]
fn an_envelope_in_any_order_and_spacing_passes_and_opens() {
    let event = sealed_event();
    assert!(passes(&event));
    let envelope = event["actor_id"].as_object().unwrap();
    let mut members: Vec<String> =
        envelope.iter().map(|(name, value)| format!("\"{name}\" :\n{value}")).collect();
    members.reverse();
    let event = format!("{{\"actor_id\":{{ {} }} }}", members.join(" ,\t"));
    assert_eq!(decryptor().decrypt(event.as_bytes()).unwrap(), b"{\"actor_id\":\"alice\" }");
    // PHP escapes slashes.
    let event = event.replace('/', "\\/");
    assert_eq!(decryptor().decrypt(event.as_bytes()).unwrap(), b"{\"actor_id\":\"alice\" }");
    assert_eq!(encryptor_of(EnvelopeForm::Compact).encrypt(event.as_bytes()).unwrap(), event.as_bytes());
}

#[test]
fn what_only_claims_to_be_an_envelope_is_sealed() {
    let good = sealed_event();
    assert!(passes(&good));
    let ciphertext = good["actor_id"]["_ciphertext"].as_str().unwrap().to_owned();
    let set = |name: &str, value: Value| {
        let mut event = good.clone();
        event["actor_id"][name] = value;
        event
    };
    let mut forged = vec![
        ("plaintext under a claim", json!({"actor_id": {"_encrypted": true, "name": "alice"}})),
        ("claim alone", json!({"actor_id": {"_encrypted": true}})),
        ("not true", set("_encrypted", json!(false))),
        ("the text true", set("_encrypted", json!("true"))),
        ("one", set("_encrypted", json!(1))),
        ("one more member", set("note", json!("alice"))),
        ("one more member of ours", set("_form", json!("compact"))),
        ("unknown algorithm", set("_algorithm", json!("rot13"))),
        ("another spelling", set("_algorithm", json!("X25519+ML-KEM-768+AES-256-GCM"))),
        ("no version", set("_dek_version", json!(""))),
        ("version of another form", set("_dek_version", json!("dek-v1-20260132"))),
        ("number for a version", set("_dek_version", json!(1))),
        ("no digest", set("_plaintext_hash", json!(""))),
        ("short digest", set("_plaintext_hash", json!("hmac-sha256:00"))),
        ("unknown digest", set("_plaintext_hash", json!(format!("md5:{}", "0".repeat(64))))),
        ("bare hex", set("_plaintext_hash", json!("0".repeat(64)))),
        ("upper-case digest", set("_plaintext_hash", json!(format!("sha256:{}", "A".repeat(64))))),
        ("no time", set("_encrypted_at", json!("yesterday"))),
        ("no such day", set("_encrypted_at", json!("2026-02-30T00:00:00Z"))),
        ("no such hour", set("_encrypted_at", json!("2026-02-03T24:00:00Z"))),
        ("local time", set("_encrypted_at", json!("2026-02-03T00:00:00+01:00"))),
        ("empty ciphertext", set("_ciphertext", json!(""))),
        ("null", set("_ciphertext", Value::Null)),
        ("plaintext for a ciphertext", set("_ciphertext", json!("alice"))),
        (
            "a line feed in it",
            set("_ciphertext", json!(format!("{}\n{}", &ciphertext[..76], &ciphertext[76..]))),
        ),
        ("other alphabet", set("_ciphertext", json!(ciphertext.replace(['+', '/'], "-")))),
        ("a nested envelope", json!({"actor_id": {"_encrypted": good["actor_id"].clone()}})),
        ("a list of one", json!({"actor_id": [good["actor_id"].clone()]})),
    ];
    for cut in [1, 4, 40, ciphertext.len() - 1532, ciphertext.len() - 1492] {
        forged.push(("cut short", set("_ciphertext", json!(ciphertext[..ciphertext.len() - cut]))));
    }
    for name in
        ["_encrypted", "_algorithm", "_dek_version", "_ciphertext", "_plaintext_hash", "_encrypted_at"]
    {
        let mut event = good.clone();
        event["actor_id"].as_object_mut().unwrap().remove(name);
        forged.push(("a member is missing", event));
    }
    for (name, event) in forged {
        if name == "cut short" && passes(&event) {
            // Four characters less are base64 of another box. It passes, and does not open.
            assert!(decryptor().decrypt(&serde_json::to_vec(&event).unwrap()).is_err());
            continue;
        }
        assert!(!passes(&event), "{name}: {event}");
        let sealed =
            encryptor_of(EnvelopeForm::SelfContained).encrypt(&serde_json::to_vec(&event).unwrap()).unwrap();
        assert!(!contains(&sealed, b"alice"), "{name}");
        assert_eq!(decryptor().decrypt(&sealed).unwrap(), serde_json::to_vec(&event).unwrap(), "{name}");
    }
}

#[test]
fn an_envelope_may_name_its_catalogue_and_is_bound_to_it() {
    let options = || EncryptorOptions { catalogue_mark: CatalogueMark::Write, ..EncryptorOptions::default() };
    let event = br#"{"actor_id":"alice","x":[{"author_id":2}]}"#;
    let mut marked = encryptor(options());
    let sealed = String::from_utf8(marked.encrypt(event).unwrap()).unwrap();
    let version = Catalogue::guide().version().to_string();
    let member = format!(",\"_catalogue\":\"{version}\"");
    assert_eq!(sealed.matches(&member).count(), 2);
    assert_eq!(decryptor().decrypt(sealed.as_bytes()).unwrap(), event);
    // Whoever does not name it, leaves it.
    assert_eq!(
        encryptor_of(EnvelopeForm::SelfContained).encrypt(sealed.as_bytes()).unwrap(),
        sealed.as_bytes()
    );
    let mut inspector = Inspector::new(Catalogue::guide(), Limits::for_decryption());
    assert_eq!(inspector.inspect(sealed.as_bytes()).unwrap().catalogue, Some(version.clone()));
    // One field with it and one without it, in one event.
    let mixed = sealed.replacen(&member, "", 1);
    for changed in
        [mixed.clone(), sealed.replace(&version, "cat1-0123456789abcdef"), sealed.replace(&member, "")]
    {
        let error = decryptor().decrypt(changed.as_bytes()).unwrap_err();
        assert!(matches!(error, DecryptError::Field { fault: FieldFault::NotAuthentic, .. }));
    }
    for bad in ["", "cat1-", "cat2-0123456789abcdef", "cat1-0123456789ABCDEF"] {
        let changed = sealed.replace(&version, bad);
        assert_eq!(decryptor().decrypt(changed.as_bytes()).unwrap(), changed.as_bytes());
    }
    let both = |number| encryptor(if number == 0 { options() } else { EncryptorOptions::default() });
    let [one, other] = [0, 1].map(|number| {
        let sealed =
            both(number).encrypt(format!("{{\"v\":{number},\"actor_id\":{number}}}").as_bytes()).unwrap();
        let sealed = String::from_utf8(sealed).unwrap();
        sealed[sealed.find("\"actor_id\"").unwrap()..sealed.len() - 1].to_owned()
    });
    for event in [format!("{{{one},{other}}}"), format!("{{{other},{one},{other}}}")] {
        let opened = String::from_utf8(decryptor().decrypt(event.as_bytes()).unwrap()).unwrap();
        assert!(
            opened == r#"{"actor_id":0,"actor_id":1}"#
                || opened == r#"{"actor_id":1,"actor_id":0,"actor_id":1}"#
        );
    }
}

#[test]
fn an_envelope_with_a_member_twice_is_data() {
    let good = serde_json::to_string(&sealed_event()).unwrap();
    for twice in [
        good.replacen("\"_encrypted\":true", "\"_encrypted\":true,\"_encrypted\":true", 1),
        good.replacen("\"_encrypted\":true", "\"_encrypted\":true,\"_dek_version\":\"dek-v1-20260101\"", 1),
        good.replacen("_encrypted\"", "\\u005fencrypted\"", 1),
    ] {
        let sealed = encryptor_of(EnvelopeForm::SelfContained).encrypt(twice.as_bytes()).unwrap();
        assert_ne!(sealed, twice.as_bytes());
        assert_eq!(decryptor().decrypt(&sealed).unwrap(), twice.as_bytes());
    }
}

#[test]
fn every_changed_bit_of_an_envelope_is_refused_or_data_and_never_opened() {
    let event = br#"{"actor_id":"alice"}"#;
    for form in FORMS {
        let sealed = encryptor_of(form).encrypt(event).unwrap();
        let mut decryptor = decryptor();
        assert_eq!(decryptor.decrypt(&sealed).unwrap(), event);
        // All but the long middle of the encapsulation, of which every seventh byte.
        let places = (0..sealed.len()).filter(|at| *at < 200 || *at > sealed.len() - 330 || at % 7 == 0);
        for (at, bit) in places.flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            if let Ok(opened) = decryptor.decrypt(&changed) {
                let is_other_header = form == EnvelopeForm::Compact && !contains(&changed, b"\"_aegis\"");
                assert_eq!(opened, changed, "byte {at} bit {bit}: it is data, or nothing");
                assert!(!contains(&opened, b"alice") || is_other_header, "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for form in FORMS {
        let sealed = encryptor_of(form).encrypt(br#"{"actor_id":"alice"}"#).unwrap();
        let mut decryptor = decryptor();
        for len in 0..sealed.len() {
            let mut out = b"before".to_vec();
            assert!(decryptor.decrypt_event(&sealed[..len], &mut out).is_err(), "{len}");
            assert_eq!(out, b"before");
        }
    }
}

#[test]
fn a_compact_field_without_its_header_is_data() {
    let sealed = encryptor_of(EnvelopeForm::Compact).encrypt(br#"{"actor_id":"alice","x":1}"#).unwrap();
    let mut event: Value = serde_json::from_slice(&sealed).unwrap();
    let header = event.as_object_mut().unwrap().remove("_aegis").unwrap();
    let without = serde_json::to_vec(&event).unwrap();
    assert_eq!(decryptor().decrypt(&without).unwrap(), without);
    let mut out = Vec::new();
    let done = encryptor_of(EnvelopeForm::Compact).encrypt_event(Moment::now(), &without, &mut out).unwrap();
    assert_eq!((done.sealed, done.already_sealed), (1, 0));
    assert_eq!(decryptor().decrypt(&out).unwrap(), without);

    // Two headers: nobody can say which counts.
    let twice = format!("{{\"_aegis\":{header},\"_aegis\":{header},\"actor_id\":{}}}", event["actor_id"]);
    assert_eq!(decryptor().decrypt(twice.as_bytes()).unwrap(), twice.as_bytes());
    let done =
        encryptor_of(EnvelopeForm::Compact).encrypt_event(Moment::now(), twice.as_bytes(), &mut out).unwrap();
    assert_eq!((done.sealed, done.already_sealed), (1, 0));

    // A header that is not well-formed.
    for (name, value) in [
        ("_form", json!("other")),
        ("_algorithm", json!("none")),
        ("_dek_version", json!("dek")),
        ("_encrypted_at", json!("now")),
        ("_catalogue", json!("cat1-")),
        ("_encapsulation", json!("AAAA")),
        ("_more", json!("x")),
        ("_form", json!(1)),
    ] {
        let mut header = header.clone();
        header[name] = value;
        let event = format!("{{\"_aegis\":{header},\"actor_id\":{}}}", event["actor_id"]);
        assert_eq!(decryptor().decrypt(event.as_bytes()).unwrap(), event.as_bytes(), "{name}");
    }
    // Wherever in the event it stands, it is found and taken out again.
    for (event, opened) in [
        (
            format!("{{\"actor_id\":{} ,\n \"_aegis\": {header} }}", event["actor_id"]),
            "{\"actor_id\":\"alice\"  }",
        ),
        (
            format!("{{\"a\":1,\"_aegis\": {header} , \"actor_id\":{}}}", event["actor_id"]),
            "{\"a\":1, \"actor_id\":\"alice\"}",
        ),
        (
            format!("{{\"a\":1,\"_ae\\u0067is\": {header} , \"actor_id\":{}}}", event["actor_id"]),
            "{\"a\":1, \"actor_id\":\"alice\"}",
        ),
    ] {
        assert_eq!(str::from_utf8(&decryptor().decrypt(event.as_bytes()).unwrap()).unwrap(), opened);
    }
}

#[test]
fn a_new_personal_field_in_a_compact_event_is_sealed_by_itself() {
    let sealed = encryptor_of(EnvelopeForm::Compact).encrypt(br#"{"actor_id":"alice","x":1}"#).unwrap();
    let mut longer = sealed.clone();
    longer.truncate(longer.len() - 1);
    longer.extend_from_slice(br#","author_id":"bob"}"#);
    let mut out = Vec::new();
    let done = encryptor_of(EnvelopeForm::Compact).encrypt_event(Moment::now(), &longer, &mut out).unwrap();
    assert_eq!((done.sealed, done.already_sealed), (1, 1));
    assert!(out.starts_with(&sealed[..sealed.len() - 1]) && !contains(&out, b"\"bob\""));
    assert_eq!(decryptor().decrypt(&out).unwrap(), br#"{"actor_id":"alice","x":1,"author_id":"bob"}"#);
}

#[test]
fn an_event_with_a_member_aegis_of_its_own_gets_the_self_contained_form() {
    for event in [r#"{"_aegis":5,"actor_id":"alice"}"#, r#"{"_aegis":{"actor_id":"alice"}}"#] {
        let sealed = encryptor_of(EnvelopeForm::Compact).encrypt(event.as_bytes()).unwrap();
        assert!(!contains(&sealed, b"alice") && contains(&sealed, b"_encrypted_at"));
        assert_eq!(decryptor().decrypt(&sealed).unwrap(), event.as_bytes());
    }
}

#[test]
fn the_bare_digest_is_an_option_with_a_warning_and_both_are_checked() {
    assert!(EncryptorOptions::default().warnings().is_empty());
    for form in FORMS {
        let options = EncryptorOptions {
            plaintext_hash: PlaintextHash::BareSha256,
            form,
            ..EncryptorOptions::default()
        };
        assert_eq!(options.warnings(), [Warning::BareSha256]);
        let sealed = encryptor(options).encrypt(br#"{"actor_id":"alice"}"#).unwrap();
        let digest = format!("sha256:{}", aegis_crypto::sha256(b"\"alice\""));
        assert!(contains(&sealed, digest.as_bytes()));
        assert_eq!(decryptor().decrypt(&sealed).unwrap(), br#"{"actor_id":"alice"}"#);
        let sealed = String::from_utf8(sealed).unwrap();
        let other = sealed.replace(&digest, &format!("sha256:{}", aegis_crypto::sha256(b"\"bob\"")));
        assert!(decryptor().decrypt(other.as_bytes()).is_err());
    }
}

#[test]
fn a_keyed_digest_cannot_be_exchanged_for_one_that_confirms_guesses() {
    for form in FORMS {
        let sealed =
            String::from_utf8(encryptor_of(form).encrypt(br#"{"actor_id":"alice"}"#).unwrap()).unwrap();
        let at = sealed.find("hmac-sha256:").unwrap();
        let keyed = &sealed[at..at + 76];
        let guess = format!("sha256:{}", aegis_crypto::sha256(b"\"alice\""));
        assert!(decryptor().decrypt(sealed.replace(keyed, &guess).as_bytes()).is_err());
        let other = format!("hmac-sha256:{}", "0".repeat(64));
        assert!(decryptor().decrypt(sealed.replace(keyed, &other).as_bytes()).is_err());
    }
}
