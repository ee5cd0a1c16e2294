use aegis_crypto::Signature;
use proptest::prelude::*;

use super::*;
use crate::{
    bundle::{PAYLOAD_TYPE, pre_authentication_encoding},
    manifest::ManifestError,
    sign::{
        SignRequest, cosign,
        samples::{
            POLICY, bundle, bundle_v1, id, key, manifest, now, public, raw_bundle, request, signed_payload,
            signer, time,
        },
        sign, sign_v1,
    },
};

/// A host that trusts some keys, has revoked some, and requires some number of signatures.
struct HostState {
    keys: BTreeMap<KeyId, PublicKey>,
    revoked: BTreeMap<KeyId, String>,
    required_signatures: u32,
    v1: V1,
    accepted_format: Option<BundleFormat>,
}

impl HostState {
    fn trusting(numbers: &[u8]) -> Self {
        Self {
            keys: numbers.iter().map(|&number| (id(number), public(number))).collect(),
            revoked: BTreeMap::new(),
            required_signatures: 1,
            v1: V1::Refuse,
            accepted_format: None,
        }
    }
    fn revoking(mut self, number: u8) -> Self {
        self.revoked.insert(id(number), "laptop stolen".to_owned());
        self
    }
    fn requiring(mut self, required_signatures: u32) -> Self {
        self.required_signatures = required_signatures;
        self
    }
    fn allowing_v1(mut self) -> Self {
        self.v1 = V1::Allow;
        self
    }
    fn having_accepted(mut self, format: BundleFormat) -> Self {
        self.accepted_format = Some(format);
        self
    }
    fn judge(&self, file: &[u8]) -> Result<VerifiedBundle, VerifyError> {
        self.judge_at(file, now())
    }
    fn judge_at(&self, file: &[u8], now: Timestamp) -> Result<VerifiedBundle, VerifyError> {
        let Self { keys, revoked, required_signatures, v1, accepted_format } = self;
        let trust = Trust {
            keys,
            revoked,
            required_signatures: *required_signatures,
            v1: *v1,
            accepted_format: *accepted_format,
        };
        let bundle = SignedBundle::parse(file.to_vec()).map_err(|source| VerifyError::Bundle { source })?;
        verify(bundle, &trust, now)
    }
}

/// The payload of the sample bundle, and a signature of it by some key.
fn signature(number: u8) -> (KeyId, Signature) {
    (id(number), key(number).sign(&payload()))
}

fn payload() -> Vec<u8> {
    pre_authentication_encoding(PAYLOAD_TYPE, manifest().to_json().as_bytes())
}

fn with_signatures(signatures: &[(KeyId, Signature)]) -> Vec<u8> {
    raw_bundle(&manifest().to_json(), PAYLOAD_TYPE, signatures, POLICY)
}

