//! The directory of trusted keys: `*.pub`, each an SPKI PEM, 64 hex digits or an OpenSSH line.
//!
//! One bad file is an error that names it, never a file that is skipped. Everything is read through one handle of the
//! directory, so that a directory which is swapped while it is read gives the old keys or the new ones, never a mix.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aegis_crypto::{KeyId, KeyIdPrefix, PublicKey, PublicKeyFileError, parse_public_key_file};
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use crate::{
    durable::{self, ReadError},
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
        let broken = |source| KeysError::Directory { path: dir.to_owned(), source };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let handle = match rustix::fs::open(dir, flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(rustix::io::Errno::NOENT) => return Ok(Self::default()),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                return Err(KeysError::NotADirectory { path: dir.to_owned() });
            }
            Err(errno) => return Err(broken(errno.into())),
        };
        if let Some(problem) = durable::insecure(&handle.metadata().map_err(broken)?) {
            return Err(KeysError::Permissions { path: dir.to_owned(), problem });
        }
        let mut files = Vec::new();
        for name in key_file_names(&handle, dir)? {
            files.push(load_key(&handle, dir, &name)?);
        }
        Ok(Self { files })
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

/// The names that end in `.pub` and do not begin with a dot, sorted. Others are not keys: notes, the revoked list.
fn key_file_names(handle: &File, dir: &Path) -> Result<Vec<String>, KeysError> {
    let broken = |source: io::Error| KeysError::Directory { path: dir.to_owned(), source };
    let listing = rustix::fs::Dir::read_from(handle).map_err(|errno| broken(errno.into()))?;
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|errno| broken(errno.into()))?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(b".") || !name.ends_with(b".pub") {
            continue;
        }
        let name = std::str::from_utf8(name).map_err(|_| {
            let path = dir.join(name.escape_ascii().to_string());
            KeysError::Permissions { path, problem: "has a name that is not UTF-8".to_owned() }
        })?;
        names.push(name.to_owned());
        if names.len() > MAX_KEYS {
            return Err(KeysError::TooMany { path: dir.to_owned() });
        }
    }
    names.sort();
    Ok(names)
}

fn load_key(handle: &File, dir: &Path, name: &str) -> Result<TrustedKey, KeysError> {
    let path = dir.join(name);
    let read = |source| KeysError::File { source: ReadError::Read { path: path.clone(), source } };
    // NONBLOCK: opening a FIFO must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file: OwnedFd =
        rustix::fs::openat(handle, name, flags, Mode::empty()).map_err(|errno| KeysError::File {
            source: match errno {
                rustix::io::Errno::LOOP => ReadError::Link { path: path.clone() },
                // A socket answers so.
                rustix::io::Errno::NXIO => ReadError::NotAFile { path: path.clone(), kind: "a socket" },
                errno => ReadError::Open { path: path.clone(), source: errno.into() },
            },
        })?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(read)?;
    durable::check_regular(&metadata, &path).map_err(|source| KeysError::File { source })?;
    if let Some(problem) = durable::insecure(&metadata) {
        return Err(KeysError::Permissions { path, problem });
    }
    let added_at =
        metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default();
    let bytes = durable::read_open(file, &path, metadata.len(), MAX_KEY_FILE_LEN)
        .map_err(|source| KeysError::File { source })?;
    let parsed =
        parse_public_key_file(&bytes).map_err(|source| KeysError::Key { path: path.clone(), source })?;
    let name = name.strip_suffix(".pub").unwrap_or(name).to_owned();
    Ok(TrustedKey { id: parsed.key.key_id(), key: parsed.key, name, path, added_at })
}

#[cfg(test)]
mod tests;
