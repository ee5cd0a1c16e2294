//! Denials that are off for a time, because what they keep away is worse than what they stop; and on again before it is over.
//!
//! Turning them off: under the lock, reason and time → the policy in force → consent of two people, where the host has
//! custodians → journal → **audit log** → the approval is used → the enforcer lifts → end the journal. The entry comes
//! before the denials go: killed at any instant, a host has them, or its log says who took them away, why and until when.
//! The next command finishes what was begun, for what is left of the time and never longer.

use std::time::Duration;

use aegis_approval::Subject;
use aegis_audit::{Action, AppendError, Event, Outcome};
use aegis_crypto::Digest;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    approval::{ApprovalError, describe_consent},
    custodians::record::{KeyEdit, RecordChange},
    enforce::{EnforceError, PolicyIdentity, nothing_enforced},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal},
    recover::{RecoverError, given_up},
    revoked::{MAX_REASON_LEN, is_reason},
};

/// The shortest time.
pub const MIN_TIME: Duration = Duration::from_secs(1);
/// The longest time. Who needs more asks again, and where there are custodians so do they.
pub const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// What the log calls it.
pub(crate) const OBJECT: &str = "enforcement";

/// Denials that are off for a time, as the journal holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lift {
    /// The policy whose denials they are.
    pub policy: PolicyIdentity,
    /// Why.
    pub reason: String,
    /// When they are back.
    pub until: Timestamp,
    /// What goes into the record of approvals with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<RecordChange>,
}

/// Denials are off.
#[derive(Debug, Clone, Serialize)]
pub struct EnforcementOff {
    /// The version of the policy in force; none for an unsigned one.
    pub policy_version: Option<u64>,
    /// SHA-256 of its text.
    pub policy_sha256: Digest,
    /// When they are back.
    pub until: Timestamp,
    /// Why they are off.
    pub reason: String,
    /// The approval that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

/// Denials are on.
#[derive(Debug, Clone, Serialize)]
pub struct EnforcementOn {
    /// The version of the policy in force; none for an unsigned one, or if it cannot be told.
    pub policy_version: Option<u64>,
    /// SHA-256 of its text; none if it cannot be told.
    pub policy_sha256: Option<Digest>,
}

/// Why denials were not turned off. They are as before, and no approval was used but where it says so.
#[derive(Debug, thiserror::Error)]
pub enum EnforcementOffError {
    /// The reason cannot go into the log.
    #[error("the reason must be 1 to {MAX_REASON_LEN} printable ASCII characters")]
    Reason,
    /// For no time, or for too long.
    #[error("denials can be off for {} to {} seconds, not for {}", MIN_TIME.as_secs(), MAX_TIME.as_secs(), asked.as_secs_f64())]
    Time {
        /// The time that was asked for.
        asked: Duration,
    },
    /// Nothing is denied.
    #[error("no policy is in force on this host")]
    NothingInForce,
    /// Two people have to agree, and there is no approval that says so.
    #[error(transparent)]
    Approval(ApprovalError),
    /// The enforcer denies nothing, or goes on denying. In the second case the approval is used: the log had it already.
    #[error(transparent)]
    Enforce(EnforceError),
    /// What cannot be logged is not done. If the log may have it all the same, the approval is used.
    #[error("it could not be written to the audit log, so denials stay")]
    Unlogged {
        /// Why.
        source: Box<AppendError>,
    },
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

impl EnforcementOffError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Reason => Some("say in a few words why, for the log".to_owned()),
            Self::Time { .. } => Some("before it is over, it can be asked for again".to_owned()),
            Self::NothingInForce => Some("`aegisbpf health` says what is in force".to_owned()),
            Self::Approval(source) => source.help(),
            Self::Enforce(source) => source.help(),
            Self::Unlogged { source } => source.help(),
            Self::Change(source) => source.help(),
        }
    }

    /// The word under which the audit log files this, and whether it was refused or failed. None if it goes on.
    fn filed_as(&self) -> Option<(Outcome, &'static str)> {
        match self {
            // A change that was begun is finished by the next command, which logs it.
            Self::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. }) => None,
            Self::Reason | Self::Time { .. } | Self::NothingInForce => Some((Outcome::Refused, "other")),
            Self::Approval(error) => Some((Outcome::Refused, error.refusal())),
            Self::Enforce(_) | Self::Unlogged { .. } | Self::Change(_) => Some((Outcome::Failed, "other")),
        }
    }
}

