//! How a bundle that was verified stands to the version counter of a host, and what there is to say of it.

use aegis_crypto::{Digest, KeyId};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    bundle::BundleFormat,
    counter::{Counter, CounterRefusal, Judgement},
    host::Host,
    manifest::Manifest,
    verify::VerifiedBundle,
};

/// What was verified.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// The bundle's format.
    pub format: BundleFormat,
    /// Its version.
    pub policy_version: u64,
    /// Its epoch.
    pub epoch: u32,
    /// SHA-256 of the policy text.
    pub policy_sha256: Digest,
    /// Length of the policy text in bytes.
    pub policy_size: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// From when on it is no longer accepted as new.
    pub expires_at: Option<Timestamp>,
    /// The different trusted keys that signed it.
    pub signers: Vec<KeyId>,
    /// What the host's counter would say; none if it was not held against a host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter: Option<Standing>,
}

/// What a host's version counter says to a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The host has accepted no version yet.
    First,
    /// Newer than what it has accepted.
    Newer,
    /// What it has accepted last.
    Same,
    /// Older than what it has accepted; refused.
    Older,
    /// The same version with other content; refused.
    OtherContent,
    /// A higher epoch without an approval; refused.
    EpochNeedsApproval,
    /// The counter cannot be used, so everything is refused.
    Unreadable,
}

impl VerifyReport {
    /// What there is to say of a bundle by itself.
    pub fn of(bundle: &VerifiedBundle) -> Self {
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
            signers: bundle.signers().to_vec(),
            counter: None,
        }
    }
}

impl Host {
    /// What there is to say of a bundle, held against this host's counter.
    pub fn verify_report(&self, bundle: &VerifiedBundle) -> VerifyReport {
        VerifyReport { counter: Some(self.standing(bundle)), ..VerifyReport::of(bundle) }
    }

    fn standing(&self, bundle: &VerifiedBundle) -> Standing {
        let Ok(accepted) = self.counter() else { return Standing::Unreadable };
        match Counter::judge(accepted.as_ref(), &bundle.counter()) {
            Ok(Judgement::First) => Standing::First,
            Ok(Judgement::Newer) => Standing::Newer,
            Ok(Judgement::Same) => Standing::Same,
            Err(CounterRefusal::Rollback { .. } | CounterRefusal::OlderEpoch { .. }) => Standing::Older,
            Err(CounterRefusal::OtherContent { .. }) => Standing::OtherContent,
            Err(CounterRefusal::EpochNeedsApproval { .. }) => Standing::EpochNeedsApproval,
        }
    }
}
