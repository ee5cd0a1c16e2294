//! Settings as they are read.

use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use aegis_crypto::HybridPrivateKey;
use aegis_kek::known_variables::{KNOWN_VARIABLES, known_variable};
use aegis_kek::{
    Form, MAX_VALUE_LEN, NotUnicode, SecretText, VariableError, VariableFault, VariableState, Variables,
};
use base64ct::{Base64, Encoding};

use crate::watch::{chain, private_parts};

fn text(variables: &Variables, name: &str) -> Option<String> {
    variables.get(name).unwrap().map(|value| value.expose().to_owned())
}

#[test]
fn an_empty_value_is_none() {
    let variables = Variables::of_pairs([("SET", "x"), ("EMPTY", "")]);
    assert_eq!(text(&variables, "SET").as_deref(), Some("x"));
    assert_eq!(text(&variables, "EMPTY"), None);
    assert_eq!(text(&variables, "ABSENT"), None);
    assert_eq!(["SET", "EMPTY", "ABSENT"].map(|name| variables.is_set(name)), [true, false, false]);
    assert_eq!(variables.set_with_prefix("S"), ["SET"]);
    assert!(variables.set_with_prefix("E").is_empty());
}

#[test]
fn reads_flags_and_numbers_strictly() {
    let name = "AEGIS_REQUIRE_DURABLE_KEK";
    for (value, expected) in [("", Ok(false)), ("0", Ok(false)), ("1", Ok(true))] {
        assert_eq!(Variables::of_pairs([(name, value)]).flag(name), expected);
    }
    for value in ["true", "yes", "01", "2", " 1", "1\n", "no"] {
        let error = Variables::of_pairs([(name, value)]).flag(name).unwrap_err();
        assert_eq!(error, VariableFault::NotAFlag.of(name), "{value:?}");
    }
    let name = "AEGIS_HSM_SESSIONS";
    for (value, expected) in [("", None), ("1", Some(1)), ("16", Some(16)), ("0016", Some(16))] {
        assert_eq!(Variables::of_pairs([(name, value)]).number(name, 1..=16), Ok(expected));
    }
    for value in ["0", "17", "-1", "+1", "1 ", "0x1", "four", "1.0", "99999999999999999999"] {
        let error = Variables::of_pairs([(name, value)]).number(name, 1..=16).unwrap_err();
        assert_eq!(error, VariableFault::NotANumber { min: 1, max: 16 }.of(name), "{value:?}");
    }
}

#[test]
fn refuses_a_value_without_bound() {
    let long = "A".repeat(MAX_VALUE_LEN + 1);
    let variables = Variables::of_pairs([("LONG", long.as_str())]);
    let expected = VariableFault::TooLong { found: MAX_VALUE_LEN + 1, limit: MAX_VALUE_LEN }.of("LONG");
    assert_eq!(variables.text("LONG").map(|_| ()), Err(expected.clone()));
    assert_eq!(variables.base64("LONG", usize::MAX).map(|_| ()), Err(expected));
}

#[test]
fn knows_the_variables_of_the_guide_in_its_order() {
    let guide = [
        ("AEGIS_KMS_KEY_ID", "KMS KEK provider"),
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", "KMS KEK provider"),
        ("AEGIS_MASTER_KEK_PUBLIC", "All KEK providers except in-memory"),
        ("AEGIS_MASTER_KEK_PRIVATE", "Environment KEK provider"),
        ("AEGIS_HSM_PKCS11_LIB", "HSM KEK provider"),
        ("AEGIS_HSM_TOKEN_LABEL", "HSM KEK provider"),
        ("AEGIS_HSM_PIN", "HSM KEK provider"),
        ("AEGIS_HSM_WRAPPING_KEY_LABEL", "HSM KEK provider"),
        ("AEGIS_HSM_WRAPPED_PRIVATE_KEY", "HSM KEK provider"),
    ];
    let known: Vec<_> = KNOWN_VARIABLES.iter().map(|known| (known.name, known.required_by)).collect();
    assert_eq!(known[..guide.len()], guide);
    let secret: Vec<_> =
        KNOWN_VARIABLES.iter().filter(|known| known.is_secret()).map(|known| known.name).collect();
    assert_eq!(secret, ["AEGIS_MASTER_KEK_PRIVATE", "AEGIS_HSM_PIN", "AEGIS_PASSPHRASE"]);
    let mut names: Vec<_> = known.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), known.len());
}

