//! Putting right what an interrupted command left: whatever was written into the journal is finished, or given up
//! where it may no longer be done, and is logged once.

use aegis_audit::{Action, Event, Outcome};
use aegis_crypto::sha256;
use jiff::Timestamp;

use crate::{
    apply::apply_event,
    bundle::SignedBundle,
    counter::{Counter, CounterRefusal},
    custodians::{change::CustodiansAction, record::KeyEdit},
    durable::{self, ReadError, WriteError},
    enforce::{EnforceError, PolicyIdentity},
    host::{Caller, Host},
    journal::{Change, Journal, JournalError, StagedPolicy},
    revoked::RevokedKey,
    verify::{Expiry, V1},
};

/// How far back the log is searched for the entry of an interrupted change. Nothing is logged between the two but the
/// refusals of commands that could not finish it.
const LOOK_BACK: usize = 1000;

/// Why an interrupted change could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(JournalError),
    /// A file of the change cannot be read.
    #[error("a file of that change cannot be read")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// The keys that are there cannot be told.
    #[error(transparent)]
    Keys {
        /// Why.
        source: crate::key_dir::KeysError,
    },
    /// A step failed.
    #[error("a step failed")]
    Step {
        /// Why.
        source: WriteError,
    },
    /// The enforcer refused.
    #[error("the policy cannot be enforced")]
    Enforce {
        /// Why.
        source: EnforceError,
    },
    /// The entry cannot be written.
    #[error("the change cannot be written to the audit log")]
    Log {
        /// Why.
        source: Box<aegis_audit::AppendError>,
    },
    /// The log cannot be read, so whether the entry is there cannot be told.
    #[error("the audit log cannot be read")]
    ReadLog {
        /// Why.
        source: Box<aegis_audit::ReadError>,
    },
    /// The files of a backup could not be put back.
    #[error("the backup cannot be restored")]
    Restore {
        /// Why.
        source: Box<crate::backup::BackupError>,
    },
}

impl RecoverError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Journal(source) => source.help(),
            Self::Read { source } => source.help(),
            Self::Keys { source } => source.help(),
            Self::Step { source } => source.help(),
            Self::Enforce { source } => source.help(),
            Self::Log { source } => source.help(),
            Self::ReadLog { source } => source.help(),
            Self::Restore { source } => source.help(),
        }
    }
}

impl Host {
    /// Finishes an interrupted change, if there is one. Commands that change anything do this first.
    ///
    /// # Errors
    ///
    /// [`RecoverError`]; what was interrupted is still to be finished.
    pub(crate) fn recover_locked(&self, caller: &Caller) -> Result<(), RecoverError> {
        let Some(journal) = Journal::load(self.paths()).map_err(RecoverError::Journal)? else {
            // Staged, but never written down: nothing was begun.
            return durable::remove_synced(&self.paths().staged())
                .and_then(|()| self.discard_restore())
                .and_then(|()| self.discard_custodians())
                .map_err(|source| RecoverError::Step { source });
        };
        let finished = match &journal.change {
            Change::Apply(plan) | Change::Rollback(plan) => self.resume_policy(&journal, plan, caller.now)?,
            Change::RepairCounter { counter, reason } => self.resume_repair(&journal, counter, reason)?,
            Change::AddKey { id, file_name, source, consent } => {
                self.resume_add(&journal, id, file_name, source, consent.as_deref())?
            }
            Change::RemoveKey { id, file_names, consent } => {
                Some(self.resume_remove(&journal, id, file_names, consent.as_deref())?)
            }
            Change::RevokeKey { id, revoked_at, reason, file_names, consent } => {
                let entry = RevokedKey { id: *id, revoked_at: *revoked_at, reason: reason.clone() };
                Some(self.resume_revoke(&journal, &entry, file_names, consent.as_deref())?)
            }
            Change::Custodians(change) => self.resume_custodians(&journal, change)?,
            Change::Rotation(change) => Some(self.resume_rotation(&journal, change)?),
            Change::EnforcementOff(lift) => Some(self.resume_off(&journal, lift, caller)?),
            Change::EnforcementOn { policy } => Some(self.resume_on(&journal, policy.as_ref(), caller)),
            Change::ConfirmPolicy { policy } => Some(self.resume_confirm(&journal, policy, caller)),
            Change::Restore { source, archive_sha256 } => self
                .resume_restore(&journal, source, archive_sha256)
                .map_err(|source| RecoverError::Restore { source: Box::new(source) })?,
        };
        let event = match finished {
            Some(event) => event.detail("recovered", true),
            None => {
                self.enforce_applied_again()?;
                given_up(&journal, caller)
            }
        };
        self.sync_directories().map_err(|source| RecoverError::Step { source })?;
        self.log_once(&journal, event)?;
        durable::remove_synced(&self.paths().staged()).map_err(|source| RecoverError::Step { source })?;
        Journal::clear(self.paths())
            .and_then(|()| self.discard_restore())
            .and_then(|()| self.discard_custodians())
            .map_err(|source| RecoverError::Step { source })
    }

