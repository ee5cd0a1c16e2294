//! The older bundle format, whose signature covers four values with nothing between them.
//!
//! ```text
//! AEGIS-POLICY-BUNDLE-V1
//! format_version: 1
//! policy_version: 7
//! timestamp: 1767225600
//! expires: 0
//! signer_key: <64 hex>
//! signature: <128 hex>
//! policy_sha256: <64 hex>
//! ---
//! <policy, verbatim to the end of the file>
//! ```
//!
//! Signed is the text `policy_sha256 ‖ policy_version ‖ timestamp ‖ expires`. With free widths a digit could be moved
//! from the timestamp to the version, and an old bundle made to look new under the same signature. So one spelling is
//! read: a version of 1 to 9 digits, a timestamp of exactly 10, expires `0` or exactly 10, no leading zeros, each header
//! once and in this order. The lengths of the signed text are then 12 to 20 digits (no expiry) or 21 to 29, each of which
//! splits in one way.

use aegis_crypto::{Digest, KeyId, PublicKey, Signature};
use jiff::Timestamp;

use super::{BundleError, BundleFormat, BundleSignature, HeaderLines, SignedBundle};
use crate::{counter::strict_decimal, manifest::Manifest};

pub(super) const MAGIC: &[u8] = b"AEGIS-POLICY-BUNDLE-V1\n";

const FORMAT: &str = "format_version: 1";
const VERSION: &str = "policy_version: <1 to 9 digits, no leading zero>";
const TIMESTAMP: &str = "timestamp: <10 digits, no leading zero>";
const EXPIRES: &str = "expires: <0, or 10 digits, no leading zero>";
const SIGNER: &str = "signer_key: <64 lowercase hex digits>";
const SIGNATURE: &str = "signature: <128 lowercase hex digits>";
const SHA256: &str = "policy_sha256: <64 lowercase hex digits>";

pub(super) fn parse(file: Vec<u8>) -> Result<SignedBundle, BundleError> {
    let mut lines = HeaderLines::after_magic(&file, MAGIC)?;
    let mut header =
        |key: &'static str, expected: &'static str| -> Result<(&str, BundleError), BundleError> {
            let line = lines.line;
            let wrong = BundleError::V1Header { line, expected };
            let text = lines.next_line()?;
            let value = std::str::from_utf8(text).ok().and_then(|text| text.strip_prefix(key));
            value.map(|value| (value, wrong)).ok_or(BundleError::V1Header { line, expected })
        };
    let (format, wrong) = header("format_version: ", FORMAT)?;
    if format != "1" {
        return Err(wrong);
    }
    let (version, wrong) = header("policy_version: ", VERSION)?;
    let policy_version = digits(version, 1..=9).filter(|&version| version != 0).ok_or(wrong)?;
    let (timestamp, wrong) = header("timestamp: ", TIMESTAMP)?;
    let issued_at = digits(timestamp, 10..=10).and_then(unix_time).ok_or(wrong)?;
    let (expires, wrong) = header("expires: ", EXPIRES)?;
    let expires_at = match expires {
        "0" => None,
        _ => Some(digits(expires, 10..=10).and_then(unix_time).ok_or(wrong)?),
    };
    let (signer, wrong) = header("signer_key: ", SIGNER)?;
    let signer = lower_hex::<32>(signer).ok_or(wrong)?;
    let (signature, wrong) = header("signature: ", SIGNATURE)?;
    let signature = Signature::from_bytes(lower_hex::<64>(signature).ok_or(wrong)?);
    let (sha256, wrong) = header("policy_sha256: ", SHA256)?;
    let policy_sha256 = Digest::from_bytes(lower_hex::<32>(sha256).ok_or(wrong)?);
    let signed_bytes = format!("{policy_sha256}{policy_version}{timestamp}{expires}").into_bytes();
    let policy = lines.separator()?..file.len();
    let manifest = Manifest {
        policy_version,
        policy_sha256,
        policy_size: policy.len() as u64,
        issued_at,
        expires_at,
        epoch: 0,
    };
    manifest.check().map_err(|source| BundleError::Manifest { source })?;
    Ok(SignedBundle {
        format: BundleFormat::V1,
        manifest,
        signed_bytes,
        signatures: vec![BundleSignature { key_id: KeyId::of(&signer), signature }],
        v1_signer: Some(signer),
        file,
        policy,
    })
}

/// The bytes that a version 1 signature covers, or `None` if the values do not fit the unambiguous spelling.
pub(crate) fn signed_bytes(manifest: &Manifest) -> Option<Vec<u8>> {
    let Manifest { policy_version, policy_sha256, policy_size: _, issued_at, expires_at, epoch } = manifest;
    let timestamp = ten_digits(*issued_at)?;
    let expires = expires_text(*expires_at)?;
    ((1..=999_999_999).contains(policy_version) && *epoch == 0)
        .then(|| format!("{policy_sha256}{policy_version}{timestamp}{expires}").into_bytes())
}

/// A version 1 file; `manifest` has passed [`signed_bytes`].
pub(crate) fn assemble(
    manifest: &Manifest,
    key: &PublicKey,
    signature: &Signature,
    policy: &[u8],
) -> Option<Vec<u8>> {
    let mut file = header_text(manifest, &hex::encode(key.as_bytes()), signature)?.into_bytes();
    file.extend_from_slice(policy);
    Some(file)
}

pub(super) fn print(bundle: &SignedBundle) -> Vec<u8> {
    let signature = bundle.signatures.first().map(|signature| signature.signature);
    let signer = bundle.v1_signer.map(hex::encode).unwrap_or_default();
    let header = signature.and_then(|signature| header_text(&bundle.manifest, &signer, &signature));
    let mut file = header.unwrap_or_default().into_bytes();
    file.extend_from_slice(bundle.policy());
    file
}

fn header_text(manifest: &Manifest, signer: &str, signature: &Signature) -> Option<String> {
    let Manifest { policy_version, policy_sha256, policy_size: _, issued_at, expires_at, epoch: _ } =
        manifest;
    let timestamp = ten_digits(*issued_at)?;
    let expires = expires_text(*expires_at)?;
    let magic = std::str::from_utf8(MAGIC).ok()?;
    Some(format!(
        "{magic}format_version: 1\npolicy_version: {policy_version}\ntimestamp: {timestamp}\nexpires: {expires}\n\
         signer_key: {signer}\nsignature: {signature}\npolicy_sha256: {policy_sha256}\n---\n"
    ))
}

fn expires_text(expires_at: Option<Timestamp>) -> Option<String> {
    expires_at.map_or(Some("0".to_owned()), ten_digits)
}

fn ten_digits(time: Timestamp) -> Option<String> {
    let text = time.as_second().to_string();
    (text.len() == 10 && !text.starts_with('-')).then_some(text)
}

fn digits(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<u64> {
    if !count.contains(&text.len()) {
        return None;
    }
    strict_decimal(text)
}

fn unix_time(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}
