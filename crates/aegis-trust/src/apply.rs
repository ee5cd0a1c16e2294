//! The one transaction that puts a policy in force.
//!
//! Under the lock: read (bounded) → envelope → signatures → expiry → counter → parse the policy → stage and sync →
//! journal → counter → enforce → `policy.applied` (the old one becomes `policy.applied.prev`) → audit → end the journal.
//! Killed at any instant, the host has the old policy or the new one; `policy.applied` is never absent between them, the
//! counter never goes down, and the next command finishes what was begun. A refusal changes nothing but the log.

use std::path::Path;

use aegis_approval::Subject;
use aegis_audit::{Action, Event, Outcome};
use aegis_crypto::{KeyId, sha256};
use aegis_policy::{Policy, PolicyErrors};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    approval::{ApprovalError, describe_consent},
    bundle::{self, BundleFormat, SignedBundle},
    counter::{Counter, CounterError, CounterRefusal, Judgement},
    custodians::record::{KeyEdit, RecordChange},
    durable::{self, ReadError, WriteError},
    enforce::{EnforceError, Enforcement, PolicyIdentity, section_counts},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal, StagedPolicy},
    key_dir::KeysError,
    verify::{Expiry, V1, VerifiedBundle, VerifyError},
};

/// What is offered.
#[derive(Debug)]
pub enum Offer<'a> {
    /// A file that somebody named.
    File(&'a Path),
    /// Bytes that were read already, and what to call them.
    Bytes {
        /// The name in messages and in the log.
        name: &'a str,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// Whether a policy must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureRule {
    /// An unsigned policy is refused.
    Required,
    /// An unsigned policy is refused if the configuration says so, or if any trusted key is installed.
    Configured,
    /// An unsigned policy is taken.
    AllowUnsigned,
}

/// Whether anything is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything is checked, nothing is written.
    DryRun,
    /// The policy is put in force.
    Apply,
}

/// How to apply.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions {
    /// Whether it must be signed.
    pub signature: SignatureRule,
    /// Whether the older format is read.
    pub v1: V1,
    /// Whether anything is changed.
    pub mode: Mode,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplyResult {
    /// It is in force now.
    Applied,
    /// It was in force already, and was loaded again.
    Unchanged,
    /// It would be put in force.
    WouldApply,
    /// It is in force already.
    WouldNotChange,
}

/// What was applied.
#[derive(Debug, Clone, Serialize)]
pub struct Applied {
    /// How it ended.
    pub result: ApplyResult,
    /// The bundle's format; none for an unsigned policy.
    pub format: Option<BundleFormat>,
    /// Its version; none for an unsigned policy.
    pub policy_version: Option<u64>,
    /// Its epoch.
    pub epoch: Option<u32>,
    /// SHA-256 of the policy text.
    pub policy_sha256: aegis_crypto::Digest,
    /// The trusted keys that signed it.
    pub signers: Vec<KeyId>,
    /// From when on it is no longer accepted as new.
    pub expires_at: Option<Timestamp>,
    /// How many rules it has.
    pub rules: u64,
    /// How many in each section.
    pub sections: std::collections::BTreeMap<String, u64>,
    /// What the enforcer did; none on a dry run.
    pub enforcement: Option<Enforcement>,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// Why a policy was not put in force. What was in force before still is, and the counter did not go down.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It cannot be read.
    #[error(transparent)]
    Read {
        /// Why.
        source: ReadError,
    },
    /// It is a bundle, but not one to be believed.
    #[error(transparent)]
    Verify(VerifyError),
    /// It is not signed, and this host insists.
    #[error("it is not signed, and {rule}")]
    Unsigned {
        /// Which rule insists.
        rule: UnsignedRule,
    },
    /// The trusted keys cannot be told, so neither can whether it must be signed.
    #[error("the trusted keys cannot be loaded")]
    Keys {
        /// Why.
        source: KeysError,
    },
    /// The counter cannot be used.
    #[error("no version can be trusted")]
    Counter {
        /// Why.
        source: CounterError,
    },
    /// It is older, or contradicts what was accepted.
    #[error(transparent)]
    Refused(CounterRefusal),
    /// It moves the epoch, and there is no approval for that.
    #[error("epoch {offered} is higher than {accepted}, the epoch of this host")]
    Epoch {
        /// The epoch in the bundle.
        offered: u32,
        /// The epoch in the counter.
        accepted: u32,
        /// Why there is none.
        source: Box<ApprovalError>,
    },
    /// It does not parse.
    #[error("the policy is not valid")]
    Policy {
        /// Everything that is wrong with it.
        source: PolicyErrors,
    },
    /// It cannot be staged. Nothing was changed.
    #[error("it cannot be staged, so nothing was changed")]
    Stage {
        /// Why.
        source: WriteError,
    },
    /// The counter cannot be advanced. Nothing was put in force.
    #[error("the version counter cannot be advanced, so nothing was put in force")]
    Advance {
        /// Why.
        source: WriteError,
    },
    /// The enforcer refused it.
    #[error("it could not be enforced")]
    Enforce {
        /// Why.
        source: EnforceError,
    },
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

/// Which rule insists on a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsignedRule {
    /// `--require-signature`.
    Asked,
    /// `require_signature = true`.
    Configured,
    /// A trusted key is installed.
    KeysInstalled,
    /// A signed policy was accepted before.
    SignedBefore,
    /// Keys were trusted, and revoked.
    KeysRevoked,
}

