//! The keyring in one encrypted file, and back on an empty machine.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aegis_kek::{Kek, LoadError, ProviderKind};
use aegis_keyring::{
    AgeIdentities, AgeKeyError, AgeRecipient, BackupError, BackupKey, BackupLock, BackupRecipient,
    BackupSummary, KekState, Keyring, ReadBackupError, verify_backup,
};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::change_log::Intent;
use crate::deployment::{Deployment, KeyringError, SetupError};
use crate::kek_source::{ProviderError, Purpose};
use crate::lock::StateLock;

/// No file of age identities is longer.
const MAX_IDENTITY_LEN: u64 = 64 * 1024;

impl Deployment {
    /// Writes the keyring into a new file of mode 0600, for the active KEK or for an age recipient. Needs no passphrase.
    ///
    /// # Errors
    ///
    /// [`BackupCommandError`]; there is no file then.
    pub fn create_backup(
        &self,
        path: &Path,
        recipient: Option<AgeRecipient>,
    ) -> Result<BackupSummary, BackupCommandError> {
        let keyring = self.keyring().map_err(keyring_error)?;
        let recipient = match recipient {
            Some(recipient) => BackupRecipient::Age(recipient),
            None => {
                let keks =
                    keyring.store().keks().map_err(|error| keyring_error(KeyringError::Store(error)))?;
                let in_memory = |kek: &&aegis_keyring::KekRecord| {
                    kek.state == KekState::Active && kek.provider == ProviderKind::InMemory
                };
                if keks.iter().any(|kek| in_memory(&kek)) {
                    return Err(BackupCommandError::InMemory);
                }
                BackupRecipient::ActiveKek
            }
        };
        keyring.backup_to_file(&recipient, path).map_err(BackupCommandError::Create)
    }

    /// Decrypts a backup and checks every record; opens each wrapping that the KEK at hand should open. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`BackupCommandError`].
    pub fn verify_backup(&self, request: &ReadBackup<'_>) -> Result<BackupSummary, BackupCommandError> {
        let ReadBackup { path, .. } = *request;
        let (mut file, lock) = open(path)?;
        let keys = self.keys(request, lock)?;
        let (key, kek) = keys.borrowed();
        verify_backup(&mut file, key, kek)
            .map_err(|source| BackupCommandError::Read { path: path.to_owned(), source: Box::new(source) })
    }

    /// Fills the keyring, which has to be empty, from a backup.
    ///
    /// # Errors
    ///
    /// [`BackupCommandError`]; the keyring is as it was.
    pub fn restore_backup(&self, request: &ReadBackup<'_>) -> Result<BackupSummary, BackupCommandError> {
        let ReadBackup { path, .. } = *request;
        let (mut file, lock) = open(path)?;
        let state = |error| keyring_error(KeyringError::StateDir(error));
        self.state_dir().prepare().map_err(state)?;
        let keys = self.keys(request, lock)?;
        let _held = StateLock::acquire(self.state_dir().path())
            .map_err(|error| BackupCommandError::Setup(SetupError::Lock(error)))?;
        self.state_dir().sweep();
        let keyring =
            self.keyring_place().and_then(|place| self.open_keyring(&place)).map_err(keyring_error)?;
        self.recover(&keyring).map_err(BackupCommandError::Setup)?;
        let note = match self.is_empty(&keyring)? {
            true => Some(self.begin(Intent::Restore).map_err(BackupCommandError::Setup)?),
            // Nothing to be interrupted in: it will be refused.
            false => None,
        };
        let (key, kek) = keys.borrowed();
        let restored = keyring.restore(&mut file, key, kek);
        if let Some(note) = note {
            self.change_log().finish(&note);
        }
        restored
            .map_err(|source| BackupCommandError::Read { path: path.to_owned(), source: Box::new(source) })
    }

    fn is_empty(&self, keyring: &Keyring) -> Result<bool, BackupCommandError> {
        let keks = keyring.store().keks().map_err(|error| keyring_error(KeyringError::Store(error)))?;
        Ok(keks.is_empty())
    }

    /// What opens the backup, and the KEK that its DEKs should open with.
    fn keys(&self, request: &ReadBackup<'_>, lock: BackupLock) -> Result<Keys, BackupCommandError> {
        let ReadBackup { path, identity, passphrase_file } = *request;
        match (lock, identity) {
            (BackupLock::Kek(_), Some(_)) => Err(BackupCommandError::ForAKek { path: path.to_owned() }),
            (BackupLock::Age, None) => Err(BackupCommandError::NeedsIdentity { path: path.to_owned() }),
            (BackupLock::Kek(_), None) => {
                let provider = self.provider(passphrase_file).map_err(BackupCommandError::Provider)?;
                let found = provider.public_key().key_id();
                if lock != BackupLock::Kek(found) {
                    let BackupLock::Kek(wanted) = lock else { return Err(not_a_backup(path)) };
                    return Err(BackupCommandError::OtherKek { path: path.to_owned(), wanted, found });
                }
                let kek = self.load(&*provider, Purpose::Backup).map_err(BackupCommandError::Load)?;
                Ok(Keys { identities: None, kek: Some(kek) })
            }
            (BackupLock::Age, Some(identity)) => {
                let identities = read_identities(identity)?;
                let kek = match self.provider(passphrase_file) {
                    Ok(provider) => {
                        Some(self.load(&*provider, Purpose::Backup).map_err(BackupCommandError::Load)?)
                    }
                    // A backup can be looked at where no KEK is; its DEKs are then not opened.
                    Err(ProviderError::NothingConfigured | ProviderError::KekMissing { .. }) => None,
                    Err(error) => return Err(BackupCommandError::Provider(error)),
                };
                Ok(Keys { identities: Some(identities), kek })
            }
        }
    }
}

