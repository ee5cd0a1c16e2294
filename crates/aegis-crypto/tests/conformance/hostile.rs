//! Any bytes, and valid files with something changed: an answer comes back, and it is the right one.

use aegis_crypto::{PublicKeyFileError, SigningKey, parse_public_key_file};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const PRIVATE: &[&[u8]] = &[
    include_bytes!("../vectors/keys/openssl-ed25519.pem"),
    include_bytes!("../vectors/keys/openssl-ed25519-encrypted.pem"),
    include_bytes!("../vectors/keys/rfc8410-v2.pem"),
    include_bytes!("../vectors/keys/rsa.pem"),
    include_bytes!("../vectors/keys/ec-sec1-encrypted.pem"),
    include_bytes!("../vectors/keys/ssh-ed25519"),
];

const PUBLIC: &[&[u8]] = &[
    include_bytes!("../vectors/keys/openssl-ed25519.pub.pem"),
    include_bytes!("../vectors/keys/rsa.pub.pem"),
    include_bytes!("../vectors/keys/certificate.pem"),
    include_bytes!("../vectors/keys/ssh-ed25519.pub"),
    include_bytes!("../vectors/keys/ssh-ed25519-cert.pub"),
    b"19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1\n",
];

/// Text that is nearly a key file, in the words that the parsers look for.
const WORDS: &[&str] = &[
    "-----BEGIN ",
    "-----END ",
    "PUBLIC KEY",
    "PRIVATE KEY",
    "-----",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "=",
    "==",
    ":",
    "MCowBQYDK2VwAyEA",
    "MC4CAQAwBQYDK2VwBCIEI",
    "AAAAC3NzaC1lZDI1NTE5AAAAI",
    "ssh-ed25519",
    "ssh-rsa",
    "AAAA",
    "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE",
    "19bf44096984cdfe8541bac167dc3b96",
    "\0",
    "é",
    "\u{feff}",
    "a",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_get_an_answer(bytes in vec(any::<u8>(), 0..600)) {
        answers(&bytes);
    }

    #[test]
    fn words_of_key_files_in_any_order_get_an_answer(words in vec(select(WORDS), 0..24)) {
        answers(words.concat().as_bytes());
    }

    #[test]
    fn any_base64_in_a_pem_block_gets_an_answer(der in vec(any::<u8>(), 0..200), width in 1..80_usize,
                                                label in select(&["PUBLIC KEY", "PRIVATE KEY"][..])) {
        answers(block(label, &der, width).as_bytes());
    }

    #[test]
    fn any_der_behind_a_good_start_gets_an_answer(start in select(&["302a300506032b6570", "302e020100", "30820100"][..]),
                                                  rest in vec(any::<u8>(), 0..80)) {
        let der = [hex::decode(start).unwrap(), rest].concat();
        answers(block("PUBLIC KEY", &der, 64).as_bytes());
        answers(block("PRIVATE KEY", &der, 64).as_bytes());
        answers(&der);
    }

    #[test]
    fn a_changed_file_gets_an_answer(file in select(PUBLIC).prop_union(select(PRIVATE)), edits in vec(edit(), 1..4)) {
        let mut bytes = file.to_vec();
        for (at, change) in edits {
            apply(&mut bytes, at, change);
        }
        answers(&bytes);
    }

    #[test]
    fn a_private_key_file_cut_anywhere_is_never_taken_for_a_public_key(file in select(PRIVATE), at in any::<Index>()) {
        let (start, end) = file.split_at(at.index(file.len()));
        prop_assert!(parse_public_key_file(start).is_err());
        prop_assert!(parse_public_key_file(end).is_err());
    }
}

/// Both parsers return, what they take prints back as the same key, and what they refuse they can explain.
fn answers(bytes: &[u8]) {
    match parse_public_key_file(bytes) {
        Ok(parsed) => {
            for text in [parsed.key.to_hex(), parsed.key.to_spki_pem(), parsed.key.to_openssh("c")] {
                assert_eq!(parse_public_key_file(text.as_bytes()).unwrap().key, parsed.key);
            }
            let comment = parsed.comment.unwrap_or_default();
            assert!(comment.len() <= 128 && comment.chars().all(|c| matches!(c, ' '..='~')));
        }
        Err(error) => explained(&error.to_string(), error.help()),
    }
    match SigningKey::from_pkcs8_pem(bytes) {
        Ok(key) => {
            let again = SigningKey::from_pkcs8_pem(key.to_pkcs8_pem().as_bytes()).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            // No file is both a private key and a public one.
            assert!(matches!(parse_public_key_file(bytes), Err(PublicKeyFileError::PrivateKey { .. })));
        }
        Err(error) => explained(&error.to_string(), error.help()),
    }
}

fn explained(message: &str, help: Option<String>) {
    assert!(!message.is_empty() && message.len() < 300, "{message}");
    assert!(message.chars().all(|c| matches!(c, ' '..='~')), "{message}");
    assert!(help.is_some_and(|help| !help.is_empty()), "no help for: {message}");
}

#[derive(Debug, Clone)]
enum Change {
    Replace(u8),
    Insert(Vec<u8>),
    Remove(usize),
    Repeat(usize),
}

fn edit() -> impl Strategy<Value = (Index, Change)> {
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Replace),
        vec(any::<u8>(), 1..20).prop_map(Change::Insert),
        select(WORDS).prop_map(|word| Change::Insert(word.as_bytes().to_vec())),
        (1..40_usize).prop_map(Change::Remove),
        (1..200_usize).prop_map(Change::Repeat),
    ];
    (any::<Index>(), change)
}

fn apply(bytes: &mut Vec<u8>, at: Index, change: Change) {
    if bytes.is_empty() {
        return;
    }
    let at = at.index(bytes.len());
    match change {
        Change::Replace(byte) => bytes[at] = byte,
        Change::Insert(more) => drop(bytes.splice(at..at, more)),
        Change::Remove(len) => drop(bytes.drain(at..bytes.len().min(at + len))),
        Change::Repeat(len) => bytes.extend_from_within(at..bytes.len().min(at + len)),
    }
}

fn block(label: &str, der: &[u8], width: usize) -> String {
    use base64ct::{Base64, Encoding};
    let body = Base64::encode_string(der);
    let lines: Vec<String> =
        body.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line).into()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
