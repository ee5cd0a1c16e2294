//! The one function that believes a bundle.
//!
//! Everything that puts a policy in force takes a [`VerifiedBundle`], and only [`verify`] makes one.

use std::{collections::BTreeMap, ops::Range};

use aegis_crypto::{Digest, KeyId, PublicKey, sha256};
use jiff::{SignedDuration, Timestamp};

use crate::{
    bundle::{BundleError, BundleFormat, SignedBundle},
    counter::Counter,
    key_dir::KeysError,
    manifest::{Manifest, truncate_to_seconds},
};

/// How far the signer's clock may be ahead of the host's.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Before this no bundle can have been signed: a host whose clock says so does not know the time.
/// 2024-01-01T00:00:00Z.
const EARLIEST_SANE: i64 = 1_704_067_200;

/// Whether bundles of the older format are read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V1 {
    /// They are refused.
    Refuse,
    /// They are read, on a host that has never accepted a version 2 bundle.
    Allow,
}

/// What a host believes in.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The trusted keys by id.
    pub keys: &'a BTreeMap<KeyId, PublicKey>,
    /// Ids that are refused for ever, with the reason.
    pub revoked: &'a BTreeMap<KeyId, String>,
    /// How many different trusted keys must have signed.
    pub required_signatures: u32,
    /// Whether version 1 is read.
    pub v1: V1,
    /// The highest format this host has accepted.
    pub accepted_format: Option<BundleFormat>,
}

/// A bundle whose signature, digest and expiry hold. Only [`verify`] makes one.
#[derive(Debug)]
pub struct VerifiedBundle {
    format: BundleFormat,
    manifest: Manifest,
    signers: Vec<KeyId>,
    file: Vec<u8>,
    policy: Range<usize>,
}

/// Why a bundle is not to be believed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not a bundle.
    #[error("it is not a signed bundle that this program reads")]
    Bundle {
        /// Why.
        source: BundleError,
    },
    /// The trusted keys cannot be told.
    #[error("the trusted keys cannot be loaded")]
    Keys {
        /// Why.
        source: KeysError,
    },
    /// The older format, without `--allow-v1`.
    #[error("it is a version 1 bundle, whose signature does not separate its fields")]
    V1NotAllowed,
    /// The older format on a host that has accepted the newer one.
    #[error("it is a version 1 bundle, and this host has accepted a version 2 bundle before")]
    V1AfterV2,
    /// There is nothing to verify against.
    #[error("no trusted key is installed on this host")]
    NoTrustedKeys,
    /// Nobody that this host trusts has signed it.
    #[error("no trusted key has signed it; signed by {}", id_list(signers))]
    Untrusted {
        /// Whose signatures it claims to carry.
        signers: Vec<KeyId>,
    },
    /// A key that is refused for ever has signed it, and not enough others have.
    #[error("it is signed by key {key_id}, which was revoked ({reason})")]
    Revoked {
        /// The revoked key.
        key_id: KeyId,
        /// Why it was revoked.
        reason: String,
    },
    /// The signature of a trusted key does not hold: the bundle was changed, or the signature is forged.
    #[error("the signature by trusted key {key_id} does not hold; the bundle was changed or forged")]
    BadSignature {
        /// Whose signature it claims to be.
        key_id: KeyId,
    },
    /// A trusted key's signature under the id of another key.
    #[error("the signature that claims to be by {claimed} is by trusted key {key_id}")]
    Mislabelled {
        /// The id it stands under.
        claimed: KeyId,
        /// The key that made it.
        key_id: KeyId,
    },
    /// Some, but not enough.
    #[error("{found} trusted keys have signed it, and this host requires {required}")]
    Quorum {
        /// How many have.
        found: usize,
        /// How many must.
        required: u32,
    },
    /// The policy is not the one that was signed.
    #[error("the policy does not match its signed digest (sha256 {found}, signed {stated})")]
    Digest {
        /// SHA-256 of the policy.
        found: Digest,
        /// What was signed.
        stated: Digest,
    },
    /// Too late.
    #[error("it expired at {expires_at}; it is now {}", truncate_to_seconds(*now))]
    Expired {
        /// From when on it is refused.
        expires_at: Timestamp,
        /// The host's clock.
        now: Timestamp,
    },
    /// Too early: signed in what this host takes for the future.
    #[error("it was issued at {issued_at}, and it is now {}", truncate_to_seconds(*now))]
    NotYetValid {
        /// When it was signed.
        issued_at: Timestamp,
        /// The host's clock.
        now: Timestamp,
    },
    /// Expiry cannot be judged.
    #[error("the clock of this host says {}, which cannot be", truncate_to_seconds(*now))]
    Clock {
        /// The host's clock.
        now: Timestamp,
    },
}

