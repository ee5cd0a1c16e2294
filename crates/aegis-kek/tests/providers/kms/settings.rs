//! What is refused before anybody is asked.

use std::time::Duration;

use aegis_crypto::{HybridPrivateKey, Secret};
use aegis_kek::aws_kms::{KmsAccess, KmsSettingsError, Patience, StaticCredentials};
use aegis_kek::{
    AwsKmsKekProvider, AwsKmsSettings, Container, ContainerError, KekProvider as _, ProviderKind, SecretText,
    SettingsError, VariableFault, Variables, WrapMethod,
};

use super::forms::base64;

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn new(access: KmsAccess, wrapped: &[u8]) -> Result<AwsKmsKekProvider, KmsSettingsError> {
    let public_key = HybridPrivateKey::generate().unwrap().public_key().clone();
    AwsKmsKekProvider::new(AwsKmsSettings { access, wrapped_private_key: wrapped.to_vec(), public_key })
}

#[test]
fn refuses_settings_that_cannot_be_right() {
    use KmsSettingsError as E;
    type Break = fn(&mut KmsAccess);
    let cases: &[(Break, E)] = &[
        (|access| access.kms_key_id = String::new(), E::KeyNameLength { found: 0 }),
        (|access| access.kms_key_id = "k".repeat(2049), E::KeyNameLength { found: 2049 }),
        (|access| access.kms_key_id = "alias/a\u{7f}".to_owned(), E::KeyNameCharacter { found: '\u{7f}' }),
        (|access| access.kms_key_id = "alias/".to_owned(), E::KeyNameShape),
        (|access| access.kms_key_id = "arn:aws:s3:::bucket".to_owned(), E::KeyArn),
        (|access| access.region = Some(String::new()), E::Region),
        (|access| access.region = Some("eu-central-1.example.com/".to_owned()), E::Region),
        (|access| access.endpoint = Some(String::new()), E::Endpoint),
        (|access| access.endpoint = Some("127.0.0.1:4566".to_owned()), E::Endpoint),
        (|access| access.endpoint = Some("ftp://127.0.0.1".to_owned()), E::Endpoint),
        (|access| access.endpoint = Some("https://".to_owned()), E::Endpoint),
        (|access| access.endpoint = Some("https://a b".to_owned()), E::Endpoint),
        (|access| access.endpoint = Some("https://me:secret@host".to_owned()), E::Endpoint),
        (|access| access.endpoint = Some("https://host\r\nX: y".to_owned()), E::Endpoint),
        (|access| access.endpoint = Some(format!("https://{}", "h".repeat(2048))), E::Endpoint),
        (
            |access| {
                access.credentials = Some(StaticCredentials {
                    access_key_id: "id".to_owned(),
                    secret_access_key: SecretText::new(""),
                    session_token: None,
                });
            },
            E::EmptyCredentials,
        ),
        (|access| access.patience = Patience { attempts: 0, ..Patience::default() }, E::Patience),
        (|access| access.patience = Patience { attempts: 11, ..Patience::default() }, E::Patience),
        (|access| access.patience = Patience { attempt: Duration::ZERO, ..Patience::default() }, E::Patience),
        (|access| access.patience = Patience { call: Duration::MAX, ..Patience::default() }, E::Patience),
    ];
    for (number, (damage, expected)) in cases.iter().enumerate() {
        let mut access = KmsAccess::new(ARN);
        assert!(new(KmsAccess::new(ARN), &[1; 2496]).is_ok());
        damage(&mut access);
        let error = new(access, &[1; 2496]).map(|_| ()).unwrap_err();
        assert_eq!(error, *expected, "case {number}");
        assert!(error.help().is_some());
    }
}

