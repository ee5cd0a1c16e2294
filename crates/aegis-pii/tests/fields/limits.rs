//! Every limit refuses what is one above it, and takes what is at it.

use aegis_pii::{
    DecryptError, DecryptorOptions, EncryptError, EncryptorOptions, EnvelopeForm, Limits, Moment, ScanFault,
};

use crate::{FORMS, decryptor, decryptor_with, encryptor};

fn fault(event: &str, form: EnvelopeForm, limits: Limits) -> Option<ScanFault> {
    let mut out = Vec::new();
    let options = EncryptorOptions { form, limits, ..EncryptorOptions::default() };
    match encryptor(options).encrypt_event(Moment::now(), event.as_bytes(), &mut out) {
        Ok(_) => {
            // What is within the limits stays within them when it is sealed.
            let limits = Limits { max_event_len: usize::MAX, ..limits };
            let options = DecryptorOptions { limits, ..DecryptorOptions::default() };
            assert_eq!(decryptor_with(options).decrypt(&out).unwrap(), event.as_bytes());
            None
        }
        Err(EncryptError::Event(error)) => {
            assert!(out.is_empty());
            Some(error.fault)
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn refuses_an_event_one_byte_too_long() {
    let event = r#"{"actor_id":"alice"}"#;
    for form in FORMS {
        let limits = |max_event_len| Limits { max_event_len, ..Limits::for_encryption() };
        assert_eq!(fault(event, form, limits(20)), None);
        assert_eq!(fault(event, form, limits(19)), Some(ScanFault::TooLong { found: 20, limit: 19 }));
    }
}

#[test]
fn refuses_one_level_too_many_and_counts_an_envelope_as_one() {
    for form in FORMS {
        let limits = |max_depth| Limits { max_depth, ..Limits::for_encryption() };
        assert_eq!(fault("[[[1]]]", form, limits(3)), None);
        assert_eq!(fault("[[[1]]]", form, limits(2)), Some(ScanFault::TooDeep { limit: 2 }));
        assert_eq!(fault(r#"{"actor_id":1}"#, form, limits(2)), None);
        assert_eq!(fault(r#"{"actor_id":1}"#, form, limits(1)), Some(ScanFault::TooDeep { limit: 1 }));
        assert_eq!(fault(r#"{"actor_id":[[]]}"#, form, limits(3)), None);
        assert_eq!(fault(r#"{"actor_id":[[]]}"#, form, limits(2)), Some(ScanFault::TooDeep { limit: 2 }));
    }
}

#[test]
fn refuses_one_field_too_many() {
    let event = r#"{"actor_id":1,"author_id":2,"x":[{"actor_id":3}]}"#;
    for form in FORMS {
        let limits = |max_fields| Limits { max_fields, ..Limits::for_encryption() };
        assert_eq!(fault(event, form, limits(3)), None);
        assert_eq!(fault(event, form, limits(2)), Some(ScanFault::TooManyFields { limit: 2 }));
        // Sealed fields count as well when they are read.
        let options = EncryptorOptions { form, ..EncryptorOptions::default() };
        let sealed = encryptor(options).encrypt(event.as_bytes()).unwrap();
        let options = DecryptorOptions { limits: limits(2), ..DecryptorOptions::default() };
        let error = decryptor_with(options).decrypt(&sealed).unwrap_err();
        assert!(
            matches!(error, DecryptError::Event(error) if error.fault == ScanFault::TooManyFields { limit: 2 })
        );
    }
}

#[test]
fn whatever_is_admitted_can_be_read_with_the_limits_for_reading() {
    let long = "x".repeat((4 << 20) - 60_000);
    let event = format!("{{\"actor_id\":[{}\"{long}\"],\"l\":[{}1]}}", "", "{\"actor_id\":1},".repeat(1023));
    for form in FORMS {
        let options = EncryptorOptions { form, ..EncryptorOptions::default() };
        let sealed = encryptor(options).encrypt(event.as_bytes()).unwrap();
        assert!(sealed.len() <= Limits::for_decryption().max_event_len);
        assert!(decryptor().decrypt(&sealed).unwrap() == event.as_bytes());
    }
}