/// Why denials were not turned on again.
#[derive(Debug, thiserror::Error)]
pub enum EnforcementOnError {
    /// The enforcer could not.
    #[error(transparent)]
    Enforce(EnforceError),
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

impl EnforcementOnError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Enforce(source) => source.help(),
            Self::Change(source) => source.help(),
        }
    }
}

impl Host {
    /// For `time`, what the policy in force denies is only told. Where the host has custodians, two of them have approved
    /// `enforcement.off` for this policy.
    ///
    /// # Errors
    ///
    /// [`EnforcementOffError`]; denials are as before.
    pub fn enforcement_off(
        &self,
        caller: &Caller,
        reason: &str,
        time: Duration,
    ) -> Result<EnforcementOff, EnforcementOffError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let done = begun
            .and_then(|()| self.require_sound_log())
            .map_err(EnforcementOffError::Change)
            .and_then(|()| self.off_locked(caller, reason, time));
        if let Err(error) = &done
            && let Some((outcome, refusal)) = error.filed_as()
        {
            let event = Event::new(caller.now, caller.actor.clone(), Action::EnforcementOff, OBJECT)
                .outcome(outcome)
                .reason(crate::health::cause_chain(error))
                .detail("refusal", refusal);
            self.log_refusal(&event);
        }
        done
    }

    fn off_locked(
        &self,
        caller: &Caller,
        reason: &str,
        time: Duration,
    ) -> Result<EnforcementOff, EnforcementOffError> {
        if !is_reason(reason) {
            return Err(EnforcementOffError::Reason);
        }
        let out_of_bounds = EnforcementOffError::Time { asked: time };
        if !(MIN_TIME..=MAX_TIME).contains(&time) {
            return Err(out_of_bounds);
        }
        let until = SignedDuration::try_from(time).and_then(|time| caller.now.checked_add(time));
        let Ok(until) = until else { return Err(out_of_bounds) };
        let policy = self.denied_by()?;
        // What denies nothing is not asked to stop: nobody's approval is used up for that.
        let subject = Subject::EnforcementOff(policy.policy_sha256);
        let consent = self.consent(caller, &subject).map_err(EnforcementOffError::Approval)?;
        let lift = Lift { policy, reason: reason.to_owned(), until, consent };
        let change = Change::EnforcementOff(Box::new(lift.clone()));
        let journal = Journal::new(caller.now, &caller.actor, change);
        if let Err(source) = journal.write(self.paths()) {
            self.give_up().map_err(EnforcementOffError::Change)?;
            return Err(EnforcementOffError::Change(ChangeError::Journal { source }));
        }
        let event = off_event(caller, &lift).transaction(&journal.transaction);
        if let Err(source) = self.audit().append(&event) {
            // The line may stand all the same, and the approval in it; what it says of the denials is then not so, and the
            // failure is logged after it, as far as that can be.
            if !matches!(self.is_logged(&journal), Ok(false)) {
                self.record_change(lift.consent.as_ref(), KeyEdit::None)
                    .map_err(|source| EnforcementOffError::Change(ChangeError::Step { source }))?;
            }
            self.give_up().map_err(EnforcementOffError::Change)?;
            return Err(EnforcementOffError::Unlogged { source: Box::new(source) });
        }
        self.record_change(lift.consent.as_ref(), KeyEdit::None)
            .map_err(|source| EnforcementOffError::Change(ChangeError::Step { source }))?;
        if let Err(source) = self.enforcer().lift(time) {
            self.give_up().map_err(EnforcementOffError::Change)?;
            return Err(EnforcementOffError::Enforce(source));
        }
        Journal::clear(self.paths())
            .map_err(|source| EnforcementOffError::Change(ChangeError::Step { source }))?;
        let Lift { policy, reason, until, consent } = lift;
        Ok(EnforcementOff {
            policy_version: policy.policy_version,
            policy_sha256: policy.policy_sha256,
            until,
            reason,
            approval: consent.and_then(|consent| consent.approval).map(|approval| approval.id),
        })
    }

    /// The policy whose denials can be lifted.
    fn denied_by(&self) -> Result<PolicyIdentity, EnforcementOffError> {
        let state = self.enforcer().state().map_err(EnforcementOffError::Enforce)?;
        let state = state.ok_or(EnforcementOffError::NothingInForce)?;
        match state.mode {
            Some(_) => Ok(state.policy),
            None => Err(EnforcementOffError::Enforce(nothing_enforced(self.enforcer().name()))),
        }
    }

    /// Finishes what was interrupted, for what is left of its time.
    pub(crate) fn resume_off(
        &self,
        journal: &Journal,
        lift: &Lift,
        caller: &Caller,
    ) -> Result<Event, RecoverError> {
        // By a clock that was set back meanwhile there would be more left than was asked for.
        let asked = lift.until.duration_since(journal.started_at);
        let left = lift.until.duration_since(caller.now).min(asked);
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
        if left.is_zero() && !self.is_logged(journal)? {
            // Nothing was lifted and no approval used, for the entry comes first; now it is too late.
            return Ok(given_up(journal, caller));
        }
        let event = off_event(&Caller::of_journal(journal), lift).detail("recovered", true);
        self.log_once(journal, event.clone())?;
        self.record_change(lift.consent.as_ref(), KeyEdit::None)
            .map_err(|source| RecoverError::Step { source })?;
        if !left.is_zero()
            && let Err(error) = self.enforcer().lift(left)
        {
            // It would say the same every time, and no other command could run.
            self.log_refusal(&not_done(journal, caller, &error));
        }
        Ok(event)
    }

    /// What the policy in force denies is refused again. Nobody has to approve that.
    ///
    /// # Errors
    ///
    /// [`EnforcementOnError`]. With [`ChangeError::NotLogged`] denials are on all the same.
    pub fn enforcement_on(&self, caller: &Caller) -> Result<EnforcementOn, EnforcementOnError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let done = begun.map_err(EnforcementOnError::Change).and_then(|()| self.on_locked(caller));
        if let Err(error) = &done
            && !matches!(
                error,
                EnforcementOnError::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. })
            )
        {
            let event = Event::new(caller.now, caller.actor.clone(), Action::EnforcementOn, OBJECT)
                .outcome(Outcome::Failed)
                .reason(crate::health::cause_chain(error))
                .detail("refusal", "other");
            self.log_refusal(&event);
        }
        done
    }

    fn on_locked(&self, caller: &Caller) -> Result<EnforcementOn, EnforcementOnError> {
        let policy = self.enforcer().state().ok().flatten().map(|state| state.policy);
        let journal = Journal::new(caller.now, &caller.actor, Change::EnforcementOn { policy });
        // A full disk or a damaged log keeps nothing off: without a journal, a kill in the next instant costs the entry.
        let _ = journal.write(self.paths());
        if let Err(source) = self.enforcer().lift(Duration::ZERO) {
            self.give_up().map_err(EnforcementOnError::Change)?;
            return Err(EnforcementOnError::Enforce(source));
        }
        self.finish_change(&journal, on_event(caller, policy.as_ref()))
            .map_err(EnforcementOnError::Change)?;
        Ok(EnforcementOn {
            policy_version: policy.and_then(|policy| policy.policy_version),
            policy_sha256: policy.map(|policy| policy.policy_sha256),
        })
    }

    pub(crate) fn resume_on(
        &self,
        journal: &Journal,
        policy: Option<&PolicyIdentity>,
        caller: &Caller,
    ) -> Event {
        match self.enforcer().lift(Duration::ZERO) {
            Ok(()) => on_event(&Caller::of_journal(journal), policy),
            Err(error) => not_done(journal, caller, &error),
        }
    }
}

