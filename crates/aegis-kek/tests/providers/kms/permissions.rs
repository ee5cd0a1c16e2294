//! Credentials that are not good enough, against a server that checks signatures and permissions.

use aegis_crypto::HybridPrivateKey;
use aegis_kek::KmsFault;
use aegis_kek::aws_kms::{KmsAction, KmsProvisionError, KmsWrap, provision};
use test_services::kms::User;

use super::{Sort, access_as, assert_same, fault, load, strict_moto, wrapped};

#[test]
fn who_may_use_the_key_loads_it() {
    let Some(moto) = strict_moto("who_may_use_the_key_loads_it") else { return };
    for wrap in [KmsWrap::Direct, KmsWrap::DataKey] {
        let mine = || access_as(&moto.kms.url(), &moto.key, &moto.allowed);
        let (private, wrapped) = wrapped(mine(), wrap);
        assert_same(&load(mine(), &private, &wrapped).unwrap(), &private);
    }
}

#[test]
fn refuses_who_may_not_decrypt() {
    let Some(moto) = strict_moto("refuses_who_may_not_decrypt") else { return };
    let (private, wrapped) = wrapped(access_as(&moto.kms.url(), &moto.key, &moto.allowed), KmsWrap::Direct);
    for user in [&moto.encrypts_only, &moto.nobody] {
        let (sort, fault) = fault(load(access_as(&moto.kms.url(), &moto.key, user), &private, &wrapped));
        assert_eq!(sort, Sort::Denied);
        assert!(matches!(fault, KmsFault::AccessDenied { action: KmsAction::Decrypt, .. }), "{fault:?}");
        assert!(fault.to_string().contains(&moto.key) && fault.help().unwrap().contains("kms:Decrypt"));
    }
}

#[test]
fn provisioning_names_the_permission_that_is_missing() {
    let Some(moto) = strict_moto("provisioning_names_the_permission_that_is_missing") else { return };
    let private = HybridPrivateKey::generate().unwrap();
    for (user, wrap, expected) in [
        (&moto.nobody, KmsWrap::Direct, KmsAction::Encrypt),
        (&moto.nobody, KmsWrap::DataKey, KmsAction::GenerateDataKey),
        // It could be wrapped, and never be unwrapped again.
        (&moto.encrypts_only, KmsWrap::Direct, KmsAction::Decrypt),
        (&moto.encrypts_only, KmsWrap::DataKey, KmsAction::Decrypt),
    ] {
        match provision(access_as(&moto.kms.url(), &moto.key, user), &private, wrap) {
            Err(KmsProvisionError::Kms(KmsFault::AccessDenied { action, .. })) => {
                assert_eq!(action, expected);
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn tells_a_wrong_secret_from_unknown_credentials() {
    let Some(moto) = strict_moto("tells_a_wrong_secret_from_unknown_credentials") else { return };
    let (private, wrapped) = wrapped(access_as(&moto.kms.url(), &moto.key, &moto.allowed), KmsWrap::Direct);
    let wrong = User { secret_access_key: "not+the/secret".to_owned(), ..moto.allowed.clone() };
    let (sort, found) = fault(load(access_as(&moto.kms.url(), &moto.key, &wrong), &private, &wrapped));
    assert_eq!(sort, Sort::Denied);
    assert!(matches!(found, KmsFault::Signature { action: KmsAction::Decrypt, .. }), "{found:?}");
    assert!(!format!("{found}{found:?}").contains("not+the/secret"));

    let unknown = User { access_key_id: "AKIAUNKNOWNUNKNOWN12".to_owned(), ..moto.allowed.clone() };
    let (sort, found) = fault(load(access_as(&moto.kms.url(), &moto.key, &unknown), &private, &wrapped));
    assert_eq!(sort, Sort::Denied);
    assert!(matches!(found, KmsFault::CredentialsRefused { .. }), "{found:?}");
}
