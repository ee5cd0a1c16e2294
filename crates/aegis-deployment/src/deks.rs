//! What is done to DEKs. None of it needs the KEK's private half.

use std::sync::Arc;
use std::time::Duration;

use aegis_approval::RequestId;
use aegis_keyring::{
    ActiveDek, ChangeDekError, DekRecord, DekRotator, DekVersion, Keyring, MakeDekError, Rotated,
    RotationPolicy, RotatorError, RotatorOutcome, RunningRotator, Scope, StoreError,
};

use crate::approvals::{ErasureError, Insisted, dek_subject};
use crate::change_log::{DekChange, Intent};
use crate::deployment::{Deployment, KeyringError, SetupError};

impl Deployment {
    /// Makes the first DEK of a scope.
    ///
    /// # Errors
    ///
    /// [`MakeError`].
    pub fn create_dek(&self, scope: &Scope) -> Result<ActiveDek, MakeError> {
        self.make(scope, |keyring| keyring.create(scope).map_err(MakeError::Make))
    }

    /// Makes a new DEK, active from then on.
    ///
    /// # Errors
    ///
    /// [`MakeError`].
    pub fn rotate_dek(&self, scope: &Scope) -> Result<Rotated, MakeError> {
        self.make(scope, |keyring| keyring.rotate(scope).map_err(MakeError::Make))
    }

    /// Makes a new DEK in the place of this one, if it is the active one still, whatever the clock says of its age.
    ///
    /// # Errors
    ///
    /// [`MakeError`].
    pub fn replace_dek(&self, scope: &Scope, active: DekVersion) -> Result<Rotated, MakeError> {
        self.make(scope, |keyring| keyring.rotate_from(scope, active).map_err(MakeError::Make))
    }

    /// Makes a new DEK if the active one is due.
    ///
    /// # Errors
    ///
    /// [`MakeError`].
    pub fn rotate_dek_if_due(
        &self,
        scope: &Scope,
        policy: RotationPolicy,
    ) -> Result<RotatorOutcome, MakeError> {
        self.make(scope, |keyring| {
            DekRotator::new(keyring.clone(), scope.clone(), policy).run_once().map_err(MakeError::Rotator)
        })
    }

    /// Looks at the DEK of a scope whenever it is time, from a thread of its own, and replaces one that is due as
    /// [`rotate_dek_if_due`](Self::rotate_dek_if_due) does: under the lock, and in the log. A look that finds nothing due
    /// takes no lock. `told` is given every outcome.
    ///
    /// # Errors
    ///
    /// Those of the system, if it gives no thread.
    pub fn spawn_rotator(
        self: &Arc<Self>,
        keyring: Keyring,
        scope: &Scope,
        policy: RotationPolicy,
        told: impl FnMut(Result<RotatorOutcome, MakeError>) + Send + 'static,
    ) -> std::io::Result<RunningRotator> {
        let (this, scope) = (Arc::clone(self), scope.clone());
        let rotator = DekRotator::new(keyring, scope.clone(), policy);
        let look = move |rotator: &DekRotator| match rotator.look_only().map_err(MakeError::Rotator)? {
            Some(outcome) => Ok(outcome),
            None => this.rotate_dek_if_due(&scope, policy),
        };
        rotator.spawn_with(look, told)
    }

    fn make<T>(
        &self,
        scope: &Scope,
        make: impl FnOnce(&Keyring) -> Result<T, MakeError>,
    ) -> Result<T, MakeError> {
        let unlocked = self.unlock().map_err(MakeError::Setup)?;
        let active = unlocked.keyring.store().active_dek(scope).map_err(store)?;
        let active = active.map(|record| record.version.to_string());
        let intent = Intent::NewDek { scope: scope.to_string(), active, key: None };
        let held = self.begin(intent).map_err(MakeError::Setup)?;
        let made = make(&unlocked.keyring);
        self.change_log().finish(&held);
        made
    }