#[test]
fn says_how_each_variable_stands_without_its_value() {
    let key = HybridPrivateKey::generate().unwrap();
    let public = Base64::encode_string(key.public_key().as_bytes());
    let private = Base64::encode_string(key.dangerous_expose());
    let good: [(&str, &str); 9] = [
        ("AEGIS_MASTER_KEK_PUBLIC", &public),
        ("AEGIS_MASTER_KEK_PRIVATE", &private),
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", &private),
        ("AEGIS_HSM_PKCS11_LIB", "/usr/lib/softhsm/libsofthsm2.so"),
        ("AEGIS_HSM_TOKEN_LABEL", "aegis governance"),
        ("AEGIS_HSM_PIN", "1234"),
        ("AEGIS_HSM_SESSIONS", "4"),
        ("AEGIS_HSM_PIN_FD", "3"),
        ("AEGIS_REQUIRE_DURABLE_KEK", "1"),
    ];
    let bad: [(&str, &str); 9] = [
        ("AEGIS_MASTER_KEK_PUBLIC", &private),
        ("AEGIS_MASTER_KEK_PRIVATE", &public),
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", "?"),
        ("AEGIS_HSM_PKCS11_LIB", "/usr/lib/softhsm/libsofthsm2.so\n"),
        ("AEGIS_HSM_TOKEN_LABEL", "aegis\tgovernance"),
        ("AEGIS_HSM_PIN", "1234\n"),
        ("AEGIS_HSM_SESSIONS", "0"),
        ("AEGIS_HSM_PIN_FD", "-1"),
        ("AEGIS_REQUIRE_DURABLE_KEK", "maybe"),
    ];
    let (good_set, bad_set) = (Variables::of_pairs(good), Variables::of_pairs(bad));
    for known in KNOWN_VARIABLES {
        assert_eq!(Variables::of_pairs([]).state(known), VariableState::NotSet);
        assert_eq!(Variables::of_pairs([(known.name, "")]).state(known), VariableState::NotSet);
        if good.iter().all(|(name, _)| *name != known.name) {
            assert_eq!(good_set.state(known), VariableState::NotSet);
            continue;
        }
        assert_eq!(good_set.state(known), VariableState::WellFormed, "{}", known.name);
        let VariableState::Malformed(error) = bad_set.state(known) else { panic!("{}", known.name) };
        assert_eq!(error.name, known.name);
        assert!(error.help().is_some(), "{}", known.name);
        let (_, value) = bad.iter().find(|(name, _)| *name == known.name).unwrap();
        let said = format!("{error:?} {}", chain(&error));
        assert!(value.len() < 4 || !said.contains(value), "{said}");
        for part in private_parts(&key) {
            assert!(!said.contains(&Base64::encode_string(&part)));
        }
    }
    assert_eq!(known_variable("AEGIS_HSM_PIN").unwrap().form, Form::Credential);
    assert!(known_variable("PATH").is_none());
}

