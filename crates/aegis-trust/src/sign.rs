//! The signer's side: makes bundles, adds signatures, and issues old content anew.
//!
//! A policy with errors is not signed, and no signature leaves here that was not verified first: what an operator
//! carries to a host will not be refused there for a reason that was known here.

use aegis_crypto::{KeyId, Signature, sha256};
use aegis_policy::{Limits, PolicyErrors};
use jiff::Timestamp;

use crate::{
    bundle::{
        BundleError, BundleFormat, BundleSignature, MAX_SIGNATURES, PAYLOAD_TYPE, SignedBundle, is_bundle,
        pre_authentication_encoding, v1,
    },
    manifest::{Manifest, ManifestError, truncate_to_seconds},
    verify::clock_is_sane,
};

mod policy_text;
#[cfg(test)]
pub(crate) mod samples;
mod signer;

pub use policy_text::{BundleSummary, PolicyText, policy_text};
pub(crate) use signer::read_private_file;
pub use signer::{DeviceAnswer, PayloadSigner, PemSigner, SignerError, SignerFailure};

/// What is to be signed.
#[derive(Debug, Clone, Copy)]
pub struct SignRequest<'a> {
    /// The policy text, byte for byte.
    pub policy: &'a [u8],
    /// Its version, from 1.
    pub policy_version: u64,
    /// Its epoch; 0 unless two custodians have moved it forward.
    pub epoch: u32,
    /// Now.
    pub issued_at: Timestamp,
    /// From when on hosts refuse it as new; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// How large a policy hosts take.
    pub limits: Limits,
}

/// Why nothing was signed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Hosts would refuse it.
    #[error("the policy is not valid")]
    Policy {
        /// Everything that is wrong with it.
        source: PolicyErrors,
    },
    /// A bundle was given where a policy is signed.
    #[error("it is a signed bundle already")]
    AlreadyABundle,
    /// A bundle was needed, and this is not one that can be read.
    #[error("it is not a signed bundle that this program reads")]
    Bundle {
        /// Why.
        source: BundleError,
    },
    /// The version or the times cannot be signed.
    #[error("no manifest can be made of this request")]
    Manifest {
        /// Why.
        source: ManifestError,
    },
    /// The times in the manifest would be wrong.
    #[error("the clock of this machine says {}, which cannot be", truncate_to_seconds(*now))]
    Clock {
        /// What it says.
        now: Timestamp,
    },
    /// No signature brings an expired bundle back.
    #[error("it expired at {expires_at}; it is now {}", truncate_to_seconds(*now))]
    Expired {
        /// When it expired.
        expires_at: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// The signer gave no signature.
    #[error("the signer gave no signature")]
    Signer {
        /// Why.
        source: SignerError,
    },
    /// The signer gave a signature that is not by the public key it goes with.
    #[error("the signature that was made does not verify under the signer's public key {key_id}")]
    DoesNotVerify {
        /// The key that should have made it.
        key_id: KeyId,
    },
    /// The older format has room for versions of 9 digits.
    #[error("version 1 bundles have policy versions from 1 to 999999999, not {policy_version}")]
    V1Version {
        /// The version asked for.
        policy_version: u64,
    },
    /// The older format knows no epochs.
    #[error("version 1 bundles have no epoch, and epoch {epoch} was asked for")]
    V1Epoch {
        /// The epoch asked for.
        epoch: u32,
    },
    /// The older format has room for times of exactly 10 digits.
    #[error("version 1 bundles have times from 2001-09-09 to 2286-11-20, not {time}")]
    V1Time {
        /// The time that does not fit.
        time: Timestamp,
    },
    /// The older format has room for one signature.
    #[error("it is a version 1 bundle, which has room for one signature")]
    V1Cosign,
    /// The policy in the bundle is not the one that was signed.
    #[error("the policy in the bundle does not match its manifest; it was changed after it was signed")]
    Digest,
    /// One key, one signature.
    #[error("key {key_id} has signed it already")]
    AlreadySigned {
        /// The signer's key.
        key_id: KeyId,
    },
    /// No room.
    #[error("it carries {MAX_SIGNATURES} signatures already")]
    TooManySignatures,
    /// Hosts that have accepted the old one would refuse it.
    #[error(
        "version {policy_version} in epoch {epoch} is not above the bundle's own, {old_version} in epoch {old_epoch}"
    )]
    NotAbove {
        /// The version asked for.
        policy_version: u64,
        /// The epoch asked for.
        epoch: u32,
        /// The version of the bundle.
        old_version: u64,
        /// The epoch of the bundle.
        old_epoch: u32,
    },
}

