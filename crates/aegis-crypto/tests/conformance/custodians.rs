//! The registry of algorithms: what may be signed, what is signed, and what is refused.

use std::error::Error as _;

use aegis_crypto::{
    Bip322PublicKeyError, Bip322SignatureError, CustodianAlgorithm, CustodianKeyError, CustodianPrivateKey,
    CustodianPublicKey, CustodianPublicKeyError, CustodianSignError, CustodianSignature,
    CustodianSignatureError, CustodianVerifyError, PrivateMaterial, PublicKeyError, Statement,
    StatementError, UnknownAlgorithm, WifNetwork,
};
use base64ct::{Base64, Encoding};
use proptest::prelude::*;
use proptest::sample::Index;

fn statement(algorithm: CustodianAlgorithm) -> Statement {
    Statement::new(format!("subject: a\n{}\nhash: b", Statement::algorithm_line(algorithm))).unwrap()
}

#[test]
fn every_algorithm_signs_and_only_its_own_statements() {
    let keys = CustodianAlgorithm::ALL.map(|algorithm| CustodianPrivateKey::generate(algorithm).unwrap());
    for key in &keys {
        let algorithm = key.algorithm();
        assert_eq!(algorithm.id().parse(), Ok(algorithm));
        assert_eq!(key.public_key().as_bytes().len(), algorithm.public_key_len());
        assert_eq!(key.dangerous_bytes().len(), algorithm.private_key_len());
        let signed = statement(algorithm);
        let signature = key.sign(&signed).unwrap();
        let read: CustodianSignature = signature.to_string().parse().unwrap();
        assert_eq!(read, signature);
        assert_eq!(key.public_key().verify(&signed, &read), Ok(()));
        for other in keys.iter().filter(|other| other.algorithm() != algorithm) {
            let foreign = statement(other.algorithm());
            let refused = CustodianSignError::Algorithm { key: algorithm, statement: other.algorithm() };
            assert_eq!(key.sign(&foreign).unwrap_err(), refused);
            assert!(refused.help().is_some());
            for (key, statement, signature) in [
                (key, &foreign, &signature),
                (key, &signed, &other.sign(&foreign).unwrap()),
                (other, &signed, &signature),
            ] {
                let error = key.public_key().verify(statement, signature).unwrap_err();
                assert!(matches!(error, CustodianVerifyError::Algorithm { .. }), "{error}");
                assert!(error.help().is_some());
            }
        }
    }
}

/// The algorithm is inside what is signed, for a wallet that signs any text too.
#[test]
fn a_statement_for_another_algorithm_is_refused_even_if_the_signature_over_it_is_good() {
    let key = CustodianPrivateKey::generate(CustodianAlgorithm::Bip322).unwrap();
    let foreign = statement(CustodianAlgorithm::Ed25519MlDsa65);
    let wallet = aegis_crypto::Bip322PrivateKey::from_secret(aegis_crypto::Secret::copy_of(
        key.dangerous_bytes().try_into().unwrap(),
    ));
    let signature =
        aegis_crypto::Bip322Provider::new().sign_message(foreign.as_str(), &wallet.unwrap()).unwrap();
    let error = key.public_key().verify(&foreign, &signature.into()).unwrap_err();
    assert!(matches!(error, CustodianVerifyError::Algorithm { .. }));
}

