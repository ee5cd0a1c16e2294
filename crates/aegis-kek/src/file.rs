//! A KEK in a file under a passphrase: what `aegis init` makes for people who have no KMS and no HSM.
//!
//! The layout is in `kek_file`, how a passphrase protects it in `passphrase_box`.

mod passphrase;
mod passphrase_box;
mod terminal;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aegis_crypto::{HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey, HybridPublicKey, KeyId};
use aegis_durable::{ReadError, WriteError};
use zeroize::Zeroizing;

pub use passphrase::{MAX_PASSPHRASE_LEN, Passphrase, PassphraseError, PassphraseFault, PassphraseSource};
pub use passphrase_box::{MAX_WORK_FACTOR, PassphraseBox, PassphraseBoxFault};

use crate::fault::{LoadError, ProviderFault};
use crate::kek::Kek;
use crate::kek_file::{KekFile, KekFileError};
use crate::known_variables::KEK_FILE;
use crate::private_file::PrivateFileError;
use crate::provider::{Health, KekProvider, LastWorked, ProviderKind};
use crate::settings::{SettingsError, require};
use crate::variables::Variables;

/// The KEK in the file that [`KEK_FILE`] names.
#[derive(Debug)]
pub struct FileKekProvider {
    path: PathBuf,
    public_key: HybridPublicKey,
    passphrase: PassphraseSource,
    // Stretching a passphrase takes 128 MiB; threads that load at once wait for each other instead.
    loading: Mutex<()>,
    last_worked: LastWorked,
}

impl FileKekProvider {
    /// Opens the file that [`KEK_FILE`] names. No passphrase is read or asked for before [`load`](Self::load).
    ///
    /// # Errors
    ///
    /// [`SettingsError`]; a public key that is set beside it and is another one is refused too, since what is sealed to
    /// it would not open here.
    pub fn from_environment(variables: &Variables) -> Result<Self, SettingsError> {
        let kind = ProviderKind::File;
        let malformed = |source| SettingsError::Malformed { kind, source };
        require(variables, kind, &[KEK_FILE])?;
        let missing = || SettingsError::Missing { kind, names: vec![KEK_FILE] };
        let path = variables.text(KEK_FILE).map_err(malformed)?.ok_or_else(missing)?;
        let passphrase = PassphraseSource::of(variables).map_err(SettingsError::Passphrase)?;
        let provider = Self::open(Path::new(path.expose()), passphrase).map_err(SettingsError::KekFile)?;
        match variables.public_key().map_err(malformed)? {
            Some(set) if set != provider.public_key => Err(SettingsError::OtherPublicKey {
                name: KEK_FILE,
                holds: provider.public_key.key_id(),
                set: set.key_id(),
            }),
            _ => Ok(provider),
        }
    }

    /// Opens a key file, for callers with settings of their own.
    ///
    /// # Errors
    ///
    /// [`KekFileError`].
    pub fn open(path: &Path, passphrase: PassphraseSource) -> Result<Self, KekFileError> {
        let file = KekFile::read(path)?;
        Ok(Self {
            path: path.to_owned(),
            public_key: file.public_key().clone(),
            passphrase,
            loading: Mutex::new(()),
            last_worked: LastWorked::never(),
        })
    }

    /// Puts a private key into a new file of mode 0600, whole or not at all, and checks that it comes out again. An
    /// existing file is never replaced.
    ///
    /// # Errors
    ///
    /// [`KekFileWriteError`].
    pub fn create(
        path: &Path,
        passphrase: &Passphrase,
        private: &HybridPrivateKey,
    ) -> Result<(), KekFileWriteError> {
        let file = seal(passphrase, private).ok_or_else(|| not_sealed(path))?;
        aegis_durable::write_new(path, file.to_text().as_bytes(), 0o600).map_err(KekFileWriteError::Write)
    }

    /// Puts the private key of a file under another passphrase. At every instant the file is the old one or the new one.
    ///
    /// The old passphrase still opens copies of the old file: backups, and what a disk keeps of it.
    ///
    /// # Errors
    ///
    /// [`KekFileWriteError`]; the file is as it was.
    pub fn change_passphrase(
        path: &Path,
        old: &Passphrase,
        new: &Passphrase,
    ) -> Result<(), KekFileWriteError> {
        let loaded = KekFile::read(path).map_err(unreadable).and_then(|file| unseal(path, &file, old));
        let kek = loaded.map_err(KekFileWriteError::Load)?;
        let file = seal(new, kek.private_key()).ok_or_else(|| not_sealed(path))?;
        aegis_durable::write_unguarded(path, file.to_text().as_bytes(), 0o600)
            .map_err(KekFileWriteError::Write)
    }

    fn load_now(&self) -> Result<Kek, LoadError> {
        // Read again: it may have been put under another passphrase, and a file that is gone is not to be hidden.
        let file = KekFile::read(&self.path).map_err(unreadable)?;
        let found = file.public_key().key_id();
        let opened = self.public_key.key_id();
        if found != opened {
            return Err(broken(FileFault::OtherKek { path: self.path.clone(), found, opened }));
        }
        let passphrase = self.passphrase.take(&self.path).map_err(|error| LoadError::Denied {
            kind: ProviderKind::File,
            source: FileFault::Passphrase(error).into(),
        })?;
        unseal(&self.path, &file, &passphrase)
    }
}

impl KekProvider for FileKekProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::File
    }

    fn public_key(&self) -> &HybridPublicKey {
        &self.public_key
    }

    fn load(&self) -> Result<Kek, LoadError> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.last_worked.note(self.load_now())
    }

    fn health(&self) -> Health {
        let (standing, last_worked) = self.last_worked.get();
        Health {
            kind: self.kind(),
            security_level: self.kind().security_level(),
            key_id: self.public_key.key_id(),
            standing,
            last_worked,
            detail: vec![("file", self.path.display().to_string())],
        }
    }
}