#[test]
fn takes_credentials_from_the_process_and_nothing_else() {
    let file = || Variables::of_pairs([("AEGIS_HSM_TOKEN_LABEL", "new")]);
    let process = || {
        Variables::of_pairs([
            ("AEGIS_HSM_TOKEN_LABEL", "old"),
            ("AEGIS_HSM_WRAPPING_KEY_LABEL", "old"),
            ("AEGIS_HSM_PIN", "0000"),
            ("AEGIS_PASSPHRASE_FILE", "/old"),
        ])
    };
    let both = file().with_credentials_of(process());
    assert_eq!(text(&both, "AEGIS_HSM_TOKEN_LABEL").as_deref(), Some("new"));
    assert_eq!(text(&both, "AEGIS_HSM_WRAPPING_KEY_LABEL"), None);
    assert_eq!(text(&both, "AEGIS_HSM_PIN").as_deref(), Some("0000"));
    assert_eq!(text(&both, "AEGIS_PASSPHRASE_FILE").as_deref(), Some("/old"));
    assert_eq!(text(&both, "AEGIS_PASSPHRASE"), None);
    // A PIN in the environment does not make an HSM of settings for KMS.
    let kms = Variables::of_pairs([("AEGIS_KMS_KEY_ID", "alias/x")]).with_credentials_of(process());
    assert!(kms.set_with_prefix("AEGIS_HSM_").is_empty());

    // Settings that say themselves where the PIN is are not given another token's.
    let own = Variables::of_pairs([("AEGIS_HSM_PIN_FILE", "/new")]).with_credentials_of(process());
    assert_eq!(text(&own, "AEGIS_HSM_PIN"), None);
    assert_eq!(text(&own, "AEGIS_HSM_PIN_FILE").as_deref(), Some("/new"));
    assert_eq!(text(&own, "AEGIS_PASSPHRASE_FILE").as_deref(), Some("/old"));
}

#[test]
fn a_named_passphrase_file_takes_the_place_of_every_other() {
    let set = Variables::of_pairs([("AEGIS_PASSPHRASE", "old"), ("AEGIS_PASSPHRASE_FILE", "/old")]);
    let named = set.with_passphrase_file("/new".as_ref()).unwrap();
    assert_eq!(text(&named, "AEGIS_PASSPHRASE"), None);
    assert_eq!(text(&named, "AEGIS_PASSPHRASE_FILE").as_deref(), Some("/new"));
    let strange = std::ffi::OsString::from_vec(vec![b'/', 0xff]);
    let error = Variables::of_pairs([]).with_passphrase_file(strange.as_ref()).unwrap_err();
    assert_eq!(error, VariableFault::NotUnicode.of("AEGIS_PASSPHRASE_FILE"));
}

/// Run by the next test, in a process with variables of its own.
#[test]
fn child_reads_the_process() {
    if std::env::var_os("AEGIS_TEST_CHILD_OF_VARIABLES").is_none() {
        return;
    }
    let variables = Variables::of_process();
    assert_eq!(text(&variables, "AEGIS_HSM_TOKEN_LABEL").as_deref(), Some("läbel"));
    assert_eq!(text(&variables, "AEGIS_HSM_WRAPPING_KEY_LABEL"), None);
    assert_eq!(variables.set_with_prefix("AEGIS_HSM_"), ["AEGIS_HSM_PKCS11_LIB", "AEGIS_HSM_TOKEN_LABEL"]);
    let name = "AEGIS_HSM_PKCS11_LIB".to_owned();
    assert_eq!(variables.get(&name).map(|_| ()), Err(NotUnicode { name: name.clone() }));
    assert_eq!(
        variables.text(&name).map(|_| ()),
        Err(VariableError { name, fault: VariableFault::NotUnicode })
    );
    println!("the child has read them");
}

#[test]
fn reads_the_variables_of_the_process() {
    // This program itself, also if a build has replaced its file by now.
    let output = Command::new("/proc/self/exe")
        .args(["variables::child_reads_the_process", "--exact", "--nocapture"])
        .env("AEGIS_TEST_CHILD_OF_VARIABLES", "1")
        .env("AEGIS_HSM_TOKEN_LABEL", "läbel")
        .env("AEGIS_HSM_WRAPPING_KEY_LABEL", "")
        .env("AEGIS_HSM_PKCS11_LIB", std::ffi::OsString::from_vec(vec![b'/', 0xff]))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("the child has read them"), "{said}");
}

#[test]
fn shows_names_only() {
    let variables = Variables::of_pairs([("AEGIS_HSM_PIN", "very secret pin")]);
    let said = format!("{variables:?}");
    assert!(said.contains("AEGIS_HSM_PIN") && !said.contains("secret"), "{said}");
    assert_eq!(SecretText::new("x").expose(), "x");
}
