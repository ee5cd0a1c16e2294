//! The emergency rotation of a custodian's key, with the DEKs of this deployment.

use aegis_approval::{EmergencyError, EmergencyOrder, Finding, Left, NewKey, Report, ReportError, Rotation};
use aegis_keyring::{DekQuery, DekRecord, DekState, StoreError};
use jiff::Timestamp;

use super::ApprovalsError;
use crate::deks::MakeError;
use crate::deployment::{Deployment, KeyringError};

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct RotateCustodian<'a> {
    /// The key that may be in the wrong hands, and why; whether DEKs are to be rotated as well.
    pub order: EmergencyOrder<'a>,
    /// The key that comes.
    pub new_key: NewKey<'a>,
}

/// What this run did.
#[derive(Debug)]
pub struct CustodianRotated<T> {
    /// How far it has come.
    pub rotation: Rotation,
    /// What is left: [`Left::Nothing`], or [`Left::NewKey`] if it waits for that.
    pub left: Left,
    /// How many open requests have to be signed again.
    pub reopened: u64,
    /// What the report came to.
    pub report: T,
    /// DEKs that this run made in the place of others.
    pub deks: Vec<String>,
}

/// How many DEKs are read at once.
const PAGE: usize = 1_000;

impl Deployment {
    /// Takes the emergency rotation of a custodian's key as far as it can be taken, from wherever an interrupted run left
    /// it. Each open request that dropped back is handed to `reopened`; `report` writes the report, in each run anew, and
    /// returns when it is where it stays. Only when all of it is done, DEKs are rotated: those that were made before the
    /// emergency began.
    ///
    /// # Errors
    ///
    /// A [`RotateCustodianError`]; running it again does what is left.
    pub fn rotate_custodian<T>(
        &self,
        rotate: RotateCustodian<'_>,
        reopened: &mut dyn FnMut(&Finding) -> Result<(), ReportError>,
        report: impl FnOnce(&Report<'_>) -> Result<T, ReportError>,
    ) -> Result<CustodianRotated<T>, RotateCustodianError> {
        let RotateCustodian { order, new_key } = rotate;
        let failed = RotateCustodianError::Emergency;
        // The lock is let go before DEKs are rotated, each of which takes it.
        let (rotation, left, count, report) = {
            let approvals = self.approvals().map_err(RotateCustodianError::Approvals)?;
            let now = Timestamp::now;
            let mut emergency = approvals.emergency(order, now()).map_err(failed)?;
            emergency.revoke(now()).map_err(failed)?;
            emergency.register(new_key, now()).map_err(failed)?;
            let count = emergency.reopen(now(), reopened).map_err(failed)?;
            let written = emergency.report(now(), report).map_err(failed)?;
            (emergency.rotation().clone(), emergency.left(), count, written)
        };
        let mut deks = Vec::new();
        if left == Left::Deks {
            for scope in self.scopes_before(rotation.started)? {
                let active = scope.version;
                let made = self.replace_dek(&scope.scope, active).map_err(RotateCustodianError::Dek)?;
                deks.push(made.active.version.to_string());
            }
        }
        let (rotation, left) = match left {
            Left::Deks | Left::Finish => {
                let approvals = self.approvals().map_err(RotateCustodianError::Approvals)?;
                let mut emergency = approvals.resume_emergency(rotation.old_key).map_err(failed)?;
                emergency.finish(Timestamp::now()).map_err(failed)?;
                (emergency.rotation().clone(), emergency.left())
            }
            left => (rotation, left),
        };
        Ok(CustodianRotated { rotation, left, reopened: count, report, deks })
    }

    /// The active DEKs that were made before that.
    fn scopes_before(&self, started: Timestamp) -> Result<Vec<DekRecord>, RotateCustodianError> {
        let keyring = self.keyring().map_err(RotateCustodianError::Keyring)?;
        let store = |error: StoreError| RotateCustodianError::Keyring(KeyringError::Store(error));
        let mut query = DekQuery { scope: None, state: Some(DekState::Active), after: None, limit: PAGE };
        let mut found = Vec::new();
        loop {
            let page = keyring.list(&query).map_err(store)?;
            let Some(last) = page.last() else { return Ok(found) };
            query.after = Some(last.version);
            found.extend(page.into_iter().filter(|dek| dek.created_at < started));
        }
    }
}

/// Why an emergency rotation did not come further. What was done stays done; running it again does what is left.
#[derive(Debug, thiserror::Error)]
pub enum RotateCustodianError {
    /// There are no approvals to work with.
    #[error(transparent)]
    Approvals(ApprovalsError),
    /// A step of it.
    #[error(transparent)]
    Emergency(EmergencyError),
    /// The keyring whose DEKs are to be rotated cannot be used.
    #[error("which DEKs there are cannot be told")]
    Keyring(#[source] KeyringError),
    /// A DEK was not rotated.
    #[error("a DEK was not rotated")]
    Dek(#[source] MakeError),
}

impl RotateCustodianError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Approvals(error) => error.help(),
            Self::Emergency(error) => error.help(),
            Self::Keyring(error) => error.help(),
            Self::Dek(error) => error.help(),
        }
    }
}