impl SignError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Policy { .. } => "`aegisbpf policy lint FILE` shows every error with its line".to_owned(),
            Self::AlreadyABundle => {
                "add a signature with `aegisbpf policy cosign`, or sign its content again with `aegisbpf policy reissue`"
                    .to_owned()
            }
            Self::Bundle { source } => return source.help(),
            Self::Manifest { source: ManifestError::NeverValid { .. } } => "give a time in the future, or a span such as 90d".to_owned(),
            Self::Manifest { source: ManifestError::VersionZero } => "give a version from 1".to_owned(),
            Self::Manifest { .. } => return None,
            Self::Clock { .. } => "set the clock (`timedatectl`), then run this again".to_owned(),
            Self::Expired { .. } => "sign its content again with `aegisbpf policy reissue`".to_owned(),
            Self::Signer { source } => return source.help(),
            Self::DoesNotVerify { .. } => {
                "check that the public key belongs to the signer's private key, and that it signs the raw bytes (Ed25519, not Ed25519ph)"
                    .to_owned()
            }
            Self::V1Version { .. } | Self::V1Epoch { .. } | Self::V1Time { .. } | Self::V1Cosign => {
                "sign it in the current format (leave out `--format v1`)".to_owned()
            }
            Self::Digest => "fetch the bundle again from its source".to_owned(),
            Self::AlreadySigned { .. } => "have the holder of another key sign".to_owned(),
            Self::TooManySignatures => "sign the policy again with the keys that are needed".to_owned(),
            Self::NotAbove { old_version, .. } => match old_version.checked_add(1) {
                Some(next) => format!("sign it as version {next} or higher"),
                None => "no higher version exists in this epoch; two custodians can approve a new one".to_owned(),
            },
        })
    }
}

/// Signs a policy: gives the whole bundle, whose signature has been verified.
///
/// # Errors
///
/// [`SignError`]: the policy has errors, the request makes no valid manifest, the signer failed, or its signature is
/// not by its public key.
pub fn sign(request: &SignRequest<'_>, signer: &dyn PayloadSigner) -> Result<Vec<u8>, SignError> {
    let manifest = manifest_for(request)?;
    let payload = pre_authentication_encoding(PAYLOAD_TYPE, manifest.to_json().as_bytes());
    let signature = checked_signature(&payload, signer)?;
    let signature = BundleSignature::by(signer.public_key(), signature);
    Ok(SignedBundle::assemble(&manifest, &[signature], request.policy))
}

/// Signs a policy in the older format, for hosts that do not read the newer one yet.
///
/// # Errors
///
/// As [`sign`]; and what does not fit the one unambiguous spelling of that format.
pub fn sign_v1(request: &SignRequest<'_>, signer: &dyn PayloadSigner) -> Result<Vec<u8>, SignError> {
    let manifest = manifest_for(request)?;
    let payload = v1::signed_bytes(&manifest).ok_or_else(|| v1_misfit(&manifest))?;
    let signature = checked_signature(&payload, signer)?;
    v1::assemble(&manifest, signer.public_key(), &signature, request.policy)
        .ok_or_else(|| v1_misfit(&manifest))
}

/// Adds a signature to a bundle. Those that it carries stay as they are; they are the hosts' to judge.
///
/// # Errors
///
/// [`SignError`]: it is not a version 2 bundle with room for one more, its policy is not what it says or has errors, it
/// has expired, this key has signed it already, or the signer failed.
pub fn cosign(bundle: Vec<u8>, signer: &dyn PayloadSigner, now: Timestamp) -> Result<Vec<u8>, SignError> {
    let bundle = SignedBundle::parse(bundle).map_err(|source| SignError::Bundle { source })?;
    if bundle.format() == BundleFormat::V1 {
        return Err(SignError::V1Cosign);
    }
    check_digest(&bundle)?;
    if let Some(expires_at) = bundle.manifest().expires_at
        && now >= expires_at
    {
        return Err(SignError::Expired { expires_at, now });
    }
    let key_id = signer.public_key().key_id();
    if bundle.signatures().iter().any(|earlier| earlier.key_id == key_id) {
        return Err(SignError::AlreadySigned { key_id });
    }
    if bundle.signatures().len() >= MAX_SIGNATURES {
        return Err(SignError::TooManySignatures);
    }
    check_policy(bundle.policy(), &ANY_SIZE)?;
    let signature = checked_signature(bundle.signed_bytes(), signer)?;
    let mut signatures = bundle.signatures().to_vec();
    signatures.push(BundleSignature { key_id, signature });
    Ok(SignedBundle::assemble(bundle.manifest(), &signatures, bundle.policy()))
}

