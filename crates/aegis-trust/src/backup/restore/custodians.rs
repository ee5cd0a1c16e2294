//! Bringing custodians back: what was used stays used, and no rule comes in the place of another one.

use aegis_crypto::KeyId;

use super::{Report, step};
use crate::{
    backup::{BackupError, archive::Archive, file_kind::FileKind},
    custodians::{
        CustodiansError,
        record::{KeyEdit, Record, RecordChange, RuleRecord},
    },
    durable,
    host::Host,
    rotation::Rotation,
};

impl Host {
    /// The record first: with it, what was used stays used and the rule is on, whether its directory follows or not.
    pub(super) fn restore_custodians(
        &self,
        archive: &Archive,
        report: &mut Report,
    ) -> Result<(), BackupError> {
        let broken = |source| BackupError::Custodians { source: Box::new(source) };
        let here = self.custodians_record().map_err(broken)?;
        if let Some(there) = &archive.record {
            let record = self.merged_record(here.as_ref(), there, report)?;
            record.write(self.paths()).map_err(step)?;
        }
        let (Some(files), Some(rule)) =
            (&archive.custodians, self.custodians_record().map_err(broken)?.and_then(|record| record.rule))
        else {
            return Ok(());
        };
        let name = "custodians/".to_owned();
        match self.custodians() {
            Ok(_) => report.keep(&name, "they are here already".to_owned()),
            Err(CustodiansError::Gone { digest, .. }) if files.rule().digest() == digest => {
                self.put_back_custodians(files, &rule).map_err(step)?;
                report.restore(format!("{name} (digest {digest})"));
            }
            Err(CustodiansError::Gone { digest, .. }) => {
                report.keep(
                    &name,
                    format!("those of this host have digest {digest}, and the backup has others"),
                );
            }
            Err(source) => return Err(broken(source)),
        }
        Ok(())
    }

    /// What was used here or there; and the rule of here, or where nothing is remembered, the one of there.
    fn merged_record(
        &self,
        here: Option<&Record>,
        there: &Record,
        report: &mut Report,
    ) -> Result<Record, BackupError> {
        let name = FileKind::Record.name();
        let mut record = here.cloned().unwrap_or_default();
        let new = record.merge_uses(there);
        if new > 0 {
            report.restore(format!("{name} (that {new} approvals were used)"));
        }
        match (here, &there.rule) {
            (Some(_), _) => report.keep(&name, "this host remembers its own custodians".to_owned()),
            (None, None) => {}
            (None, Some(rule)) if self.has_other_custodians(rule) => {
                report.keep(&name, "other custodians are in place on this host".to_owned());
            }
            (None, Some(rule)) => {
                let installed = self.installed_keys().map_err(|source| BackupError::Keys { source })?;
                // What is trusted on this host before the rule comes was trusted without it, as when a rule is turned on.
                let keys = there.approved_keys.iter().copied().chain(installed.by_id().into_keys());
                let change =
                    RecordChange { take_up: Some(rule.clone()), take_over: keys.collect(), approval: None };
                record.make(&change, KeyEdit::None);
                report.restore(format!("{name} (the rule of two is on)"));
            }
        }
        Ok(record)
    }

    /// Whether somebody has put other custodians in place, which this host has not taken up yet.
    fn has_other_custodians(&self, rule: &RuleRecord) -> bool {
        match self.custodians() {
            Ok(None) => false,
            Ok(Some(here)) => here.digest() != rule.digest,
            // The log says that there was a record; this is it.
            Err(CustodiansError::Forgotten { .. }) => false,
            Err(_) => true,
        }
    }

    /// Whether a key may be trusted here, by what this host remembers now.
    pub(super) fn may_return(&self, id: &KeyId) -> Result<bool, BackupError> {
        let record = self
            .custodians_record()
            .map_err(|source| BackupError::Custodians { source: Box::new(source) })?;
        Ok(record.as_ref().and_then(Record::trusted_only).is_none_or(|approved| approved.contains(id)))
    }

    /// A rotation that was under way is brought back only where both of its keys are still trusted: what has gone on
    /// since the backup is not undone.
    pub(super) fn restore_rotation(&self, archive: &Archive, report: &mut Report) -> Result<(), BackupError> {
        let Some(rotation) = &archive.rotation else { return Ok(()) };
        let name = FileKind::Rotation.name();
        let here = Rotation::load(self.paths())
            .map_err(|source| BackupError::Rotation { source: Box::new(source) })?;
        if here.is_some() {
            report.keep(&name, "a rotation is under way on this host".to_owned());
            return Ok(());
        }
        let keys = self.trusted_keys().map_err(|source| BackupError::Keys { source })?.by_id();
        let revoked = self.revoked_keys().map_err(|source| BackupError::Keys { source })?;
        if !keys.contains_key(&rotation.old) || revoked.get(&rotation.new).is_some() {
            report.keep(&name, "its old key is not trusted here, or its new one is revoked".to_owned());
            return Ok(());
        }
        durable::write_atomic(&self.paths().rotation(), &rotation.to_bytes(), 0o644).map_err(step)?;
        report.restore(name);
        Ok(())
    }
}
