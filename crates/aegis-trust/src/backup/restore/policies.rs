//! Bringing the policy back: only one that this host could have in force by the keys, the counter and the settings that
//! it has once the rest of the backup is in place.

use std::path::Path;

use aegis_crypto::sha256;
use aegis_policy::Policy;
use jiff::Timestamp;

use super::{Report, counter_of, step};
use crate::{
    backup::{BackupError, archive::Archive, file_kind::FileKind},
    bundle::{self, SignedBundle},
    config::Config,
    counter::Counter,
    durable,
    enforce::{EnforceError, PolicyIdentity},
    health::cause_chain,
    host::Host,
    verify::{self, Expiry, Trust, V1},
};

/// How `policy.applied` of the backup comes to be in force.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InForce {
    /// It is already.
    Already,
    /// It is about to take the place of an older one, or of none.
    Next,
}

impl Host {
    /// `policy.applied`, and with it the policy before it and a rollback that stands. They belong together: none of the
    /// last two is put beside a policy of another time.
    pub(super) fn restore_policies(&self, archive: &Archive, report: &mut Report) -> Result<(), BackupError> {
        let (kind, paths) = (FileKind::Applied, self.paths());
        let Some(file) = archive.file(&kind) else {
            keep_beside(archive, report, "the backup has no policy.applied that it belongs to");
            return Ok(());
        };
        let config = Config::load(&paths.config_file()).map_err(|source| BackupError::Config { source })?;
        let here = self.stored_policy(&paths.applied())?;
        let in_force = if here.as_deref() == Some(file) { InForce::Already } else { InForce::Next };
        let newer = match (in_force, &here) {
            (InForce::Already, _) => Ok(()),
            (InForce::Next, None) => self.not_rolled_back(file, archive),
            (InForce::Next, Some(here)) => {
                older_than(here, file).and_then(|()| self.not_rolled_back(file, archive))
            }
        };
        let enforced = match newer.and_then(|()| self.check_policy(file, &config)) {
            Err(why) => Err(why),
            Ok((policy, identity)) => match self.enforcer().enforce(&policy, &identity) {
                Ok(_) => Ok(identity),
                Err(error @ EnforceError::Rejected { .. }) => {
                    Err(format!("it was not put in force: {}", cause_chain(&error)))
                }
                Err(source) => return Err(BackupError::Enforce { source }),
            },
        };
        let identity = match enforced {
            Ok(identity) => identity,
            Err(why) => {
                report.keep(&kind.name(), why);
                keep_beside(archive, report, "it belongs to the policy.applied of the backup");
                return Ok(());
            }
        };
        if in_force == InForce::Already {
            self.fill_in(archive, &FileKind::Previous, &paths.previous(), &config, report)?;
            self.fill_in(archive, &FileKind::RolledBack, &paths.rolled_back(), &config, report)?;
            report.keep(&kind.name(), "it is the same here".to_owned());
            return Ok(());
        }
        // These two before `policy.applied`: until that is in place, doing this again comes here again.
        if !self.take_over(archive, &FileKind::Previous, &paths.previous(), &config, report)?
            && here.is_some_and(|here| SignedBundle::parse(here).is_ok())
        {
            durable::link_over(&paths.applied(), &paths.previous()).map_err(step)?;
        }
        if !self.take_over(archive, &FileKind::RolledBack, &paths.rolled_back(), &config, report)? {
            // A rollback that stood here took out a policy older than the one that comes.
            durable::remove_synced(&paths.rolled_back()).map_err(step)?;
        }
        durable::write_atomic(&paths.applied(), file, 0o644).map_err(step)?;
        report.restore(self.describe_restored(&kind.name(), &identity));
        Ok(())
    }

    fn stored_policy(&self, path: &Path) -> Result<Option<Vec<u8>>, BackupError> {
        durable::read_state(path, self.backup_policy_limit()).map_err(|source| BackupError::Read { source })
    }

    fn describe_restored(&self, name: &str, identity: &PolicyIdentity) -> String {
        match (identity.policy_version, self.counter().ok().flatten()) {
            (Some(version), Some(Counter { policy_version: accepted, .. })) if accepted > version => {
                format!(
                    "{name} (version {version}; the counter is at {accepted}, so apply that version or a newer one)"
                )
            }
            (Some(version), _) => format!("{name} (version {version})"),
            (None, _) => format!("{name} (unsigned)"),
        }
    }

    /// A rollback that stands here was decided after the policy that it took out of force came, and a backup from
    /// before it does not undo it.
    fn not_rolled_back(&self, offered: &[u8], archive: &Archive) -> Result<(), String> {
        let taken_out =
            self.stored_policy(&self.paths().rolled_back()).map_err(|error| cause_chain(&error))?;
        let Some(taken_out) = taken_out else { return Ok(()) };
        // It came with this very backup, when the host was stopped in the middle of this.
        if archive.file(&FileKind::RolledBack) == Some(taken_out.as_slice()) {
            return Ok(());
        }
        older_than(&taken_out, offered).map_err(|_| {
            "a rollback that stands on this host took it, or a newer one, out of force".to_owned()
        })
    }