impl VerifyError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Bundle { source } => return source.help(),
            Self::Keys { source } => return source.help(),
            Self::V1NotAllowed => {
                "sign the policy again with `aegisbpf policy sign`; during a migration, `--allow-v1` reads it".to_owned()
            }
            Self::V1AfterV2 => "sign the policy again with `aegisbpf policy sign`".to_owned(),
            Self::NoTrustedKeys => "install the signer's public key with `aegisbpf keys add FILE`".to_owned(),
            Self::Untrusted { .. } => {
                "compare with `aegisbpf keys list`; if the signer is right, install its key with `aegisbpf keys add FILE`"
                    .to_owned()
            }
            Self::Revoked { .. } => "have the policy signed by another key".to_owned(),
            Self::BadSignature { .. } | Self::Digest { .. } => {
                "fetch the bundle again from its source; if it still fails, treat it as an attack and keep the file".to_owned()
            }
            Self::Mislabelled { .. } => "treat it as an attack and keep the file".to_owned(),
            Self::Quorum { .. } => "have another signer run `aegisbpf policy cosign FILE`".to_owned(),
            Self::Expired { .. } => "have it signed again with `aegisbpf policy reissue`".to_owned(),
            Self::NotYetValid { .. } | Self::Clock { .. } => "set the clock (`timedatectl`), then run this again".to_owned(),
        })
    }

    /// The word under which the audit log files this refusal.
    pub fn refusal(&self) -> &'static str {
        match self {
            Self::Bundle { .. } => "malformed",
            Self::Expired { .. } | Self::NotYetValid { .. } => "expired",
            Self::Untrusted { .. }
            | Self::Revoked { .. }
            | Self::BadSignature { .. }
            | Self::Mislabelled { .. }
            | Self::Digest { .. }
            | Self::Quorum { .. } => "bad_signature",
            Self::V1AfterV2 => "rollback",
            Self::Keys { .. } | Self::V1NotAllowed | Self::NoTrustedKeys | Self::Clock { .. } => "other",
        }
    }
}

/// Whether expiry counts. It refuses a new policy; it never takes one out of force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// An expired bundle is refused.
    Judged,
    /// The bundle is in force already, or was on its way when the host stopped.
    Ignored,
}

/// Believes a bundle, or says why not: signatures by enough trusted, unrevoked keys, digest, expiry.
///
/// # Errors
///
/// [`VerifyError`].
pub fn verify(
    bundle: SignedBundle,
    trust: &Trust<'_>,
    now: Timestamp,
) -> Result<VerifiedBundle, VerifyError> {
    verify_with(bundle, trust, now, Expiry::Judged)
}

/// Believes a bundle by one key alone, without a host: for a signer who checks what was made.
///
/// # Errors
///
/// [`VerifyError`].
pub fn verify_by_key(
    bundle: SignedBundle,
    key: PublicKey,
    v1: V1,
    now: Timestamp,
) -> Result<VerifiedBundle, VerifyError> {
    let (keys, revoked) = (BTreeMap::from([(key.key_id(), key)]), BTreeMap::new());
    let trust = Trust { keys: &keys, revoked: &revoked, required_signatures: 1, v1, accepted_format: None };
    verify(bundle, &trust, now)
}