    /// A step that was found done may have been killed before its directory was synced.
    fn sync_directories(&self) -> Result<(), WriteError> {
        let paths = self.paths();
        [paths.journal(), paths.revoked(), paths.version_counter.clone()]
            .iter()
            .filter(|file| file.parent().is_some_and(std::path::Path::is_dir))
            .try_for_each(|file| durable::sync_parent(file))
    }

    /// Whether the entry of an interrupted change is in the log.
    pub(crate) fn is_logged(&self, journal: &Journal) -> Result<bool, RecoverError> {
        if !self.audit().exists() {
            return Ok(false);
        }
        self.audit()
            .has_transaction(&journal.transaction, LOOK_BACK)
            .map_err(|source| RecoverError::ReadLog { source: Box::new(source) })
    }

    pub(crate) fn log_once(&self, journal: &Journal, event: Event) -> Result<(), RecoverError> {
        if self.is_logged(journal)? {
            return Ok(());
        }
        self.audit()
            .append(&event.transaction(&journal.transaction))
            .map(drop)
            .map_err(|source| RecoverError::Log { source: Box::new(source) })
    }

    /// A change that was given up may have reached the enforcer; what is in force is what `policy.applied` says.
    fn enforce_applied_again(&self) -> Result<(), RecoverError> {
        match self.load_applied_file()? {
            // Refused, it stays refused, and health says what is enforced; the commands that correct it must run.
            Ok(()) | Err(EnforceError::Rejected { .. } | EnforceError::Unavailable { .. }) => Ok(()),
            Err(source) => Err(RecoverError::Enforce { source }),
        }
    }

    /// Hands `policy.applied` to the enforcer, and tells what that says.
    pub(crate) fn load_applied_file(&self) -> Result<Result<(), EnforceError>, RecoverError> {
        let read = |source| RecoverError::Read { source };
        let Some(file) = durable::read_state(&self.paths().applied(), self.max_file_len()).map_err(read)?
        else {
            return Ok(Ok(()));
        };
        let (policy_version, file, offset) = if crate::bundle::is_bundle(&file) {
            // Changed since it was accepted, it is loaded by nobody; health says so.
            let Ok(bundle) = SignedBundle::parse(file) else { return Ok(Ok(())) };
            if sha256(bundle.policy()) != bundle.manifest().policy_sha256 {
                return Ok(Ok(()));
            }
            let version = bundle.manifest().policy_version;
            let (file, range) = bundle.into_file();
            (Some(version), file, range.start)
        } else {
            (None, file, 0)
        };
        let text = file.get(offset..).unwrap_or_default();
        let Ok(policy) = self.parse_policy(text) else { return Ok(Ok(())) };
        let identity = PolicyIdentity { policy_version, policy_sha256: sha256(text) };
        Ok(self.enforcer().enforce(&policy, &identity).map(drop))
    }

    /// Finishes an interrupted policy change, or gives it up if it may not be.
    fn resume_policy(
        &self,
        journal: &Journal,
        plan: &StagedPolicy,
        now: Timestamp,
    ) -> Result<Option<Event>, RecoverError> {
        let limit = self.max_file_len();
        let read = |source| RecoverError::Read { source };
        let staged = durable::read_state(&self.paths().staged(), limit).map_err(read)?;
        // Without it the rename was made: the counter and the enforcer have it, and only what comes after is left.
        let renamed = staged.is_none();
        let file = match staged {
            Some(file) => file,
            None => durable::read_state(&self.paths().applied(), limit).map_err(read)?.unwrap_or_default(),
        };
        if sha256(&file) != plan.file_sha256 {
            self.record_epoch(plan)?;
            return if renamed { Ok(None) } else { self.give_up_links(&journal.change) };
        }
        // What is in force already is not judged again: calling it given up would be a lie in the log.
        if renamed {
            // The host may have restarted since.
            self.enforce_applied_again()?;
            self.record_epoch(plan)?;
        } else {
            if !self.may_resume(journal, plan, &file, now) {
                self.record_epoch(plan)?;
                return self.give_up_links(&journal.change);
            }
            let text = match plan.format {
                None => file.as_slice(),
                Some(_) => file.get(policy_offset(&file)..).unwrap_or_default(),
            };
            let Ok(policy) = self.parse_policy(text) else {
                self.record_epoch(plan)?;
                return self.give_up_links(&journal.change);
            };
            if let (Change::Apply(_), Some(policy_version)) = (&journal.change, plan.policy.policy_version) {
                let counter =
                    Counter { policy_version, policy_sha256: plan.policy.policy_sha256, epoch: plan.epoch };
                self.advance_counter(&counter).map_err(|source| RecoverError::Step { source })?;
                self.record_epoch(plan)?;
            }
            match self.enforcer().enforce(&policy, &plan.policy) {
                Ok(_) => {}
                // It would say the same every time, and no other command could run.
                Err(EnforceError::Rejected { .. } | EnforceError::Unavailable { .. }) => {
                    return self.give_up_links(&journal.change);
                }
                Err(source) => return Err(RecoverError::Enforce { source }),
            }
        }
        let caller = Caller { now, ..Caller::of_journal(journal) };
        match &journal.change {
            Change::Rollback(_) => {
                self.install_rollback().map_err(|source| RecoverError::Step { source })?;
                Ok(Some(crate::rollback::rollback_event(&caller, plan)))
            }
            _ => {
                self.install(plan).map_err(|source| RecoverError::Step { source })?;
                Ok(Some(apply_event(&caller, &plan.source, plan)))
            }
        }
    }

