//! The way back. The whole archive is staged first; every step then looks at what the host has now and only ever adds,
//! raises or fills in, so that the steps can be done again after a crash and come to the same end.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aegis_audit::{Action, Event};
use aegis_crypto::{Digest, KeyId, sha256};

use super::{
    BackupError, BackupRestored, Kept, RestoreTrust,
    archive::{self, Archive, ArchivedKey, MODE_BITS},
    file_kind::{FileKind, MAX_SMALL_LEN},
    read_archive,
};
use crate::{
    bundle::SignedBundle,
    config::Config,
    counter::{Counter, CounterError},
    custodians::CustodiansError,
    durable::{self, WriteError},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal},
    key_dir::MAX_KEYS,
    revoked::{MAX_REVOKED_LEN, RevokedKeys},
};

mod counter;
mod custodians;
mod policies;

impl Host {
    /// Brings back what is missing or older here. Never lowers the counter, never un-revokes a key, keeps what is newer
    /// and names what it kept.
    ///
    /// # Errors
    ///
    /// [`BackupError`]. If the restore was begun and could not be finished, the next command finishes it.
    pub fn backup_restore(
        &self,
        caller: &Caller,
        file: &Path,
        trust: RestoreTrust,
    ) -> Result<BackupRestored, BackupError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let restored =
            begun.map_err(BackupError::Change).and_then(|()| self.restore_locked(caller, file, trust));
        if let Err(error) = &restored {
            self.log_backup_refusal(caller, Action::BackupRestore, file, error);
        }
        restored
    }

    fn restore_locked(
        &self,
        caller: &Caller,
        file: &Path,
        trust: RestoreTrust,
    ) -> Result<BackupRestored, BackupError> {
        self.require_sound_log().map_err(BackupError::Change)?;
        let archive = read_archive(file, self.backup_policy_limit())?;
        self.check_restore_trust(&archive, trust)?;
        self.check_restorable()?;
        let staged = durable::make_dir(&self.paths().restore_staging(), 0o700)
            .and_then(|()| durable::write_staged(&self.staged_archive(), archive.as_bytes(), 0o600));
        if let Err(source) = staged {
            let _ = self.discard_restore();
            return Err(BackupError::Write { source });
        }
        let source = file.display().to_string();
        let change = Change::Restore { source: source.clone(), archive_sha256: archive.sha256 };
        let journal = Journal::new(caller.now, &caller.actor, change);
        if let Err(source) = journal.write(self.paths()) {
            // Journal first, so that a crash here leaves only a stray copy.
            let _ = Journal::clear(self.paths());
            let _ = self.discard_restore();
            return Err(BackupError::Change(ChangeError::Journal { source }));
        }
        let report = self
            .redo_restore(&archive)
            .map_err(|source| BackupError::Interrupted { source: Box::new(source) })?;
        self.finish_change(&journal, self.restore_event(caller, &source, &report))
            .map_err(BackupError::Change)?;
        // The next command removes it if this fails.
        let _ = self.discard_restore();
        Ok(report)
    }

    /// What cannot be restored over is found before anything is begun.
    fn check_restorable(&self) -> Result<(), BackupError> {
        self.trusted_keys().map_err(|source| BackupError::Keys { source })?;
        match self.custodians() {
            // That is what a restore is for.
            Ok(_) | Err(CustodiansError::Gone { .. } | CustodiansError::Forgotten { .. }) => {}
            Err(source) => return Err(BackupError::Custodians { source: Box::new(source) }),
        }
        self.revoked_keys().map_err(|source| BackupError::Keys { source })?;
        Config::load(&self.paths().config_file()).map_err(|source| BackupError::Config { source })?;
        match self.counter() {
            Ok(_)
            | Err(
                CounterError::Missing { .. }
                | CounterError::Malformed { .. }
                | CounterError::Permissions { .. },
            ) => Ok(()),
            Err(
                source @ (CounterError::Read { .. }
                | CounterError::Evidence { .. }
                | CounterError::Exhausted { .. }),
            ) => Err(BackupError::Counter { source }),
        }
    }

    fn staged_archive(&self) -> PathBuf {
        self.paths().restore_staging().join("archive.tar")
    }

    /// Removes a staged archive that no journal names.
    pub(crate) fn discard_restore(&self) -> Result<(), WriteError> {
        let path = self.paths().restore_staging();
        let removed = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(source) => Err(source),
        };
        match removed {
            Ok(()) => durable::sync_parent(&path),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(WriteError { path, step: "remove", source }),
        }
    }

    /// Finishes an interrupted restore from the staged archive; `None` if that is gone or is not the one that was begun.
    pub(crate) fn resume_restore(
        &self,
        journal: &Journal,
        source: &str,
        archive_sha256: &Digest,
    ) -> Result<Option<Event>, BackupError> {
        let limit = self.backup_policy_limit();
        let Ok(Some(bytes)) = durable::read_state(&self.staged_archive(), archive::max_len(limit)) else {
            return Ok(None);
        };
        if sha256(&bytes) != *archive_sha256 {
            return Ok(None);
        }
        let Ok(archive) = Archive::parse(bytes, limit) else { return Ok(None) };
        let report = self.redo_restore(&archive)?;
        let caller = Caller::of_journal(journal);
        // The staged archive stays until the journal is gone: without it the next command would call this given up.
        Ok(Some(self.restore_event(&caller, source, &report)))
    }

    /// Every step, in the order in which a crash between two of them does least harm: what refuses comes before what
    /// allows, and the policy comes last.
    fn redo_restore(&self, archive: &Archive) -> Result<BackupRestored, BackupError> {
        let mut report = Report::default();
        self.restore_counter(archive, &mut report).map_err(step)?;
        self.restore_revoked(archive, &mut report)?;
        self.restore_custodians(archive, &mut report)?;
        self.restore_format(archive, &mut report).map_err(step)?;
        self.restore_config(archive, &mut report).map_err(step)?;
        self.restore_keys(archive, &mut report)?;
        self.restore_policies(archive, &mut report)?;
        self.restore_rotation(archive, &mut report)?;
        self.restore_checkpoint(archive, &mut report).map_err(step)?;
        Ok(BackupRestored {
            archive_sha256: archive.sha256,
            created_at: archive.contents.created_at,
            host_key: archive.contents.host_key,
            restored: report.restored,
            kept: report.kept,
        })
    }

    fn restore_revoked(&self, archive: &Archive, report: &mut Report) -> Result<(), BackupError> {
        let mut all = self.revoked_keys().map_err(|source| BackupError::Keys { source })?;
        let new: Vec<KeyId> =
            archive.revoked.iter().map(|key| key.id).filter(|id| all.get(id).is_none()).collect();
        all.merge(archive.revoked.clone());
        self.write_revoked(&all).map_err(step)?;
        report.restored.extend(new.iter().map(|id| format!("the revocation of key {id}")));
        Ok(())
    }

    /// Both copies, each unless it says so already: a crash may have come between them.
    fn write_revoked(&self, all: &RevokedKeys) -> Result<(), WriteError> {
        let (paths, bytes) = (self.paths(), all.to_bytes());
        let missing = |path: &Path| {
            !all.is_empty()
                && !matches!(durable::read_state(path, MAX_REVOKED_LEN), Ok(Some(here)) if here == bytes)
        };
        if missing(&paths.revoked_copy()) {
            durable::write_atomic(&paths.revoked_copy(), &bytes, 0o644)?;
        }
        if missing(&paths.revoked()) {
            durable::make_dir(&paths.keys_dir, 0o755)?;
            durable::write_atomic(&paths.revoked(), &bytes, 0o644)?;
        }
        Ok(())
    }

    fn restore_format(&self, archive: &Archive, report: &mut Report) -> Result<(), WriteError> {
        let (Some(format), before) = (archive.format, self.accepted_format()) else { return Ok(()) };
        self.note_accepted_format(format)?;
        match before == self.accepted_format() {
            true => report.keep(&FileKind::BundleFormat.name(), "it is the same or newer here".to_owned()),
            false => report.restore(FileKind::BundleFormat.name()),
        }
        Ok(())
    }

    fn restore_config(&self, archive: &Archive, report: &mut Report) -> Result<(), WriteError> {
        let (kind, path) = (FileKind::Config, self.paths().config_file());
        let (Some(bytes), Some(listed)) = (archive.file(&kind), archive.listed(&kind)) else { return Ok(()) };
        if path.symlink_metadata().is_ok() {
            let same = matches!(durable::read_state(&path, MAX_SMALL_LEN), Ok(Some(here)) if here == bytes);
            let why = if same { "it is the same here" } else { "this host has settings of its own" };
            report.keep(&kind.name(), why.to_owned());
            return Ok(());
        }
        // The one function that judges settings takes a path.
        let staged = self.paths().restore_staging().join("aegisbpf.toml");
        durable::write_atomic(&staged, bytes, 0o600)?;
        if let Err(error) = Config::load(&staged) {
            report.keep(
                &kind.name(),
                format!("the one in the backup cannot be used: {}", crate::health::cause_chain(&error)),
            );
            return Ok(());
        }
        durable::make_dir(&self.paths().config_dir, 0o755)?;
        durable::write_atomic(&path, bytes, listed.mode & MODE_BITS)?;
        report.restore(kind.name());
        Ok(())
    }

    fn restore_keys(&self, archive: &Archive, report: &mut Report) -> Result<(), BackupError> {
        let keys_error = |source| BackupError::Keys { source };
        let revoked = self.revoked_keys().map_err(keys_error)?;
        for archived in &archive.keys {
            let name = FileKind::Key(archived.name.clone()).name();
            let here = self.installed_keys().map_err(keys_error)?;
            let id = archived.key.key_id();
            if !self.may_return(&id)? {
                report.keep(&name, format!("key {id} stays out: no custodian approved it for this host"));
            } else if let Some(entry) = revoked.get(&id) {
                report.keep(&name, format!("key {id} stays out: it is revoked ({})", entry.reason));
            } else if here.by_id().contains_key(&id) {
                report.keep(&name, format!("key {id} is trusted here already"));
            } else if let Some(other) = here.iter().find(|other| other.name == archived.name) {
                report.keep(
                    &name,
                    format!("that name is key {} here; key {id} of the backup stays out", other.id),
                );
            } else if here.iter().count() >= MAX_KEYS {
                report.keep(
                    &name,
                    format!("key {id} stays out: {MAX_KEYS} keys are installed, and there can be no more"),
                );
            } else {
                self.restore_key(archived).map_err(step)?;
                report.restore(format!("{name} (key {id})"));
            }
        }
        let in_archive = |id: &KeyId| archive.keys.iter().any(|key| key.key.key_id() == *id);
        for own in self.installed_keys().map_err(keys_error)?.iter().filter(|own| !in_archive(&own.id)) {
            let why = match revoked.get(&own.id) {
                None if !self.may_return(&own.id)? => {
                    format!(
                        "key {} is not in the backup; no custodian approved it, and it is refused",
                        own.id
                    )
                }
                Some(entry) => format!(
                    "key {} is not in the backup; it is revoked ({}) and refused",
                    own.id, entry.reason
                ),
                None => format!("key {} is trusted here and is not in the backup", own.id),
            };
            report.keep(&format!("keys/{}.pub", own.name), why);
        }
        Ok(())
    }

    /// A key's file keeps its time: how old a key is does not begin anew with a restore.
    fn restore_key(&self, archived: &ArchivedKey) -> Result<(), WriteError> {
        let path = self.key_path(&format!("{}.pub", archived.name));
        // Not a name that the key directory's reader looks at.
        let temp = self.key_path(&format!(".{}.pub.restore", archived.name));
        durable::make_dir(&self.paths().keys_dir, 0o755)?;
        let _ = fs::remove_file(&temp);
        durable::write_staged(&temp, archived.key.to_spki_pem().as_bytes(), 0o644)?;
        let now = SystemTime::now();
        let written = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(archived.mtime))
            .filter(|time| *time <= now);
        fs::File::options()
            .write(true)
            .open(&temp)
            .and_then(|file| file.set_modified(written.unwrap_or(now)).and_then(|()| file.sync_all()))
            .map_err(|source| WriteError { path: temp.clone(), step: "set the time of", source })?;
        durable::rename_synced(&temp, &path)
    }

    /// The log itself is not brought back; its signed head is laid beside it, to hold the log against.
    fn restore_checkpoint(&self, archive: &Archive, report: &mut Report) -> Result<(), WriteError> {
        let Some(bytes) = archive.file(&FileKind::Checkpoint) else { return Ok(()) };
        let path = self.paths().state_dir.join("audit-checkpoint.restored");
        if matches!(durable::read_state(&path, MAX_SMALL_LEN), Ok(Some(here)) if here == bytes) {
            report.keep(&FileKind::Checkpoint.name(), format!("it is in {} already", path.display()));
            return Ok(());
        }
        durable::write_atomic(&path, bytes, 0o600)?;
        report.restore(format!(
            "{} (as {}, for `aegisbpf audit verify --checkpoint`)",
            FileKind::Checkpoint.name(),
            path.display()
        ));
        Ok(())
    }
}

