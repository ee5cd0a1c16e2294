//! The policy in a file, be it a bundle or a plain text, for those who only want to read it.

use aegis_crypto::{Digest, KeyId};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    bundle::{BundleError, BundleFormat, SignedBundle, is_bundle},
    manifest::Manifest,
};

/// A policy that somebody wants to read. Nothing about it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText {
    /// What the bundle says of it; `None` for a plain policy.
    pub bundle: Option<BundleSummary>,
    /// The policy text.
    pub policy: Vec<u8>,
}

/// What a bundle claims. No signature of it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleSummary {
    /// Its format.
    pub format: BundleFormat,
    /// Its version.
    pub policy_version: u64,
    /// Its epoch.
    pub epoch: u32,
    /// The digest it states.
    pub policy_sha256: Digest,
    /// The length of the policy in bytes.
    pub policy_size: u64,
    /// When it says it was signed.
    pub issued_at: Timestamp,
    /// From when on hosts refuse it as new.
    pub expires_at: Option<Timestamp>,
    /// The ids of the keys that it says have signed it.
    pub claimed_signers: Vec<KeyId>,
}

/// Takes the policy out of a bundle, or takes a plain policy as it is. Verifies nothing.
///
/// # Errors
///
/// [`BundleError`] if the file claims to be a bundle and is not one.
pub fn policy_text(file: Vec<u8>) -> Result<PolicyText, BundleError> {
    if !is_bundle(&file) {
        return Ok(PolicyText { bundle: None, policy: file });
    }
    let bundle = SignedBundle::parse(file)?;
    let summary = BundleSummary::of(&bundle);
    let (mut file, policy) = bundle.into_file();
    file.truncate(policy.end);
    file.drain(..policy.start);
    Ok(PolicyText { bundle: Some(summary), policy: file })
}

impl BundleSummary {
    /// What `bundle` says of itself.
    pub fn of(bundle: &SignedBundle) -> Self {
        let Manifest { policy_version, policy_sha256, policy_size, issued_at, expires_at, epoch } =
            *bundle.manifest();
        Self {
            format: bundle.format(),
            policy_version,
            epoch,
            policy_sha256,
            policy_size,
            issued_at,
            expires_at,
            claimed_signers: bundle.signatures().iter().map(|claimed| claimed.key_id).collect(),
        }
    }
}
