//! The hybrid algorithm: vectors that OpenSSL made, and each half alone.

use serde_json::Value;

use super::ed25519_ml_dsa::SIGNATURE_LEN;
use super::signature::Form;
use super::*;
use crate::sha256::sha256;

const OURS: &str = include_str!("../../../../docs/vectors/custodian-v1.json");

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hybrid(signature: &CustodianSignature) -> [u8; SIGNATURE_LEN] {
    match &signature.0 {
        Form::Ed25519MlDsa65(bytes) => **bytes,
        Form::Bip322(_) => panic!("a hybrid signature was expected"),
    }
}

#[test]
fn every_hybrid_key_and_signature_of_our_vectors_holds() {
    let vectors: Value = serde_json::from_str(OURS).unwrap();
    let signatures = vectors["hybrid_signatures"].as_array().unwrap();
    for case in signatures {
        let key = &vectors["hybrid_keys"][usize::try_from(case["key"].as_u64().unwrap()).unwrap()];
        let seeds = hex::decode(text(&key["private_key"])).unwrap();
        let private = CustodianPrivateKey::from_bytes(CustodianAlgorithm::Ed25519MlDsa65, &seeds).unwrap();
        assert_eq!(hex::encode(private.public_key().as_bytes()), text(&key["public_key"]));
        assert_eq!(private.public_key().key_id().to_string(), text(&key["key_id"]));
        assert_eq!(private.public_key().to_string(), text(&key["text"]));
        let public: CustodianPublicKey = text(&key["text"]).parse().unwrap();
        assert_eq!(&public, private.public_key());

        let statement = Statement::new(text(&case["statement"])).unwrap();
        let signature: CustodianSignature = text(&case["signature"]).parse().unwrap();
        assert_eq!(signature.to_string(), text(&case["signature"]));
        assert_eq!(public.verify(&statement, &signature), Ok(()));
        let signed = crate::sealed_box::AssociatedData::new([
            b"aegis/custodian-signature/v1",
            b"ed25519+ml-dsa-65",
            public.as_bytes(),
            statement.as_str().as_bytes(),
        ]);
        assert_eq!(sha256(signed.as_bytes()).to_string(), text(&case["signed_sha256"]));
    }
    assert_eq!(signatures.len(), 2);
}

#[test]
fn one_half_of_a_hybrid_signature_is_no_signature() {
    let private = CustodianPrivateKey::generate(CustodianAlgorithm::Ed25519MlDsa65).unwrap();
    let [one, other] = ["one", "other"].map(|subject| {
        Statement::new(format!("{}\nsubject: {subject}", Statement::algorithm_line(private.algorithm())))
            .unwrap()
    });
    let [for_one, for_other] = [&one, &other].map(|statement| hybrid(&private.sign(statement).unwrap()));
    let (ed25519, ml_dsa) = for_one.split_at(64);
    let (other_ed25519, other_ml_dsa) = for_other.split_at(64);
    for (name, parts, holds) in [
        ("both", [ed25519, ml_dsa], true),
        ("ML-DSA of another text", [ed25519, other_ml_dsa], false),
        ("Ed25519 of another text", [other_ed25519, ml_dsa], false),
        ("no ML-DSA", [ed25519, &[0; 3309]], false),
        ("no Ed25519", [&[0; 64], ml_dsa], false),
    ] {
        let bytes: [u8; SIGNATURE_LEN] = parts.concat().try_into().unwrap();
        let signature = CustodianSignature(Form::Ed25519MlDsa65(Box::new(bytes)));
        assert_eq!(private.public_key().verify(&one, &signature).is_ok(), holds, "{name}");
    }
}

/// With the halves of two keys joined to a third, neither half's signature goes over.
#[test]
fn a_half_does_not_hold_under_a_key_with_another_other_half() {
    let [mine, theirs] =
        [(); 2].map(|()| CustodianPrivateKey::generate(CustodianAlgorithm::Ed25519MlDsa65).unwrap());
    let statement = Statement::new(Statement::algorithm_line(mine.algorithm())).unwrap();
    let mixed = [&mine.public_key().as_bytes()[..32], &theirs.public_key().as_bytes()[32..]].concat();
    let mixed = CustodianPublicKey::from_bytes(CustodianAlgorithm::Ed25519MlDsa65, &mixed).unwrap();
    let [by_me, by_them] = [&mine, &theirs].map(|key| hybrid(&key.sign(&statement).unwrap()));
    let bytes: [u8; SIGNATURE_LEN] = [&by_me[..64], &by_them[64..]].concat().try_into().unwrap();
    let signature = CustodianSignature(Form::Ed25519MlDsa65(Box::new(bytes)));
    assert_eq!(mixed.verify(&statement, &signature), Err(CustodianVerifyError::NotAuthentic));
}
