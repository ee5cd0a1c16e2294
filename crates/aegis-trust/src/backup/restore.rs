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
    archive::{self, Archive, ArchivedKey, FileKind, MODE_BITS},
    read_archive,
};
use crate::{
    bundle::{self, SignedBundle},
    config::Config,
    counter::{Counter, CounterError, MAX_COUNTER_LEN, strict_decimal},
    durable::{self, WriteError},
    enforce::{EnforceError, PolicyIdentity},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal},
    key_dir::MAX_KEYS,
    revoked::{MAX_REVOKED_LEN, RevokedKeys},
    verify::{self, Expiry, Trust, V1},
};

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
        let _lock = self.begin_change(caller).map_err(BackupError::Change)?;
        let restored = self.restore_locked(caller, file, &trust);
        if let Err(error) = &restored {
            self.log_backup_refusal(caller, Action::BackupRestore, file, error);
        }
        restored
    }

    fn restore_locked(
        &self,
        caller: &Caller,
        file: &Path,
        trust: &RestoreTrust,
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
        self.finish_change(&journal, restore_event(caller, &source, &report)).map_err(BackupError::Change)?;
        // The next command removes it if this fails.
        let _ = self.discard_restore();
        Ok(report)
    }

    /// What cannot be restored over is found before anything is begun.
    fn check_restorable(&self) -> Result<(), BackupError> {
        self.trusted_keys().map_err(|source| BackupError::Keys { source })?;
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
        let caller = Caller { now: journal.started_at, actor: journal.actor.clone() };
        // The staged archive stays until the journal is gone: without it the next command would call this given up.
        Ok(Some(restore_event(&caller, source, &report)))
    }

    /// Every step, in the order in which a crash between two of them does least harm: what refuses comes before what
    /// allows, and the policy comes last.
    fn redo_restore(&self, archive: &Archive) -> Result<BackupRestored, BackupError> {
        let mut report = Report::default();
        self.restore_counter(archive, &mut report).map_err(step)?;
        self.restore_revoked(archive, &mut report)?;
        self.restore_format(archive, &mut report).map_err(step)?;
        self.restore_config(archive, &mut report).map_err(step)?;
        self.restore_keys(archive, &mut report)?;
        self.restore_policies(archive, &mut report)?;
        self.restore_checkpoint(archive, &mut report).map_err(step)?;
        Ok(BackupRestored {
            archive_sha256: archive.sha256,
            created_at: archive.contents.created_at,
            host_key: archive.contents.host_key,
            restored: report.restored,
            kept: report.kept,
        })
    }

    /// The counter becomes the higher of the two, and never less than anything here says was accepted.
    fn restore_counter(&self, archive: &Archive, report: &mut Report) -> Result<(), WriteError> {
        let name = FileKind::Counter.name();
        let sound = self.counter().ok().flatten();
        let here = sound.or_else(|| self.highest_here());
        let highest = match (here, archive.counter) {
            (None, None) => return Ok(()),
            (Some(counter), None) | (None, Some(counter)) => counter,
            // Of two equal ones the host's own stands.
            (Some(here), Some(there)) => {
                if there.order() > here.order() {
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

    /// The highest policy that anything but a sound counter says was accepted here.
    fn highest_here(&self) -> Option<Counter> {
        let paths = self.paths();
        // A malformed counter may still begin with its version, and one with bad permissions be whole.
        let damaged = durable::read_state(&paths.version_counter, MAX_COUNTER_LEN).ok().flatten();
        let damaged = damaged.as_deref().and_then(readable_part);
        let bundles =
            [paths.applied(), paths.previous(), paths.rolled_back()].into_iter().filter_map(|path| {
                let file = durable::read_state(&path, self.max_file_len()).ok()??;
                SignedBundle::parse(file).ok().map(|bundle| counter_of(&bundle))
            });
        bundles.chain(damaged).chain(self.highest_in_audit_log()).max_by_key(|counter| {
            // Of two witnesses for one version, the one that knows the content is better.
            (counter.order(), counter.policy_sha256 != UNKNOWN)
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
            let same = matches!(durable::read_state(&path, 64 * 1024), Ok(Some(here)) if here == bytes);
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
            let here = self.trusted_keys().map_err(keys_error)?;
            let id = archived.key.key_id();
            if let Some(entry) = revoked.get(&id) {
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
        for own in self.trusted_keys().map_err(keys_error)?.iter().filter(|own| !in_archive(&own.id)) {
            let why = match revoked.get(&own.id) {
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

    /// `policy.applied`, and with it the policy before it and a rollback that stands. They belong together: none of the
    /// last two is put beside a policy of another time.
    fn restore_policies(&self, archive: &Archive, report: &mut Report) -> Result<(), BackupError> {
        let Some(file) = archive.file(&FileKind::Applied) else {
            for kind in [FileKind::Previous, FileKind::RolledBack] {
                if archive.file(&kind).is_some() {
                    report
                        .keep(&kind.name(), "the backup has no policy.applied that it belongs to".to_owned());
                }
            }
            return Ok(());
        };
        let name = FileKind::Applied.name();
        let paths = self.paths();
        let config = Config::load(&paths.config_file()).map_err(|source| BackupError::Config { source })?;
        let limit = self.backup_policy_limit();
        let here =
            durable::read_state(&paths.applied(), limit).map_err(|source| BackupError::Read { source })?;
        let same = here.as_deref() == Some(file);
        let verdict = match &here {
            Some(_) if same => Ok(()),
            Some(here) => older_than(here, file).and_then(|()| self.not_rolled_back(file, archive)),
            None => self.not_rolled_back(file, archive),
        };
        let checked = verdict.and_then(|()| self.check_policy(file, &config));
        let policy = match checked {
            Ok(checked) => checked,
            Err(why) => {
                report.keep(&name, why);
                for kind in [FileKind::Previous, FileKind::RolledBack] {
                    if archive.file(&kind).is_some() {
                        report
                            .keep(&kind.name(), "it belongs to the policy.applied of the backup".to_owned());
                    }
                }
                return Ok(());
            }
        };
        match self.enforcer().enforce(&policy.0, &policy.1) {
            Ok(_) => {}
            Err(error @ EnforceError::Rejected { .. }) => {
                report
                    .keep(&name, format!("it was not put in force: {}", crate::health::cause_chain(&error)));
                return Ok(());
            }
            Err(source) => return Err(BackupError::Enforce { source }),
        }
        // These two before `policy.applied`: until that is in place, doing this again comes here again.
        self.restore_beside(archive, FileKind::Previous, &paths.previous(), same, &config, report)?;
        self.restore_beside(archive, FileKind::RolledBack, &paths.rolled_back(), same, &config, report)?;
        if same {
            report.keep(&name, "it is the same here".to_owned());
            return Ok(());
        }
        durable::write_atomic(&paths.applied(), file, 0o644).map_err(step)?;
        report.restore(match (policy.1.policy_version, self.counter().ok().flatten()) {
            (Some(version), Some(counter)) if counter.policy_version > version => {
                format!(
                    "{name} (version {version}; the counter is at {}, so apply that version or a newer one)",
                    counter.policy_version
                )
            }
            (Some(version), _) => format!("{name} (version {version})"),
            (None, _) => format!("{name} (unsigned)"),
        });
        Ok(())
    }

    /// A rollback that stands here was decided after the policy that it took out of force came, and a backup from
    /// before it does not undo it.
    fn not_rolled_back(&self, offered: &[u8], archive: &Archive) -> Result<(), String> {
        let path = self.paths().rolled_back();
        let taken_out = durable::read_state(&path, self.backup_policy_limit())
            .map_err(|error| crate::health::cause_chain(&error))?;
        let Some(taken_out) = taken_out else { return Ok(()) };
        // It came with this very backup, when the host was stopped in the middle of this.
        if archive.file(&FileKind::RolledBack) == Some(taken_out.as_slice()) {
            return Ok(());
        }
        older_than(&taken_out, offered).map_err(|_| {
            "a rollback that stands on this host took it, or a newer one, out of force".to_owned()
        })
    }

    /// A file that goes with `policy.applied`: as the backup has it if that is put in place, filled in if it was there.
    fn restore_beside(
        &self,
        archive: &Archive,
        kind: FileKind,
        path: &Path,
        same_applied: bool,
        config: &Config,
        report: &mut Report,
    ) -> Result<(), BackupError> {
        let name = kind.name();
        let here = durable::read_state(path, self.backup_policy_limit())
            .map_err(|source| BackupError::Read { source })?;
        let Some(file) = archive.file(&kind) else {
            // A rollback that stood here was from an older policy than the one that comes.
            if !same_applied && kind == FileKind::RolledBack {
                durable::remove_synced(path).map_err(step)?;
            }
            return Ok(());
        };
        if here.as_deref() == Some(file) {
            report.keep(&name, "it is the same here".to_owned());
            return Ok(());
        }
        if same_applied && here.is_some() {
            report.keep(&name, "this host has one of its own".to_owned());
            return Ok(());
        }
        // A rollback stands here, which took the place of what was before.
        if same_applied && self.paths().rolled_back().symlink_metadata().is_ok() {
            report.keep(&name, "a rollback stands on this host".to_owned());
            return Ok(());
        }
        match self.check_policy(file, config) {
            Ok(_) => {
                durable::write_atomic(path, file, 0o644).map_err(step)?;
                report.restore(name);
            }
            Err(why) => report.keep(&name, why),
        }
        Ok(())
    }

    /// Whether a policy of a backup may be on this host: by the keys, the counter and the settings that it has now.
    fn check_policy<'a>(
        &self,
        file: &'a [u8],
        config: &Config,
    ) -> Result<(aegis_policy::Policy<'a>, PolicyIdentity), String> {
        let chain = |error: &dyn std::error::Error| crate::health::cause_chain(error);
        let limits = config.policy_limits();
        let keys = self.trusted_keys().map_err(|error| chain(&error))?;
        if !bundle::is_bundle(file) {
            if config.require_signature || !keys.is_empty() {
                return Err("it is not signed, and this host takes signed policies only".to_owned());
            }
            let policy = aegis_policy::parse(file, &limits).map_err(|error| chain(&error))?;
            return Ok((policy, PolicyIdentity { policy_version: None, policy_sha256: sha256(file) }));
        }
        let bundle = SignedBundle::parse(file.to_vec()).map_err(|error| chain(&error))?;
        let text = file.get(file.len().saturating_sub(bundle.policy().len())..).unwrap_or_default();
        let revoked = self.revoked_keys().map_err(|error| chain(&error))?;
        let (keys, revoked) = (keys.by_id(), revoked.reasons());
        let trust = Trust {
            keys: &keys,
            revoked: &revoked,
            required_signatures: config.required_signatures,
            v1: V1::Allow,
            accepted_format: self.accepted_format(),
        };
        let offered = counter_of(&bundle);
        // Expiry refuses what is new. This was in force.
        verify::verify_with(bundle, &trust, jiff::Timestamp::now(), Expiry::Ignored)
            .map_err(|error| chain(&error))?;
        let counter = self.counter().map_err(|error| chain(&error))?;
        let Some(counter) = counter else {
            return Err("the backup has a signed policy and no counter that accepted it".to_owned());
        };
        if offered.epoch != counter.epoch {
            return Err(format!(
                "it is of epoch {}, and this host is in epoch {}",
                offered.epoch, counter.epoch
            ));
        }
        if offered.policy_version > counter.policy_version {
            return Err(format!(
                "it is version {}, above the counter at {}",
                offered.policy_version, counter.policy_version
            ));
        }
        if offered.policy_version == counter.policy_version && offered.policy_sha256 != counter.policy_sha256
        {
            return Err(format!("version {} was accepted here with other content", offered.policy_version));
        }
        let policy = aegis_policy::parse(text, &limits).map_err(|error| chain(&error))?;
        let identity = PolicyIdentity {
            policy_version: Some(offered.policy_version),
            policy_sha256: offered.policy_sha256,
        };
        Ok((policy, identity))
    }

    /// The log itself is not brought back; its signed head is laid beside it, to hold the log against.
    fn restore_checkpoint(&self, archive: &Archive, report: &mut Report) -> Result<(), WriteError> {
        let Some(bytes) = archive.file(&FileKind::Checkpoint) else { return Ok(()) };
        let path = self.paths().state_dir.join("audit-checkpoint.restored");
        if matches!(durable::read_state(&path, 64 * 1024), Ok(Some(here)) if here == bytes) {
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

/// The digest of a version whose content is not known.
const UNKNOWN: Digest = Digest::from_bytes([0; 32]);

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

fn counter_of(bundle: &SignedBundle) -> Counter {
    let manifest = bundle.manifest();
    Counter {
        policy_version: manifest.policy_version,
        policy_sha256: manifest.policy_sha256,
        epoch: manifest.epoch,
    }
}

/// The whole counter, or what its first line says.
fn readable_part(bytes: &[u8]) -> Option<Counter> {
    Counter::parse(bytes).ok().or_else(|| {
        let line = std::str::from_utf8(bytes.split(|&byte| byte == b'\n').next()?).ok()?;
        let policy_version = strict_decimal(line.trim()).filter(|&version| version != 0)?;
        Some(Counter { policy_version, policy_sha256: UNKNOWN, epoch: 0 })
    })
}

fn step(source: WriteError) -> BackupError {
    BackupError::Change(ChangeError::Step { source })
}

fn restore_event(caller: &Caller, source: &str, report: &BackupRestored) -> Event {
    Event::new(caller.now, caller.actor.clone(), Action::BackupRestore, source)
        .detail("archive_sha256", report.archive_sha256.to_string())
        .detail("created_at", report.created_at.to_string())
        .detail("host_key", report.host_key.to_string())
        .detail("restored", report.restored.clone())
        .detail("kept", report.kept.iter().map(|kept| kept.what.clone()).collect::<Vec<_>>())
}
