//! A new pair of keys for somebody who signs policy, on the machine where they will sign.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aegis_crypto::{KeyId, RandomError, SigningKey};
use serde::Serialize;

use crate::durable::{self, WriteError};

/// The most characters in the name of a key.
pub const MAX_NAME_LEN: usize = 64;

/// The pair that was made. The private half is in its file and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeneratedKey {
    /// SHA-256 of the public key.
    pub id: KeyId,
    /// PKCS#8 PEM, mode 0600.
    pub private_path: PathBuf,
    /// SPKI PEM, mode 0644.
    pub public_path: PathBuf,
}

/// Why no pair was made. Neither file was left behind.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// It would not make a good file name.
    #[error(
        "{name:?} is not a name for a key: 1 to {MAX_NAME_LEN} of A-Z a-z 0-9 . _ -, not beginning with . or -"
    )]
    Name {
        /// What was asked for.
        name: String,
    },
    /// One of the two files is there already.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random bytes.
    #[error("cannot make a key")]
    Random {
        /// Why.
        source: RandomError,
    },
    /// The directory or a file cannot be written.
    #[error("the new key cannot be written")]
    Write {
        /// Why, with the path.
        source: WriteError,
    },
}

impl GenerateError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Name { .. } => Some("choose another name with `--name`, for example release-2026".to_owned()),
            Self::Exists { .. } => {
                Some("choose another name with `--name`; a key is never overwritten, because it cannot be made again".to_owned())
            }
            Self::Random { source } => source.help(),
            Self::Write { source } => source.help(),
        }
    }
}

/// Makes `NAME.key` (PKCS#8 PEM, 0600) and `NAME.pub` (SPKI PEM, 0644) in `dir`, which is made (0700) if it is not there.
///
/// # Errors
///
/// [`GenerateError`]; an existing file is never touched, and a half-made pair is removed.
pub fn generate_key_pair(dir: &Path, name: &str) -> Result<GeneratedKey, GenerateError> {
    if !is_key_name(name) {
        return Err(GenerateError::Name { name: name.chars().take(MAX_NAME_LEN + 1).collect() });
    }
    let private_path = dir.join(format!("{name}.key"));
    let public_path = dir.join(format!("{name}.pub"));
    for path in [&private_path, &public_path] {
        // A link that leads nowhere exists too.
        if fs::symlink_metadata(path).is_ok() {
            return Err(GenerateError::Exists { path: path.clone() });
        }
    }
    let key = SigningKey::generate().map_err(|source| GenerateError::Random { source })?;
    durable::make_dir(dir, 0o700).map_err(|source| GenerateError::Write { source })?;
    write_pair(&key, &private_path, &public_path)?;
    Ok(GeneratedKey { id: key.public_key().key_id(), private_path, public_path })
}

/// Whether a name can be that of a key file: it needs no quoting, is no option and is not hidden.
fn is_key_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-'])
}

fn write_pair(key: &SigningKey, private_path: &Path, public_path: &Path) -> Result<(), GenerateError> {
    write_half(private_path, key.to_pkcs8_pem().as_bytes(), 0o600)?;
    write_half(public_path, key.public_key().to_spki_pem().as_bytes(), 0o644).inspect_err(|_| {
        // This process made it a moment ago, and nobody trusts its public half yet.
        let _ = durable::remove_synced(private_path);
    })
}

fn write_half(path: &Path, bytes: &[u8], mode: u32) -> Result<(), GenerateError> {
    durable::write_new(path, bytes, mode).map_err(|source| match source.source.kind() {
        io::ErrorKind::AlreadyExists if fs::symlink_metadata(path).is_ok() => {
            GenerateError::Exists { path: path.to_owned() }
        }
        _ => GenerateError::Write { source },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use aegis_crypto::parse_public_key_file;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn makes_a_pair_whose_halves_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("made/for/it");
        let made = generate_key_pair(&out, "release-2026").unwrap();
        assert_eq!(made.private_path, out.join("release-2026.key"));
        assert_eq!(made.public_path, out.join("release-2026.pub"));
        assert_eq!((mode(&out), mode(&made.private_path), mode(&made.public_path)), (0o700, 0o600, 0o644));
        let private = SigningKey::from_pkcs8_pem(&fs::read(&made.private_path).unwrap()).unwrap();
        let public = parse_public_key_file(&fs::read(&made.public_path).unwrap()).unwrap();
        assert_eq!(private.public_key(), &public.key);
        assert_eq!(made.id, public.key.key_id());
        assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
        assert_ne!(generate_key_pair(&out, "second").unwrap().id, made.id);
    }

    #[test]
    fn overwrites_neither_half_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        for taken in ["mine.key", "mine.pub"] {
            let path = dir.path().join(taken);
            fs::write(&path, b"precious").unwrap();
            assert!(
                matches!(generate_key_pair(dir.path(), "mine"), Err(GenerateError::Exists { path: found }) if found == path)
            );
            assert_eq!(fs::read(&path).unwrap(), b"precious");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            fs::remove_file(&path).unwrap();
        }
        let link = dir.path().join("mine.pub");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
        assert!(matches!(generate_key_pair(dir.path(), "mine"), Err(GenerateError::Exists { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn removes_the_private_half_if_the_public_one_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = (dir.path().join("mine.key"), dir.path().join("absent/mine.pub"));
        let key = SigningKey::generate().unwrap();
        assert!(matches!(write_pair(&key, &private, &public), Err(GenerateError::Write { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn refuses_names_that_are_paths_options_or_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let long = "a".repeat(MAX_NAME_LEN + 1);
        for name in ["", ".", "..", ".hidden", "-x", "a/b", "../up", "a b", "a\nb", "a\0b", "é", "a*", &long]
        {
            assert!(
                matches!(generate_key_pair(dir.path(), name), Err(GenerateError::Name { .. })),
                "{name:?}"
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let longest = "a".repeat(MAX_NAME_LEN);
        for name in ["a", "A.b_c-9", longest.as_str()] {
            generate_key_pair(dir.path(), name).unwrap();
        }
    }

    #[test]
    fn a_directory_that_is_a_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(generate_key_pair(&file, "mine"), Err(GenerateError::Write { .. })));
    }
}