impl std::fmt::Display for UnsignedRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Asked => "a signature was required (--require-signature)",
            Self::Configured => "the configuration of this host requires a signature",
            Self::KeysInstalled => "this host has trusted keys, so it takes signed policies only",
            Self::KeysRevoked => "keys of this host were revoked, so it takes signed policies only",
            Self::SignedBefore => {
                "this host has accepted a signed policy before, so it takes signed policies only"
            }
        })
    }
}

impl ApplyError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source } => source.help(),
            Self::Verify(source) => source.help(),
            Self::Unsigned { .. } => Some(
                "sign it with `aegisbpf policy sign`, or, if you mean to run it unsigned, give --allow-unsigned".to_owned(),
            ),
            Self::Keys { source } => source.help(),
            Self::Counter { source } => source.help(),
            Self::Refused(source) => source.help(),
            Self::Epoch { source, .. } => source.help(),
            Self::Policy { .. } => Some("`aegisbpf policy lint FILE` shows every error with its line".to_owned()),
            Self::Stage { source } | Self::Advance { source } => source.help(),
            Self::Enforce { source } => source.help(),
            Self::Change(source) => source.help(),
        }
    }

    /// The word under which the audit log files this, and whether it was refused or failed.
    fn filed_as(&self) -> (Outcome, &'static str) {
        match self {
            Self::Verify(error) => (Outcome::Refused, error.refusal()),
            Self::Refused(CounterRefusal::EpochNeedsApproval { .. }) => (Outcome::Refused, "other"),
            Self::Refused(_) => (Outcome::Refused, "rollback"),
            Self::Epoch { source, .. } => (Outcome::Refused, source.refusal()),
            Self::Policy { .. } | Self::Read { .. } => (Outcome::Refused, "malformed"),
            Self::Unsigned { .. } => (Outcome::Refused, "bad_signature"),
            Self::Keys { .. } | Self::Counter { .. } => (Outcome::Refused, "other"),
            Self::Enforce { source: EnforceError::Rejected { .. } } => (Outcome::Refused, "unenforceable"),
            Self::Stage { .. } | Self::Advance { .. } | Self::Enforce { .. } | Self::Change(_) => {
                (Outcome::Failed, "other")
            }
        }
    }
}

/// A file that may be put in force.
enum Admitted {
    Signed {
        bundle: VerifiedBundle,
        /// What goes into the record of approvals with it: its epoch was approved.
        consent: Option<Box<RecordChange>>,
    },
    /// It is, byte for byte, what is in force.
    InForce { bundle: VerifiedBundle },
    Unsigned {
        file: Vec<u8>,
        /// Whether it is, byte for byte, what is in force.
        in_force: bool,
    },
}