    /// Puts a file of the backup beside the `policy.applied` that comes with it; whether it did.
    fn take_over(
        &self,
        archive: &Archive,
        kind: &FileKind,
        path: &Path,
        config: &Config,
        report: &mut Report,
    ) -> Result<bool, BackupError> {
        let Some(file) = archive.file(kind) else { return Ok(false) };
        if let Err(why) = self.check_policy(file, config) {
            report.keep(&kind.name(), why);
            return Ok(false);
        }
        durable::write_atomic(path, file, 0o644).map_err(step)?;
        report.restore(kind.name());
        Ok(true)
    }

    /// Puts a file of the backup beside the `policy.applied` that was here all along, if none is there.
    fn fill_in(
        &self,
        archive: &Archive,
        kind: &FileKind,
        path: &Path,
        config: &Config,
        report: &mut Report,
    ) -> Result<(), BackupError> {
        let Some(file) = archive.file(kind) else { return Ok(()) };
        let kept = match self.stored_policy(path)? {
            Some(here) if here == file => Some("it is the same here"),
            Some(_) => Some("this host has one of its own"),
            // A rollback takes the place of what was before.
            None if self.paths().rolled_back().symlink_metadata().is_ok() => {
                Some("a rollback stands on this host")
            }
            None => None,
        };
        match kept {
            Some(why) => report.keep(&kind.name(), why.to_owned()),
            None => drop(self.take_over(archive, kind, path, config, report)?),
        }
        Ok(())
    }

    /// Whether a policy of a backup may be on this host: by the keys, the counter and the settings that it has now.
    fn check_policy<'a>(
        &self,
        file: &'a [u8],
        config: &Config,
    ) -> Result<(Policy<'a>, PolicyIdentity), String> {
        let keys = self.trusted_keys().map_err(|error| cause_chain(&error))?;
        let limits = config.policy_limits();
        if !bundle::is_bundle(file) {
            // As for `policy apply` without --allow-unsigned, by the settings that are there now.
            if config.require_signature || !keys.is_empty() || self.accepted_format().is_some() {
                return Err("it is not signed, and this host takes signed policies only".to_owned());
            }
            let policy = aegis_policy::parse(file, &limits).map_err(|error| cause_chain(&error))?;
            return Ok((policy, PolicyIdentity { policy_version: None, policy_sha256: sha256(file) }));
        }
        let bundle = SignedBundle::parse(file.to_vec()).map_err(|error| cause_chain(&error))?;
        let revoked = self.revoked_keys().map_err(|error| cause_chain(&error))?;
        let (keys, revoked) = (keys.by_id(), revoked.reasons());
        let trust = Trust {
            keys: &keys,
            revoked: &revoked,
            required_signatures: config.required_signatures,
            v1: V1::Allow,
            accepted_format: self.accepted_format(),
        };
        // Expiry refuses what is new, and this was in force, so the time does not matter.
        let bundle = verify::verify_with(bundle, &trust, Timestamp::UNIX_EPOCH, Expiry::Ignored)
            .map_err(|error| cause_chain(&error))?;
        self.check_against_counter(&bundle.counter())?;
        // The policy is the end of the file that was verified.
        let text = file.get(file.len().saturating_sub(bundle.policy().len())..).unwrap_or_default();
        let policy = aegis_policy::parse(text, &limits).map_err(|error| cause_chain(&error))?;
        let Counter { policy_version, policy_sha256, .. } = bundle.counter();
        Ok((policy, PolicyIdentity { policy_version: Some(policy_version), policy_sha256 }))
    }

    /// Only what the counter says was accepted comes back: nothing above it, nothing of another epoch.
    fn check_against_counter(&self, offered: &Counter) -> Result<(), String> {
        let Some(accepted) = self.counter().map_err(|error| cause_chain(&error))? else {
            return Err("the backup has a signed policy and no counter that accepted it".to_owned());
        };
        let (version, counter) = (offered.policy_version, accepted.policy_version);
        if offered.epoch != accepted.epoch {
            return Err(format!(
                "it is of epoch {}, and this host is in epoch {}",
                offered.epoch, accepted.epoch
            ));
        }
        if version > counter {
            return Err(format!("it is version {version}, above the counter at {counter}"));
        }
        if version == counter && offered.policy_sha256 != accepted.policy_sha256 {
            return Err(format!("version {version} was accepted here with other content"));
        }
        Ok(())
    }
}

fn keep_beside(archive: &Archive, report: &mut Report, why: &str) {
    for kind in [FileKind::Previous, FileKind::RolledBack] {
        if archive.file(&kind).is_some() {
            report.keep(&kind.name(), why.to_owned());
        }
    }
}

/// Whether what is in force here is older than what is in the backup, or why it is kept.
fn older_than(here: &[u8], there: &[u8]) -> Result<(), String> {
    if !bundle::is_bundle(here) {
        return Err("this host has an unsigned policy in force".to_owned());
    }
    // One that begins like a bundle and is none cannot be put in force again; anything that verifies is better.
    let Ok(here) = SignedBundle::parse(here.to_vec()) else { return Ok(()) };
    let Ok(there) = SignedBundle::parse(there.to_vec()) else {
        return Err(
            "this host has a signed policy in force, and the one in the backup is not signed".to_owned()
        );
    };
    let (here, there) = (counter_of(&here), counter_of(&there));
    match here.order() < there.order() {
        true => Ok(()),
        false => Err(format!(
            "version {} is in force here, and version {} is in the backup",
            here.policy_version, there.policy_version
        )),
    }
}
