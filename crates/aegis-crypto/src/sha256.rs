//! SHA-256 (FIPS 180-4 §6.2), at once or in pieces.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex_text::{self, Case, HexFault};

/// A SHA-256 digest, 32 bytes. Prints as 64 lowercase hex digits, and is read from exactly those.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest that was computed or stored elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// Not 64 characters.
    #[error("a SHA-256 digest has 64 hex digits, this text has {found} characters")]
    Length {
        /// Characters in the text.
        found: usize,
    },
    /// A character other than `0` to `9` and `a` to `f`.
    #[error("character {position} of the SHA-256 digest is {found:?}, not a lowercase hex digit")]
    NotHex {
        /// Its place, counted from 1.
        position: usize,
        /// The character.
        found: char,
    },
}

impl ParseDigestError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Length { .. } => Some("give all 64 digits, as `sha256sum FILE` prints them".to_owned()),
            Self::NotHex { found, .. } if found.is_ascii_hexdigit() => {
                Some("write it in lower case".to_owned())
            }
            Self::NotHex { .. } => None,
        }
    }
}

/// Digests `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    digest_of(&digest::digest(&digest::SHA256, bytes))
}

/// Digests bytes that come in pieces. The pieces' borders make no difference.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything taken.
    pub fn finish(self) -> Digest {
        digest_of(&self.0.finish())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha256 {
    /// Shows nothing of the state: what is being digested may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sha256").finish_non_exhaustive()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        hex_text::decode(text, Case::Lower).map(Self).map_err(|fault| match fault {
            HexFault::Length(found) => ParseDigestError::Length { found },
            HexFault::Digit(position, found) => ParseDigestError::NotHex { position, found },
        })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex_text::deserialize(deserializer, "64 lowercase hex digits")
    }
}

fn digest_of(digest: &digest::Digest) -> Digest {
    Digest(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}
