//! Keeping a policy that was applied with a time limit, and saying so when that did not come in time.

use aegis_audit::{Action, Event, Outcome};
use aegis_crypto::Digest;
use serde::Serialize;

use crate::{
    emergency::{describe, not_done},
    enforce::{EnforceError, PolicyIdentity},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal},
};

/// What the log calls the policy in force.
pub(crate) const OBJECT: &str = "policy.applied";
/// How many entries are searched for the last word on a policy.
const LOOK_BACK: usize = 1000;

/// A policy that stays.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyConfirmed {
    /// Its version; none for an unsigned policy.
    pub policy_version: Option<u64>,
    /// SHA-256 of its text.
    pub policy_sha256: Digest,
}

/// Why a policy was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// There is none.
    #[error("no policy is in force on this host")]
    NothingInForce,
    /// None waits for that, or the time is over, or nothing is enforced here.
    #[error(transparent)]
    Enforce(EnforceError),
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

impl ConfirmError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NothingInForce => Some("`aegisbpf health` says what is in force".to_owned()),
            Self::Enforce(source) => source.help(),
            Self::Change(source) => source.help(),
        }
    }

    fn filed_as(&self) -> Option<Outcome> {
        match self {
            // A change that was begun is finished by the next command, which logs it.
            Self::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. }) => None,
            Self::NothingInForce => Some(Outcome::Refused),
            Self::Enforce(_) | Self::Change(_) => Some(Outcome::Failed),
        }
    }
}

impl Host {
    /// Keeps the policy that was applied with a time limit.
    ///
    /// # Errors
    ///
    /// [`ConfirmError`]; it still waits, or the policy before it counts again.
    pub fn confirm_policy(&self, caller: &Caller) -> Result<PolicyConfirmed, ConfirmError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let done = begun
            .and_then(|()| self.require_sound_log())
            .map_err(ConfirmError::Change)
            .and_then(|()| self.confirm_locked(caller));
        if let Err(error) = &done
            && let Some(outcome) = error.filed_as()
        {
            let event = Event::new(caller.now, caller.actor.clone(), Action::PolicyConfirm, OBJECT)
                .outcome(outcome)
                .reason(crate::health::cause_chain(error))
                .detail("refusal", "other");
            self.log_refusal(&event);
        }
        done
    }

    fn confirm_locked(&self, caller: &Caller) -> Result<PolicyConfirmed, ConfirmError> {
        let state = self.enforcer().state().map_err(ConfirmError::Enforce)?;
        let policy = state.ok_or(ConfirmError::NothingInForce)?.policy;
        let journal = Journal::new(caller.now, &caller.actor, Change::ConfirmPolicy { policy });
        if let Err(source) = journal.write(self.paths()) {
            self.give_up().map_err(ConfirmError::Change)?;
            return Err(ConfirmError::Change(ChangeError::Journal { source }));
        }
        if let Err(source) = self.enforcer().confirm() {
            self.give_up().map_err(ConfirmError::Change)?;
            return Err(ConfirmError::Enforce(source));
        }
        self.finish_change(&journal, confirm_event(caller, &policy)).map_err(ConfirmError::Change)?;
        let PolicyIdentity { policy_version, policy_sha256 } = policy;
        Ok(PolicyConfirmed { policy_version, policy_sha256 })
    }

    /// Finishes what was interrupted, or finds that it was done.
    pub(crate) fn resume_confirm(
        &self,
        journal: &Journal,
        policy: &PolicyIdentity,
        caller: &Caller,
    ) -> Event {
        let Err(error) = self.enforcer().confirm() else {
            return confirm_event(&Caller::of_journal(journal), policy);
        };
        // None waits any more: it was confirmed before the kill, or its time is over, which the state still shows.
        let state = self.enforcer().state().ok().flatten();
        match state.filter(|state| state.policy == *policy && state.mode.is_some()) {
            Some(state) if state.confirm_by.is_none() => confirm_event(&Caller::of_journal(journal), policy),
            _ => not_done(journal, caller, &error),
        }
    }

    /// Logs, once, that a policy was not confirmed in time, so that the one before it counts again: for the agent, which
    /// sees it in the kernel. Whether it had to be logged.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub fn log_fallback(&self, caller: &Caller, fallen: &PolicyIdentity) -> Result<bool, ChangeError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        begun?;
        if self.has_fallen(fallen) {
            return Ok(false);
        }
        let event = Event::new(caller.now, caller.actor.clone(), Action::PolicyFallback, OBJECT)
            .reason("it was not confirmed in time");
        self.audit()
            .append(&describe(event, fallen))
            .map_err(|source| ChangeError::NotLogged { source: Box::new(source) })?;
        Ok(true)
    }

    /// Whether the last word of the log on what is in force is that this policy no longer is.
    fn has_fallen(&self, fallen: &PolicyIdentity) -> bool {
        let Ok(entries) = self.audit().last_entries(LOOK_BACK) else { return false };
        let sha256 = fallen.policy_sha256.to_string();
        entries.flatten().filter(|entry| entry.outcome == Outcome::Accepted).fold(false, |fell, entry| {
            match entry.action {
                Action::PolicyApply | Action::PolicyRollback => false,
                Action::PolicyFallback => entry.detail_str("policy_sha256") == Some(&sha256),
                _ => fell,
            }
        })
    }
}

fn confirm_event(caller: &Caller, policy: &PolicyIdentity) -> Event {
    let event = Event::new(caller.now, caller.actor.clone(), Action::PolicyConfirm, OBJECT);
    describe(event, policy)
}
