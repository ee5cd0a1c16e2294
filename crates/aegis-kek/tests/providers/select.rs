//! Which provider is taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use aegis_crypto::HybridPrivateKey;
use aegis_kek::{
    EnvironmentKekProvider, FileKekProvider, KekProvider, Passphrase, ProviderKind, SelectError,
    SettingsError, UnknownProvider, VariableFault, Variables, VariablesFile, get_kek_provider,
    master_public_key,
};
use base64ct::{Base64, Encoding};
use test_services::scratch;

use crate::watch::{Watch, chain, private_parts};

const PUBLIC: &str = "AEGIS_MASTER_KEK_PUBLIC";
const PRIVATE: &str = "AEGIS_MASTER_KEK_PRIVATE";
const FILE: &str = "AEGIS_KEK_FILE";
const DURABLE: &str = "AEGIS_REQUIRE_DURABLE_KEK";

/// A key, and the two variables of the guide that hold it.
fn environment() -> (HybridPrivateKey, VariablesFile) {
    let key = HybridPrivateKey::generate().unwrap();
    let settings = EnvironmentKekProvider::provision(&key);
    (key, settings)
}

fn with(settings: &VariablesFile, more: &[(&str, &str)]) -> Variables {
    let mut all: Vec<_> = settings.iter().map(|(name, value)| (name, value.expose())).collect();
    all.extend(more);
    Variables::of_pairs(all)
}

/// `unwrap_err` would have to show a provider.
#[track_caller]
fn refused(taken: Result<Box<dyn KekProvider>, SelectError>) -> SelectError {
    match taken {
        Ok(provider) => panic!("{} was taken", provider.kind()),
        Err(error) => error,
    }
}

