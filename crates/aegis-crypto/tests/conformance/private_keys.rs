//! Private key files: what openssl and RFC 8410 write is read, and everything else is refused by its name.

use aegis_crypto::{
    PemFault, PlainTextError, PrivateKeyFileError, PublicKeyFormat, SigningKey, parse_public_key_file,
};
use base64ct::{Base64, Encoding};
use hex_literal::hex;

use crate::signing_key;

const OPENSSL: &str = include_str!("../vectors/keys/openssl-ed25519.pem");
const RFC_8410_V1: &str = include_str!("../vectors/keys/rfc8410-v1.pem");
const RFC_8410_V2: &str = include_str!("../vectors/keys/rfc8410-v2.pem");

/// The parts of RFC 8410's example, to take apart and put together.
const SEED: &str = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842";
const PUBLIC: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
const ALGORITHM: &str = "300506032b6570";

fn parse(text: &str) -> Result<SigningKey, PrivateKeyFileError> {
    SigningKey::from_pkcs8_pem(text.as_bytes())
}

fn refusal(text: &str) -> Option<PrivateKeyFileError> {
    parse(text).err()
}

#[test]
fn reads_and_writes_the_bytes_of_openssl() {
    let key = parse(OPENSSL).unwrap();
    assert_eq!(key.to_pkcs8_pem().as_str(), OPENSSL);
    assert_eq!(key.public_key().to_spki_pem(), include_str!("../vectors/keys/openssl-ed25519.pub.pem"));
}

#[test]
fn reads_versions_1_and_2_of_rfc_8410() {
    for text in
        [RFC_8410_V1, RFC_8410_V2, &RFC_8410_V1.replace('\n', "\r\n"), &format!("\n{RFC_8410_V2}\n\n")]
    {
        let key = parse(text).unwrap();
        assert_eq!(key.public_key().to_hex(), PUBLIC);
        assert_eq!(key.to_pkcs8_pem().as_str(), RFC_8410_V1);
    }
    let aws_lc = format!("3051020101{ALGORITHM}04220420{SEED}812100{PUBLIC}");
    assert_eq!(parse(&pem_of(&aws_lc)).unwrap().public_key().to_hex(), PUBLIC);
    let without_public_key = format!("302e020101{ALGORITHM}04220420{SEED}");
    assert_eq!(parse(&pem_of(&without_public_key)).unwrap().public_key().to_hex(), PUBLIC);
}

#[test]
fn a_generated_key_survives_its_own_files() {
    let key = SigningKey::generate().unwrap();
    let again = parse(&key.to_pkcs8_pem()).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    assert_eq!(again.sign(b"message"), key.sign(b"message"));
    let public = parse_public_key_file(key.public_key().to_spki_pem().as_bytes()).unwrap();
    assert_eq!((public.key, public.format), (*key.public_key(), PublicKeyFormat::SpkiPem));
    assert_ne!(SigningKey::generate().unwrap().public_key(), key.public_key());
}

#[test]
fn refuses_other_kinds_of_file_by_name() {
    let other = |algorithm: &str| PrivateKeyFileError::OtherAlgorithm { algorithm: algorithm.to_owned() };
    for (text, error) in [
        (include_str!("../vectors/keys/openssl-ed25519-encrypted.pem"), PrivateKeyFileError::Encrypted),
        (include_str!("../vectors/keys/ec-sec1-encrypted.pem"), PrivateKeyFileError::Encrypted),
        (include_str!("../vectors/keys/ssh-ed25519"), PrivateKeyFileError::OpenSsh),
        (include_str!("../vectors/keys/ec-sec1.pem"), PrivateKeyFileError::Sec1),
        (include_str!("../vectors/keys/rsa-pkcs1.pem"), other("RSA")),
        (include_str!("../vectors/keys/rsa.pem"), other("RSA")),
        (include_str!("../vectors/keys/ec.pem"), other("EC")),
        (include_str!("../vectors/keys/x25519.pem"), other("X25519")),
        (include_str!("../vectors/keys/ed448.pem"), other("Ed448")),
        (include_str!("../vectors/keys/openssl-ed25519.pub.pem"), PrivateKeyFileError::PublicKey),
        (include_str!("../vectors/keys/rsa-pkcs1.pub.pem"), PrivateKeyFileError::PublicKey),
        (include_str!("../vectors/keys/certificate.pem"), PrivateKeyFileError::Certificate),
        (include_str!("../vectors/keys/certificate-request.pem"), PrivateKeyFileError::Certificate),
        ("-----BEGIN PGP MESSAGE-----\nAAAA\n-----END PGP MESSAGE-----\n", PrivateKeyFileError::OtherPem),
        (include_str!("../vectors/keys/ssh-ed25519.pub"), PrivateKeyFileError::NotPem),
        (SEED, PrivateKeyFileError::NotPem),
        ("junk", PrivateKeyFileError::NotPem),
    ] {
        assert_eq!(refusal(text), Some(error), "{text}");
    }
}

