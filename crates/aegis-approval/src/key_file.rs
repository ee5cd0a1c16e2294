//! A custodian's private key on the custodian's own machine, under a passphrase.
//!
//! ```text
//! AEGIS-CUSTODIAN-KEY-V1
//! public bip322-p2tr:<base64>
//! -----BEGIN AGE ENCRYPTED FILE-----
//! <base64 in lines of 64>
//! -----END AGE ENCRYPTED FILE-----
//! ```
//!
//! Below the public key is an age file, v1, with one scrypt recipient. It holds one line, `aegis-custodian-private:` and
//! the algorithm and the key, so `age --decrypt` gives the key back without this program.
//!
//! Sources: age-encryption.org/v1 (C2SP), RFC 4648 §4, RFC 7468 §3 (strict).

use std::io;
use std::path::{Path, PathBuf};

use aegis_crypto::{
    CustodianKeyError, CustodianPrivateKey, CustodianPublicKey, CustodianPublicKeyError, KeyId,
};
use aegis_durable::WriteError;
use aegis_kek::{Passphrase, PassphraseBox, PassphraseBoxFault, PrivateFileError, read_private};

/// The most bytes of a key file.
pub const MAX_KEY_FILE_LEN: usize = 16 * 1024;
/// The most bytes of what is encrypted.
const MAX_SECRET_LEN: usize = 512;

const HEADER: &str = "AEGIS-CUSTODIAN-KEY-V1";
const ANY_HEADER: &str = "AEGIS-CUSTODIAN-KEY-V";
const PUBLIC: &str = "public ";

/// A key file as it was read. Its public key was checked; what is encrypted was not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustodianKeyFile {
    public: CustodianPublicKey,
    sealed: PassphraseBox,
}

impl CustodianKeyFile {
    /// Puts a private key under a passphrase.
    ///
    /// `None` if it did not go, or did not come out again: for want of 128 MiB of memory, most likely.
    pub fn seal(key: &CustodianPrivateKey, passphrase: &Passphrase) -> Option<Self> {
        let sealed = PassphraseBox::seal(passphrase, key.dangerous_to_secret_text().as_bytes())?;
        Some(Self { public: key.public_key().clone(), sealed })
    }

    /// Puts a private key into a new file of mode 0600, whole or not at all. An existing file is never replaced.
    ///
    /// # Errors
    ///
    /// [`WriteKeyFileError`].
    pub fn create(
        path: &Path,
        key: &CustodianPrivateKey,
        passphrase: &Passphrase,
    ) -> Result<Self, WriteKeyFileError> {
        let file = Self::seal(key, passphrase)
            .ok_or_else(|| WriteKeyFileError::NotSealed { path: path.to_owned() })?;
        aegis_durable::write_new(path, file.to_text().as_bytes(), 0o600).map_err(WriteKeyFileError::Write)?;
        Ok(file)
    }

    /// Reads a key file, which only its owner may be able to read. A link is not followed.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let limit = u64::try_from(MAX_KEY_FILE_LEN).unwrap_or(u64::MAX);
        let bytes = read_private(path, limit).map_err(KeyFileError::Read)?;
        Self::parse(&bytes).map_err(|source| KeyFileError::Malformed { path: path.to_owned(), source })
    }

    /// Reads the text. What parses prints back as the same bytes.
    ///
    /// # Errors
    ///
    /// A [`KeyFileFault`] for the first part that does not fit.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFileFault> {
        if bytes.len() > MAX_KEY_FILE_LEN {
            return Err(KeyFileFault::TooLarge { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeyFileFault::Header)?;
        let (header, rest) = text.split_once('\n').ok_or(KeyFileFault::Header)?;
        if header != HEADER {
            return Err(match header.starts_with(ANY_HEADER) {
                true => KeyFileFault::Version,
                false => KeyFileFault::Header,
            });
        }
        let (public, rest) = rest.split_once('\n').ok_or(KeyFileFault::PublicLine)?;
        let public = public.strip_prefix(PUBLIC).ok_or(KeyFileFault::PublicLine)?;
        let public = public.parse().map_err(KeyFileFault::PublicKey)?;
        let sealed = PassphraseBox::from_text(rest).ok_or(KeyFileFault::Armour)?;
        Ok(Self { public, sealed })
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        format!("{HEADER}\n{PUBLIC}{}\n{}", self.public, self.sealed.to_text())
    }

    /// The public key, as the file has it.
    pub const fn public_key(&self) -> &CustodianPublicKey {
        &self.public
    }

    /// The private key, which belongs to the public one.
    ///
    /// # Errors
    ///
    /// [`OpenKeyFileError`].
    pub fn open(&self, passphrase: &Passphrase) -> Result<CustodianPrivateKey, OpenKeyFileError> {
        let secret = self.sealed.open(passphrase, MAX_SECRET_LEN).map_err(OpenKeyFileError::Box)?;
        let text =
            std::str::from_utf8(&secret).map_err(|_| OpenKeyFileError::Box(PassphraseBoxFault::Damaged))?;
        let key = CustodianPrivateKey::parse_secret_text(text).map_err(OpenKeyFileError::Key)?;
        if key.public_key() == &self.public {
            Ok(key)
        } else {
            Err(OpenKeyFileError::OtherKey { holds: key.public_key().key_id(), says: self.public.key_id() })
        }
    }
}

