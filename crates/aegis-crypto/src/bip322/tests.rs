//! Official vectors, our own, and what the crate `bitcoin` computes. Sources: `tests/vectors/README.md`.

use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, absolute, script,
    transaction,
};
use hex_literal::hex;
use proptest::prelude::*;
use serde_json::Value;

use super::provider::sign_bytes;
use super::schnorr::{self, SigningRandomness};
use super::transactions::{HashType, digest_to_sign, message_hash, taproot_script, to_sign_id, to_spend_id};
use super::*;
use crate::secret::Secret;
use crate::sha256::sha256;

const BIP340: &str = include_str!("../../tests/vectors/bip340.csv");
const BIP322_BASIC: &str = include_str!("../../tests/vectors/bip322-basic.json");
const BIP322_GENERATED: &str = include_str!("../../tests/vectors/bip322-generated.json");
const OURS: &str = include_str!("../../../../docs/vectors/custodian-v1.json");

const PROVIDER: Bip322Provider = Bip322Provider::new();

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(text(value)).unwrap().try_into().unwrap()
}

fn private(raw: [u8; 32]) -> Bip322PrivateKey {
    Bip322PrivateKey::from_secret(Secret::copy_of(&raw)).unwrap()
}

fn reversed(mut id: [u8; 32]) -> [u8; 32] {
    id.reverse();
    id
}

#[test]
fn signs_and_verifies_as_every_vector_of_bip340_says() {
    let (mut signed, mut valid, mut invalid) = (0, 0, 0);
    for row in BIP340.lines().skip(1) {
        let columns: Vec<&str> = row.splitn(8, ',').collect();
        let [index, secret, public, aux, message, signature, verdict, comment] = columns.try_into().unwrap();
        let message = hex::decode(message).unwrap();
        let public: [u8; 32] = hex::decode(public).unwrap().try_into().unwrap();
        let expected = Bip340Signature::from_hex(signature).unwrap();
        if !secret.is_empty() {
            let key = private(hex::decode(secret).unwrap().try_into().unwrap());
            assert_eq!(key.public_key().as_bytes(), &public, "{index}");
            let randomness = SigningRandomness::of_vector(&hex::decode(aux).unwrap().try_into().unwrap());
            assert_eq!(schnorr::sign(key.expose(), None, &message, &randomness), Some(expected), "{index}");
            signed += 1;
        }
        let accepted = Bip322PublicKey::from_bytes(&public)
            .is_ok_and(|key| PROVIDER.verify_bip340(&expected, &message, &key).is_ok());
        assert_eq!(accepted, verdict == "TRUE", "{index}: {comment}");
        if accepted { valid += 1 } else { invalid += 1 }
    }
    assert_eq!((signed, valid, invalid), (8, 9, 10), "vectors that ran");
}

#[test]
fn hashes_messages_and_transactions_as_bip322_does() {
    let vectors = json(BIP322_BASIC);
    let cases = vectors["tx_hashes"].as_array().unwrap();
    for case in cases {
        let hash = message_hash(text(&case["message"]).as_bytes());
        assert_eq!(hash, bytes(&case["message_hash"]));
        let (_, _, program) = bech32::segwit::decode(text(&case["address"])).unwrap();
        let script = [[0x00, 0x14].as_slice(), &program].concat();
        let to_spend = to_spend_id(&script, &hash);
        assert_eq!(reversed(to_spend), bytes(&case["to_spend_tx_hash"]));
        assert_eq!(reversed(to_sign_id(&to_spend)), bytes(&case["to_sign_tx_hash"]));
    }
    assert_eq!(cases.len(), 3);
}

