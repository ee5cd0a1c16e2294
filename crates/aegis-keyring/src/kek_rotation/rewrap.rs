//! Each DEK from the old KEK's box into one of the new KEK's. The key itself is moved, not used.

use super::error::{KekRotationError, Unreadable};
use super::pipeline::{self, PAGE};
use super::{KekPhase, KekProgress, KekRotation, OnProgress};
use crate::record::{NewWrapping, StoredWrapping};
use crate::version::DekVersion;
use crate::wrapping::{Unwrapper, Wrapper};

/// What a worker made of one wrapping.
enum Moved {
    Made(NewWrapping),
    Unreadable(DekVersion),
}

impl KekRotation<'_> {
    /// Seals to the new KEK what is not sealed to it, and says how many.
    ///
    /// All that can be moved is moved, also if the old KEK does not open some: what is left then is a matter for people.
    pub(super) fn rewrap(&self, progress: &mut OnProgress<'_>) -> Result<u64, KekRotationError> {
        let (from, to) = (self.old.key_id(), self.new.key_id());
        let store = self.keyring.store();
        let at_first = store.wrap_progress(to).map_err(KekRotationError::Store)?;
        let mut made = 0_u64;
        let mut unreadable = Unreadable::default();

        let read = |after| store.wrappings_to_make(from, to, after, PAGE).map_err(KekRotationError::Store);
        let worker = || {
            let mut unwrapper = Unwrapper::new(self.old);
            let mut wrapper = Wrapper::new(self.new.public_key()).map_err(KekRotationError::Wrap)?;
            Ok(move |stored: StoredWrapping| match unwrapper.unwrap(&stored) {
                Ok(private) => wrapper
                    .wrap(stored.version, stored.public_key.key_id(), &private)
                    .map(Moved::Made)
                    .map_err(KekRotationError::Wrap),
                Err(error) if error.is_lasting() => Ok(Moved::Unreadable(stored.version)),
                Err(error) => Err(KekRotationError::Unwrap(error)),
            })
        };
        let write = |batch: Vec<Moved>| {
            let mut wrappings = Vec::with_capacity(batch.len());
            for moved in batch {
                match moved {
                    Moved::Made(wrapping) => wrappings.push(wrapping),
                    Moved::Unreadable(version) => unreadable.add(version),
                }
            }
            store.add_wrappings(&wrappings).map_err(KekRotationError::Store)?;
            made = made.saturating_add(wrappings.len() as u64);
            let done = at_first.wrapped.saturating_add(made);
            let total = at_first.deks.max(done);
            match progress(KekProgress { phase: KekPhase::Rewrap, done, total }) {
                std::ops::ControlFlow::Continue(()) => Ok(()),
                std::ops::ControlFlow::Break(()) => Err(KekRotationError::Stopped),
            }
        };
        pipeline::run(self.options.threads, read, worker, write)?;
        if unreadable.count > 0 {
            return Err(KekRotationError::OldUnreadable { kek: from, unreadable });
        }
        Ok(made)
    }
}