#[test]
fn refuses_texts_that_a_person_cannot_read_or_a_wallet_changes() {
    let line = "algorithm: bip322-p2tr";
    let full = format!("{line}\n{}", "x".repeat(1024 - line.len() - 1));
    assert_eq!(full.len(), Statement::MAX_LEN);
    for good in [line.to_owned(), format!("a\n{line}"), format!("{line}\nb: {line}"), full.clone()] {
        let statement = Statement::new(good.clone()).unwrap();
        assert_eq!((statement.as_str(), statement.algorithm()), (good.as_str(), CustodianAlgorithm::Bip322));
    }
    let odd = |position, found| StatementError::NotPrintable { position, found };
    let unknown = |found: &str| StatementError::Algorithm(UnknownAlgorithm { found: found.to_owned() });
    for (text, expected) in [
        (String::new(), StatementError::NoAlgorithm),
        ("subject: a".to_owned(), StatementError::NoAlgorithm),
        (format!("a {line}"), StatementError::NoAlgorithm),
        (format!("{line}\n{line}"), StatementError::SeveralAlgorithms),
        (format!("{line}\nalgorithm: none"), StatementError::SeveralAlgorithms),
        ("algorithm: ed25519".to_owned(), unknown("ed25519")),
        ("algorithm: BIP322-P2TR".to_owned(), unknown("BIP322-P2TR")),
        (format!("{line} "), StatementError::WhiteSpaceAround),
        (format!("{line} \nb"), unknown("bip322-p2tr ")),
        (format!("{line}\n"), StatementError::WhiteSpaceAround),
        (format!("\n{line}"), StatementError::WhiteSpaceAround),
        (format!("{line}\r\nb"), odd(23, '\r')),
        (format!("{line}\n\tb"), odd(24, '\t')),
        (format!("{line}\n\0"), odd(24, '\0')),
        (format!("{line}\n\u{202e}"), odd(24, '\u{202e}')),
        (format!("{line}\n\u{200b}"), odd(24, '\u{200b}')),
        (format!("{line}\n\u{430}"), odd(24, '\u{430}')),
        (format!("{line}\n\x7f"), odd(24, '\x7f')),
        (format!("{full}x"), StatementError::TooLong { found: 1025 }),
        ("x".repeat(1 << 20), StatementError::TooLong { found: 1 << 20 }),
    ] {
        let start: String = text.chars().take(60).collect();
        let error = Statement::new(text).unwrap_err();
        assert_eq!(error, expected, "{start:?}");
        assert!(error.help().is_some());
        assert!(!error.to_string().contains('\u{202e}'), "a message shows no character that turns the text");
    }
}

#[test]
fn refuses_a_private_key_where_a_public_one_is_wanted_and_says_so() {
    let key = CustodianPrivateKey::generate(CustodianAlgorithm::Bip322).unwrap();
    let bip322 = aegis_crypto::Bip322PrivateKey::generate().unwrap();
    let [main, test] =
        [WifNetwork::Mainnet, WifNetwork::Test].map(|network| bip322.dangerous_to_wif(network).to_string());
    let own = key.dangerous_to_secret_text().to_string();
    let xprv = format!("xprv9s21ZrQH143K{}", "a".repeat(95));
    for (text, expected) in [
        (own.clone(), PrivateMaterial::Custodian),
        (format!("bip322-p2tr:{own}"), PrivateMaterial::Custodian),
        (main.clone(), PrivateMaterial::Wif),
        (format!("  key = \"{test}\"\n"), PrivateMaterial::Wif),
        (format!("bip322-p2tr:{main}"), PrivateMaterial::Wif),
        ("-----BEGIN PRIVATE KEY-----\nMC4".to_owned(), PrivateMaterial::Pem),
        ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), PrivateMaterial::Pem),
        ("AGE-SECRET-KEY-1QQQ".to_owned(), PrivateMaterial::Age),
        ("age-encryption.org/v1\n-> scrypt".to_owned(), PrivateMaterial::Age),
        (xprv, PrivateMaterial::ExtendedKey),
    ] {
        let error = text.parse::<CustodianPublicKey>().unwrap_err();
        assert_eq!(error, CustodianPublicKeyError::Private { found: expected });
        assert!(error.help().unwrap().contains("compromised"));
        assert!(!error.to_string().contains(&main[1..9]) && !error.to_string().contains(&own[40..60]));
    }
    // Nor does a public key look like one.
    for algorithm in CustodianAlgorithm::ALL {
        for _ in 0..50 {
            let key = CustodianPrivateKey::generate(algorithm).unwrap();
            let text = key.public_key().to_string();
            assert_eq!(text.parse().as_ref(), Ok(key.public_key()), "{text}");
        }
    }
}

#[test]
fn refuses_public_keys_that_cannot_be_used() {
    use CustodianAlgorithm::{Bip322, Ed25519MlDsa65};
    use CustodianPublicKeyError as Error;
    let text = |id: &str, raw: &[u8]| format!("{id}:{}", Base64::encode_string(raw));
    let hybrid = CustodianPrivateKey::generate(Ed25519MlDsa65).unwrap();
    let mut low_order = hybrid.public_key().as_bytes().to_vec();
    low_order[..32].fill(0);
    for (text, expected) in [
        (String::new(), Error::NoAlgorithm),
        ("00".repeat(32), Error::NoAlgorithm),
        (text("ed25519", &[1; 32]), Error::Algorithm(UnknownAlgorithm { found: "ed25519".to_owned() })),
        ("bip322-p2tr:!".to_owned(), Error::NotBase64),
        (text("bip322-p2tr", &[1; 32]) + "\n", Error::NotBase64),
        (text("bip322-p2tr", &[1; 33]), Error::Length { algorithm: Bip322, found: 33 }),
        (text("bip322-p2tr", &[0xff; 32]), Error::Bip322(Bip322PublicKeyError::NotOnCurve)),
        (text("ed25519+ml-dsa-65", &[1; 32]), Error::Length { algorithm: Ed25519MlDsa65, found: 32 }),
        (text("ed25519+ml-dsa-65", &low_order), Error::Ed25519(PublicKeyError::SmallOrder)),
        ("=".repeat(9000), Error::TooLong { found: 9000 }),
    ] {
        let error = text.parse::<CustodianPublicKey>().unwrap_err();
        assert_eq!(error, expected, "{text}");
        assert!(error.help().is_some());
    }
}

