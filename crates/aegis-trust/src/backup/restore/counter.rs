//! Bringing the version counter back: it is the one file that may only ever go up.

use super::{Report, counter_of};
use crate::{
    backup::{archive::Archive, file_kind::FileKind},
    bundle::SignedBundle,
    counter::{Counter, MAX_COUNTER_LEN},
    durable::{self, WriteError},
    host::Host,
};

impl Host {
    /// The counter becomes the higher of the two, and never less than anything here says was accepted.
    pub(super) fn restore_counter(&self, archive: &Archive, report: &mut Report) -> Result<(), WriteError> {
        let name = FileKind::Counter.name();
        let sound = self.counter().ok().flatten();
        let here = sound.or_else(|| self.highest_here());
        let highest = match (here, archive.counter) {
            (None, None) => return Ok(()),
            (Some(counter), None) | (None, Some(counter)) => counter,
            // Of two equal ones the host's own stands.
            (Some(here), Some(there)) => {
                // Only custodians move an epoch.
                if there.epoch > here.epoch && self.is_under_rule() {
                    here
                } else if there.order() > here.order() {
                    there
                } else {
                    here
                }
            }
        };
        if sound == Some(highest) {
            if let Some(there) = archive.counter {
                report.keep(
                    &name,
                    if there == highest {
                        "it is the same here".to_owned()
                    } else if there.epoch != highest.epoch {
                        format!("it is in epoch {} here, and in {} in the backup", highest.epoch, there.epoch)
                    } else if there.order() == highest.order() {
                        format!("it is at version {} here too, with other content", highest.policy_version)
                    } else {
                        format!(
                            "it is at version {} here, and at {} in the backup",
                            highest.policy_version, there.policy_version
                        )
                    },
                );
            }
            return Ok(());
        }
        let path = &self.paths().version_counter;
        if let Some(parent) = path.parent() {
            durable::make_dir(parent, 0o755)?;
        }
        durable::write_atomic(path, &highest.to_bytes(), 0o644)?;
        report.restore(format!("{name} (version {}, epoch {})", highest.policy_version, highest.epoch));
        Ok(())
    }

    /// Whether there are custodians, or that cannot be told.
    fn is_under_rule(&self) -> bool {
        !matches!(self.custodians(), Ok(None))
    }

    /// The highest policy that anything but a sound counter says was accepted here.
    fn highest_here(&self) -> Option<Counter> {
        let paths = self.paths();
        // A malformed counter may still begin with its version, and one with bad permissions be whole.
        let damaged = durable::read_state(&paths.version_counter, MAX_COUNTER_LEN).ok().flatten();
        let damaged = damaged.as_deref().and_then(Counter::salvage);
        let bundles =
            [paths.applied(), paths.previous(), paths.rolled_back()].into_iter().filter_map(|path| {
                let file = durable::read_state(&path, self.max_file_len()).ok()??;
                SignedBundle::parse(file).ok().map(|bundle| counter_of(&bundle))
            });
        bundles.chain(damaged).chain(self.highest_in_audit_log()).max_by_key(|counter| {
            // Of two witnesses for one version, the one that knows the content is better.
            (counter.order(), counter.knows_content())
        })
    }
}