#[track_caller]
fn missing(error: SelectError) -> (ProviderKind, Vec<&'static str>) {
    match error {
        SelectError::Settings(SettingsError::Missing { kind, names }) => (kind, names),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_names_are_those_of_the_guide() {
    let names = ProviderKind::ALL.map(ProviderKind::as_str);
    assert_eq!(names, ["kms", "hsm", "environment", "file", "in_memory"]);
    for kind in ProviderKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    for name in ["", "KMS", "aws", "in-memory", "memory", "env", " kms"] {
        let error = refused(get_kek_provider(Some(name), &Variables::of_pairs([])));
        assert!(error.to_string().contains("in_memory") && error.help().is_some());
        assert!(matches!(error, SelectError::Unknown(UnknownProvider { name: given }) if given == name));
    }
    let long = "x".repeat(100_000);
    assert!(refused(get_kek_provider(Some(&long), &Variables::of_pairs([]))).to_string().len() < 200);
}

/// What is configured does not fall through to what this build has.
#[cfg(not(any(feature = "kms", feature = "hsm")))]
#[test]
fn a_provider_that_was_not_built_is_an_error() {
    let (_, settings) = environment();
    for (name, value, kind) in [
        ("AEGIS_KMS_KEY_ID", "alias/aegis", ProviderKind::AwsKms),
        ("AEGIS_HSM_PKCS11_LIB", "/lib/p11.so", ProviderKind::Hsm),
    ] {
        for taken in [
            get_kek_provider(None, &with(&settings, &[(name, value)])),
            get_kek_provider(Some(kind.as_str()), &with(&settings, &[])),
        ] {
            let error = refused(taken);
            assert!(error.help().is_some());
            assert!(matches!(error, SelectError::NotBuilt { kind: found } if found == kind), "{error:?}");
        }
    }
}

#[cfg(all(feature = "kms", feature = "hsm"))]
#[test]
fn a_forced_provider_names_every_variable_that_is_missing() {
    let none = Variables::of_pairs([]);
    let cases: [(&str, ProviderKind, &[&str]); 4] = [
        (
            "kms",
            ProviderKind::AwsKms,
            &["AEGIS_KMS_KEY_ID", "AEGIS_KMS_WRAPPED_PRIVATE_KEY", "AEGIS_MASTER_KEK_PUBLIC"],
        ),
        (
            "hsm",
            ProviderKind::Hsm,
            &[
                "AEGIS_HSM_PKCS11_LIB",
                "AEGIS_HSM_TOKEN_LABEL",
                "AEGIS_HSM_PIN",
                "AEGIS_HSM_WRAPPING_KEY_LABEL",
                "AEGIS_HSM_WRAPPED_PRIVATE_KEY",
                "AEGIS_MASTER_KEK_PUBLIC",
            ],
        ),
        ("environment", ProviderKind::Environment, &[PUBLIC, PRIVATE]),
        ("file", ProviderKind::File, &[FILE]),
    ];
    for (name, kind, names) in cases {
        let error = refused(get_kek_provider(Some(name), &none));
        let text = error.to_string();
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
        assert!(error.help().is_some());
        assert_eq!(missing(error), (kind, names.to_vec()));
    }
}

#[test]
fn in_memory_can_be_asked_for() {
    let provider = get_kek_provider(Some("in_memory"), &Variables::of_pairs([])).unwrap();
    assert_eq!(provider.kind(), ProviderKind::InMemory);
    // Not the one that is configured.
    let (key, settings) = environment();
    let provider = get_kek_provider(Some("in_memory"), &settings.into_variables()).unwrap();
    assert_ne!(provider.public_key(), key.public_key());
}

#[test]
fn takes_the_first_that_is_configured() {
    let (key, settings) = environment();
    let provider = get_kek_provider(None, &with(&settings, &[])).unwrap();
    assert_eq!((provider.kind(), provider.public_key()), (ProviderKind::Environment, key.public_key()));

    let dir = scratch::dir();
    let path = dir.path().join("kek");
    let file_key = HybridPrivateKey::generate().unwrap();
    FileKekProvider::create(&path, &Passphrase::new("x").unwrap(), &file_key).unwrap();
    let path = path.to_str().unwrap();
    let provider = get_kek_provider(None, &Variables::of_pairs([(FILE, path)])).unwrap();
    assert_eq!((provider.kind(), provider.public_key()), (ProviderKind::File, file_key.public_key()));
    // Both: the order decides, and the log names the other.
    let watch = Watch::start();
    let provider = get_kek_provider(None, &with(&settings, &[(FILE, path)])).unwrap();
    assert_eq!(provider.kind(), ProviderKind::Environment);
    let logged = watch.logged();
    let line = logged.lines().find(|line| line.contains("configured too, and not taken")).unwrap();
    assert!(line.contains("provider=\"file\"") && line.contains(FILE) && line.contains("WARN"), "{line}");
    let provider = get_kek_provider(Some("environment"), &with(&settings, &[(FILE, path)])).unwrap();
    assert_eq!(provider.kind(), ProviderKind::Environment);
}

#[cfg(all(feature = "kms", feature = "hsm"))]
#[test]
fn kms_comes_before_all_others_and_the_log_names_them() {
    let (key, settings) = environment();
    let data_key = aegis_crypto::Secret::random().unwrap();
    let wrapped =
        aegis_kek::Container::seal(&key, aegis_kek::WrapMethod::KmsDataKey, &data_key, vec![1; 184]).unwrap();
    let wrapped = Base64::encode_string(&wrapped.to_bytes());
    let variables = with(
        &settings,
        &[
            ("AEGIS_KMS_KEY_ID", "alias/aegis"),
            ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", &wrapped),
            ("AEGIS_HSM_PIN", "a pin that is not shown"),
            (FILE, "/no/such/file"),
        ],
    );
    let watch = Watch::start();
    let provider = get_kek_provider(None, &variables).unwrap();
    assert_eq!((provider.kind(), provider.public_key()), (ProviderKind::AwsKms, key.public_key()));
    let id = key.public_key().key_id().to_string();
    let logged = watch.logged();
    let taken = logged.lines().find(|line| line.contains(&id)).unwrap();
    assert!(taken.contains("provider=\"kms\"") && taken.contains("AEGIS_KMS_WRAPPED_PRIVATE_KEY"), "{taken}");
    for other in
        ["hsm\" variables=\"AEGIS_HSM_PIN", "environment\" variables=\"AEGIS_MASTER_KEK_PRIVATE", "file\""]
    {
        let said = format!("configured too, and not taken: kms comes before it provider=\"{other}");
        assert!(logged.contains(&said), "{said}");
    }
    watch.assert_shows_none_of(&[b"a pin that is not shown".to_vec()], "");
}

#[test]
fn says_what_it_took_and_why_not_the_others() {
    let watch = Watch::start();
    let (key, settings) = environment();
    get_kek_provider(None, &with(&settings, &[])).unwrap();
    let logged = watch.logged();
    let id = key.public_key().key_id().to_string();
    let taken = logged.lines().find(|line| line.contains(&id)).unwrap();
    assert!(
        taken.contains("INFO") && taken.contains("provider=\"environment\"") && taken.contains(PRIVATE),
        "{taken}"
    );
    for passed_over in ["kms", "hsm"] {
        let said = format!("passed over: none of its variables is set provider=\"{passed_over}\"");
        assert!(logged.contains(&said), "{logged}");
    }
    watch.assert_shows_none_of(&private_parts(&key), "");
}

#[test]
fn falls_back_to_memory_aloud() {
    let watch = Watch::start();
    let provider = get_kek_provider(None, &Variables::of_pairs([])).unwrap();
    assert_eq!(provider.kind(), ProviderKind::InMemory);
    let id = provider.public_key().key_id().to_string();
    let logged = watch.logged();
    let line = logged.lines().find(|line| line.contains(&id)).unwrap();
    assert!(
        line.contains("WARN") && line.contains("CAN NEVER BE READ AGAIN") && line.contains(DURABLE),
        "{line}"
    );
    assert!(logged.contains("passed over: none of its variables is set provider=\"file\""));
}

#[test]
fn never_falls_back_to_memory_where_a_key_must_last() {
    for name in [None, Some("in_memory")] {
        let error = refused(get_kek_provider(name, &Variables::of_pairs([(DURABLE, "1")])));
        assert!(matches!(error, SelectError::NotDurable) && error.help().is_some());
        assert!(error.to_string().contains(DURABLE));
        for value in ["0", ""] {
            get_kek_provider(name, &Variables::of_pairs([(DURABLE, value)])).unwrap();
        }
        for value in ["true", "yes", "2", "01", " "] {
            let error = refused(get_kek_provider(name, &Variables::of_pairs([(DURABLE, value)])));
            assert!(matches!(
                error,
                SelectError::Variable(error) if error == VariableFault::NotAFlag.of(DURABLE)
            ));
        }
    }
    let (_, settings) = environment();
    get_kek_provider(None, &with(&settings, &[(DURABLE, "1")])).unwrap();
    // A slip shows at once, not on the day on which it matters.
    assert!(matches!(
        refused(get_kek_provider(None, &with(&settings, &[(DURABLE, "on")]))),
        SelectError::Variable(_)
    ));
}

#[cfg(all(feature = "kms", feature = "hsm"))]
#[test]
fn what_is_configured_and_broken_is_never_passed_over() {
    let (_, settings) = environment();
    // Each of these alone, and beside a provider that would work.
    let broken = [
        ("AEGIS_KMS_KEY_ID", "alias/aegis", ProviderKind::AwsKms),
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", "AAAA", ProviderKind::AwsKms),
        ("AEGIS_KMS_KEYID", "misspelt", ProviderKind::AwsKms),
        ("AEGIS_HSM_PKCS11_LIB", "/no/such/library.so", ProviderKind::Hsm),
        ("AEGIS_HSM_PIN", "1234", ProviderKind::Hsm),
        ("AEGIS_HSM_TOKEN", "misspelt", ProviderKind::Hsm),
    ];
    for (name, value, expected) in broken {
        for variables in [Variables::of_pairs([(name, value)]), with(&settings, &[(name, value)])] {
            let (kind, names) = missing(refused(get_kek_provider(None, &variables)));
            assert_eq!(kind, expected, "{name}");
            assert!(!names.is_empty() && !names.contains(&name));
        }
    }
}

#[test]
fn a_private_key_or_key_file_that_cannot_be_used_is_never_passed_over() {
    let (kind, names) = missing(refused(get_kek_provider(None, &Variables::of_pairs([(PRIVATE, "AAAA")]))));
    assert_eq!((kind, names), (ProviderKind::Environment, vec![PUBLIC]));
    let dir = scratch::dir();
    let path = dir.path().join("kek");
    let path = path.to_str().unwrap();
    let absent = refused(get_kek_provider(None, &Variables::of_pairs([(FILE, path)])));
    assert!(matches!(absent, SelectError::Settings(SettingsError::KekFile(_))), "{absent:?}");
    assert!(chain(&absent).contains(path) && absent.help().is_some());
    fs::write(path, "not a key file").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let damaged = refused(get_kek_provider(None, &Variables::of_pairs([(FILE, path)])));
    assert!(matches!(damaged, SelectError::Settings(SettingsError::KekFile(_))), "{damaged:?}");
}

#[test]
fn a_public_key_alone_is_no_provider() {
    let key = HybridPrivateKey::generate().unwrap();
    let public = Base64::encode_string(key.public_key().as_bytes());
    for value in [public.as_str(), "?"] {
        let error = refused(get_kek_provider(None, &Variables::of_pairs([(PUBLIC, value)])));
        assert!(matches!(error, SelectError::PublicKeyAlone), "{error:?}");
        assert!(error.to_string().contains(PUBLIC) && error.help().unwrap().contains("master_public_key"));
    }
    // It is all that sealing needs.
    assert_eq!(master_public_key(&Variables::of_pairs([(PUBLIC, &*public)])).unwrap(), *key.public_key());
}

#[test]
fn refuses_to_seal_to_no_key() {
    let error = master_public_key(&Variables::of_pairs([])).unwrap_err();
    assert!(matches!(error, SelectError::NoPublicKey) && error.help().is_some());
    let error = master_public_key(&Variables::of_pairs([(PUBLIC, "?")])).unwrap_err();
    assert!(matches!(error, SelectError::Variable(_)), "{error:?}");
    let error = master_public_key(&Variables::of_pairs([(FILE, "/no/such/file")])).unwrap_err();
    assert!(matches!(error, SelectError::Settings(SettingsError::KekFile(_))), "{error:?}");
}