    /// Retires a DEK.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub fn retire_dek(&self, version: DekVersion) -> Result<DekRecord, ChangeError> {
        self.change(version, DekChange::Retire, |keyring| keyring.retire(version))
    }

    /// Brings a retired DEK back.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub fn unretire_dek(&self, version: DekVersion) -> Result<DekRecord, ChangeError> {
        self.change(version, DekChange::Unretire, |keyring| keyring.unretire(version))
    }

    /// Marks a DEK for destruction; or destroys it, if it is marked and its waiting time is over. Only the second can not be
    /// taken back: it uses the approval, if one is named, and the rules may insist on one.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]. An approval is used only if nothing else speaks against it.
    pub fn destroy_dek(
        &self,
        version: DekVersion,
        wait: Duration,
        approval: Option<&RequestId>,
    ) -> Result<Destruction, ChangeError> {
        let keyring = self.keyring().map_err(|error| ChangeError::Setup(SetupError::Keyring(error)))?;
        let marked =
            keyring.show(version).map_err(|error| ChangeError::Change(ChangeDekError::Store(error)))?;
        if marked.is_some_and(|record| record.destroy_after.is_some()) {
            let insisted = self.insisted(dek_subject(version), approval).map_err(ChangeError::Approval)?;
            self.change_by(version, DekChange::Destroy, &insisted, |keyring| keyring.destroy(version))
                .map(Destruction::Destroyed)
        } else {
            self.change(version, DekChange::Mark, |keyring| keyring.mark_for_destruction(version, wait))
                .map(Destruction::Marked)
        }
    }

    /// Takes the mark back.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub fn cancel_destruction(&self, version: DekVersion) -> Result<DekRecord, ChangeError> {
        self.change(version, DekChange::Unmark, |keyring| keyring.cancel_destruction(version))
    }

    fn change(
        &self,
        version: DekVersion,
        what: DekChange,
        change: impl FnOnce(&Keyring) -> Result<DekRecord, ChangeDekError>,
    ) -> Result<DekRecord, ChangeError> {
        self.change_by(version, what, &Insisted::No, change)
    }

    fn change_by(
        &self,
        version: DekVersion,
        what: DekChange,
        insisted: &Insisted,
        change: impl FnOnce(&Keyring) -> Result<DekRecord, ChangeDekError>,
    ) -> Result<DekRecord, ChangeError> {
        let unlocked = self.unlock().map_err(ChangeError::Setup)?;
        let keyring = insisted.guard(&unlocked.keyring);
        let record =
            keyring.show(version).map_err(|error| ChangeError::Change(ChangeDekError::Store(error)))?;
        let Some(record) = record else {
            // Nothing to be interrupted in; the keyring refuses it, and that is logged.
            return change(&keyring).map_err(ChangeError::Change);
        };
        let before = (record.state.as_str().to_owned(), record.destroy_after);
        let approval = insisted.id();
        let intent = Intent::DekState { version: version.to_string(), change: what, before, approval };
        let held = self.begin_erasure(intent, insisted).map_err(ChangeError::Setup)?;
        let changed = change(&keyring).map_err(ChangeError::Change);
        match self.end_erasure(held, insisted, changed.is_ok()) {
            Some(refusal) => Err(ChangeError::Approval(refusal)),
            None => changed,
        }
    }
}

/// Which step of a destruction was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destruction {
    /// The first: it is refused from now on.
    Marked(DekRecord),
    /// The second: its private half is erased.
    Destroyed(DekRecord),
}

fn store(error: StoreError) -> MakeError {
    MakeError::Setup(SetupError::Keyring(KeyringError::Store(error)))
}

/// Why no DEK was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// It was not begun.
    #[error(transparent)]
    Setup(SetupError),
    /// The keyring did not make it.
    #[error(transparent)]
    Make(MakeDekError),
    /// Whether it was due could not be told, or it was not made.
    #[error(transparent)]
    Rotator(RotatorError),
}

impl MakeError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Setup(source) => source.help(),
            Self::Make(source) => source.help(),
            Self::Rotator(source) => source.help(),
        }
    }
}

/// Why a DEK was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It was not begun.
    #[error(transparent)]
    Setup(SetupError),
    /// The keyring did not change it.
    #[error(transparent)]
    Change(ChangeDekError),
    /// It is not approved.
    #[error(transparent)]
    Approval(ErasureError),
}

impl ChangeError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Setup(source) => source.help(),
            Self::Change(source) => source.help(),
            Self::Approval(source) => source.help(),
        }
    }
}
