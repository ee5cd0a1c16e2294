//! What does not open, and why it says so.

use aegis_crypto::{HybridPrivateKey, HybridPrivateKeyError};
use aegis_kek::aws_kms::{KmsAction, KmsWrap, Oddity};
use aegis_kek::{Container, ContainerError, KmsFault, LoadError, WrapMethod};
use serde_json::json;
use test_services::kms::REGION;
use test_services::proxy::{Fate, Proxy};

use super::forms::{base64, from_base64};
use super::{Sort, access, fault, load, ministack, moto, wrapped};

#[test]
fn refuses_a_tampered_or_truncated_ciphertext() {
    let Some(kms) = moto("refuses_a_tampered_or_truncated_ciphertext") else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    let kek = private.public_key().key_id();
    let last = wrapped.len() - 1;
    let mut bad = Vec::new();
    // Past the id of the KMS key, with which moto begins.
    for at in [40, 60, wrapped.len() / 2, last] {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        bad.push(changed);
    }
    bad.push(wrapped[..last].to_vec());
    bad.push(wrapped[..wrapped.len() / 2].to_vec());
    bad.push([&*wrapped, b"x"].concat());
    for bad in bad {
        let (sort, fault) = fault(load(access(&kms.url(), &key), &private, &bad));
        assert_eq!(sort, Sort::Broken);
        assert!(matches!(fault, KmsFault::InvalidCiphertext { kek: named } if named == kek), "{fault:?}");
    }
}

#[test]
fn refuses_any_changed_part_of_a_container() {
    let Some(kms) = moto("refuses_any_changed_part_of_a_container") else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::DataKey);
    let wrapped_key_len = Container::parse(&wrapped).unwrap().wrapped_key().len();
    const HEADER: usize = 8 + 1 + 1 + 32 + 2;
    // Within the wrapped data key: KMS finds it. Nonce, ciphertext, tag: we do.
    let in_key = HEADER + 40;
    let in_box = HEADER + wrapped_key_len;
    for at in [in_key, in_box, in_box + 12, in_box + 1200, wrapped.len() - 1] {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        let (sort, fault) = fault(load(access(&kms.url(), &key), &private, &changed));
        assert_eq!(sort, Sort::Broken);
        let expected = if at == in_key {
            matches!(fault, KmsFault::InvalidCiphertext { .. })
        } else {
            matches!(fault, KmsFault::Container(ContainerError::NotAuthentic))
        };
        assert!(expected, "byte {at}: {fault:?}");
    }
}

/// In both forms the wrapping is bound to the id of the public key.
#[test]
fn refuses_a_swapped_public_key() {
    let Some(kms) = moto("refuses_a_swapped_public_key") else { return };
    let key = kms.key(REGION);
    let other = HybridPrivateKey::generate().unwrap();
    for wrap in [KmsWrap::Direct, KmsWrap::DataKey] {
        let (_, wrapped) = wrapped(access(&kms.url(), &key), wrap);
        let (sort, fault) = fault(load(access(&kms.url(), &key), &other, &wrapped));
        assert_eq!(sort, Sort::Broken);
        match wrap {
            KmsWrap::Direct => assert!(matches!(fault, KmsFault::InvalidCiphertext { .. }), "{fault:?}"),
            KmsWrap::DataKey => {
                assert!(matches!(fault, KmsFault::Container(ContainerError::OtherKek { .. })), "{fault:?}");
            }
        }
    }
}