#[test]
fn refuses_a_wrapping_that_kms_never_made() {
    use KmsSettingsError as E;
    let private = HybridPrivateKey::generate().unwrap();
    let key = Secret::random().unwrap();
    let by_hsm = Container::seal(&private, WrapMethod::Rfc5649, &key, vec![7; 40]).unwrap().to_bytes();
    let mut cut = Container::seal(&private, WrapMethod::KmsDataKey, &key, vec![7; 184]).unwrap().to_bytes();
    cut.pop();
    for (wrapped, expected) in [
        (vec![], E::WrappedLength { found: 0 }),
        (vec![1; 6145], E::WrappedLength { found: 6145 }),
        (by_hsm, E::OtherDevice { method: WrapMethod::Rfc5649 }),
        (cut.clone(), E::Container(ContainerError::Length { found: cut.len(), expected: cut.len() + 1 })),
    ] {
        assert_eq!(new(KmsAccess::new(ARN), &wrapped).map(|_| ()), Err(expected));
    }
    assert!(new(KmsAccess::new(ARN), &[1; 6144]).is_ok());
}

#[test]
fn names_every_variable_that_is_missing_at_once() {
    let private = HybridPrivateKey::generate().unwrap();
    let public = base64(private.public_key().as_bytes());
    let all = [
        ("AEGIS_KMS_KEY_ID", ARN),
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", "AQID"),
        ("AEGIS_MASTER_KEK_PUBLIC", &*public),
    ];
    let kind = ProviderKind::AwsKms;
    for set in 0..8_u8 {
        let (given, missing): (Vec<_>, Vec<_>) =
            all.into_iter().enumerate().partition(|(number, _)| set & (1 << number) != 0);
        let variables = Variables::of_pairs(given.iter().map(|(_, pair)| *pair));
        let made = AwsKmsKekProvider::from_environment(&variables);
        let names: Vec<_> = missing.iter().map(|(_, (name, _))| *name).collect();
        match made {
            Ok(provider) => {
                assert!(names.is_empty());
                assert_eq!(provider.public_key(), private.public_key());
            }
            Err(error) => assert!(
                matches!(&error, SettingsError::Missing { kind: found, names: missing } if *found == kind && *missing == names),
                "{error:?}"
            ),
        }
    }
}

#[test]
fn names_the_variable_that_cannot_be_used() {
    let private = HybridPrivateKey::generate().unwrap();
    let public = base64(private.public_key().as_bytes());
    let with = |name: &str, value: &str| {
        let good = [
            ("AEGIS_KMS_KEY_ID", ARN),
            ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", "AQ\r\n ID\n"),
            ("AEGIS_MASTER_KEK_PUBLIC", &*public),
        ];
        let good = good.into_iter().filter(|(found, _)| *found != name);
        AwsKmsKekProvider::from_environment(&Variables::of_pairs(good.chain([(name, value)]))).map(|_| ())
    };
    with("UNRELATED", "").unwrap();
    let too_long = "A".repeat(6144 / 3 * 4 + 4);
    for (name, value, fault) in [
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", "AQI", VariableFault::Base64End),
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", "AQ!D", VariableFault::Base64Character { position: 3 }),
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", &*too_long, VariableFault::TooManyBytes { limit: 6144 }),
        ("AEGIS_KMS_ALLOW_PLAIN_HTTP", "yes", VariableFault::NotAFlag),
    ] {
        match with(name, value) {
            Err(SettingsError::Malformed { kind: ProviderKind::AwsKms, source }) => {
                assert_eq!(source, fault.of(name));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    for (name, value, expected) in [
        ("AEGIS_KMS_KEY_ID", "alias/", KmsSettingsError::KeyNameShape),
        ("AWS_REGION", "EU Central", KmsSettingsError::Region),
        ("AWS_ENDPOINT_URL_KMS", "localhost:4566", KmsSettingsError::Endpoint),
        ("AWS_ACCESS_KEY_ID", "half", KmsSettingsError::HalfCredentials),
        ("AWS_SECRET_ACCESS_KEY", "half", KmsSettingsError::HalfCredentials),
    ] {
        match with(name, value) {
            Err(SettingsError::Kms(error)) => assert_eq!(error, expected),
            other => panic!("{name}: {other:?}"),
        }
    }
}
