//! The directory of trusted keys: `*.pub`, each an SPKI PEM, 64 hex digits or an OpenSSH line.
//!
//! One bad file is an error that names it, never a file that is skipped. Where a host has custodians, the directory holds
//! keys, and which of them are trusted is in its [record](crate::custodians::record).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use aegis_crypto::{KeyId, KeyIdPrefix, PublicKey, PublicKeyFileError, parse_public_key_file};
use jiff::Timestamp;

use crate::{
    custodians::record::RecordError,
    durable::ReadError,
    guarded_dir::{Guard, GuardedDir, GuardedDirError, GuardedFile},
    revoked::RevokedError,
};

/// The most keys that a host trusts.
pub const MAX_KEYS: usize = 256;
/// The most bytes of a key file.
pub const MAX_KEY_FILE_LEN: u64 = aegis_crypto::MAX_KEY_FILE_LEN as u64;

/// One file in the directory.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// SHA-256 of the key.
    pub id: KeyId,
    /// The key.
    pub key: PublicKey,
    /// The file's name without `.pub`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// When the file was last written.
    pub added_at: Timestamp,
}

/// The trusted keys, in the order of their names.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    files: Vec<TrustedKey>,
}

/// Why the trusted keys cannot be used. Nothing is trusted until they can.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The directory cannot be opened or listed.
    #[error("cannot read the key directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory is a link: whoever owns the link chooses the keys.
    #[error("the key directory {} is a symbolic link or not a directory", path.display())]
    NotADirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else could have changed it.
    #[error("{} {problem}", path.display())]
    Permissions {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A key file cannot be read, or is a link, FIFO, directory or too large.
    #[error("a trusted key cannot be read")]
    File {
        /// Why, with the path.
        source: ReadError,
    },
    /// A key file does not hold a key that may be trusted.
    #[error("{} does not hold a key that can be trusted", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PublicKeyFileError,
    },
    /// More than [`MAX_KEYS`].
    #[error("{} holds more than {MAX_KEYS} keys", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
    /// The list of revoked keys cannot be used.
    #[error("the revoked keys cannot be told")]
    Revoked {
        /// Why.
        source: RevokedError,
    },
    /// The record of which keys custodians approved cannot be used.
    #[error("the approved keys cannot be told")]
    Approved {
        /// Why.
        source: RecordError,
    },
}

/// Why no one key could be told from what was typed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindKeyError {
    /// None begins so.
    #[error("no key begins with {prefix}")]
    None {
        /// What was typed.
        prefix: String,
    },
    /// More than one does.
    #[error("{} keys begin with {prefix}: {}", ids.len(), ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", "))]
    Several {
        /// What was typed.
        prefix: String,
        /// What it could mean.
        ids: Vec<KeyId>,
    },
}

impl KeysError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Directory { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root, or as the owner of the directory".to_owned()
            }
            Self::Directory { .. } => return None,
            Self::NotADirectory { path } => format!("make {} a directory of its own", path.display()),
            Self::Permissions { path, .. } => format!(
                "find out who could have changed it, check the keys, then `chown root {0}` and `chmod go-w {0}`",
                path.display()
            ),
            Self::File { source } => return source.help(),
            Self::Key { path, source } => {
                return source.help().or_else(|| {
                    Some(format!("remove {}, or put the right public key there", path.display()))
                });
            }
            // `keys remove` reads the directory too, so it cannot help here.
            Self::TooMany { path } => {
                format!(
                    "find out who put them there, and move the `.pub` files that are not in use out of {}",
                    path.display()
                )
            }
            Self::Revoked { source } => return source.help(),
            Self::Approved { source } => return source.help(),
        })
    }
}

impl FindKeyError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::None { .. } => "`aegisbpf keys list` shows the ids",
                Self::Several { .. } => "type more digits of the id",
            }
            .to_owned(),
        )
    }
}

impl TrustedKeys {
    /// Reads the directory; one that does not exist holds no keys.
    ///
    /// # Errors
    ///
    /// [`KeysError`] names the first file, in the order of names, that cannot be trusted.
    pub fn load(dir: &Path) -> Result<Self, KeysError> {
        let Some(guarded) = GuardedDir::open(dir, Guard::Own)? else { return Ok(Self::default()) };
        let mut files = Vec::new();
        for name in guarded.names(".pub", MAX_KEYS)? {
            files.push(load_key(&guarded, dir, &name)?);
        }
        Ok(Self { files })
    }

    /// Those of them whose ids are in `approved`.
    pub(crate) fn only(mut self, approved: &BTreeSet<KeyId>) -> Self {
        self.files.retain(|file| approved.contains(&file.id));
        self
    }

    /// The files, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &TrustedKey> {
        self.files.iter()
    }
    /// How many different keys there are.
    pub fn len(&self) -> usize {
        self.by_id().len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
    /// The different keys: one key in two files is one.
    pub fn by_id(&self) -> BTreeMap<KeyId, PublicKey> {
        self.files.iter().map(|file| (file.id, file.key)).collect()
    }

    /// The one key whose id begins with what was typed.
    ///
    /// # Errors
    ///
    /// [`FindKeyError`] if there is none, or more than one.
    pub fn find(&self, prefix: &KeyIdPrefix) -> Result<&TrustedKey, FindKeyError> {
        let found: BTreeMap<KeyId, &TrustedKey> =
            self.files.iter().filter(|file| prefix.matches(&file.id)).map(|file| (file.id, file)).collect();
        let prefix = prefix.as_str().to_owned();
        match found.len() {
            0 => Err(FindKeyError::None { prefix }),
            1 => found.into_values().next().ok_or(FindKeyError::None { prefix }),
            _ => Err(FindKeyError::Several { prefix, ids: found.into_keys().collect() }),
        }
    }

    /// Every file that holds a key.
    pub fn files_of(&self, id: &KeyId) -> Vec<&TrustedKey> {
        self.files.iter().filter(|file| file.id == *id).collect()
    }
}

fn load_key(guarded: &GuardedDir, dir: &Path, name: &str) -> Result<TrustedKey, KeysError> {
    let Some(GuardedFile { path, bytes, metadata }) = guarded.read(name, MAX_KEY_FILE_LEN)? else {
        let source = io::Error::from(io::ErrorKind::NotFound);
        return Err(KeysError::File { source: ReadError::Open { path: dir.join(name), source } });
    };
    let added_at =
        metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default();
    let parsed =
        parse_public_key_file(&bytes).map_err(|source| KeysError::Key { path: path.clone(), source })?;
    let name = name.strip_suffix(".pub").unwrap_or(name).to_owned();
    Ok(TrustedKey { id: parsed.key.key_id(), key: parsed.key, name, path, added_at })
}

impl From<GuardedDirError> for KeysError {
    fn from(error: GuardedDirError) -> Self {
        match error {
            GuardedDirError::Directory { path, source } => Self::Directory { path, source },
            GuardedDirError::NotADirectory { path } => Self::NotADirectory { path },
            GuardedDirError::Permissions { path, problem } => Self::Permissions { path, problem },
            GuardedDirError::TooMany { path, .. } => Self::TooMany { path },
            GuardedDirError::File { source } => Self::File { source },
        }
    }
}

#[cfg(test)]
mod tests;
