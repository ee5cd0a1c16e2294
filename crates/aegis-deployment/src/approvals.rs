//! The approvals of a deployment: its custodians and requests, their rules, and each of it in the log once.
//!
//! | file | what |
//! |---|---|
//! | `approvals.sqlite` beside the keyring, or the keyring's database | custodians and requests |
//! | `approval-rules.toml` in the state directory | the rules; without it, the defaults |
//!
//! Looking at them needs no lock. Changing them takes the lock of the state directory, under which what an interrupted
//! command did is logged first.

mod emergency;
mod erasure;
mod log;
mod rules;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use aegis_approval::{Approvals, ApprovalsReader, SqliteStore, StoreError, open_store_beside_keyring};
use aegis_audit::{Action, Outcome};
use aegis_kek::Variables;

use crate::change_log::{Held, Intent, NoteError, RecoverError, chain};
use crate::deployment::{Deployment, KeyringError, KeyringPlace};
use crate::lock::{LockError, StateLock};
use crate::state_dir::{Presence, StateDirError};

pub use emergency::{CustodianRotated, RotateCustodian, RotateCustodianError};
pub use erasure::ErasureError;
pub(crate) use erasure::{Insisted, NotApproved, Resumed, dek_subject};
pub(crate) use log::{Check, NotedEntry, event_of, mark};
pub use rules::{DeploymentRules, RulesFault, RulesFileError};

use log::ApprovalLog;

/// Custodians and requests, to be changed by this command alone: the lock ends when this is dropped.
#[derive(Debug)]
pub struct OpenApprovals {
    approvals: Approvals,
    _lock: StateLock,
}

/// What kind of file was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferedFile {
    /// A custodian's key.
    Registration,
    /// A request with signatures.
    Approval,
}

impl Deref for OpenApprovals {
    type Target = Approvals;

    fn deref(&self) -> &Approvals {
        &self.approvals
    }
}

impl Deployment {
    /// Custodians and requests, to be looked at.
    ///
    /// # Errors
    ///
    /// [`ApprovalsError`].
    pub fn read_approvals(&self) -> Result<ApprovalsReader, ApprovalsError> {
        if self.state_dir().check().map_err(ApprovalsError::StateDir)? == Presence::Absent {
            return Err(ApprovalsError::Absent { path: self.state_dir().path().to_owned() });
        }
        self.open_reader()
    }

    /// Custodians and requests, to be changed. Whatever is done or refused is logged, once, also if the program is killed.
    ///
    /// # Errors
    ///
    /// [`ApprovalsError`]; nothing was changed.
    pub fn approvals(&self) -> Result<OpenApprovals, ApprovalsError> {
        self.state_dir().prepare().map_err(ApprovalsError::StateDir)?;
        let lock = StateLock::acquire(self.state_dir().path()).map_err(ApprovalsError::Lock)?;
        let reader = self.open_reader()?;
        for held in self.change_log().orphans().map_err(ApprovalsError::Note)? {
            if let Intent::Approval { .. } = held.note.intent {
                self.recover_approval(&held, &reader)?;
            }
        }
        let log = Arc::new(ApprovalLog::new(Arc::clone(self.change_log())));
        Ok(OpenApprovals { approvals: Approvals::new(reader).observed_by(log), _lock: lock })
    }

    /// Logs that a file was refused that could not even be read: a registration with a private key in it, an approval with
    /// a byte changed. `name` is what the operator called it.
    pub fn log_refused_file(&self, what: OfferedFile, name: &str, error: &(dyn std::error::Error + 'static)) {
        let action = match what {
            OfferedFile::Registration => Action::CustodianRegister,
            OfferedFile::Approval => Action::ApprovalSign,
        };
        let event = self.change_log().event(action, name).outcome(Outcome::Refused).reason(chain(error));
        self.change_log().append(&event.detail("refusal", "malformed"));
    }

    /// The rules of this deployment.
    ///
    /// # Errors
    ///
    /// [`RulesFileError`].
    pub fn approval_rules(&self) -> Result<DeploymentRules, RulesFileError> {
        DeploymentRules::read(&self.state_dir().approval_rules())
    }

    pub(crate) fn open_reader(&self) -> Result<ApprovalsReader, ApprovalsError> {
        let rules = self.approval_rules().map_err(ApprovalsError::Rules)?;
        let place = self.keyring_place().map_err(ApprovalsError::Place)?;
        let store = match &place {
            KeyringPlace::File(path) => {
                let path = path.with_file_name(aegis_approval::FILE_NAME);
                SqliteStore::open(&path).map(|store| Arc::new(store) as Arc<dyn aegis_approval::Store>)
            }
            KeyringPlace::Address(address) => {
                open_store_beside_keyring(address.expose(), &Variables::of_process()).map(Arc::from)
            }
        };
        Ok(ApprovalsReader::new(store.map_err(ApprovalsError::Store)?, rules.into_rules()))
    }

    /// Logs what an interrupted command did with approvals, if it did it.
    pub(crate) fn recover_approval(
        &self,
        held: &Held,
        reader: &ApprovalsReader,
    ) -> Result<(), ApprovalsError> {
        let Intent::Approval { check, entries } = &held.note.intent else { return Ok(()) };
        let came_true = check.came_true(reader.store().as_ref()).map_err(ApprovalsError::Store)?;
        tracing::warn!(transaction = held.note.transaction, came_true, "an interrupted command is logged");
        let entries = if came_true { entries.as_slice() } else { &[] };
        self.change_log().recover_entries(held, entries).map_err(ApprovalsError::Recover)
    }
}

/// Why there are no approvals to work with.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalsError {
    /// Nobody has made any.
    #[error("there are no approvals in {} yet", path.display())]
    Absent {
        /// The state directory.
        path: PathBuf,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(StateDirError),
    /// The rules cannot be read.
    #[error("the rules of approvals cannot be used")]
    Rules(#[source] RulesFileError),
    /// Where the keyring is said to be, beside which they are, cannot be used.
    #[error(transparent)]
    Place(KeyringError),
    /// The store did not answer, or not as it should.
    #[error(transparent)]
    Store(StoreError),
    /// Another command is changing something.
    #[error(transparent)]
    Lock(LockError),
    /// What interrupted commands noted cannot be read.
    #[error(transparent)]
    Note(NoteError),
    /// An earlier command was interrupted, and what it did cannot be logged.
    #[error("an earlier command was interrupted, and what it did has to be logged first")]
    Recover(#[source] RecoverError),
}

impl ApprovalsError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Absent { .. } => {
                Some("register custodians first; if they are elsewhere, set AEGIS_STATE_DIR".to_owned())
            }
            Self::StateDir(error) => error.help(),
            Self::Rules(error) => error.help(),
            Self::Place(error) => error.help(),
            Self::Store(error) => error.help(),
            Self::Lock(error) => error.help(),
            Self::Note(error) => error.help(),
            Self::Recover(error) => error.help(),
        }
    }
}
