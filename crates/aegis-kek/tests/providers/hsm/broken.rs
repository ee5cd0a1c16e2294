//! What cannot be used, now or later: wrong settings, and a module that answers what cannot be.

use std::fs;
use std::path::Path;

use aegis_crypto::{HybridPrivateKey, HybridPrivateKeyError};
use aegis_kek::pkcs11::{HsmProvisionError, HsmWrap, ModuleFault, generate_wrapping_key, provision};
use aegis_kek::{HsmFault, HsmToken, KekProvider, LoadError};
use test_services::tokens::{Maker, on};

use super::{KEY, Kept, OTHER_KEY, fault, labelled, token_of};
use crate::watch::chain;

#[test]
fn names_the_labels_that_are_there() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);

        let elsewhere = HsmToken { token_label: "aegis-sofa".to_owned(), ..kept.token.clone() };
        let error = kept.provider_of(elsewhere).load().unwrap_err();
        let ("unavailable", HsmFault::NoToken { label, found }) = fault(&error) else { panic!("{error:?}") };
        assert_eq!((label.as_str(), found.as_slice()), ("aegis-sofa", &["aegis-soft".to_owned()][..]));

        let error = kept.provider_of(labelled(&kept.token, "aegis-kek-v3")).load().unwrap_err();
        let ("broken", HsmFault::NoKey { found, .. }) = fault(&error) else { panic!("{error:?}") };
        let mut found = found.clone();
        found.sort();
        assert_eq!(found, [KEY, OTHER_KEY]);
        assert!(chain(&error).contains("aegis-kek-v2"), "{}", chain(&error));
    });
}

#[test]
fn does_not_choose_between_tokens_or_keys_of_one_label() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        for kind in ["AES:32", "AES:16"] {
            key_by_pkcs11_tool(token, kind, KEY);
        }
        let error = kept.provider().load().unwrap_err();
        let ("broken", HsmFault::SeveralKeys { count: 3, .. }) = fault(&error) else { panic!("{error:?}") };
    });
}

#[test]
fn does_not_choose_between_tokens_of_one_label() {
    on(Maker::SoftHsm2, |token| {
        token.make_another(token.maker().label());
        let hsm = token_of(token, token.module());
        let error = generate_wrapping_key(&hsm).unwrap_err();
        assert!(
            matches!(&error, HsmProvisionError::Hsm(HsmFault::SeveralTokens { count: 2, .. })),
            "{error:?}"
        );
    });
}

#[test]
fn refuses_keys_that_are_not_aes_256() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        key_by_pkcs11_tool(token, "AES:16", "short");
        key_by_pkcs11_tool(token, "GENERIC:32", "generic");
        let error = kept.provider_of(labelled(&kept.token, "short")).load().unwrap_err();
        let ("broken", HsmFault::KeyLength { found: 16, .. }) = fault(&error) else { panic!("{error:?}") };
        let error = kept.provider_of(labelled(&kept.token, "generic")).load().unwrap_err();
        let ("broken", HsmFault::NotAes { found: 16, .. }) = fault(&error) else { panic!("{error:?}") };
    });
}

#[test]
fn says_what_is_wrong_with_a_module() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        let text = token.file("text.so");
        fs::write(&text, "no library").unwrap();
        let with = |module: &Path| {
            let token = HsmToken { module: module.to_owned(), ..kept.token.clone() };
            let error = kept.provider_of(token).load().unwrap_err();
            let ("broken", HsmFault::Module { .. }) = fault(&error) else { panic!("{error:?}") };
            match error {
                LoadError::Broken {
                    source: aegis_kek::ProviderFault::Hsm(HsmFault::Module { source, .. }),
                    ..
                } => {
                    assert!(source.help().is_some());
                    source
                }
                other => panic!("{other:?}"),
            }
        };
        let libc = libraries().find(|path| path.ends_with("libc.so.6")).unwrap();
        assert!(matches!(with(Path::new("libsofthsm2.so")), ModuleFault::NotAbsolute));
        assert!(matches!(with(&token.file("absent.so")), ModuleFault::Open(_)));
        assert!(matches!(with(&text), ModuleFault::NoLibrary { .. }));
        assert!(matches!(with(Path::new("/")), ModuleFault::NoLibrary { .. }));
        assert!(matches!(with(&libc), ModuleFault::NotPkcs11));
    });
}

/// Libraries of this process.
fn libraries() -> impl Iterator<Item = std::path::PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let paths: Vec<_> =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(Into::into).collect();
    paths.into_iter()
}

