//! What is said of events without any key.

use aegis_pii::{
    Catalogue, ClearField, EncryptorOptions, EnvelopeForm, Inspector, Limits, PlaintextHash, Tally,
};

use crate::{DEK, FORMS, encryptor, encryptor_of};

fn inspector() -> Inspector {
    Inspector::new(Catalogue::guide(), Limits::for_decryption())
}

#[test]
fn says_what_is_sealed_and_under_what() {
    let event = br#"{"actor_id":"alice","x":[{"author_id":null}]}"#;
    for form in FORMS {
        let sealed = encryptor_of(form).encrypt(event).unwrap();
        let inspection = inspector().inspect(&sealed).unwrap();
        assert_eq!(inspection.clear, []);
        assert_eq!(inspection.malformed, 0);
        let [first, second] = inspection.sealed.as_slice() else { panic!("two fields are sealed") };
        assert_eq!((first.pointer.as_str(), first.name.as_str()), ("/actor_id", "actor_id"));
        assert_eq!((second.pointer.as_str(), second.name.as_str()), ("/x/0/author_id", "author_id"));
        assert_eq!((first.plaintext_len, second.plaintext_len), (7, 4));
        for field in [first, second] {
            assert_eq!((field.dek.as_str(), field.form), (DEK, form));
            assert_eq!(field.algorithm, "x25519+ml-kem-768+aes-256-gcm");
            assert_eq!(field.plaintext_hash, PlaintextHash::Keyed);
            assert_eq!(field.sealed_at.len(), 20);
            assert_eq!(sealed[field.offset], b'{');
        }
        let expected = (form == EnvelopeForm::Compact).then(|| Catalogue::guide().version().to_string());
        assert_eq!(inspection.catalogue, expected);
    }
}

#[test]
fn says_what_should_be_sealed_and_is_not() {
    let event = br#"{"actor_id":"alice","author_id":{"_encrypted":true,"v":"bob"},"x":{"_encrypted":1}}"#;
    let inspection = inspector().inspect(event).unwrap();
    assert!(inspection.sealed.is_empty());
    assert_eq!(inspection.malformed, 2);
    let clear =
        |name: &str, offset| ClearField { pointer: format!("/{name}"), name: name.to_owned(), offset };
    assert_eq!(inspection.clear, [clear("actor_id", 12), clear("author_id", 32)]);
    assert!(!format!("{inspection:?}").contains("alice"));
    assert!(inspector().inspect(b"{").is_err());
}

#[test]
fn counts_over_a_stream() {
    let mut tally = Tally::default();
    let mut inspector = inspector();
    for form in [EnvelopeForm::Compact, EnvelopeForm::SelfContained, EnvelopeForm::Compact] {
        let options = EncryptorOptions { form, ..EncryptorOptions::default() };
        let sealed = encryptor(options).encrypt(br#"{"actor_id":1,"author_id":2}"#).unwrap();
        tally.add(&inspector.inspect(&sealed).unwrap());
    }
    tally.add(&inspector.inspect(br#"{"actor_id":1}"#).unwrap());
    assert_eq!(tally.events, 4);
    assert_eq!(tally.sealed_by_dek.values().copied().collect::<Vec<_>>(), [6]);
    assert_eq!(tally.sealed_by_name["actor_id"], 3);
    assert_eq!(tally.clear_by_name["actor_id"], 1);
    assert_eq!(tally.events_by_catalogue.values().copied().collect::<Vec<_>>(), [2]);
    assert!(!tally.is_cut);
}