/// Why a text is not a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileFault {
    /// More bytes than it could rightly have.
    #[error("a custodian's key file has at most {MAX_KEY_FILE_LEN} bytes, this one has {found}")]
    TooLarge {
        /// Bytes that are there.
        found: usize,
    },
    /// It is something else.
    #[error("it does not begin with the line {HEADER}")]
    Header,
    /// It is a key file of another version.
    #[error("it is a key file of another version than {HEADER}")]
    Version,
    /// Its second line is not what it must be.
    #[error("its second line is not \"public\" and a public key")]
    PublicLine,
    /// Its second line has no public key of a custodian.
    #[error("its second line holds no public key of a custodian")]
    PublicKey(#[source] CustodianPublicKeyError),
    /// What follows is cut off, continued or damaged.
    #[error("its third part is not an armoured age file and nothing else, in lines of 64")]
    Armour,
}

/// Why a key file was not read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not there, a link, or others can read it.
    #[error("cannot use a custodian's key file")]
    Read(#[source] PrivateFileError),
    /// It is there, and not what it should be.
    #[error("{} is not a usable key file of a custodian", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyFileFault,
    },
}

impl KeyFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(source) if source.is_absent() => {
                Some("check the path, or make a key: `aegis custodian generate`".to_owned())
            }
            Self::Read(source) => source.help(),
            Self::Malformed { source: KeyFileFault::Version, .. } => {
                Some("use the version of this program that made it, or a newer one".to_owned())
            }
            Self::Malformed { .. } => Some("name the file that `aegis custodian generate` wrote".to_owned()),
        }
    }
}

/// Why a key file does not give its private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenKeyFileError {
    /// The encrypted part.
    #[error("the private key was not opened")]
    Box(#[source] PassphraseBoxFault),
    /// It opens, and no private key is in it.
    #[error("what the file holds is no private key of a custodian")]
    Key(#[source] CustodianKeyError),
    /// It opens, and is the private key of somebody else.
    #[error("the file holds the key {}, and says that it is {}", holds.fingerprint(), says.fingerprint())]
    OtherKey {
        /// Whose private key it holds.
        holds: KeyId,
        /// What its second line says.
        says: KeyId,
    },
}

impl OpenKeyFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Box(PassphraseBoxFault::Passphrase) => {
                    "try again; if it is the right one, the file was changed: restore it from a backup"
                }
                Self::Box(_) | Self::Key(_) | Self::OtherKey { .. } => "restore the key file from a backup",
            }
            .to_owned(),
        )
    }
}

/// Why a key file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteKeyFileError {
    /// The file system said no, or something is there already.
    #[error("the key file was not written")]
    Write(#[source] WriteError),
    /// The key did not go under the passphrase, or did not come out again as it went in.
    #[error("{} was not written: the key did not go under its passphrase", path.display())]
    NotSealed {
        /// The file.
        path: PathBuf,
    },
}

impl WriteKeyFileError {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use aegis_crypto::CustodianAlgorithm;

    use super::*;

    /// One test, because stretching a passphrase takes 128 MiB and a part of a second.
    #[test]
    fn a_key_comes_back_with_its_passphrase_alone() {
        let passphrase = Passphrase::new("correct horse").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rita.key");
        let key = CustodianPrivateKey::generate(CustodianAlgorithm::Bip322).unwrap();
        let other = CustodianPrivateKey::generate(CustodianAlgorithm::Ed25519MlDsa65).unwrap();
        let made = CustodianKeyFile::create(&path, &key, &passphrase).unwrap();
        let read = CustodianKeyFile::read(&path).unwrap();
        assert_eq!(made, read);
        assert_eq!(read.open(&passphrase).unwrap().dangerous_bytes(), key.dangerous_bytes());
        assert!(matches!(
            read.open(&Passphrase::new("wrong horse").unwrap()),
            Err(OpenKeyFileError::Box(PassphraseBoxFault::Passphrase))
        ));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("aegis-custodian-private"));
        let again = CustodianKeyFile::create(&path, &key, &passphrase).unwrap_err();
        assert!(again.help().unwrap().contains("never replaced"), "{again}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

        // Somebody else's name on it.
        let relabelled = text.replacen(&key.public_key().to_string(), &other.public_key().to_string(), 1);
        let relabelled = CustodianKeyFile::parse(relabelled.as_bytes()).unwrap();
        assert!(matches!(relabelled.open(&passphrase), Err(OpenKeyFileError::OtherKey { .. })));
    }

    #[test]
    fn refuses_texts_that_are_no_key_files() {
        let key = CustodianPrivateKey::generate(CustodianAlgorithm::Bip322).unwrap();
        let public = key.public_key();
        let armour = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCg==\n-----END AGE ENCRYPTED FILE-----\n";
        let good = format!("{HEADER}\npublic {public}\n{armour}");
        assert_eq!(CustodianKeyFile::parse(good.as_bytes()).unwrap().to_text(), good);
        for (text, expected) in [
            (String::new(), "does not begin"),
            (good.replace("V1", "V2"), "another version"),
            (good.replace("public ", "Public "), "second line"),
            (good.replace(&public.to_string(), "bip322-p2tr:AAAA"), "public key"),
            (good.replace(&public.to_string(), &key.dangerous_to_secret_text()), "public key"),
            (format!("{good}\n"), "third part"),
            (good.replace("YWdl", "ZWdl"), "third part"),
            ("x".repeat(MAX_KEY_FILE_LEN + 1), "at most"),
        ] {
            let fault = CustodianKeyFile::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