/// What every simple signature of the vectors is to us.
#[test]
fn verifies_the_taproot_signatures_of_bip322_and_names_the_others() {
    let (mut taproot, mut others) = (0, 0);
    for case in [BIP322_BASIC, BIP322_GENERATED]
        .iter()
        .flat_map(|vectors| json(vectors)["simple"].as_array().unwrap().clone())
    {
        for signature in case["bip322_signatures"].as_array().unwrap() {
            let parsed = Bip322Signature::parse(text(signature));
            let other = match text(&case["type"]) {
                "p2tr" => {
                    let signature = parsed.unwrap();
                    let address: TaprootAddress = text(&case["address"]).parse().unwrap();
                    let (key, network) = Bip322PrivateKey::from_wif(text(&case["private_keys"][0])).unwrap();
                    assert_eq!(network, WifNetwork::Mainnet);
                    assert_eq!(PROVIDER.address(key.public_key(), BitcoinNetwork::Mainnet), address);
                    let message = text(&case["message"]);
                    PROVIDER.verify_message_for_address(&signature, message, &address).unwrap();
                    PROVIDER.verify_message(&signature, message, key.public_key()).unwrap();
                    assert!(PROVIDER.verify_message(&signature, "other", key.public_key()).is_err());
                    taproot += 1;
                    continue;
                }
                "p2wpkh" => OtherAddressType::WitnessPublicKeyHash,
                "p2wsh-multisig-2of2" | "p2wsh-multisig-3of3" => OtherAddressType::WitnessScriptHash,
                unknown => panic!("a type that this test does not know: {unknown}"),
            };
            assert_eq!(parsed, Err(Bip322SignatureError::OtherAddressType { found: other }));
            others += 1;
        }
    }
    assert_eq!((taproot, others), (2, 8), "signatures that were looked at");
}

