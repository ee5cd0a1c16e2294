//! Bundles that no honest signer makes: any payload, any type, any signatures, spelled as asked.

use aegis_crypto::{KeyId, SigningKey, sha256};
use aegis_trust::bundle::{PAYLOAD_TYPE, pre_authentication_encoding};
use base64ct::{Base64, Encoding as _};
use jiff::{SignedDuration, Timestamp};

use crate::host::Host;

/// The parts of a bundle, to be bent.
pub(crate) struct Forgery {
    pub(crate) manifest: String,
    pub(crate) payload_type: String,
    pub(crate) policy: Vec<u8>,
}

impl Forgery {
    /// A good bundle of this version, issued now.
    pub(crate) fn new(version: u64) -> Self {
        let policy = crate::host::policy(version).into_bytes();
        Self { manifest: manifest(version, &policy), payload_type: PAYLOAD_TYPE.to_owned(), policy }
    }

    /// Replaces a part of the manifest that must be there.
    #[track_caller]
    pub(crate) fn bend(mut self, from: &str, to: &str) -> Self {
        assert!(self.manifest.contains(from), "{from} is not in {}", self.manifest);
        self.manifest = self.manifest.replacen(from, to, 1);
        self
    }

    /// What the signatures cover.
    pub(crate) fn message(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, self.manifest.as_bytes())
    }

    /// The bundle, signed by these keys.
    pub(crate) fn signed_by(&self, keys: &[&SigningKey]) -> Vec<u8> {
        let message = self.message();
        let signatures: Vec<_> =
            keys.iter().map(|key| (key.public_key().key_id(), *key.sign(&message).as_bytes())).collect();
        self.with(&signatures)
    }

    /// The bundle with these signatures under these ids.
    pub(crate) fn with(&self, signatures: &[(KeyId, [u8; 64])]) -> Vec<u8> {
        let signatures: Vec<String> = signatures
            .iter()
            .map(|(id, signature)| format!("{{\"keyid\":\"{id}\",\"sig\":\"{}\"}}", base64(signature)))
            .collect();
        let Self { manifest, payload_type, policy } = self;
        let mut file = format!(
            "AEGIS-POLICY-BUNDLE-V2\n{{\"payload\":\"{}\",\"payloadType\":\"{payload_type}\",\"signatures\":[{}]}}\n---\n",
            base64(manifest.as_bytes()),
            signatures.join(",")
        )
        .into_bytes();
        file.extend_from_slice(policy);
        file
    }
}

/// The canonical manifest of a policy, valid for 90 days from now.
pub(crate) fn manifest(version: u64, policy: &[u8]) -> String {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    manifest_between(version, policy, now, now + SignedDuration::from_hours(90 * 24))
}

/// The same with times of one's own.
pub(crate) fn manifest_between(
    version: u64,
    policy: &[u8],
    issued_at: Timestamp,
    expires_at: Timestamp,
) -> String {
    format!(
        "{{\"policy_version\":{version},\"policy_sha256\":\"{}\",\"policy_size\":{},\"issued_at\":\"{issued_at}\",\
         \"expires_at\":\"{expires_at}\",\"epoch\":0}}",
        sha256(policy),
        policy.len()
    )
}

/// The private key that a host's signer holds.
pub(crate) fn key(host: &Host, name: &str) -> SigningKey {
    let pem = std::fs::read(host.file(&format!("signer/{name}.key"))).unwrap();
    SigningKey::from_pkcs8_pem(&pem).unwrap()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// The order of the Ed25519 group, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The same signature with S + L in place of S, which sloppy verifiers take (RFC 8032 §8.4).
pub(crate) fn malleated(signature: &[u8; 64]) -> [u8; 64] {
    let mut other = *signature;
    let mut carry = 0_u16;
    for (byte, add) in other[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S is below L, so S + L fits");
    other
}