#[test]
fn refuses_signatures_and_private_keys_of_the_wrong_shape() {
    use CustodianSignatureError as Error;
    let base64 = |len: usize| Base64::encode_string(&vec![7; len]);
    for (text, expected) in [
        (String::new(), Error::Bip322(Bip322SignatureError::Empty)),
        (format!("ed25519+ml-dsa-65:{}", base64(3372)), Error::Length { found: 3372 }),
        (format!("ed25519+ml-dsa-65:{}", base64(64)), Error::Length { found: 64 }),
        (format!("ed25519+ml-dsa-65:{}\n", base64(3373)), Error::NotBase64),
        ("ed25519+ml-dsa-65:".to_owned(), Error::Length { found: 0 }),
        ("x".repeat(1 << 20), Error::TooLong { found: 1 << 20 }),
    ] {
        let error = text.parse::<CustodianSignature>().unwrap_err();
        assert_eq!(error, expected);
        assert!(error.help().is_some());
        assert_eq!(error.source().is_some(), matches!(error, Error::Bip322(_)));
    }
    let key = |rest: &str| format!("aegis-custodian-private:{rest}");
    let length = |algorithm, found| CustodianKeyError::Length { algorithm, found };
    for (text, expected) in [
        (String::new(), CustodianKeyError::NotAKey),
        (key(""), CustodianKeyError::NotAKey),
        (key("x:"), CustodianKeyError::Algorithm(UnknownAlgorithm { found: "x".to_owned() })),
        (key("bip322-p2tr:*"), CustodianKeyError::NotBase64),
        (key(&format!("bip322-p2tr:{}", base64(33))), length(CustodianAlgorithm::Bip322, 33)),
        (key(&format!("ed25519+ml-dsa-65:{}", base64(65))), length(CustodianAlgorithm::Ed25519MlDsa65, 65)),
        (key(&format!("ed25519+ml-dsa-65:{}", base64(1 << 20))), CustodianKeyError::NotBase64),
    ] {
        let error = CustodianPrivateKey::parse_secret_text(&text).unwrap_err();
        assert_eq!(error, expected);
        assert!(error.help().is_some());
    }
}

#[test]
fn no_debug_form_shows_a_private_key() {
    for algorithm in CustodianAlgorithm::ALL {
        let key = CustodianPrivateKey::generate(algorithm).unwrap();
        let shown = format!("{key:?} {:?}", key.public_key());
        let raw = key.dangerous_bytes();
        assert!(
            !shown.contains(&hex::encode(&raw[..4])) && !shown.contains(&format!("{}, {}", raw[0], raw[1]))
        );
        assert!(shown.contains(&key.public_key().key_id().to_string()));
        let again = CustodianPrivateKey::parse_secret_text(&key.dangerous_to_secret_text()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(again.dangerous_bytes(), raw);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_hybrid_signature_with_a_bit_changed_does_not_hold(at in any::<Index>(), bit in 0..8) {
        let key = CustodianPrivateKey::generate(CustodianAlgorithm::Ed25519MlDsa65).unwrap();
        let signed = statement(key.algorithm());
        let text = key.sign(&signed).unwrap().to_string();
        let (id, base64) = text.split_once(':').unwrap();
        let mut bytes = Base64::decode_vec(base64).unwrap();
        *at.get_mut(&mut bytes) ^= 1_u8 << bit;
        let changed: CustodianSignature = format!("{id}:{}", Base64::encode_string(&bytes)).parse().unwrap();
        prop_assert_eq!(key.public_key().verify(&signed, &changed), Err(CustodianVerifyError::NotAuthentic));
    }
}