#[test]
fn tells_a_bad_wrapping_from_a_bad_device() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let direct = provision(&kept.token, &kept.private, HsmWrap::Direct).unwrap();

        // The token is well, and says CKR_GENERAL_ERROR of what was tampered with.
        let (mut in_two, mut in_one) = (kept.wrapped.clone(), direct.clone());
        in_two[50] ^= 1;
        in_one[50] ^= 1;
        for wrapped in [in_two, in_one] {
            let kept = Kept {
                wrapped,
                token: kept.token.clone(),
                private: HybridPrivateKey::import(kept.private.dangerous_expose()).unwrap(),
            };
            let provider = kept.provider();
            for _ in 0..3 {
                let error = provider.load().unwrap_err();
                let ("broken", HsmFault::BadWrapping { .. }) = fault(&error) else { panic!("{error:?}") };
            }
            // No new connection was made for it.
            assert_eq!(provider.probe().unwrap().direct, aegis_kek::pkcs11::Direct::Proven);
        }

        // The token fails at everything, with the same code; or it was lost, and fails while it is probed once more.
        for rules in [
            "fail C_UnwrapKey 0x5",
            "fail C_UnwrapKey 0x30",
            "fail C_UnwrapKey 0xb3 times 1\nfail C_CreateObject 0x30",
            "fail C_UnwrapKey 0xb0 times 1\nfail C_WrapKey 0x6",
        ] {
            let provider = kept.provider();
            kept.assert_loads(&provider);
            token.inject(rules);
            let error = provider.load().unwrap_err();
            let ("unavailable", HsmFault::Device { .. } | HsmFault::NoMechanism { .. }) = fault(&error)
            else {
                panic!("{error:?}")
            };
            token.inject("");
            kept.assert_loads(&provider);
        }
    });
}

#[test]
fn reads_nothing_that_is_cut_or_stretched_in_either_form() {
    on(Maker::Nss, |token| {
        let kept = Kept::directly(token, HsmWrap::Direct);
        let public_key = kept.private.public_key();
        for len in [0, 1, 8, 40, 1216, 2432, 2439, 2441, 2448, 4880] {
            let mut wrapped = kept.wrapped.clone();
            wrapped.resize(len, 0);
            let made = super::make(kept.token.clone(), wrapped, public_key);
            assert!(made.is_err(), "{len}");
        }
        let error = super::make(kept.token.clone(), vec![7; 2440], public_key).unwrap().load().unwrap_err();
        let ("broken", HsmFault::BadWrapping { .. }) = fault(&error) else { panic!("{error:?}") };
    });
}

#[test]
fn a_wrapped_key_of_another_public_key_is_the_wrong_key() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::Direct);
        let other = HybridPrivateKey::generate().unwrap();
        let swapped = super::make(kept.token.clone(), kept.wrapped.clone(), other.public_key()).unwrap();
        let error = swapped.load().unwrap_err();
        assert!(
            matches!(
                error,
                LoadError::WrongKey { source: HybridPrivateKeyError::PublicKeyMismatch { .. }, .. }
            ),
            "{error:?}"
        );
    });
}

#[test]
fn believes_no_length_that_a_module_answers() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let lengths = ["0", "1", "33", "4096", "0xffffffffffffffff"];
        let functions = ["C_GetAttributeValue", "C_WrapKey", "C_FindObjects", "C_GetSlotList"];
        for function in functions {
            for length in lengths {
                token.inject(&format!("length {function} {length}"));
                let error = match kept.provider().load() {
                    Err(error) => error,
                    // The first slot has the token; slots that are not there are asked for theirs, and have none.
                    Ok(_) if function == "C_GetSlotList" && ["1", "33"].contains(&length) => continue,
                    Ok(_) => panic!("{function} {length}"),
                };
                fault(&error);
            }
        }
        token.inject("");
        kept.assert_loads(&kept.provider());
    });
}

#[test]
fn believes_no_length_that_a_module_answers_to_c_encrypt() {
    on(Maker::Nss, |token| {
        let kept = Kept::injectable(token);
        for function in ["C_Encrypt", "C_Decrypt"] {
            for length in ["0", "1", "31", "33", "41", "4096", "0x7fffffff", "0xffffffffffffffff"] {
                token.inject(&format!("length {function} {length}\nfail C_WrapKey 0x70"));
                let error = kept.provider().load().unwrap_err();
                let (_, HsmFault::NoMechanism { .. }) = fault(&error) else { panic!("{error:?}") };
            }
        }
        token.inject("");
        kept.assert_loads(&kept.provider());
    });
}

fn key_by_pkcs11_tool(token: &test_services::tokens::Token, kind: &str, label: &str) {
    let output = std::process::Command::new("pkcs11-tool")
        .arg("--module")
        .arg(token.module())
        .args(["--token-label", token.maker().label(), "--login", "--pin", test_services::tokens::PIN])
        .args(["--keygen", "--key-type", kind, "--label", label, "--sensitive"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
