//! The files of the host key: `host.key` signs the checkpoints of this log and nothing signs for it.

use std::path::PathBuf;

use aegis_crypto::{
    PrivateKeyFileError, PublicKey, PublicKeyFileError, RandomError, SigningKey, parse_public_key_file,
};
use zeroize::Zeroizing;

use crate::append::AppendError;
use crate::folder::{Durable, Folder, StorageError};
use crate::hand_over::HandOverError;
use crate::read::ReadError;

/// The private key, PKCS#8 PEM, mode 0600.
pub(crate) const KEY: &str = "host.key";
/// The next private key, while a hand-over is under way.
pub(crate) const NEXT_KEY: &str = "host.key.next";
/// The public key, SPKI PEM. The last file that the first use writes: where it is, there was a log.
pub(crate) const PUBLIC_KEY: &str = "host.pub";
/// The longest key file, in bytes.
const KEY_FILE_LEN: u64 = 8 * 1024;

/// Why a key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is a log, and its key is gone.
    #[error("{} is missing", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else than its owner may read it.
    #[error("{} may be read by others (mode {mode:o})", path.display())]
    Exposed {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a private key that this program takes.
    #[error("{} is not a host key", path.display())]
    Private {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: PrivateKeyFileError,
    },
    /// Not a public key that this program takes.
    #[error("{} is not a host key", path.display())]
    Public {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: PublicKeyFileError,
    },
    /// The system gave no random bytes for a new key.
    #[error("cannot make a host key")]
    Random(#[from] RandomError),
}

impl KeyFileError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Storage(error) => error.help(),
            Self::Missing { path } => Some(format!("restore {} from a backup", path.display())),
            Self::Exposed { path, .. } => Some(format!(
                "chmod 600 {}, and hand over to a new host key: others may have copied it",
                path.display()
            )),
            Self::Private { path, .. } | Self::Public { path, .. } => {
                Some(format!("restore {} from a backup", path.display()))
            }
            Self::Random(_) => None,
        }
    }
}

/// Why the host key could not be had or handed over.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// A key file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The log could not be written to, or is damaged.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log's hand-overs do not lead to this key.
    #[error("the hand-over in entry {seq} is not valid")]
    HandOver {
        /// The entry.
        seq: u64,
        /// What is wrong with it.
        source: HandOverError,
    },
}

impl HostKeyError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Append(error) => error.help(),
            Self::Read(error) => error.help(),
            Self::HandOver { .. } => Some("see what is wrong with `aegisbpf audit verify`".to_owned()),
        }
    }
}

/// Reads a private key; `None` if there is none.
pub(crate) fn load(folder: &Folder, name: &str) -> Result<Option<SigningKey>, KeyFileError> {
    let Some((bytes, mode)) = folder.read(name, KEY_FILE_LEN)? else {
        return Ok(None);
    };
    let bytes = Zeroizing::new(bytes);
    let path = folder.path_of(name);
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path, mode });
    }
    match SigningKey::from_pkcs8_pem(&bytes) {
        Ok(key) => Ok(Some(key)),
        Err(source) => Err(KeyFileError::Private { path, source }),
    }
}

/// Makes a private key, durably.
pub(crate) fn create(folder: &Folder, name: &str) -> Result<SigningKey, KeyFileError> {
    let key = SigningKey::generate()?;
    folder.replace(name, 0o600, key.to_pkcs8_pem().as_bytes(), Durable::Yes)?;
    folder.sync()?;
    Ok(key)
}

/// Reads the file of the public key; `None` if there is none.
pub(crate) fn read_public(folder: &Folder) -> Result<Option<Vec<u8>>, StorageError> {
    Ok(folder.read(PUBLIC_KEY, KEY_FILE_LEN)?.map(|(bytes, _)| bytes))
}

/// The key that the file holds.
pub(crate) fn parse_public(folder: &Folder, bytes: &[u8]) -> Result<PublicKey, KeyFileError> {
    match parse_public_key_file(bytes) {
        Ok(parsed) => Ok(parsed.key),
        Err(source) => Err(KeyFileError::Public { path: folder.path_of(PUBLIC_KEY), source }),
    }
}

/// Writes the public key, durably.
pub(crate) fn write_public(folder: &Folder, key: &PublicKey) -> Result<(), StorageError> {
    folder.replace(PUBLIC_KEY, 0o644, key.to_spki_pem().as_bytes(), Durable::Yes)
}

/// Keeps the public half of a key that was handed over.
pub(crate) fn keep_public(folder: &Folder, key: &PublicKey) -> Result<(), StorageError> {
    let name = format!("{PUBLIC_KEY}.{}", key.key_id());
    folder.replace(&name, 0o644, key.to_spki_pem().as_bytes(), Durable::Yes)
}
