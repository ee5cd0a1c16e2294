//! The end of a KEK: once nothing needs it, its wrappings are erased.

use std::ops::ControlFlow;

use aegis_crypto::KeyId;
use aegis_kek::Kek;

use super::error::{RetireKekError, Unreadable};
use super::pipeline::{self, PAGE};
use super::verify::{Found, checker};
use super::{KekPhase, KekProgress, KekRotationOptions, OnProgress};
use crate::keyring::Keyring;
use crate::observer::{Change, KeyObject, outcome};
use crate::record::{KekRecord, KekState};
use crate::store_error::StoreError;

/// Whether the grace period has to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// Nobody is configured with the KEK any more.
    Respect,
    /// Whoever still is will read nothing. That every DEK opens with the active KEK is checked all the same.
    CutShort,
}

impl Keyring {
    /// Retires a KEK that is in grace: opens every DEK with the active KEK once more, then erases the wrappings under the
    /// one that is retired.
    ///
    /// # Errors
    ///
    /// A [`RetireKekError`]; nothing was erased.
    pub fn retire_kek(
        &self,
        kek: KeyId,
        active: &Kek,
        grace: Grace,
        options: &KekRotationOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), RetireKekError> {
        let retired = self.retire_checked(kek, active, grace, options, progress);
        let instead_of = KeyObject::Kek(kek);
        self.note(Change::KekRetired, instead_of, None, outcome(&retired));
        retired
    }

    /// Opens every DEK with a KEK, those that were found good before too, and returns how many there are. Nobody is given
    /// a key.
    ///
    /// # Errors
    ///
    /// [`RetireKekError::ActiveUnreadable`] names the DEKs that do not open.
    pub fn verify_kek(
        &self,
        kek: &Kek,
        options: &KekRotationOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<u64, RetireKekError> {
        self.open_all(kek, options, progress)?;
        Ok(self.store().wrap_progress(kek.key_id()).map_err(RetireKekError::Store)?.deks)
    }

    fn retire_checked(
        &self,
        kek: KeyId,
        active: &Kek,
        grace: Grace,
        options: &KekRotationOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), RetireKekError> {
        let keks = self.store().keks().map_err(RetireKekError::Store)?;
        self.may_retire(&keks, kek, active, grace)?;
        self.open_all(active, options, progress)?;
        self.ask_before_erasure(&KeyObject::Kek(kek)).map_err(RetireKekError::Forbidden)?;
        match self.store().retire_kek(kek, self.now()) {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict { .. }) => {
                // Somebody rotated, or retired it, while this one looked.
                let keks = self.store().keks().map_err(RetireKekError::Store)?;
                self.may_retire(&keks, kek, active, grace)?;
                Err(RetireKekError::Changed { kek })
            }
            Err(error) => Err(RetireKekError::Store(error)),
        }
    }

    fn may_retire(
        &self,
        keks: &[KekRecord],
        kek: KeyId,
        active: &Kek,
        grace: Grace,
    ) -> Result<(), RetireKekError> {
        let record = keks.iter().find(|record| record.key_id() == kek);
        let record = record.ok_or(RetireKekError::Unknown { kek })?;
        if record.state != KekState::Grace {
            return Err(RetireKekError::NotInGrace { kek, state: record.state });
        }
        let found = keks.iter().find(|record| record.state == KekState::Active).map(KekRecord::key_id);
        if found != Some(active.key_id()) {
            return Err(RetireKekError::OtherActive { given: active.key_id(), active: found });
        }
        match record.grace_until {
            Some(until) if grace == Grace::Respect && until > self.now() => {
                Err(RetireKekError::InGrace { kek, until })
            }
            _ => Ok(()),
        }
    }

    /// Opens every wrapping under the active KEK, those that were found good before too.
    fn open_all(
        &self,
        active: &Kek,
        options: &KekRotationOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), RetireKekError> {
        let key_id = active.key_id();
        let store = self.store();
        let total = store.wrap_progress(key_id).map_err(RetireKekError::Store)?.deks;
        let mut done = 0_u64;
        let mut unreadable = Unreadable::default();

        let read = |after| store.wrappings_under(key_id, false, after, PAGE).map_err(RetireKekError::Store);
        let worker = || {
            let mut check = checker(active, options.import);
            Ok(move |stored| check(stored).map_err(RetireKekError::Unwrap))
        };
        let write = |batch: Vec<Found>| {
            let count = batch.len() as u64;
            let mut good = Vec::with_capacity(batch.len());
            for found in batch {
                match found {
                    Found::Good(stored) => good.push(stored),
                    Found::Bad(version) => unreadable.add(version),
                }
            }
            store.mark_verified(key_id, &good, self.now()).map_err(RetireKekError::Store)?;
            done = done.saturating_add(count);
            match progress(KekProgress { phase: KekPhase::Verify, done, total: total.max(done) }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(RetireKekError::Stopped),
            }
        };
        pipeline::run(options.threads, read, worker, write)?;
        if unreadable.count > 0 {
            return Err(RetireKekError::ActiveUnreadable { kek: key_id, unreadable });
        }
        Ok(())
    }
}