/// Signs the content of a bundle, or of a plain policy, under a new version: the honest way back to an older policy.
///
/// The signatures of the old bundle are not judged: what counts is who signs now. Its digest must hold.
///
/// # Errors
///
/// [`SignError`] as [`sign`]; and a version that is not above that of the old bundle.
pub fn reissue(
    file: Vec<u8>,
    policy_version: u64,
    epoch: u32,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    signer: &dyn PayloadSigner,
) -> Result<Vec<u8>, SignError> {
    let again = |policy: &[u8]| {
        let request = SignRequest { policy, policy_version, epoch, issued_at, expires_at, limits: ANY_SIZE };
        sign(&request, signer)
    };
    if !is_bundle(&file) {
        return again(&file);
    }
    let old = SignedBundle::parse(file).map_err(|source| SignError::Bundle { source })?;
    check_digest(&old)?;
    let Manifest { policy_version: old_version, epoch: old_epoch, .. } = *old.manifest();
    if (epoch, policy_version) <= (old_epoch, old_version) {
        return Err(SignError::NotAbove { policy_version, epoch, old_version, old_epoch });
    }
    again(old.policy())
}

/// For content that was signed before: its size was judged when it was read, and hosts judge it by their own limits.
const ANY_SIZE: Limits = Limits { max_bytes: usize::MAX, max_rules: usize::MAX };

fn manifest_for(request: &SignRequest<'_>) -> Result<Manifest, SignError> {
    let SignRequest { policy, policy_version, epoch, issued_at, expires_at, limits } = *request;
    if is_bundle(policy) {
        return Err(SignError::AlreadyABundle);
    }
    if !clock_is_sane(issued_at) {
        return Err(SignError::Clock { now: issued_at });
    }
    check_policy(policy, &limits)?;
    let manifest = Manifest {
        policy_version,
        policy_sha256: sha256(policy),
        policy_size: policy.len() as u64,
        issued_at: truncate_to_seconds(issued_at),
        expires_at: expires_at.map(truncate_to_seconds),
        epoch,
    };
    manifest.check().map_err(|source| SignError::Manifest { source })?;
    Ok(manifest)
}

fn check_policy(policy: &[u8], limits: &Limits) -> Result<(), SignError> {
    aegis_policy::parse(policy, limits).map(|_| ()).map_err(|source| SignError::Policy { source })
}

fn check_digest(bundle: &SignedBundle) -> Result<(), SignError> {
    if sha256(bundle.policy()) == bundle.manifest().policy_sha256 { Ok(()) } else { Err(SignError::Digest) }
}

/// The one place where signatures come from. A signer with the wrong key, or a faulty one, is found out here.
fn checked_signature(payload: &[u8], signer: &dyn PayloadSigner) -> Result<Signature, SignError> {
    let signature = signer.sign(payload).map_err(|source| SignError::Signer { source })?;
    let key = signer.public_key();
    key.verify(payload, &signature).map_err(|_| SignError::DoesNotVerify { key_id: key.key_id() })?;
    Ok(signature)
}

/// Which limit of the older format a manifest is over.
fn v1_misfit(manifest: &Manifest) -> SignError {
    let Manifest { policy_version, policy_sha256: _, policy_size: _, issued_at, expires_at, epoch } =
        *manifest;
    if epoch != 0 {
        return SignError::V1Epoch { epoch };
    }
    if !(1..=999_999_999).contains(&policy_version) {
        return SignError::V1Version { policy_version };
    }
    // The issue time is of this century, so what is left is a far expiry.
    SignError::V1Time { time: expires_at.unwrap_or(issued_at) }
}

#[cfg(test)]
mod tests;