impl Admitted {
    fn is_in_force(&self) -> bool {
        match self {
            Self::InForce { .. } => true,
            Self::Signed { .. } => false,
            Self::Unsigned { in_force, .. } => *in_force,
        }
    }
    fn file(&self) -> &[u8] {
        match self {
            Self::Signed { bundle, .. } | Self::InForce { bundle } => bundle.as_bytes(),
            Self::Unsigned { file, .. } => file,
        }
    }
    fn policy(&self) -> &[u8] {
        match self {
            Self::Signed { bundle, .. } | Self::InForce { bundle } => bundle.policy(),
            Self::Unsigned { file, .. } => file,
        }
    }
    fn bundle(&self) -> Option<&VerifiedBundle> {
        match self {
            Self::Signed { bundle, .. } | Self::InForce { bundle } => Some(bundle),
            Self::Unsigned { .. } => None,
        }
    }
    fn consent(&self) -> Option<&RecordChange> {
        match self {
            Self::Signed { consent, .. } => consent.as_deref(),
            Self::InForce { .. } | Self::Unsigned { .. } => None,
        }
    }
    fn identity(&self) -> PolicyIdentity {
        match self.bundle() {
            Some(bundle) => PolicyIdentity {
                policy_version: Some(bundle.manifest().policy_version),
                policy_sha256: bundle.manifest().policy_sha256,
            },
            None => PolicyIdentity { policy_version: None, policy_sha256: sha256(self.policy()) },
        }
    }
    fn report(&self, result: ApplyResult, policy: &Policy<'_>, enforcement: Option<Enforcement>) -> Applied {
        let manifest = self.bundle().map(VerifiedBundle::manifest);
        let mut warnings = Vec::new();
        if self.bundle().is_none() {
            warnings.push(
                "this policy is not signed: nothing proves where it comes from, and it has no version"
                    .to_owned(),
            );
        }
        if self.bundle().is_some_and(|bundle| bundle.format() == BundleFormat::V1) {
            warnings.push(
                "version 1 bundles are read for migration only; sign the next policy as version 2".to_owned(),
            );
        }
        if enforcement.as_ref().is_some_and(|enforcement| !enforcement.enforced) {
            warnings.push("nothing is enforced: what would be loaded is recorded".to_owned());
        }
        Applied {
            result,
            format: self.bundle().map(VerifiedBundle::format),
            policy_version: manifest.map(|manifest| manifest.policy_version),
            epoch: manifest.map(|manifest| manifest.epoch),
            policy_sha256: self.identity().policy_sha256,
            signers: self.bundle().map(|bundle| bundle.signers().to_vec()).unwrap_or_default(),
            expires_at: manifest.and_then(|manifest| manifest.expires_at),
            rules: policy.rule_count() as u64,
            sections: section_counts(policy),
            enforcement,
            warnings,
        }
    }
}

impl Applied {
    /// Says that an approval which came along stays unused.
    fn noting_approvals(mut self, caller: &Caller, admitted: &Admitted) -> Self {
        if !caller.approvals.is_empty() && admitted.consent().is_none() {
            self.warnings
                .push("the epoch does not change, so no approval was needed, and none was used".to_owned());
        }
        self
    }
}

impl Host {
    /// Puts a policy in force, or refuses it and says so in the log.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]. What was in force before still is.
    pub fn apply(
        &self,
        caller: &Caller,
        offer: Offer<'_>,
        options: &ApplyOptions,
    ) -> Result<Applied, ApplyError> {
        let source = match &offer {
            Offer::File(path) => path.display().to_string(),
            Offer::Bytes { name, .. } => (*name).to_owned(),
        };
        if options.mode == Mode::DryRun {
            let admitted = self.admit(self.read_offer(offer)?, options, caller)?;
            let policy = self.parse_policy(admitted.policy())?;
            self.enforcer().check(&policy).map_err(|source| ApplyError::Enforce { source })?;
            let result = match admitted.is_in_force() {
                true => ApplyResult::WouldNotChange,
                false => ApplyResult::WouldApply,
            };
            return Ok(admitted.report(result, &policy, None).noting_approvals(caller, &admitted));
        }
        let (_lock, begun) = self.begin_logged_change(caller);
        let applied = begun
            .map_err(ApplyError::Change)
            .and_then(|()| self.apply_locked(caller, &source, offer, options));
        if let Err(error) = &applied {
            self.log_apply_refusal(caller, &source, error);
        }
        applied
    }

