//! AWS KMS, against emulators that encrypt for real. Which of them shows what: `test_services::kms`.

#![allow(
    clippy::print_stdout,
    clippy::type_complexity,
    reason = "a child process says what it found; tables of cases"
)]

mod chain;
mod conformance;
mod forms;
mod logs;
mod network;
mod permissions;
mod refusals;
mod settings;
mod tls;

use std::error::Error;
use std::sync::LazyLock;

use aegis_crypto::HybridPrivateKey;
use aegis_kek::aws_kms::{KmsAccess, KmsWrap, StaticCredentials, provision};
use aegis_kek::{
    AwsKmsKekProvider, AwsKmsSettings, Kek, KekProvider as _, KmsFault, LoadError, ProviderFault, SecretText,
};
use test_services::kms::{Kms, Moto, REGION, User};
use test_services::tools;

/// moto, which takes any credentials.
pub(crate) fn moto(test: &str) -> Option<&'static Kms> {
    static MOTO: LazyLock<Option<Kms>> = LazyLock::new(Kms::moto);
    found(test, MOTO.as_ref())
}

/// moto, which checks signatures and permissions.
fn strict_moto(test: &str) -> Option<&'static Moto> {
    static MOTO: LazyLock<Option<Moto>> = LazyLock::new(Moto::with_permissions);
    found(test, MOTO.as_ref())
}

/// ministack, which knows the states of keys.
fn ministack(test: &str) -> Option<&'static Kms> {
    static MINISTACK: LazyLock<Option<Kms>> = LazyLock::new(Kms::ministack);
    found(test, MINISTACK.as_ref())
}

fn found<T>(test: &str, server: Option<T>) -> Option<T> {
    if server.is_none() {
        tools::skip(test, "no test Python; `cargo xtask setup` makes one");
    }
    server
}

/// A key of an emulator, as anybody.
pub(crate) fn access(url: &str, key: &str) -> KmsAccess {
    KmsAccess {
        region: Some(REGION.to_owned()),
        endpoint: Some(url.to_owned()),
        credentials: Some(StaticCredentials {
            access_key_id: "test".to_owned(),
            secret_access_key: SecretText::new("test"),
            session_token: None,
        }),
        ..KmsAccess::new(key)
    }
}

/// A key of an emulator, as one of its users.
fn access_as(url: &str, key: &str, user: &User) -> KmsAccess {
    KmsAccess {
        credentials: Some(StaticCredentials {
            access_key_id: user.access_key_id.clone(),
            secret_access_key: SecretText::new(&user.secret_access_key),
            session_token: None,
        }),
        ..access(url, key)
    }
}

/// A new KEK, wrapped.
fn wrapped(access: KmsAccess, wrap: KmsWrap) -> (HybridPrivateKey, Vec<u8>) {
    let private = HybridPrivateKey::generate().unwrap();
    let wrapped = provision(access, &private, wrap).unwrap();
    (private, wrapped)
}

fn provider(access: KmsAccess, private: &HybridPrivateKey, wrapped: &[u8]) -> AwsKmsKekProvider {
    let public_key = private.public_key().clone();
    AwsKmsKekProvider::new(AwsKmsSettings { access, wrapped_private_key: wrapped.to_vec(), public_key })
        .unwrap()
}

fn load(access: KmsAccess, private: &HybridPrivateKey, wrapped: &[u8]) -> Result<Kek, LoadError> {
    provider(access, private, wrapped).load()
}

#[track_caller]
fn assert_same(kek: &Kek, private: &HybridPrivateKey) {
    assert!(kek.private_key().dangerous_expose() == private.dangerous_expose(), "another private key");
}

/// Which of the three sorts a fault is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Unavailable,
    Denied,
    Broken,
}

/// What KMS said, and how it was sorted. Also checks that each message has help, and that it is one line.
#[track_caller]
fn fault(loaded: Result<Kek, LoadError>) -> (Sort, KmsFault) {
    let error = loaded.expect_err("it was not refused");
    assert!(error.help().is_some(), "{error:?} has no help");
    let mut next: Option<&dyn Error> = Some(&error);
    while let Some(error) = next {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains(char::is_control) && text.len() < 600, "{text:?}");
        next = error.source();
    }
    let (sort, source) = match error {
        LoadError::Unavailable { source, .. } => (Sort::Unavailable, source),
        LoadError::Denied { source, .. } => (Sort::Denied, source),
        LoadError::Broken { source, .. } => (Sort::Broken, source),
        LoadError::WrongKey { source, .. } => panic!("unwrapped another key: {source}"),
    };
    match source {
        ProviderFault::Kms(fault) => (sort, fault),
        #[allow(unreachable_patterns, reason = "depends on which providers are built")]
        other => panic!("not of KMS: {other}"),
    }
}