/// Makes the file, and opens it again, so that no key is lost to a fault in memory or in the program.
fn seal(passphrase: &Passphrase, private: &HybridPrivateKey) -> Option<KekFile> {
    let sealed = PassphraseBox::seal(passphrase, private.dangerous_expose())?;
    Some(KekFile::new(private.public_key().clone(), sealed.into_bytes()))
}

fn unseal(path: &Path, file: &KekFile, passphrase: &Passphrase) -> Result<Kek, LoadError> {
    let path = || path.to_owned();
    let private = decrypt(file, passphrase).map_err(|fault| match fault {
        PassphraseBoxFault::Passphrase => LoadError::Denied {
            kind: ProviderKind::File,
            source: FileFault::WrongPassphrase { path: path() }.into(),
        },
        PassphraseBoxFault::Work { found } => broken(FileFault::Work { path: path(), found }),
        PassphraseBoxFault::Recipient => broken(FileFault::NoPassphrase { path: path() }),
        PassphraseBoxFault::Damaged => broken(FileFault::Damaged { path: path() }),
    })?;
    HybridPrivateKey::import_for(&private, file.public_key())
        .map(Kek::new)
        .map_err(|source| LoadError::WrongKey { kind: ProviderKind::File, source })
}

/// The 2,432 bytes that the age file holds. They are nowhere else when it returns.
fn decrypt(file: &KekFile, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, PassphraseBoxFault> {
    let private = PassphraseBox::open_bytes(file.encrypted(), passphrase, HYBRID_PRIVATE_KEY_LEN)?;
    if private.len() == HYBRID_PRIVATE_KEY_LEN { Ok(private) } else { Err(PassphraseBoxFault::Damaged) }
}

/// Sorts why the file was not read.
fn unreadable(error: KekFileError) -> LoadError {
    let kind = ProviderKind::File;
    let system = match &error {
        KekFileError::Read(PrivateFileError::Read(
            ReadError::Open { source, .. } | ReadError::Read { source, .. },
        )) => Some(source.kind()),
        _ => None,
    };
    let source = FileFault::File(error).into();
    match system {
        Some(io::ErrorKind::PermissionDenied) => LoadError::Denied { kind, source },
        // Not mounted yet, a disk that fails: it may come back.
        Some(_) => LoadError::Unavailable { kind, source },
        None => LoadError::Broken { kind, source },
    }
}

fn broken(fault: FileFault) -> LoadError {
    LoadError::Broken { kind: ProviderKind::File, source: fault.into() }
}

fn not_sealed(path: &Path) -> KekFileWriteError {
    KekFileWriteError::NotSealed { path: path.to_owned() }
}

impl From<FileFault> for ProviderFault {
    fn from(fault: FileFault) -> Self {
        Self::File(fault)
    }
}

/// Why a key file does not give its private key.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The file itself cannot be used.
    #[error(transparent)]
    File(KekFileError),
    /// There is no passphrase.
    #[error(transparent)]
    Passphrase(PassphraseError),
    /// It is under another passphrase. A changed file cannot always be told from that.
    #[error("the passphrase does not open {}", path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// It would take more memory and time than any file of ours.
    #[error("{} asks for a work factor of 2^{found}, more than 2^{MAX_WORK_FACTOR}", path.display())]
    Work {
        /// The file.
        path: PathBuf,
        /// log₂ of what it asks for.
        found: u8,
    },
    /// It is an age file for a key of somebody.
    #[error("{} is not encrypted under a passphrase", path.display())]
    NoPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// Its content is not what was written.
    #[error("{} is damaged: what it holds is not a private key as it was written", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Somebody put another key in its place.
    #[error(
        "{} holds KEK {} now, and held {} when it was opened",
        path.display(), found.fingerprint(), opened.fingerprint()
    )]
    OtherKek {
        /// The file.
        path: PathBuf,
        /// The KEK that it holds.
        found: KeyId,
        /// The KEK that it held.
        opened: KeyId,
    },
}

impl FileFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::File(source) => source.help(),
            Self::Passphrase(source) => source.help(),
            Self::WrongPassphrase { .. } => Some(
                "try again; if it is the right one, the file was changed: restore it from a backup"
                    .to_owned(),
            ),
            Self::Work { .. } | Self::NoPassphrase { .. } => {
                Some("this program did not make it: restore the key file from a backup".to_owned())
            }
            Self::Damaged { .. } => Some("restore it from a backup".to_owned()),
            Self::OtherKek { .. } => Some("find out who replaced it, then start again".to_owned()),
        }
    }
}

/// Why a key file was not written. What was there is there.
#[derive(Debug, thiserror::Error)]
pub enum KekFileWriteError {
    /// The file system said no; or, for a new file, something is there already.
    #[error("the key file was not written")]
    Write(#[source] WriteError),
    /// The key did not go under the passphrase, or did not come out again as it went in.
    #[error("{} was not written: the key did not go under its passphrase", path.display())]
    NotSealed {
        /// The file.
        path: PathBuf,
    },
    /// The old file does not open.
    #[error("the key file was not changed")]
    Load(#[source] LoadError),
}

impl KekFileWriteError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Write(source) if source.source.kind() == io::ErrorKind::AlreadyExists => {
                Some("choose another name: an existing key file is never replaced".to_owned())
            }
            Self::Write(source) => source.help(),
            Self::NotSealed { .. } => {
                Some("check that 128 MiB of memory are available and try again".to_owned())
            }
            Self::Load(source) => source.help(),
        }
    }
}
