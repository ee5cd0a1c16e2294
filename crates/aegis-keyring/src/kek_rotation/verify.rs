//! Wrappings are believed once they were read back from the store and opened.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use aegis_kek::Kek;

use super::error::{KekRotationError, Unreadable};
use super::pipeline::{self, PAGE};
use super::{KekPhase, KekProgress, KekRotation, OnProgress};
use crate::record::StoredWrapping;
use crate::store_error::{ConflictKind, StoreError};
use crate::version::DekVersion;
use crate::wrapping::{self, UnwrapError, Unwrapper};

/// How often one DEK's wrapping is made anew because it was found bad when it was read back.
const MAX_REMADE: u32 = 3;
/// Most DEKs whose wrappings may be found bad in one run: more is a broken disk or an attack, not an accident.
const MAX_DROPPED: usize = 1000;

/// How much of what is in a wrapping is checked.
///
/// Each wrapping is opened in any case: it is authentic, bound to its DEK and its KEK, of the right length, and has the
/// DEK's own ML-KEM public key in it. What is in it was in the old box before, byte for byte, so the checks of a key
/// cannot newly fail; each would cost as much again as the decapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportCheck {
    /// Makes every check of a private key on the first of each worker, and then on each 64th.
    Sample,
    /// Makes every check on all of them.
    All,
}

impl ImportCheck {
    const SAMPLE: u64 = 64;

    const fn takes(self, number: u64) -> bool {
        match self {
            Self::All => true,
            Self::Sample => number.is_multiple_of(Self::SAMPLE),
        }
    }
}

/// What was found bad and dropped in a run, and how often.
#[derive(Default)]
pub(super) struct Dropped(BTreeMap<DekVersion, u32>);

impl Dropped {
    fn add(&mut self, version: DekVersion) -> Result<(), KekRotationError> {
        let times = self.0.entry(version).or_default();
        *times = times.saturating_add(1);
        if *times > MAX_REMADE {
            return Err(KekRotationError::StaysBad { version, times: *times });
        }
        if self.0.len() > MAX_DROPPED {
            return Err(KekRotationError::TooManyBad { count: self.0.len() });
        }
        Ok(())
    }
}

/// What a worker found.
pub(super) enum Found {
    Good(StoredWrapping),
    Bad(DekVersion),
}

/// Opens wrappings under one KEK.
pub(super) fn checker(
    kek: &Kek,
    import: ImportCheck,
) -> impl FnMut(StoredWrapping) -> Result<Found, UnwrapError> + use<> {
    let mut unwrapper = Unwrapper::new(kek);
    let mut number = 0_u64;
    move |stored| {
        let takes = import.takes(number);
        number = number.wrapping_add(1);
        let checked = unwrapper.unwrap(&stored).and_then(|private| {
            if takes { wrapping::import(&private, &stored.public_key).map(drop) } else { Ok(()) }
        });
        match checked {
            Ok(()) => Ok(Found::Good(stored)),
            Err(error) if error.is_lasting() => Ok(Found::Bad(stored.version)),
            Err(error) => Err(error),
        }
    }
}

impl KekRotation<'_> {
    /// Opens every wrapping under the new KEK that was not opened yet, and says how many were good. Bad ones are dropped, to
    /// be made again.
    pub(super) fn verify(
        &self,
        dropped: &mut Dropped,
        progress: &mut OnProgress<'_>,
    ) -> Result<u64, KekRotationError> {
        let to = self.new.key_id();
        let store = self.keyring.store();
        let at_first = store.wrap_progress(to).map_err(KekRotationError::Store)?;
        let mut verified = 0_u64;

        let read = |after| store.wrappings_under(to, true, after, PAGE).map_err(KekRotationError::Store);
        let worker = || {
            let mut check = checker(self.new, self.options.import);
            Ok(move |stored| check(stored).map_err(KekRotationError::Unwrap))
        };
        let write = |batch: Vec<Found>| {
            let mut good = Vec::with_capacity(batch.len());
            let mut bad = Unreadable::default();
            for found in batch {
                match found {
                    Found::Good(stored) => good.push(stored),
                    Found::Bad(version) => {
                        bad.add(version);
                        drop_bad(store.drop_wrapping(version, to))?;
                        dropped.add(version)?;
                    }
                }
            }
            if bad.count > 0 {
                tracing::warn!(count = bad.count, "wrappings were not readable after they were stored");
            }
            store.mark_verified(to, &good, self.keyring.now()).map_err(KekRotationError::Store)?;
            verified = verified.saturating_add(good.len() as u64);
            let done = at_first.verified.saturating_add(verified);
            let total = at_first.deks.max(done);
            match progress(KekProgress { phase: KekPhase::Verify, done, total }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(KekRotationError::Stopped),
            }
        };
        pipeline::run(self.options.threads, read, worker, write)?;
        Ok(verified)
    }
}

/// Another process, at the same job, may have dropped it already, or the DEK may have been destroyed.
fn drop_bad(dropped: Result<(), StoreError>) -> Result<(), KekRotationError> {
    match dropped {
        Ok(()) | Err(StoreError::Conflict { what: ConflictKind::UnknownVersion }) => Ok(()),
        Err(error) => Err(KekRotationError::Store(error)),
    }
}
