//! Provision, encrypt, rotate the DEK, rotate the KEK to another provider, decrypt everything: for every pair of providers,
//! three times in a row in one keyring, each against its real counterpart.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use aegis_crypto::{AssociatedData, HybridPrivateKey, Purpose, open, seal};
use aegis_kek::aws_kms::{self, AwsKmsSettings, KmsAccess, KmsWrap, StaticCredentials};
use aegis_kek::pkcs11::{self, HsmSettings, HsmToken, HsmWrap};
use aegis_kek::{
    AwsKmsKekProvider, EnvironmentKekProvider, FileKekProvider, HsmKekProvider, InMemoryKekProvider, Kek,
    KekProvider, Passphrase, PassphraseSource, ProviderKind, SecretText,
};
use aegis_keyring::clock::SystemClock;
use aegis_keyring::{
    DekVersion, Grace, KekRotation, KekRotationOptions, Keyring, Retired, Scope, SqliteStore,
};
use test_services::kms::{Kms, REGION};
use test_services::tokens::{self, Maker, PIN, Token};

/// Rounds in one keyring: there, back, and there again, each time to a new KEK.
const ROUNDS: usize = 3;

#[test]
fn every_kek_provider_can_follow_every_other_one_and_nothing_becomes_unreadable() {
    tokens::on(Maker::SoftHsm2, |token| {
        let Some(kms) = Kms::moto() else { return };
        let makers = Makers { token, kms_key: kms.key(REGION), kms: &kms };
        pkcs11::generate_wrapping_key(&makers.hsm_token()).unwrap();
        for from in ProviderKind::ALL {
            for to in ProviderKind::ALL {
                pair(&makers, from, to);
            }
        }
    });
}

/// What was sealed, and under which DEK.
struct Sealed {
    version: DekVersion,
    boxed: Vec<u8>,
    text: String,
}

fn pair(makers: &Makers<'_>, from: ProviderKind, to: ProviderKind) {
    let dir = test_services::scratch::dir();
    let keyring_file = dir.path().join("keyring.sqlite");
    let what = format!("{from} to {to}");
    let mut current = makers.provision(from, &dir.path().join("first.age"));
    let mut sealed = Vec::new();
    let scope = Scope::default();
    {
        let keyring = open_keyring(&keyring_file);
        keyring.enrol_first_kek(&current.load().unwrap(), from).unwrap();
        keyring.create(&scope).unwrap();
    }
    for round in 0..ROUNDS {
        // Opened anew each time, as after a restart.
        let keyring = open_keyring(&keyring_file);
        sealed.push(seal_under_active(&keyring, &scope, &format!("{what}, {round}, before")));
        keyring.rotate(&scope).unwrap();
        sealed.push(seal_under_active(&keyring, &scope, &format!("{what}, {round}, after")));

        let kind = if round % 2 == 0 { to } else { from };
        let next = makers.provision(kind, &dir.path().join(format!("{round}.age")));
        let old = current.load().unwrap();
        let new = next.load().unwrap();
        let options = KekRotationOptions::default();
        let rotation = KekRotation::new(&keyring, &old, &new, kind, options);
        let rotated = rotation.run(&mut |_| ControlFlow::Continue(())).unwrap();
        assert!(rotated.switched_now, "{what}, round {round}");

        // In the grace period either KEK opens everything; afterwards the new one does.
        decrypt_all(&keyring, &old, &sealed, &what);
        decrypt_all(&keyring, &new, &sealed, &what);
        keyring
            .retire_kek(old.key_id(), &new, Grace::CutShort, &options, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        decrypt_all(&keyring, &new, &sealed, &what);
        for Sealed { version, .. } in &sealed {
            assert!(keyring.open(*version, &old, Retired::Refuse).is_err(), "{what}: {version}");
        }
        current = next;
    }
    // And once more with nothing but what a restart has.
    let loaded = current.load().unwrap();
    decrypt_all(&open_keyring(&keyring_file), &loaded, &sealed, &what);
    assert_eq!(sealed.len(), 2 * ROUNDS);
}

fn open_keyring(file: &Path) -> Keyring {
    Keyring::new(Arc::new(SqliteStore::open(file).unwrap()), Arc::new(SystemClock))
}

fn bound_to(version: DekVersion) -> AssociatedData {
    AssociatedData::new([b"pairs".as_slice(), version.to_string().as_bytes()])
}

fn seal_under_active(keyring: &Keyring, scope: &Scope, text: &str) -> Sealed {
    let active = keyring.active(scope).unwrap();
    let boxed = seal(&active.public_key, Purpose::Field, &bound_to(active.version), text.as_bytes()).unwrap();
    Sealed { version: active.version, boxed, text: text.to_owned() }
}

fn decrypt_all(keyring: &Keyring, kek: &Kek, sealed: &[Sealed], what: &str) {
    for Sealed { version, boxed, text } in sealed {
        let dek = keyring.open(*version, kek, Retired::Refuse).unwrap_or_else(|error| {
            panic!("{what}: {version} does not open: {error:?}");
        });
        let opened = open(dek.private_key(), Purpose::Field, &bound_to(*version), boxed).unwrap();
        assert_eq!(opened.as_slice(), text.as_bytes(), "{what}");
    }
}

/// Makes KEKs, each with its real counterpart.
struct Makers<'a> {
    token: &'a Token,
    kms: &'a Kms,
    kms_key: String,
}