fn changed(change: impl FnOnce(&mut SignRequest<'static>)) -> SignRequest<'static> {
    let mut request = request();
    change(&mut request);
    request
}

#[test]
fn believes_what_a_trusted_key_signed() {
    let verified = HostState::trusting(&[1, 2]).judge(&bundle()).unwrap();
    assert_eq!(verified.format(), BundleFormat::V2);
    assert_eq!(verified.manifest(), &manifest());
    assert_eq!(verified.signers(), [id(1)]);
    assert_eq!(verified.policy(), POLICY);
    assert_eq!(verified.as_bytes(), bundle());
    assert_eq!(verified.counter(), Counter { policy_version: 7, policy_sha256: sha256(POLICY), epoch: 0 });
}

/// Every bit of every byte, those of the policy among them.
#[test]
fn refuses_a_bundle_in_which_any_one_bit_was_flipped() {
    // The policy is short, and the second key is trusted too, so that a flip cannot hide behind an unknown signer.
    let host = HostState::trusting(&[1, 2]).allowing_v1();
    for original in [bundle(), bundle_v1()] {
        host.judge(&original).unwrap();
        let mut file = original.clone();
        let mut judged = 0;
        for at in 0..file.len() {
            for bit in 0..8 {
                file[at] ^= 1 << bit;
                assert!(host.judge(&file).is_err(), "bit {bit} of byte {at}");
                file[at] ^= 1 << bit;
                judged += 1;
            }
        }
        assert_eq!(file, original);
        assert_eq!(judged, original.len() * 8);
    }
}

#[test]
fn refuses_a_bundle_that_was_cut_short_or_lengthened() {
    let host = HostState::trusting(&[1]).allowing_v1();
    for original in [bundle(), bundle_v1()] {
        for len in 0..original.len() {
            assert!(host.judge(&original[..len]).is_err(), "cut to {len} bytes");
        }
        for tail in [&b"\n"[..], b"\0", b" ", b"\r\n", b"[deny_path]\n/bin/sh\n"] {
            assert!(host.judge(&[&original, tail].concat()).is_err(), "{tail:?}");
        }
    }
}

#[test]
fn refuses_untrusted_and_removed_signers() {
    let untrusted = HostState::trusting(&[2]).judge(&bundle()).unwrap_err();
    assert!(matches!(&untrusted, VerifyError::Untrusted { signers } if *signers == [id(1)]), "{untrusted:?}");
    let nobody = HostState::trusting(&[]);
    assert!(matches!(nobody.judge(&bundle()), Err(VerifyError::NoTrustedKeys)));
    // Also if none are required.
    assert!(matches!(
        HostState::trusting(&[]).requiring(0).judge(&bundle()),
        Err(VerifyError::NoTrustedKeys)
    ));
    assert!(matches!(
        HostState::trusting(&[2]).requiring(0).judge(&bundle()),
        Err(VerifyError::Untrusted { .. })
    ));
}

#[test]
fn refuses_revoked_signers_even_if_their_file_came_back() {
    for host in [HostState::trusting(&[1]), HostState::trusting(&[1, 2]), HostState::trusting(&[2])] {
        let error = host.revoking(1).judge(&bundle()).unwrap_err();
        assert!(matches!(&error, VerifyError::Revoked { key_id, .. } if *key_id == id(1)), "{error:?}");
        assert!(error.to_string().contains("laptop stolen"));
    }
}

#[test]
fn a_revoked_signature_neither_counts_nor_spoils_the_others() {
    let file = cosign(bundle(), &signer(2), now()).unwrap();
    let verified = HostState::trusting(&[1, 2]).revoking(1).judge(&file).unwrap();
    assert_eq!(verified.signers(), [id(2)]);
    let error = HostState::trusting(&[1, 2]).revoking(1).requiring(2).judge(&file).unwrap_err();
    assert!(matches!(error, VerifyError::Revoked { .. }), "{error:?}");
}

#[test]
fn counts_different_trusted_keys() {
    let two = cosign(bundle(), &signer(2), now()).unwrap();
    let three = cosign(two.clone(), &signer(3), now()).unwrap();
    let host = || HostState::trusting(&[1, 2]);
    assert_eq!(host().requiring(2).judge(&two).unwrap().signers(), [id(1), id(2)]);
    assert!(matches!(
        host().requiring(2).judge(&bundle()),
        Err(VerifyError::Quorum { found: 1, required: 2 })
    ));
    assert!(matches!(host().requiring(3).judge(&three), Err(VerifyError::Quorum { found: 2, required: 3 })));
    assert!(matches!(host().requiring(u32::MAX).judge(&three), Err(VerifyError::Quorum { found: 2, .. })));
    // An unknown co-signer does no harm.
    assert_eq!(HostState::trusting(&[2]).judge(&three).unwrap().signers(), [id(2)]);
}

#[test]
fn refuses_one_signature_repeated() {
    let one = signature(1);
    for signatures in [vec![one, one], vec![one, signature(2), one], vec![one, (id(2), one.1)]] {
        let error =
            HostState::trusting(&[1, 2]).requiring(2).judge(&with_signatures(&signatures)).unwrap_err();
        assert!(
            matches!(
                error,
                VerifyError::Bundle {
                    source: BundleError::RepeatedKey { .. } | BundleError::RepeatedSignature { .. }
                }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn refuses_one_key_under_two_ids() {
    let by_one = signature(1).1;
    // Under the id of another trusted key.
    let error = HostState::trusting(&[1, 2]).judge(&with_signatures(&[(id(2), by_one)])).unwrap_err();
    assert!(matches!(error, VerifyError::BadSignature { key_id } if key_id == id(2)), "{error:?}");
    // Under an id that nobody knows, alone and beside a good one.
    for signatures in [vec![(id(9), by_one)], vec![signature(2), (id(9), by_one)]] {
        let error = HostState::trusting(&[1, 2]).judge(&with_signatures(&signatures)).unwrap_err();
        assert!(
            matches!(error, VerifyError::Mislabelled { claimed, key_id } if claimed == id(9) && key_id == id(1)),
            "{error:?}"
        );
    }
    // One key in two files of the key directory is one key: the map is by id.
    let twice = HostState::trusting(&[1, 1]).requiring(2).judge(&bundle()).unwrap_err();
    assert!(matches!(twice, VerifyError::Quorum { found: 1, required: 2 }), "{twice:?}");
}

#[test]
fn a_forged_signature_beside_good_ones_is_refused() {
    let forged = (id(2), Signature::from_bytes([0; 64]));
    let error = HostState::trusting(&[1, 2]).judge(&with_signatures(&[signature(1), forged])).unwrap_err();
    assert!(matches!(error, VerifyError::BadSignature { key_id } if key_id == id(2)), "{error:?}");
}

/// The order of the group, little-endian (RFC 8032, section 5.1).
const L: [u8; 32] = hex_literal::hex!("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");

#[test]
fn refuses_a_malleable_signature() {
    let (key_id, signature) = signature(1);
    let mut bytes = *signature.as_bytes();
    let mut carry = 0_u16;
    for (s, l) in bytes[32..].iter_mut().zip(L) {
        carry += u16::from(*s) + u16::from(l);
        *s = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert_eq!(carry, 0, "S + L fits 256 bits");
    let other = Signature::from_bytes(bytes);
    assert_ne!(other, signature);
    let error = HostState::trusting(&[1]).judge(&with_signatures(&[(key_id, other)])).unwrap_err();
    assert!(matches!(error, VerifyError::BadSignature { .. }), "{error:?}");
}

#[test]
fn a_signature_for_another_purpose_is_none_for_a_policy() {
    let manifest = manifest().to_json();
    let purposes: [(&str, Vec<u8>); 9] = [
        ("the manifest alone", manifest.clone().into_bytes()),
        ("the policy", POLICY.to_vec()),
        ("the digest of the payload", sha256(&payload()).as_bytes().to_vec()),
        ("the hex digest of the policy", sha256(POLICY).to_string().into_bytes()),
        ("a challenge that quotes the payload", [b"prove possession of key\n".to_vec(), payload()].concat()),
        (
            "another payload type",
            pre_authentication_encoding("application/vnd.in-toto+json", manifest.as_bytes()),
        ),
        ("no payload type", pre_authentication_encoding("", manifest.as_bytes())),
        ("the older format", SignedBundle::parse(bundle_v1()).unwrap().signed_bytes().to_vec()),
        ("nothing", Vec::new()),
    ];
    for (name, message) in purposes {
        let file = with_signatures(&[(id(1), key(1).sign(&message))]);
        let error = HostState::trusting(&[1]).judge(&file).unwrap_err();
        assert!(matches!(error, VerifyError::BadSignature { .. }), "{name}: {error:?}");
    }
    // The other way round: the newer format's signature under the older format's header.
    let mut older = String::from_utf8(bundle_v1()).unwrap();
    let own = SignedBundle::parse(bundle_v1()).unwrap().signatures()[0].signature.to_string();
    older = older.replace(&own, &signature(1).1.to_string());
    let error = HostState::trusting(&[1]).allowing_v1().judge(older.as_bytes()).unwrap_err();
    assert!(matches!(error, VerifyError::BadSignature { .. }), "{error:?}");
}

#[test]
fn refuses_other_payload_types_even_if_properly_signed() {
    let manifest = manifest().to_json();
    for other in ["application/vnd.aegis.policy-manifest.v1+json", "application/json", ""] {
        let signature = key(1).sign(&pre_authentication_encoding(other, manifest.as_bytes()));
        let file = raw_bundle(&manifest, other, &[(id(1), signature)], POLICY);
        let error = HostState::trusting(&[1]).judge(&file).unwrap_err();
        assert!(
            matches!(error, VerifyError::Bundle { source: BundleError::PayloadType { .. } }),
            "{error:?}"
        );
    }
}

/// Somebody with a trusted key, or a signing tool with a bug, signs a manifest that is not one.
#[test]
fn refuses_bad_manifests_even_if_properly_signed() {
    let good = manifest().to_json();
    let change = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let reordered = change("\"policy_version\":7,", "").replacen('}', ",\"policy_version\":7}", 1);
    let field = [
        ("-1", change(":7,", ":-1,")),
        ("1e3", change(":7,", ":1e3,")),
        ("+5", change(":7,", ":+5,")),
        ("20 digits over the range", change(":7,", ":18446744073709551616,")),
        ("20 nines", change(":7,", ":99999999999999999999,")),
        ("leading zero", change(":7,", ":07,")),
        ("text", change(":7,", ":\"7\",")),
        ("version missing", change("\"policy_version\":7,", "")),
        ("digest missing", change(&format!("\"policy_sha256\":\"{}\",", sha256(POLICY)), "")),
        ("size missing", change(&format!("\"policy_size\":{},", POLICY.len()), "")),
        ("issue missing", change("\"issued_at\":\"2026-01-01T00:00:00Z\",", "")),
        ("expiry missing", change("\"expires_at\":\"2026-04-01T00:00:00Z\",", "")),
        ("epoch missing", change(",\"epoch\":0", "")),
        ("version repeated", change("\"policy_version\":7,", "\"policy_version\":7,\"policy_version\":8,")),
        ("epoch repeated", change("\"epoch\":0", "\"epoch\":0,\"epoch\":0")),
        ("unknown", change("\"epoch\":0", "\"epoch\":0,\"force\":true")),
        ("epoch over the range", change("\"epoch\":0", "\"epoch\":4294967296")),
        ("size negative", change(&format!("\"policy_size\":{}", POLICY.len()), "\"policy_size\":-1")),
        ("time without a zone", change("00:00:00Z\",\"expires", "00:00:00\",\"expires")),
        ("time as a number", change("\"2026-04-01T00:00:00Z\"", "1775001600")),
        ("more after it", format!("{good}{good}")),
        ("BOM", format!("\u{feff}{good}")),
        ("empty", String::new()),
        ("null", "null".to_owned()),
    ];
    for (name, payload) in field {
        let error = HostState::trusting(&[1]).judge(&signed_payload(&payload, POLICY)).unwrap_err();
        assert!(
            matches!(
                error,
                VerifyError::Bundle { source: BundleError::Manifest { source: ManifestError::Field { .. } } }
            ),
            "{name}: {error:?}"
        );
    }
    for (name, payload) in
        [("reordered", reordered), ("space", change(":7,", ": 7,")), ("line feed", format!("{good}\n"))]
    {
        let error = HostState::trusting(&[1]).judge(&signed_payload(&payload, POLICY)).unwrap_err();
        assert!(
            matches!(
                error,
                VerifyError::Bundle {
                    source: BundleError::Manifest { source: ManifestError::Spelling { .. } }
                }
            ),
            "{name}: {error:?}"
        );
    }
    let other =
        [change(":7,", ":0,"), change("2026-04-01", "2025-04-01"), format!("{good}{}", " ".repeat(4096))];
    for payload in other {
        let error = HostState::trusting(&[1]).judge(&signed_payload(&payload, POLICY)).unwrap_err();
        assert!(matches!(error, VerifyError::Bundle { source: BundleError::Manifest { .. } }), "{error:?}");
    }
}

#[test]
fn refuses_a_policy_that_is_not_the_one_that_was_signed() {
    let mut swapped = bundle();
    let len = swapped.len();
    swapped[len - POLICY.len()..].copy_from_slice(b"version=1\n[deny_path]\n/etc/passwd\n");
    let error = HostState::trusting(&[1]).judge(&swapped).unwrap_err();
    assert!(matches!(error, VerifyError::Digest { stated, .. } if stated == sha256(POLICY)), "{error:?}");
    // The size is signed too, and is held against the file before any hashing.
    for size in [0, 1, POLICY.len() as u64 + 1, u64::MAX] {
        let mut manifest = manifest();
        manifest.policy_size = size;
        let error =
            HostState::trusting(&[1]).judge(&signed_payload(&manifest.to_json(), POLICY)).unwrap_err();
        assert!(
            matches!(error, VerifyError::Bundle { source: BundleError::PolicySize { stated, .. } } if stated == size),
            "{error:?}"
        );
    }
}

#[test]
fn tells_the_time_in_whole_seconds() {
    let host = HostState::trusting(&[1]);
    for (now, end) in [
        ("2026-04-01T00:00:00.123456789Z", "it is now 2026-04-01T00:00:00Z"),
        ("2025-01-01T00:00:00.5Z", "it is now 2025-01-01T00:00:00Z"),
        ("1970-01-01T00:00:00.5Z", "says 1970-01-01T00:00:00Z, which cannot be"),
    ] {
        let message = host.judge_at(&bundle(), time(now)).unwrap_err().to_string();
        assert!(message.ends_with(end), "{message}");
    }
}

#[test]
fn judges_the_time() {
    let host = HostState::trusting(&[1]).allowing_v1();
    for file in [bundle(), bundle_v1()] {
        let at = |text: &str| host.judge_at(&file, time(text));
        // As early as the signer's clock may be ahead, as late as the last instant before expiry.
        for text in ["2025-12-31T23:55:00Z", "2026-01-01T00:00:00Z", "2026-03-31T23:59:59.999999999Z"] {
            at(text).unwrap();
        }
        for text in ["2026-04-01T00:00:00Z", "2026-04-01T00:00:01Z", "9999-01-01T00:00:00Z"] {
            assert!(matches!(at(text), Err(VerifyError::Expired { .. })), "{text}");
        }
        for text in ["2025-12-31T23:54:59Z", "2025-01-01T00:00:00Z"] {
            assert!(matches!(at(text), Err(VerifyError::NotYetValid { .. })), "{text}");
        }
        for text in [
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:20:00Z",
            "2023-12-31T23:59:59Z",
            "-009999-01-02T01:59:59Z",
        ] {
            assert!(matches!(at(text), Err(VerifyError::Clock { .. })), "{text}");
        }
    }
    for sign in [sign, sign_v1] {
        let never = sign(&changed(|request| request.expires_at = None), &signer(1)).unwrap();
        host.judge_at(&never, time("9999-12-01T00:00:00Z")).unwrap();
    }
}

#[test]
fn expiry_is_judged_only_after_the_signature() {
    // An attacker learns nothing about time, and a forged bundle is called forged.
    let late = time("2027-01-01T00:00:00Z");
    assert!(matches!(
        HostState::trusting(&[2]).judge_at(&bundle(), late),
        Err(VerifyError::Untrusted { .. })
    ));
}

#[test]
fn what_is_in_force_outlives_its_expiry() {
    let host = HostState::trusting(&[1]);
    let HostState { keys, revoked, required_signatures, v1, accepted_format } = &host;
    let trust = Trust {
        keys,
        revoked,
        required_signatures: *required_signatures,
        v1: *v1,
        accepted_format: *accepted_format,
    };
    for now in [time("2027-01-01T00:00:00Z"), Timestamp::UNIX_EPOCH] {
        let parsed = || SignedBundle::parse(bundle()).unwrap();
        verify_with(parsed(), &trust, now, Expiry::Ignored).unwrap();
        verify_with(parsed(), &trust, now, Expiry::Judged).unwrap_err();
    }
}

#[test]
fn reads_version_1_only_if_told_to_and_never_after_version_2() {
    let host = || HostState::trusting(&[1]);
    assert!(matches!(host().judge(&bundle_v1()), Err(VerifyError::V1NotAllowed)));
    assert!(matches!(
        host().having_accepted(BundleFormat::V2).judge(&bundle_v1()),
        Err(VerifyError::V1NotAllowed)
    ));
    assert!(matches!(
        host().allowing_v1().having_accepted(BundleFormat::V2).judge(&bundle_v1()),
        Err(VerifyError::V1AfterV2)
    ));
    host().allowing_v1().judge(&bundle_v1()).unwrap();
    host().allowing_v1().having_accepted(BundleFormat::V1).judge(&bundle_v1()).unwrap();
    host().allowing_v1().having_accepted(BundleFormat::V1).judge(&bundle()).unwrap();
}

#[test]
fn version_1_is_verified_against_the_key_it_names() {
    let text = String::from_utf8(bundle_v1()).unwrap();
    let renamed = text.replace(&public(1).to_hex(), &public(2).to_hex());
    for (host, file) in [(&[1, 2][..], renamed.as_str()), (&[2], renamed.as_str())] {
        let error = HostState::trusting(host).allowing_v1().judge(file.as_bytes()).unwrap_err();
        assert!(matches!(error, VerifyError::BadSignature { key_id } if key_id == id(2)), "{error:?}");
    }
    let error = HostState::trusting(&[1]).allowing_v1().judge(renamed.as_bytes()).unwrap_err();
    assert!(matches!(error, VerifyError::Mislabelled { .. }), "{error:?}");
    let error = HostState::trusting(&[1]).allowing_v1().revoking(1).judge(text.as_bytes()).unwrap_err();
    assert!(matches!(error, VerifyError::Revoked { .. }), "{error:?}");
}

/// The signed text of a version 1 bundle has nothing between its values. Its digits are dealt out again in every possible
/// way, also with leading zeros added and taken off: of all that give the same signed text, one is read.
#[test]
fn version_1_digits_cannot_be_moved_between_fields() {
    let expiries =
        [None, Some("2026-04-01T00:00:00Z"), Some("2033-05-18T03:33:20Z"), Some("2065-01-24T05:20:00Z")];
    // 2033-05-18T03:33:20Z is 2000000000: a value whose digits are mostly zeros is the easiest to move.
    let issues = ["2026-01-01T00:00:00Z", "2023-11-14T22:13:20Z", "2001-09-09T01:46:40Z"];
    let host = HostState::trusting(&[1]).allowing_v1();
    let HostState { keys, revoked, required_signatures, v1, accepted_format } = &host;
    let trust = Trust {
        keys,
        revoked,
        required_signatures: *required_signatures,
        v1: *v1,
        accepted_format: *accepted_format,
    };
    let mut tried = 0;
    for policy_version in [1, 7, 10, 12, 100, 1_000_000, 123_456_789, 100_000_000, 999_999_999] {
        for issued in issues {
            for expires_at in expiries {
                let mut manifest = manifest();
                manifest.policy_version = policy_version;
                manifest.issued_at = time(issued);
                manifest.expires_at = expires_at.map(time);
                let signed = crate::bundle::v1::signed_bytes(&manifest).unwrap();
                let signature = key_1_signs(&signed);
                let digits = String::from_utf8(signed[64..].to_vec()).unwrap();
                let mut accepted = Vec::new();
                for fields in deals(&digits) {
                    let file = v1_file(&fields, &signature);
                    tried += 1;
                    let Ok(bundle) = SignedBundle::parse(file) else { continue };
                    if verify_with(bundle, &trust, now(), Expiry::Ignored).is_ok() {
                        accepted.push(fields);
                    }
                }
                accepted.sort();
                accepted.dedup();
                let expires = manifest.expires_at.map_or("0".to_owned(), |time| time.as_second().to_string());
                let original =
                    [policy_version.to_string(), manifest.issued_at.as_second().to_string(), expires];
                assert_eq!(accepted, [original], "of {digits}");
            }
        }
    }
    assert!(tried > 100_000, "{tried} deals");
}

/// Every way to cut the digits into three fields, each as it is, without its leading zeros, and with one and two more.
fn deals(digits: &str) -> Vec<[String; 3]> {
    let spellings = |text: &str| {
        let bare = text.trim_start_matches('0');
        let mut all = vec![
            text.to_owned(),
            bare.to_owned(),
            format!("0{text}"),
            format!("00{text}"),
            format!("0{bare}"),
        ];
        all.sort();
        all.dedup();
        all
    };
    let mut deals = Vec::new();
    for first in 0..=digits.len() {
        for second in first..=digits.len() {
            for version in spellings(&digits[..first]) {
                for timestamp in spellings(&digits[first..second]) {
                    for expires in spellings(&digits[second..]) {
                        deals.push([version.clone(), timestamp.clone(), expires]);
                    }
                }
            }
        }
    }
    deals
}

fn key_1_signs(message: &[u8]) -> String {
    use std::sync::LazyLock;
    static KEY: LazyLock<aegis_crypto::SigningKey> = LazyLock::new(|| key(1));
    KEY.sign(message).to_string()
}

fn v1_file([version, timestamp, expires]: &[String; 3], signature: &str) -> Vec<u8> {
    use std::sync::LazyLock;
    static SIGNER: LazyLock<String> = LazyLock::new(|| public(1).to_hex());
    static SHA256: LazyLock<String> = LazyLock::new(|| sha256(POLICY).to_string());
    let mut file = format!(
        "AEGIS-POLICY-BUNDLE-V1\nformat_version: 1\npolicy_version: {version}\ntimestamp: {timestamp}\nexpires: {expires}\n\
         signer_key: {}\nsignature: {signature}\npolicy_sha256: {}\n---\n",
        *SIGNER, *SHA256
    )
    .into_bytes();
    file.extend_from_slice(POLICY);
    file
}

#[test]
fn every_refusal_says_what_to_do() {
    let host = || HostState::trusting(&[1]);
    let refusals = [
        host().judge(b"junk").unwrap_err(),
        host().judge(&bundle_v1()).unwrap_err(),
        host().allowing_v1().having_accepted(BundleFormat::V2).judge(&bundle_v1()).unwrap_err(),
        HostState::trusting(&[]).judge(&bundle()).unwrap_err(),
        HostState::trusting(&[2]).judge(&bundle()).unwrap_err(),
        host().revoking(1).judge(&bundle()).unwrap_err(),
        host().judge(&with_signatures(&[(id(1), signature(2).1)])).unwrap_err(),
        host().judge(&with_signatures(&[(id(2), signature(1).1)])).unwrap_err(),
        host().requiring(2).judge(&bundle()).unwrap_err(),
        host().judge_at(&bundle(), time("2027-01-01T00:00:00Z")).unwrap_err(),
        host().judge_at(&bundle(), time("2025-01-01T00:00:00Z")).unwrap_err(),
        host().judge_at(&bundle(), Timestamp::UNIX_EPOCH).unwrap_err(),
    ];
    for refusal in refusals {
        assert!(refusal.help().is_some_and(|help| !help.is_empty()), "{refusal:?}");
        assert!(!refusal.to_string().is_empty() && !refusal.refusal().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    /// A bundle that was changed in any way is refused, and nothing panics.
    #[test]
    fn a_mutated_bundle_is_refused(
        older in any::<bool>(),
        at in any::<prop::sample::Index>(),
        len in 0_usize..8,
        new in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        use std::sync::LazyLock;
        static SAMPLES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| [bundle(), bundle_v1()]);
        static HOST: LazyLock<HostState> = LazyLock::new(|| HostState::trusting(&[1]).allowing_v1());
        let original = &SAMPLES[usize::from(older)];
        let mut file = original.clone();
        let from = at.index(file.len());
        let to = (from + len).min(file.len());
        file.splice(from..to, new);
        prop_assert_eq!(HOST.judge(&file).is_ok(), file == *original);
    }
}