#[test]
fn refuses_a_public_key_that_is_not_that_of_the_private_one() {
    let other = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let der = format!("3051020101{ALGORITHM}04220420{SEED}812100{other}");
    let derived = parse(RFC_8410_V1).unwrap().public_key().key_id();
    assert_eq!(refusal(&pem_of(&der)), Some(PrivateKeyFileError::PublicKeyMismatch { derived }));
}

#[test]
fn refuses_damaged_structures() {
    for (what, der) in [
        ("empty", String::new()),
        ("version 3", format!("302e020102{ALGORITHM}04220420{SEED}")),
        ("version -1", format!("302e0201ff{ALGORITHM}04220420{SEED}")),
        ("version in two bytes", format!("302f02020000{ALGORITHM}04220420{SEED}")),
        ("no version", format!("302b{ALGORITHM}04220420{SEED}")),
        ("NULL parameters", format!("3030020100300706032b6570050004220420{SEED}")),
        ("seed of 31 bytes", format!("302d020100{ALGORITHM}0421041f{}", &SEED[2..])),
        ("seed of 33 bytes", format!("302f020100{ALGORITHM}04230421{SEED}00")),
        ("seed not wrapped twice", format!("302c020100{ALGORITHM}0420{SEED}")),
        ("byte behind the seed", format!("302f020100{ALGORITHM}04230420{SEED}00")),
        ("byte inside, behind", format!("302f020100{ALGORITHM}04220420{SEED}00")),
        ("byte behind", format!("302e020100{ALGORITHM}04220420{SEED}00")),
        ("a byte short", format!("302e020100{ALGORITHM}04220420{}", &SEED[2..])),
        ("public key in version 1", format!("3051020100{ALGORITHM}04220420{SEED}812100{PUBLIC}")),
        ("public key of 31 bytes", format!("3050020101{ALGORITHM}04220420{SEED}812000{}", &PUBLIC[2..])),
        ("public key with unused bits", format!("3051020101{ALGORITHM}04220420{SEED}812101{PUBLIC}")),
        ("public key twice", format!("3074020101{ALGORITHM}04220420{SEED}812100{PUBLIC}812100{PUBLIC}")),
        (
            "attributes behind the public key",
            format!("3053020101{ALGORITHM}04220420{SEED}812100{PUBLIC}a000"),
        ),
        ("long length", format!("30812e020100{ALGORITHM}04220420{SEED}")),
        ("length of four bytes", format!("308400000 02e020100{ALGORITHM}04220420{SEED}").replace(' ', "")),
        ("length beyond the end", format!("307f020100{ALGORITHM}04220420{SEED}")),
    ] {
        let expected = if der.is_empty() {
            PrivateKeyFileError::Pem(PemFault::Base64)
        } else {
            PrivateKeyFileError::Structure
        };
        assert_eq!(refusal(&pem_of(&der)), Some(expected), "{what}");
    }
}

#[test]
fn refuses_text_around_the_key_and_text_that_is_not_plain() {
    let headers = RFC_8410_V1.replacen("KEY-----\n", "KEY-----\nX-Header: 1\n\n", 1);
    let too_large = format!("{RFC_8410_V1}{}", "\n".repeat(8192));
    for (text, error) in [
        (String::new(), PrivateKeyFileError::Text(PlainTextError::Empty)),
        (too_large, PrivateKeyFileError::Text(PlainTextError::TooLarge { found: 8311, limit: 8192 })),
        (format!("\u{feff}{RFC_8410_V1}"), PrivateKeyFileError::Text(PlainTextError::ByteOrderMark)),
        (RFC_8410_V1.replacen('M', "\0", 1), PrivateKeyFileError::Text(PlainTextError::Nul { at: 28 })),
        (format!("{RFC_8410_V1}{RFC_8410_V1}"), PrivateKeyFileError::Trailing { len: 118 }),
        (format!("{RFC_8410_V1}x"), PrivateKeyFileError::Trailing { len: 1 }),
        (format!("x\n{RFC_8410_V1}"), PrivateKeyFileError::Pem(PemFault::Begin)),
        (RFC_8410_V1.replace("END", "FIN"), PrivateKeyFileError::Pem(PemFault::End)),
        (headers, PrivateKeyFileError::Pem(PemFault::Headers)),
        (RFC_8410_V1.replace("MC4C", "MC4*"), PrivateKeyFileError::Pem(PemFault::Base64)),
    ] {
        assert_eq!(refusal(&text), Some(error), "{text:.200}");
    }
    let der = hex::decode(format!("302e020100{ALGORITHM}04220420{SEED}")).unwrap();
    let error = SigningKey::from_pkcs8_pem(&der).err();
    assert_eq!(error, Some(PrivateKeyFileError::Text(PlainTextError::Der)));
}

#[test]
fn any_seed_makes_a_key() {
    for seed in
        [[0; 32], [0xff; 32], hex!("0100000000000000000000000000000000000000000000000000000000000000")]
    {
        let key = signing_key(&seed);
        assert_eq!(key.public_key().verify(b"m", &key.sign(b"m")), Ok(()));
    }
}

fn pem_of(der_hex: &str) -> String {
    let body = Base64::encode_string(&hex::decode(der_hex).unwrap());
    let lines: Vec<&str> = (0..body.len()).step_by(64).map(|at| &body[at..body.len().min(at + 64)]).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