impl Makers<'_> {
    fn provision(&self, kind: ProviderKind, file: &Path) -> Box<dyn KekProvider> {
        let private = HybridPrivateKey::generate().unwrap();
        let public_key = private.public_key().clone();
        match kind {
            ProviderKind::AwsKms => {
                let wrapped_private_key =
                    aws_kms::provision(self.kms_access(), &private, KmsWrap::Direct).unwrap();
                let settings = AwsKmsSettings { access: self.kms_access(), wrapped_private_key, public_key };
                Box::new(AwsKmsKekProvider::new(settings).unwrap())
            }
            ProviderKind::Hsm => {
                let wrapped_private_key =
                    pkcs11::provision(&self.hsm_token(), &private, HsmWrap::TwoStep).unwrap();
                let settings = HsmSettings { token: self.hsm_token(), wrapped_private_key, public_key };
                Box::new(HsmKekProvider::new(settings).unwrap())
            }
            ProviderKind::Environment => {
                let bytes = private.dangerous_expose();
                Box::new(EnvironmentKekProvider::new(&public_key, bytes).unwrap())
            }
            ProviderKind::File => {
                let passphrase = || Passphrase::new("three people know this").unwrap();
                FileKekProvider::create(file, &passphrase(), &private).unwrap();
                Box::new(FileKekProvider::open(file, PassphraseSource::Given(passphrase())).unwrap())
            }
            ProviderKind::InMemory => Box::new(InMemoryKekProvider::generate().unwrap()),
        }
    }

    fn kms_access(&self) -> KmsAccess {
        KmsAccess {
            region: Some(REGION.to_owned()),
            endpoint: Some(self.kms.url()),
            credentials: Some(StaticCredentials {
                access_key_id: "test".to_owned(),
                secret_access_key: SecretText::new("test"),
                session_token: None,
            }),
            ..KmsAccess::new(self.kms_key.clone())
        }
    }

    fn hsm_token(&self) -> HsmToken {
        HsmToken {
            module: self.token.module(),
            token_label: self.token.maker().label().to_owned(),
            wrapping_key_label: "pairs".to_owned(),
            pin: pkcs11::Pin::new(PIN, "the test").unwrap(),
            session_pool_size: pkcs11::DEFAULT_SESSION_POOL_SIZE,
            answer_within: pkcs11::DEFAULT_ANSWER_WITHIN,
            mechanism: None,
            init_args: self.token.init_args(),
        }
    }
}
