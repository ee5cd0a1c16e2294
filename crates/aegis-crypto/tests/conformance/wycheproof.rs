//! Project Wycheproof, EdDSA verification on edwards25519.

use aegis_crypto::{PublicKey, Signature, parse_public_key_file};
use serde_json::Value;

const VECTORS: &str = include_str!("../vectors/ed25519_test.json");

#[test]
fn agrees_with_every_wycheproof_vector() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let raw = hex::decode(text(&group["publicKey"]["pk"])).unwrap();
        let key = PublicKey::from_bytes(&raw.try_into().unwrap()).unwrap();
        for case in group["tests"].as_array().unwrap() {
            let message = hex::decode(text(&case["msg"])).unwrap();
            let signature = hex::decode(text(&case["sig"])).unwrap();
            let accepted =
                Signature::from_slice(&signature).is_ok_and(|sig| key.verify(&message, &sig).is_ok());
            let expected = match text(&case["result"]) {
                "valid" => true,
                "invalid" => false,
                other => panic!("a verdict that this test does not know: {other}"),
            };
            assert_eq!(accepted, expected, "tcId {}: {}", case["tcId"], case["comment"]);
            if expected { valid += 1 } else { invalid += 1 }
        }
    }
    assert_eq!((valid, invalid), (88, 63), "vectors that ran");
}

#[test]
fn reads_every_wycheproof_key_file_and_writes_it_back() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    for group in file["testGroups"].as_array().unwrap() {
        let pem = text(&group["publicKeyPem"]);
        let parsed = parse_public_key_file(pem.as_bytes()).unwrap();
        assert_eq!(parsed.key.to_hex(), text(&group["publicKey"]["pk"]));
        assert_eq!(parsed.key.to_spki_pem().trim_end(), pem.trim_end());
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