/// Which file, and what opens it.
#[derive(Debug, Clone, Copy)]
pub struct ReadBackup<'a> {
    /// The file.
    pub path: &'a Path,
    /// A file of age identities, if the backup is for one.
    pub identity: Option<&'a Path>,
    /// Where the passphrase of the KEK is.
    pub passphrase_file: Option<&'a Path>,
}

struct Keys {
    identities: Option<AgeIdentities>,
    kek: Option<Kek>,
}

impl Keys {
    fn borrowed(&self) -> (BackupKey<'_>, Option<&Kek>) {
        match (&self.identities, &self.kek) {
            (Some(identities), kek) => (BackupKey::Age(identities), kek.as_ref()),
            (None, Some(kek)) => (BackupKey::Kek(kek), None),
            (None, None) => unreachable!("`keys` gives one of the two"),
        }
    }
}

/// Opens a backup, and looks at what it needs.
fn open(path: &Path) -> Result<(BufReader<File>, BackupLock), BackupCommandError> {
    let failed = |source| BackupCommandError::Open { path: path.to_owned(), source };
    // Without waiting for somebody who writes to a FIFO.
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY).bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(not_a_backup(path));
    }
    let mut first = Vec::with_capacity(BackupLock::LOOK_LEN);
    let look_len = u64::try_from(BackupLock::LOOK_LEN).unwrap_or(u64::MAX);
    io::Read::by_ref(&mut file).take(look_len).read_to_end(&mut first).map_err(failed)?;
    let lock = BackupLock::of(&first).ok_or_else(|| not_a_backup(path))?;
    file.rewind().map_err(failed)?;
    Ok((BufReader::with_capacity(256 * 1024, file), lock))
}

fn read_identities(path: &Path) -> Result<AgeIdentities, BackupCommandError> {
    let read = aegis_durable::read_bounded(path, MAX_IDENTITY_LEN);
    let bytes = Zeroizing::new(read.map_err(BackupCommandError::ReadIdentity)?);
    let unusable = |source| BackupCommandError::Identity { path: path.to_owned(), source };
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable(AgeKeyError::NoIdentity))?;
    AgeIdentities::parse(text).map_err(unusable)
}

fn not_a_backup(path: &Path) -> BackupCommandError {
    BackupCommandError::NotABackup { path: path.to_owned() }
}

fn keyring_error(error: KeyringError) -> BackupCommandError {
    BackupCommandError::Setup(SetupError::Keyring(error))
}

/// Why no backup was made, verified or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupCommandError {
    /// It was not begun, or the keyring cannot be used.
    #[error(transparent)]
    Setup(SetupError),
    /// The backup would be for a KEK that is lost.
    #[error("the keyring's KEK is in memory, and nothing could open the backup once it is gone")]
    InMemory,
    /// It was not made.
    #[error(transparent)]
    Create(BackupError),
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no backup of a keyring", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// It is for an age identity, and none is given.
    #[error("{} is for an age recipient, and no identity is given", path.display())]
    NeedsIdentity {
        /// The file.
        path: PathBuf,
    },
    /// It is for a KEK, and an identity is given.
    #[error("{} is for a KEK, not for an age recipient", path.display())]
    ForAKek {
        /// The file.
        path: PathBuf,
    },
    /// It is for another KEK than the one that is configured.
    #[error("{} is for KEK {wanted}, and {found} is configured", path.display())]
    OtherKek {
        /// The file.
        path: PathBuf,
        /// The KEK that it is for.
        wanted: aegis_crypto::KeyId,
        /// The configured one.
        found: aegis_crypto::KeyId,
    },
    /// The identities cannot be read.
    #[error("cannot read the age identities")]
    ReadIdentity(#[source] aegis_durable::ReadError),
    /// The identities are none.
    #[error("cannot use {} as age identities", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: AgeKeyError,
    },
    /// There is no KEK to open it with.
    #[error(transparent)]
    Provider(ProviderError),
    /// The KEK does not load.
    #[error("cannot load the KEK")]
    Load(#[source] LoadError),
    /// It does not open, is damaged, or does not go into the keyring.
    #[error("cannot take the keyring from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ReadBackupError>,
    },
}

impl BackupCommandError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Setup(source) => source.help(),
            Self::InMemory => Some("give an age recipient with --recipient".to_owned()),
            Self::Create(source) => source.help(),
            Self::Open { .. } | Self::NotABackup { .. } => {
                Some("give a file that `aegis backup create` wrote".to_owned())
            }
            Self::NeedsIdentity { .. } => Some("name the file of the identity with --identity".to_owned()),
            Self::ForAKek { .. } => Some("leave --identity out".to_owned()),
            Self::OtherKek { .. } => Some("set the variables of the KEK that it is for".to_owned()),
            Self::ReadIdentity(source) => source.help(),
            Self::Identity { source, .. } => source.help(),
            Self::Provider(source) => source.help(),
            Self::Load(source) => source.help(),
            Self::Read { source, .. } => source.help(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keks_with_the_same_first_digits_are_told_apart() {
        let id = |last: &str| format!("{}{last}", "0".repeat(63)).parse::<aegis_crypto::KeyId>().unwrap();
        let error = BackupCommandError::OtherKek { path: "b".into(), wanted: id("1"), found: id("2") };
        let said = error.to_string();
        assert!(said.contains(&id("1").to_string()) && said.contains(&id("2").to_string()), "{said}");
    }

    #[test]
    fn what_is_no_file_is_no_backup_and_is_not_waited_for() {
        let dir = test_services::scratch::dir();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        for path in [fifo.as_path(), dir.path(), Path::new("/dev/zero")] {
            assert!(matches!(open(path), Err(BackupCommandError::NotABackup { .. })), "{}", path.display());
        }
    }
}