fn off_event(caller: &Caller, lift: &Lift) -> Event {
    let Lift { policy, reason, until, consent } = lift;
    let event = Event::new(caller.now, caller.actor.clone(), Action::EnforcementOff, OBJECT)
        .reason(reason)
        .detail("until", until.to_string());
    describe_consent(describe(event, policy), consent.as_ref())
}

fn on_event(caller: &Caller, policy: Option<&PolicyIdentity>) -> Event {
    let event = Event::new(caller.now, caller.actor.clone(), Action::EnforcementOn, OBJECT);
    match policy {
        Some(policy) => describe(event, policy),
        None => event,
    }
}

/// Puts a policy into an entry.
pub(crate) fn describe(event: Event, policy: &PolicyIdentity) -> Event {
    let PolicyIdentity { policy_version, policy_sha256 } = policy;
    let event = event.detail("policy_sha256", policy_sha256.to_string());
    match policy_version {
        Some(version) => event.detail("policy_version", *version),
        None => event,
    }
}

/// Says that the enforcer did not do what was interrupted.
pub(crate) fn not_done(journal: &Journal, caller: &Caller, error: &EnforceError) -> Event {
    given_up(journal, caller).reason(crate::health::cause_chain(error)).transaction(&journal.transaction)
}

#[cfg(test)]
mod tests;