pub(crate) fn verify_with(
    bundle: SignedBundle,
    trust: &Trust<'_>,
    now: Timestamp,
    expiry: Expiry,
) -> Result<VerifiedBundle, VerifyError> {
    if bundle.format() == BundleFormat::V1 {
        match (trust.v1, trust.accepted_format) {
            (V1::Refuse, _) => return Err(VerifyError::V1NotAllowed),
            (V1::Allow, Some(BundleFormat::V2)) => return Err(VerifyError::V1AfterV2),
            (V1::Allow, None | Some(BundleFormat::V1)) => {}
        }
    }
    let signers = valid_signers(&bundle, trust)?;
    let found = sha256(bundle.policy());
    let stated = bundle.manifest().policy_sha256;
    if found != stated {
        return Err(VerifyError::Digest { found, stated });
    }
    if expiry == Expiry::Judged {
        judge_time(bundle.manifest(), now)?;
    }
    let (format, manifest) = (bundle.format(), bundle.manifest().clone());
    let (file, policy) = bundle.into_file();
    Ok(VerifiedBundle { format, manifest, signers, file, policy })
}

/// The different trusted keys whose signatures hold; enough of them, or an error.
fn valid_signers(bundle: &SignedBundle, trust: &Trust<'_>) -> Result<Vec<KeyId>, VerifyError> {
    if trust.keys.is_empty() {
        return Err(VerifyError::NoTrustedKeys);
    }
    let message = bundle.signed_bytes();
    let mut signers = Vec::new();
    let mut revoked = None;
    for claimed in bundle.signatures() {
        // Revoked before trusted: a key file that came back by some other way than `keys add` stays refused.
        if let Some(reason) = trust.revoked.get(&claimed.key_id) {
            revoked.get_or_insert((claimed.key_id, reason));
            continue;
        }
        if let Some(key) = trust.keys.get(&claimed.key_id) {
            if bundle.v1_signer().is_some_and(|named| named != key.as_bytes())
                || key.verify(message, &claimed.signature).is_err()
            {
                return Err(VerifyError::BadSignature { key_id: claimed.key_id });
            }
            signers.push(claimed.key_id);
        } else if let Some(key_id) = made_by(message, claimed.signature, trust) {
            return Err(VerifyError::Mislabelled { claimed: claimed.key_id, key_id });
        }
    }
    let required = trust.required_signatures.max(1);
    if signers.len() >= usize::try_from(required).unwrap_or(usize::MAX) {
        return Ok(signers);
    }
    match revoked {
        Some((key_id, reason)) => Err(VerifyError::Revoked { key_id, reason: reason.clone() }),
        None if signers.is_empty() => Err(VerifyError::Untrusted {
            signers: bundle.signatures().iter().map(|claimed| claimed.key_id).collect(),
        }),
        None => Err(VerifyError::Quorum { found: signers.len(), required }),
    }
}

/// The trusted key that really made a signature which stands under an unknown id.
fn made_by(message: &[u8], signature: aegis_crypto::Signature, trust: &Trust<'_>) -> Option<KeyId> {
    trust.keys.iter().find(|(_, key)| key.verify(message, &signature).is_ok()).map(|(id, _)| *id)
}

fn judge_time(manifest: &Manifest, now: Timestamp) -> Result<(), VerifyError> {
    if !clock_is_sane(now) {
        return Err(VerifyError::Clock { now });
    }
    if manifest.issued_at.duration_since(now) > CLOCK_SKEW {
        return Err(VerifyError::NotYetValid { issued_at: manifest.issued_at, now });
    }
    match manifest.expires_at {
        Some(expires_at) if now >= expires_at => Err(VerifyError::Expired { expires_at, now }),
        _ => Ok(()),
    }
}

/// Whether the host can know the time at all.
pub(crate) fn clock_is_sane(now: Timestamp) -> bool {
    now.as_second() >= EARLIEST_SANE
}

impl VerifiedBundle {
    /// The format.
    pub fn format(&self) -> BundleFormat {
        self.format
    }
    /// What was signed.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// The different trusted keys that signed it.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }
    /// The policy text.
    pub fn policy(&self) -> &[u8] {
        self.file.get(self.policy.clone()).unwrap_or_default()
    }
    /// The whole file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.file
    }
    /// The counter that accepting this bundle leads to.
    pub fn counter(&self) -> Counter {
        let Manifest { policy_version, policy_sha256, epoch, .. } = self.manifest;
        Counter { policy_version, policy_sha256, epoch }
    }
}

fn id_list(ids: &[KeyId]) -> String {
    ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