    fn apply_locked(
        &self,
        caller: &Caller,
        source: &str,
        offer: Offer<'_>,
        options: &ApplyOptions,
    ) -> Result<Applied, ApplyError> {
        self.require_sound_log().map_err(ApplyError::Change)?;
        let admitted = self.admit(self.read_offer(offer)?, options, caller)?;
        let policy = self.parse_policy(admitted.policy())?;
        // Before the counter: a policy that cannot be had here must not keep out the one before it.
        self.enforcer().check(&policy).map_err(|source| ApplyError::Enforce { source })?;
        // Installed once more it would push the policy before it out of `policy.applied.prev`.
        if admitted.is_in_force() {
            let enforcement = self
                .enforcer()
                .enforce(&policy, &admitted.identity())
                .map_err(|source| ApplyError::Enforce { source })?;
            let event =
                apply_event(caller, source, &staged(source, &admitted, None)).detail("result", "unchanged");
            self.audit()
                .append(&event)
                .map_err(|source| ApplyError::Change(ChangeError::NotLogged { source: Box::new(source) }))?;
            let report = admitted.report(ApplyResult::Unchanged, &policy, Some(enforcement));
            return Ok(report.noting_approvals(caller, &admitted));
        }
        let replaces = self.version_in_force();
        let plan = staged(source, &admitted, replaces);
        durable::write_staged(&self.paths().staged(), admitted.file(), 0o644)
            .map_err(|source| ApplyError::Stage { source })?;
        let journal = Journal::new(caller.now, &caller.actor, Change::Apply(plan.clone()));
        if let Err(source) = journal.write(self.paths()) {
            self.give_up().map_err(ApplyError::Change)?;
            return Err(ApplyError::Change(ChangeError::Journal { source }));
        }
        // The counter goes first: after a crash between the two writes the host can be given this bundle again, but it
        // can never be given an older one.
        if let Some(bundle) = admitted.bundle()
            && let Err(source) = self.advance_counter(&bundle.counter())
        {
            if source.is_in_place() {
                return Err(ApplyError::Change(ChangeError::Step { source }));
            }
            self.give_up().map_err(ApplyError::Change)?;
            return Err(ApplyError::Advance { source });
        }
        // With the counter the epoch is moved, and so the approval is used, whatever becomes of the policy.
        self.record_change(admitted.consent(), KeyEdit::None)
            .map_err(|source| ApplyError::Change(ChangeError::Step { source }))?;
        let enforcement = match self.enforcer().enforce(&policy, &plan.policy) {
            Ok(enforcement) => enforcement,
            Err(EnforceError::Write { source }) if source.is_in_place() => {
                return Err(ApplyError::Change(ChangeError::Step { source }));
            }
            Err(source) => {
                self.give_up().map_err(ApplyError::Change)?;
                return Err(ApplyError::Enforce { source });
            }
        };
        self.install(&plan).map_err(|source| ApplyError::Change(ChangeError::Step { source }))?;
        self.finish_change(&journal, apply_event(caller, source, &plan)).map_err(ApplyError::Change)?;
        let report = admitted.report(ApplyResult::Applied, &policy, Some(enforcement));
        Ok(report.noting_approvals(caller, &admitted))
    }

    fn read_offer(&self, offer: Offer<'_>) -> Result<Vec<u8>, ApplyError> {
        let limit = self.max_file_len();
        match offer {
            Offer::File(path) => {
                durable::read_bounded(path, limit).map_err(|source| ApplyError::Read { source })
            }
            Offer::Bytes { name, bytes } if bytes.len() as u64 > limit => Err(ApplyError::Read {
                source: ReadError::TooLarge { path: name.into(), len: bytes.len() as u64, limit },
            }),
            Offer::Bytes { bytes, .. } => Ok(bytes),
        }
    }

