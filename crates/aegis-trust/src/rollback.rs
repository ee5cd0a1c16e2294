//! The quick way back: the previous verified bundle is put in force again. The counter does not move, so the next
//! policy must still be newer than the one that was taken out. Health stays degraded until it comes.

use aegis_audit::{Action, Event, Outcome};
use aegis_crypto::{KeyId, sha256};
use serde::Serialize;

use crate::{
    apply::describe,
    bundle::SignedBundle,
    counter::CounterError,
    durable::{self, ReadError, WriteError},
    enforce::{EnforceError, PolicyIdentity},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal, StagedPolicy},
    verify::{Expiry, V1, VerifyError},
};

/// What a rollback did.
#[derive(Debug, Clone, Serialize)]
pub struct RolledBack {
    /// The version taken out of force; none if it was unsigned.
    pub from_version: Option<u64>,
    /// The version in force now.
    pub to_version: u64,
    /// The counter, which did not move.
    pub counter_version: Option<u64>,
    /// Who signed what is in force now.
    pub signers: Vec<KeyId>,
}

/// Why nothing was rolled back. What was in force still is.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// There is no policy before the one in force.
    #[error("no previous policy is kept on this host")]
    NoPrevious,
    /// A rollback stands already; another would bring the bad policy back or go to nowhere.
    #[error("a rollback stands already: version {} was taken out of force", from.map_or_else(|| "?".to_owned(), |version| version.to_string()))]
    Stands {
        /// The version that was taken out.
        from: Option<u64>,
    },
    /// A file cannot be read.
    #[error("a policy cannot be read")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// The previous policy is not signed, so nothing proves what it is.
    #[error("the previous policy is not signed")]
    Unsigned,
    /// The previous policy is no longer to be believed.
    #[error("the previous policy cannot be believed any more")]
    Verify {
        /// Why.
        source: VerifyError,
    },
    /// The counter cannot be used.
    #[error("no version can be trusted")]
    Counter {
        /// Why.
        source: CounterError,
    },
    /// The epoch was closed; its policies do not come back.
    #[error("the previous policy is of epoch {offered}, and this host is in epoch {accepted}")]
    Epoch {
        /// The epoch of the previous policy.
        offered: u32,
        /// The epoch of the host.
        accepted: u32,
    },
    /// It was never accepted here.
    #[error("the previous policy is version {offered}, and this host has accepted nothing above {accepted}")]
    Ahead {
        /// Its version.
        offered: u64,
        /// The version in the counter.
        accepted: u64,
    },
    /// The previous policy does not parse.
    #[error("the previous policy is not valid")]
    Policy {
        /// Everything that is wrong with it.
        source: aegis_policy::PolicyErrors,
    },
    /// It cannot be staged. Nothing was changed.
    #[error("it cannot be staged, so nothing was changed")]
    Stage {
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

impl RollbackError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let reissue = "sign the content you want under a new version: `aegisbpf policy reissue --from FILE --policy-version N`";
        match self {
            Self::NoPrevious
            | Self::Stands { .. }
            | Self::Unsigned
            | Self::Epoch { .. }
            | Self::Ahead { .. }
            | Self::Policy { .. } => Some(reissue.to_owned()),
            Self::Read { source } => source.help(),
            Self::Verify { .. } => Some(reissue.to_owned()),
            Self::Counter { source } => source.help(),
            Self::Stage { source } => source.help(),
            Self::Enforce { source } => source.help(),
            Self::Change(source) => source.help(),
        }
    }
}