/// Without a context nothing stops KMS from decrypting the wrapping of another KEK. The public key does.
#[test]
fn refuses_the_unbound_wrapping_of_another_kek() {
    let Some(kms) = moto("refuses_the_unbound_wrapping_of_another_kek") else { return };
    let key = kms.key(REGION);
    let [mine, other] = [(); 2].map(|()| HybridPrivateKey::generate().unwrap());
    for (plaintext, expected) in [
        (other.dangerous_expose().as_slice(), None),
        (b"no key at all", Some(HybridPrivateKeyError::Length { found: 13 })),
    ] {
        let made = kms.ask(REGION, "Encrypt", &json!({ "KeyId": key, "Plaintext": base64(plaintext) }));
        let made = from_base64(made["CiphertextBlob"].as_str().unwrap());
        match load(access(&kms.url(), &key), &mine, &made) {
            Err(LoadError::WrongKey { source, .. }) => match expected {
                None => {
                    assert!(matches!(source, HybridPrivateKeyError::PublicKeyMismatch { .. }), "{source:?}");
                }
                Some(expected) => assert_eq!(source, expected),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// moto answers as if the credentials were not good enough; AWS has `IncorrectKeyException`.
#[test]
fn refuses_a_wrapping_of_another_kms_key() {
    let Some(kms) = moto("refuses_a_wrapping_of_another_kms_key") else { return };
    let [one, two] = [(); 2].map(|()| kms.key(REGION));
    for wrap in [KmsWrap::Direct, KmsWrap::DataKey] {
        let (private, wrapped) = wrapped(access(&kms.url(), &one), wrap);
        let (sort, fault) = fault(load(access(&kms.url(), &two), &private, &wrapped));
        assert_eq!(sort, Sort::Denied);
        assert!(matches!(fault, KmsFault::AccessDenied { action: KmsAction::Decrypt, .. }), "{fault:?}");
    }
}

#[test]
fn refuses_a_key_that_is_not_there_or_in_another_region() {
    let Some(kms) = moto("refuses_a_key_that_is_not_there_or_in_another_region") else { return };
    let arn = kms.key(REGION);
    let id = arn.rsplit('/').next().unwrap();
    let (private, wrapped) = wrapped(access(&kms.url(), &arn), KmsWrap::Direct);

    let elsewhere = "us-west-2";
    let mut there = access(&kms.url(), id);
    there.region = Some(elsewhere.to_owned());
    let (sort, found) = fault(load(there, &private, &wrapped));
    assert_eq!(sort, Sort::Broken);
    assert!(matches!(&found, KmsFault::NotFound { region, .. } if region == elsewhere), "{found:?}");
    let text = found.to_string();
    assert!(text.contains(id) && text.contains(elsewhere), "{text}");

    for name in
        ["alias/nothing-there", "00000000-0000-0000-0000-000000000000", &*arn.replace(REGION, elsewhere)]
    {
        let (sort, found) = fault(load(access(&kms.url(), name), &private, &wrapped));
        assert_eq!(sort, Sort::Broken, "{name}");
        assert!(matches!(found, KmsFault::NotFound { .. }), "{name}: {found:?}");
    }

    // An ARN says where its key is, whatever else is set.
    let mut wrong = access(&kms.url(), &arn);
    wrong.region = Some(elsewhere.to_owned());
    let (kek, log) = super::logs::capture(|| load(wrong, &private, &wrapped));
    kek.unwrap();
    assert!(log.contains(elsewhere) && log.contains("was not used"), "{log}");
}

#[test]
fn refuses_a_key_that_is_disabled_or_pending_deletion_and_opens_again_after() {
    let Some(kms) = ministack("refuses_a_key_that_is_disabled_or_pending_deletion_and_opens_again_after")
    else {
        return;
    };
    let key = kms.key(REGION);
    let mine = || access(&kms.url(), &key);
    let both = [KmsWrap::Direct, KmsWrap::DataKey].map(|wrap| wrapped(mine(), wrap));
    let change = |action: &str| kms.ask(REGION, action, &json!({ "KeyId": key }));

    change("DisableKey");
    for (private, wrapped) in &both {
        let (sort, fault) = fault(load(mine(), private, wrapped));
        assert_eq!(sort, Sort::Denied);
        assert!(matches!(fault, KmsFault::Disabled { .. }), "{fault:?}");
    }
    change("EnableKey");
    for (private, wrapped) in &both {
        super::assert_same(&load(mine(), private, wrapped).unwrap(), private);
    }
    kms.ask(REGION, "ScheduleKeyDeletion", &json!({ "KeyId": key, "PendingWindowInDays": 7 }));
    for (private, wrapped) in &both {
        let (sort, fault) = fault(load(mine(), private, wrapped));
        assert_eq!(sort, Sort::Denied);
        assert!(matches!(fault, KmsFault::PendingDeletion { .. }), "{fault:?}");
        assert!(fault.help().unwrap().contains("cancel-key-deletion"));
    }
    change("CancelKeyDeletion");
    change("EnableKey");
    for (private, wrapped) in &both {
        super::assert_same(&load(mine(), private, wrapped).unwrap(), private);
    }
}

/// The answers that no emulator gives, in the words of the KMS API reference.
#[test]
fn sorts_every_answer_of_the_api() {
    let Some(kms) = moto("sorts_every_answer_of_the_api") else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    type Expected = fn(&KmsFault) -> bool;
    let cases: &[(u16, &str, &str, Sort, Expected)] = &[
        (400, "IncorrectKeyException", "", Sort::Broken, |f| matches!(f, KmsFault::IncorrectKey { .. })),
        (400, "InvalidKeyUsageException", "", Sort::Broken, |f| matches!(f, KmsFault::KeyUsage { .. })),
        (400, "AccessDeniedException", "", Sort::Denied, |f| matches!(f, KmsFault::AccessDenied { .. })),
        (400, "UnrecognizedClientException", "", Sort::Denied, |f| {
            matches!(f, KmsFault::CredentialsRefused { .. })
        }),
        (400, "ExpiredTokenException", "", Sort::Denied, |f| {
            matches!(f, KmsFault::CredentialsRefused { .. })
        }),
        (400, "InvalidSignatureException", "", Sort::Denied, |f| matches!(f, KmsFault::Signature { .. })),
        (400, "DisabledException", "", Sort::Denied, |f| matches!(f, KmsFault::Disabled { .. })),
        (400, "KMSInvalidStateException", "arn is pending deletion.", Sort::Denied, |f| {
            matches!(f, KmsFault::PendingDeletion { .. })
        }),
        (400, "KMSInvalidStateException", "arn is pending import.", Sort::Denied, |f| {
            matches!(f, KmsFault::InvalidState { .. })
        }),
        (400, "NotFoundException", "", Sort::Broken, |f| matches!(f, KmsFault::NotFound { .. })),
        (400, "ValidationException", "", Sort::Broken, |f| matches!(f, KmsFault::Rejected { .. })),
        (400, "SomethingNewException", "", Sort::Broken, |f| matches!(f, KmsFault::Rejected { .. })),
    ];
    for &(status, code, message, sort, expected) in cases {
        let body = json!({ "__type": code, "message": format!("{message} SECRET-LOOKING-TEXT") }).to_string();
        let proxy = Proxy::before(kms.address(), move |_, _| {
            Fate::Answer(test_services::http::Message::answer(
                status,
                "application/x-amz-json-1.1",
                body.as_bytes(),
            ))
        });
        let (found_sort, found) = fault(load(access(&proxy.url(), &key), &private, &wrapped));
        assert!(found_sort == sort && expected(&found), "{code}: {found_sort:?} {found:?}");
        assert!(!format!("{found} {found:?} {:?}", found.help()).contains("SECRET"), "{found:?}");
        assert_eq!(proxy.seen().len(), 1, "{code} was asked for again");
    }
}

/// What is used up by a policy that demands the context is not blamed on the credentials.
#[test]
fn a_refused_second_try_does_not_hide_the_first_answer() {
    let Some(kms) = moto("a_refused_second_try_does_not_hide_the_first_answer") else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    let proxy = Proxy::before(kms.address(), |number, _| {
        let code = if number == 0 { "InvalidCiphertextException" } else { "AccessDeniedException" };
        let body = json!({ "__type": code }).to_string();
        Fate::Answer(test_services::http::Message::answer(400, "application/x-amz-json-1.1", body.as_bytes()))
    });
    let (sort, fault) = fault(load(access(&proxy.url(), &key), &private, &wrapped));
    assert_eq!(sort, Sort::Broken);
    assert!(matches!(fault, KmsFault::InvalidCiphertext { .. }), "{fault:?}");
    let contexts: Vec<_> = proxy
        .seen()
        .iter()
        .map(|seen| String::from_utf8_lossy(&seen.body).contains("EncryptionContext"))
        .collect();
    assert_eq!(contexts, [true, false]);
}

#[test]
fn refuses_a_data_key_of_another_length() {
    let Some(kms) = moto("refuses_a_data_key_of_another_length") else { return };
    let key = kms.key(REGION);
    let private = HybridPrivateKey::generate().unwrap();
    let context = json!({ "aegis:kek": private.public_key().key_id().to_string() });
    let made = kms.ask(
        REGION,
        "GenerateDataKey",
        &json!({ "KeyId": key, "KeySpec": "AES_128", "EncryptionContext": context }),
    );
    let blob = from_base64(made["CiphertextBlob"].as_str().unwrap());
    let data_key = aegis_crypto::Secret::random().unwrap();
    let container = Container::seal(&private, WrapMethod::KmsDataKey, &data_key, blob).unwrap();
    let (sort, fault) = fault(load(access(&kms.url(), &key), &private, &container.to_bytes()));
    assert_eq!(sort, Sort::Unavailable);
    let odd = matches!(fault, KmsFault::Unexpected { oddity: Oddity::Length { found: 16, .. }, .. });
    assert!(odd, "{fault:?}");
}