    /// Everything that is asked of a file but that its policy parses.
    fn admit(&self, file: Vec<u8>, options: &ApplyOptions, caller: &Caller) -> Result<Admitted, ApplyError> {
        if !bundle::is_bundle(&file) {
            self.require_unsigned_allowed(options.signature)?;
            let in_force = self.is_in_force(&file);
            return Ok(Admitted::Unsigned { file, in_force });
        }
        let in_force = self.is_in_force(&file);
        let bundle =
            SignedBundle::parse(file).map_err(|source| ApplyError::Verify(VerifyError::Bundle { source }))?;
        // Expiry and the format rule are for what is new; they do not keep the policy in force from being loaded again.
        let (v1, expiry) = if in_force { (V1::Allow, Expiry::Ignored) } else { (options.v1, Expiry::Judged) };
        let bundle = self.verify_bundle(bundle, v1, caller.now, expiry).map_err(ApplyError::Verify)?;
        let counter = self.counter().map_err(|source| ApplyError::Counter { source })?;
        match Counter::judge(counter.as_ref(), &bundle.counter()) {
            Ok(Judgement::Same) if in_force => Ok(Admitted::InForce { bundle }),
            // Before its first policy a host is in epoch 0; what has no custodians takes any as its first.
            Ok(Judgement::First) if bundle.manifest().epoch > 0 => {
                let offered = bundle.manifest().epoch;
                match self.consent(caller, &Subject::PolicyEpoch(offered)) {
                    Ok(consent) => Ok(Admitted::Signed { bundle, consent: consent.map(Box::new) }),
                    Err(ApprovalError::NoCustodians) => Ok(Admitted::Signed { bundle, consent: None }),
                    Err(source) => Err(ApplyError::Epoch { offered, accepted: 0, source: Box::new(source) }),
                }
            }
            Ok(Judgement::First | Judgement::Newer | Judgement::Same) => {
                Ok(Admitted::Signed { bundle, consent: None })
            }
            // So may it while a rollback stands below the counter.
            Err(CounterRefusal::Rollback { .. }) if in_force => Ok(Admitted::InForce { bundle }),
            Err(refusal @ CounterRefusal::EpochNeedsApproval { offered, accepted }) => {
                match self.consent(caller, &Subject::PolicyEpoch(offered)) {
                    Ok(Some(consent)) => Ok(Admitted::Signed { bundle, consent: Some(Box::new(consent)) }),
                    Ok(None) => Err(ApplyError::Refused(refusal)),
                    Err(source) => Err(ApplyError::Epoch { offered, accepted, source: Box::new(source) }),
                }
            }
            Err(refusal) => Err(ApplyError::Refused(refusal)),
        }
    }

    /// Whether `file` is, byte for byte, what is in force.
    fn is_in_force(&self, file: &[u8]) -> bool {
        let applied = self.paths().applied();
        // A look at the length saves reading tens of megabytes to learn that they differ.
        applied.symlink_metadata().is_ok_and(|metadata| metadata.len() == file.len() as u64)
            && matches!(durable::read_state(&applied, self.max_file_len()), Ok(Some(applied)) if applied == file)
    }

    fn require_unsigned_allowed(&self, rule: SignatureRule) -> Result<(), ApplyError> {
        // Asked also with --allow-unsigned: a key directory that cannot be trusted is a reason to stop. A key that nobody
        // approved still says that policies are signed here.
        let keys = self.installed_keys().map_err(|source| ApplyError::Keys { source })?;
        let rule = match rule {
            SignatureRule::AllowUnsigned => return Ok(()),
            SignatureRule::Required => UnsignedRule::Asked,
            SignatureRule::Configured if self.config().require_signature => UnsignedRule::Configured,
            SignatureRule::Configured if !keys.is_empty() => UnsignedRule::KeysInstalled,
            // The keys may be away for an instant, while somebody swaps the directory.
            SignatureRule::Configured if self.accepted_format().is_some() => UnsignedRule::SignedBefore,
            // Whose last key was revoked did not become a host that takes anything.
            SignatureRule::Configured if !self.revoked_keys().is_ok_and(|revoked| revoked.is_empty()) => {
                UnsignedRule::KeysRevoked
            }
            SignatureRule::Configured => return Ok(()),
        };
        Err(ApplyError::Unsigned { rule })
    }

