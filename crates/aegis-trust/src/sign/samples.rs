//! Keys, policies and bundles for tests: fixed, so that what a test found can be found again.

use aegis_crypto::{KeyId, PublicKey, Secret, Signature, SigningKey, sha256};
use base64ct::{Base64, Encoding};
use jiff::Timestamp;

use super::{PemSigner, SignRequest};
use crate::{
    bundle::{PAYLOAD_TYPE, pre_authentication_encoding},
    manifest::Manifest,
};

pub(crate) const POLICY: &[u8] = b"version=1\n[deny_path]\n/etc/shadow\n";

/// Says aloud that a test, or a part of it, did not run here.
#[allow(clippy::print_stderr)]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(path) = std::env::var_os("AEGIS_TEST_SKIPS") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, format!("{why}\n").as_bytes()).unwrap();
    }
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// When the sample bundles are verified: a day after they were signed.
pub(crate) fn now() -> Timestamp {
    time("2026-01-02T00:00:00Z")
}

/// The key whose seed is 32 times this byte.
pub(crate) fn key(number: u8) -> SigningKey {
    let seed = Secret::try_fill(|bytes: &mut [u8; 32]| {
        bytes.fill(number);
        Ok::<(), ()>(())
    })
    .unwrap();
    SigningKey::from_seed(seed).unwrap()
}

pub(crate) fn public(number: u8) -> PublicKey {
    *key(number).public_key()
}

pub(crate) fn id(number: u8) -> KeyId {
    public(number).key_id()
}

pub(crate) fn signer(number: u8) -> PemSigner {
    PemSigner::new(key(number))
}

/// Version 7, issued 2026-01-01, expires 2026-04-01.
pub(crate) fn request() -> SignRequest<'static> {
    SignRequest {
        policy: POLICY,
        policy_version: 7,
        epoch: 0,
        issued_at: time("2026-01-01T00:00:00Z"),
        expires_at: Some(time("2026-04-01T00:00:00Z")),
        limits: aegis_policy::Limits::default(),
    }
}

/// The manifest of [`request`].
pub(crate) fn manifest() -> Manifest {
    Manifest {
        policy_version: 7,
        policy_sha256: sha256(POLICY),
        policy_size: POLICY.len() as u64,
        issued_at: time("2026-01-01T00:00:00Z"),
        expires_at: Some(time("2026-04-01T00:00:00Z")),
        epoch: 0,
    }
}

/// The bundle of [`request`], signed by [`key`] 1.
pub(crate) fn bundle() -> Vec<u8> {
    super::sign(&request(), &signer(1)).unwrap()
}

/// As [`bundle`], in the older format.
pub(crate) fn bundle_v1() -> Vec<u8> {
    super::sign_v1(&request(), &signer(1)).unwrap()
}

/// A bundle with whatever is in it, put together by hand and without any check.
pub(crate) fn raw_bundle(
    payload: &str,
    payload_type: &str,
    signatures: &[(KeyId, Signature)],
    policy: &[u8],
) -> Vec<u8> {
    let signatures: Vec<String> = signatures
        .iter()
        .map(|(id, signature)| {
            format!(r#"{{"keyid":"{id}","sig":"{}"}}"#, Base64::encode_string(signature.as_bytes()))
        })
        .collect();
    let mut file = format!(
        "AEGIS-POLICY-BUNDLE-V2\n{{\"payload\":\"{}\",\"payloadType\":\"{payload_type}\",\"signatures\":[{}]}}\n---\n",
        Base64::encode_string(payload.as_bytes()),
        signatures.join(",")
    )
    .into_bytes();
    file.extend_from_slice(policy);
    file
}

/// A bundle whose payload is whatever is given, properly signed by [`key`] 1.
pub(crate) fn signed_payload(payload: &str, policy: &[u8]) -> Vec<u8> {
    let signature = key(1).sign(&pre_authentication_encoding(PAYLOAD_TYPE, payload.as_bytes()));
    raw_bundle(payload, PAYLOAD_TYPE, &[(id(1), signature)], policy)
}