#[test]
fn refuses_every_signature_that_bip322_says_is_an_error_and_every_other_variant() {
    let mut refused = 0;
    let vectors = [json(BIP322_BASIC), json(BIP322_GENERATED)];
    for case in vectors.iter().flat_map(|vectors| vectors["error"].as_array().unwrap()) {
        let signature = Bip322Signature::parse(text(&case["signature"]));
        let address = text(&case["address"]).parse::<TaprootAddress>();
        let valid = signature.is_ok_and(|signature| {
            address.is_ok_and(|address| {
                PROVIDER.verify_message_for_address(&signature, text(&case["message"]), &address).is_ok()
            })
        });
        assert!(!valid, "{}", case["description"]);
        refused += 1;
    }
    let variants = [("full", OtherVariant::Full), ("proof_of_funds", OtherVariant::ProofOfFunds)];
    for (list, variant) in variants {
        for case in vectors[1][list].as_array().unwrap() {
            for signature in case["bip322_signatures"].as_array().unwrap() {
                let answer = Bip322Signature::parse(text(signature));
                assert_eq!(answer, Err(Bip322SignatureError::OtherVariant { found: variant }));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 8 + 28 + 10 + 3, "signatures that were refused");
}

#[test]
fn our_vectors_are_the_ones_that_were_published() {
    let digest = sha256(OURS.as_bytes()).to_string();
    assert_eq!(digest, "d394663fa4dd6c138d979ae73d9c612d47696af6994c747b11c5fc53e73c21a8");
}

#[test]
fn every_key_of_our_vectors_has_its_forms() {
    let vectors = json(OURS);
    let keys = vectors["bip322_keys"].as_array().unwrap();
    for case in keys {
        let key = private(bytes(&case["private_key"]));
        let public = key.public_key();
        assert_eq!(public.to_hex(), text(&case["public_key"]));
        assert_eq!(public.key_id().to_string(), text(&case["key_id"]));
        for network in BitcoinNetwork::ALL {
            let address = PROVIDER.address(public, network);
            let written = text(&case["addresses"][network.name()]);
            assert_eq!(address.to_string(), written);
            assert_eq!(written.parse(), Ok(address));
            assert_eq!(written.to_ascii_uppercase().parse(), Ok(address));
            assert!(address.is_of(public));
        }
        for (network, name) in [(WifNetwork::Mainnet, "mainnet"), (WifNetwork::Test, "testnet")] {
            let written = text(&case["wif"][name]);
            assert_eq!(key.dangerous_to_wif(network).as_str(), written);
            let (read, said) = Bip322PrivateKey::from_wif(written).unwrap();
            assert_eq!((read.public_key(), said), (public, network));
        }
    }
    assert_eq!(keys.len(), 5);
}

#[test]
fn every_signature_of_our_vectors_is_made_and_verifies() {
    let vectors = json(OURS);
    let (mut made, mut read) = (0, 0);
    for case in vectors["bip322_signatures"].as_array().unwrap() {
        let index = usize::try_from(case["key"].as_u64().unwrap()).unwrap();
        let key = private(bytes(&vectors["bip322_keys"][index]["private_key"]));
        let output_key = key.public_key().output_key();
        let message = hex::decode(text(&case["message"])).unwrap();
        let to_spend = to_spend_id(&taproot_script(output_key), &message_hash(&message));
        assert_eq!(reversed(to_spend), bytes(&case["to_spend"]));
        let signature = Bip322Signature::parse(text(&case["signature"])).unwrap();
        assert_eq!(digest_to_sign(output_key, &message, signature.hash_type), bytes(&case["digest"]));
        let valid = match <&[u8; 32]>::try_from(message.as_slice()) {
            Ok(hash) => PROVIDER.verify(&signature, hash, key.public_key()),
            Err(_) => {
                let text = str::from_utf8(&message).unwrap();
                PROVIDER.verify_message(&signature, text, key.public_key())
            }
        };
        assert_eq!(valid, Ok(()));
        if signature.hash_type == HashType::Default {
            let randomness = SigningRandomness::of_vector(&bytes(&case["aux"]));
            assert_eq!(sign_bytes(&message, &key, &randomness), Ok(signature));
            made += 1;
        } else {
            assert_eq!(case["hash_type"], 1);
            read += 1;
        }
        assert_eq!(signature.to_string(), text(&case["signature"]));
    }
    assert_eq!((made, read), (15, 5));
}

/// Builds what `transactions` writes out, by the crate `bitcoin`: the transaction that is spent and the one that spends.
fn by_bitcoin(output_key: &[u8; 32], message: &[u8]) -> (Transaction, Transaction) {
    let script = ScriptBuf::from_bytes([[0x51, 0x20].as_slice(), output_key].concat());
    let hash = message_hash(message);
    let to_spend = Transaction {
        version: transaction::Version(0),
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: Txid::all_zeros(), vout: u32::MAX },
            script_sig: script::Builder::new().push_int(0).push_slice(hash).into_script(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: script }],
    };
    let to_sign = Transaction {
        version: transaction::Version(0),
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: to_spend.compute_txid(), vout: 0 },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![0x6a]) }],
    };
    (to_spend, to_sign)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_is_what_the_crate_bitcoin_computes(
        raw in any::<[u8; 32]>(), message in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let output_key = *private(raw).public_key().output_key();
        let (to_spend, to_sign) = by_bitcoin(&output_key, &message);
        let id = to_spend_id(&taproot_script(&output_key), &message_hash(&message));
        prop_assert_eq!(id, to_spend.compute_txid().to_byte_array());
        prop_assert_eq!(to_sign_id(&id), to_sign.compute_txid().to_byte_array());
        for (ours, theirs) in [(HashType::Default, TapSighashType::Default), (HashType::All, TapSighashType::All)] {
            let digest = SighashCache::new(&to_sign)
                .taproot_key_spend_signature_hash(0, &Prevouts::All(&to_spend.output), theirs)
                .unwrap();
            prop_assert_eq!(digest_to_sign(&output_key, &message, ours), digest.to_byte_array());
        }
    }

    #[test]
    fn addresses_and_wif_are_those_of_the_crate_bitcoin(raw in any::<[u8; 32]>()) {
        let key = private(raw);
        let internal = bitcoin::XOnlyPublicKey::from_slice(key.public_key().as_bytes()).unwrap();
        let secp = bitcoin::secp256k1::Secp256k1::new();
        for (ours, theirs) in [
            (BitcoinNetwork::Mainnet, bitcoin::Network::Bitcoin),
            (BitcoinNetwork::Testnet, bitcoin::Network::Testnet),
            (BitcoinNetwork::Testnet, bitcoin::Network::Signet),
            (BitcoinNetwork::Regtest, bitcoin::Network::Regtest),
        ] {
            let address = bitcoin::Address::p2tr(&secp, internal, None, theirs);
            prop_assert_eq!(PROVIDER.address(key.public_key(), ours).to_string(), address.to_string());
        }
        for (ours, theirs) in [
            (WifNetwork::Mainnet, bitcoin::NetworkKind::Main),
            (WifNetwork::Test, bitcoin::NetworkKind::Test),
        ] {
            let wif = bitcoin::PrivateKey::from_slice(&raw, theirs).unwrap().to_wif();
            let written = key.dangerous_to_wif(ours);
            prop_assert_eq!(written.as_str(), wif.as_str());
            let (read, network) = Bip322PrivateKey::from_wif(&wif).unwrap();
            prop_assert_eq!((read.expose(), network), (&raw, ours));
        }
    }

    #[test]
    fn a_witness_is_written_as_the_crate_bitcoin_writes_it(raw in any::<[u8; 64]>(), all in any::<bool>()) {
        let hash_type = if all { HashType::All } else { HashType::Default };
        let signature = Bip322Signature { signature: Bip340Signature::from_bytes(raw), hash_type };
        let item = if all { [raw.as_slice(), &[1]].concat() } else { raw.to_vec() };
        prop_assert_eq!(signature.to_witness(), serialize(&Witness::from_slice(&[item])));
        prop_assert_eq!(Bip322Signature::from_witness(&signature.to_witness()), Ok(signature));
    }
}

