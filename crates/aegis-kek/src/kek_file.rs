//! The text of a key file under a passphrase.
//!
//! ```text
//! AEGIS-KEK-FILE-V1
//! public <base64 of the 1,216 bytes of the public key>
//! -----BEGIN AGE ENCRYPTED FILE-----
//! <base64 in lines of 64>
//! -----END AGE ENCRYPTED FILE-----
//! ```
//!
//! The public key is in the clear: sealing needs no passphrase. It is believed only as far as the file is, and compared
//! with the private key whenever that is loaded. Below it is an age file, v1, with one scrypt recipient, which holds the
//! 2,432 bytes of the private key: without this program, `age --decrypt` gives them back.
//!
//! Sources: age-encryption.org/v1 (C2SP), RFC 4648 §4, RFC 7468 §3 (strict).

use std::path::{Path, PathBuf};

use aegis_crypto::{HYBRID_PUBLIC_KEY_LEN, HybridPublicKey, HybridPublicKeyError};
use aegis_durable::Links;
use base64ct::{Base64, Encoding};

use crate::armour;
use crate::private_file::{self, PrivateFileError};

/// The most bytes of a key file; one has about 5,300.
pub const MAX_KEK_FILE_LEN: usize = 16 * 1024;

const HEADER: &str = "AEGIS-KEK-FILE-V1";
const ANY_HEADER: &str = "AEGIS-KEK-FILE-V";
const PUBLIC: &str = "public ";

/// A key file as it was read. Its public key was checked; what is encrypted was not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekFile {
    public_key: HybridPublicKey,
    encrypted: Vec<u8>,
}

impl KekFile {
    /// Puts the parts together.
    #[cfg(feature = "file")]
    pub(crate) const fn new(public_key: HybridPublicKey, encrypted: Vec<u8>) -> Self {
        Self { public_key, encrypted }
    }

    /// Reads the text. What parses prints back as the same bytes.
    ///
    /// # Errors
    ///
    /// A [`KekFileFault`] for the first part that does not fit.
    pub fn parse(bytes: &[u8]) -> Result<Self, KekFileFault> {
        if bytes.len() > MAX_KEK_FILE_LEN {
            return Err(KekFileFault::TooLarge { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KekFileFault::Header)?;
        let (header, rest) = text.split_once('\n').ok_or(KekFileFault::Header)?;
        if header != HEADER {
            return Err(match header.starts_with(ANY_HEADER) {
                true => KekFileFault::Version,
                false => KekFileFault::Header,
            });
        }
        let (public, rest) = rest.split_once('\n').ok_or(KekFileFault::PublicLine)?;
        let public = public.strip_prefix(PUBLIC).ok_or(KekFileFault::PublicLine)?;
        let mut raw = [0; HYBRID_PUBLIC_KEY_LEN];
        let raw = Base64::decode(public, &mut raw).map_err(|_| KekFileFault::PublicLine)?;
        let public_key = HybridPublicKey::from_bytes(raw).map_err(KekFileFault::PublicKey)?;
        let encrypted = armour::unwrap(rest).ok_or(KekFileFault::Armour)?;
        if !armour::is_age_file(&encrypted) {
            return Err(KekFileFault::NotAge);
        }
        Ok(Self { public_key, encrypted })
    }

    /// Reads a key file, which only its owner may be able to read. A link is not followed.
    ///
    /// # Errors
    ///
    /// [`KekFileError`].
    pub fn read(path: &Path) -> Result<Self, KekFileError> {
        let limit = u64::try_from(MAX_KEK_FILE_LEN).unwrap_or(u64::MAX);
        let bytes = private_file::read(path, Links::Refuse, limit).map_err(KekFileError::Read)?;
        Self::parse(&bytes).map_err(|source| KekFileError::Malformed { path: path.to_owned(), source })
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let public = Base64::encode_string(self.public_key.as_bytes());
        format!("{HEADER}\n{PUBLIC}{public}\n{}", armour::wrap(&self.encrypted))
    }

    /// The KEK's public key, as the file has it.
    pub const fn public_key(&self) -> &HybridPublicKey {
        &self.public_key
    }

    /// The age file.
    pub fn encrypted(&self) -> &[u8] {
        &self.encrypted
    }
}

/// Why a text is not a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KekFileFault {
    /// More bytes than it could rightly have.
    #[error("a key file has at most {MAX_KEK_FILE_LEN} bytes, this one has {found}")]
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
    #[error("its second line is not \"public\" and the base64 of a public key")]
    PublicLine,
    /// The bytes of its second line are no public key.
    #[error("its second line holds no public key of a KEK")]
    PublicKey(#[source] HybridPublicKeyError),
    /// What follows is cut off, continued or damaged.
    #[error("its third part is not an armoured age file and nothing else, in lines of 64")]
    Armour,
    /// The armour holds something else.
    #[error("what it holds in armour is not an age file of version 1")]
    NotAge,
}

/// Why a key file was not read.
#[derive(Debug, thiserror::Error)]
pub enum KekFileError {
    /// It is not there, a link, or others can read it.
    #[error("cannot use a key file")]
    Read(#[source] PrivateFileError),
    /// It is there, and not what it should be.
    #[error("{} is not a usable key file", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KekFileFault,
    },
}

impl KekFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(source) if source.is_absent() => Some(
                "check the path, or `aegis init` makes one; no other key is used in its place".to_owned(),
            ),
            Self::Read(source) => source.help(),
            Self::Malformed { source: KekFileFault::Version, .. } => {
                Some("use the version of this program that made it, or a newer one".to_owned())
            }
            Self::Malformed { .. } => Some("restore it from a backup".to_owned()),
        }
    }
}
