//! Making a backup: everything is read and checked first, and written in one go.

use std::{collections::BTreeMap, fs, io, path::Path};

use aegis_audit::{Action, Event};
use aegis_crypto::PublicKey;
use jiff::Timestamp;

use super::{
    BackupCreated, BackupError,
    archive::{self, Archive, MODE_BITS, NewFile},
    file_kind::{FileKind, MAX_SMALL_LEN, is_plain_name},
};
use crate::{
    config::Config,
    durable,
    host::{Caller, Host},
    key_dir::TrustedKey,
    rotation::Rotation,
};

impl Host {
    /// Writes a backup, mode 0600. It is checked like one that is to be restored before it is written.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; then there is no archive, and a file that was there is as it was.
    pub fn backup_create(&self, caller: &Caller, out: &Path) -> Result<BackupCreated, BackupError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let created = begun.map_err(BackupError::Change).and_then(|()| self.create_locked(caller, out));
        if let Err(error) = &created {
            self.log_backup_refusal(caller, Action::BackupCreate, out, error);
        }
        created
    }

    fn create_locked(&self, caller: &Caller, out: &Path) -> Result<BackupCreated, BackupError> {
        self.require_sound_log().map_err(BackupError::Change)?;
        let key =
            self.audit().host_key().map_err(|source| BackupError::HostKey { source: Box::new(source) })?;
        let bytes = archive::build(self.files_to_back_up(key.public_key(), caller.now)?, &key, caller.now);
        drop(key);
        let archive = Archive::parse(bytes, self.backup_policy_limit())
            .map_err(|source| BackupError::Unsound { source })?;
        durable::write_new(out, archive.as_bytes(), 0o600).map_err(|source| match source.source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists { path: out.to_owned() },
            _ => BackupError::Write { source },
        })?;
        let event =
            Event::new(caller.now, caller.actor.clone(), Action::BackupCreate, out.display().to_string())
                .detail("archive_sha256", archive.sha256.to_string())
                .detail("files", archive.contents.files.len() as u64);
        if let Err(source) = self.audit().append(&event) {
            let _ = durable::remove_synced(out);
            return Err(BackupError::NotLogged { source: Box::new(source) });
        }
        Ok(BackupCreated {
            path: out.to_owned(),
            archive_sha256: archive.sha256,
            size: archive.as_bytes().len() as u64,
            created_at: archive.contents.created_at,
            host_key: archive.contents.host_key,
            files: archive.contents.files,
        })
    }

    /// Everything that goes in. Whatever is there and cannot be used is an error: a backup of it would be none.
    fn files_to_back_up(&self, host_key: &PublicKey, now: Timestamp) -> Result<Vec<NewFile>, BackupError> {
        let paths = self.paths();
        let read = |path: &Path, limit| {
            durable::read_state(path, limit).map_err(|source| BackupError::Read { source })
        };
        let mut files = Vec::new();
        let config = paths.config_file();
        if let Some(bytes) = read(&config, MAX_SMALL_LEN)? {
            Config::load(&config).map_err(|source| BackupError::Config { source })?;
            files.push(new_file(FileKind::Config, bytes, &config));
        }
        if let Some(bytes) = read(&paths.bundle_format(), 16)? {
            files.push(new_file(FileKind::BundleFormat, bytes, &paths.bundle_format()));
        }
        if let Some(counter) = self.counter().map_err(|source| BackupError::Counter { source })? {
            files.push(new_file(FileKind::Counter, counter.to_bytes(), &paths.version_counter));
        }
        let revoked = self.revoked_keys().map_err(|source| BackupError::Keys { source })?;
        if !revoked.is_empty() {
            files.push(new_file(FileKind::Revoked, revoked.to_bytes(), &paths.revoked()));
        }
        let keys = self.trusted_keys().map_err(|source| BackupError::Keys { source })?;
        let mut names = BTreeMap::new();
        for key in keys.iter() {
            let name = archived_name(key);
            match names.insert(name.clone(), key.id) {
                None => {
                    let pem = key.key.to_spki_pem().into_bytes();
                    files.push(new_file(FileKind::Key(name), pem, &key.path));
                }
                Some(other) if other == key.id => {}
                Some(other) => {
                    return Err(BackupError::KeyNames {
                        first: other.to_string(),
                        second: key.id.to_string(),
                    });
                }
            }
        }
        self.custodians_to_back_up(&mut files)?;
        let policies = [
            (FileKind::Applied, paths.applied()),
            (FileKind::Previous, paths.previous()),
            (FileKind::RolledBack, paths.rolled_back()),
        ];
        for (kind, path) in policies {
            if let Some(bytes) = read(&path, self.max_file_len())? {
                files.push(new_file(kind, bytes, &path));
            }
        }
        let checkpoint = self
            .audit()
            .checkpoint()
            .map_err(|source| BackupError::Checkpoint { source: Box::new(source) })?;
        // A log whose first entry was never finished has none that this key signed.
        if let Some(bytes) = checkpoint.filter(|bytes| signed_by(bytes, host_key)) {
            let mtime = u64::try_from(now.as_second()).unwrap_or(0);
            files.push(NewFile { kind: FileKind::Checkpoint, bytes, mode: 0o600, mtime });
        }
        Ok(files)
    }

    fn custodians_to_back_up(&self, files: &mut Vec<NewFile>) -> Result<(), BackupError> {
        let broken = |source| BackupError::Custodians { source: Box::new(source) };
        let paths = self.paths();
        if let Some(record) = self.custodians_record().map_err(broken)? {
            files.push(new_file(FileKind::Record, record.to_bytes(), &paths.custodians_record()));
        }
        if let Some(custodians) = self.custodians().map_err(broken)? {
            // In the spelling of this program, so that a backup has one form of a rule.
            let dir = &paths.custodians_dir;
            let threshold = custodians.rule().threshold().to_string().into_bytes();
            files.push(new_file(FileKind::Threshold, threshold, &dir.join("threshold")));
            for registration in custodians.files().registrations() {
                let kind = FileKind::Custodian(registration.key().key_id());
                files.push(new_file(kind, registration.to_json().into_bytes(), dir));
            }
        }
        let rotation =
            Rotation::load(paths).map_err(|source| BackupError::Rotation { source: Box::new(source) })?;
        if let Some(rotation) = rotation {
            files.push(new_file(FileKind::Rotation, rotation.to_bytes(), &paths.rotation()));
        }
        Ok(())
    }
}

fn signed_by(checkpoint: &[u8], key: &PublicKey) -> bool {
    aegis_audit::parse_checkpoint(checkpoint).is_ok_and(|checkpoint| checkpoint.is_signed_by(key))
}

/// The name of a key in the archive: its own if that can stand there, else its id.
fn archived_name(key: &TrustedKey) -> String {
    if is_plain_name(&key.name) { key.name.clone() } else { key.id.to_string() }
}

fn new_file(kind: FileKind, bytes: Vec<u8>, path: &Path) -> NewFile {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(path).ok();
    let mode = metadata.as_ref().map_or(MODE_BITS, |metadata| metadata.mode() & MODE_BITS | 0o600);
    let mtime = metadata.and_then(|metadata| u64::try_from(metadata.mtime()).ok()).unwrap_or(0);
    NewFile { kind, bytes, mode, mtime }
}