    pub(crate) fn parse_policy<'a>(&self, policy: &'a [u8]) -> Result<Policy<'a>, ApplyError> {
        aegis_policy::parse(policy, &self.config().policy_limits())
            .map_err(|source| ApplyError::Policy { source })
    }

    /// Writes the counter unless it says the same already.
    pub(crate) fn advance_counter(&self, counter: &Counter) -> Result<(), WriteError> {
        if self.counter().is_ok_and(|current| current.as_ref() == Some(counter)) {
            return Ok(());
        }
        let path = &self.paths().version_counter;
        if let Some(parent) = path.parent() {
            durable::make_dir(parent, 0o755)?;
        }
        durable::write_atomic(path, &counter.to_bytes(), 0o644)
    }

    /// Gives the staged file its place. Done again after a crash it does what is left.
    pub(crate) fn install(&self, plan: &StagedPolicy) -> Result<(), WriteError> {
        let paths = self.paths();
        let (staged, applied) = (paths.staged(), paths.applied());
        // The policy in force under other signatures: it is nothing that a rollback could go back from.
        let same_policy = plan.policy.policy_version.is_some() && plan.replaces == plan.policy.policy_version;
        if staged.symlink_metadata().is_ok() {
            if !same_policy && applied.symlink_metadata().is_ok() {
                durable::link_over(&applied, &paths.previous())?;
            }
            durable::rename_synced(&staged, &applied)?;
        }
        durable::remove_synced(&paths.rolled_back())?;
        plan.format.map_or(Ok(()), |format| self.note_accepted_format(format.into()))
    }

    /// Nothing is in force yet, so the change is forgotten: journal first, so that a crash here leaves only a stray file.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Step`] if the journal stands, so that the next command goes on: nobody may call that undone.
    pub(crate) fn give_up(&self) -> Result<(), ChangeError> {
        let cleared = Journal::clear(self.paths());
        // A directory that cannot be written to says so also of a file that was never in it.
        let stands = self.paths().journal().symlink_metadata().is_ok();
        match cleared {
            Err(source) if stands => return Err(ChangeError::Step { source }),
            Ok(()) | Err(_) => {}
        }
        let _ = durable::remove_synced(&self.paths().staged());
        Ok(())
    }

    /// The version of the bundle in force, as far as it can be told.
    pub(crate) fn version_in_force(&self) -> Option<u64> {
        let file = durable::read_state(&self.paths().applied(), self.max_file_len()).ok()??;
        SignedBundle::parse(file).ok().map(|bundle| bundle.manifest().policy_version)
    }

    fn log_apply_refusal(&self, caller: &Caller, source: &str, error: &ApplyError) {
        // A change that was made is not refused; its entry is in the journal.
        if let ApplyError::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. }) = error {
            return;
        }
        let (outcome, refusal) = error.filed_as();
        let event = Event::new(caller.now, caller.actor.clone(), Action::PolicyApply, source)
            .outcome(outcome)
            .reason(crate::health::cause_chain(error))
            .detail("refusal", refusal);
        let event = match error {
            ApplyError::Refused(CounterRefusal::Rollback { offered, .. }) => {
                event.detail("policy_version", *offered)
            }
            ApplyError::Refused(CounterRefusal::OtherContent { version, .. }) => {
                event.detail("policy_version", *version)
            }
            ApplyError::Verify(
                VerifyError::Revoked { key_id, .. } | VerifyError::BadSignature { key_id },
            ) => event.detail("key_id", key_id.to_string()),
            _ => event,
        };
        self.log_refusal(&event);
    }
}

fn staged(source: &str, admitted: &Admitted, replaces: Option<u64>) -> StagedPolicy {
    let bundle = admitted.bundle();
    StagedPolicy {
        source: source.to_owned(),
        policy: admitted.identity(),
        file_sha256: sha256(admitted.file()),
        format: bundle.map(|bundle| bundle.format().into()),
        epoch: bundle.map_or(0, |bundle| bundle.manifest().epoch),
        signers: bundle.map(|bundle| bundle.signers().to_vec()).unwrap_or_default(),
        replaces,
        consent: admitted.consent().cloned().map(Box::new),
    }
}

pub(crate) fn apply_event(caller: &Caller, source: &str, plan: &StagedPolicy) -> Event {
    let event = Event::new(caller.now, caller.actor.clone(), Action::PolicyApply, source);
    describe_consent(describe(event, plan), plan.consent.as_deref())
}

/// Puts the identity of a policy into an entry.
pub(crate) fn describe(event: Event, plan: &StagedPolicy) -> Event {
    let StagedPolicy { source: _, policy, file_sha256: _, format, epoch, signers, replaces, consent: _ } =
        plan;
    let signers: Vec<String> = signers.iter().map(KeyId::to_string).collect();
    let event =
        event.detail("policy_sha256", policy.policy_sha256.to_string()).detail("signed", format.is_some());
    let event = match policy.policy_version {
        Some(version) => {
            event.detail("policy_version", version).detail("epoch", *epoch).detail("signers", signers)
        }
        None => event,
    };
    match replaces {
        Some(version) => event.detail("replaces", *version),
        None => event,
    }
}

#[cfg(test)]
mod tests;