#[derive(Default)]
struct Report {
    restored: Vec<String>,
    kept: Vec<Kept>,
}

impl Report {
    fn restore(&mut self, what: String) {
        self.restored.push(what);
    }
    fn keep(&mut self, what: &str, why: String) {
        self.kept.push(Kept { what: what.to_owned(), why });
    }
}

impl Host {
    /// The entry carries the counter, so that one which came with a backup is known to the log as well.
    fn restore_event(&self, caller: &Caller, source: &str, report: &BackupRestored) -> Event {
        let event = Event::new(caller.now, caller.actor.clone(), Action::BackupRestore, source)
            .detail("archive_sha256", report.archive_sha256.to_string())
            .detail("created_at", report.created_at.to_string())
            .detail("host_key", report.host_key.to_string())
            .detail("restored", report.restored.clone())
            .detail("kept", report.kept.iter().map(|kept| kept.what.clone()).collect::<Vec<_>>());
        let rule = self.custodians_record().ok().flatten().and_then(|record| record.rule);
        let event = match rule {
            Some(rule) => event.detail("custodians", rule.digest.to_string()),
            None => event,
        };
        match self.counter() {
            Ok(Some(counter)) => event
                .detail("policy_version", counter.policy_version)
                .detail("policy_sha256", counter.policy_sha256.to_string())
                .detail("epoch", counter.epoch),
            Ok(None) | Err(_) => event,
        }
    }
}

fn counter_of(bundle: &SignedBundle) -> Counter {
    let manifest = bundle.manifest();
    Counter {
        policy_version: manifest.policy_version,
        policy_sha256: manifest.policy_sha256,
        epoch: manifest.epoch,
    }
}

fn step(source: WriteError) -> BackupError {
    BackupError::Step { source }
}