    /// An approval for a higher epoch is used as soon as the counter is there, whatever becomes of the policy.
    fn record_epoch(&self, plan: &StagedPolicy) -> Result<(), RecoverError> {
        let Some(consent) = plan.consent.as_deref() else { return Ok(()) };
        if self.counter().is_ok_and(|counter| counter.is_some_and(|counter| counter.epoch >= plan.epoch)) {
            self.record_change(Some(consent), KeyEdit::None)
                .map_err(|source| RecoverError::Step { source })?;
        }
        Ok(())
    }

    /// A rollback that is given up does not stand, whatever name its first step gave to the policy in force.
    fn give_up_links(&self, change: &Change) -> Result<Option<Event>, RecoverError> {
        if let Change::Rollback(_) = change {
            durable::remove_synced(&self.paths().rolled_back())
                .map_err(|source| RecoverError::Step { source })?;
        }
        Ok(None)
    }

    /// Whether what was on its way may still go into force: its keys may have been revoked since.
    fn may_resume(&self, journal: &Journal, plan: &StagedPolicy, file: &[u8], now: Timestamp) -> bool {
        if plan.format.is_none() {
            return true;
        }
        let Ok(bundle) = SignedBundle::parse(file.to_vec()) else { return false };
        let Ok(bundle) = self.verify_bundle(bundle, V1::Allow, now, Expiry::Ignored) else { return false };
        match &journal.change {
            // It goes below the counter, on purpose.
            Change::Rollback(_) => true,
            _ => self.counter().is_ok_and(|counter| {
                match Counter::judge(counter.as_ref(), &bundle.counter()) {
                    Ok(_) => true,
                    // It was, when this was begun.
                    Err(CounterRefusal::EpochNeedsApproval { .. }) => plan.consent.is_some(),
                    Err(_) => false,
                }
            }),
        }
    }
}

pub(crate) fn given_up(journal: &Journal, caller: &Caller) -> Event {
    let (action, object) = match &journal.change {
        Change::Apply(plan) => (Action::PolicyApply, plan.source.clone()),
        Change::Rollback(plan) => (Action::PolicyRollback, plan.source.clone()),
        Change::RepairCounter { .. } => (Action::CounterRepair, "version counter".to_owned()),
        Change::AddKey { id, .. } => (Action::KeyAdd, id.to_string()),
        Change::RemoveKey { id, .. } => (Action::KeyRemove, id.to_string()),
        Change::RevokeKey { id, .. } => (Action::KeyRevoke, id.to_string()),
        Change::Custodians(change) => (
            match change.action {
                CustodiansAction::Init => Action::CustodiansInit,
                CustodiansAction::Set => Action::CustodiansSet,
                CustodiansAction::Off => Action::CustodiansOff,
            },
            "custodians".to_owned(),
        ),
        Change::Rotation(change) => (Action::KeyRotate, change.new.to_string()),
        Change::EnforcementOff(_) => (Action::EnforcementOff, crate::emergency::OBJECT.to_owned()),
        Change::EnforcementOn { .. } => (Action::EnforcementOn, crate::emergency::OBJECT.to_owned()),
        Change::ConfirmPolicy { .. } => (Action::PolicyConfirm, crate::confirm::OBJECT.to_owned()),
        Change::Restore { source, .. } => (Action::BackupRestore, source.clone()),
    };
    Event::new(caller.now, journal.actor.clone(), action, object)
        .outcome(Outcome::Failed)
        .reason("it was interrupted, could not be finished, and was given up")
        .detail("recovered", true)
}

/// Where the policy begins in a bundle that was verified; its end if it is none.
fn policy_offset(file: &[u8]) -> usize {
    let separator = b"\n---\n";
    file.windows(separator.len())
        .position(|window| window == separator)
        .map_or(file.len(), |at| at + separator.len())
}
