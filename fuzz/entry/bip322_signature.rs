//! Any bytes as a signature of a custodian: as a text, as a witness, and as the forms in which keys and addresses come.

use std::sync::LazyLock;

use aegis_crypto::{
    Bip322PrivateKey, Bip322Provider, Bip322PublicKey, Bip322Signature, CustodianPrivateKey,
    CustodianPublicKey, CustodianSignature, Statement, TaprootAddress,
};

/// A key and its signature over [`TEXT`], of `docs/vectors/custodian-v1.json`.
static GOOD: LazyLock<(Bip322PublicKey, Bip322Signature)> = LazyLock::new(|| {
    let key = CustodianPublicKey::from_bytes(aegis_crypto::CustodianAlgorithm::Bip322, &KEY).expect("a key");
    (*key.as_bip322().expect("of this kind"), SIGNATURE.parse().expect("a signature"))
});

const KEY: [u8; 32] = [
    0x45, 0x9d, 0xc2, 0xae, 0x35, 0xeb, 0x12, 0x87, 0xab, 0x3d, 0xc2, 0x54, 0xd1, 0x45, 0xff, 0xed, 0xbb,
    0xed, 0x7c, 0x27, 0x1d, 0x5c, 0x8e, 0xae, 0xc9, 0x3b, 0x20, 0x85, 0x90, 0x39, 0xe6, 0xd8,
];
const TEXT: &str = "Hello World";
const SIGNATURE: &str =
    "smpAUGMW9iV6RdA67wLGqQMuykr/N8djuTlfRo8fCPmzyKkF8NzufZJxjGWomP5H7+zSEyXrS7vrHoKH+Fu78DM3K7JAQ==";

/// What is taken for a signature has one spelling and is not valid unless it is the good one; what is refused can be
/// explained.
///
/// An input that begins with `M` stands for the good witness with changes: each is three bytes, what to do (exclusive-or,
/// insert, remove), where, and with what.
pub(crate) fn run(bytes: &[u8]) {
    as_witness(bytes);
    if let Some((b'M', edits)) = bytes.split_first() {
        as_witness(&changed(edits));
    }
    if let Ok(text) = str::from_utf8(bytes) {
        as_text(text);
    }
}

fn as_witness(bytes: &[u8]) {
    let (key, good) = &*GOOD;
    match Bip322Signature::from_witness(bytes) {
        Ok(signature) => {
            assert_eq!(signature.to_witness(), bytes, "a witness has one spelling");
            assert_eq!(
                Bip322Signature::parse(&signature.to_string()),
                Ok(signature),
                "what we write, we read"
            );
            let valid = Bip322Provider::new().verify_message(&signature, TEXT, key).is_ok();
            assert_eq!(valid, signature == *good, "nobody but the holder of the key signs");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.help().is_some());
            assert!(bytes != good.to_witness(), "the good signature is refused");
        }
    }
}

fn as_text(text: &str) {
    match Bip322Signature::parse(text) {
        Ok(signature) => {
            let written = signature.to_string();
            assert!(written == text || written.strip_prefix("smp") == Some(text), "a text has two spellings");
            as_witness(&signature.to_witness());
        }
        Err(error) => assert!(!error.to_string().is_empty() && error.help().is_some()),
    }
    if let Ok(signature) = text.parse::<CustodianSignature>() {
        assert!(signature.to_string().trim_start_matches("smp") == text.trim_start_matches("smp"));
    }
    match text.parse::<CustodianPublicKey>() {
        Ok(key) => assert_eq!(key.to_string(), text, "a public key has one spelling"),
        Err(error) => assert!(!error.to_string().is_empty() && error.help().is_some()),
    }
    match text.parse::<TaprootAddress>() {
        Ok(address) => assert_eq!(address.to_string(), text.to_ascii_lowercase()),
        Err(error) => assert!(!error.to_string().is_empty() && error.help().is_some()),
    }
    match Bip322PrivateKey::from_wif(text) {
        Ok((key, network)) => assert_eq!(key.dangerous_to_wif(network).as_str(), text),
        Err(error) => assert!(!error.to_string().is_empty() && error.help().is_some()),
    }
    match CustodianPrivateKey::parse_secret_text(text) {
        Ok(key) => assert_eq!(key.dangerous_to_secret_text().as_str(), text),
        Err(error) => assert!(!error.to_string().is_empty() && error.help().is_some()),
    }
    match Statement::new(text) {
        Ok(statement) => {
            assert!(statement.as_str() == text && text.len() <= Statement::MAX_LEN);
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
        }
        Err(error) => assert!(!error.to_string().is_empty() && error.help().is_some()),
    }
}

fn changed(edits: &[u8]) -> Vec<u8> {
    let mut witness = GOOD.1.to_witness();
    let (edits, _) = edits.as_chunks::<3>();
    // Enough to reach every check; more would make an input slow and find no more.
    for &[what, place, with] in edits.iter().take(64) {
        let place = usize::from(place) % (witness.len() + 1);
        match (what % 3, witness.get_mut(place)) {
            (0, Some(byte)) => *byte ^= with,
            (1, _) => witness.insert(place, with),
            (2, Some(_)) => {
                witness.remove(place);
            }
            _ => {}
        }
    }
    witness
}
