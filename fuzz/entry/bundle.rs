//! Any bytes as a bundle, on a host that trusts one key.

use std::collections::BTreeMap;

use aegis_crypto::{KeyId, PublicKey, sha256};
use aegis_trust::bundle::{BundleFormat, SignedBundle};
use aegis_trust::verify::{Trust, V1, verify};

/// The public key of RFC 8032, section 7.1, test 1. It signed the good bundles of the corpus and nothing else.
const SIGNER: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e,
    0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];
/// The policy of every good bundle, and their versions.
const POLICY: &[u8] = b"version=1\n\n[deny_path]\n/etc/shadow\n";
const VERSIONS: [u64; 2] = [7, 41];

/// One bundle, one spelling: what parses prints back as the same bytes. And nobody forges: what verifies is what the
/// signer signed.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(bundle) = SignedBundle::parse(bytes.to_vec()) else { return };
    assert_eq!(bundle.to_bytes(), bytes);
    assert_eq!(bundle.as_bytes(), bytes);
    let key = PublicKey::from_bytes(&SIGNER).expect("the key of RFC 8032 is valid");
    let keys = BTreeMap::from([(KeyId::of(&SIGNER), key)]);
    let revoked = BTreeMap::new();
    for (v1, accepted_format) in [(V1::Refuse, None), (V1::Allow, None), (V1::Allow, Some(BundleFormat::V2))]
    {
        let trust = Trust { keys: &keys, revoked: &revoked, required_signatures: 1, v1, accepted_format };
        let bundle = SignedBundle::parse(bytes.to_vec()).expect("it was parsed above");
        let now = "2026-02-01T00:00:00Z".parse().expect("it is a time");
        let Ok(verified) = verify(bundle, &trust, now) else { continue };
        assert_eq!(verified.policy(), POLICY);
        assert!(VERSIONS.contains(&verified.manifest().policy_version));
        assert_eq!(verified.manifest().policy_sha256, sha256(POLICY));
        assert_eq!(verified.signers(), [KeyId::of(&SIGNER)]);
        if v1 == V1::Refuse || accepted_format == Some(BundleFormat::V2) {
            assert!(verified.format() == BundleFormat::V2);
        }
    }
}