impl Host {
    /// Puts the previous verified bundle in force again. The counter does not move.
    ///
    /// # Errors
    ///
    /// [`RollbackError`]. What was in force still is.
    pub fn rollback(&self, caller: &Caller) -> Result<RolledBack, RollbackError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let done = begun.map_err(RollbackError::Change).and_then(|()| self.rollback_locked(caller));
        if let Err(error) = &done
            && !matches!(
                error,
                RollbackError::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. })
            )
        {
            let outcome = match error {
                RollbackError::Stage { .. } | RollbackError::Enforce { .. } | RollbackError::Change(_) => {
                    Outcome::Failed
                }
                _ => Outcome::Refused,
            };
            let refusal = match error {
                RollbackError::Verify { source } => source.refusal(),
                RollbackError::Epoch { .. } => "rollback",
                RollbackError::Unsigned => "bad_signature",
                _ => "other",
            };
            let event =
                Event::new(caller.now, caller.actor.clone(), Action::PolicyRollback, "policy.applied.prev");
            self.log_refusal(
                &event.outcome(outcome).reason(crate::health::cause_chain(error)).detail("refusal", refusal),
            );
        }
        done
    }

    fn rollback_locked(&self, caller: &Caller) -> Result<RolledBack, RollbackError> {
        self.require_sound_log().map_err(RollbackError::Change)?;
        let paths = self.paths();
        let read = |path: &std::path::Path| {
            durable::read_state(path, self.max_file_len()).map_err(|source| RollbackError::Read { source })
        };
        if let Some(taken_out) = read(&paths.rolled_back())? {
            return Err(RollbackError::Stands { from: version_of(&taken_out) });
        }
        let file = read(&paths.previous())?.ok_or(RollbackError::NoPrevious)?;
        let applied = read(&paths.applied())?;
        if applied.as_ref() == Some(&file) {
            return Err(RollbackError::NoPrevious);
        }
        if !crate::bundle::is_bundle(&file) {
            return Err(RollbackError::Unsigned);
        }
        let file_sha256 = sha256(&file);
        let bundle = SignedBundle::parse(file)
            .map_err(|source| VerifyError::Bundle { source })
            .and_then(|bundle| self.verify_bundle(bundle, V1::Allow, caller.now, Expiry::Judged))
            .map_err(|source| RollbackError::Verify { source })?;
        let counter = self.counter().map_err(|source| RollbackError::Counter { source })?;
        let manifest = bundle.manifest();
        if let Some(counter) = counter {
            if counter.epoch != manifest.epoch {
                return Err(RollbackError::Epoch { offered: manifest.epoch, accepted: counter.epoch });
            }
            // It goes back, never ahead: what the counter does not know was never in force here.
            if counter.policy_version < manifest.policy_version {
                return Err(RollbackError::Ahead {
                    offered: manifest.policy_version,
                    accepted: counter.policy_version,
                });
            }
        }
        let policy = aegis_policy::parse(bundle.policy(), &self.config().policy_limits())
            .map_err(|source| RollbackError::Policy { source })?;
        let plan = StagedPolicy {
            source: "policy.applied.prev".to_owned(),
            policy: PolicyIdentity {
                policy_version: Some(manifest.policy_version),
                policy_sha256: manifest.policy_sha256,
            },
            file_sha256,
            format: Some(bundle.format().into()),
            epoch: manifest.epoch,
            signers: bundle.signers().to_vec(),
            replaces: applied.as_deref().and_then(version_of),
            consent: None,
        };
        durable::write_staged(&paths.staged(), bundle.as_bytes(), 0o644)
            .map_err(|source| RollbackError::Stage { source })?;
        let journal = Journal::new(caller.now, &caller.actor, Change::Rollback(plan.clone()));
        if let Err(source) = journal.write(paths) {
            self.give_up().map_err(RollbackError::Change)?;
            return Err(RollbackError::Change(ChangeError::Journal { source }));
        }
        match self.enforcer().enforce(&policy, &plan.policy) {
            Ok(_) => {}
            Err(EnforceError::Write { source }) if source.is_in_place() => {
                return Err(RollbackError::Change(ChangeError::Step { source }));
            }
            Err(source) => {
                self.give_up().map_err(RollbackError::Change)?;
                return Err(RollbackError::Enforce { source });
            }
        }
        self.install_rollback().map_err(|source| RollbackError::Change(ChangeError::Step { source }))?;
        self.finish_change(&journal, rollback_event(caller, &plan)).map_err(RollbackError::Change)?;
        Ok(RolledBack {
            from_version: plan.replaces,
            to_version: manifest.policy_version,
            counter_version: counter.map(|counter| counter.policy_version),
            signers: plan.signers,
        })
    }

    /// Gives the staged file its place, and what it replaces the name that says so. Done again it does what is left.
    pub(crate) fn install_rollback(&self) -> Result<(), WriteError> {
        let paths = self.paths();
        let (staged, applied) = (paths.staged(), paths.applied());
        if staged.symlink_metadata().is_ok() {
            if applied.symlink_metadata().is_ok() {
                durable::link_over(&applied, &paths.rolled_back())?;
            }
            durable::rename_synced(&staged, &applied)?;
        }
        // It is `policy.applied` now; under both names it would look as if there were one more to go back to.
        durable::remove_synced(&paths.previous())
    }
}

pub(crate) fn rollback_event(caller: &Caller, plan: &StagedPolicy) -> Event {
    describe(
        Event::new(caller.now, caller.actor.clone(), Action::PolicyRollback, "policy.applied.prev"),
        plan,
    )
}

fn version_of(file: &[u8]) -> Option<u64> {
    SignedBundle::parse(file.to_vec()).ok().map(|bundle| bundle.manifest().policy_version)
}