#[test]
fn signatures_over_the_same_text_differ_and_all_verify() {
    let (key, public) = PROVIDER.generate_keypair().unwrap();
    let [first, second] = [(); 2].map(|()| PROVIDER.sign_message("the same", &key).unwrap());
    assert_ne!(first, second, "the nonce is hedged");
    for signature in [first, second] {
        PROVIDER.verify_message(&signature, "the same", &public).unwrap();
    }
}

#[test]
fn a_hash_is_signed_as_its_bytes_and_each_form_under_its_own_name() {
    let (key, public) = PROVIDER.generate_keypair().unwrap();
    let hash = [b'h'; 32];
    let signature = PROVIDER.sign(&hash, &key).unwrap();
    PROVIDER.verify(&signature, &hash, &public).unwrap();
    PROVIDER.verify_message(&signature, &"h".repeat(32), &public).unwrap();
    // The raw form is under the key itself, the other under that of the address: neither passes for the other.
    let raw = PROVIDER.sign_bip340(&hash, &key).unwrap();
    PROVIDER.verify_bip340(&raw, &hash, &public).unwrap();
    assert!(PROVIDER.verify_bip340(&signature.signature, &hash, &public).is_err());
    let digest = digest_to_sign(public.output_key(), &hash, HashType::Default);
    assert!(PROVIDER.verify_bip340(&signature.signature, &digest, &public).is_err());
    let disguised = Bip322Signature { signature: raw, hash_type: HashType::Default };
    assert!(PROVIDER.verify(&disguised, &hash, &public).is_err());
    let raw_over_digest = PROVIDER.sign_bip340(&digest, &key).unwrap();
    let disguised = Bip322Signature { signature: raw_over_digest, hash_type: HashType::Default };
    assert!(PROVIDER.verify(&disguised, &hash, &public).is_err());
}

#[test]
fn a_signature_is_for_one_hash_type() {
    let (key, public) = PROVIDER.generate_keypair().unwrap();
    let mut signature = PROVIDER.sign_message("text", &key).unwrap();
    signature.hash_type = HashType::All;
    assert!(PROVIDER.verify_message(&signature, "text", &public).is_err());
}

#[test]
fn no_message_and_no_debug_form_shows_a_private_key() {
    let raw = hex!("0102030405060708091011121314151617181920212223242526272829303132");
    let key = private(raw);
    let wif = key.dangerous_to_wif(WifNetwork::Mainnet);
    let mut wrong = wif.to_string();
    wrong.replace_range(20..21, "0");
    let shown = [
        format!("{key:?}"),
        format!("{:?}", Bip322PrivateKey::from_wif(&wrong).unwrap_err()),
        Bip322PrivateKey::from_wif(&wrong).unwrap_err().to_string(),
        Bip322PrivateKey::from_wif(&wif[1..]).unwrap_err().to_string(),
    ];
    for shown in shown {
        assert!(
            !shown.contains("0102") && !shown.contains("[1, 2") && !shown.contains(&wif[1..9]),
            "{shown}"
        );
    }
}
