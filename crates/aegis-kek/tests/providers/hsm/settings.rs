//! What the HSM provider reads from variables.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;

use aegis_crypto::HybridPrivateKey;
use aegis_kek::known_variables::{
    HSM_INIT_ARGS, HSM_MECHANISM, HSM_PIN, HSM_PIN_FD, HSM_PIN_FILE, HSM_PKCS11_LIB, HSM_SESSION_POOL_SIZE,
    HSM_TOKEN_LABEL, HSM_WRAPPED_PRIVATE_KEY, HSM_WRAPPING_KEY_LABEL, MASTER_KEK_PUBLIC,
};
use aegis_kek::pkcs11::{HsmSettings, HsmWrap, PinError, VendorMechanism};
use aegis_kek::{HsmKekProvider, SettingsError, VariableFault, Variables, get_kek_provider};
use base64ct::{Base64, Encoding};
use test_services::tokens::{Maker, PIN, on};

use super::{KEY, Kept};

/// Well-formed, whatever the device.
fn good() -> Vec<(&'static str, String)> {
    let private = HybridPrivateKey::generate().unwrap();
    vec![
        (HSM_PKCS11_LIB, "/usr/lib/softhsm/libsofthsm2.so".to_owned()),
        (HSM_TOKEN_LABEL, "token".to_owned()),
        (HSM_PIN, "1234".to_owned()),
        (HSM_WRAPPING_KEY_LABEL, KEY.to_owned()),
        (HSM_WRAPPED_PRIVATE_KEY, Base64::encode_string(&[0; 2440])),
        (MASTER_KEK_PUBLIC, Base64::encode_string(private.public_key().as_bytes())),
    ]
}

fn read(pairs: &[(&'static str, String)]) -> Result<HsmSettings, SettingsError> {
    HsmSettings::from_environment(&variables(pairs))
}

fn variables(pairs: &[(&'static str, String)]) -> Variables {
    Variables::of_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())))
}

fn with(name: &'static str, value: &str) -> Vec<(&'static str, String)> {
    let mut pairs = good();
    pairs.retain(|(other, _)| *other != name);
    pairs.push((name, value.to_owned()));
    pairs
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let error = HsmSettings::from_environment(&Variables::of_pairs([])).unwrap_err();
    let SettingsError::Missing { names, .. } = error else { panic!("{error:?}") };
    let guide = [
        HSM_PKCS11_LIB,
        HSM_TOKEN_LABEL,
        HSM_PIN,
        HSM_WRAPPING_KEY_LABEL,
        HSM_WRAPPED_PRIVATE_KEY,
        MASTER_KEK_PUBLIC,
    ];
    assert_eq!(names, guide);
    for name in guide {
        let mut pairs = good();
        pairs.retain(|(other, _)| *other != name);
        let error = read(&pairs).unwrap_err();
        let SettingsError::Missing { names, .. } = error else { panic!("{error:?}") };
        assert_eq!(names, [name]);
    }
}

#[test]
fn takes_what_may_be_left_out() {
    let settings = read(&good()).unwrap();
    assert_eq!(settings.token.session_pool_size.get(), 4);
    assert_eq!((settings.token.mechanism, settings.token.init_args), (None, None));
    assert_eq!(read(&with(HSM_SESSION_POOL_SIZE, "17")).unwrap().token.session_pool_size.get(), 17);
    let vendors =
        [("cloudhsm-kwp", VendorMechanism::CloudHsmKwp), ("yubico-ccm", VendorMechanism::YubicoCcm)];
    for (name, mechanism) in vendors {
        assert_eq!(read(&with(HSM_MECHANISM, name)).unwrap().token.mechanism, Some(mechanism));
    }
    let args = "configdir='sql:/etc/pki' flags=readOnly";
    assert_eq!(read(&with(HSM_INIT_ARGS, args)).unwrap().token.init_args.as_deref(), Some(args));
}

#[test]
fn refuses_malformed_values_by_name() {
    let cases = [
        (HSM_SESSION_POOL_SIZE, "0"),
        (HSM_SESSION_POOL_SIZE, "1025"),
        (HSM_SESSION_POOL_SIZE, "four"),
        (HSM_MECHANISM, "rsa"),
        (HSM_TOKEN_LABEL, "two\nlines"),
        (HSM_PKCS11_LIB, "/usr/lib/\u{7}.so"),
        (HSM_WRAPPED_PRIVATE_KEY, "not base64!"),
        (MASTER_KEK_PUBLIC, "AAAA"),
    ];
    for (name, value) in cases {
        let error = read(&with(name, value)).unwrap_err();
        let SettingsError::Malformed { source, .. } = &error else { panic!("{name}: {error:?}") };
        assert_eq!(source.name, name);
        assert!(error.help().is_some());
    }
    let known = VariableFault::NotOneOf { known: VendorMechanism::NAMES };
    let error = read(&with(HSM_MECHANISM, "rsa")).unwrap_err();
    assert!(matches!(error, SettingsError::Malformed { source, .. } if source.fault == known));
    for len in [0, 1, 40, 2432, 2441] {
        let pairs = with(HSM_WRAPPED_PRIVATE_KEY, &Base64::encode_string(&vec![1; len.max(1)]));
        let made = HsmKekProvider::from_environment(&variables(&pairs));
        assert!(matches!(made, Err(SettingsError::Hsm(_))), "{len}");
    }
}

#[test]
fn a_pin_comes_from_a_variable_a_file_or_a_descriptor() {
    let dir = test_services::scratch::dir();
    let file = dir.path().join("pin");
    std::fs::write(&file, "4321\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let mut pairs = good();
    pairs.retain(|(name, _)| *name != HSM_PIN);
    pairs.push((HSM_PIN_FILE, file.to_str().unwrap().to_owned()));
    mode(0o600);
    read(&pairs).unwrap();
    mode(0o640);
    assert!(matches!(read(&pairs), Err(SettingsError::Pin(PinError::Read(_)))));
    std::fs::remove_file(&file).unwrap();
    let error = read(&pairs).unwrap_err();
    assert!(matches!(error, SettingsError::Pin(PinError::Read(_))) && error.help().is_some(), "{error:?}");

    let (from, mut to) = std::io::pipe().unwrap();
    to.write_all(b"4321\n").unwrap();
    pairs.pop();
    pairs.push((HSM_PIN_FD, from.as_raw_fd().to_string()));
    read(&pairs).unwrap();
    let error = read(&with(HSM_PIN, "12\n34")).unwrap_err();
    assert!(matches!(error, SettingsError::Pin(PinError::Unusable { .. })), "{error:?}");
}

#[test]
fn a_provider_from_variables_gives_the_kek() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        let pairs = [
            (HSM_PKCS11_LIB, token.module().to_str().unwrap().to_owned()),
            (HSM_TOKEN_LABEL, token.maker().label().to_owned()),
            (HSM_PIN, PIN.to_owned()),
            (HSM_WRAPPING_KEY_LABEL, KEY.to_owned()),
            (HSM_WRAPPED_PRIVATE_KEY, Base64::encode_string(&kept.wrapped)),
            (MASTER_KEK_PUBLIC, Base64::encode_string(kept.private.public_key().as_bytes())),
        ];
        let provider = HsmKekProvider::from_environment(&variables(&pairs)).unwrap();
        kept.assert_loads(&provider);
        for name in [None, Some("hsm")] {
            let provider = get_kek_provider(name, &variables(&pairs)).unwrap();
            assert_eq!(provider.load().unwrap().public_key(), kept.private.public_key());
        }
    });
}
